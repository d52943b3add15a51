//! Groups of cores in simulated worlds.

mod accounts;
mod hostile;
mod liveness;
mod safety;
mod sim;
mod starts;

use crate::validator::chain::spec::{Chain, Genesis, Spec};

use sim::{Plan, Sim};

/// A chain with slots of 4 seconds and epochs of 8 slots.
fn chain() -> Chain {
    let spec = serde_json::json!({ "data": {
        "CONFIG_NAME": "sim", "PRESET_BASE": "minimal", "SECONDS_PER_SLOT": "4", "SLOTS_PER_EPOCH": "8",
        "GENESIS_FORK_VERSION": "0x00000001", "CAPELLA_FORK_VERSION": "0x03000001", "CAPELLA_FORK_EPOCH": "0",
        "ALTAIR_FORK_VERSION": "0x01000001", "ALTAIR_FORK_EPOCH": "0", "BELLATRIX_FORK_VERSION": "0x02000001", "BELLATRIX_FORK_EPOCH": "0",
        "DENEB_FORK_VERSION": "0x04000001", "DENEB_FORK_EPOCH": "0", "ELECTRA_FORK_VERSION": "0x05000001", "ELECTRA_FORK_EPOCH": "0",
    }});
    let spec = Spec::from_json(&serde_json::to_vec(&spec).unwrap()).unwrap();
    let genesis = Genesis {
        time: 1_800_000_000,
        validators_root: [9; 32],
        fork_version: spec.genesis_fork_version,
    };
    Chain::new(spec, genesis).unwrap()
}

#[test]
fn everybody_up_attests_in_time() {
    let mut sim = Sim::new(1, Plan::new(4, 3));
    sim.run_to(40);
    let (due, came) = sim.attested_in(0..40);
    assert!(due >= 16);
    assert_eq!(due, came);
    assert_eq!(sim.conflicts(), 0);
    assert!(
        sim.oracle.first.values().all(|into| *into < 2_000),
        "{:?}",
        sim.oracle.first
    );
    assert!(sim.oracle.sync.len() >= 39);
    assert!(sim.oracle.contributed.len() >= 39);
}

#[test]
fn one_of_four_may_be_off() {
    for off in 0..4 {
        let mut sim = Sim::new(2, Plan::new(4, 3));
        sim.kill(off);
        sim.run_to(40);
        assert_eq!(sim.attested_in(0..40), (20, 20));
        sim.start(off);
        sim.run_to(80);
        assert_eq!(sim.attested_in(40..80), (20, 20));
        assert_eq!(sim.conflicts(), 0);
    }
}

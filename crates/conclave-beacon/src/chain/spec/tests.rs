use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use conclave_eth::{
    chain::sizes::{MAINNET, MINIMAL},
    network::Network,
};

use crate::testing::{MAINNET_SPEC, MINIMAL_SPEC, chain};

/// The specification with one value replaced; none takes it out.
fn with(key: &str, value: Option<Value>) -> Result<Spec, SpecError> {
    let mut file: Value = serde_json::from_str(MINIMAL_SPEC).unwrap();
    let data = file["data"].as_object_mut().unwrap();
    match value {
        Some(value) => {
            data.insert(key.to_owned(), value);
        }
        None => {
            data.remove(key).unwrap();
        }
    }
    Spec::from_json(file.to_string().as_bytes())
}

#[test]
fn a_node_tells_timing_forks_and_sizes() {
    let spec = chain("minimal").spec;
    assert_eq!((spec.slot_ms, spec.slots_per_epoch), (4000, 8));
    assert_eq!(spec.config_name, "dvtest");
    assert_eq!(spec.capella_fork_version, [0x40, 0, 0, 0x38]);
    assert_eq!(spec.unknown_fork(), None);
    assert_eq!(spec.sizes.sync_subcommittee_size(), 8);
    assert_eq!(spec.sizes.max_attesters_per_slot(), 8192);
    assert_eq!(spec.sizes.cells_per_blob(), 128);
    assert_eq!(spec.sizes.blob_bytes(), 131_072);
    let names: Vec<_> = spec.forks.iter().map(|one| (one.fork, one.epoch)).collect();
    assert_eq!(names[5..], [(Fork::Electra, 0), (Fork::Fulu, 2)]);
    assert_eq!(spec.signable_fork_at(1).unwrap().fork, Fork::Electra);
    assert_eq!(spec.signable_fork_at(2).unwrap().version, [0x70, 0, 0, 0x38]);
    assert_eq!(spec.due_in_slot(0, Due::Attestation), 1333);
    assert_eq!(spec.due_in_slot(0, Due::Contribution), 2666);
    assert_eq!(chain("mainnet").spec.sizes.sync_committee_size, 512);
}

#[test]
fn what_a_node_leaves_out_has_a_default() {
    for due in Due::ALL {
        let spec = with(due.key(), None).unwrap();
        assert_eq!(spec.due_in_slot(0, due), 4000 * due.thirds() / 3);
    }
    assert_eq!(with("SLOT_DURATION_MS", None).unwrap().slot_ms, 4000);
    assert_eq!(
        with("SLOT_DURATION_MS", Some("1500".into())).unwrap().slot_ms,
        1500
    );
    let whole = chain("minimal").spec;
    for (key, _) in MINIMAL {
        assert_eq!(with(key, None).unwrap(), whole, "{key}");
    }
    let whole = chain("mainnet").spec;
    let mut file: Value = serde_json::from_str(MAINNET_SPEC).unwrap();
    for (key, _) in MAINNET {
        file["data"].as_object_mut().unwrap().remove(key).unwrap();
    }
    assert_eq!(Spec::from_json(file.to_string().as_bytes()).unwrap(), whole);
    // Of a network that is known here, what its node does not tell is known as well.
    file["data"]
        .as_object_mut()
        .unwrap()
        .remove("PRESET_BASE")
        .unwrap();
    for (version, slots) in [("0x10000910", 32), ("0x00000064", 16)] {
        file["data"]["GENESIS_FORK_VERSION"] = version.into();
        let known = Spec::from_json(file.to_string().as_bytes()).unwrap();
        assert_eq!(known.slots_per_epoch, slots);
        assert_eq!(Some(known.sizes), Sizes::of_preset(preset_of_epochs(slots)));
    }
    file["data"]["GENESIS_FORK_VERSION"] = "0x10000038".into();
    assert_eq!(
        Spec::from_json(file.to_string().as_bytes()),
        Err(SpecError::Missing("SLOTS_PER_EPOCH".to_owned()))
    );
    file["data"]["PRESET_BASE"] = "gnosis".into();
    let gnosis = Spec::from_json(file.to_string().as_bytes()).unwrap();
    assert_eq!(
        (gnosis.slots_per_epoch, gnosis.sizes.max_withdrawals_per_payload),
        (16, 8)
    );
    file["data"]["PRESET_BASE"] = "someone's".into();
    assert_eq!(
        Spec::from_json(file.to_string().as_bytes()),
        Err(SpecError::Missing("SLOTS_PER_EPOCH".to_owned()))
    );
}

#[test]
fn null_is_absent_in_a_specification() {
    let file = serde_json::from_str(MINIMAL_SPEC).unwrap();
    let read = |value: &Value| Spec::from_json(value.to_string().as_bytes()).ok();
    let optional = conclave_eth::testing::null_is_absent(&file, read);
    for key in [
        "CONFIG_NAME",
        "FULU_FORK_EPOCH",
        "ATTESTATION_DUE_BPS",
        "SLOTS_PER_EPOCH",
    ] {
        assert!(optional.contains(&format!("/data/{key}")), "{key}: {optional:?}");
    }
}

#[test]
fn gloas_has_its_own_due_times_from_its_epoch() {
    let spec = with("GLOAS_FORK_EPOCH", Some("5".into())).unwrap();
    assert_eq!(spec.due_in_slot(4, Due::Attestation), 1333);
    assert_eq!(spec.due_in_slot(5, Due::Attestation), 1000);
    assert_eq!(spec.due_in_slot(5, Due::Aggregate), 2000);
}

#[test]
fn a_fork_nobody_here_knows_is_told_and_stops_signing() {
    let spec = with("GLOAS_FORK_EPOCH", Some("5".into())).unwrap();
    assert_eq!(spec.unknown_fork(), Some(("gloas", 5)));
    assert!(spec.signable_fork_at(4).is_ok());
    let error = spec.signable_fork_at(5).unwrap_err();
    assert_eq!((error.name.as_str(), error.epoch), ("gloas", 5));
    // Far future, in either spelling, is no schedule.
    for epoch in [Value::from("18446744073709551615"), Value::from(u64::MAX)] {
        assert_eq!(
            with("EIP9999_FORK_EPOCH", Some(epoch)).unwrap().unknown_fork(),
            None
        );
    }
    // Nothing is signed for chains that are behind either.
    let old = with("FULU_FORK_EPOCH", Some("9".into()))
        .and_then(|_| with("ELECTRA_FORK_EPOCH", Some("1".into())))
        .unwrap();
    assert_eq!(old.signable_fork_at(0).unwrap_err().name, "deneb");
}

#[test]
fn nonsense_is_refused() {
    for (key, value) in [
        ("SLOT_DURATION_MS", Value::from("0")),
        ("SLOT_DURATION_MS", Value::from("4000.5")),
        ("SLOT_DURATION_MS", Value::from("04000")),
        ("SLOT_DURATION_MS", Value::from("99999999")),
        ("SLOTS_PER_EPOCH", Value::from("0")),
        ("SLOTS_PER_EPOCH", Value::from(vec![1])),
        ("GENESIS_FORK_VERSION", Value::from("0x1000")),
        ("GENESIS_FORK_VERSION", Value::from("10000038")),
        ("FULU_FORK_VERSION", Value::from(7)),
        ("ATTESTATION_DUE_BPS", Value::from("10001")),
        ("SYNC_COMMITTEE_SIZE", Value::from("30")),
        ("SYNC_COMMITTEE_SIZE", Value::from("18446744073709551615")),
        ("FIELD_ELEMENTS_PER_BLOB", Value::from("1000000000")),
        ("ELECTRA_FORK_EPOCH", Value::from("3")),
        ("ELECTRA_FORK_EPOCH", Value::from("18446744073709551615")),
    ] {
        assert!(with(key, Some(value.clone())).is_err(), "{key} {value}");
    }
    for key in [
        "GENESIS_FORK_VERSION",
        "CAPELLA_FORK_VERSION",
        "FULU_FORK_VERSION",
    ] {
        assert_eq!(with(key, None), Err(SpecError::Missing(key.to_owned())));
    }
    for text in ["", "[]", "{}", "{\"data\": []}", "{\"data\": {}}", "null"] {
        assert!(Spec::from_json(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Spec::from_json(&vec![b' '; MAX_SPEC_BYTES + 1]).is_err());
}

#[test]
fn genesis_is_read_strictly() {
    let text = format!(
        "{{\"data\":{{\"genesis_time\":\"1590832934\",\"genesis_validators_root\":\"0x{}\",\
         \"genesis_fork_version\":\"0x00000000\"}}}}",
        "cf".repeat(32)
    );
    let genesis = Genesis::from_json(text.as_bytes()).unwrap();
    assert_eq!(
        (genesis.time, genesis.validators_root),
        (1_590_832_934, [0xcf; 32])
    );
    for (old, new) in [
        ("\"1590832934\"", "1590832934.0"),
        ("1590832934", "253402300800"),
        ("0xcf", "cf"),
        ("0xcf", "0x"),
        ("genesis_time", "time"),
    ] {
        assert!(
            Genesis::from_json(text.replacen(old, new, 1).as_bytes()).is_err(),
            "{new}"
        );
    }
    assert!(Genesis::from_json(&[b' '; MAX_GENESIS_BYTES + 1]).is_err());
    let spec = chain("minimal").spec;
    assert_eq!(
        Chain::new(spec, genesis),
        Err(SpecError::Genesis([0; 4], [0x10, 0, 0, 0x38]))
    );
}

/// A change to a chain and what it is called in the error.
type Change = (&'static str, fn(&mut Chain));

#[test]
fn another_network_is_named() {
    let chain = chain("minimal");
    let pinned = Pinned {
        genesis_validators_root: Some([7; 32]),
        genesis_fork_version: Some([0x10, 0, 0, 0x38]),
        capella_fork_version: Some([0x40, 0, 0, 0x38]),
        slot_ms: Some(4000),
        ..Pinned::default()
    };
    chain.fits(&pinned).unwrap();
    chain.fits(&Pinned::default()).unwrap();
    chain.same_network(&chain).unwrap();
    let hoodi = Pinned::from(Network::by_name("hoodi").unwrap());
    assert_eq!(
        chain.fits(&hoodi).unwrap_err().to_string(),
        "the genesis fork version is 0x10000038, and here it has to be 0x10000910"
    );
    let changes: [Change; 8] = [
        ("genesis fork version", |c| c.genesis.fork_version[0] ^= 1),
        ("genesis validators root", |c| c.genesis.validators_root[0] ^= 1),
        ("Capella", |c| c.spec.capella_fork_version[0] ^= 1),
        ("length of a slot", |c| c.spec.slot_ms += 1),
        ("time of genesis", |c| c.genesis.time += 1),
        ("SLOTS_PER_EPOCH", |c| c.spec.slots_per_epoch *= 2),
        ("MAX_DEPOSITS", |c| c.spec.sizes.max_deposits += 1),
        ("EPOCHS_PER_SYNC_COMMITTEE_PERIOD", |c| {
            c.spec.sizes.epochs_per_sync_committee_period *= 2;
        }),
    ];
    for (what, change) in changes {
        let mut other = chain.clone();
        change(&mut other);
        let error = chain.same_network(&other).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    // Forks are nobody's network, nor how many blobs a block may have from when on.
    let mut other = chain.clone();
    other.spec.unknown.push(("gloas".into(), 9));
    other.spec.forks[6].epoch += 1;
    chain.same_network(&other).unwrap();
    let mut other = chain.clone();
    other.spec = with(
        "BLOB_SCHEDULE",
        Some(json!([{ "EPOCH": "9", "MAX_BLOBS_PER_BLOCK": "21" }])),
    )
    .unwrap();
    chain.same_network(&other).unwrap();
    assert_eq!(chain.spec.parts_from(&other.spec), None);
}

#[test]
fn of_known_networks_all_that_does_not_change_is_known_beforehand() {
    for network in Network::known().iter().filter(|network| !network.read_only) {
        let pinned = Pinned::from(network);
        assert!(pinned.is_whole(), "{}", network.name);
        // As a beacon node of it says.
        let is_gnosis = matches!(network.name.as_ref(), "gnosis" | "chiado");
        let preset = if is_gnosis { "gnosis" } else { "mainnet" };
        let mut right = chain("minimal");
        right.spec.sizes = Sizes::of_preset(preset).unwrap();
        right.spec.slots_per_epoch = if is_gnosis { 16 } else { 32 };
        right.spec.slot_ms = if is_gnosis { 5000 } else { 12_000 };
        right.spec.genesis_fork_version = network.genesis_fork_version;
        right.spec.capella_fork_version = network.capella_fork_version;
        right.genesis = Genesis {
            time: network.genesis_time,
            validators_root: network.genesis_validators_root.unwrap(),
            fork_version: network.genesis_fork_version,
        };
        right.fits(&pinned).unwrap();
        let changes: [Change; 5] = [
            ("the time of genesis", |c| c.genesis.time += 12),
            ("SLOTS_PER_EPOCH", |c| c.spec.slots_per_epoch = 8),
            ("SYNC_COMMITTEE_SIZE", |c| c.spec.sizes.sync_committee_size = 32),
            ("MAX_WITHDRAWALS_PER_PAYLOAD", |c| {
                c.spec.sizes.max_withdrawals_per_payload += 1;
            }),
            ("the length of a slot", |c| c.spec.slot_ms = 6000),
        ];
        for (what, change) in changes {
            let mut wrong = right.clone();
            change(&mut wrong);
            let text = wrong.fits(&pinned).unwrap_err().to_string();
            assert!(text.starts_with(what), "{text}");
        }
    }
    // Of others what their file says; genesis only as far as some beacon node says so too.
    let file = |more: &str| {
        let text = format!(
            "name = \"small\"\ngenesis_fork_version = \"0x10000038\"\ncapella_fork_version = \"0x40000038\"\n\
             chain_id = 42\ngenesis_time = 7\nslot_seconds = 4\n{more}"
        );
        Pinned::from(&Network::from_toml(&text).unwrap())
    };
    let mut chain = chain("minimal");
    chain.spec.slot_ms = 4000;
    chain.fits(&file("")).unwrap();
    chain.fits(&file("slots_per_epoch = 8\n")).unwrap();
    let text = chain
        .fits(&file("slots_per_epoch = 32\n"))
        .unwrap_err()
        .to_string();
    assert_eq!(text, "SLOTS_PER_EPOCH is 8, and here it has to be 32");
    assert!(!file("slots_per_epoch = 8\n").is_whole());
    assert_eq!(
        (file("").genesis_time, file("").likely_genesis_time),
        (None, Some(7))
    );
}

/// A chain on which Fulu begins with this epoch and the first byte of this version.
fn fulu(epoch: Option<u64>, version: u8) -> Arc<Chain> {
    let mut chain = chain("minimal");
    chain.spec.forks.truncate(6);
    chain.spec.forks.extend(epoch.map(|epoch| ScheduledFork {
        fork: Fork::Fulu,
        epoch,
        version: [version, 0, 0, 0x38],
    }));
    Arc::new(chain)
}

#[test]
fn schedules_part_where_they_first_say_different_things() {
    let gloas = |mut chain: Chain, epoch| {
        chain.spec.unknown.push(("gloas".to_owned(), epoch));
        chain.spec
    };
    let at = |epoch, version| Chain::clone(&fulu(epoch, version));
    let cases = [
        (
            at(None, 0).spec,
            at(Some(9), 0x70).spec,
            Some((9, "fulu", [None, Some(9)])),
        ),
        (
            at(Some(9), 0x70).spec,
            at(Some(12), 0x70).spec,
            Some((9, "fulu", [Some(9), Some(12)])),
        ),
        (
            at(Some(9), 0x70).spec,
            at(Some(9), 0x71).spec,
            Some((9, "fulu", [Some(9), Some(9)])),
        ),
        (
            at(Some(9), 0x70).spec,
            gloas(at(Some(9), 0x70), 20),
            Some((20, "gloas", [None, Some(20)])),
        ),
        (
            gloas(at(None, 0), 30),
            gloas(at(None, 0), 20),
            Some((20, "gloas", [Some(30), Some(20)])),
        ),
        // The first of several differences.
        (
            at(Some(9), 0x70).spec,
            gloas(at(Some(12), 0x70), 5),
            Some((5, "gloas", [None, Some(5)])),
        ),
        (gloas(at(None, 0), 20), gloas(at(None, 0), 20), None),
    ];
    for (one, other, parts) in cases {
        let found = one.parts_from(&other);
        let expected = parts.map(|(epoch, fork, epochs)| Parting {
            epoch,
            fork: fork.to_owned(),
            epochs,
        });
        assert_eq!(found, expected);
        let back = other.parts_from(&one);
        assert_eq!(
            back.map(|parting| parting.epoch),
            expected.as_ref().map(|parting| parting.epoch)
        );
        for epoch in [0, 4, 5, 8, 9, 19, 20, u64::MAX] {
            let same = expected.as_ref().is_none_or(|parting| epoch < parting.epoch);
            assert_eq!(one.same_up_to(&other, epoch), same, "{epoch}");
        }
    }
    let text = |other: &Spec| at(Some(9), 0x70).spec.parts_from(other).unwrap().to_string();
    assert_eq!(
        text(&at(None, 0).spec),
        "it says that the fork fulu is not scheduled, and your other beacon nodes say that it begins with epoch 9"
    );
    assert_eq!(
        text(&gloas(at(Some(9), 0x70), 20)),
        "it says that the fork gloas begins with epoch 20, and your other beacon nodes say that it is not scheduled"
    );
    assert_eq!(
        text(&at(Some(9), 0x71).spec),
        "it says another version of the fork fulu than your other beacon nodes"
    );
}

#[test]
fn due_times_count_from_genesis() {
    let chain = chain("minimal");
    assert_eq!(
        chain.due_ms(10, Due::Attestation),
        1_700_000_000_000 + 40_000 + 1333
    );
    assert_eq!(chain.epoch_of(17), 2);
    assert_eq!(chain.next_sync_period(7), 8);
    assert_eq!(chain.next_sync_period(8), 16);
}

proptest! {
    #[test]
    fn damaged_specifications_never_panic(at in 0_usize..MINIMAL_SPEC.len(), byte: u8) {
        let mut bytes = MINIMAL_SPEC.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = Spec::from_json(&bytes);
    }
}

//! The public cases of EIP-3076, as they are in `vectors`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::super::interchange::{Horizon, InterchangeError};
use super::*;

#[derive(Deserialize)]
struct Case {
    name: String,
    genesis_validators_root: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    should_succeed: bool,
    interchange: serde_json::Value,
    blocks: Vec<Block>,
    attestations: Vec<Attestation>,
}

#[derive(Deserialize)]
struct Block {
    pubkey: String,
    slot: String,
    signing_root: String,
    should_succeed: bool,
}

#[derive(Deserialize)]
struct Attestation {
    pubkey: String,
    source_epoch: String,
    target_epoch: String,
    signing_root: String,
    should_succeed: bool,
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap(), &mut bytes).unwrap();
    bytes
}

fn parse(bytes: &[u8]) -> Interchange {
    Interchange::parse(bytes, Horizon::NONE).unwrap()
}

/// One case is of nobody, which is no mistake there.
fn import(guard: &Guard, file: &Interchange) -> Result<(), GuardError> {
    match guard.import(file, Future::Refuse) {
        Ok(_) | Err(GuardError::Interchange(InterchangeError::NoneOfOurs)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    names
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect()
}

/// A lock whose validators have the keys of a case: as distributed keys, or as this operator's public shares.
fn cluster_of(case: &Case, as_shares: bool) -> Cluster {
    let mut keys: BTreeSet<Key> = BTreeSet::new();
    for step in &case.steps {
        let data = step.interchange["data"].as_array().unwrap();
        keys.extend(data.iter().map(|v| bytes::<48>(v["pubkey"].as_str().unwrap())));
        keys.extend(step.blocks.iter().map(|b| bytes::<48>(&b.pubkey)));
        keys.extend(step.attestations.iter().map(|a| bytes::<48>(&a.pubkey)));
    }
    // One case has no key at all.
    keys.insert(key(0xee, 0));
    let validators = (0..).zip(keys).map(|(v, known)| {
        let other = key(0xff, v);
        let (distributed, share) = if as_shares { (other, known) } else { (known, other) };
        ValidatorKeys { distributed, share }
    });
    Cluster::new([7; 32], 2, validators.collect()).unwrap()
}

fn run(case: &Case, as_shares: bool) -> usize {
    let guard = in_memory(&cluster_of(case, as_shares));
    guard
        .pin_genesis_validators_root(&bytes(&case.genesis_validators_root))
        .unwrap();
    let mut checks = 0;
    for (number, step) in case.steps.iter().enumerate() {
        let at = format!("{}, step {number}", case.name);
        let before = guard.highest().unwrap();
        let file = parse(&serde_json::to_vec(&step.interchange).unwrap());
        let imported = import(&guard, &file);
        assert_eq!(imported.is_ok(), step.should_succeed, "{at}: {imported:?}");
        if imported.is_err() {
            assert_eq!(guard.highest().unwrap(), before, "{at}");
        }
        checks += 1;
        let messages = step.blocks.iter().map(|b| {
            let message = block(b.slot.parse().unwrap());
            (message, &b.pubkey, &b.signing_root, b.should_succeed)
        });
        let attestations = step.attestations.iter().map(|a| {
            let message = attestation(a.source_epoch.parse().unwrap(), a.target_epoch.parse().unwrap());
            (message, &a.pubkey, &a.signing_root, a.should_succeed)
        });
        for (message, pubkey, signing_root, should_succeed) in messages.chain(attestations) {
            let validator = guard.cluster().find(&bytes(pubkey)).unwrap();
            let request = Request {
                message,
                signing_root: bytes(signing_root),
                validators: &[validator],
                timing: right_time(message),
            };
            let answer = guard.permit(&request).unwrap();
            assert_eq!(
                answer.permit.is_some(),
                should_succeed,
                "{at}: {message:?} {:?}",
                answer.refused
            );
            checks += 1;
        }
    }
    checks
}

#[test]
fn every_case_under_the_distributed_keys() {
    let cases = cases();
    assert_eq!(cases.len(), 38);
    let checks: usize = cases.iter().map(|case| run(case, false)).sum();
    assert!(checks > 190, "{checks}");
}

#[test]
fn every_case_under_the_keys_of_this_operators_shares() {
    for case in cases() {
        run(&case, true);
    }
}

#[test]
fn every_case_survives_the_way_through_an_exported_file() {
    for case in cases() {
        let cluster = cluster_of(&case, false);
        let root = bytes(&case.genesis_validators_root);
        let first = in_memory(&cluster);
        first.pin_genesis_validators_root(&root).unwrap();
        for step in case.steps.iter().filter(|step| step.should_succeed) {
            let file = parse(&serde_json::to_vec(&step.interchange).unwrap());
            import(&first, &file).unwrap();
        }
        let exported = first.export().unwrap();
        let second = in_memory(&cluster);
        second.pin_genesis_validators_root(&root).unwrap();
        import(&second, &parse(&exported)).unwrap();
        for validator in 0..u32::try_from(cluster.validators().len()).unwrap() {
            assert_eq!(
                first.record(validator).unwrap(),
                second.record(validator).unwrap()
            );
        }
        assert_eq!(second.export().unwrap(), exported, "{}", case.name);
    }
}

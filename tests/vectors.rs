//! Reads, verifies and tampers with the clusters that other software made: see `tests/vectors/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use conclave_cluster::definition::{Definition, SignatureStatus, Version};
use conclave_cluster::lock::Lock;
use conclave_cluster::report::{Outcome, Report};
use conclave_crypto::bls::PublicKey;
use conclave_crypto::threshold::recover_public_key;
use conclave_eth::network::Network;
use rayon::prelude::*;
use serde_json::Value;

const CLUSTERS: [&str; 10] = [
    "cluster-v1.10-custom-4x2",
    "cluster-v1.10-gnosis-5x1",
    "cluster-v1.10-hoodi-4x2-split",
    "dkg-v1.10-hoodi-4x1-signed",
    "dkg-v1.10-hoodi-4x2",
    "dkg-v1.10-hoodi-7x3-compounding",
    "dkg-v1.10-sepolia-3x1-pedersen",
    "dkg-v1.11-hoodi-4x1",
    "dkg-v1.8-holesky-4x2",
    "edit-v1.10-hoodi-4-added",
];
const CUSTOM: &str = "cluster-v1.10-custom-4x2";
const SIGNED: &str = "dkg-v1.10-hoodi-4x1-signed";

fn folder(cluster: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(cluster)
}

fn lock_bytes(cluster: &str, node: usize) -> Vec<u8> {
    std::fs::read(folder(cluster).join(format!("node{node}/cluster-lock.json"))).unwrap()
}

fn definition_bytes(cluster: &str) -> Option<Vec<u8>> {
    std::fs::read(folder(cluster).join("cluster-definition.json")).ok()
}

fn custom_network() -> Network {
    Network {
        name: "kurtosis".into(),
        chain_id: 3_151_908,
        genesis_fork_version: [0x10, 0, 0, 0x38],
        genesis_time: 1_750_000_000,
        capella_fork_version: [0x40, 0, 0, 0x38],
        ..Network::by_name("hoodi").unwrap().clone()
    }
}

/// The network to verify a cluster with: the known one, but for the custom cluster.
fn network(cluster: &str) -> Option<Network> {
    (cluster == CUSTOM).then(custom_network)
}

fn failed(report: &Report) -> Vec<&str> {
    report.failures().map(|check| check.name.as_str()).collect()
}

#[test]
fn every_lock_is_written_back_byte_for_byte_and_verifies() {
    for cluster in CLUSTERS {
        let bytes = lock_bytes(cluster, 0);
        let lock = Lock::from_json(&bytes).unwrap_or_else(|error| panic!("{cluster}: {error}"));
        assert!(lock.to_json() == bytes, "{cluster} is written with other bytes");
        let report = lock.verify(network(cluster).as_ref(), &[7; 32]);
        assert!(report.passed(), "{cluster}\n{report}");
        let not_checked: Vec<&str> = report
            .checks
            .iter()
            .filter(|check| matches!(check.outcome, Outcome::NotChecked(_)))
            .map(|check| check.name.as_str())
            .collect();
        let expected: &[&str] = if cluster == SIGNED {
            &[]
        } else {
            &["wallet signatures"]
        };
        assert_eq!(not_checked, expected, "{cluster}\n{report}");
    }
}

#[test]
fn every_definition_is_written_back_byte_for_byte_and_is_that_of_the_lock() {
    let mut seen = 0;
    for cluster in CLUSTERS {
        let Some(bytes) = definition_bytes(cluster) else {
            continue;
        };
        let definition = Definition::from_json(&bytes).unwrap_or_else(|error| panic!("{cluster}: {error}"));
        // The signed definition was written by a script around ethers, which does not escape for HTML.
        let text = String::from_utf8(bytes).unwrap();
        let escaped = text
            .replace('<', "\\u003c")
            .replace('&', "\\u0026")
            .replace('>', "\\u003e");
        assert_eq!(cluster == SIGNED, text != escaped);
        assert!(
            definition.to_json() == escaped.as_bytes(),
            "{cluster} is written with other bytes"
        );
        let lock = Lock::from_json(&lock_bytes(cluster, 0)).unwrap();
        assert_eq!(&definition, lock.definition());
        assert!(definition.diff(lock.definition()).is_empty());
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn all_operators_of_a_cluster_have_the_same_lock() {
    for cluster in CLUSTERS {
        let first = lock_bytes(cluster, 0);
        let n = Lock::from_json(&first).unwrap().definition().operators.len();
        for node in 1..n {
            assert!(lock_bytes(cluster, node) == first, "{cluster}, node {node}");
        }
        assert!(!folder(cluster).join(format!("node{n}")).exists());
    }
}

#[test]
fn the_node_keys_are_those_of_the_records_and_make_the_same_records() {
    for cluster in CLUSTERS {
        let lock = Lock::from_json(&lock_bytes(cluster, 0)).unwrap();
        for (i, operator) in lock.definition().operators.iter().enumerate() {
            let text =
                std::fs::read_to_string(folder(cluster).join(format!("node{i}/charon-enr-private-key")));
            let bytes: [u8; 32] = hex::decode(text.unwrap()).unwrap().try_into().unwrap();
            let key = conclave_crypto::node::NodeKey::from_bytes(&bytes).unwrap();
            assert_eq!(&key.public(), operator.enr.node_public_key());
            assert_eq!(
                conclave_cluster::enr::Enr::create(&key),
                operator.enr,
                "{cluster}, node {i}"
            );
        }
    }
}

#[test]
fn any_threshold_of_shares_makes_the_key_and_fewer_do_not() {
    for cluster in CLUSTERS {
        let lock = Lock::from_json(&lock_bytes(cluster, 0)).unwrap();
        let threshold = lock.definition().threshold;
        for validator in lock.validators() {
            let group = PublicKey::from_bytes(&validator.public_key).unwrap();
            let shares: Vec<(u64, PublicKey)> = (1..)
                .zip(
                    validator
                        .public_shares
                        .iter()
                        .map(|s| PublicKey::from_bytes(s).unwrap()),
                )
                .collect();
            for mask in 1_u32..1 << shares.len() {
                let subset: Vec<_> = shares
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| mask >> i & 1 == 1)
                    .map(|(_, s)| *s)
                    .collect();
                let enough = subset.len() as u64 >= threshold;
                assert_eq!(
                    recover_public_key(&subset) == Ok(group),
                    enough,
                    "{cluster}, subset {mask:b}"
                );
            }
        }
    }
}

#[test]
fn wallets_signatures_are_told_apart() {
    for cluster in CLUSTERS {
        let lock = Lock::from_json(&lock_bytes(cluster, 0)).unwrap();
        let expected = if cluster == SIGNED {
            SignatureStatus::Signed
        } else {
            SignatureStatus::Unsigned
        };
        let chain =
            Network::by_fork_version(lock.definition().fork_version).map_or(0, |network| network.chain_id);
        assert_eq!(lock.definition().signatures(chain).unwrap(), expected);
    }
    // The same wallets on another chain signed nothing.
    let lock = Lock::from_json(&lock_bytes(SIGNED, 0)).unwrap();
    let SignatureStatus::NotCheckableOffline { who } = lock.definition().signatures(1).unwrap() else {
        panic!("the chain id is part of what wallets sign");
    };
    assert_eq!(who.len(), 5);
}

#[test]
fn deposit_amounts_and_versions_are_as_the_files_say() {
    let eth = |amounts: &[u64]| {
        amounts
            .iter()
            .map(|amount| amount * 1_000_000_000)
            .collect::<Vec<_>>()
    };
    for (cluster, version, amounts) in [
        ("dkg-v1.10-hoodi-4x2", Version::V1_10, eth(&[1, 32])),
        (
            "dkg-v1.10-hoodi-7x3-compounding",
            Version::V1_10,
            eth(&[8, 24, 256]),
        ),
        ("dkg-v1.11-hoodi-4x1", Version::V1_11, eth(&[1, 32])),
        ("dkg-v1.8-holesky-4x2", Version::V1_8, eth(&[8, 24])),
    ] {
        let lock = Lock::from_json(&lock_bytes(cluster, 0)).unwrap();
        assert_eq!(lock.definition().version, version);
        assert_eq!(lock.definition().effective_deposit_amounts(), amounts);
    }
}

#[test]
fn a_custom_network_needs_its_file_for_what_depends_on_it() {
    let lock = Lock::from_json(&lock_bytes(CUSTOM, 0)).unwrap();
    let report = lock.verify(None, &[7; 32]);
    assert!(report.passed());
    assert!(matches!(
        report.get("network").unwrap().outcome,
        Outcome::NotChecked(_)
    ));
    // Other software signs registrations at any time; what counts is their signature.
    let mut later = custom_network();
    later.genesis_time += 1;
    assert_eq!(failed(&lock.verify(Some(&later), &[7; 32])), [""; 0]);
    let hoodi = Network::by_name("hoodi").unwrap();
    assert_eq!(failed(&lock.verify(Some(hoodi), &[7; 32])), ["network"]);
}

// Tampering. Every leaf of every JSON tree is changed, one at a time, in a way that keeps its form wherever that is
// possible; a reader that does not even read the file any more has noticed as well.

/// A step down a JSON tree.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// The paths of all leaves.
fn leaves(value: &Value, path: &mut Vec<Step>, out: &mut Vec<Vec<Step>>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(Step::Key(key.clone()));
                leaves(value, path, out);
                path.pop();
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (i, value) in list.iter().enumerate() {
                path.push(Step::Index(i));
                leaves(value, path, out);
                path.pop();
            }
        }
        _ => out.push(path.clone()),
    }
}

fn at<'a>(root: &'a mut Value, path: &[Step]) -> &'a mut Value {
    path.iter().fold(root, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(i) => &mut value[*i],
    })
}

/// Ways to change a leaf: one character at the beginning, the middle and the end of a text, and it being gone.
fn changes(leaf: &Value) -> Vec<Value> {
    match leaf {
        Value::String(text) if text.is_empty() => vec![Value::from("0x00"), Value::from("a")],
        Value::String(text) => {
            let start = ["0x", "enr:"]
                .iter()
                .find(|prefix| text.starts_with(**prefix))
                .map_or(0, |p| p.len());
            let length = text.len();
            let mut out: Vec<Value> = [start, start.midpoint(length), length - 1]
                .into_iter()
                .map(|position| {
                    let mut bytes = text.clone().into_bytes();
                    bytes[position] = match bytes[position] {
                        b'0' => b'1',
                        b'9' => b'8',
                        digit @ b'1'..=b'8' => digit + 1,
                        b'f' => b'e',
                        b'F' => b'E',
                        other => other + 1,
                    };
                    Value::from(String::from_utf8(bytes).unwrap())
                })
                .collect();
            out.push(Value::from(text[..length - 1].to_owned()));
            out.push(Value::from(""));
            out
        }
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            vec![
                Value::from(number + 1),
                Value::from(number - 1),
                Value::from(0),
                Value::from(number.to_string()),
            ]
        }
        Value::Bool(value) => vec![Value::from(!value)],
        Value::Null => vec![serde_json::json!(["32000000000"])],
        other => panic!("{other} is no leaf of these files"),
    }
}

/// Which checks fail, or that the file is not even read.
fn judge(cluster: &str, bytes: &[u8]) -> Vec<String> {
    match Lock::from_json(bytes) {
        Err(_) => vec!["unreadable".into()],
        Ok(lock) => failed(&lock.verify(network(cluster).as_ref(), &[7; 32]))
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// No leaf is left out: even what carries no meaning, such as the uuid, is hashed. See
/// `what_does_not_matter_is_not_refused` for the differences that are none.
#[test]
fn every_changed_value_of_a_lock_fails_a_named_check() {
    for cluster in CLUSTERS {
        let original: Value = serde_json::from_slice(&lock_bytes(cluster, 0)).unwrap();
        let mut paths = Vec::new();
        leaves(&original, &mut Vec::new(), &mut paths);
        assert!(paths.len() > 50);
        let fired: Vec<BTreeMap<String, usize>> = paths
            .par_iter()
            .map(|path| {
                let mut fired = BTreeMap::new();
                for change in changes(at(&mut original.clone(), path)) {
                    let mut tampered = original.clone();
                    *at(&mut tampered, path) = change.clone();
                    let failures = judge(cluster, &serde_json::to_vec(&tampered).unwrap());
                    assert!(
                        !failures.is_empty(),
                        "{cluster}: nobody noticed {path:?} = {change}"
                    );
                    for name in failures {
                        *fired.entry(name).or_default() += 1;
                    }
                }
                fired
            })
            .collect();
        let names: std::collections::BTreeSet<&str> = fired
            .iter()
            .flat_map(|fired| fired.keys().map(String::as_str))
            .collect();
        // The counts and the format of keys are tampered with below; everything else must have had its turn.
        for name in [
            "builder registration signatures",
            "builder registrations",
            "config hash",
            "definition hash",
            "deposit signatures",
            "deposits",
            "lock hash",
            "network",
            "node signatures",
            "public keys",
            "signature aggregate",
            "unreadable",
        ] {
            let never = name == "network" && cluster != CUSTOM;
            assert!(
                never || names.contains(name),
                "{cluster}: no change made {name} fail"
            );
        }
    }
}

#[test]
fn every_changed_value_of_a_definition_is_refused() {
    for cluster in CLUSTERS {
        let Some(bytes) = definition_bytes(cluster) else {
            continue;
        };
        let original: Value = serde_json::from_slice(&bytes).unwrap();
        let mut paths = Vec::new();
        leaves(&original, &mut Vec::new(), &mut paths);
        for path in paths {
            for change in changes(at(&mut original.clone(), &path)) {
                let mut tampered = original.clone();
                *at(&mut tampered, &path) = change.clone();
                let read = Definition::from_json(&serde_json::to_vec(&tampered).unwrap());
                assert!(read.is_err(), "{cluster}: nobody noticed {path:?} = {change}");
            }
        }
    }
}

/// What is read as the same: letter case where it carries no checksum, order of keys, white space, unknown keys.
#[test]
fn what_does_not_matter_is_not_refused() {
    for cluster in CLUSTERS {
        let text = String::from_utf8(lock_bytes(cluster, 0)).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["unknown"] = Value::from(1);
        value["distributed_validators"][0]["partial_deposit_data"][0]["deposit_data_root"] =
            Value::from("0x00");
        for validator in value["cluster_definition"]["validators"].as_array_mut().unwrap() {
            let address = validator["withdrawal_address"].as_str().unwrap().to_lowercase();
            validator["withdrawal_address"] = Value::from(address);
        }
        // serde_json sorts the keys, and this form has no white space.
        let lock = Lock::from_json(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert!(lock.verify(network(cluster).as_ref(), &[7; 32]).passed());
        assert!(lock.to_json() == text.as_bytes(), "{cluster}");
    }
}

type Change = fn(&mut Value);

/// Changes of structure, and which check must fail at least.
#[test]
fn changed_structure_is_named() {
    let cases: [(&str, Change); 12] = [
        ("counts", |lock| {
            drop(lock["distributed_validators"].as_array_mut().unwrap().pop());
        }),
        ("counts", |lock| {
            drop(
                lock["distributed_validators"][1]["public_shares"]
                    .as_array_mut()
                    .unwrap()
                    .pop(),
            );
        }),
        ("counts", |lock| {
            drop(lock["node_signatures"].as_array_mut().unwrap().pop());
        }),
        ("node signatures", |lock| {
            lock["node_signatures"].as_array_mut().unwrap().swap(0, 1);
        }),
        ("public shares", |lock| {
            lock["distributed_validators"][0]["public_shares"]
                .as_array_mut()
                .unwrap()
                .swap(0, 3);
        }),
        ("public shares", |lock| {
            let list = lock["distributed_validators"].as_array_mut().unwrap();
            let (a, b) = list.split_at_mut(1);
            std::mem::swap(&mut a[0]["public_shares"], &mut b[0]["public_shares"]);
        }),
        ("distinct keys", |lock| {
            let list = lock["distributed_validators"].as_array_mut().unwrap();
            list[1] = list[0].clone();
        }),
        ("distinct keys", |lock| {
            let shares = &mut lock["distributed_validators"][0]["public_shares"];
            shares[1] = shares[0].clone();
        }),
        ("lock hash", |lock| {
            lock["distributed_validators"][0]["partial_deposit_data"]
                .as_array_mut()
                .unwrap()
                .swap(0, 1);
        }),
        ("lock hash", |lock| {
            drop(
                lock["distributed_validators"][1]
                    .as_object_mut()
                    .unwrap()
                    .remove("partial_deposit_data"),
            );
        }),
        ("deposit signatures", |lock| {
            let deposits = &mut lock["distributed_validators"][0]["partial_deposit_data"];
            let first = deposits[0]["signature"].take();
            deposits[0]["signature"] = deposits[1]["signature"].take();
            deposits[1]["signature"] = first;
        }),
        ("signature aggregate", |lock| {
            lock["signature_aggregate"] =
                lock["distributed_validators"][0]["builder_registration"]["signature"].clone();
        }),
    ];
    let original: Value = serde_json::from_slice(&lock_bytes("dkg-v1.10-hoodi-4x2", 0)).unwrap();
    for (name, change) in cases {
        let mut tampered = original.clone();
        change(&mut tampered);
        let failures = judge("dkg-v1.10-hoodi-4x2", &serde_json::to_vec(&tampered).unwrap());
        assert!(
            failures.iter().any(|failure| failure == name),
            "{name} not among {failures:?}"
        );
    }
}

/// A hash does not tell an absent signature from one of zeros, so lengths must.
#[test]
fn zeros_are_not_absent() {
    let zeros = format!("0x{}", "00".repeat(65));
    let mut definition: Value =
        serde_json::from_slice(&definition_bytes("dkg-v1.10-hoodi-4x2").unwrap()).unwrap();
    definition["operators"][1]["config_signature"] = Value::from(zeros.clone());
    let read = Definition::from_json(&serde_json::to_vec(&definition).unwrap()).unwrap();
    let error = read.signatures(560_048).unwrap_err().to_string();
    assert!(error.contains("operator 2"), "{error}");
    definition["operators"][1]["config_signature"] = Value::from("");
    definition["creator"]["address"] = Value::from(format!("0x{}", "00".repeat(20)));
    let read = Definition::from_json(&serde_json::to_vec(&definition).unwrap()).unwrap();
    assert!(
        read.signatures(560_048)
            .unwrap_err()
            .to_string()
            .contains("creator")
    );
    definition["creator"]["config_signature"] = Value::from(zeros);
    let read = Definition::from_json(&serde_json::to_vec(&definition).unwrap()).unwrap();
    assert!(matches!(
        read.signatures(560_048).unwrap(),
        SignatureStatus::NotCheckableOffline { .. }
    ));
}

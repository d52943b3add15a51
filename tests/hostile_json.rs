//! Whatever stands in a file, its decoder answers: no panic, no endless work, no memory that the file did not pay for.
//!
//! Valid files have random parts replaced, removed, repeated or nested. Damage of single bytes is tested beside each
//! decoder.

use std::{fs, path::Path};

use conclave_cluster::{definition::Definition, lock::Lock};
use conclave_eth::{
    deposit::read_deposit_file, exit::SignedVoluntaryExit, keystore::Keystore, network::Network,
};
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

fn vector(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What a part of a file may become.
#[derive(Debug, Clone)]
enum Damage {
    Replace(Value),
    Remove,
    Repeat(usize),
    Nest(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(f64::MAX),
        json!(""),
        json!("0x"),
        json!("0xg0"),
        json!("0x0"),
        json!("é"),
        json!("\u{0}"),
        json!("0".repeat(100_000)),
        json!(format!("0x{}", "0".repeat(96))),
        json!(format!("0x{}", "ff".repeat(48))),
        json!(format!("0x{}", "c0".repeat(96))),
        json!("18446744073709551616"),
        json!([]),
        json!({}),
    ];
    prop_oneof![
        6 => proptest::sample::select(values).prop_map(Damage::Replace),
        2 => Just(Damage::Remove),
        1 => (0_usize..300).prop_map(Damage::Repeat),
        1 => (0_usize..120).prop_map(Damage::Nest),
    ]
}

/// JSON pointers to all parts of a value.
fn pointers(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(i, item)| walk(item, &format!("{at}/{i}"), found));
            }
            Value::Object(fields) => {
                fields
                    .iter()
                    .for_each(|(key, field)| walk(field, &format!("{at}/{key}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

fn apply(value: &mut Value, at: &str, damage: &Damage) {
    let (parent, key) = at.rsplit_once('/').unwrap_or_default();
    let Some(part) = value.pointer_mut(at) else { return };
    match damage {
        Damage::Replace(new) => *part = new.clone(),
        Damage::Nest(depth) => {
            for _ in 0..*depth {
                *part = json!([part.take()]);
            }
        }
        Damage::Repeat(count) => {
            let part = part.clone();
            if let Some(Value::Array(items)) = value.pointer_mut(parent) {
                items.extend(std::iter::repeat_n(part, *count));
            }
        }
        Damage::Remove => match value.pointer_mut(parent) {
            Some(Value::Object(fields)) => drop(fields.remove(key)),
            Some(Value::Array(items)) => drop(items.pop()),
            _ => {}
        },
    }
}

/// Damages a file in one or two places and gives its bytes.
fn damaged(original: &Value, damages: &[(Index, Damage)]) -> Vec<u8> {
    let mut value = original.clone();
    for (place, damage) in damages {
        let places = pointers(&value);
        apply(&mut value, &places[place.index(places.len())], damage);
    }
    serde_json::to_vec(&value).unwrap()
}

fn damages() -> impl Strategy<Value = Vec<(Index, Damage)>> {
    proptest::collection::vec((any::<Index>(), damage()), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn keystores(damages in damages()) {
        let original = vector("dkg-v1.10-hoodi-4x2/node0/validator_keys/keystore-0.json");
        if let Ok(keystore) = Keystore::from_json(&damaged(&original, &damages)) {
            // What is accepted is complete: it can be written and read again.
            prop_assert_eq!(Keystore::from_json(&keystore.to_json()), Ok(keystore));
        }
    }

    #[test]
    fn deposits(damages in damages()) {
        let original = vector("dkg-v1.10-hoodi-4x2/node0/deposit-data.json");
        if let Ok(entries) = read_deposit_file(&damaged(&original, &damages)) {
            prop_assert!(!entries.is_empty());
            let expected = original.as_array().unwrap();
            for entry in &entries {
                // Verifying does not panic either, and what verifies is one of the original deposits.
                if entry.verify(Network::by_name("hoodi").unwrap()).is_ok() {
                    let root = hex::encode(entry.deposit_data_root);
                    prop_assert!(expected.iter().any(|e| e["deposit_data_root"] == root.as_str()));
                }
            }
        }
    }

    #[test]
    fn exits(damages in damages()) {
        let original = json!({
            "message": { "epoch": "1", "validator_index": "2" },
            "signature": format!("0x{}", "c0".repeat(96)),
        });
        if let Ok(exit) = SignedVoluntaryExit::from_json(&damaged(&original, &damages)) {
            prop_assert_eq!(SignedVoluntaryExit::from_json(&exit.to_json()), Ok(exit));
            prop_assert!(exit.verify(&[0xc0; 48], [0; 4], [0; 32]).is_err());
        }
    }

    #[test]
    fn definitions(damages in damages()) {
        let original = vector("dkg-v1.10-hoodi-4x1-signed/cluster-definition.json");
        if let Ok(definition) = Definition::from_json(&damaged(&original, &damages)) {
            // Both hashes were right, so nothing that they cover can be different.
            let hash = format!("0x{}", hex::encode(definition.definition_hash()));
            prop_assert_eq!(original["definition_hash"].as_str(), Some(hash.as_str()));
        }
    }

    #[test]
    fn locks(damages in damages()) {
        let original = vector("dkg-v1.10-hoodi-4x1-signed/node0/cluster-lock.json");
        if let Ok(lock) = Lock::from_json(&damaged(&original, &damages)) {
            let passed = lock.verify(None, &[7; 32]).passed();
            let hash = format!("0x{}", hex::encode(lock.lock_hash()));
            prop_assert!(!passed || original["lock_hash"] == hash.as_str());
        }
    }

    #[test]
    fn network_files(text in "([a-z_]{1,30} = (\"[0-9a-fx]{0,70}\"|-?[0-9]{1,25}|\\[\\]|\\{\\})\n){0,9}.{0,20}") {
        if let Ok(network) = Network::from_toml(&text) {
            prop_assert!(!network.name.is_empty());
        }
    }
}

//! Deposits, keystores and registrations that other software wrote, read and verified.
//!
//! `tests/vectors/README.md` says what each folder is. All keys there are public throw-away keys.

use std::{
    fs,
    path::{Path, PathBuf},
};

use conclave_crypto::bls::{PublicKey, Signature};
use conclave_eth::{
    address::Address,
    deposit::{DepositError, deposit_file_name, read_deposit_file, verify_entries, write_deposit_file},
    keystore::{Keystore, KeystoreError, Password},
    network::Network,
    registration::Registration,
};
use serde_json::Value;

/// Folder, network, number of operators.
const VECTORS: [(&str, &str, usize); 8] = [
    ("cluster-v1.10-custom-4x2", "kurtosis", 4),
    ("cluster-v1.10-gnosis-5x1", "gnosis", 5),
    ("dkg-v1.10-hoodi-4x1-signed", "hoodi", 4),
    ("dkg-v1.10-hoodi-4x2", "hoodi", 4),
    ("dkg-v1.10-hoodi-7x3-compounding", "hoodi", 7),
    ("dkg-v1.10-sepolia-3x1-pedersen", "sepolia", 3),
    ("dkg-v1.11-hoodi-4x1", "hoodi", 4),
    ("dkg-v1.8-holesky-4x2", "holesky", 4),
];

const KURTOSIS: &str = r#"
name = "kurtosis"
genesis_fork_version = "0x10000038"
capella_fork_version = "0x40000038"
chain_id = 3151908
genesis_time = 1750000000
slot_seconds = 12
"#;

fn network(name: &str) -> Network {
    if name == "kurtosis" {
        Network::from_toml(KURTOSIS).unwrap()
    } else {
        Network::by_name(name).unwrap().clone()
    }
}

fn node(folder: &str, i: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(folder)
        .join(format!("node{i}"))
}

fn files(folder: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(suffix)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

#[test]
fn deposit_files_verify_and_are_written_back_byte_for_byte() {
    for (folder, name, operators) in VECTORS {
        let network = network(name);
        for i in 0..operators {
            for path in files(&node(folder, i), "deposit-data", ".json") {
                let bytes = fs::read(&path).unwrap();
                let entries = read_deposit_file(&bytes).unwrap();
                verify_entries(&entries, Some(&network), &[7; 32]).unwrap();
                let again = write_deposit_file(&entries, &network, &[7; 32]).unwrap();
                assert!(again == bytes, "{}", path.display());
                let amount = entries[0].message.amount;
                assert_eq!(
                    deposit_file_name(amount),
                    path.file_name().unwrap().to_string_lossy()
                );
            }
        }
    }
}

#[test]
fn a_deposit_for_another_network_is_refused() {
    let bytes = fs::read(node("dkg-v1.10-hoodi-4x2", 0).join("deposit-data.json")).unwrap();
    let entries = read_deposit_file(&bytes).unwrap();
    for other in ["mainnet", "sepolia", "kurtosis"] {
        assert!(matches!(
            verify_entries(&entries, Some(&network(other)), &[7; 32]),
            Err(DepositError::Entry { .. })
        ));
    }
}

#[test]
fn any_changed_digit_of_a_deposit_is_noticed() {
    let bytes = fs::read(node("dkg-v1.10-sepolia-3x1-pedersen", 0).join("deposit-data.json")).unwrap();
    let network = network("sepolia");
    let text = String::from_utf8(bytes).unwrap();
    // The format version is not part of anything that is signed.
    let end = text.find("\"deposit_cli_version\"").unwrap();
    let mut tried = 0;
    // Each check of a signature takes a millisecond, so every third place has to do.
    for at in (0..end).step_by(3) {
        let mut changed = text.clone().into_bytes();
        changed[at] = match changed[at] {
            b'0' => b'1',
            byte if byte.is_ascii_alphanumeric() => b'0',
            _ => continue,
        };
        tried += 1;
        let accepted =
            read_deposit_file(&changed).is_ok_and(|e| verify_entries(&e, Some(&network), &[7; 32]).is_ok());
        assert!(!accepted, "byte {at} of {text}");
    }
    assert!(tried > 200);
}

#[test]
fn keystores_open_and_are_written_back_byte_for_byte() {
    for (folder, _, operators) in VECTORS {
        // One operator of each ceremony with its full key derivation, all with the weak one.
        let weak = folder.contains("custom");
        for i in if weak {
            0..operators
        } else {
            operators - 1..operators
        } {
            for path in files(&node(folder, i).join("validator_keys"), "keystore", ".json") {
                let bytes = fs::read(&path).unwrap();
                let keystore = Keystore::from_json(&bytes).unwrap();
                assert!(keystore.to_json() == bytes, "{}", path.display());
                let password = Password::from_bytes(&fs::read(path.with_extension("txt")).unwrap()).unwrap();
                let secret = keystore.open(&password).unwrap();
                assert_eq!(keystore.pubkey(), Some(secret.public_key().to_bytes()));
            }
        }
    }
}

#[test]
fn a_password_of_another_keystore_is_wrong() {
    let keys = node("cluster-v1.10-custom-4x2", 0).join("validator_keys");
    let keystore = Keystore::from_json(&fs::read(keys.join("keystore-insecure-0.json")).unwrap()).unwrap();
    let other = Password::from_bytes(&fs::read(keys.join("keystore-insecure-1.txt")).unwrap()).unwrap();
    assert_eq!(keystore.open(&other).err(), Some(KeystoreError::WrongPassword));
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn registrations_verify() {
    for (folder, name, _) in VECTORS {
        let network = network(name);
        let lock = fs::read(node(folder, 0).join("cluster-lock.json")).unwrap();
        let lock: Value = serde_json::from_slice(&lock).unwrap();
        for validator in lock["distributed_validators"].as_array().unwrap() {
            let message = &validator["builder_registration"]["message"];
            let registration = Registration {
                fee_recipient: Address::parse_any_case(text(message, "fee_recipient")).unwrap().0,
                gas_limit: message["gas_limit"].as_u64().unwrap(),
                timestamp: message["timestamp"].as_u64().unwrap(),
                pubkey: bytes(text(message, "pubkey")),
            };
            assert_eq!(registration.timestamp, network.genesis_time, "{folder}");
            let key = PublicKey::from_bytes(&registration.pubkey).unwrap();
            let signature = text(&validator["builder_registration"], "signature");
            let signature = Signature::from_bytes(&bytes(signature)).unwrap();
            let root = registration.signing_root(network.genesis_fork_version);
            assert!(signature.verify(&key, &root), "{folder}");
            let other = Registration {
                gas_limit: registration.gas_limit + 1,
                ..registration
            };
            assert!(!signature.verify(&key, &other.signing_root(network.genesis_fork_version)));
        }
    }
}

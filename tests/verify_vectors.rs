//! `verify` accepts every ceremony that other software held, and refuses each with any one byte that matters
//! changed. `tests/vectors/README.md` says what each folder is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use conclave_ceremony::{
    files::Disk,
    folder::DataFolder,
    holding,
    problem::Problem,
    verify::{Verification, gather, verify},
};
use conclave_cluster::{lock::Lock, report::Outcome};
use conclave_crypto::threshold::recover_signature;
use conclave_eth::{
    address::Address,
    deposit::{DepositEntry, read_deposit_file, withdrawal_credentials, write_deposit_file},
    keystore::{Keystore, Password},
    network::Network,
};
use conclave_slashing::Cluster;
use tempfile::TempDir;

/// Folder and number of operators.
const VECTORS: [(&str, usize); 10] = [
    ("cluster-v1.10-custom-4x2", 4),
    ("cluster-v1.10-gnosis-5x1", 5),
    ("cluster-v1.10-hoodi-4x2-split", 4),
    ("dkg-v1.10-hoodi-4x1-signed", 4),
    ("dkg-v1.10-hoodi-4x2", 4),
    ("dkg-v1.10-hoodi-7x3-compounding", 7),
    ("dkg-v1.10-sepolia-3x1-pedersen", 3),
    ("dkg-v1.11-hoodi-4x1", 4),
    ("dkg-v1.8-holesky-4x2", 4),
    ("edit-v1.10-hoodi-4-added", 4),
];
/// Its keystores have a weak key derivation, so they open quickly.
const QUICK: &str = "cluster-v1.10-custom-4x2";

fn vector(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(folder)
}

fn network(folder: &str) -> Option<Network> {
    let text = r#"
        name = "kurtosis"
        genesis_fork_version = "0x10000038"
        capella_fork_version = "0x40000038"
        chain_id = 3151908
        genesis_time = 1750000000
        slot_seconds = 12
    "#;
    folder
        .contains("custom")
        .then(|| Network::from_toml(text).unwrap())
}

fn check(folder: &str, paths: &[PathBuf]) -> Verification {
    verify(
        &gather(&Disk::new(), paths, None).unwrap(),
        network(folder).as_ref(),
        &[7; 32],
    )
}

/// A copy of an operator's folder that may be damaged.
fn copy(folder: &str, node: usize) -> TempDir {
    fn copy_all(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy_all(&path, &target);
            } else {
                fs::write(target, fs::read(path).unwrap()).unwrap();
            }
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    copy_all(&vector(folder).join(format!("node{node}")), temporary.path());
    temporary
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

/// The failed checks, as text.
fn failed(result: &Verification) -> Vec<String> {
    result
        .failures()
        .map(|row| format!("{}: {}", row.check, row.outcome.reason().unwrap_or_default()))
        .collect()
}

fn assert_fails(result: &Verification, check: &str, reason: &str) {
    let found = result
        .failures()
        .any(|row| row.check == check && row.outcome.reason().is_some_and(|text| text.contains(reason)));
    assert!(found, "{check}: {reason} is not among {:?}", failed(result));
}

#[test]
fn every_operators_folder_is_accepted() {
    for (folder, operators) in VECTORS {
        // The first and the last operator, since opening keystores takes its time; all where it is quick.
        let step = if folder == QUICK { 1 } else { operators - 1 };
        let nodes: Vec<_> = (0..operators)
            .step_by(step)
            .map(|i| vector(folder).join(format!("node{i}")))
            .collect();
        let result = check(folder, &nodes);
        assert!(result.passed(), "{folder}: {:?}", failed(&result));
        let count = |check: &str| {
            result
                .rows
                .iter()
                .filter(|row| row.check == check && row.outcome == Outcome::Ok)
                .count()
        };
        assert_eq!(count("same lock for all operators"), nodes.len() - 1, "{folder}");
        for name in [
            "nothing is missing",
            "opens with its password",
            "share of the lock",
            "identity of an operator",
        ] {
            assert_eq!(count(name), nodes.len(), "{folder}: {name}");
        }
        // Unsigned definitions are the only thing that is left open.
        for row in &result.rows {
            let open = matches!(row.outcome, Outcome::NotChecked(_));
            assert!(!open || row.check == "wallet signatures", "{folder}: {row:?}");
        }
    }
}

#[test]
fn every_definition_is_accepted_and_is_the_locks() {
    for (folder, _) in VECTORS
        .into_iter()
        .filter(|(folder, _)| folder.starts_with("dkg"))
    {
        let definition = vector(folder).join("cluster-definition.json");
        let lock = vector(folder).join("node0/cluster-lock.json");
        let result = check(folder, &[definition, lock]);
        assert!(result.passed(), "{folder}: {:?}", failed(&result));
        let same = result
            .rows
            .iter()
            .find(|row| row.check == "same definition as in the lock")
            .unwrap();
        assert_eq!(same.outcome, Outcome::Ok);
    }
    let other = vector("dkg-v1.10-hoodi-4x1-signed").join("cluster-definition.json");
    let lock = vector("dkg-v1.10-hoodi-4x2").join("node0/cluster-lock.json");
    assert_fails(
        &check("", &[other, lock]),
        "same definition as in the lock",
        "the lock has another definition",
    );
}

#[test]
fn equal_files_of_several_operators_are_all_named_and_others_are_not_taken_for_equal() {
    let folders: Vec<TempDir> = (0..3).map(|node| copy(QUICK, node)).collect();
    let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path().to_owned()).collect();
    let deposits: Vec<PathBuf> = paths
        .iter()
        .map(|path| files(path, "deposit-data").remove(0))
        .collect();
    let rows = |result: &Verification, file: &Path| {
        let of = result.rows.iter().filter(|row| Path::new(&row.file) == file);
        of.map(|row| (row.check.clone(), row.outcome.clone()))
            .collect::<Vec<_>>()
    };
    let result = check(QUICK, &paths);
    assert!(result.passed(), "{:?}", failed(&result));
    let first = rows(&result, &deposits[0]);
    assert!(first.len() >= 3 && rows(&result, &deposits[1]) == first && rows(&result, &deposits[2]) == first);
    // One signature of the second is changed: that one fails, and only that one.
    let text = fs::read_to_string(&deposits[1]).unwrap();
    let at = text.find("\"signature\"").unwrap() + 60;
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    fs::write(&deposits[1], format!("{}{digit}{}", &text[..at], &text[at + 1..])).unwrap();
    let result = check(QUICK, &paths);
    assert_fails(&result, "roots and signatures", "");
    assert!(
        result.failures().all(|row| Path::new(&row.file) == deposits[1]),
        "{:?}",
        failed(&result)
    );
    assert_eq!(
        (rows(&result, &deposits[0]), rows(&result, &deposits[2])),
        (first.clone(), first)
    );
}

#[test]
fn either_file_of_a_lock_that_somebody_sealed_twice_is_good() {
    use k256::ecdsa::signature::hazmat::RandomizedPrehashSigner as _;
    use rand::SeedableRng as _;

    let folders: Vec<TempDir> = (0..2).map(|node| copy(QUICK, node)).collect();
    let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path().to_owned()).collect();
    // The second operator got another Seal of the first one: the same lock, signed with another nonce.
    let file = paths[1].join("cluster-lock.json");
    let before = Lock::from_json(&fs::read(&file).unwrap()).unwrap();
    let key = fs::read_to_string(paths[0].join("charon-enr-private-key")).unwrap();
    let key = k256::ecdsa::SigningKey::from_slice(&hex::decode(key.trim()).unwrap()).unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let signature: k256::ecdsa::Signature = key.sign_prehash_with_rng(&mut rng, &before.lock_hash()).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let old = hex::encode(before.node_signatures()[0]);
    let candidates = [0u8, 1].map(|v| hex::encode([&signature.normalize_s().to_bytes()[..], &[v]].concat()));
    let right = candidates.iter().find(|new| {
        fs::write(&file, text.replace(&old, new)).unwrap();
        check(QUICK, &paths[1..]).passed()
    });
    assert!(right.is_some_and(|new| *new != old), "either is good by itself");
    let after = Lock::from_json(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(before.lock_hash(), after.lock_hash());
    for operator in 1..=4 {
        let [one, other] = [&before, &after].map(|lock| Cluster::of_lock(lock, operator).unwrap());
        assert_eq!(one, other, "run takes one as the other");
    }
    // Both together are good, too, and it is told who did that.
    let result = check(QUICK, &paths);
    assert!(result.passed(), "{:?}", failed(&result));
    let told: Vec<&str> = result
        .rows
        .iter()
        .filter_map(|row| row.finding.as_deref())
        .collect();
    assert!(
        told.iter()
            .any(|finding| finding.contains("in two versions by operator 1:")),
        "{told:?}"
    );
}

#[test]
fn a_folder_of_folders_stands_for_all_of_them() {
    let result = check(QUICK, &[vector(QUICK)]);
    assert!(result.passed(), "{:?}", failed(&result));
    assert_eq!(
        result
            .rows
            .iter()
            .filter(|row| row.check == "nothing is missing")
            .count(),
        4
    );
}

#[test]
fn a_custom_network_without_its_file_is_said_to_be_unknown() {
    let result = verify(
        &gather(&Disk::new(), &[vector(QUICK).join("node0")], None).unwrap(),
        None,
        &[7; 32],
    );
    assert!(result.passed(), "{:?}", failed(&result));
    let open = |file: &str| {
        result.rows.iter().any(|row| {
            row.file.ends_with(file)
                && row.check == "network"
                && matches!(row.outcome, Outcome::NotChecked(_))
        })
    };
    assert!(open("cluster-lock.json") && open("deposit-data.json"));
}

/// Where in `range` of a JSON text the letters and digits of values are, those of names left out: a field with an empty
/// value may as well be absent.
fn places(text: &str, range: std::ops::Range<usize>) -> Vec<usize> {
    let mut places = Vec::new();
    let mut start = 0;
    // Every other piece between quotes is a string; a string before a colon is a name.
    for (i, piece) in text.split('"').enumerate() {
        let end = start + piece.len();
        if i % 2 == 0 || !text[end..].starts_with("\":") {
            places.extend((start..end).filter(|at| text.as_bytes()[*at].is_ascii_alphanumeric()));
        }
        start = end + 1;
    }
    places.retain(|at| range.contains(at));
    places
}

/// Changes one letter or digit of a value after another, `tries` spread over `range`, and expects each change to be
/// noticed.
fn tamper(folder: &str, path: &Path, range: std::ops::Range<usize>, tries: usize, paths: &[PathBuf]) {
    let original = fs::read_to_string(path).unwrap();
    let places = places(&original, range);
    assert!(places.len() >= tries, "{}", path.display());
    let step = places.len() / tries;
    for at in places.iter().copied().skip(step / 2).step_by(step) {
        let mut changed = original.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        fs::write(path, &changed).unwrap();
        let result = check(folder, paths);
        let around = &original[at.saturating_sub(40)..(at + 40).min(original.len())];
        assert!(!result.passed(), "{} at {at}: {around}", path.display());
    }
    fs::write(path, &original).unwrap();
}

#[test]
fn a_changed_byte_of_a_lock_is_noticed() {
    for (folder, _) in VECTORS {
        let copy = copy(folder, 0);
        let path = copy.path().join("cluster-lock.json");
        tamper(folder, &path, 0..usize::MAX, 10, std::slice::from_ref(&path));
    }
}

#[test]
fn a_changed_byte_of_a_definition_is_noticed() {
    for (folder, _) in VECTORS
        .into_iter()
        .filter(|(folder, _)| folder.starts_with("dkg"))
    {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("cluster-definition.json");
        fs::copy(vector(folder).join("cluster-definition.json"), &path).unwrap();
        tamper(folder, &path, 0..usize::MAX, 300, std::slice::from_ref(&path));
    }
}

#[test]
fn a_changed_byte_of_a_deposit_file_is_noticed() {
    for (folder, _) in VECTORS {
        let copy = copy(folder, 0);
        for path in files(copy.path(), "deposit-data") {
            // The version of the format is signed by nobody.
            let end = fs::read_to_string(&path)
                .unwrap()
                .find("\"deposit_cli_version\"")
                .unwrap();
            tamper(folder, &path, 0..end, 4, std::slice::from_ref(&path));
        }
    }
}

#[test]
fn a_changed_byte_of_a_keystore_is_noticed() {
    for (folder, _) in VECTORS {
        let tries = if folder == QUICK { 90 } else { 1 };
        let copy = copy(folder, 0);
        let path = files(&copy.path().join("validator_keys"), "keystore").remove(0);
        let text = fs::read_to_string(&path).unwrap();
        // Description, path and UUID are labels; what is left is the encrypted key and its public key.
        let labels = text.find("\"description\"").unwrap();
        let pubkey = text.find("\"pubkey\"").unwrap();
        let end = text.find("\"path\"").unwrap();
        tamper(folder, &path, 0..labels, tries, std::slice::from_ref(&path));
        tamper(folder, &path, pubkey..end, tries, std::slice::from_ref(&path));
        tamper(
            folder,
            &path.with_extension("txt"),
            0..32,
            1,
            std::slice::from_ref(&path),
        );
    }
}

#[test]
fn a_changed_identity_is_noticed() {
    let copy = copy(QUICK, 0);
    let identity = copy.path().join("charon-enr-private-key");
    tamper(QUICK, &identity, 0..64, 3, &[copy.path().to_owned()]);
}

#[test]
fn a_deposit_without_a_lock_is_no_finished_ceremony() {
    let copy = copy("dkg-v1.10-hoodi-4x2", 0);
    fs::remove_file(copy.path().join("cluster-lock.json")).unwrap();
    let file = copy.path().join("deposit-data.json");
    for path in [file, copy.path().to_owned()] {
        assert_fails(
            &check("", &[path]),
            "deposits of the lock",
            "not a finished ceremony",
        );
    }
}

#[test]
fn files_of_another_ceremony_are_refused() {
    let lock = vector("dkg-v1.10-hoodi-4x1-signed").join("node0/cluster-lock.json");
    let other = vector("dkg-v1.11-hoodi-4x1").join("node0");
    let deposit = check("", &[other.join("deposit-data.json"), lock.clone()]);
    assert_fails(&deposit, "deposits of the lock", "is no validator of the lock");
    let keystore = check("", &[other.join("validator_keys/keystore-0.json"), lock]);
    assert_fails(&keystore, "share of the lock", "no share of the lock");
}

#[test]
fn mixed_up_folders_are_refused() {
    let keys = |copy: &TempDir| copy.path().join("validator_keys");
    let folder = |copy: &TempDir| check(QUICK, &[copy.path().to_owned()]);

    let swapped = copy(QUICK, 0);
    for extension in ["json", "txt"] {
        let [zero, one] = [0, 1].map(|i| keys(&swapped).join(format!("keystore-insecure-{i}.{extension}")));
        let (zero_bytes, one_bytes) = (fs::read(&zero).unwrap(), fs::read(&one).unwrap());
        fs::write(zero, one_bytes).unwrap();
        fs::write(one, zero_bytes).unwrap();
    }
    assert_fails(
        &folder(&swapped),
        "share of the lock",
        "its name says validator 0",
    );

    let foreign = copy(QUICK, 0);
    for extension in ["json", "txt"] {
        let name = format!("keystore-insecure-1.{extension}");
        let theirs = vector(QUICK).join("node2/validator_keys").join(&name);
        fs::write(keys(&foreign).join(name), fs::read(theirs).unwrap()).unwrap();
    }
    assert_fails(
        &folder(&foreign),
        "share of the lock",
        "the share of operator 3, but the identity here is operator 1",
    );
    fs::remove_file(foreign.path().join("charon-enr-private-key")).unwrap();
    assert_fails(&folder(&foreign), "shares of one operator", "1, 3");

    let incomplete = copy(QUICK, 0);
    fs::remove_file(keys(&incomplete).join("keystore-insecure-1.json")).unwrap();
    fs::remove_file(incomplete.path().join("deposit-data-1eth.json")).unwrap();
    assert_fails(
        &folder(&incomplete),
        "nothing is missing",
        "deposit-data-1eth.json, keystore 1",
    );

    let doubled = copy(QUICK, 0);
    let [small, large] =
        ["deposit-data-1eth.json", "deposit-data.json"].map(|name| doubled.path().join(name));
    fs::copy(small, large).unwrap();
    assert_fails(&folder(&doubled), "nothing is missing", "deposit-data.json");

    let passwordless = copy(QUICK, 0);
    fs::remove_file(keys(&passwordless).join("keystore-insecure-1.txt")).unwrap();
    let result = folder(&passwordless);
    assert!(result.passed());
    let open = result
        .rows
        .iter()
        .find(|row| row.check == "opens with its password" && row.outcome != Outcome::Ok);
    assert!(open.is_some_and(|row| row.file.ends_with("keystore-insecure-1.json")));
}

/// The shares that `run` works with, or why it does not.
fn opened(copy: &TempDir) -> Result<Vec<[u8; 48]>, Problem> {
    let folder = DataFolder::open(&Disk::new(), copy.path())?;
    let holding = holding::open(&folder, network(QUICK).as_ref())?;
    Ok(holding
        .shares
        .iter()
        .map(|share| share.public_key().to_bytes())
        .collect())
}

type Change = fn(&Path);

fn edit(path: &Path, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(value.as_object_mut().unwrap());
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

fn with_bom(path: &Path) {
    fs::write(path, [&b"\xef\xbb\xbf"[..], &fs::read(path).unwrap()].concat()).unwrap();
}

fn key_file(keys: &Path, name: &str) -> PathBuf {
    keys.join(format!("keystore-insecure-{name}"))
}

/// Other tools leave things out, put others in, and give names of their own. What `verify` accepts, `run` opens.
#[test]
fn keystores_of_other_tools_are_accepted_and_opened() {
    let cases: [(&str, Change); 11] = [
        ("no uuid", |keys| {
            edit(&key_file(keys, "0.json"), |o| drop(o.remove("uuid")));
        }),
        ("no path", |keys| {
            edit(&key_file(keys, "0.json"), |o| drop(o.remove("path")));
        }),
        ("no pubkey", |keys| {
            edit(&key_file(keys, "0.json"), |o| drop(o.remove("pubkey")));
        }),
        ("all null", |keys| {
            edit(&key_file(keys, "0.json"), |o| {
                for name in ["description", "pubkey", "path", "uuid"] {
                    o.insert(name.to_owned(), serde_json::Value::Null);
                }
            });
        }),
        ("all empty", |keys| {
            edit(&key_file(keys, "0.json"), |o| {
                for name in ["description", "pubkey", "path", "uuid"] {
                    o.insert(name.to_owned(), "".into());
                }
            });
        }),
        ("a prefix", |keys| {
            edit(&key_file(keys, "0.json"), |o| {
                let key = format!("0x{}", o["pubkey"].as_str().unwrap());
                o.insert("pubkey".to_owned(), key.into());
            });
        }),
        ("a byte order mark", |keys| with_bom(&key_file(keys, "0.json"))),
        ("one before the password", |keys| {
            with_bom(&key_file(keys, "0.txt"));
        }),
        ("a line end after the password", |keys| {
            let path = key_file(keys, "0.txt");
            fs::write(&path, [&fs::read(&path).unwrap()[..], b"\r\n"].concat()).unwrap();
        }),
        ("names of another tool", |keys| {
            for extension in ["json", "txt"] {
                let name = |i: usize| format!("keystore-m_12381_3600_{i}_0_0-1719999999.{extension}");
                for i in 0..2 {
                    fs::rename(key_file(keys, &format!("{i}.{extension}")), keys.join(name(i))).unwrap();
                }
            }
        }),
        ("names of nobody", |keys| {
            for extension in ["json", "txt"] {
                for (i, name) in ["voting-keystore", "0xabcd"].into_iter().enumerate() {
                    let to = keys.join(format!("{name}.{extension}"));
                    fs::rename(key_file(keys, &format!("{i}.{extension}")), to).unwrap();
                }
            }
            // What else lies there is no keystore.
            fs::write(keys.join("deposit_data-1719999999.json"), "[]").unwrap();
        }),
    ];
    for (what, change) in cases {
        let copy = copy(QUICK, 0);
        let expected = opened(&copy).unwrap();
        change(&copy.path().join("validator_keys"));
        let result = check(QUICK, &[copy.path().to_owned()]);
        assert!(result.passed(), "{what}: {:?}", failed(&result));
        let ok = |check: &str| {
            let mut rows = result.rows.iter().filter(|row| row.check == check);
            rows.all(|row| row.outcome == Outcome::Ok)
        };
        assert!(
            ok("opens with its password") && ok("share of the lock"),
            "{what}: {:?}",
            result.rows
        );
        assert!(ok("nothing is missing"), "{what}: {:?}", result.rows);
        assert_eq!(opened(&copy).unwrap(), expected, "{what}");
    }
}

/// `verify` and `run` name the file and the cause, and never say that something is missing which is there.
#[test]
fn what_is_wrong_with_a_keystore_is_named() {
    let cases: [(&str, &str, Change); 9] = [
        (
            "keystore-insecure-0.json",
            "holds the password of another keystore, keystore-insecure-1.json",
            |keys| {
                let (zero, one) = (key_file(keys, "0.txt"), key_file(keys, "1.txt"));
                let bytes = fs::read(&zero).unwrap();
                fs::rename(&one, &zero).unwrap();
                fs::write(&one, bytes).unwrap();
            },
        ),
        (
            "keystore-insecure-1.json",
            "holds the password of another keystore, keystore-insecure-0.json",
            |keys| {
                fs::copy(key_file(keys, "0.txt"), key_file(keys, "1.txt")).unwrap();
            },
        ),
        (
            "keystore-insecure-0.json",
            "the password in keystore-insecure-0.txt does not open it",
            |keys| {
                fs::write(key_file(keys, "0.txt"), "somebody else's").unwrap();
            },
        ),
        (
            "keystore-insecure-0.json",
            "the password in keystore-insecure-0.txt does not open it",
            |keys| {
                edit(&key_file(keys, "0.json"), |o| drop(o.remove("pubkey")));
                fs::write(key_file(keys, "0.txt"), "somebody else's").unwrap();
            },
        ),
        ("keystore-insecure-1.json", "the share of operator 3", |keys| {
            for name in ["1.json", "1.txt"] {
                fs::copy(
                    key_file(&vector(QUICK).join("node2/validator_keys"), name),
                    key_file(keys, name),
                )
                .unwrap();
            }
        }),
        ("keystore-insecure-0.json", "its key is no share of", |keys| {
            let other = vector("dkg-v1.10-hoodi-4x2").join("node0/validator_keys");
            for extension in ["json", "txt"] {
                let from = other.join(format!("keystore-0.{extension}"));
                fs::copy(from, key_file(keys, &format!("0.{extension}"))).unwrap();
            }
        }),
        ("keystore-insecure-0.json", "as a keystore", |keys| {
            let path = key_file(keys, "0.json");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        (
            "keystore-insecure-0.json",
            "a web page that a server sent",
            |keys| {
                fs::write(key_file(keys, "0.json"), "<html><body>502</body></html>").unwrap();
            },
        ),
        ("keystore-insecure-0.json", "update conclave", |keys| {
            edit(&key_file(keys, "0.json"), |o| {
                drop(o.insert("version".to_owned(), 5.into()));
            });
        }),
    ];
    for (file, cause, change) in cases {
        let copy = copy(QUICK, 0);
        change(&copy.path().join("validator_keys"));
        let result = check(QUICK, &[copy.path().to_owned()]);
        let told = result.failures().any(|row| {
            row.file.ends_with(file) && row.outcome.reason().is_some_and(|why| why.contains(cause))
        });
        assert!(told, "{cause}: {:?}", failed(&result));
        assert!(
            !result.failures().any(|row| row.check == "nothing is missing"),
            "{:?}",
            failed(&result)
        );
        let problem = opened(&copy).unwrap_err();
        assert!(
            problem.what.ends_with(file) && problem.why.contains(cause),
            "{cause}: {problem:?}"
        );
        assert_eq!(problem.kind.exit_code(), 7);
    }
    // The operators are called by their names.
    let foreign = copy(QUICK, 0);
    let keys = foreign.path().join("validator_keys");
    for name in ["1.json", "1.txt"] {
        fs::copy(
            key_file(&vector(QUICK).join("node2/validator_keys"), name),
            key_file(&keys, name),
        )
        .unwrap();
    }
    let problem = opened(&foreign).unwrap_err();
    assert!(
        problem.why.contains("operator 3 (") && problem.why.contains("you are operator 1 ("),
        "{problem:?}"
    );
    // What is not there is missing; a password that is not there is named.
    fs::remove_file(key_file(&keys, "1.json")).unwrap();
    let problem = opened(&foreign).unwrap_err();
    assert!(problem.what.contains("validator 1 is missing"), "{problem:?}");
    let without = copy(QUICK, 0);
    fs::remove_file(key_file(&without.path().join("validator_keys"), "0.txt")).unwrap();
    let problem = opened(&without).unwrap_err();
    assert!(
        problem.why.contains("keystore-insecure-0.txt is missing"),
        "{problem:?}"
    );
    let result = check(QUICK, &[without.path().to_owned()]);
    let open = result.rows.iter().any(|row| {
        row.outcome
            .reason()
            .is_some_and(|why| why.contains("keystore-insecure-0.txt is missing"))
    });
    assert!(open, "{:?}", result.rows);
}

/// Old releases of the library that Go programs write keystores with dropped the marks over letters.
#[test]
fn a_password_as_old_software_took_it_opens() {
    let keys = vector("keystores");
    let read = |name: &str| fs::read(keys.join(name)).unwrap();
    let keystore = Keystore::from_json(&read("marks-dropped.json")).unwrap();
    let password = Password::from_bytes(&read("marks-dropped.txt")).unwrap();
    let share = keystore.open(&password).unwrap();
    assert_eq!(Some(share.public_key().to_bytes()), keystore.pubkey());
    let all = Keystore::open_all(&[(&keystore, &password)], drop);
    assert!(all[0].is_ok());
    assert!(
        keystore
            .open(&Password::new("Gr\u{f6}\u{df}e \u{f1}and\u{fa} 2025").unwrap())
            .is_err()
    );
}

/// What the lock does not promise cannot be missing: a validator added later has deposit files of its own, and some locks hold no
/// deposits at all.
#[test]
fn a_deposit_that_the_lock_does_not_name_is_not_missed() {
    let open = |result: &Verification, check: &str| {
        assert!(result.passed(), "{:?}", failed(result));
        let mut rows = result.rows.iter().filter(|row| row.check == check);
        rows.any(|row| matches!(row.outcome, Outcome::NotChecked(_)))
    };
    let copy = copy(QUICK, 0);
    let path = copy.path().join("cluster-lock.json");
    let bytes = fs::read(&path).unwrap();
    // Without the deposits of validator 1 the lock's hash and signatures are others; what is told of deposits is what counts.
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let without = |value: &mut serde_json::Value, i: usize| {
        let validator = value["distributed_validators"][i].as_object_mut().unwrap();
        drop(validator.remove("partial_deposit_data"));
    };
    without(&mut value, 1);
    fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
    let file = copy.path().join("deposit-data.json");
    let key = value["distributed_validators"][1]["distributed_public_key"]
        .as_str()
        .unwrap();
    let mut entries: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let all = entries.clone();
    entries.retain(|entry| entry["pubkey"].as_str() != key.strip_prefix("0x"));
    assert_eq!((entries.len(), all.len()), (1, 2));
    let deposits_of = |result: Verification| {
        let about = ["deposits", "deposits of the lock", "nothing is missing"];
        let rows = result
            .rows
            .into_iter()
            .filter(|row| about.contains(&row.check.as_str()));
        Verification {
            rows: rows.collect(),
            locks: Vec::new(),
        }
    };
    let folder = || deposits_of(check(QUICK, &[copy.path().to_owned()]));
    fs::write(&file, serde_json::to_vec(&entries).unwrap()).unwrap();
    assert!(open(&folder(), "deposits of the lock") && open(&folder(), "deposits"));
    // That of validator 0 is promised.
    let others: Vec<_> = all.into_iter().filter(|entry| !entries.contains(entry)).collect();
    fs::write(&file, serde_json::to_vec(&others).unwrap()).unwrap();
    assert_fails(
        &folder(),
        "deposits of the lock",
        "the deposit of validator 0 is missing",
    );
    // Nothing is promised, and nothing is there.
    without(&mut value, 0);
    fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
    for path in files(copy.path(), "deposit-data") {
        fs::remove_file(path).unwrap();
    }
    assert!(open(&folder(), "nothing is missing") && open(&folder(), "deposits"));
}

/// Enough operators together can sign a deposit to an address of their own. Its signature is good; the file must be
/// refused all the same.
#[test]
fn a_well_signed_deposit_to_another_address_is_refused() {
    let network = network(QUICK).unwrap();
    let shares: Vec<_> = (0..3_u64)
        .map(|i| {
            let path = vector(QUICK).join(format!("node{i}/validator_keys/keystore-insecure-0.json"));
            let keystore = Keystore::from_json(&fs::read(&path).unwrap()).unwrap();
            let password = Password::from_bytes(&fs::read(path.with_extension("txt")).unwrap()).unwrap();
            (i + 1, keystore.open(&password).unwrap())
        })
        .collect();
    let copy = copy(QUICK, 0);
    let path = copy.path().join("deposit-data.json");
    let lock: serde_json::Value =
        serde_json::from_slice(&fs::read(copy.path().join("cluster-lock.json")).unwrap()).unwrap();
    let key = lock["distributed_validators"][0]["distributed_public_key"]
        .as_str()
        .unwrap();
    let mut entries = read_deposit_file(&fs::read(&path).unwrap()).unwrap();
    let entry = entries
        .iter_mut()
        .find(|entry| hex::encode(entry.message.pubkey) == key[2..])
        .unwrap();
    let mut message = entry.message;
    message.withdrawal_credentials = withdrawal_credentials(Address([0x66; 20]), false);
    let root = message.signing_root(network.genesis_fork_version);
    let partials: Vec<_> = shares.iter().map(|(i, share)| (*i, share.sign(&root))).collect();
    let signature = recover_signature(&partials).unwrap().to_bytes();
    *entry = DepositEntry::new(message, signature, &network);
    fs::write(&path, write_deposit_file(&entries, &network, &[7; 32]).unwrap()).unwrap();
    let result = check(QUICK, &[path]);
    assert_fails(
        &result,
        "deposits of the lock",
        "the withdrawal address or type is not the definition's",
    );
    assert_eq!(result.failures().count(), 1, "{:?}", failed(&result));
}

#[test]
fn what_cannot_be_verified_is_said() {
    let empty = tempfile::tempdir().unwrap();
    let problem = gather(&Disk::new(), &[empty.path().to_owned()], None)
        .err()
        .unwrap();
    assert_eq!(problem.kind.exit_code(), 3);
    let text = empty.path().join("notes.txt");
    fs::write(&text, "hello").unwrap();
    assert_eq!(
        gather(&Disk::new(), &[text], None)
            .err()
            .unwrap()
            .kind
            .exit_code(),
        3
    );
    let missing = gather(&Disk::new(), &[empty.path().join("cluster-lock.json")], None)
        .err()
        .unwrap();
    assert_eq!(missing.kind.exit_code(), 3);
    // A lock under another name is known by its content.
    let renamed = empty.path().join("ours.json");
    fs::copy(
        vector("dkg-v1.10-hoodi-4x2").join("node0/cluster-lock.json"),
        &renamed,
    )
    .unwrap();
    assert!(check("", &[renamed]).passed());
}

#[test]
fn a_transcript_of_something_else_is_refused() {
    let folder = copy("dkg-v1.10-hoodi-4x2", 0);
    let transcript = folder.path().join("ceremony/transcript");
    fs::create_dir(folder.path().join("ceremony")).unwrap();
    fs::write(&transcript, "conclave/transcript/1\n").unwrap();
    assert_fails(
        &check("", std::slice::from_ref(&transcript)),
        "can be read",
        "it is cut off",
    );
    fs::write(&transcript, "conclave transcript 1\n").unwrap();
    assert_fails(
        &check("", std::slice::from_ref(&transcript)),
        "can be read",
        "it is not a transcript",
    );
    // A well-formed one without any entries, of another definition.
    let empty = [b"conclave/transcript/1\n".as_slice(), &[7; 64], &[0; 4]].concat();
    fs::write(&transcript, empty).unwrap();
    for path in [transcript, folder.path().to_owned()] {
        assert_fails(
            &check("", &[path]),
            "steps and proofs",
            "it is the transcript of another ceremony, of the definition 0x0707",
        );
    }
}

/// Whatever docs/compatibility.md names as showing a line is there.
#[test]
fn what_shows_compatibility_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/compatibility.md")).unwrap();
    let named: Vec<&str> = text
        .split('`')
        .filter(|word| word.starts_with("tests/") || word.starts_with("crates/"))
        .collect();
    assert!(named.len() > 20);
    for path in named {
        assert!(root.join(path).exists(), "{path}");
    }
}

/// Whoever names several folders or files wants to know whether they are of one ceremony.
#[test]
fn what_is_of_different_ceremonies_is_said() {
    let lock = |folder: &str| vector(folder).join("node0/cluster-lock.json");
    let (one, other) = ("dkg-v1.10-hoodi-4x2", "dkg-v1.10-hoodi-4x1-signed");
    let hash = |folder: &str| {
        let value: serde_json::Value = serde_json::from_slice(&fs::read(lock(folder)).unwrap()).unwrap();
        value["lock_hash"].as_str().unwrap().to_owned()
    };
    let definition = |folder: &str| vector(folder).join("cluster-definition.json");
    let deposit = vector(other).join("node0/deposit-data.json");
    for paths in [
        vec![lock(one), lock(other)],
        vec![vector(QUICK).join("node0"), lock(other)],
        vec![lock(other), vector(QUICK).join("node0")],
        vec![vector(QUICK).join("node0"), deposit],
    ] {
        let result = check(one, &paths);
        assert_fails(&result, "same ceremony", &hash(other));
        assert!(
            failed(&result)
                .iter()
                .all(|text| text.starts_with("same ceremony")),
            "{:?}",
            failed(&result)
        );
    }
    assert_fails(
        &check(one, &[lock(one), lock(other)]),
        "same ceremony",
        &hash(one),
    );
    let folders = [one, other].map(|folder| {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(definition(folder), dir.path().join("cluster-definition.json")).unwrap();
        dir
    });
    let paths = [folders[0].path().to_owned(), folders[1].path().to_owned()];
    assert_fails(&check(one, &paths), "same ceremony", "the definition 0x");
    let result = check(
        one,
        &[
            lock(one),
            vector(one).join("node1/cluster-lock.json"),
            definition(one),
        ],
    );
    assert!(result.passed(), "{:?}", failed(&result));
}

/// Without its identity no share of a folder can be used, and another one does not help.
#[test]
fn a_missing_identity_is_missing() {
    let folder = copy(QUICK, 0);
    fs::remove_file(folder.path().join("charon-enr-private-key")).unwrap();
    let result = check(QUICK, &[folder.path().to_owned()]);
    assert!(
        result.passed(),
        "other software keeps it elsewhere: {:?}",
        failed(&result)
    );
    let open = |row: &conclave_ceremony::verify::Row| {
        row.check == "identity of an operator" && matches!(row.outcome, Outcome::NotChecked(_))
    };
    assert!(result.rows.iter().any(open));
    for ours in ["ceremony", "slashing-protection.redb"] {
        fs::create_dir(folder.path().join(ours)).unwrap();
        let result = check(QUICK, &[folder.path().to_owned()]);
        assert_fails(&result, "nothing is missing", "charon-enr-private-key");
        fs::remove_dir(folder.path().join(ours)).unwrap();
    }
}

/// Whoever looks at a folder before working with it is told that nothing may work in it, or what it has forgotten.
#[test]
fn what_became_of_a_folder_is_said() {
    for (mark, words) in [
        ("RETIRED", "retired"),
        ("RESTORED", "restored from a backup"),
        ("IMPORT-UNFINISHED", "not complete"),
    ] {
        let folder = copy(QUICK, 0);
        let said = |folder: &Path| {
            let result = check(QUICK, &[folder.to_owned()]);
            assert!(result.passed(), "{:?}", failed(&result));
            let rows = result
                .rows
                .into_iter()
                .filter(|row| row.check == "state of the folder");
            rows.filter_map(|row| row.finding).collect::<Vec<_>>()
        };
        assert_eq!(said(folder.path()), [""; 0]);
        fs::write(folder.path().join(mark), "").unwrap();
        let said = said(folder.path());
        assert!(said.len() == 1 && said[0].contains(words), "{said:?}");
    }
}

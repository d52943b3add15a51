//! `conclave verify` as a user meets it: exit codes, the table, the events.

mod group;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use conclave_cluster::lock::Lock;
use conclave_slashing::{Cluster, Mark};
use serde_json::Value;

fn vector(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(path)
}

fn conclave(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::cargo_bin("conclave").unwrap();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE_")) {
        command.env_remove(name);
    }
    command.args(arguments).args(paths).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_finished_ceremony_is_shown_as_a_table() {
    let output = conclave(&["verify"], &[&vector("dkg-v1.10-hoodi-4x1-signed/node0")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for check in [
        "lock hash",
        "wallet signatures",
        "deposits of the lock",
        "nothing is missing",
    ] {
        assert!(table.contains(check), "{check}: {table}");
    }
    assert!(
        table.contains(" ok, 0 failed, 0 could not be checked."),
        "{table}"
    );
}

#[test]
fn events_name_every_check_and_the_lock() {
    let lock = vector("dkg-v1.10-hoodi-4x2/node0/cluster-lock.json");
    let output = conclave(&["verify", "--json"], &[&lock]);
    assert_eq!(output.status.code(), Some(0));
    let events: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, checks) = events.split_last().unwrap();
    assert!(checks.len() > 10 && checks.iter().all(|event| event["event"] == "check"));
    let open: Vec<_> = checks.iter().filter(|event| event["result"] != "ok").collect();
    assert!(
        matches!(open.as_slice(), [event] if event["check"] == "wallet signatures"),
        "{open:?}"
    );
    let file: Value = serde_json::from_slice(&fs::read(lock).unwrap()).unwrap();
    assert_eq!(last["event"], "finished");
    assert_eq!(last["lock_hash"], file["lock_hash"]);
    assert_eq!(last["validators"].as_array().unwrap().len(), 2);
}

#[test]
fn a_failed_check_has_its_exit_code_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let deposit = folder.path().join("deposit-data.json");
    fs::copy(vector("dkg-v1.10-hoodi-4x2/node0/deposit-data.json"), &deposit).unwrap();
    let output = conclave(&["verify"], &[&deposit]);
    assert_eq!(output.status.code(), Some(6));
    let error = text(&output.stderr);
    assert!(
        error.contains("not a finished ceremony") && error.contains("do not deposit"),
        "{error}"
    );
    let output = conclave(&["verify", "--json"], &[&deposit]);
    let last: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["code"]), (&"error".into(), &6.into()));
}

/// What helps differs from check to check: a person and a script are told of each.
#[test]
fn every_failed_check_says_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    group::copy(&vector("dkg-v1.10-hoodi-4x2/node0"), folder.path());
    let deposit = folder.path().join("deposit-data.json");
    let changed = fs::read_to_string(&deposit)
        .unwrap()
        .replace("32000000000", "31000000000");
    fs::write(&deposit, changed).unwrap();
    fs::write(folder.path().join("validator_keys/keystore-1.json"), "").unwrap();
    let output = conclave(&["verify", "--json"], &[folder.path()]);
    let events: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let checks = events.iter().filter(|event| event["event"] == "check");
    let (failed, rest): (Vec<_>, Vec<_>) = checks.partition(|event| event["result"] == "failed");
    assert!(rest.iter().all(|event| event.get("what_to_do").is_none()));
    let advice = |part: &str| {
        let said = |event: &&&Value| {
            event["what_to_do"]
                .as_str()
                .is_some_and(|advice| advice.contains(part))
        };
        failed.iter().filter(said).count()
    };
    assert!(
        failed.len() >= 2 && failed.iter().all(|event| event["what_to_do"].is_string()),
        "{failed:?}"
    );
    assert!(
        advice("do not deposit and do not use") > 0 && advice("from your own backup") > 0,
        "{failed:?}"
    );
    let output = conclave(&["verify"], &[folder.path()]);
    assert!(
        text(&output.stdout).contains("from your own backup"),
        "{}",
        text(&output.stdout)
    );
    assert!(
        text(&output.stderr).contains("do not use these files"),
        "{}",
        text(&output.stderr)
    );
}

/// What is called good was opened: a database of another cluster, one that is cut off, one in which a byte is another.
#[test]
fn the_slashing_protection_is_opened_and_not_only_seen() {
    let folder = tempfile::tempdir().unwrap();
    group::copy(&vector("dkg-v1.10-hoodi-4x2/node0"), folder.path());
    let path = folder.path().join("slashing-protection.redb");
    let lock = Lock::from_json(&fs::read(folder.path().join("cluster-lock.json")).unwrap()).unwrap();
    let mine = Cluster::of_lock(&lock, 1).unwrap();
    let other = Cluster::of_lock(&lock, 2).unwrap();
    let whole = conclave_slashing::new_database(&mine, None).unwrap();
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(4096).step_by(512) {
        *byte ^= 1;
    }
    let marked = |mark| conclave_slashing::new_database(&mine, Some(mark)).unwrap();
    for (bytes, result, why) in [
        (whole.clone(), "ok", ""),
        (marked(Mark::Moved), "ok", ""),
        (marked(Mark::Restored), "not checked", "restored from a backup"),
        (marked(Mark::LatePublication), "ok", ""),
        (
            conclave_slashing::new_database(&other, None).unwrap(),
            "failed",
            "another operator",
        ),
        (whole[..whole.len() / 2].to_vec(), "failed", "damaged"),
        (flipped, "failed", "damaged"),
        (b"what was signed".to_vec(), "failed", "damaged"),
        (Vec::new(), "failed", "damaged"),
    ] {
        fs::write(&path, &bytes).unwrap();
        let output = conclave(&["verify", "--json"], &[folder.path()]);
        let row = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|event| event["check"] == "slashing protection")
            .unwrap();
        assert_eq!(row["result"], result, "{row}");
        assert!(row.to_string().contains(why), "{row}");
        assert_eq!(
            row.to_string().contains("leave that database"),
            result == "failed",
            "{row}"
        );
        assert_eq!(output.status.code(), Some(if result == "failed" { 6 } else { 0 }));
        // Nothing was mended behind anybody's back.
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn what_is_not_there_or_not_ours_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("cluster-lock.json");
    let other = folder.path().join("notes.json");
    fs::write(&other, "{}").unwrap();
    for path in [folder.path(), &missing, &other] {
        let output = conclave(&["verify"], &[path]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    }
    assert_eq!(conclave(&["verify"], &[]).status.code(), Some(2));
}

#[test]
fn a_password_file_opens_keystores_that_have_none_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let keys = vector("cluster-v1.10-custom-4x2/node0/validator_keys");
    let keystore = folder.path().join("keystore-insecure-0.json");
    fs::copy(keys.join("keystore-insecure-0.json"), &keystore).unwrap();
    let lock = vector("cluster-v1.10-custom-4x2/node0/cluster-lock.json");
    for (number, code) in [(0, 0), (1, 6)] {
        let password = keys.join(format!("keystore-insecure-{number}.txt"));
        let arguments = ["verify", "--password-file", password.to_str().unwrap()];
        let output = conclave(&arguments, &[&keystore, &lock]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    }
}

/// Copies of folders lose their modes easily. Every command that works with secrets tells, with the command that mends it.
#[test]
fn secrets_that_everybody_may_read_are_told() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("node");
    fs::create_dir_all(folder.join("validator_keys")).unwrap();
    let from = vector("dkg-v1.10-hoodi-4x1-signed/node0");
    for name in [
        "cluster-lock.json",
        "charon-enr-private-key",
        "validator_keys/keystore-0.json",
        "validator_keys/keystore-0.txt",
    ] {
        fs::copy(from.join(name), folder.join(name)).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let at = folder.to_str().unwrap();
    let definition = vector("dkg-v1.10-hoodi-4x1-signed/cluster-definition.json");
    let run = [
        "--data-dir",
        at,
        "run",
        "--dry-run",
        "--beacon-node",
        "http://127.0.0.1:1",
        "--graffiti",
    ];
    let run = [&run[..], &["this is more than thirty-two bytes of text"]].concat();
    let commands = [
        vec!["verify", at],
        run,
        vec!["--data-dir", at, "join", definition.to_str().unwrap()],
    ];
    for arguments in &commands {
        let error = text(&conclave(arguments, &[]).stderr);
        assert!(
            error.contains("everybody on this machine") && error.contains("charon-enr-private-key"),
            "{arguments:?}: {error}"
        );
        assert!(!error.contains("keystore-0.json"), "encrypted: {error}");
        let json = text(&conclave(&[&["--json"], &arguments[..]].concat(), &[]).stdout);
        let mut events = json
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told = events.any(|event| {
            event["event"] == "notice" && event["message"].as_str().unwrap().contains("chmod -R go= ")
        });
        assert!(told, "{arguments:?}: {json}");
    }
    // The command mends it.
    let error = text(&conclave(&commands[0], &[]).stderr);
    let command = error.split("This mends it: ").nth(1).unwrap();
    let command = command.lines().next().unwrap();
    let mended = std::process::Command::new("sh")
        .args(["-c", command])
        .status()
        .unwrap();
    assert!(mended.success());
    for arguments in &commands {
        let error = text(&conclave(arguments, &[]).stderr);
        assert!(
            !error.contains("everybody on this machine"),
            "{arguments:?}: {error}"
        );
    }
}

/// What stands in the place of a file is named, whichever command reads it.
#[test]
fn what_stands_in_the_place_of_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("deposit-data.json");
    fs::write(&page, "<html>502 Bad Gateway</html>").unwrap();
    let lock = vector("dkg-v1.10-hoodi-4x2/node0/cluster-lock.json");
    let definition = vector("dkg-v1.10-hoodi-4x2/cluster-definition.json");
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    let cases: [(Vec<String>, i32, &str); 5] = [
        (vec!["verify".to_owned(), at(&page)], 6, "a web page"),
        (vec!["define".to_owned(), at(&lock)], 3, "a cluster lock"),
        (
            vec![
                "verify".to_owned(),
                at(&lock),
                "--network-file".to_owned(),
                at(&definition),
            ],
            3,
            "a cluster definition",
        ),
        (
            vec![
                "--data-dir".to_owned(),
                at(dir.path()),
                "join".to_owned(),
                at(&lock),
            ],
            3,
            "a cluster lock",
        ),
        (
            vec![
                "--data-dir".to_owned(),
                at(dir.path()),
                "join".to_owned(),
                at(&page),
            ],
            3,
            "a web page",
        ),
    ];
    for (arguments, code, words) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = conclave(&arguments, &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

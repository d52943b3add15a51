//! `conclave rehearse`: a whole ceremony with one command, what it leaves, and what nobody may ever see.

mod group;
mod machine;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use conclave_eth::keystore::{Keystore, Password};
use group::{conclave, files};

fn rehearse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = conclave();
    command.current_dir(folder).args(["rehearse"]).args(arguments);
    // A person's own settings are not those of the rehearsal's operators.
    command.env("CONCLAVE_LISTEN", "/ip4/192.0.2.1/tcp/1");
    command.env("CONCLAVE_PEERS", "/ip4/192.0.2.1/tcp/1");
    command.env("CONCLAVE_WAIT", "1");
    command.env("CONCLAVE_DATA_DIR", "/nonexistent");
    command.output().unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, part: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(part) && text.contains("To do:"), "{text}");
}

#[test]
fn a_rehearsal_leaves_what_a_ceremony_does_and_keeps_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let output = rehearse(
        dir.path(),
        &["--out", "out", "--operators", "3", "--validators", "2"],
    );
    let shown = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&shown);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let out = dir.path().join("out");
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["operator-1", "operator-2", "operator-3"]);

    let mut secrets: Vec<Vec<u8>> = Vec::new();
    for i in 1..=3 {
        let folder = out.join(format!("operator-{i}"));
        for name in [
            "cluster-lock.json",
            "deposit-data.json",
            "cluster-definition.json",
        ] {
            let other = fs::read(out.join("operator-1").join(name)).unwrap();
            assert!(fs::read(folder.join(name)).unwrap() == other, "{name}");
        }
        let identity = fs::read_to_string(folder.join("charon-enr-private-key")).unwrap();
        secrets.push(hex::decode(identity).unwrap());
        for v in 0..2 {
            let read = |suffix: &str| {
                fs::read(folder.join(format!("validator_keys/keystore-{v}.{suffix}"))).unwrap()
            };
            let password = read("txt");
            let keystore = Keystore::from_json(&read("json")).unwrap();
            let share = keystore.open(&Password::from_bytes(&password).unwrap()).unwrap();
            secrets.push(share.to_bytes().to_vec());
            secrets.push(hex::decode(&password).unwrap());
        }
        for path in files(&folder) {
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let public = name.starts_with("cluster-") || name.starts_with("deposit-");
            let secret = name.starts_with("validator_keys/")
                || name == "charon-enr-private-key"
                || name.contains("seed");
            assert!(!public || mode(&path) == 0o644, "{name}: {:o}", mode(&path));
            assert!(!secret || mode(&path) == 0o600, "{name}: {:o}", mode(&path));
            assert!(!name.ends_with("seed"), "the seed is not needed any more");
        }
        for name in ["validator_keys", "ceremony"] {
            assert_eq!(
                fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
    }
    assert_eq!(secrets.len(), 3 * 5);
    // Neither on the screen nor in any file that is not made for it.
    let mut places = vec![("the screen".to_owned(), shown.clone())];
    for path in files(&out) {
        let name = path.display().to_string();
        if path.extension().is_none_or(|kind| kind != "txt") && !name.ends_with("charon-enr-private-key") {
            places.push((name, fs::read(path).unwrap()));
        }
    }
    for (place, bytes) in &places {
        let lower = bytes.to_ascii_lowercase();
        for secret in &secrets {
            let text = hex::encode(secret);
            let has = |wanted: &[u8]| lower.windows(wanted.len()).any(|part| part == wanted);
            assert!(!has(text.as_bytes()), "a secret is in {place}");
            assert!(
                !bytes.windows(secret.len()).any(|part| part == secret),
                "a secret is in {place}"
            );
        }
    }
    // Verified by itself too; and never written over.
    let mut verify = conclave();
    assert!(verify.arg("verify").arg(&out).output().unwrap().status.success());
    refused(&rehearse(dir.path(), &["--out", "out"]), 7, "not empty");
}

#[test]
fn what_is_no_rehearsal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for network in ["mainnet", "gnosis"] {
        refused(&rehearse(dir.path(), &["--network", network]), 3, "real money");
    }
    for arguments in [
        ["--operators", "1"],
        ["--operators", "65"],
        ["--threshold", "5"],
        ["--validators", "0"],
        ["--network", "nowhere"],
    ] {
        assert_eq!(
            rehearse(dir.path(), &arguments).status.code(),
            Some(3),
            "{arguments:?}"
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was begun");
}

/// Command line and environment of a process and of all that it started.
#[cfg(target_os = "linux")]
fn what_everybody_can_see(root: u32, seen: &mut std::collections::BTreeSet<Vec<u8>>) {
    let parent = |id: &str| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if id.parse() == Ok(root) || parent(&id) == Some(root) {
            for name in ["cmdline", "environ"] {
                seen.extend(fs::read(entry.path().join(name)));
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_process_shows_a_secret_in_its_command_line_or_environment() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut command = conclave();
    command
        .args([
            "--json",
            "rehearse",
            "--operators",
            "2",
            "--validators",
            "4",
            "--out",
        ])
        .arg(&out);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while child.try_wait().unwrap().is_none() {
        what_everybody_can_see(child.id(), &mut seen);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    let shows = |bytes: &[u8]| {
        seen.iter().any(|text| {
            text.windows(bytes.len())
                .any(|part| part.eq_ignore_ascii_case(bytes))
        })
    };
    assert!(shows(b"rehearse") && shows(b"operator-1") && shows(b"operator-2") && shows(b"PATH="));
    for operator in ["operator-1", "operator-2"] {
        let folder = out.join(operator);
        let identity = fs::read_to_string(folder.join("charon-enr-private-key")).unwrap();
        assert!(!shows(identity.trim().as_bytes()));
        for v in 0..4 {
            let read = |suffix: &str| {
                fs::read(folder.join(format!("validator_keys/keystore-{v}.{suffix}"))).unwrap()
            };
            let password = read("txt");
            assert!(!shows(&password));
            let keystore = Keystore::from_json(&read("json")).unwrap();
            let share = keystore.open(&Password::from_bytes(&password).unwrap()).unwrap();
            assert!(!shows(hex::encode(*share.to_bytes()).as_bytes()));
        }
    }
}

/// In its own mount namespace, with a tmpfs of `size`; `None`, and a line that says so, where mounting is not permitted.
#[cfg(target_os = "linux")]
fn on_a_tmpfs(size: &str, options: &str, folder: &Path, arguments: &[&str]) -> Option<Output> {
    let run = |script: &str, more: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new("unshare");
        command
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(folder)
            .args(more)
            .output()
    };
    let mount = format!("mount -t tmpfs -o size={size} tmpfs \"$1\"");
    if !run(&mount, &[]).is_ok_and(|output| output.status.success()) {
        machine::cannot("mount");
        return None;
    }
    let program = conclave().get_program().to_owned();
    let mut more: Vec<&std::ffi::OsStr> = vec![&program];
    more.extend(arguments.iter().map(std::ffi::OsStr::new));
    Some(
        run(
            &format!("{mount} && {options} cd \"$1\" && shift && exec \"$@\""),
            &more,
        )
        .unwrap(),
    )
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_or_read_only_disk_is_noticed_before_anything_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let Some(output) = on_a_tmpfs("600k", "", dir.path(), &["rehearse", "--operators", "2"]) else {
        return;
    };
    refused(&output, 1, "room");
    let read_only = "mount -o remount,ro \"$1\" &&";
    let output = on_a_tmpfs("8m", read_only, dir.path(), &["rehearse", "--operators", "2"]).unwrap();
    refused(&output, 1, "read-only");
}

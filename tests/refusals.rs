//! What is refused before anything is read, shown or written, whatever command it is given to.

mod group;

use std::fs;
use std::path::Path;
use std::process::Command;

use group::{conclave, copy};

/// What looks like a secret: the digits of a key, of a keystore's password, the words of a wallet.
const SECRETS: [&str; 4] = [
    "b216d91124cb93ab3fe8b0ae9728e4e1755589aeb216d91124cb93ab3fe8b0ae",
    "0xB216D91124CB93AB3FE8B0AE9728E4E1755589AEB216D91124CB93AB3FE8B0AE",
    "c7077e17b9c26a2ffa2afdda9296918b",
    "abandon ability able about above absent absorb abstract absurd abuse access accident",
];

/// Whether some part of a secret is shown.
fn shows(text: &str, secret: &str) -> bool {
    let (text, secret) = (text.to_lowercase(), secret.to_lowercase());
    let secret = secret.trim_start_matches("0x");
    (0..secret.len() - 10).any(|start| text.contains(&secret[start..start + 10]))
}

/// The command is refused with one of these exit codes, says that it was given what looks like a secret, and shows nothing of it.
fn is_told(command: &mut Command, secret: &str, codes: &[i32], what: &str) {
    for json in [false, true] {
        let output = group::output(command.env("CONCLAVE_JSON", json.to_string()));
        let seen = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(codes.contains(&output.status.code().unwrap()), "{what}: {seen}");
        assert!(!shows(&seen, secret), "{what}: {seen}");
        assert!(
            seen.contains("looks like") && seen.contains("do not send"),
            "{what}: {seen}"
        );
    }
}

#[test]
fn a_secret_is_told_from_the_lines_around_it() {
    let dir = tempfile::tempdir().unwrap();
    // Of several lines one is an address, one a public key that mail broke, and one a secret.
    let key = SECRETS[0];
    let list = format!("http://127.0.0.1:5052\n0x{key}\n{}\n{key}", &key[..32]);
    is_told(
        conclave()
            .args(["verify", "."])
            .env("CONCLAVE_EXIT_VALIDATORS", &list),
        key,
        &[2],
        "a list",
    );
    // Without it nothing is taken for one, wherever the lines were broken.
    for at in [60, 62, 64, 66, 68] {
        let (head, tail) = (&key[..at.min(64)], &key[..96 - at]);
        let list = format!("0x{head}{}\n{tail}\n", &key[..at.saturating_sub(64)]);
        let output = conclave()
            .args(["verify", "nowhere"])
            .env("CONCLAVE_EXIT_VALIDATORS", list)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let seen = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!seen.contains("looks like"), "{at}: {seen}");
    }
}

#[test]
fn a_secret_that_is_given_instead_of_something_else_is_told_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.toml");
    fs::write(&plan, "name = \"F\"\noperators = 2\nnetwork = \"hoodi\"\n").unwrap();
    let judge = |command: &mut Command, secret: &str, codes: &[i32], what: &str| {
        is_told(command.current_dir(dir.path()), secret, codes, what);
    };
    for secret in SECRETS {
        let operator = format!("dave={secret}");
        let flag = format!("--{secret}");
        let flag_with_value = format!("--{secret}=x");
        for arguments in [
            vec!["define", "plan.toml", "--operator", &operator],
            vec!["define", "plan.toml", "--operator", secret],
            vec!["define", "plan.toml", "--withdrawal-address", secret],
            vec!["define", secret],
            vec!["join", secret],
            vec!["join", "x.json", "--peer", secret],
            vec!["join", "x.json", "--announce", secret],
            vec!["run", "--beacon-node", secret],
            vec!["exit", "--validator", secret],
            vec!["identity", "new", "--name", secret],
            vec!["plan", "new", "--name", secret],
            vec!["plan", "new", "--operators", secret],
            vec!["plan", "new", "--network", secret],
            vec!["import", secret],
            vec!["backup", "x", "--password-file", secret],
            vec!["slashing-protection", "import", secret],
            vec!["verify", secret],
            vec![secret],
            vec!["join", &flag],
            vec!["join", &flag_with_value],
        ] {
            judge(
                conclave().args(&arguments),
                secret,
                &[2],
                &format!("{arguments:?}"),
            );
        }
        for variable in ["CONCLAVE_OPERATOR_RECORDS", "CONCLAVE_PEERS", "CONCLAVE_NAME"] {
            judge(
                conclave().args(["verify", "."]).env(variable, secret),
                secret,
                &[2],
                variable,
            );
        }
        // In a file: as all of it, and where people write, in it.
        fs::write(dir.path().join("secret"), format!("{secret}\n")).unwrap();
        fs::write(dir.path().join("records"), format!("# ours\nalice={secret}\n")).unwrap();
        fs::write(
            dir.path().join("odd.toml"),
            format!("name = \"F\"\noperators = \"{secret}\"\n"),
        )
        .unwrap();
        for arguments in [
            vec!["join", "secret"],
            vec!["define", "secret"],
            vec!["define", "plan.toml", "--operators-file", "secret"],
            vec!["define", "plan.toml", "--operators-file", "records"],
            vec!["define", "odd.toml"],
            vec!["import", "secret"],
            vec!["slashing-protection", "import", "secret"],
            vec!["exit", "--combine", "secret"],
            vec!["verify", "secret"],
        ] {
            judge(
                conclave().args(&arguments),
                secret,
                &[3],
                &format!("{arguments:?}"),
            );
        }
    }
    // Where a peer id belongs, and a key that was not copied whole.
    let peer = format!("/ip4/203.0.113.7/tcp/9510/p2p/{}", SECRETS[0]);
    let cut = &SECRETS[0][..62];
    for arguments in [
        ["join", "x.json", "--peer", &peer],
        ["define", "plan.toml", "--operator", cut],
    ] {
        judge(conclave().args(arguments), cut, &[2], &format!("{arguments:?}"));
    }
    // A password of nobody's form, where the file with it is wanted.
    let password = "correct horse battery";
    for command in [vec!["import", "x"], vec!["backup", "x"], vec!["verify", "."]] {
        let output = conclave()
            .args(command)
            .args(["--password-file", password])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let seen = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{seen}");
        assert!(
            !seen.contains("horse") && seen.contains("name of a file"),
            "{seen}"
        );
    }
    // What only looks a little like one.
    let hash = format!("/tmp/{}/x", SECRETS[0]);
    let output = conclave().args(["verify", &hash]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no such file"),
        "{output:?}"
    );
}

#[test]
fn no_output_is_written_where_conclave_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dkg-v1.10-hoodi-4x2/node0");
    let node = dir.path().join("node");
    fs::create_dir(&node).unwrap();
    copy(&vector, &node);
    fs::create_dir(node.join("ceremony")).unwrap();
    std::os::unix::fs::symlink("node/RETIRED", dir.path().join("link")).unwrap();
    let contents = || {
        let mut found = Vec::new();
        let mut folders = vec![node.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    };
    let before = contents();
    let commands: [(&str, &[&str]); 9] = [
        (
            "--log-file",
            &[
                "run",
                "--beacon-node",
                "http://127.0.0.1:1",
                "--log-file",
                "TARGET",
            ],
        ),
        ("--out", &["plan", "new", "--out", "TARGET"]),
        (
            "--partial-out",
            &["exit", "--yes", "--all", "--partial-out", "TARGET"],
        ),
        ("--out", &["exit", "--combine", "x", "--out", "TARGET"]),
        ("FILE", &["backup", "TARGET", "--password-file", "password"]),
        (
            "FILE",
            &["export", "TARGET", "--password-file", "password", "--yes"],
        ),
        ("FILE", &["slashing-protection", "export", "TARGET"]),
        ("--out", &["rehearse", "--out", "TARGET"]),
        ("--out", &["man", "--out", "TARGET"]),
    ];
    fs::write(dir.path().join("password"), "correct horse battery").unwrap();
    for target in [
        "node/RETIRED",
        "node/charon-enr-private-key",
        "node/cluster-lock.json",
        "node/slashing-protection.redb",
        "node/validator_keys/keystore-0.txt",
        "node/validator_keys",
        "node/ceremony/journal",
        "node/ceremony/../retired",
        "link",
    ] {
        for (flag, arguments) in commands {
            let arguments: Vec<&str> = arguments
                .iter()
                .map(|argument| if *argument == "TARGET" { target } else { argument })
                .collect();
            let mut command = conclave();
            command.args(["--data-dir", "node"]).args(&arguments);
            let output = group::output(command.current_dir(dir.path()));
            let seen = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {seen}");
            assert!(
                seen.contains(flag) && seen.contains("keeps for itself"),
                "{arguments:?}: {seen}"
            );
            assert!(contents() == before, "{arguments:?} changed something");
        }
    }
    // The same in a variable; and what is no log, wherever it is.
    let run = || {
        let mut run = conclave();
        run.args(["--data-dir", "node", "run", "--beacon-node", "http://127.0.0.1:1"])
            .current_dir(dir.path());
        run
    };
    let output = group::output(run().env("CONCLAVE_LOG_FILE", "node/RETIRED"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    fs::write(dir.path().join("precious"), "precious").unwrap();
    let output = group::output(run().args(["--log-file", "precious"]));
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"precious");
    assert!(contents() == before);
}

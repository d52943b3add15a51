//! The command as a user meets it: real processes, exit codes, messages, files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt;

const ADDRESS: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
/// The ASCII bytes of "conclave rehearsal!!".
const REHEARSAL: &str = "636f6e636c6176652072656865617273616c2121";

/// A command in a clean environment, without a terminal.
fn conclave(data_dir: &Path) -> Command {
    let mut command = Command::cargo_bin("conclave").unwrap();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE_")) {
        command.env_remove(name);
    }
    command
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(std::process::Stdio::null());
    command
}

fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    conclave(data_dir).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs, expects an exit code and a text in the message, and that it says why and what to do.
#[track_caller]
fn refuses(data_dir: &Path, arguments: &[&str], code: i32, message: &str) {
    let output = run(data_dir, arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}{}",
        out(&output),
        err(&output)
    );
    let text = err(&output);
    assert!(text.contains(message), "{arguments:?}: {text}");
    assert!(
        text.starts_with("Error: ") && text.contains("\nWhy:") && text.contains("\nTo do:"),
        "{text}"
    );
}

#[track_caller]
fn works(data_dir: &Path, arguments: &[&str]) -> String {
    let output = run(data_dir, arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}{}",
        out(&output),
        err(&output)
    );
    out(&output)
}

/// Makes identities and returns their `NAME=ENR`.
fn operators(folder: &Path, names: &[&str]) -> Vec<String> {
    let make = |name: &&str| {
        let text = works(&folder.join(name), &["identity", "new", "--name", name]);
        let record = text.split('\'').nth(1).unwrap().to_owned();
        assert!(record.starts_with(&format!("{name}=enr:")), "{text}");
        record
    };
    names.iter().map(make).collect()
}

fn write_plan(folder: &Path, more: &str) -> String {
    let path = folder.join("friends.toml");
    fs::write(
        &path,
        format!("name = \"Friends\"\noperators = 3\nnetwork = \"hoodi\"\n{more}"),
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

/// Arguments of a `define` with these operators.
fn define<'a>(plan: &'a str, operators: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["define", plan];
    for operator in operators {
        arguments.extend(["--operator", operator.as_str()]);
    }
    arguments.extend(more);
    arguments
}

const ADDRESSES: [&str; 4] = [
    "--withdrawal-address",
    ADDRESS,
    "--fee-recipient-address",
    ADDRESS,
];

#[test]
fn help_and_version_are_no_errors() {
    let dir = tempfile::tempdir().unwrap();
    assert!(works(dir.path(), &["--help"]).contains("Exit codes"));
    assert!(works(dir.path(), &["--version"]).starts_with("conclave "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(works(dir.path(), &["completions", shell]).contains("rehearse"));
    }
    assert!(works(dir.path(), &["man"]).contains(".TH"));
    let pages = dir.path().join("pages");
    works(dir.path(), &["man", "--out", pages.to_str().unwrap()]);
    for page in ["conclave.1", "conclave-join.1", "conclave-identity-new.1"] {
        assert!(
            fs::read_to_string(pages.join(page)).unwrap().contains(".TH"),
            "{page}"
        );
    }
}

#[test]
fn usage_errors_have_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["nonsense"][..],
        &["identity"],
        &["identity", "new", "--nam", "x"],
        &["define"],
        &["join", "--wait", "soon"],
        &["join", "--peer", "not-an-address"],
        &["join", "--password", "x"],
        &["verify"],
        &["completions", "tcl"],
    ] {
        assert_eq!(run(dir.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = run(dir.path(), &["nonsense", "--json"]);
    let event: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&event["event"], &event["code"]), (&"error".into(), &2.into()));
    // Without a terminal a missing answer is a usage error that names the flags.
    refuses(dir.path(), &["identity", "new"], 2, "--name NAME");
    refuses(dir.path(), &["plan", "new"], 2, "--operators N");
}

#[test]
fn an_identity_is_made_shown_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("carol");
    let made = works(&folder, &["identity", "new", "--name", "carol"]);
    let key = fs::read_to_string(folder.join("charon-enr-private-key")).unwrap();
    assert_eq!(key.len(), 64);
    assert!(!made.contains(&key));
    let mode = fs::metadata(folder.join("charon-enr-private-key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let record = made.split('\'').nth(1).unwrap();
    assert!(works(&folder, &["identity", "show"]).contains(record));
    refuses(&folder, &["identity", "new", "--name", "carol"], 7, "already");
    assert_eq!(
        fs::read_to_string(folder.join("charon-enr-private-key")).unwrap(),
        key
    );
    assert!(works(&folder, &["identity", "rename", "--name", "Caroline"]).contains("'Caroline=enr:"));
    let json = works(&folder, &["identity", "show", "--json"]);
    let event: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&event["event"], &event["name"]),
        (&"identity".into(), &"Caroline".into())
    );

    refuses(dir.path(), &["identity", "show"], 7, "no identity");
    refuses(&dir.path().join("none"), &["identity", "show"], 7, "no identity");
    for name in ["", "a\nb", "much too long a name for thirty-two bytes"] {
        refuses(
            &dir.path().join("x"),
            &["identity", "new", "--name", name],
            3,
            "name cannot be used",
        );
    }
    fs::write(folder.join("charon-enr-private-key"), "garbage").unwrap();
    refuses(&folder, &["identity", "show"], 3, "holds no key");
}

#[test]
fn environment_variables_stand_for_flags() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("conclave").unwrap();
    let output = command
        .args(["identity", "new"])
        .env("CONCLAVE_DATA_DIR", dir.path())
        .env("CONCLAVE_NAME", "dave")
        .env("CONCLAVE_JSON", "1")
        .output()
        .unwrap();
    let event: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(event["name"], "dave");
}

#[test]
fn a_plan_from_flags_can_be_defined() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["ann", "bob", "carol"];
    let operators = operators(dir.path(), &names);
    let text = works(
        dir.path(),
        &[
            "plan",
            "new",
            "--name",
            "Friends",
            "--operators",
            "3",
            "--network",
            "hoodi",
            "--validators",
            "2",
        ],
    );
    assert!(text.contains("Any 2 of the 3 operators can sign."), "{text}");
    let plan = dir.path().join("plan.toml").to_str().unwrap().to_owned();
    refuses(
        dir.path(),
        &[
            "plan",
            "new",
            "--name",
            "Friends",
            "--operators",
            "3",
            "--network",
            "hoodi",
        ],
        7,
        "already",
    );
    let text = works(dir.path(), &define(&plan, &operators, &ADDRESSES));
    for part in ["ann", "bob", "carol", ADDRESS, "Validators  2", "hoodi"] {
        assert!(text.contains(part), "{text}");
    }
    let bytes = fs::read(dir.path().join("cluster-definition.json")).unwrap();
    let definition: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(definition["version"], "v1.10.0");
    assert_eq!(definition["dkg_algorithm"], "gjkr");
    assert_eq!(definition["threshold"], 2);
    assert_eq!(definition["deposit_amounts"], serde_json::json!(["32000000000"]));
    assert_eq!(
        definition["operators"][1]["enr"],
        operators[1].split_once('=').unwrap().1
    );
    assert_eq!(definition["validators"].as_array().unwrap().len(), 2);
    // Never overwritten.
    refuses(dir.path(), &define(&plan, &operators, &ADDRESSES), 7, "already");
    assert_eq!(
        fs::read(dir.path().join("cluster-definition.json")).unwrap(),
        bytes
    );
}

#[test]
fn hostile_plans_are_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    for (text, message) in [
        (
            "name = \"x\"\noperators = 3\nnetwork = \"hoodi\"\ntreshold = 2",
            "did you mean `threshold`?",
        ),
        ("\u{0}\u{1}", "line 1"),
        (
            "name = \"x\"\noperators = 3\nnetwork = \"nowhere\"",
            "\"nowhere\" is not known",
        ),
        ("name = \"x\"\noperators = 3\nnetwork = \"goerli\"", "shut down"),
        (
            "name = \"x\"\noperators = 300\nnetwork = \"hoodi\"",
            "between 2 and 64",
        ),
        (
            "name = \"x\"\noperators = 3\nnetwork = \"hoodi\"\nwithdrawal_address = \"0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed\"",
            "checksum",
        ),
    ] {
        let path = dir.path().join("plan.toml");
        fs::write(&path, text).unwrap();
        refuses(
            dir.path(),
            &define(path.to_str().unwrap(), &[], &ADDRESSES),
            3,
            message,
        );
    }
    fs::write(dir.path().join("bytes.toml"), [0xff, 0xfe]).unwrap();
    refuses(
        dir.path(),
        &["define", dir.path().join("bytes.toml").to_str().unwrap()],
        3,
        "cannot be read",
    );
    refuses(
        dir.path(),
        &["define", dir.path().join("none.toml").to_str().unwrap()],
        3,
        "none.toml",
    );
    refuses(dir.path(), &["define", "/dev/zero"], 3, "/dev/zero");
    let huge = dir.path().join("huge.toml");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    refuses(dir.path(), &["define", huge.to_str().unwrap()], 3, "huge.toml");
    assert!(!dir.path().join("cluster-definition.json").exists());
}

#[test]
fn wrong_operators_are_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let plan = write_plan(dir.path(), "");
    let three = operators(dir.path(), &["ann", "bob", "carol"]);
    let data = dir.path().join("data");
    refuses(
        &data,
        &define(&plan, &three[..2], &ADDRESSES),
        3,
        "there are 2 operators",
    );
    refuses(&data, &define(&plan, &[], &ADDRESSES), 2, "--operator NAME=ENR");
    let again = three[0].replacen("ann", "eve", 1);
    refuses(
        &data,
        &define(&plan, &[three[0].clone(), three[1].clone(), again], &ADDRESSES),
        3,
        "same operator",
    );
    let mut mistyped = three.clone();
    let flipped = if mistyped[2].contains('X') {
        mistyped[2].replacen('X', "Y", 1)
    } else {
        mistyped[2].replacen('A', "B", 1)
    };
    mistyped[2] = flipped;
    refuses(&data, &define(&plan, &mistyped, &ADDRESSES), 3, "record of carol");
    let mut cut = three.clone();
    cut[1].truncate(60);
    refuses(&data, &define(&plan, &cut, &ADDRESSES), 3, "record of bob");
    let mut nameless = three.clone();
    nameless[0] = nameless[0].split_once('=').unwrap().1.to_owned();
    refuses(&data, &define(&plan, &nameless, &ADDRESSES), 3, "is no operator");
    let mut namesakes = three;
    namesakes[1] = namesakes[1].replacen("bob", "ann", 1);
    refuses(
        &data,
        &define(&plan, &namesakes, &ADDRESSES),
        3,
        "two operators named ann",
    );
    assert!(!data.join("cluster-definition.json").exists());
}

#[test]
fn addresses_of_nobody_are_refused_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let three = operators(dir.path(), &["ann", "bob", "carol"]);
    let data = dir.path().join("data");
    let plain = write_plan(dir.path(), "");
    let zero = "0x0000000000000000000000000000000000000000".to_owned();
    let checksummed = {
        let lower = format!("0x{REHEARSAL}");
        let output = run(
            &data,
            &define(
                &plain,
                &three,
                &["--withdrawal-address", &lower, "--fee-recipient-address", ADDRESS],
            ),
        );
        assert_eq!(output.status.code(), Some(3));
        // The message of a missing checksum shows the right form.
        err(&output)
            .split_whitespace()
            .find(|word| word.to_lowercase().contains(REHEARSAL) && *word != lower)
            .map_or(lower.clone(), |word| {
                word.trim_end_matches([':', ',', '.']).to_owned()
            })
    };
    for address in [&checksummed, &zero] {
        refuses(
            &data,
            &define(
                &plain,
                &three,
                &[
                    "--withdrawal-address",
                    address,
                    "--fee-recipient-address",
                    ADDRESS,
                ],
            ),
            3,
            "nobody has its key",
        );
        refuses(
            &data,
            &define(
                &plain,
                &three,
                &[
                    "--withdrawal-address",
                    ADDRESS,
                    "--fee-recipient-address",
                    address,
                ],
            ),
            3,
            "nobody has its key",
        );
        let plan = write_plan(dir.path(), &format!("withdrawal_address = \"{address}\""));
        refuses(
            &data,
            &define(&plan, &three, &ADDRESSES[2..]),
            3,
            "nobody has its key",
        );
        let target = dir.path().join("other.toml");
        refuses(
            &data,
            &[
                "plan",
                "new",
                "--name",
                "x",
                "--operators",
                "3",
                "--network",
                "hoodi",
                "--out",
                target.to_str().unwrap(),
                "--withdrawal-address",
                address,
            ],
            3,
            "nobody has its key",
        );
        assert!(!target.exists());
        fs::remove_file(&plan).unwrap();
        write_plan(dir.path(), "");
    }
    for address in [
        "0x1234",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
        "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    ] {
        refuses(
            &data,
            &define(
                &plain,
                &three,
                &[
                    "--withdrawal-address",
                    address,
                    "--fee-recipient-address",
                    ADDRESS,
                ],
            ),
            3,
            "withdrawal address",
        );
    }
    refuses(
        &data,
        &define(&plain, &three, &[]),
        2,
        "--withdrawal-address ADDRESS",
    );
    assert!(!data.join("cluster-definition.json").exists());
}

#[test]
fn a_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    works(dir.path(), &["identity", "new", "--name", "ann"]);
    let guard = fs::File::options()
        .write(true)
        .open(dir.path().join("ceremony/in-use"))
        .unwrap();
    guard.try_lock().unwrap();
    refuses(dir.path(), &["identity", "rename", "--name", "eve"], 7, "in use");
    guard.unlock().unwrap();
    works(dir.path(), &["identity", "rename", "--name", "eve"]);
}

/// Runs a shell script in its own mount namespace, with a tmpfs of `size` on `$1`. False, and a line that says so,
/// where mounting is not permitted.
#[cfg(target_os = "linux")]
fn with_tmpfs(size: &str, script: &str) -> Option<Output> {
    let dir = tempfile::tempdir().unwrap();
    let probe = Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(dir.path())
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: mounting a tmpfs is not permitted here");
        return None;
    }
    let program = Command::cargo_bin("conclave").unwrap().get_program().to_owned();
    let mount = format!(
        "set -e; mount -t tmpfs -o size={size} tmpfs \"$1\"; conclave=\"$2\"; cd \"$1\"; set +e; {script}"
    );
    Some(
        Command::new("unshare")
            .args(["-m", "sh", "-c", &mount, "sh"])
            .arg(dir.path())
            .arg(program)
            .output()
            .unwrap(),
    )
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_an_error_that_says_so() {
    let script = "mount -o remount,ro \"$1\" && exec \"$conclave\" --data-dir \"$1\" identity new --name ann";
    let Some(output) = with_tmpfs("1m", script) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(
        err(&output).contains("read-only") && err(&output).contains("To do:"),
        "{}",
        err(&output)
    );
    // An identity can still be shown.
    let script = "\"$conclave\" identity new --name ann >/dev/null && mount -o remount,ro \"$1\" && exec \"$conclave\" identity show";
    let output = with_tmpfs("1m", script).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_says_so_and_loses_nothing() {
    // The folder and its lock are there, then the disk fills up.
    let script = "mkdir -m 700 ceremony; : > ceremony/in-use; dd if=/dev/zero of=filler bs=4k 2>/dev/null; \
        \"$conclave\" identity new --name ann; code=$?; ls -A . ceremony; \
        rm filler; \"$conclave\" identity new --name ann >/dev/null || exit 99; exit $code";
    let Some(output) = with_tmpfs("256k", script) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(
        err(&output).contains("disk is full") && err(&output).contains("To do:"),
        "{}",
        err(&output)
    );
    assert!(
        !out(&output).contains("charon-enr-private-key") && !out(&output).contains("unfinished"),
        "{}",
        out(&output)
    );
}

#[test]
fn an_address_that_would_be_ignored_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let three = operators(dir.path(), &["ann", "bob", "carol"]);
    let plan = write_plan(dir.path(), &format!("withdrawal_address = \"{ADDRESS}\""));
    let data = dir.path().join("data");
    refuses(&data, &define(&plan, &three, &ADDRESSES), 2, "given twice");
    works(&data, &define(&plan, &three, &ADDRESSES[2..]));
}

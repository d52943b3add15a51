//! The command as a user meets it: real processes, exit codes, messages, files.

mod machine;

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
    let version = works(dir.path(), &["--version"]);
    assert!(
        version.starts_with(concat!("conclave ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    // Where the tests are in a repository, the day of the commit is known.
    let git = std::process::Command::new("git")
        .args(["log", "-1", "--format=%cs"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let is_repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".git")
        .exists();
    if let Some(output) = git.ok().filter(|output| is_repository && output.status.success()) {
        let day = String::from_utf8(output.stdout).unwrap();
        assert!(
            version.trim_end().ends_with(&format!(", {})", day.trim())),
            "{version}"
        );
    }
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

/// What a shell makes of a line.
fn shell(data_dir: &Path, line: &str) -> Output {
    let conclave = conclave(data_dir);
    let program = conclave.get_program().to_str().unwrap().to_owned();
    let mut shell = Command::new("sh");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE_")) {
        shell.env_remove(name);
    }
    let line = format!("'{program}' --data-dir '{}' {line}", data_dir.display());
    shell
        .args(["-c", &line])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

/// Names and records as the definition in a folder has them.
fn defined(data: &Path) -> Vec<String> {
    let bytes = fs::read(data.join("cluster-definition.json")).unwrap();
    let definition: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let operators = definition["operators"].as_array().unwrap();
    operators
        .iter()
        .map(|operator| operator["enr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_line_that_identity_new_prints_can_be_pasted_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let plan = write_plan(dir.path(), "");
    let names = ["Smith, Joe", "O'Neill", "carol"];
    let lines: Vec<String> = (1..)
        .zip(names)
        .map(|(i, name)| {
            let text = works(
                &dir.path().join(format!("identity-{i}")),
                &["identity", "new", "--name", name],
            );
            text.lines().last().unwrap().to_owned()
        })
        .collect();
    let enrs: Vec<String> = lines
        .iter()
        .map(|line| {
            line[line.find("enr:").unwrap()..]
                .trim_end_matches('\'')
                .to_owned()
        })
        .collect();
    let addresses = ADDRESSES.join(" ");

    // Into a shell: as it is, and after the flag.
    let data = dir.path().join("a");
    let output = shell(&data, &format!("define {plan} {} {addresses}", lines.join(" ")));
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(
        names.iter().all(|name| out(&output).contains(name)),
        "{}",
        out(&output)
    );
    assert_eq!(defined(&data), enrs);
    let data = dir.path().join("b");
    let output = shell(
        &data,
        &format!(
            "define {plan} --operator {} {addresses}",
            lines.join(" --operator ")
        ),
    );
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(defined(&data), enrs);

    // As the value of the flag, as mail and chats make it.
    let broken = format!("> {}\n> {}", &lines[0][..70], &lines[0][70..]);
    let curly = format!("\u{201c}{}={}\u{201d}", names[1], enrs[1]);
    let dashed = lines[2].replace("--", "\u{2014}").replace('\'', "\u{2019}");
    let data = dir.path().join("c");
    works(
        &data,
        &define(
            &plan,
            &[broken.clone(), curly.clone(), dashed.clone()],
            &ADDRESSES,
        ),
    );
    assert_eq!(defined(&data), enrs);

    // From a variable, and from a file.
    let data = dir.path().join("d");
    let plain: Vec<String> = names
        .iter()
        .zip(&enrs)
        .map(|(name, enr)| format!("{name}={enr}"))
        .collect();
    let mut command = conclave(&data);
    command.env("CONCLAVE_OPERATOR_RECORDS", plain.join(","));
    let output = command.args(define(&plan, &[], &ADDRESSES)).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(defined(&data), enrs);
    let data = dir.path().join("e");
    let file = dir.path().join("records");
    fs::write(
        &file,
        format!("\u{feff}# we\r\n{}\r\n\r\n{curly}\r\n{dashed}\r\n", lines[0]),
    )
    .unwrap();
    let file = ["--operators-file", file.to_str().unwrap()];
    works(&data, &define(&plan, &[], &[&file[..], &ADDRESSES[..]].concat()));
    assert_eq!(defined(&data), enrs);
    fs::write(file[1], "bob=enr:-HW4Q\n").unwrap();
    refuses(
        &data.join("f"),
        &define(&plan, &[], &[&file[..], &ADDRESSES[..]].concat()),
        3,
        "records: the record of bob",
    );
}

/// All variables that a command may take something from.
fn variables() -> Vec<String> {
    use clap::CommandFactory;
    fn look(command: &clap::Command, found: &mut Vec<String>) {
        let arguments = command.get_arguments().filter_map(|argument| argument.get_env());
        found.extend(arguments.map(|variable| variable.to_str().unwrap().to_owned()));
        command.get_subcommands().for_each(|command| look(command, found));
    }
    let mut found = vec!["CONCLAVE_LOG".to_owned()];
    look(&conclave::cli::args::Cli::command(), &mut found);
    found
}

#[test]
fn empty_variables_are_as_good_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let plan = write_plan(dir.path(), "");
    let three = operators(dir.path(), &["ann", "bob", "carol"]);
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for empty in ["", " ", "\n"] {
        let with = |arguments: &[&str]| {
            let mut command = Command::cargo_bin("conclave").unwrap();
            command.envs(variables().into_iter().map(|variable| (variable, empty)));
            command.current_dir(&folder).stdin(std::process::Stdio::null());
            let output = command.args(arguments).output().unwrap();
            (output.status.code(), err(&output))
        };
        let (code, text) = with(&define(&plan, &three, &ADDRESSES));
        assert_eq!(code, Some(0), "{text}");
        assert!(folder.join("cluster-definition.json").exists());
        fs::remove_file(folder.join("cluster-definition.json")).unwrap();
        for (arguments, code, part) in [
            (&["identity", "show"][..], 7, "no identity"),
            (&["plan", "new"], 2, "--network NETWORK"),
            (&["join"], 7, "no identity"),
            (&["verify"], 2, "<PATH>"),
            (&["run"], 2, "--beacon-node"),
            (&["run", "--beacon-node", "http://localhost:1"], 7, ""),
            (&["exit", "--validator", "0x00"], 7, ""),
            (&["status"], 7, ""),
            (&["export"], 2, "FILE"),
        ] {
            let (found, text) = with(arguments);
            assert_eq!(found, Some(code), "{arguments:?}: {text}");
            assert!(text.contains(part), "{arguments:?}: {text}");
        }
    }
}

/// What a Windows editor, a file or a block of YAML leaves at the end of a value is part of none.
#[test]
fn line_ends_in_variables_are_not_meant() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let plan = write_plan(dir.path(), "");
    let records = operators(dir.path(), &["ann", "bob", "carol"]);
    for end in ["\r", "\n", "\r\n"] {
        let with = |variables: &[(&str, &str)], arguments: &[&str]| {
            let mut command = Command::cargo_bin("conclave").unwrap();
            command.envs(
                variables
                    .iter()
                    .map(|(name, value)| (name, format!("{value}{end}"))),
            );
            command.current_dir(&folder).stdin(std::process::Stdio::null());
            let output = command.args(arguments).output().unwrap();
            let text = String::from_utf8(output.stdout.clone()).unwrap();
            (output.status.code(), text + &err(&output))
        };
        // A name, a folder, a word.
        let (code, text) = with(
            &[
                ("CONCLAVE_NAME", "Joe"),
                ("CONCLAVE_DATA_DIR", &format!("joe{}", end.len())),
                ("CONCLAVE_JSON", "yes"),
            ],
            &["identity", "new"],
        );
        assert_eq!(code, Some(0), "{end:?}: {text}");
        let _ = fs::remove_dir_all(folder.join(format!("joe{}", end.len())));
        // Numbers, words of a list, addresses, files, and a line for each value.
        let lines = records.join(if end == "\n" { "\n" } else { "\r\n" });
        let (code, text) = with(
            &[
                ("CONCLAVE_PLAN", &plan),
                ("CONCLAVE_NETWORK", "hoodi"),
                ("CONCLAVE_WITHDRAWAL_ADDRESS", ADDRESS),
                ("CONCLAVE_FEE_RECIPIENT_ADDRESS", ADDRESS),
                ("CONCLAVE_OPERATOR_RECORDS", &lines),
            ],
            &["define"],
        );
        assert_eq!(code, Some(0), "{end:?}: {text}");
        fs::remove_file(folder.join("cluster-definition.json")).unwrap();
        let missing = dir.path().join("nobody");
        let (code, text) = with(
            &[(
                "CONCLAVE_VERIFY",
                &format!("{}{end}{}", missing.display(), missing.display()),
            )],
            &["verify"],
        );
        assert!(code != Some(0) && !text.contains("\\r"), "{end:?}: {text}");
        let (code, text) = with(
            &[
                ("CONCLAVE_WAIT", "1s"),
                ("CONCLAVE_RETRIES", "3"),
                ("CONCLAVE_KDF", "scrypt"),
            ],
            &["join"],
        );
        assert_eq!(code, Some(7), "{end:?}: {text}");
        assert!(text.contains("there is no identity"), "{end:?}: {text}");
    }
}

/// What variables are set to, for which command, and what is told: of which name, what. `@` is an address of the network.
const MISTAKES: &str = r#"
CONCLAVE_PEERS | "@" | join x | CONCLAVE_PEERS | quotes
CONCLAVE_PEERS | @, | join x | CONCLAVE_PEERS | comma
CONCLAVE_LISTEN | '@' | join x | CONCLAVE_LISTEN | quotes
CONCLAVE_ANNOUNCE | @,,@ | join x | CONCLAVE_ANNOUNCE | comma
CONCLAVE_BEACON_NODES | "http://localhost:5052" | run | CONCLAVE_BEACON_NODES | quotes
CONCLAVE_BEACON_NODES | http://localhost:5052, | run | CONCLAVE_BEACON_NODES | comma
CONCLAVE_DEFINITION | "x.json" | join | CONCLAVE_DEFINITION | quotes
CONCLAVE_VALIDATORS | "3" | plan new | CONCLAVE_VALIDATORS | quotes
CONCLAVE_VALIDATORS | 3, | plan new | CONCLAVE_VALIDATORS | comma
CONCLAVE_AMOUNTS | 1,32, | plan new | CONCLAVE_AMOUNTS | comma
CONCLAVE_EXIT_VALIDATORS | 0x00, | exit | CONCLAVE_EXIT_VALIDATORS | comma
CONCLAVE_DATA_DIR | "/tmp" | status | CONCLAVE_DATA_DIR | quotes
CONCLAVE_DATA_DIR | /tmp/x, | status | CONCLAVE_DATA_DIR | comma
CONCLAVE_NAME | "carol" | identity new | CONCLAVE_NAME | quotes
CONCLAVE_NAME | carol, | identity new | CONCLAVE_NAME | comma
CONCLAVE_CLUSTER_NAME | 'Friends' | plan new | CONCLAVE_CLUSTER_NAME | quotes
CONCLAVE_GRAFFITI | “hello” | run --beacon-node http://127.0.0.1:1 | CONCLAVE_GRAFFITI | quotes
CONCLAVE_NETWORK | hoodi, | plan new | CONCLAVE_NETWORK | comma
CONCLAVE_WITHDRAWAL_ADDRESS | 0x11, | plan new | CONCLAVE_WITHDRAWAL_ADDRESS | comma
CONCLAVE_WAIT | 1h, | join x | CONCLAVE_WAIT | comma
CONCLAVE_KDF | scrypt, | join x | CONCLAVE_KDF | comma
CONCLAVE_YES | "false" | join x | CONCLAVE_YES | quotes
CONCLAVE_YES | false, | join x | CONCLAVE_YES | comma
CONCLAVE_EXECUTION_CLIENT | http://localhost:8545, | join x | CONCLAVE_EXECUTION_CLIENT | comma
CONCLAVE_CONTRACT_WALLETS | '0x1111111111111111111111111111111111111111' | join x | CONCLAVE_CONTRACT_WALLETS | quotes
CONCLAVE_MONITORING_ADDRESS | 127.0.0.1:9600, | run --beacon-node http://127.0.0.1:1 | CONCLAVE_MONITORING_ADDRESS | comma
CONCLAVE_WITHOUT | "bob" | run --beacon-node http://127.0.0.1:1 | CONCLAVE_WITHOUT | quotes
CONCLAVE_LOG_FILE | log, | run --beacon-node http://127.0.0.1:1 | CONCLAVE_LOG_FILE | comma
CONCLAVE_OPERATORS | four | plan new | CONCLAVE_OPERATORS | digits only
CONCLAVE_TARGET_GAS_LIMIT | 60,000,000 | plan new | CONCLAVE_TARGET_GAS_LIMIT | digits only
"#;

#[test]
fn quotes_and_commas_that_nobody_means_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<&str> = MISTAKES.trim().lines().collect();
    assert_eq!(lines.len(), 30);
    for line in lines {
        let [variable, value, command, name, what] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let mut process = Command::cargo_bin("conclave").unwrap();
        process
            .env(variable, value.replace('@', "/ip4/127.0.0.1/tcp/1"))
            .current_dir(dir.path())
            .stdin(std::process::Stdio::null());
        let output = process.args(command.split(' ')).output().unwrap();
        let said = err(&output);
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains(name) && said.contains(what), "{line}: {said}");
        // What a name, or a greeting in blocks, may really have around it.
        let flag = match variable {
            "CONCLAVE_NAME" | "CONCLAVE_CLUSTER_NAME" => Some("--name"),
            "CONCLAVE_GRAFFITI" => Some("--graffiti"),
            "CONCLAVE_WITHOUT" => Some("--without"),
            _ => None,
        };
        let meant = flag.is_some_and(|flag| said.contains(&format!("with {flag}, where they stay")));
        assert_eq!(meant, flag.is_some(), "{line}: {said}");
    }
    // The same on the command line, and what is meant stays.
    refuses(dir.path(), &["verify", "\"lock.json\""], 2, "quotes");
    refuses(dir.path(), &["verify", "lock.json,"], 2, "comma");
    works(
        &dir.path().join("quoted"),
        &["identity", "new", "--name", "\"Joe\""],
    );
    works(&dir.path().join("comma"), &["identity", "new", "--name", "Joe,"]);
    refuses(dir.path(), &["plan", "new", "--network", "hoodi,"], 2, "comma");
    // A file may have such a name.
    std::fs::write(dir.path().join("lock,"), "{}").unwrap();
    let mut command = conclave(dir.path());
    let output = command
        .current_dir(dir.path())
        .args(["verify", "lock,"])
        .output()
        .unwrap();
    assert!(!err(&output).contains("comma at the end"), "{}", err(&output));
}

/// Every flag without a value that has a variable: the command it is of, and the variable.
fn switches(command: &clap::Command, path: &[String], found: &mut Vec<(Vec<String>, String)>) {
    for argument in command.get_arguments() {
        if let Some(variable) = argument.get_env()
            && !argument.get_action().takes_values()
        {
            found.push((path.to_vec(), variable.to_str().unwrap().to_owned()));
        }
    }
    for command in command.get_subcommands() {
        let path = [path, &[command.get_name().to_owned()]].concat();
        switches(command, &path, found);
    }
}

#[test]
fn a_variable_consents_only_if_it_says_yes() {
    use clap::CommandFactory;
    let dir = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    switches(&conclave::cli::args::Cli::command(), &[], &mut found);
    assert!(found.len() >= 12, "{found:?}");
    let said = |path: &[String], variable: &str, value: &str| {
        let mut process = Command::cargo_bin("conclave").unwrap();
        process.env(variable, value).current_dir(dir.path());
        // The variable for all is seen whatever the command is.
        let path = if path.is_empty() {
            &["status".to_owned()]
        } else {
            path
        };
        let output = process
            .stdin(std::process::Stdio::null())
            .args(path)
            .output()
            .unwrap();
        (output.status.code(), err(&output))
    };
    for (path, variable) in &found {
        for neither in ["disabled", "\"true\"", "true,"] {
            let (code, told) = said(path, variable, neither);
            assert_eq!(code, Some(2), "{path:?} {variable} {neither}: {told}");
            assert!(told.contains(variable), "{path:?} {variable} {neither}: {told}");
        }
        // Whatever the end of its line is.
        for word in ["false\r", "false\n", "off ", "0\r\n", "True\r\n"] {
            let (_, told) = said(path, variable, word);
            assert!(!told.contains(variable), "{path:?} {variable} {word:?}: {told}");
        }
    }
}

#[test]
fn what_a_variable_denies_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let json = |value: &str| {
        let mut process = conclave(dir.path());
        process.env("CONCLAVE_JSON", value);
        let output = process.args(["identity", "show"]).output().unwrap();
        out(&output).starts_with('{')
    };
    for no in ["false", "false\r", "false\n", "off ", "No\r\n", "0\r"] {
        assert!(!json(no), "{no:?}");
    }
    for yes in ["true\r", "1", "On ", "yes\n"] {
        assert!(json(yes), "{yes:?}");
    }
}

#[test]
fn addresses_are_named_by_the_flag_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    for (flag, value, part) in [
        ("--announce", "/ip4/203.0.113.7", "no port"),
        ("--announce", "203.0.113.7", "203.0.113.7:9510"),
        ("--peer", "alice.example", "name.example:9510"),
        ("--listen", "alice.example:9510", "a name cannot be listened on"),
    ] {
        let output = run(dir.path(), &["join", "x", flag, value]);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(
            err(&output).contains(flag) && err(&output).contains(part),
            "{}",
            err(&output)
        );
    }
}

#[test]
fn paths_with_commas_are_one_path() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("Backup, November");
    fs::create_dir(&folder).unwrap();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dkg-v1.10-hoodi-4x2/node0");
    let (one, two) = (folder.join("lock, one.json"), folder.join("two.json"));
    fs::copy(vectors.join("cluster-lock.json"), &one).unwrap();
    fs::copy(&one, &two).unwrap();
    let alone = works(dir.path(), &["verify", one.to_str().unwrap()]);
    assert!(alone.contains("lock, one.json"), "{alone}");
    let mut command = conclave(dir.path());
    command.env(
        "CONCLAVE_VERIFY",
        format!("{}\n{}\n", one.display(), two.display()),
    );
    let output = command.arg("verify").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(
        out(&output).contains("lock, one.json") && out(&output).contains("two.json"),
        "{}",
        out(&output)
    );
}

#[test]
fn money_goes_to_nobody_only_if_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let three = operators(dir.path(), &["ann", "bob", "carol"]);
    let plan = write_plan(dir.path(), "");
    let burnt = "0x000000000000000000000000000000000000dEaD";
    let deposits = "0x00000000219ab540356cBB839Cbe05303d7705Fa";
    for (i, address) in (0..).zip([burnt, deposits, "0x0000000000000000000000000000000000000001"]) {
        for (withdrawal, fees) in [(address, ADDRESS), (ADDRESS, address)] {
            let addresses = [
                "--withdrawal-address",
                withdrawal,
                "--fee-recipient-address",
                fees,
            ];
            let data = dir.path().join("data");
            refuses(&data, &define(&plan, &three, &addresses), 3, "cannot be the");
            let new = [
                "plan",
                "new",
                "--name",
                "x",
                "--operators",
                "3",
                "--network",
                "hoodi",
            ];
            let new = [&new[..], &addresses[..]].concat();
            refuses(&data, &new, 3, "--any-address");
            let data = dir.path().join(format!("any-{i}-{}", fees == address));
            fs::create_dir(&data).unwrap();
            works(&data, &[&new[..], &["--any-address"]].concat());
            let text = works(
                &data,
                &define(&plan, &three, &[&addresses[..], &["--any-address"]].concat()),
            );
            assert!(text.contains(address), "{text}");

            if fees == address {
                // The operator's folder has begun the other ceremony.
                continue;
            }
            // Whoever is to join it is not held to what its maker said.
            let definition = data.join("cluster-definition.json");
            let join = [
                "join",
                definition.to_str().unwrap(),
                "--yes",
                "--listen",
                "127.0.0.1:0",
                "--wait",
                "0s",
            ];
            let folder = dir.path().join(["ann", "bob", "carol"][i]);
            refuses(&folder, &join, 3, "cannot be the");
            assert!(!folder.join("ceremony/journal").exists());
            let output = run(&folder, &[&join[..], &["--any-address"]].concat());
            assert_eq!(output.status.code(), Some(4), "{}", err(&output));
            assert!(
                err(&output).contains("money sent there is gone"),
                "{}",
                err(&output)
            );
        }
    }
}

#[test]
fn an_address_without_letters_is_warned_of_in_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let three = operators(dir.path(), &["ann", "bob", "carol"]);
    let ones = "0x1357913579135791357913579135791357913579";
    let plan = write_plan(dir.path(), &format!("withdrawal_address = \"{ones}\""));
    let data = dir.path().join("data");
    let output = run(&data, &define(&plan, &three, &ADDRESSES[2..]));
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let warned = |output: &Output| err(output).contains("no checksum protects it");
    assert!(warned(&output), "{}", err(&output));
    let definition = data.join("cluster-definition.json");
    let join = [
        "join",
        definition.to_str().unwrap(),
        "--yes",
        "--listen",
        "127.0.0.1:0",
        "--wait",
        "0s",
    ];
    let output = run(&dir.path().join("ann"), &join);
    assert!(
        output.status.code() == Some(4) && warned(&output),
        "{}",
        err(&output)
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
        ("\u{0}\u{1}", "it holds no text"),
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
        "the number of records that were given is 2",
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
        machine::cannot("mount");
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

/// What people have instead of a good file is told without a parser's words, and what they are told to do helps against just that.
#[test]
fn what_is_wrong_with_a_file_is_told_plainly_and_the_advice_fits() {
    const PARSER: [&str; 6] = ["EOF", "expected", "struct", "at line", "invalid type", "trailing"];
    const DEPOSIT: &str = "do not deposit and do not use these files";
    const ANOTHER: &str = "take that file from your backup or from another operator";
    const OWN: &str = "put it back from your own backup";
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/cluster-v1.10-custom-4x2/node0");
    let lock = fs::read(vector.join("cluster-lock.json")).unwrap();
    let keystore = fs::read(vector.join("validator_keys/keystore-insecure-0.json")).unwrap();
    let deposits = fs::read(vector.join("deposit-data.json")).unwrap();
    let wide: Vec<u8> = lock.iter().flat_map(|byte| [*byte, 0]).collect();
    let later = String::from_utf8(lock.clone())
        .unwrap()
        .replace("\"v1.10.0\"", "\"v1.99.0\"");
    let altered =
        String::from_utf8(lock.clone())
            .unwrap()
            .replacen("\"threshold\": 3", "\"threshold\": 4", 1);
    assert!(later.as_bytes() != lock && altered.as_bytes() != lock);
    let dir = tempfile::tempdir().unwrap();
    let verify = |name: &str, bytes: &[u8], code: i32, why: &str, advice: &str| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let output = run(dir.path(), &["verify", path.to_str().unwrap()]);
        let text = err(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {text}");
        let all = format!("{}{text}", out(&output));
        assert!(PARSER.iter().all(|word| !all.contains(word)), "{name}: {all}");
        let to_do = text.split("\nTo do:").nth(1).unwrap_or_default();
        assert!(text.contains(why) && to_do.contains(advice), "{name}: {text}");
        assert_eq!(to_do.contains(DEPOSIT), advice == DEPOSIT, "{name}: {text}");
        fs::remove_file(path).unwrap();
    };
    verify("cluster-lock.json", b"", 6, "an empty file", ANOTHER);
    verify("cluster-lock.json", &[0; 100], 6, "zero bytes", ANOTHER);
    verify(
        "cluster-lock.json",
        &lock[..lock.len() / 2],
        6,
        "it is cut off",
        ANOTHER,
    );
    verify("cluster-lock.json", &wide, 6, "UTF-16", ANOTHER);
    verify("cluster-lock.json", b"<!DOCTYPE html>", 6, "a web page", ANOTHER);
    verify("cluster-lock.json", &keystore, 6, "this is a keystore", ANOTHER);
    verify(
        "cluster-lock.json",
        later.as_bytes(),
        6,
        "v1.99.0",
        "update conclave",
    );
    verify("cluster-lock.json", altered.as_bytes(), 6, "config hash", DEPOSIT);
    verify("keystore-0.json", &keystore[..100], 6, "it is cut off", OWN);
    verify("keystore-0.json", &[0; 100], 6, "zero bytes", OWN);
    verify("deposit-data.json", &deposits[..100], 6, "it is cut off", ANOTHER);
    // Of no known name: it is looked at for what it may be.
    verify("ours", &lock[..lock.len() / 2], 3, "it is cut off", "name a file");
    // What is missing in a folder is not there to be compared.
    let folder = dir.path().join("folder");
    fs::create_dir_all(folder.join("validator_keys")).unwrap();
    fs::write(folder.join("cluster-lock.json"), &lock).unwrap();
    for name in ["deposit-data.json", "deposit-data-1eth.json"] {
        fs::copy(vector.join(name), folder.join(name)).unwrap();
    }
    refuses(dir.path(), &["verify", folder.to_str().unwrap()], 6, OWN);
    // A folder in the place of a file, a file in that of a folder, and a folder that is not there.
    let folder = folder.to_str().unwrap();
    refuses(
        dir.path(),
        &["join", folder],
        3,
        "it is a folder, and this has to be a file",
    );
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let inside = file.join("cluster-lock.json");
    refuses(
        dir.path(),
        &["verify", inside.to_str().unwrap()],
        3,
        "file is a file, and this has to be a folder",
    );
}

#[test]
fn whoever_defines_with_an_identity_that_is_none_of_the_operators_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let records = operators(dir.path(), &["ann", "bob", "cat", "zed"]);
    let plan = write_plan(dir.path(), "");
    let told = |name: &str| {
        let output = run(&dir.path().join(name), &define(&plan, &records[..3], &ADDRESSES));
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        err(&output).contains("is none of these operators")
    };
    assert!(told("zed"));
    assert!(!told("ann"));
    // Whoever only defines has no identity.
    assert!(!told("nobody"));
    let twice = [records[0].clone(), records[0].clone(), records[1].clone()];
    refuses(
        &dir.path().join("bob"),
        &define(&plan, &twice, &ADDRESSES),
        3,
        "was given twice",
    );
}

#[test]
fn a_plan_with_slips_is_refused_with_the_right_advice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    for (lines, what) in [
        (
            "operators = four",
            "four is no value: a number is written in digits",
        ),
        ("operators = \u{201c}4\u{201d}", "typographic quote (\u{201c})"),
        ("operators = \"4\"", "operators = 4"),
        (
            "operators = 3\ntarget_gas_limit = \"60M\"",
            "target_gas_limit = 60000000",
        ),
        ("operators = 3\ntarget_gas_limit = 1", "not millions"),
        ("operators = 3\ntarget_gas_limit = 60", "not millions"),
    ] {
        fs::write(&path, format!("name = \"F\"\nnetwork = \"hoodi\"\n{lines}\n")).unwrap();
        refuses(dir.path(), &["define", path.to_str().unwrap()], 3, what);
    }
    let flags = [
        "plan",
        "new",
        "--name",
        "F",
        "--network",
        "hoodi",
        "--operators",
        "3",
    ];
    for flags in [
        [&flags[..], &["--target-gas-limit", "60"]].concat(),
        ["identity", "new", "--name", "\u{201c}Bob\u{201d}"].to_vec(),
    ] {
        refuses(&dir.path().join("new"), &flags, 3, "");
    }
}

#[test]
fn without_a_lock_there_is_nothing_to_export() {
    let dir = tempfile::tempdir().unwrap();
    operators(dir.path(), &["ann"]);
    fs::write(dir.path().join("password"), "correct horse battery").unwrap();
    let (archive, password) = (dir.path().join("archive"), dir.path().join("password"));
    let arguments = [
        "export",
        archive.to_str().unwrap(),
        "--yes",
        "--password-file",
        password.to_str().unwrap(),
    ];
    refuses(&dir.path().join("ann"), &arguments, 7, "nothing to export");
    assert!(!archive.exists());
}

#[test]
fn a_terminal_that_is_closed_ends_a_ceremony_in_good_order() {
    use std::io::{BufRead as _, BufReader};

    let dir = tempfile::tempdir().unwrap();
    let records = operators(dir.path(), &["ann", "bob", "cat"]);
    let plan = write_plan(dir.path(), "");
    let ann = dir.path().join("ann");
    works(&ann, &define(&plan, &records, &ADDRESSES));
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::TERM] {
        if signal == rustix::process::Signal::HUP && !machine::hears_hangups() {
            continue;
        }
        let mut join = conclave(&ann)
            .args(["join", "--yes", "--listen", "/ip4/127.0.0.1/tcp/0"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(join.stdout.take().unwrap()).lines();
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("--peer "));
        assert!(found);
        let pid = rustix::process::Pid::from_raw(i32::try_from(join.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        for _ in lines.by_ref().map_while(Result::ok) {}
        let output = join.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal:?}: {}", err(&output));
        assert!(err(&output).contains("To do:"), "{}", err(&output));
    }
}

/// The right folder is what is missing, whatever the command: nothing is made in a wrong one, and no second identity is advised first.
#[test]
fn a_wrong_folder_is_named_first_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let three = operators(dir.path(), &["ann", "bob", "carol"]);
    let plan = write_plan(dir.path(), "");
    let data = dir.path().join("data");
    works(&data, &define(&plan, &three, &ADDRESSES));
    let definition = data.join("cluster-definition.json");
    let definition = definition.to_str().unwrap();
    let file = dir.path().join("file");
    let file = file.to_str().unwrap();
    let needs_identity = [
        &["join", definition, "--yes", "--wait", "0s"][..],
        &["join"],
        &["identity", "show"],
    ];
    let needs_more = [
        &["run", "--beacon-node", "http://127.0.0.1:1"][..],
        &["export", file],
        &["slashing-protection", "export", file],
        &[
            "exit",
            "--all",
            "--partial-out",
            file,
            "--beacon-node",
            "http://127.0.0.1:1",
        ],
        &["backup", file],
        &["status"],
    ];
    let nowhere = dir.path().join("nowhere");
    for words in needs_identity.iter().chain(&needs_more) {
        let output = run(&nowhere, words);
        assert_eq!(output.status.code(), Some(7), "{words:?}: {}", err(&output));
        let text = err(&output);
        assert!(text.contains("there is no folder"), "{words:?}: {text}");
        assert!(
            text.contains("name the right folder with --data-dir") && !text.contains("a ceremony needs"),
            "{words:?}: {text}"
        );
        assert!(!nowhere.exists(), "{words:?}");
    }
    // One that is somebody else's, or only a part of the right one.
    let wrong = dir.path().join("validator_keys");
    fs::create_dir(&wrong).unwrap();
    for words in needs_identity.iter().chain(&needs_more) {
        let output = run(&wrong, words);
        assert_eq!(output.status.code(), Some(7), "{words:?}: {}", err(&output));
        let text = err(&output);
        let todo = text.split("To do:").nth(1).unwrap();
        let place = todo.find("--data-dir");
        assert!(place.is_some(), "{words:?}: {text}");
        assert!(
            todo.find("identity new").is_none_or(|other| place < Some(other)),
            "{words:?}: {text}"
        );
        assert_eq!(fs::read_dir(&wrong).unwrap().count(), 0, "{words:?}");
    }
}

//! `conclave exit` as a user meets it, without running nodes: files, exit codes, messages. What running nodes make of it
//! is tested on a beacon chain.

mod group;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use conclave_eth::exit::SignedVoluntaryExit;
use group::conclave;
use serde_json::{Value, json};

/// The genesis validators root of Hoodi.
const HOODI: &str = "212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f";
/// `CAPELLA_FORK_VERSION` of Hoodi.
const CAPELLA: [u8; 4] = [0x40, 0, 0x09, 0x10];

/// Copies of four operators' folders of one ceremony: 3 of 4, two validators.
struct Group(tempfile::TempDir);

impl Group {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dkg-v1.10-hoodi-4x2");
        for node in 0..4 {
            let name = format!("node{node}");
            let to = dir.path().join(&name);
            fs::create_dir(&to).unwrap();
            group::copy(&from.join(name), &to);
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn exit(&self, node: usize, arguments: &[&str]) -> Output {
        conclave()
            .current_dir(self.0.path())
            .arg("--data-dir")
            .arg(self.path(&format!("node{node}")))
            .arg("exit")
            .args(arguments)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn works(&self, node: usize, arguments: &[&str]) -> String {
        let output = self.exit(node, arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{err}");
        out
    }

    #[track_caller]
    fn refuses(&self, node: usize, arguments: &[&str], code: i32, part: &str) {
        let output = self.exit(node, arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        assert!(
            err.contains(part) && err.contains("\nWhy:") && err.contains("\nTo do:"),
            "{err}"
        );
    }

    /// Signs into a file of this name.
    #[track_caller]
    fn part(&self, node: usize, key: &str, index: &str, file: &str) {
        let arguments = [
            "--validator",
            key,
            "--validator-index",
            index,
            "--partial-out",
            file,
            "--yes",
        ];
        let out = self.works(node, &arguments);
        assert!(
            out.contains("cannot be undone") && out.contains("withdrawal address 0x"),
            "{out}"
        );
    }

    fn keys(&self) -> Vec<String> {
        let lock = fs::read(self.path("node0/cluster-lock.json")).unwrap();
        let lock: Value = serde_json::from_slice(&lock).unwrap();
        let validators = lock["distributed_validators"].as_array().unwrap();
        let key = |validator: &Value| validator["distributed_public_key"].as_str().unwrap().to_owned();
        validators.iter().map(key).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Whether a file holds the exit of this validator, signed by its key.
fn is_exit(file: &Path, key: &str, index: u64) -> bool {
    let exit = SignedVoluntaryExit::from_json(fs::read(file).unwrap().trim_ascii_end()).unwrap();
    let key: [u8; 48] = hex::decode(&key[2..]).unwrap().try_into().unwrap();
    let root: [u8; 32] = hex::decode(HOODI).unwrap().try_into().unwrap();
    (exit.message.epoch, exit.message.validator_index) == (0, index)
        && exit.verify(&key, CAPELLA, root).is_ok()
}

#[test]
fn three_files_make_the_exit_without_any_network() {
    let group = Group::new();
    let keys = group.keys();
    for node in 0..4 {
        group.part(node, &keys[1], "77", &format!("part{node}"));
    }
    for (out, parts) in [
        ("a", ["part0", "part1", "part2"]),
        ("b", ["part3", "part1", "part0"]),
        ("c", ["part1", "part2", "part3"]),
    ] {
        let arguments = [&["--combine"], &parts[..], &["--out", out]].concat();
        let said = group.works(0, &arguments);
        assert!(
            said.contains(&keys[1]) && said.contains("voluntary_exits"),
            "{said}"
        );
        assert!(is_exit(&group.path(out), &keys[1], 77));
    }
    assert_eq!(
        fs::read(group.path("a")).unwrap(),
        fs::read(group.path("b")).unwrap()
    );

    // The same command again makes nothing worse; nothing else is overwritten.
    group.works(0, &["--combine", "part0", "part1", "part2", "--out", "a"]);
    let before = fs::read(group.path("part0")).unwrap();
    let again = |index| {
        [
            "--validator",
            &keys[1],
            "--validator-index",
            index,
            "--partial-out",
            "part0",
            "--yes",
        ]
    };
    group.works(0, &again("77"));
    group.refuses(0, &again("78"), 7, "cannot write");
    assert_eq!(fs::read(group.path("part0")).unwrap(), before);
    group.refuses(
        0,
        &["--combine", "part0", "part1", "part2", "--out", "part3"],
        7,
        "cannot write",
    );
    // Without --out it goes into the folder, and an event says where.
    let out = group.works(0, &["--json", "--combine", "part0", "part1", "part2"]);
    let event: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&event["event"], &event["what"]),
        (&json!("exit"), &json!("signed"))
    );
    assert!(is_exit(Path::new(event["path"].as_str().unwrap()), &keys[1], 77));
}

#[test]
fn too_few_and_wrong_parts_make_nothing_and_are_named() {
    let group = Group::new();
    let keys = group.keys();
    for node in 0..3 {
        group.part(node, &keys[0], "5", &format!("part{node}"));
    }
    group.refuses(0, &["--combine", "part0", "part1"], 6, "cannot be signed yet");
    group.refuses(
        0,
        &["--combine", "part0", "part1", "part1"],
        6,
        "cannot be signed yet",
    );

    // Another index, another epoch, another validator: each is another exit.
    group.part(2, &keys[0], "6", "index");
    group.part(2, &keys[1], "5", "validator");
    let epoch = [
        "--validator",
        &keys[0],
        "--validator-index",
        "5",
        "--epoch",
        "9",
        "--partial-out",
        "epoch",
        "--yes",
    ];
    group.works(2, &epoch);
    for other in ["index", "validator", "epoch"] {
        group.refuses(
            0,
            &["--combine", "part0", "part1", other],
            6,
            "cannot be signed yet",
        );
    }

    // A part that its operator's share did not make, and one that was changed on the way.
    let part: Value = serde_json::from_slice(&fs::read(group.path("part2")).unwrap()).unwrap();
    let foreign: Value = serde_json::from_slice(&fs::read(group.path("validator")).unwrap()).unwrap();
    let mut changed = part.clone();
    changed["partial_signature"] = foreign["partial_signature"].clone();
    fs::write(group.path("changed"), changed.to_string()).unwrap();
    let output = group.exit(0, &["--combine", "part0", "part1", "changed"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(
        text(&output.stderr).contains("operator 3"),
        "{}",
        text(&output.stderr)
    );
    // With enough others it does no harm.
    group.part(3, &keys[0], "5", "part3");
    group.works(
        0,
        &["--combine", "part0", "part1", "changed", "part3", "--out", "exit"],
    );
    assert!(is_exit(&group.path("exit"), &keys[0], 5));

    let mut other = part;
    other["lock_hash"] = json!(format!("0x{}", "ab".repeat(32)));
    fs::write(group.path("other"), other.to_string()).unwrap();
    group.refuses(
        0,
        &["--combine", "part0", "part1", "other"],
        3,
        "other cannot be used",
    );
    fs::write(group.path("rubbish"), "{]").unwrap();
    group.refuses(0, &["--combine", "rubbish"], 3, "rubbish cannot be used");
    group.refuses(0, &["--combine", "missing"], 3, "missing");
}

/// Parts of several validators in one pile: each exit counts by itself, and what lacks parts is named with those who did not
/// sign.
#[test]
fn every_exit_in_a_pile_of_parts_counts_by_itself() {
    let group = Group::new();
    let keys = group.keys();
    for (validator, index) in [(0, "5"), (1, "6")] {
        for node in 0..4 {
            group.part(node, &keys[validator], index, &format!("v{validator}-{node}"));
        }
    }
    let all: Vec<String> = (0..6).map(|at| format!("v{}-{}", at % 2, at / 2)).collect();
    let combine = |parts: &[String], out: &str| {
        let mut words = vec!["--json", "--combine"];
        words.extend(parts.iter().map(String::as_str));
        words.extend(["--out", out]);
        let output = group.exit(0, &words);
        let events: Vec<Value> = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (output.status.code(), events)
    };
    let signed = |folder: &str, key: &str| group.path(folder).join(format!("{key}-signed.json"));

    // One file cannot hold two exits, and is not touched.
    fs::write(group.path("file"), "mine").unwrap();
    let (code, _) = combine(&all, "file");
    assert_eq!(code, Some(2));
    assert_eq!(fs::read(group.path("file")).unwrap(), b"mine");

    let (code, events) = combine(&all, "both");
    assert_eq!(code, Some(0), "{events:?}");
    assert!(is_exit(&signed("both", &keys[0]), &keys[0], 5));
    assert!(is_exit(&signed("both", &keys[1]), &keys[1], 6));
    let (code, _) = combine(&all, "both");
    assert_eq!(code, Some(0), "again");

    // The second one lacks a part: the first is exited, and the code says that something is missing, and whose.
    let names: Vec<String> = {
        let lock: Value =
            serde_json::from_slice(&fs::read(group.path("node0/cluster-lock.json")).unwrap()).unwrap();
        let operators = lock["cluster_definition"]["operators"].as_array().unwrap().len();
        assert_eq!(operators, 4);
        let (_, events) = combine(&all[..5], "names");
        let lacking = events.iter().find(|event| event["what"] == "lacking").unwrap();
        assert_eq!(
            (&lacking["validator"], &lacking["threshold"]),
            (&json!(keys[1]), &json!(3))
        );
        let there = lacking["operators"].as_array().unwrap();
        there
            .iter()
            .map(|who| who["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names.len(), 2);
    let mut words = vec!["--combine"];
    words.extend(all[..5].iter().map(String::as_str));
    words.extend(["--out", "some"]);
    let output = group.exit(0, &words);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{err}");
    assert!(
        err.contains("of 2 exits 1 is signed, 1 cannot be signed yet: the exit of"),
        "{err}"
    );
    assert!(
        err.contains(&keys[1]) && err.contains("missing are those of "),
        "{err}"
    );
    assert!(names.iter().all(|name| err.contains(name)), "{names:?} {err}");
    assert!(is_exit(&signed("some", &keys[0]), &keys[0], 5));
    assert!(!signed("some", &keys[1]).exists());
    // An exit whose only part is wrong is not forgotten either.
    let mut changed: Value = serde_json::from_slice(&fs::read(group.path("v1-0")).unwrap()).unwrap();
    changed["made_ms"] = json!("1");
    fs::write(group.path("changed"), changed.to_string()).unwrap();
    let mut pile = vec!["v0-0", "changed", "v0-1", "v0-2"];
    pile.splice(0..0, ["--combine"]);
    pile.extend(["--out", "third"]);
    group.refuses(0, &pile, 6, &keys[1]);
    assert!(is_exit(&signed("third", &keys[0]), &keys[0], 5));
    // What is in the way of one exit is not in the way of the other.
    fs::create_dir(group.path("fourth")).unwrap();
    fs::write(signed("fourth", &keys[0]), "mine").unwrap();
    let (code, events) = combine(&all, "fourth");
    assert_eq!(code, Some(7), "{events:?}");
    assert!(is_exit(&signed("fourth", &keys[1]), &keys[1], 6));
    assert_eq!(fs::read(signed("fourth", &keys[0])).unwrap(), b"mine");
}

#[test]
fn nothing_is_signed_by_accident() {
    let group = Group::new();
    let keys = group.keys();
    let part = [
        "--validator",
        &keys[0],
        "--validator-index",
        "5",
        "--partial-out",
        "part",
    ];
    // Nobody is there to be asked.
    group.refuses(0, &part, 2, "answers are missing");
    group.refuses(
        0,
        &["--validator-index", "5", "--partial-out", "part", "--yes"],
        2,
        "answers are missing",
    );
    group.refuses(
        0,
        &["--validator", &keys[0], "--partial-out", "part", "--yes"],
        2,
        "index is missing",
    );
    let unknown = format!("0x{}", "ab".repeat(48));
    group.refuses(
        0,
        &["--validator", &unknown, "--partial-out", "part", "--yes"],
        3,
        "no validator of this lock",
    );
    // Neither its place in the lock nor its index on the chain names a validator.
    group.refuses(
        0,
        &["--validator", "0", "--partial-out", "part", "--yes"],
        3,
        "Error: 0 is no validator of this lock\nWhy:   a validator is named by its whole public key",
    );
    group.refuses(0, &["--validator", &keys[0], "--yes"], 7, "nobody is there");
    assert!(!group.path("part").exists());

    let lock = group.path("node0/cluster-lock.json");
    let content = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, content.replace(&keys[0], &keys[1])).unwrap();
    let yes = [&part[..], &["--yes"]].concat();
    group.refuses(0, &yes, 8, "not a lock to validate with");
    fs::write(&lock, content).unwrap();
    fs::write(group.path("node0/RETIRED"), "moved on Monday\n").unwrap();
    group.refuses(0, &yes, 7, "is retired");
    assert!(!group.path("part").exists());
}

/// A typing error in one part: whose index differs is told, and not that parts are missing.
#[test]
fn parts_of_one_validator_for_different_exits_are_told_apart_by_their_authors() {
    let group = Group::new();
    let keys = group.keys();
    for (node, index) in [(0, "5"), (1, "5"), (2, "6"), (3, "5")] {
        group.part(node, &keys[0], index, &format!("part{node}"));
    }
    let name = |node: usize| {
        let lock: Value =
            serde_json::from_slice(&fs::read(group.path("node0/cluster-lock.json")).unwrap()).unwrap();
        let output = group.exit(
            0,
            &["--json", "--combine", &format!("part{node}"), "--out", "nothing"],
        );
        assert!(lock["cluster_definition"]["operators"][node].is_object());
        let event = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|event| event["what"] == "lacking")
            .unwrap();
        event["operators"][0]["name"].as_str().unwrap().to_owned()
    };
    let names: Vec<String> = (0..4).map(name).collect();
    let words = |output: &std::process::Output| {
        let all = text(&output.stderr);
        all.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let output = group.exit(0, &["--combine", "part0", "part1", "part2", "--out", "out"]);
    let err = words(&output);
    assert_eq!(output.status.code(), Some(6), "{err}");
    let told = format!(
        "index 5 is that of {}, {}; index 6 is that of {}",
        names[0], names[1], names[2]
    );
    assert!(
        err.contains(&format!(
            "Why: the parts for validator {} are not for one exit: {told}",
            keys[0]
        )),
        "{err}"
    );
    assert!(!err.contains("To do: collect"), "{err}");
    // With enough of the others it is signed, and the odd one is still told.
    let output = group.exit(
        0,
        &["--combine", "part0", "part1", "part2", "part3", "--out", "signed"],
    );
    let err = words(&output);
    assert!(err.contains(&format!("index 6 is that of {}", names[2])), "{err}");
    group.refuses(0, &["--combine", "part0,part1,part2"], 3, "one after the other");
}

#[test]
fn an_absurd_index_or_epoch_is_told_before_anything_is_signed() {
    let group = Group::new();
    let key = group.keys().remove(0);
    let arguments = |index: &'static str, epoch: &'static str| {
        let key = key.clone();
        [
            "--validator".to_owned(),
            key,
            "--validator-index".to_owned(),
            index.to_owned(),
            "--epoch".to_owned(),
            epoch.to_owned(),
            "--partial-out".to_owned(),
            "part".to_owned(),
            "--yes".to_owned(),
        ]
    };
    for (index, epoch, part) in [
        ("99999999999", "0", "99999999999 is no validator's index"),
        ("18446744073709551615", "0", "is no validator's index"),
        ("5", "99999999", "epoch 99999999 cannot be meant"),
        ("5", "18446744073709551615", "cannot be meant"),
    ] {
        let arguments = arguments(index, epoch);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        group.refuses(0, &arguments, 3, part);
        assert!(!group.path("part").exists());
    }
    let arguments = arguments("5", "3");
    group.works(0, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Nobody is slashed for an exit, so whoever has such a lock can leave, though nobody validates with it. Where the withdrawals go is
/// looked at, too.
#[test]
fn a_group_without_a_majority_does_not_run_and_can_exit() {
    let ceremony = group::Group::new(4, 2, 1);
    for process in ceremony.join_all() {
        process.end().is_good();
    }
    let in_folder = |node: usize, arguments: &[&str]| {
        let output = conclave()
            .current_dir(ceremony.dir.path())
            .arg("--data-dir")
            .arg(ceremony.folder(node))
            .args(arguments)
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code(), said)
    };
    let mut run = conclave();
    run.arg("--data-dir").arg(ceremony.folder(0));
    run.args(["--json", "run", "--beacon-node", "http://127.0.0.1:1"]);
    // It would run for ever.
    group::Process::start(run).end().refused(8, &["2 of 4"]);
    for (node, file) in [(1, "part-1"), (3, "part-3")] {
        let arguments = ["exit", "--validator-index", "7", "--partial-out", file, "--yes"];
        let (code, said) = in_folder(node, &arguments);
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = in_folder(0, &["exit", "--combine", "part-1", "part-3", "--out", "signed"]);
    assert_eq!(code, Some(0), "{said}");
    let lock = fs::read(ceremony.folder(0).join("cluster-lock.json")).unwrap();
    let lock: Value = serde_json::from_slice(&lock).unwrap();
    let key = lock["distributed_validators"][0]["distributed_public_key"]
        .as_str()
        .unwrap();
    assert!(is_exit(&ceremony.dir.path().join("signed"), key, 7));

    let (code, said) = in_folder(0, &["verify", ceremony.folder(0).to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "withdrawals of validator 0 go to",
        "nobody has its key",
        "2 of 4 is not a majority",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_beacon_node_that_never_answers_is_told_of_while_it_is_waited_for() {
    let group = Group::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut child = conclave()
        .current_dir(group.0.path())
        .arg("--data-dir")
        .arg(group.path("node0"))
        .args([
            "exit",
            "--all",
            "--partial-out",
            "part",
            "--yes",
            "--beacon-node",
            &url,
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut errors = std::io::BufReader::new(child.stderr.take().unwrap());
    while !line.contains("has not answered yet") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut errors, &mut line).unwrap() > 0,
            "it ended first"
        );
        assert!(!line.contains("Error:"), "{line}");
    }
    assert!(line.contains(&url), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

//! `conclave run` and `conclave slashing-protection` as a user meets them: exit codes, messages, events, files. What the
//! group does once it validates is tested on a beacon chain.

mod group;
mod machine;
#[path = "group/strangers.rs"]
mod strangers;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use conclave_crypto::node::NodeKey;
use group::{PATIENCE, conclave};
use k256::ecdsa::{SigningKey, signature::hazmat::RandomizedPrehashSigner as _};
use rand::SeedableRng as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use strangers::{Mode, Strangers, one_address};

/// The genesis validators root of Hoodi.
const HOODI: &str = "0x212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f";
/// Nobody listens there.
const NOWHERE: &str = "http://me:hunter2@127.0.0.1:1";
const DATABASE: &str = "slashing-protection.redb";
const SOCKET: &str = "run.sock";

/// An operator's folder of a finished ceremony.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(ceremony: &str) -> Self {
        Self::of_operator(ceremony, 1)
    }

    fn of_operator(ceremony: &str, operator: usize) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/vectors")
            .join(ceremony)
            .join(format!("node{}", operator - 1));
        let dir = tempfile::tempdir().unwrap();
        group::copy(&from, dir.path());
        Self(dir)
    }

    fn hoodi() -> Self {
        Self::of("dkg-v1.10-hoodi-4x2")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Beside the operator's files.
    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = conclave();
        command.arg("--data-dir").arg(self.0.path()).args(arguments);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        group::output(&mut self.command(arguments))
    }

    #[track_caller]
    fn works(&self, arguments: &[&str]) -> (String, String) {
        let output = self.output(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{err}");
        (out, err)
    }

    /// Ends with this code and says what, why and what to do; gives all of it.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: i32, part: &str) {
        let mut command = self.command(arguments);
        // Whoever has the usual port on this machine changes nothing of a refusal.
        command.env("CONCLAVE_LISTEN", "/ip4/127.0.0.1/tcp/0");
        refused(&group::output(&mut command), code, part);
    }

    /// Starts `conclave run` where nobody else is.
    fn run(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(&["run", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        let child = command
            .args(arguments)
            // Plain HTTP needs no certificates: small containers have none.
            .env("SSL_CERT_FILE", "/nonexistent")
            .env("SSL_CERT_DIR", "/nonexistent")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running::new(child)
    }

    /// The lock's validators.
    fn keys(&self) -> Vec<String> {
        let lock: Value = serde_json::from_slice(&fs::read(self.path("cluster-lock.json")).unwrap()).unwrap();
        let validators = lock["distributed_validators"].as_array().unwrap();
        let key = |validator: &Value| validator["distributed_public_key"].as_str().unwrap().to_owned();
        validators.iter().map(key).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, part: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(
        err.contains(part) && err.contains("\nWhy:") && err.contains("\nTo do:"),
        "{err}"
    );
    assert!(!err.contains('\u{fffd}'), "several lines in one: {err}");
}

/// A `conclave run` whose standard output is read line by line.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    /// Every line that was read.
    seen: String,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Reads on until a line holds this, and gives that line.
    #[track_caller]
    fn until(&mut self, part: &str) -> String {
        if self.reaches(part) {
            return self.seen.lines().last().unwrap_or_default().to_owned();
        }
        let mut err = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        panic!("it ended without {part}: {}{err}", self.seen);
    }

    /// Reads on until a line holds this; false if it ends before.
    fn reaches(&mut self, part: &str) -> bool {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            self.seen.push_str(&line);
            if line.contains(part) {
                return true;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, and the rest of what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn interchange(root: &str, data: &Value) -> String {
    let metadata = json!({"interchange_format_version": "5", "genesis_validators_root": root});
    json!({"metadata": metadata, "data": data}).to_string()
}

fn history(key: &str, slot: u64, source: u64, target: u64) -> Value {
    json!({
        "pubkey": key,
        "signed_blocks": [{"slot": slot.to_string()}],
        "signed_attestations": [{"source_epoch": source.to_string(), "target_epoch": target.to_string()}],
    })
}

fn import(folder: &Folder, file: &str) -> Value {
    let (out, _) = folder.works(&["slashing-protection", "import", file, "--json"]);
    serde_json::from_str(&out).unwrap()
}

#[test]
fn histories_come_from_and_go_to_other_software() {
    let folder = Folder::hoodi();
    let keys = folder.keys();
    let unknown = format!("0x{}", "ab".repeat(48));
    let both = json!([
        history(&keys[0], 100, 2, 3),
        history(&keys[1], 70, 1, 2),
        history(&unknown, 9, 0, 0)
    ]);
    let file = folder.write("both.json", &interchange(HOODI, &both));
    let (out, err) = folder.works(&["slashing-protection", "import", &file]);
    assert!(
        out.contains("Made a slashing protection database")
            && out.contains("has records of 2 of the 2 validators"),
        "{out}"
    );
    assert!(
        out.contains("slot 100") && out.contains("source epoch 2, target epoch 3"),
        "{out}"
    );
    assert!(
        err.contains(&unknown) && err.contains("another cluster of yours"),
        "{err}"
    );

    let exported = folder.path("out.json");
    let export = ["slashing-protection", "export", exported.to_str().unwrap()];
    folder.works(&export);
    let first = fs::read(&exported).unwrap();
    let written: Value = serde_json::from_slice(&first).unwrap();
    let expected = json!([history(&keys[0], 100, 2, 3), history(&keys[1], 70, 1, 2)]);
    assert_eq!(written["data"], expected);
    assert_eq!(written["metadata"]["genesis_validators_root"], HOODI);

    // Nothing is overwritten, by whatever command.
    folder.refuses(&export, 7, "is there already");
    assert!(fs::read(&exported).unwrap() == first);

    // Older histories lower nothing, newer ones raise; in both directions it is the same.
    let older = json!([history(&keys[0], 1, 1, 1), history(&keys[1], 80, 1, 1)]);
    let older = folder.write("older.json", &interchange(HOODI, &older));
    let event = import(&folder, &older);
    assert_eq!(event["event"], "imported");
    assert_eq!(
        (&event["created"], &event["raised"]),
        (&json!(false), &json!(1)),
        "{event}"
    );
    assert_eq!(import(&folder, exported.to_str().unwrap())["raised"], 0);
    let again = folder.path("again.json");
    let (out, _) = folder.works(&["slashing-protection", "export", again.to_str().unwrap(), "--json"]);
    let event: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&event["event"], &event["kind"]),
        (&json!("written"), &json!("slashing protection"))
    );
    let written: Value = serde_json::from_slice(&fs::read(again).unwrap()).unwrap();
    let expected = json!([history(&keys[0], 100, 2, 3), history(&keys[1], 80, 1, 2)]);
    assert_eq!(written["data"], expected);
}

#[test]
fn a_history_that_names_only_some_validators_says_which_are_missing() {
    let folder = Folder::hoodi();
    let keys = folder.keys();
    let one = folder.write(
        "one.json",
        &interchange(HOODI, &json!([history(&keys[1], 5, 0, 1)])),
    );
    let (_, err) = folder.works(&["slashing-protection", "import", &one]);
    assert!(
        err.contains(&keys[0]) && err.contains("waits two whole epochs"),
        "{err}"
    );
    let out = folder.path("out.json");
    let (_, err) = folder.works(&["slashing-protection", "export", out.to_str().unwrap()]);
    assert!(err.contains("not the whole memory"), "{err}");
}

#[test]
fn what_is_no_history_of_these_validators_changes_nothing() {
    let folder = Folder::hoodi();
    let keys = folder.keys();
    let mine = json!([history(&keys[0], 5, 0, 1)]);
    let foreign = json!([history(&format!("0x{}", "ab".repeat(48)), 5, 0, 1)]);
    let cases = [
        (
            interchange(&format!("0x{}", "11".repeat(32)), &mine),
            10,
            "slashing protection file is of another network",
        ),
        (interchange(HOODI, &foreign), 3, "not about the validators here"),
        ("{]".to_owned(), 3, "can be imported"),
        ("{}".to_owned(), 3, "can be imported"),
        (
            interchange(HOODI, &mine).replace("\"5\"", "\"4\""),
            3,
            "cannot be imported",
        ),
        (interchange(HOODI, &json!({"mine": mine})), 3, "can be imported"),
        (
            interchange(
                HOODI,
                &json!([history(&keys[0], 5, 0, 1), history(&keys[1], 1 << 40, 0, 1)]),
            ),
            3,
            "which lies in the future",
        ),
    ];
    let import = |content: &str, code, part| {
        let file = folder.write("file.json", content);
        folder.refuses(&["slashing-protection", "import", &file], code, part);
    };
    for (content, code, part) in &cases {
        import(content, *code, part);
        assert!(!folder.path(DATABASE).exists());
    }
    let missing = folder.path("missing.json");
    let missing = missing.to_str().unwrap();
    folder.refuses(&["slashing-protection", "import", missing], 3, "missing.json");
    folder.refuses(
        &["slashing-protection", "export", missing],
        9,
        "no slashing protection database",
    );

    // The same with a database.
    let good = folder.write("good.json", &interchange(HOODI, &mine));
    folder.works(&["slashing-protection", "import", &good]);
    let before = folder.path("before.json");
    folder.works(&["slashing-protection", "export", before.to_str().unwrap()]);
    for (content, code, part) in &cases {
        import(content, *code, part);
    }
    let after = folder.path("after.json");
    folder.works(&["slashing-protection", "export", after.to_str().unwrap()]);
    assert!(fs::read(before).unwrap() == fs::read(after).unwrap());
}

/// Files as other software writes them, or as they come out of somebody's hands.
#[test]
fn histories_of_other_software_are_read_if_their_meaning_is_certain() {
    let folder = Folder::hoodi();
    let keys = folder.keys();
    let usual = |key: &str| history(key, 81952, 2290, 3007);
    let import = |name: &str, more: &[&str]| {
        let _ = fs::remove_file(folder.path(DATABASE));
        let file = format!(
            "{}/tests/vectors/histories/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let output = folder.output(&[&["slashing-protection", "import", &file][..], more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let exported = || {
        let file = folder.path("export.json");
        let _ = fs::remove_file(&file);
        folder.works(&["slashing-protection", "export", file.to_str().unwrap()]);
        let written: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        written["data"].clone()
    };
    let nothing = |key: &str| json!({"pubkey": key, "signed_blocks": [], "signed_attestations": []});
    let first_only = json!([usual(&keys[0]), nothing(&keys[1])]);
    let second_only = json!([nothing(&keys[0]), usual(&keys[1])]);
    let mut voted = nothing(&keys[0]);
    voted["signed_attestations"] = json!([{"source_epoch": "1", "target_epoch": "2"}]);
    for (name, expected, is_partial) in [
        ("bom", &first_only, true),
        ("extra-field", &first_only, true),
        ("root-empty", &first_only, true),
        ("upper", &first_only, true),
        ("null-lists", &json!([voted, usual(&keys[1])]), false),
        ("teku-empty-object", &second_only, true),
    ] {
        let (code, out, err) = import(name, &[]);
        assert_eq!(code, Some(0), "{name}: {out}{err}");
        assert_eq!(exported(), *expected, "{name}");
        assert_eq!(
            err.contains("waits two whole epochs"),
            is_partial,
            "{name}: {err}"
        );
    }
    for (name, value) in [
        ("far-future", "slot 18446744073709551615"),
        ("next-century", "slot 999999999"),
    ] {
        let (code, out, err) = import(name, &[]);
        assert_eq!(code, Some(3), "{name}: {out}{err}");
        assert!(
            err.contains(&keys[0]) && err.contains(value) && err.contains("\nTo do:"),
            "{err}"
        );
        assert!(!folder.path(DATABASE).exists());
        let (code, out, err) = import(name, &["--future", "drop"]);
        assert_eq!(code, Some(0), "{name}: {out}{err}");
        assert!(
            err.contains(&keys[0]) && err.contains("left out, as you said"),
            "{err}"
        );
        assert_eq!(exported(), second_only);
        let (code, out, err) = import(name, &["--future", "keep", "--json"]);
        assert_eq!(code, Some(0), "{name}: {out}{err}");
        let event: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(event["future_kept"], json!([keys[0]]), "{event}");
        assert_ne!(exported()[0], nothing(&keys[0]));
    }
    let (code, _, err) = import("gvr-mainnet", &[]);
    assert_eq!(code, Some(10), "{err}");
    assert!(
        err.contains("file is of another network") && err.contains("mainnet") && err.contains("hoodi"),
        "{err}"
    );
    assert!(!folder.path(DATABASE).exists());
}

#[test]
fn a_network_of_ones_own_needs_its_root() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    let root = format!("0x{}", "07".repeat(32));
    let data = json!([history(&folder.keys()[0], 5, 0, 1)]);
    let file = folder.write("file.json", &interchange(&root, &data));
    let import = ["slashing-protection", "import", &file];
    folder.refuses(&import, 3, "cannot be judged here");
    folder.refuses(
        &[&import[..], &["--future", "keep"]].concat(),
        7,
        "not bound to a chain",
    );
    assert!(!folder.path(DATABASE).exists());
    let network = folder.write("network.toml", &custom_network(&root));
    folder.works(&[&import[..], &["--network-file", &network]].concat());
}

#[test]
fn run_refuses_what_it_must_not_sign_with() {
    let folder = Folder::hoodi();
    let run = ["run", "--beacon-node", NOWHERE];
    folder.refuses(&run, 9, "no slashing protection database");
    assert!(!folder.path(DATABASE).exists());
    folder.refuses(
        &["run", "--beacon-node", "localhost:5052"],
        3,
        "Why:   Its scheme must be http or https, for example http://localhost:5052.\n",
    );
    folder.refuses(
        &[&run[..], &["--log-file", "/nonexistent/log"]].concat(),
        3,
        "cannot log",
    );

    let path = folder.path("cluster-lock.json");
    let lock = fs::read_to_string(&path).unwrap();
    let key = folder.keys()[0].clone();
    fs::write(&path, lock.replace(&key, &folder.keys()[1])).unwrap();
    folder.refuses(&run, 8, "not a lock to validate with");
    fs::remove_file(&path).unwrap();
    folder.refuses(&run, 7, "no cluster-lock.json");
}

/// Whoever mends what was wrong gives the same command again.
#[test]
fn what_is_refused_leaves_no_new_database() {
    let folder = Folder::hoodi();
    let run = ["run", "--beacon-node", NOWHERE, "--new-slashing-database"];
    let stranger = format!("/ip4/127.0.0.1/tcp/9/p2p/{}", libp2p::PeerId::random());
    for (wrong, code, part) in [
        (&["--peer", &stranger][..], 3, "--peer"),
        (&["--without", "nobody"], 3, "none of the other operators"),
    ] {
        folder.refuses(&[&run[..], wrong].concat(), code, part);
        assert!(!folder.path(DATABASE).exists(), "{wrong:?}");
    }
    // Empty lines of the variable name nobody.
    let mut command = folder.command(&run);
    let output = command.env("CONCLAVE_WITHOUT", "\n2\n").output().unwrap();
    refused(&output, 3, "so many operators cannot be done without");
    assert!(!folder.path(DATABASE).exists());
    let keys = folder.path("validator_keys");
    let aside = folder.path("aside");
    fs::rename(&keys, &aside).unwrap();
    folder.refuses(&run, 7, "");
    assert!(!folder.path(DATABASE).exists());
    fs::rename(&aside, &keys).unwrap();
    folder.run(&run[1..]).until("Waiting for a beacon node");
    assert!(folder.path(DATABASE).exists());
}

#[test]
fn run_refuses_a_group_whose_halves_could_both_sign() {
    let dir = tempfile::tempdir().unwrap();
    let rehearsal = conclave()
        .current_dir(dir.path())
        .args(["rehearse", "--out", "out", "--operators", "4", "--threshold", "2"])
        .output()
        .unwrap();
    assert_eq!(rehearsal.status.code(), Some(0), "{}", text(&rehearsal.stderr));
    let folder = dir.path().join("out/operator-1");
    let mut run = conclave();
    run.arg("--data-dir").arg(folder);
    let output = group::output(run.args(["run", "--beacon-node", NOWHERE]));
    refused(&output, 8, "cannot be validated with");
    assert!(text(&output.stderr).contains("2 of 4 is no majority"));
}

#[test]
fn run_waits_for_its_beacon_node_says_so_once_and_can_be_stopped() {
    let folder = Folder::hoodi();
    let data: Vec<Value> = folder.keys().iter().map(|key| history(key, 5, 0, 1)).collect();
    let file = folder.write("file.json", &interchange(HOODI, &json!(data)));
    folder.works(&["slashing-protection", "import", &file]);
    let log = folder.path("log");
    let mut run = folder.run(&["--beacon-node", NOWHERE, "--log-file", log.to_str().unwrap()]);
    let line = run.until("Waiting for a beacon node");
    assert!(
        line.contains("127.0.0.1:1") && !line.contains("hunter2"),
        "{line}"
    );

    // Meanwhile the folder is taken.
    let out = folder.path("out.json");
    let out = out.to_str().unwrap();
    folder.refuses(&["slashing-protection", "import", &file], 7, "is in use");
    folder.refuses(&["slashing-protection", "export", out], 7, "is in use");
    folder.refuses(&["run", "--beacon-node", NOWHERE], 7, "is in use");

    // Longer than until it is asked again.
    std::thread::sleep(Duration::from_secs(5));
    run.signal(Signal::INT);
    let (code, rest) = run.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(!rest.contains("Waiting") && rest.contains("Stopped."), "{rest}");

    let logged = fs::read_to_string(&log).unwrap();
    assert!(
        logged.contains("Waiting for a beacon node") && !logged.contains("hunter2"),
        "{logged}"
    );
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    folder.works(&["slashing-protection", "export", out]);
}

#[test]
fn a_beacon_node_that_never_answers_is_told_of_soon() {
    let folder = Folder::hoodi();
    let data: Vec<Value> = folder.keys().iter().map(|key| history(key, 5, 0, 1)).collect();
    let file = folder.write("file.json", &interchange(HOODI, &json!(data)));
    folder.works(&["slashing-protection", "import", &file]);
    // It accepts, as the system does for it, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut run = folder.run(&["--beacon-node", &url]);
    let line = run.until("Waiting for a beacon node");
    assert!(
        line.contains("has not answered yet") && line.contains(&url),
        "{line}"
    );
    // What came of it follows.
    let line = run.until("Still waiting for a beacon node");
    assert!(line.contains("no answer in time"), "{line}");
    run.signal(Signal::INT);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn an_address_that_cannot_be_reached_is_told_in_every_form() {
    let folder = Folder::hoodi();
    let log = folder.path("log");
    let text = [
        "--dry-run",
        "--beacon-node",
        NOWHERE,
        "--peer",
        "127.0.0.1:1",
        "--log-file",
        log.to_str().unwrap(),
    ];
    let mut command = folder.command(&["run", "--listen", "127.0.0.1:0", "--monitoring-address", "none"]);
    let mut run = command
        .args(text)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let told = "nobody is reached at /ip4/127.0.0.1/tcp/1: the connection is refused (";
    let mut err = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(told) {
        line.clear();
        assert!(err.read_line(&mut line).unwrap() > 0, "it ended without a word");
    }
    assert!(line.contains(" attempts so far, the next in "), "{line}");
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert!(fs::read_to_string(&log).unwrap().contains(told));

    let mut run = folder.run(&[
        "--json",
        "--dry-run",
        "--beacon-node",
        NOWHERE,
        "--peer",
        "127.0.0.1:1",
    ]);
    let event: Value = serde_json::from_str(&run.until(r#""event":"unreachable""#)).unwrap();
    assert_eq!(
        (&event["address"], &event["why"]),
        (&json!("/ip4/127.0.0.1/tcp/1"), &json!("refused"))
    );
    assert!(
        event["attempts"].as_u64().unwrap() > 1 && event["next_ms"].is_u64(),
        "{event}"
    );
    assert!(event["message"].as_str().unwrap().starts_with(told), "{event}");
}

#[test]
fn what_fails_is_not_kept_and_what_was_kept_does_not_stop_a_start() {
    let folder = Folder::hoodi();
    let own = folder.path("ceremony/own-addresses");
    let run = [
        "run",
        "--dry-run",
        "--beacon-node",
        NOWHERE,
        "--monitoring-address",
        "none",
        "--listen",
    ];
    let stranger = "/ip4/127.0.0.1/tcp/1/p2p/16Uiu2HAm7zGMtKcRp7kQsW5sUxHmWXoxY3b9jQ2yWAcj5p4pvSNd";
    for (wrong, code, flag) in [
        (
            &["127.0.0.1:0", "--announce", "/ip4/203.0.113.7"][..],
            2,
            "--announce",
        ),
        (&["192.0.2.7:9510"], 1, "--listen"),
        (&["127.0.0.1:0", "--peer", stranger], 3, "--peer"),
    ] {
        let output = folder.output(&[&run[..], wrong].concat());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{wrong:?}: {}",
            text(&output.stderr)
        );
        assert!(text(&output.stderr).contains(flag), "{}", text(&output.stderr));
        assert!(!own.exists(), "{wrong:?} is kept");
    }
    // Kept on another machine, or by an earlier version.
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::write(
        &own,
        "listen /ip4/192.0.2.7/tcp/9510\nlisten /ip4/127.0.0.1/tcp/0\nannounce /ip4/203.0.113.7\n",
    )
    .unwrap();
    let mut command = folder.command(&run[..run.len() - 1]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running::new(child);
    running.until("Listening on /ip4/127.0.0.1/tcp/");
    running.signal(Signal::INT);
    let mut err = String::new();
    running
        .child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(running.end().0, Some(0), "{err}");
    for part in [
        "192.0.2.7",
        "--listen",
        "/ip4/203.0.113.7,",
        "--announce",
        "own-addresses",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn each_beacon_node_is_given_by_itself() {
    let folder = Folder::hoodi();
    for password in ["pa,ss", "pa%2Css"] {
        let url = format!("http://user:{password}@127.0.0.1:1");
        let mut run = folder.run(&["--dry-run", "--beacon-node", &url, "--monitoring-address", "none"]);
        let line = run.until("Waiting for a beacon node");
        assert!(line.contains("http://127.0.0.1:1"), "{line}");
    }
    let listen = [
        "run",
        "--dry-run",
        "--listen",
        "127.0.0.1:0",
        "--monitoring-address",
        "none",
    ];
    let mut command = folder.command(&listen);
    command.env(
        "CONCLAVE_BEACON_NODES",
        "http://127.0.0.1:1\nhttp://127.0.0.2:1\n",
    );
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut run = Running::new(child);
    let line = run.until("Waiting for a beacon node");
    assert!(
        line.contains("http://127.0.0.1:1") && line.contains("http://127.0.0.2:1"),
        "{line}"
    );
    drop(run);
    let list = ["--beacon-node", "http://127.0.0.1:1,http://127.0.0.2:1"];
    let output = folder.output(&[&listen[..], &list[..]].concat());
    refused(&output, 3, "a --beacon-node of its own");
}

#[test]
fn a_start_after_a_kill_says_what_happened() {
    let folder = Folder::hoodi();
    let data: Vec<Value> = folder.keys().iter().map(|key| history(key, 5, 0, 1)).collect();
    let file = folder.write("file.json", &interchange(HOODI, &json!(data)));
    folder.works(&["slashing-protection", "import", &file]);
    let killed = "did not end by itself";
    let start = || {
        let mut run = folder.run(&["--json", "--beacon-node", NOWHERE]);
        run.until("\"waiting\"");
        let said = run.seen.clone();
        (run, said)
    };
    let (run, said) = start();
    assert!(!said.contains(killed), "{said}");
    run.signal(Signal::KILL);
    assert_eq!(run.end().0, None);
    // What a write that was cut off leaves behind goes, too.
    let unfinished = folder.path(".conclave-unfinished-0123456789abcdef");
    fs::write(&unfinished, "half").unwrap();
    let (run, said) = start();
    assert!(
        said.contains(killed) && said.contains("nothing of it is signed again"),
        "{said}"
    );
    assert!(!unfinished.exists());
    run.signal(Signal::INT);
    assert_eq!(run.end().0, Some(0));
    let (run, said) = start();
    assert!(!said.contains(killed), "{said}");
    run.signal(Signal::INT);
    assert_eq!(run.end().0, Some(0));
}

/// As on a disk that is full after so many half KiB of each file: what it says, and whether it came to wait for its beacon node.
fn run_on_a_full_disk(folder: &Folder, half_kib: u32, arguments: &[&str]) -> (bool, Option<i32>, String) {
    let wanted = folder.command(&[
        "run",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--beacon-node",
        NOWHERE,
        "--json",
    ]);
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "trap '' XFSZ; ulimit -f \"$0\" && exec \"$@\"",
        &half_kib.to_string(),
    ]);
    shell
        .arg(wanted.get_program())
        .args(wanted.get_args())
        .args(arguments);
    shell.envs(wanted.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = shell
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until_it_waits(child)
}

/// Lets it run until it waits for a beacon node, if it gets there, and has it end then: whether it did, its exit code, and what it said.
fn until_it_waits(child: Child) -> (bool, Option<i32>, String) {
    let mut run = Running::new(child);
    let waits = run.reaches("\"waiting\"");
    if waits {
        run.signal(Signal::INT);
    }
    let said = run.seen.clone();
    let (code, rest) = run.end();
    (waits, code, said + &rest)
}

#[test]
fn a_disk_that_is_full_is_told_and_leaves_nothing_half() {
    let exported = |folder: &Folder, name: &str| {
        let file = folder.path(name);
        folder.works(&["slashing-protection", "export", file.to_str().unwrap()]);
        fs::read(file).unwrap()
    };
    let is_told = |folder: &Folder, said: &str, code| {
        let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "error", "{said}");
        assert!([Some(1), Some(7)].contains(&code), "{code:?} {said}");
        let parts = ["what", "why", "what_to_do"].map(|part| last[part].as_str().unwrap().to_owned());
        assert!(parts.iter().all(|part| !part.is_empty()), "{said}");
        assert!(parts[0].contains(folder.0.path().to_str().unwrap()), "{said}");
        assert!(!said.contains("damaged"), "{said}");
    };
    // A database that is there stays what it is.
    let folder = Folder::hoodi();
    let data: Vec<Value> = folder.keys().iter().map(|key| history(key, 5, 0, 1)).collect();
    let file = folder.write("file.json", &interchange(HOODI, &json!(data)));
    folder.works(&["slashing-protection", "import", &file]);
    let before = exported(&folder, "before.json");
    let mut starts = 0;
    for half_kib in [0, 1, 2, 4, 8, 16, 64, 256, 4096] {
        let (waits, code, said) = run_on_a_full_disk(&folder, half_kib, &[]);
        if waits {
            starts += 1;
            // The first file that does not fit.
            assert!(
                half_kib > 0 || said.contains("will not know where this one listens"),
                "{said}"
            );
        } else {
            is_told(&folder, &said, code);
        }
    }
    assert!(starts > 0);
    assert!(exported(&folder, "after.json") == before);

    // A new one is there as a whole or not at all.
    let (mut made, mut not) = (0, 0);
    for half_kib in [0, 1, 2, 4, 8, 16, 64, 256, 4096] {
        let folder = Folder::hoodi();
        let (waits, code, said) = run_on_a_full_disk(&folder, half_kib, &["--new-slashing-database"]);
        if !waits {
            is_told(&folder, &said, code);
        }
        if folder.path(DATABASE).exists() {
            let out = folder.path("out.json");
            folder.works(&["slashing-protection", "export", out.to_str().unwrap()]);
            made += 1;
        } else {
            assert!(!waits);
            folder.refuses(
                &["run", "--beacon-node", NOWHERE],
                9,
                "no slashing protection database",
            );
            not += 1;
        }
        let names = fs::read_dir(folder.0.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.contains("unfinished")).count(), 0);
    }
    assert!(made > 0 && not > 0, "{made} {not}");
}

/// A disk that fails, or ends the process, at one write: see its source.
struct FailingDisk {
    library: PathBuf,
    _dir: tempfile::TempDir,
}

impl FailingDisk {
    fn new() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/devnet/lib/failing_disk.c");
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("failing_disk.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .output();
        let compiled = compiled.expect("a C compiler, which conclave itself needs, too");
        assert!(compiled.status.success(), "{}", text(&compiled.stderr));
        Self { library, _dir: dir }
    }

    /// A start whose disk does this (`DISK_FULL_AT`, `DISK_SYNC_AT`, `DISK_KILL_AT`) at the nth write: whether it came to wait for its beacon node, how it ended,
    /// what it said.
    fn run(
        &self,
        folder: &Folder,
        fault: &str,
        at: usize,
        arguments: &[&str],
    ) -> (bool, Option<i32>, String) {
        let mut command = folder.command(&["run", "--listen", "/ip4/127.0.0.1/tcp/0", "--json"]);
        let below = format!("{}/", folder.0.path().canonicalize().unwrap().display());
        let child = command
            .args(["--beacon-node", NOWHERE])
            .args(arguments)
            .env("LD_PRELOAD", &self.library)
            .env("DISK_BELOW", below)
            .env(fault, at.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until_it_waits(child)
    }
}

/// Starts with a sound disk, as long as it takes to wait for the beacon node, and ends in order.
#[track_caller]
fn starts_well(folder: &Folder, after: &str) -> String {
    let mut run = folder.run(&["--json", "--beacon-node", NOWHERE]);
    run.until("\"waiting\"");
    let said = run.seen.clone();
    run.signal(Signal::INT);
    assert_eq!(run.end().0, Some(0), "{after}");
    said
}

/// From the first write of a start to the last: a full disk, or one that breaks, is told and a kill is survived, nothing is half there, and nothing that was signed
/// is forgotten. What is written while it signs is tried on a beacon chain (tests/interop/devnet).
#[cfg(target_os = "linux")]
#[test]
fn a_start_survives_a_full_or_broken_disk_and_a_kill_at_each_of_its_writes() {
    let disk = FailingDisk::new();
    let memory = |folder: &Folder, name: &str| {
        let file = folder.path(name);
        folder.works(&["slashing-protection", "export", file.to_str().unwrap()]);
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(file).unwrap();
        bytes
    };
    let unfinished = |folder: &Folder| {
        let names = fs::read_dir(folder.0.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("unfinished")).count()
    };
    for fault in ["DISK_FULL_AT", "DISK_SYNC_AT", "DISK_KILL_AT"] {
        // With a history, and with a database that is made by this very start.
        for makes_one in [false, true] {
            let folder = Folder::hoodi();
            let mut before = None;
            if !makes_one {
                let data: Vec<Value> = folder.keys().iter().map(|key| history(key, 5, 0, 1)).collect();
                let file = folder.write("file.json", &interchange(HOODI, &json!(data)));
                folder.works(&["slashing-protection", "import", &file]);
                fs::remove_file(file).unwrap();
                before = Some(memory(&folder, "before.json"));
            }
            let mut hit = 0;
            for at in 1.. {
                let folder = if makes_one { &Folder::hoodi() } else { &folder };
                // The same start as the first one, each time.
                let _ = fs::remove_dir_all(folder.path("ceremony"));
                let arguments: &[&str] = if makes_one {
                    &["--new-slashing-database"]
                } else {
                    &[]
                };
                let what = format!("{fault}={at} {arguments:?}");
                let (waits, code, said) = disk.run(folder, fault, at, arguments);
                let causes: &[&str] = match fault {
                    "DISK_FULL_AT" => &["No space left on device", "the disk is full"],
                    "DISK_SYNC_AT" => &["Input/output error"],
                    _ => &[],
                };
                let told = causes.iter().any(|cause| said.contains(cause));
                match (fault, code) {
                    ("DISK_KILL_AT", None) => hit += 1,
                    (_, Some(1 | 7)) if !waits && told => hit += 1,
                    // What need not be written does not stop it.
                    (_, Some(0)) if waits && told => hit += 1,
                    (_, Some(0)) if waits => break,
                    _ => panic!("{what}: {waits} {code:?} {said}"),
                }
                assert!(!said.contains("damaged"), "{what}: {said}");
                if makes_one && !folder.path(DATABASE).exists() {
                    // Not half there, and not taken for one that signed nothing.
                    folder.refuses(
                        &["run", "--beacon-node", NOWHERE],
                        9,
                        "no slashing protection database",
                    );
                } else {
                    starts_well(folder, &what);
                    let after = memory(folder, "after.json");
                    assert!(before.as_ref().is_none_or(|before| *before == after), "{what}");
                }
                assert_eq!(unfinished(folder), 0, "{what}");
            }
            assert!(hit > 2, "{fault}, {makes_one}: {hit}");
        }
    }
}

/// The answer of the running node of a folder to a line of JSON.
fn ask(folder: &Folder, request: &Value) -> Value {
    let mut stream = UnixStream::connect(folder.path(SOCKET)).unwrap();
    writeln!(stream, "{request}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn the_control_socket_is_there_as_long_as_run_is() {
    let folder = Folder::hoodi();
    let run = || folder.run(&["--beacon-node", NOWHERE, "--dry-run"]);
    let mut first = run();
    first.until("Waiting for a beacon node");
    let socket = folder.path(SOCKET);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let status = ask(&folder, &json!({"request": "status"}));
    assert_eq!(status["status"]["operator"], 1, "{status}");
    assert_eq!(ask(&folder, &json!({"request": "song"}))["answer"], "refused");
    // Waiting for a beacon node is work, too.
    goes_round(&folder);
    folder.works(&["status", "--is", "live"]);
    folder.refuses(
        &["status", "--is", "healthy"],
        1,
        "no beacon node has told its chain",
    );
    // A crash leaves the file behind, which is in nobody's way.
    first.signal(Signal::KILL);
    first.end();
    assert!(UnixStream::connect(&socket).is_err() && fs::symlink_metadata(&socket).is_ok());
    let mut second = run();
    second.until("Waiting for a beacon node");
    assert_eq!(ask(&folder, &json!({"request": "status"}))["answer"], "status");
    second.signal(Signal::TERM);
    second.end();
    assert!(fs::symlink_metadata(&socket).is_err());
}

/// The status, headers and body of what is answered at a path.
fn look(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head.to_owned(), body.to_owned())
}

#[test]
fn a_running_node_can_be_looked_at() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    folder.refuses(&["status"], 7, "no conclave run is at work");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = BeaconNode::new(now - 3600);
    // A port that another program has is refused before there is a database.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = [
        "--new-slashing-database",
        "--beacon-node",
        &node.url,
        "--monitoring-address",
        &address,
    ];
    let output = folder.output(&[&["run", "--listen", "/ip4/127.0.0.1/tcp/0"], &run[..]].concat());
    refused(&output, 1, &address);
    assert!(text(&output.stderr).contains("--monitoring-address"));
    assert!(!folder.path(DATABASE).exists());
    drop(taken);

    let mut run = folder.run(&run);
    run.until("Look at it with conclave status");
    run.until("Signs from slot");
    // Another program on this machine sees the same.
    let status = loop {
        let (code, _, body) = look(&address, "/status");
        assert_eq!(code, 200);
        let status: Value = serde_json::from_str(&body).unwrap();
        if !status["beacon_nodes"].as_array().unwrap().is_empty() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(
        (&status["operator"], &status["threshold"], &status["state"]),
        (&json!(1), &json!(3), &json!("waiting"))
    );
    assert_eq!(status["operators"].as_array().unwrap().len(), 4);
    assert_eq!(status["validators"]["count"], 2);
    assert_eq!(status["beacon_nodes"][0]["version"], "Imitation/1");
    assert!(status["database_mark"].is_string(), "{status}");

    // Alone it cannot do its part, and says why; that it waits for its time to sign is no reason.
    let (code, _, body) = look(&address, "/health");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &health["healthy"]), (503, &json!(false)));
    assert_eq!(
        health["reasons"],
        json!(["1 of 4 operators are here, and 3 must be"])
    );
    assert_eq!(health["state"], "waiting");
    assert!(health["why"].to_string().contains("made anew"), "{health}");
    assert!(health["signs_from_ms"].is_u64(), "{health}");
    folder.refuses(&["status", "--is", "healthy"], 1, "1 of 4 operators are here");
    // Its own work goes on all the same.
    let (code, _, body) = look(&address, "/health/live");
    let liveness: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &liveness["live"]), (200, &json!(true)), "{liveness}");
    let (out, err) = folder.works(&["status", "--is", "live"]);
    assert_eq!(format!("{out}{err}"), "");
    goes_round(&folder);

    let (code, _, body) = look(&address, "/metrics");
    assert_eq!(code, 200);
    for metric in [
        "conclave_healthy 0",
        "conclave_threshold 3",
        "conclave_state{state=\"waiting\"} 1",
        "# EOF",
    ] {
        assert!(body.contains(metric), "{metric} is not in {body}");
    }
    let (code, head, page) = look(&address, "/");
    assert_eq!(code, 200);
    assert!(
        head.contains("content-security-policy: default-src 'none'"),
        "{head}"
    );
    assert!(page.contains("<title>conclave</title>") && !page.contains("//cdn") && !page.contains("http"));

    let (out, _) = folder.works(&["status"]);
    assert!(
        out.contains("waiting") && out.contains("Imitation/1") && out.contains("Up for"),
        "{out}"
    );
    let (out, _) = folder.works(&["status", "--json"]);
    let event: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&event["event"], &event["operator"]),
        (&json!("status"), &json!(1))
    );
    assert_eq!(event["validators"]["list"].as_array().unwrap().len(), 2);

    // Keys, passwords and credentials are nowhere in it.
    let password = fs::read_to_string(folder.path("validator_keys/keystore-insecure-0.txt")).unwrap();
    let identity = fs::read_to_string(folder.path("charon-enr-private-key")).unwrap();
    for path in ["/", "/status", "/health", "/health/live", "/metrics"] {
        let (_, _, body) = look(&address, path);
        assert!(
            !body.contains(password.trim()) && !body.contains(identity.trim()),
            "{path}"
        );
    }
    run.signal(Signal::KILL);
    run.end();
    folder.refuses(&["status"], 7, "no conclave run is at work");
    folder.refuses(&["status", "--is", "live"], 7, "no conclave run is at work");
}

/// Waits until the loop of the `run` in a folder has gone round again, which the time since its last round shows.
fn goes_round(folder: &Folder) {
    let quiet = || {
        let status = ask(folder, &json!({"request": "status"}));
        status["status"]["last_round_ms"].as_u64().unwrap()
    };
    let mut before = quiet();
    let begun = std::time::Instant::now();
    loop {
        let now = quiet();
        if now < before {
            return;
        }
        before = now;
        assert!(begun.elapsed() < PATIENCE, "quiet for {now} ms");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn before_genesis_a_node_waits_and_knows_its_beacon_node() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = BeaconNode::new(now + 3600);
    let mut run = folder.run(&["--new-slashing-database", "--beacon-node", &node.url]);
    run.until("it begins in");
    let begun = std::time::Instant::now();
    let status = loop {
        let status = ask(&folder, &json!({"request": "status"}))["status"].clone();
        if !status["beacon_nodes"].as_array().unwrap().is_empty() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(status["state"], "before_genesis");
    assert_eq!(
        (&status["signs_from_epoch"], &status["signs_from_ms"]),
        (&json!(0), &json!((now + 3600) * 1000))
    );
    assert_eq!(
        status["reasons"],
        json!(["1 of 4 operators are here, and 3 must be"])
    );
    run.signal(Signal::KILL);
    run.end();
}

/// The network of the chain that [`BeaconNode`] imitates.
fn custom_network(root: &str) -> String {
    format!(
        "name = \"custom\"\ngenesis_fork_version = \"0x10000038\"\ncapella_fork_version = \"0x40000038\"\n\
         chain_id = 3151908\ngenesis_time = 1750000000\nslot_seconds = 4\ngenesis_validators_root = \"{root}\"\n"
    )
}

/// As much of a beacon node as is asked before there are duties. Its thread ends with the test.
struct BeaconNode {
    url: String,
    /// What it was told, by path.
    told: Arc<Mutex<Vec<(String, Value)>>>,
}

impl BeaconNode {
    fn new(genesis_time: u64) -> Self {
        Self::with(genesis_time, 4000, &[])
    }

    /// With slots of so many milliseconds, and these validators.
    fn with(genesis_time: u64, slot_ms: u64, keys: &[String]) -> Self {
        Self::telling(genesis_time, slot_ms, keys, &["pending_queued"])
    }

    /// That tells these states of the validators; the last one is that of all others.
    fn telling(genesis_time: u64, slot_ms: u64, keys: &[String], states: &[&str]) -> Self {
        Self::behind(genesis_time, slot_ms, keys, states, 0)
    }

    /// The same, with a head that is so many slots old, though it calls itself in step.
    fn behind(genesis_time: u64, slot_ms: u64, keys: &[String], states: &[&str], behind: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, (genesis_time, slot_ms, 8), keys, states, behind)
    }

    /// At an address; of the chain its genesis, the length of slots and how many an epoch has.
    fn on(
        listener: TcpListener,
        (genesis_time, slot_ms, slots_per_epoch): (u64, u64, u64),
        keys: &[String],
        states: &[&str],
        behind: u64,
    ) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/beacon/spec-minimal.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        spec["data"]["SLOT_DURATION_MS"] = json!(slot_ms.to_string());
        spec["data"]["SLOTS_PER_EPOCH"] = json!(slots_per_epoch.to_string());
        let genesis = json!({"data": {
            "genesis_time": genesis_time.to_string(),
            "genesis_validators_root": format!("0x{}", "07".repeat(32)),
            "genesis_fork_version": "0x10000038",
        }});
        let syncing = move || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let since = now.saturating_sub(Duration::from_secs(genesis_time));
            let slot = u64::try_from(since.as_millis()).unwrap() / slot_ms;
            json!({"data": {
                "head_slot": slot.saturating_sub(behind).to_string(), "sync_distance": "0", "is_syncing": false,
                "is_optimistic": false, "el_offline": false,
            }})
        };
        let version = json!({"data": {"version": "Imitation/1"}});
        let validator = |(index, key): (usize, &String)| {
            let state = states.get(index).or(states.last()).unwrap();
            json!({"index": index.to_string(), "balance": "0", "status": state, "validator": {
                "pubkey": key, "effective_balance": "0", "slashed": false,
                "activation_epoch": u64::MAX.to_string(), "exit_epoch": u64::MAX.to_string(),
            }})
        };
        let validators = json!({"data": keys.iter().enumerate().map(validator).collect::<Value>()});
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (path, body) = request(&stream);
                // Of those that were asked for.
                let wanted = |one: &&Value| {
                    let ids = body["ids"].as_array();
                    ids.is_none_or(|ids| ids.contains(&one["validator"]["pubkey"]))
                };
                let list = validators["data"].as_array().unwrap().iter().filter(wanted);
                let validators = json!({"data": list.collect::<Vec<_>>()});
                heard.lock().unwrap().push((path.clone(), body.clone()));
                let syncing = syncing();
                let answer = match path.as_str() {
                    "/eth/v1/beacon/genesis" => Some(&genesis),
                    "/eth/v1/config/spec" => Some(&spec),
                    "/eth/v1/node/syncing" => Some(&syncing),
                    "/eth/v1/node/version" => Some(&version),
                    "/eth/v1/beacon/states/head/validators" => Some(&validators),
                    "/eth/v1/validator/prepare_beacon_proposer" | "/eth/v1/validator/register_validator" => {
                        Some(&Value::Null)
                    }
                    // The exit of every other validator cannot be taken.
                    "/eth/v1/beacon/pool/voluntary_exits" => {
                        let index = body["message"]["validator_index"].as_str();
                        let index = index.and_then(|index| index.parse::<u64>().ok());
                        index.is_some_and(|index| index % 2 == 0).then_some(&Value::Null)
                    }
                    _ => None,
                };
                let missing = json!({"code": 404, "message": "no"});
                let status = if answer.is_some() {
                    "200 OK"
                } else {
                    "404 Not Found"
                };
                let body = answer.unwrap_or(&missing).to_string();
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{body}"
                );
            }
        });
        Self { url, told }
    }

    /// What it was told at this path of the Beacon API.
    fn told(&self, path: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap();
        let at = told
            .iter()
            .filter(|(at, _)| at.strip_prefix("/eth/v1/validator/") == Some(path));
        at.map(|(_, body)| body.clone()).collect()
    }
}

/// The path of an HTTP request, and its body if that is JSON.
fn request(stream: &TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    (path, serde_json::from_slice(&body).unwrap_or_default())
}

/// Who looks sees that operator 1 consents to the exit of each of these, and whose consent is missing.
fn status_shows_exits(folder: &Folder, keys: &[String]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let exits = loop {
        let (out, _) = folder.works(&["status", "--json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        let exits = status["exits"].as_array().unwrap().clone();
        if exits.len() == keys.len() {
            break exits;
        }
        assert!(Instant::now() < deadline, "{status}");
    };
    for exit in &exits {
        assert_eq!(
            (
                &exit["stage"],
                &exit["consents"],
                &exit["missing"],
                &exit["needed"]
            ),
            (&json!("waits"), &json!([1]), &json!([2, 3, 4]), &json!(3)),
            "{exit}"
        );
    }
    let (out, _) = folder.works(&["status"]);
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("1 of the 3 that are needed consent"), "{out}");
}

/// Who looks sees this of the exits of a validator (its place in the lock) in the end: each with its epoch, its stage, and who consents.
fn status_shows(folder: &Folder, validator: usize, expected: &[(u64, &str, &[u16], &[u16])]) {
    let expected = json!(expected);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (out, _) = folder.works(&["status", "--json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        let exits = status["exits"].as_array().unwrap().iter();
        let mut shown: Vec<Value> = exits
            .filter(|exit| exit["validator"] == validator)
            .map(|exit| json!([exit["epoch"], exit["stage"], exit["consents"], exit["missing"]]))
            .collect();
        shown.sort_by_key(|exit| exit[0].as_u64());
        if json!(shown) == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{expected} is not in {shown:?}");
    }
}

/// One question for all validators, whether a node runs or parts go into files. Who is leaving already is left out, and told.
#[test]
fn all_validators_exit_by_one_command() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    let keys = folder.keys();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = |states: &[&str]| BeaconNode::telling(now - 3600, 4000, &keys, states);
    let both = node(&["active_ongoing"]);
    let parts = folder.path("parts");
    let to = parts.to_str().unwrap();
    let exit = |url: &str, more: &[&str]| {
        let arguments = [
            &["exit", "--all", "--partial-out", to, "--beacon-node", url],
            more,
        ]
        .concat();
        folder.output(&arguments)
    };
    let files = || {
        let entries = fs::read_dir(&parts).map(|entries| entries.map(|entry| entry.unwrap().file_name()));
        let mut names: Vec<String> = entries
            .map(|names| names.map(|name| name.into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    };
    let part = |key: &String| format!("{key}-operator-1.json");
    // Nothing is signed by accident, and nothing without knowing the validators.
    refused(&exit(&both.url, &[]), 2, "--yes");
    folder.refuses(
        &["exit", "--all", "--yes", "--partial-out", to],
        2,
        "index is missing",
    );
    assert_eq!(
        folder
            .output(&["exit", "--all", "--validator", &keys[0], "--yes"])
            .status
            .code(),
        Some(2)
    );
    assert!(files().is_empty());

    let one = node(&["active_exiting", "active_ongoing"]);
    let output = exit(&one.url, &["--yes"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(err.contains(&keys[0]) && err.contains("leaving already"), "{err}");
    assert_eq!(files(), [part(&keys[1])]);
    assert!(
        out.contains("cannot be undone") && out.contains(&keys[1]) && !out.contains(&keys[0]),
        "{out}"
    );
    // The other one later: what is there stays as it was, and is as good. However often it is said.
    let before = fs::read(parts.join(part(&keys[1]))).unwrap();
    let mut expected = vec![part(&keys[0]), part(&keys[1])];
    expected.sort();
    for confirmed in [&["--yes"][..], &["--yes"], &[]] {
        let output = exit(&both.url, confirmed);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{out}{err}");
        assert!(
            out.contains(&format!(
                "{} is there already",
                parts.join(part(&keys[1])).display()
            )),
            "{out}"
        );
        assert_eq!(files(), expected);
    }
    assert_eq!(fs::read(parts.join(part(&keys[1]))).unwrap(), before);
    // An exit of another epoch is another one, and does not stand in the way of these.
    let output = exit(&both.url, &["--yes", "--epoch", "9"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let later = |key: &String| format!("{key}-epoch-9-operator-1.json");
    expected.extend([later(&keys[0]), later(&keys[1])]);
    expected.sort();
    assert_eq!(files(), expected);
    // What has the name and is no such part is named, and stays; the others are written.
    fs::write(parts.join(part(&keys[0])), "mine").unwrap();
    fs::remove_file(parts.join(part(&keys[1]))).unwrap();
    refused(&exit(&both.url, &["--yes"]), 7, &part(&keys[0]));
    assert_eq!(fs::read(parts.join(part(&keys[0]))).unwrap(), b"mine");
    assert_eq!(files(), expected);
    for name in files() {
        assert_eq!(
            fs::metadata(parts.join(name)).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    // A file is no place for several.
    let file = folder.write("file", "");
    let arguments = [
        "exit",
        "--all",
        "--yes",
        "--partial-out",
        &file,
        "--beacon-node",
        &both.url,
    ];
    folder.refuses(&arguments, 2, "one file is for one validator");

    // Through a running node.
    folder.refuses(&["exit", "--all", "--yes"], 7, "nobody is there");
    let node = node(&["active_ongoing"]);
    let mut run = folder.run(&["--new-slashing-database", "--beacon-node", &node.url]);
    run.until("Signs from slot");
    let (out, _) = folder.works(&["exit", "--all", "--yes", "--json"]);
    let events: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let consented = |key: &String| {
        events.iter().any(|event| {
            event["event"] == "exit" && event["what"] == "consented" && event["validator"] == **key
        })
    };
    assert!(keys.iter().all(consented), "{events:?}");
    status_shows_exits(&folder, &keys);
    run.signal(Signal::TERM);
    run.end();
}

#[test]
fn builders_are_registered_with_if_and_only_if_they_are_wanted() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    let lock: Value = serde_json::from_slice(&fs::read(folder.path("cluster-lock.json")).unwrap()).unwrap();
    let registrations: Vec<Value> = lock["distributed_validators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|validator| {
            let signed = &validator["builder_registration"];
            // Beacon nodes take numbers as text.
            let mut message = signed["message"].clone();
            for key in ["gas_limit", "timestamp"] {
                message[key] = json!(message[key].to_string());
            }
            json!({"message": message, "signature": signed["signature"]})
        })
        .collect();
    assert_eq!(registrations.len(), 2);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for builder in [true, false] {
        let node = BeaconNode::with(now - 3600, 250, &folder.keys());
        let flags: &[&str] = if builder { &["--builder"] } else { &[] };
        let run = folder.run(&[&["--dry-run", "--beacon-node", &node.url], flags].concat());
        // Both are told once an epoch: at the second time, what is told beside this was told.
        let begun = Instant::now();
        while node.told("prepare_beacon_proposer").len() < 2 {
            assert!(begun.elapsed() < PATIENCE, "{:?}", node.told.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
        let told = node.told("register_validator");
        if builder {
            assert_eq!(told[0], json!(registrations));
        } else {
            assert_eq!(told, Vec::<Value>::new());
        }
        run.signal(Signal::KILL);
        run.end();
    }
}

#[test]
fn run_refuses_a_beacon_node_of_another_network() {
    let folder = Folder::hoodi();
    let node = BeaconNode::new(1_700_000_000);
    let arguments = [
        "run",
        "--new-slashing-database",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
    ];
    let output = folder.output(&[&arguments[..], &["--beacon-node", &node.url]].concat());
    refused(&output, 10, "another network");
    // The database that it leaves is as new as before: the same command goes on with it.
    let right = [&arguments[1..], &["--beacon-node", NOWHERE]].concat();
    folder.run(&right).until("Waiting for a beacon node");
    // Dry runs look as closely, and need no database.
    let folder = Folder::hoodi();
    let arguments = ["run", "--dry-run", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let output = folder.output(&[&arguments[..], &["--beacon-node", &node.url, "--json"]].concat());
    assert_eq!(output.status.code(), Some(10));
    let out = text(&output.stdout);
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["code"]), (&json!("error"), &json!(10)));
    assert!(!folder.path(DATABASE).exists());
}

#[test]
fn run_ends_when_most_beacon_nodes_say_that_the_network_is_another_one() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = |listener, slots_per_epoch| {
        BeaconNode::on(
            listener,
            (now - 3600, 1000, slots_per_epoch),
            &[],
            &["pending_queued"],
            0,
        )
    };
    let listen = |address: &str| TcpListener::bind(address).unwrap();
    let first = node(listen("127.0.0.1:0"), 16);
    // Those that are right are off while it starts.
    let right = ["127.0.0.1:0"; 2].map(|any| listen(any).local_addr().unwrap().to_string());
    let urls = right.each_ref().map(|address| format!("http://{address}"));
    let mut run = folder.run(&[
        "--json",
        "--new-slashing-database",
        "--beacon-node",
        &first.url,
        "--beacon-node",
        &urls[0],
        "--beacon-node",
        &urls[1],
    ]);
    let chain: Value = serde_json::from_str(&run.until("{\"event\":\"chain\"")).unwrap();
    assert_eq!(chain["slots_per_epoch"], 16);
    let one = node(listen(&right[0]), 8);
    run.until("\"state\":\"wrong_network\"");
    // One against one decides nothing.
    let status = &ask(&folder, &json!({"request": "status"}))["status"];
    assert_eq!(status["slots_per_epoch"], 16, "{status}");
    let other = node(listen(&right[1]), 8);
    let error: Value = serde_json::from_str(&run.until("{\"event\":\"error\"")).unwrap();
    assert_eq!(error["code"], 10, "{error}");
    let why = error["why"].as_str().unwrap();
    assert!(
        why.contains("SLOTS_PER_EPOCH is 8, and here it has to be 16")
            && why.contains(&one.url)
            && why.contains(&other.url),
        "{error}"
    );
    assert_eq!(run.end().0, Some(10));
}

/// A lock with another right signature of operator 2, as an operator makes it who seals twice.
fn sealed_twice(folder: &Folder) {
    let path = folder.path("cluster-lock.json");
    let mut lock: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let bytes = |text: &str| hex::decode(text.trim().trim_start_matches("0x")).unwrap();
    let hash: [u8; 32] = bytes(lock["lock_hash"].as_str().unwrap()).try_into().unwrap();
    let key = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/dkg-v1.10-hoodi-4x2/node1/charon-enr-private-key");
    let key: [u8; 32] = bytes(&fs::read_to_string(key).unwrap()).try_into().unwrap();
    let public = NodeKey::from_bytes(&key).unwrap().public();
    let key = SigningKey::from_slice(&key).unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let signature: k256::ecdsa::Signature = key.sign_prehash_with_rng(&mut rng, &hash).unwrap();
    let signature = signature.normalize_s();
    let with = |v: u8| -> [u8; 65] { [&signature.to_bytes()[..], &[v]].concat().try_into().unwrap() };
    let is_right = |whole: &[u8; 65]| public.verify_recoverable(&hash, whole);
    let whole = [0, 1].map(with).into_iter().find(is_right).unwrap();
    let known = &mut lock["node_signatures"][1];
    assert_ne!(bytes(known.as_str().unwrap()), whole);
    *known = json!(format!("0x{}", hex::encode(whole)));
    fs::write(path, lock.to_string()).unwrap();
}

/// Starts `run` of an operator as one who only watches, where others of these addresses are.
fn watches(folder: &Folder, peers: &[String]) -> (Running, String) {
    let mut arguments = vec!["--json", "--dry-run", "--beacon-node", NOWHERE];
    for peer in peers {
        arguments.extend(["--peer", peer]);
    }
    let mut run = folder.run(&arguments);
    let line = run.until("{\"event\":\"listening\"");
    let listening: Value = serde_json::from_str(&line).unwrap();
    let addresses = listening["addresses"].as_array().unwrap();
    let address = addresses.iter().find_map(|one| {
        let one = one.as_str().unwrap();
        one.contains("127.0.0.1").then(|| one.to_owned())
    });
    (run, address.unwrap_or_else(|| panic!("{line}")))
}

/// Reads on until an operator is connected.
#[track_caller]
fn meets(run: &mut Running, operator: u16) {
    run.until(&format!("{{\"event\":\"connected\",\"operator\":{operator},"));
}

#[test]
fn folders_with_either_lock_of_who_sealed_twice_validate_together() {
    let operator = |number| Folder::of_operator("dkg-v1.10-hoodi-4x2", number);
    let (one, two, three) = (operator(1), operator(2), operator(3));
    sealed_twice(&two);
    let (mut first, address) = watches(&one, &[]);
    let (mut second, other) = watches(&two, std::slice::from_ref(&address));
    meets(&mut first, 2);
    meets(&mut second, 1);
    let (mut third, _) = watches(&three, &[address, other]);
    meets(&mut first, 3);
    meets(&mut second, 3);
    meets(&mut third, 2);
    // It is not that nobody looks.
    let path = two.path("cluster-lock.json");
    let mut lock: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    lock["node_signatures"][1] = lock["node_signatures"][0].clone();
    fs::write(&path, lock.to_string()).unwrap();
    second.signal(Signal::KILL);
    second.end();
    two.refuses(
        &["run", "--dry-run", "--beacon-node", NOWHERE],
        8,
        "not a lock to validate with",
    );
}

#[test]
fn strangers_at_the_door_part_no_operators_who_run_and_keep_none_out() {
    let operator = |number| Folder::of_operator("dkg-v1.10-hoodi-4x2", number);
    let (one, two, three) = (operator(1), operator(2), operator(3));
    let (mut first, address) = watches(&one, &[]);
    let (mut second, _) = watches(&two, std::slice::from_ref(&address));
    meets(&mut first, 2);
    meets(&mut second, 1);
    let port = address
        .split('/')
        .skip_while(|part| *part != "tcp")
        .nth(1)
        .and_then(|port| port.parse().ok());
    for mode in [Mode::Hold, Mode::Garbage] {
        let strangers = Strangers::at(port.unwrap(), 900, &one_address(), mode);
        // Longer than a handshake may take.
        std::thread::sleep(Duration::from_secs(6));
        let begun = Instant::now();
        let (mut third, _) = watches(&three, std::slice::from_ref(&address));
        meets(&mut third, 1);
        meets(&mut first, 3);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(strangers.made() >= 900);
        third.signal(Signal::KILL);
        third.end();
        first.until("{\"event\":\"disconnected\",\"operator\":3,");
    }
    let lost = "{\"event\":\"disconnected\",\"operator\":2,";
    assert!(!first.seen.contains(lost), "{}", first.seen);
    let second_seen = second.seen.clone();
    second.signal(Signal::INT);
    let (code, rest) = second.end();
    assert_eq!(code, Some(0));
    let lost = "{\"event\":\"disconnected\",\"operator\":1,";
    assert!(
        !rest.contains(lost) && !second_seen.contains(lost),
        "{second_seen}{rest}"
    );
}

#[test]
fn run_tells_programs_what_it_does_and_finishes_its_slot() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = BeaconNode::new(now - 3600);
    let mut run = folder.run(&["--json", "--new-slashing-database", "--beacon-node", &node.url]);
    let next = |run: &mut Running, kind: &str| -> Value {
        let line = run.until(&format!("{{\"event\":\"{kind}\""));
        serde_json::from_str(&line).unwrap()
    };
    let started = next(&mut run, "started");
    assert_eq!(
        (&started["operator"], &started["threshold"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(started["validators"].as_array().unwrap().len(), 2);
    let chain = next(&mut run, "chain");
    assert_eq!(
        (&chain["genesis_time"], &chain["slot_ms"]),
        (&json!(now - 3600), &json!(4000))
    );
    let starts = next(&mut run, "signs_from");
    // A database that was just made waits for two whole epochs of 8 slots, counted from the slot before.
    let slot = starts["slot"].as_u64().unwrap();
    assert_eq!(starts["epoch"].as_u64().unwrap(), (slot - 1) / 8 + 3);
    assert_eq!(next(&mut run, "beacon_node")["state"], "ready");
    let status = &ask(&folder, &json!({"request": "status"}))["status"];
    assert_eq!(status["lock_hash"], started["lock_hash"]);
    assert_eq!(
        (&status["operator"], &status["software"]),
        (&json!(1), &json!(concat!("conclave/", env!("CARGO_PKG_VERSION"))))
    );
    run.signal(Signal::TERM);
    let stopping = next(&mut run, "stopping")["slot"].as_u64().unwrap();
    assert!(stopping >= slot - 1);
    let last = next(&mut run, "finished");
    let end = now - 3600 + 4 * (stopping + 1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now >= end && now < end + PATIENCE.as_secs());
    assert_eq!(last["validators"], started["validators"]);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn a_beacon_node_that_stands_still_is_told_whatever_it_says_of_itself() {
    let folder = Folder::of("cluster-v1.10-custom-4x2");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = BeaconNode::behind(now - 3600, 4000, &[], &["pending_queued"], 40);
    let mut run = folder.run(&["--json", "--dry-run", "--beacon-node", &node.url]);
    let line = run.until("{\"event\":\"beacon_node\"");
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["state"], "stalled", "{told}");
    assert!(
        told["message"].to_string().contains("its newest block is"),
        "{told}"
    );
    run.signal(Signal::KILL);
    run.end();
}

/// It ended with this code, and its last event says this.
#[track_caller]
fn ended(output: &Output, code: i32, part: &str) {
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{out}");
    assert!(out.lines().last().unwrap().contains(part), "{out}");
}

/// Another operator of this ceremony signs its part of the exit of this index from this epoch on: its file, in the folder.
fn part_of(
    folder: &Folder,
    (ceremony, node): (&str, usize),
    network: &str,
    key: &str,
    (index, epoch): (&str, &str),
) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{ceremony}/node{node}"));
    let other = tempfile::tempdir().unwrap();
    group::copy(&from, other.path());
    let name = format!("part-{node}-{index}-{epoch}");
    let file = folder.path(&name).to_str().unwrap().to_owned();
    let output = conclave()
        .arg("--data-dir")
        .arg(other.path())
        .args([
            "exit",
            "--validator",
            key,
            "--validator-index",
            index,
            "--epoch",
            epoch,
            "--yes",
        ])
        .args(["--network-file", network, "--partial-out", &file])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    file
}

/// What lacks parts, what cannot be written and what no beacon node takes is told apart and counted right; the exit code is that of
/// what lacks parts, if anything does.
#[test]
fn of_many_exits_each_is_told_as_what_became_of_it() {
    let ceremony = "cluster-v1.10-custom-4x2";
    let folder = Folder::of(ceremony);
    let network = folder.write("network.toml", &custom_network(&format!("0x{}", "07".repeat(32))));
    let keys = folder.keys();
    let parts = |key: &str, index: &str| -> Vec<String> {
        (1..4)
            .map(|node| part_of(&folder, (ceremony, node), &network, key, (index, "0")))
            .collect()
    };
    // The beacon node takes the first one, and not the second one.
    let (first, second) = (parts(&keys[0], "6"), parts(&keys[1], "5"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = BeaconNode::new(now - 3600);
    let nowhere = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let combine = |url: &str, out: &str, parts: &[&[String]]| {
        let out = folder.path(out).to_str().unwrap().to_owned();
        let mut words = vec!["--json", "exit", "--network-file", &network, "--submit"];
        words.extend(["--beacon-node", url, "--out", &out, "--combine"]);
        words.extend(parts.iter().flat_map(|parts| parts.iter().map(String::as_str)));
        folder.output(&words)
    };
    let told = |output: &Output, what: &str| {
        let out = text(&output.stdout);
        let events = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of: Vec<String> = events
            .filter(|event| event["event"] == "exit" && event["what"] == what)
            .map(|event| event["validator"].as_str().unwrap().to_owned())
            .collect();
        of
    };

    fs::create_dir(folder.path("a")).unwrap();
    let output = combine(&node.url, "a", &[&first, &second]);
    ended(
        &output,
        1,
        &format!(
            "of 2 exits 2 are signed, 1 of the signed was not taken by a beacon node: no beacon node took the exit of validator {}",
            keys[1]
        ),
    );
    assert_eq!(told(&output, "submitted"), [keys[0].clone()]);
    assert_eq!(told(&output, "not_taken"), [keys[1].clone()]);

    // One lacks a part, the other one is not taken: the first says more.
    fs::create_dir(folder.path("b")).unwrap();
    let output = combine(&node.url, "b", &[&first[..2], &second]);
    ended(
        &output,
        6,
        "of 2 exits 1 is signed, 1 cannot be signed yet, 1 of the signed was not taken by a beacon node; the first: the exit of",
    );

    // What could not be written is not signed, as nobody has it.
    for (name, second, code, counts) in [
        (
            "c",
            &second[..],
            7,
            "of 2 exits 1 is signed, 1 could not be written, 1 of the signed was not taken",
        ),
        (
            "d",
            &second[..2],
            6,
            "of 2 exits none is signed, 1 cannot be signed yet, 1 could not be written; the first: the exit of",
        ),
    ] {
        let out = folder.path(name);
        fs::create_dir(&out).unwrap();
        fs::write(out.join(format!("{}-signed.json", keys[0])), "mine").unwrap();
        ended(&combine(&node.url, name, &[&first, second]), code, counts);
    }

    // No beacon node can be asked: the files are there, and named.
    fs::create_dir(folder.path("e")).unwrap();
    let output = combine(&nowhere, "e", &[&first, &second]);
    ended(
        &output,
        1,
        "of 2 exits 2 are signed, 2 of the signed were not taken by a beacon node; the first: ",
    );
    assert_eq!(told(&output, "not_taken").len(), 2);
    ended(&combine(&nowhere, "one", &[&second]), 1, "The file is there: ");
    assert!(folder.path("one").exists());
}

#[test]
fn a_running_node_takes_in_parts_of_exits_that_came_as_files() {
    let ceremony = "cluster-v1.10-custom-4x2";
    let folder = Folder::of(ceremony);
    let network = folder.write("network.toml", &custom_network(&format!("0x{}", "07".repeat(32))));
    let key = &folder.keys()[1];
    let files: Vec<String> = (1..4)
        .map(|node| part_of(&folder, (ceremony, node), &network, key, ("5", "0")))
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = BeaconNode::new(now - 3600);
    let mut run = folder.run(&["--json", "--new-slashing-database", "--beacon-node", &node.url]);
    run.until("\"event\":\"signs_from\"");

    let combine = |parts: &[&str]| {
        let words = ["--json", "exit", "--network-file", &network, "--combine"];
        [&words[..], parts]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let works = |parts: &[&str]| {
        let words = combine(parts);
        let (out, _) = folder.works(&words.iter().map(String::as_str).collect::<Vec<_>>());
        serde_json::from_str::<Value>(out.lines().last().unwrap()).unwrap()
    };
    let taken = works(&[&files[0]]);
    assert_eq!(
        (&taken["what"], &taken["threshold"]),
        (&json!("taken"), &json!(3))
    );
    assert_eq!(taken["operators"].as_array().unwrap().len(), 1);
    run.until("\"what\":\"asked\"");
    // A part that was changed on its way is nobody's, and the node says so.
    let mut changed: Value = serde_json::from_slice(&fs::read(&files[1]).unwrap()).unwrap();
    changed["message"]["epoch"] = json!("7");
    let changed = folder.write("changed", &changed.to_string());
    let words = combine(&[&changed]);
    let output = folder.output(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("did not sign it"),
        "{}",
        text(&output.stdout)
    );

    // What the node was given counts where the exit is made here, too.
    let out = folder.path("exit").to_str().unwrap().to_owned();
    refused(
        &folder.output(&[
            "exit",
            "--network-file",
            &network,
            "--combine",
            &files[1],
            "--out",
            &out,
        ]),
        6,
        "2 of the 3",
    );
    let signed = works(&[&files[1], &files[2]]);
    assert_eq!(signed["what"], "signed");
    let path = PathBuf::from(signed["path"].as_str().unwrap());
    assert_eq!(path, folder.path("exits").join(format!("{key}-signed.json")));
    let line = run.until("\"what\":\"signed\"");
    let event: Value = serde_json::from_str(&line).unwrap();
    let operators: Vec<u64> = event["operators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operator| operator["operator"].as_u64().unwrap())
        .collect();
    assert_eq!(operators, [2, 3, 4], "this operator's share did not sign");
    folder.works(&[
        "exit",
        "--network-file",
        &network,
        "--combine",
        &files[1],
        "--out",
        &out,
    ]);
    assert_eq!(fs::read(&out).unwrap(), fs::read(&path).unwrap());
    let own = folder.path("exits").join(format!("{key}-operator-1.json"));
    assert!(!own.exists());

    // Every part counts in the end, or the command says which does not.
    let key = &folder.keys()[0];
    let part = |node: usize, epoch: &str| part_of(&folder, (ceremony, node), &network, key, ("6", epoch));
    let (old, other) = (part(1, "0"), part(2, "0"));
    let new = part(1, "9");
    let hand_over = |parts: &[&str]| {
        let words = combine(parts);
        let output = folder.output(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let events = text(&output.stdout);
        let events = events.lines().map(|line| serde_json::from_str(line).unwrap());
        let replaced: Vec<Value> = events
            .filter(|event: &Value| event["what"] == "replaced")
            .collect();
        (output, replaced)
    };
    for parts in [[&old, &new, &other], [&new, &other, &old], [&other, &old, &new]] {
        let (output, replaced) = hand_over(&parts.map(String::as_str));
        ended(&output, 6, "1 of the 3 parts does not count: the part of ");
        assert!(text(&output.stdout).contains("(index 6, epoch 0)"));
        assert_eq!(replaced.len(), 1, "{replaced:?}");
        let who = &replaced[0]["operators"][0]["operator"];
        assert_eq!((&replaced[0]["epoch"], who), (&json!(0), &json!(2)));
    }
    let (output, replaced) = hand_over(&[&new, &other]);
    assert_eq!((output.status.code(), replaced.len()), (Some(0), 0));
    let (output, _) = hand_over(&[&new, &changed]);
    ended(
        &output,
        6,
        "1 of the 2 parts does not count: the part of operator 3",
    );
    run.signal(Signal::KILL);
}

#[test]
fn exits_are_shown_as_far_as_they_are_and_after_the_next_start_too() {
    let ceremony = "cluster-v1.10-custom-4x2";
    let folder = Folder::of(ceremony);
    let network = folder.write("network.toml", &custom_network(&format!("0x{}", "07".repeat(32))));
    let keys = folder.keys();
    // Of operator 2, 3 or 4, for one of the two validators.
    let hand_over = |operator: usize, validator: usize, epoch: &str| {
        let index = if validator == 0 { "6" } else { "5" };
        let part = part_of(
            &folder,
            (ceremony, operator - 1),
            &network,
            &keys[validator],
            (index, epoch),
        );
        folder.works(&["exit", "--network-file", &network, "--combine", &part]);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let node = BeaconNode::new(now - 3600);
    let mut run = folder.run(&["--json", "--new-slashing-database", "--beacon-node", &node.url]);
    run.until("\"event\":\"signs_from\"");
    hand_over(2, 1, "0");
    status_shows(&folder, 1, &[(0, "waits", &[2], &[1, 3, 4])]);
    hand_over(3, 1, "0");
    hand_over(4, 1, "0");
    // This beacon node takes no exit of such an index.
    status_shows(&folder, 1, &[(0, "not_taken", &[2, 3, 4], &[1])]);
    // Two want different exits of the other one.
    hand_over(2, 0, "9");
    hand_over(3, 0, "0");
    let other_of_3 = (0, "waits", &[3][..], &[1, 2, 4][..]);
    status_shows(&folder, 0, &[other_of_3, (9, "waits", &[2], &[1, 3, 4])]);
    hand_over(4, 0, "9");
    let both = [other_of_3, (9, "waits", &[2, 4], &[1, 3])];
    status_shows(&folder, 0, &both);
    run.signal(Signal::KILL);
    run.end();

    // What was kept, and what the chain says of it by then.
    let states = ["pending_queued", "active_exiting"];
    let node = BeaconNode::telling(now - 3600, 4000, &keys, &states);
    let mut run = folder.run(&["--json", "--beacon-node", &node.url]);
    run.until("\"event\":\"signs_from\"");
    status_shows(&folder, 0, &both);
    status_shows(&folder, 1, &[(0, "leaves", &[2, 3, 4], &[1])]);
    hand_over(3, 0, "9");
    status_shows(&folder, 0, &[(9, "submitted", &[2, 3, 4], &[1])]);
    run.signal(Signal::KILL);
}

/// A terminal that stands still, or a program that reads no more, must not hold up the validator.
#[test]
fn who_does_not_read_what_it_says_does_not_stop_it() {
    // Beacon nodes whose long complaints fill every pipe.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 4096]);
                let body =
                    json!({"code": 500, "message": format!("{number} {}", "x".repeat(250))}).to_string();
                let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close";
                let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            });
        }
    });
    let folder = Folder::hoodi();
    let urls: Vec<String> = (0..60).map(|number| format!("{url}/{number}")).collect();
    let mut arguments = vec!["--dry-run"];
    for url in &urls {
        arguments.extend(["--beacon-node", url]);
    }
    let mut run = folder.run(&arguments);
    run.until("Waiting for a beacon node");
    std::thread::sleep(Duration::from_secs(20));
    let end = Instant::now() + PATIENCE;
    let before = asked.load(Ordering::SeqCst);
    while asked.load(Ordering::SeqCst) < before + 600 {
        assert!(Instant::now() < end, "it asks nobody any more");
        std::thread::sleep(Duration::from_millis(100));
    }
    run.signal(Signal::INT);
    let code = loop {
        if let Some(status) = run.child.try_wait().unwrap() {
            break status.code();
        }
        assert!(Instant::now() < end, "it does not end");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(code, Some(0));
}

#[test]
fn a_terminal_that_is_closed_stops_a_node_in_good_order() {
    let folder = Folder::hoodi();
    for signal in [Signal::HUP, Signal::TERM] {
        if signal == Signal::HUP && !machine::hears_hangups() {
            continue;
        }
        let mut run = folder.run(&["--dry-run", "--beacon-node", NOWHERE]);
        run.until("Waiting for a beacon node");
        run.signal(signal);
        let (code, rest) = run.end();
        assert_eq!(code, Some(0), "{signal:?}: {rest}");
        assert!(rest.contains("Stopped."), "{signal:?}: {rest}");
    }
}

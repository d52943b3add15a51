//! A group of operators as real processes on the loopback interface: folders, definition, `conclave join --json`.

// Not every test file uses everything.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use assert_cmd::cargo::CommandCargoExt;
use conclave_ceremony::define::definition;
use conclave_ceremony::files::Disk;
use conclave_ceremony::folder::DataFolder;
use conclave_ceremony::identity::Identity;
use conclave_ceremony::plan::Plan;
use conclave_cluster::definition::Definition;
use conclave_cluster::lock::Lock;
use conclave_crypto::node::NodeKey;
use conclave_eth::keystore::{Keystore, Password};
use conclave_eth::network::Network;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub mod people;

/// Nothing takes this long, even on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How long a process whose files are in place is waited for before it is told to leave.
const LEAVE_AFTER: Duration = Duration::from_secs(8);
/// Names of operators, in the order of the definition.
pub const NAMES: [&str; 7] = ["ann", "bob", "carol", "dave", "erin", "frank", "grace"];

/// Copies what is in a folder, as a backup does.
pub fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// A command in a clean environment, without a terminal.
pub fn conclave() -> Command {
    let mut command = Command::cargo_bin("conclave").unwrap();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE_")) {
        command.env_remove(name);
    }
    // Several run at a time.
    command.env("CONCLAVE_MONITORING_ADDRESS", "none");
    command.stdin(Stdio::null());
    command
}

/// What a command says that ends by itself. One that goes on for ever, as `run` does where it should have refused, is killed: it has no exit
/// code then.
pub fn output(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let (ended, end) = channel::<()>();
    std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE * 3) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    output
}

/// A network file with this genesis time.
pub fn devnet(genesis_time: u64) -> String {
    format!(
        "name = \"devnet\"\ngenesis_fork_version = \"0x10203040\"\ncapella_fork_version = \"0x40203040\"\n\
         chain_id = 4242\ngenesis_time = {genesis_time}\nslot_seconds = 12\n"
    )
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Every file's content by its path.
pub type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// Operators with their folders, and what they agreed on.
pub struct Group {
    pub dir: tempfile::TempDir,
    pub definition: Definition,
    pub ports: Vec<u16>,
    pub host: &'static str,
    pub validators: usize,
    pub more: Vec<String>,
}

impl Group {
    pub fn new(operators: usize, threshold: usize, validators: usize) -> Self {
        Self::with(
            operators,
            threshold,
            validators,
            Network::by_name("hoodi").unwrap(),
        )
    }

    /// A group on a network of its own, described by a network file.
    pub fn on(operators: usize, threshold: usize, validators: usize, network: &str) -> Self {
        Self::with(
            operators,
            threshold,
            validators,
            &Network::from_toml(network).unwrap(),
        )
    }

    fn with(operators: usize, threshold: usize, validators: usize, network: &Network) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let enrs = (0..operators)
            .map(|i| {
                let folder = DataFolder::open_or_create(&Disk::new(), &dir.path().join(NAMES[i])).unwrap();
                Identity::create(&folder, NAMES[i]).unwrap().enr()
            })
            .collect();
        let text = format!(
            "name = \"Friends\"\noperators = {operators}\nthreshold = {threshold}\nnetwork = \"{}\"\nvalidators = {validators}",
            network.name
        );
        let plan = Plan::parse(&text).unwrap().with_rehearsal_addresses();
        let definition = definition(&plan, enrs, network).unwrap();
        fs::write(dir.path().join("cluster-definition.json"), definition.to_json()).unwrap();
        Self {
            dir,
            definition,
            ports: (0..operators).map(|_| free_port()).collect(),
            host: "/ip4/127.0.0.1",
            validators,
            more: Vec::new(),
        }
    }

    pub fn n(&self) -> usize {
        self.ports.len()
    }

    pub fn folder(&self, i: usize) -> PathBuf {
        self.dir.path().join(NAMES[i])
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("cluster-definition.json")
    }

    pub fn key(&self, i: usize) -> NodeKey {
        let identity = Identity::load(&Disk::new(), &self.folder(i)).unwrap();
        NodeKey::from_bytes(&identity.key().to_bytes()).unwrap()
    }

    /// The complete address of an operator.
    pub fn address(&self, i: usize) -> String {
        let id = conclave_net::node::peer_id(self.definition.operators[i].enr.node_public_key()).unwrap();
        format!("{}/tcp/{}/p2p/{id}", self.host, self.ports[i])
    }

    /// `conclave join` of an operator who knows these others.
    pub fn command(&self, i: usize, peers: &[usize]) -> Command {
        let mut command = conclave();
        command.args(["--json", "--data-dir"]).arg(self.folder(i));
        command.args(["join", "--yes"]).arg(self.file());
        command.args(["--listen", &format!("{}/tcp/{}", self.host, self.ports[i])]);
        for peer in peers {
            command.args(["--peer", &self.address(*peer)]);
        }
        command.args(&self.more);
        command
    }

    pub fn join(&self, i: usize, peers: &[usize]) -> Process {
        Process::start(self.command(i, peers))
    }

    /// Everybody knows everybody.
    pub fn join_all(&self) -> Vec<Process> {
        let all: Vec<usize> = (0..self.n()).collect();
        all.iter().map(|i| self.join(*i, &all)).collect()
    }

    /// Equal locks that verify, keystores that hold the shares which the lock names.
    #[track_caller]
    pub fn assert_finished(&self) {
        let first = fs::read(self.folder(0).join("cluster-lock.json")).unwrap();
        let lock = Lock::from_json(&first).unwrap();
        assert!(
            lock.verify(Some(Network::by_name("hoodi").unwrap()), &[7; 32])
                .passed()
        );
        assert_eq!(lock.validators().len(), self.validators);
        // What other software may do otherwise, a ceremony of ours does not.
        let hoodi = Network::by_name("hoodi").unwrap();
        for validator in lock.validators() {
            let amounts: Vec<u64> = validator.deposits.iter().map(|deposit| deposit.amount).collect();
            assert_eq!(validator.registration.timestamp, hoodi.genesis_time);
            assert_eq!(
                validator.registration.gas_limit,
                lock.definition().target_gas_limit
            );
            assert_eq!(amounts, lock.definition().effective_deposit_amounts());
        }
        for (i, name) in NAMES.iter().enumerate().take(self.n()) {
            let folder = self.folder(i);
            assert!(
                fs::read(folder.join("cluster-lock.json")).unwrap() == first,
                "{name}'s lock is another one"
            );
            assert!(
                !folder.join("RESTORED").exists(),
                "{name}'s folder counts as restored"
            );
            assert_eq!(
                fs::read(folder.join("deposit-data.json")).unwrap(),
                fs::read(self.folder(0).join("deposit-data.json")).unwrap()
            );
            for (v, validator) in lock.validators().iter().enumerate() {
                let read = |suffix: &str| {
                    fs::read(folder.join(format!("validator_keys/keystore-{v}.{suffix}"))).unwrap()
                };
                let keystore = Keystore::from_json(&read("json")).unwrap();
                // RFC 4122: version 4 and its variant.
                let value: Value = serde_json::from_slice(&read("json")).unwrap();
                let uuid = value["uuid"].as_str().unwrap();
                assert!(
                    uuid[14..].starts_with('4') && ["8", "9", "A", "B"].contains(&&uuid[19..20]),
                    "{uuid}"
                );
                let share = keystore
                    .open(&Password::from_bytes(&read("txt")).unwrap())
                    .unwrap();
                assert_eq!(share.public_key().to_bytes(), validator.public_shares[i]);
            }
            assert!(folder.join("ceremony/transcript").exists());
            let names: Vec<String> = fs::read_dir(folder.join("validator_keys"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(names.len(), 2 * self.validators, "{names:?}");
        }
    }

    /// All files of an operator.
    pub fn contents(&self, i: usize) -> Contents {
        files(&self.folder(i))
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// How a process ended.
pub struct End {
    /// `None` if it was killed.
    pub code: Option<i32>,
    pub events: Vec<Value>,
    pub stderr: String,
}

impl End {
    /// The error event's text.
    pub fn error(&self) -> String {
        let error = self.events.iter().rev().find(|event| event["event"] == "error");
        error.map_or_else(String::new, |event| {
            format!("{} | {} | {}", event["what"], event["why"], event["what_to_do"])
        })
    }

    pub fn of(&self, kind: &str) -> Vec<&Value> {
        self.events
            .iter()
            .filter(|event| event["event"] == kind)
            .collect()
    }

    #[track_caller]
    pub fn is_good(&self) {
        assert_eq!(self.code, Some(0), "{} {}", self.error(), self.stderr);
        assert!(self.of("fault").is_empty(), "{:?}", self.of("fault"));
        assert_eq!(self.of("finished").len(), 1);
        assert_eq!(self.stderr, "");
    }

    #[track_caller]
    pub fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{} {}", self.error(), self.stderr);
        for part in parts {
            assert!(self.error().contains(part), "{part}: {}", self.error());
        }
        let error = self.of("error");
        assert_eq!(error.len(), 1);
        for field in ["what", "why", "what_to_do"] {
            assert!(
                error[0][field].as_str().is_some_and(|text| !text.is_empty()),
                "{}",
                error[0]
            );
        }
    }
}

/// A running `conclave --json`; killed when dropped.
pub struct Process {
    child: Child,
    lines: Receiver<Value>,
    events: Vec<Value>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tx, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no event: {line}"));
                let _ = tx.send(event);
            }
        });
        Self {
            child,
            lines,
            events: Vec::new(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until an event satisfies `is`.
    #[track_caller]
    pub fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        if let Some(event) = self.events.iter().find(|event| is(event)) {
            return event.clone();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(event) => {
                    self.events.push(event.clone());
                    if is(&event) {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("never: {what}; last: {:?}", self.events.last()),
                Err(RecvTimeoutError::Disconnected) => {
                    let mut text = String::new();
                    let _ = self.child.stderr.take().unwrap().read_to_string(&mut text);
                    panic!("it ended before: {what}; last: {:?} {text}", self.events.last())
                }
            }
        }
    }

    /// The last event of a kind so far.
    #[track_caller]
    pub fn last(&self, kind: &str) -> &Value {
        let last = self.events.iter().rev().find(|event| event["event"] == kind);
        last.unwrap_or_else(|| panic!("no {kind} yet"))
    }

    /// Whether a notice with the one text came before one with the other.
    pub fn saw_before(&self, first: &str, second: &str) -> bool {
        let at = |text: &str| {
            let has = |event: &Value| {
                event["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(text))
            };
            self.events.iter().position(has)
        };
        matches!((at(first), at(second)), (Some(first), Some(second)) if first < second)
    }

    /// Everything that it said to people so far, and what it still says within this time.
    pub fn words(&mut self, time: Duration) -> String {
        let until = Instant::now() + time;
        while let Ok(event) = self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.events.push(event);
        }
        let words = ["message", "what", "why", "what_to_do"];
        let said = self
            .events
            .iter()
            .flat_map(|event| words.map(|word| event[word].as_str()));
        said.flatten().collect::<Vec<&str>>().join("\n")
    }

    /// How many events of a kind there were so far.
    pub fn count(&self, kind: &str) -> usize {
        self.events.iter().filter(|event| event["event"] == kind).count()
    }

    /// How many errors or ends come in this time.
    pub fn count_ends_for(&mut self, time: Duration) -> usize {
        self.words(time);
        self.count("error") + self.count("finished")
    }

    /// How many events come in this time.
    pub fn count_events_for(&mut self, time: Duration) -> usize {
        std::thread::sleep(time);
        self.lines.try_iter().count()
    }

    /// Waits until operator `j` (from 0) has done a step.
    #[track_caller]
    pub fn until_step(&mut self, j: usize, step: &str) {
        self.until(&format!("{} {step}", NAMES[j]), |event| has_step(event, j, step));
    }

    #[track_caller]
    pub fn until_listening(&mut self) {
        self.until("listening", |event| event["event"] == "listening");
    }

    /// Whether it says that its own files are in place.
    fn is_done(&self) -> bool {
        let last = self
            .events
            .iter()
            .rev()
            .find(|event| event["event"] == "progress");
        let operators = last.and_then(|event| event["operators"].as_array());
        operators.into_iter().flatten().any(|operator| {
            let steps = operator["steps"].as_array();
            operator["link"] == "myself" && steps.is_some_and(|steps| steps.iter().any(|step| step == "done"))
        })
    }

    #[track_caller]
    pub fn until_connected(&mut self, j: usize) {
        self.until(&format!("{} connected", NAMES[j]), |event| {
            event["operators"][j]["link"] == "connected"
        });
    }

    /// Waits for a notice with this text.
    #[track_caller]
    pub fn until_notice(&mut self, text: &str) -> String {
        let event = self.until(text, |event| {
            event["message"]
                .as_str()
                .is_some_and(|message| message.contains(text))
        });
        event["message"].as_str().unwrap().to_owned()
    }

    /// Waits until it ends by itself, or, once its own files are in place, tells it to leave.
    #[track_caller]
    pub fn end(mut self) -> End {
        let deadline = Instant::now() + PATIENCE;
        let mut done_since = None;
        loop {
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout) => {
                    assert!(
                        Instant::now() < deadline,
                        "it never ends; last: {:?}",
                        self.events.last()
                    );
                    if done_since.is_none() && self.is_done() {
                        done_since = Some(Instant::now());
                    }
                    // A confirmation that was lost with a killed process never comes: its files are in place, its person leaves.
                    if done_since.is_some_and(|since| since.elapsed() > LEAVE_AFTER) {
                        self.terminate();
                        done_since = None;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let mut stderr = String::new();
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut stderr);
        let code = self.child.wait().unwrap().code();
        End {
            code,
            events: std::mem::take(&mut self.events),
            stderr,
        }
    }
}

pub fn has_step(event: &Value, j: usize, step: &str) -> bool {
    event["operators"][j]["steps"]
        .as_array()
        .is_some_and(|steps| steps.iter().any(|done| done == step))
}

/// Ends all, side by side: one that is told to leave at last keeps nobody else waiting.
#[track_caller]
pub fn ends(processes: Vec<Process>) -> Vec<End> {
    let threads: Vec<_> = processes
        .into_iter()
        .map(|process| std::thread::spawn(move || process.end()))
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Ends all, each must be good.
#[track_caller]
pub fn all_good(processes: Vec<Process>) {
    ends(processes).iter().for_each(End::is_good);
}

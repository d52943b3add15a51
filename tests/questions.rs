//! What ends a question in a terminal, and what the terminal is like afterwards: real terminals, real signals. `script` makes the terminal, and a
//! shell in it looks at what is left.

#![cfg(target_os = "linux")]

mod group;
mod machine;

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// What is said when a copy of a folder is being encrypted.
const AT_WORK: &str = "Encrypting";
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// As the cursor is hidden and shown.
const HIDDEN: &str = "\u{1b}[?25l";
const SHOWN: &str = "\u{1b}[?25h";

/// A terminal in which a shell runs one command, keeps its exit code in a file, and then says how the terminal is set.
struct Terminal {
    script: Child,
    keys: Option<ChildStdin>,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

impl Terminal {
    fn open(folder: &Path, arguments: &[&str]) -> Self {
        Self::open_with(folder, "", arguments)
    }

    /// The same, after something else was done in that shell. It begins WAIT seconds after it is told which process it is.
    fn open_with(folder: &Path, before: &str, arguments: &[&str]) -> Self {
        let inner = "trap : INT TERM HUP; sh -c 'echo pid=$$; sleep $WAIT; exec \"$@\"' sh \"$@\"; code=$?; echo $code > code.new; \
                     mv code.new code; stty -a; echo; echo the end";
        let run = folder.join("run.sh");
        let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
        let conclave = group::conclave();
        fs::write(
            &run,
            format!(
                "export WAIT=0\n{before}\nset -- '{}' {}\n{inner}\n",
                conclave.get_program().to_str().unwrap(),
                quoted.join(" ")
            ),
        )
        .unwrap();
        let mut command = Command::new("script");
        command
            .args(["-qefc", "sh run.sh", "/dev/null"])
            .current_dir(folder);
        command
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE_")) {
            command.env_remove(name);
        }
        let mut script = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (script.stdout.take().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        let keys = script.stdin.take();
        Self { script, keys, screen }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn until(&self, text: &str) {
        let begun = Instant::now();
        while !self.screen().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "never: {text}\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        let to = self.keys.as_mut().unwrap();
        to.write_all(keys.as_bytes()).unwrap();
        to.flush().unwrap();
    }

    /// There are no more keys: what `script` and `ssh` then send to the terminal is its end of input.
    fn no_more_keys(&mut self) {
        drop(self.keys.take());
    }

    fn signal(&self, signal: Signal) {
        let screen = self.screen();
        let pid = screen
            .split("pid=")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap();
        kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), signal).unwrap();
    }

    /// The terminal's window is closed.
    fn close(&mut self) {
        self.script.kill().unwrap();
        self.script.wait().unwrap();
    }
}

/// What ends a question.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    CtrlC,
    /// At a question only.
    CtrlD,
    Signal(Signal),
    Close,
}

const WAYS: [Way; 4] = [
    Way::CtrlC,
    Way::Signal(Signal::TERM),
    Way::Signal(Signal::HUP),
    Way::Close,
];

/// Ends a command that has come to `at` in one way; what is seen has to be as documented, and to say `undone`.
#[track_caller]
fn ends(folder: &Path, arguments: &[&str], at: (&[(&str, &str)], &str), undone: &str, way: Way) {
    let terminal = end(folder, arguments, at, way);
    is_told(folder, &terminal, undone, way);
}

/// Ends a command that has come to `at` in one way.
#[track_caller]
fn end(folder: &Path, arguments: &[&str], (keys, at): (&[(&str, &str)], &str), way: Way) -> Terminal {
    let _ = fs::remove_file(folder.join("code"));
    let mut terminal = Terminal::open(folder, arguments);
    for (question, answer) in keys {
        terminal.until(question);
        terminal.press(answer);
    }
    terminal.until(at);
    // It reads a moment after it has asked. Work is over while one waits.
    if at != AT_WORK {
        std::thread::sleep(Duration::from_millis(300));
    }
    match way {
        Way::CtrlC => terminal.press("\u{3}"),
        Way::CtrlD => terminal.press("\u{4}"),
        Way::Signal(signal) => terminal.signal(signal),
        Way::Close => terminal.close(),
    }
    let (begun, code) = (Instant::now(), folder.join("code"));
    while !code.exists() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{way:?} of {at}: never ends\n{}",
            terminal.screen()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    terminal
}

/// Whether what is seen of an interruption is as documented.
#[track_caller]
fn is_told(folder: &Path, terminal: &Terminal, undone: &str, way: Way) {
    let screen = |terminal: &Terminal| format!("{way:?}, {undone}:\n{}", terminal.screen());
    assert_eq!(
        fs::read_to_string(folder.join("code")).unwrap().trim(),
        "130",
        "{}",
        screen(terminal)
    );
    if way == Way::Close {
        return;
    }
    terminal.until("the end");
    let seen = terminal.screen();
    let shown = screen(terminal);
    assert_eq!(seen.matches("interrupted: ").count(), 1, "{shown}");
    assert!(seen.contains(&format!("interrupted: {undone}")), "{shown}");
    assert!(seen.contains("To do: run the same command again"), "{shown}");
    // What the terminal shows of Ctrl-C is gone from the line on which it is said.
    let line = seen.lines().find(|line| line.contains("interrupted: ")).unwrap();
    let told = line.rsplit("\u{1b}[K").next().unwrap();
    assert!(line.contains("\r\u{1b}[K") && !told.contains("^C"), "{shown}");
    assert!(
        seen.rfind(HIDDEN) <= seen.rfind(SHOWN),
        "the cursor is hidden: {shown}"
    );
    let settings: Vec<&str> = seen
        .rsplit("speed ")
        .next()
        .unwrap()
        .split([' ', ';', '\r', '\n'])
        .collect();
    for setting in ["echo", "icanon", "isig", "icrnl", "opost"] {
        assert!(settings.contains(&setting), "{setting}: {shown}");
    }
}

/// An operator's folder with two validators.
fn finished(folder: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dkg-v1.10-hoodi-4x2/node0");
    fs::create_dir(folder.join("node")).unwrap();
    group::copy(&from, &folder.join("node"));
}

#[test]
fn whatever_ends_a_question_leaves_the_terminal_as_it_was_and_says_what_was_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    finished(folder);
    fs::write(folder.join("archive"), "age-encryption.org/v1\n").unwrap();
    let hears = |way: &Way| *way != Way::Signal(Signal::HUP) || machine::hears_hangups();
    for way in WAYS.into_iter().chain([Way::CtrlD]).filter(hears) {
        // A text, a list, a password, yes or no.
        ends(
            folder,
            &["--data-dir", "new", "identity", "new"],
            (&[], "Your name"),
            "no identity was made",
            way,
        );
        ends(
            folder,
            &["plan", "new", "--name", "Friends"],
            (&[], "(its number"),
            "no plan was written",
            way,
        );
        ends(
            folder,
            &["--data-dir", "imported", "import", "archive"],
            (&[], "Password of the archive"),
            "nothing was imported",
            way,
        );
        ends(
            folder,
            &[
                "plan",
                "new",
                "--name",
                "Friends",
                "--network",
                "hoodi",
                "--operators",
                "4",
                "--threshold",
                "3",
                "--validators",
                "1",
            ],
            (&[], "Compounding"),
            "no plan was written",
            way,
        );
    }
    let exit = [
        "--data-dir",
        "node",
        "exit",
        "--validator-index",
        "7",
        "--partial-out",
        "part",
    ];
    ends(
        folder,
        &exit,
        (&[], "(its number"),
        "you have not consented",
        Way::CtrlC,
    );
    ends(
        folder,
        &exit,
        (&[("(its number", "1\r")], "To consent, type"),
        "you have not consented",
        Way::Signal(Signal::TERM),
    );
    for left in ["new/charon-enr-private-key", "plan.toml", "imported", "part"] {
        assert!(!folder.join(left).exists(), "{left}");
    }
}

/// A short history, of all validators of a folder on hoodi.
fn history(folder: &Path) -> String {
    let root = "0x212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f";
    let lock = fs::read_to_string(folder.join("cluster-lock.json")).unwrap();
    let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
    let validators = lock["distributed_validators"].as_array().unwrap();
    let of = |validator: &serde_json::Value| {
        let key = &validator["distributed_public_key"];
        serde_json::json!({"pubkey": key, "signed_blocks": [{"slot": "1"}], "signed_attestations": []})
    };
    let data: Vec<serde_json::Value> = validators.iter().map(of).collect();
    let metadata = serde_json::json!({"interchange_format_version": "5", "genesis_validators_root": root});
    serde_json::json!({"metadata": metadata, "data": data}).to_string()
}

/// Ends a command while it encrypts a copy of the folder. A machine may be done before it hears of that, which is then tried again.
#[track_caller]
fn ends_at_work(folder: &Path, command: &str, undone: &str, way: Way) {
    for _ in 0..50 {
        let (node, archive) = (folder.join("copy"), folder.join("archive.age"));
        let _ = fs::remove_dir_all(&node);
        let _ = fs::remove_file(&archive);
        fs::create_dir(&node).unwrap();
        group::copy(&folder.join("node"), &node);
        let mut arguments = vec![
            "--data-dir",
            "copy",
            command,
            "archive.age",
            "--password-file",
            "password",
        ];
        arguments.extend((command == "export").then_some("--yes"));
        let terminal = end(folder, &arguments, (&[], AT_WORK), way);
        if !terminal.screen().contains(&format!("interrupted: {undone}")) {
            continue;
        }
        is_told(folder, &terminal, undone, way);
        assert!(
            !archive.exists() && !node.join("RETIRED").exists(),
            "{}",
            terminal.screen()
        );
        return;
    }
    panic!("never in time, or never told: {command}, {way:?}");
}

#[test]
fn work_that_is_interrupted_says_what_was_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    finished(folder);
    fs::write(folder.join("password"), "correct horse battery").unwrap();
    for way in [Way::CtrlC, Way::Signal(Signal::TERM)] {
        ends_at_work(
            folder,
            "backup",
            "no backup was made, and this folder is as it was",
            way,
        );
    }
    // With its slashing protection it could be exported, too: that of shares which never signed.
    fs::write(folder.join("history.json"), history(&folder.join("node"))).unwrap();
    let mut import = group::conclave();
    import.args([
        "--data-dir",
        "node",
        "slashing-protection",
        "import",
        "history.json",
    ]);
    let imported = import.current_dir(folder).output().unwrap();
    assert!(imported.status.success(), "{imported:?}");
    for way in [Way::CtrlC, Way::Signal(Signal::TERM)] {
        let undone = "this folder is not retired, and nothing was written";
        ends_at_work(folder, "export", undone, way);
        ends(
            folder,
            &["--data-dir", "node", "export", "moved.age"],
            (&[("Retire this folder?", "yes\r")], "Password of the archive"),
            "this folder is not retired, and nothing was written",
            way,
        );
    }
    assert!(!folder.join("moved.age").exists() && !folder.join("node/RETIRED").exists());
}

/// Everything but whether it is compounding, for which it asks.
const PLAN: [&str; 12] = [
    "plan",
    "new",
    "--name",
    "Friends",
    "--network",
    "hoodi",
    "--operators",
    "4",
    "--threshold",
    "3",
    "--validators",
    "1",
];
/// What it asks then.
const NEXT: &str = "Deposits of each validator";

impl Terminal {
    /// Asks a question that is answered with yes or no, and then another one.
    fn compounding(folder: &Path) -> Self {
        let terminal = Self::open(folder, &PLAN);
        terminal.until("(yes or no");
        terminal
    }

    /// What comes after so many more of these texts than were there.
    #[track_caller]
    fn until_again(&self, text: &str, before: usize) {
        let begun = Instant::now();
        while self.screen().matches(text).count() <= before {
            assert!(
                begun.elapsed() < PATIENCE,
                "never again: {text}\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn code(&self, folder: &Path) -> String {
        self.until("the end");
        fs::read_to_string(folder.join("code")).unwrap().trim().to_owned()
    }
}

/// What asks again says it in these words.
const ASKED_AGAIN: &str = "Type yes or no (or y or n) and nothing else, then press Enter";

#[test]
fn yes_or_no_is_a_line_of_its_own_and_nothing_else_answers() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let address = "/ip4/203.0.113.7/tcp/9510/p2p/16Uiu2HAm7zGMtKcRp7kQsW5sUxHmWXoxY3b9jQ2yWAcj5p4pvSNd";
    let mut terminal = Terminal::compounding(folder);
    for wrong in [
        "yes please\r",
        "\r",
        "correct horse battery\r",
        "ja\r",
        &format!("{address}\r"),
    ] {
        let before = terminal.screen().matches(ASKED_AGAIN).count();
        terminal.press(wrong);
        terminal.until_again(ASKED_AGAIN, before);
    }
    // Without Enter, nothing is answered by whatever it is, and it can be taken back.
    for keys in ["y", "Y", "n", address] {
        terminal.press(keys);
        std::thread::sleep(Duration::from_millis(400));
        assert!(
            !terminal.screen().contains("\u{b7}"),
            "{keys}: {}",
            terminal.screen()
        );
        terminal.press("\u{15}");
    }
    // What was pasted, as the terminal marks it, and several lines at once.
    for (pasted, told) in [
        ("\u{1b}[200~yes\r\u{1b}[201~", "Nothing that is pasted"),
        ("\u{1b}[200~yes\u{1b}[201~\r", "Nothing that is pasted"),
        ("yes\rand the next\r", "Several lines came at once"),
        ("/media/my-usb\ryes\r", "Several lines came at once"),
    ] {
        let before = terminal.screen().matches(told).count();
        terminal.press(pasted);
        terminal.until_again(told, before);
        std::thread::sleep(Duration::from_millis(400));
        assert!(!terminal.screen().contains(NEXT), "{}", terminal.screen());
    }
    for (word, answer) in [
        ("no\r", "no"),
        ("N\r", "no"),
        ("yes\r", "yes"),
        ("Y\r", "yes"),
        ("YES\r", "yes"),
        ("yes \t\r", "yes"),
        // Arrow keys, the mouse and the focus are no lines behind the answer, and no letters of it.
        ("no\r\u{1b}[A\u{1b}[B", "no"),
        ("\u{1b}[M !!y\u{1b}[Ies\r\u{1b}[<0;1;1M\u{1b}[O", "yes"),
    ] {
        let mut terminal = std::mem::replace(&mut terminal, Terminal::compounding(folder));
        terminal.press(word);
        terminal.until(NEXT);
        let screen = terminal.screen();
        let line = screen.lines().rfind(|line| line.contains('\u{b7}')).unwrap();
        assert!(
            line.contains("Compounding") && line.contains(answer),
            "{word:?}: {screen}"
        );
        terminal.press("\u{3}");
        assert_eq!(terminal.code(folder), "130", "{word:?}: {}", terminal.screen());
        // Nothing is left for the shell.
        assert!(!terminal.screen().contains("not found"), "{}", terminal.screen());
    }
    terminal.press("\u{3}");
    terminal.until("the end");
}

/// What cannot be undone is typed: within quotes, as the question shows it, or without them.
#[test]
fn the_words_of_what_cannot_be_undone_are_typed_and_never_pasted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    finished(folder);
    let exit = [
        "--data-dir",
        "node",
        "exit",
        "--validator-index",
        "7",
        "--partial-out",
        "part",
    ];
    let mut terminal = Terminal::open(folder, &exit);
    terminal.until("(its number");
    terminal.press("1\r");
    terminal.until("then press Enter)");
    let screen = terminal.screen();
    assert!(screen.contains("index 7 as you gave it"), "{screen}");
    let (_, rest) = screen.rsplit_once("To consent, type \"").unwrap();
    let words = rest.split('"').next().unwrap().to_owned();
    terminal.press(&format!("\u{1b}[200~{words}\u{1b}[201~\r"));
    terminal.until("Nothing that is pasted is an answer here");
    terminal.press("yes\r");
    terminal.until("or press Ctrl-C");
    assert!(!folder.join("part").exists());
    terminal.press(&format!("\"{words}\"\r"));
    assert_eq!(terminal.code(folder), "0", "{}", terminal.screen());
    assert!(folder.join("part").exists());
}

/// A record that was not meant can be taken back, from the next question or from the last one; what is no record is told at once.
#[test]
fn whoever_gives_a_wrong_record_can_give_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let record = |name: &str| {
        let identity = |words: &[&str]| {
            let mut command = group::conclave();
            command
                .args(["--data-dir", name, "--json", "identity"])
                .args(words);
            command.current_dir(folder).output().unwrap()
        };
        identity(&["new", "--name", name]);
        let event: serde_json::Value = serde_json::from_slice(&identity(&["show"]).stdout).unwrap();
        format!("{name}={}", event["enr"].as_str().unwrap())
    };
    let address = "0x71C7656EC7ab88b098defB751B7401B5f6d8976F";
    let mut plan = group::conclave();
    plan.args(PLAN).args([
        "--withdrawal-address",
        address,
        "--fee-recipient-address",
        address,
    ]);
    let planned = plan.current_dir(folder).output().unwrap();
    assert!(planned.status.success(), "{planned:?}");
    let mut terminal = Terminal::open(folder, &["--data-dir", "cluster", "define", "plan.toml"]);
    terminal.until("Operator 1, as NAME=ENR");
    let enr = record("eve").split_once('=').unwrap().1.to_owned();
    for wrong in [address, "carol", "conclave define plan.toml", &enr] {
        let before = terminal.screen().matches("is no operator").count();
        terminal.press(&format!("{wrong}\r"));
        terminal.until_again("is no operator", before);
        assert!(!terminal.screen().contains("The rest of that record"), "{wrong}");
    }
    terminal.press(&format!("{}\r", record("ann")));
    terminal.until("(or back, to give ann again)");
    terminal.press(&format!("{}\r", record("eve")));
    terminal.until("(or back, to give eve again)");
    terminal.press("back\r");
    terminal.until("eve: taken back");
    for name in ["bob", "carol", "frank"] {
        terminal.press(&format!("{}\r", record(name)));
    }
    terminal.until("Are these the operators: ann, bob, carol, frank");
    terminal.press("no\r");
    terminal.until("frank: taken back");
    terminal.until("(or back, to give carol again)");
    terminal.press(&format!("{}\r", record("dave")));
    terminal.until("Are these the operators: ann, bob, carol, dave");
    terminal.press("yes\r");
    assert_eq!(terminal.code(folder), "0", "{}", terminal.screen());
    let written = fs::read_to_string(folder.join("cluster/cluster-definition.json")).unwrap();
    assert_eq!(written.matches("enr:").count(), 4, "{written}");
}

#[test]
fn what_is_typed_before_a_question_is_there_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut terminal = Terminal::open_with(folder, "export WAIT=1", &PLAN);
    terminal.until("pid=");
    terminal.press("yes\rcorrect horse battery\r");
    terminal.until("(yes or no");
    std::thread::sleep(Duration::from_millis(600));
    let screen = terminal.screen();
    assert!(!screen.contains(NEXT) && !screen.contains('\u{b7}'), "{screen}");
    terminal.press("n\r");
    terminal.until(NEXT);
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
    // The same of texts and lists: the line for the next question came along with this one.
    let mut terminal = Terminal::open(folder, &["plan", "new"]);
    terminal.until("Name of the cluster");
    terminal.press("Friends\r\r\r");
    terminal.until("(its number");
    std::thread::sleep(Duration::from_millis(600));
    assert!(!terminal.screen().contains("How many"), "{}", terminal.screen());
    terminal.press("9\r");
    terminal.until("Type the number of one of the lines above");
    terminal.press("sepolia\r");
    terminal.until("How many operators (4 if you only press Enter)");
    terminal.press("\r");
    terminal.until("How many operators must sign");
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
}

#[test]
fn an_input_that_has_ended_answers_no_question() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let undone = "no plan was written";
    // Before anything is asked, at a question, and behind an answer.
    let mut terminal = Terminal::open_with(folder, "export WAIT=1", &PLAN);
    terminal.until("pid=");
    terminal.no_more_keys();
    assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
    is_told(folder, &terminal, undone, Way::CtrlD);
    for keys in ["", "yes\r", "yes\r\u{4}"] {
        let mut terminal = Terminal::compounding(folder);
        terminal.press(keys);
        terminal.no_more_keys();
        assert_eq!(terminal.code(folder), "130", "{keys:?}: {}", terminal.screen());
        is_told(folder, &terminal, undone, Way::CtrlD);
        assert!(terminal.screen().contains("Ctrl-D"), "{}", terminal.screen());
        assert_eq!(terminal.screen().contains(NEXT), !keys.is_empty());
    }
    // In the middle of a line it ends nothing.
    let mut terminal = Terminal::compounding(folder);
    terminal.press("ye\u{4}s\r");
    terminal.until(NEXT);
    terminal.press("\u{3}");
    terminal.until("the end");
}

#[test]
fn a_paste_whose_end_gets_lost_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut terminal = Terminal::compounding(folder);
    terminal.press("\u{1b}[200~no\rmore");
    terminal.until("Nothing that is pasted");
    terminal.press("yes\r");
    terminal.until(NEXT);
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
}

#[test]
fn enter_is_heard_however_the_terminal_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    for (before, enter) in [
        ("stty igncr", "\r"),
        ("stty inlcr igncr -icrnl", "\n"),
        ("stty -icrnl", "\r"),
    ] {
        let mut terminal = Terminal::open_with(folder, before, &PLAN);
        terminal.until("(yes or no");
        terminal.press(&format!("yes{enter}"));
        terminal.until(NEXT);
        terminal.press("\u{3}");
        assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
    }
}

#[test]
fn what_is_typed_at_the_end_is_written_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut terminal = Terminal::compounding(folder);
    let before = terminal.screen().len();
    // A screen reader reads what is written: each key once, and the question never again.
    for (key, written) in [
        ("y", "y"),
        ("e", "ye"),
        ("d", "yed"),
        ("\u{7f}", "yed\u{8} \u{8}"),
        ("s", "yed\u{8} \u{8}s"),
    ] {
        terminal.press(key);
        let begun = Instant::now();
        while terminal.screen().len() < before + written.len() {
            assert!(begun.elapsed() < PATIENCE, "{}", terminal.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(&terminal.screen()[before..], written);
    }
    // In the middle it is drawn as a whole, and rightly.
    terminal.press("\u{1b}[D\u{1b}[Dx");
    terminal.until("yxes");
    terminal.press("\u{7f}\r");
    terminal.until(NEXT);
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
}

#[test]
fn a_secret_that_is_pasted_into_a_question_stays_off_the_screen() {
    let key = "b216d91124cb93ab3fe8b0ae9728e4e1755589aeb216d91124cb93ab3fe8b0ae";
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut terminal = Terminal::open(folder, &["--data-dir", "new", "identity", "new"]);
    terminal.until("Your name");
    let told = "looks like";
    let mut press = |keys: &str, seen: &str| {
        let before = terminal.screen().matches(seen).count();
        terminal.press(keys);
        terminal.until_again(seen, before);
    };
    // With the marks of a paste, and without.
    for (begin, end) in [("\u{1b}[200~", "\u{1b}[201~"), ("", "")] {
        let stars = "*".repeat(64);
        press(&format!("{begin}{key}{end}"), &stars);
        press("\r", told);
        // What is left of it when some of it was removed is as secret; and so is what was pasted twice.
        press(&format!("{begin}{key}{end}"), &stars);
        press(&format!("{}\r", "\u{7f}".repeat(8)), told);
        press(&format!("{begin}{key}{key}{end}"), &stars.repeat(2));
        press("\u{15}A\u{7f}", "A");
        // A letter more makes it no key, and shows nothing of it.
        press(&format!("{begin}{key}{end}"), &stars);
        press("q", "*");
        press("\r", told);
    }
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
    let screen = terminal.screen();
    assert!(
        !key.as_bytes()
            .windows(10)
            .any(|part| screen.contains(std::str::from_utf8(part).unwrap())),
        "{screen}"
    );
}

#[test]
fn a_terminal_that_knows_no_escape_sequences_gets_none() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    finished(folder);
    let plain = |arguments: &[&str]| Terminal::open_with(folder, "export TERM=dumb", arguments);
    let mut terminal = plain(&PLAN);
    terminal.until("(yes or no");
    terminal.press("x");
    terminal.press("\u{1b}[D\u{7f}");
    terminal.press("maybe\r");
    terminal.until(ASKED_AGAIN);
    terminal.press("no\u{15}yes\r");
    terminal.until(NEXT);
    let long = "32,".repeat(60);
    terminal.press(&long);
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130");
    assert!(terminal.screen().contains("interrupted: no plan was written"));
    // A password, a list, an end of the input.
    let mut other = plain(&["--data-dir", "node", "backup", "copy.age"]);
    other.until("Password of the archive");
    other.press("short\r");
    other.until("\u{2718}");
    other.press("\u{4}");
    assert_eq!(other.code(folder), "130");
    let mut list = plain(&["plan", "new", "--name", "Friends"]);
    list.until("(its number");
    list.press("1\r");
    list.until("How many operators");
    list.press("\u{3}");
    assert_eq!(list.code(folder), "130");
    for screen in [terminal.screen(), other.screen(), list.screen()] {
        assert!(!screen.contains('\u{1b}'), "{screen:?}");
    }
}

#[test]
fn what_was_wrong_with_an_answer_says_what_to_do_and_vanishes_with_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let arguments: Vec<&str> = PLAN
        .into_iter()
        .chain(["--compounding", "--amounts", "32"])
        .collect();
    let mut terminal = Terminal::open(folder, &arguments);
    terminal.until("Withdrawal address");
    terminal.press("0x71c7656ec7ab88b098defb751b7401b5f6d8976f\r");
    // What is wrong, and the form to give.
    terminal.until("in one case");
    terminal.until("0x71C7656EC7ab88b098defB751B7401B5f6d8976F");
    let before = terminal.screen().len();
    terminal.press("vitalik.eth\r");
    terminal.until("Names are not looked");
    let screen = terminal.screen();
    let drawn = &screen[before..];
    // The rows of what was said before are cleared: up, and everything below.
    assert!(drawn.contains("A\u{1b}[J"), "{drawn:?}");
    // Typed, it has as many digits as a password for a moment.
    for key in "0x71C7656EC7ab88b098defB751B7401B5f6d8976F".split_inclusive(|_| true) {
        terminal.press(key);
        std::thread::sleep(Duration::from_millis(20));
    }
    terminal.press("\r");
    terminal.until("\u{b7}");
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130", "{}", terminal.screen());
}

#[test]
fn the_last_words_after_a_question_about_another_attempt_are_true() {
    let group = group::Group::new(3, 2, 1);
    let (mut ann, carol) = (group.join(0, &[2]), group.join(2, &[0]));
    ann.until_step(2, "joined");
    carol.kill();
    // Not as another process beside the one that has just ended.
    ann.until("carol is gone", |event| {
        event["operators"][2]["link"]
            .as_str()
            .is_some_and(|link| link != "connected")
    });
    let carol = group.folder(2);
    fs::remove_file(carol.join("ceremony/attempt-1/seed")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(
        home.path(),
        &[
            "--data-dir",
            carol.to_str().unwrap(),
            "join",
            group.file().to_str().unwrap(),
            "--listen",
            &format!("{}/tcp/{}", group.host, group.ports[2]),
            "--peer",
            &group.address(0),
        ],
    );
    // Whoever types Ctrl-D while it is at work answers nothing by that.
    terminal.until("carol");
    terminal.press("\u{4}");
    terminal.until("Begin attempt 2?");
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        !terminal.screen().contains("counts as no"),
        "{}",
        terminal.screen()
    );
    terminal.press("\u{3}");
    terminal.until("the end");
    let screen = terminal.screen();
    let words = screen.split("Error:").nth(1).unwrap_or_default();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "this folder lacks the secrets of attempt 1",
        "was not answered with yes",
        "--attempt 2",
    ] {
        assert!(words.contains(part), "{part}: {screen}");
    }
    assert!(!words.contains("it goes on where it was"), "{words}");
}

/// What a command says in a terminal with so many columns, line by line, without colours.
fn lines_in(folder: &Path, columns: usize, arguments: &[&str], ends_with: &str) -> Vec<String> {
    let terminal = Terminal::open_with(folder, &format!("stty cols {columns} rows 40"), arguments);
    terminal.until("the end");
    let screen = terminal.screen();
    let plain = console::strip_ansi_codes(&screen).replace('\r', "");
    assert!(plain.contains(ends_with), "{plain}");
    let said = plain
        .split_once("pid=")
        .unwrap()
        .1
        .split("speed ")
        .next()
        .unwrap();
    said.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn text_is_broken_between_words_where_the_terminal_ends_and_only_there() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    finished(folder);
    let joined = |lines: &[String]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    for columns in [60, 80] {
        // Results, a notice, an error with its cause and what to do.
        let new = format!("new{columns}");
        let made = lines_in(
            folder,
            columns,
            &["--data-dir", &new, "identity", "new", "--name", "ann"],
            "enr:",
        );
        assert!(
            joined(&made).contains("Keep that file secret and back it up: without it you cannot take part.")
        );
        let record = made
            .iter()
            .find(|line| line.starts_with("--operator 'ann=enr:"))
            .unwrap();
        assert!(
            record.ends_with('\''),
            "a line end in the middle of what is sent: {record}"
        );
        let noted = lines_in(
            folder,
            columns,
            &["--data-dir", "node", "identity", "show"],
            "enr:",
        );
        // What is typed is in one line, too.
        let command = "conclave --data-dir NEW-FOLDER identity new";
        assert!(noted.iter().any(|line| line.contains(command)), "{noted:#?}");
        let refused = lines_in(
            folder,
            columns,
            &["--data-dir", &new, "backup", "x.age"],
            "To do:",
        );
        assert!(refused.len() > 3, "{refused:#?}");
        let labels = ["Error:", "Why:", "To do:"];
        for line in refused.iter().filter(|line| !line.is_empty()) {
            let is_first = labels.iter().any(|label| line.starts_with(label));
            assert!(
                is_first || line.starts_with("       ") && !line.starts_with("        "),
                "{refused:#?}"
            );
        }
        for line in made.iter().chain(&noted).chain(&refused) {
            let is_one = line.starts_with("--operator") || line.trim() == command;
            assert!(
                console::measure_text_width(line) <= columns || is_one,
                "{columns}: {line}"
            );
        }
        // In a pipe and a file they are as they are meant.
        let mut piped = group::conclave();
        let piped = piped
            .args(["--data-dir", &new, "backup", "x.age"])
            .current_dir(folder)
            .output()
            .unwrap();
        let said = String::from_utf8(piped.stderr).unwrap();
        assert_eq!(said.lines().count(), 3, "{said}");
        assert_eq!(
            joined(&said.lines().map(str::to_owned).collect::<Vec<_>>())
                .replace("  ", " ")
                .replace("  ", " "),
            joined(&refused).replace("  ", " ").replace("  ", " ").trim()
        );
    }
}

#[test]
fn the_width_is_that_of_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let mut terminal = Terminal::open_with(folder, "stty cols 120 rows 40; echo device=$(tty)", &PLAN);
    terminal.until("(yes or no");
    let screen = terminal.screen();
    let device = screen
        .split("device=")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let resized = Command::new("stty")
        .args(["-F", device, "cols", "40"])
        .status()
        .unwrap();
    assert!(resized.success());
    terminal.press("\u{3}");
    assert_eq!(terminal.code(folder), "130");
    let screen = terminal.screen();
    let words = console::strip_ansi_codes(screen.split("Error:").nth(1).unwrap()).replace('\r', "");
    let words = words.split("speed ").next().unwrap();
    assert!(
        words.contains("To do: run the same command")
            && !words.contains("run the same command again when you want")
    );
    for line in words.lines() {
        assert!(console::measure_text_width(line) <= 40, "{line}");
    }
}

#[test]
fn who_is_connected_and_silent_may_have_a_question_to_answer() {
    let group = group::Group::new(3, 2, 1);
    let (mut ann, bob) = (group.join(0, &[1]), group.join(1, &[0]));
    ann.until_step(1, "joined");
    bob.kill();
    ann.until("bob is gone", |event| {
        event["operators"][1]["link"]
            .as_str()
            .is_some_and(|link| link != "connected")
    });
    let bob = group.folder(1);
    fs::remove_file(bob.join("ceremony/attempt-1/seed")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open(
        home.path(),
        &[
            "--data-dir",
            bob.to_str().unwrap(),
            "join",
            group.file().to_str().unwrap(),
            "--listen",
            &format!("{}/tcp/{}", group.host, group.ports[1]),
            "--peer",
            &group.address(0),
        ],
    );
    terminal.until("Begin attempt 2?");
    let carol = group.join(2, &[0]);
    // As long as he does not answer, the others are told what it may be.
    ann.until("why nothing comes", |event| {
        event["status"].as_str().is_some_and(|status| {
            status.contains("Waiting for bob to deal shares.")
                && status.contains("bob is connected and has been silent for a while")
                && status.contains("a question on the screen")
        })
    });
    terminal.press("\u{3}");
    terminal.until("the end");
    drop(carol);
}

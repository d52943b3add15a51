//! What ends a question in a terminal, and what the terminal is like afterwards: real terminals, real signals. `script` makes the terminal, and a
//! shell in it looks at what is left.

#![cfg(target_os = "linux")]

mod group;

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

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
        let inner = "trap : INT TERM HUP; sh -c 'echo pid=$$; exec \"$@\"' sh \"$@\"; code=$?; echo $code > code.new; \
                     mv code.new code; stty -a; echo; echo the end";
        let run = folder.join("run.sh");
        let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
        let conclave = group::conclave();
        fs::write(
            &run,
            format!(
                "set -- '{}' {}\n{inner}\n",
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
fn ends(folder: &Path, arguments: &[&str], (keys, at): (&[(&str, &str)], &str), undone: &str, way: Way) {
    let _ = fs::remove_file(folder.join("code"));
    let mut terminal = Terminal::open(folder, arguments);
    for (question, answer) in keys {
        terminal.until(question);
        terminal.press(answer);
    }
    terminal.until(at);
    // It reads a moment after it has asked.
    std::thread::sleep(Duration::from_millis(300));
    match way {
        Way::CtrlC => terminal.press("\u{3}"),
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
    let screen = |terminal: &Terminal| format!("{way:?} of {at}:\n{}", terminal.screen());
    assert_eq!(
        fs::read_to_string(code).unwrap().trim(),
        "130",
        "{}",
        screen(&terminal)
    );
    if way == Way::Close {
        return;
    }
    terminal.until("the end");
    let seen = terminal.screen();
    let shown = screen(&terminal);
    assert_eq!(seen.matches("interrupted: ").count(), 1, "{shown}");
    assert!(seen.contains(&format!("interrupted: {undone}")), "{shown}");
    assert!(seen.contains("To do: run the same command again"), "{shown}");
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
    for way in WAYS {
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
            (&[], "Network"),
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
        (&[], "Which validator"),
        "you have not consented",
        Way::CtrlC,
    );
    ends(
        folder,
        &exit,
        (&[("Which validator", "\r")], "Type "),
        "you have not consented",
        Way::Signal(Signal::TERM),
    );
    for left in ["new/charon-enr-private-key", "plan.toml", "imported", "part"] {
        assert!(!folder.join(left).exists(), "{left}");
    }
}

#[test]
fn work_that_is_interrupted_says_what_was_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    finished(folder);
    fs::write(folder.join("password"), "correct horse battery").unwrap();
    for way in [Way::CtrlC, Way::Signal(Signal::TERM)] {
        ends(
            folder,
            &[
                "--data-dir",
                "node",
                "backup",
                "copy.age",
                "--password-file",
                "password",
            ],
            (&[], "Encrypting"),
            "no backup was made, and this folder is as it was",
            way,
        );
    }
    assert!(!folder.join("copy.age").exists());
}

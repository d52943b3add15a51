//! The README taken literally: every command of it, in its order, in the folder that it has reached by then, from a copy of
//! the repository. Four people with folders of their own have nothing but what the README says they are sent.

#![cfg(target_os = "linux")]

mod group;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use group::{PATIENCE, conclave};
use rustix::process::{Pid, Signal, kill_process};

const README: &str = include_str!("../README.md");
/// Everybody of the walk-through, in the order of its definition.
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// The commands of all blocks of a console, in order: lines that begin with a dollar sign, continued after a backslash.
fn commands() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut console, mut continued) = (false, false);
    for line in README.lines() {
        if let Some(language) = line.strip_prefix("```") {
            console = language == "console";
            continued = false;
            continue;
        }
        let part = if !console {
            continue;
        } else if continued {
            line.trim()
        } else if let Some(command) = line.strip_prefix("$ ") {
            found.push(String::new());
            command
        } else {
            continue;
        };
        continued = part.ends_with('\\');
        let command = found.last_mut().unwrap();
        command.push_str(part.trim_end_matches('\\'));
    }
    found
}

/// Commands that stand between the lines: `conclave ...`.
fn mentioned() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut block = false;
    let mut prose = String::new();
    for line in README.lines() {
        if line.starts_with("```") {
            block = !block;
        } else if !block {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    for (i, part) in prose.split('`').enumerate() {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        if i % 2 == 1 && part.starts_with("conclave ") && !found.contains(&part) {
            found.push(part);
        }
    }
    found
}

/// One of the four at their own machine.
struct Person {
    name: &'static str,
    /// Where the last command left them.
    folder: PathBuf,
    path: String,
}

impl Person {
    /// A home with a copy of the repository, as far as the README uses it, and the program where `cargo install` puts it.
    fn new(root: &Path, name: &'static str) -> Self {
        let (home, repository) = (root.join(name), Path::new(env!("CARGO_MANIFEST_DIR")));
        let clone = home.join("a-clone");
        fs::create_dir_all(clone.join("ceremonies")).unwrap();
        for plan in fs::read_dir(repository.join("ceremonies")).unwrap() {
            let plan = plan.unwrap();
            fs::copy(plan.path(), clone.join("ceremonies").join(plan.file_name())).unwrap();
        }
        let bin = home.join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(conclave().get_program(), bin.join("conclave")).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        Self {
            name,
            folder: clone,
            path,
        }
    }

    fn shell(&self, script: &str, variables: &[(&str, &str)]) -> Command {
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE_")) {
            shell.env_remove(name);
        }
        shell
            .args(["-c", script])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("CONCLAVE_MONITORING_ADDRESS", "none")
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        shell
    }

    /// Runs a command to its end, stays where it went, and gives what it printed.
    #[track_caller]
    fn types(&mut self, command: &str, variables: &[(&str, &str)], code: i32) -> String {
        let script = format!("{command}\ncode=$?; printf '\\n%s' \"$PWD\"; exit $code");
        let output = self.shell(&script, variables).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{} typed {command}:\n{text}\n{errors}",
            self.name
        );
        let (text, folder) = text.rsplit_once('\n').unwrap();
        self.folder = PathBuf::from(folder);
        format!("{text}{errors}")
    }

    /// Starts a command that goes on.
    fn starts(&self, command: &str, variables: &[(&str, &str)]) -> Running {
        let mut child = self
            .shell(&format!("exec {command}"), variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Running {
            who: format!("{}: {command}", self.name),
            child,
            lines,
            seen: String::new(),
        }
    }
}

/// A command that goes on; killed when dropped.
struct Running {
    who: String,
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// The first line from now on that contains `text`.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen.push_str(&line);
                    self.seen.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{}: {error}: no {text} in\n{}", self.who, self.seen),
            }
        }
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::INT);
    }

    #[track_caller]
    fn ends_well(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                let rest: Vec<String> = self.lines.try_iter().collect();
                assert_eq!(status.code(), Some(0), "{}\n{}{rest:?}", self.who, self.seen);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{} does not end\n{}", self.who, self.seen);
    }
}

/// The next command of the README, which must begin with this.
#[track_caller]
fn next(commands: &mut std::vec::IntoIter<String>, beginning: &str) -> String {
    let command = commands
        .next()
        .unwrap_or_else(|| panic!("no {beginning} any more"));
    assert!(
        command.starts_with(beginning),
        "{beginning} should be next, not {command}"
    );
    command
}

/// The line of the README that begins like this, which is what the program says, numbers and all.
fn promised_line(beginning: &str) -> &'static str {
    README.lines().find(|line| line.starts_with(beginning)).unwrap()
}

#[test]
fn every_command_of_the_readme_works_where_it_stands() {
    let root = tempfile::tempdir().unwrap();
    let mut people: Vec<Person> = PEOPLE.iter().map(|name| Person::new(root.path(), name)).collect();
    let commands = &mut commands().into_iter();

    // What `cargo run` builds is in the path here, and `cargo test` is what runs this.
    let rehearse = next(commands, "cargo run --release -- ").replace("cargo run --release --", "conclave");
    let text = people[0].types(&rehearse, &[], 0);
    for promised in [
        "Finished: all 4 operators have their key share.",
        "4 trial signatures",
        "never deposit",
    ] {
        assert!(text.contains(promised), "{promised}: {text}");
    }
    assert!(text.contains(promised_line("Verified: ")), "{text}");
    assert_eq!(next(commands, "cargo test"), "cargo test");
    assert_eq!(next(commands, "cargo install"), "cargo install --locked --path .");

    let go = next(commands, "mkdir");
    let new = next(commands, "conclave identity new");
    assert!(new.contains("--name bob"));
    let mut records = BTreeMap::new();
    for person in &mut people {
        person.types(&go, &[], 0);
        let text = person.types(&new.replace("bob", person.name), &[], 0);
        let line = text.lines().find(|line| line.starts_with("--operator ")).unwrap();
        records.insert(person.name, line.to_owned());
        assert!(person.types("conclave identity show", &[], 0).contains(line));
    }

    let mut define = next(commands, "conclave define friends.toml");
    for (name, line) in &records {
        let (before, rest) = define.split_once(&format!("--operator '{name}=enr:")).unwrap();
        let (short, after) = rest.split_once('\'').unwrap();
        assert!(short.ends_with("..."), "{name}");
        define = format!("{before}{line}{after}");
    }
    let text = people[0].types(&define, &[], 0);
    for promised in [
        "alice",
        "dave",
        "<- you",
        "call each other",
        "cluster-definition.json",
    ] {
        assert!(text.contains(promised), "{promised}: {text}");
    }
    let sent = fs::read(people[0].folder.join("cluster-definition.json")).unwrap();
    for person in &people[1..] {
        fs::write(person.folder.join("cluster-definition.json"), &sent).unwrap();
    }

    // Everybody approves. Four machines would all have port 9510.
    let answers = [
        ("CONCLAVE_YES", "true"),
        ("CONCLAVE_LISTEN", "/ip4/127.0.0.1/tcp/0"),
    ];
    let first = next(commands, "conclave join cluster-definition.json");
    let second = next(commands, "conclave join cluster-definition.json --peer ");
    let mut joins = vec![people[0].starts(&first, &answers)];
    let line = joins[0].until("--peer ");
    let (command, _) = second.split_once("--peer").unwrap();
    for person in &people[1..] {
        joins.push(person.starts(&format!("{command}{}", line.trim()), &answers));
    }
    for join in &mut joins {
        join.until("Finished: all 4 operators have their key share.");
        join.until("Lock hash");
    }
    for join in joins {
        join.ends_well();
    }

    let verify = next(commands, "conclave verify .");
    for person in &mut people {
        let text = person.types(&verify, &[], 0);
        assert!(text.contains(promised_line("36 ok, 0 failed")), "{text}");
    }
    let locks = people
        .iter()
        .map(|person| fs::read(person.folder.join("cluster-lock.json")).unwrap());
    let locks: std::collections::BTreeSet<_> = locks.collect();
    assert_eq!(locks.len(), 1);

    let mut run = people[1].starts(&next(commands, "conclave run "), &[]);
    let introduction = run.until("You are ");
    assert!(
        introduction.starts_with("You are bob, operator 2 of 4, for 1 validator."),
        "{introduction}"
    );
    run.until("localhost:5052");
    people[1].types("conclave status", &[], 0);
    run.interrupt();
    run.ends_well();
    assert_eq!(commands.next(), None, "not tried yet");

    between_the_lines(&mut people);
}

/// Commands that the README mentions in sentences.
fn between_the_lines(people: &mut [Person]) {
    let root = people[0].folder.clone();
    fs::write(root.join("password"), "correct horse battery staple\n").unwrap();
    let password = [
        ("CONCLAVE_ARCHIVE_PASSWORD_FILE", "password"),
        ("CONCLAVE_YES", "true"),
    ];
    for command in mentioned() {
        let alice = &mut people[0];
        match command.as_str() {
            // Played above, or with what it needs below.
            "conclave identity show" | "conclave run" | "conclave status" | "conclave export" => {}
            "conclave plan new" => {
                let answers = [
                    ("CONCLAVE_CLUSTER_NAME", "Friends"),
                    ("CONCLAVE_OPERATORS", "4"),
                    ("CONCLAVE_THRESHOLD", "3"),
                    ("CONCLAVE_VALIDATORS", "1"),
                    ("CONCLAVE_AMOUNTS", "32"),
                    ("CONCLAVE_NETWORK", "hoodi"),
                    ("CONCLAVE_PLAN_OUT", "other.toml"),
                    (
                        "CONCLAVE_WITHDRAWAL_ADDRESS",
                        "0x71C7656EC7ab88b098defB751B7401B5f6d8976F",
                    ),
                    (
                        "CONCLAVE_FEE_RECIPIENT_ADDRESS",
                        "0x71C7656EC7ab88b098defB751B7401B5f6d8976F",
                    ),
                ];
                alice.types(&command, &answers, 0);
            }
            "conclave verify cluster-lock.json deposit-data.json" => {
                let text = alice.types(&command, &[], 0);
                assert!(text.contains("0 failed"), "{text}");
            }
            // Nobody runs a node here, and no chain is asked: it says so.
            "conclave exit" => {
                alice.types(&command, &[], 7);
            }
            "conclave slashing-protection import FILE" => {
                alice.types("conclave slashing-protection export history.json", &[], 0);
                alice.types(&command.replace("FILE", "history.json"), &[], 0);
            }
            // By somebody who has not moved.
            "conclave backup FILE" => {
                let bob = &mut people[1];
                fs::write(bob.folder.join("password"), "correct horse battery staple\n").unwrap();
                bob.types(&command.replace("FILE", "../backup"), &password, 0);
            }
            "conclave export FILE" => {
                alice.types(&command.replace("FILE", "../archive"), &password, 0);
            }
            "conclave --data-dir NEW import FILE" => {
                let command = command.replace("NEW", "../new").replace("FILE", "../archive");
                alice.types(&command, &password, 0);
                alice.types("conclave verify ../new", &[], 0);
            }
            "conclave completions bash" => {
                assert!(alice.types(&command, &[], 0).contains("complete"));
            }
            "conclave man --out DIR" => {
                alice.types(&command.replace("DIR", "man"), &[], 0);
                assert!(root.join("man/conclave-join.1").is_file());
            }
            other => panic!("not tried yet: {other}"),
        }
    }
}

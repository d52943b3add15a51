//! People who hold a ceremony as people do: each with a folder of its own that nobody else sees, and nothing passes between them but what
//! the commands tell them to send: the line of `identity new`, the definition's file, an address.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{End, Process, conclave, ends, free_port};

/// An address that somebody could have: its checksum is right.
pub const ADDRESS: &str = "0x71C7656EC7ab88b098defB751B7401B5f6d8976F";

/// One of them, on a machine of its own.
pub struct Person {
    pub name: String,
    home: tempfile::TempDir,
    port: u16,
}

impl Person {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            home: tempfile::tempdir().unwrap(),
            port: free_port(),
        }
    }

    /// Its data folder.
    pub fn folder(&self) -> PathBuf {
        self.home.path().join("conclave")
    }

    /// Where it keeps what others send.
    fn received(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A command on its machine, in its data folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = conclave();
        command.current_dir(self.home.path());
        command.arg("--data-dir").arg(self.folder()).args(words);
        command
    }

    /// What a command prints that has to work.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        let (text, errors) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert!(output.status.success(), "{words:?}: {text}{errors}");
        text
    }

    /// Where it listens.
    pub fn listens(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}", self.port)
    }

    /// `conclave join`, with the addresses that others sent.
    pub fn join(&self, addresses: &[String]) -> Process {
        let mut command = self.command(&["--json", "join", "--yes", "cluster-definition.json"]);
        command.args(["--listen", &self.listens()]);
        for address in addresses {
            command.args(["--peer", address]);
        }
        Process::start(command)
    }
}

/// Makes identities, and a definition that everybody has received.
pub fn meet(names: &[&str], threshold: usize, validators: usize) -> Vec<Person> {
    let people: Vec<Person> = names.iter().map(|name| Person::new(name)).collect();
    let records: Vec<String> = people
        .iter()
        .map(|person| {
            let text = person.says(&["identity", "new", "--name", &person.name]);
            let line = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("--operator "));
            line.unwrap_or_else(|| panic!("no record in {text}"))
                .trim_matches('\'')
                .to_owned()
        })
        .collect();
    let first = &people[0];
    let plan = format!(
        "name = \"Friends\"\noperators = {}\nthreshold = {threshold}\nnetwork = \"hoodi\"\nvalidators = {validators}\n",
        people.len()
    );
    fs::write(first.received("plan.toml"), plan).unwrap();
    let mut words = vec!["define", "plan.toml"];
    for record in &records {
        words.extend(["--operator", record]);
    }
    words.extend([
        "--withdrawal-address",
        ADDRESS,
        "--fee-recipient-address",
        ADDRESS,
    ]);
    first.says(&words);
    let definition = fs::read(first.folder().join("cluster-definition.json")).unwrap();
    for person in &people {
        fs::write(person.received("cluster-definition.json"), &definition).unwrap();
    }
    people
}

/// Holds the ceremony: the first one tells the others its address, as its screen says it.
#[track_caller]
pub fn hold(people: &[Person]) -> Vec<End> {
    let mut first = people[0].join(&[]);
    first.until_listening();
    let address = first.last("listening")["addresses"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let mut processes = vec![first];
    for person in &people[1..] {
        processes.push(person.join(std::slice::from_ref(&address)));
    }
    ends(processes)
}

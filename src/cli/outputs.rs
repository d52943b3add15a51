//! Where commands write to. What is in a data folder under a name of ours, or will be, is written by conclave alone: whatever flag names it as a
//! place for something else is refused before anything is opened, however it is spelt.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use conclave_ceremony::files::{may_be_there, parent};
use conclave_ceremony::folder::EXITS;
use conclave_ceremony::folder::SOCKET;
use conclave_ceremony::folder::{CEREMONY, DEFINITION, IDENTITY, LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS};
use conclave_ceremony::problem::{Kind, Problem};
use conclave_ceremony::restored::RESTORED;
use conclave_ceremony::retirement::{RETIRED, UNFINISHED_IMPORT};

use super::args::{Command, PlanCommand, SlashingCommand};

/// Names in a data folder that are ours. Folders stand for all that is in them.
const OURS: [&str; 11] = [
    IDENTITY,
    DEFINITION,
    LOCK,
    SLASHING_PROTECTION,
    VALIDATOR_KEYS,
    EXITS,
    SOCKET,
    CEREMONY,
    RETIRED,
    RESTORED,
    UNFINISHED_IMPORT,
];
/// How other files of ours are named, by beginning and end: deposit data, keystores, what is being written, and copies that were put aside. Logs,
/// archives, plans and histories that people name after them are theirs.
const OUR_PATTERNS: [(&str, &[&str]); 8] = [
    ("deposit", &[".json"]),
    ("keystore", &[".json", ".txt"]),
    ("cluster-lock.json", &[""]),
    ("cluster-definition.json", &[""]),
    ("charon-enr-private-key", &[""]),
    ("slashing-protection.redb", &[""]),
    ("run.sock", &[""]),
    (".conclave", &[""]),
];
/// A link that points to a link, and so on, at most so often.
const MOST_LINKS: usize = 40;
/// So many bytes show whether a file is a log.
const LOG_LOOKED_AT: u64 = 4096;
/// The first line of a log of ours.
pub(super) const LOG_HEAD: &str = "This is a log of conclave.\n";

/// Every place that a command was told to write to, with the flag that names it.
pub(super) fn of(command: &Command) -> Vec<(&'static str, &Path)> {
    let outputs: [(&str, Option<&PathBuf>); 2] = match command {
        Command::Plan(PlanCommand::New(args)) => [("--out", args.out.as_ref()), ("", None)],
        Command::Run(args) => [("--log-file", args.log_file.as_ref()), ("", None)],
        Command::Exit(args) => [
            ("--partial-out", args.partial_out.as_ref()),
            ("--out", args.out.as_ref()),
        ],
        Command::Backup(args) => [("FILE", Some(&args.file)), ("", None)],
        Command::Export(args) => [("FILE", Some(&args.file)), ("", None)],
        Command::SlashingProtection(SlashingCommand::Export(args)) => {
            [("FILE", Some(&args.file)), ("", None)]
        }
        Command::Rehearse(args) => [("--out", args.out.as_ref()), ("", None)],
        Command::Man { out } => [("--out", out.as_ref()), ("", None)],
        Command::Identity(_)
        | Command::Define(_)
        | Command::Join(_)
        | Command::Import(_)
        | Command::Status(_)
        | Command::SlashingProtection(SlashingCommand::Import(_))
        | Command::Verify(_)
        | Command::Completions { .. } => return Vec::new(),
    };
    outputs
        .into_iter()
        .filter_map(|(flag, path)| Some((flag, path?.as_path())))
        .collect()
}

/// Refuses a place that is ours in this data folder, or in another one.
///
/// # Errors
/// Names the flag, and the file.
pub(super) fn refuse_ours(root: &Path, (flag, path): (&str, &Path)) -> Result<(), Problem> {
    let target = followed(path);
    let own = fs::metadata(root).ok();
    let root = followed(root);
    let mut name = target.file_name();
    let mut rest = parent(&target);
    let mut is_file = true;
    // From the file up: its name in each folder that it is in.
    loop {
        let folder = if rest.as_os_str().is_empty() {
            Path::new(".")
        } else {
            rest
        };
        let is_root = match (&own, fs::metadata(folder)) {
            (Some(own), Ok(folder)) => same(own, &folder),
            _ => folder == root,
        };
        if (is_root || is_data_folder(folder))
            && name.is_some_and(|name| is_ours(&name.to_string_lossy(), is_file))
        {
            return Err(Problem::new(
                Kind::Usage,
                format!("{flag} names {}, which conclave keeps for itself", path.display()),
                format!(
                    "{} in the data folder {} is where it keeps keys, records or results, or will",
                    name.unwrap_or_default().to_string_lossy(),
                    folder.display()
                ),
                format!("name another file with {flag}, best in another folder"),
            ));
        }
        match (rest.file_name(), rest.parent()) {
            (Some(next), Some(above)) => (name, rest, is_file) = (Some(next), above, false),
            _ => return Ok(()),
        }
    }
}

/// Refuses to append a log to what is no log.
///
/// # Errors
/// If the file is there and does not begin as a log of ours does, or has other names elsewhere; anything the disk says.
pub(super) fn refuse_what_is_no_log(path: &Path) -> Result<(), Problem> {
    // What cannot be looked at is told when it is opened.
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    // A terminal, a pipe; the file into which everything that is said goes.
    if !metadata.is_file() || is_standard(&metadata) || metadata.len() == 0 && metadata.nlink() == 1 {
        return Ok(());
    }
    let why = if metadata.nlink() > 1 {
        "it has another name elsewhere (a hard link), so that what is written to it is written there, too"
            .to_owned()
    } else {
        let mut beginning = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LOG_LOOKED_AT).read_to_end(&mut beginning));
        match read {
            Ok(_) if begins_like_a_log(&beginning) => return Ok(()),
            Ok(_) => {
                "it is there, and does not begin as a log of conclave does: it is something else".to_owned()
            }
            Err(error) => format!("it is there, and cannot be read to see whether it is a log: {error}"),
        }
    };
    Err(Problem::folder_state(
        format!("cannot log into {}", path.display()),
        why,
        "name a new file with --log-file, or a log that conclave began",
    ))
}

/// Whether the metadata is that of standard output or error.
fn is_standard(metadata: &Metadata) -> bool {
    let of = |descriptor: std::io::Result<OwnedFd>| descriptor.and_then(|owned| File::from(owned).metadata());
    let out = of(std::io::stdout().as_fd().try_clone_to_owned());
    let error = of(std::io::stderr().as_fd().try_clone_to_owned());
    [out, error].iter().flatten().any(|one| same(one, metadata))
}

/// Our first line; or a line with a time and a level: the beginning may have been cut off, or be zeros after a power cut.
fn begins_like_a_log(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    text.is_empty()
        || bytes.starts_with(LOG_HEAD.as_bytes())
        || bytes
            .split(|byte| *byte == b'\n')
            .any(|line| is_log_line(&String::from_utf8_lossy(line)))
}

fn is_log_line(line: &str) -> bool {
    let mut words = line.trim_start_matches('\0').split_whitespace();
    let is_time = |word: &str| {
        let shape: String = word
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        shape.starts_with("0000-00-00T00:00:00") && shape.ends_with('Z')
    };
    words.next().is_some_and(is_time)
        && words
            .next()
            .is_some_and(|level| ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level))
}

/// Whether a name in a data folder is one of ours, in whatever case: some disks do not tell cases apart. Folders of ours have no other names.
fn is_ours(name: &str, is_file: bool) -> bool {
    let name = name.to_lowercase();
    OURS.iter().any(|ours| ours.to_lowercase() == name)
        || is_file
            && OUR_PATTERNS.iter().any(|(beginning, ends)| {
                name.starts_with(beginning) && ends.iter().any(|end| name.ends_with(end))
            })
}

/// Whether this looks like the folder of an operator. Other software makes a `validator_keys`, too.
fn is_data_folder(folder: &Path) -> bool {
    [IDENTITY, LOCK, SLASHING_PROTECTION, RETIRED]
        .iter()
        .any(|name| folder.join(name).symlink_metadata().is_ok())
        || may_be_there(&folder.join(CEREMONY).join("in-use"))
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where a file really is or would be: without links, `.` and `..`, as far as there is something.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // The last name may be a link to what is not there yet.
    for _ in 0..MOST_LINKS {
        let Ok(to) = fs::read_link(&path) else { break };
        path = parent(&path).join(to);
    }
    if let Ok(path) = fs::canonicalize(&path) {
        return path;
    }
    // Of folders that are not there nothing is a link.
    let mut missing = Vec::new();
    let mut there = path.as_path();
    loop {
        if let Ok(folder) = fs::canonicalize(if there.as_os_str().is_empty() {
            Path::new(".")
        } else {
            there
        }) {
            let mut whole = folder;
            for part in missing.into_iter().rev() {
                match part {
                    std::path::Component::ParentDir => {
                        whole.pop();
                    }
                    part => whole.push(part),
                }
            }
            return whole;
        }
        let mut parts = there.components();
        match parts.next_back() {
            Some(last) => missing.push(last),
            None => return path.clone(),
        }
        there = parts.as_path();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_ours_is_refused_however_it_is_spelt() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("node");
        fs::create_dir_all(root.join("validator_keys")).unwrap();
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join(IDENTITY), "secret").unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::write(dir.path().join("other").join(LOCK), "{}").unwrap();
        // One of which nothing is left but that it is in use.
        fs::create_dir_all(dir.path().join("third").join(CEREMONY)).unwrap();
        fs::write(dir.path().join("third").join(CEREMONY).join("in-use"), "").unwrap();
        // One of which even that cannot be looked at.
        fs::create_dir_all(dir.path().join("fourth").join(CEREMONY)).unwrap();
        symlink("in-use", dir.path().join("fourth").join(CEREMONY).join("in-use")).unwrap();
        symlink("node", dir.path().join("link")).unwrap();
        // What it points to is not there yet.
        symlink("node/RETIRED", dir.path().join("dangling")).unwrap();
        symlink("dangling", dir.path().join("twice")).unwrap();
        symlink("node/charon-enr-private-key", dir.path().join("innocent.log")).unwrap();
        let refused = |path: &str| refuse_ours(&root, ("--log-file", &dir.path().join(path)));
        for ours in [
            "node/charon-enr-private-key",
            "node/cluster-lock.json",
            "node/cluster-definition.json",
            "node/slashing-protection.redb",
            "node/validator_keys",
            "node/validator_keys/keystore-0.json",
            "node/validator_keys/new",
            "node/ceremony",
            "node/ceremony/journal",
            "node/ceremony/attempt-1/out/x",
            "node/exits/x",
            "node/run.sock",
            "node/RETIRED",
            "node/retired",
            "node/RESTORED",
            "node/IMPORT-UNFINISHED",
            "node/deposit-data-32eth.json",
            "node/Deposit_Data-1.JSON",
            "node/keystore-3.txt",
            "node/slashing-protection.redb.old",
            "node/cluster-lock.json.bak",
            "node/Validator_Keys/x",
            "node/sub/../RETIRED",
            "node/./RETIRED",
            "node/none/../RETIRED",
            "link/RETIRED",
            "link/ceremony/x",
            "dangling",
            "twice",
            "innocent.log",
            "other/RETIRED",
            "other/validator_keys/x",
            "third/RETIRED",
            "fourth/RETIRED",
        ] {
            let problem = refused(ours).expect_err(ours);
            assert_eq!(
                (problem.kind, problem.what.contains("--log-file")),
                (Kind::Usage, true),
                "{problem:?}"
            );
        }
        for other in [
            "node/conclave.log",
            // As people name their own files.
            "node/slashing-protection.json",
            "node/cluster-hoodi.age",
            "node/cluster-plan.toml",
            "node/cluster-a.log",
            "node/deposit.log",
            "node/charon-a.log",
            "node/transcript-of-our-call.md",
            "node/sub/RETIRED",
            "node/plan.toml",
            "RETIRED",
            "new/RETIRED",
            "elsewhere.log",
        ] {
            refused(other).expect(other);
        }
        // Where other software has its keys, or a folder has a name that begins as a file of ours does.
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("validator_keys")).unwrap();
        fs::create_dir_all(root.join("cluster-logs")).unwrap();
        for other in [
            "home/cluster-a/run.log",
            "home/exits/x",
            "home/run.log",
            "node/cluster-logs/run.log",
        ] {
            refused(other).expect(other);
        }
        // A data folder that is not there yet.
        let none = dir.path().join("none");
        assert!(refuse_ours(&none, ("--out", &none.join("RETIRED"))).is_err());
    }

    #[test]
    fn only_to_a_log_is_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        refuse_what_is_no_log(&path).unwrap();
        for log in [
            "",
            "\n",
            "This is a log of conclave.\n",
            "\n2026-11-30T18:24:24.123456Z  INFO conclave::cli: begun\n",
            "2026-11-30T18:24:24.123456Z  WARN conclave: x\n",
            "3 lines were left out: the disk was too slow\n2026-11-30T18:24:24.123456Z  INFO conclave: x\n",
            "end of a line\n2026-11-30T18:24:24.123456Z  INFO conclave: x\n",
            "\0\0\0\0\n2026-11-30T18:24:24.123456Z  INFO conclave: x\n",
            "\0\0\u{0}2026-11-30T18:24:24.123456Z  INFO conclave: x\n",
        ] {
            fs::write(&path, log).unwrap();
            refuse_what_is_no_log(&path).expect(log);
        }
        for other in [
            "b216d91124cb93ab3fe8b0ae9728e4e1755589aeb216d91124cb93ab3fe8b0ae\n",
            "{}",
            "redb\u{1a}\n",
            "2026-11-30 my diary",
            "2026-11-30T18:24:24Z and then",
            "\n\n{}",
        ] {
            fs::write(&path, other).unwrap();
            assert_eq!(
                refuse_what_is_no_log(&path).expect_err(other).kind,
                Kind::FolderState
            );
        }
        fs::write(&path, "").unwrap();
        fs::hard_link(&path, dir.path().join("hard")).unwrap();
        assert!(refuse_what_is_no_log(&path).is_err());
        refuse_what_is_no_log(Path::new("/dev/null")).unwrap();
    }
}

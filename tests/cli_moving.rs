//! `conclave export` and `conclave import`: a folder moves, its memory with it, and does not stay where it was.

mod group;

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use conclave_ceremony::{files::Disk, retirement};
use conclave_cluster::lock::Lock;
use conclave_slashing::{Cluster, Guard, Mark};
use group::conclave;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const HOODI: &str = "0x212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f";
/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";
const DATABASE: &str = "slashing-protection.redb";

/// A place with an operator's folder `old`, and a password.
struct Place(tempfile::TempDir);

impl Place {
    /// The folder's shares have signed something.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dkg-v1.10-hoodi-4x2/node0");
        fs::create_dir(place.path("old")).unwrap();
        group::copy(&from, &place.path("old"));
        fs::write(place.path("password"), "correct horse battery\n").unwrap();
        let data: Vec<Value> = (0..2)
            .map(|place_in_lock| {
                json!({
                    "pubkey": place.keys()[place_in_lock],
                    "signed_blocks": [{"slot": "100"}],
                    "signed_attestations": [{"source_epoch": "2", "target_epoch": "3"}],
                })
            })
            .collect();
        let metadata = json!({"interchange_format_version": "5", "genesis_validators_root": HOODI});
        let history = json!({"metadata": metadata, "data": data}).to_string();
        fs::write(place.path("history.json"), history).unwrap();
        place.works("old", &["slashing-protection", "import", "history.json"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn keys(&self) -> Vec<String> {
        let lock = fs::read(self.path("old/cluster-lock.json")).unwrap();
        let lock: Value = serde_json::from_slice(&lock).unwrap();
        let validators = lock["distributed_validators"].as_array().unwrap();
        let key = |validator: &Value| validator["distributed_public_key"].as_str().unwrap().to_owned();
        validators.iter().map(key).collect()
    }

    fn output(&self, folder: &str, arguments: &[&str]) -> Output {
        let mut command = conclave();
        command.current_dir(self.0.path()).args(["--data-dir", folder]);
        group::output(command.args(arguments))
    }

    #[track_caller]
    fn works(&self, folder: &str, arguments: &[&str]) -> (String, String) {
        let output = self.output(folder, arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{err}");
        (out, err)
    }

    #[track_caller]
    fn refuses(&self, folder: &str, arguments: &[&str], code: i32, part: &str) {
        let output = self.output(folder, arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        assert!(
            err.contains(part) && err.contains("\nWhy:") && err.contains("\nTo do:"),
            "{err}"
        );
    }

    /// Everything in a folder that other folders have too.
    fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.path(folder), "", &mut files);
        files.retain(|(name, _)| !["RETIRED", "ceremony/in-use", DATABASE].contains(&name.as_str()));
        files.sort();
        files
    }

    fn history(&self, folder: &str, file: &str) -> Value {
        self.works(folder, &["slashing-protection", "export", file]);
        serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap()
    }
}

const EXPORT: [&str; 5] = ["export", "archive", "--password-file", "password", "--yes"];
const IMPORT: [&str; 4] = ["import", "archive", "--password-file", "password"];

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else if entry.file_type().unwrap().is_file() {
            files.push((name, fs::read(entry.path()).unwrap()));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_folder_moves_with_its_memory_and_is_retired() {
    let place = Place::new();
    let before = place.files("old");
    let (out, _) = place.works("old", &EXPORT);
    assert!(out.contains("permanently retire this folder"), "{out}");
    let archive = fs::read(place.path("archive")).unwrap();
    assert_eq!(
        fs::metadata(place.path("archive")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // Neither the identity nor a keystore's password can be seen in it.
    for secret in ["charon-enr-private-key", "validator_keys/keystore-0.txt"] {
        let secret = fs::read(place.path("old").join(secret)).unwrap();
        assert!(!archive.windows(secret.len()).any(|bytes| bytes == secret));
    }

    // The old folder does nothing more that a share could be asked for.
    let key = &place.keys()[0];
    place.refuses("old", &["run", "--beacon-node", NOWHERE], 7, "is retired");
    let part = [
        "exit",
        "--validator",
        key,
        "--validator-index",
        "5",
        "--partial-out",
        "part",
        "--yes",
    ];
    place.refuses("old", &part, 7, "is retired");
    // Nobody is sent to start it, or to a ceremony with it; and the archive is named wherever one stands.
    place.refuses("old", &["status"], 7, "is retired");
    place.refuses("old", &["identity", "rename", "--name", "ana"], 7, "is retired");
    let (out, err) = place.works("old", &["identity", "show"]);
    assert!(
        !out.contains("Send this") && err.contains("retired"),
        "{out}{err}"
    );
    let (out, _) = place.works("old", &["verify", "old"]);
    let archive_path = place.path("archive").display().to_string();
    assert!(
        out.contains("state of the folder") && out.contains("retired"),
        "{out}"
    );
    let marked = fs::read_to_string(place.path("old/RETIRED")).unwrap();
    assert!(marked.contains(&archive_path), "{marked}");
    place.refuses(
        "old",
        &["export", "second", "--password-file", "password", "--yes"],
        7,
        "is retired",
    );
    place.refuses(
        "old",
        &["slashing-protection", "export", "third"],
        7,
        "is retired",
    );
    assert!(!place.path("second").exists() && !place.path("part").exists());
    let err = text(&place.output("old", &["run", "--beacon-node", NOWHERE]).stderr);
    assert!(
        err.contains(&format!("exported to {} on 2", place.path("archive").display())),
        "{err}"
    );

    let (out, err) = place.works("new", &IMPORT);
    assert!(out.contains("operator 1 of 4"), "{out}");
    assert!(err.contains("imported a second time"), "{err}");
    assert_eq!(place.files("new"), before);
    for (name, mode) in [
        ("charon-enr-private-key", 0o600),
        (DATABASE, 0o600),
        ("validator_keys/keystore-0.txt", 0o600),
        ("validator_keys", 0o700),
        ("cluster-lock.json", 0o644),
    ] {
        let metadata = fs::metadata(place.path("new").join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    // What was signed is known, and the first run waits for the others, or two epochs.
    let lock = Lock::from_json(&fs::read(place.path("new/cluster-lock.json")).unwrap()).unwrap();
    let guard = Guard::open(
        &place.path("new").join(DATABASE),
        Cluster::of_lock(&lock, 1).unwrap(),
    )
    .unwrap();
    assert_eq!(guard.mark().unwrap(), Some(Mark::Moved));
    drop(guard);
    let history = place.history("new", "new.json");
    assert_eq!(history["data"][1]["signed_blocks"][0]["slot"], "100");
    assert_eq!(history["data"][0]["signed_attestations"][0]["target_epoch"], "3");

    // A normal start.
    let mut run = conclave()
        .current_dir(place.0.path())
        .args([
            "--data-dir",
            "new",
            "run",
            "--beacon-node",
            NOWHERE,
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).lines();
    let waits = lines
        .map_while(Result::ok)
        .any(|line| line.contains("Waiting for a beacon node"));
    // A folder whose node runs cannot move.
    if waits {
        place.refuses(
            "new",
            &["export", "third", "--password-file", "password", "--yes"],
            7,
            "is in use",
        );
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(waits && !place.path("third").exists());
}

#[test]
fn who_imports_a_second_time_is_not_sent_to_make_a_twin() {
    let place = Place::new();
    place.works("old", &EXPORT);
    place.works("new", &IMPORT);
    let files = place.files("new");
    for part in [
        "the share of an operator is in it already",
        "there is nothing more to do: never import it into a second folder",
    ] {
        place.refuses("new", &IMPORT, 7, part);
    }
    assert_eq!(place.files("new"), files);
    fs::create_dir(place.path("other")).unwrap();
    fs::write(place.path("other/letter"), "mine").unwrap();
    place.refuses("other", &IMPORT, 7, "letter is in it");
    place.refuses("other/letter", &IMPORT, 7, "other/letter is no folder");
    // Killed at its first file: nothing is in it.
    fs::create_dir(place.path("begun")).unwrap();
    fs::write(place.path("begun/.conclave-unfinished-1"), "half").unwrap();
    place.works("begun", &IMPORT);
    assert_eq!(place.files("begun"), files);
}

#[test]
fn a_password_may_come_from_a_program() {
    let place = Place::new();
    let script = format!(
        "{} --data-dir old backup archive --password-file <(cat password)",
        conclave().get_program().display()
    );
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]).current_dir(place.0.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    place.works("new", &IMPORT);
    let script = script
        .replace("cat password", "head -c 5000 /dev/zero")
        .replace("archive", "second");
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]).current_dir(place.0.path());
    let output = command.output().unwrap();
    assert!(
        output.status.code() == Some(3) && text(&output.stderr).contains("which is no password"),
        "{}",
        text(&output.stderr)
    );
    assert!(!place.path("second").exists());
    // It would be gone together with the folder.
    for secret in ["old/charon-enr-private-key", "old/validator_keys/keystore-0.txt"] {
        place.refuses(
            "old",
            &["backup", "second", "--password-file", secret],
            3,
            "cannot be the password of an archive",
        );
    }
}

#[test]
fn nothing_is_put_into_a_folder_that_will_be_removed() {
    let place = Place::new();
    let before = place.files("old");
    for target in ["old", "old/archive"] {
        let command = ["export", target, "--password-file", "password", "--yes"];
        place.refuses("old", &command, 3, "is in the folder of an operator");
    }
    assert_eq!(place.files("old"), before);
    // A copy of the identity, as everybody makes one, makes no folder of an operator.
    fs::create_dir(place.path("stick")).unwrap();
    fs::copy(
        place.path("old/charon-enr-private-key"),
        place.path("stick/charon-enr-private-key"),
    )
    .unwrap();
    place.works("old", &["backup", "stick/backup", "--password-file", "password"]);
    // Nor is an export that goes on written there.
    fs::write(place.path("old/RETIRED"), "an export was begun\nunfinished\n").unwrap();
    let command = ["export", "old/archive", "--password-file", "password", "--yes"];
    place.refuses("old", &command, 3, "is in the folder of an operator");
    fs::remove_file(place.path("old/RETIRED")).unwrap();
    place.works("old", &EXPORT);
    place.refuses("old/new", &IMPORT, 3, "is in the folder of an operator");
    let identity = ["identity", "new", "--name", "bob"];
    place.refuses("old/new", &identity, 3, "is in the folder of an operator");
    assert!(!place.path("old/new").exists());
    place.works("new", &IMPORT);
}

#[test]
fn an_export_that_cannot_succeed_retires_nothing() {
    let place = Place::new();
    fs::write(place.path("short"), "too short").unwrap();
    place.refuses(
        "old",
        &["export", "archive", "--password-file", "short", "--yes"],
        3,
        "password",
    );
    place.refuses(
        "old",
        &["export", "archive", "--password-file", "missing", "--yes"],
        3,
        "--password-file names is missing",
    );
    place.refuses(
        "old",
        &["export", "archive", "--password-file", "password"],
        2,
        "answers are missing",
    );
    place.refuses("old", &["export", "archive", "--yes"], 2, "answers are missing");
    fs::write(place.path("archive"), "precious").unwrap();
    place.refuses("old", &EXPORT, 7, "cannot write");
    assert_eq!(fs::read(place.path("archive")).unwrap(), b"precious");
    fs::remove_file(place.path("archive")).unwrap();

    // Without its memory, or with a share that does not open, it does not move.
    fs::rename(place.path("old").join(DATABASE), place.path("kept")).unwrap();
    place.refuses("old", &EXPORT, 9, "no slashing protection database");
    fs::rename(place.path("kept"), place.path("old").join(DATABASE)).unwrap();
    let keystore = place.path("old/validator_keys/keystore-0.json");
    let content = fs::read(&keystore).unwrap();
    fs::remove_file(&keystore).unwrap();
    let output = place.output("old", &EXPORT);
    assert!(
        [Some(6), Some(7)].contains(&output.status.code()),
        "{}",
        text(&output.stderr)
    );
    fs::write(&keystore, content).unwrap();

    assert!(!place.path("old/RETIRED").exists() && !place.path("archive").exists());
    place.history("old", "history-after.json");
    // Into a folder it gets a name of its own.
    fs::create_dir(place.path("usb")).unwrap();
    place.works("old", &["export", "usb", "--password-file", "password", "--yes"]);
    let name = fs::read_dir(place.path("usb"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    assert!(name.to_str().unwrap().ends_with("-operator-1.tar.age"));
}

#[test]
fn an_export_that_was_interrupted_goes_on() {
    let place = Place::new();
    // As after a crash between the mark and the archive.
    fs::write(
        place.path("old/RETIRED"),
        "an export to archive was begun and not finished\nunfinished\n",
    )
    .unwrap();
    place.refuses("old", &["run", "--beacon-node", NOWHERE], 7, "is retired");
    // Whether there was an archive once, nobody knows.
    let (_, err) = place.works("old", &EXPORT);
    assert!(
        err.contains("import only one of them") && err.contains("was begun and not finished"),
        "{err}"
    );
    place.refuses("old", &EXPORT, 7, "is retired");
    place.works("new", &IMPORT);
    assert!(place.path("new").join(DATABASE).exists());
}

/// Makes a folder look as after a crash just after its archive was written.
fn unfinish(place: &Place, archive: &str) {
    fs::remove_file(place.path("old/RETIRED")).unwrap();
    let why = format!("an export to {archive} was begun on Monday and not finished");
    retirement::begin(&Disk::new(), &place.path("old"), &why, &place.path(archive)).unwrap();
}

#[test]
fn an_export_that_was_interrupted_after_its_archive_ends_well() {
    let place = Place::new();
    let (words, _) = place.works("old", &EXPORT);
    let words = words.lines().last().unwrap().to_owned();
    assert!(words.contains("import archive"), "{words}");
    let archive = fs::read(place.path("archive")).unwrap();
    unfinish(&place, "archive");
    place.refuses("old", &["run", "--beacon-node", NOWHERE], 7, "is retired");

    // Not elsewhere, and not with another password.
    place.refuses(
        "old",
        &["export", "second", "--password-file", "password", "--yes"],
        7,
        "second is not written",
    );
    fs::write(place.path("wrong"), "another password").unwrap();
    place.refuses(
        "old",
        &["export", "archive", "--password-file", "wrong", "--yes"],
        7,
        "cannot tell whether",
    );
    assert!(!place.path("second").exists());

    // The same command, with nobody there to be asked.
    let (out, _) = place.works("old", &EXPORT[..4]);
    assert_eq!(out.lines().last().unwrap(), words);
    assert!(out.contains("it is whole"), "{out}");
    assert_eq!(fs::read(place.path("archive")).unwrap(), archive);
    let err = text(&place.output("old", &EXPORT).stderr);
    assert!(
        err.contains(&format!("exported to {} on 2", place.path("archive").display()))
            && err.contains("import that archive"),
        "{err}"
    );
    let before = place.files("old");
    place.works("new", &IMPORT);
    assert_eq!(place.files("new"), before);
    assert_eq!(
        place.history("new", "new.json")["data"][0]["signed_blocks"][0]["slot"],
        "100"
    );
}

#[test]
fn nobody_elses_archive_ends_an_interrupted_export() {
    let place = Place::new();
    // An archive of the same folder from before it signed more, and one of another operator.
    fs::create_dir_all(place.path("earlier")).unwrap();
    group::copy(&place.path("old"), &place.path("earlier"));
    place.works(
        "earlier",
        &["export", "older", "--password-file", "password", "--yes"],
    );
    let history = fs::read_to_string(place.path("history.json")).unwrap();
    fs::write(place.path("history.json"), history.replace("\"100\"", "\"200\"")).unwrap();
    place.works("old", &["slashing-protection", "import", "history.json"]);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/dkg-v1.10-hoodi-4x2/node1");
    fs::create_dir(place.path("other")).unwrap();
    group::copy(&from, &place.path("other"));
    place.works("other", &["slashing-protection", "import", "history.json"]);
    place.works(
        "other",
        &["export", "foreign", "--password-file", "password", "--yes"],
    );
    place.works("old", &EXPORT);
    let own = fs::read(place.path("archive")).unwrap();

    for (content, part, what_to_do) in [
        (&own[..own.len() / 2], "cannot tell whether", "move it away first"),
        (&own[..20], "cannot tell whether", "move it away first"),
        (
            &fs::read(place.path("foreign")).unwrap(),
            "cannot write",
            "move that file away",
        ),
        (
            &fs::read(place.path("older")).unwrap(),
            "cannot write",
            "never import that file",
        ),
    ] {
        fs::write(place.path("archive"), content).unwrap();
        unfinish(&place, "archive");
        let output = place.output("old", &EXPORT);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{err}");
        assert!(err.contains(part) && err.contains(what_to_do), "{err}");
        assert_eq!(fs::read(place.path("archive")).unwrap(), content);
    }
    // As it says.
    fs::rename(place.path("archive"), place.path("away")).unwrap();
    place.works("old", &EXPORT);
    place.works("new", &IMPORT);
    assert_eq!(
        place.history("new", "new.json")["data"][0]["signed_blocks"][0]["slot"],
        "200"
    );
}

#[test]
fn what_is_no_archive_leaves_no_trace() {
    let place = Place::new();
    place.works("old", &EXPORT);
    fs::write(place.path("wrong"), "another password").unwrap();
    place.refuses(
        "new",
        &["import", "archive", "--password-file", "wrong"],
        3,
        "cannot be imported",
    );
    let archive = fs::read(place.path("archive")).unwrap();
    let mut changed = archive.clone();
    changed[archive.len() / 2] ^= 1;
    for content in [
        &changed[..],
        &archive[..archive.len() - 1],
        b"",
        b"conclave archive 1\n",
    ] {
        fs::write(place.path("bad"), content).unwrap();
        place.refuses(
            "new",
            &["import", "bad", "--password-file", "password"],
            3,
            "cannot be imported",
        );
    }
    assert!(!place.path("new").exists());
    place.refuses("old", &IMPORT, 7, "not empty");
    fs::create_dir(place.path("begun")).unwrap();
    fs::write(place.path("begun/IMPORT-UNFINISHED"), "").unwrap();
    place.refuses("begun", &IMPORT, 7, "not empty");
    place.refuses("begun", &["run", "--beacon-node", NOWHERE], 7, "not complete");
    // An empty one is as good as none.
    fs::create_dir(place.path("empty")).unwrap();
    let (out, _) = place.works("empty", &[&IMPORT[..], &["--json"]].concat());
    let event: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert!(out.contains("\"event\":\"moved\""), "{event}");
}

/// Those who moved with the first release need not do it again.
#[test]
fn an_archive_of_the_first_release_is_imported() {
    let place = Place::new();
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/archive-v0.1.0");
    fs::copy(vector.join("operator-1.archive"), place.path("archive")).unwrap();
    fs::copy(vector.join("password.txt"), place.path("password")).unwrap();
    let (out, _) = place.works("new", &IMPORT);
    assert!(
        out.contains(", operator 1 of 4. Start it with conclave --data-dir new run")
            && !out.contains("backup"),
        "{out}"
    );
    let history = place.history("new", "new.json");
    assert_eq!(history["data"][0]["signed_blocks"][0]["slot"], "100");
    assert_eq!(history["data"][0]["signed_attestations"][0]["target_epoch"], "3");
    assert!(!place.path("new/RESTORED").exists());
    let sums = fs::read_to_string(vector.join("SHA256SUMS")).unwrap();
    let names: Vec<&str> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(_, name)| name)
        .collect();
    assert!(names.iter().all(|name| place.path("new").join(name).exists()));
}

const BACKUP: [&str; 4] = ["backup", "backup", "--password-file", "password"];
const RESTORE: [&str; 4] = ["import", "backup", "--password-file", "password"];

/// A run that waits for its beacon node.
struct Running(std::process::Child);

impl Running {
    fn of(place: &Place, folder: &str, more: &[&str]) -> Self {
        let mut run = conclave()
            .current_dir(place.0.path())
            .args(["--data-dir", folder, "run", "--beacon-node", NOWHERE])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(run.stdout.take().unwrap()).lines();
        let waits = lines
            .map_while(Result::ok)
            .any(|line| line.contains("Waiting for a beacon node"));
        assert!(waits, "{folder} does not run");
        Self(run)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mark(place: &Place, folder: &str) -> Option<Mark> {
    let lock = Lock::from_json(&fs::read(place.path(folder).join("cluster-lock.json")).unwrap()).unwrap();
    let database = place.path(folder).join(DATABASE);
    let guard = Guard::open(&database, Cluster::of_lock(&lock, 1).unwrap()).unwrap();
    guard.mark().unwrap()
}

/// The number of a restored folder, as its refusal to start tells it.
#[track_caller]
fn number(place: &Place, folder: &str) -> String {
    let output = place.output(folder, &["run", "--beacon-node", NOWHERE]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    let (_, rest) = err.split_once("--original-is-gone ").unwrap();
    rest.split(',').next().unwrap().to_owned()
}

#[test]
fn a_backup_is_made_while_the_node_runs_and_leaves_the_folder_alone() {
    let place = Place::new();
    let before = place.files("old");
    let running = Running::of(&place, "old", &[]);
    let (out, err) = place.works("old", &BACKUP);
    assert!(
        out.contains("everything but the slashing protection") && !err.contains("is not in the backup"),
        "{out}{err}"
    );
    assert!(out.contains("This folder goes on as before"), "{out}");
    let metadata = fs::metadata(place.path("backup")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // Nobody else could work in the folder: the lock is where it was.
    place.refuses("old", &EXPORT, 7, "is in use");
    drop(running);
    let own = |files: Vec<(String, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
        let said = ["ceremony/addresses", "ceremony/own-addresses", "run.sock"];
        files
            .into_iter()
            .filter(|(name, _)| !said.contains(&name.as_str()))
            .collect()
    };
    assert_eq!(own(place.files("old")), own(before));
    assert!(!place.path("old/RESTORED").exists());

    // Never over anything, never into the folder itself.
    let first = fs::read(place.path("backup")).unwrap();
    place.refuses("old", &BACKUP, 7, "cannot write");
    assert_eq!(fs::read(place.path("backup")).unwrap(), first);
    place.refuses(
        "old",
        &["backup", "old/backup", "--password-file", "password"],
        3,
        "in the folder of an operator",
    );
    place.refuses(
        "old",
        &["backup", "old", "--password-file", "password"],
        3,
        "in the folder of an operator",
    );
    place.refuses("old", &["backup", "second"], 2, "answers are missing");
    fs::write(place.path("short"), "too short").unwrap();
    place.refuses(
        "old",
        &["backup", "second", "--password-file", "short"],
        3,
        "password",
    );
    // What nobody sees would be missed on the day on which the backup is needed.
    for (password, why) in [
        ("            ", "made of blanks only"),
        (
            "\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\n",
            "made of blanks only",
        ),
        ("correct horse battery \n", "begins or ends with a blank"),
        ("\tcorrect horse battery", "begins or ends with a blank"),
        ("correct horse\nbattery", "several lines"),
    ] {
        fs::write(place.path("unseen"), password).unwrap();
        for command in ["backup", "export"] {
            let yes: &[&str] = if command == "export" { &["--yes"] } else { &[] };
            let arguments = [&[command, "second", "--password-file", "unseen"], yes].concat();
            place.refuses("old", &arguments, 3, why);
            assert!(!place.path("second").exists());
        }
    }
    assert!(!place.path("second").exists() && !place.path("old/backup").exists());
    // A folder for it; an event.
    fs::create_dir(place.path("usb")).unwrap();
    let (out, _) = place.works("old", &["--json", "backup", "usb", "--password-file", "password"]);
    let event: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&event["event"], &event["kind"]),
        (&json!("written"), &json!("backup"))
    );
    let path = event["path"].as_str().unwrap();
    assert!(
        path.starts_with("usb/conclave-")
            && path.contains("-operator-1-backup-2")
            && path.ends_with(".tar.age"),
        "{path}"
    );
    assert!(place.path(path).is_file());
}

#[test]
fn what_cannot_be_backed_up_is_refused_with_what_to_do_meanwhile() {
    let place = Place::new();
    // Before the ceremony is finished.
    fs::create_dir(place.path("early")).unwrap();
    place.works("early", &["identity", "new", "--name", "ana"]);
    let early = place.output("early", &BACKUP);
    let err = text(&early.stderr);
    assert_eq!(early.status.code(), Some(7), "{err}");
    assert!(
        err.contains("nothing to back up yet") && err.contains("copy charon-enr-private-key"),
        "{err}"
    );
    // Not one that does not verify.
    let keystore = place.path("old/validator_keys/keystore-0.json");
    let content = fs::read(&keystore).unwrap();
    fs::write(&keystore, "{").unwrap();
    place.refuses("old", &BACKUP, 6, "failed");
    fs::write(&keystore, content).unwrap();
    // Without the password of a keystore it could never be imported.
    let password = place.path("old/validator_keys/keystore-0.txt");
    let content = fs::read(&password).unwrap();
    fs::remove_file(&password).unwrap();
    place.refuses(
        "old",
        &BACKUP,
        7,
        "the passwords of 1 keystores are not in this folder",
    );
    assert!(!place.path("backup").exists());
    // Nor is one whose name is written otherwise taken for something else.
    let other = place.path("old/validator_keys/keystore-0.JSON");
    fs::rename(&keystore, &other).unwrap();
    place.refuses("old", &BACKUP, 7, "the passwords of 1 keystores");
    fs::rename(&other, &keystore).unwrap();
    fs::write(&password, content).unwrap();
    // Results that wait for their names.
    let staged = place.path("old/ceremony/attempt-1/out");
    fs::create_dir_all(&staged).unwrap();
    fs::write(staged.join("manifest"), "").unwrap();
    fs::write(staged.join("deposit-data.json"), "").unwrap();
    place.refuses("old", &BACKUP, 7, "run conclave join once more");
    assert!(!place.path("backup").exists());
    fs::remove_dir_all(place.path("old/ceremony/attempt-1")).unwrap();
    // Whose share works elsewhere has nothing to be backed up.
    place.works("old", &EXPORT);
    place.refuses("old", &BACKUP, 7, "is retired");
    assert!(!place.path("backup").exists());
}

/// The machine stopped after the lock had got its name: all results are in place, and what is left of making them are a list and a seed.
#[test]
fn whatever_command_comes_first_ends_what_a_crash_left() {
    let place = Place::new();
    let attempt = place.path("old/ceremony/attempt-1");
    let (list, seed) = (attempt.join("out/manifest"), attempt.join("seed"));
    let leave = || {
        let _ = fs::remove_dir_all(&attempt);
        fs::create_dir_all(attempt.join("out")).unwrap();
        // The list says what the keystores were when they got their names.
        let mut text = "conclave/publication/1\n".to_owned();
        let keys = fs::read_dir(place.path("old/validator_keys")).unwrap();
        let keys = keys.map(|entry| format!("validator_keys/{}", entry.unwrap().file_name().display()));
        for name in keys.chain(["cluster-lock.json".to_owned()]) {
            let content = fs::read(place.path("old").join(&name)).unwrap();
            writeln!(text, "{} {name}", hex::encode(Sha256::digest(content))).unwrap();
        }
        fs::write(&list, text).unwrap();
        fs::write(attempt.join("voted"), "").unwrap();
        fs::write(&seed, [7; 32]).unwrap();
    };
    leave();
    let (out, _) = place.works("old", &BACKUP);
    assert!(out.contains("Wrote"), "{out}");
    assert!(!list.exists() && !seed.exists());
    for command in [
        &["status"][..],
        &["identity", "show"],
        &["exit", "--yes"],
        &["slashing-protection", "export", "spent"],
    ] {
        leave();
        let output = place.output("old", command);
        assert!(!list.exists() && !seed.exists(), "{command:?}: {output:?}");
    }
    // Whoever verifies a folder changes nothing in it.
    leave();
    let folder = place.path("old");
    let output = place.output("old", &["verify", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(list.exists() && seed.exists());
}

/// After the deposit they are put away, and are no part of the share.
#[test]
fn whatever_became_of_public_files_a_share_has_its_backup_and_moves() {
    let place = Place::new();
    let deposits: Vec<PathBuf> = fs::read_dir(place.path("old"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("deposit-data")
        })
        .collect();
    let [first, ..] = deposits.as_slice() else {
        panic!("there are deposit files");
    };
    // What is no keystore there needs no password.
    fs::copy(first, place.path("old/validator_keys/deposit-data-copy.json")).unwrap();
    let content = fs::read(first).unwrap();
    fs::write(first, "[").unwrap();
    let (_, err) = place.works("old", &BACKUP);
    assert!(
        err.contains("can be read") && err.contains("Your share does not need it"),
        "{err}"
    );
    fs::remove_file(place.path("backup")).unwrap();
    fs::remove_file(first).unwrap();
    let (_, err) = place.works("old", &BACKUP);
    assert!(err.contains("missing: deposit-data"), "{err}");
    place.works("restored", &RESTORE);
    place.works("old", &EXPORT);
    let (_, err) = place.works("new", &IMPORT);
    assert!(err.contains("missing: deposit-data"), "{err}");
    // To whoever verifies a folder a missing file is missing.
    let name = first.file_name().unwrap().to_str().unwrap();
    place.refuses("new", &["verify", "new"], 6, name);
    fs::write(place.path("new").join(name), content).unwrap();
    place.works("new", &["verify", "new"]);
}

/// Only an export takes along a memory that nobody adds to: one that was copied by hand is left out.
#[test]
fn what_somebody_made_of_a_folder_by_hand_is_a_backup_whatever_is_in_it() {
    use conclave_ceremony::{
        folder::DataFolder,
        moving::{archive, pack},
    };
    let place = Place::new();
    let folder = DataFolder::open(&Disk::new(), &place.path("old")).unwrap();
    let files = pack(&folder).unwrap().entries;
    drop(folder);
    assert!(files.iter().any(|file| file.name == DATABASE));
    let password = archive::Passphrase::new("correct horse battery").unwrap();
    fs::write(
        place.path("backup"),
        archive::seal(&files, "By hand.", &password).unwrap(),
    )
    .unwrap();
    let (out, _) = place.works("new", &RESTORE);
    assert!(out.contains("counts as restored"), "{out}");
    assert!(place.path("new/RESTORED").exists() && !place.path("new").join(DATABASE).exists());
}

#[test]
fn a_backup_becomes_a_folder_that_knows_that_it_has_forgotten() {
    let place = Place::new();
    place.works("old", &BACKUP);
    let before = place.files("old");
    // The folder moves later: the backup of before is no less a backup.
    place.works("old", &EXPORT);
    let (out, err) = place.works("new", &RESTORE);
    assert!(
        out.contains("counts as restored") && err.contains("if the original may ever start again"),
        "{out}{err}"
    );
    assert!(!place.path("new").join(DATABASE).exists());
    let mut made = place.files("new");
    made.retain(|(name, _)| name != "RESTORED");
    assert_eq!(made, before);
    let (out, _) = place.works("third", &[&["--json"], &RESTORE[..]].concat());
    let event: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&event["event"], &event["restored"]),
        (&json!("moved"), &json!(true))
    );

    // Nothing signs before somebody has said that the original is gone; to be told so leaves all as it was.
    let run = ["run", "--beacon-node", NOWHERE];
    for _ in 0..2 {
        place.refuses("new", &run, 2, "--original-is-gone");
    }
    let number = number(&place, "new");
    // A yes of before, of another folder or to anything is no word about this one.
    for given in ["true", "yes", "1", &number[..7], "0000000"] {
        place.refuses(
            "new",
            &[&run[..], &["--original-is-gone", given]].concat(),
            2,
            &format!("the number of this restored folder is {number}"),
        );
    }
    place.refuses(
        "new",
        &[&run[..], &["--new-slashing-database"]].concat(),
        2,
        "--original-is-gone",
    );
    assert!(place.path("new/RESTORED").exists() && !place.path("new").join(DATABASE).exists());
    place.refuses(
        "new",
        &EXPORT.map(|word| if word == "archive" { "second" } else { word }),
        7,
        "cannot move yet",
    );
    // A dry run signs nothing, and needs no word.
    drop(Running::of(&place, "new", &["--dry-run"]));
    assert!(place.path("new/RESTORED").exists());
    // A voluntary exit is not slashable.
    let key = &place.keys()[0];
    let exit = [
        "exit",
        "--validator",
        key,
        "--validator-index",
        "5",
        "--partial-out",
        "part",
        "--yes",
    ];
    place.works("new", &exit);

    drop(Running::of(&place, "new", &["--original-is-gone", &number]));
    assert!(!place.path("new/RESTORED").exists());
    assert_eq!(mark(&place, "new"), Some(Mark::Restored));
    // It has been said: nothing is asked again, and the mark stays. That the word is given for ever does no harm, here or
    // in a folder that is restored later.
    drop(Running::of(&place, "new", &[]));
    drop(Running::of(&place, "new", &["--original-is-gone", &number]));
    place.refuses(
        "third",
        &[&run[..], &["--original-is-gone", &number]].concat(),
        2,
        "not about this folder",
    );
    assert!(place.path("third/RESTORED").exists());
    assert_eq!(mark(&place, "new"), Some(Mark::Restored));
    // A crash just before the folder's mark was taken away.
    fs::write(place.path("new/RESTORED"), "").unwrap();
    drop(Running::of(&place, "new", &[]));
    assert!(!place.path("new/RESTORED").exists());
    // Whoever is excused must be one of the others, and t of them must answer: in 3 of 4 nobody can be missing.
    place.refuses(
        "new",
        &[&run[..], &["--without", "nobody"]].concat(),
        3,
        "none of the other operators",
    );
    place.refuses(
        "new",
        &[&run[..], &["--without", "2"]].concat(),
        3,
        "so many operators cannot be done without",
    );
    // It can be backed up and moved like any other; what it does not know moves along.
    place.works("new", &["backup", "again", "--password-file", "password"]);
    place.works(
        "new",
        &["export", "moved", "--password-file", "password", "--yes"],
    );
    let (out, _) = place.works("fourth", &["import", "moved", "--password-file", "password"]);
    assert!(
        out.contains("restored from a backup before it moved") && !out.contains("at once"),
        "{out}"
    );
    assert_eq!(mark(&place, "fourth"), Some(Mark::Restored));

    // An old copy of the database that somebody put into a restored folder is no memory.
    fs::copy(
        place.path("old").join(DATABASE),
        place.path("third").join(DATABASE),
    )
    .unwrap();
    assert_eq!(mark(&place, "third"), None);
    place.refuses("third", &run, 2, "--original-is-gone");
    let own = self::number(&place, "third");
    drop(Running::of(&place, "third", &["--original-is-gone", &own]));
    assert_eq!(mark(&place, "third"), Some(Mark::Restored));
}

/// Whoever comes to a restored folder is told that it is one, whatever is asked of it.
#[test]
fn a_restored_folder_is_named_as_one_everywhere() {
    let place = Place::new();
    place.works("old", &BACKUP);
    place.works("new", &RESTORE);
    let (out, _) = place.works("new", &["verify", "new"]);
    assert!(out.contains("restored from a backup"), "{out}");
    place.refuses("new", &["status"], 7, "only if the original is gone");
    let history = ["slashing-protection", "export", "nothing"];
    place.refuses("new", &history, 7, "restored from a backup");

    let number = number(&place, "new");
    let running = Running::of(&place, "new", &["--original-is-gone", &number]);
    let (out, _) = place.works("new", &["--json", "status"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert!(
        status["restored"].is_object(),
        "no beacon node is needed to know that: {status}"
    );
    assert!(
        status["why"].as_str().unwrap().contains("restored from a backup"),
        "{status}"
    );
    drop(running);
    // What was signed before is known no better for the word that was given.
    place.refuses("new", &history, 7, "restored from a backup");
    assert!(!place.path("nothing").exists() && !place.path("new/RESTORED").exists());
}

//! `conclave export` and `conclave import`: a folder moves, its memory with it, and does not stay where it was.

mod group;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use conclave::{
    ceremony::{files::Disk, retirement},
    cluster::lock::Lock,
    validator::guard::{Cluster, Guard, Mark},
};
use group::conclave;
use serde_json::{Value, json};

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
        command.args(arguments).output().unwrap()
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
        } else {
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
    assert!(err.contains("exported to archive on 2"), "{err}");

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
        "missing",
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
    assert!(name.to_str().unwrap().ends_with("-operator-1.archive"));
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
    place.works("old", &EXPORT);
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
        err.contains("exported to archive on 2") && err.contains("import that archive"),
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
        (&own[..20], "cannot write", "move that file away"),
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

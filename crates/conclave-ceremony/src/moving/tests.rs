use std::{collections::BTreeMap, fs, path::Path};

use super::{
    archive::{ArchiveError, Passphrase, seal_with},
    *,
};
use crate::{
    files::{PUBLIC, crashing_disk},
    folder::IDENTITY,
    retirement::{RETIRED, refuse},
};

const FILES: [(&str, &[u8]); 6] = [
    (IDENTITY, b"identity"),
    (LOCK, b"lock"),
    (SLASHING_PROTECTION, b"database"),
    ("validator_keys/keystore-0.json", b"keystore"),
    ("validator_keys/keystore-0.txt", b"password"),
    ("ceremony/evidence/1.bin", b"evidence"),
];

fn house(root: &Path) {
    for (name, content) in FILES {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        Disk::new().write_new(&path, content, PUBLIC).unwrap();
    }
}

fn content(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let folder = DataFolder::open(&Disk::new(), root).unwrap();
    let entries = pack(&folder).unwrap().entries;
    entries
        .into_iter()
        .map(|entry| (entry.name, entry.content.to_vec()))
        .collect()
}

#[test]
fn everything_that_belongs_to_a_folder_moves_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    house(dir.path());
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::create_dir(dir.path().join("logs")).unwrap();
    fs::write(dir.path().join("logs/run.log"), "mine").unwrap();
    let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
    let luggage = pack(&folder).unwrap();
    let mut names: Vec<&str> = luggage.entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    let mut expected: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(luggage.left, ["logs/run.log", "notes.txt"]);
}

/// As the command does it, with a seal that costs nothing: the last byte closes it.
fn export(disk: &Disk, root: &Path, target: &Path, when: &str) -> Result<(), Problem> {
    let folder = DataFolder::open(disk, root)?;
    let state = retirement::state(disk, root)?;
    if !matches!(state, State::Works | State::Begun { .. }) {
        refuse(disk, root)?;
    }
    let mut entries = pack(&folder)?.entries;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let open = |sealed: &[u8]| {
        let whole = sealed.strip_suffix(b"!").ok_or(ArchiveError::Password)?;
        tape::read(whole)
    };
    if !left_behind(&state, target)?.is_empty() && resume(&folder, (&state, target), &entries, &open, when)? {
        return Ok(());
    }
    let sealed = [&tape::write(&entries, "about").unwrap()[..], b"!"].concat();
    retire_and_write(&folder, target, &sealed, when)
}

/// The files in a folder that are archives, under whatever name.
fn archives(folder: &Path) -> Vec<BTreeMap<String, Vec<u8>>> {
    let files = fs::read_dir(folder).unwrap();
    let open = |path: &Path| tape::read(fs::read(path).ok()?.strip_suffix(b"!")?).ok();
    files
        .filter_map(|file| open(&file.unwrap().path()))
        .map(|entries| {
            let plain = |entry: Entry| (entry.name, entry.content.to_vec());
            entries.into_iter().map(plain).collect()
        })
        .collect()
}

#[test]
fn at_no_moment_are_there_an_archive_and_a_folder_that_works() {
    let mut found = 0;
    let mut steps = 0..;
    let mut uninterrupted = false;
    while !uninterrupted {
        let first = steps.next().unwrap();
        let mut again = 0..;
        loop {
            // Both the first attempt and the second are interrupted, everywhere; the third is not.
            let second = again.next().unwrap();
            let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            house(dir.path());
            let wanted = content(dir.path());
            let target = out.path().join("archive");
            let look = |step: &str| {
                let retired = refuse(&Disk::new(), dir.path()).is_err();
                let there = archives(out.path());
                assert!(retired || there.is_empty(), "{first}, {second}: {step}");
                assert!(there.iter().all(|archive| *archive == wanted));
                if let Ok(archive) = fs::read(&target) {
                    assert_eq!(archive.last(), Some(&b'!'), "whole or not there");
                }
                there.len()
            };
            uninterrupted = export(&crashing_disk(first).0, dir.path(), &target, "Monday").is_ok();
            look("once");
            let before = target.exists();
            let repeated = export(&crashing_disk(second).0, dir.path(), &target, "Tuesday");
            look("twice");
            let over = |problem: Problem| problem.what.contains("is retired");
            let done = repeated.map_or_else(over, |()| true);
            let last = export(&Disk::new(), dir.path(), &target, "Wednesday");
            assert_eq!(look("three times"), 1, "{first}, {second}");
            assert_eq!(archives(out.path()), std::slice::from_ref(&wanted));
            let names = Disk::new().list(out.path()).unwrap();
            assert_eq!(names, ["archive"], "what was interrupted does not lie about");
            let state = retirement::state(&Disk::new(), dir.path()).unwrap();
            let State::Retired(why) = state else {
                panic!("{first}, {second}: {state:?}");
            };
            assert!(
                why.contains(&format!("exported to {}", target.display())),
                "{why}"
            );
            match last {
                Ok(()) if before => found += 1,
                Ok(()) => {}
                // Interrupted after the very last change: the folder says that it is done, and where everything is.
                Err(problem) => {
                    assert!(problem.what.contains("is retired"), "{problem:?}");
                    assert!(problem.what_to_do.contains("import that archive"), "{problem:?}");
                }
            }
            if done {
                break;
            }
        }
    }
    assert!(
        found > 3,
        "an archive was found, and its export finished, {found} times"
    );
}

#[test]
fn an_interrupted_export_that_goes_elsewhere_leaves_no_second_archive() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    house(dir.path());
    let (stick, other) = (out.path().join("stick"), out.path().join("other"));
    fs::create_dir(&stick).unwrap();
    let target = stick.join("archive");
    let begin = |target: &Path| retirement::begin(&Disk::new(), dir.path(), "begun", target).unwrap();
    let crash = |k: usize| export(&crashing_disk(k).0, dir.path(), &other, "Monday").is_ok();
    let export = |target: &Path| export(&Disk::new(), dir.path(), target, "Tuesday");
    let unmark = || fs::remove_file(dir.path().join(RETIRED)).unwrap();

    // The archive is where it was begun, or may be: the folder was on a disk that is not there now.
    export(&target).unwrap();
    unmark();
    begin(&target);
    let problem = export(&other).unwrap_err();
    assert!(problem.what_to_do.contains(&shown(&target)), "{problem:?}");
    let away = out.path().join("away");
    fs::rename(&stick, &away).unwrap();
    let problem = export(&other).unwrap_err();
    assert!(problem.what_to_do.contains("make"), "{problem:?}");
    assert!(problem.what_to_do.contains(&shown(&stick)), "{problem:?}");
    assert!(!other.exists());
    fs::rename(&away, &stick).unwrap();
    export(&target).unwrap();

    // It was never written, or something else was put there: the mark says where it is now to be.
    for foreign in [None, Some(&b"notes!"[..])] {
        unmark();
        let _ = fs::remove_file(&target);
        let _ = fs::remove_file(&other);
        begin(&target);
        if let Some(foreign) = foreign {
            fs::write(&target, foreign).unwrap();
            let problem = export(&target).unwrap_err();
            assert!(problem.what_to_do.contains("name another one"), "{problem:?}");
        }
        for k in 0.. {
            let done = crash(k);
            if archives(out.path()).is_empty() {
                assert!(!done);
                continue;
            }
            // The mark has said where it is before it was there.
            let state = retirement::state(&Disk::new(), dir.path()).unwrap();
            assert!(matches!(state, State::Begun { archive: Some(at), .. } if at == other));
            break;
        }
        export(&other).unwrap();
        assert_eq!(archives(out.path()).len(), 1);
        assert!(archives(&stick).is_empty());
    }
}

#[test]
fn only_this_folders_last_archive_ends_an_interrupted_export() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    house(dir.path());
    let target = out.path().join("archive");
    let password = Passphrase::new("twelve chars").unwrap();
    let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
    let entries = pack(&folder).unwrap().entries;
    retirement::begin(&Disk::new(), dir.path(), "begun", &target).unwrap();
    let state = retirement::state(&Disk::new(), dir.path()).unwrap();
    let seal = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        seal_with(&entries, "about", &password, 4).unwrap()
    };
    let set = |name: &'static str, content: &'static [u8]| {
        move |entries: &mut Vec<Entry>| {
            let entry = entries.iter_mut().find(|entry| entry.name == name).unwrap();
            *entry.content = content.to_vec();
        }
    };
    let whole = seal(&|_| {});
    let resume = |password: &str| {
        let password = Passphrase::new(password).unwrap();
        let open = |sealed: &[u8]| archive::open(sealed, &password);
        resume(&folder, (&state, &target), &entries, &open, "Monday")
    };
    for (what, sealed, part) in [
        ("half", whole[..whole.len() / 2].to_vec(), "cannot tell whether"),
        (
            "a byte less",
            whole[..whole.len() - 1].to_vec(),
            "cannot tell whether",
        ),
        ("its beginning", whole[..30].to_vec(), "cannot tell whether"),
        ("nothing", Vec::new(), "cannot write"),
        ("no archive", b"precious".to_vec(), "cannot write"),
        (
            "another operator's",
            seal(&set(IDENTITY, b"other")),
            "cannot write",
        ),
        ("another group's", seal(&set(LOCK, b"other")), "cannot write"),
        (
            "an older one",
            seal(&set(SLASHING_PROTECTION, b"older")),
            "cannot write",
        ),
        (
            "one without it",
            seal(&|entries| entries.truncate(4)),
            "cannot write",
        ),
    ] {
        fs::write(&target, &sealed).unwrap();
        let problem = resume("twelve chars").unwrap_err();
        assert!(problem.what.contains(part), "{what}: {problem:?}");
        let expected = match what {
            "another operator's" | "another group's" => ("another folder", "move that file away"),
            "an older one" => ("slashing protection database", "never import that file"),
            _ => ("", "this folder signs nothing meanwhile"),
        };
        assert!(problem.why.contains(expected.0), "{what}: {problem:?}");
        assert!(
            problem.what_to_do.to_lowercase().contains(expected.1),
            "{what}: {problem:?}"
        );
        assert_eq!(fs::read(&target).unwrap(), sealed, "nothing is overwritten");
        assert_eq!(retirement::state(&Disk::new(), dir.path()).unwrap(), state);
    }
    fs::remove_file(&target).unwrap();
    std::os::unix::fs::symlink(out.path().join("elsewhere"), &target).unwrap();
    resume("twelve chars").unwrap_err();
    fs::remove_file(&target).unwrap();
    assert!(!resume("twelve chars").unwrap(), "nothing is there");
    fs::write(&target, &whole).unwrap();
    resume("another password").unwrap_err();
    assert!(resume("twelve chars").unwrap());
    let state = retirement::state(&Disk::new(), dir.path()).unwrap();
    assert!(matches!(state, State::Retired(why) if why.contains("on Monday")));
}

#[test]
fn an_archive_overwrites_nothing_and_retires_nothing_then() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    house(dir.path());
    let target = out.path().join("archive");
    fs::write(&target, "precious").unwrap();
    let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
    retire_and_write(&folder, &target, b"sealed", "Monday").unwrap_err();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    refuse(&Disk::new(), dir.path()).unwrap();
}

#[test]
fn a_folder_is_whole_or_unusable() {
    let from = tempfile::tempdir().unwrap();
    house(from.path());
    let wanted = content(from.path());
    let entries = pack(&DataFolder::open(&Disk::new(), from.path()).unwrap())
        .unwrap()
        .entries;
    for k in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        let (disk, _) = crashing_disk(k);
        let done = make_room(&disk, &root)
            .and_then(|folder| unpack(&folder, &entries).and_then(|()| settle(&folder)));
        let usable = root.exists() && refuse(&Disk::new(), &root).is_ok();
        let something = FILES.iter().any(|(name, _)| root.join(name).exists());
        if usable && something {
            assert_eq!(content(&root), wanted, "step {k}");
        }
        if done.is_ok() {
            assert!(usable);
            assert_eq!(content(&root), wanted);
            break;
        }
        if something && !usable {
            assert!(
                make_room(&Disk::new(), &root)
                    .unwrap_err()
                    .what_to_do
                    .contains("remove")
            );
        }
    }
}

#[test]
fn an_import_needs_an_empty_folder_and_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let problem = make_room(&Disk::new(), dir.path()).unwrap_err();
    assert!(problem.why.contains("notes.txt"), "{problem:?}");
    fs::remove_file(dir.path().join("notes.txt")).unwrap();
    let from = tempfile::tempdir().unwrap();
    house(from.path());
    let entries = pack(&DataFolder::open(&Disk::new(), from.path()).unwrap())
        .unwrap()
        .entries;
    let folder = make_room(&Disk::new(), dir.path()).unwrap();
    unpack(&folder, &entries).unwrap();
    clear(&folder, &entries);
    drop(folder);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // And so it can be tried again.
    make_room(&Disk::new(), dir.path()).unwrap();
}

/// What a failure says of the folder is so: retired, or as it was.
#[test]
fn a_failure_says_whether_the_folder_is_retired() {
    let (mut before, mut after) = (0, 0);
    for k in 0.. {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        house(dir.path());
        let disk = crashing_disk(k).0;
        let Ok(folder) = DataFolder::open(&disk, dir.path()) else {
            continue;
        };
        let Err(problem) = retire_and_write(&folder, &out.path().join("archive"), b"sealed", "Monday") else {
            break;
        };
        let state = retirement::state(&Disk::new(), dir.path()).unwrap();
        let retired = state != State::Works;
        assert_eq!(
            problem.why.contains("retired already"),
            retired,
            "{k}: {problem:?}"
        );
        if retired {
            let goes_on = matches!(state, State::Begun { .. });
            assert_eq!(
                problem.what_to_do.contains("the same command again"),
                goes_on,
                "{problem:?}"
            );
            assert_eq!(problem.why.contains("the archive is written"), !goes_on);
            after += 1;
        } else {
            before += 1;
        }
    }
    assert!(before > 2 && after > 2, "{before} before, {after} after");
}

#[test]
fn a_folder_that_has_moved_is_not_told_to_go_on() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    house(dir.path());
    let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
    let archive = out.path().join("archive");
    retire_and_write(&folder, &archive, b"sealed", "Monday").unwrap();
    for target in [archive, out.path().join("another")] {
        let problem = retire_and_write(&folder, &target, b"sealed", "Tuesday").unwrap_err();
        assert!(problem.what.contains("is retired"), "{problem:?}");
        assert!(problem.what_to_do.contains("import that archive"), "{problem:?}");
        assert!(!problem.what_to_do.contains("the same command"), "{problem:?}");
    }
}

#[test]
fn a_backup_holds_everything_but_what_was_signed_and_bears_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    house(dir.path());
    fs::write(dir.path().join("ceremony/.conclave-unfinished-1"), "half").unwrap();
    // Another process is at work there.
    let _busy = DataFolder::open(&Disk::new(), dir.path()).unwrap();
    fs::write(dir.path().join("ceremony/.conclave-unfinished-2"), "half").unwrap();
    let luggage = copy(&Disk::new(), dir.path()).unwrap();
    assert!(luggage.left.is_empty(), "{:?}", luggage.left);
    let names: std::collections::BTreeSet<&str> =
        luggage.entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut expected: std::collections::BTreeSet<&str> = FILES.iter().map(|(name, _)| *name).collect();
    expected.remove(SLASHING_PROTECTION);
    expected.insert(RESTORED);
    assert_eq!(names, expected);
    assert_eq!(luggage.entries.len(), names.len());
}

/// Right after a crash between the lock's name and the end of the publication: such a backup could not be finished. And the seeds have
/// done their work: whoever opens a backup finds none, and no folder that is made of it ever makes another for that attempt.
#[test]
fn a_backup_holds_no_seed_and_no_publication_that_is_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    house(dir.path());
    let attempts = crate::attempt::Attempts::new(Disk::new(), &dir.path().join(CEREMONY));
    let seed = attempts.create_seed(1).unwrap();
    attempts.create_seed(12).unwrap();
    attempts.create_seed(3).unwrap();
    attempts.destroy_seed(3).unwrap();
    let out = attempts.folder(12).join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("manifest"), "").unwrap();
    let problem = copy(&Disk::new(), dir.path()).err().unwrap();
    assert!(
        problem.what_to_do.contains("conclave join once more"),
        "{problem:?}"
    );
    fs::remove_file(out.join("manifest")).unwrap();
    let entries = copy(&Disk::new(), dir.path()).unwrap().entries;
    assert!(
        entries
            .iter()
            .all(|entry| !entry.content.windows(32).any(|bytes| bytes == &seed[..]))
    );
    let new = tempfile::tempdir().unwrap();
    let folder = make_room(&Disk::new(), new.path()).unwrap();
    unpack(&folder, &entries).unwrap();
    for k in [1, 3, 12] {
        assert!(folder.attempts().seed(k).unwrap().is_none(), "{k}");
        folder.attempts().create_seed(k).unwrap_err();
    }
    // Nor does a folder that is made of what somebody put together by hand.
    let mut by_hand = pack(&DataFolder::open(&Disk::new(), dir.path()).unwrap())
        .unwrap()
        .entries;
    let manifest = "ceremony/attempt-12/out/manifest".to_owned();
    by_hand.push(Entry {
        name: manifest.clone(),
        content: Zeroizing::default(),
    });
    make_backup(&mut by_hand);
    assert!(by_hand.iter().all(|entry| entry.name != manifest
        && entry.name != SLASHING_PROTECTION
        && !entry.content.windows(32).any(|bytes| bytes == &seed[..])));
    assert_eq!(by_hand.iter().filter(|entry| entry.name == RESTORED).count(), 1);
    // The folder that goes on has them as before, and one that moves takes them along.
    assert!(attempts.seed(1).unwrap().is_some());
    assert!(content(dir.path()).contains_key("ceremony/attempt-12/seed"));
}

/// Wherever the machine stops or the disk is full: the backup is there as a whole or not at all, and nothing else is touched.
#[test]
fn a_backup_is_whole_or_not_there_and_overwrites_nothing() {
    for k in 0.. {
        let out = tempfile::tempdir().unwrap();
        let target = out.path().join("backup");
        let done = write_backup(&crashing_disk(k).0, &target, b"sealed").is_ok();
        if target.exists() {
            assert_eq!(fs::read(&target).unwrap(), b"sealed", "{k}");
        } else {
            assert!(!done, "{k}");
        }
        if done {
            assert_eq!(Disk::new().list(out.path()).unwrap(), ["backup"]);
            break;
        }
    }
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("backup");
    fs::write(&target, "precious").unwrap();
    write_backup(&Disk::new(), &target, b"sealed").unwrap_err();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
}

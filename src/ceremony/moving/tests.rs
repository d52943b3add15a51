use std::{collections::BTreeMap, fs, path::Path};

use super::*;
use crate::ceremony::{
    files::{PUBLIC, crashing_disk},
    folder::{IDENTITY, SLASHING_PROTECTION},
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

#[test]
fn at_no_moment_are_there_an_archive_and_a_folder_that_works() {
    for k in 0.. {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        house(dir.path());
        let target = out.path().join("archive");
        // Opening the folder is no part of it.
        drop(DataFolder::open(&Disk::new(), dir.path()).unwrap());
        let (disk, _) = crashing_disk(k);
        let folder = DataFolder::open(&disk, dir.path());
        let done = folder.and_then(|folder| retire_and_write(&folder, &target, b"sealed", "Monday"));
        let retired = refuse(&Disk::new(), dir.path()).is_err();
        assert!(retired || !target.exists(), "step {k}");
        if retired {
            // Not even in part, under whatever name, was it there before.
            assert!(dir.path().join(RETIRED).exists());
        } else {
            let mut there = fs::read_dir(out.path()).unwrap();
            assert!(
                there.all(|entry| fs::read(entry.unwrap().path()).unwrap() != b"sealed"),
                "step {k}"
            );
        }
        if done.is_ok() {
            assert_eq!(fs::read(&target).unwrap(), b"sealed");
            assert!(k > 8, "a mark, an archive, another mark");
            let again = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            let state = retirement::state(again.disk(), dir.path()).unwrap();
            assert!(matches!(state, State::Retired(why) if why.contains("on Monday")));
            break;
        }
        // The same command goes on after the crash, to another name if the archive is there already.
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let second = out.path().join("second");
        let target = if target.exists() { &second } else { &target };
        retire_and_write(&folder, target, b"sealed", "Tuesday").unwrap();
        assert_eq!(fs::read(target).unwrap(), b"sealed");
        // What was interrupted is not left lying about.
        let names = Disk::new().list(out.path()).unwrap();
        assert!(
            names.iter().all(|name| !name.starts_with('.')),
            "step {k}: {names:?}"
        );
        refuse(&Disk::new(), dir.path()).unwrap_err();
    }
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

//! The database as a file: whose it is, who holds it, what becomes of it.

use std::os::unix::fs::PermissionsExt;

use redb::{Database, TableDefinition};

use super::super::interchange::Horizon;
use super::*;

/// A guard with a file, begun.
fn in_file(path: &Path, cluster: &Cluster) -> Guard {
    let guard = Guard::open(path, cluster.clone()).unwrap();
    guard.begin(ALWAYS);
    guard
}

fn made(validators: u32) -> (tempfile::TempDir, PathBuf, Cluster) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let cluster = cluster(validators);
    create(&path, &cluster);
    (dir, path, cluster)
}

fn problem(path: &Path, cluster: &Cluster) -> GuardError {
    let error = Guard::open(path, cluster.clone()).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 3, "{error}");
    error
}

#[test]
fn a_new_one_is_marked_and_made_secret() {
    let (_dir, path, cluster) = made(2);
    let guard = in_file(&path, &cluster);
    assert_eq!(guard.mark().unwrap(), Some(Mark::New));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn what_was_signed_is_there_at_the_next_start() {
    let (_dir, path, cluster) = made(2);
    let guard = in_file(&path, &cluster);
    assert!(may(&guard, attestation(3, 4)) && may(&guard, block(130)));
    drop(guard);
    let guard = in_file(&path, &cluster);
    assert!(!may(&guard, attestation(3, 4)) && !may(&guard, block(130)));
    assert!(ask(&guard, attestation(3, 4), &[1]).unwrap().permit.is_some());
    assert!(may(&guard, attestation(3, 5)) && may(&guard, block(131)));
}

#[test]
fn a_start_begins_with_nothing_permitted() {
    let (_dir, path, cluster) = made(1);
    let guard = Guard::open(&path, cluster).unwrap();
    assert!(!may(&guard, block(130)));
}

#[test]
fn the_mark_survives_restarts_and_blocks_and_goes_with_the_first_attestation() {
    let (_dir, path, cluster) = made(1);
    for _ in 0..2 {
        let guard = in_file(&path, &cluster);
        assert_eq!(guard.mark().unwrap(), Some(Mark::New));
        guard.highest().unwrap();
    }
    let guard = in_file(&path, &cluster);
    assert!(may(&guard, block(1)));
    guard.begin(Start {
        first_slot: 0,
        first_target: 9,
    });
    assert!(!may(&guard, attestation(0, 8)));
    assert_eq!(guard.mark().unwrap(), Some(Mark::New));
    assert!(may(&guard, attestation(0, 9)));
    assert_eq!(guard.mark().unwrap(), None);
    drop(guard);
    assert_eq!(in_file(&path, &cluster).mark().unwrap(), None);
}

#[test]
fn only_the_mark_that_was_meant_is_taken_away() {
    let (_dir, path, cluster) = made(1);
    let guard = in_file(&path, &cluster);
    assert!(!guard.clear_mark(Mark::LatePublication).unwrap());
    assert!(guard.clear_mark(Mark::New).unwrap());
    assert!(!guard.clear_mark(Mark::New).unwrap());
    assert_eq!(guard.mark().unwrap(), None);
}

#[test]
fn a_missing_one_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    assert!(matches!(problem(&path, &cluster(1)), GuardError::Missing(_)));
    assert!(!path.exists());
}

#[test]
fn another_lock_operator_or_set_of_validators_is_refused() {
    let (_dir, path, cluster) = made(2);
    let keys = cluster.validators().to_vec();
    let other_lock = Cluster::new([8; 32], 2, keys.clone()).unwrap();
    assert!(matches!(
        problem(&path, &other_lock),
        GuardError::OtherLock { .. }
    ));
    let other_operator = Cluster::new([7; 32], 3, keys.clone()).unwrap();
    assert!(matches!(
        problem(&path, &other_operator),
        GuardError::OtherOperator {
            pinned: 2,
            found: 3,
            ..
        }
    ));
    let more = super::cluster(3);
    assert!(matches!(problem(&path, &more), GuardError::Damaged { .. }));
    Guard::open(&path, cluster).unwrap();
}

/// The first release reads format 1 alone, and says of a higher one that a newer version is needed.
#[test]
fn the_first_release_reads_none_that_bears_a_mark_that_it_does_not_know() {
    let format = |path: &Path| {
        const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("conclave/guard/meta");
        let database = Database::open(path).unwrap();
        let reading = redb::ReadableDatabase::begin_read(&database).unwrap();
        let table = reading.open_table(META).unwrap();
        let bytes = table.get("format").unwrap().unwrap().value().to_vec();
        u32::from_be_bytes(bytes.try_into().unwrap())
    };
    let (_dir, path, cluster) = made(1);
    assert_eq!(format(&path), 1);
    let guard = in_file(&path, &cluster);
    guard.mark_restored().unwrap();
    drop(guard);
    assert_eq!(format(&path), 2);
    // The mark goes with the first attestation, and any version may go on.
    let guard = in_file(&path, &cluster);
    assert_eq!(guard.mark().unwrap(), Some(Mark::Restored));
    assert!(may(&guard, attestation(3, 4)));
    drop(guard);
    assert_eq!(format(&path), 1);
    let made = new_database(&cluster, Some(Mark::Restored)).unwrap();
    std::fs::write(&path, made).unwrap();
    assert_eq!(format(&path), 2);
}

/// The source that a restored folder was raised to at first stays through later starts, until somebody shows that the share signed since, or
/// the folder comes from elsewhere; the mark's end ends it.
#[test]
fn a_restored_database_is_raised_to_its_first_source_until_that_is_disproven() {
    let to = |epoch: u64| Record {
        block: Some((epoch + 3) * 8 - 1),
        attested: Some(Attested {
            source: epoch,
            target: epoch + 2,
        }),
    };
    let highest = |guard: &Guard| {
        let attested = guard.highest().unwrap().attested.unwrap();
        (attested.source, attested.target)
    };
    let progress = |source, target| Progress {
        block: None,
        attestation: Some(Newest {
            target,
            source,
            slot: target * 8,
        }),
    };
    let started = |path: &Path, cluster: &Cluster| {
        std::fs::write(path, new_database(cluster, Some(Mark::Restored)).unwrap()).unwrap();
        for (epoch, source) in [(10, 10), (20, 10), (19, 10), (30, 10)] {
            let guard = in_file(path, cluster);
            guard.raise(to(epoch)).unwrap();
            let (is, target) = highest(&guard);
            assert!(is == source && target >= epoch + 2);
        }
        // What was signed before the first raise disproves nothing, nor does a block that it signs meanwhile.
        let guard = in_file(path, cluster);
        guard.catch_up(progress(9, 11)).unwrap();
        assert!(may(&guard, block(400)));
        guard.raise(to(31)).unwrap();
        assert_eq!(highest(&guard), (10, 33));
        guard
    };
    let (dir, path, cluster) = made(2);
    // Somebody shows more: by source, or by target alone.
    for shown in [progress(11, 12), progress(10, 13)] {
        let guard = started(&path, &cluster);
        assert!(guard.catch_up(shown).unwrap());
        assert_eq!(highest(&guard), (31, 33));
        drop(guard);
        let guard = in_file(&path, &cluster);
        guard.raise(to(40)).unwrap();
        assert_eq!(highest(&guard), (40, 42));
    }
    // A file shows more, of one key: by source, or by target alone. What it has of the time before the first raise disproves nothing.
    let history = |source: u64, target: u64| {
        let (root, key) = (
            hex::encode([3; 32]),
            hex::encode(cluster.validators()[1].distributed),
        );
        let text = format!(
            r#"{{"metadata":{{"interchange_format_version":"5","genesis_validators_root":"0x{root}"}},"data":[{{"pubkey":"0x{key}","signed_blocks":[],"signed_attestations":[{{"source_epoch":"{source}","target_epoch":"{target}"}}]}}]}}"#
        );
        Interchange::parse(text.as_bytes(), Horizon::NONE).unwrap()
    };
    for (source, target, shows) in [(9, 12, false), (10, 12, false), (11, 12, true), (10, 13, true)] {
        let guard = started(&path, &cluster);
        guard.pin_genesis_validators_root(&[3; 32]).unwrap();
        guard.import(&history(source, target), Future::Refuse).unwrap();
        assert_eq!(guard.mark().unwrap(), Some(Mark::Restored));
        drop(guard);
        let guard = in_file(&path, &cluster);
        let is = if shows { (31, 33) } else { (10, 33) };
        assert_eq!(highest(&guard), is, "{source} {target}");
        guard.raise(to(40)).unwrap();
        let is = if shows { (40, 42) } else { (10, 42) };
        assert_eq!(highest(&guard), is, "{source} {target}");
    }
    // A second process was seen.
    let guard = started(&path, &cluster);
    guard.distrust().unwrap();
    assert_eq!(highest(&guard), (31, 33));
    guard.raise(to(40)).unwrap();
    assert_eq!(highest(&guard), (40, 42));
    drop(guard);
    // It comes from elsewhere: in an archive, or into another restored folder.
    for comes in [Guard::mark_moved, Guard::mark_restored] {
        let guard = started(&path, &cluster);
        comes(&guard).unwrap();
        assert_eq!(guard.mark().unwrap(), Some(Mark::Restored));
        guard.raise(to(40)).unwrap();
        assert_eq!(highest(&guard), (40, 42));
    }
    // The first attestation ends it, whatever comes later.
    let guard = started(&path, &cluster);
    assert!(may(&guard, attestation(12, 34)));
    guard.distrust().unwrap();
    assert_eq!((highest(&guard), guard.mark().unwrap()), ((12, 34), None));
    drop(guard);
    drop(in_file(&path, &cluster));
    drop(dir);
}

#[test]
fn newer_formats_and_other_databases_are_refused() {
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("conclave/guard/meta");
    let (dir, path, cluster) = made(1);
    let database = Database::open(&path).unwrap();
    let change = |bytes: Option<&[u8]>| {
        let writing = database.begin_write().unwrap();
        {
            let mut table = writing.open_table(META).unwrap();
            match bytes {
                Some(bytes) => drop(table.insert("format", bytes).unwrap()),
                None => drop(table.remove("format").unwrap()),
            }
        }
        writing.commit().unwrap();
    };
    change(Some(&3u32.to_be_bytes()));
    drop(database);
    assert!(matches!(
        problem(&path, &cluster),
        GuardError::NewerFormat {
            found: 3,
            known: 2,
            ..
        }
    ));
    for bytes in [None, Some(&[0u8, 0, 0, 0][..]), Some(&[1u8][..])] {
        let database = Database::open(&path).unwrap();
        let writing = database.begin_write().unwrap();
        {
            let mut table = writing.open_table(META).unwrap();
            match bytes {
                Some(bytes) => drop(table.insert("format", bytes).unwrap()),
                None => drop(table.remove("format").unwrap()),
            }
        }
        writing.commit().unwrap();
        drop(database);
        assert!(matches!(problem(&path, &cluster), GuardError::Damaged { .. }));
    }
    let foreign = dir.path().join("foreign");
    drop(Database::create(&foreign).unwrap());
    assert!(matches!(problem(&foreign, &cluster), GuardError::Damaged { .. }));
}

#[test]
fn damage_is_refused_and_the_file_stays_as_it_is() {
    let (dir, path, cluster) = made(1);
    let good = std::fs::read(&path).unwrap();
    let cases: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("text", b"not a database".to_vec()),
        ("zeros", vec![0; good.len()]),
        ("half", good[..good.len() / 2].to_vec()),
        ("longer", [good.clone(), vec![0; 17]].concat()),
    ];
    for (name, bytes) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let error = problem(&path, &cluster);
        assert!(matches!(error, GuardError::Damaged { .. }), "{name}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}");
    }
    assert!(matches!(
        problem(dir.path(), &cluster),
        GuardError::Damaged { .. }
    ));
}

#[test]
fn there_is_one_holder() {
    let (_dir, path, cluster) = made(1);
    let first = in_file(&path, &cluster);
    assert!(matches!(problem(&path, &cluster), GuardError::InUse(_)));
    assert!(may(&first, block(1)));
    drop(first);
    let second = in_file(&path, &cluster);
    assert!(!may(&second, block(1)));
}

#[test]
fn who_is_gone_in_a_moment_is_in_nobodys_way() {
    let (_dir, path, cluster) = made(1);
    let first = in_file(&path, &cluster);
    let going = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(60));
        drop(first);
    });
    in_file(&path, &cluster);
    going.join().unwrap();
}

#[test]
fn many_openers_and_one_that_gets_it() {
    let (_dir, path, cluster) = made(1);
    let barrier = std::sync::Barrier::new(8);
    let winners: usize = std::thread::scope(|scope| {
        let (path, cluster, barrier) = (&path, &cluster, &barrier);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let guard = Guard::open(path, cluster.clone());
                    // Held until everybody has tried.
                    barrier.wait();
                    match guard {
                        Ok(_) => 1,
                        Err(GuardError::InUse(_)) => 0,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(winners, 1);
}

#[test]
fn threads_that_ask_for_the_same_get_it_once() {
    let (_dir, path, cluster) = made(1);
    let guard = in_file(&path, &cluster);
    for slot in 0..5 {
        let permits: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| usize::from(may(&guard, block(slot)))))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(permits, 1);
    }
}

#[test]
fn a_file_that_is_replaced_or_removed_stops_everything() {
    let (dir, path, cluster) = made(1);
    let guard = in_file(&path, &cluster);
    assert!(may(&guard, block(1)));
    let aside = dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    assert!(matches!(
        ask(&guard, block(2), &[0]),
        Err(GuardError::Replaced(_))
    ));
    create(&path, &cluster);
    assert!(matches!(
        ask(&guard, block(2), &[0]),
        Err(GuardError::Replaced(_))
    ));
    assert!(matches!(guard.highest(), Err(GuardError::Replaced(_))));
    // The right one is back.
    std::fs::rename(&aside, &path).unwrap();
    assert!(may(&guard, block(2)));
}

#[test]
fn an_older_copy_knows_less_until_it_is_raised() {
    let (dir, path, cluster) = made(2);
    let guard = in_file(&path, &cluster);
    assert!(may(&guard, attestation(1, 2)));
    drop(guard);
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    let guard = in_file(&path, &cluster);
    assert!(ask(&guard, attestation(2, 5), &[0, 1]).unwrap().permit.is_some());
    assert!(may(&guard, block(160)));
    let shown = guard.highest().unwrap();
    drop(guard);
    std::fs::rename(&copy, &path).unwrap();
    let guard = in_file(&path, &cluster);
    assert_ne!(guard.highest().unwrap(), shown);
    // What a peer holds of us comes before anything is signed.
    assert_eq!(guard.raise(shown).unwrap().keys, 2);
    assert!(!may(&guard, attestation(2, 5)) && !may(&guard, attestation(1, 4)) && !may(&guard, block(160)));
    assert!(!may(&guard, attestation(1, 6)));
    assert!(may(&guard, attestation(2, 6)) && may(&guard, block(161)));
}

#[test]
fn loose_modes_are_tightened() {
    let (_dir, path, cluster) = made(1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Guard::open(&path, cluster).unwrap());
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn it_does_not_grow() {
    no_growth_over(600);
}

/// On a disk in memory, for it writes 200,000 times:
/// `TMPDIR=/dev/shm cargo test --release -p conclave-slashing -- --ignored`
#[test]
#[ignore = "minutes; some hundred duties are in the test above"]
fn it_does_not_grow_over_100_000_duties() {
    no_growth_over(100_000);
}

fn no_growth_over(duties: u64) {
    let (_dir, path, cluster) = made(100);
    let guard = in_file(&path, &cluster);
    let validators: Vec<u32> = (0..100).collect();
    let size = || std::fs::metadata(&path).unwrap().len();
    let mut largest_early = 0;
    for duty in 1..=duties {
        assert!(
            ask(&guard, attestation(duty - 1, duty), &validators)
                .unwrap()
                .permit
                .is_some()
        );
        let memory = Memory {
            operator: u16::try_from(duty % 3).unwrap() + 3,
            message: block(duty),
            proof: vec![1; 180],
        };
        assert_eq!(guard.remember(&[memory]).unwrap(), 1);
        if duty == 100 {
            largest_early = size();
        }
    }
    assert!(size() <= largest_early, "{} {largest_early}", size());
    assert!(size() < 4 * 1024 * 1024, "{}", size());
}

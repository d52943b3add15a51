//! Power cuts, failing and full disks, flipped bits: between check, commit and send.

use std::io;
use std::sync::{Arc, Mutex};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use redb::StorageBackend;

use super::super::interchange::Horizon;
use super::*;

/// Something that was done to the file and is not on the platter yet.
#[derive(Clone, Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug)]
struct Inner {
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What the program sees.
    current: Vec<u8>,
    /// What a power cut may or may not leave.
    pending: Vec<Pending>,
    /// Changes and syncs until the first one fails.
    left: usize,
    /// How many fail then, and how.
    failures: usize,
    kind: io::ErrorKind,
    done: usize,
}

/// A disk with a volatile cache, on which the operations after the k-th one fail.
#[derive(Clone, Debug)]
struct Platter(Arc<Mutex<Inner>>);

impl Platter {
    fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            durable: bytes.clone(),
            current: bytes,
            pending: Vec::new(),
            left: usize::MAX,
            failures: 0,
            kind: io::ErrorKind::Other,
            done: 0,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail_after(&self, left: usize, failures: usize, kind: io::ErrorKind) {
        let mut inner = self.inner();
        (inner.left, inner.failures, inner.kind, inner.done) = (left, failures, kind, 0);
    }

    fn operation(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        inner.done += 1;
        if inner.left > 0 {
            inner.left -= 1;
            return Ok(inner);
        }
        if inner.failures > 0 {
            inner.failures -= 1;
            return Err(io::Error::new(inner.kind, "simulated"));
        }
        Ok(inner)
    }

    /// What may be on the disk after a power cut: of the changes since the last sync any, whole or torn.
    fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let inner = self.inner();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = inner.durable.clone();
        for change in &inner.pending {
            let fate = match seed {
                0 => 0,
                1 => 2,
                _ => random.next_u32() % 4,
            };
            let (fate, torn) = if fate == 1 { (2, true) } else { (fate, false) };
            match change {
                _ if fate == 0 => {}
                Pending::Length(length) => bytes.resize(*length, 0),
                Pending::Write(at, data) => {
                    let length = if torn { data.len() / 2 } else { data.len() };
                    if bytes.len() < at + length {
                        bytes.resize(at + length, 0);
                    }
                    bytes[*at..at + length].copy_from_slice(&data[..length]);
                }
            }
        }
        bytes
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.inner().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let at = usize::try_from(offset).unwrap();
        let inner = self.inner();
        let part = inner.current.get(at..at + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let length = usize::try_from(len).unwrap();
        let mut inner = self.operation()?;
        inner.current.resize(length, 0);
        inner.pending.push(Pending::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut inner = self.operation()?;
        inner.durable = inner.current.clone();
        inner.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let at = usize::try_from(offset).unwrap();
        let mut inner = self.operation()?;
        inner.current[at..at + data.len()].copy_from_slice(data);
        inner.pending.push(Pending::Write(at, data.to_vec()));
        Ok(())
    }
}

fn on(platter: &Platter, cluster: &Cluster) -> Result<Guard, GuardError> {
    let platter = platter.clone();
    let open: Open =
        Box::new(move |cluster| Store::open_backend(platter.clone(), cluster, Path::new("memory")));
    let guard = Guard::open_by(Path::new("platter"), cluster.clone(), open)?;
    guard.begin(ALWAYS);
    Ok(guard)
}

const VALIDATORS: [u32; 3] = [0, 1, 2];

fn signed_before() -> Message {
    attestation(1, 2)
}

fn duties() -> [Message; 3] {
    [attestation(2, 3), block(97), attestation(3, 4)]
}

/// A database that has signed something and whose process was killed right after.
fn killed(cluster: &Cluster) -> Vec<u8> {
    let platter = Platter::of(new_database(cluster, Some(Mark::New)).unwrap());
    let guard = on(&platter, cluster).unwrap();
    assert!(
        ask(&guard, attestation(0, 1), &VALIDATORS)
            .unwrap()
            .permit
            .is_some()
    );
    assert!(
        ask(&guard, signed_before(), &VALIDATORS)
            .unwrap()
            .permit
            .is_some()
    );
    // What is done from here on does not reach the disk.
    platter.after_power_cut(0)
}

/// A database that has signed something already.
fn used(cluster: &Cluster) -> Vec<u8> {
    let platter = Platter::of(new_database(cluster, Some(Mark::New)).unwrap());
    let guard = on(&platter, cluster).unwrap();
    assert!(
        ask(&guard, signed_before(), &VALIDATORS)
            .unwrap()
            .permit
            .is_some()
    );
    drop(guard);
    platter.after_power_cut(1)
}

#[track_caller]
fn refuses(guard: &Guard, message: Message, context: &str) {
    for validator in VALIDATORS {
        let answer = ask(guard, message, &[validator]).unwrap();
        assert_eq!(
            answer.permit, None,
            "{message:?} of validator {validator} again: {context}"
        );
    }
}

#[test]
fn after_a_power_cut_at_any_moment_nothing_that_left_can_be_signed_again() {
    let cluster = cluster(3);
    let bytes = used(&cluster);
    let mut cuts = 0;
    for k in 0.. {
        let platter = Platter::of(bytes.clone());
        let guard = on(&platter, &cluster).unwrap();
        platter.fail_after(k, usize::MAX, io::ErrorKind::Other);
        let left: Vec<Message> = duties()
            .into_iter()
            .filter(|duty| ask(&guard, *duty, &VALIDATORS).is_ok_and(|answer| answer.permit.is_some()))
            .collect();
        for seed in 0..8 {
            let context = format!("cut at {k}, seed {seed}");
            let after = Platter::of(platter.after_power_cut(seed));
            let guard = on(&after, &cluster).unwrap_or_else(|error| panic!("{context}: {error}"));
            refuses(&guard, signed_before(), &context);
            for message in &left {
                refuses(&guard, *message, &context);
            }
            // And it goes on.
            assert!(
                ask(&guard, attestation(4, 5), &VALIDATORS)
                    .unwrap()
                    .permit
                    .is_some()
            );
        }
        if left.len() == duties().len() {
            assert_eq!(cuts, k);
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts}");
}

#[test]
fn a_disk_that_fails_or_is_full_for_a_while_costs_duties_only() {
    let cluster = cluster(3);
    let bytes = used(&cluster);
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for failures in [1, 4] {
            for k in 0.. {
                let platter = Platter::of(bytes.clone());
                let guard = on(&platter, &cluster).unwrap();
                platter.fail_after(k, failures, kind);
                let mut failed = 0;
                for duty in duties() {
                    let mut permits = 0;
                    for _ in 0..3 {
                        match ask(&guard, duty, &VALIDATORS) {
                            Ok(answer) => permits += usize::from(answer.permit.is_some()),
                            Err(GuardError::Disk { .. }) => failed += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    assert!(
                        permits <= 1,
                        "{duty:?} was permitted {permits} times, failing at {k}"
                    );
                }
                // When there is room again it goes on by itself.
                for _ in 0..5 {
                    let _ = ask(&guard, attestation(4, 5), &VALIDATORS);
                }
                assert!(
                    ask(&guard, attestation(5, 6), &VALIDATORS)
                        .unwrap()
                        .permit
                        .is_some()
                );
                if failed == 0 {
                    assert!(k > 10);
                    break;
                }
            }
        }
    }
}

#[test]
fn a_raise_and_an_import_are_whole_or_nothing() {
    let cluster = cluster(3);
    let bytes = used(&cluster);
    let to = Record {
        block: Some(500),
        attested: Some(Attested { source: 8, target: 9 }),
    };
    for k in 0.. {
        let platter = Platter::of(bytes.clone());
        let guard = on(&platter, &cluster).unwrap();
        platter.fail_after(k, usize::MAX, io::ErrorKind::Other);
        let done = guard.raise(to).is_ok();
        for seed in 0..6 {
            let after = on(&Platter::of(platter.after_power_cut(seed)), &cluster).unwrap();
            let records: Vec<Record> = VALIDATORS.iter().map(|v| after.record(*v).unwrap()).collect();
            let raised = records.iter().filter(|record| **record == to).count();
            assert!(raised == 3 || (raised == 0 && !done), "{k} {seed} {records:?}");
        }
        if done {
            break;
        }
    }
}

/// Everything that a database knows.
type State = (Vec<Record>, Progress, Option<Mark>, Vec<Memory>, Option<Hash>);

fn state(guard: &Guard) -> State {
    (
        VALIDATORS.iter().map(|v| guard.record(*v).unwrap()).collect(),
        guard.progress().unwrap(),
        guard.mark().unwrap(),
        guard.memories().unwrap(),
        guard.genesis_validators_root().unwrap(),
    )
}

type Change = fn(&Guard) -> Result<(), GuardError>;

/// Whatever else is written while a node runs, or before.
const CHANGES: [(&str, Change); 6] = [
    ("remember", |guard| {
        let memory = |operator, message| Memory {
            operator,
            message,
            proof: vec![7; 121],
        };
        let memories = [
            memory(3, block(9)),
            memory(3, attestation(4, 5)),
            memory(4, block(8)),
        ];
        guard.remember(&memories).map(drop)
    }),
    ("catch up", |guard| {
        let attestation = Some(Newest {
            target: 9,
            source: 8,
            slot: 290,
        });
        let block = Some(500);
        guard.catch_up(Progress { block, attestation }).map(drop)
    }),
    ("pin", |guard| guard.pin_genesis_validators_root(&[9; 32])),
    ("mark", |guard| guard.mark_moved()),
    ("unmark", |guard| guard.clear_mark(Mark::New).map(drop)),
    ("import", |guard| {
        let text = format!(
            r#"{{"metadata": {{"interchange_format_version": 5, "genesis_validators_root": "{}"}}, "data": [
                {{"pubkey": "{}", "signed_blocks": [{{"slot": 700}}], "signed_attestations": []}}]}}"#,
            hex::encode([3; 32]),
            hex::encode(key(0xd1, 1)),
        );
        let file = Interchange::parse(text.as_bytes(), Horizon::NONE).unwrap();
        guard.import(&file, Future::Refuse).map(drop)
    }),
];

/// A database that has signed something, as each of the changes needs it.
fn before(cluster: &Cluster, change: &str) -> Vec<u8> {
    let bytes = if change == "unmark" {
        new_database(cluster, Some(Mark::New)).unwrap()
    } else {
        used(cluster)
    };
    let platter = Platter::of(bytes);
    if change == "import" {
        on(&platter, cluster)
            .unwrap()
            .pin_genesis_validators_root(&[3; 32])
            .unwrap();
    }
    platter.after_power_cut(1)
}

#[test]
fn every_other_change_is_made_as_a_whole_or_not_at_all() {
    let cluster = cluster(3);
    for (name, change) in CHANGES {
        let bytes = before(&cluster, name);
        let well = on(&Platter::of(bytes.clone()), &cluster).unwrap();
        let old = state(&well);
        change(&well).unwrap();
        let new = state(&well);
        assert_ne!(old, new, "{name}");
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            for k in 0.. {
                let platter = Platter::of(bytes.clone());
                let guard = on(&platter, &cluster).unwrap();
                // The machine stops there...
                platter.fail_after(k, usize::MAX, kind);
                let done = change(&guard).is_ok();
                for seed in 0..6 {
                    let after = on(&Platter::of(platter.after_power_cut(seed)), &cluster);
                    let after = after.unwrap_or_else(|error| panic!("{name} {k} {seed}: {error}"));
                    let found = state(&after);
                    assert!(
                        found == new || (found == old && !done),
                        "{name} {k} {seed}: {found:?}"
                    );
                }
                // ... or the disk has room again, and the same process tries again.
                let platter = Platter::of(bytes.clone());
                let guard = on(&platter, &cluster).unwrap();
                platter.fail_after(k, 1, kind);
                let tries = (0..5).find(|_| change(&guard).is_ok());
                assert!(tries.is_some(), "{name} {k}");
                assert_eq!(state(&guard), new, "{name} {k}");
                if done {
                    assert!(k > 3, "{name} {k}");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let cluster = cluster(3);
    for bytes in [used(&cluster), killed(&cluster)] {
        flip_bits(&cluster, &bytes);
    }
}

fn flip_bits(cluster: &Cluster, bytes: &[u8]) {
    let silent = std::panic::take_hook();
    // The library asserts what it finds; that is one of the ways of noticing.
    std::panic::set_hook(Box::new(|_| {}));
    let mut noticed = 0;
    let mut forgotten = Vec::new();
    let positions = (0..512).chain((512..bytes.len()).step_by(509));
    for position in positions {
        let mut changed = bytes.to_vec();
        changed[position] ^= 1 << (position % 8);
        match on(&Platter::of(changed), cluster) {
            Ok(guard) => {
                let same = VALIDATORS.iter().all(|v| {
                    guard
                        .record(*v)
                        .is_ok_and(|record| record == Record::from(signed_before()))
                });
                if !same {
                    forgotten.push(position);
                }
            }
            Err(GuardError::Damaged { .. }) => noticed += 1,
            Err(error) => {
                std::panic::set_hook(silent);
                panic!("{position}: {error}");
            }
        }
    }
    std::panic::set_hook(silent);
    assert_eq!(forgotten, [0usize; 0]);
    assert!(noticed > 50, "{noticed}");
}

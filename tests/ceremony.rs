//! Ceremonies as operators live them: real processes that talk over the loopback interface, leave, crash and come back.

mod group;

use std::fs;
use std::time::{Duration, Instant};

use group::{End, Group, Process, all_good, has_step};
use rand::{RngExt, SeedableRng, rngs::StdRng};

#[test]
fn four_operators_all_at_once() {
    let group = Group::new(4, 3, 2);
    all_good(group.join_all());
    group.assert_finished();
    // Again: nothing to do, nothing changes.
    let before: Vec<_> = (0..4).map(|i| group.contents(i)).collect();
    all_good(group.join_all());
    for (i, before) in before.iter().enumerate() {
        assert!(group.contents(i) == *before, "operator {i}");
    }
    let end = group.join(2, &[]).end();
    end.is_good();
    assert!(group.contents(2) == before[2]);
}

#[test]
fn one_reachable_operator_is_enough() {
    let mut group = Group::new(4, 3, 1);
    // Over IPv6, where there is any.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        group.host = "/ip6/::1";
    }
    // The one that everybody knows comes last.
    let mut processes: Vec<Process> = (1..4).map(|i| group.join(i, &[0])).collect();
    processes.push(group.join(0, &[]));
    all_good(processes);
    group.assert_finished();
}

#[test]
fn the_one_whom_everybody_knows_may_leave_early() {
    let group = Group::new(4, 3, 1);
    let mut first = group.join(0, &[]);
    let mut others: Vec<Process> = (1..4).map(|i| group.join(i, &[0])).collect();
    for other in &mut others {
        for j in 1..4 {
            other.until_step(j, "joined");
        }
    }
    first.until_listening();
    first.terminate();
    let end = first.end();
    assert!(matches!(end.code, Some(130 | 0)), "{}", end.error());
    let again = group.join(0, &[]);
    others.push(again);
    all_good(others);
    group.assert_finished();
}

#[test]
fn friends_in_different_time_zones() {
    let group = Group::new(3, 2, 1);
    // Only two are ever there at a time; whoever stays carries what the one before wrote.
    let known = [0, 1, 2];
    let deadline = Instant::now() + group::PATIENCE;
    let mut turn = 0;
    let mut staying = group.join(0, &known);
    staying.until_listening();
    let mut done = [false; 3];
    while !done.iter().all(|done| *done) {
        assert!(Instant::now() < deadline, "it goes round and round: {done:?}");
        let (old, new) = (turn % 3, (turn + 1) % 3);
        let mut coming = group.join(new, &known);
        coming.until_connected(old);
        // Until they have nothing more to say to each other.
        let mut quiet = Instant::now();
        let mut sizes = (0, 0);
        while quiet.elapsed() < Duration::from_millis(700) {
            std::thread::sleep(Duration::from_millis(50));
            let size = |i: usize| fs::metadata(group.folder(i).join("ceremony/journal")).map_or(0, |m| m.len());
            if sizes != (size(old), size(new)) {
                sizes = (size(old), size(new));
                quiet = Instant::now();
            }
        }
        staying.terminate();
        let end = staying.end();
        assert!(matches!(end.code, Some(130 | 0)), "{}", end.error());
        assert!(end.of("fault").is_empty());
        done[old] = end.code == Some(0);
        staying = coming;
        turn += 1;
    }
    staying.terminate();
    staying.end();
    // The last confirmations.
    all_good(group.join_all());
    group.assert_finished();
}

/// Kills at random moments until everybody has finished, then checks.
fn ceremony_with_kills(seed: u64, group: &Group) {
    let mut random = StdRng::seed_from_u64(seed);
    let n = group.n();
    let all: Vec<usize> = (0..n).collect();
    let mut processes: Vec<Option<Process>> = all.iter().map(|i| Some(group.join(*i, &all))).collect();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(random.random_range(30..900)));
        // One, several or all.
        let victims: Vec<usize> = match random.random_range(0..3) {
            0 => vec![random.random_range(0..n)],
            1 => all.iter().copied().filter(|_| random.random_bool(0.5)).collect(),
            _ => all.clone(),
        };
        for i in &victims {
            processes[*i].take().unwrap().kill();
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
        for i in victims {
            processes[i] = Some(group.join(i, &all));
        }
    }
    let ends: Vec<End> = processes.into_iter().flatten().map(Process::end).collect();
    for (i, end) in ends.iter().enumerate() {
        assert_eq!(end.code, Some(0), "seed {seed}, operator {i}: {}", end.error());
        assert!(end.of("fault").is_empty(), "seed {seed}, operator {i}: {:?}", end.of("fault"));
    }
    group.assert_finished();
}

#[test]
fn killed_at_any_moment() {
    for seed in [1, 2] {
        ceremony_with_kills(seed, &Group::new(3, 2, 2));
    }
}

#[test]
fn killed_again_at_any_moment() {
    ceremony_with_kills(3, &Group::new(4, 3, 1));
    ceremony_with_kills(4, &Group::new(2, 2, 20));
}

#[test]
fn killed_while_the_results_get_their_names() {
    let group = Group::new(2, 2, 30);
    let mut processes: Vec<Option<Process>> = group.join_all().into_iter().map(Some).collect();
    let mut kills = 0;
    let deadline = Instant::now() + group::PATIENCE;
    while kills < 4 && Instant::now() < deadline {
        for i in 0..2 {
            let folder = group.folder(i);
            let names = fs::read_dir(folder.join("validator_keys")).map_or(0, Iterator::count);
            if names > 0 && !folder.join("cluster-lock.json").exists() {
                if let Some(process) = processes[i].take() {
                    process.kill();
                    kills += 1;
                }
                assert!(!group.folder(i).join("validator_keys/keystore-30.json").exists());
            }
        }
        for i in 0..2 {
            if processes[i].as_mut().is_none_or(Process::has_ended) && kills < 4 {
                if group.folder(i).join("cluster-lock.json").exists() && kills > 0 {
                    kills = 4;
                }
                processes[i].get_or_insert_with(|| group.join(i, &[0, 1]));
            }
        }
        if processes.iter_mut().flatten().all(Process::has_ended) {
            break;
        }
    }
    for (i, process) in processes.iter_mut().enumerate() {
        if process.is_none() {
            *process = Some(group.join(i, &[0, 1]));
        }
    }
    all_good(processes.into_iter().flatten().collect());
    group.assert_finished();
}

#[test]
fn a_lost_folder_is_healed_by_another_attempt() {
    let mut group = Group::new(3, 2, 1);
    // Carol is missing, so nobody can be done; then bob loses everything but his identity.
    let mut ann = group.join(0, &[1]);
    let mut bob = group.join(1, &[0]);
    ann.until_step(1, "joined");
    bob.until_step(0, "joined");
    ann.kill();
    bob.kill();
    let identity = fs::read(group.folder(1).join("charon-enr-private-key")).unwrap();
    fs::remove_dir_all(group.folder(1).join("ceremony")).unwrap();
    fs::remove_file(group.folder(1).join("cluster-definition.json")).unwrap();
    group.more = vec!["--retries".into(), "1".into()];
    let ends: Vec<End> = group.join_all().into_iter().map(Process::end).collect();
    for end in &ends {
        assert_eq!(end.code, Some(0), "{}", end.error());
        // Whatever is shown, nobody is called guilty.
        assert!(end.of("fault").iter().all(|fault| fault["kind"] == "Restarted"), "{:?}", end.of("fault"));
    }
    assert!(
        ends.iter().any(|end| end.of("progress").iter().any(|event| event["attempt"] == 2)),
        "there was a second attempt"
    );
    assert_eq!(fs::read(group.folder(1).join("charon-enr-private-key")).unwrap(), identity);
    group.assert_finished();
}

#[test]
fn who_comes_late_gets_everything_from_any_one() {
    let group = Group::new(3, 2, 1);
    let mut processes = group.join_all();
    // Everybody has signed; then carol is away until the others have finished.
    processes[2].until("a signature of everybody", |event| (0..3).all(|j| has_step(event, j, "signed")));
    processes.pop().unwrap().kill();
    processes[0].until_step(0, "signed");
    processes[1].until_step(1, "signed");
    let bob = processes.pop().unwrap();
    let ann = processes.pop().unwrap();
    bob.terminate();
    let end = bob.end();
    assert!(matches!(end.code, Some(130 | 0)), "{}", end.error());
    // Only ann and carol now.
    let carol = group.join(2, &[0]);
    let bob = group.join(1, &[2]);
    all_good(vec![ann, carol, bob]);
    group.assert_finished();
}

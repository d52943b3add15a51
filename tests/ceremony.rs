//! Ceremonies as operators live them: real processes that talk over the loopback interface, leave, crash and come back.

mod group;
mod machine;
#[path = "group/strangers.rs"]
mod strangers;

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use conclave_ceremony::wire::{Ceremony, FrameLimits, Hello, Item, Message, PROTOCOL};
use conclave_ceremony::{product, records};
use conclave_cluster::definition::Definition;
use conclave_cluster::lock::Lock;
use conclave_dkg::board::{Board, Slot};
use conclave_dkg::body::Reason;
use conclave_dkg::entry::{Entry, Step};
use conclave_dkg::evidence::Evidence;
use conclave_dkg::operator::{Effect, Operator};
use conclave_dkg::secrets::Seed;
use conclave_eth::network::Network;
use conclave_net::events::Event;
use conclave_net::node::{self, Command};
use conclave_slashing::{Cluster, Guard, Mark};
use group::{Contents, End, Group, Process, all_good, conclave, ends, has_step, people};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use strangers::{Mode, Strangers, many_addresses, one_address};

#[test]
fn four_operators_all_at_once() {
    let group = Group::new(4, 3, 2);
    all_good(group.join_all());
    group.assert_finished();
    // Again: nothing to do, nothing changes.
    let before: Vec<_> = (0..4).map(|i| group.contents(i)).collect();
    all_good(group.join_all());
    for (i, before) in before.iter().enumerate() {
        assert_eq!(changed(before, &group.contents(i)), [""; 0], "operator {i}");
    }
    let end = group.join(2, &[]).end();
    end.is_good();
    assert_eq!(changed(&before[2], &group.contents(2)), [""; 0]);
    // As if the machine had stopped right before the seed was destroyed: any start destroys it, whoever is there.
    let attempt = group.folder(2).join("ceremony/attempt-1");
    fs::remove_file(attempt.join("seed-destroyed")).unwrap();
    fs::write(attempt.join("seed"), [7; 32]).unwrap();
    group.join(2, &[]).end().is_good();
    assert!(!attempt.join("seed").exists());
    assert_eq!(changed(&before[2], &group.contents(2)), [""; 0]);
    // What is finished needs no record of its keystores.
    fs::write(attempt.join("stored"), "damaged").unwrap();
    group.join(2, &[]).end().is_good();
}

/// The files that are not what they were.
fn changed(before: &Contents, now: &Contents) -> Vec<String> {
    let paths = before.keys().chain(now.keys());
    let other = paths.filter(|path| before.get(*path) != now.get(*path));
    other.map(|path| path.display().to_string()).collect()
}

#[test]
fn strangers_who_hold_the_door_do_not_hold_up_a_ceremony() {
    /// All know the first one's address, nobody that of another, as with machines behind routers. How long it takes, and
    /// how many connections strangers made.
    fn hold(from: &[std::net::Ipv4Addr]) -> (Duration, usize) {
        let group = Group::new(3, 2, 1);
        let mut first = group.join(0, &[]);
        first.until_listening();
        let count = if from.is_empty() { 0 } else { 600 };
        let strangers = Strangers::at(group.ports[0], count, from, Mode::Hold);
        let begun = Instant::now();
        let mut processes: Vec<Process> = (1..3).map(|i| group.join(i, &[0])).collect();
        for operator in 0..3 {
            first.until_step(operator, "done");
        }
        let took = begun.elapsed();
        processes.push(first);
        all_good(processes);
        group.assert_finished();
        (took, strangers.made())
    }
    // What a busy machine does to one of these it does not do to all three.
    let mut tries = Vec::new();
    loop {
        let (alone, _) = hold(&[]);
        let (took, made) = hold(&one_address());
        assert!(made >= 600);
        tries.push((alone, took));
        if took <= alone * 2 {
            break;
        }
        assert!(tries.len() < 3, "more than twice the time, each time: {tries:?}");
    }
    // From everywhere: it is held all the same.
    let (_, made) = hold(&many_addresses());
    assert!(made >= 600);
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
        // Until they have nothing more to say to each other.
        let mut quiet = Instant::now();
        let mut sizes = (0, 0);
        coming.until_listening();
        while quiet.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(20));
            let size =
                |i: usize| fs::metadata(group.folder(i).join("ceremony/journal")).map_or(0, |m| m.len());
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
    let ends = ends(processes.into_iter().flatten().collect());
    for (i, end) in ends.iter().enumerate() {
        assert_eq!(end.code, Some(0), "seed {seed}, operator {i}: {}", end.error());
        assert!(
            end.of("fault").is_empty(),
            "seed {seed}, operator {i}: {:?}",
            end.of("fault")
        );
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
        for (i, process) in processes.iter_mut().enumerate() {
            let folder = group.folder(i);
            let names = fs::read_dir(folder.join("validator_keys")).map_or(0, Iterator::count);
            if names > 0 && !folder.join("cluster-lock.json").exists() {
                if let Some(process) = process.take() {
                    process.kill();
                    kills += 1;
                }
                assert!(!group.folder(i).join("validator_keys/keystore-30.json").exists());
            }
        }
        for (i, process) in processes.iter_mut().enumerate() {
            if process.as_mut().is_none_or(Process::has_ended) && kills < 4 {
                if group.folder(i).join("cluster-lock.json").exists() && kills > 0 {
                    kills = 4;
                }
                process.get_or_insert_with(|| group.join(i, &[0, 1]));
            }
        }
        if processes.iter_mut().flatten().all(Process::has_ended) {
            break;
        }
        // Often enough to see files come, and not so often that nothing else can be done.
        std::thread::sleep(Duration::from_millis(1));
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
    let ends = ends(group.join_all());
    for end in &ends {
        assert_eq!(end.code, Some(0), "{}", end.error());
        // Whatever is shown, nobody is called guilty.
        assert!(
            end.of("fault").iter().all(|fault| fault["kind"] == "Restarted"),
            "{:?}",
            end.of("fault")
        );
    }
    assert!(
        ends.iter()
            .any(|end| end.of("progress").iter().any(|event| event["attempt"] == 2)),
        "there was a second attempt"
    );
    assert_eq!(
        fs::read(group.folder(1).join("charon-enr-private-key")).unwrap(),
        identity
    );
    group.assert_finished();
}

/// An attempt that can never be finished ends everybody's command where nobody can be asked, at every start, until all say so.
#[test]
fn an_attempt_that_is_over_ends_whoever_has_no_terminal() {
    let mut group = Group::new(3, 2, 1);
    // Bob joins twice with one identity, and neither copy hears of the other.
    let copy = group.dir.path().join("bob-copy");
    fs::create_dir(&copy).unwrap();
    group::copy(&group.folder(1), &copy);
    let (mut ann, mut bob) = (group.join(0, &[1]), group.join(1, &[0]));
    ann.until_step(1, "joined");
    bob.until_step(0, "joined");
    ann.kill();
    bob.kill();
    fs::remove_dir_all(group.folder(1)).unwrap();
    fs::rename(&copy, group.folder(1)).unwrap();
    let (mut carol, bob) = (group.join(2, &[1]), group.join(1, &[2]));
    carol.until_step(1, "joined");
    bob.kill();
    let over = ["attempt 1 cannot be finished", "with --attempt 2"];
    let twice = [
        &over[..],
        &[
            "bob started twice with the same identity",
            "make sure that bob runs only once",
        ],
    ]
    .concat();
    for end in ends(vec![carol, group.join(0, &[2])]) {
        end.refused(5, &twice);
        assert_eq!(end.of("fault")[0]["kind"], "Restarted");
    }
    // Alone, and again.
    group.join(0, &[]).end().refused(5, &twice);
    // One who says so alone tells the others, who still have to.
    group.more = vec!["--attempt".into(), "2".into()];
    let bob = group.join(1, &[0, 2]);
    group.more.clear();
    group.join(2, &[0, 1]).end().refused(5, &over);
    bob.kill();
    group.more = vec!["--attempt".into(), "2".into()];
    for end in ends(group.join_all()) {
        assert_eq!(end.code, Some(0), "{}", end.error());
    }
    group.assert_finished();
}

#[test]
fn whoever_lost_its_secrets_ends_the_attempt_of_all() {
    let mut group = Group::new(3, 2, 1);
    let (mut ann, bob) = (group.join(0, &[1]), group.join(1, &[0]));
    ann.until_step(1, "joined");
    bob.kill();
    fs::remove_file(group.folder(1).join("ceremony/attempt-1/seed")).unwrap();
    let over = ["attempt 1 cannot be finished", "with --attempt 2"];
    group.join(1, &[0]).end().refused(5, &over);
    group.more = vec!["--attempt".into(), "2".into()];
    let bob = group.join(1, &[0]);
    ann.end()
        .refused(5, &[&over[..], &["bob lost its folder of attempt 1"]].concat());
    bob.kill();
    for end in ends(group.join_all()) {
        assert_eq!(end.code, Some(0), "{}", end.error());
    }
    group.assert_finished();
}

/// The others have confirmed their shares, so that no other attempt begins for them without their word: who has begun it is told so.
#[test]
fn whoever_begins_another_attempt_alone_is_told_whom_to_ask() {
    let mut group = Group::new(3, 2, 1);
    let (mut ann, mut bob) = (group.join(0, &[1, 2]), group.join(1, &[0, 2]));
    ends_before_it_votes(&group, 2, &mut ann);
    for process in [&mut ann, &mut bob] {
        process.until_step(0, "stored");
        process.until_step(1, "stored");
    }
    fs::remove_file(group.folder(2).join("ceremony/attempt-1/seed")).unwrap();
    group.more = vec!["--retries".into(), "1".into()];
    let mut carol = group.join(2, &[0, 1]);
    for end in ends(vec![ann, bob]) {
        end.refused(
            5,
            &[
                "attempt 1 cannot be finished",
                "carol lost its folder of attempt 1",
                "You had confirmed your share",
                "with --attempt 2",
            ],
        );
        assert!(!end.error().contains("may still complete"), "{}", end.error());
    }
    carol.until("whom to ask", |event| {
        let status = event["status"].as_str().unwrap_or_default();
        status.contains("ask ann and bob to run the same command again with --attempt 2")
    });
    // And that is all that it takes.
    group.more = vec!["--attempt".into(), "2".into()];
    all_good(vec![carol, group.join(0, &[1, 2]), group.join(1, &[0, 2])]);
    group.assert_finished();
}

/// Starts `join` of an operator, who contributes, cannot store its keystores, and ends before it votes. The others know by then what it
/// contributed, as `other` shows.
fn ends_before_it_votes(group: &Group, i: usize, other: &mut Process) {
    let attempt = group.folder(i).join("ceremony/attempt-1");
    fs::create_dir_all(&attempt).unwrap();
    // In the place of the folder that they would be in.
    fs::write(attempt.join("keys"), "").unwrap();
    let all: Vec<usize> = (0..group.n()).collect();
    let end = group.join(i, &all).end();
    assert!(end.error().contains("attempt-1/keys"), "{}", end.error());
    other.until_step(i, "revealed");
    assert!(attempt.join("seed").exists() && !attempt.join("voted").exists());
    fs::remove_file(attempt.join("keys")).unwrap();
}

/// Everybody has confirmed its share but `late`, who comes when those of `away` have left: then there are all confirmations, and what is
/// missing are the signatures of those who are away.
fn confirmed_by_all(group: &Group, late: usize, away: &[usize]) -> Vec<Option<Process>> {
    let all: Vec<usize> = (0..group.n()).collect();
    let start = |i: usize| (i != late).then(|| group.join(i, &all));
    let mut processes: Vec<Option<Process>> = all.iter().map(|i| start(*i)).collect();
    ends_before_it_votes(group, late, processes[0].as_mut().unwrap());
    for i in all.iter().filter(|i| **i != late) {
        processes[0].as_mut().unwrap().until_step(*i, "stored");
        processes[*i].as_mut().unwrap().until_step(*i, "stored");
    }
    for i in away {
        processes[*i].take().unwrap().kill();
    }
    processes[late] = Some(group.join(late, &all));
    for i in all.iter().filter(|i| !away.contains(i)) {
        for j in all.iter().filter(|j| !away.contains(j)) {
            processes[*i].as_mut().unwrap().until_step(*j, "signed");
        }
    }
    processes
}

/// Puts what is in an operator's folder aside as its backup, and leaves the identity alone.
fn lose(group: &Group, i: usize) -> std::path::PathBuf {
    let backup = group.dir.path().join("backup");
    fs::rename(group.folder(i), &backup).unwrap();
    fs::create_dir(group.folder(i)).unwrap();
    fs::copy(
        backup.join("charon-enr-private-key"),
        group.folder(i).join("charon-enr-private-key"),
    )
    .unwrap();
    backup
}

fn bring_back(group: &Group, i: usize, backup: &Path) {
    fs::remove_dir_all(group.folder(i)).unwrap();
    fs::rename(backup, group.folder(i)).unwrap();
}

const BOB_LOST: &str = "bob (operator 2) says that its share of attempt 1 is lost";

#[test]
fn a_share_that_is_lost_ends_everybody_until_a_backup_is_brought_back() {
    let group = Group::new(3, 2, 1);
    let mut processes = confirmed_by_all(&group, 2, &[1]);
    let backup = lose(&group, 1);
    let started = Instant::now();
    group.join(1, &[0, 2]).end().refused(
        5,
        &[
            "your share of attempt 1 is lost",
            "have been told",
            "a copy of it",
            "cluster-lock.json",
        ],
    );
    // Not at once: another process could have shown that it has the share.
    assert!(started.elapsed() > Duration::from_secs(8));
    for end in ends(processes.drain(..).flatten().collect()) {
        end.refused(
            5,
            &[
                BOB_LOST,
                "ask bob for its folder or a copy of it",
                "cluster-lock.json",
            ],
        );
    }
    // What they keep of it ends nobody who starts again, nor whoever hears it from them while bob is there.
    let mut ann = group.join(0, &[1, 2]);
    ann.until_notice(BOB_LOST);
    assert_eq!(
        ann.count_ends_for(Duration::from_secs(11)),
        0,
        "{:?}",
        ann.last("progress")
    );
    // Once bob has come again, without it, and left again, nobody is waited for any more.
    group
        .join(1, &[0, 2])
        .end()
        .refused(5, &["your share of attempt 1 is lost"]);
    ann.end().refused(5, &[BOB_LOST]);
    let ann = group.join(0, &[1, 2]);
    bring_back(&group, 1, &backup);
    let mut bob = group.join(1, &[0, 2]);
    bob.until_notice("that your share of attempt 1 is lost, but it is here");
    all_good(vec![ann, bob, group.join(2, &[0, 1])]);
    group.assert_finished();
}

/// The disk dies on the evening of the ceremony, before there is a backup: all that was copied is the identity, as the guide says.
#[test]
fn a_share_that_is_lost_after_the_end_is_said_to_be_lost_where_there_is_no_backup() {
    for (threshold, worth) in [
        (2, "work with any 2 of the other 2 operators"),
        (3, "can never sign, as all operators are needed"),
    ] {
        let group = Group::new(3, threshold, 1);
        let mut processes = group.join_all();
        // Carol cannot publish, so that the others go on waiting for her.
        let mut carol = processes.pop().unwrap();
        carol.until_step(2, "joined");
        fs::write(group.folder(2).join("deposit-data.json"), "in the way").unwrap();
        carol.end().refused(7, &["deposit-data.json is in the way"]);
        all_good(processes);
        lose(&group, 1);
        let ann = group.join(0, &[1]);
        let bob = group.join(1, &[0]).end();
        ann.end().is_good();
        let words = [
            "import your backup",
            "your share is lost: tell the others",
            worth,
            "make no deposits",
        ];
        bob.refused(5, &words);
    }
}

#[test]
fn a_backup_that_is_brought_back_while_the_others_wait_finishes_the_ceremony() {
    let group = Group::new(3, 2, 1);
    let mut processes = confirmed_by_all(&group, 2, &[1]);
    // Before anybody was told.
    let backup = lose(&group, 1);
    let mut bob = group.join(1, &[0, 2]);
    bob.until_step(1, "stored");
    bob.kill();
    // And after it: they wait for a while, whether the folder comes.
    group
        .join(1, &[0, 2])
        .end()
        .refused(5, &["your share of attempt 1 is lost"]);
    bring_back(&group, 1, &backup);
    processes[1] = Some(group.join(1, &[0, 2]));
    all_good(processes.into_iter().flatten().collect());
    group.assert_finished();
    // Whoever has joined in an earlier start, as bob and carol have, cannot know whether the folder is an old copy, though this one has signed and
    // sealed. Ann has done all of it in one.
    let marks: Vec<Option<Mark>> = (1..=3)
        .map(|i| mark_of(&group.folder(usize::from(i) - 1), i))
        .collect();
    let late = Some(Mark::LatePublication);
    assert_eq!(marks, [None, late, late]);
}

#[test]
fn a_copied_identity_in_an_empty_folder_ends_nobody_but_itself() {
    let group = Group::new(4, 3, 1);
    let mut processes = confirmed_by_all(&group, 2, &[3]);
    let copy = group.dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let key = "charon-enr-private-key";
    fs::copy(group.folder(1).join(key), copy.join(key)).unwrap();
    let mut command = conclave();
    command
        .args(["--json", "--data-dir"])
        .arg(&copy)
        .args(["join", "--yes"])
        .arg(group.file());
    command.args(["--listen", &format!("/ip4/127.0.0.1/tcp/{}", group::free_port())]);
    for peer in [0, 2] {
        command.args(["--peer", &group.address(peer)]);
    }
    Process::start(command).end().refused(
        5,
        &[
            "lacks the share of attempt 1",
            "another process with your identity may have",
            "go on with the folder that it uses",
        ],
    );
    for process in processes.iter_mut().flatten() {
        assert_eq!(process.count_ends_for(Duration::from_secs(3)), 0);
        assert!(!process.words(Duration::ZERO).contains("is lost"));
    }
    processes[3] = Some(group.join(3, &[0, 1, 2]));
    all_good(processes.into_iter().flatten().collect());
    group.assert_finished();
}

#[test]
fn who_comes_late_gets_everything_from_any_one() {
    let group = Group::new(3, 2, 1);
    let mut processes = group.join_all();
    // Everybody has signed; then carol is away until the others have finished.
    processes[2].until("a signature of everybody", |event| {
        (0..3).all(|j| has_step(event, j, "signed"))
    });
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

#[test]
fn whoever_waits_can_be_told_how_long() {
    let group = Group::new(3, 2, 1);
    let mut command = group.command(0, &[]);
    command.args(["--wait", "1"]);
    let mut first = Process::start(command);
    // Meanwhile the folder is in use, and the port is taken.
    first.until_listening();
    group.join(0, &[]).end().refused(7, &["in use"]);
    let mut command = group.command(1, &[]);
    command.args(["--listen", &format!("/ip4/127.0.0.1/tcp/{}", group.ports[0])]);
    Process::start(command)
        .end()
        .refused(1, &["/ip4/127.0.0.1/tcp", "--listen"]);
    // Nothing was begun, so that another definition could still be joined there.
    assert!(!group.folder(1).join("cluster-definition.json").exists());
    assert!(!group.folder(1).join("ceremony/definition-hash").exists());
    first.end().refused(
        4,
        &[
            "not finished in the time given",
            "connection",
            "same command again",
        ],
    );

    let mut command = group.command(1, &[]);
    command.args(["--announce", "/ip4/127.0.0.1"]);
    Process::start(command)
        .end()
        .refused(2, &["/ip4/127.0.0.1", "--announce", "it has no port"]);
    // Everywhere on this machine, and at a router's address: one list of all of it.
    let mut command = group.command(1, &[]);
    command.args(["--announce", "/dns4/bob.example.org/tcp/9510"]);
    command.args(["--listen", &format!("/ip4/0.0.0.0/tcp/{}", group::free_port())]);
    let mut second = Process::start(command);
    second.until_listening();
    let list = second.last("listening")["addresses"].to_string();
    assert!(
        list.contains("/dns4/bob.example.org/tcp/9510/p2p/16Uiu2"),
        "{list}"
    );
    assert!(list.contains("/ip4/127.0.0.1/tcp/"), "{list}");
    second.until("prepared keys", |event| {
        event["keys_ready"] == serde_json::json!([1, 1])
    });
    assert_eq!(second.count("listening"), 1);
    second.interrupt();
    second.end().refused(130, &["same command again"]);
    // It can be idle without burning the machine.
    let mut idle = group.join(1, &[0]);
    idle.until("prepared keys", |event| {
        event["keys_ready"] == serde_json::json!([1, 1])
    });
    let events = idle.count_events_for(Duration::from_millis(700));
    assert!(events <= 2, "{events} events say nothing new");
    idle.terminate();
    assert_eq!(idle.end().code, Some(130));
}

#[test]
fn who_has_everything_may_leave_at_any_time() {
    let group = Group::new(2, 2, 1);
    let mut processes = group.join_all();
    processes[0].until_step(0, "sealed");
    processes[1].until_step(0, "sealed");
    processes.pop().unwrap().kill();
    // Ann waits for bob's confirmation, unless bob was quicker than the signal.
    let mut ann = processes.pop().unwrap();
    ann.until_step(0, "sealed");
    ann.interrupt();
    let end = ann.end();
    if group.folder(0).join("cluster-lock.json").exists() {
        assert_eq!(end.code, Some(0), "{}", end.error());
        assert_eq!(end.of("finished").len(), 1);
    } else {
        end.refused(130, &["same command again"]);
    }
    all_good(group.join_all());
    group.assert_finished();
}

#[test]
fn a_seed_that_is_lost_after_the_vote_is_not_needed_any_more() {
    let group = Group::new(3, 2, 2);
    let ann = group.join(0, &[1, 2]);
    let mut carol = group.join(2, &[0, 1]);
    // Nobody gets beyond the vote.
    ends_before_it_votes(&group, 1, &mut carol);
    carol.until_step(2, "stored");
    carol.kill();
    let folder = group.folder(2).join("ceremony/attempt-1");
    assert!(folder.join("voted").exists() && !folder.join("signed").exists());
    fs::remove_file(folder.join("seed")).unwrap();
    // Nor is the record of what the keystores hold: they say it themselves.
    let stored = fs::read(folder.join("stored")).unwrap();
    fs::write(folder.join("stored"), "damaged").unwrap();
    let mut carol = group.join(2, &[0, 1]);
    carol.until_notice("the attempt goes on with them");
    assert!(!folder.join("seed").exists(), "another seed was made");
    assert_eq!(fs::read(folder.join("stored")).unwrap(), stored);
    for process in [ann, group.join(1, &[0, 2]), carol] {
        process.end().is_good();
    }
    group.assert_finished();
}

#[test]
fn lost_markers_and_a_damaged_header_cost_nothing_while_the_journal_is_whole() {
    let group = Group::new(3, 2, 2);
    let ann = group.join(0, &[1, 2]);
    let mut carol = group.join(2, &[0, 1]);
    ends_before_it_votes(&group, 1, &mut carol);
    carol.until_step(2, "stored");
    carol.kill();
    let ceremony = group.folder(2).join("ceremony");
    let marker = |name: &str| ceremony.join("attempt-1").join(name);
    fs::remove_file(marker("voted")).unwrap();
    let journal = ceremony.join("journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[5] ^= 4;
    fs::write(&journal, &bytes).unwrap();
    // The first start goes on, alone, and says what it found.
    let mut carol = group.join(2, &[]);
    carol.until_notice("the journal was damaged");
    carol.until_step(2, "stored");
    carol.kill();
    assert!(marker("voted").exists());
    assert_eq!(fs::read(ceremony.join("journal.corrupt-1")).unwrap(), bytes);
    all_good(vec![ann, group.join(1, &[0, 2]), group.join(2, &[0, 1])]);
    group.assert_finished();
    // And when everything is there.
    fs::remove_file(marker("voted")).unwrap();
    fs::remove_file(marker("signed")).unwrap();
    let end = group.join(2, &[]).end();
    end.is_good();
    assert!(end.of("notice").is_empty(), "{:?}", end.of("notice"));
    assert!(marker("voted").exists() && marker("signed").exists());
}

#[test]
fn a_lock_is_enough_to_finish() {
    let group = Group::new(3, 2, 2);
    let mut processes = group.join_all();
    let mut carol = processes.pop().unwrap();
    carol.until_step(2, "stored");
    carol.kill();
    let lock_of = |i: usize| group.folder(i).join("cluster-lock.json");
    let mut again = group.join(2, &[0, 1]);
    again.until_step(2, "signed");
    again.kill();
    // Whatever carol's journal lacks: the others finish as soon as they have her seal.
    let ends: Vec<End> = {
        let carol = group.join(2, &[0, 1]);
        processes.push(carol);
        ends(processes)
    };
    ends.iter().for_each(End::is_good);
    group.assert_finished();

    // As if carol had crashed right before her lock was there, and never met anybody again.
    let folder = group.folder(2);
    let staged = folder.join("ceremony/attempt-1/keys");
    fs::create_dir(&staged).unwrap();
    for file in group::files(&folder.join("validator_keys")) {
        fs::rename(&file, staged.join(file.file_name().unwrap())).unwrap();
    }
    fs::remove_file(folder.join("deposit-data.json")).unwrap();
    fs::remove_file(folder.join("slashing-protection.redb")).unwrap();
    // A lock that was merely copied there is not taken for a finished ceremony: whoever looks is told what finishes it.
    let says = |words: &[&str]| {
        let output = conclave()
            .arg("--data-dir")
            .arg(&folder)
            .args(words)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = says(&["run", "--beacon-node", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(7), "{text}");
    assert!(
        text.contains("run conclave join once more") && !text.contains("import your backup"),
        "{text}"
    );
    let (code, text) = says(&["verify", folder.to_str().unwrap()]);
    assert_eq!(code, Some(6), "{text}");
    assert!(
        text.contains("run conclave join once more") && !text.contains("from your own backup"),
        "{text}"
    );
    // One of somebody else, or a damaged one, is in the way, and stays.
    let good = fs::read(lock_of(2)).unwrap();
    let changed = String::from_utf8(good.clone()).unwrap().replacen(
        "\"signature_aggregate\": \"0x",
        "\"signature_aggregate\": \"0x00",
        1,
    );
    fs::write(lock_of(2), &changed).unwrap();
    let end = join_alone(&group, &folder, &["--wait", "1"]);
    assert!(end.code != Some(0), "{}", end.error());
    assert_eq!(fs::read(lock_of(2)).unwrap(), changed.as_bytes());
    assert!(staged.join("keystore-0.json").exists());
    fs::remove_file(lock_of(2)).unwrap();
    let with = |lock: &Path| {
        let mut command = group.command(2, &[]);
        command.args(["--wait", "1", "--lock"]).arg(lock);
        Process::start(command).end()
    };
    // Not with the lock of others, nor with a changed one.
    let text = fs::read_to_string(lock_of(0)).unwrap();
    let bad = group.dir.path().join("cluster-lock-bad.json");
    let at = text.find("\"signature_aggregate\": \"0x").unwrap() + 60;
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    fs::write(&bad, format!("{}{other}{}", &text[..at], &text[at + 1..])).unwrap();
    with(&bad).refused(3, &["does not verify"]);
    fs::write(&bad, "{}").unwrap();
    with(&bad).refused(3, &["cluster-lock-bad.json cannot be used"]);
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let foreign = group::files(&vector)
        .into_iter()
        .find(|path| path.ends_with("cluster-lock.json"));
    with(&foreign.unwrap()).refused(3, &["another definition"]);
    assert!(!lock_of(2).exists() && !folder.join("deposit-data.json").exists());
    let seed = folder.join("ceremony/attempt-1/seed");
    fs::remove_file(folder.join("ceremony/attempt-1/seed-destroyed")).unwrap();
    fs::write(&seed, [7; 32]).unwrap();
    with(&lock_of(0)).is_good();
    assert!(!seed.exists(), "it has done its work");
    group.assert_finished();
    // It had said that its files are in place: there was a record of what its shares signed, and no empty one takes its place.
    assert!(!folder.join("slashing-protection.redb").exists());
}

/// Carol has everybody's seal and could not give her files their names, as if the machine had stopped there; the others finish.
fn late_at_the_end() -> Group {
    late_at_the_end_of(Group::new(3, 2, 1))
}

/// As [`late_at_the_end`], and so for all operators after the second.
fn late_at_the_end_of(group: Group) -> Group {
    let in_the_way = |i: usize| group.folder(i).join("ceremony/attempt-1/out");
    for i in 2..group.n() {
        fs::create_dir_all(in_the_way(i).parent().unwrap()).unwrap();
        // In the place of the folder in which they would be made ready.
        fs::write(in_the_way(i), "").unwrap();
    }
    let mut processes = group.join_all();
    for late in processes.split_off(2) {
        let end = late.end();
        assert!(end.error().contains("attempt-1/out"), "{}", end.error());
    }
    for (i, process) in processes.iter_mut().enumerate() {
        process.until_step(i, "done");
    }
    for (i, process) in processes.into_iter().enumerate() {
        process.terminate();
        process.end();
        assert!(group.folder(i).join("cluster-lock.json").exists());
    }
    for i in 2..group.n() {
        fs::remove_file(in_the_way(i)).unwrap();
        assert!(!group.folder(i).join("cluster-lock.json").exists());
    }
    group
}

/// Whether `run` waits because the ceremony was ended late.
fn has_late_mark(folder: &Path) -> bool {
    mark_of(folder, 3) == Some(Mark::LatePublication)
}

/// The mark of an operator's database.
fn mark_of(folder: &Path, operator: u16) -> Option<Mark> {
    let lock = Lock::from_json(&fs::read(folder.join("cluster-lock.json")).unwrap()).unwrap();
    let guard = Guard::open(
        &folder.join("slashing-protection.redb"),
        Cluster::of_lock(&lock, operator).unwrap(),
    );
    guard.unwrap().mark().unwrap()
}

#[test]
fn an_old_copy_that_finished_hears_afterwards_that_it_is_one() {
    // Dave never confirms, so that the others stay.
    let group = late_at_the_end_of(Group::new(4, 3, 1));
    let [alone, beside, later] = ["alone", "beside", "later"].map(|name| copy_of(&group, 2, name));
    let end = join_alone(&group, &later, &["--wait", "1"]);
    assert_eq!(end.code, Some(0), "{}", end.error());
    assert!(has_late_mark(&later));
    // The folder that is used from then on. Ann hears that she is done, and bob does not.
    let (mut ann, mut carol) = (group.join(0, &[2]), group.join(2, &[0]));
    carol.until_notice("was started again after you had joined");
    ann.until("carol's confirmation", |event| has_step(event, 2, "done"));
    for process in [carol, ann] {
        process.terminate();
        process.end();
    }
    // She has signed in an earlier start: she cannot know that her folder is no old copy.
    assert!(has_late_mark(&group.folder(2)));
    // Nobody is there, and it finishes alone; then comes ann, who knows better.
    let mut old = second(&group, &alone, &[0], &[]);
    old.until_notice("your files are made without them");
    old.until("its files", |event| {
        event["status"]
            .as_str()
            .is_some_and(|status| status.starts_with("Your files are in place"))
    });
    let ann = group.join(0, &[]);
    let told = old.until_notice("the others have entries of yours that this folder does not have");
    for part in [
        "is marked as a restored folder",
        "go on there, put this one away",
        "as with a restored backup",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for process in [old, ann] {
        process.terminate();
        process.end();
    }
    let is_restored = |folder: &Path| folder.join("RESTORED").exists();
    assert!(is_restored(&alone));
    // It is not started without a person's word; else it would run for ever.
    let mut run = group::conclave();
    run.arg("--data-dir").arg(&alone).args([
        "--json",
        "run",
        "--beacon-node",
        "http://127.0.0.1:1",
        "--monitoring-address",
        "none",
    ]);
    Process::start(run).end().refused(2, &["--original-is-gone"]);
    // Or the proof comes in a later start.
    let mut old = second(&group, &later, &[0], &[]);
    let ann = group.join(0, &[]);
    old.until_notice("the others have entries of yours that this folder does not have");
    for process in [old, ann] {
        process.terminate();
        process.end();
    }
    assert!(is_restored(&later));
    // Beside bob, who has never heard of it, it says everything anew, word for word, so that nobody can tell any more; but it does not trust
    // its empty record either.
    let bob = group.join(1, &[]);
    let mut old = second(&group, &beside, &[1, 0], &[]);
    old.until("its confirmation", |event| has_step(event, 2, "done"));
    let ann = group.join(0, &[1]);
    for process in [old, bob, ann] {
        process.terminate();
        process.end();
    }
    assert!(has_late_mark(&beside));
}

#[test]
fn whoever_has_everybodys_seal_finishes_alone() {
    let group = late_at_the_end();
    let folder = group.folder(2);
    for name in ["one", "two", "three"] {
        copy_of(&group, 2, name);
    }
    let status_says = |part: &str| {
        let mut status = conclave();
        let output = status
            .arg("--data-dir")
            .arg(&folder)
            .arg("status")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(output.status.code() == Some(7) && said.contains(part), "{said}");
    };
    status_says("if your ceremony is not finished, go on with conclave join");
    // All are away. The others would be waited for as long as the person wants: it has its files, and is told so.
    let mut carol = group.join(2, &[]);
    carol.until_notice("your files are made without them");
    carol.until("its files", |event| {
        event["status"]
            .as_str()
            .is_some_and(|status| status.starts_with("Your files are in place. Waiting for"))
    });
    carol.interrupt();
    carol.end().is_good();
    group.assert_finished();
    status_says("start it with conclave run");
    // Nobody could say whether the folder is an old copy.
    assert!(has_late_mark(&folder));
    // Whoever leaves sooner, or has said how long to wait, leaves with its files, too.
    let one = group.dir.path().join("one");
    let end = join_alone(&group, &one, &["--wait", "1"]);
    assert_eq!(end.code, Some(0), "{}", end.error());
    assert!(one.join("cluster-lock.json").exists() && has_late_mark(&one));
    // A lock in its place, copied from another operator, is as good as all seals.
    let two = group.dir.path().join("two");
    fs::copy(
        group.folder(0).join("cluster-lock.json"),
        two.join("cluster-lock.json"),
    )
    .unwrap();
    let end = join_alone(&group, &two, &["--wait", "1"]);
    assert_eq!(end.code, Some(0), "{}", end.error());
    assert!(two.join("validator_keys/keystore-0.json").exists() && has_late_mark(&two));
    let told = notices(&end);
    assert!(told.contains("attests only after two whole epochs"), "{told}");
    // Who stops it at once, as one does who started it in the wrong folder, has changed nothing.
    let three = group.dir.path().join("three");
    let begun = Instant::now();
    let mut carol = second(&group, &three, &[], &[]);
    carol.until_listening();
    carol.interrupt();
    let end = carol.end();
    if begun.elapsed() < Duration::from_secs(8) {
        end.refused(130, &[]);
        assert!(!three.join("cluster-lock.json").exists());
        assert!(!three.join("slashing-protection.redb").exists());
    }
}

#[test]
fn keystores_that_were_damaged_meanwhile_are_made_again_or_not_published() {
    let group = late_at_the_end();
    let names = [
        "mended", "handed", "put", "lost", "torn", "stopped", "halved", "empty",
    ];
    let [mended, handed, put, lost, torn, stopped, halved, empty] =
        names.map(|name| copy_of(&group, 2, name));
    let keys = |folder: &Path| folder.join("ceremony/attempt-1/keys");
    let seed = |folder: &Path| folder.join("ceremony/attempt-1/seed");
    let lock = group.folder(0).join("cluster-lock.json");
    // Another operator's password, and a keystore of which half is left: only opening them shows it.
    let damaged = "0123456789abcdef0123456789abcdef";
    for folder in [&mended, &put, &lost] {
        fs::write(keys(folder).join("keystore-0.txt"), damaged).unwrap();
    }
    for folder in [&handed, &torn] {
        let path = keys(folder).join("keystore-0.json");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    fs::copy(&lock, put.join("cluster-lock.json")).unwrap();
    let wait: &[&str] = &["--wait", "1"];
    let with_lock = ["--wait", "1", "--lock", lock.to_str().unwrap()];
    for (folder, words) in [(&mended, wait), (&handed, &with_lock), (&put, wait)] {
        let end = join_alone(&group, folder, words);
        assert_eq!(end.code, Some(0), "{}", end.error());
        let told = notices(&end);
        assert!(
            told.contains("keystore-0.json cannot be opened") && told.contains("were made again"),
            "{told}"
        );
        // They are the right ones, every one of them.
        let output = conclave().arg("verify").arg(folder).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(!seed(folder).exists());
        assert!(
            folder
                .join("ceremony/attempt-1/keys.incomplete-1/keystore-0.json")
                .exists()
        );
    }
    // A stop while they were made again: nothing is there, or a part of it, and no record says what it was for.
    for folder in [&stopped, &halved, &empty] {
        let attempt = folder.join("ceremony/attempt-1");
        fs::remove_file(attempt.join("stored")).unwrap();
        fs::rename(keys(folder), attempt.join("keys.incomplete-1")).unwrap();
        fs::create_dir(keys(folder)).unwrap();
    }
    fs::copy(
        group.folder(2).join("ceremony/attempt-1/keys/keystore-0.txt"),
        keys(&halved).join("keystore-0.txt"),
    )
    .unwrap();
    fs::copy(&lock, empty.join("cluster-lock.json")).unwrap();
    for (folder, words) in [(&stopped, &with_lock[..]), (&halved, &with_lock), (&empty, wait)] {
        let end = join_alone(&group, folder, words);
        assert_eq!(end.code, Some(0), "{}", end.error());
        let output = conclave().arg("verify").arg(folder).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!seed(folder).exists() && folder.join("validator_keys/keystore-0.json").exists());
    }
    // Where they cannot be made again nothing is published, and nothing is destroyed: without the secrets, and with a journal that lacks
    // what was dealt.
    fs::remove_file(seed(&lost)).unwrap();
    let journal = torn.join("ceremony/journal");
    let bytes = fs::read(&journal).unwrap();
    fs::write(&journal, &bytes[..20]).unwrap();
    for (folder, words) in [(&lost, wait), (&torn, &with_lock)] {
        let end = join_alone(&group, folder, words);
        end.refused(7, &["keystore-0.json cannot be opened", "put that file back"]);
        assert!(!folder.join("cluster-lock.json").exists());
        assert!(keys(folder).join("keystore-0.json").exists());
        assert_eq!(seed(folder).exists(), folder == &torn);
    }
    // Nor by any other command of a folder that looks finished, as one that was filled by hand does.
    fs::copy(&lock, torn.join("cluster-lock.json")).unwrap();
    fs::rename(keys(&torn), torn.join("validator_keys")).unwrap();
    let see = |folder: &Path| {
        conclave()
            .arg("--data-dir")
            .arg(folder)
            .arg("status")
            .output()
            .unwrap()
    };
    see(&torn);
    assert!(seed(&torn).exists());
    // With the whole keystore it is finished.
    let good = group.folder(2).join("ceremony/attempt-1/keys/keystore-0.json");
    fs::copy(good, torn.join("validator_keys/keystore-0.json")).unwrap();
    see(&torn);
    assert!(!seed(&torn).exists());
}

#[test]
fn a_lock_that_is_handed_over_brings_an_empty_record_only_where_none_was_used() {
    let group = late_at_the_end();
    let folder = group.folder(2);
    let lock = group.folder(0).join("cluster-lock.json");
    let with = ["--wait", "1", "--lock", lock.to_str().unwrap()];
    let [moved, copied] = ["moved", "copied"].map(|name| copy_of(&group, 2, name));
    let end = join_alone(&group, &folder, &with);
    end.is_good();
    group.assert_finished();
    // Its shares never had their names here; but the folder may be an old copy, and `run` waits once.
    assert!(has_late_mark(&folder));
    // Where keystores have had their names, somebody may have signed with them, whether or not they still wait beside the attempt, too.
    for copy in [moved, copied] {
        fs::create_dir_all(copy.join("validator_keys")).unwrap();
        for suffix in ["json", "txt"] {
            let name = format!("keystore-0.{suffix}");
            let staged = copy.join("ceremony/attempt-1/keys").join(&name);
            let named = copy.join("validator_keys").join(&name);
            if copy.ends_with("moved") {
                fs::rename(staged, named).unwrap();
            } else {
                fs::copy(staged, named).unwrap();
            }
        }
        let end = join_alone(&group, &copy, &with);
        assert_eq!(end.code, Some(0), "{}", end.error());
        assert!(!copy.join("slashing-protection.redb").exists());
        let told = notices(&end);
        for part in [
            "somebody may have signed with them",
            "bring that file back from there",
            "Only if it was surely never started: conclave run --new-slashing-database",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}

#[test]
fn who_is_late_is_told_that_the_others_run_and_they_are_told_what_helps() {
    let group = late_at_the_end();
    let run = |i: usize| {
        let mut command = conclave();
        command.args(["--json", "--data-dir"]).arg(group.folder(i));
        command.args(["run", "--dry-run", "--beacon-node", "http://127.0.0.1:1"]);
        command.args(["--listen", &format!("{}/tcp/{}", group.host, group.ports[i])]);
        command.args(["--peer", &group.address(2)]);
        Process::start(command)
    };
    // As if not all seals were here.
    let journal = group.folder(2).join("ceremony/journal");
    let bytes = fs::read(&journal).unwrap();
    let empty = second_folder(&group, 2, "empty");
    fs::write(&journal, &bytes[..bytes.len() - 400]).unwrap();
    let (mut ann, mut bob) = (run(0), run(1));
    ann.until_listening();
    bob.until_listening();
    let mut command = group.command(2, &[0, 1]);
    command.args(["--wait", "25"]);
    let mut carol = Process::start(command);
    for name in ["ann", "bob"] {
        let told = carol.until_notice(&format!("{name} runs conclave run: the ceremony is over there"));
        assert!(told.contains("conclave join --lock FILE"), "{told}");
    }
    for process in [&mut ann, &mut bob] {
        let told = process.until_notice("carol runs conclave join");
        assert!(
            told.contains("Send carol your cluster-lock.json") && !told.contains("version"),
            "{told}"
        );
    }
    let end = carol.end();
    end.refused(4, &["runs conclave run", "conclave join --lock FILE"]);
    for untrue in ["same version", "says nothing", "another protocol"] {
        let told = format!("{} {}", notices(&end), end.error());
        assert!(!told.contains(untrue), "{untrue}: {told}");
    }
    // With nothing but the identity there is nothing that a lock could finish.
    let mut alone = second(&group, &empty, &[0, 1], &["--wait", "25"]);
    let told = alone.until_notice("runs conclave run");
    assert!(told.contains("--data-dir") && !told.contains("--lock"), "{told}");
    drop(alone);
    let lock = group.folder(0).join("cluster-lock.json");
    let with = ["--wait", "1", "--lock", lock.to_str().unwrap()];
    let end = second(&group, &empty, &[], &with).end();
    end.refused(7, &["your share is not in this folder", "import your backup"]);
    assert!(!end.error().contains("ask another operator"), "{}", end.error());
    // With all of it carol needs nobody, nor does anybody need her; that ann is not at another address does not matter.
    fs::write(&journal, &bytes).unwrap();
    let mut command = group.command(2, &[0, 1]);
    let peer = group.address(0);
    let peer = peer.rsplit_once("/p2p/").unwrap().1;
    command.args([
        "--peer",
        &format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", group::free_port()),
    ]);
    let carol = Process::start(command).end();
    carol.is_good();
    group.assert_finished();
}

#[test]
fn who_gave_an_attempt_up_is_who_lost_its_folder() {
    let mut group = Group::new(3, 2, 1);
    let (mut ann, carol) = (group.join(0, &[2]), group.join(2, &[0]));
    ann.until_step(2, "joined");
    ann.kill();
    carol.kill();
    fs::remove_file(group.folder(2).join("ceremony/attempt-1/seed")).unwrap();
    group.more = vec!["--attempt".into(), "2".into()];
    let (mut bob, carol) = (group.join(1, &[2]), group.join(2, &[1]));
    bob.until("two in attempt 2", |event| {
        event["attempt"] == 2 && has_step(event, 1, "joined") && has_step(event, 2, "joined")
    });
    // Ann hears of both at once: bob has only gone on with what carol lost.
    group.more.clear();
    let end = group.join(0, &[1, 2]).end();
    end.refused(5, &["carol lost its folder of attempt 1", "with --attempt 2"]);
    assert!(!end.error().contains("bob"), "{}", end.error());
    drop(carol);
}

#[test]
fn who_was_here_and_left_is_not_told_as_never_come() {
    let group = Group::new(3, 2, 1);
    let mut ann = group.join(0, &[0, 1]);
    let mut bob = group.join(1, &[0]);
    ann.until_connected(1);
    bob.until_connected(0);
    bob.kill();
    let told = ann.until("that bob left", |event| {
        event["event"] == "unreachable" && event["was_here_until"].is_string()
    });
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("bob was here until") && message.contains("conclave is not running there now"),
        "{message}"
    );
    assert!(
        !message.contains("has not started") && !message.contains("wrong"),
        "{message}"
    );
    ann.interrupt();
    let end = ann.end();
    end.refused(130, &["bob was here until", "ask bob to start conclave again"]);
    // The own address, given among the others', is nobody's cause.
    assert!(end.error().find("bob was here") < end.error().find("you yourself").or(Some(usize::MAX)));
}

#[test]
fn a_lock_that_is_lost_is_made_again_by_whoever_has_the_rest() {
    let group = Group::new(3, 2, 2);
    all_good(group.join_all());
    let before = group.contents(1);
    let folder = group.folder(1);
    for name in ["cluster-lock.json", "deposit-data.json"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    // The others have everything, and nobody of them is there any more.
    group.join(1, &[]).end().is_good();
    group.assert_finished();
    let now = group.contents(1);
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, bytes)| now.get(*path) != Some(bytes))
        .collect();
    assert!(
        changed
            .iter()
            .all(|(path, _)| path.starts_with(folder.join("ceremony"))),
        "{:?}",
        changed.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    // Another operator's file does as well.
    fs::remove_file(folder.join("cluster-lock.json")).unwrap();
    fs::copy(
        group.folder(0).join("cluster-lock.json"),
        folder.join("cluster-lock.json"),
    )
    .unwrap();
    group.join(1, &[]).end().is_good();
    group.assert_finished();
    // Nor is a lock made for keystores of somebody else.
    fs::remove_file(folder.join("cluster-lock.json")).unwrap();
    let key = |i: usize, suffix: &str| {
        group
            .folder(i)
            .join(format!("validator_keys/keystore-1.{suffix}"))
    };
    for suffix in ["json", "txt"] {
        fs::copy(key(0, suffix), key(1, suffix)).unwrap();
    }
    group
        .join(1, &[])
        .end()
        .refused(7, &["are not your shares", "import your backup"]);
    assert!(!folder.join("cluster-lock.json").exists());
    // And where one is missing, it is missing where it was.
    fs::remove_file(key(1, "txt")).unwrap();
    let words = [
        "validator_keys/keystore-1.txt",
        "put that file back",
        "import your backup",
    ];
    group.join(1, &[]).end().refused(7, &words);
}

#[test]
fn folders_and_identities_that_do_not_fit() {
    let group = Group::new(3, 2, 1);
    let other = Group::new(3, 2, 1);
    // No identity.
    let empty = group.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let join = |folder: &Path, definition: &Path| {
        let mut command = conclave();
        command.args(["--json", "--data-dir"]).arg(folder);
        command
            .args(["join", "--yes", "--listen", "/ip4/127.0.0.1/tcp/0", "--wait", "1"])
            .arg(definition);
        Process::start(command).end()
    };
    join(&empty, &group.file()).refused(7, &["identity"]);
    join(&group.dir.path().join("nowhere"), &group.file()).refused(7, &["no folder"]);
    // An identity that the definition does not name.
    join(&other.folder(0), &group.file()).refused(3, &["not an operator"]);
    assert!(!other.folder(0).join("cluster-definition.json").exists());
    // A folder in which another ceremony was begun.
    join(&group.folder(0), &group.file()).refused(4, &["not finished"]);
    let before = fs::read(group.folder(0).join("ceremony/journal")).unwrap();
    let mut fields = (*group.definition).clone();
    fields.uuid = "00000000-0000-4000-8000-000000000000".into();
    let definition = Definition::new(fields).unwrap();
    let second = group.dir.path().join("second.json");
    fs::write(&second, definition.to_json()).unwrap();
    join(&group.folder(0), &second).refused(7, &["another definition", "new folder"]);
    assert_eq!(
        fs::read(group.folder(0).join("ceremony/journal")).unwrap(),
        before
    );
    // Results of an earlier ceremony.
    fs::write(group.folder(1).join("deposit-data.json"), "precious").unwrap();
    let words = [
        "earlier ceremony",
        "deposit-data.json",
        "another operator's cluster-lock.json",
        "new folder",
    ];
    join(&group.folder(1), &group.file()).refused(7, &words);
    assert_eq!(
        fs::read(group.folder(1).join("deposit-data.json")).unwrap(),
        b"precious"
    );
    assert!(!group.folder(1).join("ceremony/journal").exists());
}

#[test]
fn definitions_that_cannot_be_joined() {
    let group = Group::new(4, 3, 1);
    let good: serde_json::Value = serde_json::from_slice(&fs::read(group.file()).unwrap()).unwrap();
    let file = group.dir.path().join("bad.json");
    let mut cases: Vec<(&str, serde_json::Value)> = Vec::new();
    let mut case = |part: &'static str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = good.clone();
        change(&mut value);
        cases.push((part, value));
    };
    case("hash", &|v| {
        v["definition_hash"] = format!("0x{}", "11".repeat(32)).into();
    });
    case("hash", &|v| {
        v["config_hash"] = format!("0x{}", "11".repeat(32)).into();
    });
    case("hash", &|v| v["threshold"] = 4.into());
    case("operator", &|v| v["operators"][1] = v["operators"][0].clone());
    case("enr", &|v| v["operators"][1]["enr"] = "enr:-abc".into());
    case("threshold", &|v| v["threshold"] = 5.into());
    // A format that other software reads, with right hashes, but no threshold at all.
    let mut fields = (*group.definition).clone();
    fields.threshold = 1;
    let alone = Definition::new(fields).unwrap().to_json();
    case("threshold", &|v| *v = serde_json::from_slice(&alone).unwrap());
    case("operators", &|v| {
        v["operators"] = serde_json::json!([v["operators"][0]]);
    });
    case("validators", &|v| v["num_validators"] = 2.into());
    case("checksum", &|v| {
        v["validators"][0]["withdrawal_address"] = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed".into();
    });
    case("update conclave", &|v| v["version"] = "v9.9.9".into());
    let mut fields = (*group.definition).clone();
    fields.fork_version = [1, 2, 3, 4];
    let elsewhere = Definition::new(fields).unwrap().to_json();
    case("network", &|v| *v = serde_json::from_slice(&elsewhere).unwrap());
    for (part, value) in &cases {
        fs::write(&file, serde_json::to_vec(value).unwrap()).unwrap();
        let mut command = conclave();
        command.args(["--json", "--data-dir"]).arg(group.folder(0));
        command
            .args(["join", "--yes", "--wait", "1", "--listen", "/ip4/127.0.0.1/tcp/0"])
            .arg(&file);
        let end = Process::start(command).end();
        end.refused(3, &[]);
        assert!(
            end.error().to_lowercase().contains(part),
            "{part}: {}",
            end.error()
        );
        assert!(!group.folder(0).join("cluster-definition.json").exists());
    }
}

/// Another folder with what operator `i` has.
fn copy_of(group: &Group, i: usize, name: &str) -> std::path::PathBuf {
    let folder = group.dir.path().join(name);
    fs::create_dir(&folder).unwrap();
    group::copy(&group.folder(i), &folder);
    folder
}

/// `conclave join` alone in a folder, and how it ends.
fn join_alone(group: &Group, folder: &Path, more: &[&str]) -> End {
    second(group, folder, &[], more).end()
}

/// All that is told with `notice`, in lines.
fn notices(end: &End) -> String {
    let told = end
        .of("notice")
        .into_iter()
        .filter_map(|event| event["message"].as_str());
    told.collect::<Vec<_>>().join("\n")
}

/// What `conclave join` says to a person.
fn join_in_words(group: &Group, folder: &Path) -> String {
    let mut command = conclave();
    command.args(["--data-dir"]).arg(folder).args(["join", "--yes"]);
    command.arg(group.file());
    command.args(["--listen", &format!("/ip4/127.0.0.1/tcp/{}", group::free_port())]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn who_asks_again_whether_all_is_done_is_told_what_is_there() {
    type Change = fn(&Path);
    let group = Group::new(3, 2, 2);
    let mut processes = group.join_all();
    let carol = processes.pop().unwrap();
    carol.end().is_good();
    all_good(processes);
    let key = "validator_keys/keystore-1.json";
    let password = "validator_keys/keystore-1.txt";
    let lost: [(&str, Change, &[&str]); 6] = [
        (
            "none",
            |f| fs::remove_dir_all(f.join("validator_keys")).unwrap(),
            &["keystore of validator 0 is missing"],
        ),
        (
            "one",
            |f| fs::remove_file(f.join("validator_keys/keystore-1.json")).unwrap(),
            &["keystore of validator 1 is missing"],
        ),
        (
            "zeros",
            |f| fs::write(f.join("validator_keys/keystore-1.json"), [0; 100]).unwrap(),
            &["validator 1 cannot be opened", key],
        ),
        (
            "shut",
            |f| fs::remove_file(f.join("validator_keys/keystore-1.txt")).unwrap(),
            &["keystore-1.txt is missing"],
        ),
        (
            "wrong",
            |f| fs::write(f.join("validator_keys/keystore-1.txt"), "x").unwrap(),
            &["validator 1 cannot be opened", key],
        ),
        (
            "foreign",
            |f| {
                for name in ["keystore-1.json", "keystore-1.txt"] {
                    let theirs = f.parent().unwrap().join("bob/validator_keys").join(name);
                    fs::copy(theirs, f.join("validator_keys").join(name)).unwrap();
                }
            },
            &["share of operator 2 (bob)"],
        ),
    ];
    for (name, change, words) in lost {
        let folder = copy_of(&group, 2, name);
        change(&folder);
        let end = join_alone(&group, &folder, &[]);
        end.refused(7, &["do not deposit", "import your backup", "tell the others"]);
        end.refused(7, words);
        assert!(end.of("finished").is_empty());
        // At once, and not only when the last of the others has everything.
        assert!(
            notices(&end).contains(words[0]) || words[0].contains("txt"),
            "{}",
            notices(&end)
        );
    }
    assert!(group.folder(2).join(password).exists());

    // What is for everybody can be had from everybody.
    let folder = copy_of(&group, 2, "no-deposit");
    fs::remove_file(folder.join("deposit-data.json")).unwrap();
    let end = join_alone(&group, &folder, &[]);
    end.is_good();
    assert!(
        notices(&end).contains("not in this folder: deposit-data.json"),
        "{}",
        notices(&end)
    );
    let words = join_in_words(&group, &folder);
    assert!(
        !words.contains("Everything") && !words.contains("deposit-data*"),
        "{words}"
    );
    fs::write(folder.join("deposit-data.json"), "[]").unwrap();
    join_alone(&group, &folder, &[]).refused(6, &["deposit-data.json", "do not deposit with it"]);

    // The memory of the shares.
    let words = join_in_words(&group, &group.folder(2));
    assert!(
        words.contains("Everything") && words.contains("slashing-protection.redb"),
        "{words}"
    );
    assert!(
        !words.contains("nothing yet"),
        "who knows what was signed since? {words}"
    );
    let folder = copy_of(&group, 2, "no-memory");
    fs::remove_file(folder.join("slashing-protection.redb")).unwrap();
    let end = join_alone(&group, &folder, &[]);
    end.is_good();
    let told = notices(&end);
    assert!(
        told.contains("not in this folder: slashing-protection.redb")
            && told.contains("bring that file back"),
        "{told}"
    );
    let words = join_in_words(&group, &folder);
    assert!(
        !words.contains("  slashing-protection.redb\n") && !words.contains("nothing yet"),
        "{words}"
    );
    fs::write(folder.join("RESTORED"), "").unwrap();
    let words = join_in_words(&group, &folder);
    assert!(
        words.contains("restored from a backup") && !words.contains("Make a backup now"),
        "{words}"
    );
    assert!(
        !words.contains("  slashing-protection.redb\n") && !words.contains("nothing yet"),
        "{words}"
    );
}

#[test]
fn a_record_that_shows_the_end_is_never_exchanged_for_a_poor_one() {
    let group = Group::new(3, 2, 1);
    all_good(group.join_all());
    let password = group.dir.path().join("password");
    fs::write(&password, "correct horse battery").unwrap();
    let verify = |folder: &Path| {
        conclave()
            .arg("verify")
            .arg(folder)
            .output()
            .unwrap()
            .status
            .code()
    };
    let backup = |folder: &Path, name: &str| {
        let mut command = conclave();
        command
            .args(["--data-dir"])
            .arg(folder)
            .arg("backup")
            .arg(group.dir.path().join(name));
        command.arg("--password-file").arg(&password).output().unwrap()
    };
    let folder = copy_of(&group, 2, "journal");
    let (journal, transcript) = (
        folder.join("ceremony/journal"),
        folder.join("ceremony/transcript"),
    );
    let before = fs::read(&transcript).unwrap();
    for damaged in [false, true] {
        fs::remove_file(&journal).unwrap();
        if damaged {
            fs::write(&journal, [0xa5; 300]).unwrap();
        }
        let end = join_alone(&group, &folder, &["--wait", "1"]);
        end.is_good();
        let told = notices(&end);
        assert!(
            told.contains(if damaged {
                "journal was damaged"
            } else {
                "journal of the ceremony"
            }),
            "{told}"
        );
        // It is carol who asks: she has confirmed by having her files.
        assert!(
            told.contains("bob (operator 2) have not confirmed") && !told.contains("carol"),
            "{told}"
        );
        assert!(fs::read(&transcript).unwrap() == before);
        assert_eq!(verify(&folder), Some(0));
    }
    // Where there is none, or one that shows nothing, none that shows nothing is made.
    let poor = [&before[..before.len().min(86)], &[0; 4]].concat();
    fs::remove_file(&transcript).unwrap();
    for there in [None, Some(&poor)] {
        if let Some(bytes) = there {
            fs::write(&transcript, bytes).unwrap();
        }
        let end = join_alone(&group, &folder, &["--wait", "1"]);
        end.is_good();
        assert!(
            notices(&end).contains("copy that file from another operator"),
            "{}",
            notices(&end)
        );
        assert_eq!(fs::read(&transcript).ok().as_ref(), there);
    }
    assert_eq!(verify(&folder), Some(6));
    // No share depends on what others have too.
    fs::create_dir(folder.join("ceremony/evidence")).unwrap();
    fs::write(
        folder.join("ceremony/evidence/attempt-1-operator-1-badshare"),
        "x",
    )
    .unwrap();
    fs::remove_file(folder.join("deposit-data.json")).unwrap();
    let output = backup(&folder, "one");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for file in ["ceremony/transcript", "badshare"] {
        assert!(told.contains(file), "{told}");
    }
    // A good one is made of what the journal has.
    fs::copy(group.folder(2).join("ceremony/journal"), &journal).unwrap();
    join_alone(&group, &folder, &[]).is_good();
    assert!(fs::read(&transcript).unwrap() == before);
    // A share does.
    fs::write(folder.join("validator_keys/keystore-0.json"), "x").unwrap();
    assert_eq!(backup(&folder, "two").status.code(), Some(6));
}

#[test]
fn what_is_known_to_be_in_the_way_is_said_at_the_end() {
    let group = Group::new(3, 2, 1);
    let mut fields = (*group.definition).clone();
    fields.name = "Foes".into();
    let other = group.dir.path().join("other.json");
    fs::write(&other, Definition::new(fields).unwrap().to_json()).unwrap();
    let ann = group.join(0, &[]);
    let mut command = conclave();
    command
        .args(["--json", "--data-dir"])
        .arg(group.folder(1))
        .args(["join", "--yes"])
        .arg(&other);
    command.args([
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--wait",
        "4",
        "--peer",
        &group.address(0),
    ]);
    // The same command would never help.
    Process::start(command).end().refused(
        4,
        &[
            "has another definition",
            "Waiting for",
            "copy charon-enr-private-key and nothing else",
        ],
    );
    drop(ann);
    // Nobody is there.
    let mut carol = group.join(2, &[0]);
    carol.until("refused", |event| event["event"] == "unreachable");
    carol.interrupt();
    carol
        .end()
        .refused(130, &["is not reached at", "refused", "same command again"]);
}

#[test]
fn shares_that_were_made_just_now_have_signed_nothing() {
    let group = Group::new(2, 2, 1);
    let mut command = group.command(0, &[1]);
    let arguments: Vec<_> = command
        .get_args()
        .filter(|word| *word != "--json")
        .map(ToOwned::to_owned)
        .collect();
    command = conclave();
    command.args(arguments).stdout(std::process::Stdio::piped());
    let ann = command.spawn().unwrap();
    group.join(1, &[0]).end().is_good();
    let words = String::from_utf8(ann.wait_with_output().unwrap().stdout).unwrap();
    assert!(words.contains("Done. Everything is in"), "{words}");
    assert!(words.contains("your shares have signed: nothing yet"), "{words}");
}

#[test]
fn what_differs_is_said_in_words_on_both_sides() {
    // Another definition: one field.
    let group = Group::new(3, 2, 1);
    let mut fields = (*group.definition).clone();
    fields.name = "Foes".into();
    let definition = Definition::new(fields).unwrap();
    let other = group.dir.path().join("other.json");
    fs::write(&other, definition.to_json()).unwrap();
    let mut ann = group.join(0, &[]);
    let mut command = conclave();
    command.args(["--json", "--data-dir"]).arg(group.folder(1));
    command
        .args([
            "join",
            "--yes",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--peer",
            &group.address(0),
        ])
        .arg(&other);
    let mut bob = Process::start(command);
    let hash = |definition: &Definition| format!("0x{}", hex::encode(definition.definition_hash()));
    let (friends, foes) = (hash(&group.definition), hash(&definition));
    // First both hashes, by name, then the fields.
    for (process, other, theirs, ours) in [(&mut ann, 1, &foes, &friends), (&mut bob, 0, &friends, &foes)] {
        let text = process.until_notice("has another definition");
        let event = process.until("apart", |event| event["operators"][other]["link"] == "apart");
        let name = event["operators"][other]["name"].as_str().unwrap();
        assert!(
            text.starts_with(&format!(
                "{name} has another definition: {theirs}, yours is {ours}."
            )),
            "{text}"
        );
        let text = process.until_notice("differs from yours");
        assert!(text.contains("Friends") && text.contains("Foes"), "{text}");
        // Whoever holds something else is not here.
        let status = event["status"].as_str().unwrap();
        assert!(
            status.contains("Waiting for a connection to any other operator"),
            "{status}"
        );
        assert!(
            process.saw_before("has another definition", "differs from yours"),
            "the hashes come first"
        );
    }
    drop((ann, bob));

    // Another network file.
    let group = Group::on(3, 2, 1, &group::devnet(1_700_000_000));
    let file = |i: usize, time: u64| {
        let path = group.dir.path().join(format!("net-{i}.toml"));
        fs::write(&path, group::devnet(time)).unwrap();
        path
    };
    let start = |i: usize, time: u64, peers: &[usize]| {
        let mut command = group.command(i, peers);
        command.arg("--network-file").arg(file(i, time));
        Process::start(command)
    };
    let mut ann = start(0, 1_700_000_000, &[]);
    let mut bob = start(1, 1_700_000_012, &[0]);
    for process in [&mut ann, &mut bob] {
        let text = process.until_notice("genesis time");
        assert!(
            text.contains("1700000000") && text.contains("1700000012"),
            "{text}"
        );
    }
    // The folder keeps to the network it began with.
    bob.terminate();
    assert_eq!(bob.end().code, Some(130));
    start(1, 1_700_000_000, &[0]).end().refused(7, &["network"]);
}

/// What nobody is told of oneself.
#[track_caller]
fn is_not_misled(words: &str) {
    for wrong in [
        "does not name your identity",
        "was turned away",
        "does not let you in",
    ] {
        assert!(!words.contains(wrong), "{words}");
    }
}

/// A folder for a second process of operator `i`.
fn second_folder(group: &Group, i: usize, name: &str) -> std::path::PathBuf {
    let folder = group.dir.path().join(name);
    fs::create_dir(&folder).unwrap();
    let identity = "charon-enr-private-key";
    fs::copy(group.folder(i).join(identity), folder.join(identity)).unwrap();
    folder
}

/// `conclave join` in such a folder.
fn second(group: &Group, folder: &Path, peers: &[usize], more: &[&str]) -> Process {
    let mut command = conclave();
    command.args(["--json", "--data-dir"]).arg(folder);
    command.args(["join", "--yes"]).arg(group.file());
    command.args(["--listen", &format!("/ip4/127.0.0.1/tcp/{}", group::free_port())]);
    for peer in peers {
        command.args(["--peer", &group.address(*peer)]);
    }
    command.args(more);
    Process::start(command)
}

#[test]
fn a_copied_folder_is_noticed_by_everybody_and_the_twins_first_of_all() {
    let group = Group::new(4, 3, 1);
    // Dave is missing, so that it does not end.
    let known = [0, 1, 2];
    let (mut ann, mut bob, mut carol) = (
        group.join(0, &known),
        group.join(1, &known),
        group.join(2, &known),
    );
    for process in [&mut ann, &mut bob, &mut carol] {
        for j in known {
            process.until_step(j, "joined");
        }
    }
    let copy = group.dir.path().join("bob-copy");
    fs::create_dir(&copy).unwrap();
    group::copy(&group.folder(1), &copy);
    let mut twin = second(&group, &copy, &known, &[]);
    for process in [&mut twin, &mut bob] {
        process.until_notice("your identity");
        is_not_misled(&process.words(Duration::ZERO));
    }
    for process in [&mut ann, &mut carol] {
        let text = process.until_notice("run");
        assert!(text.starts_with("bob ") && text.contains("twice"), "{text}");
    }
    // They do take turns, and that is told without a doubt.
    bob.until_notice("your identity runs twice");
    for process in [&mut ann, &mut bob, &mut carol, &mut twin] {
        is_not_misled(&process.words(Duration::from_secs(1)));
    }
}

#[test]
fn a_copied_key_is_noticed_and_begins_no_attempt_beside_the_first() {
    let group = Group::new(4, 3, 1);
    let known = [0, 1, 2];
    let (mut ann, mut bob, mut carol) = (
        group.join(0, &known),
        group.join(1, &known),
        group.join(2, &known),
    );
    for process in [&mut ann, &mut bob, &mut carol] {
        for j in known {
            process.until_step(j, "joined");
        }
        for j in known {
            process.until("a connection", |event| {
                event["operators"][j]["link"] == "connected" || event["operators"][j]["link"] == "myself"
            });
        }
    }
    let folder = second_folder(&group, 1, "bob-key");
    let end = second(&group, &folder, &known, &["--attempt", "2"]).end();
    end.refused(5, &["another process with your identity", "must never run twice"]);
    let said: Vec<String> = end.of("notice").iter().map(ToString::to_string).collect();
    assert!(
        said.iter()
            .any(|text| text.contains("your identity may run twice")),
        "{said:?}"
    );
    is_not_misled(&said.join("\n"));
    bob.until_notice("your identity");
    let mut others = [ann, carol];
    assert!(others.iter_mut().any(|process| {
        let words = process.words(Duration::from_secs(2));
        is_not_misled(&words);
        words.contains("bob may run twice") || words.contains("bob runs twice")
    }));
    is_not_misled(&bob.words(Duration::ZERO));
}

#[test]
fn one_key_in_two_new_folders_at_once_is_told_to_everybody() {
    let group = Group::new(4, 3, 1);
    let folders = ["one", "two"].map(|name| second_folder(&group, 1, name));
    let known = [0, 2];
    let mut processes = vec![group.join(0, &known), group.join(2, &known)];
    processes.extend(folders.iter().map(|folder| second(&group, folder, &known, &[])));
    let deadline = Instant::now() + group::PATIENCE;
    for process in &mut processes {
        loop {
            let words = process.words(Duration::from_millis(200));
            is_not_misled(&words);
            if words.contains("twice") {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{} is told nothing: {words}",
                process.id()
            );
        }
    }
}

/// A ceremony of people who do not see each other's folders: every name that a Join brought is known afterwards.
#[test]
fn names_of_a_real_ceremony_are_kept() {
    let people = people::meet(&["Ann", "bob", "Carol the third"], 2, 1);
    people::hold(&people).iter().for_each(End::is_good);
    let names: Vec<&str> = people.iter().map(|person| &*person.name).collect();
    for person in &people {
        let mut command = person.command(&["--json", "run", "--beacon-node", "http://127.0.0.1:1"]);
        command.args(["--listen", &person.listens()]);
        let mut run = Process::start(command);
        let started = run.until("started", |event| event["event"] == "started");
        assert_eq!(started["operators"], serde_json::json!(names), "{}", person.name);
        let socket = person.folder().join("run.sock");
        let deadline = Instant::now() + group::PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "it never answers");
            std::thread::sleep(Duration::from_millis(50));
        }
        let status = person.command(&["--json", "status"]).output().unwrap();
        let status = String::from_utf8(status.stdout).unwrap();
        for name in &names {
            assert!(status.contains(name), "{name} is not in {status}");
        }
        run.terminate();
        assert_eq!(run.end().code, Some(0));
    }
    let password = people[2].folder().with_file_name("password");
    fs::write(&password, "a long enough password\n").unwrap();
    let text = people[2].says(&[
        "export",
        "--yes",
        "--password-file",
        password.to_str().unwrap(),
        "archive",
    ]);
    assert!(
        text.contains("You are Carol the third, operator 3 of 3"),
        "{text}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_of_a_ceremony_gets_into_a_core_dump() {
    let group = Group::new(2, 2, 1);
    let mut process = group.join(0, &[]);
    process.until_listening();
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
}

/// How many operators have voted in the first attempt.
fn votes_in_first(board: &Board) -> usize {
    let has_voted =
        |sid: &[u8; 32], operator: u16| !board.slot(sid, operator, Slot::Step(Step::Stored)).is_empty();
    let votes = board
        .sessions(1)
        .map(|sid| (1..=3).filter(|j| has_voted(&sid, *j)).count());
    votes.sum()
}

/// Plays operator 2 by the rules in an attempt, but what it seals in its Deal is damaged.
fn deal_badly(group: &Group, attempt: u32, until: &std::sync::atomic::AtomicBool) {
    let network = Network::by_name("hoodi").unwrap();
    let terms = Arc::new(product::terms(&group.definition, network).unwrap());
    let limits = FrameLimits {
        operators: 3,
        entry: records::max_entry_bytes(&terms),
        evidence: Evidence::max_bytes(&terms),
    };
    let operators = &group.definition.operators;
    let operators = operators.iter().map(|o| *o.enr.node_public_key()).collect();
    let config = node::Config {
        peers: vec![
            group.address(0).parse().unwrap(),
            group.address(2).parse().unwrap(),
        ],
        software: "cheat".into(),
        ..node::Config::new(group.key(1), operators, limits)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (handle, mut events) = runtime
        .block_on(async { node::start::<Ceremony>(config) })
        .unwrap();
    let hello = Hello {
        protocol: PROTOCOL,
        software: "cheat".into(),
        definition_hash: *terms.definition_hash(),
        genesis_fork_version: network.genesis_fork_version,
        genesis_time: network.genesis_time,
        chain_id: network.chain_id,
    };
    let mut operator = Operator::new(terms.clone(), 2, group.key(1), "bob".into(), &[1; 32]);
    let mut effects = VecDeque::new();
    let mut has_joined = false;
    let mut connected = BTreeSet::new();
    let mut said: Vec<Message> = Vec::new();
    let send = |operator: u16, message: &Message| {
        let message = message.clone();
        let _ = handle.blocking_give(Command::Send { operator, message });
    };
    while !until.load(Ordering::Relaxed) {
        // Of what was before its attempt it knows then what the others do.
        if !has_joined && (attempt == 1 || votes_in_first(operator.board()) == 2) {
            has_joined = true;
            let reason = if attempt == 1 { Reason::First } else { Reason::Lost };
            effects.extend(operator.consent(attempt, reason));
        }
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::NeedSeed(k) => effects.extend(operator.seed(k, &Seed::new(&[9; 32]))),
                Effect::Persist(_, entry)
                    if (entry.operator, entry.attempt) == (2, attempt) && entry.step <= Step::Deal =>
                {
                    let mut body = entry.body.clone();
                    if entry.step == Step::Deal {
                        *body.last_mut().unwrap() ^= 1;
                    }
                    let at = (entry.session, attempt, 2);
                    let entry =
                        Entry::signed(&group.key(1), &terms, at, entry.step, entry.prev.clone(), body);
                    let item = Item {
                        attempt,
                        step: entry.step as u8,
                        operator: 2,
                        id: entry.id(&terms),
                    };
                    let message = Message::Entry {
                        item,
                        bytes: entry.encode().into(),
                    };
                    for j in &connected {
                        send(*j, &message);
                    }
                    said.push(message);
                }
                _ => {}
            }
        }
        match events.recv_timeout(Duration::from_millis(50)) {
            Ok(Some(Event::Connected { operator: j })) => {
                connected.insert(j);
                send(j, &Message::Hello(hello.clone()));
                send(
                    j,
                    &Message::Inventory {
                        last: true,
                        items: Vec::new(),
                    },
                );
                for message in &said {
                    send(j, message);
                }
                if connected.len() == 2 {
                    effects.extend(operator.compared());
                }
            }
            Ok(Some(Event::Disconnected { operator: j, .. })) => {
                connected.remove(&j);
            }
            Ok(Some(Event::Message { operator: j, message })) => match message {
                Message::Inventory { items, .. } | Message::Have(items) => {
                    let ids: Vec<_> = items.iter().map(|item| item.id).collect();
                    if !ids.is_empty() {
                        send(j, &Message::Want(ids));
                    }
                }
                Message::Entry { bytes, .. } => {
                    let entry = Entry::decode(&terms, &bytes).unwrap();
                    effects.extend(operator.receive(vec![entry]));
                }
                _ => {}
            },
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// What `conclave verify` says about evidence: its exit code, and the one check of it.
fn verified(paths: &[&Path]) -> (Option<i32>, serde_json::Value) {
    let mut command = conclave();
    command.args(["--json", "verify"]).args(paths);
    let end = Process::start(command).end();
    let checks = end.of("check");
    let proofs: Vec<_> = checks
        .iter()
        .filter(|check| check["check"] == "proves a fault")
        .collect();
    assert_eq!(proofs.len(), 1, "{checks:?}");
    (end.code, (**proofs[0]).clone())
}

fn evidence_is_verified(group: &Group, file: &Path) {
    let finding = "attempt 1: operator 2 (bob): dealt a bad share";
    for path in [file, &group.folder(0)] {
        let (code, check) = verified(&[path]);
        assert_eq!((code, &check["result"]), (Some(0), &"ok".into()), "{check}");
        assert_eq!(check["finding"], finding);
        assert_eq!(check["subject"], file.display().to_string());
    }
    // Handed on to somebody else, who has the definition or not.
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("proof");
    let bytes = fs::read(file).unwrap();
    fs::write(&copy, &bytes).unwrap();
    let (code, check) = verified(&[&copy]);
    assert_eq!(
        (code, &check["result"]),
        (Some(0), &"not checked".into()),
        "{check}"
    );
    let (code, check) = verified(&[&copy, &group.file()]);
    assert_eq!((code, &check["finding"]), (Some(0), &finding.into()), "{check}");
    let (code, check) = verified(&[&copy, &Group::new(3, 2, 1).file()]);
    assert_eq!((code, &check["result"]), (Some(6), &"failed".into()), "{check}");
    assert!(
        check["reason"].as_str().unwrap().contains("another ceremony"),
        "{check}"
    );
    // Against somebody else: the accused operator comes after the attempt in the file's head.
    let mut accuses = bytes.clone();
    accuses[20 + 64 + 1 + 4 + 1] = 1;
    let mut cut = bytes.clone();
    cut.pop();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (bad, why) in [
        (accuses, "proves nothing"),
        (cut, "damaged"),
        (changed, "proves nothing"),
    ] {
        fs::write(&copy, bad).unwrap();
        let (code, check) = verified(&[&copy, &group.file()]);
        assert_eq!((code, &check["result"]), (Some(6), &"failed".into()), "{check}");
        assert!(check["reason"].as_str().unwrap().contains(why), "{check}");
        assert_eq!(check["finding"], serde_json::Value::Null);
    }
    // In its place, but not even a beginning of one.
    fs::write(file.with_file_name("attempt-9"), "nonsense").unwrap();
    let mut command = conclave();
    command.arg("verify").arg(file.with_file_name("attempt-9"));
    assert_eq!(command.output().unwrap().status.code(), Some(6));
    fs::remove_file(file.with_file_name("attempt-9")).unwrap();
}

/// With an identity of the definition: greets, and then sends what is none of the ceremony. Comes back when it was thrown out.
fn talk_nonsense(group: &Group, i: usize) {
    let terms = product::terms(&group.definition, Network::by_name("hoodi").unwrap()).unwrap();
    let limits = FrameLimits {
        operators: u16::try_from(group.n()).unwrap(),
        entry: records::max_entry_bytes(&terms),
        evidence: Evidence::max_bytes(&terms),
    };
    let operators = &group.definition.operators;
    let operators = operators.iter().map(|o| *o.enr.node_public_key()).collect();
    let config = node::Config {
        peers: vec![group.address(0).parse().unwrap()],
        ..node::Config::new(group.key(i), operators, limits)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (handle, mut events) = runtime
        .block_on(async { node::start::<Ceremony>(config) })
        .unwrap();
    let network = Network::by_name("hoodi").unwrap();
    let hello = Hello {
        protocol: PROTOCOL,
        software: "nonsense".into(),
        definition_hash: *terms.definition_hash(),
        genesis_fork_version: network.genesis_fork_version,
        genesis_time: network.genesis_time,
        chain_id: network.chain_id,
    };
    let item = Item {
        attempt: 1,
        step: 0,
        operator: 2,
        id: [7; 32],
    };
    let nonsense = [
        Message::Hello(hello),
        Message::Have(vec![item; 3]),
        Message::Want(vec![[9; 32]; 50]),
        Message::Links(vec![1, 2, 3]),
        Message::Entry {
            item,
            bytes: vec![0xaa; 200].into(),
        },
    ];
    let deadline = Instant::now() + group::PATIENCE;
    let mut thrown_out = 0;
    while thrown_out < 2 {
        assert!(Instant::now() < deadline, "nonsense is tolerated");
        match events.recv_timeout(Duration::from_millis(50)).unwrap() {
            Some(Event::Connected { operator }) => {
                for message in nonsense.clone() {
                    let _ = handle.blocking_give(Command::Send { operator, message });
                }
            }
            Some(Event::Disconnected { .. }) => thrown_out += 1,
            _ => {}
        }
    }
    drop((handle, events));
    runtime.shutdown_timeout(Duration::from_secs(1));
}

#[test]
fn strangers_and_nonsense_hold_nobody_up() {
    let group = Group::new(4, 3, 1);
    let mut processes: Vec<Process> = (0..3).map(|i| group.join(i, &[0, 1, 2])).collect();
    processes[0].until_step(2, "joined");
    // No libp2p at all.
    let mut noise = TcpStream::connect(("127.0.0.1", group.ports[0])).unwrap();
    let _ = noise.write_all(&vec![0xee; 20_000]);
    // An operator of something else.
    let other = Group::new(3, 2, 1);
    let mut command = other.command(1, &[]);
    command.args(["--peer", &format!("/ip4/127.0.0.1/tcp/{}", group.ports[0])]);
    let stranger = Process::start(command);
    processes[0].until_notice("turned away");
    // One of them, but no program that anybody would run.
    talk_nonsense(&group, 3);
    processes[0].until_notice("was disconnected: it sent something");
    assert!(!has_step(processes[0].last("progress"), 3, "joined"));
    // It comes back with the right program, while all of that goes on.
    processes.push(group.join(3, &[0]));
    all_good(processes);
    group.assert_finished();
    drop((noise, stranger));
}

/// A small disk in a mount namespace of its own, which lasts as long as this; `None` where mounting is not permitted.
#[cfg(target_os = "linux")]
struct SmallDisk(std::process::Child);

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// Over a folder, with everything that is in it.
    fn over(folder: &Path, size: &str) -> Option<Self> {
        let script = format!(
            "cp -a \"$1\" \"$1.kept\" && mount -t tmpfs -o size={size},mode=700 tmpfs \"$1\" && cp -a \"$1.kept/.\" \"$1\" \
             && rm -r \"$1.kept\" && echo ready && exec sleep 1000"
        );
        let mut child = std::process::Command::new("unshare")
            .args(["-m", "sh", "-c", &script, "sh"])
            .arg(folder)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take()?)
            .read_line(&mut line)
            .ok()?;
        let disk = Self(child);
        if line != "ready\n" {
            machine::cannot("mount");
            return None;
        }
        Some(disk)
    }

    /// The command, where the disk can be seen.
    fn within(&self, command: &std::process::Command) -> std::process::Command {
        let mut inside = std::process::Command::new("nsenter");
        inside
            .args(["-m", "-t", &self.0.id().to_string(), "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(std::process::Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    fn shell(&self, script: &str, paths: &[&Path]) -> bool {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, "sh"]).args(paths);
        self.within(&command).output().unwrap().status.success()
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_during_a_ceremony_costs_nothing() {
    let group = Group::new(3, 2, 2);
    let Some(disk) = SmallDisk::over(&group.folder(0), "6m") else {
        return;
    };
    let ann = || Process::start(disk.within(&group.command(0, &[1])));
    let mut first = ann();
    let bob = group.join(1, &[0]);
    first.until_step(1, "joined");
    // From now on ann can write nothing more; then carol comes, and there would be much to write.
    assert!(!disk.shell("cat /dev/zero > \"$1/full\"", &[&group.folder(0)]));
    let carol = group.join(2, &[0, 1]);
    first
        .end()
        .refused(1, &["the disk is full", "same command again"]);
    // Not even a start is possible, and it says why.
    let end = ann().end();
    end.refused(1, &[]);
    assert!(
        end.error().contains("full") || end.error().contains("room"),
        "{}",
        end.error()
    );
    assert!(disk.shell("rm \"$1/full\"", &[&group.folder(0)]));
    all_good(vec![ann(), bob, carol]);
    // Out of the namespace, so that everybody can be looked at.
    let out = group.dir.path().join("out");
    assert!(disk.shell("cp -a \"$1\" \"$2\"", &[&group.folder(0), &out]));
    fs::remove_dir_all(group.folder(0)).unwrap();
    fs::rename(out, group.folder(0)).unwrap();
    group.assert_finished();
}

#[test]
fn who_deals_a_bad_share_is_named_and_proven() {
    let group = Group::new(3, 2, 1);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ends: Vec<End> = std::thread::scope(|scope| {
        let mut ann = group.join(0, &[]);
        let mut carol = group.join(2, &[0]);
        ann.until_listening();
        carol.until_listening();
        scope.spawn(|| deal_badly(&group, 1, &stop));
        let ends = vec![ann.end(), carol.end()];
        stop.store(true, Ordering::Relaxed);
        ends
    });
    let terms = Arc::new(product::terms(&group.definition, Network::by_name("hoodi").unwrap()).unwrap());
    for end in ends {
        end.refused(5, &["operator 2 (bob)", "bad share", "new definition"]);
        let fault = end.of("fault")[0];
        assert_eq!((&fault["operator"], &fault["name"]), (&2.into(), &"bob".into()));
        // The proof can be checked by anybody who has the definition.
        let bytes = fs::read(fault["evidence"].as_str().unwrap()).unwrap();
        let net = product::net(Network::by_name("hoodi").unwrap());
        let evidence = Evidence::from_file(&terms, &net, &bytes).unwrap();
        assert!(evidence.check(&terms, &[3; 32]));
        assert_eq!(evidence.finding.operator, 2);
        assert!(Evidence::from_file(&terms, &[0; 32], &bytes).is_none());
    }
    for i in [0, 2] {
        assert!(
            !group.folder(i).join("validator_keys").exists(),
            "there is no key"
        );
    }
    evidence_is_verified(
        &group,
        &group
            .folder(0)
            .join("ceremony/evidence/attempt-1-operator-2-badshare"),
    );
    // It stays so.
    group.join(0, &[]).end().refused(5, &["operator 2 (bob)"]);
}

/// Whoever had voted before it came out waits for the others, who may have finished the attempt that it voted for: and says so.
#[test]
fn whoever_had_voted_before_a_fault_in_another_attempt_says_what_it_waits_for() {
    let mut group = Group::new(3, 2, 1);
    let (mut ann, mut carol) = (group.join(0, &[1, 2]), group.join(2, &[0, 1]));
    ends_before_it_votes(&group, 1, &mut ann);
    for process in [&mut ann, &mut carol] {
        process.until_step(0, "stored");
        process.until_step(2, "stored");
    }
    ann.kill();
    carol.kill();
    group.more = vec!["--attempt".into(), "2".into()];
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ends: Vec<End> = std::thread::scope(|scope| {
        let (mut ann, mut carol) = (group.join(0, &[2]), group.join(2, &[0]));
        ann.until_listening();
        carol.until_listening();
        scope.spawn(|| deal_badly(&group, 2, &stop));
        let ends = vec![ann.end(), carol.end()];
        stop.store(true, Ordering::Relaxed);
        ends
    });
    let said = [
        "somebody broke the protocol",
        "operator 2 (bob)",
        "cluster-lock.json",
    ];
    for end in ends {
        end.refused(5, &said);
    }
    group.more.clear();
    // Nobody is there, and nobody can be asked.
    let mut ann = group.join(0, &[2]);
    let told = ann.until_notice("attempt 2 is over: operator 2 (bob)");
    for part in [
        "you had confirmed your share of attempt 1",
        "conclave waits for any of them",
        "If all the others say that nobody has such a file, leave (Ctrl-C)",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let mut carol = group.join(2, &[0]);
    // Who has compared stays for two seconds; for whoever needs longer on a busy machine it comes again.
    loop {
        while !ann.has_ended() && !carol.has_ended() {
            std::thread::sleep(Duration::from_millis(50));
        }
        if carol.has_ended() {
            break;
        }
        ann.end().refused(5, &said);
        ann = group.join(0, &[2]);
    }
    carol.end().refused(5, &said);
}

/// What is named with a transcript is what it is judged by, and what is wrong with one is told apart.
#[test]
fn a_transcript_without_a_lock_is_judged_by_its_definition() {
    let group = Group::new(2, 2, 1);
    let other = Group::new(2, 2, 1);
    group::all_good(group.join_all());
    let whole = fs::read(group.folder(0).join("ceremony/transcript")).unwrap();
    let alone = group.dir.path().join("alone");
    fs::create_dir(&alone).unwrap();
    let transcript = alone.join("transcript");
    let verify = |bytes: &[u8], more: &[PathBuf], code: i32, parts: &[&str]| {
        fs::write(&transcript, bytes).unwrap();
        let mut command = group::conclave();
        command.arg("verify").arg(&transcript).args(more);
        let output = command.output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        assert_eq!(output.status.code(), Some(code), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    let definition = [group.file()];
    let lock = [group.folder(0).join("cluster-lock.json")];
    let half = &whole[..whole.len() / 2];
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    let longer = [&whole[..], &vec![0; 3_000_000]].concat();
    let zeros = [&whole[..22 + 64], &vec![0; 3_000_000]].concat();
    verify(
        &whole,
        &[],
        0,
        &["not checked", "name the group's cluster-definition.json"],
    );
    verify(
        &whole,
        &definition,
        0,
        &[
            "steps and proofs",
            "no lock to compare it with",
            "finished in attempt 1",
        ],
    );
    verify(&whole, &lock, 0, &["steps and proofs", "leads to the lock"]);
    for more in [&definition[..], &lock, &[]] {
        verify(half, more, 6, &["it is cut off"]);
        verify(&longer, more, 6, &["altered or damaged: it is longer"]);
        verify(&zeros, more, 6, &["altered or damaged: it is longer"]);
    }
    for more in [&definition, &lock] {
        verify(&bent, more, 6, &["it was altered"]);
    }
    verify(
        &whole,
        &[other.file()],
        6,
        &["it is the transcript of another ceremony"],
    );
    verify(
        half,
        &[other.file()],
        6,
        &["it is the transcript of another ceremony"],
    );
    // Beside a lock, with another definition: neither is left out.
    let inside = group.folder(0).join("ceremony/transcript");
    verify(&whole, &[inside.clone(), other.file()], 6, &["another"]);
    // All that are named are verified.
    verify(half, &[inside, group.file()], 6, &["it is cut off"]);
    // One that is not there is told, and is no fault.
    let folder = group.folder(1);
    fs::remove_file(folder.join("ceremony/transcript")).unwrap();
    verify(
        &whole,
        &[folder],
        0,
        &[
            "not checked transcript there is none",
            "there is none",
            "every other operator has the same one",
        ],
    );
}

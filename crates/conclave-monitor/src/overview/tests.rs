use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::*;
use conclave_beacon::{chain::spec::Parting, testing::chain};
use conclave_cluster::lock::Lock;
use conclave_eth::duty::{Duty, Kind};
use conclave_net::events::Reason;
use conclave_validator::observed::{About, ExitStage, ExitStands, Seen, Vote, Votes};
use conclave_validator::{
    core::{Cause, ChainClock, Decision, Missed, Times},
    wire::Abilities,
};

/// alice (this node), bob, carol and dave with two validators; 3 must sign.
pub(crate) fn overview() -> Overview {
    let path = format!("{}/vectors/cluster-lock.json", env!("CARGO_MANIFEST_DIR"));
    let lock = Lock::from_json(&std::fs::read(path).unwrap()).unwrap();
    let names = ["alice", "bob", "carol", "dave"].map(str::to_owned);
    let group = Group::new(&lock, &names).unwrap();
    Overview::new(&group, 1, "conclave/1", false, false, 0)
}

/// A node of a chain of 8 slots an epoch that signs, in slot 9: bob and carol are here; slot 8 is over, without dave.
pub(crate) fn told(mut overview: Overview) -> Overview {
    let mut tell = |news| overview.tell(&news, at(9));
    tell(News::Chain(Arc::new(chain("minimal"))));
    tell(News::Marked(None));
    tell(starts(1));
    tell(News::BeaconNodes(vec![health(NodeState::Ready)]));
    for operator in [2, 3] {
        tell(News::Network(NetEvent::Connected { operator }));
        tell(News::Network(NetEvent::Path {
            operator,
            through: None,
        }));
    }
    tell(News::Slot(8));
    tell(decided(8));
    tell(over(8, &[1, 2, 3]));
    tell(News::Slot(9));
    overview
}

impl Overview {
    /// An operator takes another name.
    pub(crate) fn rename(&mut self, operator: u16, name: &str) {
        self.operator(operator).unwrap().name = name.to_owned();
    }
}

fn at(slot: u64) -> u64 {
    chain("minimal").time().start_of(slot)
}

fn starts(first_target: u64) -> News {
    News::Starts(Start {
        first_slot: 0,
        first_target,
    })
}

fn health(state: NodeState) -> Health {
    Health {
        name: "http://localhost:5052".to_owned(),
        state,
        version: "Imitation/1".to_owned(),
        head_slot: 8,
        latency: Duration::from_millis(3),
        trouble: None,
        silent: None,
        parting: None,
    }
}

const DECISION: Decision = Decision {
    round: 0,
    times: Times {
        took_ms: 15,
        after_due_ms: 5,
    },
};
const SIGNED: Times = Times {
    took_ms: 28,
    after_due_ms: 33,
};

fn decided(slot: u64) -> News {
    News::Report(Report::Decided {
        duty: Duty {
            slot,
            kind: Kind::Head,
        },
        decision: DECISION,
        voters: [1, 2, 3].into(),
    })
}

fn account(partials: &[u16], signed: &[u32]) -> Account {
    Account {
        purpose: Purpose::Attestation,
        validators: [0, 1].into(),
        decision: Some(DECISION),
        voters: [1, 2, 3].into(),
        unanswered: false,
        answered_in_ms: None,
        missed: Vec::new(),
        signed: signed.iter().copied().collect(),
        signed_times: Some(SIGNED),
        partials: partials.iter().copied().collect(),
    }
}

fn over(slot: u64, partials: &[u16]) -> News {
    News::Report(Report::Over {
        slot,
        away: BTreeSet::new(),
        duties: vec![account(partials, &[0, 1])],
    })
}

fn made(slot: u64, validators: &[u32]) -> News {
    News::Report(Report::Made {
        purpose: Purpose::Attestation,
        slot,
        validators: validators.iter().copied().collect(),
        times: SIGNED,
        contributors: [1, 2, 3].into(),
    })
}

#[test]
fn a_node_that_does_its_part_is_healthy() {
    let overview = told(overview());
    let view = overview.view(at(9), 10);
    assert_eq!(
        (view.state, view.healthy),
        (State::Signing, true),
        "{:?}",
        view.reasons
    );
    assert_eq!((view.slot, view.epoch), (Some(9), Some(1)));
    assert_eq!(view.warnings.len(), 1);
    assert!(
        view.warnings[0].starts_with("3 of 4 operators are here; if one more goes offline"),
        "{:?}",
        view.warnings
    );
    // What is written can be read, whatever stands in names.
    let text = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<View>(&text).unwrap(), view);
    // What another version leaves out, or writes without a value.
    for key in ["signs_from_ms", "live", "last_round_ms"] {
        let mut without: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut null = without.clone();
        without.as_object_mut().unwrap().remove(key).unwrap();
        null[key] = serde_json::Value::Null;
        let [without, null] = [without, null].map(|value| serde_json::from_value::<View>(value).unwrap());
        assert_eq!(without, null, "{key}");
    }
}

#[test]
fn why_a_node_cannot_do_its_part_is_said() {
    let reasons = |tell: &dyn Fn(&mut Overview), now: u64| {
        let mut overview = told(overview());
        tell(&mut overview);
        let view = overview.view(now, 10);
        assert!(!view.healthy);
        (view.state, view.reasons.join("; "))
    };
    let gone = |overview: &mut Overview| {
        let event = NetEvent::Disconnected {
            operator: 2,
            reason: Reason::Left,
        };
        overview.tell(&News::Network(event), at(9));
    };
    let (state, why) = reasons(&gone, at(9));
    assert_eq!(
        (state, why.as_str()),
        (State::Signing, "2 of 4 operators are here, and 3 must be")
    );
    let syncing = |overview: &mut Overview| {
        overview.tell(&News::BeaconNodes(vec![health(NodeState::Syncing(40))]), at(9));
    };
    let (_, why) = reasons(&syncing, at(9));
    assert!(
        why.contains("no beacon node is in step") && why.contains("40 slots behind"),
        "{why}"
    );
    let stalled = |overview: &mut Overview| {
        overview.tell(&News::BeaconNodes(vec![health(NodeState::Stalled(40))]), at(9));
    };
    let (_, why) = reasons(&stalled, at(9));
    assert!(
        why.contains("no beacon node is in step") && why.contains("its newest block is 40 slots old"),
        "{why}"
    );
    let forgot = |overview: &mut Overview| {
        overview.tell(&starts(3), at(9));
        overview.tell(&News::Report(Report::Forgotten { operator: 3 }), at(9));
    };
    assert!(
        reasons(&forgot, at(9))
            .1
            .contains("carol holds newer signatures of yours")
    );
    let fork = |overview: &mut Overview| {
        let news = News::UnknownFork {
            name: "eip9999".to_owned(),
            epoch: 1,
        };
        overview.tell(&news, at(9));
    };
    assert_eq!(reasons(&fork, at(9)).0, State::UnknownFork);
    let disk = |overview: &mut Overview| overview.tell(&News::Guard(Some("no space left".to_owned())), at(9));
    let (state, why) = reasons(&disk, at(9));
    assert_eq!(
        (state, why.as_str()),
        (State::Signing, "the slashing protection fails: no space left")
    );
    // What the own beacon nodes do not take is warned of until they do, or an epoch is over.
    let submitted = |overview: &mut Overview, slot, taken| {
        let delivery = if taken {
            Delivery::Taken
        } else {
            Delivery::NotTaken {
                why: "it answers HTTP 400: wrong".to_owned(),
                advice: "",
            }
        };
        let news = News::Submitted {
            purpose: Purpose::Attestation,
            slot,
            count: 2,
            delivery,
        };
        overview.tell(&news, at(slot));
    };
    let warned = |overview: &Overview| {
        let warnings = overview.view(at(9), 9).warnings;
        warnings.iter().any(|one| {
            one.starts_with(
                "none of your beacon nodes took the attestation of slot 9: it answers HTTP 400: wrong",
            )
        })
    };
    let mut told_so = told(overview());
    submitted(&mut told_so, 9, false);
    assert!(warned(&told_so));
    assert_eq!(told_so.totals().not_taken[&Purpose::Attestation], 2);
    submitted(&mut told_so, 9, true);
    assert!(!warned(&told_so));
    submitted(&mut told_so, 9, false);
    told_so.tell(&News::Slot(9 + 1000), at(9 + 1000));
    assert!(!warned(&told_so));
    let twin = |overview: &mut Overview| overview.tell(&News::Stopped(Stop::Twin([7; 16])), at(9));
    let (state, why) = reasons(&twin, at(9));
    assert_eq!(state, State::Stopping);
    assert!(why.starts_with("a second copy of this folder runs"), "{why}");
    let jumps = |overview: &mut Overview| {
        for _ in 0..2 {
            overview.tell(&News::ClockJumped { by_ms: 60_000 }, at(9));
            overview.tell(&starts(3), at(9));
        }
    };
    let (state, why) = reasons(&jumps, at(9));
    assert_eq!(state, State::Waiting);
    assert!(why.contains("the clock jumps again and again"), "{why}");
    let dry = {
        let mut overview = told(overview());
        overview.dry_run = true;
        overview.view(at(9), 10)
    };
    assert_eq!((dry.state, dry.healthy), (State::DryRun, false));
}

#[test]
fn a_node_that_merely_waits_is_healthy_and_says_from_when_it_signs() {
    let view = |tell: &dyn Fn(&mut Overview), now: u64| {
        let mut overview = told(overview());
        tell(&mut overview);
        let view = overview.view(now, 10);
        assert!(view.healthy && view.reasons.is_empty(), "{:?}", view.reasons);
        assert_eq!(view.merely(), Some(view.why.as_str()));
        view
    };
    let waits = view(&|overview| overview.tell(&starts(3), at(9)), at(9));
    assert_eq!(waits.state, State::Waiting);
    assert_eq!(
        (waits.signs_from_epoch, waits.signs_from_ms),
        (Some(3), Some(at(3 * 8)))
    );
    assert!(
        waits.why.contains("from epoch 3 on") && waits.why.contains("safety wait after every start"),
        "{}",
        waits.why
    );
    let marked = |overview: &mut Overview| {
        overview.tell(&News::Marked(Some(Mark::New)), at(9));
        overview.tell(&starts(4), at(9));
    };
    assert!(view(&marked, at(9)).why.contains("was made anew"));
    // A machine that slept once; and twice, long after the wait was over.
    let slept = |overview: &mut Overview| {
        for slot in [9, 40] {
            overview.tell(&News::ClockJumped { by_ms: 60_000 }, at(slot));
            overview.tell(&starts(slot / 8 + 1), at(slot));
        }
    };
    assert_eq!(view(&slept, at(40)).state, State::Waiting);
    let early = view(&|overview| overview.tell(&starts(0), at(0) - 5000), at(0) - 5000);
    assert_eq!(early.state, State::BeforeGenesis);
    assert_eq!(
        (early.signs_from_epoch, early.signs_from_ms, early.slot),
        (Some(0), Some(at(0)), None)
    );
    // Waiting excuses nothing else.
    let mut overview = told(overview());
    overview.tell(&starts(3), at(9));
    overview.tell(&News::Guard(Some("no space left".to_owned())), at(9));
    assert!(!overview.view(at(9), 10).healthy);
    overview.tell(&News::Guard(None), at(9));
    assert!(overview.view(at(9), 10).healthy);
    overview.tell(&News::BeaconNodes(vec![health(NodeState::Unknown)]), at(9));
    assert!(!overview.view(at(9), 10).healthy);
}

/// That a folder was restored is known before any beacon node is there.
#[test]
fn a_restored_folder_says_so_while_it_waits_for_a_beacon_node() {
    let mut overview = overview();
    overview.tell(&News::WaitingForBeaconNode("http://a: refused".to_owned()), at(9));
    assert!(!overview.view(at(9), 10).why.contains("restored"));
    overview.tell(&News::Marked(Some(Mark::Restored)), at(9));
    let view = overview.view(at(9), 10);
    assert_eq!(view.state, State::WaitingForBeaconNode);
    assert!(
        view.why.contains("http://a: refused") && view.why.contains("restored from a backup"),
        "{}",
        view.why
    );
    assert_eq!(view.restored, Some(RestoredView::default()));
}

/// For whom a restored folder waits is a matter for people, until it waits for time alone.
#[test]
fn a_restored_folder_says_for_whom_it_waits() {
    let mut overview = told(overview());
    assert_eq!(overview.view(at(9), 10).restored, None);
    overview.tell(&News::Marked(Some(Mark::Restored)), at(9));
    overview.tell(&News::Starts(Start::NEVER), at(9));
    let view = overview.view(at(9), 10);
    assert_eq!(
        (view.state, view.healthy, view.signs_from_epoch),
        (State::Waiting, false, None)
    );
    assert_eq!(view.restored, Some(RestoredView::default()));
    let report = |missing: &[u16], start| {
        News::Report(Report::Restoring(Restoring {
            missing: missing.iter().copied().collect(),
            excused: [3].into(),
            answered: [2].into(),
            clocks: missing
                .iter()
                .copied()
                .filter(|operator| *operator == 1)
                .collect(),
            chain: ChainClock::Agrees,
            ahead: BTreeSet::new(),
            start,
        }))
    };
    // A fork that comes some day has no part in it.
    overview.tell(
        &News::UnknownFork {
            name: "heze".to_owned(),
            epoch: 1000,
        },
        at(9),
    );
    overview.tell(&report(&[4], None), at(9));
    let view = overview.view(at(9), 10);
    assert!(
        view.why.contains(
            "It waits for dave (not waited for, by your word: carol). If it waits in vain: in a group of "
        ),
        "{}",
        view.why
    );
    assert!(
        view.why.contains(view.database_mark.as_deref().unwrap()),
        "{}",
        view.why
    );
    assert_eq!(view.reasons, std::slice::from_ref(&view.why));
    let restored = view.restored.unwrap();
    assert_eq!(
        (restored.waits_for, restored.without, restored.answered),
        (vec![4], vec![3], vec![2])
    );
    assert!(restored.clocks_differ.is_empty());
    // All have told, and the own beacon node speaks against the clock.
    let alone = Restoring {
        answered: [1, 2, 4].into(),
        chain: ChainClock::Ahead,
        ahead: ["http://a".to_owned()].into(),
        ..Restoring::default()
    };
    overview.tell(&News::Report(Report::Restoring(alone)), at(9));
    let view = overview.view(at(9), 10);
    assert!(
        view.why
            .contains("the newest block of http://a is of a slot that is still to come: the clock is behind")
            && !view.why.contains("It waits for"),
        "{}",
        view.why
    );
    let restored = view.restored.unwrap();
    assert_eq!(restored.chain_clock, ChainClock::Ahead);
    assert_eq!(restored.heads_ahead, ["http://a"]);
    // A clock that is wrong is why it waits, whoever's it is.
    overview.tell(&report(&[1, 4], None), at(9));
    let view = overview.view(at(9), 10);
    assert!(
        view.why
            .contains("The clocks of alice and this machine differ too much"),
        "{}",
        view.why
    );
    assert_eq!(view.restored.unwrap().clocks_differ, [1]);
    overview.tell(&report(&[4], None), at(9));
    let start = Start {
        first_slot: 32,
        first_target: 4,
    };
    overview.tell(&report(&[], Some(start)), at(9));
    let view = overview.view(at(9), 10);
    assert_eq!((view.state, view.signs_from_epoch), (State::Waiting, Some(4)));
    assert!(
        view.healthy && view.why.contains("restored from a backup"),
        "{}",
        view.why
    );
    let view = overview.view(at(32), 10);
    assert_eq!(view.state, State::Signing);
    // What others tell was needed by this start only.
    overview.tell(&News::Starts(Start::NEVER), at(33));
    assert_eq!(overview.view(at(33), 10).restored, Some(RestoredView::default()));
    overview.tell(&News::Marked(None), at(33));
    assert_eq!(overview.view(at(33), 10).restored, None);
}

#[test]
fn who_signs_nothing_never_says_from_when_on_it_signs() {
    let fork = |epoch| News::UnknownFork {
        name: "gloas".to_owned(),
        epoch,
    };
    let signs_from = |tell: &dyn Fn(&mut Overview)| {
        let mut overview = told(overview());
        overview.tell(&starts(3), at(9));
        tell(&mut overview);
        let view = overview.view(at(9), 10);
        assert_eq!(view.signs_from_epoch.is_some(), view.signs_from_ms.is_some());
        (view.state, view.signs_from_epoch, view.why)
    };
    assert_eq!(signs_from(&|_| {}).1, Some(3));
    assert_eq!(signs_from(&|overview| overview.tell(&fork(4), at(9))).1, Some(3));
    let in_force = signs_from(&|overview| overview.tell(&fork(1), at(9)));
    assert_eq!((in_force.0, in_force.1), (State::UnknownFork, None));
    let comes_first = signs_from(&|overview| overview.tell(&fork(3), at(9)));
    assert_eq!((comes_first.0, comes_first.1), (State::Waiting, None));
    assert!(
        comes_first.2.contains("before the fork gloas comes at epoch 3"),
        "{}",
        comes_first.2
    );
    let dry = signs_from(&|overview| overview.dry_run = true);
    assert_eq!((dry.0, dry.1), (State::DryRun, None));
    let news = News::Stopping { slot: 9, left_ms: 1 };
    let stopping = signs_from(&|overview| overview.tell(&news, at(9)));
    assert_eq!((stopping.0, stopping.1), (State::Stopping, None));
}

#[test]
fn a_node_whose_loop_stands_still_neither_lives_nor_is_healthy() {
    let mut view = told(overview()).view(at(9), 10);
    view.quiet_for(Duration::from_secs(2));
    assert!(view.live && view.healthy);
    assert_eq!(view.last_round_ms, 2000);
    view.quiet_for(Duration::from_secs(40));
    assert!(!view.live && !view.healthy);
    assert!(
        view.reasons[0].starts_with("nothing has happened for 40 s"),
        "{:?}",
        view.reasons
    );
}

#[test]
fn all_others_may_confirm_and_then_it_signs() {
    let mut overview = told(overview());
    overview.tell(&starts(2), at(9));
    assert_eq!(overview.view(at(9), 10).signs_from_epoch, Some(2));
    overview.tell(&News::Report(Report::Confirmed), at(9));
    let view = overview.view(at(9), 10);
    assert_eq!((view.state, view.signs_from_epoch), (State::Signing, None));
}

#[test]
fn a_fork_is_warned_of_days_before() {
    let mut overview = told(overview());
    let news = News::UnknownFork {
        name: "eip9999".to_owned(),
        epoch: 20_000,
    };
    overview.tell(&news, at(9));
    let view = overview.view(at(9), 10);
    assert!(view.healthy);
    assert!(
        view.warnings[0].contains("eip9999 comes at epoch 20000, in "),
        "{:?}",
        view.warnings
    );
    let fork = view.unknown_fork.unwrap();
    assert_eq!(fork.in_seconds, (at(20_000 * 8) - at(9)) / 1000);
}

#[test]
fn a_beacon_node_with_another_fork_schedule_is_warned_of() {
    let mut overview = told(overview());
    let parting = Parting {
        epoch: 20,
        fork: "gloas".to_owned(),
        epochs: [None, Some(20)],
    };
    let mut later = health(NodeState::Ready);
    later.parting = Some(parting.clone());
    let news = News::BeaconNodes(vec![later, health(NodeState::OtherSchedule(parting))]);
    overview.tell(&news, at(9));
    let view = overview.view(at(9), 10);
    assert!(view.healthy);
    for words in [
        "say that it is not scheduled. Nothing is wrong yet: it is used until epoch 18 is over",
        "is not used: it says that the fork gloas begins with epoch 20",
    ] {
        let warned = view.warnings.iter().any(|warning| warning.contains(words));
        assert!(warned, "{words}: {:?}", view.warnings);
    }
    assert_eq!(view.beacon_nodes[1].state, "other_schedule");
}

#[test]
fn a_clock_that_is_far_off_is_named() {
    let mut overview = told(overview());
    let peer = |offset| Peer {
        software: "conclave/2".to_owned(),
        dry_run: offset == 20,
        clock_offset_ms: Some(offset),
        abilities: Abilities::default(),
    };
    overview.tell(
        &News::Peers(vec![(2, peer(-2000)), (3, peer(20)), (9, peer(0))]),
        at(9),
    );
    let view = overview.view(at(9), 10);
    assert!(
        view.warnings
            .iter()
            .any(|text| text.contains("the clock of bob is 2000 ms behind")),
        "{:?}",
        view.warnings
    );
    assert!(!view.warnings.iter().any(|text| text.contains("carol")));
    overview.tell(&News::Peers(vec![(3, peer(3_600_987))]), at(9));
    let later = overview.view(at(9), 10);
    assert!(
        later
            .warnings
            .iter()
            .any(|text| text.contains("the clock of carol is 60 min ahead of yours")),
        "{:?}",
        later.warnings
    );
    assert_eq!(view.operators[2].clock_offset_ms, Some(20));
    assert_eq!(view.operators[1].software, "conclave/2");
    let dry: Vec<bool> = view.operators.iter().map(|one| one.dry_run).collect();
    assert_eq!(dry, [false, false, true, false]);
}

#[test]
fn operators_who_are_set_up_differently_are_named() {
    let mut overview = told(overview());
    let peer = |builder, forks: &[&str]| Peer {
        abilities: Abilities {
            builder,
            forks: (!forks.is_empty()).then(|| forks.iter().map(|fork| (*fork).to_owned()).collect()),
        },
        ..Peer::default()
    };
    let told_of = |overview: &Overview, part: &str| {
        let warnings = overview.view(at(9), 10).warnings;
        warnings
            .into_iter()
            .filter(|text| text.contains(part))
            .collect::<Vec<_>>()
    };
    let all = ["electra", "fulu"];
    overview.tell(
        &News::Peers(vec![
            (2, peer(Some(false), &all)),
            (3, peer(None, &[])),
            (4, peer(Some(true), &all)),
        ]),
        at(9),
    );
    let views = overview.view(at(9), 10).operators;
    let builders: Vec<Option<bool>> = views.iter().map(|one| one.builder).collect();
    // Who is away says nothing any more.
    assert_eq!(builders[..3], [Some(false), Some(false), None]);
    assert_eq!(views[1].forks, all);
    assert_eq!(views[0].forks, all);
    assert!(views[2].forks.is_empty());
    overview.tell(&News::Network(NetEvent::Connected { operator: 4 }), at(9));
    let warnings = told_of(&overview, "--builder");
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("with --builder (dave) and some without (alice, bob)"),
        "{warnings:?}"
    );
    overview.tell(&News::Peers(vec![(4, peer(Some(false), &all))]), at(9));
    assert!(told_of(&overview, "--builder").is_empty());
    overview.tell(
        &News::Network(NetEvent::Disconnected {
            operator: 4,
            reason: Reason::Left,
        }),
        at(9),
    );
    overview.tell(&News::Peers(vec![(4, peer(Some(true), &all))]), at(9));
    assert!(told_of(&overview, "--builder").is_empty());

    // This chain's next fork is Fulu, with epoch 2; carol's program is an old one that says nothing.
    assert!(told_of(&overview, "the fork").is_empty());
    overview.tell(&News::Peers(vec![(2, peer(Some(false), &["electra"]))]), at(9));
    let warnings = told_of(&overview, "the fork");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("the fork fulu comes at epoch 2, and the program of bob does not know it"),
        "{warnings:?}"
    );
}

#[test]
fn each_slot_has_a_letter_for_each_operator() {
    let mut overview = told(overview());
    let some = News::Report(Report::Over {
        slot: 9,
        away: BTreeSet::new(),
        duties: vec![account(&[1, 2, 4], &[0, 1]), account(&[1, 3, 4], &[])],
    });
    overview.tell(&some, at(10));
    for slot in 10..=14 {
        overview.tell(&News::Slot(slot), at(slot));
    }
    let view = overview.view(at(14), 10);
    assert_eq!(view.first_slot, 8);
    let letters: Vec<&str> = view
        .operators
        .iter()
        .map(|one| one.participation.as_str())
        .collect();
    // In slots 10 and 11 there was nothing to do; what came of the latest ones is not known yet.
    assert_eq!(letters, ["yy--???", "yp--???", "yp--???", "ny--???"]);
    assert_eq!((view.operators[3].took_part, view.operators[3].duties), (2, 3));
    let totals = overview.totals();
    assert_eq!(totals.operators, [(3, 0), (2, 1), (2, 1), (2, 1)]);
    assert_eq!(totals.not_signed[&Purpose::Attestation], 2);
}

#[test]
fn while_no_beacon_node_is_of_use_nobody_knows_what_was_due() {
    let mut overview = told(overview());
    overview.tell(&News::BeaconNodes(vec![health(NodeState::Unknown)]), at(9));
    for slot in 10..=20 {
        overview.tell(&News::Slot(slot), at(slot));
    }
    let view = overview.view(at(20), 10);
    assert!(
        view.operators[0].participation.ends_with("??????????"),
        "{:?}",
        view.operators[0]
    );
}

#[test]
fn duties_show_their_steps_and_who_was_missing() {
    let mut overview = told(overview());
    let duty = overview.view(at(9), 10).duties.remove(0);
    assert_eq!(
        (duty.slot, duty.agreed_ms, duty.signed_ms, duty.late_ms),
        (8, Some(15), Some(28), Some(33))
    );
    assert_eq!(
        (duty.signed, duty.validators, duty.missing),
        (2, Some(2), vec![4])
    );
    // Before its end a slot shows what is there.
    overview.tell(&decided(9), at(9));
    overview.tell(&made(9, &[0]), at(9));
    overview.tell(&made(9, &[1]), at(9));
    let view = overview.view(at(9), 10);
    assert_eq!(
        (
            view.duties[0].slot,
            view.duties[0].signed,
            view.duties[0].validators
        ),
        (9, 2, None)
    );
    assert_eq!(view.steps[0].duty, "attestation");
    assert_eq!(
        (
            view.steps[0].times,
            view.steps[0].signed_ms,
            view.steps[0].late_ms
        ),
        (2, Some([28, 28, 28]), Some([33, 33, 33]))
    );
    assert_eq!(overview.totals().signed[&Purpose::Attestation].count, 2);
    assert_eq!(overview.totals().agreed[&Kind::Head].count, 2);
    // Of long ago, or told again: it does not count.
    overview.tell(&decided(2), at(9));
    overview.tell(&made(2, &[0]), at(9));
    overview.tell(&decided(9), at(9));
    assert_eq!(overview.totals().agreed[&Kind::Head].count, 2);
    assert_eq!(overview.totals().signed[&Purpose::Attestation].count, 2);
}

#[test]
fn votes_are_told_once_and_belong_to_their_slot() {
    let mut overview = told(overview());
    let seen = |validator, status: &str| Seen {
        validator,
        index: 100 + u64::from(validator),
        status: status.to_owned(),
        balance: 32_000_000_000,
        slashed: false,
    };
    let both = vec![
        seen(0, "active_ongoing"),
        seen(1, "active_ongoing"),
        seen(7, "active_ongoing"),
    ];
    overview.tell(&News::Validators(both), at(9));
    overview.tell(&made(9, &[0, 1]), at(9));
    let vote = |validator, included, head| Vote {
        validator,
        included,
        target: Some(included),
        head: Some(head),
    };
    let votes = News::Votes(Votes {
        epoch: 1,
        votes: vec![vote(0, true, true), vote(1, false, false), vote(7, true, true)],
    });
    for _ in 0..2 {
        overview.tell(&votes, at(24));
    }
    let totals = overview.totals();
    assert_eq!(
        (
            totals.votes_included,
            totals.votes_missed,
            totals.votes_right_head
        ),
        (1, 1, 1)
    );
    let view = overview.view(at(24), 10).validators;
    assert_eq!(
        (view.count, view.last_epoch, view.last_included, view.last_missed),
        (2, Some(1), 1, 1)
    );
    assert_eq!(view.balance_gwei, 64_000_000_000);
    let last = view.list[0].last_included.unwrap();
    assert_eq!(
        (last.slot, last.distance, last.head),
        (Some(9), Some(1), Some(true))
    );
    assert_eq!(
        (view.list[1].missed_epoch, view.list[1].last_included),
        (Some(1), None)
    );
    // Who needs a look comes first when not all are shown.
    let view = overview.view(at(24), 1).validators;
    assert_eq!((view.count, view.list.len(), view.list[0].validator), (2, 1, 1));
}

#[test]
fn memory_does_not_grow() {
    let mut overview = told(overview());
    let mut sizes = BTreeSet::new();
    for slot in 10..2000 {
        let now = at(slot);
        overview.tell(&News::Slot(slot), now);
        overview.tell(&decided(slot), now);
        overview.tell(&made(slot, &[0, 1]), now);
        overview.tell(&over(slot, &[1, 2, 3]), now);
        // What nobody asked for, of long ago and of far ahead.
        overview.tell(&made(slot - 10, &[0]), now);
        overview.tell(&made(3, &[0]), now);
        overview.tell(&decided(3), now);
        if slot > 1000 {
            let text = serde_json::to_string(&overview.view(now, 10)).unwrap();
            sizes.insert((overview.duties.len(), overview.grid.len(), text.len() / 200));
        }
    }
    assert!(sizes.len() <= 2, "{sizes:?}");
    let (slots, _, _) = sizes.pop_first().unwrap();
    assert_eq!(slots, 32);
}

#[test]
fn what_was_not_seen_counts_neither_as_done_nor_as_missed() {
    let mut overview = told(overview());
    let before = overview.view(at(9), 10);
    let totals = overview.totals().clone();
    let standstill = Standstill {
        from_ms: at(9) + 100,
        to_ms: at(12) + 100,
    };
    overview.tell(&News::StoodStill(standstill), at(12) + 100);
    let unseen = Account {
        missed: vec![Missed {
            cause: Cause::Unseen,
            validators: [0, 1].into(),
            partials: BTreeSet::new(),
            differ: BTreeSet::new(),
        }],
        signed_times: None,
        ..account(&[], &[])
    };
    for slot in 12..20 {
        overview.tell(&News::Slot(slot), at(slot) + 100);
        if slot == 13 {
            for slot in 9..=11 {
                let over = Report::Over {
                    slot,
                    away: BTreeSet::new(),
                    duties: vec![unseen.clone()],
                };
                overview.tell(&News::Report(over), at(13) + 100);
            }
        }
    }
    let after = overview.view(at(19) + 200, 10);
    for (before, after) in before.operators.iter().zip(&after.operators) {
        assert_eq!((before.took_part, before.duties), (after.took_part, after.duties));
        // Slots 9 to 12: not even whether there was something to do.
        assert!(
            after.participation.ends_with("????----???"),
            "{}",
            after.participation
        );
    }
    assert_eq!(overview.totals().not_signed, totals.not_signed);
    assert_eq!(overview.totals().operators, totals.operators);
    assert_eq!(overview.totals().standstills, 1);
    let warned = |view: &View| view.warnings.iter().any(|text| text.contains("stood still for "));
    assert!(warned(&after) && !warned(&before), "{:?}", after.warnings);
    // It is no news for ever.
    assert!(!warned(&overview.view(at(60), 10)));
}

#[test]
fn who_ran_twice_and_who_disagrees_is_warned_of_until_that_is_over() {
    let mut overview = told(overview());
    let warned = |overview: &Overview, what: &str| {
        let view = overview.view(at(9), 10);
        view.warnings.iter().any(|text| text.contains(what))
    };
    overview.tell(&News::Report(Report::RanTwice { operator: 2 }), at(9));
    assert!(warned(&overview, "bob ran twice with one share"));
    let reason = Reason::Lost(String::new());
    overview.tell(
        &News::Network(NetEvent::Disconnected { operator: 2, reason }),
        at(9),
    );
    assert!(warned(&overview, "bob ran twice with one share"));
    overview.tell(&News::Network(NetEvent::Connected { operator: 2 }), at(9));
    assert!(!warned(&overview, "ran twice"));
    let one = Dissenter {
        name: "http://a".to_owned(),
        about: About::Index,
    };
    overview.tell(&News::Dissent(vec![one]), at(9));
    assert!(warned(
        &overview,
        "http://a says something else about the index of your validators"
    ));
    overview.tell(&News::Dissent(Vec::new()), at(9));
    assert!(!warned(&overview, "http://a"));
}

#[test]
fn each_status_of_a_validator_has_words_and_where_nothing_is_to_be_signed_it_says_why() {
    let mut overview = told(overview());
    let view = overview.view(at(9), 10).validators;
    assert_eq!(view.standings, [("not looked up yet".to_owned(), 2)]);
    assert_eq!(
        (view.nothing_to_sign, view.list[0].standing.as_str()),
        (None, "not looked up yet")
    );
    let seen = |validator, status: &str| Seen {
        validator,
        index: 100 + u64::from(validator),
        status: status.to_owned(),
        balance: 32_000_000_000,
        slashed: false,
    };
    overview.tell(&News::Validators(Vec::new()), at(9));
    let view = overview.view(at(9), 10).validators;
    assert_eq!(view.standings, [("not on the chain yet".to_owned(), 2)]);
    assert_eq!(
        view.nothing_to_sign.as_deref(),
        Some("not on the chain yet: nothing to sign until it is deposited and active")
    );
    // Every status of the Beacon API, of the first of two; the second one is not there.
    for (status, words, nothing) in [
        (
            "pending_initialized",
            "deposited, not yet in the queue",
            Some("not active yet"),
        ),
        (
            "pending_queued",
            "in the queue to become active",
            Some("not active yet"),
        ),
        ("active_ongoing", "active", None),
        ("active_exiting", "active, leaving", None),
        ("active_slashed", "slashed, leaving", None),
        (
            "exited_unslashed",
            "left, its money comes later",
            Some("left the chain"),
        ),
        (
            "exited_slashed",
            "slashed, left, what remains of its money comes later",
            Some("left the chain"),
        ),
        (
            "withdrawal_possible",
            "left, its money is on the way",
            Some("left the chain"),
        ),
        (
            "withdrawal_done",
            "left, its money is paid out",
            Some("left the chain"),
        ),
        ("of_another_version", "of another version", None),
    ] {
        overview.tell(&News::Validators(vec![seen(0, status)]), at(9));
        let view = overview.view(at(9), 10).validators;
        assert_eq!(view.list[0].standing, words);
        assert_eq!(view.list[0].status, status);
        assert!(
            view.standings.contains(&(words.to_owned(), 1)),
            "{status}: {view:?}"
        );
        let told = view.nothing_to_sign;
        assert_eq!(told.is_some(), nothing.is_some(), "{status}: {told:?}");
        assert!(
            told.unwrap_or_default().contains(nothing.unwrap_or_default()),
            "{status}"
        );
    }
}

#[test]
fn an_exit_that_is_under_way_says_who_consents_who_does_not_yet_and_how_far_it_is() {
    let mut overview = told(overview());
    assert_eq!(overview.view(at(9), 10).exits, []);
    let mut text = |consents: &[u16], stage: ExitStage| {
        let exits = vec![ExitStands {
            epoch: 7,
            index: 100,
            consents: consents.to_vec(),
            stage,
        }];
        overview.tell(&News::ExitsStand { validator: 1, exits }, at(9));
        let mut exits = overview.view(at(9), 10).exits;
        assert_eq!(exits.len(), 1);
        exits.remove(0)
    };
    let waits = text(&[1, 3], ExitStage::Waits);
    assert_eq!(
        (waits.validator, waits.epoch, waits.needed, waits.stage.as_str()),
        (1, 7, 3, "waits")
    );
    assert_eq!((waits.consents, waits.missing), (vec![1, 3], vec![2, 4]));
    for part in [
        "Exit of validator 100 (0x",
        "not before epoch 7",
        "2 of the 3 that are needed consent: alice, carol; not yet: bob, dave",
    ] {
        assert!(waits.text.contains(part), "{part} is not in {}", waits.text);
    }
    for (stage, name, part) in [
        (ExitStage::Signed, "signed", "given to the beacon nodes"),
        (ExitStage::Submitted, "submitted", "a beacon node took it"),
        (
            ExitStage::NotTaken("HTTP 503".to_owned()),
            "not_taken",
            "(HTTP 503); it is tried again",
        ),
        (
            ExitStage::Leaves(12),
            "leaves",
            "lets the validator go at epoch 12",
        ),
    ] {
        let view = text(&[1, 2, 3], stage);
        assert_eq!(view.stage, name);
        assert!(
            view.text.contains(part) && view.text.contains("consent: alice, bob, carol"),
            "{view:?}"
        );
    }
}

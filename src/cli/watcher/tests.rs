use std::{collections::BTreeSet, sync::Arc};

use super::{beacon::DAY_MS, *};
use conclave_beacon::{
    chain::spec::{Chain, Genesis, Spec},
    http::{Address, ErrorKind, NodeError},
    nodes::{Health, State},
};
use conclave_consensus::Misbehaviour;
use conclave_eth::duty::{Duty, Kind, Purpose};
use conclave_net::events::{Event as NetEvent, Reason};
use conclave_validator::observed::{About, Dissenter, Seen};
use conclave_validator::{
    core::{Account, Cause, ChainClock, Decision, Missed, Report, Restoring, Standstill, Times},
    node::Delivery,
};

fn watcher() -> Watcher {
    let names = ["alice", "bob", "carol", "da\u{1b}ve"]
        .map(str::to_owned)
        .to_vec();
    let mut watcher = Watcher::new(&names, 1, 3, None, false);
    watcher.time = Some(Time {
        genesis_ms: 1_000_000,
        slot_ms: 12_000,
        slots_per_epoch: 32,
    });
    watcher
}

fn text(told: &Told) -> String {
    let lines = told.lines.iter().map(|line| match line {
        Line::Say(text) => text.clone(),
        Line::Warn(text) => format!("! {text}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn json(told: &Told) -> String {
    let events = told
        .events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap());
    events.collect::<Vec<_>>().join("\n")
}

fn network(watcher: &mut Watcher, event: NetEvent<()>) -> Told {
    watcher.told(News::Network(event), 0)
}

fn times(took_ms: u64, after_due_ms: u64) -> Times {
    Times {
        took_ms,
        after_due_ms,
    }
}

fn decided(watcher: &mut Watcher, slot: u64, round: u8) -> Told {
    let report = Report::Decided {
        duty: Duty {
            slot,
            kind: Kind::Head,
        },
        decision: Decision {
            round,
            times: times(15, 5),
        },
        voters: [1, 2, 3].into(),
    };
    watcher.told(News::Report(report), 0)
}

fn made(watcher: &mut Watcher, slot: u64, purpose: Purpose) -> Told {
    let report = Report::Made {
        purpose,
        slot,
        validators: [0, 4].into(),
        times: times(13, 18),
        contributors: [1, 2, 3].into(),
    };
    watcher.told(News::Report(report), 0)
}

#[test]
fn a_restored_folder_names_whom_it_waits_for_and_then_says_from_when_it_signs() {
    let mut watcher = watcher();
    let told = watcher.told(News::Starts(Start::NEVER), 1_000_000);
    assert!(told.lines.is_empty() && told.events.is_empty(), "{told:?}");
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
    let told = watcher.told(report(&[4], None), 1_000_000);
    assert!(
        text(&told)
            .contains("Missing: da\u{fffd}ve (not waited for, by your word: carol). Told so far: bob."),
        "{told:?}"
    );
    assert!(
        text(&told).contains("none of the others can be left out: if one of them is gone for good")
            && text(&told).contains("conclave exit"),
        "{told:?}"
    );
    assert_eq!(
        json(&told),
        "{\"event\":\"restoring\",\"waits_for\":[{\"operator\":4,\"name\":\"da\u{fffd}ve\"}],\"without\":[{\"operator\":3,\"name\":\
         \"carol\"}],\"answered\":[{\"operator\":2,\"name\":\"bob\"}],\"clocks_differ\":[],\"chain_clock\":\"agrees\",\"heads_ahead\":[],\"signs_from_epoch\":null}"
    );
    let told = watcher.told(report(&[1, 4], None), 1_000_000);
    assert!(
        text(&told).contains("The clocks of alice and this machine differ")
            && json(&told).contains("\"clocks_differ\":[{\"operator\":1,"),
        "{told:?}"
    );
    // All have told, and the own beacon node speaks against the clock.
    for (chain, ahead, json_word, words) in [
        (
            ChainClock::Ahead,
            &["http://a\u{1b}", "http://b"][..],
            "ahead\",\"heads_ahead\":[\"http://a\u{fffd}\",\"http://b\"]",
            "the newest block of http://a\u{fffd}, http://b is of a slot that is still to come: the clock is behind",
        ),
        (
            ChainClock::Unknown,
            &[],
            "unknown\",\"heads_ahead\":[]",
            "your own beacon node has to confirm the clock",
        ),
    ] {
        let alone = Restoring {
            answered: [1, 2, 3, 4].into(),
            chain,
            ahead: ahead.iter().map(|name| (*name).to_owned()).collect(),
            ..Restoring::default()
        };
        let told = watcher.told(News::Report(Report::Restoring(alone)), 1_000_000);
        assert!(
            text(&told).contains(words)
                && !text(&told).contains("Missing")
                && !text(&told).contains("in vain")
                && json(&told).contains(&format!("\"chain_clock\":\"{json_word}")),
            "{told:?}"
        );
    }
    let start = Start {
        first_slot: 128,
        first_target: 4,
    };
    let told = watcher.told(report(&[], Some(start)), 1_000_000);
    assert!(
        text(&told).contains("bob told what they remember")
            && text(&told).contains("Signs from epoch 4 on, in 25 min"),
        "{told:?}"
    );
    assert!(text(&told).contains("by your word carol need not"), "{told:?}");
    assert!(
        json(&told).contains("\"signs_from_epoch\":4")
            && json(&told).contains("{\"event\":\"signs_from\",\"slot\":128,\"epoch\":4}"),
        "{told:?}"
    );
    // A fork that is not known here comes first: nothing is promised.
    let fork = News::UnknownFork {
        name: "heze".to_owned(),
        epoch: 3,
    };
    watcher.told(fork, 1_000_000);
    let told = watcher.told(report(&[], Some(start)), 1_000_000);
    assert!(
        !text(&told).contains("Signs from") && !json(&told).contains("\"signs_from\","),
        "{told:?}"
    );
}

#[test]
fn who_comes_and_goes_is_named_and_counted() {
    let mut watcher = watcher();
    let told = network(&mut watcher, NetEvent::Connected { operator: 2 });
    assert_eq!(
        text(&told),
        "bob is here: 2 of 4 operators are here, and 3 must be: nothing is signed."
    );
    assert_eq!(
        json(&told),
        r#"{"event":"connected","operator":2,"name":"bob","connected":1}"#
    );
    let told = network(&mut watcher, NetEvent::Connected { operator: 4 });
    assert_eq!(
        text(&told),
        "da\u{fffd}ve is here: 3 of 4 operators are here, enough to sign."
    );
    let gone = NetEvent::Disconnected {
        operator: 2,
        reason: Reason::Fault("it has another lock".to_owned()),
    };
    let told = network(&mut watcher, gone);
    assert!(
        text(&told).starts_with("! bob is gone (it has another lock): 2 of 4"),
        "{told:?}"
    );
    assert!(
        json(&told).contains(r#""reason":"it has another lock""#),
        "{told:?}"
    );
}

fn account(purpose: Purpose, partials: &[u16]) -> Account {
    Account {
        purpose,
        validators: [0, 4].into(),
        decision: Some(Decision {
            round: 0,
            times: times(15, 0),
        }),
        voters: [1, 2, 3].into(),
        unanswered: false,
        answered_in_ms: None,
        missed: Vec::new(),
        signed: [0, 4].into(),
        signed_times: Some(times(13, 0)),
        partials: partials.iter().copied().collect(),
    }
}

fn over(watcher: &mut Watcher, slot: u64, away: &[u16], duties: Vec<Account>) -> Told {
    let away = away.iter().copied().collect();
    watcher.told(News::Report(Report::Over { slot, away, duties }), 0)
}

#[test]
fn agreements_and_signatures_are_told_to_programs_at_once() {
    let mut watcher = watcher();
    let told = decided(&mut watcher, 40, 0);
    assert_eq!(text(&told), "");
    assert_eq!(
        json(&told),
        r#"{"event":"agreed","slot":40,"kind":"head","round":0,"took_ms":15,"after_due_ms":5,"voters":[1,2,3]}"#
    );
    let told = made(&mut watcher, 40, Purpose::Attestation);
    assert_eq!(text(&told), "");
    assert_eq!(
        json(&told),
        r#"{"event":"signed","slot":40,"purpose":"attestation","validators":[0,4],"took_ms":13,"after_due_ms":18,"contributors":[1,2,3]}"#
    );
}

#[test]
fn a_duty_is_one_line_that_names_who_was_missing() {
    let mut watcher = watcher();
    let told = over(
        &mut watcher,
        40,
        &[4],
        vec![account(Purpose::Attestation, &[1, 3])],
    );
    assert_eq!(
        text(&told),
        "slot 40: attestation of 2 validators: agreed in 15 ms, signed in 13 ms by alice, carol; missing: bob, \
         da\u{fffd}ve (not connected)"
    );
    assert_eq!(
        json(&told),
        r#"{"event":"over","slot":40,"away":[4],"duties":[{"purpose":"attestation","validators":[0,4],"round":0,"agreed_in_ms":15,"agreed_after_ms":0,"voters":[1,2,3],"unanswered":false,"signed":[0,4],"signed_in_ms":13,"signed_after_ms":0,"contributors":[1,3]}]}"#
    );
    let mut late = account(Purpose::SyncMessage, &[1, 2, 3, 4]);
    late.decision = Some(Decision {
        round: 2,
        times: times(600, 600),
    });
    late.signed_times = Some(times(13, 613));
    late.validators = [0].into();
    late.signed = [0].into();
    assert_eq!(
        text(&over(&mut watcher, 41, &[], vec![late])),
        "slot 41: sync committee message of 1 validator: agreed in 600 ms in round 2, signed in 13 ms (613 ms \
         after it was due) by all 4 operators"
    );
}

#[test]
fn a_duty_that_failed_is_one_line_with_the_reason_unless_this_node_still_waits() {
    let mut watcher = watcher();
    watcher.start = Some(Start {
        first_slot: 33,
        first_target: 2,
    });
    let undecided = |purpose, unanswered| Account {
        decision: None,
        voters: [1, 3].into(),
        unanswered,
        missed: vec![Missed {
            cause: if unanswered {
                Cause::Unanswered
            } else {
                Cause::FewVoters
            },
            validators: [0, 4].into(),
            partials: BTreeSet::new(),
            differ: BTreeSet::new(),
        }],
        signed: BTreeSet::new(),
        signed_times: None,
        ..account(purpose, &[])
    };
    let both = |unanswered| {
        vec![
            undecided(Purpose::Attestation, unanswered),
            undecided(Purpose::SyncMessage, unanswered),
        ]
    };
    let told = over(&mut watcher, 70, &[2], both(false));
    assert_eq!(
        text(&told),
        "! slot 70: missed: attestation of 2 validators, sync committee message of 2 validators: not agreed on; missing: \
         bob (not connected), da\u{fffd}ve. Ask the others what their machines and beacon nodes say"
    );
    assert!(
        json(&told).contains(
            r#""validators":[0,4],"voters":[1,3],"unanswered":false,"cause":"few_voters","missed":[{"cause":"few_voters","validators":[0,4],"contributors":[]}],"signed":[],"contributors":[]"#
        )
    );
    let told = over(&mut watcher, 71, &[], both(true));
    assert!(
        text(&told).contains("not agreed on, and your own beacon node had no answer; missing"),
        "{told:?}"
    );
    // One of two validators: the other's record forbade it.
    let mut half = account(Purpose::Attestation, &[1, 2, 3, 4]);
    half.signed = [4].into();
    half.missed = vec![Missed {
        cause: Cause::FewSigners,
        validators: [0].into(),
        partials: [1, 3].into(),
        differ: BTreeSet::new(),
    }];
    let told = over(&mut watcher, 72, &[], vec![half.clone()]);
    assert!(
        text(&told).contains("slot 72: attestation of 1 validator: agreed")
            && text(&told).contains(
                "! slot 72: missed: attestation of 1 validator: agreed in 15 ms, and 2 of 3 operators who must sign \
                 did; missing: bob, da\u{fffd}ve."
            ),
        "{told:?}"
    );
    // Those who wait know why.
    let told = over(&mut watcher, 63, &[], both(true));
    assert_eq!((text(&told).as_str(), told.events.len()), ("", 1));
}

#[test]
fn each_cause_of_a_missed_duty_has_words_of_its_own() {
    let mut watcher = watcher();
    watcher.start = Some(Start {
        first_slot: 0,
        first_target: 0,
    });
    let mut said = |purpose, cause: Cause, decided: bool| {
        let missed = Account {
            decision: decided.then_some(Decision {
                round: 0,
                times: times(15, 1_700),
            }),
            answered_in_ms: Some(1_700),
            missed: vec![Missed {
                cause,
                validators: [0, 4].into(),
                partials: [1, 3].into(),
                differ: BTreeSet::new(),
            }],
            signed: BTreeSet::new(),
            signed_times: None,
            ..account(purpose, &[1, 2, 3])
        };
        let told = over(&mut watcher, 70, &[], vec![missed]);
        assert!(json(&told).contains(&format!(r#""answered_in_ms":1700,"cause":"{}""#, cause.name())));
        text(&told)
    };
    let leader = 2;
    for (purpose, cause, decided, expected) in [
        (
            Purpose::Contribution,
            Cause::AnsweredLate,
            true,
            "your own beacon node took 1700 ms to answer, and then it was too late",
        ),
        (
            Purpose::Contribution,
            Cause::AgreedLate { leader },
            true,
            "agreed on only 1700 ms after it was due, when it was too late for this duty. bob proposed it",
        ),
        (
            Purpose::Attestation,
            Cause::Disagreed,
            false,
            "3 operators voted, and nothing was proposed in time that 3 of them found plausible",
        ),
        (
            Purpose::Attestation,
            Cause::Refused,
            true,
            "Your own slashing protection did not permit it",
        ),
        (
            Purpose::Attestation,
            Cause::Unguarded,
            true,
            "2 of 3 operators who must sign did; missing: bob, da\u{fffd}ve. Your own slashing protection gave no answer",
        ),
        (
            Purpose::Attestation,
            Cause::FewSigners,
            true,
            "2 of 3 operators who must sign did; missing: bob, da\u{fffd}ve. Those who have just started wait",
        ),
        (
            Purpose::Contribution,
            Cause::FewSigners,
            true,
            "2 of 3 operators who must sign did; missing: bob, da\u{fffd}ve. Ask the others",
        ),
        (
            Purpose::Contribution,
            Cause::LeftOut { leader },
            true,
            "agreed in 15 ms, but the beacon node of bob, which was asked for all, had no contribution of their subcommittees. If it goes \
             on, ask bob",
        ),
        (
            Purpose::Aggregate,
            Cause::LeftOut { leader: 1 },
            true,
            "agreed in 15 ms, but your own beacon node, which was asked for all, had no aggregate of their committees. If it goes on, look",
        ),
        (
            Purpose::SyncMessage,
            Cause::SignedLate,
            true,
            "signed by enough operators only when it was too late",
        ),
        (
            Purpose::Attestation,
            Cause::Unusable,
            true,
            "what alice, carol signed does not make a signature together",
        ),
    ] {
        let text = said(purpose, cause, decided);
        assert!(text.contains(expected), "{cause:?}: {text}");
        // Only what the slashing protection guards waits after a start.
        let waits = text.contains("wait until the next epoch");
        assert_eq!(waits, purpose.slashable() && cause == Cause::FewSigners, "{text}");
    }
}

#[test]
fn a_standstill_is_told_once_and_nothing_of_what_was_not_seen() {
    let mut watcher = watcher();
    watcher.start = Some(Start {
        first_slot: 0,
        first_target: 0,
    });
    let begins = |slot: u64| 1_000_000 + slot * 12_000;
    let standstill = Standstill {
        from_ms: begins(70) + 4_000,
        to_ms: begins(72) + 7_000,
    };
    let told = watcher.told(News::StoodStill(standstill), begins(72) + 7_000);
    let said = text(&told);
    assert!(
        said.starts_with("! this program, or this machine, stood still for 27 s (from slot 70 to slot 72)"),
        "{said}"
    );
    assert!(
        json(&told).contains(r#"{"event":"stood_still","from_ms":1844000,"ms":27000}"#),
        "{told:?}"
    );
    let unseen = Account {
        missed: vec![Missed {
            cause: Cause::Unseen,
            validators: [0, 4].into(),
            partials: [1].into(),
            differ: BTreeSet::new(),
        }],
        signed: BTreeSet::new(),
        signed_times: None,
        ..account(Purpose::Attestation, &[1])
    };
    let told = over(&mut watcher, 71, &[], vec![unseen]);
    assert_eq!(text(&told), "");
    assert!(json(&told).contains(r#""cause":"unseen""#), "{told:?}");
}

#[test]
fn who_signed_something_else_is_named() {
    let mut watcher = watcher();
    watcher.start = Some(Start {
        first_slot: 0,
        first_target: 0,
    });
    let missed = Account {
        missed: vec![Missed {
            cause: Cause::Unusable,
            validators: [0].into(),
            partials: [1, 2, 3].into(),
            differ: [3].into(),
        }],
        signed: BTreeSet::new(),
        signed_times: None,
        ..account(Purpose::Attestation, &[1, 2, 3])
    };
    let told = over(&mut watcher, 70, &[], vec![missed]);
    assert!(
        text(&told).contains("and carol signed something else than alice, bob: by another fork schedule"),
        "{told:?}"
    );
    assert!(json(&told).contains(r#""differ":[3]"#), "{told:?}");
}

#[test]
fn beacon_nodes_that_disagree_are_named_once_and_blamed_before_others() {
    let mut watcher = watcher();
    watcher.start = Some(Start {
        first_slot: 0,
        first_target: 0,
    });
    let one = Dissenter {
        name: "http://a\u{1b}".to_owned(),
        about: About::Attesters,
    };
    let news = |list: &[&Dissenter]| News::Dissent(list.iter().copied().cloned().collect());
    let told = watcher.told(news(&[&one]), 0);
    assert!(
        text(&told).starts_with(
            "! beacon node http://a\u{fffd} says something else about when your validators attest"
        ),
        "{told:?}"
    );
    assert!(
        json(&told).contains(
            "{\"event\":\"disagrees\",\"name\":\"http://a\u{fffd}\",\"about\":\"attesters\",\"over\":false,\"advice\":\"Look at its log, restart or update it, or take it out of --beacon-node\"}"
        ),
        "{told:?}"
    );
    assert_eq!(watcher.told(news(&[&one]), 0).lines, []);
    for cause in [
        Cause::FewSigners,
        Cause::FewVoters,
        Cause::Disagreed,
        Cause::Refused,
    ] {
        let missed = Account {
            missed: vec![Missed {
                cause,
                validators: [0].into(),
                partials: [1].into(),
                differ: BTreeSet::new(),
            }],
            signed: BTreeSet::new(),
            signed_times: None,
            ..account(Purpose::Attestation, &[1])
        };
        let said = text(&over(&mut watcher, 70, &[], vec![missed]));
        assert!(
            said.ends_with("Your beacon nodes disagree about when your validators attest, which may be why: see to them first"),
            "{said}"
        );
        assert!(!said.to_lowercase().contains("ask the others"), "{said}");
    }
    let told = watcher.told(news(&[]), 0);
    assert!(
        text(&told).ends_with("says what counts about when your validators attest again."),
        "{told:?}"
    );
    assert!(json(&told).contains(r#""over":true"#), "{told:?}");
}

#[test]
fn validators_that_were_slashed_or_leave_are_told_of_once() {
    let mut watcher = watcher();
    let seen = |validator: u32, status: &str, slashed| Seen {
        validator,
        index: 1000 + u64::from(validator),
        status: status.to_owned(),
        balance: 32,
        slashed,
    };
    let mut tell = |list: Vec<Seen>| watcher.told(News::Validators(list), 0);
    let well = || vec![seen(0, "active_ongoing", false), seen(1, "active_ongoing", false)];
    assert_eq!(tell(well()).lines, []);
    let slashed = || vec![seen(0, "active_slashed", true), seen(1, "active_exiting", false)];
    let told = tell(slashed());
    assert!(
        text(&told).starts_with(
            "! validator 1000 was slashed: somebody signed twice with the key. Stop conclave run now"
        ),
        "{told:?}"
    );
    assert!(
        text(&told).contains("\nvalidator 1001 leaves the chain"),
        "{told:?}"
    );
    assert!(
        json(&told).contains(r#"{"event":"validators","what":"slashed","validators":[0],"indices":[1000],"advice":"Stop conclave run now, "#),
        "{told:?}"
    );
    assert_eq!(tell(slashed()).lines, []);
    let told = tell(vec![
        seen(0, "exited_slashed", true),
        seen(1, "withdrawal_done", false),
    ]);
    assert_eq!(
        text(&told),
        "validators 1000, 1001 have left the chain and have no duties any more."
    );
}

#[test]
fn where_there_is_nothing_to_sign_it_is_said_why_and_once() {
    let mut watcher = watcher();
    let seen = |status: &str| Seen {
        validator: 0,
        index: 1000,
        status: status.to_owned(),
        balance: 32,
        slashed: false,
    };
    let mut tell = |list: Vec<Seen>| watcher.told(News::Validators(list), 0);
    let told = tell(Vec::new());
    let words = "not on the chain yet: nothing to sign until it is deposited and active";
    assert!(text(&told).contains(words), "{told:?}");
    assert!(
        json(&told).contains(r#"{"event":"validators","what":"nothing_to_sign","validators":[],"indices":[],"why":"not on the chain yet: "#),
        "{told:?}"
    );
    assert_eq!(tell(Vec::new()).lines, []);
    for status in ["pending_initialized", "pending_queued"] {
        let told = text(&tell(vec![seen(status)]));
        assert_eq!(
            told.contains("nothing to sign until it is active"),
            status == "pending_initialized",
            "{told}"
        );
    }
    assert_eq!(tell(vec![seen("active_ongoing")]).lines, []);
}

#[test]
fn an_operator_that_ran_twice_is_named_to_the_others() {
    let told = watcher().told(News::Report(Report::RanTwice { operator: 2 }), 0);
    assert!(
        text(&told).starts_with("! bob ran twice with one share, so both copies stop")
            && text(&told).contains("Tell its operator"),
        "{told:?}"
    );
    assert!(
        json(&told)
            .starts_with(r#"{"event":"ran_twice","operator":2,"name":"bob","advice":"Tell its operator: "#),
        "{told:?}"
    );
}

#[test]
fn a_jump_of_the_clock_says_whereto_and_how_far() {
    for (by_ms, expected) in [
        (
            90_000,
            "! the clock jumped ahead by 90 s, or this machine slept that long",
        ),
        (-90_000, "! the clock jumped back by 90 s: that counts as a start"),
    ] {
        let told = watcher().told(News::ClockJumped { by_ms }, 0);
        assert!(text(&told).starts_with(expected), "{told:?}");
    }
}

#[test]
fn waiting_is_said_once_and_then_on_change() {
    let mut watcher = watcher();
    let mut wait = |why: &str| watcher.told(News::WaitingForBeaconNode(why.to_owned()), 0);
    assert!(text(&wait("refused")).starts_with("Waiting for a beacon node (refused)"));
    assert_eq!(wait("refused").lines, []);
    assert!(text(&wait("syncing")).starts_with("Still waiting"));
}

#[test]
fn a_beacon_node_is_named_when_its_state_changes() {
    let mut watcher = watcher();
    let name = Address::new("http://user:secret@localhost:5052", None)
        .and_then(conclave_beacon::http::Node::new)
        .unwrap()
        .name()
        .to_owned();
    let mut tell = |state| {
        watcher.told(
            News::BeaconNodes(vec![Health {
                name: name.clone(),
                state,
                version: "Teku".to_owned(),
                head_slot: 7,
                latency: std::time::Duration::ZERO,
                trouble: None,
                silent: None,
                parting: None,
            }]),
            0,
        )
    };
    let told = tell(State::Ready);
    assert!(text(&told).contains("(Teku): ready."), "{told:?}");
    assert!(!text(&told).contains("secret"), "{told:?}");
    assert_eq!(tell(State::Ready).lines, []);
    assert!(text(&tell(State::Syncing(40))).starts_with("! Beacon node"));
    assert_eq!(tell(State::Syncing(41)).lines, []);
    let told = tell(State::Stalled(40));
    assert!(
        text(&told).contains("its newest block is 40 slots old"),
        "{told:?}"
    );
    assert!(json(&told).contains(r#""state":"stalled""#), "{told:?}");
}

/// Health of a beacon node with nothing to tell but this.
fn health(name: &str, state: State) -> Health {
    Health {
        name: name.to_owned(),
        state,
        version: String::new(),
        head_slot: 7,
        latency: std::time::Duration::ZERO,
        trouble: None,
        silent: None,
        parting: None,
    }
}

#[test]
fn what_is_wrong_with_a_beacon_node_is_told_once_with_the_advice_for_its_cause() {
    let down = |kind| {
        State::Down(NodeError {
            node: "http://a".to_owned(),
            request: "genesis",
            kind,
        })
    };
    let page = "a web page: something before the beacon node answers in its place".to_owned();
    let failed = |status, message: &str| ErrorKind::Status {
        status,
        message: message.to_owned(),
        failures: Vec::new(),
    };
    for (state, says, advises) in [
        (
            down(ErrorKind::Credentials(401)),
            "HTTP 401",
            "Check user and password in the URL",
        ),
        (
            down(ErrorKind::Credentials(403)),
            "HTTP 403",
            "lets this machine in",
        ),
        (
            down(ErrorKind::NotFound("x".to_owned())),
            "HTTP 404: x",
            "ends before /eth/v1",
        ),
        (
            down(ErrorKind::NotImplemented(404)),
            "HTTP 404",
            "ends before /eth/v1",
        ),
        (
            down(ErrorKind::NotImplemented(405)),
            "HTTP 405",
            "check what answers at its address",
        ),
        (
            down(ErrorKind::Limited(None)),
            "asks for fewer requests (HTTP 429)",
            "allow more requests",
        ),
        (
            down(ErrorKind::Malformed(page.clone())),
            "web page",
            "the proxy or service",
        ),
        (down(failed(502, &page)), "web page", "the proxy or service"),
        (down(failed(500, "boom")), "HTTP 500: boom", "log"),
        (
            down(ErrorKind::Moved("https://b".to_owned())),
            "https://b",
            "Give the address at which",
        ),
        (down(ErrorKind::Timeout), "no answer in time", "Check the load"),
        (
            down(ErrorKind::Unreachable("refused".to_owned())),
            "refused",
            "Check that the beacon node runs",
        ),
        (
            State::Optimistic,
            "execution client behind or offline",
            "Look whether the execution client",
        ),
        (State::Syncing(9), "9 slots behind", "Wait, or give a second one"),
        (State::Stalled(9), "9 slots old", "restart it"),
    ] {
        let mut watcher = watcher();
        watcher.told(News::BeaconNodes(vec![health("http://b", State::Ready)]), 0);
        let both = |state: &State| {
            News::BeaconNodes(vec![
                health("http://a", state.clone()),
                health("http://b", State::Ready),
            ])
        };
        let told = watcher.told(both(&state), 0);
        let said = text(&told);
        assert!(said.contains(says) && said.contains(advises), "{said}");
        assert_eq!(told.lines.len(), 1, "{said}");
        assert!(!said.contains("Start it again") && !said.ends_with('.'), "{said}");
        // Programs are told the same.
        let event = json(&told);
        assert!(
            event.contains("\"advice\":\"") && event.contains(advises),
            "{event}"
        );
        assert_eq!(watcher.told(both(&state), 0).lines, []);
    }
}

#[test]
fn that_no_beacon_node_can_be_used_is_told_once_until_one_can() {
    let mut watcher = watcher();
    let down = |request| {
        State::Down(NodeError {
            node: "http://a".to_owned(),
            request,
            kind: ErrorKind::Timeout,
        })
    };
    let wrong = State::WrongNetwork(NodeError {
        node: "http://a".to_owned(),
        request: "network",
        kind: ErrorKind::Timeout,
    });
    let mut lines = |state: State| {
        let told = watcher.told(News::BeaconNodes(vec![health("http://a", state)]), 0);
        text(&told).matches("no beacon node can be used").count()
    };
    assert_eq!(lines(State::Ready), 0);
    assert_eq!(lines(down("genesis")), 1);
    assert_eq!(lines(wrong), 0);
    assert_eq!(lines(down("genesis")), 0);
    assert_eq!(lines(State::Syncing(9)), 0);
    assert_eq!(lines(down("genesis")), 1);
}

#[test]
fn a_node_that_is_down_has_one_line_and_one_that_tells_of_no_blocks_one_of_its_own() {
    let mut watcher = watcher();
    let error = |request| NodeError {
        node: "http://a".to_owned(),
        request,
        kind: ErrorKind::Unreachable("the stream ended".to_owned()),
    };
    let mut tell = |state: State, silent: bool, trouble: bool| {
        let mut health = health("http://a", state);
        health.silent = silent.then(|| error("events"));
        health.trouble = trouble.then(|| error("specification"));
        let told = watcher.told(News::BeaconNodes(vec![health]), 0);
        (text(&told), json(&told))
    };
    tell(State::Ready, false, false);
    let (said, event) = tell(State::Ready, true, false);
    assert!(
        said.starts_with("! Beacon node http://a tells of no new blocks by itself (the stream ended). It is asked again and again"),
        "{said}"
    );
    assert!(event.contains(r#""event":"notice""#), "{event}");
    assert_eq!(tell(State::Ready, true, false).0, "");
    // All that is told of one that is gone is that.
    let (said, _) = tell(State::Down(error("genesis")), false, true);
    assert!(
        !said.contains("again and again") && !said.contains("tells of new blocks"),
        "{said}"
    );
    assert!(
        tell(State::Ready, false, false)
            .0
            .contains("tells of new blocks again")
    );
}

#[test]
fn a_beacon_node_with_another_fork_schedule_is_named_when_that_begins_and_when_it_matters() {
    let mut watcher = watcher();
    let parting = |epoch| Parting {
        epoch,
        fork: "gloas".to_owned(),
        epochs: [None, Some(epoch)],
    };
    let mut tell = |state, parting| {
        let health = Health {
            name: "http://localhost:5052".to_owned(),
            state,
            version: "Teku".to_owned(),
            head_slot: 7,
            latency: std::time::Duration::ZERO,
            trouble: None,
            silent: None,
            parting,
        };
        watcher.told(News::BeaconNodes(vec![health]), 0)
    };
    tell(State::Ready, None);
    let told = tell(State::Ready, Some(parting(20)));
    assert_eq!(
        text(&told),
        "! Beacon node http://localhost:5052 does not agree with your others on a fork to come: it says that the fork gloas \
         begins with epoch 20, and your other beacon nodes say that it is not scheduled. Nothing is wrong yet: it is used until \
         epoch 18 is over, and then only if they agree, for what is signed by the wrong schedule counts for nothing. Update the \
         one that is behind before then"
    );
    assert!(json(&told).contains(r#""event":"notice""#), "{told:?}");
    assert_eq!(tell(State::Ready, Some(parting(20))).lines, []);
    assert!(text(&tell(State::Ready, Some(parting(21)))).contains("until epoch 19 is over"));
    let told = tell(State::OtherSchedule(parting(21)), None);
    assert!(
        text(&told).contains("It is not used until it agrees, for what is signed by the wrong schedule counts for nothing: update")
            && text(&told).contains("gloas"),
        "{told:?}"
    );
    assert!(json(&told).contains(r#""state":"other_schedule""#), "{told:?}");
    assert!(text(&tell(State::Ready, None)).ends_with("(Teku): ready."));
}

#[test]
fn a_beacon_node_that_fails_some_requests_is_told_of_when_it_begins_and_when_it_ends() {
    let mut watcher = watcher();
    let mut tell = |trouble: bool| {
        let error = NodeError {
            node: "http://localhost:5052".to_owned(),
            request: "attestation data",
            kind: ErrorKind::Status {
                status: 500,
                message: "internal".to_owned(),
                failures: Vec::new(),
            },
        };
        let health = Health {
            name: "http://localhost:5052".to_owned(),
            state: State::Ready,
            version: "Teku".to_owned(),
            head_slot: 7,
            latency: std::time::Duration::ZERO,
            trouble: trouble.then_some(error),
            silent: None,
            parting: None,
        };
        watcher.told(News::BeaconNodes(vec![health]), 0)
    };
    tell(false);
    let told = tell(true);
    assert!(
        text(&told).starts_with(
            "! Beacon node http://localhost:5052 fails again and again when asked for attestation data: it answers HTTP \
             500: internal"
        ),
        "{told:?}"
    );
    assert!(json(&told).contains(r#""event":"notice""#), "{told:?}");
    assert_eq!(tell(true).lines, []);
    assert!(text(&tell(false)).contains("answers all requests again"));
    assert_eq!(tell(false).lines, []);
}

/// A chain like mainnet, possibly with a fork to come that is not known here.
fn mainnet(unknown_fork: Option<u64>) -> Chain {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/beacon/spec-mainnet.json"
    );
    let mut answer: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let data = answer["data"].as_object_mut().unwrap();
    if let Some(epoch) = unknown_fork {
        data.insert("EIP9999_FORK_EPOCH".to_owned(), epoch.to_string().into());
    }
    let spec = Spec::from_json(&serde_json::to_vec(&answer).unwrap()).unwrap();
    let genesis = Genesis {
        time: 1000,
        validators_root: [1; 32],
        fork_version: spec.genesis_fork_version,
    };
    Chain::new(spec, genesis).unwrap()
}

#[test]
fn a_fork_that_nobody_here_knows_is_announced_at_the_start() {
    let chain = Arc::new(mainnet(Some(100)));
    let told = watcher().told(News::Chain(chain.clone()), 1_000_000);
    assert!(
        text(&told).contains("! the fork eip9999 comes at epoch 100, in "),
        "{told:?}"
    );
    assert!(json(&told).contains(r#"{"event":"unknown_fork","name":"eip9999","epoch":100,"advice":""#));
    let late = chain.time().start_of_epoch(100);
    let told = watcher().told(News::Chain(chain), late);
    assert!(
        text(&told).contains("so that nothing is signed: update conclave"),
        "{told:?}"
    );
}

#[test]
fn who_signs_nothing_never_says_from_when_on_it_signs() {
    let starts = |first_target| {
        News::Starts(Start {
            first_slot: 33,
            first_target,
        })
    };
    let fork = |epoch| News::UnknownFork {
        name: "gloas".to_owned(),
        epoch,
    };
    // When slot 32, of epoch 1, begins.
    let now = 1_000_000 + 32 * 12_000;
    let mut signs = watcher();
    let told = signs.told(starts(2), now);
    assert!(
        text(&told)
            .starts_with("Signs from slot 33 on, attestations from epoch 2 on, in 6 min (a safety wait), or")
    );
    assert!(json(&told).contains("signs_from"));
    // It was said that too few are here.
    let told = signs.told(starts(2), now);
    assert!(
        text(&told).contains("3 of 4 operators must be here for that."),
        "{told:?}"
    );
    // A fork in force, one that comes before the first attestation, and a dry run.
    for (epoch, dry_run) in [(1, false), (2, false), (9, true)] {
        let mut never = watcher().dry_run(dry_run);
        let told = never.told(fork(epoch), now);
        assert!(text(&told).contains("nothing is signed"), "{told:?}");
        // If all confirm, it signs until a fork that is to come.
        let confirmed = (epoch != 2).then_some(News::Report(Report::Confirmed));
        for news in [starts(2), News::ClockJumped { by_ms: 60_000 }, starts(2)]
            .into_iter()
            .chain(confirmed)
        {
            let told = never.told(news, now);
            let said = text(&told).to_lowercase();
            assert!(
                !said.contains("signs from") && !said.contains("signing from"),
                "{told:?}"
            );
            assert!(!json(&told).contains("signs_from"), "{told:?}");
        }
    }
    // Later than that it is no reason.
    let mut later = watcher();
    later.told(fork(3), now);
    assert!(json(&later.told(starts(2), now)).contains("signs_from"));
    // When the fork is outvoted, or put off, it signs.
    let mut put_off = watcher();
    put_off.told(fork(1), now);
    assert_eq!(text(&put_off.told(starts(2), now)), "");
    let told = put_off.told(News::Chain(Arc::new(mainnet(None))), now);
    assert!(json(&told).contains("signs_from"), "{told:?}");
    assert!(
        text(&told).contains("The fork gloas is not in the way any more"),
        "{told:?}"
    );
    let told = put_off.told(News::Chain(Arc::new(mainnet(Some(100)))), now);
    assert!(!json(&told).contains("signs_from"), "{told:?}");
}

#[test]
fn when_a_fork_is_out_of_the_way_it_signs_from_now_on() {
    let mut watcher = watcher();
    let now = 1_000_000 + 91 * 12_000;
    watcher.told(
        News::Starts(Start {
            first_slot: 0,
            first_target: 0,
        }),
        now,
    );
    watcher.told(News::Chain(Arc::new(mainnet(Some(0)))), now);
    let later = watcher.time.unwrap().start_of(91);
    let told = watcher.told(News::Chain(Arc::new(mainnet(None))), later);
    assert!(
        text(&told).contains(
            "The fork eip9999 is not in the way any more: your beacon nodes do not schedule it now."
        ),
        "{told:?}"
    );
    assert!(text(&told).contains("\nSigns from now on."), "{told:?}");
}

#[test]
fn an_unknown_fork_is_told_of_once_a_day_and_when_it_comes_into_force() {
    let mut watcher = watcher();
    let begins = watcher.time.unwrap().start_of_epoch(100);
    let mut lines = |now_ms: u64| {
        let news = News::UnknownFork {
            name: "eip9999".to_owned(),
            epoch: 100,
        };
        text(&watcher.told(news, now_ms))
    };
    assert!(lines(begins - 5 * 384_000).starts_with("! the fork eip9999 comes at epoch 100, in "));
    assert_eq!(lines(begins - 384_000), "");
    assert!(lines(begins).starts_with("! the fork eip9999 is in force since epoch 100"));
    assert_eq!(lines(begins + 384_000), "");
    assert!(lines(begins + DAY_MS).contains("is in force since"));
}

#[test]
fn a_disk_that_fails_is_told_of_when_it_begins_and_when_it_ends() {
    let mut watcher = watcher();
    let told = watcher.told(News::Guard(Some("it cannot be\u{1b} written".to_owned())), 0);
    assert_eq!(
        text(&told),
        "! the slashing protection fails: it cannot be\u{fffd} written"
    );
    assert!(json(&told).contains(r#""event":"notice""#), "{told:?}");
    let told = watcher.told(News::Guard(None), 0);
    assert_eq!(text(&told), "The slashing protection works again.");
}

#[test]
fn misdeeds_have_a_name_and_are_not_repeated_for_ever() {
    let mut watcher = watcher();
    let mut lines = 0;
    for _ in 0..100 {
        let told = watcher.told(
            News::Report(Report::Misbehaviour(Misbehaviour::Forgery { sender: 3 })),
            0,
        );
        lines += told.lines.len();
    }
    assert_eq!(lines, 7);
    let fault = Report::Fault {
        operator: 2,
        what: "its partial signature of the attestation of slot 5 is wrong".to_owned(),
    };
    let told = watcher.told(News::Report(fault), 0);
    assert!(
        text(&told).starts_with("! bob: its partial signature"),
        "{told:?}"
    );
    assert!(json(&told).contains(r#""event":"fault","operator":2,"name":"bob","kind":"Fault""#));
    assert!(
        json(&told).contains(r#""advice":"What is wrong is not counted"#),
        "{told:?}"
    );
}

#[test]
fn what_no_own_beacon_node_takes_is_told_once_an_epoch_and_when_it_is_over() {
    let mut watcher = watcher();
    watcher.time = Some(Time {
        genesis_ms: 0,
        slot_ms: 12_000,
        slots_per_epoch: 4,
    });
    let news = |slot: u64, purpose, taken: bool| News::Submitted {
        purpose,
        slot,
        count: 2,
        delivery: if taken {
            Delivery::Taken
        } else {
            Delivery::NotTaken {
                why: "beacon node http://a: \u{1b}[31mit answers HTTP 400: wrong".to_owned(),
                advice: "Look into the beacon node's log.",
            }
        },
    };
    let mut said = Vec::new();
    for slot in 5..11 {
        let told = watcher.told(news(slot, Purpose::Attestation, false), 0);
        let event = json(&told);
        assert!(
            event.contains(r#""event":"not_taken""#)
                && event.contains(r#""purpose":"attestation","validators":2"#),
            "{event}"
        );
        said.extend(told.lines.iter().map(|_| (slot, text(&told))));
    }
    assert_eq!(said.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [5, 9]);
    let line = &said[0].1;
    assert!(
        line.starts_with("! slot 5: the group signed the attestation of 2 validators, and none of your beacon nodes took it: ")
            && line.ends_with("wrong. It counts only if another operator's beacon node took it. Look into the beacon node's log")
            && !line.contains('\u{1b}'),
        "{line}"
    );
    assert_eq!(text(&watcher.told(news(11, Purpose::Block, true), 0)), "");
    let over = text(&watcher.told(news(11, Purpose::Attestation, true), 0));
    assert_eq!(over, "slot 11: attestation: your beacon nodes take it again.");
    assert_eq!(text(&watcher.told(news(12, Purpose::Attestation, true), 0)), "");
}

#[test]
fn what_goes_wrong_with_an_own_block_is_said_in_its_slot_to_people_and_programs() {
    let report = Report::OwnBlock {
        slot: 7,
        refused: false,
        what: "beacon node http://a: block: \u{1b}[31mits answer is not usable".into(),
        advice: "Update the beacon node",
    };
    let told = watcher().told(News::Report(report), 0);
    let (line, event) = (text(&told), json(&told));
    assert!(
        line.starts_with("! slot 7: beacon node http://a: block: ")
            && line.ends_with("its answer is not usable. Update the beacon node")
            && !line.contains('\u{1b}'),
        "{line}"
    );
    assert!(
        event.contains("notice") && event.contains("slot 7: beacon node http://a"),
        "{event}"
    );
}

#[test]
fn whoever_runs_twice_does_not_make_the_lines_scroll() {
    let mut watcher = watcher();
    let mut lines = Vec::new();
    let mut told = |watcher: &mut Watcher, event: Option<NetEvent<()>>, now_ms: u64| {
        let news = event.map_or(News::Slot(1), News::Network);
        let told = watcher.told(news, now_ms);
        for line in &told.lines {
            let (Line::Say(text) | Line::Warn(text)) = line;
            lines.push(text.clone());
        }
        told.events.len()
    };
    let gone = || NetEvent::Disconnected {
        operator: 2,
        reason: Reason::Left,
    };
    // Two processes push each other out for ten minutes; programs hear of each change.
    for i in 0..150 {
        assert!(told(&mut watcher, Some(NetEvent::Connected { operator: 2 }), i * 4000) > 0);
        assert!(told(&mut watcher, Some(gone()), i * 4000 + 2000) > 0);
        told(&mut watcher, None, i * 4000 + 3000);
    }
    // It stays away.
    told(&mut watcher, None, 700_000);
    told(&mut watcher, None, 800_000);
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(
        lines[4].contains("again and again") && lines[4].contains("two processes"),
        "{lines:#?}"
    );
    assert!(lines[5].contains("is gone: "), "{lines:#?}");
}

#[test]
fn where_several_come_and_go_one_looks_at_oneself_first() {
    let mut watcher = watcher();
    let mut told = Vec::new();
    for i in 0..10 {
        for operator in [2, 3] {
            let gone = NetEvent::Disconnected {
                operator,
                reason: Reason::Left,
            };
            for event in [NetEvent::Connected { operator }, gone] {
                let lines = watcher.told(News::Network(event), i * 4000).lines;
                told.extend(lines.into_iter().map(|(Line::Say(text) | Line::Warn(text))| text));
            }
        }
    }
    let told: Vec<&String> = told
        .iter()
        .filter(|line| line.contains("again and again"))
        .collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("two processes have its identity"), "{told:#?}");
    assert!(told[1].contains("another copy of this folder"), "{told:#?}");
}

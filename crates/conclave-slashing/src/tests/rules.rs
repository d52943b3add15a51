//! The rules against what can be slashed: small worlds enumerated, large ones sampled.

use proptest::prelude::*;

use super::*;

/// Whether signing both is an offence: `is_slashable_attestation_data` of the consensus specification (phase 0), and
/// proposer slashings. Different messages of one kind; the same one twice is no offence.
fn slashable(a: Message, b: Message) -> bool {
    match (a, b) {
        (Message::Block { slot: a }, Message::Block { slot: b }) => a == b,
        (
            Message::Attestation {
                source: s1,
                target: t1,
                ..
            },
            Message::Attestation {
                source: s2,
                target: t2,
                ..
            },
        ) => t1 == t2 || (s1 < s2 && t2 < t1) || (s2 < s1 && t1 < t2),
        _ => false,
    }
}

/// The rule as it is written, over everything that was signed: what the record has to come to.
fn written(signed: &[Message], message: Message) -> bool {
    match message {
        Message::Block { slot } => signed.iter().all(|other| match other {
            Message::Block { slot: other } => slot > *other,
            Message::Attestation { .. } => true,
        }),
        Message::Attestation { source, target, .. } => {
            source <= target
                && signed.iter().all(|other| match *other {
                    Message::Attestation {
                        source: s, target: t, ..
                    } => source >= s && target > t,
                    Message::Block { .. } => true,
                })
        }
    }
}

fn judge(sequence: impl IntoIterator<Item = Message>) -> Vec<Message> {
    let mut record = Record::default();
    let mut signed: Vec<Message> = Vec::new();
    for message in sequence {
        let allowed = record.check(&message).is_ok();
        assert_eq!(allowed, written(&signed, message), "{message:?} after {signed:?}");
        if allowed {
            // Anything but a higher target is slashable with something or a repetition; that nothing is needed beyond
            // the record is what `written` shows.
            assert!(
                signed.iter().all(|other| !slashable(*other, message)),
                "{message:?} after {signed:?}"
            );
            record = record.raised(message.into());
            signed.push(message);
        }
    }
    signed
}

/// All messages over slots 0..slots and epochs 0..epochs.
fn all_messages(slots: u64, epochs: u64) -> Vec<Message> {
    let blocks = (0..slots).map(block);
    let attestations =
        (0..epochs).flat_map(|source| (0..epochs).map(move |target| attestation(source, target)));
    blocks.chain(attestations).collect()
}

#[test]
fn no_sequence_of_a_small_world_is_slashable_and_nothing_more_is_refused_than_the_rule_says() {
    // 3 slots and 4 epochs: 19 messages; all sequences of 4 of them, which contain all shorter ones.
    let messages = all_messages(3, 4);
    assert_eq!(messages.len(), 19);
    let mut longest = 0;
    for a in &messages {
        for b in &messages {
            for c in &messages {
                for d in &messages {
                    longest = longest.max(judge([*a, *b, *c, *d]).len());
                }
            }
        }
    }
    assert_eq!(longest, 4);
}

#[test]
fn every_order_of_every_attestation_of_four_epochs() {
    // Longer sequences of fewer messages: all orders of the ten attestations with source <= target, three at a time, and
    // then every other one.
    let messages: Vec<Message> = all_messages(0, 4)
        .into_iter()
        .filter(|m| matches!(m, Message::Attestation { source, target, .. } if source <= target))
        .collect();
    assert_eq!(messages.len(), 10);
    for a in 0..10 {
        for b in 0..10 {
            for c in 0..10 {
                let rest = messages.iter().copied().cycle().skip(c).take(10);
                judge([messages[a], messages[b], messages[c]].into_iter().chain(rest));
            }
        }
    }
}

#[test]
fn the_oracle_sees_what_is_slashable() {
    assert!(slashable(block(1), block(1)));
    assert!(!slashable(block(1), block(2)));
    assert!(slashable(attestation(0, 2), attestation(1, 2)));
    assert!(slashable(attestation(0, 3), attestation(1, 2)));
    assert!(slashable(attestation(1, 2), attestation(0, 3)));
    assert!(!slashable(attestation(0, 1), attestation(1, 2)));
    assert!(!slashable(attestation(0, 1), attestation(0, 2)));
    assert!(!slashable(block(2), attestation(0, 2)));
}

#[test]
fn without_a_rule_the_oracle_would_notice() {
    // Each comparison is needed: where it is left out, a slashable pair of the small world gets through.
    let leaves = |ignored: fn(&Refusal) -> bool| {
        let messages = all_messages(3, 4);
        messages.iter().any(|a| {
            let record = Record::default().raised((*a).into());
            Record::default().check(a).is_ok()
                && messages.iter().any(|b| {
                    let allowed = record
                        .check(b)
                        .map_or_else(|refusal| ignored(&refusal), |()| true);
                    allowed && slashable(*a, *b)
                })
        })
    };
    assert!(!leaves(|_| false));
    assert!(leaves(|refusal| matches!(
        refusal,
        Refusal::BlockNotHigher { .. }
    )));
    assert!(leaves(|refusal| matches!(refusal, Refusal::SourceLower { .. })));
    assert!(leaves(|refusal| matches!(
        refusal,
        Refusal::TargetNotHigher { .. }
    )));
}

#[test]
fn nothing_signed_is_not_zero() {
    assert!(Record::default().check(&block(0)).is_ok());
    assert!(Record::default().check(&attestation(0, 0)).is_ok());
    assert_eq!(
        Record::from(block(0)).check(&block(0)),
        Err(Refusal::BlockNotHigher { slot: 0, highest: 0 })
    );
    assert_eq!(
        Record::from(attestation(0, 0)).check(&attestation(0, 0)),
        Err(Refusal::TargetNotHigher {
            target: 0,
            highest: 0
        })
    );
    // A block is nothing to attestations, and the other way round.
    assert!(Record::from(block(9)).check(&attestation(0, 0)).is_ok());
    assert!(Record::from(attestation(8, 9)).check(&block(0)).is_ok());
}

#[test]
fn the_source_may_stay_and_the_ends_of_the_numbers_are_safe() {
    let record = Record::from(attestation(5, 6));
    assert!(record.check(&attestation(5, 7)).is_ok());
    assert!(record.check(&attestation(7, 7)).is_ok());
    assert_eq!(
        record.check(&attestation(8, 7)),
        Err(Refusal::SourceAfterTarget { source: 8, target: 7 })
    );
    assert_eq!(
        record.check(&attestation(4, 7)),
        Err(Refusal::SourceLower {
            source: 4,
            highest: 5
        })
    );
    let last = Record::from(attestation(u64::MAX, u64::MAX)).raised(block(u64::MAX).into());
    assert!(last.check(&attestation(u64::MAX, u64::MAX)).is_err());
    assert!(last.check(&block(u64::MAX)).is_err());
}

#[test]
fn the_window_of_a_slot() {
    let timing = |now_ms| Timing {
        now_ms,
        slot_start_ms: 24_000,
        slot_ms: 12_000,
        deadline_ms: 36_000,
        epoch: 3,
    };
    let message = attestation(2, 3);
    assert_eq!(
        timing(17_999).check(&message),
        Err(Refusal::TooEarly { early_ms: 6_001 })
    );
    assert_eq!(timing(18_000).check(&message), Ok(()));
    assert_eq!(timing(36_000).check(&message), Ok(()));
    assert_eq!(
        timing(36_001).check(&message),
        Err(Refusal::TooLate { late_ms: 1 })
    );
    assert_eq!(
        timing(0).check(&block(1)),
        Err(Refusal::TooEarly { early_ms: 24_000 })
    );
    for target in [2, 4, u64::MAX] {
        assert_eq!(
            timing(30_000).check(&attestation(2, target)),
            Err(Refusal::OtherEpoch { target, epoch: 3 })
        );
    }
    // An odd slot: half of it is not more than half of it.
    let odd = Timing {
        now_ms: 0,
        slot_start_ms: 501,
        slot_ms: 1001,
        deadline_ms: 2000,
        epoch: 0,
    };
    assert!(odd.check(&block(0)).is_err());
    assert!(Timing { now_ms: 1, ..odd }.check(&block(0)).is_ok());
}

#[test]
fn every_refusal_is_one_readable_line() {
    let refusals = [
        Refusal::BlockNotHigher { slot: 1, highest: 2 },
        Refusal::SourceAfterTarget { source: 2, target: 1 },
        Refusal::SourceLower {
            source: 1,
            highest: 2,
        },
        Refusal::TargetNotHigher {
            target: 1,
            highest: 2,
        },
        Refusal::OtherEpoch { target: 1, epoch: 2 },
        Refusal::TooEarly { early_ms: 1 },
        Refusal::TooLate { late_ms: 1 },
        Refusal::NotStarted,
        Refusal::SlotBeforeStart { slot: 1, first: 2 },
        Refusal::TargetBeforeStart { target: 1, first: 2 },
        Refusal::UnknownValidator,
    ];
    let texts: std::collections::BTreeSet<String> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), refusals.len());
    assert!(texts.iter().all(|text| !text.is_empty() && !text.contains('\n')));
}

fn any_message() -> impl Strategy<Value = Message> {
    // Close together, so that they meet; and at both ends of the numbers.
    let near = prop_oneof![0..12u64, (u64::MAX - 3)..=u64::MAX, any::<u64>()];
    let number = near.boxed();
    prop_oneof![
        number.clone().prop_map(block),
        (number.clone(), number).prop_map(|(source, target)| attestation(source, target)),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let number = prop_oneof![0..12u64, any::<u64>()].boxed();
    let attested = (number.clone(), number.clone()).prop_map(|(source, target)| Attested { source, target });
    (proptest::option::of(number), proptest::option::of(attested))
        .prop_map(|(block, attested)| Record { block, attested })
}

proptest! {
    #[test]
    fn no_sequence_is_slashable(messages in proptest::collection::vec(any_message(), 0..60)) {
        judge(messages);
    }

    #[test]
    fn raising_never_allows_more(record in any_record(), to in any_record(), message in any_message()) {
        let raised = record.raised(to);
        prop_assert_eq!(raised, to.raised(record));
        prop_assert_eq!(raised.raised(to), raised);
        if raised.check(&message).is_ok() {
            prop_assert!(record.check(&message).is_ok() && to.check(&message).is_ok());
        }
        // What both allow is refused by neither's maximum, unless source and target come from different records.
        if record.check(&message).is_ok() && to.check(&message).is_ok() {
            prop_assert!(raised.check(&message).is_ok());
        }
    }

    #[test]
    fn what_was_signed_is_refused(record in any_record(), message in any_message()) {
        prop_assert!(record.raised(message.into()).check(&message).is_err());
    }

    /// The database answers as the rules do, whatever the sequence.
    #[test]
    fn the_database_says_what_the_rules_say(messages in proptest::collection::vec(any_message(), 1..30)) {
        let guard = in_memory(&cluster(1));
        let mut record = Record::default();
        for message in messages {
            let allowed = record.check(&message).is_ok();
            prop_assert_eq!(may(&guard, message), allowed);
            if allowed {
                record = record.raised(message.into());
            }
            prop_assert_eq!(guard.record(0).unwrap(), record);
        }
    }
}

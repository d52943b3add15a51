//! What is asked and what is answered.

use super::super::interchange::Horizon;
use super::*;

#[test]
fn a_duty_is_permitted_once_and_only_to_those_who_may() {
    let guard = in_memory(&cluster(3));
    let answer = ask(&guard, attestation(0, 1), &[0, 2]).unwrap();
    let permit = answer.permit.unwrap();
    assert_eq!(permit.validators(), [0, 2]);
    assert_eq!(permit.message(), attestation(0, 1));
    assert_eq!(*permit.signing_root(), root_of(attestation(0, 1)));
    assert!(answer.refused.is_empty());

    // The same again, with one that has not signed and one that the lock does not have.
    let answer = ask(&guard, attestation(0, 1), &[0, 1, 2, 3]).unwrap();
    assert_eq!(answer.permit.unwrap().validators(), [1]);
    let again = Refusal::TargetNotHigher {
        target: 1,
        highest: 1,
    };
    let mut refused = answer.refused;
    refused.sort_by_key(|(validator, _)| *validator);
    assert_eq!(refused, [(0, again), (2, again), (3, Refusal::UnknownValidator)]);
}

#[test]
fn a_validator_named_twice_signs_once() {
    let guard = in_memory(&cluster(1));
    let answer = ask(&guard, block(5), &[0, 0]).unwrap();
    assert_eq!(answer.permit.unwrap().validators(), [0]);
    assert_eq!(
        answer.refused,
        [(0, Refusal::BlockNotHigher { slot: 5, highest: 5 })]
    );
}

#[test]
fn nothing_is_permitted_before_the_start_is_known_nor_for_what_was_before_it() {
    let guard = in_memory(&cluster(1));
    guard.pause();
    for message in [block(100), attestation(0, 100)] {
        let answer = ask(&guard, message, &[0]).unwrap();
        assert_eq!(
            (answer.permit, answer.refused),
            (None, vec![(0, Refusal::NotStarted)])
        );
    }
    guard.begin(Start {
        first_slot: 3201,
        first_target: 101,
    });
    assert!(!may(&guard, block(3200)));
    assert!(!may(&guard, attestation(0, 100)));
    // Its slot has come, its epoch has not.
    let message = Message::Attestation {
        slot: 3205,
        source: 0,
        target: 100,
    };
    assert!(!may(&guard, message));
    assert!(may(&guard, block(3201)));
    // All peers have confirmed: at once.
    guard.begin(Start {
        first_slot: 3201,
        first_target: 0,
    });
    assert!(may(&guard, message));
    assert_eq!(guard.record(0).unwrap().attested.unwrap().target, 100);
}

#[test]
fn refusals_leave_no_trace() {
    let guard = in_memory(&cluster(1));
    let message = block(9);
    let late = Timing {
        now_ms: 12_001,
        ..right_time(message)
    };
    let request = Request {
        message,
        signing_root: [1; 32],
        validators: &[0],
        timing: late,
    };
    let answer = guard.permit(&request).unwrap();
    assert_eq!(answer.refused, [(0, Refusal::TooLate { late_ms: 1 })]);
    assert_eq!(guard.highest().unwrap(), Record::default());
    assert!(may(&guard, message));
}

#[test]
fn nobody_to_sign_is_nothing_to_permit() {
    let guard = in_memory(&cluster(1));
    let answer = ask(&guard, block(1), &[]).unwrap();
    assert_eq!((answer.permit, answer.refused), (None, vec![]));
}

#[test]
fn raising_concerns_all_keys_and_never_lowers() {
    let guard = in_memory(&cluster(3));
    assert!(ask(&guard, attestation(7, 9), &[1]).unwrap().permit.is_some());
    assert!(ask(&guard, block(50), &[2]).unwrap().permit.is_some());
    let to = Record {
        block: Some(40),
        attested: Some(Attested {
            source: 6,
            target: 10,
        }),
    };
    let raised = guard.raise(to).unwrap();
    assert_eq!(raised.keys, 3);
    assert_eq!(
        raised.before,
        Record {
            block: Some(50),
            attested: Some(Attested { source: 7, target: 9 })
        }
    );
    let attested = |source| Some(Attested { source, target: 10 });
    assert_eq!(guard.record(0).unwrap(), to);
    assert_eq!(
        guard.record(1).unwrap(),
        Record {
            block: Some(40),
            attested: attested(7)
        }
    );
    assert_eq!(
        guard.record(2).unwrap(),
        Record {
            block: Some(50),
            attested: attested(6)
        }
    );
    assert_eq!(guard.raise(to).unwrap().keys, 0);
    assert_eq!(guard.raise(Record::default()).unwrap().keys, 0);
}

#[test]
fn peers_are_remembered_upwards_only() {
    let guard = in_memory(&cluster(1));
    let memory = |operator, message, proof: u8| Memory {
        operator,
        message,
        proof: vec![proof; 64],
    };
    let first = [
        memory(3, attestation(4, 5), 1),
        memory(1, block(70), 2),
        memory(3, block(60), 3),
    ];
    assert_eq!(guard.remember(&first).unwrap(), 3);
    assert_eq!(
        guard.memories().unwrap(),
        [first[1].clone(), first[2].clone(), first[0].clone()]
    );
    let older = [
        memory(3, attestation(4, 5), 9),
        memory(3, attestation(5, 4), 9),
        memory(1, block(70), 9),
        memory(3, block(59), 9),
    ];
    assert_eq!(guard.remember(&older).unwrap(), 0);
    assert_eq!(guard.remember(&[]).unwrap(), 0);
    assert_eq!(guard.memories().unwrap().len(), 3);
    // Several of one operator in one batch: the newest stays.
    let newer = [
        memory(3, attestation(4, 6), 10),
        memory(3, attestation(5, 6), 11),
        memory(3, attestation(4, 6), 12),
    ];
    assert_eq!(guard.remember(&newer).unwrap(), 2);
    assert_eq!(guard.memories().unwrap()[2], newer[1]);
    let too_long = Memory {
        proof: vec![0; MAX_PROOF_BYTES + 1],
        ..newer[0].clone()
    };
    assert!(matches!(
        guard.remember(&[too_long]),
        Err(GuardError::ProofTooLarge(_))
    ));
    // What others signed is nothing to one's own keys.
    assert_eq!(guard.highest().unwrap(), Record::default());
}

fn newest(target: u64, source: u64, slot: u64) -> Progress {
    Progress {
        block: None,
        attestation: Some(Newest { target, source, slot }),
    }
}

fn attestation_in(slot: u64, source: u64, target: u64) -> Message {
    Message::Attestation { slot, source, target }
}

#[test]
fn how_far_it_has_signed_is_kept_with_each_permit() {
    let guard = in_memory(&cluster(2));
    assert_eq!(guard.progress().unwrap(), Progress::default());
    for (message, validator) in [
        (attestation_in(65, 1, 2), 0),
        (attestation_in(70, 1, 2), 1),
        (block(66), 0),
        (block(60), 1),
    ] {
        assert!(ask(&guard, message, &[validator]).unwrap().permit.is_some());
    }
    let so_far = Progress {
        block: Some(66),
        ..newest(2, 1, 70)
    };
    assert_eq!(guard.progress().unwrap(), so_far);
    // What is refused is not signed.
    assert!(
        ask(&guard, attestation_in(71, 1, 2), &[0, 1])
            .unwrap()
            .permit
            .is_none()
    );
    assert_eq!(guard.progress().unwrap(), so_far);
}

#[test]
fn only_what_is_newer_than_it_has_signed_shows_that_it_forgot() {
    let guard = in_memory(&cluster(3));
    for (slot, validator) in [(65, 0), (70, 1)] {
        assert!(
            ask(&guard, attestation_in(slot, 1, 2), &[validator])
                .unwrap()
                .permit
                .is_some()
        );
    }
    // What peers hold of it, or an older one of this epoch or of another: the third key may still sign.
    for known in [
        newest(2, 1, 70),
        newest(2, 1, 65),
        newest(1, 1, 90),
        Progress::default(),
    ] {
        assert!(!guard.catch_up(known).unwrap());
    }
    assert_eq!(guard.record(2).unwrap(), Record::default());
    assert!(guard.catch_up(newest(2, 1, 71)).unwrap());
    assert_eq!(guard.record(2).unwrap(), newest(2, 1, 71).record());
    assert_eq!(guard.progress().unwrap(), newest(2, 1, 71));
    assert!(!guard.catch_up(newest(2, 1, 71)).unwrap(), "once");
    // Of a block it has forgotten; its attestations are no older than what is remembered.
    let forgotten = Progress {
        block: Some(80),
        ..newest(2, 1, 70)
    };
    assert!(guard.catch_up(forgotten).unwrap());
    let record = guard.record(0).unwrap();
    assert_eq!(
        (record.block, record.attested.map(|a| a.target)),
        (Some(80), Some(2))
    );
}

#[test]
fn what_was_imported_is_raised_as_far_as_others_remember() {
    let cluster = cluster(2);
    let file = |targets: &[u64]| {
        let root = hex::encode([3; 32]);
        let data: Vec<String> = targets
            .iter()
            .zip(cluster.validators())
            .map(|(target, keys)| {
                let key = hex::encode(keys.distributed);
                format!(
                    r#"{{"pubkey":"0x{key}","signed_blocks":[],"signed_attestations":[{{"source_epoch":"1","target_epoch":"{target}"}}]}}"#
                )
            })
            .collect();
        let text = format!(
            r#"{{"metadata":{{"interchange_format_version":"5","genesis_validators_root":"0x{root}"}},"data":[{}]}}"#,
            data.join(",")
        );
        Interchange::parse(text.as_bytes(), Horizon::NONE).unwrap()
    };
    // All keys have signed in the epoch: whatever was forgotten, none can sign against it.
    let whole = in_memory(&cluster);
    whole.pin_genesis_validators_root(&[3; 32]).unwrap();
    whole.import(&file(&[2, 2]), Future::Refuse).unwrap();
    assert_eq!(whole.progress().unwrap(), Progress::default());
    assert!(!whole.catch_up(newest(2, 1, 70)).unwrap());
    // One of them may have signed in it, or not: nobody knows.
    let half = in_memory(&cluster);
    half.pin_genesis_validators_root(&[3; 32]).unwrap();
    half.import(&file(&[2, 1]), Future::Refuse).unwrap();
    assert!(half.catch_up(newest(2, 1, 70)).unwrap());
    assert_eq!(half.record(1).unwrap(), newest(2, 1, 70).record());
}

#[test]
fn what_is_asked_while_the_clock_jumps_is_refused_when_the_disk_has_answered() {
    let start = |first_slot, first_target| Start {
        first_slot,
        first_target,
    };
    let cases = [
        (None, Refusal::NotStarted),
        // Put back: the same slot comes again.
        (Some(start(0, 0)), Refusal::NotStarted),
        (
            Some(start(97, 9)),
            Refusal::SlotBeforeStart { slot: 96, first: 97 },
        ),
        (
            Some(start(0, 4)),
            Refusal::TargetBeforeStart { target: 3, first: 4 },
        ),
    ];
    for (start, refusal) in cases {
        let (guard, disk) = Moody::guard();
        disk.becomes(Mood::Hangs);
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&guard, attestation(2, 3), &[0]).unwrap());
            disk.wait_for_a_victim();
            // Neither waits for the disk.
            guard.pause();
            if let Some(start) = start {
                guard.begin(start);
            }
            disk.becomes(Mood::Well);
            asking.join().unwrap()
        });
        assert_eq!(answer.permit, None);
        assert_eq!(answer.refused, [(0, refusal)]);
        // It counts as signed all the same.
        guard.begin(ALWAYS);
        assert!(!may(&guard, attestation(2, 3)));
        assert!(may(&guard, attestation(2, 4)));
    }
    // Whoever may sign more from now on may have what was asked before.
    let (guard, disk) = Moody::guard();
    guard.begin(start(0, 3));
    disk.becomes(Mood::Hangs);
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&guard, attestation(2, 3), &[0]).unwrap());
        disk.wait_for_a_victim();
        guard.begin(ALWAYS);
        disk.becomes(Mood::Well);
        asking.join().unwrap()
    });
    assert!(answer.permit.is_some());
}

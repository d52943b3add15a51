//! What is asked and what is answered.

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

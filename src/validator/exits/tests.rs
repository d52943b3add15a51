use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    crypto::{bls::SecretKey, node::NodeKey, scalar::Scalar},
    validator::group::{Group, Operator, Validator},
};

const DOMAIN: Domain = Domain {
    capella_fork_version: [3, 0, 0, 0],
    genesis_validators_root: [9; 32],
};
const EXIT: VoluntaryExit = VoluntaryExit {
    epoch: 0,
    validator_index: 77,
};

fn node_key(operator: u16) -> NodeKey {
    NodeKey::from_bytes(&[u8::try_from(operator).unwrap(); 32]).unwrap()
}

/// f(x) = a + b x + c x^2, with other coefficients for each validator: three of four sign.
fn share(operator: u16, validator: u32) -> SecretKey {
    let number = Scalar::from_u64;
    let x = number(operator.into());
    let base = u64::from(validator) * 100;
    let slope = &number(base + 13) * &x;
    let square = &(&number(base + 17) * &x) * &x;
    SecretKey::from_scalar(&(&(&number(base + 11) + &slope) + &square)).unwrap()
}

fn group() -> Group {
    Group {
        lock_hash: [5; 32],
        threshold: 3,
        operators: (1..=4)
            .map(|operator| Operator {
                name: format!("operator {operator}"),
                key: node_key(operator).public(),
            })
            .collect(),
        validators: (0..2)
            .map(|validator| Validator {
                key: share(0, validator).public_key(),
                shares: (1..=4)
                    .map(|operator| share(operator, validator).public_key())
                    .collect(),
                fee_recipient: [0; 20],
            })
            .collect(),
        gas_limit: 0,
    }
}

fn partial(operator: u16, validator: u32, message: VoluntaryExit, made_ms: u64) -> PartialExit {
    let (key, share) = (node_key(operator), share(operator, validator));
    PartialExit::sign(
        (operator, &key),
        (validator, &share),
        &[5; 32],
        &DOMAIN,
        message,
        made_ms,
    )
}

#[test]
fn bytes_and_files_come_back() {
    let group = group();
    let sent = partial(2, 1, EXIT, 1_700_000_000_000);
    assert_eq!(sent.encode().len(), LENGTH);
    assert_eq!(PartialExit::decode(&sent.encode()), Some(sent.clone()));
    let file = sent.to_json(&group);
    assert!(file.len() < MAX_FILE_BYTES);
    let read = PartialExit::from_json(&file, &group).unwrap();
    assert_eq!(read, sent);
    read.check_author(&group).unwrap();
    read.check_share(&group, &DOMAIN).unwrap();
}

#[test]
fn every_other_byte_is_noticed() {
    let group = group();
    let bytes = partial(2, 1, EXIT, 5).encode();
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let read = PartialExit::decode(&changed).unwrap();
        assert!(read.check_author(&group).is_err(), "byte {index}");
        assert!(PartialExit::decode(&bytes[..index]).is_none());
    }
    assert!(PartialExit::decode(&[bytes, vec![0]].concat()).is_none());
}

#[test]
fn files_of_others_and_other_spellings_are_refused() {
    let group = group();
    let text = String::from_utf8(partial(2, 1, EXIT, 5).to_json(&group)).unwrap();
    let read = |text: &str| PartialExit::from_json(text.as_bytes(), &group);
    assert_eq!(
        read(&text.replace(&"05".repeat(32), &"06".repeat(32))),
        Err(PartialError::OtherCluster)
    );
    assert_eq!(
        read(&text.replace("\"operator\": 2", "\"operator\": 5")),
        Err(PartialError::Unknown("operator"))
    );
    let key = hex::encode(group.validators[1].key.to_bytes());
    assert_eq!(
        read(&text.replace(&key, &"ab".repeat(48))),
        Err(PartialError::Unknown("validator"))
    );
    for (old, new) in [
        ("\"77\"", "77"),
        ("\"77\"", "\"077\""),
        ("\"77\"", "\"18446744073709551616\""),
        ("\"5\"", "\"\""),
        ("0x", ""),
        ("\"operator\"", "\"song\": 1, \"operator\""),
        ("\"operator\": 2,", ""),
    ] {
        assert!(text.contains(old), "{old}");
        let error = read(&text.replace(old, new)).unwrap_err();
        assert!(matches!(error, PartialError::Malformed(_)), "{new}: {error}");
    }
    assert!(read(&" ".repeat(MAX_FILE_BYTES + 1)).is_err());
}

#[test]
fn any_three_make_the_exit_and_a_wrong_one_is_named() {
    let group = group();
    for left_out in 1..=4 {
        let partials: Vec<_> = (1..=4)
            .filter(|operator| *operator != left_out)
            .map(|operator| partial(operator, 0, EXIT, 5))
            .collect();
        let (made, wrong) = combine(&group, &DOMAIN, &partials);
        assert!(wrong.is_empty());
        let made = made.unwrap();
        made.exit
            .verify(
                &group.validators[0].key.to_bytes(),
                DOMAIN.capella_fork_version,
                DOMAIN.genesis_validators_root,
            )
            .unwrap();
        assert_eq!((made.validator, made.exit.message), (0, EXIT));
        assert!(!made.operators.contains(&left_out));
    }
    // Operator 2 signed with a share of another validator, operator 3 for another network.
    let (key, other) = (node_key(2), share(2, 1));
    let swapped = PartialExit::sign((2, &key), (0, &other), &[5; 32], &DOMAIN, EXIT, 5);
    let elsewhere = Domain {
        genesis_validators_root: [8; 32],
        ..DOMAIN
    };
    let (key, own) = (node_key(3), share(3, 0));
    let foreign = PartialExit::sign((3, &key), (0, &own), &[5; 32], &elsewhere, EXIT, 5);
    let partials = [partial(1, 0, EXIT, 5), swapped, foreign, partial(4, 0, EXIT, 5)];
    let (made, wrong) = combine(&group, &DOMAIN, &partials);
    let too_few = CombineError::TooFew {
        have: 2,
        need: 3,
        split: false,
    };
    assert_eq!(made, Err(too_few));
    assert_eq!(wrong, [(2, PartialError::Share), (3, PartialError::Share)]);
}

#[test]
fn other_messages_and_the_same_operator_twice_do_not_count() {
    let group = group();
    let later = VoluntaryExit { epoch: 9, ..EXIT };
    let cases = [
        vec![
            partial(1, 0, EXIT, 5),
            partial(2, 0, EXIT, 5),
            partial(3, 0, later, 5),
        ],
        vec![
            partial(1, 0, EXIT, 5),
            partial(2, 0, EXIT, 5),
            partial(3, 1, EXIT, 5),
        ],
        vec![
            partial(1, 0, EXIT, 5),
            partial(2, 0, EXIT, 5),
            partial(2, 0, EXIT, 6),
        ],
    ];
    for (number, partials) in cases.iter().enumerate() {
        let (made, wrong) = combine(&group, &DOMAIN, partials);
        assert!(wrong.is_empty());
        let split = number < 2;
        assert_eq!(
            made,
            Err(CombineError::TooFew {
                have: 2,
                need: 3,
                split
            })
        );
    }
}

#[test]
fn a_ledger_keeps_the_newest_of_each_and_makes_the_exit() {
    let mut ledger = Ledger::new(Arc::new(group()), DOMAIN);
    let later = VoluntaryExit { epoch: 9, ..EXIT };
    assert_eq!(ledger.take(&partial(1, 0, EXIT, 5), 10), Ok(Taken::New));
    assert_eq!(ledger.take(&partial(1, 0, EXIT, 5), 10), Ok(Taken::Known));
    assert_eq!(ledger.take(&partial(1, 0, later, 4), 10), Ok(Taken::Known));
    assert_eq!(ledger.take(&partial(2, 0, later, 5), 10), Ok(Taken::New));
    assert_eq!(ledger.take(&partial(3, 0, EXIT, 5), 10), Ok(Taken::New));
    assert_eq!(ledger.wishes(0).len(), 2);
    assert_eq!(ledger.consents(0, &EXIT), [1, 3].into());
    assert!(ledger.signed(0).is_none() && ledger.signed(1).is_none());
    assert_eq!(ledger.take(&partial(2, 0, EXIT, 6), 10), Ok(Taken::New));
    let made = ledger.signed(0).unwrap();
    assert_eq!((made.exit.message, made.operators), (EXIT, vec![1, 2, 3]));
    assert_eq!(ledger.all().count(), 3);
    assert_eq!(ledger.validators(), [0].into());
}

#[test]
fn a_ledger_takes_nothing_that_is_not_signed_and_not_everything_that_is() {
    let mut ledger = Ledger::new(Arc::new(group()), DOMAIN);
    let mut forged = partial(1, 0, EXIT, 5);
    forged.operator = 2;
    assert_eq!(ledger.take(&forged, 10), Err(PartialError::NodeSignature));
    let mut nobody = partial(1, 0, EXIT, 5);
    nobody.validator = 2;
    assert_eq!(ledger.take(&nobody, 10), Err(PartialError::Unknown("share")));
    let (key, other) = (node_key(1), share(1, 1));
    let swapped = PartialExit::sign((1, &key), (0, &other), &[5; 32], &DOMAIN, EXIT, 5);
    assert_eq!(ledger.take(&swapped, 10), Err(PartialError::Share));
    let future = partial(1, 0, EXIT, FUTURE);
    assert_eq!(ledger.take(&future, 10), Ok(Taken::TooMany));
    // Twelve at once, of which one was spent, then one every ten seconds; the others' are not touched by that.
    let mut taken = 0;
    for made in 0..50 {
        match ledger.take(&partial(1, 0, EXIT, 100 + made), 10).unwrap() {
            Taken::New => taken += 1,
            Taken::TooMany => {}
            Taken::Known => panic!("none is older"),
        }
    }
    assert_eq!(taken, 11);
    assert_eq!(ledger.take(&partial(1, 0, EXIT, 300), 9_000), Ok(Taken::TooMany));
    assert_eq!(ledger.take(&partial(1, 0, EXIT, 301), 10_011), Ok(Taken::New));
    assert_eq!(ledger.take(&partial(1, 0, EXIT, 302), 10_012), Ok(Taken::TooMany));
    assert_eq!(ledger.take(&partial(2, 0, EXIT, 5), 10), Ok(Taken::New));
}

/// More than an hour from the tests' now.
const FUTURE: u64 = 3_600_011;

proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0_usize..700, byte: u8) {
        let group = group();
        let mut file = partial(1, 0, EXIT, 5).to_json(&group);
        if let Some(place) = file.get_mut(at) {
            *place = byte;
        }
        let _ = PartialExit::from_json(&file, &group);
    }
}

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::group::{Group, Operator, Validator};
use conclave_crypto::{bls::SecretKey, node::NodeKey, scalar::Scalar};

const DOMAIN: Domain = Domain {
    capella_fork_version: [3, 0, 0, 0],
    genesis_validators_root: [9; 32],
};
const EXIT: VoluntaryExit = VoluntaryExit {
    epoch: 0,
    validator_index: 77,
};

pub(crate) fn node_key(operator: u16) -> NodeKey {
    NodeKey::from_bytes(&[u8::try_from(operator).unwrap(); 32]).unwrap()
}

/// f(x) = a + b x + c x^2, with other coefficients for each validator: three of four sign.
pub(crate) fn share(operator: u16, validator: u32) -> SecretKey {
    let number = Scalar::from_u64;
    let x = number(operator.into());
    let base = u64::from(validator) * 100;
    let slope = &number(base + 13) * &x;
    let square = &(&number(base + 17) * &x) * &x;
    SecretKey::from_scalar(&(&(&number(base + 11) + &slope) + &square)).unwrap()
}

pub(crate) fn group() -> Group {
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
        ("\"operator\": 2,", ""),
    ] {
        assert!(text.contains(old), "{old}");
        let error = read(&text.replace(old, new)).unwrap_err();
        assert!(matches!(error, PartialError::Malformed(_)), "{new}: {error}");
    }
    assert!(read(&" ".repeat(MAX_FILE_BYTES + 1)).is_err());
    // What a later version adds is passed over.
    let more = text.replace("\"operator\"", "\"song\": null, \"operator\"");
    assert_eq!(read(&more), read(&text));
    assert!(read(&more).is_ok());
}

#[test]
fn a_part_that_went_through_another_system_is_read_and_a_broken_one_is_told_plainly() {
    let group = group();
    let part = partial(2, 1, EXIT, 5);
    let text = String::from_utf8(part.to_json(&group)).unwrap();
    let windows = format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"));
    assert_eq!(PartialExit::from_json(windows.as_bytes(), &group), Ok(part));
    for (bytes, expected) in [
        (&text.as_bytes()[..60], "it is cut off"),
        (b"", "an empty file"),
        (b"<p>", "a web page"),
        (b"{\"cluster_definition\":{}}", "a cluster lock"),
        (
            b"{\"message\":{\"epoch\":\"1\",\"validator_index\":\"1\"},\"signature\":\"0x\"}",
            "a signed voluntary exit",
        ),
    ] {
        let error = PartialExit::from_json(bytes, &group).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn any_three_make_the_exit_and_a_wrong_one_is_named() {
    let group = group();
    for left_out in 1..=4 {
        let partials: Vec<_> = (1..=4)
            .filter(|operator| *operator != left_out)
            .map(|operator| partial(operator, 0, EXIT, 5))
            .collect();
        let tally = combine(&group, &DOMAIN, &partials);
        assert!(tally.wrong.is_empty() && tally.lacking.is_empty());
        let made = tally.made.into_iter().next().unwrap();
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
    let tally = combine(&group, &DOMAIN, &partials);
    assert_eq!(tally.made, []);
    assert_eq!(tally.lacking, [lacking(0, EXIT, &[1, 4])]);
    let wrong = |operator| Wrong {
        operator,
        validator: 0,
        error: PartialError::Share,
    };
    assert_eq!(tally.wrong, [wrong(2), wrong(3)]);
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
    let lacks = [
        vec![lacking(0, EXIT, &[1, 2]), lacking(0, later, &[3])],
        vec![lacking(0, EXIT, &[1, 2]), lacking(1, EXIT, &[3])],
        vec![lacking(0, EXIT, &[1, 2])],
    ];
    for (partials, lacking) in cases.iter().zip(lacks) {
        let tally = combine(&group, &DOMAIN, partials);
        assert!(tally.wrong.is_empty() && tally.made.is_empty());
        assert_eq!(tally.lacking, lacking);
    }
}

fn lacking(validator: u32, message: VoluntaryExit, operators: &[u16]) -> Lacking {
    Lacking {
        validator,
        message,
        operators: operators.to_vec(),
    }
}

/// Whatever else lies in the pile: each exit counts by itself, and none is forgotten.
#[test]
fn a_pile_of_parts_makes_every_exit_that_has_enough_of_them() {
    let group = group();
    let later = VoluntaryExit { epoch: 9, ..EXIT };
    let other = VoluntaryExit {
        validator_index: 78,
        ..EXIT
    };
    let mut forged = partial(3, 1, later, 5);
    forged.operator = 2;
    let mut pile = vec![forged];
    for operator in 1..=4 {
        pile.push(partial(operator, 0, EXIT, 5));
        pile.push(partial(operator, 0, later, 6));
    }
    for operator in 2..=4 {
        pile.push(partial(operator, 1, other, 5));
    }
    pile.push(partial(1, 1, EXIT, 5));
    for _ in 0..3 {
        pile.rotate_left(5);
        let tally = combine(&group, &DOMAIN, &pile);
        let made: Vec<_> = tally
            .made
            .iter()
            .map(|made| (made.validator, made.exit.message, made.operators.clone()))
            .collect();
        assert_eq!(
            made,
            [
                (0, EXIT, vec![1, 2, 3]),
                (0, later, vec![1, 2, 3]),
                (1, other, vec![2, 3, 4])
            ]
        );
        // Of the exit whose only part is forged nothing is there.
        assert_eq!(tally.lacking, [lacking(1, EXIT, &[1]), lacking(1, later, &[])]);
        assert_eq!(tally.wrong.len(), 1);
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

/// What one node does with what others send it.
struct Desk {
    ledger: Ledger,
    inbox: Inbox,
    /// Whose parts were wrong.
    named: BTreeSet<u16>,
    /// Who passed on what its author did not make.
    barred: BTreeSet<u16>,
}

impl Desk {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(Arc::new(group()), DOMAIN),
            inbox: Inbox::default(),
            named: BTreeSet::new(),
            barred: BTreeSet::new(),
        }
    }

    /// Looks at the next thing.
    fn step(&mut self, now_ms: u64) {
        if let Some(Mail::Part { from, partial }) = self.inbox.take() {
            match self.ledger.take(&partial, now_ms) {
                Ok(_) => {}
                Err(PartialError::Share) => drop(self.named.insert(partial.operator)),
                Err(_) => drop(self.barred.insert(from)),
            }
        }
    }
}

/// What operator 4 sends for the exit that the others want: wrong in three ways, or its own consent to another exit.
fn lie(kind: usize, made_ms: u64) -> PartialExit {
    let elsewhere = Domain {
        genesis_validators_root: [8; 32],
        ..DOMAIN
    };
    let later = VoluntaryExit { epoch: 9, ..EXIT };
    let other = VoluntaryExit {
        validator_index: 78,
        ..EXIT
    };
    let (validator, share_of, domain, message) = match kind {
        0 => (0, 1, &DOMAIN, EXIT),
        1 => (1, 0, &DOMAIN, EXIT),
        2 => (0, 0, &elsewhere, EXIT),
        3 => (0, 0, &DOMAIN, later),
        _ => (0, 0, &DOMAIN, other),
    };
    let (key, share) = (node_key(4), share(4, share_of));
    PartialExit::sign((4, &key), (validator, &share), &[5; 32], domain, message, made_ms)
}

#[test]
fn a_liar_neither_stops_nor_delays_an_exit_nor_gets_a_consent() {
    let now = 1_000_000;
    for kind in 0..5 {
        let mut desks: Vec<Desk> = (1..=3).map(|_| Desk::new()).collect();
        let flood = |desk: &mut Desk, made_ms: u64| {
            for made_ms in (made_ms..).take(20) {
                desk.inbox.part(4, lie(kind, made_ms));
            }
        };
        for desk in &mut desks {
            flood(desk, 1);
            desk.step(now);
            flood(desk, 1000);
        }
        for author in 1..=3 {
            let part = partial(author, 0, EXIT, 5);
            for (operator, desk) in (1..=3).zip(&mut desks) {
                let own = desk.ledger.get(operator, 0).is_some();
                assert_eq!(
                    own,
                    operator < author,
                    "nobody's part is there before its own command"
                );
                if operator == author {
                    desk.ledger.take(&part, now).unwrap();
                } else {
                    desk.inbox.part(author, part.clone());
                }
                flood(desk, 2000 + 1000 * u64::from(author));
                // Its turn comes after at most one part of everybody else.
                desk.step(now);
                desk.step(now);
                assert!(
                    desk.ledger.get(author, 0).is_some(),
                    "lie {kind}: {author} to {operator}"
                );
            }
        }
        for (operator, desk) in (1..=3).zip(&mut desks) {
            let made = desk.ledger.signed(0).expect("three consent");
            assert_eq!((made.exit.message, made.operators), (EXIT, vec![1, 2, 3]));
            assert!(desk.ledger.signed(1).is_none());
            while desk.inbox.take().is_some() {}
            assert_eq!(desk.ledger.consents(0, &EXIT), [1, 2, 3].into());
            // Whoever signed what it must not is named; consent to another exit is a wish, and stays one.
            let wrong = kind < 3;
            assert_eq!(desk.named, wrong.then_some(4).into_iter().collect());
            assert_eq!(desk.ledger.get(4, 0).is_some(), !wrong, "operator {operator}");
            assert!(desk.barred.is_empty());
        }
    }
}

#[test]
fn a_part_in_another_operators_name_is_the_senders_fault() {
    let mut desk = Desk::new();
    let mut forged = partial(4, 0, EXIT, 5);
    forged.operator = 2;
    let mut nowhere = partial(4, 0, EXIT, 5);
    nowhere.validator = u32::MAX;
    for wrong in [forged, nowhere] {
        desk.inbox.part(4, wrong);
        desk.step(10);
        assert_eq!((&desk.named, &desk.barred), (&BTreeSet::new(), &[4].into()));
        desk.barred.clear();
    }
    assert_eq!(desk.ledger.all().count(), 0);
    desk.inbox.part(2, partial(2, 0, EXIT, 5));
    desk.step(10);
    assert!(
        desk.ledger.get(2, 0).is_some(),
        "the forged one is not in the way of the right one"
    );
}

#[test]
fn an_inbox_serves_everybody_in_turn_and_is_bounded() {
    let mut inbox = Inbox::default();
    let part = partial(1, 0, EXIT, 5);
    let numbered = |validator: u32, made_ms: u64| {
        let mut numbered = part.clone();
        (numbered.validator, numbered.made_ms) = (validator, made_ms);
        numbered
    };
    assert!(inbox.take().is_none());
    assert!(inbox.part(3, numbered(0, 1)), "there was no mail");
    for validator in 0..10_000 {
        assert!(!inbox.part(3, numbered(validator, 2)));
    }
    // The newest of each place counts, and an older one changes nothing.
    inbox.part(1, numbered(7, 8));
    inbox.part(1, numbered(7, 9));
    inbox.part(1, numbered(7, 5));
    inbox.part(2, numbered(1, 1));
    inbox.part(2, numbered(2, 1));
    assert!(!inbox.connected(2));
    inbox.connected(2);
    let mut taken = Vec::new();
    for _ in 0..8 {
        taken.push(match inbox.take() {
            Some(Mail::Part { from, partial }) => (from, partial.validator, partial.made_ms),
            Some(Mail::Connected(operator)) => (operator, u32::MAX, 0),
            None => panic!("there is mail"),
        });
    }
    assert_eq!(
        taken,
        [
            (1, 7, 9),
            (2, u32::MAX, 0),
            (3, 0, 2),
            (2, 1, 1),
            (3, 1, 2),
            (2, 2, 1),
            (3, 2, 2),
            (3, 3, 2)
        ]
    );
    let mut left = 0;
    while inbox.take().is_some() {
        left += 1;
    }
    assert_eq!(left, 4096 - 4);
    assert!(inbox.part(1, part));
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

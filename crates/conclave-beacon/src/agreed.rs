//! What most beacon nodes say of validators, where one node's word is not enough: for commands that ask once, without what `run` knows
//! from before.
//!
//! Pure.

use std::{collections::HashMap, fmt};

use super::{
    answers::ValidatorStatus,
    majority::{self, Voice},
    nodes::Said,
};

/// What counts of what nodes say of validators.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreed {
    /// One for each validator that is known, and of which most say the same index.
    pub found: Vec<ValidatorStatus>,
    /// Validators about whose index nodes differ.
    pub disputes: Vec<Dispute>,
}

/// Nodes differ about a validator's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// Its public key, 48 bytes.
    pub pubkey: [u8; 48],
    /// Each node's name and the index that it gives; none if it does not know the validator.
    pub says: Vec<(String, Option<u64>)>,
    /// As many say the one as the other: nobody knows who is right.
    pub is_open: bool,
}

impl fmt::Display for Dispute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, index)) in self.says.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            match index {
                Some(index) => write!(f, "{comma}{name} says {index}")?,
                None => write!(f, "{comma}{name} does not know it")?,
            }
        }
        Ok(())
    }
}

impl Agreed {
    /// By what nodes said, at least one of them, and their names. Of its state what most say counts; where as many say the one as the
    /// other, that it is at work: an exit that the chain does not take costs nothing, and nobody keeps one back by saying that it is not
    /// needed.
    pub(super) fn of(
        pubkeys: &[[u8; 48]],
        said: &[Said<Vec<ValidatorStatus>>],
        name: impl Fn(usize) -> String,
    ) -> Self {
        let mut agreed = Self::default();
        // Of one node the first word counts.
        let by_key: Vec<HashMap<&[u8; 48], &ValidatorStatus>> = said
            .iter()
            .map(|one| {
                let statuses = one.value.iter().rev();
                statuses
                    .map(|status| (&status.validator.pubkey, status))
                    .collect()
            })
            .collect();
        for pubkey in pubkeys {
            let words: Vec<Option<&ValidatorStatus>> =
                by_key.iter().map(|of_it| of_it.get(pubkey).copied()).collect();
            let voice = |(one, word): (&Said<_>, Option<&ValidatorStatus>)| Voice {
                head_slot: one.head_slot,
                known: word
                    .is_some_and(|status| status.status == "active_ongoing")
                    .into(),
            };
            let voices: Vec<Voice> = said.iter().zip(words.iter().copied()).map(voice).collect();
            let index = |place: usize| words[place].map(|status| status.index);
            let count = majority::count(&voices, 0..words.len(), |one, other| index(one) == index(other));
            let is_open = !count.rivals.is_empty();
            if count.counts.len() < words.len() {
                let says = said.iter().enumerate();
                agreed.disputes.push(Dispute {
                    pubkey: *pubkey,
                    says: says.map(|(place, one)| (name(one.node), index(place))).collect(),
                    is_open,
                });
            }
            if is_open {
                continue;
            }
            let state = |place: usize| words[place].map(|status| &status.status);
            let same = |one: usize, other: usize| state(one) == state(other);
            let counts = majority::counting(&voices, count.counts, same);
            let counts = counts.first().and_then(|place| words[*place]);
            agreed.found.extend(counts.cloned());
        }
        agreed
    }

    /// The dispute about a validator that nobody can decide, if there is one.
    pub fn open(&self, pubkey: &[u8; 48]) -> Option<&Dispute> {
        let mut open = self.disputes.iter().filter(|dispute| dispute.is_open);
        open.find(|dispute| dispute.pubkey == *pubkey)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::answers::ValidatorRecord;

    /// What is said of one validator by each node: index and status.
    fn agreed(words: &[Option<(u64, &str)>]) -> Agreed {
        let status = |(index, status): (u64, &str)| ValidatorStatus {
            index,
            balance: 32,
            status: status.to_owned(),
            validator: ValidatorRecord {
                pubkey: [5; 48],
                effective_balance: 32,
                slashed: false,
                activation_epoch: 1,
                exit_epoch: u64::MAX,
            },
        };
        let said: Vec<Said<Vec<ValidatorStatus>>> = words
            .iter()
            .enumerate()
            .map(|(node, word)| Said {
                node,
                head_slot: 9,
                is_behind: false,
                value: word.map(status).into_iter().collect(),
            })
            .collect();
        Agreed::of(&[[5; 48]], &said, |node| format!("node{node}"))
    }

    #[test]
    fn most_nodes_say_which_validator_it_is_and_where_nobody_can_tell_none_does() {
        const AT_WORK: &str = "active_ongoing";
        const LEAVES: &str = "active_exiting";
        /// What counts, and what is told of those that differ: whether it is open, and the words.
        type Expected = (Option<(u64, &'static str)>, Option<(bool, &'static str)>);
        type Case = (&'static [Option<(u64, &'static str)>], Expected);
        let cases: [Case; 9] = [
            (&[Some((5, AT_WORK))], (Some((5, AT_WORK)), None)),
            (&[None], (None, None)),
            (
                &[Some((7, AT_WORK)), Some((5, AT_WORK)), Some((5, AT_WORK))],
                (
                    Some((5, AT_WORK)),
                    Some((false, "node0 says 7, node1 says 5, node2 says 5")),
                ),
            ),
            (
                &[Some((7, AT_WORK)), Some((5, AT_WORK))],
                (None, Some((true, "node0 says 7, node1 says 5"))),
            ),
            (
                &[None, Some((5, AT_WORK))],
                (None, Some((true, "node0 does not know it, node1 says 5"))),
            ),
            (
                &[Some((1, AT_WORK)), Some((2, AT_WORK)), Some((3, AT_WORK))],
                (None, Some((true, "node0 says 1, node1 says 2, node2 says 3"))),
            ),
            // One of two keeps no exit back.
            (
                &[Some((5, LEAVES)), Some((5, AT_WORK))],
                (Some((5, AT_WORK)), None),
            ),
            (
                &[Some((5, AT_WORK)), Some((5, LEAVES)), Some((5, LEAVES))],
                (Some((5, LEAVES)), None),
            ),
            (&[Some((5, LEAVES)), Some((5, LEAVES))], (Some((5, LEAVES)), None)),
        ];
        for (words, (found, dispute)) in cases {
            let agreed = agreed(words);
            let counts = agreed.found.first().map(|one| (one.index, one.status.as_str()));
            assert_eq!(counts, found, "{words:?}");
            let told = agreed.disputes.first().map(|one| (one.is_open, one.to_string()));
            assert_eq!(
                told,
                dispute.map(|(open, text)| (open, text.to_owned())),
                "{words:?}"
            );
            assert_eq!(
                agreed.open(&[5; 48]).is_some(),
                dispute.is_some_and(|(open, _)| open)
            );
        }
    }

    /// A whole group's validators of several nodes, in no order: once through each answer, not once for each validator.
    #[test]
    fn many_validators_are_found_by_their_keys() {
        const MANY: u64 = 20_000;
        let key = |number: u64| {
            let mut key = [0; 48];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        };
        let status = |number: u64| ValidatorStatus {
            index: 2 * number,
            balance: 32,
            status: "active_ongoing".to_owned(),
            validator: ValidatorRecord {
                pubkey: key(number),
                effective_balance: 32,
                slashed: false,
                activation_epoch: 1,
                exit_epoch: u64::MAX,
            },
        };
        // A second word of the same node about one of them counts for nothing.
        let second = ValidatorStatus {
            index: 1,
            ..status(7)
        };
        let all: Vec<ValidatorStatus> = (0..MANY).rev().map(status).chain([second]).collect();
        let said: Vec<Said<Vec<ValidatorStatus>>> = (0..3)
            .map(|node| Said {
                node,
                head_slot: 9,
                is_behind: false,
                value: all.clone(),
            })
            .collect();
        let keys: Vec<[u8; 48]> = (0..=MANY).map(key).collect();
        let began = Instant::now();
        let agreed = Agreed::of(&keys, &said, |node| node.to_string());
        // Some fifty milliseconds, and with a search for each of them many times this bound.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let indices: Vec<u64> = agreed.found.iter().map(|one| one.index).collect();
        assert_eq!(indices, (0..MANY).map(|number| 2 * number).collect::<Vec<_>>());
        assert_eq!(agreed.disputes, []);
    }
}

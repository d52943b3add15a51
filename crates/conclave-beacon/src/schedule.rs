//! Whose word on the chain counts when beacon nodes tell different things of it, of forks above all.
//!
//! Pure: what each of the nodes that have a say told last goes in, whose word counts comes out.

use std::sync::Arc;

use crate::chain::spec::Chain;

use super::majority::{self, Voice};

/// What a beacon node says.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// Its chain, fork schedule included.
    pub(super) chain: Arc<Chain>,
    /// The slot of its head.
    pub(super) head_slot: u64,
}

/// The place of the node whose chain counts, among the words in the order in which the nodes are listed; none if nobody
/// says anything. `in_use` is the chain that counted before, and the current epoch.
///
/// Of networks that of the majority. Then, from one epoch to the next in which fork schedules part, the schedule of the
/// majority of those that agreed until there: who knows more of what is to come does not split those who agree on what is
/// now. At last due times. Where as many say the one as the other, the newest head decides before what is in use: a node that was not
/// updated cannot follow the chain behind a fork, whatever counted until then. What is in use counts as far as it is in force.
pub(super) fn counting(words: &[Word], in_use: Option<(&Chain, u64)>) -> Option<usize> {
    let chain = |place: usize| &words[place].chain;
    let newest = majority::newest(words.iter().map(|word| word.head_slot));
    let count = |of: Vec<usize>, epoch: u64, same: &dyn Fn(&Chain, &Chain) -> bool| {
        let voices: Vec<Voice> = words
            .iter()
            .map(|word| Voice {
                head_slot: word.head_slot,
                known: 2 * u8::from(majority::is_as_new(word.head_slot, newest))
                    + u8::from(in_use.is_some_and(|(known, now)| epoch <= now && same(known, &word.chain))),
            })
            .collect();
        majority::counting(&voices, of, |one, other| same(chain(one), chain(other)))
    };
    let mut left = count((0..words.len()).collect(), 0, &|one, other| {
        one.same_network(other).is_ok()
    });
    loop {
        let first = &chain(*left.first()?).spec;
        let partings = left
            .iter()
            .filter_map(|place| first.parts_from(&chain(*place).spec));
        let Some(epoch) = partings.map(|parting| parting.epoch).min() else {
            break;
        };
        left = count(left, epoch, &|one, other| one.spec.same_up_to(&other.spec, epoch));
    }
    left = count(left, 0, &|one, other| one.spec.same_due_times(&other.spec));
    left.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::spec::Spec,
        testing::{MINIMAL_SPEC, chain},
    };

    /// A chain with these forks to come, none of them known here.
    fn word(forks: &[(&str, u64)], head_slot: u64) -> Word {
        let mut chain = chain("minimal");
        chain.spec.unknown = forks
            .iter()
            .map(|(name, epoch)| ((*name).to_owned(), *epoch))
            .collect();
        Word {
            chain: Arc::new(chain),
            head_slot,
        }
    }

    /// The same with attestations due at another time.
    fn due(mut word: Word, points: u64) -> Word {
        let mut spec: serde_json::Value = serde_json::from_str(MINIMAL_SPEC).unwrap();
        spec["data"]["ATTESTATION_DUE_BPS"] = points.to_string().into();
        let mut chain = Chain::clone(&word.chain);
        chain.spec = Spec::from_json(spec.to_string().as_bytes()).unwrap();
        word.chain = Arc::new(chain);
        word
    }

    #[test]
    fn the_majority_counts_then_the_newest_head_then_who_is_listed_first() {
        assert_eq!(counting(&[], None), None);
        let none: &[(&str, u64)] = &[];
        let late = &[("gloas", 9)][..];
        for (said, expected) in [
            (vec![(late, 5)], 0),
            (vec![(late, 50), (none, 50), (none, 50)], 1),
            (vec![(none, 50), (late, 50), (none, 50)], 0),
            // However new its head is, and wherever it is listed.
            (vec![(late, 99), (none, 5), (none, 5)], 1),
            (vec![(late, 50), (none, 50)], 0),
            (vec![(none, 50), (late, 50)], 0),
            (vec![(none, 47), (late, 50)], 1),
            // Two slots are no difference: blocks come while they are asked.
            (vec![(none, 48), (late, 50)], 0),
            (vec![(late, 50), (none, 48)], 0),
            (vec![(late, 10), (none, 10), (none, 50), (late, 10)], 1),
        ] {
            let words: Vec<Word> = said.iter().map(|(forks, head)| word(forks, *head)).collect();
            assert_eq!(counting(&words, None), Some(expected), "{said:?}");
        }
    }

    /// A node that was away comes back with another schedule, and as good a head: what blocks were signed by goes on.
    #[test]
    fn between_two_the_schedule_in_use_stays() {
        let (with, without) = (word(&[("gloas", 9)], 50), word(&[], 50));
        for words in [[with.clone(), without.clone()], [without.clone(), with.clone()]] {
            for known in [&with, &without] {
                let place = counting(&words, Some((&known.chain, 9))).unwrap();
                assert_eq!(words[place].chain, known.chain);
                // It is not in force yet.
                assert_eq!(counting(&words, Some((&known.chain, 8))), Some(0));
            }
        }
        // Not against two, and not where it keeps its node from following the chain.
        let (known, other) = (Some((&*with.chain, 9)), word(&[], 52));
        assert_eq!(counting(&[other.clone(), with.clone()], known), Some(1));
        assert_eq!(counting(&[other.clone(), with.clone(), other], known), Some(0));
        assert_eq!(counting(&[with.clone(), word(&[], 53)], known), Some(1));
    }

    #[test]
    fn who_knows_more_of_the_future_does_not_split_those_who_agree_on_what_is_now() {
        // Three of four say that nothing comes at 9; what each of them says of later is another thing.
        let words = [
            word(&[("x", 9)], 99),
            word(&[], 1),
            word(&[("x", 20)], 1),
            word(&[("x", 30)], 1),
        ];
        assert_eq!(counting(&words, None), Some(1));
        let words = [
            word(&[("x", 9)], 50),
            word(&[("x", 20)], 50),
            word(&[("x", 30)], 50),
            word(&[("x", 30), ("y", 40)], 50),
        ];
        assert_eq!(counting(&words, None), Some(2));
    }

    #[test]
    fn another_network_and_other_due_times_are_outvoted_too() {
        let mut stranger = word(&[], 50);
        let mut chain = Chain::clone(&stranger.chain);
        chain.genesis.time += 12;
        stranger.chain = Arc::new(chain);
        let ours = word(&[], 50);
        assert_eq!(
            counting(&[stranger.clone(), ours.clone(), ours.clone()], None),
            Some(1)
        );
        assert_eq!(counting(&[stranger, ours.clone()], None), Some(0));
        let odd = due(ours.clone(), 3999);
        assert_eq!(counting(&[odd, ours.clone(), ours], None), Some(1));
    }
}

//! Whose word on our validators and their duties counts, where beacon nodes say different things, and who says something else.
//!
//! Pure. The rule is that of fork schedules ([`majority`]); besides, a validator that was active keeps its index: no honest node gives it
//! another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::validator::{
    beacon::{
        answers::ValidatorStatus,
        majority::{self, Voice},
        nodes::Said,
    },
    overview::news::About,
};

use super::known::Question;

/// So often one time after the other a node must be outvoted before it is named, where honest nodes may differ for a while.
const OUTVOTED: u32 = 2;

/// What goes with what was known before: more is better.
const KNOWN: u8 = 2;
const NOT_DISSENTING: u8 = 1;

/// Who says something else than what counts.
#[derive(Debug, Default)]
pub(super) struct Dissent {
    /// By node and what was asked: how often in a row, and whether honest nodes never differ in that.
    outvoted: BTreeMap<(usize, Topic), (u32, bool)>,
}

/// What was asked, as far as it matters for who is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Index,
    Duties(Question),
}

impl Topic {
    const fn about(self) -> About {
        match self {
            Self::Index => About::Index,
            Self::Duties(Question::Validators) => About::Validators,
            Self::Duties(Question::Attesters(_)) => About::Attesters,
            Self::Duties(Question::Proposers(_)) => About::Proposers,
            Self::Duties(Question::Sync(_)) => About::SyncMembers,
        }
    }
}

impl Dissent {
    /// A node agrees, or does not; `surely` if honest nodes never differ in this.
    fn note(&mut self, node: usize, topic: Topic, agrees: bool, surely: bool) {
        if agrees {
            self.outvoted.remove(&(node, topic));
        } else {
            let (times, sure) = self.outvoted.entry((node, topic)).or_default();
            *times = times.saturating_add(1);
            *sure |= surely;
        }
    }

    /// Whose word was another one last, and in what: those that are to be named.
    pub(super) fn named(&self) -> BTreeSet<(usize, About)> {
        let named = self
            .outvoted
            .iter()
            .filter(|(_, (times, sure))| *sure || *times >= OUTVOTED);
        named.map(|((node, topic), _)| (*node, topic.about())).collect()
    }

    fn dissents(&self, node: usize) -> bool {
        self.outvoted.keys().any(|(of, _)| *of == node)
    }

    /// What was asked of epochs before this one is over.
    pub(super) fn forget_before(&mut self, epoch: u64) {
        self.outvoted.retain(|(_, topic), _| match topic {
            Topic::Duties(question) => question.epoch().is_none_or(|of| of >= epoch),
            Topic::Index => true,
        });
    }

    /// Of what nodes say of duties (at least one does) the place of what counts. `known` says whether something is what was known
    /// before, if anything was; `surely` whether honest nodes that say both of these would be of one mind.
    pub(super) fn of_duties<T: PartialEq>(
        &mut self,
        question: Question,
        said: &[Said<T>],
        known: Option<&dyn Fn(&T) -> bool>,
        same: impl Fn(&T, &T) -> bool,
        surely: impl Fn(&T, &T) -> bool,
    ) -> Option<usize> {
        let voices: Vec<Voice> = said.iter().map(|one| self.voice(one, known)).collect();
        let alike = |one: usize, other: usize| same(&said[one].value, &said[other].value);
        let counts = *majority::counting(&voices, 0..said.len(), alike).first()?;
        for (place, one) in said.iter().enumerate() {
            let surely = surely(&one.value, &said[counts].value);
            self.note(one.node, Topic::Duties(question), alike(place, counts), surely);
        }
        Some(counts)
    }

    fn voice<T>(&self, one: &Said<T>, known: Option<&dyn Fn(&T) -> bool>) -> Voice {
        let known = if known.is_some_and(|known| known(&one.value)) {
            KNOWN
        } else if self.dissents(one.node) {
            0
        } else {
            NOT_DISSENTING
        };
        Voice {
            head_slot: one.head_slot,
            known,
        }
    }

    /// What counts of what nodes say of validators: those that were asked about, by their place in the lock. `before` is what counted
    /// last, and stays where nobody says anything of a validator, or nobody goes on giving it the index that it had when it was active.
    pub(super) fn of_validators(
        &mut self,
        places: &BTreeMap<[u8; 48], u32>,
        said: Vec<Said<Vec<ValidatorStatus>>>,
        before: &BTreeMap<u32, ValidatorStatus>,
        epoch: u64,
    ) -> BTreeMap<u32, ValidatorStatus> {
        let nodes: BTreeSet<usize> = said.iter().map(|one| one.node).collect();
        let mut words: BTreeMap<u32, Vec<Said<ValidatorStatus>>> = BTreeMap::new();
        for one in said {
            for status in one.value {
                let Some(place) = places.get(&status.validator.pubkey) else {
                    continue;
                };
                let of_it = words.entry(*place).or_default();
                // Of one node the first word counts.
                if of_it.iter().all(|other| other.node != one.node) {
                    of_it.push(Said {
                        node: one.node,
                        head_slot: one.head_slot,
                        value: status,
                    });
                }
            }
        }
        let mut counted = before.clone();
        let (mut other_index, mut other_state) = (BTreeSet::new(), BTreeSet::new());
        for (place, mut of_it) in words {
            let known = before.get(&place);
            if let Some(settled) = known.filter(|known| known.validator.activation_epoch <= epoch) {
                let is_other = |one: &Said<ValidatorStatus>| one.value.index != settled.index;
                other_index.extend(of_it.iter().filter(|one| is_other(one)).map(|one| one.node));
                of_it.retain(|one| !is_other(one));
            }
            let goes_on = known.map(|known| |one: &ValidatorStatus| what_matters(one) == what_matters(known));
            let goes_on = goes_on
                .as_ref()
                .map(|known| known as &dyn Fn(&ValidatorStatus) -> bool);
            let voices: Vec<Voice> = of_it.iter().map(|one| self.voice(one, goes_on)).collect();
            let alike = |one: usize, other: usize| {
                what_matters(&of_it[one].value) == what_matters(&of_it[other].value)
            };
            let classes = majority::counting(&voices, 0..of_it.len(), alike);
            let Some(counts) = classes.first().copied() else {
                continue;
            };
            let others = (0..of_it.len()).filter(|other| !alike(*other, counts));
            other_state.extend(others.map(|other| of_it[other].node));
            counted.insert(place, of_it.swap_remove(counts).value);
        }
        for node in nodes {
            self.note(node, Topic::Index, !other_index.contains(&node), true);
            let agrees = !other_state.contains(&node);
            self.note(node, Topic::Duties(Question::Validators), agrees, false);
        }
        counted
    }
}

/// What duties depend on, of what a node says of a validator: its index, when it is active, and whether it was slashed.
fn what_matters(one: &ValidatorStatus) -> (u64, Range<u64>, bool) {
    let validator = &one.validator;
    let active = validator.activation_epoch..validator.exit_epoch;
    (one.index, active, validator.slashed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validator::beacon::answers::ValidatorRecord;

    fn status(index: u64, exit_epoch: u64) -> ValidatorStatus {
        ValidatorStatus {
            index,
            balance: 32,
            status: "any".to_owned(),
            validator: ValidatorRecord {
                pubkey: [5; 48],
                effective_balance: 32,
                slashed: false,
                activation_epoch: 1,
                exit_epoch,
            },
        }
    }

    fn said<T>(node: usize, value: T) -> Said<T> {
        Said {
            node,
            head_slot: 9,
            value,
        }
    }

    /// What counts after these have been said of one validator, one time after the other.
    fn counts(dissent: &mut Dissent, rounds: &[&[(usize, ValidatorStatus)]]) -> Vec<ValidatorStatus> {
        let places = BTreeMap::from([([5; 48], 0)]);
        let mut known = BTreeMap::new();
        let mut all = Vec::new();
        for round in rounds {
            let round = round
                .iter()
                .map(|(node, status)| said(*node, vec![status.clone()]))
                .collect();
            known = dissent.of_validators(&places, round, &known, 9);
            all.push(known[&0].clone());
        }
        all
    }

    #[test]
    fn a_known_index_stays_whoever_says_another_one() {
        const NEVER: u64 = u64::MAX;
        let (right, wrong) = (status(100, NEVER), status(101, NEVER));
        for round in [
            &[(0, wrong.clone()), (1, right.clone())][..],
            &[(0, wrong.clone())],
            &[(0, wrong.clone()), (1, wrong.clone()), (2, right.clone())],
        ] {
            let mut dissent = Dissent::default();
            let counted = counts(
                &mut dissent,
                &[&[(0, right.clone())], round, &[(0, right.clone())]],
            );
            assert!(counted.iter().all(|one| *one == right), "{counted:?}");
            // The one that says what counts again is named no more.
            assert!(!dissent.named().contains(&(0, About::Index)));
            let mut dissent = Dissent::default();
            counts(&mut dissent, &[&[(0, right.clone())], round]);
            assert!(dissent.named().contains(&(0, About::Index)));
        }
    }

    #[test]
    fn one_of_two_nodes_sends_no_validator_away() {
        const NEVER: u64 = u64::MAX;
        let (stays, left) = (status(100, NEVER), status(100, 3));
        let mut dissent = Dissent::default();
        let lie = &[(0, left.clone()), (1, stays.clone())][..];
        let both = &[(0, stays.clone()), (1, stays.clone())][..];
        let counted = counts(&mut dissent, &[both, lie]);
        assert_eq!(counted, [stays.clone(), stays.clone()]);
        // It may have got a block that the other one has not yet.
        assert_eq!(dissent.named(), BTreeSet::new());
        let mut dissent = Dissent::default();
        counts(&mut dissent, &[both, lie, lie]);
        assert_eq!(dissent.named(), [(0, About::Validators)].into());
        // When both say so, it is so; and whose only node says so.
        let mut dissent = Dissent::default();
        let counted = counts(
            &mut dissent,
            &[both, lie, &[(0, left.clone()), (1, left.clone())]],
        );
        assert_eq!(counted[2], left);
        let mut dissent = Dissent::default();
        let counted = counts(&mut dissent, &[&[(0, stays)], &[(0, left.clone())]]);
        assert_eq!(counted[1], left);
    }

    #[test]
    fn of_two_that_differ_in_duties_the_known_ones_stay_and_who_contradicted_them_is_not_believed_later() {
        let mut dissent = Dissent::default();
        let mut ask = |epoch, said: &[Said<char>], known: Option<char>| {
            let is_known = |value: &char| Some(*value) == known;
            let known = known.map(|_| &is_known as &dyn Fn(&char) -> bool);
            let place = dissent.of_duties(
                Question::Attesters(epoch),
                said,
                known,
                |one, other| one == other,
                |_, _| true,
            );
            (said[place.unwrap()].value, dissent.named())
        };
        let (agree, differ) = ([said(0, 'a'), said(1, 'a')], [said(0, 'x'), said(1, 'a')]);
        let none = BTreeSet::new();
        let first: BTreeSet<(usize, About)> = [(0, About::Attesters)].into();
        assert_eq!(ask(5, &agree, None), ('a', none.clone()));
        assert_eq!(ask(5, &differ, Some('a')), ('a', first.clone()));
        // Nothing is known of the next epoch: but which of them contradicted what was.
        assert_eq!(ask(6, &differ, None), ('a', first.clone()));
        assert_eq!(ask(5, &agree, Some('a')), ('a', first));
        assert_eq!(ask(6, &agree, Some('a')), ('a', none));
        // Nobody knows anything: the first listed.
        assert_eq!(ask(7, &differ, None).0, 'x');
        // Two against one, whatever was known.
        let most = [said(0, 'x'), said(1, 'a'), said(2, 'a')];
        assert_eq!(ask(7, &most, Some('x')).0, 'a');
    }
}

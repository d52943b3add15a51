//! Whose word on our validators and their duties counts, where beacon nodes say different things, and who says something else.
//!
//! Pure. The rule is that of fork schedules ([`majority`]), with what was known before: it stays unless more than half of the nodes
//! that are of use say something else, however few of them have answered. Who is behind replaces nothing that a node in step has said. Which
//! index a validator has is found in `index`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::observed::About;
use conclave_beacon::{
    answers::ValidatorStatus,
    majority::{self, Count, Voice},
    nodes::Said,
};

use super::{
    index::{Heard, Indices},
    known::Question,
};

/// So often one time after the other a node must be outvoted before it is named, where honest nodes may differ for a while.
const OUTVOTED: u32 = 2;

/// What speaks for what a node says where as many say something else, the strongest first: most said so before; it has contradicted
/// nothing that counts; it goes with our head; it was said before.
const SURE: u8 = 8;
const NOT_DISSENTING: u8 = 4;
const OURS: u8 = 2;
const KNOWN: u8 = 1;

/// Who says something else than what counts.
#[derive(Debug, Default)]
pub(super) struct Dissent {
    /// By node and what was asked: how often in a row, and whether honest nodes never differ in that.
    outvoted: BTreeMap<(usize, Topic), (u32, bool)>,
    /// Validators of which only nodes that were behind have said anything: by their place in the lock.
    behind: BTreeSet<u32>,
    indices: Indices,
}

/// Who said what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Backing {
    /// Only nodes that were behind: better than nothing, but all that a node in step says is better.
    Behind,
    /// Too few to be sure of it.
    Few,
    /// Most of the nodes that were of use, or who says something else is the less credible.
    Most,
}

/// How answers to one question are compared.
pub(super) struct Measure<'a, T> {
    /// How many nodes are of use, whether they have answered or not.
    pub(super) nodes: usize,
    /// What was known before, if anything was, and who said so.
    pub(super) known: Option<(&'a T, Backing)>,
    /// Whether something goes with our head.
    pub(super) ours: &'a dyn Fn(&T) -> bool,
    /// Whether two say the same.
    pub(super) same: &'a dyn Fn(&T, &T) -> bool,
    /// Whether honest nodes that say both of these would be of one mind.
    pub(super) surely: &'a dyn Fn(&T, &T) -> bool,
}

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// What this one said.
    Said {
        /// Its place in the list.
        place: usize,
        /// Who says so now, or did before.
        backing: Backing,
    },
    /// What was known before: nobody repeats it, and too few contradict it, or only nodes that are behind.
    Known,
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

    /// What a node answered does not go with the head that it told of itself, so it is not looked at: an older answer, or a lie.
    pub(super) fn lags(&mut self, node: usize, question: Question) {
        self.note(node, Topic::Duties(question), false, false);
    }

    /// Whose word was another one last, and in what: those that are to be named.
    pub(super) fn named(&self) -> BTreeSet<(usize, About)> {
        let named = self
            .outvoted
            .iter()
            .filter(|(_, (times, sure))| *sure || *times >= OUTVOTED);
        named.map(|((node, topic), _)| (*node, topic.about())).collect()
    }

    fn is_named(&self, node: usize) -> bool {
        self.named().iter().any(|(of, _)| *of == node)
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

    /// What counts of what nodes say of duties; none if nobody says anything. Where nothing but an order decides between them, all are
    /// noted, for nobody knows who is right.
    pub(super) fn of_duties<T>(
        &mut self,
        question: Question,
        said: &[Said<T>],
        measure: &Measure<'_, T>,
    ) -> Option<Counts> {
        let Measure { same, surely, .. } = measure;
        let nodes = measure.nodes.max(said.len());
        let (known, backing) = measure.known.unzip();
        let was_sure = backing == Some(Backing::Most);
        let are_behind = are_behind(said);
        // They do not know the newest blocks, and what they say is nobody's fault.
        if are_behind && backing > Some(Backing::Behind) {
            return Some(Counts::Known);
        }
        let is_known = |one: &Said<T>| known.is_some_and(|known| same(&one.value, known));
        let voices: Vec<Voice> = said
            .iter()
            .map(|one| self.voice(one, (is_known(one), was_sure), (measure.ours)(&one.value)))
            .collect();
        let (repeat, against): (Vec<usize>, Vec<usize>) =
            (0..said.len()).partition(|place| is_known(&said[*place]));
        // Nobody was sure of it, and who says something else is the more credible, or the only one who says anything and not one that is to be
        // named: a node that never answers such questions is no reason to refuse the answers of the other one.
        let is_credible = if repeat.is_empty() {
            against.iter().any(|place| !self.is_named(said[*place].node))
        } else {
            strength(&voices, &against) > strength(&voices, &repeat)
        };
        let is_doubted = !was_sure && !against.is_empty() && is_credible;
        // However few have answered: who is quickest, or the only one that answers, is not most of them.
        let stays = known.is_some() && 2 * against.len() <= nodes && !is_doubted;
        let (counts, undecided, decided) = if stays {
            let is_equal = strength(&voices, &against) >= strength(&voices, &repeat);
            (repeat, !against.is_empty() && !was_sure && is_equal, false)
        } else {
            let alike = |one: usize, other: usize| same(&said[one].value, &said[other].value);
            let count = majority::count(&voices, 0..said.len(), alike);
            let undecided = is_undecided(&voices, &count);
            (count.counts, undecided, !undecided && !count.rivals.is_empty())
        };
        let first = counts.first().copied();
        let value = first.map(|place| &said[place].value).or(known)?;
        for (place, one) in said.iter().enumerate() {
            let agrees = counts.contains(&place) && !undecided;
            let others = said.iter().map(|other| &other.value).chain([value]);
            let surely = others
                .filter(|other| undecided || same(other, value))
                .any(|other| !same(&one.value, other) && surely(&one.value, other));
            self.note(one.node, Topic::Duties(question), agrees, surely);
        }
        let Some(place) = first else {
            return Some(Counts::Known);
        };
        let sure = 2 * counts.len() > nodes || decided || was_sure && is_known(&said[place]);
        let backing = match (are_behind, sure) {
            (true, _) => Backing::Behind,
            (false, false) => Backing::Few,
            (false, true) => Backing::Most,
        };
        Some(Counts::Said { place, backing })
    }

    fn voice<T>(&self, one: &Said<T>, (is_known, sure): (bool, bool), is_ours: bool) -> Voice {
        let bit = |holds: bool, bit: u8| if holds { bit } else { 0 };
        Voice {
            head_slot: one.head_slot,
            known: bit(is_known && sure, SURE)
                | bit(!self.dissents(one.node), NOT_DISSENTING)
                | bit(is_ours, OURS)
                | bit(is_known, KNOWN),
        }
    }

    /// What counts of what nodes say of validators: those that were asked about, by their place in the lock. So many `nodes` are of use.
    /// `before` is what counted last, and stays where nobody says anything of a validator, or only nodes that are behind do, or nobody goes on
    /// giving it the index that it had when it was active.
    pub(super) fn of_validators(
        &mut self,
        places: &BTreeMap<[u8; 48], u32>,
        said: Vec<Said<Vec<ValidatorStatus>>>,
        before: &BTreeMap<u32, ValidatorStatus>,
        (nodes, epoch): (usize, u64),
    ) -> BTreeMap<u32, ValidatorStatus> {
        let nodes = nodes.max(said.len());
        let are_behind = are_behind(&said);
        let mut who: BTreeSet<usize> = said.iter().map(|one| one.node).collect();
        let mut words: BTreeMap<u32, Vec<Said<ValidatorStatus>>> = BTreeMap::new();
        for one in said {
            for status in one.value {
                let Some(place) = places.get(&status.validator.pubkey) else {
                    continue;
                };
                if are_behind && before.contains_key(place) && !self.behind.contains(place) {
                    // Nor does it agree with anything.
                    who.remove(&one.node);
                    continue;
                }
                let of_it = words.entry(*place).or_default();
                // Of one node the first word counts.
                if of_it.iter().all(|other| other.node != one.node) {
                    of_it.push(Said {
                        node: one.node,
                        head_slot: one.head_slot,
                        is_behind: one.is_behind,
                        value: status,
                    });
                }
            }
        }
        let mut counted = before.clone();
        let (mut other_index, mut other_state) = (BTreeSet::new(), BTreeSet::new());
        for (place, mut of_it) in words {
            let known = before.get(&place);
            // Of one that is not active yet the chain may still think otherwise.
            let is_active = |one: &ValidatorStatus| one.validator.activation_epoch <= epoch;
            let surely = known.is_some_and(is_active) || of_it.iter().any(|one| is_active(&one.value));
            // What only those behind have said gives way to anything.
            let was_behind = self.behind.contains(&place);
            let settled = known.filter(|_| surely && !was_behind);
            let others = self.keep_index(place, settled, &mut of_it, (nodes, epoch));
            if surely {
                other_index.extend(others);
            } else {
                other_state.extend(others);
            }
            let voices: Vec<Voice> = of_it
                .iter()
                .map(|one| {
                    let goes_on = known.is_some_and(|known| what_matters(&one.value) == what_matters(known));
                    self.voice(one, (goes_on, !was_behind), false)
                })
                .collect();
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
            if are_behind {
                self.behind.insert(place);
            } else {
                self.behind.remove(&place);
            }
        }
        for node in who {
            self.note(node, Topic::Index, !other_index.contains(&node), true);
            let agrees = !other_state.contains(&node);
            self.note(node, Topic::Duties(Question::Validators), agrees, false);
        }
        counted
    }

    /// Leaves of what is said of a validator only what gives it the index that counts. Who gives it another one; where nothing but an
    /// order decides, all.
    fn keep_index(
        &mut self,
        place: u32,
        known: Option<&ValidatorStatus>,
        of_it: &mut Vec<Said<ValidatorStatus>>,
        (nodes, epoch): (usize, u64),
    ) -> Vec<usize> {
        let index = |one: &Said<ValidatorStatus>| one.value.index;
        let known = known.map(|known| known.index);
        let says = of_it.iter().map(|one| (one.node, index(one))).collect();
        let heard = Heard { says, nodes, epoch };
        let (counts, undecided) = if let Some(settled) = self.indices.settled(place, known, &heard) {
            (Some(settled), false)
        } else {
            let voices: Vec<Voice> = of_it
                .iter()
                .map(|one| self.voice(one, (Some(index(one)) == known, false), false))
                .collect();
            let alike = |one: usize, other: usize| index(&of_it[one]) == index(&of_it[other]);
            let count = majority::count(&voices, 0..of_it.len(), alike);
            let undecided = is_undecided(&voices, &count);
            let decided = !undecided && !count.rivals.is_empty();
            let is_sure = 2 * count.counts.len() > nodes || decided;
            let first = count.counts.first().map(|place| index(&of_it[*place]));
            if let Some(first) = first {
                self.indices.chosen(place, first, is_sure);
            }
            (first, undecided)
        };
        if !are_behind(of_it) {
            self.indices.vouch(place, &heard);
        }
        let is_other = |one: &Said<ValidatorStatus>| Some(index(one)) != counts;
        let others = of_it.iter().filter(|one| undecided || is_other(one));
        let others = others.map(|one| one.node).collect();
        of_it.retain(|one| !is_other(one));
        others
    }
}

/// Whether only nodes that are behind have answered.
fn are_behind<T>(said: &[Said<T>]) -> bool {
    said.iter().all(|one| one.is_behind)
}

/// How credible these are: by what most said before, and by what they have contradicted.
fn strength(voices: &[Voice], class: &[usize]) -> Option<u8> {
    class
        .iter()
        .map(|place| voices[*place].known / NOT_DISSENTING)
        .max()
}

/// Whether nothing but an order decides between those that count and others that are as many.
fn is_undecided(voices: &[Voice], count: &Count) -> bool {
    let counts = strength(voices, &count.counts);
    let mut rivals = count.rivals.iter();
    rivals.any(|rival| strength(voices, rival) == counts)
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
    use conclave_beacon::answers::ValidatorRecord;

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
            is_behind: false,
            value,
        }
    }

    /// What counts after these have been said of one validator, one time after the other, in one epoch.
    fn counts(dissent: &mut Dissent, rounds: &[&[(usize, ValidatorStatus)]]) -> Vec<ValidatorStatus> {
        let rounds: Vec<_> = rounds.iter().map(|round| (9, *round)).collect();
        counts_in(dissent, &rounds)
    }

    /// The same in these epochs.
    fn counts_in(
        dissent: &mut Dissent,
        rounds: &[(u64, &[(usize, ValidatorStatus)])],
    ) -> Vec<ValidatorStatus> {
        let places = BTreeMap::from([([5; 48], 0)]);
        let mut known = BTreeMap::new();
        let mut all = Vec::new();
        for (epoch, round) in rounds {
            let said: Vec<_> = round
                .iter()
                .map(|(node, status)| said(*node, vec![status.clone()]))
                .collect();
            let nodes = said.len();
            known = dissent.of_validators(&places, said, &known, (nodes, *epoch));
            all.push(known[&0].clone());
        }
        all
    }

    #[test]
    fn a_known_index_stays_whoever_says_another_one() {
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

    const NEVER: u64 = u64::MAX;

    /// A node that was alone at the start, and wrong: what all others say counts in the end, without a restart, and nobody is blamed.
    #[test]
    fn a_wrong_index_that_was_heard_first_goes_when_most_say_another_one() {
        let (right, wrong) = (status(100, NEVER), status(101, NEVER));
        let first = &[(0, wrong.clone())][..];
        for (then, still_named) in [
            // It repents, or is the only one; or others are most.
            (&[(0, right.clone())][..], &[][..]),
            (&[(1, right.clone())], &[]),
            (&[(0, right.clone()), (1, right.clone())], &[]),
            (
                &[(0, wrong.clone()), (1, right.clone()), (2, right.clone())],
                &[(0, About::Index)],
            ),
        ] {
            let mut dissent = Dissent::default();
            let counted = counts_in(&mut dissent, &[(9, first), (10, then)]);
            assert_eq!(counted[1], wrong, "one look-up is not enough: {then:?}");
            let mut dissent = Dissent::default();
            // Several look-ups in one epoch are one.
            let counted = counts_in(
                &mut dissent,
                &[(9, first), (10, then), (10, then), (11, then), (12, then)],
            );
            let expected = [
                wrong.clone(),
                wrong.clone(),
                wrong.clone(),
                right.clone(),
                right.clone(),
            ];
            assert_eq!(counted, expected, "{then:?}");
            assert_eq!(dissent.named(), still_named.iter().copied().collect(), "{then:?}");
            // Not if somebody who counts said the old one in between.
            let mut dissent = Dissent::default();
            let counted = counts_in(&mut dissent, &[(9, first), (10, then), (11, first), (12, then)]);
            assert!(counted.iter().all(|one| *one == wrong), "{then:?}");
        }
    }

    /// Nobody knows who is right: both are named as long as that is so, and the first listed counts.
    #[test]
    fn where_two_differ_about_an_index_from_the_start_both_are_named() {
        let (right, wrong) = (status(100, NEVER), status(101, NEVER));
        let differ = &[(0, wrong.clone()), (1, right.clone())][..];
        let mut dissent = Dissent::default();
        let both: BTreeSet<(usize, About)> = [(0, About::Index), (1, About::Index)].into();
        let counted = counts_in(&mut dissent, &[(9, differ)]);
        assert_eq!((counted, dissent.named()), (vec![wrong.clone()], both.clone()));
        let mut dissent = Dissent::default();
        let counted = counts_in(&mut dissent, &[(9, differ), (10, differ), (11, differ)]);
        assert_eq!((&counted[2], dissent.named()), (&wrong, both));
        // A third one comes, or the wrong one repents: at once, for nobody was sure of it.
        for then in [
            &[(0, wrong.clone()), (1, right.clone()), (2, right.clone())][..],
            &[(0, right.clone()), (1, right.clone())],
        ] {
            let mut dissent = Dissent::default();
            let counted = counts_in(&mut dissent, &[(9, differ), (9, then)]);
            assert_eq!(counted[1], right, "{then:?}");
            assert!(!dissent.named().contains(&(1, About::Index)), "{then:?}");
        }
    }

    /// Who is named, and for what.
    type Named = BTreeSet<(usize, About)>;

    /// Asks about attesters: what counts, if somebody says it, and who is named. So many nodes are of use.
    fn of_duties(
        dissent: &mut Dissent,
        epoch: u64,
        said: &[Said<char>],
        known: Option<(char, bool)>,
        nodes: usize,
    ) -> (Option<(char, bool)>, Named) {
        let measure = Measure {
            nodes,
            known: known
                .as_ref()
                .map(|(known, sure)| (known, if *sure { Backing::Most } else { Backing::Few })),
            // Capitals go with our head.
            ours: &|one: &char| one.is_uppercase(),
            same: &|one, other| one == other,
            surely: &|_, _| true,
        };
        let counts = dissent.of_duties(Question::Attesters(epoch), said, &measure);
        let counts = match counts.unwrap() {
            Counts::Said { place, backing } => Some((said[place].value, backing == Backing::Most)),
            Counts::Known => None,
        };
        (counts, dissent.named())
    }

    #[test]
    fn of_two_that_differ_in_duties_the_known_ones_stay_and_who_contradicted_them_is_not_believed_later() {
        let mut dissent = Dissent::default();
        let mut ask = |epoch, said: &[Said<char>], known: Option<char>| {
            let (counts, named) = of_duties(
                &mut dissent,
                epoch,
                said,
                known.map(|known| (known, true)),
                said.len(),
            );
            (counts.unwrap().0, named)
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
        // Nobody knows anything: the first listed, and nobody knows who is right.
        let both = [(0, About::Attesters), (1, About::Attesters)].into();
        assert_eq!(ask(7, &differ, None), ('x', both));
        // Two against one, whatever was known.
        let most = [said(0, 'x'), said(1, 'a'), said(2, 'a')];
        assert_eq!(ask(7, &most, Some('x')).0, 'a');
    }

    #[test]
    fn who_answers_alone_or_first_replaces_nothing_that_is_known() {
        let (liar, honest) = ([said(0, 'x')], [said(0, 'x'), said(1, 'a')]);
        let named: BTreeSet<(usize, About)> = [(0, About::Attesters)].into();
        for nodes in [2, 3] {
            for said in [&liar[..], &honest] {
                let counts = said.get(1).map(|_| ('a', true));
                let told = of_duties(&mut Dissent::default(), 5, said, Some(('a', true)), nodes);
                assert_eq!(told, (counts, named.clone()), "{nodes} {said:?}");
            }
            // Nothing was known: better than nothing, but nobody is sure of it.
            let told = of_duties(&mut Dissent::default(), 5, &liar, None, nodes);
            assert_eq!(told, (Some(('x', false)), BTreeSet::new()), "{nodes}");
        }
        // What it alone said before, and nobody else ever says anything: its new answer counts, and nobody is named.
        for nodes in [2, 3] {
            let told = of_duties(&mut Dissent::default(), 5, &liar, Some(('a', false)), nodes);
            assert_eq!(told, (Some(('x', false)), BTreeSet::new()), "{nodes}");
        }
        // The only one that there is.
        let told = of_duties(&mut Dissent::default(), 5, &liar, Some(('a', true)), 1);
        assert_eq!(told, (Some(('x', true)), BTreeSet::new()));
        // Most of them.
        let most = [said(0, 'x'), said(1, 'x')];
        let told = of_duties(&mut Dissent::default(), 5, &most, Some(('a', true)), 3);
        assert_eq!(told, (Some(('x', true)), BTreeSet::new()));
    }

    /// What only one of two says of the next epoch is as good as known, if the other one has contradicted what was.
    #[test]
    fn who_contradicted_what_was_known_makes_nobody_else_look_like_a_liar() {
        let mut dissent = Dissent::default();
        let first: BTreeSet<(usize, About)> = [(0, About::Attesters)].into();
        let differ = [said(0, 'x'), said(1, 'a')];
        let told = of_duties(&mut dissent, 5, &differ, Some(('a', true)), 2);
        assert_eq!(told, (Some(('a', true)), first.clone()));
        for epoch in 6..9 {
            let told = of_duties(&mut dissent, epoch, &differ, None, 2);
            assert_eq!(told, (Some(('a', true)), first.clone()), "{epoch}");
        }
        // Nor does it replace what the other one alone has said, while that is slow.
        let told = of_duties(&mut dissent, 9, &differ[..1], Some(('a', false)), 2);
        assert_eq!(told, (None, first.clone()));
        // What it alone said before anybody else answered gives way.
        let told = of_duties(&mut dissent, 9, &differ, Some(('x', false)), 2);
        assert_eq!(told, (Some(('a', true)), first));
    }

    #[test]
    fn where_nothing_is_known_those_that_go_with_our_head_count_and_both_are_named() {
        let both: BTreeSet<(usize, About)> = [(0, About::Attesters), (1, About::Attesters)].into();
        let differ = [said(0, 'x'), said(1, 'A')];
        let mut dissent = Dissent::default();
        let told = of_duties(&mut dissent, 5, &differ, None, 2);
        assert_eq!(told, (Some(('A', false)), both.clone()));
        // What was not sure stays for as long as nothing speaks against it, and both stay named.
        let told = of_duties(&mut dissent, 5, &differ, Some(('x', false)), 2);
        assert_eq!(told, (Some(('x', false)), both));
    }

    /// The same of a node that is behind.
    fn behind<T>(node: usize, value: T) -> Said<T> {
        Said {
            is_behind: true,
            ..said(node, value)
        }
    }

    #[test]
    fn who_is_behind_replaces_no_duty_that_a_node_in_step_has_told() {
        let mut dissent = Dissent::default();
        let mut ask = |one: Said<char>, known: Option<(char, Backing)>| {
            let measure = Measure {
                nodes: 1,
                known: known.as_ref().map(|(known, backing)| (known, *backing)),
                ours: &|_| true,
                same: &|one, other| one == other,
                surely: &|_, _| true,
            };
            let said = [one];
            dissent.of_duties(Question::Attesters(5), &said, &measure)
        };
        let only = |backing| Some(Counts::Said { place: 0, backing });
        for backing in [Backing::Few, Backing::Most] {
            let known = Some(('a', backing));
            assert_eq!(ask(behind(1, 'x'), known), Some(Counts::Known), "{backing:?}");
            assert_eq!(ask(behind(1, 'a'), known), Some(Counts::Known), "{backing:?}");
        }
        // Better than nothing, until anybody in step says anything.
        assert_eq!(ask(behind(1, 'x'), None), only(Backing::Behind));
        let known = Some(('x', Backing::Behind));
        assert_eq!(ask(behind(1, 'y'), known), only(Backing::Behind));
        assert_eq!(ask(said(0, 'a'), known), only(Backing::Most));
        assert_eq!(dissent.named(), BTreeSet::new());
    }

    #[test]
    fn who_is_behind_changes_no_validator_of_which_a_node_in_step_has_told() {
        let places = BTreeMap::from([([5; 48], 0)]);
        let mut dissent = Dissent::default();
        let mut known = BTreeMap::new();
        let mut ask = |one: Said<ValidatorStatus>, epoch: u64| {
            let said = vec![Said {
                node: one.node,
                head_slot: one.head_slot,
                is_behind: one.is_behind,
                value: vec![one.value],
            }];
            known = dissent.of_validators(&places, said, &known, (1, epoch));
            (known[&0].clone(), dissent.named())
        };
        let (right, wrong, left) = (status(100, NEVER), status(101, NEVER), status(100, 3));
        let nobody = BTreeSet::new();
        // Better than nothing; it gives way to what any other one says, at once.
        assert_eq!(ask(behind(1, wrong.clone()), 7), (wrong.clone(), nobody.clone()));
        assert_eq!(ask(behind(1, left.clone()), 7), (left.clone(), nobody.clone()));
        assert_eq!(ask(said(0, right.clone()), 7), (right.clone(), nobody.clone()));
        for epoch in 8..12 {
            for other in [&wrong, &left] {
                let told = ask(behind(1, other.clone()), epoch);
                assert_eq!(told, (right.clone(), nobody.clone()), "{epoch}");
            }
        }
        assert_eq!(ask(said(0, left.clone()), 12), (left, nobody));
    }

    /// Each row of the table of [`index`](super::super::index).
    #[test]
    fn who_was_alone_for_a_while_decides_no_index_for_good() {
        /// Epochs in which nodes say these indices: place and index, R or W. What counts then.
        type Step = (Range<u64>, &'static [(usize, char)], &'static str);
        const R: (usize, char) = (1, 'R');
        const W: (usize, char) = (0, 'W');
        let cases: [(&str, &[Step], &[usize]); 12] = [
            (
                "one changes its mind",
                &[
                    (1..5, &[(0, 'R')], "RRRR"),
                    (5..8, &[(0, 'W')], "RWW"),
                    (8..10, &[(0, 'R')], "RR"),
                ],
                &[],
            ),
            (
                "and back after longer",
                &[
                    (1..2, &[(0, 'R')], "R"),
                    (2..8, &[(0, 'W')], "RWWWWW"),
                    (8..11, &[(0, 'R')], "WRR"),
                ],
                &[],
            ),
            ("two differ from the start", &[(1..5, &[W, R], "WWWW")], &[0, 1]),
            (
                "one of two begins to say another one",
                &[(1..3, &[(0, 'R'), R], "RR"), (3..9, &[W, R], "RRRRRR")],
                &[0],
            ),
            (
                "and is alone, for longer than both were there",
                &[
                    (1..2, &[(0, 'R'), R], "R"),
                    (2..9, &[W], "RWWWWWW"),
                    (9..15, &[W, R], "RRRRRR"),
                ],
                &[0],
            ),
            (
                "again and again",
                &[
                    (1..2, &[(0, 'R'), R], "R"),
                    (2..5, &[W], "RWW"),
                    (5..6, &[W, R], "R"),
                    (6..9, &[W], "RWW"),
                    (9..11, &[W, R], "RR"),
                ],
                &[0],
            ),
            (
                "who was never there before",
                &[(1..4, &[R], "RRR"), (4..6, &[W], "RW"), (6..9, &[W, R], "RRR")],
                &[0],
            ),
            (
                "wrong at first, and right for long",
                &[
                    (1..3, &[W], "WW"),
                    (3..9, &[R], "WRRRRR"),
                    (9..12, &[W, R], "RRR"),
                ],
                &[0],
            ),
            ("one of three", &[(1..4, &[W, R, (2, 'R')], "RRR")], &[0]),
            (
                "one of three alone, then one of the others with it, then all",
                &[
                    (1..2, &[W, R, (2, 'R')], "R"),
                    (2..9, &[W], "RWWWWWW"),
                    (9..11, &[W, R], "RR"),
                    (11..12, &[W, R, (2, 'R')], "R"),
                ],
                &[0],
            ),
            (
                "one of three first, then all",
                &[
                    (1..9, &[W], "WWWWWWWW"),
                    (9..12, &[W, R, (2, 'R')], "WRR"),
                    (12..14, &[W, R], "RR"),
                ],
                &[0],
            ),
            (
                "most say so",
                &[
                    (1..9, &[W, (2, 'W')], "WWWWWWWW"),
                    (9..11, &[W, R, (2, 'R')], "WR"),
                    (11..13, &[W, (2, 'W'), R], "WW"),
                ],
                &[1],
            ),
        ];
        for (case, steps, named) in cases {
            let index = |letter| if letter == 'R' { 100 } else { 101 };
            let mut rounds: Vec<(u64, Vec<(usize, ValidatorStatus)>)> = Vec::new();
            let mut expected = Vec::new();
            for (epochs, says, counts) in steps {
                let says = says
                    .iter()
                    .map(|(node, letter)| (*node, status(index(*letter), NEVER)));
                let says: Vec<_> = says.collect();
                rounds.extend(epochs.clone().map(|epoch| (epoch, says.clone())));
                expected.extend(counts.chars().map(index));
            }
            let rounds: Vec<_> = rounds.iter().map(|(epoch, says)| (*epoch, &says[..])).collect();
            let mut dissent = Dissent::default();
            let counted = counts_in(&mut dissent, &rounds);
            let counted: Vec<u64> = counted.iter().map(|one| one.index).collect();
            assert_eq!(counted, expected, "{case}");
            let named = named.iter().map(|node| (*node, About::Index)).collect();
            assert_eq!(dissent.named(), named, "{case}");
        }
    }
}

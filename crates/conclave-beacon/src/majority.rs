//! Whose word counts when beacon nodes say different things: one rule for forks, indices and duties.

use std::cmp::Reverse;

/// Heads that are no further apart are equally new: they are asked for one after the other, while blocks come.
const CLOSE: u64 = 2;

/// What a beacon node says, as far as it matters for who is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice {
    /// The slot of its head; 0 if it told of none.
    pub head_slot: u64,
    /// How well it goes with what was known before: more is better.
    pub known: u8,
}

/// The newest head of all voices, by its slot.
pub fn newest(heads: impl IntoIterator<Item = u64>) -> u64 {
    heads.into_iter().max().unwrap_or(0)
}

/// Whether a head is as new as the newest one.
pub fn is_as_new(head_slot: u64, newest: u64) -> bool {
    head_slot.saturating_add(CLOSE) >= newest
}

/// Whose word counts, and who says something else as loudly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Count {
    /// Places of those that say what counts; empty if nobody says anything.
    pub counts: Vec<usize>,
    /// Of others those that are as many, together where they say the same.
    pub rivals: Vec<Vec<usize>>,
}

/// Of these voices (places in `voices`, in the order in which the nodes are listed) those that say what counts: what most say. Where as
/// many say the one as the other, what was known before; then what a node with the newest head of all `voices` says, then who is listed
/// first. Empty if nobody says anything.
pub fn counting(
    voices: &[Voice],
    of: impl IntoIterator<Item = usize>,
    same: impl Fn(usize, usize) -> bool,
) -> Vec<usize> {
    count(voices, of, same).counts
}

/// The same, with those that are as many.
pub fn count(
    voices: &[Voice],
    of: impl IntoIterator<Item = usize>,
    same: impl Fn(usize, usize) -> bool,
) -> Count {
    let newest = newest(voices.iter().map(|voice| voice.head_slot));
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for place in of {
        let alike = |class: &&mut Vec<usize>| class.first().is_some_and(|first| same(*first, place));
        match classes.iter_mut().find(alike) {
            Some(class) => class.push(place),
            None => classes.push(vec![place]),
        }
    }
    let weight = |class: &Vec<usize>| {
        let said = || class.iter().filter_map(|place| voices.get(*place));
        let known = said().map(|voice| voice.known).max();
        let is_new = said().any(|voice| is_as_new(voice.head_slot, newest));
        (class.len(), known, is_new, Reverse(class.first().copied()))
    };
    let counts = classes
        .iter()
        .max_by_key(|class| weight(class))
        .cloned()
        .unwrap_or_default();
    classes.retain(|class| class.len() == counts.len() && *class != counts);
    Count {
        counts,
        rivals: classes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_then_the_known_then_the_newest_head_then_the_first() {
        // What each says, its head, and how well it goes with what was known.
        type Case = (&'static [(char, u64, u8)], &'static [usize]);
        let cases: [Case; 8] = [
            (&[], &[]),
            (&[('a', 9, 0)], &[0]),
            (&[('a', 9, 1), ('b', 9, 0), ('b', 9, 0)], &[1, 2]),
            (&[('a', 9, 0), ('b', 9, 1)], &[1]),
            (&[('a', 99, 0), ('b', 9, 1)], &[1]),
            (&[('a', 6, 0), ('b', 9, 0)], &[1]),
            // Two slots are no difference.
            (&[('a', 7, 0), ('b', 9, 0)], &[0]),
            (&[('a', 9, 1), ('b', 9, 0), ('b', 9, 2), ('a', 9, 1)], &[1, 2]),
        ];
        for (said, expected) in cases {
            let voices: Vec<Voice> = said
                .iter()
                .map(|(_, head_slot, known)| Voice {
                    head_slot: *head_slot,
                    known: *known,
                })
                .collect();
            let same = |one: usize, other: usize| said[one].0 == said[other].0;
            assert_eq!(counting(&voices, 0..said.len(), same), expected, "{said:?}");
        }
    }
}

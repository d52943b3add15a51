//! Which of an operator's beacon nodes is asked first, and which of their heads is ours: one rule for everything.
//!
//! 1. How a node is ([`State::rank`](super::nodes::State)): in step before optimistic before behind.
//! 2. Who failed this request lately after those that did not; whose head is ours does not depend on requests.
//! 3. Those that show their head before those that only say how new it is.
//! 4. The newest head that fits: no head is of the future. So the node that told of a block is asked before those that have
//!    not got it yet, for attestation data and for blocks that are built on it.
//! 5. Of how many of the nodes that are as well it is the head.
//! 6. The order in which the nodes were given.
//!
//! A head of the slot after the one by our clock is of the future, too, unless most of the nodes that are as well have such heads: then
//! it is our clock that is behind. So no node is the first of several because it is ahead of all others.

use std::cmp::Reverse;

use conclave_crypto::hash::Hash;

/// A node's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its slot.
    pub slot: u64,
    /// Its root, if the node told it.
    pub root: Option<Hash>,
}

/// How a node is, and what it says of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The place of the node among those that were given.
    pub place: usize,
    /// 0 is best.
    pub rank: u8,
    /// Whether it failed lately what is asked, so that others that are as well are asked before it.
    pub behind: bool,
    /// Its head, as far as it told of one.
    pub head: Option<Head>,
}

/// The same with only those heads that fit the time. `slot` is that of our clock; none before genesis.
fn fitting(standings: &[Standing], slot: Option<u64>) -> Vec<Standing> {
    let Some(slot) = slot else {
        return standings.to_vec();
    };
    let next = slot.saturating_add(1);
    let our_clock_is_behind = |rank: u8| {
        let alike = standings.iter().filter(|one| one.rank == rank);
        let ahead = alike
            .clone()
            .filter(|one| one.head.is_some_and(|head| head.slot == next));
        2 * ahead.count() > alike.count()
    };
    let fits = |one: &Standing| Standing {
        head: one
            .head
            .filter(|head| head.slot <= slot || head.slot == next && our_clock_is_behind(one.rank)),
        ..*one
    };
    standings.iter().map(fits).collect()
}

/// Puts nodes in the order in which they are asked. `slot` is that of our clock; none before genesis.
pub fn order(standings: &mut [Standing], slot: Option<u64>) {
    let all = fitting(standings, slot);
    let fits = |place: usize| all.iter().find(|one| one.place == place).and_then(|one| one.head);
    // Nobody vouches for a head that has no root.
    let shown = |place: usize| fits(place).filter(|head| head.root.is_some());
    let alike = |one: &Standing| {
        let head = shown(one.place);
        let same = |other: &&Standing| other.rank == one.rank && other.head == head;
        head.map_or(0, |_| all.iter().filter(same).count())
    };
    standings.sort_by_cached_key(|one| {
        let said = fits(one.place).map(|head| head.slot);
        let shows = shown(one.place).is_some();
        let order = (Reverse(said), Reverse(alike(one)), one.place);
        (one.rank, one.behind, !shows, order)
    });
}

/// The head that is ours: that of the node that is asked first. If that did not tell which block it is, another one's that is
/// no older. `None` if nobody told of one that fits.
pub fn head(standings: &[Standing], slot: Option<u64>) -> Option<(u64, Hash)> {
    let mut standings = fitting(standings, slot);
    order(&mut standings, slot);
    let mut oldest = 0;
    for head in standings.iter().filter_map(|one| one.head) {
        if let Some(root) = head.root.filter(|_| head.slot >= oldest) {
            return Some((head.slot, root));
        }
        oldest = oldest.max(head.slot);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node: how it is, the slot of its head and the root, if it has told that.
    type Case = (u8, Option<u64>, Option<u8>);

    fn standings(cases: &[Case]) -> Vec<Standing> {
        let standing = |(place, (rank, slot, root)): (usize, &Case)| Standing {
            place,
            rank: *rank,
            behind: false,
            head: slot.map(|slot| Head {
                slot,
                root: root.map(|root| [root; 32]),
            }),
        };
        cases.iter().enumerate().map(standing).collect()
    }

    fn ordered(cases: &[Case]) -> Vec<usize> {
        let mut standings = standings(cases);
        order(&mut standings, Some(100));
        standings.iter().map(|one| one.place).collect()
    }

    const A: Option<u8> = Some(1);
    const B: Option<u8> = Some(2);

    #[test]
    fn nodes_are_in_one_order() {
        let cases: [(&str, &[Case], &[usize]); 16] = [
            (
                "as they were given",
                &[(0, Some(99), A), (0, Some(99), A)],
                &[0, 1],
            ),
            (
                "who told of a block",
                &[(0, Some(99), A), (0, Some(100), B)],
                &[1, 0],
            ),
            (
                "how it is comes first",
                &[(1, Some(100), B), (0, Some(99), A)],
                &[1, 0],
            ),
            (
                "of how many it is the head",
                &[(0, Some(100), A), (0, Some(100), B), (0, Some(100), B)],
                &[1, 2, 0],
            ),
            (
                "those that are worse do not count",
                &[(0, Some(100), A), (0, Some(100), B), (1, Some(100), B)],
                &[0, 1, 2],
            ),
            (
                "newer before more",
                &[(0, Some(99), A), (0, Some(99), A), (0, Some(100), B)],
                &[2, 0, 1],
            ),
            (
                "ahead of everybody",
                &[(0, Some(101), A), (0, Some(100), B)],
                &[1, 0],
            ),
            (
                "ahead of everybody, and of a block that is late",
                &[(0, Some(101), A), (0, Some(97), B)],
                &[1, 0],
            ),
            (
                "as many ahead as not",
                &[
                    (0, Some(101), A),
                    (0, Some(101), A),
                    (0, Some(100), B),
                    (0, Some(99), B),
                ],
                &[2, 3, 0, 1],
            ),
            (
                "most are ahead: our clock is behind",
                &[(0, Some(100), A), (0, Some(101), B), (0, Some(101), B)],
                &[1, 2, 0],
            ),
            (
                "those that are worse say nothing of our clock",
                &[
                    (0, Some(100), A),
                    (0, Some(101), B),
                    (1, Some(101), B),
                    (1, Some(101), B),
                ],
                &[0, 1, 2, 3],
            ),
            (
                "only says how new it is",
                &[(0, Some(100), None), (0, Some(99), A)],
                &[1, 0],
            ),
            (
                "all only say how new they are",
                &[(0, Some(98), None), (0, Some(99), None)],
                &[1, 0],
            ),
            (
                "nobody else is there to tell who is right",
                &[(0, Some(101), A), (1, Some(100), B)],
                &[0, 1],
            ),
            (
                "of the future",
                &[(0, Some(102), A), (0, Some(3), B), (0, None, None)],
                &[1, 0, 2],
            ),
            (
                "without a root",
                &[(0, Some(100), None), (0, Some(100), A)],
                &[1, 0],
            ),
        ];
        for (what, nodes, expected) in cases {
            assert_eq!(ordered(nodes), expected, "{what}");
        }
    }

    #[test]
    fn our_head_is_that_of_the_node_that_is_asked_first() {
        /// A head's slot and root.
        type Expected = Option<(u64, u8)>;
        let cases: [(&[Case], Expected); 12] = [
            (&[(0, Some(99), A), (0, Some(100), B)], Some((100, 2))),
            (&[(0, Some(99), A), (2, Some(100), B)], Some((99, 1))),
            // What is only said is nobody's head.
            (&[(0, Some(99), A), (0, Some(100), None)], Some((99, 1))),
            // Nothing older than what the best one says, though it does not say which block it is.
            (&[(0, Some(100), None), (1, Some(99), A)], None),
            // Ahead of everybody, or with everybody.
            (&[(0, Some(101), A), (0, Some(100), B)], Some((100, 2))),
            (&[(0, Some(101), A), (0, Some(101), B)], Some((101, 1))),
            (&[(0, Some(101), A)], Some((101, 1))),
            (&[(0, Some(99), None), (1, Some(99), B)], Some((99, 2))),
            (&[(0, None, None), (2, Some(99), A)], Some((99, 1))),
            (&[(0, Some(1000), A)], None),
            (&[(0, None, None)], None),
            (&[], None),
        ];
        for (nodes, expected) in cases {
            let expected = expected.map(|(slot, root)| (slot, [root; 32]));
            assert_eq!(head(&standings(nodes), Some(100)), expected, "{nodes:?}");
        }
        // Before genesis no clock says what fits.
        assert_eq!(head(&standings(&[(0, Some(0), A)]), None), Some((0, [1; 32])));
    }
}

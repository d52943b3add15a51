//! Which index a validator has, where beacon nodes say different ones. Pure.
//!
//! No active validator ever gets another index, so whoever has said two of it was wrong once. Nobody knows when, but who says what, and
//! said so before, tells much:
//!
//! 1. What less than most of the nodes of use have said gives way at once to what speaks more for itself ([`majority`]); where as many say
//!    the one as the other, what counts stays and all are named.
//! 2. Else an index stays, and who says another one is named, until more than half of the nodes of use say one and the same other one, in two
//!    epochs in a row, and did not cease to in between.
//! 3. What counted before is remembered. It comes back at once when a node says it again, most do not contradict that, and no less speaks
//!    for it than for what came after it: how many nodes ever said it while it counted, then in how many epochs it did.
//!
//! What that means, where R is right, and W is wrong in good faith or by intent:
//!
//! | Nodes | What happens | What counts |
//! |---|---|---|
//! | 1 | It says R, then W for good | R for an epoch, then W: there is nobody else |
//! | | Then R again | R at once, if it was R for as long; else after an epoch |
//! | 2 | One says W, the other R, from the start | nobody knows: what the first listed says; both are named |
//! | | Both say R, then one W | R; who says W is named |
//! | | Then the other one is away | R for an epoch, then W |
//! | | Then it is back | R at once, for both have said that, however long W has counted; who says W is named |
//! | | W alone at first, then R alone | W for an epoch, then R |
//! | | Then W again beside R | what has counted for longer; who says the other is named |
//! | 3 | Two say R, one W | R, at once or in the second epoch; who says W is named |
//! | | Only W is there for some epochs | R for an epoch, then W |
//! | | Then one R, beside W | R at once, for two have said that |
//!
//! With more nodes it is as with three. Nodes that are behind are asked only where no other one answers, and speak for nothing: what they say
//! gives way to what any node in step says.
//!
//! [`majority`]: conclave_beacon::majority

use std::collections::{BTreeMap, BTreeSet};

/// Which index nodes give a validator.
#[derive(Debug)]
pub(super) struct Heard {
    /// The place of each node, and the index.
    pub(super) says: Vec<(usize, u64)>,
    /// How many nodes are of use, whether they have answered or not.
    pub(super) nodes: usize,
    /// When that was, by our clock.
    pub(super) epoch: u64,
}

impl Heard {
    /// The one index that more than half of the nodes of use give, if there is one.
    fn most(&self) -> Option<u64> {
        let says = self.says.iter().map(|(_, index)| *index);
        let mut most = says.filter(|index| 2 * self.who(*index).count() > self.nodes);
        most.next()
    }

    /// Who gives it this index.
    fn who(&self, index: u64) -> impl Iterator<Item = usize> {
        let says = self.says.iter().filter(move |(_, said)| *said == index);
        says.map(|(node, _)| *node)
    }
}

/// An index that counts, or did.
#[derive(Debug)]
struct Claim {
    index: u64,
    /// Who said so while it counted.
    said_by: BTreeSet<usize>,
    /// In how many epochs it counted, and the last of them.
    epochs: u64,
    last: Option<u64>,
}

impl Claim {
    const fn new(index: u64) -> Self {
        Self {
            index,
            said_by: BTreeSet::new(),
            epochs: 0,
            last: None,
        }
    }

    /// What speaks for it: more is better.
    fn weight(&self) -> (usize, u64) {
        (self.said_by.len(), self.epochs)
    }
}

/// What is known of one validator.
#[derive(Debug)]
struct Claims {
    counts: Claim,
    /// Of those that counted before, and went because most said another one, that for which most speaks.
    former: Option<Claim>,
}

/// What is known of validators' indices, by their places in the lock.
#[derive(Debug, Default)]
pub(super) struct Indices {
    claims: BTreeMap<u32, Claims>,
    /// Those whose index less than most nodes gave, or as many as gave another one.
    unsure: BTreeSet<u32>,
    /// Which other index most nodes give them, since which epoch.
    moved: BTreeMap<u32, (u64, u64)>,
}

impl Indices {
    /// The index that a validator keeps, or gets back, whatever else nodes say; `known` is the one that counted, of an active validator. None if
    /// one has to be [chosen](Self::chosen).
    pub(super) fn settled(&mut self, place: u32, known: Option<u64>, heard: &Heard) -> Option<u64> {
        let known = known.filter(|_| !self.unsure.contains(&place))?;
        let back = self.back(place, heard);
        if back.is_none() && self.moves(place, known, heard) {
            return None;
        }
        back.or(Some(known))
    }

    /// An index was chosen by what nodes say now; whether most say so.
    pub(super) fn chosen(&mut self, place: u32, index: u64, is_sure: bool) {
        if is_sure {
            self.unsure.remove(&place);
        } else {
            self.unsure.insert(place);
        }
        match self.claims.get_mut(&place) {
            Some(claims) if claims.counts.index == index => {}
            Some(claims) => claims.counts = Claim::new(index),
            None => {
                let counts = Claim::new(index);
                self.claims.insert(place, Claims { counts, former: None });
            }
        }
    }

    /// Nodes that are in step have said this, and what counts is known.
    pub(super) fn vouch(&mut self, place: u32, heard: &Heard) {
        if let Some(Claims { counts, .. }) = self.claims.get_mut(&place) {
            counts.said_by.extend(heard.who(counts.index));
            if counts.last.replace(heard.epoch) != Some(heard.epoch) {
                counts.epochs = counts.epochs.saturating_add(1);
            }
        }
    }

    /// The index that counted before, if it comes back.
    fn back(&mut self, place: u32, heard: &Heard) -> Option<u64> {
        let Claims { counts, former } = self.claims.get_mut(&place)?;
        let is_said = |former: &Claim| heard.who(former.index).next().is_some();
        let is_contradicted = |former: &Claim| heard.most().is_some_and(|most| most != former.index);
        let back = former.take_if(|former| {
            is_said(former) && !is_contradicted(former) && former.weight() >= counts.weight()
        })?;
        *counts = back;
        self.moved.remove(&place);
        Some(counts.index)
    }

    /// Whether most nodes say one and the same other index, and did so in an earlier epoch, with nobody but them in between.
    fn moves(&mut self, place: u32, known: u64, heard: &Heard) -> bool {
        let Some(other) = heard.most().filter(|most| *most != known) else {
            self.moved.remove(&place);
            return false;
        };
        let since = match self.moved.get(&place) {
            Some((index, since)) if *index == other => *since,
            _ => heard.epoch,
        };
        if since >= heard.epoch {
            self.moved.insert(place, (other, since));
            return false;
        }
        self.moved.remove(&place);
        if let Some(Claims { counts, former }) = self.claims.get_mut(&place) {
            let gone = std::mem::replace(counts, Claim::new(other));
            if former
                .as_ref()
                .is_none_or(|former| gone.weight() >= former.weight())
            {
                *former = Some(gone);
            }
        }
        true
    }
}

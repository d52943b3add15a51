//! The rules of the vote: what an operator that has said this much may still say.
//!
//! Small and free of cryptography on purpose: the operator asks this module before every entry of its own, and the tests search
//! its whole state space.

use std::collections::BTreeSet;

/// What one operator has said so far under one definition, by attempt. Marker files count as much as entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing {
    /// Attempts that it joined.
    pub joined: BTreeSet<u32>,
    /// Attempts in which it sent an Ack.
    pub acked: BTreeSet<u32>,
    /// Attempts in which it sent a Complaint.
    pub complained: BTreeSet<u32>,
    /// Attempts for which it voted (sent a Stored).
    pub voted: BTreeSet<u32>,
    /// Attempts in which it sent a Sign.
    pub signed: BTreeSet<u32>,
    /// Attempts that its person gave up, or that are marked dead.
    pub closed: BTreeSet<u32>,
}

impl Standing {
    /// The newest attempt that it voted for.
    pub fn newest_vote(&self) -> Option<u32> {
        self.voted.last().copied()
    }

    /// Whether attempt `k` is closed for it. `condemned`: the verdict of an attempt is not empty.
    pub fn is_closed(&self, k: u32, condemned: bool) -> bool {
        // A marker that outlived its journal says as much as the Join that must have come before it.
        let steps = [&self.joined, &self.voted, &self.signed];
        let moved_on = steps.iter().any(|said| said.last().is_some_and(|last| *last > k));
        moved_on || self.closed.contains(&k) || (condemned && !self.voted.contains(&k))
    }

    /// The current attempt: the lowest one that is not closed.
    pub fn current(&self, condemned: impl Fn(u32) -> bool) -> u32 {
        let mut k = 1;
        while k < u32::MAX && self.is_closed(k, condemned(k)) {
            k += 1;
        }
        k
    }

    /// V3: a Join, once per attempt, only for the current one, never after a Sign.
    pub fn may_join(&self, k: u32, current: u32) -> bool {
        self.signed.is_empty()
            && k == current
            && [&self.joined, &self.voted]
                .iter()
                .all(|said| said.last().is_none_or(|last| *last < k))
    }

    /// V3: Deal and Reveal only in the current attempt, which it joined, never after a Sign.
    pub fn may_contribute(&self, k: u32, current: u32) -> bool {
        self.signed.is_empty()
            && k == current
            && self.joined.last() == Some(&k)
            && !self.complained.contains(&k)
    }

    /// Ack: once, never after a Complaint.
    pub fn may_ack(&self, k: u32, current: u32) -> bool {
        self.may_contribute(k, current) && !self.acked.contains(&k)
    }

    /// Complaint: once, instead of the Ack, never after a vote.
    pub fn may_complain(&self, k: u32, current: u32) -> bool {
        self.may_ack(k, current) && !self.voted.contains(&k)
    }

    /// V1: the vote, once per attempt, only for the current one, never after a Sign or a Complaint.
    pub fn may_vote(&self, k: u32, current: u32) -> bool {
        self.may_contribute(k, current)
    }

    /// V2: a Sign in `k` iff its newest vote is for `k` and it holds everybody's equal votes.
    pub fn must_sign(&self, k: u32, holds_all_votes: bool) -> bool {
        holds_all_votes && self.newest_vote() == Some(k)
    }
}

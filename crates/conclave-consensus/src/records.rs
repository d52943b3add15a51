//! What a node keeps of one agreement. Everything in here was verified, and nobody can make it grow: an operator has
//! two votes for each step of a round (the second one proves that it lies) and a leader two proposals.

use std::collections::BTreeMap;

use conclave_crypto::hash::Hash;

use super::messages::{Certificate, Proposal, RoundStatus, Status, Step, Vote};

/// Distinct votes kept of an operator for one step of a round, and of a leader's proposals for a round.
const DISTINCT: usize = 2;

/// Certificates kept for one step of a round. Without more liars than safety allows there is never a second one.
const CERTIFICATES: usize = 2;

/// What an operator's own beacon node says of a proposal; final once given. While it cannot tell yet, nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Plausible. It is taken to hold for the same value in later rounds too.
    Valid,
    /// What can never be right, in any round.
    Invalid,
}

/// A proposal and what is thought of it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) proposal: Proposal,
    pub(super) id: Hash,
    pub(super) verdict: Option<Verdict>,
}

/// Whether there is place for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing of its kind is there yet.
    First,
    /// A different one of the same author is there.
    Conflict,
    /// It is there already, or there is no place for another one.
    No,
}

/// Proposals, votes and certificates.
#[derive(Debug, Default)]
pub(super) struct Records {
    proposals: BTreeMap<u8, Vec<Held>>,
    votes: BTreeMap<(u8, Step, u16), Vec<Vote>>,
    certificates: BTreeMap<(u8, Step), Vec<Certificate>>,
}

impl Records {
    /// Whether a round has place for another proposal at all, before its value is hashed: fewer than two are there, or
    /// one for which there is a certificate is missing.
    pub(super) fn wants_proposals(&self, round: u8) -> bool {
        self.proposals(round).len() < DISTINCT
            || self
                .certified(round)
                .any(|id| self.proposal(round, &id).is_none())
    }

    /// Whether there is place for this one. A certified value always has one, whatever else its leader proposed.
    pub(super) fn proposal_room(&self, proposal: &Proposal, id: &Hash) -> Room {
        let held = self.proposals(proposal.round);
        let known = held
            .iter()
            .any(|held| held.id == *id && held.proposal.polka == proposal.polka);
        let missing = || {
            self.certified(proposal.round).any(|certified| certified == *id)
                && self.proposal(proposal.round, id).is_none()
        };
        match held.len() {
            0 => Room::First,
            _ if known => Room::No,
            count if count < DISTINCT || missing() => Room::Conflict,
            _ => Room::No,
        }
    }

    pub(super) fn add_proposal(&mut self, held: Held) {
        self.proposals.entry(held.proposal.round).or_default().push(held);
    }

    /// All proposals of a round, in the order of their arrival.
    pub(super) fn proposals(&self, round: u8) -> &[Held] {
        self.proposals.get(&round).map_or(&[], Vec::as_slice)
    }

    /// All proposals of all rounds.
    pub(super) fn all_proposals(&self) -> impl Iterator<Item = &Held> {
        self.proposals.values().flatten()
    }

    pub(super) fn all_proposals_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.proposals.values_mut().flatten()
    }

    /// The first proposal of a value in a round.
    pub(super) fn proposal(&self, round: u8, id: &Hash) -> Option<&Held> {
        self.proposals(round).iter().find(|held| held.id == *id)
    }

    /// What is known of a value that is proposed in a round: impossible ones stay so, plausible ones too from then on.
    pub(super) fn known_verdict(&self, round: u8, id: &Hash) -> Option<Verdict> {
        let mut same = self.all_proposals().filter(|held| held.id == *id);
        same.find_map(|held| match held.verdict {
            Some(Verdict::Valid) if held.proposal.round > round => None,
            verdict => verdict,
        })
    }

    /// Whether there is place for a vote.
    pub(super) fn vote_room(&self, vote: &Vote) -> Room {
        match self.votes_of(vote.round, vote.step, vote.operator) {
            [] => Room::First,
            votes if votes.iter().any(|other| other.choice == vote.choice) => Room::No,
            votes if votes.len() < DISTINCT => Room::Conflict,
            _ => Room::No,
        }
    }

    pub(super) fn add_vote(&mut self, vote: Vote) {
        let key = (vote.round, vote.step, vote.operator);
        self.votes.entry(key).or_default().push(vote);
    }

    /// An operator's votes for a step: the first one to arrive, and a conflicting one.
    pub(super) fn votes_of(&self, round: u8, step: Step, operator: u16) -> &[Vote] {
        self.votes
            .get(&(round, step, operator))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether exactly this vote, signature included, was verified before.
    pub(super) fn has_vote(&self, vote: &Vote) -> bool {
        self.votes_of(vote.round, vote.step, vote.operator).contains(vote)
    }

    /// All votes for a value in a step of a round, by operator, second votes of those who lie included.
    pub(super) fn votes_for(&self, round: u8, step: Step, id: &Hash) -> impl Iterator<Item = &Vote> {
        self.votes
            .range((round, step, 0)..=(round, step, u16::MAX))
            .flat_map(|(_, votes)| votes)
            .filter(move |vote| vote.choice.as_ref() == Some(id))
    }

    /// Each operator's first vote, by round, step and operator.
    pub(super) fn first_votes(&self) -> impl Iterator<Item = &Vote> {
        self.votes.values().filter_map(|votes| votes.first())
    }

    /// How many operators precommitted to nothing in a round, by their first vote.
    pub(super) fn given_up(&self, round: u8) -> usize {
        let votes = self
            .votes
            .range((round, Step::Precommit, 0)..=(round, Step::Precommit, u16::MAX));
        votes
            .filter(|(_, votes)| votes.first().is_some_and(|vote| vote.choice.is_none()))
            .count()
    }

    /// Whether an operator has voted for a value in any round: then it has the proposal.
    pub(super) fn voted_for(&self, operator: u16, id: &Hash) -> bool {
        let mut votes = self
            .votes
            .iter()
            .filter(|((_, _, author), _)| *author == operator);
        votes.any(|(_, votes)| votes.iter().any(|vote| vote.choice.as_ref() == Some(id)))
    }

    /// Whether there is place for a certificate.
    pub(super) fn certificate_room(&self, round: u8, step: Step, id: &Hash) -> Room {
        match self.certificates_of(round, step) {
            [] => Room::First,
            some if some.iter().any(|other| other.value_id == *id) => Room::No,
            some if some.len() < CERTIFICATES => Room::Conflict,
            _ => Room::No,
        }
    }

    pub(super) fn add_certificate(&mut self, certificate: Certificate) {
        let key = (certificate.round, certificate.step);
        self.certificates.entry(key).or_default().push(certificate);
    }

    fn certificates_of(&self, round: u8, step: Step) -> &[Certificate] {
        self.certificates.get(&(round, step)).map_or(&[], Vec::as_slice)
    }

    /// The certificate for a value.
    pub(super) fn certificate(&self, round: u8, step: Step, id: &Hash) -> Option<&Certificate> {
        let mut all = self.certificates_of(round, step).iter();
        all.find(|certificate| certificate.value_id == *id)
    }

    /// All certificates of a step, by round.
    pub(super) fn certificates(&self, step: Step) -> impl Iterator<Item = &Certificate> {
        let all = self.certificates.iter().filter(move |((_, of), _)| *of == step);
        all.flat_map(|(_, certificates)| certificates)
    }

    /// Values of a round for which there is a certificate.
    fn certified(&self, round: u8) -> impl Iterator<Item = Hash> {
        [Step::Prevote, Step::Precommit]
            .into_iter()
            .flat_map(move |step| self.certificates_of(round, step))
            .map(|certificate| certificate.value_id)
    }

    /// What is here, for others to see what is not.
    pub(super) fn status(&self, round: u8) -> Status {
        let mut rounds: BTreeMap<u8, RoundStatus> = BTreeMap::new();
        for vote in self.first_votes() {
            let status = rounds.entry(vote.round).or_default();
            let bit = operator_bit(vote.operator);
            match vote.step {
                Step::Prevote => status.prevotes |= bit,
                Step::Precommit => status.precommits |= bit,
            }
        }
        for certificate in self.certificates(Step::Prevote) {
            rounds.entry(certificate.round).or_default().polka = true;
        }
        for (round, held) in &self.proposals {
            let ids = &mut rounds.entry(*round).or_default().proposals;
            ids.extend(held.iter().map(|held| held.id));
            ids.sort_unstable();
            ids.dedup();
        }
        let with_number = |(round, status)| RoundStatus { round, ..status };
        Status {
            round,
            rounds: rounds.into_iter().map(with_number).collect(),
        }
    }

    /// How many messages are kept, and the bytes of all values.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn size(&self) -> (usize, usize) {
        let votes: usize = self.votes.values().map(Vec::len).sum();
        let certificates: usize = self.certificates.values().map(Vec::len).sum();
        let bytes = self.all_proposals().map(|held| held.proposal.value.len()).sum();
        (votes + certificates + self.all_proposals().count(), bytes)
    }
}

/// An operator's place in a bitmap.
pub(super) fn operator_bit(operator: u16) -> u64 {
    let place = u32::from(operator).checked_sub(1);
    place.and_then(|place| 1_u64.checked_shl(place)).unwrap_or(0)
}

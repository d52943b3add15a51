//! Those who lie, together.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::{partials::Partials, wire::Message};
use conclave_consensus::messages::{Body, Certificate, Proposal, Step, Vote, proposal_digest, vote_digest};
use conclave_crypto::hash::Hash;
use conclave_eth::duty::Duty;

use super::{
    LOCK,
    cheap::{Cheap, cheap, item},
};

/// Agreement, round, step and value of a vote.
type Ballot = (Duty, u8, Step, Hash);

/// What liars have heard, and what they make of it.
#[derive(Default)]
pub(super) struct Coalition {
    /// Agreement, round, step, value: signatures.
    votes: BTreeMap<Ballot, BTreeMap<u16, [u8; 64]>>,
    proposals: BTreeMap<Duty, Vec<Proposal>>,
    partials: Vec<Partials>,
    old: Vec<Message>,
}

impl Coalition {
    pub(super) fn hear(&mut self, message: &Message) {
        match message {
            Message::Agreement(agreement) => {
                let duty = agreement.duty;
                match &agreement.body {
                    Body::Vote(vote) => self.vote(duty, vote),
                    Body::Certificate(certificate) => {
                        certificate.votes().for_each(|vote| self.vote(duty, &vote));
                    }
                    Body::Proposal(proposal) => {
                        let proposals = self.proposals.entry(duty).or_default();
                        if proposals.len() < 16 && !proposals.contains(proposal) {
                            proposals.push(proposal.clone());
                        }
                    }
                    Body::Status(_) => {}
                }
            }
            Message::Partials(partials) if self.partials.len() < 64 => self.partials.push(partials.clone()),
            _ => {}
        }
        if self.old.len() < 64 {
            self.old.push(message.clone());
        }
    }

    pub(super) fn vote(&mut self, duty: Duty, vote: &Vote) {
        if let Some(id) = vote.choice {
            let signatures = self.votes.entry((duty, vote.round, vote.step, id)).or_default();
            signatures.insert(vote.operator, vote.signature);
        }
    }

    pub(super) fn forget(&mut self, slot: u64) {
        self.votes.retain(|(duty, ..), _| duty.slot + 4 > slot);
        self.proposals.retain(|duty, _| duty.slot + 4 > slot);
        self.partials.retain(|partials| partials.header().slot + 4 > slot);
        if slot.is_multiple_of(16) {
            self.old.clear();
        }
    }

    /// What else one of them says while it says something.
    pub(super) fn mischief(
        &self,
        rng: &mut ChaCha8Rng,
        liars: &[u16],
        own: u16,
        said: &Message,
    ) -> Vec<Message> {
        let mut out = Vec::new();
        if let Message::Agreement(agreement) = said {
            let duty = agreement.duty;
            let known: Vec<_> = self
                .votes
                .range((duty, 0, Step::Prevote, [0; 32])..)
                .take_while(|((of, ..), _)| *of == duty)
                .collect();
            let say = |body| Message::Agreement(conclave_consensus::messages::Message { duty, body });
            if let Some(((_, round, step, id), signatures)) = pick(rng, &known) {
                let step = if rng.random() { *step } else { Step::Precommit };
                let digest = |operator, step| vote_digest(&LOCK, duty, operator, *round, step, Some(id));
                // Another vote than the one that it cast.
                out.push(say(Body::Vote(Vote {
                    operator: own,
                    round: *round,
                    step,
                    choice: Some(*id),
                    signature: cheap(own, &digest(own, step)),
                })));
                // All who lie, and everybody else who voted for it, together.
                let mut signatures: BTreeMap<u16, [u8; 64]> = (*signatures).clone();
                signatures.extend(
                    liars
                        .iter()
                        .map(|liar| (*liar, cheap(*liar, &digest(*liar, step)))),
                );
                out.push(say(Body::Certificate(Certificate {
                    round: *round,
                    step,
                    value_id: *id,
                    signatures: signatures.into_iter().collect(),
                })));
            }
            if let Some(proposal) = self.proposals.get(&duty).and_then(|all| pick(rng, all)) {
                let mut proposal = proposal.clone();
                if rng.random() {
                    // Its own, of another's value; refused unless it leads.
                    let digest =
                        proposal_digest(&LOCK, duty, own, proposal.round, None, &proposal.value_id());
                    (proposal.operator, proposal.polka) = (own, None);
                    proposal.signature = cheap(own, &digest);
                }
                out.push(say(Body::Proposal(proposal)));
            }
        }
        if let Some(partials) = pick(rng, &self.partials) {
            // Own partial signatures of what others signed, decided or not; sometimes wrong ones.
            let header = partials.header();
            let wrong = rng.random_range(0..4) == 0;
            let items = partials.items().iter().map(|known| {
                let mut item = item(own, (known.validator, known.place), known.root);
                item.signature[40] = u8::from(wrong);
                item
            });
            let epochs = (header.source, header.target);
            out.push(Message::Partials(Partials::sign(
                &Cheap(own),
                &LOCK,
                own,
                header.purpose,
                header.slot,
                epochs,
                items.collect(),
            )));
        }
        out.extend(pick(rng, &self.old).cloned());
        out
    }
}

pub(super) fn pick<'a, T>(rng: &mut ChaCha8Rng, from: &'a [T]) -> Option<&'a T> {
    (!from.is_empty()).then(|| &from[rng.random_range(0..from.len())])
}

//! Blocks: RANDAO reveals first, then agreement on one block, then its signature.
//!
//! Whoever leads has its beacon node make a block. What is agreed on is the block without its blobs, full or blinded;
//! a full block can be published only by a node that has its blobs, so after the decision its maker sends them to the
//! others, and the block survives its maker.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    crypto::hash::Hash,
    validator::{
        agreement::{Instance, Signatures, Verdict, messages::Proposal},
        chain::{spec::Fork, types::BeaconBlockHeader},
        combine::Combined,
        duty::{Duty, Kind, Purpose},
        wire::Message,
    },
};

use super::{Core, Effect, Report, Submission, effects::ToCheck, schedule::Proposer};

/// What a block says, as far as it matters before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whose schema it follows.
    pub fork: Fork,
    /// Whether it has only the header of its execution payload.
    pub blinded: bool,
    /// What is signed.
    pub header: BeaconBlockHeader,
    /// Its RANDAO reveal.
    pub randao: [u8; 96],
    /// Who gets the fees; of a blinded block the builder.
    pub fee_recipient: [u8; 20],
    /// How many blobs belong to it.
    pub commitments: usize,
}

/// A block that our beacon node made.
#[derive(Debug, Clone)]
pub struct Made {
    /// What is agreed on, see [`encode_value`].
    pub value: Arc<[u8]>,
    /// What it says.
    pub summary: Summary,
    /// With its blobs, as others need it to publish a full block.
    pub contents: Option<Arc<[u8]>>,
}

/// The block of a slot while it is under way.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The round for which our beacon node is to make one, once the RANDAO reveal is there.
    wanted: Option<u8>,
    /// What was decoded, by value id; `None` is no block.
    known: std::collections::BTreeMap<Hash, Option<Summary>>,
    /// The newest one that our beacon node made.
    made: Option<Made>,
    /// What others sent for publishing: by sender, the root that they named and the bytes.
    contents: std::collections::BTreeMap<u16, (Hash, Arc<[u8]>)>,
    /// What was decided: id and value.
    decided: Option<(Hash, Arc<[u8]>)>,
    /// Whose blobs the beacon nodes were given it with: operators, or this one for a block that needs none.
    published: BTreeSet<u16>,
}

#[cfg(test)]
impl Block {
    /// How many of everything is kept, and the bytes of blocks and blobs.
    pub(super) fn size(&self) -> (usize, usize) {
        let made = self.made.as_ref().map_or(0, |made| {
            made.value.len() + made.contents.as_ref().map_or(0, |bytes| bytes.len())
        });
        let contents: usize = self.contents.values().map(|(_, bytes)| bytes.len()).sum();
        let decided = self.decided.as_ref().map_or(0, |(_, value)| value.len());
        (self.known.len() + self.contents.len(), made + contents + decided)
    }
}

/// The value of an agreement: `u8 fork || u8 blinded || the block in SSZ`.
pub fn encode_value(fork: Fork, blinded: bool, ssz: &[u8]) -> Arc<[u8]> {
    let number = Fork::ALL
        .iter()
        .position(|known| *known == fork)
        .unwrap_or(usize::MAX);
    [&[u8::try_from(number).unwrap_or(u8::MAX), u8::from(blinded)], ssz]
        .concat()
        .into()
}

/// Fork, whether it is blinded, and the block in SSZ; `None` for what [`encode_value`] does not write.
pub fn decode_value(value: &[u8]) -> Option<(Fork, bool, &[u8])> {
    let (head, ssz) = value.split_first_chunk::<2>()?;
    let fork = Fork::ALL.get(usize::from(head[0]))?;
    (head[1] <= 1).then_some((*fork, head[1] == 1, ssz))
}

const fn duty(slot: u64) -> Duty {
    Duty {
        slot,
        kind: Kind::Block,
    }
}

impl<S: Signatures> Core<S> {
    /// Who proposes in an epoch: RANDAO reveals are made ahead.
    pub(super) fn proposers(&mut self, epoch: u64, duties: Vec<(u64, Proposer)>) {
        self.schedule.set_proposers(epoch, duties);
        let now = self.slot_now();
        let Ok(root) = self.chain.randao_signing_root(epoch) else {
            return;
        };
        let proposals: Vec<(u64, Proposer)> = self
            .schedule
            .proposers(epoch)
            .filter(|(slot, _)| *slot >= now)
            .collect();
        for (slot, proposer) in proposals {
            self.sign(Purpose::Randao, slot, vec![((proposer.validator, 0), root)]);
        }
    }

    pub(super) fn proposer_of(&self, slot: u64) -> Option<Proposer> {
        self.schedule.proposer(self.time.epoch_of(slot), slot)
    }

    fn randao(&self, slot: u64) -> Option<[u8; 96]> {
        let proposer = self.proposer_of(slot)?;
        Some(
            self.pools
                .made((Purpose::Randao, slot), (proposer.validator, 0))?
                .signature,
        )
    }

    /// The RANDAO reveal was made: whoever waits for it can go on.
    pub(super) fn revealed(&mut self, slot: u64) {
        self.ask_block(slot);
        self.judge_held(duty(slot));
    }

    /// This operator leads.
    pub(super) fn propose_block(&mut self, slot: u64, round: u8) {
        self.slots.entry(slot).or_default().block.wanted = Some(round);
        self.ask_block(slot);
    }

    fn ask_block(&mut self, slot: u64) {
        let Some(randao) = self.randao(slot) else {
            return;
        };
        let wanted = self
            .slots
            .get_mut(&slot)
            .and_then(|work| work.block.wanted.take());
        if let Some(round) = wanted {
            self.note_asked(slot, Kind::Block);
            self.effects.push(Effect::AskBlock { slot, round, randao });
        }
    }

    /// Our beacon node made a block.
    pub(super) fn produced(&mut self, slot: u64, round: u8, made: Made) {
        if !self.agreements.contains_key(&duty(slot)) {
            return;
        }
        let unwanted = (made.summary.blinded && !self.builder)
            .then_some("it is of an external builder, and this node takes none of these without --builder");
        if let Some(why) = self.never(slot, &made.summary).or(unwanted) {
            self.report(Report::OwnBlockRefused { slot, why });
            // The next leader may have a better one: nobody needs to wait.
            return self.unanswered(duty(slot), Some(round));
        }
        let value = made.value.clone();
        self.note_answered(duty(slot));
        self.slots.entry(slot).or_default().block.made = Some(made);
        self.propose(duty(slot), round, value);
    }

    /// Why a block can never be right; `None` if it may be, as far as one can tell now.
    fn never(&self, slot: u64, block: &Summary) -> Option<&'static str> {
        let proposer = self.proposer_of(slot)?;
        let validator = self
            .group
            .validators
            .get(usize::try_from(proposer.validator).ok()?)?;
        let Ok(fork) = self.chain.spec.signable_fork_at(self.time.epoch_of(slot)) else {
            return Some("nothing can be signed in its slot's fork");
        };
        if block.header.slot != slot {
            Some("it is of another slot")
        } else if block.header.proposer_index != proposer.index {
            Some("it has another proposer")
        } else if block.fork != fork.fork {
            Some("it is of another fork")
        } else if !block.blinded && block.fee_recipient != validator.fee_recipient {
            Some("its fee recipient is not the group's")
        } else if self.randao(slot).is_some_and(|randao| randao != block.randao) {
            Some("its RANDAO reveal is not the group's")
        } else {
            None
        }
    }

    pub(super) fn judge_block(&mut self, slot: u64, proposal: &Proposal) {
        let id = proposal.value_id();
        let work = self.slots.entry(slot).or_default();
        let Some(known) = work.block.known.get(&id) else {
            let what = ToCheck::Block(proposal.value.clone());
            self.effects.push(Effect::Check {
                duty: duty(slot),
                round: proposal.round,
                id,
                what,
            });
            return;
        };
        let Some(block) = known.clone() else {
            return self.give_verdict(duty(slot), proposal.round, &id, Verdict::Invalid);
        };
        if self.proposer_of(slot).is_none() {
            return;
        }
        if self.never(slot, &block).is_some() {
            return self.give_verdict(duty(slot), proposal.round, &id, Verdict::Invalid);
        }
        if self.randao(slot).is_none() || block.blinded && !self.builder {
            return;
        }
        let parent = block.header.parent_root;
        let ours = self.newest_block.is_some_and(|(_, root)| root == parent);
        if ours {
            return self.give_verdict(duty(slot), proposal.round, &id, Verdict::Valid);
        }
        if proposal.round == 0 {
            return;
        }
        let before = slot.saturating_sub(1);
        let Some(work) = self.slots.get_mut(&slot) else {
            return;
        };
        match work.views.is_known(parent, before) {
            Some(true) => self.give_verdict(duty(slot), proposal.round, &id, Verdict::Valid),
            Some(false) => {}
            None => self.effects.push(Effect::LookUp { slot, root: parent }),
        }
    }

    /// A proposed or decided block was decoded.
    pub(super) fn decoded(&mut self, slot: u64, id: Hash, block: Option<Summary>) {
        let Some(work) = self.slots.get_mut(&slot) else {
            return;
        };
        work.block.known.insert(id, block);
        self.judge_held(duty(slot));
        self.sign_block(slot);
    }

    pub(super) fn decided_block(&mut self, slot: u64, id: Hash, value: Arc<[u8]>) {
        let block = &mut self.slots.entry(slot).or_default().block;
        block.decided = Some((id, value.clone()));
        let own = block.made.clone().filter(|made| made.value == value);
        if let Some(made) = own {
            block.known.insert(id, Some(made.summary.clone()));
            if let Some(bytes) = made.contents {
                self.broadcast(Message::Contents {
                    slot,
                    root: made.summary.header.root(),
                    bytes,
                });
            }
        } else if !block.known.contains_key(&id) {
            let round = self.agreements.get(&duty(slot)).map_or(0, Instance::round);
            self.effects.push(Effect::Check {
                duty: duty(slot),
                round,
                id,
                what: ToCheck::Block(value),
            });
        }
        self.sign_block(slot);
    }

    /// What was decided, once it is decoded.
    fn decided_summary(&self, slot: u64) -> Option<(&Summary, &Arc<[u8]>)> {
        let block = &self.slots.get(&slot)?.block;
        let (id, value) = block.decided.as_ref()?;
        Some((block.known.get(id)?.as_ref()?, value))
    }

    fn sign_block(&mut self, slot: u64) {
        let Some(proposer) = self.proposer_of(slot) else {
            return;
        };
        let Some((block, _)) = self.decided_summary(slot) else {
            return;
        };
        // A decision binds everybody whose guard allows it, but for what can never be right.
        if self.never(slot, block).is_some() {
            return;
        }
        if let Ok(root) = self.chain.block_signing_root(&block.header) {
            let validator = std::iter::once(proposer.validator);
            self.sign_guarded(Purpose::Block, slot, (0, 0), root, validator);
        }
        self.publish(slot);
    }

    /// Blobs of the block that an operator made.
    pub(super) fn contents(&mut self, from: u16, slot: u64, root: Hash, bytes: Arc<[u8]>) {
        let now = self.slot_now();
        let takes = slot <= now.saturating_add(super::EARLY_SLOTS) && slot.saturating_add(1) >= now;
        // Only who has led may have made it, so no more than that is ever kept; and only of slots that are ours.
        let round = self.agreements.get(&duty(slot)).map(Instance::round);
        let led = round
            .is_some_and(|round| (0..=round).any(|round| self.committee.leader(duty(slot), round) == from));
        if takes && led && self.proposer_of(slot).is_some() {
            let block = &mut self.slots.entry(slot).or_default().block;
            block.contents.insert(from, (root, bytes));
            self.publish(slot);
        }
    }

    /// Publishes the block once it is signed, if this node has all of it.
    pub(super) fn publish(&mut self, slot: u64) {
        let Some((block, value)) = self.decided_summary(slot) else {
            return;
        };
        let Ok(signing_root) = self.chain.block_signing_root(&block.header) else {
            return;
        };
        let made: Option<Combined> = self
            .pools
            .all_made((Purpose::Block, slot))
            .find(|made| made.root == signing_root)
            .cloned();
        let (Some(made), Some(work)) = (made, self.slots.get(&slot)) else {
            return;
        };
        let root = block.header.root();
        let own = work.block.made.as_ref().filter(|made| made.value == *value);
        let own = own.and_then(|made| made.contents.clone());
        let blobs: Vec<(u16, Option<Arc<[u8]>>)> = if block.blinded || block.commitments == 0 {
            vec![(self.me, None)]
        } else if own.is_some() {
            vec![(self.me, own)]
        } else {
            // Whether they are right only the beacon nodes can tell: whoever sends wrong ones first must not keep the
            // right ones out.
            let named = work
                .block
                .contents
                .iter()
                .filter(|(_, (named, _))| *named == root);
            named
                .map(|(operator, (_, bytes))| (*operator, Some(bytes.clone())))
                .collect()
        };
        let value = value.clone();
        for (operator, contents) in blobs {
            let first = self
                .slots
                .get_mut(&slot)
                .is_some_and(|work| work.block.published.insert(operator));
            if first {
                let submission = Submission::Block {
                    slot,
                    value: value.clone(),
                    contents,
                    signature: made.signature,
                };
                self.submit(Purpose::Block, slot, submission);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        for fork in Fork::ALL {
            for blinded in [false, true] {
                let value = encode_value(fork, blinded, b"block");
                assert_eq!(decode_value(&value), Some((fork, blinded, &b"block"[..])));
            }
        }
        assert_eq!(decode_value(&[]), None);
        assert_eq!(decode_value(&[5]), None);
        assert_eq!(decode_value(&[5, 2, 0]), None);
        assert_eq!(decode_value(&[200, 0, 0]), None);
    }
}

//! Blocks: RANDAO reveals first, then agreement on one block, then its signature.
//!
//! Whoever leads has its beacon node make a block. What is agreed on is the block without its blobs, full or blinded;
//! a full block can be published only by a node that has its blobs, so after the decision its maker sends them to the
//! others, and the block survives its maker. Who leads the next round has its beacon node make a block meanwhile: so a node
//! that is slow with it costs a round once, and not each round anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{combine::Combined, wire::Message};
use conclave_beacon::chain::spec::Due;
use conclave_consensus::{
    Instance, Role, Signatures, Verdict,
    messages::{LAST_ROUND, Proposal, value_id},
};
use conclave_crypto::hash::Hash;
use conclave_eth::chain::fork::Fork;
use conclave_eth::{
    chain::block::Unfit,
    duty::{Duty, Kind, Purpose},
};

use super::{
    Core, Effect, Report, Submission,
    effects::ToCheck,
    schedule::Proposer,
    terms::{Ancestor, Passed, Summary, Terms, may_pass_over},
};

/// The most blocks that are looked at for one of ours: what it may be built on.
pub const MAX_ANCESTORS: usize = 32;

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

/// What our beacon nodes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    /// The first round in which it may be proposed.
    round: u8,
    /// Our head at that time.
    head: Option<Hash>,
}

/// What a block of ours is held against, by the core and while our beacon nodes are asked for one: so that a node whose block cannot
/// be signed does not keep another one from being asked.
#[derive(Debug, Clone)]
pub struct Measure {
    /// What it must say.
    pub terms: Terms,
    /// What our beacon nodes told of blocks on which it may be built, by root.
    pub ancestors: BTreeMap<Hash, Ancestor>,
}

impl Measure {
    /// Why a block can never be right; `None` if it may be, as far as one can tell now.
    pub fn refuse(&self, block: &Summary) -> Option<Unfit> {
        let parent = || self.ancestors.get(&block.header.parent_root)?.refuse_child(block);
        self.terms.refuse(block).or_else(parent)
    }

    /// Why a block of our own beacon nodes is not proposed.
    pub fn refuse_own(&self, block: &Summary) -> Option<Unfit> {
        self.terms.refuse_own(block).or_else(|| self.refuse(block))
    }
}

/// What is known of a block on which others are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// Our beacon nodes are being asked.
    Asked,
    /// They did not have it.
    Unknown,
    /// They have it.
    Known(Ancestor),
}

/// The block of a slot while it is under way.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The round that this operator leads and has not proposed anything in.
    leads: Option<u8>,
    /// The last round for which a block was prepared, or proposed.
    prepared: Option<u8>,
    /// The round for which our beacon nodes are to make one, once the RANDAO reveal is there.
    wanted: Option<u8>,
    /// What they are asked for; none if they have answered.
    asked: Option<Asked>,
    /// The round whose proposals were judged last.
    round: u8,
    /// Blocks that were looked at, by root.
    ancestors: BTreeMap<Hash, Lookup>,
    /// What was decoded, by value id; `None` is no block.
    known: BTreeMap<Hash, Option<Summary>>,
    /// The newest one that our beacon node made.
    made: Option<Made>,
    /// Our head when it was asked for.
    made_on: Option<Hash>,
    /// What we have proposed, by value id, with the blobs that nobody else has: a block of another question must not take their place.
    offered: BTreeMap<Hash, Made>,
    /// What others sent for publishing: by sender, the root that they named and the bytes.
    contents: BTreeMap<u16, (Hash, Arc<[u8]>)>,
    /// What was decided: id and value.
    decided: Option<(Hash, Arc<[u8]>)>,
    /// Whose blobs the beacon nodes were given it with: operators, or this one for a block that needs none.
    published: BTreeSet<u16>,
}

#[cfg(test)]
impl Block {
    /// How many of everything is kept, and the bytes of blocks and blobs.
    pub(super) fn size(&self) -> (usize, usize) {
        let own = self.made.iter().chain(self.offered.values());
        let made: usize = own
            .map(|made| made.value.len() + made.contents.as_ref().map_or(0, |bytes| bytes.len()))
            .sum();
        let contents: usize = self.contents.values().map(|(_, bytes)| bytes.len()).sum();
        let decided = self.decided.as_ref().map_or(0, |(_, value)| value.len());
        let count = self.known.len() + self.contents.len() + self.ancestors.len();
        (count, made + contents + decided)
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
        self.duties_changed(epoch, Kind::Block);
    }

    /// Makes the RANDAO reveal of a slot.
    pub(super) fn sign_randao(&mut self, slot: u64) {
        let root = self.chain.randao_signing_root(self.time.epoch_of(slot));
        if let (Some(proposer), Ok(root)) = (self.proposer_of(slot), root) {
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
        let wanted = self
            .slots
            .get_mut(&slot)
            .and_then(|work| work.block.wanted.take());
        if let Some(round) = wanted {
            self.ask_block(slot, round);
        }
        self.judge_held(duty(slot));
    }

    fn head_root(&self) -> Option<Hash> {
        self.newest_block.map(|(_, root)| root)
    }

    /// This operator leads.
    pub(super) fn propose_block(&mut self, slot: u64, round: u8) {
        let head = self.head_root();
        let block = &mut self.slots.entry(slot).or_default().block;
        block.leads = Some(round);
        block.prepared = block.prepared.max(Some(round));
        if block.made.is_some() && block.made_on == head {
            self.offer(slot);
        } else if block.asked.is_some_and(|asked| asked.head == head) {
            self.note_asked(slot, Kind::Block);
        } else {
            self.ask_block(slot, round);
        }
    }

    /// Who leads the next round has a block made while this one goes on. And what could not be judged before a round is
    /// looked at again in it.
    pub(super) fn prepare_block(&mut self) {
        let slot = self.slot_now();
        let Some(instance) = self.agreements.get(&duty(slot)) else {
            return;
        };
        let (round, head) = (instance.round(), self.head_root());
        let next = round.saturating_add(1);
        let leads = self.quorum.leader(duty(slot), next) == self.me;
        let votes = self.role(slot) == Role::Votes;
        let Some(work) = self.slots.get_mut(&slot) else {
            return;
        };
        let block = &mut work.block;
        if !work.begun.contains(&Kind::Block) || block.decided.is_some() {
            return;
        }
        let entered = block.round < round;
        block.round = block.round.max(round);
        let prepares = votes && leads && next <= LAST_ROUND && block.prepared < Some(next);
        if prepares {
            block.prepared = Some(next);
            let fresh = block.made.is_some() && block.made_on == head;
            let asked = block.asked.is_some_and(|asked| asked.head == head);
            if !fresh && !asked {
                self.ask_block(slot, next);
            }
        }
        if entered {
            self.look_again(slot);
        }
    }

    fn ask_block(&mut self, slot: u64, round: u8) {
        let head = self.head_root();
        let (randao, measure) = (self.randao(slot), self.measure(slot));
        let block = &mut self.slots.entry(slot).or_default().block;
        let (Some(randao), Some(measure)) = (randao, measure) else {
            block.wanted = Some(round);
            return;
        };
        // An answer says which round it is for, so there is one question for a round. On the head of that time a block is as good as
        // any other's: later rounds build on the parent of a head too.
        if block.asked.is_some_and(|asked| asked.round == round) {
            return;
        }
        block.asked = Some(Asked { round, head });
        if block.leads.is_some() {
            self.note_asked(slot, Kind::Block);
        }
        self.effects.push(Effect::AskBlock {
            slot,
            round,
            randao,
            measure,
        });
    }

    /// Proposes what our beacon nodes have made, if this operator leads.
    fn offer(&mut self, slot: u64) {
        let Some(work) = self.slots.get_mut(&slot) else {
            return;
        };
        let block = &mut work.block;
        if let Some(made) = &block.made
            && let Some(round) = block.leads.take()
        {
            let value = made.value.clone();
            block.offered.insert(value_id(&value), made.clone());
            self.note_answered(duty(slot));
            self.propose(duty(slot), round, value);
        }
    }

    /// Our beacon node made a block.
    pub(super) fn produced(&mut self, slot: u64, round: u8, made: Made) {
        if !self.agreements.contains_key(&duty(slot)) {
            return;
        }
        // They were asked for one of which all this is right; more may be known since.
        let refused = self
            .measure(slot)
            .and_then(|measure| measure.refuse_own(&made.summary));
        if let Some(Unfit { why, advice }) = refused {
            self.report(Report::OwnBlock {
                slot,
                refused: true,
                what: format!("your beacon node made a block that {why}; another operator proposes"),
                advice: advice.trim_end_matches('.'),
            });
            // The next leader may have a better one: nobody needs to wait.
            return self.no_block(slot, round);
        }
        let block = &mut self.slots.entry(slot).or_default().block;
        let asked = block.asked.take_if(|asked| asked.round == round);
        // An answer to an older question is of an older head: of use only if there is no other.
        if asked.is_none() && block.made.is_some() {
            return;
        }
        block.made_on = asked.and_then(|asked| asked.head);
        block.made = Some(made);
        // Unless a newer one is under way.
        if block.asked.is_none() {
            self.offer(slot);
        }
    }

    /// Our beacon nodes have no block for us.
    pub(super) fn no_block(&mut self, slot: u64, round: u8) {
        let Some(work) = self.slots.get_mut(&slot) else {
            return;
        };
        let block = &mut work.block;
        block.asked.take_if(|asked| asked.round == round);
        if block.asked.is_some() {
            return;
        }
        // An older one is better than none.
        if block.made.is_some() {
            return self.offer(slot);
        }
        if let Some(round) = block.leads.take()
            && let Some(instance) = self.agreements.get_mut(&duty(slot))
        {
            let effects = instance.pass(self.now, round);
            self.agreed(duty(slot), effects);
        }
    }

    /// What the block of a slot must say; `None` if no validator of ours proposes in it.
    fn terms(&self, slot: u64) -> Option<Terms> {
        let proposer = self.proposer_of(slot)?;
        let place = usize::try_from(proposer.validator).ok()?;
        let fork = self.chain.spec.signable_fork_at(self.time.epoch_of(slot));
        Some(Terms {
            slot,
            proposer_index: proposer.index,
            fork: fork.ok().map(|fork| fork.fork),
            timestamp: self.time.start_of(slot) / 1000,
            fee_recipient: self.group.validators.get(place)?.fee_recipient,
            randao: self.randao(slot),
            builder: self.builder,
        })
    }

    /// What the block of a slot is held against; `None` if no validator of ours proposes in it.
    fn measure(&self, slot: u64) -> Option<Measure> {
        let lookups = self.slots.get(&slot).map(|work| work.block.ancestors.iter());
        let known = lookups
            .into_iter()
            .flatten()
            .filter_map(|(root, lookup)| match lookup {
                Lookup::Known(ancestor) => Some((*root, *ancestor)),
                Lookup::Asked | Lookup::Unknown => None,
            });
        Some(Measure {
            terms: self.terms(slot)?,
            ancestors: known.collect(),
        })
    }

    /// Why a block can never be right; `None` if it may be, as far as one can tell now.
    fn never(&self, slot: u64, block: &Summary) -> Option<Unfit> {
        self.measure(slot)?.refuse(block)
    }

    /// What our beacon nodes know of a block on which one of this slot may be built; they are asked if it is not known yet.
    fn ancestor(&mut self, slot: u64, root: Hash) -> Lookup {
        let ancestors = &mut self.slots.entry(slot).or_default().block.ancestors;
        match ancestors.get(&root) {
            Some(known) => *known,
            None if ancestors.len() < MAX_ANCESTORS => {
                ancestors.insert(root, Lookup::Asked);
                self.effects.push(Effect::AskAncestor { slot, root });
                Lookup::Asked
            }
            None => Lookup::Unknown,
        }
    }

    /// The answer of our beacon nodes about a block.
    pub(super) fn ancestor_found(&mut self, slot: u64, root: Hash, ancestor: Option<Ancestor>) {
        let known = self
            .slots
            .get_mut(&slot)
            .and_then(|work| work.block.ancestors.get_mut(&root));
        if let Some(known) = known {
            *known = ancestor.map_or(Lookup::Unknown, Lookup::Known);
            self.judge_held(duty(slot));
        }
    }

    /// Our head has changed, or a slot of ours begins: what is likely to be built on is looked at before somebody proposes it.
    pub(super) fn look_at_head(&mut self, slot: u64) {
        if self.proposer_of(slot).is_some()
            && let Some(head) = self.head_root()
        {
            self.ancestor(slot, head);
            self.look_again(slot);
        }
    }

    /// Judges again what is held, and asks again for blocks that our beacon nodes did not have.
    fn look_again(&mut self, slot: u64) {
        if let Some(work) = self.slots.get_mut(&slot) {
            work.block.ancestors.retain(|_, known| *known != Lookup::Unknown);
        }
        self.judge_held(duty(slot));
    }

    /// Whether a block of this slot may be built on this one. In the first round on our head, or on its parent if the head came
    /// late; in later rounds, for operators differ, on whatever is no older than our head's parent.
    fn may_build_on(&mut self, slot: u64, round: u8, root: Hash, parent: Lookup) -> bool {
        // A head that is not before the slot says nothing of what was: then our clock is behind, or the slot has its block.
        let Some((_, head)) = self.newest_block.filter(|(of, _)| *of < slot) else {
            return round > 0 && matches!(parent, Lookup::Known(parent) if parent.slot < slot);
        };
        if head == root {
            return true;
        }
        let Lookup::Known(parent) = parent else {
            return false;
        };
        if parent.slot >= slot {
            return false;
        }
        let of_head = match self.ancestor(slot, head) {
            Lookup::Known(of_head) => of_head,
            Lookup::Asked => return false,
            // Then it tells less than it should, and what is older cannot be told from what is newer.
            Lookup::Unknown => return round > 0,
        };
        if of_head.parent_root == root {
            return round > 0 || self.passes_over(slot, (head, of_head), parent.slot);
        }
        if round == 0 {
            return false;
        }
        match self.ancestor(slot, of_head.parent_root) {
            Lookup::Known(before) => parent.slot >= before.slot,
            Lookup::Asked => false,
            Lookup::Unknown => true,
        }
    }

    /// Whether a beacon node may leave our head behind in this slot.
    fn passes_over(&mut self, slot: u64, (head, of_head): (Hash, Ancestor), parent_slot: u64) -> bool {
        let Some(fork) = self.terms(slot).and_then(|terms| terms.fork) else {
            return false;
        };
        let due = self.chain.due_ms(of_head.slot, Due::Attestation);
        // Others may have had it a little later than this operator.
        let due = due.saturating_sub(self.time.slot_ms / 12);
        let passed = Passed {
            slot: of_head.slot,
            parent_slot,
            late: self.heard.get(&head).is_some_and(|heard| heard.came_at(due)),
            twice: self.made_twice(slot, head, of_head),
        };
        may_pass_over(slot, self.time.slots_per_epoch, fork, passed)
    }

    /// Whether the proposer of our head made another block in its slot, of which one of our beacon nodes told as its head.
    fn made_twice(&mut self, slot: u64, head: Hash, of_head: Ancestor) -> bool {
        let others = self
            .heard
            .iter()
            .filter(|(root, heard)| **root != head && heard.slot == of_head.slot);
        let others: Vec<Hash> = others.map(|(root, _)| *root).collect();
        let is_second = |other: Lookup| {
            matches!(other, Lookup::Known(other)
                if (other.slot, other.proposer_index) == (of_head.slot, of_head.proposer_index))
        };
        // All of them are asked for, if they are not known yet.
        let second = others.into_iter().map(|root| self.ancestor(slot, root));
        second.filter(|other| is_second(*other)).count() > 0
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
        let root = block.header.parent_root;
        let parent = self.ancestor(slot, root);
        // What it says is held against what its parent says, if our beacon nodes have that.
        if parent != Lookup::Asked && self.may_build_on(slot, proposal.round, root, parent) {
            self.give_verdict(duty(slot), proposal.round, &id, Verdict::Valid);
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
        if block.asked.take().is_some() {
            self.effects.push(Effect::StopMaking { slot });
        }
        if let Some(made) = block.offered.get(&id).cloned() {
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

    pub(super) fn sign_block(&mut self, slot: u64) {
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
        let led =
            round.is_some_and(|round| (0..=round).any(|round| self.quorum.leader(duty(slot), round) == from));
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
        let own = work.block.offered.get(&value_id(value));
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

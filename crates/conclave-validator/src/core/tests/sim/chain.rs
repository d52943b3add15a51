//! The simulated chain: its blocks, who has which duty, and what beacon nodes say of it.

use std::sync::Arc;

use rand::RngExt as _;

use crate::core::{
    Event,
    head::Place,
    proposing::{Made, decode_value, encode_value},
    schedule::{Attester, Proposer, SyncMember},
    terms::{Ancestor, Payload, Summary},
};
use conclave_crypto::hash::{Hash, sha256};
use conclave_eth::chain::fork::Fork;
use conclave_eth::chain::types::{
    Attestation, AttestationData, BeaconBlockHeader, Bitlist, Bitvector, Checkpoint,
};

use super::Sim;

impl Sim {
    /// The chain reorganises: who attests when in this epoch and in the next one is drawn anew. Each beacon node notices
    /// in its own time.
    pub(crate) fn shuffle(&mut self) {
        let time = self.chain.time();
        let epoch = time.epoch_of(self.slot());
        for epoch in [epoch, epoch + 1] {
            let by = self.rng.random_range(0..time.slots_per_epoch);
            self.shuffles.insert(epoch, by);
        }
        for place in 0..self.nodes.len() {
            if self.nodes[place].core.is_some() {
                let after = self.rng.random_range(0..time.slot_ms);
                self.duties(place, after);
            }
        }
    }

    /// The chain reorganises: what was justified is so many epochs older than it would be.
    pub(crate) fn justify(&mut self, older: u64) {
        self.justified_earlier = older;
    }

    /// The slot of an epoch in which a validator attests.
    pub(super) fn attests_in(&self, validator: u32, epoch: u64) -> u64 {
        let time = self.chain.time();
        let moved = self.shuffles.get(&epoch).copied().unwrap_or(0);
        time.first_slot(epoch) + (u64::from(validator) * 7 + epoch * 3 + moved) % time.slots_per_epoch
    }

    /// Tells a node its duties for this epoch and the next, so many milliseconds later.
    pub(super) fn duties(&mut self, place: usize, after: u64) {
        let time = self.chain.time();
        let epoch = time.epoch_of(self.slot());
        for epoch in [epoch, epoch + 1] {
            let duties = (0..self.plan.validators)
                .map(|validator| {
                    let slot = self.attests_in(validator, epoch);
                    let attester = Attester {
                        validator,
                        index: 1000 + u64::from(validator),
                        committee: u64::from(validator) % 2,
                        committee_length: if self.plan.all_duties { 64 } else { 1 << 40 },
                        committees_at_slot: 2,
                    };
                    (slot, attester)
                })
                .collect();
            self.result(place, after, Event::Attesters { epoch, duties });
            let slots = time.first_slot(epoch)..time.first_slot(epoch + 1);
            let duties = slots.filter_map(|slot| Some((slot, self.proposer(slot)?)));
            let duties = duties.collect();
            self.result(place, after, Event::Proposers { epoch, duties });
            if !self.plan.all_duties {
                continue;
            }
            let members = vec![SyncMember {
                validator: 0,
                index: 1000,
                subcommittees: vec![1],
                places: vec![9],
            }];
            self.result(place, after, Event::SyncMembers { epoch, members });
        }
    }

    /// A process's beacon node says that nobody of ours attests; with `all`, that nobody has any duty.
    pub(crate) fn hide_duties(&mut self, place: usize, all: bool) {
        let epoch = self.chain.time().epoch_of(self.slot());
        for epoch in [epoch, epoch + 1] {
            let duties = Vec::new();
            self.result(place, 0, Event::Attesters { epoch, duties });
            if all {
                let (duties, members) = (Vec::new(), Vec::new());
                self.result(place, 0, Event::Proposers { epoch, duties });
                self.result(place, 0, Event::SyncMembers { epoch, members });
            }
        }
    }

    /// It says who has which duty.
    pub(crate) fn tell_duties(&mut self, place: usize) {
        self.duties(place, 0);
    }

    /// Who of ours proposes in a slot.
    pub(super) fn proposer(&self, slot: u64) -> Option<Proposer> {
        let validator = u32::try_from(slot / 2 % u64::from(self.plan.validators)).expect("few");
        // A head can only be left behind if there is a block right before it.
        let every = if self.plan.passes_over { 4 } else { 2 };
        (self.plan.proposals && slot % every == every - 1).then_some(Proposer {
            validator,
            index: 1000 + u64::from(validator),
        })
    }

    /// A block as a node's beacon node makes it: each makes another one.
    pub(super) fn make(&mut self, place: usize, slot: u64, randao: [u8; 96]) -> Option<Made> {
        // A late head may be left behind.
        let before = usize::from(self.plan.passes_over);
        let parent = self.nodes[place].has.range(..slot).nth_back(before).copied();
        let proposer = self.proposer(slot)?;
        let mut parent_root = self.root(place, parent.unwrap_or(0)).unwrap_or([1; 32]);
        if self.plan.lied_to.contains(&self.nodes[place].operator) && self.rng.random() {
            parent_root = self.rng.random();
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&slot.to_be_bytes());
        bytes.extend_from_slice(&proposer.index.to_be_bytes());
        bytes.extend_from_slice(&parent_root);
        bytes.extend_from_slice(&self.rng.random::<[u8; 8]>());
        bytes.extend_from_slice(&randao);
        let value = encode_value(Fork::Electra, false, &bytes);
        let summary = summary(&value)?;
        Some(Made {
            contents: Some(blobs_of(&value)),
            value,
            summary,
        })
    }

    /// The block of a slot, if it has one.
    pub(super) fn block(&mut self, slot: u64) -> Option<Hash> {
        if !self.blocks.contains_key(&slot) {
            // Our own ones do not come back.
            let ours = self.proposer(slot).is_some();
            let empty = ours || slot > 0 && self.rng.random_range(0..1000) < self.plan.empty;
            self.blocks.insert(
                slot,
                if empty {
                    [0; 32]
                } else {
                    sha256(&[b"block", &slot.to_be_bytes()])
                },
            );
        }
        self.blocks.get(&slot).copied().filter(|root| *root != [0; 32])
    }

    /// The root of a block as a node's beacon node follows the chain.
    pub(super) fn root(&self, place: usize, slot: u64) -> Option<Hash> {
        let root = self.blocks.get(&slot).copied().filter(|root| *root != [0; 32])?;
        let node = &self.nodes[place];
        let other_face = node.side == Some(1) && !self.plan.astray.is_empty();
        let astray = other_face || self.plan.astray.contains(&node.operator);
        Some(if astray { on_the_other_fork(slot) } else { root })
    }

    /// Where a block is that a node's beacon node has, of either fork.
    pub(super) fn knows(&self, place: usize, root: Hash) -> Option<Place> {
        let mut known = self.nodes[place].has.iter().copied();
        let slot = known.find(|slot| self.blocks[slot] == root || on_the_other_fork(*slot) == root)?;
        let before = self
            .blocks
            .range(..slot)
            .rev()
            .find(|(_, root)| **root != [0; 32]);
        let parent = before.map_or([1; 32], |(before, parent)| {
            if self.blocks[&slot] == root {
                *parent
            } else {
                on_the_other_fork(*before)
            }
        });
        Some(Place { slot, parent })
    }

    /// The newest block of a slot, or of one before it.
    pub(crate) fn newest(&self, slot: u64) -> Hash {
        let mut blocks = self.blocks.range(..=slot).rev().map(|(_, root)| *root);
        blocks.find(|root| *root != [0; 32]).unwrap_or([1; 32])
    }

    /// What a node's beacon node has of a block on which another one may be built.
    pub(super) fn ancestor(&self, place: usize, root: Hash) -> Option<Ancestor> {
        let Place { slot, parent } = self.knows(place, root)?;
        Some(Ancestor {
            slot,
            proposer_index: slot,
            parent_root: parent,
            payload: Some(Payload {
                block_hash: payload_of(&root),
                gas_limit: GAS_LIMIT,
            }),
        })
    }

    /// What the second beacon node of a node would have it attest to.
    pub(super) fn view_of_second(&mut self, place: usize, slot: u64) -> AttestationData {
        let operator = self.nodes[place].operator;
        let stale = self.plan.stale.remove(&operator);
        let data = self.view(place, slot);
        if stale {
            self.plan.stale.insert(operator);
        }
        data
    }

    /// What a node's beacon node would have it attest to.
    pub(super) fn view(&mut self, place: usize, slot: u64) -> AttestationData {
        let time = self.chain.time();
        let epoch = time.epoch_of(slot);
        let known = self.nodes[place].has.range(..=slot).next_back().copied();
        let head = self.root(place, known.unwrap_or(0)).unwrap_or([1; 32]);
        let older = u64::from(self.plan.stale.contains(&self.nodes[place].operator));
        let source = epoch.saturating_sub(1 + older + self.justified_earlier);
        let mut data = AttestationData {
            slot,
            index: 0,
            beacon_block_root: head,
            source: Checkpoint {
                epoch: source,
                root: sha256(&[b"checkpoint", &source.to_be_bytes()]),
            },
            target: Checkpoint {
                epoch,
                root: sha256(&[b"checkpoint", &epoch.to_be_bytes()]),
            },
        };
        if self.plan.real_targets {
            let first = time.first_slot(epoch);
            let newest = self.nodes[place].has.range(..=first).next_back().copied();
            data.target.root = self.root(place, newest.unwrap_or(0)).unwrap_or([1; 32]);
        }
        if self.plan.lied_to.contains(&self.nodes[place].operator) {
            match self.rng.random_range(0..6) {
                0 => data.beacon_block_root = self.rng.random(),
                1 => data.beacon_block_root = sha256(&[b"lie", &slot.to_be_bytes()]),
                2 => data.source.epoch = source.saturating_sub(self.rng.random_range(0..4)),
                3 => data.target.root = sha256(&[b"lie", &epoch.to_be_bytes()]),
                4 => data.source.epoch = epoch,
                _ => {}
            }
        }
        data
    }
}

/// When the simulated chain begins, in Unix seconds, and the length of its slots.
const GENESIS: u64 = 1_800_000_000;
const SLOT_SECONDS: u64 = 4;

/// The gas limit of all blocks.
const GAS_LIMIT: u64 = 30_000_000;

/// The hash of a block's execution payload.
fn payload_of(root: &Hash) -> Hash {
    sha256(&[b"payload", root])
}

/// The root of a slot's block for those who are astray.
fn on_the_other_fork(slot: u64) -> Hash {
    sha256(&[b"astray", &slot.to_be_bytes()])
}

/// What a simulated block says: slot, proposer, parent, something that makes it another one, RANDAO reveal.
pub(super) fn summary(value: &[u8]) -> Option<Summary> {
    let (fork, blinded, bytes) = decode_value(value)?;
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (slot, parent_root) = (number(0)?, bytes.get(16..48)?.try_into().ok()?);
    Some(Summary {
        fork,
        blinded,
        header: BeaconBlockHeader {
            slot,
            proposer_index: number(8)?,
            parent_root,
            state_root: [0; 32],
            body_root: sha256(&[bytes]),
        },
        randao: bytes.get(56..)?.try_into().ok()?,
        fee_recipient: [0; 20],
        timestamp: GENESIS + slot.checked_mul(SLOT_SECONDS)?,
        gas_limit: GAS_LIMIT,
        parent_hash: payload_of(&parent_root),
        commitments: 1,
    })
}

/// A block with its blobs: those of another one do not go with it.
pub(super) fn blobs_of(value: &[u8]) -> Arc<[u8]> {
    Arc::from(sha256(&[b"blobs", value]))
}

/// An aggregate of one attestation.
pub(super) fn aggregate(data: AttestationData, committee: u64) -> Attestation {
    let committee = usize::try_from(committee).expect("few");
    let mut votes = [false; 64];
    votes[0] = true;
    Attestation {
        aggregation_bits: Bitlist::new(&votes),
        data,
        signature: [0; 96],
        committee_bits: Bitvector::with_ones(4, &[committee]),
    }
}

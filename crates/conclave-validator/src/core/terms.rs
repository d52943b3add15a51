//! What a block of ours must say, and what it may be built on.
//!
//! Whoever leads has its beacon node make the block, and may lie. Seen from here, of a block can be checked what follows from
//! the duty ([`Terms`]) and from its parent ([`Ancestor`]), as far as our own beacon nodes have that. What only an execution
//! client can tell (whether the state root is right, what its transactions do) nobody can check through the Beacon API.

use conclave_crypto::hash::Hash;
use conclave_eth::chain::fork::Fork;
use conclave_eth::chain::{
    block::{RESTART, Unfit},
    types::BeaconBlockHeader,
};

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
    /// When its execution payload is of, in Unix seconds.
    pub timestamp: u64,
    /// Gas limit of the execution payload.
    pub gas_limit: u64,
    /// The execution block that the payload is built on, 32 bytes.
    pub parent_hash: Hash,
    /// How many blobs belong to it.
    pub commitments: usize,
}

/// What a block of ours must say, whoever made it: what says something else can never be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The slot.
    pub slot: u64,
    /// The proposer's index on the chain.
    pub proposer_index: u64,
    /// The fork of the slot; none if nothing can be signed in it.
    pub fork: Option<Fork>,
    /// When the slot begins, in Unix seconds: the time of the execution payload.
    pub timestamp: u64,
    /// Who gets the fees of a full block. What a builder pays to whom, a blinded one does not show.
    pub fee_recipient: [u8; 20],
    /// The group's RANDAO reveal, once it is made.
    pub randao: Option<[u8; 96]>,
    /// Whether blocks of external builders are taken from our own beacon nodes.
    pub builder: bool,
}

impl Terms {
    /// Why a block can never be right; `None` if it may be, as far as one can tell without its parent.
    pub fn refuse(&self, block: &Summary) -> Option<Unfit> {
        let unfit = |why, advice| Some(Unfit { why, advice });
        let Some(fork) = self.fork else {
            return unfit(
                "is of rules that this version of conclave does not know (a fork that it cannot sign for)",
                "Update conclave.",
            );
        };
        if block.header.slot != self.slot {
            unfit(
                "is not the one that was asked for (it is of another slot)",
                RESTART,
            )
        } else if block.header.proposer_index != self.proposer_index {
            unfit(
                "is not the one that was asked for (it has another proposer)",
                RESTART,
            )
        } else if block.fork != fork {
            unfit("does not fit the chain (it is of another fork)", RESTART)
        } else if !block.blinded && block.fee_recipient != self.fee_recipient {
            unfit(
                "pays its fees to somebody else (its fee recipient is not the group's)",
                "Look at the beacon node's setting of the fee recipient.",
            )
        } else if self.randao.is_some_and(|randao| randao != block.randao) {
            unfit(
                "is not the one that was asked for (its RANDAO reveal is not the group's)",
                RESTART,
            )
        } else if block.timestamp != self.timestamp {
            unfit(
                "does not fit the chain (its execution payload is of another time)",
                RESTART,
            )
        } else {
            None
        }
    }

    /// Why a block of our own beacon nodes is not proposed.
    pub fn refuse_own(&self, block: &Summary) -> Option<Unfit> {
        let unwanted = (block.blinded && !self.builder).then_some(Unfit {
            why: "is of an external builder, and this node takes none of these without --builder",
            advice: "Turn external builders off in the beacon node, or start with --builder if the group agreed to.",
        });
        self.refuse(block).or(unwanted)
    }
}

/// A block on which others are built, as our own beacon nodes have it. Its root was computed from what they sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    /// Its slot.
    pub slot: u64,
    /// The index of the validator that made it.
    pub proposer_index: u64,
    /// The root of the block before it, 32 bytes.
    pub parent_root: Hash,
    /// What is known of its execution payload; none if our beacon nodes tell only its header, or if it has none yet.
    pub payload: Option<Payload>,
}

/// What the next execution payload depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Its block hash, 32 bytes.
    pub block_hash: Hash,
    /// Its gas limit.
    pub gas_limit: u64,
}

impl Payload {
    /// What a block says of its execution payload; none if it has none: the block of genesis has one of zeros, and those after it
    /// are built on what the execution clients began with, which no beacon node tells.
    pub fn of(block_hash: Hash, gas_limit: u64) -> Option<Self> {
        (block_hash != [0; 32]).then_some(Self {
            block_hash,
            gas_limit,
        })
    }
}

impl Ancestor {
    /// Why no block that names this one as its parent can say what this one says; `None` if it can.
    pub fn refuse_child(&self, block: &Summary) -> Option<Unfit> {
        let payload = self.payload?;
        let why = if block.parent_hash != payload.block_hash {
            "does not fit the chain (its execution payload is not built on that of its parent)"
        } else if !gas_limit_may_follow(payload.gas_limit, block.gas_limit) {
            "does not fit the chain (its gas limit is further from its parent's than one block may go)"
        } else {
            return None;
        };
        let advice = RESTART;
        Some(Unfit { why, advice })
    }
}

/// Whether the chain lets a gas limit follow another one: by less than one part in 1024, and not below 5000 (the execution
/// specification's `check_gas_limit`). Towards which limit a node goes is a setting of each execution client and changes
/// over the years; that of the lock is for builders.
const fn gas_limit_may_follow(parent: u64, limit: u64) -> bool {
    limit >= 5000 && limit.abs_diff(parent) < parent / 1024
}

/// A head, seen from a slot after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Its slot.
    pub slot: u64,
    /// The slot of its parent.
    pub parent_slot: u64,
    /// Whether it came so late that attestations of its slot may be for its parent.
    pub late: bool,
    /// Whether its proposer made two blocks in its slot.
    pub twice: bool,
}

/// Whether a beacon node that follows the specification may build on the head's parent in a slot of this fork, to leave the head
/// behind. From here only a part of its reasons is seen (consensus-specs, fork choice, `get_proposer_head`): how many votes head
/// and parent have, and how far the chain is from being final, is not. Before Fulu the first slot of an epoch was excepted
/// (`is_shuffling_stable`); since then proposers are known an epoch ahead, and it is not.
pub fn may_pass_over(slot: u64, slots_per_epoch: u64, fork: Fork, head: Passed) -> bool {
    let right_before = head.slot.saturating_add(1) == slot;
    let single = head.parent_slot.saturating_add(1) == head.slot;
    let stable = fork >= Fork::Fulu || !slot.is_multiple_of(slots_per_epoch);
    right_before && (head.late && single && stable || head.twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gas_limit_goes_by_less_than_one_part_in_1024() {
        let parent = 30_000_000;
        let step = parent / 1024;
        for (limit, fits) in [
            (parent, true),
            (parent + step - 1, true),
            (parent - step + 1, true),
            (parent + step, false),
            (parent - step, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(gas_limit_may_follow(parent, limit), fits, "{limit}");
        }
        // What the chain never goes below.
        assert!(gas_limit_may_follow(5002, 5000) && !gas_limit_may_follow(5002, 4999));
        assert!(!gas_limit_may_follow(0, 5000) && !gas_limit_may_follow(0, 0));
    }

    #[test]
    fn a_head_is_passed_over_as_the_specification_of_the_slots_fork_says() {
        let late = Passed {
            slot: 9,
            parent_slot: 8,
            late: true,
            twice: false,
        };
        let passed = |slot, fork, head| may_pass_over(slot, 8, fork, head);
        for fork in [Fork::Electra, Fork::Fulu] {
            assert!(passed(10, fork, late));
            assert!(!passed(10, fork, Passed { late: false, ..late }));
            // A slot without a block after the head, or before it.
            assert!(!passed(11, fork, late));
            let after_gap = Passed {
                parent_slot: 7,
                ..late
            };
            assert!(!passed(10, fork, after_gap));
            // Where an epoch begins, only since proposers are known beforehand.
            let last = Passed {
                slot: 15,
                parent_slot: 14,
                ..late
            };
            assert_eq!(passed(16, fork, last), fork == Fork::Fulu);
            // Whose proposer made two blocks: however early, wherever it is, but right before the slot.
            for head in [late, after_gap, last] {
                let twice = Passed {
                    late: false,
                    twice: true,
                    ..head
                };
                assert!(passed(twice.slot + 1, fork, twice));
                assert!(!passed(twice.slot + 2, fork, twice));
            }
        }
    }
}

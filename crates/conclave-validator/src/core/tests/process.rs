//! One process in one slot, and three others who say to it whatever a test has them say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    combine::{Combined, Outcome, Place},
    core::{
        Core, Effect, Event, History, Settings, Submission,
        schedule::Proposer,
        terms::{Ancestor, Summary},
    },
    memory::Proofs,
    wire::{Abilities, Hello, Message, PROTOCOL},
};
use conclave_beacon::chain::spec::Due;
use conclave_consensus::{
    Instance, Signatures as _,
    messages::{self, Body, Certificate, Proposal, Step, Vote, proposal_digest, value_id, vote_digest},
};
use conclave_crypto::hash::Hash;
use conclave_eth::chain::fork::Fork;
use conclave_eth::{
    chain::types::BeaconBlockHeader,
    duty::{Duty, Kind, Purpose},
};
use conclave_slashing::Start;

use super::sim::{LOCK, Plan, Sim, cheap::Cheap};

/// The operator of the process.
pub(super) const ME: u16 = 2;
/// The group's RANDAO reveal.
pub(super) const RANDAO: [u8; 96] = [4; 96];
/// The gas limit of a block that is as it must be, and the execution block before it.
pub(super) const GAS_LIMIT: u64 = 30_000_000;
pub(super) const PARENT_HASH: Hash = [12; 32];
/// Whose votes make a certificate.
const OTHERS: [u16; 3] = [1, 3, 4];

/// A process of operator 2 of 4, of whom 3 sign, in a slot in which validator 0 proposes. It has just begun, and the others
/// have greeted.
pub(super) struct Process {
    pub(super) core: Core<Cheap>,
    pub(super) now: u64,
    pub(super) slot: u64,
    pub(super) header: BeaconBlockHeader,
    /// What its beacon nodes tell of blocks on which others are built.
    pub(super) ancestors: BTreeMap<Hash, Ancestor>,
}

/// What the process thinks of a proposal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It votes for it.
    Valid,
    /// It votes for nothing, at once.
    Invalid,
    /// It does not vote before it must.
    Held,
}

impl Process {
    /// In a slot, with or without `--builder`.
    pub(super) fn at(slot: u64, builder: bool) -> Self {
        let mut plan = Plan::new(4, 3);
        plan.validators = 8;
        let sim = Sim::new(5, plan);
        let group = sim.nodes[0].core.as_ref().unwrap().group.clone();
        let chain = sim.chain.clone();
        let now = chain.time().start_of(slot);
        let start = Start {
            first_slot: 0,
            first_target: 0,
        };
        let settings = Settings {
            group,
            chain,
            me: ME,
            software: String::new(),
            dry_run: false,
            builder,
            history: History::Whole,
            excused: BTreeSet::new(),
        };
        let memory = BTreeMap::new();
        let mut core = Core::new(settings, Cheap(ME), [1; 16], memory, start, now).unwrap();
        let proposer = Proposer {
            validator: 0,
            index: 1000,
        };
        let duties = vec![(slot, proposer)];
        let epoch = slot / 8;
        core.handle(now, Event::Proposers { epoch, duties });
        let mut this = Self {
            core,
            now,
            slot,
            header: BeaconBlockHeader {
                slot,
                proposer_index: 1000,
                parent_root: [1; 32],
                state_root: [2; 32],
                body_root: [3; 32],
            },
            ancestors: BTreeMap::new(),
        };
        for operator in OTHERS {
            this.handle(Event::Connected(operator));
            this.greet(operator);
        }
        this
    }

    /// An operator greets, and remembers nothing of this one.
    pub(super) fn greet(&mut self, operator: u16) -> Vec<Effect> {
        let hello = Hello {
            protocol: PROTOCOL,
            lock_hash: LOCK,
            instance: [u8::try_from(operator).unwrap(); 16],
            clock_ms: self.now,
            proofs: Proofs::default(),
            watches: false,
            software: String::new(),
            abilities: Abilities::default(),
        };
        self.say(operator, Message::Hello(hello))
    }

    /// In the second round of the agreement on the block of slot 9, which operator 1 leads; operator 4 led the first.
    pub(super) fn new(builder: bool) -> Self {
        let mut this = Self::at(9, builder);
        this.enter(Kind::Block, 1);
        this
    }

    pub(super) fn duty(&self, kind: Kind) -> Duty {
        let slot = self.slot;
        Duty { slot, kind }
    }

    fn agreement(&self, kind: Kind) -> &Instance<Cheap> {
        &self.core.agreements[&self.duty(kind)]
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = self.core.handle(self.now, event);
        let asked: Vec<(u64, Hash)> = effects.iter().filter_map(asked_ancestor).collect();
        for (slot, root) in asked {
            let ancestor = self.ancestors.get(&root).copied();
            effects.extend(self.handle(Event::Ancestor { slot, root, ancestor }));
        }
        effects
    }

    pub(super) fn say(&mut self, from: u16, message: Message) -> Vec<Effect> {
        self.handle(Event::Message { from, message })
    }

    fn agree(&mut self, from: u16, kind: Kind, body: Body) -> Vec<Effect> {
        let duty = self.duty(kind);
        self.say(from, Message::Agreement(messages::Message { duty, body }))
    }

    /// Lets time pass to when something is due.
    pub(super) fn wait_for(&mut self, due: Due) -> Vec<Effect> {
        self.now = self.core.chain.due_ms(self.slot, due);
        self.handle(Event::Tick)
    }

    /// Two others vote for nothing in a round, and all go there.
    pub(super) fn enter(&mut self, kind: Kind, round: u8) -> Vec<Effect> {
        let mut effects = Vec::new();
        for operator in [1, 3] {
            let step = Step::Prevote;
            let digest = vote_digest(&LOCK, self.duty(kind), operator, round, step, None);
            let vote = Vote {
                operator,
                round,
                step,
                choice: None,
                signature: Cheap(operator).sign(&digest),
            };
            effects.extend(self.agree(operator, kind, Body::Vote(vote)));
        }
        assert_eq!(self.agreement(kind).round(), round);
        effects
    }

    /// The leader of a round, another operator, proposes something. The value's id, and what the process does.
    pub(super) fn propose(&mut self, kind: Kind, round: u8, value: &[u8]) -> (Hash, Vec<Effect>) {
        let (duty, id) = (self.duty(kind), value_id(value));
        let leader = self.core.quorum.leader(duty, round);
        assert_ne!(leader, ME);
        let digest = proposal_digest(&LOCK, duty, leader, round, None, &id);
        let proposal = Proposal {
            operator: leader,
            round,
            polka: None,
            value: value.into(),
            signature: Cheap(leader).sign(&digest),
        };
        let effects = self.agree(leader, kind, Body::Proposal(proposal));
        (id, effects)
    }

    /// All others have decided on a value.
    pub(super) fn certify(&mut self, kind: Kind, round: u8, id: Hash) -> Vec<Effect> {
        let (duty, step) = (self.duty(kind), Step::Precommit);
        let vote = |operator: u16| {
            let digest = vote_digest(&LOCK, duty, operator, round, step, Some(&id));
            (operator, Cheap(operator).sign(&digest))
        };
        let certificate = Certificate {
            round,
            step,
            value_id: id,
            signatures: OTHERS.map(vote).into(),
        };
        self.agree(1, kind, Body::Certificate(certificate))
    }

    /// What the process thinks of a proposal, as its vote among these effects shows.
    pub(super) fn seen(&self, kind: Kind, round: u8, id: Hash, effects: &[Effect]) -> Seen {
        let held = self.agreement(kind).held().any(|held| held.value_id() == id);
        match prevotes(kind, round, effects)[..] {
            [None] if !held => Seen::Invalid,
            [Some(choice)] if choice == id && !held => Seen::Valid,
            [] if held => Seen::Held,
            ref other => panic!("{other:?} {held}"),
        }
    }

    /// The group made a signature.
    pub(super) fn made(
        &mut self,
        purpose: Purpose,
        place: Place,
        root: Hash,
        signature: [u8; 96],
    ) -> Vec<Effect> {
        let made = Combined {
            place,
            root,
            signature,
            signers: vec![1, 2, 3],
        };
        let outcome = Outcome {
            places: vec![place],
            signatures: vec![made],
            wrong: Vec::new(),
        };
        let slot = self.slot;
        self.handle(Event::Combined {
            purpose,
            slot,
            outcome,
        })
    }

    /// A block that is as it must be, with so many blobs.
    pub(super) fn summary(&self, commitments: usize) -> Summary {
        Summary {
            fork: Fork::Electra,
            blinded: false,
            header: self.header,
            randao: RANDAO,
            fee_recipient: [0; 20],
            timestamp: self.core.time.start_of(self.slot) / 1000,
            gas_limit: GAS_LIMIT,
            parent_hash: PARENT_HASH,
            commitments,
        }
    }

    /// A block with so many blobs is decided and signed. What the beacon nodes are given.
    pub(super) fn decide(&mut self, commitments: usize) -> Vec<Option<Vec<u8>>> {
        let (id, slot, block) = ([8; 32], self.slot, self.summary(commitments));
        self.core.decided_block(slot, id, b"block"[..].into());
        let block = Some(block);
        let mut effects = self.handle(Event::Decoded { slot, id, block });
        let root = self.core.chain.block_signing_root(&self.header).unwrap();
        effects.extend(self.made(Purpose::Block, (0, 0), root, [5; 96]));
        published(&effects)
    }

    pub(super) fn contents(&mut self, from: u16, bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
        let message = Message::Contents {
            slot: self.slot,
            root: self.header.root(),
            bytes: Arc::from(bytes),
        };
        published(&self.say(from, message))
    }
}

/// Slot and root of a block that the beacon nodes are asked for, because another one may be built on it.
pub(super) fn asked_ancestor(effect: &Effect) -> Option<(u64, Hash)> {
    match effect {
        Effect::AskAncestor { slot, root } => Some((*slot, *root)),
        _ => None,
    }
}

/// For what the process prevotes in a round.
pub(super) fn prevotes(kind: Kind, round: u8, effects: &[Effect]) -> Vec<Option<Hash>> {
    let votes = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(Message::Agreement(messages::Message {
            duty,
            body: Body::Vote(vote),
        })) if (duty.kind, vote.operator, vote.round, vote.step) == (kind, ME, round, Step::Prevote) => {
            Some(vote.choice)
        }
        _ => None,
    });
    votes.collect()
}

/// Blocks for the beacon nodes: what comes with them.
fn published(effects: &[Effect]) -> Vec<Option<Vec<u8>>> {
    let blocks = effects.iter().filter_map(|effect| match effect {
        Effect::Submit(Submission::Block { contents, .. }) => {
            Some(contents.as_ref().map(|bytes| bytes.to_vec()))
        }
        _ => None,
    });
    blocks.collect()
}

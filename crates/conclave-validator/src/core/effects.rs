//! What a core is told, and what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    alive::Instance,
    combine::{Job, Outcome, Place},
    partials::{Item, Proof},
    wire::Message,
};
use conclave_beacon::chain::spec::Chain;
use conclave_consensus::{Misbehaviour, Verdict};
use conclave_crypto::hash::Hash;
use conclave_eth::{
    chain::types::{
        Attestation, AttestationData, SignedAggregateAndProof, SignedContributionAndProof, SingleAttestation,
        SyncCommitteeContribution, SyncCommitteeMessage,
    },
    duty::{Duty, Purpose},
};
use conclave_slashing::{Progress, Record, Start};

use super::{
    head,
    proposing::{Made, Measure},
    schedule::{Attester, Proposer, SyncMember},
    terms::{Ancestor, Summary},
};

/// What happened.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one exists at a time, and it is handed over, not kept"
)]
pub enum Event {
    /// Time passed.
    Tick,
    /// Messages can be exchanged with this operator.
    Connected(u16),
    /// No longer.
    Disconnected(u16),
    /// An operator said something.
    Message {
        /// Who.
        from: u16,
        /// What.
        message: Message,
    },
    /// The answer to [`Effect::Compare`].
    Compared {
        /// Whose memory was compared.
        operator: u16,
        /// With what, as in [`Effect::Compare`].
        remembered: Progress,
        /// Whether it held something that the guard did not.
        newer: bool,
        /// As in [`Effect::Compare`].
        confirms: Option<Instance>,
    },
    /// This process did nothing for a while, by a clock that did not jump: what happened meanwhile it has not seen. Told before
    /// anything else is.
    StoodStill(Standstill),
    /// The clock jumped, or the process slept: this counts as a start.
    Restarted {
        /// A new number for this process.
        instance: Instance,
        /// From when on it signs.
        start: Start,
    },
    /// Another fork schedule of the beacon nodes counts, or other due times. Of its time and its sizes this says what was known
    /// before.
    Chain(Arc<Chain>),
    /// Who attests in an epoch: slot and duty.
    Attesters {
        /// The epoch.
        epoch: u64,
        /// Slot and duty of each validator of ours.
        duties: Vec<(u64, Attester)>,
    },
    /// Who proposes in an epoch.
    Proposers {
        /// The epoch.
        epoch: u64,
        /// Slot and duty of each validator of ours.
        duties: Vec<(u64, Proposer)>,
    },
    /// Who is in the sync committee of an epoch.
    SyncMembers {
        /// The epoch.
        epoch: u64,
        /// Each validator of ours that is.
        members: Vec<SyncMember>,
    },
    /// A beacon node of ours told that it has a new head, at this moment, whether or not it becomes ours.
    Heard {
        /// The slot of the block.
        slot: u64,
        /// Its root.
        root: Hash,
    },
    /// The slots of the heads that our beacon nodes showed last, by the nodes' names, whatever our clock says.
    Shown(BTreeMap<String, u64>),
    /// Our beacon nodes have a new head: of all that they told of, the one that is chosen
    /// ([`Nodes::head`](conclave_beacon::nodes::Nodes::head)).
    Head {
        /// The slot of the block.
        slot: u64,
        /// Its root.
        root: Hash,
    },
    /// The answer of the beacon node that was chosen to [`Effect::AskView`].
    View {
        /// The slot.
        slot: u64,
        /// Its view.
        data: AttestationData,
    },
    /// One answer to [`Effect::AskAllViews`], or to [`Effect::AskView`] of a node that was asked beside the chosen one.
    OtherView {
        /// The slot.
        slot: u64,
        /// A beacon node's view.
        data: AttestationData,
    },
    /// Our beacon nodes have no answer to [`Effect::AskView`] or [`Effect::AskBlock`].
    Unanswered {
        /// The agreement for which they were asked.
        duty: Duty,
        /// The round, if it was for one.
        round: Option<u8>,
    },
    /// The guard of a restored folder was raised: the answer to [`Effect::Raise`].
    Raised {
        /// The process that asked for it.
        instance: Instance,
    },
    /// The answer to [`Effect::LookUp`].
    Block {
        /// The slot for whose agreement it was asked.
        slot: u64,
        /// The block.
        root: Hash,
        /// Where it is, if a beacon node knows it.
        place: Option<head::Place>,
    },
    /// The answer to [`Effect::AskAncestor`].
    Ancestor {
        /// The slot for whose block it was asked.
        slot: u64,
        /// The block.
        root: Hash,
        /// What our beacon nodes have of it; `None` if nothing.
        ancestor: Option<Ancestor>,
    },
    /// The own share has signed.
    Signed(Signed),
    /// A job is done.
    Combined {
        /// What was combined.
        purpose: Purpose,
        /// Its slot.
        slot: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// The answer to [`Effect::AskBlock`].
    Produced {
        /// The slot.
        slot: u64,
        /// The round in which it is to be proposed.
        round: u8,
        /// The block.
        made: Made,
    },
    /// The answer to [`Effect::Check`] of a block.
    Decoded {
        /// The slot.
        slot: u64,
        /// The value's id.
        id: Hash,
        /// What the block says; `None` if it is none.
        block: Option<Summary>,
    },
    /// The answer to [`Effect::AskAggregates`]: at most one for each committee.
    Aggregates {
        /// The slot.
        slot: u64,
        /// The round in which they are to be proposed.
        round: u8,
        /// What our beacon node has.
        aggregates: Vec<Attestation>,
    },
    /// The answer to [`Effect::AskContributions`]: at most one for each subcommittee.
    Contributions {
        /// The slot.
        slot: u64,
        /// The round in which they are to be proposed.
        round: u8,
        /// What our beacon node has.
        contributions: Vec<SyncCommitteeContribution>,
    },
    /// The answer to [`Effect::Check`].
    Checked {
        /// The agreement.
        duty: Duty,
        /// The round of the proposal.
        round: u8,
        /// The value's id.
        id: Hash,
        /// What was found; `None` if that cannot be said yet.
        verdict: Option<Verdict>,
    },
}

/// What the own share has signed.
#[derive(Debug)]
pub struct Signed {
    /// What for.
    pub purpose: Purpose,
    /// The slot.
    pub slot: u64,
    /// Source and target epoch of an attestation, else 0.
    pub epochs: (u64, u64),
    /// The partial signatures; empty if nothing may be signed.
    pub items: Vec<Item>,
    /// The validators for which the slashing protection permits none, by their place in the lock.
    pub refused: Vec<u32>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Say something to one operator.
    Send {
        /// To whom.
        to: u16,
        /// What.
        message: Message,
    },
    /// Say something to everybody who is connected.
    Broadcast(Message),
    /// An operator cannot be talked to: tell people, and disconnect.
    Refuse {
        /// Who.
        operator: u16,
        /// Why, for people.
        why: String,
    },
    /// Ask the beacon nodes for their `AttestationData`; the first answer comes as
    /// [`Event::View`].
    AskView {
        /// For this slot.
        slot: u64,
    },
    /// Ask every beacon node for its `AttestationData`: what is proposed is not what the chosen one says. Each answer comes
    /// as [`Event::OtherView`].
    AskAllViews {
        /// For this slot.
        slot: u64,
    },
    /// Ask the beacon nodes where a block is; answered by [`Event::Block`].
    LookUp {
        /// For the agreement of this slot.
        slot: u64,
        /// The block.
        root: Hash,
    },
    /// Ask our beacon nodes for a block on which one of ours may be built; answered by [`Event::Ancestor`].
    AskAncestor {
        /// For the block of this slot.
        slot: u64,
        /// The root.
        root: Hash,
    },
    /// Ask our beacon node what its head is; answered by [`Event::Head`].
    AskHead,
    /// Have our beacon nodes make a block that this says nothing against; answered by [`Event::Produced`].
    AskBlock {
        /// The slot.
        slot: u64,
        /// The first round in which it may be proposed.
        round: u8,
        /// The group's RANDAO reveal.
        randao: [u8; 96],
        /// What it is held against.
        measure: Measure,
    },
    /// The block of a slot is decided: our beacon nodes need not make one any more, and how they fare with it is nothing that
    /// anybody needs to know.
    StopMaking {
        /// The slot.
        slot: u64,
    },
    /// Ask for aggregates of this data; answered by [`Event::Aggregates`].
    AskAggregates {
        /// The round in which they are to be proposed.
        round: u8,
        /// What they attest to.
        data: AttestationData,
        /// The committees.
        committees: Vec<u64>,
    },
    /// Ask for contributions; answered by [`Event::Contributions`].
    AskContributions {
        /// The round in which they are to be proposed.
        round: u8,
        /// The slot.
        slot: u64,
        /// The block that they are of.
        root: Hash,
        /// The subcommittees.
        subcommittees: Vec<u16>,
    },
    /// Find out whether aggregated signatures in a proposal are right, or what a block says; answered by
    /// [`Event::Checked`] or [`Event::Decoded`].
    Check {
        /// The agreement.
        duty: Duty,
        /// The round of the proposal.
        round: u8,
        /// The value's id.
        id: Hash,
        /// What is to be checked.
        what: ToCheck,
    },
    /// Sign what cannot be slashed; answered by [`Event::Signed`].
    Sign {
        /// What for.
        purpose: Purpose,
        /// The slot.
        slot: u64,
        /// Which root with which validator's share.
        roots: Vec<(Place, Hash)>,
    },
    /// Ask the guard, and sign what it permits; answered by [`Event::Signed`].
    Guard {
        /// Attestation or block.
        purpose: Purpose,
        /// The slot.
        slot: u64,
        /// Source and target epoch of an attestation, else 0.
        epochs: (u64, u64),
        /// The signing root.
        root: Hash,
        /// The validators, by their place in the lock.
        validators: Vec<u32>,
        /// Until when the signatures are of use, in milliseconds since the Unix epoch.
        deadline_ms: u64,
    },
    /// Combine partial signatures; answered by [`Event::Combined`].
    Combine {
        /// What.
        purpose: Purpose,
        /// Its slot.
        slot: u64,
        /// The work.
        job: Job,
    },
    /// Give something to the beacon nodes.
    Submit(Submission),
    /// Tell the beacon nodes which committees our validators are in.
    Subscribe(Vec<Subscription>),
    /// Keep a proof of what an operator has signed, durably.
    Remember {
        /// Whose.
        operator: u16,
        /// The proof.
        proof: Proof,
    },
    /// Compare the guard with what an operator remembers, raise it if it is behind; answered by [`Event::Compared`].
    Compare {
        /// Who remembers.
        operator: u16,
        /// What.
        remembered: Progress,
        /// To which process of ours it confirms that nothing newer was signed, if that is not newer: to none if the other
        /// one only watches, and does not remember.
        confirms: Option<Instance>,
    },
    /// Raise all records of a restored folder's guard to this, durably; answered by [`Event::Raised`].
    Raise {
        /// To what.
        to: Record,
        /// The process of ours that asks.
        instance: Instance,
    },
    /// Tell the guard from when on this process signs.
    Begin(Start),
    /// For people, logs and figures.
    Report(Report),
    /// Stop signing for good; effects before this one are carried out first.
    Stop(Stop),
}

/// What somebody with a beacon node checks.
#[derive(Debug)]
pub enum ToCheck {
    /// Aggregated attestations.
    Aggregates(Vec<Attestation>),
    /// Contributions to sync aggregates.
    Contributions(Vec<SyncCommitteeContribution>),
    /// A block, see [`super::proposing::encode_value`]; answered by [`Event::Decoded`].
    Block(Arc<[u8]>),
}

/// What is given to beacon nodes.
#[derive(Debug, Clone)]
pub enum Submission {
    /// Attestations of a slot.
    Attestations(Vec<SingleAttestation>),
    /// Sync committee messages of a slot.
    SyncMessages(Vec<SyncCommitteeMessage>),
    /// Aggregates and proofs of a slot.
    Aggregates(Vec<SignedAggregateAndProof>),
    /// Contributions and proofs of a slot.
    Contributions(Vec<SignedContributionAndProof>),
    /// A block.
    Block {
        /// Its slot.
        slot: u64,
        /// The block, see [`super::proposing::encode_value`].
        value: Arc<[u8]>,
        /// A full block with its blobs, if there are any.
        contents: Option<Arc<[u8]>>,
        /// The group's signature.
        signature: [u8; 96],
    },
}

/// A validator's committee, for the beacon node to prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// The slot.
    pub slot: u64,
    /// The duty.
    pub attester: Attester,
    /// Whether the validator aggregates.
    pub is_aggregator: bool,
}

/// What people may want to know.
#[derive(Debug)]
pub enum Report {
    /// Operators agreed.
    Decided {
        /// On what.
        duty: Duty,
        /// How.
        decision: Decision,
        /// Who voted.
        voters: BTreeSet<u16>,
    },
    /// The group signed.
    Made {
        /// What.
        purpose: Purpose,
        /// Its slot.
        slot: u64,
        /// For which validators, by their place in the lock.
        validators: BTreeSet<u32>,
        /// Since the operators agreed.
        times: Times,
        /// Whose partial signatures were there.
        contributors: BTreeSet<u16>,
    },
    /// A slot of ours is over: once for each slot that has duties of our validators, at its end if all of them were
    /// signed by then, else at the end of the next one, or when a jump of the clock drops what was under way. Slots that
    /// began before this process, or of a fork that it does not know, are nothing that it could speak of.
    Over {
        /// The slot.
        slot: u64,
        /// Operators to whom there was no connection when the slot ended.
        away: BTreeSet<u16>,
        /// What became of each duty, signed or not; never empty.
        duties: Vec<Account>,
    },
    /// An operator did what no correct one does.
    Fault {
        /// Who.
        operator: u16,
        /// What, for people.
        what: String,
    },
    /// An operator broke the rules of agreement.
    Misbehaviour(Misbehaviour),
    /// An operator remembers signatures that the own guard had forgotten: this disk is an old copy.
    Forgotten {
        /// Who remembers.
        operator: u16,
    },
    /// Another operator ran twice, with one share: both copies stop.
    RanTwice {
        /// Who.
        operator: u16,
    },
    /// Something went wrong with the block that our own beacon nodes were asked for.
    OwnBlock {
        /// The slot.
        slot: u64,
        /// Whether a node made a block that cannot be signed.
        refused: bool,
        /// What went wrong, and with which node, for people.
        what: String,
        /// What to do about it, a sentence.
        advice: &'static str,
    },
    /// All other operators confirmed that nothing was forgotten.
    Confirmed,
    /// The first epoch in which this process attests has begun, after a wait that nobody's confirmation ended before.
    WaitOver,
    /// How far a folder that was restored from a backup is; whenever that changes.
    Restoring(Restoring),
}

/// What our own beacon nodes say about our clock, to a folder that was restored from a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainClock {
    /// Nothing against it.
    #[default]
    Agrees,
    /// Most of them, or where all operators must sign one of them, have a head that is more than half an epoch ahead of it.
    Ahead,
    /// Where all operators must sign, so that all others may lie: they have shown no head yet that is at most half an epoch old by it.
    Unknown,
}

/// What a folder that was restored from a backup still waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restoring {
    /// Operators who are not connected, or have not told what they remember, and must.
    pub missing: BTreeSet<u16>,
    /// Operators who have not told either, and need not, by their own operator's word.
    pub excused: BTreeSet<u16>,
    /// Operators who are connected and have told what they remember, and whose clocks agree with ours.
    pub answered: BTreeSet<u16>,
    /// Those of the missing ones who have told, but whose clocks differ from ours by more than half an epoch.
    pub clocks: BTreeSet<u16>,
    /// Whether our beacon nodes speak against our clock.
    pub chain: ChainClock,
    /// The names of those that do, if that counts.
    pub ahead: BTreeSet<String>,
    /// From when on it signs, once all have answered who must.
    pub start: Option<Start>,
}

impl Restoring {
    /// What is wrong with the clock, or not known of it, and what is to be done; empty if nothing is.
    pub fn clock_words(&self) -> String {
        match self.chain {
            ChainClock::Agrees => String::new(),
            ChainClock::Ahead => {
                let names: Vec<&str> = self.ahead.iter().map(String::as_str).collect();
                format!(
                    "By the clock of this machine the newest block of {} is of a slot that is still to come: the clock is behind, and \
                     nothing is begun before it is set right. If the clock is right, that beacon node is wrong: mend it, or take it out of \
                     --beacon-node and start run again",
                    names.join(", ")
                )
            }
            ChainClock::Unknown => {
                "Where all operators must sign, your own beacon node has to confirm the clock of this machine, and it has shown no block of the \
                 last minutes yet: see that it is in step with the chain, and that the clock is right"
                    .to_owned()
            }
        }
    }
}

/// What became of one duty of a slot, for all validators that had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What was to be signed: attestation, block, sync committee message, aggregate or contribution.
    pub purpose: Purpose,
    /// The validators that had this duty, by their place in the lock.
    pub validators: BTreeSet<u32>,
    /// What operators agreed on, if they did.
    pub decision: Option<Decision>,
    /// Of whom votes came in the agreement.
    pub voters: BTreeSet<u16>,
    /// Our own beacon nodes were asked for what is to be agreed on, and had no answer that could be used.
    pub unanswered: bool,
    /// How long they took for their first answer that could be used, in milliseconds.
    pub answered_in_ms: Option<u64>,
    /// The validators for which the group did not sign, together where the cause and who signed are the same.
    pub missed: Vec<Missed>,
    /// The validators for which the group's signature was made.
    pub signed: BTreeSet<u32>,
    /// When the last of them was made, since the operators agreed.
    pub signed_times: Option<Times>,
    /// Whose partial signatures came, late ones too: of what the group signed, or of anything if it signed nothing. Those
    /// that were found to be wrong are left out; what came when it was no longer needed is not verified.
    pub partials: BTreeSet<u16>,
}

/// Validators for which a duty was missed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Why.
    pub cause: Cause,
    /// Which, by their place in the lock.
    pub validators: BTreeSet<u32>,
    /// Whose partial signatures came for them, late ones too; without those that were found to be wrong.
    pub partials: BTreeSet<u16>,
    /// Who of these signed something else than most, or than this operator where as many say the one as the other.
    pub differ: BTreeSet<u16>,
}

impl Account {
    /// Of how many validators it is not known what became of the duty, because this process stood still.
    pub fn unseen(&self) -> usize {
        let unseen = self.missed.iter().filter(|one| one.cause == Cause::Unseen);
        unseen.map(|one| one.validators.len()).sum()
    }
}

/// A time in which this process did nothing, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standstill {
    /// When it was seen to work last.
    pub from_ms: u64,
    /// When it went on.
    pub to_ms: u64,
}

impl Standstill {
    /// How long, in milliseconds.
    pub fn ms(self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }
}

/// Why a duty was missed: what came first of all that kept it from being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Not known, and perhaps it was not missed at all: this process stood still, or its clock jumped.
    Unseen,
    /// Nothing was agreed on, and our own beacon nodes had no answer to the question what to agree on.
    Unanswered,
    /// Our own beacon nodes answered only when a signature was of no use any more.
    AnsweredLate,
    /// Fewer operators voted than must.
    FewVoters,
    /// Enough operators voted, but not for one thing.
    Disagreed,
    /// Operators agreed only when a signature was of no use any more, on what this one proposed.
    AgreedLate {
        /// Who led the round.
        leader: u16,
    },
    /// Operators agreed on what holds nothing that the validator could sign: this one proposed it, and its beacon nodes had no aggregate
    /// of the validator's committee, or no contribution of its subcommittee.
    LeftOut {
        /// Who led the round.
        leader: u16,
    },
    /// Operators agreed, and fewer of them signed than must, whose slashing protection permits it.
    FewSigners,
    /// The same, and our own slashing protection did not permit it here.
    Refused,
    /// The same, and our own slashing protection gave no answer: it failed, or hangs.
    Unguarded,
    /// Enough operators signed, but some only when it was of no use any more.
    SignedLate,
    /// Enough operators signed, but not one thing, or wrongly.
    Unusable,
}

impl Cause {
    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::Unanswered => "unanswered",
            Self::AnsweredLate => "answered_late",
            Self::FewVoters => "few_voters",
            Self::Disagreed => "disagreed",
            Self::AgreedLate { .. } => "agreed_late",
            Self::LeftOut { .. } => "left_out",
            Self::FewSigners => "few_signers",
            Self::Refused => "refused",
            Self::Unguarded => "unguarded",
            Self::SignedLate => "signed_late",
            Self::Unusable => "unusable",
        }
    }
}

/// An agreement that came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// In which round, from 0.
    pub round: u8,
    /// Since there was something to agree on here: our beacon node's answer, or a proposal.
    pub times: Times,
}

/// When a step of a duty was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long after the duty was due that was, in milliseconds; 0 if it was done earlier.
    pub after_due_ms: u64,
}

/// Why a node stops for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Another process works with the same share.
    Twin(Instance),
}

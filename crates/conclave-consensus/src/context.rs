//! What the Tendermint state machine wants to know of us. It sees operators by number, values by id, and no
//! signatures: those are checked before and kept by us.

use std::{convert::Infallible, fmt, sync::Arc};

use arc_malachitebft_core_types::{self as types, NilOrVal, Round, VoteType};

use conclave_crypto::hash::Hash;

use super::messages::{Step, value_id};

/// The types of our agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ctx;

/// An operator, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Operator(pub(super) u16);

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl types::Address for Operator {}

/// An instance agrees once, so there is but one height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Once;

impl fmt::Display for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0")
    }
}

impl types::Height for Once {
    const ZERO: Self = Self;
    const INITIAL: Self = Self;

    fn increment_by(&self, _: u64) -> Self {
        Self
    }

    fn decrement_by(&self, _: u64) -> Option<Self> {
        None
    }

    fn as_u64(&self) -> u64 {
        0
    }
}

/// The id of a value, displayed by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) Hash);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

/// A value with its id. Two values are equal when their ids are.
#[derive(Clone)]
pub(super) struct Agreed {
    pub(super) id: Hash,
    pub(super) bytes: Arc<[u8]>,
}

impl Agreed {
    pub(super) fn new(bytes: Arc<[u8]>) -> Self {
        Self {
            id: value_id(&bytes),
            bytes,
        }
    }
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Id(self.id).fmt(f)
    }
}

impl PartialEq for Agreed {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Agreed {}

impl PartialOrd for Agreed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Agreed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl types::Value for Agreed {
    type Id = Id;

    fn id(&self) -> Id {
        Id(self.id)
    }
}

/// A proposal, as the state machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposed {
    pub(super) round: Round,
    pub(super) polka: Round,
    pub(super) value: Agreed,
    pub(super) author: Operator,
}

impl types::Proposal<Ctx> for Proposed {
    fn height(&self) -> Once {
        Once
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Agreed {
        &self.value
    }

    fn take_value(self) -> Agreed {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.polka
    }

    fn validator_address(&self) -> &Operator {
        &self.author
    }
}

/// A vote, as the state machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) round: Round,
    pub(super) step: VoteType,
    pub(super) choice: NilOrVal<Id>,
    pub(super) author: Operator,
}

impl types::Vote<Ctx> for Cast {
    fn height(&self) -> Once {
        Once
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Id> {
        &self.choice
    }

    fn take_value(self) -> NilOrVal<Id> {
        self.choice
    }

    fn vote_type(&self) -> VoteType {
        self.step
    }

    fn validator_address(&self) -> &Operator {
        &self.author
    }

    fn extension(&self) -> Option<&types::SignedExtension<Ctx>> {
        None
    }

    fn take_extension(&mut self) -> Option<types::SignedExtension<Ctx>> {
        None
    }

    fn extend(self, _: types::SignedExtension<Ctx>) -> Self {
        self
    }
}

/// An operator of the group; each has one vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member(Operator);

impl types::Validator<Ctx> for Member {
    fn address(&self) -> &Operator {
        &self.0
    }

    fn public_key(&self) -> &() {
        &()
    }

    fn voting_power(&self) -> u64 {
        1
    }
}

/// All operators, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members(Vec<Member>);

impl Members {
    /// Operators 1 to `count`.
    pub(super) fn new(count: u16) -> Self {
        Self((1..=count).map(|operator| Member(Operator(operator))).collect())
    }
}

impl types::ValidatorSet<Ctx> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.len() as u64
    }

    fn get_by_address(&self, address: &Operator) -> Option<&Member> {
        self.0.get(usize::from(address.0).checked_sub(1)?)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

/// Proposals are not sent in parts; this cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part(Infallible);

impl types::ProposalPart<Ctx> for Part {
    fn is_first(&self) -> bool {
        match self.0 {}
    }

    fn is_last(&self) -> bool {
        match self.0 {}
    }
}

/// The state machine carries signatures along but never looks at them; ours stay outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsigned;

impl types::SigningScheme for Unsigned {
    type DecodingError = Infallible;
    type Signature = ();
    type PublicKey = ();
    type PrivateKey = ();

    fn decode_signature(_: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn encode_signature((): &()) -> Vec<u8> {
        Vec::new()
    }

    fn decode_public_key(_: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn encode_public_key((): &()) -> Vec<u8> {
        Vec::new()
    }
}

impl types::Context for Ctx {
    type Address = Operator;
    type Height = Once;
    type ProposalPart = Part;
    type Proposal = Proposed;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = types::LinearTimeouts;
    type Value = Agreed;
    type Vote = Cast;
    type Extension = ();
    type SigningScheme = Unsigned;

    /// Never asked by the driver, which is told the leader of each round.
    fn select_proposer<'a>(&self, members: &'a Members, _: Once, round: Round) -> &'a Member {
        let count = members.0.len().max(1);
        let round = round.as_u32().unwrap_or(0) as usize;
        &members.0[round % count]
    }

    fn new_proposal(&self, _: Once, round: Round, value: Agreed, polka: Round, author: Operator) -> Proposed {
        Proposed {
            round,
            polka,
            value,
            author,
        }
    }

    fn new_prevote(&self, _: Once, round: Round, choice: NilOrVal<Id>, author: Operator) -> Cast {
        Cast {
            round,
            step: VoteType::Prevote,
            choice,
            author,
        }
    }

    fn new_precommit(&self, _: Once, round: Round, choice: NilOrVal<Id>, author: Operator) -> Cast {
        Cast {
            round,
            step: VoteType::Precommit,
            choice,
            author,
        }
    }
}

impl From<Step> for VoteType {
    fn from(step: Step) -> Self {
        match step {
            Step::Prevote => Self::Prevote,
            Step::Precommit => Self::Precommit,
        }
    }
}

impl From<VoteType> for Step {
    fn from(step: VoteType) -> Self {
        match step {
            VoteType::Prevote => Self::Prevote,
            VoteType::Precommit => Self::Precommit,
        }
    }
}

/// A choice as the state machine writes it.
pub(super) fn nil_or(choice: Option<Hash>) -> NilOrVal<Id> {
    choice.map_or(NilOrVal::Nil, |id| NilOrVal::Val(Id(id)))
}

/// A choice as messages write it.
pub(super) fn choice(value: &NilOrVal<Id>) -> Option<Hash> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(id) => Some(id.0),
    }
}

//! What there is to do in a slot: names that every part of the validator uses.

/// What operators agree on. One agreement serves all validators of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The `AttestationData` of the slot: all attestations, and the root of all sync committee messages.
    Head = 1,
    /// The block of a slot in which one of the validators proposes.
    Block = 2,
    /// The aggregates that the validators' aggregators publish.
    Aggregates = 3,
    /// The sync committee contributions that the validators' aggregators publish.
    Contributions = 4,
}

impl Kind {
    /// All kinds in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Head, Self::Block, Self::Aggregates, Self::Contributions];

    /// From its number on the wire.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Block => "block",
            Self::Aggregates => "aggregates",
            Self::Contributions => "contributions",
        }
    }
}

/// One agreement: what, and in which slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duty {
    /// The slot.
    pub slot: u64,
    /// What is agreed on.
    pub kind: Kind,
}

/// What a partial signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// An attestation. Slashable: only with the guard's permission.
    Attestation = 1,
    /// A block, full or blinded. Slashable: only with the guard's permission.
    Block = 2,
    /// The RANDAO reveal of a proposal.
    Randao = 3,
    /// The proof that a validator aggregates attestations in a slot.
    Selection = 4,
    /// A sync committee message.
    SyncMessage = 5,
    /// The proof that a validator aggregates for a sync subcommittee in a slot.
    SyncSelection = 6,
    /// An aggregate and its proof.
    Aggregate = 7,
    /// A sync committee contribution and its proof.
    Contribution = 8,
    /// A voluntary exit.
    Exit = 9,
}

impl Purpose {
    /// All purposes in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Attestation,
        Self::Block,
        Self::Randao,
        Self::Selection,
        Self::SyncMessage,
        Self::SyncSelection,
        Self::Aggregate,
        Self::Contribution,
        Self::Exit,
    ];

    /// From its number on the wire.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| *purpose as u8 == number)
    }

    /// Whether a second signature for it can cost the deposit: the guard decides.
    pub fn slashable(self) -> bool {
        matches!(self, Self::Attestation | Self::Block)
    }

    /// The agreement that decides what is signed; selection proofs and the like need none, and belong to the duty that
    /// they are made for. An exit belongs to no slot: its answer says nothing.
    pub fn kind(self) -> Kind {
        match self {
            Self::Attestation | Self::SyncMessage | Self::Exit => Kind::Head,
            Self::Block | Self::Randao => Kind::Block,
            Self::Aggregate | Self::Selection => Kind::Aggregates,
            Self::Contribution | Self::SyncSelection => Kind::Contributions,
        }
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Block => "block",
            Self::Randao => "RANDAO reveal",
            Self::Selection => "selection proof",
            Self::SyncMessage => "sync committee message",
            Self::SyncSelection => "sync selection proof",
            Self::Aggregate => "aggregate",
            Self::Contribution => "contribution",
            Self::Exit => "voluntary exit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_u8(kind as u8), Some(kind));
        }
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::from_u8(purpose as u8), Some(purpose));
        }
        assert_eq!(Kind::from_u8(0), None);
        assert_eq!(Kind::from_u8(5), None);
        assert_eq!(Purpose::from_u8(0), None);
        assert_eq!(Purpose::from_u8(10), None);
    }
}

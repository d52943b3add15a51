//! The rules of slashing protection, per key: EIP-3076 ("Conditions"), minimal strategy.
//!
//! Pure functions of what a key has signed and of what it is asked to sign. Only the highest values are kept: that
//! refuses more than a complete history would, and can never refuse too little.

use std::fmt;

/// What a key can be slashed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A beacon block (or its blinded twin: they have one root).
    Block {
        /// Its slot.
        slot: u64,
    },
    /// Attestation data. Since Electra one for all committees of a slot.
    Attestation {
        /// The slot of the duty.
        slot: u64,
        /// Epoch of the source checkpoint.
        source: u64,
        /// Epoch of the target checkpoint.
        target: u64,
    },
}

impl Message {
    /// The slot of the duty.
    pub fn slot(&self) -> u64 {
        match *self {
            Self::Block { slot } | Self::Attestation { slot, .. } => slot,
        }
    }
}

/// The highest epochs that a key has attested to. They need not be of one attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attested {
    /// Highest source epoch.
    pub source: u64,
    /// Highest target epoch.
    pub target: u64,
}

/// The highest of everything that a key has signed. Nothing signed is not the same as "0": slot 0 and epoch 0 can be
/// signed once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Highest slot of a block.
    pub block: Option<u64>,
    /// Highest epochs of attestations.
    pub attested: Option<Attested>,
}

/// The newest attestation of an operator's shares, whichever keys they were of. Ordered by age: by target first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Newest {
    /// Epoch of the target checkpoint.
    pub target: u64,
    /// Epoch of the source checkpoint.
    pub source: u64,
    /// The slot of the duty.
    pub slot: u64,
}

/// How far an operator's shares have signed, all keys together. What peers hold proofs of is compared with it: within
/// an epoch some keys have signed and others have not, so that the keys' own records do not show whether a disk has
/// forgotten some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The highest slot of a block.
    pub block: Option<u64>,
    /// The newest attestation.
    pub attestation: Option<Newest>,
}

impl Progress {
    /// With another one: the newer of each.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            block: self.block.max(other.block),
            attestation: self.attestation.max(other.attestation),
        }
    }

    /// What every key's record must be raised to if nobody knows which of them have signed.
    pub fn record(&self) -> Record {
        let attested = |newest: Newest| Attested {
            source: newest.source,
            target: newest.target,
        };
        Record {
            block: self.block,
            attested: self.attestation.map(attested),
        }
    }
}

impl From<Message> for Progress {
    fn from(message: Message) -> Self {
        match message {
            Message::Block { slot } => Self {
                block: Some(slot),
                attestation: None,
            },
            Message::Attestation { slot, source, target } => Self {
                block: None,
                attestation: Some(Newest { target, source, slot }),
            },
        }
    }
}

/// Why something is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The share has signed a block of this slot or of a later one.
    BlockNotHigher {
        /// The slot asked for.
        slot: u64,
        /// The highest signed one.
        highest: u64,
    },
    /// The attestation's source is after its target: slashed or not, it is never right.
    SourceAfterTarget {
        /// Source epoch.
        source: u64,
        /// Target epoch.
        target: u64,
    },
    /// The share has attested to a later source: together they could surround each other.
    SourceLower {
        /// The source epoch asked for.
        source: u64,
        /// The highest signed one.
        highest: u64,
    },
    /// The share has attested to this target epoch or to a later one.
    TargetNotHigher {
        /// The target epoch asked for.
        target: u64,
        /// The highest signed one.
        highest: u64,
    },
    /// The target epoch is not the epoch of the slot.
    OtherEpoch {
        /// The target epoch asked for.
        target: u64,
        /// The epoch of the slot.
        epoch: u64,
    },
    /// The slot begins more than half a slot in the future.
    TooEarly {
        /// In how many milliseconds it begins.
        early_ms: u64,
    },
    /// The deadline is over.
    TooLate {
        /// Since how many milliseconds.
        late_ms: u64,
    },
    /// Nobody has said yet from when on this process may sign.
    NotStarted,
    /// The slot began before this process did: it may have been signed in an earlier life.
    SlotBeforeStart {
        /// The slot asked for.
        slot: u64,
        /// The first one that may be signed.
        first: u64,
    },
    /// The target epoch may have been attested to in an earlier life.
    TargetBeforeStart {
        /// The target epoch asked for.
        target: u64,
        /// The first one that may be signed.
        first: u64,
    },
    /// The lock has no validator with this index.
    UnknownValidator,
}

impl Refusal {
    /// Whether it is only that this process has just started, which nobody needs to be warned of.
    pub fn is_of_a_start(&self) -> bool {
        matches!(
            self,
            Self::NotStarted | Self::SlotBeforeStart { .. } | Self::TargetBeforeStart { .. }
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockNotHigher { slot, highest } => {
                write!(
                    f,
                    "slot {slot} is not after slot {highest}, of which a block was signed"
                )
            }
            Self::SourceAfterTarget { source, target } => {
                write!(f, "the source epoch {source} is after the target epoch {target}")
            }
            Self::SourceLower { source, highest } => {
                write!(
                    f,
                    "the source epoch {source} is before epoch {highest}, the highest on record: something was signed with it, or the guard was \
                     raised to it"
                )
            }
            Self::TargetNotHigher { target, highest } => {
                write!(
                    f,
                    "the target epoch {target} is not after epoch {highest}, the highest on record: it was signed, or the guard was raised to it"
                )
            }
            Self::OtherEpoch { target, epoch } => {
                write!(f, "the target epoch {target} is not that of the slot, {epoch}")
            }
            Self::TooEarly { early_ms } => write!(f, "its slot begins in {early_ms} ms only"),
            Self::TooLate { late_ms } => write!(f, "its deadline was {late_ms} ms ago"),
            Self::NotStarted => f.write_str("signing has not started yet"),
            Self::SlotBeforeStart { slot, first } => {
                write!(
                    f,
                    "slot {slot} began before this process did; it signs from slot {first} on"
                )
            }
            Self::TargetBeforeStart { target, first } => {
                write!(
                    f,
                    "epoch {target} may have been signed before the start; attestations are signed from epoch {first} on"
                )
            }
            Self::UnknownValidator => f.write_str("the lock has no such validator"),
        }
    }
}

impl Record {
    /// Whether a key with this record may sign the message.
    ///
    /// # Errors
    /// The rule that forbids it. EIP-3076, "Conditions" 1 to 5 in their minimal form.
    pub fn check(&self, message: &Message) -> Result<(), Refusal> {
        match *message {
            Message::Block { slot } => match self.block {
                Some(highest) if slot <= highest => Err(Refusal::BlockNotHigher { slot, highest }),
                _ => Ok(()),
            },
            Message::Attestation { source, target, .. } => {
                if source > target {
                    return Err(Refusal::SourceAfterTarget { source, target });
                }
                let Some(signed) = self.attested else {
                    return Ok(());
                };
                // An equal source is normal: it stays the same while the chain does not justify.
                if source < signed.source {
                    return Err(Refusal::SourceLower {
                        source,
                        highest: signed.source,
                    });
                }
                if target <= signed.target {
                    return Err(Refusal::TargetNotHigher {
                        target,
                        highest: signed.target,
                    });
                }
                Ok(())
            }
        }
    }

    /// The record of a key that has signed, or may have signed, all that both records say.
    #[must_use]
    pub fn raised(self, to: Self) -> Self {
        // None is below every number.
        Self {
            block: self.block.max(to.block),
            attested: match (self.attested, to.attested) {
                (Some(a), Some(b)) => Some(Attested {
                    source: a.source.max(b.source),
                    target: a.target.max(b.target),
                }),
                (a, b) => a.or(b),
            },
        }
    }
}

impl From<Message> for Record {
    /// The record of a key that has signed this message and nothing else.
    fn from(message: Message) -> Self {
        match message {
            Message::Block { slot } => Self {
                block: Some(slot),
                attested: None,
            },
            Message::Attestation { source, target, .. } => Self {
                block: None,
                attested: Some(Attested { source, target }),
            },
        }
    }
}

/// How the guard of a restored folder was raised (see [`Mark::Restored`](super::Mark::Restored)), until its first attestation.
///
/// Whatever the share signed before the first start to which all had answered, that start's raise is beyond it for good: the original was
/// gone by then. And the database has all that was signed since, as long as nobody shows something else. So later starts raise no source
/// again, which would bar the share once more until something newer is justified; but if somebody does show more, they raise what they left
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restoration {
    /// What the first start raised all keys to.
    pub first: Record,
    /// The highest source that a later start would have raised them to.
    pub deferred: u64,
}

impl Restoration {
    /// A start raises to this, without what is known of earlier ones: what it raises to, and what is known then.
    #[must_use]
    pub fn raise(known: Option<Self>, to: Record) -> (Record, Option<Self>) {
        let Some(latest) = to.attested else {
            return (to, known);
        };
        let first = known.map_or(to, |known| known.first);
        let source = first.attested.map_or(latest.source, |first| first.source);
        let to = Record {
            attested: Some(Attested { source, ..latest }),
            ..to
        };
        let deferred = known.map_or(latest.source, |known| known.deferred.max(latest.source));
        (to, Some(Self { first, deferred }))
    }

    /// Somebody shows that the share signed this, which the database did not know: whether it was after the first raise, so that more may
    /// have been signed since that is not known here.
    pub fn is_disproven_by(&self, shown: Record) -> bool {
        self.first.raised(shown) != self.first
    }

    /// What later starts left out.
    pub fn rest(&self) -> Record {
        Record {
            block: None,
            attested: Some(Attested {
                source: self.deferred,
                target: self.deferred,
            }),
        }
    }
}

/// When something is asked for: all in milliseconds since the Unix epoch, by our own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Now.
    pub now_ms: u64,
    /// The beginning of the duty's slot.
    pub slot_start_ms: u64,
    /// The length of that slot.
    pub slot_ms: u64,
    /// Until when a signature is of use.
    pub deadline_ms: u64,
    /// The epoch of the duty's slot.
    pub epoch: u64,
}

impl Timing {
    /// Whether it is the time for this message.
    ///
    /// # Errors
    /// If its slot begins more than half a slot in the future, if its deadline is over, or if its target is of another
    /// epoch than the slot: a wrong clock or a wrong message must not block a key for ever.
    pub fn check(&self, message: &Message) -> Result<(), Refusal> {
        let early_ms = self.slot_start_ms.saturating_sub(self.now_ms);
        if early_ms > self.slot_ms / 2 {
            return Err(Refusal::TooEarly { early_ms });
        }
        if self.now_ms > self.deadline_ms {
            return Err(Refusal::TooLate {
                late_ms: self.now_ms - self.deadline_ms,
            });
        }
        match *message {
            Message::Attestation { target, .. } if target != self.epoch => Err(Refusal::OtherEpoch {
                target,
                epoch: self.epoch,
            }),
            _ => Ok(()),
        }
    }
}

/// From when on a process may sign. A process that has just started does not know what an earlier one signed and this
/// disk has forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first slot that began after the start.
    pub first_slot: u64,
    /// The first target epoch that may be attested to.
    pub first_target: u64,
}

impl Start {
    /// Not at all yet: nobody knows when.
    pub const NEVER: Self = Self {
        first_slot: u64::MAX,
        first_target: u64::MAX,
    };

    /// Whether this process may sign the message.
    ///
    /// # Errors
    /// If it may have been signed before the start.
    pub fn check(&self, message: &Message) -> Result<(), Refusal> {
        let slot = message.slot();
        if slot < self.first_slot {
            return Err(Refusal::SlotBeforeStart {
                slot,
                first: self.first_slot,
            });
        }
        match *message {
            Message::Attestation { target, .. } if target < self.first_target => {
                Err(Refusal::TargetBeforeStart {
                    target,
                    first: self.first_target,
                })
            }
            _ => Ok(()),
        }
    }
}

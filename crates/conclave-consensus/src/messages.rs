//! What operators say to each other while they agree, and its bytes.
//!
//! ```text
//! message:      u8 tag || u8 kind || u64 slot || body                                    numbers are big-endian
//! proposal (1): u16 operator || u8 round || u8 polka || u32 length || value || signature (64)
//! vote (2):     u16 operator || u8 round || u8 step || choice || signature (64)
//! certificate (3): u8 round || u8 step || value id (32) || u8 count || count x (u16 operator || signature (64))
//! status (4):   u8 round || u8 count || count x (u8 round || u64 prevotes || u64 precommits || u8 polka
//!               || u8 ids || ids x value id (32))
//! choice:       u8 0 for nil, or u8 1 || value id (32)
//! polka:        the round whose polka justifies a proposal, 255 if it is a new value; in a status 0 or 1
//! ```
//! Lists are strictly ascending, so that everything has one encoding. Steps: 1 prevote, 2 precommit.

use std::sync::Arc;

use conclave_crypto::{
    domains,
    hash::{Hash, sha256},
};
use conclave_dkg::wire::Reader;
use conclave_eth::duty::{Duty, Kind};

/// The last round of an agreement, from 0. Messages of later ones are refused: they would only cost memory.
pub const LAST_ROUND: u8 = 16;

/// The most operators in a group; bitmaps have this many bits.
pub const MAX_OPERATORS: u16 = 64;

/// The most value ids that a status lists for a round.
const MAX_IDS: usize = 8;

/// Stands for "no polka" in a proposal.
const NO_POLKA: u8 = 255;

/// Tag, kind and slot.
const ENVELOPE: usize = 10;

/// Bytes of a certificate by `MAX_OPERATORS`, or of a full status, whichever is longer; and of a proposal without
/// its value.
const LONGEST_WITHOUT_VALUE: usize = ENVELOPE + 2 + (LAST_ROUND as usize + 1) * (19 + MAX_IDS * 32);

/// The length of the longest message when values have at most `limit` bytes.
pub const fn longest_message(limit: usize) -> usize {
    LONGEST_WITHOUT_VALUE + limit
}

/// The id of a value, by which votes name it: a hash of its bytes.
pub fn value_id(value: &[u8]) -> Hash {
    sha256(&[domains::RUN_VALUE.as_bytes(), value])
}

/// The two votes of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// For a value that is plausible.
    Prevote = 1,
    /// For a value that t operators prevoted for. t of these decide.
    Precommit = 2,
}

impl Step {
    fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Prevote),
            2 => Some(Self::Precommit),
            _ => None,
        }
    }
}

/// A leader's proposal, signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The author, from 1.
    pub operator: u16,
    /// The round that it is for.
    pub round: u8,
    /// The earlier round in which t operators prevoted for the value, if it is proposed again for that reason.
    pub polka: Option<u8>,
    /// What to agree on; opaque here.
    pub value: Arc<[u8]>,
    /// By the author's node key, see [`proposal_digest`].
    pub signature: [u8; 64],
}

/// Without the value's bytes, which may be long.
impl std::fmt::Debug for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proposal")
            .field("operator", &self.operator)
            .field("round", &self.round)
            .field("polka", &self.polka)
            .field("length", &self.value.len())
            .finish_non_exhaustive()
    }
}

/// An operator's vote, signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Vote {
    /// The author, from 1.
    pub operator: u16,
    /// The round that it is for.
    pub round: u8,
    /// Which of the round's two votes.
    pub step: Step,
    /// The value's id; `None` is a vote for no value ("nil").
    pub choice: Option<Hash>,
    /// By the author's node key, see [`vote_digest`].
    pub signature: [u8; 64],
}

impl std::fmt::Debug for Vote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} of {} in round {} for ",
            self.step, self.operator, self.round
        )?;
        match &self.choice {
            Some(id) => write!(f, "{}", hex::encode(&id[..4])),
            None => f.write_str("nil"),
        }
    }
}

/// Votes of t operators for one value: proof of a polka (prevotes) or of a decision (precommits).
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The round of the votes.
    pub round: u8,
    /// Which votes.
    pub step: Step,
    /// What they are for.
    pub value_id: Hash,
    /// Operators, strictly ascending, and their signatures of [`vote_digest`].
    pub signatures: Vec<(u16, [u8; 64])>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operators: Vec<u16> = self.signatures.iter().map(|(operator, _)| *operator).collect();
        f.debug_struct("Certificate")
            .field("round", &self.round)
            .field("step", &self.step)
            .field("value_id", &hex::encode(&self.value_id[..4]))
            .field("operators", &operators)
            .finish()
    }
}

impl Certificate {
    /// The votes that it is made of.
    pub fn votes(&self) -> impl Iterator<Item = Vote> {
        self.signatures.iter().map(|(operator, signature)| Vote {
            operator: *operator,
            round: self.round,
            step: self.step,
            choice: Some(self.value_id),
            signature: *signature,
        })
    }
}

/// What a node has of one round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoundStatus {
    /// The round.
    pub round: u8,
    /// Bit i - 1: it has a prevote of operator i.
    pub prevotes: u64,
    /// Bit i - 1: it has a precommit of operator i.
    pub precommits: u64,
    /// Whether it knows of t prevotes for a value.
    pub polka: bool,
    /// Ids of the values for which it has a proposal of this round, ascending; at most 8.
    pub proposals: Vec<Hash>,
}

/// What an undecided node has, so that others can send what it lacks. Not signed: it concerns only who sent it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The round that it is in.
    pub round: u8,
    /// Rounds of which it has anything, ascending.
    pub rounds: Vec<RoundStatus>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A leader's proposal.
    Proposal(Proposal),
    /// An operator's vote.
    Vote(Vote),
    /// Votes of t operators.
    Certificate(Certificate),
    /// What the sender has.
    Status(Status),
}

/// A message of one agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which agreement.
    pub duty: Duty,
    /// What it says.
    pub body: Body,
}

impl Message {
    /// Its bytes; at most [`longest_message`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENVELOPE + 128);
        let tag = match &self.body {
            Body::Proposal(_) => 1,
            Body::Vote(_) => 2,
            Body::Certificate(_) => 3,
            Body::Status(_) => 4,
        };
        out.extend([tag, self.duty.kind as u8]);
        out.extend(self.duty.slot.to_be_bytes());
        match &self.body {
            Body::Proposal(proposal) => proposal.encode(&mut out),
            Body::Vote(vote) => vote.encode(&mut out),
            Body::Certificate(certificate) => certificate.encode(&mut out),
            Body::Status(status) => status.encode(&mut out),
        }
        out
    }

    /// Which agreement an encoded message belongs to, without a look at the rest.
    pub fn peek(bytes: &[u8]) -> Option<Duty> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        read_duty(&mut reader)
    }

    /// Decodes a message; `limit` says how long a value of a kind may be. `None` for anything that
    /// [`Message::encode`] does not make. Signatures are not checked here.
    pub fn decode(bytes: &[u8], limit: impl Fn(Kind) -> usize) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u8()?;
        let duty = read_duty(&mut reader)?;
        let body = match tag {
            1 => Body::Proposal(Proposal::read(&mut reader, limit(duty.kind))?),
            2 => Body::Vote(Vote::read(&mut reader)?),
            3 => Body::Certificate(Certificate::read(&mut reader)?),
            4 => Body::Status(Status::read(&mut reader)?),
            _ => return None,
        };
        reader.is_empty().then_some(Self { duty, body })
    }
}

fn read_duty(reader: &mut Reader<'_>) -> Option<Duty> {
    Some(Duty {
        kind: Kind::from_u8(reader.u8()?)?,
        slot: reader.u64()?,
    })
}

fn read_round(reader: &mut Reader<'_>) -> Option<u8> {
    reader.u8().filter(|round| *round <= LAST_ROUND)
}

fn read_operator(reader: &mut Reader<'_>) -> Option<u16> {
    reader
        .u16()
        .filter(|operator| (1..=MAX_OPERATORS).contains(operator))
}

impl Proposal {
    /// The id of the value.
    pub fn value_id(&self) -> Hash {
        value_id(&self.value)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.operator.to_be_bytes());
        out.extend([self.round, self.polka.unwrap_or(NO_POLKA)]);
        let length = u32::try_from(self.value.len()).unwrap_or(u32::MAX);
        out.extend(length.to_be_bytes());
        out.extend(&*self.value);
        out.extend(self.signature);
    }

    fn read(reader: &mut Reader<'_>, limit: usize) -> Option<Self> {
        let operator = read_operator(reader)?;
        let round = read_round(reader)?;
        let polka = match reader.u8()? {
            NO_POLKA => None,
            polka if polka < round => Some(polka),
            _ => return None,
        };
        let length = usize::try_from(reader.u32()?)
            .ok()
            .filter(|length| *length <= limit)?;
        Some(Self {
            operator,
            round,
            polka,
            value: reader.bytes(length)?.into(),
            signature: reader.array()?,
        })
    }
}

impl Vote {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.operator.to_be_bytes());
        out.extend([self.round, self.step as u8]);
        match &self.choice {
            None => out.push(0),
            Some(id) => {
                out.push(1);
                out.extend(id);
            }
        }
        out.extend(self.signature);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            operator: read_operator(reader)?,
            round: read_round(reader)?,
            step: Step::from_u8(reader.u8()?)?,
            choice: match reader.u8()? {
                0 => None,
                1 => Some(reader.array()?),
                _ => return None,
            },
            signature: reader.array()?,
        })
    }
}

impl Certificate {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.round, self.step as u8]);
        out.extend(self.value_id);
        out.push(u8::try_from(self.signatures.len()).unwrap_or(u8::MAX));
        for (operator, signature) in &self.signatures {
            out.extend(operator.to_be_bytes());
            out.extend(signature);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let round = read_round(reader)?;
        let step = Step::from_u8(reader.u8()?)?;
        let value_id = reader.array()?;
        let count = usize::from(reader.u8()?);
        let mut signatures = Vec::with_capacity(count.min(usize::from(MAX_OPERATORS)));
        let mut last = 0;
        for _ in 0..count {
            let operator = read_operator(reader).filter(|operator| *operator > last)?;
            last = operator;
            signatures.push((operator, reader.array()?));
        }
        Some(Self {
            round,
            step,
            value_id,
            signatures,
        })
    }
}

impl Status {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.round);
        let rounds = self.rounds.iter().take(usize::from(LAST_ROUND) + 1);
        out.push(u8::try_from(rounds.len()).unwrap_or(u8::MAX));
        for status in rounds {
            out.push(status.round);
            out.extend(status.prevotes.to_be_bytes());
            out.extend(status.precommits.to_be_bytes());
            out.push(u8::from(status.polka));
            let ids = status.proposals.iter().take(MAX_IDS);
            out.push(u8::try_from(ids.len()).unwrap_or(u8::MAX));
            for id in ids {
                out.extend(id);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let round = read_round(reader)?;
        let count = usize::from(reader.u8()?);
        let mut rounds: Vec<RoundStatus> = Vec::new();
        for _ in 0..count {
            let mut status = RoundStatus {
                round: read_round(reader)?,
                prevotes: reader.u64()?,
                precommits: reader.u64()?,
                polka: match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
                proposals: Vec::new(),
            };
            if rounds.last().is_some_and(|last| last.round >= status.round) {
                return None;
            }
            let ids = usize::from(reader.u8()?);
            if ids > MAX_IDS {
                return None;
            }
            for _ in 0..ids {
                let id = reader.array()?;
                if status.proposals.last().is_some_and(|last| *last >= id) {
                    return None;
                }
                status.proposals.push(id);
            }
            rounds.push(status);
        }
        Some(Self { round, rounds })
    }
}

/// What an operator signs to propose: SHA-256 of
/// `domain || lock hash || u8 kind || u64 slot || u16 operator || u8 round || u8 0 || u8 polka || value id`.
pub fn proposal_digest(
    lock_hash: &Hash,
    duty: Duty,
    operator: u16,
    round: u8,
    polka: Option<u8>,
    id: &Hash,
) -> Hash {
    digest(
        lock_hash,
        duty,
        operator,
        [round, 0, polka.unwrap_or(NO_POLKA)],
        id,
    )
}

/// What an operator signs to vote: SHA-256 of
/// `domain || lock hash || u8 kind || u64 slot || u16 operator || u8 round || u8 step || u8 0 or 1 || value id`,
/// with 0 and 32 zero bytes for nil.
pub fn vote_digest(
    lock_hash: &Hash,
    duty: Duty,
    operator: u16,
    round: u8,
    step: Step,
    choice: Option<&Hash>,
) -> Hash {
    digest(
        lock_hash,
        duty,
        operator,
        [round, step as u8, u8::from(choice.is_some())],
        choice.unwrap_or(&[0; 32]),
    )
}

fn digest(lock_hash: &Hash, duty: Duty, operator: u16, what: [u8; 3], id: &Hash) -> Hash {
    sha256(&[
        domains::RUN_AGREEMENT.as_bytes(),
        lock_hash,
        &[duty.kind as u8],
        &duty.slot.to_be_bytes(),
        &operator.to_be_bytes(),
        &what,
        id,
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DUTY: Duty = Duty {
        slot: 0x0102_0304_0506_0708,
        kind: Kind::Block,
    };

    fn samples() -> Vec<Message> {
        let bodies = [
            Body::Proposal(Proposal {
                operator: 3,
                round: 0,
                polka: None,
                value: (*b"value").into(),
                signature: [7; 64],
            }),
            Body::Proposal(Proposal {
                operator: 64,
                round: 16,
                polka: Some(15),
                value: Arc::new([]),
                signature: [8; 64],
            }),
            Body::Vote(Vote {
                operator: 1,
                round: 2,
                step: Step::Prevote,
                choice: None,
                signature: [9; 64],
            }),
            Body::Vote(Vote {
                operator: 1,
                round: 2,
                step: Step::Precommit,
                choice: Some([3; 32]),
                signature: [9; 64],
            }),
            Body::Certificate(Certificate {
                round: 1,
                step: Step::Precommit,
                value_id: [5; 32],
                signatures: (1..=64).map(|operator| (operator, [1; 64])).collect(),
            }),
            Body::Status(Status::default()),
            Body::Status(Status {
                round: 4,
                rounds: (0..=LAST_ROUND)
                    .map(|round| RoundStatus {
                        round,
                        prevotes: u64::MAX,
                        precommits: 1 << 63,
                        polka: round % 2 == 0,
                        proposals: (0..8).map(|i| [i; 32]).collect(),
                    })
                    .collect(),
            }),
        ];
        bodies.map(|body| Message { duty: DUTY, body }).into()
    }

    #[test]
    fn messages_come_back_and_nothing_else_is_taken() {
        for message in samples() {
            let bytes = message.encode();
            assert!(bytes.len() <= longest_message(5), "{}", bytes.len());
            assert_eq!(Message::peek(&bytes), Some(DUTY));
            assert_eq!(Message::decode(&bytes, |_| 5), Some(message));
            for length in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..length], |_| 5), None);
            }
            let mut longer = bytes;
            longer.push(0);
            assert_eq!(Message::decode(&longer, |_| 5), None);
        }
    }

    #[test]
    fn a_value_is_no_longer_than_its_kind_allows() {
        let bytes = samples()[0].encode();
        let limit = |kind| if kind == Kind::Block { 4 } else { 100 };
        assert_eq!(Message::decode(&bytes, limit), None);
        assert!(Message::decode(&bytes, |kind| usize::from(kind == Kind::Block) * 5).is_some());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        // Where in the encoded samples a number stands, and values that it may not have.
        let bad: [(usize, usize, Vec<u8>); 9] = [
            (0, 0, vec![0, 5, 255]),                         // tag
            (0, 1, vec![0, 5, 255]),                         // kind
            (0, 12, (LAST_ROUND + 1..=255).collect()),       // round
            (0, 13, (0..255).collect()),                     // polka not below the round 0
            (1, 13, (16..255).collect()),                    // polka not below the round 16
            (2, 13, vec![0, 3, 255]),                        // step
            (2, 14, vec![2, 255]),                           // choice
            (3, 11, vec![0, 65, 255]),                       // operator
            (4, ENVELOPE, (LAST_ROUND + 1..=255).collect()), // round of a certificate
        ];
        for (sample, place, values) in bad {
            let bytes = samples()[sample].encode();
            for value in values {
                let mut bytes = bytes.clone();
                bytes[place] = value;
                assert_eq!(
                    Message::decode(&bytes, |_| 5),
                    None,
                    "sample {sample}, byte {place} = {value}"
                );
            }
        }
    }

    #[test]
    fn lists_are_strictly_ascending() {
        let certificate = |operators: &[u16]| Message {
            duty: DUTY,
            body: Body::Certificate(Certificate {
                round: 0,
                step: Step::Prevote,
                value_id: [0; 32],
                signatures: operators.iter().map(|operator| (*operator, [0; 64])).collect(),
            }),
        };
        let status = |rounds: &[(u8, &[u8])]| Message {
            duty: DUTY,
            body: Body::Status(Status {
                round: 0,
                rounds: rounds
                    .iter()
                    .map(|(round, ids)| RoundStatus {
                        round: *round,
                        proposals: ids.iter().map(|id| [*id; 32]).collect(),
                        ..RoundStatus::default()
                    })
                    .collect(),
            }),
        };
        let taken = |message: &Message| Message::decode(&message.encode(), |_| 5).is_some();
        assert!(taken(&certificate(&[1, 2, 64])));
        for bad in [&[1, 1][..], &[2, 1], &[0, 1], &[64, 65]] {
            assert!(!taken(&certificate(bad)));
        }
        assert!(taken(&status(&[(0, &[1, 2]), (2, &[])])));
        for bad in [
            &[(1, &[][..]), (1, &[])][..],
            &[(1, &[]), (0, &[])],
            &[(0, &[1, 1])],
            &[(0, &[2, 1])],
        ] {
            assert!(!taken(&status(bad)));
        }
    }

    #[test]
    fn every_part_of_what_is_signed_matters() {
        let other = Duty { slot: 1, ..DUTY };
        let kind = Duty {
            kind: Kind::Head,
            ..DUTY
        };
        let id = [1; 32];
        let digests = [
            vote_digest(&[0; 32], DUTY, 1, 0, Step::Prevote, Some(&id)),
            vote_digest(&[1; 32], DUTY, 1, 0, Step::Prevote, Some(&id)),
            vote_digest(&[0; 32], other, 1, 0, Step::Prevote, Some(&id)),
            vote_digest(&[0; 32], kind, 1, 0, Step::Prevote, Some(&id)),
            vote_digest(&[0; 32], DUTY, 2, 0, Step::Prevote, Some(&id)),
            vote_digest(&[0; 32], DUTY, 1, 1, Step::Prevote, Some(&id)),
            vote_digest(&[0; 32], DUTY, 1, 0, Step::Precommit, Some(&id)),
            vote_digest(&[0; 32], DUTY, 1, 0, Step::Prevote, Some(&[0; 32])),
            vote_digest(&[0; 32], DUTY, 1, 0, Step::Prevote, None),
            proposal_digest(&[0; 32], DUTY, 1, 0, None, &id),
            proposal_digest(&[0; 32], DUTY, 1, 0, Some(0), &id),
            proposal_digest(&[0; 32], DUTY, 1, 0, Some(1), &id),
        ];
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }

    proptest! {
        #[test]
        fn whatever_decodes_encodes_to_the_same(tag in 1..=4_u8, kind in 1..=4_u8, rest in proptest::collection::vec(0..4_u8, 8..220)) {
            let mut bytes = vec![tag, kind];
            bytes.extend(rest);
            if let Some(message) = Message::decode(&bytes, |_| 64) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }
    }
}

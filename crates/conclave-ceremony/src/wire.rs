//! What two operators say to each other in a ceremony, byte for byte.
//!
//! A frame is `u32 length || u8 kind || payload`; the length counts kind and payload, integers are big-endian.
//! One function decodes, strictly: a list has no padding and no trailing bytes, text has no control
//! characters, and whatever does not fit is an error. Before a payload is read its length is held against
//! [`FrameLimits`], so nobody can make a node allocate for a frame that could never be valid.
//!
//! | Kind | Message | Payload |
//! |---|---|---|
//! | 1 | `Hello` | u16 protocol, definition hash (32), fork version (4), u64 genesis time, u64 chain id, u8 length, software |
//! | 2 | `Definition` | the cluster definition as JSON |
//! | 3 | `Inventory` | u8 last (0 or 1), items |
//! | 4 | `Have` | items |
//! | 5 | `Want` | ids (32 each) |
//! | 6 | `Entry` | item, the encoded entry |
//! | 7 | `Verdicts` | verdicts |
//! | 8 | `WantEvidence` | verdicts |
//! | 9 | `Evidence` | verdict, the encoded evidence |
//! | 10 | `Links` | operator numbers (u16), ascending |
//! | 11, 12 | | the node's own: addresses and goodbye |
//!
//! An item is `u32 attempt || u8 step || u16 operator || id` (39 bytes), a verdict
//! `u32 attempt || u16 operator || u8 kind` (7 bytes).

use std::sync::Arc;

use libp2p::StreamProtocol;

use conclave_net::fields::Fields;
pub use conclave_net::protocol::Bytes;
use conclave_net::protocol::{Frame, JOURNAL, Protocol, WireError};

/// Version of the messages of this module, sent in the [`Hello`].
pub const PROTOCOL: u16 = 1;
/// The largest cluster definition that is sent or taken, in bytes.
pub const MAX_DEFINITION: usize = 8 << 20;
/// The most items, ids or verdicts in one message; longer lists are split.
pub const MAX_LIST: usize = 2048;
/// The longest software name in a [`Hello`], in bytes.
pub const MAX_SOFTWARE: usize = 64;
/// The kind of the [`Hello`].
const HELLO: u8 = 1;
const ITEM: usize = 39;
const VERDICT: usize = 7;
const LAST_STEP: u8 = 7;

/// The id of an entry, 32 bytes (see the protocol's document, "Identifiers and entries").
pub type Id = [u8; 32];

/// An entry as inventories name it. The order of the type is the order in which entries are sent:
/// attempt, step, operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// The attempt, from 1.
    pub attempt: u32,
    /// The step, 0 (`Join`) to 7 (`Done`).
    pub step: u8,
    /// The author, from 1.
    pub operator: u16,
    /// The entry's id.
    pub id: Id,
}

/// One element of a verdict set: this operator did this in that attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verdict {
    /// The attempt, from 1.
    pub attempt: u32,
    /// Who is named; 0 where a kind names nobody.
    pub operator: u16,
    /// The kind, as `dkg` numbers it.
    pub kind: u8,
}

/// What both sides send first: who does not agree here has nothing to synchronise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Version of these messages, [`PROTOCOL`].
    pub protocol: u16,
    /// Name and version of the program, for people only. At most [`MAX_SOFTWARE`] bytes.
    pub software: String,
    /// The cluster definition's hash.
    pub definition_hash: [u8; 32],
    /// The network's genesis fork version.
    pub genesis_fork_version: [u8; 4],
    /// The network's genesis time, Unix seconds.
    pub genesis_time: u64,
    /// The network's chain id (EIP-155).
    pub chain_id: u64,
}

/// Everything that is ever said on a journal stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First on every connection.
    Hello(Hello),
    /// The definition, sent only when the hashes in the `Hello`s differ, so that people can compare.
    Definition(Bytes),
    /// A part of everything that the sender holds.
    Inventory {
        /// Whether this is the last part.
        last: bool,
        /// What the sender holds.
        items: Vec<Item>,
    },
    /// What the sender holds since its last inventory.
    Have(Vec<Item>),
    /// Entries that the sender would like to have.
    Want(Vec<Id>),
    /// An entry, asked for or new.
    Entry {
        /// What the sender says that it is; true only once the entry itself was read.
        item: Item,
        /// The encoded entry.
        bytes: Bytes,
    },
    /// The sender's whole verdict set, or its first [`MAX_LIST`] elements.
    Verdicts(Vec<Verdict>),
    /// Verdicts that the sender lacks evidence for.
    WantEvidence(Vec<Verdict>),
    /// One self-contained piece of evidence.
    Evidence {
        /// What it is said to show.
        verdict: Verdict,
        /// The encoded evidence.
        bytes: Bytes,
    },
    /// The operators to whom the sender is connected.
    Links(Vec<u16>),
}

/// How long a frame of each kind may be: fixed by the ceremony before the first byte is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// How many operators the definition names.
    pub operators: u16,
    /// The longest encoded entry of the ceremony, in bytes.
    pub entry: usize,
    /// The longest encoded piece of evidence of the ceremony, in bytes.
    pub evidence: usize,
}

/// The ceremony's conversation: operators who keep their journals equal.
#[derive(Debug, Clone, Copy)]
pub enum Ceremony {}

impl Protocol for Ceremony {
    const STREAM: StreamProtocol = StreamProtocol::new(JOURNAL.fixed);
    const GROWING: Option<StreamProtocol> = Some(StreamProtocol::new(JOURNAL.growing));
    const ADDRESSES: u8 = 11;
    const BYE: u8 = 12;

    type Message = Message;
    type Limits = FrameLimits;

    fn payload(limits: &FrameLimits, kind: u8) -> Result<usize, WireError> {
        Ok(match kind {
            1 => 2 + 32 + 4 + 8 + 8 + 1 + MAX_SOFTWARE,
            2 => MAX_DEFINITION,
            3 => 1 + ITEM * MAX_LIST,
            4 => ITEM * MAX_LIST,
            5 => 32 * MAX_LIST,
            6 => ITEM.saturating_add(limits.entry),
            7 | 8 => VERDICT * MAX_LIST,
            9 => VERDICT.saturating_add(limits.evidence),
            10 => 2 * usize::from(limits.operators),
            _ => return Err(WireError::Kind(kind)),
        })
    }

    /// As long as two of the longest frames and some more.
    fn queue(limits: &FrameLimits) -> usize {
        let longest = (1..=10).filter_map(|kind| Self::payload(limits, kind).ok()).max();
        longest.unwrap_or(0).saturating_mul(2).saturating_add(64 << 20)
    }

    fn encode(message: &Message) -> Frame {
        message.frame()
    }

    fn decode(limits: &FrameLimits, kind: u8, payload: &[u8]) -> Result<Message, WireError> {
        Message::decode(kind, payload, limits)
    }

    /// A newer program's Hello may name a newer version and say more: both speak the older one's.
    fn decode_growing(
        limits: &FrameLimits,
        kind: u8,
        payload: &[u8],
        _: &Fields,
    ) -> Result<Message, WireError> {
        if kind != HELLO {
            return Message::decode(kind, payload, limits);
        }
        let (mut hello, _) = read_hello(payload)
            .filter(|(hello, _)| hello.protocol > 0)
            .ok_or(WireError::Malformed(kind))?;
        hello.protocol = hello.protocol.min(PROTOCOL);
        Ok(Message::Hello(hello))
    }
}

impl Message {
    /// The number of the kind on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Definition(_) => 2,
            Self::Inventory { .. } => 3,
            Self::Have(_) => 4,
            Self::Want(_) => 5,
            Self::Entry { .. } => 6,
            Self::Verdicts(_) => 7,
            Self::WantEvidence(_) => 8,
            Self::Evidence { .. } => 9,
            Self::Links(_) => 10,
        }
    }

    /// Encodes the message as one frame.
    ///
    /// Lists longer than the limits are the caller's fault: the other side will refuse them.
    pub fn frame(&self) -> Frame {
        let mut head = Vec::new();
        let mut body = None;
        match self {
            Self::Hello(hello) => put_hello(&mut head, hello),
            Self::Definition(bytes) => body = Some(bytes.clone()),
            Self::Inventory { last, items } => {
                head.push(u8::from(*last));
                for item in items {
                    put_item(&mut head, item);
                }
            }
            Self::Have(items) => items.iter().for_each(|item| put_item(&mut head, item)),
            Self::Want(ids) => ids.iter().for_each(|id| head.extend_from_slice(id)),
            Self::Entry { item, bytes } => {
                put_item(&mut head, item);
                body = Some(bytes.clone());
            }
            Self::Verdicts(list) | Self::WantEvidence(list) => {
                for verdict in list {
                    put_verdict(&mut head, *verdict);
                }
            }
            Self::Evidence { verdict, bytes } => {
                put_verdict(&mut head, *verdict);
                body = Some(bytes.clone());
            }
            Self::Links(operators) => {
                for operator in operators {
                    head.extend_from_slice(&operator.to_be_bytes());
                }
            }
        }
        Frame::new(self.kind(), &head, body)
    }

    /// Decodes the payload of a frame of this kind; every byte must belong to the message.
    ///
    /// # Errors
    /// [`WireError`] for anything that [`Message::frame`] would not have written.
    pub fn decode(kind: u8, payload: &[u8], limits: &FrameLimits) -> Result<Self, WireError> {
        let limit = Ceremony::payload(limits, kind)?;
        if payload.len() > limit {
            return Err(WireError::TooLong {
                kind,
                length: payload.len() + 1,
                limit: limit + 1,
            });
        }
        decode(kind, payload).ok_or(WireError::Malformed(kind))
    }
}

fn decode(kind: u8, payload: &[u8]) -> Option<Message> {
    Some(match kind {
        1 => Message::Hello(get_hello(payload)?),
        2 => Message::Definition(get_body(payload)?),
        3 => {
            let (last, items) = payload.split_first()?;
            let last = match last {
                0 => false,
                1 => true,
                _ => return None,
            };
            Message::Inventory {
                last,
                items: get_list(items, get_item)?,
            }
        }
        4 => Message::Have(get_filled_list(payload, get_item)?),
        5 => Message::Want(get_filled_list(payload, |id: &Id| Some(*id))?),
        6 => {
            let (item, bytes) = payload.split_first_chunk()?;
            Message::Entry {
                item: get_item(item)?,
                bytes: get_body(bytes)?,
            }
        }
        7 => Message::Verdicts(get_list(payload, get_verdict)?),
        8 => Message::WantEvidence(get_filled_list(payload, get_verdict)?),
        9 => {
            let (verdict, bytes) = payload.split_first_chunk()?;
            Message::Evidence {
                verdict: get_verdict(verdict)?,
                bytes: get_body(bytes)?,
            }
        }
        10 => {
            let operators = get_list(payload, |bytes: &[u8; 2]| Some(u16::from_be_bytes(*bytes)))?;
            let ascending = operators.is_sorted_by(|a, b| a < b) && operators.first() != Some(&0);
            ascending.then_some(Message::Links(operators))?
        }
        _ => return None,
    })
}

fn put_hello(out: &mut Vec<u8>, hello: &Hello) {
    out.extend_from_slice(&hello.protocol.to_be_bytes());
    out.extend_from_slice(&hello.definition_hash);
    out.extend_from_slice(&hello.genesis_fork_version);
    out.extend_from_slice(&hello.genesis_time.to_be_bytes());
    out.extend_from_slice(&hello.chain_id.to_be_bytes());
    let mut software = hello.software.as_str();
    while software.len() > MAX_SOFTWARE {
        software = software
            .char_indices()
            .next_back()
            .map_or("", |(end, _)| &software[..end]);
    }
    let software = software.as_bytes();
    out.push(u8::try_from(software.len()).unwrap_or(0));
    out.extend_from_slice(software);
}

fn get_hello(payload: &[u8]) -> Option<Hello> {
    read_hello(payload).and_then(|(hello, rest)| rest.is_empty().then_some(hello))
}

/// A Hello at the beginning of a payload, and the rest.
fn read_hello(payload: &[u8]) -> Option<(Hello, &[u8])> {
    let (protocol, rest) = payload.split_first_chunk()?;
    let (definition_hash, rest) = rest.split_first_chunk()?;
    let (genesis_fork_version, rest) = rest.split_first_chunk()?;
    let (genesis_time, rest) = rest.split_first_chunk()?;
    let (chain_id, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let (software, rest) = rest.split_at_checked(usize::from(*length))?;
    let software = std::str::from_utf8(software).ok()?;
    if software.len() > MAX_SOFTWARE || software.chars().any(char::is_control) {
        return None;
    }
    let hello = Hello {
        protocol: u16::from_be_bytes(*protocol),
        software: software.to_owned(),
        definition_hash: *definition_hash,
        genesis_fork_version: *genesis_fork_version,
        genesis_time: u64::from_be_bytes(*genesis_time),
        chain_id: u64::from_be_bytes(*chain_id),
    };
    Some((hello, rest))
}

fn put_item(out: &mut Vec<u8>, item: &Item) {
    out.extend_from_slice(&item.attempt.to_be_bytes());
    out.push(item.step);
    out.extend_from_slice(&item.operator.to_be_bytes());
    out.extend_from_slice(&item.id);
}

fn get_item(bytes: &[u8; ITEM]) -> Option<Item> {
    let (attempt, rest) = bytes.split_first_chunk()?;
    let (step, rest) = rest.split_first()?;
    let (operator, id) = rest.split_first_chunk()?;
    let item = Item {
        attempt: u32::from_be_bytes(*attempt),
        step: *step,
        operator: u16::from_be_bytes(*operator),
        id: id.try_into().ok()?,
    };
    (item.attempt > 0 && item.operator > 0 && item.step <= LAST_STEP).then_some(item)
}

fn put_verdict(out: &mut Vec<u8>, verdict: Verdict) {
    out.extend_from_slice(&verdict.attempt.to_be_bytes());
    out.extend_from_slice(&verdict.operator.to_be_bytes());
    out.push(verdict.kind);
}

// By reference, as `get_list` hands out elements.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn get_verdict(bytes: &[u8; VERDICT]) -> Option<Verdict> {
    let (attempt, rest) = bytes.split_first_chunk()?;
    let (operator, kind) = rest.split_first_chunk()?;
    let verdict = Verdict {
        attempt: u32::from_be_bytes(*attempt),
        operator: u16::from_be_bytes(*operator),
        kind: *kind.first()?,
    };
    (verdict.attempt > 0).then_some(verdict)
}

/// A body that may not be empty.
fn get_body(bytes: &[u8]) -> Option<Bytes> {
    (!bytes.is_empty()).then(|| Arc::from(bytes))
}

/// A list of elements of one size without anything after it, at most [`MAX_LIST`] long.
fn get_list<const N: usize, T>(bytes: &[u8], get: impl Fn(&[u8; N]) -> Option<T>) -> Option<Vec<T>> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() || chunks.len() > MAX_LIST {
        return None;
    }
    chunks.iter().map(get).collect()
}

fn get_filled_list<const N: usize, T>(bytes: &[u8], get: impl Fn(&[u8; N]) -> Option<T>) -> Option<Vec<T>> {
    get_list(bytes, get).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use conclave_net::{protocol::HEADER, testing::fixed_header};

    const LIMITS: FrameLimits = FrameLimits {
        operators: 64,
        entry: 1 << 16,
        evidence: 1 << 17,
    };

    /// The beginning of a frame as the node judges it.
    fn header_of(header: [u8; HEADER]) -> Result<(u8, usize), WireError> {
        fixed_header::<Ceremony>(64, LIMITS, header)
    }

    #[test]
    fn a_newer_programs_hello_is_read_where_frames_can_grow() {
        let hello = Hello {
            protocol: PROTOCOL,
            software: "conclave/9".into(),
            definition_hash: [1; 32],
            genesis_fork_version: [2; 4],
            genesis_time: 3,
            chain_id: 4,
        };
        let mut payload = Vec::new();
        put_hello(&mut payload, &hello);
        // As the first release wrote it.
        let recorded = format!(
            "0001{}{}00000000000000030000000000000004{:02x}{}",
            "01".repeat(32),
            "02".repeat(4),
            "conclave/9".len(),
            hex::encode("conclave/9")
        );
        assert_eq!(hex::encode(&payload), recorded);
        payload[1] = 9;
        payload.extend_from_slice(b"more");
        let read = |payload: &[u8]| Ceremony::decode_growing(&LIMITS, HELLO, payload, &Fields::default());
        assert_eq!(read(&payload), Ok(Message::Hello(hello)));
        assert!(Ceremony::decode(&LIMITS, HELLO, &payload).is_err());
        payload[1] = 0;
        assert_eq!(read(&payload), Err(WireError::Malformed(HELLO)));
        assert_eq!(read(&payload[..20]), Err(WireError::Malformed(HELLO)));
    }

    fn flat(frame: &Frame) -> Vec<u8> {
        let mut bytes = frame.head.clone();
        bytes.extend_from_slice(frame.body.as_deref().unwrap_or_default());
        bytes
    }

    fn reread(bytes: &[u8]) -> Result<Message, WireError> {
        let (header, payload) = bytes.split_first_chunk().expect("a header");
        let (kind, length) = header_of(*header)?;
        assert_eq!(length, payload.len());
        Message::decode(kind, payload, &LIMITS)
    }

    fn item() -> impl Strategy<Value = Item> {
        (1u32.., 0u8..=7, 1u16.., any::<Id>()).prop_map(|(attempt, step, operator, id)| Item {
            attempt,
            step,
            operator,
            id,
        })
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        (1u32.., any::<u16>(), any::<u8>()).prop_map(|(attempt, operator, kind)| Verdict {
            attempt,
            operator,
            kind,
        })
    }

    fn body() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 1..200).prop_map(Arc::from)
    }

    fn message() -> impl Strategy<Value = Message> {
        let hello = (
            any::<u16>(),
            "[ -~]{0,64}",
            any::<[u8; 32]>(),
            any::<[u8; 4]>(),
            any::<u64>(),
            any::<u64>(),
        )
            .prop_map(
                |(protocol, software, definition_hash, genesis_fork_version, genesis_time, chain_id)| {
                    Message::Hello(Hello {
                        protocol,
                        software,
                        definition_hash,
                        genesis_fork_version,
                        genesis_time,
                        chain_id,
                    })
                },
            );
        prop_oneof![
            hello,
            body().prop_map(Message::Definition),
            (any::<bool>(), vec(item(), 0..20)).prop_map(|(last, items)| Message::Inventory { last, items }),
            vec(item(), 1..20).prop_map(Message::Have),
            vec(any::<Id>(), 1..20).prop_map(Message::Want),
            (item(), body()).prop_map(|(item, bytes)| Message::Entry { item, bytes }),
            vec(verdict(), 0..20).prop_map(Message::Verdicts),
            vec(verdict(), 1..20).prop_map(Message::WantEvidence),
            (verdict(), body()).prop_map(|(verdict, bytes)| Message::Evidence { verdict, bytes }),
            proptest::collection::btree_set(1u16..=64, 0..20)
                .prop_map(|set| Message::Links(set.into_iter().collect())),
        ]
    }

    proptest! {
        #[test]
        fn every_message_survives_the_wire(message in message()) {
            prop_assert_eq!(reread(&flat(&message.frame())), Ok(message));
        }

        #[test]
        fn whatever_decodes_is_what_would_have_been_written(kind in any::<u8>(), payload in vec(any::<u8>(), 0..400)) {
            if let Ok(message) = Message::decode(kind, &payload, &LIMITS) {
                prop_assert_eq!(&flat(&message.frame())[HEADER..], &payload[..]);
            }
        }

        #[test]
        fn a_changed_frame_is_refused_or_another_message(
            message in message(), at in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            let frame = flat(&message.frame());
            let mut payload = frame[HEADER..].to_vec();
            if payload.is_empty() { return Ok(()); }
            let at = at.index(payload.len());
            payload[at] ^= 1 << bit;
            if let Ok(other) = Message::decode(message.kind(), &payload, &LIMITS) {
                prop_assert_ne!(&other, &message);
                prop_assert_eq!(&flat(&other.frame())[HEADER..], &payload[..]);
            }
        }

        #[test]
        fn fixed_size_messages_take_no_trailing_byte(message in message(), extra in any::<u8>()) {
            let has_body = message.frame().body.is_some();
            let mut payload = flat(&message.frame())[HEADER..].to_vec();
            payload.push(extra);
            prop_assert!(has_body || Message::decode(message.kind(), &payload, &LIMITS).is_err());
        }
    }

    #[test]
    fn lengths_are_judged_before_the_payload() {
        let header = |length: u32, kind: u8| {
            let [a, b, c, d] = length.to_be_bytes();
            header_of([a, b, c, d, kind])
        };
        assert_eq!(header(0, 12), Err(WireError::Malformed(12)));
        assert_eq!(header(1, 12), Ok((12, 0)));
        assert_eq!(
            header(2, 12),
            Err(WireError::TooLong {
                kind: 12,
                length: 2,
                limit: 1
            })
        );
        assert_eq!(header(1, 0), Err(WireError::Kind(0)));
        assert_eq!(header(1, 13), Err(WireError::Kind(13)));
        let entry = 1 + 39 + (1 << 16);
        assert_eq!(header(entry, 6), Ok((6, entry as usize - 1)));
        assert!(header(entry + 1, 6).is_err());
        assert!(header(u32::MAX, 9).is_err());
        assert_eq!(header(1 + (8 << 20), 2), Ok((2, 8 << 20)));
        assert!(header(2 + (8 << 20), 2).is_err());
    }

    #[test]
    fn hostile_lists_are_refused() {
        let bad: [(u8, Vec<u8>); 9] = [
            (3, vec![]),
            (3, vec![2]),
            (4, vec![]),
            (4, vec![0; 39]),
            (5, vec![1; 31]),
            (6, vec![1; 39]),
            (9, vec![1; 7]),
            (10, vec![0, 0]),
            (10, vec![0, 2, 0, 2]),
        ];
        for (kind, payload) in bad {
            assert_eq!(
                Message::decode(kind, &payload, &LIMITS),
                Err(WireError::Malformed(kind)),
                "{payload:?}"
            );
        }
    }

    #[test]
    fn a_hello_is_plain_text() {
        let hello = Hello {
            protocol: PROTOCOL,
            software: "conclave".into(),
            definition_hash: [7; 32],
            genesis_fork_version: [1; 4],
            genesis_time: 5,
            chain_id: 6,
        };
        let good = flat(&Message::Hello(hello.clone()).frame());
        let mut escape = good.clone();
        *escape.last_mut().expect("text") = 0x1b;
        assert_eq!(reread(&escape), Err(WireError::Malformed(1)));
        let mut not_text = good;
        *not_text.last_mut().expect("text") = 0xff;
        assert_eq!(reread(&not_text), Err(WireError::Malformed(1)));
        let long = Hello {
            software: "é".repeat(100),
            ..hello
        };
        let Ok(Message::Hello(cut)) = reread(&flat(&Message::Hello(long).frame())) else {
            panic!("a long name is cut")
        };
        assert_eq!(cut.software, "é".repeat(32));
    }
}

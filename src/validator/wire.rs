//! What running nodes say to each other, byte for byte.
//!
//! Integers are big-endian. Whatever the sender signs is signed inside (partial signatures, agreement, Alive); the
//! rest concerns only the two ends of a connection.
//!
//! | Kind | Message | Payload |
//! |---|---|---|
//! | 1 | `Hello` | u16 protocol, lock hash (32), instance (16), u64 clock in ms, u8 (bit 0 block, bit 1 attestation, bit 2 watches), proofs, u8 length, software |
//! | 2 | `Alive` | see [`Alive::encode`] |
//! | 3 | `Agreement` | see [`agreement::messages::Message::encode`] |
//! | 4 | `Partials` | see [`Partials::encode`] |
//! | 5 | `Contents` | u64 slot, block root (32), the block with its blobs as a beacon node takes it |
//! | 6 | `Clock` | u64 clock in ms, u64 clock of the receiver's that this answers (0: none), u32 ms that it waited |
//! | 7 | `Exit` | see [`PartialExit::encode`] |

use std::sync::Arc;

use crate::{crypto::hash::Hash, dkg::wire::Reader};

use super::{
    agreement,
    alive::{Alive, Instance, LONGEST as LONGEST_ALIVE},
    duty::Kind,
    exits::{self, PartialExit},
    memory::Proofs,
    partials::{PROOF, Partials, Proof},
};

/// Version of these messages, sent in the [`Hello`].
pub const PROTOCOL: u16 = 1;
/// The longest software name, in bytes.
pub const MAX_SOFTWARE: usize = 64;
/// The longest block with its blobs, in bytes.
pub const MAX_CONTENTS: usize = 32 << 20;
/// The longest block that is agreed on, in bytes: what the network's gossip passes on.
pub const MAX_BLOCK: usize = 10 << 20;
/// The longest list of aggregates or contributions, in bytes.
pub const MAX_AGGREGATES: usize = 4 << 20;
/// Bytes of an encoded `AttestationData`.
pub const HEAD: usize = 128;
/// Sync subcommittees, each of which makes one more partial signature of a validator.
const SUBCOMMITTEES: usize = 4;

/// The longest value of an agreement, in bytes.
pub fn value_limit(kind: Kind) -> usize {
    match kind {
        Kind::Head => HEAD,
        Kind::Block => MAX_BLOCK,
        Kind::Aggregates | Kind::Contributions => MAX_AGGREGATES,
    }
}

/// What both sides say first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Version of these messages.
    pub protocol: u16,
    /// The lock; who has another one has nothing to say here.
    pub lock_hash: Hash,
    /// The sender's process.
    pub instance: Instance,
    /// The sender's clock, in milliseconds since the Unix epoch.
    pub clock_ms: u64,
    /// What the sender holds of the receiver's newest signatures.
    pub proofs: Proofs,
    /// The sender only watches (a dry run): it keeps no memory, so what it does not show may have been signed all the same.
    pub watches: bool,
    /// Name and version of the program, for people.
    pub software: String,
}

/// Everything that is said between running nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First on every connection.
    Hello(Hello),
    /// Somebody is at work; possibly passed on.
    Alive(Alive),
    /// A message of an agreement.
    Agreement(agreement::messages::Message),
    /// An operator's partial signatures.
    Partials(Partials),
    /// The block that was decided, from the operator who can publish it.
    Contents {
        /// Its slot.
        slot: u64,
        /// Its root.
        root: Hash,
        /// Block, proofs and blobs, as a beacon node gave them.
        bytes: Arc<[u8]>,
    },
    /// An operator's part of a voluntary exit; possibly passed on.
    Exit(PartialExit),
    /// To compare clocks.
    Clock {
        /// The sender's clock, in milliseconds since the Unix epoch.
        clock_ms: u64,
        /// The newest clock that the receiver had told, 0 if none.
        answers_ms: u64,
        /// How long ago that came, in milliseconds.
        waited_ms: u32,
    },
}

/// What bounds the messages of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Validators of the lock.
    pub validators: usize,
}

impl Limits {
    /// The longest payload of a kind of message in bytes; `None` if there is no such kind.
    pub fn payload(&self, kind: u8) -> Option<usize> {
        Some(match kind {
            1 => 2 + 32 + 16 + 8 + 1 + 2 * PROOF + 1 + MAX_SOFTWARE,
            2 => LONGEST_ALIVE,
            3 => agreement::messages::longest_message(MAX_BLOCK),
            4 => Partials::longest(self.validators.saturating_mul(SUBCOMMITTEES)),
            5 => 8 + 32 + MAX_CONTENTS,
            6 => 20,
            7 => exits::LENGTH,
            _ => return None,
        })
    }
}

impl Message {
    /// Its kind and payload.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Hello(hello) => (1, encode_hello(hello)),
            Self::Alive(alive) => (2, alive.encode()),
            Self::Agreement(message) => (3, message.encode()),
            Self::Partials(partials) => (4, partials.encode()),
            Self::Contents { slot, root, bytes } => (5, [&slot.to_be_bytes()[..], root, bytes].concat()),
            Self::Exit(partial) => (7, partial.encode()),
            Self::Clock {
                clock_ms,
                answers_ms,
                waited_ms,
            } => {
                let parts = [
                    &clock_ms.to_be_bytes()[..],
                    &answers_ms.to_be_bytes(),
                    &waited_ms.to_be_bytes(),
                ];
                (6, parts.concat())
            }
        }
    }

    /// Reads what [`Message::encode`] wrote; `None` for everything else. Signatures inside are not checked.
    pub fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let message = match kind {
            1 => Self::Hello(read_hello(&mut reader)?),
            2 => Self::Alive(Alive::read(&mut reader)?),
            3 => return agreement::messages::Message::decode(payload, value_limit).map(Self::Agreement),
            4 => return Partials::decode(payload).map(Self::Partials),
            5 => {
                let (slot, root) = (reader.u64()?, reader.array()?);
                let bytes = payload.get(40..).filter(|bytes| !bytes.is_empty())?;
                return Some(Self::Contents {
                    slot,
                    root,
                    bytes: bytes.into(),
                });
            }
            6 => Self::Clock {
                clock_ms: reader.u64()?,
                answers_ms: reader.u64()?,
                waited_ms: reader.u32()?,
            },
            7 => return PartialExit::decode(payload).map(Self::Exit),
            _ => return None,
        };
        reader.is_empty().then_some(message)
    }
}

fn encode_hello(hello: &Hello) -> Vec<u8> {
    let mut bytes = hello.protocol.to_be_bytes().to_vec();
    bytes.extend_from_slice(&hello.lock_hash);
    bytes.extend_from_slice(&hello.instance);
    bytes.extend_from_slice(&hello.clock_ms.to_be_bytes());
    let proofs = &hello.proofs;
    bytes.push(
        u8::from(proofs.block.is_some())
            | u8::from(proofs.attestation.is_some()) << 1
            | u8::from(hello.watches) << 2,
    );
    for proof in proofs.iter() {
        bytes.extend_from_slice(&proof.encode());
    }
    let software: String = hello
        .software
        .chars()
        .filter(char::is_ascii_graphic)
        .take(MAX_SOFTWARE)
        .collect();
    bytes.push(u8::try_from(software.len()).unwrap_or(0));
    bytes.extend_from_slice(software.as_bytes());
    bytes
}

fn read_hello(reader: &mut Reader<'_>) -> Option<Hello> {
    let protocol = reader.u16()?;
    let lock_hash = reader.array()?;
    let instance = reader.array()?;
    let clock_ms = reader.u64()?;
    let held = reader.u8()?;
    if held > 7 {
        return None;
    }
    let block = if held & 1 == 0 {
        None
    } else {
        Some(Proof::read(reader)?)
    };
    let attestation = if held & 2 == 0 {
        None
    } else {
        Some(Proof::read(reader)?)
    };
    let length = usize::from(reader.u8()?);
    let software = reader.bytes(length).filter(|_| length <= MAX_SOFTWARE)?;
    if !software.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(Hello {
        protocol,
        lock_hash,
        instance,
        clock_ms,
        proofs: Proofs { block, attestation },
        watches: held & 4 != 0,
        software: String::from_utf8_lossy(software).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_says_whether_its_sender_only_watches() {
        for watches in [false, true] {
            let hello = Message::Hello(Hello {
                protocol: PROTOCOL,
                lock_hash: [7; 32],
                instance: [1; 16],
                clock_ms: 5,
                proofs: Proofs::default(),
                watches,
                software: "test/1".into(),
            });
            let (kind, mut payload) = hello.encode();
            assert_eq!(Message::decode(kind, &payload), Some(hello));
            // The place of the bits. There are three.
            let bits = 2 + 32 + 16 + 8;
            assert_eq!(payload[bits], u8::from(watches) << 2);
            payload[bits] |= 8;
            assert_eq!(Message::decode(kind, &payload), None);
        }
    }
}

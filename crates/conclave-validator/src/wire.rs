//! What running nodes say to each other, byte for byte.
//!
//! Integers are big-endian. Whatever the sender signs is signed inside (partial signatures, agreement, Alive); the
//! rest concerns only the two ends of a connection.
//!
//! | Kind | Message | Payload |
//! |---|---|---|
//! | 1 | `Hello` | u16 protocol, lock hash (32), instance (16), u64 clock in ms, u8 (bit 0 block, bit 1 attestation, bit 2 watches), proofs, u8 length, software |
//! | 2 | `Alive` | see [`Alive::encode`] |
//! | 3 | `Agreement` | see [`conclave_consensus::messages::Message::encode`] |
//! | 4 | `Partials` | see [`Partials::encode`] |
//! | 5 | `Contents` | u64 slot, block root (32), the block with its blobs as a beacon node takes it |
//! | 6 | `Clock` | u64 clock in ms, u64 clock of the receiver's that this answers (0: none), u32 ms that it waited |
//! | 7 | `Exit` | see [`PartialExit::encode`] |
//!
//! On streams that can grow, a `Hello` has [`Fields`] besides: 1 says whether the sender takes blocks of external builders
//! (u8 0 or 1), 2 names the forks for which it can sign (text, names between commas).

use std::sync::Arc;

use conclave_crypto::hash::Hash;
use conclave_dkg::wire::Reader;
use conclave_net::fields::Fields;

use super::{
    alive::{Alive, Instance, LONGEST as LONGEST_ALIVE},
    exits::{self, PartialExit},
    memory::Proofs,
    partials::{PROOF, Partials, Proof},
};
use conclave_eth::chain::fork::Fork;
use conclave_eth::duty::Kind;

/// Version of these messages, sent in the [`Hello`].
pub const PROTOCOL: u16 = 1;
/// The kind of the [`Hello`].
const HELLO: u8 = 1;
/// The longest software name, in bytes.
pub const MAX_SOFTWARE: usize = 64;
/// Most forks that are named in a [`Hello`].
pub const MAX_FORKS: usize = 16;
/// The longest name of a fork, in bytes.
const MAX_FORK_NAME: usize = 32;
/// The field of a [`Hello`] that says whether blocks of external builders are taken.
const BUILDER: u8 = 1;
/// The field of a [`Hello`] that names forks.
const FORKS: u8 = 2;
/// The longest block with its blobs, in bytes.
pub const MAX_CONTENTS: usize = 32 << 20;
/// The longest block that is agreed on, in bytes: what the network's gossip passes on.
pub const MAX_BLOCK: usize = 10 << 20;
/// The longest list of aggregates or contributions, in bytes: 64 of one committee each, with 2048 votes, are half of that.
pub const MAX_AGGREGATES: usize = 64 << 10;
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

/// What a program says that it can do and was told to do. Older ones say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it takes blocks of external builders (`--builder`).
    pub builder: Option<bool>,
    /// The forks for which it can sign, as the Beacon API names them, in the order in which it says them.
    pub forks: Option<Vec<String>>,
}

impl Abilities {
    /// Those of this program.
    pub fn own(builder: bool) -> Self {
        Self {
            builder: Some(builder),
            forks: Some(Fork::SIGNED.iter().map(|fork| fork.name().to_owned()).collect()),
        }
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        if let Some(builder) = self.builder {
            fields = fields.with(BUILDER, &[builder.into()]);
        }
        if let Some(forks) = &self.forks {
            fields = fields.with(FORKS, forks.join(",").as_bytes());
        }
        fields
    }

    /// `None` if a field that is known here says what it cannot say.
    fn of(fields: &Fields) -> Option<Self> {
        let builder = match fields.get(BUILDER) {
            None => None,
            Some([0]) => Some(false),
            Some([1]) => Some(true),
            Some(_) => return None,
        };
        let forks = match fields.get(FORKS) {
            None => None,
            Some(text) => Some(fork_names(text)?),
        };
        Some(Self { builder, forks })
    }
}

fn fork_names(text: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(text).ok()?;
    let is_name = |name: &str| {
        (1..=MAX_FORK_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let names: Vec<String> = text.split(',').take(MAX_FORKS + 1).map(str::to_owned).collect();
    (names.len() <= MAX_FORKS && names.iter().all(|name| is_name(name))).then_some(names)
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
    /// What it can do; nothing on streams that cannot grow.
    pub abilities: Abilities,
}

/// Everything that is said between running nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First on every connection.
    Hello(Hello),
    /// Somebody is at work; possibly passed on.
    Alive(Alive),
    /// A message of an agreement.
    Agreement(conclave_consensus::messages::Message),
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
            HELLO => 2 + 32 + 16 + 8 + 1 + 2 * PROOF + 1 + MAX_SOFTWARE,
            2 => LONGEST_ALIVE,
            3 => conclave_consensus::messages::longest_message(MAX_BLOCK),
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
        let (kind, mut payload, body) = self.parts();
        payload.extend_from_slice(body.as_deref().unwrap_or_default());
        (kind, payload)
    }

    /// Its kind, the beginning of its payload, and the rest if that is shared with the message: blobs are many, and so are those
    /// to whom they go.
    pub fn parts(&self) -> (u8, Vec<u8>, Option<Arc<[u8]>>) {
        let (kind, payload) = match self {
            Self::Hello(hello) => (HELLO, encode_hello(hello)),
            Self::Alive(alive) => (2, alive.encode()),
            Self::Agreement(message) => (3, message.encode()),
            Self::Partials(partials) => (4, partials.encode()),
            Self::Contents { slot, root, bytes } => {
                let payload = [&slot.to_be_bytes()[..], root].concat();
                return (5, payload, Some(bytes.clone()));
            }
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
        };
        (kind, payload, None)
    }

    /// What goes beside the payload to those who understand fields.
    pub fn fields(&self) -> Fields {
        match self {
            Self::Hello(hello) => hello.abilities.fields(),
            _ => Fields::default(),
        }
    }

    /// Reads a message of a stream that can grow. A newer program's [`Hello`] may name a newer version, have flags that are
    /// not known here, and say more at its end: both sides speak as the older one does.
    pub fn decode_growing(kind: u8, payload: &[u8], fields: &Fields) -> Option<Self> {
        if kind != HELLO {
            return Self::decode(kind, payload);
        }
        let mut hello = read_hello(&mut Reader::new(payload), Extent::Growing)?;
        hello.protocol = hello.protocol.min(PROTOCOL);
        hello.abilities = Abilities::of(fields)?;
        (hello.protocol > 0).then_some(Self::Hello(hello))
    }

    /// Reads what [`Message::encode`] wrote; `None` for everything else. Signatures inside are not checked.
    pub fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let message = match kind {
            HELLO => Self::Hello(read_hello(&mut reader, Extent::Fixed)?),
            2 => Self::Alive(Alive::read(&mut reader)?),
            3 => {
                return conclave_consensus::messages::Message::decode(payload, value_limit)
                    .map(Self::Agreement);
            }
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

/// Whether a [`Hello`] is exactly as it is known here, or may have more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Fixed,
    Growing,
}

fn read_hello(reader: &mut Reader<'_>, extent: Extent) -> Option<Hello> {
    let protocol = reader.u16()?;
    let lock_hash = reader.array()?;
    let instance = reader.array()?;
    let clock_ms = reader.u64()?;
    let held = reader.u8()?;
    if held > 7 && extent == Extent::Fixed {
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
        abilities: Abilities::default(),
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
                abilities: Abilities::default(),
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

    fn hello(abilities: Abilities) -> Hello {
        Hello {
            protocol: PROTOCOL,
            lock_hash: [7; 32],
            instance: [1; 16],
            clock_ms: 5,
            proofs: Proofs::default(),
            watches: true,
            software: "conclave/0.1.0".into(),
            abilities,
        }
    }

    /// What 0.1.0 wrote and took, byte for byte, whatever this program can say besides.
    #[test]
    fn the_hello_of_the_first_release_stays_as_it_was() {
        let recorded = hex::decode(format!(
            "0001{}{}0000000000000005040e{}",
            "07".repeat(32),
            "01".repeat(16),
            hex::encode("conclave/0.1.0")
        ))
        .unwrap();
        let message = Message::Hello(hello(Abilities::own(true)));
        assert_eq!(message.encode(), (1, recorded.clone()));
        assert_eq!(
            Message::decode(1, &recorded),
            Some(Message::Hello(hello(Abilities::default())))
        );
    }

    #[test]
    fn a_hello_says_what_its_sender_can_do_and_others_may_say_more() {
        for abilities in [
            Abilities::default(),
            Abilities::own(false),
            Abilities::own(true),
            Abilities {
                builder: None,
                forks: Some(vec!["gloas".into(), "eip_9999".into()]),
            },
        ] {
            let message = Message::Hello(hello(abilities));
            let (kind, payload) = message.encode();
            let fields = message.fields();
            assert_eq!(
                Message::decode_growing(kind, &payload, &fields).as_ref(),
                Some(&message)
            );
            // A newer program: another version, flags, fields and bytes that nobody here knows.
            let mut newer = payload.clone();
            newer[1] = 3;
            newer[2 + 32 + 16 + 8] |= 0xf8;
            newer.extend_from_slice(b"and more");
            let fields = fields.with(77, b"what");
            assert_eq!(
                Message::decode_growing(kind, &newer, &fields).as_ref(),
                Some(&message)
            );
            assert_eq!(Message::decode(kind, &newer), None);
            newer[1] = 0;
            assert_eq!(Message::decode_growing(kind, &newer, &fields), None);
            assert_eq!(
                Message::decode_growing(kind, &payload[..payload.len() - 1], &fields),
                None
            );
        }
        assert_eq!(Abilities::own(true).forks.unwrap(), ["electra", "fulu"]);
    }

    #[test]
    fn what_a_known_field_cannot_say_is_refused() {
        let (kind, payload) = Message::Hello(hello(Abilities::default())).encode();
        let many = vec!["a"; MAX_FORKS + 1].join(",");
        let long = "a".repeat(MAX_FORK_NAME + 1);
        for (tag, value) in [
            (BUILDER, &b""[..]),
            (BUILDER, &[2]),
            (BUILDER, &[1, 1]),
            (FORKS, b""),
            (FORKS, b"a,"),
            (FORKS, b"Electra"),
            (FORKS, b"a b"),
            (FORKS, &[0xff]),
            (FORKS, many.as_bytes()),
            (FORKS, long.as_bytes()),
        ] {
            let fields = Fields::default().with(tag, value);
            assert_eq!(
                Message::decode_growing(kind, &payload, &fields),
                None,
                "{value:?}"
            );
        }
    }
}

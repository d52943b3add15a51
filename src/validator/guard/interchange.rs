//! The interchange format of slashing protection: EIP-3076, version "5".
//!
//! Reading keeps the highest values only, as they pass: a file may be as long as it likes within [`MAX_FILE_BYTES`], and
//! what stays in memory is one record for each key.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::cluster::Key;
use super::rules::{Attested, Record};
use crate::crypto::hash::Hash;

/// Most bytes of a file: complete histories of some thousand keys.
pub const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Most different keys in a file.
const MAX_KEYS: usize = 1 << 20;
/// The version that is read and written.
const VERSION: &str = "5";

/// Why a file is refused. The text has three lines: what, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterchangeError {
    /// It has more than [`MAX_FILE_BYTES`].
    #[error(
        "This is no slashing protection file that can be imported.\n\
         It has more than {MAX_FILE_BYTES} bytes.\n\
         Export it in minimal form: the other client can leave out all but the newest messages."
    )]
    TooLarge,
    /// It is not what EIP-3076 describes.
    #[error(
        "This is no slashing protection file that can be imported.\n\
         {0}.\n\
         Export it anew from the other client, in the EIP-3076 interchange format, version 5."
    )]
    Malformed(String),
    /// It is of another version of the format.
    #[error(
        "This slashing protection file cannot be imported.\n\
         It has version {0:?} of the interchange format, and only version \"5\" can be read.\n\
         Export it anew from a current version of the other client."
    )]
    Version(String),
    /// It names no validator of this lock.
    #[error(
        "This slashing protection file is not about the validators here.\n\
         It names neither one of their distributed keys nor one of this operator's public shares.\n\
         Check that it was exported for this cluster, and by this operator."
    )]
    NoneOfOurs,
}

/// What a file says: of each key the highest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interchange {
    genesis_validators_root: Hash,
    records: BTreeMap<Key, Record>,
}

impl Interchange {
    /// Reads a file.
    ///
    /// Strict: no unknown fields, numbers are quoted decimals, bytes are lower-case hexadecimal with `0x`. That the
    /// messages in it may contradict each other does not matter, because only the highest values count.
    ///
    /// # Errors
    /// With what is wrong and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, InterchangeError> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(InterchangeError::TooLarge);
        }
        let malformed = |why: String| InterchangeError::Malformed(why);
        // The version first: another one may have other fields.
        let version: AnyVersion =
            serde_json::from_slice(bytes).map_err(|error| malformed(one_line(&error)))?;
        if version.metadata.interchange_format_version != VERSION {
            let found = version.metadata.interchange_format_version;
            return Err(InterchangeError::Version(found.chars().take(20).collect()));
        }
        let file: File = serde_json::from_slice(bytes).map_err(|error| malformed(one_line(&error)))?;
        Ok(Self {
            genesis_validators_root: file.metadata.genesis_validators_root.0,
            records: file.data.0,
        })
    }

    /// The chain of the file: 32 bytes.
    pub fn genesis_validators_root(&self) -> &Hash {
        &self.genesis_validators_root
    }

    /// All keys with the highest that each has signed, ascending.
    pub fn records(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.records.iter()
    }
}

/// A parser's message on one line.
fn one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

// --- reading ---

#[derive(Deserialize)]
struct AnyVersion {
    metadata: AnyMetadata,
}

#[derive(Deserialize)]
struct AnyMetadata {
    interchange_format_version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    metadata: Metadata,
    data: Data,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(rename = "interchange_format_version")]
    _version: IgnoredAny,
    genesis_validators_root: Bytes<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Validator {
    pubkey: Bytes<48>,
    signed_blocks: Blocks,
    signed_attestations: Attestations,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    slot: Number,
    #[serde(default, rename = "signing_root")]
    _root: Option<Bytes<32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attestation {
    source_epoch: Number,
    target_epoch: Number,
    #[serde(default, rename = "signing_root")]
    _root: Option<Bytes<32>>,
}

/// A list that is folded as it is read.
struct Fold<T, A> {
    into: A,
    add: fn(&mut A, T) -> Result<(), &'static str>,
}

impl<'de, T: Deserialize<'de>, A> Visitor<'de> for Fold<T, A> {
    type Value = A;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<A, S::Error> {
        while let Some(item) = list.next_element::<T>()? {
            (self.add)(&mut self.into, item).map_err(de::Error::custom)?;
        }
        Ok(self.into)
    }
}

struct Data(BTreeMap<Key, Record>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fold = Fold::<Validator, BTreeMap<Key, Record>> {
            into: BTreeMap::new(),
            add: |records, validator| {
                let record = Record {
                    block: validator.signed_blocks.0,
                    attested: validator.signed_attestations.0,
                };
                // A key may come more than once.
                let known = records.entry(validator.pubkey.0).or_default();
                *known = known.raised(record);
                if records.len() > MAX_KEYS {
                    return Err("too many keys");
                }
                Ok(())
            },
        };
        deserializer.deserialize_seq(fold).map(Self)
    }
}

struct Blocks(Option<u64>);

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fold = Fold::<Block, Option<u64>> {
            into: None,
            add: |highest, block| {
                *highest = (*highest).max(Some(block.slot.0));
                Ok(())
            },
        };
        deserializer.deserialize_seq(fold).map(Self)
    }
}

struct Attestations(Option<Attested>);

impl<'de> Deserialize<'de> for Attestations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fold = Fold::<Attestation, Record> {
            into: Record::default(),
            add: |highest, attestation| {
                *highest = highest.raised(Record {
                    block: None,
                    attested: Some(Attested {
                        source: attestation.source_epoch.0,
                        target: attestation.target_epoch.0,
                    }),
                });
                Ok(())
            },
        };
        deserializer
            .deserialize_seq(fold)
            .map(|highest| Self(highest.attested))
    }
}

/// A quoted decimal number without sign, blanks or leading zeros.
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quoted decimal number of at most 64 bits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                let is_plain = !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_digit())
                    && (text == "0" || !text.starts_with('0'));
                text.parse()
                    .ok()
                    .filter(|_| is_plain)
                    .map(Number)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// N bytes as `0x` and lower-case hexadecimal digits.
struct Bytes<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const N: usize>;
        impl<const N: usize> Visitor<'_> for Text<N> {
            type Value = Bytes<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x and {} lower-case hexadecimal digits", 2 * N)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes<N>, E> {
                let mut bytes = [0; N];
                let digits = text
                    .strip_prefix("0x")
                    .filter(|digits| !digits.bytes().any(|byte| byte.is_ascii_uppercase()));
                digits
                    .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
                    .map(|()| Bytes(bytes))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

// --- writing ---

/// What is known of one key, for writing.
pub(super) struct History {
    pub(super) key: Key,
    pub(super) record: Record,
    pub(super) block_root: Option<Hash>,
    pub(super) attested_root: Option<Hash>,
}

#[derive(Serialize)]
struct FileOut {
    metadata: MetadataOut,
    data: Vec<ValidatorOut>,
}

#[derive(Serialize)]
struct MetadataOut {
    interchange_format_version: &'static str,
    genesis_validators_root: String,
}

#[derive(Serialize)]
struct ValidatorOut {
    pubkey: String,
    signed_blocks: Vec<BlockOut>,
    signed_attestations: Vec<AttestationOut>,
}

#[derive(Serialize)]
struct BlockOut {
    slot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_root: Option<String>,
}

#[derive(Serialize)]
struct AttestationOut {
    source_epoch: String,
    target_epoch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_root: Option<String>,
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Writes a minimal file: of each key at most one block and one attestation, with one blank per level of indentation.
pub(super) fn write(root: &Hash, histories: impl Iterator<Item = History>) -> Vec<u8> {
    let data = histories.map(|history| ValidatorOut {
        pubkey: hexadecimal(&history.key),
        signed_blocks: history
            .record
            .block
            .map(|slot| BlockOut {
                slot: slot.to_string(),
                signing_root: history.block_root.map(|root| hexadecimal(&root)),
            })
            .into_iter()
            .collect(),
        signed_attestations: history
            .record
            .attested
            .map(|attested| AttestationOut {
                source_epoch: attested.source.to_string(),
                target_epoch: attested.target.to_string(),
                signing_root: history.attested_root.map(|root| hexadecimal(&root)),
            })
            .into_iter()
            .collect(),
    });
    let file = FileOut {
        metadata: MetadataOut {
            interchange_format_version: VERSION,
            genesis_validators_root: hexadecimal(root),
        },
        data: data.collect(),
    };
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    // Plain structs of text into memory: there is nothing that could fail.
    file.serialize(&mut serializer).expect("serialising to memory");
    bytes.push(b'\n');
    bytes
}

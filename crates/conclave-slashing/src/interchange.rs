//! The interchange format of slashing protection: EIP-3076, version "5".
//!
//! Files come from software of others: whatever has only one possible meaning is read, however it is written. What has
//! none is told and counts as unknown, and spoils nothing else. Every value is judged against the time: what cannot have
//! been signed yet is kept apart ([`Said::beyond`]), because a key that is raised to it never signs again.
//!
//! Reading keeps the highest values only, as they pass: a file may be as long as it likes within [`MAX_FILE_BYTES`], and
//! what stays in memory is one small record for each key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cluster::Key;
use super::rules::{Attested, Record};
use conclave_crypto::hash::Hash;
use conclave_eth::network::{MAX_SLOTS_PER_EPOCH, Network};
use conclave_eth::recognise::{self, Content, why_no_json};
use conclave_eth::text::line;

/// Most bytes of a file: complete histories of some thousand keys.
pub const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Most different keys in a file.
const MAX_KEYS: usize = 1 << 20;
/// Most bytes of what is quoted from a file.
const MAX_QUOTED: usize = 60;
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
    /// What it says of all validators of this lock, or whose it is, cannot be read.
    #[error(
        "Nothing in this slashing protection file that may be about the validators here can be read; nothing was imported.\n\
         {} and {} not taken over: {}.\n\
         Export it anew from the other client, in the EIP-3076 interchange format, version 5. Do not go on without this history: \
         it says what your share must not sign again.",
        if *count == 1 { "One thing in it could not be read".to_owned() } else { format!("{count} things in it could not be read") },
        if *count == 1 { "was" } else { "were" },
        first
    )]
    Unreadable {
        /// How many things.
        count: usize,
        /// Where and what the first of them is.
        first: String,
    },
    /// It names validators of this lock, and says of none that it signed anything.
    #[error(
        "This slashing protection file says of no validator here that it signed anything.\n\
         A database that is made from it would know nothing.\n\
         Check that it is the right file. Only if these shares never signed anything, start with --new-slashing-database."
    )]
    NothingOfOurs,
    /// It is of another chain.
    #[error(
        "This slashing protection file is of another network.\n\
         It was made on {}, and the validators here are on {}.\n\
         Export it from the client that worked for these validators, or import it in the folder of its own cluster.",
        chain_name(file),
        chain_name(here)
    )]
    OtherNetwork {
        /// The genesis validators root in the file, 32 bytes.
        file: Hash,
        /// That of the chain here, 32 bytes.
        here: Hash,
    },
    /// It says that something was signed which cannot have been signed yet.
    #[error(
        "This slashing protection file says that something was signed which lies in the future; nothing was imported.\n\
         {}.\n\
         Check this machine's clock, and where the file comes from. If these entries are wrong, --future drop leaves them \
         out and takes the rest. Only if they were really signed, --future keep takes them: those keys then sign nothing \
         until that time has come.",
        future_text(*validators, key, record, *epoch, *slot)
    )]
    Future {
        /// How many validators here it is said of.
        validators: usize,
        /// The first of them, by its distributed key.
        key: Key,
        /// What is said of it, as far as it lies in the future.
        record: Record,
        /// The current epoch, if it is known how long epochs are.
        epoch: Option<u64>,
        /// Its last slot, or else the current one.
        slot: u64,
    },
    /// Whether something lies in the future depends on how many slots an epoch has, and that is not known.
    #[error(
        "It is not known whether what this slashing protection file says lies in the future; nothing was imported.\n\
         Of {} it says {}. By this machine's clock it is slot {} now, and the network file does not say how many slots an \
         epoch has.\n\
         Add a line \"slots_per_epoch = ...\" to the network file, with what your beacon node calls SLOTS_PER_EPOCH (the preset \
         minimal has 8, gnosis 16, mainnet 32), and import again.",
        hexadecimal(key),
        what_is_said(record),
        slot
    )]
    SlotsPerEpoch {
        /// The first validator here of which such a thing is said, by its distributed key.
        key: Key,
        /// What is said of it, as far as that may lie in the future.
        record: Record,
        /// The current slot.
        slot: u64,
    },
    /// By this machine's clock the chain has not begun.
    #[error(
        "By this machine's clock the chain of these validators has not begun yet.\n\
         Its genesis is at {genesis} and the clock says {now} (seconds since 1970), so nothing can have been signed.\n\
         Set the clock right, then import again."
    )]
    BeforeGenesis {
        /// When the chain begins, in Unix seconds.
        genesis: u64,
        /// The time, in Unix seconds.
        now: u64,
    },
}

/// `mainnet (genesis validators root 0x4b36...)`.
fn chain_name(root: &Hash) -> String {
    let known = Network::known()
        .iter()
        .find(|network| network.genesis_validators_root.as_ref() == Some(root));
    let name = known.map_or("a network that is not known here", |network| &network.name);
    format!("{name} (genesis validators root {})", hexadecimal(root))
}

/// `a block of slot 5 and an attestation from epoch 1 to epoch 2`.
fn what_is_said(record: &Record) -> String {
    let block = record.block.map(|slot| format!("a block of slot {slot}"));
    let attested =
        |Attested { source, target }| format!("an attestation from epoch {source} to epoch {target}");
    let what: Vec<String> = block.into_iter().chain(record.attested.map(attested)).collect();
    what.join(" and ")
}

fn future_text(validators: usize, key: &Key, record: &Record, epoch: Option<u64>, slot: u64) -> String {
    let others = match validators {
        0 | 1 => String::new(),
        2 => "; one more validator has such entries".to_owned(),
        more => format!("; {} more validators have such entries", more - 1),
    };
    let now = epoch.map_or_else(
        || format!("slot {slot} now"),
        |epoch| format!("epoch {epoch} now, which ends with slot {slot}"),
    );
    format!(
        "Of {} it says {}, but by this machine's clock it is {now}{others}",
        hexadecimal(key),
        what_is_said(record)
    )
}

/// The end of the present: what is later cannot have been signed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// The current epoch, or an earlier one.
    pub epoch: u64,
    /// The same, or a later one: of what is between them it is not known whether it lies in the future, because it is not known
    /// how many slots an epoch has.
    pub latest_epoch: u64,
    /// The last slot of the current epoch, or an earlier one.
    pub slot: u64,
    /// The same, or a later one, of which it is not known either.
    pub latest_slot: u64,
}

impl Horizon {
    /// Nothing is too late. For whoever was told to believe everything.
    pub const NONE: Self = Self {
        epoch: u64::MAX,
        latest_epoch: u64::MAX,
        slot: u64::MAX,
        latest_slot: u64::MAX,
    };

    /// At a time in Unix seconds.
    ///
    /// # Errors
    /// [`InterchangeError::BeforeGenesis`].
    pub fn at(network: &Network, now: u64) -> Result<Self, InterchangeError> {
        let slot = network.slot_at(now).ok_or(InterchangeError::BeforeGenesis {
            genesis: network.chain_start(),
            now,
        })?;
        let end_of = |epoch: u64, length: u64| epoch.saturating_mul(length).saturating_add(length - 1);
        if let Some(length) = network.slots_per_epoch {
            let length = length.max(1);
            let (epoch, end) = (slot / length, end_of(slot / length, length));
            return Ok(Self {
                epoch,
                latest_epoch: epoch,
                slot: end,
                latest_slot: end,
            });
        }
        // An epoch has one slot at least.
        let epoch = slot / MAX_SLOTS_PER_EPOCH;
        Ok(Self {
            epoch,
            latest_epoch: slot,
            slot,
            latest_slot: end_of(epoch, MAX_SLOTS_PER_EPOCH),
        })
    }

    /// The current epoch, if it is known how long epochs are.
    pub(super) fn known_epoch(&self) -> Option<u64> {
        (self.epoch == self.latest_epoch).then_some(self.epoch)
    }

    /// Whether it is not of the future; none if that is not known.
    fn has_block(&self, slot: u64) -> Option<bool> {
        Self::has(slot, self.slot, self.latest_slot)
    }

    fn has_attestation(&self, attested: Attested) -> Option<bool> {
        Self::has(
            attested.source.max(attested.target),
            self.epoch,
            self.latest_epoch,
        )
    }

    fn has(value: u64, until: u64, at_most: u64) -> Option<bool> {
        if value <= until {
            Some(true)
        } else {
            (value > at_most).then_some(false)
        }
    }
}

/// What a file says of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The highest that was signed until the [`Horizon`].
    pub record: Record,
    /// The highest of what is said to have been signed after it.
    pub beyond: Record,
    /// The highest of what may lie on either side of it.
    pub unsure: Record,
    /// What could not be read: how many things, and where and what the first of them is.
    pub unreadable: Unreadable,
}

impl Said {
    fn add_block(&mut self, slot: u64, horizon: &Horizon) {
        let block = Record {
            block: Some(slot),
            attested: None,
        };
        self.add(block, horizon.has_block(slot));
    }

    fn add_attestation(&mut self, attested: Attested, horizon: &Horizon) {
        let attestation = Record {
            block: None,
            attested: Some(attested),
        };
        self.add(attestation, horizon.has_attestation(attested));
    }

    fn add(&mut self, one: Record, is_past: Option<bool>) {
        let record = match is_past {
            Some(true) => &mut self.record,
            Some(false) => &mut self.beyond,
            None => &mut self.unsure,
        };
        *record = record.raised(one);
    }
}

/// What could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// How many things.
    pub count: usize,
    /// Where and what the first of them is, in a few words.
    pub first: Option<String>,
}

impl Unreadable {
    fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(what);
    }

    /// Both together.
    pub fn join(&mut self, other: &Self) {
        self.count += other.count;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interchange {
    genesis_validators_root: Hash,
    horizon: Horizon,
    keys: BTreeMap<Key, Said>,
    nobodys: Unreadable,
}

impl Interchange {
    /// Reads a file, and judges it by the time.
    ///
    /// Numbers may be quoted or not, hexadecimal digits of any case, with `0x` or without; lists may be `null`; what is
    /// not needed is not looked at. Messages without any content (`{}`, `null`) say nothing. That messages contradict each
    /// other does not matter, because only the highest values count.
    ///
    /// # Errors
    /// With what is wrong and where, if it is no such file as a whole.
    pub fn parse(bytes: &[u8], horizon: Horizon) -> Result<Self, InterchangeError> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(InterchangeError::TooLarge);
        }
        let malformed = |why: String| InterchangeError::Malformed(sentence(&why));
        // The version first: another one may have other fields.
        let version: AnyVersion<'_> = recognise::json(bytes, &Content::History).map_err(malformed)?;
        let version = version.metadata.interchange_format_version.get();
        let version = version.trim_matches('"');
        if version != VERSION {
            return Err(InterchangeError::Version(version.chars().take(20).collect()));
        }
        let file: File<'_> = recognise::json(bytes, &Content::History).map_err(malformed)?;
        let root = file.metadata.genesis_validators_root;
        let mut read = Self {
            genesis_validators_root: hex_of(root).ok_or_else(|| {
                let found = quoted(root);
                malformed(format!(
                    "Its genesis_validators_root is not 32 bytes in hexadecimal: {found}"
                ))
            })?,
            horizon,
            keys: BTreeMap::new(),
            nobodys: Unreadable::default(),
        };
        let mut number = 0;
        each(file.data, |entry| {
            number += 1;
            read.add(number, entry)
        })
        .map_err(|error| malformed(format!("in its data: {}", why_no_json(&error))))?;
        Ok(read)
    }

    /// Takes one element of `data`, counted from 1.
    fn add(&mut self, number: usize, entry: &RawValue) -> Result<(), &'static str> {
        if entry.get() == "null" {
            return Ok(());
        }
        let parsed = serde_json::from_str::<Entry<'_>>(entry.get());
        let twice = parsed.as_ref().err().and_then(twice);
        let key: Option<Key> = parsed.as_ref().ok().and_then(|entry| hex_of(entry.pubkey?));
        let (Ok(entry), Some(key)) = (parsed, key) else {
            self.nobodys.add(|| match twice {
                Some(field) => format!("entry {number} has {field} twice, and nobody knows which counts"),
                None => format!("entry {number} has no readable pubkey"),
            });
            return Ok(());
        };
        // A key may come more than once.
        let horizon = self.horizon;
        let said = self.keys.entry(key).or_default();
        said.add_list(number, "signed_blocks", entry.signed_blocks, |said, item| {
            let block: Block<'_> = serde_json::from_str(item).ok()?;
            if block.slot.is_none() && block.signing_root.is_none() && block.others.is_empty() {
                return Some(());
            }
            said.add_block(number_of(block.slot?)?, &horizon);
            Some(())
        });
        said.add_list(
            number,
            "signed_attestations",
            entry.signed_attestations,
            |said, item| {
                let attestation: Attestation<'_> = serde_json::from_str(item).ok()?;
                let Attestation {
                    source_epoch,
                    target_epoch,
                    signing_root,
                    others,
                } = attestation;
                let epochs = source_epoch.or(target_epoch);
                if epochs.or(signing_root).is_none() && others.is_empty() {
                    return Some(());
                }
                let attested = Attested {
                    source: number_of(source_epoch?)?,
                    target: number_of(target_epoch?)?,
                };
                said.add_attestation(attested, &horizon);
                Some(())
            },
        );
        if self.keys.len() > MAX_KEYS {
            return Err("too many keys");
        }
        Ok(())
    }

    /// The chain of the file: 32 bytes.
    pub fn genesis_validators_root(&self) -> &Hash {
        &self.genesis_validators_root
    }

    /// The time by which it was judged.
    pub fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    /// All keys and what is said of each, ascending.
    pub fn keys(&self) -> impl Iterator<Item = (&Key, &Said)> {
        self.keys.iter()
    }

    /// Entries that do not say whose they are.
    pub fn nobodys(&self) -> &Unreadable {
        &self.nobodys
    }
}

impl Said {
    /// Takes a list of messages. `take` gives `None` for one that cannot be read.
    fn add_list(
        &mut self,
        entry: usize,
        name: &str,
        list: Option<&RawValue>,
        mut take: impl FnMut(&mut Self, &str) -> Option<()>,
    ) {
        let Some(list) = list else {
            self.unreadable.add(|| format!("entry {entry} has no {name}"));
            return;
        };
        if list.get() == "null" {
            return;
        }
        let mut place = 0;
        let all = each(list, |item| {
            place += 1;
            if item.get() != "null" && take(self, item.get()).is_none() {
                self.unreadable
                    .add(|| format!("message {place} of {name} in entry {entry}: {}", quoted(item)));
            }
            Ok(())
        });
        if all.is_err() {
            self.unreadable
                .add(|| format!("{name} in entry {entry}: {}", quoted(list)));
        }
    }
}

/// The field that an object has twice, if that is what is wrong with it.
fn twice(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let field = text.strip_prefix("duplicate field `")?.split('`').next()?;
    Some(line(field, MAX_QUOTED))
}

/// With a capital at its beginning.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map(|first| first.to_uppercase().chain(rest).collect())
        .unwrap_or_default()
}

fn quoted(value: &RawValue) -> String {
    line(value.get(), MAX_QUOTED)
}

// --- reading ---

#[derive(Deserialize)]
struct AnyVersion<'a> {
    #[serde(borrow)]
    metadata: AnyMetadata<'a>,
}

#[derive(Deserialize)]
struct AnyMetadata<'a> {
    #[serde(borrow)]
    interchange_format_version: &'a RawValue,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(rename = "interchange_format_version")]
    _version: IgnoredAny,
    #[serde(borrow)]
    genesis_validators_root: &'a RawValue,
}

/// One element of `data`. A list that is `null` is there: it is empty.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default, deserialize_with = "as_written")]
    pubkey: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    signed_blocks: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    signed_attestations: Option<&'a RawValue>,
}

/// A message: what is `null` is absent.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    slot: Option<&'a RawValue>,
    #[serde(borrow)]
    signing_root: Option<&'a RawValue>,
    /// Fields of other names: beside known ones they do not matter, alone they may be what is meant under another name.
    #[serde(flatten)]
    #[allow(clippy::zero_sized_map_values)] // serde flattens into maps only
    others: BTreeMap<Cow<'a, str>, IgnoredAny>,
}

#[derive(Deserialize)]
struct Attestation<'a> {
    #[serde(borrow)]
    source_epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    target_epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    signing_root: Option<&'a RawValue>,
    /// Fields of other names: beside known ones they do not matter, alone they may be what is meant under another name.
    #[serde(flatten)]
    #[allow(clippy::zero_sized_map_values)] // serde flattens into maps only
    others: BTreeMap<Cow<'a, str>, IgnoredAny>,
}

/// A value as it is written, `null` too.
fn as_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Shows each element of a list, in order, without keeping it. `null` is an empty list.
fn each<'a>(
    list: &'a RawValue,
    take: impl FnMut(&'a RawValue) -> Result<(), &'static str>,
) -> Result<(), serde_json::Error> {
    struct Each<F>(F);

    impl<'de, F: FnMut(&'de RawValue) -> Result<(), &'static str>> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
            while let Some(item) = list.next_element::<&'de RawValue>()? {
                (self.0)(item).map_err(de::Error::custom)?;
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(list.get()).deserialize_any(Each(take))
}

/// A decimal number without sign, quoted or not. One above 64 bits is the highest that there is: nobody can sign after it.
fn number_of(value: &RawValue) -> Option<u64> {
    let text = value.get();
    let digits = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// N bytes in hexadecimal digits, of any case, after `0x` or without.
fn hex_of<const N: usize>(value: &RawValue) -> Option<[u8; N]> {
    let text: Cow<'_, str> = serde_json::from_str(value.get()).ok()?;
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(&text);
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
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

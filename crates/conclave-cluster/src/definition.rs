//! `cluster-definition.json`: what a ceremony is to make, and for whom.
//!
//! A [`Definition`] cannot be changed once it exists: its fields were checked against every rule of the format, and both
//! hashes were computed from them. What a file *claims* about its hashes is compared on reading.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;

use super::eip712;
use super::enr::{self, Enr};
use super::hashes;
use super::json::{self, JsonError, Node, Writer};
use super::report::Outcome;
use super::wallets::{WalletSignature, Wallets};
use conclave_crypto::hash::Hash;
use conclave_eth::address::Address;
use conclave_eth::deposit;
use conclave_eth::network::Network;
use conclave_eth::recognise::Content;
use conclave_eth::text::line;

/// Largest definition file in bytes that is read.
pub const MAX_FILE: usize = 16 << 20;
/// Most operators that the format can hold; a ceremony takes [`CEREMONY_OPERATORS`].
pub const MAX_OPERATORS: usize = 256;
/// Most validators that the format can hold; a ceremony takes [`CEREMONY_VALIDATORS`].
pub const MAX_VALIDATORS: usize = 65_536;
/// Most deposit amounts.
pub const MAX_DEPOSIT_AMOUNTS: usize = 256;
/// Operators of a ceremony, smallest and largest number.
pub const CEREMONY_OPERATORS: std::ops::RangeInclusive<usize> = 2..=64;
/// Validators of a ceremony, smallest and largest number.
pub const CEREMONY_VALIDATORS: std::ops::RangeInclusive<usize> = 1..=10_000;
/// `dkg_algorithm` of our ceremonies. Another tool's ceremony command does not know it and refuses the definition,
/// instead of speaking another protocol to us; software that runs validators does not look at it.
pub const DKG_ALGORITHM: &str = "gjkr";
/// Gas limit of builder registrations when a definition of an older version does not say one.
pub const DEFAULT_OLD_GAS_LIMIT: u64 = 30_000_000;

/// Longest text of a version, in bytes.
const MAX_VERSION: usize = 16;
/// One ETH in gwei.
/// Most bytes of a value in a difference: a node record is shown whole.
const MAX_SHOWN: usize = 320;
/// Most differences that are told at once.
const MAX_DIFFERENCES: usize = 5;
const ETH: u64 = 1_000_000_000;
/// Length of one secp256k1 signature in bytes: R, S, V.
const SIGNATURE: usize = 65;

/// Why a definition was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The file is no definition.
    #[error("the definition cannot be read: {0}")]
    Json(#[from] JsonError),
    /// The file is something else.
    #[error("this is {0}, not a cluster definition")]
    OtherFile(Content),
    /// The format is later than what this program knows.
    #[error("its format is {0}, later than v1.11.0, the latest that this conclave knows: update conclave")]
    LaterVersion(String),
    /// The format is older than what this program reads.
    #[error("its format is {0}; conclave reads v1.8.0 to v1.11.0, nothing older")]
    OlderVersion(String),
    /// A rule of the format is broken.
    #[error("the definition is not valid: {0}")]
    Rule(String),
    /// The file's contents and the hash in it do not belong together.
    #[error(
        "the {which} in the file is {in_file}, but its contents give {computed}: it was changed or damaged"
    )]
    Hash {
        /// `config_hash` or `definition_hash`.
        which: &'static str,
        /// What the file says, in hex.
        in_file: String,
        /// What the contents give, in hex.
        computed: String,
    },
    /// A valid definition with which this program makes no ceremony.
    #[error("no ceremony can be made with this definition: {0}")]
    Ceremony(String),
    /// The signatures of creator and operators are not as the format wants them.
    #[error("the definition's signatures are not valid: {0}")]
    Signatures(String),
}

/// Versions of the format that are read. [`Version::V1_10`] is the one that is written for new ceremonies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// v1.8.0: deposit amounts.
    V1_8,
    /// v1.9.0: consensus protocol.
    V1_9,
    /// v1.10.0: gas limit and compounding.
    V1_10,
    /// v1.11.0: several secp256k1 signatures in one field; JSON as v1.10.0.
    V1_11,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Version; 4] = [Version::V1_8, Version::V1_9, Version::V1_10, Version::V1_11];

    /// The text in the file.
    pub fn text(self) -> &'static str {
        match self {
            Version::V1_8 => "v1.8.0",
            Version::V1_9 => "v1.9.0",
            Version::V1_10 => "v1.10.0",
            Version::V1_11 => "v1.11.0",
        }
    }

    fn parse(node: &Node<'_>) -> Result<Self, DefinitionError> {
        let text = node.text(MAX_VERSION)?;
        if let Some(version) = Self::ALL.into_iter().find(|version| version.text() == text) {
            return Ok(version);
        }
        let mut numbers = text
            .strip_prefix('v')
            .unwrap_or(text)
            .split('.')
            .map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(_)), None) if (major, minor) >= (1, 8) => {
                Err(DefinitionError::LaterVersion(text.to_owned()))
            }
            (Some(Ok(_)), Some(Ok(_)), Some(Ok(_)), None) => {
                Err(DefinitionError::OlderVersion(text.to_owned()))
            }
            _ => Err(node
                .error(format!("{text:?} is no version; known are v1.8.0 to v1.11.0"))
                .into()),
        }
    }

    /// Whether a secp256k1 signature field may have this many bytes.
    fn allows_signature_length(self, length: usize) -> bool {
        let most = if self >= Version::V1_11 { 32 } else { 1 };
        length.is_multiple_of(SIGNATURE) && length / SIGNATURE <= most
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Who wrote the definition. Both fields are empty when nobody signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Creator {
    /// The creator's wallet.
    pub address: Option<Address>,
    /// EIP-712 signature of the config hash: empty or 65 bytes (v1.11: a multiple of 65).
    pub config_signature: Vec<u8>,
}

/// One operator. Its position in the definition, from 1, is its share index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRecord {
    /// The operator's wallet; none when the operator did not sign.
    pub address: Option<Address>,
    /// The operator's node record, which holds the key that it takes part with.
    pub enr: Enr,
    /// EIP-712 signature of the config hash: empty or 65 bytes (v1.11: a multiple of 65).
    pub config_signature: Vec<u8>,
    /// EIP-712 signature of the record's text: empty or 65 bytes (v1.11: a multiple of 65).
    pub enr_signature: Vec<u8>,
}

impl OperatorRecord {
    /// An operator without a wallet.
    pub fn unsigned(enr: Enr) -> Self {
        OperatorRecord {
            address: None,
            enr,
            config_signature: Vec::new(),
            enr_signature: Vec::new(),
        }
    }

    fn is_signed(&self) -> bool {
        self.address.is_some() && !self.config_signature.is_empty() && !self.enr_signature.is_empty()
    }

    fn is_unsigned(&self) -> bool {
        self.address.is_none() && self.config_signature.is_empty() && self.enr_signature.is_empty()
    }
}

/// Where one validator's money goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidatorAddresses {
    /// Receives the fees and tips of proposed blocks.
    pub fee_recipient: Address,
    /// Receives the stake and the rewards when they are withdrawn. It can never be changed.
    pub withdrawal: Address,
}

/// Everything that a definition says, hashes apart. Make a [`Definition`] of it to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionFields {
    /// The cluster's name, at most 256 bytes.
    pub name: String,
    /// Who wrote the definition.
    pub creator: Creator,
    /// The operators; the order gives the share indices 1 to n.
    pub operators: Vec<OperatorRecord>,
    /// Makes definitions distinct that agree in everything else; at most 64 bytes.
    pub uuid: String,
    /// Version of the format.
    pub version: Version,
    /// When the definition was made, RFC 3339; hashed as text, never interpreted; at most 32 bytes.
    pub timestamp: String,
    /// How many operators are needed to sign.
    pub threshold: u64,
    /// One entry for each validator.
    pub validators: Vec<ValidatorAddresses>,
    /// Name of the key generation protocol, at most 32 bytes; ours is [`DKG_ALGORITHM`].
    pub dkg_algorithm: String,
    /// Genesis fork version, which names the network.
    pub fork_version: [u8; 4],
    /// Deposit amounts in gwei as the file has them; see [`Definition::effective_deposit_amounts`].
    pub deposit_amounts: Vec<u64>,
    /// Agreement protocol of the running nodes, empty for the default; at most 256 bytes (v1.9 and later).
    pub consensus_protocol: String,
    /// Gas limit of builder registrations; 0 when not said (v1.10 and later).
    pub target_gas_limit: u64,
    /// Withdrawal credentials 0x02 instead of 0x01 (v1.10 and later).
    pub compounding: bool,
}

/// Hashes that a file claims to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedHashes {
    /// `config_hash`.
    pub config_hash: Hash,
    /// `definition_hash`.
    pub definition_hash: Hash,
}

/// A definition that keeps every rule of the format. Its fields are those of [`DefinitionFields`], for reading only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    fields: DefinitionFields,
    config_hash: Hash,
    hash: Hash,
}

impl Deref for Definition {
    type Target = DefinitionFields;

    fn deref(&self) -> &DefinitionFields {
        &self.fields
    }
}

/// What the wallets' signatures of a definition say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureStatus {
    /// Nobody signed: the definition authenticates nobody. The format allows that.
    Unsigned,
    /// Only the creator signed, validly.
    CreatorSigned,
    /// The creator and every operator signed, validly.
    Signed,
    /// Signatures of these do not fit the address's key. It may be a contract wallet, whose signature only the chain can
    /// judge (ERC-1271, see [`Wallets`]), or a forgery: it cannot be told offline.
    NotCheckableOffline {
        /// The creator or operators in question, in words.
        who: Vec<String>,
    },
}

impl Definition {
    /// Checks `fields` against the rules that every reader of the format applies, and computes the hashes.
    ///
    /// # Errors
    /// [`DefinitionError::Rule`].
    pub fn new(fields: DefinitionFields) -> Result<Self, DefinitionError> {
        check_rules(&fields).map_err(DefinitionError::Rule)?;
        let too_long =
            |error: super::ssz::TooLong| DefinitionError::Rule(format!("a field is too long: {error}"));
        let config_hash = hashes::config_hash(&fields).map_err(too_long)?;
        let hash = hashes::definition_hash(&fields, &config_hash).map_err(too_long)?;
        Ok(Definition {
            fields,
            config_hash,
            hash,
        })
    }

    /// Reads a `cluster-definition.json`: at most [`MAX_FILE`] bytes, every rule of the format, both hashes right.
    /// Wallets' signatures are not checked; see [`Definition::signatures`].
    ///
    /// # Errors
    /// See [`DefinitionError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, DefinitionError> {
        let read = || {
            let value = json::parse(bytes, MAX_FILE)?;
            let (definition, claimed) = Self::read(&Node::root(&value))?;
            definition.check_claimed(&claimed)?;
            Ok(definition)
        };
        read().map_err(|error| match Content::instead_of(&Content::Definition, bytes) {
            Some(other) => DefinitionError::OtherFile(other),
            None => error,
        })
    }

    /// Reads a definition and the hashes that the file claims for it, without comparing them.
    ///
    /// # Errors
    /// See [`DefinitionError`].
    pub fn read(node: &Node<'_>) -> Result<(Self, ClaimedHashes), DefinitionError> {
        let version = Version::parse(&node.get("version")?)?;

        let mut operators = Vec::new();
        for operator in node.get("operators")?.list(MAX_OPERATORS)? {
            let enr = operator.get("enr")?;
            operators.push(OperatorRecord {
                address: read_address(&operator.get("address")?)?,
                enr: Enr::parse(enr.text(enr::MAX_TEXT)?).map_err(|error| enr.error(error.to_string()))?,
                config_signature: read_signature(&operator.get("config_signature")?, version)?,
                enr_signature: read_signature(&operator.get("enr_signature")?, version)?,
            });
        }
        let creator = node.get("creator")?;
        let creator = if creator.is_absent() {
            Creator::default()
        } else {
            Creator {
                address: read_address(&creator.get("address")?)?,
                config_signature: read_signature(&creator.get("config_signature")?, version)?,
            }
        };

        let mut validators = Vec::new();
        for validator in node.get("validators")?.list(MAX_VALIDATORS)? {
            let required = |key: &str| -> Result<Address, JsonError> {
                let node = validator.get(key)?;
                read_address(&node)?.ok_or_else(|| node.error("an address is missing"))
            };
            validators.push(ValidatorAddresses {
                fee_recipient: required("fee_recipient_address")?,
                withdrawal: required("withdrawal_address")?,
            });
        }
        let count = node.get("num_validators")?;
        if count.integer()? != validators.len() as u64 {
            let error = format!(
                "says {}, but there are {} validators",
                count.integer()?,
                validators.len()
            );
            return Err(count.error(error).into());
        }
        let mut deposit_amounts = Vec::new();
        for amount in node.get("deposit_amounts")?.list(MAX_DEPOSIT_AMOUNTS)? {
            deposit_amounts.push(amount.quoted_integer()?);
        }

        let mut fields = DefinitionFields {
            name: node.get("name")?.text(256)?.to_owned(),
            creator,
            operators,
            uuid: node.get("uuid")?.text(64)?.to_owned(),
            version,
            timestamp: node.get("timestamp")?.text(32)?.to_owned(),
            threshold: node.get("threshold")?.integer()?,
            validators,
            dkg_algorithm: node.get("dkg_algorithm")?.text(32)?.to_owned(),
            fork_version: node.get("fork_version")?.hex_exact()?,
            deposit_amounts,
            consensus_protocol: String::new(),
            target_gas_limit: 0,
            compounding: false,
        };
        // Keys of later versions are unknown keys in an earlier one, hence ignored: no hash would cover them.
        if version >= Version::V1_9 {
            node.get("consensus_protocol")?
                .text(256)?
                .clone_into(&mut fields.consensus_protocol);
        }
        if version >= Version::V1_10 {
            fields.target_gas_limit = node.get("target_gas_limit")?.integer()?;
            fields.compounding = node.get("compounding")?.boolean()?;
        }
        let claimed = ClaimedHashes {
            config_hash: node.get("config_hash")?.hex_exact()?,
            definition_hash: node.get("definition_hash")?.hex_exact()?,
        };
        Ok((Definition::new(fields)?, claimed))
    }

    /// Compares the hashes that a file claims with those of the contents.
    ///
    /// # Errors
    /// [`DefinitionError::Hash`].
    pub fn check_claimed(&self, claimed: &ClaimedHashes) -> Result<(), DefinitionError> {
        for (which, in_file, computed) in [
            ("config_hash", claimed.config_hash, self.config_hash),
            ("definition_hash", claimed.definition_hash, self.hash),
        ] {
            if in_file != computed {
                let hex = |hash| format!("0x{}", hex::encode::<Hash>(hash));
                return Err(DefinitionError::Hash {
                    which,
                    in_file: hex(in_file),
                    computed: hex(computed),
                });
            }
        }
        Ok(())
    }

    /// The bytes of `cluster-definition.json`, as the other software writes them.
    pub fn to_json(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// Writes the definition as one JSON object.
    pub fn write(&self, writer: &mut Writer) {
        writer.object(|w| {
            if !self.name.is_empty() {
                w.key("name").text(&self.name);
            }
            w.key("creator").object(|w| {
                w.key("address")
                    .text(&address_text(self.creator.address.as_ref()));
                w.key("config_signature").hex(&self.creator.config_signature);
            });
            w.key("operators").list(&self.operators, |w, operator| {
                w.object(|w| {
                    w.key("address").text(&address_text(operator.address.as_ref()));
                    w.key("enr").text(operator.enr.text());
                    w.key("config_signature").hex(&operator.config_signature);
                    w.key("enr_signature").hex(&operator.enr_signature);
                });
            });
            w.key("uuid").text(&self.uuid);
            w.key("version").text(self.version.text());
            if !self.timestamp.is_empty() {
                w.key("timestamp").text(&self.timestamp);
            }
            w.key("num_validators").integer(self.validators.len() as u64);
            w.key("threshold").integer(self.threshold);
            w.key("validators").list(&self.validators, |w, validator| {
                w.object(|w| {
                    w.key("fee_recipient_address")
                        .text(&address_text(Some(&validator.fee_recipient)));
                    w.key("withdrawal_address")
                        .text(&address_text(Some(&validator.withdrawal)));
                });
            });
            w.key("dkg_algorithm").text(&self.dkg_algorithm);
            w.key("fork_version").hex(&self.fork_version);
            if self.deposit_amounts.is_empty() {
                w.key("deposit_amounts").null();
            } else {
                w.key("deposit_amounts")
                    .list(&self.deposit_amounts, |w, amount| w.text(&amount.to_string()));
            }
            if self.version >= Version::V1_9 {
                w.key("consensus_protocol").text(&self.consensus_protocol);
            }
            if self.version >= Version::V1_10 {
                w.key("target_gas_limit").integer(self.target_gas_limit);
                w.key("compounding").boolean(self.compounding);
            }
            w.key("config_hash").hex(&self.config_hash);
            w.key("definition_hash").hex(&self.hash);
        });
    }

    /// All fields, to make another definition from.
    pub fn fields(&self) -> &DefinitionFields {
        &self.fields
    }

    /// Hash of what is to be made: everything but node records and signatures. This is what wallets sign.
    pub fn config_hash(&self) -> Hash {
        self.config_hash
    }

    /// Hash of everything. It names the ceremony.
    pub fn definition_hash(&self) -> Hash {
        self.hash
    }

    /// The amounts in gwei of which every validator gets one deposit each: the definition's without repetitions, in
    /// ascending order; when it names none, 1 and 32 ETH, or 1, 8, 32 and 256 ETH for compounding validators.
    pub fn effective_deposit_amounts(&self) -> Vec<u64> {
        let mut amounts = match (self.deposit_amounts.is_empty(), self.compounding) {
            (false, _) => self.deposit_amounts.clone(),
            (true, false) => vec![ETH, 32 * ETH],
            (true, true) => vec![ETH, 8 * ETH, 32 * ETH, 256 * ETH],
        };
        amounts.sort_unstable();
        amounts.dedup();
        amounts
    }

    /// Gas limit that builder registrations are signed with.
    pub fn effective_gas_limit(&self) -> u64 {
        if self.target_gas_limit == 0 {
            DEFAULT_OLD_GAS_LIMIT
        } else {
            self.target_gas_limit
        }
    }

    /// What to know of a threshold that is no majority; nothing of any other.
    pub fn minority(&self) -> Option<String> {
        let (t, n) = (self.threshold, self.operators.len() as u64);
        (t.saturating_mul(2) <= n).then(|| {
            format!(
                "{t} of {n} is not a majority: two groups of {t} that do not see each other can both sign, and the \
                 validator is slashed; conclave run refuses such a group"
            )
        })
    }

    /// The 32 bytes withdrawal credentials of a deposit for a validator with this withdrawal address.
    pub fn withdrawal_credentials(&self, withdrawal: &Address) -> [u8; 32] {
        deposit::withdrawal_credentials(*withdrawal, self.compounding)
    }

    /// The rules of a ceremony of this program, which are narrower than those of the format: 2 to 64 operators, 2 to n
    /// needed to sign, 1 to 10,000 validators, version v1.10.0, our key generation, `network`, no zero address, whole
    /// amounts of ETH, and signatures that are absent or all checked.
    ///
    /// # Errors
    /// [`DefinitionError::Ceremony`], [`DefinitionError::Signatures`].
    pub fn check_ceremony(&self, network: &Network) -> Result<SignatureStatus, DefinitionError> {
        self.check_ceremony_with(network, &Wallets::default())
    }

    /// As [`Self::check_ceremony`], with what is known of contract wallets.
    ///
    /// # Errors
    /// As [`Self::check_ceremony`].
    pub fn check_ceremony_with(
        &self,
        network: &Network,
        wallets: &Wallets,
    ) -> Result<SignatureStatus, DefinitionError> {
        let refuse = |what: String| Err(DefinitionError::Ceremony(what));
        let (n, v) = (self.operators.len(), self.validators.len());
        if !CEREMONY_OPERATORS.contains(&n) {
            return refuse(format!("it has {n} operators; 2 to 64 are possible"));
        }
        if self.threshold < 2 {
            return refuse(format!(
                "its threshold is {}; one operator alone must not be able to sign",
                self.threshold
            ));
        }
        if !CEREMONY_VALIDATORS.contains(&v) {
            return refuse(format!("it has {v} validators; 1 to 10,000 are possible"));
        }
        if self.version != Version::V1_10 {
            return refuse(format!(
                "its version is {}; ceremonies are made with {}",
                self.version,
                Version::V1_10
            ));
        }
        if self.dkg_algorithm != DKG_ALGORITHM {
            return refuse(format!(
                "it is meant for another program (dkg_algorithm {:?}; ours is {DKG_ALGORITHM:?})",
                self.dkg_algorithm
            ));
        }
        if self.fork_version != network.genesis_fork_version {
            return refuse(format!(
                "its fork version 0x{} is not that of the network {}",
                hex::encode(self.fork_version),
                network.name
            ));
        }
        if self.name.chars().any(char::is_control) || self.uuid.chars().any(char::is_control) {
            return refuse("its name or uuid holds control characters".into());
        }
        for (i, validator) in self.validators.iter().enumerate() {
            for (what, address) in [
                ("fee recipient", validator.fee_recipient),
                ("withdrawal", validator.withdrawal),
            ] {
                if address.is_zero() {
                    return refuse(format!("the {what} address of validator {i} is the zero address"));
                }
            }
        }
        if self.deposit_amounts.is_empty() || self.deposit_amounts.iter().any(|amount| amount % ETH != 0) {
            return refuse("its deposit amounts must be named, in whole ETH".into());
        }
        if self.target_gas_limit == 0 {
            return refuse("it names no gas limit".into());
        }
        let status = self.signatures(network.chain_id)?;
        let unproven = self.unproven_signatures(network.chain_id);
        match wallets.judge(&unproven).0 {
            Outcome::Failed(why) => Err(DefinitionError::Signatures(why)),
            Outcome::Ok | Outcome::NotChecked(_) => Ok(status),
        }
    }

    /// Checks the wallets' signatures, or that they are absent where the format allows it.
    ///
    /// # Errors
    /// [`DefinitionError::Signatures`] for a combination that no reader accepts: some signed and others not, an address
    /// without its signatures, signatures without an address, operators signed and the creator not.
    pub fn signatures(&self, chain_id: u64) -> Result<SignatureStatus, DefinitionError> {
        let refuse = |what: String| Err(DefinitionError::Signatures(what));
        let creator = &self.creator;
        match (creator.address, creator.config_signature.is_empty()) {
            (Some(_), true) => return refuse("the creator has an address but no signature".into()),
            (None, false) => return refuse("the creator has a signature but no address".into()),
            _ => {}
        }
        let all_unsigned = self.operators.iter().all(OperatorRecord::is_unsigned);
        if let Some(i) = self
            .operators
            .iter()
            .position(|operator| !operator.is_signed() && !operator.is_unsigned())
        {
            return refuse(format!(
                "operator {} has an address or signatures, but not all three",
                i + 1
            ));
        }
        if !all_unsigned && let Some(i) = self.operators.iter().position(OperatorRecord::is_unsigned) {
            return refuse(format!("some operators signed, but operator {} did not", i + 1));
        }
        if !all_unsigned && creator.address.is_none() {
            return refuse("the operators signed, but the creator did not".into());
        }

        let mut who: Vec<String> = self
            .unproven_signatures(chain_id)
            .into_iter()
            .map(|signature| signature.who)
            .collect();
        who.dedup();
        Ok(match (who.is_empty(), all_unsigned, creator.address.is_some()) {
            (false, ..) => SignatureStatus::NotCheckableOffline { who },
            (true, false, _) => SignatureStatus::Signed,
            (true, true, true) => SignatureStatus::CreatorSigned,
            (true, true, false) => SignatureStatus::Unsigned,
        })
    }

    /// Wallets' signatures that are not of the keys of their addresses, those of one wallet one after the other.
    pub fn unproven_signatures(&self, chain_id: u64) -> Vec<WalletSignature> {
        let mut made = Vec::new();
        if let Some(address) = self.creator.address {
            let digest = eip712::creator_config_digest(&self.config_hash, chain_id);
            let who = format!("the creator ({})", address.to_checksum());
            made.push((who, address, digest, &self.creator.config_signature));
        }
        let config_digest = eip712::operator_config_digest(&self.config_hash, chain_id);
        for (number, operator) in (1..).zip(&self.operators) {
            let Some(address) = operator.address else {
                continue;
            };
            let who = format!("operator {number} ({})", address.to_checksum());
            let enr_digest = eip712::enr_digest(operator.enr.text(), chain_id);
            made.push((who.clone(), address, config_digest, &operator.config_signature));
            made.push((who, address, enr_digest, &operator.enr_signature));
        }
        made.into_iter()
            .filter(|(_, address, digest, signature)| !eip712::signed_by_key(&address.0, digest, signature))
            .map(|(who, address, digest, signature)| WalletSignature {
                who,
                address,
                digest,
                signature: signature.clone(),
            })
            .collect()
    }

    /// What differs between this definition (`ours`) and another (`theirs`), one line for each difference; none when they
    /// are equal.
    pub fn diff(&self, other: &Definition) -> Vec<String> {
        let theirs: HashMap<String, String> = other.in_words().into_iter().collect();
        // What only one of them has follows from the numbers of operators and validators, which are among the words.
        self.in_words()
            .into_iter()
            .filter_map(|(what, ours)| {
                let theirs = theirs.get(&what)?;
                (ours != *theirs).then(|| {
                    let [ours, theirs] = [&ours, theirs].map(|text| line(text, MAX_SHOWN));
                    format!("{what}: ours {ours}, theirs {theirs}")
                })
            })
            .collect()
    }

    /// The first few differences, as [`diff`](Self::diff) tells them, on one line, and how many more there are; `None` when the definitions
    /// are equal.
    pub fn differences(&self, other: &Definition) -> Option<String> {
        let mut differences = self.diff(other);
        let more = differences.len().saturating_sub(MAX_DIFFERENCES);
        differences.truncate(MAX_DIFFERENCES);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    /// Every field with its name, as text.
    fn in_words(&self) -> Vec<(String, String)> {
        let quoted = |text: &str| format!("{text:?}");
        let address = |address: Option<&Address>| address.map_or("none".to_owned(), Address::to_checksum);
        let bytes = |bytes: &[u8]| match bytes {
            [] => "none".to_owned(),
            _ => format!("0x{}", hex::encode(bytes)),
        };
        let amounts: Vec<String> = self
            .deposit_amounts
            .iter()
            .map(|gwei| format!("{gwei} gwei"))
            .collect();
        let amounts = if amounts.is_empty() {
            "the default".to_owned()
        } else {
            amounts.join(" + ")
        };

        let mut words: Vec<(String, String)> = [
            ("name", quoted(&self.name)),
            ("version", self.version.to_string()),
            ("uuid", quoted(&self.uuid)),
            ("timestamp", quoted(&self.timestamp)),
            ("network (fork version)", bytes(&self.fork_version)),
            ("threshold", self.threshold.to_string()),
            ("number of operators", self.operators.len().to_string()),
            ("number of validators", self.validators.len().to_string()),
            ("key generation", quoted(&self.dkg_algorithm)),
            ("deposit amounts", amounts),
            ("consensus protocol", quoted(&self.consensus_protocol)),
            ("gas limit", self.target_gas_limit.to_string()),
            ("compounding", self.compounding.to_string()),
            ("creator, address", address(self.creator.address.as_ref())),
            ("creator, signature", bytes(&self.creator.config_signature)),
        ]
        .into_iter()
        .map(|(what, text)| (what.to_owned(), text))
        .collect();
        for (number, operator) in (1..).zip(&self.operators) {
            let signatures = format!(
                "{} / {}",
                bytes(&operator.config_signature),
                bytes(&operator.enr_signature)
            );
            words.push((
                format!("operator {number}, node record"),
                operator.enr.text().to_owned(),
            ));
            words.push((
                format!("operator {number}, address"),
                address(operator.address.as_ref()),
            ));
            words.push((format!("operator {number}, signatures"), signatures));
        }
        for (number, validator) in self.validators.iter().enumerate() {
            let (fee_recipient, withdrawal) = (&validator.fee_recipient, &validator.withdrawal);
            words.push((
                format!("validator {number}, fee recipient"),
                fee_recipient.to_checksum(),
            ));
            words.push((
                format!("validator {number}, withdrawal address"),
                withdrawal.to_checksum(),
            ));
        }
        words
    }
}

/// The address as files have it: EIP-55, or the empty text for none.
fn address_text(address: Option<&Address>) -> String {
    address.map_or(String::new(), Address::to_checksum)
}

fn read_address(node: &Node<'_>) -> Result<Option<Address>, JsonError> {
    let text = node.text(42)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address =
        Address::parse_any_case(text).map_err(|_| node.error("must be an address, 0x and 40 hex digits"))?;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // One letter case throughout carries no checksum; mixed case does.
    let has = |case: fn(&u8) -> bool| digits.bytes().any(|byte| case(&byte));
    let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    if mixed && address.to_checksum().strip_prefix("0x") != Some(digits) {
        return Err(node.error("the address is mistyped: its checksum (EIP-55) is wrong"));
    }
    Ok(Some(address))
}

fn read_signature(node: &Node<'_>, version: Version) -> Result<Vec<u8>, JsonError> {
    let signature = node.hex(32 * SIGNATURE)?;
    if version.allows_signature_length(signature.len()) {
        Ok(signature)
    } else {
        Err(node.error(format!("{} bytes are no signature; 65 would be", signature.len())))
    }
}

/// What every reader of the format demands.
fn check_rules(fields: &DefinitionFields) -> Result<(), String> {
    for (what, text, limit) in [
        ("name", &fields.name, 256),
        ("uuid", &fields.uuid, 64),
        ("timestamp", &fields.timestamp, 32),
        ("dkg_algorithm", &fields.dkg_algorithm, 32),
        ("consensus_protocol", &fields.consensus_protocol, 256),
    ] {
        if text.len() > limit {
            return Err(format!("the {what} has {} bytes, more than {limit}", text.len()));
        }
    }
    let (n, v) = (fields.operators.len(), fields.validators.len());
    if n == 0 || n > MAX_OPERATORS {
        return Err(format!("it has {n} operators; 1 to {MAX_OPERATORS} are possible"));
    }
    if fields.threshold == 0 || fields.threshold > n as u64 {
        return Err(format!("its threshold is {} of {n} operators", fields.threshold));
    }
    if v == 0 || v > MAX_VALIDATORS {
        return Err(format!(
            "it has {v} validators; 1 to {MAX_VALIDATORS} are possible"
        ));
    }
    let mut seen = HashMap::new();
    for (i, operator) in fields.operators.iter().enumerate() {
        if let Some(first) = seen.insert(operator.enr.node_public_key().to_bytes(), i) {
            return Err(format!("operators {} and {} have the same key", first + 1, i + 1));
        }
    }
    let signatures = fields
        .operators
        .iter()
        .flat_map(|operator| [&operator.config_signature, &operator.enr_signature])
        .chain([&fields.creator.config_signature]);
    for signature in signatures {
        if !fields.version.allows_signature_length(signature.len()) {
            return Err(format!("a wallet's signature has {} bytes", signature.len()));
        }
    }
    // A field that the version's hashes do not cover must not say anything.
    if fields.version < Version::V1_9 && !fields.consensus_protocol.is_empty() {
        return Err(format!("version {} knows no consensus protocol", fields.version));
    }
    if fields.version < Version::V1_10 && (fields.target_gas_limit != 0 || fields.compounding) {
        return Err(format!(
            "version {} knows neither gas limit nor compounding",
            fields.version
        ));
    }
    check_deposit_amounts(&fields.deposit_amounts, fields.compounding)
}

fn check_deposit_amounts(amounts: &[u64], compounding: bool) -> Result<(), String> {
    if amounts.len() > MAX_DEPOSIT_AMOUNTS {
        return Err(format!("it has {} deposit amounts", amounts.len()));
    }
    let most = if compounding { 2048 } else { 32 };
    for &amount in amounts {
        if !(ETH..=most * ETH).contains(&amount) {
            return Err(format!(
                "a deposit of {amount} gwei is not between 1 and {most} ETH"
            ));
        }
    }
    // At most 256 amounts of at most 2048 ETH: no overflow.
    let sum: u64 = amounts.iter().sum();
    if !amounts.is_empty() && sum < 32 * ETH {
        return Err(format!(
            "the deposits add up to {sum} gwei, less than the 32 ETH of a validator"
        ));
    }
    Ok(())
}

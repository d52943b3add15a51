//! Deposits: what a validator's key signs before the money is sent, and the file that the launchpad takes.
//!
//! Source: consensus-specs, phase0 `DepositMessage` and `DepositData`; EIP-7251 for compounding credentials; the
//! file format is that of the Ethereum Foundation's deposit tool, version 2.7.0.
//!
//! A wrong byte here costs 32 ETH, so a file is verified before it is written, not only after it was read.

use std::collections::HashSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

use super::{
    address::Address,
    domain::{DOMAIN_DEPOSIT, compute_domain, compute_signing_root},
    json,
    network::Network,
};
use crate::recognise::Content;
use conclave_crypto::bls::{PublicKey, Signature, verify_batch};
use conclave_crypto::hash::{Hash, WeightStream, sha256};

/// Gwei in one ETH. All amounts are in gwei.
pub const GWEI_PER_ETH: u64 = 1_000_000_000;
/// The smallest deposit that the deposit contract takes: 1 ETH, in gwei.
pub const MIN_AMOUNT: u64 = GWEI_PER_ETH;
/// The largest effective balance with 0x01 credentials, and what activates a validator: 32 ETH, in gwei.
pub const ACTIVATION_AMOUNT: u64 = 32 * GWEI_PER_ETH;
/// The largest effective balance with 0x02 (compounding) credentials: 2048 ETH, in gwei (EIP-7251).
pub const MAX_COMPOUNDING_AMOUNT: u64 = 2048 * GWEI_PER_ETH;
/// Most bytes that a deposit file may have: more than 10,000 validators need.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// The version of the deposit tool whose format is written.
const DEPOSIT_CLI_VERSION: &str = "2.7.0";

/// What the validator's key signs (SSZ container `DepositMessage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TreeHash)]
pub struct DepositMessage {
    /// The validator's public key, compressed, 48 bytes.
    pub pubkey: [u8; 48],
    /// Where withdrawals go, 32 bytes; see [`withdrawal_credentials`].
    pub withdrawal_credentials: [u8; 32],
    /// The amount in gwei.
    pub amount: u64,
}

impl DepositMessage {
    /// Hash tree root of the message: 32 bytes.
    pub fn root(&self) -> [u8; 32] {
        self.tree_hash_root().0
    }

    /// What the validator's key signs (32 bytes) on the network with this genesis fork version.
    pub fn signing_root(&self, genesis_fork_version: [u8; 4]) -> [u8; 32] {
        compute_signing_root(
            self.root(),
            compute_domain(DOMAIN_DEPOSIT, genesis_fork_version, [0; 32]),
        )
    }
}

/// What the deposit contract is given (SSZ container `DepositData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TreeHash)]
pub struct DepositData {
    /// The validator's public key, compressed, 48 bytes.
    pub pubkey: [u8; 48],
    /// Where withdrawals go, 32 bytes.
    pub withdrawal_credentials: [u8; 32],
    /// The amount in gwei.
    pub amount: u64,
    /// BLS signature, compressed, 96 bytes.
    pub signature: [u8; 96],
}

impl DepositData {
    /// Hash tree root: 32 bytes. The deposit contract recomputes it.
    pub fn root(&self) -> [u8; 32] {
        self.tree_hash_root().0
    }
}

/// The withdrawal credentials (32 bytes) for an address: type 0x02 when compounding, else 0x01; 11 zero bytes;
/// the address.
pub fn withdrawal_credentials(address: Address, compounding: bool) -> [u8; 32] {
    let mut credentials = [0; 32];
    credentials[0] = if compounding { 2 } else { 1 };
    credentials[12..].copy_from_slice(&address.0);
    credentials
}

/// The name of the file that holds the deposits of one amount (gwei): `deposit-data.json` for 32 ETH, else for
/// example `deposit-data-1eth.json`.
pub fn deposit_file_name(amount: u64) -> String {
    if amount == ACTIVATION_AMOUNT {
        return "deposit-data.json".to_owned();
    }
    let (eth, rest) = (amount / GWEI_PER_ETH, amount % GWEI_PER_ETH);
    if rest == 0 {
        format!("deposit-data-{eth}eth.json")
    } else {
        let fraction = format!("{rest:09}");
        format!("deposit-data-{eth}.{}eth.json", fraction.trim_end_matches('0'))
    }
}

/// One deposit as its file carries it. Nothing is checked by having one: see [`DepositEntry::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepositEntry {
    /// What is signed.
    pub message: DepositMessage,
    /// BLS signature of the validator's key, compressed, 96 bytes.
    pub signature: [u8; 96],
    /// Root of the message, 32 bytes, as the file says.
    pub deposit_message_root: [u8; 32],
    /// Root of the data with its signature, 32 bytes, as the file says.
    pub deposit_data_root: [u8; 32],
    /// The genesis fork version, 4 bytes.
    pub fork_version: [u8; 4],
    /// The name of the network.
    pub network_name: String,
}

/// Why a deposit or a file of deposits is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DepositError {
    /// The file is not a deposit file.
    #[error("it cannot be read as a deposit file: {0}")]
    Malformed(String),
    /// There is nothing in the file.
    #[error("the file holds no deposit")]
    Empty,
    /// A key is there twice: both deposits would be paid.
    #[error("validator 0x{} is there twice, so it would be paid for twice", hex::encode(.0))]
    Duplicate([u8; 48]),
    /// Files hold one amount each.
    #[error("the deposits are not all of the same amount, but a file holds one amount")]
    MixedAmounts,
    /// One deposit is wrong.
    #[error("the deposit of validator 0x{} is wrong: {fault}", hex::encode(pubkey))]
    Entry {
        /// Public key of the validator, 48 bytes.
        pubkey: [u8; 48],
        /// What is wrong with it.
        fault: DepositFault,
    },
}

/// What is wrong with a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DepositFault {
    /// It is for another chain.
    #[error("it is for another network (fork version)")]
    ForkVersion,
    /// The name of the network does not belong to its fork version.
    #[error("the name of the network is not that of its fork version")]
    NetworkName,
    /// The credentials are not an execution address of type 0x01 or 0x02.
    #[error("the withdrawal credentials are not an address with prefix 0x01 or 0x02")]
    Credentials,
    /// The withdrawal address is the zero address.
    #[error("the withdrawal address is the zero address: the money would be lost")]
    ZeroAddress,
    /// The amount is out of bounds.
    #[error("the amount is not between 1 and 32 ETH (2048 ETH when compounding)")]
    Amount,
    /// `deposit_message_root` is not the root of the message.
    #[error("deposit_message_root does not fit key, credentials and amount")]
    MessageRoot,
    /// `deposit_data_root` is not the root of the data.
    #[error("deposit_data_root does not fit key, credentials, amount and signature")]
    DataRoot,
    /// The public key is no valid point.
    #[error("the public key is not valid")]
    PublicKey,
    /// The signature does not hold. The chain would take the money and ignore the deposit.
    #[error("the signature does not hold")]
    Signature,
}

impl DepositEntry {
    /// A deposit for a network; the roots are computed.
    pub fn new(message: DepositMessage, signature: [u8; 96], network: &Network) -> Self {
        let mut entry = Self {
            message,
            signature,
            deposit_message_root: message.root(),
            deposit_data_root: [0; 32],
            fork_version: network.genesis_fork_version,
            network_name: network.name.to_string(),
        };
        entry.deposit_data_root = entry.data().root();
        entry
    }

    /// What the deposit contract is given.
    pub fn data(&self) -> DepositData {
        let DepositMessage {
            pubkey,
            withdrawal_credentials,
            amount,
        } = self.message;
        DepositData {
            pubkey,
            withdrawal_credentials,
            amount,
            signature: self.signature,
        }
    }

    /// The address that withdrawals go to, and whether they compound; `None` when the credentials are not of that
    /// kind.
    pub fn withdrawal_address(&self) -> Option<(Address, bool)> {
        let (head, address) = self.message.withdrawal_credentials.split_at(12);
        let compounding = match head {
            [1, zeros @ ..] if zeros.iter().all(|byte| *byte == 0) => false,
            [2, zeros @ ..] if zeros.iter().all(|byte| *byte == 0) => true,
            _ => return None,
        };
        Some((Address(address.try_into().ok()?), compounding))
    }

    /// Checks everything: that it is for this network, form of the credentials, amount, both roots, and the signature.
    ///
    /// # Errors
    /// [`DepositError::Entry`] with the first fault.
    pub fn verify(&self, network: &Network) -> Result<(), DepositError> {
        self.check(Some(network)).map_err(|fault| self.wrong(fault))
    }

    fn check(&self, network: Option<&Network>) -> Result<(), DepositFault> {
        let (key, message, signature) = self.check_all_but_signature(network)?;
        if signature.verify(&key, &message) {
            Ok(())
        } else {
            Err(DepositFault::Signature)
        }
    }

    fn check_network(&self, network: &Network) -> Result<(), DepositFault> {
        if self.fork_version != network.genesis_fork_version {
            Err(DepositFault::ForkVersion)
        } else if self.network_name != network.name {
            Err(DepositFault::NetworkName)
        } else if network.real_money
            && self
                .withdrawal_address()
                .is_some_and(|(address, _)| address.is_zero())
        {
            Err(DepositFault::ZeroAddress)
        } else {
            Ok(())
        }
    }

    /// What is left to check: the signature of the key over the message, for the fork version that the entry names.
    fn check_all_but_signature(
        &self,
        network: Option<&Network>,
    ) -> Result<(PublicKey, Hash, Signature), DepositFault> {
        network.map_or(Ok(()), |network| self.check_network(network))?;
        let (_, compounding) = self.withdrawal_address().ok_or(DepositFault::Credentials)?;
        let max = if compounding {
            MAX_COMPOUNDING_AMOUNT
        } else {
            ACTIVATION_AMOUNT
        };
        if !(MIN_AMOUNT..=max).contains(&self.message.amount) {
            return Err(DepositFault::Amount);
        }
        if self.deposit_message_root != self.message.root() {
            return Err(DepositFault::MessageRoot);
        }
        if self.deposit_data_root != self.data().root() {
            return Err(DepositFault::DataRoot);
        }
        let key = PublicKey::from_bytes(&self.message.pubkey).map_err(|_| DepositFault::PublicKey)?;
        let signature = Signature::from_bytes(&self.signature).map_err(|_| DepositFault::Signature)?;
        Ok((key, self.message.signing_root(self.fork_version), signature))
    }

    fn wrong(&self, fault: DepositFault) -> DepositError {
        DepositError::Entry {
            pubkey: self.message.pubkey,
            fault,
        }
    }
}

/// An entry as it is written. The order of the fields is the order in the file.
#[derive(Serialize, Deserialize)]
struct FileEntry {
    pubkey: String,
    withdrawal_credentials: String,
    amount: u64,
    signature: String,
    deposit_message_root: String,
    deposit_data_root: String,
    fork_version: String,
    network_name: String,
    deposit_cli_version: String,
}

impl From<&DepositEntry> for FileEntry {
    fn from(entry: &DepositEntry) -> Self {
        Self {
            pubkey: hex::encode(entry.message.pubkey),
            withdrawal_credentials: hex::encode(entry.message.withdrawal_credentials),
            amount: entry.message.amount,
            signature: hex::encode(entry.signature),
            deposit_message_root: hex::encode(entry.deposit_message_root),
            deposit_data_root: hex::encode(entry.deposit_data_root),
            fork_version: hex::encode(entry.fork_version),
            network_name: entry.network_name.clone(),
            deposit_cli_version: DEPOSIT_CLI_VERSION.to_owned(),
        }
    }
}

impl TryFrom<FileEntry> for DepositEntry {
    type Error = String;

    fn try_from(file: FileEntry) -> Result<Self, String> {
        Ok(Self {
            message: DepositMessage {
                pubkey: json::hex_array("pubkey", &file.pubkey)?,
                withdrawal_credentials: json::hex_array(
                    "withdrawal_credentials",
                    &file.withdrawal_credentials,
                )?,
                amount: file.amount,
            },
            signature: json::hex_array("signature", &file.signature)?,
            deposit_message_root: json::hex_array("deposit_message_root", &file.deposit_message_root)?,
            deposit_data_root: json::hex_array("deposit_data_root", &file.deposit_data_root)?,
            fork_version: json::hex_array("fork_version", &file.fork_version)?,
            network_name: file.network_name,
        })
    }
}

/// Writes the deposit file for one amount: sorted by public key, and only after every entry was verified, see
/// [`verify_entries`].
///
/// # Errors
/// [`DepositError`] when there is no entry, a key is there twice, amounts differ or an entry is wrong.
pub fn write_deposit_file(
    entries: &[DepositEntry],
    network: &Network,
    weight_seed: &[u8; 32],
) -> Result<Vec<u8>, DepositError> {
    check_set(entries)?;
    if entries
        .iter()
        .any(|entry| Some(entry.message.amount) != entries.first().map(|e| e.message.amount))
    {
        return Err(DepositError::MixedAmounts);
    }
    verify_entries(entries, Some(network), weight_seed)?;
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.message.pubkey);
    Ok(json::write(
        &sorted.into_iter().map(FileEntry::from).collect::<Vec<_>>(),
    ))
}

/// Reads a deposit file. Its entries are well-formed and of distinct keys, but not verified yet.
///
/// # Errors
/// [`DepositError`] when it is not such a file.
pub fn read_deposit_file(bytes: &[u8]) -> Result<Vec<DepositEntry>, DepositError> {
    let file: Vec<FileEntry> =
        json::read(bytes, MAX_FILE_BYTES, &Content::Deposits).map_err(DepositError::Malformed)?;
    let entries: Vec<DepositEntry> = file
        .into_iter()
        .enumerate()
        .map(|(i, entry)| {
            entry
                .try_into()
                .map_err(|e| DepositError::Malformed(format!("entry {}: {e}", i + 1)))
        })
        .collect::<Result<_, _>>()?;
    check_set(&entries)?;
    Ok(entries)
}

/// Verifies many entries on all cores, their signatures in one batch: the verdict is that of [`DepositEntry::verify`] on each,
/// but for a chance of 2^-64 that wrong ones pass. Without a network all else is checked, and the signature for the fork version
/// that each entry names. `weight_seed`: 32 bytes that whoever made the entries could not know.
///
/// # Errors
/// [`DepositError::Entry`] for the first wrong one, in the order given.
pub fn verify_entries(
    entries: &[DepositEntry],
    network: Option<&Network>,
    weight_seed: &[u8; 32],
) -> Result<(), DepositError> {
    let checked: Vec<Result<_, DepositFault>> = entries
        .par_iter()
        .map(|entry| entry.check_all_but_signature(network))
        .collect();
    // The contents go in as well, so that a seed that was used twice does no harm.
    let roots: Vec<[u8; 32]> = entries.iter().map(|entry| entry.data().root()).collect();
    let mut weights = WeightStream::new(&sha256(&[weight_seed, roots.as_flattened()]));
    let (mut wrong, mut owners, mut batch) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, checked) in entries.iter().zip(checked) {
        match checked {
            Ok(item) => {
                owners.push(entry);
                batch.push(item);
            }
            Err(fault) => {
                wrong.push(entry.wrong(fault));
                // Only the first one is told, and what comes later cannot be that.
                break;
            }
        }
    }
    let bad = verify_batch(&batch, &mut weights).err().unwrap_or_default();
    let first = bad.first().and_then(|position| owners.get(*position));
    match first
        .map(|entry| entry.wrong(DepositFault::Signature))
        .or(wrong.pop())
    {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn check_set(entries: &[DepositEntry]) -> Result<(), DepositError> {
    if entries.is_empty() {
        return Err(DepositError::Empty);
    }
    let mut seen = HashSet::with_capacity(entries.len());
    match entries.iter().find(|entry| !seen.insert(entry.message.pubkey)) {
        Some(entry) => Err(DepositError::Duplicate(entry.message.pubkey)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use conclave_crypto::bls::SecretKey;

    const SEED: [u8; 32] = [5; 32];

    fn hoodi() -> &'static Network {
        Network::by_name("hoodi").unwrap()
    }

    fn entry(seed: u8, amount: u64, credentials: [u8; 32], network: &Network) -> DepositEntry {
        let mut scalar = [0; 32];
        scalar[31] = seed;
        let key = SecretKey::from_bytes(&scalar).unwrap();
        let message = DepositMessage {
            pubkey: key.public_key().to_bytes(),
            withdrawal_credentials: credentials,
            amount,
        };
        let signature = key
            .sign(&message.signing_root(network.genesis_fork_version))
            .to_bytes();
        DepositEntry::new(message, signature, network)
    }

    fn usual(seed: u8) -> DepositEntry {
        entry(
            seed,
            ACTIVATION_AMOUNT,
            withdrawal_credentials(Address([0x22; 20]), false),
            hoodi(),
        )
    }

    fn fault(entry: &DepositEntry, network: &Network) -> Option<DepositFault> {
        match entry.verify(network) {
            Ok(()) => None,
            Err(DepositError::Entry { fault, .. }) => Some(fault),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn files_are_named_by_their_amount() {
        for (gwei, name) in [
            (32 * GWEI_PER_ETH, "deposit-data.json"),
            (GWEI_PER_ETH, "deposit-data-1eth.json"),
            (256 * GWEI_PER_ETH, "deposit-data-256eth.json"),
            (GWEI_PER_ETH + 500_000_000, "deposit-data-1.5eth.json"),
        ] {
            assert_eq!(deposit_file_name(gwei), name);
        }
    }

    #[test]
    fn a_file_is_sorted_and_read_back() {
        let mut entries = vec![usual(1), usual(2), usual(3), usual(4)];
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.message.pubkey));
        let bytes = write_deposit_file(&entries, hoodi(), &SEED).unwrap();
        assert!(!bytes.ends_with(b"\n"));
        let read = read_deposit_file(&bytes).unwrap();
        entries.reverse();
        assert_eq!(read, entries);
        verify_entries(&read, Some(hoodi()), &SEED).unwrap();
    }

    #[test]
    fn every_fault_has_its_name() {
        let good = usual(1);
        assert_eq!(fault(&good, hoodi()), None);
        assert_eq!(
            fault(&good, Network::by_name("mainnet").unwrap()),
            Some(DepositFault::ForkVersion)
        );
        let changed = |change: fn(&mut DepositEntry)| {
            let mut entry = good.clone();
            change(&mut entry);
            fault(&entry, hoodi())
        };
        assert_eq!(
            changed(|e| e.network_name = "mainnet".into()),
            Some(DepositFault::NetworkName)
        );
        assert_eq!(
            changed(|e| e.deposit_message_root[0] ^= 1),
            Some(DepositFault::MessageRoot)
        );
        assert_eq!(
            changed(|e| e.deposit_data_root[0] ^= 1),
            Some(DepositFault::DataRoot)
        );
        assert_eq!(
            changed(|e| e.message.withdrawal_credentials[5] = 1),
            Some(DepositFault::Credentials)
        );
        assert_eq!(
            changed(|e| e.message.withdrawal_credentials[0] = 0),
            Some(DepositFault::Credentials)
        );
        assert_eq!(
            changed(|e| e.message.amount -= 1),
            Some(DepositFault::MessageRoot)
        );
        // Roots that fit do not help when the signature does not.
        let rooted = |change: fn(&mut DepositMessage)| {
            let mut message = good.message;
            change(&mut message);
            fault(&DepositEntry::new(message, good.signature, hoodi()), hoodi())
        };
        assert_eq!(rooted(|m| m.amount -= 1), Some(DepositFault::Signature));
        assert_eq!(
            rooted(|m| m.withdrawal_credentials[31] ^= 1),
            Some(DepositFault::Signature)
        );
        assert_eq!(
            rooted(|m| m.withdrawal_credentials[0] = 2),
            Some(DepositFault::Signature)
        );
        assert_eq!(
            rooted(|m| m.pubkey = usual(2).message.pubkey),
            Some(DepositFault::Signature)
        );
        assert_eq!(rooted(|m| m.pubkey = [0xff; 48]), Some(DepositFault::PublicKey));
        let infinity = DepositEntry::new(good.message, [0xc0; 96], hoodi());
        assert_eq!(fault(&infinity, hoodi()), Some(DepositFault::Signature));
    }

    #[test]
    fn amounts_are_bounded_by_the_credentials() {
        let [plain, compounding] = [false, true].map(|c| withdrawal_credentials(Address([0x22; 20]), c));
        for (amount, credentials, allowed) in [
            (MIN_AMOUNT - 1, plain, false),
            (MIN_AMOUNT, plain, true),
            (ACTIVATION_AMOUNT + 1, plain, false),
            (ACTIVATION_AMOUNT + 1, compounding, true),
            (MAX_COMPOUNDING_AMOUNT, compounding, true),
            (MAX_COMPOUNDING_AMOUNT + 1, compounding, false),
        ] {
            let expected = (!allowed).then_some(DepositFault::Amount);
            assert_eq!(
                fault(&entry(1, amount, credentials, hoodi()), hoodi()),
                expected,
                "{amount}"
            );
        }
    }

    #[test]
    fn money_is_not_sent_to_nobody() {
        let credentials = withdrawal_credentials(Address::ZERO, false);
        for (name, expected) in [
            ("mainnet", Some(DepositFault::ZeroAddress)),
            ("gnosis", Some(DepositFault::ZeroAddress)),
            ("hoodi", None),
        ] {
            let network = Network::by_name(name).unwrap();
            assert_eq!(
                fault(&entry(1, ACTIVATION_AMOUNT, credentials, network), network),
                expected
            );
        }
    }

    #[test]
    fn nothing_wrong_is_written() {
        let mut wrong = usual(2);
        wrong.signature = usual(1).signature;
        let small = entry(
            2,
            MIN_AMOUNT,
            withdrawal_credentials(Address([0x22; 20]), false),
            hoodi(),
        );
        assert_eq!(write_deposit_file(&[], hoodi(), &SEED), Err(DepositError::Empty));
        assert_eq!(
            write_deposit_file(&[usual(1), small], hoodi(), &SEED),
            Err(DepositError::MixedAmounts)
        );
        assert!(matches!(
            write_deposit_file(&[usual(1), usual(1)], hoodi(), &SEED),
            Err(DepositError::Duplicate(key)) if key == usual(1).message.pubkey
        ));
        assert!(matches!(
            write_deposit_file(&[usual(1), wrong.clone()], hoodi(), &SEED),
            Err(DepositError::Entry { pubkey, .. }) if pubkey == wrong.message.pubkey
        ));
    }

    /// A batch tells the same as each entry by itself, whatever stands where.
    #[test]
    fn many_entries_get_the_verdict_of_the_first_wrong_one() {
        let good: Vec<DepositEntry> = (1..=6).map(usual).collect();
        let check = |entries: &[DepositEntry]| {
            let singly = entries.iter().try_for_each(|entry| entry.verify(hoodi()));
            assert_eq!(verify_entries(entries, Some(hoodi()), &SEED), singly);
            singly
        };
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(&[]), Ok(()));
        let of = |position: usize, fault| {
            let pubkey = good[position].message.pubkey;
            Err(DepositError::Entry { pubkey, fault })
        };
        // Signatures that are right, of each other's deposits: their sum is right.
        let mut swapped = good.clone();
        swapped[2] = DepositEntry::new(good[2].message, good[4].signature, hoodi());
        swapped[4] = DepositEntry::new(good[4].message, good[2].signature, hoodi());
        assert_eq!(check(&swapped), of(2, DepositFault::Signature));
        // A signature before another fault, and after it.
        let mut both = swapped.clone();
        both[3].deposit_data_root[0] ^= 1;
        assert_eq!(check(&both), of(2, DepositFault::Signature));
        both[1].fork_version = [9; 4];
        assert_eq!(check(&both), of(1, DepositFault::ForkVersion));
        // Without a network each is for the chain that it names.
        assert_eq!(verify_entries(&good, None, &SEED), Ok(()));
        assert_eq!(
            verify_entries(&swapped, None, &SEED),
            of(2, DepositFault::Signature)
        );
        let mut elsewhere = good.clone();
        elsewhere[5].fork_version = [9; 4];
        assert_eq!(
            verify_entries(&elsewhere, None, &SEED),
            of(5, DepositFault::Signature)
        );
    }

    #[test]
    fn other_forms_are_refused() {
        let text = String::from_utf8(write_deposit_file(&[usual(1)], hoodi(), &SEED).unwrap()).unwrap();
        for (old, new) in [
            ("32000000000", "\"32000000000\""),
            ("32000000000", "32000000000.5"),
            ("32000000000", "-1"),
            ("32000000000", "18446744073709551616"),
            ("\"pubkey\": \"", "\"pubkey\": \"0x"),
            ("\"pubkey\": \"", "\"pubkey\": \"00"),
            ("\"pubkey\"", "\"amount\": 1, \"pubkey\""),
            ("\"pubkey\"", "\"PubKey\": \"00\", \"pubkey\""),
            ("\"amount\"", "\"Amount\": 1, \"amount\""),
            ("\"pubkey\"", "\"memo\": {\"a\": 1, \"a\": 2}, \"pubkey\""),
            ("\"fork_version\"", "\"fork\""),
            ("[\n", "[[\n"),
            ("]", "] x"),
        ] {
            assert!(text.contains(old), "{old}");
            let changed = text.replacen(old, new, 1);
            let result = read_deposit_file(changed.as_bytes());
            assert!(
                matches!(result, Err(DepositError::Malformed(_))),
                "{new}: {result:?}"
            );
        }
        assert_eq!(read_deposit_file(b"[]"), Err(DepositError::Empty));
        assert!(read_deposit_file(&vec![b' '; MAX_FILE_BYTES + 1]).is_err());
        let deep = "[".repeat(100_000);
        assert!(read_deposit_file(deep.as_bytes()).is_err());
    }

    #[test]
    fn what_other_software_adds_is_ignored() {
        let entry = usual(1);
        let text =
            String::from_utf8(write_deposit_file(std::slice::from_ref(&entry), hoodi(), &SEED).unwrap())
                .unwrap();
        for more in [
            "\"memo\": 1",
            "\"name\": null, \"version\": 4",
            "\"account\": {\"path\": [1, \"m/0\"], \"x\": -1.5e3}",
        ] {
            let changed = text.replacen("\"pubkey\"", &format!("{more}, \"pubkey\""), 1);
            assert_eq!(
                read_deposit_file(changed.as_bytes()).unwrap(),
                std::slice::from_ref(&entry),
                "{more}"
            );
        }
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0_usize..900, byte: u8, cut in 0_usize..900) {
            let mut file = json::write(&[FileEntry::from(&usual(1))]);
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            let _ = read_deposit_file(&file);
            if cut < file.len() {
                file.truncate(cut);
                prop_assert!(read_deposit_file(&file).is_err());
            }
        }
    }
}

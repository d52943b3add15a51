//! Everything about a lock that can be checked without the chain.
//!
//! The checks do not stop at the first failure, and one that depends on another which failed says so. Hashes and
//! signatures are checked against the hash of the *contents*, never against a hash that the file claims to have.
//! What other software makes and takes is valid here, unless it is unsafe, and then the words say why: it checks neither
//! the deposits' signatures nor their withdrawal credentials when it loads a lock; we do, since that is where the money goes.

use std::collections::HashMap;

use rayon::prelude::*;

use super::definition::{Definition, SignatureStatus};
use super::lock::Lock;
use super::report::{Outcome, Report, first_few};
use super::wallets::Wallets;
use conclave_crypto::bls::{PublicKey, Signature, fast_aggregate_verify, verify_batch};
use conclave_crypto::hash::{Hash, WeightStream, sha256};
use conclave_crypto::threshold::{SharesError, check_public_shares};
use conclave_eth::deposit::DepositMessage;
use conclave_eth::network::Network;
use conclave_eth::registration::Registration;
use conclave_eth::unspendable::unspendable;

/// Signatures that one batch holds at most; batches are checked in parallel.
const BATCH: usize = 64;

/// The keys of one validator, decoded.
struct Keys {
    group: PublicKey,
    shares: Vec<PublicKey>,
}

impl Definition {
    /// The check of the wallets' signatures, and what to know if it is fine; `network` gives the chain id that they were made for.
    pub fn check_signatures(
        &self,
        network: Option<&Network>,
        wallets: &Wallets,
    ) -> (Outcome, Option<String>) {
        // Any chain id shows whether there are signatures at all and whether the combination is allowed.
        let outcome = match self.signatures(network.map_or(1, |network| network.chain_id)) {
            Err(error) => Outcome::Failed(error.to_string()),
            Ok(SignatureStatus::Unsigned) => {
                Outcome::NotChecked("nobody signed the definition; the format allows that".into())
            }
            Ok(status) => match (status, network) {
                (_, None) => {
                    Outcome::NotChecked("the network is not known, and wallets sign for a chain id".into())
                }
                (SignatureStatus::NotCheckableOffline { .. }, Some(network)) => {
                    return wallets.judge(&self.unproven_signatures(network.chain_id));
                }
                _ => Outcome::Ok,
            },
        };
        (outcome, None)
    }
}

impl Lock {
    /// Checks everything that can be checked. `network` is the network that the person says it is; without it, the known
    /// network of the definition's fork version is taken, if there is one. `weight_seed`: 32 bytes that whoever made the lock
    /// could not know, for signatures that are checked together.
    pub fn verify(&self, network: Option<&Network>, weight_seed: &[u8; 32]) -> Report {
        self.verify_with(network, weight_seed, &Wallets::default())
    }

    /// As [`Self::verify`], with what is known of contract wallets.
    pub fn verify_with(
        &self,
        network: Option<&Network>,
        weight_seed: &[u8; 32],
        wallets: &Wallets,
    ) -> Report {
        let mut report = Report::default();
        let definition = self.definition();
        let network = match network {
            None => Network::by_fork_version(definition.fork_version).ok(),
            Some(network) => Some(network),
        };
        report.add("network", check_network(definition, network));
        // A network of another fork version says nothing about this lock.
        let network = network.filter(|network| network.genesis_fork_version == definition.fork_version);

        let claimed = self.claimed();
        report.add(
            "config hash",
            hash_outcome(&claimed.definition.config_hash, &definition.config_hash()),
        );
        report.add(
            "definition hash",
            hash_outcome(&claimed.definition.definition_hash, &definition.definition_hash()),
        );
        let (outcome, finding) = definition.check_signatures(network, wallets);
        report.add_with_finding("wallet signatures", outcome, finding);
        report.add("lock hash", hash_outcome(&claimed.lock_hash, &self.lock_hash()));
        report.add("counts", self.check_counts());
        report.add_with_finding("threshold", Outcome::Ok, definition.minority());

        let keys = self.decode_keys();
        match &keys {
            Ok(keys) => {
                report.add("public keys", Outcome::Ok);
                report.add("distinct keys", check_distinct(keys));
                report.add("public shares", self.check_shares(keys, weight_seed));
                report.add("signature aggregate", self.check_aggregate(keys));
            }
            Err(reason) => {
                report.add("public keys", Outcome::Failed(reason.clone()));
                for name in ["distinct keys", "public shares", "signature aggregate"] {
                    report.add(name, Outcome::NotChecked("a public key is not valid".into()));
                }
            }
        }

        report.add("node signatures", self.check_node_signatures());
        let (outcome, finding) = self.check_registrations();
        report.add_with_finding("builder registrations", outcome, finding);
        let (outcome, finding) = self.check_deposits();
        report.add_with_finding("deposits", outcome, finding);
        let (registrations, deposits) = if let Ok(keys) = &keys {
            self.check_group_signatures(keys, weight_seed)
        } else {
            let unknown = Outcome::NotChecked("a public key is not valid".into());
            (unknown.clone(), unknown)
        };
        report.add("builder registration signatures", registrations);
        report.add("deposit signatures", deposits);
        report
    }

    fn check_counts(&self) -> Outcome {
        let definition = self.definition();
        let (n, v) = (definition.operators.len(), definition.validators.len());
        if self.validators().len() != v {
            let reason = format!(
                "the definition names {v} validators, the lock has {}",
                self.validators().len()
            );
            return Outcome::Failed(reason);
        }
        if let Some((i, validator)) = self
            .validators()
            .iter()
            .enumerate()
            .find(|(_, v)| v.public_shares.len() != n)
        {
            let found = validator.public_shares.len();
            return Outcome::Failed(format!(
                "validator {i} has {found} public shares for {n} operators"
            ));
        }
        if self.node_signatures().len() != n {
            let found = self.node_signatures().len();
            return Outcome::Failed(format!("{found} node signatures for {n} operators"));
        }
        Outcome::Ok
    }

    /// All keys as points of the right group, or which one is none.
    fn decode_keys(&self) -> Result<Vec<Keys>, String> {
        self.validators()
            .par_iter()
            .enumerate()
            .map(|(i, validator)| {
                let group = PublicKey::from_bytes(&validator.public_key)
                    .map_err(|error| format!("the key of validator {i}: {error}"))?;
                let shares = validator.public_shares.iter().enumerate().map(|(j, share)| {
                    PublicKey::from_bytes(share)
                        .map_err(|error| format!("the share of operator {} in validator {i}: {error}", j + 1))
                });
                Ok(Keys {
                    group,
                    shares: shares.collect::<Result<_, _>>()?,
                })
            })
            .collect()
    }

    /// Whether any t shares give the validator's key, and fewer do not.
    fn check_shares(&self, keys: &[Keys], weight_seed: &[u8; 32]) -> Outcome {
        let n = self.definition().operators.len();
        let t = usize::try_from(self.definition().threshold).unwrap_or(usize::MAX);
        if !(1..=n).contains(&t) {
            return Outcome::Failed(format!("no {t} of {n} operators can make a key"));
        }
        let rows: Vec<(PublicKey, &[PublicKey])> = keys
            .iter()
            .map(|keys| (keys.group, keys.shares.as_slice()))
            .collect();
        let seed = sha256(&[b"public shares", weight_seed, &self.lock_hash()]);
        let bad: Vec<String> = check_public_shares(&rows, n, t, &seed)
            .into_iter()
            .enumerate()
            .filter_map(|(i, verdict)| {
                let why = match verdict {
                    Ok(()) => return None,
                    Err(SharesError::Count) => "there is another number of them than of operators".to_owned(),
                    Err(SharesError::OffPolynomial) => format!("not every {t} of them make its key"),
                    Err(SharesError::Fewer) => format!("fewer than {t} of them make its key"),
                };
                Some(format!("those of validator {i}: {why}"))
            })
            .collect();
        Outcome::of_failures(&bad)
    }

    fn check_aggregate(&self, keys: &[Keys]) -> Outcome {
        let Some(aggregate) = self.signature_aggregate() else {
            return Outcome::Failed("it is missing".into());
        };
        let shares: Vec<PublicKey> = keys.iter().flat_map(|keys| keys.shares.iter().copied()).collect();
        match Signature::from_bytes(aggregate) {
            Err(error) => Outcome::Failed(error.to_string()),
            Ok(signature) if fast_aggregate_verify(&shares, &self.lock_hash(), &signature) => Outcome::Ok,
            Ok(_) => Outcome::Failed("it is not of all shares over this lock's contents".into()),
        }
    }

    fn check_node_signatures(&self) -> Outcome {
        let operators = &self.definition().operators;
        if self.node_signatures().len() != operators.len() {
            return Outcome::Failed(format!("there are {}", self.node_signatures().len()));
        }
        let bad: Vec<String> = operators
            .iter()
            .zip(self.node_signatures())
            .enumerate()
            .filter(|(_, (operator, signature))| {
                !operator
                    .enr
                    .node_public_key()
                    .verify_recoverable(&self.lock_hash(), signature)
            })
            .map(|(i, _)| {
                format!(
                    "the signature of operator {} does not fit this lock's contents",
                    i + 1
                )
            })
            .collect();
        Outcome::of_failures(&bad)
    }

    /// The contents of the registrations: key and fee recipient. Gas limit and timestamp are whatever the group signed: other
    /// software writes the time of the making where ours writes the network's genesis. A gas limit that is not the definition's is
    /// worth knowing, and harms nobody.
    fn check_registrations(&self) -> (Outcome, Option<String>) {
        let definition = self.definition();
        let (mut bad, mut remarks) = (Vec::new(), Vec::new());
        for (i, (validator, addresses)) in self.validators().iter().zip(&definition.validators).enumerate() {
            let registration = &validator.registration;
            if registration.pubkey != validator.public_key {
                bad.push(format!(
                    "that of validator {i} is for another key, so it would register somebody else"
                ));
            }
            if registration.fee_recipient != addresses.fee_recipient.0 {
                bad.push(format!(
                    "that of validator {i} names another fee recipient than the definition, who would get the fees"
                ));
            }
            let wanted = definition.effective_gas_limit();
            if definition.target_gas_limit != 0 && registration.gas_limit != wanted {
                let found = registration.gas_limit;
                remarks.push(format!(
                    "that of validator {i} has the gas limit {found}, the definition {wanted}"
                ));
            }
        }
        (Outcome::of_failures(&bad), first_few(&remarks))
    }

    /// The contents of the deposits: key and withdrawal credentials, since that is where the money goes. Other amounts than the
    /// definition's are worth knowing, and go to the same place.
    fn check_deposits(&self) -> (Outcome, Option<String>) {
        let definition = self.definition();
        let expected = definition.effective_deposit_amounts();
        let (mut bad, mut remarks, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (validator, addresses)) in self.validators().iter().zip(&definition.validators).enumerate() {
            if validator.deposits.is_empty() {
                without.push(format!("the lock holds no deposits of validator {i}"));
                continue;
            }
            let credentials = definition.withdrawal_credentials(&addresses.withdrawal);
            if let Some(why) = unspendable(&addresses.withdrawal) {
                remarks.push(format!(
                    "withdrawals of validator {i} go to {}: {why}, and money sent there is gone",
                    addresses.withdrawal.to_checksum()
                ));
            }
            if validator
                .deposits
                .iter()
                .any(|deposit| deposit.pubkey != validator.public_key)
            {
                bad.push(format!("one of validator {i} is for another key"));
            }
            if validator
                .deposits
                .iter()
                .any(|deposit| deposit.withdrawal_credentials != credentials)
            {
                bad.push(format!(
                    "one of validator {i} names another withdrawal address than the definition, who would get the stake"
                ));
            }
            let mut amounts: Vec<u64> = validator.deposits.iter().map(|deposit| deposit.amount).collect();
            amounts.sort_unstable();
            // Where the definition names no amounts, each release of other software had its own.
            if !definition.deposit_amounts.is_empty() && amounts != expected {
                remarks.push(format!(
                    "those of validator {i} are of {amounts:?} gwei, the definition names {expected:?}"
                ));
            }
        }
        let outcome = match (bad.is_empty(), without.len() == self.validators().len()) {
            (false, _) => Outcome::of_failures(&bad),
            (true, true) => Outcome::NotChecked("the lock holds no deposits".into()),
            (true, false) => first_few(&without).map_or(Outcome::Ok, Outcome::NotChecked),
        };
        (outcome, first_few(&remarks))
    }

    /// The group's signatures over registrations and deposits. Both depend on the network by its fork version alone.
    fn check_group_signatures(&self, keys: &[Keys], weight_seed: &[u8; 32]) -> (Outcome, Outcome) {
        let fork_version = self.definition().fork_version;
        // The lock hash goes in as well, so that a seed that was used twice does no harm.
        let seed = sha256(&[weight_seed, &self.lock_hash()]);

        let registrations = self.validators().iter().enumerate().map(|(i, validator)| {
            let registration = &validator.registration;
            let message = Registration {
                fee_recipient: registration.fee_recipient,
                gas_limit: registration.gas_limit,
                timestamp: registration.timestamp,
                pubkey: registration.pubkey,
            };
            (i, message.signing_root(fork_version), &registration.signature)
        });
        let deposits = self.validators().iter().enumerate().flat_map(|(i, validator)| {
            validator.deposits.iter().map(move |deposit| {
                let message = DepositMessage {
                    pubkey: deposit.pubkey,
                    withdrawal_credentials: deposit.withdrawal_credentials,
                    amount: deposit.amount,
                };
                (i, message.signing_root(fork_version), &deposit.signature)
            })
        });
        let registrations = check_batches(keys, &registrations.collect::<Vec<_>>(), &seed);
        let deposits = if self
            .validators()
            .iter()
            .all(|validator| validator.deposits.is_empty())
        {
            Outcome::NotChecked("the lock holds no deposits".into())
        } else {
            check_batches(keys, &deposits.collect::<Vec<_>>(), &seed)
        };
        (registrations, deposits)
    }
}

/// Checks signatures (validator, message, signature) under the validators' own keys.
fn check_batches(keys: &[Keys], items: &[(usize, Hash, &[u8; 96])], seed: &Hash) -> Outcome {
    let bad: Vec<String> = items
        .par_chunks(BATCH)
        .enumerate()
        .flat_map_iter(|(number, items)| {
            let mut bad = Vec::new();
            let (mut owners, mut batch) = (Vec::new(), Vec::new());
            for (validator, message, signature) in items {
                match (keys.get(*validator), Signature::from_bytes(signature)) {
                    (Some(keys), Ok(signature)) => {
                        owners.push(*validator);
                        batch.push((keys.group, *message, signature));
                    }
                    (_, Err(error)) => bad.push(format!("one of validator {validator}: {error}")),
                    (None, _) => bad.push(format!("one of validator {validator} has no key")),
                }
            }
            let mut weights = WeightStream::new(&sha256(&[seed, &number.to_be_bytes()]));
            if let Err(positions) = verify_batch(&batch, &mut weights) {
                let owners = positions.iter().filter_map(|&position| owners.get(position));
                bad.extend(owners.map(|validator| format!("one of validator {validator} is not by its key")));
            }
            bad
        })
        .collect();
    Outcome::of_failures(&bad)
}

fn check_network(definition: &Definition, network: Option<&Network>) -> Outcome {
    let fork_version = hex::encode(definition.fork_version);
    match network {
        None => Outcome::NotChecked(format!(
            "no known network has the fork version 0x{fork_version}; a network file would tell its chain id and genesis"
        )),
        Some(network) if network.genesis_fork_version == definition.fork_version => Outcome::Ok,
        Some(network) => Outcome::Failed(format!(
            "the fork version is 0x{fork_version}, which is not {}'s",
            network.name
        )),
    }
}

/// No key may occur twice, neither a share nor a validator's.
fn check_distinct(keys: &[Keys]) -> Outcome {
    let mut seen: HashMap<PublicKey, String> = HashMap::new();
    let mut bad = Vec::new();
    for (i, keys) in keys.iter().enumerate() {
        let shares = keys.shares.iter().enumerate();
        let named = shares.map(|(j, share)| {
            (
                *share,
                format!("the share of operator {} in validator {i}", j + 1),
            )
        });
        for (key, name) in [(keys.group, format!("the key of validator {i}"))]
            .into_iter()
            .chain(named)
        {
            if let Some(first) = seen.get(&key) {
                bad.push(format!("{name} is also {first}"));
            } else {
                seen.insert(key, name);
            }
        }
    }
    Outcome::of_failures(&bad)
}

fn hash_outcome(claimed: &Hash, computed: &Hash) -> Outcome {
    if claimed == computed {
        Outcome::Ok
    } else {
        let (claimed, computed) = (hex::encode(claimed), hex::encode(computed));
        Outcome::Failed(format!(
            "the file says 0x{claimed}, but its contents give 0x{computed}"
        ))
    }
}

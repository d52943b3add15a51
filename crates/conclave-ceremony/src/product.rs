//! What the shares of a ceremony sign, and the files that come of it: the bridge between the protocol and the cluster formats.

use std::sync::Arc;

use conclave_cluster::definition::Definition;
use conclave_cluster::lock::{
    BuilderRegistration, DistributedValidator, Lock, LockBody, LockError, PartialDeposit,
};
use conclave_crypto::bls::{PublicKey, Signature};
use conclave_crypto::domains;
use conclave_crypto::hash::{Hash, sha256};
use conclave_dkg::operator::Finished;
use conclave_dkg::outputs::{GroupKeys, ValidatorKeys};
use conclave_dkg::terms::{Product, Terms, TermsError};
use conclave_eth::deposit::{
    DepositEntry, DepositError, DepositMessage, deposit_file_name, write_deposit_file,
};
use conclave_eth::network::Network;
use conclave_eth::registration::Registration;

/// The messages and the lock of one definition on one network.
pub struct ClusterProduct {
    definition: Definition,
    network: Network,
    amounts: Vec<u64>,
}

impl ClusterProduct {
    /// For a definition and its network.
    pub fn new(definition: &Definition, network: &Network) -> Self {
        Self {
            definition: definition.clone(),
            network: network.clone(),
            amounts: definition.effective_deposit_amounts(),
        }
    }

    fn deposit(&self, validator: usize, key: &PublicKey, amount: u64) -> Option<DepositMessage> {
        let addresses = self.definition.validators.get(validator)?;
        Some(DepositMessage {
            pubkey: key.to_bytes(),
            withdrawal_credentials: self.definition.withdrawal_credentials(&addresses.withdrawal),
            amount,
        })
    }

    fn registration(&self, validator: usize, key: &PublicKey) -> Option<Registration> {
        let addresses = self.definition.validators.get(validator)?;
        Some(Registration {
            fee_recipient: addresses.fee_recipient.0,
            gas_limit: self.definition.effective_gas_limit(),
            timestamp: self.network.genesis_time,
            pubkey: key.to_bytes(),
        })
    }

    fn validator(
        &self,
        v: usize,
        keys: &ValidatorKeys,
        signatures: &[Signature],
    ) -> Option<DistributedValidator> {
        let registration = self.registration(v, &keys.group)?;
        let deposits: Option<Vec<PartialDeposit>> = self
            .amounts
            .iter()
            .zip(signatures)
            .map(|(amount, signature)| {
                let message = self.deposit(v, &keys.group, *amount)?;
                Some(PartialDeposit {
                    pubkey: message.pubkey,
                    withdrawal_credentials: message.withdrawal_credentials,
                    amount: *amount,
                    signature: signature.to_bytes(),
                })
            })
            .collect();
        Some(DistributedValidator {
            public_key: keys.group.to_bytes(),
            public_shares: keys.shares.iter().map(PublicKey::to_bytes).collect(),
            registration: BuilderRegistration {
                fee_recipient: registration.fee_recipient,
                gas_limit: registration.gas_limit,
                timestamp: registration.timestamp,
                pubkey: registration.pubkey,
                signature: signatures.get(self.amounts.len())?.to_bytes(),
            },
            deposits: deposits?,
        })
    }

    /// What the lock hash covers; `signatures[v]` as [`Product::signing_roots`] orders the messages.
    ///
    /// # Errors
    /// [`LockError`] if the counts are not those of the definition.
    pub fn body(&self, keys: &GroupKeys, signatures: &[Vec<Signature>]) -> Result<LockBody, LockError> {
        let validators: Option<Vec<DistributedValidator>> = keys
            .validators()
            .iter()
            .zip(signatures)
            .enumerate()
            .map(|(v, (keys, signatures))| self.validator(v, keys, signatures))
            .collect();
        let validators = validators
            .ok_or_else(|| LockError::Rule("keys or signatures do not fit the definition".to_owned()))?;
        LockBody::new(self.definition.clone(), validators)
    }

    /// The lock of a finished ceremony.
    ///
    /// # Errors
    /// As [`ClusterProduct::body`].
    pub fn lock(&self, finished: &Finished) -> Result<Lock, LockError> {
        let body = self.body(&finished.keys, &finished.signatures)?;
        Ok(Lock::assemble(
            body,
            finished.aggregate.to_bytes(),
            finished.node_signatures.clone(),
        ))
    }

    /// The deposit files of a lock, one for each amount: name and content. Every signature is verified once more; `weight_seed` as
    /// for [`write_deposit_file`].
    ///
    /// # Errors
    /// If a deposit does not verify.
    pub fn deposit_files(
        &self,
        lock: &Lock,
        weight_seed: &[u8; 32],
    ) -> Result<Vec<(String, Vec<u8>)>, DepositError> {
        self.amounts
            .iter()
            .enumerate()
            .map(|(position, amount)| {
                let entries: Vec<DepositEntry> = lock
                    .validators()
                    .iter()
                    .filter_map(|validator| validator.deposits.get(position))
                    .map(|deposit| {
                        let message = DepositMessage {
                            pubkey: deposit.pubkey,
                            withdrawal_credentials: deposit.withdrawal_credentials,
                            amount: deposit.amount,
                        };
                        DepositEntry::new(message, deposit.signature, &self.network)
                    })
                    .collect();
                Ok((
                    deposit_file_name(*amount),
                    write_deposit_file(&entries, &self.network, weight_seed)?,
                ))
            })
            .collect()
    }
}

/// The keys that a lock names; `None` if one of them is no public key.
pub fn keys_of(lock: &Lock) -> Option<GroupKeys> {
    let validators: Option<Vec<ValidatorKeys>> = lock
        .validators()
        .iter()
        .map(|validator| {
            let shares = validator.public_shares.iter().map(PublicKey::from_bytes);
            Some(ValidatorKeys {
                group: PublicKey::from_bytes(&validator.public_key).ok()?,
                shares: shares.collect::<Result<_, _>>().ok()?,
            })
        })
        .collect();
    validators.map(GroupKeys::new)
}

impl Product for ClusterProduct {
    fn messages(&self) -> usize {
        self.amounts.len() + 1
    }

    fn signing_roots(&self, validator: usize, group_key: &PublicKey) -> Vec<Hash> {
        let fork = self.network.genesis_fork_version;
        let deposits = self
            .amounts
            .iter()
            .filter_map(|amount| self.deposit(validator, group_key, *amount))
            .map(|message| message.signing_root(fork));
        let registration = self
            .registration(validator, group_key)
            .map(|r| r.signing_root(fork));
        deposits.chain(registration).collect()
    }

    fn lock_hash(&self, keys: &GroupKeys, signatures: &[Vec<Signature>]) -> Hash {
        // The counts are those of the definition: it was checked, and the keys and signatures are made for it.
        self.body(keys, signatures)
            .map_or([0; 32], |body| body.lock_hash())
    }
}

/// `net`: what signatures depend on and the definition does not say.
pub fn net(network: &Network) -> Hash {
    sha256(&[
        domains::NET.as_bytes(),
        &network.genesis_fork_version,
        &network.genesis_time.to_be_bytes(),
        &network.chain_id.to_be_bytes(),
    ])
}

/// The terms of the ceremony of a definition.
///
/// # Errors
/// Whatever [`Terms::new`] refuses.
pub fn terms(definition: &Definition, network: &Network) -> Result<Terms, TermsError> {
    Terms::new(
        definition.definition_hash(),
        net(network),
        usize::try_from(definition.threshold).unwrap_or(usize::MAX),
        definition.validators.len(),
        definition
            .operators
            .iter()
            .map(|operator| *operator.enr.node_public_key())
            .collect(),
        Arc::new(ClusterProduct::new(definition, network)),
    )
}

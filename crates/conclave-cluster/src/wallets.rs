//! Wallets that are contracts (a Safe, for example). They have no key: whether such a wallet made a signature, only its contract
//! can say (ERC-1271), and only an execution client can ask it.
//!
//! Without an answer, a signature that is not of the address's key is a forgery as likely as a contract's. So it counts as wrong,
//! unless somebody says that the address is a contract wallet: then it is told that nobody checked it.

use std::collections::{HashMap, HashSet};

use super::report::Outcome;
use conclave_crypto::hash::Hash;
use conclave_eth::address::Address;

/// The selector of `isValidSignature(bytes32,bytes)`, and what the function returns if the contract accepts (ERC-1271).
const MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];
/// One word of the contract ABI in bytes.
const WORD: usize = 32;

/// A signature that is not of the key of its wallet's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WalletSignature {
    /// Whose it is, in words, with the address.
    pub who: String,
    /// The wallet.
    pub address: Address,
    /// What was signed: an EIP-712 digest.
    pub digest: Hash,
    /// The signature, as the definition has it: a multiple of 65 bytes.
    pub signature: Vec<u8>,
}

impl WalletSignature {
    /// The call that asks the wallet's contract, as the contract ABI encodes it.
    pub fn call_data(&self) -> Vec<u8> {
        let word = |number: usize| {
            let mut word = [0; WORD];
            word[WORD - 8..].copy_from_slice(&(number as u64).to_be_bytes());
            word
        };
        let mut data = MAGIC.to_vec();
        data.extend(self.digest);
        // The signature follows after two words: the digest and this offset.
        data.extend(word(2 * WORD));
        data.extend(word(self.signature.len()));
        data.extend(&self.signature);
        data.resize(
            data.len() + self.signature.len().next_multiple_of(WORD) - self.signature.len(),
            0,
        );
        data
    }
}

/// Whether what the contract returned says that it accepts the signature: the magic value, and nothing else in its word.
pub fn accepts(returned: &[u8]) -> bool {
    returned.split_first_chunk::<WORD>().is_some_and(|(word, _)| {
        word.starts_with(&MAGIC) && word.iter().skip(MAGIC.len()).all(|byte| *byte == 0)
    })
}

/// What the chain says of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The contract accepts it.
    Accepted,
    /// The contract does not; the words say what it did instead.
    Refused(String),
    /// There is no contract at this address.
    NoContract,
}

/// What is known of wallets that are contracts.
#[derive(Debug, Clone, Default)]
pub struct Wallets {
    named: HashSet<[u8; 20]>,
    verdicts: HashMap<WalletSignature, Verdict>,
    others_unchecked: bool,
    judged_before: bool,
}

impl Wallets {
    /// With these addresses, which somebody said to be contract wallets.
    pub fn named(addresses: &[Address]) -> Self {
        Self {
            named: addresses.iter().map(|address| address.0).collect(),
            ..Self::default()
        }
    }

    /// For whoever is not the one to judge: what no key proves is told, and stops nobody.
    pub fn unchecked() -> Self {
        Self {
            others_unchecked: true,
            ..Self::default()
        }
    }

    /// For whoever has judged before, when what is signed was still as it was then: a contract that does not accept any more, as its owners
    /// have changed, is told and stops nobody. Of what nothing is known, as [`unchecked`](Self::unchecked).
    #[must_use]
    pub fn judged_before(self) -> Self {
        Self {
            others_unchecked: true,
            judged_before: true,
            ..self
        }
    }

    /// Learns what the chain says of a signature. It counts for more than what somebody said.
    pub fn learn(&mut self, signature: WalletSignature, verdict: Verdict) {
        self.verdicts.insert(signature, verdict);
    }

    /// Whether the chain has said something of a signature.
    pub fn knows(&self, signature: &WalletSignature) -> bool {
        self.verdicts.contains_key(signature)
    }

    /// What to think of signatures that no key proves, and what to know if they are fine.
    pub fn judge(&self, unproven: &[WalletSignature]) -> (Outcome, Option<String>) {
        let (mut bad, mut open, mut fine) = (Vec::new(), Vec::new(), Vec::new());
        for signature in unproven {
            let WalletSignature { who, address, .. } = signature;
            let (list, line) = match self.verdicts.get(signature) {
                Some(Verdict::Accepted) => (
                    &mut fine,
                    format!("the contract wallet of {who} accepts its signature"),
                ),
                Some(Verdict::Refused(why)) if self.judged_before => (
                    &mut open,
                    format!(
                        "the contract of {who} does not accept the signature any more, as if its owners had changed ({why})"
                    ),
                ),
                Some(Verdict::NoContract) if self.judged_before => (
                    &mut open,
                    format!("the execution client knows no contract of {who} any more"),
                ),
                Some(Verdict::Refused(why)) => (
                    &mut bad,
                    format!("the contract of {who} does not accept the signature: {why}"),
                ),
                Some(Verdict::NoContract) => (
                    &mut bad,
                    format!(
                        "the signature of {who} is not of that address's key, and there is no contract: it is forged or damaged"
                    ),
                ),
                None if self.named.contains(&address.0) => (
                    &mut open,
                    format!(
                        "the signature of {who} was not checked: you named it as a contract wallet's, which --execution-client can ask"
                    ),
                ),
                None if self.others_unchecked => (
                    &mut open,
                    format!(
                        "the signature of {who} is not of that address's key: of a contract wallet, which conclave verify checks \
                         with --execution-client, or forged"
                    ),
                ),
                None => (
                    &mut bad,
                    format!(
                        "the signature of {who} is not of that address's key. If it is a contract wallet (such as a Safe), let \
                         --execution-client URL ask it, or name it with --contract-wallet {}; if not, it is forged or damaged",
                        address.to_checksum()
                    ),
                ),
            };
            // An operator signs twice.
            if !list.contains(&line) {
                list.push(line);
            }
        }
        let outcome = match (bad.is_empty(), open.is_empty()) {
            (false, _) => Outcome::Failed(bad.join("; ")),
            (true, false) => Outcome::NotChecked(open.join("; ")),
            (true, true) => Outcome::Ok,
        };
        (outcome, (!fine.is_empty()).then(|| fine.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    fn signature(byte: u8) -> WalletSignature {
        WalletSignature {
            who: format!("operator {byte}"),
            address: Address([byte; 20]),
            digest: [byte; 32],
            signature: vec![byte; 65],
        }
    }

    /// The example of the contract ABI's specification has the same layout: a static word, an offset, a length, the padded bytes.
    #[test]
    fn the_call_is_encoded_as_contracts_read_it() {
        let data = signature(7).call_data();
        assert_eq!(data.len(), 4 + 3 * 32 + 96);
        assert_eq!(data[..4], hex!("1626ba7e"));
        assert_eq!(data[4..36], [7; 32]);
        assert_eq!(
            data[36..68],
            hex!("0000000000000000000000000000000000000000000000000000000000000040")
        );
        assert_eq!(
            data[68..100],
            hex!("0000000000000000000000000000000000000000000000000000000000000041")
        );
        assert_eq!(data[100..165], [7; 65]);
        assert_eq!(data[165..], [0; 31]);
        let none = WalletSignature {
            signature: Vec::new(),
            ..signature(1)
        };
        assert_eq!(none.call_data().len(), 4 + 3 * 32);
    }

    #[test]
    fn only_the_magic_value_accepts() {
        let mut word = [0; 32];
        word[..4].copy_from_slice(&MAGIC);
        assert!(accepts(&word) && accepts(&[&word[..], &[1]].concat()));
        assert!(
            !accepts(&word[..31])
                && !accepts(&MAGIC)
                && !accepts(&[])
                && !accepts(&[0; 32])
                && !accepts(&[0xff; 32])
        );
        word[31] = 1;
        assert!(!accepts(&word));
        // A number, not left-aligned bytes.
        let mut number = [0; 32];
        number[28..].copy_from_slice(&MAGIC);
        assert!(!accepts(&number));
    }

    #[test]
    fn what_the_chain_says_counts_for_more_than_what_somebody_says() {
        let word = |wallets: &Wallets, unproven: &[WalletSignature]| wallets.judge(unproven).0.word();
        assert_eq!(word(&Wallets::default(), &[]), "ok");
        assert_eq!(word(&Wallets::default(), &[signature(1)]), "failed");
        assert_eq!(word(&Wallets::unchecked(), &[signature(1)]), "not checked");
        let mut wallets = Wallets::named(&[Address([1; 20])]);
        assert_eq!(word(&wallets, &[signature(1)]), "not checked");
        assert_eq!(word(&wallets, &[signature(1), signature(2)]), "failed");
        wallets.learn(signature(2), Verdict::Accepted);
        assert_eq!(word(&wallets, &[signature(1), signature(2)]), "not checked");
        wallets.learn(signature(1), Verdict::NoContract);
        assert_eq!(word(&wallets, &[signature(1)]), "failed");
        wallets.learn(signature(1), Verdict::Refused("no".into()));
        assert_eq!(word(&wallets, &[signature(1)]), "failed");
        wallets.learn(signature(1), Verdict::Accepted);
        let (outcome, finding) = wallets.judge(&[signature(1), signature(2)]);
        assert_eq!(outcome, Outcome::Ok);
        assert!(finding.unwrap().contains("operator 2"));
        // Owners may change after a ceremony was begun.
        for verdict in [Verdict::Refused("no".into()), Verdict::NoContract] {
            let mut wallets = Wallets::default().judged_before();
            wallets.learn(signature(1), verdict);
            let (outcome, _) = wallets.judge(&[signature(1)]);
            assert_eq!(outcome.word(), "not checked");
            assert!(
                matches!(outcome, Outcome::NotChecked(why) if why.contains("operator 1") && why.contains("any more"))
            );
        }
        // Another signature of the same wallet was not asked about.
        let other = WalletSignature {
            digest: [9; 32],
            ..signature(2)
        };
        assert_eq!(word(&wallets, &[other]), "failed");
    }
}

//! A lock of our own, made as a ceremony makes it, verifies, is written and read, and is refused when it lies.

use conclave_cluster::definition::{
    Creator, DKG_ALGORITHM, Definition, DefinitionFields, OperatorRecord, ValidatorAddresses, Version,
};
use conclave_cluster::enr::Enr;
use conclave_cluster::lock::{BuilderRegistration, DistributedValidator, Lock, LockBody, PartialDeposit};
use conclave_crypto::bls::{SecretKey, Signature};
use conclave_crypto::commit::evaluate;
use conclave_crypto::hash::{sha256, sha512};
use conclave_crypto::node::NodeKey;
use conclave_crypto::scalar::Scalar;
use conclave_eth::address::Address;
use conclave_eth::deposit::DepositMessage;
use conclave_eth::network::Network;
use conclave_eth::registration::Registration;

/// What a test wants to be different from an honest ceremony.
#[allow(clippy::struct_excessive_bools)]
#[derive(Default)]
struct Lies {
    /// Gas limit in the registrations.
    gas_limit: Option<u64>,
    /// Timestamp in the registrations.
    timestamp: Option<u64>,
    /// Fee recipient in the registrations.
    fee_recipient: Option<[u8; 20]>,
    /// First byte of the withdrawal credentials.
    credentials: Option<u8>,
    /// Amounts of the deposits in gwei.
    amounts: Option<Vec<u64>>,
    /// Coefficients of the polynomials.
    degree: Option<usize>,
    /// Every validator has the same key.
    one_key: bool,
    /// Who signs the deposits of validator 1 with another key.
    foreign_deposit: bool,
    /// An operator whose signature with one share is missing from the aggregate.
    missing_partial: bool,
    /// An operator whose node signature is by another.
    foreign_node: bool,
}

fn network() -> &'static Network {
    Network::by_name("hoodi").unwrap()
}

fn node(number: usize) -> NodeKey {
    NodeKey::from_bytes(&sha256(&[b"node", &number.to_be_bytes()])).unwrap()
}

/// A ceremony with a dealer, from top to bottom: good enough for a test, and for nothing else.
#[allow(clippy::too_many_lines)]
fn lock(n: usize, threshold: usize, validators: usize, lies: &Lies) -> Lock {
    let addresses = |i: usize| ValidatorAddresses {
        fee_recipient: Address([0x11; 20]),
        withdrawal: Address([u8::try_from(i % 200 + 1).unwrap(); 20]),
    };
    let definition = Definition::new(DefinitionFields {
        name: "Own".into(),
        creator: Creator::default(),
        operators: (0..n)
            .map(|i| OperatorRecord::unsigned(Enr::create(&node(i))))
            .collect(),
        uuid: "C709B570-192D-4006-B297-81C71BB1162C".into(),
        version: Version::V1_10,
        timestamp: "2026-11-21T03:07:37Z".into(),
        threshold: threshold as u64,
        validators: (0..validators).map(addresses).collect(),
        dkg_algorithm: DKG_ALGORITHM.into(),
        fork_version: network().genesis_fork_version,
        deposit_amounts: vec![32_000_000_000],
        consensus_protocol: String::new(),
        target_gas_limit: 60_000_000,
        compounding: false,
    })
    .unwrap();

    let mut all_shares = Vec::new();
    let mut made = Vec::new();
    for i in 0..validators {
        let seed = if lies.one_key { 0 } else { i };
        let coefficients: Vec<Scalar> = (0..lies.degree.unwrap_or(threshold))
            .map(|k| Scalar::from_wide_be(&sha512(&[&seed.to_be_bytes(), &k.to_be_bytes()])))
            .collect();
        let group = SecretKey::from_scalar(&coefficients[0]).unwrap();
        let shares: Vec<SecretKey> = (1..=n as u64)
            .map(|index| SecretKey::from_scalar(&evaluate(&coefficients, index)).unwrap())
            .collect();
        let pubkey = group.public_key().to_bytes();
        let registration = Registration {
            fee_recipient: lies.fee_recipient.unwrap_or([0x11; 20]),
            gas_limit: lies.gas_limit.unwrap_or(60_000_000),
            timestamp: lies.timestamp.unwrap_or(network().genesis_time),
            pubkey,
        };
        let mut credentials = definition.withdrawal_credentials(&addresses(i).withdrawal);
        credentials[0] = lies.credentials.unwrap_or(credentials[0]);
        let amounts = lies
            .amounts
            .clone()
            .unwrap_or(definition.effective_deposit_amounts());
        let deposits = amounts
            .iter()
            .map(|&amount| {
                let message = DepositMessage {
                    pubkey,
                    withdrawal_credentials: credentials,
                    amount,
                };
                let root = message.signing_root(network().genesis_fork_version);
                let signer = if lies.foreign_deposit && i == 1 {
                    &shares[0]
                } else {
                    &group
                };
                let signature = signer.sign(&root).to_bytes();
                PartialDeposit {
                    pubkey,
                    withdrawal_credentials: credentials,
                    amount,
                    signature,
                }
            })
            .collect();
        let root = registration.signing_root(network().genesis_fork_version);
        made.push(DistributedValidator {
            public_key: pubkey,
            public_shares: shares.iter().map(|share| share.public_key().to_bytes()).collect(),
            registration: BuilderRegistration {
                fee_recipient: registration.fee_recipient,
                gas_limit: registration.gas_limit,
                timestamp: registration.timestamp,
                pubkey,
                signature: group.sign(&root).to_bytes(),
            },
            deposits,
        });
        all_shares.extend(shares);
    }
    let body = LockBody::new(definition, made).unwrap();
    let hash = body.lock_hash();
    let mut partials: Vec<Signature> = all_shares.iter().map(|share| share.sign(&hash)).collect();
    if lies.missing_partial {
        partials.pop();
    }
    let aggregate = Signature::aggregate(&partials).unwrap().to_bytes();
    let signer = |i: usize| {
        if lies.foreign_node && i == 1 {
            node(0)
        } else {
            node(i)
        }
    };
    Lock::assemble(
        body,
        aggregate,
        (0..n).map(|i| signer(i).sign_recoverable(&hash)).collect(),
    )
}

fn failures(lock: &Lock) -> Vec<String> {
    lock.verify(None, &[7; 32])
        .failures()
        .map(|check| check.name.clone())
        .collect()
}

#[test]
fn an_own_lock_verifies_and_is_read_back() {
    for (n, threshold, validators) in [(2, 2, 1), (3, 2, 2), (4, 3, 100), (7, 5, 3), (13, 9, 1)] {
        let lock = lock(n, threshold, validators, &Lies::default());
        let report = lock.verify(Some(network()), &[7; 32]);
        assert!(report.passed(), "{report}");
        let bytes = lock.to_json();
        let read = Lock::from_json(&bytes).unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.to_json(), bytes);
        assert!(read.verify(None, &[7; 32]).passed());
    }
}

#[test]
fn consistent_lies_are_named() {
    type Change = fn(&mut Lies);
    let cases: [(&[&str], Change); 7] = [
        (&["builder registrations"], |lies| {
            lies.fee_recipient = Some([0x66; 20]);
        }),
        (&["deposits"], |lies| lies.credentials = Some(2)),
        (&["deposits"], |lies| lies.credentials = Some(0)),
        (&["public shares"], |lies| lies.degree = Some(4)),
        (&["deposit signatures"], |lies| lies.foreign_deposit = true),
        (&["signature aggregate"], |lies| lies.missing_partial = true),
        (&["node signatures"], |lies| lies.foreign_node = true),
    ];
    for (names, change) in cases {
        let mut lies = Lies::default();
        change(&mut lies);
        assert_eq!(failures(&lock(4, 3, 2, &lies)), names);
    }
    let one_key = Lies {
        one_key: true,
        ..Lies::default()
    };
    assert_eq!(failures(&lock(4, 3, 2, &one_key)), ["distinct keys"]);
}

/// Other software signs registrations for the time of their making, and what it takes is taken here. What is worth knowing is said.
#[test]
fn what_other_software_takes_is_taken() {
    for timestamp in [0, 1, 1_796_017_537, u64::MAX] {
        let lies = Lies {
            timestamp: Some(timestamp),
            ..Lies::default()
        };
        assert_eq!(failures(&lock(4, 3, 2, &lies)), [""; 0], "{timestamp}");
    }
    let finding = |n, t, lies: &Lies, name: &str| {
        let report = lock(n, t, 2, lies).verify(Some(network()), &[7; 32]);
        assert!(report.passed(), "{report}");
        report.get(name).unwrap().finding.clone().unwrap_or_default()
    };
    let gas = Lies {
        gas_limit: Some(30_000_000),
        ..Lies::default()
    };
    let found = finding(4, 3, &gas, "builder registrations");
    assert!(
        found.contains("gas limit 30000000, the definition 60000000"),
        "{found}"
    );
    let amounts = Lies {
        amounts: Some(vec![32_000_000_000, 1_000_000_000]),
        ..Lies::default()
    };
    let found = finding(4, 3, &amounts, "deposits");
    assert!(found.contains("[1000000000, 32000000000] gwei"), "{found}");
    let found = finding(4, 2, &Lies::default(), "threshold");
    assert!(found.contains("2 of 4 is not a majority"), "{found}");
    assert_eq!(finding(4, 3, &Lies::default(), "threshold"), "");
    let none = Lies {
        amounts: Some(Vec::new()),
        ..Lies::default()
    };
    let report = lock(4, 3, 2, &none).verify(None, &[7; 32]);
    assert_eq!(report.get("deposits").unwrap().outcome.word(), "not checked");
    assert_eq!(
        report.get("deposit signatures").unwrap().outcome.word(),
        "not checked"
    );
}

/// Only the signature makes a registration.
#[test]
fn a_registration_of_another_time_needs_its_own_signature() {
    let honest = lock(4, 3, 1, &Lies::default());
    let mut validators = honest.validators().to_vec();
    validators[0].registration.timestamp += 1;
    let body = LockBody::new(honest.definition().clone(), validators).unwrap();
    let changed = Lock::assemble(body, *honest.signature_aggregate().unwrap(), Vec::new());
    let names = failures(&changed);
    assert!(
        names.iter().any(|name| name == "builder registration signatures"),
        "{names:?}"
    );
}

/// A polynomial of too low a degree: fewer operators than the threshold could sign, and the shares still interpolate.
#[test]
fn a_degree_that_is_too_low_is_noticed() {
    let lies = Lies {
        degree: Some(2),
        ..Lies::default()
    };
    assert_eq!(failures(&lock(4, 3, 1, &lies)), ["public shares"]);
}

#[test]
fn reasons_name_who_and_where() {
    let lies = Lies {
        foreign_deposit: true,
        foreign_node: true,
        ..Lies::default()
    };
    let report = lock(4, 3, 100, &lies).verify(None, &[7; 32]);
    let text = report.to_string();
    assert!(text.contains("one of validator 1 is not by its key"), "{text}");
    assert!(text.contains("the signature of operator 2 "), "{text}");
    let lies = Lies {
        fee_recipient: Some([0x66; 20]),
        ..Lies::default()
    };
    let text = lock(4, 3, 100, &lies).verify(None, &[7; 32]).to_string();
    assert!(text.contains("and 97 more"), "{text}");
}

//! A whole ceremony in one process: three operators, any two of whom can sign afterwards.
//!
//! `cargo run --example in_memory`

use std::collections::VecDeque;
use std::sync::Arc;

use conclave_crypto::bls::{PublicKey, SecretKey, Signature};
use conclave_crypto::hash::{Hash, sha256};
use conclave_crypto::node::NodeKey;
use conclave_crypto::threshold::recover_signature;
use conclave_dkg::body::Reason;
use conclave_dkg::operator::{Effect, Operator};
use conclave_dkg::outputs::GroupKeys;
use conclave_dkg::secrets::Seed;
use conclave_dkg::terms::{Product, Terms};

/// What the group signs as soon as it has its key: here one message.
struct Greeting;

impl Product for Greeting {
    fn messages(&self) -> usize {
        1
    }

    fn signing_roots(&self, _: usize, key: &PublicKey) -> Vec<Hash> {
        vec![sha256(&[b"hello", &key.to_bytes()])]
    }

    fn lock_hash(&self, keys: &GroupKeys, _: &[Vec<Signature>]) -> Hash {
        sha256(&[b"lock", keys.hash()])
    }
}

fn main() {
    // A real program takes the operating system's randomness; fixed bytes keep this example short.
    let node_key = |i: u8| NodeKey::from_bytes(&[i; 32]).expect("a key");
    let seeds = [[41; 32], [42; 32], [43; 32]];
    let keys = (1..=3).map(|i| node_key(i).public()).collect();
    let terms = Terms::new([1; 32], [2; 32], 2, 1, keys, Arc::new(Greeting)).expect("terms");
    let terms = Arc::new(terms);
    let mut operators: Vec<Operator> = (1..=3)
        .map(|i| {
            Operator::new(
                terms.clone(),
                i.into(),
                node_key(i),
                format!("operator {i}"),
                &[i; 32],
            )
        })
        .collect();
    let (mut shares, mut group_key) = (Vec::new(), None);

    // Each effect is carried out in order. What would be written to disk first is only passed on here.
    let mut effects: VecDeque<(usize, Effect)> = VecDeque::new();
    for (i, operator) in operators.iter_mut().enumerate() {
        effects.extend(
            operator
                .consent(1, Reason::First)
                .into_iter()
                .map(|effect| (i, effect)),
        );
        effects.extend(operator.compared().into_iter().map(|effect| (i, effect)));
    }
    while let Some((i, effect)) = effects.pop_front() {
        let mut follow =
            |i: usize, more: Vec<Effect>| effects.extend(more.into_iter().map(|effect| (i, effect)));
        match effect {
            Effect::NeedSeed(k) => follow(i, operators[i].seed(k, &Seed::new(&seeds[i]))),
            Effect::Persist(_, entry) if usize::from(entry.operator) == i + 1 => {
                for other in (0..3).filter(|other| *other != i) {
                    follow(other, operators[other].receive(vec![(*entry).clone()]));
                }
            }
            Effect::StoreKeys(own) => {
                shares.push((
                    i as u64 + 1,
                    SecretKey::from_bytes(&own.shares[0].to_bytes()).expect("a share"),
                ));
                follow(i, operators[i].keys_stored(own.attempt, own.keys.hash()));
            }
            Effect::Publish(finished) => {
                group_key = Some(finished.keys.validators()[0].group);
                follow(i, operators[i].published(finished.attempt));
            }
            _ => {}
        }
    }

    let group_key = group_key.expect("the ceremony is over");
    let message = b"signed by two of three";
    let partial: Vec<(u64, Signature)> = shares
        .iter()
        .take(2)
        .map(|(i, share)| (*i, share.sign(message)))
        .collect();
    let whole = recover_signature(&partial).expect("two are enough");
    assert!(whole.verify(&group_key, message));
    println!("the group's key: 0x{}", hex::encode(group_key.to_bytes()));
}

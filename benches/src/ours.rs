//! One operator's work in a ceremony of ours.

use std::sync::Arc;

use conclave_crypto::bls::{PublicKey, SecretKey, Signature};
use conclave_crypto::commit::{self, SharePair};
use conclave_crypto::hash::{Hash, WeightStream, sha256};
use conclave_crypto::node::NodeKey;
use conclave_crypto::proof::{self, Statement};
use conclave_crypto::scalar::Scalar;
use conclave_crypto::seal;
use conclave_dkg::body::{self, Reason, RevealBody};
use conclave_dkg::entry::{Entry, Step};
use conclave_dkg::operator::{Effect, Operator, OwnShares};
use conclave_dkg::outputs::{GroupKeys, combine};
use conclave_dkg::secrets::{Secrets, Seed, commitments, read_shares, shares_for};
use conclave_dkg::terms::{Product, Terms};

/// Nothing is signed or locked here: the measured part ends with the keys.
struct NoProduct;

impl Product for NoProduct {
    fn messages(&self) -> usize {
        1
    }

    fn signing_roots(&self, _: usize, _: &PublicKey) -> Vec<Hash> {
        vec![[0; 32]]
    }

    fn lock_hash(&self, _: &GroupKeys, _: &[Vec<Signature>]) -> Hash {
        [0; 32]
    }
}

/// The operator that is measured; every one has the same work.
const ME: u16 = 1;

/// A finished ceremony from which one operator's part can be taken again and again.
pub struct Ours {
    terms: Arc<Terms>,
    sid: Hash,
    /// By operator, then by step (Join, Deal, Ack, Reveal): the entries as bytes.
    wire: Vec<Vec<Vec<u8>>>,
    /// By dealer: what it seals to the measured operator, unsealed.
    plain: Vec<Vec<u8>>,
    secrets: Secrets,
    keys: GroupKeys,
}

fn node_key(index: u16) -> NodeKey {
    NodeKey::from_bytes(&sha256(&[b"node", &index.to_be_bytes()])).expect("a hash is a key")
}

fn seed(index: u16) -> Seed {
    Seed::new(&sha256(&[b"seed", &index.to_be_bytes()]))
}

fn operator(terms: &Arc<Terms>, index: u16) -> (Operator, Vec<Effect>) {
    let weights = sha256(&[b"weights", &index.to_be_bytes()]);
    let mut operator = Operator::new(terms.clone(), index, node_key(index), "name".into(), &weights);
    let mut effects = operator.consent(1, Reason::First);
    effects.extend(operator.compared());
    effects.extend(operator.seed(1, &seed(index)));
    (operator, effects)
}

/// Own entries among the effects, encoded, and the shares if they are there.
fn sort_out(index: u16, effects: Vec<Effect>, entries: &mut Vec<Vec<u8>>) -> Option<Box<OwnShares>> {
    let mut shares = None;
    for effect in effects {
        match effect {
            Effect::Persist(_, entry) if entry.operator == index => entries.push(entry.encode()),
            Effect::StoreKeys(own) => shares = Some(own),
            _ => {}
        }
    }
    shares
}

impl Ours {
    /// Runs a whole ceremony of n operators.
    pub fn new(n: usize, t: usize, validators: usize) -> Self {
        let indices: Vec<u16> = (1..=n).map(|i| u16::try_from(i).expect("n is small")).collect();
        let nodes = indices.iter().map(|i| node_key(*i).public()).collect();
        let terms =
            Terms::new([1; 32], [2; 32], t, validators, nodes, Arc::new(NoProduct)).expect("valid terms");
        let terms = Arc::new(terms);
        let mut wire = vec![Vec::new(); n];
        let mut operators = Vec::new();
        for index in &indices {
            let (operator, effects) = operator(&terms, *index);
            sort_out(*index, effects, &mut wire[usize::from(*index) - 1]);
            operators.push(operator);
        }
        let mut keys = None;
        for step in 0..4 {
            let entries: Vec<Entry> = wire
                .iter()
                .map(|own| Entry::decode(&terms, &own[step]).expect("an own entry"))
                .collect();
            for (operator, own) in operators.iter_mut().zip(&mut wire) {
                let effects = operator.receive(entries.clone());
                if let Some(shares) = sort_out(operator.index(), effects, own) {
                    keys = Some((*shares.keys).clone());
                }
            }
        }
        let keys = keys.expect("the ceremony ends");
        let sid = Entry::decode(&terms, &wire[0][1]).expect("a Deal").session;
        let plain = indices
            .iter()
            .map(|dealer| {
                let secrets = Secrets::new(&terms, 1, &seed(*dealer), &node_key(*dealer));
                shares_for(&terms, &secrets.coefficients(&terms, &sid), ME).to_vec()
            })
            .collect();
        let secrets = Secrets::new(&terms, 1, &seed(ME), &node_key(ME));
        Self {
            terms,
            sid,
            wire,
            plain,
            secrets,
            keys,
        }
    }

    fn entries(&self, step: Step) -> Vec<Entry> {
        self.wire
            .iter()
            .map(|own| Entry::decode(&self.terms, &own[step as usize]).expect("an entry"))
            .collect()
    }

    /// The arithmetic of the DKG alone, as [`Ours::bare`] does it, prepared so that only bytes go in.
    pub fn messages(&self) -> Messages {
        Messages {
            deals: self.entries(Step::Deal),
            reveals: self.entries(Step::Reveal),
        }
    }

    /// Deal, check of all Deals, Reveal, check of all Reveals, own shares, group keys and public shares; shares travel
    /// unsealed, and nothing is signed.
    pub fn bare(&self, messages: &Messages) -> Vec<SecretKey> {
        let terms = &self.terms;
        let n = terms.n();
        // Deal.
        let coefficients = self.secrets.coefficients(terms, &self.sid);
        let public = commitments(&coefficients);
        let shares: Vec<_> = terms
            .indices()
            .map(|j| shares_for(terms, &coefficients, j))
            .collect();
        assert!(public.len() == terms.deal_public_bytes() && shares.len() == n);
        // Check of all Deals.
        let pedersen: Vec<_> = messages
            .deals
            .iter()
            .map(|deal| body::decode_deal(terms, &deal.body, false).expect("a right Deal"))
            .collect();
        let pairs: Vec<Vec<SharePair>> = self
            .plain
            .iter()
            .map(|plain| read_shares(terms, plain).expect("canonical shares"))
            .collect();
        let mut weights = WeightStream::new(&[7; 32]);
        let dealers: Vec<(&[_], &[SharePair])> = pedersen
            .iter()
            .zip(&pairs)
            .map(|(pedersen, pairs)| (pedersen.as_slice(), pairs.as_slice()))
            .collect();
        let verdicts = commit::check_dealers(&dealers, terms.t(), u64::from(ME), &mut weights);
        assert!(verdicts.iter().all(Result::is_ok));
        // Reveal.
        let own = &messages.reveals[usize::from(ME) - 1];
        let position = usize::from(ME) - 1;
        let deal_ids: Vec<_> = messages.deals.iter().map(|deal| deal.id(terms)).collect();
        let revealed = self.secrets.reveal(
            terms,
            &self.sid,
            ME,
            &deal_ids[position],
            &own.prev_hash(),
            &pedersen[position],
        );
        assert_eq!(revealed, own.body);
        // Check of all Reveals.
        let bodies: Vec<RevealBody> = messages
            .reveals
            .iter()
            .map(|reveal| RevealBody::decode(terms, &reveal.body).expect("a right Reveal"))
            .collect();
        let prev_hashes: Vec<Hash> = messages.reveals.iter().map(Entry::prev_hash).collect();
        let items: Vec<(Statement<'_>, &proof::Proof)> = (0..n)
            .map(|d| {
                let statement = Statement {
                    sid: &self.sid,
                    dealer: messages.reveals[d].operator,
                    deal_id: &deal_ids[d],
                    prev_hash: &prev_hashes[d],
                    pedersen: &pedersen[d],
                    feldman: &bodies[d].points,
                    feldman_bytes: &messages.reveals[d].body[..terms.deal_public_bytes()],
                };
                (statement, &bodies[d].proof)
            })
            .collect();
        assert!(
            proof::verify_all(&items, &mut weights)
                .into_iter()
                .all(|holds| holds)
        );
        // Group keys and public shares.
        let points: Vec<&[_]> = bodies.iter().map(|body| body.points.as_slice()).collect();
        let keys = combine(terms, &points).unwrap_or_else(|_| panic!("a good set"));
        assert_eq!(keys.hash(), self.keys.hash());
        // Own shares.
        keys.validators()
            .iter()
            .enumerate()
            .map(|(v, validator)| {
                let share = pairs.iter().fold(Scalar::zero(), |sum, pairs| &sum + &pairs[v].s);
                assert_eq!(
                    commit::feldman(&share).to_compressed(),
                    validator.shares[position].to_bytes()
                );
                SecretKey::from_scalar(&share).expect("not zero")
            })
            .collect()
    }

    /// What the real operator does from its start to the moment when its shares can be written: Join, Deal, Ack and Reveal,
    /// sealed and signed, with everybody else's entries decoded, admitted and checked.
    pub fn everything(&self) -> Box<OwnShares> {
        let mut own = Vec::new();
        let (mut operator, effects) = operator(&self.terms, ME);
        let mut shares = sort_out(ME, effects, &mut own);
        for step in 0..4 {
            let entries: Vec<Entry> = self.wire[1..]
                .iter()
                .map(|wire| Entry::decode(&self.terms, &wire[step]).expect("an entry"))
                .collect();
            let effects = operator.receive(entries);
            shares = shares.or(sort_out(ME, effects, &mut own));
        }
        assert_eq!(own.len(), 4);
        shares.expect("the ceremony ends")
    }

    /// HPKE of one operator: its n key pairs, n messages sealed, n opened.
    pub fn sealing(&self) -> usize {
        let info = [0; 48];
        let aad = [0; 4];
        // Fresh, because they keep their key pairs.
        let secrets = Secrets::new(&self.terms, 1, &seed(ME), &node_key(ME));
        let publics = secrets.seal_publics(&self.terms);
        let mut bytes = 0;
        for (dealer, plain) in self.terms.indices().zip(&self.plain) {
            let recipient = publics[usize::from(dealer) - 1];
            let sealed = seal::seal(&recipient, &info, &aad, plain, &sha256(&[plain])).expect("a usable key");
            let secret = secrets.seal_secret(&self.terms, dealer).expect("a dealer");
            bytes += seal::open(secret, &info, &aad, &sealed).expect("it opens").len();
        }
        bytes
    }

    /// Entry signatures of one operator: its own four, and the n - 1 others' of each step.
    pub fn signatures(&self) -> usize {
        let key = node_key(ME);
        let mut count = 0;
        for step in 0..4_u8 {
            let id = sha256(&[&[step]]);
            let signature = key.sign(&id);
            for _ in 1..self.terms.n() {
                count += usize::from(
                    self.terms
                        .operator(ME)
                        .is_some_and(|key| key.verify(&id, &signature)),
                );
            }
        }
        count
    }
}

/// Entries as they are after the frame is taken off.
pub struct Messages {
    deals: Vec<Entry>,
    reveals: Vec<Entry>,
}

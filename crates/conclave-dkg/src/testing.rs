//! In-memory ceremonies: operators with disks that survive crashes, and a network that delivers in any order.
//! A test that sets the stage wrongly panics.

#![allow(clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::board::Note;
use crate::body::Reason;
use crate::entry::{Entry, Id, Step};
use crate::evidence::Evidence;
use crate::operator::{Effect, Finished, Mark, Operator, Restored};
use crate::outputs::GroupKeys;
use crate::secrets::{Secrets, Seed};
use crate::terms::{Product, Terms};
use conclave_crypto::bls::{PublicKey, SecretKey, Signature};
use conclave_crypto::commit;
use conclave_crypto::hash::{Hash, sha256, sha512};
use conclave_crypto::node::NodeKey;
use conclave_crypto::point::{G1, torsion};
use conclave_crypto::proof::Proof;
use conclave_crypto::scalar::Scalar;

/// Signs two messages for each validator and hashes everything into the lock.
pub struct TestProduct;

impl Product for TestProduct {
    fn messages(&self) -> usize {
        2
    }

    fn signing_roots(&self, validator: usize, group_key: &PublicKey) -> Vec<Hash> {
        (0..2u8)
            .map(|m| {
                sha256(&[
                    b"root",
                    &group_key.to_bytes(),
                    &(validator as u64).to_be_bytes(),
                    &[m],
                ])
            })
            .collect()
    }

    fn lock_hash(&self, keys: &GroupKeys, signatures: &[Vec<Signature>]) -> Hash {
        let bytes: Vec<[u8; 96]> = signatures.iter().flatten().map(Signature::to_bytes).collect();
        let all: Vec<u8> = bytes.concat();
        sha256(&[keys.hash(), &all])
    }
}

/// The node key of operator `i`, from 1: the same in each run.
pub fn node_key(i: usize) -> NodeKey {
    NodeKey::from_bytes(&sha256(&[b"node", &(i as u64).to_be_bytes()])).unwrap()
}

/// `n` operators, threshold `t`, `v` validators.
pub fn terms(n: usize, t: usize, v: usize) -> Arc<Terms> {
    let keys = (1..=n).map(|i| node_key(i).public()).collect();
    Arc::new(Terms::new([1; 32], [2; 32], t, v, keys, Arc::new(TestProduct)).unwrap())
}

/// What survives a crash.
#[derive(Default, Clone)]
pub struct Disk {
    /// Entries of the journal, encoded, in order.
    pub entries: Vec<Vec<u8>>,
    /// Evidence of the journal, encoded.
    pub evidence: Vec<Vec<u8>>,
    /// Notes of the journal, encoded.
    pub notes: Vec<Vec<u8>>,
    /// Seeds by attempt.
    pub seeds: BTreeMap<u32, [u8; 32]>,
    /// Markers.
    pub marks: BTreeSet<(u32, Mark)>,
    /// Keystores: shares by attempt.
    pub shares: BTreeMap<u32, Vec<[u8; 32]>>,
    /// What the shares were stored for.
    pub outputs: BTreeMap<u32, Hash>,
    /// The attempt whose outputs are in place.
    pub published: Option<u32>,
    /// The hash of the published lock.
    pub lock: Option<Hash>,
}

/// An operator, its disk, and what it was seen to do.
pub struct Peer {
    /// The state machine.
    pub operator: Operator,
    /// Its disk.
    pub disk: Disk,
    /// The keys whose shares it has stored.
    pub keys: Option<Arc<GroupKeys>>,
    /// What it has published.
    pub finished: Option<Box<Finished>>,
    /// Attempts of which it has said that its secrets are lost.
    pub lost: BTreeSet<u32>,
    /// Attempts of which it has said that its seed is gone, and the shares are not.
    pub seed_gone: BTreeSet<u32>,
    /// Whether it gets what is sent to it.
    pub online: bool,
    /// Whether a test speaks for it.
    pub evil: bool,
}

/// A dealer that may put torsion anywhere and still proves what it knows.
pub struct Prover<'a> {
    /// The Deal.
    pub deal: &'a Entry,
    /// The honest Reveal, whose points and proof are replaced.
    pub reveal: &'a Entry,
    /// The polynomials of all validators.
    pub coefficients: &'a [(Scalar, Scalar)],
    /// Added to the Feldman commitments, by position.
    pub added: &'a [(usize, G1)],
    /// Added to R1 and R2.
    pub nonces: [G1; 2],
}

impl Prover<'_> {
    /// The signed Reveal. Its proof is one of an honest dealer, but for what is added: written down from the protocol's
    /// definition, as `prove` takes for granted that the points are those of the coefficients.
    pub fn entry(&self, terms: &Terms) -> Entry {
        let mut entry = self.reveal.clone();
        let pedersen = points(&self.deal.body[..terms.deal_public_bytes()]);
        let mut feldman: Vec<G1> = self
            .coefficients
            .iter()
            .map(|(a, _)| commit::feldman(a))
            .collect();
        for (at, point) in self.added {
            feldman[*at] = feldman[*at].add(point);
        }
        let bytes = G1::batch_to_uncompressed(&feldman).concat();
        let t = sha256(&[
            b"conclave/pok/1",
            &entry.session,
            &entry.operator.to_be_bytes(),
            &self.deal.id(terms),
            &entry.prev_hash(),
            &bytes,
        ]);
        let rho = |i: usize| -> [u8; 16] {
            let block = u32::try_from(i / 2).unwrap().to_be_bytes();
            let halves = sha256(&[b"conclave/rho/1", &t, &block]);
            halves[16 * (i % 2)..][..16].try_into().unwrap()
        };
        let (mut x, mut y) = (G1::identity(), G1::identity());
        let (mut a_sum, mut b_sum) = (Scalar::zero(), Scalar::zero());
        for (i, (a, b)) in self.coefficients.iter().enumerate() {
            let mut weight = rho(i);
            let scalar = Scalar::from_u128_le(&weight);
            a_sum = &a_sum + &(&scalar * a);
            b_sum = &b_sum + &(&scalar * b);
            weight.reverse();
            x = x.add(&torsion::multiply(&feldman[i], &weight));
            y = y.add(&torsion::multiply(&pedersen[i].sub(&feldman[i]), &weight));
        }
        let (k1, k2) = (Scalar::from_u64(12_345), Scalar::from_u64(67_890));
        let r1 = commit::feldman(&k1).add(&self.nonces[0]);
        let r2 = commit::blinding(&k2).add(&self.nonces[1]);
        let hashed = G1::batch_to_uncompressed(&[x, y, r1, r2]).concat();
        let e = Scalar::from_wide_be(&sha512(&[b"conclave/e/1", &t, &hashed]));
        let proof = Proof {
            r1,
            r2,
            z1: &k1 + &(&e * &a_sum),
            z2: &k2 + &(&e * &b_sum),
        };
        entry.body = [bytes.as_slice(), &proof.to_bytes()].concat();
        entry.signature = node_key(entry.operator.into()).sign(&entry.id(terms));
        entry
    }
}

/// Points as they are sent, 96 bytes each.
pub fn points(bytes: &[u8]) -> Vec<G1> {
    let point = |c: &[u8]| G1::from_uncompressed(c.try_into().unwrap()).unwrap();
    bytes.chunks(96).map(point).collect()
}

/// What a corrupt operator sends to `to` instead of an entry of its own.
pub type Forge = Box<dyn FnMut(&Terms, usize, Entry) -> Vec<Entry>>;

/// A ceremony.
pub struct Sim {
    /// What all have agreed on.
    pub terms: Arc<Terms>,
    /// The operators, from 0.
    pub peers: Vec<Peer>,
    /// What is under way: to whom, and the entry.
    pub mail: Vec<(usize, Vec<u8>)>,
    /// Decides what is delivered next.
    pub rng: ChaCha8Rng,
    /// Whether some of it is delivered twice.
    pub duplicate: bool,
    /// Who sends something else than it says, and what.
    pub forge: Option<(usize, Forge)>,
    /// Others (from 0) whose entries are forged in the same way.
    pub accomplices: BTreeSet<usize>,
}

fn operator(terms: &Arc<Terms>, i: usize, salt: u64) -> Operator {
    let index = u16::try_from(i + 1).unwrap();
    let weights = sha256(&[b"weights", &salt.to_be_bytes(), &index.to_be_bytes()]);
    Operator::new(
        terms.clone(),
        index,
        node_key(i + 1),
        format!("op{index}"),
        &weights,
    )
}

impl Sim {
    /// `n` operators, threshold `t`, `v` validators; the seed decides about everything random.
    pub fn new(n: usize, t: usize, v: usize, seed: u64) -> Self {
        let terms = terms(n, t, v);
        let peers = (0..n)
            .map(|i| Peer {
                operator: operator(&terms, i, seed),
                disk: Disk::default(),
                keys: None,
                finished: None,
                lost: BTreeSet::new(),
                seed_gone: BTreeSet::new(),
                online: true,
                evil: false,
            })
            .collect();
        Self {
            terms,
            peers,
            mail: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            duplicate: false,
            forge: None,
            accomplices: BTreeSet::new(),
        }
    }

    /// Everybody consents to attempt 1 and has compared inventories.
    pub fn start(&mut self) {
        for i in 0..self.peers.len() {
            if !self.peers[i].evil {
                self.with(i, |o| o.consent(1, Reason::First));
                self.with(i, Operator::compared);
            }
        }
    }

    /// Does something to an operator and carries out what it asks for.
    pub fn with(&mut self, i: usize, f: impl FnOnce(&mut Operator) -> Vec<Effect>) {
        let effects = f(&mut self.peers[i].operator);
        self.carry_out(i, effects, usize::MAX);
    }

    /// Carries out at most `limit` effects, then the process dies. Returns whether all were done.
    pub fn carry_out(&mut self, i: usize, effects: Vec<Effect>, mut limit: usize) -> bool {
        let mut queue: std::collections::VecDeque<Effect> = effects.into();
        while let Some(effect) = queue.pop_front() {
            if limit == 0 {
                return false;
            }
            limit -= 1;
            let peer = &mut self.peers[i];
            let more = match effect {
                Effect::NeedSeed(k) => {
                    let mut seed = [0; 32];
                    self.rng.fill_bytes(&mut seed);
                    let seed = *peer.disk.seeds.entry(k).or_insert(seed);
                    peer.operator.seed(k, &Seed::new(&seed))
                }
                Effect::Mark(k, mark) => {
                    peer.disk.marks.insert((k, mark));
                    Vec::new()
                }
                Effect::Persist(_, entry) => {
                    let bytes = entry.encode();
                    peer.disk.entries.push(bytes.clone());
                    for j in (0..self.peers.len()).filter(|j| *j != i) {
                        match self.forge.as_mut() {
                            Some((liar, forge))
                                if (*liar == i || self.accomplices.contains(&i))
                                    && usize::from(entry.operator) == i + 1 =>
                            {
                                let forged = forge(&self.terms, j, (*entry).clone());
                                self.mail.extend(forged.iter().map(|e| (j, e.encode())));
                            }
                            _ => self.mail.push((j, bytes.clone())),
                        }
                    }
                    Vec::new()
                }
                Effect::PersistNote(note) => {
                    peer.disk.notes.push(note.encode());
                    Vec::new()
                }
                Effect::PersistEvidence(evidence) => {
                    let bytes = evidence.encode();
                    assert!(bytes.len() <= Evidence::max_bytes(&self.terms));
                    assert!(
                        evidence.check(&self.terms, &[7; 32]),
                        "evidence does not prove {:?}",
                        evidence.finding
                    );
                    peer.disk.evidence.push(bytes);
                    Vec::new()
                }
                Effect::StoreKeys(own) => {
                    let shares = own.shares.iter().map(|s| *s.to_bytes()).collect();
                    let (k, outputs) = (own.attempt, *own.keys.hash());
                    peer.disk.shares.insert(k, shares);
                    peer.disk.outputs.insert(k, outputs);
                    peer.keys = Some(own.keys.clone());
                    peer.operator.keys_stored(k, &outputs)
                }
                Effect::OpenKeys(k) => {
                    let shares = peer.disk.shares[&k].iter();
                    let shares = shares.map(|s| SecretKey::from_bytes(s).unwrap()).collect();
                    peer.operator.keys_opened(k, shares)
                }
                Effect::SeekKeys(k) => {
                    let shares = peer.disk.shares.get(&k).map(|shares| {
                        let of = |share| SecretKey::from_bytes(share).unwrap();
                        shares.iter().map(of).collect()
                    });
                    peer.operator.keys_found(k, shares)
                }
                Effect::RecordStored(k, outputs) => {
                    peer.disk.outputs.insert(k, outputs);
                    Vec::new()
                }
                Effect::Publish(finished) => {
                    peer.disk.published = Some(finished.attempt);
                    peer.disk.lock = Some(finished.lock_hash);
                    let k = finished.attempt;
                    peer.finished = Some(finished);
                    peer.operator.published(k)
                }
                Effect::Lost(k) => {
                    peer.lost.insert(k);
                    Vec::new()
                }
                Effect::SeedGone(k) => {
                    peer.seed_gone.insert(k);
                    Vec::new()
                }
                Effect::DestroySeeds => {
                    peer.disk.seeds.clear();
                    Vec::new()
                }
            };
            queue.extend(more);
        }
        true
    }

    /// The process starts again with what its disk holds, and compares inventories with everybody.
    pub fn restart(&mut self, i: usize) {
        self.wake(i);
        self.with(i, |o| o.consent(1, Reason::First));
        for j in 0..self.peers.len() {
            self.resync(j, i);
            self.resync(i, j);
        }
        self.with(i, Operator::compared);
    }

    /// The process starts again with what its disk holds, and has heard of nobody yet.
    pub fn wake(&mut self, i: usize) {
        let (fresh, effects) = self.revive(i);
        self.peers[i].operator = fresh;
        self.carry_out(i, effects, usize::MAX);
    }

    /// An operator that takes up what the disk of another holds.
    pub fn revive(&mut self, i: usize) -> (Operator, Vec<Effect>) {
        let disk = self.peers[i].disk.clone();
        let salt = self.rng.random();
        let mut fresh = operator(&self.terms, i, salt);
        let restored = Restored {
            entries: disk
                .entries
                .iter()
                .map(|b| Entry::decode(&self.terms, b).unwrap())
                .collect(),
            evidence: disk
                .evidence
                .iter()
                .map(|b| Evidence::decode(&self.terms, b).unwrap())
                .collect(),
            notes: disk
                .notes
                .iter()
                .map(|b| Note::decode(&self.terms, b).unwrap())
                .collect(),
            seeds: disk.seeds.iter().map(|(k, s)| (*k, Seed::new(s))).collect(),
            marks: disk.marks.clone(),
            // As on a real disk: keystores count as stored for the attempts that are marked as voted for.
            stored: disk
                .outputs
                .iter()
                .filter(|(k, _)| disk.marks.contains(&(**k, Mark::Voted)) && disk.shares.contains_key(*k))
                .map(|(k, outputs)| (*k, *outputs))
                .collect(),
            published: disk.published,
        };
        let effects = fresh.restore(restored);
        (fresh, effects)
    }

    /// `to` gets all that `from` has admitted.
    pub fn resync(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let board = self.peers[from].operator.board();
        let all: Vec<Vec<u8>> = board
            .order()
            .iter()
            .map(|id| board.get(id).unwrap().entry.encode())
            .collect();
        let proofs: Vec<Vec<u8>> = board
            .findings()
            .map(|(k, f)| board.evidence(k, f).unwrap().encode())
            .collect();
        for bytes in all {
            let entry = Entry::decode(&self.terms, &bytes).unwrap();
            self.with(to, |o| o.receive(vec![entry]));
        }
        for bytes in proofs {
            let evidence = Evidence::decode(&self.terms, &bytes).unwrap();
            self.with(to, |o| o.receive_evidence(evidence));
        }
    }

    /// As synchronisation does it: `to` asks `from` for what it wants of what `from` holds, and for what that names. Returns what
    /// was sent.
    pub fn pull(&mut self, from: usize, to: usize) -> Vec<Entry> {
        let mut sent = Vec::new();
        loop {
            let board = self.peers[from].operator.board();
            let asker = &self.peers[to].operator;
            let wanted: Vec<Entry> = board
                .order()
                .iter()
                .filter_map(|id| board.get(id).map(|a| (id, &a.entry)))
                .filter(|(id, e)| asker.wants(id, e.attempt, e.step, e.operator))
                .map(|(_, e)| (**e).clone())
                .collect();
            if wanted.is_empty() {
                return sent;
            }
            for entry in wanted {
                sent.push(entry.clone());
                self.with(to, |o| o.receive(vec![entry]));
            }
        }
    }

    /// Delivers one letter, any one. Returns `false` when the mail is empty.
    pub fn deliver_one(&mut self) -> bool {
        if self.mail.is_empty() {
            return false;
        }
        let at = self.rng.random_range(0..self.mail.len());
        let (to, bytes) = self.mail.swap_remove(at);
        if self.duplicate && self.rng.random_range(0..4) == 0 {
            self.mail.push((to, bytes.clone()));
        }
        if self.peers[to].online
            && !self.peers[to].evil
            && let Ok(entry) = Entry::decode(&self.terms, &bytes)
        {
            self.with(to, |o| o.receive(vec![entry]));
        }
        true
    }

    /// Delivers everything.
    pub fn run(&mut self) {
        while self.deliver_one() {}
    }

    /// Everybody tells everybody everything until nothing changes.
    pub fn settle(&mut self) {
        self.run();
        let n = self.peers.len();
        for _ in 0..3 {
            for i in 0..n {
                for j in 0..n {
                    if self.peers[i].online && self.peers[j].online && !self.peers[j].evil {
                        self.resync(i, j);
                    }
                }
            }
            self.run();
        }
    }

    /// What an operator (from 0) keeps to itself in attempt 1.
    pub fn secrets_of(&self, i: usize) -> Secrets {
        Secrets::new(
            &self.terms,
            1,
            &Seed::new(&self.peers[i].disk.seeds[&1]),
            &node_key(i + 1),
        )
    }

    /// What operator `author` (from 1) said in a step, as operator `i` (from 0) knows it.
    pub fn said(&self, i: usize, step: Step, author: u16) -> Entry {
        self.find(i, |e| e.step == step && e.operator == author)
            .unwrap()
            .1
    }

    /// The share of operator `i` (from 0) of a validator (from 0).
    pub fn secret(&self, i: usize, v: usize) -> SecretKey {
        let k = self.peers[i].disk.published.unwrap();
        SecretKey::from_bytes(&self.peers[i].disk.shares[&k][v]).unwrap()
    }

    /// The hash of each operator's lock.
    pub fn locks(&self) -> Vec<Option<Hash>> {
        self.peers.iter().map(|p| p.disk.lock).collect()
    }

    /// What each operator has found in an attempt.
    pub fn verdicts(&self, k: u32) -> Vec<BTreeSet<crate::evidence::Finding>> {
        self.peers
            .iter()
            .filter(|p| !p.evil)
            .map(|p| p.operator.board().verdict(k))
            .collect()
    }

    /// The first entry on the board of operator `i` (from 0) that is accepted.
    pub fn find(&self, i: usize, accept: impl Fn(&Entry) -> bool) -> Option<(Id, Entry)> {
        let board = self.peers[i].operator.board();
        board
            .order()
            .iter()
            .filter_map(|id| board.get(id).map(|a| (*id, (*a.entry).clone())))
            .find(|(_, e)| accept(e))
    }
}

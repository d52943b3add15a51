//! Who agrees: the operators, the threshold, who leads, and how messages are signed.

use conclave_crypto::{
    hash::Hash,
    node::{NodeKey, NodePublicKey},
};
use conclave_eth::duty::Duty;

use super::messages::{Body, Certificate, MAX_OPERATORS, Message, Proposal, Step, Vote};
use super::messages::{proposal_digest, value_id, vote_digest};

/// Signs for the own operator and checks signatures of all. In tests something cheaper than [`NodeSignatures`].
pub trait Signatures {
    /// The own operator's signature of a digest.
    fn sign(&self, digest: &Hash) -> [u8; 64];
    /// Whether it is the signature of an operator, from 1. False for operators that do not exist.
    fn verify(&self, operator: u16, digest: &Hash, signature: &[u8; 64]) -> bool;
}

/// The node keys of the lock.
pub struct NodeSignatures {
    own: NodeKey,
    operators: Vec<NodePublicKey>,
}

impl NodeSignatures {
    /// The own secret key, and the public keys of all in operator order.
    pub fn new(own: NodeKey, operators: Vec<NodePublicKey>) -> Self {
        Self { own, operators }
    }
}

impl Signatures for NodeSignatures {
    fn sign(&self, digest: &Hash) -> [u8; 64] {
        self.own.sign(digest)
    }

    fn verify(&self, operator: u16, digest: &Hash, signature: &[u8; 64]) -> bool {
        let key = usize::from(operator).checked_sub(1);
        key.and_then(|place| self.operators.get(place))
            .is_some_and(|key| key.verify(digest, signature))
    }
}

/// What stays the same for all agreements of one node.
pub struct Quorum<S> {
    /// The hash of the lock, which every signature covers.
    pub(super) lock_hash: Hash,
    /// How many operators, 1 to 64.
    pub(super) size: u16,
    /// How many votes decide.
    pub(super) threshold: u16,
    /// The own operator, from 1.
    pub(super) own: u16,
    /// The length of a slot in milliseconds.
    pub(super) slot_ms: u64,
    signatures: S,
}

impl<S: Signatures> Quorum<S> {
    /// `operators` is n, `threshold` is t, `own` is the own operator from 1, `slot_ms` the length of a slot.
    /// `None` unless n <= 64, n/2 < t <= n and `own` is one of them.
    pub fn new(
        lock_hash: Hash,
        operators: u16,
        threshold: u16,
        own: u16,
        slot_ms: u64,
        signatures: S,
    ) -> Option<Self> {
        let fits = operators <= MAX_OPERATORS
            && threshold <= operators
            && threshold * 2 > operators
            && (1..=operators).contains(&own);
        fits.then_some(Self {
            lock_hash,
            size: operators,
            threshold,
            own,
            slot_ms,
            signatures,
        })
    }

    /// Who signs and checks signatures.
    pub fn signatures(&self) -> &S {
        &self.signatures
    }

    /// The own operator, from 1.
    pub fn own(&self) -> u16 {
        self.own
    }

    /// The leader of a round: operator 1 + (slot + kind + round) mod n, with the kind's number on the wire. So the
    /// lead goes round from slot to slot, and the kinds of one slot have different leaders where n allows.
    pub fn leader(&self, duty: Duty, round: u8) -> u16 {
        let n = u64::from(self.size);
        let place = (duty.slot % n + u64::from(duty.kind as u8) + u64::from(round)) % n;
        u16::try_from(place).unwrap_or_default() + 1
    }

    /// Whether it is one of the operators.
    pub(super) fn has(&self, operator: u16) -> bool {
        (1..=self.size).contains(&operator)
    }

    pub(super) fn sign_proposal(
        &self,
        duty: Duty,
        round: u8,
        polka: Option<u8>,
        value: std::sync::Arc<[u8]>,
    ) -> Proposal {
        let digest = proposal_digest(&self.lock_hash, duty, self.own, round, polka, &value_id(&value));
        Proposal {
            operator: self.own,
            round,
            polka,
            value,
            signature: self.signatures.sign(&digest),
        }
    }

    pub(super) fn sign_vote(&self, duty: Duty, round: u8, step: Step, choice: Option<Hash>) -> Vote {
        let digest = vote_digest(&self.lock_hash, duty, self.own, round, step, choice.as_ref());
        Vote {
            operator: self.own,
            round,
            step,
            choice,
            signature: self.signatures.sign(&digest),
        }
    }

    /// Whether a proposal's author signed it. Whether the author leads is not asked.
    pub fn verify_proposal(&self, duty: Duty, proposal: &Proposal) -> bool {
        let Proposal {
            operator,
            round,
            polka,
            ..
        } = *proposal;
        let digest = proposal_digest(
            &self.lock_hash,
            duty,
            operator,
            round,
            polka,
            &proposal.value_id(),
        );
        self.has(operator) && self.signatures.verify(operator, &digest, &proposal.signature)
    }

    /// Whether a vote's author signed it.
    pub fn verify_vote(&self, duty: Duty, vote: &Vote) -> bool {
        let digest = vote_digest(
            &self.lock_hash,
            duty,
            vote.operator,
            vote.round,
            vote.step,
            vote.choice.as_ref(),
        );
        self.has(vote.operator) && self.signatures.verify(vote.operator, &digest, &vote.signature)
    }

    /// Whether a certificate proves what it says: distinct operators in ascending order, at least t of them, and
    /// every signature right. Votes for which `known` is true were checked before.
    pub fn verify_certificate(
        &self,
        duty: Duty,
        certificate: &Certificate,
        known: impl Fn(&Vote) -> bool,
    ) -> bool {
        let ascending = certificate
            .signatures
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0);
        let enough = certificate.signatures.len() >= usize::from(self.threshold);
        ascending
            && enough
            && certificate
                .votes()
                .all(|vote| known(&vote) || self.verify_vote(duty, &vote))
    }

    /// Whether what a message says was signed by whom it names. A status is signed by nobody.
    pub fn verify(&self, message: &Message) -> bool {
        match &message.body {
            Body::Proposal(proposal) => self.verify_proposal(message.duty, proposal),
            Body::Vote(vote) => self.verify_vote(message.duty, vote),
            Body::Certificate(certificate) => self.verify_certificate(message.duty, certificate, |_| false),
            Body::Status(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use conclave_eth::duty::Kind;

    use super::*;

    fn keys(n: u8) -> Vec<NodeKey> {
        (1..=n).map(|i| NodeKey::from_bytes(&[i; 32]).unwrap()).collect()
    }

    fn quorum(own: u8) -> Quorum<NodeSignatures> {
        let keys = keys(4);
        let operators = keys.iter().map(NodeKey::public).collect();
        let signatures = NodeSignatures::new(keys[usize::from(own) - 1].clone(), operators);
        Quorum::new([9; 32], 4, 3, own.into(), 12_000, signatures).unwrap()
    }

    const DUTY: Duty = Duty {
        slot: 7,
        kind: Kind::Head,
    };

    #[test]
    fn impossible_quorums_are_refused() {
        let new = |n, t, own| {
            Quorum::new(
                [0; 32],
                n,
                t,
                own,
                1000,
                NodeSignatures::new(keys(1)[0].clone(), vec![]),
            )
        };
        assert!(new(4, 3, 1).is_some());
        assert!(new(64, 64, 64).is_some());
        for (n, t, own) in [(0, 0, 0), (4, 2, 1), (4, 5, 1), (4, 3, 0), (4, 3, 5), (65, 40, 1)] {
            assert!(new(n, t, own).is_none(), "{t} of {n}, {own}");
        }
    }

    #[test]
    fn everybody_leads_in_turn() {
        let quorum = quorum(1);
        let leader = |slot, kind, round| quorum.leader(Duty { slot, kind }, round);
        assert_eq!(leader(0, Kind::Head, 0), 2);
        assert_eq!(leader(1, Kind::Head, 0), 3);
        assert_eq!(leader(0, Kind::Block, 0), 3);
        assert_eq!(
            (0..5)
                .map(|round| leader(0, Kind::Head, round))
                .collect::<Vec<_>>(),
            [2, 3, 4, 1, 2]
        );
        // The largest slot is 3 modulo 4.
        assert_eq!(leader(u64::MAX, Kind::Contributions, 16), 4);
    }

    #[test]
    fn signatures_are_those_of_node_keys() {
        let (one, two) = (quorum(1), quorum(2));
        let proposal = one.sign_proposal(DUTY, 1, Some(0), (*b"value").into());
        let vote = two.sign_vote(DUTY, 0, Step::Prevote, Some([1; 32]));
        assert!(two.verify_proposal(DUTY, &proposal));
        assert!(one.verify_vote(DUTY, &vote));
        let other = Duty { slot: 8, ..DUTY };
        assert!(!two.verify_proposal(other, &proposal));
        assert!(!one.verify_vote(other, &vote));
        for operator in [0, 1, 3, 5, u16::MAX] {
            assert!(!one.verify_vote(
                DUTY,
                &Vote {
                    operator,
                    ..vote.clone()
                }
            ));
        }
        let changed = Proposal {
            polka: None,
            ..proposal
        };
        assert!(!two.verify_proposal(DUTY, &changed));
    }

    #[test]
    fn certificates_need_t_distinct_operators_and_right_signatures() {
        let id = [1; 32];
        let vote = |own| {
            let vote = quorum(own).sign_vote(DUTY, 0, Step::Precommit, Some(id));
            (vote.operator, vote.signature)
        };
        let certificate = |signatures: Vec<(u16, [u8; 64])>| Certificate {
            round: 0,
            step: Step::Precommit,
            value_id: id,
            signatures,
        };
        let right = |signatures| quorum(4).verify_certificate(DUTY, &certificate(signatures), |_| false);
        assert!(right(vec![vote(1), vote(2), vote(3)]));
        assert!(right(vec![vote(1), vote(2), vote(3), vote(4)]));
        assert!(!right(vec![]));
        assert!(!right(vec![vote(1), vote(2)]));
        assert!(!right(vec![vote(1), vote(2), vote(2)]));
        assert!(!right(vec![vote(2), vote(1), vote(3)]));
        assert!(!right(vec![vote(1), vote(2), (3, vote(2).1)]));
        assert!(!right(vec![vote(1), vote(2), vote(3), (4, [0; 64])]));
        let prevotes = Certificate {
            step: Step::Prevote,
            ..certificate(vec![vote(1), vote(2), vote(3)])
        };
        assert!(!quorum(4).verify_certificate(DUTY, &prevotes, |_| false));
    }
}

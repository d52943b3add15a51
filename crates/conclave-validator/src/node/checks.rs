//! Whether aggregated signatures in a proposal are right. For that the members of committees must be known.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use conclave_beacon::{
    chain::spec::Chain,
    nodes::{AllFailed, From, Nodes},
};
use conclave_consensus::Verdict;
use conclave_crypto::{
    bls::{PublicKey, Signature, fast_aggregate_verify},
    hash::Hash,
};
use conclave_eth::chain::types::{Attestation, SyncCommitteeContribution};

/// Keys that are remembered; a committee has at most 2048 members.
const MAX_KEYS: usize = 32 * 1024;

/// Beacon nodes do not tell committees if all of them say so this often, one time after the other, a slot or more apart: what they
/// cannot tell passes, and a node that restarts, or a proxy before it, is no reason for that.
const UNTOLD_AFTER: u32 = 3;

/// What was looked up before.
#[derive(Default)]
pub(super) struct Keys {
    /// Public keys, by index on the chain.
    known: Mutex<HashMap<u64, PublicKey>>,
    /// Committees, and sync committees, that no beacon node had.
    untold_committees: Mutex<Untold>,
    untold_sync_committees: Mutex<Untold>,
}

/// How often in a row all beacon nodes said that they do not tell something.
#[derive(Debug, Default)]
struct Untold {
    times: u32,
    /// When that was counted last.
    counted: Option<Instant>,
    /// What the nodes said then that they are: others may tell it.
    versions: Vec<String>,
}

impl Untold {
    /// They say so once more. Counted at most once in this long: what is asked twice in one moment is answered alike. Whether it
    /// was often enough.
    fn again(&mut self, now: Instant, apart: Duration, versions: Vec<String>) -> bool {
        if self.versions != versions {
            *self = Self {
                versions,
                ..Self::default()
            };
        }
        let lately = |counted: Instant| now.saturating_duration_since(counted) < apart;
        if !self.counted.is_some_and(lately) {
            self.counted = Some(now);
            self.times = self.times.saturating_add(1).min(UNTOLD_AFTER);
        }
        self.times >= UNTOLD_AFTER
    }
}

/// One aggregated signature: who signed what.
struct Aggregated {
    /// Indices on the chain.
    signers: Vec<u64>,
    root: Hash,
    signature: [u8; 96],
}

impl Keys {
    /// The verdict on aggregates of attestations; `None` if it cannot be given now.
    pub(super) async fn aggregates(
        &self,
        nodes: &Nodes,
        chain: &Chain,
        aggregates: &[Attestation],
        deadline: Instant,
    ) -> Option<Verdict> {
        let mut all = Vec::with_capacity(aggregates.len());
        for aggregate in aggregates {
            let committee = aggregate.committee_bits.ones().next()? as u64;
            let ask = || nodes.committee(aggregate.data.slot, committee, deadline);
            let members = match members(&self.untold_committees, nodes, chain, ask).await {
                Ok(members) => members,
                Err(verdict) => return verdict,
            };
            if members.len() != aggregate.aggregation_bits.len() {
                return Some(Verdict::Invalid);
            }
            all.push(Aggregated {
                signers: aggregate
                    .aggregation_bits
                    .ones()
                    .filter_map(|place| members.get(place).copied())
                    .collect(),
                root: chain.attestation_signing_root(&aggregate.data).ok()?,
                signature: aggregate.signature,
            });
        }
        self.verify(nodes, all, deadline).await
    }

    /// The verdict on contributions; `None` if it cannot be given now.
    pub(super) async fn contributions(
        &self,
        nodes: &Nodes,
        chain: &Chain,
        contributions: &[SyncCommitteeContribution],
        deadline: Instant,
    ) -> Option<Verdict> {
        let slot = contributions.first()?.slot;
        let epoch = chain.epoch_of(slot.saturating_add(1));
        let ask = || nodes.sync_committee(epoch, deadline);
        let members = match members(&self.untold_sync_committees, nodes, chain, ask).await {
            Ok(members) => members,
            Err(verdict) => return verdict,
        };
        let size = chain.spec.sizes.sync_subcommittee_size();
        let mut all = Vec::with_capacity(contributions.len());
        for contribution in contributions {
            let first = usize::try_from(contribution.subcommittee_index)
                .ok()?
                .checked_mul(size)?;
            let Some(members) = members.get(first..first.saturating_add(size)) else {
                return Some(Verdict::Invalid);
            };
            let root = chain
                .sync_message_signing_root(slot, &contribution.beacon_block_root)
                .ok()?;
            all.push(Aggregated {
                signers: contribution
                    .aggregation_bits
                    .ones()
                    .filter_map(|place| members.get(place).copied())
                    .collect(),
                root,
                signature: contribution.signature,
            });
        }
        self.verify(nodes, all, deadline).await
    }

    async fn verify(&self, nodes: &Nodes, all: Vec<Aggregated>, deadline: Instant) -> Option<Verdict> {
        let mut wanted: Vec<u64> = all.iter().flat_map(|one| &one.signers).copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut keys = HashMap::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.retain(|index| {
                known
                    .get(index)
                    .is_none_or(|key| keys.insert(*index, *key).is_some())
            });
        }
        if !wanted.is_empty() {
            let found = nodes.public_keys(&wanted, deadline).await.ok()?.value;
            let decoded = tokio::task::spawn_blocking(move || {
                let key =
                    |(index, bytes): (u64, [u8; 48])| Some((index, PublicKey::from_bytes(&bytes).ok()?));
                found.into_iter().filter_map(key).collect::<Vec<_>>()
            });
            let decoded = decoded.await.ok()?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() + decoded.len() > MAX_KEYS {
                known.clear();
            }
            known.extend(decoded.iter().copied());
            keys.extend(decoded);
        }
        let right = tokio::task::spawn_blocking(move || all.iter().all(|one| holds(one, &keys)));
        Some(if right.await.ok()? {
            Verdict::Valid
        } else {
            Verdict::Invalid
        })
    }
}

/// The members of a committee, or the verdict without them: not every beacon node tells its committees. A wrong aggregate is
/// refused by the network and costs nothing else, so where nobody can tell, the shape must do. Each time anew all of them
/// must say so, and three times in a row, slots apart and as the same versions, before that counts; until then there is no verdict. `untold`
/// counts.
async fn members<F>(
    untold: &Mutex<Untold>,
    nodes: &Nodes,
    chain: &Chain,
    ask: impl Fn() -> F,
) -> Result<Vec<u64>, Option<Verdict>>
where
    F: Future<Output = Result<From<Vec<u64>>, AllFailed>>,
{
    let answer = ask().await;
    let mut untold = untold.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Ok(found) => {
            *untold = Untold::default();
            Ok(found.value)
        }
        Err(error) if !is_untold(&error) => Err(None),
        Err(_) => {
            let apart = Duration::from_millis(chain.time().slot_ms);
            let versions = nodes.health().into_iter().map(|node| node.version).collect();
            Err(untold
                .again(Instant::now(), apart, versions)
                .then_some(Verdict::Valid))
        }
    }
}

fn holds(one: &Aggregated, keys: &HashMap<u64, PublicKey>) -> bool {
    let signers: Option<Vec<PublicKey>> = one.signers.iter().map(|index| keys.get(index).copied()).collect();
    let signature = Signature::from_bytes(&one.signature).ok();
    signers
        .zip(signature)
        .is_some_and(|(signers, signature)| fast_aggregate_verify(&signers, &one.root, &signature))
}

/// Whether every beacon node says that it does not tell its committees.
fn is_untold(error: &AllFailed) -> bool {
    !error.errors.is_empty() && error.errors.iter().all(|error| error.kind.is_missing())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use axum::{http::StatusCode, response::IntoResponse as _};
    use serde_json::{Value, json};

    use super::*;
    use conclave_beacon::testing::{Server, connect, healthy, serve, soon};
    use conclave_crypto::{bls::SecretKey, scalar::Scalar};
    use conclave_eth::chain::types::{AttestationData, Bitlist, Bitvector, Checkpoint};

    fn key(index: u64) -> SecretKey {
        SecretKey::from_scalar(&Scalar::from_u64(index + 1)).unwrap()
    }

    /// Members 10 to 13 of a committee, and the whole sync committee: 0 to 31.
    fn paths() -> Vec<(&'static str, Value)> {
        let members: Vec<String> = (10..14).map(|index: u64| index.to_string()).collect();
        let everybody: Vec<String> = (0..32).map(|index: u64| index.to_string()).collect();
        let validator = |index: u64| {
            json!({ "index": index.to_string(), "balance": "1", "status": "active_ongoing", "validator": {
                "pubkey": format!("0x{}", hex::encode(key(index).public_key().to_bytes())), "effective_balance": "1",
                "slashed": false, "activation_epoch": "0", "exit_epoch": "9",
            }})
        };
        let validators: Vec<Value> = [11, 13, 8, 9, 15].into_iter().map(validator).collect();
        vec![
            (
                "/eth/v1/beacon/states/head/committees",
                json!({ "data": [{ "index": "1", "slot": "40", "validators": members }] }),
            ),
            (
                "/eth/v1/beacon/states/head/sync_committees",
                json!({ "data": { "validators": everybody, "validator_aggregates": [] } }),
            ),
            (
                "/eth/v1/beacon/states/head/validators",
                json!({ "data": validators }),
            ),
        ]
    }

    fn sum(indices: &[u64], root: &Hash) -> [u8; 96] {
        let signatures: Vec<Signature> = indices.iter().map(|index| key(*index).sign(root)).collect();
        Signature::aggregate(&signatures).unwrap().to_bytes()
    }

    fn aggregate(chain: &Chain, bits: &[bool], signers: &[u64]) -> Attestation {
        let data = AttestationData {
            slot: 40,
            index: 0,
            beacon_block_root: [1; 32],
            source: Checkpoint {
                epoch: 4,
                root: [2; 32],
            },
            target: Checkpoint {
                epoch: 5,
                root: [3; 32],
            },
        };
        Attestation {
            aggregation_bits: Bitlist::new(bits),
            data,
            signature: sum(signers, &chain.attestation_signing_root(&data).unwrap()),
            committee_bits: Bitvector::with_ones(chain.spec.sizes.max_committees_per_slot, &[1]),
        }
    }

    #[tokio::test]
    async fn aggregates_are_checked_against_their_committee() {
        let server = healthy(&paths()).await;
        let nodes = connect(&[&server]).await;
        let chain = nodes.chain().unwrap();
        let verdict = async |bits: &[bool], signers: &[u64]| {
            let list = [aggregate(&chain, bits, signers)];
            Keys::default().aggregates(&nodes, &chain, &list, soon()).await
        };
        assert_eq!(
            verdict(&[false, true, false, true], &[11, 13]).await,
            Some(Verdict::Valid)
        );
        assert_eq!(
            verdict(&[false, true, false, true], &[11]).await,
            Some(Verdict::Invalid)
        );
        assert_eq!(
            verdict(&[false, true, false, true], &[11, 12]).await,
            Some(Verdict::Invalid)
        );
        assert_eq!(
            verdict(&[false, true, false], &[11]).await,
            Some(Verdict::Invalid)
        );
        // The node does not know validator 10's key: nobody can tell.
        assert_eq!(verdict(&[true, true, false, true], &[10, 11, 13]).await, None);
    }

    #[tokio::test]
    async fn contributions_are_checked_against_the_sync_committee() {
        let server = healthy(&paths()).await;
        let nodes = connect(&[&server]).await;
        let chain = nodes.chain().unwrap();
        let verdict = async |subcommittee_index: u64, signers: &[u64]| {
            let root = chain.sync_message_signing_root(40, &[1; 32]).unwrap();
            let list = [SyncCommitteeContribution {
                slot: 40,
                beacon_block_root: [1; 32],
                subcommittee_index,
                aggregation_bits: Bitvector::with_ones(8, &[0, 1, 7]),
                signature: sum(signers, &root),
            }];
            Keys::default().contributions(&nodes, &chain, &list, soon()).await
        };
        assert_eq!(verdict(1, &[8, 9, 15]).await, Some(Verdict::Valid));
        assert_eq!(verdict(1, &[8, 9]).await, Some(Verdict::Invalid));
        assert_eq!(verdict(4, &[8, 9, 15]).await, Some(Verdict::Invalid));
    }

    /// A node that answers as it should, but for what this says it lacks.
    async fn lacking(lacks: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Server {
        let paths = paths();
        serve(7, move |call| {
            let known = paths.iter().find(|(path, _)| *path == call.path());
            let answer = known.map(|(path, answer)| {
                if lacks(call.method(), path) {
                    (StatusCode::NOT_FOUND, "").into_response()
                } else {
                    answer.to_string().into_response()
                }
            });
            Box::pin(async move { answer })
        })
        .await
    }

    /// The same chain with slots that are longer than any of these tests takes on a busy machine.
    fn slow(chain: &Chain) -> Chain {
        let mut chain = chain.clone();
        chain.spec.slot_ms = 60_000;
        chain
    }

    /// What was counted last is a slot ago.
    fn a_slot_passes(keys: &Keys, chain: &Chain) {
        let slot = Duration::from_millis(chain.time().slot_ms);
        for untold in [&keys.untold_committees, &keys.untold_sync_committees] {
            let mut untold = untold.lock().unwrap();
            untold.counted = untold.counted.map(|at| at.checked_sub(slot).unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_wrong_does_not_pass_because_a_node_says_once_that_it_has_no_committees() {
        // How often it lacks each of them from now on.
        let lacks: Arc<[AtomicU32; 2]> = Arc::default();
        let left = lacks.clone();
        let server = lacking(move |_, path| {
            let kind = ["/committees", "/sync_committees"]
                .iter()
                .position(|kind| path.ends_with(kind));
            let take = |left: u32| left.checked_sub(1);
            kind.is_some_and(|kind| {
                left[kind]
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok()
            })
        })
        .await;
        let nodes = connect(&[&server]).await;
        let chain = nodes.chain().unwrap();
        let keys = Keys::default();
        let wrong = [aggregate(&chain, &[false, true, false, true], &[11])];
        let contribution = [SyncCommitteeContribution {
            slot: 40,
            beacon_block_root: [1; 32],
            subcommittee_index: 1,
            aggregation_bits: Bitvector::with_ones(8, &[0, 1, 7]),
            signature: sum(&[8, 9], &chain.sync_message_signing_root(40, &[1; 32]).unwrap()),
        }];
        let chain = slow(&chain);
        for (waits, times, expected) in [
            (false, 0, Some(Verdict::Invalid)),
            // However often it is asked in one moment.
            (false, 1, None),
            (false, 1, None),
            (false, 1, None),
            (true, 1, None),
            // It does not seem to have them, and says so slot by slot.
            (true, 1, Some(Verdict::Valid)),
            (false, 1, Some(Verdict::Valid)),
            // It has them now.
            (false, 0, Some(Verdict::Invalid)),
            (true, 1, None),
        ] {
            if waits {
                a_slot_passes(&keys, &chain);
            }
            lacks.iter().for_each(|left| left.store(times, Ordering::SeqCst));
            let verdict = keys.aggregates(&nodes, &chain, &wrong, soon()).await;
            assert_eq!(verdict, expected, "{times}");
            let verdict = keys.contributions(&nodes, &chain, &contribution, soon()).await;
            assert_eq!(verdict, expected, "{times}");
        }
    }

    #[test]
    fn what_nobody_tells_is_counted_once_a_slot() {
        let (began, slot) = (Instant::now(), Duration::from_secs(12));
        let mut untold = Untold::default();
        let mut often = |(after, version): (u64, &str)| {
            untold.again(began + Duration::from_secs(after), slot, vec![version.to_owned()])
        };
        assert_eq!(
            [0, 0, 0, 11, 12, 23, 24, 25].map(|after| often((after, "a"))),
            [false, false, false, false, false, false, true, true]
        );
        // Another version may tell it: it is counted anew.
        assert_eq!(
            [(26, "b"), (37, "b"), (38, "b"), (50, "b"), (51, "a")].map(often),
            [false, false, false, true, false]
        );
    }

    #[tokio::test]
    async fn public_keys_are_asked_for_in_the_form_that_the_node_has() {
        let server = lacking(|method, path| method == "POST" && path.ends_with("/validators")).await;
        let nodes = connect(&[&server]).await;
        let chain = nodes.chain().unwrap();
        let bits = [false, true, false, true];
        for (signers, expected) in [(&[11][..], Verdict::Invalid), (&[11, 13], Verdict::Valid)].repeat(3) {
            let list = [aggregate(&chain, &bits, signers)];
            let verdict = Keys::default().aggregates(&nodes, &chain, &list, soon()).await;
            assert_eq!(verdict, Some(expected));
        }
    }

    #[tokio::test]
    async fn a_node_that_does_not_tell_its_committees_holds_up_nothing_for_long() {
        let server = healthy(&[]).await;
        let nodes = connect(&[&server]).await;
        let chain = slow(&nodes.chain().unwrap());
        let keys = Keys::default();
        let list = [aggregate(&chain, &[true], &[1])];
        let mut verdicts = Vec::new();
        for _ in 0..4 {
            // Asked twice at a time, as where two leaders propose.
            for _ in 0..2 {
                verdicts.push(keys.aggregates(&nodes, &chain, &list, soon()).await);
            }
            a_slot_passes(&keys, &chain);
        }
        let valid = Some(Verdict::Valid);
        assert_eq!(verdicts, [None, None, None, None, valid, valid, valid, valid]);
    }
}

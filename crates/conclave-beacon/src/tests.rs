//! Beacon nodes that lag, fail, lie about their network, or answer rubbish. Each is a small HTTP server.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use super::{
    api::{BlockRequest, BlockTrouble, KnownBlock, Produced, Published},
    events::{Events, News},
    http::{Address, ErrorKind, Node},
    nodes::{AllFailed, FAIR, FAIR_IF_HARD, From, Nodes, State},
};
use crate::chain::spec::{Chain, Pinned};
use crate::testing::*;
use conclave_eth::chain::fork::Fork;
use conclave_eth::testing::{unhex, vectors};
use conclave_eth::{
    chain::{
        block::{Blobs, Block, BlockSchemas},
        types::{AttestationData, Checkpoint, SyncCommitteeMessage},
    },
    exit::{SignedVoluntaryExit, VoluntaryExit},
};

const EPOCH_MS: u64 = 32_000;

fn vote(slot: u64) -> AttestationData {
    AttestationData {
        slot,
        index: 0,
        beacon_block_root: [1; 32],
        source: Checkpoint {
            epoch: 0,
            root: [2; 32],
        },
        target: Checkpoint {
            epoch: slot / 8,
            root: [3; 32],
        },
    }
}

const DATA_PATH: &str = "/eth/v1/validator/attestation_data";

fn vote_json(slot: u64) -> Value {
    json!({ "data": vote(slot) })
}

#[tokio::test]
async fn a_healthy_node_tells_its_chain() {
    let server = healthy(&[]).await;
    let nodes = connect(&[&server]).await;
    let health = &nodes.health()[0];
    assert_eq!((&health.state, health.head_slot), (&State::Ready, 9));
    assert_eq!(
        (health.version.as_str(), health.name.as_str()),
        ("Test/v1", server.url.as_str())
    );
    assert!(nodes.is_ready());
    assert_eq!(nodes.chain().unwrap().genesis.validators_root, [7; 32]);
}

#[tokio::test]
async fn a_node_of_another_network_is_never_used() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let stranger = serve(8, move |call| {
        let is_data = call.path() == DATA_PATH;
        counter.fetch_add(usize::from(is_data), Ordering::SeqCst);
        async move { is_data.then(|| vote_json(9).to_string().into_response()) }.boxed()
    })
    .await;
    let friend = healthy(&[(DATA_PATH, vote_json(9))]).await;
    let pinned = Pinned {
        genesis_validators_root: Some([7; 32]),
        ..Pinned::default()
    };
    let nodes = Nodes::new(vec![client(&stranger.url), client(&friend.url)], pinned.clone());
    nodes.check(NOW_MS, soon()).await;
    let State::WrongNetwork(error) = &nodes.health()[0].state else {
        panic!("{:?}", nodes.health());
    };
    let text = error.to_string();
    assert!(text.contains(&stranger.url) && text.contains("0x0808"), "{text}");
    assert_eq!(attestation_data(&nodes, 9, soon()).await.unwrap().node, 1);
    let mut answers = 0;
    nodes.attestation_data_of_each(9, soon(), |_| answers += 1).await;
    assert_eq!(answers, 1);
    assert_eq!(asked.load(Ordering::SeqCst), 0);

    // Without a pinned value the first one tells; what is pinned later decides.
    let nodes = Nodes::new(vec![client(&stranger.url)], Pinned::default());
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.is_ready());
    nodes.pin(pinned);
    assert!(nodes.chain().is_none() && !nodes.is_ready());
    nodes.check(NOW_MS, soon()).await;
    assert!(matches!(nodes.health()[0].state, State::WrongNetwork(_)));
    let failed = attestation_data(&nodes, 9, soon()).await.unwrap_err();
    assert!(failed.errors.is_empty() && failed.to_string().contains("no beacon node is of use"));
}

/// What a node tells of itself, to be changed while it runs.
#[derive(Default)]
struct Says {
    /// `FULU_FORK_EPOCH`.
    fulu: AtomicU64,
    /// `GLOAS_FORK_EPOCH`, a fork that is not known here.
    gloas: AtomicU64,
    head: AtomicU64,
    /// Answers nothing.
    gone: AtomicBool,
}

impl Says {
    fn new(fulu: u64, gloas: u64) -> Arc<Self> {
        let says = Self::default();
        says.forks(fulu, gloas);
        Arc::new(says)
    }

    fn forks(&self, fulu: u64, gloas: u64) {
        self.fulu.store(fulu, Ordering::SeqCst);
        self.gloas.store(gloas, Ordering::SeqCst);
    }
}

/// A node of the usual chain that says this, and knows what to attest to in slot 9.
async fn saying(says: &Arc<Says>) -> Server {
    let says = says.clone();
    serve(7, move |call| {
        let of = |value: &AtomicU64| value.load(Ordering::SeqCst).to_string();
        let answer = match call.path() {
            _ if says.gone.load(Ordering::SeqCst) => Some(error(401, "gone")),
            "/eth/v1/config/spec" => {
                let mut spec: Value = serde_json::from_str(MINIMAL_SPEC).unwrap();
                spec["data"]["FULU_FORK_EPOCH"] = of(&says.fulu).into();
                spec["data"]["GLOAS_FORK_EPOCH"] = of(&says.gloas).into();
                Some(spec.to_string().into_response())
            }
            "/eth/v1/node/syncing" => Some(data(&json!({
                "head_slot": of(&says.head), "sync_distance": "0", "is_syncing": false,
                "is_optimistic": false, "el_offline": false,
            }))),
            DATA_PATH => Some(vote_json(9).to_string().into_response()),
            _ => None,
        };
        async move { answer }.boxed()
    })
    .await
}

/// The places of nodes that are not used because of their fork schedule, which was told.
fn of_other_schedule(nodes: &Nodes) -> Vec<usize> {
    let health = nodes.health();
    let told = health.iter().enumerate();
    told.filter(|(_, one)| matches!(one.state, State::OtherSchedule(_)))
        .map(|(place, _)| place)
        .collect()
}

/// Which nodes answer a question to all.
async fn answering(nodes: &Nodes) -> usize {
    let mut answers = 0;
    nodes.attestation_data_of_each(9, soon(), |_| answers += 1).await;
    answers
}

const NEVER: u64 = u64::MAX;

#[tokio::test]
async fn one_nodes_fork_schedule_stops_nobody() {
    // The liar is listed first and has the newest head.
    let says = [Says::new(2, 0), Says::new(2, NEVER), Says::new(2, NEVER)];
    says[0].head.store(NEVER, Ordering::SeqCst);
    let servers = [
        saying(&says[0]).await,
        saying(&says[1]).await,
        saying(&says[2]).await,
    ];
    let nodes = connect(&[&servers[0], &servers[1], &servers[2]]).await;
    let signable = |nodes: &Nodes, epoch| nodes.chain().unwrap().spec.signable_fork_at(epoch).is_ok();
    assert!(signable(&nodes, 0));
    assert_eq!(of_other_schedule(&nodes), [0]);
    assert_eq!(answering(&nodes).await, 2);
    let text = nodes.health()[0].state.text();
    assert!(
        text.contains(
            "it says that the fork gloas begins with epoch 0, and your other beacon nodes say that it is not"
        ),
        "{text}"
    );
    // It is updated, and of use at once.
    says[0].forks(2, NEVER);
    nodes.check(NOW_MS, soon()).await;
    assert_eq!((of_other_schedule(&nodes), answering(&nodes).await), (vec![], 3));
    // Forks that have begun are no different.
    says[1].forks(3, NEVER);
    for one in &says {
        one.head.store(16, Ordering::SeqCst);
    }
    for _ in 0..64 {
        nodes.check(NOW_MS + 2 * EPOCH_MS, soon()).await;
    }
    assert_eq!((of_other_schedule(&nodes), answering(&nodes).await), (vec![1], 2));
}

#[tokio::test]
async fn a_node_that_is_gone_has_no_say_and_nothing_needs_a_new_start() {
    let says = [Says::new(2, 0), Says::new(2, NEVER)];
    let servers = [saying(&says[0]).await, saying(&says[1]).await];
    let nodes = connect(&[&servers[0], &servers[1]]).await;
    let signable = |nodes: &Nodes| nodes.chain().unwrap().spec.signable_fork_at(1).is_ok();
    let gone = async |place: usize, gone: bool| {
        says[place].gone.store(gone, Ordering::SeqCst);
        nodes.check(NOW_MS, soon()).await;
    };
    // One against one: who is listed first, right or wrong.
    assert_eq!((signable(&nodes), of_other_schedule(&nodes)), (false, vec![1]));
    gone(0, true).await;
    assert_eq!(
        (
            signable(&nodes),
            of_other_schedule(&nodes),
            answering(&nodes).await
        ),
        (true, vec![], 1)
    );
    gone(0, false).await;
    assert_eq!((signable(&nodes), of_other_schedule(&nodes)), (false, vec![1]));
    // Its head stands still while the other one's goes on.
    says[1].head.store(3, Ordering::SeqCst);
    nodes.check(NOW_MS + 3 * 4000, soon()).await;
    assert_eq!((signable(&nodes), of_other_schedule(&nodes)), (true, vec![0]));
    // Where both go on, what is in use stays. It was away for less than an epoch.
    says[0].head.store(3, Ordering::SeqCst);
    nodes.check(NOW_MS + 3 * 4000, soon()).await;
    assert_eq!((signable(&nodes), of_other_schedule(&nodes)), (false, vec![1]));
    // However often it is asked meanwhile, as where none is in step.
    for _ in 0..16 {
        gone(0, true).await;
    }
    gone(0, false).await;
    assert_eq!((signable(&nodes), of_other_schedule(&nodes)), (false, vec![1]));
    // Away for an epoch, it comes back to what is in use by now.
    says[0].gone.store(true, Ordering::SeqCst);
    for slot in 0..=8 {
        nodes.check(NOW_MS + slot * 4000, soon()).await;
    }
    gone(0, false).await;
    assert_eq!((signable(&nodes), of_other_schedule(&nodes)), (true, vec![0]));
    // A request that fails is not a node that is gone.
    let failed = nodes.first("x", soon(), FAIR, |node| async move {
        Err::<(), _>(node.error("x", ErrorKind::Timeout))
    });
    failed.await.unwrap_err();
    assert!(signable(&nodes));
    // When all are gone, what was known stays.
    gone(0, true).await;
    gone(1, true).await;
    assert!(signable(&nodes));
}

#[tokio::test]
async fn nodes_that_differ_only_about_what_is_to_come_are_told_and_used_until_then() {
    let says = [Says::new(2, NEVER), Says::new(2, 9)];
    let servers = [saying(&says[0]).await, saying(&says[1]).await];
    let nodes = connect(&[&servers[0], &servers[1]]).await;
    for (epoch, used) in [(0, 2), (7, 2), (8, 1), (9, 1)] {
        for one in &says {
            one.head.store(epoch * 8, Ordering::SeqCst);
        }
        nodes.check(NOW_MS + epoch * EPOCH_MS, soon()).await;
        let parting = nodes.health()[1].parting.clone();
        assert_eq!(
            parting.map(|parting| parting.epoch),
            (used == 2).then_some(9),
            "{epoch}"
        );
        assert_eq!(answering(&nodes).await, used, "{epoch}");
        assert_eq!(nodes.health()[0].parting, None);
    }
    // Asked again at each check, for it may be updated at any moment.
    says[0].forks(2, 9);
    says[1].forks(2, 9);
    nodes.check(NOW_MS + 9 * EPOCH_MS, soon()).await;
    nodes.pin(Pinned::default());
    nodes.check(NOW_MS + 9 * EPOCH_MS, soon()).await;
    assert_eq!(answering(&nodes).await, 2);
    assert_eq!(nodes.chain().unwrap().spec.unknown_fork(), Some(("gloas", 9)));
}

#[tokio::test]
async fn forks_to_come_are_learned_of_while_nodes_are_used() {
    let says = Says::new(NEVER, NEVER);
    let server = saying(&says).await;
    let nodes = connect(&[&server]).await;
    let restarted = async |epoch: u64| {
        says.head.store(epoch * 8, Ordering::SeqCst);
        nodes.pin(Pinned::default());
        nodes.check(NOW_MS + epoch * EPOCH_MS, soon()).await;
        nodes.chain().unwrap()
    };
    let fulu = |chain: &Chain| chain.spec.scheduled(Fork::Fulu).map(|fork| fork.epoch);
    let before = nodes.chain().unwrap();
    assert_eq!(fulu(&before), None);
    // The same again is the same thing.
    assert!(Arc::ptr_eq(&before, &restarted(0).await));
    // Updated, postponed, updated only after the fork has begun.
    for (epoch, said) in [(1, 5), (1, 7), (1, NEVER), (8, 7)] {
        says.forks(said, NEVER);
        let chain = restarted(epoch).await;
        assert_eq!(fulu(&chain), (said != NEVER).then_some(said));
        assert!(nodes.is_ready());
    }
}

/// A node whose epochs have so many slots, and that is there as long as this says so.
async fn with_epochs(slots: Arc<AtomicU64>, gone: Arc<AtomicBool>) -> Server {
    serve(7, move |call| {
        let answer = if gone.load(Ordering::SeqCst) {
            Some(error(401, "gone"))
        } else {
            (call.path() == "/eth/v1/config/spec").then(|| {
                let mut spec: Value = serde_json::from_str(MINIMAL_SPEC).unwrap();
                spec["data"]["SLOTS_PER_EPOCH"] = slots.load(Ordering::SeqCst).to_string().into();
                spec.to_string().into_response()
            })
        };
        async move { answer }.boxed()
    })
    .await
}

/// Nodes of such epochs, all of them gone at first, and how each may be changed.
async fn epochs_of(slots: &[u64]) -> (Vec<Server>, Vec<(Arc<AtomicU64>, Arc<AtomicBool>)>, Nodes) {
    let mut servers = Vec::new();
    let mut levers = Vec::new();
    for slots in slots {
        let lever = (Arc::new(AtomicU64::new(*slots)), Arc::new(AtomicBool::new(true)));
        servers.push(with_epochs(lever.0.clone(), lever.1.clone()).await);
        levers.push(lever);
    }
    let nodes = servers.iter().map(|server| client(&server.url)).collect();
    (servers, levers, Nodes::new(nodes, Pinned::default()))
}

#[tokio::test]
async fn who_is_there_first_does_not_settle_the_network() {
    let (_servers, levers, nodes) = epochs_of(&[16, 8, 8]).await;
    let settled = async || {
        nodes.check(NOW_MS, soon()).await;
        nodes.settled().map(|chain| chain.spec.slots_per_epoch)
    };
    let here = |place: usize, here: bool| levers[place].1.store(!here, Ordering::SeqCst);
    assert_eq!(settled().await, None);
    // The liar alone: the others have one more check.
    here(0, true);
    assert_eq!(settled().await, None);
    here(1, true);
    here(2, true);
    assert_eq!(settled().await, Some(8));
    let State::WrongNetwork(error) = &nodes.health()[0].state else {
        panic!("{:?}", nodes.health());
    };
    assert!(
        error
            .to_string()
            .contains("SLOTS_PER_EPOCH is 16, and here it has to be 8"),
        "{error}"
    );
    assert_eq!(nodes.contradiction(), None);

    // Where all have said it, nobody waits; nor longer than one more check for who is off.
    let (_servers, levers, nodes) = epochs_of(&[8, 8]).await;
    for (_, gone) in &levers {
        gone.store(false, Ordering::SeqCst);
    }
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.settled().is_some());
    let (_servers, levers, nodes) = epochs_of(&[8, 8]).await;
    levers[1].1.store(false, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.settled().is_none());
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.settled().is_some() && nodes.is_ready());
}

#[tokio::test]
async fn a_network_that_most_nodes_say_is_another_is_not_gone_on_with() {
    let (_servers, levers, nodes) = epochs_of(&[16, 8, 8]).await;
    let slot = AtomicU64::new(0);
    let check = async |here: [bool; 3]| {
        for ((_, gone), here) in levers.iter().zip(here) {
            gone.store(!here, Ordering::SeqCst);
        }
        // However often they are asked in one slot, as they are where none is of use.
        for _ in 0..4 {
            nodes
                .check(NOW_MS + 4000 * slot.load(Ordering::SeqCst), soon())
                .await;
        }
        slot.fetch_add(1, Ordering::SeqCst);
        nodes.contradiction()
    };
    // Settled by the only one that was there.
    for _ in 0..2 {
        check([true, false, false]).await;
        nodes.settled();
    }
    assert_eq!(nodes.chain().unwrap().spec.slots_per_epoch, 16);
    // One against one stops nothing, nor does it when the first one is gone for a while.
    assert_eq!(check([true, true, false]).await, None);
    assert_eq!(check([false, true, false]).await, None);
    // A node that is swapped for a moment is no reason to end either.
    assert_eq!(check([true, true, true]).await, None);
    assert_eq!(check([true, true, false]).await, None);
    assert_eq!(check([true, true, true]).await, None);
    let why = check([true, true, true]).await.unwrap();
    let names: Vec<String> = nodes.health().into_iter().map(|node| node.name).collect();
    assert_eq!(
        why,
        format!(
            "{}, {} say: SLOTS_PER_EPOCH is 8, and here it has to be 16, as at the start",
            names[1], names[2]
        )
    );
    // The one that was right by that was wrong, and has been mended.
    levers[0].0.store(8, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    for _ in 0..64 {
        check([true, true, false]).await;
    }
    assert!(nodes.contradiction().is_some());
}

#[tokio::test]
async fn as_many_nodes_as_say_what_was_settled_end_nothing() {
    let (_servers, levers, nodes) = epochs_of(&[16, 16, 8, 8]).await;
    let here = |place: usize, here: bool| levers[place].1.store(!here, Ordering::SeqCst);
    here(0, true);
    here(1, true);
    for slot in 0..3 {
        nodes.check(NOW_MS + 4000 * slot, soon()).await;
        nodes.settled();
    }
    assert_eq!(nodes.chain().unwrap().spec.slots_per_epoch, 16);
    here(2, true);
    here(3, true);
    for slot in 3..10 {
        nodes.check(NOW_MS + 4000 * slot, soon()).await;
        assert_eq!(nodes.contradiction(), None);
    }
    // The two that said so are gone: what they said last counts.
    here(0, false);
    here(1, false);
    for slot in 10..20 {
        nodes.check(NOW_MS + 4000 * slot, soon()).await;
        assert_eq!(nodes.contradiction(), None);
    }
}

#[tokio::test]
async fn the_only_node_is_not_used_while_it_says_something_else_and_ends_nothing() {
    let (_servers, levers, nodes) = epochs_of(&[8]).await;
    levers[0].1.store(false, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.settled().is_some() && nodes.is_ready());
    // Another version takes its place: what runs does not follow it.
    levers[0].0.store(16, Ordering::SeqCst);
    levers[0].1.store(true, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    levers[0].1.store(false, Ordering::SeqCst);
    for _ in 0..4 {
        nodes.check(NOW_MS, soon()).await;
        assert_eq!(nodes.contradiction(), None);
        assert!(matches!(nodes.health()[0].state, State::WrongNetwork(_)));
        assert!(asked(&nodes).await.is_empty());
    }
    levers[0].0.store(8, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.is_ready() && asked(&nodes).await == [0]);
}

#[tokio::test]
async fn the_only_node_that_is_there_ends_nothing_either() {
    // The second one has never been there.
    let (_servers, levers, nodes) = epochs_of(&[8, 8]).await;
    levers[0].1.store(false, Ordering::SeqCst);
    while nodes.settled().is_none() {
        nodes.check(NOW_MS, soon()).await;
    }
    levers[0].0.store(16, Ordering::SeqCst);
    levers[0].1.store(true, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    levers[0].1.store(false, Ordering::SeqCst);
    for _ in 0..4 {
        nodes.check(NOW_MS, soon()).await;
        assert!(matches!(nodes.health()[0].state, State::WrongNetwork(_)));
        assert_eq!(nodes.contradiction(), None);
    }
    // Two are a majority of two.
    levers[1].0.store(16, Ordering::SeqCst);
    levers[1].1.store(false, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    nodes.check(NOW_MS + 3999, soon()).await;
    assert_eq!(nodes.contradiction(), None);
    nodes.check(NOW_MS + 4000, soon()).await;
    assert!(nodes.contradiction().is_some());
}

#[tokio::test]
async fn of_a_networks_file_and_the_majority_the_file_counts_if_a_node_agrees_with_it() {
    let of = |time: &'static str| {
        serve(7, move |call| {
            let genesis = data(&json!({
                "genesis_time": time, "genesis_fork_version": "0x10000038",
                "genesis_validators_root": format!("0x{}", "07".repeat(32)),
            }));
            let answer = (call.path() == "/eth/v1/beacon/genesis").then_some(genesis);
            async move { answer }.boxed()
        })
    };
    let servers = [
        of("1700000012").await,
        of("1700000012").await,
        of("1700000000").await,
    ];
    for (likely, expected) in [
        (Some(1_700_000_000), 1_700_000_000),
        (Some(9), 1_700_000_012),
        (None, 1_700_000_012),
    ] {
        let pinned = Pinned {
            likely_genesis_time: likely,
            ..Pinned::default()
        };
        let nodes = servers.iter().map(|server| client(&server.url)).collect();
        let nodes = Nodes::new(nodes, pinned);
        nodes.check(NOW_MS, soon()).await;
        assert_eq!(nodes.settled().unwrap().genesis.time, expected, "{likely:?}");
    }
}

#[tokio::test]
async fn the_quickest_node_does_not_choose_the_network() {
    let others = |call: &Call| {
        let spec = MINIMAL_SPEC.replace("\"SLOTS_PER_EPOCH\": \"8\"", "\"SLOTS_PER_EPOCH\": \"16\"");
        assert_ne!(spec, MINIMAL_SPEC);
        (call.path() == "/eth/v1/config/spec").then(|| spec.into_response())
    };
    let stranger = serve(7, move |call| {
        let answer = others(&call);
        async move { answer }.boxed()
    })
    .await;
    let slow = || {
        serve(7, |call| {
            let asked = call.path() == "/eth/v1/config/spec";
            async move {
                if asked {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                None
            }
            .boxed()
        })
    };
    let friends = [slow().await, slow().await];
    let nodes = connect(&[&stranger, &friends[0], &friends[1]]).await;
    let wrong: Vec<bool> = nodes
        .health()
        .iter()
        .map(|one| matches!(one.state, State::WrongNetwork(_)))
        .collect();
    assert_eq!(wrong, [true, false, false]);
    assert_eq!(nodes.chain().unwrap().spec.slots_per_epoch, 8);
}

#[tokio::test]
async fn a_node_that_is_well_and_fails_one_request_is_told_of_until_it_answers() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let server = serve(7, move |call| {
        let fails = failing.load(Ordering::Relaxed);
        async move {
            match call.path() {
                DATA_PATH if fails => Some(error(500, "out of memory")),
                DATA_PATH => Some(data(&vote_json(9)["data"])),
                "/eth/v1/beacon/blocks/head/root" => Some(error(404, "no such block")),
                _ => None,
            }
        }
        .boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    for _ in 0..2 {
        attestation_data(&nodes, 9, soon()).await.unwrap_err();
        nodes.check(NOW_MS, soon()).await;
    }
    // Once or twice is nothing to talk about; nor is what a node does not have.
    assert_eq!(nodes.health()[0].trouble, None);
    for _ in 0..5 {
        nodes.head_root(soon()).await.unwrap_err();
    }
    assert_eq!(nodes.health()[0].trouble, None);
    attestation_data(&nodes, 9, soon()).await.unwrap_err();
    nodes.check(NOW_MS, soon()).await;
    let health = nodes.health();
    assert_eq!(health[0].state, State::Ready);
    let trouble = health[0].trouble.clone().unwrap();
    assert_eq!(trouble.request, "attestation data");
    assert!(matches!(trouble.kind, ErrorKind::Status { status: 500, .. }));
    fails.store(false, Ordering::Relaxed);
    attestation_data(&nodes, 9, soon()).await.unwrap();
    assert_eq!(nodes.health()[0].trouble, None);
}

#[tokio::test]
async fn the_next_node_is_asked_when_the_first_is_slow() {
    let slow = serve(7, |call| {
        let slow = call.path() == DATA_PATH;
        async move {
            if slow {
                std::future::pending::<()>().await;
            }
            None
        }
        .boxed()
    })
    .await;
    let fast = healthy(&[(DATA_PATH, vote_json(9))]).await;
    let nodes = connect(&[&slow, &fast]).await;
    let answer = attestation_data(&nodes, 9, soon()).await.unwrap();
    assert_eq!((answer.node, answer.value), (1, vote(9)));

    // Alone, it is an error in time. It answers how it is, so it is not down.
    let nodes = connect(&[&slow]).await;
    let deadline = Instant::now() + Duration::from_millis(1200);
    let failed = attestation_data(&nodes, 9, deadline).await.unwrap_err();
    assert_eq!(failed.errors[0].kind, ErrorKind::Timeout);
    assert_eq!(nodes.health()[0].state, State::Ready);
}

/// A way of asking several nodes of which the first hangs.
#[derive(Debug, Clone, Copy)]
enum Way {
    First,
    Hard,
    NotWhatWasWanted,
    NoLongerWanted,
    Each,
    Aside,
    Submit,
}

#[tokio::test]
async fn who_hangs_with_one_request_is_asked_for_it_after_the_others_and_told_of_if_it_goes_on() {
    use Way::{Aside, Each, First, Hard, NoLongerWanted, NotWhatWasWanted, Submit};
    const WHAT: &str = "anything";
    async fn ask(nodes: &Nodes, way: Way, known: &[String]) -> Vec<usize> {
        let order = Mutex::new(Vec::new());
        let (order, alone) = (&order, known.len() == 1);
        let end = Instant::now() + Duration::from_millis(1150);
        let one = |node: Node| async move {
            let place = known.iter().position(|name| name == node.name()).unwrap();
            order.lock().unwrap().push(place);
            if place == 0 {
                tokio::time::sleep_until(end).await;
                return Err(node.error(WHAT, ErrorKind::Timeout));
            }
            Ok(())
        };
        match way {
            First => assert_eq!(nodes.first(WHAT, end, FAIR, one).await.is_err(), alone),
            Hard => assert_eq!(nodes.first(WHAT, end, FAIR_IF_HARD, one).await.is_err(), alone),
            NotWhatWasWanted => {
                let asked = nodes.until(WHAT, end, FAIR, one, |_| false).await;
                assert_eq!(asked.is_err(), alone);
            }
            NoLongerWanted => {
                let asked = nodes.until(WHAT, end, FAIR, one, |_| false);
                let patience = end - Duration::from_millis(100);
                tokio::time::timeout_at(patience, asked).await.unwrap_err();
            }
            Each => nodes.each(WHAT, one, |()| ()).await,
            Aside => {
                let patient = |node: Node, _| one(node);
                let asked = nodes.aside(WHAT, Duration::ZERO, patient).await;
                assert_eq!(asked.is_err(), alone);
            }
            Submit => {
                let sent = nodes.submit(WHAT, end, |node, _| one(node)).await;
                assert_eq!(sent.is_err(), alone);
            }
        }
        order.lock().unwrap().clone()
    }
    let cases = [First, Hard, NotWhatWasWanted, NoLongerWanted, Each, Aside, Submit].map(async |way| {
        let servers = [
            says(98, false, 0, Some(98)).await,
            says(98, false, 0, Some(98)).await,
        ];
        let nodes = connect_at(IN_SLOT, &servers).await;
        let known: Vec<String> = nodes.health().into_iter().map(|one| one.name).collect();
        let mut told = Vec::new();
        for times in 1..=3 {
            assert_eq!(ask(&nodes, way, &known).await[0], 0, "{way:?} {times}");
            // What is asked again at once is not counted again.
            told.push(nodes.health()[0].trouble.clone());
            // Others are asked first until the next check, and twice as long each further time.
            for _ in 0..1 << (times - 1) {
                assert_eq!(nodes.best(WHAT), Some(1), "{way:?} {times}");
                // For this request only; and its head is as good as before.
                assert_eq!(
                    (nodes.best("something else"), nodes.is_of_use(0)),
                    (Some(0), true)
                );
                nodes.check(IN_SLOT, soon()).await;
                assert!(nodes.health().iter().all(|one| one.state == State::Ready));
            }
            assert_eq!(nodes.best(WHAT), Some(0), "{way:?} {times}");
        }
        let is_told: Vec<bool> = told.iter().map(Option::is_some).collect();
        // What no duty needs is not spoken of.
        let expected = !matches!(way, Aside);
        assert_eq!(is_told, [false, false, expected], "{way:?}");
        if let Some(trouble) = &told[2] {
            let kind = match way {
                First | Hard => ErrorKind::Overtaken,
                _ => ErrorKind::Timeout,
            };
            assert_eq!((trouble.request, &trouble.kind), (WHAT, &kind), "{way:?}");
        }
        assert_eq!(nodes.health()[1].trouble, None);
        // One that answers it again is asked first as before, and nothing is told any more.
        let good = |_: Node| async { Ok(()) };
        nodes.each(WHAT, good, |()| ()).await;
        assert_eq!((nodes.best(WHAT), &nodes.health()[0].trouble), (Some(0), &None));
    });
    futures::future::join_all(cases).await;
}

#[tokio::test]
async fn a_failure_is_counted_once_between_two_checks_however_often_it_is_asked() {
    let servers = [
        says(98, false, 0, Some(98)).await,
        says(98, false, 0, Some(98)).await,
    ];
    let nodes = connect_at(IN_SLOT, &servers).await;
    let fails =
        |node: Node| async move { Err::<(), _>(node.error("x", ErrorKind::Malformed(String::new()))) };
    for times in 1..=3 {
        for _ in 0..5 {
            nodes.each("x", fails, |()| ()).await;
        }
        assert_eq!(nodes.health()[0].trouble.is_some(), times == 3);
        nodes.check(IN_SLOT, soon()).await;
    }
}

#[tokio::test]
async fn a_node_that_shows_its_head_is_not_down_whatever_else_of_itself_it_does_not_say() {
    let fails = Arc::new(AtomicUsize::new(0));
    let failing = fails.clone();
    let server = serve(7, move |call| {
        let (fails, end) = (
            failing.load(Ordering::Relaxed),
            ["", "/syncing", "/spec", "/head", "/"],
        );
        let head = (call.path() == "/eth/v1/beacon/headers/head")
            .then(|| header(98, 1).1.to_string().into_response());
        async move {
            if fails > 0 && (fails == 4 || call.path().ends_with(end[fails])) {
                std::future::pending::<()>().await;
            }
            head
        }
        .boxed()
    })
    .await;
    let servers = [server];
    let nodes = connect_at(IN_SLOT, &servers).await;
    let check = async || {
        let patience = Instant::now() + Duration::from_secs(3);
        nodes.check(IN_SLOT, patience).await;
        let health = nodes.health().remove(0);
        (health.state, health.trouble.map(|trouble| trouble.request))
    };
    // How it is.
    fails.store(1, Ordering::Relaxed);
    for told in [None, None, Some("sync status")] {
        assert_eq!(check().await, (State::Ready, told));
        assert_eq!(nodes.head(), Some((98, header(98, 1).0)));
    }
    fails.store(0, Ordering::Relaxed);
    assert_eq!(check().await, (State::Ready, None));
    // Of what chain it is, when it is asked again for that.
    fails.store(2, Ordering::Relaxed);
    for _ in 5..=64 {
        assert_eq!(check().await, (State::Ready, None));
    }
    assert!(nodes.is_of_use(0));
    // Its head.
    fails.store(3, Ordering::Relaxed);
    for told in [None, None, Some("its head")] {
        assert_eq!(check().await, (State::Ready, told));
    }
    // Nothing.
    fails.store(4, Ordering::Relaxed);
    assert!(matches!(check().await.0, State::Down(_)));
    assert!(!nodes.is_of_use(0));
}

#[tokio::test]
async fn our_own_impatience_is_not_held_against_a_node() {
    // Says that it is well, and answers nothing else.
    let slow = || {
        serve(7, |call| {
            let says = [
                "/config/spec",
                "/genesis",
                "/version",
                "/syncing",
                "/headers/head",
            ];
            let hangs = !says.iter().any(|end| call.path().ends_with(end));
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                None
            }
            .boxed()
        })
    };
    let (one, other) = (slow().await, slow().await);
    let nodes = connect(&[&one, &other]).await;
    let chain = nodes.chain().unwrap();
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    let after = |ms| Instant::now() + Duration::from_millis(ms);
    let root = [1; 32];
    // No node could show anything in this time.
    for _ in 0..4 {
        attestation_data(&nodes, 9, after(100)).await.unwrap_err();
        nodes.attestation_data_of_each(9, after(100), |_| {}).await;
        nodes.header(&root, after(100)).await.unwrap_err();
        nodes.head_root(after(100)).await.unwrap_err();
        nodes.check(NOW_MS, soon()).await;
        nodes.submit_sync_messages(&[], after(100)).await.unwrap_err();
        nodes.known_block(&schemas, &root, after(100)).await.unwrap_err();
    }
    let well = || {
        let health = nodes.health();
        health
            .iter()
            .all(|one| one.state == State::Ready && one.trouble.is_none())
    };
    assert!(well(), "{:?}", nodes.health());
    // What may be hard to answer, and what is only asked for in case.
    let (asking, making) = (&nodes, &schemas);
    let block = |deadline| async move {
        let wanted = BlockRequest {
            slot: 9,
            randao_reveal: [1; 96],
            graffiti: [0; 32],
            builder_boost_factor: None,
        };
        let asked = asking.produce_block(making, &wanted, deadline, |_| None, |_| {});
        asked.await.unwrap_err();
    };
    for _ in 0..3 {
        futures::join!(block(after(1300)), async {
            nodes.known_block(&schemas, &root, after(1300)).await.unwrap_err();
        });
        nodes.check(NOW_MS, soon()).await;
    }
    assert!(well(), "{:?}", nodes.health());
    for times in 1..=3 {
        futures::join!(
            async { nodes.attester_duties(1, &[3], after(1300)).await.unwrap_err() },
            async { nodes.validators(&[[5; 48]], after(1300)).await.unwrap_err() },
            async { nodes.committee(9, 0, after(1300)).await.unwrap_err() },
            async { nodes.submit_sync_messages(&[], after(1300)).await.unwrap_err() },
        );
        // It is told if it goes on; who answers how it is is not down for that.
        assert_eq!(nodes.health()[0].trouble.is_some(), times == 3);
        nodes.check(NOW_MS, soon()).await;
        assert!(nodes.is_ready());
    }
}

#[tokio::test]
async fn a_node_that_syncs_is_passed_over() {
    let behind = serve(7, |call| {
        let answer = match call.path() {
            "/eth/v1/node/syncing" => Some(syncing(true, 100, false)),
            DATA_PATH => Some(error(503, "Beacon node is currently syncing")),
            _ => None,
        };
        async move { answer }.boxed()
    })
    .await;
    let offline = serve(7, |call| {
        let answer = (call.path() == "/eth/v1/node/syncing").then(|| syncing(false, 0, true));
        async move { answer }.boxed()
    })
    .await;
    let ready = healthy(&[(DATA_PATH, vote_json(9))]).await;
    let nodes = connect(&[&behind, &offline, &ready]).await;
    let states: Vec<_> = nodes.health().into_iter().map(|one| one.state).collect();
    assert_eq!(states, [State::Syncing(100), State::Optimistic, State::Ready]);
    assert_eq!(attestation_data(&nodes, 9, soon()).await.unwrap().node, 2);

    let nodes = connect(&[&behind]).await;
    let failed = attestation_data(&nodes, 9, soon()).await.unwrap_err();
    let kind = &failed.errors[0].kind;
    assert_eq!(
        kind,
        &ErrorKind::Syncing("Beacon node is currently syncing".into())
    );
    assert!(failed.to_string().contains(&behind.url), "{failed}");
    assert!(failed.advice().contains("--beacon-node"));
}

/// The error of a node that answers so when asked for attestation data.
async fn answered(response: impl Fn() -> Response + Send + Sync + 'static) -> ErrorKind {
    let server = serve(7, move |call| {
        let answer = (call.path() == DATA_PATH).then(&response);
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let deadline = Instant::now() + Duration::from_secs(2);
    let failed = attestation_data(&nodes, 9, deadline).await.unwrap_err();
    failed.errors[0].kind.clone()
}

/// A body that never ends.
fn endless(piece: &'static [u8], pause: Duration) -> Body {
    Body::from_stream(futures::stream::repeat(()).then(move |()| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(Bytes::from_static(piece))
    }))
}

#[tokio::test]
async fn rubbish_is_an_error() {
    for body in ["", "null", "<html>", "{\"data\":{}}", "{\"data\":", "\u{0}"] {
        let kind = answered(move || body.into_response()).await;
        assert!(matches!(kind, ErrorKind::Malformed(_)), "{body}: {kind}");
    }
    // An answer to another question.
    for slot in [8, 10] {
        let kind = answered(move || vote_json(slot).to_string().into_response()).await;
        assert!(matches!(kind, ErrorKind::Malformed(_)), "{kind}");
    }
    let huge = answered(|| "x".repeat(1 << 20).into_response()).await;
    assert!(matches!(huge, ErrorKind::TooLarge(_)), "{huge}");
    let unending = answered(|| endless(&[b'x'; 4096], Duration::ZERO).into_response()).await;
    assert!(matches!(unending, ErrorKind::TooLarge(_)), "{unending}");
    let drip = answered(|| endless(b" ", Duration::from_millis(50)).into_response()).await;
    assert_eq!(drip, ErrorKind::Timeout);
    // So do bodies of errors.
    let failing = answered(|| {
        let body = endless(&[b'x'; 4096], Duration::ZERO);
        (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
    })
    .await;
    assert!(
        matches!(failing, ErrorKind::Status { status: 500, .. }),
        "{failing}"
    );
    // Nobody is followed elsewhere: credentials would be.
    let elsewhere =
        answered(|| (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response()).await;
    assert!(matches!(elsewhere, ErrorKind::Moved(_)), "{elsewhere}");
}

#[tokio::test]
async fn a_machine_that_is_off_is_verified_anew_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let nodes = Nodes::new(vec![client(&format!("http://{address}"))], Pinned::default());
    nodes.check(NOW_MS, soon()).await;
    let State::Down(error) = &nodes.health()[0].state else {
        panic!("{:?}", nodes.health());
    };
    assert!(matches!(error.kind, ErrorKind::Unreachable(_)), "{error}");
    let nothing = |_| async { None }.boxed();
    let listener = TcpListener::bind(address).await.unwrap();
    let server = serve_on(listener, node(7, nothing));
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.is_ready());
    drop(server);
    // The port may be taken for a moment.
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    // Something else at the same address: seen at the latest once the old connection has failed.
    let _server = serve_on(listener, node(8, nothing));
    for _ in 0..100 {
        nodes.check(NOW_MS, soon()).await;
        if let State::WrongNetwork(_) = nodes.health()[0].state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", nodes.health());
}

#[tokio::test]
async fn credentials_go_to_the_node_and_into_no_message() {
    let server = serve(7, |call| {
        let known = call.header("authorization") == "Basic YWRhOnMzY3JldA==" && call.header("x-key") == "k3y";
        async move { (!known).then(|| error(401, "who are you?")) }.boxed()
    })
    .await;
    let url = server.url.replace("http://", "http://ada:s3cret@");
    let node = Node::new(Address::new(&url, Some("X-Key: k3y")).unwrap()).unwrap();
    let nodes = Nodes::new(vec![node], Pinned::default());
    nodes.check(NOW_MS, soon()).await;
    assert!(nodes.is_ready());
    assert!(!format!("{:?}", nodes.health()).contains("s3cret"));
    let nodes = connect(&[&server]).await;
    let State::Down(error) = &nodes.health()[0].state else {
        panic!("{:?}", nodes.health());
    };
    assert_eq!(error.kind, ErrorKind::Credentials(401));
}

#[test]
fn nodes_that_differ_in_what_is_not_shown_are_told_apart() {
    let addresses = ["http://one/a", "http://two:1", "http://one/b", "http://one?key=c"];
    let nodes = addresses.map(client).to_vec();
    let health = Nodes::new(nodes, Pinned::default()).health();
    let names: Vec<&str> = health.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "http://one/...",
            "http://two:1",
            "http://one/... (2)",
            "http://one"
        ]
    );
}

#[tokio::test]
async fn older_endpoints_are_used_where_newer_ones_are_missing() {
    let pubkey = [5; 48];
    let status = json!({
        "index": "3", "balance": "32000000000", "status": "active_ongoing",
        "validator": {
            "pubkey": format!("0x{}", hex::encode(pubkey)), "effective_balance": "32000000000", "slashed": false,
            "activation_epoch": "0", "exit_epoch": "18446744073709551615",
        },
    });
    let duty = json!({ "pubkey": status["validator"]["pubkey"], "validator_index": "3", "slot": "9" });
    let root = format!("0x{}", "11".repeat(32));
    for missing in [404_u16, 405, 501] {
        let (status, duty, root) = (status.clone(), duty.clone(), root.clone());
        let server = serve(7, move |call| {
            let answer = match (call.method.as_str(), call.path()) {
                ("POST", "/eth/v1/beacon/states/head/validators")
                | ("GET", "/eth/v2/validator/duties/proposer/1") => {
                    Some(StatusCode::from_u16(missing).unwrap().into_response())
                }
                ("GET", "/eth/v1/beacon/states/head/validators") => {
                    assert_eq!(call.target.matches("0505").count(), 24);
                    Some(data(&json!([status])))
                }
                ("GET", "/eth/v1/validator/duties/proposer/1") => Some(
                    json!({ "dependent_root": root, "execution_optimistic": false, "data": [duty] })
                        .to_string()
                        .into_response(),
                ),
                _ => None,
            };
            async move { answer }.boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let found = nodes.validators(&[pubkey], soon()).await.unwrap().found;
        assert!(found[0].index == 3 && found[0].status == "active_ongoing");
        // A validator nobody asked for.
        assert!(nodes.validators(&[[6; 48]], soon()).await.is_err());
        let duties = nodes.proposer_duties(1, soon()).await.unwrap().remove(0).value;
        assert!(!duties.v2);
        assert_eq!(
            (duties.duties.data[0].slot, duties.duties.dependent_root),
            (9, [0x11; 32])
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_a_node_lacks_is_asked_for_three_times_and_again_when_it_may_be_there() {
    let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let away = Arc::new(AtomicBool::new(false));
    let version = Arc::new(AtomicUsize::new(0));
    let (counts, gone, is) = (asked.clone(), away.clone(), version.clone());
    let server = serve(7, move |call| {
        let answer = if gone.load(Ordering::SeqCst) {
            Some(error(401, "away"))
        } else {
            let key = format!("{} {}", call.method, call.path());
            *counts.lock().unwrap().entry(key).or_default() += 1;
            match (call.method.as_str(), call.path()) {
                ("GET", "/eth/v1/beacon/states/head/validators") => Some(data(&json!([]))),
                (_, "/eth/v1/node/version") => Some(data(
                    &json!({ "version": format!("Test/v{}", is.load(Ordering::SeqCst)) }),
                )),
                // Some say this of a request that they do not know.
                (_, path) if path.ends_with("/committees") => Some(error(404, "NOT_FOUND")),
                _ => None,
            }
        };
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let all = async || {
        for slot in 8..28 {
            assert!(nodes.committee(slot, 0, soon()).await.unwrap_err().is_not_found());
            assert!(
                nodes
                    .sync_committee(slot / 8, soon())
                    .await
                    .unwrap_err()
                    .is_not_found()
            );
            nodes.validators(&[[5; 48]], soon()).await.unwrap();
            nodes.proposer_duties(slot / 8, soon()).await.unwrap_err();
            nodes
                .votes(slot / 8, &[1], Duration::from_secs(20))
                .await
                .unwrap_err();
            nodes
                .liveness(slot / 8, &[1], Duration::from_secs(20))
                .await
                .unwrap_err();
            // What is needed is asked for each time, and so is what is not there each time: that says nothing of the next one.
            nodes
                .aggregate_attestation(&vote(slot), 0, soon())
                .await
                .unwrap_err();
        }
    };
    let count = |part: &str| {
        let asked = asked.lock().unwrap();
        asked
            .iter()
            .filter(|(key, _)| key.contains(part))
            .map(|(_, count)| count)
            .sum::<usize>()
    };
    let lacked = [
        "POST /eth/v1/beacon/states/head/validators",
        "GET /eth/v2/validator/duties/proposer/",
        "/rewards/attestations/",
        "/validator/liveness/",
    ];
    let needed = [
        "/aggregate_attestation",
        "GET /eth/v1/validator/duties/proposer/",
        // Without these anything would pass.
        "/states/head/committees",
        "/states/head/sync_committees",
    ];
    for times in 1..=5 {
        all().await;
        nodes.check(NOW_MS + 4000, soon()).await;
        // In a new epoch it is asked once more.
        let expected = [3, 6, 9, 12, 13][times - 1];
        for part in lacked {
            assert_eq!(count(part), expected, "{part} {times}");
        }
        for part in needed {
            assert_eq!(count(part), times * 20, "{part}");
        }
        match times {
            // It was away when it was looked at,
            1 => {
                away.store(true, Ordering::SeqCst);
                nodes.check(NOW_MS, soon()).await;
                away.store(false, Ordering::SeqCst);
            }
            // or when it was asked for something,
            2 => {
                let failed = nodes.first("x", soon(), FAIR, |node| async move {
                    Err::<(), _>(node.error("x", ErrorKind::Unreachable("refused".to_owned())))
                });
                failed.await.unwrap_err();
            }
            // is another version now,
            3 => {
                version.store(1, Ordering::SeqCst);
                for _ in 0..64 {
                    nodes.check(NOW_MS, soon()).await;
                }
                assert_eq!(nodes.health()[0].version, "Test/v1");
            }
            // or a new epoch has begun.
            _ => nodes.check(NOW_MS + EPOCH_MS, soon()).await,
        }
        nodes.check(NOW_MS + 4000, soon()).await;
    }
}

#[tokio::test]
async fn numbers_without_quotes_and_byte_order_marks_are_read_and_what_cannot_be_read_is_named() {
    type Answer = fn() -> Response;
    let says = |answer: Answer| {
        serve(7, move |call| {
            let answer = (call.path() == "/eth/v1/node/syncing").then(answer);
            async move { answer }.boxed()
        })
    };
    let read: [Answer; 2] = [
        || {
            let syncing = json!({ "head_slot": 4, "sync_distance": 0, "is_syncing": false });
            data(&syncing)
        },
        || {
            let syncing = json!({ "head_slot": "4", "sync_distance": "0", "is_syncing": false });
            format!("\u{feff}{}", json!({ "data": syncing })).into_response()
        },
    ];
    for answer in read {
        let server = says(answer).await;
        let nodes = connect(&[&server]).await;
        let health = &nodes.health()[0];
        assert_eq!((&health.state, health.head_slot), (&State::Ready, 4));
    }
    let named: [(Answer, &str); 4] = [
        (
            || {
                let gzip = [("content-encoding", "gzip")];
                (StatusCode::INTERNAL_SERVER_ERROR, gzip, vec![0x1f, 0x8b, 8]).into_response()
            },
            "compressed (gzip)",
        ),
        (|| "<html>welcome</html>".into_response(), "web page"),
        (
            || ([("content-encoding", "gzip")], vec![0x1f, 0x8b, 8]).into_response(),
            "compressed (gzip)",
        ),
        (
            || {
                let moved = [("location", "https://b.example/eth/v1/node/syncing")];
                (StatusCode::PERMANENT_REDIRECT, moved, "<html>moved</html>").into_response()
            },
            "https://b.example",
        ),
    ];
    for (answer, said) in named {
        let server = says(answer).await;
        let nodes = connect(&[&server]).await;
        let text = nodes.health()[0].state.text();
        assert!(text.contains(said) && !text.contains('<'), "{text}");
        // A stream of events is an answer, too.
        let server = serve(7, move |call| {
            let stream = (call.path() == "/eth/v1/events").then(|| {
                let mut answer = answer();
                if said == "web page" {
                    let kind = "text/html; charset=utf-8".parse().unwrap();
                    answer.headers_mut().insert("content-type", kind);
                }
                answer
            });
            async move { stream }.boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let mut events = Events::open(&nodes, Duration::from_secs(20));
        let lost = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        let Some(News::Lost(error)) = lost.unwrap().map(|event| event.news) else {
            panic!("{said}");
        };
        let text = error.to_string();
        assert!(text.contains(said) && !text.contains('<'), "{text}");
    }
}

/// A server that lacks this endpoint, with a status, and ends every stream of events at once; and how often it was asked for it.
async fn without(part: &'static str, status: u16) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = serve(7, move |call| {
        let answer = if call.path().contains(part) {
            counter.fetch_add(1, Ordering::SeqCst);
            Some(error(status, "no such route"))
        } else {
            let stream = call.path() == "/eth/v1/events";
            stream.then(|| ([("content-type", "text/event-stream")], "").into_response())
        };
        async move { answer }.boxed()
    })
    .await;
    (server, asked)
}

#[tokio::test]
async fn what_is_asked_twice_an_epoch_is_seen_to_be_lacking_after_three_times_too() {
    let (server, asked) = without("/validator/liveness/", 404).await;
    let nodes = connect(&[&server]).await;
    for (epoch, times) in [2, 3, 4, 5].into_iter().enumerate() {
        nodes.check(NOW_MS + EPOCH_MS * epoch as u64, soon()).await;
        for _ in 0..2 {
            let patience = Duration::from_secs(20);
            nodes.liveness(1, &[1], patience).await.unwrap_err();
        }
        assert_eq!(asked.load(Ordering::SeqCst), times, "{epoch}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_all_the_time_makes_nothing_asked_for_again() {
    let (server, asked) = without("/validator/liveness/", 404).await;
    let nodes = connect(&[&server]).await;
    let mut events = Events::open(&nodes, Duration::from_secs(20));
    let mut broken = 0;
    for _ in 0..6 {
        let patience = Duration::from_secs(20);
        nodes.liveness(1, &[1], patience).await.unwrap_err();
        nodes.liveness(1, &[1], patience).await.unwrap_err();
        if broken < 3 {
            while !matches!(events.next().await.unwrap().news, News::Lost(_)) {}
            broken += 1;
        }
    }
    assert_eq!((asked.load(Ordering::SeqCst), broken), (3, 3));
}

#[tokio::test]
async fn blocks_that_a_node_tells_in_one_form_only_are_asked_for_in_that_form_soon() {
    let chain = crate::testing::chain("minimal");
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    for status in [405, 501] {
        let (server, asked) = without("/blinded_blocks/", status).await;
        let nodes = connect(&[&server]).await;
        for root in 0..6 {
            nodes
                .known_block(&schemas, &[root; 32], soon())
                .await
                .unwrap_err();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 3, "{status}");
    }
}

#[tokio::test]
async fn a_node_that_fails_slowly_is_not_asked_for_the_same_block_again() {
    let chain = crate::testing::chain("minimal");
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    for (status, waits, times) in [(500, 0, 2), (500, 1500, 1), (504, 1500, 1), (406, 1500, 2)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let server = serve(7, move |call| {
            let makes = call.path().starts_with("/eth/v3/validator/blocks/");
            if makes {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            async move {
                if makes {
                    tokio::time::sleep(Duration::from_millis(waits)).await;
                }
                makes.then(|| error(status, "the builder does not answer"))
            }
            .boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        // A busy machine may make slow what is quick.
        for _ in 0..50 {
            asked.store(0, Ordering::SeqCst);
            let began = Instant::now();
            produce(&nodes, &schemas, 17, [0; 96], None).await.0.unwrap_err();
            if waits > 0 || began.elapsed() < Duration::from_millis(400) {
                break;
            }
        }
        assert_eq!(asked.load(Ordering::SeqCst), times, "{status} {waits}");
    }
}

#[tokio::test]
async fn what_a_node_says_it_lacks_once_or_twice_is_asked_for_again() {
    let answers = Arc::new(AtomicUsize::new(0));
    let counter = answers.clone();
    let server = serve(7, move |call| {
        let posted = call.method == "POST" && call.path() == "/eth/v1/beacon/states/head/validators";
        let answer = posted.then(|| match counter.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => data(&json!([])),
            _ => error(404, "no such route"),
        });
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    for times in 1..=30 {
        let _ = nodes.validators(&[[5; 48]], soon()).await;
        assert_eq!(answers.load(Ordering::SeqCst), times);
    }
}

#[tokio::test]
async fn duties_that_cannot_be_are_refused() {
    let good = json!({
        "pubkey": format!("0x{}", "05".repeat(48)), "validator_index": "3", "committee_index": "1",
        "committee_length": "4", "committees_at_slot": "2", "validator_committee_index": "3", "slot": "9",
    });
    let body = Arc::new(Mutex::new(Value::Null));
    let shown = body.clone();
    let server = serve(7, move |call| {
        let body = shown.lock().unwrap().to_string();
        let answer = call.path().contains("/duties/").then(|| body.into_response());
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let root = format!("0x{}", "11".repeat(32));
    let mut cases = vec![("", Value::Null, true)];
    for (key, value) in [
        ("slot", "7"),
        ("slot", "16"),
        ("validator_index", "4"),
        ("committee_index", "2"),
        ("committees_at_slot", "5"),
        ("validator_committee_index", "4"),
        ("committee_length", "99999"),
    ] {
        cases.push((key, value.into(), false));
    }
    for (key, value, fits) in cases {
        let mut duty = good.clone();
        if !key.is_empty() {
            duty[key] = value;
        }
        *body.lock().unwrap() = json!({ "dependent_root": root, "data": [duty] });
        assert_eq!(
            nodes.attester_duties(1, &[3], soon()).await.is_ok(),
            fits,
            "{key}"
        );
    }
    *body.lock().unwrap() = json!({ "dependent_root": root, "data": [good, good] });
    assert!(nodes.attester_duties(1, &[3], soon()).await.is_err());
    let sync = |place: &str| {
        json!({ "data": [{ "pubkey": good["pubkey"], "validator_index": "3",
            "validator_sync_committee_indices": ["0", place] }] })
    };
    *body.lock().unwrap() = sync("31");
    let duties = nodes.sync_duties(1, &[3], soon()).await.unwrap().remove(0).value;
    assert_eq!(duties[0].validator_sync_committee_indices, [0, 31]);
    *body.lock().unwrap() = sync("32");
    assert!(nodes.sync_duties(1, &[3], soon()).await.is_err());
}

#[tokio::test]
async fn submissions_go_to_all_and_one_acceptance_is_enough() {
    const PATH: &str = "/eth/v1/beacon/pool/sync_committees";
    let refusing = || {
        serve(7, |call| {
            let answer = (call.path() == PATH).then(|| {
                let failures = json!([{ "index": 0, "message": "too old" }]);
                let body = json!({ "code": 400, "message": "some failed", "failures": failures });
                (StatusCode::BAD_REQUEST, body.to_string()).into_response()
            });
            async move { answer }.boxed()
        })
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let taking = serve(7, move |call| {
        let mine = call.path() == PATH;
        if mine {
            log.lock().unwrap().push(call.body.to_vec());
        }
        async move { mine.then(|| StatusCode::OK.into_response()) }.boxed()
    })
    .await;
    let (first, second) = (refusing().await, refusing().await);
    let messages = [SyncCommitteeMessage {
        slot: 9,
        beacon_block_root: [1; 32],
        validator_index: 3,
        signature: [4; 96],
    }];
    let nodes = connect(&[&first, &taking]).await;
    let done = nodes.submit_sync_messages(&messages, soon()).await.unwrap();
    assert_eq!((done.accepted.len(), done.accepted[0].node), (1, 1));
    let ErrorKind::Status { failures, .. } = &done.refused[0].kind else {
        panic!("{:?}", done.refused);
    };
    assert_eq!(failures, &[(0, "too old".to_owned())]);
    let sent: Vec<SyncCommitteeMessage> = serde_json::from_slice(&seen.lock().unwrap()[0]).unwrap();
    assert_eq!(sent, messages);
    let nodes = connect(&[&first, &second]).await;
    let failed = nodes.submit_sync_messages(&messages, soon()).await.unwrap_err();
    assert_eq!(failed.errors.len(), 2);
}

/// A block of the vectors, and its contents with as many blobs and proofs as it needs.
fn block(schemas: &BlockSchemas, fork: Fork, slot: u64, blinded: bool) -> (Block, Option<Blobs>) {
    let vector = &vectors("minimal")["blocks"][fork.name()];
    let key = if blinded { "blinded" } else { "full" };
    let mut ssz = unhex(&vector[key]["ssz"]);
    // The slot is the first field.
    ssz[..8].copy_from_slice(&slot.to_le_bytes());
    let block = schemas.block(fork, blinded, ssz).unwrap();
    let each = if fork == Fork::Fulu { 128 } else { 1 };
    let blobs = Blobs {
        proofs: vec![1; 48 * each * block.commitments],
        blobs: vec![2; 131_072 * block.commitments],
    };
    (block, (!blinded).then_some(blobs))
}

/// Asks for a block, and gives what was told meanwhile, too.
async fn produce(
    nodes: &Nodes,
    schemas: &Arc<BlockSchemas>,
    slot: u64,
    randao_reveal: [u8; 96],
    builder_boost_factor: Option<u64>,
) -> (Result<Produced, AllFailed>, Vec<BlockTrouble>) {
    let told = Mutex::new(Vec::new());
    let wanted = BlockRequest {
        slot,
        randao_reveal,
        graffiti: [b'g'; 32],
        builder_boost_factor,
    };
    let tell = |trouble| told.lock().unwrap().push(trouble);
    let produced = nodes
        .produce_block(schemas, &wanted, soon(), |_| None, tell)
        .await
        .map(|found| found.value);
    (produced, told.into_inner().unwrap())
}

/// A block in JSON, as it is asked for.
fn block_json(schemas: &BlockSchemas, block: &Block, blobs: Option<&Blobs>) -> Value {
    let signed = schemas.signed_json(block, blobs, &[6; 96]).unwrap();
    if block.blinded {
        return signed["message"].clone();
    }
    json!({
        "block": signed["signed_block"]["message"], "kzg_proofs": signed["kzg_proofs"], "blobs": signed["blobs"],
    })
}

/// Headers and body of an answer.
type Sent = (Vec<(&'static str, String)>, Vec<u8>);

/// What a node says beside a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Right,
    Missing,
    Wrong,
}

#[tokio::test]
async fn a_block_counts_whatever_else_its_answer_says_or_leaves_out() {
    use Beside::{Missing, Right, Wrong};
    let chain = crate::testing::chain("minimal");
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    let current: Arc<Mutex<Sent>> = Arc::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let (given, count) = (current.clone(), asked.clone());
    let server = serve(7, move |call| {
        let answer = call.path().starts_with("/eth/v3/validator/blocks/").then(|| {
            count.fetch_add(1, Ordering::Relaxed);
            let (headers, body) = given.lock().unwrap().clone();
            let mut answer = Response::new(Body::from(body));
            for (name, value) in headers {
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
            answer
        });
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    // A blinded block of slot 12 begins as contents do, one of slot 0x227b as an object in JSON, those of the next ones as a web page, and
    // the last one as a byte order mark.
    let like_texts = [0x227b, 0x3c, 0x613c, 0x0061_3c20, 0x00bf_bbef].map(|slot| (slot, true));
    for (slot, blinded) in [(17, false), (12, true), (12, false)]
        .into_iter()
        .chain(like_texts)
    {
        let fork = if slot < 16 { Fork::Electra } else { Fork::Fulu };
        let (block, blobs) = block(&schemas, fork, slot, blinded);
        let ssz = match &blobs {
            Some(blobs) => BlockSchemas::contents_ssz(&block, blobs),
            None => block.ssz.clone(),
        };
        let data = block_json(&schemas, &block, blobs.as_ref());
        let versions = |said: Beside| match said {
            Right => vec![Some(fork.name().to_owned()), Some(fork.name().to_uppercase())],
            Missing => vec![None],
            Wrong => ["gloas", ""].map(|wrong| Some(wrong.to_owned())).to_vec(),
        };
        let kinds = |said: Beside| match said {
            Right => Some(blinded.to_string()),
            Missing => None,
            Wrong => Some((!blinded).to_string()),
        };
        let all = [Right, Missing, Wrong];
        let said = all.into_iter().flat_map(|fork| all.map(|kind| (fork, kind)));
        for ((of_fork, of_kind), is_ssz) in said.flat_map(|said| [(said, true), (said, false)]) {
            for (version, media) in versions(of_fork).into_iter().flat_map(|version| {
                [
                    (Some("application/octet-stream"), Some(true)),
                    (Some("application/json"), Some(false)),
                    (Some("text/plain"), None),
                    (None, None),
                ]
                .map(|media| (version.clone(), media))
            }) {
                let (media_type, says_ssz) = media;
                let kind = kinds(of_kind);
                let what = format!("{slot} {blinded} {is_ssz} {version:?} {kind:?} {media_type:?}");
                let mut headers: Vec<(&str, String)> = Vec::new();
                headers.extend(media_type.map(|kind| ("content-type", kind.to_owned())));
                let body = if is_ssz {
                    let sent = version
                        .clone()
                        .filter(|version| !version.contains(char::is_control));
                    headers.extend(sent.map(|version| ("eth-consensus-version", version)));
                    headers.extend(kind.map(|kind| ("eth-execution-payload-blinded", kind)));
                    ssz.clone()
                } else {
                    let kind = kind.map_or(Value::Null, |kind| json!(kind == "true"));
                    let mut answer =
                        json!({ "version": version, "execution_payload_blinded": kind, "data": data });
                    if of_kind == Missing && of_fork == Missing {
                        answer = json!({ "data": data });
                    }
                    answer.to_string().into_bytes()
                };
                *current.lock().unwrap() = (headers, body);
                asked.store(0, Ordering::Relaxed);
                let (produced, told) = produce(&nodes, &schemas, slot, block.randao_reveal, None).await;
                let produced = produced.unwrap_or_else(|failed| panic!("{what}: {failed}"));
                assert_eq!((&produced.block, &produced.blobs), (&block, &blobs), "{what}");
                // Nobody builds twice for this, and all of it is told at once.
                assert_eq!(asked.load(Ordering::Relaxed), 1, "{what}");
                let named_wrong = says_ssz.is_some_and(|said| said != is_ssz);
                let odd = of_fork != Right || of_kind != Right || named_wrong;
                let expected = |text: &str| {
                    let (of_version, of_blinded) = if is_ssz {
                        ("Eth-Consensus-Version", "Eth-Execution-Payload-Blinded")
                    } else {
                        ("version", "execution_payload_blinded")
                    };
                    text.contains(of_version) == (of_fork != Right)
                        && text.contains(of_blinded) == (of_kind != Right)
                        && text.contains("Content-Type") == named_wrong
                };
                match &told[..] {
                    [] => assert!(!odd, "{what}"),
                    [BlockTrouble::Odd { why, .. }] => assert!(odd && expected(why), "{what}: {why}"),
                    other => panic!("{what}: {other:?}"),
                }
            }
        }
        // Even what should be true or false, and is text.
        let text = json!({ "version": 7, "execution_payload_blinded": blinded.to_string(), "data": data });
        *current.lock().unwrap() = (Vec::new(), text.to_string().into_bytes());
        let (produced, told) = produce(&nodes, &schemas, slot, block.randao_reveal, None).await;
        assert_eq!((produced.unwrap().block, told.len()), (block, 1));
    }
}

#[tokio::test]
async fn a_block_that_a_node_cannot_give_in_ssz_is_asked_for_as_json() {
    let chain = crate::testing::chain("minimal");
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    let (block, blobs) = block(&schemas, Fork::Fulu, 17, false);
    let ssz = BlockSchemas::contents_ssz(&block, blobs.as_ref().unwrap());
    let data = block_json(&schemas, &block, blobs.as_ref());
    let answer = json!({ "version": "fulu", "execution_payload_blinded": false, "data": data }).to_string();
    let cut = ssz[..ssz.len() - 1].to_vec();
    let mut answers = vec![(200, cut.clone()), (200, Vec::new()), (200, vec![b'{'; 9])];
    for status in [302, 400, 405, 406, 415, 422, 429, 500, 501, 502, 504] {
        answers.push((status, Vec::new()));
        answers.push((
            status,
            br#"{"code":400,"message":"unsupported accept header"}"#.to_vec(),
        ));
    }
    for ((status, body), kind) in answers
        .into_iter()
        .flat_map(|answer| [(answer.clone(), Some("application/octet-stream")), (answer, None)])
    {
        let (json, sent) = (answer.clone(), body.clone());
        let server = serve(7, move |call| {
            let given = call.path().starts_with("/eth/v3/validator/blocks/").then(|| {
                if call.header("accept") == "application/json" {
                    return json.clone().into_response();
                }
                let mut answer = Response::new(Body::from(sent.clone()));
                *answer.status_mut() = StatusCode::from_u16(status).unwrap();
                if let Some(kind) = kind {
                    answer.headers_mut().insert("content-type", kind.parse().unwrap());
                }
                answer
            });
            async move { given }.boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let what = format!("{status} {} {kind:?}", body.len());
        let (produced, told) = produce(&nodes, &schemas, 17, block.randao_reveal, None).await;
        let produced = produced.unwrap_or_else(|failed| panic!("{what}: {failed}"));
        assert_eq!((&produced.block, &produced.blobs), (&block, &blobs), "{what}");
        // JSON without a media type has the right one here.
        assert!(
            matches!(told[..], [BlockTrouble::AskedAgain(_)]),
            "{what}: {told:?}"
        );
    }
}

#[tokio::test]
async fn a_node_that_hangs_when_it_is_to_make_or_show_a_block_is_told_of_and_the_other_asked_first() {
    let chain = crate::testing::chain("minimal");
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    let (block, blobs) = block(&schemas, Fork::Fulu, 17, false);
    let ssz = BlockSchemas::contents_ssz(&block, blobs.as_ref().unwrap());
    let (root, shown) = header(9, 1);
    let calls: [Arc<AtomicUsize>; 2] = Default::default();
    let server = |place: usize| {
        let (calls, ssz, shown) = (calls[place].clone(), ssz.clone(), shown.to_string());
        serve(7, move |call| {
            let path = call.path();
            let (made, is_header) = (path.starts_with("/eth/v3/"), path.contains("/beacon/headers/0x"));
            let is_block = made || is_header || path.contains("blocks/");
            calls.fetch_add(usize::from(is_block), Ordering::Relaxed);
            let answer = if made {
                Some(ssz.clone().into_response())
            } else {
                is_header.then(|| shown.clone().into_response())
            };
            async move {
                if is_block && place == 0 {
                    std::future::pending::<()>().await;
                }
                answer
            }
            .boxed()
        })
    };
    let (hangs, good) = (server(0).await, server(1).await);
    let nodes = connect(&[&hangs, &good]).await;
    let asked = || calls[0].swap(0, Ordering::Relaxed);
    for _ in 0..2 {
        let (made, told) = produce(&nodes, &schemas, 17, block.randao_reveal, None).await;
        assert_eq!((made.unwrap().block, asked()), (block.clone(), 1));
        // In that slot somebody can still do something about it.
        let slower = |one: &BlockTrouble| matches!(one, BlockTrouble::Failed(error) if error.kind == ErrorKind::Overtaken && hangs.url.ends_with(&error.node[7..]));
        assert_eq!(told.iter().filter(|one| slower(one)).count(), 1, "{told:?}");
        nodes.known_block(&schemas, &root, soon()).await.unwrap();
        nodes.header(&root, soon()).await.unwrap();
        assert_eq!(asked(), 2);
        // Until the next check the other one is asked first, and answers at once.
        let (made, told) = produce(&nodes, &schemas, 17, block.randao_reveal, None).await;
        assert!(made.is_ok() && !told.iter().any(slower), "{told:?}");
        nodes.known_block(&schemas, &root, soon()).await.unwrap();
        nodes.header(&root, soon()).await.unwrap();
        assert_eq!(asked(), 0);
        for _ in 0..2 {
            nodes.check(NOW_MS, soon()).await;
        }
        assert!(
            nodes
                .health()
                .iter()
                .all(|one| one.state == State::Ready && one.trouble.is_none())
        );
    }
    let (made, _) = produce(&nodes, &schemas, 17, block.randao_reveal, None).await;
    assert!(made.is_ok());
    assert_eq!(nodes.health()[0].trouble.clone().unwrap().request, "block");
}

#[tokio::test]
async fn a_block_of_the_chain_is_asked_for_in_every_form_and_nobody_can_lie_about_it() {
    let chain = crate::testing::chain("minimal");
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    let (full, _) = block(&schemas, Fork::Fulu, 17, false);
    let (blinded, _) = block(&schemas, Fork::Fulu, 17, true);
    let (other, _) = block(&schemas, Fork::Fulu, 18, true);
    let root = full.root();
    assert_eq!(blinded.root(), root);
    let ssz = |block: &Block| Some((true, BlockSchemas::signed_ssz(block, None, &[6; 96])));
    let json = |block: &Block| {
        let message = if block.blinded {
            block_json(&schemas, block, None)
        } else {
            let (whole, blobs) = self::block(&schemas, Fork::Fulu, 17, false);
            block_json(&schemas, &whole, blobs.as_ref())["block"].clone()
        };
        let signature = format!("0x{}", "06".repeat(96));
        let answer = json!({ "version": null, "data": { "message": message, "signature": signature } });
        Some((false, answer.to_string().into_bytes()))
    };
    let header = |block: &Block| {
        let answer = json!({ "data": {
            "root": format!("0x{}", hex::encode(block.root())), "canonical": null,
            "header": { "message": block.header, "signature": "0x" },
        } });
        Some((false, answer.to_string().into_bytes()))
    };
    let mislabelled = |block: &Block, is_ssz| {
        let (_, bytes) = if is_ssz { ssz(block) } else { json(block) }?;
        Some((!is_ssz, bytes))
    };
    let rubbish = || Some((true, vec![7; 200]));
    let whole = |block: &Block| Some(KnownBlock::Whole(Box::new(block.clone())));
    let only_header = Some(KnownBlock::Header(full.header));
    for (what, forms, expected) in [
        (
            "blinded",
            [ssz(&blinded), ssz(&full), header(&full)],
            whole(&blinded),
        ),
        ("blinded in JSON", [json(&blinded), None, None], whole(&blinded)),
        ("full", [None, ssz(&full), None], whole(&full)),
        ("full in JSON", [rubbish(), json(&full), None], whole(&full)),
        (
            "SSZ called JSON",
            [mislabelled(&blinded, true), None, None],
            whole(&blinded),
        ),
        (
            "JSON called SSZ",
            [mislabelled(&blinded, false), None, None],
            whole(&blinded),
        ),
        ("a header", [None, None, header(&full)], only_header.clone()),
        (
            "rubbish, and a header",
            [rubbish(), rubbish(), header(&full)],
            only_header,
        ),
        ("another block", [ssz(&other), None, header(&other)], None),
        ("nothing", [None, None, None], None),
    ] {
        let found_nowhere = forms.iter().all(Option::is_none);
        let server = serve(7, move |call| {
            let kinds = [
                "/eth/v1/beacon/blinded_blocks/",
                "/eth/v2/beacon/blocks/",
                "/eth/v1/beacon/headers/",
            ];
            let kind = kinds.iter().position(|kind| call.path().starts_with(kind));
            let answer = kind.map(|kind| match &forms[kind] {
                None => error(404, "Block not found"),
                Some((is_ssz, body)) => {
                    let kind = if *is_ssz {
                        "application/octet-stream"
                    } else {
                        "application/json"
                    };
                    ([("content-type", kind)], body.clone()).into_response()
                }
            });
            async move { answer }.boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let found = nodes.known_block(&schemas, &root, soon()).await;
        if found_nowhere {
            assert!(found.as_ref().unwrap_err().is_not_found());
        }
        assert_eq!(found.ok().map(|found| found.value), expected, "{what}");
    }
}

#[tokio::test]
async fn blocks_come_as_ssz_or_json_and_go_the_same_way() {
    // Slot 9 is of Electra, slot 17 of Fulu.
    let chain = crate::testing::chain("minimal");
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    let (electra, blobs) = block(&schemas, Fork::Electra, 9, false);
    let (fulu, _) = block(&schemas, Fork::Fulu, 17, true);
    let contents = BlockSchemas::contents_ssz(&electra, blobs.as_ref().unwrap());
    let blinded = fulu.ssz.clone();
    let signed = schemas.signed_json(&electra, blobs.as_ref(), &[6; 96]).unwrap();
    let json_contents = json!({
        "block": signed["signed_block"]["message"], "kzg_proofs": signed["kzg_proofs"], "blobs": signed["blobs"],
    });
    let published = Arc::new(Mutex::new(Vec::new()));
    let log = published.clone();
    let server = serve(7, move |call| {
        let ssz = |fork, blinded, bytes: &[u8]| {
            let headers = [
                ("content-type", "application/octet-stream"),
                ("eth-consensus-version", fork),
                ("eth-execution-payload-blinded", blinded),
            ];
            Some((headers, bytes.to_vec()).into_response())
        };
        let json = |fork: &str, data: &Value| {
            let body = json!({ "version": fork, "execution_payload_blinded": false, "data": data });
            Some(body.to_string().into_response())
        };
        let boost = call.target.split("builder_boost_factor=").nth(1);
        let answer = match (call.path(), boost) {
            ("/eth/v3/validator/blocks/9", Some("0")) => {
                assert!(call.target.contains("randao_reveal=0x") && call.target.contains("graffiti=0x6767"));
                assert!(call.header("accept").starts_with("application/octet-stream"));
                ssz("electra", "false", &contents)
            }
            ("/eth/v3/validator/blocks/9", Some("1")) => json("electra", &json_contents),
            ("/eth/v3/validator/blocks/9", Some("2")) => json("gloas", &json_contents),
            ("/eth/v3/validator/blocks/9", Some("3")) => ssz("fulu", "false", &contents),
            ("/eth/v3/validator/blocks/9", Some("5")) => ssz("electra", "false", &contents[1..]),
            ("/eth/v3/validator/blocks/10", _) => ssz("electra", "false", &contents),
            ("/eth/v3/validator/blocks/17", None) => ssz("fulu", "true", &blinded),
            ("/eth/v2/beacon/blocks", _) => {
                assert_eq!(call.header("eth-consensus-version"), "electra");
                Some(match call.header("content-type") {
                    "application/json" => {
                        log.lock().unwrap().push(call.body.to_vec());
                        StatusCode::ACCEPTED.into_response()
                    }
                    _ => StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response(),
                })
            }
            ("/eth/v2/beacon/blinded_blocks", _) => {
                assert_eq!(call.header("content-type"), "application/octet-stream");
                log.lock().unwrap().push(call.body.to_vec());
                Some(StatusCode::OK.into_response())
            }
            _ => None,
        };
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let ask = |slot, boost| {
        let randao = if slot == 17 { &fulu } else { &electra }.randao_reveal;
        let (nodes, schemas) = (nodes.clone(), schemas.clone());
        async move { produce(&nodes, &schemas, slot, randao, boost).await }
    };
    for boost in [0, 1] {
        let (produced, told) = ask(9, Some(boost)).await;
        let produced = produced.unwrap();
        assert_eq!((&produced.block, &produced.blobs), (&electra, &blobs));
        assert_eq!(told, []);
    }
    // Another fork than the slot's is a slip of the pen if the bytes are right.
    for boost in [2, 3] {
        let (produced, told) = ask(9, Some(boost)).await;
        assert_eq!(produced.unwrap().block, electra);
        assert!(
            matches!(&told[..], [BlockTrouble::Odd { why, .. }] if why.contains("ersion is wrong")),
            "{told:?}"
        );
    }
    // Broken; a block of another slot.
    for boost in [5] {
        let (failed, told) = ask(9, Some(boost)).await;
        let failed = failed.unwrap_err();
        assert!(
            matches!(failed.errors[0].kind, ErrorKind::Malformed(_)),
            "{boost}: {failed}"
        );
        assert_eq!(told.last(), Some(&BlockTrouble::Failed(failed.errors[0].clone())));
    }
    ask(10, None).await.0.unwrap_err();
    let produced = ask(17, None).await.0.unwrap();
    assert_eq!((produced.block.clone(), produced.blobs), (fulu.clone(), None));

    let done = nodes
        .publish_block(&schemas, &electra, blobs.as_ref(), &[6; 96], soon())
        .await;
    assert_eq!(done.unwrap().accepted[0].value, Published::Broadcast);
    let sent: Value = serde_json::from_slice(&published.lock().unwrap()[0]).unwrap();
    assert_eq!(sent, signed);
    let done = nodes.publish_block(&schemas, &fulu, None, &[6; 96], soon()).await;
    assert_eq!(done.unwrap().accepted[0].value, Published::Imported);
    let sent = published.lock().unwrap()[1].clone();
    assert_eq!(sent, BlockSchemas::signed_ssz(&fulu, None, &[6; 96]));
}

#[tokio::test]
async fn what_nobody_has_is_told_apart_from_failure() {
    let server = serve(7, |call| {
        let answer = match call.path() {
            path if path.starts_with("/eth/v1/beacon/headers/0x") => Some(error(404, "Block not found")),
            "/eth/v1/beacon/blocks/head/root" => Some(error(500, "out of memory")),
            "/eth/v1/beacon/pool/voluntary_exits" => {
                let exit = SignedVoluntaryExit::from_json(&call.body).unwrap();
                Some(
                    (if exit.message.epoch == 0 {
                        StatusCode::OK
                    } else {
                        StatusCode::BAD_REQUEST
                    })
                    .into_response(),
                )
            }
            _ => None,
        };
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let failed = nodes.header(&[1; 32], soon()).await.unwrap_err();
    assert!(failed.is_not_found(), "{failed}");
    assert!(
        nodes
            .head_root(soon())
            .await
            .is_err_and(|failed| !failed.is_not_found())
    );
    let exit = |epoch| SignedVoluntaryExit {
        message: VoluntaryExit {
            epoch,
            validator_index: 1,
        },
        signature: [0; 96],
    };
    nodes.submit_exit(&exit(0), soon()).await.unwrap();
    nodes.submit_exit(&exit(1), soon()).await.unwrap_err();
}

fn head_event(slot: u64, root: u8) -> String {
    let root = format!("0x{}", hex::encode([root; 32]));
    let head = json!({
        "slot": slot.to_string(), "block": root, "state": root, "epoch_transition": false,
        "previous_duty_dependent_root": root, "current_duty_dependent_root": root,
    });
    format!("event: head\ndata: {head}\n\n")
}

#[tokio::test]
async fn heads_of_a_node_that_catches_up_do_not_count_while_another_is_in_step() {
    let telling = |root: u8, behind: u64| {
        serve(7, move |call| {
            let answer = match call.path() {
                "/eth/v1/node/syncing" => Some(syncing(behind > 0, behind, false)),
                "/eth/v1/events" => {
                    let event = Bytes::from(head_event(9, root));
                    let begin = futures::stream::iter([Ok::<_, std::io::Error>(event)]);
                    let body = Body::from_stream(begin.chain(futures::stream::pending()));
                    Some(([("content-type", "text/event-stream")], body).into_response())
                }
                _ => None,
            };
            async move { answer }.boxed()
        })
    };
    let (late, good) = (telling(1, 1000).await, telling(2, 0).await);
    for (servers, expected) in [(vec![&late, &good], 1), (vec![&late], 0)] {
        let nodes = connect(&servers).await;
        let mut events = Events::open(&nodes, Duration::from_secs(20));
        let (mut connected, mut heads) = (0, Vec::new());
        while connected < servers.len() || heads.is_empty() {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next());
            let event = event.await.unwrap().unwrap();
            match event.news {
                News::Connected => connected += 1,
                News::Head(head) => heads.push((event.node, head.slot)),
                News::Lost(error) => panic!("{error}"),
            }
        }
        // What the other one says comes at once, if at all.
        let more = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
        assert!(more.is_err(), "{more:?}");
        assert_eq!(heads, [(expected, 9)]);
    }
}

/// A slot of the chain, and the time in it.
const SLOT: u64 = 99;
const IN_SLOT: u64 = 1_700_000_000_000 + SLOT * 4000 + 10;

/// A node that says this of itself, and shows the block of this slot as its head.
async fn says(head: u64, is_syncing: bool, distance: u64, shows: Option<u64>) -> Server {
    let syncing = json!({ "data": {
        "head_slot": head.to_string(), "sync_distance": distance.to_string(), "is_syncing": is_syncing,
        "is_optimistic": false, "el_offline": false,
    }});
    let mut paths = vec![("/eth/v1/node/syncing", syncing)];
    paths.extend(shows.map(|slot| ("/eth/v1/beacon/headers/head", header(slot, 1).1)));
    healthy(&paths).await
}

async fn connect_at(now_ms: u64, servers: &[Server]) -> Nodes {
    let nodes = servers.iter().map(|server| client(&server.url)).collect();
    let nodes = Nodes::new(nodes, Pinned::default());
    nodes.check(now_ms, soon()).await;
    nodes
}

#[tokio::test]
async fn a_head_that_was_asked_for_before_a_check_and_comes_after_it_is_not_newer() {
    let shows = Arc::new(AtomicU64::new(98));
    let shown = shows.clone();
    let server = serve(7, move |call| {
        let is_head = call.path() == "/eth/v1/beacon/headers/head";
        let answer = is_head.then(|| {
            header(shown.load(Ordering::SeqCst), 1)
                .1
                .to_string()
                .into_response()
        });
        async move { answer }.boxed()
    })
    .await;
    let servers = [server];
    let nodes = connect_at(IN_SLOT, &servers).await;
    let asked = Instant::now();
    let older = nodes.head_header(soon()).await.unwrap().value;
    shows.store(99, Ordering::SeqCst);
    nodes.check(IN_SLOT, soon()).await;
    nodes.answered_head(0, asked, &older);
    assert_eq!(nodes.head().map(|(slot, _)| slot), Some(99));
    // What is asked for afterwards is.
    shows.store(98, Ordering::SeqCst);
    let asked = Instant::now();
    let newer = nodes.head_header(soon()).await.unwrap().value;
    nodes.answered_head(0, asked, &newer);
    assert_eq!(nodes.head().map(|(slot, _)| slot), Some(98));
}

/// The places of the nodes in the order in which they are asked.
async fn asked(nodes: &Nodes) -> Vec<usize> {
    let names: Vec<String> = nodes.health().into_iter().map(|node| node.name).collect();
    let order = Mutex::new(Vec::new());
    let ask = |node: Node| {
        let place = names.iter().position(|name| name == node.name());
        order.lock().unwrap().extend(place);
        // Nobody is thought of worse for that.
        async move { Err::<(), _>(node.error("order", ErrorKind::Timeout)) }
    };
    nodes.first("order", soon(), FAIR, ask).await.unwrap_err();
    order.into_inner().unwrap()
}

#[tokio::test]
async fn what_a_node_says_of_itself_is_compared_with_what_it_shows_and_with_the_clock() {
    let cases = [
        ((99, false, 0, None), State::Ready),
        ((91, false, 0, None), State::Ready),
        ((90, false, 0, None), State::Stalled(9)),
        ((0, false, 0, None), State::Stalled(99)),
        ((99, false, 0, Some(50)), State::Stalled(49)),
        ((50, false, 0, Some(99)), State::Ready),
        ((99, true, 0, Some(50)), State::Syncing(49)),
        ((0, true, 99, Some(98)), State::Ready),
        ((99, true, 3, None), State::Syncing(3)),
        ((50, true, 0, None), State::Syncing(49)),
        ((98, true, 1, None), State::Ready),
        // Nobody is ahead of the time; what it says then is of no use, but it may be our clock.
        ((u64::MAX, false, 0, None), State::Ready),
    ];
    for ((head, is_syncing, distance, shows), expected) in cases {
        let server = says(head, is_syncing, distance, shows).await;
        let nodes = connect_at(IN_SLOT, &[server]).await;
        let health = nodes.health();
        let case = (head, is_syncing, distance, shows);
        assert_eq!(health[0].state, expected, "{case:?}");
        assert_eq!(health[0].head_slot, shows.unwrap_or(head), "{case:?}");
        assert_eq!(nodes.is_ready(), expected == State::Ready);
        // It is the only one, so it is asked all the same.
        assert_eq!(asked(&nodes).await, [0]);
        let text = expected.text();
        assert_eq!(
            text.contains("stalled"),
            matches!(expected, State::Stalled(_)),
            "{text}"
        );
    }
    // One that shows no head has the one of which it told last, whatever it says.
    let servers = [says(99, false, 0, None).await];
    let nodes = connect_at(IN_SLOT, &servers).await;
    nodes.told(0, 80, [1; 32], false);
    nodes.check(IN_SLOT, soon()).await;
    assert_eq!(nodes.health()[0].state, State::Stalled(19));
    nodes.told(0, 99, [2; 32], false);
    nodes.check(IN_SLOT, soon()).await;
    assert_eq!(
        (nodes.health()[0].state.clone(), nodes.head()),
        (State::Ready, Some((99, [2; 32])))
    );
    // Before genesis nobody has a head to be behind with.
    let nodes = connect_at(1_600_000_000_000, &[says(0, false, 0, None).await]).await;
    assert!(nodes.is_ready());
}

#[tokio::test]
async fn nodes_are_asked_by_how_they_are_then_by_their_head_then_as_they_were_given() {
    let ready = |head| says(head, false, 0, None);
    let servers = [
        ready(90).await,
        ready(98).await,
        ready(99).await,
        ready(u64::MAX).await,
    ];
    let nodes = connect_at(IN_SLOT, &servers).await;
    // The first one stands still, and nobody is ahead of the time.
    assert_eq!(asked(&nodes).await, [2, 1, 3, 0]);
    // One that is stalled takes no part in anything as long as there is another one.
    let submitted = nodes.submit(
        "order",
        soon(),
        |node, _| async move { Ok(node.name().to_owned()) },
    );
    let accepted = submitted.await.unwrap().accepted;
    assert!(accepted.iter().all(|one| one.node != 0) && accepted.len() == 3);
    let stalled = [ready(20).await, says(30, true, 69, None).await, ready(10).await];
    let nodes = connect_at(IN_SLOT, &stalled).await;
    assert_eq!(asked(&nodes).await, [1, 0, 2]);
    let servers = [ready(98).await, ready(98).await, ready(98).await];
    let nodes = connect_at(IN_SLOT, &servers).await;
    assert_eq!(asked(&nodes).await, [0, 1, 2]);
    // Of two heads of one slot the one that more of them have; and which one it is must be known.
    nodes.told(0, 98, [1; 32], false);
    nodes.told(1, 98, [2; 32], false);
    assert_eq!(
        (asked(&nodes).await, nodes.head()),
        (vec![0, 1, 2], Some((98, [1; 32])))
    );
    nodes.told(2, 98, [2; 32], false);
    assert_eq!(
        (asked(&nodes).await, nodes.head()),
        (vec![1, 2, 0], Some((98, [2; 32])))
    );
    // A head that its execution client has not verified is worth less, however new.
    nodes.told(0, 99, [3; 32], true);
    assert_eq!(nodes.head(), Some((98, [2; 32])));
    nodes.told(0, 99, [3; 32], false);
    assert_eq!(
        (asked(&nodes).await, nodes.head()),
        (vec![0, 1, 2], Some((99, [3; 32])))
    );
    // One that is always a slot ahead is the first only when most are: then it is our clock.
    nodes.told(2, 100, [4; 32], false);
    assert_eq!(
        (asked(&nodes).await, nodes.head()),
        (vec![0, 1, 2], Some((99, [3; 32])))
    );
    nodes.told(1, 100, [4; 32], false);
    assert_eq!(
        (asked(&nodes).await, nodes.head()),
        (vec![1, 2, 0], Some((100, [4; 32])))
    );
    // One that failed a request is asked for that after the other; of which block it tells counts all the same.
    let servers = [ready(98).await, ready(98).await];
    let nodes = connect_at(IN_SLOT, &servers).await;
    let name = nodes.health()[1].name.clone();
    let fails = |node: Node| {
        let unreachable = ErrorKind::Unreachable(String::new());
        let answer = (node.name() != name).then_some(());
        async move { answer.ok_or_else(|| node.error("order", unreachable)) }
    };
    for place in [0, 1] {
        nodes.told(place, 98, [1; 32], false);
    }
    nodes.each("order", fails, |()| ()).await;
    nodes.told(1, 99, [2; 32], false);
    assert!(nodes.is_of_use(1));
    assert_eq!(
        (asked(&nodes).await, nodes.best("something else"), nodes.head()),
        (vec![0, 1], Some(1), Some((99, [2; 32])))
    );
    // One that is worse is asked after it all the same: what it says may be old.
    let servers = [ready(98).await, says(60, true, 38, None).await];
    let nodes = connect_at(IN_SLOT, &servers).await;
    let name = nodes.health()[0].name.clone();
    let fails = |node: Node| {
        let answer = (node.name() != name).then_some(());
        async move { answer.ok_or_else(|| node.error("order", ErrorKind::Overtaken)) }
    };
    nodes.each("order", fails, |()| ()).await;
    assert_eq!(asked(&nodes).await, [0, 1]);
    // What a node only says of its head is no head that it shows.
    let servers = [ready(99).await, says(98, false, 0, Some(98)).await];
    let nodes = connect_at(IN_SLOT, &servers).await;
    assert_eq!(asked(&nodes).await, [1, 0]);
}

#[tokio::test]
async fn the_node_that_told_of_a_block_is_asked_what_to_attest_to() {
    let vote = |root: u8| AttestationData {
        beacon_block_root: [root; 32],
        ..vote(SLOT)
    };
    // Which block each of two nodes answers with, and how often it was asked.
    let heads: [Arc<AtomicUsize>; 2] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(1)));
    let calls: [Arc<AtomicUsize>; 2] = std::array::from_fn(|_| Arc::default());
    let server = |place: usize| {
        let (head, calls) = (heads[place].clone(), calls[place].clone());
        serve(7, move |call| {
            let answer = match call.path() {
                DATA_PATH => {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let root = u8::try_from(head.load(Ordering::SeqCst)).unwrap();
                    Some(data(&json!(vote(root))))
                }
                "/eth/v1/node/syncing" => Some(data(&json!({
                    "head_slot": (SLOT - 1).to_string(), "sync_distance": "0", "is_syncing": false,
                }))),
                _ => None,
            };
            async move { answer }.boxed()
        })
    };
    let servers = [server(0).await, server(1).await];
    let nodes = connect_at(IN_SLOT, &servers).await;
    let ask = async || {
        let mut told = Vec::new();
        let tell = |answer: From<AttestationData>, ours| {
            told.push((answer.node, answer.value.beacon_block_root[0], ours));
        };
        nodes.attestation_data(SLOT, soon(), tell).await.unwrap();
        told
    };
    // Both have the block before.
    for place in [0, 1] {
        nodes.told(place, SLOT - 1, [1; 32], false);
    }
    assert_eq!(ask().await, [(0, 1, true)]);
    // The second one has got a block that the first one has not got yet, and is asked at once.
    heads[1].store(2, Ordering::SeqCst);
    nodes.told(1, SLOT, [2; 32], false);
    assert_eq!(ask().await, [(1, 2, true)]);
    assert_eq!(calls.each_ref().map(|calls| calls.load(Ordering::SeqCst)), [1, 1]);
    // The first one tells of it and answers as if it had not: the other one is asked, too.
    nodes.told(0, SLOT, [2; 32], false);
    assert_eq!(ask().await, [(0, 1, true), (1, 2, true)]);
    // Neither answers what both told: the first one's word counts, the other one's may show what is plausible.
    heads[1].store(3, Ordering::SeqCst);
    assert_eq!(ask().await, [(0, 1, true), (1, 3, false)]);
    // No event came of the block: the first one answers with it all the same, and what one says that is behind is not ours.
    for place in [0, 1] {
        nodes.told(place, SLOT - 1, [1; 32], false);
    }
    heads[0].store(2, Ordering::SeqCst);
    heads[1].store(1, Ordering::SeqCst);
    assert_eq!(ask().await, [(0, 2, true), (1, 1, false)]);
    heads[0].store(1, Ordering::SeqCst);
    // The next slot has begun: what this one's head was only its node knows.
    for place in [0, 1] {
        nodes.told(place, SLOT + 1, [4; 32], false);
    }
    assert_eq!(ask().await, [(0, 1, true)]);
}

/// The first answer, and who gave it.
async fn attestation_data(
    nodes: &Nodes,
    slot: u64,
    deadline: Instant,
) -> Result<From<AttestationData>, AllFailed> {
    let mut first = None;
    let tell = |answer, _| {
        first.get_or_insert(answer);
    };
    nodes.attestation_data(slot, deadline, tell).await?;
    Ok(first.unwrap())
}

#[tokio::test]
async fn what_no_node_took_is_submitted_again_unless_it_was_refused() {
    for (code, calls) in [(503, 3), (500, 3), (400, 1)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let server = serve(7, move |call| {
            let answer = call.path().ends_with("/sync_committees").then(|| {
                match counter.fetch_add(1, Ordering::SeqCst) {
                    0 | 1 => error(code, "not now"),
                    _ => StatusCode::OK.into_response(),
                }
            });
            async move { answer }.boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let done = nodes.submit_sync_messages(&[], soon()).await;
        assert_eq!(done.is_ok(), code >= 500, "{code}: {done:?}");
        assert_eq!(asked.load(Ordering::SeqCst), calls, "{code}");
        // Not for ever.
        asked.store(0, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_millis(400);
        assert!(nodes.submit_sync_messages(&[], deadline).await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{code}");
    }
}

/// Of what came from another operator before, some nodes say that it is wrong.
#[tokio::test]
async fn what_a_node_has_already_is_neither_refused_nor_sent_again() {
    let one = |why: &str| {
        format!(r#"{{"code":400,"message":"error processing","failures":[{{"index":0,"message":"{why}"}}]}}"#)
    };
    let plain = |code: u16, message: &str| (code, format!(r#"{{"code":{code},"message":"{message}"}}"#));
    for ((code, body), known) in [
        (
            (
                400,
                one("PriorAttestationKnown { validator_index: 1, epoch: Epoch(3) }"),
            ),
            true,
        ),
        (plain(400, "ATTESTATION_ALREADY_KNOWN"), true),
        (plain(400, "duplicate"), true),
        (plain(500, "UNHANDLED_ERROR: block already known"), true),
        ((400, one("UnknownHeadBlock")), false),
        (plain(400, "unknown validator"), false),
        (plain(400, "bad signature"), false),
        // Another block of the slot.
        (
            plain(400, "proposal for this slot and proposer has already been seen"),
            false,
        ),
        (plain(400, "the parent is not known"), false),
        (plain(404, "this was known before"), false),
        ((400, String::new()), false),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, told) = (asked.clone(), body.clone());
        let server = serve(7, move |call| {
            let answer = call.path().ends_with("/sync_committees").then(|| {
                counter.fetch_add(1, Ordering::SeqCst);
                let code = StatusCode::from_u16(code).unwrap();
                (code, [("content-type", "application/json")], told.clone()).into_response()
            });
            async move { answer }.boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let failed = nodes.submit_sync_messages(&[], soon()).await.unwrap_err();
        assert_eq!(failed.is_known_already(), known, "{body}: {failed}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{body}");
    }
}

#[tokio::test]
async fn streams_are_opened_again_when_they_end_break_or_fall_silent() {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = opened.clone();
    let server = serve(7, move |call| {
        let answer = (call.path() == "/eth/v1/events").then(|| {
            assert!(call.target.ends_with("?topics=head"), "{}", call.target);
            let round = counter.fetch_add(1, Ordering::SeqCst);
            let text = head_event(9, u8::try_from(round).unwrap());
            let begin = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(text))]);
            let body = match round {
                // It ends in the middle of an event.
                0 => Body::from_stream(
                    begin.chain(futures::stream::iter([Ok(Bytes::from_static(b"event: he"))])),
                ),
                // It says what is no event.
                1 => Body::from_stream(begin.chain(futures::stream::iter([Ok(Bytes::from_static(
                    b"event: head\ndata: {}\n\n",
                ))]))),
                // It breaks.
                2 => Body::from_stream(
                    begin.chain(futures::stream::iter([Err(std::io::Error::other("broken"))])),
                ),
                // It falls silent.
                _ => Body::from_stream(begin.chain(futures::stream::pending())),
            };
            ([("content-type", "text/event-stream")], body).into_response()
        });
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let mut events = Events::open(&nodes, Duration::from_millis(300));
    for round in 0..4_u8 {
        let mut seen = false;
        let mut lost = None;
        while lost.is_none() {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next())
                .await
                .unwrap()
                .unwrap();
            match event.news {
                News::Connected => {}
                News::Head(head) => seen = (head.slot, head.block) == (9, [round; 32]),
                News::Lost(error) => lost = Some(error.kind),
            }
        }
        let lost = lost.unwrap();
        assert!(seen || round == 2, "{round}");
        match round {
            0 | 2 => assert!(matches!(lost, ErrorKind::Unreachable(_)), "{lost}"),
            1 => assert!(matches!(lost, ErrorKind::Malformed(_)), "{lost}"),
            _ => assert_eq!(lost, ErrorKind::Timeout),
        }
    }
    assert_eq!(opened.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_flood_of_events_is_cut_off() {
    let server = serve(7, move |call| {
        let answer = (call.path() == "/eth/v1/events").then(|| {
            let event = head_event(9, 0x11);
            let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(event.clone()));
            (
                [("content-type", "text/event-stream")],
                Body::from_stream(endless),
            )
                .into_response()
        });
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let mut events = Events::open(&nodes, Duration::from_secs(5));
    let mut heads = 0;
    let lost = loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next());
        match event.await.unwrap().unwrap().news {
            News::Head(_) => heads += 1,
            News::Lost(error) => break error.kind,
            News::Connected => {}
        }
        assert!(heads < 2000);
    };
    assert!(matches!(lost, ErrorKind::Malformed(_)), "{lost}");
}

#[tokio::test]
async fn what_became_of_votes_is_read_from_what_was_paid() {
    let paid = |index: &str, head: &str, target: &str, source: &str| json!({ "validator_index": index, "head": head, "target": target, "source": source, "inactivity": "0" });
    let total = json!([
        paid("1", "1200", "2200", "1180"),
        paid("2", "0", "2200", "1180"),
        // Some write numbers without quotes.
        json!({ "validator_index": 3, "head": 0, "target": -2200, "source": 1180, "inactivity": 0 }),
        paid("4", "0", "-2200", "-1180")
    ]);
    let answer = |ideal: &str, total: &Value| {
        let ideal = json!([{ "effective_balance": "32000000000", "head": ideal }]);
        json!({ "data": { "ideal_rewards": ideal, "total_rewards": total } })
    };
    let server = healthy(&[
        ("/eth/v1/beacon/rewards/attestations/5", answer("1200", &total)),
        // While the chain does not finalise, nothing is paid for a right head.
        ("/eth/v1/beacon/rewards/attestations/6", answer("0", &total)),
        (
            "/eth/v1/beacon/rewards/attestations/7",
            answer("1200", &json!([paid("9", "1", "1", "1")])),
        ),
        (
            "/eth/v1/validator/liveness/5",
            json!({ "data": [{ "index": "1", "is_live": true }, { "index": "4", "is_live": false }] }),
        ),
    ])
    .await;
    let nodes = connect(&[&server]).await;
    let patience = Duration::from_secs(20);
    let votes = nodes.votes(5, &[1, 2, 3, 4], patience).await.unwrap().value;
    let seen: Vec<_> = votes
        .iter()
        .map(|vote| (vote.index, vote.included, vote.target, vote.head))
        .collect();
    assert_eq!(
        seen,
        [
            (1, true, Some(true), Some(true)),
            (2, true, Some(true), Some(false)),
            (3, true, Some(false), Some(false)),
            (4, false, Some(false), Some(false))
        ]
    );
    let votes = nodes.votes(6, &[1, 2, 3, 4], patience).await.unwrap().value;
    assert!(votes.iter().all(|vote| vote.head.is_none()) && votes[0].included);
    nodes.votes(7, &[1], patience).await.unwrap_err();
    nodes.votes(8, &[1], patience).await.unwrap_err();
    let live = nodes.liveness(5, &[1, 4], patience).await.unwrap().value;
    let live: Vec<_> = live
        .iter()
        .map(|vote| (vote.index, vote.included, vote.head))
        .collect();
    assert_eq!(live, [(1, true, None), (4, false, None)]);
}

#[tokio::test]
async fn a_node_that_is_slow_with_what_no_duty_needs_is_no_worse() {
    let server = serve(7, |call| {
        let slow = call.path().starts_with("/eth/v1/beacon/rewards/");
        async move {
            if slow {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            None
        }
        .boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let failed = nodes
        .votes(5, &[1], Duration::from_millis(200))
        .await
        .unwrap_err();
    assert_eq!(failed.errors[0].kind, ErrorKind::Timeout);
    assert!(nodes.is_ready());
}

/// What a node says to everything, and how often it was asked.
async fn answers_all(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = serve(7, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut answer = error(status, "Too many requests");
        for (name, value) in headers {
            answer.headers_mut().insert(*name, value.parse().unwrap());
        }
        async move { Some(answer) }.boxed()
    })
    .await;
    (server, asked)
}

#[tokio::test]
async fn a_node_that_asks_for_fewer_requests_is_asked_less() {
    for (headers, words) in [
        (&[][..], "it asks for fewer requests (HTTP 429)"),
        (
            &[("retry-after", "3600")],
            "it asks for fewer requests (HTTP 429), and for none for 60 s",
        ),
    ] {
        let (server, asked) = answers_all(429, headers).await;
        let nodes = connect(&[&server]).await;
        let first = asked.load(Ordering::SeqCst);
        assert!(first <= 3, "{first}");
        for _ in 0..20 {
            nodes.check(NOW_MS, soon()).await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), first);
        let state = nodes.health().remove(0).state;
        assert_eq!(state.text(), words);
        assert!(state.advice().contains("allow more requests"), "{state:?}");
    }
}

#[tokio::test]
async fn what_a_node_wants_not_to_be_asked_is_not_sent_until_the_time_is_over() {
    // From when on it limits, and whether it says for how long.
    let limits = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(AtomicUsize::new(0));
    let (how, counter) = (limits.clone(), asked.clone());
    let server = serve(7, move |call| {
        counter.fetch_add(1, Ordering::SeqCst);
        let limited = match how.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(error(429, "slow down")),
            _ => {
                let mut answer = error(429, "slow down");
                answer.headers_mut().insert("retry-after", "2".parse().unwrap());
                Some(answer)
            }
        };
        let answer =
            limited.or_else(|| (call.path() == DATA_PATH).then(|| vote_json(9).to_string().into_response()));
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    assert!(nodes.is_ready());
    // Nothing was said of how long: duties ask on, and a check does not make the node one that is gone.
    limits.store(1, Ordering::SeqCst);
    nodes.check(NOW_MS, soon()).await;
    attestation_data(&nodes, 9, soon()).await.unwrap_err();
    limits.store(0, Ordering::SeqCst);
    assert_eq!(attestation_data(&nodes, 9, soon()).await.unwrap().node, 0);
    // It says for how long: what can wait is not sent until then.
    limits.store(2, Ordering::SeqCst);
    nodes.attester_duties(0, &[1], soon()).await.unwrap_err();
    let limited = Instant::now();
    let before = asked.load(Ordering::SeqCst);
    limits.store(0, Ordering::SeqCst);
    let failed = nodes.attester_duties(0, &[1], soon()).await.unwrap_err();
    if limited.elapsed() < Duration::from_secs(1) {
        assert_eq!(failed.errors[0].kind, ErrorKind::Limited(Some(2)));
        assert_eq!(asked.load(Ordering::SeqCst), before);
    }
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    // On a machine that stood still the one before may have been sent.
    let before = asked.load(Ordering::SeqCst);
    let failed = nodes.attester_duties(0, &[1], soon()).await.unwrap_err();
    let kind = &failed.errors[0].kind;
    assert!(!matches!(kind, ErrorKind::Limited(_)), "{failed}");
    assert_eq!(asked.load(Ordering::SeqCst), before + 1);
}

/// One kind of question is limited, and the node says for how long: five slots of votes, and a signed block, must not be lost for that.
#[tokio::test]
async fn what_a_duty_waits_for_is_sent_although_the_node_wants_to_be_asked_nothing() {
    const REGISTER: &str = "/eth/v1/validator/register_validator";
    let asked = Arc::new(Mutex::new(Vec::new()));
    let calls = asked.clone();
    let server = serve(7, move |call| {
        calls.lock().unwrap().push(call.path().to_owned());
        let answer = if call.path() == REGISTER {
            let mut answer = error(429, "slow down");
            answer.headers_mut().insert("retry-after", "60".parse().unwrap());
            Some(answer)
        } else if call.path() == DATA_PATH {
            Some(vote_json(9).to_string().into_response())
        } else {
            (call.method() == "POST" && !call.path().contains("duties"))
                .then(|| StatusCode::OK.into_response())
        };
        async move { answer }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let chain = nodes.chain().unwrap();
    let schemas = Arc::new(BlockSchemas::new(&chain.spec.sizes));
    let limited = Instant::now();
    let brief = || Instant::now() + Duration::from_millis(400);
    // On a machine that is busy its answer may come when nobody waits for it any more.
    let is_limited = |failed: &AllFailed| {
        let mut errors = failed.errors.iter();
        errors.any(|error| matches!(error.kind, ErrorKind::Limited(_)))
    };
    while !is_limited(&nodes.register_validators(&[], brief()).await.unwrap_err()) {}
    asked.lock().unwrap().clear();
    // Looks, and what no duty needs.
    let _ = nodes.register_validators(&[], brief()).await;
    let _ = nodes.validators(&[[5; 48]], brief()).await;
    let _ = nodes.attester_duties(0, &[1], brief()).await;
    let _ = nodes.proposer_duties(0, brief()).await;
    let _ = nodes.sync_duties(0, &[1], brief()).await;
    let _ = nodes.votes(0, &[1], Duration::from_millis(400)).await;
    let _ = nodes.liveness(0, &[1], Duration::from_millis(400)).await;
    nodes.check(NOW_MS, soon()).await;
    assert_eq!(*asked.lock().unwrap(), [""; 0]);
    // Duties of this slot, even of a node that is not asked how it is.
    let (block, blobs) = block(&schemas, Fork::Electra, 9, false);
    let publish = nodes.publish_block(&schemas, &block, blobs.as_ref(), &[9; 96], soon());
    publish.await.unwrap();
    assert_eq!(attestation_data(&nodes, 9, soon()).await.unwrap().value, vote(9));
    nodes
        .submit_attestations(Fork::Electra, &[], soon())
        .await
        .unwrap();
    nodes.submit_aggregates(Fork::Electra, &[], soon()).await.unwrap();
    nodes.submit_sync_messages(&[], soon()).await.unwrap();
    nodes.submit_contributions(&[], soon()).await.unwrap();
    nodes.subscribe_committees(&[], soon()).await.unwrap();
    nodes.subscribe_sync_committees(&[], soon()).await.unwrap();
    nodes.prepare_proposers(&[], soon()).await.unwrap();
    // The node answers each of these at once, if only that it does not have it.
    let _ = nodes.aggregate_attestation(&vote(9), 0, soon()).await;
    let _ = nodes.sync_committee_contribution(9, 0, &[1; 32], soon()).await;
    let _ = nodes.head_root(soon()).await;
    let _ = nodes.head_header(soon()).await;
    let _ = nodes.known_block(&schemas, &[1; 32], soon()).await;
    let _ = nodes.committee(9, 0, soon()).await;
    let _ = nodes.sync_committee(0, soon()).await;
    let _ = nodes.public_keys(&[1], soon()).await;
    let wanted = BlockRequest {
        slot: 9,
        randao_reveal: [1; 96],
        graffiti: [0; 32],
        builder_boost_factor: None,
    };
    let produced = nodes.produce_block(&schemas, &wanted, soon(), |_| None, |_| ());
    let _ = produced.await;
    let asked = asked.lock().unwrap().clone();
    for path in [
        "/eth/v2/beacon/blocks",
        DATA_PATH,
        "/eth/v2/beacon/pool/attestations",
        "/eth/v2/validator/aggregate_and_proofs",
        "/eth/v1/beacon/pool/sync_committees",
        "/eth/v1/validator/contribution_and_proofs",
        "/eth/v1/validator/beacon_committee_subscriptions",
        "/eth/v1/validator/sync_committee_subscriptions",
        "/eth/v1/validator/prepare_beacon_proposer",
        "/eth/v2/validator/aggregate_attestation",
        "/eth/v1/validator/sync_committee_contribution",
        "/eth/v1/beacon/blocks/head/root",
        "/eth/v1/beacon/headers/head",
        "/eth/v1/beacon/states/head/committees",
        "/eth/v1/beacon/states/head/sync_committees",
        "/eth/v1/beacon/states/head/validators",
        "/eth/v3/validator/blocks/9",
    ] {
        assert!(asked.iter().any(|one| one == path), "{path} is not in {asked:?}");
    }
    assert!(
        limited.elapsed() < Duration::from_secs(60),
        "too slow to say anything"
    );
}

/// Names of three nodes that are in step, and of one that catches up.
async fn four() -> (Vec<Server>, Nodes, Vec<String>) {
    let mut servers = Vec::new();
    for behind in [false, false, false, true] {
        let server = serve(7, move |call| {
            let answer = (behind && call.path() == "/eth/v1/node/syncing").then(|| syncing(true, 10, false));
            async move { answer }.boxed()
        });
        servers.push(server.await);
    }
    let nodes = connect(&servers.iter().collect::<Vec<_>>()).await;
    let names = nodes.health().into_iter().map(|one| one.name).collect();
    (servers, nodes, names)
}

/// Who answers a poll, if nodes take so long (in milliseconds; `None` for ever), and how long that takes.
async fn polled(nodes: &Nodes, names: &[String], takes: [Option<u64>; 4]) -> (Vec<usize>, Duration) {
    let began = Instant::now();
    let ask = |node: Node| async move {
        let place = names.iter().position(|name| name == node.name()).unwrap();
        match takes[place] {
            Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            None => std::future::pending().await,
        }
        Ok(())
    };
    let said = tokio::time::timeout(Duration::from_secs(20), nodes.poll("anything", ask)).await;
    let said = said.expect("an answer").unwrap();
    let behind = |one: &crate::nodes::Said<()>| one.is_behind == (one.node == 3);
    assert!(said.iter().all(behind), "{said:?}");
    (said.into_iter().map(|one| one.node).collect(), began.elapsed())
}

#[tokio::test]
async fn who_is_quickest_is_not_the_only_one_that_is_heard_and_who_hangs_keeps_nobody_waiting() {
    let (_servers, nodes, names) = &four().await;
    let seconds = Duration::from_secs;
    // Others have more to do than the first one.
    let (heard, took) = polled(nodes, names, [Some(0), Some(1_300), Some(1_800), Some(0)]).await;
    assert_eq!(heard, [0, 1, 2]);
    assert!(took < seconds(4), "{took:?}");
    // When most have answered, the last one has a second.
    let (heard, took) = polled(nodes, names, [Some(0), Some(100), None, Some(0)]).await;
    assert_eq!(heard, [0, 1]);
    assert!(took < FAIR_IF_HARD, "{took:?}");
    nodes.check(NOW_MS, soon()).await;
    // All others hang: the only one that does not is heard, and the next time at once.
    let (heard, took) = polled(nodes, names, [Some(0), None, None, Some(0)]).await;
    assert_eq!(heard, [0]);
    assert!(took < FAIR_IF_HARD + seconds(3), "{took:?}");
    let (heard, took) = polled(nodes, names, [Some(0), None, None, Some(0)]).await;
    assert_eq!(heard, [0]);
    assert!(took < FAIR_IF_HARD, "{took:?}");
}

#[tokio::test]
async fn those_that_are_behind_are_asked_when_nobody_else_answers_soon() {
    let (_servers, nodes, names) = &four().await;
    let (heard, took) = polled(nodes, names, [None, None, None, Some(0)]).await;
    assert_eq!(heard, [3]);
    assert!(took < Duration::from_secs(10), "{took:?}");
    // What those say counts that are in step, if they say it at all.
    let (_servers, nodes, names) = &four().await;
    let (heard, _) = polled(nodes, names, [Some(1_500), None, None, Some(0)]).await;
    assert_eq!(heard, [0]);
}

#[tokio::test]
async fn which_validator_has_a_key_is_what_most_nodes_say() {
    let status = |index: u64| {
        json!({ "data": [{
            "index": index.to_string(), "balance": "32000000000", "status": "active_ongoing",
            "validator": {
                "pubkey": format!("0x{}", "05".repeat(48)), "effective_balance": "32000000000",
                "slashed": false, "activation_epoch": "0", "exit_epoch": u64::MAX.to_string(),
            },
        }] })
    };
    let mut servers = Vec::new();
    for index in [7, 5, 5] {
        servers.push(healthy(&[("/eth/v1/beacon/states/head/validators", status(index))]).await);
    }
    let all: Vec<&Server> = servers.iter().collect();
    let nodes = connect(&all).await;
    let agreed = nodes.validators(&[[5; 48]], soon()).await.unwrap();
    assert_eq!(agreed.found[0].index, 5);
    assert!(!agreed.disputes[0].is_open);
    let told = agreed.disputes[0].to_string();
    let name = nodes.health().remove(0).name;
    assert!(told.starts_with(&format!("{name} says 7, ")), "{told}");
    let nodes = connect(&all[..2]).await;
    let agreed = nodes.validators(&[[5; 48]], soon()).await.unwrap();
    assert_eq!(agreed.found, []);
    assert!(agreed.open(&[5; 48]).is_some());
}

#[tokio::test]
async fn a_node_that_tells_of_no_blocks_by_itself_is_told_of() {
    #[derive(Clone, Copy, PartialEq)]
    enum Stream {
        Missing,
        Ends,
        Silent,
        Tells,
    }
    let root = format!("0x{}", "11".repeat(32));
    let event = json!({
        "slot": "10", "block": root, "previous_duty_dependent_root": root, "current_duty_dependent_root": root,
    });
    let event = format!("event: head\ndata: {event}\n\n");
    for (kind, grows, expected) in [
        (
            Stream::Missing,
            false,
            Some("it does not know this request (HTTP 404)"),
        ),
        (Stream::Ends, false, Some("not reachable (the stream ended)")),
        (Stream::Silent, true, Some("no answer in time")),
        // Where there is no new block, nothing is to be told.
        (Stream::Silent, false, None),
        (Stream::Tells, true, None),
    ] {
        let event = event.clone();
        let slot = Arc::new(AtomicU64::new(1));
        let shown = slot.clone();
        let server = serve(7, move |call| {
            let answer = match call.path() {
                "/eth/v1/events" if kind == Stream::Missing => Some(error(404, "no such route")),
                "/eth/v1/events" => {
                    let content = [("content-type", "text/event-stream")];
                    let body = match kind {
                        Stream::Silent => {
                            Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
                        }
                        Stream::Tells => Body::from(event.clone()),
                        _ => Body::empty(),
                    };
                    Some((content, body).into_response())
                }
                "/eth/v1/beacon/headers/head" => Some(
                    header(shown.load(Ordering::SeqCst), 1)
                        .1
                        .to_string()
                        .into_response(),
                ),
                _ => None,
            };
            async move { answer }.boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let mut events = Events::open(&nodes, Duration::from_millis(300));
        let began = Instant::now();
        let mut told = None;
        while told.is_none() && began.elapsed() < Duration::from_secs(if expected.is_some() { 20 } else { 4 })
        {
            let next = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
            let _ = next;
            slot.fetch_add(u64::from(grows), Ordering::SeqCst);
            nodes.check(NOW_MS, soon()).await;
            let health = nodes.health().remove(0);
            // It is well but for that.
            assert!(
                health.trouble.is_none() && !health.state.is_useless(),
                "{health:?}"
            );
            told = health.silent;
        }
        assert_eq!(told.map(|error| error.kind.to_string()).as_deref(), expected);
    }
}

/// What is logged at least at a level while this is done.
async fn logged(filter: &str, work: impl Future<Output = ()>) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    work.await;
    drop(guard);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn what_the_nodes_lines_say_is_in_the_log_file_and_not_beside_them_on_the_screen() {
    for (filter, is_there) in [("error,conclave=warn", false), ("warn,conclave=info", true)] {
        let log = logged(filter, async {
            let server = healthy(&[]).await;
            let url = server.url.clone();
            let stranger = serve(8, |_| async { None }.boxed()).await;
            let nodes = connect(&[&server, &stranger]).await;
            drop(server);
            assert!(!url.is_empty());
            tokio::time::sleep(Duration::from_millis(50)).await;
            for _ in 0..3 {
                nodes.check(NOW_MS, soon()).await;
                let _ = attestation_data(&nodes, 9, soon()).await;
            }
        })
        .await;
        let known = log.contains("is not used") && log.contains("network");
        assert_eq!((!log.is_empty(), known), (is_there, is_there), "{log}");
    }
}

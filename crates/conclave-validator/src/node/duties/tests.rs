use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, StreamExt as _, channel::mpsc as streams};
use serde_json::{Value, json};

use super::{
    known::{Branch, Depends, Known, Question},
    *,
};
use crate::core::schedule::Attester;
use crate::group::Validator;
use conclave_beacon::{
    answers::RegistrationMessage,
    chain::spec::Pinned,
    testing::{Call, MINIMAL_SPEC, Server, connect, data, header, serve, soon},
};
use conclave_cluster::lock::Lock;

/// Slots of which none passes in a test, and such of which many do; an epoch has 8. In milliseconds.
const LONG: u64 = 60_000;
const SHORT: u64 = 250;
/// For ever: nobody leaves in it.
const ALWAYS: Range<u64> = 0..u64::MAX;
/// Index of the first validator on the chain; the others follow.
const INDEX: u64 = 100;
/// Long enough for any test to get there on a busy machine.
const TEST_PATIENCE: Duration = Duration::from_secs(60);

const ATTESTERS: &str = "/eth/v1/validator/duties/attester/";
const PROPOSERS: &str = "/eth/v1/validator/duties/proposer/";
const PROPOSERS_V2: &str = "/eth/v2/validator/duties/proposer/";
const SYNC: &str = "/eth/v1/validator/duties/sync/";
const VALIDATORS: &str = "/eth/v1/beacon/states/head/validators";

/// Tells when whoever asked does not wait any more.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A group of so many validators.
fn group(validators: usize) -> Group {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/cluster-lock.json");
    let lock = Lock::from_json(&std::fs::read(path).unwrap()).unwrap();
    let mut group = Group::new(&lock, &[]).unwrap();
    // Any keys do.
    let keys = group.validators[0].shares.clone();
    let validator = |key| Validator {
        key,
        shares: Vec::new(),
        fee_recipient: [9; 20],
    };
    group.validators = keys.into_iter().take(validators).map(validator).collect();
    group
}

/// A chain on which each block is a number, and duties of different blocks differ.
struct Chain {
    slot_ms: u64,
    genesis: u64,
    /// Keys, and when they are active.
    validators: Vec<([u8; 48], Range<u64>)>,
    /// The last block before an epoch; of those that are not here it is block 1.
    blocks: BTreeMap<u64, u8>,
    /// What is added to indices and to the slots of attesters: a liar.
    lies: (u64, u64),
    /// Whether it catches up.
    behind: bool,
    /// The block that answers depend on, whatever they say: a liar.
    depends: Option<u8>,
    /// How long answers about duties take.
    delay: Duration,
    /// Whether version 2 of proposer duties is there, and not version 1.
    v2: bool,
    /// What begins like this is never answered.
    hangs: Option<&'static str>,
    given_up: Arc<AtomicBool>,
    /// Where heads are told; none if there are no events.
    streams: Option<Vec<streams::UnboundedSender<Result<String, std::io::Error>>>>,
    /// What was asked and told that is about validators.
    calls: Vec<(String, Value)>,
}

impl Chain {
    /// Tells whoever listens of a head.
    fn tell(&self, head: &Head) {
        let [block, previous, current] = [
            head.block,
            head.previous_duty_dependent_root,
            head.current_duty_dependent_root,
        ]
        .map(|root| format!("0x{}", hex::encode(root)));
        let text = format!(
            "event: head\ndata: {{\"slot\":\"{}\",\"block\":\"{block}\",\"previous_duty_dependent_root\":\"{previous}\",\
             \"current_duty_dependent_root\":\"{current}\"}}\n\n",
            head.slot
        );
        for stream in self.streams.iter().flatten() {
            let _ = stream.unbounded_send(Ok(text.clone()));
        }
    }

    fn last_before(&self, epoch: u64) -> u8 {
        self.blocks.get(&epoch).copied().unwrap_or(1)
    }

    fn duties(&self, block: u8, duties: &[Value]) -> Response {
        let root = format!("0x{}", hex::encode([self.depends.unwrap_or(block); 32]));
        json!({ "dependent_root": root, "data": duties })
            .to_string()
            .into_response()
    }

    /// As the Beacon API says. Attesters are in a committee of as many as the number of their block; the first validator
    /// proposes in the slot of that number.
    fn answer(&mut self, call: &Call) -> Option<Response> {
        let path = call.path();
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let (route, epoch) = path.rsplit_once('/').unwrap();
        let epoch: u64 = epoch.parse().unwrap_or_default();
        let first_slot = epoch * 8;
        let text = |number: u64| number.to_string();
        if path.contains("/validator") {
            self.calls.push((path.to_owned(), body.clone()));
        }
        let asked = body.as_array().cloned().unwrap_or_default();
        Some(match format!("{route}/").as_str() {
            ATTESTERS => {
                let block = self.last_before(epoch.saturating_sub(1));
                let duty = |index: &Value| {
                    json!({
                        "pubkey": format!("0x{}", "05".repeat(48)), "validator_index": index, "slot": text(first_slot + self.lies.1),
                        "committee_index": "0", "committee_length": text(block.into()), "committees_at_slot": "1",
                        "validator_committee_index": "0",
                    })
                };
                self.duties(block, &asked.iter().map(duty).collect::<Vec<_>>())
            }
            PROPOSERS | PROPOSERS_V2 if path.starts_with(PROPOSERS_V2) == self.v2 => {
                let block = self.last_before(epoch.saturating_sub(self.v2.into()));
                let slot = first_slot + u64::from(block);
                let duty = json!({
                    "pubkey": format!("0x{}", "05".repeat(48)), "validator_index": text(INDEX), "slot": text(slot),
                });
                self.duties(block, &[duty])
            }
            SYNC => data(&json!([{
                "pubkey": format!("0x{}", "05".repeat(48)), "validator_index": text(INDEX),
                "validator_sync_committee_indices": ["3", "17"],
            }])),
            _ => return self.answer_more(path),
        })
    }

    fn answer_more(&mut self, path: &str) -> Option<Response> {
        Some(match path {
            "/eth/v1/config/spec" => {
                let slot = format!("\"SLOT_DURATION_MS\": \"{}\"", self.slot_ms);
                MINIMAL_SPEC
                    .replace("\"SLOT_DURATION_MS\": \"4000\"", &slot)
                    .into_response()
            }
            "/eth/v1/beacon/genesis" => data(&json!({
                "genesis_time": self.genesis.to_string(),
                "genesis_validators_root": format!("0x{}", "07".repeat(32)),
                "genesis_fork_version": "0x10000038",
            })),
            VALIDATORS => {
                let found = self.validators.iter().zip(INDEX + self.lies.0..);
                let found = found.map(|((key, active), index)| {
                    json!({
                        "index": index.to_string(), "balance": "32000000000", "status": "any",
                        "validator": {
                            "pubkey": format!("0x{}", hex::encode(key)), "effective_balance": "32000000000",
                            "slashed": false, "activation_epoch": active.start.to_string(),
                            "exit_epoch": active.end.to_string(),
                        },
                    })
                });
                data(&found.collect())
            }
            "/eth/v1/node/syncing" if self.behind => {
                data(&json!({ "head_slot": "9", "sync_distance": "30", "is_syncing": true }))
            }
            "/eth/v1/events" => {
                let (sender, receiver) = streams::unbounded();
                self.streams.as_mut()?.push(sender);
                (
                    [("content-type", "text/event-stream")],
                    Body::from_stream(receiver),
                )
                    .into_response()
            }
            "/eth/v1/validator/prepare_beacon_proposer"
            | "/eth/v1/validator/register_validator"
            | "/eth/v1/validator/sync_committee_subscriptions" => "".into_response(),
            _ => return None,
        })
    }
}

/// A beacon node, and a service that asks it.
struct Test {
    server: Server,
    chain: Arc<Mutex<Chain>>,
    group: Group,
    heard: mpsc::UnboundedReceiver<Event>,
    events: mpsc::UnboundedSender<Event>,
}

impl Test {
    /// An epoch has begun. Validators are active when this says.
    async fn new(slot_ms: u64, epoch: u64, active: &[Range<u64>]) -> Self {
        let group = group(active.len());
        let keys = group.validators.iter().map(|validator| validator.key.to_bytes());
        let chain = Arc::new(Mutex::new(Chain {
            slot_ms,
            genesis: now_ms() / 1000 - slot_ms * 8 * epoch / 1000,
            validators: keys.zip(active.iter().cloned()).collect(),
            blocks: BTreeMap::new(),
            lies: (0, 0),
            behind: false,
            depends: None,
            delay: Duration::ZERO,
            v2: true,
            hangs: None,
            given_up: Arc::default(),
            streams: Some(Vec::new()),
            calls: Vec::new(),
        }));
        let shared = chain.clone();
        let server = serve(7, move |call| {
            let mut chain = shared.lock().unwrap();
            let hangs = chain.hangs.is_some_and(|prefix| call.path().starts_with(prefix));
            let gone = hangs.then(|| Gone(chain.given_up.clone()));
            let answer = chain.answer(&call);
            let is_of_duties = call.path().contains("/validator/duties/");
            let delay = if is_of_duties { chain.delay } else { Duration::ZERO };
            async move {
                tokio::time::sleep(delay).await;
                if gone.is_some() {
                    std::future::pending::<()>().await;
                }
                answer
            }
            .boxed()
        })
        .await;
        let (events, heard) = mpsc::unbounded_channel();
        Self {
            server,
            chain,
            group,
            heard,
            events,
        }
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap()
    }

    async fn start(&self, registrations: Vec<SignedRegistration>) {
        tokio::spawn(self.service(registrations).await.run());
    }

    async fn service(&self, registrations: Vec<SignedRegistration>) -> Service {
        let nodes = connect(&[&self.server]).await;
        let chain = nodes.chain().unwrap();
        let (news, _) = mpsc::unbounded_channel();
        let group = Arc::new(self.group.clone());
        Service::new(nodes, chain, group, registrations, self.events.clone(), news)
    }

    /// Tells of a head in an epoch, once somebody listens.
    async fn head(&self, epoch: u64) {
        let listened = || {
            self.chain()
                .streams
                .as_ref()
                .is_some_and(|streams| !streams.is_empty())
        };
        until(listened).await;
        let chain = self.chain();
        let [previous, current] =
            [epoch.saturating_sub(1), epoch].map(|epoch| [chain.last_before(epoch); 32]);
        chain.tell(&Head {
            slot: epoch * 8,
            block: current,
            previous_duty_dependent_root: previous,
            current_duty_dependent_root: current,
            execution_optimistic: false,
        });
    }

    /// Whatever the core is told until it was told all of this, in order of the alphabet.
    async fn hear(&mut self, expected: &[&str]) -> Vec<String> {
        let mut heard = Vec::new();
        let all = async {
            while !expected.iter().all(|one| heard.iter().any(|other| other == one)) {
                let event = self.heard.recv().await.unwrap();
                // When a head came is told whether or not it is ours, and once a slot what all nodes show.
                if !matches!(event, Event::Heard { .. } | Event::Shown(_)) {
                    heard.push(text(&event));
                }
            }
        };
        let in_time = tokio::time::timeout(TEST_PATIENCE, all).await;
        assert!(in_time.is_ok(), "{expected:?} are not all in {heard:?}");
        heard.sort();
        heard
    }

    /// What was asked or told at this path.
    fn calls(&self, path: &str) -> Vec<Value> {
        let chain = self.chain();
        let calls = chain.calls.iter().filter(|(at, _)| at == path);
        calls.map(|(_, body)| body.clone()).collect()
    }
}

/// Waits for it.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TEST_PATIENCE, wait).await.unwrap();
}

/// An event, and the block on which it depends.
fn text(event: &Event) -> String {
    match event {
        Event::Attesters { epoch, duties } => {
            let block = duties.first().map(|(_, attester)| attester.committee_length);
            format!("attesters {epoch} of block {}", block.unwrap_or(0))
        }
        Event::Proposers { epoch, duties } => {
            let block = duties.first().map(|(slot, _)| slot % 8);
            format!("proposers {epoch} of block {}", block.unwrap_or(0))
        }
        Event::SyncMembers { epoch, .. } => format!("sync {epoch}"),
        Event::Head { .. } => "head".to_owned(),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn duties_are_asked_for_again_when_a_head_is_of_another_branch() {
    let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
    test.start(Vec::new()).await;
    let first = [
        "attesters 5 of block 1",
        "attesters 6 of block 1",
        "proposers 5 of block 1",
        "proposers 6 of block 1",
        "sync 5",
        "sync 6",
    ];
    assert_eq!(test.hear(&first).await, first);
    // Nothing new.
    test.head(5).await;
    assert_eq!(test.hear(&["head"]).await, ["head"]);
    test.chain().blocks.insert(5, 2);
    test.head(5).await;
    let next = ["attesters 6 of block 2", "head", "proposers 6 of block 2"];
    assert_eq!(test.hear(&next).await, next);
    test.chain().blocks.extend([(4, 3), (5, 4)]);
    test.head(5).await;
    let both = [
        "attesters 5 of block 3",
        "attesters 6 of block 4",
        "head",
        "proposers 5 of block 3",
        "proposers 6 of block 4",
    ];
    assert_eq!(test.hear(&both).await, both);
}

#[tokio::test]
async fn before_fulu_proposers_depend_on_a_later_block_than_attesters() {
    let mut test = Test::new(LONG, 1, &[ALWAYS]).await;
    test.chain().v2 = false;
    test.start(Vec::new()).await;
    let first = [
        "attesters 1 of block 1",
        "attesters 2 of block 1",
        "proposers 1 of block 1",
        "proposers 2 of block 1",
        "sync 1",
        "sync 2",
    ];
    assert_eq!(test.hear(&first).await, first);
    test.chain().blocks.insert(1, 2);
    test.head(1).await;
    let changed = ["attesters 2 of block 2", "head", "proposers 1 of block 2"];
    assert_eq!(test.hear(&changed).await, changed);
}

#[tokio::test]
async fn validators_have_duties_from_their_first_epoch_to_their_last() {
    // One that is there, one that comes and one that leaves.
    let mut test = Test::new(LONG, 5, &[ALWAYS, 6..u64::MAX, 0..6]).await;
    test.start(Vec::new()).await;
    test.hear(&[
        "attesters 5 of block 1",
        "attesters 6 of block 1",
        "sync 5",
        "sync 6",
    ])
    .await;
    assert_eq!(test.calls(&format!("{ATTESTERS}5")), [json!(["100", "102"])]);
    assert_eq!(test.calls(&format!("{ATTESTERS}6")), [json!(["100", "101"])]);
    assert_eq!(test.calls(&format!("{SYNC}5")), [json!(["100", "102"])]);
    // Members of the sync committee remain it when they leave.
    assert_eq!(test.calls(&format!("{SYNC}6")), [json!(["100", "101", "102"])]);
}

#[tokio::test]
async fn a_validator_that_appears_is_asked_about_at_once() {
    let test = Test::new(SHORT, 5, &[ALWAYS, ALWAYS]).await;
    let newcomer = test.chain().validators.pop().unwrap();
    test.start(Vec::new()).await;
    until(|| !test.chain().calls.is_empty()).await;
    until(|| {
        test.chain()
            .calls
            .iter()
            .any(|(path, _)| path.starts_with(ATTESTERS))
    })
    .await;
    test.chain().validators.push(newcomer);
    let both = json!(["100", "101"]);
    let asked_anew = || {
        let chain = test.chain();
        let about_both = chain
            .calls
            .iter()
            .find(|(path, body)| path.starts_with(ATTESTERS) && *body == both);
        about_both.is_some_and(|(path, _)| chain.calls.contains(&(path.clone(), json!(["100"]))))
    };
    until(asked_anew).await;
}

#[tokio::test]
async fn without_events_duties_are_asked_for_again_by_themselves() {
    let mut test = Test::new(SHORT, 5, &[ALWAYS]).await;
    test.chain().streams = None;
    test.start(Vec::new()).await;
    // Duties of each epoch are changed when they were told first.
    let (mut epoch, mut block) = (0, 1);
    let told_again = async {
        while let Some(event) = test.heard.recv().await {
            let Event::Attesters { epoch: of, duties } = event else {
                continue;
            };
            if of > epoch {
                (epoch, block) = (of, block + 1);
                test.chain().blocks.insert(of - 1, block);
            } else if of == epoch && duties[0].1.committee_length == u64::from(block) {
                return;
            }
        }
    };
    tokio::time::timeout(TEST_PATIENCE, told_again).await.unwrap();
}

#[tokio::test]
async fn a_question_that_hangs_holds_up_neither_heads_nor_other_questions() {
    for (hangs, others) in [
        (VALIDATORS, &["head"][..]),
        (ATTESTERS, &["head", "proposers 5 of block 1", "sync 6"]),
        (
            SYNC,
            &["attesters 6 of block 1", "head", "proposers 5 of block 1"],
        ),
    ] {
        let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
        test.chain().hangs = Some(hangs);
        test.start(Vec::new()).await;
        until(|| test.chain().calls.iter().any(|(path, _)| path.starts_with(hangs))).await;
        test.head(5).await;
        test.hear(others).await;
        // Not only when the patience with it has come to its end.
        assert!(!test.chain().given_up.load(Ordering::SeqCst), "{hangs}");
    }
}

/// A service without a beacon node: everything that it asks fails at once. What it tells, too.
fn alone() -> (Service, mpsc::UnboundedReceiver<Event>) {
    let chain = conclave_beacon::testing::chain("minimal");
    let (events, heard) = mpsc::unbounded_channel();
    let (news, _told) = mpsc::unbounded_channel();
    let nodes = Nodes::new(Vec::new(), Pinned::default());
    let service = Service::new(
        nodes,
        Arc::new(chain),
        Arc::new(group(1)),
        Vec::new(),
        events,
        news,
    );
    (service, heard)
}

/// Where all beacon nodes fail when an epoch begins: of one epoch duties are known, and have to be asked for again before those of the next.
#[tokio::test]
async fn what_failed_is_asked_again_at_the_next_look_and_not_at_once() {
    let (mut service, _heard) = alone();
    let epoch = service.time.epoch_of(service.slot_now());
    service.looked_up = Some(epoch);
    let one = OnChain {
        place: 0,
        active: ALWAYS,
    };
    service.validators.insert(INDEX, one);
    for question in Question::of(epoch) {
        let known = Known {
            whom: service.whom(question),
            half: u64::MAX,
            depends: None,
            duties: Duties::Attesters(Vec::new()),
            backing: Backing::Most,
        };
        service.known.insert(question, known);
    }
    service.refresh();
    let mut asked = 0;
    while let Some(one) = service.asking.join_next().await {
        asked += 1;
        assert!(asked <= 6, "again at once");
        service.answered(one);
    }
    assert_eq!(asked, 6);
}

/// What a node answered about attesters of epoch 6.
fn attesters_of_6(whom: &Whom, half: u64, duties: Vec<(u64, Attester)>, root: u8) -> Asked {
    let word = (
        Duties::Attesters(duties),
        Some(Depends::of_attesters(6, [root; 32])),
    );
    Asked {
        question: Question::Attesters(6),
        whom: whom.clone(),
        half,
        answer: Ok(Answer::Duties(vec![Said {
            node: 0,
            head_slot: 40,
            is_behind: false,
            value: word,
        }])),
    }
}

/// In epoch 5, with one validator.
async fn with_one_validator(test: &Test) -> (Service, Whom) {
    let mut service = test.service(Vec::new()).await;
    let one = OnChain {
        place: 0,
        active: ALWAYS,
    };
    service.validators.insert(INDEX, one);
    let whom = service.whom(Question::Attesters(6));
    (service, whom)
}

#[tokio::test]
async fn an_answer_of_another_branch_replaces_none_of_the_heads() {
    let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
    let (mut service, whom) = with_one_validator(&test).await;
    let head = Head {
        slot: 40,
        block: [7; 32],
        previous_duty_dependent_root: [1; 32],
        current_duty_dependent_root: [2; 32],
        execution_optimistic: false,
    };
    service.told(0, &head).unwrap();
    while test.heard.try_recv().is_ok() {}
    let mut told = |root, half| {
        service.take(attesters_of_6(&whom, half, Vec::new(), root));
        test.heard.try_recv().is_ok()
    };
    // Better than nothing, until there is something better.
    assert!(told(1, 0));
    assert!(told(2, 0));
    assert!(!told(1, 0));
    // The same is no news, but now and then it is told again.
    assert!(!told(2, 0));
    assert!(told(2, 1));
}

/// What was asked before, and is answered when something else would be asked.
#[tokio::test]
async fn an_answer_that_comes_after_the_question_has_changed_counts_for_what_it_is() {
    let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
    let (mut service, whom) = with_one_validator(&test).await;
    let attester = |index| {
        let attester = Attester {
            validator: 0,
            index,
            committee: 0,
            committee_length: 1,
            committees_at_slot: 1,
        };
        (48, attester)
    };
    // The validator had another index when it was asked: nobody attests as somebody else.
    let before = Whom::from([(INDEX + 1, 0)]);
    service.take(attesters_of_6(&before, 0, vec![attester(INDEX + 1)], 1));
    let told = test.heard.try_recv().unwrap();
    assert!(
        matches!(&told, Event::Attesters { duties, .. } if duties.is_empty()),
        "{told:?}"
    );
    // And it is asked about again.
    assert_ne!(service.known[&Question::Attesters(6)].whom, whom);
    service.take(attesters_of_6(&whom, 0, vec![attester(INDEX)], 1));
    let told = test.heard.try_recv().unwrap();
    assert!(
        matches!(&told, Event::Attesters { duties, .. } if duties.len() == 1),
        "{told:?}"
    );
    // The epoch is over.
    let over = Asked {
        question: Question::Attesters(4),
        ..attesters_of_6(&whom, 0, vec![attester(INDEX)], 1)
    };
    service.take(over);
    assert!(test.heard.try_recv().is_err());
    // Validators as they were in the last slot of the epoch before: they are looked up in this one, too.
    service.looked_up = None;
    let asked = Asked {
        question: Question::Validators,
        whom: Whom::new(),
        half: 9,
        answer: Ok(Answer::Validators(Vec::new())),
    };
    service.take(asked);
    assert!(service.under_way.contains_key(&Question::Validators));
}

/// One of three, and the one that is listed first, begins to lie about when a validator attests. It tells the same heads as the others a
/// little later, but that they are of another branch, on which its answers depend; or it answers at once, while the others have much to
/// do.
#[tokio::test]
async fn one_of_three_beacon_nodes_decides_no_duty_alone() {
    futures::join!(
        tells_another_branch_or_is_quicker(true),
        tells_another_branch_or_is_quicker(false)
    );
}

async fn tells_another_branch_or_is_quicker(tells_another_branch: bool) {
    const SLOT_MS: u64 = 750;
    let mut test = Test::new(SLOT_MS, 5, &[ALWAYS]).await;
    let [liar, third] = [
        Test::new(SLOT_MS, 5, &[ALWAYS]).await,
        Test::new(SLOT_MS, 5, &[ALWAYS]).await,
    ];
    for other in [&liar, &third] {
        let genesis = test.chain().genesis;
        other.chain().genesis = genesis;
    }
    let nodes = connect(&[&liar.server, &test.server, &third.server]).await;
    let chain = nodes.chain().unwrap();
    let time = chain.time();
    let name = nodes.health().remove(0).name;
    let (news, mut told) = mpsc::unbounded_channel();
    let group = Arc::new(test.group.clone());
    // All stay of use, however long this machine stands still: who is left alone by the others is another matter.
    tokio::spawn(Service::new(nodes, chain, group, Vec::new(), test.events.clone(), news).work());
    let chains = [&liar, &test, &third].map(|one| one.chain.clone());
    let tell = |place: usize, slot: u64, branch: u8| {
        chains[place].lock().unwrap().tell(&Head {
            slot,
            block: [u8::try_from(slot).unwrap(); 32],
            previous_duty_dependent_root: [branch; 32],
            current_duty_dependent_root: [branch; 32],
            execution_optimistic: false,
        });
    };
    let (mut epochs, mut named, mut lies) = (BTreeSet::new(), BTreeSet::new(), false);
    let expected = BTreeSet::from([(name, About::Attesters)]);
    let mut slots = tokio::time::interval(Duration::from_millis(SLOT_MS / 5));
    let all = async {
        while epochs.len() < 6 || named != expected {
            tokio::select! {
                Some(event) = test.heard.recv() => if let Event::Attesters { epoch, duties } = event {
                    let right = |(slot, attester): &(u64, Attester)| *slot == epoch * 8 && attester.index == INDEX;
                    let context = format!("{tells_another_branch} {lies}, epoch {epoch}: {duties:?}");
                    assert!(duties.len() == 1 && duties.iter().all(right), "{context}");
                    epochs.insert(epoch);
                    if epochs.len() == 2 {
                        lies = true;
                        liar.chain().lies = (0, 1);
                        if tells_another_branch {
                            liar.chain().depends = Some(9);
                        } else {
                            for honest in &chains[1..] {
                                honest.lock().unwrap().delay = Duration::from_millis(1_150);
                            }
                        }
                    }
                },
                Some(news) = told.recv() => if let Told::Dissent(dissent) = news {
                    named.extend(dissent.into_iter().map(|one| (one.name, one.about)));
                },
                _ = slots.tick() => {
                    let slot = time.slot_at(now_ms()).unwrap();
                    (1..3).for_each(|honest| tell(honest, slot, 1));
                    tell(0, slot, if lies && tells_another_branch { 9 } else { 1 });
                },
            }
            assert!(named.is_subset(&expected), "{named:?}");
        }
    };
    tokio::time::timeout(TEST_PATIENCE, all).await.unwrap();
}

/// The one that is listed first begins to lie: about the index of a validator, and about when it attests.
#[tokio::test]
async fn one_of_two_beacon_nodes_moves_no_validator_and_no_duty() {
    const SLOT_MS: u64 = 750;
    let mut test = Test::new(SLOT_MS, 5, &[ALWAYS]).await;
    let liar = Test::new(SLOT_MS, 5, &[ALWAYS]).await;
    liar.chain().genesis = test.chain().genesis;
    let nodes = connect(&[&liar.server, &test.server]).await;
    let chain = nodes.chain().unwrap();
    let name = nodes.health().remove(0).name;
    let (news, mut told) = mpsc::unbounded_channel();
    let group = Arc::new(test.group.clone());
    // All stay of use, however long this machine stands still: who is left alone by the others is another matter.
    tokio::spawn(Service::new(nodes, chain, group, Vec::new(), test.events.clone(), news).work());
    let (mut epochs, mut named) = (BTreeSet::new(), BTreeSet::new());
    let both = BTreeSet::from([(name.clone(), About::Index), (name, About::Attesters)]);
    let all = async {
        while epochs.len() < 7 || !both.is_subset(&named) {
            tokio::select! {
                Some(event) = test.heard.recv() => if let Event::Attesters { epoch, duties } = event {
                    let right = |(slot, attester): &(u64, Attester)| *slot == epoch * 8 && attester.index == INDEX;
                    assert!(duties.len() == 1 && duties.iter().all(right), "epoch {epoch}: {duties:?}");
                    epochs.insert(epoch);
                    if epochs.len() == 2 {
                        liar.chain().lies = (1, 1);
                    }
                },
                Some(news) = told.recv() => if let Told::Dissent(dissent) = news {
                    named.extend(dissent.into_iter().map(|one| (one.name, one.about)));
                },
            }
        }
    };
    tokio::time::timeout(TEST_PATIENCE, all).await.unwrap();
    assert_eq!(named, both);
}

/// A service of these nodes, in epoch 5, with one validator, when its slots are long.
async fn of_several(tests: &[&Test]) -> Service {
    for other in &tests[1..] {
        let genesis = tests[0].chain().genesis;
        other.chain().genesis = genesis;
    }
    let servers: Vec<&Server> = tests.iter().map(|test| &test.server).collect();
    let nodes = connect(&servers).await;
    let chain = nodes.chain().unwrap();
    let (news, _told) = mpsc::unbounded_channel();
    let group = Arc::new(tests[0].group.clone());
    Service::new(nodes, chain, group, Vec::new(), tests[0].events.clone(), news)
}

/// The one that is in step is slow for a while, and the other one, which is behind, knows other duties.
#[tokio::test]
async fn a_beacon_node_that_is_behind_replaces_nothing_when_the_other_one_is_slow() {
    let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
    let behind = Test::new(LONG, 5, &[ALWAYS]).await;
    {
        let mut chain = behind.chain();
        (chain.behind, chain.lies) = (true, (1, 1));
    }
    let mut service = of_several(&[&test, &behind]).await;
    let mut slow = false;
    loop {
        service.refresh();
        while let Some(answer) = service.asking.join_next().await {
            service.answered(answer);
        }
        while let Ok(event) = test.heard.try_recv() {
            if let Event::Attesters { epoch, duties } = event {
                let right =
                    |(slot, attester): &(u64, Attester)| *slot == epoch * 8 && attester.index == INDEX;
                assert!(
                    duties.len() == 1 && duties.iter().all(right),
                    "{slow}: {duties:?}"
                );
            }
        }
        assert_eq!(service.named, BTreeSet::new());
        if slow {
            break;
        }
        slow = true;
        test.chain().hangs = Some("/eth/v1/");
        for known in service.known.values_mut() {
            known.half = u64::MAX;
        }
        service.looked_up = None;
    }
    // It was asked, and answered.
    for path in [VALIDATORS.to_owned(), format!("{ATTESTERS}5")] {
        assert!(!behind.calls(&path).is_empty(), "{path}");
    }
}

/// One of three is the first to answer and says something else; the others follow so many rounds later, or never. How often was asked, who
/// backs what is known then, and whether it is what the others say.
async fn asked_again_of_one_that_differs(slow_for: Option<usize>) -> (usize, Backing, bool) {
    let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
    let others = [
        Test::new(LONG, 5, &[ALWAYS]).await,
        Test::new(LONG, 5, &[ALWAYS]).await,
    ];
    test.chain().lies = (0, 1);
    let mut service = of_several(&[&test, &others[0], &others[1]]).await;
    let one = OnChain {
        place: 0,
        active: ALWAYS,
    };
    service.validators.insert(INDEX, one);
    let epoch = service.time.epoch_of(service.slot_now());
    service.looked_up = Some(epoch);
    let question = Question::Attesters(epoch);
    for other in &others {
        other.chain().hangs = Some("/eth/v1/validator");
    }
    let mut rounds = 0;
    loop {
        service.refresh();
        if service.asking.is_empty() {
            break;
        }
        rounds += 1;
        while let Some(answer) = service.asking.join_next().await {
            service.answered(answer);
        }
        if rounds == 1 {
            assert_eq!(service.known[&question].backing, Backing::Few);
            // Not again in the same slot.
            service.refresh();
            assert!(service.asking.is_empty());
        }
        if Some(rounds) == slow_for {
            for other in &others {
                other.chain().hangs = None;
            }
        }
        for (slot, _) in service.asked_again.values_mut() {
            *slot = u64::MAX;
        }
    }
    let mut last = None;
    while let Ok(event) = test.heard.try_recv() {
        if let Event::Attesters { epoch: of, duties } = event
            && of == epoch
        {
            last = duties.first().map(|(slot, _)| *slot);
        }
    }
    (rounds, service.known[&question].backing, last == Some(epoch * 8))
}

#[tokio::test]
async fn what_only_one_of_several_said_is_asked_again_in_the_next_slots() {
    // Once more while they were slow, and once when they were not: then it is known.
    assert_eq!(
        asked_again_of_one_that_differs(Some(2)).await,
        (3, Backing::Most, true),
        "the others are right"
    );
    // Who never answers is not asked for ever.
    let again = usize::try_from(AGAIN).unwrap();
    assert_eq!(
        asked_again_of_one_that_differs(None).await,
        (1 + again, Backing::Few, false)
    );
}

/// Where there is no other one that could say more, nothing is gained by it.
#[tokio::test]
async fn the_only_beacon_node_is_not_asked_again_because_it_is_behind() {
    let test = Test::new(LONG, 5, &[ALWAYS]).await;
    test.chain().behind = true;
    let mut service = of_several(&[&test]).await;
    let one = OnChain {
        place: 0,
        active: ALWAYS,
    };
    service.validators.insert(INDEX, one);
    let epoch = service.time.epoch_of(service.slot_now());
    service.looked_up = Some(epoch);
    for round in 0..3 {
        service.refresh();
        assert_eq!(service.asking.is_empty(), round > 0, "{round}");
        while let Some(answer) = service.asking.join_next().await {
            service.answered(answer);
        }
        for (slot, _) in service.asked_again.values_mut() {
            *slot = u64::MAX;
        }
    }
    assert_eq!(
        service.known[&Question::Attesters(epoch)].backing,
        Backing::Behind
    );
}

/// Two of three are behind, and their heads, which do not change any more, are of another branch.
#[tokio::test]
async fn heads_of_nodes_that_are_behind_speak_against_nothing_that_is_known() {
    for behind in [true, false] {
        let test = Test::new(LONG, 5, &[ALWAYS]).await;
        let others = [
            Test::new(LONG, 5, &[ALWAYS]).await,
            Test::new(LONG, 5, &[ALWAYS]).await,
        ];
        for other in &others {
            other.chain().behind = behind;
        }
        let mut service = of_several(&[&test, &others[0], &others[1]]).await;
        let known = Known {
            whom: Whom::new(),
            half: 0,
            depends: Some(Depends::of_attesters(6, [1; 32])),
            duties: Duties::Attesters(Vec::new()),
            backing: Backing::Most,
        };
        for (place, branch) in [(0, 1), (1, 9), (2, 9)] {
            let head = Head {
                slot: 40,
                block: [7; 32],
                previous_duty_dependent_root: [branch; 32],
                current_duty_dependent_root: [branch; 32],
                execution_optimistic: false,
            };
            service.told(place, &head).unwrap();
        }
        assert_eq!(service.is_surely_stale(&known), !behind);
        // Nor do they say on which branch the head is that all have.
        assert_eq!(service.is_stale(&known), !behind);
    }
}

/// One of two that hangs costs a second, not the duties.
#[tokio::test]
async fn duties_do_not_wait_for_a_beacon_node_that_hangs() {
    let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
    let hung = Test::new(LONG, 5, &[ALWAYS]).await;
    {
        let mut chain = hung.chain();
        chain.genesis = test.chain().genesis;
        chain.hangs = Some("/eth/v1/validator/duties");
    }
    let nodes = connect(&[&hung.server, &test.server]).await;
    let chain = nodes.chain().unwrap();
    let (news, _told) = mpsc::unbounded_channel();
    let group = Arc::new(test.group.clone());
    let began = Instant::now();
    tokio::spawn(Service::new(nodes, chain, group, Vec::new(), test.events.clone(), news).run());
    test.hear(&["attesters 5 of block 1", "attesters 6 of block 1", "sync 5"])
        .await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn beacon_nodes_are_told_of_fees_builders_and_sync_subcommittees() {
    let test = Test::new(LONG, 5, &[ALWAYS]).await;
    let registration = SignedRegistration {
        message: RegistrationMessage {
            fee_recipient: [1; 20],
            gas_limit: 2,
            timestamp: 3,
            pubkey: [4; 48],
        },
        signature: [5; 96],
    };
    test.start(vec![registration]).await;
    let told = |path: &'static str| {
        let test = &test;
        async move {
            until(|| !test.calls(path).is_empty()).await;
            test.calls(path).remove(0)
        }
    };
    assert_eq!(
        told("/eth/v1/validator/prepare_beacon_proposer").await,
        json!([{ "validator_index": "100", "fee_recipient": format!("0x{}", "09".repeat(20)) }])
    );
    assert_eq!(
        told("/eth/v1/validator/register_validator").await,
        json!([{
            "message": {
                "fee_recipient": format!("0x{}", "01".repeat(20)), "gas_limit": "2", "timestamp": "3",
                "pubkey": format!("0x{}", "04".repeat(48)),
            },
            "signature": format!("0x{}", "05".repeat(96)),
        }])
    );
    // A period has 8 epochs.
    assert_eq!(
        told("/eth/v1/validator/sync_committee_subscriptions").await,
        json!([{ "validator_index": "100", "sync_committee_indices": ["3", "17"], "until_epoch": "8" }])
    );
}

#[tokio::test]
async fn a_beacon_node_that_was_restarted_is_told_everything_again() {
    let mut test = Test::new(LONG, 5, &[ALWAYS]).await;
    let mut service = test.service(Vec::new()).await;
    for round in 1..3 {
        // The second time is idle.
        for _ in 0..2 {
            service.refresh();
            while let Some(answer) = service.asking.join_next().await {
                service.answered(answer);
            }
        }
        let told = |path| test.calls(path).len();
        until(|| told("/eth/v1/validator/prepare_beacon_proposer") == round).await;
        until(|| told("/eth/v1/validator/sync_committee_subscriptions") == 2 * round).await;
        // By which the core subscribes to committees.
        let mut heard = Vec::new();
        while let Ok(event) = test.heard.try_recv() {
            heard.extend(matches!(event, Event::Attesters { .. }).then_some(()));
        }
        assert_eq!(heard.len(), 2, "{round}");
        service.forgotten = true;
    }
}

/// How a node of the chain of [`MINIMAL_SPEC`] says that it has the newest head.
fn in_step(call: &Call) -> Option<Response> {
    let head = (now_ms() - 1_700_000_000_000) / 4000;
    let said = json!({ "head_slot": head.to_string(), "sync_distance": "0", "is_syncing": false });
    (call.path() == "/eth/v1/node/syncing").then(|| data(&said))
}

#[tokio::test]
async fn a_beacon_node_that_is_back_is_of_use_within_a_slot() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hung = hangs.clone();
    let server = serve(7, move |call| {
        let hangs = hung.load(Ordering::SeqCst);
        let in_step = in_step(&call);
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            in_step
        }
        .boxed()
    })
    .await;
    hangs.store(false, Ordering::SeqCst);
    let nodes = connect(&[&server]).await;
    let time = nodes.chain().unwrap().time();
    let slot = Duration::from_millis(time.slot_ms);
    hangs.store(true, Ordering::SeqCst);
    let (events, _heard) = mpsc::unbounded_channel();
    tokio::spawn(look_after(nodes.clone(), time, events));
    let until = |ready: bool| {
        let nodes = &nodes;
        async move {
            while nodes.is_ready() != ready {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(slot * 2, until(false)).await.unwrap();
    hangs.store(false, Ordering::SeqCst);
    tokio::time::timeout(slot, until(true)).await.unwrap();
}

#[tokio::test]
async fn a_beacon_node_that_hangs_does_not_keep_the_others_heads_waiting() {
    let hangs = Arc::new(AtomicBool::new(false));
    let (hung, seen) = (hangs.clone(), hangs.clone());
    let given_up = Arc::new(AtomicBool::new(false));
    let gone = given_up.clone();
    let slow = serve(7, move |call| {
        let hangs = hung.load(Ordering::SeqCst);
        let gone = (hangs && call.path() == "/eth/v1/node/syncing").then(|| Gone(gone.clone()));
        async move {
            if hangs {
                let _gone = gone;
                std::future::pending::<()>().await;
            }
            None
        }
        .boxed()
    })
    .await;
    let quick = serve(7, move |call| {
        let root = format!("0x{}", "11".repeat(32));
        let head = format!(
            "event: head\ndata: {{\"slot\":\"9\",\"block\":\"{root}\",\"previous_duty_dependent_root\":\"{root}\",\
             \"current_duty_dependent_root\":\"{root}\"}}\n\n"
        );
        let hangs = seen.load(Ordering::SeqCst);
        let in_step = in_step(&call);
        let answer = (call.path() == "/eth/v1/events" && hangs).then(|| {
            // When the other one has long been asked how it is.
            let later = async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, std::io::Error>(head)
            };
            let stream = futures::stream::once(later).chain(futures::stream::pending());
            ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
        });
        async move { answer.or(in_step) }.boxed()
    })
    .await;
    let nodes = connect(&[&quick, &slow]).await;
    given_up.store(false, Ordering::SeqCst);
    hangs.store(true, Ordering::SeqCst);
    let group = Group {
        lock_hash: [7; 32],
        threshold: 1,
        operators: Vec::new(),
        validators: Vec::new(),
    };
    let (events, mut heard) = mpsc::unbounded_channel();
    let (news, _told) = mpsc::unbounded_channel();
    let chain = nodes.chain().unwrap();
    tokio::spawn(Service::new(nodes, chain, Arc::new(group), Vec::new(), events, news).run());
    let head = tokio::time::timeout(PATIENCE * 2, async {
        loop {
            if let Some(Event::Head { slot, .. }) = heard.recv().await {
                return slot;
            }
        }
    });
    assert_eq!(head.await.unwrap(), 9);
    // Not only when the patience with the other one has come to its end.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!given_up.load(Ordering::SeqCst));
}

#[tokio::test]
async fn the_core_hears_of_one_head_whichever_beacon_node_told_of_it() {
    let servers = [
        serve(7, |_| async { None }.boxed()).await,
        serve(7, |_| async { None }.boxed()).await,
    ];
    let nodes = connect(&[&servers[0], &servers[1]]).await;
    let chain = nodes.chain().unwrap();
    // By our clock it is slot 1.
    nodes.check(chain.time().start_of(1), soon()).await;
    let (events, mut heard) = mpsc::unbounded_channel();
    let (news, _told) = mpsc::unbounded_channel();
    let mut service = Service::new(nodes, chain, Arc::new(group(1)), Vec::new(), events, news);
    let head = |slot: u64, root: u8| Head {
        slot,
        ..head_of(root)
    };
    let steps = [
        // The second one is first with a block, and the first one a block behind.
        (1, head(1, 8), Some((1, 8))),
        (0, head(0, 7), None),
        (0, head(1, 8), None),
        // They follow two branches of one length: the one that was given first counts.
        (0, head(1, 9), Some((1, 9))),
        (1, head(1, 10), None),
        (0, head(1, 10), Some((1, 10))),
    ];
    for (place, head, expected) in steps {
        service.told(place, &head).unwrap();
        // When it came counts, whosever head it becomes.
        let came = heard.try_recv().unwrap();
        assert!(
            matches!(came, Event::Heard { slot, root } if (slot, root) == (head.slot, head.block)),
            "{came:?}"
        );
        let told = heard.try_recv().ok().map(|event| match event {
            Event::Head { slot, root } => (slot, root[0]),
            event => panic!("{event:?}"),
        });
        assert_eq!(told, expected, "{place} {}", head.slot);
        // Duties follow the same head.
        let ours = service.asker.nodes.head().unwrap().1[0];
        assert_eq!(service.branch, Some(Branch::of(&head_of(ours), 0)), "{place}");
    }
}

#[tokio::test]
async fn a_head_that_a_node_shows_when_it_is_asked_how_it_is_is_told_though_no_event_came() {
    let shows = Arc::new(Mutex::new(None::<String>));
    let shown = shows.clone();
    let server = serve(7, move |call| {
        let head = call.path() == "/eth/v1/beacon/headers/head";
        let answer = shown.lock().unwrap().clone().filter(|_| head);
        async move { answer.map(axum::response::IntoResponse::into_response) }.boxed()
    })
    .await;
    let nodes = connect(&[&server]).await;
    let time = nodes.chain().unwrap().time();
    let slot = time.slot_at(now_ms()).unwrap();
    let (root, header) = header(slot, 1);
    *shows.lock().unwrap() = Some(header.to_string());
    let (events, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(look_after(nodes, time, events));
    let told = tokio::time::timeout(TEST_PATIENCE, heard.recv()).await.unwrap();
    assert!(
        matches!(told, Some(Event::Head { slot: of, root: head }) if (of, head) == (slot, root)),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_head_that_is_ahead_of_our_clock_is_ours_when_its_slot_begins() {
    let servers = [
        serve(7, |_| async { None }.boxed()).await,
        serve(7, |_| async { None }.boxed()).await,
    ];
    let nodes = connect(&[&servers[0], &servers[1]]).await;
    let chain = nodes.chain().unwrap();
    let time = chain.time();
    let slot = time.slot_at(now_ms()).unwrap();
    nodes.check(now_ms(), soon()).await;
    // The first one is a slot ahead of the second one, and of our clock.
    nodes.told(0, slot + 1, [1; 32], false);
    nodes.told(1, slot, [2; 32], false);
    let (events, mut heard) = mpsc::unbounded_channel();
    let (news, _told) = mpsc::unbounded_channel();
    tokio::spawn(Service::new(nodes, chain, Arc::new(group(1)), Vec::new(), events, news).run());
    let ours = async {
        while let Some(event) = heard.recv().await {
            if let Event::Head { root, .. } = event
                && root == [1; 32]
            {
                return now_ms();
            }
        }
        u64::MAX
    };
    let patience = Duration::from_millis(time.slot_ms * 3);
    let at = tokio::time::timeout(patience, ours).await.unwrap();
    // Not only when the nodes are asked again how they are, in the middle of the slot.
    let begins = time.start_of(slot + 1);
    assert!((begins..begins + time.slot_ms / 2).contains(&at), "{at} {begins}");
}

/// A head of the first epoch.
fn head_of(root: u8) -> Head {
    Head {
        slot: 1,
        block: [root; 32],
        previous_duty_dependent_root: [root; 32],
        current_duty_dependent_root: [root; 32],
        execution_optimistic: false,
    }
}

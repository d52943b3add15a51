//! The loop around the core, with a disk that is not well and beacon nodes that learn of forks.

use std::{
    sync::{atomic::AtomicU64, mpsc::RecvTimeoutError},
    thread::JoinHandle,
};

use axum::response::IntoResponse as _;
use futures::FutureExt as _;
use tokio::runtime::Runtime;

use super::{exits::Tools, work::tests::works, *};
use crate::{
    alive::Watch,
    core::schedule::Attester,
    exits::{
        Domain, PartialExit,
        tests::{group, node_key, share},
    },
    group::Operator,
    observed::ExitStage,
    wire::{Abilities, Hello, PROTOCOL},
};
use conclave_beacon::testing::{MINIMAL_SPEC, chain, connect, serve, soon};
use conclave_eth::exit::VoluntaryExit;
use conclave_slashing::{
    Answer, Attested, Message as Slashable, Record, Request, Timing,
    testing::{Mood, Moody},
};

/// Long enough for any test on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SLOT_MS: u64 = 100;

/// Keeps nothing.
struct NoShelf;

impl Shelf for NoShelf {
    fn load(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn keep(&self, _: &str, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// A running operator, alone in its group of three.
struct Bench {
    guard: Arc<Guard>,
    works: Works,
    news: std::sync::mpsc::Receiver<News>,
    stop: Arc<AtomicBool>,
    driver: JoinHandle<Result<Ended, RunError>>,
}

/// The minimal chain, in a hurry: an epoch is as long as two slots.
fn hasty() -> Chain {
    let mut chain = chain("minimal");
    (chain.spec.slot_ms, chain.spec.slots_per_epoch) = (SLOT_MS, 2);
    chain
}

impl Bench {
    fn begin(runtime: &Arc<Runtime>, guard: Guard, nodes: Nodes, chain: Chain, clock: Clock) -> Self {
        Self::begin_with(runtime, Arc::new(guard), nodes, chain, clock)
    }

    fn begin_with(
        runtime: &Arc<Runtime>,
        guard: Arc<Guard>,
        nodes: Nodes,
        chain: Chain,
        clock: Clock,
    ) -> Self {
        let inside = runtime.enter();
        let chain = Arc::new(chain);
        let keys: Vec<NodeKey> = (1..4)
            .map(|byte| NodeKey::from_bytes(&[byte; 32]).unwrap())
            .collect();
        let operators: Vec<_> = keys.iter().map(NodeKey::public).collect();
        let group = Arc::new(Group {
            lock_hash: [7; 32],
            threshold: 2,
            operators: operators
                .iter()
                .map(|key| Operator {
                    name: "somebody".to_owned(),
                    key: *key,
                })
                .collect(),
            validators: Vec::new(),
        });
        let key = || NodeKey::from_bytes(&[1; 32]).unwrap();
        let config = network::Config::new(key(), operators.clone(), Limits { validators: 0 });
        let (handle, mut net) = network::start::<Run>(config).unwrap();
        let (events, inbox) = mpsc::unbounded_channel();
        let (mut works, told) = works(runtime, SLOT_MS);
        works.nodes = nodes.clone();
        works.chain = chain.clone();
        works.group = group.clone();
        works.guard = Some(guard.clone());
        works.events = events;
        let (tell, exit_news) = mpsc::unbounded_channel();
        let exits = Exits::start(Tools {
            group: group.clone(),
            chain: chain.clone(),
            nodes: nodes.clone(),
            me: 1,
            key: key(),
            shares: Arc::default(),
            shelf: Box::new(NoShelf),
            network: handle.clone(),
            runtime: runtime.handle().clone(),
            news: tell,
            dry_run: false,
        });
        let settings = Settings {
            group,
            chain: chain.clone(),
            me: 1,
            software: String::new(),
            dry_run: false,
            builder: false,
            history: History::Whole,
            excused: BTreeSet::new(),
        };
        let start = start_at(chain.time(), now_ms(), None);
        let signatures = NodeSignatures::new(key(), operators);
        let core = Core::new(settings, signatures, [1; 16], BTreeMap::new(), start, now_ms()).unwrap();
        drop(inside);
        let (said, news) = std::sync::mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (interrupted, runtime) = (stop.clone(), runtime.clone());
        let shared = works.clone();
        let driver = std::thread::spawn(move || {
            let mut watch = |news| {
                let _ = said.send(news);
            };
            let mut keep = |_: &[(u16, Vec<Multiaddr>)]| ();
            let mut driver = Driver {
                core,
                clock,
                chain,
                works,
                marked: None,
                network: handle,
                voice: None,
                exits,
                nodes,
                pulse: Pulse::begin(),
                slot: None,
                piece: None,
                watch: &mut watch,
                keep: &mut keep,
            };
            let drive = driver.drive(&mut net, Early::default(), inbox, exit_news, told, &interrupted);
            runtime.block_on(drive)
        });
        Self {
            guard,
            works: shared,
            news,
            stop,
            driver,
        }
    }

    /// The next news that this finds something in.
    fn next<T>(&self, find: impl Fn(News) -> Option<T>) -> T {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            match self
                .news
                .recv_timeout(end.saturating_duration_since(std::time::Instant::now()))
            {
                Ok(news) => {
                    if let Some(found) = find(news) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("the loop hangs"),
                Err(RecvTimeoutError::Disconnected) => panic!("the loop has ended"),
            }
        }
    }

    /// So many slots begin.
    fn slots(&self, count: usize) {
        for _ in 0..count {
            self.next(|news| matches!(news, News::Slot(_)).then_some(()));
        }
    }

    fn marked(&self) {
        self.next(|news| matches!(news, News::Marked(None)).then_some(()));
    }

    fn trouble(&self) -> String {
        self.next(|news| match news {
            News::Guard(Some(why)) => Some(why),
            _ => None,
        })
    }

    fn ends(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.driver.join().unwrap().unwrap(), Ended::Asked);
    }
}

fn nobody() -> Nodes {
    Nodes::new(Vec::new(), Pinned::default())
}

/// Asks for an attestation of a slot, whenever that is.
fn attest(guard: &Guard, time: Time, slot: u64) -> Result<Answer, GuardError> {
    let epoch = time.epoch_of(slot);
    guard.permit(&Request {
        message: Slashable::Attestation {
            slot,
            source: epoch - 1,
            target: epoch,
        },
        signing_root: [1; 32],
        validators: &[0],
        timing: Timing {
            now_ms: time.start_of(slot),
            slot_start_ms: time.start_of(slot),
            slot_ms: time.slot_ms,
            deadline_ms: time.end_of(slot),
            epoch,
        },
    })
}

#[test]
fn a_disk_that_fails_when_an_epoch_begins_ends_nothing() {
    let runtime = Arc::new(Runtime::new().unwrap());
    let chain = hasty();
    let time = chain.time();
    let (guard, disk) = Moody::guard();
    let bench = Bench::begin(&runtime, guard, nobody(), chain, Clock::new(SLOT_MS * 600));
    bench.marked();
    disk.becomes(Mood::Fails);
    // What is read may be in memory: after a failure it is read anew.
    let slot = time.slot_at(now_ms()).unwrap();
    attest(&bench.guard, time, slot).unwrap_err();
    assert!(!bench.trouble().is_empty());
    bench.slots(6);
    disk.becomes(Mood::Well);
    bench.marked();
    bench.ends();
}

#[test]
fn a_disk_that_hangs_when_an_epoch_begins_holds_up_nothing() {
    let runtime = Arc::new(Runtime::new().unwrap());
    let chain = hasty();
    let time = chain.time();
    let (guard, disk) = Moody::guard();
    let bench = Bench::begin(&runtime, guard, nobody(), chain, Clock::new(SLOT_MS * 600));
    bench.marked();
    disk.becomes(Mood::Hangs);
    let guard = bench.guard.clone();
    let slot = time.slot_at(now_ms()).unwrap();
    let asking = std::thread::spawn(move || attest(&guard, time, slot).unwrap());
    disk.wait_for_a_victim();
    assert!(bench.trouble().contains("has not answered for a slot"));
    bench.slots(6);
    disk.becomes(Mood::Well);
    assert!(asking.join().unwrap().permit.is_some());
    bench.marked();
    bench.ends();
}

#[test]
fn a_clock_that_jumps_while_the_disk_hangs_lets_nothing_out_that_was_asked_before() {
    let runtime = Arc::new(Runtime::new().unwrap());
    let chain = hasty();
    let time = chain.time();
    let (guard, disk) = Moody::guard();
    disk.becomes(Mood::Hangs);
    let slot = time.slot_at(now_ms()).unwrap();
    let guard = Arc::new(guard);
    let asked = guard.clone();
    let asking = std::thread::spawn(move || attest(&asked, time, slot).unwrap());
    disk.wait_for_a_victim();
    // As if the wall clock had been behind by an hour until now.
    let clock = Clock::begun(now_ms() - 3_600_000, std::time::Instant::now(), SLOT_MS * 600);
    let bench = Bench::begin_with(&runtime, guard, nobody(), chain, clock);
    let start = bench.next(|news| match news {
        News::Starts(start) => Some(start),
        _ => None,
    });
    assert!(start.first_slot > slot && start.first_target > time.epoch_of(slot));
    bench.slots(6);
    disk.becomes(Mood::Well);
    let answer = asking.join().unwrap();
    assert_eq!((answer.permit, answer.refused.len()), (None, 1));
    // From the new start on it signs.
    let later = time.first_slot(start.first_target);
    assert!(attest(&bench.guard, time, later).unwrap().permit.is_some());
    bench.ends();
}

/// A second process with this share is seen: this one ends for good, and the guard of a restored folder raises what its later starts left
/// out, as what was signed is not known any more. A disk that hangs then keeps nobody alive.
#[test]
fn a_twin_ends_the_process_and_begins_a_restored_wait_anew() {
    let runtime = Arc::new(Runtime::new().unwrap());
    let to = |epoch: u64| Record {
        block: Some(epoch * 2 + 5),
        attested: Some(Attested {
            source: epoch,
            target: epoch + 2,
        }),
    };
    for mood in [Mood::Well, Mood::Hangs] {
        let chain = hasty();
        let time = chain.time();
        let (guard, disk) = Moody::guard();
        guard.mark_restored().unwrap();
        guard.raise(to(10)).unwrap();
        guard.raise(to(20)).unwrap();
        let source = |guard: &Guard| guard.highest().unwrap().attested.unwrap().source;
        assert_eq!(source(&guard), 10);
        let bench = Bench::begin(&runtime, guard, nobody(), chain, Clock::new(SLOT_MS * 600));
        bench.slots(1);
        let operators: Vec<_> = (1..4)
            .map(|byte| NodeKey::from_bytes(&[byte; 32]).unwrap().public())
            .collect();
        let signatures = NodeSignatures::new(NodeKey::from_bytes(&[1; 32]).unwrap(), operators);
        let slot = time.slot_at(now_ms()).unwrap();
        let watch = |instance| Watch::new(1, instance, [7; 32]);
        let mut twin = watch([2; 16]);
        twin.take(&watch([1; 16]).say(&signatures, slot), &signatures, slot);
        let shown = twin.say(&signatures, slot);
        disk.becomes(mood);
        let hello = Hello {
            protocol: PROTOCOL,
            lock_hash: [7; 32],
            instance: [3; 16],
            clock_ms: now_ms(),
            proofs: Proofs::default(),
            watches: false,
            software: String::new(),
            abilities: Abilities::own(false),
        };
        for event in [
            Event::Connected(2),
            Event::Message {
                from: 2,
                message: Message::Hello(hello),
            },
            Event::Message {
                from: 2,
                message: Message::Alive(shown),
            },
        ] {
            bench.works.events.send(event).unwrap();
        }
        let Bench {
            guard, driver, news, ..
        } = bench;
        assert_eq!(
            driver.join().unwrap().unwrap(),
            Ended::Stopped(Stop::Twin([2; 16]))
        );
        assert!(
            news.iter()
                .any(|news| matches!(news, News::Stopped(Stop::Twin(_))))
        );
        disk.becomes(Mood::Well);
        // What was asked of the disk while it hung is done, or not, a moment later.
        if matches!(mood, Mood::Well) {
            assert_eq!(source(&guard), 20);
            guard.raise(to(30)).unwrap();
            assert_eq!(source(&guard), 30, "the next start is the first one again");
        }
    }
}

/// Whoever looks sees each exit as far as it is, whoever consented to it and wherever that was heard.
#[test]
fn what_others_send_of_an_exit_is_shown_whenever_it_changes() {
    let runtime = Runtime::new().unwrap();
    let inside = runtime.enter();
    let (group, chain) = (Arc::new(group()), Arc::new(hasty()));
    let operators = group.operators.iter().map(|operator| operator.key).collect();
    let config = network::Config::new(node_key(1), operators, Limits { validators: 2 });
    let (network, _net) = network::start::<Run>(config).unwrap();
    let (tell, mut news) = mpsc::unbounded_channel();
    let exits = Exits::start(Tools {
        group: group.clone(),
        chain: chain.clone(),
        nodes: nobody(),
        me: 1,
        key: node_key(1),
        shares: Arc::default(),
        shelf: Box::new(NoShelf),
        network,
        runtime: runtime.handle().clone(),
        news: tell,
        dry_run: false,
    });
    drop(inside);
    let domain = Domain {
        capella_fork_version: chain.spec.capella_fork_version,
        genesis_validators_root: chain.genesis.validators_root,
    };
    let mut shown = || {
        let next = async {
            loop {
                if let News::ExitsStand { validator: 1, exits } = news.recv().await.unwrap() {
                    return exits;
                }
            }
        };
        let exits = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, next).await })
            .unwrap();
        let exits = exits.into_iter().map(|one| (one.epoch, one.consents, one.stage));
        let mut exits: Vec<_> = exits.collect();
        exits.sort_by_key(|one| one.0);
        exits
    };
    // From whomever it comes.
    let hear = |operator, epoch| {
        let message = VoluntaryExit {
            epoch,
            validator_index: 77,
        };
        let partial = PartialExit::sign(
            (operator, &node_key(operator)),
            (1, &share(operator, 1)),
            &group.lock_hash,
            &domain,
            message,
            now_ms(),
        );
        exits.heard(2, partial);
    };
    for operator in 2..=4 {
        hear(operator, 0);
        let stage = match operator {
            4 => ExitStage::Signed,
            _ => ExitStage::Waits,
        };
        assert_eq!(shown(), [(0, (2..=operator).collect(), stage)]);
    }
    // There is no beacon node.
    let all = shown();
    let not_taken = matches!(&all[..], [(0, consents, ExitStage::NotTaken(_))] if *consents == [2, 3, 4]);
    assert!(not_taken, "{all:?}");
    // Who wants another exit of this validator waits for others to want that one, too.
    hear(1, 5);
    assert_eq!(shown(), [all, vec![(5, vec![1], ExitStage::Waits)]].concat());
    exits.stop();
}

#[test]
fn the_start_counts_from_the_clock_and_the_mark() {
    let time = hasty().time();
    let start = |first_slot, first_target| Start {
        first_slot,
        first_target,
    };
    // Slot 7 of epoch 3.
    let now = time.start_of(7) + 50;
    assert_eq!(start_at(time, now, None), start(8, 4));
    assert_eq!(start_at(time, now, Some(Mark::Moved)), start(8, 6));
    // By a clock that stands in 1970 there is no chain yet.
    assert_eq!(start_at(time, 0, Some(Mark::Moved)), start(0, 0));
    // What a backup has forgotten the others must tell, whatever the clock says.
    assert_eq!(start_at(time, now, Some(Mark::Restored)), Start::NEVER);
    assert_eq!(start_at(time, 0, Some(Mark::Restored)), Start::NEVER);
}

#[test]
fn a_fork_that_a_beacon_node_learns_of_is_known_to_all_and_told() {
    let runtime = Arc::new(Runtime::new().unwrap());
    let gloas = Arc::new(AtomicU64::new(u64::MAX));
    let known = gloas.clone();
    let server = runtime.block_on(serve(7, move |call| {
        let mut spec: serde_json::Value = serde_json::from_str(MINIMAL_SPEC).unwrap();
        spec["data"]["SLOT_DURATION_MS"] = SLOT_MS.to_string().into();
        spec["data"]["GLOAS_FORK_EPOCH"] = known.load(Ordering::SeqCst).to_string().into();
        let answer = (call.path() == "/eth/v1/config/spec").then(|| spec.to_string().into_response());
        async move { answer }.boxed()
    }));
    let nodes = runtime.block_on(connect(&[&server]));
    let chain = Chain::clone(&nodes.chain().unwrap());
    let time = chain.time();
    let (guard, _) = Moody::guard();
    let bench = Bench::begin(&runtime, guard, nodes.clone(), chain, Clock::new(SLOT_MS * 600));
    // Somebody attests in every slot, and something is to be said of each.
    let epoch = time.epoch_at(now_ms()).unwrap();
    for epoch in epoch..epoch + 64 {
        let attester = Attester {
            validator: 0,
            index: 1000,
            committee: 0,
            committee_length: 1,
            committees_at_slot: 1,
        };
        let slots = time.first_slot(epoch)..=time.last_slot(epoch);
        let duties = slots.map(|slot| (slot, attester)).collect();
        let told = bench.works.events.send(Event::Attesters { epoch, duties });
        assert!(told.is_ok());
    }
    let is_over = |news: &News| matches!(news, News::Report(Report::Over { .. }));
    bench.next(|news| is_over(&news).then_some(()));
    // The node is restarted, and knows more.
    gloas.store(epoch, Ordering::SeqCst);
    nodes.pin(Pinned::default());
    runtime.block_on(nodes.check(now_ms(), soon()));
    let chain = bench.next(|news| match news {
        News::Chain(chain) => Some(chain),
        _ => None,
    });
    assert_eq!(chain.spec.unknown_fork(), Some(("gloas", epoch)));
    assert!(Arc::ptr_eq(&chain, &bench.works.newest_chain()));
    // Nothing is due any more.
    for _ in 0..8 {
        bench.next(|news| {
            assert!(!is_over(&news), "{news:?}");
            matches!(news, News::Slot(_)).then_some(())
        });
    }
    bench.ends();
}

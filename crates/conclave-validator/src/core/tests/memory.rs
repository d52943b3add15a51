//! How much of what others send is kept, in bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    core::{
        Core, Effect, Event, History, Settings,
        pools::WAITING,
        schedule::{Attester, Proposer, Schedule, SyncMember},
    },
    memory::Proofs,
    partials::{Item, Partials},
    wire::{Abilities, Hello, Message, PROTOCOL},
};
use conclave_consensus::{
    Signatures as _,
    messages::{Body, LAST_ROUND, Message as Agreement, Proposal, proposal_digest, value_id},
};
use conclave_eth::{
    chain::time::Time,
    duty::{Duty, Kind, Purpose},
};
use conclave_slashing::Start;

use super::sim::{LOCK, Plan, cheap::Cheap, group};

/// Who sends.
const BAD: u16 = 4;
/// Most bytes that one operator may fill.
const MOST: usize = 10 << 20;
/// Those who have a place in the sync committee: all 512 places are ours.
const SYNC: u32 = 512;

struct Bench {
    core: Core<Cheap>,
    time: Time,
    validators: u32,
    /// The same duties as the core knows.
    schedule: Schedule,
}

impl Bench {
    /// Operator 1 of 4 at the beginning of epoch 9, connected with [`BAD`].
    fn new(validators: u32, slots_per_epoch: u64) -> Self {
        let mut plan = Plan::new(4, 3);
        plan.validators = validators;
        let mut chain = super::chain(None);
        chain.spec.slots_per_epoch = slots_per_epoch;
        let time = chain.time();
        let settings = Settings {
            group: Arc::new(group(&plan)),
            chain: Arc::new(chain),
            me: 1,
            software: String::new(),
            dry_run: false,
            builder: false,
            history: History::Whole,
            excused: BTreeSet::new(),
        };
        let start = Start {
            first_slot: 0,
            first_target: 0,
        };
        let now = time.start_of_epoch(9);
        let core = Core::new(settings, Cheap(1), [1; 16], BTreeMap::new(), start, now).unwrap();
        let mut bench = Self {
            core,
            time,
            validators,
            schedule: Schedule::default(),
        };
        bench.core.handle(now, Event::Connected(BAD));
        let hello = Hello {
            protocol: PROTOCOL,
            lock_hash: LOCK,
            instance: [4; 16],
            clock_ms: now,
            proofs: Proofs::default(),
            watches: false,
            software: String::new(),
            abilities: Abilities::default(),
        };
        bench.say(Message::Hello(hello));
        bench
    }

    fn now(&self) -> u64 {
        self.time.first_slot(9)
    }

    fn say(&mut self, message: Message) {
        let now = self.time.start_of(self.now());
        self.core.handle(now, Event::Message { from: BAD, message });
    }

    /// Tells who has which duty in an epoch: everybody attests, somebody proposes in each slot, and the whole sync committee is
    /// ours.
    fn learn(&mut self, epoch: u64) {
        let (first, slots) = (self.time.first_slot(epoch), self.time.slots_per_epoch);
        let attester = |validator: u32| Attester {
            validator,
            index: 1000 + u64::from(validator),
            committee: 0,
            committee_length: 1 << 40,
            committees_at_slot: 1,
        };
        let attesters = (0..self.validators).map(|one| (first + u64::from(one) % slots, attester(one)));
        let duties: Vec<_> = attesters.collect();
        self.schedule.set_attesters(epoch, duties.clone());
        let now = self.time.start_of(self.now());
        self.core.handle(now, Event::Attesters { epoch, duties });
        let proposer = Proposer {
            validator: 7,
            index: 1007,
        };
        let duties: Vec<_> = (first..first + slots).map(|slot| (slot, proposer)).collect();
        self.schedule.set_proposers(epoch, duties.clone());
        self.core.handle(now, Event::Proposers { epoch, duties });
        let member = |validator: u32| SyncMember {
            validator,
            index: 1000 + u64::from(validator),
            subcommittees: vec![u16::try_from(validator % 4).unwrap()],
            places: vec![validator.into()],
        };
        let members: Vec<_> = (0..self.validators.min(SYNC)).map(member).collect();
        self.schedule.set_sync(epoch, members.clone());
        self.core.handle(now, Event::SyncMembers { epoch, members });
    }

    /// Whether partial signatures are of use: as docs/validating.md says.
    fn takes(&self, purpose: Purpose, slot: u64) -> bool {
        let (now, slots) = (self.now(), self.time.slots_per_epoch);
        let (before, after) = match purpose {
            Purpose::Attestation => (slots, 1),
            Purpose::Randao | Purpose::Selection => (2, 2 * slots),
            Purpose::SyncSelection => (2, 4),
            Purpose::Exit => return false,
            _ => (2, 1),
        };
        (now - before..=now + after).contains(&slot)
    }

    /// Partial signatures of [`BAD`] for these validators and places, none of which is right.
    fn partials(&mut self, purpose: Purpose, slot: u64, places: impl IntoIterator<Item = (u32, u16)>) {
        let items: Vec<Item> = places
            .into_iter()
            .map(|(validator, place)| Item {
                validator,
                place,
                root: [7; 32],
                signature: [1; 96],
            })
            .collect();
        if items.is_empty() {
            return;
        }
        let epochs = if purpose == Purpose::Attestation {
            (0, self.time.epoch_of(slot))
        } else {
            (0, 0)
        };
        let partials = Partials::sign(&Cheap(BAD), &LOCK, BAD, purpose, slot, epochs, items);
        self.say(Message::Partials(partials));
    }
}

/// Everything that an operator's share can sign, for duties that exist and for others, in all slots around.
#[test]
fn partial_signatures_of_an_operator_fill_at_most_10_mib_whatever_they_are_for() {
    for slots_per_epoch in [8, 32] {
        for validators in [1_000, 10_000] {
            let mut bench = Bench::new(validators, slots_per_epoch);
            (8..=10).for_each(|epoch| bench.learn(epoch));
            let now = bench.now();
            let mut exist = 0;
            for slot in now - slots_per_epoch - 2..=now + 2 * slots_per_epoch + 2 {
                for purpose in Purpose::ALL {
                    let by_subcommittee = matches!(purpose, Purpose::SyncSelection | Purpose::Contribution);
                    let subcommittees = if by_subcommittee { 4 } else { 1 };
                    let places: Vec<_> = (0..validators)
                        .flat_map(|validator| (0..subcommittees).map(move |place| (validator, place)))
                        .filter(|place| {
                            let exists = bench.schedule.has(&bench.time, purpose, slot, *place);
                            exists || place.0 < 500
                        })
                        .collect();
                    if bench.takes(purpose, slot) {
                        let has =
                            |place: &&(u32, u16)| bench.schedule.has(&bench.time, purpose, slot, **place);
                        exist += places.iter().filter(has).count();
                    }
                    bench.partials(purpose, slot, places.clone());
                    // The same again, with something else in front of it.
                    bench.partials(purpose, slot, places.into_iter().skip(1));
                }
            }
            let (known, unknown) = bench.core.bytes_of(BAD);
            assert!(known >= exist * size_of::<Item>(), "{known} bytes of {exist}");
            assert!(unknown > WAITING / 2 && unknown <= WAITING, "{unknown}");
            assert!(known + unknown <= MOST, "{known} and {unknown} bytes");
            println!(
                "{validators} validators, epochs of {slots_per_epoch} slots: {known} and {unknown} bytes"
            );
            // What is for nothing is gone two slots later, and everything else when it is of no use.
            bench.core.handle(bench.time.start_of(now + 2), Event::Tick);
            let later = bench.core.bytes_of(BAD);
            assert!(later.1 == 0 && later.0 > 0, "{later:?}");
            bench
                .core
                .handle(bench.time.start_of(now + 4 * slots_per_epoch), Event::Tick);
            assert_eq!(bench.core.bytes_of(BAD), (0, 0));
        }
    }
}

/// What [`BAD`] proposes for the block of a slot.
fn proposal(slot: u64, round: u8, value: Vec<u8>) -> Message {
    let duty = Duty {
        slot,
        kind: Kind::Block,
    };
    let value: Arc<[u8]> = value.into();
    let digest = proposal_digest(&LOCK, duty, BAD, round, None, &value_id(&value));
    let body = Body::Proposal(Proposal {
        operator: BAD,
        round,
        polka: None,
        value,
        signature: Cheap(BAD).sign(&digest),
    });
    Message::Agreement(Agreement { duty, body })
}

/// Blocks, and their blobs, of slots in which nobody knows yet whether one of ours proposes.
#[test]
fn blocks_are_kept_only_for_slots_in_which_one_of_ours_is_known_to_propose() {
    const MIB: usize = 1 << 20;
    let mut bench = Bench::new(1_000, 32);
    let now = bench.now();
    let flood = |bench: &mut Bench| {
        for slot in now - 2..=now + 3 {
            let leads =
                |round: &u8| (slot + Kind::Block as u64 + u64::from(*round)) % 4 + 1 == u64::from(BAD);
            for round in (0..=LAST_ROUND).filter(leads) {
                for byte in [1, 2, 3] {
                    bench.say(proposal(slot, round, vec![byte; MIB]));
                }
            }
            for byte in [1, 2, 3] {
                bench.say(Message::Contents {
                    slot,
                    root: [byte; 32],
                    bytes: vec![byte; MIB].into(),
                });
            }
        }
        bench.core.sizes().1
    };
    assert_eq!(flood(&mut bench), 0);
    // They are known: what was said before is asked for.
    let (first, proposer) = (
        now + 1,
        Proposer {
            validator: 7,
            index: 1007,
        },
    );
    let duties = vec![(now, proposer), (first, proposer)];
    let at = bench.time.start_of(now);
    let effects = bench.core.handle(at, Event::Proposers { epoch: 9, duties });
    let asks = |effect: &Effect| {
        matches!(
            effect,
            Effect::Send { message: Message::Agreement(Agreement { duty, body: Body::Status(_) }), .. }
            | Effect::Broadcast(Message::Agreement(Agreement { duty, body: Body::Status(_) }))
                if (duty.slot, duty.kind) == (now, Kind::Block)
        )
    };
    let later = bench.core.handle(at + 200, Event::Tick);
    assert!(effects.iter().chain(&later).any(asks), "{effects:?} {later:?}");
    // Of each slot what it can lead at once, with one contradiction, and the blobs of one block.
    let kept = flood(&mut bench);
    assert!((MIB..=6 * MIB).contains(&kept), "{kept} bytes");
    // Where nobody of ours proposes, again nothing.
    let duties = Vec::new();
    bench.core.handle(
        bench.time.start_of(now + 3),
        Event::Proposers { epoch: 9, duties },
    );
    assert_eq!(bench.core.sizes().1, 0);
}

#[test]
fn what_is_for_duties_to_be_learned_of_waits_and_what_was_lost_is_heard_again() {
    let mut bench = Bench::new(10_000, 32);
    let slot = bench.now() + 3;
    let ours = |slot: u64| {
        (0..10_000)
            .filter(move |one| u64::from(*one) % 32 == slot % 32)
            .map(|one| (one, 0))
    };
    bench.partials(Purpose::Selection, slot, ours(slot));
    let item = size_of::<Item>();
    let (known, unknown) = bench.core.bytes_of(BAD);
    assert!(known == 0 && unknown >= 312 * item, "{known} {unknown}");
    bench.learn(9);
    let (known, unknown) = bench.core.bytes_of(BAD);
    assert!(known >= 312 * item && unknown == 0, "{known} {unknown}");
    let greeted = |effects: &[Effect]| {
        let hello = |effect: &&Effect| {
            matches!(
                effect,
                Effect::Send {
                    to: BAD,
                    message: Message::Hello(_)
                }
            )
        };
        effects.iter().filter(hello).count()
    };
    // Nothing was lost.
    let next = bench.time.start_of(bench.now() + 1);
    assert_eq!(greeted(&bench.core.handle(next, Event::Tick)), 0);
    // More than has a place.
    for slot in bench.time.first_slot(10)..bench.time.first_slot(11) {
        bench.partials(Purpose::Selection, slot, ours(slot));
    }
    let unknown = bench.core.bytes_of(BAD).1;
    assert!(unknown <= WAITING && unknown > WAITING / 2);
    let next = bench.time.start_of(bench.now() + 2);
    assert_eq!(
        greeted(&bench.core.handle(next, Event::Tick)),
        0,
        "nothing was learned of yet"
    );
    bench.learn(10);
    assert!(bench.core.bytes_of(BAD).0 > 0);
    let [next, after] = [3, 4].map(|more| bench.time.start_of(bench.now() + more));
    assert_eq!(greeted(&bench.core.handle(next, Event::Tick)), 1);
    assert_eq!(greeted(&bench.core.handle(after, Event::Tick)), 0);
    // What is for duties that exist no longer waits likewise.
    let known = bench.core.bytes_of(BAD).0;
    let (epoch, duties) = (10, Vec::new());
    bench.core.handle(after, Event::Attesters { epoch, duties });
    assert!(bench.core.bytes_of(BAD).0 < known);
    assert!(bench.core.bytes_of(BAD).1 > 0);
}

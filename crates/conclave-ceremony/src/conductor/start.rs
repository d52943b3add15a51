//! The first moment: what an earlier start left, the network node, everything put together.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::addresses;
use crate::attempt;
use crate::backups;
use crate::entrance::Entrance;
use crate::files::{is_there, may_be_there};
use crate::folder::{CEREMONY, DataFolder, MAX_JSON_BYTES};
use crate::journal::Journal;
use crate::problem::{Kind, Problem};
use crate::progress::Event;
use crate::randomness::weight_seed;
use crate::records::Said;
use crate::staging::{self, KeyDeriver};
use crate::sync::{Config as SyncConfig, Sync};
use crate::wire::{Ceremony, FrameLimits, Hello, PROTOCOL};
use crate::{product, publication, records};
use conclave_cluster::lock::Lock;
use conclave_crypto::bls::PublicKey;
use conclave_crypto::node::NodeKey;
use conclave_dkg::body::Reason;
use conclave_dkg::entry::{Entry, Step};
use conclave_dkg::evidence::Evidence;
use conclave_dkg::operator::{Effect, Mark, Operator, Restored};
use conclave_dkg::secrets::Seed;
use conclave_dkg::terms::Terms;
use conclave_net::events::Events;
use conclave_net::node::{self, Handle, NodeError};

use super::causes::Causes;
use super::doubles::Doubles;
use super::obstacles::Obstacles;
use super::visits::Visits;
use super::{Conductor, Outcome, Person, Setup, Silence, view};

impl<'a> Conductor<'a> {
    pub(super) fn open(setup: Setup, mut person: Person<'a>) -> Result<(Self, Events<Ceremony>), Problem> {
        let terms = Arc::new(
            product::terms(&setup.definition, &setup.network).map_err(|error| {
                Problem::bad_input(
                    "this definition cannot be joined",
                    error,
                    "ask for another definition",
                )
            })?,
        );
        let (journal, said, whole) = open_journal(&setup, &terms, &mut person)?;
        let (operator, effects) = open_operator(&setup, &terms, said)?;
        let limits = FrameLimits {
            operators: u16::try_from(terms.n()).unwrap_or(u16::MAX),
            entry: records::max_entry_bytes(&terms),
            evidence: Evidence::max_bytes(&terms),
        };
        let (node, events) = start_node(&setup, limits)?;
        let sync = Sync::new(sync_config(&setup, &terms, limits)?, &view(&operator));
        let finished = setup.entrance.finished;
        // After a vote the keystores are there, unless the folder is an old copy; then they are prepared when they are needed.
        let deriver = if finished || !operator.standing().voted.is_empty() {
            None
        } else {
            let count = u32::try_from(terms.validators()).unwrap_or(u32::MAX);
            Some(KeyDeriver::start(count, setup.kdf)?)
        };
        let (jobs, done) = mpsc::channel();
        let mut conductor = Self {
            folder: Arc::new(setup.folder),
            definition: setup.definition,
            network: setup.network,
            names: setup.names,
            terms,
            operator,
            journal,
            sync,
            peer_id: node.peer_id(),
            node,
            connected: BTreeSet::new(),
            listening: setup.announce.iter().cloned().collect(),
            listening_changed: None,
            listening_most: most_addresses(&setup.listen, &setup.announce),
            deriver,
            kdf: setup.kdf,
            proven: None,
            jobs,
            done,
            running: 0,
            arrived: Vec::new(),
            gathering: None,
            retries: setup.retries,
            allowed: setup.attempt,
            consented: 0,
            answers: mpsc::channel(),
            asked: BTreeSet::new(),
            refused: BTreeSet::new(),
            told: BTreeSet::new(),
            result: None,
            whole,
            joins: true,
            twin: None,
            doubles: Doubles::default(),
            obstacles: Obstacles::default(),
            visits: Visits::default(),
            validating: BTreeSet::new(),
            silence: Silence::default(),
            alone: None,
            offered: None,
            wait: setup.wait,
            person,
            start: Instant::now(),
            ticked: Instant::now(),
            causes: Causes::default(),
            looked: Instant::now(),
            shown: None,
        };
        conductor.carry_out(effects)?;
        if conductor.operator.standing().joined.is_empty() {
            let effects = conductor.operator.consent(1, Reason::First);
            conductor.carry_out(effects)?;
        }
        if finished {
            conductor.result = conductor.read_result()?;
        }
        Ok((conductor, events))
    }

    /// The result that an earlier start published.
    pub(super) fn read_result(&self) -> Result<Option<Outcome>, Problem> {
        let bytes = self.folder.disk().read(&self.folder.lock(), MAX_JSON_BYTES)?;
        let Ok(lock) = Lock::from_json(&bytes) else {
            return Ok(None);
        };
        let validators = lock
            .validators()
            .iter()
            .filter_map(|v| PublicKey::from_bytes(&v.public_key).ok())
            .collect();
        Ok(Some(Outcome {
            lock_hash: lock.lock_hash(),
            validators,
            unconfirmed: Vec::new(),
            is_new: false,
        }))
    }
}

/// The journal, what it says, and whether all of it was there and intact.
fn open_journal(
    setup: &Setup,
    terms: &Terms,
    person: &mut Person<'_>,
) -> Result<(Journal, Said, bool), Problem> {
    let mut records = Vec::new();
    let (folder, limit) = (&setup.folder, records::max_bytes(terms));
    // Whatever is kept of an attempt is kept after the first record.
    let is_lost =
        !is_there(&folder.journal())? && (setup.entrance.finished || !folder.attempts().marks()?.is_empty());
    if is_lost {
        let rest = if setup.entrance.finished {
            "The results do not depend on it"
        } else {
            "The other operators have what was in it, and give it back while they run the same command"
        };
        (person.show)(Event::Notice {
            message: format!(
                "the journal of the ceremony ({}) is lost. {rest}",
                folder.journal().display()
            ),
        });
    }
    let each = |record| records.push(record);
    let (journal, damaged) = Journal::salvage(folder.disk(), &folder.journal(), limit, each)?;
    if let Some(aside) = &damaged {
        (person.show)(Event::Notice {
            message: format!(
                "the journal was damaged; what was intact is used, the damaged file is kept as {}, and the rest comes \
                 from the other operators",
                aside.display()
            ),
        });
    }
    Ok((
        journal,
        records::read(terms, &records),
        damaged.is_none() && !is_lost,
    ))
}

fn open_operator(setup: &Setup, terms: &Arc<Terms>, said: Said) -> Result<(Operator, Vec<Effect>), Problem> {
    let entrance = &setup.entrance;
    let key = copy_key(entrance)?;
    let name = entrance
        .identity
        .name()
        .map_or_else(|| setup.names.of(&key.public()), ToOwned::to_owned);
    let mut operator = Operator::new(terms.clone(), entrance.index, key, name, &weight_seed()?);
    let effects = operator.restore(restored(&setup.folder, terms, said, entrance)?);
    Ok((operator, effects))
}

fn start_node(setup: &Setup, limits: FrameLimits) -> Result<(Handle<Ceremony>, Events<Ceremony>), Problem> {
    let operators = &setup.definition.operators;
    let operators = operators.iter().map(|o| *o.enr.node_public_key()).collect();
    let config = node::Config {
        listen: setup.listen.clone(),
        announce: setup.announce.clone(),
        peers: setup.peers.clone(),
        book: addresses::load(&setup.folder),
        ..node::Config::new(copy_key(&setup.entrance)?, operators, limits)
    };
    node::start::<Ceremony>(config).map_err(|error| network_problem(&error))
}

fn sync_config(setup: &Setup, terms: &Terms, limits: FrameLimits) -> Result<SyncConfig, Problem> {
    let [a, b, c, d, e, f, g, h, ..] = weight_seed()?;
    Ok(SyncConfig {
        me: setup.entrance.index,
        operators: limits.operators,
        hello: Hello {
            protocol: PROTOCOL,
            software: software(),
            definition_hash: *terms.definition_hash(),
            genesis_fork_version: setup.network.genesis_fork_version,
            genesis_time: setup.network.genesis_time,
            chain_id: setup.network.chain_id,
        },
        process: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        definition: setup.definition.to_json().into(),
        sizes: Step::ALL.map(|step| Entry::max_bytes(terms, step)),
    })
}

fn software() -> String {
    concat!("conclave/", env!("CARGO_PKG_VERSION")).to_owned()
}

fn copy_key(entrance: &Entrance) -> Result<NodeKey, Problem> {
    NodeKey::from_bytes(&entrance.identity.key().to_bytes()).ok_or_else(|| {
        Problem::other(
            "the identity cannot be used",
            "it is no key",
            backups::PUT_BACK_IDENTITY,
        )
    })
}

/// What an earlier start left in the folder.
fn restored(
    folder: &DataFolder,
    terms: &Terms,
    said: Said,
    entrance: &Entrance,
) -> Result<Restored, Problem> {
    let attempts = folder.attempts();
    let mut restored = Restored {
        entries: said.entries,
        evidence: said.evidence,
        notes: said.notes,
        ..Restored::default()
    };
    for k in attempts.numbers()? {
        if let Some(seed) = attempts.seed(k)? {
            restored.seeds.insert(k, Seed::new(&seed));
        }
    }
    let all: &[(attempt::Mark, Mark)] = &[
        (attempt::Mark::Voted, Mark::Voted),
        (attempt::Mark::Signed, Mark::Signed),
        (attempt::Mark::Dead, Mark::Dead),
    ];
    for (k, marks) in attempts.marks()? {
        restored.marks.extend(
            all.iter()
                .filter(|(file, _)| marks.contains(file))
                .map(|(_, mark)| (k, *mark)),
        );
    }
    // Said twice, in the journal and by the markers: either counts, and what the markers lack they get again.
    let own = restored
        .entries
        .iter()
        .filter(|entry| entry.operator == entrance.index);
    let said: BTreeSet<(u32, Mark)> = own
        .filter_map(|entry| match entry.step {
            Step::Stored => Some((entry.attempt, Mark::Voted)),
            Step::Sign => Some((entry.attempt, Mark::Signed)),
            _ => None,
        })
        .chain(restored.marks.iter().copied())
        .collect();
    let of = |wanted: Mark| {
        said.iter()
            .filter(move |(_, mark)| *mark == wanted)
            .map(|(k, _)| *k)
    };
    for k in of(Mark::Voted) {
        if let Some(outputs) = staging::stored_for(folder, k, terms.validators())? {
            restored.stored.insert(k, outputs);
        }
    }
    if entrance.finished {
        // A lock handed over as a file may be published without an own signature on record; and where all records are lost, the
        // keystores beside the lock are still the end of a ceremony.
        let [first, _] = publication::key_file_names(0);
        let newest = attempts.numbers()?.into_iter().max().unwrap_or(1);
        let has_keystores = is_there(&folder.keys().join(first))?;
        restored.published = of(Mark::Signed)
            .max()
            .or_else(|| of(Mark::Voted).max())
            .or_else(|| has_keystores.then_some(newest));
    }
    Ok(restored)
}

/// Why the network cannot be used, for people.
pub fn network_problem(error: &NodeError) -> Problem {
    let kind = match error {
        NodeError::Address { .. } | NodeError::Announce { .. } | NodeError::NotAnOperator { .. } => {
            Kind::BadInput
        }
        _ => Kind::Other,
    };
    Problem::new(
        kind,
        "the network could not be started",
        error.to_string(),
        error.advice(),
    )
}

/// How many own addresses there can be at most: one for each that is listened on, if it is of one interface.
fn most_addresses(listen: &[Multiaddr], announce: &[Multiaddr]) -> usize {
    let everywhere = |address: &Multiaddr| {
        address.iter().any(|part| match part {
            Protocol::Ip4(ip) => ip.is_unspecified(),
            Protocol::Ip6(ip) => ip.is_unspecified(),
            _ => false,
        })
    };
    if listen.iter().any(everywhere) {
        return usize::MAX;
    }
    listen.len() + announce.len()
}

/// Whether a folder holds a ceremony that was begun here.
pub fn has_begun(root: &Path) -> bool {
    may_be_there(&root.join(CEREMONY).join("journal"))
}

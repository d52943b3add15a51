//! An operator that lies in every step: the same program as an honest one, up to what it says.
//!
//! It proposes one thing to some and another to others, votes both ways, signs two attestations with its real shares,
//! sends signatures that are none, and blocks that are not the decided one. It takes the words of `conclave run` that the
//! harness gives to everybody: `--data-dir DIR run --beacon-node URL --listen ADDRESS --peer ADDRESS ... --network-file FILE`.
//!
//! A group of n with threshold t bears min(n - t, 2t - n - 1) of these without missing a duty.
//!
//! With `CONCLAVE_ADVERSARY_LIES=exits` in its environment it does its duties, and lies about voluntary exits instead: each
//! slot it floods everybody with parts that its share did not sign, or signed for another validator, network, index or epoch,
//! and now and then with one in the name of somebody else.

use std::{
    error::Error,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use conclave::cli::input;
use conclave_beacon::{
    chain::spec::Pinned,
    http::{Address, Node},
    nodes::Nodes,
};
use conclave_ceremony::{
    addresses,
    files::Disk,
    folder::{DataFolder, EXITS},
    holding,
};
use conclave_consensus::{
    NodeSignatures, Signatures,
    messages::{Body, Message as Agreement, Proposal, Vote, proposal_digest, value_id, vote_digest},
};
use conclave_crypto::{bls::SecretKey, hash::sha256, node::NodeKey};
use conclave_eth::{
    duty::{Duty, Kind},
    exit::VoluntaryExit,
};
use conclave_slashing::{Cluster, Guard};
use conclave_validator::{
    exits::{Domain, PartialExit, files::ExitFiles},
    group::Group,
    node::{self, Control, Ended, News, Setup, Voice},
    partials::{Item, Partials},
    pulse::Pulse,
    wire::Message,
};
use libp2p::Multiaddr;

/// The words of `conclave run` that the harness uses.
#[derive(Parser)]
struct Words {
    #[arg(long)]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Run,
}

#[derive(Parser)]
enum Run {
    Run {
        #[arg(long)]
        beacon_node: String,
        #[arg(long)]
        listen: Vec<Multiaddr>,
        #[arg(long)]
        peer: Vec<Multiaddr>,
        #[arg(long)]
        network_file: PathBuf,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let Words { data_dir, command } = Words::parse();
    let Run::Run {
        beacon_node,
        listen,
        peer,
        network_file,
    } = command;
    let folder = DataFolder::open(&Disk::new(), &data_dir)?;
    let network = input::network_file(Some(&network_file))?.ok_or("no network")?;
    let holding = holding::open(&folder, Some(&network))?;
    let group = Group::new(&holding.lock, &holding.names)?;
    let key = || NodeKey::from_bytes(&holding.identity.key().to_bytes()).ok_or("no key");
    let shares = holding::open(&folder, Some(&network))?.shares;
    let domain = Domain {
        capella_fork_version: network.capella_fork_version,
        genesis_validators_root: network.genesis_validators_root.unwrap_or_default(),
    };
    let exit_liar = ExitLiar {
        me: holding.operator,
        group: Group::new(&holding.lock, &holding.names)?,
        key: key()?,
        shares: holding::open(&folder, Some(&network))?.shares,
        domain,
        exits: folder.root().join(EXITS),
        slot: 0,
        last_ms: 0,
    };
    let liar = Liar {
        me: holding.operator,
        operators: group.size(),
        lock_hash: group.lock_hash,
        signatures: NodeSignatures::new(
            key()?,
            group.operators.iter().map(|operator| operator.key).collect(),
        ),
        shares,
        newest_head: None,
    };
    let setup = Setup {
        group,
        operator: holding.operator,
        key: key()?,
        shares: holding.shares,
        guard: Some(Guard::open(
            &folder.slashing_protection(),
            Cluster::of_lock(&holding.lock, holding.operator)?,
        )?),
        nodes: Nodes::new(
            vec![Node::new(Address::new(&beacon_node, None)?)?],
            Pinned::from(&network),
        ),
        pinned: Pinned::from(&network),
        builder: false,
        registrations: Vec::new(),
        graffiti: [0; 32],
        listen,
        announce: Vec::new(),
        peers: peer,
        book: addresses::load(&folder),
        control: Control {
            folder: folder.root().to_owned(),
            private: folder.ceremony(),
            describe: Arc::new(Default::default),
        },
        pulse: Pulse::begin(),
        exits: Box::new(ExitFiles::new(&folder)),
        excused: std::collections::BTreeSet::new(),
        voice: Some(match std::env::var("CONCLAVE_ADVERSARY_LIES").as_deref() {
            Ok("exits") => exit_liar.voice(),
            _ => liar.voice(),
        }),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    watch_for_interrupts(interrupted.clone())?;
    let mut watch = |news: News| match news {
        News::Starts(start) => println!(
            "Signs from slot {} on, attestations from epoch {} on",
            start.first_slot, start.first_target
        ),
        News::Report(report) => println!("{report:?}"),
        _ => {}
    };
    match node::run(setup, &interrupted, &mut watch, &mut |_| {})? {
        Ended::Asked => Ok(()),
        Ended::Stopped(stop) => Err(format!("{stop:?}").into()),
    }
}

fn watch_for_interrupts(flag: Arc<AtomicBool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Whoever speaks through it says one thing to some and another to others.
struct Liar {
    me: u16,
    operators: u16,
    lock_hash: [u8; 32],
    signatures: NodeSignatures,
    shares: Vec<SecretKey>,
    /// The head that it proposed last: an older one by the time that it proposes the next.
    newest_head: Option<[u8; 32]>,
}

/// What one operator is told.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Truth,
    Lie,
    Both,
}

impl Liar {
    fn voice(mut self) -> Box<Voice> {
        Box::new(move |to, message| {
            let Some((slot, lie)) = self.lie(&message) else {
                return vec![(to, message)];
            };
            let all = 1..=self.operators;
            all.filter(|other| *other != self.me && to.is_none_or(|to| to == *other))
                .flat_map(|other| {
                    let said = match told(slot, other) {
                        Told::Truth => vec![message.clone()],
                        Told::Lie => vec![lie.clone()],
                        Told::Both => vec![lie.clone(), message.clone()],
                    };
                    said.into_iter().map(move |message| (Some(other), message))
                })
                .collect()
        })
    }

    /// What is said instead, and in which slot; `None` for what it does not sign itself, or cannot bend.
    fn lie(&mut self, message: &Message) -> Option<(u64, Message)> {
        match message {
            Message::Agreement(Agreement { duty, body }) => {
                let body = match body {
                    Body::Proposal(proposal) if proposal.operator == self.me => {
                        Body::Proposal(self.propose(*duty, proposal))
                    }
                    Body::Vote(vote) if vote.operator == self.me => Body::Vote(self.vote(*duty, vote)),
                    _ => return None,
                };
                Some((duty.slot, Message::Agreement(Agreement { duty: *duty, body })))
            }
            Message::Partials(partials) if partials.operator == self.me => {
                Some((partials.header().slot, Message::Partials(self.sign(partials))))
            }
            Message::Contents { slot, root, bytes } => {
                let other = bytes.iter().map(|byte| !byte).collect();
                Some((
                    *slot,
                    Message::Contents {
                        slot: *slot,
                        root: *root,
                        bytes: other,
                    },
                ))
            }
            Message::Clock {
                clock_ms,
                answers_ms,
                waited_ms,
            } => Some((
                0,
                Message::Clock {
                    clock_ms: clock_ms + 3_600_000,
                    answers_ms: *answers_ms,
                    waited_ms: waited_ms / 2,
                },
            )),
            _ => None,
        }
    }

    /// Another value, signed as well: an older head, or what is no value at all.
    fn propose(&mut self, duty: Duty, proposal: &Proposal) -> Proposal {
        let mut value = proposal.value.to_vec();
        if duty.kind == Kind::Head {
            if let Some(root) = value.get_mut(16..48) {
                let newest: [u8; 32] = (&*root).try_into().unwrap_or_default();
                root.copy_from_slice(&self.newest_head.replace(newest).unwrap_or([7; 32]));
            }
        } else {
            value.truncate(value.len() / 2);
        }
        let digest = proposal_digest(
            &self.lock_hash,
            duty,
            self.me,
            proposal.round,
            proposal.polka,
            &value_id(&value),
        );
        Proposal {
            value: value.into(),
            signature: self.signatures.sign(&digest),
            ..proposal.clone()
        }
    }

    /// Nil instead of a value, a value that nobody proposed instead of nil.
    fn vote(&self, duty: Duty, vote: &Vote) -> Vote {
        let choice = match vote.choice {
            Some(_) => None,
            None => Some(sha256(&[&duty.slot.to_be_bytes()])),
        };
        let digest = vote_digest(
            &self.lock_hash,
            duty,
            self.me,
            vote.round,
            vote.step,
            choice.as_ref(),
        );
        Vote {
            choice,
            signature: self.signatures.sign(&digest),
            ..vote.clone()
        }
    }

    /// In even slots the share's signature of something else; in odd ones that signature for what was decided.
    fn sign(&self, partials: &Partials) -> Partials {
        let header = partials.header();
        let bend = |item: &Item| {
            let other = sha256(&[&item.root]);
            let share = self.shares.get(usize::try_from(item.validator).ok()?)?;
            Some(Item {
                root: if header.slot.is_multiple_of(2) {
                    other
                } else {
                    item.root
                },
                signature: share.sign(&other).to_bytes(),
                ..*item
            })
        };
        Partials::sign(
            &self.signatures,
            &self.lock_hash,
            self.me,
            header.purpose,
            header.slot,
            (header.source, header.target),
            partials.items().iter().filter_map(bend).collect(),
        )
    }
}

/// Some hear the truth, some the lie, and in every third slot everybody hears both.
fn told(slot: u64, other: u16) -> Told {
    match (slot % 3, (slot + u64::from(other)) % 2) {
        (2, _) => Told::Both,
        (_, 0) => Told::Truth,
        _ => Told::Lie,
    }
}

/// So many parts that nobody can use are sent to everybody in each slot.
const FLOOD: usize = 200;

/// Lies about exits, and does its duties.
struct ExitLiar {
    me: u16,
    group: Group,
    key: NodeKey,
    shares: Vec<SecretKey>,
    domain: Domain,
    /// What its node knows of exits: what others really want.
    exits: PathBuf,
    slot: u64,
    last_ms: u64,
}

impl ExitLiar {
    fn voice(mut self) -> Box<Voice> {
        Box::new(move |to, message| {
            let mut said = Vec::new();
            if let Message::Partials(partials) = &message {
                let slot = partials.header().slot;
                if partials.operator == self.me && slot > self.slot {
                    self.slot = slot;
                    said.extend(self.lies().into_iter().map(|lie| (None, Message::Exit(lie))));
                }
            }
            said.push((to, message));
            said
        })
    }

    fn lies(&mut self) -> Vec<PartialExit> {
        let mut lies = Vec::new();
        let all = u32::try_from(self.shares.len()).unwrap_or_default();
        for validator in 0..all {
            let wish = self.wish(validator);
            let next = (validator + 1) % all;
            let elsewhere = Domain {
                genesis_validators_root: [7; 32],
                ..self.domain
            };
            let later = VoluntaryExit {
                epoch: wish.epoch + 1 + self.slot % 3,
                ..wish
            };
            let other = VoluntaryExit {
                validator_index: wish.validator_index + 1,
                ..wish
            };
            let domain = self.domain;
            // Another validator's share, another network; and its own consent to exits that nobody else wants.
            lies.extend(self.part(validator, next, &domain, wish));
            lies.extend(self.part(validator, validator, &elsewhere, wish));
            lies.extend(self.part(validator, validator, &domain, later));
            lies.extend(self.part(validator, validator, &domain, other));
        }
        let (domain, wish) = (self.domain, self.wish(0));
        for _ in 0..FLOOD {
            lies.extend(self.part(0, all - 1, &domain, wish));
        }
        if self.slot % 8 == 7 {
            // In somebody else's name. Nobody listens to who says this, for a while.
            if let Some(mut forged) = self.part(0, 0, &domain, wish) {
                forged.operator = self.me % self.group.size() + 1;
                lies.push(forged);
            }
        }
        lies
    }

    /// What somebody else wants for a validator, as soon as that is known here.
    fn wish(&self, validator: u32) -> VoluntaryExit {
        let files = std::fs::read_dir(&self.exits).into_iter().flatten().flatten();
        let parts = files.filter_map(|file| {
            let bytes = std::fs::read(file.path()).ok()?;
            PartialExit::from_json(&bytes, &self.group).ok()
        });
        parts
            .filter(|part| part.operator != self.me && part.validator == validator)
            .map(|part| part.message)
            .next()
            .unwrap_or(VoluntaryExit {
                epoch: 0,
                validator_index: validator.into(),
            })
    }

    /// Signed with the share of one validator, said to be that of another.
    fn part(
        &mut self,
        validator: u32,
        share: u32,
        domain: &Domain,
        message: VoluntaryExit,
    ) -> Option<PartialExit> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis();
        self.last_ms = u64::try_from(now).ok()?.max(self.last_ms + 1);
        let share = self.shares.get(usize::try_from(share).ok()?)?;
        Some(PartialExit::sign(
            (self.me, &self.key),
            (validator, share),
            &self.group.lock_hash,
            domain,
            message,
            self.last_ms,
        ))
    }
}

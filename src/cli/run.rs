//! `conclave run`: validate with the shares of a finished ceremony.

use std::path::Path;

use crate::{
    ceremony::{
        addresses,
        files::Disk,
        folder::DataFolder,
        holding,
        problem::{Kind, Problem},
    },
    cluster::lock::DistributedValidator,
    ethereum::network::Network,
    validator::{
        beacon::{
            answers::{RegistrationMessage, SignedRegistration},
            http::{Address, Node},
            nodes::Nodes,
        },
        chain::spec::Pinned,
        core::{Report, Stop},
        group::Group,
        guard::{self, Cluster, Guard, GuardError},
        node::{self, Ended, News, RunError, Setup},
    },
};

use super::{
    Context,
    args::RunArgs,
    input,
    join::{default_addresses, watch_for_interrupts},
};

/// Most bytes of a file with HTTP headers.
const MAX_HEADERS: u64 = 16 * 1024;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn run(context: &Context, args: &RunArgs) -> Result<(), Problem> {
    let out = &context.output;
    let disk = Disk::new();
    let folder = DataFolder::open(&disk, &context.data_dir)?;
    let network = input::network_file(args.network_file.as_deref())?;
    let (lock, _, operator, _) = holding::examine(&folder, network.as_ref())?;
    let network = match network {
        Some(network) => Some(network),
        None => Network::by_fork_version(lock.definition().fork_version)
            .ok()
            .cloned(),
    };
    let group = Group::new(&lock, &[]).map_err(|error| {
        Problem::new(
            Kind::LockRefused,
            "this lock cannot be validated with",
            error,
            "hold a ceremony with a larger threshold",
        )
    })?;
    out.say(format!(
        "{} of {} operators, {} validator{}: {} may be off, {} may lie or run twice.",
        group.threshold,
        group.size(),
        group.validators.len(),
        if group.validators.len() == 1 { "" } else { "s" },
        group.may_be_off(),
        group.may_lie()
    ));
    if group.may_lie() == 0 {
        out.warn("this group is safe against machines that are off, not against one that lies or runs twice");
    }
    let nodes = beacon_nodes(&disk, args, network.as_ref())?;
    let guard = if args.dry_run {
        out.say("Dry run: nothing is signed.");
        None
    } else {
        Some(open_guard(&folder, &lock, operator, args.new_slashing_database)?)
    };
    out.say("Opening the keystores ...");
    let holding = holding::open(&folder, network.as_ref())?;
    let group = Group {
        operators: group
            .operators
            .into_iter()
            .zip(&holding.names)
            .map(|(operator, name)| crate::validator::group::Operator {
                name: name.clone(),
                ..operator
            })
            .collect(),
        ..group
    };
    let key =
        crate::crypto::node::NodeKey::from_bytes(&holding.identity.key().to_bytes()).ok_or_else(|| {
            Problem::other(
                "the identity cannot be used",
                "it is no key",
                "restore it from your backup",
            )
        })?;
    let names: Vec<String> = group
        .operators
        .iter()
        .map(|operator| operator.name.clone())
        .collect();
    let setup = Setup {
        group,
        operator,
        key,
        shares: holding.shares,
        guard,
        nodes,
        pinned: pinned(network.as_ref(), lock.definition().fork_version),
        listen: if args.listen.is_empty() {
            default_addresses()
        } else {
            args.listen.clone()
        },
        announce: Vec::new(),
        builder: args.builder,
        registrations: lock.validators().iter().map(registration).collect(),
        graffiti: graffiti(&args.graffiti)?,
        peers: args.peers.clone(),
        book: addresses::load(&folder),
    };
    let interrupted = watch_for_interrupts()?;
    let mut watch = |news: News| show(context, &names, news);
    let mut keep = |book: &[(u16, Vec<libp2p::Multiaddr>)]| {
        if let Err(problem) = addresses::save(&folder, book) {
            tracing::warn!("addresses could not be kept: {}", problem);
        }
    };
    match node::run(setup, &interrupted, &mut watch, &mut keep) {
        Ok(Ended::Asked) => {
            out.say("Stopped. Start it again with the same command.");
            Ok(())
        }
        Ok(Ended::Stopped(Stop::Twin(_))) => Err(Problem::new(
            Kind::TwinSeen,
            "another process works with your share",
            "the other operators passed on its signs of life: a copy of this folder runs somewhere",
            "stop the other one and find out where the copy came from, before you start this one again",
        )),
        Err(error) => Err(problem_of(&error)),
    }
}

fn beacon_nodes(disk: &Disk, args: &RunArgs, network: Option<&Network>) -> Result<Nodes, Problem> {
    let headers = match &args.beacon_headers {
        None => None,
        Some(path) => {
            let bytes = disk.read_secret(path, MAX_HEADERS)?;
            let text = std::str::from_utf8(&bytes).map_err(|error| {
                Problem::bad_input(
                    format!("{} cannot be used", path.display()),
                    error,
                    "write one header a line, such as Authorization: Bearer TOKEN",
                )
            })?;
            Some(zeroize::Zeroizing::new(text.to_owned()))
        }
    };
    let mut nodes = Vec::new();
    for url in &args.beacon_nodes {
        let node = Address::new(url, headers.as_ref().map(|text| text.as_str())).and_then(Node::new);
        nodes.push(node.map_err(|error| {
            Problem::bad_input(
                "a beacon node's address cannot be used",
                error,
                "give --beacon-node an address such as http://localhost:5052",
            )
        })?);
    }
    Ok(Nodes::new(nodes, network.map(Pinned::from).unwrap_or_default()))
}

/// What the beacon nodes must agree with.
fn pinned(network: Option<&Network>, fork_version: [u8; 4]) -> Pinned {
    Pinned {
        genesis_fork_version: Some(fork_version),
        ..network.map(Pinned::from).unwrap_or_default()
    }
}

/// A validator's registration as beacon nodes take it.
fn registration(validator: &DistributedValidator) -> SignedRegistration {
    let signed = &validator.registration;
    SignedRegistration {
        message: RegistrationMessage {
            fee_recipient: signed.fee_recipient,
            gas_limit: signed.gas_limit,
            timestamp: signed.timestamp,
            pubkey: signed.pubkey,
        },
        signature: signed.signature,
    }
}

/// Text of at most 32 bytes, padded with zeros.
fn graffiti(text: &str) -> Result<[u8; 32], Problem> {
    let mut graffiti = [0; 32];
    match graffiti.get_mut(..text.len()) {
        Some(start) => start.copy_from_slice(text.as_bytes()),
        None => {
            return Err(Problem::bad_input(
                "the graffiti cannot be used",
                format!("it has {} bytes, and a block holds 32", text.len()),
                "give a shorter text with --graffiti",
            ));
        }
    }
    Ok(graffiti)
}

fn open_guard(
    folder: &DataFolder,
    lock: &crate::cluster::lock::Lock,
    operator: u16,
    new: bool,
) -> Result<Guard, Problem> {
    let path = folder.root().join(guard::FILE);
    let cluster = Cluster::of_lock(lock, operator).map_err(|error| guard_problem(&error))?;
    if new {
        guard::create(&path, &cluster).map_err(|error| guard_problem(&error))?;
    }
    open(&path, cluster)
}

fn open(path: &Path, cluster: Cluster) -> Result<Guard, Problem> {
    Guard::open(path, cluster).map_err(|error| guard_problem(&error))
}

fn guard_problem(error: &GuardError) -> Problem {
    let kind = match error {
        GuardError::Missing(_) => Kind::DatabaseMissing,
        GuardError::OtherChain { .. } => Kind::WrongNetwork,
        _ => Kind::FolderState,
    };
    Problem::from_lines(kind, error)
}

fn problem_of(error: &RunError) -> Problem {
    match error {
        RunError::Guard(error) => guard_problem(error),
        RunError::WrongNetwork(_) => Problem::from_lines(Kind::WrongNetwork, error),
        RunError::Network(_) | RunError::System(_) => Problem::from_lines(Kind::Other, error),
    }
}

fn show(context: &Context, names: &[String], news: News) {
    let out = &context.output;
    let name = |operator: u16| {
        let place = usize::from(operator).checked_sub(1);
        place
            .and_then(|place| names.get(place))
            .map_or("nobody", String::as_str)
            .to_owned()
    };
    let list = |operators: &std::collections::BTreeSet<u16>| {
        let missing: Vec<String> = (1u16..)
            .zip(names)
            .filter(|(o, _)| !operators.contains(o))
            .map(|(_, name)| name.clone())
            .collect();
        if missing.is_empty() {
            String::new()
        } else {
            format!(", missing: {}", missing.join(", "))
        }
    };
    match news {
        News::Chain(chain) => out.say(format!("Beacon node: {}, genesis {}", chain.spec.config_name, chain.genesis.time)),
        News::WaitingForBeaconNode(why) => out.say(format!("Waiting for a beacon node: {why}")),
        News::Starts(start) => out.say(format!(
            "Signs from slot {} on, attestations from epoch {} on; at once when all other operators confirm.",
            start.first_slot, start.first_target
        )),
        News::ClockJumped => out.warn("the clock jumped, or this machine slept: this counts as a start"),
        News::Network(event) => out.say(format!("{event:?}")),
        News::Report(report) => match report {
            Report::Decided { duty, round, after_due_ms, voters } => out.say(format!(
                "slot {}: {} agreed {after_due_ms} ms after it was due, round {round}{}",
                duty.slot,
                duty.kind.text(),
                list(&voters)
            )),
            Report::Made { purpose, slot, validators, after_due_ms, contributors } => out.say(format!(
                "slot {slot}: {} of {} signed after {after_due_ms} ms{}",
                purpose.text(),
                validators.len(),
                list(&contributors)
            )),
            Report::Fault { operator, what } => out.warn(&format!("{}: {what}", name(operator))),
            Report::Misbehaviour(deed) => out.warn(&format!("{} broke the rules of agreement: {deed:?}", name(deed.operator()))),
            Report::Forgotten { operator } => out.warn(&format!(
                "{} remembers signatures that this disk has forgotten: it is an old copy. The slashing protection was raised",
                name(operator)
            )),
            Report::OwnBlockRefused { slot, why } => out.warn(&format!(
                "slot {slot}: the block of your own beacon node cannot be signed: {why}"
            )),
            Report::Confirmed => out.say("All other operators confirm: signing from now on."),
            Report::UnknownFork { name, epoch } => {
                out.warn(&format!("the fork {name} comes at epoch {epoch}, and this version does not know it: update before"));
            }
        },
    }
}

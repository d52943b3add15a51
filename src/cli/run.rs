//! `conclave run`: validate with the shares of a finished ceremony.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use libp2p::Multiaddr;

use conclave_beacon::{
    answers::{RegistrationMessage, SignedRegistration},
    chain::spec::Pinned,
    http::{Address, Node},
    nodes::Nodes,
};
use conclave_ceremony::{
    addresses, backups,
    conductor::network_problem,
    files::Disk,
    folder::DataFolder,
    holding,
    plan::tolerance,
    problem::{Kind, Problem},
    progress, retirement, secrecy,
};
use conclave_cluster::{
    definition::Definition, lock::DistributedValidator, report::Outcome as Checked, wallets::Wallets,
};
use conclave_crypto::node::{NodeKey, NodePublicKey};
use conclave_eth::{network::Network, recognise::without_bom};
use conclave_monitor::overview::Overview;
use conclave_net::node::peer_id;
use conclave_slashing::Cluster;
use conclave_validator::exits::files::ExitFiles;
use conclave_validator::{
    core::Stop,
    group::Group,
    node::{self, Control, Ended, News, RunError, SOFTWARE, Setup},
    pulse::Pulse,
};

use super::{
    Context,
    args::{BeaconNodes, RunArgs},
    aside::Aside,
    input, interrupts,
    live::Live,
    log,
    news::Event,
    output::{Output, printable},
    reach, restored,
    sight::{self, Screen, Sight},
    slashing,
    watcher::Watcher,
};

/// What is still to be said or kept at the end may take so long.
const FAREWELL: Duration = Duration::from_secs(5);
/// Most bytes of a file with HTTP headers.
const MAX_HEADERS: u64 = 16 * 1024;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn run(context: &Context, args: &RunArgs) -> Result<(), Problem> {
    let begun = Instant::now();
    let out = &context.output;
    let live = Live::new(out);
    let aside = sight::screen(out, &live)?;
    log::begin(args.log_file.as_deref(), live.clone(), &aside)?;
    let disk = Disk::new();
    let folder = Arc::new(DataFolder::open(&disk, &context.data_dir)?);
    retirement::refuse(&disk, &context.data_dir)?;
    let network = input::network_file(args.own_network.network_file.as_deref())?;
    let (lock, _, operator, names) = holding::examine(&folder, network.as_ref())?;
    let network = match network {
        Some(network) => Some(network),
        None => Network::by_fork_version(lock.definition().fork_version)
            .ok()
            .cloned(),
    };
    let group = Group::new(&lock, &names).map_err(|error| {
        Problem::new(
            Kind::LockRefused,
            "this lock cannot be validated with",
            error,
            "hold a ceremony with a larger threshold",
        )
    })?;
    let excused = restored::named(&group, operator, &args.without)?;
    introduce(context, &group, operator, args.dry_run, &excused);
    tell_of_wallets(out, lock.definition(), network.as_ref());
    let headers: Vec<&Path> = args.beacon.beacon_headers.as_deref().into_iter().collect();
    if let Some(warning) = secrecy::warning(&disk, &context.data_dir, &headers) {
        out.warn(&printable(&warning));
    }
    tell_of_the_last_run(context);
    let monitoring = sight::take(args.monitoring_address)?;
    let nodes = beacon_nodes(
        &disk,
        &args.beacon,
        network.as_ref().map(Pinned::from).unwrap_or_default(),
        |repeated| out.warn(repeated),
    )?;
    let graffiti = graffiti(&args.graffiti)?;
    let keys: Vec<NodePublicKey> = group.operators.iter().map(|operator| operator.key).collect();
    let me = usize::from(operator)
        .checked_sub(1)
        .and_then(|place| keys.get(place));
    let ways = reach::judge(&folder, &args.reach, &keys, me)?;
    let interrupted = interrupts::in_good_order();
    out.say("Opening the keystores ...");
    let holding = holding::open(&folder, network.as_ref())?;
    // The last to be judged: a new database, and the word of a restored folder, are kept for ever, and the same command, once it is right,
    // must not meet what a wrong one left.
    let guard = if args.dry_run {
        out.say("Dry run: nothing is signed, and the slashing protection is not touched.");
        None
    } else {
        let cluster = Cluster::of_lock(&lock, operator).map_err(|error| slashing::problem(&error))?;
        Some(restored::open_guard(context, args, &folder, cluster)?)
    };
    restored::tell(context, &folder, guard.as_ref())?;
    let excused = restored::if_it_waits(context, excused, guard.as_ref())?;
    ways.warn(out);
    keep_ways(context, &folder, &ways);
    let key = NodeKey::from_bytes(&holding.identity.key().to_bytes()).ok_or_else(|| {
        Problem::other(
            "the identity cannot be used",
            "it is no key",
            backups::PUT_BACK_IDENTITY,
        )
    })?;
    let watcher = Watcher::new(
        &names,
        operator,
        group.threshold,
        peer_id(&key.public()),
        args.log_file.is_some(),
    )
    .dry_run(args.dry_run);
    let event = finished(&group, begun);
    let overview = Overview::new(&group, operator, SOFTWARE, args.dry_run, args.builder, now_ms());
    let pulse = Pulse::begin();
    let sight = Sight::new(overview, pulse.clone(), live);
    if let Some(listener) = monitoring {
        sight.serve(out, listener)?;
    }
    let setup = Setup {
        group,
        operator,
        key,
        shares: holding.shares,
        guard,
        nodes,
        pinned: pinned(network.as_ref(), lock.definition().fork_version),
        listen: ways.listen,
        announce: ways.announce,
        builder: args.builder,
        registrations: lock.validators().iter().map(registration).collect(),
        graffiti,
        peers: args.reach.peers().cloned().collect(),
        book: addresses::load(&folder),
        control: control(&folder, &sight),
        pulse,
        voice: None,
        exits: Box::new(ExitFiles::new(&folder)),
        excused,
    };
    let screen = Screen::new(aside.clone(), watcher, out);
    let mut watch = |news: News| sight.take(&screen, news);
    let keeper = keeper()?;
    let mut keep = |book: &[(u16, Vec<Multiaddr>)]| {
        let (folder, book) = (folder.clone(), book.to_vec());
        keeper.give(move || {
            if let Err(problem) = addresses::save(&folder, &book) {
                tracing::warn!("addresses could not be kept: {}", problem);
            }
        });
    };
    let ended = node::run(setup, &interrupted, &mut watch, &mut keep);
    keeper.finish(FAREWELL);
    // A terminal that stands still is left to itself.
    if !aside.finish(FAREWELL) && matches!(ended, Ok(Ended::Asked)) {
        return Ok(());
    }
    sight.leave();
    conclude(out, ended, &event)
}

/// Whoever looks at a machine that was killed is told that nothing is lost.
fn tell_of_the_last_run(context: &Context) {
    if node::was_killed(&context.data_dir) {
        context.output.warn(
            "the last run in this folder did not end by itself: it was killed, or the machine stopped. What its share had \
             signed by then is on the disk, and nothing of it is signed again",
        );
    }
}

/// A full disk is no reason to let the others work alone: what must be written before a signature is the guard's business.
fn keep_ways(context: &Context, folder: &DataFolder, ways: &reach::Ways) {
    if let Err(problem) = ways.keep(folder) {
        context.output.warn(&format!(
            "the next start will not know where this one listens: {}, {}",
            problem.what, problem.why
        ));
    }
}

/// The thread that keeps addresses: the disk may take its time.
fn keeper() -> Result<Aside, Problem> {
    let keeper = Aside::new("addresses", |_| {});
    keeper.map_err(|error| Problem::other("cannot start", error, "stop other programs and try again"))
}

/// How it ended, in words.
fn conclude(
    out: &Output,
    ended: Result<Ended, RunError>,
    event: &impl Fn() -> progress::Event,
) -> Result<(), Problem> {
    match ended {
        Ok(Ended::Asked) => {
            out.say("Stopped. Start it again with the same command.");
            out.event(&event());
            Ok(())
        }
        Ok(Ended::Stopped(Stop::Twin(_))) => Err(Problem::new(
            Kind::TwinSeen,
            "a second copy of this folder is running somewhere",
            "the other operators passed on messages that it signed with your key; two copies that both sign can get the \
             validator slashed, so this one has stopped",
            "find the other copy and stop it for good, then start this one again",
        )),
        Err(error) => Err(problem_of(&error)),
    }
}

/// Where other commands reach this process.
fn control(folder: &DataFolder, sight: &Sight) -> Control {
    Control {
        folder: folder.root().to_owned(),
        private: folder.ceremony(),
        describe: sight.describe(),
    }
}

/// Who validates here, and what the group bears.
fn introduce(context: &Context, group: &Group, operator: u16, dry_run: bool, excused: &BTreeSet<u16>) {
    let out = &context.output;
    out.line(&Event::Started {
        lock_hash: format!("0x{}", hex::encode(group.lock_hash)),
        operator,
        operators: group.operators.iter().map(|o| o.name.clone()).collect(),
        threshold: group.threshold,
        validators: keys(group),
        dry_run,
    });
    let tolerance = tolerance(group.size().into(), group.threshold.into());
    out.say(format!(
        "You are {}, operator {operator} of {}, for {}. {tolerance}",
        printable(group.name(operator)),
        group.size(),
        match group.validators.len() {
            1 => "1 validator".to_owned(),
            count => format!("{count} validators"),
        }
    ));
    for warning in tolerance.warnings() {
        out.warn(&warning);
    }
    if !dry_run {
        restored::tell_excused(context, group, excused);
    }
}

/// Tells of wallets' signatures that no key proves. They decide nothing any more: the shares are made.
fn tell_of_wallets(out: &Output, definition: &Definition, network: Option<&Network>) {
    let Some(network) = network else { return };
    let unproven = definition.unproven_signatures(network.chain_id);
    if let (Checked::NotChecked(why), _) = Wallets::unchecked().judge(&unproven) {
        out.warn(&why);
    }
}

fn keys(group: &Group) -> Vec<String> {
    let keys = group.validators.iter();
    keys.map(|validator| format!("0x{}", hex::encode(validator.key.to_bytes())))
        .collect()
}

/// The last event of a run that was asked to end, made when it has.
fn finished(group: &Group, begun: Instant) -> impl Fn() -> progress::Event + use<> {
    let (lock_hash, validators) = (format!("0x{}", hex::encode(group.lock_hash)), keys(group));
    move || progress::Event::Finished {
        lock_hash: Some(lock_hash.clone()),
        validators: validators.clone(),
        seconds: begun.elapsed().as_secs_f64(),
    }
}

/// The beacon nodes that were given, expected to be of this network; what was given twice is told, and taken once.
///
/// # Errors
/// An address or a file of headers that cannot be used.
pub(super) fn beacon_nodes(
    disk: &Disk,
    given: &BeaconNodes,
    pinned: Pinned,
    tell_repeated: impl Fn(&str),
) -> Result<Nodes, Problem> {
    let headers = match given.beacon_headers.as_deref() {
        None => None,
        Some(path) => {
            let bytes = disk.read_secret(path, MAX_HEADERS)?;
            let text = std::str::from_utf8(without_bom(&bytes)).map_err(|error| {
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
    let mut addresses: Vec<Address> = Vec::new();
    for url in &given.beacon_nodes {
        let address = Address::new(url, headers.as_ref().map(|text| text.as_str()));
        if let Ok(address) = &address {
            // Counted twice, one node would outvote others.
            if addresses.iter().any(|known| known.is_same(address)) {
                tell_repeated(&printable(&format!(
                    "the beacon node {address} is given twice: it is asked and counted once. If you have two, give the address of \
                     the other"
                )));
                continue;
            }
            addresses.push(address.clone());
        }
        nodes.push(address.and_then(Node::new).map_err(|error| {
            let mut problem = Problem::from_lines(Kind::BadInput, error);
            if [",http://", ",https://"]
                .iter()
                .any(|next| url.replace(' ', "").contains(next))
            {
                "give each beacon node a --beacon-node of its own, or a line of its own in the variable"
                    .clone_into(&mut problem.what_to_do);
            }
            problem
        })?);
    }
    Ok(Nodes::new(nodes, pinned))
}

/// What the beacon nodes must agree with.
pub(super) fn pinned(network: Option<&Network>, fork_version: [u8; 4]) -> Pinned {
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

fn problem_of(error: &RunError) -> Problem {
    match error {
        RunError::Guard(error) => slashing::problem(error),
        RunError::WrongNetwork(_) | RunError::Contradicted(_) => {
            Problem::from_lines(Kind::WrongNetwork, error)
        }
        RunError::Network(error) => network_problem(error),
        RunError::System(_) => Problem::from_lines(Kind::Other, error),
    }
}

/// Milliseconds since the Unix epoch, for what people are told.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

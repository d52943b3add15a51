//! `conclave rehearse`: hold a whole ceremony on this machine, each operator a process of its own that talks to the others over
//! loopback, and verify what comes out as others would.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use conclave_ceremony::define::definition;
use conclave_ceremony::files::{Disk, PUBLIC, is_there};
use conclave_ceremony::folder::{DataFolder, MAX_JSON_BYTES};
use conclave_ceremony::identity::Identity;
use conclave_ceremony::names::Names;
use conclave_ceremony::plan::{Payout, Plan, default_threshold};
use conclave_ceremony::problem::{Kind, Problem};
use conclave_ceremony::progress::Event;
use conclave_ceremony::publication::key_file_names;
use conclave_ceremony::randomness::weight_seed;
use conclave_ceremony::verify::{gather, verify};
use conclave_cluster::lock::Lock;
use conclave_cluster::report::Outcome;
use conclave_crypto::bls::{PublicKey, SecretKey, Signature};
use conclave_crypto::hash::sha256;
use conclave_crypto::threshold::recover_signature;
use conclave_eth::keystore::{Keystore, Password};
use conclave_eth::network::Network;

use super::args::{KdfChoice, RehearseArgs};
use super::screen::Screen;
use super::{Context, input, interrupts, verify as verify_command};

/// The plan of a rehearsal without a plan.
const FRIENDS: &str = include_str!("../../ceremonies/friends.toml");
/// How long the first operator may take to listen.
const START: Duration = Duration::from_secs(30);
/// Validators whose shares sign a trial message.
const TRIALS: usize = 2;
/// A keystore or its password.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub fn run(context: &Context, args: &RehearseArgs) -> Result<(), Problem> {
    let start = Instant::now();
    let plan = plan(args)?;
    let network = input::network(&plan.network, args.own_network.network_file.as_deref())?;
    refuse_real_money(&network)?;
    let out = out_folder(args)?;
    let folders = prepare(&plan, &network, &out)?;
    context.output.say(format!(
        "Rehearsing {} with {} operators on {}; {} must sign. Folders: {}",
        super::output::printable(&plan.name),
        plan.operators,
        network.name,
        plan.threshold,
        out.display()
    ));
    let _meanwhile = interrupts::meanwhile_or(
        "the rehearsal was not finished",
        "delete the folder that it began; rehearse again whenever you like: that makes a new one",
    );
    let ceremony = Instant::now();
    hold(context, args, &folders)?;
    let ceremony = ceremony.elapsed();

    let materials = gather(&Disk::new(), &folders, None)?;
    let result = verify(
        &materials,
        Some(&network).filter(|_| args.own_network.network_file.is_some()),
        &weight_seed()?,
    );
    for row in &result.rows {
        context.output.event(&verify_command::event(row));
    }
    verify_command::judge(&result)?;
    let lock = read_lock(&folders)?;
    let signatures = trial_signatures(&folders, &lock, &plan)?;
    context.output.say(format!(
        "Verified: {} checks passed, and {signatures} trial signatures by different sets of {} operators hold.",
        result.rows.iter().filter(|row| row.outcome == Outcome::Ok).count(),
        plan.threshold
    ));
    context.output.say(format!(
        "The ceremony took {:.1} s, everything together {:.1} s.",
        ceremony.as_secs_f64(),
        start.elapsed().as_secs_f64()
    ));
    context
        .output
        .say("These keys were made on one machine: never deposit to them.");
    context.output.event(&Event::Finished {
        lock_hash: Some(format!("0x{}", hex::encode(lock.lock_hash()))),
        validators: lock
            .validators()
            .iter()
            .map(|v| format!("0x{}", hex::encode(v.public_key)))
            .collect(),
        seconds: start.elapsed().as_secs_f64(),
    });
    Ok(())
}

fn plan(args: &RehearseArgs) -> Result<Plan, Problem> {
    let mut plan = match &args.plan {
        Some(path) => input::plan(path)?,
        None => Plan::parse(FRIENDS)?,
    };
    if let Some(operators) = args.operators {
        plan.operators = operators;
        plan.threshold = default_threshold(operators);
    }
    if let Some(threshold) = args.threshold {
        plan.threshold = threshold;
    }
    if let Some(validators) = args.validators {
        plan.validators = vec![Payout::default(); validators.min(10_001) as usize];
    }
    if let Some(network) = &args.network {
        plan.network.clone_from(network);
    }
    plan.check()?;
    Ok(plan.with_rehearsal_addresses())
}

fn refuse_real_money(network: &Network) -> Result<(), Problem> {
    if !network.real_money {
        return Ok(());
    }
    Err(Problem::bad_input(
        format!("{} is not for rehearsals", network.name),
        "it has real money, and keys made on one machine are not a group's keys",
        "rehearse on a test network: --network hoodi",
    ))
}

fn out_folder(args: &RehearseArgs) -> Result<PathBuf, Problem> {
    let out = args.out.clone().unwrap_or_else(|| {
        let now = conclave_eth::text::timestamp(std::time::SystemTime::now());
        let digits: String = now.chars().filter(char::is_ascii_digit).collect();
        PathBuf::from(format!(
            "rehearsal-{}-{}",
            digits.get(..8).unwrap_or("0"),
            digits.get(8..14).unwrap_or("0")
        ))
    });
    let disk = Disk::new();
    if is_there(&out)? && !disk.list(&out)?.is_empty() {
        return Err(Problem::folder_state(
            format!("the folder {} is not empty", out.display()),
            "a rehearsal never writes beside other files",
            "name a new folder with --out, or leave it out",
        ));
    }
    if !is_there(&out)? {
        disk.create_folder(&out)?;
    }
    Ok(out)
}

/// Makes everybody's identity and the definition, as `identity new` and `define` do.
fn prepare(plan: &Plan, network: &Network, out: &Path) -> Result<Vec<PathBuf>, Problem> {
    let disk = Disk::new();
    let mut names = Names::default();
    let mut enrs = Vec::new();
    let mut folders = Vec::new();
    for i in 1..=plan.operators {
        let root = out.join(format!("operator-{i}"));
        let folder = DataFolder::open_or_create(&disk, &root)?;
        let identity = Identity::create(&folder, &format!("operator-{i}"))?;
        names.insert(&identity.key().public(), format!("operator-{i}"));
        enrs.push(identity.enr());
        folders.push(root);
    }
    let definition = definition(plan, enrs, network)?.to_json();
    for root in &folders {
        let folder = DataFolder::open(&disk, root)?;
        names.save(&folder)?;
        disk.write_new(&folder.definition(), &definition, PUBLIC)?;
    }
    Ok(folders)
}

/// What the operators' processes say.
enum Said {
    Event(usize, Event),
    /// Its output ended: the process is over or about to be.
    End(usize),
}

/// The operators' processes; killed when dropped.
struct Operators(Vec<Child>);

impl Drop for Operators {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts all operators and waits until each has ended well.
fn hold(context: &Context, args: &RehearseArgs, folders: &[PathBuf]) -> Result<(), Problem> {
    let mut screen = Screen::new(&context.output);
    let (tx, rx) = mpsc::channel();
    let mut operators = Operators(Vec::new());
    let mut last_error: Vec<Option<Problem>> = vec![None; folders.len()];
    let mut peer = None;
    for (i, folder) in folders.iter().enumerate() {
        operators.0.push(spawn(args, folder, i, peer.as_deref(), &tx)?);
        if i == 0 {
            peer = Some(first_address(&rx, &mut operators)?);
        }
    }
    drop(tx);
    let mut open = folders.len();
    while open > 0 {
        let Ok(said) = rx.recv() else { break };
        match said {
            Said::Event(0, event @ (Event::Progress(_) | Event::Fault { .. } | Event::Notice { .. })) => {
                screen.show(&event);
            }
            Said::Event(
                i,
                Event::Error {
                    code,
                    what,
                    why,
                    what_to_do,
                },
            ) => {
                last_error[i] = Some(Problem::new(
                    kind(code),
                    format!("operator-{}: {what}", i + 1),
                    why,
                    what_to_do,
                ));
            }
            Said::Event(..) => {}
            Said::End(i) => {
                open -= 1;
                let status = operators.0[i].wait().map_err(|error| cannot_run(&error))?;
                if !status.success() {
                    return Err(last_error[i].take().unwrap_or_else(|| {
                        Problem::other(
                            format!("the process of operator-{} ended early", i + 1),
                            status,
                            format!(
                                "look at it with: conclave join --data-dir {}",
                                folders[i].display()
                            ),
                        )
                    }));
                }
            }
        }
    }
    Ok(())
}

fn kind(code: u8) -> Kind {
    [
        Kind::Usage,
        Kind::BadInput,
        Kind::GaveUp,
        Kind::Aborted,
        Kind::Verification,
        Kind::FolderState,
        Kind::Interrupted,
    ]
    .into_iter()
    .find(|kind| kind.exit_code() == code)
    .unwrap_or(Kind::Other)
}

fn cannot_run(error: &dyn std::fmt::Display) -> Problem {
    Problem::other(
        "cannot run the operators' processes",
        error,
        "check that this machine lets programs start others",
    )
}

fn spawn(
    args: &RehearseArgs,
    folder: &Path,
    i: usize,
    peer: Option<&str>,
    tx: &Sender<Said>,
) -> Result<Child, Problem> {
    let program = std::env::current_exe().map_err(|error| cannot_run(&error))?;
    let mut command = Command::new(program);
    // Settings for the person's own commands are not for these.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CONCLAVE_") {
            command.env_remove(name);
        }
    }
    command.arg("--json").arg("--data-dir").arg(folder);
    command.args(["join", "--yes", "--listen", "/ip4/127.0.0.1/tcp/0", "--kdf"]);
    command.arg(match args.keystores.kdf {
        KdfChoice::Pbkdf2 => "pbkdf2",
        KdfChoice::Scrypt => "scrypt",
    });
    if let Some(peer) = peer {
        command.args(["--peer", peer]);
    }
    if let Some(file) = &args.own_network.network_file {
        command.arg("--network-file").arg(file);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| cannot_run(&error))?;
    let stdout = child.stdout.take().ok_or_else(|| cannot_run(&"no output"))?;
    let tx = tx.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str(&line) {
                let _ = tx.send(Said::Event(i, event));
            }
        }
        let _ = tx.send(Said::End(i));
    });
    Ok(child)
}

/// Waits until the first operator says where it listens.
fn first_address(rx: &Receiver<Said>, operators: &mut Operators) -> Result<String, Problem> {
    let deadline = Instant::now() + START;
    let late = || cannot_run(&"the first operator does not listen");
    loop {
        let left = deadline.checked_duration_since(Instant::now()).ok_or_else(late)?;
        match rx.recv_timeout(left).map_err(|_| late())? {
            Said::Event(_, Event::Listening { addresses }) => {
                if let Some(address) = addresses.into_iter().next() {
                    return Ok(address);
                }
            }
            Said::Event(
                _,
                Event::Error {
                    code,
                    what,
                    why,
                    what_to_do,
                },
            ) => {
                return Err(Problem::new(
                    kind(code),
                    format!("operator-1: {what}"),
                    why,
                    what_to_do,
                ));
            }
            Said::Event(..) => {}
            Said::End(_) => {
                let status = operators.0[0].wait().map_err(|error| cannot_run(&error))?;
                return Err(cannot_run(&status));
            }
        }
    }
}

fn read_lock(folders: &[PathBuf]) -> Result<Lock, Problem> {
    let disk = Disk::new();
    let mut locks = folders
        .iter()
        .map(|root| disk.read(&root.join(conclave_ceremony::folder::LOCK), MAX_JSON_BYTES));
    let first = locks.next().ok_or_else(|| failed("there is no operator"))??;
    for lock in locks {
        if lock? != first {
            return Err(failed("the operators' locks differ"));
        }
    }
    Lock::from_json(&first).map_err(|error| failed(&error.to_string()))
}

fn failed(why: &str) -> Problem {
    Problem::new(
        Kind::Verification,
        "the rehearsal's result does not hold",
        why,
        "this is a bug: please report it, with the folder of the rehearsal",
    )
}

/// Signs trial messages with different sets of t operators and verifies them under the group's key.
fn trial_signatures(folders: &[PathBuf], lock: &Lock, plan: &Plan) -> Result<usize, Problem> {
    let (n, t) = (folders.len(), plan.threshold as usize);
    let count = lock.validators().len();
    let trials: Vec<usize> = if count <= TRIALS {
        (0..count).collect()
    } else {
        vec![0, count - 1]
    };
    let mut signatures = 0;
    for v in trials {
        let shares = shares(folders, v)?;
        let key = lock
            .validators()
            .get(v)
            .and_then(|validator| PublicKey::from_bytes(&validator.public_key).ok());
        let key = key.ok_or_else(|| failed("a public key cannot be read"))?;
        for first in 0..n {
            let message = sha256(&[b"rehearsal", &lock.lock_hash(), &(first as u64).to_be_bytes()]);
            let partials: Vec<(u64, Signature)> = (0..t)
                .map(|k| (first + k) % n)
                .filter_map(|i| Some((i as u64 + 1, shares.get(i)?.sign(&message))))
                .collect();
            let signature = recover_signature(&partials).map_err(|error| failed(&error.to_string()))?;
            if !signature.verify(&key, &message) {
                return Err(failed("a trial signature does not verify"));
            }
            signatures += 1;
        }
    }
    Ok(signatures)
}

/// Everybody's share of validator `v`.
fn shares(folders: &[PathBuf], v: usize) -> Result<Vec<SecretKey>, Problem> {
    use rayon::prelude::*;
    let disk = Disk::new();
    let [json, password] = key_file_names(u32::try_from(v).unwrap_or(u32::MAX));
    folders
        .par_iter()
        .map(|root| {
            let keys = root.join(conclave_ceremony::folder::VALIDATOR_KEYS);
            let keystore = Keystore::from_json(&disk.read_secret(&keys.join(&json), MAX_KEY_BYTES)?)
                .map_err(|error| failed(&error.to_string()))?;
            let password = Password::from_bytes(&disk.read_secret(&keys.join(&password), MAX_KEY_BYTES)?)
                .map_err(|error| failed(&error.to_string()))?;
            keystore
                .open(&password)
                .map_err(|error| failed(&error.to_string()))
        })
        .collect()
}

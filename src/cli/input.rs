//! Files and values that several commands read.

use std::path::Path;

use conclave_ceremony::files::Disk;
use conclave_ceremony::folder::MAX_JSON_BYTES;
use conclave_ceremony::plan::{MAX_PLAN_BYTES, Plan};
use conclave_ceremony::problem::{Kind, Problem};
use conclave_cluster::definition::{Definition, DefinitionError, MAX_FILE};
use conclave_cluster::lock::{Lock, LockError};
use conclave_eth::network::{MAX_FILE_BYTES, Network};
use conclave_eth::recognise::{Content, without_bom};

/// Reads a lock. Its hashes and signatures are not checked yet.
///
/// # Errors
/// With what is wrong, and what to do about it.
pub fn lock(path: &Path) -> Result<Lock, Problem> {
    lock_and_bytes(path).map(|(lock, _)| lock)
}

/// As [`lock`], with the bytes of the file.
///
/// # Errors
/// As [`lock`].
pub fn lock_and_bytes(path: &Path) -> Result<(Lock, Vec<u8>), Problem> {
    let bytes = Disk::new().read(path, MAX_JSON_BYTES)?;
    let lock = Lock::from_json(&bytes).map_err(|error| {
        let what_to_do = match &error {
            LockError::Json(_) => "it is damaged: take the cluster-lock.json of another operator",
            LockError::Definition(DefinitionError::LaterVersion(_)) => "update conclave on this machine",
            _ => "name the cluster-lock.json of another operator",
        };
        Problem::bad_input(format!("{} cannot be used", path.display()), error, what_to_do)
    })?;
    Ok((lock, bytes))
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// With what is wrong, and what to do about it.
pub fn text(path: &Path, limit: u64) -> Result<String, Problem> {
    let bytes = Disk::new().read(path, limit)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::bad_input(
            format!("{} cannot be read", path.display()),
            "it was saved as UTF-16, as some editors on Windows do",
            "save it again as UTF-8",
        ));
    }
    String::from_utf8(without_bom(&bytes).to_vec()).map_err(|_| {
        Problem::bad_input(
            format!("{} cannot be read", path.display()),
            Content::of(&bytes).map_or_else(
                || "it is no text in UTF-8".to_owned(),
                |content| format!("it is {content}"),
            ),
            "check that it is the right file; text has to be saved as UTF-8",
        )
    })
}

/// Reads a plan.
///
/// # Errors
/// With what is wrong, and what to do about it.
pub fn plan(path: &Path) -> Result<Plan, Problem> {
    let text = text(path, MAX_PLAN_BYTES)?;
    Plan::parse(&text).map_err(
        |problem| match Content::instead_of(&Content::Toml, text.as_bytes()) {
            Some(other) => Problem::bad_input(
                format!("{} cannot be used", path.display()),
                format!("this is {other}, not a plan"),
                "name the plan, a TOML file as conclave plan new writes it",
            ),
            None => Problem {
                what: format!("{}: {}", path.display(), problem.what),
                ..problem
            },
        },
    )
}

/// The network with this name: a known one, or that of the network file.
///
/// # Errors
/// With what is wrong, and what to do about it.
pub fn network(name: &str, file: Option<&Path>) -> Result<Network, Problem> {
    let Some(network) = network_file(file)? else {
        return Network::by_name(name)
            .cloned()
            .map_err(|error| Problem::from_lines(Kind::BadInput, error));
    };
    if network.name != name {
        return Err(Problem::bad_input(
            format!("the network file is for {}", network.name),
            format!("the plan is for {}", super::output::printable(name)),
            "give the file of that network, or change the plan",
        ));
    }
    Ok(network)
}

/// The network of a definition: a known one, or that of the network file.
///
/// # Errors
/// With what is wrong, and what to do about it.
pub fn network_of(definition: &Definition, file: Option<&Path>) -> Result<Network, Problem> {
    let Some(network) = network_file(file)? else {
        return Network::by_fork_version(definition.fork_version)
            .cloned()
            .map_err(|error| Problem::from_lines(Kind::BadInput, error));
    };
    if network.genesis_fork_version != definition.fork_version {
        return Err(Problem::bad_input(
            format!("the network file is for {}", network.name),
            format!(
                "the definition is for the fork version 0x{}",
                hex::encode(definition.fork_version)
            ),
            "give the file of that network, or none",
        ));
    }
    Ok(network)
}

/// Reads a network file, if one is given.
///
/// # Errors
/// With what is wrong, and what to do about it.
pub fn network_file(file: Option<&Path>) -> Result<Option<Network>, Problem> {
    let Some(path) = file else { return Ok(None) };
    let text = text(path, MAX_FILE_BYTES as u64)?;
    let network = Network::from_toml(&text).map_err(|error| {
        match Content::instead_of(&Content::Toml, text.as_bytes()) {
            Some(other) => Problem::bad_input(
                format!("{} cannot be used", path.display()),
                format!("this is {other}, not the description of a network"),
                "name the TOML file that describes your network with --network-file",
            ),
            None => Problem::from_lines(Kind::BadInput, error),
        }
    })?;
    Ok(Some(network))
}

/// Reads a definition: every rule of the format, both hashes right.
///
/// # Errors
/// With what is wrong, and what to do about it.
pub fn definition(path: &Path) -> Result<Definition, Problem> {
    let bytes = Disk::new().read(path, MAX_FILE as u64)?;
    Definition::from_json(&bytes).map_err(|error| {
        let what_to_do = match &error {
            DefinitionError::LaterVersion(_) => "update conclave on this machine",
            DefinitionError::OtherFile(Content::Lock) => {
                "name the cluster-definition.json; a lock is what comes out of a ceremony that is over"
            }
            DefinitionError::OtherFile(content) if content.is_damage() => {
                "download it again, or ask whoever made the definition for the file itself"
            }
            DefinitionError::OtherFile(_) => "name the cluster-definition.json that your group agreed on",
            _ => "ask whoever made the definition for the file as it was",
        };
        Problem::bad_input(format!("{} cannot be used", path.display()), error, what_to_do)
    })
}

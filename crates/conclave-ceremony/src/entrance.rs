//! What is checked before anything is sent: that this folder, this identity and this definition belong together, and
//! that the ceremony could be carried to its end here.

use conclave_cluster::definition::Definition;
use conclave_cluster::wallets::Wallets;
use conclave_eth::network::Network;
use conclave_eth::text::printable;

use super::backups;
use super::files::{PUBLIC, is_there};
use super::folder::{DEFINITION, DataFolder, needed_bytes};
use super::identity::{Identity, is_like_a_number};
use super::problem::{Kind, Problem};
use super::publication;

/// Who takes part, and how far an earlier start got.
#[derive(Debug)]
pub struct Entrance {
    /// The operator's identity.
    pub identity: Identity,
    /// Its share index, from 1.
    pub index: u16,
    /// The results are in place already: there is nothing to do but to help others.
    pub finished: bool,
    /// Another operator's lock was put into this folder, whose own keystores still wait for their places.
    pub lock_put_here: bool,
}

/// Whether this ceremony was entered in this folder before. Then its signatures were found to be right, or were accepted as they are, and
/// nobody has to say so again.
///
/// # Errors
/// Anything the disk says.
pub fn was_entered(folder: &DataFolder, definition: &Definition) -> Result<bool, Problem> {
    Ok(folder.has_pinned(PIN, &definition.definition_hash())?)
}

/// Checks everything and changes nothing. `wallets`: what is known of contract wallets among the signers.
///
/// # Errors
/// With what does not fit.
pub fn examine(
    folder: &DataFolder,
    definition: &Definition,
    network: &Network,
    wallets: &Wallets,
) -> Result<Entrance, Problem> {
    network
        .accepts_ceremonies()
        .map_err(|error| Problem::from_lines(Kind::BadInput, error))?;
    definition
        .check_ceremony_with(network, wallets)
        .map_err(|error| {
            Problem::bad_input(
                "this definition cannot be joined",
                error,
                "ask whoever made it for a definition made by `conclave define`",
            )
        })?;
    let identity = Identity::load(folder.disk(), folder.root())?;
    if !was_entered(folder, definition)? {
        refuse_a_number_as_name(&identity)?;
    }
    let own = identity.key().public();
    let index = definition
        .operators
        .iter()
        .position(|operator| *operator.enr.node_public_key() == own)
        .and_then(|i| u16::try_from(i + 1).ok())
        .ok_or_else(|| {
            Problem::bad_input(
                "you are not an operator of this definition",
                format!("it does not name the identity in {}", folder.root().display()),
                "name the folder of the right identity with --data-dir, or ask for a definition with your record \
                 (conclave identity show)",
            )
        })?;
    refuse_another_definition(folder, definition)?;
    let pending = publication::pending(folder)?;
    let lock_put_here = pending.is_none() && publication::keys_wait(folder.disk(), folder.root())?;
    let finished = pending.is_some()
        || (!lock_put_here && is_there(&folder.lock())? && is_there(&folder.ceremony().join(PIN))?);
    if !finished {
        // Of a ceremony that was entered here and voted for, the results are its own: what is lost of them is made again.
        if !was_entered(folder, definition)? || publication::voted(folder)?.is_empty() {
            folder.refuse_outputs()?;
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        folder.preflight(needed_bytes(
            count(definition.operators.len()),
            u32::try_from(definition.threshold).unwrap_or(u32::MAX),
            count(definition.validators.len()),
            definition.effective_deposit_amounts().len(),
        ))?;
    }
    Ok(Entrance {
        identity,
        index,
        finished,
        lock_put_here,
    })
}

/// Checks everything, finishes an interrupted publication, and keeps the definition in the folder. `net` is what
/// signatures depend on and the definition does not say (see the protocol); the first start pins it.
///
/// # Errors
/// With what does not fit. Nothing is written before everything has been checked.
pub fn enter(
    folder: &DataFolder,
    definition: &Definition,
    network: &Network,
    net: &[u8; 32],
    wallets: &Wallets,
) -> Result<Entrance, Problem> {
    let entrance = examine(folder, definition, network, wallets)?;
    folder.pin("net", "network", net)?;
    folder.pin(PIN, "definition", &definition.definition_hash())?;
    if !is_there(&folder.definition())? {
        folder
            .disk()
            .write_new(&folder.definition(), &definition.to_json(), PUBLIC)?;
    }
    if let Some(k) = publication::pending(folder)? {
        publication::finish(folder, k)?;
    }
    Ok(entrance)
}

/// The others are told the name of whoever joins, and nobody may be called like somebody else's number.
fn refuse_a_number_as_name(identity: &Identity) -> Result<(), Problem> {
    match identity.name() {
        Some(name) if is_like_a_number(name) => Err(Problem::folder_state(
            format!("you cannot join under the name {}", printable(name)),
            "it looks like an operator's number: nobody could tell whether the name or the number is meant",
            "take another name, with letters in it: conclave identity rename --name NAME; then join again",
        )),
        _ => Ok(()),
    }
}

/// Where the hash of the definition that was entered is kept, in `ceremony/`.
pub(super) const PIN: &str = "definition-hash";

/// White space and the order of keys do not matter: the hash decides.
fn refuse_another_definition(folder: &DataFolder, definition: &Definition) -> Result<(), Problem> {
    let path = folder.definition();
    let bytes = match folder
        .disk()
        .read(&path, conclave_cluster::definition::MAX_FILE as u64)
    {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match Definition::from_json(&bytes) {
        Ok(there) if there.definition_hash() == definition.definition_hash() => return Ok(()),
        Ok(_) => {}
        Err(error) => {
            return Err(Problem::folder_state(
                format!("{} is damaged", path.display()),
                error,
                "move that file away, and name the one that your group agreed on: conclave join FILE",
            ));
        }
    }
    Err(Problem::folder_state(
        format!(
            "the folder {} belongs to another definition",
            folder.root().display()
        ),
        format!("its {DEFINITION} is not the one you want to join"),
        if folder.outputs()?.is_empty() {
            format!(
                "join without naming a file to go on with the one in that folder. If that was the wrong one, {}",
                backups::START_ANEW
            )
        } else {
            backups::ANOTHER_CEREMONY.to_owned()
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::super::attempt::Mark;
    use super::super::define::definition;
    use super::super::files::Disk;
    use super::super::folder::LOCK;
    use super::super::plan::Plan;
    use super::*;
    use conclave_cluster::enr::Enr;
    use conclave_crypto::node::NodeKey;

    fn hoodi() -> &'static Network {
        Network::by_name("hoodi").unwrap()
    }

    fn make(enrs: Vec<Enr>) -> Definition {
        let text = format!("name = \"x\"\noperators = {}\nnetwork = \"hoodi\"", enrs.len());
        definition(
            &Plan::parse(&text).unwrap().with_rehearsal_addresses(),
            enrs,
            hoodi(),
        )
        .unwrap()
    }

    fn other(byte: u8) -> Enr {
        Enr::create(&NodeKey::from_bytes(&[byte; 32]).unwrap())
    }

    fn prepared() -> (tempfile::TempDir, DataFolder, Definition) {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let identity = Identity::create(&folder, "ann").unwrap();
        let definition = make(vec![other(1), identity.enr(), other(2)]);
        (dir, folder, definition)
    }

    #[test]
    fn one_enters_again_and_again() {
        let (_dir, folder, definition) = prepared();
        for _ in 0..2 {
            let entrance = enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default()).unwrap();
            assert_eq!((entrance.index, entrance.finished), (2, false));
        }
        let kept = Definition::from_json(&std::fs::read(folder.definition()).unwrap()).unwrap();
        assert_eq!(kept.definition_hash(), definition.definition_hash());
    }

    #[test]
    fn nobody_joins_under_a_number_but_who_did_goes_on() {
        let (_dir, folder, definition) = prepared();
        let enter = || enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default());
        // As an earlier version took it.
        std::fs::write(folder.ceremony().join("name"), "#3").unwrap();
        let problem = enter().unwrap_err();
        assert_eq!(problem.kind, Kind::FolderState);
        assert!(problem.what_to_do.contains("identity rename"), "{problem:?}");
        assert!(!folder.definition().exists());
        Identity::rename(&folder, "ann").unwrap();
        enter().unwrap();
        std::fs::write(folder.ceremony().join("name"), "#3").unwrap();
        enter().unwrap();
    }

    #[test]
    fn a_foreign_definition_is_bad_input_and_leaves_nothing_behind() {
        let (_dir, folder, _) = prepared();
        let problem = enter(
            &folder,
            &make(vec![other(1), other(2)]),
            hoodi(),
            &[7; 32],
            &Wallets::default(),
        )
        .unwrap_err();
        assert_eq!(problem.kind, Kind::BadInput);
        assert!(!folder.definition().exists());
        assert_eq!(Disk::new().list(&folder.ceremony()).unwrap(), ["in-use", "name"]);
    }

    #[test]
    fn another_definition_or_network_is_refused_once_one_was_begun() {
        let (_dir, folder, definition) = prepared();
        enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default()).unwrap();
        assert_eq!(
            enter(&folder, &definition, hoodi(), &[8; 32], &Wallets::default())
                .unwrap_err()
                .kind,
            Kind::FolderState
        );
        let own = Identity::load(folder.disk(), folder.root()).unwrap().enr();
        let second = make(vec![own, other(3)]);
        assert_eq!(
            enter(&folder, &second, hoodi(), &[7; 32], &Wallets::default())
                .unwrap_err()
                .kind,
            Kind::FolderState
        );
        std::fs::remove_file(folder.definition()).unwrap();
        assert_eq!(
            enter(&folder, &second, hoodi(), &[7; 32], &Wallets::default())
                .unwrap_err()
                .kind,
            Kind::FolderState
        );
    }

    #[test]
    fn another_networks_file_and_results_in_the_way_are_refused() {
        let (_dir, folder, definition) = prepared();
        let sepolia = Network::by_name("sepolia").unwrap();
        assert_eq!(
            enter(&folder, &definition, sepolia, &[7; 32], &Wallets::default())
                .unwrap_err()
                .kind,
            Kind::BadInput
        );
        std::fs::write(folder.root().join("deposit-data.json"), "[]").unwrap();
        assert_eq!(
            enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default())
                .unwrap_err()
                .kind,
            Kind::FolderState
        );
        assert!(!folder.definition().exists());
    }

    #[test]
    fn whoever_joined_a_wrong_definition_is_told_what_works() {
        let (dir, folder, wrong) = prepared();
        let identity = Identity::load(folder.disk(), folder.root()).unwrap();
        let right = make(vec![identity.enr(), other(3)]);
        let enter = |folder: &DataFolder| enter(folder, &right, hoodi(), &[7; 32], &Wallets::default());
        super::enter(&folder, &wrong, hoodi(), &[7; 32], &Wallets::default()).unwrap();
        let problem = enter(&folder).unwrap_err();
        assert_eq!(problem.kind, Kind::FolderState);
        let todo = problem.what_to_do;
        assert!(
            todo.contains("copy charon-enr-private-key and nothing else"),
            "{todo}"
        );
        assert!(
            !todo.contains("new identity"),
            "the right one would not name it: {todo}"
        );
        // It does.
        let new = dir.path().join("new");
        std::fs::create_dir(&new).unwrap();
        let name = super::super::folder::IDENTITY;
        std::fs::copy(dir.path().join(name), new.join(name)).unwrap();
        enter(&DataFolder::open(&Disk::new(), &new).unwrap()).unwrap();
        // The same definition on another network, once the file in the folder is lost.
        std::fs::remove_file(folder.definition()).unwrap();
        let todo = enter(&folder).unwrap_err().what_to_do;
        assert!(todo.contains(backups::START_ANEW), "{todo}");
        std::fs::write(folder.definition(), wrong.to_json()).unwrap();
        // What validates keeps its identity for itself.
        std::fs::write(folder.lock(), "{}").unwrap();
        let todo = enter(&folder).unwrap_err().what_to_do;
        assert!(
            todo.contains("identity new") && todo.contains("definition with its record"),
            "{todo}"
        );
    }

    #[test]
    fn own_results_without_their_lock_are_in_nobodys_way() {
        let (_dir, folder, definition) = prepared();
        let enter = || enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default());
        enter().unwrap();
        std::fs::create_dir(folder.keys()).unwrap();
        std::fs::write(folder.keys().join("keystore-0.json"), "{}").unwrap();
        let problem = enter().unwrap_err();
        assert!(
            problem
                .what_to_do
                .contains("another operator's cluster-lock.json"),
            "before the vote they are of another ceremony: {problem:?}"
        );
        folder.attempts().mark(1, Mark::Voted).unwrap();
        assert!(!enter().unwrap().finished);
    }

    #[test]
    fn an_interrupted_publication_is_finished_first() {
        let (_dir, folder, definition) = prepared();
        enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default()).unwrap();
        let keys = publication::staged_keys(&folder, 1);
        std::fs::create_dir_all(&keys).unwrap();
        for name in publication::key_file_names(0) {
            std::fs::write(keys.join(name), "x").unwrap();
        }
        publication::begin(
            &folder,
            &crate::staging::Proven::unopened(&folder, 1, 1),
            &[("deposit-data.json".into(), b"[]".to_vec())],
            None,
            b"{}",
        )
        .unwrap();
        assert!(
            enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default())
                .unwrap()
                .finished
        );
        assert_eq!(std::fs::read(folder.root().join(LOCK)).unwrap(), b"{}");
        assert!(
            enter(&folder, &definition, hoodi(), &[7; 32], &Wallets::default())
                .unwrap()
                .finished
        );
    }
}

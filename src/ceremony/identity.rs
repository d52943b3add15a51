//! Who an operator is: the node key, in the file that other software reads too, and a name for the others' screens.

use rand::TryRng;
use zeroize::{Zeroize, Zeroizing};

use crate::cluster::enr::Enr;
use crate::cluster::recognise::without_bom;
use crate::crypto::node::NodeKey;
use crate::text::is_unprintable;

use super::backups;
use super::files::{Disk, FileError, PUBLIC, SECRET};
use super::folder::{CEREMONY, DataFolder, IDENTITY};
use super::problem::Problem;

/// Most bytes of a name in UTF-8: what a Join has room for.
pub const MAX_NAME_BYTES: usize = 32;

const NAME: &str = "name";

/// A node key and perhaps a name.
pub struct Identity {
    key: NodeKey,
    name: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a new identity in a folder. An identity that is there is never overwritten.
    ///
    /// # Errors
    /// If there is one; if the name is not allowed; if there is no randomness; anything the disk says.
    pub fn create(folder: &DataFolder, name: &str) -> Result<Self, Problem> {
        check_name(name)?;
        let path = folder.identity();
        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(Problem::folder_state(
                format!("there is an identity in {} already", folder.root().display()),
                format!("{} exists, and a key is never overwritten", path.display()),
                "show it with `conclave identity show`, or name another folder with --data-dir",
            ));
        }
        let key = random_key()?;
        // The name first: once the key is there, everything is.
        Self::rename(folder, name)?;
        let bytes = key.to_bytes();
        let mut text = Zeroizing::new([0u8; 64]);
        hex::encode_to_slice(bytes.as_slice(), text.as_mut_slice()).map_err(|error| {
            Problem::other(
                "cannot write the identity",
                error,
                "this is a bug: please report it",
            )
        })?;
        folder.disk().write_new(&path, text.as_slice(), SECRET)?;
        Ok(Self {
            key,
            name: Some(name.to_owned()),
        })
    }

    /// Reads the identity of a data folder.
    ///
    /// # Errors
    /// If there is none; if the file holds no key; anything the disk says.
    pub fn load(disk: &Disk, root: &std::path::Path) -> Result<Self, Problem> {
        let path = root.join(IDENTITY);
        // Other software may have ended the line, or begun with a byte order mark.
        let text = match disk.read_secret(&path, 80) {
            Ok(text) => text,
            Err(error) if error.is_missing() => {
                return Err(Problem::folder_state(
                    format!("there is no identity in {}", root.display()),
                    format!("{} does not exist", path.display()),
                    "make one with `conclave identity new --name NAME`, or name its folder with --data-dir",
                ));
            }
            Err(error) => return Err(error.into()),
        };
        let key = parse_key(&text).ok_or_else(|| {
            Problem::bad_input(
                format!("{} holds no key", path.display()),
                "it must be 64 hexadecimal digits",
                backups::PUT_BACK_IDENTITY,
            )
        })?;
        Ok(Self {
            key,
            name: load_name(disk, root)?,
        })
    }

    /// Gives the identity of a folder another name.
    ///
    /// # Errors
    /// If the name is not allowed; anything the disk says.
    pub fn rename(folder: &DataFolder, name: &str) -> Result<(), Problem> {
        check_name(name)?;
        folder
            .disk()
            .replace(&folder.ceremony().join(NAME), name.as_bytes(), PUBLIC)?;
        Ok(())
    }

    /// The node key.
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// The name that was given to it here; an identity that other software made has none.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The record to send to whoever makes the definition.
    pub fn enr(&self) -> Enr {
        Enr::create(&self.key)
    }
}

/// The key in an identity file, whoever wrote it: 64 hexadecimal digits, perhaps with `0x`, a byte order mark or blanks around them.
pub fn parse_key(text: &[u8]) -> Option<NodeKey> {
    let text = without_bom(text).trim_ascii();
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    let mut bytes = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(digits, bytes.as_mut_slice()).ok()?;
    NodeKey::from_bytes(&bytes)
}

fn load_name(disk: &Disk, root: &std::path::Path) -> Result<Option<String>, FileError> {
    match disk.read(&root.join(CEREMONY).join(NAME), MAX_NAME_BYTES as u64) {
        Ok(bytes) => Ok(String::from_utf8(bytes)
            .ok()
            .filter(|name| check_name(name).is_ok())),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

fn random_key() -> Result<NodeKey, Problem> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    loop {
        rand::rngs::SysRng
            .try_fill_bytes(bytes.as_mut_slice())
            .map_err(|error| {
                Problem::other(
                    "cannot make a key",
                    error,
                    "the operating system gives no randomness: run the command on another machine",
                )
            })?;
        // All but one in 2^128 are keys.
        if let Some(key) = NodeKey::from_bytes(&bytes) {
            bytes.zeroize();
            return Ok(key);
        }
    }
}

/// Checks the name of an operator: 1 to 32 bytes of UTF-8 that look on every screen like what they are.
///
/// # Errors
/// With what is wrong.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it has more than 32 bytes"
    } else if name.chars().any(is_unprintable) {
        "it holds control characters or invisible ones"
    } else if name.trim() != name {
        "it begins or ends with a blank"
    } else {
        return Ok(());
    };
    Err(Problem::bad_input(
        "the name cannot be used",
        why,
        "give a name of 1 to 32 bytes, such as --name carol",
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::files::crashing_disk;
    use super::super::problem::Kind;
    use super::*;

    #[test]
    fn an_identity_comes_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let made = Identity::create(&folder, "carol").unwrap();
        let text = std::fs::read(folder.identity()).unwrap();
        assert_eq!(text.len(), 64);
        assert_eq!(
            std::fs::metadata(folder.identity()).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let loaded = Identity::load(&Disk::new(), dir.path()).unwrap();
        assert_eq!(loaded.enr().text(), made.enr().text());
        assert_eq!(loaded.name(), Some("carol"));
        let problem = Identity::create(&folder, "mallory").unwrap_err();
        assert_eq!(problem.kind, Kind::FolderState);
        assert_eq!(std::fs::read(folder.identity()).unwrap(), text);
        assert_eq!(
            Identity::load(&Disk::new(), dir.path()).unwrap().name(),
            Some("carol")
        );
        Identity::rename(&folder, "Carol").unwrap();
        assert_eq!(
            Identity::load(&Disk::new(), dir.path()).unwrap().name(),
            Some("Carol")
        );
        assert!(!format!("{loaded:?}").contains(std::str::from_utf8(&text).unwrap()));
    }

    #[test]
    fn a_crash_leaves_an_identity_or_none() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let done = DataFolder::open(&crashing_disk(k).0, dir.path())
                .and_then(|folder| Identity::create(&folder, "carol"))
                .is_ok();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            match Identity::load(&Disk::new(), dir.path()) {
                Ok(identity) => assert_eq!(identity.name(), Some("carol")),
                Err(problem) => {
                    assert_eq!(problem.kind, Kind::FolderState);
                    assert!(!done);
                    Identity::create(&folder, "carol").unwrap();
                }
            }
            if done {
                break;
            }
        }
    }

    #[test]
    fn other_softwares_identities_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(IDENTITY), format!("{}\n", "11".repeat(32))).unwrap();
        let identity = Identity::load(&Disk::new(), dir.path()).unwrap();
        assert_eq!(identity.name(), None);
        assert!(identity.enr().text().starts_with("enr:"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            String::new(),
            "11".repeat(31),
            "00".repeat(32),
            "ff".repeat(32),
            "zz".repeat(32),
            "1".repeat(1000),
        ] {
            std::fs::write(dir.path().join(IDENTITY), &text).unwrap();
            assert_eq!(
                Identity::load(&Disk::new(), dir.path()).unwrap_err().kind,
                Kind::BadInput,
                "{text}"
            );
        }
    }

    #[test]
    fn names_look_like_what_they_are() {
        for good in ["a", "Carol", "José", "名前", "two words", &"x".repeat(32)] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            " a",
            "a ",
            "a\n",
            "\u{1b}[2J",
            "a\u{202e}b",
            "a\u{200b}b",
            &"x".repeat(33),
            &"名".repeat(11),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}

//! What to call operators before they have joined: the names given when the definition was made, or else two words
//! derived from the public key. The definition itself has no field for names.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::crypto::node::NodePublicKey;

use super::files::{Disk, PUBLIC};
use super::folder::{CEREMONY, DataFolder};
use super::identity::check_name;
use super::problem::Problem;

const FILE: &str = "names.toml";
/// 64 operators with names of 32 bytes, with room for many ceremonies.
const MAX_BYTES: u64 = 64 * 1024;

/// Names by public key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// The names kept in a data folder; none if nobody kept any. Names that are not allowed are left out.
    ///
    /// # Errors
    /// If the file is damaged; anything the disk says.
    pub fn load(disk: &Disk, root: &std::path::Path) -> Result<Self, Problem> {
        let path = root.join(CEREMONY).join(FILE);
        let bytes = match disk.read(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let names: BTreeMap<String, String> = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| toml::from_str(text).ok())
            .ok_or_else(|| {
                Problem::bad_input(
                    format!("{} cannot be read", path.display()),
                    "it is no list of names",
                    "remove that file: it only holds names for the screen",
                )
            })?;
        Ok(Self(
            names
                .into_iter()
                .filter(|(_, name)| check_name(name).is_ok())
                .collect(),
        ))
    }

    /// Keeps the names in a data folder.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn save(&self, folder: &DataFolder) -> Result<(), Problem> {
        let text = toml::to_string(&self.0).map_err(|error| {
            Problem::other("cannot write the names", error, "this is a bug: please report it")
        })?;
        folder
            .disk()
            .replace(&folder.ceremony().join(FILE), text.as_bytes(), PUBLIC)?;
        Ok(())
    }

    /// Remembers a name.
    pub fn insert(&mut self, key: &NodePublicKey, name: impl Into<String>) {
        self.0.insert(hex::encode(key.to_bytes()), name.into());
    }

    /// The name for a key: the one that was given, else two words.
    pub fn of(&self, key: &NodePublicKey) -> String {
        self.0
            .get(&hex::encode(key.to_bytes()))
            .cloned()
            .unwrap_or_else(|| two_words(key))
    }
}

/// Two words of the BIP-39 list, 22 bits of the hash of the key: easy to tell apart, no protection against somebody
/// who looks for a key with the same words.
pub fn two_words(key: &NodePublicKey) -> String {
    let hash = Sha256::new()
        .chain_update(b"conclave/words/1")
        .chain_update(key.to_bytes())
        .finalize();
    let words = bip39::Language::English.word_list();
    let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    let word = |shift: u32| words[(number >> shift) as usize % words.len()];
    format!("{}-{}", word(21), word(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::node::NodeKey;

    fn key(byte: u8) -> NodePublicKey {
        NodeKey::from_bytes(&[byte; 32]).unwrap().public()
    }

    #[test]
    fn names_are_kept_and_others_get_two_words() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        assert_eq!(Names::load(&Disk::new(), dir.path()).unwrap(), Names::default());
        let mut names = Names::default();
        names.insert(&key(1), "Ann \"the first\"");
        names.save(&folder).unwrap();
        let names = Names::load(&Disk::new(), dir.path()).unwrap();
        assert_eq!(names.of(&key(1)), "Ann \"the first\"");
        assert_eq!(names.of(&key(2)), two_words(&key(2)));
        assert_ne!(two_words(&key(1)), two_words(&key(2)));
        assert_eq!(two_words(&key(1)).split('-').count(), 2);
    }

    #[test]
    fn damaged_or_hostile_names_do_not_get_to_the_screen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let path = folder.ceremony().join(FILE);
        std::fs::write(&path, "not = [toml").unwrap();
        assert!(Names::load(&Disk::new(), dir.path()).is_err());
        let hex = hex::encode(key(1).to_bytes());
        std::fs::write(&path, format!("{hex} = \"\\u001b[2J\"")).unwrap();
        assert_eq!(
            Names::load(&Disk::new(), dir.path()).unwrap().of(&key(1)),
            two_words(&key(1))
        );
    }
}

//! What to call operators: what their Joins said, before that the names given when the definition was made, or else two words
//! derived from the public key. The definition and the lock have no field for names, so they are kept here, for every command that shows
//! an operator.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::crypto::node::NodePublicKey;

use super::files::{Cause, Disk, PUBLIC};
use super::folder::{CEREMONY, DataFolder};
use super::identity::{MAX_NAME_BYTES, check_name};
use super::problem::Problem;

const FILE: &str = "names.toml";
/// 64 operators with names of 32 bytes, with room for many ceremonies.
const MAX_BYTES: u64 = 64 * 1024;

/// Names by public key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// The names kept in a data folder; none if nobody kept any. What is damaged or not allowed is left out: names are for screens only, and no
    /// command fails for lack of them.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn load(disk: &Disk, root: &std::path::Path) -> Result<Self, Problem> {
        let path = root.join(CEREMONY).join(FILE);
        let bytes = match disk.read(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() || matches!(error.cause, Cause::TooLarge(_)) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(error.into()),
        };
        let names: BTreeMap<String, String> = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| toml::from_str(text).ok())
            .unwrap_or_default();
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

    /// What an operator's Join says that it is called. Says whether that is new.
    pub fn learn(&mut self, key: &NodePublicKey, name: &str) -> bool {
        let known = self.0.get(&hex::encode(key.to_bytes())).map(String::as_str);
        let fresh = known != Some(name) && check_name(name).is_ok();
        if fresh {
            self.insert(key, name);
        }
        fresh
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

/// The names that operators say they have, made so that nobody can pass for another: a name that somebody before in the list has, in
/// whatever case, gets the operator's number after it. `said`: number (from 1) and name, ascending.
pub fn distinct(said: &[(u16, String)]) -> Vec<(u16, String)> {
    let mut out: Vec<(u16, String)> = Vec::with_capacity(said.len());
    for (operator, name) in said {
        let mut name = name.clone();
        let taken = |name: &str| {
            out.iter()
                .any(|(_, other)| other.to_lowercase() == name.to_lowercase())
        };
        if taken(&name) {
            let number = format!(" ({operator})");
            while name.len() + number.len() > MAX_NAME_BYTES {
                name.pop();
            }
            name = format!("{}{number}", name.trim_end());
        }
        out.push((*operator, name));
    }
    out
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
    fn what_a_join_says_takes_the_place_of_what_was_given() {
        let mut names = Names::default();
        names.insert(&key(1), "anne");
        assert!(names.learn(&key(1), "ann"));
        assert!(!names.learn(&key(1), "ann"));
        assert!(!names.learn(&key(1), "a\u{1b}[2Jnn") && !names.learn(&key(2), ""));
        assert_eq!(names.of(&key(1)), "ann");
        assert_eq!(names.of(&key(2)), two_words(&key(2)));
    }

    #[test]
    fn nobody_passes_for_another() {
        let long = "名".repeat(10);
        let said: Vec<(u16, String)> = [(1, "ann"), (2, "bob"), (3, "ANN"), (5, &*long), (64, &*long)]
            .map(|(operator, name)| (operator, name.to_owned()))
            .to_vec();
        let names = distinct(&said);
        assert!(
            names.iter().all(|(_, name)| check_name(name).is_ok()),
            "{names:?}"
        );
        let names: Vec<&str> = names.iter().map(|(_, name)| &**name).collect();
        assert_eq!(
            names,
            [
                "ann",
                "bob",
                "ANN (3)",
                &long,
                &format!("{} (64)", "名".repeat(9))
            ]
        );
    }

    #[test]
    fn damaged_or_hostile_names_do_not_get_to_the_screen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let path = folder.ceremony().join(FILE);
        for damaged in ["not = [toml".to_owned(), "\u{0}".repeat(100), "x".repeat(100_000)] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Names::load(&Disk::new(), dir.path()).unwrap(), Names::default());
        }
        let hex = hex::encode(key(1).to_bytes());
        std::fs::write(&path, format!("{hex} = \"\\u001b[2J\"")).unwrap();
        assert_eq!(
            Names::load(&Disk::new(), dir.path()).unwrap().of(&key(1)),
            two_words(&key(1))
        );
    }
}

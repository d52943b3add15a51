//! What to call operators: the names given when the definition was made, else what their Joins said, else two words derived from the
//! public key. The definition and the lock have no field for names, so they are kept here, for every command that shows an operator.
//!
//! Nobody can pass for another by case, accents, width, blanks, what is not seen, or letters of other scripts that look alike (Unicode Technical
//! Standard 39). What was given here counts more than what somebody says of itself; of two who say the same, the first in the definition has it;
//! and whatever could be taken for another operator's name gets its own number behind it. Names are given to all operators of a group at once,
//! from what is known of all of them, so that it does not matter who came first. They say who is meant and prove nothing: keys do.

use std::{collections::BTreeMap, iter};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_security::skeleton;

use conclave_crypto::node::NodePublicKey;
use conclave_eth::text::{is_unprintable, is_variant};

use super::files::{Cause, Disk, PUBLIC};
use super::folder::{CEREMONY, DataFolder};
use super::identity::{MAX_NAME_BYTES, check_name, is_like_a_number};
use super::problem::Problem;

const FILE: &str = "names.toml";
/// 64 operators with names of 32 bytes, with room for many ceremonies.
const MAX_BYTES: u64 = 64 * 1024;

/// Names by public key, in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// What was given here.
    #[serde(flatten)]
    given: BTreeMap<String, String>,
    /// What their Joins said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    said: BTreeMap<String, String>,
}

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
        let mut names: Self = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| toml::from_str(text.trim_start_matches('\u{feff}')).ok())
            .unwrap_or_default();
        names.said.retain(|_, name| check_name(name).is_ok());
        names.given.retain(|_, name| check_name(name).is_ok());
        Ok(names)
    }

    /// Keeps the names in a data folder.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn save(&self, folder: &DataFolder) -> Result<(), Problem> {
        let text = toml::to_string(self).map_err(|error| {
            Problem::other("cannot write the names", error, "this is a bug: please report it")
        })?;
        folder
            .disk()
            .replace(&folder.ceremony().join(FILE), text.as_bytes(), PUBLIC)?;
        Ok(())
    }

    /// What an operator's Join says that it is called. Says whether that is new.
    pub fn learn(&mut self, key: &NodePublicKey, name: &str) -> bool {
        let key = hex::encode(key.to_bytes());
        let fresh = self.said.get(&key).map(String::as_str) != Some(name) && check_name(name).is_ok();
        if fresh {
            self.said.insert(key, name.to_owned());
        }
        fresh
    }

    /// Remembers a name that was given.
    pub fn insert(&mut self, key: &NodePublicKey, name: impl Into<String>) {
        self.given.insert(hex::encode(key.to_bytes()), name.into());
    }

    /// What to call an operator where nobody else is named.
    pub fn of(&self, key: &NodePublicKey) -> String {
        let hex = hex::encode(key.to_bytes());
        let said = || self.said.get(&hex).filter(|name| !is_like_a_number(name));
        let known = self.given.get(&hex).or_else(said);
        known.cloned().unwrap_or_else(|| two_words(key))
    }

    /// What to call the operators with these keys, in their order: each in another way, whatever anybody says.
    pub fn of_all<'a>(&self, keys: impl IntoIterator<Item = &'a NodePublicKey>) -> Vec<String> {
        let keys: Vec<&NodePublicKey> = keys.into_iter().collect();
        let words: Vec<String> = keys.iter().map(|key| two_words(key)).collect();
        let wanted: Vec<(Rank, &str)> = keys
            .iter()
            .zip(&words)
            .map(|(key, words)| {
                let key = hex::encode(key.to_bytes());
                let given = self.given.get(&key).map(|name| (Rank::Given, name.as_str()));
                // What somebody calls itself is never another one's number.
                let said = || self.said.get(&key).filter(|name| !is_like_a_number(name));
                let said = || said().map(|name| (Rank::Said, name.as_str()));
                given.or_else(said).unwrap_or((Rank::Words, words))
            })
            .collect();
        let looks: Vec<(Rank, Look)> = wanted
            .iter()
            .map(|(rank, name)| (*rank, Look::of(name)))
            .collect();
        // Two words are an operator's own, whatever else it is called.
        let words: Vec<Look> = words.iter().map(|words| Look::of(words)).collect();
        let mut names = Vec::with_capacity(keys.len());
        for (place, ((rank, name), (_, mine))) in wanted.iter().zip(&looks).enumerate() {
            let before = |(other, (other_rank, look)): (usize, &(Rank, Look))| {
                (*other_rank, other) < (*rank, place) && look.is_like(mine)
            };
            let taken = looks.iter().enumerate().any(before)
                || words
                    .iter()
                    .enumerate()
                    .any(|(other, words)| other != place && words.is_like(mine));
            // Whatever ends like a number that is put behind a name is the name of that operator only.
            let number = place + 1;
            let passes = mine
                .ends()
                .any(|end| end != format!("({number})") && end != skeleton_of(&format!("({number})")));
            names.push(if taken || passes || mine.plain.is_empty() {
                numbered(name, number)
            } else {
                (*name).to_owned()
            });
        }
        names
    }
}

/// Whose word a name is, the weightiest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Given,
    Words,
    Said,
}

/// What a name looks like, in all the ways in which it could be taken for another.
struct Look {
    /// Without case, width, accents, blanks and what is not seen.
    plain: String,
    /// That, and the name as it is written, with one letter for all that look alike: small letters may be told apart where capitals are not.
    skeletons: [String; 2],
}

impl Look {
    fn of(name: &str) -> Self {
        let plain = plain(name);
        let skeletons = [skeleton_of(&plain), skeleton_of(name)];
        Self { plain, skeletons }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.plain == other.plain || self.skeletons.iter().any(|one| other.skeletons.contains(one))
    }

    /// Its end, where that looks like a number in parentheses.
    fn ends(&self) -> impl Iterator<Item = &str> {
        let all = iter::once(&self.plain).chain(&self.skeletons);
        all.filter_map(|look| number_at_the_end(look))
    }
}

/// Without case, width, accents, blanks and what is not seen.
fn plain(name: &str) -> String {
    let plain =
        |c: &char| !(is_combining_mark(*c) || is_unprintable(*c) || c.is_whitespace() || is_variant(*c));
    let lower = name.nfkd().filter(plain).flat_map(char::to_lowercase);
    let look: String = lower.collect();
    look.nfkd().filter(plain).collect()
}

/// With one letter for all that look alike, and plain.
fn skeleton_of(name: &str) -> String {
    plain(&skeleton(name).collect::<String>())
}

/// The end of a look that is digits in parentheses, or letters that look like digits.
fn number_at_the_end(look: &str) -> Option<&str> {
    let inner = look.strip_suffix(')')?;
    let (before, digits) = inner.rsplit_once('(')?;
    let like_a_digit = |c: char| c.is_numeric() || matches!(c, 'l' | 'i' | 'o');
    let number = !digits.is_empty() && digits.chars().all(like_a_digit);
    number.then(|| look.get(before.len()..)).flatten()
}

/// A name with an operator's number behind it, cut so that it still is one.
fn numbered(name: &str, operator: usize) -> String {
    let number = format!(" ({operator})");
    let mut name = name.to_owned();
    while name.len() + number.len() > MAX_NAME_BYTES {
        name.pop();
    }
    format!("{}{number}", name.trim_end())
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
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use conclave_crypto::node::NodeKey;

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
        names.learn(&key(3), "carol");
        names.save(&folder).unwrap();
        let names = Names::load(&Disk::new(), dir.path()).unwrap();
        assert_eq!(
            names.of_all([&key(1), &key(2)]),
            ["Ann \"the first\"", &two_words(&key(2))]
        );
        assert_ne!(two_words(&key(1)), two_words(&key(2)));
        assert_eq!(two_words(&key(1)).split('-').count(), 2);
    }

    fn group() -> Vec<NodePublicKey> {
        (1..=64).map(key).collect()
    }

    /// Names that were given and said, by operator.
    fn names(given: &[(u8, &str)], said: &[(u8, &str)]) -> Names {
        let mut names = Names::default();
        for (operator, name) in given {
            names.insert(&key(*operator), *name);
        }
        for (operator, name) in said {
            names.learn(&key(*operator), name);
        }
        names
    }

    #[test]
    fn what_was_given_counts_more_than_what_a_join_says() {
        let mut names = names(&[(1, "anne")], &[]);
        assert!(names.learn(&key(1), "bob"));
        assert!(!names.learn(&key(1), "bob"));
        assert!(!names.learn(&key(1), "a\u{1b}[2Jnn") && !names.learn(&key(2), ""));
        assert!(names.learn(&key(2), "bob"));
        assert_eq!(names.of_all([&key(1), &key(2)]), ["anne", "bob"]);
    }

    #[test]
    fn nobody_is_called_like_the_number_of_another() {
        let said = [
            (1, "2"),
            (2, "#1"),
            (3, "\u{ff12}"),
            (4, "operator 1"),
            (5, "bob2"),
        ];
        let names = names(&[(6, "1")], &said);
        let called = names.of_all(&group()[..6]);
        let words: Vec<String> = group()[..4].iter().map(two_words).collect();
        assert_eq!(called[..4], words);
        assert_eq!(names.of(&key(1)), two_words(&key(1)));
        // What was given by hand for an earlier definition is still read.
        assert_eq!(called[4..], ["bob2", "1"]);
    }

    #[test]
    fn nobody_passes_for_another() {
        let words = two_words(&key(9)).to_uppercase();
        let given = [(2, "ann"), (8, "\u{212b}sa (3)")];
        let said = [
            (1, "ANN"),
            (3, "\u{ff41}nn"),
            (4, "A\u{301}n\u{fe0f}n"),
            (5, "ann (2)"),
            (6, "ann (6)"),
            (7, &words),
            (10, "ann \u{ff08}\u{ff12}\u{ff09}"),
        ];
        let called = names(&given, &said).of_all(&group()[..10]);
        assert_eq!(
            called,
            [
                "ANN (1)",
                "ann",
                "\u{ff41}nn (3)",
                "A\u{301}n\u{fe0f}n (4)",
                "ann (2) (5)",
                "ann (6)",
                &format!("{words} (7)"),
                "\u{212b}sa (3) (8)",
                &two_words(&key(9)),
                "ann \u{ff08}\u{ff12}\u{ff09} (10)",
            ]
        );
        // Cyrillic a, o and dze; a capital I for an l; a 0 for an O.
        let given = [(1, "anna"), (2, "bob"), (3, "lisa"), (4, "OTTO")];
        let said = [
            (5, "\u{430}nn\u{430}"),
            (6, "b\u{43e}b"),
            (7, "IISA"),
            (8, "Iisa"),
            (9, "0TT0"),
            (10, "bob (l0)"),
            (11, "bob (Il)"),
            (12, "\u{411}\u{43e}\u{431}"),
        ];
        let called = names(&given, &said).of_all(&group()[..12]);
        let numbered = |place: usize| called[place - 1].ends_with(&format!(" ({place})"));
        assert_eq!(called[..4], given.map(|(_, name)| name));
        assert!((5..=6).all(numbered) && (8..=11).all(numbered), "{called:?}");
        // Another word in another script is nobody else's name.
        assert_eq!(called[11], "\u{411}\u{43e}\u{431}");
        let long = "\u{540d}".repeat(10);
        let called = names(&[], &[(5, &long), (64, &long)]).of_all(&group());
        assert_eq!(
            [&called[4], &called[63]],
            [&long, &format!("{} (64)", "\u{540d}".repeat(9))]
        );
    }

    proptest! {
        #[test]
        fn all_are_called_differently_whoever_came_first(
            given in vec((1u8..=12, "[aAbB\u{e1}\u{ff41}]{1,2}( ?\\([1-9\u{ff12}]\\)){0,2}"), 0..8),
            said in vec((1u8..=12, "[aAbB\u{e1}\u{ff41}]{1,2}( ?\\([1-9\u{ff12}]\\)){0,2}|\\PC{1,12}"), 0..16),
            turn in 0usize..16,
        ) {
            let mut once = BTreeMap::new();
            for (operator, name) in said {
                once.entry(operator).or_insert(name);
            }
            let mut said: Vec<(u8, &str)> = once.iter().map(|(operator, name)| (*operator, name.as_str())).collect();
            let given: Vec<(u8, &str)> = given.iter().map(|(operator, name)| (*operator, name.trim())).collect();
            let group = &group()[..12];
            let called = names(&given, &said).of_all(group);
            for name in &called {
                prop_assert!(check_name(name).is_ok(), "{}", name);
            }
            let looks: Vec<Look> = called.iter().map(|name| Look::of(name)).collect();
            for (place, look) in looks.iter().enumerate() {
                prop_assert!(!looks[..place].iter().any(|one| one.is_like(look)), "{:?}", called);
            }
            // In whatever order they came.
            let by = turn % said.len().max(1);
            said.rotate_left(by);
            said.reverse();
            prop_assert_eq!(&names(&given, &said).of_all(group), &called);
            // What somebody says changes no name that was given.
            let only = names(&given, &[]).of_all(group);
            for (operator, _) in &given {
                let place = usize::from(*operator - 1);
                prop_assert_eq!(&only[place], &called[place]);
            }
        }
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
        for hostile in [
            format!("{hex} = \"\\u001b[2J\""),
            format!("[said]\n{hex} = \"\\u001b[2J\""),
        ] {
            std::fs::write(&path, hostile).unwrap();
            assert_eq!(Names::load(&Disk::new(), dir.path()).unwrap(), Names::default());
        }
    }
}

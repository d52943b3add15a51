//! Who an operator is: the node key, in the file that other software reads too, and a name for the others' screens.

use std::path::{Path, PathBuf};

use rand::TryRng;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::{Zeroize, Zeroizing};

use conclave_cluster::enr::Enr;
use conclave_crypto::node::NodeKey;
use conclave_eth::recognise::without_bom;
use conclave_eth::text::{is_typographic_quote, is_unprintable};

use super::backups;
use super::entrance::PIN;
use super::files::{Disk, PUBLIC, SECRET, has_name};
use super::folder::{CEREMONY, DataFolder, IDENTITY, LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS};
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
    /// Refuses a folder in which no identity may be made: one that has one, or that had one which its ceremony needs.
    ///
    /// # Errors
    /// With what is to be done instead.
    pub fn refuse_another(root: &Path) -> Result<(), Problem> {
        let path = root.join(IDENTITY);
        if has_name(&path)? {
            return Err(Problem::folder_state(
                format!("there is an identity in {} already", root.display()),
                format!("{} exists, and a key is never overwritten", path.display()),
                "show it with `conclave identity show`, or name another folder with --data-dir",
            ));
        }
        needed_in(root).map_or(Ok(()), |needed| Err(needed.missing(root)))
    }

    /// Makes a new identity in a folder. An identity that is there is never overwritten.
    ///
    /// # Errors
    /// If there is one, or was one; if the name is not allowed; if there is no randomness; anything the disk says.
    pub fn create(folder: &DataFolder, name: &str) -> Result<Self, Problem> {
        check_new_name(name)?;
        Self::refuse_another(folder.root())?;
        let path = folder.identity();
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
    pub fn load(disk: &Disk, root: &Path) -> Result<Self, Problem> {
        let path = root.join(IDENTITY);
        // Other software may have ended the line, or begun with a byte order mark.
        let text = match disk.read_secret(&path, 80) {
            Ok(text) => text,
            Err(error) if error.is_missing() => {
                if let Some(needed) = needed_in(root) {
                    return Err(needed.missing(root));
                }
                return Err(Problem::folder_state(
                    format!("there is no identity in {}", root.display()),
                    format!("{} does not exist", path.display()),
                    "name the right folder with --data-dir. Only if you have no identity yet: make one with conclave identity new --name NAME",
                ));
            }
            Err(error) => return Err(error.into()),
        };
        let key = parse_key(&text).ok_or_else(|| {
            Problem::bad_input(
                format!("{} holds no key", path.display()),
                "it must be 64 hexadecimal digits",
                needed_in(root).unwrap_or(Needed::ByCeremony).put_back(),
            )
        })?;
        let name = match read_name(disk, root) {
            Named::As(name) => Some(name),
            Named::Nothing | Named::Damaged(_) => None,
        };
        Ok(Self { key, name })
    }

    /// Whether a folder holds what a ceremony made with its identity.
    pub fn has_results(root: &Path) -> bool {
        matches!(needed_in(root), Some(Needed::ByResults))
    }

    /// What is to be told of a name that cannot be read; nothing where there is a good one, or none.
    pub fn damaged_name(disk: &Disk, root: &Path) -> Option<String> {
        let Named::Damaged(why) = read_name(disk, root) else {
            return None;
        };
        Some(format!(
            "your name in {} is damaged ({why}). It is only for screens; give it again with conclave identity rename --name NAME",
            root.join(CEREMONY).join(NAME).display()
        ))
    }

    /// Gives the identity of a folder another name.
    ///
    /// # Errors
    /// If the name is not allowed; anything the disk says.
    pub fn rename(folder: &DataFolder, name: &str) -> Result<(), Problem> {
        check_new_name(name)?;
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

/// What in a folder is of no use without the identity that it was made with.
#[derive(Clone, Copy)]
enum Needed {
    ByCeremony,
    ByResults,
}

/// Whether anything in a folder needs its identity, so that another one would only be in the way. What cannot be looked at may.
fn needed_in(root: &Path) -> Option<Needed> {
    let is_there = |path: PathBuf| !matches!(has_name(&path), Ok(false));
    let holds_any = |path: PathBuf, begins: &str| match Disk::new().list(&path) {
        Ok(names) => names.iter().any(|name| name.starts_with(begins)),
        Err(_) => is_there(path),
    };
    let ceremony = root.join(CEREMONY);
    if [LOCK, SLASHING_PROTECTION]
        .iter()
        .any(|name| is_there(root.join(name)))
        || holds_any(root.join(VALIDATOR_KEYS), "")
    {
        Some(Needed::ByResults)
    } else if ["journal", PIN].iter().any(|name| is_there(ceremony.join(name)))
        || holds_any(ceremony, "attempt-")
    {
        Some(Needed::ByCeremony)
    } else {
        None
    }
}

impl Needed {
    fn missing(self, root: &Path) -> Problem {
        let what = match self {
            Self::ByCeremony => "a ceremony was begun",
            Self::ByResults => "there are results of a ceremony",
        };
        Problem::folder_state(
            format!("the identity of {} is missing", root.display()),
            format!(
                "{what} in this folder, which no other identity can go on with, and {IDENTITY} is not there"
            ),
            self.put_back(),
        )
    }

    fn put_back(self) -> String {
        match self {
            Self::ByCeremony => backups::PUT_BACK_IDENTITY.to_owned(),
            Self::ByResults => format!("{}; {}", backups::PUT_BACK_IDENTITY, backups::RESTORE),
        }
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

/// What a folder says of the name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// There is none, or none any more.
    Nothing,
    /// This one.
    As(String),
    /// Whatever is there is no name: why.
    Damaged(String),
}

/// A name is for screens: whatever stands in its place is no reason to stop.
fn read_name(disk: &Disk, root: &Path) -> Named {
    match disk.read(&root.join(CEREMONY).join(NAME), MAX_NAME_BYTES as u64) {
        Err(error) if error.is_missing() => Named::Nothing,
        Err(error) => Named::Damaged(error.cause.to_string()),
        Ok(bytes) => match String::from_utf8(bytes) {
            Err(_) => Named::Damaged("it is no text".to_owned()),
            Ok(name) => match check_name(&name) {
                Ok(()) => Named::As(name),
                Err(problem) => Named::Damaged(problem.why),
            },
        },
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
        "it is too long: there is room for 32 plain letters, of which an umlaut takes two and an emoji four"
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
        "give a name of 1 to 32 letters, such as carol",
    ))
}

/// Checks a name that is given now: as [`check_name`], and it must not be taken for a number, as operators have numbers, too. Names that were
/// given before are still read.
///
/// # Errors
/// With what is wrong.
pub fn check_new_name(name: &str) -> Result<(), Problem> {
    check_name(name)?;
    if name.starts_with(is_typographic_quote) && name.ends_with(is_typographic_quote) {
        return Err(Problem::bad_input(
            format!("{name} cannot be the name of an operator"),
            "there are quotes around it, and no shell takes such quotes away",
            "give the name without them, such as carol",
        ));
    }
    if is_like_a_number(name) {
        return Err(Problem::bad_input(
            format!("{name} cannot be the name of an operator"),
            "it looks like an operator's number: nobody could tell whether the name or the number is meant",
            "give a name with letters, such as carol",
        ));
    }
    if name.starts_with("--") {
        return Err(Problem::bad_input(
            format!("{name} cannot be the name of an operator"),
            "it begins like a flag of a command",
            "give the name alone, such as carol",
        ));
    }
    Ok(())
}

/// Whether a name could be taken for an operator's number, as messages, screens and flags show one: `2`, `#2`, `(2)`, `No. 2`, `operator 2`,
/// `#2 (bob)`, in any script and width.
pub fn is_like_a_number(name: &str) -> bool {
    /// What stands before numbers.
    const HEADS: [&str; 5] = ["operator", "number", "node", "no", "nr"];
    let text: String = name.nfkc().flat_map(char::to_lowercase).collect();
    let text = text.trim();
    // Whatever else comes after it.
    let numbered = text.strip_prefix('#').map(str::trim_start);
    if numbered.is_some_and(|rest| rest.starts_with(char::is_numeric)) {
        return true;
    }
    let plain = |text: &str| text.contains(char::is_numeric) && !text.contains(char::is_alphabetic);
    // `operator-2` is a name that nobody writes for a number, and `node2` is one of machines.
    let after = |head: &&str| {
        text.strip_prefix(*head)
            .filter(|rest| rest.starts_with(|c: char| c.is_whitespace() || matches!(c, '.' | ':' | '#')))
    };
    plain(text) || HEADS.iter().filter_map(after).any(plain)
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
    fn nobody_is_sent_to_make_another_identity_where_one_was_needed() {
        let results = [LOCK, SLASHING_PROTECTION, "validator_keys/keystore-0.json"];
        let begun = [
            "ceremony/journal",
            "ceremony/definition-hash",
            "ceremony/attempt-1/seed",
        ];
        for name in results.iter().chain(&begun) {
            let dir = tempfile::tempdir().unwrap();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            for problem in [
                Identity::load(&Disk::new(), dir.path()).unwrap_err(),
                Identity::create(&folder, "carol").unwrap_err(),
            ] {
                assert_eq!(problem.kind, Kind::FolderState, "{name}");
                let todo = &problem.what_to_do;
                assert!(
                    todo.contains("put back your copy") && !todo.contains("identity new"),
                    "{name}: {todo}"
                );
                assert_eq!(
                    todo.contains("import your backup"),
                    results.contains(name),
                    "{name}: {todo}"
                );
            }
            assert!(!folder.identity().exists());
            // Nor is one that is damaged.
            std::fs::write(folder.identity(), "zz").unwrap();
            let todo = Identity::load(&Disk::new(), dir.path()).unwrap_err().what_to_do;
            assert_eq!(
                todo.contains("import your backup"),
                results.contains(name),
                "{name}: {todo}"
            );
        }
    }

    #[test]
    fn a_name_that_is_damaged_stops_nothing_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let made = Identity::create(&folder, "carol").unwrap();
        let told = || Identity::damaged_name(&Disk::new(), dir.path());
        assert_eq!(told(), None);
        let path = folder.ceremony().join(NAME);
        for bytes in [&[0xff; 300][..], &[0xff; 3], b"a\x1bb", b""] {
            std::fs::write(&path, bytes).unwrap();
            let loaded = Identity::load(&Disk::new(), dir.path()).unwrap();
            assert_eq!((loaded.name(), loaded.enr().text()), (None, made.enr().text()));
            assert!(told().unwrap().contains("conclave identity rename"), "{bytes:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told(), None, "an identity that other software made has none");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(Identity::load(&Disk::new(), dir.path()).unwrap().name(), None);
        assert!(told().is_some());
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
    fn no_new_name_looks_like_a_number() {
        for good in [
            "a",
            "Carol",
            "名前",
            "bob2",
            "2bob",
            "node2",
            "operator-2",
            "operator",
            "x #2",
            "No",
            "nora 2",
            "🦊",
            "#",
            "R2-D2",
            "Ⅱa",
        ] {
            check_new_name(good).unwrap();
        }
        let numbers = [
            "2",
            "02",
            "007",
            "+2",
            "-2",
            "2.",
            "2)",
            "(2)",
            "#2",
            "# 2",
            "#2 (bob)",
            "#2a",
            "２",
            "٣",
            "४",
            "②",
            "2️⃣",
            "1 2",
            "1/2",
            "½",
            "№ 2",
            "No. 2",
            "nr 2",
            "Operator 2",
            "OPERATOR #2",
            "operator: 2",
            "node 2",
            "2 3",
            "0x",
            "2²",
        ];
        for bad in ["--name carol", "--operator 'bob", "--", "--x"] {
            assert!(check_new_name(bad).is_err(), "{bad}");
            check_name(bad).unwrap();
        }
        for bad in numbers {
            let is_bad = check_new_name(bad).is_err();
            assert_eq!(is_bad, bad != "0x", "{bad}");
            // What was named so before is still read.
            check_name(bad).unwrap();
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

//! The keystores of an operator as they lie in a folder, whoever wrote them: which files they are, whose shares they hold, and
//! why one does not open.
//!
//! `verify` and `run` read keystores and passwords with nothing else, so that what one of them accepts the other opens, and both
//! say the same of what they refuse. Keystores are told apart by their keys; the names of files mean little.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::{
    files::{Disk, FileError},
    folder::key_file_number,
    problem::Unread,
};
use conclave_cluster::lock::Lock;
use conclave_crypto::bls::SecretKey;
use conclave_eth::{
    keystore::{Keystore, KeystoreError, MAX_FILE_BYTES, Password},
    recognise::Content,
};

/// Most bytes of a file that holds a password.
const MAX_PASSWORD_BYTES: u64 = 4096;
/// So many keystores that do not open are looked at closely, and each is compared with so many others.
const LOOKED_AT: usize = 4;
const COMPARED: usize = 16;

/// A keystore and the password beside it, as they were read; an error says why a file could not be.
pub struct KeyFile {
    /// The keystore, as its user names it.
    pub file: String,
    /// The keystore's bytes.
    pub content: Result<Vec<u8>, Unread>,
    /// The index of the validator, from 0, if the name says so as ceremonies do.
    pub number: Option<usize>,
    /// The password's bytes; `None` when there is none.
    pub password: Option<Result<Zeroizing<Vec<u8>>, Unread>>,
    /// The name of the file that the password is expected in.
    pub password_name: String,
    /// Whether that file is there.
    pub has_own_password: bool,
}

impl KeyFile {
    /// Reads a keystore and the password beside it.
    pub fn read(disk: &Disk, path: &Path) -> Self {
        let cause = |error: FileError| Unread::from(error).of_own();
        let password_file = path.with_extension("txt");
        let password = match disk.read_secret(&password_file, MAX_PASSWORD_BYTES) {
            Err(error) if error.is_missing() => None,
            result => Some(result.map_err(cause)),
        };
        Self {
            file: path.display().to_string(),
            content: disk.read(path, MAX_FILE_BYTES as u64).map_err(cause),
            number: key_file_number(path),
            has_own_password: password.is_some(),
            password,
            password_name: name_of(&password_file),
        }
    }

    /// All keystores in a folder, in the order of their numbers, then of their names. What has another name than keystores have
    /// is one if it looks like one: other tools name them as they like.
    ///
    /// # Errors
    /// Anything the disk says of the folder.
    pub fn all(disk: &Disk, folder: &Path) -> Result<Vec<Self>, FileError> {
        let mut paths: Vec<PathBuf> = disk.list(folder)?.iter().map(|name| folder.join(name)).collect();
        paths.sort();
        let mut files: Vec<Self> = paths
            .par_iter()
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
            })
            .map(|path| (path, Self::read(disk, path)))
            .filter(|(path, file)| {
                let looks = |bytes: &Vec<u8>| Content::of(bytes) == Some(Content::Keystore);
                name_of(path).starts_with("keystore") || file.content.as_ref().is_ok_and(looks)
            })
            .map(|(_, file)| file)
            .collect();
        files.sort_by_key(|file| file.number.unwrap_or(usize::MAX));
        Ok(files)
    }

    /// The name without its folder.
    pub fn name(&self) -> String {
        name_of(Path::new(&self.file))
    }

    /// The password, or why there is none.
    fn password(&self) -> Result<Password, Shut> {
        let name = &self.password_name;
        match &self.password {
            None => Err(Shut::NoPassword(format!(
                "there is no password file beside it: {name} is missing, without which conclave run does not start"
            ))),
            Some(Err(why)) => Err(Shut::Closed(format!("its password {name} cannot be read: {why}"))),
            Some(Ok(bytes)) => {
                Password::from_bytes(bytes).map_err(|error| Shut::Closed(format!("{name}: {error}")))
            }
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// For every public share of a lock: which validator's and which operator's it is, both from 0.
pub struct Places(HashMap<[u8; 48], (usize, usize)>);

impl Places {
    /// The places of all shares.
    pub fn of(lock: &Lock) -> Self {
        let mut places = HashMap::new();
        for (i, validator) in lock.validators().iter().enumerate() {
            for (j, share) in validator.public_shares.iter().enumerate() {
                places.insert(*share, (i, j));
            }
        }
        Self(places)
    }

    /// Which validator's and which operator's share this is.
    pub fn of_share(&self, key: &[u8; 48]) -> Option<(usize, usize)> {
        self.0.get(key).copied()
    }
}

/// Why a keystore was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shut {
    /// There is no password file; the words say which.
    NoPassword(String),
    /// The password or the keystore is wrong; the words say how.
    Closed(String),
    /// Nobody wanted it.
    NotWanted,
}

/// A keystore that could be read, and the password to open it with.
struct Parsed {
    keystore: Keystore,
    password: Result<Password, Shut>,
}

/// What a keystore turned out to be.
pub struct Opened<T> {
    /// The public key of the share, 48 bytes; unknown if the file names none and did not open.
    pub key: Option<[u8; 48]>,
    /// The share, or why it is not known.
    pub share: Result<T, Shut>,
}

/// Reads keystores and opens each that is wanted with its password, on all cores. `wanted` is asked with the public key that the
/// file names; `keep` gets each secret. In the order of the files; an error says why a file is no keystore.
pub fn open<T: Send>(
    files: &[KeyFile],
    wanted: impl Fn(Option<[u8; 48]>) -> bool + Sync,
    keep: impl Fn(SecretKey) -> T + Sync,
) -> Vec<Result<Opened<T>, Unread>> {
    let read: Vec<Result<Parsed, Unread>> = files
        .par_iter()
        .map(|file| {
            let bytes = file.content.as_ref().map_err(Clone::clone)?;
            let keystore = Keystore::from_json(bytes)?;
            let password = if wanted(keystore.pubkey()) {
                file.password()
            } else {
                Err(Shut::NotWanted)
            };
            Ok(Parsed { keystore, password })
        })
        .collect();
    let pairs: Vec<(&Keystore, &Password)> = read
        .iter()
        .flatten()
        .filter_map(|parsed| Some((&parsed.keystore, parsed.password.as_ref().ok()?)))
        .collect();
    let opened = Keystore::open_all(&pairs, |secret| (secret.public_key().to_bytes(), keep(secret)));
    let mut opened = opened.into_iter();
    let mut results: Vec<Result<Opened<T>, Unread>> = Vec::with_capacity(files.len());
    let mut closed = Vec::new();
    for (place, (file, entry)) in files.iter().zip(&read).enumerate() {
        results.push(match entry {
            Err(why) => Err(why.clone()),
            Ok(Parsed { keystore, password }) => {
                let outcome = match password {
                    Err(shut) => Err(shut.clone()),
                    // As many as there are passwords were opened.
                    Ok(_) => match opened.next() {
                        Some(Ok(share)) => Ok(share),
                        Some(Err(error)) => {
                            closed.push((place, error == KeystoreError::WrongPassword));
                            Err(Shut::Closed(in_words(&error, file)))
                        }
                        None => Err(Shut::NotWanted),
                    },
                };
                Ok(match outcome {
                    Ok((key, share)) => Opened {
                        key: Some(key),
                        share: Ok(share),
                    },
                    Err(shut) => Opened {
                        key: keystore.pubkey(),
                        share: Err(shut),
                    },
                })
            }
        });
    }
    drop(opened);
    // Two passwords that were mixed up are the most usual of all, and easy to mend for whoever knows.
    for (place, _) in closed.iter().filter(|(_, wrong)| *wrong).take(LOOKED_AT) {
        if let Some(other) = whose_password(*place, files, &read)
            && let (Some(Ok(opened)), Some(file)) = (results.get_mut(*place), files.get(*place))
        {
            opened.share = Err(Shut::Closed(format!(
                "its password file {} holds the password of another keystore, {other}",
                file.password_name
            )));
        }
    }
    results
}

/// The words for a keystore that does not open.
fn in_words(error: &KeystoreError, file: &KeyFile) -> String {
    match error {
        KeystoreError::WrongPassword => format!(
            "the password in {} does not open it: it is the password of another keystore, or one of the two files is damaged",
            file.password_name
        ),
        error => error.to_string(),
    }
}

/// The keystore that the password of the file at `place` belongs to, if it is one of these.
fn whose_password(place: usize, files: &[KeyFile], read: &[Result<Parsed, Unread>]) -> Option<String> {
    let password = read.get(place)?.as_ref().ok()?.password.as_ref().ok()?;
    let others = || {
        let all = files.iter().zip(read).enumerate();
        all.filter(move |(other, _)| *other != place)
            .filter_map(|(_, (file, entry))| Some((file, entry.as_ref().ok()?)))
    };
    let same = |theirs: &Parsed| {
        let theirs = theirs.password.as_ref();
        theirs.is_ok_and(|theirs| theirs.expose() == password.expose())
    };
    // The same as another's: it was copied, unless all have one password.
    if let Some((file, _)) = others().find(|(_, theirs)| same(theirs)) {
        let everybodys = others().all(|(_, theirs)| same(theirs)) && others().nth(1).is_some();
        return (!everybodys).then(|| file.name());
    }
    let candidates: Vec<_> = others().take(COMPARED).collect();
    candidates
        .par_iter()
        .find_first(|(_, other)| other.keystore.opens_cheaply() && other.keystore.open(password).is_ok())
        .map(|(file, _)| file.name())
}

//! The archive in which one operator's folder travels: encrypted with a password, byte for byte.
//!
//! ```text
//! archive:  "conclave archive 1\n" (19) || salt (32) || sealed body
//! sealed:   HPKE as in the ceremony (X25519, HKDF-SHA-256, ChaCha20-Poly1305), info = everything before it
//! key:      the recipient's X25519 key is derived from scrypt(password, salt, n = 2^18, r = 8, p = 1), 32 bytes
//! body:     u32 files, then each, ascending by name: u16 length || name || u32 length || content
//! ```
//! Integers are big-endian. The password is normalised as EIP-2335 says. Names are those that a data folder holds and no
//! others ([`belongs`]): an archive can write nowhere else.

use zeroize::Zeroizing;

use crate::{
    crypto::seal::{self, SealSecret},
    dkg::wire::Reader,
    ethereum::keystore::Password,
};

use super::super::{
    exits::EXITS,
    files::{PUBLIC, SECRET},
    folder::{CEREMONY, DEFINITION, IDENTITY, LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS, is_deposit_file},
};

/// First bytes of an archive.
const MAGIC: &[u8; 19] = b"conclave archive 1\n";
/// Bytes before the sealed body.
const HEADER: usize = MAGIC.len() + 32;
/// Most bytes of an archive.
pub const MAX_BYTES: u64 = 1 << 30;
/// Most files of an archive.
const MAX_FILES: usize = 200_000;
/// Most bytes of a file's name, with its folders.
const MAX_NAME: usize = 255;
/// Fewest characters of a password for an archive: the file may lie anywhere.
pub const MIN_PASSWORD: usize = 12;

/// A file of a data folder.
#[derive(Clone)]
pub struct Entry {
    /// Its path in the data folder, with slashes.
    pub name: String,
    /// Its content.
    pub content: Zeroizing<Vec<u8>>,
}

/// Why something is no archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It does not begin like one of this version.
    #[error("it is no archive that this version of conclave made")]
    NotOne,
    /// The password is wrong, or bytes were changed.
    #[error("the password is wrong, or the file is damaged")]
    Password,
    /// What was sealed is not what an export seals.
    #[error("what is in it is no data folder")]
    Content,
    /// It would be larger than any that can be read again.
    #[error("it would have more than 1 GiB or 200000 files")]
    TooLarge,
}

/// Whether a name is one that a data folder holds and that moves with it; with its mode.
pub fn belongs(name: &str) -> Option<u32> {
    if name.len() > MAX_NAME {
        return None;
    }
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    let parts: Vec<&str> = name.split('/').collect();
    if !parts.iter().all(|part| plain(part)) {
        return None;
    }
    match parts.as_slice() {
        [LOCK | DEFINITION] => Some(PUBLIC),
        [file] if is_deposit_file(file) => Some(PUBLIC),
        // The lock of whoever works in the folder, and a socket on its way.
        [CEREMONY, "in-use" | "run.sock.new"] => None,
        [IDENTITY | SLASHING_PROTECTION]
        | [VALIDATOR_KEYS | EXITS | CEREMONY, _]
        | [CEREMONY, _, _]
        | [CEREMONY, _, _, _] => Some(SECRET),
        _ => None,
    }
}

/// Encrypts files. `salt` and `seed` are random and used once.
///
/// # Errors
/// [`ArchiveError::TooLarge`], [`ArchiveError::Content`].
pub fn seal(
    mut entries: Vec<Entry>,
    password: &Password,
    salt: &[u8; 32],
    seed: &Zeroizing<[u8; 32]>,
) -> Result<Vec<u8>, ArchiveError> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let body = body(&entries)?;
    let mut archive = MAGIC.to_vec();
    archive.extend_from_slice(salt);
    let recipient = secret(password, salt).ok_or(ArchiveError::Content)?.public();
    let sealed = seal::seal(&recipient, &archive, b"", &body, seed).ok_or(ArchiveError::Content)?;
    archive.extend_from_slice(&sealed);
    Ok(archive)
}

/// What is sealed, of files in ascending order.
pub(super) fn body(files: &[Entry]) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
    let size: usize = files
        .iter()
        .map(|entry| 6 + entry.name.len() + entry.content.len())
        .sum();
    if files.len() > MAX_FILES || size as u64 + 1024 > MAX_BYTES {
        return Err(ArchiveError::TooLarge);
    }
    // Its whole length at once: growing would leave copies of secrets behind.
    let mut body = Zeroizing::new(Vec::with_capacity(size + 4));
    let length = |length: usize| u32::try_from(length).map_err(|_| ArchiveError::TooLarge);
    body.extend_from_slice(&length(files.len())?.to_be_bytes());
    for entry in files {
        if belongs(&entry.name).is_none() {
            return Err(ArchiveError::Content);
        }
        let name = u16::try_from(entry.name.len()).map_err(|_| ArchiveError::Content)?;
        body.extend_from_slice(&name.to_be_bytes());
        body.extend_from_slice(entry.name.as_bytes());
        body.extend_from_slice(&length(entry.content.len())?.to_be_bytes());
        body.extend_from_slice(&entry.content);
    }
    Ok(body)
}

/// Decrypts what [`seal()`] made. Names are checked, contents are not.
///
/// # Errors
/// [`ArchiveError`].
pub fn open(archive: &[u8], password: &Password) -> Result<Vec<Entry>, ArchiveError> {
    let (header, sealed) = archive.split_at_checked(HEADER).ok_or(ArchiveError::NotOne)?;
    let salt = header
        .strip_prefix(MAGIC.as_slice())
        .ok_or(ArchiveError::NotOne)?;
    let secret = secret(password, salt).ok_or(ArchiveError::Content)?;
    let body = seal::open(&secret, header, b"", sealed).ok_or(ArchiveError::Password)?;
    entries(&body).ok_or(ArchiveError::Content)
}

/// The key of a password: half a second and 256 MiB.
fn secret(password: &Password, salt: &[u8]) -> Option<SealSecret> {
    let params = scrypt::Params::new(18, 8, 1).ok()?;
    let mut ikm = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.expose().as_bytes(), salt, &params, &mut *ikm).ok()?;
    Some(SealSecret::derive(&ikm))
}

pub(super) fn entries(body: &[u8]) -> Option<Vec<Entry>> {
    let mut reader = Reader::new(body);
    let count = usize::try_from(reader.u32()?)
        .ok()
        .filter(|count| *count <= MAX_FILES)?;
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..count {
        let length = usize::from(reader.u16()?);
        let name = std::str::from_utf8(reader.bytes(length)?).ok()?;
        belongs(name)?;
        let ascends = entries.last().is_none_or(|last| last.name.as_str() < name);
        let length = usize::try_from(reader.u32()?).ok()?;
        let content = reader.bytes(length).filter(|_| ascends)?;
        entries.push(Entry {
            name: name.to_owned(),
            content: Zeroizing::new(content.to_vec()),
        });
    }
    reader.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Entry {
        Entry {
            name: name.to_owned(),
            content: Zeroizing::new(content.to_vec()),
        }
    }

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    #[test]
    fn files_come_back_and_only_with_the_password() {
        let files = vec![
            entry(LOCK, b"lock"),
            entry("ceremony/attempts/1", b""),
            entry(IDENTITY, b"key"),
        ];
        let sealed = seal(
            files,
            &password("twelve chars"),
            &[7; 32],
            &Zeroizing::new([8; 32]),
        )
        .unwrap();
        assert!(!sealed.windows(4).any(|bytes| bytes == b"lock"));
        let opened = open(&sealed, &password("twelve chars\n")).unwrap();
        let names: Vec<&str> = opened.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["ceremony/attempts/1", IDENTITY, LOCK]);
        assert_eq!(&*opened[1].content, b"key");
        let wrong = |archive: &[u8], text: &str| open(archive, &password(text)).map(|_| ()).unwrap_err();
        assert_eq!(wrong(&sealed, "twelve Chars"), ArchiveError::Password);
        // Any byte: magic, salt, key, ciphertext, tag.
        for place in [0, 20, 52, 90, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            let expected = if place == 0 {
                ArchiveError::NotOne
            } else {
                ArchiveError::Password
            };
            assert_eq!(wrong(&changed, "twelve chars"), expected, "{place}");
        }
        assert_eq!(
            wrong(&sealed[..sealed.len() - 1], "twelve chars"),
            ArchiveError::Password
        );
        assert_eq!(wrong(&sealed[..40], "twelve chars"), ArchiveError::NotOne);
        assert_eq!(wrong(b"", "twelve chars"), ArchiveError::NotOne);
    }

    #[test]
    fn nothing_is_written_outside_of_a_data_folder() {
        for good in [
            IDENTITY,
            LOCK,
            "deposit-data-1eth.json",
            "validator_keys/keystore-0.txt",
            "ceremony/evidence/1-2.bin",
            "exits/0xab-signed.json",
        ] {
            assert!(belongs(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../charon-enr-private-key",
            "validator_keys/../x",
            "validator_keys/a/b",
            "validator_keys/",
            "validator_keys",
            "ceremony/.hidden",
            "ceremony/in-use",
            "ceremony/a/b/c/d",
            "ceremony/a\0",
            "RETIRED",
            "run.sock",
            ".bashrc",
            "notes.txt",
            &format!("ceremony/{}", "x".repeat(MAX_NAME)),
        ] {
            assert!(belongs(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn bodies_are_decoded_strictly() {
        let one = |name: &str, content: &[u8]| {
            let mut bytes = u16::try_from(name.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(content);
            bytes
        };
        let body = |count: u32, files: &[Vec<u8>]| [count.to_be_bytes().to_vec(), files.concat()].concat();
        let (a, b) = (one("ceremony/a", b"1"), one("ceremony/b", b"2"));
        assert_eq!(entries(&body(2, &[a.clone(), b.clone()])).unwrap().len(), 2);
        for bad in [
            body(1, &[a.clone(), b.clone()]),
            body(3, &[a.clone(), b.clone()]),
            body(2, &[b.clone(), a.clone()]),
            body(2, &[a.clone(), a.clone()]),
            body(1, &[one("../a", b"1")]),
            body(u32::MAX, std::slice::from_ref(&a)),
            body(1, &[a[..a.len() - 1].to_vec()]),
            vec![0; 3],
        ] {
            assert!(entries(&bad).is_none(), "{bad:?}");
        }
    }
}

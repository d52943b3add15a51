//! The archive of the first release, which is read and no longer written.
//!
//! ```text
//! archive:  "conclave archive 1\n" (19) || salt (32) || sealed body
//! sealed:   HPKE as in the ceremony (X25519, HKDF-SHA-256, ChaCha20-Poly1305), info = everything before it
//! key:      the recipient's X25519 key is derived from scrypt(password, salt, n = 2^18, r = 8, p = 1), 32 bytes
//! body:     u32 files, then each, ascending by name: u16 length || name || u32 length || content
//! ```
//! Integers are big-endian. The password is normalised as EIP-2335 says.

use zeroize::Zeroizing;

use conclave_crypto::seal::{self, SealSecret};
use conclave_dkg::wire::Reader;
use conclave_eth::keystore::Password;

use super::archive::{ArchiveError, Entry, MAX_FILES, belongs};

/// First bytes of an archive.
pub(super) const MAGIC: &[u8; 19] = b"conclave archive 1\n";
/// Bytes before the sealed body.
const HEADER: usize = MAGIC.len() + 32;

/// Decrypts one. Names are checked, contents are not.
///
/// # Errors
/// [`ArchiveError`].
pub(super) fn open(archive: &[u8], password: &Password) -> Result<Vec<Entry>, ArchiveError> {
    let (header, sealed) = archive.split_at_checked(HEADER).ok_or(ArchiveError::NotOne)?;
    let salt = header
        .strip_prefix(MAGIC.as_slice())
        .ok_or(ArchiveError::NotOne)?;
    let secret = secret(password, salt).ok_or(ArchiveError::Password)?;
    let body = seal::open(&secret, header, b"", sealed).ok_or(ArchiveError::Password)?;
    entries(&body).ok_or_else(|| ArchiveError::Content("its list of files is none".to_owned()))
}

/// The key of a password: half a second and 256 MiB.
fn secret(password: &Password, salt: &[u8]) -> Option<SealSecret> {
    let params = scrypt::Params::new(18, 8, 1).ok()?;
    let mut ikm = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.expose().as_bytes(), salt, &params, &mut *ikm).ok()?;
    Some(SealSecret::derive(&ikm))
}

fn entries(body: &[u8]) -> Option<Vec<Entry>> {
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
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;
    use conclave_crypto::hash::sha256;

    /// An archive that 0.1.0 wrote, its password, and what was in the folder.
    #[test]
    fn an_archive_of_the_first_release_is_read() {
        let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/archive-v0.1.0");
        let sealed = fs::read(vector.join("operator-1.archive")).unwrap();
        let password = Password::new("correct horse battery").unwrap();
        let found: BTreeMap<String, String> = open(&sealed, &password)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name, hex::encode(sha256(&[&entry.content]))))
            .collect();
        let sums = fs::read_to_string(vector.join("SHA256SUMS")).unwrap();
        let sum = |line: &str| {
            let (sum, name) = line.split_once("  ").unwrap();
            (name.to_owned(), sum.to_owned())
        };
        assert_eq!(found, sums.lines().map(sum).collect());
        let wrong = Password::new("correct horse batteri").unwrap();
        assert_eq!(open(&sealed, &wrong).map(|_| ()), Err(ArchiveError::Password));
        // Any byte: magic, salt, key, ciphertext, tag.
        for place in [0, 20, 52, 90, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            let expected = if place == 0 {
                ArchiveError::NotOne
            } else {
                ArchiveError::Password
            };
            assert_eq!(open(&changed, &password).map(|_| ()), Err(expected), "{place}");
        }
        let short = &sealed[..sealed.len() - 1];
        assert_eq!(open(short, &password).map(|_| ()), Err(ArchiveError::Password));
        assert_eq!(
            open(&sealed[..40], &password).map(|_| ()),
            Err(ArchiveError::NotOne)
        );
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

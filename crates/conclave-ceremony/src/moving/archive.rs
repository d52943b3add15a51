//! The archives in which one operator's folder travels and is kept: `age` files (age-encryption.org/v1) around a tar, so that
//! `age -d FILE | tar x` opens them wherever there is no conclave.
//!
//! They are encrypted with a password alone, by scrypt with n = 2^18. What is read is bounded before anything is done with it: the
//! header has one form, the work factor is hardly larger than our own, and nothing of the content is looked at before all of
//! it has been authenticated. The tar is then read as `tape` says. Archives of the first release are read as well (`first`).

use std::io::{Read as _, Write as _};

use age::secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use conclave_eth::{
    keystore::{MAX_PASSWORD_BYTES, Password, PasswordError},
    recognise::{Content, without_bom},
    text::{is_unprintable, is_variant},
};

use super::super::{
    files::{PUBLIC, SECRET},
    folder::{CEREMONY, DEFINITION, IDENTITY, LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS, is_deposit_file},
    restored::RESTORED,
};
use super::{first, tape};
use crate::folder::EXITS;

/// Most bytes of an archive.
pub const MAX_BYTES: u64 = 1 << 30;
/// Most files of an archive.
pub(super) const MAX_FILES: usize = 200_000;
/// Most bytes of a file's name, with its folders.
const MAX_NAME: usize = 255;
/// Fewest characters of a password for an archive: the file may lie anywhere.
pub const MIN_PASSWORD: usize = 12;
/// The work that opening one of ours takes: scrypt with n = 2^18, 256 MiB and about a second.
const WORK: u8 = 18;
/// The most that is done for one of others: twice that.
const MAX_WORK: u8 = 19;
/// First line of every age file of this version.
const AGE: &[u8] = b"age-encryption.org/v1\n";
/// First bytes of an age file that was made text.
const ARMOUR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// A file of a data folder.
#[derive(Clone)]
pub struct Entry {
    /// Its path in the data folder, with slashes.
    pub name: String,
    /// Its content.
    pub content: Zeroizing<Vec<u8>>,
}

/// Why something is no archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It does not begin like one.
    #[error("it is no archive of conclave, nor an age file that is encrypted with a password alone")]
    NotOne,
    /// It is something else that is known.
    #[error("it is {0}, and no archive")]
    Other(Content),
    /// It ends before anything can be said of the password.
    #[error("it is cut off in its first bytes")]
    CutOff,
    /// The password opens it, and what is behind its head is not what was written.
    #[error("the password is right, but the file is cut off or damaged")]
    Damaged,
    /// It is one as text.
    #[error("it is an age file as text: turn it into bytes first (age -d, then age -p without -a)")]
    Armoured,
    /// Opening it would take more than it may.
    #[error("opening it takes more memory than an archive may need (scrypt with n = 2^{0})")]
    Work(u8),
    /// The password is wrong, or bytes were changed.
    #[error("the password is wrong, or the file is damaged")]
    Password,
    /// What was encrypted is not what belongs there.
    #[error("what is in it is no data folder: {0}")]
    Content(String),
    /// It would be larger than any that can be read again.
    #[error("it would have more than 1 GiB or 200000 files")]
    TooLarge,
    /// Encrypting failed, for which there is no known reason.
    #[error("it could not be encrypted: {0}")]
    Failed(String),
}

/// The password of an archive, as people type it: the same text opens it with `age -d`. Control characters are left out, so a
/// newline at the end of a file does not count, and letters with marks are composed, as keyboards give them.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// From a text.
    ///
    /// # Errors
    /// [`PasswordError`] when it is empty or too long.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        let text = collected(|| text.chars().filter(|c| !c.is_control()).nfc());
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        Ok(Self(text))
    }

    /// From the content of a file; a byte order mark before it is none of its characters.
    ///
    /// # Errors
    /// As [`Self::new`]; when it is not UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PasswordError> {
        Self::new(std::str::from_utf8(without_bom(bytes)).map_err(|_| PasswordError::NotText)?)
    }

    /// Of a new archive: what a person can see, remember and type again, anywhere.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn fit_for_new(text: &str) -> Result<Self, Unfit> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let unseen = |c: char| c.is_whitespace() || is_unprintable(c) || is_variant(c);
        if text.chars().all(unseen) {
            return Err(Unfit::Blank);
        }
        if text.contains(['\n', '\r']) {
            return Err(Unfit::Lines);
        }
        if text.starts_with(unseen) || text.ends_with(|c: char| unseen(c) && !is_variant(c)) {
            return Err(Unfit::Ends);
        }
        if text.chars().any(is_unprintable) {
            return Err(Unfit::Unseen);
        }
        // Several blanks in a row are hardly more than one.
        let words = text.split_whitespace().map(|word| word.chars().count() + 1);
        if words.sum::<usize>() <= MIN_PASSWORD {
            return Err(Unfit::Short);
        }
        Self::new(text).map_err(Unfit::Password)
    }

    /// As [`Self::fit_for_new`], from the content of a file.
    ///
    /// # Errors
    /// As [`Self::fit_for_new`]; when it is not UTF-8.
    pub fn fit_for_new_from_bytes(bytes: &[u8]) -> Result<Self, Unfit> {
        let text = std::str::from_utf8(without_bom(bytes));
        Self::fit_for_new(text.map_err(|_| Unfit::Password(PasswordError::NotText))?)
    }

    /// What other programs may have made of the same keys, the likeliest first; at last without blanks around it, as it may have got some on its
    /// way here.
    fn spellings(&self) -> Vec<Zeroizing<String>> {
        let mut spellings = vec![self.0.clone()];
        let trimmed = self.0.trim();
        for other in [
            collected(|| self.0.nfd()),
            collected(|| self.0.nfkd()),
            collected(|| trimmed.chars()),
        ] {
            if other.is_empty() {
                continue;
            }
            if !spellings.contains(&other) {
                spellings.push(other);
            }
        }
        spellings
    }
}

/// Why no archive is made with a password. What is not seen is lost where it is copied or typed again, and would only be missed on the day on
/// which the archive is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is nothing in it that is seen.
    #[error("it is empty, or made of blanks only")]
    Blank,
    /// Blanks, or what is not seen, at an end.
    #[error("it begins or ends with a blank, which nobody sees and which is easily lost")]
    Ends,
    /// Control characters, or others that are not seen.
    #[error("it has tabs, or other characters that nobody sees")]
    Unseen,
    /// More than one line.
    #[error("it has several lines, and a password is one")]
    Lines,
    /// Fewer characters than [`MIN_PASSWORD`].
    #[error("it is too short for a file that holds your share")]
    Short,
    /// It is none.
    #[error(transparent)]
    Password(PasswordError),
}

/// A text of these characters, without copies of its beginning left behind in freed memory.
fn collected<I: Iterator<Item = char>>(characters: impl Fn() -> I) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(characters().map(char::len_utf8).sum()));
    text.extend(characters());
    text
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
        [IDENTITY | SLASHING_PROTECTION | RESTORED]
        | [VALIDATOR_KEYS | EXITS | CEREMONY, _]
        | [CEREMONY, _, _]
        | [CEREMONY, _, _, _] => Some(SECRET),
        _ => None,
    }
}

/// The line by which an archive says that `export` made it, of exactly these files: it is not enough that they are whole, as those are that
/// somebody's `tar` made of a folder that goes on, or of what an archive was unpacked to and has signed since.
fn moved_line(entries: &[Entry]) -> String {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Sha256::new();
    for entry in entries {
        for part in [entry.name.as_bytes(), &entry.content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    format!(
        "These files moved, and have the hash {}.",
        hex::encode(hash.finalize())
    )
}

/// What an archive of `export` says of itself: `about`, and that these files moved.
pub fn about_moved(about: &str, entries: &[Entry]) -> String {
    format!("{about}{}\n", moved_line(entries))
}

/// What was in an archive.
pub struct Opened {
    /// The files, ascending by name.
    pub entries: Vec<Entry>,
    /// Whether `export` made it, of these files: the folder that they were in was retired, and what its share signed is all in them.
    pub moved: bool,
}

/// Encrypts files. `about` says in it, for whoever opens it by hand, what it is. Takes a second, and 256 MiB.
///
/// # Errors
/// [`ArchiveError::TooLarge`], [`ArchiveError::Content`], [`ArchiveError::Failed`].
pub fn seal(entries: &[Entry], about: &str, password: &Passphrase) -> Result<Vec<u8>, ArchiveError> {
    seal_with(entries, about, password, WORK)
}

pub(super) fn seal_with(
    entries: &[Entry],
    about: &str,
    password: &Passphrase,
    work: u8,
) -> Result<Vec<u8>, ArchiveError> {
    let tape = tape::write(entries, about)?;
    encrypt(&tape, password, work).map_err(|error| ArchiveError::Failed(error.to_string()))
}

pub(super) fn encrypt(bytes: &[u8], password: &Passphrase, work: u8) -> std::io::Result<Vec<u8>> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(password.0.as_str()));
    recipient.set_work_factor(work);
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(std::io::Error::other)?;
    let mut sealed = Vec::with_capacity(bytes.len() + bytes.len() / 4096 + 1024);
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(bytes)?;
    writer.finish()?;
    Ok(sealed)
}

/// As [`open_told`], the files alone.
///
/// # Errors
/// [`ArchiveError`].
pub fn open(archive: &[u8], password: &Passphrase) -> Result<Vec<Entry>, ArchiveError> {
    open_told(archive, password).map(|opened| opened.entries)
}

/// Decrypts what [`seal()`] made, what the first release made, or the tar of a data folder that somebody encrypted with age. Names are
/// checked, contents are not.
///
/// # Errors
/// [`ArchiveError`].
pub fn open_told(archive: &[u8], password: &Passphrase) -> Result<Opened, ArchiveError> {
    if archive.starts_with(first::MAGIC) {
        let password = Password::new(&password.0).map_err(|_| ArchiveError::Password)?;
        // Only exports made such ones.
        let moved = true;
        return first::open(archive, &password).map(|entries| Opened { entries, moved });
    }
    if archive.starts_with(ARMOUR) {
        return Err(ArchiveError::Armoured);
    }
    let work = work_of(archive).ok_or_else(|| no_archive(archive))?;
    if work > MAX_WORK {
        return Err(ArchiveError::Work(work));
    }
    let mut opened = Err(ArchiveError::Password);
    for spelling in password.spellings() {
        opened = decrypt(archive, &spelling);
        if !matches!(opened, Err(ArchiveError::Password)) {
            break;
        }
    }
    let (entries, about) = tape::read_told(&opened?)?;
    let line = moved_line(&entries);
    let moved = about
        .split(|byte| *byte == b'\n')
        .any(|said| said == line.as_bytes());
    Ok(Opened { entries, moved })
}

/// What a file is that has not the head of an archive.
fn no_archive(archive: &[u8]) -> ArchiveError {
    // The longest head that is read has less.
    const HEAD: usize = 160;
    let begun = [AGE, b"-> scrypt "].concat();
    let is_begun = archive.starts_with(&begun) || begun.starts_with(archive);
    if !archive.is_empty() && is_begun && archive.len() < HEAD {
        return ArchiveError::CutOff;
    }
    match Content::of(archive) {
        None | Some(Content::Archive | Content::Binary) => ArchiveError::NotOne,
        Some(other) => ArchiveError::Other(other),
    }
}

/// The work factor in the header of an age file that is encrypted with one password and nothing else: that header has one form.
fn work_of(archive: &[u8]) -> Option<u8> {
    let base64 = |bytes: &[u8]| {
        bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || b"+/".contains(c))
    };
    let rest = archive.strip_prefix(AGE)?.strip_prefix(b"-> scrypt ")?;
    let (salt, rest) = rest.split_at_checked(22)?;
    let rest = rest.strip_prefix(b" ")?;
    let end = rest.iter().take(3).position(|byte| *byte == b'\n')?;
    let (digits, rest) = rest.split_at_checked(end)?;
    let (body, rest) = rest.strip_prefix(b"\n")?.split_at_checked(43)?;
    let (mac, rest) = rest.strip_prefix(b"\n--- ")?.split_at_checked(43)?;
    let plain = digits.iter().all(u8::is_ascii_digit) && !digits.starts_with(b"0");
    let formed = plain && base64(salt) && base64(body) && base64(mac) && rest.starts_with(b"\n");
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| formed)
}

/// All of it, once all of it is authenticated. The head opens with the password alone, and its sum tells whether it was changed: what
/// fails behind it is no fault of the password.
fn decrypt(archive: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
    let mut identity = age::scrypt::Identity::new(SecretString::from(password));
    identity.set_max_work_factor(MAX_WORK);
    let decryptor = age::Decryptor::new_buffered(archive).map_err(|error| match error {
        age::DecryptError::Io(_) => ArchiveError::CutOff,
        _ => ArchiveError::NotOne,
    })?;
    let identities = std::iter::once(&identity as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identities).map_err(|error| match error {
        age::DecryptError::InvalidMac | age::DecryptError::Io(_) => ArchiveError::Damaged,
        _ => ArchiveError::Password,
    })?;
    // It is shorter than what is encrypted: the vector never moves, and leaves no copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(archive.len()));
    reader
        .read_to_end(&mut bytes)
        .map_err(|_| ArchiveError::Damaged)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that costs a test nothing.
    const LIGHT: u8 = 4;

    fn entry(name: &str, content: &[u8]) -> Entry {
        Entry {
            name: name.to_owned(),
            content: Zeroizing::new(content.to_vec()),
        }
    }

    #[test]
    fn what_nobody_sees_is_no_part_of_a_new_password() {
        let fit = |text: &str| Passphrase::fit_for_new(text).map(|password| password.0.to_string());
        for good in [
            "twelve chars",
            "twelve chars\n",
            "twelve chars\r\n",
            "сорок тысяч обезьян",
            "🦊🦊🦊🦊🦊🦊🦊🦊🦊🦊🦊❤\u{fe0f}",
        ] {
            assert_eq!(fit(good).unwrap(), good.trim_end(), "{good:?}");
        }
        let blanks = [
            " ".repeat(12),
            "\u{a0}".repeat(20),
            "\t\u{200b}\u{2800}\u{3164}".repeat(6),
            "\n".to_owned(),
            String::new(),
        ];
        for bad in blanks {
            assert_eq!(fit(&bad), Err(Unfit::Blank), "{bad:?}");
        }
        for bad in [
            "twelve chars ",
            " twelve chars",
            "twelve chars\t",
            "\u{a0}twelve chars",
            "twelve chars\u{200b}",
            "twelve chars \n",
            "twelve chars\u{3000}\r\n",
        ] {
            assert_eq!(fit(bad), Err(Unfit::Ends), "{bad:?}");
        }
        for bad in [
            "twelve\tchars",
            "twelve\u{200b}chars",
            "twelve\0chars",
            "twelve\u{feff} chars",
        ] {
            assert_eq!(fit(bad), Err(Unfit::Unseen), "{bad:?}");
        }
        for bad in ["twelve chars\nand a line", "twelve chars\n\n", "twelve\rchars"] {
            assert_eq!(fit(bad), Err(Unfit::Lines), "{bad:?}");
        }
        // Blanks make nothing longer.
        for bad in ["eleven char", "eleven  char", "a           b", "1 2 3 4 5 6"] {
            assert_eq!(fit(bad), Err(Unfit::Short), "{bad:?}");
        }
        assert_eq!(fit("1 2 3 4 5 6 7").unwrap(), "1 2 3 4 5 6 7");
        let bytes = Passphrase::fit_for_new_from_bytes;
        assert_eq!(
            &*bytes(b"\xef\xbb\xbftwelve chars\r\n").unwrap().0,
            "twelve chars"
        );
        assert_eq!(
            bytes(b"\xff\xfe").map(|_| ()),
            Err(Unfit::Password(PasswordError::NotText))
        );
    }

    #[test]
    fn a_password_that_got_blanks_on_its_way_opens() {
        let files = vec![entry(LOCK, b"lock")];
        let sealed = seal_with(&files, "about", &password("twelve chars"), LIGHT).unwrap();
        for typed in [" twelve chars", "twelve chars \n", "\u{a0}twelve chars\u{3000}"] {
            assert!(open(&sealed, &password(typed)).is_ok(), "{typed:?}");
        }
        // One that was made with blanks opens with them, as before.
        let sealed = seal_with(&files, "about", &password(" twelve chars "), LIGHT).unwrap();
        assert!(open(&sealed, &password(" twelve chars ")).is_ok());
        assert_eq!(wrong(&sealed, "twelve chars"), ArchiveError::Password);
    }

    fn password(text: &str) -> Passphrase {
        Passphrase::new(text).unwrap()
    }

    fn wrong(archive: &[u8], text: &str) -> ArchiveError {
        open(archive, &password(text)).map(|_| ()).unwrap_err()
    }

    #[test]
    fn files_come_back_and_only_with_the_password() {
        let files = vec![
            entry(LOCK, b"lock"),
            entry("ceremony/attempts/1", b""),
            entry(IDENTITY, b"key"),
            entry("ceremony/journal", &vec![7; 200_000]),
        ];
        let sealed = seal_with(&files, "about", &password("twelve chars"), LIGHT).unwrap();
        assert!(!sealed.windows(4).any(|bytes| bytes == b"lock"));
        let opened = open(&sealed, &password("twelve chars\n")).unwrap();
        let names: Vec<&str> = opened.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["ceremony/attempts/1", "ceremony/journal", IDENTITY, LOCK]);
        assert_eq!(&*opened[2].content, b"key");
        assert_eq!(wrong(&sealed, "twelve Chars"), ArchiveError::Password);
        // Any byte of header and body, any length.
        for place in (0..200).chain([5_000, 65_800, 150_000, sealed.len() - 1]) {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            let error = wrong(&changed, "twelve chars");
            assert!(
                matches!(
                    error,
                    ArchiveError::Password
                        | ArchiveError::NotOne
                        | ArchiveError::Work(_)
                        | ArchiveError::Damaged
                ),
                "{place}: {error}"
            );
            assert!(place < 170 || error == ArchiveError::Damaged, "{place}: {error}");
        }
        for length in [0, 21, 60, 150, 300, 65_700, 140_000, sealed.len() - 1] {
            let error = wrong(&sealed[..length], "twelve chars");
            let expected = match length {
                0 => ArchiveError::Other(Content::Empty),
                21..=150 => ArchiveError::CutOff,
                _ => ArchiveError::Damaged,
            };
            assert_eq!(error, expected, "{length}");
            // Of a wrong password that is said, whatever else is wrong.
            let error = wrong(&sealed[..length], "twelve Chars");
            assert!(
                length <= 150 || error == ArchiveError::Password,
                "{length}: {error}"
            );
        }
        let more = [&sealed[..], b"x"].concat();
        assert_eq!(wrong(&more, "twelve chars"), ArchiveError::Damaged);
    }

    #[test]
    fn only_an_export_of_these_very_files_has_moved() {
        let password = password("twelve chars");
        let files = vec![entry(LOCK, b"lock"), entry(SLASHING_PROTECTION, b"all")];
        let moved = |files: &[Entry], about: &str| {
            let sealed = seal_with(files, about, &password, LIGHT).unwrap();
            open_told(&sealed, &password).unwrap().moved
        };
        let about = about_moved("It moved.\n", &files);
        assert!(moved(&files, &about));
        assert!(!moved(&files, "It moved.\n"));
        // Somebody unpacked one, and made a tar of what came of it, with what it said of itself.
        for (place, name, content) in [
            (1, SLASHING_PROTECTION, "all and more"),
            (0, IDENTITY, "lock"),
            (0, LOCK, ""),
        ] {
            let mut other = files.clone();
            other[place] = entry(name, content.as_bytes());
            assert!(!moved(&other, &about), "{name}");
        }
        assert!(!moved(&files[..1], &about));
        let more = [&files[..], &[entry(RESTORED, b"")]].concat();
        assert!(!moved(&more, &about));
    }

    #[test]
    fn ours_takes_as_much_work_as_it_says_and_more_is_not_done() {
        let files = [entry(LOCK, b"lock")];
        let sealed = seal(&files, "about", &password("twelve chars")).unwrap();
        assert_eq!(work_of(&sealed), Some(18));
        assert_eq!(open(&sealed, &password("twelve chars")).unwrap().len(), 1);
        let light = seal_with(&files, "about", &password("twelve chars"), LIGHT).unwrap();
        let with = |digits: &str| {
            let end = light
                .iter()
                .skip(AGE.len())
                .position(|byte| *byte == b'\n')
                .unwrap()
                + AGE.len();
            [&light[..end - 1], digits.as_bytes(), &light[end..]].concat()
        };
        assert_eq!(with("4"), light);
        let began = std::time::Instant::now();
        for (digits, expected) in [
            ("20", ArchiveError::Work(20)),
            ("63", ArchiveError::Work(63)),
            ("99", ArchiveError::Work(99)),
            ("100", ArchiveError::NotOne),
            ("018", ArchiveError::NotOne),
            ("+9", ArchiveError::NotOne),
            ("0", ArchiveError::NotOne),
            ("", ArchiveError::NotOne),
            ("5", ArchiveError::Password),
        ] {
            assert_eq!(wrong(&with(digits), "twelve chars"), expected, "{digits}");
        }
        assert!(began.elapsed().as_secs() < 5);
    }

    #[test]
    fn what_is_encrypted_in_another_way_is_named() {
        let key = b"-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\n";
        let foreign = [AGE, key, b"EmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n--- "].concat();
        assert_eq!(wrong(&foreign, "twelve chars"), ArchiveError::NotOne);
        assert_eq!(wrong(ARMOUR, "twelve chars"), ArchiveError::Armoured);
        assert_eq!(wrong(b"", "twelve chars"), ArchiveError::Other(Content::Empty));
        let zip = ArchiveError::Other(Content::Packed("zip"));
        assert_eq!(wrong(b"PK\x03\x04", "twelve chars"), zip);
        assert_eq!(
            wrong(b"<html>", "twelve chars"),
            ArchiveError::Other(Content::Page)
        );
        assert_eq!(wrong(b"hello", "twelve chars"), ArchiveError::NotOne);
    }

    /// The same keys on another machine may give another sequence of characters; age takes those that are typed.
    #[test]
    fn a_password_with_marks_is_as_typed_and_opens_however_it_is_written() {
        let files = [entry(LOCK, b"lock")];
        let composed = seal_with(&files, "", &password("tw\u{e9}lve chars"), LIGHT).unwrap();
        assert!(decrypt(&composed, "tw\u{e9}lve chars").is_ok());
        assert!(open(&composed, &password("twe\u{301}lve chars")).is_ok());
        let decomposed = |text: &str| Passphrase(Zeroizing::new(text.to_owned()));
        let sealed = seal_with(&files, "", &decomposed("twe\u{301}lve chars"), LIGHT).unwrap();
        assert!(open(&sealed, &password("tw\u{e9}lve chars")).is_ok());
        assert!(Passphrase::new("\n\u{7f}").is_err());
        assert!(Passphrase::new(&"x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
        assert!(Passphrase::from_bytes(b"\xff").is_err());
        assert_eq!(Passphrase::from_bytes(b"\xef\xbb\xbfabc\r\n").unwrap().0.len(), 3);
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
}

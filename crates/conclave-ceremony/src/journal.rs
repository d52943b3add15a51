//! The journal on disk: an append-only file of records, each with a checksum, fsync'd before anybody sees it.
//!
//! ```text
//! header   "conclave/journal" (16 bytes)  version u32 = 1
//! record   length u32  guard 4 bytes  payload (length bytes)  checksum 8 bytes
//! guard    first 4 bytes of SHA-256("conclave/journal/guard/1" || index u64 || length)
//! checksum first 8 bytes of SHA-256("conclave/journal/record/1" || index u64 || length || payload)
//! ```
//!
//! Integers are big-endian; the index counts records from 0. A crash can leave the last record incomplete: it is
//! cut off, for nobody has seen it. Anything else that does not check is damage, of the header too: it is reported, never
//! repaired in silence, because an entry that is lost may be one that others hold. The length has a guard of its own: without
//! it a damaged length would look like an incomplete record. Only what a later version of this program wrote is no damage: it is left
//! alone. Its records would not pass for those of version 1, so a damaged version number is not taken for one.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::files::{Disk, FileError, SECRET, parent};
use super::problem::{Kind, Problem};

const MAGIC: &[u8; 16] = b"conclave/journal";
const VERSION: u32 = 1;
const HEADER: usize = 20;
/// A greater version number than any that there will be is damage.
const LAST_VERSION: u32 = 255;
/// Bytes of a record beside its payload.
const FRAME: u64 = 16;

/// Why a journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// The header or a record is damaged. The file has not been touched; [`Journal::salvage`] keeps it aside and goes on with
    /// the records that are intact.
    #[error("{} is damaged at byte {offset}, in record {intact}", path.display())]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// Where the first damaged record begins, in bytes; 0 for the header.
        offset: u64,
        /// How many records before it are intact.
        intact: u64,
    },
    /// A later version of this program wrote the file.
    #[error("{} is a journal of a later version than {VERSION}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A record longer than the caller allowed, in bytes.
    #[error("a record of {0} bytes is longer than a record can be")]
    TooLong(usize),
    /// An earlier write failed and could not be taken back; only a new start helps.
    #[error("an earlier write to {} failed", path.display())]
    Broken {
        /// The journal.
        path: PathBuf,
    },
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::File(error) => error.into(),
            JournalError::Corrupt { path, offset, .. } => Problem::new(
                Kind::Other,
                format!("the journal {} is damaged", path.display()),
                format!("its checksum at byte {offset} is wrong: a disk error, or somebody changed it"),
                "check the disk, then run the same command again: what is missing comes back from the others",
            ),
            JournalError::Foreign { path } => Problem::folder_state(
                format!("{} cannot be read", path.display()),
                "a later version of conclave wrote it",
                "update conclave to the version that this ceremony was begun with",
            ),
            JournalError::TooLong(_) => Problem::other(
                "cannot write the journal",
                error,
                "this is a bug: please report it",
            ),
            JournalError::Broken { .. } => Problem::other(
                "cannot write the journal",
                error,
                "check the disk and run the same command again; nothing is lost",
            ),
        }
    }
}

/// An open journal, ready for appending.
#[derive(Debug)]
pub struct Journal {
    disk: Disk,
    path: PathBuf,
    file: File,
    /// Bytes that are known to be good.
    length: u64,
    /// Records.
    count: u64,
    limit: usize,
    broken: bool,
}

impl Journal {
    /// Opens the journal at `path`, making it if it is not there, and hands each record to `each` in order.
    /// An incomplete last record is cut off. Records are at most `limit` bytes.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] if the header or a complete record does not check (`each` has been called for the records
    /// before it; the file is as it was); [`JournalError::Foreign`]; anything the disk says.
    pub fn open(
        disk: &Disk,
        path: &Path,
        limit: usize,
        mut each: impl FnMut(Vec<u8>),
    ) -> Result<Self, JournalError> {
        let file = disk.open_appending(path)?;
        let size = file.metadata().map_err(|error| read_error(path, error))?.len();
        let mut journal = Self {
            disk: disk.clone(),
            path: path.to_owned(),
            file,
            length: 0,
            count: 0,
            limit,
            broken: false,
        };
        let mut reader = BufReader::new(File::open(path).map_err(|error| read_error(path, error))?);
        let head = read_head(&mut reader, size, limit).map_err(|error| read_error(path, error))?;
        match head {
            Head::Whole => journal.length = HEADER as u64,
            Head::Incomplete => {
                journal.disk.truncate(&journal.file, path, 0)?;
                journal.disk.append(&mut journal.file, path, &header())?;
                journal.length = HEADER as u64;
                return Ok(journal);
            }
            Head::Damaged => {
                return Err(JournalError::Corrupt {
                    path: path.to_owned(),
                    offset: 0,
                    intact: 0,
                });
            }
            Head::Later => {
                return Err(JournalError::Foreign {
                    path: path.to_owned(),
                });
            }
        }
        loop {
            match read_record(&mut reader, journal.count, size - journal.length, limit) {
                Ok(Found::Record(payload)) => {
                    journal.length += FRAME + payload.len() as u64;
                    journal.count += 1;
                    each(payload);
                }
                Ok(Found::End) => return Ok(journal),
                Ok(Found::Incomplete) => {
                    journal.disk.truncate(&journal.file, path, journal.length)?;
                    return Ok(journal);
                }
                Ok(Found::Damaged) => {
                    return Err(JournalError::Corrupt {
                        path: path.to_owned(),
                        offset: journal.length,
                        intact: journal.count,
                    });
                }
                Err(error) => return Err(read_error(path, error).into()),
            }
        }
    }

    /// Keeps a damaged journal aside, as `<name>.corrupt-N`, and opens one with the records before the damage (after it, if
    /// only the header is damaged), so that the rest can be healed from peers. Returns the journal and the name of the damaged one. At no moment
    /// is there no journal.
    ///
    /// # Errors
    /// As [`Self::open`], for other reasons than the damage.
    pub fn salvage(
        disk: &Disk,
        path: &Path,
        limit: usize,
        each: impl FnMut(Vec<u8>),
    ) -> Result<(Self, Option<PathBuf>), JournalError> {
        match Self::open(disk, path, limit, |_| ()) {
            Ok(_) => return Ok((Self::open(disk, path, limit, each)?, None)),
            Err(JournalError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let damaged = disk.read(path, u64::MAX - 1)?;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut n = 1;
        let aside = loop {
            let aside = parent(path).join(format!("{name}.corrupt-{n}"));
            match disk.write_new_or_same(&aside, &damaged, SECRET) {
                Err(error)
                    if error.is_exists() || matches!(error.cause, super::files::Cause::TooLarge(_)) =>
                {
                    n += 1;
                }
                result => {
                    result?;
                    break aside;
                }
            }
        };
        disk.replace(path, &intact(&damaged, limit), SECRET)?;
        Ok((Self::open(disk, path, limit, each)?, Some(aside)))
    }

    /// Appends records and makes them durable, all with one fsync. When this returns an error none of them may be
    /// shown to anybody; a new start decides what is there.
    ///
    /// # Errors
    /// [`JournalError::TooLong`]; [`JournalError::Broken`]; anything the disk says.
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken {
                path: self.path.clone(),
            });
        }
        let mut bytes = Vec::new();
        let mut index = self.count;
        for record in records {
            let payload = record.as_ref();
            let length = u32::try_from(payload.len())
                .ok()
                .filter(|_| payload.len() <= self.limit)
                .ok_or(JournalError::TooLong(payload.len()))?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&guard(index, length));
            bytes.extend_from_slice(payload);
            bytes.extend_from_slice(&checksum(index, length, payload));
            index += 1;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.disk.append(&mut self.file, &self.path, &bytes) {
            // What was written in part must not stay in front of later records.
            self.broken = self.disk.truncate(&self.file, &self.path, self.length).is_err();
            return Err(error.into());
        }
        self.length += bytes.len() as u64;
        self.count = index;
        Ok(())
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a file begins with.
enum Head {
    Whole,
    /// The file is new, or a crash came before its header was complete.
    Incomplete,
    Damaged,
    /// A later version of this program wrote it.
    Later,
}

fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&VERSION.to_be_bytes());
    header
}

/// Reads the header of a file of `size` bytes; if it is whole, the reader stands at the first record.
fn read_head(reader: &mut impl Read, size: u64, limit: usize) -> std::io::Result<Head> {
    let mut found = Vec::new();
    reader.take(HEADER as u64).read_to_end(&mut found)?;
    if found == header() {
        return Ok(Head::Whole);
    }
    if header().starts_with(&found) {
        return Ok(Head::Incomplete);
    }
    let version = found
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.try_into().ok())
        .map(u32::from_be_bytes);
    let left = size.saturating_sub(HEADER as u64);
    let later = version.is_some_and(|version| (VERSION + 1..=LAST_VERSION).contains(&version)) && left > 0;
    if later && !matches!(read_record(reader, 0, left, limit)?, Found::Record(_)) {
        return Ok(Head::Later);
    }
    Ok(Head::Damaged)
}

/// A header, and the first records of a damaged file that check.
fn intact(damaged: &[u8], limit: usize) -> Vec<u8> {
    let records = damaged.get(HEADER..).unwrap_or_default();
    let (mut rest, mut index, mut end) = (records, 0, 0);
    loop {
        let left = rest.len() as u64;
        let Ok(Found::Record(_)) = read_record(&mut rest, index, left, limit) else {
            break;
        };
        index += 1;
        end = records.len() - rest.len();
    }
    [&header(), records.get(..end).unwrap_or_default()].concat()
}

enum Found {
    Record(Vec<u8>),
    End,
    Incomplete,
    Damaged,
}

/// Reads the record at the reader's place; `left` is what the file has from there on.
fn read_record(reader: &mut impl Read, index: u64, left: u64, limit: usize) -> std::io::Result<Found> {
    if left == 0 {
        return Ok(Found::End);
    }
    if left < 8 {
        return Ok(Found::Incomplete);
    }
    let (mut length, mut found_guard) = ([0; 4], [0; 4]);
    reader.read_exact(&mut length)?;
    reader.read_exact(&mut found_guard)?;
    let length = u32::from_be_bytes(length);
    if found_guard != guard(index, length) || length as usize > limit {
        return Ok(Found::Damaged);
    }
    if left < FRAME + u64::from(length) {
        return Ok(Found::Incomplete);
    }
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload)?;
    let mut found = [0; 8];
    reader.read_exact(&mut found)?;
    Ok(if found == checksum(index, length, &payload) {
        Found::Record(payload)
    } else {
        Found::Damaged
    })
}

fn guard(index: u64, length: u32) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(b"conclave/journal/guard/1")
        .chain_update(index.to_be_bytes())
        .chain_update(length.to_be_bytes())
        .finalize();
    let mut out = [0; 4];
    out.copy_from_slice(&hash[..4]);
    out
}

fn checksum(index: u64, length: u32, payload: &[u8]) -> [u8; 8] {
    let hash = Sha256::new()
        .chain_update(b"conclave/journal/record/1")
        .chain_update(index.to_be_bytes())
        .chain_update(length.to_be_bytes())
        .chain_update(payload)
        .finalize();
    let mut out = [0; 8];
    out.copy_from_slice(&hash[..8]);
    out
}

fn read_error(path: &Path, error: std::io::Error) -> FileError {
    FileError {
        doing: "read",
        path: path.to_owned(),
        cause: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::crashing_disk;
    use super::*;
    use std::fs;

    const LIMIT: usize = 1000;
    const FRAME_BYTES: usize = 16;

    fn records(path: &Path) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut all = Vec::new();
        Journal::open(&Disk::new(), path, LIMIT, |record| all.push(record))?;
        Ok(all)
    }

    fn sample() -> Vec<Vec<u8>> {
        vec![
            b"first".to_vec(),
            Vec::new(),
            vec![0; 50],
            b"the last record".to_vec(),
        ]
    }

    fn write_sample(path: &Path) -> Vec<u8> {
        let mut journal = Journal::open(&Disk::new(), path, LIMIT, |_| panic!("a new one is empty")).unwrap();
        journal.append(&sample()[..1]).unwrap();
        journal.append(&sample()[1..]).unwrap();
        assert_eq!(journal.count(), 4);
        fs::read(path).unwrap()
    }

    #[test]
    fn records_come_back_in_order_and_more_can_be_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        write_sample(&path);
        assert_eq!(records(&path).unwrap(), sample());
        let mut journal = Journal::open(&Disk::new(), &path, LIMIT, |_| ()).unwrap();
        journal.append(&[b"more"]).unwrap();
        assert_eq!(records(&path).unwrap().len(), 5);
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_complete_records_and_can_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let whole = write_sample(&path);
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let mut boundary = HEADER;
            let complete = sample()
                .iter()
                .take_while(|record| {
                    boundary += record.len() + FRAME_BYTES;
                    boundary <= end
                })
                .count();
            assert_eq!(records(&path).unwrap(), sample()[..complete], "cut at {end}");
            let mut journal = Journal::open(&Disk::new(), &path, LIMIT, |_| ()).unwrap();
            journal.append(&[b"next"]).unwrap();
            let mut expected = sample()[..complete].to_vec();
            expected.push(b"next".to_vec());
            assert_eq!(records(&path).unwrap(), expected, "cut at {end}");
        }
    }

    #[test]
    fn any_flipped_bit_is_corruption_and_heals_to_the_intact_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let whole = write_sample(&path);
        let mut boundaries = vec![HEADER];
        for record in sample() {
            boundaries.push(boundaries.last().unwrap() + record.len() + FRAME_BYTES);
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                fs::write(&path, &damaged).unwrap();
                let in_header = at < HEADER;
                let record = if in_header {
                    0
                } else {
                    boundaries.iter().filter(|b| **b <= at).count() - 1
                };
                match records(&path) {
                    Err(JournalError::Corrupt { offset, intact, .. }) => {
                        assert_eq!(offset, if in_header { 0 } else { boundaries[record] as u64 });
                        assert_eq!(intact, record as u64);
                    }
                    other => panic!("byte {at} bit {bit}: {other:?}"),
                }
                assert_eq!(
                    fs::read(&path).unwrap(),
                    damaged,
                    "refusing does not touch the file"
                );
                if bit == 0 || in_header {
                    let record = if in_header { sample().len() } else { record };
                    let mut kept = Vec::new();
                    let (mut journal, aside) =
                        Journal::salvage(&Disk::new(), &path, LIMIT, |r| kept.push(r)).unwrap();
                    assert_eq!(kept, sample()[..record]);
                    assert_eq!(
                        fs::read(aside.unwrap()).unwrap(),
                        damaged,
                        "the damaged file is kept"
                    );
                    journal.append(&[b"healed"]).unwrap();
                    assert_eq!(records(&path).unwrap().len(), record + 1);
                }
            }
        }
        assert!(
            dir.path().join("journal.corrupt-2").exists(),
            "an earlier one is not overwritten"
        );
    }

    #[test]
    fn an_intact_journal_needs_no_salvage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        write_sample(&path);
        let (journal, aside) = Journal::salvage(&Disk::new(), &path, LIMIT, |_| ()).unwrap();
        assert_eq!((journal.count(), aside), (4, None));
    }

    #[test]
    fn a_salvage_that_crashes_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut damaged = write_sample(&path);
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        for k in 0.. {
            fs::write(&path, &damaged).unwrap();
            let (disk, _) = crashing_disk(k);
            let done = Journal::salvage(&disk, &path, LIMIT, |_| ()).is_ok();
            let (journal, _) = Journal::salvage(&Disk::new(), &path, LIMIT, |_| ()).unwrap();
            assert_eq!(journal.count(), 3);
            let kept = Disk::new().list(dir.path()).unwrap();
            assert!(
                kept.iter()
                    .any(|n| n.contains("corrupt") && fs::read(dir.path().join(n)).unwrap() == damaged)
            );
            if done {
                break;
            }
        }
    }

    #[test]
    fn a_journal_of_a_later_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        // Records that would be longer, shorter and as long as ours.
        for rest in [&b"more"[..], &[0; 16], &[7; 500]] {
            let content = [b"conclave/journal\0\0\0\x02", rest].concat();
            fs::write(&path, &content).unwrap();
            assert!(matches!(records(&path), Err(JournalError::Foreign { .. })));
            assert!(matches!(
                Journal::salvage(&Disk::new(), &path, LIMIT, |_| ()),
                Err(JournalError::Foreign { .. })
            ));
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_damaged_beginning_costs_only_what_it_touches() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let whole = write_sample(&path);
        let zeros = |n: usize| [&vec![0; n], &whole[n..]].concat();
        // What is left of it, and how many records that are.
        let cases: [(Vec<u8>, usize); 9] = [
            (zeros(1), 4),
            (zeros(HEADER), 4),
            (zeros(HEADER + 4), 0),
            (zeros(whole.len()), 0),
            (b"x".to_vec(), 0),
            (b"something else altogether".to_vec(), 0),
            (b"conclave/journal\0\0\0\x02".to_vec(), 0),
            (Vec::new(), 0),
            (whole[..11].to_vec(), 0),
        ];
        for (content, expected) in cases {
            fs::write(&path, &content).unwrap();
            let mut kept = Vec::new();
            let (mut journal, aside) =
                Journal::salvage(&Disk::new(), &path, LIMIT, |record| kept.push(record)).unwrap();
            assert_eq!(kept, sample()[..expected], "{content:?}");
            // An unfinished header holds nothing that is worth keeping.
            assert_eq!(aside.is_none(), whole.starts_with(&content), "{content:?}");
            if let Some(aside) = aside {
                assert_eq!(fs::read(aside).unwrap(), content);
            }
            journal.append(&[b"next"]).unwrap();
            assert_eq!(records(&path).unwrap().len(), expected + 1);
        }
    }

    #[test]
    fn records_are_bounded_in_both_directions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&Disk::new(), &path, LIMIT, |_| ()).unwrap();
        assert!(matches!(
            journal.append(&[vec![0; LIMIT + 1]]),
            Err(JournalError::TooLong(_))
        ));
        journal.append(&[vec![0; LIMIT]]).unwrap();
        assert!(matches!(
            Journal::open(&Disk::new(), &path, LIMIT - 1, |_| ()),
            Err(JournalError::Corrupt { intact: 0, .. })
        ));
    }

    #[test]
    fn an_append_that_crashes_keeps_what_was_durable() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            write_sample(&path);
            let (disk, _) = crashing_disk(k);
            let result = Journal::open(&disk, &path, LIMIT, |_| ())
                .and_then(|mut journal| journal.append(&[b"new", b"er."]));
            let after = records(&path).unwrap();
            assert_eq!(after[..4], sample());
            if result.is_ok() {
                assert_eq!(after.len(), 6);
                break;
            }
        }
    }

    #[test]
    fn after_a_failed_write_the_journal_goes_on_or_refuses() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        for truncation_works in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            let full = Arc::new(AtomicBool::new(false));
            let flag = full.clone();
            let disk = Disk::with_hook(Arc::new(move |operation, _| {
                use super::super::files::Operation;
                let fails = operation == Operation::SyncFile
                    || (operation == Operation::Truncate && !truncation_works);
                if fails && flag.load(Ordering::SeqCst) {
                    return Err(std::io::ErrorKind::StorageFull.into());
                }
                Ok(())
            }));
            let mut journal = Journal::open(&disk, &path, LIMIT, |_| ()).unwrap();
            journal.append(&[b"one"]).unwrap();
            full.store(true, Ordering::SeqCst);
            let problem = Problem::from(journal.append(&[b"two"]).unwrap_err());
            assert!(problem.why.contains("full"), "{problem:?}");
            full.store(false, Ordering::SeqCst);
            let again = journal.append(&[b"three"]);
            if truncation_works {
                again.unwrap();
                assert_eq!(records(&path).unwrap(), [&b"one"[..], b"three"]);
            } else {
                assert!(matches!(again, Err(JournalError::Broken { .. })));
            }
        }
    }
}

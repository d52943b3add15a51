//! The tar in an archive: ordinary files of a data folder, and the folders that they are in.
//!
//! Written by us it is the same for the same files. Read it may also be what a person's own `tar` made of a data folder. Everything
//! that could lead elsewhere is refused: links, devices, names that do not belong there ([`belongs`]), a name twice, more bytes
//! than there are, anything behind the end.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write},
};

use tar::{Archive, Builder, EntryType, Header};
use zeroize::Zeroizing;

use super::{
    super::files::{PRIVATE_FOLDER, PUBLIC},
    super::folder::{IDENTITY, LOCK},
    archive::{ArchiveError, Entry, MAX_BYTES, MAX_FILES, belongs},
    folders_of, of_the_moment,
};
use conclave_eth::recognise::Content;

/// Says to whoever opens it by hand what this is; not one of the folder's files.
const ABOUT: &str = "ABOUT-THIS-ARCHIVE.txt";
/// Everything in a tar is a multiple of so many bytes.
const BLOCK: usize = 512;
/// Longer names take a file of their own.
const SHORT_NAME: usize = 100;
/// The time of all files: 1 January 2025. It says nothing, and programs remark older ones.
const TIME: u64 = 1_735_689_600;

/// The tar of files, in ascending order of their names, and what it says about itself.
///
/// # Errors
/// [`ArchiveError::TooLarge`]; [`ArchiveError::Content`] if a name does not belong there.
pub(super) fn write(files: &[Entry], about: &str) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
    let mut files: Vec<&Entry> = files.iter().collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let folders: BTreeSet<&str> = files.iter().flat_map(|entry| folders_of(&entry.name)).collect();
    let names = files
        .iter()
        .map(|entry| (entry.name.as_str(), entry.content.len()))
        .chain(folders.iter().map(|folder| (*folder, 0)))
        .chain([(ABOUT, about.len())]);
    let room: usize = names.map(|(name, length)| room(name, length)).sum::<usize>() + 2 * BLOCK;
    if files.len() > MAX_FILES || room as u64 + (1 << 20) > MAX_BYTES {
        return Err(ArchiveError::TooLarge);
    }
    // Its whole length at once: growing would leave copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let mut tar = Builder::new(&mut *bytes);
    let failed = |error: std::io::Error| ArchiveError::Failed(error.to_string());
    put(&mut tar, EntryType::Regular, PUBLIC, ABOUT, about.as_bytes()).map_err(failed)?;
    for folder in folders {
        put(
            &mut tar,
            EntryType::Directory,
            PRIVATE_FOLDER,
            &format!("{folder}/"),
            b"",
        )
        .map_err(failed)?;
    }
    for entry in files {
        let mode = belongs(&entry.name).ok_or_else(|| foreign(&entry.name))?;
        put(&mut tar, EntryType::Regular, mode, &entry.name, &entry.content).map_err(failed)?;
    }
    tar.into_inner().map_err(failed)?;
    Ok(bytes)
}

/// The bytes that a file takes.
fn room(name: &str, length: usize) -> usize {
    let padded = |length: usize| length.div_ceil(BLOCK) * BLOCK;
    let long = if name.len() <= SHORT_NAME {
        0
    } else {
        BLOCK + padded(name.len() + 1)
    };
    long + BLOCK + padded(length)
}

fn put(
    tar: &mut Builder<impl Write>,
    kind: EntryType,
    mode: u32,
    name: &str,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(TIME);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content)
}

fn foreign(name: &str) -> ArchiveError {
    let name: String = name
        .chars()
        .take(120)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    ArchiveError::Content(format!("{name} does not belong there"))
}

/// As [`read_told`], the files alone.
#[cfg(test)]
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    read_told(bytes).map(|(entries, _)| entries)
}

/// Reads a tar that has been authenticated as a whole: the files, ascending by name, and what it says about itself. What means
/// nothing elsewhere ([`of_the_moment`]) lies in every folder in which conclave was at work, and is left out.
///
/// # Errors
/// [`ArchiveError::Content`].
pub(super) fn read_told(bytes: &[u8]) -> Result<(Vec<Entry>, Vec<u8>), ArchiveError> {
    let refused = |why: &str| ArchiveError::Content(why.to_owned());
    match Content::of(bytes) {
        Some(Content::Empty) => return Err(refused("there is nothing in it")),
        Some(packed @ Content::Packed(_)) => {
            return Err(refused(&format!(
                "it is {packed}; conclave reads a plain tar, as tar c -C FOLDER . makes it"
            )));
        }
        _ => {}
    }
    let not_tar = |_: std::io::Error| {
        refused(
            "it is no tar, or one that was cut off before it was encrypted; tar c -C FOLDER . makes one that is read",
        )
    };
    // Whoever names the folder when making a tar has it before all names.
    let foreign = |name: &str| match wrapped(bytes) {
        Some(folder) => refused(&format!(
            "its files are not at its top, but in the folder {folder}/; tar c -C {folder} . makes one that is read",
            folder = printable(&folder)
        )),
        None => foreign(name),
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut names = BTreeSet::new();
    let mut end = 0;
    let mut about = Vec::new();
    let mut archive = Archive::new(bytes);
    for (count, entry) in archive.entries().map_err(not_tar)?.enumerate() {
        let mut entry = entry.map_err(not_tar)?;
        if count > 2 * MAX_FILES {
            return Err(refused("it has more than 200000 files"));
        }
        let name = std::str::from_utf8(&entry.path_bytes())
            .map_err(|_| refused("a name in it is no text"))?
            .to_owned();
        let name = name.strip_prefix("./").unwrap_or(&name);
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let start = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
        end = start
            .checked_add(size)
            .filter(|end| *end <= bytes.len())
            .ok_or_else(|| refused("the tar was cut off before it was encrypted"))?;
        if of_the_moment(name) {
            continue;
        }
        match entry.header().entry_type() {
            EntryType::Directory if is_folder(name) && size == 0 => continue,
            EntryType::Regular => {}
            EntryType::Directory => return Err(foreign(name)),
            _ => return Err(refused(&format!("{} is no ordinary file", printable(name)))),
        }
        if !names.insert(name.to_owned()) {
            return Err(refused(&format!("{} is in it twice", printable(name))));
        }
        if name == ABOUT {
            entry.read_to_end(&mut about).map_err(not_tar)?;
            continue;
        }
        belongs(name).ok_or_else(|| foreign(name))?;
        if entries.len() >= MAX_FILES {
            return Err(refused("it has more than 200000 files"));
        }
        let mut content = Zeroizing::new(Vec::with_capacity(size));
        entry.read_to_end(&mut content).map_err(not_tar)?;
        if content.len() != size {
            return Err(refused("a file in it is shorter than it says"));
        }
        entries.push(Entry {
            name: name.to_owned(),
            content,
        });
    }
    // Two blocks of zeros end it, and programs fill it up with more of them.
    let rest = bytes.get(end.div_ceil(BLOCK) * BLOCK..).unwrap_or_default();
    if rest.len() < 2 * BLOCK || rest.iter().any(|byte| *byte != 0) {
        return Err(refused(
            "the tar was cut off before it was encrypted, or something stands behind its end",
        ));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((entries, about))
}

/// The folder that the files of a data folder are in, if they are not at the top.
fn wrapped(bytes: &[u8]) -> Option<String> {
    let mut archive = Archive::new(bytes);
    let names = archive.entries().ok()?.take(2 * MAX_FILES).map_while(Result::ok);
    names
        .filter_map(|entry| String::from_utf8(entry.path_bytes().into_owned()).ok())
        .find_map(|name| {
            let (folder, file) = name.rsplit_once('/')?;
            let folder = folder.strip_prefix("./").unwrap_or(folder);
            (matches!(file, LOCK | IDENTITY) && !matches!(folder, "" | ".")).then(|| folder.to_owned())
        })
}

fn printable(name: &str) -> String {
    name.chars()
        .take(120)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whether a folder of this name holds files that belong there; the data folder itself does.
fn is_folder(name: &str) -> bool {
    let name = name.trim_end_matches('/');
    name.is_empty() || name == "." || belongs(&format!("{name}/x")).is_some()
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

    /// A tar that somebody else made.
    fn foreign_tar(files: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (kind, name, content) in files {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o777);
            header.set_size(content.len() as u64);
            // Names that the library would not write.
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    const FILE: EntryType = EntryType::Regular;

    #[test]
    fn what_is_written_is_read_and_takes_the_room_that_was_made_for_it() {
        let long = format!(
            "exits/0x{}-epoch-18446744073709551615-operator-64.json",
            "ab".repeat(48)
        );
        let files = [
            entry("validator_keys/keystore-0.json", &[1; 513]),
            entry("cluster-lock.json", &[2; 512]),
            entry(&long, b"part"),
            entry(&format!("exits/{}", "x".repeat(93)), b"99"),
            entry(&format!("exits/{}", "x".repeat(94)), b"100"),
            entry(&format!("exits/{}", "x".repeat(95)), b"101"),
            entry("ceremony/attempt-1/voted", b""),
        ];
        let tar = write(&files, "what it is").unwrap();
        assert_eq!(tar.len(), tar.capacity());
        assert_eq!(*write(&files, "what it is").unwrap(), *tar);
        let read = read(&tar).unwrap();
        let mut expected: Vec<(&str, &[u8])> =
            files.iter().map(|e| (e.name.as_str(), &e.content[..])).collect();
        expected.sort_unstable();
        let found: Vec<(&str, &[u8])> = read.iter().map(|e| (e.name.as_str(), &e.content[..])).collect();
        assert_eq!(found, expected);
        assert!(write(&[entry("../x", b"")], "").is_err());
    }

    #[test]
    fn what_other_programs_write_of_a_folder_is_read() {
        let tar = foreign_tar(&[
            (EntryType::Directory, "./", b""),
            (FILE, "./cluster-lock.json", b"lock"),
            (EntryType::Directory, "./validator_keys/", b""),
            (FILE, "./validator_keys/keystore-0.json", b"key"),
            (EntryType::Directory, "./ceremony/", b""),
            (FILE, "./ceremony/in-use", b""),
            (FILE, "./run.sock", b""),
            (EntryType::Fifo, "./ceremony/run.sock.new", b""),
        ]);
        let filled = [&tar[..], &[0; 10 * BLOCK]].concat();
        for tar in [&tar, &filled] {
            let names: Vec<String> = read(tar).unwrap().into_iter().map(|entry| entry.name).collect();
            assert_eq!(names, ["cluster-lock.json", "validator_keys/keystore-0.json"]);
        }
    }

    #[test]
    fn a_tar_that_was_made_in_another_way_is_told_how_to_make_it() {
        let said = |tar: &[u8]| read(tar).map(|_| ()).unwrap_err().to_string();
        for folder in ["carol", "c1/carol", "./carol"] {
            let name = |file: &str| format!("{folder}/{file}");
            let tar = foreign_tar(&[
                (EntryType::Directory, &name(""), b""),
                (EntryType::Directory, &name("validator_keys/"), b""),
                (FILE, &name("validator_keys/keystore-0.json"), b"key"),
                (FILE, &name("cluster-lock.json"), b"lock"),
            ]);
            let folder = folder.trim_start_matches("./");
            let text = said(&tar);
            assert!(
                text.contains(&format!("in the folder {folder}/; tar c -C {folder} .")),
                "{text}"
            );
        }
        let tar = foreign_tar(&[(FILE, "cluster-lock.json", b"lock"), (FILE, "notes.txt", b"x")]);
        assert!(said(&tar).ends_with("notes.txt does not belong there"));
        assert!(said(b"").contains("there is nothing in it"));
        assert!(said(b"\x1f\x8b\x08\0").contains("a packed file (gzip"));
        assert!(said(b"hello").contains("it is no tar"));
        let good = foreign_tar(&[(FILE, "cluster-lock.json", &[1; 2000])]);
        assert!(said(&good[..3 * BLOCK]).contains("cut off"));
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_read() {
        let good = (FILE, "cluster-lock.json", &b"lock"[..]);
        assert_eq!(read(&foreign_tar(&[good])).unwrap().len(), 1);
        for name in [
            "/etc/passwd",
            "../cluster-lock.json",
            "validator_keys/../../x",
            "validator_keys//x",
            "././cluster-lock.json",
            "validator_keys/run.sock/x",
            "RETIRED",
            ".ssh",
            "notes.txt",
            "x",
            "",
            "validator_keys/",
        ] {
            assert!(read(&foreign_tar(&[good, (FILE, name, b"x")])).is_err(), "{name}");
        }
        for name in [
            "/",
            "..",
            "../",
            "etc/",
            "validator_keys/a/b/",
            "ceremony/a/b/c/",
            "./../",
        ] {
            let tar = foreign_tar(&[good, (EntryType::Directory, name, b"")]);
            let harmless = name == "/";
            assert_eq!(read(&tar).is_ok(), harmless, "{name}");
        }
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::Continuous,
            EntryType::GNUSparse,
            EntryType::XGlobalHeader,
            EntryType::new(b'Z'),
        ] {
            let tar = foreign_tar(&[good, (kind, "charon-enr-private-key", b"")]);
            assert!(read(&tar).is_err(), "{kind:?}");
        }
        assert!(read(&foreign_tar(&[good, good])).is_err(), "twice");
        let same = (FILE, "./cluster-lock.json", &b"other"[..]);
        assert!(
            read(&foreign_tar(&[good, same])).is_err(),
            "twice by another name"
        );
        // A long name may not hide one that does not belong there.
        let tar = foreign_tar(&[(EntryType::GNULongName, "././@LongLink", b"../evil\0"), good]);
        assert!(read(&tar).is_err());
        let tar = foreign_tar(&[(EntryType::XHeader, "PaxHeaders", b"16 path=../evil\n"), good]);
        assert!(read(&tar).is_err());
    }

    #[test]
    fn sizes_and_ends_are_judged_before_memory_is_taken() {
        let tar = foreign_tar(&[(FILE, "cluster-lock.json", b"lock")]);
        assert_eq!(tar.len(), 4 * BLOCK);
        for (what, bad) in [
            ("nothing", Vec::new()),
            ("no end", tar[..2 * BLOCK].to_vec()),
            ("half an end", tar[..3 * BLOCK].to_vec()),
            ("cut", tar[..BLOCK + 2].to_vec()),
            ("more", [&tar[..], b"x"].concat()),
            ("another tar", [&tar[..], &tar[..]].concat()),
        ] {
            assert!(read(&bad).is_err(), "{what}");
        }
        for size in ["77777777777", "00000004000", "00000001001"] {
            let mut large = tar.clone();
            large[124..135].copy_from_slice(size.as_bytes());
            let mut header = Header::from_byte_slice(&large[..BLOCK]).clone();
            header.set_cksum();
            large[..BLOCK].copy_from_slice(header.as_bytes());
            assert!(read(&large).is_err(), "{size}");
        }
        let mut changed = tar.clone();
        changed[0] ^= 1;
        assert!(read(&changed).is_err(), "its sum");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0_usize..2048, byte: u8, more: Vec<u8>) {
            let mut tar = foreign_tar(&[(FILE, "cluster-lock.json", b"lock")]);
            tar[at] = byte;
            let _ = read(&tar);
            tar.extend(more);
            let _ = read(&tar);
        }
    }
}

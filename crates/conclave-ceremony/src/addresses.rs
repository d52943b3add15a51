//! Where the other operators were reached, and where this one listens, kept for the next start: a help for
//! reconnecting, nothing that is trusted. The ceremony writes it, and the running validator reads it and goes on writing it.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use libp2p::Multiaddr;

use super::files::{FileError, PUBLIC};
use super::folder::DataFolder;

/// The file in our own folder: per line an operator's number and an address.
const FILE: &str = "addresses";
/// The file with where this operator listens: per line `listen` or `announce`, and an address.
const OWN: &str = "own-addresses";
/// Longer files are not ours.
const MAX_BYTES: u64 = 1 << 20;

/// Operators, numbered from 1, and where they were reached.
pub type Book = Vec<(u16, Vec<Multiaddr>)>;

/// Reads what was kept. What cannot be read is left out.
pub fn load(folder: &DataFolder) -> Book {
    let bytes = folder.disk().read(&folder.ceremony().join(FILE), MAX_BYTES);
    parse(&String::from_utf8_lossy(&bytes.unwrap_or_default()))
}

/// Keeps the whole of it, in place of what was kept before.
///
/// # Errors
/// Anything the disk says.
pub fn save(folder: &DataFolder, book: &[(u16, Vec<Multiaddr>)]) -> Result<(), FileError> {
    let path = folder.ceremony().join(FILE);
    folder.disk().replace(&path, text(book).as_bytes(), PUBLIC)
}

/// The file with where this operator listens, for people who want to withdraw it.
pub fn own_path(folder: &DataFolder) -> PathBuf {
    folder.ceremony().join(OWN)
}

/// Where this operator listens, and what it tells the others beside that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Addresses to tell the others, such as a router's.
    pub announce: Vec<Multiaddr>,
}

impl Own {
    /// Reads what was kept; empty if nothing was. Beside it the lines that cannot be read, and are left out.
    pub fn load(folder: &DataFolder) -> (Self, Vec<String>) {
        let bytes = folder.disk().read(&own_path(folder), MAX_BYTES);
        Self::parse(&String::from_utf8_lossy(&bytes.unwrap_or_default()))
    }

    /// Keeps it, in place of what was kept before.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn save(&self, folder: &DataFolder) -> Result<(), FileError> {
        folder
            .disk()
            .replace(&own_path(folder), self.text().as_bytes(), PUBLIC)
    }

    fn parse(text: &str) -> (Self, Vec<String>) {
        let mut own = Self::default();
        let mut unread = Vec::new();
        for line in text
            .trim_start_matches('\u{feff}')
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            let address = |text: &str| {
                let address = text.trim().parse::<Multiaddr>().ok();
                address.filter(|address| !address.is_empty())
            };
            let said = line.trim_start().split_once(' ');
            match said.and_then(|(what, text)| Some((what, address(text)?))) {
                Some(("listen", address)) => own.listen.push(address),
                Some(("announce", address)) => own.announce.push(address),
                _ => unread.push(line.to_owned()),
            }
        }
        (own, unread)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (what, addresses) in [("listen", &self.listen), ("announce", &self.announce)] {
            for address in addresses {
                let _ = writeln!(text, "{what} {address}");
            }
        }
        text
    }
}

fn parse(text: &str) -> Book {
    let mut book: BTreeMap<u16, Vec<Multiaddr>> = BTreeMap::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let Some((operator, address)) = line.split_once(' ') else {
            continue;
        };
        if let (Ok(operator), Ok(address)) = (operator.parse(), address.parse::<Multiaddr>())
            && !address.is_empty()
        {
            book.entry(operator).or_default().push(address);
        }
    }
    book.into_iter().collect()
}

fn text(book: &[(u16, Vec<Multiaddr>)]) -> String {
    let mut text = String::new();
    for (operator, addresses) in book {
        for address in addresses {
            let _ = writeln!(text, "{operator} {address}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Disk, crashing_disk};

    #[test]
    fn what_was_kept_is_read_and_rubbish_is_left_out() {
        let book = vec![
            (
                2,
                vec![
                    "/ip4/9.9.9.9/tcp/1".parse().unwrap(),
                    "/ip6/::1/tcp/2".parse().unwrap(),
                ],
            ),
            (70, vec!["/dns4/x.example/tcp/3".parse().unwrap()]),
        ];
        assert_eq!(parse(&text(&book)), book);
        let damaged = format!(
            "nonsense\n1\n1 \n-1 /ip4/1.2.3.4/tcp/1\n3 /ip4/1.2.3/tcp/1\n{}\0",
            text(&book)
        );
        assert_eq!(parse(&damaged), book);
    }

    /// The machine may stop, or the disk be full, at every operation: what is kept is the old or the new, and a start goes on.
    #[test]
    fn what_is_kept_is_the_old_or_the_new_wherever_the_disk_fails() {
        let address = |port: u16| format!("/ip4/9.9.9.9/tcp/{port}").parse::<Multiaddr>().unwrap();
        let book = |port| vec![(2, vec![address(port)])];
        let own = |port| Own {
            listen: vec![address(port)],
            announce: vec![address(port + 1)],
        };
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open_or_create(&Disk::new(), dir.path()).unwrap();
        save(&folder, &book(1)).unwrap();
        own(1).save(&folder).unwrap();
        drop(folder);
        // How often the disk is used to open a folder.
        let (disk, opening) = crashing_disk(usize::MAX);
        drop(DataFolder::open(&disk, dir.path()).unwrap());
        let opening = opening.load(std::sync::atomic::Ordering::SeqCst);
        for k in opening.. {
            let folder = DataFolder::open(&crashing_disk(k).0, dir.path()).unwrap();
            let saved = (save(&folder, &book(5)).is_ok(), own(5).save(&folder).is_ok());
            drop(folder);
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            let (kept_book, (kept_own, unread)) = (load(&folder), Own::load(&folder));
            assert!(unread.is_empty(), "{unread:?}");
            assert!(
                kept_book == book(5) || (kept_book == book(1) && !saved.0),
                "{k} {kept_book:?}"
            );
            assert!(
                kept_own == own(5) || (kept_own == own(1) && !saved.1),
                "{k} {kept_own:?}"
            );
            let names = folder.disk().list(&folder.ceremony()).unwrap();
            assert!(names.iter().all(|name| !name.contains("unfinished")), "{names:?}");
            if saved == (true, true) {
                assert!(k >= opening + 8, "{k}");
                break;
            }
            save(&folder, &book(1)).unwrap();
            own(1).save(&folder).unwrap();
        }
    }

    #[test]
    fn own_addresses_are_kept_and_rubbish_is_told() {
        let own = Own {
            listen: vec!["/ip4/0.0.0.0/tcp/9600".parse().unwrap()],
            announce: vec!["/dns4/x.example/tcp/3".parse().unwrap()],
        };
        assert_eq!(Own::parse(&own.text()), (own.clone(), vec![]));
        assert_eq!(Own::parse(" \n"), (Own::default(), vec![]));
        // As editors write it.
        let edited = format!("\u{feff}{}\r\n", own.text().replace('\n', "\r\n"));
        assert_eq!(Own::parse(&edited), (own.clone(), vec![]));
        let rubbish = [
            "listen",
            "listen ",
            "listen /ip4/1/tcp/1",
            "else /ip4/1.2.3.4/tcp/1",
        ];
        let damaged = format!("{}\n{}\0", rubbish.join("\n"), own.text());
        let (read, unread) = Own::parse(&damaged);
        assert_eq!(read, own);
        assert_eq!(unread.len(), 5);
        assert_eq!(unread[..4], rubbish);
    }
}

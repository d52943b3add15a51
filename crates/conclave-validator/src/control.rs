//! How other commands talk to the `run` that is at work in the same folder.
//!
//! A socket in the data folder, which only its owner can open, speaks lines of JSON: each request is one line, and so
//! is each answer. The file is there as long as `run` is; one that a crash left behind answers nobody and is replaced at
//! the next start. (Who holds the folder's exclusive lock is the only one who makes this file.)
//!
//! Here are the words and the asking side; the answering side is in [`super::node`].

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use conclave_ceremony::folder::SOCKET;
use conclave_eth::recognise::why_no_json;

/// Most bytes of a request, with the end of its line.
pub const MAX_REQUEST: usize = 64 * 1024;
/// Most bytes of an answer, with the end of its line.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How long the asking side waits for the answer to what may need beacon nodes, as long as the running node shows that it is well.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits for the answer to what needs nothing: then the running node hangs.
const ALIVE: Duration = Duration::from_secs(4);
/// Bytes that the path of a socket may have everywhere: 104 with a zero at the end on some systems, 108 on Linux.
const MAX_PATH: usize = 100;

/// What a running node is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Status {},
    /// What is known of a validator that might exit.
    ExitLook {
        /// Its public key in hexadecimal.
        public_key: String,
    },
    /// The operator of this folder consents to the exit of a validator: its share signs.
    Exit {
        /// The validator's public key in hexadecimal.
        public_key: String,
        /// Its index on the chain, as the operator was shown it.
        validator_index: u64,
        /// From which epoch on the exit is valid.
        epoch: u64,
    },
    /// Somebody's part of an exit, as it came in a file. Nothing is signed here.
    ExitPart {
        /// What [`PartialExit::encode`](super::exits::PartialExit::encode) wrote, in hexadecimal.
        part: String,
    },
}

/// What operators wish for a validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// From which epoch on the exit is valid.
    pub epoch: u64,
    /// The validator's index on the chain.
    pub validator_index: u64,
    /// Who consents, from 1.
    pub operators: Vec<u16>,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How it is: a document for people and programs, whose content is not this module's business.
    Status {
        /// The document.
        status: serde_json::Value,
    },
    /// What is known of a validator that can exit.
    ExitLook {
        /// Its index on the chain.
        validator_index: u64,
        /// Its state as the beacon node calls it.
        status: String,
        /// Which exits operators consent to.
        wishes: Vec<Wish>,
        /// How many must consent to one.
        threshold: u16,
    },
    /// The share has signed, or somebody's part was taken.
    Exit {
        /// Who consents to this exit, from 1.
        operators: Vec<u16>,
        /// How many must.
        threshold: u16,
        /// The file of the signed exit in the data folder, if there is one.
        signed: Option<String>,
    },
    /// It cannot or will not do it.
    Refused(Refusal),
}

/// Why a running node does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One line: what went wrong.
    pub what: String,
    /// One line: why.
    pub why: String,
    /// One line: what the reader can do now.
    pub what_to_do: String,
}

impl Refusal {
    /// From an error whose text has three lines.
    pub fn from_lines(error: impl std::fmt::Display) -> Self {
        let text = error.to_string();
        let mut lines = text.lines().map(str::trim);
        let mut next = || lines.next().unwrap_or_default().to_owned();
        Self {
            what: next(),
            why: next(),
            what_to_do: next(),
        }
    }

    /// From its three lines.
    pub fn new(what: impl Into<String>, why: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            what_to_do: what_to_do.into(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no conclave run is at work in this folder")]
    NotRunning,
    /// Somebody listens, and says nothing.
    #[error("conclave run is at work in this folder and gave no answer within {} s: it hangs, or the whole machine does", ALIVE.as_secs())]
    Hangs,
    /// It is well, and what it was asked took too long.
    #[error("conclave run did not finish within {} s what it was asked", PATIENCE.as_secs())]
    Slow,
    /// Talking failed.
    #[error("the running node could not be asked: {0}")]
    Io(#[from] io::Error),
    /// What came is no answer.
    #[error("the running node gave an answer that this version does not understand: {0}")]
    Malformed(String),
}

/// Asks the `run` of a data folder. Whether it hangs is known within seconds; for what may need beacon nodes it has a minute.
///
/// # Errors
/// If nobody listens there, or does not answer as a node of this version does.
pub fn ask(folder: &Path, request: &Request) -> Result<Answer, ControlError> {
    let alive = || exchange(folder, &Request::Status {}, |waited| waited < ALIVE);
    if *request == (Request::Status {}) {
        return alive();
    }
    alive()?;
    let mut well = Ok(());
    let goes_on = |waited: Duration| {
        well = alive().map(drop);
        well.is_ok() && waited < PATIENCE
    };
    let answer = exchange(folder, request, goes_on);
    well?;
    answer.map_err(|error| match error {
        ControlError::Hangs => ControlError::Slow,
        error => error,
    })
}

/// Asks, and waits as long as `goes_on` says so: it is told every few seconds how long that was.
fn exchange(
    folder: &Path,
    request: &Request,
    mut goes_on: impl FnMut(Duration) -> bool,
) -> Result<Answer, ControlError> {
    let began = Instant::now();
    let mut stream = connect(folder)?;
    stream.set_read_timeout(Some(ALIVE))?;
    stream.set_write_timeout(Some(ALIVE))?;
    stream.write_all(&line(request)?).map_err(hangs)?;
    let limit = MAX_ANSWER as u64;
    let mut reader = BufReader::new(stream.take(limit));
    let mut answer = Vec::new();
    while let Err(error) = reader.read_until(b'\n', &mut answer).map_err(hangs) {
        match error {
            ControlError::Hangs if goes_on(began.elapsed()) => {}
            error => return Err(error),
        }
    }
    if answer.last() != Some(&b'\n') {
        return Err(ControlError::Malformed("it ends too early".to_owned()));
    }
    serde_json::from_slice(&answer).map_err(|error| ControlError::Malformed(why_no_json(&error)))
}

/// A wait that was too long is no failure of the system.
fn hangs(error: io::Error) -> ControlError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ControlError::Hangs,
        _ => ControlError::Io(error),
    }
}

/// Connects to the socket of a folder. Where many have asked a node that hangs, the system lets the next one wait without end: that
/// is left to a thread that ends with this process.
fn connect(folder: &Path) -> Result<UnixStream, ControlError> {
    let reach = Reach::new(folder, SOCKET)?;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let _ = tell.send(UnixStream::connect(reach.path()));
    });
    let connected = told.recv_timeout(ALIVE).map_err(|_| ControlError::Hangs)?;
    connected.map_err(|error| match error.kind() {
        // A file without a listener is what a crash left behind.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
        _ => hangs(error),
    })
}

/// A request or an answer as it is sent.
pub(super) fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The way to a socket in a folder. Addresses of sockets hold about a hundred bytes and paths can be longer; then the way
/// leads through an open handle of the folder.
#[derive(Debug)]
pub(super) struct Reach {
    path: PathBuf,
    /// Open as long as the path is in use.
    _folder: Option<File>,
}

impl Reach {
    /// # Errors
    /// If the folder cannot be opened; if its path is too long on a system without `/proc`.
    pub(super) fn new(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        if path.as_os_str().len() <= MAX_PATH {
            return Ok(Self { path, _folder: None });
        }
        if !cfg!(target_os = "linux") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidFilename,
                format!("the path of {} is too long for a socket", path.display()),
            ));
        }
        let folder = File::open(folder)?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())),
            _folder: Some(folder),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn where_nobody_listens_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let ask = || ask(dir.path(), &Request::Status {}).unwrap_err();
        assert!(matches!(ask(), ControlError::NotRunning));
        // What a crash leaves behind.
        drop(UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        assert!(matches!(ask(), ControlError::NotRunning));
    }

    #[test]
    fn a_node_that_hangs_is_told_within_seconds_whatever_it_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        // It listens, and answers nobody: a stopped process. Few fit into its queue, so that few have to be open here to fill it.
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let exit = Request::ExitLook {
            public_key: "0x12".to_owned(),
        };
        for request in [Request::Status {}, exit] {
            let began = Instant::now();
            let error = ask(dir.path(), &request).unwrap_err();
            assert!(matches!(error, ControlError::Hangs), "{error}");
            assert!(
                began.elapsed() < ALIVE + Duration::from_secs(2),
                "{:?}",
                began.elapsed()
            );
        }
        // Nobody else is taken in: the next one does not even reach it.
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(dir.path()) {
            waiting.push(stream);
            assert!(waiting.len() < 100);
        }
        assert!(matches!(connect(dir.path()), Err(ControlError::Hangs)));
        drop(listener);
    }

    #[test]
    fn what_takes_long_is_waited_for_as_long_as_the_node_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut request = String::new();
                    BufReader::new(&stream).read_line(&mut request).unwrap();
                    if !request.contains("\"status\"") {
                        thread::sleep(ALIVE + Duration::from_secs(1));
                    }
                    let _ = stream.write_all(b"{\"answer\":\"status\",\"status\":{\"slot\":3}}\n");
                });
            }
        });
        let look = Request::ExitLook {
            public_key: "0x12".to_owned(),
        };
        assert!(matches!(ask(dir.path(), &look), Ok(Answer::Status { .. })));
    }

    #[test]
    fn answers_are_lines_of_json() {
        for (answer, good) in [
            (
                r#"{"answer":"status","status":{"slot":3}}"#.to_owned() + "\n",
                true,
            ),
            (
                r#"{"answer":"refused","what":"a","why":"b","what_to_do":"c"}"#.to_owned() + "\n",
                true,
            ),
            (r#"{"answer":"status","status":{"slot":3}}"#.to_owned(), false),
            (r#"{"answer":"song"}"#.to_owned() + "\n", false),
            ("\n".to_owned(), false),
            (String::new(), false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
            let text = answer.clone();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(&stream).read_line(&mut request).unwrap();
                assert_eq!(request, "{\"request\":\"status\"}\n");
                stream.write_all(text.as_bytes()).unwrap();
            });
            assert_eq!(ask(dir.path(), &Request::Status {}).is_ok(), good, "{answer}");
            server.join().unwrap();
        }
    }
}

//! The answering side of the control socket.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use crate::control::{Answer, MAX_ANSWER, MAX_REQUEST, Reach, Refusal, Request, line};
use conclave_ceremony::folder::SOCKET;
use conclave_eth::exit::VoluntaryExit;

use super::exits::Exits;

/// Whoever asks may say nothing for so long.
const IDLE: Duration = Duration::from_secs(30);
/// So many may ask at once; the next ones wait.
const AT_ONCE: usize = 16;
/// After an error of the system, before the next one is let in.
const PAUSE: Duration = Duration::from_millis(200);
/// The socket's name until only its owner can open it.
const UNFINISHED: &str = "run.sock.new";

/// Makes the document that `status` asks for. Called from a thread of its own, possibly several at once.
pub type Describe = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Who answers what.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) describe: Describe,
    /// There from the moment on that the chain is known.
    pub(super) exits: Arc<OnceLock<Exits>>,
}

/// Where other commands talk to this process, and what they are told.
pub struct Control {
    /// The data folder, held by this process alone.
    pub folder: PathBuf,
    /// A folder in the same file system that only the owner can open, mode 0700.
    pub private: PathBuf,
    /// What `status` says.
    pub describe: Describe,
}

/// The socket's file; removed when dropped.
pub(super) struct Door {
    path: PathBuf,
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the socket. Must be called within the runtime.
///
/// It is bound where nobody else can reach it, closed to others, and only then gets its name; what a crash left behind is
/// replaced. Whoever runs this program as root may ask too.
pub(super) fn open(control: &Control) -> io::Result<(UnixListener, Door)> {
    let beside = control.private.join(UNFINISHED);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(Reach::new(&control.private, UNFINISHED)?.path())?;
    fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
    let path = control.folder.join(SOCKET);
    fs::rename(&beside, &path)?;
    Ok((listener, Door { path }))
}

/// Whether a process that held this data folder ended without removing its socket. Only for whoever holds the folder now.
pub fn was_killed(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(SOCKET)).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Answers for ever.
pub(super) async fn serve(listener: UnixListener, path: PathBuf, desk: Desk) {
    let seats = Arc::new(Semaphore::new(AT_ONCE));
    let owner = owner(&path);
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let asks = stream.peer_cred().map(|asks| asks.uid()).ok();
        if asks != Some(0) && asks != owner {
            tracing::warn!("user {asks:?} may not use the control socket");
            continue;
        }
        let desk = desk.clone();
        tokio::spawn(async move {
            // Whoever asks and goes away is no matter of ours.
            let _ = attend(stream, &desk).await;
            drop(seat);
        });
    }
}

/// The user who made the socket: this process's.
fn owner(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).map(|metadata| metadata.uid()).ok()
}

/// Answers one who asks, until that one goes or is too slow.
async fn attend(stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut request = Vec::new();
        let mut bounded = (&mut reader).take(MAX_REQUEST as u64);
        timeout(IDLE, bounded.read_until(b'\n', &mut request)).await??;
        if request.is_empty() {
            return Ok(());
        }
        let whole = request.last() == Some(&b'\n');
        let answer = match serde_json::from_slice(&request) {
            Ok(request) if whole => answer(request, desk).await.unwrap_or_else(Answer::Refused),
            _ => Answer::Refused(Refusal::new(
                "the request was not understood",
                "it is not one line of JSON that this version knows",
                "use the same version of conclave for run and for this command",
            )),
        };
        let mut bytes = line(&answer)?;
        if bytes.len() > MAX_ANSWER {
            bytes = line(&Answer::Refused(Refusal::new(
                "the answer is too long",
                format!("it has {} bytes", bytes.len()),
                "this is a bug: please report it",
            )))?;
        }
        timeout(IDLE, writer.write_all(&bytes)).await??;
        if !whole {
            return Ok(());
        }
    }
}

async fn answer(request: Request, desk: &Desk) -> Result<Answer, Refusal> {
    match request {
        Request::Status {} => {
            let describe = desk.describe.clone();
            let status = tokio::task::spawn_blocking(move || describe()).await;
            status.map(|status| Answer::Status { status }).map_err(|_| {
                Refusal::new(
                    "the status could not be told",
                    "making it failed",
                    "this is a bug: please report it",
                )
            })
        }
        Request::ExitLook { public_key } => exits(desk)?.look(&public_key).await,
        Request::Exit {
            public_key,
            validator_index,
            epoch,
        } => {
            let message = VoluntaryExit {
                epoch,
                validator_index,
            };
            exits(desk)?.consent(&public_key, message).await
        }
        Request::ExitPart { part } => exits(desk)?.part(&part).await,
    }
}

fn exits(desk: &Desk) -> Result<&Exits, Refusal> {
    desk.exits.get().ok_or_else(|| {
        Refusal::new(
            "the running node cannot look validators up",
            "no beacon node has answered it yet",
            "see to its beacon node, then try again",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::fs::FileTypeExt as _,
    };

    use serde_json::json;

    use super::*;
    use crate::control::ask;

    struct Serving {
        _dir: tempfile::TempDir,
        folder: PathBuf,
        door: Option<Door>,
        _runtime: tokio::runtime::Runtime,
    }

    /// Serves in a folder with a name as long as this.
    fn serving(name: &str) -> Serving {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(name);
        let private = folder.join("ceremony");
        fs::create_dir_all(&private).unwrap();
        // Left behind by a crash.
        fs::write(folder.join(SOCKET), "stale").unwrap();
        fs::write(private.join(UNFINISHED), "stale").unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let control = Control {
            folder: folder.clone(),
            private,
            describe: Arc::new(|| json!({ "slot": 7 })),
        };
        let inside = runtime.enter();
        let (listener, door) = open(&control).unwrap();
        let desk = Desk {
            describe: control.describe,
            exits: Arc::default(),
        };
        runtime.spawn(serve(listener, folder.join(SOCKET), desk));
        drop(inside);
        Serving {
            _dir: dir,
            folder,
            door: Some(door),
            _runtime: runtime,
        }
    }

    #[test]
    fn only_the_owner_may_ask_and_the_file_goes_with_the_process() {
        for name in ["short".to_owned(), "long".repeat(50)] {
            let mut serving = serving(&name);
            let path = serving.folder.join(SOCKET);
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert!(metadata.file_type().is_socket());
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
            for _ in 0..3 {
                let answer = ask(&serving.folder, &Request::Status {}).unwrap();
                assert_eq!(
                    answer,
                    Answer::Status {
                        status: json!({ "slot": 7 })
                    }
                );
            }
            drop(serving.door.take());
            assert!(fs::symlink_metadata(&path).is_err());
            assert!(!serving.folder.join("ceremony").join(UNFINISHED).exists());
        }
    }

    #[test]
    fn nonsense_is_refused_and_the_next_one_is_answered() {
        let serving = serving("folder");
        for (nonsense, hangs_up) in [
            (b"{\"request\":\"song\"}\n".to_vec(), false),
            (b"{\"request\":\"status\",\"x\":1}\n".to_vec(), false),
            (b"\xff\xfe\n".to_vec(), false),
            (vec![b' '; MAX_REQUEST + 100], true),
            (
                [&vec![b' '; MAX_REQUEST][..], b"{\"request\":\"status\"}\n"].concat(),
                true,
            ),
        ] {
            let reach = Reach::new(&serving.folder, SOCKET).unwrap();
            let mut stream = std::os::unix::net::UnixStream::connect(reach.path()).unwrap();
            let _ = stream.write_all(&nonsense);
            let mut answers = std::io::BufReader::new(&stream);
            let mut text = String::new();
            std::io::BufRead::read_line(&mut answers, &mut text).unwrap();
            assert!(text.contains("\"refused\""), "{text}");
            let mut left = Vec::new();
            if hangs_up {
                // What was not read may make the connection end with an error.
                let _ = answers.read_to_end(&mut left);
                assert!(left.is_empty());
            } else {
                (&stream).write_all(b"{\"request\":\"status\"}\n").unwrap();
                text.clear();
                std::io::BufRead::read_line(&mut answers, &mut text).unwrap();
                assert!(text.contains("\"status\""), "{text}");
            }
        }
        let look = Request::ExitLook {
            public_key: "0x12".to_owned(),
        };
        let Answer::Refused(refusal) = ask(&serving.folder, &look).unwrap() else {
            panic!("no chain is known yet");
        };
        assert!(refusal.why.contains("no beacon node"), "{refusal:?}");
        // Many who say nothing keep nobody out for ever, and one who asks is answered.
        let reach = Reach::new(&serving.folder, SOCKET).unwrap();
        let silent: Vec<_> = (0..AT_ONCE - 1)
            .map(|_| std::os::unix::net::UnixStream::connect(reach.path()).unwrap())
            .collect();
        ask(&serving.folder, &Request::Status {}).unwrap();
        drop(silent);
    }
}

//! Files that survive a crash: written beside, fsync'd, renamed without overwriting, folder fsync'd.
//!
//! Everything that this program keeps goes through a [`Disk`], so that a test can let the machine "crash"
//! before any single operation ([`Disk::with_hook`]) and look at what is left.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::TryRng;
use zeroize::Zeroizing;

use super::folder::SLASHING_PROTECTION;
use super::problem::{Kind, Problem};

/// Mode of files with secrets.
pub const SECRET: u32 = 0o600;
/// Mode of all other files.
pub const PUBLIC: u32 = 0o644;
/// Mode of folders with secrets.
pub const PRIVATE_FOLDER: u32 = 0o700;

/// Prefix of unfinished files; a start removes the leftovers of a crash.
pub(super) const UNFINISHED: &str = ".conclave-unfinished-";

/// One operation on the disk, announced to the hook of a [`Disk`] before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A folder is made.
    CreateFolder,
    /// A file is made, still empty.
    CreateFile,
    /// Bytes are written.
    Write,
    /// The file is fsync'd.
    SyncFile,
    /// A file gets its final name.
    Rename,
    /// A file is unlinked.
    Remove,
    /// A file is cut.
    Truncate,
    /// The folder is fsync'd.
    SyncFolder,
}

/// Called before every operation; an error makes the operation fail as if the machine had stopped there.
pub type Hook = Arc<dyn Fn(Operation, &Path) -> io::Result<()> + Send + Sync>;

/// Why a file operation failed.
#[derive(Debug)]
pub enum Cause {
    /// The file is already there, and nothing is ever overwritten.
    Exists,
    /// The file or folder is not there.
    Missing,
    /// The user may not do this.
    Permission,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The disk, or the user's quota, is full.
    Full,
    /// A file larger than any that belongs there; the limit in bytes.
    TooLarge(u64),
    /// A folder, where a file is meant.
    Folder,
    /// A part of the path is a file, where a folder is meant: which.
    NotAFolder(PathBuf),
    /// The folder that something is to be written into is not there.
    NoFolder(PathBuf),
    /// Neither a regular file nor a folder (a pipe, a device), or a file where a folder is to be made.
    NotAFile,
    /// Anything else.
    Io(io::Error),
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::IsADirectory => Self::Folder,
            io::ErrorKind::NotADirectory => Self::NotAFile,
            _ => Self::Io(error),
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists => f.write_str("it is already there, and nothing is ever overwritten"),
            Self::Missing => f.write_str("there is no such file or folder"),
            Self::Permission => f.write_str("you have no permission to do this"),
            Self::ReadOnly => f.write_str("the file system is read-only"),
            Self::Full => f.write_str("the disk is full"),
            Self::TooLarge(limit) => {
                write!(f, "it is larger than the {limit} bytes that such a file can have")
            }
            Self::Folder => f.write_str("it is a folder, and this has to be a file"),
            Self::NotAFolder(file) => write!(f, "{} is a file, and this has to be a folder", file.display()),
            Self::NoFolder(folder) => write!(f, "there is no folder {}", folder.display()),
            Self::NotAFile => f.write_str("what is there is no ordinary file"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {cause}", path.display())]
pub struct FileError {
    /// A verb: "write", "read".
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub cause: Cause,
}

impl FileError {
    /// Of a path through a file, or into a folder that is not there, it says which that is.
    fn new(doing: &'static str, path: &Path, cause: impl Into<Cause>) -> Self {
        let cause = match cause.into() {
            Cause::NotAFile => path
                .ancestors()
                .skip(1)
                .find(|above| above.is_file())
                .map_or(Cause::NotAFile, |file| Cause::NotAFolder(file.to_owned())),
            Cause::Missing if doing == "write" && !parent(path).is_dir() => {
                Cause::NoFolder(parent(path).to_owned())
            }
            cause => cause,
        };
        // Nobody knows the name of a file that was to be there for a moment.
        let name = path.file_name().unwrap_or_default();
        let path = if name.to_string_lossy().starts_with(UNFINISHED) {
            parent(path)
        } else {
            path
        };
        Self {
            doing,
            path: path.to_owned(),
            cause,
        }
    }

    /// Whether the file was already there.
    pub fn is_exists(&self) -> bool {
        matches!(self.cause, Cause::Exists)
    }

    /// Whether the file was not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.cause, Cause::Missing)
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let is_memory = error
            .path
            .file_name()
            .is_some_and(|name| name == SLASHING_PROTECTION);
        let (kind, what_to_do) = match &error.cause {
            Cause::Exists if is_memory => (
                Kind::FolderState,
                "leave it where it is, and run the same command again: nothing else knows what your share has signed".to_owned(),
            ),
            Cause::Exists => (
                Kind::FolderState,
                "use another folder, or move that file to a safe place first".to_owned(),
            ),
            Cause::Missing => (Kind::BadInput, "check the path".to_owned()),
            Cause::Permission => (
                Kind::Other,
                "run the command as the user who owns the folder, or name another one with --data-dir"
                    .to_owned(),
            ),
            Cause::ReadOnly => (
                Kind::Other,
                "mount it writable, or name a folder on another disk with --data-dir".to_owned(),
            ),
            Cause::Full => (
                Kind::Other,
                "free some space and run the same command again; nothing is lost".to_owned(),
            ),
            Cause::TooLarge(_) => (Kind::BadInput, "check that it is the right file".to_owned()),
            Cause::NotAFile | Cause::Folder if is_memory => (
                Kind::FolderState,
                "leave it where it is until you know what it is and how it came there".to_owned(),
            ),
            Cause::NotAFile => (
                Kind::BadInput,
                "check the path; move what is in the way".to_owned(),
            ),
            Cause::Folder => (Kind::BadInput, "name the file itself, with its folder before it".to_owned()),
            Cause::NotAFolder(_) => (Kind::BadInput, "check the path, and name a folder there".to_owned()),
            Cause::NoFolder(_) => (
                Kind::BadInput,
                "check the path, or make that folder first".to_owned(),
            ),
            Cause::Io(_) => (
                Kind::Other,
                "check the disk and the path, then run the same command again; nothing is lost".to_owned(),
            ),
        };
        Problem::new(
            kind,
            format!("cannot {} {}", error.doing, error.path.display()),
            error.cause,
            what_to_do,
        )
    }
}

/// Whether there is something at a path. What nobody can look at may be there: it is an error, and never nothing.
///
/// # Errors
/// If it cannot be looked at: without permission, of a disk that fails.
pub fn is_there(path: &Path) -> Result<bool, FileError> {
    looked_at(path).map(|metadata| metadata.is_some())
}

/// Whether a name is taken, by a link that leads nowhere, too.
///
/// # Errors
/// As [`is_there`].
pub fn has_name(path: &Path) -> Result<bool, FileError> {
    found(path, fs::symlink_metadata(path)).map(|metadata| metadata.is_some())
}

/// Whether there is a folder at a path.
///
/// # Errors
/// As [`is_there`].
pub fn is_folder(path: &Path) -> Result<bool, FileError> {
    looked_at(path).map(|metadata| metadata.is_some_and(|metadata| metadata.is_dir()))
}

/// Whether there is a file at a path.
///
/// # Errors
/// As [`is_there`].
pub fn is_file(path: &Path) -> Result<bool, FileError> {
    looked_at(path).map(|metadata| metadata.is_some_and(|metadata| metadata.is_file()))
}

/// Whether something is, or may be, at a path: for those to whom it is an error anyway what they then find.
pub fn may_be_there(path: &Path) -> bool {
    !matches!(is_there(path), Ok(false))
}

fn looked_at(path: &Path) -> Result<Option<fs::Metadata>, FileError> {
    found(path, fs::metadata(path))
}

fn found(path: &Path, looked: io::Result<fs::Metadata>) -> Result<Option<fs::Metadata>, FileError> {
    match looked {
        Ok(metadata) => Ok(Some(metadata)),
        // Nothing has such a name, or can have it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(FileError::new("look at", path, error)),
    }
}

/// The way to the disk. Cheap to clone.
#[derive(Clone, Default)]
pub struct Disk {
    hook: Option<Hook>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("hook", &self.hook.is_some())
            .finish()
    }
}

impl Disk {
    /// The real disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that asks `hook` before every operation, for tests of crashes.
    pub fn with_hook(hook: Hook) -> Self {
        Self { hook: Some(hook) }
    }

    fn announce(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(operation, path))
    }

    /// Makes a folder of mode 0700 that will still be there after a crash; one that is there is made private.
    ///
    /// # Errors
    /// If it cannot be made, or if something else has its name.
    pub fn create_folder(&self, path: &Path) -> Result<(), FileError> {
        let fail = |error: io::Error| FileError::new("make the folder", path, error);
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(FileError::new("make the folder", path, Cause::NotAFile));
            }
            Ok(metadata) => {
                if metadata.permissions().mode() & 0o077 != 0 {
                    fs::set_permissions(path, Permissions::from_mode(PRIVATE_FOLDER)).map_err(fail)?;
                }
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        self.announce(Operation::CreateFolder, path).map_err(fail)?;
        fs::DirBuilder::new()
            .mode(PRIVATE_FOLDER)
            .create(path)
            .map_err(fail)?;
        self.sync_folder(parent(path))
    }

    /// Writes a new file: atomic, durable, never over another one.
    ///
    /// # Errors
    /// [`Cause::Exists`] if the name is taken; anything the disk says.
    pub fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(FileError::new("write", path, Cause::Exists));
        }
        let beside = self.write_beside(path, bytes, mode)?;
        self.rename_new(&beside, path)
            .inspect_err(|_| self.discard(&beside))
    }

    /// As [`Self::write_new`], but a file that already has these very bytes is fine.
    ///
    /// # Errors
    /// [`Cause::Exists`] if another file has the name; anything the disk says.
    pub fn write_new_or_same(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        match self.write_new(path, bytes, mode) {
            Err(error) if error.is_exists() => {
                let there = match self.read_secret(path, bytes.len() as u64) {
                    // Whatever else is there, it is not this.
                    Err(there)
                        if matches!(there.cause, Cause::TooLarge(_) | Cause::NotAFile | Cause::Folder) =>
                    {
                        return Err(error);
                    }
                    there => there?,
                };
                if *there == bytes {
                    self.sync_folder(parent(path))
                } else {
                    Err(error)
                }
            }
            other => other,
        }
    }

    /// Replaces a file of ours that is neither key, lock nor deposit: the old content or the new, never a mixture.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn replace(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        let beside = self.write_beside(path, bytes, mode)?;
        let result = self
            .announce(Operation::Rename, path)
            .and_then(|()| fs::rename(&beside, path));
        if let Err(error) = result {
            self.discard(&beside);
            return Err(FileError::new("write", path, error));
        }
        self.sync_folder(parent(path))
    }

    fn write_beside(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, FileError> {
        let fail = |error: io::Error| FileError::new("write", path, error);
        let mut tag = [0u8; 8];
        rand::rngs::SysRng
            .try_fill_bytes(&mut tag)
            .map_err(|e| fail(io::Error::other(e)))?;
        let beside = parent(path).join(format!("{UNFINISHED}{}", hex::encode(tag)));
        self.write_in_place(&beside, bytes, mode).map_err(|error| {
            self.discard(&beside);
            FileError {
                path: path.to_owned(),
                ..error
            }
        })?;
        Ok(beside)
    }

    /// Writes a new file under its own name and fsyncs it, but not its folder. A crash can leave it unfinished:
    /// only for folders that count as a whole, once something else says so.
    ///
    /// # Errors
    /// [`Cause::Exists`] if the name is taken; anything the disk says.
    pub fn write_in_place(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        let fail = |error: io::Error| FileError::new("write", path, error);
        self.announce(Operation::CreateFile, path).map_err(fail)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(fail)?;
        // The process's umask may have taken bits away.
        file.set_permissions(Permissions::from_mode(mode)).map_err(fail)?;
        self.announce(Operation::Write, path).map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        self.announce(Operation::SyncFile, path).map_err(fail)?;
        file.sync_all().map_err(fail)
    }

    /// Removes an unfinished file after a failure. In a simulated crash it stays, as it would in a real one.
    fn discard(&self, path: &Path) {
        if self.announce(Operation::Remove, path).is_ok() {
            let _ = fs::remove_file(path);
        }
    }

    /// Gives a file its final name, in the same file system, and makes that durable. Never overwrites.
    ///
    /// # Errors
    /// [`Cause::Exists`] if the name is taken; anything the disk says.
    pub fn rename_new(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let fail = |error: io::Error| FileError::new("write", to, error);
        self.announce(Operation::Rename, to).map_err(fail)?;
        rename_without_overwriting(from, to).map_err(fail)?;
        self.sync_folder(parent(to))
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn sync_folder(&self, path: &Path) -> Result<(), FileError> {
        self.announce(Operation::SyncFolder, path)
            .and_then(|()| File::open(path)?.sync_all())
            .map_err(|error| FileError::new("make durable", path, error))
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Cause::TooLarge`], [`Cause::NotAFile`], or anything the disk says.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
        self.read_secret(path, limit)
            .map(|mut bytes| std::mem::take(&mut *bytes))
    }

    /// As [`Self::read`]; the bytes are wiped when dropped, and no copy of them stays behind.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_secret(&self, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
        let fail = |cause: Cause| FileError::new("read", path, cause);
        // Looked at before it is opened: opening a pipe would wait for ever.
        let metadata = fs::metadata(path).map_err(|e| fail(e.into()))?;
        if metadata.is_dir() {
            return Err(fail(Cause::Folder));
        }
        if !metadata.is_file() {
            return Err(fail(Cause::NotAFile));
        }
        if metadata.len() > limit {
            return Err(fail(Cause::TooLarge(limit)));
        }
        let file = File::open(path).map_err(|e| fail(e.into()))?;
        // Room for everything, and one byte to notice growth, so that the vector never moves.
        let room = usize::try_from(metadata.len())
            .map_err(|_| fail(Cause::TooLarge(limit)))?
            .saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(room as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| fail(e.into()))?;
        if bytes.len() as u64 > metadata.len() {
            return Err(fail(Cause::Io(io::Error::other("it changed while it was read"))));
        }
        Ok(bytes)
    }

    /// Removes a file durably; one that is not there is fine.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn remove(&self, path: &Path) -> Result<(), FileError> {
        let fail = |error: io::Error| FileError::new("remove", path, error);
        self.announce(Operation::Remove, path).map_err(fail)?;
        match fs::remove_file(path) {
            Ok(()) => self.sync_folder(parent(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(fail(error)),
        }
    }

    /// Overwrites a secret with zeros, then removes it; one that is not there is fine. (File systems that copy on
    /// write and disks that level wear may keep the old bytes: the overwriting is an effort, not a promise.)
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn destroy(&self, path: &Path) -> Result<(), FileError> {
        let fail = |error: io::Error| FileError::new("destroy", path, error);
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        let length = file.metadata().map_err(fail)?.len();
        self.announce(Operation::Write, path).map_err(fail)?;
        let zeros = [0u8; 4096];
        let mut offset = 0;
        while offset < length {
            let chunk = usize::try_from(length - offset)
                .unwrap_or(zeros.len())
                .min(zeros.len());
            file.write_all_at(&zeros[..chunk], offset).map_err(fail)?;
            offset += chunk as u64;
        }
        self.announce(Operation::SyncFile, path).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        self.remove(path)
    }

    /// Opens a file for appending and reading, making it if it is not there.
    pub(crate) fn open_appending(&self, path: &Path) -> Result<File, FileError> {
        let fail = |error: io::Error| FileError::new("open", path, error);
        self.announce(Operation::CreateFile, path).map_err(fail)?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(SECRET)
            .open(path)
            .map_err(fail)?;
        self.sync_folder(parent(path))?;
        Ok(file)
    }

    /// Appends and fsyncs.
    pub(crate) fn append(&self, file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        let fail = |error: io::Error| FileError::new("write", path, error);
        self.announce(Operation::Write, path).map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        self.announce(Operation::SyncFile, path).map_err(fail)?;
        file.sync_data().map_err(fail)
    }

    /// Cuts a file and fsyncs it.
    pub(crate) fn truncate(&self, file: &File, path: &Path, length: u64) -> Result<(), FileError> {
        self.announce(Operation::Truncate, path)
            .and_then(|()| file.set_len(length))
            .and_then(|()| file.sync_all())
            .map_err(|error| FileError::new("shorten", path, error))
    }

    /// Removes what a crash left unfinished in a folder; a folder that is not there is fine.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn remove_unfinished(&self, folder: &Path) -> Result<(), FileError> {
        for name in self.list(folder)? {
            if !name.starts_with(UNFINISHED) {
                continue;
            }
            let path = folder.join(name);
            // Where files get their final name by a second link, a crash can leave both names: zeros would be written
            // into the finished file.
            let linked = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.nlink() > 1);
            if linked {
                self.remove(&path)?;
            } else {
                self.destroy(&path)?;
            }
        }
        Ok(())
    }

    /// The names in a folder, sorted; none if it is not there. Names that are not UTF-8 are shown with
    /// replacement characters.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn list(&self, folder: &Path) -> Result<Vec<String>, FileError> {
        let fail = |error: io::Error| FileError::new("list", folder, error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Bytes that the user can still write on the disk of `path`.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn free_bytes(&self, path: &Path) -> Result<u64, FileError> {
        let disk = rustix::fs::statvfs(path)
            .map_err(|error| FileError::new("look at the disk of", path, io::Error::from(error)))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// The folder of a path; "." if the path has none.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems do not know the flag.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            link_then_unlink(from, to)
        }
        result => result.map_err(io::Error::from),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    link_then_unlink(from, to)
}

fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// A disk that "crashes" before the k-th operation and stays dead, for tests of this layer and of those above.
#[cfg(any(test, feature = "testing"))]
pub fn crashing_disk(k: usize) -> (Disk, Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let done = Arc::new(AtomicUsize::new(0));
    let counter = done.clone();
    let disk = Disk::with_hook(Arc::new(move |_, _| {
        if counter.fetch_add(1, Ordering::SeqCst) >= k {
            return Err(io::Error::other("simulated crash"));
        }
        Ok(())
    }));
    (disk, done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        // As a disk that fails, or a folder of somebody else; the administrator may look everywhere.
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("link")).unwrap();
        for (name, there) in [
            ("file", Some(true)),
            ("nothing", Some(false)),
            ("link", Some(false)),
            ("file/below", Some(false)),
            (&"x".repeat(300), Some(false)),
            ("loop", None),
            ("loop/below", None),
        ] {
            assert_eq!(is_there(&at(name)).ok(), there, "{name}");
            assert_eq!(may_be_there(&at(name)), there != Some(false), "{name}");
            assert_eq!(is_file(&at(name)).ok(), there, "{name}");
            assert_eq!(is_folder(&at(name)).ok(), there.map(|_| false), "{name}");
        }
        assert!(is_folder(dir.path()).unwrap() && !is_file(dir.path()).unwrap());
        for (name, taken) in [
            ("file", Some(true)),
            ("nothing", Some(false)),
            ("link", Some(true)),
            ("loop/below", None),
        ] {
            assert_eq!(has_name(&at(name)).ok(), taken, "{name}");
        }
    }

    #[test]
    fn what_is_no_file_or_no_folder_is_told_as_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let cause = |error: FileError| error.to_string().replace(&dir.path().display().to_string(), "D");
        assert_eq!(
            cause(disk.read(dir.path(), 5).unwrap_err()),
            "cannot read D: it is a folder, and this has to be a file"
        );
        let file = dir.path().join("file");
        disk.write_new(&file, b"x", PUBLIC).unwrap();
        let through = "D/file is a file, and this has to be a folder";
        assert_eq!(
            cause(disk.read(&file.join("a/b"), 5).unwrap_err()),
            format!("cannot read D/file/a/b: {through}")
        );
        let probe = format!("{UNFINISHED}probe");
        let nowhere = dir.path().join("nowhere");
        for name in ["x", &probe] {
            let error = cause(
                disk.write_in_place(&nowhere.join(name), b"x", PUBLIC)
                    .unwrap_err(),
            );
            assert!(error.ends_with("there is no folder D/nowhere"), "{error}");
            assert!(!error.contains("probe"), "{error}");
        }
        let error = cause(disk.write_in_place(&file.join(&probe), b"x", PUBLIC).unwrap_err());
        assert!(error.ends_with(through) && !error.contains("probe"), "{error}");
    }

    #[test]
    fn a_new_file_has_its_bytes_and_its_mode_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        for bits in [SECRET, PUBLIC] {
            let path = dir.path().join(format!("file-{bits:o}"));
            disk.write_new(&path, b"first", bits).unwrap();
            assert_eq!(mode(&path), bits);
            let error = disk.write_new(&path, b"second", bits).unwrap_err();
            assert!(error.is_exists());
            assert_eq!(disk.read(&path, 5).unwrap(), b"first");
            disk.write_new_or_same(&path, b"first", bits).unwrap();
            assert!(
                disk.write_new_or_same(&path, b"other", bits)
                    .unwrap_err()
                    .is_exists()
            );
            assert!(
                disk.write_new_or_same(&path, b"first and more", bits)
                    .unwrap_err()
                    .is_exists()
            );
            assert!(disk.write_new_or_same(&path, b"f", bits).is_err());
            assert_eq!(disk.read(&path, 5).unwrap(), b"first");
        }
        assert_eq!(disk.list(dir.path()).unwrap(), ["file-600", "file-644"]);
    }

    #[test]
    fn a_dangling_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(
            Disk::new()
                .write_new(&path, b"x", SECRET)
                .unwrap_err()
                .is_exists()
        );
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_whole_file_or_none() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key");
            let (disk, _) = crashing_disk(k);
            let result = disk.write_new(&path, b"the whole content", SECRET);
            match fs::read(&path) {
                Ok(bytes) => assert_eq!(bytes, b"the whole content"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            }
            if result.is_ok() {
                assert!(k >= 5, "create, write, sync, rename, sync folder");
                break;
            }
            // The next start tidies up and can write.
            let disk = Disk::new();
            disk.remove_unfinished(dir.path()).unwrap();
            disk.write_new_or_same(&path, b"the whole content", SECRET)
                .unwrap();
            assert_eq!(disk.list(dir.path()).unwrap(), ["key"]);
        }
    }

    #[test]
    fn a_crash_between_two_names_costs_no_finished_file() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let (path, beside) = (
            dir.path().join("key"),
            dir.path().join(format!("{UNFINISHED}0123")),
        );
        disk.write_in_place(&beside, b"the whole content", SECRET)
            .unwrap();
        // The first half of what is done where files cannot be renamed without overwriting.
        fs::hard_link(&beside, &path).unwrap();
        disk.remove_unfinished(dir.path()).unwrap();
        assert_eq!(disk.list(dir.path()).unwrap(), ["key"]);
        assert_eq!(fs::read(&path).unwrap(), b"the whole content");
    }

    #[test]
    fn a_replacement_is_the_old_or_the_new_content() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("names");
            Disk::new().write_new(&path, b"old", PUBLIC).unwrap();
            let (disk, _) = crashing_disk(k);
            let result = disk.replace(&path, b"new", PUBLIC);
            let there = fs::read(&path).unwrap();
            assert!(there == b"old" || there == b"new");
            if result.is_ok() {
                assert_eq!(there, b"new");
                break;
            }
        }
    }

    #[test]
    fn reading_is_bounded_and_refuses_what_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let path = dir.path().join("file");
        disk.write_new(&path, &[7; 100], PUBLIC).unwrap();
        assert_eq!(disk.read(&path, 100).unwrap().len(), 100);
        assert!(matches!(
            disk.read(&path, 99).unwrap_err().cause,
            Cause::TooLarge(99)
        ));
        assert!(matches!(
            disk.read(dir.path(), 99).unwrap_err().cause,
            Cause::Folder
        ));
        assert!(matches!(
            disk.read(Path::new("/dev/zero"), 99).unwrap_err().cause,
            Cause::NotAFile
        ));
        assert!(disk.read(&dir.path().join("none"), 99).unwrap_err().is_missing());
    }

    #[test]
    fn destroying_removes_and_may_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let path = dir.path().join("seed");
        disk.write_new(&path, &[7; 10_000], SECRET).unwrap();
        let held = File::open(&path).unwrap();
        disk.destroy(&path).unwrap();
        assert!(!path.exists());
        // The name is gone, and so are the bytes that a still open handle can see.
        let mut bytes = vec![1; 10_000];
        held.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|b| *b == 0));
        disk.destroy(&path).unwrap();
    }

    #[test]
    fn folders_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let path = dir.path().join("validator_keys");
        disk.create_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        disk.create_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let file = dir.path().join("file");
        disk.write_new(&file, b"", PUBLIC).unwrap();
        assert!(matches!(
            disk.create_folder(&file).unwrap_err().cause,
            Cause::NotAFile
        ));
    }

    #[test]
    fn every_cause_says_what_to_do() {
        let causes = [
            Cause::Exists,
            Cause::Missing,
            Cause::Permission,
            Cause::ReadOnly,
            Cause::Full,
            Cause::TooLarge(1),
            Cause::NotAFile,
            Cause::Io(io::Error::other("odd")),
        ];
        for cause in causes {
            let problem = Problem::from(FileError::new("write", Path::new("/a/b"), cause));
            assert!(problem.what.contains("/a/b"));
            assert!(!problem.why.is_empty() && !problem.what_to_do.is_empty());
        }
        // Whoever moved that away would have a share that does not know what it signed.
        let memory = Path::new("/a").join(SLASHING_PROTECTION);
        for cause in [Cause::Exists, Cause::NotAFile] {
            let problem = Problem::from(FileError::new("write", &memory, cause));
            assert!(!problem.what_to_do.contains("move"), "{problem:?}");
        }
    }
}

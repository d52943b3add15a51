//! Finds the files that belong together.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::IgnoredAny;

use super::{IdentityItem, Item, Material, SlashingProtection};
use crate::{
    conductor::{EVIDENCE, TRANSCRIPT},
    files::{Disk, is_folder, may_be_there},
    folder::{
        CEREMONY, DEFINITION, IDENTITY, LOCK, MAX_JSON_BYTES, SLASHING_PROTECTION, VALIDATOR_KEYS,
        is_deposit_file,
    },
    keystores::KeyFile,
    names::Names,
    problem::{Problem, Unread},
    publication, restored, retirement,
};
use conclave_cluster::{definition, lock};
use conclave_dkg::{evidence, transcript};
use conclave_eth::{
    deposit, keystore,
    recognise::{Content, why_no_json, without_bom},
};

/// Most bytes of a file that holds a password or a node key.
const MAX_SECRET_BYTES: u64 = 4096;

/// Most bytes of a slashing protection database that are read.
const MAX_DATABASE_BYTES: u64 = 1 << 30;

/// How often a database is read while another process writes to it.
const READINGS: u32 = 5;

/// Longer than file systems need to show that a file was changed.
const TICK: Duration = Duration::from_millis(20);

/// Most bytes of a transcript or a piece of evidence that are read.
const MAX_RECORD_BYTES: u64 = MAX_JSON_BYTES;

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Definition,
    Lock,
    Deposits,
    Keystore,
    Transcript,
    Evidence,
}

impl FileKind {
    /// Most bytes that are read.
    fn limit(self) -> u64 {
        let limit = match self {
            Self::Definition => definition::MAX_FILE,
            Self::Lock => lock::MAX_FILE,
            Self::Deposits => deposit::MAX_FILE_BYTES,
            Self::Keystore => keystore::MAX_FILE_BYTES,
            Self::Transcript | Self::Evidence => return MAX_RECORD_BYTES,
        };
        limit as u64
    }

    /// What a file of this name is meant to be.
    fn by_name(name: &str) -> Option<Self> {
        let is_json = Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "json");
        match name {
            TRANSCRIPT => Some(Self::Transcript),
            _ if !is_json => None,
            _ if name.starts_with("cluster-definition") => Some(Self::Definition),
            _ if name.starts_with("cluster-lock") => Some(Self::Lock),
            _ if is_deposit_file(name) => Some(Self::Deposits),
            _ if name.starts_with("keystore") => Some(Self::Keystore),
            _ => None,
        }
    }

    /// What a file of this content is.
    fn by_content(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(transcript::FAMILY) {
            return Some(Self::Transcript);
        }
        if bytes.starts_with(evidence::FAMILY) {
            return Some(Self::Evidence);
        }
        match Content::of(bytes)? {
            Content::Lock => Some(Self::Lock),
            Content::Definition => Some(Self::Definition),
            Content::Keystore => Some(Self::Keystore),
            Content::Deposits => Some(Self::Deposits),
            _ => None,
        }
    }
}

/// Finds what there is to verify at these paths.
///
/// A folder is taken as an operator's data folder; one that holds only such folders, as a rehearsal leaves behind,
/// stands for all of them. A single deposit file or keystore is compared with the lock among the paths, or else
/// with the one beside it. `password_file` holds the password of all keystores; without it, each has its own beside
/// it.
///
/// # Errors
/// When a path or the password file is not there, or there is nothing at a path that can be verified.
pub fn gather(
    disk: &Disk,
    paths: &[PathBuf],
    password_file: Option<&Path>,
) -> Result<Vec<Material>, Problem> {
    let mut materials = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        if is_folder(path)? {
            materials.extend(folders(disk, path)?);
        } else {
            files.push((path.as_path(), kind(disk, path)?));
        }
    }
    materials.extend(single_files(disk, &files));
    if let Some(path) = password_file {
        let password = disk.read_secret(path, MAX_SECRET_BYTES)?;
        for keystore in materials.iter_mut().flat_map(|material| &mut material.keystores) {
            keystore.password = Some(Ok(password.clone()));
            keystore.password_name = path.display().to_string();
        }
    }
    Ok(materials)
}

fn folders(disk: &Disk, path: &Path) -> Result<Vec<Material>, Problem> {
    if let Some(material) = data_folder(disk, path)? {
        return Ok(vec![material]);
    }
    let mut materials = Vec::new();
    for name in disk.list(path)? {
        let inner = path.join(name);
        if is_folder(&inner)? && may_be_there(&inner.join(LOCK)) {
            materials.extend(data_folder(disk, &inner)?);
        }
    }
    if materials.is_empty() {
        return Err(Problem::bad_input(
            format!("there is nothing to verify in {}", path.display()),
            format!(
                "it holds none of {LOCK}, {DEFINITION}, deposit-data*.json, {VALIDATOR_KEYS}/ and {CEREMONY}/{EVIDENCE}/"
            ),
            "name the folder of a ceremony, or a file of one",
        ));
    }
    Ok(materials)
}

/// The material of a data folder; `None` when there is nothing in it.
fn data_folder(disk: &Disk, path: &Path) -> Result<Option<Material>, Problem> {
    let names = disk.list(path)?;
    let item = |name: &str, kind| {
        names
            .iter()
            .any(|n| n == name)
            .then(|| read(disk, &path.join(name), kind))
    };
    let mut material = Material {
        folder: Some(path.display().to_string()),
        definition: item(DEFINITION, FileKind::Definition),
        lock: item(LOCK, FileKind::Lock),
        ..Material::default()
    };
    for name in names.iter().filter(|name| is_deposit_file(name)) {
        material
            .deposits
            .push(read(disk, &path.join(name), FileKind::Deposits));
    }
    let keys = path.join(VALIDATOR_KEYS);
    material.keystores = KeyFile::all(disk, &keys)?;
    let proofs = path.join(CEREMONY).join(EVIDENCE);
    for name in disk.list(&proofs)? {
        material
            .evidence
            .push(read(disk, &proofs.join(name), FileKind::Evidence));
    }
    let empty = material.definition.is_none()
        && material.evidence.is_empty()
        && material.lock.is_none()
        && material.deposits.is_empty()
        && material.keystores.is_empty();
    if empty {
        return Ok(None);
    }
    let protected = names.iter().any(|name| name == SLASHING_PROTECTION);
    if protected || (material.lock.is_some() && is_folder(&path.join(CEREMONY))?) {
        material.slashing_protection = Some(if protected {
            slashing_protection(disk, &path.join(SLASHING_PROTECTION))
        } else {
            SlashingProtection::Missing
        });
    }
    if !material.evidence.is_empty() {
        material.names = Names::load(disk, path).unwrap_or_default();
    }
    material.keys_wait = publication::keys_wait(disk, path)?;
    material.state = state(disk, path)?;
    let transcript = path.join(CEREMONY).join(TRANSCRIPT);
    if may_be_there(&transcript) {
        material.transcript = Some(read(disk, &transcript, FileKind::Transcript));
    } else if material.lock.is_some() {
        // Other software's folder has no journal and no attempts, wherever it was run with.
        let of_ceremony = |name: &String| name.starts_with("journal") || name.starts_with("attempt-");
        material.lacks_transcript = disk.list(&path.join(CEREMONY))?.iter().any(of_ceremony);
    }
    if names.iter().any(|name| name == IDENTITY) {
        let file = path.join(IDENTITY);
        let content = disk
            .read_secret(&file, MAX_SECRET_BYTES)
            .map_err(|error| Unread::from(error).of_own());
        material.identity = Some(IdentityItem {
            file: file.display().to_string(),
            content,
        });
    }
    Ok(Some(material))
}

/// What the marks of a folder say, for whoever looks at it before working with it.
fn state(disk: &Disk, path: &Path) -> Result<Option<String>, Problem> {
    if let Some(said) = retirement::said(disk, path)? {
        return Ok(Some(said));
    }
    let restored = "restored from a backup: what its share signed since is not in it, and conclave run asks the other operators for that";
    Ok(restored::is_marked(disk, path)?.then(|| restored.to_owned()))
}

/// Puts single files together with their locks.
fn single_files(disk: &Disk, files: &[(&Path, FileKind)]) -> Vec<Material> {
    let locks: Vec<&Path> = files
        .iter()
        .filter(|(_, kind)| *kind == FileKind::Lock)
        .map(|(path, _)| *path)
        .collect();
    // One lock that was named is meant for all files.
    let named = if let [lock] = locks.as_slice() {
        Some(lock.to_path_buf())
    } else {
        None
    };
    let transcripts = files.iter().filter(|(_, kind)| *kind == FileKind::Transcript);
    let transcript_lock = transcripts
        .map(|(path, _)| home(path).join(LOCK))
        .find(|lock| may_be_there(lock));
    let mut by_lock: Vec<(Option<PathBuf>, Material)> = Vec::new();
    let mut proofs = Vec::new();
    let mut beside: Vec<(usize, PathBuf)> = Vec::new();
    for (path, kind) in files {
        let its_lock = match kind {
            FileKind::Lock => Some(path.to_path_buf()),
            // A definition is a whole without a lock, and what a transcript is judged by that has one beside it is both.
            FileKind::Definition => transcript_lock.clone(),
            FileKind::Deposits => Some(path.with_file_name(LOCK)),
            FileKind::Keystore | FileKind::Transcript => Some(home(path).join(LOCK)),
            // It is as good as it will ever be without what came of the ceremony, if anything did.
            FileKind::Evidence => {
                proofs.push(*path);
                continue;
            }
        };
        let lock = named.clone().or(its_lock.filter(|lock| may_be_there(lock)));
        // There is one of each with a lock: what is named twice is verified twice.
        let has_room = |material: &Material| match kind {
            FileKind::Definition => material.definition.is_none(),
            FileKind::Transcript => material.transcript.is_none(),
            _ => true,
        };
        let place = by_lock
            .iter()
            .position(|(of, material)| *of == lock && has_room(material))
            .unwrap_or_else(|| {
                by_lock.push((lock, Material::default()));
                by_lock.len() - 1
            });
        let Some((_, material)) = by_lock.get_mut(place) else {
            continue;
        };
        match kind {
            // A lock is read below, as what the others belong to; evidence is no part of it.
            FileKind::Lock | FileKind::Evidence => {}
            FileKind::Definition => material.definition = Some(read(disk, path, *kind)),
            FileKind::Deposits => material.deposits.push(read(disk, path, *kind)),
            FileKind::Transcript => {
                material.transcript = Some(read(disk, path, *kind));
                beside.push((place, home(path).join(DEFINITION)));
            }
            FileKind::Keystore => material.keystores.push(KeyFile::read(disk, path)),
        }
    }
    // With no lock a transcript is judged by the definition: the one that was named, or else the one beside it.
    let named = files.iter().find(|(_, kind)| *kind == FileKind::Definition);
    let named = named.map(|(path, _)| path.to_path_buf());
    for (place, beside) in beside {
        let Some((None, material)) = by_lock.get_mut(place) else {
            continue;
        };
        let definition = named.clone().or(may_be_there(&beside).then_some(beside));
        if let (None, Some(path)) = (&material.definition, definition) {
            material.definition = Some(read(disk, &path, FileKind::Definition));
        }
    }
    let mut materials: Vec<Material> = by_lock
        .into_iter()
        .map(|(lock, material)| Material {
            lock: lock.map(|path| read(disk, &path, FileKind::Lock)),
            ..material
        })
        .collect();
    let proofs = proofs.into_iter().map(|path| single_proof(disk, path, files));
    materials.extend(proofs);
    materials
}

/// A piece of evidence with the definition that it is of: the one that was named, or else the one of the folder it lies in.
fn single_proof(disk: &Disk, path: &Path, files: &[(&Path, FileKind)]) -> Material {
    let home = home(path);
    let named = files
        .iter()
        .find(|(_, kind)| matches!(kind, FileKind::Definition | FileKind::Lock))
        .map(|(path, kind)| (path.to_path_buf(), *kind));
    let beside = [(DEFINITION, FileKind::Definition), (LOCK, FileKind::Lock)]
        .into_iter()
        .map(|(name, kind)| (home.join(name), kind))
        .find(|(path, _)| may_be_there(path));
    let mut material = Material {
        evidence: vec![read(disk, path, FileKind::Evidence)],
        names: Names::load(disk, &home).unwrap_or_default(),
        ..Material::default()
    };
    match named.or(beside) {
        Some((path, FileKind::Lock)) => material.lock = Some(read(disk, &path, FileKind::Lock)),
        Some((path, kind)) => material.definition = Some(read(disk, &path, kind)),
        None => {}
    }
    material
}

/// The data folder that a file lies in, if it is where such files are; else the file's own folder.
fn home(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let inside = if folder.ends_with(Path::new(CEREMONY).join(EVIDENCE)) {
        2
    } else {
        usize::from(folder.ends_with(VALIDATOR_KEYS) || folder.ends_with(CEREMONY))
    };
    folder.ancestors().nth(inside).unwrap_or(Path::new("")).to_owned()
}

/// What the file at this path is, by its name or else by its content.
fn kind(disk: &Disk, path: &Path) -> Result<FileKind, Problem> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    if let (Some(kind), true) = (FileKind::by_name(&name), may_be_there(path)) {
        return Ok(kind);
    }
    // Also notices a path that is not there.
    let bytes = disk.read(path, MAX_RECORD_BYTES)?;
    let proof = path
        .parent()
        .is_some_and(|folder| folder.ends_with(Path::new(CEREMONY).join(EVIDENCE)));
    FileKind::by_content(&bytes)
        .or(proof.then_some(FileKind::Evidence))
        .ok_or_else(|| {
            let why = match (Content::of(&bytes), serde_json::from_slice::<IgnoredAny>(without_bom(&bytes))) {
                (Some(other), _) => format!("it is {other}"),
                (None, Err(error)) if matches!(without_bom(&bytes).trim_ascii_start(), [b'{' | b'[', ..]) => {
                    why_no_json(&error)
                }
                _ => "it is neither a definition, a lock, a deposit file, a keystore, a transcript nor evidence".to_owned(),
            };
            Problem::bad_input(
                format!("{} cannot be verified", path.display()),
                why,
                "name a file of a ceremony, or the folder that holds them",
            )
        })
}

/// Reads the database at a moment at which nobody writes to it.
fn slashing_protection(disk: &Disk, path: &Path) -> SlashingProtection {
    let changed = || {
        let metadata = path.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    for _ in 0..READINGS {
        let before = changed();
        // What is written within the tick of the clock of what was seen leaves no trace.
        std::thread::sleep(TICK);
        let content = disk.read(path, MAX_DATABASE_BYTES).map_err(Unread::from);
        if before == changed() {
            let file = path.display().to_string();
            return SlashingProtection::There(Item { file, content });
        }
    }
    SlashingProtection::InUse
}

fn read(disk: &Disk, path: &Path, kind: FileKind) -> Item {
    let content = disk.read(path, kind.limit()).map_err(Unread::from);
    Item {
        file: path.display().to_string(),
        content,
    }
}

//! Secrets that others on the machine can read or change, because their modes say so.
//!
//! What conclave writes is private; what was copied, unpacked or made by other software may not be. An encrypted keystore is no
//! secret, its password is.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    files::Disk,
    folder::{CEREMONY, IDENTITY, VALIDATOR_KEYS},
    publication::STAGED_FILES,
};

/// Bits of a mode that let everybody read or write.
const EVERYBODY: u32 = 0o006;
/// So many files are named.
const NAMED: usize = 3;

/// Whether everybody on this machine may read or change a file, as far as its own mode says.
pub fn is_open(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & EVERYBODY != 0)
}

/// The secrets in a data folder that everybody may read or change.
fn open_secrets(disk: &Disk, root: &Path) -> Vec<PathBuf> {
    let within = |folder: PathBuf| {
        let names = disk.list(&folder).unwrap_or_default();
        names.into_iter().map(move |name| folder.join(name))
    };
    let keys = root.join(VALIDATOR_KEYS);
    let passwords = within(keys).filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    // Seeds and staged keystores with their passwords. What is staged for everybody is public.
    let attempts = within(root.join(CEREMONY)).filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with("attempt-"))
    });
    let deeper = |folder: PathBuf| {
        within(folder).flat_map(move |path| {
            if path.ends_with(STAGED_FILES) {
                Vec::new()
            } else if path.is_dir() {
                within(path).collect()
            } else {
                vec![path]
            }
        })
    };
    let secrets = [root.join(IDENTITY)].into_iter().chain(passwords);
    secrets
        .chain(attempts.flat_map(deeper))
        .filter(|path| is_open(path))
        .collect()
}

/// What to tell of secrets in a data folder, and of `further` files with secrets, that everybody may read or change: which, and the
/// command that mends it. Nothing if there are none.
pub fn warning(disk: &Disk, root: &Path, further: &[&Path]) -> Option<String> {
    let mut open = open_secrets(disk, root);
    open.extend(
        further
            .iter()
            .filter(|path| is_open(path))
            .map(|path| path.to_path_buf()),
    );
    let shown = |path: &PathBuf| path.display().to_string();
    let named: Vec<String> = open.iter().take(NAMED).map(shown).collect();
    let more = match open.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    // One command for all of a folder.
    let mut mended: Vec<String> = Vec::new();
    for path in &open {
        let whole = [VALIDATOR_KEYS, CEREMONY].map(|name| root.join(name));
        let path = whole
            .iter()
            .find(|folder| path.starts_with(folder))
            .unwrap_or(path);
        let quoted = quoted(path);
        if !mended.contains(&quoted) {
            mended.push(quoted);
        }
    }
    (!open.is_empty()).then(|| {
        format!(
            "everybody on this machine may read or change your secrets: {}{more}. This mends it: chmod -R go= {}",
            named.join(", "),
            mended.join(" ")
        )
    })
}

/// A path as a shell reads it as one word.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        text
    } else {
        let text = text.replace('\'', "'\\''");
        // What begins with a hyphen would be an option.
        let before = if text.starts_with('-') { "./" } else { "" };
        format!("'{before}{text}'")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn what_everybody_may_read_is_told_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("it's mine");
        let secrets = [
            IDENTITY,
            "validator_keys/keystore-0.txt",
            "validator_keys/keystore-1.txt",
            "ceremony/attempt-1/seed",
            "ceremony/attempt-1/keys/keystore-0.txt",
        ];
        let public = [
            "cluster-lock.json",
            "validator_keys/keystore-0.json",
            "ceremony/journal",
            "ceremony/attempt-1/out/cluster-lock.json",
        ];
        for name in secrets.iter().chain(&public) {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        let disk = Disk::new();
        let mode =
            |name: &str, mode| fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
        let told = || warning(&disk, &root, &[]);
        assert_eq!(told(), None);
        for name in public {
            mode(name, 0o644);
        }
        mode(IDENTITY, 0o640);
        assert_eq!(told(), None);
        for name in secrets {
            for open in [0o604, 0o602, 0o444] {
                mode(name, open);
                let text = told().unwrap();
                assert!(text.contains(name) && text.contains("chmod -R go= '"), "{text}");
            }
            mode(name, 0o400);
        }
        for name in secrets {
            mode(name, 0o644);
        }
        let text = told().unwrap();
        assert!(text.contains("and 2 more"), "{text}");
        // The command does what it says.
        let command = text.split("mends it: ").nth(1).unwrap();
        let ended = std::process::Command::new("sh")
            .args(["-c", command])
            .status()
            .unwrap();
        assert!(ended.success());
        assert_eq!(told(), None);
        let further = dir.path().join("headers");
        fs::write(&further, "x").unwrap();
        fs::set_permissions(&further, Permissions::from_mode(0o644)).unwrap();
        assert!(warning(&disk, &root, &[&further]).unwrap().contains("headers"));
    }
}

//! Tells the program from which commit it is built and of which day that is, so that people can compare what they run.

use std::path::Path;
use std::process::Command;

fn main() {
    for path in ["build.rs", "src", "crates", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let of = of_package().or_else(of_repository);
    let text = of.map_or_else(|| version.clone(), |of| format!("{version} ({of})"));
    println!("cargo::rustc-env=CONCLAVE_VERSION={text}");
}

/// The commit of a package from the registry, which is in it.
fn of_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    commit.get(..10).map(str::to_owned)
}

/// Commit and day, if this is a repository of its own and not a folder in somebody else's. A `+` stands for changes that are not committed.
fn of_repository() -> Option<String> {
    let root = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&root).canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    // What is not there counts as changed each time.
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = git(&["describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"])?;
    let day = git(&["log", "-1", "--format=%cs"])?;
    Some(format!("{commit}, {day}"))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

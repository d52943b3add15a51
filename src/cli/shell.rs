//! `conclave completions` and `conclave man`.

use std::io::{Read, Write};
use std::path::Path;

use clap::CommandFactory;

use conclave_ceremony::files::{Disk, PUBLIC, is_folder};
use conclave_ceremony::problem::Problem;

use super::args::Cli;

/// The title of a page is in so many bytes at its beginning.
const PAGE_BEGINNING: u64 = 1024;

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::other("cannot write", error, "check where the output goes")
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Problem> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "conclave", &mut bytes);
    std::io::stdout().write_all(&bytes).map_err(failed)
}

pub(super) fn man(out: Option<&Path>) -> Result<(), Problem> {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = out else {
        let mut bytes = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut bytes)
            .map_err(failed)?;
        return std::io::stdout().write_all(&bytes).map_err(failed);
    };
    if !is_folder(folder)? {
        Disk::new().create_folder(folder)?;
    }
    let mut pages = Vec::new();
    render(&command, "conclave", &mut pages)?;
    // All are judged before the first is written.
    for (name, _) in &pages {
        refuse_what_is_no_page(&folder.join(format!("{name}.1")), name)?;
    }
    for (name, page) in &pages {
        Disk::new().replace(&folder.join(format!("{name}.1")), page, PUBLIC)?;
    }
    Ok(())
}

/// The pages of a command and of all below it, with their names.
fn render(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Problem> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .map_err(failed)?;
    pages.push((name.to_owned(), page));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        render(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

/// Refuses to write a page over anything but the same page of this or another version.
fn refuse_what_is_no_page(path: &Path, name: &str) -> Result<(), Problem> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    let mut beginning = Vec::new();
    if metadata.is_file() {
        let file = std::fs::File::open(path);
        let read = file.and_then(|file| file.take(PAGE_BEGINNING).read_to_end(&mut beginning));
        let title = format!("\n.TH {name} 1");
        let text = String::from_utf8_lossy(&beginning).to_lowercase();
        if read.is_ok() && (format!("\n{text}")).contains(&title.to_lowercase()) {
            return Ok(());
        }
    }
    Err(Problem::folder_state(
        format!("cannot write {}", path.display()),
        "what is there is no page of this manual, and nothing else is ever overwritten",
        "name another folder with --out",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_only_written_over_the_same_page() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("man");
        man(Some(&folder)).unwrap();
        let page = folder.join("conclave-join.1");
        let bytes = std::fs::read(&page).unwrap();
        // Again, as after an update.
        man(Some(&folder)).unwrap();
        std::fs::remove_file(folder.join("conclave.1")).unwrap();
        for other in ["precious", "", "\n.TH sort 1\n"] {
            std::fs::write(&page, other).unwrap();
            let problem = man(Some(&folder)).unwrap_err();
            assert!(problem.what.contains("conclave-join.1"), "{problem:?}");
            assert_eq!(std::fs::read_to_string(&page).unwrap(), other);
            // Nothing was written at all.
            assert!(!folder.join("conclave.1").exists());
        }
        std::fs::write(&page, &bytes).unwrap();
        man(Some(&folder)).unwrap();
    }
}

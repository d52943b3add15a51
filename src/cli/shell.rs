//! `conclave completions` and `conclave man`.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use crate::ceremony::files::{Disk, PUBLIC};
use crate::ceremony::problem::Problem;

use super::args::Cli;

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
    if !folder.is_dir() {
        Disk::new().create_folder(folder)?;
    }
    pages(folder, &command, "conclave")
}

fn pages(folder: &Path, command: &clap::Command, name: &str) -> Result<(), Problem> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut bytes)
        .map_err(failed)?;
    Disk::new().replace(&folder.join(format!("{name}.1")), &bytes, PUBLIC)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        pages(folder, sub, &format!("{name}-{}", sub.get_name()))?;
    }
    Ok(())
}

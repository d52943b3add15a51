//! What a person types and sees: one file per command, prompts, live view, human and JSON output.
//!
//! | Exit code | Meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | anything else: the disk, the network |
//! | 2 | the command line was not understood |
//! | 3 | bad input |
//! | 4 | gave up waiting |
//! | 5 | the ceremony was aborted by a fault |
//! | 6 | a verification failed |
//! | 7 | the folder is in another state than needed |
//! | 8 | the lock cannot be validated with |
//! | 9 | the slashing protection database is missing |
//! | 10 | the beacon node or a file is of another network |
//! | 11 | a second copy of this folder runs |
//! | 12 | an execution client that was named could not be asked |
//! | 130 | interrupted |

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, FromArgMatches};

use conclave_ceremony::files::{Disk, is_there};
use conclave_ceremony::folder::{self, CEREMONY, DataFolder};
use conclave_ceremony::holding;
use conclave_ceremony::problem::{Kind, Problem};

pub mod args;
mod aside;
mod backup;
mod define;
mod dumps;
mod environment;
mod exit;
mod exit_news;
mod exit_parts;
mod flapping;
mod folded;
mod given;
mod identity;
pub mod input;
mod interrupts;
pub mod join;
mod keys;
mod line;
mod live;
mod log;
mod moving;
mod news;
pub mod output;
mod outputs;
mod pasted;
mod payee;
mod picture;
mod plan;
pub mod prompt;
mod reach;
mod records;
#[cfg(test)]
mod reference;
pub mod rehearse;
mod restored;
mod run;
pub mod screen;
mod shell;
pub mod sight;
mod slashing;
mod status;
pub mod summary;
pub mod verify;
mod wallets;
mod watcher;

use args::{Command, IdentityCommand, PlanCommand, SlashingCommand};
use output::Output;

/// What every command gets.
#[derive(Debug, Clone)]
pub struct Context {
    /// The data folder.
    pub data_dir: std::path::PathBuf,
    /// The way to the user.
    pub output: Output,
}

impl Context {
    /// A command for this folder, as a person types it where this one was typed.
    fn command(&self, words: &str) -> String {
        if self.data_dir == std::path::Path::new(".") {
            return format!("conclave {words}");
        }
        let folder = self.data_dir.display().to_string();
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        let folder = if folder.chars().all(is_plain) {
            folder
        } else {
            format!("'{}'", folder.replace('\'', "'\\''"))
        };
        format!("conclave --data-dir {} {words}", output::printable(&folder))
    }
}

/// Parses the command line, runs the command, reports what went wrong.
pub fn main() -> ExitCode {
    if let Err(problem) = environment::clean() {
        Output::new(given::wants_json()).problem(&problem);
        return ExitCode::from(problem.kind.exit_code());
    }
    // Before anything is read: whatever the command is, no secret of it ever gets into a file by a crash.
    let sealed = dumps::forbid();
    if let Err(problem) = given::refuse_secrets() {
        Output::new(given::wants_json()).problem(&problem);
        return ExitCode::from(problem.kind.exit_code());
    }
    let matches = match given::command().try_get_matches_from(given::arguments()) {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let mut cli = match args::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.json);
    if let Err(problem) = judge(&matches, &mut cli) {
        output.problem(&problem);
        return ExitCode::from(problem.kind.exit_code());
    }
    let context = Context {
        data_dir: cli.data_dir,
        output: output.clone(),
    };
    if let Err(error) = sealed {
        output.warn(&format!(
            "core dumps could not be switched off ({error}): if this program crashes, a file with your secrets may be left. \
             `ulimit -c 0` before the command switches them off"
        ));
    }
    let outcome = interrupts::watch(cli.json).and_then(|()| dispatch(&context, cli.command));
    interrupts::put_back();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output.problem(&problem);
            ExitCode::from(problem.kind.exit_code())
        }
    }
}

/// Whether a command is about the data folder, and may change what is in it.
fn works_in_folder(command: &Command) -> bool {
    match command {
        Command::Identity(_)
        | Command::Define(_)
        | Command::Join(_)
        | Command::Run(_)
        | Command::Exit(_)
        | Command::Backup(_)
        | Command::Export(_)
        | Command::Status(_)
        | Command::SlashingProtection(_) => true,
        Command::Plan(_)
        | Command::Import(_)
        | Command::Rehearse(_)
        | Command::Verify(_)
        | Command::Completions { .. }
        | Command::Man { .. } => false,
    }
}

/// Judges what was given, before anything is done with it.
fn judge(matches: &ArgMatches, cli: &mut args::Cli) -> Result<(), Problem> {
    for output in outputs::of(&cli.command) {
        outputs::refuse_ours(&cli.data_dir, output)?;
    }
    given::judge(matches)?;
    given::tidy(cli)
}

/// Refuses what cannot be the right folder before anything is written into it.
fn refuse_wrong_folder(root: &Path, command: &Command) -> Result<(), Problem> {
    let needs_lock = match command {
        Command::Identity(IdentityCommand::Show | IdentityCommand::Rename { .. })
        | Command::Join(_)
        | Command::Backup(_)
        | Command::Status(_) => false,
        Command::Run(_) | Command::Export(_) | Command::SlashingProtection(_) => true,
        // Parts are combined wherever they are.
        Command::Exit(args) if args.combine.is_empty() => true,
        _ => return Ok(()),
    };
    folder::require(root)?;
    if needs_lock && !is_there(&root.join(CEREMONY))? {
        holding::require_lock(root)?;
    }
    Ok(())
}

fn dispatch(context: &Context, command: Command) -> Result<(), Problem> {
    refuse_wrong_folder(&context.data_dir, &command)?;
    if works_in_folder(&command) {
        // Where that cannot be, the command itself says what it finds.
        let _ = DataFolder::end_leftovers(&Disk::new(), &context.data_dir);
    }
    match command {
        Command::Identity(IdentityCommand::New { name }) => identity::new(context, name),
        Command::Identity(IdentityCommand::Show) => identity::show(context),
        Command::Identity(IdentityCommand::Rename { name }) => identity::rename(context, &name),
        Command::Plan(PlanCommand::New(args)) => plan::new(context, *args),
        Command::Define(args) => define::run(context, &args),
        Command::Join(args) => join::run(context, &args),
        Command::Run(args) => run::run(context, &args),
        Command::Exit(args) => exit::run(context, &args),
        Command::Backup(args) => backup::backup(context, &args),
        Command::Export(args) => moving::export(context, &args),
        Command::Import(args) => moving::import(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::SlashingProtection(SlashingCommand::Import(args)) => slashing::import(context, &args),
        Command::SlashingProtection(SlashingCommand::Export(args)) => slashing::export(context, &args),
        Command::Rehearse(args) => rehearse::run(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { out } => shell::man(out.as_deref()),
    }
}

/// Help and version are no errors; anything else is a usage error, in clap's own words if it is not one of the usual ones.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let json = given::wants_json();
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.split(' ').next(),
        _ => None,
    };
    if let Some(problem) = given::usual_mistake(error) {
        Output::new(json).problem(&problem);
    } else if json {
        let text = error.to_string();
        let why = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        Output::new(true).problem(&Problem::new(
            Kind::Usage,
            "the command line was not understood",
            why,
            "see conclave --help",
        ));
    } else {
        let text = output::fitting(&console::Term::stderr(), &error.render().to_string());
        // Whoever reads it may be gone.
        let _ = write!(std::io::stderr().lock(), "{text}");
        if let Some(variable) = argument.and_then(given::variable_of) {
            Output::new(false).warn(&format!("that value is in the variable {variable}"));
        }
    }
    ExitCode::from(Kind::Usage.exit_code())
}

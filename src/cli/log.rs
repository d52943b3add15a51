//! The log of `run`: warnings on standard error, or everything worth knowing in a file.
//!
//! `CONCLAVE_LOG` chooses what is logged, as `tracing-subscriber` reads it: `debug`, or `warn,conclave_validator=debug`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tracing_subscriber::EnvFilter;

use conclave_ceremony::files::SECRET;
use conclave_ceremony::problem::Problem;

use super::aside::Aside;
use super::given::mistake;
use super::live::{Live, Log};
use super::outputs::{self, LOG_HEAD};

/// Chooses what is logged.
const VARIABLE: &str = "CONCLAVE_LOG";
/// What is logged on standard error unless [`VARIABLE`] says otherwise.
const TO_TERMINAL: &str = "error,conclave=warn";
/// What is logged in a file unless [`VARIABLE`] says otherwise.
const TO_FILE: &str = "warn,conclave=info";

/// Begins to log: into a file that is appended to (mode 0600 if it is new), or to standard error, above what stands there.
/// Nobody who has something to log waits for either.
///
/// # Errors
/// If the file cannot be written, or the environment variable cannot be understood.
pub(super) fn begin(file: Option<&Path>, live: Live, screen: &Aside) -> Result<(), Problem> {
    let chosen = std::env::var(VARIABLE).ok();
    if let Some(problem) = chosen
        .as_ref()
        .and_then(|chosen| mistake(VARIABLE, chosen.as_ref()))
    {
        return Err(problem);
    }
    let filter = filter(chosen.as_deref(), file.is_some())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    // Only a test has another one already.
    let _ = match file {
        Some(path) => {
            let file = open(path)?;
            let sorry = file.try_clone().ok();
            // A disk must not hold up the screen, nor the screen the disk.
            let disk = Aside::new("log", move |lost| {
                if let Some(mut file) = sorry.as_ref() {
                    let _ = writeln!(file, "{lost} lines were left out: the disk was too slow");
                }
            });
            let disk = disk
                .map_err(|error| Problem::other("cannot log", error, "stop other programs and try again"))?;
            builder.with_writer(disk.writer(file)).try_init()
        }
        None => builder.with_writer(screen.writer(Log(live))).try_init(),
    };
    Ok(())
}

fn open(path: &Path) -> Result<File, Problem> {
    outputs::refuse_what_is_no_log(path)?;
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(SECRET)
        .open(path);
    // Tells a disk that is full or read-only before anything depends on it.
    opened
        .and_then(|mut file| {
            let is_new = file.metadata()?.len() == 0;
            file.write_all(if is_new { LOG_HEAD.as_bytes() } else { b"\n" })?;
            Ok(file)
        })
        .map_err(|error| {
            Problem::bad_input(
                format!("cannot log into {}", path.display()),
                error,
                "name a file in a folder that you may write to with --log-file, or leave it out",
            )
        })
}

fn filter(chosen: Option<&str>, to_file: bool) -> Result<EnvFilter, Problem> {
    let default = if to_file { TO_FILE } else { TO_TERMINAL };
    let text = chosen.filter(|text| !text.trim().is_empty()).unwrap_or(default);
    EnvFilter::try_new(text).map_err(|error| {
        Problem::bad_input(
            format!("{VARIABLE} cannot be understood"),
            error,
            "write a level such as debug, or parts with levels such as warn,conclave_validator=debug",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_log_is_private_and_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        open(&path).unwrap().write_all(b"first\n").unwrap();
        open(&path).unwrap().write_all(b"second\n").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{LOG_HEAD}first\n\nsecond\n")
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(open(dir.path()).is_err());
        // Not a byte goes into what is something else.
        std::fs::write(&path, "precious").unwrap();
        assert!(open(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn what_is_logged_can_be_chosen() {
        assert_eq!(filter(None, true).unwrap().to_string(), "conclave=info,warn");
        assert_eq!(
            filter(Some(" "), false).unwrap().to_string(),
            "conclave=warn,error"
        );
        assert_eq!(filter(Some("debug"), true).unwrap().to_string(), "debug");
        let problem = filter(Some("conclave=loud"), true).unwrap_err();
        assert!(problem.what.contains("CONCLAVE_LOG"), "{problem:?}");
    }
}

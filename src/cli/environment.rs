//! Variables as they were meant: without the line ends that editors of other systems, files and blocks of YAML leave in them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use conclave_ceremony::problem::{Kind, Problem};

/// Starts this program anew, in the place of itself, if variables of ours have line ends that are no part of what they say. A process
/// cannot change its own environment safely, and every variable is to be read in the same way, wherever that is. For the first moment.
///
/// # Errors
/// Names the variables if the program cannot be started anew.
pub(super) fn clean() -> Result<(), Problem> {
    let dirty: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| name.as_bytes().starts_with(b"CONCLAVE_"))
        .filter_map(|(name, value)| Some((name, without_line_ends(&value)?)))
        .collect();
    if dirty.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = dirty
        .iter()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_else(|| "conclave".into());
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .arg0(called)
            .args(arguments)
            .envs(dirty)
            .exec(),
        Err(error) => error,
    };
    Err(Problem::new(
        Kind::Usage,
        format!("there is a line end in the value of {}", names.join(", ")),
        format!("it is no part of what is meant, and this program could not be started without it ({error})"),
        "write the value without it",
    ))
}

/// The value with plain line ends inside, and none at its end; `None` if it is so already.
fn without_line_ends(value: &OsStr) -> Option<OsString> {
    let mut clean = value.as_bytes().to_vec();
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    clean.truncate(clean.len() - clean.iter().rev().take_while(|byte| is_end(byte)).count());
    // Of several before a line feed only the last is seen here, and the others are when the program is started anew.
    while let Some(at) = clean.windows(2).position(|two| two == b"\r\n") {
        clean.remove(at);
    }
    (clean != value.as_bytes()).then(|| OsString::from_vec(clean))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_taken_from_the_end_and_made_plain_inside() {
        for (value, meant) in [
            ("a\r\n", "a"),
            ("a\n", "a"),
            ("a\r", "a"),
            ("a\n\r\n", "a"),
            ("\n", ""),
            ("a\r\nb\r\n", "a\nb"),
            ("a\r\r\nb", "a\nb"),
        ] {
            let clean = without_line_ends(value.as_ref());
            assert_eq!(clean.as_deref(), Some(meant.as_ref()), "{value:?}");
        }
        for value in ["", "a", "a\nb", " a ", "a\rb", "\na"] {
            assert_eq!(without_line_ends(value.as_ref()), None, "{value:?}");
        }
        let other = OsString::from_vec(vec![0xff, b'\r']);
        assert_eq!(without_line_ends(&other), Some(OsString::from_vec(vec![0xff])));
    }
}

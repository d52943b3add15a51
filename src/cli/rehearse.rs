//! `conclave rehearse`: hold a whole ceremony on this machine.

use crate::ceremony::problem::Problem;

use super::Context;
use super::args::RehearseArgs;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub fn run(_context: &Context, _args: &RehearseArgs) -> Result<(), Problem> {
    Err(Problem::other(
        "`conclave rehearse` is not part of this build",
        "it is still being written",
        "use a later version",
    ))
}

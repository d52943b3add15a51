//! `conclave join`: take part in a ceremony.

use crate::ceremony::problem::Problem;

use super::Context;
use super::args::JoinArgs;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub fn run(_context: &Context, _args: &JoinArgs) -> Result<(), Problem> {
    Err(Problem::other(
        "`conclave join` is not part of this build",
        "it is still being written",
        "use a later version",
    ))
}

//! `conclave verify`: check results.

use crate::ceremony::problem::Problem;

use super::Context;
use super::args::VerifyArgs;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub fn run(_context: &Context, _args: &VerifyArgs) -> Result<(), Problem> {
    Err(Problem::other(
        "`conclave verify` is not part of this build",
        "it is still being written",
        "use a later version",
    ))
}

//! The `conclave` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    conclave::cli::main()
}

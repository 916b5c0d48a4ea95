//! The tranship command: parses the command line and turns the outcome into an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tranship::cli::main()
}

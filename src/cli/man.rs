//! `tranship man`: the manual pages.

use std::path::PathBuf;

use super::exit::{CliError, Exit, failed};
use super::output;

/// Print the manual page, or write one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship man | man -l -
  tranship man --dir /usr/local/share/man/man1")]
pub struct Args {
    /// Write a page for each command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    let failed = failed("write the manual");
    match &args.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::command()).render(&mut page).map_err(&failed)?;
            output::print_bytes(&page)?;
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(&failed)?;
            clap_mangen::generate_to(super::command(), folder).map_err(&failed)?;
        }
    }
    Ok(Exit::Done)
}

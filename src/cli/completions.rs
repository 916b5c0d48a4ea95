//! `tranship completions`: what a shell needs to complete the command line.

use clap_complete::Shell;

use super::exit::{CliError, Exit};
use super::output;

/// Print shell completions
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship completions bash > /etc/bash_completion.d/tranship
  tranship completions zsh > ~/.zfunc/_tranship
  tranship completions fish > ~/.config/fish/completions/tranship.fish")]
pub struct Args {
    shell: Shell,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "tranship", &mut script);
    output::print_bytes(&script)?;
    Ok(Exit::Done)
}

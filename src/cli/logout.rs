//! `tranship logout`: forgets the login of a registry.

use std::path::PathBuf;

use serde::Serialize;

use super::args::{Global, Output};
use super::exit::{CliError, Exit};
use super::output;
use crate::oci::RegistryHost;
use crate::registry::auth::docker_config;
use crate::secret::Environment;

/// Log out of a registry
///
/// Removes the login from every auth file that tranship reads, and from the credential helpers that
/// these files name. Logins for single repositories are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tranship logout registry.example.com")]
pub struct Args {
    /// Registry: HOST or HOST:PORT
    #[arg(value_name = "HOST")]
    registry: RegistryHost,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    registry: &'a RegistryHost,
    /// The auth files that had a login, or named a helper that had one.
    removed_from: &'a [PathBuf],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let environment = Environment::of_process();
    let mut removed_from = Vec::new();
    for file in docker_config::auth_files(&environment) {
        let erased = docker_config::erase(&file, &args.registry, &environment).await;
        let failed = |error| CliError::Failed(format!("failed to remove the login: {error}"));
        if erased.map_err(failed)? {
            removed_from.push(file);
        }
    }
    let report = Report { registry: &args.registry, removed_from: &removed_from };
    match global.output {
        Output::Json => output::print_json(&report)?,
        Output::Text if global.quiet => {}
        Output::Text if removed_from.is_empty() => {
            output::print_text(&format!("there was no login for {}\n", args.registry))?;
        }
        Output::Text => {
            let files: Vec<_> =
                removed_from.iter().map(|file| file.display().to_string()).collect();
            let files = files.join(" and ");
            output::print_text(&format!(
                "logged out of {}, removed from {files}\n",
                args.registry
            ))?;
        }
    }
    Ok(Exit::Done)
}

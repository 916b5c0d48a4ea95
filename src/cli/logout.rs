//! `tranship logout`: forgets the login of a registry.

use std::path::PathBuf;

use serde::Serialize;

use super::args::Global;
use super::exit::{CliError, Exit, failed};
use super::output;
use super::skopeo::LogoutPlace;
use crate::oci::RegistryHost;
use crate::registry::auth::docker_config;

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
    #[command(flatten)]
    place: LogoutPlace,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    registry: &'a RegistryHost,
    /// The auth files that had a login, or named a helper that had one.
    removed_from: &'a [PathBuf],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let environment = args.place.environment();
    let mut removed_from = Vec::new();
    for place in docker_config::auth_files(&environment) {
        let erased = docker_config::erase(&place, &args.registry, &environment).await;
        if erased.map_err(failed("remove the login"))? {
            removed_from.push(place.path);
        }
    }
    let report = Report { registry: &args.registry, removed_from: &removed_from };
    output::print(global, &report, || match &removed_from[..] {
        _ if global.quiet => Ok(()),
        [] => output::print_line(format!("there was no login for {}", args.registry)),
        files => {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            let (host, files) = (&args.registry, files.join(" and "));
            output::print_line(format!("logged out of {host}, removed from {files}"))
        }
    })?;
    Ok(Exit::Done)
}

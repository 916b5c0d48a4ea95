//! `tranship check`: whether a registry does what its users need.

use std::str::FromStr;

use serde::Serialize;

use super::args::{Global, Reach};
use super::exit::{CliError, Exit};
use super::lines::Lines;
use super::skopeo::{Reaching, Retries, ThisRegistry};
use super::{output, signals};
use crate::check::{self, Outcome};
use crate::oci::{RegistryHost, RepositoryName};
use crate::registry::KnownBy;

/// Check what works at a registry
///
/// Tries in order what users need: the connection, the login, lists of repositories and tags, pulling,
/// and with --write also pushing and deleting. Says what is missing and how to get it, and which
/// product was recognised.
///
/// With --write, an empty image is pushed under a tag that nobody else has, and deleted again. If the
/// registry does not allow it to be deleted, no image is pushed. Webhooks may tell of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship check registry.example.com
  tranship check ghcr.io/acme/app
  tranship check --write gitlab.example.com:5050/acme/images/app")]
pub struct Args {
    /// HOST, or HOST/REPOSITORY to try more; the repository need not exist
    #[arg(value_name = "HOST[/REPOSITORY]")]
    registry: Wanted,
    /// Also push an empty image and delete it again
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    this_registry: ThisRegistry,
    #[command(flatten)]
    retries: Retries,
}

/// A registry, and perhaps a repository of it.
#[derive(Debug, Clone)]
struct Wanted {
    host: RegistryHost,
    repository: Option<RepositoryName>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let host = host.parse::<RegistryHost>().map_err(|error| error.to_string())?;
        let repository = match path.strip_suffix('/').unwrap_or(path) {
            "" => None,
            path => Some(path.parse::<RepositoryName>().map_err(|error| error.to_string())?),
        };
        Ok(Self { host, repository })
    }
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Document<'a> {
    registry: &'a RegistryHost,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<&'a RepositoryName>,
    #[serde(flatten)]
    report: &'a check::Report,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let Wanted { host, repository } = args.registry;
    if args.write && repository.is_none() {
        let message = format!("--write needs a repository to push to: {host}/REPOSITORY");
        return Err(CliError::Usage(message));
    }
    let reaching = Reaching { global, reach: &args.reach, retries: &args.retries };
    let report = signals::unless_stopped(async {
        let registry = reaching.registry(args.this_registry, &host).await?.open(&host)?;
        Ok(check::check(&registry, repository.clone(), args.write).await)
    })
    .await?;
    let document = Document { registry: &host, repository: repository.as_ref(), report: &report };
    output::print(global, &document, || output::print_lines(&text(&host, &report)))?;
    Ok(if report.has_failed() { Exit::Failed } else { Exit::Done })
}

fn text(host: &RegistryHost, report: &check::Report) -> Lines {
    let mut lines = Lines::default();
    if let Some(product) = &report.product {
        let known_by = match product.known_by {
            KnownBy::Host => ", by the name of its host",
            KnownBy::Configuration => ", by the configuration",
            KnownBy::Answer => ", by its answers",
            KnownBy::Nothing => ": only what the distribution specification has is used",
        };
        let api = product.api.iter().map(|api| format!("; its API is at {api}"));
        let api = api.collect::<String>();
        lines.line(format!("{host}: product {}{known_by}{api}", product.name));
    }
    for step in &report.steps {
        let outcome = match step.outcome {
            Outcome::Works => "works",
            Outcome::Fails => "FAILS",
            Outcome::NotTried => "not tried",
        };
        let line = format!("{:<19}{outcome:<11}{}", step.name.as_str(), step.detail);
        lines.line(line.trim_end());
        if let Some(failure) = &step.failure {
            lines.line(format!("  {failure}"));
            failure.hint.iter().for_each(|hint| lines.line(format!("  hint: {hint}")));
        }
    }
    let assumed = report.product.iter().flat_map(|product| product.assumed);
    assumed.for_each(|what| lines.line(format!("assumed: {what}")));
    lines
}

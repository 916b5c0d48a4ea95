//! `tranship list-repos`: the repositories of a registry.

use std::str::FromStr;

use serde::Serialize;

use super::args::{Global, Reach};
use super::exit::{CliError, Exit};
use super::lines::Lines;
use super::skopeo::{Reaching, Retries, ThisRegistry};
use super::{output, signals};
use crate::fair::Flow;
use crate::oci::pattern::RepositoryPattern;
use crate::oci::{RegistryHost, RepositoryName};

/// List the repositories of a registry
///
/// Lists the repositories that the credentials can see: by the API of the product at GHCR, Docker Hub
/// and Harbor, else by the `_catalog` endpoint. GHCR and Docker Hub list those of one owner.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship list-repos registry.example.com
  tranship list-repos registry.example.com/acme           acme and everything below it
  tranship list-repos ghcr.io/acme                        the packages of one owner
  tranship list-repos 'registry.example.com/acme/*/app'")]
pub struct Args {
    /// HOST, HOST/PREFIX, or HOST/PATTERN with wildcards as in the source of a rule
    #[arg(value_name = "HOST[/PATTERN]")]
    registry: Wanted,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    this_registry: ThisRegistry,
    #[command(flatten)]
    retries: Retries,
}

/// A registry, and which of its repositories are wanted.
#[derive(Debug, Clone)]
struct Wanted {
    registry: RegistryHost,
    filter: Filter,
}

#[derive(Debug, Clone)]
enum Filter {
    All,
    Below(RepositoryName),
    Matching(RepositoryPattern),
}

impl Filter {
    /// What all that match are at or below.
    fn prefix(&self) -> &str {
        match self {
            Self::All => "",
            Self::Below(prefix) => prefix.as_str(),
            Self::Matching(pattern) => pattern.literal_prefix(),
        }
    }

    fn matches(&self, repository: &RepositoryName) -> bool {
        match self {
            Self::All => true,
            Self::Below(prefix) => repository
                .as_str()
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Matching(pattern) => pattern.matches(repository),
        }
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (host, rest) = text.split_once('/').unwrap_or((text, ""));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let registry = host.parse::<RegistryHost>().map_err(|error| error.to_string())?;
        let filter = if rest.is_empty() {
            Filter::All
        } else if RepositoryPattern::is_pattern(rest) {
            Filter::Matching(rest.parse().map_err(to_text)?)
        } else {
            Filter::Below(rest.parse().map_err(to_text)?)
        };
        Ok(Self { registry, filter })
    }
}

fn to_text(error: impl std::error::Error) -> String {
    error.to_string()
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    registry: &'a RegistryHost,
    repositories: &'a [RepositoryName],
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let reaching = Reaching { global, reach: &args.reach, retries: &args.retries };
    let Wanted { registry: host, filter } = args.registry;
    let below = [filter.prefix()];
    let mut repositories = signals::unless_stopped(async {
        let registry = reaching.registry(args.this_registry, &host).await?.open(&host)?;
        Ok(registry.repositories(&below, Flow::ALONE).await?)
    })
    .await?;
    repositories.retain(|repository| filter.matches(repository));
    repositories.sort_unstable();
    repositories.dedup();
    let report = Report { registry: &host, repositories: &repositories };
    output::print(global, &report, || {
        let mut lines = Lines::default();
        repositories.iter().for_each(|repository| lines.line(format!("{host}/{repository}")));
        output::print_lines(&lines)
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let cases = [
            ("r.io", "acme/app", true),
            ("r.io/", "acme/app", true),
            ("r.io/acme", "acme", true),
            ("r.io/acme", "acme/app", true),
            ("r.io/acme/", "acme/app", true),
            ("docker://r.io/acme", "acmex/app", false),
            ("r.io/acme/*", "acme/app", true),
            ("r.io/acme/*", "acme/app/x", false),
            ("r.io/**/app", "a/b/app", true),
        ];
        for (wanted, repository, expected) in cases {
            let filter = wanted.parse::<Wanted>().unwrap().filter;
            assert_eq!(filter.matches(&repository.parse().unwrap()), expected, "{wanted}");
        }
        for text in ["", "/acme", "r.io/Acme", "r.io//x", "-r.io", "r.io/a**"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}

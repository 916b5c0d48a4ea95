//! `tranship config`: the configuration written, checked, shown, and described.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::args::Global;
use super::exit::{CliError, Exit};
use super::lines::{Lines, tell_lines};
use super::{config_init, output, session};
use crate::config::{Config, ConfigError, Problem, Reading, RegistryConfig, SecretSource};
use crate::oci::RegistryHost;
use crate::registry::Certificates;
use crate::registry::auth::{CredentialStore, ExplicitCredential};
use crate::secret::Environment;
use crate::text::counted;

/// Write, check or show the configuration, or print its JSON schema
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship config init
  tranship config check
  tranship config show --config mirror.toml
  tranship config schema > tranship.schema.json")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(config_init::Args),
    /// Report all mistakes in the configuration
    ///
    /// Contacts no registry. Secrets in environment variables and files must exist; commands that
    /// print a secret are not run. Files of certificates and keys are read, in the certs.d folders
    /// of the registries too.
    #[command(after_help = "\
Examples:
  tranship config check --config mirror.toml
  tranship config check --no-secrets    # for pull requests in CI")]
    Check {
        /// Secrets and certificates need not be there
        ///
        /// The environment variables and files that hold secrets are not looked for. The files
        /// `ca_file`, `client_cert` and `client_key` may be missing; those that are there are checked.
        #[arg(long)]
        no_secrets: bool,
    },
    /// Print the configuration with all defaults, as TOML
    ///
    /// Paths are absolute. Of a secret, only its source is shown.
    #[command(after_help = "Example:\n  tranship config show --config mirror.toml")]
    Show,
    /// Print a JSON schema of the configuration file, for editors
    #[command(after_help = "Example:\n  tranship config schema > tranship.schema.json")]
    Schema,
}

/// The document that `config check --output json` prints.
#[derive(Serialize)]
struct Report {
    success: bool,
    file: PathBuf,
    rules: Vec<String>,
    registries: Vec<String>,
    problems: Vec<Problem>,
    /// What is probably not as it was meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Problem>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    match args.command {
        Command::Init(args) => config_init::run(global, args),
        Command::Check { no_secrets } => check(global, no_secrets).await,
        Command::Show => {
            output::print_bytes(session::required_config(global)?.show().as_bytes())?;
            Ok(Exit::Done)
        }
        Command::Schema => {
            output::print_json(&crate::config::json_schema())?;
            Ok(Exit::Done)
        }
    }
}

async fn check(global: &Global, no_secrets: bool) -> Result<Exit, CliError> {
    let file = session::config_path(global).to_owned();
    let reading = Reading { without_secrets: no_secrets, ..Reading::default() };
    let (report, told): (Report, Vec<String>) = match session::read_config(global, reading) {
        Ok(config) => {
            let mut problems = unusable_certificates(&config);
            if !no_secrets {
                problems.extend(missing_secrets(&config).await);
            }
            let errors = problems.iter().map(|p| format!("error: {}", p.message));
            let told = errors.chain(config.warnings.iter().map(ToString::to_string)).collect();
            let warnings = config.warnings.iter().flat_map(|it| it.problems()).cloned().collect();
            let sync = config.sync.iter().map(|rule| rule.name.clone());
            let rules = sync.chain(config.cleanup.iter().map(|rule| rule.name.clone())).collect();
            let registries = config.registries.keys().map(ToString::to_string).collect();
            let success = problems.is_empty();
            (Report { success, file, rules, registries, problems, warnings }, told)
        }
        Err(CliError::Config(error)) => {
            let warnings = error.warnings().map(ToString::to_string);
            let told = std::iter::once(error.to_string()).chain(warnings).collect();
            (failed(file, &error), told)
        }
        Err(error) => return Err(error),
    };
    output::print(global, &report, || print_report(&report, &told, global.quiet))?;
    Ok(if report.success { Exit::Done } else { Exit::Usage })
}

fn failed(file: PathBuf, error: &ConfigError) -> Report {
    let problems = error.problems().to_vec();
    let warnings = error.warnings().iter().flat_map(|it| it.problems()).cloned().collect();
    let (rules, registries) = Default::default();
    Report { success: false, file, rules, registries, problems, warnings }
}

/// Folders of certificates that no registry can be used with. Reading the configuration has checked
/// the files that it names.
fn unusable_certificates(config: &Config) -> Vec<Problem> {
    let (environment, default) = (Environment::of_process(), RegistryConfig::default());
    let problem = |host: RegistryHost| {
        let settings = config.registries.get(&host).unwrap_or(&default);
        let cause = Certificates::beside(&host, settings, &environment).err()?;
        let message = format!("the certificates for {host} cannot be used: {cause}");
        Some(Problem::without_place(message))
    };
    config.hosts().into_iter().filter_map(problem).collect()
}

/// Secrets that cannot be read. Reading the configuration only shows that they are there.
async fn missing_secrets(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (host, registry) in &config.registries {
        let (Some(username), Some(secret)) = (&registry.username, &registry.password) else {
            continue;
        };
        if matches!(secret, SecretSource::Command(_)) {
            continue;
        }
        let explicit = ExplicitCredential { username: username.clone(), secret: secret.clone() };
        let environment = Environment::of_process();
        let explicit = [(host.clone(), explicit)];
        let store = CredentialStore::new(explicit, environment, Arc::new(Instant::now));
        if let Err(error) = store.find(host, None).await {
            let message = format!("failed to get the password for {host}: {error}");
            problems.push(Problem::without_place(message));
        }
    }
    problems
}

fn print_report(report: &Report, told: &[String], quiet: bool) -> Result<(), CliError> {
    if !told.is_empty() {
        tell_lines(&Lines::of(&told.join("\n\n")));
    }
    if quiet || !report.success {
        return Ok(());
    }
    output::print_line(format!(
        "{}: {}, {}; {}",
        report.file.display(),
        counted(report.rules.len(), "rule", "rules"),
        counted(report.registries.len(), "registry", "registries"),
        match report.warnings.len() {
            0 => "no problems found".to_owned(),
            count => counted(count, "warning", "warnings"),
        },
    ))
}

//! Configuration, registries and state, opened as a command needs them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::args::{Global, Reach};
use super::ask::{Daemon, Found};
use super::exit::{CliError, Exit, failed};
use super::lines::tell_line;
use crate::config::{self, Config, Reading, RegistryConfig, did_you_mean};
use crate::fair::Pulses;
use crate::history::{Cause, History, RunId, RunStart};
use crate::http::RetryPolicy;
use crate::oci::RegistryHost;
use crate::registry::Registries;
use crate::removal::{Audit, audit};
use crate::run::{Engine, Resources, System};
use crate::secret::Environment;
use crate::state::{State, StateError};
use crate::transfer::Carrier;

/// Read when no other file is named.
const DEFAULT_CONFIG: &str = "tranship.toml";

/// The configuration file that is named, or the usual one.
pub fn config_path(global: &Global) -> &Path {
    global.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
}

/// The configuration of a command that works with all of it.
pub fn required_config(global: &Global) -> Result<Config, CliError> {
    let config = read_config(global, Reading::default())?;
    warn(&config);
    Ok(config)
}

/// The configuration of a command that works with rules. Secrets may be missing: [`keeper`] and
/// [`check_secrets`] say which of them are needed.
pub fn config_of_rules(global: &Global) -> Result<Config, CliError> {
    of_rules(global, None)
}

/// The same, valid also if these `[[cleanup]]` rules, or all if none is named, delete whatever their
/// `mode` is.
pub fn config_to_apply(global: &Global, rules: &[String]) -> Result<Config, CliError> {
    of_rules(global, Some(rules))
}

fn of_rules(global: &Global, applied: Option<&[String]>) -> Result<Config, CliError> {
    let config = read_config(global, Reading { applied, without_secrets: true })?;
    warn(&config);
    Ok(config)
}

/// # Errors
/// A secret or a certificate of a registry that these rules use is not there.
pub fn check_secrets(config: &Config, rules: &[&str]) -> Result<(), CliError> {
    config.missing_of(rules).map_or(Ok(()), |missing| Err(missing.into()))
}

/// What a command has that asks the daemon. Secrets may be missing here: the daemon has read them.
pub struct ToAsk {
    /// Where the daemon is.
    pub daemon: config::Daemon,
    /// The whole configuration, unless the file has mistakes.
    pub config: Option<Config>,
}

/// What a command needs that asks the daemon. Mistakes that do not hide where the daemon is are only
/// told of.
pub fn config_to_ask(global: &Global) -> Result<ToAsk, CliError> {
    let reading = Reading { without_secrets: true, ..Reading::default() };
    let mistakes = match read_config(global, reading) {
        Ok(config) => return Ok(ToAsk { daemon: config.daemon.clone(), config: Some(config) }),
        Err(CliError::Config(mistakes)) => mistakes,
        Err(error) => return Err(error),
    };
    let path = config_path(global);
    let Some(daemon) = config::daemon_despite_mistakes(path, &variable) else {
        return Err(CliError::DaemonUnknown(mistakes));
    };
    let named = global.config.as_ref().map(|path| format!(" --config {}", path.display()));
    tell_line(format!(
        "{} has mistakes, which `tranship config check{}` lists",
        path.display(),
        named.unwrap_or_default()
    ));
    Ok(ToAsk { daemon, config: None })
}

/// The error of a command that needs the rules of a file with mistakes, because there is no daemon for
/// the reason `why`.
pub fn rules_unknown(why: String) -> CliError {
    CliError::Hinted {
        exit: Exit::Usage,
        message: why,
        hint: "without the daemon, the rules are read from the configuration file: correct its mistakes first",
    }
}

/// The same for a command that tells the warnings itself.
pub fn read_config(global: &Global, reading: Reading<'_>) -> Result<Config, CliError> {
    Ok(config::load_as(checked_path(global)?, &variable, reading)?)
}

/// An environment variable.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Tells the warnings of a configuration.
pub fn warn(config: &Config) {
    if let Some(warnings) = &config.warnings {
        tracing::warn!("{}", warnings.in_one_line());
    }
}

fn checked_path(global: &Global) -> Result<&Path, CliError> {
    let path = config_path(global);
    if global.config.is_none() && !path.exists() {
        return Err(CliError::Usage(format!(
            "there is no {DEFAULT_CONFIG} here: name the configuration with --config FILE, or write one with `tranship config init`"
        )));
    }
    Ok(path)
}

/// The state that the configuration names. `beside_daemon`: what to do if the daemon uses it.
pub fn state(config: &Config, beside_daemon: &'static str) -> Result<State, CliError> {
    State::open(&config.daemon.state).map_err(|error| match error {
        StateError::InUse(_) => {
            CliError::Hinted { exit: Exit::Failed, message: error.to_string(), hint: beside_daemon }
        }
        error => error.into(),
    })
}

/// Who works with the state of a configuration.
pub enum Keeper<'a> {
    /// This process, with the configuration.
    This(&'a Config, State),
    /// The daemon of the same configuration, which has to be asked.
    Daemon(Daemon),
}

/// The state that the configuration names, or the daemon that uses it, for work with these rules.
///
/// # Errors
/// It cannot be used, and no daemon that uses it answers; or this process lacks a secret that the rules
/// need.
pub async fn keeper<'a>(config: &'a Config, rules: &[&str]) -> Result<Keeper<'a>, CliError> {
    match State::open(&config.daemon.state) {
        Ok(state) => {
            check_secrets(config, rules)?;
            Ok(Keeper::This(config, state))
        }
        // Its user may be another one, to whom alone the directory is open.
        Err(error) => match Daemon::find(&config.daemon).await {
            Ok(Found::Daemon(daemon)) => Ok(Keeper::Daemon(daemon)),
            Ok(Found::Nobody(why)) => {
                tracing::debug!("the daemon is not asked: {why}");
                Err(error.into())
            }
            Err(unanswered) if matches!(error, StateError::InUse(_)) => Err(unanswered),
            Err(_) => Err(error.into()),
        },
    }
}

/// The configuration's registry settings, for commands that work without one. Secrets may be missing:
/// a registry says so when it is opened.
pub fn optional_registries(
    global: &Global,
) -> Result<BTreeMap<RegistryHost, RegistryConfig>, CliError> {
    if global.config.is_none() && !Path::new(DEFAULT_CONFIG).exists() {
        return Ok(BTreeMap::new());
    }
    Ok(config_of_rules(global)?.registries)
}

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct Configured {
    pub hosts: BTreeMap<RegistryHost, RegistryConfig>,
    /// All others.
    pub default: RegistryConfig,
}

/// How registries are reached by a command that works without a configuration.
pub fn configured(global: &Global, reach: &Reach) -> Result<Configured, CliError> {
    let mut hosts = optional_registries(global)?;
    let mut default = RegistryConfig::default();
    for exposed in &reach.insecure {
        match &exposed.host {
            Some(host) => hosts.entry(host.clone()).or_default().insecure = exposed.mode,
            None => default.insecure = exposed.mode,
        }
    }
    Ok(Configured { hosts, default })
}

/// Registries with credentials from the configuration, docker's files and helpers, which tell of the
/// progress of flows.
pub fn watched_registries(
    configs: BTreeMap<RegistryHost, RegistryConfig>,
    default: RegistryConfig,
    pulses: Pulses,
) -> Arc<Registries> {
    let registries = Registries::new(configs, default, Environment::of_process(), jitter);
    Arc::new(registries.with_pulses(pulses))
}

/// What moves images.
pub fn carrier(state: State) -> Arc<Carrier> {
    Arc::new(Carrier::new(state, RetryPolicy::default(), jitter))
}

/// A configuration made ready to run its rules.
///
/// `deletes`: deletions are possible, and recorded in the audit.
pub fn engine(config: Config, carrier: Arc<Carrier>, deletes: bool) -> Result<Engine, CliError> {
    let audit = deletes.then(|| audit(&config)).transpose()?;
    let resources = Resources {
        carrier,
        audit,
        metrics: None,
        environment: Environment::of_process(),
        clock: Arc::new(System),
        random: jitter,
    };
    Ok(Engine::new(config, &resources))
}

/// The audit of deletions in the state directory.
pub fn audit(config: &Config) -> Result<Audit, CliError> {
    let folder = &config.daemon.state;
    Audit::open(folder, Timestamp::now()).map_err(|error| {
        let folder = audit::folder(folder);
        let folder = folder.display();
        CliError::Failed(format!("the audit of deletions in {folder} is not usable: {error}"))
    })
}

/// The history of runs in the state directory.
pub fn history(config: &Config) -> Result<History, CliError> {
    let opened = History::open(&config.daemon.state, config.daemon.history, Timestamp::now());
    opened.map_err(failed("open the history"))
}

/// The rules with these names, or all of them. `table`: what the configuration calls them.
///
/// # Errors
/// There are no rules, or none with one of the names.
pub fn choose<'a, R>(
    table: &str,
    all: &'a [R],
    name: impl Fn(&R) -> &String,
    names: &[String],
) -> Result<Vec<&'a R>, CliError> {
    if all.is_empty() {
        return Err(CliError::Usage(format!("the configuration has no [[{table}]] rule")));
    }
    let known: Vec<&str> = all.iter().map(|rule| name(rule).as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let meant = did_you_mean(unknown, &known);
        let known = known.join(", ");
        return Err(CliError::Usage(format!(
            "there is no [[{table}]] rule `{unknown}`{meant}: the rules are {known}"
        )));
    }
    Ok(all.iter().filter(|rule| names.is_empty() || names.contains(name(rule))).collect())
}

/// A run of a rule that this command begins.
pub fn begun(rule: &str) -> RunStart {
    let started = Timestamp::now();
    let id = RunId::new(started, fastrand::u32(..));
    RunStart { id, rule: rule.to_owned(), cause: Cause::Command, started }
}

/// A random number from 0 to 1.
pub fn jitter() -> f64 {
    fastrand::f64()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

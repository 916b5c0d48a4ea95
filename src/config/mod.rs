//! The configuration: one TOML file, read into validated types.
//!
//! Two stages: `raw` is what was typed, the types here are what was meant, with patterns built,
//! paths resolved and defaults filled in. What is wrong is reported all at once, with places; a
//! configuration with anything wrong is not used at all.

pub mod cleanup;
mod daemon;
mod events;
pub mod in_use;
mod layout_pattern;
mod notify;
mod one_or_many;
mod overlap;
pub mod policy;
mod problem;
mod raw;
mod raw_cleanup;
mod raw_in_use;
mod raw_notify;
mod raw_secret;
mod read_cleanup;
mod read_daemon;
mod read_events;
mod read_in_use;
mod read_notify;
mod read_registry;
mod read_rule;
mod read_source;
mod read_timing;
mod reader;
mod registry;
mod rule;
mod rule_kind;
mod shape;
mod show;
mod show_cleanup;
mod show_in_use;
mod snippet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

pub use cleanup::CleanupRule;
pub use daemon::Daemon;
pub use events::{EventFormat, EventSource};
pub use in_use::InUseSource;
pub use layout_pattern::LayoutPattern;
pub use notify::{
    AlertKind, NotifyFormat, Receiver, RulePattern, WebhookUrl, is_loopback, may_carry_secrets,
};
pub use problem::{ConfigError, Problem};
pub use registry::{Insecure, RegistryConfig, SecretSource};
pub use rule::{
    ForeignLayers, IndexMode, OnConflict, SourcePattern, SourceRepositories, SyncRule, Target,
};
pub use rule_kind::RuleKind;

use serde_spanned::Spanned;

use crate::oci::RegistryHost;
use problem::Problems;
use raw::RawConfig;
use reader::Reader;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A configuration with nothing wrong in it, as far as that shows without a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub daemon: Daemon,
    pub registries: BTreeMap<RegistryHost, RegistryConfig>,
    /// Senders of push notifications, by name.
    pub events: BTreeMap<String, EventSource>,
    /// Who is told what people should know of.
    pub notify: Vec<Receiver>,
    /// Where to learn what is in use, by name.
    pub in_use: BTreeMap<String, InUseSource>,
    /// In the order of the file; may be empty.
    pub sync: Vec<SyncRule>,
    /// In the order of the file; may be empty.
    pub cleanup: Vec<CleanupRule>,
}

/// A larger file is no configuration.
const MAX_SIZE: u64 = 16 << 20;

/// Reads and validates a configuration file.
///
/// # Errors
/// When the file cannot be read, and for everything that [`parse`] finds.
pub fn load(path: &Path, env: Environment<'_>) -> Result<Config, ConfigError> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SIZE + 1).read_to_string(&mut text))
        .map_err(|e| ConfigError::unreadable(path, &e))?;
    if read as u64 > MAX_SIZE {
        return Err(ConfigError::unreadable(path, &"it is larger than 16 MiB"));
    }
    parse(&text, path, env)
}

/// Validates the text of a configuration file. Relative paths in it start at the file's folder;
/// files and variables that it names must exist, but secrets are not read.
///
/// # Errors
/// Everything that is wrong, in the order of the text; but only the first thing if the text is
/// not TOML of the right shape.
pub fn parse(text: &str, file: &Path, env: Environment<'_>) -> Result<Config, ConfigError> {
    let folder = reader::folder_of(file).map_err(|e| ConfigError::unreadable(file, &e))?;
    let mut reader = Reader { text, folder, env, problems: Problems::default() };
    let config = match toml::from_str::<RawConfig>(text) {
        Ok(raw) => read(raw, &mut reader),
        Err(error) => {
            shape::report(&error, text, &mut reader.problems);
            None
        }
    };
    match (reader.problems.into_error(text, file), config) {
        (Some(error), _) => Err(error),
        (None, Some(config)) => Ok(config),
        (None, None) => Err(ConfigError::unreadable(file, &"it could not be understood")),
    }
}

/// The JSON schema of the configuration file, for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(RawConfig).to_value()
}

fn read(raw: RawConfig, reader: &mut Reader<'_>) -> Option<Config> {
    let daemon = read_daemon::daemon(raw.daemon, reader);
    let registries = read_registry::registries(raw.registry, reader);
    let listen = daemon.as_ref().map(|daemon| daemon.listen);
    let events = read_events::sources(raw.events, listen, reader);
    // Names of sources with mistakes too, so that a rule is not blamed for those.
    let in_use_names: Vec<_> = raw.in_use.keys().map(|name| name.get_ref().clone()).collect();
    let in_use = read_in_use::sources(raw.in_use, reader);
    let mut names = HashMap::new();
    let mut complete = true;
    let mut rules = Vec::new();
    for raw in raw.sync {
        note_name(&raw.name, &mut names, reader);
        match read_rule::rule(raw, reader) {
            Some(rule) => rules.push(rule),
            None => complete = false,
        }
    }
    let mut cleanup = Vec::new();
    for raw in raw.cleanup {
        note_name(&raw.name, &mut names, reader);
        match read_cleanup::rule(raw, &in_use_names, reader) {
            Some(rule) => cleanup.push(rule),
            None => complete = false,
        }
    }
    overlap::check(&rules, reader);
    let sync: Vec<_> = rules.into_iter().map(|placed| placed.rule).collect();
    let known: Vec<_> = names.keys().map(String::as_str).collect();
    let notify = read_notify::receivers(raw.notify, &known, reader);
    complete.then_some(Config {
        daemon: daemon?,
        registries: registries?,
        events: events?,
        notify: notify?,
        in_use: in_use?,
        sync,
        cleanup,
    })
}

/// Reports a name that another rule has; `names` are those of the rules before, with their lines.
fn note_name(name: &Spanned<String>, names: &mut HashMap<String, usize>, reader: &mut Reader<'_>) {
    let (text, span) = (name.get_ref(), name.span());
    if let Some(first) = names.get(text) {
        let message = format!("duplicate rule name `{text}`: line {first} has it already");
        reader.report(span, message);
    } else {
        names.insert(text.clone(), reader.line(span.start));
    }
}

//! The configuration: a TOML file and those that it includes, read into validated types.
//!
//! Each table has a file with everything about it: its keys, which serde reads and schemars
//! describes; the checks that need more than one key, the environment or the disk; and how it is
//! shown. Where the keys do not make a good type as they stand, a `…Keys` struct is read and turned
//! into one. Everything that is wrong is reported at once, with line and column; a configuration
//! with anything wrong is not used at all.

mod changes;
mod checker;
pub mod cleanup;
mod daemon;
mod defaults;
mod despite_mistakes;
mod document;
mod events;
mod files;
mod habits;
mod hosts;
mod image_path;
pub mod in_use;
mod layout_pattern;
mod limits;
mod lint;
mod notify;
mod overlap;
mod parts;
mod patterns;
pub mod policy;
mod policy_covers;
mod policy_mark;
mod problem;
mod registry;
mod repositories;
mod rule_kind;
mod secret;
mod show;
mod snippet;
mod source;
mod sync;
mod syntax;
mod tags;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod timing;
mod variables;
mod wording;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

pub use changes::changes;
pub use cleanup::{CleanupRule, former_policy};
pub use daemon::Daemon;
pub use despite_mistakes::daemon_despite_mistakes;
pub use events::{EventFormat, EventSource};
pub use files::{Places, places};
pub use in_use::InUseSource;
pub use layout_pattern::LayoutPattern;
pub use notify::{AlertKind, NotifyFormat, Receiver, RulePattern, WebhookUrl, may_carry_secrets};
pub use problem::{ConfigError, ConfigWarnings, Problem};
pub use registry::{Insecure, Product, RegistryConfig};
pub use rule_kind::RuleKind;
pub use secret::SecretSource;
pub use show::quoted;
pub use source::{SourcePattern, SourceRepositories, Target};
pub use sync::{ForeignLayers, IndexMode, OnConflict, SyncRule};
pub use wording::did_you_mean;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde::Deserialize;
use serde_spanned::Spanned;

use crate::oci::RegistryHost;
use checker::Checker;
use cleanup::CleanupKeys;
use defaults::DefaultsKeys;
use document::{Document, Node};
use files::Source;
use in_use::InUseKeys;
use sync::SyncKeys;
use syntax::Mistake;

/// Configuration of tranship.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tranship.toml")]
struct ConfigKeys {
    /// The daemon: its address and its state.
    #[serde(default)]
    daemon: Daemon,
    /// Further files, relative to this one; the last part of a path may have wildcards. They may have
    /// rules, registries, events, webhooks and lists of images in use.
    #[serde(default)]
    #[expect(dead_code, reason = "the files are read before")]
    include: Vec<String>,
    /// Keys that all rules have unless they say otherwise.
    #[serde(default)]
    #[expect(dead_code, reason = "the rules have them before")]
    defaults: DefaultsKeys,
    /// Registries, by `host` or `host:port`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RegistryConfig>")]
    registry: BTreeMap<Spanned<String>, RegistryConfig>,
    /// Senders of push events, by the name in their address: `/api/v1/events/NAME`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, EventSource>")]
    events: BTreeMap<Spanned<String>, EventSource>,
    /// Webhooks that are called when a rule fails or recovers.
    #[serde(default)]
    notify: Vec<Receiver>,
    /// Lists of images that are in use, by the name that cleanup rules use.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, InUseKeys>")]
    in_use: BTreeMap<Spanned<String>, InUseKeys>,
    /// Sync rules: what to copy, where to, and when.
    #[serde(default)]
    sync: Vec<SyncKeys>,
    /// Cleanup rules: what to delete in which repositories, and when.
    #[serde(default)]
    cleanup: Vec<CleanupKeys>,
}

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A valid configuration, as far as that can be checked without a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub daemon: Daemon,
    pub registries: BTreeMap<RegistryHost, RegistryConfig>,
    /// Senders of push notifications, by name.
    pub events: BTreeMap<String, EventSource>,
    /// Receivers of notifications.
    pub notify: Vec<Receiver>,
    /// Lists of images in use, by name.
    pub in_use: BTreeMap<String, InUseSource>,
    /// In the order of the file; may be empty.
    pub sync: Vec<SyncRule>,
    /// In the order of the file; may be empty.
    pub cleanup: Vec<CleanupRule>,
    /// What is valid and probably not what was meant.
    pub warnings: Option<ConfigWarnings>,
}

/// How a configuration is validated.
#[derive(Clone, Copy, Default)]
pub struct Reading<'a> {
    /// The cleanup rules that will delete whatever their `mode` is; an empty list means all of them.
    pub applied: Option<&'a [String]>,
    /// Secrets, client certificates and authorities need not be there. What is there is checked; of
    /// registries, it is kept what is missing: see [`Config::missing_of`].
    pub without_secrets: bool,
}

/// Reads and validates a configuration file.
///
/// # Errors
/// When the file cannot be read, and for everything that [`parse`] finds.
pub fn load(path: &Path, env: Environment<'_>) -> Result<Config, ConfigError> {
    load_as(path, env, Reading::default())
}

/// The same in another way.
///
/// # Errors
/// As [`load`], and for what a rule that is applied must not cover.
pub fn load_as(
    path: &Path,
    env: Environment<'_>,
    reading: Reading<'_>,
) -> Result<Config, ConfigError> {
    parse_as(&files::read(path)?, path, env, reading)
}

/// Validates the text of a configuration file. Relative paths in it start at the file's folder;
/// files and variables that it names must exist, but secrets are not read.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn parse(text: &str, file: &Path, env: Environment<'_>) -> Result<Config, ConfigError> {
    parse_as(text, file, env, Reading::default())
}

/// The same in another way.
///
/// # Errors
/// As [`parse`].
pub fn parse_as(
    text: &str,
    file: &Path,
    env: Environment<'_>,
    reading: Reading<'_>,
) -> Result<Config, ConfigError> {
    let mut checker = Checker::new(file, env, reading)?;
    let sources = files::read_all(file, text, &mut checker);
    let config = files::merge(&sources, &mut checker).and_then(|mut tables| {
        let refused = variables::replace_all(&mut tables, &mut checker);
        defaults::apply(&mut tables, &mut checker);
        let mut document = Document::new(tables, refused);
        for source in &sources {
            leave_out(source, &mut document, &mut checker);
        }
        let keys: ConfigKeys = document.read(&mut checker)?;
        Some(keys.check(document.root(), &mut checker))
    });
    for source in &sources {
        for Mistake { span, message, hint, .. } in &source.mistakes {
            let span = span.start + source.start..span.end + source.start;
            checker.problems.push((span, message.clone(), hint.clone()));
        }
    }
    let warnings = ConfigError::of(checker.warnings, &checker.texts, file).map(ConfigWarnings);
    match (ConfigError::of(checker.problems, &checker.texts, file), config) {
        (Some(error), _) => Err(error.with_warnings(warnings)),
        (None, Some(config)) => Ok(Config { warnings, ..config }),
        (None, None) => Err(ConfigError::unreadable(file, &"it could not be understood")),
    }
}

/// Tells a document which keys were left out, because they are not TOML.
fn leave_out<'a>(source: &'a Source, document: &mut Document<'a>, checker: &mut Checker<'_>) {
    for Mistake { left_out, table, key, .. } in &source.mistakes {
        match key {
            Some(key) if !left_out.is_header => {
                let span = left_out.span.start + source.start..left_out.span.end + source.start;
                document.add_refused(table.map(|table| table + source.start), key, span);
            }
            _ => checker.is_whole = false,
        }
    }
}

/// The configuration of a test.
#[cfg(test)]
pub(crate) fn sample(text: &str) -> Config {
    let env = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
    parse(text, "/tranship.toml".as_ref(), &env).unwrap_or_else(|error| panic!("{error}"))
}

/// The sync rule `r` of a test, with further lines.
#[cfg(test)]
pub(crate) fn sample_rule(source: &str, target: &str, lines: &str) -> SyncRule {
    let text = format!("name = \"r\"\nsource = \"{source}\"\ntarget = \"{target}\"\n{lines}\n");
    sample(&format!("[[sync]]\n{text}")).sync.remove(0)
}

/// The JSON schema of the configuration file, for editors. Defaults are told in the descriptions.
pub fn json_schema() -> serde_json::Value {
    let without_defaults = RecursiveTransform(|schema: &mut schemars::Schema| {
        schema.remove("default");
    });
    let settings = SchemaSettings::default().with_transform(without_defaults);
    settings.into_generator().into_root_schema_for::<ConfigKeys>().to_value()
}

impl ConfigKeys {
    fn check(mut self, node: Node<'_>, checker: &mut Checker<'_>) -> Config {
        self.daemon.check(node.get("daemon"), checker);
        let registries = registry::check_all(self.registry, node.get("registry"), checker);
        let listen = self.daemon.listen;
        let events = events::check_all(self.events, listen, node.get("events"), checker);
        let in_use = in_use::check_all(self.in_use, node.get("in_use"), checker);
        // Rules and sources that cannot be read are there all the same.
        let sources: Vec<_> =
            node.get("in_use").entries().map(|(name, _)| &**name.get_ref()).collect();
        let names = check_names(node, checker);

        let sync = self.sync.into_iter().zip(node.get("sync").items());
        let sync = sync.filter_map(|(rule, node)| Some((rule.check(node, checker)?, node)));
        let (sync, nodes): (Vec<_>, Vec<_>) = sync.unzip();
        overlap::check(&sync, &nodes, checker);
        lint::check_sync(&sync, &nodes, checker);
        let cleanup = self.cleanup.into_iter().zip(node.get("cleanup").items());
        let cleanup = cleanup.map(|(rule, node)| rule.check(&sources, node, checker)).collect();
        for (receiver, node) in self.notify.iter_mut().zip(node.get("notify").items()) {
            receiver.check(&names, node, checker);
        }
        let config = Config {
            daemon: self.daemon,
            registries,
            events,
            notify: self.notify,
            in_use,
            sync,
            cleanup,
            warnings: None,
        };
        lint::check(&config, node, checker);
        config
    }
}

/// The names of all rules. Reports each that an earlier rule has.
fn check_names<'a>(node: Node<'a>, checker: &mut Checker<'_>) -> Vec<&'a str> {
    let mut lines = HashMap::new();
    for kind in ["sync", "cleanup"] {
        for name in node.get(kind).all_items().map(|rule| rule.get("name")) {
            let Some(text) = name.as_str() else { continue };
            let start = name.span().start;
            if let Some(first) = lines.get(text) {
                let line = checker.line(*first, start);
                let message = format!("duplicate rule name `{text}`: {line} has it already");
                checker.report(name.span(), message);
            } else {
                lines.insert(text, start);
            }
        }
    }
    lines.into_keys().collect()
}

impl Config {
    /// The whole configuration as TOML text: what it means, with all defaults.
    pub fn show(&self) -> String {
        let mut out = show::Writer::default();
        self.daemon.show(&mut out);
        self.registries.iter().for_each(|(host, registry)| registry.show(host, &mut out));
        self.events.iter().for_each(|(name, source)| source.show(name, &mut out));
        self.notify.iter().for_each(|receiver| receiver.show(&mut out));
        self.in_use.iter().for_each(|(name, source)| source.show(name, &mut out));
        self.sync.iter().for_each(|rule| rule.show(&mut out));
        self.cleanup.iter().for_each(|rule| rule.show(&mut out));
        out.into_text()
    }
}

//! The configuration: one TOML file, read into validated types.
//!
//! Two stages: `raw` is what was typed, the types here are what was meant, with patterns built,
//! paths resolved and defaults filled in. What is wrong is reported all at once, with places; a
//! configuration with anything wrong is not used at all.

mod one_or_many;
mod overlap;
mod problem;
mod raw;
mod raw_secret;
mod read_registry;
mod read_rule;
mod read_source;
mod read_timing;
mod reader;
mod registry;
mod rule;
mod shape;
mod show;
mod snippet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use problem::{ConfigError, Problem};
pub use registry::{Insecure, RegistryConfig, SecretSource};
pub use rule::{
    ForeignLayers, IndexMode, OnConflict, SourcePattern, SourceRepositories, SyncRule, Target,
};

use crate::oci::RegistryHost;
use problem::Problems;
use raw::{RawConfig, RawDaemon};
use reader::Reader;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A configuration with nothing wrong in it, as far as that shows without a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub daemon: Daemon,
    pub registries: BTreeMap<RegistryHost, RegistryConfig>,
    /// In the order of the file; may be empty.
    pub sync: Vec<SyncRule>,
}

/// What concerns the process as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Of metrics, health and API.
    pub listen: SocketAddr,
    /// The folder of the state, absolute.
    pub state: PathBuf,
}

/// Where the daemon listens unless told otherwise: on this machine only.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8642);

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
    let daemon = read_daemon(&raw.daemon, reader);
    let registries = read_registry::registries(raw.registry, reader);
    let mut names = HashMap::new();
    let mut complete = true;
    let mut rules = Vec::new();
    for raw in raw.sync {
        let (name, span) = (raw.name.get_ref().clone(), raw.name.span());
        if let Some(first) = names.get(&name) {
            let message = format!("duplicate rule name `{name}`: line {first} has it already");
            reader.report(span, message);
        } else {
            names.insert(name, reader.line(span.start));
        }
        match read_rule::rule(raw, reader) {
            Some(rule) => rules.push(rule),
            None => complete = false,
        }
    }
    overlap::check(&rules, reader);
    let sync = rules.into_iter().map(|placed| placed.rule).collect();
    complete.then_some(Config { daemon: daemon?, registries: registries?, sync })
}

fn read_daemon(raw: &RawDaemon, reader: &mut Reader<'_>) -> Option<Daemon> {
    let listen = match &raw.listen {
        None => Some(DEFAULT_LISTEN),
        Some(text) => match text.get_ref().parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let message = format!("`{}` is not an address with a port", text.get_ref());
                reader.report_with_hint(text.span(), message, "write it like 127.0.0.1:8642");
                None
            }
        },
    };
    let state = match &raw.state {
        Some(text) if text.get_ref().is_empty() => {
            reader.report(text.span(), "the folder of the state is empty");
            None
        }
        Some(text) => Some(reader.path(text.get_ref())),
        None => {
            let default = default_state(reader.env);
            if default.is_none() {
                let message = "no folder for the state: neither XDG_STATE_HOME nor HOME is set";
                reader.report_with_hint(0..0, message, "set `state` in [daemon]");
            }
            default
        }
    };
    Some(Daemon { listen: listen?, state: state? })
}

/// Relative paths in these variables count as unset, as the XDG specification has it.
fn default_state(env: Environment<'_>) -> Option<PathBuf> {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    base.map(|base| base.join("tranship"))
}

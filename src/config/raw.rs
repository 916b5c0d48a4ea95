//! The configuration as it was typed. The `read_*` modules make what was meant of it.
//!
//! The comments on the fields are the descriptions in the JSON schema (`config schema`).

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_spanned::Spanned;

use super::one_or_many::OneOrMany;
use super::raw_cleanup::RawCleanup;
use super::raw_in_use::RawInUse;
use super::raw_notify::RawNotify;
use super::raw_secret::RawSecret;

/// The configuration of tranship: registries, and rules that keep images in step between them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tranship.toml")]
pub struct RawConfig {
    /// Where the daemon listens and keeps its state.
    #[serde(default)]
    pub daemon: RawDaemon,
    /// Settings of registries, by `host` or `host:port`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawRegistry>")]
    pub registry: BTreeMap<Spanned<String>, RawRegistry>,
    /// Senders of push notifications, by the name in their address: `/api/v1/events/NAME`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawEvents>")]
    pub events: BTreeMap<Spanned<String>, RawEvents>,
    /// Webhooks that are told what people should know of.
    #[serde(default)]
    pub notify: Vec<RawNotify>,
    /// Where to learn what runs somewhere, by the name that `[[cleanup]]` rules call it.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawInUse>")]
    pub in_use: BTreeMap<Spanned<String>, RawInUse>,
    /// Rules: what to copy from where to where, and when.
    #[serde(default)]
    pub sync: Vec<RawSync>,
    /// Rules: what to delete in which repositories, and when.
    #[serde(default)]
    pub cleanup: Vec<RawCleanup>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Daemon")]
pub struct RawDaemon {
    /// Address and port of metrics, health and API. Default: `127.0.0.1:8642`.
    #[schemars(with = "Option<String>")]
    pub listen: Option<Spanned<String>>,
    /// Folder of the state. Default: `$XDG_STATE_HOME/tranship` or `~/.local/state/tranship`.
    #[schemars(with = "Option<String>")]
    pub state: Option<Spanned<String>>,
    /// What clients of the API must show as their bearer token. Without it the API only reads,
    /// and `listen` must be an address of this machine alone.
    #[schemars(with = "Option<RawSecret>")]
    pub token: Option<Spanned<RawSecret>>,
    /// How long images under way may go on when the daemon is told to stop. Default: 20s.
    #[schemars(with = "Option<String>")]
    pub grace: Option<Spanned<String>>,
    /// Most images under way at once, shared fairly between the rules. Default: 32.
    pub transfers: Option<NonZeroUsize>,
    /// After so long without anything moving, a run is reported as stalled. Default: 15m.
    #[schemars(with = "Option<String>")]
    pub stall_after: Option<Spanned<String>>,
    /// How much disk the history of runs may take; the oldest goes first. Default: `256MiB`.
    #[schemars(with = "Option<String>")]
    pub history: Option<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Registry")]
pub struct RawRegistry {
    /// Whom to log in as. Without it, docker's auth file and credential helpers are asked.
    #[schemars(with = "Option<String>")]
    pub username: Option<Spanned<String>>,
    /// Where the password or token comes from; never the password itself.
    #[schemars(with = "Option<RawSecret>")]
    pub password: Option<Spanned<RawSecret>>,
    /// Give up protection: `http` speaks plain HTTP, `no-verify` accepts any certificate.
    pub insecure: Option<RawInsecure>,
    /// PEM file of further certificate authorities to trust.
    #[schemars(with = "Option<String>")]
    pub ca_file: Option<Spanned<String>>,
    /// PEM file of the certificate to show to the registry; needs `client_key`.
    #[schemars(with = "Option<String>")]
    pub client_cert: Option<Spanned<String>>,
    /// PEM file of the key of `client_cert`.
    #[schemars(with = "Option<String>")]
    pub client_key: Option<Spanned<String>>,
    /// Most requests at a time. Default: found out while running.
    pub parallel: Option<NonZeroU32>,
    /// Most requests a second, such as `5` or `0.5`. Default: no limit but the registry's own.
    #[schemars(with = "Option<f64>")]
    pub requests_per_second: Option<Spanned<f64>>,
    /// How long to wait without a single byte moving before trying again. Default: 60s.
    #[schemars(with = "Option<String>")]
    pub idle_timeout: Option<Spanned<String>>,
    /// Further hosts that may receive these credentials when the registry names them as its
    /// token service.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub auth_realms: Vec<Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Insecure")]
pub enum RawInsecure {
    Http,
    NoVerify,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Events")]
pub struct RawEvents {
    /// The form of the messages, which is the product that sends them.
    pub format: RawEventFormat,
    /// The registry that the messages are about, as rules name it.
    #[schemars(with = "String")]
    pub registry: Spanned<String>,
    /// Where the secret comes from that the sender proves to know; never the secret itself.
    /// Without it, the daemon must listen on this machine only.
    #[schemars(with = "Option<RawSecret>")]
    pub secret: Option<Spanned<RawSecret>>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "EventFormat")]
pub enum RawEventFormat {
    Distribution,
    Harbor,
    DockerHub,
    Ghcr,
    Quay,
    Acr,
    Zot,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sync")]
pub struct RawSync {
    /// The rule's name in reports, logs and on the command line; unique.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// When the daemon runs the rule: minute, hour, day of month, month, weekday.
    #[schemars(with = "Option<String>")]
    pub schedule: Option<Spanned<String>>,
    /// Time zone of `schedule`, like `Europe/Berlin`. Default: UTC.
    #[schemars(with = "Option<String>")]
    pub timezone: Option<Spanned<String>>,
    /// Instead of `schedule`: the time from one run to the next, like `15m`.
    #[schemars(with = "Option<String>")]
    pub every: Option<Spanned<String>>,
    /// Whether the rule also runs when the daemon starts. Default: true with `every`, false with
    /// `schedule`.
    #[schemars(with = "Option<bool>")]
    pub run_at_start: Option<Spanned<bool>>,
    /// Each run begins later by a random time up to this, like `5m`. Default: `0s`.
    #[schemars(with = "Option<String>")]
    pub jitter: Option<Spanned<String>>,
    /// A repository, with `:tag` or `@digest` if need be, or a pattern of repositories.
    #[schemars(with = "String")]
    pub source: Spanned<String>,
    /// Where the images go: a registry and a path template, or a list of them.
    #[schemars(with = "OneOrMany")]
    pub target: Spanned<OneOrMany>,
    /// Which tags to copy. Default: all.
    #[schemars(with = "Option<RawTags>")]
    pub tags: Option<Spanned<RawTags>>,
    /// Platforms to copy, like `linux/arm64`. Default: all, indexes bit for bit.
    #[schemars(with = "Option<Vec<String>>")]
    pub platforms: Option<Spanned<Vec<Spanned<String>>>>,
    /// What becomes of an index when `platforms` leaves children out. Default: `rewrite`.
    pub index: Option<RawIndex>,
    /// Copy signatures, SBOMs and attestations along with their images. Default: true.
    pub referrers: Option<bool>,
    /// What to do when someone else changed the tag at the target. Default: `overwrite`.
    pub on_conflict: Option<RawConflict>,
    /// How long an unchanged image at the target is not looked at again. Default: `24h`.
    #[schemars(with = "Option<String>")]
    pub recheck: Option<Spanned<String>>,
    /// Layers that are kept on a foreign server, as of Windows images. Default: `skip`.
    pub foreign_layers: Option<RawForeignLayers>,
    /// Tags that never change: once copied, they are not asked about again.
    #[schemars(with = "Option<Vec<String>>")]
    pub immutable: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tags")]
pub struct RawTags {
    /// Tags, globs or `/regular expressions/` to copy. Default: all tags.
    #[schemars(with = "Option<Vec<String>>")]
    pub include: Option<Spanned<Vec<Spanned<String>>>>,
    /// Tags, globs or `/regular expressions/` to leave out; they win over everything else.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub exclude: Vec<Spanned<String>>,
    /// Of the tags matched by patterns, keep the versions in this range, like `>=1.2, <3`.
    #[schemars(with = "Option<String>")]
    pub semver: Option<Spanned<String>>,
    /// Of the tags matched by patterns, keep this many of the highest versions.
    #[schemars(with = "Option<NonZeroUsize>")]
    pub latest: Option<Spanned<NonZeroUsize>>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Index")]
pub enum RawIndex {
    Rewrite,
    Sparse,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Conflict")]
pub enum RawConflict {
    Overwrite,
    Keep,
    Fail,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ForeignLayers")]
pub enum RawForeignLayers {
    Skip,
    Copy,
}

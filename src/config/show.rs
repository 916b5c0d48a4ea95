//! The configuration as it was meant, written as TOML (`config show`): defaults filled in, paths
//! absolute, secrets only by their source. Reading it again gives the same configuration, but for
//! the paths of webhooks, which may be secrets.

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::Duration;

use super::events::EventSource;
use super::notify::{NotifyFormat, Receiver, WebhookUrl};
use super::registry::{Insecure, RegistryConfig, SecretSource};
use super::rule::{
    ForeignLayers, IndexMode, OnConflict, SourcePattern, SourceRepositories, SyncRule, Target,
};
use super::{Config, Daemon, show_cleanup, show_in_use};
use crate::oci::RegistryHost;
use crate::oci::selection::{TagPatterns, TagSelection};
use crate::schedule::{Timing, Trigger};

impl Config {
    /// The whole configuration as TOML text.
    pub fn show(&self) -> String {
        let mut out = Writer::default();
        let Daemon { listen, state, token, grace, transfers, stall_after, history } = &self.daemon;
        out.header("[daemon]");
        out.key("listen", quoted(listen));
        out.key("state", path(state));
        out.optional("token", token.as_ref().map(secret));
        out.key("grace", duration(*grace));
        out.key("transfers", transfers);
        out.key("stall_after", duration(*stall_after));
        out.key("history", size(*history));
        for (host, registry) in &self.registries {
            show_registry(host, registry, &mut out);
        }
        for (name, source) in &self.events {
            show_events(name, source, &mut out);
        }
        for receiver in &self.notify {
            show_notify(receiver, &mut out);
        }
        for (name, source) in &self.in_use {
            show_in_use::show(name, source, &mut out);
        }
        for rule in &self.sync {
            show_rule(rule, &mut out);
        }
        for rule in &self.cleanup {
            show_cleanup::show(rule, &mut out);
        }
        out.0
    }
}

/// TOML in the making.
#[derive(Default)]
pub struct Writer(String);

impl Writer {
    pub fn header(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(header);
        self.0.push('\n');
    }

    pub fn key(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    pub fn optional(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }
}

fn show_registry(host: &RegistryHost, registry: &RegistryConfig, out: &mut Writer) {
    out.header(&format!("[registry.{}]", quoted(host)));
    out.optional("username", registry.username.as_ref().map(quoted));
    out.optional("password", registry.password.as_ref().map(secret));
    out.optional(
        "insecure",
        match registry.insecure {
            Insecure::No => None,
            Insecure::Http => Some(quoted("http")),
            Insecure::NoVerify => Some(quoted("no-verify")),
        },
    );
    out.optional("ca_file", registry.ca_file.as_deref().map(path));
    out.optional("client_cert", registry.client_cert.as_deref().map(path));
    out.optional("client_key", registry.client_key.as_deref().map(path));
    out.optional("parallel", registry.parallel);
    out.optional("requests_per_second", registry.requests_per_second.map(|n| format!("{n:?}")));
    out.optional("idle_timeout", registry.idle_timeout.map(duration));
    out.key("auth_realms", list(&registry.auth_realms));
}

fn show_events(name: &str, source: &EventSource, out: &mut Writer) {
    out.header(&format!("[events.{name}]"));
    out.key("format", quoted(source.format.as_str()));
    out.key("registry", quoted(&source.registry));
    out.optional("secret", source.secret.as_ref().map(secret));
}

fn show_notify(receiver: &Receiver, out: &mut Writer) {
    out.header("[[notify]]");
    out.key(
        "url",
        match &receiver.url {
            WebhookUrl::Literal(url) if url.path() == "/" => quoted(url),
            WebhookUrl::Literal(url) => quoted(format!("{}/…", url.origin().ascii_serialization())),
            WebhookUrl::Secret(source) => secret(source),
        },
    );
    out.key(
        "format",
        quoted(match receiver.format {
            NotifyFormat::Json => "json",
            NotifyFormat::Slack => "slack",
        }),
    );
    out.key("on", list(receiver.on.iter().map(|kind| kind.as_str())));
    out.optional("rules", receiver.rules.as_ref().map(|rules| list(rules.iter())));
    if !receiver.headers.is_empty() {
        let headers: Vec<_> = receiver
            .headers
            .iter()
            .map(|(name, source)| format!("{} = {}", quoted(name), secret(source)))
            .collect();
        out.key("headers", format!("{{ {} }}", headers.join(", ")));
    }
}

/// In the largest unit that loses nothing.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fitting = units.iter().find(|(_, shift)| bytes.trailing_zeros() >= *shift);
    quoted(match fitting {
        Some((unit, shift)) if bytes > 0 => format!("{}{unit}", bytes >> shift),
        _ => format!("{bytes}B"),
    })
}

fn show_rule(rule: &SyncRule, out: &mut Writer) {
    out.header("[[sync]]");
    out.key("name", quoted(&rule.name));
    if let Some(timing) = &rule.timing {
        show_timing(timing, out);
    }
    out.key("source", quoted(&rule.source));
    out.key("target", list(&rule.targets));
    if !matches!(rule.source.repositories, SourceRepositories::Pinned { .. }) {
        out.optional("tags", tags(&rule.tags));
    }
    out.optional("platforms", (!rule.platforms.is_empty()).then(|| list(&rule.platforms)));
    out.key(
        "index",
        quoted(match rule.index {
            IndexMode::Rewrite => "rewrite",
            IndexMode::Sparse => "sparse",
        }),
    );
    out.key("referrers", rule.referrers);
    out.key(
        "on_conflict",
        quoted(match rule.on_conflict {
            OnConflict::Overwrite => "overwrite",
            OnConflict::Keep => "keep",
            OnConflict::Fail => "fail",
        }),
    );
    out.key("recheck", duration(rule.recheck));
    out.key(
        "foreign_layers",
        quoted(match rule.foreign_layers {
            ForeignLayers::Skip => "skip",
            ForeignLayers::Copy => "copy",
        }),
    );
    out.optional("immutable", rule.immutable.as_ref().map(patterns));
}

pub fn show_timing(timing: &Timing, out: &mut Writer) {
    match &timing.trigger {
        Trigger::Every(interval) => out.key("every", duration(*interval)),
        Trigger::Cron { schedule, timezone } => {
            out.key("schedule", quoted(schedule));
            out.optional("timezone", timezone.iana_name().map(quoted));
        }
    }
    out.key("run_at_start", timing.run_at_start);
    out.key("jitter", duration(timing.jitter));
}

impl Display for SourcePattern {
    /// As it stands in a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = &self.registry;
        match &self.repositories {
            SourceRepositories::One(repository) => write!(f, "{registry}/{repository}"),
            SourceRepositories::Matching(pattern) => write!(f, "{registry}/{pattern}"),
            SourceRepositories::Pinned { repository, tag: None, digest } => {
                write!(f, "{registry}/{repository}@{digest}")
            }
            SourceRepositories::Pinned { repository, tag: Some(tag), digest } => {
                write!(f, "{registry}/{repository}:{tag}@{digest}")
            }
        }
    }
}

impl Display for Target {
    /// As it stands in a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.template)
    }
}

/// `None` when all tags are meant, which is written by leaving the key out.
fn tags(tags: &TagSelection) -> Option<String> {
    let include = tags.include.as_ref().map(|list| format!("include = {}", patterns(list)));
    let excludes = !tags.exclude.entries().is_empty();
    let exclude = excludes.then(|| format!("exclude = {}", patterns(&tags.exclude)));
    let semver = tags.semver.as_ref().map(|range| format!("semver = {}", quoted(range)));
    let latest = tags.latest.map(|n| format!("latest = {n}"));
    let parts: Vec<_> = [include, exclude, semver, latest].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{{ {} }}", parts.join(", ")))
}

pub fn patterns(patterns: &TagPatterns) -> String {
    list(patterns.entries())
}

fn secret(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("{{ env = {} }}", quoted(name)),
        SecretSource::File(file) => format!("{{ file = {} }}", path(file)),
        SecretSource::Command(command) => format!("{{ command = {} }}", list(command)),
    }
}

pub fn duration(duration: Duration) -> String {
    quoted(humantime::format_duration(duration))
}

fn path(path: &Path) -> String {
    quoted(path.display())
}

pub fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string.
pub fn quoted(text: impl Display) -> String {
    let mut out = String::from("\"");
    for c in text.to_string().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

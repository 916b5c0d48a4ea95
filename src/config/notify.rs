//! `[[notify]]`: a receiver of notifications about rules and the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};
use http::HeaderName;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use url::{Host, Url};

use super::checker::Checker;
use super::document::Node;
use super::secret::{SecretKeys, SecretSource, text_or_secret};
use super::show::{Writer, inline_table, list, quoted, word};
use super::text;
use crate::text::display_as_serialized;

/// A `[[notify]]` entry: a webhook.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Notify")]
pub struct Receiver {
    /// Address of the webhook, or its source if it is a secret.
    #[serde(deserialize_with = "url")]
    #[schemars(with = "TextOrSecret")]
    pub url: WebhookUrl,
    /// Format of the message: `json` has all details, `slack` is a text. Default: `json`.
    #[serde(default)]
    pub format: NotifyFormat,
    /// Kinds of notification to send: `failure`, `recovery`, `safety`. Default: all.
    #[serde(default = "all_kinds", deserialize_with = "kinds")]
    pub on: BTreeSet<AlertKind>,
    /// Names or globs of rules. Default: all rules, and problems of the daemon itself.
    #[serde(default, deserialize_with = "patterns")]
    pub rules: Option<Vec<RulePattern>>,
    /// Additional request headers, with the sources of their values.
    #[serde(default, deserialize_with = "headers")]
    #[schemars(with = "BTreeMap<String, SecretKeys>")]
    pub headers: BTreeMap<String, SecretSource>,
}

/// Address of a webhook. Its path is often a secret, so only the host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookUrl {
    /// A literal address. Uses http only if no secret is sent.
    Literal(Url),
    Secret(SecretSource),
}

/// Format of the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyFormat {
    /// All details, as JSON: docs/notifications.md.
    #[default]
    Json,
    /// A text, as accepted by Slack and compatible chats.
    Slack,
}

/// Kind of a notification.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A rule, a reload or a run started to fail.
    Failure,
    /// It works again.
    Recovery,
    /// A safety limit prevented deletions.
    Safety,
}

impl AlertKind {
    pub const ALL: [Self; 3] = [Self::Failure, Self::Recovery, Self::Safety];
}

display_as_serialized!(AlertKind);

impl From<SecretSource> for WebhookUrl {
    fn from(source: SecretSource) -> Self {
        Self::Secret(source)
    }
}

/// The name of a rule, or a glob of names.
#[derive(Debug, Clone)]
pub struct RulePattern(GlobMatcher);

impl RulePattern {
    pub fn matches(&self, rule: &str) -> bool {
        self.0.glob().glob() == rule || self.0.is_match(rule)
    }
}

impl FromStr for RulePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let glob = Glob::new(text);
        let glob = glob.map_err(|error| format!("`{text}` is not a pattern: {}", error.kind()))?;
        Ok(Self(glob.compile_matcher()))
    }
}

impl fmt::Display for RulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.glob().fmt(f)
    }
}

impl PartialEq for RulePattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.glob() == other.0.glob()
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(url) => write!(f, "Literal({}…)", url.origin().ascii_serialization()),
            Self::Secret(source) => f.debug_tuple("Secret").field(source).finish(),
        }
    }
}

text::text_values!(RulePattern);

/// Hint for a literal address that may be a secret.
const AS_A_SECRET: &str = "it may be a secret: write { env = \"VARIABLE\" }, { file = \"PATH\" } or { command = [\"PROGRAM\"] }";

/// A literal address, or the source of a secret one.
fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WebhookUrl, D::Error> {
    let expected = "a string, or a table with `env`, `file` or `command`";
    text_or_secret(deserializer, expected, |text| literal(text).map(WebhookUrl::Literal))
}

/// What the schema says of `url`.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "nothing but its schema is used")]
enum TextOrSecret {
    Text(String),
    Secret(SecretKeys),
}

/// A literal address. Errors never quote it, because it may contain a secret.
fn literal(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some_and(|_| !url.cannot_be_a_base())
    });
    let Some(url) = url else {
        let message = "this is not the address of a webhook";
        return Err(text::hinted(message, "write it like https://alerts.example.com/tranship"));
    };
    let has_login = !url.username().is_empty() || url.password().is_some();
    if has_login || url.query().is_some() {
        let message =
            "an address with a login or a query is never written into the configuration itself";
        return Err(text::hinted(message, AS_A_SECRET));
    }
    Ok(url)
}

fn all_kinds() -> BTreeSet<AlertKind> {
    AlertKind::ALL.into()
}

fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<AlertKind>, D::Error> {
    let kinds = BTreeSet::deserialize(deserializer)?;
    if kinds.is_empty() {
        return Err(D::Error::custom("an empty list selects no notification"));
    }
    Ok(kinds)
}

fn patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<RulePattern>>, D::Error> {
    let patterns = Vec::deserialize(deserializer)?;
    if patterns.is_empty() {
        return Err(D::Error::custom("an empty list selects no rule: leave the key out for all"));
    }
    Ok(Some(patterns))
}

fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, SecretSource>, D::Error> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Name(String);
    impl<'de> Deserialize<'de> for Name {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            text::from_text(deserializer, |text| match text.parse::<HeaderName>() {
                Ok(name) => Ok(Self(name.to_string())),
                Err(_) => Err(format!("`{text}` is not the name of a header")),
            })
        }
    }
    let headers = BTreeMap::<Name, SecretSource>::deserialize(deserializer)?;
    Ok(headers.into_iter().map(|(name, value)| (name.0, value)).collect())
}

impl Receiver {
    /// `rules`: the names of all rules.
    pub(super) fn check(&mut self, rules: &[&str], node: Node<'_>, checker: &mut Checker<'_>) {
        let url = node.get("url");
        match &mut self.url {
            WebhookUrl::Secret(source) if url.is_usable() => source.check(url, checker),
            WebhookUrl::Secret(_) => {}
            WebhookUrl::Literal(_) if self.format == NotifyFormat::Slack => {
                let message = "the address of a chat's webhook is never written into the configuration itself";
                checker.report_with_hint(url.span(), message, AS_A_SECRET);
            }
            WebhookUrl::Literal(address) => {
                if node.has("headers") && !may_carry_secrets(address) {
                    let message =
                        "`headers` are secrets, and would go to another machine unencrypted";
                    checker.report(url.span(), message);
                }
            }
        }
        for (pattern, node) in self.rules.iter().flatten().zip(node.get("rules").items()) {
            if checker.is_whole && !rules.iter().any(|rule| pattern.matches(rule)) {
                checker.report(node.span(), format!("there is no rule `{pattern}`"));
            }
        }
        for (name, node) in node.get("headers").entries() {
            if let Some(source) = self.headers.get_mut(&name.get_ref().to_ascii_lowercase()) {
                source.check(node, checker);
            }
        }
    }

    pub(super) fn show(&self, out: &mut Writer) {
        out.header("[[notify]]");
        match &self.url {
            WebhookUrl::Literal(url) if url.path() == "/" => out.key("url", quoted(url)),
            WebhookUrl::Literal(url) => {
                out.key("url", quoted(format!("{}/…", url.origin().ascii_serialization())));
            }
            WebhookUrl::Secret(source) => out.key("url", source),
        }
        out.key("format", word(self.format));
        out.key("on", list(&self.on));
        out.optional("rules", self.rules.as_ref().map(list));
        if !self.headers.is_empty() {
            let headers = self.headers.iter();
            let headers = headers.map(|(name, source)| format!("{} = {source}", quoted(name)));
            out.key("headers", inline_table(headers));
        }
    }
}

/// Whether secrets may be sent to this address: it uses https, or is on this machine.
pub fn may_carry_secrets(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

/// Whether an address is on this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

//! Who is told when a rule fails, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;
use url::{Host, Url};

use super::SecretSource;

/// A `[[notify]]` entry: a webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Receiver {
    pub url: WebhookUrl,
    pub format: NotifyFormat,
    /// Never empty.
    pub on: BTreeSet<AlertKind>,
    /// `None`: every rule, and what concerns the daemon as a whole.
    pub rules: Option<Vec<RulePattern>>,
    /// Sent along, by their names in lower case.
    pub headers: BTreeMap<String, SecretSource>,
}

/// Where a notification goes. The path often is a secret: only the host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookUrl {
    /// As it was typed. Over http only if nothing secret goes along.
    Literal(Url),
    Secret(SecretSource),
}

/// What the body of the request looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NotifyFormat {
    /// Everything as JSON: docs/notifications.md.
    #[default]
    Json,
    /// One text, as Slack and those who understand its webhooks take it.
    Slack,
}

/// What somebody can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Something began to fail.
    Failure,
    /// It works again.
    Recovery,
    /// A safety limit kept something from being done.
    Safety,
}

impl AlertKind {
    pub const ALL: [Self; 3] = [Self::Failure, Self::Recovery, Self::Safety];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::Safety => "safety",
        }
    }
}

/// The name of a rule, or a glob of names.
#[derive(Clone)]
pub struct RulePattern {
    text: String,
    matcher: GlobMatcher,
}

impl RulePattern {
    pub fn matches(&self, rule: &str) -> bool {
        self.text == rule || self.matcher.is_match(rule)
    }
}

impl FromStr for RulePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let glob = GlobBuilder::new(text).build();
        let glob = glob.map_err(|error| format!("`{text}` is not a pattern: {}", error.kind()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

impl fmt::Display for RulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RulePattern({:?})", self.text)
    }
}

impl PartialEq for RulePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
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

/// Whether secrets may go to this address: encrypted, or to this machine itself.
pub fn may_carry_secrets(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

/// Whether an address is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

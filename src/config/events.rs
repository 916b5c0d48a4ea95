//! `[events.NAME]`: a sender of push notifications.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_spanned::Spanned;

use super::checker::Checker;
use super::document::Node;
use super::secret::SecretSource;
use super::show::{Writer, quoted};
use crate::oci::RegistryHost;

/// Who may tell of pushes, and of which registry. Its name is the last part of the address that
/// the messages go to: `POST /api/v1/events/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Events")]
pub struct EventSource {
    /// The form of the messages, which is the product that sends them.
    pub format: EventFormat,
    /// The registry that the messages are about, as rules name it. The messages have the
    /// registry's own idea of its host, which is often an internal one.
    pub registry: RegistryHost,
    /// Where the secret comes from that the sender proves to know; never the secret itself.
    /// Without it, everybody who reaches the address is believed, and the daemon must listen on
    /// this machine only.
    pub secret: Option<SecretSource>,
}

/// The form of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventFormat {
    /// docker-registry, GitLab's registry, and others built on them.
    Distribution,
    Harbor,
    DockerHub,
    /// GitHub's webhooks about packages.
    Ghcr,
    Quay,
    /// Azure Container Registry.
    Acr,
    Zot,
}

impl EventFormat {
    pub const ALL: [Self; 7] = [
        Self::Distribution,
        Self::Harbor,
        Self::DockerHub,
        Self::Ghcr,
        Self::Quay,
        Self::Acr,
        Self::Zot,
    ];

    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Distribution => "distribution",
            Self::Harbor => "harbor",
            Self::DockerHub => "docker-hub",
            Self::Ghcr => "ghcr",
            Self::Quay => "quay",
            Self::Acr => "acr",
            Self::Zot => "zot",
        }
    }

    /// Whether the sender can set no headers, so that the secret stands in the address it calls.
    pub fn has_token_in_address(self) -> bool {
        matches!(self, Self::DockerHub | Self::Quay)
    }
}

/// Checks all sources and gives them by name. `listen` is where the daemon takes their messages.
pub(super) fn check_all(
    sources: BTreeMap<Spanned<String>, EventSource>,
    listen: SocketAddr,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> BTreeMap<String, EventSource> {
    // The name stands in the address of a webhook, in logs and in metrics.
    checker.check_names_of_sources(node, "events", "it is a part of an address: ");
    let mut checked = BTreeMap::new();
    for (name, mut source) in sources {
        let node = node.get(name.get_ref());
        if let Some(secret) = &mut source.secret {
            secret.check(node.get("secret"), checker);
        }
        if !node.has("secret") && !listen.ip().is_loopback() {
            let name_text = name.get_ref();
            let message = format!(
                "other machines could reach {listen}, and the events `{name_text}` would be believed from anybody"
            );
            let hint = "set `secret` here, or `listen` on 127.0.0.1 in [daemon]";
            checker.report_with_hint(name.span(), message, hint);
        }
        checked.insert(name.into_inner(), source);
    }
    checked
}

impl EventSource {
    pub(super) fn show(&self, name: &str, out: &mut Writer) {
        out.header(&format!("[events.{name}]"));
        out.key("format", quoted(self.format.as_str()));
        out.key("registry", quoted(&self.registry));
        out.optional("secret", self.secret.as_ref());
    }
}

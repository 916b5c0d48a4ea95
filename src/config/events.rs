//! `[events.NAME]`: a sender of push notifications.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_spanned::Spanned;

use super::checker::Checker;
use super::document::Node;
use super::secret::{SecretKeys, SecretSource};
use super::show::{Writer, quoted, word};
use crate::oci::RegistryHost;

/// A sender of push events. Its name is the last part of the address for its messages:
/// `POST /api/v1/events/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Events")]
pub struct EventSource {
    /// Format of the events: the product that sends them.
    pub format: EventFormat,
    /// Registry that the events are about, written as in the source of the rules. It is not taken
    /// from the event, because registries often send an internal host name.
    pub registry: RegistryHost,
    /// Source of the secret that the sender must present. Without it, anyone who reaches the
    /// address could send events, so the daemon must listen on a loopback address.
    #[schemars(with = "Option<SecretKeys>")]
    pub secret: Option<SecretSource>,
}

/// Format of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

    /// Whether the sender cannot set headers, so that the secret is in the address that it calls.
    pub fn has_token_in_address(self) -> bool {
        matches!(self, Self::DockerHub | Self::Quay)
    }
}

/// Checks all senders and returns them by name. `listen` is the address of the daemon.
pub(super) fn check_all(
    sources: BTreeMap<Spanned<String>, EventSource>,
    listen: SocketAddr,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> BTreeMap<String, EventSource> {
    // The name is part of the address of a webhook, and is used in logs and in metrics.
    node.check_names("events", "it is a part of an address: ", checker);
    let mut checked = BTreeMap::new();
    for (name, mut source) in sources {
        let node = node.get(name.get_ref());
        if let Some(secret) = &mut source.secret {
            secret.check(node.get("secret"), checker);
        }
        if !node.has("secret") && !listen.ip().is_loopback() {
            let name_text = name.get_ref();
            let message = format!(
                "other machines could reach {listen}, and the events `{name_text}` would be accepted from any sender"
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
        out.key("format", word(self.format));
        out.key("registry", quoted(&self.registry));
        out.optional("secret", self.secret.as_ref());
    }
}

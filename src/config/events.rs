//! An `[events.NAME]` table: a sender of push notifications.

use super::registry::SecretSource;
use crate::oci::RegistryHost;

/// Who may tell of pushes, and of which registry. Its name is the last part of the address that
/// the messages go to: `POST /api/v1/events/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSource {
    pub format: EventFormat,
    /// The registry whose repositories the messages name, as rules name it: messages have the
    /// registry's own idea of its host, which is often an internal one.
    pub registry: RegistryHost,
    /// `None`: anyone who reaches the address is believed.
    pub secret: Option<SecretSource>,
}

/// The form of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

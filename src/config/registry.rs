//! `[registry."host"]`: the settings of one registry.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_spanned::Spanned;

use super::checker::Checker;
use super::document::Node;
use super::habits;
use super::problem::ConfigError;
use super::secret::{SecretKeys, SecretSource};
use super::show::{Writer, list, path, quoted, shown_duration, word};
use super::text;
use crate::oci::RegistryHost;
use crate::pem;
use crate::text::display_as_serialized;

/// How to connect to a registry, and with which credentials. The default suits a public registry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Registry")]
pub struct RegistryConfig {
    /// User name. Without it, docker's auth file and credential helpers are used.
    #[serde(deserialize_with = "username")]
    pub username: Option<String>,
    /// Source of the password or access token; never the password itself.
    #[schemars(with = "Option<SecretKeys>")]
    pub password: Option<SecretSource>,
    /// Connect without protection: `http` uses plain HTTP, `no-verify` accepts any certificate.
    pub insecure: Insecure,
    /// PEM file with additional certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate; requires `client_key`.
    pub client_cert: Option<PathBuf>,
    /// PEM file with the private key of `client_cert`.
    pub client_key: Option<PathBuf>,
    /// Maximum number of concurrent requests. Default: found automatically.
    pub parallel: Option<NonZeroU32>,
    /// Maximum request rate per second, such as `5` or `0.5`. Default: no limit.
    #[serde(deserialize_with = "rate")]
    pub requests_per_second: Option<f64>,
    /// A request is aborted and retried when no byte moves for this long. Default: 60s.
    #[serde(deserialize_with = "text::positive_duration")]
    #[schemars(with = "Option<String>")]
    pub idle_timeout: Option<Duration>,
    /// Additional token servers that may receive these credentials: hosts, with `http://` in front
    /// if the server has no TLS.
    #[serde(deserialize_with = "text::realms")]
    pub auth_realms: Vec<String>,
    /// Product that runs there. Default: found by the host and by what the registry says of itself.
    pub product: Option<Product>,
    /// Which of the secrets and certificates are not there, if they were allowed to be missing.
    #[serde(skip)]
    pub missing: Option<Arc<ConfigError>>,
}

/// Products that can run at any host, and that offer more than the specification has or differ from
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Product {
    /// GitLab, self-managed or not.
    Gitlab,
    /// Harbor.
    Harbor,
    /// Quay.
    Quay,
    /// zot.
    Zot,
    /// Any other: only what the specification has is used.
    Standard,
}

display_as_serialized!(Product);

/// Whether the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Insecure {
    /// TLS with verification: the default, for which the key is left out.
    #[default]
    #[serde(skip)]
    No,
    /// Plain HTTP.
    Http,
    /// TLS that accepts any certificate.
    NoVerify,
}

fn username<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text::from_text(deserializer, |text| match text {
        "" => Err("the username is empty".to_owned()),
        text => Ok(Some(text.to_owned())),
    })
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let rate = f64::deserialize(deserializer)?;
    if !rate.is_finite() || rate <= 0.0 {
        return Err(D::Error::custom("requests_per_second must be a number above 0"));
    }
    Ok(Some(rate))
}

/// Checks all registries and returns them by their normalised host.
pub(super) fn check_all(
    registries: BTreeMap<Spanned<String>, RegistryConfig>,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> BTreeMap<RegistryHost, RegistryConfig> {
    let mut registries: Vec<_> = registries.into_iter().collect();
    registries.sort_by_key(|(key, _)| key.span().start);
    let mut checked = BTreeMap::new();
    for (key, mut settings) in registries {
        settings.check(key.get_ref(), node.get(key.get_ref()), checker);
        let host = match key.get_ref().parse::<RegistryHost>() {
            Ok(host) => host,
            Err(error) => {
                let hint = habits::host(key.get_ref());
                checker.problems.push((key.span(), error.to_string(), hint));
                continue;
            }
        };
        if checked.contains_key(&host) {
            let message =
                format!("`{}` is the registry {host}, which is set already", key.get_ref());
            checker.report(key.span(), message);
        }
        checked.insert(host, settings);
    }
    checked
}

impl RegistryConfig {
    fn check(&mut self, host: &str, node: Node<'_>, checker: &mut Checker<'_>) {
        for pair in [["username", "password"], ["client_cert", "client_key"]] {
            for [given, missing] in [pair, [pair[1], pair[0]]] {
                if node.has(given) && !node.has(missing) {
                    let message = format!("`{given}` of {host} needs `{missing}` beside it");
                    checker.report(node.span_of(given), message);
                }
            }
        }
        let before = checker.missing.len();
        if let Some(password) = &mut self.password {
            password.check(node.get("password"), checker);
        }
        if let Some(file) = &mut self.ca_file {
            checker.content(file, node.span_of("ca_file"), pem::authorities);
        }
        let certificates = self
            .client_cert
            .as_mut()
            .and_then(|file| checker.content(file, node.span_of("client_cert"), pem::certificates));
        if let Some(file) = &mut self.client_key {
            checker.content(file, node.span_of("client_key"), |text| {
                let key = pem::key(text)?;
                certificates.map_or(Ok(()), |certificates| pem::check_pair(certificates, key))
            });
        }
        self.missing = checker.missing_since(before).map(Arc::new);
    }

    pub(super) fn show(&self, host: &RegistryHost, out: &mut Writer) {
        out.header(&format!("[registry.{}]", quoted(host)));
        out.optional("username", self.username.as_ref().map(quoted));
        out.optional("password", self.password.as_ref());
        out.optional("insecure", (self.insecure != Insecure::No).then(|| word(self.insecure)));
        out.optional("ca_file", self.ca_file.as_deref().map(path));
        out.optional("client_cert", self.client_cert.as_deref().map(path));
        out.optional("client_key", self.client_key.as_deref().map(path));
        out.optional("parallel", self.parallel);
        out.optional("requests_per_second", self.requests_per_second.map(|n| format!("{n:?}")));
        out.optional("idle_timeout", self.idle_timeout.map(shown_duration));
        out.key("auth_realms", list(&self.auth_realms));
        out.optional("product", self.product.map(quoted));
    }
}

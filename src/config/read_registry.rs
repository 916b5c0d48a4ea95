//! From `[registry."host"]` as typed to [`RegistryConfig`].

use std::collections::BTreeMap;
use std::ops::Range;

use serde_spanned::Spanned;

use std::time::Duration;

use super::raw::{RawInsecure, RawRegistry};
use super::raw_secret::{RawSecret, RawSecretSource};
use super::reader::Reader;
use super::registry::{Insecure, RegistryConfig, SecretSource};
use crate::oci::RegistryHost;

const HOW_TO_WRITE_A_SECRET: &str = "write where it comes from: { env = \"VARIABLE\" }, \
                                     { file = \"path\" } or { command = [\"program\", \"argument\"] }";

/// All registries by their normalised host, or `None` with the problems reported.
pub fn registries(
    raw: BTreeMap<Spanned<String>, RawRegistry>,
    reader: &mut Reader<'_>,
) -> Option<BTreeMap<RegistryHost, RegistryConfig>> {
    let mut raw: Vec<_> = raw.into_iter().collect();
    raw.sort_by_key(|(key, _)| key.span().start);
    let mut registries = BTreeMap::new();
    let mut complete = true;
    for (key, settings) in raw {
        let host = reader.parse::<RegistryHost>(&key);
        let settings = registry(&key, settings, reader);
        let (Some(host), Some(settings)) = (host, settings) else {
            complete = false;
            continue;
        };
        if registries.contains_key(&host) {
            let message =
                format!("`{}` is the registry {host}, which is set already", key.get_ref());
            reader.report(key.span(), message);
        }
        registries.insert(host, settings);
    }
    complete.then_some(registries)
}

fn registry(
    key: &Spanned<String>,
    raw: RawRegistry,
    reader: &mut Reader<'_>,
) -> Option<RegistryConfig> {
    let span = |text: &Option<Spanned<String>>| text.as_ref().map(Spanned::span);
    let password_span = raw.password.as_ref().map(Spanned::span);
    check_pair(key, [("username", span(&raw.username)), ("password", password_span)], reader);
    let client = [("client_cert", span(&raw.client_cert)), ("client_key", span(&raw.client_key))];
    check_pair(key, client, reader);
    let username = raw.username.map(|username| {
        if username.get_ref().is_empty() {
            reader.report(username.span(), "the username is empty");
        }
        username.into_inner()
    });
    let password = reader.optional(raw.password, secret);
    let ca_file = reader.optional(raw.ca_file, |path, reader| reader.file(&path));
    let client_cert = reader.optional(raw.client_cert, |path, reader| reader.file(&path));
    let client_key = reader.optional(raw.client_key, |path, reader| reader.file(&path));
    let requests_per_second = reader.optional(raw.requests_per_second, rate);
    let idle_timeout = reader.optional(raw.idle_timeout, idle);
    let auth_realms: Vec<_> = raw.auth_realms.iter().map(|host| realm(host, reader)).collect();
    Some(RegistryConfig {
        username,
        password: password?,
        insecure: match raw.insecure {
            None => Insecure::No,
            Some(RawInsecure::Http) => Insecure::Http,
            Some(RawInsecure::NoVerify) => Insecure::NoVerify,
        },
        ca_file: ca_file?,
        client_cert: client_cert?,
        client_key: client_key?,
        parallel: raw.parallel,
        requests_per_second: requests_per_second?,
        idle_timeout: idle_timeout?,
        auth_realms: auth_realms.into_iter().collect::<Option<_>>()?,
    })
}

/// Reports one of two keys that has no use without the other.
fn check_pair(
    host: &Spanned<String>,
    pair: [(&str, Option<Range<usize>>); 2],
    reader: &mut Reader<'_>,
) {
    if let [(given, Some(span)), (missing, None)] | [(missing, None), (given, Some(span))] = pair {
        let host = host.get_ref();
        reader.report(span, format!("`{given}` of {host} needs `{missing}` beside it"));
    }
}

fn rate(rate: Spanned<f64>, reader: &mut Reader<'_>) -> Option<f64> {
    let valid = rate.get_ref().is_finite() && *rate.get_ref() > 0.0;
    if !valid {
        reader.report(rate.span(), "requests_per_second must be a number above 0");
    }
    valid.then_some(rate.into_inner())
}

fn idle(text: Spanned<String>, reader: &mut Reader<'_>) -> Option<Duration> {
    let idle = reader.duration(&text)?;
    if idle.is_zero() {
        reader.report(text.span(), "idle_timeout must be longer than nothing");
    }
    (!idle.is_zero()).then_some(idle)
}

/// Not normalised like a registry: token services are no registries, and Docker Hub's other names
/// are different hosts to them. With a scheme it is what errors suggest to be written here.
fn realm(host: &Spanned<String>, reader: &mut Reader<'_>) -> Option<String> {
    let text = host.get_ref();
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if bare.is_some_and(|bare| bare.parse::<RegistryHost>().is_ok()) {
        return Some(text.to_ascii_lowercase());
    }
    match text.parse::<RegistryHost>() {
        Ok(_) => Some(text.to_ascii_lowercase()),
        Err(error) => {
            reader.report_with_hint(
                host.span(),
                error,
                "name the host only, like auth.example.com",
            );
            None
        }
    }
}

/// Where a secret comes from.
pub fn secret(raw: Spanned<RawSecret>, reader: &mut Reader<'_>) -> Option<SecretSource> {
    let span = raw.span();
    let RawSecret::Source(source) = raw.into_inner() else {
        let message = "a secret is never written into the configuration itself";
        reader.report_with_hint(span, message, HOW_TO_WRITE_A_SECRET);
        return None;
    };
    match source {
        RawSecretSource { env: Some(name), file: None, command: None } => variable(&name, reader),
        RawSecretSource { env: None, file: Some(path), command: None } => {
            reader.file(&path).map(SecretSource::File)
        }
        RawSecretSource { env: None, file: None, command: Some(command) } => {
            if command.get_ref().first().is_none_or(String::is_empty) {
                reader.report(command.span(), "the command names no program");
                return None;
            }
            Some(SecretSource::Command(command.into_inner()))
        }
        _ => {
            let message = "a secret has exactly one of `env`, `file` and `command`";
            reader.report_with_hint(span, message, HOW_TO_WRITE_A_SECRET);
            None
        }
    }
}

fn variable(name: &Spanned<String>, reader: &mut Reader<'_>) -> Option<SecretSource> {
    let state = match (reader.env)(name.get_ref()) {
        Some(value) if !value.is_empty() => {
            return Some(SecretSource::Env(name.get_ref().clone()));
        }
        Some(_) => "empty",
        None => "not set",
    };
    reader.report(name.span(), format!("the environment variable {} is {state}", name.get_ref()));
    None
}

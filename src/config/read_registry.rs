//! From `[registry."host"]` as typed to [`RegistryConfig`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_spanned::Spanned;

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
    let needed = |present: Option<std::ops::Range<usize>>, what: &str, other: &str| {
        let message = format!("`{what}` of {} needs `{other}` beside it", key.get_ref());
        present.map(|span| (span, message))
    };
    let span = |text: &Option<Spanned<String>>| text.as_ref().map(Spanned::span);
    let lonely = match (&raw.username, &raw.password) {
        (Some(username), None) => needed(Some(username.span()), "username", "password"),
        (None, Some(password)) => needed(Some(password.span()), "password", "username"),
        _ => None,
    };
    let lonely_file = match (&raw.client_cert, &raw.client_key) {
        (cert @ Some(_), None) => needed(span(cert), "client_cert", "client_key"),
        (None, key @ Some(_)) => needed(span(key), "client_key", "client_cert"),
        _ => None,
    };
    for (span, message) in lonely.into_iter().chain(lonely_file) {
        reader.report(span, message);
    }
    let username = raw.username.map(|username| {
        if username.get_ref().is_empty() {
            reader.report(username.span(), "the username is empty");
        }
        username.into_inner()
    });
    let password = raw.password.map(|password| secret(password, reader));
    let ca_file = raw.ca_file.map(|path| reader.file(&path));
    let client_cert = raw.client_cert.map(|path| reader.file(&path));
    let client_key = raw.client_key.map(|path| reader.file(&path));
    let requests_per_second = raw.requests_per_second.map(|rate| {
        let valid = rate.get_ref().is_finite() && *rate.get_ref() > 0.0;
        if !valid {
            reader.report(rate.span(), "requests_per_second must be a number above 0");
        }
        valid.then_some(rate.into_inner())
    });
    let idle_timeout = raw.idle_timeout.map(|text| {
        let idle = reader.duration(&text)?;
        if idle.is_zero() {
            reader.report(text.span(), "idle_timeout must be longer than nothing");
        }
        (!idle.is_zero()).then_some(idle)
    });
    let auth_realms: Vec<_> = raw.auth_realms.iter().map(|host| realm(host, reader)).collect();
    Some(RegistryConfig {
        username,
        password: flat(password)?,
        insecure: match raw.insecure {
            None => Insecure::No,
            Some(RawInsecure::Http) => Insecure::Http,
            Some(RawInsecure::NoVerify) => Insecure::NoVerify,
        },
        ca_file: flat(ca_file)?,
        client_cert: flat(client_cert)?,
        client_key: flat(client_key)?,
        parallel: raw.parallel,
        requests_per_second: flat(requests_per_second)?,
        idle_timeout: flat(idle_timeout)?,
        auth_realms: auth_realms.into_iter().collect::<Option<_>>()?,
    })
}

/// From "given, and perhaps wrong" to "right, and perhaps not given".
fn flat<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

/// Not normalised like a registry: token services are no registries, and Docker Hub's other names
/// are different hosts to them.
fn realm(host: &Spanned<String>, reader: &mut Reader<'_>) -> Option<String> {
    match host.get_ref().parse::<RegistryHost>() {
        Ok(_) => Some(host.get_ref().to_ascii_lowercase()),
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

fn secret(raw: Spanned<RawSecret>, reader: &mut Reader<'_>) -> Option<SecretSource> {
    let span = raw.span();
    let RawSecret::Source(source) = raw.into_inner() else {
        let message = "a password is never written into the configuration itself";
        reader.report_with_hint(span, message, HOW_TO_WRITE_A_SECRET);
        return None;
    };
    match source {
        RawSecretSource { env: Some(name), file: None, command: None } => variable(&name, reader),
        RawSecretSource { env: None, file: Some(path), command: None } => {
            reader.file(&path).map(|path: PathBuf| SecretSource::File(path))
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

//! Hosts of registries that are not written as such.

use crate::config::document::Node;
use crate::oci::RegistryHost;

/// `[registry.ghcr.io]` without quotes: TOML reads a table in a table.
pub fn unquoted_host(first: &str, second: &str, value: Node<'_>) -> Option<String> {
    let mut host = format!("{first}.{second}");
    let mut at = value;
    while let Some((key, inside)) = at.entries().next() {
        if !inside.is_table() {
            break;
        }
        host = format!("{host}.{}", key.get_ref());
        at = inside;
    }
    host.parse::<RegistryHost>().ok()?;
    Some(format!("put the host in quotes: `[registry.\"{host}\"]`"))
}

/// What is meant by a text that is not the host of a registry.
pub fn host(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let host = rest.split('/').next().unwrap_or_default();
    if host == text || host.parse::<RegistryHost>().is_err() {
        return None;
    }
    Some(match scheme {
        "http" => format!("write `[registry.\"{host}\"]`, and below it `insecure = \"http\"`"),
        _ => format!("write the host alone: `[registry.\"{host}\"]`"),
    })
}

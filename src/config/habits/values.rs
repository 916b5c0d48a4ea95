//! What is meant by a value that cannot be used.

use crate::config::document::Node;
use crate::config::show::{list, quoted};
use crate::config::text::Period;
use crate::oci::ImageReference;
use crate::oci::reference::ReferenceError;
use crate::schedule::Schedule;

/// What is meant by a value that cannot be used. `path` leads to it; `message` says why not.
pub fn value(path: &[&str], value: Node<'_>, message: &str) -> Option<String> {
    let (key, table) = path.split_last()?;
    if let Some(text) = value.as_str() {
        return match (*key, table) {
            ("schedule", _) => schedule(text),
            ("source" | "target" | "repositories" | "to", _)
                if text.contains('$') || text.contains("{{") =>
            {
                Some("an environment variable is written `${env:NAME}`".to_owned())
            }
            ("source" | "repositories", _) if names_only_a_host(text) => {
                let all = quoted(format!("{}/**", text.trim_end_matches('/')));
                Some(format!("for all repositories of the registry, write `{all}`"))
            }
            ("source" | "target", _) | ("registry", ["events", ..]) => {
                let (scheme, rest) = text.split_once("://")?;
                let rest = if *key == "registry" { rest.split('/').next()? } else { rest };
                matches!(scheme, "http" | "https")
                    .then(|| format!("write `{key} = {}`", quoted(rest)))
            }
            ("password" | "secret" | "token" | "url", _) => {
                let name = variable(text)?;
                Some(format!("write `{key} = {{ env = {} }}`", quoted(name)))
            }
            ("referrers" | "remove_extra" | "run_at_start" | "allow_empty", _) => {
                let is_true = matches!(text.to_ascii_lowercase().as_str(), "yes" | "true" | "on");
                Some(format!("write `{key} = {is_true}`"))
            }
            (_, ["sync" | "cleanup", ..]) if message.starts_with("expected a list") => {
                Some(format!("write `{key} = {}`", list([text])))
            }
            _ => None,
        };
    }
    match (*key, table) {
        ("insecure", _) if value.as_bool() == Some(true) => Some(
            "write `insecure = \"http\"` for a registry without TLS, `insecure = \"no-verify\"` to accept any certificate"
                .to_owned(),
        ),
        ("insecure", _) => Some("leave it out: TLS with verification is the default".to_owned()),
        // Where other tools take a number, it is one of days.
        ("older_than", _) => value.as_number().map(|days| format!("write `{key} = \"{days}d\"`")),
        (
            "every" | "jitter" | "recheck" | "grace" | "stall_after" | "remember" | "timeout"
            | "idle_timeout" | "ttl",
            _,
        ) => value.as_number().map(|seconds| format!("write `{key} = \"{seconds}s\"`")),
        _ => None,
    }
}

/// As regsync names the source of a rule for a whole registry.
fn names_only_a_host(text: &str) -> bool {
    let text = text.trim_end_matches('/');
    matches!(text.parse::<ImageReference>(), Err(ReferenceError::OnlyHost(_)))
}

/// The name of the variable in `${NAME}` or `{{env "NAME"}}`. A single `$` may begin a password.
fn variable(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let template = || {
        let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
        Some(inside.strip_prefix("env")?.trim().trim_matches('"'))
    };
    let name = inside.or_else(template)?;
    let name = name.strip_prefix("env:").unwrap_or(name);
    let is_name = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    (!name.is_empty() && name.bytes().all(is_name)).then_some(name)
}

/// The schedule that is meant by a macro, or by one with seconds or a year.
fn schedule(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(period) = text.strip_prefix("@every ").filter(|it| it.parse::<Period>().is_ok()) {
        return Some(format!("write `every = {}`", quoted(period)));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let meant = match (text, &fields[..]) {
        ("@yearly" | "@annually", _) => "0 0 1 1 *".to_owned(),
        ("@monthly", _) => "0 0 1 * *".to_owned(),
        ("@weekly", _) => "0 0 * * 0".to_owned(),
        ("@daily" | "@midnight", _) => "0 0 * * *".to_owned(),
        ("@hourly", _) => "0 * * * *".to_owned(),
        // With seconds, and with a year.
        (_, [_, fields @ ..]) if fields.len() == 5 => fields.join(" "),
        (_, [_, fields @ .., _]) if fields.len() == 5 => fields.join(" "),
        (_, fields) if fields.len() == 5 => fields.join(" "),
        _ if text.parse::<Period>().is_ok() => {
            return Some(format!("write `every = {}`", quoted(text)));
        }
        _ => return None,
    };
    let meant = meant.replace('?', "*");
    meant.parse::<Schedule>().ok()?;
    Some(format!("write `schedule = {}`", quoted(meant)))
}

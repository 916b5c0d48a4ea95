//! Environment variables in values: `"${env:NAME}/path"`.
//!
//! Only where a value is a host, an address or a path. What the variable holds is checked as if it had
//! been written there. Secrets have a form of their own and never pass here.

use std::borrow::Cow;
use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::Environment;
use super::checker::Checker;

const BEGIN: &str = "${env:";

/// A text with its variables replaced.
///
/// # Errors
/// A variable is not set, or its name or its value cannot be used.
pub fn replace(text: &str, env: Environment<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(BEGIN) {
        let Some((name, behind)) = behind.split_once('}') else {
            return Err(format!("`{text}` has a `{BEGIN}` without its `}}`"));
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("`{name}` is not the name of an environment variable"));
        }
        let value = match env(name) {
            Some(value) if !value.is_empty() => value,
            Some(_) => return Err(format!("the environment variable {name} is empty")),
            None => return Err(format!("the environment variable {name} is not set")),
        };
        if value.contains(BEGIN) || value.chars().any(char::is_control) {
            return Err(format!(
                "the value of the environment variable {name} cannot be used here"
            ));
        }
        out.push_str(before);
        out.push_str(&value);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// Replaces the variables in all tables, and reports those that cannot be. Returns the spans of the
/// values that have one.
pub fn replace_all(root: &mut DeTable<'_>, checker: &mut Checker<'_>) -> Vec<Range<usize>> {
    let before = checker.problems.len();
    replace_in_table(root, &mut Vec::new(), checker);
    checker.problems[before..].iter().map(|(span, ..)| span.clone()).collect()
}

fn replace_in_table(table: &mut DeTable<'_>, path: &mut Vec<String>, checker: &mut Checker<'_>) {
    let has_variable = |(key, _): &(&Spanned<Cow<'_, str>>, _)| key.get_ref().contains(BEGIN);
    let keys: Vec<String> =
        table.iter().filter(has_variable).map(|(key, _)| key.get_ref().to_string()).collect();
    for key in keys {
        let Some((old, value)) = table.remove_entry(key.as_str()) else { continue };
        let span = old.span();
        path.push("*".to_owned());
        let key = replaced(&key, &span, path, checker).unwrap_or(key);
        path.pop();
        table.insert(Spanned::new(span, Cow::Owned(key)), value);
    }
    for (key, value) in table.iter_mut() {
        path.push(key.get_ref().to_string());
        replace_in_value(value, path, checker);
        path.pop();
    }
}

fn replace_in_value(
    value: &mut Spanned<DeValue<'_>>,
    path: &mut Vec<String>,
    checker: &mut Checker<'_>,
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => replace_in_table(table, path, checker),
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                replace_in_value(item, path, checker);
            }
        }
        DeValue::String(text) if text.contains("${") => {
            if let Some(new) = replaced(text, &span, path, checker) {
                *text = Cow::Owned(new);
            }
        }
        _ => {}
    }
}

/// The new text at this path; `None`: it stays as it is.
fn replaced(
    text: &str,
    span: &Range<usize>,
    path: &[String],
    checker: &mut Checker<'_>,
) -> Option<String> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let place = place(&path);
    if place == Place::Other {
        // Of a secret, whoever reads it says what is wrong.
        let is_secret = matches!(path[..], [.., "password" | "secret" | "token" | "url"]);
        if text.contains(BEGIN) && !is_secret {
            let message = "environment variables are not replaced here";
            let hint = "they are in hosts, sources, targets and paths; for a secret write { env = \"NAME\" }";
            checker.report_with_hint(span.clone(), message, hint);
        }
        return None;
    }
    if !text.contains(BEGIN) {
        let hint = "write ${env:NAME}";
        checker.report_with_hint(span.clone(), "`${…}` without `env:` is not replaced", hint);
        return None;
    }
    match replace(text, checker.env) {
        Ok(text) => Some(text),
        // The variable is where the secrets are.
        Err(_) if place == Place::Secret && checker.reading.without_secrets => None,
        Err(error) => {
            checker.report(span.clone(), error);
            None
        }
    }
}

#[derive(PartialEq)]
enum Place {
    /// A host, an address or a path.
    Plain,
    /// The path of a secret or of a certificate.
    Secret,
    /// Neither, or a secret itself.
    Other,
}

fn place(path: &[&str]) -> Place {
    match path {
        ["defaults", rest @ ..] => place(rest),
        ["include"]
        | ["daemon", "listen" | "state"]
        | ["registry", "*"]
        | ["registry", _, "username" | "auth_realms"]
        | ["events", _, "registry"]
        | ["in_use", _, "file"]
        | ["in_use", _, "aliases", ..]
        | ["sync", "source" | "target"]
        | ["cleanup", "repositories"]
        | ["cleanup", "quarantine", "to"] => Place::Plain,
        ["registry", _, "ca_file" | "client_cert" | "client_key"]
        | [.., "password" | "secret" | "token" | "url", "file"]
        | ["notify", "headers", _, "file"] => Place::Secret,
        _ => Place::Other,
    }
}

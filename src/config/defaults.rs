//! `[defaults]`: keys that rules have unless they say otherwise.
//!
//! A default is put into each rule where it fits, so that it is checked and shown as a key of the
//! rule. It never makes a rule wrong that does without it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::checker::Checker;
use super::cleanup::CleanupKeys;
use super::source::{Source, SourceRepositories};
use super::sync::SyncKeys;

/// The keys of the table. The rules have the values; here they are only checked.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Defaults")]
pub(super) struct DefaultsKeys {
    /// Defaults of all `[[sync]]` rules: every key but `name`, `source` and `target`.
    #[schemars(schema_with = "sync_schema")]
    sync: Option<SyncKeys>,
    /// Defaults of all `[[cleanup]]` rules: every key but `name`, `repositories` and `delete`.
    #[schemars(schema_with = "cleanup_schema")]
    cleanup: Option<CleanupKeys>,
}

/// What every rule says itself, with a valid value.
const OF_SYNC: [&str; 3] = ["name", "source", "target"];
const OF_CLEANUP: [&str; 3] = ["name", "repositories", "delete"];

fn sync_schema(generator: &mut SchemaGenerator) -> Schema {
    without(SyncKeys::json_schema(generator), &OF_SYNC)
}

fn cleanup_schema(generator: &mut SchemaGenerator) -> Schema {
    without(CleanupKeys::json_schema(generator), &OF_CLEANUP)
}

fn without(mut schema: Schema, keys: &[&str]) -> Schema {
    schema.remove("required");
    if let Some(properties) = schema.get_mut("properties").and_then(|it| it.as_object_mut()) {
        properties.retain(|key, _| !keys.contains(&key.as_str()));
    }
    schema
}

/// Puts the defaults into the rules, and reports keys that cannot be defaults.
pub fn apply(root: &mut DeTable<'_>, checker: &mut Checker<'_>) {
    for (kind, own) in [("sync", OF_SYNC), ("cleanup", OF_CLEANUP)] {
        let defaults = table_in(root, "defaults").and_then(|table| table_in(table, kind));
        let Some(defaults) = defaults else { continue };
        for key in own {
            if let Some((key, _)) = defaults.remove_entry(key) {
                let message =
                    format!("every rule has its own `{}`: there is no default", key.get_ref());
                checker.report(key.span(), message);
            }
        }
        let given = defaults.clone();
        // The table is read like a rule, to find what is wrong with it.
        for key in own {
            let key = Spanned::new(0..0, Cow::Borrowed(key));
            let value = super::document::stand_in(&[kind], key.get_ref());
            if let Some(value) = value {
                defaults.insert(key, Spanned::new(0..0, value));
            }
        }
        let Some(DeValue::Array(rules)) = root.get_mut(kind).map(Spanned::get_mut) else {
            continue;
        };
        for rule in rules.iter_mut() {
            if let DeValue::Table(rule) = rule.get_mut() {
                complete(rule, &given);
            }
        }
    }
}

fn table_in<'t, 'a>(table: &'t mut DeTable<'a>, key: &str) -> Option<&'t mut DeTable<'a>> {
    match table.get_mut(key)?.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// Gives a rule the defaults that fit it.
fn complete<'a>(rule: &mut DeTable<'a>, defaults: &DeTable<'a>) {
    let own: Vec<String> = rule.keys().map(|key| key.get_ref().to_string()).collect();
    let has = |key: &str| own.iter().any(|own| own == key);
    let given = |key: &str| has(key) || defaults.contains_key(key);
    let sources: Vec<Source> = match rule.get("source").map(Spanned::get_ref) {
        Some(DeValue::Array(items)) => items.iter().filter_map(source).collect(),
        Some(_) => rule.get("source").and_then(source).into_iter().collect(),
        None => Vec::new(),
    };
    let is_pinned = !sources.is_empty()
        && sources
            .iter()
            .all(|source| matches!(source.pattern.repositories, SourceRepositories::Pinned { .. }));
    let names_image = sources.iter().any(Source::names_image);
    let is_set = |table: &DeTable<'_>| {
        table.get("remove_extra").map(|value| value.get_ref().as_bool() != Some(false))
    };
    let removes = is_set(rule).or_else(|| is_set(defaults)).unwrap_or(false) && !is_pinned;
    for (key, value) in defaults {
        let name = key.get_ref().as_ref();
        let fits = match name {
            _ if has(name) => false,
            "schedule" => !has("every"),
            "every" => !has("schedule"),
            "timezone" => !has("every") && given("schedule"),
            "run_at_start" | "jitter" => given("schedule") || given("every"),
            "tags" => !names_image,
            "remove_extra" => !is_pinned,
            "max_delete" => removes || has("repositories"),
            _ => true,
        };
        if fits {
            rule.insert(key.clone(), value.clone());
        }
    }
}

fn source(value: &Spanned<DeValue<'_>>) -> Option<Source> {
    value.get_ref().as_str()?.parse().ok()
}

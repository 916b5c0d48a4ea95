//! What differs between two configurations, for people: tables and their keys, without values.

use toml::{Table, Value};

use super::Config;

/// Keys of `[daemon]` that a running daemon does not take over.
const AT_START: [&str; 4] = ["listen", "state", "transfers", "history"];

/// What differs, a line for each table.
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let (before, after) = (shown(old), shown(new));
    let mut lines = Vec::new();
    for (name, table) in &before {
        match after.iter().find(|(other, _)| other == name) {
            None => lines.push(format!("{name}: removed")),
            Some((_, new)) => {
                let keys = differing(table, new);
                if !keys.is_empty() {
                    lines.push(format!("{name}: changed {}", keys.join(", ")));
                }
            }
        }
    }
    let is_new = |name: &String| !before.iter().any(|(other, _)| other == name);
    let new_ones = after.iter().map(|(name, _)| name).filter(|name| is_new(name));
    lines.extend(new_ones.map(|name| format!("{name}: added")));
    let same = |one: &Config| Config { warnings: None, ..one.clone() };
    if lines.is_empty() && same(old) != same(new) {
        lines.push(
            "changed what is not shown: a secret, a webhook, or the order of rules".to_owned(),
        );
    }
    lines
}

/// All tables by how the file names them, in its order. Rules have their names behind it.
fn shown(config: &Config) -> Vec<(String, Table)> {
    // What is written here can be read.
    let document: Table = config.show().parse().unwrap_or_default();
    let mut tables = Vec::new();
    for (key, value) in document {
        match value {
            Value::Table(table) if key == "daemon" => tables.push(("[daemon]".to_owned(), table)),
            Value::Table(named) => {
                for (name, value) in named {
                    if let Value::Table(table) = value {
                        tables.push((format!("[{key}.{name}]"), table));
                    }
                }
            }
            Value::Array(list) => {
                for value in list {
                    let Value::Table(table) = value else { continue };
                    let name = ["name", "url"].iter().find_map(|key| table.get(*key)?.as_str());
                    tables.push((format!("[[{key}]] {}", name.unwrap_or_default()), table));
                }
            }
            _ => {}
        }
    }
    tables
}

/// The keys that only one of them has, or that have other values.
fn differing(old: &Table, new: &Table) -> Vec<String> {
    let changed = old.iter().filter(|(key, value)| new.get(*key) != Some(value));
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let keys = changed.map(|(key, _)| key).chain(added);
    keys.map(|key| match AT_START.contains(&key.as_str()) {
        true => format!("{key} (takes effect at the next start)"),
        false => key.clone(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;

    const RULE: &str = "source = \"a.io/x\"\ntarget = \"b.io/x\"\n";

    fn between(old: &str, new: &str) -> Vec<String> {
        changes(&sample(old), &sample(new))
    }

    #[test]
    fn tables_come_go_and_change() {
        let old = format!(
            "[registry.\"a.io\"]\nparallel = 3\n[registry.\"c.io\"]\n\
             [[sync]]\nname = \"one\"\n{RULE}[[sync]]\nname = \"two\"\n{RULE}tags = {{ include = [\"v1\"] }}\n"
        );
        let new = format!(
            "[daemon]\ngrace = \"5s\"\ntransfers = 3\n[registry.\"a.io\"]\n[registry.\"c.io\"]\n\
             [[sync]]\nname = \"two\"\n{RULE}tags = {{ include = [\"v2\"] }}\nreferrers = false\n\
             [[sync]]\nname = \"three\"\n{RULE}"
        );
        let expected = [
            "[daemon]: changed grace, transfers (takes effect at the next start)",
            "[registry.a.io]: changed parallel",
            "[[sync]] one: removed",
            "[[sync]] two: changed referrers, tags",
            "[[sync]] three: added",
        ];
        assert_eq!(between(&old, &new), expected);
        assert!(between(&old, &old).is_empty());
    }

    #[test]
    fn what_is_not_shown_changes_too() {
        let hook = |path: &str| format!("[[notify]]\nurl = \"https://h.io/{path}\"\n");
        assert_eq!(between(&hook("a"), &hook("b")).len(), 1);
    }
}

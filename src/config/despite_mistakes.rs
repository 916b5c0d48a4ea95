//! Where the daemon is, read from a file that may have mistakes elsewhere.
//!
//! Only of the keys that say where it is and how it is asked. If one of them could have been meant by
//! what is wrong, nobody knows where the daemon is: the defaults might be another daemon's.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::checker::Checker;
use super::document::Document;
use super::syntax::{self, Mistake};
use super::wording::did_you_mean;
use super::{Daemon, Environment, Reading, files, variables};

const TABLE: [&str; 1] = ["daemon"];
const KEYS: [&str; 3] = ["listen", "state", "token"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    daemon: Daemon,
}

/// The `[daemon]` of the configuration at `path`, with the defaults for all that is not needed to ask
/// the daemon. `None`: the file cannot be read, or what is needed has a mistake.
pub fn daemon_despite_mistakes(path: &Path, env: Environment<'_>) -> Option<Daemon> {
    let reading = Reading { without_secrets: true, ..Reading::default() };
    read(files::read(path).ok()?, path, &mut Checker::new(path, env, reading).ok()?)
}

fn read(text: String, path: &Path, checker: &mut Checker<'_>) -> Option<Daemon> {
    let (clean, mistakes) = syntax::clean(&text);
    let clean = clean.map(Cow::into_owned)?;
    if mistakes.iter().any(|mistake| may_concern_it(mistake, &text)) {
        return None;
    }
    checker.texts.add(path.to_owned(), text);
    let (root, _) = DeTable::parse_recoverable(&clean);
    let mut root = only(root.into_inner(), &TABLE);
    for (_, value) in &mut root {
        if let DeValue::Table(table) = value.get_mut() {
            *table = only(std::mem::take(table), &KEYS);
        }
    }
    let refused = variables::replace_all(&mut root, checker);
    let mut document = Document::new(root, refused);
    let mut daemon = document.read::<Keys>(checker)?.daemon;
    daemon.check(document.root().get("daemon"), checker);
    checker.problems.is_empty().then_some(daemon)
}

/// The keys that may be meant by these names.
fn only<'a>(table: DeTable<'a>, names: &[&str]) -> DeTable<'a> {
    table.into_iter().filter(|(key, _)| is_meant(key.get_ref(), names)).collect()
}

/// Whether it is one of these names, or one of them with a mistake.
fn is_meant(name: &str, names: &[&str]) -> bool {
    names.contains(&name) || !did_you_mean(name, names).is_empty()
}

/// Whether what is not TOML may be one of the keys.
fn may_concern_it(mistake: &Mistake, text: &str) -> bool {
    let name = |start: usize| first_name(text.get(start..).unwrap_or_default());
    let Range { start, .. } = mistake.left_out.span;
    match mistake.table.filter(|_| !mistake.left_out.is_header) {
        None => is_meant(name(start), &TABLE),
        Some(table) if !is_meant(name(table), &TABLE) => false,
        Some(_) => mistake.key.as_ref().is_none_or(|key| is_meant(key, &KEYS)),
    }
}

/// The first name of a header or of a key, without brackets and quotes.
fn first_name(statement: &str) -> &str {
    let begin = statement.trim_start_matches(['[', ' ', '\t', '"', '\'']);
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-';
    begin.split(is_end).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: &str = "[daemon]\nlisten = \"127.0.0.1:1\"\nstate = \"/s\"\n";

    fn found(text: &str) -> Option<Daemon> {
        let reading = Reading { without_secrets: true, ..Reading::default() };
        let env = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        let path = Path::new("/tranship.toml");
        read(text.to_owned(), path, &mut Checker::new(path, &env, reading).unwrap())
    }

    #[test]
    fn mistakes_elsewhere_do_not_matter() {
        for mistake in [
            "",
            "nonsense = 1",
            "grace = 5",
            "transfer = 1",
            "foo bar",
            "grace = \"20",
            "[[sync]]\nsource = [\"r.io/a\",\n",
            "[[sync",
            "[registry.\"r.io\"]\ntoken = 5\nlisten x",
            "[dæmon]",
            "include = [\"nowhere/*/x.toml\"]",
        ] {
            let daemon = found(&format!("{DAEMON}{mistake}\n")).expect(mistake);
            assert_eq!(daemon.listen.port(), 1, "{mistake}");
            assert_eq!(daemon.state, Path::new("/s"), "{mistake}");
        }
        // Where nothing is said of it, it is where it usually is.
        let daemon = found("[[sync]]\nname = 5\n").unwrap();
        assert_eq!(daemon.listen.port(), 8642);
        assert_eq!(daemon.state, Path::new("/home/me/.local/state/tranship"));
    }

    #[test]
    fn mistakes_in_what_is_needed_do() {
        for text in [
            "[deamon]\nlisten = \"127.0.0.1:1\"",
            "[daemon\nlisten = \"127.0.0.1:1\"",
            "[daemon]\nlisten = \"127.0.0.1\"",
            "[daemon]\nlisten 127.0.0.1:1",
            "[daemon]\nlitsen = \"127.0.0.1:1\"",
            "[daemon]\nsta-te : x",
            "[daemon]\nstate = \"${env:NONE}/x\"",
            "[daemon]\ntoken = \"secret\"",
            "[daemon]\n<<<<<<< HEAD\nlisten = \"127.0.0.1:1\"",
            "daemon = { listen = \"127.0.0.1:1\"",
            "daemon.listen = 127.0.0.1:1",
            "[daemon]\n[daemon]\nlisten = \"127.0.0.1:1\"",
            "daemon:\n  listen: x",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}

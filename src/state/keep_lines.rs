//! Which lines of `keep` have kept something in which repository: a line that did and does no more may
//! have become a pattern that is not what was meant.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::codec;
use super::local::Local;

/// The first byte of the keys of keep lines.
const KIND: u8 = b'k';

/// The keep lines of cleanup rules, by their ids.
pub trait KeepLines: Debug + Send + Sync {
    /// The lines of a rule that kept something in a repository in its last run there.
    fn of(&self, rule: &str, repository: &str) -> BTreeSet<String>;

    fn set(&self, rule: &str, repository: &str, lines: &BTreeSet<String>);
}

impl KeepLines for Local {
    fn of(&self, rule: &str, repository: &str) -> BTreeSet<String> {
        let lines = self.store.get(&key(rule, repository));
        lines.and_then(|lines| codec::decode(&lines)).unwrap_or_default()
    }

    fn set(&self, rule: &str, repository: &str, lines: &BTreeSet<String>) {
        if self.of(rule, repository) != *lines {
            let value = (!lines.is_empty()).then(|| codec::encode(lines));
            self.apply(vec![(key(rule, repository), value)]);
        }
    }
}

fn key(rule: &str, repository: &str) -> Vec<u8> {
    codec::key(KIND, &(rule, repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_last_run() {
        let state: &dyn KeepLines = &Local::in_memory();
        let lines = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(state.of("apps", "r/a"), lines(&[]));
        state.set("apps", "r/a", &lines(&["releases", "main"]));
        state.set("apps", "r/b", &lines(&["main"]));
        assert_eq!(state.of("apps", "r/a"), lines(&["main", "releases"]));
        state.set("apps", "r/a", &lines(&[]));
        assert_eq!(state.of("apps", "r/a"), lines(&[]));
        assert_eq!(state.of("apps", "r/b"), lines(&["main"]));
    }
}

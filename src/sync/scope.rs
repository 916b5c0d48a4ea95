//! How much of a rule a run is about.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::SyncRule;
use crate::oci::{RepositoryName, Tag};

/// What a run looks at: everything that its rule selects, or only what is known to have moved.
///
/// It only narrows: what the rule does not select is not copied, whatever the scope says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    All,
    /// These source repositories, and of each these tags; `None`: all of them.
    Some(BTreeMap<RepositoryName, Option<BTreeSet<Tag>>>),
}

impl Scope {
    /// The source repositories that a run has to do with, if that can be told without the
    /// registry's list.
    pub(super) fn repositories(&self, rule: &SyncRule) -> Option<Vec<RepositoryName>> {
        match self {
            Self::All => rule.source.repository().map(|repository| vec![repository.clone()]),
            Self::Some(some) => {
                let selected = some.keys().filter(|repository| rule.source.matches(repository));
                Some(selected.cloned().collect())
            }
        }
    }

    /// The only tags of a source repository that count; `None`: all of them.
    pub(super) fn tags(&self, repository: &RepositoryName) -> Option<&BTreeSet<Tag>> {
        match self {
            Self::All => None,
            Self::Some(some) => some.get(repository)?.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_rule;

    fn names(names: &[&str]) -> Vec<RepositoryName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_scope_narrows_what_the_rule_selects() {
        let tags = BTreeSet::from(["v1".parse::<Tag>().unwrap()]);
        let some = Scope::Some(BTreeMap::from([
            ("acme/a".parse().unwrap(), Some(tags.clone())),
            ("acme/b".parse().unwrap(), None),
            ("other/c".parse().unwrap(), None),
        ]));
        let cases = [
            ("s.example/acme/**", &some, Some(names(&["acme/a", "acme/b"]))),
            ("s.example/acme/a", &some, Some(names(&["acme/a"]))),
            ("s.example/acme/x", &some, Some(Vec::new())),
            ("s.example/acme/x", &Scope::All, Some(names(&["acme/x"]))),
            ("s.example/acme/**", &Scope::All, None),
        ];
        for (source, scope, expected) in cases {
            let rule = sample_rule(source, "t.example/{repository}", "");
            assert_eq!(scope.repositories(&rule), expected, "{source} {scope:?}");
        }
        let of = |name: &str| some.tags(&name.parse().unwrap());
        assert_eq!(of("acme/a"), Some(&tags));
        assert_eq!(of("acme/b"), None);
        assert_eq!(Scope::All.tags(&"acme/a".parse().unwrap()), None);
    }
}

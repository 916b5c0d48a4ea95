//! Which source repository goes into which target repositories: a pure decision.

use std::collections::{BTreeSet, HashMap};

use crate::config::SyncRule;
use crate::oci::template::TemplateError;
use crate::oci::{Address, RepositoryName};
use crate::repository::Failure;

/// One source repository, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    pub source: RepositoryName,
    pub targets: Vec<Address>,
}

/// Pairs the source repositories with their targets. Two that would end up in one target
/// repository overwrite each other's tags, so neither is copied. `others` are repositories that
/// the rule is known to select too, but that nobody asks for now.
pub fn pair(
    rule: &SyncRule,
    repositories: Vec<RepositoryName>,
    others: Vec<RepositoryName>,
) -> (Vec<Pairing>, Vec<Failure>) {
    let asked: BTreeSet<RepositoryName> = repositories.into_iter().collect();
    let mut all = asked.clone();
    all.extend(others.into_iter().filter(|repository| rule.source.matches(repository)));
    let failure = |source: &RepositoryName, why: String| {
        Failure::new("name the target of", source.as_str(), why)
    };
    let (mut pairings, mut failures) = (Vec::new(), Vec::new());
    for source in all {
        match targets(rule, &source) {
            Ok(targets) => pairings.push(Pairing { source, targets }),
            Err(error) => failures.push(failure(&source, error.to_string())),
        }
    }
    let mut users: HashMap<&Address, Vec<&RepositoryName>> = HashMap::new();
    for pairing in &pairings {
        for target in &pairing.targets {
            users.entry(target).or_default().push(&pairing.source);
        }
    }
    users.retain(|_, sources| sources.len() > 1);
    let mut good = Vec::new();
    for pairing in &pairings {
        match pairing.targets.iter().find_map(|target| users.get_key_value(target)) {
            None => good.push(pairing.clone()),
            Some((target, sources)) => {
                let sources: Vec<&str> = sources.iter().map(|source| source.as_str()).collect();
                let sources = sources.join(", ");
                let why = format!("{sources} would all become {target}; use another template");
                failures.push(failure(&pairing.source, why));
            }
        }
    }
    good.retain(|pairing| asked.contains(&pairing.source));
    let asked: BTreeSet<&str> = asked.iter().map(RepositoryName::as_str).collect();
    failures.retain(|failure| asked.contains(failure.subject.as_str()));
    (good, failures)
}

fn targets(rule: &SyncRule, source: &RepositoryName) -> Result<Vec<Address>, TemplateError> {
    rule.targets.iter().map(|target| target.address(&rule.source, source)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_rule;

    fn names(names: &[&str]) -> Vec<RepositoryName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn templates_name_the_targets() {
        let rule = sample_rule("s.example/acme/**", "t.example/mirror/{tail}", "");
        let (pairings, failures) =
            pair(&rule, names(&["acme/b/c", "acme/a", "acme/a"]), Vec::new());
        assert!(failures.is_empty());
        let targets: Vec<_> =
            pairings.iter().map(|pairing| pairing.targets[0].to_string()).collect();
        assert_eq!(targets, ["t.example/mirror/a", "t.example/mirror/b/c"]);
    }

    #[test]
    fn sources_that_collide_are_left_alone() {
        let rule = sample_rule("s.example/**", "t.example/{repository|flatten}", "");
        let (pairings, failures) = pair(&rule, names(&["a/b", "a-b", "c"]), Vec::new());
        assert_eq!(pairings.len(), 1);
        assert_eq!(failures.len(), 2);
        assert!(failures[0].message.contains("t.example/a-b"), "{failures:?}");
    }

    #[test]
    fn what_nobody_asks_for_counts_where_sources_collide() {
        let rule = sample_rule("s.example/**", "t.example/{repository|flatten}", "");
        let others = names(&["a-b", "c", "d"]);
        let (pairings, failures) = pair(&rule, names(&["a/b", "c"]), others);
        assert_eq!(pairings.len(), 1);
        assert_eq!(pairings[0].source.as_str(), "c");
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].subject, "a/b");
    }
}

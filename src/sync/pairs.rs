//! Which source repository goes into which target repositories: a pure decision.

use std::collections::{BTreeSet, HashMap};

use crate::config::SyncRule;
use crate::oci::template::SourceContext;
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
    let (mut pairings, mut failures) = (Vec::new(), Vec::new());
    for source in all {
        let context = SourceContext {
            registry: rule.source.store.registry(),
            repository: &source,
            prefix: rule.source.literal_prefix(),
        };
        let rendered: Result<Vec<_>, _> = rule
            .targets
            .iter()
            .map(|target| Ok(target.store.address(&target.template.render(&context)?)))
            .collect();
        match rendered {
            Ok(targets) => pairings.push(Pairing { source, targets }),
            Err(error) => {
                let error: crate::oci::template::TemplateError = error;
                failures.push(Failure::new(
                    "name the target of",
                    source.as_str(),
                    error.to_string(),
                ));
            }
        }
    }
    let mut users: HashMap<&Address, Vec<&RepositoryName>> = HashMap::new();
    for pairing in &pairings {
        for target in &pairing.targets {
            users.entry(target).or_default().push(&pairing.source);
        }
    }
    let shared: HashMap<_, _> =
        users.into_iter().filter(|(_, sources)| sources.len() > 1).collect();
    let (mut good, mut messages) = (Vec::new(), Vec::new());
    for pairing in &pairings {
        match pairing.targets.iter().find_map(|target| shared.get_key_value(target)) {
            None => good.push(pairing.clone()),
            Some((target, sources)) => {
                let sources: Vec<&str> = sources.iter().map(|source| source.as_str()).collect();
                let message = format!(
                    "{} would all become {target}; use another template",
                    sources.join(", ")
                );
                messages.push(Failure::new("name the target of", pairing.source.as_str(), message));
            }
        }
    }
    failures.append(&mut messages);
    good.retain(|pairing| asked.contains(&pairing.source));
    let asked: BTreeSet<&str> = asked.iter().map(RepositoryName::as_str).collect();
    failures.retain(|failure| asked.contains(failure.subject.as_str()));
    (good, failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(source: &str, target: &str) -> SyncRule {
        let text =
            format!("[[sync]]\nname = \"r\"\nsource = \"{source}\"\ntarget = \"{target}\"\n");
        let mut config =
            crate::config::parse(&text, "x.toml".as_ref(), &|_| Some("/home/x".to_owned()))
                .unwrap();
        config.sync.remove(0)
    }

    fn names(names: &[&str]) -> Vec<RepositoryName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn templates_name_the_targets() {
        let rule = rule("s.example/acme/**", "t.example/mirror/{tail}");
        let (pairings, failures) =
            pair(&rule, names(&["acme/b/c", "acme/a", "acme/a"]), Vec::new());
        assert!(failures.is_empty());
        let targets: Vec<_> =
            pairings.iter().map(|pairing| pairing.targets[0].to_string()).collect();
        assert_eq!(targets, ["t.example/mirror/a", "t.example/mirror/b/c"]);
    }

    #[test]
    fn sources_that_collide_are_left_alone() {
        let rule = rule("s.example/**", "t.example/{repository|flatten}");
        let (pairings, failures) = pair(&rule, names(&["a/b", "a-b", "c"]), Vec::new());
        assert_eq!(pairings.len(), 1);
        assert_eq!(failures.len(), 2);
        assert!(failures[0].message.contains("t.example/a-b"), "{failures:?}");
    }

    #[test]
    fn what_nobody_asks_for_counts_where_sources_collide() {
        let rule = rule("s.example/**", "t.example/{repository|flatten}");
        let others = names(&["a-b", "c", "d"]);
        let (pairings, failures) = pair(&rule, names(&["a/b", "c"]), others);
        assert_eq!(pairings.len(), 1);
        assert_eq!(pairings[0].source.as_str(), "c");
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].subject, "a/b");
    }
}

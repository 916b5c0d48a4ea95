//! An index of sync rules by their sources: a burst of events must not cost rules times events.
//! Pure.

use std::collections::{BTreeSet, HashMap};

use crate::config::{SourceRepositories, SyncRule};
use crate::oci::{RegistryHost, RepositoryName};

/// The rules, as indices into the configuration, by what they copy from.
#[derive(Debug, Default)]
pub struct SourceIndex(HashMap<RegistryHost, OfRegistry>);

#[derive(Debug, Default)]
struct OfRegistry {
    /// Rules of one repository each.
    named: HashMap<RepositoryName, Vec<usize>>,
    /// Rules of a pattern each, by the path that stands before its first wildcard.
    matching: HashMap<String, Vec<usize>>,
}

impl SourceIndex {
    pub fn new(rules: &[SyncRule]) -> Self {
        let mut all = Self::default();
        let parts = rules.iter().enumerate();
        let parts = parts.flat_map(|(at, rule)| rule.parts().map(move |part| (at, part)));
        for (at, rule) in parts {
            let Some(registry) = rule.source.store.registry() else { continue };
            let of_registry = all.0.entry(registry.clone()).or_default();
            let rules = match &rule.source.repositories {
                SourceRepositories::One(repository)
                | SourceRepositories::Pinned { repository, .. } => {
                    of_registry.named.entry(repository.clone()).or_default()
                }
                SourceRepositories::Matching(pattern) => {
                    of_registry.matching.entry(pattern.literal_prefix().to_owned()).or_default()
                }
            };
            if rules.last() != Some(&at) {
                rules.push(at);
            }
        }
        all
    }

    /// The indices of all rules that copy from this repository, and of a few more whose pattern
    /// only begins like it.
    pub fn of(
        &self,
        registry: &RegistryHost,
        repository: &RepositoryName,
    ) -> impl Iterator<Item = usize> {
        let of_registry = self.0.get(registry);
        let named = of_registry.and_then(|rules| rules.named.get(repository));
        let matching = of_registry.into_iter().flat_map(|rules| {
            prefixes(repository.as_str()).filter_map(|prefix| rules.matching.get(prefix))
        });
        let found: BTreeSet<usize> = named.into_iter().chain(matching).flatten().copied().collect();
        found.into_iter()
    }
}

/// The paths above a repository, from nothing to its parent.
fn prefixes(repository: &str) -> impl Iterator<Item = &str> {
    let parents = repository.match_indices('/').map(|(slash, _)| &repository[..slash]);
    std::iter::once("").chain(parents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn rules(sources: &[String]) -> Vec<SyncRule> {
        let rule = |(n, source): (usize, &String)| {
            format!(
                "[[sync]]\nname = \"r{n}\"\nsource = \"{source}\"\n\
                 target = \"t{n}.example/{{repository}}\"\n"
            )
        };
        let text: String = sources.iter().enumerate().map(rule).collect();
        config::sample(&text).sync
    }

    #[test]
    fn other_rules_are_not_asked() {
        let sources: Vec<String> = (0..1_000)
            .map(|n| format!("r.example/team-{n}/**"))
            .chain([
                "r.example/team-7/app".to_owned(),
                "r.example/team-7/app:v1".to_owned(),
                "r.example/**".to_owned(),
                "other.example/team-7/**".to_owned(),
            ])
            .collect();
        let index = SourceIndex::new(&rules(&sources));
        let registry = "r.example".parse().unwrap();
        let mut found: Vec<_> = index.of(&registry, &"team-7/app".parse().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, [7, 1_000, 1_001, 1_002]);
    }

    fn part() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "ab"])
    }

    fn source() -> impl Strategy<Value = String> {
        let wild =
            prop::sample::select(vec!["a", "b", "ab", "*", "**", "a*", "?", "[ab]", "{a,b}"]);
        let host = prop::sample::select(vec!["r.example", "s.example"]);
        let end = prop::sample::select(vec!["", "", ":v1", "@"]);
        (host, proptest::collection::vec(wild, 1..4), end).prop_map(|(host, parts, end)| {
            let path = parts.join("/");
            let end = match end {
                // Neither goes with a pattern.
                _ if path.contains(['*', '?', '[', '{']) => String::new(),
                "@" => format!("@{DIGEST}"),
                end => end.to_owned(),
            };
            format!("{host}/{path}{end}")
        })
    }

    proptest! {
        #[test]
        fn no_rule_is_overlooked_and_none_found_twice(
            sources in proptest::collection::vec(source(), 1..8),
            path in proptest::collection::vec(part(), 1..5),
        ) {
            let rules = rules(&sources);
            let index = SourceIndex::new(&rules);
            let repository: RepositoryName = path.join("/").parse().unwrap();
            for registry in ["r.example", "s.example", "none.example"] {
                let registry: RegistryHost = registry.parse().unwrap();
                let mut found: Vec<usize> = index.of(&registry, &repository).collect();
                found.sort_unstable();
                let all = found.len();
                found.dedup();
                prop_assert_eq!(found.len(), all);
                for (at, rule) in rules.iter().enumerate() {
                    if rule.source.store.registry() == Some(&registry) && rule.source.matches(&repository) {
                        prop_assert!(found.contains(&at), "{} {}", rule.source, repository);
                    }
                }
            }
        }
    }
}

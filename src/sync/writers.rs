//! Which rules write which tags of a target: two that write the same tag, but not the same image,
//! would overwrite each other's work in turn. Pure decisions.

use std::sync::Arc;

use crate::config::{SourceRepositories, SyncRule, Target};
use crate::oci::selection::Judgement;
use crate::oci::{Address, Tag};
use crate::state::TagOwner;

/// The sync rules of a configuration. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Writers(Arc<[SyncRule]>);

/// Whether a rule may write a tag that another one put at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The tag is the rule's own, or nobody's.
    Own,
    /// The other rule puts the same image there.
    Shared,
    /// Nobody else writes the tag any more. What the rule remembers of it may not be so any more.
    /// `known`: the rule that put it there is in the configuration.
    Inherited { known: bool },
    /// The other rule writes it too; says from where.
    Contested { source: Address },
}

impl Writers {
    pub fn new(rules: &[SyncRule]) -> Self {
        Self(rules.into())
    }

    /// What `rule` may do with a tag of a target which `owner` put there last. `ours` is the
    /// repository that the rule copies there.
    pub fn claim(
        &self,
        rule: &SyncRule,
        ours: &Address,
        (target, tag): (&Address, &Tag),
        owner: &TagOwner,
    ) -> Claim {
        if owner.rule == rule.name {
            return Claim::Own;
        }
        let Some(other) = self.0.iter().find(|other| other.name == owner.rule) else {
            return Claim::Inherited { known: false };
        };
        let Some(other) = other.parts().find(|part| writes(part, owner, target, tag)) else {
            return Claim::Inherited { known: true };
        };
        let source = other.source.store.address(&owner.source);
        if source == *ours && writes_the_same(rule, other) {
            return Claim::Shared;
        }
        Claim::Contested { source }
    }
}

/// Whether the rule still puts this tag there, as far as that can be told without its source.
fn writes(rule: &SyncRule, owner: &TagOwner, target: &Address, tag: &Tag) -> bool {
    let selects = match &rule.source.repositories {
        SourceRepositories::Pinned { tag: pinned, .. } => pinned.as_ref() == Some(tag),
        _ => rule.tags.judge(tag) != Judgement::Rejected,
    };
    let leads_there = |to: &Target| {
        to.address(&rule.source, &owner.source).is_ok_and(|address| address == *target)
    };
    selects && rule.source.matches(&owner.source) && rule.targets.iter().any(leads_there)
}

/// Whether both rules make the same image of one tag of one repository.
fn writes_the_same(one: &SyncRule, other: &SyncRule) -> bool {
    let digest = |rule: &SyncRule| match &rule.source.repositories {
        SourceRepositories::Pinned { digest, .. } => Some(digest.clone()),
        _ => None,
    };
    let filter = |rule: &SyncRule| {
        let mut platforms = rule.platforms.clone();
        platforms.sort_unstable();
        (!platforms.is_empty()).then_some((platforms, rule.index))
    };
    digest(one) == digest(other) && filter(one) == filter(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;

    /// What the rule `r2` may do with `t.example/app:1.0`, which a rule put there from
    /// `s.example/one`; `r1` and `r2` have these further lines.
    fn claim(owner: &str, r1: &str, r2: &str) -> Claim {
        let rules = format!("[[sync]]\nname = \"r1\"\n{r1}\n[[sync]]\nname = \"r2\"\n{r2}\n");
        let rules = sample(&rules).sync;
        let owner = TagOwner { rule: owner.to_owned(), source: "one".parse().unwrap() };
        let address = |text: &str, repository: &str| {
            Address::Registry(text.parse().unwrap(), repository.parse().unwrap())
        };
        let ours = rules[1].source.repository().unwrap().as_str();
        let (target, tag) = (address("t.example", "app"), "1.0".parse().unwrap());
        let writers = Writers::new(&rules);
        writers.claim(&rules[1], &address("s.example", ours), (&target, &tag), &owner)
    }

    #[test]
    fn a_tag_belongs_to_the_rule_that_still_writes_it() {
        let lines = |source: &str, target: &str, more: &str| {
            format!("source = \"s.example/{source}\"\ntarget = \"t.example/{target}\"\n{more}")
        };
        let tags = |tags: &str| format!("tags = {{ include = [\"{tags}\"] }}");
        let contested = || Claim::Contested {
            source: Address::Registry("s.example".parse().unwrap(), "one".parse().unwrap()),
        };
        let two = lines("two", "app", &tags("?.?"));
        let pinned = format!("one:1.0@{}", crate::oci::Digest::of(b"x"));
        let cases = [
            (lines("one", "app", &tags("1.*")), contested()),
            (lines("one", "app", "tags = { semver = \">=1\", latest = 1 }"), contested()),
            (lines(&pinned, "app", ""), contested()),
            (lines("one", "app", &tags("2.*")), Claim::Inherited { known: true }),
            (lines("one", "other", &tags("1.*")), Claim::Inherited { known: true }),
            (lines("three", "app", &tags("1.*")), Claim::Inherited { known: true }),
        ];
        for (r1, expected) in cases {
            assert_eq!(claim("r1", &r1, &two), expected, "{r1}");
            assert_eq!(claim("r2", &r1, &two), Claim::Own, "{r1}");
            assert_eq!(claim("gone", &r1, &two), Claim::Inherited { known: false }, "{r1}");
        }
        let (one, all) = (lines("one", "app", &tags("1.*")), lines("one", "app", ""));
        assert_eq!(claim("r1", &one, &all), Claim::Shared);
        let some = |platforms: &str| lines("one", "app", &format!("platforms = [{platforms}]"));
        let (a, b) = ("\"linux/amd64\", \"linux/arm64\"", "\"linux/arm64\", \"linux/amd64\"");
        assert_eq!(claim("r1", &some(a), &some(b)), Claim::Shared);
        assert_eq!(claim("r1", &one, &some(a)), contested());
        assert_eq!(claim("r1", &some(a), &some("\"linux/amd64\"")), contested());
    }
}

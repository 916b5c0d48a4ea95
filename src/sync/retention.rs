//! What cleanup rules say of the repositories that sync rules write to.
//!
//! A tag that a cleanup rule deleted is not copied there again while the source has not moved: see
//! [`WithdrawnTags`](crate::state::WithdrawnTags). That holds only as long as some rule would
//! delete it again.

use std::sync::Arc;

use crate::config::CleanupRule;
use crate::oci::Address;
use crate::state::Withdrawn;

/// The cleanup rules of a configuration, in whatever mode: what only a person has deleted by one
/// of them stays away, too. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Retention(Arc<[(CleanupRule, u64)]>);

/// The policies under which one repository is cleaned up, by their marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(Vec<u64>);

impl Retention {
    pub fn new(rules: &[CleanupRule]) -> Self {
        Self(rules.iter().map(|rule| (rule.clone(), rule.mark())).collect())
    }

    /// What holds for a repository.
    pub fn policies(&self, repository: &Address) -> Policies {
        let of_it = |(rule, _): &&(CleanupRule, u64)| rule.repositories.has(repository);
        Policies(self.0.iter().filter(of_it).map(|(_, mark)| *mark).collect())
    }
}

impl Policies {
    /// Whether the policy under which a tag was deleted is still one of them.
    pub fn uphold(&self, withdrawn: &Withdrawn) -> bool {
        self.0.contains(&withdrawn.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    fn retention(mode: &str, delete: &str) -> Retention {
        let text = format!(
            "[[cleanup]]\nname = \"c\"\nmode = \"{mode}\"\ndelete = [{{ id = \"d\", {delete} }}]\n\
             repositories = [\"t.example/acme/**\", \"!**/base\"]\n"
        );
        Retention::new(&crate::config::sample(&text).cleanup)
    }

    fn of(retention: &Retention, repository: &str) -> Policies {
        let host = "t.example".parse().unwrap();
        retention.policies(&Address::Registry(host, repository.parse().unwrap()))
    }

    #[test]
    fn only_a_rule_that_would_delete_it_again_upholds_a_deletion() {
        let rules = retention("apply", "tags = [\"pr-*\"]");
        let [(_, policy)] = *rules.0 else { panic!("one rule") };
        let withdrawn = Withdrawn { digest: Digest::of(b"x"), policy, at: 0 };
        assert!(of(&rules, "acme/app").uphold(&withdrawn));
        assert!(!of(&rules, "acme/base").uphold(&withdrawn));
        assert!(!of(&rules, "other/app").uphold(&withdrawn));
        assert!(of(&retention("plan", "tags = [\"pr-*\"]"), "acme/app").uphold(&withdrawn));
        assert!(!of(&retention("apply", "tags = [\"p*\"]"), "acme/app").uphold(&withdrawn));
        assert!(!of(&Retention::default(), "acme/app").uphold(&withdrawn));
    }
}

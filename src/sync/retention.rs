//! What cleanup rules say of the repositories that sync rules write to.
//!
//! A tag that a cleanup rule deleted is not copied there again while the source has not moved: see
//! [`WithdrawnTags`]. That holds only as long as some rule would delete it again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::policy::Policy;
use crate::config::{CleanupRule, former_policy};
use crate::oci::{Address, Tag};
use crate::state::{Withdrawn, WithdrawnTags};

/// The cleanup rules of a configuration, in whatever mode: what only a person has deleted by one
/// of them stays away, too. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Retention(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    /// With their marks.
    rules: Vec<(CleanupRule, u64)>,
    /// Policies under which tags were deleted, by their marks, as far as they were looked up. `None`:
    /// the state does not know it.
    former: Mutex<HashMap<u64, Option<Arc<Policy>>>>,
}

/// The policies under which one repository is cleaned up.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    all: Retention,
    /// Places of its rules.
    of_it: Vec<usize>,
}

impl Retention {
    pub fn new(rules: &[CleanupRule]) -> Self {
        let rules = rules.iter().map(|rule| (rule.clone(), rule.mark())).collect();
        Self(Arc::new(Rules { rules, former: Mutex::default() }))
    }

    /// What holds for a repository.
    pub fn policies(&self, repository: &Address) -> Policies {
        let rules = &self.0.rules;
        let of_it = (0..rules.len()).filter(|at| rules[*at].0.repositories.has(repository));
        Policies { all: self.clone(), of_it: of_it.collect() }
    }

    fn former(&self, mark: u64, known: &dyn WithdrawnTags) -> Option<Arc<Policy>> {
        let look_up = || known.policy(mark).and_then(|text| former_policy(&text)).map(Arc::new);
        self.0.former.lock().entry(mark).or_insert_with(look_up).clone()
    }
}

impl Policies {
    /// Whether one of them would delete the tag again: the policy under which it was deleted, or one
    /// that deletes all that this one did. `known`: where the deletion stands.
    pub fn uphold(&self, tag: &Tag, withdrawn: &Withdrawn, known: &dyn WithdrawnTags) -> bool {
        let rules = || self.of_it.iter().map(|at| &self.all.0.rules[*at]);
        rules().any(|(_, mark)| *mark == withdrawn.policy)
            || self
                .all
                .former(withdrawn.policy, known)
                .is_some_and(|former| rules().any(|(rule, _)| rule.policy.covers(&former, tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use crate::state::State;

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
        let known: &dyn WithdrawnTags = &*State::in_memory().withdrawn;
        let rules = retention("apply", "tags = [\"pr-*\"]");
        let (rule, policy) = &rules.0.rules[0];
        let withdrawn = Withdrawn { digest: Digest::of(b"x"), policy: *policy, at: 0 };
        let tag: Tag = "pr-1".parse().unwrap();
        let upholds =
            |rules: &Retention, repository| of(rules, repository).uphold(&tag, &withdrawn, known);
        assert!(upholds(&rules, "acme/app"));
        assert!(!upholds(&rules, "acme/base"));
        assert!(!upholds(&rules, "other/app"));
        assert!(upholds(&retention("plan", "tags = [\"pr-*\"]"), "acme/app"));
        assert!(!upholds(&Retention::default(), "acme/app"));
        // Under another policy only if the state knows what the former one was.
        assert!(!upholds(&retention("apply", "tags = [\"p*\"]"), "acme/app"));
        known.set_policy(*policy, &rule.policy_text());
        assert!(upholds(&retention("apply", "tags = [\"p*\"]"), "acme/app"));
        assert!(!upholds(&retention("apply", "tags = [\"p*\"]"), "other/app"));
        let older = retention("apply", "tags = [\"pr-*\"], older_than = \"90d\"");
        assert!(!upholds(&older, "acme/app"));
    }
}

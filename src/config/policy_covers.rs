//! Whether a policy that was changed still deletes what it deleted before.

use super::policy::{DeleteRule, Doomed, KeepRule, Policy, TagSelector};
use crate::oci::Tag;

impl Policy {
    /// Whether this policy deletes a tag in every state of a repository in which `former` deletes it,
    /// apart from limits. `false` also where that cannot be told from the lines alone.
    pub fn covers(&self, former: &Self, tag: &Tag) -> bool {
        self.clock == former.clock
            && self.grace <= former.grace
            && (former.has_untagged() || !self.has_untagged())
            && self.keep.iter().all(|line| !line.selector.selects(tag) || line.was_no_help(former))
            && former.condemns(tag)
            && former.lines_about(tag).all(|was| self.lines_about(tag).any(|line| line.covers(was)))
    }

    /// Such a policy deletes nothing where the registry does not list untagged manifests.
    fn has_untagged(&self) -> bool {
        self.delete.iter().any(|line| line.what == Doomed::Untagged)
    }

    fn condemns(&self, tag: &Tag) -> bool {
        self.lines_about(tag).next().is_some()
    }

    /// The lines of `delete` that may select a tag.
    fn lines_about(&self, tag: &Tag) -> impl Iterator<Item = &DeleteRule> {
        let selects = |line: &&DeleteRule| matches!(&line.what, Doomed::Tags { selector, .. } if selector.selects(tag));
        self.delete.iter().filter(selects)
    }
}

impl KeepRule {
    /// Whether `former` had a line that keeps at least as much as this one: what it deleted all the
    /// same, this line does not keep either.
    fn was_no_help(&self, former: &Policy) -> bool {
        let keeps_more = |was: &KeepRule| {
            was.selector == self.selector
                && was.newest.is_none_or(|was| self.newest.is_some_and(|newest| newest <= was))
        };
        former.keep.iter().any(keeps_more)
    }
}

impl DeleteRule {
    /// Whether this line deletes a tag that both select whenever `former` does.
    fn covers(&self, former: &Self) -> bool {
        let is_no_older = match (self.older_than, former.older_than) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(age), Some(was)) => age <= was,
        };
        let counts_no_more = match (self.counted(), former.counted()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((selector, newest)), Some((was, former))) => selector == was && newest <= former,
        };
        is_no_older && counts_no_more
    }

    /// Among which tags it counts the newest images, and how many of them it spares.
    fn counted(&self) -> Option<(&TagSelector, u32)> {
        let Doomed::Tags { selector, beyond_newest } = &self.what else { return None };
        beyond_newest.map(|newest| (&**selector, newest.get()))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::sample;

    fn policy(lines: &str) -> crate::config::policy::Policy {
        let text = format!("[[cleanup]]\nname = \"c\"\nrepositories = [\"t.example/**\"]\n{lines}");
        sample(&text).cleanup.remove(0).policy
    }

    #[test]
    fn stricter_and_unrelated_lines_cover_what_was_deleted() {
        let former = policy(
            "keep = [{ id = \"v\", semver = \">=1\", newest = 5 }]\n\
             delete = [{ id = \"pr\", tags = [\"pr-*\"], older_than = \"7d\" },\n\
             { id = \"old\", tags = [\"v*\"], beyond_newest = 9 }]",
        );
        let cases = [
            // What concerns other tags, ids and order.
            ("pr-1", "delete = [{ id = \"x\", tags = [\"pr-*\"], older_than = \"7d\" }]", true),
            (
                "pr-1",
                "keep = [{ id = \"k\", tags = [\"latest\"] }]\n\
                 delete = [{ id = \"x\", tags = [\"p*\", \"test-*\"], older_than = \"1d\" }]",
                true,
            ),
            // It may be young enough now, or kept.
            ("pr-1", "delete = [{ id = \"x\", tags = [\"pr-*\"], older_than = \"8d\" }]", false),
            (
                "pr-1",
                "keep = [{ id = \"k\", tags = [\"pr-*\"], newest = 1 }]\n\
                 delete = [{ id = \"x\", tags = [\"pr-*\"], older_than = \"7d\" }]",
                false,
            ),
            ("pr-1", "delete = [{ id = \"x\", tags = [\"test-*\"] }]", false),
            (
                "pr-1",
                "grace = \"3d\"\ndelete = [{ id = \"x\", tags = [\"pr-*\"], older_than = \"7d\" }]",
                false,
            ),
            ("pr-1", "clock = [\"created\"]\ndelete = [{ id = \"x\", tags = [\"pr-*\"] }]", false),
            // Counted among the same tags, and among others.
            (
                "v1.0",
                "keep = [{ id = \"v\", semver = \">=1\", newest = 4 }]\n\
                 delete = [{ id = \"old\", tags = [\"v*\"], beyond_newest = 8 }]",
                true,
            ),
            ("v1.0", "delete = [{ id = \"old\", tags = [\"v*\"], beyond_newest = 10 }]", false),
            ("v1.0", "delete = [{ id = \"old\", tags = [\"v1*\"], beyond_newest = 9 }]", false),
            (
                "v1.0",
                "keep = [{ id = \"v\", semver = \">=1\", newest = 6 }]\n\
                 delete = [{ id = \"old\", tags = [\"v*\"], beyond_newest = 9 }]",
                false,
            ),
        ];
        for (tag, lines, expected) in cases {
            assert_eq!(policy(lines).covers(&former, &tag.parse().unwrap()), expected, "{lines}");
        }
        let nothing_about_it = "other".parse().unwrap();
        assert!(!former.covers(&former, &nothing_about_it));
    }
}

//! What a tag needs, from what is known of both sides: a pure decision.

use crate::config::OnConflict;
use crate::oci::Digest;
use crate::state::TagState;

/// What is known of the tag at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtTarget {
    /// Not asked, because the state vouches for it.
    Vouched,
    Lacks,
    Has(Digest),
    /// It does not let the tag be read, but may let it be put.
    Unreadable,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    InStep,
    Copy(&'static str),
    /// Someone else changed the target's tag, and the rule keeps it.
    Keep,
    /// Someone else changed the target's tag, and the rule wants that looked at.
    Refuse,
    /// A cleanup rule deleted just this from the target, and would do it again.
    Withhold,
    /// It cannot be said without asking the target.
    Ask,
}

/// What is known of one tag besides what the target has.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What the source has now.
    pub source: &'a Digest,
    /// What was last put at the target, under whatever options.
    pub record: Option<&'a TagState>,
    /// The record was made under today's options.
    pub same_options: bool,
    /// An index of which today's options take a part: that the target has the same digest does
    /// not say that it has what is wanted.
    pub filtered: bool,
    /// What a cleanup rule deleted from the target under this tag, if it would do so today.
    pub withdrawn: Option<&'a Digest>,
}

impl Known<'_> {
    /// Whether a cleanup rule deleted the very image that would be put there: the source has not
    /// moved since then. Without this, one would copy for ever what the other deletes.
    fn is_withdrawn(&self) -> bool {
        let Some(withdrawn) = self.withdrawn else { return false };
        let rewritten = |record: &TagState| {
            record.source_digest == *self.source && record.target_digest == *withdrawn
        };
        self.source == withdrawn || self.record.is_some_and(rewritten)
    }

    /// Whether a target with the source's own digest has what is wanted.
    fn equal_is_enough(&self) -> bool {
        !self.filtered && (self.record.is_none() || self.same_options)
    }
}

/// Decides for one tag at one target.
///
/// A target tag counts as changed by someone else when it is neither what the source has nor
/// what was last put there. Without a record nothing is known to be put there by us.
pub fn decide(known: &Known<'_>, target: &AtTarget, on_conflict: OnConflict) -> Verdict {
    let recorded = known.record.is_some_and(|record| record.source_digest == *known.source);
    let current = recorded && known.same_options;
    match target {
        AtTarget::Vouched if current => Verdict::InStep,
        AtTarget::Vouched if on_conflict == OnConflict::Overwrite => {
            Verdict::Copy("the source has moved")
        }
        AtTarget::Vouched => Verdict::Ask,
        AtTarget::Unreadable if current => Verdict::InStep,
        AtTarget::Unreadable => Verdict::Copy("the target does not let it be read"),
        AtTarget::Lacks if known.is_withdrawn() => Verdict::Withhold,
        AtTarget::Lacks => Verdict::Copy("the target lacks it"),
        AtTarget::Has(found) => {
            let equal = found == known.source;
            let ours = known.record.is_some_and(|record| record.target_digest == *found);
            if current && ours || equal && known.equal_is_enough() {
                Verdict::InStep
            } else if recorded && ours {
                Verdict::Copy("the rule asks for something else than before")
            } else if ours {
                Verdict::Copy("the source has moved")
            } else if equal {
                Verdict::Copy("the rule asks for a part of it")
            } else {
                match on_conflict {
                    OnConflict::Overwrite => Verdict::Copy("the target differs"),
                    OnConflict::Keep => Verdict::Keep,
                    OnConflict::Fail => Verdict::Refuse,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn record(source: &str, target: &str) -> TagState {
        TagState::sample(&digest(source), &digest(target))
    }

    #[test]
    fn verdicts() {
        use OnConflict::{Fail, Keep, Overwrite};
        use Verdict::{Ask, InStep, Refuse};
        let has = |name: &str| AtTarget::Has(digest(name));
        let moved = Verdict::Copy("the source has moved");
        let differs = Verdict::Copy("the target differs");
        let lacks = Verdict::Copy("the target lacks it");
        let keep = Verdict::Keep;
        let cases = [
            // source, record (source, target), target, on_conflict
            ("a", Some(("a", "a")), AtTarget::Vouched, Fail, InStep),
            ("b", Some(("a", "a")), AtTarget::Vouched, Overwrite, moved),
            ("b", Some(("a", "a")), AtTarget::Vouched, Keep, Ask),
            ("a", None, AtTarget::Lacks, Fail, lacks),
            ("a", Some(("a", "a")), AtTarget::Lacks, Keep, lacks),
            ("a", None, has("a"), Fail, InStep),
            ("a", None, has("b"), Overwrite, differs),
            ("a", None, has("b"), Keep, keep),
            ("a", None, has("b"), Fail, Refuse),
            ("b", Some(("a", "a")), has("a"), Fail, moved),
            ("b", Some(("a", "a")), has("b"), Fail, InStep),
            ("b", Some(("a", "a")), has("c"), Keep, keep),
            ("a", Some(("a", "a")), has("c"), Overwrite, differs),
            // Rewritten on its way: the target's digest is another one by design.
            ("a", Some(("a", "x")), has("x"), Fail, InStep),
            ("b", Some(("a", "x")), has("x"), Fail, moved),
        ];
        for (source, known, target, on_conflict, expected) in cases {
            let known = known.map(|(source, target)| record(source, target));
            let known = Known {
                source: &digest(source),
                record: known.as_ref(),
                same_options: true,
                filtered: false,
                withdrawn: None,
            };
            let verdict = decide(&known, &target, on_conflict);
            assert_eq!(verdict, expected, "{source} {known:?} {target:?} {on_conflict:?}");
        }
    }

    /// Only what the target lacks is withheld, and only while the source has what was deleted.
    #[test]
    fn what_cleanup_deleted_is_withheld() {
        let has = |name: &str| AtTarget::Has(digest(name));
        let lacks = Verdict::Copy("the target lacks it");
        let cases = [
            // source, record (source, target), withdrawn, target, expected
            ("a", None, "a", AtTarget::Lacks, Verdict::Withhold),
            ("a", Some(("a", "a")), "a", AtTarget::Lacks, Verdict::Withhold),
            ("b", Some(("a", "a")), "a", AtTarget::Lacks, lacks),
            ("b", None, "a", AtTarget::Lacks, lacks),
            // Rewritten on its way.
            ("a", Some(("a", "x")), "x", AtTarget::Lacks, Verdict::Withhold),
            ("b", Some(("a", "x")), "x", AtTarget::Lacks, lacks),
            ("a", Some(("a", "y")), "x", AtTarget::Lacks, lacks),
            // The source has gone back to it: the record knows only what came after.
            ("a", Some(("b", "b")), "a", AtTarget::Lacks, Verdict::Withhold),
            // Somebody has put it again, or something else.
            ("a", Some(("a", "a")), "a", has("a"), Verdict::InStep),
            ("a", Some(("a", "a")), "a", has("c"), Verdict::Keep),
            ("b", Some(("a", "a")), "a", has("a"), Verdict::Copy("the source has moved")),
        ];
        for (source, known, withdrawn, target, expected) in cases {
            let record = known.map(|(source, target)| record(source, target));
            for same_options in [true, false] {
                let known = Known {
                    source: &digest(source),
                    record: record.as_ref(),
                    same_options,
                    filtered: false,
                    withdrawn: Some(&digest(withdrawn)),
                };
                let verdict = decide(&known, &target, OnConflict::Keep);
                if same_options || target == AtTarget::Lacks {
                    assert_eq!(verdict, expected, "{source} {known:?} {target:?}");
                }
            }
        }
    }

    /// What was put under other options is still ours, but it may not be what is wanted now.
    #[test]
    fn other_options_are_no_conflict() {
        let has = |name: &str| AtTarget::Has(digest(name));
        let cases = [
            // record (source, target), target, filtered, expected
            (Some(("a", "a")), "a", false, "the rule asks for something else than before"),
            (Some(("a", "x")), "x", true, "the rule asks for something else than before"),
            (Some(("old", "x")), "x", true, "the source has moved"),
            (None, "a", true, "the rule asks for a part of it"),
        ];
        for (known, target, filtered, expected) in cases {
            let record = known.map(|(source, target)| record(source, target));
            let known = Known {
                source: &digest("a"),
                record: record.as_ref(),
                same_options: false,
                filtered,
                withdrawn: None,
            };
            let verdict = decide(&known, &has(target), OnConflict::Fail);
            assert_eq!(verdict, Verdict::Copy(expected), "{known:?} {target}");
        }
    }
}

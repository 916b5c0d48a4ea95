//! A policy that covers a former one deletes all that it deleted, whatever the repository; and a
//! former policy is read back as it was.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::generate::{delete_rule, in_use, keep_rule, policy, world};
use super::world::now;
use crate::cleanup::{InUse, Snapshot, TagFate, Untag, plan};
use crate::config::policy::{Doomed, Policy};
use crate::config::{CleanupRule, former_policy, sample};
use crate::oci::Tag;

/// A former policy, and what somebody made of it.
fn change() -> impl Strategy<Value = (Policy, Policy)> {
    let lines = (vec(keep_rule(), 0..2), vec(delete_rule(), 0..2));
    let edits = (vec(0..4_u8, 8), select(vec![0_u64, 0, 1, 3]), any::<bool>());
    (policy(), lines, edits, policy()).prop_map(
        |(former, (mut keep, mut delete), (edits, grace, same_clock), other)| {
            let mut edits = edits.into_iter();
            let mut edit = || edits.next().unwrap_or_default();
            for line in &former.keep {
                let mut line = line.clone();
                match edit() {
                    0 => continue,
                    1 => line.newest = line.newest.and_then(|n| (n.get() - 1).try_into().ok()),
                    _ => {}
                }
                keep.push(line);
            }
            for line in &former.delete {
                let mut line = line.clone();
                match (edit(), &mut line.what) {
                    (0, _) => continue,
                    (1, _) => line.older_than = line.older_than.map(|age| age / 2),
                    (2, Doomed::Tags { beyond_newest, .. }) => *beyond_newest = None,
                    _ => {}
                }
                delete.push(line);
            }
            let clock = if same_clock { former.clock.clone() } else { other.clock };
            let grace = former.grace * grace.try_into().unwrap_or_default() / 3;
            let mut changed = Policy { keep, delete, clock, grace, ..former.clone() };
            let ids = changed.keep.iter_mut().map(|line| &mut line.id);
            let ids = ids.chain(changed.delete.iter_mut().map(|line| &mut line.id));
            ids.enumerate().for_each(|(at, id)| *id = format!("l{at}"));
            (former, changed)
        },
    )
}

fn deleted<'a>(snapshot: &'a Snapshot, policy: &Policy, in_use: &InUse) -> Vec<&'a Tag> {
    let plan = plan(snapshot, policy, in_use, now());
    let rows = snapshot.tags().iter().zip(plan.tags());
    let gone = rows.filter(|(_, verdict)| verdict.fate != TagFate::Keep);
    gone.map(|(row, _)| &row.name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_a_former_policy_deleted_a_covering_one_deletes(
        world in world(), (former, changed) in change(), in_use in in_use(),
    ) {
        let mut world = world;
        world.abilities.untag = Untag::Yes;
        let snapshot = world.snapshot();
        let (before, after) =
            (deleted(&snapshot, &former, &in_use), deleted(&snapshot, &changed, &in_use));
        for tag in before.into_iter().filter(|tag| changed.covers(&former, tag)) {
            prop_assert!(after.contains(&tag), "{}", tag);
        }
    }

    #[test]
    fn a_policy_covers_itself_for_what_it_deletes(world in world(), policy in policy(), in_use in in_use()) {
        let snapshot = world.snapshot();
        for tag in deleted(&snapshot, &policy, &in_use) {
            let condemned = policy.delete.iter().any(|line| {
                matches!(&line.what, Doomed::Tags { selector, .. } if selector.selects(tag))
            });
            prop_assert_eq!(policy.covers(&policy, tag), condemned, "{}", tag);
        }
    }

    #[test]
    fn a_former_policy_is_read_as_it_was(policy in policy()) {
        let text = "[[cleanup]]\nname = \"c\"\nrepositories = [\"t.example/a\"]\n\
                    delete = [{ id = \"d\", tags = [\"x\"] }]";
        let rule = CleanupRule { policy: policy.clone(), ..sample(text).cleanup.remove(0) };
        prop_assert_eq!(former_policy(&rule.policy_text()), Some(policy));
    }
}

//! Rules that would write over each other: different repositories whose images surely meet under
//! the same tag of the same target repository.
//!
//! Only what the configuration alone proves is refused; what patterns expand to is not known here.

use std::collections::HashMap;

use super::checker::Checker;
use super::document::Node;
use super::sync::SyncRule;

/// Reports each target at which a rule meets an earlier one. `nodes` are those of the rules.
pub fn check<'a>(
    rules: &[SyncRule],
    nodes: impl Iterator<Item = Node<'a>>,
    checker: &mut Checker<'_>,
) {
    let mut writers: HashMap<_, Vec<&SyncRule>> = HashMap::new();
    for (rule, node) in rules.iter().zip(nodes) {
        let source = &rule.source;
        let Some(repository) = source.repository().filter(|_| node.is_sound()) else { continue };
        for (target, node) in rule.targets.iter().zip(node.get("target").items()) {
            let Ok(address) = target.address(source, repository) else { continue };
            let others = writers.entry(address).or_default();
            if let Some(other) = others.iter().find(|other| collide(rule, other)) {
                let name = &other.name;
                let message = format!(
                    "rule `{name}` copies another repository to the same tags of this target"
                );
                let hint = "give each repository a target of its own, or tags that do not overlap";
                checker.report_with_hint(node.span(), message, hint);
            }
            others.push(rule);
        }
    }
}

fn collide(one: &SyncRule, other: &SyncRule) -> bool {
    let repository =
        |rule: &SyncRule| (rule.source.store.clone(), rule.source.repository().cloned());
    repository(one) != repository(other) && one.tags.surely_overlaps(&other.tags)
}

//! Rules that would write over each other: different repositories whose images surely meet under
//! the same tag of the same target repository.
//!
//! Only what the configuration alone proves is refused; what patterns expand to is not known here.

use std::collections::HashMap;

use super::read_rule::PlacedRule;
use super::reader::Reader;
use crate::oci::template::SourceContext;

/// Reports each target at which a rule meets an earlier one.
pub fn check(rules: &[PlacedRule], reader: &mut Reader<'_>) {
    let mut writers: HashMap<_, Vec<&PlacedRule>> = HashMap::new();
    for placed in rules {
        let source = &placed.rule.source;
        let Some(repository) = source.repository() else { continue };
        let prefix = source.literal_prefix();
        let context = SourceContext { registry: &source.registry, repository, prefix };
        for (target, place) in placed.rule.targets.iter().zip(&placed.targets) {
            let Ok(path) = target.template.render(&context) else { continue };
            let others = writers.entry((&target.registry, path)).or_default();
            if let Some(other) = others.iter().find(|other| collide(placed, other)) {
                let name = &other.rule.name;
                let message = format!(
                    "rule `{name}` copies another repository to the same tags of this target"
                );
                let hint = "give each repository a target of its own, or tags that do not overlap";
                reader.report_with_hint(place.clone(), message, hint);
            }
            others.push(placed);
        }
    }
}

fn collide(one: &PlacedRule, other: &PlacedRule) -> bool {
    let repository = |placed: &PlacedRule| {
        let source = &placed.rule.source;
        (source.registry.clone(), source.repository().cloned())
    };
    repository(one) != repository(other) && one.rule.tags.surely_overlaps(&other.rule.tags)
}

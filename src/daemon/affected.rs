//! Which rules a push affects, and which of their images. Pure.
//!
//! The event is a hint: it leads to an ordinary run over fewer images, which reads the registry
//! for itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::config::{SourceRepositories, SyncRule};
use crate::events::{Action, PushEvent};
use crate::oci::RegistryHost;
use crate::oci::derived;
use crate::oci::reference::Tag;
use crate::oci::selection::Judgement;

/// Which images of a rule a push at `registry` affects; `None`: none of them.
///
/// `Some(Some(tag))`: this tag, which the rule surely selects. `Some(None)`: every image of the
/// rule in the event's repository, because the selection needs the whole list (`latest`), or
/// because what was pushed belongs to another image.
///
/// - A deletion affects no rule: rules copy what is there.
/// - A push by digest alone affects no rule either, unless it is known to be a referrer: it is a
///   platform of an index whose tag is yet to come, or nothing that a rule could select.
/// - A referrer affects the rules that copy referrers; its event seldom says to which image it
///   belongs.
/// - A rule for one digest is affected only by the referrers of that digest.
/// - A rule with several sources is affected as each of them is.
pub fn affected<'a>(
    rule: &SyncRule,
    registry: &RegistryHost,
    event: &'a PushEvent,
) -> Option<Option<&'a Tag>> {
    let of_parts = rule.parts().filter_map(|part| part_affected(part, registry, event));
    // The whole repository is more than one tag.
    of_parts.min_by_key(Option::is_some)
}

fn part_affected<'a>(
    rule: &SyncRule,
    registry: &RegistryHost,
    event: &'a PushEvent,
) -> Option<Option<&'a Tag>> {
    if event.action == Action::Delete || rule.source.store.registry() != Some(registry) {
        return None;
    }
    let tag = event.tag.as_ref();
    match &rule.source.repositories {
        SourceRepositories::One(repository) if *repository == event.repository => {}
        SourceRepositories::Matching(pattern) if pattern.matches(&event.repository) => {}
        SourceRepositories::Pinned { repository, digest, .. }
            if *repository == event.repository =>
        {
            let subject = tag.and_then(derived::parse);
            let its_own = subject.is_none_or(|subject| subject.belongs_to(digest));
            return (event.referrer && rule.referrers && its_own).then_some(None);
        }
        _ => return None,
    }
    if event.referrer {
        return rule.referrers.then_some(None);
    }
    let tag = tag?;
    match rule.tags.judge(tag) {
        Judgement::Selected => Some(Some(tag)),
        Judgement::Depends => Some(None),
        Judgement::Rejected => None,
    }
}

/// The distinct events of a message that arrived now, each with how often it occurs and when it
/// first happened: a burst must not cost every rule each of its events.
pub fn distinct(events: &[PushEvent], arrived: Timestamp) -> Vec<(&PushEvent, usize, Timestamp)> {
    let mut distinct = BTreeMap::new();
    for event in events {
        let PushEvent { repository, tag, referrer, action, .. } = event;
        let at = event.happened(arrived);
        let same = (repository, tag.as_ref(), *referrer, *action == Action::Delete);
        let (_, times, first) = distinct.entry(same).or_insert((event, 0, at));
        *times += 1;
        *first = at.min(*first);
    }
    distinct.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_rule;
    use crate::oci::Digest;

    const SUBJECT: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    /// The rule of a configuration with this source and these further lines.
    fn rule(source: &str, lines: &str) -> SyncRule {
        sample_rule(source, "t.example/{repository}", lines)
    }

    /// A push written as `repository:tag` or `repository@digest`.
    fn push(reference: &str) -> PushEvent {
        let image: crate::oci::ImageReference = format!("r.example/{reference}").parse().unwrap();
        PushEvent {
            repository: image.repository,
            referrer: image.tag.as_ref().is_some_and(|tag| derived::parse(tag).is_some()),
            tag: image.tag,
            digest: image.digest,
            action: Action::Push,
            at: None,
        }
    }

    fn outcome(rule: &SyncRule, event: &PushEvent) -> String {
        match affected(rule, &"r.example".parse().unwrap(), event) {
            None => "nothing".to_owned(),
            Some(None) => "repository".to_owned(),
            Some(Some(tag)) => tag.to_string(),
        }
    }

    #[test]
    fn rules_are_affected_by_what_they_would_copy() {
        let signature = format!("acme/app:{}.sig", SUBJECT.replace(':', "-"));
        let fallback = format!("acme/app:{}", SUBJECT.replace(':', "-"));
        let other = format!("acme/app:{}", derived::fallback_tag(&Digest::of(b"other")));
        let pinned = format!("r.example/acme/app:v1@{SUBJECT}");
        let by_digest = format!("acme/app@{SUBJECT}");
        let versions = "tags = { include = [\"main\", \"v*\"], exclude = [\"v9*\"], newest = 3 }";
        let range = "tags = { semver = \">=2\" }";
        let cases = [
            ("r.example/acme/app", "", "acme/app:v1", "v1"),
            ("r.example/acme/app", "", "acme/app2:v1", "nothing"),
            ("other.example/acme/app", "", "acme/app:v1", "nothing"),
            ("r.example/acme/**", "", "acme/team/app:v1", "v1"),
            ("r.example/acme/*", "", "acme/team/app:v1", "nothing"),
            ("r.example/acme/app:v1", "", "acme/app:v1", "v1"),
            ("r.example/acme/app:v1", "", "acme/app:v2", "nothing"),
            ("r.example/acme/app", range, "acme/app:2.1", "2.1"),
            ("r.example/acme/app", range, "acme/app:1.9", "nothing"),
            ("r.example/acme/app", range, "acme/app:main", "nothing"),
            ("r.example/acme/app", versions, "acme/app:v3.1", "repository"),
            ("r.example/acme/app", versions, "acme/app:v9.1", "nothing"),
            ("r.example/acme/app", versions, "acme/app:main", "main"),
            ("r.example/acme/app", versions, "acme/app:vx", "nothing"),
            ("r.example/acme/app", "", &signature, "repository"),
            ("r.example/acme/app", "", &fallback, "repository"),
            ("r.example/acme/app", "referrers = false", &signature, "nothing"),
            ("r.example/acme/other", "", &signature, "nothing"),
            ("r.example/acme/app", "", &by_digest, "nothing"),
            (&pinned, "", "acme/app:v1", "nothing"),
            (&pinned, "", &by_digest, "nothing"),
            (&pinned, "", &signature, "repository"),
            (&pinned, "", &other, "nothing"),
            (&pinned, "referrers = false", &signature, "nothing"),
        ];
        for (source, lines, reference, expected) in cases {
            let got = outcome(&rule(source, lines), &push(reference));
            assert_eq!(got, expected, "{source} {lines} {reference}");
        }
    }

    #[test]
    fn repeated_events_count_once_from_their_first_time() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let at = |seconds, event| PushEvent { at: Some(second(seconds)), ..event };
        let deleted = PushEvent { action: Action::Delete, ..push("acme/app:v1") };
        let events = [
            at(20, push("acme/app:v1")),
            at(10, push("acme/app:v1")),
            at(30, push("acme/app:v2")),
            push("acme/app:v1"),
            deleted.clone(),
            at(99, push("acme/other:v1")),
        ];
        let expected = [
            (&events[0], 3, second(10)),
            (&deleted, 1, second(50)),
            (&events[2], 1, second(30)),
            (&events[5], 1, second(50)),
        ];
        assert_eq!(distinct(&events, second(50)), expected);
    }

    #[test]
    fn deletions_affect_nothing() {
        let deleted = PushEvent { action: Action::Delete, ..push("acme/app:v1") };
        assert_eq!(outcome(&rule("r.example/acme/app", ""), &deleted), "nothing");
    }

    #[test]
    fn a_referrer_without_a_tag_affects_its_repository() {
        let referrer = PushEvent { referrer: true, ..push(&format!("acme/app@{SUBJECT}")) };
        assert_eq!(outcome(&rule("r.example/acme/app", ""), &referrer), "repository");
        let pinned = rule(&format!("r.example/acme/app@{SUBJECT}"), "");
        assert_eq!(outcome(&pinned, &referrer), "repository");
    }
}

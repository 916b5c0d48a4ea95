//! Plans of single repositories: what cannot be known, impossible times, many tags, explanations.

use std::borrow::Cow;

use super::rules::{UNTAGGED, cleaned, policy, tags};
use super::world::{World, days_ago, now};
use crate::cleanup::{InUse, PlannedStep, Refusal, explain, plan};
use crate::config::policy::ClockSource;
use crate::oci::{Digest, derived};
use crate::repository::Reference;

/// A pattern that is not what was meant keeps nothing, and the plan says so where it matters.
#[test]
fn a_keep_line_that_keeps_nothing_is_named() {
    let mut world = World::new();
    let (old, release) = (world.index("old", 90, &[]), world.index("release", 90, &[]));
    world.tag("pr-1", &old);
    world.tag("v1.0", &release);
    let (snapshot, in_use) = (world.snapshot(), InUse::default());
    let named = |keep: &str, delete: &str| -> Vec<String> {
        let policy = policy(keep, delete, "");
        let plan = plan(&snapshot, &policy, &in_use, now());
        plan.idle_keeps().into_iter().map(str::to_owned).collect()
    };
    let keep =
        "{ id = \"releases\", tags = [\"release-*\"] }, { id = \"versions\", tags = [\"v*\"] }";
    assert_eq!(named(keep, "{ id = \"pr\", tags = [\"pr-*\"] }"), ["releases"]);
    assert_eq!(named(keep, "{ id = \"ci\", tags = [\"ci-*\"] }"), [""; 0], "nothing is deleted");
}

/// A registry that does not list manifests without tags cannot be asked to delete them, and what
/// is in use there must have been looked for.
#[test]
fn what_cannot_be_known_is_refused() {
    let mut world = World::new();
    world.abilities.lists_untagged = false;
    let image = world.image("image", 90);
    world.tag("v1", &image);
    let in_use = InUse { digests: [(Digest::of(b"elsewhere"), vec![])].into(), ..InUse::default() };
    let policy = policy("", UNTAGGED, "");
    let snapshot = world.snapshot();
    let plan = plan(&snapshot, &policy, &in_use, now());
    assert!(matches!(plan.refusals[..], [Refusal::NotListed { .. }, Refusal::InUseUnknown(_)]));
    // A child that nobody looked at.
    let mut builder = crate::cleanup::Builder::new("r", world.abilities);
    let item = &mut world.items.get_mut(&image).unwrap().found;
    (item.is_index, item.children) = (true, vec![Digest::of(b"child")]);
    builder.manifest(&image, item.clone());
    let reasons: Vec<_> = builder.finish().incomplete().iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [format!("{} is referred to, and was not looked at", Digest::of(b"child"))]
    );
}

/// A digest that runs by another name, or without one, is protected here, too; but nothing follows
/// from its not being here.
#[test]
fn what_runs_elsewhere_stays_here() {
    let mut world = World::new();
    world.abilities.lists_untagged = false;
    let (running, child, idle) =
        (world.image("running", 90), world.image("child", 90), world.image("idle", 90));
    let index = world.index("index", 90, &[&child]);
    world.tag("pr-1", &running);
    world.tag("pr-2", &idle);
    world.tag("pr-3", &index);
    let place = vec!["prod: Pod shop/web".to_owned()];
    let digests = [running.clone(), child, Digest::of(b"elsewhere")];
    let elsewhere = digests.into_iter().map(|digest| (digest, place.clone())).collect();
    let in_use = InUse { elsewhere, ..InUse::default() };
    let policy = policy("", "{ id = \"pr\", tags = [\"pr-*\"] }", "");
    let snapshot = world.snapshot();
    let plan = plan(&snapshot, &policy, &in_use, now());
    assert!(plan.refusals.is_empty());
    let gone: Vec<_> = plan.to_steps().map(|step| step.digest).collect();
    // The index stays with its child: nothing else would lead to that any more.
    assert_eq!(gone, [idle]);
    let held = explain(&plan, &Reference::Digest(index)).unwrap();
    assert_eq!(held.action, "keep");
    assert_eq!(held.blockers, ["in-use", "tag-stays"]);
    let explanation = explain(&plan, &Reference::Digest(running)).unwrap();
    assert_eq!(explanation.action, "keep");
    assert_eq!(explanation.in_use, ["prod: Pod shop/web"]);
    assert_eq!(explanation.blockers, ["in-use", "tag-stays"]);
}

/// A tag that points elsewhere on the next page.
#[test]
fn a_list_that_changes_while_it_is_read_is_not_whole() {
    let mut builder = crate::cleanup::Builder::new("r", World::new().abilities);
    builder.tag("v1".parse().unwrap(), &Digest::of(b"a"), false);
    builder.tag("v1".parse().unwrap(), &Digest::of(b"b"), false);
    let snapshot = builder.finish();
    assert!(snapshot.incomplete()[0].to_string().contains("moved while it was read"));
}

#[test]
fn impossible_times_delete_nothing() {
    let mut world = World::new();
    let in_1970 = world.image("1970", 20_605);
    let in_future = world.image("future", -3);
    world.tag("pr-1", &in_1970);
    world.tag("pr-2", &in_future);
    let by_age = policy("", "{ id = \"pr\", tags = [\"pr-*\"], older_than = \"1d\" }", "");
    assert_eq!(cleaned(&world, &by_age).tags, world.tags);
    // Nor with a grace period alone: whether they are younger is not known.
    let young = policy("", "{ id = \"pr\", tags = [\"pr-*\"] }", "grace = \"1d\"");
    assert_eq!(cleaned(&world, &young).tags, world.tags);
}

/// An index has no configuration: it is as new as the newest of its children that say anything.
#[test]
fn indexes_are_as_old_as_what_they_list() {
    let mut world = World::new();
    let created = |world: &mut World, name: &str, days: Option<i64>| {
        let image = world.image(name, 0);
        let times = days.map(|days| (ClockSource::Created, days_ago(days)));
        world.items.get_mut(&image).unwrap().times = times.into_iter().collect();
        image
    };
    let (old, older) =
        (created(&mut world, "old", Some(30)), created(&mut world, "older", Some(90)));
    let new = created(&mut world, "new", Some(3));
    let silent = created(&mut world, "attestation", None);
    let (in_1970, in_future) =
        (created(&mut world, "1970", Some(20_605)), created(&mut world, "future", Some(-3)));
    let gone = Digest::of(b"a platform that was left out");
    let mut inner = None;
    for (tag, children) in [
        ("pr-old", vec![&old, &older, &silent, &gone]),
        ("pr-new", vec![&older, &new]),
        ("pr-silent", vec![&silent]),
        ("pr-1970", vec![&in_1970, &silent]),
        ("pr-partly-1970", vec![&in_1970, &old]),
        ("pr-partly-future", vec![&in_future, &old]),
        ("pr-empty", vec![]),
    ] {
        let index = world.index(tag, 0, &children);
        world.items.get_mut(&index).unwrap().times.clear();
        world.tag(tag, &index);
        inner.get_or_insert(index);
    }
    let outer = world.index("outer", 0, &[&inner.unwrap()]);
    world.items.get_mut(&outer).unwrap().times.clear();
    world.tag("pr-outer", &outer);
    let delete = "{ id = \"pr\", tags = [\"pr-*\"], older_than = \"20d\" }";
    let policy = policy("", delete, "clock = [\"created\"]");
    assert_eq!(
        tags(&cleaned(&world, &policy)),
        ["pr-1970", "pr-empty", "pr-new", "pr-partly-future", "pr-silent"]
    );
    let (snapshot, in_use) = (world.snapshot(), InUse::default());
    let plan = plan(&snapshot, &policy, &in_use, now());
    let explanation = explain(&plan, &Reference::Tag("pr-outer".parse().unwrap())).unwrap();
    let clock = serde_json::to_value(&explanation).unwrap()["clock"].clone();
    assert_eq!(clock, serde_json::json!({ "time": days_ago(30), "source": "created" }));
}

#[test]
fn thousands_of_tags_are_decided_together() {
    let mut world = World::new();
    for number in 0..3000_i64 {
        let image = world.image(&number.to_string(), number / 10);
        world.tag(&format!("v1.{}.{}", number / 100, number % 100), &image);
    }
    let keep = "{ id = \"releases\", semver = \">=1\", newest = 2, per = \"minor\" }";
    let delete = "{ id = \"old\", semver = \">=1\", older_than = \"100d\" }";
    let after = cleaned(&world, &policy(keep, delete, ""));
    // A thousand are younger; of the others, two stay of each twenty groups.
    assert_eq!(after.tags.len(), 1000 + 2 * 20);
    assert_eq!(cleaned(&after, &policy(keep, delete, "")).tags, after.tags);
}

#[test]
fn one_reference_is_explained() {
    let mut world = World::new();
    let (new, old) = (world.image("new", 3), world.image("old", 5));
    world.tag("pr-1", &new);
    world.tag("pr-2", &old);
    let signature = world.referrer("signature", 5, &old);
    let policy = policy(
        "{ id = \"floating\", tags = [\"main\"] }",
        "{ id = \"pr\", tags = [\"pr-*\"], older_than = \"4d\" }",
        "",
    );
    let (snapshot, in_use) = (world.snapshot(), InUse::default());
    let plan = plan(&snapshot, &policy, &in_use, now());
    let explain = |tag: &str| {
        let reference = Reference::Tag(tag.parse().unwrap());
        serde_json::to_value(explain(&plan, &reference)).unwrap()
    };
    assert_eq!(
        explain("pr-1"),
        serde_json::json!({
            "tag": "pr-1",
            "digest": new,
            "action": "keep",
            "refused": [],
            "clock": { "time": days_ago(3), "source": ClockSource::Pushed.as_str() },
            "rules": [
                { "rule": "floating", "keeps": true, "holds": false, "selects": false },
                { "rule": "pr", "keeps": false, "holds": false, "selects": true,
                  "not_before": days_ago(-1) },
            ],
            "blockers": [],
            "in_use": [],
            "tags": ["pr-1"],
            "owners": [],
            "bytes_freed": 0,
        })
    );
    let gone = explain("pr-2");
    // The document and its blob.
    assert_eq!((&gone["action"], &gone["bytes_freed"]), (&"delete".into(), &1100.into()));
    let signature = super::super::explain(&plan, &Reference::Digest(signature)).unwrap();
    assert_eq!(signature.action, "delete");
    assert_eq!(signature.owners, [Cow::Borrowed(&old)]);
    // Owners go first.
    let order: Vec<_> = plan
        .steps
        .iter()
        .map(|step| match step {
            PlannedStep::Delete { manifest, .. } => snapshot.digest(*manifest),
            PlannedStep::Untag { .. } => panic!("nothing is untagged"),
        })
        .collect();
    assert_eq!(order[0], &old);
    assert_eq!(explain("missing"), serde_json::Value::Null);
}

#[test]
fn manifests_are_read_into_what_a_snapshot_needs() {
    use crate::oci::{Manifest, media_type};
    use crate::state::ManifestSummary;
    let child = |kind: &str| serde_json::json!({ "mediaType": kind, "digest": Digest::of(b"c"), "size": 7 });
    let index = |kind: &str| {
        let document = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [child(kind)],
            "subject": child(media_type::OCI_MANIFEST),
        });
        Manifest::parse(document.to_string().into(), None, None).unwrap()
    };
    let found = ManifestSummary::of(&index(media_type::OCI_MANIFEST)).unwrap();
    assert!(found.is_index && found.subject.is_some());
    assert_eq!(found.children, [Digest::of(b"c")]);
    let unknown = ManifestSummary::of(&index("application/x-new")).unwrap_err();
    assert_eq!(unknown, "it lists something of the unknown type `application/x-new`");
}

/// Half of the digest is in the tag; the rest is found among what is there.
#[test]
fn tags_of_long_digests_find_their_image() {
    let mut world = World::new();
    let long: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
    let item = {
        let digest = world.image("image", 90);
        world.items.remove(&digest).unwrap()
    };
    world.items.insert(long.clone(), item);
    world.tag("pr-1", &long);
    let signature = world.image("signature", 90);
    world.tags.insert(derived::cosign_tag(&long, ".sig"), (signature, false));
    let after = cleaned(&world, &policy("", "{ id = \"pr\", tags = [\"pr-*\"] }", ""));
    assert!(after.tags.is_empty() && after.items.is_empty());
}

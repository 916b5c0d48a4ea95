//! What went wrong elsewhere, as far as planning alone decides it; tests/it/cleanup_stories.rs has
//! what is decided while deleting (story 11, a dry run that deleted, is only there). Each test says
//! in a line what happened there.

use super::rules::{UNTAGGED, cleaned, has, policy, tags};
use super::world::{World, now};
use crate::cleanup::plan::Limit;
use crate::cleanup::{InUse, Refusal, Untag, explain, plan};
use crate::repository::Reference;

/// actions/delete-package-versions#162: releases were lost; their tags remained, the children
/// were gone.
#[test]
fn story_01_children_of_releases() {
    let mut world = World::new();
    let (amd64, arm64) = (world.image("amd64", 90), world.image("arm64", 90));
    let index = world.index("index", 90, &[&amd64, &arm64]);
    world.tag("v1", &index);
    let after = cleaned(&world, &policy("", UNTAGGED, ""));
    assert!([amd64, arm64, index].iter().all(|digest| has(&after, digest)));
}

/// doobidoo/mcp-memory-service#1044: every release was broken, because the parts of their indexes
/// have no tags.
#[test]
fn story_02_every_release_is_whole() {
    let mut world = World::new();
    for release in ["v1", "v2", "v3", "latest"] {
        let image = world.image(&format!("{release} amd64"), 90);
        let attestation = world.image(&format!("{release} provenance"), 90);
        let index = world.index(release, 90, &[&image, &attestation]);
        world.tag(release, &index);
    }
    let forgotten = world.image("forgotten", 90);
    let after = cleaned(&world, &policy("", UNTAGGED, ""));
    assert!(!has(&after, &forgotten), "the rule does delete");
    assert_eq!((after.items.len(), &after.tags), (12, &world.tags));
    for tag in world.tags.keys() {
        assert_eq!(after.closure(tag), world.closure(tag));
    }
}

/// snok/container-retention-policy#63: provenance makes an image of one platform an index, whose
/// only image was deleted for having no tag.
#[test]
fn story_03_provenance_makes_indexes() {
    let mut world = World::new();
    let (image, attestation) = (world.image("image", 90), world.image("attestation", 90));
    let index = world.index("index", 1, &[&image, &attestation]);
    world.tag("latest", &index);
    let forgotten = world.image("forgotten", 90);
    // The index is young, and its parts are old enough.
    let old = "{ id = \"untagged\", untagged = true, older_than = \"30d\" }";
    let after = cleaned(&world, &policy("", old, ""));
    assert!(has(&after, &image) && has(&after, &attestation) && has(&after, &index));
    assert!(!has(&after, &forgotten), "the rule does delete");
}

/// snok/container-retention-policy#67: a change in what "keep at least" means deleted 25 more.
/// Here `newest` ranks what the names select, before any age.
#[test]
fn story_04_newest_counts_before_ages() {
    let mut world = World::new();
    for days in 1..=6 {
        let image = world.image(&format!("b{days}"), days * 10);
        world.tag(&format!("sha-{days}"), &image);
    }
    let delete = "{ id = \"builds\", tags = [\"sha-*\"], older_than = \"25d\", beyond_newest = 4 }";
    assert_eq!(
        tags(&cleaned(&world, &policy("", delete, ""))),
        ["sha-1", "sha-2", "sha-3", "sha-4"]
    );
}

/// snok/container-retention-policy#66: the dry run showed what the rules said before the tags to
/// skip were taken out. Here the plan is what is carried out.
#[test]
fn story_05_the_plan_knows_what_is_kept() {
    let mut world = World::new();
    let image = world.image("image", 90);
    world.tag("main", &image);
    world.tag("pr-1", &image);
    let policy =
        policy("{ id = \"floating\", tags = [\"main\"] }", "{ id = \"all\", tags = [\"*\"] }", "");
    let (snapshot, in_use) = (world.snapshot(), InUse::default());
    let plan = plan(&snapshot, &policy, &in_use, now());
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["steps"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&json["steps"][0]["action"], &json["steps"][0]["tag"]),
        (&"untag".into(), &"pr-1".into())
    );
    assert_eq!(tags(&cleaned(&world, &policy)), ["main"]);
}

/// dataaxiom/ghcr-cleanup-action#91: a release candidate and a release shared children; a later
/// run deleted them.
#[test]
fn story_06_shared_children() {
    let mut world = World::new();
    let (shared, own) = (world.image("shared", 90), world.image("own", 90));
    let rc = world.index("rc", 90, &[&shared, &own]);
    let release = world.index("release", 90, &[&shared]);
    world.tag("v1-rc1", &rc);
    world.tag("v1", &release);
    let policy = policy("", &format!("{{ id = \"rc\", tags = [\"*-rc*\"] }}, {UNTAGGED}"), "");
    let mut after = world;
    for _ in 0..2 {
        after = cleaned(&after, &policy);
        assert!(has(&after, &shared) && has(&after, &release));
        assert!(!has(&after, &rc) && !has(&after, &own));
    }
}

/// dataaxiom/ghcr-cleanup-action#104: cosign's bundles of live platform manifests were deleted.
#[test]
fn story_07_signatures_of_live_platforms() {
    let mut world = World::new();
    let platform = world.image("platform", 90);
    let index = world.index("index", 90, &[&platform]);
    world.tag("v1", &index);
    let bundle = world.referrer("bundle", 90, &platform);
    let list = world.index("list", 90, &[&bundle]);
    world.fallback(&platform, &list);
    let cosign = world.image("cosign", 90);
    world.cosign(&platform, &cosign);
    let all = format!("{UNTAGGED}, {{ id = \"orphans\", orphans = true }}");
    let after = cleaned(&world, &policy("", &all, ""));
    assert_eq!((after.items.len(), &after.tags), (world.items.len(), &world.tags));
}

/// numberly/vault-db-injector#78: deleting `…-unsigned` removed `v3.2.2` and `latest`.
#[test]
fn story_08_other_tags_of_the_digest_stay() {
    let mut world = World::new();
    let image = world.image("image", 90);
    for tag in ["latest", "v3.2.2", "v3.2.2-unsigned"] {
        world.tag(tag, &image);
    }
    let policy = policy("", "{ id = \"unsigned\", tags = [\"*-unsigned\"] }", "");
    let after = cleaned(&world, &policy);
    assert_eq!(tags(&after), ["latest", "v3.2.2"]);
    assert!(has(&after, &image));
}

/// Azure/acr-cli#342: `--untagged` broke all tagged images.
#[test]
fn story_09_untagged_children_of_tagged_indexes() {
    let mut world = World::new();
    let leaf = world.image("leaf", 90);
    let inner = world.index("inner", 90, &[&leaf]);
    let outer = world.index("outer", 90, &[&inner]);
    world.tag("v1", &outer);
    // A locked parent protects its children too.
    let part = world.image("part", 90);
    let locked = world.index("locked", 90, &[&part]);
    world.items.get_mut(&locked).unwrap().locked = true;
    let after = cleaned(&world, &policy("", UNTAGGED, ""));
    assert_eq!(after.items.len(), 5);
}

/// Azure/acr-cli#133: referrers of live subjects were purged, which was filed as an enhancement.
#[test]
fn story_10_referrers_of_live_subjects() {
    let mut world = World::new();
    let (live, dead) = (world.image("live", 90), world.image("dead", 90));
    world.tag("v1", &live);
    let sbom = world.referrer("sbom", 90, &live);
    let of_sbom = world.referrer("signature of the sbom", 90, &sbom);
    let of_dead = world.referrer("sbom of the dead", 90, &dead);
    let all = format!("{UNTAGGED}, {{ id = \"orphans\", orphans = true }}");
    let after = cleaned(&world, &policy("", &all, ""));
    assert!([&live, &sbom, &of_sbom].iter().all(|digest| has(&after, digest)));
    assert!(!has(&after, &dead) && !has(&after, &of_dead), "the rule does delete");
}

/// goharbor/harbor#23570: clusters pull by digest, so all of a proxy cache was untagged, and was
/// silently emptied. Here the limit stops it, and what is in use stays.
#[test]
fn story_12_a_cache_without_tags() {
    let mut world = World::new();
    let images: Vec<_> = (0..10).map(|n| world.image(&n.to_string(), 90)).collect();
    let snapshot = world.snapshot();
    let in_use =
        InUse { digests: [(images[3].clone(), vec!["k8s".to_owned()])].into(), ..InUse::default() };
    let limited = policy("", UNTAGGED, "max_delete = { percent = 20 }");
    let refused = plan(&snapshot, &limited, &in_use, now());
    assert!(refused.steps.is_empty());
    let reason = refused.refusals[0].to_string();
    assert_eq!(
        reason,
        "9 of 10 manifests would go, and `max_delete` allows 20 percent, which is 2"
    );
    let unlimited = policy("", UNTAGGED, "");
    let plan = plan(&snapshot, &unlimited, &in_use, now());
    assert_eq!(plan.steps.len(), 9);
    let explanation = explain(&plan, &Reference::Digest(images[3].clone())).unwrap();
    assert_eq!(explanation.action, "keep");
    assert_eq!(explanation.in_use, ["k8s"]);
}

/// goharbor/harbor#18014: signed untagged artifacts were never collected.
#[test]
fn story_13_signed_untagged_images_go_with_their_signatures() {
    let mut world = World::new();
    let image = world.image("image", 90);
    let signature = world.referrer("signature", 90, &image);
    let cosign = world.image("cosign", 90);
    world.cosign(&image, &cosign);
    let list = world.index("list", 90, &[&signature]);
    world.fallback(&image, &list);
    let after = cleaned(&world, &policy("", UNTAGGED, ""));
    assert!(after.items.is_empty() && after.tags.is_empty());
}

/// cosign dates its signatures in year 1, and other artifacts have no date at all: they go with the
/// last image that they belong to, whatever the grace period says of their own age.
#[test]
fn signatures_have_no_age_of_their_own() {
    let mut world = World::new();
    let (image, young) = (world.image("image", 90), world.image("young", 1));
    let cosign = world.image("cosign", 90);
    world.cosign(&image, &cosign);
    world.items.get_mut(&cosign).unwrap().times.clear();
    let referrer = world.referrer("sbom", 0, &image);
    let other = world.image("signature of the young one", 90);
    world.cosign(&young, &other);
    world.tag("pr-1", &image);
    world.tag("pr-2", &young);
    let rule = "{ id = \"pr\", tags = [\"pr-*\"] }";
    let after = cleaned(&world, &policy("", rule, "grace = \"2d\""));
    assert!([&image, &cosign, &referrer].iter().all(|digest| !has(&after, digest)));
    assert!(has(&after, &young) && has(&after, &other), "its own age is what counts");
}

/// gitlab-org/gitlab#325429: a policy wiped every image, twice. A policy that would is an error
/// where that shows, and stopped by its limit where it does not.
#[test]
fn story_14_nothing_wipes_a_repository() {
    let mut world = World::new();
    for name in ["a1", "a2", "a3", "a4", "a5"] {
        let image = world.image(name, 90);
        world.tag(name, &image);
    }
    let policy =
        policy("", "{ id = \"x\", tags = [\"a*\"] }", "max_delete = { count = 200, percent = 20 }");
    let (snapshot, in_use) = (world.snapshot(), InUse::default());
    let plan = plan(&snapshot, &policy, &in_use, now());
    assert!(plan.steps.is_empty());
    let limits = vec![Limit { most: 1, percent: Some(20) }];
    let expected = Refusal::TooMany { what: "tags", wanted: 5, total: 5, limits };
    assert_eq!(plan.refusals[0], expected);
}

/// gitlab-org/gitlab#351538 and #377417: of tags that share a digest the newer was deleted and the
/// older kept.
#[test]
fn story_15_tags_that_share_a_digest_have_one_place() {
    let mut world = World::new();
    let (old, new) = (world.image("old", 50), world.image("new", 10));
    for tag in ["sha-1", "sha-2", "sha-3"] {
        world.tag(tag, &new);
    }
    world.tag("sha-0", &old);
    let delete = "{ id = \"x\", tags = [\"sha-*\"], beyond_newest = 1 }";
    assert_eq!(tags(&cleaned(&world, &policy("", delete, ""))), ["sha-1", "sha-2", "sha-3"]);
}

/// distribution#3178: garbage collection with `-m` removed the manifests of multi-platform images.
#[test]
fn story_16_multi_platform_manifests_are_not_garbage() {
    let mut world = World::new();
    let (kept, both) = (world.image("kept", 90), world.image("both", 90));
    let old = world.index("old", 90, &[&both]);
    let live = world.index("live", 90, &[&kept, &both]);
    world.tag("v2", &live);
    let after = cleaned(&world, &policy("", UNTAGGED, ""));
    assert!(!has(&after, &old) && has(&after, &both) && has(&after, &kept));
}

/// zot#1772, skopeo#1432: deleting a tag removed those beside it. Where a single tag cannot be taken
/// away, all stay, and the plan says why.
#[test]
fn story_17_tags_beside_it_stay() {
    let mut world = World::new();
    let image = world.image("image", 90);
    for tag in ["latest", "v3.2.2", "pr-1"] {
        world.tag(tag, &image);
    }
    world.abilities.untag = Untag::No;
    let policy = policy("", "{ id = \"pr\", tags = [\"pr-*\"] }", "");
    assert_eq!(cleaned(&world, &policy).tags, world.tags);
    let (snapshot, in_use) = (world.snapshot(), InUse::default());
    let plan = plan(&snapshot, &policy, &in_use, now());
    let tag = Reference::Tag("pr-1".parse().unwrap());
    assert_eq!(explain(&plan, &tag).unwrap().blockers, ["shared-digest"]);
}

/// zot#3804: the only tag was condemned although one was to be kept.
#[test]
fn story_18_the_only_tag_is_the_newest() {
    let mut world = World::new();
    let image = world.image("image", 900);
    world.tag("v1", &image);
    let all = "{ id = \"all\", tags = [\"*\"], older_than = \"1d\" }";
    let policy = policy("{ id = \"one\", tags = [\"*\"], newest = 1 }", all, "");
    assert_eq!(tags(&cleaned(&world, &policy)), ["v1"]);
    // Nor does a line that spares the newest take it.
    let beyond = "{ id = \"all\", tags = [\"*\"], older_than = \"1d\", beyond_newest = 1 }";
    assert_eq!(tags(&cleaned(&world, &self::policy("", beyond, ""))), ["v1"]);
}

/// ministryofjustice/cloud-platform#839: busy pull requests pushed the deployed image past the
/// limit of the count.
#[test]
fn story_19_what_is_deployed_stays() {
    let mut world = World::new();
    let mut deployed = None;
    for days in 1..=30 {
        let image = world.image(&days.to_string(), days);
        world.tag(&format!("sha-{days}"), &image);
        deployed = Some(image);
    }
    let deployed = deployed.unwrap();
    let policy = policy("", "{ id = \"x\", tags = [\"sha-*\"], beyond_newest = 5 }", "");
    let in_use = InUse {
        digests: [(deployed.clone(), vec!["k8s:prod".to_owned()])].into(),
        tags: [("sha-20".parse().unwrap(), vec!["k8s:prod".to_owned()])].into(),
        ..InUse::default()
    };
    let snapshot = world.snapshot();
    let plan = plan(&snapshot, &policy, &in_use, now());
    let after = world.after(&plan);
    assert!(has(&after, &deployed));
    assert_eq!(tags(&after), ["sha-1", "sha-2", "sha-20", "sha-3", "sha-30", "sha-4", "sha-5"]);
}

/// aws/containers-roadmap#2613: signatures took the places of images.
#[test]
fn story_20_signatures_take_no_places() {
    let mut world = World::new();
    for days in 1..=3 {
        let image = world.image(&format!("image {days}"), days);
        world.tag(&format!("v{days}"), &image);
        let signature = world.image(&format!("signature {days}"), 0);
        world.cosign(&image, &signature);
        let platform = world.image(&format!("platform {days}"), 0);
        let index = world.index(&format!("index {days}"), days, &[&platform]);
        world.tag(&format!("i{days}"), &index);
    }
    let policy = policy("", "{ id = \"x\", tags = [\"*\"], beyond_newest = 4 }", "");
    assert_eq!(
        tags(&cleaned(&world, &policy)).iter().filter(|tag| tag.len() == 2).collect::<Vec<_>>(),
        [&"i1", &"i2", &"v1", &"v2"]
    );
}

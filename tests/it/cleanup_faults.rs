//! What goes wrong while a cleanup deletes: nothing that is kept suffers, and the report says what
//! was not done, and why.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cleanup_apply::{PR, applied, apply, audit, home, image, outcomes, write_rule};
use crate::support::process::Finished;
use crate::support::{Family, Fault, Image, Kind, Place, Scripted, Tranship, eventually};

fn load(registry: &Scripted, tags: &[&str]) {
    for tag in tags {
        image(tag).load(registry, "app", tag);
    }
}

fn names(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(tag, outcome)| ((*tag).to_owned(), (*outcome).to_owned())).collect()
}

fn sorted(mut outcomes: Vec<(String, String)>) -> Vec<(String, String)> {
    outcomes.sort();
    outcomes
}

/// Runs an apply, and changes the registry after it was planned and before anything is deleted.
async fn changed_meanwhile(
    registry: &Scripted,
    tranship: &Tranship,
    change: impl Fn(),
) -> Finished {
    // The first list is for the plan, the second is read before the steps.
    let second = registry.on("GET", Kind::Tags).after(1).times(1).fail(Fault::Hang);
    let run = apply(tranship);
    let meanwhile = async {
        eventually("the second look", Duration::from_secs(30), || async {
            (second.count() == 1).then_some(())
        })
        .await;
        change();
        registry.release();
    };
    tokio::join!(run, meanwhile).0
}

fn repository(finished: &Finished) -> Value {
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    document["rules"][0]["repositories"][0].clone()
}

#[tokio::test]
async fn i09_a_digest_that_got_a_tag_meanwhile_stays() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "pr-2", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let finished = changed_meanwhile(&registry, &tranship, || {
        image("pr-1").load(&registry, "app", "released");
    })
    .await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let report = repository(&finished);
    let expected = names(&[("pr-1", "skipped"), ("pr-2", "deleted")]);
    assert_eq!(sorted(outcomes(&report)), expected, "{report:#}");
    let text = report.to_string();
    assert!(text.contains("it has the tag `released` now"), "{text}");
    assert_eq!(registry.tag("app", "released"), Some(image("pr-1").digest));
}

/// i04: what was not planned is not done, even if it would be by now.
#[tokio::test]
async fn i04_a_tag_that_was_moved_meanwhile_stays() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let finished = changed_meanwhile(&registry, &tranship, || {
        image("a new push").load(&registry, "app", "pr-1");
    })
    .await;
    let report = repository(&finished);
    assert_eq!(outcomes(&report), names(&[("pr-1", "skipped")]), "{report:#}");
    assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 0);
    assert_eq!(registry.tag("app", "pr-1"), Some(image("a new push").digest));
}

#[tokio::test]
async fn a_child_that_a_new_index_lists_stays() {
    let registry = Scripted::start();
    let child = image("child");
    let old = Image::index(Family::Oci, vec![(child.clone(), json!({}))]);
    let new = Image::index(
        Family::Oci,
        vec![(child.clone(), json!({ "platform": { "os": "x", "architecture": "y" } }))],
    );
    old.load(&registry, "app", "pr-1");
    load(&registry, &["1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let finished = changed_meanwhile(&registry, &tranship, || {
        new.load(&registry, "app", "2.0.0");
    })
    .await;
    let report = repository(&finished);
    let expected = names(&[("pr-1", "deleted"), (&child.digest, "skipped")]);
    assert_eq!(outcomes(&report), expected, "{report:#}");
    assert!(registry.endpoint().manifest("app", &child.digest).await.is_some());
}

#[tokio::test]
async fn what_was_deleted_by_others_is_gone() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    // Between the last look and the deletion.
    registry.on("DELETE", Kind::Manifest).once().fail(Fault::Hang);
    let run = apply(&tranship);
    let others = async {
        eventually("the deletion", Duration::from_secs(30), || async {
            (registry.traffic().count("DELETE", Kind::Manifest) == 1).then_some(())
        })
        .await;
        registry.endpoint().delete("app", &image("pr-1").digest).await;
        registry.release();
    };
    let report = repository(&tokio::join!(run, others).0);
    assert_eq!(outcomes(&report), names(&[("pr-1", "gone")]), "{report:#}");
}

/// Registries without deletion answered so to everything.
#[tokio::test]
async fn what_is_said_to_be_gone_and_is_not_was_not_deleted() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    registry.on("DELETE", Kind::Manifest).fail(Fault::status(404).error("MANIFEST_UNKNOWN", "?"));
    let report = applied(&tranship, 1).await;
    assert_eq!(outcomes(&report), names(&[("pr-1", "failed")]), "{report:#}");
}

/// A parent that is refused keeps its children.
#[tokio::test]
async fn i01_what_is_refused_keeps_what_it_owns() {
    let registry = Scripted::start();
    let index = Image::platforms(Family::Oci, "index", &["amd64", "arm64"]).refer("sbom", "x/sbom");
    index.load(&registry, "app", "pr-1");
    load(&registry, &["pr-2", "1.0.0"]);
    let refusal = Fault::status(412).error("DENIED", "the tag is immutable");
    registry.on("DELETE", Kind::Manifest).containing(&index.digest).fail(refusal);
    let tranship = home(&registry, "app", PR);
    let report = applied(&tranship, 0).await;
    let found = outcomes(&report);
    let count = |outcome: &str| found.iter().filter(|(_, other)| other == outcome).count();
    assert_eq!((count("refused"), count("skipped"), count("deleted")), (1, 3, 1), "{report:#}");
    assert!(report.to_string().contains("the tag is immutable"), "{report:#}");
    for manifest in index.manifests() {
        assert!(registry.endpoint().manifest("app", &manifest.digest).await.is_some());
    }
    assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 2);
}

#[tokio::test]
async fn permission_that_is_lost_half_way_ends_the_run() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "pr-2", "pr-3", "pr-4", "pr-5", "pr-6", "1.0.0"]);
    let denied = Fault::status(403).error("DENIED", "no more");
    registry.on("DELETE", Kind::Manifest).after(1).fail(denied);
    let tranship = home(&registry, "app", PR);
    let report = applied(&tranship, 1).await;
    let found = outcomes(&report);
    let count = |outcome: &str| found.iter().filter(|(_, other)| other == outcome).count();
    assert_eq!((count("deleted"), count("failed"), count("not_done")), (1, 3, 2), "{report:#}");
    assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 4);
    assert!(report.to_string().contains("3 steps in a row"), "{report:#}");
    // All intents have their outcomes.
    let lines = audit(&tranship);
    let count = |key: &str| lines.iter().filter(|line| line.get(key).is_some()).count();
    assert_eq!((count("intent"), count("outcome")), (4, 4), "{lines:#?}");
}

#[tokio::test]
async fn too_many_requests_in_the_middle_only_take_time() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "pr-2", "pr-3", "1.0.0"]);
    let fault = Fault::too_many_requests(Some("0"));
    registry.on("DELETE", Kind::Manifest).after(1).times(2).fail(fault);
    let report = applied(&home(&registry, "app", PR), 0).await;
    let found = outcomes(&report);
    assert!(found.iter().all(|(_, outcome)| outcome == "deleted"), "{report:#}");
    let traffic = registry.traffic();
    assert_eq!((found.len(), traffic.count_status("DELETE", Kind::Manifest, 429)), (3, 2));
    assert_eq!(traffic.count_status("DELETE", Kind::Manifest, 202), 3, "{traffic}");
}

/// What was looked at would be old by then: the step fails and says when to come back.
#[tokio::test]
async fn a_deletion_is_not_made_later() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "1.0.0"]);
    registry.on("DELETE", Kind::Manifest).fail(Fault::too_many_requests(Some("30")));
    let report = applied(&home(&registry, "app", PR), 1).await;
    assert_eq!(outcomes(&report), names(&[("pr-1", "failed")]), "{report:#}");
    let text = report.to_string();
    assert!(text.contains("too many requests; try again in 30s"), "{text}");
    assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 1);
}

/// Whether it was carried out cannot be known from here, so it is not asked for again.
#[tokio::test]
async fn a_deletion_without_an_answer_is_not_repeated() {
    for fault in [Fault::Cut, Fault::CutAfterwards, Fault::status(502), Fault::status(500)] {
        let what = format!("{fault:?}");
        let registry = Scripted::start();
        load(&registry, &["pr-1", "1.0.0"]);
        registry.on("DELETE", Kind::Manifest).fail(fault);
        apply(&home(&registry, "app", PR)).await;
        assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 1, "{what}");
    }
}

/// A list is cut off where a page ends, and nobody says so: the tag behind it keeps its image.
#[tokio::test]
async fn a_tag_behind_a_page_without_a_link_keeps_its_image() {
    let registry = Scripted::start();
    registry.quirks(|quirks| quirks.no_links = true);
    let kept = image("kept");
    for at in 0..999 {
        kept.load(&registry, "app", &format!("a-{at:03}"));
    }
    for tag in ["pr-1", "zprod"] {
        image("shared").load(&registry, "app", tag);
    }
    let tranship = home(&registry, "app", PR);
    // The second page cannot be had.
    let refusal = Fault::status(400).error("UNSUPPORTED", "no pages here");
    registry.on("GET", Kind::Tags).containing("last=").fail(refusal);
    let finished = apply(&tranship).await;
    assert_ne!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("no pages here"), "{finished:?}");
    assert_eq!(registry.traffic().writes(), 0);
    // It can.
    registry.clear_rules();
    let report = applied(&tranship, 0).await;
    assert_eq!(outcomes(&report), names(&[("pr-1", "deleted")]), "{report:#}");
    assert_eq!(registry.tag("app", "zprod"), Some(image("shared").digest));
    assert!(registry.endpoint().manifest("app", &image("shared").digest).await.is_some());
}

/// Where single tags can be deleted they are, and it is remembered that they can.
#[tokio::test]
async fn a_tag_is_taken_from_a_manifest_that_stays() {
    let registry = Scripted::start();
    for tag in ["pr-1", "pr-2", "1.0.0"] {
        image("shared").load(&registry, "app", tag);
    }
    let tranship = home(&registry, "app", PR);
    let report = applied(&tranship, 0).await;
    let expected = names(&[("pr-1", "deleted"), ("pr-2", "deleted")]);
    assert_eq!(outcomes(&report), expected, "{report:#}");
    assert_eq!(registry.tag("app", "1.0.0"), Some(image("shared").digest));
    // It was tried first on something of no use, of which nothing is left.
    let traffic = registry.traffic();
    let deleted = traffic.of("DELETE", Kind::Manifest).map(|seen| seen.path.clone());
    let deleted: Vec<String> = deleted.filter(|path| path.contains("/pr-")).collect();
    assert_eq!(deleted, ["/v2/app/manifests/pr-1", "/v2/app/manifests/pr-2"]);
    assert_eq!(registry.endpoint().tags("app").await, ["1.0.0"]);
    let plan = tranship.succeed(["cleanup", "--output", "json"]).await.stdout;
    assert!(plan.contains("\"untag\": \"yes\""), "{plan}");
}

/// A registry that takes the manifest along when it is asked for one tag is found out on something
/// of no use: no image is ever tried on.
#[tokio::test]
async fn no_image_is_tried_on() {
    let registry = Scripted::start();
    registry.quirks(|quirks| quirks.untag_takes_manifest = true);
    for tag in ["pr-1", "pr-2", "1.0.0", "1.0"] {
        image("shared").load(&registry, "app", tag);
    }
    let tranship = home(&registry, "app", PR);
    let report = applied(&tranship, 0).await;
    assert!(report.to_string().contains("deletes all tags"), "{report:#}");
    for tag in ["1.0.0", "1.0", "pr-1", "pr-2"] {
        assert_eq!(registry.tag("app", tag), Some(image("shared").digest), "{tag}");
    }
    assert_eq!(registry.endpoint().tags("app").await.len(), 4);
    // Once, and for a while not again.
    let mark = registry.mark();
    applied(&tranship, 0).await;
    assert_eq!(registry.requests_since(mark).writes(), 0);
}

/// A registry that has learnt to do worse since it was tried: it takes the manifest along, and the
/// state does not know.
async fn learnt_worse() -> (Scripted, Tranship) {
    let registry = Scripted::start();
    for (name, tag) in
        [("one", "pr-1"), ("one", "1.0.0"), ("two", "pr-2"), ("two", "2.0.0"), ("two", "2.0")]
    {
        image(name).load(&registry, "app", tag);
    }
    // `pr-1` goes by itself; the registry is replaced before `pr-2` goes.
    let tranship = home(&registry, "app", &PR.replace("pr-*", "pr-1"));
    applied(&tranship, 0).await;
    assert_eq!(registry.tag("app", "1.0.0"), Some(image("one").digest));
    registry.quirks(|quirks| quirks.untag_takes_manifest = true);
    write_rule(&tranship, &registry, "app", PR);
    (registry, tranship)
}

/// What went along with a tag is put back.
#[tokio::test]
async fn what_went_with_a_tag_is_put_back() {
    let (registry, tranship) = learnt_worse().await;
    for lost in [false, true] {
        if lost {
            registry.on("DELETE", Kind::Manifest).once().fail(Fault::CutAfterwards);
            image("two").load(&registry, "app", "pr-2");
        }
        let finished = apply(&tranship).await;
        assert!(finished.stdout.contains("the rest was restored") || lost, "{finished:?}");
        for tag in ["2.0.0", "2.0"] {
            assert_eq!(registry.tag("app", tag), Some(image("two").digest), "{tag} {lost}");
        }
    }
}

/// Until the registry has been tried out, much can happen to the tag.
#[tokio::test]
async fn a_push_during_the_trial_is_kept() {
    for overwrite in [false, true] {
        let registry = Scripted::start();
        registry.quirks(|quirks| quirks.untag_takes_manifest = overwrite);
        for tag in ["pr-1", "1.0.0"] {
            image("shared").load(&registry, "app", tag);
        }
        let lines = if overwrite { format!("{PR}\nuntag = \"overwrite\"") } else { PR.to_owned() };
        let tranship = home(&registry, "app", &lines);
        let trial = registry.on("DELETE", Kind::Manifest).once().fail(Fault::Hang);
        let run = apply(&tranship);
        let push = async {
            eventually("the trial", Duration::from_secs(30), || async {
                (trial.count() == 1).then_some(())
            })
            .await;
            image("pushed").load(&registry, "app", "pr-1");
            registry.release();
        };
        let (finished, ()) = tokio::join!(run, push);
        let report = repository(&finished);
        assert_eq!(registry.tag("app", "pr-1"), Some(image("pushed").digest), "{report:#}");
        assert_eq!(registry.tag("app", "1.0.0"), Some(image("shared").digest), "{report:#}");
        assert_eq!(outcomes(&report), names(&[("pr-1", "skipped")]), "{report:#}");
    }
}

/// The process is killed before it has put back what a registry took along with a tag.
#[tokio::test]
async fn what_was_not_put_back_is_put_back_by_the_next_run() {
    let (registry, tranship) = learnt_worse().await;
    let put = registry.on("PUT", Kind::Manifest).fail(Fault::Hang);
    let running = tranship.start(["cleanup", "--apply"]);
    eventually("the first put", Duration::from_secs(30), || async {
        (put.count() > 0).then_some(())
    })
    .await;
    running.kill().await;
    // What hangs stays unanswered: released, it would be carried out.
    registry.clear_rules();
    assert_eq!((registry.tag("app", "2.0.0"), registry.tag("app", "2.0")), (None, None));
    let finished = apply(&tranship).await;
    for tag in ["2.0.0", "2.0"] {
        assert_eq!(registry.tag("app", tag), Some(image("two").digest), "{tag} {finished:?}");
    }
    assert_eq!(registry.tag("app", "1.0.0"), Some(image("one").digest));
}

#[tokio::test]
async fn tags_go_first_where_the_registry_wants_that() {
    let registry = Scripted::start();
    registry.quirks(|quirks| quirks.tags_first = true);
    image("one").load(&registry, "app", "pr-1");
    image("one").load(&registry, "app", "pr-2");
    load(&registry, &["1.0.0"]);
    let report = applied(&home(&registry, "app", PR), 0).await;
    assert_eq!(outcomes(&report), names(&[("pr-1", "deleted")]), "{report:#}");
    assert!(registry.endpoint().manifest("app", &image("one").digest).await.is_none());
}

#[tokio::test]
async fn beyond_the_limit_nothing_is_written() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "pr-2", "1.0.0"]);
    let lines = PR.replace("percent = 100", "count = 1");
    let report = applied(&home(&registry, "app", &lines), 3).await;
    assert_eq!(report["limited"], true, "{report:#}");
    assert_eq!(registry.traffic().writes(), 0);
}

/// A rule for everything may plan; deleting is refused, whoever asks for it.
#[tokio::test]
async fn a_pattern_that_matches_every_repository_deletes_nothing() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "1.0.0"]);
    let tranship = home(&registry, "**", PR);
    tranship.succeed(["cleanup"]).await;
    let finished = apply(&tranship).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(
        finished.stderr.contains("deletes in every repository of the registry"),
        "{finished:?}"
    );
    assert_eq!(registry.traffic().writes(), 0);
}

/// Percentages are rounded down: of a tiny repository nothing goes.
#[tokio::test]
async fn a_percentage_of_a_tiny_repository_is_nothing() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "1.0.0"]);
    let lines = PR.replace("percent = 100", "percent = 49");
    applied(&home(&registry, "app", &lines), 3).await;
    assert_eq!(registry.traffic().writes(), 0);
}

/// The process is killed while a deletion is under way: the next run finds out what became of it.
#[tokio::test]
async fn what_was_cut_off_is_settled_by_the_next_run() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "pr-2", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let fired = registry.on("DELETE", Kind::Manifest).after(1).times(1).fail(Fault::Hang);
    let running = tranship.start(["cleanup", "--apply"]);
    eventually("the second deletion", Duration::from_secs(30), || async {
        (fired.count() == 1).then_some(())
    })
    .await;
    running.kill().await;
    registry.clear_rules();
    registry.release();
    let lines = audit(&tranship);
    assert_eq!(lines.iter().filter(|line| line.get("intent").is_some()).count(), 2, "{lines:#?}");
    let report = applied(&tranship, 0).await;
    assert!(report["notes"][0].as_str().unwrap().contains("was cut off"), "{report:#}");
    for tag in ["pr-1", "pr-2"] {
        assert_eq!(registry.tag("app", tag), None);
    }
    let lines = audit(&tranship);
    let ids = |key: &str| -> std::collections::BTreeSet<String> {
        let ids = lines.iter().filter_map(|line| line.get(key)?["id"].as_str().map(str::to_owned));
        ids.collect()
    };
    assert_eq!(ids("intent"), ids("outcome"), "{lines:#?}");
}

/// A quarantine empties itself by the time in its tags, and no rule cleans it up otherwise, however
/// wide its pattern is. Also of a repository that is gone.
#[tokio::test]
async fn a_quarantine_lets_go_only_what_has_expired() {
    let registry = Scripted::start();
    load(&registry, &["pr-1", "1.0.0"]);
    image("old").load(&registry, "gone", "pr-9");
    let expiring = |name: &str, time: &str| {
        let hex = &image(name).digest["sha256:".len()..][..32];
        format!("expires-{time}-{hex}")
    };
    let (past, future) =
        (expiring("past", "20200101t000000z"), expiring("later", "29990101t000000z"));
    image("past").load(&registry, "quarantine/app", &past);
    image("later").load(&registry, "quarantine/app", &future);
    let lines = format!(
        "quarantine = {{ to = \"{}/quarantine/{{repository}}\", ttl = \"30d\" }}\n\
         delete = [{{ id = \"all\", tags = [\"*\"] }}]\n\
         keep = [{{ id = \"releases\", semver = \">=1\" }}]\nmax_delete = {{ percent = 100 }}\n",
        registry.host()
    );
    let tranship = home(&registry, "**\", \"!nothing/*", &lines);
    let finished = apply(&tranship).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    let notes = document["rules"][0]["notes"].to_string();
    assert!(notes.contains("left alone: 1 repository that is a quarantine"), "{notes}");
    assert!(notes.contains("expired and deleted: 1 copy in"), "{notes}");
    assert!(notes.contains("garbage-collect"), "{notes}");
    assert_eq!(registry.tag("quarantine/app", &past), None);
    assert!(registry.tag("quarantine/app", &future).is_some());
    assert_eq!((registry.tag("app", "pr-1"), registry.tag("gone", "pr-9")), (None, None));
    let tags = registry.endpoint().tags("quarantine/app").await;
    assert_eq!(tags.len(), 2, "{tags:?}");

    // The run is in the history.
    let history = tranship.succeed(["history", "--output", "json"]).await.stdout;
    let history: Value = serde_json::from_str(&history).unwrap();
    let text = history.to_string();
    assert!(text.contains("\"deleted\":2") && text.contains("\"rule\":\"apps\""), "{text}");

    // Nobody is offered the quarantine's own copies, which were deleted as well.
    let list = tranship.succeed(["restore", "--output", "json"]).await.stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    let offered: Vec<&Value> = list["restorable"].as_array().unwrap().iter().collect();
    let places: Vec<&str> =
        offered.iter().map(|intent| intent["repository"].as_str().unwrap()).collect();
    assert_eq!(places.len(), 2, "{list:#}");
    assert!(places.iter().all(|place| !place.contains("quarantine")), "{list:#}");

    // `gone` has no tags left, so nothing leads to its quarantine but what the state knows.
    let kept = registry.endpoint().tags("quarantine/gone").await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    image("x").load(&registry, "quarantine/gone", &past);
    let finished = apply(&tranship).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(registry.endpoint().tags("quarantine/gone").await, kept);
}

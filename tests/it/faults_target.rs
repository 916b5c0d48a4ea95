//! What a target can do wrong: what heals arrives in the same pass, what does not is reported,
//! and all other images arrive whatever happens.

use std::time::Duration;

use serde_json::Value;
use tranship::oci::media_type;

use crate::support::bench::{APP, ATTEMPTS, Bench, IDLE, LAYERS, Report, registry, rule, several};
use crate::support::{Family, Fault, Image, Kind, Mount, Place, Scripted, Tranship};

/// A fault that strikes requests for image `v2` at the target.
struct Case {
    method: &'static str,
    kind: Kind,
    fault: Fault,
}

impl Case {
    fn manifest(fault: Fault) -> Self {
        Self { method: "PUT", kind: Kind::Manifest, fault }
    }

    fn upload(fault: Fault) -> Self {
        Self { method: "PUT", kind: Kind::Upload, fault }
    }

    fn start(fault: Fault) -> Self {
        Self { method: "POST", kind: Kind::Upload, fault }
    }

    fn needle(&self, bench: &Bench) -> String {
        match self.kind {
            // The hex digits: a query may have the colon escaped.
            Kind::Upload => bench.layer("v2").trim_start_matches("sha256:").to_owned(),
            Kind::Tags => "mirror/app".to_owned(),
            _ => "manifests/v2".to_owned(),
        }
    }
}

fn refusal(status: u16) -> Fault {
    Fault::status(status).error("DENIED", "the moon is wrong")
}

/// Each fault strikes once: nothing is lost, so the pass succeeds.
#[tokio::test]
async fn what_heals_is_no_failure() {
    let mut cases = vec![
        // The upload is lost: begun anew.
        Case::upload(Fault::SessionLost),
        Case::upload(refusal(416)),
        Case::upload(Fault::Cut),
        Case::upload(Fault::CutRequestAfter(100_000)),
        Case::upload(Fault::CutAfterwards),
        Case::start(Fault::CutAfterwards),
        Case::manifest(Fault::CutAfterwards),
        Case::manifest(Fault::CutRequestAfter(100)),
        Case { method: "GET", kind: Kind::Tags, fault: refusal(503) },
    ];
    for case in [Case::upload, Case::start, Case::manifest] {
        cases.extend([
            case(refusal(500)),
            case(refusal(503)),
            case(Fault::too_many_requests(Some("0"))),
            case(Fault::Cut),
            case(Fault::Hang),
        ]);
    }
    let passes = cases.into_iter().map(|case| async move {
        let bench = Bench::new().patience_for(&case.fault);
        let what = format!("{} {:?} {:?}", case.method, case.kind, case.fault);
        let rule = bench.target.on(case.method, case.kind).containing(case.needle(&bench));
        let fired = rule.once().fail(case.fault);
        let report = bench.sync().await;
        assert_eq!((fired.count(), report.exit()), (1, 0), "{what}: {report:#?}");
        assert_eq!(report.success(), 6, "{what}");
        bench.assert_arrived().await;
    });
    several(passes).await;
}

/// Each fault strikes whenever `v2` is at stake: `v2` fails as told, all others arrive, and
/// without the fault `v2` arrives too.
#[tokio::test]
async fn what_does_not_heal_is_reported() {
    let full = || Fault::status(507).error("UNKNOWN", "no space left on device");
    let five = 5;
    // In each form: a closing PUT is repeated like any small request.
    let in_all_forms = 2 + ATTEMPTS + ATTEMPTS + 1;
    let cases = [
        (Case::manifest(refusal(401)), "put manifest", "DENIED: the moon is wrong", 1),
        (Case::manifest(refusal(403)), "put manifest", "DENIED: the moon is wrong", 1),
        (
            Case::manifest(Fault::status(400).error("MANIFEST_INVALID", "no such thing here")),
            "put manifest",
            "400 Bad Request: MANIFEST_INVALID: no such thing here",
            1,
        ),
        (Case::manifest(full()), "put manifest", "507 Insufficient Storage: UNKNOWN: no space", 1),
        (Case::manifest(refusal(500)), "put manifest", "DENIED: the moon is wrong", ATTEMPTS),
        (Case::manifest(Fault::Cut), "put manifest", "connection", ATTEMPTS),
        (Case::manifest(Fault::Hang), "put manifest", "no progress for 400ms", ATTEMPTS),
        (Case::upload(refusal(403)), "upload blob", "DENIED: the moon is wrong", 1),
        (Case::upload(full()), "upload blob", "507 Insufficient Storage: UNKNOWN: no space", 1),
        (
            Case::upload(Fault::status(500).body("write: no space left on device")),
            "upload blob",
            "500 Internal Server Error: write: no space left on device",
            1,
        ),
        (
            Case::upload(Fault::status(500).body("write: input/output error")),
            "upload blob",
            "500 Internal Server Error: write: input/output error",
            five,
        ),
        (Case::upload(Fault::status(422)), "commit blob", "422 Unprocessable Entity", 3),
        (
            Case::upload(Fault::status(400).error("DIGEST_INVALID", "not its digest")),
            "upload blob",
            "DIGEST_INVALID: not its digest",
            five,
        ),
        (Case::upload(refusal(503)), "upload blob", "DENIED: the moon is wrong", five),
        (Case::upload(Fault::SessionLost), "upload blob", "BLOB_UPLOAD_UNKNOWN", five),
        (Case::upload(Fault::Cut), "upload blob", "", five),
        (Case::upload(Fault::Hang), "upload blob", "no progress for 400ms", five),
    ];
    let passes = cases.into_iter().map(|(case, step, words, attempts)| async move {
        let bench = Bench::new().patience_for(&case.fault);
        let what = format!("{} {:?} {:?}", case.method, case.kind, case.fault);
        let rule = bench.target.on(case.method, case.kind).containing(case.needle(&bench));
        let fired = rule.fail(case.fault);
        let report = bench.sync().await;
        let failure = report.only_failure("v2");
        assert_eq!(failure.step, step, "{what}: {failure:?}");
        let name = format!("{}/mirror/app", bench.target.host());
        assert!(failure.subject.contains(&name), "{what}: {failure:?}");
        assert!(failure.message.contains(words), "{what}: {failure:?}");
        assert_eq!(failure.attempts, attempts, "{what}: {failure:?}");
        let is_repeated = words.ends_with("input/output error");
        let requests = if is_repeated { in_all_forms } else { attempts };
        assert_eq!(fired.count() as u32, requests, "{what}: tries on the wire");
        bench.assert_arrived_but("v2").await;
        bench.assert_no_upload_left();
        bench.assert_heals().await;
    });
    several(passes).await;
}

/// Nothing can be uploaded into one repository: the other has its image all the same.
#[tokio::test]
async fn a_repository_that_takes_no_uploads_fails_alone() {
    for (fault, attempts) in [(refusal(403), 1), (refusal(503), ATTEMPTS), (Fault::Hang, ATTEMPTS)]
    {
        let bench = Bench::new().patience_for(&fault);
        bench.target.on("POST", Kind::Upload).containing("mirror/app").fail(fault);
        let report = bench.sync().await;
        assert_eq!(report.exit(), 1);
        let failures = report.failures();
        assert_eq!(failures.len(), 5, "{report:#?}");
        for (image, failure) in failures {
            assert!(image.contains(APP), "{image}");
            assert_eq!(failure.step, "start upload of", "{failure:?}");
            assert_eq!(failure.attempts, attempts, "{failure:?}");
        }
        assert!(bench.target.tag("mirror/other", "w1").is_some());
        assert_eq!(bench.target.tag("mirror/app", "v1"), None);
        bench.target.assert_tags_complete();
    }
}

#[tokio::test]
async fn refused_mounts_are_uploads() {
    let natures = [Mount::Opens, Mount::Refused(401), Mount::Refused(404), Mount::Refused(405)];
    for nature in natures {
        let bench = Bench::new();
        // A layer that both repositories have: worth a mount.
        bench.image("v1").load(&bench.source, "acme/other", "w1");
        bench.target.quirks(|quirks| quirks.mount = nature);
        let report = bench.sync().await;
        assert_eq!(report.success(), 6, "{nature:?}: {report:#?}");
        let traffic = bench.target.traffic();
        bench.assert_arrived().await;
        bench.assert_no_upload_left();
        // A refusal is learnt: not every blob costs one more request.
        let refused = traffic.of("POST", Kind::Upload).filter(|seen| seen.status != Some(202));
        assert!(refused.count() < 24, "{nature:?}: {traffic}");
    }
}

/// A target that allows no large bodies gets small ones: PUT, then PATCH, then chunks.
#[tokio::test]
async fn large_bodies_that_are_refused_come_in_chunks() {
    let sizes: [usize; 5] = [9 << 20, 6 << 20, 5 << 20, 10, 5_000_000];
    let image = |(at, size)| Image::single(Family::Oci, &format!("large{at}"), &[size]);
    let bench = Bench::with(sizes.into_iter().enumerate().map(image).collect());
    bench.target.quirks(|quirks| quirks.max_body = Some(4 << 20));
    let report = bench.sync().await;
    assert_eq!(report.success(), 6, "{report:#?}");
    let traffic = bench.target.traffic();
    bench.assert_arrived().await;
    let chunks: Vec<u64> = traffic
        .of("PATCH", Kind::Upload)
        .filter(|seen| seen.status == Some(202))
        .map(|seen| seen.body_length)
        .collect();
    assert!(chunks.iter().all(|size| *size <= 4 << 20), "{chunks:?}");
    // What was learnt holds for the next blob.
    Image::single(Family::Oci, "one more", &[5 << 20]).load(&bench.source, APP, "v6");
    // (By a new process, which has to learn it again: two refusals at most.)
    let mark = bench.target.mark();
    assert_eq!(bench.sync().await.success(), 1);
    let again = bench.target.requests_since(mark);
    let refused = again.iter().filter(|seen| seen.status == Some(413)).count();
    assert!((1..=2).contains(&refused), "{again}");
}

/// A target that gets no body of a PUT gets every blob in another form, in the same pass.
#[tokio::test]
async fn bodies_that_are_lost_come_in_another_form() {
    let bench = Bench::new();
    bench.target.quirks(|quirks| quirks.loses_put_bodies = true);
    assert_eq!(bench.sync().await.success(), 6);
    bench.assert_arrived().await;
    bench.assert_no_upload_left();
}

/// What a target holds of a blob is not given up because it fails for a moment, however often.
#[tokio::test]
async fn failures_in_mid_upload_change_no_form() {
    let bench = Bench::with(vec![Image::single(Family::Oci, "large", &[20 << 20])]);
    bench.target.quirks(|quirks| quirks.max_body = Some(4 << 20));
    for at in [1, 3] {
        bench.target.on("PATCH", Kind::Upload).after(at).once().fail(refusal(500));
    }
    bench.sync().await.success();
    let traffic = bench.target.traffic();
    assert_eq!(traffic.count_status("PATCH", Kind::Upload, 500), 2, "{traffic}");
    // Two configs and two layers, each in one upload.
    assert_eq!(traffic.count("POST", Kind::Upload), 4, "{traffic}");
    bench.assert_arrived().await;
}

/// GHCR's way: 416 to large PATCH bodies. And a target that loses one upload is no such target.
#[tokio::test]
async fn one_lost_upload_changes_no_habits() {
    let bench = Bench::new();
    bench.target.on("PUT", Kind::Upload).once().fail(Fault::SessionLost);
    assert_eq!(bench.sync().await.success(), 6);
    let traffic = bench.target.traffic();
    assert_eq!(traffic.count("PATCH", Kind::Upload), 0, "{traffic}");
    bench.assert_arrived().await;
}

/// Bytes that the target kept are not sent again.
#[tokio::test]
async fn a_broken_upload_goes_on_where_the_target_stands() {
    let bench = Bench::new();
    let layer = bench.layer("v2").to_owned();
    let rule = bench.target.on("PUT", Kind::Upload).containing(&layer);
    rule.once().fail(Fault::CutRequestAfter(100_000));
    assert_eq!(bench.sync().await.success(), 6);
    let traffic = bench.target.traffic();
    bench.assert_arrived().await;
    let rest: Vec<_> = traffic.of("PATCH", Kind::Upload).collect();
    assert_eq!(rest.len(), 1, "{traffic}");
    assert_eq!(rest[0].body_length, LAYERS[1] as u64 - 100_000);
    assert_eq!(rest[0].header("content-range"), Some("100000-299999"));
}

/// Where the target loses what it got, the upload is begun anew.
#[tokio::test]
async fn a_broken_upload_that_was_not_kept_is_begun_anew() {
    let bench = Bench::new();
    bench.target.quirks(|quirks| quirks.keeps_partial = false);
    bench.target.on("PUT", Kind::Upload).times(3).fail(Fault::CutRequestAfter(10_000));
    assert_eq!(bench.sync().await.success(), 6);
    bench.assert_arrived().await;
    bench.assert_no_upload_left();
}

/// Deletes an image's blobs at the target, and nothing else, as a faulty clean-up may.
async fn delete_blobs(target: &Scripted, image: &Image) {
    for blob in &image.blobs {
        let path = format!("/v2/mirror/app/blobs/{}", blob.digest);
        let endpoint = target.endpoint();
        let gone = endpoint.request(http::Method::DELETE, "mirror/app", &path).send().await;
        assert_eq!(gone.unwrap().status(), 202);
    }
}

/// The state says that a blob is there; somebody has cleaned up. The target refuses the manifest,
/// and the same pass makes it good.
#[tokio::test]
async fn what_was_cleaned_up_at_the_target_is_brought_again() {
    let bench = Bench::new();
    assert_eq!(bench.sync().await.success(), 6);
    delete_blobs(&bench.target, bench.image("v2")).await;
    // A new tag of the same blobs.
    bench.image("v2").load(&bench.source, APP, "v6");
    let mark = bench.target.mark();
    let report = bench.sync().await;
    assert_eq!(report.success(), 1, "{report:#?}");
    let refused = bench.target.requests_since(mark).count_status("PUT", Kind::Manifest, 400);
    assert_eq!(refused, 1);
    bench.assert_tag("v6").await;
    bench.assert_arrived().await;
}

/// The same at registries that do not check what a manifest points at, where nothing would tell:
/// a tag that is gone says that what is known of its blobs may be wrong.
#[tokio::test]
async fn what_was_cleaned_up_unnoticed_is_brought_again() {
    for (mount, everything) in [(Mount::Works, false), (Mount::Opens, false), (Mount::Works, true)]
    {
        let mut bench = Bench::new();
        bench.rule_lines += "\nrecheck = \"0s\"";
        bench.target.quirks(|quirks| {
            quirks.requires_parts = false;
            quirks.mount = mount;
        });
        assert_eq!(bench.sync().await.success(), 6);
        let images = if everything { &bench.images[..] } else { &bench.images[1..2] };
        let endpoint = bench.target.endpoint();
        for image in images {
            endpoint.delete("mirror/app", &image.digest).await;
            delete_blobs(&bench.target, image).await;
        }
        assert_eq!(bench.sync().await.success(), images.len(), "{mount:?}");
        bench.assert_arrived().await;
        bench.assert_no_upload_left();
    }
}

#[tokio::test]
async fn a_tag_that_may_not_move_is_reported() {
    let bench = Bench::new();
    bench.target.quirks(|quirks| quirks.immutable_tags = true);
    let theirs = Image::single(Family::Oci, "theirs", &[700]);
    theirs.load(&bench.target, "mirror/app", "v2");
    let report = bench.sync().await;
    let failure = report.only_failure("v2");
    assert!(
        failure.message.contains("409 Conflict: TAG_IMMUTABLE: tag is immutable"),
        "{failure:?}"
    );
    assert!(failure.hint.as_ref().unwrap().contains("on_conflict = \"keep\""), "{failure:?}");
    assert_eq!(bench.target.tag("mirror/app", "v2").as_ref(), Some(&theirs.digest));
    bench.assert_tag("v1").await;
    bench.assert_tag("v5").await;
    bench.target.assert_tags_complete();
}

/// A target for images only: the image arrives, its signature is reported as refused.
#[tokio::test]
async fn refused_artifacts_do_not_keep_the_image_away() {
    let image = |name: &str| Image::single(Family::Docker, name, &[2_000]);
    let signed = image("v2").refer("signature", "application/vnd.example.signature");
    let mut bench = Bench::with(vec![image("v1"), signed, image("v3"), image("v4")]);
    bench.rule_lines = "referrers = true".to_owned();
    let allowed = vec![media_type::DOCKER_MANIFEST.to_owned()];
    bench.target.quirks(|quirks| quirks.media_types = Some(allowed));
    let report = bench.sync().await;
    let failure = report.only_failure("v2");
    assert_eq!(failure.step, "put manifest");
    assert!(failure.message.contains("MANIFEST_INVALID: media type not allowed"), "{failure:?}");
    let refused = report.rules[0].images.iter().find(|image| !image.errors.is_empty()).unwrap();
    assert!(refused.notes[0].starts_with("the image is there"), "{refused:?}");
    bench.assert_arrived().await;
    // It is not forgotten, either: the next pass says so again.
    bench.sync().await.only_failure("v2");
}

/// Two targets, one of them out of order in some way: the other gets everything.
#[tokio::test]
async fn a_target_that_is_down_does_not_harm_another() {
    for (method, kind) in [("*", None), ("GET", Some(Kind::Tags)), ("PUT", Some(Kind::Manifest))] {
        let bench = Bench::new();
        let broken = Scripted::start();
        let rule_for = match kind {
            None => broken.on_any(),
            Some(kind) => broken.on(method, kind),
        };
        rule_for.fail(refusal(503));
        let report = sync_to_both(&bench, &broken).await;
        let what = format!("{method} {kind:?}");
        assert_eq!(report.exit(), 1, "{what}");
        let failures = report.failures();
        assert_eq!(failures.len(), 5, "{what}: {report:#?}");
        for (_, failure) in failures {
            assert!(failure.subject.contains(broken.host()), "{what}: {failure:?}");
        }
        for tag in ["v1", "v2", "v3", "v4", "v5"] {
            bench.assert_tag(tag).await;
        }
        bench.target.assert_tags_complete();
        broken.assert_tags_complete();
        // A list that cannot be had is asked for as often as one request is tried, not for each
        // tag anew.
        assert!(broken.traffic().count("GET", Kind::Tags) <= ATTEMPTS as usize, "{what}");
    }
}

async fn sync_to_both(bench: &Bench, second: &Scripted) -> Report {
    let source = format!("{}/{APP}", bench.source.host());
    let targets = format!("{}/mirror/app\", \"{}/mirror/app", bench.target.host(), second.host());
    let text = [
        registry(&bench.source, IDLE, ""),
        registry(&bench.target, IDLE, ""),
        registry(second, IDLE, ""),
        rule("both", &source, &targets, "referrers = false")
            .replace("target = \"", "target = [\"")
            .replace("\"\nreferrers", "\"]\nreferrers"),
    ]
    .concat();
    bench.runner.run(&text).await
}

/// What people and programs see: names, steps, the registry's words, tries, and the exit code.
#[tokio::test]
async fn the_report_says_what_failed() {
    let bench = Bench::new();
    bench.source.on("GET", Kind::Manifest).containing("manifests/v2").fail(refusal(403));
    let rule = bench.target.on("PUT", Kind::Manifest).containing("manifests/v4");
    rule.fail(refusal(500));
    let tranship = Tranship::new();
    tranship.write("tranship.toml", bench.config());
    let finished = tranship.run(["sync"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let (source, target) = (bench.source.host(), bench.target.host());
    for line in [
        format!("FAILED {source}/acme/app:v2 -> {target}/mirror/app:v2"),
        format!(
            "failed to get manifest {source}/acme/app:v2: the registry answered 403 Forbidden: \
             DENIED: the moon is wrong"
        ),
        "hint: check the permissions of these credentials, and the name: some registries answer so for what is not there".to_owned(),
        format!("FAILED {source}/acme/app:v4 -> {target}/mirror/app:v4"),
        format!(
            "failed to put manifest {target}/mirror/app:v4: the registry answered 500 Internal \
             Server Error: DENIED: the moon is wrong (tried 5 times)"
        ),
    ] {
        assert!(finished.stderr.contains(&line), "{line}\n{}", finished.stderr);
    }
    assert!(
        finished.stdout.contains("app: 3 copied, 0 unchanged, 2 failed"),
        "{}",
        finished.stdout
    );
    assert!(finished.stdout.contains("other: 1 copied, 0 unchanged;"), "{}", finished.stdout);
    // The same for programs.
    let finished = tranship.run(["sync", "--output", "json"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["success"], false);
    let app = &report["rules"][0];
    assert_eq!(app["counts"]["failed"], 2, "{report}");
    assert_eq!(app["images"][1]["errors"][0]["attempts"], 5, "{report}");
    assert_eq!(app["images"][1]["errors"][0]["step"], "put manifest", "{report}");
    // And when all is well again, the exit code says that.
    bench.source.clear_rules();
    bench.target.clear_rules();
    tranship.succeed(["sync"]).await;
    bench.assert_arrived().await;
}

/// A pass that hangs on one image ends all the same.
#[tokio::test]
async fn slow_targets_are_not_given_up() {
    let bench = Bench::new();
    // The first answers come late, but within the idle time-out.
    let delay = Fault::Delay(Duration::from_millis(250));
    bench.target.on_any().times(12).fail(delay);
    assert_eq!(bench.sync().await.success(), 6);
    bench.assert_arrived().await;
}

/// A child that has a subject is a part of its index like any other: without it, no tag.
#[tokio::test]
async fn a_refused_child_with_a_subject_keeps_the_index_away() {
    let image = |name: &str| Image::single(Family::Oci, name, &[2_000]);
    let child = Image::referrer_of(&image("subject"), "child", "application/vnd.example.sbom");
    let digits = child.digest.trim_start_matches("sha256:").to_owned();
    let index = Image::index(Family::Oci, vec![(child, serde_json::json!({}))]);
    let bench = Bench::with(vec![image("v1"), index, image("v3")]);
    bench.target.on("PUT", Kind::Manifest).containing(digits).fail(refusal(400));
    let report = bench.sync().await;
    assert_eq!(report.only_failure("v2").step, "put manifest");
    bench.assert_arrived_but("v2").await;
}

/// A blob that was there is gone, and the target says only that the manifest is invalid: what was
/// taken on trust is looked at, and sent.
#[tokio::test]
async fn a_refusal_in_other_words_makes_trusted_blobs_looked_at() {
    let bench = Bench::new();
    bench.sync().await.success();
    let layer = bench.layer("v2");
    let path = format!("/v2/mirror/app/blobs/{layer}");
    let target = bench.target.endpoint();
    target.request(reqwest::Method::DELETE, "mirror/app", &path).send().await.unwrap();
    let child = bench.image("v2").clone();
    let digits = child.digest.trim_start_matches("sha256:").to_owned();
    Image::index(Family::Oci, vec![(child, serde_json::json!({}))]).load(&bench.source, APP, "v2");
    let invalid = Fault::status(400).error("MANIFEST_INVALID", "manifest invalid");
    let rule = bench.target.on("PUT", Kind::Manifest).containing(digits);
    let fired = rule.once().fail(invalid);
    assert_eq!(bench.sync().await.success(), 1);
    assert_eq!(fired.count(), 1);
    bench.assert_arrived().await;
}

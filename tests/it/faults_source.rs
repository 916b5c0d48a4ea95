//! What a source can do wrong. Where it strikes one image, that image is reported, with the step,
//! the registry's own words and the tries; all others arrive, and the next pass heals it.

use std::time::Duration;

use serde_json::json;
use tranship::oci::media_type;

use crate::support::bench::{APP, ATTEMPTS, Bench, SHORT, several};
use crate::support::{Family, Fault, Image, Kind, Place, Scripted};

/// A fault that strikes requests for image `v2` for as long as it lasts.
struct Case {
    /// `*`: HEAD, and the GET that is tried instead.
    method: &'static str,
    kind: Kind,
    fault: Fault,
    /// What the report must say.
    step: &'static str,
    words: &'static str,
    attempts: u32,
}

/// `v2` fails as told, all others arrive, and without the fault `v2` arrives too.
async fn strike(case: Case) {
    let bench = Bench::new().patience_for(&case.fault);
    // What is looked up is what the target has already.
    let has_it = case.method != "GET";
    // A manifest that is larger than announced is asked for again, with room for the largest one.
    let is_larger =
        case.kind == Kind::Manifest && matches!(case.fault, Fault::Longer(_) | Fault::Endless);
    let requests = if case.method == "*" || is_larger { 2 } else { 1 };
    if has_it {
        bench.sync().await.success();
    }
    let needle = match case.kind {
        Kind::Blob => bench.layer("v2").to_owned(),
        _ => "manifests/v2".to_owned(),
    };
    let (rule, what) = (bench.source.on(case.method, case.kind), format!("{:?}", case.fault));
    let fired = rule.containing(&needle).fail(case.fault);
    let report = bench.sync().await;
    let failure = report.only_failure("v2");
    assert_eq!(failure.step, case.step, "{what}: {failure:?}");
    let name = format!("{}/{APP}", bench.source.host());
    assert!(failure.subject.contains(&name), "{what}: {failure:?}");
    assert!(failure.message.contains(case.words), "{what}: {failure:?}");
    assert_eq!(failure.attempts, case.attempts, "{what}: {failure:?}");
    assert_eq!(fired.count() as u32, requests * case.attempts, "{what}: tries on the wire");
    if has_it {
        bench.source.clear_rules();
        bench.sync().await.success();
        bench.assert_arrived().await;
    } else {
        bench.assert_arrived_but("v2").await;
        bench.assert_no_upload_left();
        bench.assert_heals().await;
    }
}

async fn strike_all(cases: impl IntoIterator<Item = Case>) {
    several(cases.into_iter().map(strike)).await;
}

fn on_manifest(fault: Fault, step: &'static str, words: &'static str, attempts: u32) -> Case {
    Case { method: "GET", kind: Kind::Manifest, fault, step, words, attempts }
}

fn on_blob(fault: Fault, words: &'static str, attempts: u32) -> Case {
    Case { method: "GET", kind: Kind::Blob, fault, step: "get blob", words, attempts }
}

fn on_head(fault: Fault, words: &'static str, attempts: u32) -> Case {
    Case { method: "HEAD", kind: Kind::Manifest, fault, step: "look up", words, attempts }
}

fn on_both(fault: Fault, step: &'static str, words: &'static str) -> Case {
    Case { method: "*", kind: Kind::Manifest, fault, step, words, attempts: 1 }
}

fn refusal(status: u16) -> Fault {
    Fault::status(status).error("DENIED", "the moon is wrong")
}

#[tokio::test]
async fn refusals_are_final() {
    let mut cases = Vec::new();
    for status in [401, 403] {
        cases.push(on_manifest(refusal(status), "get manifest", "DENIED: the moon is wrong", 1));
        cases.push(on_blob(refusal(status), "DENIED: the moon is wrong", 1));
    }
    cases.push(on_head(refusal(401), "401 Unauthorized", 1));
    cases.push(on_both(refusal(403), "get manifest", "DENIED: the moon is wrong"));
    strike_all(cases).await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let gone = || Fault::status(404).error("BLOB_UNKNOWN", "blob unknown");
    strike_all([
        on_manifest(gone(), "read", "it is not there", 1),
        on_blob(gone(), "404 Not Found: BLOB_UNKNOWN: blob unknown", 1),
        on_both(gone(), "look up", "it is not there"),
    ])
    .await;
}

#[tokio::test]
async fn overload_and_failure_are_tried_again() {
    let mut cases = Vec::new();
    for status in [429, 500, 502, 503, 504] {
        let words = "DENIED: the moon is wrong";
        cases.push(on_manifest(refusal(status), "get manifest", words, ATTEMPTS));
        cases.push(on_blob(refusal(status), words, ATTEMPTS));
        cases.push(on_head(refusal(status), "the registry answered", ATTEMPTS));
    }
    strike_all(cases).await;
}

/// A manifest that comes byte by byte never stops moving, and must not keep the run from ending.
#[tokio::test]
async fn a_document_that_trickles_is_given_up() {
    let mut bench = Bench::new();
    bench.idle = SHORT;
    let drip = Fault::Drip { bytes: 1, every: SHORT / 8 };
    bench.source.on("GET", Kind::Manifest).containing("manifests/v2").fail(drip);
    let report = bench.sync().await;
    let failure = report.only_failure("v2");
    assert!(failure.message.contains("comes too slowly"), "{failure:?}");
    assert_eq!(failure.attempts, ATTEMPTS);
    bench.assert_arrived_but("v2").await;
}

#[tokio::test]
async fn cut_connections_are_tried_again() {
    strike_all([
        on_manifest(Fault::Cut, "get manifest", "connection", ATTEMPTS),
        on_manifest(Fault::CutAnswerAfter(50), "get manifest", "", ATTEMPTS),
        on_head(Fault::Cut, "connection", ATTEMPTS),
        on_blob(Fault::Cut, "connection", ATTEMPTS),
        // Each try brings a few bytes, which is no progress worth the name: so many are borne.
        on_blob(Fault::CutAnswerAfter(1_000), "", 5),
    ])
    .await;
}

#[tokio::test]
async fn answers_that_never_come_are_not_waited_for() {
    strike_all([
        on_manifest(Fault::Hang, "get manifest", "no progress for 400ms", ATTEMPTS),
        on_head(Fault::Hang, "no progress for 400ms", ATTEMPTS),
        on_blob(Fault::Hang, "no progress for 400ms", ATTEMPTS),
    ])
    .await;
}

#[tokio::test]
async fn wrong_bytes_never_arrive() {
    let lie = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let short = Fault::status(200).body(vec![7; 1_000]);
    let docker = Fault::wrong_content_type(media_type::DOCKER_MANIFEST);
    strike_all([
        on_manifest(Fault::WrongBytes, "get manifest", "", 1),
        on_manifest(Fault::wrong_content_digest(lie), "get manifest", lie, 1),
        on_manifest(docker, "get manifest", "the Content-Type says", 1),
        on_manifest(Fault::Longer(5 << 20), "get manifest", "larger than 4194304 bytes", 1),
        on_manifest(Fault::Endless, "get manifest", "larger than 4194304 bytes", 1),
        on_blob(Fault::WrongBytes, "bytes whose digest is sha256:", 3),
        on_blob(Fault::Longer(1), "bytes whose digest is sha256:", 3),
        on_blob(Fault::Endless, "is longer than its descriptor says", 3),
        on_blob(short, "has 1000 bytes whose digest is sha256:", 3),
    ])
    .await;
}

/// A digest of HEAD that no manifest has is looked for, and not found.
#[tokio::test]
async fn a_lie_about_what_a_tag_is_now_is_caught() {
    let bench = Bench::new();
    bench.sync().await.success();
    let lie = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let rule = bench.source.on("HEAD", Kind::Manifest).containing("manifests/v2");
    rule.fail(Fault::wrong_content_digest(lie));
    let report = bench.sync().await;
    let failure = report.only_failure("v2");
    let words = "the repository has no manifest with this digest";
    assert_eq!((failure.step.as_str(), failure.message.as_str()), ("read", words));
    assert!(failure.subject.contains(lie), "{failure:?}");
    bench.assert_arrived().await;
}

/// `Docker-Content-Digest` is only a SHOULD: without it, the bytes tell.
#[tokio::test]
async fn the_digest_header_is_not_needed() {
    let bench = Bench::new();
    bench.source.quirks(|quirks| quirks.no_content_digest = true);
    bench.target.quirks(|quirks| quirks.no_content_digest = true);
    assert_eq!(bench.sync().await.success(), 6);
    assert_eq!(bench.sync().await.success(), 0);
    bench.assert_arrived().await;
}

/// Faults that a second try mends. Nothing is lost, so the pass succeeds.
#[tokio::test]
async fn what_heals_is_no_failure() {
    let faults = [
        ("GET", Kind::Tags, Fault::status(503)),
        ("GET", Kind::Tags, Fault::CutAnswerAfter(10)),
        ("GET", Kind::Tags, Fault::Hang),
        ("GET", Kind::Manifest, Fault::too_many_requests(Some("0"))),
        ("GET", Kind::Manifest, Fault::CutAfterwards),
        ("GET", Kind::Blob, Fault::status(500)),
        ("GET", Kind::Blob, Fault::WrongBytes),
        ("GET", Kind::Blob, Fault::Longer(9)),
        ("GET", Kind::Blob, Fault::Cut),
        ("GET", Kind::Blob, Fault::CutAnswerAfter(30_000)),
        ("GET", Kind::Blob, Fault::Hang),
        // Slow, and longer on its way than the idle time-out, but never idle.
        ("GET", Kind::Blob, Fault::Drip { bytes: 4_000, every: SHORT / 4 }),
        ("GET", Kind::Manifest, Fault::Drip { bytes: 100, every: SHORT / 4 }),
    ];
    let passes = faults.into_iter().map(|(method, kind, fault)| async move {
        let mut bench = Bench::new().patience_for(&fault);
        if matches!(fault, Fault::Drip { .. }) {
            bench.idle = SHORT;
        }
        let what = format!("{method} {kind:?} {fault:?}");
        let fired = bench.source.on(method, kind).once().fail(fault);
        let report = bench.sync().await;
        assert_eq!((fired.count(), report.exit()), (1, 0), "{what}: {report:#?}");
        bench.assert_arrived().await;
    });
    several(passes).await;
}

/// What came before the break is not read again: the second request asks for the rest only.
#[tokio::test]
async fn a_blob_that_broke_off_is_gone_on_with() {
    let bench = Bench::new();
    let layer = bench.layer("v2").to_owned();
    bench
        .source
        .on("GET", Kind::Blob)
        .containing(&layer)
        .once()
        .fail(Fault::CutAnswerAfter(100_000));
    bench.sync().await.success();
    let traffic = bench.source.traffic();
    bench.assert_arrived().await;
    let asked: Vec<_> =
        traffic.of("GET", Kind::Blob).filter(|seen| seen.path.contains(&layer)).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].header("range"), Some("bytes=100000-"));
    // The upload was kept open meanwhile.
    let uploads = bench.target.traffic();
    assert_eq!(
        uploads.count("POST", Kind::Upload),
        uploads.count("PUT", Kind::Upload),
        "{uploads}"
    );
}

#[tokio::test]
async fn a_source_without_ranges_is_read_anew() {
    let bench = Bench::new();
    bench.source.quirks(|quirks| quirks.no_range = true);
    bench.source.on("GET", Kind::Blob).times(3).fail(Fault::CutAnswerAfter(2_000));
    bench.sync().await.success();
    bench.assert_arrived().await;
}

/// A list that cannot be read fails its rule, and no other.
#[tokio::test]
async fn a_tag_list_that_cannot_be_read_fails_its_rule() {
    let elsewhere = Scripted::start();
    let internal_name = format!("<{}/v2/{APP}/tags/list?last=v1>; rel=\"next\"", elsewhere.url());
    let cases = [
        (refusal(403), "DENIED: the moon is wrong", 1),
        (refusal(503), "DENIED: the moon is wrong", ATTEMPTS),
        (Fault::status(404), "there is no such repository", 1),
        (Fault::Cut, "connection", ATTEMPTS),
        (Fault::CutAnswerAfter(10), "", ATTEMPTS),
        (Fault::Hang, "no progress for 400ms", ATTEMPTS),
        (Fault::status(200).body("<html>"), "answered with a web page and not as a registry", 1),
        (Fault::PageLinksToItself, "leads back to an earlier page", 1),
        (Fault::EndlessPages, "more than 10000 pages", 1),
        (Fault::Header("link".to_owned(), internal_name), "leads back to an earlier page", 1),
    ];
    let passes = cases.into_iter().map(|(fault, words, attempts)| async move {
        let bench = Bench::new().patience_for(&fault);
        let what = format!("{fault:?}");
        bench.source.on("GET", Kind::Tags).containing(APP).fail(fault);
        let report = bench.sync().await;
        assert_eq!(report.exit(), 1, "{what}");
        let [app, other] = &report.rules[..] else { panic!("{report:#?}") };
        let [failure] = &app.failures[..] else { panic!("{what}: {report:#?}") };
        assert_eq!(failure.step, "list tags of", "{what}: {failure:?}");
        assert!(failure.subject.ends_with(APP), "{what}: {failure:?}");
        assert!(failure.message.contains(words), "{what}: {failure:?}");
        assert_eq!(failure.attempts, attempts, "{what}: {failure:?}");
        assert!(other.is_success(), "{what}: {report:#?}");
        assert!(bench.target.tag("mirror/other", "w1").is_some());
        // Nothing is begun with half a list.
        assert_eq!(
            bench.target.traffic().iter().filter(|seen| seen.path.contains("app")).count(),
            0
        );
    });
    several(passes).await;
    assert!(elsewhere.traffic().is_empty(), "a link to another host was followed");
}

/// An index whose only child is an index, so many times.
fn nested(depth: usize) -> Image {
    let innermost = Image::single(Family::Oci, "deep", &[900]);
    (0..depth).fold(innermost, |image, _| Image::index(Family::Oci, vec![(image, json!({}))]))
}

#[tokio::test]
async fn indexes_nest_only_so_deep() {
    let images = vec![Image::nested_index("fine"), nested(100), nested(10)];
    let bench = Bench::with(images);
    let report = bench.sync().await;
    let failure = report.only_failure("v2");
    assert!(failure.message.contains("nest more than 16 deep"), "{failure:?}");
    bench.assert_arrived_but("v2").await;
    // Given up at the limit, not at the bottom.
    let reads = bench.source.traffic().count("GET", Kind::Manifest);
    assert!(reads < 60, "{reads}");
}

/// Bench with an index as `v2`, and a fault for its first child.
async fn with_child(
    fault: impl FnOnce(&Image) -> Fault,
) -> (Bench, String, super::support::bench::Report) {
    let index = Image::platforms(Family::Oci, "many", &["amd64", "arm64"]);
    let child = index.children[0].digest.clone();
    let fault = fault(&index);
    let mut images = vec![Image::single(Family::Oci, "v1", &[3_000]), index];
    images.push(Image::platforms(Family::Docker, "others", &["amd64", "s390x"]));
    let bench = Bench::with(images);
    bench.source.on("GET", Kind::Manifest).containing(&child).fail(fault);
    let report = bench.sync().await;
    (bench, child, report)
}

#[tokio::test]
async fn an_index_with_a_missing_child_is_not_copied() {
    let (bench, child, report) =
        with_child(|_| Fault::status(404).error("MANIFEST_UNKNOWN", "gone")).await;
    let failure = report.only_failure("v2");
    assert_eq!((failure.step.as_str(), failure.message.as_str()), ("read", "it is not there"));
    assert!(failure.subject.contains(&child), "{failure:?}");
    bench.assert_arrived_but("v2").await;
    bench.assert_heals().await;
}

/// An index cannot contain itself with the right digest; a registry can only claim so.
#[tokio::test]
async fn an_index_that_comes_as_its_own_child_is_caught() {
    let itself = |index: &Image| {
        Fault::status(200).header("content-type", &index.media_type).body(index.bytes.clone())
    };
    let (bench, child, report) = with_child(itself).await;
    let failure = report.only_failure("v2");
    assert!(failure.message.contains(&format!("{child} was requested")), "{failure:?}");
    bench.assert_arrived_but("v2").await;
    bench.assert_heals().await;
}

/// A wait that the registry asks for is part of the answer's words, and not of our patience.
#[tokio::test]
async fn a_wait_beyond_all_patience_is_a_failure_at_once() {
    let bench = Bench::new();
    let begin = std::time::Instant::now();
    let rule = bench.source.on("GET", Kind::Manifest).containing("manifests/v2");
    let fired = rule.fail(Fault::too_many_requests(Some("86400")));
    let report = bench.sync().await;
    // It holds for the whole registry: what was not read by then fails with the same words.
    let failures = report.failures();
    assert!(!failures.is_empty(), "{report:#?}");
    for (_, failure) in failures {
        assert!(failure.message.contains("TOOMANYREQUESTS: too many requests"), "{failure:?}");
    }
    assert_eq!(fired.count(), 1);
    assert!(begin.elapsed() < Duration::from_secs(20));
    bench.target.assert_tags_complete();
    bench.source.clear_rules();
    bench.sync().await.success();
    bench.assert_arrived().await;
}

/// A referrer that is broken for good is reported, and its image arrives all the same.
#[tokio::test]
async fn unreadable_referrers_do_not_keep_the_image_away() {
    const OLD: &str = "application/vnd.example.old.manifest.v1+json";
    let image = |name: &str| Image::single(Family::Oci, name, &[2_000]);
    for what in ["manifest", "blob"] {
        let signed = image("v2").refer("signature", "application/vnd.example.signature");
        let referrer = signed.referrers[0].clone();
        let payload = referrer.blobs[1].digest.clone();
        let mut bench = Bench::with(vec![image("v1"), signed, image("v3")]);
        bench.rule_lines = "referrers = true".to_owned();
        let broken = match what {
            "manifest" => bench
                .source
                .on("GET", Kind::Manifest)
                .containing(&referrer.digest)
                .fail(Fault::wrong_content_type(OLD)),
            _ => bench
                .source
                .on("GET", Kind::Blob)
                .containing(payload)
                .fail(Fault::status(404).error("BLOB_UNKNOWN", "blob unknown")),
        };
        let report = bench.sync().await;
        report.only_failure("v2");
        assert!(broken.count() > 0, "{what}");
        bench.assert_arrived().await;
        let arrived = bench.target.endpoint().manifest("mirror/app", &referrer.digest).await;
        assert!(arrived.is_none(), "{what}");
    }
}

/// Referrers of referrers without end are cut off, and the image arrives.
#[tokio::test]
async fn referrers_nest_only_so_deep() {
    let image = Image::single(Family::Oci, "v1", &[2_000]);
    let mut chain = vec![image];
    for at in 0..17 {
        let next = Image::referrer_of(&chain[at], &at.to_string(), "application/vnd.example.x");
        chain.push(next);
    }
    let last = chain[17].digest.clone();
    let image = chain.into_iter().rev().reduce(|below, mut image| {
        image.referrers.push(below);
        image
    });
    let mut bench = Bench::with(image.into_iter().collect());
    bench.rule_lines = "referrers = true".to_owned();
    let report = bench.sync().await;
    assert!(report.only_failure("v1").subject.ends_with(&last), "{report:#?}");
    bench.assert_arrived().await;
}

/// Proxies of other registries answer GET of what they list, and refuse HEAD or do not find it.
#[tokio::test]
async fn a_source_that_does_not_answer_head_is_read() {
    for status in [400, 404, 405, 501] {
        let bench = Bench::new();
        // The target has tags, so that the source is looked up.
        bench.images[0].load(&bench.target, "mirror/app", "v1");
        bench.source.on("HEAD", Kind::Manifest).fail(Fault::status(status));
        assert_eq!(bench.sync().await.exit(), 0, "{status}");
        bench.assert_arrived().await;
        let traffic = bench.source.traffic();
        assert!(traffic.count("HEAD", Kind::Manifest) <= 8, "it is remembered: {traffic}");
    }
}

/// An answer to HEAD has no words: what the registry has to say comes with GET.
#[tokio::test]
async fn the_words_of_a_refusal_are_asked_for() {
    let bench = Bench::new();
    bench.images[0].load(&bench.target, "mirror/app", "v1");
    bench.source.on("HEAD", Kind::Manifest).containing("v1").fail(Fault::status(412));
    let refusal = Fault::status(412).error("PROJECTPOLICYVIOLATION", "it has vulnerabilities");
    bench.source.on("GET", Kind::Manifest).containing("v1").fail(refusal);
    let report = bench.sync().await;
    let failure = report.only_failure("v1");
    assert!(failure.message.contains("it has vulnerabilities"), "{failure:?}");
}

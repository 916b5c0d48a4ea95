//! Requests are the cost: how many there are, exactly; how fast they may come; and that all is
//! well in the end when one in twenty of them goes wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::bench::{APP, Bench, IDLE, Report, Runner, registry, rule, several};
use crate::support::images::Blob;
use crate::support::scripted::Mark;
use crate::support::traffic::Seen;
use crate::support::{Family, Fault, Image, Kind, Place, Scripted, Traffic, assert_same_at};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAGS: usize = 6;

/// Two repositories of six images each. All share a base layer; each image has a layer and a
/// config of its own.
struct Shelf {
    source: Scripted,
    target: Scripted,
    runner: Runner,
}

impl Shelf {
    fn new() -> Self {
        let source = Scripted::start();
        let base = Blob::noise(LAYER, "base", 50_000);
        for repository in ["acme/one", "acme/two"] {
            for at in 0..TAGS {
                let name = format!("{repository}/{at}");
                let config = Blob::new(CONFIG, json!({ "name": name }).to_string());
                let layers = vec![base.clone(), Blob::noise(LAYER, &name, 4_000)];
                let image = Image::of_blobs(Family::Oci, config, layers);
                image.load(&source, repository, &format!("v{at}"));
            }
        }
        Self { source, target: Scripted::start(), runner: Runner::new() }
    }

    /// One pass over both repositories; `more` are lines of the rules.
    async fn sync(&self, more: &str) -> (Report, Traffic, Traffic) {
        let marks = (self.source.mark(), self.target.mark());
        let mut text = registry(&self.source, IDLE, "") + &registry(&self.target, IDLE, "");
        for name in ["one", "two"] {
            let source = format!("{}/acme/{name}", self.source.host());
            let target = format!("{}/mirror/{name}", self.target.host());
            text += &rule(name, &source, &target, &format!("referrers = false\n{more}"));
        }
        let report = self.runner.run(&text).await;
        let since = |place: &Scripted, mark: Mark| place.requests_since(mark);
        (report, since(&self.source, marks.0), since(&self.target, marks.1))
    }

    fn forget(&mut self) {
        self.runner = Runner::new();
    }
}

/// A table of requests, as `Traffic` prints it.
fn table(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The floor: nothing can be copied with less.
#[tokio::test]
async fn a_cold_copy_costs_what_it_must() {
    let shelf = Shelf::new();
    let (report, source, target) = shelf.sync("").await;
    assert_eq!(report.success(), 12);
    // 1 list a repository; 1 manifest an image; 1 read a blob: 12 configs, 12 layers, the base.
    assert_eq!(
        source.to_string(),
        table(&["12 GET manifest 200", "25 GET blob 200", "2 GET tags 200"])
    );
    // 1 list a repository; 1 put an image; 1 POST and 1 PUT a blob; the base is mounted once.
    assert_eq!(
        target.to_string(),
        table(&[
            "12 PUT manifest 201",
            "1 POST upload 201",
            "25 POST upload 202",
            "25 PUT upload 201",
            "2 GET tags 404",
        ])
    );
    shelf.target.assert_tags_complete();
}

#[tokio::test]
async fn what_is_unchanged_costs_a_look_at_the_source() {
    let mut shelf = Shelf::new();
    shelf.sync("").await.0.success();
    let look = table(&["12 HEAD manifest 200", "2 GET tags 200"]);
    // The target's lists tell that nobody has deleted a tag there.
    let lists = table(&["2 GET tags 200"]);
    let (report, source, target) = shelf.sync("").await;
    assert_eq!(report.success(), 0);
    assert_eq!(source.to_string(), look);
    assert_eq!(target.to_string(), lists);
    // Without the state, the target is looked at as well, and only looked at.
    shelf.forget();
    let (report, source, target) = shelf.sync("").await;
    assert_eq!(report.success(), 0);
    assert_eq!(source.to_string(), look);
    assert_eq!(target.to_string(), look);
    // And then it is known again.
    let (_, _, target) = shelf.sync("").await;
    assert_eq!(target.to_string(), lists);
}

#[tokio::test]
async fn what_never_changes_costs_a_list() {
    let shelf = Shelf::new();
    shelf.sync("").await.0.success();
    let (_, source, target) = shelf.sync("immutable = [\"v*\"]").await;
    assert_eq!(source.to_string(), table(&["2 GET tags 200"]));
    assert_eq!(target.to_string(), source.to_string());
    let named = "tags = { include = [\"v1\", \"v3\", \"v5\"] }\nimmutable = [\"v*\"]";
    let (report, source, target) = shelf.sync(named).await;
    assert_eq!(report.success(), 0);
    assert_eq!(source.to_string() + &target.to_string(), "");
}

#[tokio::test]
async fn tags_that_are_named_need_no_list() {
    let shelf = Shelf::new();
    let named = "tags = { include = [\"v1\", \"v2\", \"v3\", \"v4\", \"v5\"] }";
    let (report, source, _) = shelf.sync(named).await;
    assert_eq!(report.success(), 10);
    assert_eq!(source.to_string(), table(&["10 GET manifest 200", "21 GET blob 200"]));
    let (_, source, target) = shelf.sync(named).await;
    assert_eq!(source.to_string(), table(&["10 HEAD manifest 200"]));
    assert_eq!(target.to_string(), table(&["2 GET tags 200"]));
}

/// Two repositories want the same large blob at the same time: it goes over the wire once.
#[tokio::test]
async fn a_blob_that_two_rules_want_at_once_is_carried_once() {
    let shelf = Shelf::new();
    let base = Blob::noise(LAYER, "base", 50_000).digest;
    // So slow that the second rule comes while the first one is at it.
    let drip = Fault::Drip { bytes: 5_000, every: Duration::from_millis(60) };
    shelf.source.on("GET", Kind::Blob).containing(&base).once().fail(drip);
    let (report, source, target) = shelf.sync("").await;
    assert_eq!(report.success(), 12);
    let read = source.of("GET", Kind::Blob).filter(|seen| seen.path.contains(&base)).count();
    assert_eq!(read, 1, "{source}");
    assert_eq!(target.count_status("POST", Kind::Upload, 201), 1, "{target}");
    assert_eq!(target.count("PUT", Kind::Upload), 25, "{target}");
    shelf.target.assert_tags_complete();
}

/// Two targets: the source is read once, each target gets everything.
#[tokio::test]
async fn two_targets_cost_the_source_one_read() {
    let shelf = Shelf::new();
    let second = Scripted::start();
    let source = format!("{}/acme/one", shelf.source.host());
    let target = format!("{}/mirror/one", shelf.target.host());
    let both = format!("[\"{target}\", \"{}/mirror/one\"]", second.host());
    let rule = rule("both", &source, &target, "referrers = false")
        .replace(&format!("target = \"{target}\""), &format!("target = {both}"));
    let text = registry(&shelf.source, IDLE, "")
        + &registry(&shelf.target, IDLE, "")
        + &registry(&second, IDLE, "")
        + &rule;
    let report = shelf.runner.run(&text).await;
    assert_eq!(report.success(), 2 * TAGS);
    assert_eq!(
        shelf.source.traffic().to_string(),
        table(&["6 GET manifest 200", "13 GET blob 200", "1 GET tags 200"])
    );
    for target in [&shelf.target, &second] {
        let floor =
            ["6 PUT manifest 201", "13 POST upload 202", "13 PUT upload 201", "1 GET tags 404"];
        assert_eq!(target.traffic().to_string(), table(&floor));
        target.assert_tags_complete();
    }
    for at in 0..TAGS {
        let tag = format!("v{at}");
        for target in [&shelf.target, &second] {
            let there = (&shelf.source, "acme/one", &*tag);
            assert_same_at(there, (target, "mirror/one", &tag)).await;
        }
    }
}

/// A limit that nobody configured is found, kept to, and nothing is lost on the way. (How well
/// it is used is a benchmark's business.)
#[tokio::test]
async fn a_hidden_limit_on_requests_is_found() {
    const IMAGES: usize = 400;
    let source = Scripted::with_generated_tags("acme/many", IMAGES);
    let target = Scripted::start();
    for place in [&source, &target] {
        place.quirks(|quirks| quirks.requests_per_second = Some(100));
    }
    let text = registry(&source, IDLE, "")
        + &registry(&target, IDLE, "")
        + &rule(
            "many",
            &format!("{}/acme/many", source.host()),
            &format!("{}/mirror/many", target.host()),
            "referrers = false",
        );
    let report = Runner::new().run(&text).await;
    assert_eq!(report.success(), IMAGES);
    for (name, place) in [("source", &source), ("target", &target)] {
        let traffic = place.traffic();
        let refused = traffic.iter().filter(|seen| seen.status == Some(429)).count();
        let seconds = traffic.iter().map(|seen| seen.at.as_secs_f64()).fold(0.0, f64::max);
        let rate = (traffic.len() - refused) as f64 / seconds;
        println!("{name}: {refused} of {} refused, {rate:.0}/s", traffic.len());
        assert!(refused * 20 < traffic.len(), "{name}: {traffic}");
    }
    target.assert_tags_complete();
}

/// `Retry-After` in all the forms that registries have: nothing leaves before its time, and not
/// much later.
#[tokio::test]
async fn waits_that_are_asked_for_are_kept() {
    let second = Duration::from_secs(1);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Dates have whole seconds: they are asked for relative to the pass's begin, below.
    let in_three = jiff::Timestamp::from_second(unix as i64 + 3).unwrap();
    let date = in_three.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let until = UNIX_EPOCH + Duration::from_secs(unix + 3);
    enum Wait {
        For(Duration),
        Until(SystemTime),
    }
    let refusal = |status| Fault::status(status).error("TOOMANYREQUESTS", "slow down");
    let words = Fault::status(429).error("TOOMANYREQUESTS", "retry-after: 700ms, allowed: 9/m");
    let cases = [
        (refusal(429).header("retry-after", "1"), Wait::For(second)),
        (refusal(503).header("retry-after", "1"), Wait::For(second)),
        (refusal(429).header("retry-after", &date), Wait::Until(until)),
        (refusal(429).header("x-retry-after", &(unix + 3).to_string()), Wait::Until(until)),
        (words, Wait::For(second.mul_f64(0.7))),
    ];
    // At each step that a registry may say so.
    let steps = [
        ("GET", Kind::Tags, true),
        ("GET", Kind::Manifest, true),
        ("GET", Kind::Blob, true),
        ("POST", Kind::Upload, false),
        ("PUT", Kind::Upload, false),
        ("PUT", Kind::Manifest, false),
    ];
    let passes = cases.iter().enumerate().flat_map(|(at, case)| {
        // Dates are over soon: those go first, and all of them together.
        let steps = if matches!(case.1, Wait::Until(_)) { &steps[at..=at] } else { &steps[..] };
        steps.iter().map(move |step| (case, step))
    });
    let passes = passes.map(|((fault, wait), (method, kind, at_source))| async move {
        let bench = Bench::new();
        let place = if *at_source { &bench.source } else { &bench.target };
        let began = SystemTime::now();
        place.on(method, *kind).once().fail(fault.clone());
        let text =
            bench.config().replace("insecure = \"http\"", "insecure = \"http\"\nparallel = 2");
        bench.runner.run(&text).await.success();
        let traffic = place.traffic();
        bench.assert_arrived().await;
        let refused = traffic.iter().find(|seen| seen.status.is_some_and(|s| s == 429 || s == 503));
        let refused = refused.expect("the rule has struck");
        // The registry began with the bench, a moment before the pass.
        let wait = match wait {
            Wait::For(wait) => *wait,
            Wait::Until(until) => {
                let left = until.duration_since(began).unwrap_or_default();
                left.saturating_sub(refused.at)
            }
        };
        let what = format!("{method} {kind:?} {fault:?}");
        let over = refused.at + wait.saturating_sub(Duration::from_millis(30));
        let early: Vec<_> =
            traffic.iter().filter(|seen| seen.at > refused.at && seen.at < over).collect();
        // What was on its way when the refusal came still arrives, however late: of each of the
        // two windows two at a time. Who does not wait sends dozens.
        assert!(early.len() <= 6, "{what}: {early:#?}");
        let same = |seen: &Seen| (seen.method.clone(), seen.path.clone(), seen.query.clone());
        let again = early.iter().any(|seen| same(seen) == same(refused));
        assert!(!again, "{what}: tried again within {wait:?}");
        let next = traffic.iter().find(|seen| seen.at >= over).expect("it was tried again");
        let waited = next.at - refused.at;
        assert!(waited < wait + Duration::from_secs(3), "{what}: {waited:?} for {wait:?}");
    });
    // All at once: they only wait.
    futures_util::future::join_all(passes).await;
}

/// Faults for a twentieth of a registry's requests, the same for the same seed.
fn chaos(registry: &Scripted, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let short = |random: &mut fastrand::Rng| Duration::from_millis(random.u64(20..300));
    for at in 0..3_000 {
        if random.f64() >= 0.042 {
            continue;
        }
        let fault = match random.u32(0..100) {
            0..25 => Fault::Cut,
            25..50 => Fault::status(503),
            50..53 => Fault::too_many_requests(Some("1")),
            53..65 => Fault::CutAfterwards,
            65..80 => Fault::CutAnswerAfter(random.usize(0..5_000)),
            _ => Fault::Delay(short(&mut random)),
        };
        registry.on_any().after(at).once().fail(fault);
    }
    for at in 0..1_000 {
        if random.f64() < 0.025 {
            registry.on("GET", Kind::Blob).after(at).once().fail(Fault::WrongBytes);
        }
        if random.f64() < 0.04 {
            let cut = Fault::CutRequestAfter(random.usize(0..30_000));
            registry.on("PUT", Kind::Upload).after(at).once().fail(cut);
        }
    }
}

/// One request in twenty goes wrong, on both sides, in every way that there is: all 32 images
/// arrive, bit for bit, and the pass succeeds.
#[tokio::test]
async fn one_request_in_twenty_goes_wrong() {
    let passes = [1, 2, 3].map(|seed| async move {
        let (source, target) = (Scripted::start(), Scripted::start());
        let image = |at: usize| match at % 4 {
            0 => Image::platforms(Family::Oci, &format!("index{at}"), &["amd64", "arm64"]),
            1 => Image::repeated_layer(&format!("repeated{at}")),
            2 => Image::single(Family::Docker, &format!("docker{at}"), &[20_000, 60_000]),
            _ => Image::single(Family::Oci, &format!("oci{at}"), &[10, 100_000, 3_000]),
        };
        for at in 0..32 {
            image(at).load(&source, "acme/chaos", &format!("t{at}"));
        }
        chaos(&source, seed);
        chaos(&target, seed + 1_000);
        let name = |place: &Scripted, rest: &str| format!("{}/{rest}", place.host());
        let text = registry(&source, IDLE, "")
            + &registry(&target, IDLE, "")
            + &rule("chaos", &name(&source, "acme/chaos"), &name(&target, "mirror/chaos"), "");
        let mut runner = Runner::new();
        // As many tries as by default.
        runner.policy.attempts = tranship::http::RetryPolicy::default().attempts;
        let report = runner.run(&text).await;
        assert_eq!(report.success(), 32, "seed {seed}");
        for place in [&source, &target] {
            let traffic = place.traffic();
            let wrong =
                traffic.iter().filter(|seen| !matches!(seen.status, Some(200..300 | 404))).count();
            println!("seed {seed}: {wrong} of {} answered wrongly", traffic.len());
            assert!(wrong * 40 > traffic.len(), "seed {seed}: {traffic}");
            place.clear_rules();
        }
        for at in 0..32 {
            let tag = format!("t{at}");
            let there = (&source, "acme/chaos", &*tag);
            assert_same_at(there, (&target, "mirror/chaos", &tag)).await;
        }
        target.assert_tags_complete();
    });
    several(passes).await;
}

/// The bench's own source is read by tag: what a pass costs does not depend on what went before.
#[tokio::test]
async fn a_second_pass_after_failures_copies_only_what_is_missing() {
    let bench = Bench::new();
    let rule = bench.source.on("GET", Kind::Manifest).containing("manifests/v4");
    rule.fail(Fault::status(403));
    bench.sync().await.only_failure("v4");
    bench.source.clear_rules();
    let marks = (bench.source.mark(), bench.target.mark());
    assert_eq!(bench.sync().await.success(), 1);
    let source = bench.source.requests_since(marks.0);
    assert_eq!(source.count("GET", Kind::Manifest), 1, "{source}");
    assert_eq!(source.count("GET", Kind::Blob), 3, "{source}");
    let target = bench.target.requests_since(marks.1);
    assert_eq!(target.count("PUT", Kind::Manifest), 1, "{target}");
    assert_eq!(target.count("PUT", Kind::Upload), 3, "{target}");
    assert!(bench.config().contains(APP));
}

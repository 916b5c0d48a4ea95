//! What is counted is what happened: metrics of real passes against the registries' own records.

use std::time::Duration;

use tranship::metrics::Metrics;

use crate::support::bench::{ATTEMPTS, Bench, IDLE, LAYERS, Runner, SHORT, registry, rule};
use crate::support::samples::requests_of;
use crate::support::scripted::Login;
use crate::support::{
    DockerRegistry, Family, Fault, Image, Kind, Place, Samples, Scripted, TokenServer, Traffic,
    eventually,
};

fn samples(metrics: &Metrics) -> Samples {
    Samples::parse(&metrics.render().unwrap())
}

/// What a registry answered to all requests, and what it was asked.
fn assert_counted(samples: &Samples, place: &impl Place, traffic: &Traffic) {
    assert_eq!(samples.requests(place.host()), requests_of(traffic), "{traffic}");
}

fn of(place: &impl Place) -> [(&'static str, &str); 1] {
    [("registry", place.host())]
}

#[tokio::test]
async fn a_pass_is_counted_as_the_registries_saw_it() {
    let bench = Bench::new();
    assert_eq!(bench.sync().await.success(), 6);
    let (source, target) = (bench.source.traffic(), bench.target.traffic());
    let samples = samples(&bench.runner.metrics);
    assert_counted(&samples, &bench.source, &source);
    assert_counted(&samples, &bench.target, &target);
    let sum = |name: &str, place: &Scripted| samples.sum(name, &of(place));
    let answered: u64 = source.iter().filter(|s| s.method == "GET").map(|s| s.answer_length).sum();
    assert_eq!(sum("tranship_registry_received_bytes_total", &bench.source), answered as f64);
    assert_eq!(sum("tranship_registry_sent_bytes_total", &bench.source), 0.0);
    let sent = target.bytes_received() as f64;
    assert_eq!(sum("tranship_registry_sent_bytes_total", &bench.target), sent);
    assert!(sent > (LAYERS.iter().sum::<usize>() * 5) as f64, "{sent}");
    for place in [&bench.source, &bench.target] {
        assert_eq!(sum("tranship_registry_retries_total", place), 0.0);
        assert_eq!(sum("tranship_registry_connection_failures_total", place), 0.0);
        assert_eq!(sum("tranship_registry_in_flight", place), 0.0);
        assert!(sum("tranship_registry_window", place) >= 16.0);
    }
    // The time of every answer is taken, but for uploads.
    let timed = sum("tranship_registry_request_duration_seconds_count", &bench.target);
    assert_eq!(timed as usize, target.len() - target.count("PUT", Kind::Upload));
}

/// The same against a registry that is not of this house.
#[tokio::test]
async fn a_real_registry_saw_the_same() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    for repository in ["acme/one", "acme/two"] {
        image.push(&source, repository, "v1").await;
    }
    let marks = (source.mark().await, target.mark().await);
    let runner = Runner::new();
    let mut text = registry(&source, IDLE, "") + &registry(&target, IDLE, "");
    for name in ["one", "two"] {
        let (from, to) =
            (format!("{}/acme/{name}", source.host()), format!("{}/mirror/{name}", target.host()));
        text += &rule(name, &from, &to, "referrers = false");
    }
    assert_eq!(runner.run(&text).await.success(), 2);
    let samples = samples(&runner.metrics);
    let asked = (source.requests_since(marks.0).await, target.requests_since(marks.1).await);
    assert_counted(&samples, &source, &asked.0);
    assert_counted(&samples, &target, &asked.1);
    let blobs = |fate: &str| {
        samples.sum("tranship_blobs_total", &[("registry", target.host()), ("fate", fate)])
    };
    let of_image = image.all_blobs().len() as f64;
    assert_eq!((blobs("sent"), blobs("mounted")), (of_image, of_image));
    assert_eq!(asked.1.count_status("POST", Kind::Upload, 201) as f64, of_image);
    let saved = samples.sum("tranship_blobs_saved_bytes_total", &of(&target));
    assert_eq!(saved, image.blob_bytes() as f64);
}

#[tokio::test]
async fn what_goes_wrong_is_counted() {
    let bench = Bench::new();
    let throttled = Fault::too_many_requests(None);
    bench.source.on("GET", Kind::Manifest).times(2).fail(throttled);
    bench.target.on("POST", Kind::Upload).once().fail(Fault::status(503));
    bench.source.on("GET", Kind::Tags).containing("acme/other").once().fail(Fault::Cut);
    assert_eq!(bench.sync().await.success(), 6);
    let samples = samples(&bench.runner.metrics);
    assert_counted(&samples, &bench.source, &bench.source.traffic());
    assert_counted(&samples, &bench.target, &bench.target.traffic());
    let host = bench.source.host();
    let refused = [("registry", host), ("method", "GET"), ("status", "429")];
    assert_eq!(samples.sum("tranship_registry_requests_total", &refused), 2.0);
    let retries = |place| samples.sum("tranship_registry_retries_total", &of(place));
    assert_eq!((retries(&bench.source), retries(&bench.target)), (3.0, 1.0));
    let failures = |kind| {
        let labels = [("registry", host), ("kind", kind)];
        samples.sum("tranship_registry_connection_failures_total", &labels)
    };
    assert_eq!((failures("broken"), failures("timed_out")), (1.0, 0.0));
}

#[tokio::test]
async fn silence_is_counted() {
    let mut bench = Bench::new();
    bench.idle = SHORT;
    bench.source.on("GET", Kind::Tags).containing("acme/other").fail(Fault::Hang);
    assert_eq!(bench.sync().await.exit(), 1);
    let samples = samples(&bench.runner.metrics);
    let labels = [("registry", bench.source.host()), ("kind", "timed_out")];
    let silent = samples.sum("tranship_registry_connection_failures_total", &labels);
    assert_eq!(silent, f64::from(ATTEMPTS));
}

/// What is under way shows while it is, and in the right window.
#[tokio::test]
async fn requests_show_while_they_are_under_way() {
    let bench = Bench::new();
    bench.source.on("GET", Kind::Tags).fail(Fault::Hang);
    let in_flight = |kind: &str| {
        let text = bench.runner.metrics.render().unwrap();
        let host = bench.source.host();
        let start = format!("tranship_registry_in_flight{{kind=\"{kind}\",registry=\"{host}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u32>().ok())
    };
    let watch = async {
        eventually("two requests under way", Duration::from_secs(20), || async {
            (in_flight("requests") == Some(2)).then_some(())
        })
        .await;
        assert_eq!(in_flight("uploads"), Some(0));
        bench.source.clear_rules();
        bench.source.release();
    };
    let (report, ()) = tokio::join!(bench.sync(), watch);
    report.success();
    assert_eq!(in_flight("requests"), Some(0));
}

#[tokio::test]
async fn tokens_are_counted_as_the_token_server_gave_them() {
    let tokens = TokenServer::start();
    tokens.user("alice", "secret");
    let mut bench = Bench::new();
    bench.source.require(Login::Bearer { server: tokens.clone(), realm: None });
    bench.source_lines =
        "username = \"alice\"\npassword = { command = [\"printf\", \"secret\"] }\n".to_owned();
    assert_eq!(bench.sync().await.success(), 6);
    let counted = |outcome: &str| {
        let labels = [("registry", bench.source.host()), ("outcome", outcome)];
        samples(&bench.runner.metrics).sum("tranship_registry_token_requests_total", &labels)
    };
    let (asked, granted) = (tokens.requests().len(), counted("granted"));
    assert!(asked > 0);
    assert_eq!((granted as usize, counted("refused")), (asked, 0.0));
    assert_counted(&samples(&bench.runner.metrics), &bench.source, &bench.source.traffic());
    tokens.policy(|policy| policy.failure = Some(403));
    assert_eq!(bench.sync().await.exit(), 1);
    let refused = tokens.requests().len() - asked;
    assert!(refused > 0);
    assert_eq!((counted("granted"), counted("refused") as usize), (granted, refused));
}

#[tokio::test]
async fn a_quota_shows_as_it_was_said_last() {
    let bench = Bench::new();
    let limited = |left: &str| {
        let refusal = Fault::status(404).header("ratelimit-limit", "100;w=21600");
        refusal.header("ratelimit-remaining", left)
    };
    bench.source.on("GET", Kind::Tags).containing("acme/other").fail(limited("76;w=21600"));
    bench.sync().await;
    let quota = |name: &str| samples(&bench.runner.metrics).sum(name, &of(&bench.source));
    assert_eq!(quota("tranship_registry_pull_quota"), 100.0);
    assert_eq!(quota("tranship_registry_pull_quota_remaining"), 76.0);
}

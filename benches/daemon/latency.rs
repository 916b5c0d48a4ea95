//! From the event to the mirrored image.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bench::{registry, rule};
use crate::support::docker_registry::Notifications;
use crate::support::{Daemon, DockerRegistry, Family, Image, Place, Scripted, eventually};
use crate::usage::quantile;

/// What is asked for, in seconds.
const MOST: f64 = 1.0;
const LIMIT: Duration = Duration::from_secs(30);

pub async fn measure(smoke: bool) -> Vec<String> {
    let count = if smoke { 3 } else { 300 };
    println!("\n| event to mirrored | events | p50 ms | p90 ms | p99 ms | max ms |");
    println!("|---|---:|---:|---:|---:|---:|");
    let told = row("message sent to tag at the target", posted(count).await);
    let pushed = row("tag put into docker-registry to tag at the target", pushed(count).await);
    told.into_iter().chain(pushed).collect()
}

fn row(what: &str, mut seconds: Vec<f64>) -> Option<String> {
    seconds.sort_by(f64::total_cmp);
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|part| quantile(&seconds, part));
    let [a, b, c, d] = [p50, p90, p99, max].map(|seconds| format!("{:.0}", seconds * 1e3));
    println!("| {what} | {} | {a} | {b} | {c} | {d} |", seconds.len());
    (p99 > MOST).then(|| format!("latency, {what}: p99 is {p99:.2} s, at most {MOST} is asked for"))
}

fn configuration(source: &impl Place, target: &impl Place) -> String {
    let (from, to) = (source.host(), target.host());
    let events = format!("[events.r]\nformat = \"distribution\"\nregistry = \"{from}\"\n");
    let of_rule = rule("app", &format!("{from}/acme/**"), &format!("{to}/mirror/{{tail}}"), "");
    events + &registry(source, LIMIT, "") + &registry(target, LIMIT, "") + &of_rule
}

/// Waits for the image at the target, without asking it over the network.
async fn arrives(target: &Scripted, tag: &str, image: &Image) {
    let begin = Instant::now();
    while target.tag("mirror/app", tag).as_ref() != Some(&image.digest) {
        assert!(begin.elapsed() < LIMIT, "{tag} does not arrive");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn image(number: usize) -> (Image, String) {
    // Ten tags that move, as in a registry that has been in use for a while.
    (
        Image::single(Family::Oci, &format!("app-{number}"), &[2_000, 20_000]),
        format!("v{}", number % 10),
    )
}

/// The message comes from here: registries of this process on both sides.
async fn posted(count: usize) -> Vec<f64> {
    let (source, target) = (Scripted::start(), Scripted::start());
    let daemon = Daemon::start(&configuration(&source, &target)).await;
    let mut seconds = Vec::new();
    for number in 0..count {
        let (image, tag) = image(number);
        image.load(&source, "acme/app", &tag);
        let body = json!({ "events": [{
            "action": "push", "timestamp": jiff::Timestamp::now().to_string(),
            "target": { "mediaType": image.media_type, "repository": "acme/app", "tag": tag }
        }] });
        let begin = Instant::now();
        let answer = daemon.post("/api/v1/events/r", body.to_string()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        arrives(&target, &tag, &image).await;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    seconds
}

/// A real registry sends the message when a tag is put.
async fn pushed(count: usize) -> Vec<f64> {
    let target = Scripted::start();
    let to = target.host();
    let nothing = rule("app", &format!("{to}/none"), &format!("{to}/nothing"), "");
    let daemon = Daemon::start(&(registry(&target, LIMIT, "") + &nothing)).await;
    let notifications = Notifications::to(&daemon.url("/api/v1/events/r"), "none");
    let source = DockerRegistry::new().notifications(notifications).run().await;
    daemon.reload(&configuration(&source, &target)).await;
    let mut seconds = Vec::new();
    for number in 0..count {
        let (image, tag) = image(number);
        image.push_content(&source, "acme/app").await;
        let begin = Instant::now();
        let (endpoint, bytes) = (source.endpoint(), image.bytes.clone());
        endpoint.put_manifest("acme/app", &tag, &image.media_type, bytes).await;
        arrives(&target, &tag, &image).await;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    eventually("rest", LIMIT, || async {
        (daemon.get("/api/v1/running").await.json() == json!([])).then_some(())
    })
    .await;
    seconds
}

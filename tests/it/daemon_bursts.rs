//! Ten thousand push events at once: few runs, few requests, and a daemon that still answers.

use std::time::{Duration, Instant};

use futures_util::StreamExt;

use crate::daemon_events::{Site, envelope, taken};
use crate::support::Kind;

const EVENTS: usize = 10_000;
/// What a burst may add to the daemon's memory, in KiB.
const MEMORY: u64 = 40 << 10;
/// A probe gives up after a second, as a rule.
const ANSWERS: Duration = Duration::from_secs(1);

/// Does something, and sees to it meanwhile that the daemon answers.
async fn answering<T>(site: &Site, doing: impl Future<Output = T>) -> T {
    let probe = async {
        let mut slowest = Duration::ZERO;
        loop {
            let begin = Instant::now();
            assert_eq!(site.daemon.get("/healthz").await.status, 200);
            slowest = slowest.max(begin.elapsed());
            assert!(slowest < ANSWERS, "an answer took {slowest:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        done = doing => done,
        () = probe => unreachable!("a loop without an end"),
    }
}

/// Panics unless the burst made at most so many runs, and asked the registries little.
async fn assert_coalesced(site: &Site, before: u64, images: usize, most: usize) {
    site.daemon.rests().await;
    let runs = site.daemon.runs_for("app", "event").await;
    assert!((1..=most).contains(&runs.len()), "{} runs", runs.len());
    for run in &runs {
        assert_eq!(run["outcome"], "succeeded", "{run}");
    }
    let (asked, sent) = (site.source.traffic(), site.target.traffic());
    // Each image once; and each run looks at each of its images on both sides, of which there are
    // no more than events.
    let once = images * 14;
    let looks = (runs.len() * images).min(EVENTS) * 2;
    assert!(asked.len() + sent.len() <= once + looks, "{} runs\n{asked}\n{sent}", runs.len());
    assert_eq!(sent.count("PUT", Kind::Manifest), images, "{sent}");
    let (_, peak) = site.daemon.memory();
    assert!(peak - before < MEMORY, "{before} KiB before, {peak} KiB at most");
}

#[tokio::test]
async fn ten_thousand_events_in_one_message() {
    for tags in [1, 100] {
        let site = Site::start().await;
        let names: Vec<String> = (0..tags).map(|n| format!("v{n}")).collect();
        let images: Vec<_> = names.iter().map(|tag| site.load(tag, "acme/app", tag)).collect();
        let (before, _) = site.daemon.memory();
        let all = (0..EVENTS).map(|n| ("acme/app", names[n % tags].as_str()));
        let body = envelope(all);
        let begin = Instant::now();
        answering(&site, async {
            assert_eq!(taken(&site.daemon, &body).await, (EVENTS as u64, 0));
            for (image, tag) in images.iter().zip(&names) {
                site.arrives(image, "mirror/app", tag).await;
            }
        })
        .await;
        println!(
            "{EVENTS} events for {tags} tags in one message: mirrored after {:?}",
            begin.elapsed()
        );
        assert_coalesced(&site, before, tags, 2).await;
    }
}

/// Every second one is about one tag, the others about a hundred.
#[tokio::test]
async fn ten_thousand_messages_over_several_connections() {
    let site = Site::start().await;
    let names: Vec<String> = (0..100).map(|n| format!("v{n}")).collect();
    let images: Vec<_> = names.iter().map(|tag| site.load(tag, "acme/app", tag)).collect();
    let (before, _) = site.daemon.memory();
    let begin = Instant::now();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = site.daemon.url("/api/v1/events/r");
    let bodies: Vec<String> =
        names.iter().map(|tag| envelope([("acme/app", tag.as_str())])).collect();
    answering(&site, async {
        let posts = (0..EVENTS).map(|n| {
            let at = if n % 2 == 0 { 0 } else { n / 2 % bodies.len() };
            let request = client.post(&url).body(bodies[at].clone());
            async move { request.send().await.unwrap().status().as_u16() }
        });
        let statuses: Vec<u16> =
            futures_util::stream::iter(posts).buffer_unordered(8).collect().await;
        assert!(statuses.iter().all(|status| *status == 202));
        for (image, tag) in images.iter().zip(&names) {
            site.arrives(image, "mirror/app", tag).await;
        }
    })
    .await;
    let took = begin.elapsed();
    println!("{EVENTS} messages: taken and mirrored after {took:?}");
    // One a tenth of a second is what gathering lets through.
    let most = took.as_millis() as usize / 100 + 2;
    assert_coalesced(&site, before, images.len(), most).await;
}

//! Ten thousand events in one message, with a thousand rules: how long do others wait meanwhile?

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bench::{registry, rule};
use crate::support::{Daemon, Place, Scripted};

/// What another event may have to wait for its answer, in milliseconds.
const MOST_MS: f64 = 200.0;

/// What stands there for the rule of this number.
type Name = fn(usize) -> String;

pub async fn measure(smoke: bool) -> Vec<String> {
    let (rules, events) = if smoke { (10, 100) } else { (1_000, 10_000) };
    println!("\n| {events} events, {rules} rules | answer ms | slowest other event's answer ms |");
    println!("|---|---:|---:|");
    let mut missed = Vec::new();
    let cases: [(&str, Name, Name); 3] = [
        ("a rule for each repository", |n| format!("acme/app-{n}"), |n| format!("acme/app-{n}")),
        ("a pattern for each namespace", |n| format!("team-{n}/**"), |n| format!("team-{n}/app")),
        ("one repository, which all rules want", |_| "acme/**".into(), |_| "acme/app".into()),
    ];
    for (what, source, repository) in cases {
        let (answer, other) = burst(rules, events, source, repository).await;
        println!("| {what} | {answer:.0} | {other:.0} |");
        if other > MOST_MS {
            missed.push(format!("burst, {what}: another event waited {other:.0} ms"));
        }
    }
    missed
}

/// Both times in milliseconds.
async fn burst(rules: usize, events: usize, source: Name, repository: Name) -> (f64, f64) {
    let place = Scripted::start();
    let host = place.host();
    let mut text = format!("[events.r]\nformat = \"distribution\"\nregistry = \"{host}\"\n")
        + &registry(&place, Duration::from_secs(60), "");
    for n in 0..rules {
        let (from, to) = (format!("{host}/{}", source(n)), format!("{host}/mirror-{n}/{{tail}}"));
        text += &rule(&format!("rule-{n}"), &from, &to, "referrers = false");
    }
    let daemon = Daemon::start(&text).await;
    let of = |n: usize| {
        json!({ "action": "push", "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "repository": repository(n % rules), "tag": format!("v{}", n / rules)
        } })
    };
    let message = json!({ "events": (0..events).map(of).collect::<Vec<_>>() }).to_string();
    let nothing = json!({ "events": [{ "action": "push", "target": {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "repository": "none/none", "tag": "v1"
    } }] })
    .to_string();
    let send = async {
        let begin = Instant::now();
        let answer = daemon.post("/api/v1/events/r", message).await;
        assert_eq!(answer.json()["accepted"], events, "{answer:?}");
        begin.elapsed().as_secs_f64() * 1e3
    };
    let mut slowest = 0.0_f64;
    let probe = async {
        // Until the runs for the burst are well on their way.
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let begin = Instant::now();
            assert_eq!(daemon.post("/api/v1/events/r", nothing.clone()).await.status, 202);
            slowest = slowest.max(begin.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (answer, ()) = tokio::join!(send, probe);
    (answer, slowest)
}

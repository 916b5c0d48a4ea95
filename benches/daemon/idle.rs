//! 500 rules and 100 000 known tags, and next to nothing to do.

use std::time::Duration;

use crate::support::bench::{registry, rule};
use crate::support::{Daemon, Family, Image, Place, Scripted, Tranship};
use crate::usage::Usage;

/// What is asked for: memory …
const MOST_MIB: f64 = 40.0;
/// … and part of a core.
const MOST_CPU: f64 = 0.005;
/// Rules that run twice a minute; the others do on New Year.
const OFTEN: usize = 10;
const FAR: &str = "schedule = \"0 4 1 1 *\"\nreferrers = false";

pub async fn measure(smoke: bool) -> Vec<String> {
    let (rules, tags, minute) = if smoke {
        (20, 100, Duration::from_secs(1))
    } else {
        (500, 100_000, Duration::from_secs(60))
    };
    let source = Scripted::with_generated_tags("acme/app", tags);
    let target = Scripted::with_generated_tags("acme/app", tags);
    let text = configuration(&source, &target, rules);
    let home = Tranship::new();
    home.write("token", "s3cret");
    home.write("tranship.toml", format!("[daemon]\n{text}"));
    // Everything is there, so that a pass only learns of it.
    let sync = home.command().args(["sync", "--quiet", "--rule", "all"]).output().await.unwrap();
    assert!(sync.status.success(), "{}", String::from_utf8_lossy(&sync.stderr));
    let daemon = Daemon::start_in(home, &text).await;

    println!("\n| {rules} rules, {tags} known tags | RSS MiB | peak RSS MiB | CPU of a core |");
    println!("|---|---:|---:|---:|");
    let mut missed = row(&daemon, "since the start", minute).await;
    let authorization = ("authorization", "Bearer s3cret");
    let answer = daemon.post_with("/api/v1/rules/all/run", &[authorization], "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    while daemon.get("/api/v1/running").await.json() != serde_json::json!([]) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(daemon.runs_for("all", "api").await[0]["counts"]["unchanged"], tags);
    missed.extend(row(&daemon, "after a pass over all tags", minute).await);
    missed
}

/// A minute of idleness, with a scrape each quarter of it.
async fn row(daemon: &Daemon, what: &str, minute: Duration) -> Vec<String> {
    tokio::time::sleep(minute / 12).await;
    let before = Usage::of(daemon.pid());
    for _ in 0..4 {
        tokio::time::sleep(minute / 4).await;
        daemon.metrics().await;
    }
    let after = Usage::of(daemon.pid());
    let cpu = (after.cpu - before.cpu) / minute.as_secs_f64();
    let (rss, (_, peak)) = (after.rss_kib / 1024.0, daemon.memory());
    println!("| {what} | {rss:.1} | {:.1} | {:.2} % |", peak as f64 / 1024.0, cpu * 100.0);
    let mut missed = Vec::new();
    if rss > MOST_MIB {
        missed.push(format!("idle {what}: {rss:.1} MiB, at most {MOST_MIB} are asked for"));
    }
    if cpu > MOST_CPU {
        missed.push(format!(
            "idle {what}: {:.2} % CPU, at most {} %",
            cpu * 100.0,
            MOST_CPU * 100.0
        ));
    }
    missed
}

/// The keys of [daemon] come first.
fn configuration(source: &Scripted, target: &Scripted, rules: usize) -> String {
    let patient = Duration::from_secs(60);
    let (from, to) = (source.host(), target.host());
    let mut text = "token = { file = \"token\" }\n".to_owned();
    text += &format!("[events.r]\nformat = \"distribution\"\nregistry = \"{from}\"\n");
    text += &(registry(source, patient, "") + &registry(target, patient, ""));
    text += &rule("all", &format!("{from}/acme/app"), &format!("{to}/acme/app"), FAR);
    for number in 1..rules {
        let often = number <= OFTEN;
        let (group, lines) =
            if often { ("often", "every = \"30s\"\nreferrers = false") } else { ("far", FAR) };
        let repository = format!("{group}/app-{number}");
        if often {
            Image::single(Family::Oci, &repository, &[500]).load(source, &repository, "v1");
        }
        let (name, source) = (format!("{group}-{number}"), format!("{from}/{repository}"));
        text += &rule(&name, &source, &format!("{to}/mirror/{repository}"), lines);
    }
    text
}

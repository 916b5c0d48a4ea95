//! A registry that takes 100 requests a second, and nobody has said so: how well is it used?
//!
//! The built binary mirrors images between registries that answer 429 above their limit. Good is
//! a client that has next to no request refused and still uses the limit nearly up. The cases run
//! side by side, each with its own registries.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on should stop, in its helpers too"
)]

mod common;

use std::process::ExitCode;

use common::support;
use support::images::Family;
use support::{Image, Scripted, Traffic, Tranship};

/// Requests a second that a limited registry takes.
const LIMIT: u32 = 100;
/// At four requests each at the source and five at the target, this takes most of a minute.
const IMAGES: usize = 1_000;
/// What is asked for: at most this part refused …
const MOST_REFUSED: f64 = 0.01;
/// … and at least so many requests a second taken, by the side that holds the other back.
const LEAST_TAKEN: f64 = 85.0;

#[derive(Clone, Copy)]
struct Case {
    both_sides: bool,
    retry_after: Option<&'static str>,
    /// Size of the token bucket; `None` for a window of a second.
    bucket: Option<u32>,
}

/// What one registry saw.
struct Side {
    requests: usize,
    refused: f64,
    taken_per_second: f64,
    seconds: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let images = if common::is_smoke_test() { 20 } else { IMAGES };
    let mut cases = Vec::new();
    for both_sides in [false, true] {
        for retry_after in [Some("1"), None] {
            for bucket in [None, Some(LIMIT)] {
                cases.push(Case { both_sides, retry_after, bucket });
            }
        }
    }
    let runs: Vec<_> = cases.iter().map(|case| tokio::spawn(mirror(*case, images))).collect();
    println!(
        "| limited | limit | Retry-After | registry | requests | refused | taken/s | seconds |"
    );
    println!("|---|---|---|---|---:|---:|---:|---:|");
    let mut missed = 0;
    for (case, run) in cases.iter().zip(runs) {
        let sides = run.await.unwrap();
        let busiest = sides.iter().map(|(_, side)| side.taken_per_second).fold(0.0, f64::max);
        missed += usize::from(images == IMAGES && busiest < LEAST_TAKEN);
        for (name, side) in sides {
            missed += usize::from(images == IMAGES && side.refused > MOST_REFUSED);
            println!(
                "| {} | {} | {} | {name} | {} | {:.2} % | {:.1} | {:.1} |",
                if case.both_sides { "both sides" } else { "the source" },
                if case.bucket.is_some() { "token bucket" } else { "window of 1 s" },
                case.retry_after.unwrap_or("none"),
                side.requests,
                side.refused * 100.0,
                side.taken_per_second,
                side.seconds,
            );
        }
    }
    if missed > 0 {
        eprintln!("{missed} targets missed: at most 1 % refused, at least {LEAST_TAKEN}/s taken");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Mirrors the images, and tells what the limited registries saw.
async fn mirror(case: Case, images: usize) -> Vec<(&'static str, Side)> {
    let (source, target) = (Scripted::start(), Scripted::start());
    for number in 0..images {
        Image::single(Family::Oci, &format!("app-{number}"), &[500]).load(
            &source,
            "acme/app",
            &format!("v1.{number}"),
        );
    }
    let limit = |registry: &Scripted| {
        registry.quirks(|quirks| {
            quirks.requests_per_second = Some(LIMIT);
            quirks.token_bucket = case.bucket;
            quirks.retry_after = case.retry_after.map(str::to_owned);
        });
    };
    limit(&source);
    if case.both_sides {
        limit(&target);
    }
    let home = Tranship::new();
    let hosts = [&source, &target].map(|registry| registry.url().replace("http://", ""));
    home.write(
        "tranship.toml",
        format!(
            r#"
            registry."{0}".insecure = "http"
            registry."{1}".insecure = "http"
            [[sync]]
            name = "r"
            source = "{0}/acme/app"
            target = "{1}/acme/app"
            "#,
            hosts[0], hosts[1]
        ),
    );
    let output = home.command().args(["sync", "--quiet"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.assert_tags_complete();
    let mut sides = vec![("source", side(&source.traffic()))];
    if case.both_sides {
        sides.push(("target", side(&target.traffic())));
    }
    sides
}

fn side(traffic: &Traffic) -> Side {
    let refused = traffic.iter().filter(|seen| seen.status == Some(429)).count();
    let times = traffic.iter().map(|seen| seen.at);
    let seconds = (times.clone().max().unwrap() - times.min().unwrap()).as_secs_f64();
    Side {
        requests: traffic.len(),
        refused: refused as f64 / traffic.len() as f64,
        taken_per_second: (traffic.len() - refused) as f64 / seconds,
        seconds,
    }
}

//! A busy day in a few minutes: every second a pass of each rule, tags that move, failures,
//! events, reloads, scrapes. What there is to know is bounded, so nothing may grow for long.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bench::{registry, rule};
use crate::support::{Daemon, Family, Fault, Image, Kind, Place, Scripted};
use crate::usage::{Usage, line, size};

/// Rules that run every second.
const RULES: usize = 20;
const TAGS: usize = 5;
/// Images that a repository's tags move between.
const VARIANTS: usize = 30;
/// Growth of memory that is taken for noise, in KiB a minute.
const MOST_GROWTH: f64 = 512.0;
/// Threads and files that may be more at the end than after warming up.
const MOST_MORE: f64 = 4.0;

/// One look at everything.
struct Sample {
    minute: f64,
    usage: Usage,
    state: f64,
    history: f64,
}

struct Soak {
    source: Scripted,
    target: Scripted,
    daemon: Daemon,
}

pub async fn measure(smoke: bool) -> Vec<String> {
    let all = Duration::from_secs(if smoke { 6 } else { 360 });
    let soak = Soak::start().await;
    let mut samples = Vec::new();
    tokio::select! {
        _ = async { tokio::join!(
            soak.move_tags(), soak.send_events(), soak.fail(), soak.reload(), soak.scrape()
        ) } => unreachable!("loops without an end"),
        () = soak.sample(all, &mut samples) => {}
    }
    let missed = report(&samples, all);
    soak.totals().await;
    missed
}

impl Soak {
    async fn start() -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        let daemon = Daemon::start(&configuration(&source, &target, 0)).await;
        Self { source, target, daemon }
    }

    async fn move_tags(&self) {
        for number in 0.. {
            let (repository, tag) = (format!("soak/app-{}", number % RULES), number % TAGS);
            let name = format!("{repository}-{}", (number / RULES) % VARIANTS);
            let image = Image::single(Family::Oci, &name, &[1_000, 4_000]);
            image.load(&self.source, &repository, &format!("v{tag}"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn send_events(&self) {
        for number in 0_usize.. {
            let tag = format!("v{}", number % TAGS);
            let image =
                Image::single(Family::Oci, &format!("told-{}", number % VARIANTS), &[3_000]);
            image.load(&self.source, "told/app", &tag);
            let event = json!({
                "action": "push", "timestamp": jiff::Timestamp::now().to_string(),
                "target": { "mediaType": image.media_type, "repository": "told/app", "tag": tag }
            });
            // Some are forged, some are about nothing.
            let (to, body) = match number % 10 {
                8 => ("guarded", json!({ "events": [event] })),
                9 => ("r", json!({ "events": [] })),
                _ => ("r", json!({ "events": [event] })),
            };
            self.daemon.post(&format!("/api/v1/events/{to}"), body.to_string()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Now and then the source refuses a repository, and is slow with another.
    async fn fail(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let refused = Fault::status(503);
            self.source.on("*", Kind::Manifest).containing("soak/app-0/").fail(refused);
            self.source.on("GET", Kind::Blob).containing("soak/app-1/").times(3).fail(Fault::Cut);
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.source.clear_rules();
        }
    }

    /// Rules come and go; every third configuration is broken.
    async fn reload(&self) {
        for number in 1.. {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let text = configuration(&self.source, &self.target, number);
            self.daemon.configure(&if number % 3 == 0 { text + "broken" } else { text });
        }
    }

    async fn scrape(&self) {
        loop {
            self.daemon.get("/metrics").await;
            for path in ["rules", "runs", "running", "transfers", "status"] {
                self.daemon.get(&format!("/api/v1/{path}")).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn sample(&self, all: Duration, samples: &mut Vec<Sample>) {
        let (begin, state) =
            (Instant::now(), self.daemon.home().home().join(".local/state/tranship"));
        while begin.elapsed() < all {
            tokio::time::sleep(Duration::from_secs(1)).await;
            samples.push(Sample {
                minute: begin.elapsed().as_secs_f64() / 60.0,
                usage: Usage::of(self.daemon.pid()),
                state: size(&state.join("index.sled")) as f64,
                history: size(&state.join("history")) as f64,
            });
        }
    }

    /// What the daemon did meanwhile.
    async fn totals(&self) {
        let metrics = self.daemon.metrics().await;
        let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
        println!(
            "\n{} runs ({} for events, {} failed), {} images copied, {} events, {} reloads, {} requests",
            sum("tranship_rule_runs_total", &[]),
            sum("tranship_rule_runs_total", &[("scope", "tags")]),
            sum("tranship_rule_runs_total", &[("outcome", "failed")]),
            sum("tranship_rule_tags_total", &[("outcome", "copied")]),
            sum("tranship_events_total", &[]),
            sum("tranship_config_reloads_total", &[]),
            sum("tranship_registry_requests_total", &[]),
        );
    }
}

fn report(samples: &[Sample], all: Duration) -> Vec<String> {
    type Of = fn(&Sample) -> f64;
    let columns: [(&str, Of); 5] = [
        ("RSS KiB", |sample| sample.usage.rss_kib),
        ("open files", |sample| sample.usage.files),
        ("threads", |sample| sample.usage.threads),
        ("state KiB", |sample| sample.state / 1024.0),
        ("history KiB", |sample| sample.history / 1024.0),
    ];
    println!("\n| minute | {} |", columns.map(|(name, _)| name).join(" | "));
    println!("|---:|---:|---:|---:|---:|---:|");
    for sample in samples.iter().step_by(samples.len().div_ceil(13).max(1)) {
        let values = columns.map(|(_, of)| format!("{:.0}", of(sample)));
        println!("| {:.1} | {} |", sample.minute, values.join(" | "));
    }
    // Caches fill and pools open in the first third.
    let warm: Vec<&Sample> =
        samples.iter().filter(|s| s.minute * 60.0 > all.as_secs_f64() / 3.0).collect();
    let slope = |of: Of| line(&warm.iter().map(|s| (s.minute, of(s))).collect::<Vec<_>>()).1;
    let slopes = columns.map(|(_, of)| format!("{:+.1}", slope(of)));
    println!("| a minute, after a third | {} |", slopes.join(" | "));
    let mut missed = Vec::new();
    if slope(columns[0].1) > MOST_GROWTH {
        missed.push(format!("soak: memory grows by {:.0} KiB a minute", slope(columns[0].1)));
    }
    let minutes = all.as_secs_f64() / 60.0;
    for (name, of) in &columns[1..3] {
        if slope(*of) * minutes > MOST_MORE {
            missed.push(format!("soak: {name} grow by {:.1} a minute", slope(*of)));
        }
    }
    missed
}

/// The history is small, so that it reaches its bound.
fn configuration(source: &Scripted, target: &Scripted, number: usize) -> String {
    let patient = Duration::from_secs(10);
    let (from, to) = (source.host(), target.host());
    let mut text = "history = \"1MiB\"\n".to_owned();
    text += &format!("[events.r]\nformat = \"distribution\"\nregistry = \"{from}\"\n");
    text += &format!(
        "[events.guarded]\nformat = \"ghcr\"\nregistry = \"{from}\"\nsecret = {{ command = [\"printf\", \"s3cret\"] }}\n"
    );
    text += &(registry(source, patient, "") + &registry(target, patient, ""));
    let mirrored = |name: &str, repository: &str, lines: &str| {
        rule(name, &format!("{from}/{repository}"), &format!("{to}/mirror/{name}"), lines)
    };
    for at in 0..RULES {
        text += &mirrored(&format!("app-{at}"), &format!("soak/app-{at}"), "every = \"1s\"");
    }
    text += &mirrored("told", "told/app", "every = \"10s\"");
    // Another one each time, from a handful.
    text + &mirrored(&format!("guest-{}", number % 7), "soak/app-2", "every = \"2s\"")
}

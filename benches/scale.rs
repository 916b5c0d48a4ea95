//! How much memory a run takes, by the number of tags and by the size of a blob, and how much faster
//! it is on two cores than on one.
//!
//! The registries live in this process, the built binary is a child of it, and the kernel says
//! what the child's memory was at its peak.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on should stop, in its helpers too"
)]

mod common;

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::support;
use support::endpoint::Place;
use support::process::Running;
use support::{Blob, DockerRegistry, Family, Image, Scripted, Tranship};
use tokio::process::Command;
use tranship::oci::media_type;

const MIB: usize = 1 << 20;
/// The longest run: a hundred thousand tags.
const LIMIT: Duration = Duration::from_secs(3600);

/// A finished run of the binary.
struct Run {
    peak_mib: f64,
    seconds: f64,
}

#[tokio::main]
async fn main() {
    let smoke = common::is_smoke_test();
    by_tags(if smoke { [10, 20, 30] } else { [1_000, 10_000, 100_000] }).await;
    by_blob(if smoke { &[16, 80] } else { &[256, 1024, 4096] }).await;
    by_cores(if smoke { 1 } else { 256 }, if smoke { 1 } else { 5 }).await;
}

/// One repository with ever more tags.
async fn by_tags(counts: [usize; 3]) {
    println!("| run | tags | peak RSS MiB | seconds | bytes a tag |");
    println!("|---|---:|---:|---:|---:|");
    let mut rows = Vec::new();
    for count in counts {
        let source = Scripted::with_generated_tags("acme/app", count);
        let same = Scripted::with_generated_tags("acme/app", count);
        let empty = Scripted::start();
        let home = configured(source.endpoint(), empty.endpoint());
        rows.push(("dry run, all missing", count, run(&home, &["--dry-run"]).await));
        let home = configured(source.endpoint(), same.endpoint());
        rows.push(("all there, no state", count, run(&home, &[]).await));
        rows.push(("all there, with state", count, run(&home, &[]).await));
    }
    rows.sort_by_key(|(name, ..)| *name);
    for runs in rows.chunks(counts.len()) {
        for (name, count, run) in runs {
            let more_tags = (count - counts[0]) as f64;
            let more_bytes = (run.peak_mib - runs[0].2.peak_mib) * MIB as f64;
            let each = if more_tags > 0.0 {
                format!("{:.0}", more_bytes / more_tags)
            } else {
                String::new()
            };
            println!("| {name} | {count} | {:.1} | {:.1} | {each} |", run.peak_mib, run.seconds);
        }
    }
}

/// One image with one ever larger layer.
async fn by_blob(sizes: &[usize]) {
    println!("\n| blob MiB | peak RSS MiB | seconds |");
    println!("|---:|---:|---:|");
    for &mebibytes in sizes {
        let (source, target) = (Scripted::start(), DockerRegistry::start().await);
        insert_image(&source, mebibytes);
        let home = configured(source.endpoint(), target.endpoint());
        let run = run(&home, &[]).await;
        println!("| {mebibytes} | {:.1} | {:.1} |", run.peak_mib, run.seconds);
    }
}

/// Four images with a layer of so many MiB, with TLS on both sides, on one core and on two. The
/// registries may use all cores.
async fn by_cores(mebibytes: usize, rounds: usize) {
    let source = DockerRegistry::new().tls().run().await;
    let names: Vec<String> = (0..4).map(|number| format!("acme/app{number}")).collect();
    for name in &names {
        let image = Image::single(Family::Oci, name, &[mebibytes * MIB]);
        image.push(&source, name, "v1").await;
    }
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (seconds, cores) in seconds.iter_mut().zip(["0", "0,1"]) {
            let target = DockerRegistry::new().tls().run().await;
            let home = Tranship::new();
            let mut config = String::new();
            for registry in [&source, &target] {
                let ca = registry.ca_file();
                config += &format!(
                    "[registry.\"{}\"]\nca_file = \"{}\"\n",
                    registry.endpoint().host,
                    ca.display()
                );
            }
            for (number, name) in names.iter().enumerate() {
                config += &format!(
                    "[[sync]]\nname = \"r{number}\"\nsource = \"{}/{name}\"\ntarget = \"{}/{name}\"\n",
                    source.endpoint().host,
                    target.endpoint().host
                );
            }
            home.write("tranship.toml", config);
            seconds.push(run_on(&home, &[], Some(cores)).await.seconds);
        }
    }
    let [one, two] = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    });
    println!("\n| 4 images of {mebibytes} MiB, TLS | seconds |");
    println!("|---|---:|");
    println!(
        "| on one core | {one:.2} |\n| on two cores | {two:.2} ({:.2} times as fast) |",
        one / two
    );
}

fn insert_image(registry: &Scripted, mebibytes: usize) {
    let config = Blob::new("application/vnd.oci.image.config.v1+json", "{}");
    let piece = Blob::noise("", "piece", MIB).bytes;
    let digest = registry.insert_repeated_blob("acme/app", piece, mebibytes);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config.descriptor(),
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest, "size": mebibytes * MIB,
        }],
    });
    registry.insert_blob("acme/app", &config.digest, config.bytes);
    let manifest = Bytes::from(manifest.to_string());
    registry.insert_manifest("acme/app", Some("v1"), media_type::OCI_MANIFEST, manifest);
}

/// A home with a rule that mirrors everything.
fn configured(source: &support::Endpoint, target: &support::Endpoint) -> Tranship {
    let home = Tranship::new();
    let [source, target] = [source, target].map(|endpoint| endpoint.host.clone());
    home.write(
        "tranship.toml",
        format!(
            r#"
            registry."{source}".insecure = "http"
            registry."{target}".insecure = "http"
            [[sync]]
            name = "r"
            source = "{source}/acme/app"
            target = "{target}/acme/app"
            "#
        ),
    );
    home
}

/// Runs `tranship sync` and watches its memory.
async fn run(home: &Tranship, arguments: &[&str]) -> Run {
    run_on(home, arguments, None).await
}

/// The same, on these cores only.
async fn run_on(home: &Tranship, arguments: &[&str], cores: Option<&str>) -> Run {
    let begin = Instant::now();
    let mut command = match cores {
        Some(cores) => pinned(&home.command(), cores),
        None => home.command(),
    };
    let running = Running::new(command.args(["sync", "--quiet"]).args(arguments));
    let (finished, peak_mib) = running.with_limit(LIMIT).finish_with_peak().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    Run { peak_mib, seconds: begin.elapsed().as_secs_f64() }
}

/// The command without its arguments, by `taskset`.
fn pinned(command: &Command, cores: &str) -> Command {
    let command = command.as_std();
    let mut pinned = Command::new("taskset");
    pinned.args([OsStr::new("-c"), OsStr::new(cores), command.get_program()]);
    pinned.env_clear().current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    pinned
}

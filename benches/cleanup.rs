//! What planning the cleanup of a very large repository takes: time and memory.
//!
//! 100 000 tags, 500 000 manifests: indexes of two platforms and an attestation, tags that share a
//! digest, signatures, and images that nobody refers to.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group};
use jiff::{SignedDuration, Timestamp};
use tranship::cleanup::{Abilities, Builder, InUse, Snapshot, Untag, plan};
use tranship::config::policy::{ClockSource, Policy};
use tranship::oci::Digest;
use tranship::state::ManifestSummary;

/// Images with a tag; a quarter as many tags again are second names.
const IMAGES: usize = 80_000;

fn now() -> Timestamp {
    "2026-06-01T03:00:00Z".parse().unwrap()
}

fn digest(kind: u8, number: usize) -> Digest {
    let mut name = [kind; 9];
    name[1..].copy_from_slice(&number.to_be_bytes());
    Digest::of(&name)
}

/// Two blobs of its own, and three that a hundred images share.
fn image(number: usize) -> ManifestSummary {
    let own = (0..2).map(|n| (digest(b'o', number * 2 + n), 1 << 20));
    let shared = (0..3).map(|n| (digest(b's', number / 100 * 3 + n), 10 << 20));
    ManifestSummary {
        is_index: false,
        children: Vec::new(),
        subject: None,
        artifact_type: Some("application/vnd.oci.image.config.v1+json".to_owned()),
        size: 1500,
        blobs: own.chain(shared).collect(),
    }
}

fn snapshot(images: usize) -> Snapshot {
    let abilities = Abilities { untag: Untag::Yes, lists_untagged: true };
    let mut builder = Builder::new("registry.example.com/acme/app", abilities);
    let mut add = |digest: &Digest, number: usize, found| {
        builder.manifest(digest, found);
        let age = SignedDuration::from_mins(number as i64 * 10);
        builder.time(digest, ClockSource::Pushed, now() - age);
    };
    let part = |number: usize, n: usize| digest(b'c', number * 3 + n);
    for number in 0..images {
        let index = digest(b'i', number);
        let children: Vec<_> = (0..3).map(|n| part(number, n)).collect();
        for (n, child) in children.iter().enumerate() {
            add(child, number, image(number * 3 + n));
        }
        let nothing = ManifestSummary { artifact_type: None, blobs: Vec::new(), ..image(0) };
        add(&index, number, ManifestSummary { is_index: true, children, ..nothing.clone() });
        add(
            &digest(b'r', number),
            number,
            ManifestSummary { subject: Some(index.clone()), ..nothing },
        );
        // A quarter as many images without a tag.
        if number % 4 < 1 {
            let loose = images * 3 + number;
            for n in 0..5 {
                add(&digest(b'u', number * 5 + n), number, image(loose * 5 + n));
            }
        }
    }
    for number in 0..images {
        let index = digest(b'i', number);
        let name = match number % 4 {
            0 => format!("pr-{number}"),
            1 => format!("sha-{number:07x}"),
            _ => format!("v{}.{}.{}", number / 10_000, number / 100 % 100, number % 100),
        };
        builder.tag(name.parse().unwrap(), &index, false);
        if number % 4 == 2 {
            builder.tag(format!("build-{number}").parse().unwrap(), &index, false);
        }
    }
    builder.finish()
}

fn policy() -> Policy {
    let text = r#"
        [daemon]
        state = "state"
        [[cleanup]]
        name = "r"
        repositories = ["registry.example.com/acme/app"]
        max_delete = { count = 1000000, percent = 100 }
        keep = [{ id = "releases", semver = ">=1", newest = 10, per = "minor" }]
        delete = [
            { id = "pr", tags = ["pr-*"], older_than = "7d" },
            { id = "builds", tags = ["sha-*", "/build-\\d+/"], older_than = "30d", beyond_newest = 20 },
            { id = "versions", semver = ">=0", older_than = "90d" },
            { id = "untagged", untagged = true, older_than = "14d" },
        ]
    "#;
    tranship::config::parse(text, "bench.toml".as_ref(), &|_| None)
        .unwrap()
        .cleanup
        .remove(0)
        .policy
}

fn planning(c: &mut Criterion) {
    let (snapshot, policy, in_use) = (snapshot(IMAGES), policy(), InUse::default());
    let mut group = c.benchmark_group("500000 manifests");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.bench_function("plan", |b| {
        b.iter(|| plan(black_box(&snapshot), &policy, &in_use, now()).steps.len());
    });
    group.bench_function("plan as JSON", |b| {
        let plan = plan(&snapshot, &policy, &in_use, now());
        b.iter_batched(
            || (),
            |()| serde_json::to_writer(std::io::sink(), &plan).unwrap(),
            BatchSize::PerIteration,
        );
    });
}

/// The kernel's high-water mark of this process, in MiB.
fn peak() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Once, before anything else has used memory.
fn memory(images: usize) {
    let (policy, in_use) = (policy(), InUse::default());
    let begin = Instant::now();
    let snapshot = snapshot(images);
    let gathered = (begin.elapsed().as_secs_f64(), peak());
    let begin = Instant::now();
    let plan = plan(&snapshot, &policy, &in_use, now());
    println!("| | seconds | peak RSS MiB |");
    println!("|---|---:|---:|");
    println!("| snapshot built | {:.2} | {:.0} |", gathered.0, gathered.1);
    println!("| planned | {:.2} | {:.0} |", begin.elapsed().as_secs_f64(), peak());
    let totals = plan.totals().unwrap();
    println!(
        "{} of {} tags, {} of {} manifests, {} bytes",
        totals.tags_deleted,
        totals.tags,
        totals.manifests_deleted,
        totals.manifests,
        plan.bytes()
    );
}

criterion_group!(benches, planning);

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    memory(if smoke { 1000 } else { IMAGES });
    if !smoke {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}

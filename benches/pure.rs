//! What is decided without asking anybody: manifests, tag selection, verdicts, pairing, records.
//!
//! The sizes are those of a large registry, so that a quadratic step cannot hide.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;
use std::num::NonZeroUsize;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tranship::config::{OnConflict, SyncRule};
use tranship::oci::selection::{TagPatterns, TagSelection};
use tranship::oci::{Digest, Manifest, RepositoryName, Tag, media_type};
use tranship::state::TagState;
use tranship::sync::decide::{AtTarget, Known, Verdict, decide};
use tranship::sync::pairs::pair;

const TAGS: usize = 100_000;
const REPOSITORIES: usize = 10_000;

fn manifests(c: &mut Criterion) {
    let mut group = c.benchmark_group("manifest");
    for (name, media_type, raw) in [
        ("image", media_type::OCI_MANIFEST, image()),
        ("index of 100", media_type::OCI_INDEX, index(100)),
    ] {
        let digest = Digest::of(&raw);
        group.throughput(Throughput::Bytes(raw.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| Manifest::parse(raw.clone(), Some(media_type), Some(&digest)).unwrap());
        });
    }
}

fn selection(c: &mut Criterion) {
    let mut group = c.benchmark_group("select from 100000 tags");
    group.throughput(Throughput::Elements(TAGS as u64)).sample_size(20);
    let patterns = |texts: &[&str]| {
        Some(TagPatterns::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap())
    };
    let all = TagSelection::default;
    let selections = [
        ("everything", all()),
        ("globs", TagSelection { include: patterns(&["v1.*", "*-rc?", "latest"]), ..all() }),
        (
            "a regular expression",
            TagSelection { include: patterns(&["/v1\\.\\d+\\.\\d*7/"]), ..all() },
        ),
        ("semver", TagSelection { semver: Some(">=1.2, <1.500".parse().unwrap()), ..all() }),
        ("newest 20", TagSelection { newest: NonZeroUsize::new(20), ..all() }),
    ];
    let tags = tags();
    for (name, selection) in selections {
        group.bench_function(name, |b| {
            b.iter_batched(|| tags.clone(), |tags| selection.select(tags), BatchSize::LargeInput);
        });
    }
}

fn verdicts(c: &mut Criterion) {
    let mut group = c.benchmark_group("100000 tags");
    group.throughput(Throughput::Elements(TAGS as u64)).sample_size(20);
    let digests: Vec<Digest> = (0..TAGS).map(|number| Digest::of(&number.to_be_bytes())).collect();
    let records: Vec<TagState> = digests.iter().map(record).collect();
    // One in a hundred has moved since it was copied.
    let found: Vec<&Digest> =
        (0..TAGS).map(|at| &digests[if at % 100 == 0 { (at + 1) % TAGS } else { at }]).collect();
    let known = |at: usize| Known {
        source: found[at],
        record: Some(&records[at]),
        same_options: true,
        filtered: false,
        withdrawn: None,
    };
    group.bench_function("decide", |b| {
        b.iter(|| {
            let target = |at: usize| match at % 3 {
                0 => AtTarget::Vouched,
                1 => AtTarget::Lacks,
                _ => AtTarget::Has(digests[at].clone()),
            };
            (0..TAGS)
                .map(|at| decide(&known(at), &target(at), OnConflict::Overwrite))
                .filter(|verdict| *verdict == Verdict::InStep)
                .count()
        });
    });
    group.bench_function("select and decide", |b| {
        let (selection, tags) = (TagSelection::default(), tags());
        let select = |tags| {
            let selected = selection.select(tags);
            let changed = selected.iter().enumerate().filter(|(at, _)| {
                let verdict = decide(&known(*at), &AtTarget::Vouched, OnConflict::Keep);
                verdict != Verdict::InStep
            });
            changed.count()
        };
        b.iter_batched(|| tags.clone(), select, BatchSize::LargeInput);
    });
    let encoded: Vec<Vec<u8>> = records.iter().map(TagState::encode).collect();
    group.bench_function("encode records", |b| {
        b.iter(|| records.iter().map(|record| record.encode().len()).sum::<usize>());
    });
    group.bench_function("decode records", |b| {
        b.iter(|| encoded.iter().filter_map(|bytes| TagState::decode(bytes)).count());
    });
}

fn pairing(c: &mut Criterion) {
    let mut group = c.benchmark_group("pair 10000 repositories");
    group.throughput(Throughput::Elements(REPOSITORIES as u64)).sample_size(20);
    let repositories: Vec<RepositoryName> = (0..REPOSITORIES)
        .map(|number| format!("acme/team{:02}/app-{number}", number % 50).parse().unwrap())
        .collect();
    for template in ["mirror/{tail}", "mirror/{repository|flatten}"] {
        let rule = rule(template);
        group.bench_function(template, |b| {
            b.iter_batched(
                || repositories.clone(),
                |repositories| black_box(pair(&rule, repositories, Vec::new())),
                BatchSize::LargeInput,
            );
        });
    }
}

/// Versions with release candidates among them, and a few words.
fn tags() -> Vec<Tag> {
    let name = |at: usize| match at % 10 {
        0 => format!("v1.{}.{}-rc1", at / 100, at % 100),
        1 => format!("build-{at}"),
        _ => format!("v1.{}.{}", at / 100, at % 100),
    };
    (0..TAGS).map(|at| name(at).parse().unwrap()).collect()
}

fn record(digest: &Digest) -> TagState {
    TagState {
        source_digest: digest.clone(),
        target_digest: digest.clone(),
        verified_at: 1_800_000_000,
        options: 0x1234_5678_9abc_def0,
        subjects: vec![digest.clone()],
        referrers: None,
        bare_children_at: None,
    }
}

fn descriptor(media_type: &str, number: usize) -> serde_json::Value {
    let digest = Digest::of(&number.to_be_bytes()).to_string();
    serde_json::json!({ "mediaType": media_type, "digest": digest, "size": 1000 + number })
}

fn image() -> Bytes {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let layers: Vec<_> = (1..=12).map(|number| descriptor(layer, number)).collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", 0);
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
    });
    document.to_string().into()
}

fn index(children: usize) -> Bytes {
    let child = |number| {
        let mut child = descriptor(media_type::OCI_MANIFEST, number);
        child["platform"] =
            serde_json::json!({ "os": "linux", "architecture": "arm64", "variant": "v8" });
        child
    };
    let manifests: Vec<_> = (0..children).map(child).collect();
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests,
    });
    document.to_string().into()
}

fn rule(template: &str) -> SyncRule {
    let text = format!(
        "[daemon]\nstate = \"state\"\n[[sync]]\nname = \"r\"\nsource = \"s.example/acme/**\"\ntarget = \"t.example/{template}\"\n"
    );
    tranship::config::parse(&text, "bench.toml".as_ref(), &|_| None).unwrap().sync.remove(0)
}

criterion_group!(benches, manifests, selection, verdicts, pairing);
criterion_main!(benches);

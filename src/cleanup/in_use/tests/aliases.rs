//! Names of mirrors.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use crate::cleanup::in_use::usage::{Usage, other_name};
use crate::cleanup::in_use::used::Used;
use crate::oci::{ImagePrefix, ImageReference};

fn aliases(pairs: &[(&str, &str)]) -> BTreeMap<ImagePrefix, ImagePrefix> {
    pairs.iter().map(|(run, kept)| (run.parse().unwrap(), kept.parse().unwrap())).collect()
}

#[test]
fn the_longest_alias_that_fits_is_put_in_its_place() {
    let aliases = aliases(&[
        ("mirror.local:5000/hub", "docker.io"),
        ("mirror.local:5000/hub/acme", "r.example/acme"),
        ("mirror.local:5000/one/app", "r.example/renamed"),
        ("mirror.local:5000/host", "ghcr.io"),
        ("cache.local", "docker.io"),
        ("docker.io/library", "r.example/library"),
    ]);
    let digest = format!("@sha256:{}", "a".repeat(64));
    for (run, kept) in [
        ("mirror.local:5000/hub/nginx:1", "docker.io/library/nginx:1"),
        ("mirror.local:5000/hub/grafana/grafana:1", "docker.io/grafana/grafana:1"),
        ("mirror.local:5000/hub/acme/app:1", "r.example/acme/app:1"),
        ("mirror.local:5000/hub/acmex/app:1", "docker.io/acmex/app:1"),
        ("mirror.local:5000/one/app:1", "r.example/renamed:1"),
        ("mirror.local:5000/one/app2:1", ""),
        ("mirror.local:5000/hubble/nginx:1", ""),
        ("mirror.local/hub/nginx:1", ""),
        // What is left is the name of no image.
        ("mirror.local:5000/host:1", ""),
        ("cache.local/a/b:1", "docker.io/a/b:1"),
        ("nginx:1", "r.example/library/nginx:1"),
        ("grafana/grafana:1", ""),
    ] {
        for digest in ["", &digest] {
            let image: ImageReference = format!("{run}{digest}").parse().unwrap();
            let found = other_name(&image, &aliases).map(|image| image.to_string());
            let expected = (!kept.is_empty()).then(|| format!("{kept}{digest}"));
            assert_eq!(found, expected, "{run}");
        }
    }
}

#[test]
fn an_image_is_in_use_by_both_its_names() {
    let (digest, bare) = ("a".repeat(64), "b".repeat(64));
    let aliases = aliases(&[("mirror.local/hub", "docker.io"), ("cache.local", "docker.io")]);
    let mut usage = Usage::default();
    for (text, place) in [
        (format!("mirror.local/hub/nginx:1@sha256:{digest}"), "a"),
        ("cache.local/nginx:2".to_owned(), "b"),
        ("nginx:1".to_owned(), "c"),
        (format!("sha256:{bare}"), "d"),
    ] {
        usage.add(&Used::parse(&text).unwrap(), &aliases, place);
    }
    let shown = |host: &str, repository: &str| {
        let in_use = usage.of(&host.parse().unwrap(), &repository.parse().unwrap());
        let digests = |digests: BTreeMap<crate::oci::Digest, Vec<String>>| {
            let line = |(digest, places): (crate::oci::Digest, Vec<String>)| {
                format!("{}:{}", &digest.hex()[..1], places.join(","))
            };
            digests.into_iter().map(line).collect::<Vec<_>>().join(" ")
        };
        let tags = in_use.tags.iter().map(|(tag, places)| format!("{tag}:{}", places.join(",")));
        (tags.collect::<Vec<_>>().join(" "), digests(in_use.digests), digests(in_use.elsewhere))
    };
    let expect = |tags: &str, digests: &str, elsewhere: &str| {
        (tags.to_owned(), digests.to_owned(), elsewhere.to_owned())
    };
    assert_eq!(shown("docker.io", "library/nginx"), expect("1:a,c 2:b", "a:a", "b:d"));
    assert_eq!(shown("mirror.local", "hub/nginx"), expect("1:a", "a:a", "b:d"));
    assert_eq!(shown("cache.local", "nginx"), expect("2:b", "", "a:a b:d"));
    assert_eq!(shown("r.example", "other"), expect("", "", "a:a b:d"));
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(select(vec!["a", "b", "ab"]), 0..4).prop_map(|parts| parts.join("/"))
}

fn below(host: &str, path: &str) -> String {
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

proptest! {
    /// Held against a plain search: cut parts off the end until what is left is an alias.
    #[test]
    fn the_longest_prefix_on_a_boundary_counts(
        prefixes in prop::collection::btree_set(path(), 0..5),
        host in select(vec!["m.io", "m.io:1"]), image in path(),
    ) {
        prop_assume!(!image.is_empty());
        let targets: BTreeMap<String, String> = prefixes
            .iter()
            .enumerate()
            .map(|(at, path)| (below("m.io", path), format!("t.io/t{at}")))
            .collect();
        let pairs: Vec<_> = targets.iter().map(|(run, kept)| (run.as_str(), kept.as_str())).collect();
        let name = below(host, &image);
        let mut prefix = Some(name.as_str());
        let mut expected = None;
        while let Some(here) = prefix {
            if let Some(kept) = targets.get(here) {
                expected = Some(format!("{kept}{}:1", &name[here.len()..]));
                break;
            }
            prefix = here.rsplit_once('/').map(|(before, _)| before);
        }
        let parsed: ImageReference = format!("{name}:1").parse().unwrap();
        let found = other_name(&parsed, &aliases(&pairs)).map(|image| image.to_string());
        prop_assert_eq!(found, expected);
    }
}

//! A short run of what `fuzz/` does at length: valid input with some bytes changed goes into
//! every parser that reads what strangers send. Nothing may panic, and what is accepted must
//! keep its promises.

use proptest::prelude::*;
use tranship::config::{self, EventFormat};
use tranship::events::{self, MAX_EVENTS};
use tranship::oci::ImageAddress;
use tranship::oci::{Digest, ImageReference, Manifest};
use tranship::registry::auth::challenge;
use tranship::registry::link;

/// One of the seeds, with bytes cut out, put in and replaced.
fn mutated(seeds: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let edit =
        (any::<prop::sample::Index>(), 0usize..4, proptest::collection::vec(any::<u8>(), 0..6));
    (prop::sample::select(seeds), proptest::collection::vec(edit, 0..5)).prop_map(
        |(seed, edits)| {
            let mut bytes = seed.as_bytes().to_vec();
            for (at, cut, put) in edits {
                let at = at.index(bytes.len() + 1);
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, put);
            }
            bytes
        },
    )
}

fn header(name: http::HeaderName, value: &[u8]) -> http::HeaderMap {
    http::HeaderValue::from_bytes(value).map(|value| (name, value)).into_iter().collect()
}

const REFERENCES: &[&str] = &[
    "alpine",
    "ghcr.io/acme/app:1.0",
    "[::1]:5000/a/b__c@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "oci:/srv/layout:tag",
    "docker://docker.io/library/alpine",
];
const MANIFESTS: &[&str] = &[
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[],"annotations":{"a":"b"}}"#,
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"platform":{"os":"linux","architecture":"amd64"}}]}"#,
];
const CHALLENGES: &[&str] = &[
    r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
    r#"Basic realm="x", Bearer realm="/token""#,
];
const LINKS: &[&str] = &[
    r#"</v2/_catalog?last=b&n=2>; rel="next""#,
    r#"<https://h/x>; rel="prev", <http://g/y>;rel=next"#,
];
const CONFIGS: &[&str] = &[
    "[registry.\"ghcr.io\"]\nusername = \"u\"\npassword = { env = \"X\" }\n\n[[sync]]\nname = \"r\"\nsource = \"ghcr.io/acme/**\"\ntarget = \"t.example/{repository|flatten}\"\ntags = { include = [\"v*\", \"/x+/\"], semver = \">=1\", newest = 3, prereleases = true }\nschedule = \"0 */6 * * 1-5\"\nplatforms = [\"linux/arm64\"]\n",
];

const EVENTS: &[&str] = &[
    r#"{"events":[{"timestamp":"2016-03-09T14:44:26.4-08:00","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","repository":"a/b","tag":"v1","references":[{"mediaType":"application/vnd.oci.empty.v1+json"}]}}]}"#,
    r#"{"type":"PUSH_ARTIFACT","occur_at":1680501893,"event_data":{"resources":[{"digest":"sha256:44","tag":"v1"}],"repository":{"repo_full_name":"a/b"}}}"#,
    r#"{"specversion":"1.0","type":"zotregistry.image.updated","time":"2023-04-03T06:04:53Z","data":{"name":"a/b","reference":"v1","manifest":"{\"subject\":{}}"}}"#,
    r#"{"push_data":{"pushed_at":1.4e9,"tag":"v1"},"repository":{"repo_name":"a/b"}}"#,
    r#"{"action":"published","package":{"name":"b","package_type":"CONTAINER","owner":{"login":"A"},"package_version":{"container_metadata":{"tag":{"name":"v1"}}}}}"#,
    r#"{"repository":"a/b","updated_tags":["v1"]}"#,
    r#"{"action":"delete","target":{"repository":"a/b","tag":"v1"}}"#,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn references(bytes in mutated(REFERENCES)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = text.parse::<ImageAddress>();
        if let Ok(reference) = text.parse::<ImageReference>() {
            prop_assert_eq!(reference.to_string().parse::<ImageReference>(), Ok(reference));
        }
    }

    #[test]
    fn manifests(bytes in mutated(MANIFESTS)) {
        if let Ok(manifest) = Manifest::parse(bytes.clone().into(), None, None) {
            prop_assert_eq!(&manifest.digest, &Digest::of(&bytes));
            let _ = manifest.with_children(|position| position % 2 == 0);
            let _ = manifest.referrer_descriptor();
        }
    }

    #[test]
    fn challenges(bytes in mutated(CHALLENGES)) {
        let _ = challenge::parse(&header(http::header::WWW_AUTHENTICATE, &bytes));
    }

    #[test]
    fn links(bytes in mutated(LINKS)) {
        let base = "https://r.example/v2/".parse().unwrap();
        if let Some(next) = link::next(&header(http::header::LINK, &bytes)) {
            prop_assert!(link::resolve(&base, &next).is_none_or(|url| url.scheme() == "https"));
        }
    }

    #[test]
    fn configs(bytes in mutated(CONFIGS)) {
        let text = String::from_utf8_lossy(&bytes);
        match config::parse(&text, "fuzz.toml".as_ref(), &|_| Some("x".to_owned())) {
            Ok(config) => {
                let again = config::parse(&config.show(), "again.toml".as_ref(), &|_| Some("x".to_owned()));
                // The places of warnings differ.
                let plain = |config| config::Config { warnings: None, ..config };
                prop_assert_eq!(plain(again.unwrap()), plain(config));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
    #[test]
    fn event_messages(bytes in mutated(EVENTS)) {
        let github = header(http::HeaderName::from_static("x-github-event"), b"package");
        for format in EventFormat::ALL {
            match events::parse(format, &github, &bytes) {
                Ok(events) => prop_assert!(events.len() <= MAX_EVENTS),
                Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            }
            prop_assert!(events::authenticate(format, &"secret".into(), &github, None, &bytes).is_err());
        }
    }
}

//! Messages to the daemon in each registry's own words; and those that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::daemon_events::{LIMIT, envelope};
use crate::support::bench::{registry, rule};
use crate::support::{Daemon, Family, Image, Place, Samples, Scripted, eventually};

pub const SECRET: &str = "It's a Secret to Everybody";
const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
/// The secret in an address.
const QUERY: &str = "?token=It%27s%20a+Secret%20to%20Everybody";

/// Every format as a source of events of its own, with one secret.
const FORMATS: [&str; 7] = ["distribution", "harbor", "docker-hub", "ghcr", "quay", "acr", "zot"];

type Headers<'a> = Vec<(&'a str, &'a str)>;

struct Site {
    source: Scripted,
    target: Scripted,
    daemon: Daemon,
}

impl Site {
    async fn start() -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), SECRET).unwrap();
        let events = FORMATS.map(|format| {
            format!(
                "[events.{format}]\nformat = \"{format}\"\nregistry = \"{}\"\nsecret = {{ file = {:?} }}\n",
                source.host(),
                secret.path(),
            )
        });
        let (from, to) =
            (format!("{}/acme/**", source.host()), format!("{}/mirror/{{tail}}", target.host()));
        let text = events.concat()
            + &registry(&source, LIMIT, "")
            + &registry(&target, LIMIT, "")
            + &rule("app", &from, &to, "referrers = false");
        Self { source, target, daemon: Daemon::start(&text).await }
    }

    /// Sends a message about `acme/team/app` with this tag, and waits until the tag is mirrored.
    async fn mirrors(&self, tag: &str, to: &str, headers: &[(&str, &str)], body: Value) {
        let image = Image::single(Family::Oci, tag, &[1_000]);
        image.load(&self.source, "acme/team/app", tag);
        let answer =
            self.daemon.post_with(&format!("/api/v1/events/{to}"), headers, body.to_string()).await;
        assert_eq!(answer.status, 202, "{to}: {answer:?}");
        assert_eq!(answer.json(), json!({ "accepted": 1, "ignored": 0 }), "{to}");
        eventually(&format!("{tag} by {to}"), LIMIT, || async {
            (self.target.tag("mirror/team/app", tag)? == image.digest).then_some(())
        })
        .await;
    }
}

/// As GitHub signs.
pub fn signature(body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = ring::hmac::sign(&key, body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn ghcr(tag: &str) -> Value {
    json!({
        "action": "published",
        "registry_package": {
            "id": 1_062_531, "name": "team/app", "namespace": "Acme", "ecosystem": "CONTAINER",
            "package_type": "CONTAINER", "updated_at": "2021-10-05T21:28:20Z",
            "owner": { "login": "Acme", "id": 1, "type": "Organization" },
            "package_version": {
                "id": 8_640_125, "version": DIGEST, "updated_at": "2021-10-05T21:28:19Z",
                "container_metadata": { "tag": { "name": tag, "digest": DIGEST } }
            }
        },
        "organization": { "login": "Acme" }, "sender": { "login": "octocat" }
    })
}

fn harbor(tag: &str) -> Value {
    json!({
        "resources": [{ "digest": DIGEST, "tag": tag, "resource_url": format!("h/acme/team/app:{tag}") }],
        "repository": {
            "date_created": 1_680_501_430, "name": "team/app", "namespace": "acme",
            "repo_full_name": "acme/team/app", "repo_type": "private"
        },
        "custom_attributes": null
    })
}

fn cloud_event(kind: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": "8b9ce3ff-3e3f-4d8b-bc4b-3bcae9bd0b47", "source": "/projects/2",
        "type": kind, "datacontenttype": "application/json", "time": "2023-04-03T06:04:53Z",
        "data": data
    })
}

#[tokio::test]
async fn every_registrys_message_brings_what_it_tells_of() {
    let site = Site::start().await;
    let json_type = ("content-type", "application/json");
    let bearer = format!("Bearer {SECRET}");
    let basic = format!("Basic {}", STANDARD.encode(format!("zot:{SECRET}")));
    let with_bearer = &[json_type, ("authorization", bearer.as_str())][..];

    let distribution: Value = serde_json::from_str(&envelope([("acme/team/app", "d1")])).unwrap();
    site.mirrors("d1", "distribution", with_bearer, distribution).await;

    let default = json!({
        "type": "PUSH_ARTIFACT", "occur_at": 1_680_501_893, "operator": "robot$ci",
        "event_data": harbor("h1")
    });
    site.mirrors("h1", "harbor", &[json_type, ("authorization", SECRET)], default).await;
    let cloud = cloud_event("harbor.artifact.pushed", harbor("h2"));
    site.mirrors("h2", "harbor", with_bearer, cloud).await;

    let hub = json!({
        "callback_url": "https://registry.hub.docker.com/u/acme/app/hook/2141b5bi5i5b02bec/",
        "push_data": { "pushed_at": 1_417_566_161, "pusher": "builder", "tag": "hub1" },
        "repository": { "name": "app", "namespace": "acme", "repo_name": "acme/team/app" }
    });
    site.mirrors("hub1", &format!("docker-hub{QUERY}"), &[json_type], hub).await;

    let body = ghcr("g1");
    let signed = signature(&body.to_string());
    let headers =
        [json_type, ("x-github-event", "registry_package"), ("x-hub-signature-256", &signed)];
    site.mirrors("g1", "ghcr", &headers, body).await;

    let quay = json!({
        "name": "app", "repository": "acme/team/app", "namespace": "acme",
        "docker_url": "quay.io/acme/team/app", "updated_tags": ["q1"]
    });
    site.mirrors("q1", &format!("quay{QUERY}"), &[json_type], quay).await;

    let acr = json!({
        "id": "cb8c3971-9adc-488b-xxxx-43cbb4974ff5", "timestamp": "2017-11-17T16:52:01.343145347Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 524,
            "digest": DIGEST, "length": 524, "repository": "acme/team/app", "tag": "a1"
        },
        "request": { "id": "3cbb6949", "host": "acme.azurecr.io", "method": "PUT" }
    });
    site.mirrors("a1", "acr", with_bearer, acr).await;

    let zot = |tag: &str| {
        json!({
            "name": "acme/team/app", "reference": tag, "digest": DIGEST,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "manifest": "{\"schemaVersion\":2}"
        })
    };
    let headers = [("content-type", "application/cloudevents+json"), ("authorization", &basic)];
    let structured = cloud_event("zotregistry.image.updated", zot("z1"));
    site.mirrors("z1", "zot", &headers, structured).await;
    let binary = [
        json_type,
        ("authorization", basic.as_str()),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "zot"),
        ("ce-type", "zotregistry.image.updated"),
        ("ce-time", "2025-05-06T07:08:09Z"),
    ];
    site.mirrors("z2", "zot", &binary, zot("z2")).await;
}

#[tokio::test]
async fn greetings_are_taken_and_mean_nothing() {
    let site = Site::start().await;
    let ping = r#"{"zen":"Design for failure.","hook_id":1,"hook":{"type":"Organization"}}"#;
    let headers = [("x-github-event", "ping"), ("x-hub-signature-256", &signature(ping))];
    let answer = site.daemon.post_with("/api/v1/events/ghcr", &headers, ping).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "accepted": 0, "ignored": 0 })));
    let ping = r#"{"id":"1","timestamp":"x","action":"ping"}"#;
    let bearer = format!("Bearer {SECRET}");
    let answer =
        site.daemon.post_with("/api/v1/events/acr", &[("authorization", &bearer)], ping).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test]
async fn what_cannot_be_believed_or_understood_is_refused_and_counted() {
    let site = Site::start().await;
    Image::single(Family::Oci, "app", &[1_000]).load(&site.source, "acme/team/app", "v1");
    let good = envelope([("acme/team/app", "v1")]);
    let github = ghcr("v1").to_string();
    let bearer = format!("Bearer {SECRET}");
    let right = ("authorization", bearer.as_str());
    let event = ("x-github-event", "registry_package");
    let foreign = signature("another body");
    let bare = signature(&github).replace("sha256=", "");
    let other = ("authorization", "Bearer It's a Secret to Everybod");
    let large = format!("{{\"events\":[{}]}}", " ".repeat(5 << 20));
    let many = envelope((0..10_001).map(|_| ("a", "b")));
    // Where to, with what, and what becomes of it: status and outcome.
    let cases: Vec<(&str, Headers<'_>, &str, u16, &str)> = vec![
        ("distribution", vec![], &good, 401, "forged"),
        ("distribution", vec![other], &good, 401, "forged"),
        ("harbor", vec![("authorization", "")], &good, 401, "forged"),
        ("docker-hub", vec![], &good, 401, "forged"),
        ("docker-hub?token=wrong", vec![right], &good, 401, "forged"),
        // Only senders that can do no better may put the secret into the address.
        ("distribution?token=It%27s%20a+Secret%20to%20Everybody", vec![], &good, 401, "forged"),
        ("ghcr", vec![event], &github, 401, "forged"),
        ("ghcr", vec![event, right], &github, 401, "forged"),
        ("ghcr", vec![event, ("x-hub-signature-256", &foreign)], &github, 401, "forged"),
        ("ghcr", vec![event, ("x-hub-signature-256", &bare)], &github, 401, "forged"),
        ("distribution", vec![right], "{\"events\":[{\"acti", 400, "malformed"),
        ("distribution", vec![right], "", 400, "malformed"),
        ("distribution", vec![right], &many, 400, "malformed"),
        ("quay", vec![right], &good, 400, "malformed"),
        ("zot", vec![right], &good, 400, "malformed"),
        ("nobody", vec![right], &good, 404, "unknown_source"),
        ("nobody", vec![], "x", 404, "unknown_source"),
        ("distribution", vec![right], &large, 413, ""),
    ];
    let count = |metrics: &Samples, outcome: &str| {
        metrics.sum("tranship_events_total", &[("outcome", outcome)])
    };
    let mut metrics = site.daemon.metrics().await;
    for (to, headers, body, status, outcome) in cases {
        let answer = site.daemon.post_with(&format!("/api/v1/events/{to}"), &headers, body).await;
        assert_eq!(answer.status, status, "{to}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{to}");
        assert!(!answer.body.contains(SECRET), "{answer:?}");
        let now = site.daemon.metrics().await;
        for counted in ["accepted", "ignored", "forged", "malformed", "unknown_source"] {
            let more = count(&now, counted) - count(&metrics, counted);
            assert_eq!(more, f64::from(u8::from(counted == outcome)), "{counted} after {to}");
        }
        metrics = now;
    }
    // Anybody can make up names: they are no labels.
    assert!(!site.daemon.get("/metrics").await.body.contains("nobody"));
    assert_eq!(site.daemon.get("/api/v1/events/distribution").await.status, 405);
    site.daemon.rests().await;
    assert!(site.daemon.runs("app").await.is_empty());
    assert!(site.source.traffic().is_empty() && site.target.traffic().is_empty());
    assert!(!site.daemon.log().contains(SECRET));
}

//! Push events end to end: a registry tells the daemon, and what was pushed arrives.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bench::{registry, rule};
use crate::support::docker_registry::Notifications;
use crate::support::scripted::Mark;
use crate::support::witness::Skopeo;
use crate::support::{
    Daemon, DockerRegistry, Family, Fault, Image, Kind, Place, Scripted, Traffic, assert_same_at,
    eventually,
};

/// Longer than anything takes that a test waits for, and than what hangs on purpose.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The pattern rule `app` over `acme/**`, a source of events `r`, and nothing mirrored yet.
pub struct Site {
    pub source: Scripted,
    pub target: Scripted,
    pub daemon: Daemon,
}

impl Site {
    pub async fn start() -> Self {
        Self::with("referrers = false").await
    }

    /// The rule has these further lines.
    pub async fn with(lines: &str) -> Self {
        Self::with_rules(|source, target| {
            let (from, to) = (format!("{source}/acme/**"), format!("{target}/mirror/{{tail}}"));
            rule("app", &from, &to, lines)
        })
        .await
    }

    /// With these rules instead, by the hosts of source and target.
    pub async fn with_rules(rules: impl FnOnce(&str, &str) -> String) -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        let text = configuration(&source, &target) + &rules(source.host(), target.host());
        let daemon = Daemon::start(&text).await;
        Self { source, target, daemon }
    }

    /// Puts an image there, of which nobody tells.
    pub fn load(&self, name: &str, repository: &str, tag: &str) -> Image {
        let image = Image::single(Family::Oci, name, &[2_000, 3_000]);
        image.load(&self.source, repository, tag);
        image
    }

    /// Tells of a push; gives how many rules' events and how many others it was.
    pub async fn tell(&self, repository: &str, tag: &str) -> (u64, u64) {
        taken(&self.daemon, &envelope([(repository, tag)])).await
    }

    /// Waits until a tag of the target is this image.
    pub async fn arrives(&self, image: &Image, repository: &str, tag: &str) {
        let what = format!("{repository}:{tag} at the target");
        eventually(&what, LIMIT, || async {
            (self.target.tag(repository, tag)? == image.digest).then_some(())
        })
        .await;
    }

    pub fn marks(&self) -> (Mark, Mark) {
        (self.source.mark(), self.target.mark())
    }

    pub fn since(&self, marks: (Mark, Mark)) -> (Traffic, Traffic) {
        (self.source.requests_since(marks.0), self.target.requests_since(marks.1))
    }
}

/// Everything but the rules.
fn configuration(source: &impl Place, target: &impl Place) -> String {
    let events =
        format!("[events.r]\nformat = \"distribution\"\nregistry = \"{}\"\n", source.host());
    events + &registry(source, LIMIT, "") + &registry(target, LIMIT, "")
}

/// What a docker-registry sends of pushed tags.
pub fn envelope<'a>(pushes: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let event = |(repository, tag): (&str, &str)| {
        json!({
            "id": "320678d8-ca14-430f-8bb6-4ca139cd83f7", "action": "push",
            "timestamp": jiff::Timestamp::now().to_string(),
            "target": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 708,
                "repository": repository, "tag": tag, "url": "http://r/v2/x/manifests/y"
            },
            "request": { "method": "PUT", "useragent": "docker/27" }, "actor": {},
            "source": { "addr": "r:5000" }
        })
    };
    json!({ "events": pushes.into_iter().map(event).collect::<Vec<_>>() }).to_string()
}

/// Has the daemon take a message of `r`; gives how many pushes it accepted and ignored.
pub async fn taken(daemon: &Daemon, body: &str) -> (u64, u64) {
    let answer = daemon.post("/api/v1/events/r", body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let count = |what: &str| answer.json()[what].as_u64().unwrap();
    (count("accepted"), count("ignored"))
}

/// No list was asked for, of tags or of repositories.
fn assert_nothing_listed(traffic: &Traffic) {
    assert_eq!(traffic.count("GET", Kind::Tags), 0, "{traffic}");
    assert_eq!(traffic.count("GET", Kind::Catalog), 0, "{traffic}");
}

#[tokio::test]
async fn a_push_to_a_real_registry_is_mirrored_at_once() {
    // The registry must know the daemon's address, and the daemon's rules the registry's.
    let target = DockerRegistry::start().await;
    let first = registry(&target, LIMIT, "")
        + &rule("app", &format!("{}/none", target.host()), &format!("{}/x", target.host()), "");
    let daemon = Daemon::start(&first).await;
    let secret = "Bearer s3cret";
    let notifications = Notifications::to(&daemon.url("/api/v1/events/r"), secret);
    let source = DockerRegistry::new().notifications(notifications).run().await;
    daemon.home().write("secret", "s3cret");
    let (from, to) =
        (format!("{}/acme/**", source.host()), format!("{}/mirror/{{tail}}", target.host()));
    let text = configuration(&source, &target).replacen(
        "[events.r]\n",
        "[events.r]\nsecret = { file = \"secret\" }\n",
        1,
    );
    daemon.reload(&(text + &rule("app", &from, &to, "referrers = false"))).await;

    let marks = (source.mark().await, target.mark().await);
    let index = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    index.push(&source, "acme/app", "v1").await;
    let there = async |repository: &str, tag: &str| {
        let what = format!("{repository}:{tag}");
        let digest = index.digest.as_str();
        eventually(&what, LIMIT, || async {
            (target.endpoint().digest(repository, tag).await? == digest).then_some(())
        })
        .await;
    };
    there("mirror/app", "v1").await;
    assert_same_at((&source, "acme/app", "v1"), (&target, "mirror/app", "v1")).await;
    let (from, to) = (source.reference("acme/app", "v1"), source.reference("acme/other", "v2"));
    Skopeo::new().copy(&format!("docker://{from}"), &format!("docker://{to}")).await;
    there("mirror/other", "v2").await;
    daemon.rests().await;

    let (asked, sent) =
        (source.requests_since(marks.0).await, target.requests_since(marks.1).await);
    assert_nothing_listed(&asked);
    assert_nothing_listed(&sent);
    let runs = daemon.ended("app", "event", 2).await;
    for run in &runs {
        assert_eq!(run["outcome"], "succeeded", "{run}");
    }
    let copied: u64 = runs.iter().map(|run| run["counts"]["copied"].as_u64().unwrap()).sum();
    assert_eq!(copied, 2, "{runs:?}");
    let metrics = daemon.metrics().await;
    let lag = |part: &str| {
        let name = format!("tranship_rule_mirror_lag_seconds_{part}");
        metrics.sum(&name, &[("rule", "app"), ("basis", "event")])
    };
    assert_eq!(lag("count"), 2.0);
    assert!(lag("sum") < 20.0, "{}", lag("sum"));
    assert!(
        metrics.sum("tranship_events_total", &[("source", "r"), ("outcome", "accepted")]) >= 2.0
    );
    assert_eq!(metrics.sum("tranship_events_total", &[("outcome", "forged")]), 0.0);
    assert_eq!(daemon.stop().await.0, Some(0));
}

#[tokio::test]
async fn an_event_moves_one_tag_and_looks_at_nothing_else() {
    let site = Site::start().await;
    let image = site.load("one", "acme/app", "v1");
    site.load("two", "acme/app", "v2");
    site.load("three", "acme/other", "v1");
    let marks = site.marks();
    assert_eq!(site.tell("acme/app", "v1").await, (1, 0));
    site.arrives(&image, "mirror/app", "v1").await;
    site.daemon.ended("app", "event", 1).await;
    let (asked, sent) = site.since(marks);
    assert_nothing_listed(&asked);
    assert_nothing_listed(&sent);
    for seen in asked.iter().filter(|seen| seen.kind == Kind::Manifest) {
        let its_own = seen.path.ends_with("/v1") || seen.path.ends_with(&image.digest);
        assert!(seen.path.starts_with("/v2/acme/app/") && its_own, "{}", seen.path);
    }
    // Its manifest, found and read, and two layers with their config; what more would be is waste.
    assert!(asked.len() <= 5, "{asked}");
    assert_eq!(site.target.tag("mirror/app", "v2"), None);

    // The same again: there is nothing to do, and next to nothing is asked.
    let marks = site.marks();
    assert_eq!(site.tell("acme/app", "v1").await, (1, 0));
    site.daemon.ended("app", "event", 2).await;
    let (asked, sent) = site.since(marks);
    assert!(asked.len() + sent.len() <= 2, "{asked}{sent}");
}

#[tokio::test]
async fn what_no_rule_selects_is_ignored() {
    let site =
        Site::with("referrers = false\ntags = { include = [\"v*\"], exclude = [\"*-rc\"] }").await;
    let marks = site.marks();
    for (repository, tag) in [("acme/app", "dev"), ("acme/app", "v1-rc"), ("else/app", "v1")] {
        assert_eq!(site.tell(repository, tag).await, (0, 1), "{repository}:{tag}");
    }
    let image = site.load("app", "acme/app", "v1");
    assert_eq!(
        taken(&site.daemon, &envelope([("acme/app", "v1"), ("acme/app", "dev")])).await,
        (1, 1)
    );
    site.arrives(&image, "mirror/app", "v1").await;
    assert_eq!(site.daemon.ended("app", "event", 1).await.len(), 1);
    let (asked, _) = site.since(marks);
    assert!(asked.iter().all(|seen| !seen.path.contains("dev")), "{asked}");
    let metrics = site.daemon.metrics().await;
    let events = |outcome| metrics.sum("tranship_events_total", &[("outcome", outcome)]);
    assert_eq!((events("accepted"), events("ignored")), (1.0, 3.0));
}

/// The signature of one image costs a list and a look at each tag, and moves nothing else.
#[tokio::test]
async fn a_signature_arrives_after_its_image() {
    let site = Site::with("").await;
    let signed = Image::single(Family::Oci, "signed", &[2_000]).cosign();
    let plain = Image { attached: Vec::new(), ..signed.clone() };
    plain.load(&site.source, "acme/app", "v0");
    let tags: Vec<String> = (1..20).map(|n| format!("v{n}")).collect();
    for tag in &tags {
        site.load(tag, "acme/app", tag);
    }
    let all = tags.iter().map(|tag| ("acme/app", tag.as_str())).chain([("acme/app", "v0")]);
    assert_eq!(taken(&site.daemon, &envelope(all)).await, (20, 0));
    site.daemon.ended("app", "event", 1).await;
    site.arrives(&plain, "mirror/app", "v0").await;

    let marks = site.marks();
    signed.load(&site.source, "acme/app", "v0");
    let signature = signed.derived_tag(".sig");
    assert_eq!(site.tell("acme/app", &signature).await, (1, 0));
    site.arrives(&signed.attached[0].1, "mirror/app", &signature).await;
    site.daemon.ended("app", "event", 2).await;
    let (asked, sent) = site.since(marks);
    assert_eq!(asked.count("GET", Kind::Tags), 1, "{asked}");
    // One look at each of the twenty tags and, by the API, at its referrers; a few more for the
    // three images that are attached to one of them.
    let few = 4 * 3;
    assert!((20..=20 + few).contains(&asked.count("HEAD", Kind::Manifest)), "{asked}");
    assert!((20..=20 + few).contains(&asked.count("GET", Kind::Referrers)), "{asked}");
    assert!((3..=few).contains(&asked.count("GET", Kind::Manifest)), "{asked}");
    assert_eq!(sent.count("PUT", Kind::Manifest), 3, "{sent}");
    assert!(sent.count("HEAD", Kind::Manifest) <= 4, "{sent}");
}

#[tokio::test]
async fn a_tag_that_moves_while_it_is_synced_is_synced_once_more() {
    let site = Site::start().await;
    let old = site.load("old", "acme/app", "v1");
    let layer = &old.blobs[1].digest;
    site.source.on("GET", Kind::Blob).containing(layer).once().fail(Fault::Hang);
    site.tell("acme/app", "v1").await;
    let is_asked_for =
        || async { (site.source.traffic().count("GET", Kind::Blob) > 0).then_some(()) };
    eventually("the layer is asked for", LIMIT, is_asked_for).await;
    let new = site.load("new", "acme/app", "v1");
    for _ in 0..3 {
        site.tell("acme/app", "v1").await;
    }
    site.source.release();
    site.arrives(&new, "mirror/app", "v1").await;
    site.daemon.rests().await;
    let runs = site.daemon.runs_for("app", "event").await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    site.target.assert_tags_complete();
}

#[tokio::test]
async fn an_event_does_not_wait_for_its_rules_own_full_pass() {
    let site = Site::with("referrers = false\nevery = \"1h\"\nrun_at_start = false").await;
    let slow = site.load("slow", "acme/slow", "v1");
    let first = site.load("first", "acme/app", "v1");
    let layer = &slow.blobs[1].digest;
    site.source.on("GET", Kind::Blob).containing(layer).once().fail(Fault::Hang);
    let text = site.daemon.home().home().join("tranship.toml");
    let text = std::fs::read_to_string(text).unwrap();
    let (_, text) = text.split_once("listen = \"127.0.0.1:0\"\n").unwrap();
    // A full pass begins, and stays in the middle of `slow`.
    site.daemon.reload(&text.replace("every = \"1h\"", "every = \"1s\"")).await;
    site.arrives(&first, "mirror/app", "v1").await;
    let is_asked_for = || async {
        let traffic = site.source.traffic();
        traffic.of("GET", Kind::Blob).any(|seen| seen.path.ends_with(layer)).then_some(())
    };
    eventually("the slow layer is asked for", LIMIT, is_asked_for).await;
    let second = site.load("second", "acme/app", "v1");
    assert_eq!(site.tell("acme/app", "v1").await, (1, 0));
    site.arrives(&second, "mirror/app", "v1").await;
    let running = site.daemon.get("/api/v1/running").await.json();
    let whole = |run: &Value| run["cause"] == "schedule";
    assert!(running.as_array().unwrap().iter().any(whole), "the pass goes on: {running}");
    assert_eq!(site.target.tag("mirror/slow", "v1"), None);
    site.source.release();
    site.arrives(&slow, "mirror/slow", "v1").await;
}

#[tokio::test]
async fn an_event_waits_for_another_rule_that_writes_to_the_repository() {
    let site = Site::with_rules(|source, target| {
        let of = |name: &str, tags: &str| {
            let (from, to) = (format!("{source}/acme/{name}"), format!("{target}/mirror/all"));
            rule(
                name,
                &from,
                &to,
                &format!("tags = {{ include = [\"{tags}*\"] }}\nreferrers = false"),
            )
        };
        of("one", "a") + &of("two", "b")
    })
    .await;
    let (one, two) = (site.load("one", "acme/one", "a1"), site.load("two", "acme/two", "b1"));
    let layer = &one.blobs[1].digest;
    site.source.on("GET", Kind::Blob).containing(layer).once().fail(Fault::Hang);
    site.tell("acme/one", "a1").await;
    let is_asked_for =
        || async { (site.source.traffic().count("GET", Kind::Blob) > 0).then_some(()) };
    eventually("the layer is asked for", LIMIT, is_asked_for).await;
    assert_eq!(site.tell("acme/two", "b1").await, (1, 0));
    eventually("both runs under way", LIMIT, || async {
        let running = site.daemon.get("/api/v1/running").await.json();
        (running.as_array()?.len() == 2).then_some(())
    })
    .await;
    // Whoever is told of the second one's beginning has been told before anything of it is read.
    let of_two = |traffic: &Traffic| traffic.iter().filter(|s| s.path.contains("/two/")).count();
    assert_eq!(of_two(&site.source.traffic()), 0);
    site.source.release();
    site.arrives(&one, "mirror/all", "a1").await;
    site.arrives(&two, "mirror/all", "b1").await;
    let put = |tag: &str| {
        let traffic = site.target.traffic();
        traffic.of("PUT", Kind::Manifest).find(|s| s.path.ends_with(tag)).unwrap().at
    };
    assert!(put("/a1") < put("/b1"));
}

#[tokio::test]
async fn what_nobody_told_of_comes_with_the_next_full_pass() {
    let site = Site::with("referrers = false\nevery = \"1s\"").await;
    let first = site.load("first", "acme/app", "v1");
    site.arrives(&first, "mirror/app", "v1").await;
    let second = site.load("second", "acme/app", "v1");
    site.arrives(&second, "mirror/app", "v1").await;
    eventually("its lag", LIMIT, || async {
        let metrics = site.daemon.get("/metrics").await.body;
        let shown = |line: &str| {
            line.starts_with("tranship_rule_mirror_lag_seconds_count") && line.contains("\"pass\"")
        };
        metrics.lines().any(shown).then_some(())
    })
    .await;
    assert_eq!(site.daemon.runs_for("app", "event").await, [Value::Null; 0]);
}

#[tokio::test]
async fn events_follow_the_rules_as_they_are_now() {
    let site = Site::start().await;
    let image = site.load("app", "acme/app", "v1");
    let (source, target) = (site.source.host(), site.target.host());
    let with = |pattern: &str, place: &str| {
        let (from, to) = (format!("{source}/{pattern}"), format!("{target}/{place}/{{tail}}"));
        configuration(&site.source, &site.target) + &rule("app", &from, &to, "referrers = false")
    };
    site.daemon.reload(&with("other/**", "mirror")).await;
    assert_eq!(site.tell("acme/app", "v1").await, (0, 1));
    // What was told before a reload is done as the rules are after it.
    for (place, pattern) in [("second", "acme/**"), ("third", "acme/a*")] {
        site.daemon.reload(&with(pattern, place)).await;
        assert_eq!(site.tell("acme/app", "v1").await, (1, 0));
        site.arrives(&image, &format!("{place}/app"), "v1").await;
    }
    assert_eq!(site.target.tag("mirror/app", "v1"), None);
    // The source of events may be gone too.
    site.daemon.reload(&with("acme/**", "mirror").replace("[events.r]", "[events.s]")).await;
    assert_eq!(
        site.daemon.post("/api/v1/events/r", envelope([("acme/app", "v1")])).await.status,
        404
    );
}

//! `tranship cleanup`: what it reads, what it would delete and why, and that it deletes nothing.

use serde_json::{Value, json};

use crate::support::process::Finished;
use crate::support::scripted::Fault;
use crate::support::{DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship};

const RULES: &str = "\
    keep = [{ id = \"releases\", semver = \">=1\" }]\n\
    delete = [{ id = \"pr\", tags = [\"pr-*\"] }]\n\
    max_delete = { count = 10, percent = 100 }\n";

/// A home with one rule about these repositories.
fn home(place: &impl Place, repositories: &str, rules: &str) -> Tranship {
    let tranship = Tranship::new();
    let host = place.host();
    tranship.write(
        "tranship.toml",
        format!(
            "[registry.\"{host}\"]\ninsecure = \"http\"\n\
             [[cleanup]]\nname = \"apps\"\nrepositories = [\"{host}/{repositories}\"]\n\
             grace = \"0s\"\n{rules}"
        ),
    );
    tranship
}

async fn cleanup(tranship: &Tranship, arguments: &[&str]) -> Finished {
    tranship.run(["cleanup"].iter().chain(arguments)).await
}

/// The one plan of the one rule, which must end with this code.
async fn plan(tranship: &Tranship, code: i32) -> Value {
    let finished = cleanup(tranship, &["--output", "json"]).await;
    assert_eq!(finished.code, Some(code), "{finished:?}");
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(document["success"], code == 0);
    assert_eq!(document["rules"].as_array().unwrap().len(), 1, "{document:#}");
    let plans = document["rules"][0]["plans"].as_array().unwrap();
    assert_eq!(plans.len(), 1, "{document:#}");
    plans[0].clone()
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[1_000])
}

struct Samples {
    release: Image,
    index: Image,
    signed: Image,
    other: Image,
}

impl Samples {
    fn new() -> Self {
        Self {
            release: image("release"),
            index: Image::platforms(Family::Oci, "index", &["amd64", "arm64"]),
            signed: image("signed").cosign(),
            other: image("other"),
        }
    }

    /// Each with its tags; the last one is a release, too.
    fn all(&self) -> [(&Image, &'static str); 5] {
        [
            (&self.release, "1.0.0"),
            (&self.index, "1.1.0"),
            (&self.signed, "pr-1"),
            (&self.other, "pr-2"),
            (&self.release, "pr-3"),
        ]
    }
}

#[tokio::test]
async fn a_plan_says_what_would_go_and_the_registry_is_only_read() {
    let registry = DockerRegistry::start().await;
    let samples = Samples::new();
    for (image, tag) in samples.all() {
        image.push(&registry, "acme/app", tag).await;
    }
    let before = registry.endpoint().tags("acme/app").await;
    let attached = samples.signed.attached.len();
    let (tags, manifests) = (5 + attached, 6 + attached);
    assert_eq!((before.len(), attached > 0), (tags, true));
    let tranship = home(&registry, "acme/*", RULES);

    let mark = registry.mark().await;
    let first = plan(&tranship, 0).await;
    let traffic = registry.requests_since(mark).await;
    assert_eq!(traffic.writes(), 0, "{traffic}");
    assert_eq!(traffic.count("GET", Kind::Catalog), 1, "{traffic}");
    assert_eq!(traffic.count("GET", Kind::Tags), 1, "{traffic}");
    assert_eq!(traffic.count("HEAD", Kind::Manifest), tags, "{traffic}");
    assert_eq!(traffic.count("GET", Kind::Manifest), manifests, "{traffic}");
    assert_eq!(traffic.count("GET", Kind::Blob), 0, "{traffic}");

    // The signed one and its signatures, and the other. `pr-3` is a release, too: the tag goes
    // first, if the registry can do that, which nobody has tried.
    let steps = first["steps"].as_array().unwrap();
    assert_eq!((&steps[0]["action"], &steps[0]["tag"]), (&json!("untag"), &json!("pr-3")));
    assert_eq!(first["untag"], "unknown");
    let deletes = steps[1..].iter();
    let digests: Vec<&str> = deletes.map(|step| step["digest"].as_str().unwrap()).collect();
    assert_eq!(digests.len(), 2 + attached, "{first:#}");
    for gone in [&samples.signed, &samples.other]
        .into_iter()
        .chain(samples.signed.attached.iter().map(|(_, image)| image))
    {
        assert!(digests.contains(&gone.digest.as_str()), "{first:#}");
    }
    let verdict = |tag: &str| {
        let verdicts = first["tag_verdicts"].as_array().unwrap();
        verdicts.iter().find(|verdict| verdict["tag"] == tag).unwrap()
    };
    assert_eq!(verdict("1.1.0")["kept_by"], "releases");
    assert_eq!(verdict("pr-1")["action"], "delete");
    assert_eq!(verdict("pr-3")["action"], "untag");
    let sizes = |image: &Image| image.blob_bytes() + image.bytes.len() as u64;
    assert_eq!(first["tags"], 5);
    assert_eq!(first["tags_deleted"], 3);
    assert!(first["bytes_freed"].as_u64().unwrap() >= sizes(&samples.signed), "{first:#}");

    // Nothing has changed, so no manifest is read again, and what was seen first stays so.
    let mark = registry.mark().await;
    let second = plan(&tranship, 0).await;
    let traffic = registry.requests_since(mark).await;
    assert_eq!(traffic.writes(), 0, "{traffic}");
    assert_eq!(traffic.count("GET", Kind::Tags), 1, "{traffic}");
    assert_eq!(traffic.count("HEAD", Kind::Manifest), tags, "{traffic}");
    assert_eq!(traffic.count("GET", Kind::Manifest), 0, "{traffic}");
    assert_eq!(first["steps"], second["steps"]);
    assert_eq!(first["manifest_verdicts"], second["manifest_verdicts"]);

    // For people.
    let text = tranship.succeed(["cleanup"]).await.stdout;
    assert!(text.contains("3 of 5 tags"), "{text}");
    assert!(text.contains("kept by `releases`"), "{text}");
    let row = text.lines().find(|line| line.contains("pr-2")).unwrap();
    assert!(row.contains(&samples.other.digest[..19]), "{text}");
    // Tags of signatures are no tags of people, and only their beginning is shown.
    assert!(text.contains("  by `pr`: 3 tags in 6 steps, "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 120), "{text}");
    assert_eq!(registry.endpoint().tags("acme/app").await, before);
}

/// With a referrers API, what refers to an image is found without any tag.
#[tokio::test]
async fn referrers_go_with_their_subject_and_stay_with_it() {
    let registry = Scripted::start();
    let gone = image("gone").refer("sbom", "application/spdx+json");
    let kept = image("kept").refer("sbom of kept", "application/spdx+json");
    gone.load(&registry, "app", "pr-1");
    kept.load(&registry, "app", "1.0.0");
    let tranship = home(&registry, "app", RULES);
    let plan = plan(&tranship, 0).await;
    let steps = plan["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "{plan:#}");
    assert_eq!(steps[0]["digest"], gone.digest);
    assert_eq!(steps[0]["rule"], "pr");
    assert_eq!(steps[1]["digest"], gone.referrers[0].digest);
    assert_eq!(steps[1]["with"], gone.digest);
    assert_eq!(registry.traffic().writes(), 0);
    // Asked about each of the four manifests.
    assert_eq!(registry.traffic().count("GET", Kind::Referrers), 4);
}

#[tokio::test]
async fn a_page_of_tags_that_is_cut_off_means_that_nothing_goes() {
    let registry = Scripted::start();
    image("pr").load(&registry, "app", "pr-1");
    image("release").load(&registry, "app", "1.0.0");
    registry.quirks(|quirks| quirks.page_cap = Some(1));
    let tranship = home(&registry, "app", RULES);
    registry.on("GET", Kind::Tags).containing("last=").fail(Fault::CutAnswerAfter(5));
    let refused = plan(&tranship, 1).await;
    assert_eq!((&refused["steps"], &refused["tag_verdicts"]), (&json!([]), &json!([])));
    let reason = refused["refused"][0].as_str().unwrap();
    assert!(reason.starts_with("the list is not whole: failed to list tags of "), "{reason}");
    let finished = cleanup(&tranship, &[]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("REFUSED apps: nothing of "), "{finished:?}");
    assert!(finished.stderr.contains("the list is not whole"), "{finished:?}");
    registry.clear_rules();
    assert_eq!(plan(&tranship, 0).await["tags_deleted"], 1);
    assert_eq!(registry.traffic().writes(), 0);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_had_or_understood_means_that_nothing_goes() {
    let odd = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/x-odd", "size": 2,
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        }],
    });
    let odd = Image::of_manifest("application/vnd.oci.image.index.v1+json", &odd, Vec::new());
    let failing = Fault::status(403).error("DENIED", "not this one");
    let other = image("other");
    for (image, fault, words) in [
        (&other, Some(failing), "not this one"),
        (&other, Some(Fault::status(500)), "500"),
        (&other, Some(Fault::status(404)), "points at a manifest that is not there"),
        (&odd, None, "the unknown type `application/x-odd`"),
    ] {
        let registry = Scripted::start();
        self::image("pr").load(&registry, "app", "pr-1");
        image.load(&registry, "app", "1.0.0");
        if let Some(fault) = fault {
            registry.on("GET", Kind::Manifest).containing(&image.digest).fail(fault);
        }
        let tranship = home(&registry, "app", RULES);
        let refused = plan(&tranship, 1).await;
        assert_eq!(refused["steps"], json!([]), "{refused:#}");
        assert!(refused["refused"][0].as_str().unwrap().contains(words), "{refused:#}");
        assert_eq!(registry.traffic().writes(), 0);
    }
}

/// A list of manifests without tags is nothing that the protocol has.
#[tokio::test]
async fn rules_about_untagged_manifests_are_refused_with_the_reason() {
    let registry = Scripted::start();
    image("pr").load(&registry, "app", "pr-1");
    let rules = "delete = [{ id = \"loose\", untagged = true }]\n";
    let refused = plan(&home(&registry, "app", rules), 1).await;
    let reason = refused["refused"][0].as_str().unwrap();
    assert!(reason.contains("`loose`") && reason.contains("does not list"), "{reason}");
}

#[tokio::test]
async fn a_limit_that_is_exceeded_has_an_exit_code_of_its_own() {
    let registry = Scripted::start();
    image("a").load(&registry, "app", "pr-1");
    image("b").load(&registry, "app", "pr-2");
    let tranship = home(&registry, "app", &RULES.replace("count = 10", "count = 1"));
    let refused = plan(&tranship, 3).await;
    assert_eq!((&refused["steps"], &refused["tags_deleted"]), (&json!([]), &json!(2)));
    assert_eq!(registry.traffic().writes(), 0);
}

/// What was deleted and comes back is new, however long ago it was seen.
#[tokio::test]
async fn what_comes_back_is_new() {
    let registry = Scripted::start();
    image("pr").load(&registry, "app", "pr-1");
    image("release").load(&registry, "app", "1.0.0");
    let tranship = home(&registry, "app", RULES);
    plan(&tranship, 0).await;
    registry.endpoint().delete("app", &image("pr").digest).await;
    assert_eq!(plan(&tranship, 0).await["manifests"], 1);
    image("pr").load(&registry, "app", "pr-1");
    let before = registry.traffic().count("GET", Kind::Manifest);
    assert_eq!(plan(&tranship, 0).await["manifests"], 2);
    assert_eq!(registry.traffic().count("GET", Kind::Manifest), before + 1);
}

#[tokio::test]
async fn one_image_is_explained_without_looking_elsewhere() {
    let registry = Scripted::start();
    image("pr").load(&registry, "app", "pr-1");
    image("release").load(&registry, "app", "1.0.0");
    image("elsewhere").load(&registry, "elsewhere", "pr-1");
    let tranship =
        home(&registry, "**", &RULES.replace("[\"pr-*\"]", "[\"pr-*\"], older_than = \"7d\""));
    let reference = |rest: &str| format!("{}/app{rest}", registry.host());
    let text = tranship.succeed(["cleanup", "--explain", &reference(":pr-1")]).await.stdout;
    assert!(text.starts_with(&format!("apps: pr-1 ({}): keep\n", image("pr").digest)), "{text}");
    assert!(
        text.contains(
            "delete `pr`: selected, but not all of its conditions hold; old enough from 2"
        ),
        "{text}"
    );
    assert!(text.contains(", by `first_seen`\n"), "{text}");
    let text = tranship.succeed(["cleanup", "--explain", &reference(":1.0.0")]).await.stdout;
    assert!(text.contains("keep `releases`: yes\n"), "{text}");
    let digest = reference(&format!("@{}", image("pr").digest));
    let text = tranship.succeed(["cleanup", "--explain", &digest]).await.stdout;
    assert!(text.contains("  tags: pr-1\n"), "{text}");
    let traffic = registry.traffic();
    assert!(traffic.iter().all(|seen| !seen.path.contains("elsewhere")), "{traffic}");
    assert_eq!((traffic.writes(), traffic.count("GET", Kind::Catalog)), (0, 0), "{traffic}");
    for (arguments, words) in [
        (vec!["--explain".to_owned(), reference("")], "needs a tag or a digest"),
        (vec!["--rule".to_owned(), "nope".to_owned()], "the rules are apps"),
    ] {
        let finished = tranship.run([vec!["cleanup".to_owned()], arguments].concat()).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
}

//! `tranship cleanup --apply` against real registries: what goes, what stays whole, and what is
//! written down. After it the registry's own garbage collection runs, and skopeo pulls what stays.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::docker_registry::Mark;
use crate::support::process::Finished;
use crate::support::witness::Skopeo;
use crate::support::{DockerRegistry, Family, Image, Kind, Place, Tranship};

/// A home with one rule about these repositories.
pub fn home(place: &impl Place, repositories: &str, lines: &str) -> Tranship {
    let tranship = Tranship::new();
    write_rule(&tranship, place, repositories, lines);
    tranship
}

pub fn write_rule(tranship: &Tranship, place: &impl Place, repositories: &str, lines: &str) {
    let host = place.host();
    tranship.write(
        "tranship.toml",
        format!(
            "[daemon]\nstate = \"state\"\n[registry.\"{host}\"]\ninsecure = \"http\"\n\
             [[cleanup]]\nname = \"apps\"\nrepositories = [\"{host}/{repositories}\"]\n\
             grace = \"0s\"\n{lines}\n"
        ),
    );
}

pub const PR: &str = "\
    keep = [{ id = \"releases\", semver = \">=1\" }]\n\
    delete = [{ id = \"pr\", tags = [\"pr-*\"] }]\n\
    max_delete = { percent = 100 }\n";

pub async fn apply(tranship: &Tranship) -> Finished {
    tranship.run(["cleanup", "--apply", "--output", "json"]).await
}

/// What became of the one repository of the one rule, which must end with this code.
pub async fn applied(tranship: &Tranship, code: i32) -> Value {
    let finished = apply(tranship).await;
    assert_eq!(finished.code, Some(code), "{finished:?}");
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    let repositories = document["rules"][0]["repositories"].as_array().unwrap();
    assert_eq!(repositories.len(), 1, "{document:#}");
    repositories[0].clone()
}

pub fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[1_000])
}

/// Outcomes by the first tag of each step, or its digest.
pub fn outcomes(repository: &Value) -> Vec<(String, String)> {
    let steps = repository["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |step: &Value| match step["tags"][0].as_str() {
        Some(tag) => tag.to_owned(),
        None => text(&step["digest"]),
    };
    steps.iter().map(|step| (name(step), text(&step["outcome"]))).collect()
}

/// Every line of the audit.
pub fn audit(tranship: &Tranship) -> Vec<Value> {
    let folder = tranship.home().join("state/audit");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// skopeo reads every kept image, every byte of it.
pub async fn pull_all(registry: &DockerRegistry, repository: &str, tags: &[&str]) {
    let folder = TempDir::new().unwrap();
    for (at, tag) in tags.iter().enumerate() {
        let source = format!("docker://{}", registry.reference(repository, tag));
        let target = format!("dir:{}", folder.path().join(at.to_string()).display());
        Skopeo::new().copy(&source, &target).await;
    }
}

async fn deletes(registry: &DockerRegistry, mark: Mark) -> Vec<String> {
    let traffic = registry.requests_since(mark).await;
    assert_eq!(traffic.writes(), traffic.count("DELETE", Kind::Manifest), "{traffic}");
    traffic.of("DELETE", Kind::Manifest).map(|seen| seen.path.clone()).collect()
}

#[tokio::test]
async fn what_is_planned_goes_and_what_is_kept_is_whole() {
    let mut registry = DockerRegistry::start().await;
    let shared = image("shared");
    let kept = Image::index(
        Family::Oci,
        vec![(shared.clone(), json!({})), (image("only in kept"), json!({}))],
    );
    let gone = Image::index(
        Family::Oci,
        vec![(shared.clone(), json!({})), (image("only in gone"), json!({}))],
    );
    let signed = image("signed").cosign();
    let nested = Image::with_attestations("attested", &["amd64", "arm64"]);
    for (image, tag) in [(&kept, "1.0.0"), (&gone, "pr-1"), (&signed, "pr-2"), (&nested, "2.0.0")] {
        image.push(&registry, "acme/app", tag).await;
    }
    image("elsewhere").push(&registry, "other/app", "pr-1").await;
    let tranship = home(&registry, "acme/*", PR);

    let mark = registry.mark().await;
    let report = applied(&tranship, 0).await;
    let paths = deletes(&registry, mark).await;
    // The index and its own child, the signed image and its signatures; not the shared child.
    let only = image("only in gone").digest;
    assert!(paths.iter().all(|path| path.starts_with("/v2/acme/app/manifests/sha256:")));
    let place = |digest: &str| paths.iter().position(|path| path.ends_with(digest));
    assert!(place(&gone.digest) < place(&only), "{paths:?}");
    assert!(place(&gone.digest).is_some() && place(&shared.digest).is_none(), "{paths:?}");
    assert_eq!(paths.len(), 3 + signed.attached.len(), "{paths:?}");
    assert_eq!(report["planned"]["tags_deleted"], 2, "{report:#}");
    assert!(report["bytes_freed"].as_u64().unwrap() > signed.blob_bytes(), "{report:#}");

    registry.collect_garbage().await;
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0", "2.0.0"]);
    pull_all(&registry, "acme/app", &["1.0.0", "2.0.0"]).await;
    pull_all(&registry, "other/app", &["pr-1"]).await;
    // What nobody has any more has left the disk.
    assert!(!registry.blob_file(&only).exists() && registry.blob_file(&shared.digest).exists());

    // Each request has its intent before it and its outcome after it.
    let lines = audit(&tranship);
    let intents: Vec<&Value> = lines.iter().filter_map(|line| line.get("intent")).collect();
    let outcomes = lines.iter().filter(|line| line["outcome"]["outcome"] == "deleted").count();
    assert_eq!((intents.len(), outcomes), (paths.len(), paths.len()), "{lines:#?}");
    assert_eq!(intents[0]["rule"], "apps");
    assert_eq!(intents[0]["line"], "pr");
    assert_eq!(intents[0]["actor"]["cause"], "command");
    assert!(intents[0]["since"].is_string() && intents[0]["clock"] == "first_seen");

    // i11: there is nothing left to do.
    let mark = registry.mark().await;
    let again = applied(&tranship, 0).await;
    assert_eq!((outcomes_of(&again), deletes(&registry, mark).await.len()), (0, 0), "{again:#}");
}

fn outcomes_of(report: &Value) -> usize {
    outcomes(report).len()
}

#[tokio::test]
async fn without_delete_the_first_answer_is_enough() {
    let registry = DockerRegistry::new().without_delete().run().await;
    for tag in ["pr-1", "pr-2", "1.0.0"] {
        image(tag).push(&registry, "acme/app", tag).await;
    }
    let tranship = home(&registry, "acme/*", PR);
    let mark = registry.mark().await;
    let report = applied(&tranship, 1).await;
    let mut found = outcomes(&report);
    found.sort_by(|(_, a), (_, b)| a.cmp(b));
    let found: Vec<&str> = found.iter().map(|(_, outcome)| outcome.as_str()).collect();
    assert_eq!(found, ["failed", "not_done"], "{report:#}");
    let reason = report["steps"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("405") && reason.contains("switched off"), "{reason}");
    assert_eq!(deletes(&registry, mark).await.len(), 1);
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0", "pr-1", "pr-2"]);
    let text = tranship.run(["cleanup", "--apply"]).await;
    assert_eq!(text.code, Some(1));
    assert!(text.stderr.contains("FAILED apps: 2 of 2 steps"), "{text:?}");
}

/// distribution 2.8 cannot delete one tag of several. That is found out once, and remembered.
#[tokio::test]
async fn a_shared_digest_stays_where_tags_cannot_be_deleted() {
    let registry = DockerRegistry::start().await;
    let shared = image("shared");
    shared.push(&registry, "acme/app", "1.0.0").await;
    shared.push(&registry, "acme/app", "pr-1").await;
    let tranship = home(&registry, "acme/*", PR);
    let report = applied(&tranship, 0).await;
    assert_eq!(outcomes(&report), [("pr-1".to_owned(), "refused".to_owned())], "{report:#}");
    let reason = report["steps"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("shared-digest: ") && reason.contains("overwrite"), "{reason}");
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0", "pr-1"]);

    let plan = tranship.succeed(["cleanup", "--output", "json"]).await.stdout;
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let plan = &plan["rules"][0]["plans"][0];
    assert_eq!((&plan["untag"], &plan["steps"]), (&json!("no"), &json!([])));
    assert_eq!(plan["tag_verdicts"][1]["blockers"], json!(["shared-digest"]), "{plan:#}");

    // Who allows it gets the tag overwritten and deleted.
    write_rule(&tranship, &registry, "acme/*", &format!("untag = \"overwrite\"\n{PR}"));
    let report = applied(&tranship, 0).await;
    assert_eq!(outcomes(&report), [("pr-1".to_owned(), "deleted".to_owned())], "{report:#}");
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0"]);
    pull_all(&registry, "acme/app", &["1.0.0"]).await;
}

/// Copies what goes into a layout, and brings it back byte for byte.
async fn quarantine(to: impl Fn(&Path, &DockerRegistry) -> String) {
    let mut registry = DockerRegistry::start().await;
    let gone = Image::with_attestations("gone", &["amd64", "arm64"]).cosign();
    gone.push(&registry, "acme/app", "pr-1").await;
    gone.push(&registry, "acme/app", "pr-2").await;
    image("kept").push(&registry, "acme/app", "1.0.0").await;
    let tranship = Tranship::new();
    let to = to(tranship.home(), &registry);
    let lines = format!("quarantine = {{ to = \"{to}\", ttl = \"30d\" }}\n{PR}");
    write_rule(&tranship, &registry, "acme/*", &lines);
    let before = registry.endpoint().tags("acme/app").await;
    let mut manifests = Vec::new();
    for tag in &before {
        manifests.push(registry.endpoint().manifest("acme/app", tag).await.unwrap().bytes);
    }
    let report = applied(&tranship, 0).await;
    assert!(outcomes(&report).iter().all(|(_, outcome)| outcome == "deleted"), "{report:#}");
    assert_eq!(registry.endpoint().tags("acme/app").await, ["1.0.0"]);
    registry.collect_garbage().await;

    let listed = tranship.succeed(["restore"]).await.stdout;
    assert!(listed.contains("pr-1, pr-2"), "{listed}");
    let reference = format!("{}/acme/app:pr-1", registry.host());
    let restored = tranship.succeed(["restore", &reference]).await.stdout;
    assert!(restored.contains("pr-1"), "{restored}");
    assert_eq!(registry.endpoint().tags("acme/app").await, before);
    for (tag, bytes) in before.iter().zip(&manifests) {
        let found = registry.endpoint().manifest("acme/app", tag).await.unwrap().bytes;
        assert_eq!(found, *bytes, "{tag}");
    }
    pull_all(&registry, "acme/app", &["pr-1", "pr-2", "1.0.0"]).await;
}

#[tokio::test]
async fn i12_what_went_is_brought_back_from_a_layout() {
    quarantine(|home, _| format!("oci:{}", home.join("quarantine").display())).await;
}

#[tokio::test]
async fn i12_what_went_is_brought_back_from_the_same_registry() {
    quarantine(|_, registry| format!("{}/quarantine/{{repository}}", registry.host())).await;
}

/// A rule with a quarantine in a layout, which has deleted everything but releases.
async fn cleaned_with_quarantine(registry: &DockerRegistry) -> Tranship {
    let tranship = Tranship::new();
    let to = format!("oci:{}", tranship.home().join("quarantine").display());
    let lines = format!("quarantine = {{ to = \"{to}\", ttl = \"30d\" }}\n{PR}");
    write_rule(&tranship, registry, "acme/*", &lines);
    applied(&tranship, 0).await;
    tranship
}

#[tokio::test]
async fn a_tag_that_was_pushed_anew_does_not_block_the_others() {
    let registry = DockerRegistry::start().await;
    let (gone, new) = (image("gone"), image("new"));
    gone.push(&registry, "acme/app", "pr-1").await;
    gone.push(&registry, "acme/app", "pr-1-green").await;
    image("kept").push(&registry, "acme/app", "1.0.0").await;
    let tranship = cleaned_with_quarantine(&registry).await;
    new.push(&registry, "acme/app", "pr-1").await;

    let reference = format!("{}/acme/app:pr-1-green", registry.host());
    let digest = async |tag: &str| registry.endpoint().digest("acme/app", tag).await;
    for _ in 0..2 {
        let restored = tranship.run(["restore", &reference]).await;
        assert_eq!(restored.code, Some(1), "{restored:?}");
        assert!(restored.stderr.contains("--overwrite moves it"), "{restored:?}");
        assert_eq!(digest("pr-1-green").await.as_ref(), Some(&gone.digest));
        assert_eq!(digest("pr-1").await.as_ref(), Some(&new.digest));
    }
    tranship.succeed(["restore", "--overwrite", &reference]).await;
    assert_eq!(digest("pr-1").await.as_ref(), Some(&gone.digest));
}

/// An interrupted restoration has left a list of referrers with some of the former ones.
#[tokio::test]
async fn an_interrupted_restoration_can_be_repeated() {
    let registry = DockerRegistry::start().await;
    let gone = image("gone").refer("sbom", "x/sbom").refer("signature", "x/signature");
    gone.push(&registry, "acme/app", "pr-1").await;
    image("kept").push(&registry, "acme/app", "1.0.0").await;
    let list = gone.digest.replace(':', "-");
    let endpoint = registry.endpoint();
    let before = endpoint.manifest("acme/app", &list).await.expect("a fallback tag").bytes;
    let tranship = cleaned_with_quarantine(&registry).await;
    assert!(endpoint.manifest("acme/app", &list).await.is_none());

    let sbom = &gone.referrers[0];
    let interim = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [sbom.descriptor()],
    });
    sbom.push_content(&registry, "acme/app").await;
    endpoint
        .put_manifest(
            "acme/app",
            &list,
            "application/vnd.oci.image.index.v1+json",
            interim.to_string().into(),
        )
        .await;
    let reference = format!("{}/acme/app:pr-1", registry.host());
    tranship.succeed(["restore", &reference]).await;
    assert_eq!(endpoint.manifest("acme/app", &list).await.unwrap().bytes, before);
}

//! `tranship sync --src … --dest …` puts the same images in the same places as `skopeo sync`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::process::Finished;
use crate::support::witness::Skopeo;
use crate::support::{DockerRegistry, Family, Image, Place, Tranship, assert_same_at};

async fn succeed(tranship: &Tranship, line: &str) -> Finished {
    let finished = tranship.run(line.split_whitespace()).await;
    assert_eq!(finished.code, Some(0), "{line}: {finished:?}");
    finished
}

/// Every repository with its tags.
async fn content(registry: &DockerRegistry) -> BTreeMap<String, Vec<String>> {
    let endpoint = registry.endpoint();
    let catalog = endpoint.client.get(endpoint.url("/v2/_catalog")).send().await.unwrap();
    let catalog: Value = catalog.json().await.unwrap();
    let mut content = BTreeMap::new();
    for repository in catalog["repositories"].as_array().unwrap() {
        let repository = repository.as_str().unwrap();
        let mut tags = endpoint.tags(repository).await;
        tags.sort();
        content.insert(repository.to_owned(), tags);
    }
    content
}

/// `acme/app` with three tags and a signature, `acme/team/tool` with two.
async fn source() -> DockerRegistry {
    let source = DockerRegistry::start().await;
    for tag in ["1.0", "1.1", "latest"] {
        let image = Image::platforms(Family::Oci, &format!("app-{tag}"), &["amd64", "arm64"]);
        image.push(&source, "acme/app", tag).await;
    }
    for tag in ["3.11.0", "3.12.1"] {
        let image = Image::single(Family::Docker, &format!("tool-{tag}"), &[100]);
        image.push(&source, "acme/team/tool", tag).await;
    }
    source
}

const INSECURE: &str = "--src-tls-verify=false --dest-tls-verify=false";

#[tokio::test]
async fn a_repository_goes_where_skopeo_puts_it() {
    let source = source().await;
    let (ours, theirs) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let from = source.host();
    for (options, what, prefix) in [
        ("", "acme/app", ""),
        ("--all", "acme/team/tool:3.12.1", "/mirror/"),
        ("--preserve-digests", "acme/team/tool", "/mirror/more"),
    ] {
        let line = |target: &DockerRegistry, options: &str| {
            let to = target.host();
            format!(
                "sync {options} --src docker --dest docker {INSECURE} {from}/{what} {to}{prefix}"
            )
        };
        succeed(&tranship, &line(&ours, options)).await;
        // tranship copies all platforms in any case.
        skopeo.run(&line(&theirs, "--all --preserve-digests")).await;
        assert_eq!(content(&ours).await, content(&theirs).await, "{what}");
    }
    assert_same_at((&source, "acme/app", "1.0"), (&ours, "app", "1.0")).await;
    let line = format!(
        "sync -s docker -d docker {INSECURE} --digestfile digests {from}/acme/app {}",
        ours.host()
    );
    let again = succeed(&tranship, &line).await;
    assert!(
        again.stdout.ends_with("0 copied, 3 unchanged; 0 B sent in 0.0 s\n")
            || again.stdout.contains("0 copied, 3 unchanged"),
        "{again:?}"
    );
    let digests = std::fs::read_to_string(tranship.home().join("digests")).unwrap();
    let digest = source.endpoint().digest("acme/app", "1.1").await.unwrap();
    let expected = format!("{digest} docker://{}/app:1.1", ours.host());
    assert!(digests.lines().any(|line| line == expected), "{digests}");
    assert_eq!(digests.lines().count(), 3);
}

/// skopeo itself can only write this to a folder, where a registry's port stays a port.
#[tokio::test]
async fn scoped_names_have_all_of_the_source() {
    let source = source().await;
    let target = DockerRegistry::start().await;
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let from = source.host();
    let line = format!(
        "sync --scoped --src docker --dest docker {INSECURE} docker://{from}/acme/app docker://{}/m",
        target.host()
    );
    let dry = succeed(&tranship, &format!("{line} --dry-run")).await;
    assert!(dry.stdout.contains("3 to copy"), "{dry:?}");
    assert_eq!(content(&target).await, BTreeMap::new());
    succeed(&tranship, &line).await;
    let folder = tranship.home().join("theirs/m");
    std::fs::create_dir_all(&folder).unwrap();
    let line = format!(
        "sync --all --preserve-digests --scoped --src docker --dest dir --src-tls-verify=false {from}/acme/app {}",
        folder.display()
    );
    skopeo.run(&line).await;
    let mut theirs: Vec<String> = Vec::new();
    let app = folder.join(format!("{from}/acme"));
    for entry in std::fs::read_dir(app).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        theirs.push(format!("m/{}/acme/{name}", from.replace(':', "-")));
    }
    theirs.sort();
    let ours = content(&target).await;
    let ours: Vec<String> = ours
        .iter()
        .flat_map(|(repository, tags)| tags.iter().map(move |tag| format!("{repository}:{tag}")))
        .collect();
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn a_file_of_skopeo_is_read_as_skopeo_reads_it() {
    let source = source().await;
    let private = DockerRegistry::new().htpasswd("john", "this is a secret").run().await;
    Image::single(Family::Oci, "own", &[10]).push(&private, "own", "1").await;
    let (ours, theirs) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let digest = source.endpoint().digest("acme/app", "1.1").await.unwrap();
    let file = tranship.write(
        "sync.yml",
        format!(
            "{}:
    tls-verify: false
    images:
        acme/app:
            - 1.0
            - \"{digest}\"
    images-by-semver:
        acme/team/tool: \">= 3.12.0\"
{}:
    images:
        own: []
    credentials:
        username: john
        password: this is a secret
    tls-verify: false
",
            source.host(),
            private.host()
        ),
    );
    let line = |target: &DockerRegistry, options: &str| {
        let (file, to) = (file.display(), target.host());
        format!("sync {options} --src yaml --dest docker --dest-tls-verify=false {file} {to}/m")
    };
    let told = succeed(&tranship, &line(&ours, "-vv")).await;
    assert!(!told.stderr.contains("this is a secret"), "{told:?}");
    skopeo.run(&line(&theirs, "--all --preserve-digests")).await;
    let mut copied = content(&ours).await;
    // skopeo 1.9 does not know such a list yet.
    assert_eq!(copied.remove("m/tool"), Some(vec!["3.12.1".to_owned()]));
    assert_eq!(copied, content(&theirs).await);
    assert!(ours.endpoint().manifest("m/app", &digest).await.is_some());

    let regex = format!(
        "{}: {{images-by-tag-regex: {{acme/app: '1\\.'}}, tls-verify: false}}",
        source.host()
    );
    tranship.write("sync.yml", regex);
    let (ours, theirs) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    succeed(&tranship, &line(&ours, "--append-suffix=-mirror")).await;
    skopeo.run(&line(&theirs, "--all --preserve-digests")).await;
    assert_eq!(content(&theirs).await["m/app"], ["1.0", "1.1"]);
    assert_eq!(content(&ours).await["m/app"], ["1.0-mirror", "1.1-mirror"]);
}

#[tokio::test]
async fn images_travel_by_disk_as_layouts() {
    let source = source().await;
    let target = DockerRegistry::start().await;
    let tranship = Tranship::new();
    let from = source.host();
    for repository in ["acme/app", "acme/team/tool"] {
        let line = format!(
            "sync --src docker --dest oci --scoped --src-tls-verify=false {from}/{repository} usb"
        );
        succeed(&tranship, &line).await;
    }
    assert!(Path::new(&tranship.home().join("usb")).is_dir());
    let line =
        format!("sync --src oci --dest docker --dest-tls-verify=false usb {}", target.host());
    succeed(&tranship, &line).await;
    let expected = [("app", &["1.0", "1.1", "latest"][..]), ("tool", &["3.11.0", "3.12.1"])];
    let expected = expected
        .map(|(name, tags)| (name.to_owned(), tags.iter().map(ToString::to_string).collect()));
    assert_eq!(content(&target).await, BTreeMap::from(expected));
    assert_same_at((&source, "acme/app", "latest"), (&target, "app", "latest")).await;
}

#[tokio::test]
async fn an_image_that_fails_stops_no_other() {
    let source = source().await;
    let target = DockerRegistry::start().await;
    let tranship = Tranship::new();
    let file = format!(
        "{}: {{tls-verify: false, images: {{acme/app: ['none', '1.0'], acme/missing: []}}}}",
        source.host()
    );
    tranship.write("sync.yml", file);
    let line = format!(
        "sync --keep-going --src yaml --dest docker --dest-tls-verify=false sync.yml {}",
        target.host()
    );
    let failed = tranship.run(line.split_whitespace()).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.stderr.contains("acme/app:none") && failed.stderr.contains("acme/missing"),
        "{failed:?}"
    );
    assert_eq!(
        content(&target).await,
        BTreeMap::from([("app".to_owned(), vec!["1.0".to_owned()])])
    );
    let json = tranship.run(format!("{line} --output json").split_whitespace()).await;
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["success"], false, "{document}");
    assert_eq!(document["counts"]["unchanged"], 1, "{document}");
    assert_eq!(document["failures"].as_array().unwrap().len(), 1, "{document}");
}

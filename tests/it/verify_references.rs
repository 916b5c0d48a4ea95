//! `tranship verify SOURCE TARGET`: registries, layouts and archives on either side.

use crate::support::witness::Skopeo;
use crate::support::{Family, Image, LayoutRegistry, Place, Tranship};
use crate::verify_finds::{SIGNATURE, Verified};

struct Home {
    tranship: Tranship,
    registry: LayoutRegistry,
    image: Image,
}

impl Home {
    /// A registry with `app:v1`, a signed index, and `app:v2`; and a layout with the first.
    async fn new() -> Self {
        let registry = LayoutRegistry::start().await;
        let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
        image.push(&registry, "app", "v1").await;
        Image::single(Family::Docker, "other", &[700]).push(&registry, "app", "v2").await;
        Self { tranship: Tranship::new(), registry, image }
    }

    fn path(&self, name: &str) -> String {
        self.tranship.home().join(name).display().to_string()
    }

    async fn skopeo(&self, tag: &str, target: &str) {
        let source = format!("docker://{}", self.registry.reference("app", tag));
        Skopeo::new().copy(&source, target).await;
    }

    async fn verify(&self, arguments: &[&str], code: i32) -> Verified {
        let all = [&["verify", "--insecure", "http", "--output", "json"], arguments].concat();
        Verified::of(self.tranship.run(all).await, code)
    }
}

#[tokio::test]
async fn a_layout_and_an_archive_that_skopeo_wrote() {
    let home = Home::new().await;
    let source = home.registry.reference("app", "v1");
    let (layout, archive) = (home.path("layout"), home.path("app.tar"));
    home.skopeo("v1", &format!("oci:{layout}:x")).await;
    home.skopeo("v1", &format!("oci-archive:{archive}:x")).await;
    home.skopeo("v1", &format!("oci:{}", home.path("untagged"))).await;
    let layout = format!("oci:{layout}");
    for (from, to) in [
        (source.as_str(), format!("{layout}:x")),
        (&source, format!("oci-archive:{archive}:x")),
        (&layout, format!("oci-archive:{archive}")),
        (&source, format!("oci:{}", home.path("untagged"))),
    ] {
        let verified = home.verify(&["--read", from, &to], 0).await;
        assert_eq!(verified.0["images"][0]["expected_digest"], home.image.digest.as_str());
        assert_eq!(verified.0["images"][0]["manifests"], 3);
        assert!(verified.0["checked"]["bytes_read"].as_u64().unwrap() > 4_000, "{to}");
    }
    // Without a tag of its own, it should have the source's.
    home.verify(&[&source, &layout], 1).await.assert_problem(":v1", "image_missing", ":v1");
    // And back: the registry has what the archive has.
    home.verify(&[&format!("oci-archive:{archive}:x"), &source], 0).await;
    let digest = format!("{}/app@{}", home.registry.host(), home.image.digest);
    home.verify(&[&digest, &digest], 0).await;
}

#[tokio::test]
async fn damage_in_a_layout_is_found_and_healed() {
    let home = Home::new().await;
    let source = home.registry.reference("app", "v1");
    home.skopeo("v1", &format!("oci:{}:x", home.path("layout"))).await;
    let target = format!("oci:{}:x", home.path("layout"));
    let layer = &home.image.children[1].blobs[1].digest;
    let file = format!("{}/blobs/{}", home.path("layout"), layer.replace(':', "/"));
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![0; bytes.len()]).unwrap();
    home.verify(&[&source, &target], 0).await;
    home.verify(&["--read", &source, &target], 1).await.assert_problem("x", "blob_bytes", layer);
    std::fs::remove_file(&file).unwrap();
    home.verify(&[&source, &target], 1).await.assert_problem("x", "blob_missing", layer);
    let verified = home.verify(&["--repair", &source, &target], 0).await;
    assert_eq!(verified.0["counts"]["repaired"], 1);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn all_tags_of_a_repository() {
    let home = Home::new().await;
    let signed = home.image.clone().refer("signature", SIGNATURE).cosign();
    signed.push(&home.registry, "app", "v1").await;
    let source = format!("{}/app", home.registry.host());
    let target = format!("{}/copy", home.registry.host());
    let verified = home.verify(&["--all-tags", &source, &target], 1).await;
    // Derived tags are no images of their own.
    assert_eq!(verified.0["counts"]["different"], 2);
    let verified = home.verify(&["--all-tags", "--repair", &source, &target], 0).await;
    assert_eq!(verified.0["counts"]["repaired"], 2);
    let verified = home.verify(&["--all-tags", &source, &target], 0).await;
    assert_eq!(verified.image("/copy:v1")["referrers"], 4);
    signed.children[0].push(&home.registry, "bare", "v1").await;
    let [from, to] = ["app", "bare"].map(|name| format!("{}/{name}:v1", home.registry.host()));
    let found = home.verify(&["--platform", "linux/amd64", "--no-referrers", &from, &to], 1).await;
    assert_eq!(found.problems("/bare:v1")[0].0, "image_differs");
}

#[tokio::test]
async fn usage_that_makes_no_sense() {
    let home = Home::new().await;
    let source = home.registry.reference("app", "v1");
    home.skopeo("v1", &format!("oci-archive:{}:x", home.path("app.tar"))).await;
    let archive = format!("oci-archive:{}:x", home.path("app.tar"));
    let repository = format!("{}/app", home.registry.host());
    for (arguments, words) in [
        (vec![source.as_str()], "<TARGET>"),
        (vec!["--rule", "r", &source, &source], "cannot be used with"),
        (vec!["--all-tags", &source, &repository], "without tag and digest"),
        (vec!["--repair", &source, &archive], "an archive cannot be repaired"),
        (vec!["docker-daemon:app", &source], "docker-daemon:"),
        (vec!["--read", "--all-tags"], "<SOURCE>"),
    ] {
        let all = [vec!["verify"], arguments].concat();
        let finished = home.tranship.run(&all).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{all:?}");
        assert!(finished.stderr.contains(words), "{all:?}: {finished:?}");
    }
    let nothing = format!("oci:{}", home.path("nothing"));
    let finished = home.tranship.run(["verify", &source, &nothing]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

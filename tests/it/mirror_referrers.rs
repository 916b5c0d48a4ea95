//! Signatures, SBOMs and attestations follow their images, however either side lists them.

use serde_json::Value;

use crate::mirror_setup::Mirror;
use crate::support::{
    DockerRegistry, Family, Fault, Image, Kind, LayoutRegistry, Place, Scripted, assert_same,
};

const SBOM: &str = "application/spdx+json";
const SIGNATURE: &str = "application/vnd.example.signature";

fn mirror(source: &impl Place, target: &impl Place, more: &str) -> Mirror {
    Mirror::new().http(source).http(target).rule(
        "r",
        &format!("source = \"{}/app\"\ntarget = \"{}/app\"\n{more}", source.host(), target.host()),
    )
}

/// An image with two referrers, one of which has a referrer itself, cosign's tags, and a child
/// that is signed.
fn signed() -> Image {
    let mut image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    let child = image.children.remove(0);
    image.children.insert(0, child.refer("child", SIGNATURE));
    image.refer("signature", SIGNATURE).refer_twice("sbom").cosign()
}

/// The digests that a registry lists as referrers of one, by the API or the fallback tag; sorted.
async fn listed(place: &impl Place, image: &Image) -> Vec<String> {
    let endpoint = place.endpoint();
    let path = format!("/v2/app/referrers/{}", image.digest);
    let response = endpoint.request(reqwest::Method::GET, "app", &path).send().await.unwrap();
    let bytes = if response.status() == 200 {
        response.bytes().await.unwrap()
    } else {
        match endpoint.manifest("app", &image.derived_tag("")).await {
            Some(served) => served.bytes,
            None => return Vec::new(),
        }
    };
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    let list = index["manifests"].as_array().unwrap();
    let mut digests: Vec<String> =
        list.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
    digests.sort();
    digests
}

fn digests(images: &[Image]) -> Vec<String> {
    let mut digests: Vec<String> = images.iter().map(|image| image.digest.clone()).collect();
    digests.sort();
    digests
}

/// Panics unless everything that belongs to the image is at the target, whole and listed.
async fn assert_followed(source: &impl Place, target: &impl Place, image: &Image) {
    assert_same(source, target, "app", "v1").await;
    assert_eq!(listed(target, image).await, digests(&image.referrers));
    assert_eq!(listed(target, &image.children[0]).await, digests(&image.children[0].referrers));
    for referrer in image.referrers.iter().chain(&image.children[0].referrers) {
        assert_same(source, target, "app", &referrer.digest).await;
        assert_eq!(listed(target, referrer).await, digests(&referrer.referrers));
        for second in &referrer.referrers {
            assert_same(source, target, "app", &second.digest).await;
        }
    }
    for (suffix, _) in &image.attached {
        assert_same(source, target, "app", &image.derived_tag(suffix)).await;
    }
}

async fn follow(source: &impl Place, target: &impl Place) {
    let image = signed();
    image.push(source, "app", "v1").await;
    let mirror = mirror(source, target, "");
    // The derived tags are no images of their own.
    mirror.sync().await.assert_copied(1, 0);
    assert_followed(source, target, &image).await;
    mirror.sync().await.assert_copied(0, 1);
    std::fs::remove_dir_all(mirror.state()).unwrap();
    mirror.sync().await.assert_copied(0, 1);
}

#[tokio::test]
async fn from_fallback_tags_to_fallback_tags() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    follow(&source, &target).await;
}

#[tokio::test]
async fn from_fallback_tags_to_the_api() {
    let (source, target) = tokio::join!(DockerRegistry::start(), LayoutRegistry::start());
    follow(&source, &target).await;
    // The API lists them: the tags of those who lack it have no place here.
    let fallback = signed().derived_tag("");
    assert!(!target.endpoint().tags("app").await.contains(&fallback));
}

#[tokio::test]
async fn from_the_api_to_fallback_tags() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), DockerRegistry::start());
    follow(&source, &target).await;
}

#[tokio::test]
async fn from_the_api_to_the_api() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), LayoutRegistry::start());
    follow(&source, &target).await;
}

#[tokio::test]
async fn a_fallback_tag_at_the_target_is_merged_not_overwritten() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), DockerRegistry::start());
    let image = Image::single(Family::Oci, "app", &[400]);
    let theirs = image.clone().refer("theirs", SIGNATURE);
    theirs.push(&target, "app", "v1").await;
    let ours = image.refer("ours", SBOM);
    ours.push(&source, "app", "v1").await;
    mirror(&source, &target, "").sync().await.assert_copied(1, 0);
    let both = digests(&[theirs.referrers[0].clone(), ours.referrers[0].clone()]);
    assert_eq!(listed(&target, &ours).await, both);
    assert_same(&source, &target, "app", &ours.referrers[0].digest).await;
}

#[tokio::test]
async fn a_referrer_added_later_is_noticed_though_the_image_is_unchanged() {
    let source = DockerRegistry::start().await;
    let with_api = LayoutRegistry::start().await;
    let image = Image::platforms(Family::Docker, "app", &["amd64", "arm64"]);
    for (source, target) in [
        (source.endpoint(), DockerRegistry::start().await),
        (with_api.endpoint(), DockerRegistry::start().await),
    ] {
        image.push(source, "app", "v1").await;
        let mirror = mirror(source, &target, "");
        mirror.sync().await.assert_copied(1, 0);
        mirror.sync().await.assert_copied(0, 1);
        let mut later = image.clone();
        later.children[1] = later.children[1].clone().refer("later", SIGNATURE);
        let later = later.refer("sbom", SBOM);
        later.push(source, "app", "v1").await;
        let report = mirror.sync().await;
        report.assert_copied(1, 0);
        assert_eq!(report.image(":v1")["reason"], "its referrers have changed");
        assert_eq!(listed(&target, &later).await, digests(&later.referrers));
        let child = &later.children[1];
        assert_eq!(listed(&target, child).await, digests(&child.referrers));
        mirror.sync().await.assert_copied(0, 1);
        // The same for cosign's tags.
        later.clone().cosign().push(source, "app", "v1").await;
        mirror.sync().await.assert_copied(1, 0);
        assert_same(source, &target, "app", &later.derived_tag(".sig")).await;
        mirror.sync().await.assert_copied(0, 1);
    }
}

#[tokio::test]
async fn without_referrers_images_go_alone() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = signed();
    image.push(&source, "app", "v1").await;
    let alone = mirror(&source, &target, "referrers = false");
    alone.sync().await.assert_copied(1, 0);
    assert_eq!(target.endpoint().tags("app").await, ["v1"]);
    assert!(listed(&target, &image).await.is_empty());
    assert_eq!(target.endpoint().manifest("app", &image.referrers[0].digest).await, None);
    alone.sync().await.assert_copied(0, 1);
}

#[tokio::test]
async fn derived_tags_are_never_selected() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = Image::single(Family::Oci, "app", &[400]).refer("a", SBOM).cosign();
    image.push(&source, "app", "v1").await;
    for (at, include) in ["*", "sha256-*", "/.*/", "*.sig"].iter().enumerate() {
        let name = format!("r{at}");
        let rule = format!(
            "source = \"{}/app\"\ntarget = \"{}/r{at}\"\nreferrers = false\ntags = {{ include = ['{include}'] }}",
            source.host(),
            target.host()
        );
        Mirror::new().http(&source).http(&target).rule(&name, &rule).sync().await;
        let expected: &[&str] = if at % 2 == 0 { &["v1"] } else { &[] };
        assert_eq!(target.endpoint().tags(&name).await, expected, "{include}");
    }
}

#[tokio::test]
async fn a_platform_filter_leaves_referrers_of_what_it_keeps() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = signed();
    image.push(&source, "app", "v1").await;
    let mirror = mirror(&source, &target, "platforms = [\"linux/amd64\"]");
    let report = mirror.sync().await;
    report.assert_copied(1, 0);
    let child = &image.children[0];
    assert_eq!(listed(&target, child).await, digests(&child.referrers));
    assert_same(&source, &target, "app", &child.referrers[0].digest).await;
    // What refers to the whole index has nothing to refer to.
    assert_eq!(target.endpoint().manifest("app", &image.digest).await, None);
    assert!(listed(&target, &image).await.is_empty());
    mirror.sync().await.assert_copied(0, 1);
}

/// Tags may be immutable: the list of referrers is put once, and if the target does not take it, the
/// image is there all the same.
#[tokio::test]
async fn the_list_of_referrers_is_put_once() {
    let image = Image::single(Family::Oci, "app", &[1_000]);
    let image = ["sbom", "signature", "scan"]
        .into_iter()
        .fold(image, |image, name| image.refer(name, &format!("application/vnd.{name}")));
    for takes_lists in [true, false] {
        let (source, target) = (DockerRegistry::start().await, Scripted::start());
        image.push(&source, "app", "v1").await;
        target.quirks(|quirks| quirks.referrers_api = false);
        let list = image.derived_tag("");
        let immutable = Fault::status(409).error("TAG_IMMUTABLE", "the tag is immutable");
        let puts = target.on("PUT", Kind::Manifest).containing(&list);
        puts.after(usize::from(takes_lists)).fail(immutable);
        let mirror = mirror(&source, &target, "");
        if takes_lists {
            mirror.sync().await.assert_copied(1, 0);
            assert_eq!(listed(&target, &image).await.len(), 3);
        } else {
            let words = mirror.fail().await.words();
            assert!(words.contains("immutable"), "{words}");
        }
        let traffic = target.traffic();
        let put = traffic.of("PUT", Kind::Manifest).filter(|seen| seen.path.ends_with(&list));
        assert_eq!(put.count(), 1, "{traffic}");
        assert_eq!(target.tag("app", "v1").as_ref(), Some(&image.digest));
    }
}

/// GitLab serves the image itself under the tag for the list of its referrers.
#[tokio::test]
async fn the_subject_under_the_tag_of_its_list_is_no_list() {
    let index = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    let index = index.refer("signature", "application/vnd.signature");
    let (source, target) = (DockerRegistry::start().await, Scripted::start());
    index.push(&source, "app", "v1").await;
    target.quirks(|quirks| quirks.referrers_api = false);
    let list = index.derived_tag("");
    let itself = Fault::status(200)
        .header("content-type", &index.media_type)
        .header("docker-content-digest", &index.digest)
        .body(index.bytes.clone());
    target.on("GET", Kind::Manifest).containing(&list).once().fail(itself);
    mirror(&source, &target, "").sync().await.assert_copied(1, 0);
    assert_eq!(listed(&target, &index).await, [index.referrers[0].digest.clone()]);
}

/// Of an index whose children nothing refers to, only the index itself is asked about for a while.
#[tokio::test]
async fn children_without_referrers_are_asked_about_again_only_to_recheck() {
    let (source, target) = tokio::join!(LayoutRegistry::start(), DockerRegistry::start());
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64", "s390x"]);
    image.push(&source, "app", "v1").await;
    let mirror = mirror(&source, &target, "");
    mirror.sync().await.assert_copied(1, 0);
    for (arguments, asked) in [(&[][..], 1), (&[], 1), (&["--recheck"], 4), (&[], 1)] {
        let before = source.mark();
        mirror.report(arguments, 0).await.assert_copied(0, 1);
        let traffic = source.requests_since(before);
        assert_eq!(traffic.count("GET", Kind::Referrers), asked, "{arguments:?} {traffic}");
    }
    // A signature of the index is noticed at once, one of a child when it is asked about again.
    let signed = image.refer("signature", SIGNATURE);
    signed.push(&source, "app", "v1").await;
    mirror.sync().await.assert_copied(1, 0);
    assert_eq!(listed(&target, &signed).await, digests(&signed.referrers));
    let mut signed = signed;
    let child = signed.children.remove(0).refer("child", SIGNATURE);
    signed.children.insert(0, child);
    signed.push(&source, "app", "v1").await;
    mirror.sync().await.assert_copied(0, 1);
    mirror.report(&["--recheck"], 0).await.assert_copied(1, 0);
    assert_eq!(listed(&target, &signed.children[0]).await, digests(&signed.children[0].referrers));
    // What has referrers is asked about in every run.
    let before = source.mark();
    mirror.sync().await.assert_copied(0, 1);
    let traffic = source.requests_since(before);
    assert!(traffic.count("GET", Kind::Referrers) > 4, "{traffic}");
}

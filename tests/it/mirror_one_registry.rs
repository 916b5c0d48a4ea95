//! Source and target in the same registry: blobs are mounted, nothing is downloaded.

use crate::mirror_setup::Mirror;
use crate::support::{
    DockerRegistry, Family, Image, Kind, LayoutRegistry, Mount, Place, Scripted, Traffic,
    assert_same_at,
};

fn rule(place: &impl Place, target: &str) -> String {
    format!("source = \"{0}/from/app\"\ntarget = \"{0}/{target}\"", place.host())
}

fn assert_mounted(asked: &Traffic, image: &Image) {
    assert_eq!(asked.count("GET", Kind::Blob), 0, "{asked}");
    assert_eq!(asked.count("PUT", Kind::Upload), 0, "{asked}");
    assert_eq!(asked.count_status("POST", Kind::Upload, 201), image.all_blobs().len(), "{asked}");
    assert_eq!(asked.count("POST", Kind::Upload), image.all_blobs().len(), "{asked}");
}

#[tokio::test]
async fn blobs_are_mounted_from_the_source_repository() {
    let (docker, layouts) = tokio::join!(DockerRegistry::start(), LayoutRegistry::start());
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    image.push(&docker, "from/app", "v1").await;
    image.push(&layouts, "from/app", "v1").await;
    let (at_docker, at_layouts) = (docker.mark().await, layouts.mark());
    let mirror = Mirror::new()
        .http(&docker)
        .http(&layouts)
        .rule("docker", &rule(&docker, "to/app"))
        .rule("layouts", &rule(&layouts, "to/app"));
    let report = mirror.sync().await;
    report.assert_copied(2, 0);
    for copied in report.images() {
        assert_eq!(copied["blobs_mounted"], image.all_blobs().len(), "{copied:#}");
        assert_eq!(copied["bytes"], 0);
    }
    assert_mounted(&docker.requests_since(at_docker).await, &image);
    assert_mounted(&layouts.requests_since(at_layouts), &image);
    assert_same_at((&docker, "from/app", "v1"), (&docker, "to/app", "v1")).await;
    assert_same_at((&layouts, "from/app", "v1"), (&layouts, "to/app", "v1")).await;
}

#[tokio::test]
async fn where_the_registry_does_not_mount_what_is_there_is_not_sent_again() {
    for mount in [Mount::Opens, Mount::Refused(405)] {
        let registry = Scripted::start();
        registry.quirks(|quirks| quirks.mount = mount);
        let image = Image::single(Family::Oci, "app", &[1_000, 2_000]);
        image.load(&registry, "from/app", "v1");
        let mirror = Mirror::new().http(&registry).rule("r", &rule(&registry, "to/app"));
        mirror.sync().await.assert_copied(1, 0);
        assert_same_at((&registry, "from/app", "v1"), (&registry, "to/app", "v1")).await;
        assert_eq!(registry.open_uploads(), 0);

        // Another tag with the same blobs and one new one, and nothing remembered.
        std::fs::remove_dir_all(mirror.state()).unwrap();
        let more = Image::single(Family::Oci, "app", &[1_000, 2_000, 3_000]);
        more.load(&registry, "from/app", "v2");
        let mark = registry.mark();
        mirror.sync().await.assert_copied(1, 1);
        let asked = registry.requests_since(mark);
        assert_eq!(asked.count_status("PUT", Kind::Upload, 201), 1, "{mount:?}\n{asked}");
        assert_same_at((&registry, "from/app", "v2"), (&registry, "to/app", "v2")).await;
        assert_eq!(registry.open_uploads(), 0);
    }
}

#[tokio::test]
async fn one_request_at_a_time_is_enough() {
    let settings = "insecure = \"http\"\nparallel = 1";
    let (registry, other) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let third = Scripted::start();
    third.quirks(|quirks| quirks.mount = Mount::Refused(405));
    for at in 0..4 {
        // Larger than what is buffered on the way, so that each upload waits for its download.
        let image = Image::single(Family::Oci, &format!("app{at}"), &[700_000, 500_000, 9]);
        image.push(&registry, "from/app", &format!("v{at}")).await;
        image.load(&third, "from/app", &format!("v{at}"));
    }
    let several = format!(
        "source = \"{}/from/app\"\ntarget = [\"{}/a\", \"{}/b\", \"{}/c\"]",
        registry.host(),
        other.host(),
        third.host(),
        registry.host(),
    );
    let mirror = Mirror::new()
        .registry(&registry, settings)
        .registry(&other, settings)
        .registry(&third, settings)
        .rule("same", &rule(&registry, "to/app"))
        .rule("unmounted", &rule(&third, "to/app"))
        .rule("several", &several);
    mirror.sync().await.assert_copied(4 * 5, 0);
    for at in 0..4 {
        let tag = format!("v{at}");
        let from = (&registry, "from/app", tag.as_str());
        assert_same_at(from, (&registry, "to/app", &tag)).await;
        assert_same_at(from, (&registry, "c", &tag)).await;
        assert_same_at(from, (&other, "a", &tag)).await;
        assert_same_at(from, (&third, "b", &tag)).await;
        assert_same_at(from, (&third, "to/app", &tag)).await;
    }
}

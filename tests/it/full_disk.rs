//! docker-registry whose disk is full. It leaves empty files behind where links and manifests should
//! be, and may take those for the real ones for ever: whatever it says then, an image is whole or
//! reported.

use http::Method;
use tranship::oci::media_type;

use crate::support::bench::{IDLE, registry, rule};
use crate::support::process::Finished;
use crate::support::{DockerRegistry, Family, Image, Place, Scripted, Tranship, assert_same_at};

/// What tranship says of a manifest that the registry accepts and cannot serve.
const DAMAGED: &str = "its storage is probably damaged";

/// Three small images, and a docker-registry that has little room for them.
struct Tight {
    source: Scripted,
    target: DockerRegistry,
    images: Vec<(&'static str, Image)>,
    tranship: Tranship,
}

impl Tight {
    /// `None` where nothing can be mounted.
    async fn start(storage: &str) -> Option<Self> {
        let target = DockerRegistry::new().storage_limit(storage).run_if_possible().await?;
        Some(Self::mirroring_to(target))
    }

    fn mirroring_to(target: DockerRegistry) -> Self {
        let source = Scripted::start();
        let images = [("a", 3_000), ("b", 5_000), ("c", 9_000)];
        let images = images.map(|(tag, size)| (tag, Image::single(Family::Oci, tag, &[size])));
        for (tag, image) in &images {
            image.load(&source, "acme/app", tag);
        }
        let tight = Self { source, target, images: images.into(), tranship: Tranship::new() };
        tight.configure("referrers = false");
        tight
    }

    fn configure(&self, lines: &str) {
        let app = format!("{}/acme/app", self.source.host());
        let goal = format!("{}/mirror/app", self.target.host());
        let config = [
            registry(&self.source, IDLE, ""),
            registry(&self.target, IDLE, ""),
            rule("full", &app, &goal, lines),
        ];
        self.tranship.write("tranship.toml", config.concat());
    }

    /// Runs the rule: what is not reported is whole. Gives the tags that are reported.
    async fn sync(&self) -> (Vec<&'static str>, Finished) {
        let finished = self.tranship.run(["sync"]).await;
        let mut reported = Vec::new();
        for (tag, _) in &self.images {
            if finished.stderr.contains(&format!("acme/app:{tag} -> ")) {
                reported.push(*tag);
            } else {
                self.assert_whole(tag).await;
            }
        }
        assert_eq!(finished.code, Some(i32::from(!reported.is_empty())), "{finished:?}");
        (reported, finished)
    }

    async fn assert_whole(&self, tag: &str) {
        let (source, target) = (&self.source, &self.target);
        assert_same_at((source, "acme/app", tag), (target, "mirror/app", tag)).await;
    }

    async fn is_served(&self, tag: &str) -> bool {
        let path = format!("/v2/mirror/app/manifests/{tag}");
        let asked = self.target.endpoint().request(Method::GET, "mirror/app", &path);
        let answer = asked.header("accept", media_type::ACCEPT).send().await.unwrap();
        answer.status() == 200
    }

    /// distribution 2.8 keeps the bytes of broken uploads, and lets nobody cancel those; purging them
    /// is what its operators do.
    fn purge_uploads(&self) {
        let uploads = "docker/registry/v2/repositories/mirror/app/_uploads";
        let _ = std::fs::remove_dir_all(self.target.storage().join(uploads));
    }

    /// There is room again: everything arrives, once what was damaged has been mended.
    async fn assert_all_arrive(&mut self) {
        let (damaged, second) = self.sync().await;
        if !damaged.is_empty() {
            assert!(second.stderr.contains(DAMAGED), "{second:?}");
            self.mend(&damaged).await;
        }
        let (rest, last) = self.sync().await;
        assert!(rest.is_empty(), "{second:?}\n{last:?}");
    }

    /// Does with damaged images what their errors say. The garbage collection fails as long as one
    /// of them is there.
    async fn mend(&mut self, damaged: &[&str]) {
        for (_, image) in self.images.iter().filter(|(name, _)| damaged.contains(name)) {
            self.target.endpoint().delete("mirror/app", &image.digest).await;
        }
        self.target.collect_garbage().await;
    }
}

/// Where exactly it runs out of space decides what is damaged: each place that there is.
#[tokio::test]
async fn whatever_a_full_disk_damaged_is_reported_and_arrives_afterwards() {
    for left in [0, 36, 60, 68, 72, 76, 88, 100, 112] {
        let Some(mut tight) = Tight::start("2m").await else { return };
        let fill = tight.target.storage().join("fill");
        std::fs::write(&fill, vec![1; (2048 - left) << 10]).unwrap();
        let (reported, first) = tight.sync().await;
        assert!(left > 60 || !reported.is_empty(), "{first:?}");
        std::fs::remove_file(&fill).unwrap();
        tight.purge_uploads();
        eprintln!("{left} KiB were left: {first:?}");
        tight.assert_all_arrive().await;
    }
}

/// What is too large for the disk does not keep the others away, and has the registry's words.
#[tokio::test]
async fn what_fits_arrives() {
    let Some(mut tight) = Tight::start("6m").await else { return };
    let huge = Image::single(Family::Oci, "huge", &[12 << 20]);
    huge.load(&tight.source, "acme/app", "huge");
    tight.images.push(("huge", huge));
    let (reported, finished) = tight.sync().await;
    assert!(reported.contains(&"huge"), "{finished:?}");
    assert!(finished.stderr.contains("500 Internal Server Error"), "{finished:?}");
    // Which of its requests is the first to be refused is chance.
    let named =
        ["upload blob", "start upload of"].iter().any(|step| finished.stderr.contains(step));
    assert!(named, "{finished:?}");
    assert!(!tight.target.endpoint().tags("mirror/app").await.contains(&"huge".to_owned()));
    tight.purge_uploads();
    tight.configure("referrers = false\ntags = { exclude = [\"huge\"] }");
    tight.images.pop();
    tight.assert_all_arrive().await;
}

/// The two files that a full disk empties, emptied by hand.
#[tokio::test]
async fn empty_files_in_the_storage_are_mended_or_reported() {
    let mut tight = Tight::mirroring_to(DockerRegistry::start().await);
    assert!(tight.sync().await.0.is_empty());
    let tags = "docker/registry/v2/repositories/mirror/app/_manifests/tags";
    let tags = tight.target.storage().join(tags);
    std::fs::write(tags.join("a/current/link"), "").unwrap();
    std::fs::remove_dir_all(tags.join("b")).unwrap();
    std::fs::write(tight.target.blob_file(&tight.images[1].1.digest), "").unwrap();
    assert!(!tight.is_served("a").await && !tight.is_served("b").await);
    // The state would vouch for both.
    tight.tranship = Tranship::new();
    tight.configure("referrers = false");
    let finished = tight.tranship.run(["sync"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    tight.assert_whole("a").await;
    tight.assert_whole("c").await;
    assert!(finished.stderr.contains("acme/app:b -> "), "{finished:?}");
    assert!(finished.stderr.contains(DAMAGED), "{finished:?}");
}

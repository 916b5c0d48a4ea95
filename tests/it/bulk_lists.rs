//! Lists of tags that have digests, as some products send them: they save look-ups of tags for which
//! nothing is to be done, and nothing more follows from them.

use serde_json::json;

use crate::mirror_setup::{Mirror, Report};
use crate::support::process::Running;
use crate::support::{Family, Fault, Image, Kind, Place, Scripted, Tranship};

const TAGS: usize = 250;

/// A source that lists 250 tags of one image with their digests, as GitLab does, and a plain target.
struct Bulk {
    source: Scripted,
    target: Scripted,
    mirror: Mirror,
}

fn image() -> Image {
    Image::single(Family::Oci, "app", &[1000])
}

fn tag(number: usize) -> String {
    format!("v{number:04}")
}

impl Bulk {
    fn start(product: &str) -> Self {
        let (source, target) = (Scripted::start(), Scripted::start());
        source.quirks(|quirks| quirks.referrers_api = false);
        for number in 0..TAGS {
            image().load(&source, "acme/app", &tag(number));
        }
        let mirror = Mirror::new()
            .registry(&source, &format!("insecure = \"http\"\nproduct = \"{product}\""))
            .registry(&target, "insecure = \"http\"\nproduct = \"standard\"")
            .rule(
                "r",
                &format!(
                    "source = \"{}/acme/app\"\ntarget = \"{}/app\"",
                    source.host(),
                    target.host()
                ),
            );
        Self { source, target, mirror }
    }

    /// What GitLab's list has from now on: these tags, two pages of them.
    fn lists(&self, digest_of: impl Fn(usize) -> String) {
        self.source.clear_rules();
        let page = |numbers: std::ops::Range<usize>| {
            let entry = |n| json!({ "name": tag(n), "digest": digest_of(n), "size_bytes": 1 });
            let page: Vec<_> = numbers.map(entry).collect();
            Fault::status(200).body(serde_json::to_string(&page).unwrap())
        };
        let path = "/gitlab/v1/repositories/acme/app/tags/list/";
        let next = format!("<http://elsewhere.example{path}?n=1000&last=v0100>; rel=\"next\"");
        let behind = self.source.on("GET", Kind::Tags).containing("last=v0100");
        behind.fail(page(101..TAGS));
        let first = self.source.on("GET", Kind::Tags).containing(path);
        first.fail(page(0..101).header("link", &next));
    }

    /// Requests of a run: lists of GitLab, plain lists, and look-ups of tags at the source; all writes.
    async fn cost(&self, arguments: &[&str]) -> [usize; 4] {
        let (at_source, at_target) = (self.source.mark(), self.target.mark());
        self.mirror.report(arguments, 0).await;
        let asked = self.source.requests_since(at_source);
        let lists = |own: bool| {
            let lists = asked.of("GET", Kind::Tags);
            lists.filter(|seen| seen.path.contains("/gitlab/v1/") == own).count()
        };
        [
            lists(true),
            lists(false),
            asked.count("HEAD", Kind::Manifest),
            self.target.requests_since(at_target).writes(),
        ]
    }
}

#[tokio::test]
async fn tags_that_are_in_step_by_the_list_are_not_looked_up() {
    let bulk = Bulk::start("gitlab");
    bulk.lists(|_| image().digest);
    bulk.mirror.sync().await.assert_copied(TAGS as u64, 0);
    assert_eq!(bulk.cost(&[]).await, [2, 0, 0, 0]);
    // Whoever wants certainty gets it.
    assert_eq!(bulk.cost(&["--recheck"]).await, [0, 1, TAGS, 0]);
}

#[tokio::test]
async fn what_the_list_says_to_have_moved_is_looked_up_before_it_is_copied() {
    let bulk = Bulk::start("gitlab");
    bulk.lists(|_| image().digest);
    bulk.mirror.sync().await.assert_copied(TAGS as u64, 0);
    let moved = Image::single(Family::Oci, "moved", &[2000]);
    // The list is ahead of the registry: nothing has moved.
    bulk.lists(|number| if number == 7 { moved.digest.clone() } else { image().digest });
    assert_eq!(bulk.cost(&[]).await, [2, 0, 1, 0]);
    moved.load(&bulk.source, "acme/app", &tag(7));
    let report = bulk.mirror.sync().await;
    report.assert_copied(1, TAGS as u64 - 1);
    assert_eq!(bulk.target.endpoint().digest("app", &tag(7)).await, Some(moved.digest.clone()));
    // The list is behind: it says that the tag has moved back, which it has not.
    bulk.lists(|_| image().digest);
    assert_eq!(bulk.cost(&[]).await, [2, 0, 1, 0]);
    assert_eq!(bulk.target.endpoint().digest("app", &tag(7)).await, Some(moved.digest));
}

#[tokio::test]
async fn without_such_a_list_tags_are_listed_plainly_and_looked_up() {
    for status in [404, 500] {
        let bulk = Bulk::start("gitlab");
        let list = bulk.source.on("GET", Kind::Tags).containing("/gitlab/v1/");
        list.fail(Fault::status(status));
        let finished = bulk.mirror.run(&[]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let told = finished.stderr.contains("tags cannot be listed with their digests");
        assert_eq!(told, status == 500, "{finished:?}");
        let [_, plain, looked_up, writes] = bulk.cost(&[]).await;
        assert_eq!((plain, looked_up, writes), (1, TAGS, 0), "{status}");
    }
}

/// A tag that the list lacks, because it is behind, is not missed by who compares both sides.
#[tokio::test]
async fn verify_does_not_rely_on_such_a_list() {
    let bulk = Bulk::start("gitlab");
    bulk.lists(|_| image().digest);
    bulk.mirror.sync().await.assert_copied(TAGS as u64, 0);
    image().load(&bulk.source, "acme/app", "pushed-just-now");
    let verified = bulk.mirror.tranship.run(["verify"]).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(verified.stdout.contains("app:pushed-just-now"), "{verified:?}");
}

#[tokio::test]
async fn a_standard_registry_is_not_asked_for_lists_of_products() {
    let bulk = Bulk::start("standard");
    bulk.lists(|_| image().digest);
    bulk.mirror.sync().await.assert_copied(TAGS as u64, 0);
    assert_eq!(bulk.cost(&[]).await, [0, 1, TAGS, 0]);
}

#[tokio::test]
async fn a_list_that_has_a_tag_twice_does_not_tell_what_it_points_at() {
    let bulk = Bulk::start("gitlab");
    bulk.lists(|_| image().digest);
    bulk.mirror.sync().await.assert_copied(TAGS as u64, 0);
    let entry = |digest: &str| json!({ "name": "v0001", "digest": digest });
    let page =
        json!([entry(&image().digest), entry(&Image::single(Family::Oci, "x", &[5]).digest)]);
    bulk.source.clear_rules();
    let list = bulk.source.on("GET", Kind::Tags).containing("/gitlab/v1/");
    list.fail(Fault::status(200).body(page.to_string()));
    assert_eq!(bulk.cost(&[]).await, [1, 0, 1, 0]);
}

/// A product that the name of the host does not tell is asked once what it is, if that is worth it.
#[tokio::test]
async fn a_registry_that_introduces_itself_is_known_for_long_lists() {
    let bulk = Bulk::start("standard");
    let mirror = Mirror::new().http(&bulk.source).http(&bulk.target).rule(
        "r",
        &format!(
            "source = \"{}/acme/app\"\ntarget = \"{}/app\"",
            bulk.source.host(),
            bulk.target.host()
        ),
    );
    let bulk = Bulk { mirror, ..bulk };
    bulk.lists(|_| image().digest);
    bulk.mirror.sync().await.assert_copied(TAGS as u64, 0);
    let mark = bulk.source.mark();
    assert_eq!(bulk.cost(&[]).await, [0, 1, TAGS, 0], "it does not say what it is");
    assert_eq!(bulk.source.requests_since(mark).count("GET", Kind::Ping), 1);
    let ping = Fault::status(200).header("gitlab-container-registry-version", "v4.39.0-gitlab");
    bulk.source.on("GET", Kind::Ping).fail(ping.body("{}"));
    assert_eq!(bulk.cost(&[]).await, [2, 1, 0, 0]);
}

/// Google's own list is the standard one, with more in it. A proxy stands in for the host.
#[tokio::test]
async fn lists_of_google_have_digests() {
    let (source, target) = (Scripted::start(), Scripted::start());
    source.quirks(|quirks| quirks.referrers_api = false);
    let path = "acme/images/app";
    for number in 0..20 {
        image().load(&source, path, &tag(number));
    }
    let tags: Vec<_> = (0..20).map(tag).collect();
    let list = json!({
        "name": path, "tags": tags, "child": [],
        "manifest": { image().digest: { "imageSizeBytes": "1000", "mediaType": "x", "tag": tags } },
    });
    let listed = source.on("GET", Kind::Tags);
    listed.fail(Fault::status(200).body(list.to_string()));
    let tranship = Tranship::new();
    tranship.write(
        "tranship.toml",
        format!(
            "[registry.\"europe-docker.pkg.dev\"]\ninsecure = \"http\"\n\
             [registry.\"{0}\"]\ninsecure = \"http\"\n[[sync]]\nname = \"r\"\n\
             source = \"europe-docker.pkg.dev/{path}\"\ntarget = \"{0}/app\"\n",
            target.host()
        ),
    );
    let sync = async || {
        let mut command = tranship.command();
        command.args(["sync", "--output", "json"]);
        command.env("HTTP_PROXY", source.url()).env("NO_PROXY", "127.0.0.1");
        let finished = Running::new(&mut command).finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        Report::of(&finished)
    };
    sync().await.assert_copied(20, 0);
    let mark = source.mark();
    sync().await.assert_copied(0, 20);
    let asked = source.requests_since(mark);
    assert_eq!((asked.count("GET", Kind::Tags), asked.count("HEAD", Kind::Manifest)), (1, 0));
    // Whether there is a referrers API is found out once in a process.
    assert_eq!(asked.len(), 1 + asked.count("GET", Kind::Referrers), "{asked}");
}

/// The tags of signatures are in the list, too: what has changed there is looked up and copied.
#[tokio::test]
async fn a_signature_that_has_changed_is_seen_in_the_list() {
    let bulk = Bulk::start("gitlab");
    let image_tag = |image: &Image, suffix: &str| image.digest.replace(':', "-") + suffix;
    let list = |signed: &Image| {
        let mut entries: Vec<_> = (0..TAGS).map(|n| (tag(n), image().digest)).collect();
        entries.push(("signed".to_owned(), signed.digest.clone()));
        for (suffix, attached) in &signed.attached {
            entries.push((image_tag(signed, suffix), attached.digest.clone()));
        }
        let entries =
            entries.iter().map(|(name, digest)| json!({ "name": name, "digest": digest }));
        let entries: Vec<_> = entries.collect();
        bulk.source.clear_rules();
        let list = bulk.source.on("GET", Kind::Tags).containing("/gitlab/v1/");
        list.fail(Fault::status(200).body(serde_json::to_string(&entries).unwrap()));
    };
    let mut signed = Image::single(Family::Oci, "signed", &[10]).cosign();
    signed.load(&bulk.source, "acme/app", "signed");
    list(&signed);
    bulk.mirror.sync().await.assert_copied(TAGS as u64 + 1, 0);
    assert_eq!(bulk.cost(&[]).await, [1, 0, 0, 0]);
    let other = Image::single(Family::Oci, "another signature", &[20]);
    signed.attached[0].1 = other.clone();
    signed.load(&bulk.source, "acme/app", "signed");
    list(&signed);
    bulk.mirror.sync().await.assert_copied(1, TAGS as u64);
    let signature = image_tag(&signed, &signed.attached[0].0);
    assert_eq!(bulk.target.tag("app", &signature), Some(other.digest));
    assert_eq!(bulk.cost(&[]).await, [1, 0, 0, 0]);
}

/// Harbor's registry lists all tags; its API, which wants the password itself, tells what they point at.
#[tokio::test]
async fn artifacts_of_harbor_tell_what_tags_point_at() {
    let (source, target) = (Scripted::start(), Scripted::start());
    source.quirks(|quirks| quirks.referrers_api = false);
    for number in 0..20 {
        image().load(&source, "acme/tools/app", &tag(number));
    }
    let tags: Vec<_> = (0..20).map(|number| json!({ "name": tag(number) })).collect();
    let artifacts = json!([
        { "digest": image().digest, "tags": tags },
        { "digest": format!("sha256:{}", "0".repeat(64)), "tags": null },
    ]);
    // Escaped twice; the scripted registry takes one of it away.
    let path = "/api/v2.0/projects/acme/repositories/tools%2Fapp/artifacts";
    let list = source.on("GET", Kind::Other).containing(path);
    list.fail(Fault::status(200).body(artifacts.to_string()));
    let harbor = "insecure = \"http\"\nproduct = \"harbor\"\nusername = \"robot$bot\"\n\
                  password = { file = \"password\" }";
    let mirror = Mirror::new().registry(&source, harbor).http(&target).rule(
        "r",
        &format!(
            "source = \"{}/acme/tools/app\"\ntarget = \"{}/app\"",
            source.host(),
            target.host()
        ),
    );
    mirror.tranship.write("password", "hunter2");
    mirror.sync().await.assert_copied(20, 0);
    let mark = source.mark();
    mirror.sync().await.assert_copied(0, 20);
    let asked = source.requests_since(mark);
    assert_eq!((asked.count("GET", Kind::Tags), asked.count("HEAD", Kind::Manifest)), (1, 0));
    let api: Vec<_> = asked.of("GET", Kind::Other).collect();
    assert_eq!((api.len(), &*api[0].path), (1, path), "{asked}");
    assert!(api[0].header("authorization").unwrap().starts_with("Basic "), "{asked}");
}

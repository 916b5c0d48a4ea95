//! What a registry says that cannot be relied upon: then nothing goes. And where nothing is asked
//! for, nothing is written.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::cleanup_apply::{PR, applied, home, image, outcomes};
use crate::support::{Fault, Kind, Place, Scripted, Tranship, eventually};

/// A registry with what is to go, and a rule about it.
fn world() -> (Scripted, Tranship) {
    let registry = Scripted::start();
    image("pr").load(&registry, "app", "pr-1");
    image("release").load(&registry, "app", "1.0.0");
    let tranship = home(&registry, "app", PR);
    (registry, tranship)
}

/// Why nothing of the one repository was deleted.
async fn refused(registry: &Scripted, tranship: &Tranship) -> String {
    let report = applied(tranship, 1).await;
    assert_eq!(outcomes(&report), [], "{report:#}");
    assert_eq!(registry.traffic().writes(), 0);
    report["refused"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_manifest_that_is_not_understood_means_that_nothing_goes() {
    let oci = "application/vnd.oci.image.manifest.v1+json";
    for (media_type, body, words) in [
        (oci, "{\"schemaVersion\": 2, \"mediaType\"", "EOF"),
        (oci, "<html>maintenance</html>", "answered with a web page"),
        (oci, "{\"schemaVersion\": 2}", "lacks `config`"),
        ("application/x-odd", "{\"schemaVersion\": 2}", "application/x-odd"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", "{}", "schema 1"),
    ] {
        let (registry, tranship) = world();
        registry.insert_manifest("app", Some("odd"), media_type, Bytes::from(body));
        let reason = refused(&registry, &tranship).await;
        assert!(reason.contains("sha256:") && reason.contains(words), "{words}: {reason}");
    }
    // What is not what its digest says.
    let (registry, tranship) = world();
    let release = image("release").digest;
    registry.on("GET", Kind::Manifest).containing(release).fail(Fault::WrongBytes);
    let reason = refused(&registry, &tranship).await;
    assert!(reason.contains("cannot be read"), "{reason}");
}

/// Between its pages, a tag of the first one goes.
#[tokio::test]
async fn a_list_that_changes_while_it_is_read_means_that_nothing_goes() {
    let (registry, tranship) = world();
    registry.quirks(|quirks| quirks.page_cap = Some(1));
    let second = registry.on("GET", Kind::Tags).containing("last=").times(1).fail(Fault::Hang);
    let meanwhile = async {
        eventually("the second page", Duration::from_secs(30), || async {
            (second.count() == 1).then_some(())
        })
        .await;
        registry.endpoint().delete("app", "1.0.0").await;
        registry.release();
    };
    let (report, ()) = tokio::join!(applied(&tranship, 1), meanwhile);
    let reason = report["refused"][0].as_str().unwrap();
    assert!(reason.contains("tag `1.0.0` is listed and not there"), "{reason}");
    assert_eq!(outcomes(&report), [], "{report:#}");
    // The one that somebody else asked for.
    assert_eq!(registry.traffic().count("DELETE", Kind::Manifest), 1);
}

/// The plan was made, and before it is carried out everything is read again. What cannot be, by
/// then, is no success.
#[tokio::test]
async fn what_cannot_be_read_between_plan_and_apply_means_that_nothing_goes() {
    let denied = Fault::status(403).error("DENIED", "not any more");
    for (method, kind, passes, fault, words) in [
        ("GET", Kind::Tags, 1, Fault::CutAnswerAfter(5), "the list is not whole"),
        // Each of the three was looked up and read once.
        ("*", Kind::Manifest, 6, denied, "403"),
    ] {
        let (registry, tranship) = world();
        image("other").load(&registry, "app", "pr-2");
        registry.on(method, kind).after(passes).fail(fault);
        let report = applied(&tranship, 1).await;
        for step in report["steps"].as_array().unwrap() {
            assert!(step["reason"].as_str().unwrap().contains(words), "{report:#}");
        }
        let mut outcomes = outcomes(&report);
        outcomes.sort();
        let expected = ["pr-1", "pr-2"].map(|tag| (tag.to_owned(), "not_done".to_owned()));
        assert_eq!(outcomes, expected, "{report:#}");
        assert_eq!(registry.traffic().writes(), 0);
    }
}

#[tokio::test]
async fn too_many_requests_while_it_is_read_only_take_time() {
    let (registry, tranship) = world();
    for (method, kind) in [("GET", Kind::Tags), ("HEAD", Kind::Manifest), ("GET", Kind::Manifest)] {
        registry.on(method, kind).times(2).fail(Fault::too_many_requests(Some("0")));
    }
    let report = applied(&tranship, 0).await;
    assert_eq!(outcomes(&report), [("pr-1".to_owned(), "deleted".to_owned())], "{report:#}");
    let traffic = registry.traffic();
    let limited = traffic.iter().filter(|seen| seen.status == Some(429)).count();
    assert_eq!(limited, 6, "{traffic}");
}

/// Repositories that a rule does not select receive no writes, and are not even looked at.
#[tokio::test]
async fn i13_what_is_not_selected_is_left_alone() {
    let (registry, other) = (Scripted::start(), Scripted::start());
    let selected = ["acme/app", "acme/app-2", "single"];
    let left_out = ["acme/private-x", "acme/base-y", "acme/deep/app", "acme", "acme2/app", "other"];
    for repository in selected.iter().chain(&left_out) {
        image(repository).load(&registry, repository, "pr-1");
        image("release").load(&registry, repository, "1.0.0");
    }
    image("elsewhere").load(&other, "acme/app", "pr-1");
    let (host, elsewhere) = (registry.host(), other.host());
    let tranship = Tranship::new();
    let config = format!(
        "[registry.\"{host}\"]\ninsecure = \"http\"\n\
         [registry.\"{elsewhere}\"]\ninsecure = \"http\"\n\
         [[cleanup]]\nname = \"apps\"\ngrace = \"0s\"\n\
         repositories = [\"{host}/acme/*\", \"{host}/single\", \"!{host}/acme/private-*\", \"!**/base-*\"]\n\
         quarantine = {{ to = \"{elsewhere}/kept/{{repository}}\" }}\n{PR}\n"
    );
    tranship.write("tranship.toml", config);
    tranship.succeed(["cleanup", "--apply"]).await;
    let repository = |path: &str| {
        let rest = path.strip_prefix("/v2/").unwrap().to_owned();
        let end = ["/manifests/", "/blobs/", "/tags/", "/referrers/"].map(|part| rest.find(part));
        rest[..end.into_iter().flatten().min().unwrap_or(0)].to_owned()
    };
    let traffic = registry.traffic();
    let touched: BTreeSet<String> = traffic.iter().map(|seen| repository(&seen.path)).collect();
    // The catalog is of none.
    let expected: BTreeSet<String> =
        ["", "acme/app", "acme/app-2", "single"].map(str::to_owned).into();
    assert_eq!(touched, expected, "{traffic}");
    assert_eq!((traffic.writes(), traffic.count("DELETE", Kind::Manifest)), (3, 3), "{traffic}");
    for repository in selected {
        assert_eq!(registry.endpoint().tags(repository).await, ["1.0.0"], "{repository}");
    }
    // The quarantine gets copies, beside what else is there.
    let traffic = other.traffic();
    assert_eq!(traffic.count("DELETE", Kind::Manifest), 0, "{traffic}");
    assert!(traffic.iter().all(|seen| repository(&seen.path).starts_with("kept/")), "{traffic}");
    assert_eq!(other.endpoint().tags("acme/app").await, ["pr-1"]);
}

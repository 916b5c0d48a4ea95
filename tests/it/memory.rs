//! Whatever registries send, the memory of the process is bounded.

use serde_json::{Value, json};
use tranship::oci::media_type;

use crate::mirror_setup::Mirror;
use crate::support::process::Finished;
use crate::support::{Blob, Fault, Kind, Place, Scripted};

const MIB: usize = 1 << 20;

/// A registry whose tags are different indexes of the same large manifests.
fn source_of(tags: usize, manifests: usize, annotations: impl Fn(usize) -> Value) -> Scripted {
    let registry = Scripted::start();
    let config = Blob::new("application/vnd.oci.image.config.v1+json", "{}");
    registry.insert_blob("app", &config.digest, config.bytes.clone());
    let put = |tag: Option<&str>, document: Value| {
        let media_type = document["mediaType"].as_str().unwrap().to_owned();
        let bytes = serde_json::to_vec(&document).unwrap();
        let size = bytes.len();
        let digest = registry.insert_manifest("app", tag, &media_type, bytes.into());
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    };
    let children: Vec<Value> = (0..manifests)
        .map(|number| {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": config.descriptor(), "layers": [], "annotations": annotations(number),
            });
            put(None, manifest)
        })
        .collect();
    for number in 0..tags {
        let index = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children,
            "annotations": { "number": number.to_string() },
        });
        put(Some(&format!("v{number}")), index);
    }
    registry
}

fn large(number: usize) -> Value {
    json!({ "large": format!("{number:03}").repeat(4 * MIB / 3 - 200) })
}

/// Mirrors everything. Gives what the run left, and the most memory that it ever had, in MiB.
async fn mirror(source: &Scripted, target: &Scripted) -> (Finished, f64) {
    let (from, to) = (source.host(), target.host());
    let rule = format!("source = \"{from}/app\"\ntarget = \"{to}/app\"\n");
    let mirror = Mirror::new().http(source).http(target).rule("r", &rule);
    mirror.configure();
    mirror.tranship.start(["sync", "--quiet"]).finish_with_peak().await
}

/// All images together need more memory than there is for manifests: they wait for each other.
#[tokio::test]
async fn images_wait_for_the_memory_that_their_manifests_take() {
    let (source, target) = (source_of(6, 6, large), Scripted::start());
    let (finished, peak) = mirror(&source, &target).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!((0..6).all(|number| target.tag("app", &format!("v{number}")).is_some()));
    target.assert_tags_complete();
    assert!(peak < 600.0, "{peak} MiB");
}

#[tokio::test]
async fn images_with_too_many_bytes_of_manifests_fail() {
    let (source, target) = (source_of(20, 30, large), Scripted::start());
    let (finished, peak) = mirror(&source, &target).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("take more than 64 MiB of memory"), "{finished:?}");
    assert_eq!(target.tag("app", "v0"), None);
    assert!(peak < 600.0, "{peak} MiB");
}

#[tokio::test]
async fn lists_of_referrers_end() {
    let (source, target) =
        (source_of(1, 5, |number| json!({ "number": number.to_string() })), Scripted::start());
    source.quirks(|quirks| quirks.referrers_api = true);
    source.on("GET", Kind::Referrers).fail(Fault::EndlessReferrers(4 * MIB - 1000));
    let (finished, peak) = mirror(&source, &target).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let error = "lists more than 32 MiB of referrers of one manifest";
    assert!(finished.stderr.contains(error), "{finished:?}");
    assert!(peak < 300.0, "{peak} MiB");
    let mirror = Mirror::new().http(&source);
    mirror.configure();
    let image = format!("{}/app:v0", source.host());
    let inspect = ["inspect", "--referrers", &image];
    let (finished, peak) = mirror.tranship.start(inspect).finish_with_peak().await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains(error), "{finished:?}");
    assert!(peak < 300.0, "{peak} MiB");
}

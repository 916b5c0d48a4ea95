//! Bit-for-bit comparison of an image on two sides, each walked and hashed independently.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;
use tranship::oci::{Digest, media_type};

use super::endpoint::Place;

/// What both sides were found to have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Walked {
    pub manifests: BTreeSet<String>,
    pub blobs: BTreeSet<String>,
    /// Of all distinct blobs.
    pub blob_bytes: u64,
}

/// Panics unless `repository:tag` is the same on both sides down to every byte.
pub async fn assert_same(
    source: &impl Place,
    target: &impl Place,
    repository: &str,
    tag: &str,
) -> Walked {
    assert_same_at((source, repository, tag), (target, repository, tag)).await
}

/// As `assert_same`, where the sides have other names for the image: (registry, repository,
/// tag or digest).
pub async fn assert_same_at<S: Place, T: Place>(
    source: (&S, &str, &str),
    target: (&T, &str, &str),
) -> Walked {
    let there = walk(source.0, source.1, source.2).await;
    let here = walk(target.0, target.1, target.2).await;
    let name = |host: &str, repository: &str, tag: &str| format!("{host}/{repository}:{tag}");
    assert_eq!(
        there.roots,
        here.roots,
        "{} and {} differ",
        name(source.0.host(), source.1, source.2),
        name(target.0.host(), target.1, target.2)
    );
    assert_eq!(there.walked, here.walked);
    here.walked
}

#[derive(Default)]
struct Walk {
    /// The media type and bytes of what the reference names.
    roots: Vec<(String, Bytes)>,
    walked: Walked,
}

/// Walks one side; panics at anything missing or with another digest than its name.
async fn walk(place: &impl Place, repository: &str, reference: &str) -> Walk {
    let mut walk = Walk::default();
    let mut open = vec![(reference.to_owned(), None::<String>)];
    while let Some((reference, wanted)) = open.pop() {
        let at = format!("{}/{repository} {reference}", place.host());
        let served = place.endpoint().manifest(repository, &reference).await;
        let served = served.unwrap_or_else(|| panic!("{at} is not there"));
        let digest = Digest::of(&served.bytes).to_string();
        match wanted {
            Some(wanted) => assert_eq!(digest, wanted, "{at} has other bytes"),
            None => walk.roots.push((served.media_type, served.bytes.clone())),
        }
        if !walk.walked.manifests.insert(digest) {
            continue;
        }
        let document: Value = serde_json::from_slice(&served.bytes).unwrap();
        for child in list(&document, "manifests") {
            let digest = child["digest"].as_str().unwrap().to_owned();
            open.push((digest.clone(), Some(digest)));
        }
        let config = document.get("config").cloned();
        for descriptor in config.into_iter().chain(list(&document, "layers")) {
            check_blob(place, repository, &descriptor, &mut walk.walked).await;
        }
    }
    walk
}

async fn check_blob(place: &impl Place, repository: &str, descriptor: &Value, walked: &mut Walked) {
    let digest = descriptor["digest"].as_str().unwrap();
    let foreign = media_type::is_nondistributable(descriptor["mediaType"].as_str().unwrap());
    if walked.blobs.contains(digest) {
        return;
    }
    let at = format!("blob {digest} in {}/{repository}", place.host());
    let Some(bytes) = place.endpoint().blob(repository, digest).await else {
        // Layers that lie elsewhere need not be here.
        assert!(foreign, "{at} is not there");
        return;
    };
    assert_eq!(Digest::of(&bytes).to_string(), digest, "{at} has other bytes");
    assert_eq!(bytes.len() as u64, descriptor["size"], "{at} has another size");
    walked.blob_bytes += bytes.len() as u64;
    walked.blobs.insert(digest.to_owned());
}

fn list(document: &Value, key: &str) -> Vec<Value> {
    document[key].as_array().cloned().unwrap_or_default()
}

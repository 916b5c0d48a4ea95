//! `tranship verify --repair`: what can be healed is, and what cannot is said.

use crate::mirror_setup::Mirror;
use crate::support::{Place, assert_same_at};
use crate::verify_finds::{Pair, Verified};

/// Panics unless everything of both images is at the target, byte for byte.
async fn assert_whole(pair: &Pair) {
    let (app, copy) = ("app", "mirror/app");
    for (reference, image) in [("v1", &pair.signed), ("v2", &pair.single)] {
        assert_same_at((&pair.source, app, reference), (&pair.target, copy, reference)).await;
        for referrer in &image.referrers {
            let digest = referrer.digest.as_str();
            assert_same_at((&pair.source, app, digest), (&pair.target, copy, digest)).await;
        }
        for (suffix, _) in &image.attached {
            let tag = image.derived_tag(suffix);
            assert_same_at((&pair.source, app, &tag), (&pair.target, copy, &tag)).await;
        }
    }
}

fn healed(verified: &Verified, target: &str) -> usize {
    assert_eq!(verified.image(target)["outcome"], "repaired", "{:#}", verified.0);
    verified.image(target)["repair"]["healed"].as_array().unwrap().len()
}

#[tokio::test]
async fn everything_that_is_missing_comes_back() {
    let pair = Pair::mirrored("").await;
    let endpoint = pair.target.endpoint();
    // Of the index: a layer, a child, the signature, one of cosign's tags. The state believes
    // that all of it is there.
    let signed = &pair.signed;
    let layer = &signed.children[0].blobs[1].digest;
    std::fs::remove_file(pair.blob_file(layer)).unwrap();
    std::fs::remove_file(pair.blob_file(&signed.children[2].digest)).unwrap();
    assert_eq!(endpoint.delete("mirror/app", &signed.referrers[0].digest).await, 202);
    assert_eq!(endpoint.delete("mirror/app", &signed.derived_tag(".sbom")).await, 202);
    // And the other image's tag was moved to something else.
    let other = &signed.children[3];
    let (kind, bytes) = (&other.media_type, other.bytes.clone());
    endpoint.put_manifest("mirror/app", "v2", kind, bytes).await;
    assert_eq!(pair.verify(&[], 1).await.0["counts"]["different"], 2);
    let verified = pair.verify(&["--repair"], 0).await;
    assert_eq!((healed(&verified, ":v1"), healed(&verified, ":v2")), (4, 1));
    assert_eq!(verified.image(":v1")["repair"]["blobs_sent"], 1);
    assert_eq!(verified.0["counts"]["repaired"], 2);
    assert_whole(&pair).await;
    assert_eq!(pair.verify(&["--read"], 0).await.0["counts"]["equal"], 2);
    pair.mirror.sync().await.assert_copied(0, 2);
}

#[tokio::test]
async fn a_target_that_has_lost_everything() {
    let pair = Pair::mirrored("").await;
    std::fs::remove_dir_all(pair.target.folder().join("mirror")).unwrap();
    let finished = pair.mirror.tranship.succeed(["verify", "--repair"]).await;
    assert!(finished.stdout.contains("repaired"), "{finished:?}");
    assert!(finished.stdout.contains("0 of 2 images equal, 2 repaired; "), "{finished:?}");
    assert_whole(&pair).await;
}

#[tokio::test]
async fn wrong_bytes_are_not_healed_and_that_is_said() {
    let pair = Pair::mirrored("").await;
    let layer = &pair.single.blobs[1].digest;
    pair.flip(layer);
    let writes = pair.target.mark();
    let verified = pair.verify(&["--repair", "--read"], 1).await;
    verified.assert_problem(":v2", "blob_bytes", layer);
    assert_eq!(pair.target.requests_since(writes).writes(), 0);
    let finished = pair.mirror.tranship.run(["verify", "--repair", "--read"]).await;
    assert!(finished.stdout.contains("hint: an upload does not replace it"), "{finished:?}");
    // As the hint says.
    std::fs::remove_file(pair.blob_file(layer)).unwrap();
    let verified = pair.verify(&["--repair", "--read"], 0).await;
    assert_eq!(healed(&verified, ":v2"), 1);
}

#[tokio::test]
async fn what_others_have_changed_stays_where_the_rule_says_so() {
    for on_conflict in ["keep", "fail"] {
        let pair = Pair::mirrored(&format!("on_conflict = \"{on_conflict}\"")).await;
        let other = &pair.signed.children[0];
        let (kind, bytes) = (&other.media_type, other.bytes.clone());
        pair.target.endpoint().put_manifest("mirror/app", "v2", kind, bytes).await;
        let verified = pair.verify(&["--repair"], 1).await;
        verified.assert_problem(":v2", "image_differs", ":v2");
        let error = verified.image(":v2")["repair"]["errors"][0]["message"].as_str().unwrap();
        assert!(error.contains("someone else has changed the tag"), "{error}");
        let there = pair.target.endpoint().digest("mirror/app", "v2").await;
        assert_eq!(there.as_ref(), Some(&other.digest));
    }
}

/// A rewritten index has a digest that only the state knows to be ours.
#[tokio::test]
async fn a_repaired_index_is_still_known_to_be_ours() {
    let pair =
        Pair::mirrored("platforms = [\"linux/amd64\"]\non_conflict = \"keep\"\nrecheck = \"0s\"")
            .await;
    let layer = &pair.signed.children[0].blobs[1].digest;
    std::fs::remove_file(pair.blob_file(layer)).unwrap();
    let verified = pair.verify(&["--repair"], 0).await;
    assert_eq!(healed(&verified, ":v1"), 1);
    pair.mirror.sync().await.assert_copied(0, 2);
}

#[tokio::test]
async fn a_repair_that_fails_says_why() {
    let pair = Pair::mirrored("").await;
    std::fs::remove_file(pair.blob_file(&pair.single.blobs[1].digest)).unwrap();
    // Nobody has the layer any more.
    let hex = pair.single.blobs[1].digest.trim_start_matches("sha256:").to_owned();
    std::fs::remove_file(pair.source.folder().join("app/blobs/sha256").join(hex)).unwrap();
    let verified = pair.verify(&["--repair"], 1).await;
    assert_eq!(verified.image(":v2")["outcome"], "different");
    assert_eq!(verified.problems(":v2")[0].0, "blob_missing");
    let errors = verified.image(":v2")["repair"]["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(verified.image(":v1")["outcome"], "equal");
}

#[tokio::test]
async fn only_a_repair_needs_the_state() {
    let pair = Pair::mirrored("").await;
    let _held = tranship::state::State::open(&pair.mirror.state()).unwrap();
    pair.verify(&[], 0).await;
    let finished = pair.mirror.tranship.run(["verify", "--repair"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let finished = pair.mirror.tranship.run(["verify", "--rule", "x"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let nobody = Mirror::new();
    assert_eq!(nobody.tranship.run(["verify"]).await.code, Some(2));
}

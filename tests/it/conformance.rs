//! What every implementation of `Repository` must do: the sentences of the trait's comments,
//! one function each. Run `check` with any two empty repositories of one store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use tranship::oci::{Descriptor, Digest, Manifest, Tag, media_type};
use tranship::repository::{
    BlobBody, BodyAborted, ErrorKind, Placement, Reference, Repository, Result, Untag,
    UploadSession, UploadStart,
};

pub type Place = Arc<dyn Repository>;

/// What a registry behind the implementation may lack, which is then no fault of the latter.
#[derive(Clone, Copy)]
pub struct Abilities {
    /// It keeps what arrived of an upload that was cut in mid-body.
    keeps_cut_uploads: bool,
    /// It deletes a tag without its manifest.
    deletes_tags: bool,
}

impl Abilities {
    pub const ALL: Self = Self { keeps_cut_uploads: true, deletes_tags: true };
    pub const OF_DISTRIBUTION_2: Self = Self { keeps_cut_uploads: false, deletes_tags: false };
}

/// Runs the whole suite. Both repositories must be empty, of one store, and allow everything
/// but what the abilities leave out.
pub async fn check(repository: Place, sibling: Place, abilities: Abilities) {
    let one = &*repository;
    siblings_share_a_store(one, &*sibling);
    what_is_absent_is_none(one, abilities).await;
    a_blob_comes_back_from_any_offset(one).await;
    an_empty_blob_is_a_blob(one).await;
    a_blob_with_another_digest_is_refused(one).await;
    a_body_of_another_length_is_refused(one).await;
    an_upload_goes_on_after_a_break(one, abilities).await;
    a_cancelled_upload_is_gone(one).await;
    a_blob_is_mounted_from_a_sibling(one, &*sibling).await;
    a_manifest_comes_back_bit_for_bit(one).await;
    a_manifest_without_its_blobs_is_refused(one).await;
    a_tag_is_replaced(one).await;
    parts_and_digests_have_no_tag(one).await;
    an_index_holds_its_children(one).await;
    referrers_are_listed(one).await;
    a_tag_is_deleted_alone(one, abilities).await;
    a_manifest_is_deleted_with_its_tags(one).await;
    times_are_told_as_promised(one).await;
    garbage_is_collected_as_promised(one).await;
    manifests_without_a_tag_are_listed_as_promised(one).await;
    an_empty_repository_exists_as_promised(&*sibling).await;
    the_default_image_is_the_only_one(one, &*sibling).await;
}

fn siblings_share_a_store(one: &dyn Repository, sibling: &dyn Repository) {
    assert_eq!(one.store(), sibling.store());
    assert_ne!(one.path(), sibling.path());
    assert!(one.name().contains(one.path()), "{} in {}", one.path(), one.name());
}

async fn what_is_absent_is_none(one: &dyn Repository, abilities: Abilities) {
    let digest = Digest::of(b"nobody has this");
    assert_eq!(one.tags().await.unwrap(), None);
    for reference in [by_tag("absent"), Reference::Digest(digest.clone())] {
        assert_eq!(one.resolve(&reference).await.unwrap(), None);
        assert_eq!(one.manifest(&reference).await.unwrap(), None);
        if abilities.deletes_tags || matches!(reference, Reference::Digest(_)) {
            assert!(!one.delete(&reference).await.unwrap());
        }
    }
    assert_eq!(one.blob_size(&digest).await.unwrap(), None);
    assert!(one.blob(&digest, 0).await.is_err());
    assert!(one.referrers(&digest).await.unwrap().is_none_or(|referrers| referrers.is_empty()));
}

async fn a_blob_comes_back_from_any_offset(one: &dyn Repository) {
    let content = bytes("any offset", 700_000);
    let digest = push(one, &content).await;
    assert_eq!(one.blob_size(&digest).await.unwrap(), Some(700_000));
    for offset in [0, 1, 262_144, 699_999] {
        let (from, read) = read(one, &digest, offset).await;
        assert!(from == offset || from == 0, "{from}");
        assert!(read == content[from as usize..], "from {offset}");
    }
    let again = one.start_upload(&digest, None).await.unwrap();
    if let UploadStart::Session(session) = again {
        // Allowed: only some registries look for the blob first.
        one.cancel_upload(&session).await;
    }
}

async fn an_empty_blob_is_a_blob(one: &dyn Repository) {
    let digest = push(one, b"").await;
    assert_eq!(one.blob_size(&digest).await.unwrap(), Some(0));
    assert_eq!(read(one, &digest, 0).await, (0, Vec::new()));
}

async fn a_blob_with_another_digest_is_refused(one: &dyn Repository) {
    let announced = Digest::of(b"announced");
    let session = begin(one, &announced).await;
    let result = one.finish_upload(&session, &announced, body(&[b"something else"])).await;
    assert!(result.is_err());
    assert_eq!(one.blob_size(&announced).await.unwrap(), None);
    assert_eq!(one.blob_size(&Digest::of(b"something else")).await.unwrap(), None);
}

async fn a_body_of_another_length_is_refused(one: &dyn Repository) {
    let content = b"shorter than announced";
    let digest = Digest::of(content);
    let session = begin(one, &digest).await;
    let short = BlobBody { length: 100, ..body(&[content]) };
    assert!(one.finish_upload(&session, &digest, short).await.is_err());
    assert_eq!(one.blob_size(&digest).await.unwrap(), None);
    one.cancel_upload(&session).await;
}

async fn an_upload_goes_on_after_a_break(one: &dyn Repository, abilities: Abilities) {
    let content = bytes("after a break", 900_000);
    let digest = Digest::of(&content);
    let mut session = begin(one, &digest).await;
    for arrive in [300_000, 500_000] {
        let sent = Bytes::copy_from_slice(&content[session.offset as usize..arrive]);
        let chunks = stream::iter([Ok(sent), Err(BodyAborted)]).boxed();
        let broken = BlobBody { length: content.len() as u64 - session.offset, chunks };
        assert!(one.finish_upload(&session, &digest, broken).await.is_err());
        assert_eq!(one.blob_size(&digest).await.unwrap(), None);
        if !abilities.keeps_cut_uploads {
            // What it says of the upload depends on whether it has noticed the cut already.
            return one.cancel_upload(&session).await;
        }
        let status = one.upload_status(&session).await.unwrap();
        session = status.expect("the upload is kept");
        assert!(session.offset <= arrive as u64, "{} of {arrive}", session.offset);
    }
    let rest = body(&[&content[session.offset as usize..]]);
    one.finish_upload(&session, &digest, rest).await.unwrap();
    assert!(read(one, &digest, 0).await.1 == content);
}

async fn a_cancelled_upload_is_gone(one: &dyn Repository) {
    let digest = Digest::of(b"cancelled");
    let session = begin(one, &digest).await;
    assert_eq!(one.upload_status(&session).await.unwrap().map(|session| session.offset), Some(0));
    one.cancel_upload(&session).await;
    assert_eq!(one.upload_status(&session).await.unwrap(), None);
    assert!(one.finish_upload(&session, &digest, body(&[b"cancelled"])).await.is_err());
    assert_eq!(one.blob_size(&digest).await.unwrap(), None);
}

async fn a_blob_is_mounted_from_a_sibling(one: &dyn Repository, sibling: &dyn Repository) {
    let content = bytes("mounted", 5000);
    let digest = push(sibling, &content).await;
    assert_eq!(one.blob_size(&digest).await.unwrap(), None);
    for from in ["no/such/repository", "../..", "/etc"] {
        match one.start_upload(&digest, Some(from)).await.unwrap() {
            UploadStart::Session(session) => one.cancel_upload(&session).await,
            UploadStart::Present => panic!("mounted from {from}"),
        }
    }
    let started = one.start_upload(&digest, Some(sibling.path())).await.unwrap();
    assert!(matches!(started, UploadStart::Present), "{started:?}");
    assert!(read(one, &digest, 0).await.1 == content);
}

async fn a_manifest_comes_back_bit_for_bit(one: &dyn Repository) {
    let image = push_image(one, "bit for bit").await;
    let digest = Reference::Digest(image.digest.clone());
    assert_eq!(one.manifest(&digest).await.unwrap(), None);
    // Twice, because it is idempotent.
    for _ in 0..2 {
        assert!(!put(one, "exact", &image).await.unwrap());
    }
    for reference in [by_tag("exact"), digest] {
        let back = one.manifest(&reference).await.unwrap().expect("it was put");
        assert_eq!(back, image);
        let resolved = one.resolve(&reference).await.unwrap().expect("it was put");
        assert_eq!(resolved.digest, image.digest);
        assert_eq!(resolved.media_type.as_deref(), Some(image.media_type.as_str()));
    }
    let tags = one.tags().await.unwrap().expect("it has a tag");
    assert_eq!(tags.iter().filter(|tag| tag.as_str() == "exact").count(), 1);
}

async fn a_manifest_without_its_blobs_is_refused(one: &dyn Repository) {
    let image = image("never pushed", None);
    let error = put(one, "incomplete", &image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingParts, "{error}");
    assert_eq!(one.resolve(&by_tag("incomplete")).await.unwrap(), None);
    assert_eq!(one.manifest(&Reference::Digest(image.digest)).await.unwrap(), None);
}

async fn a_tag_is_replaced(one: &dyn Repository) {
    let (old, new) = (push_image(one, "old").await, push_image(one, "new").await);
    put(one, "moving", &old).await.unwrap();
    put(one, "moving", &new).await.unwrap();
    let resolved = one.resolve(&by_tag("moving")).await.unwrap().expect("it was put");
    assert_eq!(resolved.digest, new.digest);
    let tags = one.tags().await.unwrap().expect("it has tags");
    assert_eq!(tags.iter().filter(|tag| tag.as_str() == "moving").count(), 1);
    // What has lost its tag is still there under its digest.
    let old = Reference::Digest(old.digest);
    assert!(one.manifest(&old).await.unwrap().is_some());
}

async fn parts_and_digests_have_no_tag(one: &dyn Repository) {
    let before = one.tags().await.unwrap();
    for (placement, content) in [(Placement::Part, "a part"), (Placement::Digest, "a digest")] {
        let image = push_image(one, content).await;
        one.put_manifest(&placement, &image).await.unwrap();
        let back = one.manifest(&Reference::Digest(image.digest.clone())).await.unwrap();
        assert_eq!(back, Some(image));
    }
    assert_eq!(one.tags().await.unwrap(), before);
}

async fn an_index_holds_its_children(one: &dyn Repository) {
    let child = push_image(one, "child").await;
    one.put_manifest(&Placement::Part, &child).await.unwrap();
    let index = index(&[child.descriptor()]);
    put(one, "multi", &index).await.unwrap();
    let back = one.manifest(&by_tag("multi")).await.unwrap().expect("it was put");
    assert_eq!(back.children(), [child.descriptor()]);
    let child = Reference::Digest(child.digest);
    assert!(one.manifest(&child).await.unwrap().is_some());
}

async fn referrers_are_listed(one: &dyn Repository) {
    // A subject need not be there.
    let subject = image("subject", None);
    let mut expected = Vec::new();
    for content in ["signature", "sbom"] {
        push_image(one, content).await;
        let referrer = image(content, Some(&subject));
        let stored = one.put_manifest(&Placement::Part, &referrer).await.unwrap();
        let listed = one.referrers(&subject.digest).await.unwrap();
        // With the API there is a list, and the target keeps it by itself.
        assert_eq!(stored.lists_referrer, listed.is_some());
        expected.push(referrer.digest);
    }
    let Some(mut listed) = one.referrers(&subject.digest).await.unwrap() else { return };
    for list in [&mut listed, &mut expected] {
        list.sort();
    }
    assert_eq!(listed, expected);
    let other = one.referrers(&Digest::of(b"without referrers")).await.unwrap();
    assert_eq!(other, Some(Vec::new()));
}

async fn a_tag_is_deleted_alone(one: &dyn Repository, abilities: Abilities) {
    let image = push_image(one, "delete a tag").await;
    put(one, "goes", &image).await.unwrap();
    put(one, "stays", &image).await.unwrap();
    let promised = one.capabilities().untag;
    if !abilities.deletes_tags {
        assert_ne!(promised, Untag::Yes);
        // Refused, and nothing else is taken along instead.
        assert!(one.delete(&by_tag("goes")).await.is_err());
        assert!(one.resolve(&by_tag("goes")).await.unwrap().is_some());
        return;
    }
    assert_ne!(promised, Untag::No);
    assert!(one.delete(&by_tag("goes")).await.unwrap());
    assert!(!one.delete(&by_tag("goes")).await.unwrap());
    assert_eq!(one.resolve(&by_tag("goes")).await.unwrap(), None);
    assert!(one.resolve(&by_tag("stays")).await.unwrap().is_some());
    assert!(one.manifest(&Reference::Digest(image.digest)).await.unwrap().is_some());
}

async fn times_are_told_as_promised(one: &dyn Repository) {
    let absent = Digest::of(b"nobody has pushed this");
    assert_eq!(one.pushed_at(&absent).await.unwrap(), None);
    let image = push_image(one, "pushed now").await;
    one.put_manifest(&Placement::Digest, &image).await.unwrap();
    let pushed = one.pushed_at(&image.digest).await.unwrap();
    assert_eq!(pushed.is_some(), one.capabilities().tells_push_times);
    if let Some(pushed) = pushed {
        let age = Timestamp::now().duration_since(pushed);
        assert!(age.unsigned_abs() < Duration::from_secs(60), "{age}");
    }
}

async fn garbage_is_collected_as_promised(one: &dyn Repository) {
    let garbage = push(one, b"no image needs this").await;
    let image = push_image(one, "needed").await;
    put(one, "needed", &image).await.unwrap();
    let collects = one.capabilities().collects_garbage;
    assert!(!collects || one.follow_up().is_none(), "there is nothing left to do");
    let (now, hour) = (Timestamp::now(), Duration::from_secs(3600));
    let young = one.collect_garbage(now, hour, false).await.unwrap();
    assert_eq!(young.blobs, 0);
    let later = now + 2 * hour;
    for dry_run in [true, false] {
        assert!(one.blob_size(&garbage).await.unwrap().is_some());
        let collected = one.collect_garbage(later, hour, dry_run).await.unwrap();
        assert_eq!(collected.blobs > 0, collects, "{collected:?}");
    }
    assert_eq!(one.blob_size(&garbage).await.unwrap().is_none(), collects);
    for blob in image.blobs() {
        assert!(one.blob_size(&blob.digest).await.unwrap().is_some());
    }
}

async fn manifests_without_a_tag_are_listed_as_promised(one: &dyn Repository) {
    let [untagged, subject] = ["untagged", "has a tag"].map(|content| image(content, None));
    for content in ["untagged", "has a tag", "refers to it"] {
        push_image(one, content).await;
    }
    one.put_manifest(&Placement::Digest, &untagged).await.unwrap();
    put(one, "subject", &subject).await.unwrap();
    let referrer = image("refers to it", Some(&subject));
    one.put_manifest(&Placement::Part, &referrer).await.unwrap();
    let listed = one.untagged().await.unwrap();
    if !one.capabilities().lists_untagged {
        return assert!(listed.is_empty(), "{listed:?}");
    }
    for manifest in [&untagged, &referrer] {
        assert!(listed.contains(&manifest.digest), "{listed:?}");
    }
    one.delete(&Reference::Digest(untagged.digest.clone())).await.unwrap();
    assert!(!one.untagged().await.unwrap().contains(&untagged.digest));
}

/// `empty`: nothing but blobs was ever pushed to it.
async fn an_empty_repository_exists_as_promised(empty: &dyn Repository) {
    // Whether it exists or not, it has no tags.
    assert!(empty.tags().await.unwrap().is_none_or(|tags| tags.is_empty()));
    if empty.capabilities().exists {
        assert!(empty.untagged().await.unwrap().is_empty());
    }
}

async fn the_default_image_is_the_only_one(one: &dyn Repository, empty: &dyn Repository) {
    match one.default_image().await {
        // It takes no request to say so.
        Ok(meant) => {
            assert_eq!(meant, by_tag("latest"));
            assert_eq!(empty.default_image().await.unwrap(), meant);
        }
        Err(several) => {
            assert!(several.to_string().contains("name one of its tags"), "{several}");
            assert!(empty.default_image().await.is_err());
            let image = push_image(empty, "the only one").await;
            empty.put_manifest(&Placement::Digest, &image).await.unwrap();
            let by_digest = Reference::Digest(image.digest.clone());
            assert_eq!(empty.default_image().await.unwrap(), by_digest);
            put(empty, "only", &image).await.unwrap();
            assert_eq!(empty.default_image().await.unwrap(), by_tag("only"));
        }
    }
}

async fn a_manifest_is_deleted_with_its_tags(one: &dyn Repository) {
    let image = push_image(one, "delete a manifest").await;
    for tag in ["one", "two"] {
        put(one, tag, &image).await.unwrap();
    }
    let digest = Reference::Digest(image.digest);
    assert!(one.delete(&digest).await.unwrap());
    assert!(!one.delete(&digest).await.unwrap());
    for gone in [by_tag("one"), by_tag("two"), digest] {
        assert_eq!(one.resolve(&gone).await.unwrap(), None, "{gone}");
        assert_eq!(one.manifest(&gone).await.unwrap(), None, "{gone}");
    }
    let tags = one.tags().await.unwrap().unwrap_or_default();
    assert!(!tags.iter().any(|tag| ["one", "two"].contains(&tag.as_str())));
}

pub fn by_tag(tag: &str) -> Reference {
    Reference::Tag(self::tag(tag))
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Bytes that are different for each seed, and compress badly.
pub fn bytes(seed: &str, length: usize) -> Vec<u8> {
    let mut state = seed
        .bytes()
        .fold(1_u64, |state, byte| state.wrapping_mul(257).wrapping_add(u64::from(byte)));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A body of these chunks.
pub fn body(chunks: &[&[u8]]) -> BlobBody {
    let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let length = chunks.iter().flatten().map(|chunk| chunk.len() as u64).sum();
    BlobBody { length, chunks: stream::iter(chunks).boxed() }
}

/// An upload that is really begun: the blob is not there yet.
pub async fn begin(one: &dyn Repository, digest: &Digest) -> UploadSession {
    match one.start_upload(digest, None).await.unwrap() {
        UploadStart::Session(session) => session,
        UploadStart::Present => panic!("{digest} is there already"),
    }
}

/// Uploads a blob in several chunks, unless it is there.
pub async fn push(one: &dyn Repository, content: &[u8]) -> Digest {
    let digest = Digest::of(content);
    if let UploadStart::Session(session) = one.start_upload(&digest, None).await.unwrap() {
        let chunks: Vec<&[u8]> = content.chunks(100_000).collect();
        one.finish_upload(&session, &digest, body(&chunks)).await.unwrap();
    }
    digest
}

async fn read(one: &dyn Repository, digest: &Digest, offset: u64) -> (u64, Vec<u8>) {
    let mut reader = one.blob(digest, offset).await.unwrap();
    let mut content = Vec::new();
    while let Some(chunk) = reader.chunks.next().await {
        content.extend_from_slice(&chunk.unwrap());
    }
    (reader.offset, content)
}

async fn put(one: &dyn Repository, tag: &str, manifest: &Manifest) -> Result<bool> {
    let placement = Placement::Tag(self::tag(tag));
    one.put_manifest(&placement, manifest).await.map(|stored| stored.lists_referrer)
}

/// The config and the layer of the image made of `content`.
fn parts(content: &str) -> [Vec<u8>; 2] {
    [format!(r#"{{"made of":"{content}"}}"#).into_bytes(), bytes(content, 1000)]
}

/// An image made of `content`, which may refer to another.
pub fn image(content: &str, subject: Option<&Manifest>) -> Manifest {
    let [config, layer] = parts(content);
    let descriptor = |media_type: &str, content: &[u8]| json!({ "mediaType": media_type, "digest": Digest::of(content), "size": content.len() });
    let mut json = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        "annotations": { "org.example.made-of": content },
    });
    if let Some(subject) = subject {
        json["artifactType"] = json!(format!("application/vnd.example.{content}"));
        json["subject"] = json!(subject.descriptor());
    }
    // Not the way a serialiser would write it, so that writing it anew is noticed.
    let raw = serde_json::to_string_pretty(&json).unwrap() + "\n";
    Manifest::parse(raw.into(), None, None).unwrap()
}

/// Uploads the parts of the image made of `content`; the manifest is left to the caller.
pub async fn push_image(one: &dyn Repository, content: &str) -> Manifest {
    for part in parts(content) {
        push(one, &part).await;
    }
    image(content, None)
}

pub fn index(children: &[Descriptor]) -> Manifest {
    let json = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children
    });
    Manifest::parse(serde_json::to_string_pretty(&json).unwrap().into(), None, None).unwrap()
}

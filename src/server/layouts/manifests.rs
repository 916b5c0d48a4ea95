//! Manifests (distribution-spec "Pulling manifests", "Pushing Manifests", "Deleting Manifests").

use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::StreamExt;
use http::{HeaderName, Method, StatusCode, header};

use super::answer::{self, Answer, CONTENT_DIGEST, Refusal};
use super::{Head, Incoming, Registry};
use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::reference::ReferenceError;
use crate::oci::{Manifest, RepositoryName, Tag};
use crate::repository::{Cause, Placement, Reference, Repository};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// The specification wants at least ten to be accepted.
const MAX_TAGS: usize = 100;

impl Registry {
    pub(super) async fn get_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        head: &Head,
    ) -> Answer {
        let layout = self.repository(name).await?;
        let manifest = match layout.manifest(reference).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Err(unknown(name, reference)),
            // A blob of another kind, or an entry of a kind that is none of ours.
            Err(error)
                if matches!(error.cause(), Cause::Manifest(cause)
                    if !matches!(cause, ManifestError::Digest { .. })) =>
            {
                return Err(unknown(name, reference));
            }
            Err(error) => return Err(error.into()),
        };
        let mut headers = vec![
            (CONTENT_DIGEST, manifest.digest.to_string()),
            (header::ETAG, answer::etag(&manifest.digest)),
            (header::CONTENT_TYPE, manifest.media_type.clone()),
        ];
        if answer::is_known(&head.headers, &manifest.digest) {
            return Ok(answer::with_headers(StatusCode::NOT_MODIFIED, headers, Body::empty()));
        }
        headers.push((header::CONTENT_LENGTH, manifest.raw.len().to_string()));
        let body =
            if head.method == Method::HEAD { Body::empty() } else { manifest.raw.clone().into() };
        Ok(answer::with_headers(StatusCode::OK, headers, body))
    }

    pub(super) async fn put_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        head: &Head,
        incoming: &mut Incoming,
    ) -> Answer {
        let tags = tags(reference, head)?;
        let raw = read(incoming).await?;
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|content_type| content_type.to_str().ok());
        let (wanted, placement) = match reference {
            Reference::Digest(digest) => (Some(digest), Placement::Digest),
            Reference::Tag(tag) => (None, Placement::Tag(tag.clone())),
        };
        let manifest = Manifest::parse(raw.into(), content_type, wanted).map_err(|error| {
            let code = match error {
                ManifestError::Digest { .. } => "DIGEST_INVALID",
                _ => "MANIFEST_INVALID",
            };
            Refusal::bad_request(code, error.to_string())
        })?;
        let layout = self.layouts.get_or_create(name).await?;
        let stored = layout.put_manifest(&placement, &manifest).await?;
        for tag in &tags {
            layout.put_manifest(&Placement::Tag(tag.clone()), &manifest).await?;
        }
        let digest = manifest.digest.to_string();
        let location = format!("/v2/{name}/manifests/{digest}");
        let subject = manifest.subject.filter(|_| stored.lists_referrer);
        let mut headers = vec![(header::LOCATION, location), (CONTENT_DIGEST, digest)];
        headers.extend(subject.map(|subject| (SUBJECT, subject.digest.to_string())));
        headers.extend(tags.into_iter().map(|tag| (TAG, tag.to_string())));
        Ok(answer::with_headers(StatusCode::CREATED, headers, Body::empty()))
    }

    pub(super) async fn delete_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Answer {
        if !self.repository(name).await?.delete(reference).await? {
            return Err(unknown(name, reference));
        }
        Ok(StatusCode::ACCEPTED.into_response())
    }
}

/// The tags that a manifest gets that is pushed by its digest: `?tag=a&tag=b`, in the next version of the
/// specification. So a manifest can be tagged whatever the algorithm of its digest is.
fn tags(reference: &Reference, head: &Head) -> Result<Vec<Tag>, Refusal> {
    let Reference::Digest(_) = reference else { return Ok(Vec::new()) };
    let invalid = |error| Refusal::bad_request("MANIFEST_INVALID", format!("{error}"));
    let tags: Vec<Tag> = head
        .query
        .all("tag")
        .map(|tag| tag.parse().map_err(|error: ReferenceError| invalid(error)))
        .collect::<Result<_, _>>()?;
    if tags.len() > MAX_TAGS {
        let message = format!("there are more than {MAX_TAGS} tags");
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, "MANIFEST_INVALID", message));
    }
    Ok(tags)
}

fn unknown(name: &RepositoryName, reference: &Reference) -> Refusal {
    let message = format!("there is no manifest `{name}{}`", reference.suffix());
    Refusal::not_found("MANIFEST_UNKNOWN", message)
}

/// A body of at most as many bytes as a manifest may have.
async fn read(incoming: &mut Incoming) -> Result<Vec<u8>, Refusal> {
    let too_large = || {
        let message = ManifestError::TooLarge.to_string();
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message)
    };
    if incoming.length.is_some_and(|length| length > MAX_MANIFEST_BYTES as u64) {
        return Err(too_large());
    }
    let mut raw = Vec::new();
    while let Some(chunk) = incoming.chunks.next().await {
        let Ok(chunk) = chunk else {
            return Err(Refusal::bad_request("MANIFEST_INVALID", "the body broke off"));
        };
        if raw.len() + chunk.len() > MAX_MANIFEST_BYTES {
            return Err(too_large());
        }
        raw.extend_from_slice(&chunk);
    }
    Ok(raw)
}

//! Manifests: HEAD, GET, PUT, DELETE (distribution-spec, "Pull", "Push", "Content Management").

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::call::What;
use super::operation::Operation;
use super::remote::RemoteRepository;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Manifest, media_type};
use crate::repository::{
    Cause, ErrorKind, Placement, Reference, Repository, Resolved, Result, Stored,
};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const ACCEPTED: HeaderValue = HeaderValue::from_static(media_type::ACCEPT);

impl RemoteRepository {
    pub(super) async fn head_manifest(&self, reference: &Reference) -> Result<Option<Resolved>> {
        let what = What::Manifest(self.name(), reference);
        let url = self.url(&format!("manifests/{reference}"));
        let call = self
            .call(Operation::LookUpManifest, what, Method::HEAD, url, &self.reads)
            .header(ACCEPT, ACCEPTED);
        let answer = self.registry.origin.call(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(call.refused(&answer)),
        }
        let media_type = answer.header("content-type").map(media_type::essence);
        let header = answer.header(DIGEST.as_str()).and_then(|text| text.parse::<Digest>().ok());
        let digest = match (reference, header) {
            // A digest is what pins an image: no header puts another in its place.
            (Reference::Digest(asked), Some(claimed))
                if claimed != *asked && claimed.algorithm() == asked.algorithm() =>
            {
                return Err(call.error(Cause::Corrupt(format!(
                    "the registry says that its digest is {claimed}"
                ))));
            }
            (Reference::Digest(asked), _) => Some(asked.clone()),
            (Reference::Tag(_), claimed) => claimed,
        };
        if let Some(digest) = digest {
            return Ok(Some(Resolved { digest, media_type }));
        }
        // The header is only a SHOULD in 1.1: without it, the bytes must be had.
        let manifest = self.get_manifest(reference).await?;
        Ok(manifest.map(|manifest| Resolved {
            digest: manifest.digest,
            media_type: Some(manifest.media_type),
        }))
    }

    pub(super) async fn get_manifest(&self, reference: &Reference) -> Result<Option<Manifest>> {
        let what = What::Manifest(self.name(), reference);
        let url = self.url(&format!("manifests/{reference}"));
        let mut call = self
            .call(Operation::GetManifest, what, Method::GET, url, &self.reads)
            .header(ACCEPT, ACCEPTED);
        call.limit = MAX_MANIFEST_BYTES;
        let answer = self.registry.origin.call(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(call.refused(&answer)),
        }
        let wanted = match reference {
            Reference::Digest(digest) => Some(digest),
            Reference::Tag(_) => None,
        };
        let content_type = answer.header("content-type");
        let manifest = Manifest::parse(answer.body.clone(), content_type, wanted)
            .map_err(|error| call.error(error.into()))?;
        let claimed: Option<Digest> =
            answer.header(DIGEST.as_str()).and_then(|text| text.parse().ok());
        match claimed {
            Some(claimed) if !claimed.matches(&manifest.raw) => {
                Err(call.error(Cause::Corrupt(format!(
                    "the registry says that its digest is {claimed}, but its bytes have {}",
                    manifest.digest
                ))))
            }
            _ => Ok(Some(manifest)),
        }
    }

    pub(super) async fn store_manifest(
        &self,
        placement: &Placement,
        manifest: &Manifest,
    ) -> Result<Stored> {
        let reference = match placement {
            Placement::Part | Placement::Digest => Reference::Digest(manifest.digest.clone()),
            Placement::Tag(tag) => Reference::Tag(tag.clone()),
        };
        let what = What::Manifest(self.name(), &reference);
        let url = self.url(&format!("manifests/{reference}"));
        let mut call = self.call(Operation::PutManifest, what, Method::PUT, url, &self.writes);
        let content_type = HeaderValue::from_str(&manifest.media_type).map_err(|_| {
            call.error(Cause::Protocol("its media type cannot be sent in a header".to_owned()))
        })?;
        call = call.header(CONTENT_TYPE, content_type);
        call.body = manifest.raw.clone();
        let answer = self.registry.origin.call(&call).await?;
        if !answer.status.is_success() {
            return Err(call.refused(&answer));
        }
        let claimed: Option<Digest> =
            answer.header(DIGEST.as_str()).and_then(|text| text.parse().ok());
        if let Some(claimed) = claimed.filter(|claimed| !claimed.matches(&manifest.raw)) {
            return Err(call.error(Cause::Corrupt(format!(
                "the registry stored something else: it answers with the digest {claimed}"
            ))));
        }
        Ok(Stored { lists_referrer: answer.headers.contains_key("oci-subject") })
    }

    pub(super) async fn delete_manifest(&self, reference: &Reference) -> Result<bool> {
        let what = What::Manifest(self.name(), reference);
        let url = self.url(&format!("manifests/{reference}"));
        let operation = match reference {
            Reference::Tag(_) => Operation::DeleteTag,
            Reference::Digest(_) => Operation::DeleteManifest,
        };
        let call = self.call(operation, what, Method::DELETE, url, &self.deletes);
        let answer = self.registry.origin.call(&call).await?;
        if answer.status.is_success() {
            return Ok(true);
        }
        match call.refusal(&answer) {
            _ if answer.status == StatusCode::NOT_FOUND => Ok(false),
            cause if cause.kind() == ErrorKind::DigestOnly => {
                Err(call.error(Cause::DigestOnly(cause.to_string())))
            }
            cause => Err(call.error(cause)),
        }
    }
}

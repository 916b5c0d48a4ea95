//! One repository of a registry: its manifests and blobs (distribution-spec, "Pull", "Push",
//! "Content Management"). `listing` has its lists, `uploads` how blobs get there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use http::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RANGE,
};
use http::{Method, StatusCode};
use url::Url;

use super::Registry;
use super::answer::Answer;
use super::auth::Scope;
use super::call::{Call, What};
use super::operation::Operation;
use super::pauses::Kind;
use crate::fair::Flow;
use crate::oci::{Digest, Manifest, RepositoryName, Tag, media_type};
use crate::repository::{
    BlobBody, BlobReader, Cause, Error, ErrorKind, ListedTag, Placement, Reference, Repository,
    Resolved, Result, Stored, Traffic, UploadSession, UploadStart,
};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const ACCEPTED: HeaderValue = HeaderValue::from_static(media_type::ACCEPT);

/// One repository of a registry.
#[derive(Debug)]
pub(super) struct RemoteRepository {
    pub registry: Arc<Registry>,
    /// `host/path`, for people.
    name: String,
    pub path: RepositoryName,
    pub flow: Flow,
    /// The scope of requests that only read. Where the repository will be written to, it is the scope
    /// for writing too, which saves a token.
    pub reads: Scope,
    pub writes: Scope,
    deletes: Scope,
}

impl RemoteRepository {
    pub fn new(registry: Arc<Registry>, path: RepositoryName, writes: bool, flow: Flow) -> Self {
        let (pull, push) = (Scope::pull(path.clone()), Scope::push(path.clone()));
        Self {
            name: format!("{}/{path}", registry.origin.host),
            reads: if writes { push.clone() } else { pull },
            writes: push,
            deletes: Scope::delete(path.clone()),
            registry,
            path,
            flow,
        }
    }

    /// The URL of something in this repository: `manifests/latest`.
    pub fn url(&self, rest: &str) -> Url {
        let mut url = self.registry.origin.base.clone();
        // Repository names, tags and digests hold no characters that need escaping, and `rest`
        // is made of those.
        url.set_path(&format!("/v2/{}/{rest}", self.path));
        url
    }

    pub fn call<'a>(
        &'a self,
        operation: Operation,
        what: What<'a>,
        method: Method,
        url: Url,
        scope: &'a Scope,
    ) -> Call<'a> {
        self.registry.origin.request(operation, what, method, url, scope, self.flow)
    }

    fn manifest_call<'a>(
        &'a self,
        operation: Operation,
        method: Method,
        reference: &'a Reference,
        scope: &'a Scope,
    ) -> Call<'a> {
        let url = self.url(&format!("manifests/{reference}"));
        self.call(operation, What::Manifest(&self.name, reference), method, url, scope)
    }

    fn blob_call<'a>(
        &'a self,
        operation: Operation,
        method: Method,
        digest: &'a Digest,
    ) -> Call<'a> {
        let url = self.url(&format!("blobs/{digest}"));
        self.call(operation, What::Blob(&self.name, digest), method, url, &self.reads)
    }

    /// The answer to a request, whatever it says.
    pub async fn send(&self, call: &Call<'_>) -> Result<Answer> {
        self.registry.origin.call(call).await
    }

    /// The answer that has what was asked for; `None`: it is not there.
    async fn find(&self, call: &Call<'_>) -> Result<Option<Answer>> {
        let answer = self.send(call).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(call.refused(&answer)),
        }
    }
}

/// Whether GET may be answered in another way than HEAD was. Not where the registry wants to be left
/// alone, or wants credentials: GET would be the same once more.
fn may_be_about_head(error: &Error) -> bool {
    matches!(error.cause(), Cause::Refused { .. })
        && !matches!(
            error.kind(),
            ErrorKind::Throttled
                | ErrorKind::Unavailable
                | ErrorKind::InternalError
                | ErrorKind::Unauthenticated
                | ErrorKind::WrongCredentials
        )
}

impl RemoteRepository {
    async fn resolve_by_reading(&self, reference: &Reference) -> Result<Option<Resolved>> {
        let manifest = self.manifest(reference).await?;
        Ok(manifest.as_ref().map(Resolved::from))
    }
}

#[async_trait]
impl Repository for RemoteRepository {
    fn name(&self) -> &str {
        &self.name
    }

    fn store(&self) -> &str {
        self.registry.origin.host.as_str()
    }

    fn path(&self) -> &str {
        self.path.as_str()
    }

    fn has_stalled(&self, traffic: Traffic) -> bool {
        let limits = &self.registry.origin.settings.limits;
        let kind = match traffic {
            Traffic::Read => Kind::Read,
            Traffic::Write => Kind::Write,
        };
        // Other repositories of the registry may be answered meanwhile.
        let waits = limits.held(kind, self.path()).is_some_and(|pause| pause.is_short);
        waits || limits.activity.has_stalled(traffic)
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        self.list_tags().await
    }

    async fn listed_tags(&self) -> Result<Option<Vec<ListedTag>>> {
        self.registry.vendor().listed_tags(self).await
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Resolved>> {
        let reads_instead = &self.registry.facts.reads_instead;
        if reads_instead.load(Ordering::Relaxed) {
            return self.resolve_by_reading(reference).await;
        }
        let call = self
            .manifest_call(Operation::LookUpManifest, Method::HEAD, reference, &self.reads)
            .header(ACCEPT, ACCEPTED);
        let answer = match self.find(&call).await {
            Ok(None) => return Ok(None),
            Ok(Some(answer)) => answer,
            // An answer to HEAD has no words. And some proxies refuse it, and answer GET.
            Err(error) if may_be_about_head(&error) => {
                let found = self.resolve_by_reading(reference).await?;
                if found.is_some() {
                    tracing::debug!(registry = %self.registry.host(), %error, "manifests are looked up by reading them");
                    reads_instead.store(true, Ordering::Relaxed);
                }
                return Ok(found);
            }
            Err(error) => return Err(error),
        };
        let digest = match (reference, claimed_digest(&answer)) {
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
            let media_type = answer.header(CONTENT_TYPE).map(media_type::essence);
            return Ok(Some(Resolved { digest, media_type }));
        }
        // The header is only a SHOULD in 1.1: without it, the bytes must be had.
        self.resolve_by_reading(reference).await
    }

    fn look_up_by_reading(&self) {
        self.registry.facts.reads_instead.store(true, Ordering::Relaxed);
    }

    async fn manifest_within(
        &self,
        reference: &Reference,
        limit: usize,
    ) -> Result<Option<Manifest>> {
        let mut call = self
            .manifest_call(Operation::GetManifest, Method::GET, reference, &self.reads)
            .header(ACCEPT, ACCEPTED);
        call.limit = limit;
        let Some(answer) = self.find(&call).await? else { return Ok(None) };
        let wanted = match reference {
            Reference::Digest(digest) => Some(digest),
            Reference::Tag(_) => None,
        };
        let manifest = Manifest::parse(answer.body.clone(), answer.header(CONTENT_TYPE), wanted)
            .map_err(|error| call.error(error.into()))?;
        match claimed_digest(&answer) {
            Some(claimed) if !claimed.matches(&manifest.raw) => {
                Err(call.error(Cause::Corrupt(format!(
                    "the registry says that its digest is {claimed}, but its bytes have {}",
                    manifest.digest
                ))))
            }
            _ => Ok(Some(manifest)),
        }
    }

    async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let call = self.blob_call(Operation::LookUpBlob, Method::HEAD, digest);
        let Some(answer) = self.find(&call).await? else { return Ok(None) };
        let length = answer.header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
        length.map(Some).ok_or_else(|| {
            call.error(Cause::Protocol("the registry does not say how long it is".to_owned()))
        })
    }

    async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobReader> {
        let mut call = self.blob_call(Operation::GetBlob, Method::GET, digest);
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            let range = range.map_err(|error| call.error(Cause::Protocol(error.to_string())))?;
            call = call.header(RANGE, range);
        }
        let response = match self.registry.origin.open(&call).await? {
            Ok(response) => response,
            Err(answer) => return Err(call.refused(&answer)),
        };
        let (mut begins, mut size) = (0, response.content_length());
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let parsed = range.and_then(content_range).filter(|(first, _)| *first == offset);
            (begins, size) = parsed.ok_or_else(|| {
                let range = range.unwrap_or("none");
                call.error(Cause::Protocol(format!(
                    "the bytes from {offset} on were requested, and the registry sent the range `{range}`"
                )))
            })?;
        }
        let chunks = self.registry.origin.chunks(&call, response);
        Ok(BlobReader { offset: begins, size, chunks })
    }

    async fn start_upload(&self, digest: &Digest, from: Option<&str>) -> Result<UploadStart> {
        self.post_upload(digest, from).await
    }

    async fn finish_upload(
        &self,
        session: &UploadSession,
        digest: &Digest,
        body: BlobBody,
    ) -> Result<()> {
        self.put_upload(session, digest, body).await
    }

    async fn upload_status(&self, session: &UploadSession) -> Result<Option<UploadSession>> {
        self.get_upload(session).await
    }

    async fn cancel_upload(&self, session: &UploadSession) {
        self.delete_upload(session).await;
    }

    async fn put_manifest(&self, placement: &Placement, manifest: &Manifest) -> Result<Stored> {
        let reference = match placement {
            Placement::Part | Placement::Digest => Reference::Digest(manifest.digest.clone()),
            Placement::Tag(tag) => Reference::Tag(tag.clone()),
        };
        let mut call =
            self.manifest_call(Operation::PutManifest, Method::PUT, &reference, &self.writes);
        let content_type = HeaderValue::from_str(&manifest.media_type).map_err(|_| {
            call.error(Cause::Protocol("its media type cannot be sent in a header".to_owned()))
        })?;
        call = call.header(CONTENT_TYPE, content_type);
        call.body = manifest.raw.clone();
        // distribution answers so if it does not allow the addresses of foreign layers.
        call.error_is_final = manifest.has_foreign_layers();
        let answer = self.send(&call).await?;
        if !answer.status.is_success() {
            return Err(call.refused(&answer));
        }
        match claimed_digest(&answer) {
            Some(claimed) if !claimed.matches(&manifest.raw) => Err(call.error(Cause::Corrupt(
                format!("the registry stored something else: it answers with the digest {claimed}"),
            ))),
            _ => Ok(Stored {
                lists_referrer: answer.headers.contains_key("oci-subject"),
                at_once: answer.tries == 1,
            }),
        }
    }

    async fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Digest>>> {
        self.list_referrers(subject).await
    }

    async fn delete(&self, reference: &Reference) -> Result<bool> {
        let operation = match reference {
            Reference::Tag(_) => Operation::DeleteTag,
            Reference::Digest(_) => Operation::DeleteManifest,
        };
        let call = self.manifest_call(operation, Method::DELETE, reference, &self.deletes);
        let answer = self.send(&call).await?;
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

    fn follow_up(&self) -> Option<String> {
        self.registry.follow_up()
    }
}

/// The digest of a manifest, as the registry says.
fn claimed_digest(answer: &Answer) -> Option<Digest> {
    answer.header(DIGEST)?.parse().ok()
}

/// The first byte position and the size of the whole in `bytes 7-99/100` (RFC 9110 §14.4).
pub(super) fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split('-').next()?.trim().parse().ok()?, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 7-99/100"), Some((7, Some(100))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        assert_eq!(content_range("bytes */100"), None);
        assert_eq!(content_range("7-99"), None);
    }
}

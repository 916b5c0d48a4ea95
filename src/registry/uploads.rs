//! Uploading blobs (distribution-spec, "Pushing blobs").
//!
//! A blob is mounted if possible. Else it is uploaded in one of three styles: one streamed PUT; one
//! PATCH without a range and a closing PUT; ranged PATCHes of at most 4 MiB and a closing PUT. The
//! next style is used for a registry, and remembered, once it has refused the one before.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use http::{Method, StatusCode};
use url::Url;

use super::answer::Answer;
use super::call::{Call, What};
use super::link;
use super::operation::Operation;
use super::origin::{redirect_refused, too_many_redirects};
use super::remote::RemoteRepository;
use crate::oci::Digest;
use crate::repository::{
    BlobBody, Cause, Error, ErrorKind, Repository, Result, UploadSession, UploadStart,
};

/// Where the bytes of uploads go next, by the address that the registry gave first, and the style in
/// which they were sent. A body that can be read only once is gone when the redirect comes; whoever
/// reads it again finds here where to send it.
pub(super) type Redirects = HashMap<String, (Style, Url)>;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The largest chunk that GHCR takes, and most proxies.
const CHUNK: u64 = 4 << 20;
/// The largest chunk that a registry may ask for: a chunk is held in memory.
const LARGEST_CHUNK: u64 = 64 << 20;
/// A chunk is sent in pieces of this size, so that its progress can be observed.
const PIECE: usize = 64 << 10;

/// How bytes are sent, from the cheapest style to the most widely accepted one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    #[default]
    Put,
    Patch,
    Chunks,
}

impl Style {
    fn next(self) -> Option<Self> {
        match self {
            Self::Put => Some(Self::Patch),
            Self::Patch => Some(Self::Chunks),
            Self::Chunks => None,
        }
    }
}

/// Whether bytes were refused for the form in which they came, not for what they are.
fn is_about_form(answer: &Answer) -> bool {
    let codes = answer.codes();
    let has = |code: &str| codes.iter().any(|found| found == code);
    let about_content =
        ["DIGEST_INVALID", "NAME_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"];
    !about_content.into_iter().any(has)
        && match answer.status.as_u16() {
            // With these, SIZE_INVALID is about the request's length, else about the blob's.
            413 | 416 => true,
            400 | 405 | 411 | 415 | 501 => !has("SIZE_INVALID"),
            _ => false,
        }
}

impl RemoteRepository {
    /// A request that uploads a blob, or a part of it.
    fn upload_call<'a>(
        &'a self,
        operation: Operation,
        method: Method,
        url: Url,
        digest: &'a Digest,
    ) -> Call<'a> {
        self.call(operation, What::Blob(self.name(), digest), method, url, &self.writes)
    }

    pub(super) async fn post_upload(
        &self,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<UploadStart> {
        let facts = &self.registry.facts;
        let mounts = match from {
            Some(from) if from == self.path() => &facts.self_mounts,
            _ => &facts.mounts,
        };
        let mounts = || mounts.lock();
        let from = from.filter(|from| mounts().is_worth_asking(from));
        let Some(from) = from else { return self.post_plain(digest).await };
        let mut url = self.url("blobs/uploads/");
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
        // A name that is none cannot be mounted from.
        let other = from.parse().ok().filter(|_| from != self.path());
        let scope = match other {
            Some(other) => self.writes.clone().mounting_from(other),
            None => self.writes.clone(),
        };
        // Mounting from itself only asks whether it is there: to people, that is an upload.
        let operation =
            if from == self.path() { Operation::StartUpload } else { Operation::MountBlob };
        let mut call = self.upload_call(operation, Method::POST, url, digest);
        call.scope = &scope;
        let answer = match self.send(&call).await {
            // No token for reading the other repository: uploading needs none.
            Err(error) if error.kind() == ErrorKind::Credentials => {
                tracing::debug!(%digest, from, %error, "no credentials for mounting, uploading");
                let started = self.post_plain(digest).await?;
                mounts().refused(from, StatusCode::UNAUTHORIZED);
                return Ok(started);
            }
            answer => answer?,
        };
        if answer.status.is_success() {
            mounts().understood();
        }
        match answer.status {
            StatusCode::CREATED => Ok(UploadStart::Present),
            StatusCode::ACCEPTED => self.started(&call, answer),
            // Harbor answers 401 for an unknown `from`, GitLab for a second scope, and others
            // 404, 405 or worse: uploading works all the same.
            status => {
                tracing::debug!(%digest, from, %status, "mount refused, uploading");
                let started = self.post_plain(digest).await?;
                mounts().refused(from, status);
                Ok(started)
            }
        }
    }

    /// Begins an upload without asking to mount.
    async fn post_plain(&self, digest: &Digest) -> Result<UploadStart> {
        let url = self.url("blobs/uploads/");
        let call = self.upload_call(Operation::StartUpload, Method::POST, url, digest);
        let answer = self.send(&call).await?;
        self.started(&call, answer)
    }

    fn started(&self, call: &Call<'_>, answer: Answer) -> Result<UploadStart> {
        if !answer.status.is_success() {
            return Err(call.refused(&answer));
        }
        if let Some(min) = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok())
        {
            self.registry.facts.chunk_min.store(min, Ordering::Relaxed);
        }
        let location = self.location(call, &answer)?;
        Ok(UploadStart::Session(UploadSession { location: location.into(), offset: 0 }))
    }

    pub(super) async fn put_upload(
        &self,
        session: &UploadSession,
        digest: &Digest,
        body: BlobBody,
    ) -> Result<()> {
        let style = match *self.registry.facts.upload_style.lock() {
            // An upload that already holds bytes is continued by PATCH.
            Style::Put if session.offset > 0 => Style::Patch,
            style => style,
        };
        let size = session.offset.saturating_add(body.length);
        let url = match style {
            Style::Put => return self.put_whole(session, digest, body).await,
            Style::Patch => self.patch_rest(session, digest, body).await?,
            Style::Chunks => self.patch_chunks(session, digest, body).await?,
        };
        self.close(style, url, digest, size).await
    }

    /// Where the bytes go: to the address of the upload, to which `complete` is applied, or to where
    /// the registry has redirected them.
    fn address(
        &self,
        used: Style,
        session: &UploadSession,
        digest: &Digest,
        complete: impl FnOnce(&mut Url),
    ) -> Result<Url> {
        match self.registry.facts.redirects.lock().remove(&session.location) {
            Some((style, url)) if style == used => Ok(url),
            _ => {
                let what = What::Blob(self.name(), digest);
                let mut url = self.session_url(Operation::UploadBlob, what, session)?;
                complete(&mut url);
                Ok(url)
            }
        }
    }

    /// Sends everything from the session's offset on. After a redirect, this fails like a connection
    /// that broke, and the next try goes where the redirect has led.
    async fn send_rest(
        &self,
        used: Style,
        session: &UploadSession,
        call: &Call<'_>,
        body: BlobBody,
    ) -> Result<Answer> {
        let answer = self.registry.origin.send_body(call, body).await?;
        let Some(url) = self.redirect(call, &answer)? else { return Ok(answer) };
        let host = url.host_str().unwrap_or_default();
        let error = call.error(Cause::connection(format!(
            "the registry redirects the upload to {host} while its bytes are being sent"
        )));
        let mut redirects = self.registry.facts.redirects.lock();
        redirects.insert(session.location.clone(), (used, url));
        Err(error)
    }

    /// Where an answer redirects what was sent.
    fn redirect(&self, call: &Call<'_>, answer: &Answer) -> Result<Option<Url>> {
        if !link::is_redirect(&call.method, answer.status) {
            return Ok(None);
        }
        let url = self.allowed_location(answer).ok_or_else(|| call.error(redirect_refused()))?;
        Ok(Some(url))
    }

    /// Where the session goes on: the newest `Location` counts.
    fn location(&self, call: &Call<'_>, answer: &Answer) -> Result<Url> {
        self.allowed_location(answer).ok_or_else(|| no_location(call, answer))
    }

    fn allowed_location(&self, answer: &Answer) -> Option<Url> {
        let url = link::resolve(&answer.url, answer.header(LOCATION)?)?;
        // Otherwise another host could choose which address of the registry gets credentials.
        let comes_back = answer.strayed && link::same_origin(&self.registry.origin.base, &url);
        (!comes_back).then_some(url)
    }

    /// The answer to a part of an upload. The next try takes the next style if this one was
    /// refused for its form.
    fn accepted(&self, used: Style, call: &Call<'_>, answer: &Answer) -> Result<()> {
        if answer.status.is_success() {
            return Ok(());
        }
        let error = call.refused(answer);
        if let Some(next) = used.next()
            && is_about_form(answer)
        {
            tracing::debug!(registry = %self.registry.origin.host, ?used, ?next, %error, "the registry does not take this form of upload");
            // Others that still used the old form may have learnt more meanwhile.
            let mut known = self.registry.facts.upload_style.lock();
            *known = next.max(*known);
        }
        Err(error)
    }

    fn session_url(
        &self,
        operation: Operation,
        what: What<'_>,
        session: &UploadSession,
    ) -> Result<Url> {
        session.location.parse().map_err(|_| {
            let cause = Cause::Protocol("the upload's address is not valid".to_owned());
            Error::new(operation.step(), what.to_string(), cause)
        })
    }

    async fn put_whole(
        &self,
        session: &UploadSession,
        digest: &Digest,
        body: BlobBody,
    ) -> Result<()> {
        let url = self.address(Style::Put, session, digest, |url| add_digest(url, digest))?;
        let call = self
            .upload_call(Operation::UploadBlob, Method::PUT, url, digest)
            .header(CONTENT_TYPE, OCTETS);
        let answer = self.send_rest(Style::Put, session, &call, body).await?;
        self.accepted(Style::Put, &call, &answer)
    }

    /// Sends everything from the session's offset on in one PATCH; gives the address for the closing
    /// PUT.
    async fn patch_rest(
        &self,
        session: &UploadSession,
        digest: &Digest,
        mut body: BlobBody,
    ) -> Result<Url> {
        let (offset, length) = (session.offset, body.length);
        let url = self.address(Style::Patch, session, digest, |_| ())?;
        let mut call = self
            .upload_call(Operation::UploadBlob, Method::PATCH, url.clone(), digest)
            .header(CONTENT_TYPE, OCTETS);
        if length == 0 {
            // Everything is there. The end of the body still says whether it may be committed.
            return match body.chunks.next().await {
                None => Ok(url),
                Some(_) => Err(gave_up(&call)),
            };
        }
        if offset > 0 {
            call = call.header(CONTENT_RANGE, range(offset, length));
        }
        let answer = self.send_rest(Style::Patch, session, &call, body).await?;
        self.accepted(Style::Patch, &call, &answer)?;
        self.location(&call, &answer)
    }

    async fn patch_chunks(
        &self,
        session: &UploadSession,
        digest: &Digest,
        mut body: BlobBody,
    ) -> Result<Url> {
        let mut url = self.address(Style::Chunks, session, digest, |_| ())?;
        let mut call = self
            .upload_call(Operation::UploadBlob, Method::PATCH, url.clone(), digest)
            .header(CONTENT_TYPE, OCTETS);
        let least = self.registry.facts.chunk_min.load(Ordering::Relaxed);
        if least > LARGEST_CHUNK {
            return Err(call.error(Cause::Protocol(format!(
                "the registry wants chunks of {least} bytes or more, which is too much"
            ))));
        }
        let size = CHUNK.max(least) as usize;
        let (mut at, mut left, mut held) = (session.offset, body.length, BytesMut::new());
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(size);
            let chunk = fill(&mut held, &mut body, wanted).await.ok_or_else(|| gave_up(&call))?;
            let length = chunk.len() as u64;
            call.url = url.clone();
            call = call.header(CONTENT_RANGE, range(at, length));
            let answer = self.send_chunk(&mut call, &chunk).await?;
            self.accepted(Style::Chunks, &call, &answer)?;
            url = self.location(&call, &answer)?;
            at += length;
            left -= length;
        }
        Ok(url)
    }

    /// Sends a chunk, wherever redirects lead. One try: what became of a chunk without an answer is
    /// for `get_upload` to find out.
    async fn send_chunk(&self, call: &mut Call<'_>, chunk: &Bytes) -> Result<Answer> {
        for _ in 0..=link::MAX_REDIRECTS {
            let answer = self.registry.origin.send_body(call, pieces(chunk.clone())).await?;
            match self.redirect(call, &answer)? {
                Some(url) => call.url = url,
                None => return Ok(answer),
            }
        }
        Err(call.error(too_many_redirects()))
    }

    /// The closing PUT without a body, which can be repeated. The registry hashes and stores all
    /// `size` bytes before it answers.
    async fn close(&self, used: Style, mut url: Url, digest: &Digest, size: u64) -> Result<()> {
        add_digest(&mut url, digest);
        let mut call = self
            .upload_call(Operation::CommitBlob, Method::PUT, url, digest)
            .header(CONTENT_TYPE, OCTETS);
        call.patience = Some(self.registry.origin.settings.timeouts.commit_of(size));
        let answer = self.send(&call).await?;
        self.accepted(used, &call, &answer)
    }

    pub(super) async fn get_upload(
        &self,
        session: &UploadSession,
    ) -> Result<Option<UploadSession>> {
        if self.registry.facts.redirects.lock().contains_key(&session.location) {
            return Ok(Some(session.clone()));
        }
        let what = What::Name(self.name());
        let url = self.session_url(Operation::AskForUpload, what, session)?;
        let call = self.call(Operation::AskForUpload, what, Method::GET, url.clone(), &self.writes);
        let answer = self.send(&call).await?;
        if !answer.status.is_success() {
            // 404 where the session is gone; distribution 2.8 answers 404 for one that was cut in
            // mid-body, others 400. All of them mean the same: start anew.
            return Ok(None);
        }
        let location = self.allowed_location(&answer).unwrap_or(url);
        let offset = answer.header(RANGE).map_or(0, stored_bytes);
        Ok(Some(UploadSession { location: location.into(), offset }))
    }

    pub(super) async fn delete_upload(&self, session: &UploadSession) {
        let what = What::Name(self.name());
        self.registry.facts.redirects.lock().remove(&session.location);
        let Ok(url) = self.session_url(Operation::CancelUpload, what, session) else { return };
        let call = self.call(Operation::CancelUpload, what, Method::DELETE, url, &self.writes);
        if let Err(error) = self.send(&call).await {
            tracing::debug!(%error, "upload not cancelled");
        }
    }
}

/// Takes exactly `wanted` bytes out of the body; `None` when its sender gives up or ends early.
async fn fill(held: &mut BytesMut, body: &mut BlobBody, wanted: usize) -> Option<Bytes> {
    while held.len() < wanted {
        held.extend_from_slice(&body.chunks.next().await?.ok()?);
    }
    Some(held.split_to(wanted).freeze())
}

fn pieces(chunk: Bytes) -> BlobBody {
    let length = chunk.len();
    let pieces = (0..length)
        .step_by(PIECE)
        .map(move |at| Ok(chunk.slice(at..length.min(at.saturating_add(PIECE)))));
    BlobBody { length: length as u64, chunks: futures_util::stream::iter(pieces).boxed() }
}

/// `Content-Range` of a chunk as the specification wants it: inclusive, without `bytes`.
fn range(offset: u64, length: u64) -> HeaderValue {
    let text = format!("{offset}-{}", offset + length - 1);
    // Digits and a dash are valid in a header.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0-0"))
}

/// How many bytes a session holds, from its `Range: 0-<last>`.
///
/// Fresh sessions say `0-0` although no byte is there, and Quay `bytes=0--1`. A session that
/// holds exactly one byte cannot be told from a fresh one, so it counts as fresh.
fn stored_bytes(range: &str) -> u64 {
    let last = range
        .trim_start_matches("bytes=")
        .split_once('-')
        .and_then(|(_, last)| last.parse::<u64>().ok());
    match last {
        None | Some(0) => 0,
        Some(last) => last.saturating_add(1),
    }
}

fn gave_up(call: &Call<'_>) -> Error {
    call.error(Cause::connection("the source gave up"))
}

fn add_digest(url: &mut Url, digest: &Digest) {
    // Appended by hand: the query that is there must stay as the registry wrote it.
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&digest={digest}"),
        _ => format!("digest={digest}"),
    };
    url.set_query(Some(&query));
}

fn no_location(call: &Call<'_>, answer: &Answer) -> Error {
    let is_plain = answer.header(LOCATION.as_str()).is_some_and(|it| it.starts_with("http://"));
    let message = if is_plain && call.url.scheme() == "https" {
        "the registry, which is reached by https, sends the upload to an http address: the proxy in \
         front of it must pass `X-Forwarded-Proto: https` on"
    } else if answer.strayed {
        "another host, to which the registry has led, does not say where to upload to, or sends the \
         upload back to the registry, which would need its credentials there"
    } else {
        "the registry does not say where to upload to"
    };
    call.error(Cause::Protocol(message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_of_sessions() {
        let cases =
            [("0-0", 0), ("0-99", 100), ("bytes=0-99", 100), ("bytes=0--1", 0), ("", 0), ("x", 0)];
        assert_eq!(stored_bytes(&format!("0-{}", u64::MAX)), u64::MAX);
        for (range, expected) in cases {
            assert_eq!(stored_bytes(range), expected, "{range}");
        }
    }

    #[test]
    fn the_digest_is_appended_to_whatever_query_is_there() {
        let digest = Digest::of(b"");
        for (url, separator) in [("http://h/u", "?"), ("http://h/u?_state=a%2Bb", "&")] {
            let mut with: Url = url.parse().unwrap();
            add_digest(&mut with, &digest);
            assert_eq!(with.as_str(), format!("{url}{separator}digest={digest}"));
        }
    }
}

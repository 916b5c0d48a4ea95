//! Uploading blobs (distribution-spec, "Pushing blobs").
//!
//! A blob is mounted if possible. Else it is uploaded in one of three styles: one streamed PUT; one
//! PATCH without a range and a closing PUT; ranged PATCHes and a closing PUT. `upload_form` decides
//! which one.
//!
//! distribution 2 (also in Harbor and GitLab) forgets an upload whose request broke off, and keeps one
//! whose requests have ended. So large blobs go there in a PATCH without a length, which can be ended
//! at any byte.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use http::{Method, StatusCode};
use url::Url;

use super::answer::Answer;
use super::call::{Call, What};
use super::chunks::{fill, pieces, range, stored_bytes};
use super::link;
use super::operation::Operation;
use super::origin::{redirect_refused, too_many_redirects};
use super::remote::RemoteRepository;
use super::upload_form::{Form, Objection, Style};
use crate::oci::Digest;
use crate::repository::{
    BlobBody, Cause, Error, ErrorKind, Repository, Result, UploadSession, UploadStart,
    WORTH_RESUMING,
};

/// What the next request of an upload has to know, by the address that the registry gave it.
pub(super) type Notes = HashMap<String, Note>;

#[derive(Debug)]
pub(super) enum Note {
    /// Bytes in this style were redirected to this address. A body that can be read only once is gone
    /// when the redirect comes; whoever reads it again sends it there.
    Redirected(Style, Url),
    /// The blob is sent in another form, which begins with an upload of its own.
    Abandoned,
    /// The sender gave up, and the registry keeps what it got: this is where the upload stands.
    Left(UploadSession),
}

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The largest chunk that a registry may ask for: a chunk is held in memory.
const LARGEST_CHUNK: u64 = 64 << 20;
/// What bytes are sent for: which upload, of which blob, in which form.
#[derive(Clone, Copy)]
struct Part<'a> {
    session: &'a UploadSession,
    digest: &'a Digest,
    form: Form,
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
            Err(error) if matches!(error.cause(), Cause::Credentials { .. }) => {
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
        let mut form = self.registry.facts.upload_forms.lock().of(digest);
        if form.style == Style::Put && session.offset > 0 {
            // An upload that already holds bytes is continued by PATCH.
            form.style = Style::Patch;
        }
        let part = Part { session, digest, form };
        let size = session.offset.saturating_add(body.length);
        let open_ended = self.can_be_left(session, size);
        match form.style {
            Style::Put if !open_ended => self.put_whole(part, body).await?,
            Style::Put | Style::Patch => {
                let url = self.patch_rest(part, body, open_ended).await?;
                self.close(part, url, size).await?;
            }
            Style::Chunks => {
                let url = self.patch_chunks(part, body).await?;
                self.close(part, url, size).await?;
            }
        }
        self.registry.facts.upload_forms.lock().accepted(digest, form);
        Ok(())
    }

    /// Where the bytes go: to the address of the upload, to which `complete` is applied, or to where
    /// the registry has redirected them.
    fn address(&self, part: Part<'_>, complete: impl FnOnce(&mut Url)) -> Result<Url> {
        match self.registry.facts.uploads.lock().remove(&part.session.location) {
            Some(Note::Redirected(style, url)) if style == part.form.style => Ok(url),
            _ => {
                let what = What::Blob(self.name(), part.digest);
                let mut url = self.session_url(Operation::UploadBlob, what, part.session)?;
                complete(&mut url);
                Ok(url)
            }
        }
    }

    /// Sends everything from the session's offset on. After a redirect, this fails like a connection
    /// that broke, and the next try goes where the redirect has led.
    async fn send_rest(&self, part: Part<'_>, call: &Call<'_>, body: BlobBody) -> Result<Answer> {
        let answer = self.registry.origin.send_body(call, body).await?;
        let Some(url) = self.redirect(call, &answer)? else { return Ok(answer) };
        let host = url.host_str().unwrap_or_default();
        let error = call.error(Cause::connection(format!(
            "the registry redirects the upload to {host} while its bytes are being sent"
        )));
        self.note(part.session, Note::Redirected(part.form.style, url));
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
        let origin = &self.registry.origin;
        let comes_back = answer.strayed && link::same_origin(&origin.base, &url);
        origin.note_leader(answer);
        (!comes_back).then_some(url)
    }

    fn note(&self, session: &UploadSession, note: Note) {
        self.registry.facts.uploads.lock().insert(session.location.clone(), note);
    }

    /// The answer to the part of an upload that has these bytes; none: to its end. A refusal decides
    /// the form of the next try.
    fn accepted(
        &self,
        part: Part<'_>,
        call: &Call<'_>,
        answer: &Answer,
        sent: Range<u64>,
    ) -> Result<()> {
        if answer.status.is_success() {
            return Ok(());
        }
        let mut refusal = call.refusal(answer);
        let objection = Objection::of(answer.status, &answer.codes(), sent.end - sent.start);
        let objection = objection.filter(|objection| {
            // What was taken before is not given up, unless the form is certainly refused.
            sent.start == 0 || matches!(objection, Objection::Size(_) | Objection::Form)
        });
        let Some(objection) = objection else { return Err(call.error(refusal)) };
        let has_other = self.object(part, objection);
        // A refusal that would be final is not, as long as there is another form.
        if has_other && let Cause::Refused { kind: kind @ ErrorKind::Unwanted, .. } = &mut refusal {
            *kind = ErrorKind::Invalid;
        }
        Err(call.error(refusal))
    }

    /// A blob was refused. `true`: there is another form, in which it was not refused yet.
    fn object(&self, part: Part<'_>, objection: Objection) -> bool {
        let Part { session, digest, form: used } = part;
        let (has_other, next) = {
            let mut forms = self.registry.facts.upload_forms.lock();
            (forms.refused(digest, used, objection), forms.of(digest))
        };
        if next != used {
            tracing::debug!(registry = %self.registry.origin.host, %digest, ?used, ?objection, ?next, "the next try has another form of upload");
            if matches!(objection, Objection::Unclear | Objection::Steady) {
                self.note(session, Note::Abandoned);
            }
        }
        has_other
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

    async fn put_whole(&self, part: Part<'_>, body: BlobBody) -> Result<()> {
        let url = self.address(part, |url| add_digest(url, part.digest))?;
        let call = self
            .upload_call(Operation::UploadBlob, Method::PUT, url, part.digest)
            .header(CONTENT_TYPE, OCTETS);
        let length = body.length;
        let answer = self.send_rest(part, &call, body).await?;
        self.accepted(part, &call, &answer, 0..length)
    }

    /// Sends everything from the session's offset on in one PATCH; gives the address for the closing
    /// PUT. `open_ended`: without a length. If the sender gives up, the request then ends as it should,
    /// and it is noted where the upload stands.
    async fn patch_rest(
        &self,
        part: Part<'_>,
        mut body: BlobBody,
        open_ended: bool,
    ) -> Result<Url> {
        let (offset, length) = (part.session.offset, body.length);
        let url = self.address(part, |_| ())?;
        let mut call = self
            .upload_call(Operation::UploadBlob, Method::PATCH, url.clone(), part.digest)
            .header(CONTENT_TYPE, OCTETS);
        if length == 0 {
            // Everything is there. The end of the body still says whether it may be committed.
            return match body.chunks.next().await {
                None => Ok(url),
                Some(_) => Err(gave_up(&call)),
            };
        }
        let given_up = Arc::new(AtomicBool::new(false));
        if open_ended {
            call.open_ended = true;
            let gives_up = Arc::clone(&given_up);
            let chunks = body.chunks.take_while(move |chunk| {
                gives_up.fetch_or(chunk.is_err(), Ordering::Relaxed);
                std::future::ready(chunk.is_ok())
            });
            body.chunks = chunks.boxed();
        } else if offset > 0 {
            call = call.header(CONTENT_RANGE, range(offset, length));
        }
        let answer = self.send_rest(part, &call, body).await?;
        if open_ended && !answer.status.is_success() {
            self.registry.facts.wants_lengths.store(true, Ordering::Relaxed);
        }
        self.accepted(part, &call, &answer, offset..offset + length)?;
        let location = self.location(&call, &answer)?;
        if !given_up.load(Ordering::Relaxed) {
            return Ok(location);
        }
        let offset = answer.header(RANGE).map_or(0, stored_bytes);
        self.note(part.session, Note::Left(UploadSession { location: location.into(), offset }));
        Err(gave_up(&call))
    }

    /// Whether an upload is worth a second request, so that it can be left and resumed.
    fn can_be_left(&self, session: &UploadSession, size: u64) -> bool {
        size >= WORTH_RESUMING
            && keeps_whole_requests(&session.location)
            && !self.registry.facts.wants_lengths.load(Ordering::Relaxed)
    }

    async fn patch_chunks(&self, part: Part<'_>, mut body: BlobBody) -> Result<Url> {
        let mut url = self.address(part, |_| ())?;
        let mut call = self
            .upload_call(Operation::UploadBlob, Method::PATCH, url.clone(), part.digest)
            .header(CONTENT_TYPE, OCTETS);
        let least = self.registry.facts.chunk_min.load(Ordering::Relaxed);
        if least > LARGEST_CHUNK {
            return Err(call.error(Cause::Protocol(format!(
                "the registry wants chunks of {least} bytes or more, which is too much"
            ))));
        }
        let size = part.form.chunk.max(least) as usize;
        let (mut at, mut left, mut held) = (part.session.offset, body.length, BytesMut::new());
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(size);
            let chunk = fill(&mut held, &mut body, wanted).await.ok_or_else(|| gave_up(&call))?;
            let length = chunk.len() as u64;
            call.url = url.clone();
            call = call.header(CONTENT_RANGE, range(at, length));
            let answer = self.send_chunk(&mut call, &chunk).await?;
            self.accepted(part, &call, &answer, at..at + length)?;
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
    async fn close(&self, part: Part<'_>, mut url: Url, size: u64) -> Result<()> {
        add_digest(&mut url, part.digest);
        let mut call = self
            .upload_call(Operation::CommitBlob, Method::PUT, url, part.digest)
            .header(CONTENT_TYPE, OCTETS);
        call.patience = Some(self.registry.origin.settings.timeouts.commit_of(size));
        match self.send(&call).await {
            Ok(answer) => self.accepted(part, &call, &answer, 0..0),
            Err(error) => {
                if failed_inside(&error) {
                    self.object(part, Objection::Unclear);
                }
                Err(error)
            }
        }
    }

    pub(super) async fn get_upload(
        &self,
        session: &UploadSession,
    ) -> Result<Option<UploadSession>> {
        let is_abandoned = match self.registry.facts.uploads.lock().get(&session.location) {
            Some(Note::Redirected(..)) => return Ok(Some(session.clone())),
            Some(Note::Left(session)) => return Ok(Some(session.clone())),
            Some(Note::Abandoned) => true,
            None => false,
        };
        if is_abandoned {
            self.delete_upload(session).await;
            return Ok(None);
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
        self.registry.facts.uploads.lock().remove(&session.location);
        let Ok(url) = self.session_url(Operation::CancelUpload, what, session) else { return };
        let call = self.call(Operation::CancelUpload, what, Method::DELETE, url, &self.writes);
        if let Err(error) = self.send(&call).await {
            tracing::debug!(%error, "upload not cancelled");
        }
    }
}

/// Whether the registry has answered 500 to the end: it may fail because of how the bytes came.
fn failed_inside(error: &Error) -> bool {
    let internal = StatusCode::INTERNAL_SERVER_ERROR.to_string();
    matches!(error.cause(), Cause::Refused { status, .. } if *status == internal)
}

/// Whether this is the address of an upload at distribution or what is built on it: it carries the
/// offset of the last request that has ended, and with another offset the upload is refused.
fn keeps_whole_requests(location: &str) -> bool {
    let query = location.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| pair.starts_with("_state="))
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
    fn the_digest_is_appended_to_whatever_query_is_there() {
        let digest = Digest::of(b"");
        for (url, separator) in [("http://h/u", "?"), ("http://h/u?_state=a%2Bb", "&")] {
            let mut with: Url = url.parse().unwrap();
            add_digest(&mut with, &digest);
            assert_eq!(with.as_str(), format!("{url}{separator}digest={digest}"));
        }
    }
}

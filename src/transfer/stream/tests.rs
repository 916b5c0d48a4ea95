//! A target that answers before it has read the blob, on a connection that it neither reads on
//! nor closes.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;

use super::*;
use crate::fair::{Flow, Pulses};
use crate::http::Backoff;
use crate::oci::{Digest, Manifest, Tag};
use crate::repository::{
    BlobBody, BlobReader, ErrorKind, Placement, Reference, Resolved, Stored, UploadSession,
};
use crate::state::State;
use crate::transfer::events::TransferId;
use crate::transfer::reporter::{ActiveTransfers, UploadPosition};

const CHUNK: usize = 1000;

/// A source of `blob`, and a target that answers every upload at once.
#[derive(Debug)]
struct Hasty {
    blob: Bytes,
    refusal: Option<ErrorKind>,
    /// What starting an upload anew says.
    has_it: bool,
    unread: Mutex<Vec<Unread>>,
}

struct Unread(#[expect(dead_code, reason = "it is kept, not read")] BlobBody);

impl std::fmt::Debug for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unread")
    }
}

fn refused(kind: ErrorKind) -> Error {
    let cause = Cause::Refused { kind, status: "no".to_owned(), message: String::new() };
    Error::new("upload blob", "hasty", cause)
}

#[async_trait]
impl Repository for Hasty {
    fn name(&self) -> &str {
        "hasty/app"
    }
    fn store(&self) -> &str {
        "hasty"
    }
    fn path(&self) -> &str {
        "app"
    }
    async fn blob(&self, _: &Digest, offset: u64) -> Result<BlobReader> {
        let rest = self.blob.slice(offset as usize..);
        let chunks: Vec<_> = rest.chunks(CHUNK).map(Bytes::copy_from_slice).map(Ok).collect();
        Ok(BlobReader { offset, size: None, chunks: futures_util::stream::iter(chunks).boxed() })
    }
    async fn start_upload(&self, _: &Digest, _: Option<&str>) -> Result<UploadStart> {
        if self.has_it { Ok(UploadStart::Present) } else { Err(refused(ErrorKind::Unavailable)) }
    }
    async fn finish_upload(&self, _: &UploadSession, _: &Digest, body: BlobBody) -> Result<()> {
        self.unread.lock().push(Unread(body));
        self.refusal.map_or(Ok(()), |kind| Err(refused(kind)))
    }
    async fn upload_status(&self, _: &UploadSession) -> Result<Option<UploadSession>> {
        Ok(None)
    }
    async fn cancel_upload(&self, _: &UploadSession) {}
    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        unreachable!()
    }
    async fn resolve(&self, _: &Reference) -> Result<Option<Resolved>> {
        unreachable!()
    }
    async fn manifest_within(&self, _: &Reference, _: usize) -> Result<Option<Manifest>> {
        unreachable!()
    }
    async fn blob_size(&self, _: &Digest) -> Result<Option<u64>> {
        unreachable!()
    }
    async fn put_manifest(&self, _: &Placement, _: &Manifest) -> Result<Stored> {
        unreachable!()
    }
    async fn referrers(&self, _: &Digest) -> Result<Option<Vec<Digest>>> {
        unreachable!()
    }
    async fn delete(&self, _: &Reference) -> Result<bool> {
        unreachable!()
    }
}

async fn streamed(refusal: Option<ErrorKind>, has_it: bool) -> Result<()> {
    let bytes = Bytes::from(vec![7; 100 * CHUNK]);
    let blob = Descriptor::new("application/octet-stream", Digest::of(&bytes), bytes.len() as u64);
    let hasty = Hasty { blob: bytes, refusal, has_it, unread: Mutex::default() };
    let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let streamer = Streamer {
        journal: UploadJournal::new(State::in_memory()),
        pauses: Pauses { backoff, jitter: || 0.0 },
    };
    let session = UploadSession { location: "there".to_owned(), offset: 0 };
    let transfers = ActiveTransfers::new(Vec::new(), Pulses::default());
    let id = TransferId {
        number: 0,
        flow: Flow::ALONE,
        source: "source".to_owned(),
        targets: Vec::new(),
    };
    let reporter = transfers.begin_as(id);
    let sent = AtomicU64::new(0);
    let position = UploadPosition::start(&reporter, hasty.store(), &sent);
    let uploads = vec![Upload { target: &hasty, session, position, has_company: false }];
    let wait = SourceWait::default();
    let streaming = streamer.stream(&reporter, &hasty, &blob, uploads, &wait);
    let mut results = tokio::time::timeout(Duration::from_secs(20), streaming).await.unwrap();
    results.pop().unwrap()
}

#[tokio::test]
async fn an_early_refusal_ends_the_upload() {
    let error = streamed(Some(ErrorKind::Denied), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn an_early_success_is_not_believed_but_asked_about() {
    streamed(None, true).await.unwrap();
    assert_eq!(streamed(None, false).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

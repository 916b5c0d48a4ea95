//! What registries differ in for good, as opposed to single faults.

use std::time::{Duration, Instant};

use crate::support::token_server::TokenServer;

/// How a registry lets clients in.
#[derive(Clone, Default)]
pub enum Login {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    /// `realm`: where the challenge sends clients, if not to the token server itself.
    Bearer {
        server: TokenServer,
        realm: Option<String>,
    },
}

/// How a registry answers a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mount {
    /// 201 when the other repository has the blob, else 202 with an open upload.
    #[default]
    Works,
    /// Always 202 with an open upload.
    Opens,
    /// Always this status.
    Refused(u16),
}

/// The nature of a scripted registry.
#[derive(Clone)]
pub struct Quirks {
    pub login: Login,
    /// Whether there is a referrers API.
    pub referrers_api: bool,
    /// Whether a PUT of a manifest with a subject is answered with `OCI-Subject`.
    pub oci_subject: bool,
    pub mount: Mount,
    /// Whether manifests whose parts are missing are refused (MANIFEST_BLOB_UNKNOWN).
    pub requires_parts: bool,
    /// Repositories must be created (`create_repository`) before a push: NAME_UNKNOWN.
    pub create_first: bool,
    /// Media types of manifests that are taken; others are answered 400.
    pub media_types: Option<Vec<String>>,
    /// A tag that exists is not moved: 409 TAG_IMMUTABLE.
    pub immutable_tags: bool,
    /// DELETE is answered 405.
    pub no_delete: bool,
    /// Deleting one tag deletes its manifest with all its tags.
    pub untag_takes_manifest: bool,
    /// A manifest that has a tag is not deleted: 400 GOOGLE_MANIFEST_DANGLING_TAG.
    pub tags_first: bool,
    /// Every write is answered 405.
    pub read_only: bool,
    /// Blob reads ignore `Range`.
    pub no_range: bool,
    /// Blobs are answered by a redirect (307) to the same path at this URL.
    pub blob_redirect: Option<String>,
    /// Bodies of uploads above this many bytes are answered 413, as by a proxy.
    pub max_body: Option<usize>,
    /// The body of a PUT of a blob is lost on its way, as behind some proxies.
    pub loses_put_bodies: bool,
    /// PATCH bodies above this many bytes are answered 416.
    pub max_patch: Option<usize>,
    /// `OCI-Chunk-Min-Length` of upload answers.
    pub chunk_min_length: Option<u64>,
    /// Upload locations are absolute URLs that begin with this.
    pub upload_base: Option<String>,
    /// Whether bytes that arrived before a connection broke stay in the upload (distribution
    /// 3.1), or the upload is lost with them (2.8).
    pub keeps_partial: bool,
    /// At most this many tags a page, whatever `n` says.
    pub page_cap: Option<usize>,
    /// The last page of tags has a `Link` too (Gitea).
    pub link_on_last_page: bool,
    /// No page of tags or repositories has a `Link`: a proxy takes it away.
    pub no_links: bool,
    /// Pages of tags are as long as they can be, whatever `n` says (distribution 2).
    pub ignores_n: bool,
    /// Pages of tags begin with the first tag, whatever `last` says (distribution 2).
    pub ignores_last: bool,
    /// An empty tag list is `null` (Go).
    pub tags_null: bool,
    /// No `Docker-Content-Digest` anywhere.
    pub no_content_digest: bool,
    /// Requests a second; those above are answered 429. A second begins with its first request.
    pub requests_per_second: Option<u32>,
    /// The limit is a bucket of so many tokens, which fills at the rate above.
    pub token_bucket: Option<u32>,
    /// `Retry-After` of those 429, if any.
    pub retry_after: Option<String>,
    /// Each answer takes so long: a registry far away.
    pub latency: Duration,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            login: Login::None,
            referrers_api: true,
            oci_subject: true,
            mount: Mount::Works,
            requires_parts: true,
            create_first: false,
            media_types: None,
            immutable_tags: false,
            no_delete: false,
            untag_takes_manifest: false,
            tags_first: false,
            read_only: false,
            no_range: false,
            blob_redirect: None,
            max_body: None,
            loses_put_bodies: false,
            max_patch: None,
            chunk_min_length: None,
            upload_base: None,
            keeps_partial: true,
            page_cap: None,
            link_on_last_page: false,
            no_links: false,
            ignores_n: false,
            ignores_last: false,
            tags_null: false,
            no_content_digest: false,
            requests_per_second: None,
            token_bucket: None,
            retry_after: Some("1".to_owned()),
            latency: Duration::ZERO,
        }
    }
}

/// What was asked of late.
#[derive(Default)]
pub struct Rate {
    /// When the current second began, or the bucket was last filled.
    since: Option<Instant>,
    /// Requests of the current second, or tokens that are not in the bucket.
    taken: f64,
}

impl Rate {
    /// Whether one more request fits.
    pub fn admits(&mut self, quirks: &Quirks, now: Instant) -> bool {
        let Some(limit) = quirks.requests_per_second.map(f64::from) else { return true };
        let passed = self.since.map_or(Duration::MAX, |since| now - since).as_secs_f64();
        match quirks.token_bucket.map(f64::from) {
            None => {
                if passed >= 1.0 {
                    *self = Self { since: Some(now), taken: 0.0 };
                }
                self.taken += 1.0;
                self.taken <= limit
            }
            Some(tokens) => {
                let taken = (self.taken - passed * limit).max(0.0);
                let admitted = taken + 1.0 <= tokens;
                *self = Self { since: Some(now), taken: taken + f64::from(u8::from(admitted)) };
                admitted
            }
        }
    }
}

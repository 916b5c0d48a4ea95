//! `Repository` over HTTP. Other files implement the methods; this one joins them.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use url::Url;

use super::Registry;
use super::auth::Scope;
use super::call::{Call, What};
use super::operation::Operation;
use crate::fair::Flow;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::repository::{
    BlobBody, BlobReader, Placement, Reference, Repository, Resolved, Result, Stored,
    UploadSession, UploadStart,
};

/// One repository of a registry.
#[derive(Debug)]
pub(super) struct RemoteRepository {
    pub registry: Arc<Registry>,
    /// `host/path`, for people.
    name: String,
    path: RepositoryName,
    pub flow: Flow,
    /// The scope of requests that only read. Where the repository will be written to, it is the scope
    /// for writing too, which saves a token.
    pub reads: Scope,
    pub writes: Scope,
    pub deletes: Scope,
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

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        self.list_tags().await
    }

    async fn resolve(&self, reference: &Reference) -> Result<Option<Resolved>> {
        self.head_manifest(reference).await
    }

    async fn manifest(&self, reference: &Reference) -> Result<Option<Manifest>> {
        self.get_manifest(reference).await
    }

    async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.head_blob(digest).await
    }

    async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobReader> {
        self.get_blob(digest, offset).await
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
        self.store_manifest(placement, manifest).await
    }

    async fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        self.list_referrers(subject).await
    }

    async fn delete(&self, reference: &Reference) -> Result<bool> {
        self.delete_manifest(reference).await
    }

    fn follow_up(&self) -> Option<String> {
        self.registry.follow_up()
    }
}

//! Lists: tags, repositories, referrers, page by page and bounded (distribution-spec,
//! "Content Discovery").

use std::collections::HashSet;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::Registry;
use super::answer::Answer;
use super::auth::Scope;
use super::link;
use super::remote::RemoteRepository;
use super::request::{Call, What};
use super::vendor;
use crate::oci::{Descriptor, Digest, RepositoryName, Tag, media_type};
use crate::repository::{Cause, Repository, Result};

/// The largest page that ECR and distribution 3 answer.
const PAGE: &str = "1000";
/// No repository has more: 10 000 pages are ten million tags.
const MAX_PAGES: usize = 10_000;
/// One page. Registries that ignore the page size send 100 000 tags at once.
const MAX_PAGE_BYTES: usize = 64 << 20;

impl RemoteRepository {
    pub(super) async fn list_tags(&self) -> Result<Option<Vec<Tag>>> {
        #[derive(Deserialize)]
        struct Page {
            // `null` for a repository without tags, and, in Nexus, in the middle of the list.
            tags: Option<Vec<Option<String>>>,
        }
        let mut url = self.url("tags/list");
        url.set_query(Some(&format!("n={PAGE}")));
        let mut tags = Vec::new();
        let what = What::Name(self.name());
        let pages =
            Pages { registry: &self.registry, step: "list tags of", what, scope: &self.reads };
        let found = pages
            .each(url, |page: Page| {
                let page = page.tags.unwrap_or_default();
                let count = page.len();
                // Artifactory lists digests among the tags: they do not parse as such.
                tags.extend(page.into_iter().flatten().filter_map(|tag| tag.parse::<Tag>().ok()));
                count
            })
            .await?;
        Ok(found.then_some(tags))
    }

    pub(super) async fn list_referrers(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        #[derive(Deserialize)]
        struct Page {
            manifests: Option<Vec<Descriptor>>,
        }
        // The first request finds out whether there is such an API; the others wait for that.
        let facts = &self.registry.facts;
        let mut first = None;
        if facts.referrers_api.get().is_none() {
            first = Some(facts.asking_referrers.lock().await);
        }
        match facts.referrers_api.get() {
            Some(false) => return Ok(None),
            Some(true) => first = None,
            None => {}
        }
        let what = What::Blob(self.name(), subject);
        let pages =
            Pages { registry: &self.registry, step: "list referrers of", what, scope: &self.reads };
        let mut referrers = Vec::new();
        let found = pages
            .each(self.url(&format!("referrers/{subject}")), |page: Page| {
                let page = page.manifests.unwrap_or_default();
                let count = page.len();
                referrers.extend(page);
                count
            })
            .await?;
        // An error means that somebody else has found out.
        let _ = facts.referrers_api.set(found);
        drop(first);
        Ok(found.then_some(referrers))
    }
}

impl Registry {
    /// Every repository that the credentials may see, as far as the product can list them.
    pub async fn repositories(&self) -> Result<Vec<RepositoryName>> {
        vendor::of(&self.host).repositories(self).await
    }

    /// `_catalog`: no part of the specification, but of distribution and many others.
    pub(super) async fn catalog(&self) -> Result<Vec<RepositoryName>> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let mut url = self.base.clone();
        url.set_path("/v2/_catalog");
        url.set_query(Some(&format!("n={PAGE}")));
        let scope = Scope::catalog();
        let what = What::Name(self.host.as_str());
        let pages = Pages { registry: self, step: "list repositories of", what, scope: &scope };
        let mut names = Vec::new();
        let found = pages
            .each(url.clone(), |page: Page| {
                let page = page.repositories.unwrap_or_default();
                let count = page.len();
                names.extend(
                    page.into_iter().filter_map(|name| name.parse::<RepositoryName>().ok()),
                );
                count
            })
            .await?;
        if found {
            return Ok(names);
        }
        let call = Call::new("list repositories of", what, Method::GET, url, &scope);
        Err(call.error(Cause::Unsupported(
            "this registry does not list its repositories: name each one in a rule of its own"
                .to_owned(),
        )))
    }
}

struct Pages<'a> {
    registry: &'a Registry,
    step: &'static str,
    what: What<'a>,
    scope: &'a Scope,
}

impl Pages<'_> {
    /// Follows `Link` headers from page to page; `take` gets each and says how many entries it
    /// had. `false`: the list does not exist.
    async fn each<P: DeserializeOwned>(
        &self,
        first: Url,
        mut take: impl FnMut(P) -> usize,
    ) -> Result<bool> {
        let mut seen = HashSet::new();
        let mut url = first;
        while seen.insert(url.to_string()) {
            if seen.len() > MAX_PAGES {
                return Err(
                    self.error(&url, format!("the registry sends more than {MAX_PAGES} pages"))
                );
            }
            let Some(answer) = self.page(&url, seen.len() == 1).await? else {
                return Ok(false);
            };
            let page = parse(&answer.body).map_err(|error| {
                self.error(&url, format!("the registry's answer is not such a list: {error}"))
            })?;
            let entries = take(page);
            // Gitea sends a next link behind the last page: an empty page ends the list.
            let Some(next) = link::next(&answer.headers).filter(|_| entries > 0) else {
                return Ok(true);
            };
            url = link::resolve(&answer.url, &next)
                .filter(|next| link::same_origin(next, &self.registry.base))
                .ok_or_else(|| {
                    self.error(&url, "the link to the next page leads to another host".to_owned())
                })?;
        }
        Err(self.error(&url, "the link to the next page leads back to a page before".to_owned()))
    }

    async fn page(&self, url: &Url, first: bool) -> Result<Option<Answer>> {
        let mut call = Call::new(self.step, self.what, Method::GET, url.clone(), self.scope);
        call.limit = MAX_PAGE_BYTES;
        let answer = self.registry.call(&call).await?;
        let is_referrers = self.step.starts_with("list referrers");
        match answer.status {
            StatusCode::OK if is_referrers && !is_index(&answer) => Ok(None),
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND if first => Ok(None),
            // Registries without the referrers API take its path for something else.
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED if first && is_referrers => {
                Ok(None)
            }
            _ => Err(call.error(answer.refusal())),
        }
    }

    fn error(&self, url: &Url, message: String) -> crate::repository::Error {
        Call::new(self.step, self.what, Method::GET, url.clone(), self.scope)
            .error(Cause::Protocol(message))
    }
}

/// A referrers list is an index; an answer of another type is some catch-all page.
fn is_index(answer: &Answer) -> bool {
    answer
        .header("content-type")
        .is_some_and(|text| media_type::essence(text) == media_type::OCI_INDEX)
}

fn parse<P: DeserializeOwned>(body: &Bytes) -> serde_json::Result<P> {
    serde_json::from_slice(body)
}

//! Lists: tags, repositories, referrers, page by page and bounded (distribution-spec,
//! "Content Discovery").

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::Registry;
use super::answer::Answer;
use super::auth::Scope;
use super::call::{Call, What};
use super::link;
use super::operation::Operation;
use super::origin::Origin;
use super::pagination::{NEXT_PAGE, Next, PAGE, Pagination};
use super::remote::RemoteRepository;
use crate::fair::Flow;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, RepositoryName, Tag, media_type};
use crate::repository::{Cause, Error, Repository, Result};
use crate::text::shorten;

/// No repository has more: 10 000 pages are ten million tags.
const MAX_PAGES: usize = 10_000;
/// What a list holds at most, to bound memory.
const MAX_ENTRIES: usize = 5_000_000;
/// One page. Registries that ignore the page size send 100 000 tags at once.
pub(super) const MAX_PAGE_BYTES: usize = 64 << 20;
/// A list of referrers, all its pages together: some ten thousand of them.
const MAX_REFERRERS_BYTES: usize = 32 << 20;
/// A list of referrers this long, or one with a page this long, is a long one. Usual ones have some KiB.
const SHORT_LIST: usize = 256 << 10;
/// Long lists of referrers that are read at once from one registry.
pub(super) const LONG_LISTS: usize = 4;
/// Pages without entries that are followed in a row: registries that leave out what the credentials
/// may not see send some.
const MAX_EMPTY_PAGES: u32 = 100;

/// A page of tags or repositories.
#[derive(Deserialize)]
struct Names {
    // `null` for a repository without tags, and, in Nexus, in the middle of the list.
    #[serde(alias = "repositories")]
    tags: Option<Vec<Option<String>>>,
}

/// A page of referrers, which is an index. Of each entry, only what is needed is kept: annotations and
/// types may be of any size.
#[derive(Deserialize)]
struct Referrers {
    manifests: Option<Vec<Referrer>>,
}

#[derive(Deserialize)]
struct Referrer {
    digest: Digest,
}

impl RemoteRepository {
    pub(super) async fn list_tags(&self) -> Result<Option<Vec<Tag>>> {
        let mut url = self.url("tags/list");
        url.set_query(Some(&format!("n={PAGE}")));
        let what = What::Name(self.name());
        let call = self.call(Operation::ListTags, what, Method::GET, url, &self.reads);
        let pages = Pages::new(&self.registry.origin, call, MAX_PAGE_BYTES);
        match pages.names().await? {
            Ok(tags) => Ok(Some(tags)),
            Err(answer) if answer.status == StatusCode::NOT_FOUND => Ok(None),
            Err(answer) => Err(pages.first.refused(&answer)),
        }
    }

    pub(super) async fn list_referrers(&self, subject: &Digest) -> Result<Option<Vec<Digest>>> {
        // The first request finds out whether there is such an API. The others wait for that one,
        // not for each other: it may have learnt nothing.
        let facts = &self.registry.facts;
        let mut first = None;
        let asked = &mut first;
        let ask = || async move { *asked = Some(self.ask_for_referrers(subject).await) };
        facts.asked_for_referrers.get_or_init(ask).await;
        match first {
            Some(answer) => answer,
            None if facts.referrers_api.get() == Some(&false) => Ok(None),
            None => self.ask_for_referrers(subject).await,
        }
    }

    async fn ask_for_referrers(&self, subject: &Digest) -> Result<Option<Vec<Digest>>> {
        let what = What::Blob(self.name(), subject);
        let url = self.url(&format!("referrers/{subject}"));
        let call = self.call(Operation::ListReferrers, what, Method::GET, url, &self.reads);
        let mut pages = Pages::new(&self.registry.origin, call, MAX_MANIFEST_BYTES);
        pages.media_type = Some(media_type::OCI_INDEX);
        pages.long_ones = Some(&self.registry.long_lists);
        let mut referrers = Vec::new();
        let entries = |page: Referrers| page.manifests.unwrap_or_default();
        let take = |page: Vec<Referrer>| referrers.extend(page.into_iter().map(|it| it.digest));
        let found = pages.each(entries, |_| None, take).await?;
        // Setting fails if another request has found out before.
        let api = &self.registry.facts.referrers_api;
        let Err(answer) = found else {
            let _ = api.set(true);
            return Ok(Some(referrers));
        };
        match answer.status {
            // Nothing is at such a path, in any repository.
            StatusCode::NOT_FOUND if answer.codes().is_empty() => {
                let _ = api.set(false);
                Ok(None)
            }
            // That may be so for this repository or subject only: unknown ones, for example. Or
            // the path was taken for something else, or the answer is some catch-all page.
            StatusCode::NOT_FOUND
            | StatusCode::OK
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::GONE
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::NOT_IMPLEMENTED => Ok(None),
            _ => Err(pages.first.refused(&answer)),
        }
    }
}

impl Registry {
    /// `_catalog`: no part of the specification, but of distribution and many others.
    pub(super) async fn catalog(&self, flow: Flow) -> Result<Vec<RepositoryName>> {
        let mut url = self.origin.base.clone();
        url.set_path("/v2/_catalog");
        url.set_query(Some(&format!("n={PAGE}")));
        let scope = Scope::catalog();
        let what = What::Name(self.host().as_str());
        let operation = Operation::ListRepositories;
        let call = self.origin.request(operation, what, Method::GET, url, &scope, flow);
        let pages = Pages::new(&self.origin, call, MAX_PAGE_BYTES);
        match pages.names().await? {
            Ok(names) => Ok(names),
            Err(answer) if answer.status == StatusCode::NOT_FOUND => {
                Err(pages.first.error(Cause::Unsupported(
                    "this registry does not list its repositories: name each one in a rule of its own"
                        .to_owned(),
                )))
            }
            Err(answer) => Err(pages.first.refused(&answer)),
        }
    }
}

/// A list whose pages have numbers, each of which says whether another one follows.
pub(super) struct NumberedPages<'a> {
    origin: &'a Origin,
    /// Asks for the first page. It names no number.
    pub first: Call<'a>,
}

impl<'a> NumberedPages<'a> {
    pub fn new(origin: &'a Origin, mut first: Call<'a>) -> Self {
        first.limit = MAX_PAGE_BYTES;
        Self { origin, first }
    }

    /// `take` gets each page, and says whether another one follows. `Err` of `Ok`: the answer that came
    /// instead of the first page.
    pub async fn each<P: DeserializeOwned>(
        &self,
        mut take: impl FnMut(P) -> bool,
    ) -> Result<std::result::Result<(), Answer>> {
        for number in 1..=MAX_PAGES {
            let mut call = self.first.clone();
            call.url.query_pairs_mut().append_pair("page", &number.to_string());
            let answer = self.origin.call(&call).boxed().await?;
            if answer.status != StatusCode::OK {
                return if number == 1 {
                    Ok(Err(answer))
                } else {
                    Err(self.first.refused(&answer))
                };
            }
            let page = serde_json::from_slice(&answer.body).map_err(|error| {
                let message = format!("the registry's answer is not a valid list: {error}");
                self.first.error(Cause::Protocol(message))
            })?;
            if !take(page) {
                return Ok(Ok(()));
            }
        }
        let message = format!("the registry sends more than {MAX_PAGES} pages");
        Err(self.first.error(Cause::Protocol(message)))
    }
}

/// Whether a document names this media type as its own.
fn says_it_is(document: &[u8], media_type: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let typed = serde_json::from_slice::<Typed>(document).ok();
    typed.is_some_and(|typed| typed.media_type.as_deref() == Some(media_type))
}

/// A list, page by page.
pub(super) struct Pages<'a> {
    origin: &'a Origin,
    /// Asks for the first page.
    pub first: Call<'a>,
    /// What a page must be; an answer of another type is something else.
    media_type: Option<&'static str>,
    /// Of lists that are bounded as a whole: those that are long are read few at a time, because each
    /// takes memory.
    long_ones: Option<&'a Semaphore>,
    /// After so many pages, no other is asked for: of lists of which a part is of use.
    pub most: usize,
}

impl<'a> Pages<'a> {
    pub fn new(origin: &'a Origin, mut first: Call<'a>, page_bytes: usize) -> Self {
        first.limit = page_bytes;
        Self { origin, first, media_type: None, long_ones: None, most: usize::MAX }
    }

    /// All names in a list of tags or of repositories.
    async fn names<N: FromStr>(&self) -> Result<std::result::Result<Vec<N>, Answer>> {
        self.names_in(|page: Names| page.tags.unwrap_or_default(), |name| name.parse().ok()).await
    }

    /// All names in the list, but for those that are not valid: Artifactory lists digests among the
    /// tags. `Err` of `Ok`: see `each`.
    pub async fn names_in<P: DeserializeOwned, N>(
        &self,
        page: fn(P) -> Vec<Option<String>>,
        parse: impl Fn(&str) -> Option<N>,
    ) -> Result<std::result::Result<Vec<N>, Answer>> {
        let (mut names, mut example, mut invalid) = (Vec::new(), None, 0_usize);
        let take = |page: Vec<Option<String>>| {
            for name in page.into_iter().flatten() {
                match parse(&name) {
                    Some(name) => names.push(name),
                    None if name.parse::<Digest>().is_ok() => {}
                    None => {
                        invalid += 1;
                        example.get_or_insert(name);
                    }
                }
            }
        };
        let found = self.each(page, |name| name.as_deref(), take).await?;
        if let Some(example) = example
            && !self.origin.warned_of_names.swap(true, Ordering::Relaxed)
        {
            let example = shorten(&example, 200);
            tracing::warn!(registry = %self.origin.host, list = %self.first.what, invalid, example, "a list has names that are not valid, which are left out");
        }
        Ok(found.map(|()| names))
    }

    /// Follows `Link` headers from page to page, and asks for what stands behind a full page
    /// that has none; `take` gets the entries of each. A list that may lack something is an error.
    /// `Err` of `Ok`: the answer that came instead of the first page.
    ///
    /// `name`: what `last` has to say for the entries behind this one; nothing in lists that have
    /// no such parameter.
    pub async fn each<P: DeserializeOwned, E>(
        &self,
        entries: fn(P) -> Vec<E>,
        name: fn(&E) -> Option<&str>,
        mut take: impl FnMut(Vec<E>),
    ) -> Result<std::result::Result<(), Answer>> {
        let (mut seen, mut all, mut bytes, mut empty_ones) = (HashSet::new(), 0, 0, 0);
        let mut turn = None;
        // `None`: there was a link, so it means something where there is none.
        let mut pagination = Some(Pagination::default());
        let mut url = self.first.url.clone();
        let is_first = |seen: &HashSet<String>| seen.len() == 1;
        while seen.insert(url.to_string()) {
            if seen.len() > MAX_PAGES {
                return Err(self.broken(format!("the registry sends more than {MAX_PAGES} pages")));
            }
            let mut answer = self.page(&url, &mut turn).await?;
            if is_first(&seen)
                && answer.status == StatusCode::BAD_REQUEST
                && url.query().is_some_and(|query| query.starts_with("n="))
            {
                // The page is larger than the registry allows: it chooses the size, then.
                url.set_query(None);
                answer = self.page(&url, &mut turn).await?;
                pagination = Some(Pagination::of_unknown_size());
            }
            if !self.is_page(&answer) {
                if is_first(&seen) {
                    return Ok(Err(answer));
                }
                return Err(self.first.refused(&answer));
            }
            bytes += answer.body.len();
            if let Some(long_ones) = self.long_ones {
                if bytes > MAX_REFERRERS_BYTES {
                    return Err(self.broken(format!(
                        "the registry lists more than {} MiB of referrers of one manifest",
                        MAX_REFERRERS_BYTES >> 20
                    )));
                }
                if bytes > SHORT_LIST && turn.is_none() {
                    turn = long_ones.acquire().await.ok();
                }
            }
            let page = serde_json::from_slice(&answer.body).map_err(|error| {
                self.broken(format!("the registry's answer is not a valid list: {error}"))
            })?;
            let mut entries = entries(page);
            empty_ones = if entries.is_empty() { empty_ones + 1 } else { 0 };
            let next = match (self.next_link(&answer)?, &mut pagination) {
                // An empty page that leads to itself says that there is nothing behind it.
                (Some(next), _) if entries.is_empty() && next == url => Ok(None),
                (Some(next), _) => {
                    pagination = None;
                    Ok(Some(next))
                }
                (None, None) => Ok(None),
                (None, Some(list)) => {
                    let known: Vec<bool> = entries
                        .iter()
                        .map(|entry| name(entry).is_some_and(|name| list.knows(name)))
                        .collect();
                    let next = list.next(entries.len(), entries.iter().filter_map(name));
                    let asked = list.has_size().then_some(NEXT_PAGE);
                    let mut known = known.into_iter();
                    entries.retain(|_| !known.next().unwrap_or_default());
                    self.behind(next, asked)
                }
            };
            all += entries.len();
            if all > MAX_ENTRIES {
                let message = format!("the registry lists more than {MAX_ENTRIES} entries");
                return Err(self.broken(message));
            }
            take(entries);
            match next? {
                None => return Ok(Ok(())),
                Some(_) if seen.len() >= self.most => return Ok(Ok(())),
                Some(_) if empty_ones > MAX_EMPTY_PAGES => {
                    return Err(self.broken(format!(
                        "the registry sends more than {MAX_EMPTY_PAGES} empty pages in a row"
                    )));
                }
                Some(next) => url = next,
            }
        }
        Err(self.broken("the link to the next page leads back to an earlier page".to_owned()))
    }

    /// Asks for a page. If it shows that the list is long, the list waits for its `turn`.
    async fn page(&self, url: &Url, turn: &mut Option<SemaphorePermit<'a>>) -> Result<Answer> {
        let call = |limit| Call { url: url.clone(), limit, ..self.first.clone() };
        if let Some(long_ones) = self.long_ones
            && turn.is_none()
        {
            match self.origin.call(&call(SHORT_LIST)).boxed().await {
                Err(error) if matches!(error.cause(), Cause::LargerThan(_)) => {}
                answer => return answer,
            }
            // The semaphore is never closed.
            *turn = long_ones.acquire().await.ok();
        }
        // Boxed, because what awaits a list is nested deeply enough by itself.
        self.origin.call(&call(self.first.limit)).boxed().await
    }

    /// The next page, at the registry itself: behind a proxy, registries name themselves as that
    /// calls them.
    fn next_link(&self, answer: &Answer) -> Result<Option<Url>> {
        let Some(next) = link::next(&answer.headers) else { return Ok(None) };
        let Ok(next) = answer.url.join(&next) else {
            return Err(self.broken("the link to the next page is no address".to_owned()));
        };
        let mut url = self.origin.base.clone();
        url.set_path(next.path());
        url.set_query(next.query());
        Ok(Some(url))
    }

    /// Where a list without links continues, in pages of so many entries.
    fn behind(&self, next: Next, size: Option<usize>) -> Result<Option<Url>> {
        match next {
            Next::End => Ok(None),
            Next::Behind(last) => {
                let mut url = self.first.url.clone();
                url.query_pairs_mut()
                    .clear()
                    .extend_pairs(size.map(|size| ("n", size.to_string())))
                    .append_pair("last", &last);
                Ok(Some(url))
            }
            Next::Unknown => Err(self.broken(
                "the registry sends a full page, no link to the next one, and nothing else when \
                 it is asked for what stands behind it: the list may go on"
                    .to_owned(),
            )),
        }
    }

    fn is_page(&self, answer: &Answer) -> bool {
        let is = answer.header(CONTENT_TYPE).map(media_type::essence);
        let is_wanted = |wanted: &str| match is.as_deref() {
            // Some send every document under the type of all JSON.
            Some("application/json") => says_it_is(&answer.body, wanted),
            is => is == Some(wanted),
        };
        answer.status == StatusCode::OK && self.media_type.is_none_or(is_wanted)
    }

    fn broken(&self, message: String) -> Error {
        self.first.error(Cause::Protocol(message))
    }
}

//! Lists of tags that have digests: how several products' are treated alike.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use url::Url;

use crate::oci::{Digest, RegistryHost, Tag};
use crate::registry::auth::Scope;
use crate::registry::call::What;
use crate::registry::listing::{MAX_PAGE_BYTES, NumberedPages, Pages};
use crate::registry::operation::Operation;
use crate::registry::origin::Origin;
use crate::registry::remote::RemoteRepository;
use crate::repository::{Error, ErrorKind, ListedTag, Repository, Result};

/// A list that could not be had is not asked for again for so long.
const RESTS: Duration = Duration::from_hours(1);

/// What tags point at, by their names.
pub type Digests<'a> = BoxFuture<'a, Result<HashMap<String, Digest>>>;

/// A tag's name in a list, and what it points at.
pub type Named = (String, Option<Digest>);

/// Whether a registry's own lists of tags can be had.
#[derive(Debug, Default)]
pub struct OwnLists {
    /// When the last one could not.
    failed: Mutex<Option<Instant>>,
}

impl OwnLists {
    pub fn are_worth_asking_for(&self) -> bool {
        self.failed.lock().is_none_or(|failed| failed.elapsed() >= RESTS)
    }

    /// Notes that one cannot be had, and tells so once. `error`: why not, where the product should have
    /// it.
    pub fn failed(&self, registry: &RegistryHost, error: Option<&Error>) {
        let before = self.failed.lock().replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() < RESTS) {
            return;
        }
        match error {
            // Nothing is wrong: whoever may read the images need not have credentials for an API.
            Some(error) if error.kind() != ErrorKind::Unauthenticated => {
                tracing::warn!(%registry, %error, "tags cannot be listed with their digests, so each is looked up");
            }
            _ => {
                tracing::debug!(%registry, "tags are not listed with their digests, so each is looked up");
            }
        }
    }
}

/// The tags of a repository as the specification lists them.
pub async fn plain(repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
    let tags = repository.list_tags().await?;
    Ok(tags.map(|tags| tags.into_iter().map(ListedTag::from).collect()))
}

/// The tags by a list of the product's own, or as the specification lists them if it has none or fails.
/// That it has none is shown by a repository that exists.
pub async fn own(
    repository: &RemoteRepository,
    own: impl Future<Output = Result<Option<Vec<ListedTag>>>> + Send,
) -> Result<Option<Vec<ListedTag>>> {
    let lists = &repository.registry.facts.own_lists;
    if !lists.are_worth_asking_for() {
        return plain(repository).await;
    }
    let failure = match own.await {
        Ok(Some(listed)) => return Ok(Some(listed)),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let listed = plain(repository).await?;
    if listed.is_some() {
        lists.failed(repository.registry.host(), failure.as_ref());
    }
    Ok(listed)
}

/// The tags as the specification lists them, with what they point at by `digests`, which gets their
/// number. For `few` tags, it is not asked. So nothing is missing that the product leaves out of lists of
/// its own.
pub async fn with_digests<'a>(
    repository: &'a RemoteRepository,
    few: usize,
    digests: fn(&'a RemoteRepository, usize) -> Digests<'a>,
) -> Result<Option<Vec<ListedTag>>> {
    let Some(listed) = plain(repository).await? else { return Ok(None) };
    let lists = &repository.registry.facts.own_lists;
    if listed.len() <= few || !lists.are_worth_asking_for() {
        return Ok(Some(listed));
    }
    let mut digests = match digests(repository, listed.len()).await {
        Ok(digests) => digests,
        Err(error) => {
            lists.failed(repository.registry.host(), Some(&error));
            HashMap::new()
        }
    };
    let listed = listed.into_iter().map(|listed| {
        let digest = digests.remove(listed.tag.as_str());
        ListedTag { digest, ..listed }
    });
    Ok(Some(listed.collect()))
}

/// A list of tags with digests at this address. `None`: there is none. `entries`: the names in a page,
/// with what they point at.
pub async fn read<P: DeserializeOwned>(
    repository: &RemoteRepository,
    url: Url,
    scope: &Scope,
    entries: fn(P) -> Vec<Named>,
) -> Result<Option<Vec<ListedTag>>> {
    let what = What::Name(repository.name());
    let call = repository.call(Operation::ListTags, what, Method::GET, url, scope);
    let pages = Pages::new(&repository.registry.origin, call, MAX_PAGE_BYTES);
    let mut listed = Vec::new();
    let take = |page: Vec<Named>| listed.extend(page);
    match pages.each(entries, |(name, _)| Some(name), take).await? {
        Ok(()) => Ok(Some(named_once(listed))),
        Err(answer) if answer.status == StatusCode::NOT_FOUND => Ok(None),
        Err(answer) => Err(pages.first.refused(&answer)),
    }
}

/// As `read`, of an API whose pages have numbers. `entries`: also whether another page follows.
pub async fn read_numbered<P: DeserializeOwned>(
    repository: &RemoteRepository,
    api: &Origin,
    url: Url,
    entries: fn(P) -> (Vec<Named>, bool),
) -> Result<Option<Vec<ListedTag>>> {
    let (what, scope) = (What::Name(repository.name()), Scope::base());
    let call = api.request(Operation::ListTags, what, Method::GET, url, &scope, repository.flow);
    let pages = NumberedPages::new(api, call);
    let mut listed = Vec::new();
    let take = |page| {
        let (page, more) = entries(page);
        let goes_on = more && !page.is_empty();
        listed.extend(page);
        goes_on
    };
    match pages.each(take).await? {
        Ok(()) => Ok(Some(named_once(listed))),
        Err(answer) if answer.status == StatusCode::NOT_FOUND => Ok(None),
        Err(answer) => Err(pages.first.refused(&answer)),
    }
}

/// The tags of a list with digests, each once. Of a tag that moved while the list was read, it does not
/// tell what it points at.
pub fn named_once(listed: Vec<Named>) -> Vec<ListedTag> {
    let mut tags: BTreeMap<Tag, Option<Digest>> = BTreeMap::new();
    for (name, digest) in listed {
        // What is no tag's name by the specification cannot be asked for.
        let Ok(tag) = name.parse() else { continue };
        match tags.entry(tag) {
            Entry::Vacant(entry) => _ = entry.insert(digest),
            Entry::Occupied(mut entry) if *entry.get() != digest => _ = entry.insert(None),
            Entry::Occupied(_) => {}
        }
    }
    tags.into_iter().map(|(tag, digest)| ListedTag { tag, digest }).collect()
}

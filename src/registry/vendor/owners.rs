//! Products whose APIs list the repositories of one owner at a time.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::fair::Flow;
use crate::oci::RepositoryName;
use crate::registry::Registry;
use crate::registry::auth::Scope;
use crate::registry::call::What;
use crate::registry::listing::NumberedPages;
use crate::registry::operation::Operation;
use crate::repository::{Cause, Error, Result};

/// The owners that these paths begin with.
///
/// # Errors
/// A path names none. `product`: who lists what, for people.
pub fn of(registry: &Registry, below: &[&str], product: &str) -> Result<BTreeSet<String>> {
    let owner = |path: &&str| path.split('/').next().unwrap_or_default().to_owned();
    let owners: BTreeSet<String> = below.iter().map(owner).collect();
    if owners.contains("") {
        let host = registry.host();
        let message = format!(
            "{product} of one owner at a time: begin with the owner, as in `{host}/acme/**`"
        );
        let step = Operation::ListRepositories.step();
        return Err(Error::new(step, host.to_string(), Cause::Unsupported(message)));
    }
    Ok(owners)
}

/// The repositories of an owner, by a list of the API whose pages have numbers. None if there is no
/// such owner. `path`: of the list, with its query. `entries`: the names in a page, below the owner, and
/// whether another page follows.
pub async fn read_numbered<P: DeserializeOwned>(
    registry: &Registry,
    owner: &str,
    (path, query): (&str, &str),
    entries: fn(P) -> (Vec<String>, bool),
    flow: Flow,
) -> Result<Vec<RepositoryName>> {
    let api = registry.api()?;
    let mut url = api.base.clone();
    url.set_path(path);
    url.set_query(Some(query));
    let shown = format!("{}/{owner}", registry.host());
    let (what, scope) = (What::Name(&shown), Scope::base());
    let call = api.request(Operation::ListRepositories, what, Method::GET, url, &scope, flow);
    let pages = NumberedPages::new(api, call);
    // Pages overlap if something is pushed while they are read.
    let mut names = BTreeSet::new();
    let take = |page| {
        let (page, more) = entries(page);
        let goes_on = more && !page.is_empty();
        names.extend(page.into_iter().filter_map(|name| format!("{owner}/{name}").parse().ok()));
        goes_on
    };
    match pages.each(take).await? {
        Ok(()) => Ok(names.into_iter().collect()),
        Err(answer) if answer.status == StatusCode::NOT_FOUND => Ok(Vec::new()),
        Err(answer) => Err(pages.first.refused(&answer)),
    }
}

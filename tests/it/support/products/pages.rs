//! Lists in pages, as they are while others push and delete.

use serde_json::json;

use super::asked::Asked;
use super::inventory::Repository;
use crate::support::wire::Response;

/// One page of a list.
pub struct Page<T> {
    pub entries: Vec<T>,
    /// How many entries the whole list has.
    pub total: usize,
    /// Whether there are entries behind it.
    pub more: bool,
}

/// The entries from `start` on, at most `limit`; `shift` moves every page but the first.
pub fn page<T>(list: Vec<T>, start: usize, limit: usize, shift: isize) -> Page<T> {
    let total = list.len();
    let start = if start == 0 { 0 } else { start.saturating_add_signed(shift) };
    let more = start.saturating_add(limit) < total;
    Page { entries: list.into_iter().skip(start).take(limit).collect(), total, more }
}

/// The page that `page` and `per_page` ask for, the first being 1.
pub fn numbered<T>(list: Vec<T>, number: usize, limit: usize, shift: isize) -> Page<T> {
    page(list, number.saturating_sub(1).saturating_mul(limit), limit, shift)
}

/// The path and query of a request, for another page of its list.
pub fn at_page(asked: &Asked, number: usize) -> String {
    let kept = url::form_urlencoded::parse(asked.head.query.as_bytes());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(kept.filter(|(name, _)| name != "page"));
    query.append_pair("page", &number.to_string());
    format!("{}?{}", asked.head.raw_path, query.finish())
}

/// A page of names of repositories, with a relative link.
pub fn catalog(page: &Page<String>, limit: usize) -> Response {
    let response = Response::json(200, &json!({ "repositories": page.entries }));
    match page.entries.last().filter(|_| page.more) {
        Some(last) => {
            response.header("link", format!("</v2/_catalog?last={last}&n={limit}>; rel=\"next\""))
        }
        None => response,
    }
}

/// The tags of a repository in the form of distribution-spec, at most `limit` a page, with a
/// relative link.
pub fn tags(repository: &Repository, name: &str, asked: &Asked, limit: usize) -> Response {
    let last = asked.parameter("last").unwrap_or_default();
    let after: Vec<String> = repository.tags.keys().filter(|tag| **tag > last).cloned().collect();
    let page = page(after, 0, limit, 0);
    let response = Response::json(200, &json!({ "name": name, "tags": page.entries }));
    match page.entries.last().filter(|_| page.more) {
        Some(last) => {
            let link = format!("</v2/{name}/tags/list?last={last}&n={limit}>; rel=\"next\"");
            response.header("link", link)
        }
        None => response,
    }
}

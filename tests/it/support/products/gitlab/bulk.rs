//! `/gitlab/v1/` on the registry's port: tags with their digests, and the repositories below a path.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{REGISTRY, Rules, registry};
use crate::support::products::asked::Asked;
use crate::support::products::forward::no_such_page;
use crate::support::products::front::Front;
use crate::support::products::inventory::{Repository, Tag};
use crate::support::products::pages::page;
use crate::support::products::people::lies_under;
use crate::support::scripted::error;
use crate::support::wire::Response;

const TAGS: (&str, &str) = ("/gitlab/v1/repositories/", "/tags/list/");
const BELOW: (&str, &str) = ("/gitlab/v1/repository-paths/", "/repositories/list/");

pub fn answer(front: &Front<Rules>, asked: &Asked) -> Response {
    if !front.knobs().database || !asked.reads() {
        return no_such_page();
    }
    let path = asked.path();
    let between = |(before, behind): (&str, &str)| {
        Some(path.strip_prefix(before)?.strip_suffix(behind)?.to_owned())
    };
    if path == "/gitlab/v1/" {
        return registry::refused(front, asked, &[]).unwrap_or(Response::json(200, &json!({})));
    }
    if let Some(name) = between(TAGS) {
        let needs = [("repository", &*name, "pull")];
        return registry::refused(front, asked, &needs)
            .unwrap_or_else(|| tags(front, asked, &name));
    }
    if let Some(name) = between(BELOW) {
        let all = format!("{name}/*");
        let needs = [("repository", &*all, "pull")];
        return registry::refused(front, asked, &needs)
            .unwrap_or_else(|| below(front, asked, &name));
    }
    if path.ends_with("/list") {
        let query = if asked.head.query.is_empty() { "" } else { "?" };
        let location = format!("{}/{query}{}", asked.head.raw_path, asked.head.query);
        return Response::new(301).header("location", location);
    }
    no_such_page()
}

const RANGE: &str = "the 'n' query parameter value must be between 1 and 1000";

fn invalid(detail: &str) -> Response {
    let body = json!({ "errors": [{
        "code": "INVALID_QUERY_PARAMETER_VALUE",
        "message": "invalid query parameter value",
        "detail": detail,
    }] });
    Response::json(400, &body)
}

/// The length of a page; `None` for one that is out of range.
fn limit(asked: &Asked) -> Option<usize> {
    let number = asked.parameter("n").map_or(Ok(100), |n| n.parse::<usize>());
    number.ok().filter(|n| (1..=1000).contains(n))
}

/// The order of a list of tags.
#[derive(Clone, Copy)]
struct Order {
    published: bool,
    descending: bool,
}

impl Order {
    fn asked(asked: &Asked) -> Option<Self> {
        let (published, descending) = match asked.parameter("sort").as_deref() {
            None | Some("name") => (false, false),
            Some("-name") => (false, true),
            Some("published_at") => (true, false),
            Some("-published_at") => (true, true),
            Some(_) => return None,
        };
        Some(Self { published, descending })
    }

    /// What tags are sorted by, as text.
    fn key(self, name: &str, tag: &Tag) -> String {
        if self.published { format!("{:.6}|{name}", tag.updated) } else { name.to_owned() }
    }

    /// A key as it stands in `last` and `before`.
    fn marker(self, key: &str) -> String {
        if self.published { STANDARD.encode(key) } else { key.to_owned() }
    }

    fn read(self, marker: &str) -> Option<String> {
        if !self.published {
            return Some(marker.to_owned());
        }
        let key = String::from_utf8(STANDARD.decode(marker).ok()?).ok()?;
        key.contains('|').then_some(key)
    }
}

fn tags(front: &Front<Rules>, asked: &Asked, name: &str) -> Response {
    let Some(limit) = limit(asked) else { return invalid(RANGE) };
    let Some(order) = Order::asked(asked) else {
        let values = "name, -name, published_at, -published_at";
        return invalid(&format!("the 'sort' query parameter must be set to one of: {values}"));
    };
    let mut marks = Vec::new();
    for parameter in ["last", "before"] {
        let marker = asked.parameter(parameter);
        match marker.as_deref().map(|marker| order.read(marker)) {
            Some(None) => return invalid(&format!("the '{parameter}' query parameter is invalid")),
            Some(Some(key)) => marks.push(Some(key)),
            None => marks.push(None),
        }
    }
    if marks.iter().all(Option::is_some) {
        return invalid("keys: [last before] are mutually exclusive");
    }
    let inventory = front.inventory.lock().unwrap();
    let Some(repository) = inventory.shown().get(name) else {
        return error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let part = asked.parameter("name");
    let exact = asked.parameter("name_exact");
    let mut list: Vec<(String, Value)> = repository
        .tags
        .iter()
        .filter(|(tag, _)| part.as_ref().is_none_or(|part| tag.contains(part)))
        .filter(|(tag, _)| exact.as_ref().is_none_or(|exact| *tag == exact))
        .map(|(tag, of)| (order.key(tag, of), entry(asked, repository, tag, of)))
        .collect();
    list.sort_by(|one, other| one.0.cmp(&other.0));
    if order.descending {
        list.reverse();
    }
    let follows = |key: &str, mark: &str| if order.descending { key < mark } else { key > mark };
    let start = match (&marks[0], &marks[1]) {
        (Some(last), _) => list.iter().filter(|(key, _)| !follows(key, last)).count(),
        (None, Some(before)) => {
            let ahead = list.iter().filter(|(key, _)| follows(before, key)).count();
            list.truncate(ahead);
            ahead.saturating_sub(limit)
        }
        (None, None) => 0,
    };
    let page = page(list, start, limit, front.shift());
    let links = Links {
        base: format!("http://{}{}", front.host(REGISTRY), asked.head.raw_path),
        kept: ["n", "name", "name_exact", "sort", "referrers", "referrer_type"]
            .into_iter()
            .filter_map(|key| Some((key, asked.parameter(key)?)))
            .collect(),
    };
    let mut written = Vec::new();
    if let Some((key, _)) = page.entries.first().filter(|_| start > 0) {
        written.push(links.to("before", &order.marker(key), "previous"));
    }
    if let Some((key, _)) = page.entries.last().filter(|_| page.more || marks[1].is_some()) {
        written.push(links.to("last", &order.marker(key), "next"));
    }
    let entries: Vec<Value> = page.entries.into_iter().map(|(_, entry)| entry).collect();
    let response = Response::json(200, &json!(entries));
    if written.is_empty() { response } else { response.header("link", written.join(", ")) }
}

struct Links {
    base: String,
    kept: Vec<(&'static str, String)>,
}

impl Links {
    /// A link in whose query the marker stands beside the parameters of the request.
    fn to(&self, marker: &str, value: &str, relation: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair(marker, value).extend_pairs(&self.kept);
        format!("<{}?{}>; rel=\"{relation}\"", self.base, query.finish())
    }
}

fn entry(asked: &Asked, repository: &Repository, name: &str, tag: &Tag) -> Value {
    let version = repository.versions.get(&tag.digest);
    let document = version.map(|version| version.document()).unwrap_or_default();
    let mut entry = json!({
        "name": name,
        "digest": tag.digest,
        "config_digest": document["config"]["digest"],
        "media_type": version.map(|version| &version.media_type),
        "size_bytes": version.map(|version| version.blob_bytes()),
        "created_at": tag.created.to_string(),
        "published_at": tag.updated.to_string(),
    });
    if tag.updated != tag.created {
        entry["updated_at"] = tag.updated.to_string().into();
    }
    if asked.parameter("referrers").as_deref() == Some("true") {
        let wanted = asked.parameter("referrer_type");
        let own =
            repository.versions.values().filter(|it| it.subject().as_ref() == Some(&tag.digest));
        let referrers = own.map(
            |it| json!({ "artifactType": it.document()["artifactType"], "digest": it.digest }),
        );
        let of_type = |it: &Value| {
            let types: Option<Vec<&str>> = wanted.as_ref().map(|types| types.split(',').collect());
            types.is_none_or(|types| types.iter().any(|one| it["artifactType"] == **one))
        };
        entry["referrers"] = referrers.filter(of_type).collect();
    }
    entry
}

/// The repositories with tags at a path and below it.
fn below(front: &Front<Rules>, asked: &Asked, path: &str) -> Response {
    let Some(limit) = limit(asked) else { return invalid(RANGE) };
    let last = asked.parameter("last").unwrap_or_default();
    let inventory = front.inventory.lock().unwrap();
    let there = inventory.shown().iter().filter(|(name, repository)| {
        lies_under(name, path) && !repository.tags.is_empty() && **name > last
    });
    let entries = there.map(|(name, repository)| {
        json!({
            "name": name.rsplit('/').next(),
            "path": name,
            "created_at": repository.created.to_string(),
        })
    });
    let page = page(entries.collect(), 0, limit, 0);
    let response = Response::json(200, &json!(page.entries));
    match page.entries.last().filter(|_| page.more) {
        Some(last) => {
            let base = format!("http://{}{}", front.host(REGISTRY), asked.head.raw_path);
            let links = Links { base, kept: vec![("n", limit.to_string())] };
            let marker = last["path"].as_str().unwrap_or_default();
            response.header("link", links.to("last", marker, "next"))
        }
        None => response,
    }
}

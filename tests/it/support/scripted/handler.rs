//! Takes a request through the fault it meets, the login, and the API of distribution-spec.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::fault::Fault;
use super::quirks::{Login, Quirks};
use super::{Shared, referrers, serial, uploads};
use crate::support::wire::{Body, Delivery, Exchange, Head, Next, Response, Service};

/// What a path of the API addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Ping,
    Catalog,
    Tags(String),
    Manifest(String, String),
    Blob(String, String),
    /// `None` opens an upload.
    Upload(String, Option<String>),
    Referrers(String, String),
    Unknown,
}

impl Route {
    pub fn of(path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/v2").map(|rest| rest.trim_start_matches('/')) else {
            return Self::Unknown;
        };
        let split = |marker: &str| {
            rest.split_once(marker).map(|(name, tail)| (name.to_owned(), tail.to_owned()))
        };
        if rest.is_empty() {
            Self::Ping
        } else if rest == "_catalog" {
            Self::Catalog
        } else if let Some(name) = rest.strip_suffix("/tags/list") {
            Self::Tags(name.to_owned())
        } else if let Some((name, id)) = split("/blobs/uploads") {
            let id = id.trim_start_matches('/').to_owned();
            Self::Upload(name, Some(id).filter(|id| !id.is_empty()))
        } else if let Some((name, digest)) = split("/blobs/") {
            Self::Blob(name, digest)
        } else if let Some((name, reference)) = split("/manifests/") {
            Self::Manifest(name, reference)
        } else if let Some((name, digest)) = split("/referrers/") {
            Self::Referrers(name, digest)
        } else {
            Self::Unknown
        }
    }

    pub fn repository(&self) -> Option<&str> {
        match self {
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
            Self::Ping | Self::Catalog | Self::Unknown => None,
        }
    }
}

/// The error body of distribution-spec.
pub fn error(status: u16, code: &str, message: &str) -> Response {
    let body = json!({ "errors": [{ "code": code, "message": message, "detail": null }] });
    Response::json(status, &body)
}

#[async_trait]
impl Service for Shared {
    async fn serve(&self, head: &Head, exchange: &mut Exchange) -> Next {
        let index = self.record(head);
        let quirks = self.quirks.lock().unwrap().clone();
        tokio::time::sleep(quirks.latency).await;
        let fault = self.rules.fault_for(head);
        match &fault {
            Some(Fault::Cut) => return Next::Close,
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::Hang) => {
                let _ = self.released.subscribe().changed().await;
            }
            _ => {}
        }
        let limit = match &fault {
            Some(Fault::CutRequestAfter(bytes)) => Some(*bytes),
            _ => None,
        };
        let body = exchange.read_body(limit).await;
        self.amend(index, |seen| seen.body_length = body.bytes.len() as u64);
        if limit.is_some() || !body.complete {
            uploads::broken(self, &quirks, head, &body);
            return Next::Close;
        }
        let (response, delivery) = self.decide(&quirks, head, body, fault.as_ref());
        if matches!(fault, Some(Fault::CutAfterwards)) {
            return Next::Close;
        }
        // Before it is sent: who has the answer finds it in the record.
        self.amend(index, |seen| {
            seen.status = Some(response.status);
            seen.answer_length = response.length();
        });
        exchange.respond(&response, delivery).await
    }
}

impl Shared {
    fn decide(
        &self,
        quirks: &Quirks,
        head: &Head,
        body: Body,
        fault: Option<&Fault>,
    ) -> (Response, Delivery) {
        if !self.rate.lock().unwrap().admits(quirks, std::time::Instant::now()) {
            let mut response = error(429, "TOOMANYREQUESTS", "too many requests");
            if let Some(value) = &quirks.retry_after {
                response.set("retry-after", value);
            }
            return (response, Delivery::Whole);
        }
        let instead = match fault {
            Some(Fault::Answer(response)) => Some(Fault::repeat(response, head)),
            Some(Fault::Redirect(base)) => Some(redirect(base, head)),
            Some(Fault::SessionLost) => Some(uploads::forget(self, head)),
            Some(Fault::PageLinksToItself) => Some(self.endless_page(head, false)),
            Some(Fault::EndlessPages) => Some(self.endless_page(head, true)),
            Some(Fault::EndlessReferrers(bytes)) => Some(referrers::endless_page(head, *bytes)),
            _ => None,
        };
        if let Some(response) = instead {
            return (response, Delivery::Whole);
        }
        let route = Route::of(&head.path);
        let mut response = refused(quirks, head, &route)
            .unwrap_or_else(|| self.answer(quirks, head, &route, body.bytes.into()));
        if quirks.no_content_digest {
            response.headers.remove("docker-content-digest");
        }
        match fault {
            Some(fault) => fault.spoil(response),
            None => (response, Delivery::Whole),
        }
    }

    fn answer(&self, quirks: &Quirks, head: &Head, route: &Route, body: Bytes) -> Response {
        let reads = matches!(head.method.as_str(), "GET" | "HEAD");
        match (head.method.as_str(), route) {
            ("GET" | "HEAD", Route::Ping) => Response::json(200, &json!({}))
                .header("docker-distribution-api-version", "registry/2.0"),
            ("GET", Route::Catalog) => self.catalog(quirks, head),
            ("GET", Route::Tags(name)) => self.tags(quirks, head, name),
            (_, Route::Manifest(name, reference)) if reads => self.manifest(name, reference),
            ("PUT", Route::Manifest(name, reference)) => {
                self.put_manifest(quirks, head, name, reference, body)
            }
            ("DELETE", Route::Manifest(name, reference)) => self.delete(quirks, name, reference),
            (_, Route::Blob(name, digest)) if reads => self.blob(quirks, head, name, digest),
            ("DELETE", Route::Blob(name, digest)) => {
                let mut store = self.store.lock().unwrap();
                match store.repository(name).blobs.remove(digest) {
                    Some(_) => Response::new(202),
                    None => error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
                }
            }
            (_, Route::Upload(name, id)) => {
                uploads::answer(self, quirks, head, name, id.as_deref(), body)
            }
            ("GET", Route::Referrers(name, digest)) if quirks.referrers_api => {
                referrers::answer(&self.store.lock().unwrap(), head, name, digest)
            }
            (_, Route::Unknown | Route::Referrers(..)) => Response::new(404).body("not found"),
            _ => error(405, "UNSUPPORTED", "the operation is unsupported"),
        }
    }

    fn catalog(&self, quirks: &Quirks, head: &Head) -> Response {
        let names = self.store.lock().unwrap().names();
        let limit = head.parameter("n").and_then(|n| n.parse().ok()).unwrap_or(100);
        let last = head.parameter("last").unwrap_or_default();
        let mut rest = names.into_iter().filter(|name| *name > last);
        let page: Vec<String> = rest.by_ref().take(limit).collect();
        let response = Response::json(200, &json!({ "repositories": page }));
        match page.last().filter(|_| rest.next().is_some() && !quirks.no_links) {
            Some(last) => {
                let link = format!("</v2/_catalog?last={last}&n={limit}>; rel=\"next\"");
                response.header("link", link)
            }
            None => response,
        }
    }

    fn tags(&self, quirks: &Quirks, head: &Head, name: &str) -> Response {
        let parameter = |name: &str, ignored: bool| head.parameter(name).filter(|_| !ignored);
        let asked = parameter("n", quirks.ignores_n).and_then(|n| n.parse().ok());
        let asked = asked.unwrap_or(usize::MAX);
        let limit = asked.min(quirks.page_cap.unwrap_or(usize::MAX));
        let last = parameter("last", quirks.ignores_last).unwrap_or_default();
        let one_more = limit.saturating_add(1);
        let Some(mut tags) = self.store.lock().unwrap().tags(name, &last, one_more) else {
            return error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        let more = tags.len() > limit;
        tags.truncate(limit);
        let list = if tags.is_empty() && quirks.tags_null { json!(null) } else { json!(tags) };
        let response = Response::json(200, &json!({ "name": name, "tags": list }));
        match tags.last().filter(|_| !quirks.no_links) {
            Some(last) if more || quirks.link_on_last_page => {
                let link = format!("</v2/{name}/tags/list?last={last}&n={limit}>; rel=\"next\"");
                response.header("link", link)
            }
            _ => response,
        }
    }

    /// A page that leads on forever: to itself, or to ever new tags.
    fn endless_page(&self, head: &Head, new_tags: bool) -> Response {
        let number = serial();
        let tag = if new_tags { format!("endless-{number}") } else { "endless".to_owned() };
        let next = if new_tags { format!("last={tag}") } else { head.query.clone() };
        Response::json(200, &json!({ "name": "endless", "tags": [tag] }))
            .header("link", format!("<{}?{next}>; rel=\"next\"", head.path))
    }

    fn manifest(&self, name: &str, reference: &str) -> Response {
        match self.store.lock().unwrap().manifest(name, reference) {
            Some((media_type, digest, bytes)) => Response::new(200)
                .header("content-type", media_type)
                .header("etag", format!("\"{digest}\""))
                .header("docker-content-digest", digest)
                .body(bytes),
            None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }

    fn put_manifest(
        &self,
        quirks: &Quirks,
        head: &Head,
        name: &str,
        reference: &str,
        body: Bytes,
    ) -> Response {
        let media_type = head.header("content-type").unwrap_or_default().to_owned();
        if quirks.media_types.as_ref().is_some_and(|allowed| !allowed.contains(&media_type)) {
            return error(400, "MANIFEST_INVALID", "media type not allowed");
        }
        let digest = tranship::oci::Digest::of(&body).to_string();
        let tag = (!reference.contains(':')).then_some(reference);
        if tag.is_none() && reference != digest {
            return error(400, "DIGEST_INVALID", "provided digest did not match content");
        }
        let mut store = self.store.lock().unwrap();
        let repository = store.repository(name);
        if let (true, Some(tag)) = (quirks.immutable_tags, tag)
            && repository.tags.get(tag).is_some_and(|there| *there != digest)
        {
            return error(409, "TAG_IMMUTABLE", "tag is immutable");
        }
        let missing = repository.missing_directly(&body);
        if quirks.requires_parts && !missing.is_empty() {
            return error(400, "MANIFEST_BLOB_UNKNOWN", &missing.join(", "));
        }
        if let Some(tag) = tag {
            let missing = repository.missing(&body);
            if !missing.is_empty() {
                let line = format!("{name}:{tag} lacked {}", missing.join(", "));
                self.violations.lock().unwrap().push(line);
            }
        }
        let subject =
            referrers::subject(&body).filter(|_| quirks.oci_subject && quirks.referrers_api);
        repository.insert_manifest(tag, &media_type, body);
        let response = Response::new(201)
            .header("location", format!("/v2/{name}/manifests/{digest}"))
            .header("docker-content-digest", digest);
        match subject {
            Some(subject) => response.header("oci-subject", subject),
            None => response,
        }
    }

    fn delete(&self, quirks: &Quirks, name: &str, reference: &str) -> Response {
        let mut store = self.store.lock().unwrap();
        let repository = store.repository(name);
        let mut reference = reference.to_owned();
        if quirks.untag_takes_manifest
            && let Some(digest) = repository.tags.get(&reference)
        {
            reference = digest.clone();
        }
        let reference = reference.as_str();
        if quirks.tags_first && repository.tags.values().any(|digest| digest == reference) {
            let message = "the manifest has tags";
            return error(400, "GOOGLE_MANIFEST_DANGLING_TAG", message);
        }
        let found = if reference.contains(':') {
            repository.tags.retain(|_, digest| digest != reference);
            repository.manifests.remove(reference).is_some()
        } else {
            repository.tags.remove(reference).is_some()
        };
        if found { Response::new(202) } else { error(404, "MANIFEST_UNKNOWN", "manifest unknown") }
    }

    fn blob(&self, quirks: &Quirks, head: &Head, name: &str, digest: &str) -> Response {
        let store = self.store.lock().unwrap();
        let repeated = store.existing(name).and_then(|there| there.repeated.get(digest));
        if let Some((bytes, times)) = repeated {
            let response = Response::new(200).header("docker-content-digest", digest);
            return response.body(bytes.clone()).times(*times);
        }
        let Some(bytes) = store.existing(name).and_then(|there| there.blobs.get(digest)).cloned()
        else {
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        if let Some(base) = &quirks.blob_redirect {
            return redirect(base, head);
        }
        let response = Response::new(200)
            .header("content-type", "application/octet-stream")
            .header("docker-content-digest", digest);
        let range = head.header("range").filter(|_| !quirks.no_range).and_then(|range| {
            let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = bytes.len().checked_sub(1)?;
            Some((from.parse::<usize>().ok()?, to.parse().unwrap_or(last).min(last)))
        });
        match range {
            None => response.body(bytes),
            Some((from, to)) if from > to => error(416, "RANGE_INVALID", "invalid range"),
            Some((from, to)) => {
                let length = bytes.len();
                let mut partial = response.body(bytes.slice(from..=to));
                partial.status = 206;
                partial.header("content-range", format!("bytes {from}-{to}/{length}"))
            }
        }
    }
}

/// The same path and query somewhere else.
fn redirect(base: &str, head: &Head) -> Response {
    let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
    Response::new(307).header("location", format!("{base}{}{query}", head.path))
}

/// The answer to a request that is not allowed.
fn refused(quirks: &Quirks, head: &Head, route: &Route) -> Option<Response> {
    let writes = !matches!(head.method.as_str(), "GET" | "HEAD");
    login(&quirks.login, head, route).or_else(|| {
        let refuses = quirks.read_only && writes || quirks.no_delete && head.method == "DELETE";
        refuses.then(|| error(405, "UNSUPPORTED", "the operation is unsupported"))
    })
}

/// The challenge for a request that does not show the right credentials.
fn login(login: &Login, head: &Head, route: &Route) -> Option<Response> {
    let shown = head.header("authorization").unwrap_or_default();
    let unauthorized = || error(401, "UNAUTHORIZED", "authentication required");
    match login {
        Login::None => None,
        Login::Basic { user, password } => {
            let right = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            (shown != right)
                .then(|| unauthorized().header("www-authenticate", "Basic realm=\"harness\""))
        }
        Login::Bearer { server, realm } => {
            let from = head.parameter("from");
            let wanted = wanted(head, route, from.as_deref());
            let token = shown.strip_prefix("Bearer ").unwrap_or_default();
            if server.allows(token, &wanted) {
                return None;
            }
            let realm = realm.clone().unwrap_or_else(|| server.realm());
            let service = crate::support::token_server::SERVICE;
            let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
            if let Some(scope) = scope(&wanted) {
                challenge += &format!(",scope=\"{scope}\"");
            }
            if !token.is_empty() {
                challenge += ",error=\"invalid_token\"";
            }
            Some(unauthorized().header("www-authenticate", challenge))
        }
    }
}

/// The rights that a request needs, as distribution asks for them: (type, name, action).
pub fn wanted<'a>(
    head: &Head,
    route: &'a Route,
    from: Option<&'a str>,
) -> Vec<(&'a str, &'a str, &'a str)> {
    if *route == Route::Catalog {
        return vec![("registry", "catalog", "*")];
    }
    let Some(name) = route.repository() else { return Vec::new() };
    let actions: &[&str] = match head.method.as_str() {
        "GET" | "HEAD" => &["pull"],
        "DELETE" => &["delete"],
        _ => &["pull", "push"],
    };
    let mut wanted: Vec<_> = actions.iter().map(|action| ("repository", name, *action)).collect();
    wanted.extend(from.map(|from| ("repository", from, "pull")));
    wanted
}

/// `repository:acme/app:pull,push repository:acme/base:pull`; `None` where nothing is needed.
pub fn scope(wanted: &[(&str, &str, &str)]) -> Option<String> {
    let mut scopes: Vec<(String, Vec<&str>)> = Vec::new();
    for (kind, name, action) in wanted {
        let resource = format!("{kind}:{name}");
        match scopes.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, actions)) => actions.push(action),
            None => scopes.push((resource, vec![action])),
        }
    }
    let texts: Vec<String> = scopes
        .iter()
        .map(|(resource, actions)| format!("{resource}:{}", actions.join(",")))
        .collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

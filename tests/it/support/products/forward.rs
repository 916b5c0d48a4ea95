//! Hands a request on to the registry that stores, and notes what came of it.

use bytes::BytesMut;
use reqwest::redirect::Policy;
use tranship::oci::Digest;

use super::asked::Asked;
use super::front::{Broken, Front};
use super::{Product, target};
use crate::support::endpoint::client_builder;
use crate::support::scripted::{Route, error};
use crate::support::wire::Response;

/// Headers that belong to one connection, or to the product's own login.
const OWN: [&str; 5] =
    ["authorization", "connection", "content-length", "transfer-encoding", "proxy-connection"];

pub fn client() -> reqwest::Client {
    client_builder().redirect(Policy::none()).build().unwrap()
}

impl<P: Product> Front<P> {
    /// The answer of the registry that stores. Manifests that it takes or deletes are noted.
    pub async fn forward(&self, asked: &Asked) -> Result<Response, Broken> {
        let response = self.hand_on(asked).await?;
        let mut inventory = self.inventory.lock().unwrap();
        match (asked.method(), asked.route(), response.status) {
            ("PUT", Route::Manifest(name, reference), 201) => {
                let media_type = asked.head.header("content-type").unwrap_or_default();
                inventory.put(&name, &reference, media_type, &asked.body);
            }
            ("DELETE", Route::Manifest(name, reference), 202) => {
                inventory.remove(&name, &reference);
            }
            _ => {}
        }
        Ok(response)
    }

    async fn hand_on(&self, asked: &Asked) -> Result<Response, Broken> {
        let path = target(&asked.head.raw_path, &asked.head.query);
        let url = format!("http://{}{path}", self.backend.host());
        let method: reqwest::Method = asked.method().parse().map_err(|_| Broken)?;
        let mut headers = asked.head.headers.clone();
        OWN.iter().for_each(|name| drop(headers.remove(*name)));
        let request = self.client.request(method, url).headers(headers).body(asked.body.clone());
        let mut answer = request.send().await.map_err(|_| Broken)?;
        let mut response = Response::new(answer.status().as_u16());
        response.headers = answer.headers().clone();
        OWN.iter().for_each(|name| drop(response.headers.remove(*name)));
        let length = answer.headers().get("content-length").and_then(|it| it.to_str().ok());
        let promised: Option<u64> = length.and_then(|text| text.parse().ok());
        let mut body = BytesMut::new();
        // A body that breaks off is passed on as far as it came, under the same promise.
        while let Ok(Some(piece)) = answer.chunk().await {
            body.extend_from_slice(&piece);
        }
        response.promised = promised.filter(|promised| *promised != body.len() as u64);
        Ok(response.body(body))
    }

    /// The answer to a blob that came with the request that opens its upload.
    pub fn whole_blob(&self, asked: &Asked, name: &str, wanted: &str) -> Response {
        if !wanted.parse::<Digest>().is_ok_and(|digest| digest.matches(&asked.body)) {
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        self.backend.scripted().insert_blob(name, wanted, asked.body.clone());
        Response::new(201)
            .header("location", format!("/v2/{name}/blobs/{wanted}"))
            .header("docker-content-digest", wanted)
    }

    /// A redirect (307) to a blob at the storage's host, if the registry has the blob.
    pub async fn to_storage(&self, asked: &Asked, storage: &str) -> Result<Response, Broken> {
        let mut look = asked.clone();
        look.head.method = "HEAD".to_owned();
        let there = self.hand_on(&look).await?;
        if there.status != 200 {
            return self.hand_on(asked).await;
        }
        let location = format!("{storage}/stored{}?signature=good", asked.head.raw_path);
        Ok(Response::new(307).header("location", location))
    }

    /// The storage itself: a signed address is all that it takes, and it takes nothing beside it.
    pub async fn storage(&self, asked: &Asked) -> Result<Response, Broken> {
        if asked.head.header("authorization").is_some() {
            let text = "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism \
                        allowed</Message></Error>";
            return Ok(Response::new(400).header("content-type", "application/xml").body(text));
        }
        let path = asked.head.raw_path.strip_prefix("/stored");
        let (Some(path), true) = (path, asked.head.query == "signature=good") else {
            let text = "<Error><Code>AccessDenied</Code></Error>";
            return Ok(Response::new(403).header("content-type", "application/xml").body(text));
        };
        let mut stored = asked.clone();
        stored.head.raw_path = path.to_owned();
        stored.head.query.clear();
        self.hand_on(&stored).await
    }
}

/// Makes a `Location` or `Link` that is a path an absolute URL.
pub fn absolute(mut response: Response, base: &str) -> Response {
    if let Some(location) = text(&response, "location").filter(|it| it.starts_with('/')) {
        response.set("location", format!("{base}{location}"));
    }
    response
}

/// Makes a `Location` that is an absolute URL a path.
pub fn relative(mut response: Response) -> Response {
    let location = text(&response, "location");
    let path = location.as_deref().and_then(|it| {
        it.split_once("://")?.1.find('/').map(|at| {
            let (_, rest) = it.split_once("://").unwrap_or_default();
            rest[at..].to_owned()
        })
    });
    if let Some(path) = path {
        response.set("location", path);
    }
    response
}

fn text(response: &Response, header: &str) -> Option<String> {
    Some(response.headers.get(header)?.to_str().ok()?.to_owned())
}

/// As distribution answers what it does not know: 404 with a text.
pub fn no_such_page() -> Response {
    Response::new(404).header("content-type", "text/plain").body("404 page not found\n")
}

/// The answer of a proxy before a product that knows no limit itself.
pub fn limit_of_a_proxy() -> Response {
    let text = "<html><head><title>429 Too Many Requests</title></head></html>";
    Response::new(429).header("content-type", "text/html").body(text)
}

/// 405 in the specification's words.
pub fn unsupported() -> Response {
    error(405, "UNSUPPORTED", "The operation is unsupported.")
}

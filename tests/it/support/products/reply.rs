//! How tests ask a product without tranship: plain requests, and answers that are easy to look at.

use bytes::Bytes;
use http::HeaderMap;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use super::forward;
use crate::support::endpoint::client_builder;

/// A client for addresses on this machine. It follows no redirect.
pub fn direct() -> Client {
    forward::client()
}

/// A client that reaches every host through this proxy. It follows no redirect.
pub fn through(proxy: &str) -> Client {
    let proxy = reqwest::Proxy::http(proxy).unwrap();
    client_builder().redirect(reqwest::redirect::Policy::none()).proxy(proxy).build().unwrap()
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The answer to a request.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap() }
    }

    /// The answer to a request with a user name and a password, if there are any.
    pub async fn logged_in(request: RequestBuilder, login: Option<(&str, &str)>) -> Self {
        Self::to(match login {
            Some((user, secret)) => request.basic_auth(user, Some(secret)),
            None => request,
        })
        .await
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and code of an error in the form of distribution-spec.
    pub fn error(&self) -> (u16, String) {
        let code = self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned();
        (self.status, code)
    }

    /// The target of a link with this relation.
    pub fn link(&self, relation: &str) -> Option<String> {
        let wanted = format!("rel=\"{relation}\"");
        let links = self.header("link").split(", ");
        let link = links.into_iter().find(|link| link.ends_with(&wanted))?;
        Some(link.trim_start_matches('<').split_once('>')?.0.to_owned())
    }

    /// One field of each entry of a list.
    pub fn each(&self, field: &str) -> Vec<String> {
        let json = self.json();
        let list = json.as_array().unwrap_or_else(|| panic!("no list: {self:?}"));
        list.iter().map(|entry| plain(&entry[field])).collect()
    }
}

/// A value as text, without quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

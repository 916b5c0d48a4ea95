//! A request as a product looks at it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::support::scripted::Route;
use crate::support::wire::{Head, decode};

#[derive(Debug, Clone)]
pub struct Asked {
    /// The port it came to.
    pub door: usize,
    pub head: Head,
    pub body: Bytes,
}

impl Asked {
    pub fn method(&self) -> &str {
        &self.head.method
    }

    pub fn reads(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD")
    }

    /// The host that was asked for.
    pub fn host(&self) -> &str {
        self.head.header("host").unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        &self.head.path
    }

    /// The path's parts between its slashes, each decoded once: `a%2Fb` is one part, `a/b`.
    pub fn parts(&self) -> Vec<String> {
        self.head.raw_path.trim_start_matches('/').split('/').map(decode).collect()
    }

    pub fn parameter(&self, name: &str) -> Option<String> {
        self.head.parameter(name)
    }

    /// A query parameter that is a number.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.parameter(name)?.parse().ok()
    }

    /// What a path of the registry addresses.
    pub fn route(&self) -> Route {
        Route::of(self.path())
    }

    /// The fields of a form, or none.
    pub fn form(&self) -> HashMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// User and password of a Basic `Authorization`. `Err`: it cannot be read.
    pub fn basic(&self) -> Result<Option<(String, String)>, ()> {
        let Some(header) = self.head.header("authorization") else { return Ok(None) };
        let encoded = header.strip_prefix("Basic ").ok_or(())?;
        let text = String::from_utf8(STANDARD.decode(encoded).map_err(drop)?).map_err(drop)?;
        text.split_once(':').map(|(user, secret)| Some((user.into(), secret.into()))).ok_or(())
    }

    pub fn bearer(&self) -> Option<&str> {
        self.head.header("authorization")?.strip_prefix("Bearer ")
    }
}

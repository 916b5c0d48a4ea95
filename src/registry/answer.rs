//! What a registry answered, and its own words when the answer was no.

use bytes::Bytes;
use http::header::{AsHeaderName, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::classify;
use super::dialect::Dialect;
use super::operation::Operation;
use super::reach::Network;
use crate::oci::media_type::essence;
use crate::repository::{Cause, ErrorKind};
use crate::text::shorten;

/// The login with which a request was sent.
#[derive(Debug, Clone)]
pub(super) struct SentLogin {
    /// For people, with where it comes from.
    pub login: String,
    /// By a token that the token server gave for it: it is known, so what a registry refuses then is a
    /// right. Many registries answer 401 to that.
    pub by_token: bool,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Where the answer came from, after redirects: `Location` and `Link` are relative to it.
    pub url: Url,
    /// Another host had a part in it: the answer is its own, or that of an address that it chose.
    /// So credentials must not go where this answer leads.
    pub strayed: bool,
    /// Where it matters: the login that the request carried, or that it carried none.
    pub shown: Option<Option<SentLogin>>,
    /// Where the server is that has given it.
    pub network: Network,
    /// How often its request was sent.
    pub tries: u32,
}

impl Answer {
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The specification's error codes in it.
    pub fn codes(&self) -> Vec<String> {
        words(&self.body).0
    }

    /// Whether a web server of another kind has given it: a page where a document was asked for. Its
    /// title, if it has one.
    pub fn web_page(&self) -> Option<String> {
        let begins = |text: &str| {
            let body = self.body.trim_ascii_start();
            body.get(..text.len()).is_some_and(|it| it.eq_ignore_ascii_case(text.as_bytes()))
        };
        let is_named = self.headers.contains_key("docker-content-digest");
        let is_html = || self.header(CONTENT_TYPE).is_some_and(|it| essence(it) == "text/html");
        // A HEAD request has the type of the page, and nothing of it.
        let is_page = begins("<html")
            || begins("<!doctype html")
            || self.body.is_empty() && !is_named && is_html();
        (self.status.is_success() && is_page).then(|| words(&self.body).1)
    }

    /// The refusal that this answer to an operation is.
    pub fn refusal(&self, operation: Operation, dialect: &dyn Dialect) -> Cause {
        let (codes, mut message) = words(&self.body);
        let mut kind = classify::kind(operation, self.status, (&codes, &message), dialect);
        if let (Some(shown), ErrorKind::Unauthenticated | ErrorKind::Denied) = (&self.shown, kind) {
            let is_unauthenticated = kind == ErrorKind::Unauthenticated;
            let shown = match shown {
                None => "sent without credentials".to_owned(),
                Some(SentLogin { login, by_token: true }) if is_unauthenticated => {
                    kind = ErrorKind::Denied;
                    format!("the token for {login} does not allow this")
                }
                Some(SentLogin { login, .. }) => {
                    if is_unauthenticated {
                        kind = ErrorKind::WrongCredentials;
                    }
                    format!("sent with {login}")
                }
            };
            message = if message.is_empty() { shown } else { format!("{message} ({shown})") };
        }
        if let Some(advice) = dialect.advice(kind) {
            let separator = if message.is_empty() { "" } else { "; " };
            message.push_str(separator);
            message.push_str(advice);
        }
        Cause::Refused { kind, status: self.status.to_string(), message }
    }
}

/// Messages are shown to people, who do not read more than this.
const LONGEST: usize = 400;

/// Any JSON in which the specification's error list can be found. Codes stay text, because
/// registries have codes of their own.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<Entry>,
    /// GitHub's, Artifactory's and others' single message.
    message: Option<String>,
    /// What token servers send.
    details: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    detail: Value,
}

/// The error codes and the words of an error body (distribution-spec, "Error Codes"), which may
/// be of any format.
pub fn words(body: &[u8]) -> (Vec<String>, String) {
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(body) {
        let codes: Vec<String> = envelope.errors.iter().filter_map(code).collect();
        let mut parts: Vec<String> = envelope.errors.iter().map(sentence).collect();
        parts.extend(envelope.message.into_iter().chain(envelope.details));
        return (codes, shorten(&parts.join("; "), LONGEST));
    }
    let text = String::from_utf8_lossy(body);
    let text = match text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")) {
        Some((title, _)) => title,
        None if text.trim_start().starts_with('<') => "",
        None => &text,
    };
    (Vec::new(), shorten(text, LONGEST))
}

fn code(entry: &Entry) -> Option<String> {
    match &entry.code {
        Value::String(code) => Some(shorten(code, LONGEST)),
        _ => None,
    }
}

fn sentence(entry: &Entry) -> String {
    let text = match &entry.detail {
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let parts = [code(entry), entry.message.clone(), text].into_iter().flatten();
    let sentence = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    match &entry.detail {
        Value::Object(_) | Value::Array(_) => match plain(&entry.detail) {
            detail if detail.is_empty() || detail.len() > 200 => sentence,
            detail => format!("{sentence} ({detail})"),
        },
        _ => sentence,
    }
}

/// Details in words: `Name acme/app, Action pull`.
fn plain(value: &Value) -> String {
    let joined = |parts: Vec<String>| {
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    };
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(values) => joined(values.iter().map(plain).collect()),
        Value::Object(members) => {
            let named = |(key, value): (&String, &Value)| match plain(value) {
                words if words.is_empty() => words,
                words => format!("{key} {words}"),
            };
            joined(members.iter().map(named).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_registrys_own_words_are_found() {
        let cases: [(&str, &[&str], &str); 8] = [
            (
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"no","detail":[{"Type":"repository","Class":"","Name":"a/b","Left":null,"Err":28}]}]}"#,
                &["UNAUTHORIZED"],
                "UNAUTHORIZED: no (Err 28, Name a/b, Type repository)",
            ),
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
                &["MANIFEST_UNKNOWN"],
                "MANIFEST_UNKNOWN: manifest unknown (Tag x)",
            ),
            (
                r#"{"errors":[{"code":"DENIED","message":"no\nway"},{"code":"X"}]}"#,
                &["DENIED", "X"],
                "DENIED: no way; X",
            ),
            (r#"{"errors":[{"code":400}],"message":"m"}"#, &[], "; m"),
            (
                r#"{"details":"incorrect username or password"}"#,
                &[],
                "incorrect username or password",
            ),
            (
                "<html><title>413 Request Entity Too Large</title>",
                &[],
                "413 Request Entity Too Large",
            ),
            ("<html>", &[], ""),
            ("no space left on device\n", &[], "no space left on device"),
        ];
        for (body, codes, message) in cases {
            let codes = codes.iter().map(|&code| code.to_owned()).collect();
            assert_eq!(words(body.as_bytes()), (codes, message.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_body_gives_one_bounded_line(body: Vec<u8>) {
            let (_, message) = words(&body);
            prop_assert!(message.chars().count() <= LONGEST + 1);
            prop_assert!(!message.contains('\n'));
        }
    }
}

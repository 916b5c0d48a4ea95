//! One try to bring an alert to its receiver.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::{Client, Response};
use secrecy::ExposeSecret;
use url::Url;

use super::{Alert, message};
use crate::config::{NotifyFormat, Receiver, WebhookUrl, is_loopback, may_carry_secrets};
use crate::http::retry::{self, retry_after};
use crate::registry::auth::{Environment, read_secret};

/// So much of an answer that refuses is shown.
const MAX_WORDS: usize = 200;

/// Why it was not delivered.
#[derive(Debug)]
pub(super) struct Undelivered {
    /// For the log; without anything secret.
    pub(super) message: String,
    /// For the decision whether to try again; `None`: it is no use.
    pub(super) failure: Option<retry::Failure>,
}

impl Undelivered {
    fn of_connection(message: String) -> Self {
        Self { message, failure: Some(retry::Failure::Connection) }
    }

    fn forever(message: &str) -> Self {
        Self { message: message.to_owned(), failure: None }
    }
}

/// What a receiver is called in the log: its host, or where its address comes from.
pub(super) fn name(receiver: &Receiver) -> String {
    match &receiver.url {
        WebhookUrl::Literal(url) => url.host_str().unwrap_or_default().to_owned(),
        WebhookUrl::Secret(source) => match source {
            crate::config::SecretSource::Env(name) => format!("the webhook in ${name}"),
            crate::config::SecretSource::File(path) => format!("the webhook in {}", path.display()),
            crate::config::SecretSource::Command(words) => {
                format!("the webhook of `{}`", words.first().map_or("", String::as_str))
            }
        },
    }
}

/// Sends an alert. `time_limit` is for all of it. Redirects are not followed: the address and the
/// headers are for this receiver alone.
pub(super) async fn deliver(
    receiver: &Receiver,
    alert: &Alert,
    environment: &Environment,
    time_limit: Duration,
) -> Result<(), Undelivered> {
    let body = match receiver.format {
        NotifyFormat::Json => message::json(alert),
        NotifyFormat::Slack => message::slack(alert),
    };
    let body = body.map_err(|error| Undelivered::forever(&error.to_string()))?;
    let url = address(receiver, environment).await?;
    let headers = headers(receiver, environment).await?;
    let client = client(&url, time_limit).map_err(unsent)?;
    let response = client.post(url).headers(headers).body(body).send().await.map_err(unsent)?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let message = format!("it answered with a redirect ({status}), which is not followed");
        return Err(Undelivered::forever(&message));
    }
    let asked = retry_after(response.headers(), SystemTime::now());
    let message = format!("it answered {status}{}", words(response).await);
    Err(Undelivered { message, failure: Some(retry::Failure::Status(status, asked)) })
}

async fn address(receiver: &Receiver, environment: &Environment) -> Result<Url, Undelivered> {
    let url = match &receiver.url {
        WebhookUrl::Literal(url) => return Ok(url.clone()),
        WebhookUrl::Secret(source) => {
            let text = read_secret(source, "a webhook", environment).await;
            let text = text.map_err(|error| Undelivered::of_connection(error.to_string()))?;
            Url::parse(text.expose_secret()).ok()
        }
    };
    // Nothing of the text may be shown.
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url =
        url.ok_or_else(|| Undelivered::forever("the secret is not an address with https://"))?;
    if !may_carry_secrets(&url) {
        return Err(Undelivered::forever(
            "its address is a secret, and would go to another machine unencrypted: use https",
        ));
    }
    Ok(url)
}

async fn headers(receiver: &Receiver, environment: &Environment) -> Result<HeaderMap, Undelivered> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, source) in &receiver.headers {
        let value = read_secret(source, "a webhook", environment).await;
        let value = value.map_err(|error| Undelivered::of_connection(error.to_string()))?;
        let (Ok(name), Ok(mut value)) =
            (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose_secret()))
        else {
            let message = format!("the secret of `{name}` cannot be sent as a header");
            return Err(Undelivered::forever(&message));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Alerts are rare, so connections are not kept.
fn client(url: &Url, time_limit: Duration) -> reqwest::Result<Client> {
    // Ring instead of the default provider; an error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("tranship/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .timeout(time_limit)
        .connect_timeout(time_limit);
    if is_loopback(url) { builder.no_proxy() } else { builder }.build()
}

fn unsent(error: reqwest::Error) -> Undelivered {
    Undelivered::of_connection(crate::registry::describe(&error.without_url()))
}

/// The beginning of an answer, in one line.
async fn words(mut response: Response) -> String {
    let mut text = match response.chunk().await {
        Ok(Some(chunk)) => {
            String::from_utf8_lossy(&chunk[..chunk.len().min(MAX_WORDS)]).into_owned()
        }
        _ => return String::new(),
    };
    text.retain(|c| !c.is_control());
    if text.trim().is_empty() {
        text.clear()
    } else {
        text.insert_str(0, ": ")
    }
    text
}

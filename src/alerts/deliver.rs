//! One attempt to deliver an alert to its receiver.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::Client;
use secrecy::ExposeSecret;
use url::Url;

use super::alert::Alert;
use super::message;
use crate::config::{NotifyFormat, Receiver, SecretSource, WebhookUrl, may_carry_secrets};
use crate::http::client;
use crate::http::send::{SendError, send};
use crate::secret::{Environment, SecretError, read_secret};

/// The receiver's name in the log: its host, or where its address comes from.
pub(super) fn name(receiver: &Receiver) -> String {
    match &receiver.url {
        WebhookUrl::Literal(url) => url.host_str().unwrap_or_default().to_owned(),
        WebhookUrl::Secret(SecretSource::Env(name)) => format!("the webhook in ${name}"),
        WebhookUrl::Secret(SecretSource::File(path)) => {
            format!("the webhook in {}", path.display())
        }
        WebhookUrl::Secret(SecretSource::Command(words)) => {
            format!("the webhook of `{}`", words.first().map_or("", String::as_str))
        }
    }
}

/// Sends an alert, within `time_limit`. Redirects are not followed: the address and the headers are
/// for this receiver only.
pub(super) async fn deliver(
    receiver: &Receiver,
    alert: &Alert,
    environment: &Environment,
    time_limit: Duration,
) -> Result<(), SendError> {
    let body = match receiver.format {
        NotifyFormat::Json => message::json(alert),
        NotifyFormat::Slack => message::slack(alert),
    };
    let body = body.map_err(|error| SendError::permanent(error.to_string()))?;
    let url = address(receiver, environment).await?;
    let headers = headers(receiver, environment).await?;
    let client = client(time_limit)?;
    send(client.post(url).headers(headers).body(body)).await
}

async fn address(receiver: &Receiver, environment: &Environment) -> Result<Url, SendError> {
    let source = match &receiver.url {
        WebhookUrl::Literal(url) => return Ok(url.clone()),
        WebhookUrl::Secret(source) => source,
    };
    let text = read_secret(source, "a webhook", environment).await.map_err(unread)?;
    // No part of the text may be shown.
    let url = Url::parse(text.expose_secret()).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url =
        url.ok_or_else(|| SendError::permanent("the secret is not an address with https://"))?;
    if !may_carry_secrets(&url) {
        return Err(SendError::permanent(
            "its address is a secret, and would go to another machine unencrypted: use https",
        ));
    }
    Ok(url)
}

async fn headers(receiver: &Receiver, environment: &Environment) -> Result<HeaderMap, SendError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, source) in &receiver.headers {
        let value = read_secret(source, "a webhook", environment).await.map_err(unread)?;
        let (Ok(name), Ok(mut value)) =
            (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose_secret()))
        else {
            let message = format!("the secret of `{name}` cannot be sent as a header");
            return Err(SendError::permanent(message));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The secret may be readable next time.
fn unread(error: SecretError) -> SendError {
    SendError::unsent(error.to_string())
}

/// Alerts are rare, so connections are not kept.
fn client(time_limit: Duration) -> reqwest::Result<Client> {
    client::builder().timeout(time_limit).connect_timeout(time_limit).build()
}

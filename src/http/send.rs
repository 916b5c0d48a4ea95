//! Sends a request of which only success or failure matters, and says what a failure means for a
//! retry.

use std::time::SystemTime;

use reqwest::RequestBuilder;

use super::body;
use super::error::describe;
use super::retry::{Failure, retry_after};
use crate::text::shorten;

/// At most this much of a refusal is shown, in bytes.
const MAX_WORDS: usize = 200;

/// Why a request failed.
#[derive(Debug)]
pub struct SendError {
    /// For people; without the address, which may be a secret.
    pub message: String,
    /// For the decision whether to try again; `None`: it would fail again.
    pub failure: Option<Failure>,
}

impl SendError {
    /// The request could not be made or sent, but may be next time.
    pub fn unsent(message: String) -> Self {
        Self { message, failure: Some(Failure::Connection) }
    }

    /// The request would fail in the same way again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), failure: None }
    }
}

impl From<reqwest::Error> for SendError {
    fn from(error: reqwest::Error) -> Self {
        Self::unsent(describe(&error.without_url()))
    }
}

/// Sends a request once. Redirects are failures.
pub async fn send(request: RequestBuilder) -> Result<(), SendError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let message = format!("it answered with a redirect ({status}), which is not followed");
        return Err(SendError::permanent(message));
    }
    let asked = retry_after(response.headers(), SystemTime::now());
    let words = body::beginning(response, MAX_WORDS).await;
    let message = match shorten(&String::from_utf8_lossy(&words), MAX_WORDS).as_str() {
        "" => format!("it answered {status}"),
        words => format!("it answered {status}: {words}"),
    };
    Err(SendError { message, failure: Some(Failure::Status(status, asked)) })
}

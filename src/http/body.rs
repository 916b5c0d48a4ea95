//! Reads the body of an answer, never more of it than a limit. The announced length is not
//! believed.

use reqwest::Response;

use super::error::describe;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("answered more than {0} bytes")]
    TooLong(usize),
    #[error("broke off its answer: {0}")]
    Broken(String),
}

/// The whole body.
///
/// # Errors
/// It is longer than `limit` bytes, or the connection broke.
pub async fn whole(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| BodyError::Broken(describe(&error));
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLong(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The whole body: `Ok` of a success, `Err` of any other answer.
///
/// # Errors
/// As for [`whole`].
pub async fn judged(
    response: Response,
    limit: usize,
) -> Result<Result<Vec<u8>, Vec<u8>>, BodyError> {
    let is_success = response.status().is_success();
    let body = whole(response, limit).await?;
    Ok(if is_success { Ok(body) } else { Err(body) })
}

/// The beginning of the body, at most `limit` bytes: for the words of a refusal.
pub async fn beginning(mut response: Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < limit
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
    }
    body
}

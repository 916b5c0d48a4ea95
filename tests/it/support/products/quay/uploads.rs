//! How Quay tells where an upload stands, and uploads in one request.

use super::Rules;
use crate::support::products::asked::Asked;
use crate::support::products::front::{Broken, Front};
use crate::support::wire::Response;

pub async fn answer(
    front: &Front<Rules>,
    asked: &Asked,
    name: &str,
    session: Option<&str>,
) -> Result<Response, Broken> {
    let at_once = asked.parameter("digest").filter(|_| asked.method() == "POST");
    if let Some(wanted) = at_once {
        return Ok(front.whole_blob(asked, name, &wanted));
    }
    let mut response = front.forward(asked).await?;
    let range = response.headers.get("range").and_then(|range| range.to_str().ok());
    let told = match (asked.method(), session, response.status) {
        // Nothing was stored, so the last byte is the one before the first.
        ("POST", None, 202) => Some("bytes=0--1".to_owned()),
        ("GET", Some(_), 204) => range.map(|range| format!("bytes={range}")),
        _ => None,
    };
    if let Some(told) = told {
        response.set("range", told);
    }
    Ok(response)
}

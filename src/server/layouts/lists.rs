//! Lists: repositories, tags (distribution-spec "Listing Tags") and referrers ("Listing
//! Referrers"), in pages.

use axum::response::Response;
use http::{HeaderName, StatusCode, header};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::answer::{self, Answer, Refusal};
use super::{Head, Registry};
use crate::oci::{Digest, RepositoryName, media_type};
use crate::repository::Repository;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// A page of referrers is ended at this size, in bytes: clients read at most 4 MiB.
const PAGE_BYTES: usize = 2 << 20;

impl Registry {
    pub(super) async fn catalog(&self, head: &Head) -> Answer {
        let names = self.layouts.names().await?;
        let names = names.iter().map(RepositoryName::as_str).collect();
        let (page, next) = page(names, head)?;
        let response = answer::json(&json!({ "repositories": page }));
        Ok(linked(response, next.map(|next| format!("/v2/_catalog?{next}"))))
    }

    pub(super) async fn tags(&self, name: &RepositoryName, head: &Head) -> Answer {
        let tags = self.repository(name).await?.tags().await?.unwrap_or_default();
        let mut tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
        tags.sort_unstable();
        let (page, next) = page(tags, head)?;
        let response = answer::json(&json!({ "name": name.as_str(), "tags": page }));
        Ok(linked(response, next.map(|next| format!("/v2/{name}/tags/list?{next}"))))
    }

    /// Never 404, also where the repository is not there: that would mean that this registry
    /// has no referrers API.
    pub(super) async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        head: &Head,
    ) -> Answer {
        let mut referrers = match self.layouts.get(name).await? {
            Some(layout) => layout.referrer_descriptors(subject).await?,
            None => Vec::new(),
        };
        let filter = head.query.get("artifactType");
        referrers.retain(|referrer| filter.is_none() || referrer.artifact_type.as_ref() == filter);
        referrers.sort_by(|one, other| one.digest.cmp(&other.digest));
        if let Some(last) = head.query.get("last") {
            let last = super::route::digest(last)?;
            referrers.retain(|referrer| referrer.digest > last);
        }
        let mut entries: Vec<Box<RawValue>> = Vec::new();
        let (mut size, mut next) = (0, None);
        for (at, referrer) in referrers.iter().enumerate() {
            let Ok(entry) = to_raw_value(referrer) else { continue };
            size += entry.get().len();
            if size > PAGE_BYTES && at > 0 {
                next = Some(&referrers[at - 1].digest);
                break;
            }
            entries.push(entry);
        }
        let next = next.map(|last| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("last", &last.to_string());
            if let Some(filter) = filter {
                query.append_pair("artifactType", filter);
            }
            format!("/v2/{name}/referrers/{subject}?{}", query.finish())
        });
        let entries: Vec<&str> = entries.iter().map(|entry| entry.get()).collect();
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
            media_type::OCI_INDEX,
            entries.join(",")
        );
        let mut headers = vec![(header::CONTENT_TYPE, media_type::OCI_INDEX)];
        headers.extend(filter.map(|_| (FILTERS_APPLIED, "artifactType")));
        Ok(linked(answer::with_headers(StatusCode::OK, headers, index), next))
    }
}

/// The part of a sorted list that `n` and `last` ask for, and the query of the next part.
fn page<'a>(mut all: Vec<&'a str>, head: &Head) -> Result<(Vec<&'a str>, Option<String>), Refusal> {
    if let Some(last) = head.query.get("last") {
        all.retain(|text| *text > last.as_str());
    }
    let Some(n) = head.query.get("n") else { return Ok((all, None)) };
    let invalid = |_| Refusal::bad_request("PAGINATION_NUMBER_INVALID", "`n` is not a number");
    let n: usize = n.parse().map_err(invalid)?;
    let more = all.len() > n;
    all.truncate(n);
    let next = all.last().filter(|_| more).map(|last| format!("n={n}&last={last}"));
    Ok((all, next))
}

fn linked(mut response: Response, next: Option<String>) -> Response {
    if let Some(value) = next.and_then(|next| format!("<{next}>; rel=\"next\"").parse().ok()) {
        response.headers_mut().insert(header::LINK, value);
    }
    response
}

//! GitHub's webhooks about packages (docs.github.com, "Webhook events and payloads": `package`,
//! `registry_package`, `ping`). GitHub sends each push as both of the former, if asked for both.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::json;
use super::{Action, PushEvent, Refusal};
use crate::oci::media_type::essence;

const SENDER: &str = "GitHub";

const HINT: &str = "of the webhook's events, choose `Registry packages` only";

/// The one of the two that the event is named after is there.
#[derive(Deserialize)]
struct Message {
    action: Option<String>,
    package: Option<Package>,
    registry_package: Option<Package>,
}

#[derive(Deserialize)]
struct Package {
    /// Without the owner; may have slashes.
    name: Option<String>,
    package_type: Option<String>,
    owner: Option<Owner>,
    package_version: Option<Version>,
    #[serde(default)]
    updated_at: Value,
}

#[derive(Deserialize)]
struct Owner {
    login: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    container_metadata: Option<Metadata>,
    #[serde(default)]
    updated_at: Value,
}

#[derive(Deserialize)]
struct Metadata {
    tag: Option<TagOfVersion>,
}

/// `name` is empty for what was pushed by its digest.
#[derive(Deserialize)]
struct TagOfVersion {
    name: Option<String>,
    digest: Option<String>,
}

pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Vec<PushEvent>, Refusal> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if header("content-type").map(essence).as_deref() == Some("application/x-www-form-urlencoded") {
        let problem = "a form: set the webhook's content type to application/json".to_owned();
        return Err(Refusal::Shape { sender: SENDER, problem });
    }
    let kind = header("x-github-event").ok_or(Refusal::Missing {
        field: "X-GitHub-Event",
        hint: "GitHub sends that header with every message",
    })?;
    if kind == "ping" {
        return Ok(Vec::new());
    }
    if !matches!(kind, "package" | "registry_package") {
        return Err(Refusal::kind(SENDER, kind, HINT));
    }
    let message: Message = json::read(SENDER, body)?;
    if !matches!(message.action.as_deref(), Some("published" | "updated")) {
        return Ok(Vec::new());
    }
    let package = match kind {
        "package" => message.package,
        _ => message.registry_package,
    };
    let missing = |field| Refusal::Missing { field, hint: "GitHub says it of every package" };
    let package = package.ok_or_else(|| missing("package"))?;
    // npm, Maven and others come through the same webhook.
    if !package.package_type.is_some_and(|kind| kind.eq_ignore_ascii_case("container")) {
        return Ok(Vec::new());
    }
    let name = package.name.ok_or_else(|| missing("package.name"))?;
    let owner = package.owner.and_then(|owner| owner.login);
    let owner = owner.ok_or_else(|| missing("package.owner.login"))?;
    // People and organisations may have upper-case letters, repositories not.
    let repository = format!("{owner}/{name}").to_ascii_lowercase();
    let version = package.package_version;
    let at = version.as_ref().and_then(|version| json::moment(&version.updated_at));
    let at = at.or_else(|| json::moment(&package.updated_at));
    let tag = version.and_then(|version| version.container_metadata?.tag);
    let (tag, digest) = tag.map_or((None, None), |tag| (tag.name, tag.digest));
    let event = PushEvent::new(Action::Push, &repository, tag.as_deref(), digest.as_deref(), at)?;
    Ok(vec![event])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, DIGEST, assert_refused, body, event, push};
    use super::*;
    use serde_json::json;

    fn headers(kind: &str) -> HeaderMap {
        testing::headers(&[("x-github-event", kind), ("content-type", "application/json")])
    }

    fn message(kind: &str, package_type: &str, tag: &str) -> Vec<u8> {
        body(&json!({
            "action": "published",
            kind: {
                "id": 1_062_531, "name": "charts/app", "namespace": "Acme", "description": "",
                "ecosystem": "CONTAINER", "package_type": package_type,
                "html_url": "https://github.com/Acme/app/packages/1062531",
                "created_at": "2021-10-05T20:00:00Z", "updated_at": "2021-10-05T21:28:20Z",
                "owner": { "login": "Acme", "id": 1, "type": "Organization" },
                "package_version": {
                    "id": 8_640_125, "version": DIGEST, "name": DIGEST,
                    "created_at": "2021-10-05T21:28:19Z", "updated_at": "2021-10-05T21:28:19Z",
                    "container_metadata": {
                        "tag": { "name": tag, "digest": DIGEST },
                        "labels": { "description": "", "licenses": "MIT" },
                        "manifest": { "digest": DIGEST, "size": 1786 }
                    },
                    "package_url": format!("ghcr.io/acme/charts/app:{tag}")
                },
                "registry": null
            },
            "organization": { "login": "Acme" },
            "sender": { "login": "octocat" }
        }))
    }

    #[test]
    fn both_events_tell_of_the_same_push() {
        let at = "2021-10-05T21:28:19Z".parse().ok();
        let expected = PushEvent { at, ..push("acme/charts/app", "1.1.0") };
        for kind in ["package", "registry_package"] {
            let body = message(kind, "CONTAINER", "1.1.0");
            assert_eq!(parse(&headers(kind), &body), Ok(vec![expected.clone()]), "{kind}");
        }
        let untagged = PushEvent { at, ..event(Action::Push, "acme/charts/app", None) };
        let body = message("package", "container", "");
        assert_eq!(parse(&headers("package"), &body), Ok(vec![untagged]));
    }

    #[test]
    fn greetings_and_other_packages_are_no_events() {
        let ping = br#"{"zen":"Design for failure.","hook_id":1,"hook":{"type":"Organization"}}"#;
        assert_eq!(parse(&headers("ping"), ping), Ok(vec![]));
        let npm = message("package", "npm", "");
        assert_eq!(parse(&headers("package"), &npm), Ok(vec![]));
        let deleted = br#"{"action":"deleted","package":{}}"#;
        assert_eq!(parse(&headers("package"), deleted), Ok(vec![]));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let body = message("package", "CONTAINER", "1.1.0");
        let mut form = headers("package");
        form.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        let nameless = br#"{"action":"updated","package":{"package_type":"CONTAINER"}}"#.to_vec();
        let cases = [
            (HeaderMap::new(), &body, "no `X-GitHub-Event`"),
            (headers("issues"), &body, "of the kind `issues` about images: of the webhook's"),
            (headers("registry_package"), &body, "no `package`"),
            (headers("package"), &b"[".to_vec(), "not what GitHub sends"),
            (headers("package"), &nameless, "no `package.name`"),
            (form, &body, "content type to application/json"),
        ];
        for (headers, body, expected) in cases {
            assert_refused(parse(&headers, body), expected);
        }
    }
}

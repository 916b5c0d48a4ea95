//! The Quay emulator does what Quay does: each test asks it directly.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::images::Blob;
use crate::support::products::reply::{Reply, direct, plain};
use crate::support::products::{Area, Credential, Quay, Right};
use crate::support::wire::Response;
use crate::support::{Family, Image};

fn quay() -> Quay {
    let quay = Quay::start();
    quay.organization("acme");
    quay.people(|people| {
        people.credential(Credential::new("acme+robot", "secret"));
        people.credential(Credential::new("bob", "secret"));
        people.credential(Credential::new("alice", "oauth").scopes(&["repo:read"]).any_user());
        people.credential(Credential::new("alice", "narrow").scopes(&["user:read"]).any_user());
        people.member("acme+robot", "acme", Right::Write).member("acme+robot", "new", Right::Write);
        people.member("alice", "acme", Right::Admin).public("acme/open");
    });
    quay
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

async fn ask_token(quay: &Quay, login: Option<(&str, &str)>, scope: &str) -> Reply {
    let request = direct().get(format!("{}/v2/auth", quay.url(0)));
    let request = match scope {
        "" => request,
        scope => request.query(&[("scope", scope)]),
    };
    Reply::logged_in(request, login).await
}

/// A request with the robot's token for pushes to a repository.
async fn robot(quay: &Quay, method: Method, name: &str, path: &str) -> reqwest::RequestBuilder {
    let scope = format!("repository:{name}:pull,push");
    let granted = ask_token(quay, Some(("acme+robot", "secret")), &scope).await.json();
    let url = match path.strip_prefix("http://") {
        Some(_) => path.to_owned(),
        None => format!("{}/v2/{name}{path}", quay.url(0)),
    };
    direct().request(method, url).bearer_auth(plain(&granted["token"]))
}

async fn status(quay: &Quay, method: Method, name: &str, path: &str) -> u16 {
    Reply::to(robot(quay, method, name, path).await).await.status
}

async fn put(quay: &Quay, image: &Image, name: &str, tag: &str) -> Reply {
    let request = robot(quay, Method::PUT, name, &format!("/manifests/{tag}")).await;
    let request = request.header("content-type", &image.media_type);
    Reply::to(request.body(image.bytes.clone())).await
}

async fn api(quay: &Quay, path: &str, token: Option<&str>) -> Reply {
    let request = direct().get(format!("{}/api/v1/{path}", quay.url(0)));
    Reply::to(match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

#[tokio::test]
async fn tokens_are_for_pull_push_and_star_only() {
    let quay = quay();
    quay.load(&image("app"), "acme/app", "v1").load(&image("open"), "acme/open", "v1");
    let challenged =
        Reply::to(direct().get(format!("{}/v2/acme/app/tags/list", quay.url(0)))).await;
    let host = quay.host(0);
    let challenge = format!(
        "Bearer realm=\"http://{host}/v2/auth\",service=\"{host}\",scope=\"repository:acme/app:pull\""
    );
    assert_eq!(challenged.header("www-authenticate"), challenge);
    let granted =
        ask_token(&quay, Some(("acme+robot", "secret")), "repository:acme/app:pull").await;
    assert_eq!(granted.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["token"]);
    // A scope with `delete` cannot be read, and nothing is granted in its place.
    for scope in ["repository:acme/app:pull,push,delete", "registry:catalog:*"] {
        let refused = ask_token(&quay, Some(("acme+robot", "secret")), scope).await;
        assert_eq!(refused.error(), (400, "INVALID_REQUEST".to_owned()), "{scope}");
    }
    let wrong = ask_token(&quay, Some(("acme+robot", "wrong")), "repository:acme/app:pull").await;
    assert_eq!(wrong.error(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(ask_token(&quay, None, "").await.status, 401);

    let reads = async |login, name: &str| {
        let granted = ask_token(&quay, login, &format!("repository:{name}:pull")).await.json();
        let url = format!("{}/v2/{name}/tags/list", quay.url(0));
        Reply::to(direct().get(url).bearer_auth(plain(&granted["token"]))).await.status
    };
    assert_eq!(reads(None, "acme/open").await, 200);
    assert_eq!(reads(None, "acme/app").await, 401);
    assert_eq!(reads(Some(("bob", "secret")), "acme/app").await, 401);
    assert_eq!(reads(Some(("$oauthtoken", "oauth")), "acme/app").await, 200);
    quay.revoke_tokens();
    assert_eq!(quay.traffic(Area::Token).len(), 9);
}

#[tokio::test]
async fn repositories_are_made_by_pushes_and_organisations_are_not() {
    let quay = quay();
    let opens = async |name: &str| status(&quay, Method::POST, name, "/blobs/uploads/").await;
    assert_eq!((opens("acme/new").await, opens("acme/a/b").await), (202, 202));
    assert_eq!(opens("new/app").await, 401);
    quay.knobs(|knobs| knobs.creates_organizations = true);
    assert_eq!(opens("new/app").await, 202);
    quay.knobs(|knobs| knobs.nested = false);
    let nested = ask_token(&quay, Some(("acme+robot", "secret")), "repository:acme/a/b:pull").await;
    assert_eq!(nested.error(), (400, "NAME_INVALID".to_owned()));
    quay.knobs(|knobs| knobs.over_quota.extend(["acme".to_owned()]));
    let refused = Reply::to(robot(&quay, Method::POST, "acme/new", "/blobs/uploads/").await).await;
    assert_eq!(refused.error(), (403, "DENIED".to_owned()));
    quay.knobs(|knobs| knobs.read_only = true);
    let refused = Reply::to(robot(&quay, Method::POST, "acme/new", "/blobs/uploads/").await).await;
    assert_eq!(refused.error(), (405, "DENIED".to_owned()));
}

#[tokio::test]
async fn uploads_tell_their_ranges_in_three_ways() {
    let quay = quay();
    let layer = &image("app").blobs[1];
    let opened = Reply::to(robot(&quay, Method::POST, "acme/app", "/blobs/uploads/").await).await;
    assert_eq!((opened.status, opened.header("range")), (202, "bytes=0--1"));
    let location = opened.header("location").to_owned();
    assert!(location.starts_with(&quay.url(0)), "{location}");
    let patch = robot(&quay, Method::PATCH, "acme/app", &location).await;
    let patched = Reply::to(patch.body(layer.bytes.slice(..100))).await;
    assert_eq!((patched.status, patched.header("range")), (202, "0-99"));
    let location = patched.header("location").to_owned();
    let stands = Reply::to(robot(&quay, Method::GET, "acme/app", &location).await).await;
    assert_eq!((stands.status, stands.header("range")), (204, "bytes=0-99"));

    let at_once = format!("/blobs/uploads/?digest={}", layer.digest);
    let post = robot(&quay, Method::POST, "acme/app", &at_once).await;
    assert_eq!(Reply::to(post.body("other")).await.error(), (400, "DIGEST_INVALID".to_owned()));
    let post = robot(&quay, Method::POST, "acme/app", &at_once).await;
    assert_eq!(Reply::to(post.body(layer.bytes.clone())).await.status, 201);
    let blob = format!("/blobs/{}", layer.digest);
    let there = Reply::to(robot(&quay, Method::GET, "acme/app", &blob).await).await;
    assert_eq!(there.body, layer.bytes);
    assert_eq!(status(&quay, Method::DELETE, "acme/app", &blob).await, 405);
    let mount = format!("/blobs/uploads/?mount={}", layer.digest);
    assert_eq!(status(&quay, Method::POST, "acme/app", &mount).await, 202);
    let mount = format!("{mount}&from=acme/app");
    assert_eq!(status(&quay, Method::POST, "acme/app", &mount).await, 201);
}

#[tokio::test]
async fn lists_have_a_hundred_entries_a_page_whatever_is_asked_for() {
    let quay = quay();
    quay.load_many("acme/app", 130, 0);
    let first = Reply::to(robot(&quay, Method::GET, "acme/app", "/tags/list?n=1000").await).await;
    let next = first.link("next").unwrap();
    assert!(next.starts_with("/v2/acme/app/"), "{next}");
    let path = next.strip_prefix("/v2/acme/app").unwrap();
    let second = Reply::to(robot(&quay, Method::GET, "acme/app", path).await).await;
    let count = |reply: &Reply| reply.json()["tags"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), second.link("next")), (100, 30, None));

    for number in 0..100 {
        quay.load(&image("app"), &format!("acme/many-{number:02}"), "v1");
    }
    quay.load(&image("open"), "acme/open", "v1").load(&image("x"), "others/secret", "v1");
    let catalog = async |login: Option<(&str, &str)>, path: &str| {
        let token = ask_token(&quay, login, "repository:acme/open:pull").await.json();
        let url = format!("{}{path}", quay.url(0));
        Reply::to(direct().get(url).bearer_auth(plain(&token["token"]))).await
    };
    let names = |reply: &Reply| reply.json()["repositories"].as_array().unwrap().clone();
    let robot = Some(("acme+robot", "secret"));
    let first = catalog(robot, "/v2/_catalog").await;
    let next = first.link("next").unwrap();
    assert!(next.contains("next_page="), "{next}");
    let second = catalog(robot, &next).await;
    assert_eq!((names(&first).len(), names(&second).len()), (100, 2));
    assert_eq!(names(&catalog(None, "/v2/_catalog").await), [Value::Null; 0]);
    quay.knobs(|knobs| knobs.public_catalog = true);
    assert_eq!(names(&catalog(None, "/v2/_catalog").await), [json!("acme/open")]);
    let first = api(&quay, "repository?namespace=acme", Some("oauth")).await.json();
    assert_eq!(first["repositories"].as_array().unwrap().len(), 100);
    let next = format!("repository?namespace=acme&next_page={}", plain(&first["next_page"]));
    let second = api(&quay, &next, Some("oauth")).await.json();
    assert_eq!(second["repositories"][1]["name"], "open");
    assert_eq!(second.get("next_page"), None);
    let anonymous = api(&quay, "repository?namespace=acme", None).await.json();
    assert_eq!(anonymous["repositories"].as_array().unwrap().len(), 1);
    assert_eq!(api(&quay, "repository", Some("oauth")).await.status, 400);
}

#[tokio::test]
async fn referrers_are_listed_for_manifests_that_are_there() {
    let quay = quay();
    let image = image("app");
    quay.load(&image, "acme/app", "v1");
    let referrer = Image::referrer_of(&image, "sbom", "application/spdx+json");
    for blob in &referrer.blobs {
        quay.registry().insert_blob("acme/app", &blob.digest, blob.bytes.clone());
    }
    let taken = put(&quay, &referrer, "acme/app", &referrer.digest).await;
    assert_eq!((taken.status, taken.header("oci-subject")), (201, ""));
    let list = async |digest: &str| {
        let path = format!("/referrers/{digest}");
        Reply::to(robot(&quay, Method::GET, "acme/app", &path).await).await
    };
    let listed = list(&image.digest).await.json();
    assert_eq!(listed["manifests"][0]["digest"], referrer.digest);
    let unknown = Blob::new("", "nothing").digest;
    assert_eq!(list(&unknown).await.error(), (400, "MANIFEST_INVALID".to_owned()));
    quay.knobs(|knobs| knobs.media_types = Some([].into()));
    let refused = put(&quay, &image, "acme/app", "v2").await;
    assert_eq!(refused.error(), (400, "MANIFEST_INVALID".to_owned()));
}

#[tokio::test]
async fn tags_and_digests_are_deleted_unless_they_are_immutable() {
    let quay = quay();
    let (one, other) = (image("one"), image("other"));
    for tag in ["v1", "v2", "fixed"] {
        quay.load(&one, "acme/app", tag);
    }
    quay.load(&other, "acme/app", "latest").immutable("acme/app:fixed");
    let delete = async |reference: &str| {
        let path = format!("/manifests/{reference}");
        Reply::to(robot(&quay, Method::DELETE, "acme/app", &path).await).await
    };
    let immutable = (409, "TAG_IMMUTABLE".to_owned());
    assert_eq!(delete("fixed").await.error(), immutable);
    assert_eq!(delete(&one.digest).await.error(), immutable);
    assert_eq!(put(&quay, &other, "acme/app", "fixed").await.error(), immutable);
    assert_eq!(put(&quay, &one, "acme/app", "fixed").await.status, 201);
    assert_eq!(delete("v1").await.status, 202);
    assert_eq!(quay.tag("acme/app", "v2"), Some(one.digest.clone()));
    quay.knobs(|knobs| knobs.immutable_tags.clear());
    assert_eq!(delete(&one.digest).await.status, 202);
    assert_eq!(quay.tag("acme/app", "v2"), None);
    assert_eq!(delete("v9").await.status, 404);
}

#[tokio::test]
async fn the_api_lists_tags_newest_first_with_their_past_unless_told_not_to() {
    let quay = quay();
    let (old, new) = (image("old"), image("new"));
    let at = |hour: u32| format!("2026-05-01T{hour:02}:00:00Z").parse().unwrap();
    quay.load_at(&old, "acme/deep/app", "latest", at(1));
    quay.load_at(&old, "acme/deep/app", "v1", at(2));
    quay.load_at(&new, "acme/deep/app", "latest", at(3));
    quay.load_at(&new, "acme/deep/app", "gone", at(4)).untag("acme/deep/app", "gone").await;
    let tags = async |query: &str, token| {
        api(&quay, &format!("repository/acme/deep/app/tag/?{query}"), token).await
    };
    let rows = |reply: &Reply, field: &str| {
        let json = reply.json();
        json["tags"].as_array().unwrap().iter().map(|tag| plain(&tag[field])).collect::<Vec<_>>()
    };
    let active = tags("onlyActiveTags=true", Some("oauth")).await;
    assert_eq!(rows(&active, "name"), ["latest", "v1"]);
    assert_eq!(rows(&active, "manifest_digest"), [&*new.digest, &*old.digest]);
    assert_eq!(rows(&active, "last_modified")[0], "Fri, 01 May 2026 03:00:00 -0000");
    let all = tags("", Some("oauth")).await;
    assert_eq!(rows(&all, "name"), ["gone", "latest", "v1", "latest"]);
    assert_eq!(rows(&all, "end_ts")[1], "null");
    assert!(rows(&all, "end_ts")[3].parse::<i64>().is_ok());
    let first = tags("limit=1&onlyActiveTags=true", Some("oauth")).await.json();
    assert_eq!((&first["has_additional"], &first["page"]), (&json!(true), &json!(1)));
    let second = tags("limit=1&page=2&onlyActiveTags=true", Some("oauth")).await;
    assert_eq!(
        (rows(&second, "name"), &second.json()["has_additional"]),
        (vec!["v1".into()], &json!(false))
    );
    assert_eq!(rows(&tags("specificTag=v1", Some("oauth")).await, "name"), ["v1"]);

    for (token, status) in [(None, 401), (Some("secret"), 401), (Some("narrow"), 403)] {
        assert_eq!(tags("", token).await.status, status, "{token:?}");
    }
    // A slash that is encoded once is a slash; encoded twice it is not.
    let path = |slash: &str| format!("repository/acme{slash}deep{slash}app/tag/");
    assert_eq!(api(&quay, &path("%2F"), Some("oauth")).await.status, 200);
    assert_ne!(api(&quay, &path("%252F"), Some("oauth")).await.status, 200);
    quay.lag(true).load(&new, "acme/deep/app", "late").shift_pages(1);
    let lost = tags("limit=1&page=2&onlyActiveTags=true", Some("oauth")).await;
    assert_eq!(rows(&lost, "name"), [""; 0]);
    quay.limit(Area::Api, 0);
    assert_eq!(tags("", Some("oauth")).await.status, 429);
    quay.down(Area::Api, Response::new(503));
    assert_eq!(tags("", Some("oauth")).await.status, 503);
    assert_eq!(status(&quay, Method::GET, "acme/deep/app", "/tags/list").await, 200);
}

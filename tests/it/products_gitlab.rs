//! The GitLab emulator does what GitLab does: each test asks it directly, without tranship.

use reqwest::Method;
use serde_json::json;

use crate::support::images::Blob;
use crate::support::products::gitlab::{GITLAB, REGISTRY, STORAGE};
use crate::support::products::reply::{Reply, direct};
use crate::support::products::{Area, Credential, GitLab, Right};
use crate::support::wire::Response;
use crate::support::{Family, Fault, Image, Kind};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A GitLab with two projects, and somebody for each way to log in.
pub fn gitlab() -> GitLab {
    let gitlab = GitLab::start();
    people(&gitlab);
    gitlab
}

fn people(gitlab: &GitLab) {
    gitlab.project("acme/app").project("acme/tools/cli");
    gitlab.people(|people| {
        let token = |secret: &str, scopes: &[&str]| {
            Credential::new("alice", secret).scopes(scopes).any_user()
        };
        people.credential(token("reads", &["read_registry"]));
        people.credential(token("both", &["read_registry", "write_registry"]));
        people.credential(token("api", &["read_api"]));
        people.credential(token("whole-api", &["api"]));
        people.credential(token("old", &["read_registry"]).expired());
        let job = Credential { user: Some("gitlab-ci-token".to_owned()), ..token("job", &[]) };
        people.credential(job.scopes(&["read_registry", "write_registry"]));
        people.credential(Credential::new("root", "secret"));
        people.member("alice", "acme", Right::Write).admin("root").public("acme/tools/cli");
    });
}

async fn ask_token(gitlab: &GitLab, login: Option<(&str, &str)>, scope: &str) -> Reply {
    let url = format!("{}/jwt/auth", gitlab.url(GITLAB));
    let mut request = direct().get(url).query(&[("service", "container_registry")]);
    if !scope.is_empty() {
        request = request.query(&[("scope", scope)]);
    }
    Reply::logged_in(request, login).await
}

pub async fn token(gitlab: &GitLab, secret: &str, scope: &str) -> String {
    let reply = ask_token(gitlab, Some(("alice", secret)), scope).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["token"].as_str().unwrap().to_owned()
}

/// A request to the registry with a token for everything in `acme/app`.
pub async fn registry(gitlab: &GitLab, method: Method, path: &str) -> reqwest::RequestBuilder {
    let token = token(gitlab, "both", "repository:acme/app:pull,push,delete").await;
    direct().request(method, format!("{}{path}", gitlab.url(REGISTRY))).bearer_auth(token)
}

pub async fn api(gitlab: &GitLab, method: Method, path: &str, secret: &str) -> Reply {
    let url = format!("{}/api/v4{path}", gitlab.url(GITLAB));
    Reply::to(direct().request(method, url).header("private-token", secret)).await
}

pub fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

#[tokio::test]
async fn the_challenge_leads_to_gitlab_and_a_token_opens_the_registry() {
    let gitlab = gitlab();
    gitlab.load(&image("app"), "acme/app", "v1");
    let url = format!("{}/v2/acme/app/manifests/v1", gitlab.url(REGISTRY));
    let reply = Reply::to(direct().get(&url)).await;
    assert_eq!(reply.error(), (401, "UNAUTHORIZED".to_owned()));
    let realm = format!("{}/jwt/auth", gitlab.url(GITLAB));
    let challenge = format!(
        "Bearer realm=\"{realm}\",service=\"container_registry\",scope=\"repository:acme/app:pull\""
    );
    assert_eq!(reply.header("www-authenticate"), challenge);

    let granted = ask_token(&gitlab, Some(("x", "reads")), "repository:acme/app:pull,push").await;
    assert_eq!(granted.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["token"]);
    let granted = granted.json()["token"].as_str().unwrap().to_owned();
    let reply = Reply::to(direct().get(&url).bearer_auth(&granted)).await;
    assert_eq!((reply.status, reply.body), (200, image("app").bytes));
    // The token of a reader says nothing of the push that it does not allow.
    let reply = Reply::to(direct().put(&url).bearer_auth(&granted)).await;
    assert!(reply.header("www-authenticate").ends_with("error=\"insufficient_scope\""));
    assert_eq!(reply.status, 401);

    let reply =
        Reply::to(direct().get(format!("{}/v2/", gitlab.url(REGISTRY))).bearer_auth(&granted));
    let reply = reply.await;
    assert_eq!(reply.header("gitlab-container-registry-database-enabled"), "true");
    gitlab.revoke_tokens();
    let reply = Reply::to(direct().get(&url).bearer_auth(&granted)).await;
    assert!(reply.header("www-authenticate").ends_with("error=\"invalid_token\""));
    assert_eq!(gitlab.traffic(Area::Token).len(), 1);
}

#[tokio::test]
async fn tokens_are_given_by_scope_right_and_kind_of_login() {
    let gitlab = gitlab();
    gitlab.load(&image("app"), "acme/app", "v1").load(&image("cli"), "acme/tools/cli", "v1");
    let pull = "repository:acme/app:pull";
    // Without any scope for the registry, the token server itself refuses.
    let refused = ask_token(&gitlab, Some(("alice", "api")), pull).await;
    assert_eq!(refused.error(), (403, "DENIED".to_owned()));
    assert_eq!(refused.json()["errors"][0]["message"], "access forbidden");
    for wrong in ["wrong", "old"] {
        let refused = ask_token(&gitlab, Some(("alice", wrong)), pull).await;
        assert_eq!(refused.error(), (401, "UNAUTHORIZED".to_owned()), "{wrong}");
    }
    assert_eq!(ask_token(&gitlab, None, "").await.status, 403);
    let post =
        direct().post(format!("{}/jwt/auth", gitlab.url(GITLAB))).body("grant_type=password");
    assert_eq!(Reply::to(post).await.status, 404);

    let reads = |token: String, name: &'static str| {
        let url = format!("{}/v2/{name}/tags/list", gitlab.url(REGISTRY));
        async move { Reply::to(direct().get(url).bearer_auth(token)).await.status }
    };
    let anonymous = async |name: &str| {
        let reply = ask_token(&gitlab, None, &format!("repository:{name}:pull")).await;
        reply.json()["token"].as_str().unwrap().to_owned()
    };
    assert_eq!(reads(anonymous("acme/tools/cli").await, "acme/tools/cli").await, 200);
    assert_eq!(reads(anonymous("acme/app").await, "acme/app").await, 401);

    let pushes = async |scope: &str| {
        let reply = ask_token(&gitlab, Some(("gitlab-ci-token", "job")), scope).await;
        let token = reply.json()["token"].as_str().unwrap().to_owned();
        let url = format!("{}/v2/acme/app/blobs/uploads/", gitlab.url(REGISTRY));
        Reply::to(direct().post(url).bearer_auth(token)).await.status
    };
    assert_eq!(pushes("repository:acme/app:pull,push").await, 401);
    gitlab.knobs(|knobs| knobs.job_tokens_push = true);
    assert_eq!(pushes("repository:acme/app:pull,push").await, 202);

    // The catalog is for administrators of the whole product.
    for (user, secret, status) in [("alice", "both", 401), ("root", "secret", 200)] {
        let reply = ask_token(&gitlab, Some((user, secret)), "registry:catalog:*").await;
        let token = reply.json()["token"].as_str().unwrap().to_owned();
        let url = format!("{}/v2/_catalog", gitlab.url(REGISTRY));
        assert_eq!(Reply::to(direct().get(url).bearer_auth(token)).await.status, status, "{user}");
    }
}

#[tokio::test]
async fn too_many_wrong_passwords_ban_the_address_without_a_word() {
    let gitlab = gitlab();
    gitlab.knobs(|knobs| knobs.ban_after = 3);
    let scope = "repository:acme/app:pull";
    for _ in 0..3 {
        assert_eq!(ask_token(&gitlab, Some(("alice", "wrong")), scope).await.status, 401);
    }
    let banned = ask_token(&gitlab, Some(("alice", "both")), scope).await;
    assert_eq!((banned.status, banned.text()), (403, "Forbidden\n"));
    assert_eq!((banned.header("retry-after"), banned.header("www-authenticate")), ("", ""));
}

#[tokio::test]
async fn images_go_below_projects_and_no_deeper_than_two_levels() {
    let gitlab = gitlab();
    let opens = async |name: &str| {
        let token = token(&gitlab, "both", &format!("repository:{name}:pull,push")).await;
        let url = format!("{}/v2/{name}/blobs/uploads/", gitlab.url(REGISTRY));
        Reply::to(direct().post(url).bearer_auth(token)).await
    };
    for (name, status) in [
        ("acme/app", 202),
        ("acme/app/one/two", 202),
        ("acme/app/one/two/three", 401),
        ("acme/other", 401),
        ("acme", 401),
    ] {
        assert_eq!(opens(name).await.status, status, "{name}");
    }
    let location = opens("acme/app").await.header("location").to_owned();
    assert!(location.starts_with(&format!("{}/v2/", gitlab.url(REGISTRY))), "{location}");
}

#[tokio::test]
async fn manifests_of_unknown_types_or_sizes_are_refused() {
    let gitlab = gitlab();
    let put = async |image: &Image, tag: &str| {
        let path = format!("/v2/acme/app/manifests/{tag}");
        let request = registry(&gitlab, Method::PUT, &path).await;
        let request = request.header("content-type", &image.media_type).body(image.bytes.clone());
        Reply::to(request).await
    };
    let odd = Blob::noise("application/vnd.acme.secret", "odd", 10);
    let odd = Image::of_blobs(Family::Oci, Blob::new(MANIFEST, "{}"), vec![odd]);
    let refused = put(&odd, "v1").await;
    assert_eq!(refused.error(), (400, "MANIFEST_INVALID".to_owned()));
    assert!(refused.text().contains("unknown media type"), "{refused:?}");
    let subject = image("app");
    let referrer =
        Image::referrer_of(&subject, "sbom", "application/vnd.dev.cosign.artifact.sbom.v1+json");
    for image in [&subject, &referrer] {
        gitlab.load(image, "acme/app", "known");
    }
    let taken = put(&referrer, "v1").await;
    assert_eq!((taken.status, taken.header("oci-subject")), (201, ""));
    let path = format!("/v2/acme/app/referrers/{}", subject.digest);
    let request = registry(&gitlab, Method::GET, &path).await;
    assert_eq!(Reply::to(request).await.status, 404);

    gitlab.knobs(|knobs| knobs.reference_limit = Some(1));
    assert_eq!(put(&subject, "v2").await.error(), (400, "MANIFEST_REFERENCE_LIMIT".to_owned()));
    gitlab.knobs(|knobs| knobs.payload_limit = Some(10));
    assert_eq!(put(&subject, "v2").await.error(), (400, "MANIFEST_SIZE_LIMIT".to_owned()));
}

#[tokio::test]
async fn protected_tags_and_parts_of_indexes_are_not_deleted() {
    let gitlab = gitlab();
    let index = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    gitlab.load(&index, "acme/app", "v1").load(&index, "acme/app", "v2");
    gitlab.protect("acme/app:v2");
    let delete = async |reference: &str| {
        let path = format!("/v2/acme/app/manifests/{reference}");
        Reply::to(registry(&gitlab, Method::DELETE, &path).await).await
    };
    assert_eq!(delete("v2").await.error(), (403, "DENIED".to_owned()));
    assert_eq!(delete(&index.digest).await.error(), (403, "DENIED".to_owned()));
    let child = &index.children[0].digest;
    assert_eq!(delete(child).await.error(), (409, "MANIFEST_REFERENCED".to_owned()));
    assert_eq!(delete("v1").await.status, 202);
    assert_eq!(gitlab.tag("acme/app", "v1"), None);
    assert_eq!(gitlab.tag("acme/app", "v2"), Some(index.digest.clone()));
    let old = "/v2/acme/app/tags/reference/v1";
    assert_eq!(Reply::to(registry(&gitlab, Method::DELETE, old).await).await.status, 404);
    gitlab.knobs(|knobs| {
        knobs.protected_tags.clear();
        knobs.old_tag_delete = true;
    });
    gitlab.load(&index, "acme/app", "v1");
    assert_eq!(Reply::to(registry(&gitlab, Method::DELETE, old).await).await.status, 202);
    assert_eq!(delete(&index.digest).await.status, 202);
    assert_eq!(gitlab.tag("acme/app", "v2"), None);
}

#[tokio::test]
async fn limits_outages_and_faults_are_gitlabs() {
    let gitlab = gitlab();
    gitlab.load(&image("app"), "acme/app", "v1");
    gitlab.limit(Area::Api, 1);
    let path = "/groups/acme/registry/repositories";
    assert_eq!(api(&gitlab, Method::GET, path, "api").await.status, 200);
    let limited = api(&gitlab, Method::GET, path, "api").await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "30"));
    assert_eq!(limited.header("ratelimit-remaining"), "0");
    assert!(limited.header("ratelimit-resettime").ends_with("GMT"));
    gitlab.limit(Area::Api, 100).down(Area::Api, Response::new(502));
    assert_eq!(api(&gitlab, Method::GET, path, "api").await.status, 502);
    let manifest = "/v2/acme/app/manifests/v1";
    let reads = async || Reply::to(registry(&gitlab, Method::GET, manifest).await).await.status;
    assert_eq!(reads().await, 200, "the registry is up");
    gitlab.up(Area::Api);
    assert_eq!(api(&gitlab, Method::GET, path, "api").await.status, 200);
    gitlab.on("GET", Kind::Manifest).once().fail(Fault::status(500));
    assert_eq!((reads().await, reads().await), (500, 200));
    gitlab.registry().on("GET", Kind::Manifest).once().fail(Fault::CutAnswerAfter(10));
    let cut = registry(&gitlab, Method::GET, manifest).await.send().await.unwrap();
    assert_eq!(cut.status(), 200);
    cut.bytes().await.unwrap_err();
}

#[tokio::test]
async fn blobs_lie_at_a_storage_that_takes_no_credentials() {
    let gitlab = gitlab();
    let image = image("app");
    gitlab.load(&image, "acme/app", "v1").knobs(|knobs| knobs.blobs_at_storage = true);
    let path = format!("/v2/acme/app/blobs/{}", image.blobs[1].digest);
    let redirect = Reply::to(registry(&gitlab, Method::GET, &path).await).await;
    let location = redirect.header("location").to_owned();
    assert_eq!(redirect.status, 307);
    assert!(location.starts_with(&gitlab.url(STORAGE)), "{location}");
    let refused = Reply::to(direct().get(&location).bearer_auth("x")).await;
    assert_eq!(refused.status, 400);
    let blob = Reply::to(direct().get(&location)).await;
    assert_eq!((blob.status, &blob.body), (200, &image.blobs[1].bytes));
    let missing = format!("/v2/acme/app/blobs/{}", image.digest);
    assert_eq!(Reply::to(registry(&gitlab, Method::GET, &missing).await).await.status, 404);
}

#[tokio::test]
async fn a_real_docker_registry_stores_behind_the_same_rules() {
    let gitlab = GitLab::with_docker_registry().await;
    people(&gitlab);
    let image = image("app");
    let layer = &image.blobs[1];
    for blob in &image.blobs {
        let opened =
            Reply::to(registry(&gitlab, Method::POST, "/v2/acme/app/blobs/uploads/").await).await;
        let location = opened.header("location").to_owned();
        let path = location.strip_prefix(&gitlab.url(REGISTRY)).unwrap();
        let put = registry(&gitlab, Method::PUT, &format!("{path}&digest={}", blob.digest)).await;
        assert_eq!(Reply::to(put.body(blob.bytes.clone())).await.status, 201);
    }
    for tag in ["v1", "v2"] {
        let put = registry(&gitlab, Method::PUT, &format!("/v2/acme/app/manifests/{tag}")).await;
        let put = put.header("content-type", MANIFEST).body(image.bytes.clone());
        assert_eq!(Reply::to(put).await.status, 201);
    }
    let bulk = "/gitlab/v1/repositories/acme/app/tags/list/";
    let list = Reply::to(registry(&gitlab, Method::GET, bulk).await).await;
    assert_eq!(list.each("digest"), [&*image.digest; 2]);
    let head = format!("/v2/acme/app/blobs/{}", layer.digest);
    let head = Reply::to(registry(&gitlab, Method::HEAD, &head).await).await;
    assert_eq!((head.status, head.header("content-length")), (200, "300"));

    // Tag by tag, which that registry cannot do by itself; then the rest by digest.
    let delete = async |reference: &str| {
        let path = format!("/v2/acme/app/manifests/{reference}");
        Reply::to(registry(&gitlab, Method::DELETE, &path).await).await.status
    };
    assert_eq!((delete("v1").await, delete("v1").await), (202, 404));
    let tags = Reply::to(registry(&gitlab, Method::GET, "/v2/acme/app/tags/list").await).await;
    assert_eq!(tags.json()["tags"], json!(["v2"]));
    assert_eq!(delete(&image.digest).await, 202);
    let path = format!("/v2/acme/app/manifests/{}", image.digest);
    let gone = registry(&gitlab, Method::GET, &path).await.header("accept", MANIFEST);
    assert_eq!(Reply::to(gone).await.status, 404);
}

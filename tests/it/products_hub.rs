//! The Docker Hub emulator does what Docker Hub does: each test asks it directly.

use reqwest::{Client, Method};
use serde_json::json;

use crate::support::products::reply::{Reply, plain, through};
use crate::support::products::{Area, Credential, Hub, Referrers, Right};
use crate::support::wire::Response;
use crate::support::{Family, Image};

fn hub() -> Hub {
    let hub = Hub::start();
    hub.people(|people| {
        people.credential(Credential::new("alice", "password"));
        people.credential(Credential::new("alice", "dckr_pat_reads").scopes(&["repo:read"]));
        people.credential(Credential::new("alice", "dckr_pat_writes").scopes(&["repo:write"]));
        people.credential(Credential::new("alice", "dckr_pat_old").expired());
        people.member("alice", "acme", Right::Admin).public("library");
    });
    hub
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

async fn ask_token(client: &Client, secret: Option<&str>, scope: &str) -> Reply {
    let request = client.get("http://auth.docker.io/token");
    let request = request.query(&[("service", "registry.docker.io"), ("scope", scope)]);
    Reply::logged_in(request, secret.map(|secret| ("alice", secret))).await
}

async fn registry(
    client: &Client,
    secret: Option<&str>,
    method: Method,
    name: &str,
    path: &str,
) -> reqwest::RequestBuilder {
    let scope = format!("repository:{name}:pull,push,delete");
    let token = plain(&ask_token(client, secret, &scope).await.json()["token"]);
    client
        .request(method, format!("http://registry-1.docker.io/v2/{name}{path}"))
        .bearer_auth(token)
}

async fn api_token(client: &Client, secret: &str) -> Reply {
    let login = json!({ "identifier": "alice", "secret": secret }).to_string();
    Reply::to(client.post("http://hub.docker.com/v2/auth/token").body(login)).await
}

async fn api(client: &Client, method: Method, path: &str, secret: Option<&str>) -> Reply {
    let request = client.request(method, format!("http://hub.docker.com{path}"));
    Reply::to(match secret {
        Some(secret) => {
            let token = plain(&api_token(client, secret).await.json()["access_token"]);
            request.bearer_auth(token)
        }
        None => request,
    })
    .await
}

#[tokio::test]
async fn tokens_come_by_get_and_by_oauth() {
    let hub = hub();
    let client = through(&hub.url(0));
    hub.load(&image("app"), "acme/app", "v1").load(&image("alpine"), "library/alpine", "3");
    let url = "http://registry-1.docker.io/v2/acme/app/manifests/v1";
    let challenged = Reply::to(client.get(url)).await;
    assert_eq!(
        challenged.header("www-authenticate"),
        "Bearer realm=\"http://auth.docker.io/token\",service=\"registry.docker.io\",\
         scope=\"repository:acme/app:pull\""
    );
    let granted = ask_token(&client, Some("password"), "repository:acme/app:pull").await.json();
    assert_eq!(
        (&granted["expires_in"], &granted["token"]),
        (&json!(300), &granted["access_token"])
    );
    for wrong in ["wrong", "dckr_pat_old"] {
        assert_eq!(ask_token(&client, Some(wrong), "").await.status, 401, "{wrong}");
    }
    let oauth = async |form: &str| {
        Reply::to(client.post("http://auth.docker.io/token").body(form.to_owned())).await
    };
    let scope = "service=registry.docker.io&scope=repository:acme/app:pull";
    let password = "grant_type=password&username=alice&password=password&access_type=offline";
    let first = oauth(&format!("{password}&{scope}")).await.json();
    let refresh = plain(&first["refresh_token"]);
    let again = oauth(&format!("grant_type=refresh_token&refresh_token={refresh}&{scope}")).await;
    let token = plain(&again.json()["access_token"]);
    assert_eq!(Reply::to(client.get(url).bearer_auth(token)).await.status, 200);
    assert_eq!(oauth("grant_type=refresh_token&refresh_token=none").await.status, 401);

    let get = async |secret, name: &str| {
        let request = registry(&client, secret, Method::GET, name, "/tags/list").await;
        Reply::to(request).await.status
    };
    assert_eq!(get(None, "library/alpine").await, 200);
    assert_eq!(get(None, "alpine").await, 401, "official images need their prefix");
    assert_eq!(get(None, "acme/app").await, 401);
    let catalog = client.get("http://registry-1.docker.io/v2/_catalog").bearer_auth("x");
    assert_eq!(Reply::to(catalog).await.status, 401);
    hub.knobs(|knobs| knobs.token_lifetime = std::time::Duration::ZERO);
    assert_eq!(get(Some("password"), "acme/app").await, 401, "the token is over at once");
}

#[tokio::test]
async fn pulls_are_counted_and_looks_are_free() {
    let hub = hub();
    let client = through(&hub.url(0));
    hub.load(&image("alpine"), "library/alpine", "3");
    let ask = async |method: Method| {
        let request = registry(&client, None, method, "library/alpine", "/manifests/3").await;
        Reply::to(request).await
    };
    assert_eq!(ask(Method::GET).await.header("ratelimit-limit"), "", "unlimited");
    hub.knobs(|knobs| knobs.pulls_left = Some(1));
    let look = ask(Method::HEAD).await;
    assert_eq!((look.status, look.header("ratelimit-remaining")), (200, "1;w=21600"));
    assert_eq!(look.header("ratelimit-limit"), "100;w=21600");
    let pull = ask(Method::GET).await;
    assert_eq!((pull.status, pull.header("ratelimit-remaining")), (200, "0;w=21600"));
    let refused = ask(Method::GET).await;
    assert_eq!(refused.error(), (429, "TOOMANYREQUESTS".to_owned()));
    assert!(refused.text().contains("https://www.docker.com/increase-rate-limit"));
    assert_eq!((ask(Method::HEAD).await.status, hub.pulls_left()), (200, Some(0)));
    hub.limit(Area::Registry, 0);
    let abuse = ask(Method::HEAD).await;
    assert_eq!((abuse.status, abuse.header("retry-after")), (429, ""));
}

#[tokio::test]
async fn pushes_make_repositories_of_two_levels() {
    let hub = hub();
    let client = through(&hub.url(0));
    let opens = async |secret, name: &str| {
        let request = registry(&client, Some(secret), Method::POST, name, "/blobs/uploads/").await;
        Reply::to(request).await.status
    };
    assert_eq!(opens("dckr_pat_writes", "acme/new").await, 202);
    assert_eq!(opens("dckr_pat_reads", "acme/new").await, 401);
    assert_eq!(opens("password", "acme/deep/new").await, 401);
    assert_eq!(opens("password", "library/new").await, 401);
    hub.knobs(|knobs| knobs.two_levels = false);
    assert_eq!(opens("password", "acme/deep/new").await, 202);
    hub.knobs(|knobs| knobs.creates_on_push = false);
    assert_eq!(opens("password", "acme/made").await, 401);
    let make = async |secret: &str| {
        let token = plain(&api_token(&client, secret).await.json()["access_token"]);
        let request = client.post("http://hub.docker.com/v2/namespaces/acme/repositories");
        Reply::to(request.bearer_auth(token).body(r#"{"name":"made"}"#)).await.status
    };
    assert_eq!((make("dckr_pat_reads").await, make("password").await), (403, 201));
    assert_eq!(opens("password", "acme/made").await, 202);
}

#[tokio::test]
async fn the_referrers_api_may_be_there_or_only_promised() {
    let hub = hub();
    let client = through(&hub.url(0));
    let image = image("app");
    hub.load(&image, "acme/app", "v1");
    let referrer = Image::referrer_of(&image, "sbom", "application/spdx+json");
    for blob in &referrer.blobs {
        hub.registry().insert_blob("acme/app", &blob.digest, blob.bytes.clone());
    }
    let mut seen = Vec::new();
    for kind in [Referrers::SubjectOnly, Referrers::Nothing, Referrers::Api] {
        hub.knobs(|knobs| knobs.referrers = kind);
        let path = format!("/manifests/{}", referrer.digest);
        let put = registry(&client, Some("password"), Method::PUT, "acme/app", &path).await;
        let put = put.header("content-type", &referrer.media_type).body(referrer.bytes.clone());
        let subject = Reply::to(put).await.header("oci-subject").to_owned();
        let path = format!("/referrers/{}", image.digest);
        let get = registry(&client, Some("password"), Method::GET, "acme/app", &path).await;
        seen.push((subject == image.digest, Reply::to(get).await.status));
    }
    assert_eq!(seen, [(true, 404), (false, 404), (true, 200)]);
}

#[tokio::test]
async fn manifests_are_deleted_only_once_nothing_holds_them() {
    let hub = hub();
    let client = through(&hub.url(0));
    let index = Image::platforms(Family::Oci, "app", &["amd64"]);
    hub.load(&index, "acme/app", "v1");
    let delete = async |reference: &str| {
        let path = format!("/manifests/{reference}");
        let request = registry(&client, Some("password"), Method::DELETE, "acme/app", &path).await;
        Reply::to(request).await
    };
    assert_eq!(delete("v1").await.error(), (405, "UNSUPPORTED".to_owned()));
    assert_eq!(delete(&index.digest).await.error(), (403, "DENIED".to_owned()));
    assert_eq!(delete(&index.children[0].digest).await.status, 403);
    let path = "/v2/repositories/acme/app/tags/v1/";
    let by_api = async |path: &str, secret| api(&client, Method::DELETE, path, secret).await.status;
    assert_eq!(by_api(path, None).await, 401);
    assert_eq!(by_api(path, Some("dckr_pat_writes")).await, 403);
    assert_eq!(by_api(path.trim_end_matches('/'), Some("password")).await, 404);
    assert_eq!(
        (by_api(path, Some("password")).await, by_api(path, Some("password")).await),
        (204, 404)
    );
    assert_eq!(delete(&index.digest).await.status, 202);
    assert_eq!(delete(&index.children[0].digest).await.status, 202);
}

#[tokio::test]
async fn blobs_lie_at_a_host_that_takes_no_credentials() {
    let hub = hub();
    let client = through(&hub.url(0));
    hub.load(&image("app"), "acme/app", "v1");
    let path = format!("/blobs/{}", image("app").blobs[1].digest);
    let get = registry(&client, Some("password"), Method::GET, "acme/app", &path).await;
    let redirect = Reply::to(get).await;
    let location = redirect.header("location");
    assert_eq!(redirect.status, 307);
    assert_eq!(Reply::to(client.get(location).bearer_auth("x")).await.status, 400);
    assert_eq!(Reply::to(client.get(location)).await.body, image("app").blobs[1].bytes);
    assert_eq!(hub.traffic(Area::Storage).len(), 2);
}

#[tokio::test]
async fn the_api_lists_repositories_and_tags_in_pages() {
    let hub = hub();
    let client = through(&hub.url(0));
    hub.load_many("acme/app", 105, 2).load(&image("alpine"), "library/alpine", "3");
    hub.load(&image("b"), "acme/b", "v1").untag("acme/b", "v1").await;
    let get = async |path: &str, secret| api(&client, Method::GET, path, secret).await;
    let names = |reply: &Reply| {
        let json = reply.json();
        json["results"].as_array().unwrap().iter().map(|it| plain(&it["name"])).collect::<Vec<_>>()
    };
    let newest = "/v2/namespaces/acme/repositories?page_size=100&ordering=-last_updated";
    assert_eq!(names(&get(newest, Some("dckr_pat_reads")).await), ["b", "app"]);
    assert_eq!(names(&get(newest, None).await), [""; 0]);
    assert_eq!(names(&get("/v2/namespaces/library/repositories", None).await), ["alpine"]);

    let tags = "/v2/namespaces/acme/repositories/app/tags";
    let first = get(&format!("{tags}?page_size=500"), Some("password")).await;
    assert_eq!((names(&first).len(), &first.json()["count"]), (100, &json!(105)));
    let next = plain(&first.json()["next"]);
    let second = get(next.strip_prefix("http://hub.docker.com").unwrap(), Some("password")).await;
    assert_eq!((names(&second).len(), &second.json()["next"]), (5, &json!(null)));
    assert_eq!(get(&format!("{tags}?page=99"), Some("password")).await.status, 404);
    let tag = &first.json()["results"][0];
    assert_eq!(
        (&tag["name"], plain(&tag["digest"])),
        (&json!("tag-104"), hub.tag("acme/app", "tag-104").unwrap())
    );
    assert_eq!(tag["images"].as_array().unwrap().len(), 2);
    hub.knobs(|knobs| knobs.tag_digests = false);
    let without = get(tags, Some("password")).await.json();
    assert_eq!(without["results"][0].get("digest"), None);
    let empty = get("/v2/namespaces/acme/repositories/b/tags", Some("password")).await;
    assert_eq!((empty.status, &empty.json()["count"]), (200, &json!(0)));
    assert_eq!(get(tags, None).await.status, 404);
    assert_eq!(api_token(&client, "wrong").await.status, 401);
    // A token of the registry is none for the API.
    let other = plain(&ask_token(&client, Some("password"), "").await.json()["token"]);
    let url = format!("http://hub.docker.com{tags}");
    assert_eq!(Reply::to(client.get(url).bearer_auth(other)).await.status, 401);

    hub.shift_pages(-1);
    let repeated = get(&format!("{tags}?page_size=10&page=2"), Some("password")).await;
    assert_eq!(names(&repeated)[0], "tag-095");
    hub.shift_pages(0).lag(true).load(&image("late"), "acme/app", "late");
    assert_eq!(names(&get(tags, Some("password")).await)[0], "tag-104");
    hub.limit(Area::Api, 0);
    let limited = get(tags, Some("password")).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "30"));
    assert_eq!(limited.header("x-ratelimit-remaining"), "0");
    hub.down(Area::Api, Response::new(503));
    assert_eq!(get(tags, Some("password")).await.status, 503);
    let reads = registry(&client, Some("password"), Method::HEAD, "acme/app", "/manifests/late");
    assert_eq!(Reply::to(reads.await).await.status, 200);
}

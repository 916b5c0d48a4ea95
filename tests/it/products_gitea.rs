//! The Gitea emulator has Gitea's oddities: each test asks it directly.

use reqwest::Method;

use crate::support::products::gitea::{REGISTRY, STORAGE};
use crate::support::products::reply::{Reply, direct, plain};
use crate::support::products::{Area, Credential, Gitea, Right};
use crate::support::{Family, Image};

fn gitea() -> Gitea {
    let gitea = Gitea::start();
    gitea.owner("acme").owner("open");
    gitea.people(|people| {
        people.credential(Credential::new("alice", "password"));
        people.credential(Credential::new("alice", "reads").scopes(&["read:package"]));
        people.credential(Credential::new("alice", "other").scopes(&["read:issue"]));
        people.member("alice", "acme", Right::Write).public("open");
    });
    gitea
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

async fn token(gitea: &Gitea, secret: &str) -> Reply {
    let url = format!("{}/v2/token?service=container_registry&scope=*", gitea.url(REGISTRY));
    Reply::to(direct().get(url).basic_auth("alice", Some(secret))).await
}

async fn ask(gitea: &Gitea, method: Method, path: &str, secret: &str) -> reqwest::RequestBuilder {
    let token = plain(&token(gitea, secret).await.json()["token"]);
    direct().request(method, format!("{}{path}", gitea.url(REGISTRY))).bearer_auth(token)
}

async fn reply(gitea: &Gitea, method: Method, path: &str) -> Reply {
    Reply::to(ask(gitea, method, path, "password").await).await
}

#[tokio::test]
async fn the_scope_is_a_star_and_tokens_are_for_everything() {
    let gitea = gitea();
    gitea.load(&image("app"), "acme/app", "v1").load(&image("open"), "open/app", "v1");
    let url = format!("{}/v2/acme/app/tags/list", gitea.url(REGISTRY));
    let challenged = Reply::to(direct().get(url)).await;
    let realm = format!("{}/v2/token", gitea.url(REGISTRY));
    let challenge = format!("Bearer realm=\"{realm}\",service=\"container_registry\",scope=\"*\"");
    assert_eq!(challenged.header("www-authenticate"), challenge);
    let granted = token(&gitea, "password").await.json();
    assert_eq!(granted.as_object().unwrap().keys().collect::<Vec<_>>(), ["token"]);
    assert_eq!(token(&gitea, "wrong").await.status, 401);

    let status = async |method, path: &str, secret| {
        Reply::to(ask(&gitea, method, path, secret).await).await.status
    };
    let (list, upload) = ("/v2/acme/app/tags/list", "/v2/acme/app/blobs/uploads/");
    assert_eq!(status(Method::GET, list, "reads").await, 200);
    assert_eq!(status(Method::POST, upload, "reads").await, 401);
    assert_eq!(status(Method::GET, list, "other").await, 401);
    assert_eq!(status(Method::POST, upload, "password").await, 202);
    assert_eq!(status(Method::POST, "/v2/nobody/app/blobs/uploads/", "password").await, 404);
    let anonymous = Reply::to(direct().get(&realm)).await.json();
    let url = format!("{}/v2/open/app/tags/list", gitea.url(REGISTRY));
    let open = direct().get(url).bearer_auth(plain(&anonymous["token"]));
    assert_eq!(Reply::to(open).await.status, 200);
    assert!(gitea.asked(Area::Token)[0].ends_with("scope=*"));
}

#[tokio::test]
async fn every_page_with_tags_has_a_link() {
    let gitea = gitea();
    gitea.load_many("acme/app", 3, 0);
    for number in 0..100 {
        gitea.load(&image("app"), &format!("acme/many-{number:02}"), "v1");
    }
    let mut path = "/v2/acme/app/tags/list?n=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = reply(&gitea, Method::GET, &path).await;
        pages.push(page.json()["tags"].as_array().unwrap().len());
        let Some(next) = page.link("next") else { break };
        path = next;
    }
    assert_eq!(pages, [2, 1, 0]);
    let first = reply(&gitea, Method::GET, "/v2/_catalog?n=1000").await;
    let count = |reply: &Reply| reply.json()["repositories"].as_array().unwrap().len();
    let second = reply(&gitea, Method::GET, &first.link("next").unwrap()).await;
    assert_eq!((count(&first), count(&second), second.link("next")), (100, 1, None));
    gitea.limit(Area::Registry, 0);
    assert_eq!(reply(&gitea, Method::GET, "/v2/_catalog").await.status, 429);
}

#[tokio::test]
async fn an_upload_tells_one_byte_too_many_and_no_place_to_go_on() {
    let gitea = gitea();
    let layer = &image("app").blobs[1];
    let opened = reply(&gitea, Method::POST, "/v2/acme/app/blobs/uploads/").await;
    assert_eq!((opened.status, opened.header("range")), (202, "0-0"));
    let patch = async |location: &str, from: usize, to: usize, range: Option<&str>| {
        let request = ask(&gitea, Method::PATCH, location, "password").await;
        let request = match range {
            Some(range) => request.header("content-range", range),
            None => request,
        };
        Reply::to(request.body(layer.bytes.slice(from..to))).await
    };
    let first = patch(opened.header("location"), 0, 100, None).await;
    assert_eq!((first.status, first.header("range")), (202, "0-99"));
    let location = first.header("location");
    let stands = reply(&gitea, Method::GET, location).await;
    assert_eq!(
        (stands.status, stands.header("range"), stands.header("location")),
        (204, "0-100", "")
    );
    assert_eq!(patch(location, 100, 300, None).await.status, 416);
    assert_eq!(patch(location, 100, 300, Some("101-300")).await.status, 416);
    let second = patch(location, 100, 300, Some("100-299")).await;
    assert_eq!(second.status, 202);
    let close = format!("{}&digest={}", second.header("location"), layer.digest);
    assert_eq!(reply(&gitea, Method::PUT, &close).await.status, 201);
}

#[tokio::test]
async fn blobs_come_in_one_request_and_mounts_need_no_from() {
    let gitea = gitea();
    let image = image("app");
    gitea.load(&image, "acme/app", "v1");
    let layer = &image.blobs[1];
    let mount = |digest: &str| format!("/v2/acme/new/blobs/uploads/?mount={digest}");
    assert_eq!(reply(&gitea, Method::POST, &mount(&image.digest)).await.status, 202);
    assert_eq!(reply(&gitea, Method::POST, &mount(&layer.digest)).await.status, 201);
    let whole = format!("/v2/acme/other/blobs/uploads/?digest={}", layer.digest);
    let post = ask(&gitea, Method::POST, &whole, "password").await;
    assert_eq!(Reply::to(post.body(layer.bytes.clone())).await.status, 201);
    gitea.knobs(|knobs| knobs.blobs_at_storage = true);
    let blob = format!("/v2/acme/other/blobs/{}", layer.digest);
    let redirect = reply(&gitea, Method::GET, &blob).await;
    let location = redirect.header("location");
    assert!(location.starts_with(&gitea.url(STORAGE)), "{location}");
    assert_eq!(Reply::to(direct().get(location)).await.body, layer.bytes);
}

#[tokio::test]
async fn tags_and_digests_are_deleted_and_large_manifests_refused() {
    let gitea = gitea();
    let image = image("app");
    gitea.load(&image, "acme/app", "v1").load(&image, "acme/app", "v2");
    let delete = async |reference: &str| {
        let path = format!("/v2/acme/app/manifests/{reference}");
        reply(&gitea, Method::DELETE, &path).await.status
    };
    assert_eq!(
        (delete("v1").await, gitea.tag("acme/app", "v2")),
        (202, Some(image.digest.clone()))
    );
    assert_eq!((delete(&image.digest).await, gitea.tag("acme/app", "v2")), (202, None));
    let path = format!("/v2/acme/app/referrers/{}", image.digest);
    assert_eq!(reply(&gitea, Method::GET, &path).await.status, 404);
    let put = ask(&gitea, Method::PUT, "/v2/acme/app/manifests/v1", "password").await;
    assert_eq!(Reply::to(put.body(vec![b' '; (10 << 20) + 1])).await.status, 413);
}

//! The GHCR emulator does what ghcr.io and api.github.com do: each test asks it directly.

use reqwest::{Client, Method};

use crate::support::products::reply::{Reply, through};
use crate::support::products::{Area, Credential, Ghcr, Right};
use crate::support::wire::Response;
use crate::support::{Family, Image};

const READ: &str = "read:packages";
const WRITE: &str = "write:packages";
const DELETE: &str = "delete:packages";

fn ghcr() -> Ghcr {
    let ghcr = Ghcr::start();
    ghcr.people(|people| {
        let mut token = |secret: &str, scopes: &[&str]| {
            people.credential(Credential::new("alice", secret).scopes(scopes).any_user());
        };
        token("ghp_reads", &[READ]);
        token("ghp_writes", &[READ, WRITE]);
        token("ghp_all", &[READ, WRITE, DELETE]);
        token("ghp_none", &["repo"]);
        token("github_pat_fine", &[READ, WRITE]);
        people.credential(Credential::new("alice", "ghp_old").expired());
        people.member("alice", "acme", Right::Admin).member("alice", "alice", Right::Admin);
        people.public("acme/public");
    });
    ghcr.knobs(|knobs| knobs.users.extend(["alice".to_owned()]));
    ghcr
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

async fn ask_token(client: &Client, secret: Option<&str>, scope: &str) -> Reply {
    let request = client.get("http://ghcr.io/token");
    let request = request.query(&[("service", "ghcr.io"), ("scope", scope)]);
    Reply::logged_in(request, secret.map(|secret| ("anybody", secret))).await
}

/// A request to the registry with a token of this secret's.
async fn registry(
    client: &Client,
    secret: Option<&str>,
    method: Method,
    repository: &str,
    path: &str,
) -> reqwest::RequestBuilder {
    let granted = ask_token(client, secret, &format!("repository:{repository}:pull,push")).await;
    let token = granted.json()["token"].as_str().unwrap().to_owned();
    client.request(method, format!("http://ghcr.io/v2/{repository}{path}")).bearer_auth(token)
}

async fn api(client: &Client, method: Method, path: &str, secret: &str) -> Reply {
    let url = format!("http://api.github.com{path}");
    Reply::to(client.request(method, url).bearer_auth(secret)).await
}

#[tokio::test]
async fn tokens_follow_scopes_and_membership() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    ghcr.load(&image("a"), "acme/app", "v1").load(&image("p"), "acme/public", "v1");
    let challenged = Reply::to(client.get("http://ghcr.io/v2/acme/app/tags/list")).await;
    assert_eq!(challenged.error(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(
        challenged.header("www-authenticate"),
        "Bearer realm=\"http://ghcr.io/token\",service=\"ghcr.io\",scope=\"repository:acme/app:pull\""
    );
    let opens = async |secret, repository: &str, method, path| {
        let request = registry(&client, secret, method, repository, path).await;
        Reply::to(request).await.status
    };
    let reads = async |secret, name: &str| opens(secret, name, Method::GET, "/tags/list").await;
    assert_eq!(reads(Some("ghp_reads"), "acme/app").await, 200);
    assert_eq!(reads(Some("ghp_none"), "acme/app").await, 403);
    assert_eq!(reads(None, "acme/app").await, 401);
    assert_eq!(reads(None, "acme/public").await, 200);
    let pushes =
        async |secret| opens(Some(secret), "acme/app", Method::POST, "/blobs/uploads/").await;
    assert_eq!((pushes("ghp_reads").await, pushes("ghp_writes").await), (403, 202));

    for wrong in ["ghp_wrong", "ghp_old", "github_pat_fine"] {
        let refused = ask_token(&client, Some(wrong), "repository:acme/app:pull").await;
        assert_eq!(refused.error(), (403, "DENIED".to_owned()), "{wrong}");
    }
    ghcr.knobs(|knobs| {
        knobs.fine_grained_tokens = true;
        knobs.states_lifetime = true;
    });
    let granted = ask_token(&client, Some("github_pat_fine"), "repository:acme/app:pull").await;
    assert_eq!(granted.json()["expires_in"], 300);
    let granted = ask_token(&client, Some("ghp_reads"), "").await.json()["token"].clone();
    let ping = client.get("http://ghcr.io/v2/").bearer_auth(granted.as_str().unwrap());
    assert_eq!(Reply::to(ping).await.status, 200);
    // The base64 of a token is only taken where a test says so.
    let own = client.get("http://ghcr.io/v2/acme/app/tags/list").bearer_auth("Z2hwX3JlYWRz");
    assert_eq!(Reply::to(own.try_clone().unwrap()).await.status, 401);
    ghcr.knobs(|knobs| knobs.token_as_bearer = true);
    assert_eq!(Reply::to(own).await.status, 200);
    assert_eq!(Reply::to(client.get("http://example.com/v2/")).await.status, 502);
}

#[tokio::test]
async fn chunks_above_four_mebibytes_are_refused_and_streams_are_not() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    let opens = async || {
        let request =
            registry(&client, Some("ghp_all"), Method::POST, "acme/new", "/blobs/uploads/");
        Reply::to(request.await).await.header("location").to_owned()
    };
    let patches = async |body: reqwest::Body, range: bool| {
        let location = opens().await;
        let path = location.strip_prefix("/v2/acme/new").unwrap();
        let patch = registry(&client, Some("ghp_all"), Method::PATCH, "acme/new", path).await;
        let patch = if range { patch.header("content-range", "0-4194304") } else { patch };
        Reply::to(patch.body(body)).await
    };
    let large = vec![7; (4 << 20) + 1];
    let refused = patches(large.clone().into(), true).await;
    assert_eq!(refused.error(), (416, "REQUESTED_RANGE_NOT_SATISFIABLE".to_owned()));
    assert!(refused.text().contains("exceeds the maximum permissible limit of 4.00MiB"));
    assert_eq!(patches(large[1..].to_vec().into(), true).await.status, 202);
    let pieces = large.chunks(1 << 20).map(|piece| std::io::Result::Ok(piece.to_vec()));
    let pieces: Vec<_> = pieces.collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    assert_eq!(patches(stream, false).await.status, 202);
    let location = opens().await;
    let path = location.strip_prefix("/v2/acme/new").unwrap();
    let digest = tranship::oci::Digest::of(&large);
    let path = format!("{path}&digest={digest}");
    let put = registry(&client, Some("ghp_all"), Method::PUT, "acme/new", &path).await;
    assert_eq!(Reply::to(put.body(large)).await.status, 201);
}

#[tokio::test]
async fn a_pushed_package_is_private_and_its_pusher_administers_it() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    ghcr.people(|people| {
        people.credential(Credential::new("bob", "ghp_bob").any_user());
        people.member("bob", "acme/team", Right::Write);
    });
    let image = image("new");
    for blob in &image.blobs {
        ghcr.registry().insert_blob("acme/team/app", &blob.digest, blob.bytes.clone());
    }
    let put = registry(&client, Some("ghp_bob"), Method::PUT, "acme/team/app", "/manifests/v1");
    let put = put.await.header("content-type", &image.media_type).body(image.bytes.clone());
    assert_eq!(Reply::to(put).await.status, 201);
    let list = api(&client, Method::GET, "/orgs/acme/packages?package_type=container", "ghp_bob");
    let list = list.await;
    assert_eq!(
        (list.each("name"), list.each("visibility")),
        (vec!["team/app".to_owned()], vec!["private".to_owned()])
    );
    assert_eq!(ghcr.people_right("bob", "acme/team/app"), Some(Right::Admin));
    assert_eq!(ghcr.people_right("bob", "acme/team/other"), Some(Right::Write));
}

#[tokio::test]
async fn the_registry_lists_by_the_hundred_and_has_neither_deletion_nor_referrers() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    ghcr.load_many("acme/app", 150, 1);
    let get = async |path: &str| {
        Reply::to(registry(&client, Some("ghp_all"), Method::GET, "acme/app", path).await).await
    };
    let count = |reply: &Reply| reply.json()["tags"].as_array().unwrap().len();
    let first = get("/tags/list").await;
    let next = first.link("next").unwrap();
    let second = get(next.strip_prefix("/v2/acme/app").unwrap()).await;
    assert_eq!((count(&first), count(&second), second.link("next")), (100, 50, None));
    assert_eq!(count(&get("/tags/list?n=10000").await), 150);
    ghcr.knobs(|knobs| knobs.tags_cap = Some(40));
    assert_eq!(count(&get("/tags/list?n=10000").await), 40);

    let digest = ghcr.tag("acme/app", "tag-000").unwrap();
    assert_eq!(get(&format!("/referrers/{digest}")).await.status, 404);
    for reference in ["tag-000", &digest] {
        let path = format!("/manifests/{reference}");
        let delete = registry(&client, Some("ghp_all"), Method::DELETE, "acme/app", &path).await;
        assert_eq!(Reply::to(delete).await.error(), (405, "UNSUPPORTED".to_owned()));
    }
    assert_eq!(Reply::to(client.get("http://ghcr.io/v2/_catalog")).await.status, 404);
    ghcr.limit(Area::Registry, 0);
    let limited = get("/tags/list").await;
    assert_eq!(limited.error(), (429, "TOOMANYREQUESTS".to_owned()));
    assert_eq!(limited.header("retry-after"), "");
    assert!(limited.text().contains("retry-after: 880.092µs, allowed: 44000/minute"));
    let push =
        registry(&client, Some("ghp_all"), Method::POST, "acme/app", "/blobs/uploads/").await;
    assert!(Reply::to(push).await.text().contains("allowed: 2000/minute"));
}

#[tokio::test]
async fn the_api_lists_the_packages_of_organisations_and_people() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    for number in 0..35 {
        ghcr.load(&image("a"), &format!("acme/tools/{number:02}"), "v1");
    }
    ghcr.load(&image("b"), "alice/own", "v1").load(&image("c"), "others/secret", "v1");
    let get = async |path: &str| api(&client, Method::GET, path, "ghp_reads").await;
    let first = get("/orgs/acme/packages?package_type=container").await;
    assert_eq!((first.each("name").len(), &*first.each("name")[0]), (30, "tools/00"));
    let next = first.link("next").unwrap();
    assert_eq!(first.link("last").unwrap(), next);
    let next = get(next.strip_prefix("http://api.github.com").unwrap()).await;
    assert_eq!((next.each("name").len(), next.link("next")), (5, None));
    for path in ["/users/alice", "/user"] {
        let own = get(&format!("{path}/packages?package_type=container")).await;
        assert_eq!(own.each("name"), ["own"], "{path}");
    }
    assert_eq!(get("/orgs/others/packages?package_type=container").await.each("name"), [""; 0]);
    assert_eq!(get("/orgs/alice/packages?package_type=container").await.status, 404);
    assert_eq!(get("/orgs/acme/packages").await.status, 400);
    let list = "/orgs/acme/packages?package_type=container";
    assert_eq!(Reply::to(client.get(format!("http://api.github.com{list}"))).await.status, 401);
    assert_eq!(api(&client, Method::GET, list, "ghp_old").await.status, 401);
    let refused = api(&client, Method::GET, list, "ghp_none").await;
    assert_eq!((refused.status, refused.header("x-oauth-scopes")), (403, "repo"));
    assert!(refused.text().contains("at least read:packages"));

    // A page may lose entries while others push, or repeat them.
    ghcr.shift_pages(1);
    let lost = get("/orgs/acme/packages?package_type=container&page=2").await;
    assert_eq!(lost.each("name")[0], "tools/31");
    ghcr.shift_pages(-1);
    let repeated = get("/orgs/acme/packages?package_type=container&page=2").await;
    assert_eq!(repeated.each("name")[0], "tools/29");
}

#[tokio::test]
async fn every_manifest_is_a_version() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    ghcr.load_many("acme/big", 100, 9).load(&image("deep"), "acme/one/two", "v1");
    ghcr.untag("acme/one/two", "v1").await;
    let get = async |path: &str| {
        api(&client, Method::GET, &format!("/orgs/acme/packages/container/{path}"), "ghp_reads")
            .await
    };
    let (mut pages, mut tagged, mut at) =
        (0, 0, "big/versions?state=active&per_page=100".to_owned());
    loop {
        let page = get(&at).await;
        pages += 1;
        let tags = |entry: &serde_json::Value| {
            entry["metadata"]["container"]["tags"].as_array().unwrap().len()
        };
        tagged += page.json().as_array().unwrap().iter().map(tags).sum::<usize>();
        let Some(next) = page.link("next") else { break };
        at = next.split_once("/container/").unwrap().1.to_owned();
    }
    assert_eq!((pages, tagged), (10, 100));
    assert_eq!(ghcr.traffic(Area::Api).len(), 10);
    // The newest comes first.
    let first = get("big/versions?per_page=1").await;
    assert_eq!(first.each("name")[0], ghcr.tag("acme/big", "tag-099").unwrap());

    let versions = get("one%2Ftwo/versions").await;
    assert_eq!((versions.each("name").len(), versions.status), (1, 200));
    assert_eq!(versions.json()[0]["metadata"]["container"]["tags"], serde_json::json!([]));
    for wrong in ["one%252Ftwo/versions", "one/two/versions", "none/versions"] {
        assert_eq!(get(wrong).await.status, 404, "{wrong}");
    }
    ghcr.lag(true).load(&image("late"), "acme/one/two", "v2");
    assert_eq!(get("one%2Ftwo/versions").await.each("name").len(), 1);
}

#[tokio::test]
async fn versions_are_deleted_by_number_with_all_their_tags() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    let (old, new) = (image("old"), image("new"));
    for tag in ["v1", "v1.0"] {
        ghcr.load(&old, "acme/public", tag);
    }
    ghcr.load(&new, "acme/public", "v2");
    let path = "/orgs/acme/packages/container/public/versions";
    let number = async |digest: &str| {
        let list = api(&client, Method::GET, path, "ghp_all").await;
        let at = list.each("name").iter().position(|name| name == digest).unwrap();
        list.each("id")[at].clone()
    };
    let delete = async |secret: &str, number: &str| {
        api(&client, Method::DELETE, &format!("{path}/{number}"), secret).await
    };
    let of_old = number(&old.digest).await;
    assert_eq!(delete("ghp_writes", &of_old).await.status, 403, "the scope is missing");
    ghcr.knobs(|knobs| knobs.downloads.extend([(old.digest.clone(), 5_001)]));
    let refused = delete("ghp_all", &of_old).await;
    assert!(refused.status == 400 && refused.text().contains("5000 downloads"), "{refused:?}");
    ghcr.knobs(|knobs| knobs.downloads.clear());
    assert_eq!(delete("ghp_all", &of_old).await.status, 204);
    assert_eq!(delete("ghp_all", &of_old).await.status, 404);
    assert_eq!((ghcr.tag("acme/public", "v1"), ghcr.tag("acme/public", "v1.0")), (None, None));
    let gone = api(&client, Method::GET, &format!("{path}?state=deleted"), "ghp_all").await;
    assert_eq!(gone.each("name"), [&*old.digest]);
    let last = delete("ghp_all", &number(&new.digest).await).await;
    assert!(last.status == 400 && last.text().contains("last tagged version"), "{last:?}");

    // One tag of several goes by way of another image.
    ghcr.load(&new, "acme/public", "latest").load(&image("dummy"), "acme/public", "latest");
    assert_eq!(delete("ghp_all", &number(&image("dummy").digest).await).await.status, 204);
    assert_eq!(ghcr.tag("acme/public", "latest"), None);
    assert_eq!(ghcr.tag("acme/public", "v2"), Some(new.digest.clone()));
}

#[tokio::test]
async fn limits_of_the_api_are_403_and_the_registry_goes_on() {
    let ghcr = ghcr();
    let client = through(&ghcr.url(0));
    ghcr.load(&image("a"), "acme/app", "v1").limit(Area::Api, 0);
    let path = "/orgs/acme/packages?package_type=container";
    let limited = api(&client, Method::GET, path, "ghp_all").await;
    assert_eq!((limited.status, limited.header("x-ratelimit-remaining")), (403, "0"));
    ghcr.knobs(|knobs| knobs.secondary_limit = true);
    let limited = api(&client, Method::GET, path, "ghp_all").await;
    assert_eq!((limited.status, limited.header("retry-after")), (403, "60"));
    assert!(limited.text().contains("secondary rate limit"));
    ghcr.down(Area::Api, Response::new(503));
    assert_eq!(api(&client, Method::GET, path, "ghp_all").await.status, 503);
    ghcr.knobs(|knobs| knobs.blobs_at_storage = true);
    let blob = format!("/blobs/{}", image("a").blobs[1].digest);
    let get = registry(&client, Some("ghp_reads"), Method::GET, "acme/app", &blob).await;
    let redirect = Reply::to(get).await;
    let location = redirect.header("location");
    assert!(location.starts_with("http://pkg-containers.githubusercontent.com/"), "{location}");
    assert_eq!(Reply::to(client.get(location).bearer_auth("x")).await.status, 400);
    assert_eq!(Reply::to(client.get(location)).await.body, image("a").blobs[1].bytes);
}

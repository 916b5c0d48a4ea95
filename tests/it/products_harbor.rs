//! The Harbor emulator does what Harbor does: each test asks it directly.

use reqwest::Method;
use serde_json::json;

use crate::support::products::harbor::Slashes;
use crate::support::products::reply::{Reply, direct, plain};
use crate::support::products::{Area, Credential, Harbor, Right};
use crate::support::wire::Response;
use crate::support::{Family, Image};

fn harbor() -> Harbor {
    let harbor = Harbor::start();
    harbor.project("acme").project("cache").project("open");
    harbor.people(|people| {
        people.credential(Credential::new("alice", "secret"));
        people.credential(Credential::new("robot$acme+ci", "robot").scopes(&["pull", "push"]));
        people.credential(Credential::new("admin", "Harbor12345"));
        people.credential(Credential::new("bob", "secret"));
        people.member("alice", "acme", Right::Admin).member("alice", "cache", Right::Admin);
        people.member("robot$acme+ci", "acme", Right::Admin);
        people.admin("admin").public("open");
    });
    harbor.knobs(|knobs| knobs.proxy_projects.extend(["cache".to_owned()]));
    harbor
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

type Login = Option<(&'static str, &'static str)>;

const ALICE: Login = Some(("alice", "secret"));
const ROBOT: Login = Some(("robot$acme+ci", "robot"));
const ADMIN: Login = Some(("admin", "Harbor12345"));
const BOB: Login = Some(("bob", "secret"));

async fn ask(harbor: &Harbor, method: Method, path: &str, login: Login) -> Reply {
    let request = direct().request(method, format!("{}{path}", harbor.url(0)));
    Reply::logged_in(request, login).await
}

async fn get(harbor: &Harbor, path: &str, login: Login) -> Reply {
    ask(harbor, Method::GET, path, login).await
}

async fn put(harbor: &Harbor, image: &Image, name: &str, tag: &str, login: Login) -> Reply {
    let url = format!("{}/v2/{name}/manifests/{tag}", harbor.url(0));
    let (user, secret) = login.unwrap();
    let request = direct().put(url).basic_auth(user, Some(secret));
    let request = request.header("content-type", &image.media_type).body(image.bytes.clone());
    Reply::to(request).await
}

#[tokio::test]
async fn a_challenge_without_a_login_is_bearer_and_with_a_wrong_one_basic() {
    let harbor = harbor();
    harbor.load(&image("app"), "acme/app", "v1").load(&image("open"), "open/app", "v1");
    for path in ["/v2/acme/app/tags/list", "/v2/open/app/tags/list"] {
        let reply = get(&harbor, path, None).await;
        let realm = format!("Bearer realm=\"{}/service/token\"", harbor.url(0));
        let challenge = reply.header("www-authenticate");
        assert!(challenge.starts_with(&realm), "{challenge}");
        assert!(challenge.contains(",service=\"harbor-registry\",scope=\"repository:"));
        assert_eq!(reply.status, 401);
    }
    let basic = "Basic realm=\"harbor\"";
    let wrong = get(&harbor, "/v2/acme/app/tags/list", Some(("alice", "wrong"))).await;
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, basic));
    let catalog = get(&harbor, "/v2/_catalog", None).await;
    assert_eq!((catalog.status, catalog.header("www-authenticate")), (401, basic));

    let scope = "/service/token?service=harbor-registry&scope=repository:acme/app:pull,push,delete";
    assert_eq!(get(&harbor, scope, Some(("alice", "wrong"))).await.status, 401);
    let granted = get(&harbor, scope, ROBOT).await.json();
    assert_eq!(
        (&granted["expires_in"], &granted["token"]),
        (&json!(1800), &granted["access_token"])
    );
    assert!(plain(&granted["issued_at"]).ends_with('Z'));
    let token = plain(&granted["token"]);
    let url = format!("{}/v2/acme/app", harbor.url(0));
    let list = direct().get(format!("{url}/tags/list")).bearer_auth(&token);
    assert_eq!(Reply::to(list).await.status, 200);
    // A robot for pull and push deletes nothing, and is told as one with a wrong login is.
    let digest = image("app").digest;
    let delete = direct().delete(format!("{url}/manifests/{digest}")).bearer_auth(&token);
    let refused = Reply::to(delete).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, basic));
    let anonymous = get(&harbor, "/service/token?scope=repository:open/app:pull", None).await;
    let url = format!("{}/v2/open/app/tags/list", harbor.url(0));
    let list = direct().get(url).bearer_auth(plain(&anonymous.json()["token"]));
    assert_eq!(Reply::to(list).await.status, 200);
}

#[tokio::test]
async fn the_catalog_is_for_administrators_and_refuses_an_unknown_last() {
    let harbor = harbor();
    for name in ["acme/a", "acme/b", "open/c"] {
        harbor.load(&image("app"), name, "v1");
    }
    assert_eq!(get(&harbor, "/v2/_catalog", ALICE).await.status, 401);
    let names = |reply: &Reply| reply.json()["repositories"].clone();
    let all = get(&harbor, "/v2/_catalog", ADMIN).await;
    assert_eq!((names(&all), all.header("link")), (json!(["acme/a", "acme/b", "open/c"]), ""));
    let first = get(&harbor, "/v2/_catalog?n=2", ADMIN).await;
    let next = first.link("next").unwrap();
    assert!(next.starts_with("/v2/_catalog?"), "{next}");
    assert_eq!(names(&get(&harbor, &next, ADMIN).await), json!(["open/c"]));
    assert_eq!(get(&harbor, "/v2/_catalog?last=acme/none", ADMIN).await.status, 400);
}

#[tokio::test]
async fn projects_must_exist_and_caches_take_nothing() {
    let harbor = harbor();
    let uploads = |name: &str| format!("/v2/{name}/blobs/uploads/");
    let opened = ask(&harbor, Method::POST, &uploads("acme/any/depth"), ALICE).await;
    assert_eq!(opened.status, 202);
    let refused = ask(&harbor, Method::POST, &uploads("none/app"), ALICE).await;
    assert_eq!(refused.error(), (401, "UNAUTHORIZED".to_owned()));
    assert!(refused.text().contains("project none not found"), "{refused:?}");
    assert_eq!(refused.header("www-authenticate"), "");
    let refused = ask(&harbor, Method::POST, &uploads("cache/app"), ALICE).await;
    assert_eq!(refused.error(), (403, "DENIED".to_owned()));
    assert_eq!(ask(&harbor, Method::POST, &uploads("acme/app"), BOB).await.status, 401);

    let mut large = image("large");
    large.bytes = vec![b' '; (4 << 20) + 1].into();
    assert_eq!(put(&harbor, &large, "acme/app", "v1", ALICE).await.status, 413);
}

#[tokio::test]
async fn a_mount_needs_from_and_referrers_are_listed() {
    let harbor = harbor();
    let image = image("app");
    harbor.load(&image, "acme/app", "v1");
    let mount = format!("/v2/acme/new/blobs/uploads/?mount={}", image.blobs[1].digest);
    assert_eq!(ask(&harbor, Method::POST, &mount, ALICE).await.status, 202);
    let from = format!("{mount}&from=acme/app");
    assert_eq!(ask(&harbor, Method::POST, &from, ALICE).await.status, 201);
    let referrer = Image::referrer_of(&image, "sbom", "application/spdx+json");
    for blob in &referrer.blobs {
        harbor.registry().insert_blob("acme/app", &blob.digest, blob.bytes.clone());
    }
    let taken = put(&harbor, &referrer, "acme/app", &referrer.digest, ALICE).await;
    assert_eq!((taken.status, taken.header("oci-subject")), (201, &*image.digest));
    let path = format!("/v2/acme/app/referrers/{}", image.digest);
    let listed = get(&harbor, &path, ALICE).await.json();
    assert_eq!(listed["manifests"][0]["digest"], referrer.digest);
    let artifacts = get(&harbor, "/api/v2.0/projects/acme/repositories/app/artifacts", ALICE).await;
    assert_eq!(artifacts.each("digest"), [&*image.digest], "an accessory has no entry of its own");
    assert_eq!(artifacts.json()[0]["accessories"][0]["digest"], referrer.digest);
}

#[tokio::test]
async fn what_is_missing_is_told_in_other_words_and_head_may_be_off() {
    let harbor = harbor();
    let image = image("app");
    harbor.load(&image, "acme/app", "v1");
    for path in ["/v2/acme/app/manifests/none", "/v2/acme/none/tags/list"] {
        let missing = get(&harbor, path, ALICE).await;
        assert_eq!(missing.error(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    harbor.knobs(|knobs| {
        knobs.not_found_code = Some("UNKNOWN".to_owned());
        knobs.head_length_off = 7;
    });
    let missing = get(&harbor, "/v2/acme/app/manifests/none", ALICE).await;
    assert_eq!(missing.error(), (404, "UNKNOWN".to_owned()));
    let length = (image.bytes.len() + 7).to_string();
    let head = ask(&harbor, Method::HEAD, "/v2/acme/app/manifests/v1", ALICE).await;
    assert_eq!((head.status, head.header("content-length")), (200, &*length));
    let whole = get(&harbor, "/v2/acme/app/manifests/v1", ALICE).await;
    assert_eq!(whole.body, image.bytes);
    harbor.load_many("acme/big", 130, 0);
    let tags = get(&harbor, "/v2/acme/big/tags/list", ALICE).await;
    assert_eq!(tags.json()["tags"].as_array().unwrap().len(), 130, "all without n");
    let some = get(&harbor, "/v2/acme/big/tags/list?n=50", ALICE).await;
    assert!(some.link("next").unwrap().starts_with("/v2/acme/big/"));
}

#[tokio::test]
async fn the_api_lists_projects_and_repositories_in_pages_of_ten() {
    let harbor = harbor();
    for number in 0..12 {
        harbor.load(&image("app"), &format!("acme/app-{number:02}"), "v1");
    }
    harbor.load(&image("open"), "open/app", "v1");
    let projects = get(&harbor, "/api/v2.0/projects", ALICE).await;
    assert_eq!(projects.each("name"), ["acme", "cache", "open"]);
    assert_eq!(get(&harbor, "/api/v2.0/projects", None).await.each("name"), ["open"]);
    let path = "/api/v2.0/projects/acme/repositories";
    let first = get(&harbor, path, ROBOT).await;
    assert_eq!((first.each("name").len(), first.header("x-total-count")), (10, "12"));
    let next = first.link("next").unwrap();
    assert!(next.starts_with("/api/v2.0/"), "{next}");
    let next = get(&harbor, &next, ROBOT).await;
    assert_eq!(
        (next.each("name"), next.link("next")),
        (vec!["acme/app-10".into(), "acme/app-11".into()], None)
    );
    let all = get(&harbor, "/api/v2.0/repositories?page_size=100", ALICE).await;
    assert_eq!(all.each("name").len(), 13);
    let refused = get(&harbor, "/api/v2.0/repositories?page_size=101", ALICE).await;
    assert_eq!(refused.error(), (422, "UNPROCESSABLE_ENTITY".to_owned()));
    for (login, status) in [(None, 401), (BOB, 403), (Some(("alice", "wrong")), 401)] {
        assert_eq!(get(&harbor, path, login).await.status, status);
    }
    assert_eq!(get(&harbor, "/api/v2.0/projects/none/repositories", ALICE).await.status, 404);
    assert_eq!(harbor.traffic(Area::Api).len(), 10);
}

#[tokio::test]
async fn artifacts_show_their_tags_and_parts_of_indexes_have_none() {
    let harbor = harbor();
    let index = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    harbor.load(&index, "acme/tools/app", "v1").load(&index, "acme/tools/app", "latest");
    harbor.load(&image("new"), "acme/tools/app", "v2").immutable("acme/tools/app:v1");
    let at = "2026-05-01T00:00:00Z".parse().unwrap();
    harbor.knobs(|knobs| knobs.pulled.extend([(index.digest.clone(), at)]));
    let path = "/api/v2.0/projects/acme/repositories/tools%252Fapp/artifacts";
    let all = get(&harbor, path, ALICE).await;
    assert_eq!((all.each("digest").len(), all.header("x-total-count")), (4, "4"));
    let tagged = get(&harbor, &format!("{path}?q=tags%3D*&sort=-push_time"), ALICE).await;
    assert_eq!(tagged.each("digest"), [&*image("new").digest, &*index.digest]);
    let entry = &tagged.json()[1];
    assert_eq!(entry["pull_time"], "2026-05-01T00:00:00Z");
    assert_eq!(entry["references"].as_array().unwrap().len(), 2);
    let tags = entry["tags"].as_array().unwrap();
    let tags = tags.iter().map(|tag| (plain(&tag["name"]), tag["immutable"] == true));
    assert_eq!(tags.collect::<Vec<_>>(), [("latest".into(), false), ("v1".into(), true)]);
    let untagged = get(&harbor, &format!("{path}?q=tags%3Dnil&with_tag=false"), ALICE).await;
    assert_eq!((untagged.each("digest").len(), untagged.each("tags")[0].as_str()), (2, "null"));
    assert_eq!(get(&harbor, &format!("{path}?q=size%3D1"), ALICE).await.status, 400);

    // The slash of a name is encoded twice, unless a test says otherwise.
    let once = path.replace("%252F", "%2F");
    let plainly = path.replace("%252F", "/");
    assert_eq!(get(&harbor, &once, ALICE).await.status, 404);
    assert_eq!(get(&harbor, &plainly, ALICE).await.status, 404);
    harbor.knobs(|knobs| knobs.slashes = Slashes::Once);
    assert_eq!(get(&harbor, &once, ALICE).await.status, 200);
    assert_eq!(get(&harbor, path, ALICE).await.status, 404);
    harbor.knobs(|knobs| knobs.slashes = Slashes::OnceOrTwice);
    assert_eq!(get(&harbor, path, ALICE).await.status, 200);

    harbor.shift_pages(-1);
    let repeated = get(&harbor, &format!("{path}?page_size=2&page=2"), ALICE).await;
    assert_eq!(repeated.each("digest")[0], index.digest);
    harbor.lag(true).untag("acme/tools/app", "v2").await;
    let lagging = get(&harbor, &format!("{path}?q=tags%3Dv2"), ALICE).await;
    assert_eq!(lagging.each("digest").len(), 1);
}

#[tokio::test]
async fn the_registry_deletes_by_digest_and_the_api_by_tag_too() {
    let harbor = harbor();
    let index = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    for tag in ["v1", "v2", "fixed"] {
        harbor.load(&index, "acme/app", tag);
    }
    harbor.immutable("acme/app:fixed");
    let delete = async |path: &str, login: Login| ask(&harbor, Method::DELETE, path, login).await;
    let by_tag = delete("/v2/acme/app/manifests/v1", ALICE).await;
    assert_eq!(by_tag.error(), (400, "UNSUPPORTED".to_owned()));
    let by_digest = format!("/v2/acme/app/manifests/{}", index.digest);
    assert_eq!(delete(&by_digest, ALICE).await.error(), (412, "PRECONDITION".to_owned()));

    let artifacts = "/api/v2.0/projects/acme/repositories/app/artifacts";
    let tags = format!("{artifacts}/{}/tags", index.digest);
    assert_eq!(delete(&format!("{tags}/v1"), ROBOT).await.status, 403);
    assert_eq!(delete(&format!("{tags}/v1"), ALICE).await.status, 200);
    assert_eq!(delete(&format!("{tags}/v1"), ALICE).await.status, 404);
    let fixed = delete(&format!("{tags}/fixed"), ALICE).await;
    assert_eq!(fixed.error(), (412, "PRECONDITION".to_owned()));
    assert_eq!(put(&harbor, &image("other"), "acme/app", "fixed", ALICE).await.status, 412);
    assert_eq!(delete(&format!("{artifacts}/fixed"), ALICE).await.status, 412);
    harbor.knobs(|knobs| knobs.immutable_tags.clear());
    let part = format!("{artifacts}/{}", index.children[0].digest);
    let refused = delete(&part, ALICE).await;
    assert_eq!(refused.error(), (412, "VIOLATE_FOREIGN_KEY_CONSTRAINT".to_owned()));
    // With an index go the parts that nothing else holds.
    harbor.load(&index.children[1], "acme/app", "arm");
    assert_eq!(delete(&format!("{artifacts}/v2"), ALICE).await.status, 200);
    let left = get(&harbor, artifacts, ALICE).await;
    assert_eq!(left.each("digest"), [&*index.children[1].digest]);
    assert_eq!(harbor.tag("acme/app", "v2"), None);

    harbor.load(&index, "acme/app", "v3").load(&index, "acme/app", "v4");
    assert_eq!(delete(&by_digest, ALICE).await.status, 202);
    assert_eq!((harbor.tag("acme/app", "v3"), harbor.tag("acme/app", "v4")), (None, None));
}

#[tokio::test]
async fn artifacts_are_copied_within_the_server() {
    let harbor = harbor();
    let index = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    harbor.load(&index, "acme/app", "v1").load(&image("open"), "open/app", "v1");
    let to = "/api/v2.0/projects/acme/repositories/copies%252Fapp/artifacts";
    let copy = async |from: &str, login: Login| {
        ask(&harbor, Method::POST, &format!("{to}?from={from}"), login).await
    };
    let copied = copy(&format!("acme/app@{}", index.digest), ROBOT).await;
    assert_eq!(copied.status, 201, "{copied:?}");
    assert_eq!(copied.header("location"), format!("{to}/{}", index.digest));
    let path = format!("/v2/acme/copies/app/manifests/{}", index.children[0].digest);
    assert_eq!(get(&harbor, &path, ALICE).await.body, index.children[0].bytes);
    assert_eq!(copy("open/app:v1", ALICE).await.status, 201);
    assert_eq!(harbor.tag("acme/copies/app", "v1"), Some(image("open").digest));
    assert_eq!(copy("acme/none@sha256:0", ALICE).await.status, 404);
    assert_eq!(copy("open/app:v1", BOB).await.status, 403);

    harbor.limit(Area::Api, 0);
    assert_eq!(copy("open/app:v1", ALICE).await.status, 429);
    harbor.down(Area::Api, Response::new(502));
    assert_eq!(copy("open/app:v1", ALICE).await.status, 502);
    assert_eq!(get(&harbor, "/v2/open/app/tags/list", ALICE).await.status, 200);
}

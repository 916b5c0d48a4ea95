//! The lists of the GitLab emulator: tags with digests at the registry, and GitLab's own API.

use reqwest::Method;
use serde_json::json;

use crate::products_gitlab::{api, gitlab, image, registry, token};
use crate::support::products::Area;
use crate::support::products::gitlab::REGISTRY;
use crate::support::products::reply::{Reply, direct};
use crate::support::wire::Response;

#[tokio::test]
async fn the_bulk_list_gives_digests_in_pages_of_a_thousand() {
    let gitlab = gitlab();
    for number in 0..5 {
        gitlab.load(&image(&format!("app {number}")), "acme/app", &format!("v{number}"));
    }
    gitlab.load(&image("app 0"), "acme/app", "v3");
    let list = async |query: &str| {
        let path = format!("/gitlab/v1/repositories/acme/app/tags/list/{query}");
        Reply::to(registry(&gitlab, Method::GET, &path).await).await
    };
    let all = list("").await;
    assert_eq!(all.each("name"), ["v0", "v1", "v2", "v3", "v4"]);
    assert_eq!(all.each("digest")[3], image("app 0").digest);
    assert_eq!(all.header("link"), "");

    // A tag that moved is the newest, and the marker holds its time.
    let newest = list("?sort=-published_at&n=2").await;
    assert_eq!(newest.each("name"), ["v3", "v4"]);
    let next = newest.link("next").unwrap();
    assert!(next.starts_with(&gitlab.url(REGISTRY)), "{next}");
    let (_, query) = next.split_once('?').unwrap();
    let second = list(&format!("?{query}")).await;
    assert_eq!(second.each("name"), ["v2", "v1"]);
    let (_, query) = second
        .link("previous")
        .unwrap()
        .split_once('?')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(list(&format!("?{query}")).await.each("name"), ["v3", "v4"]);

    assert_eq!(list("?name=2").await.each("name"), ["v2"]);
    assert_eq!(list("?name_exact=v").await.each("name"), [""; 0]);
    for wrong in ["?n=0", "?n=1001", "?sort=digest", "?sort=published_at&last=v1"] {
        let refused = list(wrong).await.error();
        assert_eq!(refused, (400, "INVALID_QUERY_PARAMETER_VALUE".to_owned()), "{wrong}");
    }
    let path = "/gitlab/v1/repositories/acme/app/tags/list?n=2";
    let moved = Reply::to(registry(&gitlab, Method::GET, path).await).await;
    let location = moved.header("location").to_owned();
    assert_eq!((moved.status, &*location), (301, &*path.replace("list?", "list/?")));

    gitlab.shift_pages(1);
    assert_eq!(list("?n=2&last=v1").await.each("name"), ["v3", "v4"], "v2 is lost");
    gitlab.shift_pages(0).lag(true).load(&image("new"), "acme/app", "v9");
    assert_eq!(list("").await.each("name").len(), 5);
    let down = Response::new(503);
    gitlab.down(Area::Registry, down);
    assert_eq!(list("").await.status, 503);
}

#[tokio::test]
async fn repositories_below_a_path_are_listed_with_a_token_for_all_of_them() {
    let gitlab = gitlab();
    gitlab.load(&image("a"), "acme/app", "v1").load(&image("b"), "acme/app/web", "v1");
    gitlab.load(&image("c"), "acme/app/empty", "v1").untag("acme/app/empty", "v1").await;
    let url =
        format!("{}/gitlab/v1/repository-paths/acme/app/repositories/list/", gitlab.url(REGISTRY));
    let narrow = token(&gitlab, "both", "repository:acme/app:pull").await;
    assert_eq!(Reply::to(direct().get(&url).bearer_auth(narrow)).await.status, 401);
    let wide = token(&gitlab, "both", "repository:acme/app/*:pull").await;
    let reply = Reply::to(direct().get(&url).bearer_auth(wide)).await;
    assert_eq!(reply.each("path"), ["acme/app", "acme/app/web"]);
}

#[tokio::test]
async fn a_registry_without_database_has_no_bulk_list_and_no_pages() {
    let gitlab = gitlab();
    gitlab.load_many("acme/app", 120, 0);
    let ask = async |path: &str| Reply::to(registry(&gitlab, Method::GET, path).await).await;
    let page = ask("/v2/acme/app/tags/list").await;
    assert_eq!(page.json()["tags"].as_array().unwrap().len(), 100);
    let next = ask(&page.link("next").unwrap()).await;
    assert_eq!(next.json()["tags"].as_array().unwrap().len(), 20);
    assert_eq!(next.header("link"), "");
    let refused = ask("/v2/acme/app/tags/list?n=1001").await;
    assert_eq!(refused.error(), (400, "PAGINATION_NUMBER_INVALID".to_owned()));
    assert_eq!(ask("/gitlab/v1/").await.status, 200);
    let anonymous = direct().get(format!("{}/gitlab/v1/", gitlab.url(REGISTRY)));
    assert_eq!(Reply::to(anonymous).await.status, 401);

    gitlab.knobs(|knobs| knobs.database = false);
    let all = ask("/v2/acme/app/tags/list").await;
    assert_eq!(all.json()["tags"].as_array().unwrap().len(), 120);
    assert_eq!(ask("/gitlab/v1/").await.status, 404);
    assert_eq!(ask("/gitlab/v1/repositories/acme/app/tags/list/").await.status, 404);
    assert_eq!(ask("/v2/").await.header("gitlab-container-registry-database-enabled"), "false");
}

#[tokio::test]
async fn the_api_lists_repositories_by_project_and_group() {
    let gitlab = gitlab();
    gitlab.project("other/app").load(&image("x"), "other/app", "v1");
    for number in 0..25 {
        gitlab.load(&image("app"), &format!("acme/app/part-{number:02}"), "v1");
    }
    gitlab.load(&image("cli"), "acme/tools/cli", "v1").untag("acme/tools/cli", "v1").await;
    let get = async |path: &str| api(&gitlab, Method::GET, path, "api").await;
    let first = get("/projects/acme%2Fapp/registry/repositories").await;
    assert_eq!((first.json().as_array().unwrap().len(), first.status), (20, 200));
    let next = first.link("next").unwrap();
    let next = get(next.split_once("/api/v4").unwrap().1).await;
    assert_eq!((next.each("path").len(), next.link("next")), (5, None));
    assert_eq!(next.each("name")[0], "part-20");
    let group = get("/groups/acme/registry/repositories?per_page=100&tags_count=true").await;
    assert_eq!((group.each("path").len(), &*group.each("tags_count")[25]), (26, "0"));
    // A name is encoded once: not twice, and not left as it is.
    for wrong in ["acme%252Fapp", "other%2Fapp", "acme%2Fnone"] {
        let reply = get(&format!("/projects/{wrong}/registry/repositories")).await;
        assert_eq!(
            (reply.status, reply.json()),
            (404, json!({"message": "404 Project Not Found"}))
        );
    }
    assert_eq!(get("/projects/acme/app/registry/repositories").await.status, 404);
    assert_eq!(get("/groups/nobody/registry/repositories").await.status, 404);
    let refused = api(&gitlab, Method::GET, "/groups/acme/registry/repositories", "reads").await;
    assert_eq!((refused.status, refused.json()["scope"].clone()), (403, json!("read_api api")));
    let refused = api(&gitlab, Method::GET, "/groups/acme/registry/repositories", "no").await;
    assert_eq!(refused.status, 401);
    assert_eq!(gitlab.traffic(Area::Api).len(), 10);
    assert!(gitlab.asked(Area::Api)[0].contains("acme%2Fapp"));
}

#[tokio::test]
async fn the_api_shows_and_deletes_tags() {
    let gitlab = gitlab();
    for tag in ["latest", "pr-1", "pr-2", "pr-3", "v1"] {
        gitlab.load(&image(tag), "acme/app", tag);
    }
    gitlab.protect("acme/app:pr-3");
    let ask = async |method: Method, path: &str| {
        let base = "/projects/1/registry/repositories";
        let secret = if method == Method::GET { "api" } else { "whole-api" };
        api(&gitlab, method, &format!("{base}{path}"), secret).await
    };
    let number = ask(Method::GET, "").await.each("id")[0].clone();
    let tags = format!("/{number}/tags");
    let listed = ask(Method::GET, &tags).await;
    assert_eq!(listed.each("digest"), ["null"; 5], "names only");
    let detail = ask(Method::GET, &format!("{tags}/v1")).await;
    assert_eq!(detail.json()["digest"], image("v1").digest);
    assert_eq!(ask(Method::DELETE, &format!("{tags}/pr-3")).await.status, 403);
    assert_eq!(ask(Method::DELETE, &format!("{tags}/v1")).await.status, 200);
    assert_eq!(ask(Method::DELETE, &format!("{tags}/v1")).await.status, 404);
    let every = format!("{tags}?name_regex_delete=.*");
    assert_eq!(ask(Method::DELETE, &every).await.status, 202);
    assert_eq!(ask(Method::GET, &tags).await.each("name"), ["latest", "pr-3"]);
    let again = ask(Method::DELETE, &every).await;
    assert!(again.status == 400 && again.text().contains("once an hour"), "{again:?}");
}

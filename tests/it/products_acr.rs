//! The emulator of Azure Container Registry does what ACR does: each test asks it directly.

use reqwest::{Client, Method};
use serde_json::json;

use crate::support::products::reply::{Reply, plain, through};
use crate::support::products::{Acr, Area, Credential, Right};
use crate::support::wire::Response;
use crate::support::{Family, Image};

const HOST: &str = "http://acme.azurecr.io";
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

fn acr() -> Acr {
    let acr = Acr::start();
    acr.people(|people| {
        people.credential(Credential::new("acme", "admin-password"));
        people.credential(Credential::new("reader", "secret"));
        people.credential(Credential::new("principal", "entra").any_user());
        people.credential(Credential::new("principal", "entra-old").any_user().expired());
        for repository in ["app", "team/app"] {
            people.member("acme", repository, Right::Admin);
            people.member("reader", repository, Right::Read);
            people.member("principal", repository, Right::Write);
        }
        people.public("team");
    });
    acr
}

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[300])
}

async fn ask_token(client: &Client, login: Option<(&str, &str)>, scope: &str) -> Reply {
    let request = client.get(format!("{HOST}/oauth2/token"));
    let request = request.query(&[("service", "acme.azurecr.io"), ("scope", scope)]);
    Reply::logged_in(request, login).await
}

/// A request of the administrator's, with a token for this scope.
async fn ask(client: &Client, method: Method, path: &str, scope: &str) -> Reply {
    let login = Some(("acme", "admin-password"));
    let token = plain(&ask_token(client, login, scope).await.json()["access_token"]);
    Reply::to(client.request(method, format!("{HOST}{path}")).bearer_auth(token)).await
}

async fn form(client: &Client, path: &str, fields: &str) -> Reply {
    let request = client.post(format!("{HOST}/oauth2/{path}"));
    Reply::to(request.body(fields.to_owned())).await
}

#[tokio::test]
async fn an_entra_token_is_exchanged_twice() {
    let acr = acr();
    let client = through(&acr.url(0));
    acr.load(&image("app"), "app", "v1");
    let url = format!("{HOST}/v2/app/manifests/v1");
    let challenged = Reply::to(client.get(&url)).await;
    assert_eq!(
        challenged.header("www-authenticate"),
        "Bearer realm=\"http://acme.azurecr.io/oauth2/token\",service=\"acme.azurecr.io\",\
         scope=\"repository:app:pull\""
    );
    let exchange = "grant_type=access_token&service=acme.azurecr.io&tenant=t&access_token=";
    for wrong in ["none", "entra-old", "admin-password"] {
        let refused = form(&client, "exchange", &format!("{exchange}{wrong}")).await;
        assert_eq!(refused.status, 401, "{wrong}");
    }
    let first = form(&client, "exchange", &format!("{exchange}entra")).await.json();
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["refresh_token"]);
    let refresh = plain(&first["refresh_token"]);
    let scope = "service=acme.azurecr.io&scope=repository:app:pull,push";
    let asked = format!("grant_type=refresh_token&refresh_token={refresh}&{scope}");
    let second = form(&client, "token", &asked).await.json();
    assert_eq!(second.as_object().unwrap().keys().collect::<Vec<_>>(), ["access_token"]);
    let token = plain(&second["access_token"]);
    assert_eq!(Reply::to(client.get(&url).bearer_auth(&token)).await.status, 200);
    assert_eq!(Reply::to(client.delete(&url).bearer_auth(&token)).await.status, 401);
    // A refresh token opens nothing by itself, and a password is no grant here.
    assert_eq!(Reply::to(client.get(&url).bearer_auth(&refresh)).await.status, 401);
    let password = format!("grant_type=password&username=acme&password=admin-password&{scope}");
    assert_eq!(form(&client, "token", &password).await.status, 400);

    let scope = "repository:app:pull";
    assert_eq!(ask_token(&client, Some((NOBODY, &refresh)), scope).await.status, 200);
    assert_eq!(ask_token(&client, Some((NOBODY, "entra")), scope).await.status, 401);
    assert_eq!(ask_token(&client, Some(("reader", "wrong")), scope).await.status, 401);
    let anonymous = "repository:team/app:pull";
    assert_eq!(ask_token(&client, None, anonymous).await.status, 401);
    acr.knobs(|knobs| knobs.anonymous_pull = true);
    assert_eq!(ask_token(&client, None, anonymous).await.status, 200);
    acr.revoke_tokens();
    assert_eq!(Reply::to(client.get(&url).bearer_auth(&token)).await.status, 401);
}

#[tokio::test]
async fn tags_come_with_digests_and_times_for_a_right_of_their_own() {
    let acr = acr();
    let client = through(&acr.url(0));
    for (number, tag) in ["a", "b", "c"].into_iter().enumerate() {
        acr.load(&image(&number.to_string()), "team/app", tag);
    }
    acr.load(&image("2"), "team/app", "a").lock("team/app:b");
    let right = "repository:team/app:pull,metadata_read";
    let get = async |query: &str| {
        ask(&client, Method::GET, &format!("/acr/v1/team/app/_tags{query}"), right).await
    };
    let names = |reply: &Reply| {
        let json = reply.json();
        json["tags"].as_array().unwrap().iter().map(|it| plain(&it["name"])).collect::<Vec<_>>()
    };
    let all = get("").await;
    assert_eq!(
        (names(&all), &all.json()["imageName"]),
        (vec!["a".into(), "b".into(), "c".into()], &json!("team/app"))
    );
    assert_eq!(all.json()["tags"][1]["changeableAttributes"]["deleteEnabled"], false);
    let newest = get("?orderby=timedesc&n=2").await;
    assert_eq!(
        (names(&newest), plain(&newest.json()["tags"][0]["digest"])),
        (vec!["a".into(), "c".into()], image("2").digest)
    );
    // The link is relative, and its marker holds an ampersand that is escaped.
    let next = newest.link("next").unwrap();
    assert!(next.starts_with("/acr/v1/team/app/_tags?last=c%26"), "{next}");
    assert_eq!(names(&ask(&client, Method::GET, &next, right).await), ["b"]);
    assert_eq!(names(&get(&format!("?digest={}", image("2").digest)).await), ["a", "c"]);
    let path = "/acr/v1/team/app/_tags";
    let narrow = ask(&client, Method::GET, path, "repository:team/app:pull").await;
    assert!(narrow.header("www-authenticate").contains("team/app:metadata_read"), "{narrow:?}");
    acr.knobs(|knobs| knobs.metadata_right = "pull");
    let narrow = ask(&client, Method::GET, path, "repository:team/app:pull").await;
    assert_eq!(narrow.status, 200);

    let manifests = ask(&client, Method::GET, "/acr/v1/team/app/_manifests", right).await.json();
    assert_eq!(manifests["manifests"].as_array().unwrap().len(), 3);
    acr.untag("team/app", "b").await;
    acr.knobs(|knobs| knobs.page_cap = 1);
    assert_eq!(names(&get("?n=1000").await), ["a"], "the cap holds whatever is asked for");
    acr.knobs(|knobs| knobs.page_cap = 100).lag(true).untag("team/app", "c").await;
    assert_eq!(names(&get("").await), ["a", "c"]);
    acr.shift_pages(1);
    assert_eq!(names(&get("?last=a&n=1").await), [""; 0], "c is lost");
    acr.limit(Area::Api, 0);
    let limited = get("").await;
    assert_eq!(
        (limited.error(), limited.header("retry-after")),
        ((429, "TOOMANYREQUESTS".into()), "")
    );
    acr.knobs(|knobs| knobs.retry_after = Some("7".to_owned()));
    assert_eq!(get("").await.header("retry-after"), "7");
    acr.down(Area::Api, Response::new(503));
    assert_eq!(get("").await.status, 503);
    let list = ask(&client, Method::GET, "/v2/team/app/tags/list", right).await;
    assert_eq!(list.json()["tags"], json!(["a"]));
}

#[tokio::test]
async fn the_catalog_needs_its_own_scope_and_its_link_has_an_order() {
    let acr = acr();
    let client = through(&acr.url(0));
    acr.load(&image("a"), "app", "v1").load(&image("b"), "team/app", "v1");
    for path in ["/v2/_catalog", "/acr/v1/_catalog"] {
        let refused = ask(&client, Method::GET, path, "repository:app:pull").await;
        assert!(refused.header("www-authenticate").contains("scope=\"registry:catalog:*\""));
        let first = ask(&client, Method::GET, &format!("{path}?n=1"), "registry:catalog:*").await;
        assert_eq!(first.json()["repositories"], json!(["app"]));
        let next = first.link("next").unwrap();
        assert_eq!(next, format!("{path}?last=app&n=1&orderby="));
        let second = ask(&client, Method::GET, &next, "registry:catalog:*").await;
        assert_eq!(
            (second.link("next"), &second.json()["repositories"]),
            (None, &json!(["team/app"]))
        );
    }
}

#[tokio::test]
async fn deletions_go_by_digest_or_by_the_list_of_tags_and_locks_hold() {
    let acr = acr();
    let client = through(&acr.url(0));
    let (one, other) = (image("one"), image("other"));
    acr.load(&one, "app", "v1").load(&one, "app", "v2").load(&other, "app", "locked");
    acr.lock("app:locked");
    let delete =
        async |path: &str| ask(&client, Method::DELETE, path, "repository:app:delete").await;
    assert_eq!(delete("/v2/app/manifests/v1").await.error(), (405, "UNSUPPORTED".to_owned()));
    assert_eq!(delete("/acr/v1/app/_tags/v1").await.status, 202);
    assert_eq!(delete("/acr/v1/app/_tags/v1").await.status, 404);
    assert_eq!(delete("/acr/v1/app/_tags/locked").await.status, 405);
    assert_eq!(delete(&format!("/v2/app/manifests/{}", other.digest)).await.status, 405);
    let by_reader = ask_token(&client, Some(("reader", "secret")), "repository:app:delete").await;
    let token = plain(&by_reader.json()["access_token"]);
    let request = client.delete(format!("{HOST}/acr/v1/app/_tags/v2")).bearer_auth(token);
    assert_eq!(Reply::to(request).await.status, 401);
    acr.knobs(|knobs| knobs.deleted_status = 200);
    assert_eq!(delete(&format!("/v2/app/manifests/{}", one.digest)).await.status, 200);
    assert_eq!((acr.tag("app", "v2"), acr.tag("app", "locked")), (None, Some(other.digest)));
    acr.knobs(|knobs| {
        knobs.deletes_tags = true;
        knobs.locked.clear();
    });
    assert_eq!(delete("/v2/app/manifests/locked").await.status, 200);

    let put = client.put(format!("{HOST}/v2/app/manifests/large")).body(vec![b' '; (4 << 20) + 1]);
    let login = Some(("acme", "admin-password"));
    let token = ask_token(&client, login, "repository:app:pull,push").await.json();
    let refused = Reply::to(put.bearer_auth(plain(&token["access_token"]))).await;
    assert_eq!(refused.status, 413);
}

#[tokio::test]
async fn blobs_lie_at_a_host_that_takes_no_credentials() {
    let acr = acr();
    let client = through(&acr.url(0));
    acr.load(&image("app"), "app", "v1");
    let path = format!("/v2/app/blobs/{}", image("app").blobs[1].digest);
    let redirect = ask(&client, Method::GET, &path, "repository:app:pull").await;
    let location = redirect.header("location");
    assert_eq!(redirect.status, 307);
    assert_eq!(Reply::to(client.get(location).bearer_auth("x")).await.status, 400);
    assert_eq!(Reply::to(client.get(location)).await.body, image("app").blobs[1].bytes);
}

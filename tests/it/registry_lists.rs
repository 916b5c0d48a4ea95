//! The client asks a registry for lists: whatever the registry does, a list is all there is, or an
//! error.

use std::collections::HashSet;

use tranship::fair::Flow;
use tranship::oci::{Digest, media_type};

use crate::mirror_setup::Mirror;
use crate::registry_suspicion::{open, repository};
use crate::support::scripted::Quirks;
use crate::support::{Family, Fault, Image, Kind, Place, Scripted};

#[tokio::test]
async fn empty_pages_in_the_middle_do_not_end_a_list() {
    let server = Scripted::with_generated_tags("acme/app", 3);
    let app = repository(&open(&server), "acme/app");
    for (empty, expected) in [(3, Some(3)), (100, Some(3)), (101, None)] {
        for at in 0..empty {
            let link = format!("</v2/acme/app/tags/list?n=1000&at={at}>; rel=\"next\"");
            let page = Fault::status(200).header("link", &link).body(r#"{"tags":[]}"#);
            server.on("GET", Kind::Tags).once().fail(page);
        }
        let tags = app.tags().await;
        match expected {
            Some(expected) => assert_eq!(tags.unwrap().unwrap().len(), expected, "{empty}"),
            None => {
                let error = tags.unwrap_err().to_string();
                assert!(error.contains("more than 100 empty pages in a row"), "{error}");
            }
        }
    }
}

/// They are told once, with an example, and the others are copied.
#[tokio::test]
async fn names_that_are_no_tags_are_left_out_and_told() {
    let (source, target) = (Scripted::start(), Scripted::start());
    Image::single(Family::Oci, "app", &[300]).load(&source, "acme/app", "v1");
    let long = "x".repeat(129);
    let list = format!(r#"{{"tags":["a b","v1","-x","{long}"]}}"#);
    source.on("GET", Kind::Tags).fail(Fault::status(200).body(list));
    let (from, to) = (source.host(), target.host());
    let rule = format!("source = \"{from}/acme/app\"\ntarget = \"{to}/acme/app\"");
    let mirror = Mirror::new().http(&source).http(&target).rule("r", &rule);
    let finished = mirror.run(&[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let told = "names that are not valid";
    assert_eq!(finished.stderr.matches(told).count(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("invalid=3") && finished.stderr.contains("a b"),
        "{finished:?}"
    );
    assert_eq!(target.endpoint().tags("acme/app").await, ["v1"]);

    let listed = mirror.tranship.succeed(["list-tags", &format!("{from}/acme/app")]).await;
    assert_eq!(listed.stdout, "v1\n");
    assert_eq!(listed.stderr.matches(told).count(), 1, "{listed:?}");
}

/// Some allow only smaller pages, and choose the size themselves where none is asked for.
#[tokio::test]
async fn a_page_size_that_is_refused_is_left_to_the_registry() {
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    let page = |body: &'static str| Fault::status(200).body(body);
    server.on("GET", Kind::Tags).containing("n=1000").fail(
        Fault::status(400)
            .error("PAGINATION_NUMBER_INVALID", "invalid number of results requested"),
    );
    let next = "</v2/acme/app/tags/list?last=b>; rel=\"next\"";
    let first = page(r#"{"tags":["a","b"]}"#).header("link", next);
    server.on("GET", Kind::Tags).once().fail(first);
    server.on("GET", Kind::Tags).containing("last=b").once().fail(page(r#"{"tags":["c"]}"#));
    let tags = app.tags().await.unwrap().unwrap();
    assert_eq!(tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);

    // Without links it is asked for what stands behind each page, until there is nothing.
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    server.on("GET", Kind::Tags).containing("n=1000").fail(Fault::status(400));
    for (query, body) in [
        ("last=c", r#"{"tags":[]}"#),
        ("last=b", r#"{"tags":["c"]}"#),
        ("", r#"{"tags":["a","b"]}"#),
    ] {
        server.on("GET", Kind::Tags).containing(query).fail(page(body));
    }
    assert_eq!(app.tags().await.unwrap().unwrap().len(), 3);
}

/// Behind a proxy, registries name themselves as the proxy calls them.
#[tokio::test]
async fn a_link_to_an_internal_name_is_followed_at_the_registry() {
    let (server, internal) = (Scripted::start(), Scripted::start());
    let app = repository(&open(&server), "acme/app");
    let link = format!("<{}/v2/acme/app/tags/list?last=a&n=1000>; rel=\"next\"", internal.url());
    let first = Fault::status(200).header("link", &link).body(r#"{"tags":["a"]}"#);
    server.on("GET", Kind::Tags).once().fail(first);
    server
        .on("GET", Kind::Tags)
        .containing("last=a")
        .fail(Fault::status(200).body(r#"{"tags":["b"]}"#));
    assert_eq!(app.tags().await.unwrap().unwrap().len(), 2);
    assert!(internal.traffic().is_empty());
}

#[tokio::test]
async fn lists_are_bounded() {
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    let tags = format!(r#"{{"tags":[{}null]}}"#, "null,".repeat(5_000_000));
    server.on("GET", Kind::Tags).fail(Fault::status(200).body(tags));
    let error = app.tags().await.unwrap_err();
    assert!(error.to_string().contains("more than 5000000 entries"), "{error}");
    let index = Fault::status(200)
        .header("content-type", media_type::OCI_INDEX)
        .body(format!(r#"{{"manifests":[]{}}}"#, " ".repeat(4 << 20)));
    server.on("GET", Kind::Referrers).fail(index);
    let error = app.referrers(&Digest::of(b"subject")).await.unwrap_err();
    assert!(error.to_string().contains("larger than 4194304 bytes"), "{error}");
}

/// An empty page that leads to itself has nothing behind it; one that leads back is broken.
#[tokio::test]
async fn an_empty_page_that_leads_to_itself_is_the_end() {
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    let empty = |query: &str| {
        let link = format!("</v2/acme/app/tags/list?{query}>; rel=\"next\"");
        Fault::status(200).header("link", &link).body(r#"{"tags":[]}"#)
    };
    server.on("GET", Kind::Tags).times(2).fail(empty("last=&n=1000"));
    assert_eq!(app.tags().await.unwrap().unwrap(), []);
    server.on("GET", Kind::Tags).once().fail(empty("last=&n=1000"));
    server.on("GET", Kind::Tags).once().fail(empty("n=1000"));
    let error = app.tags().await.unwrap_err().to_string();
    assert!(error.contains("leads back to an earlier page"), "{error}");
}

/// How a list of so many tags is read where the registry is like this: tags and requests, or the
/// words of the error.
async fn listed(count: usize, change: impl Fn(&mut Quirks)) -> (Result<usize, String>, usize) {
    let server = Scripted::with_generated_tags("acme/app", count);
    server.quirks(change);
    let tags = repository(&open(&server), "acme/app").tags().await;
    let tags = tags.map_err(|error| error.to_string()).map(|tags| {
        let tags = tags.unwrap();
        assert_eq!(tags.iter().collect::<HashSet<_>>().len(), tags.len(), "some came twice");
        tags.len()
    });
    (tags, server.traffic().count("GET", Kind::Tags))
}

#[tokio::test]
async fn a_full_page_without_a_link_is_not_taken_for_the_end() {
    let linked = |_: &mut Quirks| {};
    let no_links = |quirks: &mut Quirks| quirks.no_links = true;
    for (count, with_links, without) in
        [(3, 1, 1), (999, 1, 1), (1000, 2, 2), (1001, 2, 2), (1999, 2, 3), (2500, 3, 3)]
    {
        assert_eq!(listed(count, linked).await, (Ok(count), with_links), "{count}");
        assert_eq!(listed(count, no_links).await, (Ok(count), without), "{count}");
    }
}

/// distribution 2 sends all tags at once, whatever it is asked for.
#[tokio::test]
async fn a_registry_that_knows_no_pages_sends_all_at_once() {
    let no_pages = |quirks: &mut Quirks| (quirks.ignores_n, quirks.ignores_last) = (true, true);
    for (count, requests) in [(999, 1), (1000, 2), (1001, 2), (5000, 2)] {
        assert_eq!(listed(count, no_pages).await, (Ok(count), requests), "{count}");
    }
    // With `last` alone it ends as well.
    let no_size = |quirks: &mut Quirks| quirks.ignores_n = true;
    assert_eq!(listed(5000, no_size).await, (Ok(5000), 2));
}

#[tokio::test]
async fn a_list_that_may_go_on_is_an_error() {
    let no_way = |quirks: &mut Quirks| (quirks.no_links, quirks.ignores_last) = (true, true);
    let (tags, requests) = listed(2500, no_way).await;
    let error = tags.unwrap_err();
    assert!(error.contains("the list may go on"), "{error}");
    assert_eq!(requests, 2);

    let server = Scripted::with_generated_tags("acme/app", 2500);
    server.quirks(|quirks| quirks.no_links = true);
    let refusal = Fault::status(400).error("PAGINATION_NUMBER_INVALID", "no such token");
    server.on("GET", Kind::Tags).containing("last=").fail(refusal);
    let error = repository(&open(&server), "acme/app").tags().await.unwrap_err().to_string();
    assert!(error.contains("no such token"), "{error}");
}

#[tokio::test]
async fn repositories_go_on_behind_a_full_page_too() {
    let server = Scripted::start();
    server.quirks(|quirks| quirks.no_links = true);
    for at in 0..1001 {
        server.create_repository(&format!("acme/app-{at:04}"));
    }
    let found = open(&server).repositories(&[""], Flow::ALONE).await.unwrap();
    assert_eq!(found.len(), 1001);
}

/// Some send every document under the type of all JSON; what is no list of referrers is none.
#[tokio::test]
async fn a_list_of_referrers_may_come_as_plain_json() {
    let server = Scripted::start();
    let app = repository(&open(&server), "acme/app");
    let subject = Digest::of(b"subject");
    let list = |media_type: &str| {
        let entry =
            serde_json::json!({ "mediaType": "x/y", "digest": Digest::of(b"x"), "size": 1 });
        let list = serde_json::json!({ "mediaType": media_type, "manifests": [entry] });
        Fault::status(200).header("content-type", "application/json").body(list.to_string())
    };
    server.on("GET", Kind::Referrers).once().fail(list("x/z"));
    assert_eq!(app.referrers(&subject).await.unwrap(), None);
    server.on("GET", Kind::Referrers).once().fail(list(media_type::OCI_INDEX));
    assert_eq!(app.referrers(&subject).await.unwrap().unwrap().len(), 1);
}

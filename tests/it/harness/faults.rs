//! Each fault of the scripted registry does what it says.

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::{Family, Fault, Image, Kind, Place, Scripted, eventually};

const BLOB: usize = 50_000;

/// A registry with one image `r:v1`, and the path of its layer.
fn registry() -> (Scripted, Image, String) {
    let registry = Scripted::start();
    let image = Image::single(Family::Oci, "app", &[BLOB]);
    image.load(&registry, "r", "v1");
    let blob = format!("/v2/r/blobs/{}", image.blobs[1].digest);
    (registry, image, blob)
}

async fn get(registry: &Scripted, path: &str) -> reqwest::Result<reqwest::Response> {
    registry.endpoint().request(Method::GET, "r", path).send().await
}

#[tokio::test]
async fn rules_strike_where_and_as_often_as_told() {
    let (registry, image, blob) = registry();
    let limited = registry
        .on("GET", Kind::Blob)
        .containing(&image.blobs[1].digest)
        .after(1)
        .times(2)
        .fail(Fault::too_many_requests(Some("7")));
    let config = format!("/v2/r/blobs/{}", image.blobs[0].digest);
    assert_eq!(get(&registry, &config).await.unwrap().status(), 200);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = get(&registry, &blob).await.unwrap();
        statuses.push(answer.status().as_u16());
        if answer.status() == 429 {
            assert_eq!(answer.headers()["retry-after"], "7");
            assert!(answer.text().await.unwrap().contains("TOOMANYREQUESTS"));
        }
    }
    assert_eq!(statuses, [200, 429, 429, 200]);
    assert_eq!(limited.count(), 2);
    let traffic = registry.traffic();
    assert_eq!(traffic.count_status("GET", Kind::Blob, 429), 2, "{traffic}");
    assert_eq!(traffic.to_string(), "3 GET blob 200\n2 GET blob 429\n");
}

#[tokio::test]
async fn answers_have_status_headers_and_body() {
    let (registry, _, blob) = registry();
    let ban = Fault::status(403).header("x-reason", "ban").body("retry-after: 1m30s");
    registry.on_any().once().fail(ban);
    let answer = get(&registry, &blob).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-reason"]),
        (403, &"ban".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "retry-after: 1m30s");
}

#[tokio::test]
async fn bytes_are_wrong_more_or_cut() {
    let (registry, image, blob) = registry();
    let right = &image.blobs[1].bytes;
    let read = async |fault: Fault| {
        registry.on("GET", Kind::Blob).once().fail(fault);
        get(&registry, &blob).await.unwrap().bytes().await
    };
    let wrong = read(Fault::WrongBytes).await.unwrap();
    assert_eq!(wrong.len(), right.len());
    assert_ne!(wrong, right);
    let longer = read(Fault::Longer(5)).await.unwrap();
    assert_eq!((longer.len(), &longer[..BLOB]), (BLOB + 5, &right[..]));
    assert!(read(Fault::CutAnswerAfter(1_000)).await.is_err());
    let every = Duration::from_millis(5);
    let dripped = read(Fault::Drip { bytes: 20_000, every }).await.unwrap();
    assert_eq!(dripped, right);
    registry.on_any().once().fail(Fault::CutAnswerAfter(1_000));
    let mut cut = get(&registry, &blob).await.unwrap();
    assert_eq!(cut.content_length(), Some(BLOB as u64), "the length is promised");
    let mut came = 0;
    while let Ok(Some(chunk)) = cut.chunk().await {
        came += chunk.len();
    }
    assert_eq!(came, 1_000);
}

#[tokio::test]
async fn connections_are_cut_before_and_after_the_work() {
    let (registry, image, _) = registry();
    registry.on_any().once().fail(Fault::Cut);
    let path = "/v2/r/manifests/v2";
    let put = || {
        let request = registry.endpoint().request(Method::PUT, "r", path);
        request.header("content-type", &image.media_type).body(image.bytes.clone()).send()
    };
    assert!(put().await.is_err());
    assert_eq!(registry.tag("r", "v2"), None);
    registry.on_any().once().fail(Fault::CutAfterwards);
    assert!(put().await.is_err());
    assert_eq!(registry.tag("r", "v2").unwrap(), image.digest);
    let traffic = registry.traffic();
    assert!(traffic.iter().all(|seen| seen.status.is_none()), "{traffic}");
}

#[tokio::test]
async fn headers_lie_or_lack() {
    let (registry, _, _) = registry();
    let head = async |fault: Fault| {
        registry.on("HEAD", Kind::Manifest).once().fail(fault);
        let request = registry.endpoint().request(Method::HEAD, "r", "/v2/r/manifests/v1");
        request.send().await.unwrap().headers().clone()
    };
    let digest = "docker-content-digest";
    assert_eq!(head(Fault::wrong_content_digest("sha256:1")).await[digest], "sha256:1");
    assert!(!head(Fault::no_content_digest()).await.contains_key(digest));
    assert_eq!(head(Fault::wrong_content_type("text/html")).await["content-type"], "text/html");
}

#[tokio::test]
async fn bodies_have_no_end() {
    let (registry, _, _) = registry();
    registry.on("GET", Kind::Manifest).once().fail(Fault::Endless);
    let mut answer = get(&registry, "/v2/r/manifests/v1").await.unwrap();
    let mut came = 0;
    while came < 8 << 20 {
        came += answer.chunk().await.unwrap().expect("more").len();
    }
}

#[tokio::test]
async fn answers_hang_until_released_and_are_late() {
    let (registry, _, blob) = registry();
    registry.on("GET", Kind::Blob).once().fail(Fault::Hang);
    let client = registry.endpoint().clone();
    let path = blob.clone();
    let hanging = tokio::spawn(async move { client.request(Method::GET, "r", &path).send().await });
    eventually("the request", Duration::from_secs(5), || async {
        (registry.traffic().len() == 1).then_some(())
    })
    .await;
    // Others are served meanwhile.
    assert_eq!(get(&registry, &blob).await.unwrap().status(), 200);
    assert!(!hanging.is_finished());
    registry.release();
    assert_eq!(hanging.await.unwrap().unwrap().status(), 200);
    registry.on_any().once().fail(Fault::Delay(Duration::from_millis(200)));
    let began = Instant::now();
    get(&registry, &blob).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn redirects_show_who_follows_with_credentials() {
    let (registry, image, blob) = registry();
    let elsewhere = Scripted::start();
    image.load(&elsewhere, "r", "v1");
    registry.on("GET", Kind::Blob).once().fail(Fault::Redirect(elsewhere.url()));
    let request = registry.endpoint().request(Method::GET, "r", &blob).bearer_auth("secret");
    assert_eq!(request.send().await.unwrap().bytes().await.unwrap(), image.blobs[1].bytes);
    assert_eq!(elsewhere.traffic().count("GET", Kind::Blob), 1);
    elsewhere.assert_no_credentials();
    let leaked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        registry.assert_no_credentials();
    }));
    assert!(leaked.is_err(), "the first registry did see credentials");
}

#[tokio::test]
async fn pages_never_end() {
    let (registry, _, _) = registry();
    registry.on("GET", Kind::Tags).once().fail(Fault::PageLinksToItself);
    let answer = get(&registry, "/v2/r/tags/list?n=5").await.unwrap();
    assert_eq!(answer.headers()["link"], "</v2/r/tags/list?n=5>; rel=\"next\"");
    registry.on("GET", Kind::Tags).fail(Fault::EndlessPages);
    let mut pages = std::collections::HashSet::new();
    for _ in 0..3 {
        let answer = get(&registry, "/v2/r/tags/list").await.unwrap();
        assert!(answer.headers().contains_key("link"));
        assert!(pages.insert(answer.text().await.unwrap()), "a page came twice");
    }
}

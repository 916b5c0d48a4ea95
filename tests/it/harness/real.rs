//! docker-registry in all its variants.

use std::time::Duration;

use crate::support::endpoint::{ACCEPT, client_builder};
use crate::support::witness::{OciClient, Skopeo};
use crate::support::{
    DockerRegistry, Family, Image, Kind, Place, TokenServer, assert_same, assert_same_at,
};

fn docker(place: &impl Place, repository: &str, tag: &str) -> String {
    format!("docker://{}", place.reference(repository, tag))
}

/// Pushes an image, has skopeo copy it to another tag, and compares the two.
async fn skopeo_copies_in_and_out(registry: &DockerRegistry, skopeo: &Skopeo) {
    let image = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    image.push(registry, "acme/app", "v1").await;
    skopeo.copy(&docker(registry, "acme/app", "v1"), &docker(registry, "acme/app", "v2")).await;
    let walked = assert_same_at((registry, "acme/app", "v1"), (registry, "acme/app", "v2")).await;
    assert_eq!(walked.manifests.len(), 3);
    assert_eq!(walked.blob_bytes, image.blob_bytes());
}

#[tokio::test]
async fn plain_serves_and_counts() {
    let (source, target) = tokio::join!(DockerRegistry::start(), DockerRegistry::start());
    let image = Image::single(Family::Docker, "app", &[1_000, 70_000]);
    image.push(&source, "acme/app", "v1").await;
    let (at_source, at_target) = (source.mark().await, target.mark().await);
    let skopeo = Skopeo::new();
    skopeo.copy(&docker(&source, "acme/app", "v1"), &docker(&target, "acme/app", "v1")).await;
    let (read, written) =
        (source.requests_since(at_source).await, target.requests_since(at_target).await);
    assert_eq!(read.count_status("GET", Kind::Blob, 200), 3, "{read}");
    assert_eq!(read.writes(), 0, "{read}");
    assert_eq!(written.count_status("PUT", Kind::Upload, 201), 3, "{written}");
    assert_eq!(written.count("PUT", Kind::Manifest), 1, "{written}");
    let read = source.requests_since(source.mark().await).await;
    assert!(read.is_empty(), "the harness counts itself: {read}");

    assert_same(&source, &target, "acme/app", "v1").await;
    assert_eq!(skopeo.list_tags(&target, "acme/app").await, ["v1"]);
    let raw = skopeo.inspect_raw(&docker(&target, "acme/app", "v1")).await;
    assert_eq!(raw.as_bytes(), image.bytes);
    let witness = OciClient::new(&target);
    assert_eq!(
        witness.manifest("acme/app", "v1").await,
        (image.bytes.to_vec(), image.digest.clone())
    );
    let layer = &image.blobs[2];
    assert_eq!(witness.blob("acme/app", &layer.digest).await, layer.bytes);
}

#[tokio::test]
async fn tls_needs_the_authority() {
    let registry = DockerRegistry::new().tls().run().await;
    let skopeo = Skopeo::new().trusting(&registry);
    skopeo_copies_in_and_out(&registry, &skopeo).await;
    let stranger = client_builder().build().unwrap();
    assert!(stranger.get(registry.endpoint().url("/v2/")).send().await.is_err());
}

#[tokio::test]
async fn client_certificates_are_required() {
    let registry = DockerRegistry::new().client_certificates().run().await;
    let skopeo = Skopeo::new().trusting(&registry);
    skopeo_copies_in_and_out(&registry, &skopeo).await;
    let ca = std::fs::read(registry.ca_file()).unwrap();
    let ca = reqwest::Certificate::from_pem(&ca).unwrap();
    let nobody = client_builder().tls_certs_only([ca]).build().unwrap();
    assert!(nobody.get(registry.endpoint().url("/v2/")).send().await.is_err());
}

#[tokio::test]
async fn htpasswd_lets_users_in() {
    let registry = DockerRegistry::new()
        .htpasswd("alice", "wonder land:1")
        .htpasswd("bob", "builder")
        .run()
        .await;
    for (user, password) in [("alice", "wonder land:1"), ("bob", "builder")] {
        let skopeo = Skopeo::new().login(&registry, user, password);
        skopeo_copies_in_and_out(&registry, &skopeo).await;
    }
    let url = registry.endpoint().url("/v2/");
    let answer = client_builder().build().unwrap().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Basic "), "{challenge}");
}

#[tokio::test]
async fn bearer_tokens_are_verified_by_the_registry() {
    let tokens = TokenServer::start();
    tokens.user("alice", "secret").user("reader", "only");
    tokens.policy(|policy| {
        policy.readers.insert("reader".to_owned());
        policy.anonymous_pull = true;
    });
    let registry = DockerRegistry::new().tokens(&tokens).run().await;
    let skopeo = Skopeo::new().login(&registry, "alice", "secret");
    skopeo_copies_in_and_out(&registry, &skopeo).await;
    let asked = tokens.requests();
    assert!(asked.iter().all(|request| request.user.as_deref() == Some("alice")));
    assert!(asked.iter().any(|request| request.scopes[0] == "repository:acme/app:pull,push"));

    // The registry checks the signature, the repository, the action and the time.
    let manifest = registry.endpoint().url("/v2/acme/app/manifests/v1");
    let client = client_builder().build().unwrap();
    let status = async |token: String| {
        client
            .get(&manifest)
            .header("accept", ACCEPT)
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(status(tokens.mint("acme/app")).await, 200);
    assert_eq!(status(tokens.mint("acme/other")).await, 401);
    assert_eq!(status(TokenServer::start().mint("acme/app")).await, 401);
    tokens.policy(|policy| policy.lifetime = Duration::from_secs(0));
    let expired = token(&client, &tokens, Some(("alice", "secret"))).await;
    assert_eq!(status(expired).await, 401);
    tokens.policy(|policy| policy.lifetime = Duration::from_secs(60));
    let anonymous = token(&client, &tokens, None).await;
    assert_eq!(status(anonymous.clone()).await, 200);
    for (token, expected) in [
        (anonymous, 401),
        (token(&client, &tokens, Some(("reader", "only"))).await, 401),
        (token(&client, &tokens, Some(("alice", "secret"))).await, 202),
    ] {
        let uploads = registry.endpoint().url("/v2/acme/app/blobs/uploads/");
        let answer = client.post(uploads).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), expected);
    }
}

/// A token for acme/app by the GET form.
async fn token(
    client: &reqwest::Client,
    tokens: &TokenServer,
    login: Option<(&str, &str)>,
) -> String {
    let url = format!("{}?service=x&scope=repository:acme/app:pull,push", tokens.realm());
    let mut request = client.get(url);
    if let Some((user, password)) = login {
        request = request.basic_auth(user, Some(password));
    }
    let body = request.send().await.unwrap().bytes().await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn refresh_tokens_are_exchanged() {
    let tokens = TokenServer::start();
    tokens.user("alice", "secret");
    let client = client_builder().build().unwrap();
    let post = async |form: &str| {
        let request = client.post(tokens.realm()).body(form.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default())
    };
    let (_, body) = post(
        "grant_type=password&username=alice&password=secret&access_type=offline&\
         scope=repository:a/b:pull%20repository:a/c:push",
    )
    .await;
    assert_eq!(tokens.requests()[0].scopes, ["repository:a/b:pull", "repository:a/c:push"]);
    let refresh = body["refresh_token"].as_str().unwrap();
    let form =
        format!("grant_type=refresh_token&refresh_token={refresh}&scope=repository:a/b:pull");
    let (status, body) = post(&form).await;
    assert_eq!(status, 200);
    let token = body["access_token"].as_str().unwrap();
    assert!(tokens.allows(token, &[("repository", "a/b", "pull")]));
    assert!(!tokens.allows(token, &[("repository", "a/b", "push")]));
    assert_eq!(post("grant_type=refresh_token&refresh_token=wrong").await.0, 401);
    tokens.policy(|policy| policy.oauth2 = false);
    assert_eq!(post(&form).await.0, 405);
}

#[tokio::test]
async fn deletion_and_writes_can_be_off() {
    let image = Image::single(Family::Oci, "app", &[100]);
    let (deletes, keeps, frozen) = tokio::join!(
        DockerRegistry::start(),
        DockerRegistry::new().without_delete().run(),
        DockerRegistry::new().read_only().run(),
    );
    image.push(&deletes, "acme/app", "v1").await;
    image.push(&keeps, "acme/app", "v1").await;
    assert_eq!(deletes.endpoint().delete("acme/app", &image.digest).await, 202);
    assert_eq!(deletes.endpoint().manifest("acme/app", "v1").await, None);
    assert_eq!(keeps.endpoint().delete("acme/app", &image.digest).await, 405);
    let uploads = frozen.endpoint().url("/v2/acme/app/blobs/uploads/");
    let answer = frozen.endpoint().client.post(uploads).send().await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn a_full_disk_refuses_blobs() {
    let small = DockerRegistry::new().storage_limit("1m").run_if_possible().await;
    let Some(registry) = small else { return };
    let endpoint = registry.endpoint();
    let opened = endpoint.client.post(endpoint.url("/v2/a/b/blobs/uploads/")).send().await.unwrap();
    let location = opened.headers()["location"].to_str().unwrap();
    let put = endpoint.client.patch(location).body(vec![1; 3 << 20]).send().await.unwrap();
    assert!(put.status().is_server_error(), "{}", put.status());
    let storage = registry.storage();
    let mounted = || std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(mounted().contains(storage.to_str().unwrap()));
    drop(registry);
    assert!(!mounted().contains(storage.to_str().unwrap()), "still mounted");
    assert!(!storage.exists());
}

#[tokio::test]
async fn a_registry_comes_back_and_ends_with_its_handle() {
    let mut registry = DockerRegistry::start().await;
    let image = Image::single(Family::Oci, "app", &[100]);
    image.push(&registry, "acme/app", "v1").await;
    let process = |pid: u32| std::path::PathBuf::from(format!("/proc/{pid}/exe"));
    let first = registry.pid();
    registry.stop();
    assert!(registry.endpoint().client.get(registry.endpoint().url("/v2/")).send().await.is_err());
    registry.restart().await;
    assert!(std::fs::read_link(process(first)).is_err());
    assert_eq!(registry.endpoint().digest("acme/app", "v1").await.unwrap(), image.digest);
    let blob = registry.blob_file(&image.blobs[1].digest);
    assert_eq!(std::fs::read(blob).unwrap(), image.blobs[1].bytes);
    let second = registry.pid();
    assert!(std::fs::read_link(process(second)).is_ok());
    drop(registry);
    assert!(std::fs::read_link(process(second)).is_err(), "the process outlives its handle");
}

//! The events of a real docker-registry, as it sends them, read by tranship.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method};
use serde_json::json;
use tranship::config::EventFormat;
use tranship::events::{Action, PushEvent, authenticate, parse};

use crate::support::docker_registry::Notifications;
use crate::support::wire::{Delivery, Exchange, Head, Next, Response, Server, Service};
use crate::support::witness::Skopeo;
use crate::support::{Blob, DockerRegistry, Family, Image, Place, eventually};

const SECRET: &str = "s3cret: \"quoted\"";

/// A message as it came.
#[derive(Clone)]
struct Message {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Listens for messages; the first ones may be answered with an error.
#[derive(Default)]
struct Listener {
    messages: Mutex<Vec<Message>>,
    failures: Mutex<usize>,
}

#[async_trait]
impl Service for Listener {
    async fn serve(&self, head: &Head, exchange: &mut Exchange) -> Next {
        let body = exchange.read_body(None).await.bytes;
        let fails = {
            let mut failures = self.failures.lock().unwrap();
            let fails = *failures > 0;
            *failures = failures.saturating_sub(1);
            fails
        };
        if !fails {
            assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/api/v1/events/r"));
            self.messages.lock().unwrap().push(Message { headers: head.headers.clone(), body });
        }
        exchange.respond(&Response::new(if fails { 503 } else { 202 }), Delivery::Whole).await
    }
}

impl Listener {
    /// Everything heard so far, authenticated and read.
    fn events(&self) -> Vec<PushEvent> {
        let messages = self.messages.lock().unwrap().clone();
        let read = |Message { headers, body }: Message| {
            let format = EventFormat::Distribution;
            authenticate(format, &SECRET.into(), &headers, None, &body).unwrap();
            assert!(authenticate(format, &"other".into(), &headers, None, &body).is_err());
            parse(format, &headers, &body).unwrap()
        };
        messages.into_iter().flat_map(read).collect()
    }

    /// The actions of everything heard so far, as the registry names them.
    fn actions(&self) -> Vec<String> {
        let messages = self.messages.lock().unwrap().clone();
        let read = |message: Message| {
            let envelope: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            envelope["events"].as_array().unwrap().clone()
        };
        let action = |event: serde_json::Value| event["action"].as_str().unwrap().to_owned();
        messages.into_iter().flat_map(read).map(action).collect()
    }

    /// Waits until an event like this was heard.
    async fn hears(&self, what: &str, is_it: impl Fn(&PushEvent) -> bool) -> PushEvent {
        let found = || async { self.events().into_iter().find(&is_it) };
        eventually(what, Duration::from_secs(20), found).await
    }
}

async fn start() -> (Arc<Listener>, Server, DockerRegistry) {
    let listener = Arc::new(Listener::default());
    let server = Server::start(Arc::clone(&listener) as Arc<dyn Service>);
    let url = format!("http://{}/api/v1/events/r", server.address);
    let notifications = Notifications::to(&url, &format!("Bearer {SECRET}"));
    let registry = DockerRegistry::new().notifications(notifications).run().await;
    (listener, server, registry)
}

#[tokio::test]
async fn pushes_and_deletions_are_told_and_the_rest_is_left_out() {
    let (listener, _server, registry) = start().await;
    let began = jiff::Timestamp::now();
    let index = Image::platforms(Family::Oci, "app", &["amd64", "arm64"]);
    index.push(&registry, "acme/app", "v1").await;
    let tag = |name: &'static str| {
        move |event: &PushEvent| event.tag.as_ref().is_some_and(|tag| tag.as_str() == name)
    };
    let pushed = listener.hears("the push of v1", tag("v1")).await;
    assert_eq!((pushed.repository.as_str(), pushed.action), ("acme/app", Action::Push));
    assert_eq!(pushed.digest, index.digest.parse().ok());
    let at = pushed.at.unwrap();
    assert!(began <= at && at <= jiff::Timestamp::now(), "{at}");
    // The platforms came by their digests, before the tag.
    for platform in index.manifests().into_iter().filter(|m| m.digest != index.digest) {
        let digest = platform.digest.parse().ok();
        let event = listener.hears("a platform", |event| event.digest == digest).await;
        assert!(event.tag.is_none() && !event.referrer, "{event:?}");
    }

    // Another repository of the registry gets its blobs by mount.
    let (source, copy) =
        (registry.reference("acme/app", "v1"), registry.reference("acme/copy", "v1"));
    Skopeo::new().copy(&format!("docker://{source}"), &format!("docker://{copy}")).await;
    listener.hears("the push of the copy", |event| event.repository.as_str() == "acme/copy").await;

    let blob = &index.all_blobs()[0].digest;
    let location = format!("/v2/acme/mounted/blobs/uploads/?mount={blob}&from=acme/app");
    let request = registry.endpoint().request(Method::POST, "acme/mounted", &location);
    assert_eq!(request.send().await.unwrap().status(), 201, "mounted");

    // A referrer comes by its digest alone, and is known by what it points at.
    let empty = Blob::new("application/vnd.oci.empty.v1+json", "{}");
    let signature = Blob::noise("application/vnd.example.signature", "signature", 50);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": empty.descriptor(), "layers": [signature.descriptor()],
        "subject": index.descriptor()
    });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let referrer = Image::of_manifest(media_type, &manifest, vec![empty, signature]);
    referrer.push_content(&registry, "acme/app").await;
    let digest = referrer.digest.parse().ok();
    let event = listener.hears("the referrer", |event| event.digest == digest).await;
    assert!(event.tag.is_none() && event.referrer, "{event:?}");

    let location = format!("/v2/acme/app/manifests/{}", index.digest);
    let request = registry.endpoint().request(Method::DELETE, "acme/app", &location);
    assert_eq!(request.send().await.unwrap().status(), 202);
    let deleted = |event: &PushEvent| event.action == Action::Delete;
    let by_digest = listener.hears("the deletion", |e| deleted(e) && e.tag.is_none()).await;
    assert_eq!(by_digest.digest, index.digest.parse().ok());
    // The tag went with it.
    listener.hears("the tag's end", |e| deleted(e) && tag("v1")(e)).await;

    // Nothing but manifests has become an event: the manifests of both repositories, the
    // tag of the first (the harness puts it after the manifest), the referrer, the two deletions.
    let manifests = 2 * index.manifests().len() + 4;
    let all = || async { (listener.events().len() >= manifests).then_some(()) };
    eventually("all events", Duration::from_secs(20), all).await;
    assert_eq!(listener.events().len(), manifests, "{:?}", listener.events());
    let actions = listener.actions();
    assert!(actions.len() > manifests, "blobs were told of too: {actions:?}");
    for action in ["pull", "mount"] {
        assert!(actions.iter().any(|heard| heard == action), "{action}: {actions:?}");
    }
}

#[tokio::test]
async fn an_event_that_was_not_taken_comes_again() {
    let (listener, _server, registry) = start().await;
    *listener.failures.lock().unwrap() = 3;
    Image::single(Family::Docker, "app", &[100]).push(&registry, "acme/app", "v1").await;
    let event = listener.hears("the push", |event| event.tag.is_some()).await;
    assert_eq!(event.repository.as_str(), "acme/app");
}

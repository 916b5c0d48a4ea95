//! Traces of the daemon, as a collector gets them. Only with the feature `otlp`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop, in its helpers too"
)]

#[path = "it/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the harness offers more than the tests of any one day use"
)]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::post;
use support::process::Running;
use support::scripted::Fault;
use support::{Family, Image, Kind, Place, Scripted, Tranship, eventually};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(60);

/// A field of a protobuf message: a number, or bytes.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message (protobuf.dev/programming-guides/encoding), by their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length))
            }
            5 => Field::Bytes(take(&mut bytes, 4)),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// All messages in the field with this number.
fn messages(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of = |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of).collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    let found = messages(bytes, number).first().copied().unwrap_or_default();
    String::from_utf8(found.to_vec()).unwrap()
}

/// `KeyValue`s: texts as they are, numbers in decimals.
fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, String> {
    let value = |pair: &[u8]| {
        let value = messages(pair, 2)[0].to_vec();
        match fields(&value).into_iter().next() {
            Some((1, Field::Bytes(text))) => String::from_utf8(text.to_vec()).unwrap(),
            Some((_, Field::Number(number))) => number.to_string(),
            _ => String::new(),
        }
    };
    messages(bytes, number).iter().map(|pair| (text(pair, 1), value(pair))).collect()
}

#[derive(Debug, Clone)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    attributes: BTreeMap<String, String>,
    /// 2 is an error.
    status: u64,
    service: String,
}

/// The spans of an `ExportTraceServiceRequest`.
fn spans(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in messages(body, 1) {
        let resource = attributes(messages(of_resource, 1)[0], 1);
        for of_scope in messages(of_resource, 2) {
            for span in messages(of_scope, 2) {
                let first =
                    |number| messages(span, number).first().copied().unwrap_or_default().to_vec();
                let status = messages(span, 15);
                let status = status.first().and_then(|status| {
                    fields(status).into_iter().find_map(|(number, field)| match field {
                        Field::Number(code) if number == 3 => Some(code),
                        _ => None,
                    })
                });
                spans.push(Span {
                    trace: first(1),
                    id: first(2),
                    parent: first(4),
                    name: text(span, 5),
                    attributes: attributes(span, 9),
                    status: status.unwrap_or_default(),
                    service: resource["service.name"].clone(),
                });
            }
        }
    }
    spans
}

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    headers: Arc<Mutex<Vec<http::HeaderMap>>>,
}

impl Collector {
    /// Where it listens.
    async fn start(&self) -> String {
        let router =
            Router::new().route("/v1/traces", post(Self::collect)).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    async fn collect(State(collector): State<Self>, request: Request) {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        collector.headers.lock().unwrap().push(head.headers);
        collector.spans.lock().unwrap().extend(spans(&body));
    }
}

/// A daemon that mirrors one good and one bad image at its start, and then stops.
async fn run(variables: &[(&str, &str)], talkative: bool) -> String {
    let (source, target) = (Scripted::start(), Scripted::start());
    for repository in ["good", "bad"] {
        Image::single(Family::Oci, "app", &[1000]).push(&source, repository, "v1").await;
    }
    target.on("PUT", Kind::Manifest).containing("/bad/").fail(Fault::status(403));
    let (from, to) = (source.host(), target.host());
    let mut config = format!(
        "[daemon]\nlisten = \"127.0.0.1:0\"\n[registry.\"{from}\"]\ninsecure = \"http\"\n\
         [registry.\"{to}\"]\ninsecure = \"http\"\n"
    );
    for rule in ["good", "bad"] {
        config.push_str(&format!(
            "[[sync]]\nname = \"{rule}\"\nevery = \"1h\"\nsource = \"{from}/{rule}\"\n\
             target = \"{to}/{rule}\"\n"
        ));
    }
    let tranship = Tranship::new();
    tranship.write("tranship.toml", config);
    let mut command = tranship.command();
    command.arg("serve").args(talkative.then_some("-vv")).envs(variables.iter().copied());
    let daemon = Running::new(&mut command);
    eventually("both rules at the target", LIMIT, || async {
        let traffic = target.traffic();
        let put: Vec<_> = traffic.of("PUT", Kind::Manifest).map(|seen| &seen.path).collect();
        let of = |rule: &str| put.iter().any(|path| path.contains(rule));
        (of("/good/") && of("/bad/")).then_some(())
    })
    .await;
    let finished = daemon.terminate().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stderr
}

#[tokio::test]
async fn a_collector_gets_runs_and_images_before_the_daemon_ends() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20c0llector-s3cret"),
        ("OTEL_SERVICE_NAME", "mirror-of-acme"),
    ];
    let log = run(&variables, true).await;
    assert!(!log.contains("s3cret"), "{log}");
    let headers = collector.headers.lock().unwrap().clone();
    assert!(headers.iter().all(|headers| headers["authorization"] == "Bearer c0llector-s3cret"));
    assert_eq!(headers[0]["content-type"], "application/x-protobuf");

    let spans = collector.spans.lock().unwrap().clone();
    assert!(spans.iter().all(|span| span.service == "mirror-of-acme"));
    for (rule, outcome, image_outcome, status) in
        [("good", "succeeded", "copied", 0), ("bad", "failed", "failed", 2)]
    {
        let is_run = |span: &&Span| {
            span.name == "run" && span.attributes.get("rule").is_some_and(|is| is == rule)
        };
        let run = spans.iter().find(is_run).unwrap_or_else(|| panic!("{rule}: {spans:#?}"));
        assert_eq!(run.attributes["outcome"], outcome);
        assert_eq!(run.attributes["cause"], "start");
        assert_eq!((run.status, run.parent.len()), (status, 0), "{run:?}");
        assert!(log.contains(&run.attributes["run"]), "the log has the same run");

        let of_run: Vec<_> = spans.iter().filter(|span| span.parent == run.id).collect();
        let image = of_run.iter().find(|span| span.name == "image").unwrap();
        assert_eq!((&image.trace, image.status), (&run.trace, status), "{image:?}");
        assert_eq!(image.attributes["outcome"], image_outcome);
        assert!(image.attributes["targets"].ends_with(&format!("/{rule}:v1")), "{image:?}");
        assert!(image.attributes["digest"].starts_with("sha256:"), "{image:?}");

        let requests: Vec<_> = spans
            .iter()
            .filter(|span| span.parent == image.id && span.name == "request")
            .map(|span| &span.attributes)
            .collect();
        assert!(requests.iter().any(|request| request["http.request.method"] == "PUT"));
        assert!(requests.iter().all(|request| request["url.path"].starts_with("/v2/")));
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_sent_and_one_that_is_down_is_told_once() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let off =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_TRACES_EXPORTER", "none")];
    for variables in [&off[..], &[]] {
        let log = run(variables, false).await;
        assert!(!log.contains("traces"), "{log}");
    }
    assert!(collector.headers.lock().unwrap().is_empty());

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", nobody.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let log = run(&variables, false).await;
    assert_eq!(log.matches("traces cannot be sent").count(), 1, "{log}");
}

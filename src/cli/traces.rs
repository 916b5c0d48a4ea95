//! Traces, sent by OTLP over HTTP to the collector that the environment names.
//!
//! Only with the feature `otlp`, and only if an endpoint is set. The `OTEL_…` variables mean what
//! the OpenTelemetry specification says; docs/logs.md lists them.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::log::Sink;
use crate::http::{body, client, describe};
use crate::trace;

/// Where traces are sent. Without either variable there are no traces.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long one export may take, if nothing else is set.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long the last export may take, when the process ends.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Answers of collectors are short, and not shown.
const MAX_ANSWER: usize = 64 << 10;

/// Traces on their way to a collector.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// As the environment variables say. `None`: no traces are wanted.
    ///
    /// # Errors
    /// What is wrong with the variables.
    pub fn from_environment(runtime: &Handle) -> Result<Option<Self>, String> {
        let is = |name: &str, value: &str| {
            env::var(name).is_ok_and(|set| set.trim().eq_ignore_ascii_case(value))
        };
        let endpoint =
            ENDPOINTS.iter().any(|name| env::var(name).is_ok_and(|set| !set.trim().is_empty()));
        if !endpoint || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let client = Client::new(runtime.clone()).map_err(|error| error.to_string())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter.map_err(|error| error.to_string())?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_batch_exporter(exporter)
            .build();
        Ok(Some(Self(provider)))
    }

    /// The layer that takes the spans up to this level. Events are for the log only.
    pub fn sink(&self, level: LevelFilter) -> Sink {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("tranship"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(trace::TARGET, level))
            .boxed()
    }

    /// Sends what is left and waits for it, so it must not be called by a task of the runtime.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_WAIT) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Which service the traces come from. The environment's values take precedence.
fn resource() -> Resource {
    let own = Resource::builder_empty()
        .with_service_name("tranship")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => own.with_service_name(name).build(),
        _ => own.build(),
    }
}

/// How long one export may take; the variables are in milliseconds, as specified.
fn time_limit() -> Duration {
    ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]
        .iter()
        .find_map(|name| env::var(name).ok()?.parse().ok())
        .map_or(TIME_LIMIT, Duration::from_millis)
}

/// The exporter's HTTP client. The exporter runs in a thread of its own, where nothing drives
/// connections, so requests are sent by tasks of the runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    /// The last export failed. The first failure is logged, and the end of a series of them.
    failing: Arc<AtomicBool>,
}

impl Client {
    fn new(runtime: Handle) -> reqwest::Result<Self> {
        let http = client::builder().timeout(time_limit()).build()?;
        Ok(Self { http, runtime, failing: Arc::default() })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, failing) = (self.http.clone(), Arc::clone(&self.failing));
        let sent = self.runtime.spawn(async move {
            let answer = exchange(&http, request).await;
            let wrong = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("the collector answered {}", answer.status())),
                Err(error) => Some(error.clone()),
            };
            let was_failing = failing.swap(wrong.is_some(), Ordering::Relaxed);
            match wrong {
                Some(error) if !was_failing => tracing::warn!(error, "traces cannot be sent"),
                None if was_failing => tracing::info!("traces can be sent again"),
                _ => {}
            }
            answer
        });
        Ok(sent.await??)
    }
}

/// One request and its answer, or why there is none. An error never names the address, which may
/// hold a secret.
async fn exchange(
    http: &reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, String> {
    let unsent = |error: reqwest::Error| describe(&error.without_url());
    let request = reqwest::Request::try_from(request).map_err(unsent)?;
    let answer = http.execute(request).await.map_err(unsent)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = body::whole(answer, MAX_ANSWER).await;
    let body = body.map_err(|error| format!("the collector {error}"))?;
    let mut response = Response::new(Bytes::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}

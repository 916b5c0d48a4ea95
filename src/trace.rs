//! What traces are made of: a span for each run, for each image that moves, and for each request.
//!
//! Spans never show in the log. Without a collector to send them to (`cli::traces`) they cost a
//! look at a flag each.

use std::fmt::Display;

use http::Method;
use tracing::Span;
use tracing::field::{Empty, display};

/// The target of all spans, by which they are told from the events of the log.
pub const TARGET: &str = "tranship::trace";

/// One run of one rule.
pub fn run(rule: &str, run: &str, cause: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "run",
        rule,
        run,
        cause,
        outcome = Empty,
        copied = Empty,
        unchanged = Empty,
        kept = Empty,
        withheld = Empty,
        failed = Empty,
        removed = Empty,
        deleted = Empty,
        bytes = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// One image on its way to all its targets. It belongs to the span that is entered.
pub fn image(source: &str, targets: &[String]) -> Span {
    tracing::info_span!(
        target: TARGET,
        "image",
        source,
        targets = %targets.join(" "),
        digest = Empty,
        bytes = Empty,
        outcome = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// One request to a registry, until its answer begins. Never more of its address than the path:
/// what comes behind may hold secrets.
pub fn request(method: &Method, host: &impl Display, path: &str) -> Span {
    tracing::trace_span!(
        target: TARGET,
        "request",
        otel.kind = "client",
        http.request.method = %method,
        server.address = %host,
        url.path = path,
        http.response.status_code = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// The request was answered.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
}

/// What the span is about went wrong.
pub fn failed(span: &Span, why: impl Display) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", display(why));
}

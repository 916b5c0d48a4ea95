//! Every integration test, in one binary: one link, one place for the harness.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop, in its helpers too"
)]

mod conformance;
mod layout_conformance;
mod layout_crash;
mod layout_server;
mod layout_skopeo;
mod layout_uploads;
#[allow(
    dead_code,
    unused_imports,
    reason = "the harness offers more than the tests of any one day use"
)]
mod support;

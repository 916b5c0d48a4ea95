//! Every integration test, in one binary: one link, one place for the harness.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop, in its helpers too"
)]

mod conformance;
mod faults_auth;
mod faults_source;
mod faults_target;
mod fuzz;
mod harness;
mod layout_conformance;
mod layout_crash;
mod layout_server;
mod layout_skopeo;
mod layout_uploads;
mod limits;
mod mirror_images;
mod mirror_one_registry;
mod mirror_platforms;
mod mirror_referrers;
mod mirror_runs;
mod mirror_selection;
mod mirror_setup;
mod registry_conformance;
#[allow(
    dead_code,
    unused_imports,
    reason = "the harness offers more than the tests of any one day use"
)]
mod support;

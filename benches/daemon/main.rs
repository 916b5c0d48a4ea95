//! What the daemon takes up: idle, from an event to the mirrored image, under a burst of events
//! with many rules, and over a long time.
//!
//! The registries live in this process, the built binary is a child of it, and the kernel says
//! what the child uses. `cargo bench --bench daemon -- idle` runs one of the four.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on should stop, in its helpers too"
)]

mod burst;
#[path = "../common/mod.rs"]
mod common;
mod idle;
mod latency;
mod soak;
mod usage;

use std::process::ExitCode;

use common::support;

#[tokio::main]
async fn main() -> ExitCode {
    let smoke = common::is_smoke_test();
    let parts: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let mut missed = Vec::new();
    if wanted("idle") {
        missed.extend(idle::measure(smoke).await);
    }
    if wanted("latency") {
        missed.extend(latency::measure(smoke).await);
    }
    if wanted("burst") {
        missed.extend(burst::measure(smoke).await);
    }
    if wanted("soak") {
        missed.extend(soak::measure(smoke).await);
    }
    // A smoke test measures nothing that could be held to an aim.
    if smoke || missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("missed:\n  {}", missed.join("\n  "));
    ExitCode::FAILURE
}

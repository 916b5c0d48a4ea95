//! What the benches share: the harness of the integration tests, which their crate roots import
//! under the name that it has there.

#[allow(
    dead_code,
    unused_imports,
    reason = "the harness offers more than any one user of it needs"
)]
#[path = "../../tests/it/support/mod.rs"]
pub mod support;

/// `cargo bench -- --test` asks only whether it would run.
pub fn is_smoke_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

//! TOML into validated types.

pub mod secret;

pub use secret::SecretSource;

//! One registry over HTTP.

pub mod auth;

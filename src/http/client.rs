//! How every HTTP client is set up.

use reqwest::{Client, ClientBuilder, Proxy};

use super::proxy;

/// What all clients have in common: TLS by rustls with ring, the proxies of the environment, no
/// redirects, no hidden retries.
pub fn builder() -> ClientBuilder {
    // Ring builds without cmake, unlike the default provider. An error says that a provider is
    // installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("tranship/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .proxy(Proxy::custom(|url| proxy::of_environment().of(url).cloned()))
}

//! Requests of web pages. A page in a browser on this machine can send requests to what listens here, in
//! the name of nobody: what is open on this machine without a password is not open to it.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue};

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a page of another site has sent the request.
pub fn are_of_page(headers: &HeaderMap) -> bool {
    let site = headers.get(SITE).and_then(|value| value.to_str().ok());
    headers.contains_key(ORIGIN) || site.is_some_and(|site| !matches!(site, "none" | "same-origin"))
}

/// Whether the request names this machine by an address or as `localhost`. A name that leads here may
/// belong to a page, and lead elsewhere for that.
pub fn name_this_machine(headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let host = headers.get(HOST).and_then(text).unwrap_or_default();
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let host = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(&*host, |(h, _)| h);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_foreign_names_are_told_apart() {
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), value.parse().unwrap())
            };
            pairs.iter().map(pair).collect()
        };
        type Case<'a> = (&'a [(&'static str, &'a str)], bool, bool);
        let cases: [Case<'_>; 7] = [
            (&[("host", "127.0.0.1:5000")], false, true),
            (&[("host", "localhost")], false, true),
            (&[("host", "[::1]:5000")], false, true),
            (&[("host", "evil.example:5000")], false, false),
            (&[("host", "localhost:5000"), ("origin", "https://evil.example")], true, true),
            (&[("host", "localhost"), ("sec-fetch-site", "cross-site")], true, true),
            (&[("host", "localhost"), ("sec-fetch-site", "none")], false, true),
        ];
        for (pairs, of_page, here) in cases {
            let headers = headers(pairs);
            assert_eq!(
                (are_of_page(&headers), name_this_machine(&headers)),
                (of_page, here),
                "{pairs:?}"
            );
        }
    }
}

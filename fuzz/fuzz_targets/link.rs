//! Whatever stands in `Link` leads nowhere but to http(s), and never down from https.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tranship::registry::link;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = http::HeaderValue::from_bytes(bytes) else { return };
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::LINK, value);
    if let (Some(next), Ok(base)) = (link::next(&headers), "https://r.example/v2/".parse()) {
        let resolved = link::resolve(&base, &next);
        assert!(resolved.is_none_or(|url| url.scheme() == "https"));
    }
});

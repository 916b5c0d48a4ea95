//! Whatever stands in `WWW-Authenticate` is read as challenges or as nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = http::HeaderValue::from_bytes(bytes) {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::WWW_AUTHENTICATE, value);
        let _ = tranship::registry::auth::challenge::parse(&headers);
    }
});

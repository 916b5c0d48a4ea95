//! Whatever a sender of events writes is a list of bounded length, or a refusal, and never signed
//! by chance. The first line is a header's value, the rest the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tranship::config::EventFormat;
use tranship::events::{MAX_EVENTS, authenticate, parse};

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let (value, body) = bytes.split_at(split);
    let mut headers = http::HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_bytes(value) {
        for name in ["x-github-event", "ce-type", "authorization", "x-hub-signature-256"] {
            headers.insert(name, value.clone());
        }
    }
    let query = std::str::from_utf8(value).ok();
    for format in EventFormat::ALL {
        let secret = "a secret that nobody guesses".into();
        assert!(authenticate(format, &secret, &headers, query, body).is_err());
        for headers in [&headers, &http::HeaderMap::new()] {
            let events = parse(format, headers, body).unwrap_or_default();
            assert!(events.len() <= MAX_EVENTS);
        }
    }
});

//! Any text is a configuration, or an error that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match tranship::config::parse(text, "fuzz.toml".as_ref(), &|_| None) {
            Ok(config) => drop(config.show()),
            Err(error) => drop(error.to_string()),
        }
    }
});

//! Whatever people type is a reference or an error, and what is printed is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tranship::oci::ImageAddress;
use tranship::oci::ImageReference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<ImageReference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
    let _ = text.parse::<ImageAddress>();
});

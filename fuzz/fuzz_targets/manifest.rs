//! Whatever a registry sends is a manifest or an error, and every part of a manifest can be
//! walked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tranship::oci::{Digest, Manifest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes.to_vec().into(), None, None) {
        assert_eq!(manifest.descriptor().digest, Digest::of(bytes));
        let _ = (manifest.children(), manifest.blobs(), manifest.referrer_descriptor());
        let _ = manifest.with_children(|position| position % 2 == 0);
    }
});

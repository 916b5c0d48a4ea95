//! Whatever a damaged database gives back is a tag's state or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tranship::state::TagState;

fuzz_target!(|bytes: &[u8]| {
    if let Some(state) = TagState::decode(bytes) {
        assert_eq!(TagState::decode(&state.encode()), Some(state));
    }
});

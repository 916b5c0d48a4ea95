//! Whatever stands in the headers and words of an answer, no number in it is too large.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tranship::registry::fuzzing::read_answer(bytes));

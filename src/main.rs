//! The tranship command.
#![forbid(unsafe_code)]

fn main() {}

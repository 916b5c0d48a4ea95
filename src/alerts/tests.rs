//! What arrives at a receiver that fails in every way.

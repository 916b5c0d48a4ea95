//! The harness itself: what all other tests believe in must be shown first.

mod faults;
mod images;
mod processes;
mod quirks;
mod real;

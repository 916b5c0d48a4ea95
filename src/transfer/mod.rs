//! Moves one image from a source to one or several targets.
//!
//! From the outside in:
//! - `carrier`: the entry point; `job`, `options`: what it is asked and answers.
//! - `order`: what is put when, so that a tag never points at something incomplete.
//! - `graph`: every manifest of an image, read once. `platforms`: which children are wanted.
//!   `reading`: manifests are read within the memory for them. `referrers`: what refers to an image.
//!   `manifests`: manifests are put. `target`: what became of one target.
//! - `blobs`: what a target needs to have a blob. `presence`, `recent`: what is known of that.
//!   `blob_turns`: who brings a blob that several transfers want.
//! - `stream`: one blob over the wire to several targets, and how a target resumes. `pipe`: every
//!   byte passes here. `source_reader`: how a source resumes. `checkpoints`, `journal`: resuming
//!   within a blob, in this process and the next. `retry`: whether and when.
//! - `events`, `reporter`: the one way to count; `progress`, `totals`: what counts. `on_wire`: which
//!   blobs are being moved.

mod blob_turns;
mod blobs;
mod carrier;
mod checkpoints;
mod events;
mod graph;
mod job;
mod journal;
mod manifests;
mod on_wire;
mod options;
mod order;
mod pipe;
pub mod platforms;
mod presence;
mod progress;
mod reading;
mod recent;
mod referrers;
mod reporter;
mod retry;
mod source_reader;
mod stream;
mod target;
mod totals;

pub use carrier::Carrier;
pub use events::{BlobFate, TransferEvent, TransferId, TransferListener};
pub use graph::{Graph, subjects};
pub use job::{Condition, Delivered, Job, Target, TransferOutcome};
pub use on_wire::{BlobOnWire, BlobStatus, BlobsOnWire};
pub use options::Options;
pub use progress::TransferStatus;
pub use reading::{COMPARED_AT_ONCE, Held, ManifestReader, USUAL, manifest_memory};
pub use referrers::{Referrer, TagIndex, fingerprint, read as read_referrer, survey, survey_but};
pub use totals::{Tally, TransferTotals};

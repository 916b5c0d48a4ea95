//! tranship copies container images between registries, bit for bit.
//!
//! # Layout
//! Each layer imports only what stands below it.
//!
//! - `cli`: one file a subcommand; arguments in, report out.
//! - `copy`: one-off copies. `delete`: one tag or manifest, and nothing that was not meant.
//! - `demo`: the whole thing on this machine: sample images, two registries, and every step checked.
//! - `server`: the daemon's metrics, health and API; layouts served as a registry.
//! - `daemon`: the rules of the configuration, run at their times and on push events.
//! - `run`: the composition root: one configuration made ready, and its rules carried out.
//! - `verify`: source and target compared down to every blob, and repaired.
//! - `alerts`: tells people, by webhook, what they should know of.
//! - `history`: what each run did, kept on disk.
//! - `sync`: `[[sync]]` rules become plans, plans become transfers and a report.
//! - `cleanup`: what of a repository a policy deletes: a snapshot is read, and a plan decided.
//! - `removal`: steps that delete, carried out safely, with their audit: what sync and cleanup share.
//! - `stores`: addresses (registry, layout, archive), opened as repositories.
//! - `transfer`: moves one image: graph walk, blob dedupe and mount, streaming, resume.
//! - `registry`: one registry over HTTP: authentication, request pipeline, uploads, paging.
//! - `layout`: an OCI image layout on disk, behind the same interface.
//! - `state`: the embedded database: what is known, what was begun.
//! - `events`: push notifications of registries, checked and read; pure.
//! - `config`: TOML into validated types.
//! - `schedule`: cron schedules and intervals, and the next time of each.
//! - `repository`: the interface that `registry` and `layout` implement, and its errors.
//! - `trace`: spans of runs, images and requests.
//! - `http`: what all HTTP clients share: set-up, bounded reading, retries and backoff.
//! - `metrics`: what is counted and measured, for Prometheus.
//! - `fair`: what is scarce, shared between flows of work in turn.
//! - `secret`: reads what the configuration names by variable, file or command.
//! - `stop`: how work is stopped, soon or at once.
//! - `process`: programs of the user's, run within bounds. `text`: words of others, for messages.
//! - `single_flight`: work that many want at once and one does.
//! - `oci`: pure data and rules: digests, references, manifests, platforms, tag selection.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod cleanup;
pub mod cli;
pub mod config;
pub mod copy;
pub mod daemon;
pub mod delete;
pub mod demo;
pub mod events;
pub mod fair;
pub mod history;
pub mod http;
pub mod layout;
pub mod metrics;
pub mod oci;
pub mod process;
pub mod registry;
pub mod removal;
pub mod repository;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod server;
mod single_flight;
pub mod state;
pub mod stop;
pub mod stores;
pub mod sync;
pub mod text;
pub mod trace;
pub mod transfer;
pub mod verify;

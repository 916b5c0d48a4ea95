//! tranship copies container images between registries, bit for bit.
//!
//! # Layout
//! Each layer imports only what stands below it.
//!
//! - `cli`: one file a subcommand; arguments in, report out.
//! - `demo`: a demonstration on this machine: sample images, two registries, every step checked.
//! - `server`: the daemon's metrics, health and API; layouts served as a registry.
//! - `daemon`: when rules run: schedules, push events, the run queue.
//! - `run`: the composition root: a configuration made ready, and one run of a rule.
//! - `alerts`: tells people by webhook what they should know. `history`: what each run did, on disk.
//! - `copy`: one-off copies. `verify`: source and target compared down to every blob, and repaired.
//! - `sync`: `[[sync]]` rules become plans, plans become transfers and a report.
//! - `cleanup`: `[[cleanup]]` rules: a snapshot of a repository and a policy become a plan.
//! - `stores`: addresses (registry, layout, archive), opened as repositories in one way.
//! - `removal`: deletion steps as data, executed safely and audited.
//! - `transfer`: moves one image: graph walk, blob dedupe and mount, streaming, resume.
//! - `registry`: one registry over HTTP: authentication, request pipeline, uploads, vendors.
//! - `delete`: deletes one tag or manifest, and nothing else.
//! - `layout`: an OCI image layout on disk, behind the same interface as a registry.
//! - `state`: what is known and what was begun: a trait per purpose, and an embedded database.
//! - `events`: push notifications of registries, authenticated and parsed; pure.
//! - `secret`: secrets that the configuration names. `config`: TOML into validated types.
//! - `repository`: the interface of every place that holds images, its capabilities and errors.
//! - `metrics`: what is counted and measured, for Prometheus.
//! - `http`: HTTP to all that is no registry. `process`: programs of the user's, run within bounds.
//! - `schedule`: cron schedules and intervals, and the next time of each.
//! - `fair`: limited resources, shared between flows of work in turn. `stop`: stop signals.
//! - `hashing`: large contents, hashed on other cores. `blocking`: long work beside the runtime's
//!   workers. `single_flight`: one fetch for many callers. `trace`: spans.
//! - `pem`: files of certificates and keys.
//! - `oci`: pure data and rules: digests, references, addresses, manifests, tag selection.
//! - `text`: words of strangers, made inert; `redact`: without secrets.
#![forbid(unsafe_code)]
// All text for people comes out of `cli/lines.rs` and the log.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod alerts;
mod blocking;
pub mod check;
pub mod cleanup;
pub mod cli;
pub mod config;
pub mod copy;
pub mod daemon;
pub mod delete;
pub mod demo;
pub mod events;
pub mod fair;
mod hashing;
pub mod history;
pub mod http;
pub mod layout;
pub mod metrics;
pub mod oci;
mod pem;
pub mod process;
mod redact;
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

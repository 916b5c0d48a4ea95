//! The entrance of this room: transfers of images, and what all transfers of a process share.

use std::sync::Arc;

use tracing::Instrument;

use super::blobs::Blobs;
use super::events::TransferListener;
use super::graph::Graph;
use super::job::{Job, TransferOutcome};
use super::journal::UploadJournal;
use super::manifests::ManifestWriter;
use super::on_wire::BlobStatus;
use super::order::Delivery;
use super::presence::Presence;
use super::progress::TransferStatus;
use super::reading::{ManifestReader, manifest_memory};
use super::reporter::{ActiveTransfers, Reporter};
use super::retry::Pauses;
use super::stream::Streamer;
use super::totals::{FlowTotals, Tally, Totals, TransferTotals};
use crate::fair::{Flow, MemoryBudget, Pulses};
use crate::http::RetryPolicy;
use crate::repository::{Result, missing};
use crate::single_flight::KeyedLocks;
use crate::state::State;
use crate::trace;

/// Moves images. Holds what transfers must know of each other, so that every blob goes over the
/// wire once.
#[derive(Debug)]
pub struct Carrier {
    state: State,
    blobs: Blobs,
    fallback_locks: KeyedLocks<String>,
    active: ActiveTransfers,
    totals: Arc<Totals>,
    flows: Arc<FlowTotals>,
    pulses: Pulses,
    memory: MemoryBudget,
}

impl Carrier {
    /// `jitter` gives random numbers from 0 to 1 that spread retries.
    pub fn new(state: State, policy: RetryPolicy, jitter: fn() -> f64) -> Self {
        let streamer = Streamer {
            journal: UploadJournal::new(state.clone()),
            pauses: Pauses { backoff: policy.backoff, jitter },
        };
        let (totals, flows) = (Arc::new(Totals::default()), Arc::new(FlowTotals::default()));
        let pulses = Pulses::default();
        Self {
            blobs: Blobs::new(Presence::new(state.blobs.clone()), streamer, pulses.clone()),
            fallback_locks: KeyedLocks::default(),
            active: ActiveTransfers::new(vec![totals.clone(), flows.clone()], pulses.clone()),
            totals,
            flows,
            pulses,
            memory: manifest_memory(),
            state,
        }
    }

    /// Lets a listener hear of every event of every transfer.
    pub fn with_listener(mut self, listener: Arc<dyn TransferListener>) -> Self {
        self.active.add_listener(listener);
        self
    }

    /// What was moved until now.
    pub fn totals(&self) -> TransferTotals {
        self.totals.read()
    }

    /// Counts from now on what this flow moves.
    pub fn tally(&self, flow: Flow) -> Tally {
        Tally::begin(&self.flows, flow)
    }

    /// The transfers under way, the oldest first.
    pub fn transfers(&self) -> Vec<TransferStatus> {
        self.active.list()
    }

    /// The blobs on the wire, the oldest first.
    pub fn blobs(&self) -> Vec<BlobStatus> {
        self.active.blobs.list()
    }

    /// The flows whose work is watched, in transfers and elsewhere.
    pub fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// The memory for manifests, of transfers and of whatever else reads them.
    pub fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Moves an image to all targets. Each target fails by itself; an error means that the
    /// source could not be read, so no target has anything new.
    pub async fn transfer(&self, job: &Job) -> Result<TransferOutcome> {
        let reporter = self.active.begin(job);
        let span = reporter.span();
        let result = self.carry_out(job, &reporter).instrument(span.clone()).await;
        record_outcome(&span, &result);
        result
    }

    async fn carry_out(&self, job: &Job, reporter: &Reporter<'_>) -> Result<TransferOutcome> {
        let (memory, alive) = (self.memory.begin(), || reporter.alive());
        let source = ManifestReader { repository: &*job.source, memory: &memory, alive: &alive };
        let found = source.read(&job.reference).await?;
        let Some(root) = found else {
            return Err(missing("read", &*job.source, &job.reference).await);
        };
        reporter.alive();
        // Here the root manifest is known and no blob has been asked for: whatever decides whether
        // an image may be copied at all (a check of its signatures) belongs here.
        let source_digest = root.digest.clone();
        let graph = Graph::gather(&source, root, &job.options).await?;
        let writer = ManifestWriter {
            blobs: &self.blobs,
            job,
            fallback_locks: &self.fallback_locks,
            memory: &memory,
        };
        Delivery::new(source, writer, reporter).run(source_digest, graph).await
    }
}

/// Writes how a transfer ended into its span.
fn record_outcome(span: &tracing::Span, result: &Result<TransferOutcome>) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            span.record("outcome", "failed");
            return trace::failed(span, error);
        }
    };
    let delivered = || outcome.targets.iter().flatten();
    let failed = outcome.targets.iter().find_map(|target| target.as_ref().err());
    let word = match failed {
        Some(_) => "failed",
        None if delivered().all(|delivered| delivered.unchanged) => "unchanged",
        None => "copied",
    };
    span.record("outcome", word);
    span.record("digest", tracing::field::display(&outcome.source_digest));
    span.record("bytes", delivered().map(|delivered| delivered.sent_bytes).sum::<u64>());
    if let Some(error) = failed {
        trace::failed(span, error);
    }
}

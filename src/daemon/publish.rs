//! What the scheduler knows, put on the board and into the metrics for everybody to see.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::Shared;
use super::agenda::Agenda;
use super::engine::Engine;
use super::queue::{Job, RunQueue};
use super::run;
use crate::config::RuleKind;

/// Publishes the queue, and when each rule is due.
pub(super) fn show(shared: &Shared, engine: &Engine, agenda: &Agenda, queue: &dyn RunQueue) {
    let metrics = &shared.parts.metrics;
    let queued: HashSet<&str> =
        queue.waiting().filter(|job| job.is_whole()).map(Job::rule).collect();
    let mut board = shared.board.look();
    board.alive = Instant::now();
    board.queued = queue.waiting().count();
    metrics.daemon().queue_length(board.queued);
    for (name, rule) in engine.core.named_rules() {
        let next_run = agenda.next(name);
        let shown = board.rule(name);
        shown.queued = queued.contains(&**name);
        if shown.next_run != next_run {
            shown.next_run = next_run;
            metrics.rule(name, rule.kind() == RuleKind::Cleanup).next_run(next_run);
        }
    }
}

/// Publishes how each rule's runs ended before this process.
pub(super) async fn remember(shared: &Shared, engine: &Engine) {
    let rules = engine.core.names().map(ToString::to_string).collect();
    let mut last = shared.parts.history.last_runs(rules).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "what ran before cannot be read");
        HashMap::new()
    });
    let mut board = shared.board.look();
    for (name, rule) in engine.core.named_rules() {
        let mark = shared.parts.state.marks.get(name).unwrap_or_default();
        let metrics = shared.parts.metrics.rule(name, rule.kind() == RuleKind::Cleanup);
        let shown = board.rule(name);
        shown.last_run = last.remove(&**name);
        shown.last_success = mark.last_success;
        shown.consecutive_failures = mark.consecutive_failures;
        let ended = shown.last_run.as_ref().and_then(|run| run.finished);
        metrics.remember(ended, mark.last_success, mark.consecutive_failures.into());
        shown.last_run.iter().for_each(|run| run::show_plan(&metrics, run));
    }
}

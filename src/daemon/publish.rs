//! What the scheduler knows, put on the board and into the metrics for everybody to see.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

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
    for (name, kind) in named(engine) {
        let next_run = agenda.next(name);
        let rule = board.rule(name);
        rule.queued = queued.contains(&**name);
        if rule.next_run != next_run {
            rule.next_run = next_run;
            metrics.rule(name, kind == RuleKind::Cleanup).next_run(next_run);
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
    for (name, kind) in named(engine) {
        let mark = shared.parts.state.marks.get(name).unwrap_or_default();
        let rule = board.rule(name);
        rule.last_run = last.remove(&**name);
        rule.last_success = mark.last_success;
        rule.consecutive_failures = mark.consecutive_failures;
        let metrics = shared.parts.metrics.rule(name, kind == RuleKind::Cleanup);
        let ended = rule.last_run.as_ref().and_then(|run| run.finished);
        metrics.remember(ended, mark.last_success, mark.consecutive_failures.into());
        rule.last_run.iter().for_each(|run| run::show_plan(&metrics, run));
    }
}

/// The rules with the shared copies of their names.
fn named(engine: &Engine) -> impl Iterator<Item = (&Arc<str>, RuleKind)> {
    let core = &engine.core;
    core.rules().filter_map(|rule| Some((core.name(rule.name())?, rule.kind())))
}

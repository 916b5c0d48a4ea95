//! Runs in which nothing moves, and people who are told of them.

use tokio::time::Instant;

use crate::alerts::Alert;
use crate::daemon::Shared;
use crate::daemon::engine::Engine;
use crate::daemon::movement::News;
use crate::daemon::queue::Job;
use crate::sync::Snapshot;

/// Who was told that the run is stuck hears that it has ended.
pub(super) fn end(shared: &Shared, job: &Job) {
    let mut board = shared.board.look();
    let news = board.active.get_mut(&job.id).and_then(|active| active.movement.end());
    if news.is_some() {
        board.engine.alerts.send(Alert::moves_again(job.rule(), shared.now()));
    }
}

/// Notices runs in which nothing has moved for too long, and that something does again.
pub(in crate::daemon) fn report_stalls(shared: &Shared, engine: &Engine) {
    let now = Instant::now();
    let limit = engine.core.config.daemon.stall_after;
    let transfers = shared.parts.carrier.transfers();
    let mut stalled = Vec::new();
    for (id, active) in &mut shared.board.look().active {
        let Snapshot { considered, counts, bytes } = active.progress.snapshot();
        let settled = considered + counts.settled();
        let own = || transfers.iter().filter(|transfer| transfer.id.flow == active.flow);
        // The sum of what images under way have sent falls when one is settled, which is movement.
        let sent: u64 = own().map(|transfer| transfer.bytes_sent).sum();
        let reading = (settled, bytes + sent, active.progress.pulse().beats());
        match active.movement.look(reading, now, limit) {
            Some(News::Stalled) => {
                let oldest = own().min_by_key(|transfer| transfer.last_progress);
                let image = oldest.and_then(|transfer| transfer.id.targets.first().cloned());
                stalled.push((active.begun.rule.clone(), id.clone(), image));
            }
            Some(News::Moves) => {
                engine.alerts.send(Alert::moves_again(&active.begun.rule, shared.now()));
            }
            None => {}
        }
    }
    for (rule, run, image) in stalled {
        let image = image.unwrap_or_else(|| format!("run {run}"));
        tracing::warn!(%rule, %run, image, after = ?limit, "nothing moves in this run");
        let why = format!("nothing has moved for {}", humantime::format_duration(limit));
        engine.alerts.send(Alert::stalled(&rule, &image, shared.now(), &why));
    }
}

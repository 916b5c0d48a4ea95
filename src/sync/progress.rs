//! What a run has done until now: it survives an interruption, and can be looked at meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::report::{Action, Counts, ImageReport, Removed, RuleReport, WhatBecame};
use super::{Keep, RunSpec};
use crate::fair::{self, Pulse};
use crate::repository::Failure;
use crate::stop::StopSignal;
use crate::text::counted;

/// How far a run has come, for observers.
#[derive(Debug, Default)]
pub struct RunProgress {
    now: Mutex<Snapshot>,
    pulse: Pulse,
    lists: Lists,
    ended: AtomicBool,
}

/// The lists from which the images of a run are known.
#[derive(Debug, Default)]
struct Lists {
    /// Which repositories there are is known.
    begun: AtomicBool,
    repositories: AtomicUsize,
    /// Of these, those whose tags are not known yet.
    unread: AtomicUsize,
}

/// A repository whose tags are not known until this is dropped.
#[derive(Debug)]
pub(super) struct Unread<'a>(&'a RunProgress);

/// A run at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Images that the rule selects, as far as lists were read, once for each target. Those that
    /// `counts` lacks are still to be looked at or under way.
    pub considered: usize,
    pub counts: Counts,
    /// Bytes of blobs sent to targets, of images that are settled.
    pub bytes: u64,
}

impl RunProgress {
    pub fn snapshot(&self) -> Snapshot {
        *self.now.lock()
    }

    /// The run has ended, and its outcome is about to be recorded.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Repositories of the source whose tags are known, and how many there are. `None`: that is not
    /// known yet.
    pub fn listed(&self) -> Option<(usize, usize)> {
        if !self.lists.begun.load(Ordering::Acquire) {
            return self.has_ended().then_some((0, 0));
        }
        let all = self.lists.repositories.load(Ordering::Relaxed);
        Some((all - self.lists.unread.load(Ordering::Acquire), all))
    }

    /// Signs of life: requests that were answered well, and waits for other runs that go on.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.now.lock());
    }
}

/// One run's own view of the same: its report as it grows. What is counted is in `live` only, until
/// the report is complete.
pub(super) struct Progress<'a> {
    report: Mutex<RuleReport>,
    /// The patterns that have matched no tag in any repository.
    idle: Mutex<Option<BTreeSet<String>>>,
    keep: Keep,
    live: &'a RunProgress,
    stop: &'a StopSignal,
    watch: &'a (dyn Fn(&ImageReport) + Sync),
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        self.0.lists.unread.fetch_sub(1, Ordering::Release);
    }
}

impl<'a> Progress<'a> {
    pub fn new(spec: &RunSpec<'a>) -> Self {
        Self {
            report: Mutex::new(RuleReport::new(&spec.rule.name, spec.mode)),
            idle: Mutex::default(),
            keep: spec.keep,
            live: spec.progress,
            stop: spec.stop,
            watch: spec.watch,
        }
    }

    pub fn image(&self, image: ImageReport) {
        (self.watch)(&image);
        self.live.change(|now| {
            now.counts.add(image.action);
            now.bytes += image.bytes;
        });
        self.change(|report| {
            let has_room = match self.keep {
                Keep::All => true,
                Keep::First(most) => report.images.len() < most,
                Keep::Failed(most) => image.action == Action::Failed && report.images.len() < most,
            };
            if has_room {
                report.images.push(image);
            }
        });
    }

    /// The repositories of the run are known. Each of them has a list to be read.
    pub fn repositories<T>(&self, repositories: Vec<T>) -> Vec<(T, Unread<'a>)> {
        self.change(|report| report.repositories = repositories.len());
        self.live.lists.repositories.store(repositories.len(), Ordering::Relaxed);
        self.live.lists.unread.store(repositories.len(), Ordering::Relaxed);
        self.live.lists.begun.store(true, Ordering::Release);
        repositories.into_iter().map(|repository| (repository, Unread(self.live))).collect()
    }

    /// So many images more are to be looked at.
    pub fn considered(&self, images: usize) {
        self.live.change(|now| now.considered += images);
    }

    /// So many of them are not there after all.
    pub fn withdrawn(&self, images: usize) {
        self.live.change(|now| now.considered -= images);
    }

    /// Images in step are counted, not listed: there may be very many.
    pub fn unchanged(&self, images: usize) {
        self.live.change(|now| now.counts.unchanged += images);
    }

    /// One of them was not looked at: the state has it, which was last true then (seconds since 1970).
    pub fn vouched(&self, since: u64) {
        self.change(|report| report.vouched.add(since));
    }

    /// The same for images that cleanup rules deleted and would delete again.
    pub fn withheld(&self, images: usize) {
        self.live.change(|now| now.counts.withheld += images);
    }

    /// What became of tags that are gone at the source.
    pub fn removed(&self, removed: Vec<Removed>) {
        let is_gone =
            |one: &&Removed| matches!(one.outcome, WhatBecame::Removed | WhatBecame::WouldRemove);
        let gone = removed.iter().filter(is_gone).count();
        self.live.change(|now| now.counts.removed += gone);
        self.change(|report| report.removed.extend(removed));
    }

    /// Nothing is removed in one repository. `limited`: because of the rule's limits.
    pub fn held_back(&self, failure: Failure, limited: bool) {
        self.change(|report| report.limited += usize::from(limited));
        self.failure(failure);
    }

    /// Patterns that match no tag in one of the repositories.
    pub fn idle_patterns(&self, here: BTreeSet<String>) {
        let mut idle = self.idle.lock();
        *idle = Some(match idle.take() {
            None => here,
            Some(before) => before.intersection(&here).cloned().collect(),
        });
    }

    pub fn note(&self, note: String) {
        self.change(|report| report.notes.push(note));
    }

    pub fn failure(&self, failure: Failure) {
        self.change(|report| report.failures.push(failure));
    }

    /// Waits for other runs, which is no standstill.
    pub async fn waiting<T>(&self, turn: impl Future<Output = T>) -> T {
        fair::waiting(turn, || self.beat()).await
    }

    /// Waits for others at this moment, which does not count as a stall.
    pub fn beat(&self) {
        self.live.pulse.beat();
    }

    /// Something was not begun, because the run is to stop.
    pub fn left_out(&self) {
        self.change(|report| report.interrupted = true);
    }

    pub fn change(&self, change: impl FnOnce(&mut RuleReport)) {
        change(&mut self.report.lock());
    }

    /// When nothing new may be begun.
    pub fn soon(&self) -> &CancellationToken {
        &self.stop.soon
    }

    /// The report, with its images by name.
    pub fn into_report(self) -> RuleReport {
        let mut report = self.report.into_inner();
        Snapshot { counts: report.counts, bytes: report.bytes, .. } = self.live.snapshot();
        ImageReport::sort(&mut report.images);
        report.removed.sort_by(|a, b| a.target.cmp(&b.target));
        // What could not be listed may have what they match.
        if report.failures.is_empty() && !report.interrupted {
            let idle = self.idle.into_inner().unwrap_or_default().into_iter();
            let note = |pattern| {
                format!(
                    "no tag at the source matches `{pattern}` of `include`: is it what was meant?"
                )
            };
            report.notes.extend(idle.map(note));
        }
        let Counts { copied, kept, withheld, failed, .. } = report.counts;
        let withheld = if report.dry_run { withheld } else { 0 };
        let left_out = (copied + kept + withheld + failed).saturating_sub(report.images.len());
        if let Keep::First(most) = self.keep
            && left_out > 0
        {
            let left_out = counted(left_out, "image", "images");
            report.notes.push(format!("not listed: {left_out} beyond the first {most}"));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_rule;
    use crate::fair::Flow;
    use crate::sync::{Mode, Scope};

    fn image(tag: &str, action: Action) -> ImageReport {
        ImageReport { bytes: 3, ..ImageReport::sample(tag, action) }
    }

    /// The report of a run that copies or fails to copy these in turns.
    fn report(keep: Keep, tags: &[&str]) -> (RuleReport, usize) {
        let seen = Mutex::new(0);
        let spec = RunSpec {
            rule: &sample_rule("a.io/app", "b.io/app", ""),
            mode: Mode::Apply,
            scope: &Scope::All,
            recheck: false,
            stop: &StopSignal::default(),
            flow: Flow::ALONE,
            progress: &RunProgress::default(),
            keep,
            watch: &|_| *seen.lock() += 1,
            remover: None,
        };
        let progress = Progress::new(&spec);
        for (at, tag) in tags.iter().enumerate() {
            let action = if at % 2 == 0 { Action::Copied } else { Action::Failed };
            progress.image(image(tag, action));
        }
        progress.unchanged(7);
        let report = progress.into_report();
        (report, *seen.lock())
    }

    #[test]
    fn a_list_is_unread_until_its_images_are_counted() {
        let live = RunProgress::default();
        let spec = RunSpec {
            rule: &sample_rule("a.io/app", "b.io/app", ""),
            mode: Mode::Apply,
            scope: &Scope::All,
            recheck: false,
            stop: &StopSignal::default(),
            flow: Flow::ALONE,
            progress: &live,
            keep: Keep::All,
            watch: &|_| {},
            remover: None,
        };
        let progress = Progress::new(&spec);
        assert_eq!(live.listed(), None);
        let mut unread = progress.repositories(vec!["a", "b"]);
        assert_eq!(live.listed(), Some((0, 2)));
        unread.pop();
        assert_eq!(live.listed(), Some((1, 2)));
        unread.pop();
        assert_eq!(live.listed(), Some((2, 2)));
        // One that fails before knows of none.
        let failed = RunProgress::default();
        failed.end();
        assert_eq!(failed.listed(), Some((0, 0)));
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_everything_is_counted_and_seen() {
        let tags = ["e", "d", "c", "b", "a", "0"];
        for (keep, expected, note) in [
            (Keep::All, vec!["0", "a", "b", "c", "d", "e"], None),
            (Keep::First(6), vec!["0", "a", "b", "c", "d", "e"], None),
            (Keep::First(2), vec!["d", "e"], Some("not listed: 4 images beyond the first 2")),
            (Keep::Failed(10), vec!["0", "b", "d"], None),
            (Keep::Failed(2), vec!["b", "d"], None),
        ] {
            let (report, seen) = report(keep, &tags);
            let kept =
                report.images.iter().filter_map(|image| image.source.strip_prefix("a.io/app:"));
            assert_eq!(kept.collect::<Vec<_>>(), expected, "{keep:?}");
            assert_eq!(
                report.counts,
                Counts { copied: 3, unchanged: 7, failed: 3, ..Counts::default() }
            );
            assert_eq!((report.bytes, seen), (18, 6));
            assert_eq!(report.notes.first().map(String::as_str), note);
        }
    }
}

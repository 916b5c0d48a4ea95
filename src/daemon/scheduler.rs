//! The loop that decides what is run: when a rule is due, when an event or a request asks for it.
//!
//! It fills the queue and has the executor begin what the queue lets through.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::affected::{affected, distinct};
use super::agenda::{self, Agenda, LONGEST_SLEEP};
use super::changes::Changes;
use super::engine::Engine;
use super::executor::Executor;
use super::inbox::{self, Batch, Inbox};
use super::news::Teller;
use super::pending::Pending;
use super::queue::{Job, Local, RunOptions, RunQueue, Work};
use super::refusal::RuleRefusal;
use super::run::{self, Ended, Failed};
use super::view::{Accepted, AcceptedState};
use super::{Shared, publish, systemd};
use crate::config::cleanup::Mode;
use crate::events::PushEvent;
use crate::history::{Cause, RunId};
use crate::oci::RegistryHost;
use crate::run::Rule;
use crate::state::RuleMark;

/// How often it is looked whether a run has stalled, while others wait for its room.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);
/// Requests that are obeyed before runs are begun again.
const COMMANDS_AT_ONCE: usize = 1_000;
/// How long the runs that were stopped hard may take to notice.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long notifications may take to be sent at the end. With the grace, the wait above and that
/// of the API it stays below the 30 seconds after which Kubernetes kills.
const ALERTS_WAIT: Duration = Duration::from_secs(3);

/// What the scheduler is asked to do; see [`Handle::ask`](super::Handle).
pub(super) type Command = Box<dyn FnOnce(&mut Scheduler) + Send>;

/// What became of pushes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    /// So many affect a rule.
    pub accepted: usize,
    /// It was noted in the state that a rule has events to look at, which was not so before.
    pub noted: bool,
}

pub(super) struct Scheduler {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    agenda: Agenda,
    inbox: Inbox,
    queue: Box<dyn RunQueue>,
    executor: Executor,
    pending: Pending,
    watchdog: Option<Duration>,
}

impl Scheduler {
    /// Takes up where the process before this one stopped.
    pub async fn new(shared: Arc<Shared>, engine: Arc<Engine>) -> Self {
        let now = shared.now();
        let known = &shared.parts.state.marks;
        let marks = engine
            .core
            .names()
            .filter_map(|name| Some((name.to_string(), to_agenda(&known.get(name)?)?)));
        let random = shared.parts.random;
        let agenda = Agenda::new(timings(&engine), &marks.collect(), now, Box::new(random));
        let mut scheduler = Self {
            engine,
            agenda,
            inbox: Inbox::new(inbox::Settings::default()),
            queue: Box::new(Local::default()),
            executor: Executor::new(Arc::clone(&shared)),
            pending: Pending::default(),
            watchdog: systemd::watchdog(),
            shared,
        };
        publish::remember(&scheduler.shared, &scheduler.engine).await;
        scheduler.adopted();
        scheduler
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        systemd::ready(self.engine.core.rules().count());
        let stop = self.shared.stop.clone();
        loop {
            self.look_around();
            let nap = self.nap();
            tokio::select! {
                biased;
                () = stop.soon.cancelled() => break,
                () = stop.now.cancelled() => break,
                Some((job, ended)) = self.executor.ended() => self.ended(&job, ended),
                Some(command) = commands.recv() => {
                    command(&mut self);
                    // A burst of events is one reason to look around, not thousands.
                    for _ in 0..COMMANDS_AT_ONCE {
                        let Ok(command) = commands.try_recv() else { break };
                        command(&mut self);
                    }
                }
                () = tokio::time::sleep(nap) => {}
            }
        }
        // Further commands are answered: the daemon is stopping.
        drop(commands);
        self.end().await;
    }

    /// Lets runs under way come to their end, for as long as there is grace.
    async fn end(mut self) {
        systemd::stopping();
        let grace = self.engine.core.config.daemon.grace;
        tracing::info!(
            runs = self.executor.len(),
            ?grace,
            "stopping: images and deletions under way come to their end"
        );
        let stop = self.shared.stop.clone();
        // Those that were due are missed by the next process; those that somebody asked for would
        // not be.
        let mut waiting = self.queue.withdraw(&mut |_| true);
        waiting.iter().for_each(|job| self.shared.followers.withdrawn(job));
        // What was to be done in another mode than the rule's is not made up for in the rule's own.
        let is_asked_for = |job: &Job| matches!(job.cause, Cause::Api | Cause::Command);
        waiting.retain(|job| is_asked_for(job) && job.options.mode.is_none());
        let drained = tokio::select! {
            () = stop.now.cancelled() => false,
            drained = tokio::time::timeout(grace, self.drain()) => drained.is_ok(),
        };
        if !drained {
            tracing::warn!("transfers in progress are interrupted; the next start resumes them");
            stop.now.cancel();
            // What does not notice now holds nothing that must not be lost.
            let _ = tokio::time::timeout(LAST_WAIT, self.drain()).await;
        }
        for job in waiting {
            self.shared.parts.state.marks.update(job.rule(), &mut |mark| mark.unfinished = true);
        }
        self.engine.alerts.stop(ALERTS_WAIT).await;
        self.shared.parts.state.storage.flush().await;
        tracing::info!("stopped");
    }

    async fn drain(&mut self) {
        while self.executor.len() > 0 {
            self.look_after();
            let doze = self.doze();
            tokio::select! {
                Some((job, ended)) = self.executor.ended() => self.ended(&job, ended),
                () = tokio::time::sleep(doze) => {}
            }
        }
    }

    /// Begins what is due and has room.
    fn look_around(&mut self) {
        for due in self.agenda.due(self.shared.now()) {
            let cause = match due.cause {
                agenda::Cause::Slot => Cause::Schedule,
                agenda::Cause::Missed | agenda::Cause::Interrupted => Cause::Missed,
                agenda::Cause::Start => Cause::Start,
            };
            self.enqueue(&due.rule, cause, RunOptions::default());
        }
        for batch in self.inbox.take(Instant::now()) {
            let (id, work) = (self.new_id(), Work::Events(batch));
            let options = RunOptions::default();
            self.queue.push(Job { id, cause: Cause::Event, work, options });
        }
        self.begin();
        self.look_after();
    }

    /// Notices what has stalled, and shows how everything is.
    fn look_after(&self) {
        run::report_stalls(&self.shared, &self.engine);
        self.show();
        systemd::alive(self.watchdog);
    }

    /// How long nothing is due.
    fn nap(&self) -> Duration {
        let now = self.shared.now();
        let due = self.agenda.wake().map(|wake| {
            // Negative when it is due already.
            Duration::try_from(wake.duration_since(now)).unwrap_or_default()
        });
        let event = self.inbox.next_ready().map(|at| at.saturating_duration_since(Instant::now()));
        // A run that stalls does not say so.
        let room = self.queue.is_full().then_some(LOOK_FOR_ROOM);
        [due, event, room].into_iter().flatten().fold(self.doze(), Duration::min)
    }

    /// How long nobody needs to look after what is under way.
    fn doze(&self) -> Duration {
        let watchdog = self.watchdog.map(|limit| limit / 3);
        let limit = self.engine.core.config.daemon.stall_after;
        let board = self.shared.board.look();
        let stalls = board.active.values().filter_map(|active| active.movement.due(limit));
        let stall = stalls.min().map(|at| at.saturating_duration_since(Instant::now()));
        // A run that has just begun is not on the board yet.
        let unseen = (board.active.len() < self.executor.len()).then_some(limit);
        [watchdog, stall, unseen].into_iter().flatten().fold(LONGEST_SLEEP, Duration::min)
    }

    /// Puts a whole rule into the queue, where it is only once; a run with other options is another
    /// one.
    fn enqueue(&mut self, rule: &Arc<str>, cause: Cause, options: RunOptions) -> RunId {
        let is_same =
            |job: &&Job| job.is_whole() && job.rule() == &**rule && job.options == options;
        if let Some(job) = self.queue.waiting().find(is_same) {
            return job.id.clone();
        }
        let id = self.new_id();
        self.queue.push(Job { id: id.clone(), cause, work: Work::Rule(Arc::clone(rule)), options });
        id
    }

    fn new_id(&self) -> RunId {
        let now = self.shared.now();
        let mut random = ((self.shared.parts.random)() * f64::from(u32::MAX)) as u32;
        loop {
            let id = RunId::new(now, random);
            // Many begin in the same second.
            let is_taken =
                self.queue.waiting().any(|job| job.id == id) || self.executor.is_running(&id);
            if !is_taken {
                return id;
            }
            random = random.wrapping_add(1);
        }
    }

    /// Has a rule run now, or after its present run. A follower is told what happens in the run.
    pub fn request(
        &mut self,
        rule: &str,
        options: RunOptions,
        follower: Option<Teller>,
    ) -> Result<Accepted, RuleRefusal> {
        let unknown = || RuleRefusal::Unknown(rule.to_owned());
        let core = &self.engine.core;
        let (name, found) = core.name(rule).zip(core.rule(rule)).ok_or_else(unknown)?;
        match found {
            Rule::Sync(_) if options.mode.is_some() => {
                return Err(RuleRefusal::NoCleanup(rule.to_owned()));
            }
            Rule::Cleanup(_) if options.recheck => {
                return Err(RuleRefusal::NoSync(rule.to_owned()));
            }
            Rule::Cleanup(found)
                if options.mode == Some(Mode::Apply) && found.repositories.is_sweeping() =>
            {
                return Err(RuleRefusal::Sweeping(rule.to_owned()));
            }
            _ => {}
        }
        let (name, kind) = (Arc::clone(name), found.kind());
        let run = self.enqueue(&name, options.asked_by.into(), options);
        if let Some(follower) = follower {
            self.shared.followers.add(&run, kind, follower);
        }
        self.begin();
        let started = self.executor.is_running(&run);
        let state = if started { AcceptedState::Started } else { AcceptedState::Queued };
        Ok(Accepted { run, state })
    }

    /// Stops a run, or takes it out of the queue.
    pub fn cancel(&mut self, run: &RunId) -> bool {
        let withdrawn = self.queue.withdraw(&mut |job| job.id == *run);
        for job in &withdrawn {
            self.agenda.skip(job.rule(), self.shared.now());
            self.keep_mark(job.rule());
            self.shared.followers.withdrawn(job);
        }
        !withdrawn.is_empty() || self.executor.cancel(run)
    }

    /// The same with all runs of a rule, which may be one that exists no more: those that stop.
    pub fn cancel_rule(&mut self, rule: &str) -> Result<Vec<RunId>, RuleRefusal> {
        let waiting = self.queue.waiting().filter(|job| job.is_whole() && job.rule() == rule);
        let waiting: Vec<RunId> = waiting.map(|job| job.id.clone()).collect();
        let mut runs: Vec<RunId> = self.executor.runs_of(rule).cloned().chain(waiting).collect();
        runs.retain(|run| self.cancel(run));
        match runs.is_empty() {
            false => Ok(runs),
            true if self.engine.core.rule(rule).is_none() => {
                Err(RuleRefusal::Unknown(rule.to_owned()))
            }
            true => Err(RuleRefusal::Idle(rule.to_owned())),
        }
    }

    /// Takes what was pushed to a registry.
    pub fn pushed(&mut self, registry: &RegistryHost, events: &[PushEvent]) -> Taken {
        let (now, arrived) = (Instant::now(), self.shared.now());
        let engine = Arc::clone(&self.engine);
        let mut taken = Taken::default();
        for (event, times, at) in distinct(events, arrived) {
            let mut accepted = false;
            for rule in engine.rules_of(registry, &event.repository) {
                if let Some(tag) = affected(rule, registry, event) {
                    self.inbox.push(now, &rule.name, &event.repository, tag, at);
                    accepted = true;
                    taken.noted |= self.note_pending(&rule.name);
                }
            }
            taken.accepted += if accepted { times } else { 0 };
        }
        taken
    }

    /// Uses another configuration from now on.
    pub fn adopt(&mut self, engine: Arc<Engine>) {
        let now = self.shared.now();
        let exists = |rule: &str| engine.core.rule(rule).is_some();
        for gone in self.queue.withdraw(&mut |job| !exists(job.rule())) {
            self.agenda.skip(gone.rule(), now);
            self.shared.followers.withdrawn(&gone);
        }
        self.agenda.replace(timings(&engine), now);
        // Batches in the queue are given back when their turn comes.
        let is_sync = |rule: &str| engine.core.is_sync(rule);
        self.inbox.keep_rules(is_sync);
        self.pending.keep_rules(is_sync);
        self.shared.lags.lock().keep_rules(is_sync);
        self.engine = engine;
        self.adopted();
        systemd::ready(self.engine.core.rules().count());
    }

    /// Shows and keeps what a new configuration means.
    fn adopted(&mut self) {
        let engine = &self.engine;
        let names: Vec<&str> = engine.core.rules().map(Rule::name).collect();
        self.shared.parts.state.marks.keep_only(&names);
        let metrics = &self.shared.parts.metrics;
        metrics.retain_rules(|rule| engine.core.rule(rule).is_some());
        engine.core.config.events.keys().for_each(|source| metrics.daemon().event_source(source));
        {
            let mut board = self.shared.board.look();
            board.engine = Arc::clone(engine);
            board.rules.retain(|rule, _| engine.core.rule(rule).is_some());
        }
        // A rule that is never run has a mark too: what it misses from now on is missed.
        for name in engine.core.names() {
            self.keep_mark(name);
        }
        self.show();
    }

    /// Begins what the queue lets through.
    fn begin(&mut self) {
        self.queue.set_stalled(self.executor.stalled());
        while let Some(job) = self.queue.next() {
            match &job.work {
                Work::Rule(rule) => {
                    let rule = Arc::clone(rule);
                    let mark = self.shared.parts.state.marks.get(&rule).unwrap_or_default();
                    self.agenda.started(&rule, self.shared.now());
                    self.keep_mark(&rule);
                    self.executor.begin(&self.engine, job, run::unseen_since(&mark));
                }
                Work::Events(Batch { rule, ticket, changes, .. }) => {
                    // The rule may be gone by now, or its name may be a rule's of another kind.
                    let is_sync = self.engine.core.is_sync(rule);
                    // There is one run of the whole rule at a time.
                    let is_whole = matches!(changes, Changes::Rule { .. });
                    if is_sync && !is_whole {
                        self.executor.begin(&self.engine, job, None);
                        continue;
                    }
                    if is_sync {
                        self.run_whole(rule);
                    }
                    self.inbox.finished(*ticket, Instant::now());
                    self.queue.done(&job);
                }
            }
        }
    }

    /// Runs a whole rule because of events, if it still exists.
    fn run_whole(&mut self, rule: &str) {
        if let Some(rule) = self.engine.core.name(rule).map(Arc::clone) {
            self.enqueue(&rule, Cause::Event, RunOptions::default());
        }
    }

    fn ended(&mut self, job: &Job, ended: Ended) {
        let now = self.shared.now();
        self.queue.done(job);
        let rule = job.rule();
        let Ended { ending, failed } = ended;
        match (&job.work, failed) {
            (Work::Events(batch), Some(Failed::Part(failed))) => {
                self.events_failed(rule, batch.ticket, failed);
            }
            (Work::Events(batch), _) => {
                self.inbox.finished(batch.ticket, Instant::now());
                if batch.retry && self.pending.recovered(rule) {
                    self.run_whole(rule);
                }
                self.clear_pending(rule);
            }
            (Work::Rule(_), failed) => {
                self.agenda.finished(rule, now, ending);
                self.keep_mark(rule);
                if failed.is_none() {
                    self.clear_pending(rule);
                }
            }
        }
    }

    /// Notes that a rule has events to look at, in case this process does not come to it: their
    /// sender was told that they are taken care of. `true`: that is news.
    fn note_pending(&mut self, rule: &str) -> bool {
        let Some(rule) = self.engine.core.name(rule) else { return false };
        let is_news = self.pending.note(rule);
        if is_news {
            self.shared.parts.state.marks.update(rule, &mut |mark| mark.events_pending = true);
        }
        is_news
    }

    /// A run for events has failed at these changes: they are tried again after a pause.
    fn events_failed(&mut self, rule: &str, ticket: inbox::Ticket, failed: Changes) {
        let Some(rule) = self.engine.core.name(rule).map(Arc::clone) else {
            return self.inbox.finished(ticket, Instant::now());
        };
        let (pause, notify) = self.pending.failed(&rule);
        let now = Instant::now();
        self.inbox.failed(ticket, now, failed, now + pause);
        if notify {
            // It fails as well, most likely, and people are notified of that.
            self.enqueue(&rule, Cause::Event, RunOptions::default());
        }
    }

    /// Notes that a rule has no events to look at any more, if that is so.
    fn clear_pending(&mut self, rule: &str) {
        let mut waiting = self.queue.waiting();
        if waiting.any(|job| job.is_whole() && job.rule() == rule) || !self.inbox.is_done_with(rule)
        {
            return;
        }
        self.pending.done(rule);
        let marks = &self.shared.parts.state.marks;
        if marks.get(rule).is_some_and(|mark| mark.events_pending) {
            marks.update(rule, &mut |mark| mark.events_pending = false);
        }
    }

    /// Keeps when the rule is due next, for the process after this one.
    fn keep_mark(&self, rule: &str) {
        let Some(agenda::Mark { handled, started, unfinished }) = self.agenda.mark(rule) else {
            return;
        };
        self.shared.parts.state.marks.update(rule, &mut |mark| {
            mark.last_slot = Some(handled);
            mark.last_start = started;
            mark.unfinished = unfinished;
        });
    }

    fn show(&self) {
        publish::show(&self.shared, &self.engine, &self.agenda, &*self.queue);
    }
}

fn timings(engine: &Engine) -> impl Iterator<Item = (Arc<str>, Option<crate::schedule::Timing>)> {
    let rules = engine.core.named_rules();
    rules.map(|(name, rule)| (Arc::clone(name), rule.timing().cloned()))
}

/// What the agenda wants to know, of a rule that was on it before.
fn to_agenda(mark: &RuleMark) -> Option<agenda::Mark> {
    Some(agenda::Mark {
        handled: mark.last_slot?,
        started: mark.last_start,
        // What events told of is not known any more, but somewhere in the rule.
        unfinished: mark.unfinished || mark.events_pending,
    })
}

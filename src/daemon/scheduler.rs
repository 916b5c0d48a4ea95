//! The loop that begins runs: when they are due, when an event asks for them, when somebody does.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::agenda::{self, Agenda, LONGEST_SLEEP};
use super::concern::{Told, concern, each_once};
use super::engine::Engine;
use super::inbox::{self, Inbox, Ready};
use super::pending::Pending;
use super::rule::Rule;
use super::run::{self, Ended, Failed, Job};
use super::view::{Accepted, AcceptedState};
use super::wanted::Wanted;
use super::{Shared, systemd};
use crate::config::RuleKind;
use crate::events::PushEvent;
use crate::fair::Flow;
use crate::history::{Cause, RunId};
use crate::oci::RegistryHost;
use crate::state::RuleMark;
use crate::stop::StopSignal;

/// Whole rules under way at once. What bounds the work is the limits of transfers and registries,
/// which all share fairly; this bounds the lists of tags that are held in memory.
const WHOLE_RUNS: usize = 64;
/// Runs for events under way at once, beside those: a push does not wait for a migration.
const EVENT_RUNS: usize = 64;
/// Requests that are obeyed before runs are begun again.
const COMMANDS_AT_ONCE: usize = 1_000;
/// How long the runs that were stopped hard may take to notice.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long notifications may take to be sent at the end. With the grace, the wait above and that
/// of the API it stays below the 30 seconds after which Kubernetes kills.
const ALERTS_WAIT: Duration = Duration::from_secs(3);

/// What the scheduler is asked for.
pub(super) enum Command {
    Run {
        rule: String,
        reply: oneshot::Sender<Option<Accepted>>,
    },
    Cancel {
        run: RunId,
        reply: oneshot::Sender<bool>,
    },
    /// What was pushed to a registry.
    Pushed {
        registry: RegistryHost,
        events: Vec<PushEvent>,
        reply: oneshot::Sender<Taken>,
    },
    Adopt {
        engine: Arc<Engine>,
        reply: oneshot::Sender<()>,
    },
}

/// What became of pushes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    /// So many concern a rule.
    pub accepted: usize,
    /// It was noted in the state that a rule has events to look at, which was not so before.
    pub noted: bool,
}

/// A whole rule that waits for its run.
struct Waiting {
    rule: Arc<str>,
    id: RunId,
    cause: Cause,
}

/// A run under way, as far as the scheduler has to do with its end.
struct Running {
    rule: Arc<str>,
    id: RunId,
    /// `None`: a whole rule.
    events: Option<Events>,
}

/// A run for events.
#[derive(Clone, Copy)]
struct Events {
    ticket: inbox::Ticket,
    /// They were looked at before, without success.
    again: bool,
}

pub(super) struct Scheduler {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    agenda: Agenda,
    inbox: Inbox,
    waiting: VecDeque<Waiting>,
    ready: VecDeque<Ready>,
    runs: JoinSet<Ended>,
    running: HashMap<Id, Running>,
    next_flow: u64,
    pending: Pending,
    watchdog: Option<Duration>,
}

impl Scheduler {
    /// Takes up where the process before this one stopped.
    pub async fn new(shared: Arc<Shared>, engine: Arc<Engine>) -> Self {
        let now = shared.now();
        let known = &shared.parts.state.marks;
        let marks = engine
            .names()
            .filter_map(|name| Some((name.to_string(), to_agenda(&known.get(name)?)?)));
        let random = shared.parts.random;
        let agenda = Agenda::new(timings(&engine), &marks.collect(), now, Box::new(random));
        let mut scheduler = Self {
            engine,
            agenda,
            inbox: Inbox::new(inbox::Settings::default()),
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            runs: JoinSet::new(),
            running: HashMap::new(),
            next_flow: 1,
            pending: Pending::default(),
            watchdog: systemd::watchdog(),
            shared,
        };
        scheduler.remember().await;
        scheduler.adopted();
        scheduler
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        systemd::ready(self.engine.rules().count());
        let stop = self.shared.stop.clone();
        loop {
            self.look_around();
            let nap = self.nap();
            tokio::select! {
                biased;
                () = stop.soon.cancelled() => break,
                () = stop.now.cancelled() => break,
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                Some(command) = commands.recv() => {
                    self.obey(command);
                    // A burst of events is one reason to look around, not thousands.
                    for _ in 0..COMMANDS_AT_ONCE {
                        let Ok(command) = commands.try_recv() else { break };
                        self.obey(command);
                    }
                }
                () = tokio::time::sleep(nap) => {}
            }
        }
        // Whoever asks for something now is told that it is too late.
        drop(commands);
        self.end().await;
    }

    /// Lets runs under way come to their end, for as long as there is grace.
    async fn end(mut self) {
        systemd::stopping();
        let grace = self.engine.config.daemon.grace;
        tracing::info!(
            runs = self.runs.len(),
            ?grace,
            "stopping: images and deletions under way come to their end"
        );
        let stop = self.shared.stop.clone();
        // Those that were due are missed by the next process; those that somebody asked for would
        // not be.
        let asked_for: Vec<_> = std::mem::take(&mut self.waiting)
            .into_iter()
            .filter(|waiting| waiting.cause == Cause::Api)
            .collect();
        let drained = tokio::select! {
            () = stop.now.cancelled() => false,
            drained = tokio::time::timeout(grace, self.drain()) => drained.is_ok(),
        };
        if !drained {
            tracing::warn!("images under way are cut off; the next start goes on with them");
            stop.now.cancel();
            // What does not notice now holds nothing that must not be lost.
            let _ = tokio::time::timeout(LAST_WAIT, self.drain()).await;
        }
        for waiting in asked_for {
            self.shared.parts.state.marks.update(&waiting.rule, &mut |mark| mark.unfinished = true);
        }
        self.engine.alerts.stop(ALERTS_WAIT).await;
        self.shared.parts.state.storage.flush().await;
        tracing::info!("stopped");
    }

    async fn drain(&mut self) {
        while !self.runs.is_empty() {
            self.look_after();
            let doze = self.doze();
            tokio::select! {
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep(doze) => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        // Who asked may be gone, which changes nothing.
        match command {
            Command::Run { rule, reply } => _ = reply.send(self.request(&rule)),
            Command::Cancel { run, reply } => _ = reply.send(self.cancel(&run)),
            Command::Pushed { registry, events, reply } => {
                _ = reply.send(self.pushed(&registry, &events));
            }
            Command::Adopt { engine, reply } => {
                self.adopt(engine);
                _ = reply.send(());
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
            self.enqueue(&due.rule, cause);
        }
        self.ready.extend(self.inbox.take(Instant::now()));
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
        [due, event].into_iter().flatten().fold(self.doze(), Duration::min)
    }

    /// How long nobody needs to look after what is under way.
    fn doze(&self) -> Duration {
        let watchdog = self.watchdog.map(|limit| limit / 3);
        let limit = self.engine.config.daemon.stall_after;
        let board = self.shared.board.look();
        let stalls = board.active.values().filter_map(|active| active.movement.due(limit));
        let stall = stalls.min().map(|at| at.saturating_duration_since(Instant::now()));
        // A run that has just begun is not on the board yet.
        let unseen = (board.active.len() < self.running.len()).then_some(limit);
        [watchdog, stall, unseen].into_iter().flatten().fold(LONGEST_SLEEP, Duration::min)
    }

    /// Puts a whole rule into the queue, where it is only once.
    fn enqueue(&mut self, rule: &Arc<str>, cause: Cause) -> RunId {
        if let Some(waiting) = self.waiting.iter().find(|waiting| waiting.rule == *rule) {
            return waiting.id.clone();
        }
        let id = self.new_id();
        self.waiting.push_back(Waiting { rule: Arc::clone(rule), id: id.clone(), cause });
        id
    }

    fn new_id(&self) -> RunId {
        let now = self.shared.now();
        let mut random = ((self.shared.parts.random)() * f64::from(u32::MAX)) as u32;
        loop {
            let id = RunId::new(now, random);
            // Many begin in the same second.
            let is_taken = self.waiting.iter().any(|waiting| waiting.id == id)
                || self.running.values().any(|running| running.id == id);
            if !is_taken {
                return id;
            }
            random = random.wrapping_add(1);
        }
    }

    fn request(&mut self, rule: &str) -> Option<Accepted> {
        let rule = Arc::clone(self.engine.name(rule)?);
        let run = self.enqueue(&rule, Cause::Api);
        self.begin();
        let started = self.running.values().any(|running| running.id == run);
        let state = if started { AcceptedState::Started } else { AcceptedState::Queued };
        Some(Accepted { run, state })
    }

    /// Stops a run, or takes it out of the queue.
    fn cancel(&mut self, run: &RunId) -> bool {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.id == *run) {
            if let Some(Waiting { rule, .. }) = self.waiting.remove(at) {
                self.agenda.skip(&rule, self.shared.now());
                self.keep_mark(&rule);
            }
            return true;
        }
        match self.shared.board.look().active.get(run) {
            Some(active) => {
                match active.kind {
                    RuleKind::Sync => active.stop.now.cancel(),
                    // What is being deleted comes to its end, and is known to have.
                    RuleKind::Cleanup => active.stop.soon.cancel(),
                }
                true
            }
            None => false,
        }
    }

    fn pushed(&mut self, registry: &RegistryHost, events: &[PushEvent]) -> Taken {
        let (now, arrived) = (Instant::now(), self.shared.now());
        let engine = Arc::clone(&self.engine);
        let mut taken = Taken::default();
        for Told { event, times, at } in each_once(events, arrived) {
            let mut wanted = false;
            for rule in engine.rules_of(registry, &event.repository) {
                if let Some(concern) = concern(rule, registry, event) {
                    self.inbox.push(now, &rule.name, &event.repository, concern, at);
                    wanted = true;
                    taken.noted |= self.note_pending(&rule.name);
                }
            }
            taken.accepted += if wanted { times } else { 0 };
        }
        taken
    }

    fn adopt(&mut self, engine: Arc<Engine>) {
        let now = self.shared.now();
        let exists = |rule: &str| engine.rule(rule).is_some();
        self.waiting.iter().filter(|waiting| !exists(&waiting.rule)).for_each(|gone| {
            self.agenda.skip(&gone.rule, now);
        });
        self.waiting.retain(|waiting| exists(&waiting.rule));
        self.agenda.replace(timings(&engine), now);
        // What was taken out of it and waits for its run is given back when its turn comes.
        let is_sync = |rule: &str| engine.is_sync(rule);
        self.inbox.keep_rules(is_sync);
        self.pending.keep_rules(is_sync);
        self.shared.lags().keep_rules(is_sync);
        self.engine = engine;
        self.adopted();
        systemd::ready(self.engine.rules().count());
    }

    /// Shows and keeps what a new configuration means.
    fn adopted(&mut self) {
        let engine = &self.engine;
        let names: Vec<&str> = engine.rules().map(Rule::name).collect();
        self.shared.parts.state.marks.keep_only(&names);
        let metrics = &self.shared.parts.metrics;
        metrics.retain_rules(|rule| engine.rule(rule).is_some());
        engine.config.events.keys().for_each(|source| metrics.daemon().event_source(source));
        {
            let mut board = self.shared.board.look();
            board.engine = Arc::clone(engine);
            board.rules.retain(|rule, _| engine.rule(rule).is_some());
        }
        // A rule that is never run has a mark too: what it misses from now on is missed.
        for name in engine.names() {
            self.keep_mark(name);
        }
        self.show();
    }

    /// Begins as many runs as have room.
    fn begin(&mut self) {
        let whole = self.running.values().filter(|running| running.events.is_none()).count();
        let mut room = WHOLE_RUNS.saturating_sub(whole);
        let mut at = 0;
        while room > 0 && at < self.waiting.len() {
            if self.is_running(&self.waiting[at].rule) {
                at += 1;
                continue;
            }
            if let Some(waiting) = self.waiting.remove(at) {
                self.begin_whole(waiting);
                room -= 1;
            }
        }
        let mut room = EVENT_RUNS.saturating_sub(self.running.len() - whole);
        while room > 0
            && let Some(ready) = self.ready.pop_front()
        {
            self.begin_for_events(ready);
            room -= 1;
        }
    }

    /// Whether the whole rule is under way.
    fn is_running(&self, rule: &str) -> bool {
        self.running.values().any(|running| running.events.is_none() && *running.rule == *rule)
    }

    fn begin_whole(&mut self, waiting: Waiting) {
        let Waiting { rule, id, cause } = waiting;
        let now = self.shared.now();
        let mark = self.shared.parts.state.marks.get(&rule).unwrap_or_default();
        self.agenda.started(&rule, now);
        self.keep_mark(&rule);
        let job = Job::whole(id, Arc::clone(&rule), cause, &mark);
        self.spawn(job, None);
    }

    fn begin_for_events(&mut self, ready: Ready) {
        let Ready { ticket, rule, wanted, again } = ready;
        // Its name may be a rule's of another kind by now.
        let name = self.engine.name(&rule).filter(|rule| self.engine.is_sync(rule));
        let Some(rule) = name.map(Arc::clone) else {
            return self.inbox.finished(ticket, Instant::now());
        };
        if matches!(wanted, Wanted::Rule { .. }) {
            // That is what a run of the whole rule is for, of which there is one at a time.
            self.enqueue(&rule, Cause::Event);
            return self.inbox.finished(ticket, Instant::now());
        }
        let job = Job::for_events(self.new_id(), rule, wanted);
        self.spawn(job, Some(Events { ticket, again }));
    }

    fn spawn(&mut self, job: Job, events: Option<Events>) {
        let flow = Flow::new(self.next_flow);
        self.next_flow += 1;
        let stop = StopSignal {
            soon: self.shared.stop.soon.child_token(),
            now: self.shared.stop.now.child_token(),
        };
        let running = Running { rule: Arc::clone(&job.rule), id: job.id.clone(), events };
        let carried =
            run::carry_out(Arc::clone(&self.shared), Arc::clone(&self.engine), job, flow, stop);
        self.running.insert(self.runs.spawn(carried).id(), running);
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let now = self.shared.now();
        let (id, ended) = ended.unwrap_or_else(|error| (error.id(), Ended::in_a_panic()));
        let Some(Running { rule, id, events }) = self.running.remove(&id) else { return };
        if let Some(mut active) = self.shared.board.look().active.remove(&id) {
            // It has been, unless the run was cut off.
            run::count(&mut active);
        }
        let Ended { ending, failed } = ended;
        match (events, failed) {
            (Some(Events { ticket, .. }), Some(Failed::Part(failed))) => {
                self.events_failed(&rule, ticket, failed);
            }
            (Some(Events { ticket, again }), _) => {
                self.inbox.finished(ticket, Instant::now());
                if again && self.pending.recovered(&rule) {
                    self.enqueue(&rule, Cause::Event);
                }
                self.clear_pending(&rule);
            }
            (None, failed) => {
                self.agenda.finished(&rule, now, ending);
                self.keep_mark(&rule);
                if failed.is_none() {
                    self.clear_pending(&rule);
                }
            }
        }
    }

    /// Notes that a rule has events to look at, for the case that this process does not come to
    /// it: whoever sent them was told that they are taken care of. `true`: that is news.
    fn note_pending(&mut self, rule: &str) -> bool {
        let Some(rule) = self.engine.name(rule) else { return false };
        let is_news = self.pending.note(rule);
        if is_news {
            self.shared.parts.state.marks.update(rule, &mut |mark| mark.events_pending = true);
        }
        is_news
    }

    /// What events told of could not be done: again in a while.
    fn events_failed(&mut self, rule: &Arc<str>, ticket: inbox::Ticket, failed: Wanted) {
        let (pause, tell) = self.pending.failed(rule);
        let now = Instant::now();
        self.inbox.failed(ticket, now, failed, now + pause);
        if tell {
            // It fails as well, most likely, but people are told of that.
            self.enqueue(rule, Cause::Event);
        }
    }

    /// Notes that a rule has no events to look at any more, if that is so.
    fn clear_pending(&mut self, rule: &str) {
        let waits = self.waiting.iter().any(|waiting| *waiting.rule == *rule);
        if waits || !self.inbox.is_done_with(rule) {
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

    /// Puts on the board what the scheduler knows.
    fn show(&self) {
        let metrics = &self.shared.parts.metrics;
        let mut board = self.shared.board.look();
        board.alive = Instant::now();
        board.queued = self.waiting.len() + self.ready.len();
        metrics.daemon().queue_length(board.queued);
        let queued: std::collections::HashSet<&Arc<str>> =
            self.waiting.iter().map(|waiting| &waiting.rule).collect();
        for (name, kind) in named(&self.engine) {
            let next_run = self.agenda.next(name);
            let rule = board.rule(name);
            rule.queued = queued.contains(name);
            if rule.next_run != next_run {
                rule.next_run = next_run;
                metrics.rule(name, kind == RuleKind::Cleanup).next_run(next_run);
            }
        }
    }

    /// Reads how each rule fared before this process.
    async fn remember(&mut self) {
        let rules = self.engine.names().map(ToString::to_string).collect();
        let mut last = self.shared.parts.history.last_runs(rules).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what ran before cannot be read");
            HashMap::new()
        });
        let mut board = self.shared.board.look();
        for (name, kind) in named(&self.engine) {
            let mark = self.shared.parts.state.marks.get(name).unwrap_or_default();
            let rule = board.rule(name);
            rule.last_run = last.remove(&**name);
            rule.last_success = mark.last_success;
            rule.consecutive_failures = mark.consecutive_failures;
            let metrics = self.shared.parts.metrics.rule(name, kind == RuleKind::Cleanup);
            let ended = rule.last_run.as_ref().and_then(|run| run.finished);
            metrics.remember(ended, mark.last_success, mark.consecutive_failures.into());
            rule.last_run.iter().for_each(|run| run::show_plan(&metrics, run));
        }
    }
}

fn timings(engine: &Engine) -> impl Iterator<Item = (Arc<str>, Option<crate::schedule::Timing>)> {
    engine
        .rules()
        .filter_map(|rule| Some((Arc::clone(engine.name(rule.name())?), rule.timing().cloned())))
}

/// The rules with their names as everybody shares them.
fn named(engine: &Engine) -> impl Iterator<Item = (&Arc<str>, RuleKind)> {
    engine.rules().filter_map(|rule| Some((engine.name(rule.name())?, rule.kind())))
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

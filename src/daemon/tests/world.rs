//! A daemon whose time, runs and state are the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cleanup::{Cleaner, CleanupReport, CleanupSpec, RepositoryReport};
use crate::config::{self, cleanup};
use crate::daemon::view::{Accepted, RuleStatus};
use crate::daemon::{Daemon, Handle, Parts, RunOptions, Watch};
use crate::history::History;
use crate::http::RetryPolicy;
use crate::metrics::Metrics;
use crate::removal::Audit;
use crate::repository::Failure;
use crate::run::{Clock, Runner};
use crate::secret::Environment;
use crate::state::{RuleMark, State};
use crate::stop::StopSignal;
use crate::sync::{Mode, RuleReport, RunSpec, Syncer};
use crate::transfer::Carrier;

/// Shows tokio's time, which passes when nothing else happens, from a moment that can be moved.
pub struct Hands {
    begun: Instant,
    at: Mutex<Timestamp>,
}

impl Hands {
    /// Somebody sets the clock, or the machine was asleep.
    pub fn jump(&self, by: SignedDuration) {
        let mut at = self.at.lock();
        *at += by;
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.begun.elapsed()).unwrap();
        *self.at.lock() + passed
    }
}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// It succeeds after so long. Told to stop, it ends early.
    Takes(Duration),
    /// The source is down.
    Unreachable,
    /// It goes on until it is cut off.
    Hangs,
    /// The same, as a run whose registry does not answer: it is watched, and makes no progress.
    Stalls,
    Panics,
}

/// What the runs did.
#[derive(Default)]
pub struct Runs {
    way: Mutex<Option<Way>>,
    log: Mutex<Vec<(String, Timestamp)>>,
    running: Mutex<BTreeSet<String>>,
    modes: Mutex<BTreeMap<String, cleanup::Mode>>,
    rechecks: Mutex<BTreeMap<String, bool>>,
    cleaned: Mutex<Vec<RepositoryReport>>,
    most: Mutex<usize>,
}

impl Runs {
    pub fn go(&self, way: Way) {
        *self.way.lock() = Some(way);
    }

    /// What cleanup rules report of their repositories from now on.
    pub fn clean(&self, repositories: &[RepositoryReport]) {
        *self.cleaned.lock() = repositories.to_vec();
    }

    /// In which mode a cleanup rule was last run.
    pub fn mode(&self, rule: &str) -> cleanup::Mode {
        self.modes.lock()[rule]
    }

    /// Whether the last run of a sync rule asked the targets about everything.
    pub fn rechecks(&self, rule: &str) -> bool {
        self.rechecks.lock()[rule]
    }

    /// When runs began, of all rules.
    pub fn begun(&self) -> Vec<Timestamp> {
        self.log.lock().iter().map(|(_, at)| *at).collect()
    }

    /// How many runs each rule had that had any.
    pub fn by_rule(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (rule, _) in &*self.log.lock() {
            *counts.entry(rule.clone()).or_default() += 1;
        }
        counts
    }

    /// The longest time between two runs of a rule, or between its last one and the last of all.
    pub fn longest_pause(&self) -> Duration {
        let log = self.log.lock();
        let (mut last, mut longest) = (BTreeMap::new(), SignedDuration::ZERO);
        for (rule, at) in &*log {
            if let Some(before) = last.insert(rule, *at) {
                longest = longest.max(at.duration_since(before));
            }
        }
        let end = log.last().unwrap().1;
        let since = last.values().map(|at| end.duration_since(*at));
        since.fold(longest, SignedDuration::max).unsigned_abs()
    }

    /// The most that were under way at once.
    pub fn most(&self) -> usize {
        *self.most.lock()
    }

    fn begin(&self, rule: &str, at: Timestamp) {
        self.log.lock().push((rule.to_owned(), at));
        let mut running = self.running.lock();
        assert!(running.insert(rule.to_owned()), "{rule} overlaps itself");
        let mut most = self.most.lock();
        *most = running.len().max(*most);
    }
}

struct Puppet {
    runs: Arc<Runs>,
    clock: Arc<Hands>,
}

/// How a puppet's run ended.
enum Played {
    ToItsEnd,
    Interrupted,
    Unreachable,
}

impl Puppet {
    async fn play(&self, name: &str, stop: &StopSignal) -> Played {
        self.runs.begin(name, self.clock.now());
        let way = self.runs.way.lock().unwrap_or(Way::Takes(Duration::from_secs(1)));
        let played = match way {
            Way::Takes(time) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => Played::ToItsEnd,
                    () = stop.soon.cancelled() => Played::Interrupted,
                    () = stop.now.cancelled() => Played::Interrupted,
                }
            }
            Way::Unreachable => Played::Unreachable,
            Way::Hangs | Way::Stalls => {
                stop.now.cancelled().await;
                Played::Interrupted
            }
            Way::Panics => {
                self.runs.running.lock().remove(name);
                panic!("a fault of ours");
            }
        };
        self.runs.running.lock().remove(name);
        played
    }
}

fn refused_connection() -> Failure {
    Failure::new("list tags of", "the source", "connection refused".to_owned())
}

#[async_trait]
impl Runner for Puppet {
    async fn sync(&self, syncer: &Syncer, spec: RunSpec<'_>) -> RuleReport {
        self.runs.rechecks.lock().insert(spec.rule.name.clone(), spec.recheck);
        let stalls = matches!(*self.runs.way.lock(), Some(Way::Stalls));
        let pulses = syncer.carrier().pulses();
        let _watched = stalls.then(|| pulses.watch(spec.flow, spec.progress.pulse()));
        let mut report = RuleReport::new(&spec.rule.name, Mode::Apply);
        match self.play(&spec.rule.name, spec.stop).await {
            Played::ToItsEnd => report.counts.unchanged = 1,
            Played::Interrupted => report.interrupted = true,
            Played::Unreachable => report.failures.push(refused_connection()),
        }
        report
    }

    async fn clean(&self, _: &Cleaner, spec: CleanupSpec<'_>) -> CleanupReport {
        self.runs.modes.lock().insert(spec.rule.name.clone(), spec.mode);
        let mut report = CleanupReport::new(&spec.rule.name, spec.mode);
        match self.play(&spec.rule.name, spec.stop).await {
            Played::ToItsEnd => report.repositories = self.runs.cleaned.lock().clone(),
            Played::Interrupted => report.interrupted = true,
            Played::Unreachable => report.failures.push(refused_connection()),
        }
        report
    }
}

/// Everything that outlives a daemon, and the one that lives.
pub struct World {
    pub clock: Arc<Hands>,
    pub runs: Arc<Runs>,
    state: State,
    metrics: Metrics,
    audit: Audit,
    folder: TempDir,
    alive: Option<(Handle, StopSignal, JoinHandle<()>)>,
}

impl World {
    /// At this moment, with this configuration's rules; nothing runs yet.
    pub fn at(moment: &str, rules: &str) -> Self {
        let clock = Hands { begun: Instant::now(), at: Mutex::new(moment.parse().unwrap()) };
        let folder = TempDir::new().unwrap();
        let world = Self {
            clock: Arc::new(clock),
            runs: Arc::default(),
            state: State::in_memory(),
            metrics: Metrics::new(),
            audit: Audit::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap(),
            folder,
            alive: None,
        };
        world.configure(rules);
        world
    }

    /// The same, with the daemon started.
    pub async fn started(moment: &str, rules: &str) -> Self {
        let mut world = Self::at(moment, rules);
        world.start().await;
        world
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("tranship.toml")
    }

    /// Writes the configuration.
    pub fn configure(&self, rules: &str) {
        self.configure_with("", rules);
    }

    /// The same with further lines of `[daemon]`.
    pub fn configure_with(&self, daemon: &str, rules: &str) {
        let state = self.folder.path().display();
        let text = format!("[daemon]\nstate = \"{state}\"\n{daemon}\n{rules}");
        std::fs::write(self.file(), text).unwrap();
    }

    /// Writes a configuration that the daemon takes over.
    pub async fn reload(&self, rules: &str) {
        self.configure(rules);
        self.daemon().reload().await.unwrap();
    }

    /// Asks the daemon to run a rule.
    pub async fn ask(&self, rule: &str) -> Accepted {
        self.daemon().run_rule(rule, RunOptions::default()).await.unwrap()
    }

    /// Starts the daemon.
    pub async fn start(&mut self) {
        let nothing = |_: &str| None;
        let config = config::load(&self.file(), &nothing).unwrap();
        let parts = Parts {
            state: self.state.clone(),
            carrier: Arc::new(Carrier::new(self.state.clone(), RetryPolicy::default(), || 0.5)),
            metrics: self.metrics.clone(),
            history: History::nowhere(),
            audit: self.audit.clone(),
            environment: Environment::new(|_| None),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: || 0.5,
        };
        let runner = Puppet { runs: Arc::clone(&self.runs), clock: Arc::clone(&self.clock) };
        let stop = StopSignal::default();
        let watch = Watch::start(&self.file());
        let runner = Arc::new(runner);
        let mut daemon =
            Daemon::start_with(runner, config, watch, parts, stop.clone()).await.unwrap();
        let handle = daemon.handle().clone();
        let ended = tokio::spawn(async move { daemon.stopped().await.unwrap() });
        self.alive = Some((handle, stop, ended));
    }

    pub fn daemon(&self) -> &Handle {
        &self.alive.as_ref().unwrap().0
    }

    /// Tells the daemon to end, and waits until it has.
    pub async fn stop(&mut self) {
        let (_, stop, ended) = self.alive.take().unwrap();
        stop.soon.cancel();
        ended.await.unwrap();
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn rule(&self, name: &str) -> RuleStatus {
        self.daemon().rule(name).unwrap()
    }

    pub fn mark(&self, rule: &str) -> RuleMark {
        self.state.marks.get(rule).unwrap()
    }

    /// The sum of the samples that begin like this.
    pub fn metric(&self, begin: &str) -> f64 {
        let text = self.daemon().render_metrics().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(begin));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }
}

/// Lets so much time pass.
pub async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// A rule of this name with these lines.
pub fn rule(name: &str, lines: &str) -> String {
    format!(
        "[[sync]]\nname = \"{name}\"\n{lines}\n\
         source = \"source.test/{name}\"\ntarget = \"target.test/{name}\"\n"
    )
}

/// A cleanup rule of this name with these lines.
pub fn cleanup_rule(name: &str, lines: &str) -> String {
    format!(
        "[[cleanup]]\nname = \"{name}\"\n{lines}\nrepositories = [\"target.test/{name}\"]\n\
         delete = [{{ id = \"pr\", tags = [\"pr-*\"] }}]\n"
    )
}

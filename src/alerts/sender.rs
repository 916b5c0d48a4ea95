//! Sends alerts. Each receiver has a queue and a task of its own, so that nothing waits for a
//! webhook, and no webhook waits for another.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::alert::{Alert, Subject};
use super::decide::told;
use super::deliver::{deliver, name};
use crate::config::{AlertKind, Receiver, RulePattern};
use crate::http::{Backoff, RetryPolicy};
use crate::secret::Environment;
use crate::state::RuleMarks;
use crate::text::counted;

/// The most alerts that wait for a receiver; beyond that the oldest is dropped.
const QUEUE: usize = 64;

/// What became of an alert at one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// Not delivered, after all attempts.
    Failed,
    /// Dropped, because too many were waiting.
    Dropped,
}

/// Observes what becomes of alerts.
pub type Watch = dyn Fn(&Alert, Delivery) + Send + Sync;

/// What sending needs from outside.
#[derive(Clone)]
pub struct Context {
    /// What people were last told about each rule is noted here.
    pub marks: Arc<dyn RuleMarks>,
    pub environment: Environment,
    pub policy: RetryPolicy,
    /// Random numbers from 0 to 1 that spread retries.
    pub jitter: fn() -> f64,
    /// For one attempt as a whole.
    pub time_limit: Duration,
    /// The same news is not told again within this time.
    pub quiet: Duration,
    /// Called with what became of each alert at each receiver. Must not block.
    pub watch: Arc<Watch>,
}

impl Context {
    /// Eight tries within some minutes, and the same news every ten minutes at most.
    pub fn new(marks: Arc<dyn RuleMarks>, environment: Environment, jitter: fn() -> f64) -> Self {
        Self {
            marks,
            environment,
            policy: RetryPolicy {
                attempts: 8,
                backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(120)),
                patience: Duration::from_secs(600),
            },
            jitter,
            time_limit: Duration::from_secs(30),
            quiet: Duration::from_secs(600),
            watch: Arc::new(|_, _| {}),
        }
    }
}

/// How long the alerts that wait when a sender is dropped are still tried: about all attempts at a
/// webhook that is away for a moment.
const LAST_ATTEMPTS: Duration = Duration::from_secs(60);

/// Sends alerts to the receivers that want them. When a sender is dropped, for instance because the
/// receivers were reconfigured, the alerts that wait are still tried in the background for a while.
pub struct Sender {
    lanes: Vec<Arc<Lane>>,
    tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
    marks: Arc<dyn RuleMarks>,
    watch: Arc<Watch>,
}

/// One receiver and what waits for it.
struct Lane {
    receiver: Receiver,
    /// The receiver's name in the log.
    name: String,
    queue: Mutex<Queue>,
    /// Notified when the queue changes.
    changed: Notify,
}

type News = (AlertKind, Subject);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Alert>>,
    /// What is being delivered now.
    busy: Option<News>,
    /// When each piece of news was delivered last.
    delivered: HashMap<News, Instant>,
    /// No more alerts are accepted.
    closed: bool,
}

impl Sender {
    /// Starts a task for each receiver.
    pub fn start(receivers: Vec<Receiver>, context: &Context) -> Self {
        let lanes: Vec<_> =
            receivers.into_iter().map(|receiver| Arc::new(Lane::new(receiver))).collect();
        let run = |lane: &Arc<Lane>| {
            AbortOnDropHandle::new(tokio::spawn(run(Arc::clone(lane), context.clone())))
        };
        let tasks = Mutex::new(lanes.iter().map(run).collect());
        Self { lanes, tasks, marks: Arc::clone(&context.marks), watch: Arc::clone(&context.watch) }
    }

    /// Queues an alert for all receivers that want it and do not know it yet. Never waits.
    pub fn send(&self, alert: Alert) {
        if self.is_settled_by_silence(&alert) {
            return note(&*self.marks, &alert);
        }
        let alert = Arc::new(alert);
        for lane in self.lanes.iter().filter(|lane| lane.wants(alert.kind, &alert.subject)) {
            if let Some(dropped) = lane.queue.lock().push(Arc::clone(&alert)) {
                tracing::warn!(
                    "a notification was dropped, because too many wait for {}: {}",
                    lane.name,
                    dropped.summary
                );
                (self.watch)(&dropped, Delivery::Dropped);
            }
            lane.changed.notify_one();
        }
    }

    /// Whether no receiver wants this alert, and it counts as told nevertheless: else receivers that
    /// want only one kind would hear about a rule once, or never. Bad news that nobody wants is kept
    /// for receivers that are configured later, unless somebody wants to hear about its recovery.
    fn is_settled_by_silence(&self, alert: &Alert) -> bool {
        let is_wanted = |kind| self.lanes.iter().any(|lane| lane.wants(kind, &alert.subject));
        !is_wanted(alert.kind)
            && (alert.kind == AlertKind::Recovery || is_wanted(AlertKind::Recovery))
    }

    /// Sends the alerts that wait, within `grace`; then the rest is dropped.
    pub async fn stop(&self, grace: Duration) {
        let tasks = self.close();
        finish(&self.lanes, tasks, grace).await;
    }

    /// Accepts no more alerts. The tasks end when they have sent those that wait.
    fn close(&self) -> Vec<AbortOnDropHandle<()>> {
        for lane in &self.lanes {
            lane.queue.lock().closed = true;
            lane.changed.notify_one();
        }
        std::mem::take(&mut *self.tasks.lock())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let tasks = self.close();
        let lanes = std::mem::take(&mut self.lanes);
        // Without a runtime the tasks have ended already.
        if !tasks.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { finish(&lanes, tasks, LAST_ATTEMPTS).await });
        }
    }
}

/// Waits, within `grace`, for the tasks to send what is left.
async fn finish(lanes: &[Arc<Lane>], tasks: Vec<AbortOnDropHandle<()>>, grace: Duration) {
    let all = futures_util::future::join_all(tasks);
    if tokio::time::timeout(grace, all).await.is_err() {
        for lane in lanes {
            let queue = lane.queue.lock();
            let left = queue.waiting.len() + usize::from(queue.busy.is_some());
            if left > 0 {
                let left = counted(left, "notification", "notifications");
                tracing::warn!("not sent in time: {left} to {}", lane.name);
            }
        }
    }
}

impl Lane {
    fn new(receiver: Receiver) -> Self {
        let name = name(&receiver);
        Self { receiver, name, queue: Mutex::default(), changed: Notify::new() }
    }

    fn wants(&self, kind: AlertKind, subject: &Subject) -> bool {
        let is_of_rule = |rules: &Vec<RulePattern>| {
            subject.rule().is_some_and(|rule| rules.iter().any(|pattern| pattern.matches(rule)))
        };
        self.receiver.on.contains(&kind) && self.receiver.rules.as_ref().is_none_or(is_of_rule)
    }
}

impl Queue {
    /// Queues an alert, unless the same news is queued or known. Returns one that was dropped for it.
    fn push(&mut self, alert: Arc<Alert>) -> Option<Arc<Alert>> {
        let news = news(&alert);
        let is_known = self.busy.as_ref() == Some(&news)
            || self.waiting.iter().any(|waiting| news == self::news(waiting))
            || self.delivered.contains_key(&news);
        if is_known || self.closed {
            return None;
        }
        let dropped = if self.waiting.len() < QUEUE { None } else { self.waiting.pop_front() };
        self.waiting.push_back(alert);
        dropped
    }

    fn next(&mut self) -> Option<Arc<Alert>> {
        let alert = self.waiting.pop_front()?;
        self.busy = Some(news(&alert));
        Some(alert)
    }

    fn settled(&mut self, alert: &Alert, was_delivered: bool, now: Instant) {
        self.busy = None;
        if !was_delivered {
            return;
        }
        // A rule that alternates between success and failure would cause a flood of alerts, and
        // after each of its runs the state is compared again. Other subjects have no later
        // comparison, so each change is told.
        let opposite = match alert.kind {
            AlertKind::Failure => Some(AlertKind::Recovery),
            AlertKind::Recovery => Some(AlertKind::Failure),
            AlertKind::Safety => None,
        };
        if let Some(opposite) = opposite
            && !matches!(alert.subject, Subject::Rule(_))
        {
            self.delivered.remove(&(opposite, alert.subject.clone()));
        }
        self.delivered.insert(news(alert), now);
    }
}

fn news(alert: &Alert) -> News {
    (alert.kind, alert.subject.clone())
}

/// Delivers one alert after the other until the queue is closed and empty.
async fn run(lane: Arc<Lane>, context: Context) {
    loop {
        let changed = lane.changed.notified();
        let (next, closed, expires) = {
            let mut queue = lane.queue.lock();
            let now = Instant::now();
            queue.delivered.retain(|_, at| now.duration_since(*at) < context.quiet);
            let oldest = queue.delivered.values().min().copied();
            (queue.next(), queue.closed, oldest.map(|at| at + context.quiet))
        };
        match next {
            Some(alert) => {
                let was_delivered = persist(&lane, &alert, &context).await;
                if was_delivered {
                    note(&*context.marks, &alert);
                }
                lane.queue.lock().settled(&alert, was_delivered, Instant::now());
                let delivery = if was_delivered { Delivery::Delivered } else { Delivery::Failed };
                (context.watch)(&alert, delivery);
            }
            None if closed => return,
            // Deliveries are forgotten in time, so that the same news can be sent again.
            None => match expires {
                None => changed.await,
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
            },
        }
    }
}

/// Records what was announced of a rule.
fn note(marks: &dyn RuleMarks, alert: &Alert) {
    if let Subject::Rule(rule) = &alert.subject {
        marks.update(rule, &mut |mark| mark.announced = told(alert.kind));
    }
}

/// Tries until the alert is delivered or the policy gives up. Returns whether it was delivered.
async fn persist(lane: &Lane, alert: &Alert, context: &Context) -> bool {
    let mut attempt = 1;
    loop {
        let result = deliver(&lane.receiver, alert, &context.environment, context.time_limit).await;
        let Err(error) = result else { return true };
        let decide = |failure| context.policy.decide(attempt, failure, (context.jitter)());
        let (name, message, summary) = (&lane.name, &error.message, &alert.summary);
        let Some(wait) = error.failure.and_then(decide) else {
            tracing::warn!(
                "failed to notify {name} of this, after {attempt} tries: {summary}: {message}"
            );
            return false;
        };
        tracing::debug!("failed to notify {name}, trying again: {message}");
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

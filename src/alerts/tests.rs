//! What arrives at a receiver that fails in every way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::config::{Config, Receiver};
use crate::history::{Cause, RunId, RunOutcome, RunRecord, RunStart};
use crate::http::{Backoff, RetryPolicy};
use crate::secret::Environment;
use crate::state::{Announced, RuleMarks, State};

/// How the receiver answers one request.
#[derive(Clone)]
enum Answer {
    Status(u16),
    /// With this header besides.
    With(u16, &'static str, &'static str),
    Hang,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    seen: Vec<(HeaderMap, Value)>,
}

type Shared = Arc<Mutex<Script>>;

/// A webhook that answers 200 when its script is at its end.
struct Hook {
    script: Shared,
    port: u16,
    _server: AbortOnDropHandle<()>,
}

impl Hook {
    async fn start(answers: &[Answer]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = answers.iter().cloned().collect();
        let script: Shared = Arc::new(Mutex::new(Script { answers, seen: Vec::new() }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { script, port, _server: AbortOnDropHandle::new(server) }
    }

    fn bodies(&self) -> Vec<Value> {
        self.script.lock().seen.iter().map(|(_, body)| body.clone()).collect()
    }
}

async fn answer(Extract(script): Extract<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = {
        let mut script = script.lock();
        script.seen.push((headers, serde_json::from_slice(&body).unwrap()));
        script.answers.pop_front()
    };
    match answer {
        None => StatusCode::OK.into_response(),
        Some(Answer::Status(status)) => {
            (StatusCode::from_u16(status).unwrap(), "some words").into_response()
        }
        Some(Answer::With(status, name, value)) => {
            (StatusCode::from_u16(status).unwrap(), [(name, value)]).into_response()
        }
        Some(Answer::Hang) => std::future::pending().await,
    }
}

/// Receivers from their TOML, in which `URL` is the hook's address.
fn receivers(hook: &Hook, text: &str) -> Vec<Receiver> {
    let text = text.replace("URL", &format!("http://127.0.0.1:{}/hook", hook.port));
    let rule = |name: &str| {
        format!("[[sync]]\nname = \"{name}\"\nsource = \"alpine\"\ntarget = \"{name}.io/a\"\n")
    };
    let text = format!("[daemon]\nstate = \"/s\"\n{text}\n{}{}", rule("a"), rule("b"));
    let env = |name: &str| Some(name.to_owned());
    let config: Config = crate::config::parse(&text, "/tranship.toml".as_ref(), &env).unwrap();
    config.notify
}

struct Setup {
    sender: Sender,
    context: Context,
    marks: Arc<dyn RuleMarks>,
    outcomes: Arc<Mutex<Vec<(AlertKind, Delivery)>>>,
}

fn setup(receivers: Vec<Receiver>, change: impl FnOnce(&mut Context)) -> Setup {
    let outcomes: Arc<Mutex<Vec<_>>> = Arc::default();
    let seen = Arc::clone(&outcomes);
    let environment = Environment::new(|name| Some(format!("value of {name}").into()));
    let mut context = Context::new(State::in_memory().marks, environment, || 0.0);
    context.policy = RetryPolicy {
        attempts: 3,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_secs(15)),
        ..RetryPolicy::default()
    };
    context.time_limit = Duration::from_secs(20);
    context.quiet = Duration::ZERO;
    context.watch = Arc::new(move |alert, delivery| seen.lock().push((alert.kind, delivery)));
    change(&mut context);
    let marks = Arc::clone(&context.marks);
    Setup { sender: Sender::start(receivers, &context), context, marks, outcomes }
}

/// A receiver of everything, and a sender to it.
async fn one_receiver(answers: &[Answer]) -> (Hook, Setup) {
    let hook = Hook::start(answers).await;
    let setup = setup(receivers(&hook, PLAIN), |_| {});
    (hook, setup)
}

impl Setup {
    /// As the daemon does when a run ends.
    fn end_run(&self, rule: &str, outcome: RunOutcome) {
        let mark = self.marks.get(rule);
        if let Some(kind) = decide(mark.as_ref(), outcome) {
            self.sender.send(Alert::of_run(kind, &run(rule, outcome), &[]));
        }
    }

    async fn outcomes(&self, count: usize) -> Vec<(AlertKind, Delivery)> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let outcomes = self.outcomes.lock().clone();
            if outcomes.len() >= count {
                return outcomes;
            }
            assert!(tokio::time::Instant::now() < deadline, "{outcomes:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn run(rule: &str, outcome: RunOutcome) -> RunRecord {
    let started: Timestamp = "2026-11-21T09:37:19Z".parse().unwrap();
    let id = RunId::new(started, 7);
    let begun = RunStart { id, rule: rule.to_owned(), cause: Cause::Schedule, started };
    RunRecord::unended(begun, outcome)
}

/// A receiver of everything.
const PLAIN: &str = "[[notify]]\nurl = \"URL\"";
const DELIVERED: Delivery = Delivery::Delivered;

#[tokio::test]
async fn ten_failing_runs_are_one_alert_and_recovery_is_another() {
    let (hook, setup) = one_receiver(&[]).await;
    for count in 0..10 {
        setup.end_run("a", RunOutcome::Failed);
        if count == 4 {
            setup.outcomes(1).await;
        }
    }
    // An interrupted run is not announced.
    setup.end_run("a", RunOutcome::Interrupted);
    for _ in 0..3 {
        setup.end_run("a", RunOutcome::Succeeded);
    }
    let outcomes = setup.outcomes(2).await;
    setup.end_run("a", RunOutcome::Succeeded);
    setup.sender.stop(Duration::from_secs(20)).await;
    let told = [(AlertKind::Failure, DELIVERED), (AlertKind::Recovery, DELIVERED)];
    assert_eq!(outcomes, told);
    let bodies = hook.bodies();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0]["kind"], "failure");
    assert_eq!(bodies[0]["rule"], "a");
    assert_eq!(bodies[0]["run"]["id"], "20261121T093719Z-000007");
    assert_eq!(bodies[1]["kind"], "recovery");
}

#[tokio::test]
async fn a_rule_that_is_held_back_is_told_once_and_when_it_fails_or_works() {
    let (hook, setup) = one_receiver(&[]).await;
    for (count, outcome) in [
        (1, RunOutcome::Limited),
        (1, RunOutcome::Limited),
        (2, RunOutcome::Failed),
        (3, RunOutcome::Limited),
        (3, RunOutcome::Interrupted),
        (4, RunOutcome::Succeeded),
        (5, RunOutcome::Limited),
    ] {
        setup.end_run("a", outcome);
        setup.outcomes(count).await;
    }
    assert_eq!(setup.marks.get("a").unwrap().announced, Announced::HeldBack);
    let bodies = hook.bodies();
    let told: Vec<_> = bodies.iter().map(|body| body["kind"].clone()).collect();
    assert_eq!(told, ["safety", "failure", "safety", "recovery", "safety"]);
    assert_eq!(bodies[0]["summary"], "rule `a` was held back by a safety limit");
    assert_eq!(bodies[0]["run"]["outcome"], "limited");
}

/// The state, not the process, knows what people were told.
#[tokio::test]
async fn a_restart_repeats_nothing() {
    let (hook, first) = one_receiver(&[]).await;
    first.end_run("a", RunOutcome::Failed);
    first.outcomes(1).await;
    let marks = first.marks.clone();
    let second = setup(receivers(&hook, PLAIN), |context| {
        context.marks = marks;
    });
    second.end_run("a", RunOutcome::Failed);
    second.end_run("a", RunOutcome::Succeeded);
    assert_eq!(second.outcomes(1).await, [(AlertKind::Recovery, DELIVERED)]);
}

/// Whichever image it is that is stuck.
#[tokio::test]
async fn a_rule_that_is_stuck_is_told_once_and_when_it_is_not() {
    let hook = Hook::start(&[]).await;
    let setup = setup(receivers(&hook, PLAIN), |context| {
        context.quiet = Duration::from_secs(600);
    });
    let at = Timestamp::UNIX_EPOCH;
    let stuck = |image| Alert::stalled("a", image, at, "no byte");
    for (count, alert) in [
        (1, stuck("b.io/app:1")),
        (1, stuck("b.io/app:2")),
        (2, Alert::moves_again("a", at)),
        (3, stuck("b.io/app:2")),
    ] {
        setup.sender.send(alert);
        setup.outcomes(count).await;
    }
    setup.sender.stop(Duration::from_secs(20)).await;
    let bodies = hook.bodies();
    assert_eq!(bodies.len(), 3);
    assert_eq!((&bodies[0]["subject"], &bodies[0]["rule"]), (&"stall".into(), &"a".into()));
    assert_eq!(bodies[1]["kind"], "recovery");
}

/// A receiver of one kind of notification gets each of them.
#[tokio::test]
async fn one_kind_alone_is_told_each_time() {
    const FAILED: RunOutcome = RunOutcome::Failed;
    const SUCCEEDED: RunOutcome = RunOutcome::Succeeded;
    // The runs until the alert, and the ones after it.
    for (kind, before, after) in [
        (AlertKind::Failure, vec![FAILED], vec![FAILED, SUCCEEDED]),
        (AlertKind::Recovery, vec![FAILED, FAILED, SUCCEEDED], vec![SUCCEEDED]),
    ] {
        let hook = Hook::start(&[]).await;
        let text = format!("{PLAIN}\non = [\"{kind}\"]");
        let setup = setup(receivers(&hook, &text), |_| {});
        for count in 1..=3 {
            before.iter().for_each(|outcome| setup.end_run("a", *outcome));
            setup.outcomes(count).await;
            after.iter().for_each(|outcome| setup.end_run("a", *outcome));
        }
        setup.sender.stop(Duration::from_secs(20)).await;
        assert_eq!(setup.outcomes(3).await, [(kind, DELIVERED); 3]);
    }
}

/// Receivers are added and removed while a rule fails: new ones are told its present state.
#[tokio::test]
async fn a_receiver_that_comes_back_is_told_again() {
    let (hook, first) = one_receiver(&[]).await;
    first.end_run("a", RunOutcome::Failed);
    first.outcomes(1).await;
    let marks = first.marks.clone();
    let of_state = |receivers| setup(receivers, |context| context.marks = marks.clone());
    let none = of_state(Vec::new());
    none.end_run("a", RunOutcome::Succeeded);
    none.end_run("a", RunOutcome::Failed);
    let back = of_state(receivers(&hook, PLAIN));
    back.end_run("a", RunOutcome::Failed);
    assert_eq!(back.outcomes(1).await, [(AlertKind::Failure, DELIVERED)]);
}

/// As when a reload brings other receivers in the middle of a delivery.
#[tokio::test]
async fn waiting_alerts_survive_their_sender() {
    let hook = Hook::start(&[Answer::Status(503), Answer::Status(503)]).await;
    let mut setup = setup(receivers(&hook, PLAIN), |_| {});
    setup.end_run("a", RunOutcome::Failed);
    setup.end_run("b", RunOutcome::Failed);
    drop(std::mem::replace(&mut setup.sender, Sender::start(Vec::new(), &setup.context)));
    assert_eq!(setup.outcomes(2).await, [(AlertKind::Failure, DELIVERED); 2]);
    assert_eq!(setup.marks.get("b").unwrap().announced, Announced::Fails);
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_again_and_told_the_same() {
    let (hook, setup) =
        one_receiver(&[Answer::Status(500), Answer::With(429, "retry-after", "0.2")]).await;
    let before = std::time::Instant::now();
    setup.end_run("a", RunOutcome::Failed);
    assert_eq!(setup.outcomes(1).await, [(AlertKind::Failure, DELIVERED)]);
    assert!(before.elapsed() >= Duration::from_millis(200));
    let bodies = hook.bodies();
    assert_eq!((bodies.len(), &bodies[0]), (3, &bodies[2]));
    assert_eq!(setup.marks.get("a").unwrap().announced, Announced::Fails);
}

#[tokio::test]
async fn undelivered_alerts_are_repeated_after_the_next_run() {
    let (hook, setup) =
        one_receiver(&[Answer::Status(500), Answer::Status(500), Answer::Status(502)]).await;
    setup.end_run("a", RunOutcome::Failed);
    assert_eq!(setup.outcomes(1).await, [(AlertKind::Failure, Delivery::Failed)]);
    assert_eq!(setup.marks.get("a"), None);
    setup.end_run("a", RunOutcome::Failed);
    assert_eq!(setup.outcomes(2).await[1], (AlertKind::Failure, DELIVERED));
    assert_eq!(hook.bodies().len(), 4);
}

#[tokio::test]
async fn answers_that_will_not_change_are_not_asked_for_again() {
    for answer in [Answer::Status(404), Answer::With(302, "location", "http://127.0.0.1:1/")] {
        let hook = Hook::start(&[answer]).await;
        let setup = setup(receivers(&hook, PLAIN), |_| {});
        setup.end_run("a", RunOutcome::Failed);
        assert_eq!(setup.outcomes(1).await, [(AlertKind::Failure, Delivery::Failed)]);
        assert_eq!(hook.bodies().len(), 1);
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_or_refuses_delays_no_other() {
    let hook = Hook::start(&[]).await;
    let hanging = Hook::start(&[Answer::Hang, Answer::Hang, Answer::Hang]).await;
    let closed = Hook::start(&[]).await;
    let mut all = receivers(&hanging, PLAIN);
    all.extend(receivers(&closed, PLAIN));
    all.extend(receivers(&hook, PLAIN));
    drop(closed);
    let setup = setup(all, |context| context.time_limit = Duration::from_secs(5));
    setup.end_run("a", RunOutcome::Failed);
    let outcomes = setup.outcomes(2).await;
    assert!(outcomes.contains(&(AlertKind::Failure, DELIVERED)), "{outcomes:?}");
    assert!(outcomes.contains(&(AlertKind::Failure, Delivery::Failed)), "{outcomes:?}");
    // It still hangs, and stopping does not wait for it.
    setup.sender.stop(Duration::from_millis(10)).await;
    assert_eq!(setup.outcomes.lock().len(), 2);
}

#[tokio::test]
async fn too_many_drop_the_oldest_and_are_counted() {
    let (_hook, setup) = one_receiver(&[Answer::Hang]).await;
    for number in 0..70 {
        let rule = format!("rule-{number}");
        setup.sender.send(Alert::stalled(&rule, "a.io/app:1", Timestamp::UNIX_EPOCH, "no byte"));
    }
    // 64 wait; the task may have taken one of them already.
    let dropped = setup.outcomes.lock().clone();
    assert!((5..=6).contains(&dropped.len()), "{dropped:?}");
    assert!(dropped.iter().all(|(_, delivery)| *delivery == Delivery::Dropped));
}

#[tokio::test]
async fn the_same_alert_is_not_repeated_within_the_quiet_time() {
    let hook = Hook::start(&[]).await;
    let setup = setup(receivers(&hook, PLAIN), |context| {
        context.quiet = Duration::from_secs(600);
    });
    let at = Timestamp::UNIX_EPOCH;
    for (count, rule) in [(1, "a"), (1, "a"), (2, "b")] {
        setup.sender.send(Alert::safety(rule, at, "201 tags would go"));
        setup.outcomes(count).await;
    }
    // The configuration is told of each time that it changes its state.
    let reloads = [
        Alert::reload_failed(at, "bad"),
        Alert::reload_failed(at, "bad"),
        Alert::reload_recovered(at),
        Alert::reload_failed(at, "bad"),
    ];
    for (count, alert) in [3, 3, 4, 5].into_iter().zip(reloads) {
        setup.sender.send(alert);
        setup.outcomes(count).await;
    }
    setup.sender.stop(Duration::from_secs(20)).await;
    let told: Vec<_> = hook.bodies().iter().map(|body| body["kind"].clone()).collect();
    assert_eq!(told, ["safety", "safety", "failure", "recovery", "failure"]);
}

#[tokio::test]
async fn receivers_get_what_they_asked_for() {
    let hook = Hook::start(&[]).await;
    let text = "[[notify]]\nurl = \"URL\"\nrules = [\"b*\"]\non = [\"failure\"]\n\
                headers = { Authorization = { env = \"TOKEN\" } }";
    let setup = setup(receivers(&hook, text), |_| {});
    setup.end_run("a", RunOutcome::Failed);
    setup.sender.send(Alert::safety("b", Timestamp::UNIX_EPOCH, "no"));
    setup.sender.send(Alert::reload_failed(Timestamp::UNIX_EPOCH, "no"));
    setup.end_run("b", RunOutcome::Failed);
    setup.sender.stop(Duration::from_secs(20)).await;
    let script = hook.script.lock();
    let [(headers, body)] = script.seen.as_slice() else { panic!("{:?}", script.seen) };
    assert_eq!(headers["authorization"], "value of TOKEN");
    assert_eq!((&body["kind"], &body["rule"]), (&"failure".into(), &"b".into()));
}

#[tokio::test]
async fn an_address_that_is_a_secret_stays_one() {
    let hook = Hook::start(&[]).await;
    let all = receivers(&hook, "[[notify]]\nurl = { env = \"HOOK\" }\nformat = \"slack\"");
    let port = hook.port;
    for (address, arrives) in [
        (format!("http://127.0.0.1:{port}/T0/B0/s3cret"), true),
        ("http://192.0.2.1/T0/B0/s3cret".to_owned(), false),
        ("s3cret".to_owned(), false),
    ] {
        let setup = setup(all.clone(), |context| {
            context.environment = Environment::new(move |_| Some(address.clone().into()));
        });
        setup.end_run("a", RunOutcome::Failed);
        let delivery = if arrives { DELIVERED } else { Delivery::Failed };
        assert_eq!(setup.outcomes(1).await, [(AlertKind::Failure, delivery)]);
    }
    assert_eq!(
        hook.bodies(),
        [serde_json::json!({ "text": "*failure*: tranship: rule `a` fails" })]
    );
}

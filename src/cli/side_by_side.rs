//! Rules of one command, carried out side by side: what one of them waits for keeps the others from
//! nothing, and neither does its failure.

use futures_util::future::join_all;

use super::exit::CliError;
use super::follow::Followed;
use crate::fair::{Flow, LendingPermits, Pulses};
use crate::history::RunId;

/// Rules that a daemon is asked to carry out at once: it has bounds of its own for what it does.
const FOLLOWED: usize = 128;

/// What came of rules.
pub struct Came<R> {
    /// In the order in which they were asked for.
    pub done: Vec<R>,
    /// Runs of the daemon that go on, with their rules.
    pub left: Vec<(String, RunId)>,
    /// The first error of the others.
    pub error: Option<CliError>,
}

impl<R> Came<R> {
    pub fn nothing(error: CliError) -> Self {
        Self { error: Some(error), ..Self::of(Vec::new()) }
    }

    pub fn of(done: Vec<R>) -> Self {
        Self { done, left: Vec::new(), error: None }
    }
}

/// One run of each rule.
pub async fn side_by_side<T, F: Future>(
    rules: impl IntoIterator<Item = T>,
    turns: LendingPermits,
    run: impl Fn(T, Flow) -> F,
) -> Vec<F::Output> {
    let runs = rules.into_iter().zip(1..).map(|(rule, number)| {
        let (turns, run, flow) = (&turns, &run, Flow::new(number));
        async move {
            let _turn = turns.acquire(flow).await;
            run(rule, flow).await
        }
    });
    join_all(runs).await
}

/// The same with a daemon, which is followed.
///
/// # Errors
/// Nothing came of any rule.
pub async fn followed<'a, R, F>(
    rules: impl IntoIterator<Item = &'a str>,
    follow: impl Fn(&'a str) -> F,
) -> Result<Came<R>, CliError>
where
    F: Future<Output = Result<Followed<R>, CliError>>,
{
    let turns = LendingPermits::new(FOLLOWED, Pulses::default());
    let follow = |rule, _| {
        let followed = follow(rule);
        async move { (rule, followed.await) }
    };
    let mut came = Came::of(Vec::new());
    for (rule, followed) in side_by_side(rules, turns, follow).await {
        match followed {
            Ok(Followed::Report(one)) => came.done.push(one),
            Ok(Followed::Left(run)) => came.left.push((rule.to_owned(), run)),
            Err(error) => _ = came.error.get_or_insert(error),
        }
    }
    match came.error {
        Some(error) if came.done.is_empty() && came.left.is_empty() => Err(error),
        error => Ok(Came { error, ..came }),
    }
}

//! `tranship sync` beside a running daemon, which copies: its state is in use.

use super::args::Global;
use super::ask::Daemon;
use super::exit::CliError;
use super::follow::{Followed, Task, Told, follow};
use super::printer::Printer;
use super::side_by_side::{Came, followed};
use super::sync::Synced;
use crate::daemon::news::SyncNews;
use crate::daemon::view::PlanOptions;
use crate::stop::StopSignal;
use crate::sync::{ImageReport, Mode, RuleReport};
use crate::transfer::TransferTotals;

/// Has the daemon run rules, or plan them, and follows that to its end.
///
/// # Errors
/// Nothing came of any rule.
pub async fn carry_out<'a>(
    global: &Global,
    daemon: &Daemon,
    rules: impl IntoIterator<Item = &'a str>,
    task: Task,
    stop: &StopSignal,
) -> Result<Came<Synced>, CliError> {
    let printer = Printer::start(global);
    let came = followed(rules, |rule| one(daemon, rule, task, stop, &printer)).await;
    printer.end().await;
    came
}

async fn one(
    daemon: &Daemon,
    rule: &str,
    task: Task,
    stop: &StopSignal,
    printer: &Printer,
) -> Result<Followed<Synced>, CliError> {
    let (mut images, mut moved) = (Vec::<ImageReport>::new(), TransferTotals::default());
    let followed = if stop.soon.is_cancelled() {
        Followed::Report(None)
    } else {
        let answer = match task {
            Task::Plan { recheck } => {
                daemon.plan_lines(rule, &PlanOptions { recheck, asked: None }).await?
            }
            Task::Run(options, _) => daemon.run_lines(rule, options).await?,
        };
        let told = |news: SyncNews<'static>| {
            Ok(match news {
                SyncNews::Run(run) => Told::Run(run),
                SyncNews::Image(image) => {
                    // What a plan finds is printed in order, when all of it is known.
                    if matches!(task, Task::Run(..)) {
                        printer.image(&image);
                    }
                    images.push(image.into_owned());
                    Told::Detail
                }
                SyncNews::Moved(totals) => {
                    moved = totals;
                    Told::Detail
                }
                SyncNews::Report(report) => Told::Report(report.into_owned()),
            })
        };
        follow(daemon, rule, task, &stop.soon, answer, told).await?
    };
    let mode = match task {
        Task::Plan { .. } => Mode::DryRun,
        Task::Run(..) => Mode::Apply,
    };
    let interrupted = || {
        let mut report = RuleReport { interrupted: true, ..RuleReport::new(rule, mode) };
        images.iter().for_each(|image| report.counts.add(image.action));
        report
    };
    Ok(match followed.or_given_up(interrupted) {
        Followed::Report(report) => {
            ImageReport::sort(&mut images);
            Followed::Report(Synced { report: RuleReport { images, ..report }, moved })
        }
        Followed::Left(run) => Followed::Left(run),
    })
}

//! `tranship status --watch`: what the daemon does, live on a terminal, again and again elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use jiff::Timestamp;

use super::ask::{Daemon, Found};
use super::exit::{CliError, Exit};
use super::lines::Lines;
use super::progress::screen;
use super::signals::Stop;
use super::status_report::{Report, of_daemon};
use super::{output, status_text};
use crate::config;

/// How often the daemon is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows it until the reader has gone, or a signal comes.
pub async fn run(settings: &config::Daemon) -> Result<Exit, CliError> {
    if std::io::stdout().is_terminal() && screen::is_capable() {
        return live(settings).await;
    }
    loop {
        let report = look(settings).await;
        let now = Timestamp::now();
        let mut lines = Lines::one(format!("{now:.0}"));
        lines.add(&status_text::text(&report, now));
        lines.line("");
        if !output::print_if_read(&lines)? {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Draws it again and again, in what room the terminal has. What was drawn last stays there.
async fn live(settings: &config::Daemon) -> Result<Exit, CliError> {
    let stop = Stop::quietly_on_signal();
    screen::open();
    loop {
        let report = look(settings).await;
        let now = Timestamp::now();
        let lines = status_text::live(&report, now, screen::room());
        screen::draw(&lines);
        let next = stop.token.run_until_cancelled(tokio::time::sleep(INTERVAL));
        if next.await.is_none() {
            screen::close();
            let mut last = Lines::default();
            lines.iter().for_each(|line| last.line(line));
            output::print_lines(&last)?;
            return Ok(stop.exit());
        }
    }
}

/// A daemon that is away may come back: that is watched too.
async fn look(settings: &config::Daemon) -> Report {
    let asked = match Daemon::find(settings).await {
        Ok(Found::Daemon(daemon)) => of_daemon(&daemon).await,
        Ok(Found::Nobody(why)) => Ok(Report { notes: vec![why], ..Report::default() }),
        Err(error) => Err(error),
    };
    asked.unwrap_or_else(|error| Report { notes: vec![error.to_string()], ..Report::default() })
}

//! `tranship status --watch`: what the daemon does, live on a terminal, again and again elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::ask::{Daemon, Found};
use super::exit::CliError;
use super::lines::Lines;
use super::status_report::{Report, of_daemon};
use super::{output, status_text};
use crate::config::Config;
use crate::text::inert;

/// How often the daemon is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows it until the reader has gone, or a signal ends the process.
pub async fn run(config: &Config) -> Result<(), CliError> {
    let mut live = std::io::stdout().is_terminal().then(Live::new);
    loop {
        let report = look(config).await;
        let now = Timestamp::now();
        match &mut live {
            Some(live) => live.show(&report, now),
            None => {
                let mut lines = Lines::one(format!("{now:.0}"));
                lines.add(&status_text::text(&report, now));
                lines.line("");
                if !output::print_if_read(&lines)? {
                    return Ok(());
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A daemon that is away may come back: that is watched too.
async fn look(config: &Config) -> Report {
    let asked = match Daemon::find(config).await {
        Ok(Found::Daemon(daemon)) => of_daemon(&daemon).await,
        Ok(Found::Nobody(why)) => Ok(Report { notes: vec![why], ..Report::default() }),
        Err(error) => Err(error),
    };
    asked.unwrap_or_else(|error| Report { notes: vec![error.to_string()], ..Report::default() })
}

/// The view on a terminal: what matters most comes first, because what does not fit is not shown.
struct Live {
    area: MultiProgress,
    head: ProgressBar,
    bars: Vec<ProgressBar>,
    rules: ProgressBar,
}

impl Live {
    fn new() -> Self {
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let text = || styled(ProgressBar::new(0), "{msg}");
        let (head, rules) = (area.add(text()), area.add(text()));
        Self { area, head, bars: Vec::new(), rules }
    }

    fn show(&mut self, report: &Report, now: Timestamp) {
        let wanted = status_text::bars(report);
        for gone in self.bars.drain(wanted.len().min(self.bars.len())..) {
            self.area.remove(&gone);
        }
        while self.bars.len() < wanted.len() {
            let bar = styled(ProgressBar::new(0), "{prefix} [{bar:24}] {msg}");
            self.bars.push(self.area.insert_before(&self.rules, bar));
        }
        self.head.set_message(status_text::head(report, now).as_str().trim_end().to_owned());
        for (bar, wanted) in self.bars.iter().zip(wanted) {
            bar.set_length(wanted.total.max(1));
            bar.set_position(wanted.done);
            bar.set_prefix(inert(&wanted.label).into_owned());
            bar.set_message(inert(&wanted.tail).into_owned());
        }
        let rules = status_text::rules(&report.rules, now);
        self.rules.set_message(format!("\n{}", rules.as_str().trim_end()));
        // Whatever has not changed is drawn too: it might be the first time.
        self.head.tick();
        self.bars.iter().for_each(ProgressBar::tick);
        self.rules.tick();
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

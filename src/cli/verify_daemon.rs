//! `tranship verify` beside a running daemon, which knows what cleanup rules deleted: its state is in
//! use.

use futures_util::future::try_join_all;

use super::ask::Daemon;
use super::exit::{CliError, failed};
use crate::daemon::news::SyncNews;
use crate::daemon::view::PlanOptions;
use crate::sync::{Action, ImageReport};
use crate::verify::Withheld;

/// What these rules do not copy because a cleanup rule deleted it: their plans list that.
pub async fn withheld(daemon: &Daemon, rules: &[&str]) -> Result<Withheld, CliError> {
    // The daemon makes a few plans at once; the others wait for their turn.
    let found = try_join_all(rules.iter().map(|rule| of_rule(daemon, rule))).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn of_rule(daemon: &Daemon, rule: &str) -> Result<Withheld, CliError> {
    let mut answer = daemon.plan_lines(rule, &PlanOptions::default()).await?;
    let mut withheld = Withheld::new();
    while let Some(news) = answer.next::<SyncNews<'static>>().await? {
        match news {
            SyncNews::Image(image) if image.action == Action::Withheld => {
                let ImageReport { target, source_digest, .. } = image.into_owned();
                let digest = source_digest.unwrap_or_default().parse();
                let unreadable = failed(format!("read what the daemon withholds at {target}"));
                withheld.insert(target, digest.map_err(unreadable)?);
            }
            SyncNews::Report(_) => return Ok(withheld),
            SyncNews::Run(_) | SyncNews::Image(_) | SyncNews::Moved(_) => {}
        }
    }
    Err(CliError::Failed(format!("the daemon did not plan rule `{rule}`: its log says why")))
}

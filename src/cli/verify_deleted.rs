//! What `tranship verify` knows of images that cleanup rules deleted, and must not miss: what the state
//! has, or what the daemon tells that uses it.

use futures_util::future::try_join_all;

use super::ask::{Daemon, Found};
use super::exit::{CliError, failed};
use crate::config::Config;
use crate::daemon::news::SyncNews;
use crate::daemon::view::PlanOptions;
use crate::state::State;
use crate::sync::{Action, ImageReport};
use crate::verify::Withheld;

/// What is known of images that cleanup rules deleted.
pub struct Deleted {
    pub state: State,
    /// What is not in it, and the daemon has told.
    pub withheld: Withheld,
    pub notes: Vec<String>,
}

impl Deleted {
    /// What a state knows.
    pub fn of(state: State) -> Self {
        Self { state, withheld: Withheld::new(), notes: Vec::new() }
    }

    /// The images that cleanup rules deleted. The state is closed again at once, so that other processes
    /// need not wait for it. If the daemon uses it, the daemon is asked what these rules withhold.
    pub async fn of_rules(config: &Config, rules: &[&str]) -> Self {
        // A rule that only plans may have been applied by hand.
        if config.cleanup.is_empty() || !config.daemon.state.exists() {
            return Self::of(State::in_memory());
        }
        let in_use = match State::open(&config.daemon.state) {
            Ok(state) => {
                let withdrawn = state.withdrawn.copy();
                return Self::of(State { withdrawn, ..State::in_memory() });
            }
            Err(error) => error,
        };
        let asked = match Daemon::find(&config.daemon).await {
            Ok(Found::Daemon(daemon)) => withheld(&daemon, rules).await,
            Ok(Found::Nobody(_)) => Err(in_use.into()),
            Err(error) => Err(error),
        };
        let nothing = Self::of(State::in_memory());
        match asked {
            Ok(withheld) => Self { withheld, ..nothing },
            Err(error) => {
                let note = format!(
                    "tags that cleanup rules deleted may be taken for missing ones: {error}"
                );
                Self { notes: vec![note], ..nothing }
            }
        }
    }
}

/// What these rules do not copy because a cleanup rule deleted it: their plans list that.
async fn withheld(daemon: &Daemon, rules: &[&str]) -> Result<Withheld, CliError> {
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

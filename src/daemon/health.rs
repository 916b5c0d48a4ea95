//! Whether the daemon does its work. Pure.

use super::view::{Check, Readiness};
use crate::text::counted;

/// What readiness depends on.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Why the configuration file as it is now is not in use.
    pub config_rejected: Option<String>,
    /// Why the state cannot be read.
    pub state_broken: Option<String>,
    /// Why the state is in memory only.
    pub state_behind: Option<String>,
    /// Why the history cannot be written just now.
    pub history_failing: Option<String>,
    /// Rules whose last run succeeded, and rules whose last run failed.
    pub succeeding: usize,
    pub failing: usize,
    pub stopping: bool,
    /// The scheduler has not been heard of for too long.
    pub scheduler_silent: bool,
}

/// Ready if every check is good.
pub fn readiness(facts: &Facts) -> Readiness {
    let Facts { succeeding, failing, .. } = *facts;
    let check = |name: &str, wrong: Option<String>, good: &str| Check {
        name: name.to_owned(),
        ok: wrong.is_none(),
        message: wrong.unwrap_or_else(|| good.to_owned()),
    };
    let all_fail = failing > 0 && succeeding == 0;
    let checks = vec![
        check(
            "config",
            facts.config_rejected.as_ref().map(|why| {
                format!("the file is not in use, the configuration before it is: {why}")
            }),
            "the file is in use",
        ),
        check(
            "state",
            match (&facts.state_broken, &facts.state_behind) {
                (Some(why), _) => {
                    Some(format!("it cannot be read, so everything is checked again: {why}"))
                }
                (None, Some(why)) => {
                    Some(format!("it cannot be written and is kept in memory until it can: {why}"))
                }
                (None, None) => None,
            },
            "open",
        ),
        check(
            "history",
            facts.history_failing.as_ref().map(|why| format!("it has gaps: {why}")),
            "written",
        ),
        check(
            "runs",
            all_fail.then(|| format!("the last run of every rule that ran ({failing}) failed")),
            &format!("{} succeeding, {failing} failing", counted(succeeding, "rule", "rules")),
        ),
        check(
            "scheduler",
            match (facts.stopping, facts.scheduler_silent) {
                (true, _) => Some("the daemon is stopping".to_owned()),
                (false, true) => Some("it has not been heard of for minutes".to_owned()),
                (false, false) => None,
            },
            "alive",
        ),
    ];
    Readiness { ready: checks.iter().all(|check| check.ok), checks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(facts: &Facts) -> Vec<String> {
        let readiness = readiness(facts);
        let wrong: Vec<String> = readiness
            .checks
            .into_iter()
            .filter(|check| !check.ok)
            .map(|check| check.name)
            .collect();
        assert_eq!(readiness.ready, wrong.is_empty());
        wrong
    }

    #[test]
    fn one_rule_is_no_rules() {
        let readiness = readiness(&Facts { succeeding: 1, ..Facts::default() });
        let runs = readiness.checks.iter().find(|check| check.name == "runs").unwrap();
        assert_eq!(runs.message, "1 rule succeeding, 0 failing");
    }

    #[test]
    fn ready_is_what_works_on_all_accounts() {
        let good = Facts { succeeding: 1, failing: 9, ..Facts::default() };
        assert!(wrong(&Facts::default()).is_empty());
        assert!(wrong(&good).is_empty());
        assert_eq!(wrong(&Facts { failing: 1, ..Facts::default() }), ["runs"]);
        let rejected = Some("line 3".to_owned());
        assert_eq!(wrong(&Facts { config_rejected: rejected, ..good.clone() }), ["config"]);
        let broken = Some("disk full".to_owned());
        assert_eq!(wrong(&Facts { state_broken: broken, ..good.clone() }), ["state"]);
        let behind = Facts { state_behind: Some("disk full".to_owned()), ..good.clone() };
        assert_eq!(wrong(&behind), ["state"]);
        let failing = Some("disk full".to_owned());
        assert_eq!(wrong(&Facts { history_failing: failing, ..good.clone() }), ["history"]);
        assert_eq!(wrong(&Facts { stopping: true, ..good.clone() }), ["scheduler"]);
        assert_eq!(wrong(&Facts { scheduler_silent: true, ..good }), ["scheduler"]);
    }
}

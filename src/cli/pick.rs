//! Rules of both kinds that a command names.

use super::exit::CliError;
use crate::config::{RuleKind, did_you_mean};

/// Names of rules, in the order of the configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Picked {
    pub sync: Vec<String>,
    pub cleanup: Vec<String>,
}

impl Picked {
    /// The known rules with these names, or all of them if none is named. `who` knows them: `the
    /// configuration has`.
    ///
    /// # Errors
    /// A name is unknown, or there are no rules.
    pub fn of<'a>(
        known: impl IntoIterator<Item = (&'a str, RuleKind)>,
        names: &[String],
        who: &str,
    ) -> Result<Self, CliError> {
        let known: Vec<_> = known.into_iter().collect();
        if known.is_empty() {
            return Err(CliError::usage(format!("{who} no rules")));
        }
        let all: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = names.iter().find(|name| !all.contains(&name.as_str())) {
            return Err(CliError::usage(format!(
                "{who} no rule `{unknown}`{}: the rules are {}",
                did_you_mean(unknown, &all),
                all.join(", ")
            )));
        }
        let mut picked = Self::default();
        for (name, kind) in known {
            if names.is_empty() || names.iter().any(|wanted| wanted == name) {
                let of_kind = match kind {
                    RuleKind::Sync => &mut picked.sync,
                    RuleKind::Cleanup => &mut picked.cleanup,
                };
                of_kind.push(name.to_owned());
            }
        }
        Ok(picked)
    }

    /// The names of each kind.
    pub fn names(&self) -> (Vec<&str>, Vec<&str>) {
        let sync = self.sync.iter().map(String::as_str).collect();
        (sync, self.cleanup.iter().map(String::as_str).collect())
    }

    /// `--recheck` says nothing about cleanup rules.
    ///
    /// # Errors
    /// It is given for one.
    pub fn check_recheck(&self, recheck: bool) -> Result<(), CliError> {
        match self.cleanup.first() {
            Some(rule) if recheck => Err(CliError::usage(format!(
                "--recheck is for [[sync]] rules, and `{rule}` is a [[cleanup]] rule"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, RuleKind); 3] =
        [("base", RuleKind::Sync), ("apps", RuleKind::Sync), ("old", RuleKind::Cleanup)];

    fn pick(names: &[&str]) -> Result<Picked, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Picked::of(KNOWN, &names, "the file has").map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_picked_by_kind_in_their_order() {
        let picked = pick(&["old", "apps", "base", "apps"]).unwrap();
        assert_eq!(
            (picked.sync, picked.cleanup),
            (vec!["base".to_owned(), "apps".to_owned()], vec!["old".to_owned()],)
        );
        assert_eq!(pick(&[]).unwrap().sync.len(), 2);
        assert_eq!(
            pick(&["bases"]).unwrap_err(),
            "the file has no rule `bases` (did you mean `base`?): the rules are base, apps, old"
        );
        let none = Picked::of([], &[], "the file has").unwrap_err();
        assert_eq!(none.to_string(), "the file has no rules");
    }

    #[test]
    fn cleanup_rules_have_nothing_to_recheck() {
        assert!(pick(&[]).unwrap().check_recheck(false).is_ok());
        assert!(pick(&["apps"]).unwrap().check_recheck(true).is_ok());
        assert!(pick(&[]).unwrap().check_recheck(true).is_err());
    }
}

//! What processes before this one began to delete and did not come to say of: it is looked at, and
//! said now.

use jiff::Timestamp;

use super::super::audit::{Audit, Intent, Line};
use super::super::report::{Outcome, StepAction};
use crate::repository::{Reference, Repository};
use crate::run::Failure;

/// Settles what was begun in a repository. Gives a note for each.
///
/// # Errors
/// The repository does not tell whether something is there; it is tried again by the next run.
pub(in crate::cleanup) async fn recover(
    audit: &Audit,
    repository: &dyn Repository,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let mut left = audit.take_unsettled(repository.name());
    while let Some(intent) = left.pop() {
        let is_there = match is_there(repository, &intent).await {
            Ok(is_there) => is_there,
            Err(failure) => {
                left.push(intent);
                audit.give_back(left);
                return Err(failure);
            }
        };
        let (outcome, words) = match is_there {
            false => (Outcome::Deleted, "it is gone"),
            true => (Outcome::NotDone, "it is still there"),
        };
        let reason = Some(format!("the process was cut off; found later: {words}"));
        let line = Line::Outcome { id: intent.id.clone(), at: now, outcome, reason };
        if let Err(error) = audit.write(vec![line]).await {
            left.push(intent);
            audit.give_back(left);
            return Err(cannot_write(&error));
        }
        let name = name(repository, &intent);
        notes
            .push(format!("run {} was cut off while it deleted {name}: {words}", intent.actor.run));
    }
    Ok(notes)
}

async fn is_there(repository: &dyn Repository, intent: &Intent) -> Result<bool, Failure> {
    let reference = match (intent.action, intent.tags.first()) {
        (StepAction::Untag, Some(tag)) => Reference::Tag(tag.clone()),
        _ => Reference::Digest(intent.digest.clone()),
    };
    let found = repository.resolve(&reference).await;
    let found = found.map_err(|error| Failure::of(&error))?;
    Ok(found.is_some_and(|found| found.digest == intent.digest))
}

fn name(repository: &dyn Repository, intent: &Intent) -> String {
    match intent.tags.first() {
        Some(tag) => format!("{}:{tag}", repository.name()),
        None => format!("{}@{}", repository.name(), intent.digest),
    }
}

/// Without the audit nothing is deleted.
pub(in crate::cleanup) fn cannot_write(error: &std::io::Error) -> Failure {
    Failure {
        hint: Some("nothing is deleted that cannot be written down first".to_owned()),
        ..Failure::new("write", "the audit", error.to_string())
    }
}

//! What earlier processes began to delete and left without an outcome in the audit: the repository
//! is asked what became of it, and the audit is told.

use jiff::Timestamp;

use super::audit::{Audit, Intent, Line, cannot_write};
use super::probe::placeholder;
use super::step::{StepAction, StepOutcome};
use crate::repository::{Failure, Reference, Repository};

/// Settles what was begun in a repository. Gives a note for each.
///
/// # Errors
/// The repository does not tell whether something is there; the next run tries again.
pub async fn recover(
    audit: &Audit,
    repository: &dyn Repository,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let mut left = audit.take_unsettled(repository.name());
    while let Some(intent) = left.pop() {
        let found = match find(repository, &intent).await {
            Ok(found) => found,
            Err(failure) => {
                left.push(intent);
                audit.give_back(left);
                return Err(failure);
            }
        };
        let (outcome, words) = match found {
            CutOff::Gone => (StepOutcome::Deleted, "it is gone".to_owned()),
            CutOff::There => (StepOutcome::NotDone, "it is still there".to_owned()),
            CutOff::Moved => (StepOutcome::NotDone, "it points at something else".to_owned()),
            CutOff::Lost(tags) => (
                StepOutcome::Failed,
                format!("it is gone, and so is what should have stayed: {}", tags.join(", ")),
            ),
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

/// What has become of something whose deletion was cut off.
enum CutOff {
    Gone,
    There,
    Moved,
    /// Tags went along that should have stayed.
    Lost(Vec<String>),
}

async fn find(repository: &dyn Repository, intent: &Intent) -> Result<CutOff, Failure> {
    let resolve = async |reference: Reference| {
        let found = repository.resolve(&reference).await;
        found.map(|found| found.map(|it| it.digest)).map_err(|error| Failure::of(&error))
    };
    let (StepAction::Untag, Some(tag)) = (intent.action, intent.tags.first()) else {
        let found = resolve(Reference::Digest(intent.digest.clone())).await?;
        return Ok(if found.is_some() { CutOff::There } else { CutOff::Gone });
    };
    match resolve(Reference::Tag(tag.clone())).await? {
        Some(digest) if digest == intent.digest => return Ok(CutOff::There),
        Some(digest) => {
            // It may point at the placeholder that was to be deleted with it.
            let placeholder = placeholder(tag, &intent.digest);
            if !placeholder.is_ok_and(|placeholder| placeholder.digest == digest) {
                return Ok(CutOff::Moved);
            }
            let deleted = repository.delete(&Reference::Digest(digest)).await;
            deleted.map_err(|error| Failure::of(&error))?;
        }
        None => {}
    }
    let mut lost = Vec::new();
    for tag in &intent.stay {
        if resolve(Reference::Tag(tag.clone())).await?.is_none() {
            lost.push(format!("`{tag}`"));
        }
    }
    Ok(if lost.is_empty() { CutOff::Gone } else { CutOff::Lost(lost) })
}

fn name(repository: &dyn Repository, intent: &Intent) -> String {
    match intent.tags.first() {
        Some(tag) => format!("{}:{tag}", repository.name()),
        None => format!("{}@{}", repository.name(), intent.digest),
    }
}

//! What processes before this one began to delete and did not come to say of: it is looked at, and
//! said now.

use jiff::Timestamp;

use super::super::audit::{Audit, Intent, Line};
use super::super::report::{Outcome, StepAction};
use super::throwaway::dummy;
use crate::repository::{Failure, Reference, Repository};

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
        let found = match find(repository, &intent).await {
            Ok(found) => found,
            Err(failure) => {
                left.push(intent);
                audit.give_back(left);
                return Err(failure);
            }
        };
        let (outcome, words) = match found {
            Found::Gone => (Outcome::Deleted, "it is gone".to_owned()),
            Found::There => (Outcome::NotDone, "it is still there".to_owned()),
            Found::Moved => (Outcome::NotDone, "it points at something else".to_owned()),
            Found::Lost(tags) => (
                Outcome::Failed,
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

/// What has become of something that was to be deleted.
enum Found {
    Gone,
    There,
    Moved,
    /// Tags went along that should have stayed.
    Lost(Vec<String>),
}

async fn find(repository: &dyn Repository, intent: &Intent) -> Result<Found, Failure> {
    let resolve = async |reference: Reference| {
        let found = repository.resolve(&reference).await;
        found.map(|found| found.map(|it| it.digest)).map_err(|error| Failure::of(&error))
    };
    let (StepAction::Untag, Some(tag)) = (intent.action, intent.tags.first()) else {
        let found = resolve(Reference::Digest(intent.digest.clone())).await?;
        return Ok(if found.is_some() { Found::There } else { Found::Gone });
    };
    match resolve(Reference::Tag(tag.clone())).await? {
        Some(digest) if digest == intent.digest => return Ok(Found::There),
        Some(digest) => {
            // It was moved to something of no use that was not deleted yet.
            let dummy = dummy(tag, &intent.digest).ok().filter(|dummy| dummy.digest == digest);
            if dummy.is_none() {
                return Ok(Found::Moved);
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
    Ok(if lost.is_empty() { Found::Gone } else { Found::Lost(lost) })
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

//! Deletions that earlier processes began and that have no outcome in the audit: the repository is
//! asked what became of them, and the outcome is written to the audit.

use jiff::Timestamp;

use super::audit::{Audit, Intent, Line, cannot_write};
use super::probe::placeholder;
use super::step::{StepAction, StepOutcome};
use super::untag::{put_back, what_is_lost};
use crate::oci::{Manifest, Tag};
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
    while let Some(intent) = left.last() {
        match settle(audit, repository, intent, now).await {
            Ok(note) => notes.push(note),
            Err(failure) => {
                audit.give_back(left);
                return Err(failure);
            }
        }
        left.pop();
    }
    Ok(notes)
}

async fn settle(
    audit: &Audit,
    repository: &dyn Repository,
    intent: &Intent,
    now: Timestamp,
) -> Result<String, Failure> {
    let (outcome, words) = find(repository, intent).await?;
    let reason = Some(format!("the process was cut off; found later: {words}"));
    let line = Line::Outcome { id: intent.id.clone(), at: now, outcome, reason };
    audit.write(vec![line]).await.map_err(|error| cannot_write(&error))?;
    let (run, name) = (&intent.actor.run, name(repository, intent));
    Ok(format!("run {run} was cut off while it deleted {name}: {words}"))
}

/// What has become of something whose deletion was cut off, also in words.
async fn find(
    repository: &dyn Repository,
    intent: &Intent,
) -> Result<(StepOutcome, String), Failure> {
    let gone = || Ok((StepOutcome::Deleted, "it is gone".to_owned()));
    let not_done = |words: &str| Ok((StepOutcome::NotDone, words.to_owned()));
    let there = || not_done("it is still there");
    let resolve = async |reference: Reference| {
        let found = repository.resolve(&reference).await;
        found.map(|found| found.map(|it| it.digest)).map_err(|error| Failure::of(&error))
    };
    let (StepAction::Untag, Some(tag)) = (intent.action, intent.tags.first()) else {
        let found = resolve(Reference::Digest(intent.digest.clone())).await?;
        return if found.is_some() { there() } else { gone() };
    };
    match resolve(Reference::Tag(tag.clone())).await? {
        Some(digest) if digest == intent.digest => return there(),
        Some(digest) => {
            // It may point at the placeholder that was to be deleted with it.
            let placeholder = placeholder(tag, &intent.digest);
            if !placeholder.is_ok_and(|placeholder| placeholder.digest == digest) {
                return not_done("it points at something else");
            }
            let deleted = repository.delete(&Reference::Digest(digest)).await;
            deleted.map_err(|error| Failure::of(&error))?;
        }
        None => {}
    }
    let others: Vec<&Tag> = intent.stay.iter().collect();
    let lost = what_is_lost(repository, &intent.digest, &others).await;
    let lost = lost.map_err(|error| Failure::of(&error))?;
    if lost.is_empty() {
        return gone();
    }
    let kept = intent.manifest.as_ref().map(|kept| {
        Manifest::parse(kept.content.clone().into(), Some(&kept.media_type), Some(&intent.digest))
    });
    let failures = match kept {
        Some(Ok(manifest)) => put_back(repository, &manifest, &lost).await,
        Some(Err(error)) => vec![error.to_string()],
        None => lost.iter().map(|lost| format!("`{}`", lost.suffix())).collect(),
    };
    if failures.is_empty() {
        let words = "it is gone; the registry deleted more, which was put back";
        return Ok((StepOutcome::Deleted, words.to_owned()));
    }
    let lost = failures.join(", ");
    Ok((StepOutcome::Failed, format!("it is gone, and so is what should have stayed: {lost}")))
}

fn name(repository: &dyn Repository, intent: &Intent) -> String {
    match intent.tags.first() {
        Some(tag) => format!("{}:{tag}", repository.name()),
        None => format!("{}@{}", repository.name(), intent.digest),
    }
}

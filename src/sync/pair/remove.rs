//! What is gone at the source goes at the targets, where the rule asks for it.

use std::collections::{BTreeSet, HashMap};

use futures_util::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::{Goal, Item, Pair, TAGS};
use crate::config::policy::MaxDelete;
use crate::oci::{Digest, Tag, derived};
use crate::removal::{RemoveTags, RemovedTags, StepOutcome, TagRemoval};
use crate::repository::{Error, Failure, Reference};
use crate::state::{TagKey, TagState};
use crate::sync::Mode;
use crate::sync::extra::{self, Extra};
use crate::sync::progress::Progress;
use crate::sync::report::{Removed, WhatBecame};
use crate::text::counted;

/// So many tags that stay are named.
const NAMED: usize = 5;

impl Pair<'_> {
    /// `listed`: everything that the source has.
    pub(super) async fn remove_extra(
        &self,
        limits: MaxDelete,
        listed: &[Tag],
        progress: &Progress<'_>,
    ) {
        if !extra::tells(listed) {
            let name = self.source.name();
            let note = format!("{name} has no tags, so nothing is removed from its targets");
            return progress.note(note);
        }
        let Some(remover) = self.remover else {
            return progress.note("this run removes no tags at the target".to_owned());
        };
        for goal in &self.goals {
            if self.stop.soon.is_cancelled() {
                return progress.left_out();
            }
            let (others, removal) = match self.remove_from(goal, limits, listed, remover).await {
                Ok(done) => done,
                Err(failures) => {
                    failures.into_iter().for_each(|failure| progress.failure(failure));
                    continue;
                }
            };
            if !others.is_empty() {
                progress.note(strange(goal.repository.name(), &others));
            }
            if let Some(removal) = removal {
                self.removed(goal, removal, progress);
            }
        }
    }

    /// Gives what the rule's selection names and the source lacks, and the rule did not put there;
    /// and what became of the rest, if there is any.
    async fn remove_from(
        &self,
        goal: &Goal,
        limits: MaxDelete,
        listed: &[Tag],
        remover: &dyn RemoveTags,
    ) -> Result<(Vec<Tag>, Option<RemovedTags>), Vec<Failure>> {
        let there = goal.tags().await.map_err(|error| vec![Failure::of(&error)])?;
        let there: Vec<Tag> =
            there.unwrap_or_default().iter().map(|listed| listed.tag.clone()).collect();
        let mut records = HashMap::new();
        let mut others = Vec::new();
        for tag in extra::lacking(&self.rule.tags, listed, &there) {
            match self.record(&Item::tagged(tag.clone()), goal) {
                Some(record) if self.may_remove(&tag, goal) => _ = records.insert(tag, record),
                _ => others.push(tag),
            }
        }
        let _alone = self.alone_with_tags(goal, records.keys()).await;
        let records = self.surely_gone(records).await?;
        if records.is_empty() {
            return Ok((others, None));
        }
        let others = Mutex::new(others);
        let choose = |tags: Option<&[(&Tag, &Digest)]>| {
            let Extra { gone, others: changed } = found(tags, &records);
            others.lock().extend(changed);
            gone
        };
        let removal = TagRemoval {
            repository: goal.repository.clone(),
            rule: &self.rule.name,
            line: extra::LINE,
            choose: &choose,
            max_delete: limits,
            applies: self.mode == Mode::Apply,
            state: self.syncer.carrier.state(),
            memory: self.syncer.carrier.memory(),
            stop: self.stop,
            now: self.now(),
        };
        let removed = remover.remove(removal).await?;
        Ok((others.into_inner(), removed))
    }

    /// Keeps runs for events from these tags: what comes back meanwhile is copied after it went.
    async fn alone_with_tags(
        &self,
        goal: &Goal,
        tags: impl Iterator<Item = &Tag>,
    ) -> Vec<OwnedMutexGuard<()>> {
        let mut alone = Vec::new();
        if self.mode == Mode::Apply {
            let tags: BTreeSet<&Tag> = tags.collect();
            for tag in tags {
                let key = (goal.repository.name().to_owned(), tag.to_string());
                alone.push(self.syncer.common.at_work.lock(&key).await);
            }
        }
        alone
    }

    /// Those of these tags that the source does not have when asked for each: the list is older,
    /// and not every registry keeps its lists up to date.
    async fn surely_gone(
        &self,
        records: HashMap<Tag, TagState>,
    ) -> Result<HashMap<Tag, TagState>, Vec<Failure>> {
        let mut asked = futures_util::stream::iter(records)
            .map(|(tag, record)| async move {
                let there = self.source.resolve(&Reference::Tag(tag.clone())).await?;
                Ok::<_, Error>(there.is_none().then_some((tag, record)))
            })
            .buffer_unordered(TAGS);
        let mut gone = HashMap::new();
        while let Some(one) = asked.next().await {
            gone.extend(one.map_err(|error| vec![Failure::of(&error)])?);
        }
        Ok(gone)
    }

    fn now(&self) -> Timestamp {
        let seconds = i64::try_from((self.syncer.clock)()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }

    fn removed(&self, goal: &Goal, removal: RemovedTags, progress: &Progress<'_>) {
        let RemovedTags { refused, limited, steps, notes, stays, interrupted } = removal;
        let name = goal.repository.name();
        if interrupted {
            progress.left_out();
        }
        if !refused.is_empty() {
            let step = "remove what is gone at the source from";
            let failure = Failure::new(step, name, refused.join("; "));
            return progress.held_back(failure, limited);
        }
        notes.into_iter().for_each(|note| progress.note(format!("{name}: {note}")));
        let removed = |tag: &Tag, digest: &Digest, outcome, reason| Removed {
            target: format!("{name}:{tag}"),
            digest: digest.to_string(),
            outcome,
            reason,
        };
        let mut all = Vec::new();
        for step in steps {
            let outcome = self.what_became(step.outcome);
            if outcome == WhatBecame::Failed {
                let subject = match step.tags.first() {
                    Some(tag) => format!("{name}:{tag}"),
                    None => format!("{name}@{}", step.digest),
                };
                let reason = step.reason.clone().unwrap_or_else(|| "it was not done".to_owned());
                progress.failure(Failure::new("remove", &subject, reason));
            }
            for tag in step.tags.iter().filter(|tag| derived::parse(tag).is_none()) {
                if outcome == WhatBecame::Removed {
                    goal.has_changed();
                    self.forget(goal, tag);
                }
                all.push(removed(tag, &step.digest, outcome, step.reason.clone()));
            }
        }
        let stays = stays
            .iter()
            .map(|(tag, digest, why)| removed(tag, digest, WhatBecame::Stays, Some(why.clone())));
        all.extend(stays);
        progress.removed(all);
    }

    fn what_became(&self, outcome: StepOutcome) -> WhatBecame {
        match outcome {
            StepOutcome::Deleted | StepOutcome::Gone => WhatBecame::Removed,
            StepOutcome::NotDone if self.mode == Mode::DryRun => WhatBecame::WouldRemove,
            StepOutcome::Skipped | StepOutcome::Refused | StepOutcome::NotDone => WhatBecame::Stays,
            StepOutcome::Failed => WhatBecame::Failed,
        }
    }

    /// Whoever puts the tag there from now on, it is not from here.
    fn forget(&self, goal: &Goal, tag: &Tag) {
        let key = TagKey { source: self.source.name(), target: goal.repository.name(), tag };
        let state = self.syncer.carrier.state();
        state.tags.forget(&key);
        state.owners.forget(goal.repository.name(), tag);
    }
}

/// The tags of a target for which it is recorded what was put there. If the target could not be read
/// as a whole, all recorded tags: then nothing is deleted, and the report says why.
fn found(tags: Option<&[(&Tag, &Digest)]>, records: &HashMap<Tag, TagState>) -> Extra {
    let Some(tags) = tags else {
        return Extra { gone: records.keys().cloned().collect(), others: Vec::new() };
    };
    extra::split(tags.iter().filter_map(|(tag, digest)| Some((*tag, records.get(*tag)?, *digest))))
}

fn strange(name: &str, tags: &[Tag]) -> String {
    let mut names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    names.sort_unstable();
    let more = if names.len() > NAMED { ", …" } else { "" };
    let count = counted(names.len(), "tag is", "tags are");
    names.truncate(NAMED);
    format!(
        "{name}: {count} not at the source and not known to come from there; left alone: {}{more}",
        names.join(", ")
    )
}

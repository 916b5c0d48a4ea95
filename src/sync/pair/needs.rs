//! What an image needs at each target: as few requests as the answer takes.

use futures_util::future::join_all;

use super::{Goal, Item, Need, Pair, SourceList};
use crate::config::{IndexMode, OnConflict};
use crate::oci::{Digest, media_type};
use crate::repository::{Cause, Error, ErrorKind, Placement, Reference, Resolved, Result, missing};
use crate::state::{TagKey, TagOwner, TagState, Withdrawn};
use crate::sync::decide::{AtTarget, Known, Verdict, decide};
use crate::sync::progress::Progress;
use crate::sync::writers::Claim;
use crate::transfer::{ManifestReader, fingerprint, subjects, survey, survey_but};

/// One image at one target, and what is known of it.
pub(super) struct Look<'a, 'g> {
    pub item: &'a Item,
    pub goal: &'g Goal,
    /// What was put there last, under whatever options.
    record: Option<TagState>,
    /// The record was made under today's options.
    same_options: bool,
    /// Whose the tag is.
    claim: Claim,
    owner: Option<TagOwner>,
    /// The record may stand for a look at the target. Where a look costs no request, only if the
    /// target agrees.
    may_vouch: bool,
    /// The deletion of the tag by a cleanup rule, if it was not put again since.
    withdrawn: Option<Withdrawn>,
    /// A cleanup rule would delete it again.
    is_upheld: bool,
}

/// What is of an unknown type may be an index.
fn is_index(source: &Resolved) -> bool {
    source.media_type.as_deref().is_none_or(media_type::is_index)
}

impl Look<'_, '_> {
    /// The record, as far as it says what is wanted now.
    fn valid_record(&self) -> Option<&TagState> {
        self.record.as_ref().filter(|_| self.same_options)
    }

    /// The same, unless the tag was deleted since.
    fn vouching_record(&self) -> Option<&TagState> {
        self.valid_record().filter(|_| self.may_vouch && self.withdrawn.is_none())
    }

    /// The deletion, if a cleanup rule would delete the tag again.
    fn upheld(&self) -> Option<&Withdrawn> {
        self.withdrawn.as_ref().filter(|_| self.is_upheld)
    }
}

impl Pair<'_> {
    /// Finds out which targets are not in step. Gives the source's digest where it was asked for.
    /// Targets that cannot be asked are reported, and do not stop the others.
    pub(super) async fn needs<'g>(
        &self,
        item: &Item,
        goals: &[&'g Goal],
        list: &SourceList,
        few: bool,
        progress: &Progress<'_>,
    ) -> (Option<Digest>, Vec<Need<'g>>) {
        let mut looks = join_all(goals.iter().map(|goal| self.look(item, goal))).await;
        looks.retain(|Look { goal, claim, owner, .. }| {
            let contested = self.contested(item, goal, claim, owner.as_ref());
            if let Some(error) = &contested {
                progress.image(self.failed(item, goal, "two rules write this tag", error, 0.0));
            }
            contested.is_none()
        });
        if looks.is_empty() {
            return (None, Vec::new());
        }
        let fail = |goal: &Goal, reason: &str, error: &Error| match error.cause() {
            Cause::LeftBehind => goal.deferred.leave(item),
            _ => progress.image(self.failed(item, goal, reason, error, 0.0)),
        };
        let looks = join_all(looks.into_iter().map(async |look| {
            let known = look.goal.answer(goals.len(), self.cheaply_known(&look, few)).await;
            (look, known)
        }));
        let mut known = Vec::with_capacity(goals.len());
        for (look, at_target) in looks.await {
            match at_target {
                Ok(at_target) => known.push((look, at_target)),
                Err(error) => fail(look.goal, "the target could not be asked", &error),
            }
        }
        // What a cleanup rule deleted may be what the source still has.
        if self.is_immutable(item)
            && known.iter().all(|(_, at_target)| *at_target == Some(AtTarget::Vouched))
        {
            known.iter().for_each(|(look, _)| self.unchanged(look, progress));
            return (None, Vec::new());
        }
        let is_missing = |look: &Look<'_, '_>, at_target: &Option<AtTarget>| {
            *at_target == Some(AtTarget::Lacks) && look.upheld().is_none()
        };
        if known.iter().all(|(look, at_target)| is_missing(look, at_target)) {
            let missing = |goal| Need::missing(goal, self.condition(None));
            return (None, known.iter().map(|(look, _)| missing(look.goal)).collect());
        }
        let hint = self.hinted_source(item, list);
        let hint = hint.filter(|hint| known.iter().all(|known| self.is_hinted(known, hint)));
        let source = match hint {
            Some(hint) => Ok(hint),
            None => self.resolve_source(item).await,
        };
        let source = match source {
            Ok(source) => source,
            // What had moved is gone again: there is nothing to do.
            Err(error) if self.only.is_some() && error.kind() == ErrorKind::Missing => {
                progress.withdrawn(known.len());
                return (None, Vec::new());
            }
            Err(error) => {
                for (look, _) in known {
                    fail(look.goal, "the source could not be read", &error);
                }
                return (None, Vec::new());
            }
        };
        let compared = join_all(known.into_iter().map(async |(look, at_target)| {
            let at_target = at_target.or_else(|| self.hinted_target(&look, &source));
            let need = self.need(&look, at_target, &source, list, progress);
            (look.goal, look.goal.answer(goals.len(), need).await)
        }));
        let mut needs = Vec::new();
        for (goal, need) in compared.await {
            match need {
                Ok(need) => needs.extend(need),
                Err(error) => fail(goal, "it could not be compared", &error),
            }
        }
        (Some(source.digest), needs)
    }

    fn is_immutable(&self, item: &Item) -> bool {
        let Reference::Tag(tag) = &item.reference else { return false };
        self.rule.immutable.as_ref().is_some_and(|patterns| patterns.matches(tag))
    }

    async fn resolve_source(&self, item: &Item) -> Result<Resolved> {
        let mut source = self.source.resolve(&item.reference).await?;
        // The source lists the tag. Proxies of other registries answer 404 to HEAD for what they
        // have not fetched yet.
        if source.is_none() && self.only.is_none() && matches!(item.reference, Reference::Tag(_)) {
            let memory = self.syncer.carrier.memory().begin();
            let reader = ManifestReader::quiet(&*self.source, &memory);
            let manifest = reader.read(&item.reference).await?;
            source = manifest.map(|manifest| Resolved::from(&*manifest));
            if source.is_some() {
                self.source.look_up_by_reading();
            }
        }
        match source {
            Some(source) => Ok(source),
            // An event's tag may well be gone again, and nobody asks where.
            None if self.only.is_some() => {
                let name = format!("{}{}", self.source.name(), item.reference.suffix());
                Err(Error::new("look up", name, Cause::Missing))
            }
            None => Err(missing("look up", &*self.source, &item.reference).await),
        }
    }

    async fn look<'a, 'g>(&self, item: &'a Item, goal: &'g Goal) -> Look<'a, 'g> {
        let record = self.record(item, goal);
        let same_options = record.as_ref().is_some_and(|it| it.options == self.options_mark);
        let withdrawn = self.withdrawn(item, goal);
        let is_upheld = self.is_upheld(item, goal, withdrawn.as_ref());
        let (claim, owner) = self.claim(item, goal);
        let may_vouch = match (&record, &item.placement) {
            // What another rule put there may be something else.
            _ if matches!(claim, Claim::Inherited { .. }) => false,
            (Some(record), Placement::Tag(tag)) if goal.repository.capabilities().is_local => {
                let wanted = &record.target_digest;
                let found = goal.repository.resolve(&Reference::Tag(tag.clone())).await;
                found.is_ok_and(|found| found.is_some_and(|it| it.digest == *wanted))
                    && goal.repository.is_complete(wanted).await.unwrap_or(false)
            }
            _ => true,
        };
        Look { item, goal, record, same_options, claim, owner, may_vouch, withdrawn, is_upheld }
    }

    /// What was put at a target last.
    pub(super) fn record(&self, item: &Item, goal: &Goal) -> Option<TagState> {
        let Placement::Tag(tag) = &item.placement else { return None };
        let key = TagKey { source: self.source.name(), target: goal.repository.name(), tag };
        self.syncer.carrier.state().tags.get(&key)
    }

    /// What can be said of the target without a request for this image alone.
    async fn cheaply_known(&self, look: &Look<'_, '_>, few: bool) -> Result<Option<AtTarget>> {
        let Placement::Tag(tag) = &look.item.placement else { return Ok(None) };
        let is_immutable = self.is_immutable(look.item);
        let vouched = look.vouching_record().is_some_and(|record| {
            is_immutable && !self.recheck || self.is_fresh(record.verified_at)
        });
        // Of what an event names, the source has just moved. A local target has been looked at.
        let is_local = look.goal.repository.capabilities().is_local;
        if vouched && (self.only.is_some() || is_local || few && is_immutable) {
            return Ok(Some(AtTarget::Vouched));
        }
        if few {
            return Ok(None);
        }
        let tags = match look.goal.tags().await {
            // Credentials that may only push are of use all the same.
            Err(error)
                if vouched
                    && matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported) =>
            {
                return Ok(Some(AtTarget::Vouched));
            }
            tags => tags?,
        };
        let has = tags.is_some() && look.goal.listed(tag).is_some();
        Ok(match (vouched, has) {
            (true, true) => Some(AtTarget::Vouched),
            // Not every registry keeps its lists up to date: it is asked for this tag.
            (true, false) | (false, true) => None,
            (false, false) => Some(AtTarget::Lacks),
        })
    }

    /// Whether what was seen then, in seconds since 1970, need not be looked at again.
    fn is_fresh(&self, seen_at: u64) -> bool {
        let age = (self.syncer.clock)().saturating_sub(seen_at);
        !self.recheck && age < self.rule.recheck.as_secs()
    }

    /// The image is in step, according to the state or to the target itself.
    fn unchanged(&self, look: &Look<'_, '_>, progress: &Progress<'_>) {
        progress.unchanged(1);
        if let Some(record) = look.vouching_record()
            && !look.goal.repository.capabilities().is_local
        {
            progress.vouched(record.verified_at);
        }
    }

    async fn need<'g>(
        &self,
        look: &Look<'_, 'g>,
        known: Option<AtTarget>,
        source: &Resolved,
        list: &SourceList,
        progress: &Progress<'_>,
    ) -> Result<Option<Need<'g>>> {
        let (item, goal) = (look.item, look.goal);
        let mut target = match known {
            Some(known) => known,
            None => self.ask(item, goal).await?,
        };
        let is_index = is_index(source);
        let tag = self.known(look, source);
        let mut verdict = decide(&tag, &target, self.rule.on_conflict);
        if verdict == Verdict::Ask {
            target = self.ask(item, goal).await?;
            verdict = decide(&tag, &target, self.rule.on_conflict);
        }
        let is_damaged = match &target {
            AtTarget::Has(digest) if verdict == Verdict::InStep => {
                !goal.repository.is_complete(digest).await?
            }
            _ => false,
        };
        if is_damaged {
            verdict = Verdict::Copy("the target's copy of it is not complete");
        }
        let current = match &target {
            AtTarget::Has(digest) => {
                self.forget_withdrawn(item, goal);
                Some(digest.clone())
            }
            AtTarget::Vouched | AtTarget::Lacks | AtTarget::Unreadable => None,
        };
        match verdict {
            Verdict::Copy(reason) => {
                let lacks = target == AtTarget::Lacks;
                // The digest of a sparse index does not tell which of its children are there.
                let sparse = is_index
                    && (self.options.index == IndexMode::Sparse && tag.filtered
                        || tag.record.is_some() && !tag.same_options);
                let condition = self.condition(current.as_ref());
                let current = current.filter(|_| !sparse && !is_damaged);
                Ok(Some(Need { goal, reason, current, condition, lacks, vouched_since: None }))
            }
            Verdict::InStep => self.in_step(look, current, source, list, progress).await,
            Verdict::Withhold => {
                self.confirm_withdrawn(item, goal, look.withdrawn.as_ref());
                self.withheld(item, goal, &source.digest, progress);
                Ok(None)
            }
            Verdict::Keep => {
                progress.image(self.kept(item, goal));
                Ok(None)
            }
            Verdict::Refuse | Verdict::Ask => {
                let error = self.conflict(item, goal, current.as_ref(), &source.digest);
                progress.image(self.failed(item, goal, "conflict", &error, 0.0));
                Ok(None)
            }
        }
    }

    /// What is known of a tag besides what the target has.
    pub(super) fn known<'k>(&self, look: &'k Look<'_, '_>, source: &'k Resolved) -> Known<'k> {
        let is_index = is_index(source);
        Known {
            source: &source.digest,
            record: look.record.as_ref(),
            // Of a single image there is no part: options make no other one of it.
            same_options: look.same_options || !is_index,
            filtered: is_index && !self.options.platforms.is_empty(),
            withdrawn: look.upheld().map(|withdrawn| &withdrawn.digest),
        }
    }

    fn conflict(&self, item: &Item, goal: &Goal, found: Option<&Digest>, source: &Digest) -> Error {
        let cause = Cause::Unsupported(format!(
            "the target's tag was changed by someone else: it is {}, the source has {source} (on_conflict = \"fail\")",
            found.map_or_else(|| "unknown".to_owned(), Digest::to_string),
        ));
        let subject = format!("{}{}", goal.repository.name(), item.placement.suffix());
        Error::new("overwrite", subject, cause)
    }

    async fn ask(&self, item: &Item, goal: &Goal) -> Result<AtTarget> {
        let reference = match &item.placement {
            Placement::Tag(tag) => Reference::Tag(tag.clone()),
            Placement::Digest | Placement::Part => item.reference.clone(),
        };
        match goal.repository.resolve(&reference).await {
            Ok(None) => Ok(AtTarget::Lacks),
            Ok(Some(resolved)) => Ok(AtTarget::Has(resolved.digest)),
            // Policies about vulnerabilities and credentials that may only push forbid it. What a full
            // disk has damaged cannot be read either, and is put again.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Policy | ErrorKind::Denied | ErrorKind::InternalError
                ) && self.rule.on_conflict == OnConflict::Overwrite =>
            {
                Ok(AtTarget::Unreadable)
            }
            Err(error) => Err(error),
        }
    }

    /// The image itself is in step. What refers to it may not be. `current`: what the target was
    /// seen to have, unless the state vouches for it.
    async fn in_step<'g>(
        &self,
        look: &Look<'_, 'g>,
        current: Option<Digest>,
        source: &Resolved,
        list: &SourceList,
        progress: &Progress<'_>,
    ) -> Result<Option<Need<'g>>> {
        let (item, goal) = (look.item, look.goal);
        if self.options.referrers {
            let in_step = self.referrers_in_step(look, source, current.as_ref(), list, progress);
            if !in_step.await? {
                let vouched = look.record.as_ref().filter(|_| current.is_none());
                let vouched_since = vouched.map(|record| record.verified_at);
                let current = current.or_else(|| Some(look.record.as_ref()?.target_digest.clone()));
                return Ok(Some(Need {
                    goal,
                    reason: super::REFERRERS_CHANGED,
                    vouched_since,
                    condition: self.condition(current.as_ref()),
                    current,
                    lacks: false,
                }));
            }
        } else if let Some(target) = &current {
            self.remember(item, goal, self.state_of(&source.digest, target, Vec::new(), &[]));
        }
        match current {
            Some(_) => progress.unchanged(1),
            None => self.unchanged(look, progress),
        }
        Ok(None)
    }

    /// Whether everything that refers to an image in step is at the target too; remembers it.
    async fn referrers_in_step(
        &self,
        look: &Look<'_, '_>,
        source: &Resolved,
        current: Option<&Digest>,
        list: &SourceList,
        progress: &Progress<'_>,
    ) -> Result<bool> {
        let record = look.valid_record().filter(|record| record.source_digest == source.digest);
        let (memory, alive) = (self.syncer.carrier.memory().begin(), || progress.beat());
        let reader = |repository| ManifestReader { repository, memory: &memory, alive: &alive };
        let subjects = match record {
            Some(record) => record.subjects.clone(),
            None => self.subjects(source, &reader(&*self.source)).await?,
        };
        let bare_at = record.and_then(|it| it.bare_children_at).filter(|&at| self.is_fresh(at));
        let bare = subjects.get(1..).filter(|_| bare_at.is_some()).unwrap_or_default();
        let found = async |tags| survey_but(&reader(&*self.source), &subjects, bare, tags).await;
        let by_list = found(&list.hinted).await?;
        let is_recorded = |it: &TagState| it.referrers == fingerprint(&by_list);
        let found = match record.is_some_and(is_recorded) || list.hints.is_empty() {
            true => by_list,
            false => found(&list.derived).await?,
        };
        match record {
            Some(record) if record.referrers != fingerprint(&found) => return Ok(false),
            Some(_) => {}
            None if found.is_empty() => {}
            None => {
                let derived = look.goal.derived().await?;
                let there = survey(&reader(&*look.goal.repository), &subjects, derived).await?;
                if !found.iter().all(|found| there.contains(found)) {
                    return Ok(false);
                }
            }
        }
        if let Some(current) = current {
            let state = self.state_of(&source.digest, current, subjects, &found);
            let bare_children_at = bare_at.or(state.bare_children_at);
            self.remember(look.item, look.goal, TagState { bare_children_at, ..state });
        } else if let Some(record) = record
            && bare_at.is_none()
            && let Some(at) = self.bare_children_at(&subjects, &found)
        {
            let state = TagState { bare_children_at: Some(at), ..record.clone() };
            self.remember(look.item, look.goal, state);
        }
        Ok(true)
    }

    /// Every manifest of an image that is in step but of which nothing is recorded.
    async fn subjects(
        &self,
        source: &Resolved,
        reader: &ManifestReader<'_>,
    ) -> Result<Vec<Digest>> {
        let index = source.media_type.as_deref().is_none_or(media_type::is_index);
        if !index {
            return Ok(vec![source.digest.clone()]);
        }
        let reference = Reference::Digest(source.digest.clone());
        let Some(root) = reader.read(&reference).await? else {
            return Ok(vec![source.digest.clone()]);
        };
        subjects(reader, root, &self.options).await
    }
}

//! A plan while it is carried out: the repository is looked at, the first steps that are left are
//! done one after the other, and it is looked at again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::deleting::{Deleted, Deleting};
use super::drift::{Still, View, still};
use super::recover::cannot_write;
use super::setback::{MOST_IN_A_ROW, Setback};
use super::untag::{Taken, Taking};
use super::{Applied, Order};
use crate::cleanup::audit::{Intent, Kept, Line};
use crate::cleanup::plan::document::StepLine;
use crate::cleanup::plan::snapshot::{Node, TagKind};
use crate::cleanup::plan::{Plan, Step, plan};
use crate::cleanup::report::{Outcome, StepAction, StepReport};
use crate::cleanup::site::{Look, Sight, Site};
use crate::config::policy::{MaxDelete, Policy};
use crate::oci::{Digest, Tag, derived};
use crate::state::Withdrawn;

/// How long a look at the repository is good enough to delete on the strength of it.
const LOOK_LASTS: Duration = Duration::from_secs(30);

pub(super) struct Carrying<'a, 's> {
    site: &'a Site<'s>,
    plan: &'a Plan<'a>,
    view: View<'a>,
    order: Order<'a>,
    /// What was to go, and did not.
    stays: HashSet<Node>,
    /// By place in the snapshot.
    gone: Vec<bool>,
    /// Tags that were taken from manifests that stay.
    untagged: HashSet<u32>,
    done: Applied,
    /// Setbacks without a success in between.
    in_a_row: usize,
    /// Why no further step is tried.
    halted: Option<String>,
    /// Outcomes that are not in the audit yet: they go with the next intent, which costs one
    /// fsync for both. What a crash takes of them is found out by looking.
    untold: Vec<Line>,
}

/// What became of a step.
struct Became {
    outcome: Outcome,
    reason: Option<String>,
}

impl Became {
    fn plainly(outcome: Outcome) -> Self {
        Self { outcome, reason: None }
    }

    fn because(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: Some(reason.into()) }
    }
}

impl<'a, 's> Carrying<'a, 's> {
    pub fn new(site: &'a Site<'s>, plan: &'a Plan<'a>, order: Order<'a>) -> Self {
        Self {
            site,
            plan,
            view: View::of(plan),
            order,
            stays: HashSet::new(),
            gone: vec![false; plan.snapshot.len()],
            untagged: HashSet::new(),
            done: Applied::default(),
            in_a_row: 0,
            halted: None,
            untold: Vec::new(),
        }
    }
}

impl Carrying<'_, '_> {
    /// Looks at the repository and does the first of these steps, at least one; gives how many.
    pub async fn stretch(&mut self, left: &[(&Step, &StepLine<'_>)]) -> usize {
        let steps = &left[..left.len().min(self.order.stretch)];
        if self.goes_on() {
            self.keep_copies(steps).await;
        }
        let sight = if self.goes_on() { self.look(left).await } else { None };
        let looked = Instant::now();
        // The limits were for the plan as a whole.
        let policy = Policy { max_delete: MaxDelete::default(), ..self.plan.policy.clone() };
        let now = sight
            .as_ref()
            .map(|sight| plan(&sight.snapshot, &policy, &sight.in_use, self.plan.now));
        let now = now.as_ref().map(View::of);
        for (at, (step, line)) in steps.iter().enumerate() {
            if at > 0 && self.goes_on() && looked.elapsed() > LOOK_LASTS {
                return at;
            }
            let became = match &now {
                _ if self.stops() => {
                    self.done.interrupted = true;
                    Became::because(Outcome::NotDone, "the run was stopped")
                }
                Some(now) if self.halted.is_none() => self.step(step, line, now).await,
                _ => Became::because(Outcome::NotDone, self.halted.clone().unwrap_or_default()),
            };
            self.report(step, line, became);
        }
        steps.len()
    }

    fn goes_on(&self) -> bool {
        self.halted.is_none() && !self.stops()
    }

    /// The repository as it is now, also what no tag leads to any more of that which is left to be
    /// done.
    async fn look(&mut self, left: &[(&Step, &StepLine<'_>)]) -> Option<Sight> {
        let roots: Vec<Digest> = left.iter().map(|(_, line)| line.digest.clone()).collect();
        let rows = self.plan.snapshot.tags().iter();
        let emptied = rows
            .enumerate()
            .all(|(at, row)| self.gone[row.node.at()] || self.untagged.contains(&(at as u32)));
        match self.site.look(Look { all_referrers: false, roots: &roots, emptied }).await {
            Ok(Some(sight)) => Some(sight),
            Ok(None) => {
                // It may be gone, or these credentials may not read it any more.
                self.halted = Some("its tags cannot be listed any more".to_owned());
                None
            }
            Err(failures) => {
                self.halted = failures.first().map(ToString::to_string);
                None
            }
        }
    }

    fn stops(&self) -> bool {
        self.order.stop.is_cancelled()
    }

    /// Copies what is about to go into the quarantine.
    async fn keep_copies(&mut self, steps: &[(&Step, &StepLine<'_>)]) {
        let Some(quarantine) = &mut self.order.quarantine else { return };
        for (step, _) in steps {
            if self.order.stop.is_cancelled() {
                return;
            }
            if let Step::Delete { manifest, .. } = step {
                quarantine.keep(self.plan.snapshot, *manifest).await;
            }
        }
    }

    async fn step(&mut self, step: &Step, line: &StepLine<'_>, now: &View<'_>) -> Became {
        if let Some(owner) = self.held_by(step) {
            let digest = self.plan.snapshot.digest(owner);
            let reason = format!("it belongs to {digest}, which stays");
            return Became::because(Outcome::Skipped, reason);
        }
        match still(&self.view, step, now) {
            Still::Wanted => {}
            Still::Gone => return Became::plainly(Outcome::Gone),
            Still::Changed(reason) => return Became::because(Outcome::Skipped, reason),
            // Of the steps after it neither, and the run did not do what it was to do.
            Still::Unknown(reason) => {
                self.halted = Some(reason.clone());
                return Became::because(Outcome::NotDone, reason);
            }
        }
        let kept = match (&self.order.quarantine, step) {
            (Some(quarantine), Step::Delete { manifest, .. }) => match quarantine.copy(*manifest) {
                Ok(kept) => Some(kept.clone()),
                Err(reason) => {
                    let reason = format!("it could not be copied to the quarantine: {reason}");
                    return self.set_back(Setback::failed(reason));
                }
            },
            _ => None,
        };
        // Tags that have moved away since it was planned are not among them.
        let node = now.plan.snapshot.find(line.digest);
        let on_it = node.map(|node| now.tags.on(now.plan, node)).unwrap_or_default();
        let (tags, others): (Vec<&Tag>, Vec<&Tag>) = match line.tag {
            // Those that are to go as well, or have gone by now, are no loss.
            Some(tag) => {
                (vec![tag], on_it.into_iter().filter(|other| !self.view.takes(other)).collect())
            }
            None => (on_it, Vec::new()),
        };
        let intent = self.intent(line, &tags, &others, kept);
        let id = intent.id.clone();
        let mut lines = std::mem::take(&mut self.untold);
        lines.push(Line::Intent(Box::new(intent)));
        if let Err(error) = self.order.audit.write(lines).await {
            let reason = cannot_write(&error).to_string();
            self.halted = Some(reason.clone());
            // It may be written yet, with what is written next.
            self.tell(id, Outcome::Failed, Some(reason.clone()));
            return self.set_back(Setback::failed(reason));
        }
        let became = match step {
            Step::Delete { .. } => self.delete(line, &tags).await,
            Step::Untag { .. } => self.untag(line, &tags, &others).await,
        };
        self.tell(id, became.outcome, became.reason.clone());
        if became.outcome.is_gone() {
            self.withdraw(line.digest, &tags);
        }
        became
    }

    fn intent(
        &self,
        line: &StepLine<'_>,
        tags: &[&Tag],
        others: &[&Tag],
        quarantine: Option<Kept>,
    ) -> Intent {
        let owned = |tags: &[&Tag]| tags.iter().map(|tag| (*tag).clone()).collect();
        Intent {
            id: self.order.audit.name(self.order.actor),
            at: jiff::Timestamp::now(),
            actor: self.order.actor.clone(),
            rule: self.order.rule.to_owned(),
            line: line.rule.map(str::to_owned),
            with: line.with.cloned(),
            repository: self.site.repository.name().to_owned(),
            action: StepAction::of(line),
            tags: owned(tags),
            stay: owned(others),
            digest: line.digest.clone(),
            since: line.clock.time,
            clock: line.clock.source.map(str::to_owned),
            quarantine,
        }
    }

    /// Keeps an outcome for the audit.
    fn tell(&mut self, id: String, outcome: Outcome, reason: Option<String>) {
        self.untold.push(Line::Outcome { id, at: jiff::Timestamp::now(), outcome, reason });
    }

    /// Something that was to go before this, and stays.
    fn held_by(&self, step: &Step) -> Option<Node> {
        match step {
            Step::Delete { manifest, .. } => {
                let mut owners =
                    self.view.owners.owners.row(manifest.at()).iter().copied().map(Node);
                owners.find(|owner| self.stays.contains(owner))
            }
            Step::Untag { tag } => match self.plan.snapshot.tags()[*tag as usize].kind {
                TagKind::Of(subject) if self.stays.contains(&subject) => Some(subject),
                _ => None,
            },
        }
    }

    async fn delete(&mut self, line: &StepLine<'_>, tags: &[&Tag]) -> Became {
        let repository = &*self.site.repository;
        match (Deleting { repository, digest: line.digest, tags }).run().await {
            Deleted::Done => self.success(Became::plainly(Outcome::Deleted)),
            Deleted::Gone => self.success(Became::plainly(Outcome::Gone)),
            Deleted::Moved(tag) => {
                Became::because(Outcome::Skipped, format!("its tag `{tag}` was moved"))
            }
            Deleted::Stays(setback) => self.set_back(setback),
        }
    }

    async fn untag(&mut self, line: &StepLine<'_>, tags: &[&Tag], others: &[&Tag]) -> Became {
        let [tag] = tags else { return Became::plainly(Outcome::Gone) };
        let taking = Taking {
            repository: &*self.site.repository,
            is_layout: self.site.layout.is_some(),
            state: self.site.state,
            now: self.plan.now,
            tag,
            digest: line.digest,
            others,
            overwrite: self.plan.policy.untag_by_overwriting,
        };
        match taking.run().await {
            Taken::Done(note) => self.success(Became { outcome: Outcome::Deleted, reason: note }),
            Taken::Gone => self.success(Became::plainly(Outcome::Gone)),
            Taken::Moved(digest) => {
                Became::because(Outcome::Skipped, format!("it points at {digest} now"))
            }
            Taken::Stays(setback) => self.set_back(setback),
        }
    }

    fn success(&mut self, became: Became) -> Became {
        self.in_a_row = 0;
        became
    }

    fn set_back(&mut self, setback: Setback) -> Became {
        let Setback { outcome, reason, is_general } = setback;
        // What the registry refuses for this image alone says nothing of the next one.
        self.in_a_row = if outcome == Outcome::Refused { 0 } else { self.in_a_row + 1 };
        if is_general || self.in_a_row >= MOST_IN_A_ROW {
            let why = match is_general {
                true => format!(
                    "the step before it did not work for a reason that is general: {reason}"
                ),
                false => {
                    format!("{MOST_IN_A_ROW} steps in a row did not work, the last one: {reason}")
                }
            };
            self.halted.get_or_insert(why);
        }
        Became::because(outcome, reason)
    }

    /// Notes for who copies images that these tags went on purpose.
    fn withdraw(&self, digest: &Digest, tags: &[&Tag]) {
        let Some(policy) = self.order.withdraws else { return };
        let at = u64::try_from(self.plan.now.as_second()).unwrap_or_default();
        for tag in tags.iter().filter(|tag| derived::parse(tag).is_none()) {
            let withdrawn = Withdrawn { digest: digest.clone(), policy, at };
            self.site.state.set_withdrawn(self.site.repository.name(), tag, &withdrawn);
        }
    }

    fn report(&mut self, step: &Step, line: &StepLine<'_>, became: Became) {
        let Became { outcome, reason } = became;
        if let (Step::Untag { tag }, true) = (step, outcome.is_gone()) {
            self.untagged.insert(*tag);
        }
        if let Step::Delete { manifest, .. } = step {
            match outcome.is_gone() {
                true => {
                    self.gone[manifest.at()] = true;
                    self.site.state.forget_manifest(self.site.repository.name(), line.digest);
                }
                false => _ = self.stays.insert(*manifest),
            }
        }
        let bytes_freed = if outcome.is_gone() { line.bytes_freed } else { 0 };
        self.done.steps.push(StepReport { reason, bytes_freed, ..StepReport::of(line, outcome) });
    }

    /// Tells the audit the rest.
    pub async fn finish(mut self) -> Applied {
        let untold = std::mem::take(&mut self.untold);
        if !untold.is_empty()
            && let Err(error) = self.order.audit.write(untold).await
        {
            self.done.notes.push(cannot_write(&error).to_string());
        }
        self.done.bytes_freed = self.plan.snapshot.freed_without(&self.gone);
        self.done
    }
}

//! Carries a plan out, step by step.
//!
//! Before each stretch of steps the repository is read and planned again, and only what is still
//! wanted is done: what was pushed, tagged, moved or taken into use meanwhile stays. Each step is
//! written into the audit before it is asked for. What could not be deleted keeps what it owns, so
//! whatever happens, everything that is left is as whole as it was.
//!
//! - `drift`: whether a step is still what would be planned. `setback`: what it means that one did
//!   not work. Both pure.
//! - `untag`: takes one tag from a manifest that stays. `recover`: what a process before this one
//!   did not come to say of.
//! - `quarantine`: copies of what goes. `expire`: when those go.

pub(super) mod drift;
pub(super) mod expire;
pub(super) mod quarantine;
pub(super) mod recover;
pub(super) mod setback;
pub(super) mod untag;

use std::collections::HashSet;

use super::audit::{Actor, Audit, Intent, Line};
use super::plan::document::StepLine;
use super::plan::snapshot::{Node, TagKind};
use super::plan::{Plan, Step, plan};
use super::report::{Outcome, StepAction, StepReport};
use super::site::Site;
use crate::config::policy::{MaxDelete, Policy};
use crate::oci::{Tag, derived};
use crate::repository::Reference;
use crate::run::Stop;
use crate::state::Withdrawn;
use drift::{Still, View, still};
use quarantine::Quarantine;
use recover::cannot_write;
use setback::{MOST_IN_A_ROW, Setback};
use untag::{Taken, Taking};

/// So many steps are done on the strength of one look at the repository.
const STRETCH: usize = 500;

/// On whose behalf, and how, a plan is carried out.
pub(in crate::cleanup) struct Order<'a> {
    pub rule: &'a str,
    pub audit: &'a Audit,
    pub actor: &'a Actor,
    pub quarantine: Option<Quarantine<'a>>,
    pub stop: &'a Stop,
    /// The mark of the policy, under which tags that go are kept from being copied there again.
    pub withdraws: Option<u64>,
}

/// What was done of a plan.
#[derive(Debug, Default)]
pub(in crate::cleanup) struct Applied {
    /// In the order of the plan.
    pub steps: Vec<StepReport>,
    pub notes: Vec<String>,
    /// The run was stopped before the end.
    pub interrupted: bool,
    /// Bytes of manifests and blobs that nothing in the repository uses any more.
    pub bytes_freed: u64,
}

/// Carries a plan out that nothing refuses.
pub(in crate::cleanup) async fn apply<'a>(
    site: &'a Site<'_>,
    plan: &'a Plan<'a>,
    order: Order<'a>,
) -> Applied {
    let mut carrying = Carrying {
        site,
        plan,
        view: View::of(plan),
        order,
        stays: HashSet::new(),
        gone: vec![false; plan.snapshot.len()],
        done: Applied::default(),
        in_a_row: 0,
        halted: None,
        untold: Vec::new(),
    };
    let lines: Vec<StepLine<'_>> = plan.step_lines().collect();
    let steps: Vec<(&Step, &StepLine<'_>)> = plan.steps.iter().zip(&lines).collect();
    for stretch in steps.chunks(STRETCH) {
        carrying.stretch(stretch).await;
    }
    carrying.finish().await
}

struct Carrying<'a, 's> {
    site: &'a Site<'s>,
    plan: &'a Plan<'a>,
    view: View<'a>,
    order: Order<'a>,
    /// What was to go, and did not.
    stays: HashSet<Node>,
    /// By place in the snapshot.
    gone: Vec<bool>,
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

impl Carrying<'_, '_> {
    async fn stretch(&mut self, steps: &[(&Step, &StepLine<'_>)]) {
        if self.halted.is_none() && !self.stops() {
            self.keep_copies(steps).await;
        }
        let sight = match self.halted.is_some() || self.stops() {
            true => None,
            false => match self.site.look(false).await {
                Ok(sight) => sight,
                Err(failures) => {
                    self.halted = failures.first().map(ToString::to_string);
                    None
                }
            },
        };
        // The limits were for the plan as a whole.
        let policy = Policy { max_delete: MaxDelete::default(), ..self.plan.policy.clone() };
        let now = sight
            .as_ref()
            .map(|sight| plan(&sight.snapshot, &policy, &sight.in_use, self.plan.now));
        let now = now.as_ref().map(View::of);
        for (step, line) in steps {
            let became = match &now {
                _ if self.stops() => {
                    self.done.interrupted = true;
                    Became::because(Outcome::NotDone, "the run was stopped")
                }
                _ if self.halted.is_some() => {
                    let why = self.halted.clone().unwrap_or_default();
                    Became::because(Outcome::NotDone, why)
                }
                // The whole repository is gone.
                None => Became::plainly(Outcome::Gone),
                Some(now) => self.step(step, line, now).await,
            };
            self.report(step, line, became);
        }
    }

    fn stops(&self) -> bool {
        self.order.stop.soon.is_cancelled() || self.order.stop.now.is_cancelled()
    }

    /// Copies what is about to go into the quarantine.
    async fn keep_copies(&mut self, steps: &[(&Step, &StepLine<'_>)]) {
        let Some(quarantine) = &mut self.order.quarantine else { return };
        for (step, _) in steps {
            if self.order.stop.soon.is_cancelled() || self.order.stop.now.is_cancelled() {
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
            return Became::because(
                Outcome::Skipped,
                format!("it belongs to {digest}, which stays"),
            );
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
        let intent = Intent {
            id: self.order.audit.name(self.order.actor),
            at: jiff::Timestamp::now(),
            actor: self.order.actor.clone(),
            rule: self.order.rule.to_owned(),
            line: line.rule.map(str::to_owned),
            with: line.with.cloned(),
            repository: self.site.repository.name().to_owned(),
            action: action(step),
            tags: tags(line),
            digest: line.digest.clone(),
            since: line.clock.time,
            clock: line.clock.source.map(str::to_owned),
            quarantine: kept,
        };
        let id = intent.id.clone();
        let mut lines = std::mem::take(&mut self.untold);
        lines.push(Line::Intent(Box::new(intent)));
        if let Err(error) = self.order.audit.write(lines).await {
            self.halted = Some(cannot_write(&error).to_string());
            let reason = cannot_write(&error).to_string();
            return self.set_back(Setback::failed(reason));
        }
        let became = match step {
            Step::Delete { .. } => self.delete(line).await,
            Step::Untag { tag } => self.untag(*tag, line, now).await,
        };
        let (outcome, reason) = (became.outcome, became.reason.clone());
        self.untold.push(Line::Outcome { id, at: jiff::Timestamp::now(), outcome, reason });
        became
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

    async fn delete(&mut self, line: &StepLine<'_>) -> Became {
        let repository = &*self.site.repository;
        let reference = Reference::Digest(line.digest.clone());
        let mut deleted = repository.delete(&reference).await;
        // Some want the tags to go first (Google's registries): all of them are to go.
        if let Err(error) = &deleted
            && error.has_code("GOOGLE_MANIFEST_DANGLING_TAG")
        {
            for tag in &line.tags {
                if let Err(error) = repository.delete(&Reference::Tag((*tag).clone())).await {
                    return self.set_back(Setback::of(&error));
                }
            }
            deleted = repository.delete(&reference).await;
        }
        match deleted {
            Ok(true) => self.success(Became::plainly(Outcome::Deleted)),
            Ok(false) => self.success(Became::plainly(Outcome::Gone)),
            Err(error) => self.set_back(Setback::of(&error)),
        }
    }

    async fn untag(&mut self, tag: u32, line: &StepLine<'_>, now: &View<'_>) -> Became {
        let row = &self.plan.snapshot.tags()[tag as usize];
        let node = now.plan.snapshot.find(line.digest);
        let mut others = node.map(|node| now.tags.on(now.plan, node)).unwrap_or_default();
        others.retain(|other| **other != row.name);
        let taking = Taking {
            repository: &*self.site.repository,
            state: self.site.state,
            tag: &row.name,
            digest: line.digest,
            others: &others,
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
    fn withdraw(&self, line: &StepLine<'_>) {
        let Some(policy) = self.order.withdraws else { return };
        let state = self.site.state;
        let at = u64::try_from(self.plan.now.as_second()).unwrap_or_default();
        for tag in tags(line).iter().filter(|tag| derived::parse(tag).is_none()) {
            let withdrawn = Withdrawn { digest: line.digest.clone(), policy, at };
            state.set_withdrawn(self.site.repository.name(), tag, &withdrawn);
        }
    }

    fn report(&mut self, step: &Step, line: &StepLine<'_>, became: Became) {
        let Became { outcome, reason } = became;
        if outcome.is_gone() {
            self.withdraw(line);
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
        self.done.steps.push(StepReport {
            action: action(step),
            tags: tags(line),
            digest: line.digest.clone(),
            line: line.rule.map(str::to_owned),
            outcome,
            reason,
            bytes_freed: if outcome.is_gone() { line.bytes_freed } else { 0 },
        });
    }

    async fn finish(mut self) -> Applied {
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

fn action(step: &Step) -> StepAction {
    match step {
        Step::Delete { .. } => StepAction::Delete,
        Step::Untag { .. } => StepAction::Untag,
    }
}

fn tags(line: &StepLine<'_>) -> Vec<Tag> {
    line.tag.into_iter().chain(line.tags.iter().copied()).cloned().collect()
}

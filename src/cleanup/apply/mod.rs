//! Carries a plan out, step by step.
//!
//! Before each stretch of steps the repository is read and planned again, and only what is still
//! wanted is done: what was pushed, tagged, moved or taken into use meanwhile stays. Each step is
//! written into the audit before it is asked for. What could not be deleted keeps what it owns, so
//! whatever happens, everything that is left is as whole as it was.
//!
//! - `carrying`: looks, and does one step after the other. `drift`: whether a step is still what would be planned. `setback`: what it means that one did
//!   not work. Both pure.
//! - `deleting`: deletes a manifest. `untag`: takes one tag from a manifest that stays,
//!   after having tried that on a `throwaway`. `recover`: what a process before this one
//!   did not come to say of.
//! - `quarantine`: copies of what goes. `expire`: when those go.

mod carrying;
mod deleting;
pub(super) mod drift;
pub(super) mod expire;
pub(super) mod quarantine;
pub(super) mod recover;
pub(super) mod setback;
mod throwaway;
pub(super) mod untag;

use super::audit::{Actor, Audit};
use super::plan::document::StepLine;
use super::plan::{Plan, Step};
use super::report::StepReport;
use super::site::Site;
use crate::stop::StopSignal;
use carrying::Carrying;
use quarantine::Quarantine;

/// So many steps are done on the strength of one look at the repository.
pub(in crate::cleanup) const STRETCH: usize = 500;

/// On whose behalf, and how, a plan is carried out.
pub(in crate::cleanup) struct Order<'a> {
    pub rule: &'a str,
    pub audit: &'a Audit,
    pub actor: &'a Actor,
    pub quarantine: Option<Quarantine<'a>>,
    pub stop: &'a StopSignal,
    /// The mark of the policy, under which tags that go are kept from being copied there again.
    pub withdraws: Option<u64>,
    /// Steps on the strength of one look: [`STRETCH`], but for tests.
    pub stretch: usize,
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
    let mut carrying = Carrying::new(site, plan, order);
    let lines: Vec<StepLine<'_>> = plan.step_lines().collect();
    let steps: Vec<(&Step, &StepLine<'_>)> = plan.steps.iter().zip(&lines).collect();
    let mut left = &steps[..];
    while !left.is_empty() {
        let done = carrying.stretch(left).await;
        left = &left[done..];
    }
    carrying.finish().await
}

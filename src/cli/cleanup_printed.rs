//! What `tranship cleanup` prints of the plans of a rule, whoever made them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::args::Output;
use super::cleanup_plan;
use super::cleanup_progress::Live;
use super::cleanup_text as text;
use super::lines::Lines;
use crate::cleanup::plan::document::Document;
use crate::cleanup::{Asked, CleanupReport, Explanation};
use crate::config::cleanup::Mode;
use crate::oci::Tag;
use crate::repository::Reference;
use crate::stop::StopSignal;

/// What is wanted of each rule.
pub struct Wanted<'a> {
    pub mode: Mode,
    pub asked: Option<&'a Asked>,
    pub stop: &'a StopSignal,
    pub output: Output,
    /// Tags that stay are listed.
    pub listed: bool,
    pub live: &'a Arc<Live>,
}

/// A rule's run, with its plans as they are printed, by repository.
pub struct Ran {
    pub report: CleanupReport,
    pub plans: Vec<Printed>,
}

/// What is printed of a plan: the plan itself is too large to be held.
pub enum Printed {
    Json {
        plan: Box<RawValue>,
        explanation: Option<Box<RawValue>>,
    },
    Text(Lines),
    /// The image that is asked for is not there; with its whole name, and a similar tag that is.
    Missing {
        image: String,
        similar: Option<Tag>,
    },
}

/// What is printed of a plan, whoever made it.
pub fn printed(
    rule: &str,
    plan: &Document<'_>,
    explanation: Option<Explanation<'_>>,
    wanted: &Wanted<'_>,
) -> serde_json::Result<Printed> {
    let Wanted { asked, output, listed, .. } = *wanted;
    if let (Some(asked), None, true) = (asked, &explanation, plan.refused.is_empty()) {
        let image = format!("{}{}", plan.repository, asked.reference.suffix());
        return Ok(Printed::Missing { image, similar: similar(plan, &asked.reference) });
    }
    Ok(match (output, asked, explanation) {
        (Output::Json, _, explanation) => Printed::Json {
            plan: pretty(plan)?,
            explanation: explanation.as_ref().map(pretty).transpose()?,
        },
        (Output::Text, None, _) => Printed::Text(cleanup_plan::plan(rule, plan, listed)),
        (Output::Text, Some(_), Some(explanation)) => {
            Printed::Text(text::explanation(rule, &explanation))
        }
        (Output::Text, Some(_), None) => Printed::Text(Lines::default()),
    })
}

/// The tag that may have been meant instead of one that is not there.
fn similar(plan: &Document<'_>, reference: &Reference) -> Option<Tag> {
    let Reference::Tag(wanted) = reference else { return None };
    let tags = plan.tag_verdicts.iter().map(|line| line.tag.into_owned());
    let likeness = |tag: &Tag| strsim::jaro_winkler(wanted.as_str(), tag.as_str());
    let best = tags.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.8).then_some(best)
}

/// With a line for each value: plans are compared line by line.
fn pretty(document: &impl Serialize) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(serde_json::to_string_pretty(document)?)
}

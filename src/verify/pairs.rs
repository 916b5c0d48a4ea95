//! What is compared: images, each at its source and at its target.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::config::{OnConflict, SyncRule};
use crate::fair::Flow;
use crate::oci::Digest;
use crate::repository::{Failure, Placement, Reference, Repository, Result};
use crate::sync::{Selected, Syncer};
use crate::transfer::{Options, TagIndex};

/// A repository at the source, and the one at the target that should hold its images.
pub struct RepositoryPair {
    pub source: Arc<dyn Repository>,
    pub target: Arc<dyn Repository>,
    /// The derived tags of the source.
    pub source_tags: TagIndex,
    pub options: Arc<Options>,
    /// Whether a repair may overwrite a tag that someone else has changed.
    pub on_conflict: OnConflict,
    /// Whose turns its comparisons and repairs take.
    pub flow: Flow,
    target_tags: tokio::sync::Mutex<Option<TagIndex>>,
}

/// One image: what is read at the source, and what it is called at the target.
#[derive(Debug, Clone)]
pub struct Item {
    pub reference: Reference,
    pub placement: Placement,
    /// The digest that a cleanup rule deleted from the target under this tag and would delete again.
    /// If only that is missing, all is well.
    pub withdrawn: Option<Digest>,
}

/// What is known from elsewhere of images that cleanup rules deleted and would delete again: their
/// names at the target, as `host/repository:tag`, and what they were at the source.
pub type Withheld = HashMap<String, Digest>;

/// An image to be verified.
pub type Task = (Arc<RepositoryPair>, Item);

/// What is verified side by side with others: the images of one rule, or those that a person named.
pub struct Part {
    /// Whose turns its comparisons take.
    pub flow: Flow,
    /// Finds its images, and what could not be read.
    pub images: BoxFuture<'static, (Vec<Task>, Vec<Failure>)>,
}

impl Part {
    /// What each of these rules selects, in their order. `withheld`: what the state of the syncer does
    /// not know.
    pub fn of_rules(
        syncer: &Arc<Syncer>,
        rules: &[&SyncRule],
        withheld: &Arc<Withheld>,
    ) -> Vec<Self> {
        let parts = rules.iter().zip(1..).map(|(&rule, number)| {
            let (syncer, rule, flow) = (Arc::clone(syncer), rule.clone(), Flow::new(number));
            let withheld = Arc::clone(withheld);
            let images = async move {
                let (selected, failures) = syncer.select(&rule, flow).await;
                let tasks =
                    selected.into_iter().flat_map(|one| tasks(one, rule.on_conflict, &withheld));
                (tasks.collect(), failures)
            };
            Self { flow, images: images.boxed() }
        });
        parts.collect()
    }
}

impl RepositoryPair {
    pub fn new(
        source: Arc<dyn Repository>,
        target: Arc<dyn Repository>,
        source_tags: TagIndex,
        options: Arc<Options>,
        on_conflict: OnConflict,
        flow: Flow,
    ) -> Self {
        let target_tags = Default::default();
        Self { source, target, source_tags, options, on_conflict, flow, target_tags }
    }

    /// The target's derived tags, listed when they are first needed.
    pub(super) async fn target_tags(&self) -> Result<TagIndex> {
        let mut known = self.target_tags.lock().await;
        if let Some(tags) = &*known {
            return Ok(tags.clone());
        }
        let tags = self.target.tags().await?;
        Ok(known.insert(TagIndex::new(tags.as_deref().unwrap_or_default())).clone())
    }

    /// Something was put at the target: its tags are listed anew.
    pub(super) async fn target_has_changed(&self) {
        *self.target_tags.lock().await = None;
    }
}

/// The tasks that a rule's selection makes: each image once for each target.
fn tasks(selected: Selected, on_conflict: OnConflict, withheld: &Withheld) -> Vec<Task> {
    let Selected { source, targets, source_tags, options, images, withdrawn, contested, flow } =
        selected;
    let pairs = targets.into_iter().map(|target| {
        let (source, tags, options) = (source.clone(), source_tags.clone(), options.clone());
        Arc::new(RepositoryPair::new(source, target, tags, options, on_conflict, flow))
    });
    pairs
        .zip(withdrawn.into_iter().zip(contested))
        .flat_map(|(pair, (mut withdrawn, contested))| {
            let is_contested = move |placement: &Placement| match placement {
                Placement::Tag(tag) => contested.contains(tag),
                Placement::Digest | Placement::Part => false,
            };
            let images = images.iter().filter(move |(_, placement)| !is_contested(placement));
            images.map(move |(reference, placement)| {
                let (reference, placement) = (reference.clone(), placement.clone());
                let withdrawn = match &placement {
                    Placement::Tag(tag) => withdrawn.remove(tag).or_else(|| {
                        let name = format!("{}{}", pair.target.name(), placement.suffix());
                        withheld.get(&name).cloned()
                    }),
                    Placement::Digest | Placement::Part => None,
                };
                (pair.clone(), Item { reference, placement, withdrawn })
            })
        })
        .collect()
}

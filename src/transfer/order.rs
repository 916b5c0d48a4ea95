//! The order in which an image is put: blobs, then children, then parents, then what refers to
//! the image, the tag last. Whatever happens and whenever, a tag never points at something
//! incomplete.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;

use super::events::TransferEvent;
use super::graph::{Graph, PARALLEL, size_of_all};
use super::job::{Job, TransferOutcome};
use super::manifests::{ManifestWriter, Role};
use super::reading::{Held, ManifestReader};
use super::referrers::{self, Referrer, is_unreadable};
use super::reporter::Reporter;
use super::target::TargetTransfer;
use crate::oci::Digest;
use crate::repository::{Error, Placement, Result};

/// The delivery of one image, with everything that belongs to it, to all targets of a job.
pub(super) struct Delivery<'a> {
    job: &'a Job,
    source: ManifestReader<'a>,
    reporter: &'a Reporter<'a>,
    writer: ManifestWriter<'a>,
    targets: Vec<TargetTransfer<'a>>,
    /// Subjects whose referrers were looked for.
    surveyed: Mutex<HashSet<Digest>>,
    referrers: Mutex<Vec<Referrer>>,
    notes: Mutex<Vec<String>>,
}

impl<'a> Delivery<'a> {
    pub fn new(
        source: ManifestReader<'a>,
        writer: ManifestWriter<'a>,
        reporter: &'a Reporter<'a>,
    ) -> Self {
        let job = writer.job;
        Self {
            job,
            source,
            reporter,
            writer,
            targets: job
                .targets
                .iter()
                .map(|target| TargetTransfer::new(target, reporter, job.targets.len() > 1))
                .collect(),
            surveyed: Mutex::default(),
            referrers: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// Delivers the image and says what each target got. An error means that the source could not
    /// be read.
    pub async fn run(self, source_digest: Digest, graph: Graph) -> Result<TransferOutcome> {
        let digest = graph.root.digest.clone();
        let subjects = graph.manifests().map(|manifest| manifest.digest.clone()).collect();
        self.deliver(graph, Role::Image, 0).await?;
        let finish = |target: TargetTransfer<'_>| {
            let unchanged = target.target.current.as_ref() == Some(&digest);
            target.finish(digest.clone(), unchanged)
        };
        Ok(TransferOutcome {
            source_digest,
            targets: self.targets.into_iter().map(finish).collect(),
            notes: self.notes.into_inner(),
            subjects,
            referrers: self.referrers.into_inner(),
        })
    }

    /// Delivers an image and everything that belongs to it. `depth`: how deep in referrers of
    /// referrers it is. Boxed, because what belongs to an image is an image again.
    fn deliver(&self, mut graph: Graph, role: Role, depth: usize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let notes = std::mem::take(&mut graph.notes);
            notes.into_iter().for_each(|note| self.note(note));
            let has_it = |target: &TargetTransfer<'_>| {
                role == Role::Image && target.target.current.as_ref() == Some(&graph.root.digest)
            };
            let mut lacking = self.live();
            lacking.retain(|target| !has_it(target));
            let subjects = graph.manifests().map(|manifest| manifest.digest.clone()).collect();
            let root = self.deliver_parts(graph, &lacking).await;
            if self.job.options.referrers {
                self.deliver_referrers(subjects, depth).await?;
            }
            self.list_referrers(&role).await;
            let puts = lacking.iter().map(|target| self.writer.put_root(target, &root, &role));
            join_all(puts).await;
            // The image may be a referrer itself.
            self.list_referrers(&role).await;
            Ok(())
        })
    }

    /// Lists referrers in the fallback tags of their subjects, when all that belong to the image are
    /// there.
    async fn list_referrers(&self, role: &Role) {
        if *role == Role::Image {
            join_all(self.live().into_iter().map(|target| self.writer.list_referrers(target)))
                .await;
        }
    }

    /// Brings all blobs, then all manifests below the root, to targets that lack the image, and gives
    /// the root back. Each level is let go once it has been put.
    async fn deliver_parts(&self, graph: Graph, lacking: &[&TargetTransfer<'_>]) -> Held {
        let (blobs, note) = graph.blobs(&self.job.options);
        note.into_iter().for_each(|note| self.note(note));
        let Graph { root, levels, .. } = graph;
        if lacking.is_empty() {
            return root;
        }
        let expected = size_of_all(&blobs).saturating_mul(lacking.len() as u64);
        self.reporter.report("", TransferEvent::Expected(expected));
        futures_util::stream::iter(&blobs)
            .for_each_concurrent(PARALLEL, |blob| {
                self.writer.blobs.ensure(self.source.repository, blob, lacking, true)
            })
            .await;
        drop(blobs);
        for level in levels.into_iter().rev() {
            futures_util::stream::iter(&level)
                .for_each_concurrent(PARALLEL, |manifest| async move {
                    let put = |target| self.writer.put(target, &Placement::Part, manifest, false);
                    join_all(lacking.iter().copied().map(put)).await;
                })
                .await;
        }
        root
    }

    /// Delivers what refers to these subjects, each with everything below it.
    async fn deliver_referrers(&self, mut subjects: Vec<Digest>, depth: usize) -> Result<()> {
        {
            let mut surveyed = self.surveyed.lock();
            subjects.retain(|subject| surveyed.insert(subject.clone()));
        }
        // One too many is enough to see that there are too many.
        let mut room = referrers::MAX_REFERRERS + 1;
        let found: Vec<(Digest, Result<Vec<Referrer>>)> = futures_util::stream::iter(subjects)
            .map(|subject| async move {
                let tags = &self.job.source_tags;
                let found = referrers::of_subject(&self.source, &subject, tags).await;
                (subject, found)
            })
            .buffered(referrers::PARALLEL)
            .map(|(subject, mut found)| {
                if let Ok(found) = &mut found {
                    found.truncate(room);
                    room -= found.len();
                }
                (subject, found)
            })
            .collect()
            .await;
        for (subject, found) in found {
            match found {
                Ok(found) => {
                    for referrer in found {
                        self.deliver_referrer(referrer, depth).await?;
                    }
                }
                Err(error) if is_unreadable(&error) => {
                    tracing::debug!(%error, %subject, "what refers to it cannot be listed");
                    self.refuse(&error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Delivers one referrer. One that cannot be read, now or ever, is reported, and the image
    /// goes without it.
    async fn deliver_referrer(&self, referrer: Referrer, depth: usize) -> Result<()> {
        let count = self.referrers.lock().len();
        if depth >= referrers::MAX_DEPTH || count >= referrers::MAX_REFERRERS {
            self.refuse(&referrers::too_many(self.source.repository, &referrer.digest));
            return Ok(());
        }
        let options = self.job.options.of_referrer();
        let graph = match referrers::read(&self.source, &referrer, &options).await {
            Ok(Some(graph)) => graph,
            Ok(None) => {
                let (subject, digest) = (&referrer.subject, &referrer.digest);
                self.note(format!("a referrer of {subject} is listed but not there: {digest}"));
                return Ok(());
            }
            Err(error) if is_unreadable(&error) => {
                self.refuse(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let role = referrer.tag.clone().map_or(Role::Referrer, Role::Derived);
        self.referrers.lock().push(referrer);
        let live = self.live();
        self.deliver(graph, role, depth + 1).await?;
        let blob_of_source = format!("{}@", self.source.repository.name());
        for target in live {
            target.excuse(|error| {
                is_unreadable(error) && error.subject().starts_with(&blob_of_source)
            });
        }
        Ok(())
    }

    /// The targets at which nothing has failed.
    fn live(&self) -> Vec<&TargetTransfer<'a>> {
        self.targets.iter().filter(|target| !target.has_failed()).collect()
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.lock();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Something that belongs to the image cannot be had: every target goes without it.
    fn refuse(&self, error: &Error) {
        for target in self.live() {
            target.refuse(error.clone());
        }
    }
}

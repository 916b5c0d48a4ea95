//! The audit: what was to be deleted, by whom and why, before it is; and what became of it.
//!
//! An append-only log in the state directory ([`state::jsonl`](crate::state::jsonl)) of which
//! nothing is ever removed. An intent is durable before the request that it is about is sent, so
//! whatever is gone has a line here. A process that is killed leaves at most one intent a
//! repository without an outcome: the next one finds these and settles them.
//!
//! Unlike the rest of the state it must not be lost, so here errors are returned, and what cannot
//! be written down is not deleted.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::step::{StepAction, StepOutcome};
use crate::oci::{Digest, Manifest, Tag};
use crate::repository::Failure;
use crate::state::jsonl::{Limits, Log, NewestFirst};

/// Who deletes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The run, by which its deletions are found again.
    pub run: String,
    /// `schedule`, `api`, `command` …: why there is this run.
    pub cause: String,
    /// The user that the process belongs to.
    pub user: String,
    pub process: u32,
}

impl Actor {
    /// This process.
    pub fn of_process(run: impl Into<String>, cause: impl Into<String>) -> Self {
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        // Services often have no such variable; the process's own folder has its owner.
        let number = || std::fs::metadata("/proc/self").map(|own| format!("uid {}", own.uid()));
        Self {
            run: run.into(),
            cause: cause.into(),
            user: user.or_else(|| number().ok()).unwrap_or_else(|| "unknown".to_owned()),
            process: std::process::id(),
        }
    }
}

/// Something is about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Joins it to its outcome.
    pub id: String,
    pub at: Timestamp,
    pub actor: Actor,
    pub rule: String,
    /// The line of the rule; absent for what goes with something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What it belongs to and goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Digest>,
    /// As [`Repository::name`](crate::repository::Repository::name) has it.
    pub repository: String,
    pub action: StepAction,
    /// The tag that is taken away, or all that go with the manifest.
    pub tags: Vec<Tag>,
    /// The manifest's other tags, which stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stay: Vec<Tag>,
    pub digest: Digest,
    /// Since when it was there, and who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Where it was copied to before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Kept>,
    /// The manifest from which a tag is taken, where the registry may delete more than the tag: who
    /// settles the intent can put it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<KeptManifest>,
}

/// A manifest as it is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptManifest {
    pub media_type: String,
    /// The document, byte for byte.
    pub content: String,
}

impl KeptManifest {
    /// `None`: it is no text, so it is no manifest that a registry would take.
    pub(super) fn of(manifest: &Manifest) -> Option<Self> {
        let content = String::from_utf8(manifest.raw.to_vec()).ok()?;
        Some(Self { media_type: manifest.media_type.clone(), content })
    }
}

/// A copy in a quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The repository or layout that holds it, as a place that can be typed.
    pub place: String,
    /// What holds it there: its own tag, or that of what it is a part of.
    pub tag: Tag,
    /// When it may be removed from there.
    pub until: Timestamp,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A process began to write. What processes before it intended is settled, but for this.
    Opened {
        at: Timestamp,
        unsettled: Vec<Intent>,
    },
    Intent(Box<Intent>),
    Outcome {
        id: String,
        at: Timestamp,
        outcome: StepOutcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// What was deleted by this intent was brought back.
    Restored {
        id: String,
        at: Timestamp,
        actor: Actor,
    },
}

/// The audit of one process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// With the line that comes before all others of this process.
    log: Mutex<(Log, Option<Line>)>,
    dir: PathBuf,
    next: AtomicU64,
    /// Left by processes that were cut off, by repository.
    unsettled: Mutex<BTreeMap<String, Vec<Intent>>>,
}

/// The folder of the audit in a state directory.
pub fn folder(state: &Path) -> PathBuf {
    state.join("audit")
}

impl Audit {
    /// Opens the audit of a state directory, and finds what was cut off. Nothing is written before
    /// there is something to write. Blocks.
    ///
    /// # Errors
    /// It cannot be read or written to.
    pub fn open(state: &Path, now: Timestamp) -> io::Result<Self> {
        let dir = folder(state);
        let log = Log::open(&dir, Limits::keep_all())?;
        let left = unsettled(&dir)?;
        let opened = Line::Opened { at: now, unsettled: left.clone() };
        let audit = Self(Arc::new(Inner {
            log: Mutex::new((log, Some(opened))),
            dir,
            next: AtomicU64::new(0),
            unsettled: Mutex::default(),
        }));
        audit.give_back(left);
        Ok(audit)
    }

    /// A name for an intent of this run.
    pub fn name(&self, actor: &Actor) -> String {
        format!("{}/{}", actor.run, self.0.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes lines down, durably.
    ///
    /// # Errors
    /// They may not be on the disk: what they announce must not be done.
    pub async fn write(&self, lines: Vec<Line>) -> io::Result<()> {
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let (log, opened) = &mut *inner.log.lock();
            opened.iter().chain(&lines).try_for_each(|line| log.append(line))?;
            log.sync()?;
            *opened = None;
            Ok(())
        });
        written.await.unwrap_or_else(|_| Err(io::Error::other("the write was stopped")))
    }

    /// Takes what was intended in a repository by processes that did not come to say what became
    /// of it.
    pub fn take_unsettled(&self, repository: &str) -> Vec<Intent> {
        self.0.unsettled.lock().remove(repository).unwrap_or_default()
    }

    /// Gives back what could not be settled now.
    pub fn give_back(&self, intents: Vec<Intent>) {
        let mut unsettled = self.0.unsettled.lock();
        for intent in intents {
            unsettled.entry(intent.repository.clone()).or_default().push(intent);
        }
    }

    /// Where the log is.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }
}

/// Without the audit nothing is deleted.
pub(super) fn cannot_write(error: &io::Error) -> Failure {
    Failure {
        hint: Some("nothing is deleted that cannot be written down first".to_owned()),
        ..Failure::new("write", "the audit", error.to_string())
    }
}

/// The intents without an outcome, the oldest first.
fn unsettled(dir: &Path) -> io::Result<Vec<Intent>> {
    let mut lines = NewestFirst::open(dir)?;
    let mut settled = std::collections::HashSet::new();
    let mut found = Vec::new();
    while let Some(line) = lines.next::<Line>(|_| true)? {
        match line {
            Line::Outcome { id, .. } => _ = settled.insert(id),
            Line::Intent(intent) => found.push(*intent),
            Line::Restored { .. } => {}
            Line::Opened { unsettled, .. } => {
                found.extend(unsettled.into_iter().rev());
                break;
            }
        }
    }
    found.retain(|intent| !settled.contains(&intent.id));
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(id: &str, repository: &str) -> Intent {
        Intent {
            id: id.to_owned(),
            at: Timestamp::UNIX_EPOCH,
            actor: Actor::of_process("run", "command"),
            rule: "apps".to_owned(),
            line: Some("pr".to_owned()),
            with: None,
            repository: repository.to_owned(),
            action: StepAction::Delete,
            tags: vec!["pr-1".parse().unwrap()],
            stay: Vec::new(),
            digest: Digest::of(b"x"),
            since: None,
            clock: None,
            quarantine: None,
            manifest: None,
        }
    }

    fn outcome(id: &str) -> Line {
        let at = Timestamp::UNIX_EPOCH;
        Line::Outcome { id: id.to_owned(), at, outcome: StepOutcome::Deleted, reason: None }
    }

    /// What was cut off is found by the next process, and by the one after it if it is not settled.
    #[tokio::test]
    async fn intents_without_an_outcome_outlive_processes() {
        let state = tempfile::tempdir().unwrap();
        let open = || Audit::open(state.path(), Timestamp::UNIX_EPOCH).unwrap();
        let first = open();
        let lines = ["a", "b", "c"].map(|id| Line::Intent(Box::new(intent(id, "r/one"))));
        first.write(lines.to_vec()).await.unwrap();
        first
            .write(vec![outcome("b"), Line::Intent(Box::new(intent("d", "r/two")))])
            .await
            .unwrap();
        drop(first);
        let second = open();
        let ids = |intents: Vec<Intent>| intents.into_iter().map(|i| i.id).collect::<Vec<_>>();
        assert_eq!(ids(second.take_unsettled("r/one")), ["a", "c"]);
        assert!(second.take_unsettled("r/one").is_empty());
        second.write(vec![outcome("c")]).await.unwrap();
        drop(second);
        let third = open();
        assert_eq!(ids(third.take_unsettled("r/one")), ["a"]);
        let two = third.take_unsettled("r/two");
        third.give_back(two);
        assert_eq!(ids(third.take_unsettled("r/two")), ["d"]);
        third.write(vec![outcome("a"), outcome("d")]).await.unwrap();
        drop(third);
        let fourth = open();
        assert!(fourth.take_unsettled("r/one").is_empty());
        assert!(fourth.take_unsettled("r/two").is_empty());
    }
}

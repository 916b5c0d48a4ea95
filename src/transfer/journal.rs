//! The journal of large uploads: what a process that was killed leaves behind, so that the next
//! one continues in the middle of a blob.

use super::checkpoints::Checkpoints;
use crate::oci::{Descriptor, Hasher};
use crate::repository::{Repository, UploadSession, WORTH_RESUMING};
use crate::state::{Checkpoint, State, UploadKey};

/// The part of the state that holds uploads.
#[derive(Debug)]
pub(super) struct UploadJournal {
    state: State,
}

impl UploadJournal {
    pub fn new(state: State) -> Self {
        Self { state }
    }

    /// The upload that an earlier process has left, if its target still has it.
    pub async fn left_session(
        &self,
        blob: &Descriptor,
        target: &dyn Repository,
    ) -> Option<UploadSession> {
        if blob.size < WORTH_RESUMING {
            return None;
        }
        let key = key(blob, target);
        let journal = self.state.uploads.get(&key)?;
        match target.upload_status(&journal.session).await {
            Ok(Some(session)) if session.offset <= blob.size => {
                tracing::info!(digest = %blob.digest, target = target.name(), offset = session.offset, "resuming an upload that an earlier process began");
                Some(session)
            }
            _ => {
                self.state.uploads.clear(&key);
                None
            }
        }
    }

    /// The checkpoints that were kept of a blob, whichever target's upload they were kept for.
    pub fn checkpoints<'a>(
        &self,
        blob: &Descriptor,
        targets: impl Iterator<Item = &'a dyn Repository>,
    ) -> Checkpoints {
        if blob.size < WORTH_RESUMING {
            return Checkpoints::new(&blob.digest);
        }
        let mut known: Vec<Checkpoint> = targets
            .filter_map(|target| self.state.uploads.get(&key(blob, target)))
            .flat_map(|journal| journal.checkpoints)
            .collect();
        known.sort_by_key(|checkpoint| checkpoint.offset);
        let states = known.iter().map(|known| (known.offset, &known.hash_state[..]));
        Checkpoints::restore(&blob.digest, states)
    }

    /// Notes the address of an upload.
    pub fn note_session(
        &self,
        blob: &Descriptor,
        target: &dyn Repository,
        session: &UploadSession,
    ) {
        if blob.size >= WORTH_RESUMING {
            let key = key(blob, target);
            match self.state.uploads.get(&key) {
                Some(_) => self.state.uploads.move_to(&key, session),
                None => self.state.uploads.begin(&key, session),
            }
        }
    }

    /// Waits until the noted sessions are on disk: bytes that are sent to a session which is not
    /// recorded are lost with the process.
    pub async fn flush(&self, blob: &Descriptor) {
        if blob.size >= WORTH_RESUMING {
            self.state.storage.flush().await;
        }
    }

    /// Notes a checkpoint for these targets' uploads.
    pub fn add_checkpoint<'a>(
        &self,
        blob: &Descriptor,
        targets: impl Iterator<Item = &'a dyn Repository>,
        offset: u64,
        hasher: &Hasher,
    ) {
        if blob.size >= WORTH_RESUMING {
            let checkpoint = Checkpoint { offset, hash_state: hasher.serialize() };
            targets.for_each(|target| {
                self.state.uploads.add_checkpoint(&key(blob, target), &checkpoint)
            });
        }
    }

    /// The upload has ended.
    pub fn clear(&self, blob: &Descriptor, target: &dyn Repository) {
        self.state.uploads.clear(&key(blob, target));
    }
}

fn key<'a>(blob: &'a Descriptor, target: &'a dyn Repository) -> UploadKey<'a> {
    UploadKey { store: target.store(), repository: target.path(), digest: &blob.digest }
}

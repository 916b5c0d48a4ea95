//! Hashes a stream of bytes beside the task that reads it, so that the transfers of one run use all
//! cores. On a machine with one core, and for small contents, it is done in place.

use std::sync::LazyLock;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::blocking::joined;
use crate::oci::{Digest, Hasher};

/// So many bytes are hashed at once. Fewer are not worth the way to another thread; more would be held
/// in memory for longer.
const BATCH: usize = 128 << 10;

/// Whether another core can do it.
static HAS_COMPANY: LazyLock<bool> =
    LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1));

/// A hash that is being computed.
pub struct Hashing {
    hasher: Computing,
    /// What is hashed next, and its length.
    batch: Vec<Bytes>,
    length: usize,
}

enum Computing {
    Here(Hasher),
    Away(JoinHandle<Hasher>),
}

impl Hashing {
    /// Goes on from what was hashed before.
    pub fn new(hasher: Hasher) -> Self {
        Self { hasher: Computing::Here(hasher), batch: Vec::new(), length: 0 }
    }

    /// Adds bytes. At most two batches are waiting.
    pub async fn update(&mut self, chunk: &Bytes) {
        self.batch.push(chunk.clone());
        self.length += chunk.len();
        if self.length < BATCH {
            return;
        }
        let mut hasher = self.take().await;
        let batch = std::mem::take(&mut self.batch);
        self.length = 0;
        self.hasher = if *HAS_COMPANY {
            Computing::Away(tokio::task::spawn_blocking(move || {
                add(&mut hasher, &batch);
                hasher
            }))
        } else {
            add(&mut hasher, &batch);
            Computing::Here(hasher)
        };
    }

    /// The state after all bytes so far.
    pub async fn state(&mut self) -> Hasher {
        let mut hasher = self.take().await;
        add(&mut hasher, &std::mem::take(&mut self.batch));
        self.length = 0;
        self.hasher = Computing::Here(hasher.clone());
        hasher
    }

    pub async fn finish(mut self) -> Digest {
        self.state().await.finish()
    }

    /// The state without what is waiting. It has to be put back.
    async fn take(&mut self) -> Hasher {
        match &mut self.hasher {
            Computing::Here(hasher) => hasher.clone(),
            Computing::Away(computed) => joined(computed).await,
        }
    }
}

fn add(hasher: &mut Hasher, batch: &[Bytes]) {
    for chunk in batch {
        hasher.update(chunk);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the bytes are cut, and wherever the state is taken.
        #[test]
        fn the_digest_is_that_of_all_bytes(
            cuts in proptest::collection::vec((0..BATCH * 2, any::<bool>()), 0..8),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (mut whole, mut hashing) = (Vec::new(), Hashing::new(Digest::of(b"").hasher()));
                for (at, (length, takes_state)) in cuts.into_iter().enumerate() {
                    let chunk = Bytes::from(vec![u8::try_from(at).unwrap(); length]);
                    hashing.update(&chunk).await;
                    whole.extend_from_slice(&chunk);
                    if takes_state {
                        prop_assert_eq!(hashing.state().await.finish(), Digest::of(&whole));
                    }
                }
                prop_assert_eq!(hashing.finish().await, Digest::of(&whole));
                Ok(())
            })?;
        }
    }
}

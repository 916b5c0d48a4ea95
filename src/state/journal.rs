//! Uploads that were begun, so that a killed process goes on in mid-blob.
//!
//! The trail has one key a point, so that noting a point does not rewrite those before it.

use super::State;
use super::codec::{Reader, Writer};
use super::store::Change;
use crate::oci::Digest;
use crate::repository::UploadSession;

/// Keys of upload sessions, and of the points of their trails, start with these bytes.
const SESSION: u8 = b'u';
const POINT: u8 = b'p';

/// So many points are read, the newest ones. At one every few MiB this is a blob of far more
/// than 100 GiB.
const MAX_POINTS: usize = 1 << 16;

/// A hash state is about 100 (SHA-256) or 200 bytes (SHA-512).
const MAX_HASH_STATE: usize = 1024;

/// One blob on its way into one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadKey<'a> {
    /// The target's `Repository::store`.
    pub store: &'a str,
    /// The target's `Repository::path`.
    pub repository: &'a str,
    pub digest: &'a Digest,
}

/// An upload that was begun and neither completed nor given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    pub session: UploadSession,
    /// From the smallest offset to the greatest.
    pub points: Vec<Point>,
}

/// The state of the hasher when so many bytes of the blob had gone through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// In bytes.
    pub offset: u64,
    /// As `Hasher::serialize` wrote it.
    pub hash_state: Vec<u8>,
}

impl State {
    /// Notes that an upload was begun. Whatever was noted of this blob before is dropped.
    pub fn begin_upload(&self, key: &UploadKey<'_>, session: &UploadSession) {
        let mut changes = self.removal(key);
        changes.push((session_key(key), Some(encode_session(session))));
        self.apply(changes);
    }

    /// Notes where an upload's next request goes, without touching its trail.
    pub fn move_upload(&self, key: &UploadKey<'_>, session: &UploadSession) {
        self.apply(vec![(session_key(key), Some(encode_session(session)))]);
    }

    /// Adds a point to an upload's trail.
    pub fn add_point(&self, key: &UploadKey<'_>, point: &Point) {
        self.apply(vec![(point_key(key, point.offset), Some(point.hash_state.clone()))]);
    }

    /// The upload that was begun for this blob, if any.
    pub fn upload(&self, key: &UploadKey<'_>) -> Option<Journal> {
        let session = decode_session(&self.store().get(&session_key(key))?)?;
        let prefix = points_prefix(key);
        let entries = self.store().last_with_prefix(&prefix, MAX_POINTS);
        let points = entries.into_iter().filter_map(|(found, hash_state)| {
            let mut offset = Reader::new(found.strip_prefix(&prefix[..])?);
            let point = Point { offset: offset.ordered()?, hash_state };
            (offset.at_end() && point.hash_state.len() <= MAX_HASH_STATE).then_some(point)
        });
        Some(Journal { session, points: points.collect() })
    }

    /// Drops an upload and its trail, because it was completed, given up or is gone.
    pub fn clear_upload(&self, key: &UploadKey<'_>) {
        let removal = self.removal(key);
        self.apply(removal);
    }

    fn removal(&self, key: &UploadKey<'_>) -> Vec<Change> {
        let session = session_key(key);
        let session = self.store().get(&session).map(|_| (session, None));
        let trail = self.store().last_with_prefix(&points_prefix(key), MAX_POINTS);
        session.into_iter().chain(trail.into_iter().map(|(found, _)| (found, None))).collect()
    }
}

fn encode_key(kind: u8, key: &UploadKey<'_>) -> Writer {
    Writer::key(kind).text(key.store).text(key.repository).digest(key.digest)
}

fn session_key(key: &UploadKey<'_>) -> Vec<u8> {
    encode_key(SESSION, key).finish()
}

fn points_prefix(key: &UploadKey<'_>) -> Vec<u8> {
    encode_key(POINT, key).finish()
}

fn point_key(key: &UploadKey<'_>, offset: u64) -> Vec<u8> {
    encode_key(POINT, key).ordered(offset).finish()
}

fn encode_session(session: &UploadSession) -> Vec<u8> {
    Writer::default().number(session.offset).text(&session.location).finish()
}

fn decode_session(bytes: &[u8]) -> Option<UploadSession> {
    let mut reader = Reader::new(bytes);
    let session = UploadSession { offset: reader.number()?, location: reader.text()? };
    reader.at_end().then_some(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session(location: &str, offset: u64) -> UploadSession {
        UploadSession { location: location.into(), offset }
    }

    fn point(offset: u64) -> Point {
        Point { offset, hash_state: Digest::of(&offset.to_be_bytes()).as_bytes().to_vec() }
    }

    #[test]
    fn a_trail_comes_back_in_order_and_goes_with_its_upload() {
        let state = State::in_memory();
        let digest = Digest::of(b"blob");
        let key = UploadKey { store: "ghcr.io", repository: "acme/app", digest: &digest };
        let other = UploadKey { repository: "acme/app2", ..key };
        assert_eq!(state.upload(&key), None);

        state.begin_upload(&key, &session("/uploads/1", 0));
        state.begin_upload(&other, &session("/uploads/2", 0));
        for offset in [256, 0, 70_000, 255] {
            state.add_point(&key, &point(offset));
        }
        state.move_upload(&key, &session("/uploads/1?state=x", 70_000));
        let journal = state.upload(&key).unwrap();
        assert_eq!(journal.session, session("/uploads/1?state=x", 70_000));
        assert_eq!(journal.points, [0, 255, 256, 70_000].map(point));
        assert_eq!(state.upload(&other).unwrap().points, []);

        // A new upload has nothing of the old one's trail.
        state.begin_upload(&key, &session("/uploads/3", 0));
        assert_eq!(
            state.upload(&key),
            Some(Journal { session: session("/uploads/3", 0), points: vec![] })
        );
        state.add_point(&key, &point(1));
        state.clear_upload(&key);
        assert_eq!(state.upload(&key), None);
        assert!(state.store().last_with_prefix(&points_prefix(&key), 9).is_empty());
        assert!(state.upload(&other).is_some());
    }

    proptest! {
        #[test]
        fn sessions_round_trip(location: String, offset: u64) {
            let session = UploadSession { location, offset };
            prop_assert_eq!(decode_session(&encode_session(&session)), Some(session));
        }

        #[test]
        fn any_bytes_are_a_session_or_nothing(bytes: Vec<u8>) {
            let _ = decode_session(&bytes);
        }
    }
}

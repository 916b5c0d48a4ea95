//! What registries were found to be able to do, so that it is not tried again for a while.

use std::fmt::Debug;

use jiff::{SignedDuration, Timestamp};

use super::codec;
use super::local::Local;

/// The first byte of the keys of abilities.
const KIND: u8 = b'a';

/// How long an answer is believed: registries are replaced and reconfigured.
const LASTS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The part of a key that says which ability it is: to delete one tag of a manifest that has others.
const UNTAG: u8 = 0;

/// What was found out by trying. `repository` is a `Repository::name`.
pub trait RegistryAbilities: Debug + Send + Sync {
    /// Whether a repository's registry can delete one tag of a manifest that has others. `None`:
    /// that has not been tried lately.
    fn can_untag(&self, repository: &str, now: Timestamp) -> Option<bool>;

    /// Notes what was found out at `now`.
    fn set_can_untag(&self, repository: &str, able: bool, now: Timestamp);
}

impl RegistryAbilities for Local {
    fn can_untag(&self, repository: &str, now: Timestamp) -> Option<bool> {
        let (able, tried) = codec::decode::<(bool, u64)>(&self.store.get(&key(repository))?)?;
        let tried = Timestamp::from_second(i64::try_from(tried).ok()?).ok()?;
        (now.duration_since(tried).abs() < LASTS).then_some(able)
    }

    fn set_can_untag(&self, repository: &str, able: bool, now: Timestamp) {
        let tried = u64::try_from(now.as_second()).unwrap_or_default();
        self.apply(vec![(key(repository), Some(codec::encode(&(able, tried))))]);
    }
}

fn key(repository: &str) -> Vec<u8> {
    codec::key(KIND, &(UNTAG, repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_those_of_their_repository_and_are_tried_again() {
        let state: &dyn RegistryAbilities = &Local::in_memory();
        let now: Timestamp = "2026-06-01T03:00:00Z".parse().unwrap();
        let of = |repository: &str, now: Timestamp| state.can_untag(repository, now);
        state.set_can_untag("r.example/a", false, now);
        assert_eq!(of("r.example/a", now), Some(false));
        assert_eq!(of("r.example/b", now), None);
        state.set_can_untag("r.example/a", true, now);
        assert_eq!(of("r.example/a", now + SignedDuration::from_hours(29 * 24)), Some(true));
        assert_eq!(of("r.example/a", now + LASTS), None);
    }
}

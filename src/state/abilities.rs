//! What registries were found to be able to do, so that it is not tried again for a while.

use std::fmt::Debug;

use jiff::{SignedDuration, Timestamp};

use super::codec;
use super::local::Local;

/// The first byte of the keys of abilities.
const KIND: u8 = b'a';

/// How long an answer is believed: registries are replaced and reconfigured.
const LASTS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Something that a repository's registry may be able to do or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Deleting one tag of a manifest that has others.
    Untag,
}

/// What was found out by trying. `repository` is a `Repository::name`.
pub trait RegistryAbilities: Debug + Send + Sync {
    /// Whether a repository's registry has an ability. `None`: nobody has tried lately.
    fn get(&self, repository: &str, ability: Ability, now: Timestamp) -> Option<bool>;

    /// Notes what was found out at `now`.
    fn set(&self, repository: &str, ability: Ability, able: bool, now: Timestamp);
}

impl RegistryAbilities for Local {
    fn get(&self, repository: &str, ability: Ability, now: Timestamp) -> Option<bool> {
        let (able, tried) =
            codec::decode::<(bool, u64)>(&self.store.get(&key(repository, ability))?)?;
        let tried = Timestamp::from_second(i64::try_from(tried).ok()?).ok()?;
        (now.duration_since(tried).abs() < LASTS).then_some(able)
    }

    fn set(&self, repository: &str, ability: Ability, able: bool, now: Timestamp) {
        let tried = u64::try_from(now.as_second()).unwrap_or_default();
        self.apply(vec![(key(repository, ability), Some(codec::encode(&(able, tried))))]);
    }
}

fn key(repository: &str, ability: Ability) -> Vec<u8> {
    codec::key(KIND, &(ability as u8, repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_those_of_their_repository_and_are_tried_again() {
        let state: &dyn RegistryAbilities = &Local::in_memory();
        let now: Timestamp = "2026-06-01T03:00:00Z".parse().unwrap();
        let of = |repository: &str, now: Timestamp| state.get(repository, Ability::Untag, now);
        state.set("r.example/a", Ability::Untag, false, now);
        assert_eq!(of("r.example/a", now), Some(false));
        assert_eq!(of("r.example/b", now), None);
        state.set("r.example/a", Ability::Untag, true, now);
        assert_eq!(of("r.example/a", now + SignedDuration::from_hours(29 * 24)), Some(true));
        assert_eq!(of("r.example/a", now + LASTS), None);
    }
}

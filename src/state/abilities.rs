//! What repositories were found to be able to do, so that it need not be tried again for a while.

use jiff::{SignedDuration, Timestamp};

use super::State;
use super::codec::{Reader, Writer};

/// Keys of abilities start with this byte. Programs that do not know it leave them alone.
const KIND: u8 = b'a';

/// How long it is believed: registries are replaced and reconfigured.
const LASTS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Something that a repository's registry may be able to do or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Deleting one tag of a manifest that has others.
    Untag,
}

impl State {
    /// Whether it can be done in a repository (`Repository::name`). `None`: nobody has tried lately.
    pub fn ability(&self, repository: &str, ability: Ability, now: Timestamp) -> Option<bool> {
        let value = self.store().get(&key(repository, ability))?;
        let mut reader = Reader::new(&value);
        let (able, tried) = (reader.byte()?, reader.number()?);
        let tried = Timestamp::from_second(i64::try_from(tried).ok()?).ok()?;
        let is_fresh = reader.at_end() && now.duration_since(tried).abs() < LASTS;
        is_fresh.then_some(able == 1)
    }

    /// Notes what was found out at `now`.
    pub fn set_ability(&self, repository: &str, ability: Ability, able: bool, now: Timestamp) {
        let tried = u64::try_from(now.as_second()).unwrap_or_default();
        let value = Writer::default().byte(u8::from(able)).number(tried).finish();
        self.apply(vec![(key(repository, ability), Some(value))]);
    }
}

fn key(repository: &str, ability: Ability) -> Vec<u8> {
    Writer::key(KIND).byte(ability as u8).text(repository).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_those_of_their_repository_and_are_tried_again() {
        let state = State::in_memory();
        let now: Timestamp = "2026-06-01T03:00:00Z".parse().unwrap();
        let of = |repository: &str, now: Timestamp| state.ability(repository, Ability::Untag, now);
        state.set_ability("r.example/a", Ability::Untag, false, now);
        assert_eq!(of("r.example/a", now), Some(false));
        assert_eq!(of("r.example/b", now), None);
        state.set_ability("r.example/a", Ability::Untag, true, now);
        assert_eq!(of("r.example/a", now + SignedDuration::from_hours(29 * 24)), Some(true));
        assert_eq!(of("r.example/a", now + LASTS), None);
    }
}

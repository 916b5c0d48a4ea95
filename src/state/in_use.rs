//! What the sources of `[in_use.NAME]` listed, and when: what stopped running may have to be
//! rolled back to. If the state is lost, only what runs is known to be in use.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::State;
use super::codec::{Reader, Writer};

/// Keys of what was in use start with this byte. Programs that do not know it leave them alone.
/// With nothing behind the source, the key is that of its last reading; else, of an image.
const KIND: u8 = b'i';

/// An image that a source listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenInUse {
    /// As the caller wrote it.
    pub image: String,
    /// Where it ran when it was last seen.
    pub places: Vec<String>,
    /// In whole seconds.
    pub last_seen: Timestamp,
}

/// A source lists nothing, and that was not to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListsNothing {
    /// How many images it listed at its last reading.
    pub before: u64,
}

impl State {
    /// Notes what a source lists at `now`, and forgets what it listed last `remember` ago or
    /// longer. Gives what is remembered and not listed any more.
    ///
    /// # Errors
    /// It lists nothing although it listed something at its last reading, and not `allow_empty`.
    /// Then nothing is changed.
    pub fn note_in_use(
        &self,
        source: &str,
        listed: &BTreeMap<String, BTreeSet<String>>,
        remember: Duration,
        allow_empty: bool,
        now: Timestamp,
    ) -> Result<Vec<SeenInUse>, ListsNothing> {
        let _alone = self.updating();
        let reading = reading_key(source);
        let before = self.store().get(&reading).and_then(|value| decode_reading(&value));
        if let Some(before) = before.filter(|before| *before > 0)
            && listed.is_empty()
            && !allow_empty
        {
            return Err(ListsNothing { before });
        }
        let mut changes = vec![(reading, Some(encode_reading(listed.len() as u64)))];
        for (image, places) in listed {
            let value = encode(now, places.iter().map(String::as_str));
            changes.push((image_key(source, image), Some(value)));
        }
        let mut remembered = Vec::new();
        for (key, value) in self.store().last_with_prefix(&reading_key(source), usize::MAX) {
            let Some(image) = image_of(&key, source) else { continue };
            if listed.contains_key(&image) {
                continue;
            }
            match SeenInUse::decode(image, &value) {
                Some(seen) if is_remembered(seen.last_seen, remember, now) => remembered.push(seen),
                _ => changes.push((key, None)),
            }
        }
        self.apply(changes);
        Ok(remembered)
    }
}

/// Whether what was last seen then is still remembered. A clock that was set back forgets nothing.
fn is_remembered(last_seen: Timestamp, remember: Duration, now: Timestamp) -> bool {
    let remember = SignedDuration::try_from(remember).unwrap_or(SignedDuration::MAX);
    now.duration_since(last_seen) < remember
}

fn reading_key(source: &str) -> Vec<u8> {
    Writer::key(KIND).text(source).finish()
}

fn image_key(source: &str, image: &str) -> Vec<u8> {
    Writer::key(KIND).text(source).text(image).finish()
}

/// The image in a key. `None`: it is not the key of an image.
fn image_of(key: &[u8], source: &str) -> Option<String> {
    let mut reader = Reader::new(key);
    reader.byte().filter(|kind| *kind == KIND)?;
    reader.text().filter(|text| text == source)?;
    let image = reader.text()?;
    reader.at_end().then_some(image)
}

fn encode_reading(count: u64) -> Vec<u8> {
    Writer::default().number(count).finish()
}

fn decode_reading(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(bytes);
    let count = reader.number()?;
    reader.at_end().then_some(count)
}

fn encode<'a>(now: Timestamp, places: impl ExactSizeIterator<Item = &'a str>) -> Vec<u8> {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let writer = Writer::default().number(seconds).number(places.len() as u64);
    places.fold(writer, Writer::text).finish()
}

impl SeenInUse {
    /// `None` if these are not the bytes of such an image, which then was never seen.
    fn decode(image: String, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let seconds = i64::try_from(reader.number()?).ok()?;
        let last_seen = Timestamp::from_second(seconds).ok()?;
        let places = reader.list(Reader::text)?;
        reader.at_end().then_some(Self { image, places, last_seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn listed(images: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
        images.iter().map(|image| ((*image).to_owned(), ["here".to_owned()].into())).collect()
    }

    /// What is remembered, after this was listed at that second.
    fn note(state: &State, source: &str, images: &[&str], second: i64) -> Vec<String> {
        let day = Duration::from_secs(DAY);
        let seen = state.note_in_use(source, &listed(images), day, true, at(second)).unwrap();
        seen.into_iter().map(|seen| seen.image).collect()
    }

    fn states() -> Vec<(State, Option<tempfile::TempDir>)> {
        let dir = tempfile::TempDir::new().unwrap();
        vec![(State::in_memory(), None), (State::open(dir.path()).unwrap(), Some(dir))]
    }

    #[test]
    fn what_is_not_listed_any_more_is_remembered_for_a_while() {
        for (state, _dir) in states() {
            assert!(note(&state, "prod", &["a", "b"], 1000).is_empty());
            assert_eq!(note(&state, "prod", &["b"], 2000), ["a"]);
            // Another source has a memory of its own, whatever it is called.
            assert!(note(&state, "pro", &["x"], 2000).is_empty());
            assert!(note(&state, "prod2", &[], 2000).is_empty());
            let day = DAY as i64;
            assert_eq!(note(&state, "prod", &[], 1000 + day - 1), ["a", "b"]);
            assert_eq!(note(&state, "prod", &[], 1000 + day), ["b"]);
            // Forgotten is forgotten, even if the clock is set back.
            assert_eq!(note(&state, "prod", &[], 1000), ["b"]);
            assert_eq!(note(&state, "prod", &["a"], 3000), ["b"]);
            assert!(note(&state, "prod", &["a", "b"], 4000).is_empty());
        }
    }

    #[test]
    fn nothing_after_something_changes_nothing() {
        for (state, _dir) in states() {
            let hour = Duration::from_secs(3600);
            let none = BTreeMap::new();
            assert_eq!(state.note_in_use("prod", &none, hour, false, at(1)), Ok(vec![]));
            assert_eq!(state.note_in_use("prod", &none, hour, false, at(2)), Ok(vec![]));
            state.note_in_use("prod", &listed(&["a", "b"]), hour, false, at(3)).unwrap();
            for second in [4, 9_999_999] {
                let refused = state.note_in_use("prod", &none, hour, false, at(second));
                assert_eq!(refused, Err(ListsNothing { before: 2 }));
            }
            let remembered = state.note_in_use("prod", &none, hour, true, at(5)).unwrap();
            assert_eq!(remembered.len(), 2);
            assert_eq!(remembered[0].last_seen, at(3));
            assert_eq!(remembered[0].places, ["here"]);
            // Now nothing is what was there before.
            assert!(state.note_in_use("prod", &none, hour, false, at(6)).is_ok());
        }
    }

    #[test]
    fn nothing_is_remembered_for_no_time() {
        let state = State::in_memory();
        let none = Duration::ZERO;
        state.note_in_use("prod", &listed(&["a"]), none, false, at(1)).unwrap();
        let now = state.note_in_use("prod", &listed(&["b"]), none, false, at(1)).unwrap();
        assert!(now.is_empty());
        let for_ever = state.note_in_use("prod", &listed(&["c"]), Duration::MAX, false, at(1));
        assert_eq!(for_ever.unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn what_was_seen_round_trips(
            second in 0_i64..4_000_000_000, places in prop::collection::vec(".{0,20}", 0..4),
            image in ".{0,20}", source in ".{0,20}",
        ) {
            let bytes = encode(at(second), places.iter().map(String::as_str));
            let seen = SeenInUse { image: image.clone(), places, last_seen: at(second) };
            prop_assert_eq!(SeenInUse::decode(image.clone(), &bytes), Some(seen));
            for cut in 0..bytes.len() {
                prop_assert_eq!(SeenInUse::decode(String::new(), &bytes[..cut]), None);
            }
            let key = image_key(&source, &image);
            prop_assert_eq!(image_of(&key, &source), Some(image));
            prop_assert!(key.starts_with(&reading_key(&source)));
            prop_assert_eq!(image_of(&reading_key(&source), &source), None);
        }

        #[test]
        fn any_bytes_are_something_or_nothing(bytes: Vec<u8>) {
            let _ = SeenInUse::decode(String::new(), &bytes);
            let _ = image_of(&bytes, "");
            let _ = decode_reading(&bytes);
        }
    }
}

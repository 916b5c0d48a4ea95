//! What the sources of `[in_use.NAME]` listed, and when: what stopped running may have to be
//! rolled back to. If the state is lost, only what runs is known to be in use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::codec;
use super::local::Local;

/// The first byte of the keys of what was in use. A key that ends after the source is that of the
/// source's last reading, the others are those of images.
const KIND: u8 = b'i';

/// An image that a source listed once and does not list any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedImage {
    /// As the caller wrote it.
    pub image: String,
    /// Where it ran when it was last seen.
    pub locations: Vec<String>,
    /// In whole seconds.
    pub last_seen: Timestamp,
}

/// A source lists nothing, although it listed something before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnexpectedlyEmpty {
    /// How many images it listed at its last reading.
    pub before: u64,
}

/// What sources listed as being in use.
pub trait InUseHistory: Debug + Send + Sync {
    /// Notes what a source lists at `now`, and forgets what it listed last `remember` ago or
    /// longer. Returns what is remembered and not listed any more. `listed` has the locations of
    /// each image.
    ///
    /// # Errors
    /// The source lists nothing although it listed something at its last reading, and not
    /// `allow_empty`. Then nothing is changed.
    fn note(
        &self,
        source: &str,
        listed: &BTreeMap<String, BTreeSet<String>>,
        remember: Duration,
        allow_empty: bool,
        now: Timestamp,
    ) -> Result<Vec<RememberedImage>, UnexpectedlyEmpty>;
}

impl InUseHistory for Local {
    fn note(
        &self,
        source: &str,
        listed: &BTreeMap<String, BTreeSet<String>>,
        remember: Duration,
        allow_empty: bool,
        now: Timestamp,
    ) -> Result<Vec<RememberedImage>, UnexpectedlyEmpty> {
        let _alone = self.updating();
        let reading = codec::key(KIND, &source);
        let before = self.store.get(&reading).and_then(|value| codec::decode::<u64>(&value));
        if let Some(before) = before.filter(|before| *before > 0)
            && listed.is_empty()
            && !allow_empty
        {
            return Err(UnexpectedlyEmpty { before });
        }
        let not_listed = self.store.scan(&reading, usize::MAX, |key, value| {
            let (_, _, image) = codec::decode::<(u8, &str, &str)>(key)?;
            (!listed.contains_key(image)).then(|| (image.to_owned(), value.to_vec()))
        });
        let mut changes = vec![(reading, Some(codec::encode(&(listed.len() as u64))))];
        for (image, locations) in listed {
            changes.push((image_key(source, image), Some(encode(now, locations))));
        }
        let mut remembered = Vec::new();
        for (image, value) in not_listed {
            let key = image_key(source, &image);
            match RememberedImage::decode(image, &value) {
                Some(seen) if is_remembered(seen.last_seen, remember, now) => remembered.push(seen),
                _ => changes.push((key, None)),
            }
        }
        self.apply(changes);
        Ok(remembered)
    }
}

/// A clock that was set back forgets nothing.
fn is_remembered(last_seen: Timestamp, remember: Duration, now: Timestamp) -> bool {
    let remember = SignedDuration::try_from(remember).unwrap_or(SignedDuration::MAX);
    now.duration_since(last_seen) < remember
}

fn image_key(source: &str, image: &str) -> Vec<u8> {
    codec::key(KIND, &(source, image))
}

fn encode(now: Timestamp, locations: &BTreeSet<String>) -> Vec<u8> {
    codec::encode(&(u64::try_from(now.as_second()).unwrap_or(0), locations))
}

impl RememberedImage {
    /// `None` if these are not the bytes of such an image, which then was never seen.
    fn decode(image: String, bytes: &[u8]) -> Option<Self> {
        let (seconds, locations) = codec::decode::<(u64, _)>(bytes)?;
        let last_seen = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
        Some(Self { image, locations, last_seen })
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
    fn note(state: &dyn InUseHistory, source: &str, images: &[&str], second: i64) -> Vec<String> {
        let day = Duration::from_secs(DAY);
        let seen = state.note(source, &listed(images), day, true, at(second)).unwrap();
        seen.into_iter().map(|seen| seen.image).collect()
    }

    fn states() -> Vec<(Local, Option<tempfile::TempDir>)> {
        let dir = tempfile::TempDir::new().unwrap();
        vec![(Local::in_memory(), None), (Local::open(dir.path()).unwrap(), Some(dir))]
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
            assert_eq!(state.note("prod", &none, hour, false, at(1)), Ok(vec![]));
            assert_eq!(state.note("prod", &none, hour, false, at(2)), Ok(vec![]));
            state.note("prod", &listed(&["a", "b"]), hour, false, at(3)).unwrap();
            for second in [4, 9_999_999] {
                let refused = state.note("prod", &none, hour, false, at(second));
                assert_eq!(refused, Err(UnexpectedlyEmpty { before: 2 }));
            }
            let remembered = state.note("prod", &none, hour, true, at(5)).unwrap();
            assert_eq!(remembered.len(), 2);
            assert_eq!(remembered[0].last_seen, at(3));
            assert_eq!(remembered[0].locations, ["here"]);
            // Now nothing is what was there before.
            assert!(state.note("prod", &none, hour, false, at(6)).is_ok());
        }
    }

    #[test]
    fn nothing_is_remembered_for_no_time() {
        let state = Local::in_memory();
        let none = Duration::ZERO;
        state.note("prod", &listed(&["a"]), none, false, at(1)).unwrap();
        let now = state.note("prod", &listed(&["b"]), none, false, at(1)).unwrap();
        assert!(now.is_empty());
        let for_ever = state.note("prod", &listed(&["c"]), Duration::MAX, false, at(1));
        assert_eq!(for_ever.unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn what_was_seen_round_trips(
            second in 0_i64..4_000_000_000, locations in prop::collection::btree_set(".{0,20}", 0..4),
            image in ".{0,20}", source in ".{0,20}",
        ) {
            let bytes = encode(at(second), &locations);
            let locations = locations.into_iter().collect();
            let seen = RememberedImage { image: image.clone(), locations, last_seen: at(second) };
            prop_assert_eq!(RememberedImage::decode(image.clone(), &bytes), Some(seen));
            for cut in 0..bytes.len() {
                prop_assert_eq!(RememberedImage::decode(String::new(), &bytes[..cut]), None);
            }
            let (key, reading) = (image_key(&source, &image), codec::key(KIND, &source));
            prop_assert_eq!(codec::decode(&key), Some((KIND, &*source, &*image)));
            prop_assert!(key.starts_with(&reading));
            prop_assert_eq!(codec::decode::<(u8, &str, &str)>(&reading), None);
        }
    }
}

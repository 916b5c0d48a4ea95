//! What was seen in use, and where.

use std::collections::{BTreeMap, BTreeSet};

use super::used::Used;

/// More places of one image than this help nobody, and thousands of pods may run it. The first by
/// name are kept, whatever the order in which they were seen.
const MAX_PLACES: usize = 8;

/// What one source lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings(BTreeMap<Used, BTreeSet<String>>);

impl Sightings {
    /// `place` is for people: `Deployment shop/web`.
    pub fn note(&mut self, used: Used, place: &str) {
        let places = self.0.entry(used).or_default();
        if !places.contains(place) {
            places.insert(place.to_owned());
            if places.len() > MAX_PLACES {
                places.pop_last();
            }
        }
    }

    pub fn add(&mut self, other: Self) {
        for (used, places) in other.0 {
            places.iter().for_each(|place| self.note(used.clone(), place));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Used, &BTreeSet<String>)> {
        self.0.iter()
    }
}

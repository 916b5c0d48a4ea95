//! Where the copies of each rule's deletions are kept, so that they are found when they expire,
//! whatever has become of the repositories that they are from.

use std::collections::BTreeSet;

use super::State;
use super::codec::{Reader, Writer};

/// Keys of quarantines start with this byte. Programs that do not know it leave them alone.
const KIND: u8 = b'q';

impl State {
    /// Notes that a rule keeps copies at a place, as people write it.
    pub fn note_quarantine(&self, rule: &str, place: &str) {
        self.apply(vec![(key(rule, place), Some(Vec::new()))]);
    }

    /// Nothing is kept there any more.
    pub fn forget_quarantine(&self, rule: &str, place: &str) {
        self.apply(vec![(key(rule, place), None)]);
    }

    /// The places of a rule.
    pub fn quarantines(&self, rule: &str) -> BTreeSet<String> {
        self.places(&Writer::key(KIND).text(rule).finish())
    }

    /// The places of all rules.
    pub fn all_quarantines(&self) -> BTreeSet<String> {
        self.places(&[KIND])
    }

    fn places(&self, prefix: &[u8]) -> BTreeSet<String> {
        let found = self.store().last_with_prefix(prefix, usize::MAX);
        let place = |(key, _): (Vec<u8>, Vec<u8>)| {
            let mut reader = Reader::new(key.get(1..)?);
            reader.text()?;
            reader.text()
        };
        found.into_iter().filter_map(place).collect()
    }
}

fn key(rule: &str, place: &str) -> Vec<u8> {
    Writer::key(KIND).text(rule).text(place).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_their_rule() {
        let state = State::in_memory();
        for (rule, place) in [("apps", "oci:/q/a"), ("apps", "q.example/a"), ("app", "oci:/q/b")] {
            state.note_quarantine(rule, place);
            state.note_quarantine(rule, place);
        }
        let set = |places: &[&str]| places.iter().map(|place| (*place).to_owned()).collect();
        assert_eq!(state.quarantines("apps"), set(&["oci:/q/a", "q.example/a"]));
        assert_eq!(state.quarantines("app"), set(&["oci:/q/b"]));
        assert_eq!(state.all_quarantines(), set(&["oci:/q/a", "oci:/q/b", "q.example/a"]));
        state.forget_quarantine("apps", "oci:/q/a");
        assert_eq!(state.quarantines("apps"), set(&["q.example/a"]));
    }
}

//! Where the copies of each rule's deletions are kept, so that they are found when they expire,
//! even if the repositories that they come from are gone.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::codec;
use super::local::Local;

/// The first byte of the keys of quarantines.
const KIND: u8 = b'q';

/// Where cleanup rules keep copies. `address` is written as people write it.
pub trait Quarantines: Debug + Send + Sync {
    /// Notes that a rule keeps copies at an address.
    fn note(&self, rule: &str, address: &str);

    /// Notes that a rule keeps nothing at an address any more.
    fn forget(&self, rule: &str, address: &str);

    /// The addresses of a rule.
    fn of_rule(&self, rule: &str) -> BTreeSet<String>;

    /// The addresses of all rules.
    fn all(&self) -> BTreeSet<String>;
}

impl Quarantines for Local {
    fn note(&self, rule: &str, address: &str) {
        self.apply(vec![(key(rule, address), Some(Vec::new()))]);
    }

    fn forget(&self, rule: &str, address: &str) {
        self.apply(vec![(key(rule, address), None)]);
    }

    fn of_rule(&self, rule: &str) -> BTreeSet<String> {
        addresses(self, &codec::key(KIND, &rule))
    }

    fn all(&self) -> BTreeSet<String> {
        addresses(self, &[KIND])
    }
}

fn addresses(local: &Local, prefix: &[u8]) -> BTreeSet<String> {
    let address = |key: &[u8], _: &[u8]| {
        codec::decode::<(u8, &str, String)>(key).map(|(_, _, address)| address)
    };
    local.store.scan(prefix, usize::MAX, address).into_iter().collect()
}

fn key(rule: &str, address: &str) -> Vec<u8> {
    codec::key(KIND, &(rule, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_their_rule() {
        let state: &dyn Quarantines = &Local::in_memory();
        for (rule, address) in [("apps", "oci:/q/a"), ("apps", "q.example/a"), ("app", "oci:/q/b")]
        {
            state.note(rule, address);
            state.note(rule, address);
        }
        let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(state.of_rule("apps"), set(&["oci:/q/a", "q.example/a"]));
        assert_eq!(state.of_rule("app"), set(&["oci:/q/b"]));
        assert_eq!(state.all(), set(&["oci:/q/a", "oci:/q/b", "q.example/a"]));
        state.forget("apps", "oci:/q/a");
        assert_eq!(state.of_rule("apps"), set(&["q.example/a"]));
    }
}

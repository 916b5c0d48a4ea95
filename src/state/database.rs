//! What keeps keys and values on a disk: the interface, and what can go wrong with it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, ErrorKind};

/// A key, and its new value or `None` to remove it.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Changes by their keys.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Keys and values on a disk. Only one thread calls `save`; the others read meanwhile.
pub(super) trait Database: Debug + Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure>;

    /// Shows the entries whose keys start with `prefix`, from the last key to the first, until
    /// `visit` returns `false`.
    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Failure>;

    /// Makes all changes, durably against the loss of power too; if the process is killed meanwhile,
    /// all of them or none. After a failure, the same changes can be saved again, with more.
    fn save(&self, changes: &Changes) -> Result<(), Failure>;

    /// How much more can be written to the disk, in bytes.
    fn free_space(&self) -> io::Result<u64>;
}

/// Why an operation of a database did not work.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// The contents cannot be trusted any more. Every later operation fails in the same way.
    #[error("{0}")]
    Damaged(String),
    /// The disk or the system does not do what it is asked to. This says nothing about the
    /// contents, and may pass.
    #[error("{words}")]
    Refused { kind: ErrorKind, words: String },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let error = as_it_was(error);
        let words = error.to_string();
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => Self::Damaged(words),
            kind => Self::Refused { kind, words },
        }
    }
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// sled repeats an error of the system as the text of Rust's debugging output. Its code is read from
/// there, so that people see the system's own words.
fn as_it_was(error: io::Error) -> io::Error {
    let text = error.to_string();
    let code = text.strip_prefix("Os { code: ").and_then(|rest| rest.split_once(','));
    match code.and_then(|(code, _)| code.parse().ok()) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_systems_words_however_often_sled_repeats_them() {
        let full = || io::Error::from_raw_os_error(28);
        let repeated = sled::Error::from(full()).clone();
        assert!(repeated.to_string().contains("Os { code"), "{repeated}");
        for failure in [Failure::from(full()), sled::Error::from(full()).into(), repeated.into()] {
            assert!(matches!(failure, Failure::Refused { kind: ErrorKind::StorageFull, .. }));
            assert_eq!(failure.to_string(), "No space left on device (os error 28)");
        }
    }

    #[test]
    fn only_wrong_contents_are_damage() {
        let cut = sled::Error::from(io::Error::from(ErrorKind::UnexpectedEof));
        assert!(matches!(cut.into(), Failure::Damaged(_)));
        let bug = sled::Error::ReportableBug("bad page".to_owned());
        assert!(matches!(bug.into(), Failure::Damaged(_)));
        for code in [5, 13, 28, 30, 122] {
            let error = sled::Error::from(io::Error::from_raw_os_error(code)).clone();
            assert!(matches!(error.into(), Failure::Refused { .. }), "{code}");
        }
    }
}

//! What was learnt about mounting blobs at one registry: from which repositories, and whether at all.

use std::collections::HashSet;

use http::StatusCode;

/// This many refusals in a row mean that the registry mounts nothing.
const ENOUGH: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Mounting is not tried any more.
    off: bool,
    /// Repositories from which a mount was refused. The reason may be the repository: its name, or
    /// rights that are lacking.
    refused: HashSet<String>,
    in_a_row: u32,
}

impl Mounts {
    pub fn is_worth_asking(&self, from: &str) -> bool {
        !self.off && !self.refused.contains(from)
    }

    /// A request was answered as the specification says, with or without a mount.
    pub fn understood(&mut self) {
        self.in_a_row = 0;
    }

    pub fn refused(&mut self, from: &str, status: StatusCode) {
        // Further answers about the same repository say nothing new.
        if self.refused.insert(from.to_owned()) {
            self.in_a_row += 1;
        }
        let never = matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
        self.off |= never || self.in_a_row >= ENOUGH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_holds_for_one_repository() {
        let mut mounts = Mounts::default();
        for _ in 0..9 {
            mounts.refused("a", StatusCode::NOT_FOUND);
        }
        assert!(!mounts.is_worth_asking("a") && mounts.is_worth_asking("b"));
        mounts.refused("b", StatusCode::UNAUTHORIZED);
        mounts.understood();
        mounts.refused("c", StatusCode::FORBIDDEN);
        assert!(mounts.is_worth_asking("d"));
    }

    #[test]
    fn many_refusals_or_a_clear_one_hold_for_all() {
        let mut mounts = Mounts::default();
        for from in ["a", "b", "c"] {
            assert!(mounts.is_worth_asking("d"));
            mounts.refused(from, StatusCode::NOT_FOUND);
        }
        assert!(!mounts.is_worth_asking("d"));
        for status in [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED] {
            let mut mounts = Mounts::default();
            mounts.refused("a", status);
            assert!(!mounts.is_worth_asking("d"));
        }
    }
}

//! Whether a broken blob is gone on with: pure decisions on numbers, apart from the streaming.

/// Breaks without progress that are borne. More mean that it is not the network.
pub const FRUITLESS: u32 = 4;
/// A break after so many new bytes counts as progress: a long blob over a bad line may break
/// often and still arrive.
pub const PROGRESS: u64 = 1 << 20;

/// Counts the breaks of one stream.
#[derive(Debug, Default, Clone, Copy)]
pub struct Breaks {
    fruitless: u32,
    last: u64,
    total: u32,
}

impl Breaks {
    /// The stream broke at byte `at`. Whether to go on.
    pub fn go_on(&mut self, at: u64) -> bool {
        self.total += 1;
        if at >= self.last + PROGRESS {
            self.fruitless = 0;
        }
        self.last = self.last.max(at);
        self.fruitless += 1;
        self.fruitless <= FRUITLESS
    }

    /// Breaks since the last progress, for the wait before the next try.
    pub fn fruitless(&self) -> u32 {
        self.fruitless
    }

    /// Breaks until now, which is tries that failed.
    pub fn count(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_up_only_without_progress() {
        let mut breaks = Breaks::default();
        assert!((1..=100).all(|n| breaks.go_on(n * PROGRESS)));
        let mut breaks = Breaks::default();
        let again: Vec<bool> = (0..6).map(|_| breaks.go_on(10)).collect();
        assert_eq!(again, [true, true, true, true, false, false]);
        // Going back to where it was is no progress.
        let mut breaks = Breaks::default();
        breaks.go_on(5 * PROGRESS);
        let again: Vec<bool> = (0..5).map(|_| breaks.go_on(4 * PROGRESS)).collect();
        assert_eq!(again, [true, true, true, false, false]);
    }
}

//! What is scarce, shared fairly between flows of work: one with ten thousand things to do does
//! not keep out one that has three.
//!
//! - `line`: who is next (pure). `places`: waiting for it. `pulse`: whether a flow gets anywhere.

mod line;
mod places;
mod pulse;

pub use places::{Place, Places};
pub use pulse::{HEARTBEAT, Pulse, Pulses, Watched, waiting};

/// Work that belongs together and takes its turns as one: a run of a rule, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow(u64);

impl Flow {
    /// The flow of a process that does one thing: nobody is there to share with.
    pub const ALONE: Self = Self(0);

    /// The flow with this number. The same number is the same flow.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u64 {
        self.0
    }
}

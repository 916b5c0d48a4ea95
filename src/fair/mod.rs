//! Scarce resources, shared fairly between flows of work: a flow with ten thousand items does not
//! lock out one with three.
//!
//! - `queue`: who is served next (pure). `permits`: waiting for one of a number of permits.
//!   `pulse`: signs of life by which a stalled flow is noticed. `lending`: permits of the whole
//!   process, which a stalled flow does not keep from others.
//! - `memory`: the memory of the whole process for documents from outside.
//! - `write_leases`: which rule may write to a repository.

mod lending;
mod memory;
mod permits;
mod pulse;
mod queue;
mod write_leases;

pub use lending::{LendingPermits, Lent};
pub use memory::{Bounds, Claim, Claimant, ClaimsTooMuch, MemoryBudget};
pub use permits::{Permit, Permits};
pub use pulse::{HEARTBEAT, Pulse, Pulses, Watched, waiting};
pub use write_leases::{WriteLease, WriteLeases};

/// Work that takes its turns together, such as one run of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow(u64);

impl Flow {
    /// The flow of a process that does a single thing and shares with nobody.
    pub const ALONE: Self = Self(0);

    /// The flow with this number; equal numbers are the same flow.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u64 {
        self.0
    }
}

//! The time of day, passed in so that tests can stop it, set it and let it run.

use jiff::Timestamp;

/// What time it is. It may jump forwards and backwards, as a machine's clock does.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

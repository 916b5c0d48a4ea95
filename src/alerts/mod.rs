//! Tells people, by webhook, what they should know of: once when something begins to fail or is
//! held back by a safety limit, and once when it works again.
//!
//! - `alert`: what people are told. `decide`: whether they are told of a run (pure).
//! - `message`: how that is written. `deliver`: one try to bring it to its receiver.
//! - `sender`: queues, tries again, never lets anybody wait.

mod alert;
mod decide;
mod deliver;
mod message;
mod sender;
#[cfg(test)]
mod tests;

pub use alert::{Alert, MAX_DETAILS, Subject};
pub use decide::decide;
pub use message::{json, slack};
pub use sender::{Context, Delivery, Sender, Watch};

pub use crate::config::AlertKind;

//! Alerts by webhook: one when something begins to fail or is held back by a safety limit, and one
//! when it works again.
//!
//! - `alert`: what people are told. `decide`: whether they are told about a run (pure).
//! - `message`: how an alert is written. `deliver`: one attempt to deliver it.
//! - `sender`: queues and retries, so that nothing waits for a webhook.

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

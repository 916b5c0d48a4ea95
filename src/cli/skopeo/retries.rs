//! How often requests are repeated.

use std::time::Duration;

use super::{HEADING, duration};
use crate::http::Backoff;
use crate::http::RetryPolicy;

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct Retries {
    /// Repeat a failed request at most this often [default: 4]
    #[arg(long, value_name = "N", hide_short_help = true)]
    retry_times: Option<u32>,
    /// Wait at most this long before a request is repeated [default: longer after each failure]
    #[arg(long, value_name = "DURATION", hide_short_help = true, value_parser = duration)]
    retry_delay: Option<Duration>,
}

impl Retries {
    pub fn policy(&self) -> RetryPolicy {
        let mut policy = RetryPolicy::default();
        if let Some(times) = self.retry_times {
            policy.attempts = times.saturating_add(1);
        }
        if let Some(delay) = self.retry_delay {
            policy.backoff = Backoff::new(delay, delay);
        }
        policy
    }
}

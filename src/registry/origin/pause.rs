//! What a refusal means for all other requests to the origin: pauses, and the pull quota.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::time::Instant;

use super::{Origin, Settings};
use crate::http::retry::retry_after;
use crate::registry::answer::Answer;
use crate::registry::link;
use crate::repository::Cause;

/// A registry that asks for a longer pause is asked again after this time.
const MAX_CLOSED: Duration = Duration::from_secs(3600);

impl Origin {
    /// Reads the wait that a refusal asks for, and holds all requests back for as long.
    pub(super) fn heed(&self, answer: &Answer, refusal: &Cause) -> Option<Duration> {
        let message = match refusal {
            Cause::Refused { message, .. } => message.as_str(),
            _ => "",
        };
        let now = SystemTime::now();
        let wait = retry_after(&answer.headers, now)
            .or_else(|| self.dialect.wait(&answer.headers, message, now));
        let Settings { limits, policy, .. } = &self.settings;
        match wait {
            Some(wait) if wait <= policy.patience => limits.requests.pause(wait),
            Some(wait) if link::same_origin(&self.base, &answer.url) => {
                let until = Instant::now() + wait.min(MAX_CLOSED);
                limits.close(until, refusal.clone());
            }
            _ => {}
        }
        wait
    }

    /// Counts what is left of the pull quota, and warns once when it is nearly used up.
    pub(super) fn note_quota(&self, headers: &HeaderMap) {
        let Some(quota) = self.dialect.quota(headers) else { return };
        self.metrics.quota(quota.limit, quota.remaining);
        if quota.remaining.saturating_mul(10) < quota.limit
            && !self.quota_is_low.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(registry = %self.host, quota.remaining, quota.limit, "the pull quota is nearly used up");
        }
    }
}

/// Adds to a registry's words how long it asks to wait.
pub(super) fn mention(cause: &mut Cause, wait: Duration) {
    let Cause::Refused { message, .. } = cause else { return };
    // Fractions of a second are of no use to people.
    let seconds = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    if !message.is_empty() {
        message.push_str("; ");
    }
    message.push_str(&format!("try again in {}", humantime::format_duration(seconds)));
}

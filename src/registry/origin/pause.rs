//! What a refusal means for all other requests to the origin: pauses, and the pull quota.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::{Origin, Settings};
use crate::http::retry::retry_after;
use crate::registry::answer::Answer;
use crate::registry::call::Call;
use crate::registry::link;
use crate::registry::pauses::Pause;
use crate::repository::Cause;

/// A shorter wait is that of a limit by the second, which holds for the whole registry.
const SHORT: Duration = Duration::from_secs(5);

impl Origin {
    /// Reads the wait that a refusal asks for, and holds back for as long what it may be about.
    pub(super) fn heed(
        &self,
        call: &Call<'_>,
        answer: &Answer,
        refusal: &Cause,
    ) -> Option<Duration> {
        let message = match refusal {
            Cause::Refused { message, .. } => message.as_str(),
            _ => "",
        };
        let now = SystemTime::now();
        let wait = retry_after(&answer.headers, now)
            .or_else(|| self.dialect.wait(&answer.headers, message, now));
        let Settings { limits, policy, .. } = &self.settings;
        let is_own = link::same_origin(&self.base, &answer.url);
        match wait {
            Some(wait) if wait <= SHORT => limits.requests.pause(wait),
            Some(wait) if wait <= policy.patience || is_own => {
                let is_short = wait <= policy.patience;
                let refusal = refusal.clone();
                limits.hold(call.pause_kind(), call.repository(), wait, refusal, is_short);
            }
            _ => {}
        }
        wait
    }

    /// Waits as long as the registry wants requests like this one held back. The error is the refusal
    /// of one that is not waited for.
    pub(super) async fn until_let_in(&self, call: &Call<'_>) -> Result<(), Cause> {
        while let Some(pause) = self.held(call) {
            if !pause.is_short {
                return Err(pause.cause);
            }
            tokio::time::sleep_until(pause.until).await;
        }
        Ok(())
    }

    pub(super) fn held(&self, call: &Call<'_>) -> Option<Pause> {
        self.settings.limits.held(call.pause_kind(), call.repository())
    }

    /// A request that left at `sent` was answered.
    pub(super) fn note_answered(&self, call: &Call<'_>, status: StatusCode, sent: Instant) {
        if status.is_success() || status.is_redirection() || status == StatusCode::NOT_FOUND {
            self.settings.limits.answered(call.pause_kind(), sent);
        }
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

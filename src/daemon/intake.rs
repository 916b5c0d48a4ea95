//! Messages of registries about pushes: believed or not, understood or not, handed to the
//! scheduler.
//!
//! In two steps, so that nobody who is not believed has a body kept for them: a sender whose
//! secret stands in the head is known before the body is read.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Handle, Stopping};
use crate::config::EventSource;
use crate::events::{self, Forged};
use crate::metrics::EventOutcome;

/// Refusals of one source are logged once in this time: anybody can cause them.
const QUIET: Duration = Duration::from_secs(60);

/// What became of a message about pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsAccepted {
    /// Pushes that concern a rule. What they moved is looked at within a second.
    pub accepted: usize,
    /// Pushes and deletions that concern none.
    pub ignored: usize,
}

/// Why a message about pushes was not believed or understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventRefusal {
    #[error("there is no [events.{0}] in the configuration")]
    UnknownSource(String),
    /// What exactly is wrong only the operator learns, from the log.
    #[error("the message is not believed: its secret or signature is missing or wrong")]
    Forged,
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// The head of a message that may be believed.
pub struct Intake {
    daemon: Handle,
    /// The name of the source.
    name: String,
    source: EventSource,
    secret: Option<SecretString>,
}

impl Handle {
    /// Looks at the head of a message from one of the configured sources.
    ///
    /// # Errors
    /// There is no such source, or it is not believed.
    pub fn intake(
        &self,
        name: &str,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Intake, EventRefusal> {
        let engine = self.0.board.engine();
        let Some(source) = engine.core.config.events.get(name) else {
            self.0.parts.metrics.daemon().event_of_unknown_source();
            return Err(EventRefusal::UnknownSource(name.to_owned()));
        };
        let intake = Intake {
            daemon: self.clone(),
            name: name.to_owned(),
            source: source.clone(),
            secret: engine.event_secrets.get(name).cloned(),
        };
        intake
            .believe(|secret| events::authenticate_head(source.format, secret, headers, query))?;
        Ok(intake)
    }
}

impl Intake {
    /// Takes the whole message.
    ///
    /// # Errors
    /// It is not believed, not understood, or comes too late.
    pub async fn take(
        self,
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<EventsAccepted, EventRefusal> {
        let format = self.source.format;
        self.believe(|secret| events::authenticate(format, secret, headers, query, body))?;
        let shared = &self.daemon.0;
        let metrics = shared.parts.metrics.daemon();
        let source = self.name.as_str();
        let pushed = events::parse(self.source.format, headers, body).map_err(|refusal| {
            metrics.event(source, EventOutcome::Malformed);
            if let Some(before) = shared.refusals.tell(source, Instant::now()) {
                tracing::warn!(source, before, %refusal, "an event was not understood");
            }
            EventRefusal::Malformed(refusal.to_string())
        })?;
        let (all, registry) = (pushed.len(), self.source.registry.clone());
        let taken = self.daemon.ask(move |scheduler| scheduler.pushed(&registry, &pushed)).await?;
        if taken.noted {
            // The sender will be told that it is taken care of, so it must not be forgotten now.
            shared.parts.state.storage.flush().await;
        }
        let accepted = taken.accepted;
        let outcome = if accepted > 0 { EventOutcome::Accepted } else { EventOutcome::Ignored };
        metrics.event(source, outcome);
        tracing::debug!(source, accepted, ignored = all - accepted, "events");
        Ok(EventsAccepted { accepted, ignored: all - accepted })
    }

    /// Refuses what is forged, if the source has a secret.
    fn believe(
        &self,
        check: impl FnOnce(&SecretString) -> Result<(), Forged>,
    ) -> Result<(), EventRefusal> {
        let source = self.name.as_str();
        let Some(secret) = &self.secret else { return Ok(()) };
        check(secret).map_err(|forged| {
            let shared = &self.daemon.0;
            shared.parts.metrics.daemon().event(source, EventOutcome::Forged);
            if let Some(before) = shared.refusals.tell(source, Instant::now()) {
                tracing::warn!(source, before, %forged, "an event was refused");
            }
            EventRefusal::Forged
        })
    }
}

/// Which refusals were logged, so that a sender that causes many does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By source, of which the configuration has a few: when it was last logged, and how many were
    /// not since.
    sources: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Refusals {
    /// Whether to log a refusal of this source now, and how many were not logged before it.
    fn tell(&self, source: &str, now: Instant) -> Option<u64> {
        let mut sources = self.sources.lock();
        match sources.get_mut(source) {
            Some((last, untold)) if now.saturating_duration_since(*last) < QUIET => {
                *untold += 1;
                None
            }
            Some((last, untold)) => {
                *last = now;
                Some(std::mem::take(untold))
            }
            None => {
                sources.insert(source.to_owned(), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_once_a_minute_for_each_source() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(refusals.tell("hub", at(0)), Some(0));
        assert_eq!(refusals.tell("hub", at(1)), None);
        assert_eq!(refusals.tell("ghcr", at(1)), Some(0));
        assert_eq!(refusals.tell("hub", at(59)), None);
        assert_eq!(refusals.tell("hub", at(61)), Some(2));
        assert_eq!(refusals.tell("hub", at(122)), Some(0));
    }
}

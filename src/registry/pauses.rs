//! Which requests a registry wants held back, and until when. Pure.
//!
//! `Retry-After` does not say what it is about: registries limit everything, one repository, or one
//! kind of request, such as pulls but not looking tags up. So a long wait holds for requests of the
//! same kind to the same repository. If another repository is refused next, and none was answered well
//! in between, the wait holds for requests of this kind to all of them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::repository::Cause;

/// A registry that asks for a longer wait is asked again after this time: nobody should be able to
/// switch a mirror off for a day.
const LONGEST: Duration = Duration::from_secs(3600);
/// If more repositories are to wait, all of them do.
const MAX_REPOSITORIES: usize = 1000;

/// The kinds of requests that registries limit apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only looks whether something is there: Docker Hub does not count these.
    Look,
    Read,
    Write,
}

/// A wait that the registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    since: Instant,
    pub until: Instant,
    /// The refusal.
    pub cause: Cause,
    /// Requests wait for its end. Otherwise they fail.
    pub is_short: bool,
}

#[derive(Debug, Default)]
pub struct Pauses {
    /// By the number of the kind.
    kinds: [OfKind; 3],
}

#[derive(Debug, Default)]
struct OfKind {
    /// By repository. The empty name: requests that are about none.
    repositories: HashMap<String, Pause>,
    all: Option<Pause>,
    /// When the latest request left that was answered well.
    good: Option<Instant>,
}

impl Pauses {
    /// A request of this kind was refused with this wait. `is_short`: others should wait rather than
    /// fail.
    pub fn refused(
        &mut self,
        kind: Kind,
        repository: &str,
        now: Instant,
        wait: Duration,
        cause: Cause,
        is_short: bool,
    ) {
        let of_kind = &mut self.kinds[kind as usize];
        of_kind.repositories.retain(|_, pause| now < pause.until);
        let others = of_kind.repositories.iter().filter(|(other, _)| *other != repository);
        let before = others.map(|(_, pause)| pause.since).max();
        let is_alone = before.is_none_or(|before| of_kind.good.is_some_and(|good| good > before));
        let pause = Pause { since: now, until: now + wait.min(LONGEST), cause, is_short };
        if !is_alone || of_kind.repositories.len() >= MAX_REPOSITORIES {
            of_kind.all = Some(pause.clone());
        }
        of_kind.repositories.insert(repository.to_owned(), pause);
    }

    /// A request of this kind, which left at `sent`, was answered well.
    pub fn good(&mut self, kind: Kind, sent: Instant) {
        let good = &mut self.kinds[kind as usize].good;
        *good = (*good).max(Some(sent));
    }

    /// Why a request may not leave now.
    pub fn held(&self, kind: Kind, repository: &str, now: Instant) -> Option<&Pause> {
        let of_kind = &self.kinds[kind as usize];
        let pauses = of_kind.all.iter().chain(of_kind.repositories.get(repository));
        pauses.filter(|pause| now < pause.until).max_by_key(|pause| pause.until)
    }

    /// Why no request of some kind may leave now, to whichever repository.
    pub fn all_held(&self, now: Instant) -> Option<&Pause> {
        let kinds = [Kind::Read, Kind::Write, Kind::Look].into_iter();
        let pauses = kinds.filter_map(|kind| self.kinds[kind as usize].all.as_ref());
        pauses.into_iter().find(|pause| now < pause.until)
    }
}

#[cfg(test)]
mod tests {
    use super::Kind::{Look, Read, Write};
    use super::*;

    enum Event {
        /// Refused: kind, repository, wait in seconds.
        No(Kind, &'static str, u64),
        /// Answered well: kind.
        Yes(Kind),
    }
    use Event::{No, Yes};

    /// What is held after these events, one a second, at so many seconds: `look|read|write` of the
    /// repositories `a`, `b` and `c`.
    fn held(events: &[Event], at: u64) -> String {
        let start = Instant::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let mut pauses = Pauses::default();
        for (now, event) in (0..).zip(events) {
            match event {
                No(kind, repository, wait) => {
                    let cause = Cause::Protocol(format!("refused at {now}"));
                    let wait = Duration::from_secs(*wait);
                    pauses.refused(*kind, repository, second(now), wait, cause, false);
                }
                Yes(kind) => pauses.good(*kind, second(now)),
            }
        }
        let of = |kind| {
            let is_held = |name: &&&str| pauses.held(kind, name, second(at)).is_some();
            ["a", "b", "c"].iter().filter(is_held).copied().collect::<String>()
        };
        [Look, Read, Write].map(of).join("|")
    }

    #[test]
    fn a_wait_holds_for_what_was_asked() {
        let day = 86_400;
        let cases: &[(&[Event], u64, &str)] = &[
            (&[], 0, "||"),
            (&[No(Read, "a", 600)], 1, "|a|"),
            (&[No(Read, "a", 600)], 600, "||"),
            // The same repository again, and in another way: still about that one.
            (&[No(Read, "a", 600), No(Read, "a", 600), No(Write, "a", 600)], 3, "|a|a"),
            // Two in a row: all of them.
            (&[No(Read, "a", 600), No(Read, "b", 600)], 2, "|abc|"),
            (&[No(Write, "a", 600), No(Write, "b", 300)], 200, "||abc"),
            (&[No(Write, "a", 600), No(Write, "b", 300)], 400, "||a"),
            // Others are answered well meanwhile.
            (&[No(Read, "a", 600), Yes(Read), No(Read, "b", 600)], 3, "|ab|"),
            (&[No(Read, "a", 600), Yes(Read), No(Read, "b", 600), No(Read, "c", 9)], 4, "|abc|"),
            // A good answer of another kind, or from before, says nothing.
            (&[No(Read, "a", 600), Yes(Look), No(Read, "b", 600)], 3, "|abc|"),
            (&[Yes(Read), No(Read, "a", 600), No(Read, "b", 600)], 3, "|abc|"),
            // The first wait is over.
            (&[No(Read, "a", 1), Yes(Look), Yes(Look), No(Read, "b", 600)], 4, "|b|"),
            // What is about no repository is one of its own.
            (&[No(Read, "", 600)], 1, "||"),
            (&[No(Read, "", 600), No(Read, "a", 600)], 2, "|abc|"),
            // Nobody is believed for longer than an hour.
            (&[No(Look, "a", day), No(Look, "b", day)], 3600, "abc||"),
            (&[No(Look, "a", day), No(Look, "b", day)], 3601, "||"),
            (&[No(Look, "a", u64::MAX)], 3600, "||"),
        ];
        for (at, (events, seconds, expected)) in cases.iter().enumerate() {
            assert_eq!(held(events, *seconds), *expected, "case {at}");
        }
    }

    #[test]
    fn a_registry_that_refuses_without_end_is_held_as_a_whole() {
        let now = Instant::now();
        let mut pauses = Pauses::default();
        for at in 0..=MAX_REPOSITORIES {
            assert!(pauses.all_held(now).is_none(), "{at}");
            let cause = Cause::Protocol("refused".to_owned());
            pauses.refused(Read, &at.to_string(), now, LONGEST, cause, false);
            pauses.good(Read, now + Duration::from_secs(1));
        }
        assert!(pauses.all_held(now).is_some());
    }
}

//! Which part of a rule push events have reported as changed: some tags, whole repositories, or
//! everything, with the time of the oldest event behind each.
//!
//! Bounded: too many tags of a repository become the whole repository, and too many repositories
//! the whole rule. A run then covers more than was reported, never less.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::{RepositoryName, Tag};

/// How much is remembered individually.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Tags of one repository; above that, the whole repository is meant.
    pub tags: usize,
    /// Repositories of one rule; above that, the whole rule is meant.
    pub repositories: usize,
}

/// A part of what a rule copies; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changes {
    /// Everything that the rule copies.
    Rule { since: Timestamp },
    /// Never empty.
    Repositories(BTreeMap<RepositoryName, Part>),
}

/// A part of a repository; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Every image of it that the rule copies.
    Whole { since: Timestamp },
    /// These tags, each with the time of its oldest event; never empty.
    Tags(BTreeMap<Tag, Timestamp>),
}

impl Changes {
    /// What one event reported: a tag, or without one the whole repository.
    pub fn new(repository: RepositoryName, tag: Option<Tag>, at: Timestamp) -> Self {
        let part = match tag {
            Some(tag) => Part::Tags(BTreeMap::from([(tag, at)])),
            None => Part::Whole { since: at },
        };
        Self::Repositories(BTreeMap::from([(repository, part)]))
    }

    /// The part for which `holds`, which is called with each tag, and without a tag for a whole
    /// repository. All of it, if it is the whole rule.
    pub fn part(&self, holds: impl Fn(&RepositoryName, Option<&Tag>) -> bool) -> Option<Self> {
        let Self::Repositories(repositories) = self else { return Some(self.clone()) };
        let part = |(repository, part): (&RepositoryName, &Part)| {
            let part = match part {
                Part::Whole { .. } => holds(repository, None).then(|| part.clone())?,
                Part::Tags(tags) => {
                    let tags = tags.iter().filter(|(tag, _)| holds(repository, Some(tag)));
                    let tags: BTreeMap<_, _> = tags.map(|(tag, at)| (tag.clone(), *at)).collect();
                    if tags.is_empty() {
                        return None;
                    }
                    Part::Tags(tags)
                }
            };
            Some((repository.clone(), part))
        };
        let parts: BTreeMap<_, _> = repositories.iter().filter_map(part).collect();
        (!parts.is_empty()).then_some(Self::Repositories(parts))
    }

    /// When the oldest event behind this happened.
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Rule { since } => *since,
            // Never empty.
            Self::Repositories(parts) => {
                parts.values().map(Part::since).min().unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Whether this covers already what an event reported, whose time is remembered then.
    pub fn covers(
        &mut self,
        repository: &RepositoryName,
        tag: Option<&Tag>,
        at: Timestamp,
    ) -> bool {
        let known = match self {
            Self::Rule { since } => Some(since),
            Self::Repositories(parts) => match (parts.get_mut(repository), tag) {
                (Some(Part::Whole { since }), _) => Some(since),
                (Some(Part::Tags(tags)), Some(tag)) => tags.get_mut(tag),
                _ => None,
            },
        };
        let Some(known) = known else { return false };
        *known = (*known).min(at);
        true
    }

    /// Adds the other changes.
    pub fn merge(&mut self, other: Self, bounds: Bounds) {
        let since = match (&mut *self, other) {
            (Self::Rule { since }, other) => (*since).min(other.since()),
            (this, Self::Rule { since }) => this.since().min(since),
            (Self::Repositories(parts), Self::Repositories(others)) => {
                for (repository, part) in others {
                    match parts.entry(repository) {
                        Entry::Vacant(entry) => {
                            entry.insert(part);
                        }
                        Entry::Occupied(mut entry) => entry.get_mut().merge(part, bounds.tags),
                    }
                }
                if parts.len() <= bounds.repositories {
                    return;
                }
                self.since()
            }
        };
        *self = Self::Rule { since };
    }

    /// Splits off what the other covers too: what is left, and what the two have in common; either
    /// is `None` when there is nothing of it.
    pub fn without(self, other: &Self) -> (Option<Self>, Option<Self>) {
        let (parts, others) = match (self, other) {
            (Self::Repositories(parts), Self::Repositories(others)) => (parts, others),
            (this, _) => return (None, Some(this)),
        };
        let mut rest = BTreeMap::new();
        let mut common = BTreeMap::new();
        for (repository, part) in parts {
            match others.get(&repository) {
                None => {
                    rest.insert(repository, part);
                }
                Some(other) => {
                    let (left, both) = part.without(other);
                    rest.extend(left.map(|left| (repository.clone(), left)));
                    common.extend(both.map(|both| (repository, both)));
                }
            }
        }
        let some = |parts: BTreeMap<_, _>| (!parts.is_empty()).then_some(Self::Repositories(parts));
        (some(rest), some(common))
    }
}

impl Part {
    /// When the oldest event behind this happened.
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Whole { since } => *since,
            // Never empty.
            Self::Tags(tags) => tags.values().min().copied().unwrap_or(Timestamp::MAX),
        }
    }

    fn merge(&mut self, other: Self, bound: usize) {
        if let (Self::Tags(tags), Self::Tags(others)) = (&mut *self, &other) {
            for (tag, at) in others {
                tags.entry(tag.clone())
                    .and_modify(|known| *known = (*known).min(*at))
                    .or_insert(*at);
            }
            if tags.len() <= bound {
                return;
            }
        }
        *self = Self::Whole { since: self.since().min(other.since()) };
    }

    fn without(self, other: &Self) -> (Option<Self>, Option<Self>) {
        match (self, other) {
            (Self::Tags(tags), Self::Tags(others)) => {
                let (common, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    tags.into_iter().partition(|(tag, _)| others.contains_key(tag));
                let some = |tags: BTreeMap<_, _>| (!tags.is_empty()).then_some(Self::Tags(tags));
                (some(rest), some(common))
            }
            (this, _) => (None, Some(this)),
        }
    }
}

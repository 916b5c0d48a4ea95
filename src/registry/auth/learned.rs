//! What the answers of a registry and its token server told so far. Data and rules, no I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::credentials::Credential;
use super::realm::Standing;
use super::scope::{Access, Scope, Wanted, wanted};

/// After so many refusals of credentials in a row they are held back: GitLab bans an address for
/// 15 minutes after 300 refusals within one, and requests already under way still count.
const MAX_REFUSALS: u32 = 5;

/// How long they are held back.
pub(super) const HOLD_BACK: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Learned {
    way: Option<Way>,
    /// Harbor wants Basic for its catalog and tokens for everything else.
    catalog: Option<Way>,
    /// A scope that the registry wants for everything (Gitea's `*`).
    everywhere: Option<String>,
    /// What it wants for deletion, where that is not `*`.
    delete: Option<String>,
    /// Scopes that it wants in other words than ours, like names rewritten by a proxy.
    here: HashMap<Scope, Vec<String>>,
    /// Credentials refused by the token server in a row, how often, and when last.
    refusals: Option<(Credential, u32, Instant)>,
}

/// How a registry wants to be asked.
#[derive(Clone)]
pub(super) enum Way {
    /// It asked for nothing so far.
    Open,
    Basic,
    Bearer(Arc<Bearer>),
}

/// Where tokens come from.
pub(super) struct Bearer {
    pub realm: Url,
    pub service: Option<String>,
    pub standing: Standing,
}

impl Learned {
    /// How to ask for `scope`, if that is known.
    pub fn way(&self, scope: &Scope) -> Option<Way> {
        let own = if scope.access == Access::Catalog { &self.catalog } else { &None };
        own.as_ref().or(self.way.as_ref()).cloned()
    }

    /// What the catalog wants says nothing about the rest, but what the rest wants is tried on it.
    pub fn set_way(&mut self, scope: &Scope, way: Way) {
        if scope.access == Access::Catalog {
            self.catalog = Some(way);
        } else {
            self.way = Some(way);
        }
    }

    /// A bare request was answered.
    pub fn is_open(&mut self) {
        self.way.get_or_insert(Way::Open);
    }

    /// Remembers the scope that a challenge names, if it is another than would be asked for. Gives
    /// whether that is news.
    pub fn set_words(&mut self, scope: &Scope, challenge: Option<&str>) -> bool {
        match wanted(challenge.unwrap_or_default(), &self.texts(scope)) {
            Wanted::Usual => false,
            Wanted::Everywhere(text) => {
                let news = self.everywhere.as_ref() != Some(&text);
                self.everywhere = Some(text);
                news
            }
            Wanted::Here(texts) => {
                match delete_actions(scope, &texts) {
                    Some(actions) => self.delete = Some(actions),
                    None => {
                        self.here.insert(scope.clone(), texts);
                    }
                }
                true
            }
        }
    }

    /// The scopes to ask the token server for.
    pub fn texts(&self, scope: &Scope) -> Vec<String> {
        if let Some(text) = &self.everywhere {
            return vec![text.clone()];
        }
        if let Some(texts) = self.here.get(scope) {
            return texts.clone();
        }
        match (&scope.repository, &self.delete) {
            (Some(name), Some(actions)) if scope.access == Access::Delete => {
                vec![format!("repository:{name}:{actions}")]
            }
            _ => scope.texts(),
        }
    }

    /// How often a credential was refused, if that was too often and too lately to try it now.
    pub fn held_back(&self, credential: &Credential, now: Instant) -> Option<u32> {
        let (refused, count, at) = self.refusals.as_ref()?;
        let held = refused == credential
            && *count >= MAX_REFUSALS
            && now.saturating_duration_since(*at) < HOLD_BACK;
        held.then_some(*count)
    }

    /// The token server does not know the credential.
    pub fn refused(&mut self, credential: &Credential, now: Instant) {
        let before = match &self.refusals {
            Some((refused, count, _)) if refused == credential => *count,
            _ => 0,
        };
        self.refusals = Some((credential.clone(), before + 1, now));
    }

    /// The token server knows the credential.
    pub fn known(&mut self) {
        self.refusals = None;
    }
}

/// What a registry wants for deleting in any repository, if that is what these scopes say.
fn delete_actions(scope: &Scope, texts: &[String]) -> Option<String> {
    let name = scope.repository.as_ref().filter(|_| scope.access == Access::Delete)?;
    let [text] = texts else { return None };
    text.strip_prefix(&format!("repository:{name}:")).map(str::to_owned)
}

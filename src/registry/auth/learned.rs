//! What the answers of a registry and its token server have told so far. Data and rules, no I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::credential::Credential;
use super::error::AuthError;
use super::realm::Standing;
use super::scope::{Access, Demand, Scope, demand};
use super::token::Exchange;

/// After so many refusals of credentials in a row they are held back: GitLab bans an address for
/// 15 minutes after 300 refusals within one, and requests already under way still count.
const MAX_REFUSALS: u32 = 5;

/// How long they are held back.
pub(super) const HOLD_BACK: Duration = Duration::from_secs(300);

/// How long credentials that are wrong are not tried again. Those that replace them are tried at once.
const WRONG_LASTS: Duration = Duration::from_secs(120);

#[derive(Default)]
pub(super) struct Learned {
    scheme: Option<Scheme>,
    /// Harbor wants Basic for its catalog and tokens for everything else.
    catalog: Option<Scheme>,
    /// It was asked at `/v2/` what it wants.
    pub base_was_asked: bool,
    /// A scope that the registry wants for everything (Gitea's `*`).
    everywhere: Option<String>,
    /// What it wants for deletion, where that is not `*`.
    delete: Option<String>,
    /// Scopes that it wants written in another way than ours, like names rewritten by a proxy.
    here: HashMap<Scope, Vec<String>>,
    /// Credentials refused by the token server in a row, how often, and when last.
    refusals: Option<(Credential, u32, Instant)>,
    /// Credentials that the registry accepts for nothing, since when that is known, and its refusal.
    wrong: Option<(Credential, Instant, AuthError)>,
    /// Credentials with which the token server has let us in: that it refuses some scopes does not
    /// make them wrong.
    proven: Option<Credential>,
}

/// The authentication scheme of a registry.
#[derive(Clone)]
pub(super) enum Scheme {
    /// It has not asked for anything so far.
    Open,
    Basic,
    Bearer(Arc<TokenServer>),
}

/// Where tokens come from.
pub(super) struct TokenServer {
    pub realm: Url,
    pub service: Option<String>,
    pub standing: Standing,
    pub exchange: Exchange,
}

impl Learned {
    /// The scheme for `scope`, if it is known.
    pub fn scheme(&self, scope: &Scope) -> Option<Scheme> {
        let own = if scope.access == Access::Catalog { &self.catalog } else { &None };
        own.as_ref().or(self.scheme.as_ref()).cloned()
    }

    /// The catalog's scheme says nothing about the rest, but that of the rest is tried on the
    /// catalog.
    pub fn set_scheme(&mut self, scope: &Scope, scheme: Scheme) {
        if scope.access == Access::Catalog {
            self.catalog = Some(scheme);
        } else {
            self.scheme = Some(scheme);
        }
    }

    /// A request without credentials was accepted.
    pub fn set_open(&mut self) {
        self.scheme.get_or_insert(Scheme::Open);
    }

    /// Remembers the scope that a challenge names, if it differs from what would be asked for.
    /// Returns whether that is new.
    pub fn set_demand(&mut self, scope: &Scope, challenge: Option<&str>) -> bool {
        match demand(challenge.unwrap_or_default(), &self.texts(scope)) {
            Demand::Usual => false,
            Demand::Everywhere(text) => {
                let news = self.everywhere.as_ref() != Some(&text);
                self.everywhere = Some(text);
                news
            }
            Demand::Here(texts) => {
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

    /// How often a credential was refused in a row, if it must not be tried now because of that.
    pub fn held_back(&self, credential: &Credential, now: Instant) -> Option<u32> {
        let (refused, count, at) = self.refusals.as_ref()?;
        let held = refused == credential
            && self.proven.as_ref() != Some(credential)
            && *count >= MAX_REFUSALS
            && now.saturating_duration_since(*at) < HOLD_BACK;
        held.then_some(*count)
    }

    /// The token server refused the credential.
    pub fn refused(&mut self, credential: &Credential, now: Instant) {
        let before = match &self.refusals {
            Some((refused, count, _)) if refused == credential => *count,
            _ => 0,
        };
        self.refusals = Some((credential.clone(), before + 1, now));
    }

    /// The refusal of a credential that is known to be wrong.
    pub fn wrong(&self, credential: &Credential, now: Instant) -> Option<AuthError> {
        let (wrong, since, refusal) = self.wrong.as_ref()?;
        let holds = wrong == credential && now.saturating_duration_since(*since) < WRONG_LASTS;
        holds.then(|| refusal.clone())
    }

    /// The credential was refused even where nothing was asked for but to be let in.
    pub fn set_wrong(&mut self, credential: &Credential, now: Instant, refusal: AuthError) {
        self.wrong = Some((credential.clone(), now, refusal));
    }

    pub fn is_proven(&self, credential: &Credential) -> bool {
        self.proven.as_ref() == Some(credential)
    }

    /// The token server accepted the credential.
    pub fn accepted(&mut self, credential: &Credential) {
        self.refusals = None;
        self.proven = Some(credential.clone());
    }

    /// Whether the credential has only been refused so far, at the first time and again before it is
    /// held back: then it is worth finding out whether it is good for anything.
    pub fn is_doubtful(&self, credential: &Credential) -> bool {
        let refused = self.refusals.as_ref().filter(|(refused, ..)| refused == credential);
        refused.is_some_and(|(_, count, _)| [1, MAX_REFUSALS].contains(count))
            && !self.is_proven(credential)
    }
}

/// The actions that a registry wants for deletion in any repository, if these scopes say so.
fn delete_actions(scope: &Scope, texts: &[String]) -> Option<String> {
    let name = scope.repository.as_ref().filter(|_| scope.access == Access::Delete)?;
    let [text] = texts else { return None };
    text.strip_prefix(&format!("repository:{name}:")).map(str::to_owned)
}

//! The `Authorization` header of requests to the API of a product, which does not say what it wants.

use http::HeaderValue;

use super::authenticator::{Authenticator, Authorization, Proof, carrying};
use super::credential::{self, Credential};
use super::error::AuthError;
use super::learned::TokenServer;
use super::realm::Standing;
use super::scope::Scope;
use super::token::Exchange;

/// How the requests to an origin are authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// As its answers demand, like a registry.
    Negotiated,
    /// By the secret itself as a bearer token (RFC 6750), from the first request on.
    Secret,
    /// By user name and password (RFC 7617), likewise.
    Password,
    /// As `Secret`, if the secret is an OAuth token by its user name, as Quay has it: `$oauthtoken`. Any
    /// other is not sent.
    OAuth,
    /// By a token that the API gives at this path for user name and password.
    LogIn(&'static str),
}

impl Authentication {
    /// The header that carries this credential, if it is one for the API.
    fn header(self, credential: &Credential) -> Option<HeaderValue> {
        match (self, credential) {
            (Self::Password, Credential::Password { username, password }) => {
                credential::basic(username, password)
            }
            (Self::OAuth, Credential::Password { username, password }) => {
                (username == "$oauthtoken").then(|| credential::bearer(password)).flatten()
            }
            (
                Self::Secret | Self::Password,
                Credential::Password { password: secret, .. } | Credential::RefreshToken(secret),
            ) => credential::bearer(secret),
            _ => None,
        }
    }
}

impl Authenticator {
    /// As `authorize`, for an API.
    pub(super) async fn authorize_api(&self, scope: &Scope) -> Result<Authorization, AuthError> {
        let authentication = self.parts.authentication;
        let credential = self.find(scope).await?;
        let (Authentication::LogIn(path), Some(Credential::Password { .. })) =
            (authentication, &credential)
        else {
            return Ok(carrying(credential, |credential| authentication.header(credential)));
        };
        let mut realm = self.parts.base.clone();
        realm.set_path(path);
        let server = TokenServer {
            realm,
            service: None,
            standing: Standing::Own,
            exchange: Exchange::LogIn,
        };
        let issued = self.cache.get(scope, || self.fetch(&server, scope)).await?;
        Ok(Authorization::of(issued))
    }

    /// As `unauthorized`, for an API. What it says in the headers does not matter.
    pub(super) async fn unauthorized_api(
        &self,
        scope: &Scope,
        used: &Authorization,
    ) -> Result<bool, AuthError> {
        match &used.proof {
            Proof::Credential(refused) => Ok(self.renew(scope, Some(refused)).await?.is_some()),
            Proof::Token(issued) => Ok(self.cache.refuse(scope, issued)),
            Proof::Nothing | Proof::Probe(_) => Ok(false),
        }
    }
}

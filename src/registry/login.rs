//! Tries the credentials at the registry.

use http::{Method, StatusCode};

use super::Registry;
use super::auth::Scope;
use super::call::What;
use super::operation::Operation;
use crate::fair::Flow;
use crate::repository::Result;

impl Registry {
    /// The credentials for this registry and where they are from, without the secret. `None`: there are
    /// none.
    pub async fn credentials(&self) -> Option<String> {
        self.origin.authenticator.login(&Scope::base()).await
    }

    /// `GET /v2/` with the registry's credentials (distribution-spec, "Determining Support").
    /// `false`: they were not checked, because the registry lets everybody in.
    pub async fn log_in(&self) -> Result<bool> {
        let scope = Scope::base();
        let what = What::Name(self.host().as_str());
        let url = self.origin.base.clone();
        let call =
            self.origin.request(Operation::LogIn, what, Method::GET, url, &scope, Flow::ALONE);
        let answer = self.origin.call(&call).await?;
        if answer.status != StatusCode::OK {
            return Err(call.refused(&answer));
        }
        let shown = self.origin.authenticator.authorize(&scope).await;
        let shown = shown.map_err(|error| call.error(error.cause()))?;
        Ok(shown.header().is_some())
    }
}

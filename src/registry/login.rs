//! Shows a registry who we are, to see whether it knows us.

use http::{Method, StatusCode};

use super::Registry;
use super::auth::Scope;
use super::operation::Operation;
use super::request::{Call, What};
use crate::fair::Flow;
use crate::repository::{Cause, Result};

impl Registry {
    /// `GET /v2/` with the registry's credentials (distribution-spec, "Determining Support").
    /// Gives whether they were looked at: a registry that lets everybody in asks for none.
    pub async fn log_in(&self) -> Result<bool> {
        let scope = Scope::base();
        let what = What::Name(self.host.as_str());
        let call =
            Call::new(Operation::LogIn, what, Method::GET, self.base.clone(), &scope, Flow::ALONE);
        let answer = self.call(&call).await?;
        if answer.status != StatusCode::OK {
            return Err(call.refused(&answer));
        }
        let shown = self.authenticator.authorize(&scope).await;
        let shown = shown.map_err(|error| call.error(Cause::Credentials(error.to_string())))?;
        Ok(shown.header().is_some())
    }
}

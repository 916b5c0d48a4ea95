//! GitHub Container Registry. Its packages are listed by GitHub's REST API ("List packages for an
//! organization" and "for a user"), one owner at a time.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use super::Vendor;
use crate::fair::Flow;
use crate::oci::{RegistryHost, RepositoryName};
use crate::registry::Registry;
use crate::registry::auth::Scope;
use crate::registry::call::What;
use crate::registry::dialect::Dialect;
use crate::registry::listing::{MAX_PAGE_BYTES, Pages};
use crate::registry::operation::Operation;
use crate::repository::{Cause, Error, Result};

#[derive(Debug)]
pub(super) struct Ghcr;

impl Dialect for Ghcr {
    /// `TOOMANYREQUESTS: retry-after: 880.092µs, allowed: 44000/minute`, without a header.
    fn wait(&self, _: &HeaderMap, message: &str, _: SystemTime) -> Option<Duration> {
        let (_, rest) = message.split_once("retry-after: ")?;
        go_duration(rest.split([',', ' ', '"']).next()?)
    }
}

/// An entry of a list of packages.
#[derive(Deserialize)]
struct Package {
    name: String,
}

#[async_trait]
impl Vendor for Ghcr {
    fn is_at(&self, host: &RegistryHost) -> bool {
        host.name() == "ghcr.io"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &Ghcr
    }

    fn api(&self) -> Option<RegistryHost> {
        "api.github.com".parse().ok()
    }

    async fn repositories(
        &self,
        registry: &Registry,
        below: &[&str],
        flow: Flow,
    ) -> Result<Vec<RepositoryName>> {
        let owner = |path: &&str| path.split('/').next().unwrap_or_default().to_owned();
        let owners: BTreeSet<String> = below.iter().map(owner).collect();
        if owners.contains("") {
            let cause = Cause::Unsupported(
                "GitHub lists the packages of one owner at a time: begin with the owner, as in \
                 `ghcr.io/acme/**`"
                    .to_owned(),
            );
            let step = Operation::ListRepositories.step();
            return Err(Error::new(step, registry.host().to_string(), cause));
        }
        let mut all = Vec::new();
        for owner in owners {
            all.extend(packages(registry, &owner, flow).await?);
        }
        Ok(all)
    }
}

/// The repositories of an owner whose packages the credentials may see.
async fn packages(registry: &Registry, owner: &str, flow: Flow) -> Result<Vec<RepositoryName>> {
    let api = registry.api()?;
    let (scope, shown) = (Scope::base(), format!("{}/{owner}", registry.host()));
    let list = |kind: &str| {
        let mut url = api.base.clone();
        url.set_path(&format!("/{kind}/{owner}/packages"));
        url.set_query(Some("package_type=container&per_page=100"));
        let accept = HeaderValue::from_static("application/vnd.github+json");
        let what = What::Name(&shown);
        let call = api.request(Operation::ListRepositories, what, Method::GET, url, &scope, flow);
        Pages::new(api, call.header(header::ACCEPT, accept), MAX_PAGE_BYTES)
    };
    let name = |page: Vec<Package>| page.into_iter().map(|package| Some(package.name)).collect();
    // An owner is one of the two.
    let (organization, user) = (list("orgs"), list("users"));
    let repository = |name: &str| format!("{owner}/{name}").parse().ok();
    match organization.names_in(name, repository).await? {
        Ok(names) => return Ok(names),
        Err(answer) if answer.status == StatusCode::NOT_FOUND => {}
        Err(answer) => return Err(organization.first.refused(&answer)),
    }
    match user.names_in(name, repository).await? {
        Ok(names) => Ok(names),
        Err(answer) => Err(user.first.refused(&answer)),
    }
}

/// A duration as Go prints it: `1m30.5s`, `880.092µs`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "µs" | "μs" | "us" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wait(message: &str) -> Option<Duration> {
        Ghcr.wait(&HeaderMap::new(), message, SystemTime::now())
    }

    #[test]
    fn waits_are_read_from_messages() {
        assert_eq!(
            wait("TOOMANYREQUESTS: retry-after: 880.092µs, allowed: 44000/minute"),
            Some(Duration::from_nanos(880_092))
        );
        assert_eq!(wait("retry-after: 1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(wait("no"), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(message in "\\PC{0,30}") {
            let _ = wait(&message);
            let _ = wait(&format!("retry-after: {message}"));
        }
    }
}

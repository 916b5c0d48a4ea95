//! https or http: for a registry whose certificate need not be checked, which may have none.
//!
//! As skopeo does with `--tls-verify=false`. Only for registries for which a person has asked for
//! that; nothing here sends credentials.

use std::time::Duration;

use http::StatusCode;

use super::certificates::Tls;
use super::transport::{Timeouts, Transport};
use crate::config::Insecure;
use crate::repository::Cause;

/// For each of the two questions.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the registry at this address speaks. https if neither is answered: the first real request
/// says why. `tls`: how it is spoken to with https.
pub(super) async fn of_unverified(
    address: &str,
    tls: &Tls,
    timeouts: Timeouts,
) -> Result<Insecure, Cause> {
    let secured = Transport::new(tls, timeouts)?;
    if ask(&secured, "https", address).await.is_some() {
        return Ok(Insecure::NoVerify);
    }
    let plain = Transport::new(&Tls { http: true, ..Tls::default() }, timeouts)?;
    Ok(match ask(&plain, "http", address).await {
        // Whatever else answers, such as a server that wants https, is not meant.
        Some(StatusCode::OK | StatusCode::UNAUTHORIZED) => Insecure::Http,
        _ => Insecure::NoVerify,
    })
}

async fn ask(transport: &Transport, scheme: &str, address: &str) -> Option<StatusCode> {
    let request = transport.api().get(format!("{scheme}://{address}/v2/"));
    let answer = request.timeout(PATIENCE).send().await;
    answer
        .inspect_err(|error| tracing::debug!(%error, scheme, "no answer"))
        .ok()
        .map(|it| it.status())
}

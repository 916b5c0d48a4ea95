//! From `[events.NAME]` as typed to [`EventSource`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_spanned::Spanned;

use super::events::{EventFormat, EventSource};
use super::raw::{RawEventFormat, RawEvents};
use super::read_registry::secret;
use super::reader::Reader;

/// All sources by their name, or `None` with the problems reported. `listen` is where the daemon
/// takes their messages, if that is known.
pub fn sources(
    raw: BTreeMap<Spanned<String>, RawEvents>,
    listen: Option<SocketAddr>,
    reader: &mut Reader<'_>,
) -> Option<BTreeMap<String, EventSource>> {
    let mut raw: Vec<_> = raw.into_iter().collect();
    raw.sort_by_key(|(name, _)| name.span().start);
    let sources: Vec<_> = raw
        .into_iter()
        .map(|(name, settings)| {
            // It stands in the address of a webhook, in logs and in metrics.
            let named =
                reader.check_name_of_source(&name, "events", "it is a part of an address: ");
            if settings.secret.is_none() {
                check_reach(&name, listen, reader);
            }
            let source = source(settings, reader);
            Some((named.then(|| name.into_inner())?, source?))
        })
        .collect();
    sources.into_iter().collect()
}

/// Strangers are believed on this machine only.
fn check_reach(name: &Spanned<String>, listen: Option<SocketAddr>, reader: &mut Reader<'_>) {
    let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) else { return };
    let message = format!(
        "other machines could reach {listen}, and the events `{}` would be believed from anybody",
        name.get_ref()
    );
    let hint = "set `secret` here, or `listen` on 127.0.0.1 in [daemon]";
    reader.report_with_hint(name.span(), message, hint);
}

fn source(raw: RawEvents, reader: &mut Reader<'_>) -> Option<EventSource> {
    let registry = reader.parse(&raw.registry);
    let secret = reader.optional(raw.secret, secret);
    Some(EventSource {
        format: match raw.format {
            RawEventFormat::Distribution => EventFormat::Distribution,
            RawEventFormat::Harbor => EventFormat::Harbor,
            RawEventFormat::DockerHub => EventFormat::DockerHub,
            RawEventFormat::Ghcr => EventFormat::Ghcr,
            RawEventFormat::Quay => EventFormat::Quay,
            RawEventFormat::Acr => EventFormat::Acr,
            RawEventFormat::Zot => EventFormat::Zot,
        },
        registry: registry?,
        secret: secret?,
    })
}

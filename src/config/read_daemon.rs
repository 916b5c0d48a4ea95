//! From `[daemon]` as typed to [`Daemon`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde_spanned::Spanned;

use super::Environment;
use super::daemon::Daemon;
use super::raw::RawDaemon;
use super::read_registry;
use super::reader::Reader;

/// Where the daemon listens unless told otherwise: on this machine only.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8642);
/// Well below the 90 seconds after which systemd kills, and the 30 of Kubernetes.
const DEFAULT_GRACE: Duration = Duration::from_secs(20);
const DEFAULT_STALL: Duration = Duration::from_secs(15 * 60);
/// Years of ordinary runs, or a day of 500 rules that run each minute.
const DEFAULT_HISTORY: u64 = 256 << 20;
/// Less would hold no run with many images.
const LEAST_HISTORY: u64 = 1 << 20;
const DEFAULT_TRANSFERS: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// The table, or `None` with the problems reported.
pub fn daemon(raw: RawDaemon, reader: &mut Reader<'_>) -> Option<Daemon> {
    let listen = listen(raw.listen.as_ref(), reader);
    let state = state(raw.state.as_ref(), reader);
    let token_span = raw.token.as_ref().map(Spanned::span);
    let token = reader.optional(raw.token, read_registry::secret);
    let grace = raw.grace.map_or(Some(DEFAULT_GRACE), |text| reader.duration(&text));
    let stall_after = raw.stall_after.map_or(Some(DEFAULT_STALL), |text| positive(&text, reader));
    let history = raw.history.map_or(Some(DEFAULT_HISTORY), |text| history(&text, reader));
    let listen = listen?;
    if token_span.is_none() && !listen.ip().is_loopback() {
        let span = raw.listen.map_or(0..0, |listen| listen.span());
        reader.report_with_hint(
            span,
            format!(
                "other machines could reach {listen}, and the API would ask nobody for a token"
            ),
            "set `token` in [daemon], or listen on 127.0.0.1",
        );
    }
    Some(Daemon {
        listen,
        state: state?,
        token: token?,
        grace: grace?,
        transfers: raw.transfers.unwrap_or(DEFAULT_TRANSFERS),
        stall_after: stall_after?,
        history: history?,
    })
}

fn listen(text: Option<&Spanned<String>>, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let Some(text) = text else { return Some(DEFAULT_LISTEN) };
    if let Ok(address) = text.get_ref().parse() {
        return Some(address);
    }
    let message = format!("`{}` is not an address with a port", text.get_ref());
    reader.report_with_hint(text.span(), message, "write it like 127.0.0.1:8642");
    None
}

fn state(text: Option<&Spanned<String>>, reader: &mut Reader<'_>) -> Option<PathBuf> {
    match text {
        Some(text) if text.get_ref().is_empty() => {
            reader.report(text.span(), "the folder of the state is empty");
            None
        }
        Some(text) => Some(reader.path(text.get_ref())),
        None => {
            let default = default_state(reader.env);
            if default.is_none() {
                let message = "no folder for the state: neither XDG_STATE_HOME nor HOME is set";
                reader.report_with_hint(0..0, message, "set `state` in [daemon]");
            }
            default
        }
    }
}

/// Relative paths in these variables count as unset, as the XDG specification has it.
fn default_state(env: Environment<'_>) -> Option<PathBuf> {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    base.map(|base| base.join("tranship"))
}

fn history(text: &Spanned<String>, reader: &mut Reader<'_>) -> Option<u64> {
    let size = reader.size(text)?;
    if size < LEAST_HISTORY {
        reader.report(text.span(), "the history needs 1MiB or more");
        return None;
    }
    Some(size)
}

fn positive(text: &Spanned<String>, reader: &mut Reader<'_>) -> Option<Duration> {
    let duration = reader.duration(text)?;
    if duration.is_zero() {
        reader.report(text.span(), "this must be longer than nothing");
        return None;
    }
    Some(duration)
}

//! `[daemon]`: what concerns the process as a whole.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::checker::Checker;
use super::document::Node;
use super::secret::{SecretKeys, SecretSource};
use super::show::{Writer, path, quoted, shown_duration, shown_size};
use super::{Environment, text};

/// The `[daemon]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Daemon {
    /// Address and port of the metrics, health checks and API. Default: `127.0.0.1:8642`.
    #[serde(deserialize_with = "text::address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// State directory. Default: `$XDG_STATE_HOME/tranship` or `~/.local/state/tranship`.
    #[serde(deserialize_with = "state_folder")]
    pub state: PathBuf,
    /// Bearer token of the API. Without it, the API is read-only and `listen` must be a loopback
    /// address.
    #[schemars(with = "Option<SecretKeys>")]
    pub token: Option<SecretSource>,
    /// How long to wait for transfers in progress when the daemon is told to stop. Default: 20s.
    #[serde(deserialize_with = "text::duration")]
    #[schemars(with = "String")]
    pub grace: Duration,
    /// Maximum number of images that are transferred at once. Default: 32.
    pub transfers: NonZeroUsize,
    /// Report a run as stalled when it makes no progress for this long. Default: 15m.
    #[serde(deserialize_with = "text::positive_duration")]
    #[schemars(with = "String")]
    pub stall_after: Duration,
    /// Disk space for the run history; the oldest runs are dropped first. Default: `256MiB`.
    #[serde(deserialize_with = "history")]
    #[schemars(with = "String")]
    pub history: u64,
}

fn state_folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    text::from_text(deserializer, |text| match text {
        "" => Err("the path of the state directory is empty".to_owned()),
        text => Ok(text.into()),
    })
}

/// The smallest history that can hold a run with many images.
const LEAST_HISTORY: u64 = 1 << 20;

fn history<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    text::from_text(deserializer, |text| match text::read_size(text)? {
        size if size < LEAST_HISTORY => Err("the history needs 1MiB or more".to_owned()),
        size => Ok(size),
    })
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            // Only this machine reaches it.
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8642),
            // Depends on the environment: `check` fills it in.
            state: PathBuf::new(),
            token: None,
            // Well below the 90 seconds after which systemd kills, and the 30 of Kubernetes.
            grace: Duration::from_secs(20),
            transfers: const { NonZeroUsize::new(32).unwrap() },
            stall_after: Duration::from_secs(15 * 60),
            // Years of ordinary runs, or a day of 500 rules that run each minute.
            history: 256 << 20,
        }
    }
}

impl Daemon {
    pub(super) fn check(&mut self, node: Node<'_>, checker: &mut Checker<'_>) {
        if node.has("state") {
            self.state = checker.folder.join(&self.state);
        } else if let Some(folder) = default_state(checker.env) {
            self.state = folder;
        } else {
            let message = "no folder for the state: neither XDG_STATE_HOME nor HOME is set";
            checker.report_with_hint(0..0, message, "set `state` in [daemon]");
        }
        if let Some(token) = &mut self.token {
            token.check(node.get("token"), checker);
        }
        if !node.has("token") && !self.listen.ip().is_loopback() {
            let message = format!(
                "other machines could reach {}, and the API would not require a token",
                self.listen
            );
            let hint = "set `token` in [daemon], or listen on 127.0.0.1";
            checker.report_with_hint(node.span_of("listen"), message, hint);
        }
    }

    pub(super) fn show(&self, out: &mut Writer) {
        let Self { listen, state, token, grace, transfers, stall_after, history } = self;
        out.header("[daemon]");
        out.key("listen", quoted(listen));
        out.key("state", path(state));
        out.optional("token", token.as_ref());
        out.key("grace", shown_duration(*grace));
        out.key("transfers", transfers);
        out.key("stall_after", shown_duration(*stall_after));
        out.key("history", shown_size(*history));
    }
}

/// Relative paths in these variables count as unset, as the XDG specification has it.
fn default_state(env: Environment<'_>) -> Option<PathBuf> {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    base.map(|base| base.join("tranship"))
}

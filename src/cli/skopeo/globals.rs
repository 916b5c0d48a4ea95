//! What skopeo takes before or behind every command.

use std::time::Duration;

use super::duration;
use crate::cli::exit::{CliError, Exit};
use crate::oci::Platform;

#[derive(Debug, Default, clap::Args)]
pub struct Globals {
    /// Choose the image of this operating system out of an index
    #[arg(long, global = true, hide = true, value_name = "OS")]
    override_os: Option<String>,
    /// Choose the image of this architecture out of an index
    #[arg(long, global = true, hide = true, value_name = "ARCH")]
    override_arch: Option<String>,
    /// Choose the image of this variant of the architecture out of an index
    #[arg(long, global = true, hide = true, value_name = "VARIANT")]
    override_variant: Option<String>,
    /// Stop the command after this time
    #[arg(long, global = true, hide = true, value_name = "DURATION", value_parser = duration)]
    pub command_timeout: Option<Duration>,
    /// The same as -vv
    #[arg(long, global = true, hide = true)]
    pub debug: bool,
    /// Accepted: tranship has no policy for signatures
    #[arg(long, global = true, hide = true)]
    insecure_policy: bool,
}

/// The commands that skopeo has too.
const COMMANDS: [&str; 8] =
    ["copy", "inspect", "list-tags", "delete", "sync", "login", "logout", "manifest-digest"];

impl Globals {
    /// The platform that was asked for: what was not said is this machine's.
    pub fn platform(&self) -> Option<Platform> {
        let Self { override_os: os, override_arch: architecture, override_variant, .. } = self;
        if os.is_none() && architecture.is_none() && override_variant.is_none() {
            return None;
        }
        let here = Platform::of_this_machine();
        Some(Platform {
            os: os.clone().unwrap_or(here.os),
            architecture: architecture.clone().unwrap_or(here.architecture),
            variant: override_variant.clone(),
        })
    }

    /// Refuses what has no meaning for a command that skopeo does not have.
    pub fn check(&self, command: &str) -> Result<(), CliError> {
        let given = if self.platform().is_some() {
            "--override-os, --override-arch and --override-variant"
        } else if self.command_timeout.is_some() {
            "--command-timeout"
        } else {
            return Ok(());
        };
        if COMMANDS.contains(&command) {
            return Ok(());
        }
        Err(CliError::Hinted {
            exit: Exit::Usage,
            message: format!("{given}: this has no meaning for `{command}`"),
            hint: "leave them out; `tranship help COMMAND` shows what a command takes",
        })
    }
}

//! Exit codes, and the errors that lead to them.

use std::fmt::Display;
use std::process::ExitCode;

use super::lines::{Lines, tell_line, tell_lines};
use super::skopeo::ReachOptions;
use crate::config::ConfigError;
use crate::repository::{Error, ErrorKind};
use crate::state::StateError;

/// How a command ended. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Something failed: the report says what.
    Failed,
    /// Wrong usage or configuration: nothing was started.
    Usage,
    /// Refused by a safety limit: nothing was changed.
    Refused,
    /// Stopped by SIGINT (Ctrl-C) or SIGTERM before the end, as shells number it.
    Stopped(Sign),
}

impl Exit {
    /// Of two parts of a command, the end that weighs more.
    pub fn worse(self, other: Self) -> Self {
        let weight = |exit| match exit {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::Stopped(_) => 4,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

/// A signal that stops a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Interrupt,
    Terminate,
}

impl Sign {
    /// The exit code of a process that it ended.
    pub fn code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Stopped(sign) => sign.code(),
        })
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Nobody knows where the daemon is, because of these mistakes.
    #[error("{0}")]
    DaemonUnknown(ConfigError),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Repository(#[from] Error),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("{0}")]
    Failed(String),
    #[error("interrupted")]
    Stopped(Sign),
    /// The daemon does not take its configuration file, for these reasons.
    #[error("{0}")]
    Rejected(String),
    /// With what to do about it.
    #[error("{message}")]
    Hinted { exit: Exit, message: String, hint: &'static str },
}

/// Makes errors of what goes wrong with something: `failed to {what}: {error}`.
pub fn failed<E: Display>(what: impl Display) -> impl Fn(E) -> CliError {
    move |error| CliError::Failed(format!("failed to {what}: {error}"))
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Tells the person in front of the terminal, and says how the command ends.
    pub fn print(&self) -> Exit {
        self.print_beside(ReachOptions::None)
    }

    /// The same for a command with these options.
    pub fn print_beside(&self, options: ReachOptions) -> Exit {
        match self {
            // A configuration's errors come with file, line and column in front.
            Self::Config(error) | Self::DaemonUnknown(error) => {
                tell_lines(&Lines::of(&error.to_string()))
            }
            Self::Rejected(reasons) => tell_lines(&Lines::of(&format!("error: {reasons}"))),
            other => tell_line(format!("error: {other}")),
        }
        let hint = match self {
            Self::Repository(error) => error.hint(),
            Self::Hinted { hint, .. } => Some(*hint),
            Self::DaemonUnknown(_) => Some(
                "`listen`, `state` and `token` in [daemon] say where the daemon is and how it is asked: correct them first",
            ),
            Self::Rejected(_) => Some("the daemon keeps the configuration that it has"),
            _ => None,
        };
        if let Some(hint) = hint {
            tell_line(format!("hint: {}", options.beside(hint)));
        }
        match self {
            Self::Hinted { exit, .. } => *exit,
            Self::Stopped(sign) => Exit::Stopped(*sign),
            Self::Config(_) | Self::DaemonUnknown(_) | Self::Usage(_) | Self::Rejected(_) => {
                Exit::Usage
            }
            Self::Repository(error) if error.kind() == ErrorKind::Configuration => Exit::Usage,
            Self::Repository(_) | Self::State(_) | Self::Failed(_) => Exit::Failed,
        }
    }
}

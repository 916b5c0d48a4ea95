//! What all subcommands share.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::config::{IndexMode, Insecure};
use crate::oci::RegistryHost;

#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file [default: tranship.toml]
    #[arg(
        long,
        short,
        global = true,
        env = "TRANSHIP_CONFIG",
        value_name = "FILE",
        help_heading = "Common options"
    )]
    pub config: Option<PathBuf>,
    /// Format of the result on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT", help_heading = "Common options")]
    pub output: Output,
    /// Format of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", help_heading = "Common options")]
    pub log_format: LogFormat,
    /// Log more details; -vv also logs every request
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Common options")]
    pub verbose: u8,
    /// Print only errors
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = "Common options")]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people
    Text,
    /// One JSON document, described in docs/json.md
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// How registries are reached, for commands that work without a configuration.
#[derive(Debug, Args)]
pub struct Reach {
    /// Connect without protection: `http` uses plain HTTP, `no-verify` accepts any certificate
    ///
    /// HOST=MODE applies to that registry and overrides the configuration. MODE alone applies to
    /// every registry that the configuration does not mention. Repeatable.
    #[arg(long = "insecure", value_name = "[HOST=]MODE", help_heading = "Registry options")]
    pub insecure: Vec<Exposed>,
}

/// Which protection is given up, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// `None`: at every registry that the configuration does not mention.
    pub host: Option<RegistryHost>,
    pub mode: Insecure,
}

impl FromStr for Exposed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, mode) = match text.rsplit_once('=') {
            Some((host, mode)) => (Some(host), mode),
            None => (None, text),
        };
        let mode = match mode {
            "http" => Insecure::Http,
            "no-verify" => Insecure::NoVerify,
            _ => {
                return Err("expected `http` or `no-verify`, or `HOST=` and one of them".to_owned());
            }
        };
        let host = host.map(str::parse).transpose();
        Ok(Self {
            host: host.map_err(|error: crate::oci::reference::ReferenceError| error.to_string())?,
            mode,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposure_is_for_all_or_for_one() {
        let exposed = |host: Option<&str>, mode| Exposed {
            host: host.map(|host| host.parse().unwrap()),
            mode,
        };
        assert_eq!("http".parse(), Ok(exposed(None, Insecure::Http)));
        assert_eq!(
            "R.io:5000=no-verify".parse(),
            Ok(exposed(Some("r.io:5000"), Insecure::NoVerify))
        );
        for text in ["", "https", "r.io=", "=http", "r.io/x=http", "no", "r.io"] {
            assert!(text.parse::<Exposed>().is_err(), "{text}");
        }
    }
}

/// What becomes of an index of which some platforms are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Index {
    /// Write a smaller index, with a new digest
    Rewrite,
    /// Write the original index without the other platforms; some registries reject that
    Sparse,
}

impl From<Index> for IndexMode {
    fn from(index: Index) -> Self {
        match index {
            Index::Rewrite => Self::Rewrite,
            Index::Sparse => Self::Sparse,
        }
    }
}

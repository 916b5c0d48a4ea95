//! What all subcommands share.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::skopeo::Globals;
use crate::config::Insecure;
use crate::oci::RegistryHost;

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Global {
    /// Configuration file [default: tranship.toml]
    #[arg(long, short, global = true, env = "TRANSHIP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Format of the result on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub output: Output,
    /// Format of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log more details; -vv also logs every request
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print only errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    #[command(flatten)]
    pub skopeo: Globals,
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
        let host = host.map(str::parse::<RegistryHost>).transpose();
        Ok(Self { host: host.map_err(|error| error.to_string())?, mode })
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

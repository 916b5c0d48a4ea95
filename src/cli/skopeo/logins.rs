//! skopeo's options of `login` and `logout`.

use std::path::PathBuf;

use super::{HEADING, Overrides, Said, truth};
use crate::oci::RegistryHost;
use crate::secret::Environment;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct LoginPlace {
    /// Auth file to write the login to
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    authfile: Option<PathBuf>,
    /// Directory with *.crt authorities and *.cert/*.key client certificates
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    cert_dir: Option<PathBuf>,
    /// false: accept any certificate, and http if the registry has no https
    #[arg(long, value_name = "BOOL", hide_short_help = true, value_parser = truth)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct LogoutPlace {
    /// Auth file to remove the login from
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    authfile: Option<PathBuf>,
    /// Accepted: logging out asks no registry
    #[arg(long, value_name = "BOOL", hide = true, value_parser = truth)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
}

impl LoginPlace {
    /// Where logins are kept.
    pub fn environment(&self) -> Environment {
        environment(self.authfile.as_ref())
    }

    /// How the registry is reached.
    pub fn said(self, host: RegistryHost) -> Said {
        let Self { cert_dir, tls_verify, .. } = self;
        let overrides = Overrides { cert_dir, tls_verify, ..Overrides::default() };
        Said { authfile: None, hosts: [(host, overrides)].into() }
    }
}

impl LogoutPlace {
    /// Where logins are kept.
    pub fn environment(&self) -> Environment {
        environment(self.authfile.as_ref())
    }
}

fn environment(authfile: Option<&PathBuf>) -> Environment {
    let environment = Environment::of_process();
    match authfile {
        Some(file) => environment.with("REGISTRY_AUTH_FILE", file.into()),
        None => environment,
    }
}

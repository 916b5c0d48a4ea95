//! How one side of a command is reached, whatever the configuration and the auth files say.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::copying::checked_authfile;
use super::{HEADING, truth};
use crate::cli::exit::{CliError, Exit, failed};
use crate::cli::login;
use crate::config::SecretSource;
use crate::registry::auth::Given;
use crate::secret::{Environment, read_secret};

/// skopeo's options for one registry, as they were typed.
#[derive(Debug)]
pub struct Side {
    /// What stands before their names: `src-`, `dest-` or nothing.
    prefix: &'static str,
    creds: Option<SecretString>,
    creds_file: Option<PathBuf>,
    no_creds: bool,
    username: Option<String>,
    password: Option<SecretString>,
    registry_token: Option<SecretString>,
    tls_verify: Option<bool>,
    authfile: Option<PathBuf>,
    cert_dir: Option<PathBuf>,
}

/// What was typed for a registry, read and checked.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub given: Option<Given>,
    /// `Some(false)`: any certificate is accepted, and http where there is no https.
    pub tls_verify: Option<bool>,
    pub authfile: Option<PathBuf>,
    pub cert_dir: Option<PathBuf>,
}

impl Overrides {
    /// These, and the others where these say nothing.
    pub fn or(self, other: Self) -> Self {
        Self {
            given: self.given.or(other.given),
            tls_verify: self.tls_verify.or(other.tls_verify),
            authfile: self.authfile.or(other.authfile),
            cert_dir: self.cert_dir.or(other.cert_dir),
        }
    }

    /// Whether nothing is said of a registry itself.
    pub fn is_empty(&self) -> bool {
        self.given.is_none() && self.tls_verify.is_none() && self.cert_dir.is_none()
    }
}

/// Secrets are not shown, not even by clap.
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

/// The options of one side, with their names.
macro_rules! side {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $of:literal) => {
        $(#[$doc])*
        #[derive(Debug, clap::Args)]
        #[command(next_help_heading = HEADING)]
        pub struct $name {
            #[arg(id = concat!($prefix, "creds-file"), long = concat!($prefix, "creds-file"),
                value_name = "FILE", hide_short_help = true,
                help = concat!("Read USER:PASSWORD for ", $of, " from a file, or `-` for standard input"))]
            creds_file: Option<PathBuf>,
            #[arg(id = concat!($prefix, "creds"), long = concat!($prefix, "creds"),
                value_name = "USER[:PASSWORD]", hide_short_help = true, value_parser = secret,
                help = concat!("User name and password for ", $of, "; others can see them, use --", $prefix, "creds-file"))]
            creds: Option<SecretString>,
            #[arg(id = concat!($prefix, "no-creds"), long = concat!($prefix, "no-creds"),
                hide_short_help = true,
                help = concat!("Send no credentials to ", $of))]
            no_creds: bool,
            #[arg(id = concat!($prefix, "username"), long = concat!($prefix, "username"),
                value_name = "USER", hide_short_help = true,
                help = concat!("User name for ", $of))]
            username: Option<String>,
            #[arg(id = concat!($prefix, "password"), long = concat!($prefix, "password"),
                value_name = "PASSWORD", hide_short_help = true, value_parser = secret,
                help = concat!("Password for ", $of, "; others can see it, use --", $prefix, "creds-file"))]
            password: Option<SecretString>,
            #[arg(id = concat!($prefix, "registry-token"), long = concat!($prefix, "registry-token"),
                value_name = "TOKEN", hide_short_help = true, value_parser = secret,
                help = concat!("Bearer token for ", $of, "; others can see it"))]
            registry_token: Option<SecretString>,
            #[arg(id = concat!($prefix, "tls-verify"), long = concat!($prefix, "tls-verify"),
                value_name = "BOOL", hide_short_help = true, value_parser = truth,
                num_args = 0..=1, require_equals = true, default_missing_value = "true",
                help = concat!("false: accept any certificate of ", $of, ", and http if it has no https"))]
            tls_verify: Option<bool>,
            #[arg(id = concat!($prefix, "authfile"), long = concat!($prefix, "authfile"),
                value_name = "FILE", hide_short_help = true,
                help = concat!("Auth file with the login for ", $of))]
            authfile: Option<PathBuf>,
            #[arg(id = concat!($prefix, "cert-dir"), long = concat!($prefix, "cert-dir"),
                value_name = "DIR", hide_short_help = true,
                help = concat!("Directory with *.crt authorities and *.cert/*.key client certificates for ", $of))]
            cert_dir: Option<PathBuf>,
        }

        impl From<$name> for Side {
            fn from(typed: $name) -> Self {
                let $name {
                    creds, creds_file, no_creds, username, password, registry_token, tls_verify,
                    authfile, cert_dir,
                } = typed;
                Self {
                    prefix: $prefix, creds, creds_file, no_creds, username, password,
                    registry_token, tls_verify, authfile, cert_dir,
                }
            }
        }
    };
}

side!(
    /// Of the source of a copy.
    Source, "src-", "the source"
);
side!(
    /// Of the target of a copy.
    Target, "dest-", "the target"
);
side!(
    /// Of a command that needs only one registry.
    ThisRegistry, "", "the registry"
);

impl Side {
    /// The options about credentials that were given.
    fn credentials(&self) -> Vec<&'static str> {
        let given = [
            ("creds", self.creds.is_some()),
            ("creds-file", self.creds_file.is_some()),
            ("no-creds", self.no_creds),
            ("username", self.username.is_some() || self.password.is_some()),
            ("registry-token", self.registry_token.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// Reads what is in files, asks for a password that is missing, and warns of secrets that others
    /// can see.
    pub async fn read(self) -> Result<Overrides, CliError> {
        let given = self.given().await?;
        let Self { tls_verify, authfile, cert_dir, .. } = self;
        Ok(Overrides { given, tls_verify, authfile: checked_authfile(authfile)?, cert_dir })
    }

    async fn given(&self) -> Result<Option<Given>, CliError> {
        let prefix = self.prefix;
        if let [first, second, ..] = self.credentials()[..] {
            return Err(CliError::Usage(format!(
                "--{prefix}{first} and --{prefix}{second} both say whose credentials are sent: use one of them"
            )));
        }
        if self.no_creds {
            return Ok(Some(Given::Anonymous));
        }
        if let Some(token) = &self.registry_token {
            self.warn("registry-token", "log in with `tranship login`");
            return Ok(Some(Given::token(token.clone())));
        }
        let instead = format!("write it to a file and use --{prefix}creds-file FILE");
        if let Some(creds) = &self.creds {
            if creds.expose_secret().contains(':') {
                self.warn("creds", &instead);
            }
            return self.login_of(creds).map(Some);
        }
        if let Some(file) = &self.creds_file {
            return self.login_of(&read(file).await?).map(Some);
        }
        match (&self.username, &self.password) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(CliError::Usage(format!("--{prefix}password needs --{prefix}username")))
            }
            (Some(username), password) => {
                if password.is_some() {
                    self.warn("password", &instead);
                }
                self.login(username, password.clone()).map(Some)
            }
        }
    }

    fn warn(&self, option: &str, instead: &str) {
        tracing::warn!(
            "other users of this machine can see what --{}{option} holds: {instead}",
            self.prefix
        );
    }

    /// `USER:PASSWORD`, or a user name alone.
    fn login_of(&self, creds: &SecretString) -> Result<Given, CliError> {
        match creds.expose_secret().split_once(':') {
            Some((username, password)) => self.login(username, Some(password.into())),
            None => self.login(creds.expose_secret(), None),
        }
    }

    fn login(&self, username: &str, password: Option<SecretString>) -> Result<Given, CliError> {
        if username.is_empty() {
            return Err(CliError::usage("the user name is empty: write USER:PASSWORD"));
        }
        let password = match password {
            Some(password) => password,
            None if std::io::stdin().is_terminal() => {
                let asked = rpassword::prompt_password(format!("Password for {username}: "));
                asked.map_err(failed("read the password"))?.into()
            }
            None => {
                return Err(CliError::Hinted {
                    exit: Exit::Usage,
                    message: format!("there is no password for {username}"),
                    hint: "write USER:PASSWORD into a file and name it with --creds-file, --src-creds-file or --dest-creds-file",
                });
            }
        };
        Ok(Given::login(username.to_owned(), password))
    }
}

/// A secret from a file, or from standard input.
async fn read(file: &Path) -> Result<SecretString, CliError> {
    if file == Path::new("-") {
        return login::read_password();
    }
    let source = SecretSource::File(file.to_owned());
    let secret = read_secret(&source, "the registry", &Environment::of_process()).await;
    secret.map_err(|error| CliError::Usage(error.to_string()))
}

//! `tranship login`: checks a user name and a password at the registry, and stores them where docker
//! does.

use std::convert::Infallible;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use secrecy::SecretString;
use serde::Serialize;

use super::args::{Global, Reach};
use super::exit::{CliError, Exit, failed};
use super::lines::Lines;
use super::skopeo::{self, LoginPlace, Reaching, Retries};
use super::{output, session, signals};
use crate::oci::RegistryHost;
use crate::registry::auth::docker_config::{self, Keeper};
use crate::registry::auth::{Credential, CredentialStore};
use crate::repository::ErrorKind;
use crate::secret::Environment;
use crate::text::inert;

/// More than any password or token has.
const MAX_PASSWORD: u64 = 64 << 10;

/// Log in to a registry
///
/// Checks the user name and password with the registry, then stores them where docker, podman and
/// skopeo find them: in the auth file ($REGISTRY_AUTH_FILE, auth.json of podman and skopeo, or
/// config.json of docker), or in the credential helper that this file names.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship login registry.example.com           asks for user name and password
  tranship login ghcr.io -u mirror-bot --password-stdin < token.txt
  pass show gitlab | tranship login gitlab.example.com:5050 -u deploy --password-stdin")]
pub struct Args {
    /// Registry: HOST or HOST:PORT
    #[arg(value_name = "HOST")]
    registry: RegistryHost,
    /// User name; asked for if not given
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    place: LoginPlace,
    /// Print the user name that is logged in
    #[arg(long, help_heading = skopeo::HEADING, hide_short_help = true)]
    #[arg(conflicts_with_all = ["username", "password_stdin"])]
    get_login: bool,
}

/// Accepts docker's `--password` only to refuse it with a hint. The option is not part of the
/// definition that help, completions and manual pages are made from.
pub fn with_refused_password(command: clap::Command) -> clap::Command {
    let password = clap::Arg::new(PASSWORD)
        .long(PASSWORD)
        .short('p')
        .num_args(0..=1)
        .hide(true)
        // The value that was typed is not kept.
        .value_parser(|_: &str| Ok::<_, Infallible>(()));
    command.mut_subcommand("login", |login| login.arg(password))
}

const PASSWORD: &str = "password";

/// Refuses a password that was typed on the command line.
pub fn check_password(matches: &clap::ArgMatches) -> Result<(), CliError> {
    match matches.subcommand_matches("login") {
        Some(login) if login.contains_id(PASSWORD) => Err(CliError::Hinted {
            exit: Exit::Usage,
            message: "a password on the command line is visible to all users of this machine"
                .to_owned(),
            hint: "use --password-stdin, or leave it out to be asked",
        }),
        _ => Ok(()),
    }
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    registry: &'a RegistryHost,
    username: &'a str,
    /// Whether the registry checked the credentials.
    checked: bool,
    file: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    helper: Option<String>,
    notes: Vec<String>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let environment = args.place.environment();
    if args.get_login {
        return print_login(args.registry, environment).await;
    }
    let configured = session::configured(global, &args.reach)?;
    let reaching = Reaching { global, reach: &args.reach, retries: &Retries::default() };
    let said = args.place.said(args.registry.clone());
    let has_own = configured.hosts.get(&args.registry).is_some_and(|it| it.password.is_some());
    let registries = reaching.registries(configured, said).await?;
    let file = docker_config::auth_file_to_write(&environment).ok_or_else(|| {
        let message = "there is no place for an auth file: neither HOME nor DOCKER_CONFIG is set";
        CliError::usage(message)
    })?;
    let host = args.registry;
    let (username, password) = ask(&host, args.username, args.password_stdin)?;
    let credential = Credential::Password { username: username.clone(), password };
    let registry = registries.open_as(&host, credential.clone())?;
    let checked = signals::unless_stopped(async {
        registry.log_in().await.map_err(|error| match error.kind() {
            // The usual hint, to log in, would not help here.
            ErrorKind::Unauthenticated | ErrorKind::WrongCredentials => CliError::Failed(format!(
                "{host} refuses the user name or the password; nothing was kept ({error})"
            )),
            _ => error.into(),
        })
    })
    .await?;
    let keeper = docker_config::store(&file, &host, &credential, &environment)
        .await
        .map_err(failed("store the login"))?;
    let mut notes = Vec::new();
    if !checked {
        notes
            .push("the registry does not require credentials, so they were not checked".to_owned());
    }
    if has_own {
        notes.push(
            "the configuration has credentials for this registry, which tranship uses instead"
                .to_owned(),
        );
    }
    if keeper == Keeper::File {
        notes.push("the password is in the file as it is, readable by you only".to_owned());
    }
    let helper = match keeper {
        Keeper::File => None,
        Keeper::Helper(name) => Some(format!("docker-credential-{name}")),
    };
    let report =
        Report { registry: &host, username: &username, checked, file: &file, helper, notes };
    output::print(global, &report, || print_report(&report, global.quiet))?;
    Ok(Exit::Done)
}

/// Prints the user name of the login that is kept for a registry.
async fn print_login(host: RegistryHost, environment: Environment) -> Result<Exit, CliError> {
    let store = CredentialStore::new([], environment, Arc::new(Instant::now));
    let found = store.find(&host, None).await.map_err(failed("look for the login"))?;
    match found.map(|login| login.credential) {
        Some(Credential::Password { username, .. }) => output::print_line(username)?,
        Some(Credential::RefreshToken(_)) => {
            return Err(CliError::Failed(format!("the login for {host} has no user name")));
        }
        None => return Err(CliError::Failed(format!("there is no login for {host}"))),
    }
    Ok(Exit::Done)
}

fn print_report(report: &Report<'_>, quiet: bool) -> Result<(), CliError> {
    if quiet {
        return Ok(());
    }
    let place = match &report.helper {
        Some(helper) => format!("with {helper}, as {} says", report.file.display()),
        None => format!("in {}", report.file.display()),
    };
    let Report { registry, username, .. } = report;
    let mut lines = Lines::one(format!("logged in to {registry} as {username}, kept {place}"));
    report.notes.iter().for_each(|note| lines.line(format!("note: {note}")));
    output::print_lines(&lines)
}

/// The user name and the password; asks for what was not given.
fn ask(
    host: &RegistryHost,
    username: Option<String>,
    password_stdin: bool,
) -> Result<(String, SecretString), CliError> {
    let hint = "give them with --username and --password-stdin";
    let terminal = std::io::stdin().is_terminal();
    let username = match username {
        Some(username) => username,
        None if terminal && !password_stdin => prompt(&format!("User name for {host}: "))?,
        None => {
            let message = "cannot ask for the user name".to_owned();
            return Err(CliError::Hinted { exit: Exit::Usage, message, hint });
        }
    };
    if username.is_empty() {
        return Err(CliError::usage("the user name is empty"));
    }
    // In an auth file the first colon separates it from the password.
    if username.contains(':') {
        return Err(CliError::usage("a user name cannot have a colon"));
    }
    let password = if password_stdin {
        read_password()?
    } else if terminal {
        let asked = rpassword::prompt_password(format!("Password for {username} at {host}: "));
        asked.map_err(failed("read the password"))?.into()
    } else {
        let message = "cannot ask for the password".to_owned();
        return Err(CliError::Hinted { exit: Exit::Usage, message, hint });
    };
    if secrecy::ExposeSecret::expose_secret(&password).is_empty() {
        return Err(CliError::usage("the password is empty"));
    }
    Ok((username, password))
}

fn prompt(question: &str) -> Result<String, CliError> {
    let failed = failed("read the user name");
    let mut stderr = std::io::stderr();
    stderr.write_all(inert(question).as_bytes()).map_err(&failed)?;
    let mut line = String::new();
    std::io::stdin().lock().take(1 << 10).read_line(&mut line).map_err(&failed)?;
    Ok(line.trim().to_owned())
}

/// Standard input, without the line break at its end.
pub fn read_password() -> Result<SecretString, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_PASSWORD + 1).read_to_string(&mut text);
    let read = read.map_err(failed("read the password"))?;
    if read as u64 > MAX_PASSWORD {
        return Err(CliError::usage("the password is longer than 64 KiB"));
    }
    Ok(text
        .strip_suffix('\n')
        .map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text))
        .into())
}

//! The command line: one file a subcommand, arguments in, report out, no logic of its own.
//!
//! - `args`: what all subcommands share. `session`: configuration, registries and state, opened
//!   as a command needs them. `output`: stdout for data, stderr for people; `lines`: text
//!   for people; `report`: images and failures as they read them. `exit`: exit codes, and the errors that lead to them.
//!   `signals`: stopping in good order. `progress`: what is under way. `fit`: text in so many columns. `log`: what goes to standard
//!   error; `traces`: what goes to a collector. `ask`: the running daemon, over its API;
//!   `ask_change`, `ask_lines`: what it is told to do, and what it answers line by line; `follow`: a
//!   run of it until its end. `side_by_side`, `both`: several rules of one command; `pick`: which.
//!   `printer`: images while others are on their way.
//!   `status_text` and `watch`: what it says, as people read it, once or live. `skopeo`: options that
//!   skopeo's users type; `go_template`: the templates among them.

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "what stands on arguments is printed by --help, where `[` and `<` mean themselves"
)]

mod args;
mod ask;
mod ask_change;
mod ask_lines;
mod both;
mod cancel;
mod check;
mod cleanup;
mod cleanup_daemon;
mod cleanup_plan;
mod cleanup_printed;
mod cleanup_progress;
mod cleanup_text;
mod completions;
mod config;
mod config_init;
mod copy;
mod delete;
mod demo;
mod exit;
mod fit;
mod follow;
mod go_template;
mod history;
mod inspect;
mod lines;
mod list_repos;
mod list_tags;
mod log;
mod login;
mod logout;
mod man;
mod manifest_digest;
mod output;
mod pick;
mod plan;
mod printer;
mod progress;
mod reload;
mod report;
mod restore;
mod run;
mod serve;
mod serve_layout;
mod session;
mod side_by_side;
mod signals;
mod skopeo;
mod status;
mod status_report;
mod status_text;
mod sync;
mod sync_daemon;
#[cfg(feature = "otlp")]
mod traces;
mod verify;
mod verify_deleted;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::Runtime;
use tracing_subscriber::filter::LevelFilter;

use args::Global;
use exit::CliError;
pub use exit::Exit;
use skopeo::ReachOptions;

/// Mirror, migrate and clean up container images in registries
#[derive(Debug, Parser)]
#[command(
    name = "tranship",
    version,
    max_term_width = 100,
    after_help = "\
Images are written HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:TAG][@DIGEST] or
oci-archive:FILE[:TAG][@DIGEST].
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused by a safety limit,
130 or 143 stopped by Ctrl-C or SIGTERM.
Run `tranship COMMAND --help` for details and examples."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sync(sync::Args),
    Plan(plan::Args),
    Run(run::Args),
    Cancel(cancel::Args),
    Reload(reload::Args),
    Copy(copy::Args),
    Verify(verify::Args),
    Cleanup(cleanup::Args),
    Restore(restore::Args),
    Status(status::Args),
    History(history::Args),
    Inspect(inspect::Args),
    ListTags(list_tags::Args),
    ListRepos(list_repos::Args),
    Check(check::Args),
    ManifestDigest(manifest_digest::Args),
    Delete(delete::Args),
    Login(login::Args),
    Logout(logout::Args),
    Serve(serve::Args),
    ServeLayout(serve_layout::Args),
    Demo(demo::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Subcommands by what they are for, as `--help` shows them.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Mirror and migrate", &["sync", "plan", "copy", "verify"]),
    ("Run as a daemon", &["serve", "status", "history", "run", "cancel", "reload"]),
    ("Inspect", &["check", "inspect", "list-tags", "list-repos", "manifest-digest"]),
    ("Delete and restore", &["cleanup", "restore", "delete"]),
    ("Credentials", &["login", "logout"]),
    ("Try and serve locally", &["demo", "serve-layout"]),
    ("Setup", &["config", "completions", "man"]),
];

/// Runs the program. All that it needs from outside comes from here: arguments, environment,
/// standard streams.
pub fn main() -> ExitCode {
    let definition = command();
    let known = definition.clone();
    let definition = skopeo::refused::with_refused(login::with_refused_password(definition));
    let arguments = skopeo::rewritten(std::env::args_os().collect());
    let matches = match definition.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return of_clap(&error),
    };
    let refused = login::check_password(&matches).and_then(|()| skopeo::refused::check(&matches));
    if let Err(error) = refused {
        return error.print().into();
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return of_clap(&error),
    };
    let name = matches.subcommand_name().unwrap_or_default();
    let options = known.find_subcommand(name).map_or(ReachOptions::None, ReachOptions::of);
    if let Err(error) = cli.global.skopeo.check(name) {
        return error.print().into();
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            lines::tell_line(format!("error: failed to start: {error}"));
            return Exit::Failed.into();
        }
    };
    let serves = matches!(cli.command, Command::Serve(_));
    // A daemon has no other output.
    let usual = if serves { LevelFilter::INFO } else { LevelFilter::WARN };
    let level = log::level(&cli.global, usual);
    #[cfg(feature = "otlp")]
    let (traces, sinks) = {
        let traces = serves.then(|| traces::Traces::from_environment(runtime.handle()));
        match traces.unwrap_or(Ok(None)) {
            Ok(traces) => {
                let sinks = traces.iter().map(|traces| traces.sink(level)).collect();
                (traces, sinks)
            }
            Err(error) => {
                lines::tell_line(format!("error: failed to set up traces: {error}"));
                return Exit::Usage.into();
            }
        }
    };
    #[cfg(not(feature = "otlp"))]
    let sinks = Vec::new();
    log::set_up(cli.global.log_format, level, sinks);
    // On a worker, where the connections are too: this thread would be woken for each answer.
    let limit = cli.global.skopeo.command_timeout;
    let running = runtime.spawn(within(limit, async move {
        match cli.command {
            Command::Sync(args) => sync::run(&cli.global, args).await,
            Command::Plan(args) => plan::run(&cli.global, args).await,
            Command::Run(args) => run::run(&cli.global, args).await,
            Command::Cancel(args) => cancel::run(&cli.global, args).await,
            Command::Reload(args) => reload::run(&cli.global, args).await,
            Command::Copy(args) => copy::run(&cli.global, args).await,
            Command::Cleanup(args) => cleanup::run(&cli.global, args).await,
            Command::Restore(args) => restore::run(&cli.global, args).await,
            Command::Status(args) => status::run(&cli.global, args).await,
            Command::History(args) => history::run(&cli.global, args).await,
            Command::Inspect(args) => inspect::run(&cli.global, args).await,
            Command::ListTags(args) => list_tags::run(&cli.global, args).await,
            Command::ListRepos(args) => list_repos::run(&cli.global, args).await,
            Command::Check(args) => check::run(&cli.global, args).await,
            Command::ManifestDigest(args) => manifest_digest::run(&cli.global, args).await,
            Command::Delete(args) => delete::run(&cli.global, args).await,
            Command::Login(args) => login::run(&cli.global, args).await,
            Command::Logout(args) => logout::run(&cli.global, args).await,
            Command::Config(args) => config::run(&cli.global, args).await,
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
            Command::Verify(args) => verify::run(&cli.global, args).await,
            Command::Serve(args) => serve::run(&cli.global, args).await,
            Command::ServeLayout(args) => serve_layout::run(&cli.global, args).await,
            Command::Demo(args) => demo::run(&cli.global, args).await,
        }
    }));
    let exit = runtime.block_on(running);
    #[cfg(feature = "otlp")]
    if let Some(traces) = traces {
        traces.end();
    }
    // Nothing that matters is under way any more; what blocks must not keep the process.
    runtime.shutdown_background();
    match exit {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => error.print_beside(options).into(),
        // It panicked, and the panic's own message has been printed.
        Err(_) => Exit::Failed.into(),
    }
}

/// Prints what clap has to say. Help and version are not errors; clap knows the right stream for each.
fn of_clap(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}

/// Runs a command for at most this time. What is under way then is dropped, which loses nothing that
/// was committed.
async fn within(
    limit: Option<Duration>,
    command: impl Future<Output = Result<Exit, CliError>>,
) -> Result<Exit, CliError> {
    let Some(limit) = limit else { return command.await };
    tokio::time::timeout(limit, command).await.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(CliError::Failed(format!("stopped: the command has taken longer than {limit}")))
    })
}

/// The definition of the command line, from which help, completions and the man page are made.
pub fn command() -> clap::Command {
    let command = skopeo::with_requirements(Cli::command());
    let mut groups = String::new();
    for (title, names) in GROUPS {
        groups.push_str(&format!("{title}:\n"));
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            groups.push_str(&format!("  {name:<16}{about}\n"));
        }
        groups.push('\n');
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_subcommand_is_in_a_group_and_has_an_example() {
        let command = command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            assert!(GROUPS.iter().any(|(_, names)| names.contains(&name)), "{name}");
            let help = subcommand.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{name} has no example");
        }
        let listed: usize = GROUPS.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(listed, command.get_subcommands().count());
    }
}

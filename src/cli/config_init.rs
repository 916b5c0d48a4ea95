//! `tranship config init`: writes a first configuration, from options or from answers.

use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::Global;
use super::exit::{CliError, Exit, failed};
use super::lines::{Lines, tell_line, tell_lines};
use super::{output, session};
use crate::config::{self, Config, Reading};
use crate::oci::RegistryHost;
use crate::text::inert;

/// Write a first configuration
///
/// Asks on a terminal for what is not given. The configuration has one rule, passes `tranship config
/// check`, and needs no secret: registries are used with the logins of docker, podman and `tranship
/// login`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship config init
  tranship config init --source docker.io/library/alpine --tags '3.*' \\
    --target registry.example.com/mirror/{repository}")]
pub struct Args {
    /// What to copy: a repository, one image, or a pattern of repositories
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Where to copy it: a registry and a path, which may have variables such as {repository}
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Tags to copy: names, globs or `/regular expressions/`; repeatable [default: all]
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    tags: Vec<String>,
    /// How often the daemon runs the rule, such as 1h
    #[arg(long, value_name = "INTERVAL", conflicts_with = "schedule")]
    every: Option<String>,
    /// When the daemon runs the rule, in cron format
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,
    /// User at the target's registry; its password is read from REGISTRY_PASSWORD
    ///
    /// If that variable is not set, the lines are written as a comment.
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,
    /// File to write [default: that of --config, or tranship.toml]
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    rule: &'a str,
}

/// What goes into the file.
#[derive(Debug, Default)]
struct Answers {
    source: String,
    target: String,
    tags: Vec<String>,
    every: Option<String>,
    schedule: Option<String>,
    username: Option<String>,
}

const PASSWORD: &str = "REGISTRY_PASSWORD";

pub fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let Args { source, target, tags, every, schedule, username, output_file, force } = args;
    let file = output_file.unwrap_or_else(|| session::config_path(global).to_owned());
    // Nobody answers questions in vain.
    if !force && file.exists() {
        return Err(exists(&file));
    }
    let asks = source.is_none() || target.is_none();
    if asks && !std::io::stdin().is_terminal() {
        return Err(CliError::Hinted {
            exit: Exit::Usage,
            message: "cannot ask for the source and the target".to_owned(),
            hint: "give them with --source and --target",
        });
    }
    let mut answers = Answers { tags, every, schedule, username, ..Answers::default() };
    let is_set = std::env::var(PASSWORD).is_ok_and(|value| !value.is_empty());
    answers.source = match source {
        Some(source) => source,
        None => {
            ask("Copy from (repository or pattern, like docker.io/library/alpine): ", |text| {
                check(&Answers { source: text.to_owned(), ..sample() }, &file, is_set).map(drop)
            })?
        }
    };
    answers.target = match target {
        Some(target) => target,
        None => ask("Copy to (like registry.example.com/mirror/{repository}): ", |text| {
            let source = answers.source.clone();
            check(&Answers { source, target: text.to_owned(), ..sample() }, &file, is_set).map(drop)
        })?,
    };
    if asks && answers.tags.is_empty() {
        let given = ask("Tags, separated by commas (empty: all): ", |text| {
            check(&Answers { tags: list(text), ..copy_of(&answers) }, &file, is_set).map(drop)
        })?;
        answers.tags = list(&given);
    }
    if asks && answers.every.is_none() && answers.schedule.is_none() {
        let given = ask("How often, when the daemon runs (empty: 1h): ", |text| {
            let every = (!text.is_empty()).then(|| text.to_owned());
            check(&Answers { every, ..copy_of(&answers) }, &file, is_set).map(drop)
        })?;
        answers.every = Some(if given.is_empty() { "1h".to_owned() } else { given });
    }
    let (text, config) = check(&answers, &file, is_set)?;
    write(&file, &text, force)?;
    if let Some(warnings) = &config.warnings {
        tell_lines(&Lines::of(&warnings.to_string()));
    }
    let rule = config.sync.first().map(|rule| rule.name.as_str()).unwrap_or_default();
    output::print(global, &Report { file: &file, rule }, || {
        if global.quiet {
            return Ok(());
        }
        let mut lines = Lines::one(format!("wrote {}; next:", file.display()));
        let option = match file.as_path() == session::config_path(global) {
            true => String::new(),
            false => format!(" -c {}", file.display()),
        };
        lines.line(format!("  tranship sync{option} --dry-run   # show what would be copied"));
        lines.line(format!("  tranship sync{option}             # copy it"));
        output::print_lines(&lines)
    })?;
    Ok(Exit::Done)
}

fn sample() -> Answers {
    let target = "registry.example.com/{repository}".to_owned();
    Answers { source: "docker.io/library/alpine".to_owned(), target, ..Answers::default() }
}

fn copy_of(answers: &Answers) -> Answers {
    let Answers { source, target, tags, .. } = answers;
    Answers {
        source: source.clone(),
        target: target.clone(),
        tags: tags.clone(),
        ..Answers::default()
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// The text of the configuration, and what it means.
fn check(answers: &Answers, file: &Path, has_password: bool) -> Result<(String, Config), CliError> {
    let text = text(answers, has_password);
    let config =
        config::parse_as(&text, file, &|name| std::env::var(name).ok(), Reading::default())
            .map_err(|error| {
                let problems = error.problems().iter().map(|problem| match &problem.hint {
                    Some(hint) => format!("{} ({hint})", problem.message),
                    None => problem.message.clone(),
                });
                CliError::usage(problems.collect::<Vec<_>>().join("; "))
            })?;
    Ok((text, config))
}

/// Asks until the answer is good.
fn ask(question: &str, check: impl Fn(&str) -> Result<(), CliError>) -> Result<String, CliError> {
    let failed = failed("read the answer");
    loop {
        let mut stderr = std::io::stderr();
        stderr.write_all(inert(question).as_bytes()).map_err(&failed)?;
        let mut line = String::new();
        let read = std::io::stdin().lock().take(1 << 12).read_line(&mut line).map_err(&failed)?;
        if read == 0 {
            return Err(CliError::usage("the questions were not answered"));
        }
        let answer = line.trim();
        match check(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(error) => tell_line(error.to_string()),
        }
    }
}

/// Writes the file. If it is there, only with `force`.
fn write(file: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(force).create(force).create_new(!force);
    let written = options.open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(file),
        _ => CliError::Failed(format!("failed to write {}: {error}", file.display())),
    })
}

fn exists(file: &Path) -> CliError {
    CliError::Hinted {
        exit: Exit::Usage,
        message: format!("{} is there already", file.display()),
        hint: "overwrite it with --force, or name another file with --output-file",
    }
}

/// The configuration as a person would write it.
fn text(answers: &Answers, has_password: bool) -> String {
    let Answers { source, target, tags, every, schedule, username } = answers;
    let mut text = "# Check this file with `tranship config check`.\n\n".to_owned();
    let host = |image: &str| image.split('/').next()?.parse::<RegistryHost>().ok();
    let is_local = |host: &RegistryHost| ["localhost", "127.0.0.1", "[::1]"].contains(&host.name());
    let (from, host) = (host(source), host(target));
    if let Some(from) = from.filter(|from| is_local(from) && Some(from) != host.as_ref()) {
        text +=
            &format!("[registry.\"{from}\"]\ninsecure = \"http\"   # no TLS on this machine\n\n");
    }
    if let Some(host) = &host {
        let is_local = is_local(host);
        let login = username.as_ref().map(|username| {
            let username = config::quoted(username);
            format!("username = {username}\npassword = {{ env = \"{PASSWORD}\" }}\n")
        });
        let header = format!("[registry.\"{host}\"]\n");
        match (is_local, login) {
            (false, None) => {}
            (true, None) => {
                text += &format!("{header}insecure = \"http\"   # no TLS on this machine\n\n")
            }
            (local, Some(login)) => {
                let insecure =
                    if local { "insecure = \"http\"   # no TLS on this machine\n" } else { "" };
                if has_password {
                    text += &format!("{header}{insecure}{login}\n");
                } else {
                    text += &format!(
                        "# Set {PASSWORD} and remove the `# ` of these lines to log in. Without them,\n\
                         # the logins of docker, podman and `tranship login` are used.\n"
                    );
                    let (header, login) = match local {
                        true => {
                            text += &format!("{header}{insecure}");
                            (String::new(), login)
                        }
                        false => (header, login),
                    };
                    for line in header.lines().chain(login.lines()) {
                        text += &format!("# {line}\n");
                    }
                    text.push('\n');
                }
            }
        }
    }
    let line = |key: &str, value: &str| format!("{key} = {}\n", config::quoted(value));
    text += "[[sync]]\n";
    text += &line("name", &name(source));
    text += &line("source", source);
    text += &line("target", target);
    if !tags.is_empty() {
        let tags: Vec<String> = tags.iter().map(config::quoted).collect();
        text += &format!("tags = [{}]\n", tags.join(", "));
    }
    if let Some(every) = every {
        text += &line("every", every);
    }
    if let Some(schedule) = schedule {
        text += &line("schedule", schedule);
    }
    text
}

/// The last part of the source without wildcards.
fn name(source: &str) -> String {
    let without_image = source.split('@').next().unwrap_or_default();
    let is_name = |part: &&str| !part.is_empty() && !part.contains(['*', '?', '[', '{', '.']);
    let parts = without_image.split('/').map(|part| part.split(':').next().unwrap_or_default());
    let parts: Vec<&str> = parts.collect();
    parts.iter().rev().copied().find(is_name).unwrap_or("mirror").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(answers: &Answers, has_password: bool) -> Config {
        let text = text(answers, has_password);
        let env = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            PASSWORD if has_password => Some("x".to_owned()),
            _ => None,
        };
        config::parse(&text, "/tranship.toml".as_ref(), &env)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn whatever_is_written_is_valid_and_means_what_was_asked_for() {
        let answers = Answers {
            source: "quay.io/acme/**".to_owned(),
            target: "localhost:5000/{tail}".to_owned(),
            tags: vec!["v*".to_owned(), "/a\\d/".to_owned()],
            schedule: Some("0 3 * * *".to_owned()),
            username: Some("a \"b\"".to_owned()),
            ..Answers::default()
        };
        for has_password in [false, true] {
            let config = parse(&answers, has_password);
            let rule = &config.sync[0];
            assert_eq!(
                (rule.name.as_str(), rule.source.to_string()),
                ("acme", "quay.io/acme/**".to_owned())
            );
            let registry = &config.registries[&"localhost:5000".parse().unwrap()];
            assert_eq!(registry.insecure, config::Insecure::Http);
            assert_eq!(registry.username.is_some(), has_password);
            assert!(config.warnings.is_none() && rule.timing.is_some());
        }
        let remote = Answers { target: "r.io/x/{tail}".to_owned(), ..answers };
        assert!(parse(&remote, false).registries.is_empty());
        assert_eq!(parse(&remote, true).registries.len(), 1);
    }

    #[test]
    fn rules_are_named_after_what_they_copy() {
        for (source, expected) in [
            ("docker.io/library/alpine", "alpine"),
            ("alpine:3.20", "alpine"),
            ("ghcr.io/acme/app:1@sha256:abc", "app"),
            ("ghcr.io/acme/**", "acme"),
            ("r.io:5000/**", "mirror"),
        ] {
            assert_eq!(name(source), expected, "{source}");
        }
    }
}

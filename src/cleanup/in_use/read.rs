//! Reads the sources of a rule: files and what programs print, within bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::error::{InUseError, Problem, Unreadable};
use super::sightings::Sightings;
use super::usage::Usage;
use super::used::Used;
use super::{kubernetes, list};
use crate::config::in_use::{InUseFormat, InUseFrom, InUseSource};
use crate::process::{self, Limits};
use crate::secret::Environment;
use crate::state::State;

/// The most that one file or program may say, in bytes: several times what the objects of the
/// largest clusters come to.
pub const SIZE_LIMIT: u64 = 256 << 20;

/// What the sources of these names say is in use at `now`, and what the state remembers of them.
/// What they list now is noted in the state. `environment` is where programs are looked for, `limit`
/// the most that one file or program may say, in bytes.
///
/// # Errors
/// Everything that is wrong with any of the sources. Then it is not known what is in use, and
/// nothing must be deleted.
pub async fn read(
    limit: u64,
    sources: &BTreeMap<String, InUseSource>,
    names: &[String],
    state: &State,
    environment: &Environment,
    now: Timestamp,
) -> Result<Usage, Vec<InUseError>> {
    let readings = names.iter().map(|name| async move {
        let Some(source) = sources.get(name) else { return Err(vec![Problem::NoSuchSource]) };
        Ok((source, sightings(source, environment, limit).await?))
    });
    let readings = join_all(readings).await;
    let mut usage = Usage::default();
    let mut errors = Vec::new();
    for (name, reading) in names.iter().zip(readings) {
        let added = reading.and_then(|(source, sightings)| {
            add(name, source, &sightings, state, now, &mut usage).map_err(|problem| vec![problem])
        });
        if let Err(problems) = added {
            let error = |problem| InUseError { name: name.clone(), problem };
            errors.extend(problems.into_iter().map(error));
        }
    }
    if errors.is_empty() { Ok(usage) } else { Err(errors) }
}

/// Adds what a source lists and what is remembered of it.
fn add(
    name: &str,
    source: &InUseSource,
    sightings: &Sightings,
    state: &State,
    now: Timestamp,
    usage: &mut Usage,
) -> Result<(), Problem> {
    let listed: BTreeMap<String, BTreeSet<String>> =
        sightings.iter().map(|(used, places)| (used.to_string(), places.clone())).collect();
    let remembered = state
        .in_use
        .note(name, &listed, source.remember, source.allow_empty, now)
        .map_err(|nothing| Problem::ListsNothing { before: nothing.before })?;
    if let Some(why) = state.storage.health().broken.filter(|_| !source.remember.is_zero()) {
        return Err(Problem::Forgotten(why));
    }
    for (used, places) in sightings.iter() {
        for place in places {
            usage.add(used, &source.aliases, &format!("{name}: {place}"));
        }
    }
    for seen in &remembered {
        // Only what was the text of an image was ever noted.
        let Ok(used) = Used::parse(&seen.image) else { continue };
        for place in &seen.locations {
            let place = format!("{name}: {place}, last seen {}", seen.last_seen);
            usage.add(&used, &source.aliases, &place);
        }
    }
    Ok(())
}

/// Everything that a source lists, or everything that is wrong with it.
async fn sightings(
    source: &InUseSource,
    environment: &Environment,
    limit: u64,
) -> Result<Sightings, Vec<Problem>> {
    let format = &source.format;
    let files = match &source.from {
        InUseFrom::Files(files) => files,
        InUseFrom::Command { words, timeout } => {
            let limits = Limits { time: *timeout, output: limit };
            let listed = of_command(words, format, environment, limits).await;
            return listed.map_err(|problem| vec![problem]);
        }
    };
    let mut sightings = Sightings::default();
    let mut problems = Vec::new();
    for file in files {
        match of_file(file.clone(), format.clone(), limit).await {
            Ok(listed) => sightings.add(listed),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(sightings) } else { Err(problems) }
}

async fn of_file(path: PathBuf, format: InUseFormat, limit: u64) -> Result<Sightings, Problem> {
    let input = path.display().to_string();
    blocking(input.clone(), move || {
        let bytes = read_file(&path, limit).map_err(|problem| Problem::File { path, problem })?;
        understand(input, &bytes, &format)
    })
    .await
}

/// A file that is no longer than `limit` bytes.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "is not there".to_owned(),
        kind => format!("cannot be read: {kind}"),
    };
    // Opening a pipe that nobody writes to would never end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(format!("is longer than {limit} bytes"));
    }
    Ok(bytes)
}

async fn of_command(
    words: &[String],
    format: &InUseFormat,
    environment: &Environment,
    limits: Limits,
) -> Result<Sightings, Problem> {
    let program = words.first().map_or("", String::as_str);
    let failed = |problem| Problem::Command { program: program.to_owned(), problem };
    let (arguments, path) = (words.get(1..).unwrap_or_default(), environment.variable("PATH"));
    let output = process::run(program, arguments, b"", path, limits).await.map_err(failed)?;
    if !output.success {
        return Err(failed(output.failure()));
    }
    let input = format!("the output of `{program}`");
    let format = format.clone();
    blocking(input.clone(), move || understand(input, &output.stdout, &format)).await
}

/// Large texts take seconds to parse, and others have work to do meanwhile.
async fn blocking(
    input: String,
    work: impl FnOnce() -> Result<Sightings, Problem> + Send + 'static,
) -> Result<Sightings, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(Problem::Content { input, problem: Unreadable::BrokeOff }))
}

/// What a text lists. `input` is what the text is called in errors.
fn understand(input: String, bytes: &[u8], format: &InUseFormat) -> Result<Sightings, Problem> {
    // Some editors put it there.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut sightings = Sightings::default();
    let read = match format {
        InUseFormat::Kubernetes { paths } => kubernetes::read(bytes, paths, &mut sightings),
        InUseFormat::List => list::read(bytes, &input, &mut sightings),
    };
    match read {
        Ok(()) => Ok(sightings),
        Err(problem) => Err(Problem::Content { input, problem }),
    }
}

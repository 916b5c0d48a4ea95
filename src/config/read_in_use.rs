//! From `[in_use.NAME]` as typed to [`InUseSource`], and the names of such sources in rules.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_spanned::Spanned;

use super::in_use::{InUseFormat, InUseFrom, InUseSource};
use super::one_or_many::OneOrMany;
use super::raw_in_use::{RawInUse, RawInUseFormat};
use super::reader::Reader;
use super::shape::did_you_mean;
use crate::oci::ImagePrefix;

const DEFAULT_REMEMBER: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// All sources by their name, or `None` with the problems reported.
pub fn sources(
    raw: BTreeMap<Spanned<String>, RawInUse>,
    reader: &mut Reader<'_>,
) -> Option<BTreeMap<String, InUseSource>> {
    let mut raw: Vec<_> = raw.into_iter().collect();
    raw.sort_by_key(|(name, _)| name.span().start);
    let sources: Vec<_> = raw
        .into_iter()
        .map(|(name, settings)| {
            // It stands in front of where something was seen, in plans and in the state.
            let named = reader.check_name_of_source(&name, "what is in use", "");
            let source = source(&name, settings, reader);
            Some((named.then(|| name.into_inner())?, source?))
        })
        .collect();
    sources.into_iter().collect()
}

fn source(name: &Spanned<String>, raw: RawInUse, reader: &mut Reader<'_>) -> Option<InUseSource> {
    let format = match raw.format {
        RawInUseFormat::Kubernetes => {
            let paths =
                raw.paths.map_or(Some(Vec::new()), |paths| reader.parse_all(paths.get_ref()));
            paths.map(|paths| InUseFormat::Kubernetes { paths })
        }
        RawInUseFormat::List => {
            if let Some(paths) = &raw.paths {
                reader.report(paths.span(), "`paths` belongs to the format `kubernetes`");
            }
            Some(InUseFormat::List)
        }
    };
    let timeout = reader.optional(raw.timeout.as_ref(), timeout);
    let from = match (raw.file, raw.command) {
        (Some(files), None) => {
            if let Some(timeout) = &raw.timeout {
                reader.report(timeout.span(), "`timeout` belongs to `command`");
            }
            read_files(files, reader)
        }
        (None, Some(command)) => read_command(command, timeout, reader),
        (Some(_), Some(command)) => {
            let message = "a source has either `file` or `command`, not both";
            reader.report_with_hint(command.span(), message, "make two sources of it");
            None
        }
        (None, None) => {
            let message = format!("`{}` has neither `file` nor `command`", name.get_ref());
            reader.report(name.span(), message);
            None
        }
    };
    let aliases = aliases(raw.aliases, reader);
    let remember = raw.remember.map_or(Some(DEFAULT_REMEMBER), |text| reader.duration(&text));
    Some(InUseSource {
        format: format?,
        from: from?,
        aliases: aliases?,
        remember: remember?,
        allow_empty: raw.allow_empty.unwrap_or(false),
    })
}

fn timeout(text: &Spanned<String>, reader: &mut Reader<'_>) -> Option<Duration> {
    let timeout = reader.duration(text)?;
    if timeout.is_zero() {
        reader.report(text.span(), "timeout must be longer than nothing");
    }
    (!timeout.is_zero()).then_some(timeout)
}

/// The files need not be there yet: whoever writes them may come later, and until then nothing is
/// deleted.
fn read_files(files: Spanned<OneOrMany>, reader: &mut Reader<'_>) -> Option<InUseFrom> {
    let span = files.span();
    let files = OneOrMany::items(files);
    if files.is_empty() {
        reader.report(span, "an empty list names no file");
        return None;
    }
    let mut paths = Vec::new();
    for file in &files {
        let path = reader.path(file.get_ref());
        if file.get_ref().is_empty() {
            reader.report(file.span(), "the path is empty");
        } else if paths.contains(&path) {
            reader.report(file.span(), format!("{} stands here twice", path.display()));
        }
        paths.push(path);
    }
    Some(InUseFrom::Files(paths))
}

fn read_command(
    command: Spanned<Vec<String>>,
    timeout: Option<Option<Duration>>,
    reader: &mut Reader<'_>,
) -> Option<InUseFrom> {
    if command.get_ref().first().is_none_or(String::is_empty) {
        reader.report(command.span(), "the command names no program");
        return None;
    }
    let timeout = timeout?.unwrap_or(DEFAULT_TIMEOUT);
    Some(InUseFrom::Command { words: command.into_inner(), timeout })
}

fn aliases(
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
    reader: &mut Reader<'_>,
) -> Option<BTreeMap<ImagePrefix, ImagePrefix>> {
    let mut raw: Vec<_> = raw.into_iter().collect();
    raw.sort_by_key(|(run, _)| run.span().start);
    let mut aliases = BTreeMap::new();
    let mut complete = true;
    for (run, kept) in raw {
        let (from, to) = (reader.parse::<ImagePrefix>(&run), reader.parse::<ImagePrefix>(&kept));
        let (Some(from), Some(to)) = (from, to) else {
            complete = false;
            continue;
        };
        if from == to {
            reader.report(kept.span(), format!("`{from}` is an alias of itself"));
        }
        if aliases.contains_key(&from) {
            let message = format!("`{}` is {from}, which has an alias already", run.get_ref());
            reader.report(run.span(), message);
        }
        aliases.insert(from, to);
    }
    complete.then_some(aliases)
}

/// The names of sources in a rule. `known` are all that there are.
pub fn names(
    raw: &Spanned<Vec<Spanned<String>>>,
    known: &[String],
    reader: &mut Reader<'_>,
) -> Option<Vec<String>> {
    if raw.get_ref().is_empty() {
        let message = "an empty list protects nothing: leave the key out or name a source";
        reader.report(raw.span(), message);
        return None;
    }
    let mut lines = HashMap::new();
    for name in raw.get_ref() {
        let text = name.get_ref();
        let line = reader.line(name.span().start);
        if let Some(first) = lines.insert(text, line) {
            let message = format!("`{text}` stands here twice, the first time on line {first}");
            reader.report(name.span(), message);
        } else if !known.contains(text) {
            let near: Vec<&str> = known.iter().map(String::as_str).collect();
            let message = format!("there is no [in_use.{text}]{}", did_you_mean(text, &near));
            let hint = match known {
                [] => format!("say in [in_use.{text}] where to learn what runs"),
                known => format!("there are: {}", known.join(", ")),
            };
            reader.report_with_hint(name.span(), message, &hint);
        }
    }
    Some(raw.get_ref().iter().map(|name| name.get_ref().clone()).collect())
}

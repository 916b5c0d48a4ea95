//! The files of a configuration: the main one, and those that it includes.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::Environment;
use super::checker::Checker;
use super::problem::ConfigError;
use super::syntax::{self, Mistake};
use super::variables;

/// Larger files are refused.
const MAX_SIZE: u64 = 16 << 20;
/// More included files are refused.
const MAX_FILES: usize = 1000;

/// What an included file may have: lists, which become longer, and tables, which get more entries.
const LISTS: [&str; 3] = ["sync", "cleanup", "notify"];
const TABLES: [&str; 3] = ["registry", "events", "in_use"];
const ONLY_MAIN: [&str; 3] = ["daemon", "include", "defaults"];

/// What was read of a file.
pub struct Source {
    /// The number of its first byte.
    pub start: usize,
    /// Its TOML, if there is any.
    pub clean: Option<String>,
    pub mistakes: Vec<Mistake>,
}

/// Where the files of a configuration are.
#[derive(Debug, Default)]
pub struct Places {
    /// The main file and those that it includes now.
    pub files: Vec<PathBuf>,
    /// The folders in which others would be included.
    pub folders: Vec<PathBuf>,
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SIZE + 1).read_to_string(&mut text))
        .map_err(|e| ConfigError::unreadable(path, &e))?;
    if read as u64 > MAX_SIZE {
        return Err(ConfigError::unreadable(path, &"it is larger than 16 MiB"));
    }
    Ok(text)
}

/// The files of the configuration at `path` as it is now. What is wrong with it does not matter.
pub fn places(path: &Path, env: Environment<'_>) -> Places {
    let folder = path.parent().unwrap_or(path).to_owned();
    let mut places = Places { files: vec![path.to_owned()], folders: vec![folder.clone()] };
    let Ok(text) = read(path) else { return places };
    let (Some(clean), _) = syntax::clean(&text) else { return places };
    for (pattern, _) in patterns(&clean) {
        let Ok(pattern) = variables::replace(&pattern, env) else { continue };
        let Ok(found) = find(&folder, &pattern) else { continue };
        places.files.extend(found.files);
        places.folders.push(found.folder);
    }
    places
}

/// Reads the main file, whose text is `text`, and all that it includes.
pub fn read_all(file: &Path, text: &str, checker: &mut Checker<'_>) -> Vec<Source> {
    let main = source(file, text.to_owned(), checker);
    let includes = main.clean.as_deref().map(patterns).unwrap_or_default();
    let mut sources = vec![main];
    let mut known: Vec<PathBuf> = std::fs::canonicalize(file).into_iter().collect();
    for (pattern, span) in includes {
        let found = variables::replace(&pattern, checker.env)
            .and_then(|pattern| find(file.parent().unwrap_or(file), &pattern));
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                checker.report(span, error);
                continue;
            }
        };
        if found.files.is_empty() {
            let message = format!("`{pattern}` includes no file");
            checker.warn(span.clone(), message, "relative paths start at the folder of this file");
        }
        for path in found.files {
            // Two patterns may find the same file, and one may find the main file.
            let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            if known.contains(&real) {
                continue;
            }
            known.push(real);
            if sources.len() > MAX_FILES {
                checker.report(span.clone(), format!("more than {MAX_FILES} files are included"));
                return sources;
            }
            match read(&path) {
                Ok(text) => sources.push(source(&path, text, checker)),
                Err(error) => {
                    let reason = error.problems().first().map(|it| it.message.as_str());
                    let reason = reason.unwrap_or_default();
                    checker.report(span.clone(), format!("{}: {reason}", path.display()));
                }
            }
        }
    }
    sources
}

fn source(path: &Path, text: String, checker: &mut Checker<'_>) -> Source {
    let (clean, mistakes) = syntax::clean(&text);
    let clean = clean.map(Cow::into_owned);
    let start = checker.texts.add(path.to_owned(), text);
    Source { start, clean, mistakes }
}

/// The patterns of `include` in the main file, with their spans.
fn patterns(clean: &str) -> Vec<(String, Range<usize>)> {
    let (root, _) = DeTable::parse_recoverable(clean);
    let include = root.get_ref().get("include").and_then(|value| value.get_ref().as_array());
    let items = include.into_iter().flat_map(|items| items.iter());
    let text =
        |item: &Spanned<DeValue<'_>>| Some((item.get_ref().as_str()?.to_owned(), item.span()));
    items.filter_map(text).collect()
}

/// The files that a pattern finds, and the folder in which they are.
struct Found {
    folder: PathBuf,
    files: Vec<PathBuf>,
}

fn find(folder: &Path, pattern: &str) -> Result<Found, String> {
    let path = folder.join(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|it| it.to_str()))
    else {
        return Err(format!("`{pattern}` names no file"));
    };
    let has_wildcard = |text: &str| text.contains(['*', '?', '[', '{']);
    let above = Path::new(pattern).parent().and_then(Path::to_str).unwrap_or_default();
    if has_wildcard(above) {
        return Err(format!("only the last part of `{pattern}` may have wildcards"));
    }
    let folder = folder.to_owned();
    if !has_wildcard(name) {
        return match std::fs::metadata(&path) {
            Ok(metadata) if !metadata.is_dir() => Ok(Found { folder, files: vec![path] }),
            Ok(_) => Err(format!("`{pattern}` is a folder: write `{pattern}/*.toml`")),
            Err(e) => Err(format!("cannot use {}: {e}", path.display())),
        };
    }
    let glob = GlobBuilder::new(name).literal_separator(true).build();
    let glob = glob.map_err(|e| format!("`{pattern}` is not a pattern: {}", e.kind()))?;
    let matcher = glob.compile_matcher();
    let read = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    let entries = match std::fs::read_dir(read) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Found { folder, files: Vec::new() });
        }
        Err(e) => return Err(format!("cannot read the folder {}: {e}", read.display())),
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            !is_hidden && matcher.is_match(&name)
        })
        .map(|entry| folder.join(entry.file_name()))
        .filter(|path| path.is_file())
        .collect();
    files.sort_unstable();
    Ok(Found { folder, files })
}

/// The tables of all files as those of one. Reports what an included file must not have.
pub fn merge<'a>(sources: &'a [Source], checker: &mut Checker<'_>) -> Option<DeTable<'a>> {
    let mut tables = sources.iter().map(|source| {
        let (table, _) = DeTable::parse_recoverable(source.clean.as_deref()?);
        Some(syntax::moved(table.into_inner(), source.start))
    });
    let mut all = tables.next()??;
    for table in tables {
        let Some(table) = table else {
            checker.is_whole = false;
            continue;
        };
        for (key, value) in table {
            add(&mut all, key, value, checker);
        }
    }
    Some(all)
}

/// Adds a key of an included file.
fn add<'a>(
    all: &mut DeTable<'a>,
    key: Spanned<std::borrow::Cow<'a, str>>,
    value: Spanned<DeValue<'a>>,
    checker: &mut Checker<'_>,
) {
    let name = key.get_ref().to_string();
    if ONLY_MAIN.contains(&name.as_str()) {
        let message = format!("an included file cannot have `{name}`: it belongs in the main file");
        checker.report(key.span(), message);
        return;
    }
    let Some(there) = all.get_mut(name.as_str()) else {
        all.insert(key, value);
        return;
    };
    let span = value.span();
    match (there.get_mut(), value.into_inner()) {
        (DeValue::Array(there), DeValue::Array(more)) if LISTS.contains(&name.as_str()) => {
            more.into_iter().for_each(|item| there.push(item));
        }
        (DeValue::Table(there), DeValue::Table(more)) if TABLES.contains(&name.as_str()) => {
            for (key, value) in more {
                if let Some((first, _)) = there.get_key_value(key.get_ref().as_ref()) {
                    let line = checker.line(first.span().start, key.span().start);
                    let message = format!("`{}` is defined twice, first on {line}", key.get_ref());
                    checker.report(key.span(), message);
                } else {
                    there.insert(key, value);
                }
            }
        }
        _ if LISTS.contains(&name.as_str()) => {
            let hint = format!("everywhere, write `[[{name}]]`");
            checker.report_with_hint(span, "expected a list in every file", &hint);
        }
        // An unknown key is reported where it stands first.
        _ => {}
    }
}

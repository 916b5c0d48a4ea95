//! `[in_use.NAME]`: a list of images in use, which no cleanup deletes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_spanned::Spanned;

use super::checker::Checker;
use super::document::Node;
pub use super::image_path::{ImagePath, ImagePathError};
use super::show::{Writer, inline_table, list, quoted, shown_duration};
use super::text::{self, OneOrMany, Period};
use super::wording::did_you_mean;
use crate::oci::ImagePrefix;

/// A validated `[in_use.NAME]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct InUseSource {
    pub format: InUseFormat,
    pub from: InUseFrom,
    /// Prefixes of the names by which images run, and the prefixes under which the registry has them.
    pub aliases: BTreeMap<ImagePrefix, ImagePrefix>,
    /// How long an image stays protected after it was last listed.
    pub remember: Duration,
    /// Whether an empty list is accepted after one that was not empty.
    pub allow_empty: bool,
}

/// Format of the list.
#[derive(Debug, Clone, PartialEq)]
pub enum InUseFormat {
    /// Objects as printed by `kubectl get … -o json`.
    Kubernetes {
        /// Where to find images in custom resources, in addition to pod templates.
        paths: Vec<ImagePath>,
    },
    /// One image per line.
    List,
}

/// Where the list is read from.
#[derive(Debug, Clone, PartialEq)]
pub enum InUseFrom {
    /// Absolute paths, at least one.
    Files(Vec<PathBuf>),
    /// The output of a program.
    Command {
        /// The program, and its arguments.
        words: Vec<String>,
        timeout: Duration,
    },
}

/// The keys of the table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InUse")]
pub(super) struct InUseKeys {
    /// `kubernetes`: objects as printed by `kubectl get … -o json`. `list`: one image per line.
    format: Format,
    /// File to read, or a list of files.
    #[serde(default, deserialize_with = "text::one_or_many")]
    #[schemars(with = "Option<OneOrMany>")]
    file: Vec<PathBuf>,
    /// Program and arguments whose output is read, instead of `file`.
    #[serde(default, deserialize_with = "text::command")]
    command: Option<Vec<String>>,
    /// For `kubernetes`: JSONPath expressions (RFC 9535) that find images in custom resources, such
    /// as `$.spec.steps[*].image`.
    #[serde(default)]
    paths: Vec<ImagePath>,
    /// For images that run from a mirror: prefix of the running image's name, and the prefix under
    /// which the registry has it.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    aliases: BTreeMap<Spanned<String>, ImagePrefix>,
    /// How long an image stays protected after it was last listed. Default: `14d`.
    remember: Option<Period>,
    /// Time after which `command` is killed. Default: `60s`.
    #[serde(default = "default_timeout", deserialize_with = "text::positive_duration")]
    #[schemars(with = "Option<String>")]
    timeout: Duration,
    /// Accept an empty list even if the previous one was not empty. Default: false.
    #[serde(default)]
    allow_empty: bool,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "InUseFormat")]
enum Format {
    Kubernetes,
    List,
}

const DEFAULT_REMEMBER: Duration = Duration::from_hours(14 * 24);

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

/// Checks all lists and returns them by name.
pub(super) fn check_all(
    sources: BTreeMap<Spanned<String>, InUseKeys>,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> BTreeMap<String, InUseSource> {
    // In plans and in the state, the name is the prefix of where something was seen.
    node.check_names("what is in use", "", checker);
    let mut checked = BTreeMap::new();
    for (name, keys) in sources {
        let source = keys.check(&name, node.get(name.get_ref()), checker);
        checked.insert(name.into_inner(), source);
    }
    checked
}

impl InUseKeys {
    fn check(
        self,
        name: &Spanned<String>,
        node: Node<'_>,
        checker: &mut Checker<'_>,
    ) -> InUseSource {
        let format = match self.format {
            Format::Kubernetes => InUseFormat::Kubernetes { paths: self.paths },
            Format::List => {
                if node.has("paths") {
                    let message = "`paths` belongs to the format `kubernetes`";
                    checker.report(node.span_of("paths"), message);
                }
                InUseFormat::List
            }
        };
        match (node.has("file"), node.has("command")) {
            (true, true) => {
                let message = "a source has either `file` or `command`, not both";
                let span = node.span_of("command");
                checker.report_with_hint(span, message, "make two sources of it");
            }
            (true, false) if node.has("timeout") => {
                checker.report(node.span_of("timeout"), "`timeout` belongs to `command`");
            }
            (false, false) => {
                let message = format!("`{}` has neither `file` nor `command`", name.get_ref());
                checker.report(name.span(), message);
            }
            _ => {}
        }
        let from = match self.command {
            Some(words) => InUseFrom::Command { words, timeout: self.timeout },
            None => InUseFrom::Files(check_files(self.file, node.get("file"), checker)),
        };
        InUseSource {
            format,
            from,
            aliases: check_aliases(self.aliases, node.get("aliases"), checker),
            remember: self.remember.map_or(DEFAULT_REMEMBER, Duration::from),
            allow_empty: self.allow_empty,
        }
    }
}

/// Makes the paths absolute. The files need not exist yet; nothing is deleted until they do.
fn check_files(files: Vec<PathBuf>, node: Node<'_>, checker: &mut Checker<'_>) -> Vec<PathBuf> {
    if files.is_empty() && node.exists() && node.is_sound() {
        checker.report(node.span(), "an empty list names no file");
    }
    let mut paths = Vec::new();
    for (file, node) in files.iter().zip(node.items()) {
        let path = checker.folder.join(file);
        if file.as_os_str().is_empty() {
            checker.report(node.span(), "the path is empty");
        } else if paths.contains(&path) {
            checker.report(node.span(), format!("{} is listed twice", path.display()));
        }
        paths.push(path);
    }
    paths
}

fn check_aliases(
    aliases: BTreeMap<Spanned<String>, ImagePrefix>,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> BTreeMap<ImagePrefix, ImagePrefix> {
    let mut aliases: Vec<_> = aliases.into_iter().collect();
    aliases.sort_by_key(|(run, _)| run.span().start);
    let mut checked = BTreeMap::new();
    for (run, kept) in aliases {
        let prefix: ImagePrefix = match run.get_ref().parse() {
            Ok(prefix) => prefix,
            Err(error) => {
                checker.report(run.span(), error);
                continue;
            }
        };
        if prefix == kept {
            let span = node.span_of(run.get_ref());
            checker.report(span, format!("`{prefix}` is an alias of itself"));
        }
        if checked.contains_key(&prefix) {
            let message = format!("`{}` is {prefix}, which has an alias already", run.get_ref());
            checker.report(run.span(), message);
        }
        checked.insert(prefix, kept);
    }
    checked
}

/// Checks the names in `in_use` of a rule. `known`: all `[in_use.NAME]` tables of the file.
pub(super) fn check_names(
    names: &[String],
    known: &[&str],
    node: Node<'_>,
    checker: &mut Checker<'_>,
) {
    if names.is_empty() && node.is_sound() {
        let message = "an empty list protects nothing: leave the key out or name a source";
        checker.report(node.span(), message);
    }
    let mut lines = HashMap::new();
    for (name, node) in names.iter().zip(node.items()) {
        let start = node.span().start;
        if let Some(first) = lines.insert(name, start) {
            let line = checker.line(first, start);
            let message = format!("`{name}` is listed twice, first on {line}");
            checker.report(node.span(), message);
        } else if checker.is_whole && !known.contains(&name.as_str()) {
            let message = format!("there is no [in_use.{name}]{}", did_you_mean(name, known));
            let hint = match known {
                [] => format!("define [in_use.{name}]: where to read what is in use"),
                known => format!("there are: {}", known.join(", ")),
            };
            checker.report_with_hint(node.span(), message, &hint);
        }
    }
}

impl InUseSource {
    pub(super) fn show(&self, name: &str, out: &mut Writer) {
        let Self { format, from, aliases, remember, allow_empty } = self;
        out.header(&format!("[in_use.{name}]"));
        match format {
            InUseFormat::Kubernetes { paths } => {
                out.key("format", quoted("kubernetes"));
                out.key("paths", list(paths));
            }
            InUseFormat::List => out.key("format", quoted("list")),
        }
        match from {
            InUseFrom::Files(files) => {
                out.key("file", list(files.iter().map(|file| file.display())));
            }
            InUseFrom::Command { words, timeout } => {
                out.key("command", list(words));
                out.key("timeout", shown_duration(*timeout));
            }
        }
        if !aliases.is_empty() {
            let aliases = aliases.iter();
            let aliases = aliases.map(|(run, kept)| format!("{} = {}", quoted(run), quoted(kept)));
            out.key("aliases", inline_table(aliases));
        }
        out.key("remember", shown_duration(*remember));
        out.key("allow_empty", allow_empty);
    }
}

//! Images, deletions, failures and runs as text, the same in every command.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::exit::CliError;
use super::lines::{Lines, tell_line, tell_lines};
use super::output;
use super::skopeo::ReachOptions;
use crate::config::cleanup::Mode;
use crate::history::{CleanupSummary, RunOutcome, StepCounts};
use crate::oci::{Tag, version};
use crate::repository::Failure;
use crate::sync::{Action, ImageReport};
use crate::text::counted;
use crate::transfer::TransferTotals;

/// The result for one image: one line, and its notes.
pub fn image_lines(image: &ImageReport) -> Lines {
    let verb = match image.action {
        Action::Copied => "copied",
        Action::WouldCopy => "would copy",
        Action::Unchanged => "unchanged",
        Action::Kept => "kept",
        Action::Withheld => "withheld",
        Action::Failed => "FAILED",
    };
    let moved = match image.action {
        Action::Copied => format!(", {} sent", output::bytes(image.bytes)),
        _ => String::new(),
    };
    let ImageReport { source, target, reason, .. } = image;
    let mut lines = Lines::one(format!("{verb} {source} -> {target} ({reason}{moved})"));
    image.notes.iter().for_each(|note| lines.line(format!("  note: {note}")));
    lines
}

/// The order in which people expect images: by repository, and by tag as `version::order` has it.
pub fn in_order(a: &ImageReport, b: &ImageReport) -> Ordering {
    let name = |a: &str, b: &str| {
        let ((repository_a, tag_a), (repository_b, tag_b)) = (split(a), split(b));
        let tags = match (&tag_a, &tag_b) {
            (Some(a), Some(b)) => version::order(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        repository_a.cmp(repository_b).then(tags)
    };
    name(&a.source, &b.source).then_with(|| name(&a.target, &b.target))
}

/// A repository, and the tag behind it.
fn split(name: &str) -> (&str, Option<Tag>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag.parse().ok()),
        _ => (name, None),
    }
}

/// Tells what went wrong with images.
pub fn print_failed_images<'a>(
    images: impl IntoIterator<Item = &'a ImageReport>,
    options: ReachOptions,
) {
    let failed = images.into_iter().filter(|image| image.action == Action::Failed);
    print_failed(failed.map(Failed::Image), options);
}

/// Tells what went wrong with a rule as a whole.
pub fn print_failures(rule: &str, failures: &[Failure]) {
    let failed = failures.iter().map(|failure| Failed::Rule(rule, failure));
    print_failed(failed, ReachOptions::None);
}

/// Something that failed.
pub enum Failed<'a> {
    Image(&'a ImageReport),
    Rule(&'a str, &'a Failure),
}

impl<'a> Failed<'a> {
    /// The failure, if it is about a registry as a whole.
    fn shared(&self, options: ReachOptions) -> Option<Shared<'a>> {
        let failure = match self {
            Self::Image(image) => match &image.errors[..] {
                [failure] => failure,
                _ => return None,
            },
            Self::Rule(_, failure) => failure,
        };
        let registry = failure.registry.as_deref()?;
        let name = match self {
            Self::Image(image) if image.source.starts_with(&format!("{registry}/")) => {
                &image.source
            }
            Self::Image(image) => &image.target,
            Self::Rule(_, failure) => &failure.subject,
        };
        let is_image = matches!(self, Self::Image(_));
        let (message, hint) = (failure.message.as_str(), failure.hint.as_deref());
        let options = self.options(options, registry);
        Some(Shared { registry, message, hint, options, name, is_image })
    }

    /// Those of the command's options that are for this registry.
    fn options(&self, options: ReachOptions, registry: &str) -> ReachOptions {
        match self {
            Self::Image(image) => options.on(registry, &image.source, &image.target),
            Self::Rule(..) => options,
        }
    }

    fn print(&self, options: ReachOptions) {
        match self {
            Self::Image(image) => {
                tell_lines(&image_lines(image));
                for failure in &image.errors {
                    let registry = failure.registry.as_deref().unwrap_or_default();
                    print_failure_beside(self.options(options, registry), failure);
                }
            }
            Self::Rule(rule, failure) => {
                tell_line(format!("FAILED rule {rule}"));
                print_failure(failure);
            }
        }
    }
}

/// Tells what went wrong. What is wrong with a registry is told once, with what it concerns. `options`:
/// those of the command, for its hints.
pub fn print_failed<'a>(all: impl IntoIterator<Item = Failed<'a>>, options: ReachOptions) {
    for group in grouped(all, |failed| failed.shared(options)) {
        match group {
            Group::Alone(failed) => failed.print(options),
            Group::Shared(shared) => print_shared(&shared),
        }
    }
}

/// One of the failures with a cause that concerns a whole registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared<'a> {
    pub registry: &'a str,
    pub message: &'a str,
    pub hint: Option<&'a str>,
    /// What the command has for the registry, beside what the hint says.
    pub options: ReachOptions,
    /// What fails: an image, or a repository as a whole.
    pub name: &'a str,
    pub is_image: bool,
}

/// What is told at once.
pub enum Group<'a, T> {
    Alone(T),
    /// At least two, of one cause.
    Shared(Vec<Shared<'a>>),
}

/// Failures by their causes, in the order of their first ones.
pub fn grouped<'a, T>(
    all: impl IntoIterator<Item = T>,
    shared: impl Fn(&T) -> Option<Shared<'a>>,
) -> Vec<Group<'a, T>> {
    let mut groups: Vec<Group<'a, T>> = Vec::new();
    let mut first: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    for failed in all {
        let own = shared(&failed);
        let known = own.as_ref().and_then(|own| first.get(&(own.registry, own.hint)).copied());
        match (own, known) {
            (Some(own), Some(at)) => match &mut groups[at] {
                Group::Shared(group) => group.push(own),
                Group::Alone(one) => {
                    let one = shared(one);
                    groups[at] = Group::Shared(one.into_iter().chain([own]).collect());
                }
            },
            (own, _) => {
                own.map(|own| first.insert((own.registry, own.hint), groups.len()));
                groups.push(Group::Alone(failed));
            }
        }
    }
    groups
}

/// So many names are told of a group.
const NAMES: usize = 3;

/// Tells a cause that several failures share, and what it concerns.
pub fn print_shared(group: &[Shared<'_>]) {
    tell_lines(&shared_lines(group));
}

fn shared_lines(group: &[Shared<'_>]) -> Lines {
    let mut lines = Lines::default();
    let Some(Shared { registry, message, hint, options, .. }) = group.first() else { return lines };
    let mut names: Vec<&str> = group.iter().map(|one| one.name).collect();
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(*name));
    let images = group.iter().filter(|one| one.is_image).count();
    let parts = [(images, "image", "images"), (group.len() - images, "repository", "repositories")];
    let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
    let counts: Vec<_> = parts.map(|(count, one, more)| counted(count, one, more)).collect();
    let rest = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    lines.line(format!("FAILED {}: {}{more}", counts.join(" and "), names.join(", ")));
    lines.line(format!("  {registry}: {message}"));
    hint.iter().for_each(|hint| lines.line(format!("  hint: {}", options.beside(hint))));
    lines
}

/// Tells what a command has sent that a signal stopped, and what is the good of it.
pub fn print_interrupted(moved: &TransferTotals, next: &str) {
    tell_line(format!(
        "interrupted: {} sent; complete images and blobs stay at the target, and {next}",
        output::bytes(moved.sent_bytes)
    ));
}

/// Tells that somebody else has stopped what a command follows. `what`: the rule.
pub fn print_stopped_elsewhere(what: &str) {
    tell_line(format!(
        "{what}: interrupted: the run was cancelled in the daemon, or the daemon was stopped"
    ));
}

/// Prints what people should know about a run of a rule.
pub fn print_notes(rule: &str, notes: &[String]) -> Result<(), CliError> {
    notes.iter().try_for_each(|note| output::print_line(format!("{rule}: note: {note}")))
}

/// Tells one failure, and what to do about it.
pub fn print_failure(failure: &Failure) {
    print_failure_beside(ReachOptions::None, failure);
}

/// The same for a command with these options.
pub fn print_failure_beside(options: ReachOptions, failure: &Failure) {
    tell_line(format!("  {failure}"));
    if let Some(hint) = &failure.hint {
        tell_line(format!("  hint: {}", options.beside(hint)));
    }
}

/// What a run of a cleanup rule came to, in a few words.
pub fn cleaned(cleaned: &CleanupSummary) -> String {
    let CleanupSummary { mode, planned, steps, bytes_freed, limited, incomplete, .. } = cleaned;
    let StepCounts { deleted, gone, skipped, refused, failed, not_done } = steps;
    let mut words = match mode {
        Mode::Plan => format!(
            "would delete {} of {} and {} of {}, which frees {}",
            planned.tags_deleted,
            counted(planned.tags, "tag", "tags"),
            planned.manifests_deleted,
            counted(planned.manifests, "manifest", "manifests"),
            output::bytes(planned.bytes_freed)
        ),
        Mode::Apply => format!("deleted {deleted}; {} no longer used", output::bytes(*bytes_freed)),
    };
    words += &output::counts([
        (*gone, "gone before"),
        (skipped + refused, "left alone"),
        (*failed, "FAILED"),
        (*not_done, "not done"),
    ]);
    for (count, what) in [(*limited, "beyond the limits"), (*incomplete, "not known in full")] {
        if count > 0 {
            words.push_str(&format!("; repositories {what}: {count}"));
        }
    }
    words
}

/// How a run ended, in a word.
pub fn outcome(outcome: RunOutcome) -> String {
    match outcome {
        RunOutcome::Failed => "FAILED".to_owned(),
        RunOutcome::Limited => "LIMITED".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_registry_is_told_once() {
        let shared = |registry, hint, name, is_image| Shared {
            registry,
            message: "refused",
            hint: Some(hint),
            options: ReachOptions::None,
            name,
            is_image,
        };
        let all = [
            Some(shared("a.io", "do", "a.io/x:1", true)),
            None,
            Some(shared("b.io", "do", "b.io/x:1", true)),
            Some(shared("a.io", "do", "a.io/x:2", true)),
            Some(shared("a.io", "do", "a.io/x:2", true)),
            Some(shared("a.io", "other", "a.io/x:3", true)),
            Some(shared("a.io", "do", "a.io/x:4", true)),
            Some(shared("a.io", "do", "a.io/y", false)),
        ];
        let groups = grouped(all, Clone::clone);
        let told: Vec<String> = groups
            .iter()
            .map(|group| match group {
                Group::Alone(one) => one.as_ref().map_or("-", |one| one.name).to_owned(),
                Group::Shared(group) => shared_lines(group).as_str().to_owned(),
            })
            .collect();
        let first = "FAILED 4 images and 1 repository: a.io/x:1, a.io/x:2, a.io/x:4 and 1 more\n  a.io: refused\n  hint: do\n";
        assert_eq!(told, [first, "-", "b.io/x:1", "a.io/x:3"]);
    }
}

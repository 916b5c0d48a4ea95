//! `[[cleanup]]` rules as they were meant, written as TOML.

use super::cleanup::{
    CleanupRule, ExcludedPath, Exclusion, Included, Mode, Quarantine, QuarantinePlace,
};
use super::policy::{ClockSource, DeleteRule, Doomed, KeepRule, TagSelector};
use super::show::{Writer, duration, list, patterns, quoted, show_timing};

pub fn show(rule: &CleanupRule, out: &mut Writer) {
    let policy = &rule.policy;
    out.header("[[cleanup]]");
    out.key("name", quoted(&rule.name));
    if let Some(timing) = &rule.timing {
        show_timing(timing, out);
    }
    let included = rule.repositories.included.iter().map(included);
    out.key("repositories", list(included.chain(rule.repositories.excluded.iter().map(exclusion))));
    out.optional("in_use", (!rule.in_use.is_empty()).then(|| list(&rule.in_use)));
    out.key("clock", list(policy.clock.iter().map(|clock: &ClockSource| clock.as_str())));
    out.key("grace", duration(policy.grace));
    let count = policy.max_delete.count.map(|count| format!("count = {count}"));
    let percent = policy.max_delete.percent.map(|percent| format!("percent = {percent}"));
    let limits: Vec<_> = [count, percent].into_iter().flatten().collect();
    out.key("max_delete", format!("{{ {} }}", limits.join(", ")));
    out.key(
        "mode",
        quoted(match rule.mode {
            Mode::Plan => "plan",
            Mode::Apply => "apply",
        }),
    );
    if policy.untag_by_overwriting {
        out.key("untag", quoted("overwrite"));
    }
    if let Some(Quarantine { to, ttl }) = &rule.quarantine {
        let to = match to {
            QuarantinePlace::Folder(folder) => quoted(format!("oci:{}", folder.display())),
            QuarantinePlace::Registry(target) => quoted(format_args!("{target}")),
        };
        out.key("quarantine", format!("{{ to = {to}, ttl = {} }}", duration(*ttl)));
    }
    for rule in &policy.keep {
        show_keep(rule, out);
    }
    for rule in &policy.delete {
        show_delete(rule, out);
    }
}

fn included(included: &Included) -> String {
    match included {
        Included::Registry(pattern) => pattern.to_string(),
        Included::Layouts(pattern) => pattern.to_string(),
    }
}

fn exclusion(exclusion: &Exclusion) -> String {
    fn text(path: &ExcludedPath) -> &str {
        match path {
            ExcludedPath::One(name) => name.as_str(),
            ExcludedPath::Matching(pattern) => pattern.as_str(),
        }
    }
    match exclusion {
        Exclusion::Registry(registry, path) => format!("!{registry}/{}", text(path)),
        Exclusion::Layouts(pattern) => format!("!{pattern}"),
        Exclusion::Everywhere(path) => format!("!{}", text(path)),
    }
}

fn show_keep(rule: &KeepRule, out: &mut Writer) {
    out.header("[[cleanup.keep]]");
    out.key("id", quoted(&rule.id));
    show_selector(&rule.selector, out);
    out.optional("newest", rule.newest);
}

fn show_delete(rule: &DeleteRule, out: &mut Writer) {
    out.header("[[cleanup.delete]]");
    out.key("id", quoted(&rule.id));
    match &rule.what {
        Doomed::Tags { selector, beyond_newest } => {
            show_selector(selector, out);
            out.optional("beyond_newest", *beyond_newest);
        }
        Doomed::Untagged => out.key("untagged", true),
        Doomed::Orphans => out.key("orphans", true),
    }
    out.optional("older_than", rule.older_than.map(duration));
}

fn show_selector(selector: &TagSelector, out: &mut Writer) {
    out.optional("tags", selector.tags.as_ref().map(patterns));
    out.optional("semver", selector.semver.as_ref().map(quoted));
    out.optional("per", selector.per.as_ref().map(quoted));
}

//! `[[cleanup]]` rules as they were meant, written as TOML.

use super::cleanup::{CleanupRule, Quarantine, QuarantinePlace};
use super::policy::{ClockSource, DeleteRule, Doomed, KeepRule, MaxDelete, Policy, TagSelector};
use super::show::{Writer, duration, list, patterns, quoted, show_timing};

pub fn show(rule: &CleanupRule, out: &mut Writer) {
    let policy = &rule.policy;
    out.header("[[cleanup]]");
    out.key("name", quoted(&rule.name));
    if let Some(timing) = &rule.timing {
        show_timing(timing, out);
    }
    out.key("repositories", list(rule.repositories.as_written()));
    out.optional("in_use", (!rule.in_use.is_empty()).then(|| list(&rule.in_use)));
    show_clock(policy, out);
    out.key("max_delete", max_delete(policy.max_delete));
    out.key("mode", quoted(rule.mode.as_str()));
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
    show_lines(policy, out);
}

/// What decides which images go, but for the limits.
pub fn verdicts(policy: &Policy) -> String {
    let mut out = Writer::default();
    show_clock(policy, &mut out);
    show_lines(policy, &mut out);
    out.into_text()
}

fn show_clock(policy: &Policy, out: &mut Writer) {
    out.key("clock", list(policy.clock.iter().map(|clock: &ClockSource| clock.as_str())));
    out.key("grace", duration(policy.grace));
}

pub fn max_delete(limits: MaxDelete) -> String {
    let count = limits.count.map(|count| format!("count = {count}"));
    let percent = limits.percent.map(|percent| format!("percent = {percent}"));
    let limits: Vec<_> = [count, percent].into_iter().flatten().collect();
    format!("{{ {} }}", limits.join(", "))
}

fn show_lines(policy: &Policy, out: &mut Writer) {
    for rule in &policy.keep {
        show_keep(rule, out);
    }
    for rule in &policy.delete {
        show_delete(rule, out);
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

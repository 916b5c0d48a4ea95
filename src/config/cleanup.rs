//! `[[cleanup]]`: which repositories, when, and what goes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checker::Checker;
use super::document::Node;
use super::limits::{self, MaxDelete};
use super::policy::{ClockSource, DeleteKeys, KeepKeys, LineIds, Policy};
use super::repositories::{self, RepositoryEntry};
pub use super::repositories::{ExcludedPath, Exclusion, Included, Repositories};
use super::show::{Writer, inline_table, list, quoted, shown_duration};
use super::source::Target;
use super::text::{self, hinted};
use super::timing::{self, TimingKeys};
use super::{in_use, policy_mark};
use crate::schedule::{Schedule, Timing};

/// One rule, complete and consistent in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanupRule {
    /// Unique among all rules.
    pub name: String,
    /// `None`: the rule runs only when it is asked for.
    pub timing: Option<Timing>,
    pub repositories: Repositories,
    /// The sources of what must stay because it runs somewhere; each is in `Config::in_use`.
    pub in_use: Vec<String>,
    pub policy: Policy,
    pub mode: Mode,
    /// Where what is deleted is copied to before.
    pub quarantine: Option<Quarantine>,
}

/// Whether a rule deletes when its time has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Plan,
    Apply,
}

impl Mode {
    /// As it is written in the configuration, in JSON and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
        }
    }
}

/// Where copies of what is deleted are kept for a while.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// `oci:FOLDER` for a layout of each repository, or repositories of a registry, like
    /// `backup.example.com/quarantine/{repository}`.
    pub to: QuarantinePlace,
    /// How long a copy is kept. Default: `30d`.
    #[serde(default = "default_ttl", deserialize_with = "ttl")]
    #[schemars(with = "Option<String>")]
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuarantinePlace {
    /// A folder in which each repository has a layout: absolute.
    Folder(PathBuf),
    /// Repositories of a registry.
    Registry(Target),
}

text::text_values!(QuarantinePlace);

/// What is done with single tags where the registry deletes by digest only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Untag {
    /// The tag stays.
    #[default]
    Keep,
    /// A placeholder manifest is pushed to the tag and deleted with it.
    Overwrite,
}

/// The keys of a rule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cleanup")]
pub(super) struct CleanupKeys {
    /// The rule's name in reports, logs and on the command line; unique among all rules.
    #[serde(deserialize_with = "text::rule_name")]
    name: String,
    /// When the daemon runs the rule: minute, hour, day of month, month, weekday.
    schedule: Option<Schedule>,
    /// Time zone of `schedule`, like `Europe/Berlin`. Default: UTC.
    #[serde(default, deserialize_with = "text::time_zone")]
    #[schemars(with = "Option<String>")]
    timezone: Option<TimeZone>,
    /// Instead of `schedule`: the time from one run to the next, like `24h`.
    #[serde(default, deserialize_with = "text::duration")]
    #[schemars(with = "Option<String>")]
    every: Option<Duration>,
    /// Whether the rule also runs when the daemon starts. Default: true with `every`, false with
    /// `schedule`.
    run_at_start: Option<bool>,
    /// Each run begins later by a random time up to this, like `5m`. Default: `0s`.
    #[serde(default, deserialize_with = "text::duration")]
    #[schemars(with = "Option<String>")]
    jitter: Option<Duration>,
    /// Repositories and patterns of them, and layouts like `oci:/srv/images/**`; those with `!` in
    /// front are left out.
    repositories: Vec<RepositoryEntry>,
    /// What runs somewhere stays: names of `[in_use.NAME]`. Where one of them cannot be had,
    /// nothing is deleted.
    in_use: Option<Vec<String>>,
    /// Tags that stay, whatever `delete` says.
    #[serde(default)]
    keep: Vec<KeepKeys>,
    /// What goes: tags, manifests without tags, orphans.
    delete: Vec<DeleteKeys>,
    /// Who says how old an image is; the first that says anything. Default: `pushed`,
    /// `first_seen`.
    clock: Option<Vec<ClockSource>>,
    /// What is younger is not touched. Default: `48h`.
    #[serde(default = "default_grace", deserialize_with = "text::duration")]
    #[schemars(with = "Option<String>")]
    grace: Duration,
    /// The most that one run may delete in one repository; a plan beyond it deletes nothing.
    /// Default: 200 and 20 percent.
    max_delete: Option<MaxDelete>,
    /// Whether the daemon deletes, or only plans. Default: `plan`.
    #[serde(default)]
    mode: Mode,
    /// Where what is deleted is copied to before, and for how long. Default: nowhere.
    quarantine: Option<Quarantine>,
    /// What is done with single tags where the registry deletes by digest only. Default: `keep`.
    #[serde(default)]
    untag: Untag,
}

fn default_grace() -> Duration {
    Duration::from_secs(48 * 60 * 60)
}

fn default_ttl() -> Duration {
    Duration::from_secs(30 * 24 * 60 * 60)
}

fn ttl<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match text::duration(deserializer)? {
        Duration::ZERO => {
            Err(serde::de::Error::custom("what is kept for no time cannot be brought back"))
        }
        ttl => Ok(ttl),
    }
}

impl FromStr for QuarantinePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("oci:") {
            Some("") => return Err("`oci:` needs a folder".to_owned()),
            Some(folder) => return Ok(Self::Folder(folder.into())),
            None => {}
        }
        let target: Target = text::parsed(text)?;
        // Two repositories must not share one: what expires of one would be looked for in the
        // other.
        if target.template.is_constant() {
            let message = format!("`{text}` puts every repository into the same one");
            return Err(hinted(message, "add {repository} or {repository|flatten}"));
        }
        Ok(Self::Registry(target))
    }
}

impl CleanupKeys {
    /// `sources` are the names of all `[in_use.NAME]`.
    pub fn check(self, sources: &[&str], node: Node<'_>, checker: &mut Checker<'_>) -> CleanupRule {
        let timing = TimingKeys {
            schedule: self.schedule,
            timezone: self.timezone,
            every: self.every,
            run_at_start: self.run_at_start,
            jitter: self.jitter,
        };
        let mut quarantine = self.quarantine;
        if let Some(Quarantine { to: QuarantinePlace::Folder(folder), .. }) = &mut quarantine {
            *folder = checker.folder.join(&*folder);
        }
        if let Some(names) = &self.in_use {
            in_use::check_names(names, sources, node.get("in_use"), checker);
        }
        let (keep, delete) = (node.get("keep"), node.get("delete"));
        if self.delete.is_empty() && delete.is_sound() {
            let message = "without a line in `delete` the rule deletes nothing";
            checker.report(delete.span(), message);
        }
        let keeps_nothing = self.keep.is_empty() && keep.is_sound();
        let mut ids = LineIds::default();
        let keep = self.keep.into_iter().zip(keep.items());
        let keep = keep.map(|(line, node)| line.check(&mut ids, node, checker)).collect();
        let delete = self.delete.into_iter().zip(delete.items());
        let delete =
            delete.map(|(line, node)| line.check(keeps_nothing, &mut ids, node, checker)).collect();
        let policy = Policy {
            keep,
            delete,
            clock: check_clock(self.clock, node.get("clock"), checker),
            grace: self.grace,
            max_delete: limits::check(self.max_delete, node.get("max_delete"), checker),
            untag_by_overwriting: self.untag == Untag::Overwrite,
        };
        let deletes = self.mode == Mode::Apply;
        let repositories =
            repositories::check(self.repositories, deletes, node.get("repositories"), checker);
        CleanupRule {
            name: self.name,
            timing: timing.check(node, checker),
            repositories,
            in_use: self.in_use.unwrap_or_default(),
            policy,
            mode: self.mode,
            quarantine,
        }
    }
}

fn check_clock(
    clock: Option<Vec<ClockSource>>,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> Vec<ClockSource> {
    let Some(clock) = clock else { return vec![ClockSource::Pushed, ClockSource::FirstSeen] };
    if clock.is_empty() && node.is_sound() {
        let message = "an empty list tells no age: leave the key out or name a clock";
        checker.report(node.span(), message);
    }
    if clock.iter().enumerate().any(|(n, source)| clock[..n].contains(source)) {
        checker.report(node.span(), "a clock stands here twice");
    }
    clock
}

impl CleanupRule {
    /// The identity of the rule's policy: different where other images would go (the limits
    /// aside), and the same for ever for this policy, whatever the rule is called and wherever it
    /// applies.
    pub fn mark(&self) -> u64 {
        policy_mark::mark(&self.policy)
    }

    pub(super) fn show(&self, out: &mut Writer) {
        let Self { name, timing, repositories, in_use, policy, mode, quarantine } = self;
        out.header("[[cleanup]]");
        out.key("name", quoted(name));
        if let Some(timing) = timing {
            timing::show(timing, out);
        }
        out.key("repositories", list(repositories.as_written()));
        out.optional("in_use", (!in_use.is_empty()).then(|| list(in_use)));
        out.key("clock", list(policy.clock.iter().map(|clock| clock.as_str())));
        out.key("grace", shown_duration(policy.grace));
        out.key("max_delete", policy.max_delete);
        out.key("mode", quoted(mode.as_str()));
        if policy.untag_by_overwriting {
            out.key("untag", quoted("overwrite"));
        }
        if let Some(Quarantine { to, ttl }) = quarantine {
            let parts = [format!("to = {}", quoted(to)), format!("ttl = {}", shown_duration(*ttl))];
            out.key("quarantine", inline_table(parts));
        }
        for line in &policy.keep {
            line.show(out);
        }
        for line in &policy.delete {
            line.show(out);
        }
    }
}

/// As it stands in a rule.
impl fmt::Display for QuarantinePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "oci:{}", folder.display()),
            Self::Registry(target) => target.fmt(f),
        }
    }
}

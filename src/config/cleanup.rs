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
use super::text::{self, Period, hinted};
use super::timing::{self, TimingKeys};
use super::{in_use, policy_mark};
use crate::oci::RegistryHost;
use crate::schedule::{Schedule, Timing};
use crate::text::display_as_serialized;

/// A validated `[[cleanup]]` rule.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanupRule {
    /// Unique among all rules.
    pub name: String,
    /// `None`: the rule runs only on request.
    pub timing: Option<Timing>,
    pub repositories: Repositories,
    /// Lists of images in use; each is in `Config::in_use`.
    pub in_use: Vec<String>,
    pub policy: Policy,
    pub mode: Mode,
    /// Where manifests are copied before they are deleted.
    pub quarantine: Option<Quarantine>,
}

/// Whether the daemon deletes, or only plans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Plan,
    Apply,
}

display_as_serialized!(Mode);

/// Where copies of deleted manifests are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// `oci:FOLDER`, with one layout per repository; or a registry and a path template, such as
    /// `backup.example.com/quarantine/{repository}`.
    pub to: QuarantinePlace,
    /// How long a copy is kept. Default: `30d`.
    #[serde(default = "default_ttl", deserialize_with = "ttl")]
    #[schemars(with = "Option<String>")]
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuarantinePlace {
    /// Absolute path of a folder with one layout per repository.
    Folder(PathBuf),
    /// A registry and a path template.
    Registry(Target),
}

text::text_values!(QuarantinePlace);

/// What to do with a tag whose manifest stays, if the registry cannot delete a single tag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Untag {
    /// Keep the tag.
    #[default]
    Keep,
    /// Move the tag to a placeholder manifest and delete that. Requires the right to push.
    Overwrite,
}

/// The keys of a rule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cleanup")]
pub(super) struct CleanupKeys {
    /// Name of the rule; unique among all rules.
    #[serde(deserialize_with = "text::rule_name")]
    name: String,
    /// When the daemon runs the rule, in cron format: minute, hour, day of month, month, weekday.
    schedule: Option<Schedule>,
    /// Time zone of `schedule`, such as `Europe/Berlin`. Default: UTC.
    #[serde(default, deserialize_with = "text::time_zone")]
    #[schemars(with = "Option<String>")]
    timezone: Option<TimeZone>,
    /// Interval between runs, such as `24h`; instead of `schedule`.
    every: Option<Period>,
    /// Also run the rule when the daemon starts. Default: true with `every`, false with `schedule`.
    run_at_start: Option<bool>,
    /// Delay each run by a random time of at most this long, such as `5m`. Default: `0s`.
    jitter: Option<Period>,
    /// Repositories, patterns of repositories, and layouts such as `oci:/srv/images/**`. Entries
    /// with a leading `!` are excluded.
    repositories: Vec<RepositoryEntry>,
    /// Names of `[in_use.NAME]` lists whose images are kept. If one of them cannot be read, nothing
    /// is deleted.
    in_use: Option<Vec<String>>,
    /// What to keep, whatever `delete` says.
    #[serde(default)]
    keep: Vec<KeepKeys>,
    /// What to delete.
    delete: Vec<DeleteKeys>,
    /// How to find the age of an image; the first that is known is used. Default: `pushed`,
    /// `first_seen`.
    clock: Option<Vec<ClockSource>>,
    /// Never delete anything younger than this. Default: `48h`.
    grace: Option<Period>,
    /// Limit on what one run may delete in one repository; a plan beyond it deletes nothing.
    /// Default: 200 and 20 percent.
    max_delete: Option<MaxDelete>,
    /// Whether the daemon only plans, or also deletes. Default: `plan`.
    #[serde(default)]
    mode: Mode,
    /// Copy everything to this place before it is deleted. Default: none.
    quarantine: Option<Quarantine>,
    /// What to do with a tag whose manifest stays, if the registry cannot delete a single tag.
    /// Default: `keep`.
    #[serde(default)]
    untag: Untag,
}

const DEFAULT_GRACE: Duration = Duration::from_hours(48);

fn default_ttl() -> Duration {
    Duration::from_secs(30 * 24 * 60 * 60)
}

fn ttl<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match text::duration(deserializer)? {
        Duration::ZERO => {
            Err(serde::de::Error::custom("what is kept for no time cannot be restored"))
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
    /// `sources`: the names of all `[in_use.NAME]` tables.
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
        if self.delete.is_empty() && delete.is_usable() {
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
            grace: self.grace.map_or(DEFAULT_GRACE, Duration::from),
            max_delete: limits::check(self.max_delete, node.get("max_delete"), checker),
            untag_by_overwriting: self.untag == Untag::Overwrite,
        };
        let deletes = self.mode == Mode::Apply || checker.is_applied(&self.name);
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
        let message = "an empty list gives no age: leave the key out or name a clock";
        checker.report(node.span(), message);
    }
    if clock.iter().enumerate().any(|(n, source)| clock[..n].contains(source)) {
        checker.report(node.span(), "a clock is listed twice");
    }
    clock
}

/// The policy of a rule that the configuration may not have any more, without its limits. `text`:
/// its [`CleanupRule::policy_text`]. `None`: it cannot be understood.
pub fn former_policy(text: &str) -> Option<Policy> {
    policy_mark::read(text)
}

impl CleanupRule {
    /// The registries of its repositories and of its quarantine.
    pub fn registries(&self) -> impl Iterator<Item = &RegistryHost> {
        let included = self.repositories.included.iter().filter_map(|included| match included {
            Included::Registry(pattern) => pattern.store.registry(),
            Included::Layouts(_) => None,
        });
        let quarantine = self.quarantine.as_ref().and_then(|quarantine| match &quarantine.to {
            QuarantinePlace::Registry(target) => target.store.registry(),
            QuarantinePlace::Folder(_) => None,
        });
        included.chain(quarantine)
    }

    /// Identity of the policy: the same for every rule with the same policy, and different if the
    /// rule would delete other images. Limits, name and repositories do not matter. It must never
    /// change for a given policy.
    pub fn mark(&self) -> u64 {
        policy_mark::mark(&self.policy)
    }

    /// The policy as text, which [`former_policy`] reads.
    pub fn policy_text(&self) -> String {
        policy_mark::text(&self.policy)
    }

    pub(super) fn show(&self, out: &mut Writer) {
        let Self { name, timing, repositories, in_use, policy, mode, quarantine } = self;
        out.header("[[cleanup]]");
        out.key("name", quoted(name));
        timing::show(timing.as_ref(), out);
        out.key("repositories", list(repositories.as_written()));
        out.optional("in_use", (!in_use.is_empty()).then(|| list(in_use)));
        out.key("clock", list(policy.clock.iter().map(|clock| clock.as_str())));
        out.key("grace", shown_duration(policy.grace));
        out.key("max_delete", policy.max_delete);
        out.key("mode", quoted(mode));
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

/// As written in a rule.
impl fmt::Display for QuarantinePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "oci:{}", folder.display()),
            Self::Registry(target) => target.fmt(f),
        }
    }
}

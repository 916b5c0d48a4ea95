//! `[[cleanup]]` as it was typed. `read_cleanup` makes what was meant of it.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_spanned::Spanned;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cleanup")]
pub struct RawCleanup {
    /// The rule's name in reports, logs and on the command line; unique among all rules.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// When the daemon runs the rule: minute, hour, day of month, month, weekday.
    #[schemars(with = "Option<String>")]
    pub schedule: Option<Spanned<String>>,
    /// Time zone of `schedule`, like `Europe/Berlin`. Default: UTC.
    #[schemars(with = "Option<String>")]
    pub timezone: Option<Spanned<String>>,
    /// Instead of `schedule`: the time from one run to the next, like `24h`.
    #[schemars(with = "Option<String>")]
    pub every: Option<Spanned<String>>,
    /// Whether the rule also runs when the daemon starts. Default: true with `every`, false with
    /// `schedule`.
    #[schemars(with = "Option<bool>")]
    pub run_at_start: Option<Spanned<bool>>,
    /// Each run begins later by a random time up to this, like `5m`. Default: `0s`.
    #[schemars(with = "Option<String>")]
    pub jitter: Option<Spanned<String>>,
    /// Repositories and patterns of them, and layouts like `oci:/srv/images/**`; those with `!` in
    /// front are left out.
    #[schemars(with = "Vec<String>")]
    pub repositories: Spanned<Vec<Spanned<String>>>,
    /// What runs somewhere stays: names of `[in_use.NAME]`. Where one of them cannot be had,
    /// nothing is deleted.
    #[schemars(with = "Option<Vec<String>>")]
    pub in_use: Option<Spanned<Vec<Spanned<String>>>>,
    /// Tags that stay, whatever `delete` says.
    #[serde(default)]
    pub keep: Vec<RawKeep>,
    /// What goes: tags, manifests without tags, orphans.
    #[schemars(with = "Vec<RawDelete>")]
    pub delete: Spanned<Vec<RawDelete>>,
    /// Who says how old an image is; the first that says anything. Default: `pushed`,
    /// `first_seen`.
    #[schemars(with = "Option<Vec<RawClock>>")]
    pub clock: Option<Spanned<Vec<RawClock>>>,
    /// What is younger is not touched. Default: `48h`.
    #[schemars(with = "Option<String>")]
    pub grace: Option<Spanned<String>>,
    /// The most that one run may delete in one repository; a plan beyond it deletes nothing.
    /// Default: 200 and 20 percent.
    #[schemars(with = "Option<RawMaxDelete>")]
    pub max_delete: Option<Spanned<RawMaxDelete>>,
    /// Whether the daemon deletes, or only plans. Default: `plan`.
    pub mode: Option<RawMode>,
    /// Where what is deleted is copied to before, and for how long. Default: nowhere.
    pub quarantine: Option<RawQuarantine>,
    /// What is done with single tags where the registry deletes by digest only. Default: `keep`.
    pub untag: Option<RawUntag>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Keep")]
pub struct RawKeep {
    /// The name of this line in plans; unique among `keep` and `delete`.
    #[schemars(with = "String")]
    pub id: Spanned<String>,
    /// Tags, globs or `/regular expressions/`.
    #[schemars(with = "Option<Vec<String>>")]
    pub tags: Option<Spanned<Vec<Spanned<String>>>>,
    /// Versions in this range, like `>=1.2, <3`.
    #[schemars(with = "Option<String>")]
    pub semver: Option<Spanned<String>>,
    /// Only so many of the newest images. Default: all.
    pub newest: Option<NonZeroU32>,
    /// What `newest` counts within: `major`, `minor`, or the group of a `/regular expression/`.
    #[schemars(with = "Option<String>")]
    pub per: Option<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Delete")]
pub struct RawDelete {
    /// The name of this line in plans; unique among `keep` and `delete`.
    #[schemars(with = "String")]
    pub id: Spanned<String>,
    /// Tags, globs or `/regular expressions/`.
    #[schemars(with = "Option<Vec<String>>")]
    pub tags: Option<Spanned<Vec<Spanned<String>>>>,
    /// Versions in this range, like `<1`.
    #[schemars(with = "Option<String>")]
    pub semver: Option<Spanned<String>>,
    /// Only what is at least so old, like `30d`.
    #[schemars(with = "Option<String>")]
    pub older_than: Option<Spanned<String>>,
    /// Only what is not among so many of the newest images.
    pub beyond_newest: Option<NonZeroU32>,
    /// What `beyond_newest` counts within: `major`, `minor`, or the group of a
    /// `/regular expression/`.
    #[schemars(with = "Option<String>")]
    pub per: Option<Spanned<String>>,
    /// `true`: manifests without tags that belong to nothing.
    #[schemars(with = "Option<bool>")]
    pub untagged: Option<Spanned<bool>>,
    /// `true`: signatures and the like whose image is gone.
    #[schemars(with = "Option<bool>")]
    pub orphans: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Clock")]
pub enum RawClock {
    Pushed,
    FirstSeen,
    Created,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MaxDelete")]
pub struct RawMaxDelete {
    /// So many tags, and so many manifests.
    pub count: Option<u32>,
    /// Of all tags, and of all manifests, rounded down.
    #[schemars(with = "Option<u8>")]
    pub percent: Option<Spanned<u8>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Quarantine")]
pub struct RawQuarantine {
    /// `oci:FOLDER` for a layout of each repository, or repositories of a registry, like
    /// `backup.example.com/quarantine/{repository}`.
    #[schemars(with = "String")]
    pub to: Spanned<String>,
    /// How long a copy is kept. Default: `30d`.
    #[schemars(with = "Option<String>")]
    pub ttl: Option<Spanned<String>>,
}

#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Untag")]
pub enum RawUntag {
    /// The tag stays.
    Keep,
    /// Something of no use is pushed to the tag and deleted with it.
    Overwrite,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Mode")]
pub enum RawMode {
    Plan,
    Apply,
}

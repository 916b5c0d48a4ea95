//! What is wrong with a rule.

use super::{copying, errors, rule, rules};

refused!(everything_wrong_is_reported_in_order, r#"
[[sync]]
name = ""
schedule = "0 25 * * *"
source = "ghcr.io/Acme/app"
target = "r.io/{nam}"
platforms = ["linux", "linux/arm64"]
recheck = "soon"

[registry."ghcr.io"]
username = "u"
"#, @r#"
tranship.toml:2:8: a rule's name must not be empty
    2 | name = ""
      |        ^^

tranship.toml:3:12: `25` cannot be the hour of a schedule: expected 0 to 23, `*`, `a-b`, `a,b` or `*/n`
    3 | schedule = "0 25 * * *"
      |            ^^^^^^^^^^^^

tranship.toml:4:10: `Acme/app` is not a repository name: upper-case letters are not allowed
    4 | source = "ghcr.io/Acme/app"
      |          ^^^^^^^^^^^^^^^^^^

tranship.toml:5:10: unknown variable `nam`: allowed are `repository`, `tail`, `name`, `namespace`, `registry`
    5 | target = "r.io/{nam}"
      |          ^^^^^^^^^^^^

tranship.toml:6:14: `linux` is not a platform: expected `os/architecture` or `os/architecture/variant`, like `linux/arm64`
    6 | platforms = ["linux", "linux/arm64"]
      |              ^^^^^^^

tranship.toml:7:11: `soon` is not a duration
    7 | recheck = "soon"
      |           ^^^^^^
hint: write a number with its unit, like 90s, 15m, 24h or 7d

tranship.toml:10:12: `username` of ghcr.io needs `password` beside it
   10 | username = "u"
      |            ^^^
"#);

refused!(a_duplicate_name, r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/a"
target = "r.io/a"

[[sync]]
name = "r"
source = "ghcr.io/acme/b"
target = "r.io/b"
"#, @r#"
tranship.toml:7:8: duplicate rule name `r`: line 2 has it already
    7 | name = "r"
      |        ^^^
"#);

refused!(texts_that_are_not_schedules, rules([r#"schedule = "@daily""#, r#"schedule = "0 0 30 2 *""#]), @r#"
tranship.toml:5:12: `@daily` has 1 of the 5 fields of a schedule: minute, hour, day of month, month, weekday
    5 | schedule = "@daily"
      |            ^^^^^^^^
hint: write `schedule = "0 0 * * *"`

tranship.toml:11:12: `0 0 30 2 *` never fires: no such month has such a day
   11 | schedule = "0 0 30 2 *"
      |            ^^^^^^^^^^^^
"#);

refused!(two_triggers, rule(r#"
schedule = "0 0 * * *"
every = "15m"
"#), @r#"
tranship.toml:6:9: a rule has either `schedule` or `every`, not both
    6 | every = "15m"
      |         ^^^^^
"#);

refused!(jitter_and_starts_that_do_not_fit, rules([r#"
every = "10m"
jitter = "600s"
"#, r#"
run_at_start = true
jitter = "5"
"#]), @r#"
tranship.toml:6:10: `jitter` must be shorter than `every`
    6 | jitter = "600s"
      |          ^^^^^^

tranship.toml:12:16: `run_at_start` belongs to a `schedule` or `every`, and there is neither
   12 | run_at_start = true
      |                ^^^^

tranship.toml:13:10: `5` is not a duration
   13 | jitter = "5"
      |          ^^^
hint: write a number with its unit, like 90s, 15m, 24h or 7d

tranship.toml:13:10: `jitter` belongs to a `schedule` or `every`, and there is neither
   13 | jitter = "5"
      |          ^^^
"#);

refused!(unusable_time_zones, rules([r#"
schedule = "0 0 * * *"
timezone = "Europe/Atlantis""#, r#"timezone = "UTC"
"#]), @r#"
tranship.toml:6:12: `Europe/Atlantis` is not a time zone of this machine's database
    6 | timezone = "Europe/Atlantis"
      |            ^^^^^^^^^^^^^^^^^
hint: name a city, like Europe/Berlin, or UTC

tranship.toml:12:12: `timezone` belongs to a `schedule`, and there is none
   12 | timezone = "UTC"
      |            ^^^^^
"#);

refused!(unusable_durations, rules([r#"every = "15""#, r#"
every = "1ms"
recheck = "1 fortnight"
"#]), @r#"
tranship.toml:5:9: `15` is not a duration
    5 | every = "15"
      |         ^^^^
hint: write a number with its unit, like 90s, 15m, 24h or 7d

tranship.toml:11:9: `every` must be a second or more
   11 | every = "1ms"
      |         ^^^^^

tranship.toml:12:11: `1 fortnight` is not a duration
   12 | recheck = "1 fortnight"
      |           ^^^^^^^^^^^^^
hint: write a number with its unit, like 90s, 15m, 24h or 7d
"#);

refused!(no_platform, rule("platforms = []"), @r#"
tranship.toml:5:13: an empty list selects no platform: leave the key out for all
    5 | platforms = []
      |             ^^
"#);

refused!(a_malformed_pattern, copying("ghcr.io/acme/app**", "r.io/{tail}"), @r#"
tranship.toml:3:10: `**` in `acme/app**` must be a part of its own, as in `acme/**` or `**/app`
    3 | source = "ghcr.io/acme/app**"
      |          ^^^^^^^^^^^^^^^^^^^^
"#);

refused!(a_pattern_with_a_tag, copying("ghcr.io/acme/*:v1", "r.io/{tail}"), @r#"
tranship.toml:3:10: `acme/*:v1` cannot be a pattern of repositories with a tag or digest
    3 | source = "ghcr.io/acme/*:v1"
      |          ^^^^^^^^^^^^^^^^^^^
hint: select tags with `tags`
"#);

refused!(a_source_of_an_unknown_kind, copying("dir:/srv/image", "r.io/a"), @r#"
tranship.toml:3:10: `dir:` is not supported: use oci:DIR or oci-archive:FILE, into which `skopeo copy` converts it
    3 | source = "dir:/srv/image"
      |          ^^^^^^^^^^^^^^^^
"#);

#[test]
fn layouts_that_cannot_be_sources_or_targets() {
    let error = |source: &str, target: &str| {
        let text =
            format!("[[sync]]\nname = \"r\"\nsource = \"{source}\"\ntarget = \"{target}\"\n");
        errors(&text)
    };
    for (source, target, expected) in [
        ("oci:/srv/app", "oci:/srv/app", "the target is the source itself"),
        ("oci:/srv/**", "oci:/mirror/app", "puts different repositories"),
        ("oci:/srv/**", "oci-archive:/mirror.tar", "puts different repositories"),
        ("r.io/app", "oci:/mirror/app:v1", "must not name a tag or digest"),
        ("r.io/app", "oci:/mirror/{name}:v1", "must not name a tag or digest"),
        ("r.io/app", "oci:", "needs a path"),
        ("oci:/srv/**:v1", "r.io/app/{tail}", "names an image"),
        ("oci:/srv/app", "oci:/mirror/{registry}/{name}", "the source is on disk"),
    ] {
        let found = error(source, target);
        assert!(found.contains(expected), "{source} to {target}: {found}");
    }
}

refused!(tags_given_twice, r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app:v1"
target = "r.io/app"
tags = { latest = 3 }
"#, @r#"
tranship.toml:5:8: `source` says which tag to copy: remove it there, or `tags`
    5 | tags = { latest = 3 }
      |        ^^^^^^^^^^^^^^
"#);

refused!(tags_of_a_digest, r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
target = "r.io/app"
tags = { latest = 3 }
"#, @r#"
tranship.toml:5:8: `source` says which tag to copy: remove it there, or `tags`
    5 | tags = { latest = 3 }
      |        ^^^^^^^^^^^^^^
"#);

refused!(malformed_tag_patterns, rule(r#"
tags = { include = ["a b", "v["], exclude = ["/(/"], semver = "newest" }
immutable = ["!x"]
"#), @r#"
tranship.toml:5:21: `a b` is not a tag: expected at most 128 of `A-Za-z0-9_.-`, not starting with `.` or `-`
    5 | tags = { include = ["a b", "v["], exclude = ["/(/"], semver = "newest" }
      |                     ^^^^^

tranship.toml:5:28: `v[` is not a glob: unclosed character class; missing ']'
    5 | tags = { include = ["a b", "v["], exclude = ["/(/"], semver = "newest" }
      |                            ^^^^

tranship.toml:5:46: `/(/` is not a regular expression: unclosed group
    5 | tags = { include = ["a b", "v["], exclude = ["/(/"], semver = "newest" }
      |                                              ^^^^^

tranship.toml:5:63: `newest` is not a range of versions: unexpected character 'n' while parsing major version number
    5 | tags = { include = ["a b", "v["], exclude = ["/(/"], semver = "newest" }
      |                                                               ^^^^^^^^
hint: write it like >=1.2, <3 or ~1.4

tranship.toml:6:14: `!x` matches no tag: a list has no negation, use `exclude`
    6 | immutable = ["!x"]
      |              ^^^^
"#);

refused!(tags_that_select_nothing, r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = "r.io/app"
tags = { include = [] }

[[sync]]
name = "s"
source = "ghcr.io/acme/app"
target = "r.io/app"
tags = { include = ["a"], exclude = ["a"] }
"#, @r#"
tranship.toml:5:20: an empty list selects no tags: leave the key out or name some
    5 | tags = { include = [] }
      |                    ^^

tranship.toml:11:8: these tags select nothing: `exclude` wins over `include`
   11 | tags = { include = ["a"], exclude = ["a"] }
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"#);

refused!(a_range_with_nothing_to_narrow, rule(r#"tags = { include = ["latest"], semver = ">=1" }"#), @r#"
tranship.toml:5:41: `semver` has nothing to narrow: `include` holds only literal tags
    5 | tags = { include = ["latest"], semver = ">=1" }
      |                                         ^^^^^
hint: add a pattern, such as "*", to `include`
"#);

refused!(a_malformed_template, copying("ghcr.io/acme/**", "r.io/{tail|upper}"), @r#"
tranship.toml:4:10: unknown filter `upper`: allowed are `flatten`, `lower`
    4 | target = "r.io/{tail|upper}"
      |          ^^^^^^^^^^^^^^^^^^^
"#);

refused!(targets_without_a_registry_or_with_a_tag, copying("ghcr.io/acme/app", ["acme/app", "r.io/app:v1", "r.io/App"]), @r#"
tranship.toml:4:11: the target `acme/app` names no registry
    4 | target = ["acme/app", "r.io/app:v1", "r.io/App"]
      |           ^^^^^^^^^^
hint: start it with the host, like registry.example.com/path or docker.io/path

tranship.toml:4:23: the target `r.io/app:v1` must not name a tag or digest
    4 | target = ["acme/app", "r.io/app:v1", "r.io/App"]
      |                       ^^^^^^^^^^^^^
hint: images keep their tags; choose them with `tags`

tranship.toml:4:38: `App` makes no repository name: `App` is not a repository name: upper-case letters are not allowed
    4 | target = ["acme/app", "r.io/app:v1", "r.io/App"]
      |                                      ^^^^^^^^^^
"#);

refused!(no_target, r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = []
"#, @r#"
tranship.toml:4:10: a rule needs at least one target
    4 | target = []
      |          ^^
"#);

#[test]
fn remove_extra_needs_a_source_with_tags() {
    let text = format!(
        "[[sync]]\nname = \"a\"\nsource = \"r.io/a\"\ntarget = \"t.io/a\"\nmax_delete = {{ count = 5 }}\n\
         [[sync]]\nname = \"b\"\nsource = \"r.io/b@sha256:{}\"\ntarget = \"t.io/b\"\nremove_extra = true\n\
         [[sync]]\nname = \"c\"\nsource = \"r.io/c\"\ntarget = \"t.io/c\"\nremove_extra = true\nmax_delete = {{}}\n",
        "a".repeat(64)
    );
    insta::assert_snapshot!(errors(&text), @r"
    tranship.toml:5:14: `max_delete` limits `remove_extra`, which is not set
        5 | max_delete = { count = 5 }
          |              ^^^^^^^^^^^^^
    hint: add remove_extra = true

    tranship.toml:10:16: `remove_extra` needs a source whose tags can go: a digest has none
       10 | remove_extra = true
          |                ^^^^

    tranship.toml:16:14: an empty table limits nothing
       16 | max_delete = {}
          |              ^^
    hint: write count = 200 or percent = 20, or leave it out for both
    ");
}

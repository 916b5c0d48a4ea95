//! Texts that are not TOML, or not of the right shape.

use super::{copying, password, registry, rule};

refused!(broken_syntax, r#"
[[sync]]
name = "r
source = 1
"#, @r#"
tranship.toml:1:1: key `target` is missing in [[sync]]
    1 | [[sync]]
      | ^^^^^^^^

tranship.toml:2:10: invalid basic string, expected `"`
    2 | name = "r
      |          ^

tranship.toml:3:10: expected a string or a list of strings, found a whole number
    3 | source = 1
      |          ^
"#);

refused!(a_key_given_twice, r#"
[daemon]
state = "a"
state = "b"
"#, @r#"
tranship.toml:3:1: duplicate key
    3 | state = "b"
      | ^^^^^
"#);

refused!(an_unknown_key_of_a_rule, rule(r#"tegs = { include = ["v*"] }"#), @r#"
tranship.toml:5:1: unknown key `tegs` in [[sync]] (did you mean `tags`?)
    5 | tegs = { include = ["v*"] }
      | ^^^^
hint: allowed here: name, schedule, timezone, every, run_at_start, jitter, source, target, tags, platforms, index, referrers, on_conflict, recheck, foreign_layers, immutable, remove_extra, max_delete
"#);

refused!(an_unknown_key_at_the_top, r#"
[demon]
state = "a"
"#, @r#"
tranship.toml:1:2: unknown key `demon` at the top level (did you mean `daemon`?)
    1 | [demon]
      |  ^^^^^
hint: allowed here: daemon, include, defaults, registry, events, notify, in_use, sync, cleanup
"#);

refused!(an_unknown_key_of_the_tags, rule(r#"tags = { includes = ["v*"] }"#), @r#"
tranship.toml:5:10: unknown key `includes` in `tags` of [[sync]] (did you mean `include`?)
    5 | tags = { includes = ["v*"] }
      |          ^^^^^^^^
hint: allowed here: include, exclude, semver, newest, prereleases, latest
"#);

refused!(an_unknown_key_far_from_any, r#"
[daemon]
frobnicate = 1
"#, @r#"
tranship.toml:2:1: unknown key `frobnicate` in [daemon]
    2 | frobnicate = 1
      | ^^^^^^^^^^
hint: allowed here: listen, state, token, grace, transfers, stall_after, history
"#);

refused!(an_unknown_key_of_a_secret, password(r#"{ literal = "hunter2" }"#), @r#"
tranship.toml:3:14: unknown key `literal` in `password` of [registry."ghcr.io"]
    3 | password = …
      |            ^
hint: allowed here: env, file, command
"#);

refused!(an_unknown_key_that_may_hold_a_secret, registry(r#"passwd = "hunter2""#), @r#"
tranship.toml:2:1: unknown key `passwd` in [registry."ghcr.io"] (did you mean `password`?)
    2 | passwd = …
      | ^^^^^^
hint: write `password = { env = "REGISTRY_PASSWORD" }`
"#);

refused!(a_missing_key, r#"
[[sync]]
name = "r"
target = "r.io/app"
"#, @r#"
tranship.toml:1:1: key `source` is missing in [[sync]]
    1 | [[sync]]
      | ^^^^^^^^
"#);

refused!(a_wrong_type, rule(r#"referrers = "yes""#), @r#"
tranship.toml:5:13: expected a boolean, found a string
    5 | referrers = "yes"
      |             ^^^^^
hint: write `referrers = true`
"#);

refused!(a_wrong_type_in_a_list, r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = ["r.io/app", 5]
"#, @r#"
tranship.toml:4:23: expected a string, found a whole number
    4 | target = ["r.io/app", 5]
      |                       ^
"#);

refused!(a_target_of_a_wrong_type, copying("ghcr.io/acme/app", 5), @r#"
tranship.toml:4:10: expected a string or a list of strings, found a whole number
    4 | target = 5
      |          ^
"#);

refused!(a_single_bracket, r#"
[sync]
name = "r"
source = "ghcr.io/acme/app"
target = "r.io/app"
"#, @r#"
tranship.toml:1:1: expected a list, found a table
    1 | [sync]
      | ^^^^^^
hint: every rule starts with `[[sync]]`
"#);

refused!(a_number_out_of_range, rule("tags = { latest = 0 }"), @r#"
tranship.toml:5:19: expected a whole number of 1 or more
    5 | tags = { latest = 0 }
      |                   ^
"#);

refused!(an_unknown_word, rule(r#"on_conflict = "overwirte""#), @r#"
tranship.toml:5:15: `overwirte` is not allowed here (did you mean `overwrite`?)
    5 | on_conflict = "overwirte"
      |               ^^^^^^^^^^^
hint: allowed here: overwrite, keep, fail
"#);

refused!(a_wrong_type_does_not_show_its_value, password(r#"{ command = "hunter2" }"#), @r#"
tranship.toml:3:24: expected a list, found a string
    3 | password = …
      |            ^
"#);

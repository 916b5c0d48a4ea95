//! What is no TOML, or not of the right shape: the first error, with its place.

use super::errors;

#[test]
fn broken_syntax() {
    let text = r#"
[[sync]]
name = "r
source = 1
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:10: invalid basic string, expected `"`
        2 | name = "r
          |          ^
    "#);
}

#[test]
fn a_key_given_twice() {
    let text = r#"
[daemon]
state = "a"
state = "b"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:1: duplicate key
        3 | state = "b"
          | ^^^^^
    "#);
}

#[test]
fn an_unknown_key_of_a_rule() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = "r.io/app"
tag = { include = ["v*"] }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:5:1: unknown key `tag` in [[sync]] (did you mean `tags`?)
        5 | tag = { include = ["v*"] }
          | ^^^
    hint: allowed here: name, schedule, timezone, every, run_at_start, jitter, source, target, tags, platforms, index, referrers, on_conflict, recheck, foreign_layers, immutable, remove_extra, max_delete
    "#);
}

#[test]
fn an_unknown_key_at_the_top() {
    let text = r#"
[demon]
state = "a"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:1:2: unknown key `demon` at the top level (did you mean `daemon`?)
        1 | [demon]
          |  ^^^^^
    hint: allowed here: daemon, registry, events, notify, in_use, sync, cleanup
    "#);
}

#[test]
fn an_unknown_key_of_the_tags() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = "r.io/app"
tags = { includes = ["v*"] }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:5:10: unknown key `includes` in `tags` of [[sync]] (did you mean `include`?)
        5 | tags = { includes = ["v*"] }
          |          ^^^^^^^^
    hint: allowed here: include, exclude, semver, latest
    "#);
}

#[test]
fn an_unknown_key_far_from_any() {
    let text = r#"
[daemon]
frobnicate = 1
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:1: unknown key `frobnicate` in [daemon]
        2 | frobnicate = 1
          | ^^^^^^^^^^
    hint: allowed here: listen, state, token, grace, transfers, stall_after, history
    "#);
}

#[test]
fn an_unknown_key_of_a_secret() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = { literal = "hunter2" }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:14: unknown key `literal` in `password` of [registry."ghcr.io"]
        3 | password = …
          |            ^
    hint: allowed here: env, file, command
    "#);
}

#[test]
fn an_unknown_key_that_may_hold_a_secret() {
    let text = r#"
[registry."ghcr.io"]
passwd = "hunter2"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:1: unknown key `passwd` in [registry."ghcr.io"] (did you mean `password`?)
        2 | passwd = …
          | ^^^^^^
    hint: allowed here: username, password, insecure, ca_file, client_cert, client_key, parallel, requests_per_second, idle_timeout, auth_realms
    "#);
}

#[test]
fn a_missing_key() {
    let text = r#"
[[sync]]
name = "r"
target = "r.io/app"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:1:1: key `source` is missing in [[sync]]
        1 | [[sync]]
          | ^^^^^^^^
    "#);
}

#[test]
fn a_wrong_type() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = "r.io/app"
referrers = "yes"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:5:13: expected a boolean, found a string
        5 | referrers = "yes"
          |             ^^^^^
    "#);
}

#[test]
fn a_wrong_type_in_a_list() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = ["r.io/app", 5]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:23: expected a string, found a whole number
        4 | target = ["r.io/app", 5]
          |                       ^
    "#);
}

#[test]
fn a_target_of_a_wrong_type() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = 5
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:10: expected a string or a list of strings, found a whole number
        4 | target = 5
          |          ^
    "#);
}

#[test]
fn a_single_bracket() {
    let text = r#"
[sync]
name = "r"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:1:1: expected a list, found a table
        1 | [sync]
          | ^^^^^^
    hint: every rule starts with `[[sync]]`
    "#);
}

#[test]
fn a_number_out_of_range() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = "r.io/app"
tags = { latest = 0 }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:5:19: expected a whole number of 1 or more
        5 | tags = { latest = 0 }
          |                   ^
    "#);
}

#[test]
fn an_unknown_word() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = "r.io/app"
on_conflict = "overwirte"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:5:15: `overwirte` is not allowed here (did you mean `overwrite`?)
        5 | on_conflict = "overwirte"
          |               ^^^^^^^^^^^
    hint: allowed here: overwrite, keep, fail
    "#);
}

#[test]
fn a_wrong_type_does_not_show_its_value() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = { command = "hunter2" }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:24: expected a list, found a string
        3 | password = …
          |            ^
    "#);
}

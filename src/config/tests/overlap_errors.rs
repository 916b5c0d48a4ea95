//! Targets at which images would meet.

use super::errors;

#[test]
fn a_pattern_into_a_constant() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/*"
target = "r.io/app"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:10: `r.io/app` puts different repositories of `acme/*` into the same one
        4 | target = "r.io/app"
          |          ^^^^^^^^^^
    hint: add {tail}, {repository} or {repository|flatten}
    "#);
}

#[test]
fn a_pattern_into_what_drops_the_difference() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/**"
target = ["r.io/{registry}", "r.io/{name}", "r.io/{tail}"]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:11: `r.io/{registry}` puts different repositories of `acme/**` into the same one
        4 | target = ["r.io/{registry}", "r.io/{name}", "r.io/{tail}"]
          |           ^^^^^^^^^^^^^^^^^
    hint: add {tail}, {repository} or {repository|flatten}

    tranship.toml:4:30: `r.io/{name}` puts different repositories of `acme/**` into the same one
        4 | target = ["r.io/{registry}", "r.io/{name}", "r.io/{tail}"]
          |                              ^^^^^^^^^^^^^
    hint: add {tail}, {repository} or {repository|flatten}
    "#);
}

#[test]
fn the_same_target_twice() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = ["r.io/acme/app", "r.io/{repository}"]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:28: the rule has the target `r.io/acme/app` twice
        4 | target = ["r.io/acme/app", "r.io/{repository}"]
          |                            ^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn the_same_target_of_a_pattern_twice() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/*"
target = ["r.io/{tail}", "R.io/{tail}"]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:26: the rule has the target `r.io/{tail}` twice
        4 | target = ["r.io/{tail}", "R.io/{tail}"]
          |                          ^^^^^^^^^^^^^
    "#);
}

#[test]
fn the_source_as_its_own_target() {
    let text = r#"
[[sync]]
name = "r"
source = "ghcr.io/acme/app"
target = "ghcr.io/{repository}"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:10: the target is the source itself
        4 | target = "ghcr.io/{repository}"
          |          ^^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn two_repositories_with_all_tags_into_one() {
    let text = r#"
[[sync]]
name = "one"
source = "ghcr.io/acme/a"
target = "r.io/x"

[[sync]]
name = "two"
source = "ghcr.io/acme/b"
target = "r.io/x"
tags = { include = ["v*"] }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:9:10: rule `one` copies another repository to the same tags of this target
        9 | target = "r.io/x"
          |          ^^^^^^^^
    hint: give each repository a target of its own, or tags that do not overlap
    "#);
}

#[test]
fn two_repositories_with_the_same_tag_into_one() {
    let text = r#"
[[sync]]
name = "one"
source = "ghcr.io/acme/a:v1"
target = "r.io/x"

[[sync]]
name = "two"
source = "ghcr.io/acme/b"
target = "r.io/x"
tags = { include = ["v1", "v2"] }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:9:10: rule `one` copies another repository to the same tags of this target
        9 | target = "r.io/x"
          |          ^^^^^^^^
    hint: give each repository a target of its own, or tags that do not overlap
    "#);
}

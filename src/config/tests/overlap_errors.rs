//! Targets at which images would meet.

use super::copying;

refused!(a_pattern_into_a_constant, copying("ghcr.io/acme/*", "r.io/app"), @r#"
tranship.toml:4:10: `r.io/app` puts different repositories of `acme/*` into the same one
    4 | target = "r.io/app"
      |          ^^^^^^^^^^
hint: add {tail}, {repository} or {repository|flatten}
"#);

refused!(a_pattern_into_what_drops_the_difference, copying("ghcr.io/acme/**", ["r.io/{registry}", "r.io/{name}", "r.io/{tail}"]), @r#"
tranship.toml:4:11: `r.io/{registry}` puts different repositories of `acme/**` into the same one
    4 | target = ["r.io/{registry}", "r.io/{name}", "r.io/{tail}"]
      |           ^^^^^^^^^^^^^^^^^
hint: add {tail}, {repository} or {repository|flatten}

tranship.toml:4:30: `r.io/{name}` puts different repositories of `acme/**` into the same one
    4 | target = ["r.io/{registry}", "r.io/{name}", "r.io/{tail}"]
      |                              ^^^^^^^^^^^^^
hint: add {tail}, {repository} or {repository|flatten}
"#);

refused!(the_same_target_twice, copying("ghcr.io/acme/app", ["r.io/acme/app", "r.io/{repository}"]), @r#"
tranship.toml:4:28: the rule has the target `r.io/acme/app` twice
    4 | target = ["r.io/acme/app", "r.io/{repository}"]
      |                            ^^^^^^^^^^^^^^^^^^^
"#);

refused!(the_same_target_of_a_pattern_twice, copying("ghcr.io/acme/*", ["r.io/{tail}", "R.io/{tail}"]), @r#"
tranship.toml:4:26: the rule has the target `r.io/{tail}` twice
    4 | target = ["r.io/{tail}", "R.io/{tail}"]
      |                          ^^^^^^^^^^^^^
"#);

refused!(the_source_as_its_own_target, copying("ghcr.io/acme/app", "ghcr.io/{repository}"), @r#"
tranship.toml:4:10: the target is the source itself
    4 | target = "ghcr.io/{repository}"
      |          ^^^^^^^^^^^^^^^^^^^^^^
"#);

refused!(two_repositories_with_all_tags_into_one, r#"
[[sync]]
name = "one"
source = "ghcr.io/acme/a"
target = "r.io/x"

[[sync]]
name = "two"
source = "ghcr.io/acme/b"
target = "r.io/x"
tags = { include = ["v*"] }
"#, @r#"
tranship.toml:9:10: rule `one` copies other images to the same tags of this target
    9 | target = "r.io/x"
      |          ^^^^^^^^
hint: give each repository a target of its own, or tags that do not overlap
"#);

refused!(two_repositories_with_the_same_tag_into_one, r#"
[[sync]]
name = "one"
source = "ghcr.io/acme/a:v1"
target = "r.io/x"

[[sync]]
name = "two"
source = "ghcr.io/acme/b"
target = "r.io/x"
tags = { include = ["v1", "v2"] }
"#, @r#"
tranship.toml:9:10: rule `one` copies other images to the same tags of this target
    9 | target = "r.io/x"
      |          ^^^^^^^^
hint: give each repository a target of its own, or tags that do not overlap
"#);

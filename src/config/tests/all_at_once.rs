//! Files with many mistakes of different kinds: each of them is reported in one run, and nothing
//! else.

use super::parse;

/// `line:column: message` of all that is wrong.
fn problems(text: &str) -> Vec<String> {
    let error = parse(text).expect_err("the configuration has errors");
    let place = |n: Option<usize>| n.unwrap_or_default();
    let line = |it: &crate::config::Problem| {
        format!("{}:{}: {}", place(it.line), place(it.column), it.message)
    };
    error.problems().iter().map(line).collect()
}

/// The mistakes of each file, in order; of each, how it is reported begins like this.
const FILES: [(&str, &[&str]); 9] = [
    (
        // Syntax, an unknown key, wrong types, missing keys, keys that do not go together.
        r#"
[daemon]
listen = "localhost"
demon = true

[[sync]]
name = "a
source = ghcr.io/acme/app
target = 5
every = "1h"
schedule = "0 3 * * *"
referrers = "yes"

[[sync]]
sorce = "ghcr.io/acme/app"
jitter = "5m"
"#,
        &[
            "2:10: `localhost` is not an address",
            "3:1: unknown key `demon` in [daemon]",
            "6:10: invalid basic string",
            "7:10: string values must be quoted",
            "8:10: expected a string or a list of strings",
            "9:9: a rule has either",
            "11:13: expected a boolean",
            "13:1: key `name` is missing in [[sync]]",
            "13:1: key `target` is missing in [[sync]]",
            "14:1: unknown key `sorce` in [[sync]] (did you mean `source`?)",
            "15:10: `jitter` belongs to",
        ],
    ),
    (
        // A required key is malformed, and what needs other keys of its table is checked.
        r#"
[[sync]]
name = "a"
source = "ghcr.io/Acme"
target = ["r.io/x", "r.io/x", "r.io/{nam}"]
max_delete = { count = 1 }
run_at_start = true
tags = { include = ["latest"], semver = ">=1", foo = 1 }
platforms = []
"#,
        &[
            "3:10: `Acme` is not a repository name",
            "4:21: the rule has the target `r.io/x` twice",
            "4:31: unknown variable `nam`",
            "5:14: `max_delete` limits `remove_extra`",
            "6:16: `run_at_start` belongs to",
            "7:48: unknown key `foo` in `tags` of [[sync]]",
            "8:13: an empty list selects no platform",
        ],
    ),
    (
        r#"
[registry."ghcr.io"]
username = "bot"
insecure = "maybe"
ca_file = "gone"
paralel = 2

[registry."quay.io"]
password = { env = "UNSET", nev = 1 }
requests_per_second = 0

[registry."https://r.io"]
client_key = "there"
"#,
        &[
            "2:12: `username` of ghcr.io needs `password`",
            "3:12: `maybe` is not allowed here",
            "4:11: cannot use ",
            "5:1: unknown key `paralel`",
            "8:12: `password` of quay.io needs `username`",
            "8:20: the environment variable UNSET is not set",
            "8:29: unknown key `nev`",
            "9:23: requests_per_second must be",
            "11:11: `https://r.io` is not a registry host",
            "12:14: `client_key` of https://r.io needs `client_cert`",
        ],
    ),
    (
        r#"
[[cleanup]]
repositories = ["r.io/a:v1", "r.io/app"]
in_use = ["prod", "prod", "prd"]
grace = 48
clock = ["pushed", "pushed"]
keep = [{ tags = ["a"], per = "minor" }, { id = "k", tag = ["b"] }]
delete = [{ id = "x" }, { tags = ["*"] }, { id = "x", untagged = false }]

[in_use.prod]
file = "x"
timeout = "1s"
"#,
        &[
            "1:1: key `name` is missing in [[cleanup]]",
            "2:17: `r.io/a:v1` names an image",
            "3:19: `prod` is listed twice",
            "3:27: there is no [in_use.prd]",
            "4:9: expected a string, found a whole number",
            "5:9: a clock is listed twice",
            "6:9: key `id` is missing in `keep`",
            "6:31: `per` belongs to `newest`",
            "6:49: `k` selects nothing",
            "6:54: unknown key `tag` in `keep`",
            "7:18: `x` selects nothing",
            "7:25: key `id` is missing in `delete`",
            "7:50: duplicate id `x`: line 7",
            "7:66: `untagged` is true or left out",
            "9:1: key `format` is missing in [in_use.prod]",
            "11:11: `timeout` belongs to `command`",
        ],
    ),
    (
        // A header that cannot be read hides its table, and nothing refers to it in vain.
        r#"
[in_use.prod
format = "list"

[[notify]]
format = "slack"
rules = ["a*"]
on = []

[[sync]
name = "a"

[[cleanup]]
name = "c"
repositories = []
in_use = ["prod"]
delete = []
"#,
        &[
            "1:13: unclosed table",
            "4:1: key `url` is missing in [[notify]]",
            "7:6: an empty list selects no notification",
            "9:8: unclosed array table",
            "14:16: no repository is named here",
            "16:10: without a line in `delete`",
        ],
    ),
    (
        r#"
[sync]
name = "a"
source = "ghcr.io/acme/app:v1"
tags = { include = [] }
targets = "r.io/a"

[events.hub]
format = "hub"
secret = "hunter2"

[cleanup]
name = "a"
"#,
        &[
            "1:1: expected a list, found a table",
            "4:8: `source` says which tag",
            "4:20: an empty list selects no tags",
            "5:1: unknown key `targets`",
            "7:1: key `registry` is missing in [events.hub]",
            "8:10: `hub` is not allowed here",
            "9:10: a secret is never written",
            "11:1: expected a list, found a table",
            "11:1: key `repositories` is missing",
            "11:1: key `delete` is missing",
            "12:8: duplicate rule name `a`: line 2",
        ],
    ),
    (
        // Lists and tables that have no end, and keys given twice.
        r#"
[[sync]]
name = "a"
name = "b"
source = "ghcr.io/acme/app"
platforms = ["linux/amd64",
target = "r.io/{x}"
tags = { include = ["v*"]
every: 1h

[daemon]
state = ""
[daemon]
grace = "1x"
"#,
        &[
            "3:1: duplicate key",
            "5:13: this `[` has no `]`",
            "6:10: unknown variable `x`",
            "7:8: this `{` has no `}`",
            "8:6: invalid unquoted key",
            "11:9: the path of the state directory is empty",
            "12:2: duplicate key",
        ],
    ),
    (
        // What is wrong in one list of tables, and values of the wrong kind.
        r#"
[[notify]]
url = 5
headers = { "a b" = { env = "SET" }, X = "y" }

[[notify]]
url = "ftp://x"
on = ["faliure"]
format = "slak"
rules = ["["]
"#,
        &[
            "2:7: this is not the address of a webhook",
            "3:13: `a b` is not the name of a header",
            "3:42: a secret is never written",
            "6:7: this is not the address of a webhook",
            "7:7: `faliure` is not allowed here (did you mean `failure`?)",
            "8:10: `slak` is not allowed here (did you mean `slack`?)",
            "9:10: ",
        ],
    ),
    (
        r#"
[daemon]
transfers = 0
history = "1KiB"
stall_after = "0s"

[[sync]]
name = ""
source = "r.io/a"
target = "t.io/x"
on_conflict = "overwirte"

[[sync]]
name = "b"
source = "r.io/b"
target = "t.io/x"
recheck = "soon"
immutable = ["a b"]
"#,
        &[
            "2:13: expected a whole number of 1 or more",
            "3:11: the history needs 1MiB",
            "4:15: this must be longer than 0s",
            "7:8: a rule's name must not be empty",
            "10:15: `overwirte` is not allowed here",
            "15:10: rule `?` copies other images",
            "16:11: `soon` is not a duration",
            "17:14: `a b` is not a tag",
        ],
    ),
];

#[test]
fn every_mistake_is_reported_in_one_run() {
    let mut differences = String::new();
    for (text, expected) in FILES {
        let found = problems(text);
        let is_same = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
        if !is_same {
            differences += &format!("{text}\n{}\n", found.join("\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn another_format_is_one_mistake() {
    let found = problems("sync:\n  - source: a\n    target: b\n");
    assert_eq!(found, ["1:5: this is YAML, and the configuration of tranship is TOML"]);
}

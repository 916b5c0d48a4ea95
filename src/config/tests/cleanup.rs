//! `[[cleanup]]` rules: what they mean, and what is wrong with them.

use std::time::Duration;

use super::{errors, parse};
use crate::config::CleanupRule;
use crate::config::cleanup::Mode;
use crate::config::policy::{ClockSource, Doomed, MaxDelete};

fn good(text: &str) -> CleanupRule {
    parse(text).unwrap_or_else(|e| panic!("{e}")).cleanup.remove(0)
}

const RULE: &str = r#"
[[cleanup]]
name = "apps"
every = "24h"
repositories = ["r.example:5000/acme/**", "alpine", "!r.example:5000/acme/private", "!**/base-*"]
clock = ["created"]
grace = "0s"
max_delete = { percent = 50 }
mode = "apply"
keep = [{ id = "releases", semver = ">=1", tags = ["v*"], newest = 3, per = '/v(\d+)\..*/' }]
delete = [
    { id = "pr", tags = ["pr-*"], older_than = "7d", beyond_newest = 5 },
    { id = "untagged", untagged = true },
    { id = "orphans", orphans = true, older_than = "1h" },
]
"#;

#[test]
fn a_rule_means_what_it_says() {
    let rule = good(RULE);
    let policy = &rule.policy;
    assert_eq!((rule.mode, policy.grace), (Mode::Apply, Duration::ZERO));
    assert_eq!(policy.clock, [ClockSource::Created]);
    assert_eq!(policy.max_delete, MaxDelete { count: Some(200), percent: Some(50) });
    assert_eq!(policy.keep[0].newest.map(|n| n.get()), Some(3));
    assert_eq!(policy.delete[1].what, Doomed::Untagged);
    assert_eq!(policy.delete[2].older_than, Some(Duration::from_secs(3600)));
    for (registry, repository, expected) in [
        ("r.example:5000", "acme/app", true),
        ("r.example:5000", "acme/private", false),
        ("r.example:5000", "acme/team/base-x", false),
        ("r.example", "acme/app", false),
        ("docker.io", "library/alpine", true),
        ("docker.io", "acme/app", false),
    ] {
        let found =
            rule.repositories.matches(&registry.parse().unwrap(), &repository.parse().unwrap());
        assert_eq!(found, expected, "{registry}/{repository}");
    }
}

/// What was deleted under one policy may be wanted under another.
#[test]
fn a_policy_has_a_mark() {
    let mark = |from: &str, to: &str| {
        assert!(RULE.contains(from), "{from}");
        good(&RULE.replace(from, to)).mark()
    };
    let same = good(RULE).mark();
    for (from, to) in [
        ("\"apps\"", "\"other\""),
        ("every = \"24h\"", "schedule = \"0 3 * * *\""),
        ("\"alpine\", ", ""),
        ("percent = 50", "count = 3"),
        ("\"apply\"", "\"plan\""),
        ("\"7d\"", "\"168h\""),
    ] {
        assert_eq!(mark(from, to), same, "{from}");
    }
    let mut marks = vec![same];
    for (from, to) in [
        ("\"created\"", "\"pushed\""),
        ("\"0s\"", "\"1s\""),
        ("newest = 3", "newest = 4"),
        ("\"v*\"", "\"w*\""),
        ("(\\d+)", "(\\d)"),
        ("\"7d\"", "\"8d\""),
        ("beyond_newest = 5", "beyond_newest = 6"),
        ("{ id = \"untagged\", untagged = true },", ""),
    ] {
        marks.push(mark(from, to));
    }
    let count = marks.len();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), count);
    // In states that were written long ago.
    assert_eq!(same, 1_395_417_814_988_571_466);
}

/// Marks stand in states that were written long ago: the same policy has the same one for ever.
#[test]
fn marks_never_change() {
    let rules = [
        (RULE, 1_395_417_814_988_571_466_u64),
        (LAYOUTS, 10_109_179_159_153_948_580),
        (
            r#"
[[cleanup]]
name = "all"
repositories = ["r.example/a"]
clock = ["first_seen", "pushed", "created"]
grace = "1h 30m 1s 1ms"
keep = [
    { id = "a \"b\" ü\\", tags = ["latest", "v[0-9]*", '/a"\d+/'] },
    { id = "k", semver = ">=1.2, <3", newest = 2, per = "minor" },
]
delete = [
    { id = "x", tags = ["*"], beyond_newest = 20, per = "major", older_than = "2y 3months 2d 5us" },
    { id = "y", semver = "<1", older_than = "0s" },
]
"#,
            8_521_944_507_202_249_987,
        ),
    ];
    let found: Vec<u64> = rules.iter().map(|(text, _)| good(text).mark()).collect();
    let expected: Vec<u64> = rules.iter().map(|(_, mark)| *mark).collect();
    assert_eq!(found, expected);
}

#[test]
fn defaults_are_cautious() {
    let text = "[[cleanup]]\nname = \"a\"\nrepositories = [\"r.example/a\"]\ndelete = [{ id = \"u\", untagged = true }]\n";
    let rule = good(text);
    assert_eq!((rule.mode, rule.timing), (Mode::Plan, None));
    assert_eq!(rule.policy.grace, Duration::from_secs(48 * 3600));
    assert_eq!(rule.policy.max_delete, MaxDelete { count: Some(200), percent: Some(20) });
    assert_eq!(rule.policy.clock, [ClockSource::Pushed, ClockSource::FirstSeen]);
}

#[test]
fn shown_configurations_mean_the_same() {
    let config = parse(RULE).unwrap();
    let shown = config.show();
    assert_eq!(parse(&shown).unwrap_or_else(|e| panic!("{e}\n{shown}")), config, "{shown}");
}

const LAYOUTS: &str = r#"
[[cleanup]]
name = "disk"
repositories = [
    "oci:/srv/images/**",
    "oci:/srv/one/base-app",
    "oci:/srv/one/Other App/",
    "!oci:/srv/images/team/*-private",
    "!oci:/srv/images/kept",
    "!**/base-*",
    "!r.example/team/app",
]
mode = "apply"
delete = [{ id = "untagged", untagged = true }]
"#;

#[test]
fn layouts_are_named_by_their_paths() {
    let rule = good(LAYOUTS);
    for (folder, expected) in [
        ("/srv/images/app", true),
        ("/srv/images/team/app", true),
        ("/srv/images/team/x-private", false),
        ("/srv/images/kept", false),
        ("/srv/images/kept/below", true),
        ("/srv/images/team/base-x", false),
        // The root itself is not a repository, only what is below it.
        ("/srv/images", false),
        ("/srv/images/Upper", false),
        // A single layout has the last part of its path as its name.
        ("/srv/one/base-app", false),
        ("/srv/one/Other App", true),
        ("/srv/one/third", false),
    ] {
        assert_eq!(rule.repositories.matches_layout(folder.as_ref()), expected, "{folder}");
    }
    assert!(!rule.repositories.matches(&"r.example".parse().unwrap(), &"app".parse().unwrap()));
    let config = parse(LAYOUTS).unwrap();
    let shown = config.show();
    assert_eq!(parse(&shown).unwrap_or_else(|e| panic!("{e}\n{shown}")), config, "{shown}");
}

#[test]
fn relative_paths_of_layouts_start_at_the_file() {
    let text = LAYOUTS.replace("/srv/", "srv/");
    let shown = parse(&text).unwrap().show();
    let line = shown.lines().find(|line| line.starts_with("repositories")).unwrap();
    assert!(line.contains("\"oci:/") && line.contains("/srv/images/**\""), "{line}");
    assert!(line.contains("\"!oci:/") && line.contains("/srv/images/kept\""), "{line}");
}

/// The messages about a rule of these lines.
fn wrong(lines: &str) -> String {
    let text = format!("[[cleanup]]\nname = \"a\"\n{lines}\n");
    let errors = errors(&text);
    let messages = errors
        .lines()
        .filter(|line| line.starts_with("tranship.toml:") || line.starts_with("hint: "));
    messages.map(|line| line.trim_start_matches("tranship.toml:")).collect::<Vec<_>>().join("\n")
}

const HERE: &str = "repositories = [\"r.example/a\"]";

#[test]
fn policy_lines_with_mistakes_are_errors() {
    // Conditions of a line of `delete`.
    let conditions = [
        (
            r#"older_than = "7d""#,
            "4:18: `x` selects nothing: it has neither `tags` nor `semver`\nhint: for all tags write tags = [\"*\"]",
        ),
        ("tags = []", "4:30: an empty list selects no tags"),
        (
            r#"tags = ["*"], older_than = "7d""#,
            "4:30: this deletes every tag in time, and the rule keeps none\nhint: say in `keep`",
        ),
        (r#"tags = ["/.*/"]"#, "this deletes every tag"),
        (r#"tags = ["/^.*$/"]"#, "this deletes every tag"),
        (r#"tags = ["?*"]"#, "this deletes every tag"),
        (r#"tags = ["[a-zA-Z]*", "[0-9_]*"]"#, "this deletes every tag"),
        (
            r#"tags = ["latest"], semver = ">=1""#,
            "4:51: none of the tags named beside it is such a version",
        ),
        (r#"tags = ["a"], per = "major""#, "4:43: `per` belongs to `beyond_newest`"),
        (r#"tags = ["a"], per = "/a.*/", beyond_newest = 1"#, "exactly one group"),
        (r#"tags = ["a"], per = "week", beyond_newest = 1"#, "`week` is not a grouping"),
        (r#"tags = ["a"], beyond_newest = 0"#, "expected a whole number of 1 or more"),
        (r#"untagged = true, tags = ["a"]"#, "4:34: `untagged` stands alone"),
        ("untagged = true, orphans = true", "`orphans` stands alone"),
        ("untagged = false", "4:34: `untagged` is true or left out"),
        (
            r#"untagged = true, pulled_within = "3d""#,
            "unknown key `pulled_within` in `delete` of [[cleanup]]",
        ),
    ];
    for (conditions, expected) in conditions {
        let found = wrong(&format!("{HERE}\ndelete = [{{ id = \"x\", {conditions} }}]"));
        assert!(found.contains(expected), "{conditions}\n{found}");
    }
    let cases = [
        (
            r#"delete = [{ id = "x", untagged = true }, { id = "x", orphans = true }]"#,
            "duplicate id `x`: line 4",
        ),
        (r#"delete = []"#, "4:10: without a line in `delete` the rule deletes nothing"),
        (
            r#"keep = [{ id = "k", tags = ["a"], per = "minor" }]
delete = [{ id = "x", untagged = true }]"#,
            "4:41: `per` belongs to `newest`",
        ),
    ];
    for (lines, expected) in cases {
        let found = wrong(&format!("{HERE}\n{lines}"));
        assert!(found.contains(expected), "{lines}\n{found}");
    }
    // Lines that are wrong beside a deletion without mistakes.
    let beside = [
        ("clock = []", "5:9: an empty list gives no age"),
        (r#"clock = ["pushed", "pushed"]"#, "5:9: a clock is listed twice"),
        (r#"clock = ["pulled"]"#, "`pulled` is not allowed here"),
        ("max_delete = {}", "5:14: an empty table limits nothing"),
        ("max_delete = { percent = 120 }", "5:26: a percentage cannot be above 100"),
        (r#"quarantine = { to = "backup" }"#, "5:21: the target `backup` names no registry"),
        (
            r#"schedule = "0 3 * * *"
every = "1h""#,
            "6:9: a rule has either `schedule` or `every`, not both",
        ),
    ];
    for (line, expected) in beside {
        let found = wrong(&format!("{HERE}\ndelete = [{{ id = \"x\", untagged = true }}]\n{line}"));
        assert!(found.contains(expected), "{line}\n{found}");
    }
}

#[test]
fn repositories_with_mistakes_are_errors() {
    let cases = [
        (r#"[]"#, "", "no repository is named here"),
        (r#"["!r.example/a"]"#, "", "no repository is named here"),
        (r#"["r.example/a:v1"]"#, "", "names an image, and not a repository"),
        (
            r#"["oci:/srv/a:v1"]"#,
            "",
            "3:17: `oci:/srv/a:v1` names an image, and not a repository\nhint: say in `delete`",
        ),
        (r#"["oci:/srv/**:v1"]"#, "", "3:17: `oci:/srv/**:v1` names an image"),
        (r#"["oci:/srv/**", "!oci:/srv/a:v1"]"#, "", "3:32: `!oci:/srv/a:v1` names an image"),
        (r#"["oci:"]"#, "", "3:17: `oci:` needs the path of a layout"),
        (r#"["oci:/srv/Team-*"]"#, "", "3:17: `Team-*` matches no repository"),
        (r#"["!oci:/srv/a"]"#, "", "no repository is named here"),
        (r#"["oci-archive:a.tar"]"#, "", "3:17: an archive is only replaced as a whole"),
        (r#"["r.example/a", "!*.example/a"]"#, "", "the host in `*.example/a` cannot be a pattern"),
        (r#"["r.example/a", "!r.example/A*"]"#, "", "no upper-case letters"),
        (
            r#"["r.example/**"]"#,
            "mode = \"apply\"",
            "deletes in every repository of the registry\nhint: name the part",
        ),
        (
            r#"["r.example/*", "r.example/*/**"]"#,
            "mode = \"apply\"",
            "deletes in every repository of the registry\nhint: name the part",
        ),
    ];
    for (repositories, more, expected) in cases {
        let found = wrong(&format!(
            "repositories = {repositories}\ndelete = [{{ id = \"x\", untagged = true }}]\n{more}"
        ));
        assert!(found.contains(expected), "{repositories}\n{found}");
    }
    for fine in ["mode = \"plan\"", ""] {
        good(&format!(
            "[[cleanup]]\nname = \"a\"\nrepositories = [\"r.example/**\"]\n{fine}\ndelete = [{{ id = \"x\", untagged = true }}]\n"
        ));
    }
}

#[test]
fn names_are_unique_among_all_rules() {
    let text = "[[sync]]\nname = \"a\"\nsource = \"r.example/a\"\ntarget = \"t.example/a\"\n[[cleanup]]\nname = \"a\"\nrepositories = [\"r.example/a\"]\ndelete = [{ id = \"x\", untagged = true }]\n";
    let found = errors(text);
    assert!(found.contains("tranship.toml:6:8: duplicate rule name `a`: line 2"), "{found}");
}

//! Sources of what is in use: what they mean, how they are shown, and what is wrong with them.

use std::time::Duration;

use super::{errors, parse};
use crate::config::in_use::{ImagePath, ImagePathError, InUseFormat, InUseFrom};

const ALL: &str = r#"
[in_use.prod]
format = "kubernetes"
command = ["kubectl", "--context", "prod", "get", "pods", "-A", "-o", "json"]
paths = ["$.spec.template.image", "$.spec.steps[*].image"]
aliases = { "Mirror.local:5000/hub" = "docker.io", "cache.local" = "docker.io" }
remember = "0s"
timeout = "5s"
allow_empty = true
[in_use.hand-made_2]
format = "list"
file = ["images.txt", "/etc/more.txt"]

[[cleanup]]
name = "apps"
repositories = ["r.example/acme/**"]
in_use = ["prod", "hand-made_2"]
delete = [{ id = "pr", tags = ["pr-*"] }]
"#;

#[test]
fn sources_mean_what_they_say() {
    let config = parse(ALL).unwrap_or_else(|e| panic!("{e}"));
    let prod = &config.in_use["prod"];
    let InUseFormat::Kubernetes { paths } = &prod.format else { panic!("{prod:?}") };
    let object = serde_json::json!({ "spec": { "steps": [{ "image": "a" }, { "image": "b" }] } });
    assert!(paths[0].find(&object).is_empty());
    assert_eq!(paths[1].find(&object), ["a", "b"]);
    let InUseFrom::Command { words, timeout } = &prod.from else { panic!("{prod:?}") };
    assert_eq!((words.len(), *timeout), (8, Duration::from_secs(5)));
    let aliases: Vec<_> =
        prod.aliases.iter().map(|(run, kept)| format!("{run} = {kept}")).collect();
    assert_eq!(aliases, ["cache.local = docker.io", "mirror.local:5000/hub = docker.io"]);
    assert_eq!((prod.remember, prod.allow_empty), (Duration::ZERO, true));
    let list = &config.in_use["hand-made_2"];
    let InUseFrom::Files(files) = &list.from else { panic!("{list:?}") };
    assert!(files[0].is_absolute() && files[0].ends_with("images.txt"));
    assert_eq!(files[1].to_str(), Some("/etc/more.txt"));
    assert_eq!((list.remember, list.allow_empty), (Duration::from_secs(14 * 86_400), false));
    assert_eq!(config.cleanup[0].in_use, ["prod", "hand-made_2"]);
}

#[test]
fn shown_configurations_mean_the_same() {
    let config = parse(ALL).unwrap();
    // With the default of what was left out, too.
    let short = "[in_use.a]\nformat = \"kubernetes\"\ncommand = [\"x\"]\n";
    for config in [config, parse(short).unwrap()] {
        let shown = config.show();
        assert_eq!(parse(&shown).unwrap_or_else(|e| panic!("{e}\n{shown}")), config, "{shown}");
    }
}

#[test]
fn sources_with_mistakes_are_errors() {
    const LIST: &str = "[in_use.a]\nformat = \"list\"\n";
    const PODS: &str = "[in_use.a]\nformat = \"kubernetes\"\ncommand = [\"kubectl\"]\n";
    let cases = [
        (LIST, "", "1:9: `a` has neither `file` nor `command`"),
        (LIST, "file = \"x\"\ncommand = [\"y\"]", "4:11: a source has either `file` or `command`"),
        (LIST, "command = []", "3:11: the command names no program"),
        (LIST, "file = []", "3:8: an empty list names no file"),
        (LIST, "file = \"\"", "3:8: the path is empty"),
        (LIST, "file = [\"x\", \"./x\", \"x\"]", "3:21: "),
        (LIST, "file = \"x\"\ntimeout = \"5s\"", "4:11: `timeout` belongs to `command`"),
        (
            LIST,
            "file = \"x\"\npaths = [\"$.a\"]",
            "4:9: `paths` belongs to the format `kubernetes`",
        ),
        (PODS, "paths = [\"$.a\", \"spec.image\"]", "4:17: `spec.image` is not a JSONPath: "),
        (PODS, "timeout = \"0s\"", "4:11: this must be longer than 0s"),
        (PODS, "remember = \"long\"", "4:12: `long` is not a duration"),
        (
            PODS,
            "aliases = { \"mirror/hub\" = \"docker.io\" }",
            "4:13: `mirror/hub` does not begin with a host",
        ),
        (
            PODS,
            "aliases = { \"m.io/hub\" = \"docker.io/A\" }",
            "4:26: `A` is not a repository name: upper-case",
        ),
        (PODS, "aliases = { \"m.io\" = \"M.io\" }", "4:22: `m.io` is an alias of itself"),
        (
            PODS,
            "aliases = { \"m.io\" = \"a.io\", \"M.io\" = \"b.io\" }",
            "4:30: `M.io` is m.io, which has an alias already",
        ),
        (PODS, "path = [\"$.a\"]", "unknown key `path` in [in_use.a] (did you mean `paths`?)"),
        (
            "[in_use.\"a b\"]\nformat = \"list\"\n",
            "file = \"x\"",
            "`a b` is not a name for a source",
        ),
        ("[in_use.a]\n", "file = \"x\"", "1:1: key `format` is missing in [in_use.a]"),
        ("in_use.a = { file = \"x\" }\n", "", "key `format` is missing in [in_use.a]"),
        (
            "[in_use.a]\nformat = \"lists\"\n",
            "",
            "`lists` is not allowed here (did you mean `list`?)",
        ),
    ];
    for (start, lines, expected) in cases {
        let found = errors(&format!("{start}{lines}\n"));
        assert!(found.contains(expected), "{start}{lines}\n{found}");
    }
}

#[test]
fn rules_name_existing_sources() {
    let rule = |names: &str| {
        errors(&format!(
            "[in_use.prod]\nformat = \"list\"\nfile = \"x\"\n[in_use.staging]\nformat = \"list\"\nfile = \"x\"\n\
             [[cleanup]]\nname = \"a\"\nrepositories = [\"r.example/a\"]\nin_use = {names}\n\
             delete = [{{ id = \"u\", untagged = true }}]\n"
        ))
    };
    insta::assert_snapshot!(rule("[\"prod\", \"stagin\"]"), @r#"
    tranship.toml:10:19: there is no [in_use.stagin] (did you mean `staging`?)
       10 | in_use = ["prod", "stagin"]
          |                   ^^^^^^^^
    hint: there are: prod, staging
    "#);
    let twice = rule("[\"prod\", \"prod\"]");
    assert!(twice.contains("10:19: `prod` is listed twice"), "{twice}");
    let none = rule("[]");
    assert!(none.contains("10:10: an empty list protects nothing"), "{none}");
    // A source with a mistake in it is there all the same.
    let mistake = errors(
        "[in_use.prod]\nformat = \"list\"\n[[cleanup]]\nname = \"a\"\nrepositories = [\"r.example/a\"]\n\
         in_use = [\"prod\"]\ndelete = [{ id = \"u\", untagged = true }]\n",
    );
    assert!(!mistake.contains("there is no"), "{mistake}");
    let without = errors(
        "[[cleanup]]\nname = \"a\"\nrepositories = [\"r.example/a\"]\nin_use = [\"prod\"]\n\
         delete = [{ id = \"u\", untagged = true }]\n",
    );
    assert!(
        without.contains("hint: define [in_use.prod]: where to read what is in use"),
        "{without}"
    );
}

/// The parser's time grows without bounds by the depth of brackets, so that is bounded.
#[test]
fn paths_that_take_too_long_to_parse_are_refused() {
    for (open, close) in [("(", ")"), ("!(", ")"), ("@[?", "]"), ("$[?", "]"), ("f(", ")")] {
        let path = |depth: usize| {
            let text = format!("$[?{}@.a{}]", open.repeat(depth), close.repeat(depth));
            [text.parse::<ImagePath>(), text[..text.len() - depth - 1].parse()]
        };
        for path in path(40) {
            assert_eq!(path.unwrap_err(), ImagePathError::TooDeep, "{open}");
        }
        let deepest = path(3);
        assert!(!deepest.contains(&Err(ImagePathError::TooDeep)), "{open}");
    }
    for fine in
        ["$['((((((']['a'].b[*]", r#"$["\"[[[[["].a"#, "$[?@.a == '[[[[[' && (@.b || @.c)].d"]
    {
        assert!(fine.parse::<ImagePath>().is_ok(), "{fine}");
    }
    let long = format!("$.{}", "a".repeat(300));
    assert_eq!(long.parse::<ImagePath>().unwrap_err(), ImagePathError::TooLong);
}

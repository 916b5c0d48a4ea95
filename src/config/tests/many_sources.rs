//! Rules with several sources.

use super::{errors, parse, rule};
use crate::config::{SourceRepositories, SyncRule};
use crate::oci::Digest;

fn good(source: &str, more: &str) -> SyncRule {
    let text =
        format!("[[sync]]\nname = \"r\"\nsource = {source}\ntarget = \"t.io/{{name}}\"\n{more}\n");
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let shown = config.show();
    let again = parse(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert_eq!(again.sync, config.sync, "{shown}");
    config.sync.into_iter().next().unwrap()
}

/// `source tags` of each part.
fn parts(rule: &SyncRule) -> Vec<String> {
    let tags = |part: &SyncRule| match part.tags.literals() {
        Some(tags) => tags.iter().map(|tag| tag.to_string()).collect::<Vec<_>>().join(","),
        None => "*".to_owned(),
    };
    rule.parts().map(|part| format!("{} {}", part.source, tags(part))).collect()
}

#[test]
fn each_source_has_its_own_tag_or_digest() {
    let digest = Digest::of(b"x");
    let source = format!(
        "[\"a.io/x:1\", \"a.io/y@{digest}\", \"b.io/z:3@{digest}\", \"a.io/x:2\", \"alpine:3\"]"
    );
    let rule = good(&source, "remove_extra = true\nevery = \"1h\"");
    let expected = [
        "a.io/x 1,2".to_owned(),
        format!("a.io/y@{digest} "),
        format!("b.io/z:3@{digest} 3"),
        "docker.io/library/alpine 3".to_owned(),
    ];
    assert_eq!(parts(&rule), expected);
    for part in rule.parts() {
        assert!(part.name == "r" && part.targets == rule.targets && part.timing.is_some());
        let is_pinned = matches!(part.source.repositories, SourceRepositories::Pinned { .. });
        assert_eq!(part.remove_extra.is_none(), is_pinned, "{}", part.source);
    }
    let expected = format!(
        "a.io/x:1, a.io/x:2, a.io/y@{digest}, b.io/z:3@{digest}, docker.io/library/alpine:3"
    );
    assert_eq!(rule.sources(), expected);
}

#[test]
fn sources_without_tags_share_the_selection() {
    let rule = good("[\"a.io/x\", \"a.io/y\"]", "tags = { semver = \">=1\", newest = 2 }");
    assert_eq!(parts(&rule), ["a.io/x *", "a.io/y *"]);
    let rule = good("[\"a.io/x\", \"a.io/y\"]", "tags = [\"1\", \"2\"]");
    assert_eq!(parts(&rule), ["a.io/x 1,2", "a.io/y 1,2"]);
    // Without `tags`, some may name theirs.
    let rule = good("[\"a.io/x\", \"a.io/y:1\"]", "");
    assert_eq!(parts(&rule), ["a.io/x *", "a.io/y 1"]);
    assert_eq!(parts(&good("[\"a.io/x:1\"]", "")), ["a.io/x 1"]);
}

#[test]
fn what_is_wrong_with_them() {
    let error = |source: &str, more: &str| {
        let lines = format!("target = \"t.io/app\"\n{more}");
        errors(&format!("[[sync]]\nname = \"r\"\nsource = {source}\n{lines}\n"))
    };
    let digest = Digest::of(b"x");
    for (source, more, expected) in [
        ("[]", "", "3:10: a rule needs at least one source"),
        ("[\"a.io/x:1\", \"a.io/x:1\"]", "", "3:23: the rule has the source `a.io/x:1` twice"),
        ("[\"a.io/x\", \"a.io/x\"]", "", "3:21: the rule has the source `a.io/x` twice"),
        ("[\"a.io/x:1\", \"a.io/X\", \"b\"]", "", "3:23: `X` is not a repository name"),
        (
            "[\"a.io/x:1\", \"b.io/x:1\"]",
            "",
            "4:10: the sources `a.io/x` and `b.io/x` are copied to the same tags of this target",
        ),
        (
            &format!("[\"a.io/x:1\", \"a.io/x:1@{digest}\"]"),
            "",
            "are copied to the same tags of this target",
        ),
        ("[\"a.io/x\", \"a.io/y:1\"]", "tags = [\"2\"]", "5:8: `source` says which tag to copy"),
        ("[\"a.io/x\", \"t.io/app\"]", "", "4:10: the target is the source itself"),
        ("[\"a.io/*\", \"a.io/y\"]", "", "4:10: `t.io/app` puts different repositories"),
    ] {
        let found = error(source, more);
        assert!(found.contains(expected), "{source}\n{found}");
    }
    let text = "[[sync]]\nname = \"r\"\nsource = [\"a.io/x:1\", \"b.io/x:2\"]\ntarget = \"oci-archive:a.tar\"\n";
    assert!(errors(text).contains("4:10: several sources cannot be copied into one archive"));
    // Different tags may meet in one repository.
    let text =
        "[[sync]]\nname = \"r\"\nsource = [\"a.io/x:1\", \"b.io/x:2\"]\ntarget = \"t.io/app\"\n";
    assert_eq!(parse(text).unwrap().warnings, None);
    let text = "[[sync]]\nname = \"r\"\nsource = [\"a.io/x/**\", \"b.io/x/**\"]\ntarget = \"t.io/{tail}\"\n";
    let warned = parse(text).unwrap().warnings.unwrap().to_string();
    assert!(warned.contains("the sources `a.io/x/**` and `b.io/x/**` may be copied"), "{warned}");
    // Other rules meet all of them.
    let text = text.replace("b.io", "a.io").replace("a.io/x/**\", ", "a.io/z:1\", ")
        + &rule("").replace("r.io/app", "t.io/z").replace("\"r\"", "\"s\"");
    let met = errors(&text);
    assert!(met.contains("rule `r` copies other images to the same tags"), "{met}");
}

//! What `config check` warns of.

use super::parse;

/// `line:column: message (hint)` of all warnings.
fn warnings(text: &str) -> Vec<String> {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let problems = config.warnings.iter().flat_map(|it| it.problems());
    let line = |it: &crate::config::Problem| {
        let (line, column) = (it.line.unwrap_or_default(), it.column.unwrap_or_default());
        let message = it.message.trim_start_matches("warning: ");
        format!("{line}:{column}: {message} ({})", it.hint.clone().unwrap_or_default())
    };
    problems.map(line).collect()
}

fn sync(name: &str, source: &str, target: &str, lines: &str) -> String {
    format!("[[sync]]\nname = \"{name}\"\nsource = \"{source}\"\ntarget = \"{target}\"\n{lines}\n")
}

#[test]
fn registries_that_no_rule_uses() {
    let rule = sync("a", "ghcr.io/acme/app", "r.example.com:5000/app", "");
    let login = "username = \"u\"\npassword = { env = \"SET\" }\n";
    let unused =
        |host: &str, lines: &str| warnings(&format!("[registry.\"{host}\"]\n{lines}{rule}"));
    for (host, expected) in [
        ("quay.io", "1:11: no rule uses the registry quay.io ("),
        (
            "r.example.com",
            "no rule uses the registry r.example.com (did you mean `r.example.com:5000`?)",
        ),
        ("gchr.io", "no rule uses the registry gchr.io (did you mean `ghcr.io`?)"),
    ] {
        let found = unused(host, login);
        assert!(found.len() == 1 && found[0].contains(expected), "{host}: {found:?}");
    }
    for used in ["ghcr.io", "R.example.com:5000", "api.github.com"] {
        assert!(unused(used, login).is_empty(), "{used}");
    }
    let of_hub = sync("a", "acme/app", "r.example.com:5000/app", "");
    assert!(warnings(&format!("[registry.\"hub.docker.com\"]\n{of_hub}")).is_empty());
    assert_eq!(unused("hub.docker.com", login).len(), 1);
    // Perhaps the token server of r.example.com.
    assert!(unused("auth.example.com", "insecure = \"no-verify\"\n").is_empty());
    assert_eq!(unused("auth.example.com", login).len(), 1);
    let realm = format!(
        "[registry.\"auth.org\"]\n{login}[registry.\"ghcr.io\"]\n{login}auth_realms = [\"auth.org\"]\n{rule}"
    );
    assert!(warnings(&realm).is_empty());
    // Without rules, the file is for commands such as `copy`.
    assert!(warnings(&format!("[registry.\"quay.io\"]\n{login}")).is_empty());
    let events = format!(
        "[registry.\"quay.io\"]\n{login}[events.q]\nformat = \"quay\"\nregistry = \"quay.io\"\n{rule}"
    );
    assert!(warnings(&events).is_empty());
}

#[test]
fn tags_that_select_nothing() {
    for tags in [
        r#"{ include = ["v*"], exclude = ["v*"] }"#,
        r#"{ include = ["v*", "w1"], exclude = ["w*", "v*"] }"#,
        r#"{ exclude = ["*"] }"#,
        r#"{ semver = ">=2, <1" }"#,
    ] {
        let found = warnings(&sync("a", "r.io/a", "t.io/a", &format!("tags = {tags}")));
        assert!(
            found.len() == 1 && found[0].starts_with("5:8: these tags select nothing"),
            "{found:?}"
        );
    }
}

#[test]
fn platforms_that_cannot_be() {
    let lines = r#"platforms = ["linux/amd64", "linux/aarch64", "linux/sparc"]"#;
    let found = warnings(&sync("a", "r.io/a", "t.io/a", lines));
    assert_eq!(
        found,
        [
            "5:29: no images are known for the platform `linux/aarch64` (did you mean \"linux/arm64\"?)",
            "5:46: no images are known for the platform `linux/sparc` (`tranship inspect IMAGE` lists the platforms of an image)"
        ]
    );
}

#[test]
fn patterns_of_registries_without_a_list() {
    for (source, expected) in [
        ("docker.io/**", "begin with the owner: \"docker.io/OWNER/**\""),
        ("registry.k8s.io/**", "registry.k8s.io does not list its repositories"),
        ("public.ecr.aws/x/*", "public.ecr.aws does not list"),
        ("ghcr.io/**", "begin with the owner: \"ghcr.io/OWNER/**\""),
        ("registry.gitlab.com/acme/**", "only to its administrators"),
    ] {
        let found = warnings(&sync("a", source, "t.io/{repository}", ""));
        assert!(found.len() == 1 && found[0].starts_with("3:10: "), "{source}: {found:?}");
        assert!(found[0].contains(expected), "{source}: {found:?}");
    }
    for source in ["ghcr.io/acme/**", "quay.io/acme/**", "docker.io/acme/**", "acme/*"] {
        assert!(warnings(&sync("a", source, "t.io/{repository}", "")).is_empty(), "{source}");
    }
    let cleanup = "[[cleanup]]\nname = \"a\"\nrepositories = [\"!x\", \"registry.k8s.io/a/*\"]\n\
                   delete = [{ id = \"u\", untagged = true }]\n";
    let found = warnings(cleanup);
    assert!(
        found.len() == 1 && found[0].starts_with("3:23: registry.k8s.io does not list"),
        "{found:?}"
    );
}

#[test]
fn targets_at_which_images_may_meet() {
    // The sources and targets of two rules, their tags, and whether images may meet.
    let cases = [
        (["a.io/x", "t.io/x"], ["b.io/x", "t.io/x"], ["v1*", "v1.2*"], true),
        (["a.io/x", "t.io/x"], ["b.io/x", "t.io/x"], ["v1*", "v2*"], false),
        (["a.io/x", "t.io/x"], ["a.io/x", "t.io/x"], ["v1*", "v1.2*"], false),
        (["a.io/m/**", "t.io/m/{tail}"], ["b.io/m/**", "t.io/m/{tail}"], ["*", "*"], true),
        (["a.io/m/**", "t.io/m/{tail}"], ["b.io/m/**", "t.io/m/n/{tail}"], ["*", "*"], true),
        (["a.io/m/**", "t.io/m/{tail}"], ["b.io/m/**", "t.io/n/{tail}"], ["*", "*"], false),
        (["a.io/m/**", "t.io/{repository}"], ["b.io/n/**", "t.io/{repository}"], ["*", "*"], false),
        (
            ["a.io/m/**", "t.io/{registry}/{tail}"],
            ["b.io/m/**", "t.io/{registry}/{tail}"],
            ["*", "*"],
            false,
        ),
        (["a.io/m/**", "t.io/{tail}"], ["a.io/n/**", "t.io/{tail}"], ["*", "*"], true),
        (
            ["a.io/m/**", "t.io/{repository}"],
            ["a.io/m/x/**", "t.io/{repository}"],
            ["*", "*"],
            false,
        ),
        (["a.io/m/**", "t.io/m/{tail}"], ["b.io/x", "t.io/m/x"], ["*", "*"], true),
        (["a.io/m/**", "t.io/m/{tail}"], ["a.io/m/x", "t.io/m/x"], ["*", "*"], false),
        (["a.io/m/a*", "t.io/m/{tail}"], ["b.io/x", "t.io/m/b"], ["*", "*"], false),
        (["a.io/m/**", "t.io/m/{tail|flatten}"], ["b.io/x", "t.io/m/x"], ["*", "*"], true),
        (["a.io/m/**", "t.io/m/{tail|flatten}"], ["a.io/m/x", "t.io/m/x"], ["*", "*"], false),
        (["a.io/m/**", "u.io/m/{tail}"], ["b.io/m/**", "t.io/m/{tail}"], ["*", "*"], false),
        (["a.io/m/**", "oci:/srv/{tail}"], ["b.io/m/**", "oci:/srv/{tail}"], ["*", "*"], true),
    ];
    for (one, other, tags, expected) in cases {
        let tags = tags.map(|tag| format!("tags = {{ include = [\"{tag}\"] }}"));
        for turned in [false, true] {
            let rules =
                [sync("a", one[0], one[1], &tags[0]), sync("b", other[0], other[1], &tags[1])];
            let text = if turned { rules[1].clone() + &rules[0] } else { rules.concat() };
            let found = warnings(&text);
            assert_eq!(!found.is_empty(), expected, "{found:?}\n{text}");
            if let Some(found) = found.first() {
                let first = if turned { "b" } else { "a" };
                let words = format!(
                    "9:10: rule `{first}` may copy other images to the same tags of this target"
                );
                assert!(found.starts_with(&words), "{found}");
            }
        }
    }
}

#[test]
fn the_older_word_for_newest() {
    let rule = |tags: &str| sync("a", "r.io/a", "t.io/a", &format!("tags = {{ {tags} }}"));
    let found = warnings(&rule("latest = 3"));
    assert_eq!(
        found,
        [
            "5:19: `latest` is an older word for `newest`, which counts only releases (write newest = 3; \
             to count pre-releases as before, add prereleases = true)"
        ]
    );
    let found = warnings(&rule("latest = 3, semver = \">=1\""));
    assert!(found[0].ends_with("(write newest = 3: it means the same here)"), "{found:?}");
    let tags = |tags: &str| parse(&rule(tags)).unwrap().sync[0].tags.clone();
    assert_eq!(tags("latest = 3"), tags("newest = 3, prereleases = true"));
    assert_eq!(tags("latest = 3, semver = \"1\""), tags("newest = 3, semver = \"1\""));
    let shown = parse(&rule("latest = 3")).unwrap().show();
    assert!(shown.contains("tags = { newest = 3, prereleases = true }"), "{shown}");
    for (tags, expected) in [
        ("latest = 3, newest = 2", "`latest` is an older word for `newest`: leave it out"),
        ("include = [\"a*\"], prereleases = true", "`prereleases` belongs to `newest` or `semver`"),
    ] {
        let error = parse(&rule(tags)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn variants_that_are_not_selected() {
    let rule = |tags: &str| sync("a", "r.io/a", "t.io/a", &format!("tags = {{ {tags} }}"));
    let found = warnings(&rule("include = [\"*-alpine\"], newest = 3"));
    assert!(found.len() == 1 && found[0].contains("counts as a pre-release"), "{found:?}");
    let fine = "include = [\"*-alpine\"], newest = 3, prereleases = true";
    assert!(warnings(&rule(fine)).is_empty());
}

//! Included files, defaults of rules, and environment variables.

use std::path::Path;

use crate::config::{self, Config, ConfigError, Reading};

/// The configuration of these files, of which the first is the main one. Messages have no folder.
fn load_as(files: &[(&str, &str)], reading: Reading<'_>) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.trim_start()).unwrap();
    }
    let env = |name: &str| match name {
        "HOST" => Some("r.example.com:5000".to_owned()),
        "DIR" => Some("rules.d".to_owned()),
        "HOME" => Some("/home/me".to_owned()),
        "EMPTY" => Some(String::new()),
        "STRANGE" => Some("a${env:HOST}".to_owned()),
        _ => None,
    };
    let main = folder.path().join(files[0].0);
    let shown = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
    config::load_as(&main, &env, reading).map_err(|error: ConfigError| shown(error.to_string()))
}

fn load(files: &[(&str, &str)]) -> Result<Config, String> {
    load_as(files, Reading::default())
}

fn good(files: &[(&str, &str)]) -> Config {
    load(files).unwrap_or_else(|error| panic!("{error}"))
}

fn rule(name: &str, lines: &str) -> String {
    format!(
        "[[sync]]\nname = \"{name}\"\nsource = \"a.io/{name}\"\ntarget = \"b.io/{name}\"\n{lines}\n"
    )
}

#[test]
fn included_files_are_one_configuration_with_the_main_file() {
    let main = "include = [\"${env:DIR}/*.toml\", \"more.toml\", \"*.toml\"]\n[in_use.a]\nformat = \"list\"\nfile = \"x\"\n";
    let cleanup = "[[cleanup]]\nname = \"c\"\nrepositories = [\"a.io/x\"]\nin_use = [\"a\"]\ndelete = [{ id = \"u\", untagged = true }]\n";
    let config = good(&[
        ("main.toml", main),
        ("rules.d/b.toml", &rule("two", "")),
        ("rules.d/a.toml", &(rule("one", "") + "[registry.\"a.io\"]\nca_file = \"ca.pem\"\n")),
        ("rules.d/.hidden.toml", "nonsense"),
        ("rules.d/c.txt", "nonsense"),
        ("more.toml", cleanup),
        ("ca.pem", &super::certificate_with_key()),
    ]);
    let names: Vec<_> = config.sync.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(config.cleanup[0].in_use, ["a"]);
    // Paths start at the main file.
    assert!(config.registries[&"a.io".parse().unwrap()].ca_file.is_some());
    assert_eq!(config.warnings, None);
    let none = good(&[("main.toml", "include = [\"none/*.toml\"]\n")]);
    assert!(none.warnings.unwrap().to_string().contains("`none/*.toml` includes no file"));
}

#[test]
fn mistakes_in_included_files_name_their_file() {
    let error = load(&[
        ("main.toml", "include = [\"d/*.toml\", \"gone.toml\", \"*/x.toml\", \"d\"]\n[registry.\"a.io\"]\nparallel = 1\n[[sync]]\nname = \"one\"\nsource = \"a.io/z\"\ntarget = \"b.io/z\"\n"),
        ("d/1.toml", &(rule("one", "evry = \"1h\"") + "[registry.\"a.io\"]\nparallel = 2\n")),
        ("d/2.toml", "include = [\"x\"]\n[daemon]\nstate = \"x\"\n[defaults.sync]\nevery = \"1h\"\n"),
        ("d/3.toml", &(rule("three", "platforms = [\"linux/x\"]\nsource = \"a\"\njitter = \"1x\"\n[[sync]\n"))),
        ("d/4.toml", "nonsense: yes\n"),
    ])
    .unwrap_err();
    let headlines: Vec<&str> = error.lines().filter(|line| line.contains(".toml:")).collect();
    let expected = [
        "main.toml:1:24: cannot use gone.toml: No such file",
        "main.toml:1:37: only the last part of `*/x.toml` may have wildcards",
        "main.toml:1:49: `d` is a folder: write `d/*.toml`",
        "d/1.toml:2:8: duplicate rule name `one`: line 5 of main.toml has it already",
        "d/1.toml:5:1: unknown key `evry` in [[sync]]",
        "d/1.toml:6:11: `a.io` is defined twice, first on line 2 of main.toml",
        "d/2.toml:1:1: an included file cannot have `include`",
        "d/2.toml:2:2: an included file cannot have `daemon`",
        "d/2.toml:4:2: an included file cannot have `defaults`",
        "d/3.toml:6:1: duplicate key",
        "d/3.toml:7:10: `1x` is not a duration",
        "d/3.toml:7:10: `jitter` belongs to",
        "d/3.toml:8:8: unclosed array table",
        "d/4.toml:1:9: this is YAML, and the configuration of tranship is TOML",
    ];
    let shown = headlines.join("\n").replace("./", "");
    assert_eq!(headlines.len(), expected.len(), "{shown}");
    for expected in expected {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    assert!(error.contains("    5 | evry = \"1h\"\n"), "{error}");
}

#[test]
fn defaults_fit_or_are_left_out() {
    let digest = "a".repeat(64);
    let text = format!(
        "[defaults.sync]\nschedule = \"0 3 * * *\"\ntimezone = \"Europe/Berlin\"\njitter = \"5m\"\ntags = {{ include = [\"v*\"] }}\n\
         platforms = [\"linux/amd64\"]\nremove_extra = true\nmax_delete = {{ count = 7 }}\nreferrers = false\n\
         [defaults.cleanup]\ngrace = \"1h\"\nmode = \"apply\"\nmax_delete = {{ count = 9 }}\n{}{}\
         [[sync]]\nname = \"tag\"\nsource = \"a.io/x:1\"\ntarget = \"b.io/x\"\n\
         [[sync]]\nname = \"digest\"\nsource = \"a.io/x@sha256:{digest}\"\ntarget = \"c.io/x\"\n\
         [[cleanup]]\nname = \"c\"\nrepositories = [\"a.io/x\"]\ndelete = [{{ id = \"u\", untagged = true }}]\n",
        rule("one", ""),
        rule(
            "two",
            "every = \"1h\"\nremove_extra = false\ntags = { newest = 3 }\nplatforms = [\"linux/arm64\"]"
        ),
    );
    let config = good(&[("main.toml", &text)]);
    let [one, two, tag, digest] = &config.sync[..] else { panic!("{config:?}") };
    let limit = |rule: &config::SyncRule| rule.remove_extra.and_then(|limit| limit.count);
    assert_eq!((limit(one), limit(two), limit(tag), limit(digest)), (Some(7), None, Some(7), None));
    for rule in [one, two, tag, digest] {
        assert!(!rule.referrers && rule.timing.as_ref().unwrap().jitter.as_secs() == 300);
    }
    let shown = config.show();
    assert!(!shown.contains("[defaults"), "{shown}");
    assert_eq!(shown.matches("timezone = \"Europe/Berlin\"").count(), 3, "{shown}");
    for line in [
        "tags = { include = [\"v*\"] }",
        "tags = { newest = 3 }",
        "tags = { include = [\"1\"] }",
        "every = \"1h\"",
        "platforms = [\"linux/arm64\"]",
        "mode = \"apply\"",
        "max_delete = { count = 9",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert_eq!(good(&[("main.toml", &shown)]).show(), shown);
}

#[test]
fn mistakes_in_defaults_are_reported_once() {
    let text = format!(
        "[defaults.sync]\nname = \"x\"\nevery = \"soon\"\nplatforms = []\ninterval = \"1h\"\ntags = {{ includes = 1 }}\n\
         [defaults.cleanup]\nquarantine = {{ ttl = \"1d\" }}\n[defaults]\nretry = 1\n{}{}",
        rule("one", ""),
        rule("two", "")
    );
    let error = load(&[("main.toml", &text)]).unwrap_err();
    let headlines: Vec<&str> = error.lines().filter(|line| line.contains(".toml:")).collect();
    let expected = [
        "main.toml:2:1: every rule has its own `name`: there is no default",
        "main.toml:3:9: `soon` is not a duration",
        "main.toml:4:13: an empty list selects no platform",
        "main.toml:5:1: unknown key `interval` in [defaults.sync]",
        "main.toml:6:10: unknown key `includes` in `tags` of [defaults.sync]",
        "main.toml:8:14: key `to` is missing in `quarantine` of [defaults.cleanup]",
        "main.toml:10:1: unknown key `retry` in [defaults]",
    ];
    assert_eq!(headlines.len(), expected.len(), "{error}");
    for (found, expected) in headlines.iter().zip(expected) {
        assert!(found.starts_with(expected), "{expected}\n{error}");
    }
    assert!(error.contains("hint: write `every = \"1h\"`"), "{error}");
}

#[test]
fn variables_stand_in_hosts_addresses_and_paths() {
    let text = r#"
[daemon]
state = "/srv/${env:DIR}/x"
[registry."${env:HOST}"]
username = "u-${env:DIR}"
password = { file = "${env:DIR}/token" }
[[sync]]
name = "a"
source = "${env:HOST}/a/{x,y}"
target = ["b.io/${env:DIR}/{repository}", "oci:${env:DIR}/{repository}"]
[[cleanup]]
name = "c"
repositories = ["${env:HOST}/x", "!${env:HOST}/y"]
delete = [{ id = "u", untagged = true }]
"#;
    let config = good(&[("main.toml", text), ("rules.d/token", "x")]);
    assert_eq!(config.daemon.state, Path::new("/srv/rules.d/x"));
    let registry = &config.registries[&"r.example.com:5000".parse().unwrap()];
    assert_eq!(registry.username.as_deref(), Some("u-rules.d"));
    assert_eq!(config.sync[0].source.to_string(), "r.example.com:5000/a/{x,y}");
    assert_eq!(config.sync[0].targets[0].to_string(), "b.io/rules.d/{repository}");
    assert_eq!(config.cleanup[0].repositories.as_written().len(), 2);
}

#[test]
fn variables_that_cannot_be_replaced() {
    let text = r#"
[registry."${env:GONE}"]
password = { file = "${env:GONE}/x" }
username = "u"
[registry."q.io"]
username = "u"
password = "${env:TOKEN}"
[[sync]]
name = "${env:HOST}"
source = "${env:EMPTY}/a"
target = ["${HOST}/a", "${env:STRANGE}/b", "${env:a b}/c", "${env:x", "$HOST/d", "{{env \"HOST\"}}/e"]
"#;
    let error = load(&[("main.toml", text)]).unwrap_err();
    for expected in [
        "main.toml:1:11: the environment variable GONE is not set",
        "main.toml:2:21: the environment variable GONE is not set",
        "main.toml:6:12: a secret is never written",
        "hint: write `password = { env = \"TOKEN\" }`",
        "main.toml:8:8: environment variables are not replaced here",
        "main.toml:9:10: the environment variable EMPTY is empty",
        "main.toml:10:11: `${…}` without `env:` is not replaced",
        "main.toml:10:24: the value of the environment variable STRANGE cannot be used here",
        "main.toml:10:44: `a b` is not the name of an environment variable",
        "main.toml:10:60: `${env:x` has a `${env:` without its `}`",
        "hint: an environment variable is written `${env:NAME}`",
    ] {
        assert!(error.contains(expected), "{expected}\n{error}");
    }
    assert_eq!(error.matches("main.toml:").count(), 11, "{error}");
    // Without secrets, only their paths may be unknown.
    let reading = Reading { without_secrets: true, ..Reading::default() };
    let files = [(
        "main.toml",
        "[registry.\"q.io\"]\nusername = \"u\"\npassword = { file = \"${env:GONE}/x\" }\n",
    )];
    assert!(load_as(&files, reading).is_ok() && load(&files).is_err());
    let files = [("main.toml", "[daemon]\nstate = \"${env:GONE}/x\"\n")];
    assert!(load_as(&files, reading).unwrap_err().contains("GONE is not set"));
}

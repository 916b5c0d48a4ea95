//! What people write by habit: each mistake gets the line to write, and that line is valid.

use std::path::Path;

use crate::config;

/// All variables are set, and the file `PATH` has a certificate with its key.
fn parse(text: &str) -> Result<config::Config, config::ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("PATH"), super::certificate_with_key()).unwrap();
    let file: &Path = &folder.path().join("tranship.toml");
    config::parse(text, file, &|_| Some("/value".to_owned()))
}

/// The only mistake is the line `mistake` between the other lines. Its hint has the line `meant`,
/// which is valid in its place.
fn check(before: &str, mistake: &str, after: &str, meant: &str) {
    let text = format!("{before}\n{mistake}\n{after}\n");
    let text = text.trim_start();
    let error = parse(text).map(|_| ()).expect_err(text);
    let line = before.lines().count() + 1;
    let problem = error.problems().iter().find(|it| it.line == Some(line));
    let problem = problem.unwrap_or_else(|| panic!("{error}\n{text}"));
    let hint = problem.hint.clone().unwrap_or_default();
    assert!(hint.contains(&format!("`{meant}`")), "{meant}\n{error}\n{text}");
    let corrected = format!("{before}\n{meant}\n{after}\n");
    if let Err(error) = parse(&corrected) {
        panic!("what is suggested is wrong: {error}\n{corrected}");
    }
}

const LOGIN: &str = "[registry.\"r.io\"]\nusername = \"u\"";
const REGISTRY: &str = "[registry.\"r.io\"]";
const RULE: &str = "[[sync]]\nname = \"a\"\nsource = \"r.io/a\"\ntarget = \"t.io/a\"";
const NO_TARGET: &str = "[[sync]]\nname = \"a\"\nsource = \"r.io/a\"";
const NO_SOURCE: &str = "[[sync]]\nname = \"a\"\ntarget = \"t.io/a\"";
const CLEANUP: &str = "[[cleanup]]\nname = \"a\"\nrepositories = [\"r.io/a\"]";
const DELETE: &str = "delete = [{ id = \"u\", untagged = true }]";

#[test]
fn words_of_registries() {
    for (mistake, meant) in [
        ("pass = \"x\"", "password = { env = \"REGISTRY_PASSWORD\" }"),
        ("token = { env = \"X\" }", "password = { env = \"REGISTRY_PASSWORD\" }"),
        ("password_file = \"/run/x\"", "password = { file = \"PATH\" }"),
        ("password = \"${HUB_TOKEN}\"", "password = { env = \"HUB_TOKEN\" }"),
        ("password = \"{{env \\\"HUB_TOKEN\\\"}}\"", "password = { env = \"HUB_TOKEN\" }"),
    ] {
        check(LOGIN, mistake, "", meant);
    }
    for (mistake, meant) in [
        ("insecure = true", "insecure = \"http\""),
        ("insecure = true", "insecure = \"no-verify\""),
        ("tls_verify = false", "insecure = \"no-verify\""),
        ("skip_tls_verify = true", "insecure = \"no-verify\""),
        ("tls = \"disabled\"", "insecure = \"http\""),
        ("tls = \"insecure\"", "insecure = \"no-verify\""),
        ("plain_http = true", "insecure = \"http\""),
        ("ca_cert = \"ca.pem\"", "ca_file = \"PATH\""),
        ("reqPerSec = 5", "requests_per_second = 5"),
        ("reqConcurrent = 3", "parallel = 4"),
        ("idle_timeout = 60", "idle_timeout = \"60s\""),
    ] {
        check(REGISTRY, mistake, "", meant);
    }
    let user = format!("{REGISTRY}\npassword = {{ env = \"X\" }}");
    check(&user, "user = \"bot\"", "", "username = \"NAME\"");
    // What may be a password is not repeated.
    let error =
        parse("[registry.\"r.io\"]\nusername = \"u\"\npassword = \"$HUNTER2\"\n").unwrap_err();
    assert!(!error.to_string().contains("HUNTER2"), "{error}");
}

#[test]
fn hosts() {
    for (mistake, meant) in [
        ("[registry.\"https://ghcr.io\"]", "[registry.\"ghcr.io\"]"),
        ("[registry.\"http://r.io:5000\"]", "[registry.\"r.io:5000\"]"),
        ("[registry.\"http://r.io:5000\"]", "insecure = \"http\""),
        ("[registry.\"ghcr.io/acme\"]", "[registry.\"ghcr.io\"]"),
        ("[registry.\"https://index.docker.io/v1/\"]", "[registry.\"index.docker.io\"]"),
    ] {
        let (before, meant) = match meant {
            "insecure = \"http\"" => {
                let error = parse(&format!("{mistake}\nparallel = 1\n")).unwrap_err();
                assert!(error.to_string().contains("`insecure = \"http\"`"), "{error}");
                continue;
            }
            meant => ("", meant),
        };
        check(before, mistake, "parallel = 1", meant);
    }
    for (mistake, meant) in [
        ("[registry.ghcr.io]", "[registry.\"ghcr.io\"]"),
        ("[registry.registry.example.com]", "[registry.\"registry.example.com\"]"),
        ("[registry.localhost:5000]", "[registry.\"localhost:5000\"]"),
        ("[registry.r.example.com:5000]", "[registry.\"r.example.com:5000\"]"),
    ] {
        check("", mistake, "parallel = 1", meant);
    }
    for (mistake, meant) in [
        ("source = \"https://ghcr.io/acme/app\"", "source = \"ghcr.io/acme/app\""),
        ("source = \"http://r.io:5000/app\"", "source = \"r.io:5000/app\""),
    ] {
        check(NO_SOURCE, mistake, "", meant);
    }
    check(NO_TARGET, "target = \"https://t.io/{name}\"", "", "target = \"t.io/{name}\"");
    check(
        "[events.hub]\nformat = \"quay\"",
        "registry = \"https://quay.io/v2/\"",
        "",
        "registry = \"quay.io\"",
    );
}

#[test]
fn words_of_rules() {
    for (mistake, meant) in [
        ("interval = \"60m\"", "every = \"60m\""),
        ("interval = 3600", "every = \"15m\""),
        ("every = 3600", "every = \"3600s\""),
        ("cron = \"0 4 * * *\"", "schedule = \"0 4 * * *\""),
        ("trigger = \"scheduled\"", "schedule = \"0 3 * * *\""),
        ("schedule = \"@daily\"", "schedule = \"0 0 * * *\""),
        ("schedule = \"@hourly\"", "schedule = \"0 * * * *\""),
        ("schedule = \"@weekly\"", "schedule = \"0 0 * * 0\""),
        ("schedule = \"@monthly\"", "schedule = \"0 0 1 * *\""),
        ("schedule = \"@yearly\"", "schedule = \"0 0 1 1 *\""),
        ("schedule = \"@every 15m\"", "every = \"15m\""),
        ("schedule = \"15m\"", "every = \"15m\""),
        ("schedule = \"0 */5 * * * *\"", "schedule = \"*/5 * * * *\""),
        ("schedule = \"0 0 3 ? * MON *\"", "schedule = \"0 3 * * MON\""),
        ("tag_filter = \"v*\"", "tags = [\"v*\"]"),
        ("include = [\"a\", \"b*\"]", "tags = [\"a\", \"b*\"]"),
        ("exclude = [\"a\"]", "tags = { exclude = [\"*-rc*\"] }"),
        ("latest = 3", "tags = { newest = 5 }"),
        ("platform = \"linux/arm64\"", "platforms = [\"linux/arm64\"]"),
        ("platforms = \"linux/arm64\"", "platforms = [\"linux/arm64\"]"),
        ("tags = { include = \"v*\" }", "include = [\"v*\"]"),
        ("override = true", "on_conflict = \"overwrite\""),
        ("deletion = true", "remove_extra = true"),
        ("digestTags = true", "referrers = true"),
        ("referrers = \"yes\"", "referrers = true"),
        ("tz = \"Europe/Berlin\"\nschedule = \"0 3 * * *\"", "timezone = \"Europe/Berlin\""),
    ] {
        let (mistake, after) = mistake.split_once('\n').unwrap_or((mistake, ""));
        if meant.starts_with("include") {
            let error = parse(&format!("{RULE}\n{mistake}\n")).unwrap_err();
            assert!(error.to_string().contains(meant), "{error}");
            continue;
        }
        check(RULE, mistake, after, meant);
    }
    for (mistake, meant) in [
        ("destination = \"t.io/x\"", "target = \"t.io/x\""),
        ("dest = \"t.io/x\"", "target = \"t.io/x\""),
        ("targets = [\"t.io/x\", \"u.io/x\"]", "target = [\"t.io/x\", \"u.io/x\"]"),
        ("dest_namespace = \"x\"", "target = \"registry.example.com/namespace/{name}\""),
    ] {
        check(NO_TARGET, mistake, "", meant);
    }
    for (mistake, meant) in [
        ("image = \"r.io/x\"", "source = \"r.io/x\""),
        ("src_registry = \"r.io\"", "source = \"registry.example.com/acme/**\""),
    ] {
        let after = if meant.ends_with("**\"") { "" } else { "every = \"1h\"" };
        let before = NO_SOURCE.replace("t.io/a", "t.io/{tail}");
        check(&before, mistake, after, meant);
    }
    for mistake in ["username = \"u\"", "tls = \"disabled\"", "ratelimit = 1"] {
        let error = parse(&format!("{RULE}\n{mistake}\n")).unwrap_err().to_string();
        assert!(error.contains("`[registry.\"registry.example.com\"]`"), "{error}");
    }
    let error = parse(&format!("{RULE}\ntype = \"repository\"\n")).unwrap_err().to_string();
    assert!(error.contains("leave it out: a source with wildcards"), "{error}");
}

#[test]
fn words_of_cleanup_rules() {
    for (mistake, meant) in [
        ("interval = \"24h\"", "every = \"24h\""),
        ("dry_run = true", "mode = \"plan\""),
        ("retain = 5", "keep = [{ id = \"newest\", tags = [\"*\"], newest = 5 }]"),
        ("grace = 60", "grace = \"60s\""),
    ] {
        check(&format!("{CLEANUP}\n{DELETE}"), mistake, "", meant);
    }
    let meant =
        "delete = [{ id = \"old\", tags = [\"*\"], older_than = \"30d\", beyond_newest = 5 }]";
    check(CLEANUP, "older_than = \"30d\"", "", meant);
    let text =
        format!("{CLEANUP}\ndelete = [{{ name = \"x\", tag = \"v*\", max_age = \"3d\" }}]\n");
    let error = parse(&text).unwrap_err().to_string();
    for line in ["`id = \"x\"`", "`tags = [\"v*\"]`", "`older_than = \"30d\"`"] {
        assert!(error.contains(line), "{line}\n{error}");
    }
}

#[test]
fn words_at_the_top() {
    for (mistake, meant) in [
        ("[[creds]]\nregistry = \"r.io\"", "[registry.\"registry.example.com\"]"),
        ("[[rules]]\nname = \"a\"", "[[sync]]"),
        ("source = \"a\"", "[[sync]]"),
        ("[retention]\nx = 1", "[[cleanup]]"),
        ("[webhook]\nurl = \"x\"", "[[notify]]"),
        ("[server]\nport = 1", "[daemon]"),
        ("version = 1", "leave it out"),
        ("[[sync]\nname = \"a\"", "[[sync]]"),
        ("[sync]\nname = \"a\"\nsource = \"a\"\ntarget = \"t.io/a\"", "[[sync]]"),
        ("[[notify]\nurl = \"a\"", "[[notify]]"),
    ] {
        let error = parse(mistake).unwrap_err().to_string();
        let hint = error.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
        assert!(hint.contains(meant), "{meant}\n{error}");
    }
    for (mistake, meant) in [
        ("parallel = 3", "transfers = 32"),
        ("port = 80", "listen = \"127.0.0.1:8642\""),
        ("data_dir = \"/x\"", "state = \"/x\""),
        ("api_token = \"x\"", "token = { env = \"TRANSHIP_TOKEN\" }"),
        ("workers = 3", "transfers = 32"),
    ] {
        check("[daemon]", mistake, "", meant);
    }
}

/// The only message that a text has, and its hint; there is nothing else to read.
fn only(text: &str) -> (Option<usize>, String) {
    let error = parse(text).map(|_| ()).expect_err(text);
    assert!(error.warnings().is_none(), "{:?}\n{text}", error.warnings());
    let [problem] = error.problems() else { panic!("{error}\n{text}") };
    (problem.line, format!("{}\n{}", problem.message, problem.hint.clone().unwrap_or_default()))
}

#[test]
fn one_mistake_has_one_message() {
    // Each of them is used, once the mistake is corrected.
    let registry = |host: &str| {
        format!("[registry.\"{host}\"]\nusername = \"u\"\npassword = {{ env = \"X\" }}\n")
    };
    let registries = format!("{}{}", registry("t.io"), registry("r.io"));
    for (rule, key) in [
        (format!("{NO_TARGET}\ntargets = [\"t.io/a\"]"), "targets"),
        (format!("{NO_TARGET}\ntargt = \"t.io/a\""), "targt"),
        (format!("{NO_SOURCE}\nimage = \"r.io/a\""), "image"),
        (format!("{NO_SOURCE}\nsrc_registry = \"r.io\""), "src_registry"),
        (format!("{CLEANUP}\nolder_than = \"30d\""), "older_than"),
        ("[[cleanup]]\nname = \"a\"\nscope = [\"r.io/a\"]\n".to_owned() + DELETE, "scope"),
        (format!("{CLEANUP}\ndelete = [{{ name = \"x\", untagged = true }}]"), "name"),
    ] {
        let registries = if rule.starts_with("[[sync") { &registries } else { &registry("r.io") };
        let (_, told) = only(&format!("{registries}{rule}\n"));
        assert!(told.starts_with(&format!("unknown key `{key}` ")), "{told}");
    }
    // What is missing beside an unknown key of another meaning is still missing.
    let error = parse(&format!("{NO_TARGET}\nimage = \"r.io/a\"\n")).unwrap_err();
    assert!(error.to_string().contains("key `target` is missing"), "{error}");
    // A rule without a target may be one for the registry that no other rule uses.
    let (_, told) = only(&format!("{registries}{NO_TARGET}\n"));
    assert!(told.starts_with("key `target` is missing in [[sync]]"), "{told}");
}

#[test]
fn words_of_regsync() {
    for (mistake, meant) in [
        ("allow = [\"latest\", \"3\\\\.\\\\d+\"]", "include = [\"latest\", \"/3\\\\.\\\\d+/\"]"),
        ("allow = [\"v*\"]", "include = [\"v*\"]"),
        ("allow = [\".*\"]", "include = [\"*\"]"),
        ("allow = [\"v.*\"]", "include = [\"/v.*/\"]"),
        ("allow = 5", "include = [\"v*\"]"),
        ("deny = [\"3\\\\.0\"]", "exclude = [\"/3\\\\.0/\"]"),
        ("semverRange = [\">=1.2\"]", "semver = \">=1\""),
    ] {
        check(&format!("{RULE}\n[sync.tags]"), mistake, "", meant);
    }
    for (mistake, meant) in [
        ("interval = \"12h\"", "every = \"12h\""),
        ("includeExternal = true", "foreign_layers = \"copy\""),
    ] {
        check("[defaults.sync]", mistake, RULE, meant);
        let hint = only(&format!("[defaults]\n{mistake}\n{RULE}\n"));
        let expected = format!("write `{meant}` below `[defaults.sync]`");
        assert!(hint.0 == Some(2) && hint.1.ends_with(&expected), "{hint:?}");
    }
    for (text, line) in [
        (format!("[defaults]\nparallel = 4\n{RULE}\n"), 2),
        (format!("[defaults.sync]\nparallel = 4\n{RULE}\n"), 2),
        (format!("{RULE}\nparallel = 4\n"), 5),
    ] {
        let (at, told) = only(&text);
        assert_eq!(at, Some(line), "{told}");
        assert!(told.contains("write `transfers = 32` below `[daemon]`"), "{told}");
    }
    for host in ["r.io", "r.io:5000", "r.io/", "localhost:5000"] {
        let rule = NO_SOURCE.replace("t.io/a", "t.io/{repository}");
        let (line, told) = only(&format!("{rule}\nsource = \"{host}\"\n"));
        let all = format!("\"{}/**\"", host.trim_end_matches('/'));
        assert!(
            told.ends_with(&format!("for all repositories of the registry, write `{all}`")),
            "{told}"
        );
        assert_eq!(line, Some(4));
        parse(&format!("{rule}\nsource = {all}\n")).unwrap();
    }
}

#[test]
fn words_of_gitlab() {
    for (mistake, meant) in [
        ("cadence = \"7d\"", "every = \"7d\""),
        ("cadence = \"1month\"", "schedule = \"0 3 1 * *\""),
        ("cadence = \"3month\"", "schedule = \"0 3 1 */3 *\""),
        ("cadence = \"often\"", "every = \"7d\""),
        ("keep_n = 10", "keep = [{ id = \"newest\", tags = [\"*\"], newest = 10 }]"),
        ("keep_n = 0", "keep = [{ id = \"newest\", tags = [\"*\"], newest = 5 }]"),
        (
            "name_regex_keep = 'main|v\\d+'",
            "keep = [{ id = \"kept\", tags = [\"/main|v\\\\d+/\"] }]",
        ),
    ] {
        check(&format!("{CLEANUP}\n{DELETE}"), mistake, "", meant);
    }
    let delete = |tags: &str, age: &str| {
        format!(
            "delete = [{{ id = \"old\", tags = [{tags}], older_than = \"{age}\", beyond_newest = 5 }}]"
        )
    };
    for (mistake, meant) in [
        ("name_regex_delete = \".*\"", delete("\"*\"", "30d")),
        ("name_regex = \"dev-.*\"", delete("\"/dev-.*/\"", "30d")),
        ("name_regex_delete = \"(\"", delete("\"pr-*\"", "30d")),
        ("older_than = 14", delete("\"*\"", "14d")),
        ("older_than = \"90d\"", delete("\"*\"", "90d")),
        ("older_than = \"old\"", delete("\"*\"", "30d")),
    ] {
        check(CLEANUP, mistake, "", &meant);
    }
    // Days, and not seconds.
    let text =
        format!("{CLEANUP}\ndelete = [{{ id = \"x\", tags = [\"pr-*\"], older_than = 14 }}]\n");
    let (line, told) = only(&text);
    assert!(line == Some(4) && told.ends_with("write `older_than = \"14d\"`"), "{told}");
    let (_, told) = only(&format!("{CLEANUP}\n{DELETE}\nenabled = true\n"));
    assert!(told.contains("leave it out: what is in the file is in force"), "{told}");
}

#[test]
fn files_of_other_tools() {
    let regsync =
        "version: 1\ncreds:\n  - registry: r.io\n    pass: hunter2\nsync:\n  - source: a\n";
    for (text, format, hint) in [
        (regsync, "YAML", "docs/coming-from-regsync.md shows a regsync.yml in TOML"),
        ("# mine\n\nx-sched: &s\n  interval: 5m\n", "YAML", "docs/coming-from-regsync.md"),
        ("{\n  \"sync\": []\n}\n", "JSON", "`tranship config init` writes"),
    ] {
        let (line, told) = only(text);
        let message = format!("this is {format}, and the configuration of tranship is TOML\n");
        assert!(told.starts_with(&message) && told.contains(hint), "{told}");
        assert!(line.is_some() && !told.contains("hunter2"));
    }
}

#[test]
fn what_is_not_toml() {
    for (mistake, meant) in [
        ("source = ghcr.io/acme/app", "source = \"…\""),
        ("name: \"r\"", "name = …"),
        ("referrers = yes", "referrers = true"),
        ("referrers = False", "referrers = false"),
        ("tags = [\"/\\d/\"]", "tags = '…'"),
    ] {
        let text = format!("[[sync]]\nname = \"a\"\ntarget = \"t.io/a\"\n{mistake}\n");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("`{meant}`")), "{meant}\n{error}");
    }
}

#[test]
fn a_list_of_tags_is_what_is_included() {
    let select = |tags: &str| {
        let config = parse(&format!("{RULE}\ntags = {tags}\n")).unwrap_or_else(|e| panic!("{e}"));
        config.sync[0].tags.clone()
    };
    let expected = select("{ include = [\"v*\", \"main\"] }");
    assert_eq!(select("[\"v*\", \"main\"]"), expected);
    assert_eq!(select("\"v*\""), select("{ include = [\"v*\"] }"));
    for (tags, expected) in [
        ("[]", "an empty list selects no tags"),
        ("[\"a b\"]", "5:9: `a b` is not a tag"),
        ("5", "expected a table, or a list of tags"),
    ] {
        let error = parse(&format!("{RULE}\ntags = {tags}\n")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let config = parse(&format!("{RULE}\ntags = [\"pr-.*\"]\n")).unwrap();
    assert!(config.warnings.is_some(), "a list is looked at as `include` is");
}

//! What people write by habit: each mistake gets the line to write, and that line is valid.

use std::path::Path;

use crate::config;

/// All variables are set, and the file `PATH` is there.
fn parse(text: &str) -> Result<config::Config, config::ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("PATH"), "x").unwrap();
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
        ("port = 80", "listen = \"127.0.0.1:8642\""),
        ("data_dir = \"/x\"", "state = \"/x\""),
        ("api_token = \"x\"", "token = { env = \"TRANSHIP_TOKEN\" }"),
        ("workers = 3", "transfers = 32"),
    ] {
        check("[daemon]", mistake, "", meant);
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

//! What a configuration without errors means, and that `show` says the same.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::parse;
use crate::config::{
    Config, ForeignLayers, IndexMode, Insecure, OnConflict, SecretSource, SourceRepositories,
    SyncRule, load,
};
use crate::schedule::Trigger;

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|e| panic!("{e}"))
}

fn rule(extra: &str) -> SyncRule {
    let text = format!("[[sync]]\nname = \"r\"\ntarget = \"r.io/{{name}}\"\n{extra}");
    good(&text).sync.remove(0)
}

fn literals(rule: &SyncRule) -> Option<Vec<String>> {
    rule.tags.literals().map(|tags| tags.iter().map(ToString::to_string).collect())
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = good("");
    assert_eq!(config.daemon.listen.to_string(), "127.0.0.1:8642");
    assert_eq!(config.daemon.state, Path::new("/home/me/.local/state/tranship"));
    assert!(config.registries.is_empty() && config.sync.is_empty());
}

#[test]
fn the_state_folder_follows_the_xdg_specification() {
    let state = |xdg: Option<&str>, home: Option<&str>| {
        let env = |name: &str| match name {
            "XDG_STATE_HOME" => xdg.map(str::to_owned),
            "HOME" => home.map(str::to_owned),
            _ => None,
        };
        crate::config::parse("", Path::new("t.toml"), &env)
            .map(|config| config.daemon.state.display().to_string())
            .map_err(|error| error.to_string())
    };
    assert_eq!(state(Some("/xdg"), Some("/me")).unwrap(), "/xdg/tranship");
    assert_eq!(state(Some("relative"), Some("/me")).unwrap(), "/me/.local/state/tranship");
    let error = state(None, None).unwrap_err();
    assert!(error.contains("set `state` in [daemon]"), "{error}");
}

#[test]
fn a_rule_has_the_documented_defaults() {
    let rule = rule("source = \"alpine\"");
    assert_eq!(rule.source.store.to_string(), "docker.io");
    assert_eq!(rule.source.repository().unwrap().as_str(), "library/alpine");
    assert!(rule.timing.is_none() && rule.tags.is_everything() && rule.platforms.is_empty());
    assert!(rule.referrers && rule.immutable.is_none());
    assert_eq!(rule.index, IndexMode::Rewrite);
    assert_eq!(rule.on_conflict, OnConflict::Overwrite);
    assert_eq!(rule.foreign_layers, ForeignLayers::Skip);
    assert_eq!(rule.recheck, Duration::from_secs(86_400));
    assert_eq!(rule.remove_extra, None);
}

#[test]
fn extra_tags_are_removed_within_limits() {
    let limits = |more: &str| {
        let limits = rule(&format!("source = \"alpine\"\n{more}")).remove_extra;
        limits.map(|limits| (limits.count, limits.percent))
    };
    assert_eq!(limits("remove_extra = false"), None);
    assert_eq!(limits("remove_extra = true"), Some((Some(200), Some(20))));
    let more = "remove_extra = true\nmax_delete = { percent = 5 }";
    assert_eq!(limits(more), Some((Some(200), Some(5))));
}

#[test]
fn sources_say_which_tags() {
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_eq!(literals(&rule("source = \"ghcr.io/a/b:v1\"")).unwrap(), ["v1"]);
    assert_eq!(
        literals(&rule("source = \"ghcr.io/a/b\"\ntags = { include = [\"x\"] }")).unwrap(),
        ["x"]
    );
    let tagged = rule(&format!("source = \"docker://ghcr.io/a/b:v1@{digest}\""));
    assert_eq!(literals(&tagged).unwrap(), ["v1"]);
    let SourceRepositories::Pinned { tag, digest: pinned, .. } = &tagged.source.repositories else {
        panic!("{tagged:?}");
    };
    assert_eq!((tag.as_ref().unwrap().as_str(), pinned.to_string()), ("v1", digest.clone()));
    assert!(literals(&rule(&format!("source = \"ghcr.io/a/b@{digest}\""))).unwrap().is_empty());
}

#[test]
fn patterns_are_read_with_their_host() {
    for (source, registry, pattern, prefix) in [
        ("ghcr.io/acme/*", "ghcr.io", "acme/*", "acme"),
        ("[::1]:5000/x/*", "[::1]:5000", "x/*", "x"),
        ("acme/*", "docker.io", "acme/*", "acme"),
        ("docker.io/postgres-*", "docker.io", "library/postgres-*", "library"),
    ] {
        let source = rule(&format!("source = \"{source}\"")).source;
        let SourceRepositories::Matching(found) = &source.repositories else {
            panic!("{source:?}")
        };
        assert_eq!((source.store.to_string().as_str(), found.as_str()), (registry, pattern));
        assert_eq!(source.literal_prefix(), prefix);
    }
}

#[test]
fn layouts_and_archives_are_sources_and_targets() {
    for (source, repository, target, address) in [
        ("oci:/srv/**", "a/b", "oci:/mirror/x-{repository}", "oci:/mirror/x-a/b"),
        ("oci:/srv/app", "app", "oci:/mirror/app", "oci:/mirror/app"),
        ("oci-archive:/srv/App.tar", "app", "r.io/{name}", "r.io/app"),
        ("r.io/a/b", "a/b", "oci-archive:/mirror/all.tar", "oci-archive:/mirror/all.tar"),
    ] {
        let text = format!("[[sync]]\nname = \"r\"\nsource = \"{source}\"\ntarget = \"{target}\"");
        let config = good(&text);
        let (from, to) = (&config.sync[0].source, &config.sync[0].targets[0]);
        let repository = repository.parse().unwrap();
        assert!(from.matches(&repository), "{source}");
        assert_eq!(to.address(from, &repository).unwrap().to_string(), address);
        assert_eq!((from.to_string(), to.to_string()), (source.to_owned(), target.to_owned()));
        assert_eq!(good(&config.show()), config);
    }
    let one = rule("source = \"oci:images/app:v1\"");
    assert_eq!(literals(&one).unwrap(), ["v1"]);
    assert!(one.source.to_string().ends_with("/images/app"), "{}", one.source);
}

#[test]
fn timings_are_read() {
    let timing = |text: &str| rule(&format!("source = \"alpine\"\n{text}")).timing.unwrap();
    let seconds = Duration::from_secs;

    let daily = timing("schedule = \"0 */6 * * 7\"\ntimezone = \"europe/berlin\"");
    let Trigger::Cron { schedule, timezone } = &daily.trigger else { panic!() };
    assert_eq!(schedule.to_string(), "0 */6 * * 7");
    assert_eq!(timezone.iana_name(), Some("Europe/Berlin"));
    assert_eq!((daily.run_at_start, daily.jitter), (false, seconds(0)));
    let daily = timing("schedule = \"0 3 * * *\"\nrun_at_start = true\njitter = \"2h\"");
    let Trigger::Cron { timezone, .. } = &daily.trigger else { panic!() };
    assert_eq!(timezone.iana_name(), Some("UTC"));
    assert_eq!((daily.run_at_start, daily.jitter), (true, seconds(7200)));

    let every = timing("every = \"1h 30m\"");
    assert_eq!(every.trigger, Trigger::Every(seconds(5400)));
    assert_eq!((every.run_at_start, every.jitter), (true, seconds(0)));
    let every = timing("every = \"1m\"\nrun_at_start = false\njitter = \"59s\"");
    assert_eq!((every.run_at_start, every.jitter), (false, seconds(59)));
}

#[test]
fn registries_are_read() {
    let config = good(
        "[registry.\"GHCR.io\"]\nusername = \"u\"\npassword = { file = \"there\" }\n\
         insecure = \"no-verify\"\nca_file = \"there\"\nparallel = 3\nrequests_per_second = 5\n\
         auth_realms = [\"Auth.docker.io\", \"http://auth.lan:5001\"]\n\
         [registry.\"a.io\"]\nusername = \"u\"\npassword = { command = [\"pass\", \"x\"] }",
    );
    let ghcr = &config.registries[&"ghcr.io".parse().unwrap()];
    assert_eq!(ghcr.insecure, Insecure::NoVerify);
    assert_eq!(ghcr.parallel.unwrap().get(), 3);
    assert_eq!(ghcr.requests_per_second, Some(5.0));
    assert_eq!(ghcr.auth_realms, ["auth.docker.io", "http://auth.lan:5001"]);
    let Some(SecretSource::File(file)) = &ghcr.password else { panic!("{ghcr:?}") };
    assert!(file.is_absolute() && file.ends_with("there"));
    assert_eq!(ghcr.ca_file.as_ref(), Some(file));
    let other = &config.registries[&"a.io".parse().unwrap()];
    assert_eq!(other.password, Some(SecretSource::Command(vec!["pass".into(), "x".into()])));
}

/// The rules whose overlap is not certain are fine.
#[test]
fn rules_may_share_a_target() {
    let text = |one: &str, other: &str| {
        format!(
            "[[sync]]\nname = \"1\"\nsource = \"a.io/x{one}\ntarget = \"r.io/x\"\n\
             [[sync]]\nname = \"2\"\nsource = {other}\ntarget = \"r.io/x\""
        )
    };
    good(&text(":v1\"", "\"a.io/y:v2\""));
    good(&text("\"\ntags = { include = [\"a*\"] }", "\"a.io/y\"\ntags = { include = [\"b*\"] }"));
    good(&text("\"", "\"a.io/x\""));
    let pinned = format!("\"a.io/y@sha256:{}\"", "a".repeat(64));
    good(&text("\"", &pinned));
}

#[test]
fn the_file_itself_can_be_the_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tranship.toml");
    let message = |path: &Path| {
        let error = load(path, &|_| None).unwrap_err();
        assert_eq!((error.problems()[0].line, error.problems()[0].column), (None, None));
        error.to_string()
    };
    assert!(message(&path).contains("tranship.toml: cannot read the configuration: No such file"));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(message(&path).contains("UTF-8"));
    let file = std::fs::File::create(&path).unwrap();
    file.set_len((16 << 20) + 1).unwrap();
    assert!(message(&path).contains("larger than 16 MiB"));
    std::fs::write(&path, "[daemon]\nstate = \"state\"\n").unwrap();
    assert_eq!(load(&path, &|_| None).unwrap().daemon.state, folder.path().join("state"));
}

#[test]
fn show_fills_in_the_defaults() {
    let config = good(
        "[daemon]\nstate = \"/s\"\n[registry.\"ghcr.io\"]\nusername = \"u\"\npassword = { env = \"SET\" }\n\
         [[sync]]\nname = \"a \\\"b\\\"\"\nevery = \"90m\"\nsource = \"alpine:3\"\ntarget = \"r.io/{name}\"",
    );
    insta::assert_snapshot!(config.show(), @r#"
    [daemon]
    listen = "127.0.0.1:8642"
    state = "/s"
    grace = "20s"
    transfers = 32
    stall_after = "15m"
    history = "256MiB"

    [registry."ghcr.io"]
    username = "u"
    password = { env = "SET" }
    auth_realms = []

    [[sync]]
    name = "a \"b\""
    every = "1h 30m"
    run_at_start = true
    jitter = "0s"
    source = "docker.io/library/alpine"
    target = ["r.io/{name}"]
    tags = { include = ["3"] }
    index = "rewrite"
    referrers = true
    on_conflict = "overwrite"
    recheck = "1day"
    foreign_layers = "skip"
    remove_extra = false
    "#);
}

/// One of the texts, or nothing.
fn maybe(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::option::of(proptest::sample::select(texts))
        .prop_map(|line| line.map_or_else(String::new, |line| format!("{line}\n")))
}

prop_compose! {
    fn registry()(
        login in maybe(&[
            "username = 'u\"\\'\npassword = { env = 'SET' }",
            "username = 'ü'\npassword = { command = ['a b', '\"', \"\\t\\u007f\"] }",
            "username = 'u'\npassword = { file = 'there' }",
        ]),
        insecure in maybe(&["insecure = 'http'", "insecure = 'no-verify'"]),
        files in maybe(&["ca_file = 'there'", "client_cert = 'there'\nclient_key = 'there'"]),
        parallel in maybe(&["parallel = 1", "parallel = 64"]),
        rate in maybe(&["requests_per_second = 3", "requests_per_second = 0.1", "requests_per_second = 1e21"]),
        realms in maybe(&["auth_realms = ['a.io', 'B.io:1']"]),
    ) -> String {
        format!("{login}{insecure}{files}{parallel}{rate}{realms}")
    }
}

prop_compose! {
    fn daemon()(
        history in maybe(&["history = '1MiB'", "history = '1048577'", "history = '3 GB'"]),
    ) -> String {
        format!("state = '/s'\n{history}")
    }
}

prop_compose! {
    fn notify()(
        url in maybe(&["url = { file = 'there' }\nformat = 'slack'", "url = { env = 'SET' }\nheaders = { X-A = { env = 'SET' }, b = { file = 'there' } }"]),
        on in maybe(&["on = ['safety', 'failure']", "on = ['recovery']"]),
        rules in maybe(&["rules = ['r']", "rules = ['r*', '{r,s}']"]),
    ) -> String {
        let url = if url.is_empty() { "url = 'http://alerts.example.com'\n".to_owned() } else { url };
        format!("{url}{on}{rules}")
    }
}

prop_compose! {
    fn sync()(
        trigger in maybe(&["every = '7d 1s'", "every = '1month'", "schedule = '0  0 1 * MON'", "schedule = '1 1 1 1 1'\ntimezone = 'UTC'", "schedule = '1 1 * * *'\ntimezone = 'Europe/Rome'\njitter = '1h'\nrun_at_start = true", "every = '1s'\njitter = '1ns'\nrun_at_start = false"]),
        source in proptest::sample::select(vec![
            "source = 'alpine:3'",
            "source = 'ghcr.io/a/b:1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
            "source = 'ghcr.io/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
            "source = 'x-{a,b}'",
            "source = 'ghcr.io/a/b'\ntags = { include = ['/v\\d+\"/', '*'], exclude = ['x'], semver = '>=1, <2', latest = 3 }",
            "source = 'ghcr.io/**'\ntags = { exclude = ['a', 'b?'] }",
        ]),
        target in proptest::sample::select(vec!["'r.io/x/{repository}'", "['r.io/x/{ repository | flatten }', 'r.io:1/{tail}']"]),
        platforms in maybe(&["platforms = ['linux/arm/v7', 'Linux/amd64']"]),
        options in maybe(&["index = 'sparse'\nreferrers = false", "on_conflict = 'keep'", "on_conflict = 'fail'\nforeign_layers = 'copy'"]),
        more in maybe(&["recheck = '0s'", "recheck = '1ns'", "immutable = ['v*', '/x/']"]),
    ) -> String {
        format!("{trigger}{source}\ntarget = {target}\n{platforms}{options}{more}")
    }
}

proptest! {
    #[test]
    fn shown_configurations_mean_the_same(daemon in daemon(), registry in registry(), notify in notify(), rule in sync()) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("there"), super::certificate_with_key()).unwrap();
        let file = folder.path().join("tranship.toml");
        let env = |_: &str| Some("/value".to_owned());
        let text = format!("[daemon]\n{daemon}[registry.'q.io:5']\n{registry}[[notify]]\n{notify}[[sync]]\nname = 'r'\n{rule}");
        let config = crate::config::parse(&text, &file, &env).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let shown = config.show();
        let again = crate::config::parse(&shown, &file, &env).unwrap_or_else(|e| panic!("{e}\n{shown}"));
        // The places of warnings differ.
        let plain = |config| Config { warnings: None, ..config };
        prop_assert_eq!(plain(again), plain(config));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}|(\\[\\[?(sync|registry|daemon)\\]?\\]\n|[a-z]{1,4} ?= ?(\"[a-z]\"|\\[1|\\{ ?\\}|')\n|\\.|\"|ü|\r\n){0,8}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

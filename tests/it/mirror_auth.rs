//! Every way to log in, at the source and at the target; and what is said where it does not work.
//! No secret ever shows in what is printed, logged or kept.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::mirror_setup::{Mirror, Report};
use crate::support::process::{Finished, Running};
use crate::support::scripted::Login;
use crate::support::{
    DockerRegistry, Family, Image, Kind, LayoutRegistry, Place, Scripted, TokenServer, assert_same,
};

const USER: &str = "mirror-bot";
const SECRET: &str = "tr0ub4dor-and-3";
const HTTP: &str = "insecure = \"http\"";

fn image() -> Image {
    Image::platforms(Family::Oci, "app", &["amd64", "arm64"])
}

fn rule(source: &impl Place, target: &impl Place) -> String {
    format!("source = \"{}/app:v1\"\ntarget = \"{}/app\"", source.host(), target.host())
}

/// Runs with the log at its most talkative, and looks for secrets in all that is left.
async fn run(mirror: &Mirror, variables: &[(&str, &str)], secrets: &[&str]) -> Finished {
    mirror.configure();
    let mut command = mirror.tranship.command();
    command.args(["sync", "-vv", "--output", "json"]).envs(variables.iter().copied());
    let finished = Running::new(&mut command).finish().await;
    let mut forbidden: Vec<String> = secrets.iter().map(|&secret| secret.to_owned()).collect();
    forbidden.extend(secrets.iter().map(|secret| STANDARD.encode(format!("{USER}:{secret}"))));
    // How every JSON Web Token begins.
    forbidden.push("eyJ0eXAi".to_owned());
    forbidden.push("eyJhbGci".to_owned());
    for secret in &forbidden {
        assert!(!finished.stdout.contains(secret), "{secret} in {finished:?}");
        assert!(!finished.stderr.contains(secret), "{secret} in {finished:?}");
        assert_not_within(&mirror.state(), secret);
    }
    assert!(finished.stderr.contains("TRACE"), "the log was to be talkative: {finished:?}");
    finished
}

fn assert_not_within(folder: &Path, secret: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_not_within(&path, secret);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
}

async fn succeed(mirror: &Mirror, variables: &[(&str, &str)], secrets: &[&str]) {
    let finished = run(mirror, variables, secrets).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    Report::of(&finished).assert_copied(1, 0);
}

/// A run that must fail on this registry, with a hint; its words.
async fn refused(mirror: &Mirror, place: &impl Place, variables: &[(&str, &str)]) -> String {
    let finished = run(mirror, variables, &[SECRET, "wr0ng-secret"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let words = Report::of(&finished).words();
    assert!(words.contains(place.host()), "{words}");
    words
}

async fn closed() -> DockerRegistry {
    DockerRegistry::new().htpasswd(USER, SECRET).run().await
}

#[tokio::test]
async fn passwords_come_from_variables_files_and_commands() {
    let open = LayoutRegistry::start().await;
    let (source, target) = tokio::join!(closed(), closed());
    image().push(&source, "app", "v1").await;
    let mirror = Mirror::new();
    mirror.tranship.write("secrets/registry", format!("{SECRET}\n"));
    let passwords = [
        "{ env = \"REGISTRY_PASSWORD\" }",
        "{ file = \"secrets/registry\" }",
        "{ command = [\"cat\", \"secrets/registry\"] }",
    ];
    let mut mirror = mirror.http(&open);
    for (at, password) in passwords.iter().enumerate() {
        let settings = format!("{HTTP}\nusername = \"{USER}\"\npassword = {password}");
        mirror = mirror.registry(&source, &settings).registry(&target, &settings);
        let lines = format!(
            "source = \"{}/app:v1\"\ntarget = \"{}/app{at}\"",
            source.host(),
            target.host()
        );
        mirror.set_rule("closed", &lines);
        succeed(&mirror, &[("REGISTRY_PASSWORD", SECRET)], &[SECRET]).await;
    }
    // And from a registry with a login to one without.
    mirror.set_rule("closed", &rule(&source, &open));
    succeed(&mirror, &[("REGISTRY_PASSWORD", SECRET)], &[SECRET]).await;
    assert_same(&source, &open, "app", "v1").await;
}

#[tokio::test]
async fn the_login_of_docker_is_found() {
    let (source, target) = tokio::join!(closed(), closed());
    image().push(&source, "app", "v1").await;
    let mirror = Mirror::new().http(&source).http(&target).rule("docker", &rule(&source, &target));
    // One by the file itself, the other by a helper that is named there.
    let auth = STANDARD.encode(format!("{USER}:{SECRET}"));
    let config = json!({
        "auths": { (source.host()): { "auth": auth } },
        "credHelpers": { (target.host()): "test" },
    });
    mirror.tranship.write(".docker/config.json", config.to_string());
    let answer = json!({ "Username": USER, "Secret": SECRET, "ServerURL": target.host() });
    let helper = mirror.tranship.write(
        "bin/docker-credential-test",
        format!("#!/bin/sh\nread -r server || true\necho \"$1 $server\" >> helper.log\necho '{answer}'\n"),
    );
    executable(&helper);
    let path = format!("{}:{}", helper.parent().unwrap().display(), std::env::var("PATH").unwrap());
    succeed(&mirror, &[("PATH", &path)], &[SECRET]).await;
    assert_same(&source, &target, "app", "v1").await;
    let asked = std::fs::read_to_string(mirror.tranship.home().join("helper.log")).unwrap();
    assert_eq!(asked, format!("get {}\n", target.host()));
}

fn executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn wrong_and_missing_passwords_are_told_with_host_and_hint() {
    let (closed, open) = tokio::join!(closed(), DockerRegistry::start());
    image().push(&closed, "app", "v1").await;
    image().push(&open, "app", "v1").await;
    let settings = format!("{HTTP}\nusername = \"{USER}\"\npassword = {{ env = \"PASSWORD\" }}");
    let wrong = "the user name or the password is wrong, or has expired";
    for (settings, hint) in [(HTTP, "log in with"), (settings.as_str(), wrong)] {
        let mut mirror = Mirror::new().registry(&closed, settings).http(&open);
        for rule in [rule(&closed, &open), rule(&open, &closed)] {
            mirror.set_rule("r", &rule);
            let words = refused(&mirror, &closed, &[("PASSWORD", "wr0ng-secret")]).await;
            assert!(words.contains("401"), "{words}");
            assert!(words.contains(hint), "{words}");
        }
        let text = mirror.tranship.command().args(["sync"]).env("PASSWORD", "x").output().await;
        let stderr = String::from_utf8(text.unwrap().stderr).unwrap();
        assert!(stderr.contains(&format!("hint: {hint}")), "{stderr}");
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_had_are_told_by_their_source() {
    let closed = closed().await;
    let open = LayoutRegistry::start().await;
    image().push(&closed, "app", "v1").await;
    let with = |password: &str| {
        let settings = format!("{HTTP}\nusername = \"{USER}\"\npassword = {password}");
        Mirror::new().registry(&closed, &settings).http(&open).rule("r", &rule(&closed, &open))
    };
    let mirror = with("{ command = [\"sh\", \"-c\", \"echo tr0ub4dor-and-3; exit 4\"] }");
    let words = refused(&mirror, &closed, &[]).await;
    assert!(words.contains("the command `sh`"), "{words}");
    // What is known before anything runs is a mistake in the configuration.
    for (password, named) in
        [("{ env = \"NOT_SET\" }", "NOT_SET"), ("{ file = \"not-there\" }", "not-there")]
    {
        let finished = with(password).run(&[]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(named), "{finished:?}");
    }
    let literal = with(&format!("\"{SECRET}\"")).run(&[]).await;
    assert_eq!(literal.code, Some(2), "{literal:?}");
    assert!(literal.stderr.contains("env"), "{literal:?}");
    assert!(!literal.stderr.contains(SECRET), "{literal:?}");
}

#[tokio::test]
async fn tokens_are_fetched_with_a_password() {
    let tokens = TokenServer::start();
    tokens.user(USER, SECRET);
    let guarded = || async { DockerRegistry::new().tokens(&tokens).run().await };
    let (source, target) = tokio::join!(guarded(), guarded());
    image().push(&source, "app", "v1").await;
    let settings = format!("{HTTP}\nusername = \"{USER}\"\npassword = {{ env = \"PASSWORD\" }}");
    let mirror = Mirror::new()
        .registry(&source, &settings)
        .registry(&target, &settings)
        .rule("r", &rule(&source, &target));
    succeed(&mirror, &[("PASSWORD", SECRET)], &[SECRET]).await;
    assert_same(&source, &target, "app", "v1").await;
    // One token for reading here, one for writing there.
    let requests = tokens.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests.iter().all(|request| request.user.as_deref() == Some(USER)));

    std::fs::remove_dir_all(mirror.state()).unwrap();
    let words = refused(&mirror, &source, &[("PASSWORD", "wr0ng-secret")]).await;
    assert!(words.contains("refused the credentials"), "{words}");
}

/// The blob could be mounted, but the token server gives no token for two repositories at once.
#[tokio::test]
async fn a_mount_whose_token_is_refused_is_an_upload() {
    for status in [400, 401, 403] {
        let tokens = TokenServer::start();
        tokens.user(USER, SECRET).policy(|policy| policy.several = Some(status));
        let target = DockerRegistry::new().tokens(&tokens).run().await;
        let source = LayoutRegistry::start().await;
        let image = Image::single(Family::Oci, "app", &[1_000, 200_000]);
        let mut mirror = Mirror::new().http(&source).registry(
            &target,
            &format!(
                "insecure = \"http\"\nusername = \"{USER}\"\npassword = {{ file = \"password\" }}"
            ),
        );
        mirror.tranship.write("password", SECRET);
        for name in ["one", "two"] {
            image.push(&source, name, "v1").await;
            let lines = format!(
                "source = \"{}/{name}\"\ntarget = \"{}/{name}\"",
                source.host(),
                target.host()
            );
            mirror = mirror.rule(name, &lines);
        }
        for name in ["one", "two"] {
            let finished = mirror.run(&["--rule", name]).await;
            assert_eq!(finished.code, Some(0), "{status}: {finished:?}");
            assert_same(&source, &target, name, "v1").await;
        }
        assert!(tokens.requests().iter().any(|it| it.scopes.len() > 1), "{status}: never asked");
    }
}

#[tokio::test]
async fn tokens_are_given_to_nobodies_who_only_read() {
    let tokens = TokenServer::start();
    tokens.policy(|policy| policy.anonymous_pull = true);
    let source = DockerRegistry::new().tokens(&tokens).run().await;
    let target = LayoutRegistry::start().await;
    image().push(&source, "app", "v1").await;
    image().push(&target, "app", "v1").await;
    let other = LayoutRegistry::start().await;
    let mut mirror =
        Mirror::new().http(&source).http(&target).http(&other).rule("r", &rule(&source, &other));
    succeed(&mirror, &[], &[]).await;
    assert_same(&source, &other, "app", "v1").await;
    mirror.set_rule(
        "r",
        &format!("source = \"{}/app:v1\"\ntarget = \"{}/b\"", target.host(), source.host()),
    );
    refused(&mirror, &source, &[]).await;
}

#[tokio::test]
async fn identity_tokens_of_docker_login_are_used() {
    let tokens = TokenServer::start();
    tokens.user(USER, SECRET);
    let source = DockerRegistry::new().tokens(&tokens).run().await;
    let target = LayoutRegistry::start().await;
    image().push(&source, "app", "v1").await;
    let mirror = Mirror::new().http(&source).http(&target).rule("r", &rule(&source, &target));
    let identity = tokens.refresh_token(USER);
    let auth = STANDARD.encode("00000000-0000-0000-0000-000000000000:");
    let config =
        json!({ "auths": { (source.host()): { "auth": auth, "identitytoken": identity } } });
    mirror.tranship.write(".docker/config.json", config.to_string());
    succeed(&mirror, &[], &[&identity]).await;
    assert_same(&source, &target, "app", "v1").await;
    let grants: Vec<_> = tokens.requests().iter().map(|r| r.grant.clone()).collect();
    assert_eq!(grants, [Some("refresh_token".to_owned())]);
}

#[tokio::test]
async fn tokens_that_live_shorter_than_the_sync_are_replaced() {
    let (here, there) = (TokenServer::start(), TokenServer::start());
    for tokens in [&here, &there] {
        tokens.user(USER, SECRET).policy(|policy| policy.lifetime = Duration::from_secs(2));
    }
    let target = DockerRegistry::new().tokens(&there).run().await;
    let mut source = Scripted::start();
    // Far enough away for tokens to end on the way.
    source.quirks(|quirks| quirks.latency = Duration::from_millis(250));
    let image = Image::nested_index("app").refer_twice("sbom");
    image.load(&source, "app", "v1");
    source.require(Login::Bearer { server: here.clone(), realm: None });
    let settings = format!("{HTTP}\nusername = \"{USER}\"\npassword = {{ env = \"PASSWORD\" }}");
    let mirror = Mirror::new()
        .registry(&source, &format!("{settings}\nparallel = 1"))
        .registry(&target, &settings)
        .rule("r", &rule(&source, &target));
    succeed(&mirror, &[("PASSWORD", SECRET)], &[SECRET]).await;
    assert_same(&source, &target, "app", "v1").await;
    // None ends while its request waits for its turn.
    let refused = source.traffic().iter().filter(|seen| seen.status == Some(401)).count();
    assert!(refused <= 3, "{}", source.traffic());
    for tokens in [here, there] {
        let requests = tokens.requests();
        assert!(requests.len() > 1, "{requests:?}");
        assert!(requests.iter().all(|request| request.status == 200), "{requests:?}");
    }
}

#[tokio::test]
async fn credentials_go_to_their_own_registry_only() {
    let source = closed().await;
    let target = Scripted::start();
    image().push(&source, "app", "v1").await;
    let settings = format!("{HTTP}\nusername = \"{USER}\"\npassword = {{ env = \"PASSWORD\" }}");
    let mirror =
        Mirror::new().registry(&source, &settings).http(&target).rule("r", &rule(&source, &target));
    succeed(&mirror, &[("PASSWORD", SECRET)], &[SECRET]).await;
    let written = target.traffic();
    assert!(written.count("PUT", Kind::Upload) > 0, "{written}");
    target.assert_no_credentials();
}

//! Credentials under fire: they go to the registry and its token server and to nobody else,
//! whatever the registry says; and tokens may end in the middle of things.

use std::time::Duration;

use crate::support::bench::{Bench, Report};
use crate::support::scripted::Login;
use crate::support::{Fault, Kind, Place, Scripted, TokenServer};

const USER: &str = "alice";
const PASSWORD: &str = "correct-horse-battery";

/// Lines of a `[registry]` entry.
fn credentials() -> String {
    format!("username = \"{USER}\"\npassword = {{ command = [\"printf\", \"{PASSWORD}\"] }}\n")
}

fn basic() -> Login {
    Login::Basic { user: USER.to_owned(), password: PASSWORD.to_owned() }
}

fn bearer(server: &TokenServer) -> Login {
    server.user(USER, PASSWORD);
    Login::Bearer { server: server.clone(), realm: None }
}

/// A bench where both sides want this login, and have it.
fn locked(login: impl Fn() -> Login) -> Bench {
    let mut bench = Bench::new();
    bench.source.require(login());
    bench.target.require(login());
    bench.source_lines = credentials();
    bench.target_lines = credentials();
    bench
}

async fn sync(bench: &Bench) -> Report {
    let report = bench.sync().await;
    let text = format!("{report:?}");
    assert!(!text.contains(PASSWORD) && !text.contains("Bearer ey"), "{text}");
    report
}

/// A registry with all images of a bench, for whoever gets there.
fn copy_of(bench: &Bench) -> Scripted {
    let elsewhere = Scripted::start();
    for (tag, image) in ["v1", "v2", "v3", "v4", "v5"].iter().zip(&bench.images) {
        image.load(&elsewhere, "acme/app", tag);
    }
    bench.other.load(&elsewhere, "acme/other", "w1");
    elsewhere
}

#[tokio::test]
async fn redirects_to_another_host_carry_no_credentials() {
    let tokens = TokenServer::start();
    let logins: [&dyn Fn() -> Login; 2] = [&basic, &|| bearer(&tokens)];
    for login in logins {
        let bench = locked(login);
        let elsewhere = copy_of(&bench);
        bench.source.quirks(|quirks| quirks.blob_redirect = Some(elsewhere.url()));
        bench.source.on("GET", Kind::Manifest).fail(Fault::Redirect(elsewhere.url()));
        assert_eq!(sync(&bench).await.success(), 6);
        assert!(elsewhere.traffic().count("GET", Kind::Blob) >= 15);
        assert!(elsewhere.traffic().count("GET", Kind::Manifest) >= 6);
        elsewhere.assert_no_credentials();
        // Compared with where it all came from: the source itself redirects the harness as well.
        bench.source.clear_rules();
        bench.source.quirks(|quirks| quirks.blob_redirect = None);
        bench.assert_arrived().await;
    }
}

/// Another host must not choose what is asked of the registry with its credentials: once a chain of
/// redirects has left the registry, nothing in it carries them again.
#[tokio::test]
async fn a_redirect_that_comes_back_carries_no_credentials() {
    let bench = locked(basic);
    let elsewhere = Scripted::start();
    elsewhere.on("GET", Kind::Manifest).fail(Fault::Redirect(bench.source.url()));
    let away = bench.source.on("GET", Kind::Manifest).containing("/manifests/v2").once();
    let away = away.fail(Fault::Redirect(elsewhere.url()));
    sync(&bench).await.only_failure("v2");
    assert_eq!(away.count(), 1);
    elsewhere.assert_no_credentials();
    let traffic = bench.source.traffic();
    let asked =
        traffic.of("GET", Kind::Manifest).filter(|seen| seen.path.ends_with("/manifests/v2"));
    let authorized: Vec<bool> =
        asked.map(|seen| seen.headers.contains_key("authorization")).collect();
    assert_eq!(authorized, [true, false], "{traffic}");
}

/// The other host asks for a login, in the hope of one: it gets none.
#[tokio::test]
async fn challenges_of_another_host_are_not_answered() {
    let bench = locked(basic);
    let (mut elsewhere, tokens) = (copy_of(&bench), TokenServer::start());
    for login in [basic(), bearer(&tokens)] {
        elsewhere.require(login);
        bench.source.clear_rules();
        let rule = bench.source.on("GET", Kind::Blob).containing(bench.layer("v2"));
        rule.fail(Fault::Redirect(elsewhere.url()));
        let report = sync(&bench).await;
        let failure = report.only_failure("v2");
        assert!(failure.message.contains("401 Unauthorized"), "{failure:?}");
        assert!(!elsewhere.traffic().is_empty());
        elsewhere.assert_no_credentials();
        assert!(tokens.requests().is_empty(), "{:?}", tokens.requests());
        bench.assert_arrived_but("v2").await;
    }
}

#[tokio::test]
async fn a_token_server_on_another_host_is_not_trusted() {
    let mut bench = Bench::new();
    let tokens = TokenServer::start();
    // Another name for another host: the registry is 127.0.0.1.
    let realm = tokens.realm().replace("127.0.0.1", "localhost");
    let origin = realm.trim_end_matches("/token").to_owned();
    tokens.user(USER, PASSWORD);
    let login = || Login::Bearer { server: tokens.clone(), realm: Some(realm.clone()) };
    bench.source.require(login());
    bench.source_lines = credentials();
    let report = sync(&bench).await;
    assert_eq!(report.exit(), 1);
    let failures = report.rules.iter().flat_map(|rule| &rule.failures);
    let images = report.failures();
    let all: Vec<_> = failures.chain(images.iter().map(|(_, failure)| *failure)).collect();
    assert!(!all.is_empty());
    for failure in all {
        assert!(failure.message.contains(&origin), "{failure:?}");
    }
    assert!(tokens.requests().is_empty(), "{:?}", tokens.requests());
    bench.source.assert_no_credentials();
    // Who trusts it says so, and then it works.
    bench.source_lines += &format!("auth_realms = [\"{origin}\"]");
    assert_eq!(sync(&bench).await.success(), 6);
    assert!(tokens.requests().iter().all(|request| request.user.as_deref() == Some(USER)));
    bench.assert_arrived().await;
}

/// Uploads may lie with a storage service; what goes there goes without credentials.
#[tokio::test]
async fn uploads_at_another_host_carry_no_credentials() {
    for login in [Login::None, basic()] {
        let bench = locked(basic);
        let mut elsewhere = Scripted::start();
        elsewhere.require(login);
        bench.target.quirks(|quirks| quirks.upload_base = Some(elsewhere.url()));
        let report = sync(&bench).await;
        // That host does not know of the uploads.
        assert_eq!(report.failures().len(), 6, "{report:#?}");
        assert!(elsewhere.traffic().count("PUT", Kind::Upload) >= 6, "{}", elsewhere.traffic());
        elsewhere.assert_no_credentials();
        bench.target.assert_tags_complete();
        assert_eq!(bench.target.tag("mirror/app", "v1"), None);
    }
}

/// A host that takes the bytes and keeps none: the target says so when it gets the manifest.
#[tokio::test]
async fn an_upload_that_leads_nowhere_is_noticed() {
    let bench = locked(basic);
    let elsewhere = Scripted::start();
    elsewhere.on("PUT", Kind::Upload).fail(Fault::status(201));
    bench.target.quirks(|quirks| quirks.upload_base = Some(elsewhere.url()));
    let report = sync(&bench).await;
    assert_eq!(report.failures().len(), 6, "{report:#?}");
    for (_, failure) in report.failures() {
        assert!(failure.message.contains("MANIFEST_BLOB_UNKNOWN"), "{failure:?}");
    }
    elsewhere.assert_no_credentials();
    bench.target.assert_tags_complete();
    // Each blob was brought once, and once more after the refusal.
    let puts = elsewhere.traffic().count("PUT", Kind::Upload);
    assert!(puts <= 2 * 17, "{puts}");
}

/// The token that an upload began with ends before the upload does.
#[tokio::test]
async fn a_token_that_ends_in_mid_upload_is_replaced() {
    let tokens = TokenServer::start();
    tokens.policy(|policy| policy.lifetime = Duration::from_secs(1));
    let bench = locked(|| bearer(&tokens));
    let rule = bench.source.on("GET", Kind::Blob).containing(bench.layer("v2"));
    rule.once().fail(Fault::Delay(Duration::from_millis(1_500)));
    assert_eq!(sync(&bench).await.success(), 6);
    let traffic = bench.target.traffic();
    assert!(traffic.count_status("PUT", Kind::Upload, 401) >= 1, "{traffic}");
    bench.assert_arrived().await;
    bench.assert_no_upload_left();
}

/// The end comes between two requests, and unannounced.
#[tokio::test]
async fn tokens_that_end_without_notice_are_replaced() {
    let tokens = TokenServer::start();
    tokens.policy(|policy| policy.requests_per_token = Some(20));
    let mut bench = locked(|| bearer(&tokens));
    // Else more requests would be under way at once than one token is good for.
    bench.source_lines += "parallel = 4";
    bench.target_lines += "parallel = 4";
    let report = sync(&bench).await;
    assert_eq!(report.success(), 6, "{report:#?}");
    bench.assert_arrived().await;
    assert!(tokens.requests().len() < 60, "{}", tokens.requests().len());
}

/// Who may only read gets a clear answer, and is not asked for tokens without end.
#[tokio::test]
async fn missing_rights_are_reported_and_not_insisted_on() {
    let tokens = TokenServer::start();
    tokens.policy(|policy| {
        policy.readers.insert(USER.to_owned());
    });
    let bench = locked(|| bearer(&tokens));
    let report = sync(&bench).await;
    assert_eq!(report.failures().len(), 6, "{report:#?}");
    for (_, failure) in report.failures() {
        assert!(failure.message.contains("401 Unauthorized: UNAUTHORIZED"), "{failure:?}");
        assert!(failure.subject.contains(bench.target.host()), "{failure:?}");
    }
    assert!(tokens.requests().len() <= 20, "{}", tokens.requests().len());
    assert!(bench.target.traffic().len() <= 60, "{}", bench.target.traffic());
}

/// A wrong password is not tried until the account is locked.
#[tokio::test]
async fn a_wrong_password_is_not_hammered() {
    let tokens = TokenServer::start();
    let bench = locked(|| bearer(&tokens));
    tokens.user(USER, "changed meanwhile");
    let report = sync(&bench).await;
    assert_eq!(report.exit(), 1);
    let [app, other] = &report.rules[..] else { panic!("{report:#?}") };
    for rule in [app, other] {
        let words = &rule.failures[0].message;
        assert!(words.contains("wrong credentials") || words.contains("refused"), "{words}");
    }
    let tries = tokens.requests().iter().filter(|request| request.status == 401).count();
    assert!(tries <= 3, "{tries}");
}

/// A token server out of order is a failure of the passing kind.
#[tokio::test]
async fn a_token_server_that_is_down_fails_with_its_status() {
    let tokens = TokenServer::start();
    let bench = locked(|| bearer(&tokens));
    tokens.policy(|policy| policy.failure = Some(503));
    let report = sync(&bench).await;
    assert_eq!(report.exit(), 1);
    let failure = &report.rules[0].failures[0];
    assert!(failure.message.contains("503"), "{failure:?}");
    assert_eq!(failure.step, "list tags of", "{failure:?}");
    tokens.policy(|policy| policy.failure = None);
    assert_eq!(sync(&bench).await.success(), 6);
    bench.assert_arrived().await;
}

/// Everything below a folder, as text.
fn written(folder: &std::path::Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &written(&path);
        } else if path.file_name().is_some_and(|name| name != "tranship.toml") {
            all += &String::from_utf8_lossy(&std::fs::read(&path).unwrap());
        }
    }
    all
}

/// A registry may repeat what it was sent in any part of an answer. None of it is shown, logged or
/// stored.
#[tokio::test]
async fn strangers_who_repeat_a_secret_do_not_get_it_shown() {
    let tokens = TokenServer::start();
    let logins: [&dyn Fn() -> Login; 2] = [&basic, &|| bearer(&tokens)];
    let words = "you sent {authorization}, that is {credential}";
    let quoted = format!(r#"{{"errors":[{{"code":"{{credential}}","message":"{words}"}}]}}"#);
    let manifest = r#"{"schemaVersion":2,"mediaType":"x/{credential}","layers":[]}"#;
    let answers = [
        (Kind::Tags, Fault::status(403).body(quoted.clone())),
        (Kind::Tags, Fault::status(200).body(r#"{"tags":"{credential}"}"#)),
        (Kind::Tags, Fault::status(200).body(r#"{"tags":["v1","{authorization}"]}"#)),
        (Kind::Tags, Fault::status(500).body(words)),
        (Kind::Manifest, Fault::status(418).body(format!("<title>{words}</title>"))),
        (Kind::Manifest, Fault::status(307).header("location", "ftp://x/{credential}")),
        (Kind::Manifest, Fault::status(200).header("docker-content-digest", "{credential}")),
        (Kind::Manifest, Fault::status(200).header("content-type", "x/{credential}")),
        (Kind::Manifest, Fault::status(200).body(manifest)),
        (Kind::Blob, Fault::status(400).body(quoted)),
    ];
    for login in logins {
        let mut hidden = 0;
        for (kind, answer) in &answers {
            let bench = locked(login);
            let tranship = crate::support::Tranship::new();
            tranship.write("tranship.toml", bench.config());
            bench.source.on("GET", *kind).authorized().fail(answer.clone());
            if *kind == Kind::Manifest {
                bench.source.on("HEAD", *kind).authorized().fail(answer.clone());
            }
            let finished = tranship.run(["-vv", "sync", "--output", "json"]).await;
            let history = tranship.run(["history"]).await;
            let seen = format!("{finished:?}{history:?}{}", written(tranship.home()));
            let traffic = bench.source.traffic();
            let sent = traffic.iter().filter_map(|seen| seen.header("authorization"));
            let secrets: Vec<&str> = sent.filter_map(|it| Some(it.split_once(' ')?.1)).collect();
            assert!(!secrets.is_empty(), "{finished:?}");
            for secret in secrets.into_iter().chain([PASSWORD]) {
                assert!(
                    !seen.contains(secret.trim_end_matches('=')),
                    "{kind:?} {answer:?}: {seen}"
                );
            }
            hidden += usize::from(seen.contains("[REDACTED]"));
        }
        // The others are not shown at all.
        assert!(hidden >= 7, "{hidden}");
    }
}

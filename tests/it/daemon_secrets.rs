//! What the daemon was told in confidence stays there: no answer, no metric, no line of its log
//! has any of it.

use std::time::Duration;

use crate::support::scripted::Login;
use crate::support::{Daemon, Family, Image, Place, Scripted, Tranship, eventually};

const PASSWORD: &str = "registry-hunter2";
const TOKEN: &str = "token-hunter2";
const EVENTS: &str = "events-hunter2";
const QUAY: &str = "quay-hunter2";
const WEBHOOK: &str = "webhook-hunter2";
const HEADER: &str = "header-hunter2";
/// In base64, as `Basic` sends it: of `mirror:registry-hunter2`.
const BASIC: &str = "bWlycm9yOnJlZ2lzdHJ5LWh1bnRlcjI";

#[tokio::test]
async fn no_answer_and_no_log_has_a_secret() {
    let mut source = Scripted::start();
    Image::single(Family::Oci, "app", &[100]).load(&source, "app", "v1");
    source.require(Login::Basic { user: "mirror".to_owned(), password: PASSWORD.to_owned() });
    let receiver = Scripted::start();
    let home = Tranship::new();
    home.write("password", PASSWORD);
    home.write("quay", QUAY);
    let host = source.host();
    let text = format!(
        "token = {{ command = [\"echo\", \"{TOKEN}\"] }}\n\
         [registry.\"{host}\"]\ninsecure = \"http\"\nusername = \"mirror\"\npassword = {{ file = \"password\" }}\n\
         [events.hub]\nformat = \"distribution\"\nregistry = \"{host}\"\nsecret = {{ env = \"EVENTS\" }}\n\
         [events.quay]\nformat = \"quay\"\nregistry = \"{host}\"\nsecret = {{ file = \"quay\" }}\n\
         [[notify]]\nurl = {{ env = \"WEBHOOK\" }}\nheaders = {{ X-Key = {{ env = \"HEADER\" }} }}\n\
         [[sync]]\nname = \"good\"\nsource = \"{host}/app\"\ntarget = \"{host}/copy\"\n\
         [[sync]]\nname = \"bad\"\nsource = \"{host}/gone\"\ntarget = \"{host}/copy-of-gone\"\n"
    );
    // The command is in the configuration, which is shown: its output is the secret.
    let text = text.replace(&format!("\"echo\", \"{TOKEN}\""), "\"printenv\", \"TOKEN\"");
    let webhook = format!("{}/{WEBHOOK}", receiver.url());
    let variables =
        [("EVENTS", EVENTS), ("WEBHOOK", &webhook), ("HEADER", HEADER), ("TOKEN", TOKEN)];
    let daemon = Daemon::start_with(home, &text, &variables).await;
    let mut said = String::new();
    let token = format!("Bearer {TOKEN}");
    for rule in ["good", "bad"] {
        let path = format!("/api/v1/rules/{rule}/run");
        let answer = daemon.post_with(&path, &[("authorization", &token)], "").await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let run = &daemon.ended(rule, "api", 1).await[0];
        assert_eq!(run["outcome"], if rule == "good" { "succeeded" } else { "failed" }, "{run}");
        let id = run["id"].as_str().unwrap();
        said += &daemon.get(&format!("/api/v1/runs/{id}")).await.body;
        said += &daemon.get(&format!("/api/v1/rules/{rule}/plan")).await.body;
        said += &answer.body;
    }
    // The webhook, which is no webhook, was told, and refused.
    eventually("a notification", Duration::from_secs(30), || async {
        let told = receiver.traffic().iter().any(|seen| seen.path.contains(WEBHOOK));
        told.then_some(())
    })
    .await;
    // Right and wrong, in each place where a secret may stand; and one that is nearly right.
    let right = format!("Bearer {EVENTS}");
    let nearly = format!("Bearer {EVENTS}x");
    for (path, authorization) in [
        ("/api/v1/events/hub".to_owned(), &*right),
        ("/api/v1/events/hub".to_owned(), &*nearly),
        (format!("/api/v1/events/quay?token={QUAY}"), ""),
        (format!("/api/v1/events/quay?token={QUAY}x"), ""),
        (format!("/api/v1/events/none?token={QUAY}"), &*nearly),
        ("/api/v1/reload".to_owned(), &*token),
        ("/api/v1/reload".to_owned(), &*nearly),
        ("/api/v1/runs/nonsense/cancel".to_owned(), &*token),
    ] {
        let headers = [("authorization", authorization)];
        for body in ["{", r#"{"events":[]}"#] {
            let answer = daemon.post_with(&path, &headers, body).await;
            said += &format!("{:?} {}", answer.headers, answer.body);
        }
    }
    for path in [
        "/readyz",
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/status",
        "/api/v1/rules",
        "/api/v1/runs",
        "/api/v1/running",
        "/api/v1/transfers",
        "/api/v1/registries",
        "/api/v1/config",
    ] {
        let answer = daemon.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        said += &answer.body;
    }
    // The search finds what is there.
    assert!(said.contains("tranship_build_info") && said.contains("\"bad\""), "{said}");
    assert!(said.contains("printenv"), "{said}");
    let said = said + &daemon.log();
    for secret in [PASSWORD, TOKEN, EVENTS, QUAY, WEBHOOK, HEADER, BASIC] {
        let at = said.find(secret);
        let around = at.map(|at| said[at.saturating_sub(200)..].chars().take(300));
        assert_eq!(around.map(String::from_iter), None, "{secret} is told");
    }
}

//! The daemon's API: every endpoint against its description, who may ask what, odd names, and
//! whether the daemon is ready.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::daemon::Answer;
use crate::support::openapi::Document;
use crate::support::scripted::Fault;
use crate::support::{
    Daemon, DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship, eventually,
};

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "Bearer t0ken";
const SECRET: &str = "Bearer s3cret";

/// A home with the API's token and the events' secret in files.
fn home() -> Tranship {
    let home = Tranship::new();
    home.write("token", "t0ken\n");
    home.write("secret", "s3cret\n");
    home
}

fn registry(place: &impl Place) -> String {
    format!("[registry.\"{}\"]\ninsecure = \"http\"\n", place.host())
}

fn rule(name: &str, source: &impl Place, repository: &str, target: &impl Place) -> String {
    let (from, to) = (source.host(), target.host());
    format!(
        "[[sync]]\nname = {}\nsource = \"{from}/{repository}\"\ntarget = \"{to}/mirror/{repository}\"\n",
        json!(name)
    )
}

/// A message of docker-registry about a push of this tag.
fn push_of(repository: &str, tag: &str) -> String {
    let digest = format!("sha256:{}", "0".repeat(64));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let target = json!({
        "mediaType": media_type, "digest": digest, "repository": repository, "tag": tag,
    });
    json!({ "events": [{ "id": "1", "action": "push", "target": target }] }).to_string()
}

fn id_of(answer: &Answer) -> String {
    let id = answer.json()["run"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| panic!("no run: {answer:?}"))
}

async fn ended(daemon: &Daemon, run: &str) -> Value {
    let path = format!("/api/v1/runs/{run}");
    eventually("the end of a run", LIMIT, || async {
        // Nobody knows of a run that waits.
        let answer = daemon.get(&path).await;
        let run = (answer.status == 200).then(|| answer.json()["run"].clone())?;
        (run["outcome"] != "running").then_some(run)
    })
    .await
}

/// Calls endpoints, and checks each answer against the document.
struct Caller<'a> {
    daemon: &'a Daemon,
    document: &'a mut Document,
}

impl Caller<'_> {
    /// `path` is as the document has it; `{…}` in it becomes `name`.
    async fn get(&mut self, path: &str, name: &str) -> Answer {
        let answer = self.daemon.get(&actual(path, name)).await;
        self.document.check("GET", path.split('?').next().unwrap(), &answer);
        answer
    }

    async fn post(&mut self, path: &str, name: &str, authorization: &str, body: &str) -> Answer {
        let headers = [("authorization", authorization)];
        let headers = if authorization.is_empty() { &[][..] } else { &headers };
        let answer = self.daemon.post_with(&actual(path, name), headers, body).await;
        self.document.check("POST", path.split('?').next().unwrap(), &answer);
        answer
    }
}

fn actual(path: &str, name: &str) -> String {
    match (path.find('{'), path.find('}')) {
        (Some(from), Some(to)) => format!("{}{name}{}", &path[..from], &path[to + 1..]),
        _ => path.to_owned(),
    }
}

const RULE: &str = "/api/v1/rules/{name}";
const PLAN: &str = "/api/v1/rules/{name}/plan";
const PLAN_LINES: &str = "/api/v1/rules/{name}/plan/lines";
const RUN_RULE: &str = "/api/v1/rules/{name}/run";
const RUN_LINES: &str = "/api/v1/rules/{name}/run/lines";
const CANCEL_RULE: &str = "/api/v1/rules/{name}/cancel";
const RESTORE: &str = "/api/v1/restore";
const RUN: &str = "/api/v1/runs/{id}";
const CANCEL: &str = "/api/v1/runs/{id}/cancel";
const EVENTS: &str = "/api/v1/events/{source}";
const RELOAD: &str = "/api/v1/reload";
/// All that is asked without anything more, in every state of the daemon.
const PLAIN: [&str; 11] = [
    "/healthz",
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
];
const READS: [&str; 7] = [
    "/api/v1/status",
    "/api/v1/rules",
    "/api/v1/runs",
    "/api/v1/running",
    "/api/v1/transfers",
    "/api/v1/registries",
    "/api/v1/config",
];

/// Every answer of every endpoint is as the served document says, and every answer that the
/// document knows of is provoked, except for limits: `daemon_bounds` has those.
#[tokio::test]
async fn every_endpoint_answers_as_its_description_says() {
    let (source, target) = (Scripted::start(), DockerRegistry::start().await);
    for repository in ["acme/app", "acme/slow"] {
        Image::single(Family::Oci, repository, &[5_000]).load(&source, repository, "v1");
    }
    let text = [
        "token = { file = \"token\" }\n".to_owned(),
        registry(&source),
        registry(&target),
        format!(
            "[events.hub]\nformat = \"distribution\"\nregistry = \"{}\"\nsecret = {{ file = \"secret\" }}\n",
            source.host()
        ),
        rule("good", &source, "acme/app", &target),
        rule("bad", &source, "acme/gone", &target),
        rule("slow", &source, "acme/slow", &target),
        rule("timed", &source, "acme/app", &target).replace("mirror/", "timed/")
            + "schedule = \"0 3 * * *\"\ntimezone = \"Europe/Berlin\"\n",
        format!(
            "[[cleanup]]\nname = \"tidy\"\nrepositories = [\"{0}/acme/*\", \"!{0}/acme/slow\"]\n\
             grace = \"0s\"\nmax_delete = {{ count = 0, percent = 100 }}\n\
             delete = [{{ id = \"v\", tags = [\"v*\"] }}]\n",
            source.host()
        ),
        format!(
            "[[cleanup]]\nname = \"sweep\"\nrepositories = [\"{}/**\"]\n\
             delete = [{{ id = \"v\", tags = [\"v*\"] }}]\n",
            source.host()
        ),
        format!(
            "[[cleanup]]\nname = \"purge\"\nrepositories = [\"{}/old/app\"]\ngrace = \"0s\"\n\
             max_delete = {{ percent = 100 }}\nquarantine = {{ to = \"oci:kept\" }}\n\
             delete = [{{ id = \"v\", tags = [\"v*\"] }}]\n",
            target.host()
        ),
    ]
    .concat();
    Image::single(Family::Oci, "old", &[5_000]).push(&target, "old/app", "v1").await;
    let daemon = Daemon::start_in(home(), &text).await;
    let document = &mut Document::of(&daemon).await;
    let mut api = Caller { daemon: &daemon, document };
    for path in PLAIN {
        assert_eq!(api.get(path, "").await.status, 200, "{path}");
    }

    let started = api.post(RUN_RULE, "good", TOKEN, "").await;
    assert_eq!((started.status, &started.json()["state"]), (202, &json!("started")));
    let good = id_of(&started);
    assert_eq!(ended(&daemon, &good).await["outcome"], "succeeded");
    let failed = id_of(&api.post(RUN_RULE, "bad", TOKEN, "").await);
    assert_eq!(ended(&daemon, &failed).await["outcome"], "failed");
    assert_eq!(api.get(PLAN, "good").await.json()["counts"]["unchanged"], 1);
    assert_eq!(api.get(PLAN, "timed").await.json()["counts"]["copied"], 1);
    let tidy = id_of(&api.post(RUN_RULE, "tidy", TOKEN, "").await);
    assert_eq!(ended(&daemon, &tidy).await["outcome"], "limited");
    assert_eq!(api.get(PLAN, "tidy").await.json()["plans"][0]["tags_deleted"], 1);
    assert_eq!(api.get(PLAN, "none").await.status, 404);
    plans_are_few(&mut api, &source).await;
    sync_rules_are_followed(&mut api).await;
    cleanup_rules_are_followed(&mut api, &source, &target).await;
    source.on("GET", Kind::Blob).containing("acme/slow").fail(Fault::Hang);
    let slow = id_of(&api.post(RUN_RULE, "slow", TOKEN, "").await);
    let waiting = api.post(RUN_RULE, "slow", TOKEN, "").await;
    assert_eq!(waiting.json()["state"], "queued");
    eventually("a transfer", LIMIT, || async {
        let transfers = daemon.get("/api/v1/transfers").await.json();
        (transfers[0]["bytes_total"].as_u64()? > 0).then_some(())
    })
    .await;

    // With a run that waits, one under way, and some that have ended.
    for path in PLAIN {
        assert_eq!(api.get(path, "").await.status, 200, "{path}");
    }
    assert_eq!(api.get("/api/v1/running", "").await.json()[0]["id"], slow);
    assert_eq!(api.get("/api/v1/transfers", "").await.json()[0]["run"], slow);
    assert_eq!(api.get("/api/v1/registries", "").await.json().as_array().unwrap().len(), 2);
    for name in ["good", "bad", "slow", "timed", "tidy", "sweep", "purge"] {
        assert_eq!(api.get(RULE, name).await.json()["name"], name);
    }
    assert_eq!(api.get(RULE, "none").await.status, 404);
    assert_eq!(api.get(RUN, &good).await.json()["images"][0]["action"], "copied");
    assert_eq!(api.get(RUN, &failed).await.status, 200);
    assert_eq!(api.get(RUN, &tidy).await.json()["run"]["cleanup"]["limited"], 1);
    for unknown in ["20200101T000000Z-000000", "nonsense"] {
        assert_eq!(api.get(RUN, unknown).await.status, 404);
    }
    for (query, runs) in
        [("rule=good", 1), ("outcome=failed", 1), ("outcome=limited", 1), ("limit=2", 2)]
    {
        let found = api.get(&format!("/api/v1/runs?{query}"), "").await.json();
        assert_eq!(found.as_array().unwrap().len(), runs, "{query}: {found}");
    }
    for query in ["outcome=nonsense", "limit=-1", "since=yesterday", "other=1"] {
        assert_eq!(api.get(&format!("/api/v1/runs?{query}"), "").await.status, 400, "{query}");
    }
    assert_eq!(api.post(RUN_RULE, "none", TOKEN, "").await.status, 404);
    for (path, name) in [
        (RUN_RULE, "good"),
        (RUN_LINES, "tidy"),
        (CANCEL_RULE, "slow"),
        (RESTORE, ""),
        (CANCEL, &*slow),
        (RELOAD, ""),
    ] {
        assert_eq!(api.post(path, name, "", "").await.status, 401);
        assert_eq!(api.post(path, name, "Bearer other", "").await.status, 401);
    }
    assert_eq!(api.post(CANCEL, &id_of(&waiting), TOKEN, "").await.status, 202);
    let waiting = id_of(&api.post(RUN_RULE, "slow", TOKEN, "").await);
    let cancelled = api.post(CANCEL_RULE, "slow", TOKEN, "").await;
    assert_eq!((cancelled.status, cancelled.json()), (202, json!({ "runs": [slow, waiting] })));
    assert_eq!(ended(&daemon, &slow).await["outcome"], "interrupted");
    for unknown in [&*slow, "nonsense"] {
        assert_eq!(api.post(CANCEL, unknown, TOKEN, "").await.status, 404);
    }

    let pushed = api.post(EVENTS, "hub", SECRET, &push_of("acme/app", "v1")).await;
    assert_eq!((pushed.status, pushed.json()["accepted"].as_u64()), (202, Some(1)));
    for (source, secret, body, status) in [
        ("hub", SECRET, "{".to_owned(), 400),
        ("hub", "Bearer other", push_of("acme/app", "v1"), 401),
        ("hub", "", push_of("acme/app", "v1"), 401),
        ("none", SECRET, push_of("acme/app", "v1"), 404),
        ("hub", SECRET, "x".repeat((4 << 20) + 1), 413),
    ] {
        assert_eq!(api.post(EVENTS, source, secret, &body).await.status, status);
    }

    assert_eq!(api.post(RELOAD, "", TOKEN, "").await.status, 200);
    daemon.configure("nonsense");
    assert_eq!(api.post(RELOAD, "", TOKEN, "").await.status, 422);
    // The verdict is a moment old.
    eventually("a verdict", LIMIT, || async {
        (daemon.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(api.get("/readyz", "").await.status, 503);
    assert_eq!(api.get("/api/v1/status", "").await.status, 200);
    daemon.configure(&text);
    assert_eq!(api.post(RELOAD, "", TOKEN, "").await.status, 200);

    refusals_of_other_daemons(document).await;
    let mut api = Caller { daemon: &daemon, document };
    // While it stops, it begins nothing.
    id_of(&api.post(RUN_RULE, "slow", TOKEN, "").await);
    eventually("a transfer", LIMIT, || async {
        let transfers = daemon.get("/api/v1/transfers").await.json();
        transfers[0].is_object().then_some(())
    })
    .await;
    daemon.signal("TERM").await;
    eventually("the beginning of the end", LIMIT, || async {
        let status = daemon.get("/api/v1/status").await.json();
        (status["stopping"] == true).then_some(())
    })
    .await;
    let all = r#"{"run":"any"}"#;
    for (path, name, body) in [
        (RUN_RULE, "good", ""),
        (RUN_LINES, "tidy", ""),
        (CANCEL_RULE, "slow", ""),
        (RESTORE, "", all),
        (CANCEL, &*slow, ""),
        ("/api/v1/reload", "", ""),
    ] {
        assert_eq!(api.post(path, name, TOKEN, body).await.status, 503);
    }
    assert_eq!(api.post(EVENTS, "hub", SECRET, &push_of("acme/app", "v1")).await.status, 503);
    // The second signal ends it at once.
    assert_eq!(daemon.stop().await.0, Some(143));

    let mut unseen = document.unseen();
    let limits = ["408", "429"];
    unseen.retain(|(_, _, status)| !limits.contains(&status.as_str()));
    assert_eq!(unseen, []);
}

/// The documents of an answer that comes line by line, by their kinds.
fn documents(answer: &Answer) -> Vec<(String, Value)> {
    let lines = answer.body.lines().filter(|line| !line.is_empty());
    let documents = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    documents
        .map(|document| {
            let mut fields: Vec<_> = document.as_object().unwrap().clone().into_iter().collect();
            assert_eq!(fields.len(), 1, "{document}");
            fields.remove(0)
        })
        .collect()
}

fn kinds(documents: &[(String, Value)]) -> Vec<&str> {
    documents.iter().map(|(kind, _)| kind.as_str()).collect()
}

/// Each image comes in a line of its own.
async fn sync_rules_are_followed(api: &mut Caller<'_>) {
    let planned = documents(&api.get(PLAN_LINES, "timed").await);
    assert_eq!(kinds(&planned), ["image", "report"]);
    assert_eq!(planned[0].1["action"], "would_copy");
    let report = &planned[1].1;
    assert_eq!((&report["dry_run"], &report["counts"]["copied"]), (&json!(true), &json!(1)));
    assert_eq!(report["images"], json!([]));
    let ran = documents(&api.post(RUN_LINES, "timed", TOKEN, "").await);
    assert_eq!(kinds(&ran), ["run", "image", "moved", "report"]);
    assert_eq!((&ran[1].1["action"], &ran[3].1["images"]), (&json!("copied"), &json!([])));
    assert!(ran[2].1["blobs_mounted"].as_u64().unwrap() > 0, "{ran:?}");
    let id = ran[0].1.as_str().unwrap();
    assert_eq!(api.get(RUN, id).await.json()["run"]["cause"], "api");
    let recheck = format!("{RUN_LINES}?recheck=true");
    let again = documents(&api.post(&recheck, "timed", TOKEN, "").await);
    assert_eq!(kinds(&again), ["run", "moved", "report"]);
    assert_eq!(again[2].1["counts"]["unchanged"], 1);
    // All runs of a rule are cancelled at once, if there are any.
    for rule in ["timed", "none"] {
        assert_eq!(api.post(CANCEL_RULE, rule, TOKEN, "").await.status, 404);
    }
}

/// Plans, runs and restorations come line by line, and the mode of a run may be chosen.
async fn cleanup_rules_are_followed(
    api: &mut Caller<'_>,
    source: &Scripted,
    target: &DockerRegistry,
) {
    let planned = documents(&api.get(PLAN_LINES, "tidy").await);
    assert_eq!(kinds(&planned), ["plan", "report"]);
    assert_eq!(planned[0].1["plan"]["tags_deleted"], 1);
    assert_eq!(planned[1].1["repositories"][0]["limited"], true);
    let explained = async |api: &mut Caller<'_>, rule: &str, image: &str| {
        api.get(&format!("{PLAN_LINES}?explain={image}"), rule).await
    };
    let image = format!("{}/acme/app:v1", source.host());
    let explanation = documents(&explained(api, "tidy", &image).await);
    assert_eq!(explanation[0].1["explanation"]["tag"], "v1");
    let elsewhere = format!("{}/acme/slow:v1", source.host());
    for image in [&*elsewhere, "NO/name:v1", "oci-archive:a.tar:v1", "localhost/app"] {
        assert_eq!(explained(api, "tidy", image).await.status, 400, "{image}");
    }
    assert_eq!(explained(api, "good", &image).await.status, 400);
    assert_eq!(api.get(PLAN_LINES, "none").await.status, 404);

    for path in [RUN_RULE, RUN_LINES] {
        let apply = format!("{path}?mode=apply");
        assert_eq!(api.post(&apply, "sweep", TOKEN, "").await.status, 409);
        assert_eq!(api.post(&apply, "good", TOKEN, "").await.status, 400);
        assert_eq!(api.post(&format!("{path}?mode=all"), "tidy", TOKEN, "").await.status, 400);
        assert_eq!(api.post(&format!("{path}?recheck=true"), "tidy", TOKEN, "").await.status, 400);
        assert_eq!(api.post(&format!("{path}?other=1"), "tidy", TOKEN, "").await.status, 400);
        assert_eq!(api.post(&apply, "none", TOKEN, "").await.status, 404);
    }
    let mark = target.mark().await;
    let by_itself = documents(&api.post(RUN_LINES, "purge", TOKEN, "").await);
    assert_eq!(by_itself[2].1["mode"], "plan");
    assert_eq!(target.requests_since(mark).await.writes(), 0);
    let run = documents(&api.post(&format!("{RUN_LINES}?mode=apply"), "purge", TOKEN, "").await);
    assert_eq!(kinds(&run), ["run", "plan", "report"]);
    assert_eq!(run[2].1["repositories"][0]["steps"][0]["outcome"], "deleted", "{run:?}");
    let id = run[0].1.as_str().unwrap();
    assert_eq!(api.get(RUN, id).await.json()["run"]["cleanup"]["mode"], "apply");

    let of_run = json!({ "run": id }).to_string();
    let large = "x".repeat((4 << 20) + 1);
    for (body, status) in [
        ("{}", 400),
        ("nonsense", 400),
        (r#"{"run":"a","other":1}"#, 400),
        (r#"{"images":["oci-archive:a.tar"]}"#, 400),
        (r#"{"run":"20200101T000000Z-000000"}"#, 404),
        (&large, 413),
    ] {
        assert_eq!(api.post(RESTORE, "", TOKEN, body).await.status, status, "{status}");
    }
    let restored = documents(&api.post(RESTORE, "", TOKEN, &of_run).await);
    assert_eq!(kinds(&restored), ["restored", "end"]);
    assert_eq!(
        (&restored[0].1["tags"], &restored[1].1["interrupted"]),
        (&json!(["v1"]), &json!(false))
    );
    assert_eq!(target.endpoint().tags("old/app").await, ["v1"]);
    assert_eq!(api.post(RESTORE, "", TOKEN, &of_run).await.status, 404);
}

/// Two are made at once, and whoever wants a third is told to come back.
async fn plans_are_few(api: &mut Caller<'_>, source: &Scripted) {
    let hang = source.on("GET", Kind::Tags).containing("acme/app").fail(Fault::Hang);
    let path = actual(PLAN, "good");
    let two = async { tokio::join!(api.daemon.get(&path), api.daemon.get(&path)) };
    let third = async {
        eventually("two plans", LIMIT, || async { (hang.count() == 2).then_some(()) }).await;
        let answer = api.daemon.get(&path).await;
        source.clear_rules();
        source.release();
        answer
    };
    let ((first, second), third) = tokio::join!(two, third);
    assert_eq!((first.status, second.status, third.status), (200, 200, 503));
    assert!(third.headers.contains_key("retry-after"), "{third:?}");
    api.document.check("GET", PLAN, &third);
}

/// One without a token, and one that other machines could reach.
async fn refusals_of_other_daemons(document: &mut Document) {
    let daemon = Daemon::start("").await;
    let mut api = Caller { daemon: &daemon, document };
    for (path, name) in [
        (RUN_RULE, "a"),
        (RUN_LINES, "a"),
        (CANCEL_RULE, "a"),
        (RESTORE, ""),
        (CANCEL, "b"),
        (RELOAD, ""),
    ] {
        for authorization in ["", TOKEN, "Bearer "] {
            assert_eq!(api.post(path, name, authorization, "").await.status, 403);
        }
    }
    let text = "[daemon]\nlisten = \"0.0.0.0:0\"\ntoken = { file = \"token\" }\n";
    let daemon = Daemon::start_in(home(), text).await;
    let mut api = Caller { daemon: &daemon, document };
    for path in READS {
        assert_eq!(api.get(path, "").await.status, 401, "{path}");
    }
    for (path, name) in [(RULE, "a"), (PLAN, "a"), (PLAN_LINES, "a"), (RUN, "b")] {
        assert_eq!(api.get(path, name).await.status, 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/openapi.json"] {
        assert_eq!(api.get(path, "").await.status, 200, "{path}");
    }
}

/// A refusal tells nothing: neither which rules there are, nor how wrong the token was.
#[tokio::test]
async fn refusals_are_the_same_for_all() {
    let source = Scripted::start();
    let text = "token = { file = \"token\" }\n".to_owned()
        + &registry(&source)
        + &rule("there", &source, "a", &source);
    let daemon = Daemon::start_in(home(), &text).await;
    let ask = async |rule: &str, authorization: &str| {
        let path = format!("/api/v1/rules/{rule}/run");
        let answer = daemon.post_with(&path, &[("authorization", authorization)], "").await;
        assert_eq!(answer.headers.get("www-authenticate").is_some(), answer.status == 401);
        (answer.status, answer.body)
    };
    let wrong = ask("there", "Bearer wrong").await;
    assert_eq!(wrong.0, 401);
    for (rule, authorization) in [
        ("not-there", "Bearer wrong"),
        ("there", "Bearer t0keN"),
        ("there", "Bearer t0ken2"),
        ("there", "bearer t0ke"),
    ] {
        assert_eq!(ask(rule, authorization).await, wrong);
    }
    let missing = ask("there", "Basic dDBrZW4=").await;
    assert_eq!(ask("not-there", "").await, missing);
    assert_eq!(ask("not-there", "t0ken").await, missing);
    assert_eq!(ask("there", "bearer t0ken").await.0, 202);
    assert_eq!(daemon.get("/api/v1/rules").await.status, 200);
}

/// An open door elsewhere is a mistake in the configuration, found before anything is begun.
#[tokio::test]
async fn what_others_could_reach_needs_secrets() {
    let home = home();
    let serve = async |text: &str| {
        home.write("tranship.toml", text);
        let finished = home.run(["serve"]).await;
        assert_eq!((finished.code, &*finished.stdout), (Some(2), ""), "{finished:?}");
        finished.stderr
    };
    let without_token = serve("[daemon]\nlisten = \"0.0.0.0:0\"\n").await;
    assert!(without_token.contains("tranship.toml:2:10: other machines"), "{without_token}");
    let events = "[events.hub]\nformat = \"quay\"\nregistry = \"quay.io\"\n";
    let token = "[daemon]\nlisten = \"0.0.0.0:0\"\ntoken = { file = \"token\" }\n";
    let without_secret = serve(&format!("{token}{events}")).await;
    assert!(without_secret.contains("tranship.toml:4:9: other machines"), "{without_secret}");
    let unreadable =
        serve("[daemon]\nlisten = \"127.0.0.1:0\"\ntoken = { command = [\"false\"] }\n").await;
    assert!(unreadable.contains("the API's token"), "{unreadable}");

    // Nor does a configuration that listens here open what listens there until the next start.
    let daemon = Daemon::start_in(home, token).await;
    for text in ["", &format!("token = {{ file = \"token\" }}\n{events}")] {
        daemon.configure(text);
        let refused = daemon.post_with(RELOAD, &[("authorization", TOKEN)], "").await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.body.contains("other machines"), "{refused:?}");
        assert_eq!(daemon.get("/api/v1/rules").await.status, 401);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_no_riddle() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let home = Tranship::new();
    home.write("tranship.toml", format!("[daemon]\nlisten = \"{address}\"\n"));
    let finished = home.run(["serve"]).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""));
    let expected = format!("error: failed to listen on {address}: Address already in use");
    assert!(finished.stderr.contains(&expected), "{finished:?}");
}

/// What is sent exactly so: HTTP clients tidy addresses up.
async fn raw(daemon: &Daemon, line: &str) -> String {
    let mut stream = TcpStream::connect(&daemon.address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// A page in a browser on this machine can send requests here, and a name that leads here may
/// belong to it.
#[tokio::test]
async fn pages_in_browsers_are_not_served() {
    let text = "token = { file = \"token\" }\n";
    let daemon = Daemon::start_in(home(), text).await;
    let ask = async |headers: &str| {
        let line = format!("GET /api/v1/rules HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let mut stream = TcpStream::connect(&daemon.address).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for here in ["localhost", "localhost:8642", "127.0.0.1:8642", "[::1]:8642", "[::1]"] {
        assert_eq!(ask(&format!("Host: {here}\r\n")).await, "200", "{here}");
    }
    for elsewhere in ["evil.example", "evil.example:8642", "localhost.evil.example", ""] {
        assert_eq!(ask(&format!("Host: {elsewhere}\r\n")).await, "403", "{elsewhere}");
    }
    let here = "Host: localhost\r\n";
    for page in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(ask(&format!("{here}{page}")).await, "403", "{page}");
        assert_eq!(ask(&format!("{here}{page}Authorization: {TOKEN}\r\n")).await, "200");
    }
    assert_eq!(ask(&format!("{here}Sec-Fetch-Site: same-origin\r\n")).await, "200");
}

#[tokio::test]
async fn odd_names_are_names_and_nothing_else() {
    let source = Scripted::start();
    let names = ["with space", "a/b", "ünï", "100%", "a?b#c", "%2e%2e", "..", "<b>&\""];
    let mut text = "token = { file = \"token\" }\n".to_owned() + &registry(&source);
    for (at, name) in names.iter().enumerate() {
        text += &rule(name, &source, &format!("r{at}"), &source);
    }
    let daemon = Daemon::start_in(home(), &text).await;
    for name in names {
        // Every byte but the plainest.
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let shown = daemon.get(&format!("/api/v1/rules/{encoded}")).await;
        // A dot segment goes to no server as such, whatever its writing: clients resolve it.
        if name == ".." {
            let answer = raw(&daemon, "GET /api/v1/rules/%2E%2E").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"name\":\"..\""));
            continue;
        }
        assert_eq!((shown.status, &shown.json()["name"]), (200, &json!(name)), "{shown:?}");
        let path = format!("/api/v1/rules/{encoded}/run");
        let run = daemon.post_with(&path, &[("authorization", TOKEN)], "").await;
        assert_eq!(run.status, 202, "{name}: {run:?}");
        assert_eq!(ended(&daemon, &id_of(&run)).await["rule"], name);
    }
    for line in [
        "GET /",
        "GET //healthz",
        "GET /api/v1/rules/",
        "GET /api/v1/rules/a/b",
        "GET /api/v1/rules/%FF",
        "GET /api/v1/runs/%FF",
        "GET /api/v1/runs/../../../etc/passwd",
        "GET /api/v1/runs/..%2F..%2F..%2Fetc%2Fpasswd",
        "GET /api/v1/runs/20200101T000000Z-000000%00",
        "GET /api/v1/../../etc/passwd",
        "GET /../../etc/passwd",
        "GET /HEALTHZ",
        "POST /api/v1/events/..%2Freload",
        "POST /api/v1/events/%FF",
        "DELETE /nothing",
    ] {
        let answer = raw(&daemon, line).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{line}: {answer}");
        assert!(answer.contains("application/problem+json"), "{line}: {answer}");
        assert!(!answer.contains("root:"), "{line}: {answer}");
    }
    for line in ["POST /healthz", "DELETE /api/v1/rules", "GET /api/v1/reload", "PUT /metrics"] {
        let answer = raw(&daemon, line).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{line}: {answer}");
        assert!(answer.to_lowercase().contains("\r\nallow: "), "{line}: {answer}");
        assert!(answer.contains("application/problem+json"), "{line}: {answer}");
    }
    assert!(raw(&daemon, "HEAD /healthz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn ready_is_who_does_the_work() {
    let source = Scripted::start();
    Image::single(Family::Oci, "app", &[100]).load(&source, "app", "v1");
    let text = "token = { file = \"token\" }\n".to_owned()
        + &registry(&source)
        + &rule("only", &source, "app", &source);
    let daemon = Daemon::start_in(home(), &text).await;
    let not_ok = async || {
        let answer = daemon.get("/readyz").await;
        let body = answer.json();
        let checks = body["checks"].as_array().unwrap();
        let not_ok: Vec<_> = checks.iter().filter(|check| check["ok"] == false).cloned().collect();
        assert_eq!(answer.status, if not_ok.is_empty() { 200 } else { 503 }, "{body}");
        assert_eq!(body["ready"], not_ok.is_empty(), "{body}");
        not_ok
    };
    // The verdict is a moment old, and a run's end is known before the verdict on it.
    let fails = async |names: &[&str]| {
        eventually(&format!("{names:?} not good"), LIMIT, || async {
            let wrong = not_ok().await;
            let found = wrong.iter().filter_map(|check| check["name"].as_str());
            found.eq(names.iter().copied()).then_some(wrong)
        })
        .await
    };
    let post = async |path: &str| daemon.post_with(path, &[("authorization", TOKEN)], "").await;
    let run = async || ended(&daemon, &id_of(&post("/api/v1/rules/only/run").await)).await;
    fails(&[]).await;

    daemon.configure("[[sync]]\nname = 7\n");
    assert_eq!(post(RELOAD).await.status, 422);
    let wrong = fails(&["config"]).await;
    assert!(wrong[0]["message"].as_str().unwrap().contains("tranship.toml:4:"), "{wrong:?}");
    daemon.configure(&text);
    assert_eq!(post(RELOAD).await.status, 200);
    fails(&[]).await;

    source.on("GET", Kind::Tags).fail(Fault::status(403));
    assert_eq!(run().await["outcome"], "failed");
    fails(&["runs"]).await;
    source.clear_rules();
    assert_eq!(run().await["outcome"], "succeeded");
    fails(&[]).await;
    assert_eq!(daemon.get("/healthz").await.body, "ok\n");
}

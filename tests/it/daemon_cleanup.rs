//! The daemon and its cleanup rules: what they plan, show and tell.

use serde_json::{Value, json};

use crate::daemon_setup::{Home, LIMIT};
use crate::support::scripted::Fault;
use crate::support::{DockerRegistry, Family, Image, Kind, Place, Scripted, eventually};

/// All tags `pr-*` of one repository, once a year and at the start.
pub fn pull_requests(place: &impl Place, repository: &str, more: &str) -> String {
    let host = place.host();
    format!(
        "schedule = \"0 0 1 1 *\"\nrun_at_start = true\ngrace = \"0s\"\n\
         repositories = [\"{host}/{repository}\"]\n\
         keep = [{{ id = \"releases\", semver = \">=1\" }}]\n\
         delete = [{{ id = \"pr\", tags = [\"pr-*\"] }}]\n{more}"
    )
}

pub fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[1_000])
}

/// A plan without the moment for which it was made.
fn timeless(plan: &Value) -> Value {
    let mut plan = plan.clone();
    plan.as_object_mut().unwrap().remove("now").unwrap();
    plan
}

#[tokio::test]
async fn a_rule_that_plans_never_writes_and_its_plan_can_be_seen() {
    let registry = DockerRegistry::start().await;
    for (name, tag) in [("release", "1.0.0"), ("one", "pr-1"), ("other", "pr-2")] {
        image(name).push(&registry, "acme/app", tag).await;
    }
    let home = Home::new().daemon("listen = \"127.0.0.1:0\"").registry(&registry, "").cleanup(
        "old",
        &pull_requests(&registry, "acme/app", "max_delete = { count = 10, percent = 100 }"),
    );
    let mark = registry.mark().await;
    let daemon = home.serve().await;
    let record = daemon.ran("old").await;
    assert_eq!((&record["outcome"], &record["cause"]), (&json!("succeeded"), &json!("start")));
    let cleaned = &record["cleanup"];
    assert_eq!(cleaned["mode"], "plan");
    assert_eq!(
        (&cleaned["planned"]["tags"], &cleaned["planned"]["tags_deleted"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(cleaned["steps"]["deleted"], 0);
    let again = daemon.run("old").await;
    assert_eq!(again["cleanup"]["planned"], cleaned["planned"]);

    let status = daemon.get("/api/v1/rules/old").await;
    assert_eq!((&status["kind"], &status["mode"]), (&json!("cleanup"), &json!("plan")));
    assert_eq!(status["repositories"], json!([format!("{}/acme/app", registry.host())]));
    let document = daemon.get("/api/v1/rules/old/plan").await;
    assert_eq!((&document["rule"], &document["failures"]), (&json!("old"), &json!([])));
    let metrics = daemon.metrics().await;
    let rule = [("rule", "old")];
    assert_eq!(metrics.sum("tranship_cleanup_planned_tags", &rule), 2.0);
    assert!(metrics.sum("tranship_cleanup_last_plan_timestamp_seconds", &rule) > 1e9);
    assert_eq!(metrics.sum("tranship_cleanup_steps_total", &rule), 0.0);
    daemon.into_process().terminate(LIMIT).await;
    // The command says the same, by the same state.
    let mut command = home.tranship.command();
    command.args(["cleanup", "--output", "json"]).env("TOKEN", "any");
    let printed = command.output().await.unwrap();
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let (shown, printed) = (&document["plans"], &printed["rules"][0]["plans"]);
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(timeless(&shown[0]), timeless(&printed[0]));
    let traffic = registry.requests_since(mark).await;
    assert_eq!(traffic.writes(), 0, "{traffic}");
    assert!(traffic.count("GET", Kind::Tags) >= 4, "{traffic}");

    // What the last plan came to outlives the process.
    home.tranship.write("tranship.toml", home.text().replace("run_at_start = true\n", ""));
    let daemon = home.spawn(&mut home.command()).ready().await;
    assert_eq!(daemon.metrics().await.sum("tranship_cleanup_planned_tags", &rule), 2.0);
}

#[tokio::test]
async fn a_limit_is_told_once_and_when_it_is_over() {
    let registry = Scripted::start();
    image("one").load(&registry, "app", "pr-1");
    image("other").load(&registry, "app", "pr-2");
    let limit = |count: u32| {
        let limit = format!("max_delete = {{ count = {count}, percent = 100 }}");
        pull_requests(&registry, "app", &limit)
    };
    let mut home = Home::new().alerting().registry(&registry, "").cleanup("old", &limit(1));
    let daemon = home.serve().await;
    let record = daemon.ran("old").await;
    assert_eq!(record["outcome"], "limited");
    let refused = &record["cleanup"]["refused"][0];
    assert_eq!((&refused["limited"], &record["cleanup"]["limited"]), (&json!(true), &json!(1)));
    let reason = refused["reasons"][0].as_str().unwrap();
    assert!(reason.contains("2 of 2 tags would go"), "{reason}");
    let told = home.alerts().came(1).await;
    assert!(told.contains("rule `old` was held back by a safety limit"), "{told}");
    assert!(told.contains("2 of 2 tags would go"), "{told}");
    assert_eq!(daemon.run("old").await["outcome"], "limited");
    let metrics = daemon.metrics().await;
    let limited = [("rule", "old"), ("state", "limited")];
    assert_eq!(metrics.sum("tranship_cleanup_repositories", &limited), 1.0);
    let runs = [("rule", "old"), ("outcome", "limited")];
    assert_eq!(metrics.sum("tranship_rule_runs_total", &runs), 2.0);
    daemon.unready_is(&[]).await;

    home.set_cleanup("old", &limit(9));
    home.configure();
    daemon.signal("HUP");
    daemon.logged("the configuration was loaded anew").await;
    assert_eq!(daemon.run("old").await["outcome"], "succeeded");
    home.alerts().came(2).await;
    assert_eq!(home.alerts().kinds(), ["safety", "recovery"]);
    assert_eq!(registry.traffic().writes(), 0);
}

#[tokio::test]
async fn what_is_not_known_in_full_fails_the_run_and_is_told() {
    let registry = Scripted::start();
    image("one").load(&registry, "app", "pr-1");
    registry.on("GET", Kind::Manifest).fail(Fault::status(403));
    let home = Home::new().alerting().registry(&registry, "").cleanup(
        "old",
        &pull_requests(&registry, "app", "max_delete = { count = 9, percent = 100 }"),
    );
    let daemon = home.serve().await;
    let record = daemon.ran("old").await;
    assert_eq!(
        (&record["outcome"], &record["cleanup"]["incomplete"]),
        (&json!("failed"), &json!(1))
    );
    let told = home.alerts().came(1).await;
    assert!(told.contains("rule `old` fails") && told.contains("403"), "{told}");
    registry.clear_rules();
    daemon.run("old").await;
    home.alerts().came(2).await;
    assert_eq!(home.alerts().kinds(), ["failure", "recovery"]);
}

/// People see what a rule would delete, while the daemon runs and afterwards.
#[tokio::test]
async fn status_and_history_show_cleanup_rules() {
    let registry = Scripted::start();
    image("one").load(&registry, "app", "pr-1");
    image("release").load(&registry, "app", "1.0.0");
    image("other").load(&registry, "more", "pr-1");
    let rule = pull_requests(&registry, "{app,more,none}", "max_delete = { percent = 50 }");
    let home = Home::new().registry(&registry, "").cleanup("old", &rule);
    let daemon = home.serve().await;
    let record = daemon.ran("old").await;
    let id = record["id"].as_str().unwrap();
    // The commands find it at the port that was taken.
    let listen = format!("listen = \"{}\"", daemon.address());
    home.tranship.write("cli.toml", home.text().replace("listen = \"127.0.0.1:0\"", &listen));
    let run = async |arguments: &[&str]| {
        let mut command = home.tranship.command();
        command.args(["--config", "cli.toml"]).args(arguments).env("TOKEN", "let me in");
        String::from_utf8(command.output().await.unwrap().stdout).unwrap()
    };
    let words = "would delete 2 of 3 tags and 2 of 3 manifests, which frees ";
    let beyond = "; repositories beyond the limits: 1";
    let look =
        async || (run(&["status"]).await, run(&["history"]).await, run(&["history", id]).await);
    for is_alive in [true, false] {
        let (status, history, one) = look().await;
        let line = status.lines().find(|line| line.starts_with("old ")).unwrap();
        assert!(line.contains("LIMITED"), "{status}");
        assert!(line.contains(&format!("cleanup, plans only: {words}")), "{status}");
        assert!(line.ends_with(beyond), "{status}");
        assert_eq!(line.contains("  in "), is_alive, "{status}");
        let line = history.lines().find(|line| line.starts_with(id)).unwrap();
        assert!(line.contains(words) && line.contains("LIMITED"), "{history}");
        let refused = format!("nothing of {}/more may be deleted\n  1 of 1 tags", registry.host());
        assert!(one.contains(&refused), "{one}");
        let failed = run(&["history", "--failed", "--output", "json"]).await;
        assert_eq!(serde_json::from_str::<Value>(&failed).unwrap()["runs"], json!([]));
        if is_alive {
            daemon.signal("TERM");
            eventually("its end", LIMIT, || async {
                run(&["status"]).await.starts_with("note: no daemon").then_some(())
            })
            .await;
        }
    }
}

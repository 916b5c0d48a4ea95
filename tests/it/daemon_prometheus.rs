//! A real Prometheus scrapes the daemon, and loads the alerts of deploy/.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::endpoint::client_builder;
use crate::support::{Daemon, Family, Image, Place, Scripted, eventually};

const LIMIT: Duration = Duration::from_secs(60);

/// A Prometheus on a free port; dropping it kills it.
struct Prometheus {
    address: String,
    client: reqwest::Client,
    process: Child,
    folder: TempDir,
}

impl Prometheus {
    async fn start(target: &str) -> Self {
        let folder = TempDir::with_prefix("tranship-prometheus-").unwrap();
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [alerts],
            "scrape_configs": [{
                "job_name": "tranship", "static_configs": [{ "targets": [target] }],
            }],
        });
        // JSON is YAML.
        std::fs::write(folder.path().join("prometheus.yml"), config.to_string()).unwrap();
        // Another process may take the port before Prometheus does: then on to the next.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let log = std::fs::File::create(folder.path().join("log")).unwrap();
            let mut process = Command::new("prometheus")
                .current_dir(folder.path())
                .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
                .arg(format!("--web.listen-address={free}"))
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .expect("prometheus is installed (scripts/test installs it)");
            let client = client_builder().build().unwrap();
            let ready = format!("http://{free}/-/ready");
            let is_up = eventually("Prometheus", LIMIT, || async {
                if process_has_ended(&folder) {
                    return Some(false);
                }
                let answer = client.get(&ready).send().await.ok()?;
                answer.status().is_success().then_some(true)
            })
            .await;
            if is_up {
                return Self { address: free.to_string(), client, process, folder };
            }
            process.kill().await.unwrap();
        }
        panic!("Prometheus does not start: {}", log(&folder));
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.address);
        let answer = self.client.get(url).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// The value of the only series that this finds, if there is one.
    async fn value(&self, expression: &str) -> Option<f64> {
        let expression: String =
            url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let found = self.get(&format!("/api/v1/query?query={expression}")).await;
        let result = found["data"]["result"].as_array()?;
        assert!(result.len() < 2, "{found}");
        result.first()?["value"][1].as_str()?.parse().ok()
    }

    async fn reaches(&self, expression: &str, expected: f64) {
        eventually(&format!("{expression} = {expected}"), LIMIT, || async {
            (self.value(expression).await? == expected).then_some(())
        })
        .await;
    }
}

fn log(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

fn process_has_ended(folder: &TempDir) -> bool {
    log(folder).contains("address already in use")
}

#[tokio::test]
async fn prometheus_scrapes_the_daemon_and_knows_its_alerts() {
    let source = Scripted::start();
    Image::single(Family::Oci, "app", &[1_000]).load(&source, "app", "v1");
    let host = source.host();
    let text = format!(
        "[registry.\"{host}\"]\ninsecure = \"http\"\n\
         [[sync]]\nname = \"an odd \\\\ \\\"name\\\"\"\nsource = \"{host}/app\"\n\
         target = \"{host}/copy\"\nevery = \"1h\"\n"
    );
    let daemon = Daemon::start(&text).await;
    let prometheus = Prometheus::start(&daemon.address).await;
    prometheus.reaches("up{job=\"tranship\"}", 1.0).await;
    let of_rule = |name: &str| format!(r#"{name}{{rule="an odd \\ \"name\""}}"#);
    let runs = of_rule("tranship_rule_runs_total").replace('}', ",outcome=\"succeeded\"}");
    prometheus.reaches(&format!("sum({runs})"), 1.0).await;
    prometheus.reaches(&of_rule("tranship_rule_failures_in_a_row"), 0.0).await;
    // Nothing of a scrape was left out, for whatever reason.
    let samples = prometheus.value("scrape_samples_scraped{job=\"tranship\"}").await.unwrap();
    let metrics = daemon.get("/metrics").await.body;
    let lines = metrics.lines().filter(|line| !line.starts_with('#')).count();
    assert!(samples > 50.0 && samples <= lines as f64, "{samples} of {lines}");

    let rules = prometheus.get("/api/v1/rules?type=alert").await;
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 10, "{rules:?}");
    eventually("all alerts evaluated", LIMIT, || async {
        let rules = prometheus.get("/api/v1/rules?type=alert").await;
        let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
        rules.iter().all(|rule| rule["health"] == "ok").then_some(())
    })
    .await;
    let firing = prometheus.get("/api/v1/alerts").await;
    let firing = firing["data"]["alerts"].as_array().unwrap();
    assert!(firing.iter().all(|alert| alert["state"] != "firing"), "{firing:?}");

    // A daemon that is gone is noticed.
    drop(daemon);
    prometheus.reaches("up{job=\"tranship\"}", 0.0).await;
    let Prometheus { mut process, folder, .. } = prometheus;
    process.kill().await.unwrap();
    drop(folder);
}

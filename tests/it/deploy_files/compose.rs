//! The compose file: closed, complete, and in step with the configurations in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{
    PORT, api_has, checked, deploy, document, list, read, said, seconds, text, time_to_stop, tool,
    yaml,
};

/// What every service of the compose file must have, and where its files come from.
#[test]
fn the_compose_file_is_closed_and_complete() {
    let compose = document("compose.yaml");
    let named = |section: &str| {
        compose[section].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
    };
    let (volumes, secrets) = (named("volumes"), named("secrets"));
    let mut used = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert_eq!(list(&service["security_opt"])[0], "no-new-privileges:true", "{name}");
        let image = text(&service["image"]);
        assert!(service["build"].is_object() || image.contains("@sha256:"), "{name}: {image}");
        for port in list(&service["ports"]) {
            assert!(text(port).starts_with("127.0.0.1:"), "{name} is open to others: {port}");
        }
        for volume in list(&service["volumes"]) {
            let from = text(volume).split(':').next().unwrap();
            if from.starts_with("./") {
                assert!(deploy(from).exists(), "{name} mounts {from}");
                assert!(text(volume).ends_with(":ro"), "{name} could write to {from}");
            } else {
                assert!(volumes.contains(from), "{name} mounts {from}");
                used.0.insert(from.to_owned());
            }
        }
        for secret in service["secrets"].as_array().into_iter().flatten() {
            assert!(secrets.contains(text(secret)), "{name} needs {secret}");
            used.1.insert(text(secret).to_owned());
        }
        let depends = service["depends_on"].as_object().into_iter().flatten();
        for (other, _) in depends {
            assert!(compose["services"][other]["healthcheck"].is_object(), "{name} on {other}");
        }
    }
    assert_eq!(used, (volumes, secrets));
    for secret in compose["secrets"].as_object().unwrap().values() {
        let file = text(&secret["file"]);
        assert!(file.starts_with("./compose/secrets/"), "{file} is not ignored by git");
    }
    assert_eq!(read("compose/.gitignore"), "/secrets/\n");
    let build = &compose["services"]["tranship"]["build"];
    let context = deploy(text(&build["context"]));
    assert!(context.join(text(&build["dockerfile"])).exists());
}

#[tokio::test]
async fn the_compose_file_and_the_configurations_in_it_agree() {
    let compose = document("compose.yaml");
    let config = checked("compose/tranship/tranship.toml", "/run/secrets").await;
    let tranship = &compose["services"]["tranship"];
    assert_eq!(config["daemon"]["listen"].as_str(), Some(&*format!("0.0.0.0:{PORT}")));
    assert_eq!(list(&tranship["ports"])[0], format!("127.0.0.1:{PORT}:{PORT}"));
    assert!(seconds(text(&tranship["stop_grace_period"])) >= time_to_stop(&config));
    let state = config["daemon"]["state"].as_str().unwrap();
    let mounts = list(&tranship["volumes"]);
    assert!(mounts.iter().any(|mount| mount == &format!("state:{state}")), "{mounts:?}");
    assert!(mounts.iter().any(|mount| text(mount).ends_with(":/etc/tranship:ro")), "{mounts:?}");

    // What the registry is told, by its own shell.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("events"), "s3cret\n").unwrap();
    let script = text(&list(&compose["services"]["registry"]["command"])[0])
        .replace("$$", "$")
        .replace("/run/secrets", folder.path().to_str().unwrap())
        .replace("exec registry serve /etc/docker/registry/config.yml", "env");
    let output = tool(Command::new("sh").args(["-c", &script]));
    let variables = String::from_utf8(output.stdout).unwrap();
    let (_, endpoints) = variables.split_once("REGISTRY_NOTIFICATIONS_ENDPOINTS=").unwrap();
    let endpoints: String = endpoints
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with(['-', ' ']))
        .map(|line| format!("{line}\n"))
        .collect();
    let endpoint = yaml(&endpoints)[0][0].clone();
    assert_eq!(endpoint["headers"]["Authorization"], serde_json::json!(["Bearer s3cret"]));
    let (source, events) = config["events"].as_table().unwrap().iter().next().unwrap();
    let path = format!("/api/v1/events/{source}");
    assert_eq!(endpoint["url"], format!("http://tranship:{PORT}{path}"));
    assert!(api_has("/api/v1/events/{source}"));
    let registry = events["registry"].as_str().unwrap();
    assert!(registry.starts_with("registry:"), "{registry} is the service beside");
    assert_eq!(config["registry"][registry]["insecure"].as_str(), Some("http"));

    let prometheus = document("compose/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "tranship");
    assert_eq!(job["static_configs"][0]["targets"][0], format!("tranship:{PORT}"));
    for name in ["compose/prometheus.yml", "prometheus/alerts.yml"] {
        fs::copy(deploy(name), folder.path().join(Path::new(name).file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("prometheus.yml");
    let output = tool(Command::new("promtool").args(["check", "config"]).arg(file));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("rules found"), "{}", said(&output));
}

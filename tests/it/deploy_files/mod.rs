//! What an operator installs: read as what it is for reads it, and compared with what the program
//! really has. What cannot be run here (a container engine, a cluster) is held to its rules.

mod compose;
mod container;
mod guide;
mod helm;
mod kubernetes;
mod package;
mod pins;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::Tranship;

const PORT: u64 = 8642;
/// The user of distroless images.
const USER: u64 = 65532;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deploy(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs a tool of the machine, which must be there: a check that is left out is no check.
fn tool(command: &mut Command) -> Output {
    let name = command.get_program().to_owned();
    command
        .output()
        .unwrap_or_else(|error| panic!("{name:?} (scripts/test installs what is needed): {error}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// The documents of YAML text, as python3-yaml reads them.
fn yaml(text: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    // Debian's python3-yaml is for Debian's python3.
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let tried = Command::new(python).args(["-c", "import yaml"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    let python = python.expect("python3 has yaml (scripts/test installs python3-yaml)");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("documents.yaml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(python);
    let output = tool(command.args(["-c", program]).stdin(fs::File::open(&file).unwrap()));
    assert!(output.status.success(), "{}\n{text}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn document(name: &str) -> Value {
    let mut documents = yaml(&read(name));
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Checks a configuration as the daemon would, with secrets at hand where it looks for them.
/// Gives it as `tranship config show` understands it.
async fn checked(name: &str, secrets: &str) -> toml::Table {
    let config = read(name);
    assert!(config.contains(&format!("\"{secrets}/token\"")), "{name} has a token: {config}");
    check(&config, secrets).await
}

/// The same for the text of a configuration.
async fn check(config: &str, secrets: &str) -> toml::Table {
    let tranship = Tranship::new();
    let folder = tranship.home().join("secrets");
    fs::create_dir(&folder).unwrap();
    for secret in ["token", "events", "dockerhub"] {
        fs::write(folder.join(secret), "s3cret\n").unwrap();
    }
    tranship.write("tranship.toml", config.replace(secrets, folder.to_str().unwrap()));
    tranship.succeed(["config", "check"]).await;
    toml::from_str(&tranship.succeed(["config", "show"]).await.stdout).unwrap()
}

/// Seconds of a time like `45s`.
fn seconds(text: &str) -> u64 {
    humantime::parse_duration(text).unwrap().as_secs()
}

/// What the daemon may take from the signal to its end: the grace, and what follows it.
fn time_to_stop(config: &toml::Table) -> u64 {
    let grace = config["daemon"]["grace"].as_str().unwrap();
    // Runs that are stopped hard, webhooks, answers under way.
    seconds(grace) + 5 + 5 + 3
}

fn api_has(path: &str) -> bool {
    tranship::server::api::document()["paths"].get(path).is_some()
}

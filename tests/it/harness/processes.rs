//! Running the binary, and other processes in its place.

use std::time::Duration;

use tokio::process::Command;

use crate::support::process::Running;
use crate::support::{Tranship, eventually};

#[tokio::test]
async fn the_binary_runs_in_a_home_of_its_own() {
    let tranship = Tranship::new();
    let finished = tranship.succeed(["--version"]).await;
    assert_eq!(finished.stderr, "");
    let file = tranship.write("config/a.toml", "x");
    assert!(file.starts_with(tranship.home()));
    let command = tranship.command();
    let environment: Vec<_> = command.as_std().get_envs().collect();
    for name in ["HOME", "XDG_STATE_HOME", "DOCKER_CONFIG"] {
        let set = environment.iter().find(|(key, _)| *key == name).unwrap().1.unwrap();
        assert!(std::path::Path::new(set).starts_with(tranship.home()), "{name}");
    }
    assert!(environment.iter().all(|(key, _)| !key.to_string_lossy().ends_with("_proxy")));
}

#[tokio::test]
async fn output_and_code_are_captured() {
    let mut command = Command::new("sh");
    let finished = Running::new(command.args(["-c", "echo out; echo err >&2; exit 3"]));
    let finished = finished.finish().await;
    assert_eq!(finished.code, Some(3));
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
}

#[tokio::test]
async fn processes_are_killed_asked_and_dropped() {
    let sleeper = || Running::new(Command::new("sleep").arg("60"));
    assert_eq!(sleeper().kill().await.code, None);
    assert_eq!(sleeper().terminate().await.code, None);
    let dropped = sleeper();
    let pid = dropped.pid();
    drop(dropped);
    eventually("the dropped process to end", Duration::from_secs(5), || async {
        // A zombie has no executable any more.
        std::fs::read_link(format!("/proc/{pid}/exe")).is_err().then_some(())
    })
    .await;
}

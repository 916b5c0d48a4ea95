//! `tranship status` and `tranship history`: from the daemon while it runs, from the state
//! directory otherwise, and the same either way.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::scripted::Fault;
use crate::support::{Daemon, Family, Image, Kind, Place, Scripted, Tranship, eventually};

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: [(&str, &str); 1] = [("authorization", "Bearer t0ken")];

/// Rules `good`, `bad` and `slow`, the last of which never ends.
fn rules(source: &Scripted, target: &Scripted) -> String {
    for repository in ["good", "slow"] {
        Image::single(Family::Oci, repository, &[5_000]).load(source, repository, "v1");
    }
    source.on("GET", Kind::Blob).containing("/slow/").fail(Fault::Hang);
    let (from, to) = (source.host(), target.host());
    let mut text = format!(
        "[registry.\"{from}\"]\ninsecure = \"http\"\n[registry.\"{to}\"]\ninsecure = \"http\"\n"
    );
    for name in ["good", "bad", "slow"] {
        text += &format!(
            "[[sync]]\nname = \"{name}\"\nsource = \"{from}/{name}\"\ntarget = \"{to}/to/{name}\"\n"
        );
    }
    text.replace("name = \"good\"", "name = \"good\"\nschedule = \"0 3 1 1 *\"")
}

async fn start(text: &str) -> Daemon {
    let home = Tranship::new();
    home.write("token", "t0ken\n");
    let daemon = Daemon::start_in(home, &format!("token = {{ file = \"token\" }}\n{text}")).await;
    // The same configuration with the port that was taken.
    let listen = format!("listen = \"{}\"", daemon.address);
    let own = std::fs::read_to_string(daemon.home().home().join("tranship.toml")).unwrap();
    daemon.home().write("cli.toml", own.replace("listen = \"127.0.0.1:0\"", &listen));
    daemon
}

async fn run(daemon: &Daemon, rule: &str) {
    let path = format!("/api/v1/rules/{rule}/run");
    assert_eq!(daemon.post_with(&path, &TOKEN, "").await.status, 202);
}

async fn json(home: &Tranship, arguments: &[&str]) -> Value {
    let all = ["--config", "cli.toml", "--output", "json"].iter().chain(arguments);
    serde_json::from_str(&home.succeed(all).await.stdout).unwrap()
}

async fn text(home: &Tranship, arguments: &[&str]) -> String {
    home.succeed(["--config", "cli.toml"].iter().chain(arguments)).await.stdout
}

async fn transfer_under_way(daemon: &Daemon) {
    eventually("a transfer", LIMIT, || async {
        daemon.get("/api/v1/transfers").await.json()[0].is_object().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_daemon_is_asked_while_it_runs_and_the_state_afterwards() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let daemon = start(&rules(&source, &target)).await;
    run(&daemon, "good").await;
    run(&daemon, "bad").await;
    daemon.ended("good", "api", 1).await;
    daemon.ended("bad", "api", 1).await;
    let home = daemon.home();
    let [history, failed] = [&["history"][..], &["history", "--failed", "--since", "1h"]];
    let before = (json(home, history).await, json(home, failed).await, text(home, history).await);
    assert_eq!(before.0["runs"].as_array().unwrap().len(), 2);
    assert_eq!(before.1["runs"][0]["rule"], "bad");
    let id = before.1["runs"][0]["id"].as_str().unwrap();
    let one = (json(home, &["history", id]).await, text(home, &["history", id]).await);
    assert_eq!(one.0["run"], before.1["runs"][0]);
    let unknown = ["--config", "cli.toml", "history", "20200101T000000Z-000000"];
    let unknown = home.run(unknown).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("there is no run 2020"), "{unknown:?}");

    run(&daemon, "slow").await;
    transfer_under_way(&daemon).await;
    let status = json(home, &["status"]).await;
    assert_eq!(status["daemon"]["rules"], 3);
    assert_eq!(status["running"][0]["rule"], "slow");
    assert_eq!(status["transfers"][0]["rule"], "slow");
    assert_eq!(status["rules"][1]["last_run"]["outcome"], "failed");
    let shown = text(home, &["status"]).await;
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("tranship ").contains("rules 3, running 1, waiting 0, transfers 1"), "{shown}");
    let good = line("good");
    assert!(good.contains("0 3 1 1 *") && good.contains("succeeded"), "{shown}");
    assert!(good.contains("  in ") && good.contains(" ago, "), "{shown}");
    assert!(line("bad").contains("FAILED") && line("bad").contains("on request"), "{shown}");
    assert!(line("slow").ends_with("running"), "{shown}");
    let from = format!("{}/slow@sha256:", source.host());
    assert!(line(&from).contains(&format!("{}/to/slow:v1", target.host())), "{shown}");

    let cancel = format!("/api/v1/runs/{}/cancel", status["running"][0]["id"].as_str().unwrap());
    assert_eq!(daemon.post_with(&cancel, &TOKEN, "").await.status, 202);
    daemon.ended("slow", "api", 1).await;
    let before = (json(home, history).await, json(home, failed).await, text(home, history).await);
    let (code, home) = daemon.stop().await;
    assert_eq!(code, Some(0));
    let home = &home;
    let after = (json(home, history).await, json(home, failed).await, text(home, history).await);
    assert_eq!(after, before);
    assert_eq!((json(home, &["history", id]).await, text(home, &["history", id]).await), one);

    let status = json(home, &["status"]).await;
    assert_eq!(status["daemon"], Value::Null);
    assert_eq!(status["rules"][1]["last_run"]["outcome"], "failed");
    assert_eq!(status["rules"][1]["consecutive_failures"], 1);
    assert!(status["rules"][0]["last_success"].is_string(), "{status}");
    let shown = text(home, &["status"]).await;
    assert!(shown.starts_with("note: no daemon listens at 127.0.0.1:"), "{shown}");
    assert!(shown.contains("is `tranship serve` running?\n"), "{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("bad") && line.contains("FAILED")),
        "{shown}"
    );
}

/// Another program, and the daemon of another configuration, are not mistaken for this one's.
#[tokio::test]
async fn who_else_listens_is_not_believed() {
    let other = start("").await;
    let home = Tranship::new();
    let daemon = format!("[daemon]\nlisten = \"{}\"\n", other.address);
    home.write("cli.toml", &daemon);
    let shown = text(&home, &["status"]).await;
    assert!(shown.starts_with(&format!("note: the daemon at {} is another", other.address)));
    assert_eq!(text(&home, &["history"]).await, "no runs\n");
    let registry = Scripted::start();
    home.write("cli.toml", format!("[daemon]\nlisten = \"{}\"\n", registry.host()));
    let shown = text(&home, &["status"]).await;
    let expected = format!("note: what listens at {} is not a tranship daemon", registry.host());
    assert!(shown.starts_with(&expected), "{shown}");
    // To look makes no state.
    assert!(!home.home().join(".local/state/tranship").exists());
}

/// Elsewhere than on this machine alone, the token is shown, and a wrong one is explained.
#[tokio::test]
async fn the_token_is_shown_where_it_is_needed() {
    let home = Tranship::new();
    home.write("token", "t0ken\n");
    let text = "[daemon]\nlisten = \"0.0.0.0:0\"\ntoken = { file = \"token\" }\n";
    let daemon = Daemon::start_in(home, text).await;
    let home = daemon.home();
    let port = daemon.address.rsplit(':').next().unwrap();
    home.write("cli.toml", text.replace("0.0.0.0:0", &format!("0.0.0.0:{port}")));
    assert_eq!(json(home, &["status"]).await["daemon"]["rules"], 0);
    home.write("token", "other\n");
    let finished = home.run(["--config", "cli.toml", "status"]).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(2), ""));
    let expected = format!("error: the daemon at 127.0.0.1:{port} says: this is not the daemon's");
    assert!(finished.stderr.starts_with(&expected), "{finished:?}");
    assert!(finished.stderr.contains("\nhint: `token` in [daemon]"), "{finished:?}");
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let home = Tranship::new();
    home.write("cli.toml", format!("[daemon]\nlisten = \"{address}\"\n"));
    let finished = home.run(["--config", "cli.toml", "status"]).await;
    assert_eq!(finished.code, Some(1));
    let expected = format!("error: failed to ask the daemon at {address}: it did not answer");
    assert!(finished.stderr.starts_with(&expected), "{finished:?}");
    accept.abort();
}

#[tokio::test]
async fn watching_goes_on_until_the_reader_has_gone() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let daemon = start(&rules(&source, &target)).await;
    let mut command = daemon.home().command();
    command.args(["--config", "cli.toml", "status", "--watch"]).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heads = 0;
    while heads < 2 {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(!line.contains('\u{1b}'), "{line:?}");
        heads += usize::from(line.starts_with("tranship "));
    }
    drop(lines);
    let ended = tokio::time::timeout(LIMIT, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    let both = ["--config", "cli.toml", "--output", "json", "status", "--watch"];
    assert_eq!(daemon.home().run(both).await.code, Some(2));
}

/// script(1) is a terminal.
#[tokio::test]
async fn a_terminal_gets_bars() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let daemon = start(&rules(&source, &target)).await;
    run(&daemon, "slow").await;
    transfer_under_way(&daemon).await;
    let home = daemon.home().home();
    let binary = env!("CARGO_BIN_EXE_tranship");
    let watch =
        format!("stty cols 160 rows 40; timeout 5 {binary} --config cli.toml status --watch");
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &watch, "/dev/null"]).current_dir(home);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("XDG_STATE_HOME", home.join(".local/state")).env("TERM", "xterm");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output).await.unwrap().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(screen.contains('\u{1b}'), "{screen:?}");
    for expected in ["running 1", "slow:v1", "0 of 1 image", "] ", "RULE", "good"] {
        assert!(screen.contains(expected), "no {expected} in {screen}");
    }
    // What is there is drawn anew, not again below.
    let heads = screen.matches("configuration ").count();
    let is_up =
        |rest: &&str| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('A');
    let ups = screen.split("\u{1b}[").skip(1).filter(is_up).count();
    assert!(heads >= 2 && ups >= heads - 1, "{screen:?}");
}

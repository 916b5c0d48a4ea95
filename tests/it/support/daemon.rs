//! The built binary as a daemon on a free port, asked over HTTP and stopped by its own process id.
//!
//! ```text
//! let daemon = Daemon::start(&rules).await;
//! daemon.post("/api/v1/events/hub?token=s3cret", body).await;
//! let run = daemon.run_of("app", "event").await;
//! assert_eq!(daemon.stop().await.code, Some(0));
//! ```

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::endpoint::client_builder;
use super::{Samples, Tranship, eventually};

/// Longer than anything takes that a test waits for.
const LIMIT: Duration = Duration::from_secs(30);

/// A running `tranship serve`; dropping it kills it.
pub struct Daemon {
    home: Tranship,
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
    client: reqwest::Client,
}

/// What became of a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Daemon {
    /// With this configuration, to which the daemon's own part is added.
    pub async fn start(text: &str) -> Self {
        Self::start_in(Tranship::new(), text).await
    }

    /// In a home that may have a state already.
    pub async fn start_in(home: Tranship, text: &str) -> Self {
        Self::start_with(home, text, &[]).await
    }

    /// With these environment variables.
    pub async fn start_with(home: Tranship, text: &str, variables: &[(&str, &str)]) -> Self {
        home.write("tranship.toml", with_daemon(text));
        let log = File::options().create(true).append(true).open(home.home().join("log")).unwrap();
        let mut command = home.command();
        command.args(["serve", "--log-format", "json"]).kill_on_drop(true);
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(LIMIT, lines.next_line()).await;
        let first = first.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let address = first.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        let Some(address) = address.map(str::to_owned) else {
            let log = fs::read_to_string(home.home().join("log")).unwrap_or_default();
            panic!("the daemon does not listen: {first}\n{log}");
        };
        let client = client_builder().build().unwrap();
        Self { home, child, address, client }
    }

    /// Writes another configuration, which the daemon notices by itself or at [`Self::reload`].
    pub fn configure(&self, text: &str) {
        self.home.write("tranship.toml", with_daemon(text));
    }

    /// Has it load its configuration anew, and waits until it has.
    pub async fn reload(&self, text: &str) {
        let reloads = async || {
            let metrics = self.metrics().await;
            metrics.sum("tranship_config_reloads_total", &[("outcome", "succeeded")])
        };
        let before = reloads().await;
        self.configure(text);
        self.signal("HUP").await;
        eventually("a reload", LIMIT, || async { (reloads().await > before).then_some(()) }).await;
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process has not been waited for")
    }

    pub fn home(&self) -> &Tranship {
        &self.home
    }

    /// Everything it has logged so far, a JSON document a line.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.home.home().join("log")
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        self.post_with(path, &[], body).await
    }

    /// With these headers.
    pub async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Answer {
        let request = self.client.post(self.url(path)).body(body.into());
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::of(request.send().await.unwrap()).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn metrics(&self) -> Samples {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Samples::parse(&answer.body)
    }

    /// The runs of a rule that have ended, the newest first.
    pub async fn runs(&self, rule: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/runs?rule={rule}&limit=500")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let Value::Array(runs) = answer.json() else { panic!("{answer:?}") };
        runs.into_iter().filter(|run| run["outcome"] != "running").collect()
    }

    /// Those of one cause.
    pub async fn runs_for(&self, rule: &str, cause: &str) -> Vec<Value> {
        let mut runs = self.runs(rule).await;
        runs.retain(|run| run["cause"] == cause);
        runs
    }

    /// Waits until so many runs of this cause have ended, and gives them.
    pub async fn ended(&self, rule: &str, cause: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} runs of {rule} for {cause}");
        eventually(&what, LIMIT, || async {
            let runs = self.runs_for(rule, cause).await;
            (runs.len() >= count).then_some(runs)
        })
        .await
    }

    /// Waits until nothing is under way and nothing waits.
    pub async fn rests(&self) {
        eventually("a daemon at rest", LIMIT, || async {
            let status = self.get("/api/v1/status").await.json();
            (status["running"] == 0 && status["queued"] == 0).then_some(())
        })
        .await;
    }

    /// Sends it a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.pid().to_string());
        let sent = Command::new("kill").args([&signal, &pid]).status().await.unwrap();
        assert!(sent.success(), "process {pid} is gone");
    }

    /// Asks it with SIGTERM to end, and waits for that. Gives its exit code and its home.
    pub async fn stop(mut self) -> (Option<i32>, Tranship) {
        self.signal("TERM").await;
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        (ended.expect("the daemon ends").unwrap().code(), self.home)
    }

    /// How much memory it has, and the most it ever had, in KiB.
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        (kib("VmRSS:"), kib("VmHWM:"))
    }
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn with_daemon(text: &str) -> String {
    if text.starts_with("[daemon]\n") {
        return text.to_owned();
    }
    format!("[daemon]\nlisten = \"127.0.0.1:0\"\n{text}")
}

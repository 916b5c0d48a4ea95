//! What the tests of `tranship serve` share: a home with a configuration, a daemon that runs in
//! it, a receiver of its alerts, and small disks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::endpoint::client_builder;
use crate::support::wire::{Exchange, Head, Next, Response, Server, Service};
use crate::support::{Place, Samples, Tranship, eventually};

/// Longer than anything here should take, shorter than anyone's patience.
pub const LIMIT: Duration = Duration::from_secs(40);
pub const TOKEN: &str = "let me in";

/// A home of the daemon; `configure` writes what was set to `tranship.toml`.
pub struct Home {
    pub tranship: Tranship,
    daemon: Vec<String>,
    registries: BTreeMap<String, String>,
    rules: BTreeMap<String, String>,
    cleanups: BTreeMap<String, String>,
    alerts: Option<Alerts>,
}

impl Home {
    pub fn new() -> Self {
        Self {
            tranship: Tranship::new(),
            daemon: vec![
                "listen = \"127.0.0.1:0\"".to_owned(),
                "token = { env = \"TOKEN\" }".to_owned(),
            ],
            registries: BTreeMap::new(),
            rules: BTreeMap::new(),
            cleanups: BTreeMap::new(),
            alerts: None,
        }
    }

    /// A line of `[daemon]`; it replaces one with the same key.
    pub fn daemon(mut self, line: &str) -> Self {
        self.set_daemon(line);
        self
    }

    pub fn set_daemon(&mut self, line: &str) {
        let key = line.split('=').next().unwrap();
        self.daemon.retain(|known| !known.starts_with(key));
        self.daemon.push(line.to_owned());
    }

    /// Without a token, the API only reads.
    pub fn without_token(mut self) -> Self {
        self.daemon.retain(|line| !line.starts_with("token"));
        self
    }

    /// A registry without TLS, with these further settings.
    pub fn registry(mut self, place: &impl Place, lines: &str) -> Self {
        let settings = format!("insecure = \"http\"\n{lines}");
        self.registries.insert(place.host().to_owned(), settings);
        self
    }

    pub fn rule(mut self, name: &str, lines: &str) -> Self {
        self.set_rule(name, lines);
        self
    }

    pub fn set_rule(&mut self, name: &str, lines: &str) {
        self.rules.insert(name.to_owned(), lines.to_owned());
    }

    /// A cleanup rule.
    pub fn cleanup(mut self, name: &str, lines: &str) -> Self {
        self.set_cleanup(name, lines);
        self
    }

    pub fn set_cleanup(&mut self, name: &str, lines: &str) {
        self.cleanups.insert(name.to_owned(), lines.to_owned());
    }

    pub fn remove_rule(&mut self, name: &str) {
        self.rules.remove(name);
    }

    /// A rule of the repository `name`, both registries included. It runs at the start and then
    /// once a year.
    pub fn mirror(self, name: &str, source: &impl Place, target: &impl Place) -> Self {
        let rule = copying(name, source, target);
        self.registry(source, "").registry(target, "").rule(name, &rule)
    }

    /// Has alerts sent to a receiver of its own.
    pub fn alerting(mut self) -> Self {
        self.alerts = Some(Alerts::start());
        self
    }

    pub fn alerts(&self) -> &Alerts {
        self.alerts.as_ref().unwrap()
    }

    /// The configuration's text.
    pub fn text(&self) -> String {
        let mut text = format!("[daemon]\n{}\n", self.daemon.join("\n"));
        for (host, settings) in &self.registries {
            text.push_str(&format!("[registry.\"{host}\"]\n{settings}\n"));
        }
        if let Some(alerts) = &self.alerts {
            text.push_str(&format!("[[notify]]\nurl = \"{}\"\n", alerts.url()));
        }
        for (name, lines) in &self.rules {
            text.push_str(&format!("[[sync]]\nname = \"{name}\"\n{lines}\n"));
        }
        for (name, lines) in &self.cleanups {
            text.push_str(&format!("[[cleanup]]\nname = \"{name}\"\n{lines}\n"));
        }
        text
    }

    pub fn file(&self) -> PathBuf {
        self.tranship.home().join("tranship.toml")
    }

    /// The folder of the state.
    pub fn state(&self) -> PathBuf {
        self.tranship.home().join(".local/state/tranship")
    }

    /// Writes the configuration, into the file as it is.
    pub fn configure(&self) {
        self.tranship.write("tranship.toml", self.text());
    }

    pub fn command(&self) -> Command {
        let mut command = self.tranship.command();
        command.arg("serve").env("TOKEN", TOKEN);
        command
    }

    /// Starts the daemon with the configuration as it is, and waits until it listens.
    pub async fn serve(&self) -> Serving {
        self.configure();
        self.spawn(&mut self.command()).ready().await
    }

    /// Starts the daemon and does not wait.
    pub fn spawn(&self, command: &mut Command) -> Starting {
        let log = self.tranship.home().join("daemon.log");
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(Stdio::piped()).stderr(file).kill_on_drop(true).spawn().unwrap();
        Starting { child, log }
    }
}

/// The lines of a rule that copies the repository `name`, at the start and then once a year.
pub fn copying(name: &str, source: &impl Place, target: &impl Place) -> String {
    let (from, to) = (source.host(), target.host());
    format!(
        "schedule = \"0 0 1 1 *\"\nrun_at_start = true\nreferrers = false\n\
         source = \"{from}/{name}\"\ntarget = \"{to}/{name}\""
    )
}

/// A daemon that may not listen yet; dropping it kills it.
pub struct Starting {
    child: Child,
    log: PathBuf,
}

/// A daemon that listens; dropping it kills it.
pub struct Serving {
    process: Starting,
    url: String,
    client: reqwest::Client,
}

impl Starting {
    pub async fn ready(mut self) -> Serving {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(LIMIT, lines.next_line()).await;
        let first = first.unwrap().unwrap().unwrap_or_else(|| panic!("it ended: {}", self.log()));
        let address = first.strip_prefix("listening on ").unwrap().split(',').next().unwrap();
        let url = format!("http://{address}");
        Serving { process: self, url, client: client_builder().build().unwrap() }
    }

    /// Everything that daemons of this home wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub async fn logged(&self, words: &str) {
        eventually(words, LIMIT, || async { self.log().contains(words).then_some(()) }).await;
    }

    /// Sends it a signal by this name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it has not been waited for").to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end: the exit code (`None`: killed) and how long it took.
    pub async fn ended(mut self) -> (Option<i32>, Duration) {
        let before = Instant::now();
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.log())).unwrap();
        (status.code(), before.elapsed())
    }

    /// Asks it to end; it must do so well, within so long.
    pub async fn terminate(self, within: Duration) {
        self.signal("TERM");
        let log = self.log.clone();
        let (code, took) = self.ended().await;
        let log = || std::fs::read_to_string(&log).unwrap();
        assert_eq!(code, Some(0), "{}", log());
        assert!(took < within, "{took:?}: {}", log());
    }
}

impl std::ops::Deref for Serving {
    type Target = Starting;

    fn deref(&self) -> &Starting {
        &self.process
    }
}

impl Serving {
    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub fn into_process(self) -> Starting {
        self.process
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let answer = request.bearer_auth(TOKEN).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// An answer's status and text.
    pub async fn text(&self, path: &str) -> (u16, String) {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    /// A document that must be there.
    pub async fn get(&self, path: &str) -> Value {
        let (status, text) = self.text(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn metrics(&self) -> Samples {
        Samples::parse(&self.text("/metrics").await.1)
    }

    /// The checks of `/readyz` that fail.
    pub async fn unready(&self) -> Vec<String> {
        let (status, text) = self.text("/readyz").await;
        let document: Value = serde_json::from_str(&text).unwrap();
        let failing = document["checks"].as_array().unwrap().iter().filter(|c| c["ok"] == false);
        let failing: Vec<_> =
            failing.map(|check| check["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(status, if failing.is_empty() { 200 } else { 503 });
        failing
    }

    /// Waits until just these checks say that it is not ready: the verdict is a moment old.
    pub async fn unready_is(&self, checks: &[&str]) {
        eventually(&format!("{checks:?} not ready"), LIMIT, || async {
            (self.unready().await == checks).then_some(())
        })
        .await;
    }

    /// Asks for a run of a rule, and waits for its end: its record.
    pub async fn run(&self, rule: &str) -> Value {
        let path = format!("{}/api/v1/rules/{rule}/run", self.url);
        let (status, text) = self.send(self.client.post(path)).await;
        assert_eq!(status, 202, "{text}");
        let accepted: Value = serde_json::from_str(&text).unwrap();
        let id = accepted["run"].as_str().unwrap();
        eventually("the run's end", LIMIT, || async {
            let last = self.get(&format!("/api/v1/rules/{rule}")).await["last_run"].clone();
            (last["id"] == id).then_some(last)
        })
        .await
    }

    /// Has a run stopped.
    pub async fn cancel(&self, run: &str) {
        let path = format!("{}/api/v1/runs/{run}/cancel", self.url);
        let (status, text) = self.send(self.client.post(path)).await;
        assert_eq!(status, 202, "{text}");
    }

    /// Waits until the last run of a rule ended, whichever it is, and gives its record.
    pub async fn ran(&self, rule: &str) -> Value {
        eventually("the run's end", LIMIT, || async {
            let rule = self.get(&format!("/api/v1/rules/{rule}")).await;
            let idle = rule["running"].as_array().unwrap().is_empty();
            (idle && rule["queued"] == false && !rule["last_run"].is_null())
                .then(|| rule["last_run"].clone())
        })
        .await
    }
}

/// A webhook receiver: what was told.
pub struct Alerts {
    server: Server,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told(Mutex<Vec<Value>>);

#[async_trait]
impl Service for Told {
    async fn serve(&self, _: &Head, exchange: &mut Exchange) -> Next {
        let body = exchange.read_body(None).await;
        self.0.lock().unwrap().push(serde_json::from_slice(&body.bytes).unwrap());
        exchange.respond(&Response::new(204), crate::support::wire::Delivery::Whole).await
    }
}

impl Alerts {
    fn start() -> Self {
        let told = Arc::new(Told::default());
        let server = Server::start(Arc::clone(&told) as Arc<dyn Service>);
        Self { server, told }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.server.address)
    }

    /// The kinds of all alerts, in order.
    pub fn kinds(&self) -> Vec<String> {
        let told = self.told.0.lock().unwrap();
        told.iter().map(|alert| alert["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until so many came, and gives the last one as text.
    pub async fn came(&self, count: usize) -> String {
        eventually("an alert", LIMIT, || async {
            let told = self.told.0.lock().unwrap();
            (told.len() >= count).then(|| told[count - 1].to_string())
        })
        .await
    }
}

/// A file system in memory on a folder; dropping it unmounts it.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// With these options of `mount`. `None`, with a message, where the environment forbids it.
    pub fn mount(folder: &Path, options: &str) -> Option<Self> {
        if std::env::var_os("TRANSHIP_TEST_NO_MOUNT").is_some() {
            eprintln!("skipped: TRANSHIP_TEST_NO_MOUNT is set");
            return None;
        }
        std::fs::create_dir_all(folder).unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tranship-test"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(status.success(), "mount failed: needs root, or set TRANSHIP_TEST_NO_MOUNT=1");
        Some(Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

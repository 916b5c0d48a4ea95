//! The built `tranship` binary as people run it, in a home of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// The program that is tested.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tranship");
/// Longer than any test should take, shorter than anyone's patience.
const LIMIT: Duration = Duration::from_secs(60);

/// A place to run tranship in: an empty home, no proxy, no login, nothing of the user's.
pub struct Tranship {
    home: TempDir,
}

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A process on its way; dropping it kills it.
pub struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    limit: Duration,
}

impl Tranship {
    pub fn new() -> Self {
        Self { home: TempDir::with_prefix("tranship-home-").unwrap() }
    }

    /// The home folder: the working directory of every run.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file into the home folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.home().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        file
    }

    /// Runs to the end, at most a minute.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        self.start(arguments).finish().await
    }

    /// As `run`, and panics with everything it wrote unless it succeeds.
    pub async fn succeed<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Finished {
        let finished = self.run(arguments).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished
    }

    /// Starts and lets run.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Running {
        Running::new(self.command().args(arguments))
    }

    /// The bare command, for tests that need another environment or standard input.
    pub fn command(&self) -> Command {
        self.command_of(PROGRAM)
    }

    /// Another program in the same environment.
    pub fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.home().join(".config"))
            .env("XDG_STATE_HOME", self.home().join(".local/state"))
            .env("XDG_CACHE_HOME", self.home().join(".cache"))
            .env("XDG_RUNTIME_DIR", self.home().join(".run"))
            .env("DOCKER_CONFIG", self.home().join(".docker"))
            .env("NO_PROXY", "*")
            .env("NO_COLOR", "1")
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }
}

impl Running {
    /// Starts a command with its output captured.
    pub fn new(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdout = tokio::spawn(read(child.stdout.take().unwrap()));
        let stderr = tokio::spawn(read(child.stderr.take().unwrap()));
        Self { child, stdout, stderr, limit: LIMIT }
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process has not been waited for")
    }

    /// Lets it run for longer, or shorter, than a minute.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Waits for the end; panics after its limit.
    pub async fn finish(mut self) -> Finished {
        let limit = self.limit;
        let Ok(status) = tokio::time::timeout(limit, self.child.wait()).await else {
            let _ = self.child.kill().await;
            let (stdout, stderr) = (self.stdout.await.unwrap(), self.stderr.await.unwrap());
            panic!("tranship did not end within {limit:?}\n{stdout}\n{stderr}");
        };
        self.collect(status.unwrap()).await
    }

    /// Waits for the end. Gives the most memory that it ever had, too, in MiB.
    pub async fn finish_with_peak(self) -> (Finished, f64) {
        let status = format!("/proc/{}/status", self.pid());
        let mut finish = std::pin::pin!(self.finish());
        let mut peak_kib = 0_u64;
        loop {
            // The kernel's own high-water mark: no peak between two looks is missed.
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let seen = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            peak_kib = peak_kib.max(seen.unwrap_or_default());
            tokio::select! {
                finished = &mut finish => return (finished, peak_kib as f64 / 1024.0),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }

    /// Ends it with SIGKILL, which it cannot prepare for.
    pub async fn kill(mut self) -> Finished {
        self.child.start_kill().unwrap();
        let status = self.child.wait().await.unwrap();
        self.collect(status).await
    }

    /// Asks it with SIGTERM to end, and waits for that.
    pub async fn terminate(self) -> Finished {
        self.signal("-TERM").await
    }

    /// Sends it a signal that ends it, and waits for that.
    pub async fn signal(self, signal: &str) -> Finished {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await.unwrap();
        assert!(sent.success(), "process {pid} is gone");
        self.finish().await
    }

    async fn collect(self, status: ExitStatus) -> Finished {
        Finished {
            code: status.code(),
            stdout: self.stdout.await.unwrap(),
            stderr: self.stderr.await.unwrap(),
        }
    }
}

async fn read(mut from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

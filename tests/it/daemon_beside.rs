//! Commands that are run beside the daemon of the same configuration.

use serde_json::Value;

use crate::daemon_cleanup::pull_requests;
use crate::daemon_setup::{Home, LIMIT, Serving, TOKEN, copying};
use crate::support::Place;
use crate::support::process::{Finished, Running};

/// A home with its daemon, and `cli.toml`: the configuration with the port that was taken.
pub struct Beside {
    pub home: Home,
    pub daemon: Serving,
}

impl Beside {
    pub async fn start(home: Home) -> Self {
        home.configure();
        // Each request is in the log.
        let daemon = home.spawn(home.command().arg("-v")).ready().await;
        home.tranship.write("cli.toml", listening(&home.text(), &daemon));
        Self { home, daemon }
    }

    /// Starts a command, which finds the daemon.
    pub fn start_command(&self, arguments: &[&str]) -> Running {
        command(&self.home, arguments)
    }

    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.start_command(arguments).finish().await
    }

    /// The document that a command prints, which must end with this code.
    pub async fn json(&self, arguments: &[&str], code: i32) -> Value {
        let all: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        let finished = self.run(&all).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        serde_json::from_str(&finished.stdout).unwrap()
    }

    /// Stops the daemon; commands are run without it from then on.
    pub async fn without(self) -> Home {
        self.daemon.into_process().terminate(LIMIT).await;
        self.home
    }
}

/// The lines of a cleanup rule that runs only when it is asked to, and by itself only plans.
pub fn on_request(place: &impl Place, repository: &str, more: &str) -> String {
    pull_requests(place, repository, more)
        .replace("schedule = \"0 0 1 1 *\"\nrun_at_start = true\n", "")
}

/// The lines of a sync rule of the repository `name` that runs only when it is asked to.
pub fn on_request_sync(source: &impl Place, target: &impl Place, name: &str) -> String {
    let rule = copying(name, source, target);
    rule.replace("schedule = \"0 0 1 1 *\"\nrun_at_start = true\n", "")
}

/// A configuration by which this daemon is found.
pub fn listening(text: &str, daemon: &Serving) -> String {
    let listen = format!("listen = \"{}\"", daemon.address());
    text.replace("listen = \"127.0.0.1:0\"", &listen)
}

/// Starts a command with `cli.toml`.
pub fn command(home: &Home, arguments: &[&str]) -> Running {
    let mut command = home.tranship.command();
    Running::new(command.args(["--config", "cli.toml"]).args(arguments).env("TOKEN", TOKEN))
}

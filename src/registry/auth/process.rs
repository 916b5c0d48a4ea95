//! Runs a program that knows a secret: without a shell, its time and its output bounded.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::environment::Environment;
use super::error::shorten;

/// How long a program may take before it is killed.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// More output than any credential has.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// What a program said.
pub(super) struct Output {
    pub success: bool,
    /// May hold a secret: never to be shown.
    pub stdout: Vec<u8>,
    /// The beginning of what it wrote to stderr, in one line.
    pub complaint: String,
}

impl Output {
    /// For an error message: `failed: what it said on stderr`.
    pub fn failure(&self) -> String {
        match self.complaint.as_str() {
            "" => "failed without a word".to_owned(),
            words => format!("failed: {words}"),
        }
    }
}

/// Runs `program`, found in the environment's `PATH`, and gives it `input`.
///
/// The error says what the program did, to follow its name: `is not in PATH`.
pub(super) async fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: &[S],
    input: &[u8],
    environment: &Environment,
    time_limit: Duration,
) -> Result<Output, String> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(path) = environment.variable("PATH") {
        command.env("PATH", path);
    }
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is not in PATH".to_owned(),
        kind => format!("cannot be started: {kind}"),
    })?;
    // Giving up drops the child, which kills it.
    match tokio::time::timeout(time_limit, talk(child, input)).await {
        Ok(Ok(Some(output))) => Ok(output),
        Ok(Ok(None)) => Err(format!("printed more than {OUTPUT_LIMIT} bytes")),
        Ok(Err(error)) => Err(format!("broke off: {}", error.kind())),
        Err(_) => Err(format!("gave no answer within {} seconds", time_limit.as_secs_f32())),
    }
}

/// Nothing where the program printed too much.
async fn talk(mut child: Child, input: &[u8]) -> io::Result<Option<Output>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not care for its input may be gone by now.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read(stdout), read(stderr));
    let (stdout, stderr) = (stdout?, stderr?);
    if stdout.len() as u64 > OUTPUT_LIMIT || stderr.len() as u64 > OUTPUT_LIMIT {
        return Ok(None);
    }
    let success = child.wait().await?.success();
    let complaint = shorten(&String::from_utf8_lossy(&stderr), 300);
    Ok(Some(Output { success, stdout, complaint }))
}

/// At most one byte more than the limit.
async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(OUTPUT_LIMIT + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

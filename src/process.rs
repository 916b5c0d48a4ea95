//! Runs a program of the user's: without a shell, its time and its output bounded. What it prints
//! and what it is told may be secrets, so neither is ever part of an error.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::text::shorten;

/// How much of what a program complains of is read; what follows is thrown away.
const COMPLAINT_LIMIT: u64 = 64 * 1024;

/// What a program may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After so long it is killed.
    pub time: Duration,
    /// Bytes on stdout; one that prints more has failed.
    pub output: u64,
}

/// What a program said.
pub struct Output {
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

/// Runs `program`, found in `path` (or in this process's own `PATH`), and gives it `input`.
///
/// # Errors
/// What the program did, to follow its name: `is not in PATH`. That it ended without success is
/// told by its [`Output`].
pub async fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: &[S],
    input: &[u8],
    path: Option<OsString>,
    limits: Limits,
) -> Result<Output, String> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is not in PATH".to_owned(),
        kind => format!("cannot be started: {kind}"),
    })?;
    // Giving up drops the child, which kills it.
    match tokio::time::timeout(limits.time, talk(child, input, limits.output)).await {
        Ok(Ok(Some(output))) => Ok(output),
        Ok(Ok(None)) => Err(format!("printed more than {} bytes", limits.output)),
        Ok(Err(error)) => Err(format!("broke off: {}", error.kind())),
        Err(_) => Err(format!("gave no answer within {} seconds", limits.time.as_secs_f32())),
    }
}

/// Nothing where the program printed more than `limit` bytes.
async fn talk(mut child: Child, input: &[u8], limit: u64) -> io::Result<Option<Output>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not care for its input may be gone by now.
            let _ = stdin.write_all(input).await;
        }
    };
    let listen = async {
        let Some(mut stderr) = stderr else { return Ok(Vec::new()) };
        let beginning = read(&mut stderr, COMPLAINT_LIMIT).await?;
        // Listened to until its end, or a talkative program would break off.
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        io::Result::Ok(beginning)
    };
    let hear = async {
        match stdout {
            // One byte more tells what is too much.
            Some(stdout) => read(stdout, limit.saturating_add(1)).await,
            None => Ok(Vec::new()),
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, hear, listen);
    let (stdout, stderr) = (stdout?, stderr?);
    if stdout.len() as u64 > limit {
        return Ok(None);
    }
    let success = child.wait().await?.success();
    let complaint = shorten(&String::from_utf8_lossy(&stderr), 300);
    Ok(Some(Output { success, stdout, complaint }))
}

async fn read(from: impl AsyncRead + Unpin, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

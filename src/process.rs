//! Runs a program that the user configured: without a shell, with bounds on its time and output.
//! Its input and its standard output may be secrets, so neither is ever part of an error.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::text::shorten;

/// How much of standard error is kept; the rest is discarded.
const STDERR_LIMIT: u64 = 64 * 1024;

/// The bounds of a program.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After this time it is killed.
    pub time: Duration,
    /// Bytes on standard output; a program that prints more has failed.
    pub output: u64,
}

/// What a program printed.
pub struct Output {
    pub success: bool,
    /// May hold a secret: never show it.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error, in one line.
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

/// Runs `program`, found in `path` (or in this process's own `PATH`), with `input` on its standard
/// input.
///
/// # Errors
/// What went wrong, worded to follow the program's name, such as `is not in PATH`. A program that ends
/// without success is no error; its [`Output`] says so.
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
        io::ErrorKind::NotFound if !program.contains('/') => "is not in PATH".to_owned(),
        io::ErrorKind::NotFound if Path::new(program).exists() => {
            "cannot be started: the interpreter that its first line names is not there".to_owned()
        }
        io::ErrorKind::NotFound => "is not there".to_owned(),
        kind => format!("cannot be started: {kind}"),
    })?;
    // The time-out drops the child, which kills it.
    match tokio::time::timeout(limits.time, talk(child, input, limits.output)).await {
        Ok(Ok(Some(output))) => Ok(output),
        Ok(Ok(None)) => Err(format!("printed more than {} bytes", limits.output)),
        Ok(Err(error)) => Err(format!("broke off: {}", error.kind())),
        Err(_) => Err(format!("gave no answer within {} seconds", limits.time.as_secs_f32())),
    }
}

/// `None`: the program printed more than `limit` bytes.
async fn talk(mut child: Child, input: &[u8], limit: u64) -> io::Result<Option<Output>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input may have ended by now.
            let _ = stdin.write_all(input).await;
        }
    };
    let read_stderr = async {
        let Some(mut stderr) = stderr else { return Ok(Vec::new()) };
        let beginning = read(&mut stderr, STDERR_LIMIT).await?;
        // Read to its end, or a program that writes much would be blocked or fail.
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        io::Result::Ok(beginning)
    };
    let read_stdout = async {
        match stdout {
            // One byte more shows that the limit is exceeded.
            Some(stdout) => read(stdout, limit.saturating_add(1)).await,
            None => Ok(Vec::new()),
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read_stdout, read_stderr);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_is_missing_where_it_was_looked_for() {
        let folder = tempfile::TempDir::new().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/nowhere/interpreter\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, executable).unwrap();
        let limits = Limits { time: Duration::from_secs(60), output: 1 };
        for (program, expected) in [
            ("no-such-program-anywhere", "is not in PATH"),
            ("/nowhere/program", "is not there"),
            (script.to_str().unwrap(), "the interpreter that its first line names is not there"),
        ] {
            let ran = run(program, &[] as &[&str], b"", None, limits).await;
            let error = ran.err().unwrap();
            assert!(error.ends_with(expected), "{program}: {error}");
        }
    }
}

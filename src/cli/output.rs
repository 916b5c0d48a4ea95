//! Standard output is for data; everything for people's eyes only goes to standard error.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use tracing_subscriber::filter::LevelFilter;

use super::args::{Global, LogFormat};
use super::exit::CliError;

/// Sends the log to standard error, from this level unless told otherwise. Only tranship's own events: a library's might hold secrets.
pub fn set_up_logging(global: &Global, usual: LevelFilter) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => usual,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let own = tracing_subscriber::filter::Targets::new().with_target("tranship", level);
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(false);
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    // An error says that somebody has set up a log already, who then gets these events.
    let _ = match global.log_format {
        LogFormat::Text => builder.finish().with(own).try_init(),
        LogFormat::Json => builder.json().finish().with(own).try_init(),
    };
}

/// Prints one JSON document on standard output.
pub fn print_json(document: &impl Serialize) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|error| CliError::Failed(format!("failed to write JSON: {error}")))?;
    text.push('\n');
    print_text(&text)
}

/// Prints text on standard output.
pub fn print_text(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

/// Prints exactly these bytes on standard output. A reader that has gone (`| head`) is no failure.
pub fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("failed to write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Bytes as people read them: `3.4 MiB`.
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// Seconds as people read them.
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = std::time::Duration::from_secs(seconds as u64);
    humantime::format_duration(whole).to_string()
}

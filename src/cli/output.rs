//! Standard output is for data; everything for people's eyes only goes to standard error.

use std::io::Write;

use serde::Serialize;

use super::exit::CliError;

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

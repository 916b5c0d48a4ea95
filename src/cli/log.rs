//! The log, on standard error: docs/logs.md says what is in it.
//!
//! Only tranship's own events: a library's might hold secrets. Each is one line, and inert: what
//! strangers have written stands in its fields.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{DefaultVisitor, Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use super::args::{Global, LogFormat};
use super::progress::screen;
use crate::text::{inert, inert_json};
use crate::trace;

/// What takes events or spans.
pub type Sink = Box<dyn Layer<Registry> + Send + Sync>;

/// What is logged: from this level unless the user wants more, or less.
pub fn level(global: &Global, usual: LevelFilter) -> LevelFilter {
    let verbose = if global.skopeo.debug { 2 } else { global.verbose };
    match (global.quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => usual,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}

/// Begins to write the log from this level, and to fill these sinks.
pub fn set_up(format: LogFormat, level: LevelFilter, mut sinks: Vec<Sink>) {
    // What a line is about stands in the line itself; spans are for traces.
    let own =
        Targets::new().with_target("tranship", level).with_target(trace::TARGET, LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer().with_writer(|| screen::Above).with_target(false);
    let layer = match format {
        LogFormat::Json => layer.fmt_fields(JsonFields::new()).event_format(json_lines()).boxed(),
        LogFormat::Text if to_journal() => {
            layer.fmt_fields(InertFields).event_format(journal()).boxed()
        }
        LogFormat::Text => layer.fmt_fields(InertFields).with_ansi(screen::has_colours()).boxed(),
    };
    sinks.push(layer.with_filter(own).boxed());
    // An error says that somebody has set up a log already, who then gets these events.
    let _ = tracing_subscriber::registry().with(sinks).try_init();
}

/// Fields as text, whose values can neither break the line nor command a terminal.
struct InertFields;

impl<'w> FormatFields<'w> for InertFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = InertVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct InertVisitor<'w>(DefaultVisitor<'w>);

impl Visit for InertVisitor<'_> {
    /// All other kinds of values lead here.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.0.record_debug(field, &format_args!("{}", inert(&text)));
    }
}

/// A format whose lines are written in another way.
struct Rewritten<F> {
    format: F,
    /// Gives what is written of an event of this level, from the line that the format has made of it.
    rewrite: fn(Level, &str) -> String,
}

impl<S, N, F> FormatEvent<S, N> for Rewritten<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&(self.rewrite)(*event.metadata().level(), &line))
    }
}

/// One JSON document a line, with the fields of the event beside its own.
fn json_lines() -> Rewritten<Format<Json>> {
    let format = tracing_subscriber::fmt::format().json().with_target(false);
    let format = format.flatten_event(true).with_current_span(false).with_span_list(false);
    Rewritten { format, rewrite: |_, document| inert_json(document).into_owned() }
}

/// Whether systemd's journal reads what is written to standard error.
fn to_journal() -> bool {
    let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() else { return false };
    let Ok(stderr) = std::fs::File::from(stderr).metadata() else { return false };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| is_stream(&stream, stderr.dev(), stderr.ino()))
}

/// Whether this is the stream that `JOURNAL_STREAM` names (systemd.exec(5)): processes that were
/// started with another one inherit the variable too.
fn is_stream(named: &str, device: u64, inode: u64) -> bool {
    named == format!("{device}:{inode}")
}

/// Lines for the journal: it has a time of its own for each, and takes the level as a priority
/// (sd-daemon(3)), so that `journalctl -p warning` finds what it should.
fn journal() -> Rewritten<Format<Full, ()>> {
    let format = tracing_subscriber::fmt::format().without_time().with_level(false);
    let format = format.with_target(false).with_ansi(false);
    Rewritten { format, rewrite: |level, line| format!("<{}>{line}", priority(level)) }
}

/// As syslog counts them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_priorities_and_no_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(file.reopen().unwrap())
            .fmt_fields(InertFields)
            .event_format(journal());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(rule = %"a", "begins");
            tracing::warn!("two\nlines");
            tracing::error!("bad");
            tracing::debug!("small");
        });
        let written = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(written, "<6>begins rule=a\n<4>two\u{fffd}lines\n<3>bad\n<7>small\n");
    }

    /// What a layer writes of an event with a stranger's words in a message and in both kinds of
    /// fields.
    fn written<L>(layer: impl FnOnce(std::fs::File) -> L) -> String
    where
        L: Layer<Registry> + Send + Sync,
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer(file.reopen().unwrap()));
        tracing::subscriber::with_default(subscriber, || {
            let words = "a\n\u{1b}[2J\u{9b}\u{202e}\t\u{85}";
            tracing::info!(shown = %words, words, "{words}");
        });
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn an_event_is_one_inert_line_in_colours_of_our_own() {
        let layer = |file| {
            let layer = tracing_subscriber::fmt::layer().fmt_fields(InertFields).with_target(false);
            layer.without_time().with_ansi(true).with_writer(file)
        };
        let inert = "a\u{fffd}\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}";
        let debug = r#""a\n\u{1b}[2J\u{9b}\u{202e}\t\u{85}""#;
        let (italic, dim, end) = ("\u{1b}[3m", "\u{1b}[2m", "\u{1b}[0m");
        let expected = format!(
            "\u{1b}[32m INFO{end} {inert} {italic}shown{end}{dim}={end}{inert} \
             {italic}words{end}{dim}={end}{debug}\n"
        );
        assert_eq!(written(layer), expected);
    }

    #[test]
    fn json_says_the_same_and_is_inert() {
        let layer = |file| {
            let layer = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new());
            layer.event_format(json_lines()).with_writer(file)
        };
        let text = written(layer);
        assert!(text.trim_end().chars().all(|c| (' '..'\u{7f}').contains(&c)), "{text:?}");
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let words = "a\n\u{1b}[2J\u{9b}\u{202e}\t\u{85}";
        assert_eq!((&document["message"], &document["words"]), (&words.into(), &words.into()));
        assert_eq!(document["level"], "INFO");
        assert_eq!(document.get("target"), None);
    }

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["", "8:123", "8:12345", "1234", "9:1234"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }
}

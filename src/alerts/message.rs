//! How an alert is written. docs/notifications.md describes the JSON.

use jiff::Timestamp;
use serde::Serialize;

use super::alert::{Alert, Subject};
use crate::config::AlertKind;
use crate::history::RunRecord;

/// The version of the JSON document. Keys may be added without a new one.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    kind: AlertKind,
    subject: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    at: Timestamp,
    summary: &'a str,
    details: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunRecord>,
}

/// The whole alert as JSON.
pub fn json(alert: &Alert) -> serde_json::Result<Vec<u8>> {
    let subject = match &alert.subject {
        Subject::Rule(_) => "rule",
        Subject::Config => "config",
        Subject::Stall(_) => "stall",
    };
    serde_json::to_vec(&Document {
        version: VERSION,
        kind: alert.kind,
        subject,
        rule: alert.subject.rule(),
        at: alert.at,
        summary: &alert.summary,
        details: &alert.details,
        run: alert.run.as_ref(),
    })
}

/// One text, as the incoming webhooks of Slack and compatible services take it.
pub fn slack(alert: &Alert) -> serde_json::Result<Vec<u8>> {
    let mut text = format!("*{}*: tranship: {}", alert.kind, escaped(&alert.summary));
    for detail in &alert.details {
        text.push_str("\n• ");
        text.push_str(&escaped(detail));
    }
    serde_json::to_vec(&serde_json::json!({ "text": text }))
}

/// Escapes the three characters that have a meaning for Slack, so that a registry's answer cannot
/// mention anybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_registries_cannot_mention_anybody() {
        let at = Timestamp::UNIX_EPOCH;
        let alert = Alert::safety("a", at, "<!channel> & more\n\nsecond");
        let document: serde_json::Value = serde_json::from_slice(&slack(&alert).unwrap()).unwrap();
        assert_eq!(
            document["text"],
            "*safety*: tranship: rule `a` was held back by a safety limit\n\
             • &lt;!channel&gt; &amp; more\n• second"
        );
    }
}

//! `[[notify]]`: what is read, and what is wrong.

use super::{errors, parse};
use crate::config::{AlertKind, NotifyFormat, Receiver, SecretSource, WebhookUrl};

const RULE: &str = "[[sync]]\nname = \"prod-a\"\nsource = \"alpine\"\ntarget = \"r.io/a\"\n";

fn receiver(text: &str) -> Receiver {
    let mut config =
        parse(&format!("[[notify]]\n{text}\n{RULE}")).unwrap_or_else(|e| panic!("{e}"));
    config.notify.remove(0)
}

fn wrong(text: &str) -> String {
    errors(&format!("[[notify]]\n{text}\n{RULE}"))
}

#[test]
fn a_receiver_has_the_documented_defaults() {
    let receiver = receiver("url = \"https://alerts.example.com/x\"");
    assert_eq!(receiver.format, NotifyFormat::Json);
    assert_eq!(receiver.on, AlertKind::ALL.into());
    assert!(receiver.rules.is_none() && receiver.headers.is_empty());
}

#[test]
fn everything_is_read() {
    let receiver = receiver(
        "url = { env = \"SET\" }\nformat = \"slack\"\non = [\"safety\"]\nrules = [\"prod-*\"]\n\
         headers = { X-Key = { env = \"SET\" } }",
    );
    let secret = SecretSource::Env("SET".to_owned());
    assert_eq!(receiver.url, WebhookUrl::Secret(secret.clone()));
    assert_eq!((receiver.format, receiver.on), (NotifyFormat::Slack, [AlertKind::Safety].into()));
    let rules = receiver.rules.unwrap();
    assert!(rules[0].matches("prod-b") && !rules[0].matches("test-prod-b"));
    assert_eq!(receiver.headers, [("x-key".to_owned(), secret)].into());
}

/// The path of a webhook often is a secret.
#[test]
fn only_the_host_is_ever_shown() {
    let text = format!("[[notify]]\nurl = \"https://alerts.example.com/s3cret\"\n{RULE}");
    let config = parse(&text).unwrap();
    for shown in [config.show(), format!("{config:?}")] {
        assert!(shown.contains("alerts.example.com") && !shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn errors_do_not_show_the_address() {
    for (text, expected) in [
        ("url = \"s3cret\"", "not the address of a webhook"),
        ("url = \"ftp://s3cret/\"", "not the address of a webhook"),
        ("url = \"https://u:s3cret@a.io/\"", "an address with a login or a query is never"),
        ("url = \"https://a.io/?s3cret\"", "an address with a login or a query is never"),
        (
            "url = \"https://a.io/s3cret\"\nformat = \"slack\"",
            "the address of a chat's webhook is never",
        ),
        ("url = [\"s3cret\"]", "expected a string, or a table"),
        ("ulr = \"https://a.io/s3cret\"", "unknown key `ulr` in [[notify]] (did you mean `url`?)"),
        (
            "url = \"http://a.io/s3cret\"\nheaders = { a = { env = \"SET\" } }",
            "would go to another machine unencrypted",
        ),
        ("url = \"https://a.io\"\nheaders = { a = \"s3cret\" }", "is never written into"),
        (
            "url = \"https://a.io\"\nheaders = { \"a b\" = { env = \"SET\" } }",
            "not the name of a header",
        ),
        ("url = \"https://a.io\"\non = []", "an empty list selects no notification"),
        ("url = \"https://a.io\"\nrules = []", "leave the key out for all"),
        ("url = \"https://a.io\"\nrules = [\"[\"]", "is not a pattern"),
        ("url = \"https://a.io\"\nrules = [\"prod\"]", "there is no rule `prod`"),
    ] {
        let error = wrong(text);
        assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
    }
    receiver("url = \"http://127.0.0.1:9\"\nheaders = { a = { env = \"SET\" } }");
}

#[test]
fn sizes_are_read() {
    let history = |text: &str| parse(&format!("[daemon]\nhistory = \"{text}\""));
    assert_eq!(history("64MiB").unwrap().daemon.history, 64 << 20);
    assert_eq!(parse("").unwrap().daemon.history, 256 << 20);
    for (text, expected) in [("much", "`much` is not a size"), ("5KiB", "needs 1MiB or more")] {
        let error = errors(&format!("[daemon]\nhistory = \"{text}\"\n"));
        assert!(error.contains(expected), "{error}");
    }
}

//! From `[[notify]]` as typed to [`Receiver`].

use std::collections::BTreeMap;
use std::ops::Range;

use http::HeaderName;
use serde_spanned::Spanned;
use url::Url;

use super::SecretSource;
use super::notify::{
    AlertKind, NotifyFormat, Receiver, RulePattern, WebhookUrl, may_carry_secrets,
};
use super::raw_notify::{RawAlertKind, RawNotify, RawNotifyFormat, RawUrl};
use super::raw_secret::RawSecret;
use super::read_registry::secret;
use super::reader::Reader;

/// What a literal address that may be a secret should be instead.
const AS_A_SECRET: &str = "it may be a secret: write { env = \"VARIABLE\" }, { file = \"PATH\" } or { command = [\"PROGRAM\"] }";

/// All receivers, or `None` with the problems reported. `rules` are the names of the rules.
pub fn receivers(
    raw: Vec<RawNotify>,
    rules: &[&str],
    reader: &mut Reader<'_>,
) -> Option<Vec<Receiver>> {
    let receivers: Vec<_> = raw.into_iter().map(|raw| receiver(raw, rules, reader)).collect();
    receivers.into_iter().collect()
}

fn receiver(raw: RawNotify, rules: &[&str], reader: &mut Reader<'_>) -> Option<Receiver> {
    let format = match raw.format {
        None => NotifyFormat::default(),
        Some(RawNotifyFormat::Json) => NotifyFormat::Json,
        Some(RawNotifyFormat::Slack) => NotifyFormat::Slack,
    };
    let has_headers = !raw.headers.is_empty();
    let span = raw.url.span();
    let url = match raw.url.into_inner() {
        RawUrl::Text(text) => literal(&text, span, format, has_headers, reader),
        RawUrl::Source(source) => {
            secret(Spanned::new(span, RawSecret::Source(source)), reader).map(WebhookUrl::Secret)
        }
    };
    let on = match raw.on {
        None => Some(AlertKind::ALL.into()),
        Some(kinds) if kinds.get_ref().is_empty() => {
            reader.report(kinds.span(), "an empty list tells nobody of anything");
            None
        }
        Some(kinds) => Some(kinds.into_inner().into_iter().map(kind).collect()),
    };
    let rules = reader.optional(raw.rules, |list, reader| patterns(&list, rules, reader));
    let headers = headers(raw.headers, reader);
    Some(Receiver { url: url?, format, on: on?, rules: rules?, headers: headers? })
}

/// Never quotes the address: it may be a secret after all.
fn literal(
    text: &str,
    span: Range<usize>,
    format: NotifyFormat,
    has_headers: bool,
    reader: &mut Reader<'_>,
) -> Option<WebhookUrl> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some_and(|_| !url.cannot_be_a_base())
    });
    let Some(url) = url else {
        reader.report_with_hint(
            span,
            "this is not the address of a webhook",
            "write it like https://alerts.example.com/tranship",
        );
        return None;
    };
    let has_login = !url.username().is_empty() || url.password().is_some();
    if has_login || url.query().is_some() || format == NotifyFormat::Slack {
        let why = match format {
            NotifyFormat::Slack => {
                "the address of a chat's webhook is never written into the configuration itself"
            }
            NotifyFormat::Json => {
                "an address with a login or a query is never written into the configuration itself"
            }
        };
        reader.report_with_hint(span, why, AS_A_SECRET);
        return None;
    }
    if has_headers && !may_carry_secrets(&url) {
        reader.report(span, "`headers` are secrets, and would go to another machine unencrypted");
        return None;
    }
    Some(WebhookUrl::Literal(url))
}

fn kind(raw: RawAlertKind) -> AlertKind {
    match raw {
        RawAlertKind::Failure => AlertKind::Failure,
        RawAlertKind::Recovery => AlertKind::Recovery,
        RawAlertKind::Safety => AlertKind::Safety,
    }
}

fn patterns(
    list: &Spanned<Vec<Spanned<String>>>,
    rules: &[&str],
    reader: &mut Reader<'_>,
) -> Option<Vec<RulePattern>> {
    if list.get_ref().is_empty() {
        reader.report(list.span(), "an empty list is of no rule: leave the key out for all");
        return None;
    }
    let patterns: Vec<RulePattern> = reader.parse_all(list.get_ref())?;
    for (pattern, text) in patterns.iter().zip(list.get_ref()) {
        if !rules.iter().any(|rule| pattern.matches(rule)) {
            reader.report(text.span(), format!("there is no rule `{pattern}`"));
        }
    }
    Some(patterns)
}

fn headers(
    raw: BTreeMap<Spanned<String>, Spanned<RawSecret>>,
    reader: &mut Reader<'_>,
) -> Option<BTreeMap<String, SecretSource>> {
    let mut raw: Vec<_> = raw.into_iter().collect();
    raw.sort_by_key(|(name, _)| name.span().start);
    let mut headers = BTreeMap::new();
    let mut complete = true;
    for (name, value) in raw {
        let parsed: Result<HeaderName, _> = name.get_ref().parse();
        let name = reader.check(
            name.span(),
            parsed.map_err(|_| format!("`{}` is not the name of a header", name.get_ref())),
        );
        match (name, secret(value, reader)) {
            (Some(name), Some(source)) => {
                headers.insert(name.to_string(), source);
            }
            _ => complete = false,
        }
    }
    complete.then_some(headers)
}

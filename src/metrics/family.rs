//! A family of numbers that rules have, and how it is written in the text format.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::rules::Numbers;

/// Names and values of the labels beside the rule's name.
pub(super) type Labels = [(&'static str, &'static str)];

/// Takes one number of a family.
pub(super) type Show<'a> = dyn FnMut(&Labels, Value) + 'a;

/// A family, and how it is read from one rule.
pub(super) struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricType,
    pub read: fn(&Numbers, &mut Show<'_>),
}

pub(super) enum Value {
    Number(f64),
    Durations(prometheus::proto::Histogram),
}

impl Family {
    /// Writes the numbers of these rules, if there are any.
    pub fn write<'a>(
        &self,
        rules: impl Iterator<Item = (&'a str, &'a Numbers)>,
        text: &mut String,
    ) -> prometheus::Result<()> {
        let mut metrics = Vec::new();
        for (name, rule) in rules {
            (self.read)(rule, &mut |labels, value| {
                metrics.push(metric(name, labels, value, self.kind));
            });
        }
        if metrics.is_empty() {
            return Ok(());
        }
        let mut shown = MetricFamily::default();
        shown.set_name(self.name.to_owned());
        shown.set_help(self.help.to_owned());
        shown.set_field_type(self.kind);
        shown.set_metric(metrics);
        TextEncoder::new().encode_utf8(&[shown], text)
    }
}

pub(super) fn number(count: &AtomicU64) -> Value {
    Value::Number(count.load(Ordering::Relaxed) as f64)
}

pub(super) fn show_if_any(seconds: Option<f64>, show: &mut Show<'_>) {
    if let Some(seconds) = seconds {
        show(&[], Value::Number(seconds));
    }
}

fn metric(rule: &str, labels: &Labels, value: Value, kind: MetricType) -> Metric {
    let pair = |name: &str, value: &str| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let mut pairs = vec![pair("rule", rule)];
    pairs.extend(labels.iter().map(|(name, value)| pair(name, value)));
    let mut metric = Metric::from_label(pairs);
    match value {
        Value::Durations(histogram) => metric.set_histogram(histogram),
        Value::Number(number) if kind == MetricType::COUNTER => {
            let mut counter = Counter::default();
            counter.set_value(number);
            metric.set_counter(counter);
        }
        Value::Number(number) => {
            let mut gauge = Gauge::default();
            gauge.set_value(number);
            metric.set_gauge(gauge);
        }
    }
    metric
}

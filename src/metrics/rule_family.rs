//! Families of numbers of rules, and how they are written in the text format.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Names and values of the labels besides the rule's name.
pub(super) type Labels = [(&'static str, &'static str)];

/// Receives the numbers of a family.
pub(super) type Show<'a> = dyn FnMut(&Labels, Value) + 'a;

/// A family, and how it is read from one rule's numbers `N`.
pub(super) struct RuleFamily<N> {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricType,
    pub read: fn(&N, &mut Show<'_>),
}

pub(super) enum Value {
    Number(f64),
    Durations(prometheus::proto::Histogram),
}

impl<N> RuleFamily<N> {
    /// Writes the numbers of these rules, if there are any.
    pub fn write<'a>(
        &self,
        rules: impl Iterator<Item = (&'a str, &'a N)>,
        text: &mut String,
    ) -> prometheus::Result<()>
    where
        N: 'a,
    {
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

/// Where a label stands among the closed set that a family has.
pub(super) fn index_of(labels: &[&str], label: &str) -> Option<usize> {
    let index = labels.iter().position(|known| *known == label);
    debug_assert!(index.is_some(), "`{label}` is none of {labels:?}");
    index
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

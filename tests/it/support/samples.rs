//! Prometheus' text format, read back: what was counted, to be compared with what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::Traffic;

static SAMPLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$").unwrap());
static LABEL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"([a-z_]+)="([^"]*)""#).unwrap());
static TYPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^# TYPE ([a-z_]+) ([a-z]+)$").unwrap());

/// One line of metrics.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// All lines of one look at the metrics.
#[derive(Debug)]
pub struct Samples {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
}

/// Requests by method and status.
pub type Requests = BTreeMap<(String, String), u64>;

impl Samples {
    pub fn parse(text: &str) -> Self {
        let types = TYPE.captures_iter(text).map(|at| (at[1].to_owned(), at[2].to_owned()));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let parts = SAMPLE.captures(line).unwrap_or_else(|| panic!("not a sample: {line}"));
            let labels = parts.get(2).map_or("", |labels| labels.as_str());
            let labels = LABEL.captures_iter(labels);
            Sample {
                name: parts[1].to_owned(),
                labels: labels.map(|at| (at[1].to_owned(), at[2].to_owned())).collect(),
                value: parts[3].parse().unwrap(),
            }
        });
        Self { samples: samples.collect(), types: types.collect() }
    }

    /// The sum of all samples of this name that have these labels. Panics if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of_name = self.samples.iter().filter(|sample| sample.name == name);
        let values: Vec<f64> = of_name
            .filter(|sample| {
                let has = |(name, value): &(&str, &str)| {
                    sample.labels.get(*name).is_some_and(|known| known == value)
                };
                labels.iter().all(has)
            })
            .map(|sample| sample.value)
            .collect();
        assert!(!values.is_empty(), "no {name} with {labels:?} in {self:#?}");
        values.iter().sum()
    }

    /// Requests to one registry by method and status.
    pub fn requests(&self, registry: &str) -> Requests {
        let label = |sample: &Sample, name: &str| sample.labels[name].clone();
        let of_registry = self.samples.iter().filter(|sample| {
            sample.name == "tranship_registry_requests_total"
                && sample.labels["registry"] == registry
        });
        of_registry
            .map(|sample| ((label(sample, "method"), label(sample, "status")), sample.value as u64))
            .collect()
    }

    /// Every family with its type and the names of its labels.
    pub fn families(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let families = self.types.iter().map(|(family, kind)| {
            let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{family}{part}"));
            let of_family = self.samples.iter().filter(|sample| {
                sample.name == *family || kind == "histogram" && parts.contains(&sample.name)
            });
            let labels = of_family.flat_map(|sample| sample.labels.keys().cloned());
            (family.clone(), (kind.clone(), labels.filter(|label| label != "le").collect()))
        });
        families.collect()
    }
}

/// The same of what a registry saw and answered.
pub fn requests_of(traffic: &Traffic) -> Requests {
    let mut requests = Requests::new();
    for seen in traffic.iter() {
        if let Some(status) = seen.status {
            *requests.entry((seen.method.clone(), status.to_string())).or_default() += 1;
        }
    }
    requests
}

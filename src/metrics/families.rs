//! Creates families of metrics and registers them. Names are constants, so a wrong one is wrong on
//! every start and found by the first test.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

/// Creates families, each registered once.
pub(super) struct Families<'a>(&'a Registry);

impl<'a> Families<'a> {
    pub fn new(registry: &'a Registry) -> Self {
        Self(registry)
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.made(IntCounter::new(name, help))
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.made(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.made(IntGauge::new(name, help))
    }

    /// A gauge of seconds.
    pub fn seconds(&self, name: &str, help: &str) -> Gauge {
        self.made(Gauge::new(name, help))
    }

    /// A gauge without labels that is not shown before it is set.
    pub fn unset_seconds(&self, name: &str, help: &str) -> GaugeVec {
        self.made(GaugeVec::new(Opts::new(name, help), &[]))
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.made(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.made(HistogramVec::new(options, labels))
    }

    /// The usual `process_…` metrics, from the operating system.
    pub fn process(&self) {
        #[cfg(target_os = "linux")]
        self.register(prometheus::process_collector::ProcessCollector::for_self());
    }

    #[expect(clippy::expect_used, reason = "names are constants, and every test makes them all")]
    fn made<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> C {
        let family = family.expect("name, labels and buckets of a family are valid");
        self.register(family.clone());
        family
    }

    #[expect(clippy::expect_used, reason = "names are constants, and every test makes them all")]
    fn register(&self, family: impl Collector + 'static) {
        self.0.register(Box::new(family)).expect("no two families have the same name");
    }
}

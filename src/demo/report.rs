//! What the demo did, step by step. These types are the JSON that `--output json` prints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

/// The whole demo.
#[derive(Debug, Clone, Serialize)]
pub struct DemoReport {
    /// Every check of every step passed.
    pub success: bool,
    pub seconds: f64,
    pub source: RegistryAddress,
    pub target: RegistryAddress,
    pub steps: Vec<Step>,
    /// Commands to try if the files were kept.
    pub next: Vec<Next>,
}

/// One of the two registries.
#[derive(Debug, Clone, Serialize)]
pub struct RegistryAddress {
    /// `host:port`, as long as the demo runs.
    pub address: String,
    /// The folder of its layouts, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// One step.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub title: &'static str,
    /// What happened, for people.
    pub story: Vec<String>,
    /// Requests to the two registries, by method.
    pub source_requests: BTreeMap<String, u64>,
    pub target_requests: BTreeMap<String, u64>,
    pub images: Images,
    pub blobs_sent: u64,
    pub blobs_mounted: u64,
    /// Bytes of blobs sent to the target.
    pub bytes_sent: u64,
    pub seconds: f64,
    pub checks: Vec<Check>,
}

/// Images of one step, by outcome.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Images {
    pub copied: usize,
    pub unchanged: usize,
    pub failed: usize,
    /// Found equal, down to every blob.
    pub verified: usize,
}

/// Something that the demo checked.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub what: &'static str,
    pub passed: bool,
    /// What was found instead, if it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// A command to try.
#[derive(Debug, Clone, Serialize)]
pub struct Next {
    pub what: &'static str,
    pub command: String,
}

impl Step {
    pub(super) fn new(name: &'static str, title: &'static str) -> Self {
        Self { name, title, ..Self::default() }
    }

    /// Adds a line to the story.
    pub(super) fn tell(&mut self, line: impl Into<String>) {
        self.story.push(line.into());
    }

    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// Adds a check that `found` is what was expected.
    pub(super) fn check<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &'static str,
        found: T,
        expected: T,
    ) {
        let passed = found == expected;
        let found = (!passed).then(|| format!("{found:?} instead of {expected:?}"));
        self.checks.push(Check { what, passed, found });
    }
}

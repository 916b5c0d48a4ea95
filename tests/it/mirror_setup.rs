//! What the tests of `tranship sync` share: a home with a configuration, and the report of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::process::Finished;
use crate::support::{Place, Tranship};

/// A home of tranship with registries and rules; every run writes them to `tranship.toml`.
pub struct Mirror {
    pub tranship: Tranship,
    registries: BTreeMap<String, String>,
    rules: Vec<String>,
}

impl Mirror {
    pub fn new() -> Self {
        Self { tranship: Tranship::new(), registries: BTreeMap::new(), rules: Vec::new() }
    }

    /// A registry that is spoken to without TLS.
    pub fn http(self, place: &impl Place) -> Self {
        self.registry(place, "insecure = \"http\"")
    }

    /// A registry with these lines as its settings.
    pub fn registry(self, place: &impl Place, settings: &str) -> Self {
        self.settings(place.host(), settings)
    }

    /// Settings of the registry with this name.
    pub fn settings(mut self, host: &str, settings: &str) -> Self {
        self.registries.insert(host.to_owned(), settings.to_owned());
        self
    }

    /// A rule of this name with these further lines. Given once more, it replaces the first.
    pub fn rule(mut self, name: &str, lines: &str) -> Self {
        self.set_rule(name, lines);
        self
    }

    pub fn set_rule(&mut self, name: &str, lines: &str) {
        let head = format!("[[sync]]\nname = \"{name}\"\n");
        self.rules.retain(|rule| !rule.starts_with(&head));
        self.rules.push(format!("{head}{lines}\n"));
    }

    /// Writes the configuration.
    pub fn configure(&self) -> PathBuf {
        let mut text = String::new();
        for (host, settings) in &self.registries {
            text.push_str(&format!("[registry.\"{host}\"]\n{settings}\n"));
        }
        text.push_str(&self.rules.concat());
        self.tranship.write("tranship.toml", text)
    }

    /// `tranship sync` with these arguments, whatever comes of it.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.configure();
        self.tranship.run([&["sync"], arguments].concat()).await
    }

    /// A pass that must succeed.
    pub async fn sync(&self) -> Report {
        self.report(&[], 0).await
    }

    /// A pass in which something must fail.
    pub async fn fail(&self) -> Report {
        self.report(&[], 1).await
    }

    /// A pass with these arguments that must end with this code.
    pub async fn report(&self, arguments: &[&str], code: i32) -> Report {
        let finished = self.run(&[&["--output", "json"], arguments].concat()).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        Report::of(&finished)
    }

    /// The folder of the state.
    pub fn state(&self) -> PathBuf {
        self.tranship.home().join(".local/state/tranship")
    }
}

/// Images by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub copied: u64,
    pub unchanged: u64,
    pub kept: u64,
    pub failed: u64,
}

/// The document that `--output json` prints.
#[derive(Debug)]
pub struct Report(pub Value);

impl Report {
    pub fn of(finished: &Finished) -> Self {
        let parsed = serde_json::from_str(&finished.stdout);
        Self(parsed.unwrap_or_else(|error| panic!("no JSON ({error}): {finished:?}")))
    }

    /// Of all rules.
    pub fn counts(&self) -> Counts {
        let sum =
            |name: &str| self.rules().map(|rule| rule["counts"][name].as_u64().unwrap()).sum();
        Counts {
            copied: sum("copied"),
            unchanged: sum("unchanged"),
            kept: sum("kept"),
            failed: sum("failed"),
        }
    }

    /// Panics unless so many images were copied, and all others were in step.
    pub fn assert_copied(&self, copied: u64, unchanged: u64) {
        let expected = Counts { copied, unchanged, ..Counts::default() };
        assert_eq!(self.counts(), expected, "{:#}", self.0);
    }

    pub fn rules(&self) -> impl Iterator<Item = &Value> {
        self.0["rules"].as_array().unwrap().iter()
    }

    /// Every image that was not simply unchanged.
    pub fn images(&self) -> impl Iterator<Item = &Value> {
        self.rules().flat_map(|rule| rule["images"].as_array().unwrap())
    }

    /// The image at the target whose name ends so.
    pub fn image(&self, target: &str) -> &Value {
        self.images()
            .find(|image| image["target"].as_str().unwrap().ends_with(target))
            .unwrap_or_else(|| panic!("no image {target}: {:#}", self.0))
    }

    /// The notes, errors and failures of everything, one a line: what people read.
    pub fn words(&self) -> String {
        let mut words = String::new();
        let mut add = |value: &Value| words.push_str(&format!("{value}\n"));
        for rule in self.rules() {
            add(&rule["notes"]);
            add(&rule["failures"]);
        }
        for image in self.images() {
            for key in ["notes", "errors", "reason"] {
                add(&image[key]);
            }
        }
        words
    }
}

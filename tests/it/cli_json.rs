//! docs/json.md and what the commands print are the same: no key is missing on either side.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::process::Running;
use crate::support::scripted::Fault;
use crate::support::{Blob, Family, Image, Kind, Place, Scripted, Tranship};

/// The documentation: by section, each key with its type.
struct Documented {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    seen: BTreeSet<(String, String)>,
}

impl Documented {
    fn read() -> Self {
        let text = include_str!("../../docs/json.md");
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                current = title.to_lowercase().replace(' ', "-");
            } else if let Some(row) = line.strip_prefix("| `") {
                let (key, rest) = row.split_once('`').unwrap();
                let kind = rest.split('|').nth(1).unwrap().trim().to_owned();
                let section = sections.entry(current.clone()).or_default();
                assert_eq!(section.insert(key.to_owned(), kind), None, "{current}: {key} twice");
            }
        }
        Self { sections, seen: BTreeSet::new() }
    }

    /// Panics unless every key of the object is documented, with its type.
    fn check(&mut self, section: &str, document: &Value) {
        let keys = self.sections.get(section);
        let keys = keys.unwrap_or_else(|| panic!("no section {section}")).clone();
        let object = document.as_object().unwrap_or_else(|| panic!("{section}: {document}"));
        for (key, kind) in &keys {
            let optional = kind.contains("optional");
            assert!(optional || object.contains_key(key), "{section}: no {key} in {document}");
        }
        for (key, value) in object {
            let kind = keys.get(key).unwrap_or_else(|| panic!("{section}: {key} has no words"));
            self.seen.insert((section.to_owned(), key.clone()));
            self.check_value(&format!("{section}: {key}"), kind, value);
        }
    }

    fn check_value(&mut self, at: &str, kind: &str, value: &Value) {
        let linked = kind.split_once("](#").map(|(_, rest)| rest.split(')').next().unwrap());
        let is = |kind: &str| match kind {
            "true or false" => value.is_boolean(),
            "number" => value.is_number(),
            "text" => value.is_string(),
            other => panic!("{at}: what is `{other}`?"),
        };
        let plain = kind.trim_end_matches(", optional");
        if plain.ends_with(" or null") && value.is_null() {
            return;
        }
        match plain.trim_end_matches(" or null") {
            list if list.starts_with("list of ") => {
                for item in value.as_array().unwrap_or_else(|| panic!("{at}: {value}")) {
                    self.check_value(at, list.trim_start_matches("list of "), item);
                }
            }
            table if table.starts_with("table of ") => {
                for item in value.as_object().unwrap_or_else(|| panic!("{at}: {value}")).values() {
                    self.check_value(at, table.trim_start_matches("table of "), item);
                }
            }
            plain => match linked {
                Some(section) => self.check(section, value),
                None => assert!(is(plain), "{at}: {value} is no {plain}"),
            },
        }
    }

    /// Keys that are documented but were never printed.
    fn unseen(&self) -> Vec<String> {
        let keys = self
            .sections
            .iter()
            .flat_map(|(section, keys)| keys.keys().map(move |key| (section.clone(), key.clone())));
        let unseen = keys.filter(|place| !self.seen.contains(place));
        unseen.map(|(section, key)| format!("{section}: {key}")).collect()
    }
}

struct Runs {
    tranship: Tranship,
    documented: Documented,
}

impl Runs {
    /// Runs a command and checks what it prints. `words` are its name, its options, its operands.
    async fn run(&mut self, command: &str, arguments: &[&str]) {
        self.run_with(command, arguments, "").await;
    }

    async fn run_with(&mut self, command: &str, arguments: &[&str], input: &str) {
        let home = self.tranship.home();
        let path =
            format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut process = self.tranship.command();
        process.env("PATH", path).args(command.split(' ')).args(arguments);
        process.args(["--output", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process.kill_on_drop(true).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{command} {arguments:?}: {output:?}"));
        let section = format!("tranship {command}").replace(' ', "-");
        self.documented.check(&section, &document);
    }
}

#[tokio::test]
async fn every_key_is_documented_and_every_documented_key_is_printed() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let index = Image::with_attestations("app", &["amd64", "arm64"])
        .refer("sbom", "application/spdx+json")
        .cosign();
    index.push(&source, "app", "index").await;
    let config = json!({
        "created": "2026-01-01T00:00:00Z", "os": "linux", "architecture": "amd64",
        "config": { "Labels": { "a": "b" } },
    });
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string());
    let layer = Blob::noise("application/vnd.oci.image.layer.v1.tar+gzip", "layer", 100);
    let image = Image::of_blobs(Family::Oci, config, vec![layer]);
    image.push(&source, "app", "image").await;
    image.push(&source, "app", "forbidden").await;
    source.on("GET", Kind::Manifest).containing("/forbidden").fail(Fault::status(403));

    let tranship = Tranship::new();
    let (from, to) = (source.host(), target.host());
    tranship.write(
        "sync.toml",
        format!(
            "[registry.\"{from}\"]\ninsecure = \"http\"\n[registry.\"{to}\"]\ninsecure = \"http\"\n\
             [[sync]]\nname = \"a\"\nsource = \"{from}/app\"\ntarget = \"{to}/synced\"\n\
             platforms = [\"linux/amd64\"]\n"
        ),
    );
    tranship.write("bad.toml", "[registry.\"r.example\"]\npasword = 1\n");
    tranship.write("manifest.json", &image.bytes);
    let helper = tranship.write("bin/docker-credential-keys", "#!/bin/sh\ncat > /dev/null\n");
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    tranship.write(".docker/config.json", r#"{"credsStore":"keys"}"#);

    let mut runs = Runs { tranship, documented: Documented::read() };
    let http = ["--insecure", "http"];
    let app = |rest: &str| format!("{from}/app{rest}");
    let with = |arguments: &[&str]| [arguments, &http].concat().join(" ");
    runs.run("sync", &["--config", "sync.toml", "--dry-run"]).await;
    runs.run("sync", &["--config", "sync.toml"]).await;
    let copied = format!("{to}/copied");
    let referrer = app(&format!("@{}", index.referrers[0].digest));
    let moved = app(&format!(":image@{}", index.digest));
    for (command, arguments) in [
        ("copy", with(&["--all-tags", &app(""), &copied, "--platform", "linux/amd64"])),
        ("inspect", with(&["--referrers", &app(":index")])),
        ("inspect", with(&[&app(":image")])),
        ("inspect", with(&[&referrer])),
        ("list-tags", with(&[&app("")])),
        ("list-repos", with(&[from])),
        ("manifest-digest", "manifest.json".to_owned()),
        ("delete", with(&[&moved])),
        ("delete", with(&["--dry-run", &app(":image")])),
        ("delete", with(&[&app(":forbidden")])),
        ("logout", from.to_owned()),
        ("config check", "--config sync.toml".to_owned()),
        ("config check", "--config bad.toml".to_owned()),
    ] {
        runs.run(command, &arguments.split(' ').collect::<Vec<_>>()).await;
    }
    let login = with(&[from, "-u", "u", "--password-stdin"]);
    runs.run_with("login", &login.split(' ').collect::<Vec<_>>(), "p").await;
    assert_eq!(runs.documented.unseen(), [""; 0]);
}

/// What fails as a whole has no report, and standard output stays empty.
#[tokio::test]
async fn an_error_leaves_standard_output_empty() {
    let tranship = Tranship::new();
    let mut command = tranship.command();
    command.args(["inspect", "--output", "json", "oci:none"]);
    let finished = Running::new(&mut command).finish().await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""));
    assert!(finished.stderr.starts_with("error: failed to open layout oci:none: "), "{finished:?}");
}

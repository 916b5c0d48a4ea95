//! docs/json.md and what the commands print are the same: no key is missing on either side.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Child;
use tranship::cleanup::{Abilities, Builder, InUse, RepositoryReport, Untag};
use tranship::demo::Check;
use tranship::removal::Clock;
use tranship::repository::Failure;
use tranship::state::ManifestSummary;
use tranship::sync::Vouched;

use crate::support::process::Running;
use crate::support::scripted::Fault;
use crate::support::{Blob, Daemon, Family, Image, Kind, Place, Scripted, Tranship, eventually};

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
            "boolean" => value.is_boolean(),
            "number" | "numbers" => value.is_number(),
            "string" | "strings" => value.is_string(),
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
            map if map.starts_with("map of ") => {
                for item in value.as_object().unwrap_or_else(|| panic!("{at}: {value}")).values() {
                    self.check_value(at, map.trim_start_matches("map of "), item);
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
    /// Runs a command and checks what it prints. `arguments` are parted by spaces.
    async fn run(&mut self, command: &str, arguments: &str) {
        self.run_with(command, arguments, "").await;
    }

    async fn run_with(&mut self, command: &str, arguments: &str, input: &str) {
        let mut child = self.start(command, arguments);
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{command} {arguments}: {output:?}"));
        self.check(command, &document);
    }

    /// Runs a command that goes on after its document, until that is complete.
    async fn run_until_announced(&mut self, command: &str, arguments: &str) {
        let mut child = self.start(command, arguments);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut text = String::new();
        let document = loop {
            let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
            text.push_str(&line.unwrap().unwrap().unwrap());
            if let Ok(document) = serde_json::from_str(&text) {
                break document;
            }
        };
        child.kill().await.unwrap();
        self.check(command, &document);
    }

    /// The id of the newest run in the history.
    async fn newest_run(&self) -> String {
        let output = self.start("history", "--config sync.toml").wait_with_output().await.unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["runs"][0]["id"].as_str().unwrap().to_owned()
    }

    fn start(&self, command: &str, arguments: &str) -> Child {
        let home = self.tranship.home();
        let path =
            format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut process = self.tranship.command();
        process.env("PATH", path).args(command.split(' ')).args(arguments.split(' '));
        process.args(["--output", "json"]).kill_on_drop(true);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.spawn().unwrap()
    }

    fn check(&mut self, command: &str, document: &Value) {
        let section = format!("tranship {command}").replace(' ', "-");
        self.documented.check(&section, document);
    }
}

/// `app:index`, which has all kinds of referrers, `app:image`, which has labels, and
/// `app:forbidden`, which nobody may read.
async fn push_samples(source: &Scripted) -> (Image, Image) {
    let index = Image::with_attestations("app", &["amd64", "arm64"])
        .refer("sbom", "application/spdx+json")
        .cosign();
    index.push(source, "app", "index").await;
    let config = json!({
        "created": "2026-01-01T00:00:00Z", "os": "linux", "architecture": "amd64",
        "config": { "Labels": { "a": "b" } },
    });
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string());
    let layer = Blob::noise("application/vnd.oci.image.layer.v1.tar+gzip", "layer", 100);
    let image = Image::of_blobs(Family::Oci, config, vec![layer]);
    image.push(source, "app", "image").await;
    image.push(source, "app", "forbidden").await;
    source.on("GET", Kind::Manifest).containing("/forbidden").fail(Fault::status(403));
    (index, image)
}

/// A home with two configurations, a manifest and a credential helper.
fn furnished(from: &str, to: &str, image: &Image) -> Tranship {
    let tranship = Tranship::new();
    tranship.write(
        "sync.toml",
        format!(
            "[registry.\"{from}\"]\ninsecure = \"http\"\n[registry.\"{to}\"]\ninsecure = \"http\"\n\
             [[sync]]\nname = \"a\"\nsource = \"{from}/app\"\ntarget = \"{to}/synced\"\n\
             platforms = [\"linux/amd64\"]\n"
        ),
    );
    let rule = "[[sync]]\nname = \"a\"\nsource = \"r.example/a\"\ntarget = \"t.example/a\"\n";
    tranship.write("warned.toml", format!("{rule}tags = {{ include = [\"pr-.*\"] }}\n"));
    tranship
        .write("bad.toml", "include = [\"worse.toml\"]\n[registry.\"r.example\"]\npasword = 1\n");
    tranship.write("worse.toml", "x = 1\n");
    tranship.write("manifest.json", &image.bytes);
    let helper = tranship.write("bin/docker-credential-keys", "#!/bin/sh\ncat > /dev/null\n");
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    tranship.write(".docker/config.json", r#"{"credsStore":"keys"}"#);
    tranship
}

/// A tag that is gone at the source, and that the target does not let go.
async fn remove_one_that_is_refused(runs: &mut Runs, source: &Scripted, target: &Scripted) {
    let (from, to) = (source.host(), target.host());
    for tag in ["v1", "v2"] {
        Image::single(Family::Oci, tag, &[100]).load(source, "extra", tag);
    }
    let text = format!(
        "[registry.\"{from}\"]\ninsecure = \"http\"\n[registry.\"{to}\"]\ninsecure = \"http\"\n\
         [[sync]]\nname = \"e\"\nsource = \"{from}/extra\"\ntarget = \"{to}/extra\"\n\
         remove_extra = true\nmax_delete = {{ percent = 100 }}\n"
    );
    runs.tranship.write("extra.toml", text);
    runs.run("sync", "--config extra.toml").await;
    source.endpoint().delete("extra", &Image::single(Family::Oci, "v2", &[100]).digest).await;
    target.on("DELETE", Kind::Manifest).fail(Fault::status(409));
    runs.run("sync", "--config extra.toml").await;
    assert!(runs.documented.seen.contains(&("removal".to_owned(), "reason".to_owned())));
}

/// A daemon with a run that has ended well, one that has stalled in mid-transfer, and a
/// configuration that it does not take; and a configuration by which it is found.
async fn daemon_with_much_to_say(source: &Scripted, target: &Scripted) -> (Daemon, String) {
    let home = Tranship::new();
    home.write("token", "t0ken\n");
    let mut text = format!(
        "state = \"{}\"\ntoken = {{ file = \"token\" }}\nstall_after = \"50ms\"\n",
        home.home().join("state").display()
    );
    for place in [source, target] {
        text += &format!("[registry.\"{}\"]\ninsecure = \"http\"\n", place.host());
    }
    for name in ["done", "stuck"] {
        Image::single(Family::Oci, name, &[5_000]).load(source, name, "v1");
        text += &format!(
            "[[sync]]\nname = \"{name}\"\nschedule = \"0 3 1 1 *\"\n\
             source = \"{}/{name}\"\ntarget = \"{}/{name}\"\n",
            source.host(),
            target.host()
        );
    }
    // More would go than it allows.
    text += &format!(
        "[[cleanup]]\nname = \"tidy\"\nrepositories = [\"{}/done\"]\ngrace = \"0s\"\n\
         delete = [{{ id = \"v\", tags = [\"v*\"] }}]\nmax_delete = {{ count = 0, percent = 100 }}\n",
        source.host()
    );
    source.on("GET", Kind::Blob).containing("/stuck/").fail(Fault::Hang);
    let daemon = Daemon::start_in(home, &text).await;
    let config = daemon
        .home()
        .write("cli.toml", format!("[daemon]\nlisten = \"{}\"\n{text}", daemon.address));
    let token = [("authorization", "Bearer t0ken")];
    for name in ["done", "stuck", "tidy"] {
        let path = format!("/api/v1/rules/{name}/run");
        assert_eq!(daemon.post_with(&path, &token, "").await.status, 202);
    }
    daemon.ended("done", "api", 1).await;
    daemon.ended("tidy", "api", 1).await;
    eventually("a stalled run", Duration::from_secs(60), || async {
        let running = daemon.get("/api/v1/running").await.json();
        running[0]["stalled_seconds"].as_f64().map(drop)
    })
    .await;
    daemon.configure(&format!("grace = \"3s\"\n{text}"));
    assert_eq!(daemon.post_with("/api/v1/reload", &token, "").await.status, 200);
    daemon.configure("nonsense");
    assert_eq!(daemon.post_with("/api/v1/reload", &token, "").await.status, 422);
    (daemon, config.display().to_string())
}

/// Runs that are started, followed, left, planned and cancelled.
async fn command_the_daemon(runs: &mut Runs, daemon: &Daemon, config: &str) {
    let at = format!("--config {config}");
    runs.run("run", &format!("{at} done tidy")).await;
    runs.run("plan", &format!("{at} done tidy")).await;
    let left = Running::new(
        runs.tranship.command().args(["run", "stuck", "--output", "json"]).args(at.split(' ')),
    );
    eventually("a run that waits", Duration::from_secs(60), || async {
        let status = daemon.get("/api/v1/status").await.json();
        (status["queued"] == 1).then_some(())
    })
    .await;
    let document = serde_json::from_str(&left.terminate().await.stdout).unwrap();
    runs.check("run", &document);
    runs.run("run --no-wait", &format!("{at} stuck")).await;
    runs.run("cancel", &format!("{at} stuck")).await;
    let text = std::fs::read_to_string(config).unwrap();
    daemon.configure(text.split_once('\n').unwrap().1.split_once('\n').unwrap().1);
    runs.run("reload", &at).await;
}

/// A rule that finds something to say of each kind, and a repository that is not there.
fn cleanup_rules(host: &str) -> String {
    format!(
        "[daemon]\nstate = \"cleanup-state\"\n[registry.\"{host}\"]\ninsecure = \"http\"\n\
         [[cleanup]]\nname = \"c\"\nrepositories = [\"{host}/app\", \"{host}/none\"]\n\
         grace = \"0s\"\nmax_delete = {{ percent = 100 }}\n\
         keep = [{{ id = \"forbidden\", tags = [\"forbidden\"] }},\n\
         {{ id = \"idle\", tags = [\"idle-*\"] }}]\n\
         delete = [{{ id = \"index\", tags = [\"index\"] }},\n\
         {{ id = \"image\", tags = [\"image\"], beyond_newest = 1, older_than = \"7d\" }}]\n"
    )
}

/// What goes, is refused, comes back and does not, and a quarantine that lets nothing go.
async fn clean_up_and_restore(runs: &mut Runs) {
    let (registry, quarantine) = (Scripted::start(), Scripted::start());
    let (host, copies) = (registry.host(), quarantine.host());
    let refused = Image::single(Family::Oci, "refused", &[100]);
    for repository in ["app", "full"] {
        Image::platforms(Family::Oci, "index", &["amd64"]).load(&registry, repository, "pr-1");
    }
    refused.load(&registry, "app", "pr-2");
    for tag in ["1.0", "pr-3"] {
        Image::single(Family::Oci, "kept", &[100]).load(&registry, "app", tag);
    }
    registry.on("DELETE", Kind::Manifest).containing(&refused.digest).fail(Fault::status(412));
    let rule = |name: &str, percent: u8| {
        format!(
            "[[cleanup]]\nname = \"{name}\"\nrepositories = [\"{host}/{name}\"]\n\
             grace = \"0s\"\nmax_delete = {{ percent = {percent} }}\n\
             quarantine = {{ to = \"{copies}/{{repository}}\", ttl = \"1s\" }}\n\
             delete = [{{ id = \"pr\", tags = [\"pr-*\"] }}]\n"
        )
    };
    let text = format!(
        "[daemon]\nstate = \"restore-state\"\n[registry.\"{host}\"]\ninsecure = \"http\"\n\
         [registry.\"{copies}\"]\ninsecure = \"http\"\n{}{}",
        rule("app", 100),
        rule("full", 0)
    );
    let long = text.replace("1s", "30d");
    runs.tranship.write("restore.toml", long);
    runs.run("cleanup", "--config restore.toml --apply").await;
    runs.run("restore", "--config restore.toml").await;
    quarantine.on("GET", Kind::Manifest).fail(Fault::status(403));
    runs.run("restore", &format!("--config restore.toml {host}/app:pr-1")).await;
    quarantine.clear_rules();
    refused.load(&registry, "app", "pr-1");
    runs.run("restore", &format!("--config restore.toml {host}/app")).await;
    runs.run("restore", &format!("--config restore.toml --overwrite {host}/app:pr-1")).await;
    // Kept for a second, and then not let go.
    runs.tranship.write("restore.toml", text);
    runs.run("cleanup", "--config restore.toml --apply").await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    quarantine.on("DELETE", Kind::Manifest).fail(Fault::status(403));
    runs.run("cleanup", "--config restore.toml --apply").await;
    quarantine.clear_rules();
    runs.run("cleanup", "--config restore.toml --apply").await;
    // What befalls layouts and what is left by processes that were cut off.
    let besides = RepositoryReport {
        repository: "oci:/srv/images/app".to_owned(),
        failures: vec![Failure::new(
            "collect garbage in",
            "oci:/srv/images/app",
            "full".to_owned(),
        )],
        notes: vec!["run 20261121T030000Z-0a1b2c was cut off".to_owned()],
        ..RepositoryReport::default()
    };
    runs.documented.check("cleaned-repository", &serde_json::to_value(besides).unwrap());
}

/// A plan for one of two tags of a manifest, where single tags can be deleted or not.
fn plan_of_a_shared_digest(untag: Untag) -> Value {
    let text = "[daemon]\nstate = \"s\"\n[[cleanup]]\nname = \"c\"\n\
                repositories = [\"r.example/a\"]\ngrace = \"0s\"\nmax_delete = { percent = 100 }\n\
                keep = [{ id = \"k\", tags = [\"kept\"] }]\n\
                delete = [{ id = \"d\", tags = [\"gone\"] }]\n";
    let config = tranship::config::parse(text, "x.toml".as_ref(), &|_| None).unwrap();
    let mut builder = Builder::new("r.example/a", Abilities { untag, lists_untagged: false });
    let digest = tranship::oci::Digest::of(b"image");
    builder.manifest(&digest, ManifestSummary { size: 1, ..ManifestSummary::default() });
    for tag in ["kept", "gone"] {
        builder.tag(tag.parse().unwrap(), &digest, false);
    }
    let (snapshot, in_use) = (builder.finish(), InUse::default());
    let now = "2026-06-01T03:00:00Z".parse().unwrap();
    let policy = &config.cleanup[0].policy;
    serde_json::to_value(tranship::cleanup::plan(&snapshot, policy, &in_use, now)).unwrap()
}

#[tokio::test]
async fn every_key_is_documented_and_every_documented_key_is_printed() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let (index, image) = push_samples(&source).await;
    target.on("PUT", Kind::Manifest).containing("/refused/").fail(Fault::status(403));
    let (from, to) = (source.host(), target.host());
    let tranship = furnished(from, to, &image);
    let mut runs = Runs { tranship, documented: Documented::read() };
    let harbor = format!("[registry.\"{from}\"]\ninsecure = \"http\"\nproduct = \"harbor\"\n");
    runs.tranship.write("harbor.toml", harbor);
    let http = "--insecure http";
    let app = format!("{from}/app");
    let referrer = &index.referrers[0].digest;
    let moved = format!("{app}:image@{}", index.digest);
    for (command, arguments) in [
        ("sync", "--config sync.toml --dry-run".to_owned()),
        ("sync", "--config sync.toml".to_owned()),
        ("history", "--config sync.toml".to_owned()),
        ("verify", "--config sync.toml --read".to_owned()),
        ("copy", format!("--all-tags {app} {to}/copied --platform linux/amd64 {http}")),
        ("verify", format!("{app}:index {to}/copied:image {http}")),
        ("verify", format!("--repair {app}:index {to}/copied:image {http}")),
        ("verify", format!("--repair {app}:image {to}/refused {http}")),
        // Nothing listens there.
        ("verify", format!("{app}:image 127.0.0.1:1/app:image {http}")),
        ("copy", format!("{app}:image 127.0.0.1:1/app:image {http}")),
        ("inspect", format!("--referrers {app}:index {http}")),
        ("inspect", format!("{app}:image {http}")),
        ("inspect", format!("{app}@{referrer} {http}")),
        ("list-tags", format!("{app} {http}")),
        ("list-repos", format!("{from} {http}")),
        ("check", format!("--config harbor.toml --write {app}")),
        ("check", format!("--write {to}/refused/app {http}")),
        ("manifest-digest", "manifest.json".to_owned()),
        ("delete", format!("{moved} {http}")),
        ("delete", format!("--dry-run {app}:image {http}")),
        ("delete", format!("{app}:forbidden {http}")),
        ("logout", from.to_owned()),
        ("config init", "--source a --target t.example/a --output-file new.toml".to_owned()),
        ("config check", "--config sync.toml".to_owned()),
        ("config check", "--config bad.toml".to_owned()),
        ("config check", "--config warned.toml".to_owned()),
        ("demo", "--keep demo".to_owned()),
    ] {
        runs.run(command, &arguments).await;
    }
    remove_one_that_is_refused(&mut runs, &source, &target).await;
    runs.run_with("login", &format!("{from} -u u --password-stdin {http}"), "p").await;
    runs.run_until_announced("serve-layout", "demo/source --listen 127.0.0.1:0").await;
    runs.tranship.write("serve.toml", "[daemon]\nlisten = \"127.0.0.1:0\"\n");
    runs.run_until_announced("serve", "--config serve.toml").await;
    let (daemon, config) = daemon_with_much_to_say(&source, &target).await;
    runs.run("status", &format!("--config {config}")).await;
    command_the_daemon(&mut runs, &daemon, &config).await;
    let run = runs.newest_run().await;
    runs.run("history", &format!("--config sync.toml {run}")).await;
    runs.tranship.write("cleanup.toml", cleanup_rules(from));
    runs.run("cleanup", "--config cleanup.toml").await;
    runs.run("cleanup", &format!("--config cleanup.toml --explain {from}/app:image")).await;
    clean_up_and_restore(&mut runs).await;
    for untag in [Untag::Yes, Untag::No] {
        runs.documented.check("plan", &plan_of_a_shared_digest(untag));
    }
    let impossible = Clock {
        time: None,
        source: Some("created".into()),
        impossible: Some("1970-01-01T00:00:00Z".parse().unwrap()),
    };
    runs.documented.check("clock", &serde_json::to_value(impossible).unwrap());
    let vouched = Vouched { images: 1, since: Some("2026-11-30T00:00:00Z".parse().unwrap()) };
    runs.documented.check("vouched", &serde_json::to_value(vouched).unwrap());
    // The demo cannot be made to fail from outside.
    let failed = Check { what: "it works", passed: false, found: Some("it does not".to_owned()) };
    runs.documented.check("check", &serde_json::to_value(failed).unwrap());
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

//! The daemon's log: every line is JSON with the fields that docs/logs.md promises, and no secret.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::scripted::{Fault, Login};
use crate::support::{Family, Image, Kind, Place, Scripted, Tranship, eventually};

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "registry-s3cret";
const TOKEN: &str = "token-s3cret";
const WEBHOOK: &str = "webhook-s3cret";

struct Daemon {
    source: Scripted,
    target: Scripted,
    tranship: Tranship,
}

impl Daemon {
    /// One rule that succeeds, one of which the image fails, and one of cleanup that its own limits
    /// hold back, all at the start.
    async fn new() -> Self {
        let (mut source, target) = (Scripted::start(), Scripted::start());
        source.require(Login::Basic { user: "bot".to_owned(), password: PASSWORD.to_owned() });
        for repository in ["good", "bad"] {
            Image::single(Family::Oci, repository, &[1000]).push(&source, repository, "v1").await;
        }
        target.on("PUT", Kind::Manifest).containing("/bad/").fail(Fault::status(403));
        let (from, to) = (source.host(), target.host());
        let mut config = format!(
            "[daemon]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"TOKEN\" }}\n\
             [registry.\"{from}\"]\ninsecure = \"http\"\nusername = \"bot\"\n\
             password = {{ env = \"PASSWORD\" }}\n\
             [registry.\"{to}\"]\ninsecure = \"http\"\n\
             [[notify]]\nurl = {{ env = \"WEBHOOK\" }}\n"
        );
        for rule in ["good", "bad"] {
            config.push_str(&format!(
                "[[sync]]\nname = \"{rule}\"\nevery = \"1h\"\nsource = \"{from}/{rule}\"\n\
                 target = \"{to}/{rule}\"\n"
            ));
        }
        config.push_str(&format!(
            "[[cleanup]]\nname = \"tidy\"\nevery = \"1h\"\nrepositories = [\"{from}/good\"]\n\
             grace = \"0s\"\ndelete = [{{ id = \"v\", tags = [\"v*\"] }}]\n\
             max_delete = {{ count = 0, percent = 100 }}\n"
        ));
        let tranship = Tranship::new();
        tranship.write("tranship.toml", config);
        Self { source, target, tranship }
    }

    /// The command, whose standard error goes to this file.
    fn command(&self, arguments: &[&str], log: File) -> Command {
        let mut command = self.tranship.command();
        // Nobody listens there: that it cannot be reached is logged.
        let webhook = format!("http://127.0.0.1:1/{WEBHOOK}");
        command.arg("serve").args(arguments);
        command.env("PASSWORD", PASSWORD).env("TOKEN", TOKEN).env("WEBHOOK", webhook);
        command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        command
    }

    /// Runs both rules, does something with the address of the API, and gives the whole log.
    async fn log(
        &self,
        arguments: &[&str],
        journal: impl Fn(&File) -> Option<String>,
        ask: impl AsyncFnOnce(&str),
    ) -> String {
        let path = self.tranship.home().join("log");
        let log = File::create(&path).unwrap();
        let stream = journal(&log);
        let mut command = self.command(arguments, log);
        command.envs(stream.map(|stream| ("JOURNAL_STREAM", stream)));
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, stdout.next_line()).await.unwrap().unwrap().unwrap();
        let address = line.strip_prefix("listening on ").unwrap().split(',').next().unwrap();
        eventually("both rules at the target", LIMIT, || async {
            let traffic = self.target.traffic();
            let put: Vec<_> = traffic.of("PUT", Kind::Manifest).map(|seen| &seen.path).collect();
            let of = |rule: &str| put.iter().any(|path| path.contains(rule));
            (of("/good/") && of("/bad/")).then_some(())
        })
        .await;
        eventually("a plan", LIMIT, || async {
            std::fs::read_to_string(&path).unwrap().contains("cleanup ends").then_some(())
        })
        .await;
        ask(address).await;
        let pid = child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(sent.success());
        let status = tokio::time::timeout(LIMIT, child.wait()).await.unwrap().unwrap();
        let log = std::fs::read_to_string(&path).unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

fn assert_no_secrets(log: &str) {
    for secret in [PASSWORD, TOKEN, WEBHOOK, "s3cret"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// The fields that docs/logs.md promises for lines with this message: needed ones, and all.
fn promised(message: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md"));
    let docs = docs.unwrap();
    let section = docs
        .split("\n## ")
        .flat_map(|part| part.split("\n### "))
        .find(|part| part.starts_with(&format!("`{message}`")));
    let section = section.unwrap_or_else(|| panic!("docs/logs.md has no section `{message}`"));
    let mut needed: BTreeSet<String> =
        ["timestamp", "level", "message"].map(str::to_owned).into_iter().collect();
    let mut all = needed.clone();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let field = cells[1].trim_matches('`').to_owned();
        if !cells[2].ends_with("optional") {
            needed.insert(field.clone());
        }
        all.insert(field);
    }
    assert!(needed.len() > 5, "{needed:?}");
    (needed, all)
}

fn with_message<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    let lines: Vec<_> = lines.iter().filter(|line| line["message"] == message).collect();
    let (needed, all) = promised(message);
    for line in &lines {
        let has: BTreeSet<String> = line.as_object().unwrap().keys().cloned().collect();
        let missing: Vec<_> = needed.difference(&has).collect();
        let unknown: Vec<_> = has.difference(&all).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "{missing:?} {unknown:?}: {line}");
    }
    lines
}

#[tokio::test]
async fn each_line_is_json_with_the_promised_fields_and_no_secret() {
    let daemon = Daemon::new().await;
    let log = daemon
        .log(
            &["--log-format", "json", "-vv"],
            |_| None,
            async |address| {
                let get = async |path: &str| {
                    let request = reqwest::Client::builder().no_proxy().build().unwrap();
                    let request = request.get(format!("http://{address}{path}"));
                    request.bearer_auth(TOKEN).send().await.unwrap().status().as_u16()
                };
                assert_eq!(get(&format!("/api/v1/rules/good?token={TOKEN}")).await, 200);
                assert_eq!(get(&format!("/nowhere/{TOKEN}")).await, 404);
            },
        )
        .await;
    assert_no_secrets(&log);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    for line in &lines {
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        let level = line["level"].as_str().unwrap();
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line}");
        assert!(!line["message"].as_str().unwrap().is_empty(), "{line}");
    }

    let begins = with_message(&lines, "run begins");
    assert_eq!(begins.len(), 3);
    assert!(begins.iter().all(|line| line["cause"] == "start"), "{begins:?}");
    let ends = with_message(&lines, "run ends");
    let images = with_message(&lines, "image");
    for (rule, outcome, image_outcome, level, bytes) in
        [("good", "succeeded", "copied", "INFO", 1000), ("bad", "failed", "failed", "WARN", 0)]
    {
        let of = |lines: &[&Value]| {
            let of: Vec<_> = lines.iter().filter(|line| line["rule"] == rule).copied().collect();
            assert_eq!(of.len(), 1, "{rule}: {of:?}");
            of[0].clone()
        };
        let (begin, image, end) = (of(&begins), of(&images), of(&ends));
        assert_eq!(end["outcome"], outcome);
        assert!(begin["run"] == image["run"] && image["run"] == end["run"]);
        assert_eq!((&image["outcome"], &image["level"]), (&image_outcome.into(), &level.into()));
        assert_eq!(image["source"], format!("{}/{rule}:v1", daemon.source.host()));
        assert_eq!(image["target"], format!("{}/{rule}:v1", daemon.target.host()));
        assert!(image["bytes"].as_u64().unwrap() >= bytes, "{image}");
        let milliseconds = image["seconds"].as_f64().unwrap() * 1000.0;
        assert!((milliseconds - milliseconds.round()).abs() < 1e-6, "{image}");
        assert_eq!(image["error"].is_string(), rule == "bad", "{image}");
    }
    let repository = with_message(&lines, "repository");
    let [repository] = repository[..] else { panic!("{repository:?}") };
    assert_eq!((&repository["outcome"], &repository["level"]), (&"limited".into(), &"WARN".into()));
    assert!(repository["reason"].as_str().unwrap().contains("1 of 1 tags"), "{repository}");
    let ends = with_message(&lines, "cleanup ends");
    let [end] = ends[..] else { panic!("{ends:?}") };
    assert_eq!((&end["outcome"], &end["planned_tags"]), (&"limited".into(), &1.into()));
    assert_eq!((&end["run"], &end["mode"]), (&repository["run"], &"plan".into()));
    let good = images.iter().find(|line| line["rule"] == "good").unwrap();
    assert!(good["digest"].as_str().unwrap().starts_with("sha256:"), "{good}");

    let asked: Vec<_> = with_message(&lines, "asked")
        .into_iter()
        .map(|line| (line["endpoint"].as_str().unwrap(), line["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(asked, [("/api/v1/rules/{name}", 200), ("none", 404)]);
}

/// One that deletes: each deletion has a line, for `-v`.
#[tokio::test]
async fn each_deletion_has_a_line_with_the_promised_fields() {
    let daemon = Daemon::new().await;
    let file = daemon.tranship.home().join("tranship.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let apply = "mode = \"apply\"\nmax_delete = { count = 1, percent = 100 }\n";
    std::fs::write(&file, config.replace("max_delete = { count = 0, percent = 100 }\n", apply))
        .unwrap();
    let log = daemon.log(&["--log-format", "json", "-v"], |_| None, async |_| {}).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let deletions = with_message(&lines, "deletion");
    let [deletion] = deletions[..] else { panic!("{deletions:?}") };
    assert_eq!((&deletion["outcome"], &deletion["level"]), (&"deleted".into(), &"DEBUG".into()));
    assert_eq!((&deletion["tags"], &deletion["line"]), (&"v1".into(), &"v".into()));
    let repositories = with_message(&lines, "repository");
    let [repository] = repositories[..] else { panic!("{repositories:?}") };
    assert_eq!((&repository["outcome"], &repository["deleted"]), (&"applied".into(), &1.into()));
    let ends = with_message(&lines, "cleanup ends");
    assert_eq!((&ends[0]["deleted"], &ends[0]["bytes"]), (&1.into(), &deletion["bytes"]));
}

/// Otherwise a registry of many images that is down would fill the log in every run.
#[tokio::test]
async fn of_a_registry_that_fails_as_a_whole_one_image_is_told() {
    let daemon = Daemon::new().await;
    for tag in ["v1", "v2", "v3"] {
        Image::single(Family::Oci, tag, &[1000]).load(&daemon.source, "many", tag);
    }
    let file = daemon.tranship.home().join("tranship.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let source = daemon.source.host();
    let rule = format!(
        "[registry.\"127.0.0.1:1\"]\ninsecure = \"http\"\n\
         [[sync]]\nname = \"down\"\nevery = \"1h\"\nsource = \"{source}/many\"\n\
         target = \"127.0.0.1:1/many\"\n"
    );
    std::fs::write(&file, config + &rule).unwrap();
    let log = daemon.tranship.home().join("log");
    let told = async |_: &str| {
        eventually("the end of the rule", LIMIT, || async {
            let log = std::fs::read_to_string(&log).unwrap();
            log.lines().any(|line| line.contains("run ends") && line.contains("down")).then_some(())
        })
        .await;
    };
    let log = daemon.log(&["--log-format", "json", "-v"], |_| None, told).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let images = with_message(&lines, "image").into_iter().filter(|line| line["rule"] == "down");
    let levels: Vec<_> = images.map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["WARN", "DEBUG", "DEBUG"]);
    let outages = with_message(&lines, "registry fails");
    let [outage] = outages[..] else { panic!("{outages:?}") };
    assert_eq!((&outage["registry"], &outage["images"]), (&"127.0.0.1:1".into(), &3.into()));
}

#[tokio::test]
async fn text_is_for_people() {
    let daemon = Daemon::new().await;
    // Inherited from a service, but about another stream.
    let log = daemon.log(&[], |_| Some("1:2".to_owned()), async |_| {}).await;
    assert_no_secrets(&log);
    let image = log.lines().find(|line| line.contains("outcome=copied")).unwrap();
    let expected = format!(
        r"^20\d\d-\d\d-\d\dT\S+Z  INFO image outcome=copied source={0}/good:v1 target={1}/good:v1 digest=sha256:[0-9a-f]{{64}} bytes=\d+ seconds=\d+\.\d{{1,3}} rule=good run=\S+ reason=",
        regex::escape(daemon.source.host()),
        regex::escape(daemon.target.host()),
    );
    assert!(regex::Regex::new(&expected).unwrap().is_match(image), "{image}");
    assert!(log.contains("run begins rule=good run="), "{log}");
    assert!(!log.contains("asked"), "requests are for -v: {log}");
    // Escape sequences are for terminals.
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[tokio::test]
async fn the_journal_gets_priorities_and_has_its_own_times() {
    let daemon = Daemon::new().await;
    let stream = |log: &File| {
        let log = log.metadata().unwrap();
        Some(format!("{}:{}", log.dev(), log.ino()))
    };
    let log = daemon.log(&[], stream, async |_| {}).await;
    assert_no_secrets(&log);
    assert!(log.contains("\n<6>image outcome=copied source="), "{log}");
    assert!(log.contains("\n<4>image outcome=failed source="), "{log}");
    assert!(log.lines().all(|line| line.starts_with('<')), "{log}");
}

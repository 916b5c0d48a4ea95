//! Help, completions, manual pages, and `tranship config`.

use serde_json::{Value, json};

use crate::support::Tranship;
use crate::support::pki::Authority;

const GOOD: &str = r#"
[registry."ghcr.io"]
username = "bot"
password = { env = "TOKEN" }

[registry."r.example:5000"]
insecure = "http"

[[sync]]
name = "apps"
source = "ghcr.io/acme/**"
target = "r.example:5000/{repository}"
"#;

#[tokio::test]
async fn every_command_has_help_with_an_example() {
    let tranship = Tranship::new();
    let help = tranship.succeed(["--help"]).await.stdout;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Mirror and migrate:"))
        .take_while(|line| *line != "Options:")
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 12, "{commands:?}");
    let mut all: Vec<Vec<&str>> = commands.iter().map(|command| vec![*command]).collect();
    all.extend(["init", "check", "show", "schema"].map(|command| vec!["config", command]));
    for command in all {
        let help = tranship.succeed(command.iter().chain(&["--help"])).await.stdout;
        let example = help.split_once("Example").map(|(_, rest)| rest).unwrap_or_default();
        let call = format!("tranship {}", command.join(" "));
        assert!(example.contains(&call), "{command:?}: {help}");
    }
}

#[tokio::test]
async fn a_glob_that_looks_like_a_regular_expression_gets_a_warning() {
    let tranship = Tranship::new();
    let file = tranship.write(
        "tranship.toml",
        "[daemon]\nstate = \"state\"\n\
         [[sync]]\nname = \"a\"\nsource = \"r.example/a\"\ntarget = \"t.example/a\"\n\
         tags = { include = [\"1.*\", \"pr-.*\"], exclude = [\"[0-9]{4}\"] }\n\
         [[cleanup]]\nname = \"b\"\nrepositories = [\"t.example/a\"]\n\
         keep = [{ id = \"k\", tags = [\"v.*\"] }]\ndelete = [{ id = \"d\", tags = [\"/pr-.*/\"] }]\n",
    );
    let checked = tranship.succeed(["config", "check"]).await;
    for (place, pattern) in [("7:28", "pr-.*"), ("7:49", "[0-9]{4}"), ("11:29", "v.*")] {
        let expected = format!(
            "tranship.toml:{place}: warning: `{pattern}` is a glob, and looks like a regular \
             expression\n"
        );
        assert!(checked.stderr.contains(&expected), "{checked:?}");
        let hint = format!("hint: a regular expression stands between slashes: `/{pattern}/`; ");
        assert!(checked.stderr.contains(&hint), "{checked:?}");
    }
    assert_eq!(checked.stderr.matches("warning: ").count(), 3, "{checked:?}");
    assert_eq!(checked.stdout, "tranship.toml: 2 rules, 0 registries; 3 warnings\n");
    let checked = tranship.succeed(["config", "check", "--output", "json"]).await;
    let document: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!((&document["success"], &document["problems"]), (&json!(true), &json!([])));
    assert_eq!(document["warnings"].as_array().unwrap().len(), 3, "{document:#}");
    // Whoever does not check sees them in the log, in one line.
    let shown = tranship.succeed(["config", "show"]).await;
    assert_eq!(shown.stderr.lines().count(), 1, "{shown:?}");
    assert!(shown.stderr.contains("WARN tranship.toml:7:28: warning: `pr-.*`"), "{shown:?}");
    // What is an error says the same.
    let text = std::fs::read_to_string(&file).unwrap().replace("1.*", "^v1.*$");
    tranship.write("tranship.toml", text);
    let refused = tranship.run(["config", "check"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("did you mean `/^v1.*$/`?"), "{refused:?}");
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let tranship = Tranship::new();
    let cases: [(&[&str], &str); 6] = [
        (&[], "Usage: tranship"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["copy", "a"], "<TARGET>"),
        (&["copy", "--insecure", "https", "a", "b"], "expected `http` or `no-verify`"),
        (&["copy", "--platform", "amd64", "a", "b"], "`amd64` is not a platform"),
        (&["inspect", "ghcr.io/Acme/app"], "upper-case letters are not allowed"),
    ];
    for (arguments, words) in cases {
        let finished = tranship.run(arguments).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(words), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "");
    }
}

#[tokio::test]
async fn a_good_configuration_is_counted_shown_and_read_again() {
    let tranship = Tranship::new();
    tranship.write("tranship.toml", GOOD);
    let run = async |arguments: &[&str]| {
        let mut command = tranship.command();
        command.env("TOKEN", "s3cret").args(arguments);
        let finished = crate::support::process::Running::new(&mut command).finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(!finished.stdout.contains("s3cret"));
        finished.stdout
    };
    let told = run(&["config", "check"]).await;
    assert_eq!(told, "tranship.toml: 1 rule, 2 registries; no problems found\n");
    let shown: Value =
        serde_json::from_str(&run(&["config", "check", "--output", "json"]).await).unwrap();
    let expected = json!({
        "success": true, "file": "tranship.toml", "rules": ["apps"],
        "registries": ["ghcr.io", "r.example:5000"], "problems": [],
    });
    assert_eq!(shown, expected);
    let meant = run(&["config", "show"]).await;
    assert!(meant.contains("password = { env = \"TOKEN\" }"), "{meant}");
    tranship.write("meant.toml", &meant);
    assert_eq!(run(&["config", "show", "--config", "meant.toml"]).await, meant);
    let schema: Value = serde_json::from_str(&run(&["config", "schema"]).await).unwrap();
    assert_eq!(schema["title"], "tranship.toml");
}

#[tokio::test]
async fn a_bad_configuration_is_told_with_places() {
    let tranship = Tranship::new();
    tranship.write("bad.toml", "[daemon]\nlisten = 5\n");
    let text = "[registry.\"r.example\"]\nusername = \"u\"\n\n[[sync]]\nname = \"a\"\nsource = \"r.example/A\"\ntarget = \"t.example/a\"\n";
    tranship.write("worse.toml", text);
    let check = async |file: &str, more: &[&str]| {
        let finished = tranship.run(["config", "check", "-c", file].iter().chain(more)).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        finished
    };
    assert!(check("bad.toml", &[]).await.stderr.starts_with("bad.toml:2:10: "));
    let told = check("worse.toml", &[]).await.stderr;
    assert!(told.contains("worse.toml:2:12: `username` of r.example needs `password`"), "{told}");
    assert!(told.contains("worse.toml:6:10: "), "{told}");
    let shown = check("worse.toml", &["--output", "json"]).await;
    assert_eq!(shown.stderr, "");
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["problems"].as_array().unwrap().len(), 2, "{shown}");
    assert_eq!(
        (&shown["problems"][0]["line"], &shown["problems"][0]["column"]),
        (&json!(2), &json!(12))
    );
    // Other commands end the same way.
    for arguments in [&["sync", "-c", "bad.toml"][..], &["inspect", "alpine", "-c", "bad.toml"]] {
        let finished = tranship.run(arguments).await;
        assert_eq!(finished.code, Some(2));
        assert!(finished.stderr.starts_with("bad.toml:2:10: "), "{finished:?}");
    }
    let none = tranship.run(["config", "check"]).await;
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("there is no tranship.toml here"), "{none:?}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_told() {
    let tranship = Tranship::new();
    let config = GOOD.replace("env = \"TOKEN\"", "file = \"token\"");
    tranship.write("tranship.toml", &config);
    tranship.write("token", "\n");
    let finished = tranship.run(["config", "check"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let words = "error: failed to get the password for ghcr.io: the secret file ";
    assert!(finished.stderr.starts_with(words), "{finished:?}");
    assert!(finished.stderr.ends_with("/token is empty\n"), "{finished:?}");
    tranship.write("tranship.toml", GOOD);
    let finished = tranship.run(["config", "check"]).await;
    assert!(finished.stderr.contains("tranship.toml:4:20: "), "{finished:?}");
    assert!(finished.stderr.contains("environment variable TOKEN is not set"), "{finished:?}");
    // A command is not run to find out.
    let config = GOOD.replace("env = \"TOKEN\"", "command = [\"touch\", \"ran\"]");
    tranship.write("tranship.toml", config);
    tranship.succeed(["config", "check"]).await;
    assert!(!tranship.home().join("ran").exists());
}

#[tokio::test]
async fn without_secrets_everything_else_is_checked() {
    let tranship = Tranship::new();
    let config = format!(
        "[registry.\"quay.io\"]\nusername = \"u\"\npassword = {{ file = \"gone\" }}\n\
         client_cert = \"gone\"\nclient_key = \"gone\"\n{GOOD}"
    );
    tranship.write("tranship.toml", &config);
    assert_eq!(tranship.run(["config", "check"]).await.code, Some(2));
    let told = tranship.succeed(["config", "check", "--no-secrets"]).await;
    assert!(told.stderr.contains("warning: no rule uses the registry quay.io"), "{told:?}");
    assert_eq!(told.stdout, "tranship.toml: 1 rule, 3 registries; 1 warning\n");
    // Other mistakes are still found, and the warnings are told beside them.
    tranship.write("tranship.toml", format!("{config}every = \"soon\"\nx = y\n"));
    let told = tranship.run(["config", "check", "--no-secrets"]).await;
    assert_eq!(
        (told.code, told.stderr.matches("tranship.toml:").count()),
        (Some(2), 3),
        "{told:?}"
    );
    assert!(told.stderr.contains("warning: no rule uses"), "{told:?}");
    let json = tranship.run(["config", "check", "--no-secrets", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let count = |key: &str| json[key].as_array().unwrap().len();
    assert_eq!((count("problems"), count("warnings")), (2, 1), "{json}");
}

/// With and without secrets: a file of certificates that is there is checked in both cases.
#[tokio::test]
async fn certificate_files_without_certificates_are_told() {
    let tranship = Tranship::new();
    let rule = GOOD.split_once("[[sync]]").unwrap().1.replace("r.example:5000", "r.example");
    let good = format!("[[sync]]{rule}");
    tranship.write("junk.pem", "no certificate");
    let identity = Authority::new().client();
    tranship.write("client.pem", &identity.certificate);
    let settings = "[registry.\"ghcr.io\"]\nca_file = \"junk.pem\"\nclient_cert = \"client.pem\"\nclient_key = \"client.pem\"\n";
    let folder = tranship.home().join(".config/containers/certs.d/r.example");
    for more in [&["config", "check"][..], &["config", "check", "--no-secrets"]] {
        tranship.write("tranship.toml", format!("{settings}{good}"));
        let told = tranship.run(more).await;
        assert_eq!(told.code, Some(2), "{told:?}");
        for (place, file, words) in [
            (
                "2:11",
                "junk.pem",
                "there is no certificate in it, which begins with `-----BEGIN CERTIFICATE-----`; it is not a PEM file",
            ),
            (
                "4:14",
                "client.pem",
                "there is no private key in it, which begins with `-----BEGIN PRIVATE KEY-----`; there is a certificate",
            ),
        ] {
            let file = tranship.home().join(file);
            let line =
                format!("tranship.toml:{place}: {} cannot be used: {words}\n", file.display());
            assert!(told.stderr.contains(&line), "{line}\n{told:?}");
        }
        assert_eq!(told.stderr.matches("tranship.toml:").count(), 2, "{told:?}");

        // What docker and podman have for a registry that only a rule names.
        tranship.write("tranship.toml", &good);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.crt"), &identity.key).unwrap();
        let told = tranship.run(more).await;
        let expected = format!(
            "error: the certificates for r.example cannot be used: {}/ca.crt cannot be used: there is no certificate in it, which begins with `-----BEGIN CERTIFICATE-----`; there is a private key\n",
            folder.display()
        );
        assert_eq!((told.code, &told.stderr), (Some(2), &expected));
        std::fs::write(folder.join("ca.crt"), &identity.certificate).unwrap();
        tranship.succeed(more).await;
        // Over http, nobody reads it.
        std::fs::write(folder.join("ca.crt"), "junk").unwrap();
        tranship.write(
            "tranship.toml",
            format!("[registry.\"r.example\"]\ninsecure = \"http\"\n{good}"),
        );
        tranship.succeed(more).await;
    }
}

#[tokio::test]
async fn a_first_configuration_is_written_and_never_overwritten() {
    let tranship = Tranship::new();
    let source =
        ["--source", "docker.io/library/alpine", "--target", "localhost:5000/{repository}"];
    let init = async |more: &[&str]| {
        tranship.run(["config", "init"].iter().chain(&source).chain(more)).await
    };
    let written = init(&["--tags", "3.*,latest", "--every", "2h", "--username", "me"]).await;
    assert_eq!(written.code, Some(0), "{written:?}");
    assert!(written.stdout.contains("  tranship sync --dry-run"), "{written:?}");
    let checked = tranship.succeed(["config", "check"]).await;
    assert_eq!(checked.stdout, "tranship.toml: 1 rule, 1 registry; no problems found\n");
    let shown = tranship.succeed(["config", "show"]).await.stdout;
    for line in
        ["tags = { include = [\"3.*\", \"latest\"] }", "every = \"2h\"", "insecure = \"http\""]
    {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains("REGISTRY_PASSWORD"), "{shown}");

    let again = init(&["--schedule", "0 3 * * *"]).await;
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("error: tranship.toml is there already\nhint: "), "{again:?}");
    assert!(tranship.succeed(["config", "show"]).await.stdout == shown);
    let forced = init(&["--schedule", "0 3 * * *", "--force", "--output", "json"]).await;
    let report: Value = serde_json::from_str(&forced.stdout).unwrap();
    assert_eq!(report, json!({ "file": "tranship.toml", "rule": "alpine" }));
    assert!(tranship.succeed(["config", "show"]).await.stdout.contains("0 3 * * *"));

    // Of two registries on this machine, neither is taken to have TLS.
    let local = ["config", "init", "--force", "--source", "127.0.0.1:5001/**"];
    let local = local.iter().chain(&["--target", "127.0.0.1:5002/{repository}"]);
    assert_eq!(tranship.run(local).await.code, Some(0));
    let shown = tranship.succeed(["config", "show"]).await.stdout;
    assert_eq!(shown.matches("insecure = \"http\"").count(), 2, "{shown}");

    let bad = init(&["--every", "often", "--output-file", "x.toml"]).await;
    assert_eq!(bad.code, Some(2), "{bad:?}");
    assert!(bad.stderr.contains("`often` is not a duration"), "{bad:?}");
    assert!(!tranship.home().join("x.toml").exists());
    let unasked = tranship.run(["config", "init", "--output-file", "y.toml"]).await;
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.stderr.contains("hint: give them with --source and --target"), "{unasked:?}");
}

#[tokio::test]
async fn completions_and_manual_pages_know_every_command() {
    let tranship = Tranship::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = tranship.succeed(["completions", shell]).await.stdout;
        for word in ["copy", "list-tags", "with-siblings", "manifest-digest"] {
            assert!(script.contains(word), "{shell} {word}");
        }
        // fish has a line for each option of each command.
        let mut login = script.lines().filter(|line| line.contains("using_subcommand login"));
        assert!(
            login.all(|line| !line.contains("-l password ")),
            "the refused option is not offered"
        );
    }
    let page = tranship.succeed(["man"]).await.stdout;
    assert!(page.contains(".TH tranship 1") && page.contains("tranship\\-copy"), "{page}");
    tranship.succeed(["man", "--dir", "pages/man1"]).await;
    let page = tranship.home().join("pages/man1/tranship-copy.1");
    assert!(std::fs::read_to_string(page).unwrap().contains("\\-\\-all\\-tags"));
    assert!(tranship.home().join("pages/man1/tranship-config-check.1").exists());
}

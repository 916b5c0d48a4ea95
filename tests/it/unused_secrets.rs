//! Secrets that the configuration names and that are not there: commands need those of the registries
//! that they use, and no others.

use crate::daemon_beside::{Beside, on_request, on_request_sync};
use crate::daemon_cleanup::image;
use crate::daemon_setup::Home;
use crate::support::process::{Finished, Running};
use crate::support::{Place, Scripted, Tranship};

/// Registries, senders and receivers of which this machine has no secrets.
const ELSEWHERE: &str = "[registry.\"env.example\"]\nusername = \"u\"\npassword = { env = \"GONE\" }\n\
    [registry.\"file.example\"]\nusername = \"u\"\npassword = { file = \"${env:GONE}/x\" }\n\
    [registry.\"ca.example\"]\nca_file = \"gone.pem\"\n\
    [events.hub]\nformat = \"distribution\"\nregistry = \"env.example\"\nsecret = { env = \"GONE\" }\n\
    [[notify]]\nurl = { env = \"GONE\" }\n";

/// A registry that is spoken to with a secret that is not there, and a registry without any.
fn registries() -> (Scripted, Scripted) {
    let (open, locked) = (Scripted::start(), Scripted::start());
    for registry in [&open, &locked] {
        image("1.0.0").load(registry, "app", "v1");
    }
    image("pr-1").load(&open, "old", "pr-1");
    (open, locked)
}

fn text(open: &Scripted, locked: &Scripted) -> String {
    let (open, locked) = (open.host(), locked.host());
    format!(
        "[daemon]\ntoken = {{ env = \"GONE\" }}\n[registry.\"{open}\"]\ninsecure = \"http\"\n\
         [registry.\"{locked}\"]\ninsecure = \"http\"\nusername = \"u\"\npassword = {{ env = \"GONE\" }}\n\
         {ELSEWHERE}"
    )
}

/// That the command did nothing because of the secret of this registry, and said where it is named.
fn assert_missing(finished: &Finished, host: &str, line: &str) {
    assert_eq!((finished.code, &*finished.stdout), (Some(2), ""), "{finished:?}");
    for words in [line, "the environment variable GONE is not set", host] {
        assert!(finished.stderr.contains(words), "{words}: {finished:?}");
    }
    assert_eq!(finished.stderr.matches("GONE").count(), 1, "{finished:?}");
}

#[tokio::test]
async fn commands_with_references_need_those_of_their_registries() {
    let (open, locked) = registries();
    let tranship = Tranship::new();
    tranship.write("tranship.toml", text(&open, &locked));
    let at = |place: &Scripted, rest: &str| format!("{}/{rest}", place.host());
    let commands = |place: &Scripted| {
        let (image, to) = (at(place, "app:v1"), at(place, "copy:v1"));
        vec![
            vec!["inspect".to_owned(), image.clone()],
            vec!["list-tags".to_owned(), at(place, "app")],
            vec!["list-repos".to_owned(), place.host().to_owned()],
            vec!["manifest-digest".to_owned(), image.clone()],
            vec!["copy".to_owned(), image.clone(), to.clone()],
            vec!["verify".to_owned(), image, to.clone()],
            vec!["delete".to_owned(), to],
        ]
    };
    for arguments in commands(&open) {
        let finished = tranship.run(&arguments).await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    }
    for arguments in commands(&locked) {
        assert_missing(&tranship.run(&arguments).await, locked.host(), "tranship.toml:8:");
    }
    let copy = ["copy", &at(&open, "app:v1"), &at(&locked, "copy:v1")];
    assert_missing(&tranship.run(copy).await, locked.host(), "tranship.toml:8:");
    assert_eq!(locked.traffic().len(), 0);
    // What the command line says instead needs nothing of the file.
    let finished = tranship.run(["list-tags", "--creds", "a:b", &at(&locked, "app")]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn rules_need_those_of_their_registries() {
    let (open, locked) = registries();
    let tranship = Tranship::new();
    let rule =
        |kind: &str, name: &str, lines: &str| format!("[[{kind}]]\nname = \"{name}\"\n{lines}\n");
    let (from, to) = (open.host(), locked.host());
    let text = [
        text(&open, &locked),
        rule("sync", "free", &format!("source = \"{from}/app\"\ntarget = \"{from}/copy\"")),
        rule("sync", "bound", &format!("source = \"{from}/app\"\ntarget = \"{to}/copy\"")),
        rule(
            "cleanup",
            "tidy",
            &on_request(&open, "old", "max_delete = { count = 9, percent = 100 }"),
        ),
        rule("cleanup", "locked", &on_request(&locked, "old", "")),
    ];
    tranship.write("tranship.toml", text.concat());
    let needs_nothing: [&[&str]; 7] = [
        &["plan", "free", "tidy"],
        &["sync", "--dry-run", "--rule", "free"],
        &["sync", "--rule", "free"],
        &["verify", "--rule", "free"],
        &["cleanup", "--rule", "tidy"],
        &["cleanup", "--rule", "tidy", "--apply"],
        &["config", "check", "--no-secrets"],
    ];
    for arguments in needs_nothing {
        let finished = tranship.run(arguments).await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    }
    let needs_it: [&[&str]; 7] = [
        &["plan"],
        &["plan", "free", "locked"],
        &["sync", "--dry-run"],
        &["sync", "--rule", "free", "--rule", "bound"],
        &["verify"],
        &["cleanup"],
        &["cleanup", "--rule", "locked", "--apply"],
    ];
    for arguments in needs_it {
        let finished = tranship.run(arguments).await;
        assert_missing(&finished, &format!("hint: the registry {to} needs it"), "tranship.toml:8:");
    }
    // Who may need any of them wants all of them.
    for arguments in [&["serve"][..], &["config", "check"]] {
        let finished = tranship.run(arguments).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.matches("GONE is not set").count() >= 6, "{finished:?}");
        assert!(finished.stderr.contains("gone.pem"), "{finished:?}");
    }
    assert_eq!(locked.traffic().len(), 0);
}

/// The daemon has the secrets.
#[tokio::test]
async fn beside_the_daemon_none_is_needed_to_plan() {
    let (open, locked) = registries();
    let secret = "username = \"u\"\npassword = { env = \"TOKEN\" }";
    let home = Home::new()
        .registry(&open, "")
        .registry(&locked, secret)
        .rule("apps", &on_request_sync(&locked, &open, "app"))
        .cleanup("tidy", &on_request(&open, "old", "max_delete = { count = 9, percent = 100 }"));
    let beside = Beside::start(home).await;
    for arguments in [&["plan"][..], &["sync", "--dry-run"], &["cleanup"]] {
        let mut command = beside.home.tranship.command();
        command.args(["--config", "cli.toml"]).args(arguments).env_remove("TOKEN");
        let finished = Running::new(&mut command).finish().await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    }
}

//! `tranship login` and `logout`: credentials are tried, kept where docker keeps them, never shown.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::process::Finished;
use crate::support::{DockerRegistry, Family, Image, Place, TokenServer, Tranship};

const SECRET: &str = "corre:ct horse";

/// Runs with this on standard input.
async fn with_input(tranship: &Tranship, arguments: &[&str], input: &str) -> Finished {
    let mut command = tranship.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that refuses early does not read.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let finished = Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!format!("{finished:?}").contains(SECRET), "the password is shown");
    finished
}

async fn login(tranship: &Tranship, host: &str, user: &str, password: &str) -> Finished {
    let arguments = ["login", host, "-u", user, "--password-stdin", "--insecure", "http", "-vv"];
    with_input(tranship, &arguments, &format!("{password}\n")).await
}

fn auth_file(tranship: &Tranship) -> Value {
    let file = tranship.home().join(".docker/config.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Logs in, uses the login, logs out, at a registry that lets in alice with the secret.
async fn in_and_out(registry: &DockerRegistry) {
    Image::single(Family::Oci, "app", &[10]).push(registry, "app", "1").await;
    let tranship = Tranship::new();
    let host = registry.host();
    let before = json!({ "auths": { "other.example": { "auth": "dTpw" } }, "detachKeys": "x" });
    let file = tranship.write(".docker/config.json", before.to_string());

    let wrong = login(&tranship, host, "alice", "wrong").await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stderr.contains("refuse"), "{wrong:?}");
    assert!(!wrong.stderr.contains("tranship login"), "{wrong:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before.to_string());
    let tags = ["list-tags", &format!("{host}/app"), "--insecure", "http"];
    assert_eq!(tranship.run(tags).await.code, Some(1));

    let right = login(&tranship, host, "alice", SECRET).await;
    assert_eq!(right.code, Some(0), "{right:?}");
    let kept = format!("logged in to {host} as alice, kept in {}\n", file.display());
    assert!(right.stdout.starts_with(&kept), "{right:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(tranship.succeed(tags).await.stdout, "1\n");

    let out = tranship.succeed(["logout", host]).await;
    let words = format!("logged out of {host}, removed from {}\n", file.display());
    assert_eq!(out.stdout, words);
    assert_eq!(auth_file(&tranship), before);
    assert_eq!(tranship.run(tags).await.code, Some(1));
    let again = tranship.succeed(["logout", host]).await;
    assert_eq!(again.stdout, format!("there was no login for {host}\n"));
}

#[tokio::test]
async fn basic_logins_are_tried_kept_used_and_removed() {
    in_and_out(&DockerRegistry::new().htpasswd("alice", SECRET).run().await).await;
}

#[tokio::test]
async fn token_logins_are_tried_kept_used_and_removed() {
    let tokens = TokenServer::start();
    tokens.user("alice", SECRET);
    in_and_out(&DockerRegistry::new().tokens(&tokens).run().await).await;
}

#[tokio::test]
async fn an_open_registry_cannot_check_and_that_is_said() {
    let registry = DockerRegistry::start().await;
    let tranship = Tranship::new();
    let arguments = ["login", registry.host(), "-ubob", "--password-stdin", "--insecure", "http"];
    let finished =
        with_input(&tranship, &[&arguments[..], &["--output", "json"]].concat(), SECRET).await;
    let shown: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((&shown["checked"], &shown["username"]), (&json!(false), &json!("bob")));
    let note = "the registry does not require credentials, so they were not checked";
    assert!(shown["notes"].as_array().unwrap().contains(&note.into()), "{shown}");
    assert!(auth_file(&tranship)["auths"][registry.host()]["auth"].is_string());
}

#[tokio::test]
async fn a_helper_that_the_file_names_gets_the_password() {
    let registry = DockerRegistry::new().htpasswd("alice", SECRET).run().await;
    let tranship = Tranship::new();
    let script = "#!/bin/sh\ncat > \"$HOME/$1.stdin\"\n";
    let helper = tranship.write("bin/docker-credential-keys", script);
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    tranship.write(".docker/config.json", r#"{"credsStore":"keys"}"#);
    let host = registry.host();
    let arguments = ["login", host, "-ualice", "--password-stdin", "--insecure", "http"];
    let path = format!(
        "{}:{}",
        helper.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = tranship.command();
    command.env("PATH", path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(SECRET.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("kept with docker-credential-keys, as "), "{told}");
    let stored: Value =
        serde_json::from_slice(&std::fs::read(tranship.home().join("store.stdin")).unwrap())
            .unwrap();
    assert_eq!(stored, json!({ "ServerURL": host, "Username": "alice", "Secret": SECRET }));
    assert!(!auth_file(&tranship).to_string().contains("auth\":"), "not in the file, too");
}

#[tokio::test]
async fn passwords_on_the_command_line_are_refused() {
    let tranship = Tranship::new();
    let hint = "error: a password on the command line is visible to all users of this machine\nhint: use --password-stdin, or leave it out to be asked\n";
    let short = format!("-p{SECRET}");
    for password in [&["--password", SECRET][..], &["-p", SECRET], &[&short], &["--password"]] {
        let arguments = [&["login", "r.example", "-u", "u"], password].concat();
        let finished = with_input(&tranship, &arguments, "").await;
        assert_eq!((finished.code, &*finished.stderr), (Some(2), hint));
    }
    let help = tranship.succeed(["login", "--help"]).await.stdout;
    assert!(!help.contains("--password "), "{help}");
}

#[tokio::test]
async fn what_is_not_given_and_cannot_be_asked_for_is_told() {
    let tranship = Tranship::new();
    let cases: [(&[&str], &str, &str); 5] = [
        (&["r.example"], "", "cannot ask for the user name"),
        (&["r.example", "-uu"], "", "cannot ask for the password"),
        (&["r.example", "--password-stdin"], "p", "cannot ask for the user name"),
        (&["r.example", "-uu", "--password-stdin"], "\n", "the password is empty"),
        (&["r.example", "-ua:b", "--password-stdin"], "p", "a user name cannot have a colon"),
    ];
    for (arguments, input, words) in cases {
        let finished = with_input(&tranship, &[&["login"], arguments].concat(), input).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
    assert!(!tranship.home().join(".docker").exists());
}

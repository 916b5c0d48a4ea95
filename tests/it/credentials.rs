//! Credentials and certificates from the places where docker, podman and skopeo have them, and what
//! errors say about them.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::{Finished, Running};
use crate::support::{DockerRegistry, Family, Image, Place, Tranship};

const SECRET: &str = "corre:ct horse";

fn auth(user: &str, password: &str) -> Value {
    json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
}

async fn guarded() -> DockerRegistry {
    let registry = DockerRegistry::new().htpasswd("alice", SECRET).run().await;
    Image::single(Family::Oci, "app", &[10]).push(&registry, "acme/app", "1").await;
    registry
}

/// Lists the tags of `acme/app`; no secret may be seen.
async fn list(tranship: &Tranship, host: &str, more: &[&str]) -> Finished {
    let image = format!("{host}/acme/app");
    let finished = tranship.run(["list-tags", &image].iter().chain(more)).await;
    assert!(!format!("{finished:?}").contains(SECRET), "the password is shown");
    finished
}

const HTTP: &[&str] = &["--insecure", "http"];

#[tokio::test]
async fn logins_are_found_where_other_programs_keep_them() {
    let registry = guarded().await;
    let host = registry.host();
    let whole = json!({ "auths": { host: auth("alice", SECRET) } });
    let path = format!("{host}/acme/app");
    let longest = json!({ "auths": {
        host: auth("bob", "wrong"),
        format!("{host}/acme"): auth("carol", "wrong"),
        path.clone(): auth("alice", SECRET),
    } });
    let legacy = json!({ host: auth("alice", SECRET) });
    let places = [
        (".run/containers/auth.json", &whole, host),
        (".config/containers/auth.json", &longest, path.as_str()),
        (".docker/config.json", &whole, host),
        (".dockercfg", &legacy, host),
    ];
    for (place, content, entry) in places {
        let tranship = Tranship::new();
        let file = tranship.write(place, content.to_string());
        let found = list(&tranship, host, &[HTTP, &["-v"]].concat()).await;
        assert_eq!((found.code, found.stdout.as_str()), (Some(0), "1\n"), "{place} {found:?}");
        let file = file.display();
        let line = format!(
            "credentials found registry={host} credentials=user `alice`, password from {file} (entry {entry})"
        );
        assert_eq!(found.stderr.matches(&line).count(), 1, "{found:?}");
    }
    // Removed from wherever it is found.
    let tranship = Tranship::new();
    tranship.write(".dockercfg", legacy.to_string());
    let out = tranship.succeed(["logout", host]).await;
    assert!(out.stdout.contains(".dockercfg"), "{out:?}");
    assert_eq!(list(&tranship, host, HTTP).await.code, Some(1));
}

#[tokio::test]
async fn what_was_refused_is_named_with_its_origin() {
    let registry = guarded().await;
    let host = registry.host();
    let image = format!("{host}/acme/app");
    let refused = |shown: &str| {
        format!(
            "error: failed to list tags of {image}: the registry answered 401 Unauthorized: \
             UNAUTHORIZED: authentication required (Action pull, Name acme/app, Type repository) \
             ({shown})\n"
        )
    };
    let correct = "hint: the user name or the password is wrong, or has expired: correct it where the message says it comes from\n";

    let tranship = Tranship::new();
    let finished = list(&tranship, host, HTTP).await;
    let log_in =
        "hint: log in with `tranship login`, or set username and password for this registry\n";
    assert_eq!(finished.stderr, refused("sent without credentials") + log_in);

    let file = tranship.write(
        ".docker/config.json",
        json!({ "auths": { host: auth("bob", "wr0ng") } }).to_string(),
    );
    let finished = list(&tranship, host, HTTP).await;
    let origin = format!("sent with user `bob`, password from {} (entry {host})", file.display());
    assert_eq!(finished.stderr, refused(&origin) + correct);

    let secret = tranship.write("secret", "wr0ng");
    let config = |password: &str| {
        format!(
            "[registry.\"{host}\"]\ninsecure = \"http\"\nusername = \"eve\"\npassword = {password}\n"
        )
    };
    tranship.write("tranship.toml", config("{ file = \"secret\" }"));
    let finished = list(&tranship, host, &[]).await;
    let origin = format!(
        "sent with user `eve`, password from {} ([registry.\"{host}\"])",
        secret.canonicalize().unwrap().display()
    );
    assert_eq!(finished.stderr, refused(&origin) + correct);

    tranship.write("tranship.toml", config("{ env = \"PASSWORD_OF_EVE\" }"));
    let mut command = tranship.command();
    let finished =
        Running::new(command.args(["list-tags", &image]).env("PASSWORD_OF_EVE", "wr0ng")).finish();
    let origin = format!(
        "sent with user `eve`, password from the environment variable PASSWORD_OF_EVE ([registry.\"{host}\"])"
    );
    let finished = finished.await;
    assert_eq!(finished.stderr, refused(&origin) + correct);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

#[tokio::test]
async fn certificates_are_found_where_other_programs_keep_them() {
    let registry = DockerRegistry::new().client_certificates().run().await;
    let host = registry.host();
    Image::single(Family::Oci, "app", &[10]).push(&registry, "acme/app", "1").await;
    for place in [".config/containers", ".config/docker", ".docker"] {
        let tranship = Tranship::new();
        let folder = tranship.home().join(place).join("certs.d").join(host);
        copy(&registry.ca_file(), &folder.join("ca.crt"));
        let without = list(&tranship, host, &[]).await;
        assert_eq!(without.code, Some(1), "{without:?}");
        assert!(!without.stderr.contains("UnknownIssuer"), "{without:?}");

        copy(&registry.client_cert_file(), &folder.join("client.cert"));
        let lonely = list(&tranship, host, &[]).await;
        let file = |name| folder.join(name).display().to_string();
        let expected = format!(
            "error: failed to open {host}/acme/app: {} needs {} beside it; the certificate of an authority is named *.crt\n\
             hint: `tranship config check` checks these files of all registries; docs/credentials.md says where they are looked for\n",
            file("client.cert"),
            file("client.key")
        );
        assert_eq!(lonely.stderr, expected);

        copy(&registry.client_key_file(), &folder.join("client.key"));
        let found = list(&tranship, host, &["-v"]).await;
        assert_eq!((found.code, found.stdout.as_str()), (Some(0), "1\n"), "{place} {found:?}");
        let line = format!("authorities found registry={host} from={}", file("ca.crt"));
        assert!(found.stderr.contains(&line), "{found:?}");

        // The configuration stands before it, and another host does not matter.
        let other = tranship.home().join(place).join("certs.d/other.example/ca.crt");
        std::fs::create_dir_all(other.parent().unwrap()).unwrap();
        std::fs::write(other, "not PEM").unwrap();
        tranship.write("wrong.pem", crate::support::pki::Authority::new().pem);
        tranship
            .write("tranship.toml", format!("[registry.\"{host}\"]\nca_file = \"wrong.pem\"\n"));
        let untrusted = list(&tranship, host, &[]).await;
        assert_eq!(untrusted.code, Some(1), "{untrusted:?}");
    }
}

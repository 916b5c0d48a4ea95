//! Strangers' words on a terminal and in the log: nothing that a registry, a layout or an archive
//! says can move the cursor, hide text or forge a line.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::Finished;
use crate::support::{Blob, Family, Fault, Image, Kind, Place, Scripted, Tranship};

/// Clears a screen, returns, forges a line of the log, and hides or reorders what follows.
const EVIL: &str = "x\u{1b}[2J\r\n2026-11-30T03:00:00.000000Z  INFO forged\
    \u{7}\u{8}\u{9b}31m\u{7f}\u{85}\u{202e}\u{2066}\u{2028}\u{2029}\u{200b}\u{200f}\u{feff}\u{ad}\u{e0041}y";

/// What must never come out, besides control characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[track_caller]
fn assert_inert(what: &str, text: &str) {
    let bad = text.chars().find(|c| c.is_control() && *c != '\n' || is_invisible(*c));
    assert_eq!(bad, None, "{what}: {text:?}");
    let forged = text.lines().find(|line| line.trim_start().starts_with("2026-11-30T03:00:00"));
    assert_eq!(forged, None, "{what}: {text:?}");
}

#[track_caller]
fn assert_harmless(what: &str, finished: &Finished) {
    assert_inert(what, &finished.stdout);
    assert_inert(what, &finished.stderr);
}

/// The same, with something of the stranger's in it: otherwise nothing has been tested.
#[track_caller]
fn assert_told(what: &str, finished: &Finished) {
    assert_harmless(what, finished);
    let told = format!("{}{}", finished.stdout, finished.stderr);
    assert!(told.contains("forged") && told.contains('\u{fffd}'), "{what}: {finished:?}");
}

/// An image whose every word is a stranger's.
fn evil_image() -> Image {
    let config = json!({
        "os": EVIL, "architecture": EVIL, "variant": EVIL, "created": EVIL,
        "config": { "Labels": { EVIL: EVIL } }, "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string());
    let layer = Blob::new(EVIL, "layer");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": EVIL, "config": config.descriptor(), "layers": [layer.descriptor()],
        "annotations": { EVIL: EVIL },
    });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    Image::of_manifest(media_type, &manifest, vec![config, layer])
}

fn evil_index() -> Image {
    let platform = json!({ "os": EVIL, "architecture": EVIL, "variant": EVIL });
    let entry = json!({ "platform": platform, "annotations": { EVIL: EVIL } });
    Image::index(Family::Oci, vec![(evil_image(), entry)])
}

/// A manifest with a digest and a platform that are none.
fn broken() -> String {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": EVIL, "digest": EVIL, "size": 1, "platform": EVIL }],
    })
    .to_string()
}

#[tokio::test]
async fn words_of_an_image_are_inert_on_the_terminal() {
    let registry = Scripted::start();
    evil_image().load(&registry, "evil", "image");
    evil_index().load(&registry, "evil", "index");
    let index = "application/vnd.oci.image.index.v1+json";
    registry.insert_manifest("evil", Some("broken"), index, broken().into());
    let tranship = Tranship::new();
    for tag in ["image", "index", "broken"] {
        let name = registry.reference("evil", tag);
        let told = tranship.run(["-vv", "inspect", "--insecure", "http", &name]).await;
        assert_told(tag, &told);
    }
    // JSON says the same, and escapes what JSON alone would let pass.
    let name = registry.reference("evil", "image");
    let arguments = ["inspect", "--insecure", "http", "--output", "json", &name];
    let told = tranship.succeed(arguments).await;
    assert_harmless("json", &told);
    let document: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(document["annotations"], json!({ EVIL: EVIL }));
    assert_eq!(document["config"]["labels"], json!({ EVIL: EVIL }));
}

#[tokio::test]
async fn answers_of_a_registry_are_inert_on_the_terminal() {
    let registry = Scripted::start();
    evil_image().load(&registry, "evil", "image");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let bytes = evil_image().bytes;
    registry.insert_manifest("evil", Some(EVIL), media_type, bytes.clone());
    registry.insert_manifest(&format!("evil/{EVIL}"), Some("image"), media_type, bytes);
    let tranship = Tranship::new();
    let (host, name) = (registry.host().to_owned(), registry.reference("evil", "image"));
    let repository = format!("{host}/evil");
    let log = ["-vv", "--insecure", "http"];
    let run = async |arguments: &[&str]| {
        let (command, rest) = arguments.split_first().unwrap();
        tranship.run([*command].iter().chain(&log).chain(rest)).await
    };
    assert_told("tags", &run(&["list-tags", &repository]).await);
    assert_told("repositories", &run(&["list-repos", &host]).await);
    // Header values can hold no control characters of ASCII, but all others.
    let foreign = "http://forged\u{9b}31m\u{202e}\u{2028}\u{fffd}.example/v2/";
    registry
        .on("GET", Kind::Tags)
        .once()
        .fail(Fault::Header("link".to_owned(), format!("<{foreign}>; rel=\"next\"")));
    assert_harmless("link", &run(&["list-tags", &repository]).await);
    registry.on("GET", Kind::Tags).once().fail(Fault::status(307).header("location", foreign));
    assert_harmless("location", &run(&["list-tags", &repository]).await);
    for status in [401, 403, 404, 500] {
        registry.on_any().fail(Fault::status(status).error(EVIL, EVIL));
        for arguments in [
            vec!["inspect", &name],
            vec!["list-tags", &repository],
            vec!["list-repos", &host],
            vec!["copy", &name, "oci:copied"],
            vec!["verify", &name, &name],
            vec!["delete", &name],
        ] {
            if status == 500 && arguments[0] != "inspect" {
                continue; // It is tried again for a while.
            }
            let told = run(&arguments).await;
            assert_harmless(&format!("{status} {arguments:?}"), &told);
            assert!(status != 403 || told.stderr.contains("forged"), "{arguments:?}: {told:?}");
        }
        registry.clear_rules();
    }
    registry.on_any().fail(Fault::status(403).body(EVIL));
    assert_told("plain", &run(&["inspect", &name]).await);
}

#[tokio::test]
async fn rules_and_their_history_are_inert_on_the_terminal_and_in_the_log() {
    let (source, target) = (Scripted::start(), Scripted::start());
    evil_index().load(&source, "evil", "good");
    evil_image().load(&source, "evil", "bad");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    source.insert_manifest("evil", Some(EVIL), media_type, evil_image().bytes);
    let index = "application/vnd.oci.image.index.v1+json";
    source.insert_manifest("evil", Some("broken"), index, broken().into());
    target.on("PUT", Kind::Manifest).containing("/bad").fail(Fault::status(403).error(EVIL, EVIL));
    let tranship = Tranship::new();
    let (from, to) = (source.host(), target.host());
    tranship.write(
        "tranship.toml",
        format!(
            "[daemon]\nstate = \"state\"\n[registry.\"{from}\"]\ninsecure = \"http\"\n\
             [registry.\"{to}\"]\ninsecure = \"http\"\n\
             [[sync]]\nname = \"all\"\nsource = \"{from}/evil\"\ntarget = \"{to}/evil\"\n\
             [[cleanup]]\nname = \"clean\"\nrepositories = [\"{to}/evil\"]\ngrace = \"0s\"\n\
             delete = [{{ id = \"g\", tags = [\"good\"] }}]\n\
             max_delete = {{ percent = 100 }}\n"
        ),
    );
    let told = tranship.run(["sync", "-vv"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_told("sync", &told);
    let told = tranship.run(["sync", "-vv", "--log-format", "json", "--output", "json"]).await;
    assert_told("json", &Finished { stdout: told.stdout.replace("\\", "\u{fffd}"), ..told });
    let told = tranship.run(["verify", "-vv"]).await;
    assert_harmless("verify", &told);
    let listed = tranship.succeed(["history"]).await;
    assert_harmless("history", &listed);
    let id = listed.stdout.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_told("history of a run", &tranship.succeed(["history", &id]).await);
    assert_harmless("status", &tranship.succeed(["status"]).await);
    assert_harmless("plan", &tranship.run(["cleanup", "-vv"]).await);
    target.on("DELETE", Kind::Manifest).fail(Fault::status(403).error(EVIL, EVIL));
    assert_told("cleanup", &tranship.run(["cleanup", "-vv", "--apply"]).await);
}

#[tokio::test]
async fn layouts_and_archives_are_inert_on_the_terminal() {
    let tranship = Tranship::new();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("evil.tar");
    // A header whose size is no number: the message about it quotes the header.
    let mut header = tar::Header::new_gnu();
    let name = EVIL.as_bytes();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().size.copy_from_slice(b"\x1b[2Jforged\x07\x08");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    std::fs::write(&file, [header.as_bytes().as_slice(), &[0; 1024]].concat()).unwrap();
    let archive = format!("oci-archive:{}", file.display());
    let told = tranship.run(["-vv", "inspect", &archive]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_told("archive", &told);

    let layout = tranship.home().join("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    tranship.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let image = evil_image();
    for blob in &image.blobs {
        tranship.write(&format!("layout/blobs/{}", blob.digest.replace(':', "/")), &blob.bytes);
    }
    tranship.write(&format!("layout/blobs/{}", image.digest.replace(':', "/")), &image.bytes);
    let names = |name: &str| {
        let mut entry = image.descriptor();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name, EVIL: EVIL });
        entry["platform"] = json!({ "os": EVIL, "architecture": EVIL });
        entry
    };
    let index = json!({ "schemaVersion": 2, "manifests": [names("1.0"), names(EVIL)] });
    tranship.write("layout/index.json", index.to_string());
    for arguments in [
        vec!["-vv", "inspect", "oci:layout:1.0"],
        vec!["-vv", "inspect", "oci:layout"],
        vec!["-vv", "list-tags", "oci:layout"],
        vec!["-vv", "copy", "--all-tags", "oci:layout", "oci:copied"],
        vec!["-vv", "verify", "--all-tags", "oci:layout", "oci:copied"],
    ] {
        assert_harmless(&format!("{arguments:?}"), &tranship.run(arguments).await);
    }
    for index in [json!({ "manifests": EVIL }), json!({ "manifests": [{ "digest": EVIL }] })] {
        tranship.write("layout/index.json", index.to_string());
        let told = tranship.run(["-vv", "inspect", "oci:layout"]).await;
        assert_eq!(told.code, Some(1), "{told:?}");
        assert_harmless("index", &told);
    }
}

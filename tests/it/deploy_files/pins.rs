//! scripts/pin-images: the digests in a file are those that the registries have.

use std::fs;

use tokio::process::Command;

use super::root;
use crate::support::{DockerRegistry, Family, Image, Place, Tranship};

#[tokio::test]
async fn digests_are_renewed_and_compared() {
    let registry = DockerRegistry::start().await;
    let image = Image::single(Family::Oci, "app", &[100]);
    image.push(&registry, "acme/app", "1.0").await;
    let name = registry.reference("acme/app", "1.0");
    let tranship = Tranship::new();
    let config = format!("[registry.\"{}\"]\ninsecure = \"http\"\n", registry.host());
    let config = tranship.write("tranship.toml", config);
    let old = format!("sha256:{}", "0".repeat(64));
    let text = |digest: &str| format!("ARG BASE={name}@{digest}\nimage: app:1.0\nFROM ${{BASE}}\n");
    let file = tranship.write("Dockerfile", text(&old));

    let run = async |option: &[&str]| {
        let mut script = Command::new(root().join("scripts/pin-images"));
        script.args(option).arg(&file);
        script.env("TRANSHIP", env!("CARGO_BIN_EXE_tranship"));
        script.env("TRANSHIP_CONFIG", &config).env("HOME", tranship.home());
        let output = script.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let renewed = format!("{}: {name} is {}\n", file.display(), image.digest);
    assert_eq!(run(&["--check"]).await, (Some(1), renewed.clone()));
    assert_eq!(fs::read_to_string(&file).unwrap(), text(&old), "only looked at");
    assert_eq!(run(&[]).await, (Some(0), renewed));
    assert_eq!(fs::read_to_string(&file).unwrap(), text(&image.digest));
    assert_eq!(run(&["--check"]).await, (Some(0), String::new()));
}

//! The unit: as systemd understands it, and as its configuration needs it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{checked, deploy, read, said, seconds, time_to_stop, tool};
use crate::support::Tranship;

/// The unit with its drop-in, in a folder where systemd-analyze finds both, and the program that
/// is started in the place of the real one.
fn unit(folder: &Path) -> PathBuf {
    let drop_in = folder.join("tranship.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::copy(deploy("systemd/secrets.conf"), drop_in.join("secrets.conf")).unwrap();
    let unit = read("systemd/tranship.service");
    let path = folder.join("tranship.service");
    fs::write(&path, unit.replace("/usr/local/bin/tranship", env!("CARGO_BIN_EXE_tranship")))
        .unwrap();
    path
}

fn setting(unit: &str, name: &str) -> String {
    let prefix = format!("{name}=");
    let value = unit.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("{name} is not set")).to_owned()
}

#[test]
fn systemd_understands_the_unit_and_finds_it_hardened() {
    let folder = TempDir::new().unwrap();
    let unit = unit(folder.path());
    let output = tool(Command::new("systemd-analyze").arg("verify").arg(&unit));
    // It also says what it thinks of the machine's own units.
    let about = said(&output);
    let about: Vec<&str> = about.lines().filter(|line| line.contains("tranship")).collect();
    assert!(output.status.success() && about.is_empty(), "{}", said(&output));
    // 10 is open, 2.0 is what few services reach.
    let mut command = Command::new("systemd-analyze");
    let output = tool(command.args(["security", "--offline=true", "--threshold=20"]).arg(&unit));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("Overall exposure level"), "{}", said(&output));
}

#[tokio::test]
async fn the_unit_and_its_configuration_agree() {
    let unit = read("systemd/tranship.service");
    let config = checked("systemd/tranship.toml", "/run/credentials/tranship.service").await;
    assert!(seconds(&setting(&unit, "TimeoutStopSec")) >= time_to_stop(&config));
    let state = config["daemon"]["state"].as_str().unwrap();
    assert_eq!(state, format!("/var/lib/{}", setting(&unit, "StateDirectory")));
    assert_eq!(setting(&unit, "StateDirectoryMode"), "0700");
    let start = setting(&unit, "ExecStart");
    let arguments: Vec<&str> = start.split(' ').skip(1).collect();
    assert_eq!(arguments, ["serve", "--config", "/etc/tranship/tranship.toml"]);
    let tranship = Tranship::new();
    tranship.succeed(["serve", "--help"]).await;
    // The scheduler naps a minute at most, or a third of this.
    assert!(seconds(&setting(&unit, "WatchdogSec")) >= 30);

    let credentials: BTreeSet<String> = read("systemd/secrets.conf")
        .lines()
        .filter_map(|line| line.strip_prefix("LoadCredential="))
        .map(|credential| credential.split(':').next().unwrap().to_owned())
        .collect();
    let named = regex::Regex::new(r"/run/credentials/tranship\.service/(\w+)").unwrap();
    let file = read("systemd/tranship.toml");
    let named: BTreeSet<String> =
        named.captures_iter(&file).map(|named| named[1].to_owned()).collect();
    assert_eq!(credentials, named);
}

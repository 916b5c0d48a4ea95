//! A changed configuration takes effect, a bad one does not, and nobody is cut off.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::daemon_setup::{Home, LIMIT, Serving, copying};
use crate::support::{
    DockerRegistry, Family, Fault, Image, Kind, Place, Scripted, assert_same, eventually,
};

fn image(name: &str) -> Image {
    Image::single(Family::Oci, name, &[3_000])
}

async fn rules(daemon: &Serving) -> Vec<String> {
    let rules = daemon.get("/api/v1/rules").await;
    let names = rules.as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

async fn until_rules(daemon: &Serving, expected: &[&str]) {
    eventually("other rules", LIMIT, || async { (rules(daemon).await == expected).then_some(()) })
        .await;
}

fn registries() -> (Scripted, Scripted) {
    let source = Scripted::start();
    for name in ["one", "two", "three"] {
        image(name).load(&source, name, "v1");
    }
    (source, Scripted::start())
}

#[tokio::test]
async fn a_file_that_is_edited_or_replaced_is_taken() {
    let (source, target) = registries();
    let mut home = Home::new().mirror("one", &source, &target);
    let daemon = home.serve().await;
    daemon.ran("one").await;
    // Edited in place.
    home.set_rule("two", &copying("two", &source, &target));
    home.configure();
    until_rules(&daemon, &["one", "two"]).await;
    assert_eq!(daemon.ran("two").await["outcome"], "succeeded");
    assert_same(&source, &target, "two", "v1").await;
    // Replaced.
    home.remove_rule("one");
    home.set_rule("two", &copying("two", &source, &target).replace("0 0 1 1 *", "0 0 2 1 *"));
    let new = home.tranship.write("new.toml", home.text());
    fs::rename(new, home.file()).unwrap();
    until_rules(&daemon, &["two"]).await;
    let two = daemon.get("/api/v1/rules/two").await;
    assert_eq!(two["schedule"], "0 0 2 1 *");
    assert!(two["next_run"].as_str().unwrap().contains("-01-02T00:00:00Z"), "{two:#}");
    assert_eq!(daemon.text("/api/v1/rules/one").await.0, 404);
    let (_, metrics) = daemon.text("/metrics").await;
    assert!(metrics.contains("rule=\"two\"") && !metrics.contains("rule=\"one\""), "{metrics}");
    // It had run, and was not asked to run again.
    assert_eq!(source.traffic().count("GET", Kind::Tags), 2);
    daemon.into_process().terminate(Duration::from_secs(5)).await;
}

/// As Kubernetes mounts a ConfigMap: a link to a link that is swapped.
#[tokio::test]
async fn a_config_map_that_is_swapped_is_taken() {
    let (source, target) = registries();
    let mut home = Home::new().mirror("one", &source, &target);
    let folder = home.tranship.home().join("mounted");
    fs::create_dir(&folder).unwrap();
    let version = |name: &str, home: &Home| {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("tranship.toml"), home.text()).unwrap();
    };
    version("..v1", &home);
    symlink("..v1", folder.join("..data")).unwrap();
    symlink("..data/tranship.toml", folder.join("tranship.toml")).unwrap();
    let mut command = home.command();
    let daemon =
        home.spawn(command.arg("--config").arg(folder.join("tranship.toml"))).ready().await;
    daemon.ran("one").await;
    home.set_rule("three", &copying("three", &source, &target));
    version("..v2", &home);
    symlink("..v2", folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    until_rules(&daemon, &["one", "three"]).await;
    daemon.ran("three").await;
    assert_same(&source, &target, "three", "v1").await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_everybody_hears_of_it() {
    let (source, target) = registries();
    let home = Home::new().alerting().mirror("one", &source, &target);
    let daemon = home.serve().await;
    daemon.ran("one").await;
    daemon.unready_is(&[]).await;
    home.tranship.write("tranship.toml", home.text() + "[[sync]]\nname = \"bad\"\nwrong = 1\n");
    daemon.signal("HUP");
    let alert = home.alerts().came(1).await;
    assert!(alert.contains("the old one stays") && alert.contains("wrong"), "{alert}");
    assert_eq!(home.alerts().kinds(), ["failure"]);
    daemon.logged("the configuration stays as it was: tranship.toml:").await;
    daemon.unready_is(&["config"]).await;
    let status = daemon.get("/api/v1/status").await;
    assert!(status["config"]["rejected"].as_str().unwrap().contains("wrong"), "{status:#}");
    let successful = "tranship_config_last_reload_successful";
    assert_eq!(daemon.metrics().await.sum(successful, &[]), 0.0);
    assert_eq!(rules(&daemon).await, ["one"]);
    assert_eq!(daemon.run("one").await["outcome"], "succeeded");
    // Once more is not told once more.
    daemon.signal("HUP");
    let failed = [("outcome", "failed")];
    eventually("another reload", LIMIT, || async {
        let metrics = daemon.metrics().await;
        (metrics.sum("tranship_config_reloads_total", &failed) >= 2.0).then_some(())
    })
    .await;
    home.configure();
    assert!(home.alerts().came(2).await.contains("the configuration is good again"));
    assert_eq!(home.alerts().kinds(), ["failure", "recovery"]);
    daemon.unready_is(&[]).await;
    assert_eq!(daemon.metrics().await.sum(successful, &[]), 1.0);
    assert!(daemon.get("/api/v1/status").await["config"]["rejected"].is_null());
}

#[tokio::test]
async fn what_is_under_way_is_not_cut() {
    let source = Scripted::start();
    let big = Image::single(Family::Oci, "one", &[300_000]);
    big.load(&source, "one", "v1");
    let target = DockerRegistry::start().await;
    let drip = Fault::Drip { bytes: 10_000, every: Duration::from_millis(100) };
    source.on("GET", Kind::Blob).containing(&big.blobs[1].digest).fail(drip);
    let mut home = Home::new().mirror("one", &source, &target);
    let daemon = home.serve().await;
    eventually("the blob", LIMIT, || async {
        let transfers = daemon.get("/api/v1/transfers").await;
        (transfers[0]["bytes_done"].as_u64()? > 20_000).then_some(())
    })
    .await;
    // Its registry's settings change, and then the rule itself goes.
    home = home.registry(&source, "parallel = 2");
    home.configure();
    daemon.signal("HUP");
    daemon.logged("the configuration was loaded anew").await;
    home.remove_rule("one");
    home.set_rule("two", &copying("two", &source, &target));
    home.configure();
    until_rules(&daemon, &["two"]).await;
    assert_eq!(daemon.get("/api/v1/transfers").await.as_array().unwrap().len(), 1);
    eventually("the tag", LIMIT, || async { target.endpoint().manifest("one", "v1").await }).await;
    // Read in one go.
    let traffic = source.traffic();
    let layer = &big.blobs[1].digest;
    assert_eq!(traffic.of("GET", Kind::Blob).filter(|get| get.path.ends_with(layer)).count(), 1);
    source.clear_rules();
    assert_same(&source, &target, "one", "v1").await;
}

#[tokio::test]
async fn changed_credentials_take_effect() {
    let source = DockerRegistry::new().htpasswd("alice", "new password").run().await;
    let target = Scripted::start();
    image("one").push(&source, "one", "v1").await;
    let login = "username = \"alice\"\npassword = { file = \"password\" }";
    let home = Home::new().mirror("one", &source, &target).registry(&source, login);
    home.tranship.write("password", "old password\n");
    let daemon = home.serve().await;
    let run = daemon.ran("one").await;
    assert_eq!(run["outcome"], "failed");
    home.tranship.write("password", "new password\n");
    daemon.signal("HUP");
    daemon.logged("the configuration was loaded anew").await;
    assert_eq!(daemon.run("one").await["outcome"], "succeeded");
    assert_same(&source, &target, "one", "v1").await;
    assert!(!daemon.log().contains("password\""), "{}", daemon.log());
}

#[tokio::test]
async fn what_needs_a_new_start_is_said() {
    let (source, target) = registries();
    let mut home = Home::new().mirror("one", &source, &target);
    let daemon = home.serve().await;
    home.set_daemon("state = \"elsewhere\"");
    home.configure();
    daemon.logged("take effect at the next start").await;
    daemon.logged("the configuration was loaded anew").await;
    assert!(!home.tranship.home().join("elsewhere").exists());
}

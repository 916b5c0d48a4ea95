//! `tranship check`: what works at a registry, what is missing, and that nothing stays behind.

use serde_json::Value;

use crate::support::process::{Finished, Running};
use crate::support::products::gitlab::{GITLAB, REGISTRY};
use crate::support::products::{Acr, Area, Credential, Ghcr, GitLab, Right, acr};
use crate::support::{DockerRegistry, Family, Fault, Image, Kind, Place, Scripted, Tranship};

const LOGIN: &str = "username = \"bot\"\npassword = { env = \"TOKEN\" }\n";

fn image() -> Image {
    Image::single(Family::Oci, "app", &[300])
}

/// `tranship check` with these arguments; `TOKEN` is `hunter2`. `proxy`: where all hosts are, but those
/// of this machine.
async fn check(settings: &str, arguments: &[&str], proxy: Option<&str>) -> Finished {
    let tranship = Tranship::new();
    tranship.write("tranship.toml", settings);
    let mut command = tranship.command();
    command.arg("check").args(arguments).env("TOKEN", "hunter2");
    if let Some(proxy) = proxy {
        command.env("HTTP_PROXY", proxy).env("NO_PROXY", "127.0.0.1");
    }
    let finished = Running::new(&mut command).finish().await;
    assert!(!format!("{finished:?}").contains("hunter2"), "{finished:?}");
    finished
}

fn plain(place: &impl Place, more: &str) -> String {
    format!("[registry.\"{}\"]\ninsecure = \"http\"\n{more}", place.host())
}

/// The steps, as `name outcome`.
fn steps(finished: &Finished) -> Vec<String> {
    let document: Value = serde_json::from_str(&finished.stdout).unwrap();
    let step = |step: &Value| {
        let text = |key: &str| step[key].as_str().unwrap().to_owned();
        format!("{} {}", text("name"), text("outcome"))
    };
    document["steps"].as_array().unwrap().iter().map(step).collect()
}

const ALL_WORK: [&str; 8] = [
    "connect works",
    "login works",
    "list_repositories works",
    "list_tags works",
    "pull works",
    "referrers works",
    "push works",
    "delete works",
];

#[tokio::test]
async fn a_registry_in_which_everything_works_is_left_as_it_was() {
    let scripted = Scripted::start();
    scripted.quirks(|quirks| quirks.tags_first = true);
    image().load(&scripted, "acme/app", "v1");
    let real = DockerRegistry::start().await;
    image().push(&real, "acme/app", "v1").await;
    for (host, settings) in
        [(scripted.host(), plain(&scripted, "")), (real.host(), plain(&real, ""))]
    {
        let wanted = format!("{host}/acme/app");
        let checked = check(&settings, &["--write", &wanted, "--output", "json"], None).await;
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert_eq!(steps(&checked), ALL_WORK, "{checked:?}");
        let listed = check_tags(&settings, &wanted).await;
        assert_eq!(listed, "v1\n", "{host}");
    }
    assert_eq!(scripted.open_uploads(), 0);
    let pushed = scripted.traffic();
    let put: Vec<_> = pushed.of("PUT", Kind::Manifest).collect();
    assert_eq!(put.len(), 1);
    assert!(put[0].path.contains("/manifests/tranship-check-"), "{pushed}");
}

async fn check_tags(settings: &str, repository: &str) -> String {
    let tranship = Tranship::new();
    tranship.write("tranship.toml", settings);
    tranship.run(["list-tags", "--all", repository]).await.stdout
}

#[tokio::test]
async fn nothing_is_written_unless_that_is_asked_for() {
    let registry = Scripted::start();
    image().load(&registry, "acme/app", "v1");
    let settings = plain(&registry, "");
    let wanted = format!("{}/acme/app", registry.host());
    let checked = check(&settings, &[&wanted], None).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("push               not tried  add --write"), "{checked:?}");
    assert_eq!(registry.traffic().writes(), 0);
    // No repository: nothing of one is tried, and nothing can be pushed.
    let checked = check(&settings, &[registry.host()], None).await;
    assert!(checked.stdout.contains("list repositories  works      1 repository"), "{checked:?}");
    let refused = check(&settings, &["--write", registry.host()], None).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

/// What cannot be deleted again is not pushed.
#[tokio::test]
async fn nothing_is_pushed_to_a_registry_that_does_not_delete() {
    let registry = DockerRegistry::new().without_delete().run().await;
    image().push(&registry, "acme/app", "v1").await;
    let settings = plain(&registry, "");
    let wanted = format!("{}/acme/app", registry.host());
    let checked = check(&settings, &["--write", &wanted, "--output", "json"], None).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert_eq!(steps(&checked)[6..], ["push works", "delete fails"], "{checked:?}");
    assert_eq!(check_tags(&settings, &wanted).await, "v1\n");
}

/// A registry may refuse to delete only what is there.
#[tokio::test]
async fn what_stays_behind_is_named() {
    let registry = Scripted::start();
    image().load(&registry, "app", "v1");
    let refused = registry.on("DELETE", Kind::Manifest).after(1);
    refused.fail(Fault::status(403));
    let wanted = format!("{}/app", registry.host());
    let checked = check(&plain(&registry, ""), &["--write", &wanted], None).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let stays = format!("{wanted}:tranship-check-");
    assert!(checked.stdout.contains(&stays), "{checked:?}");
    assert!(checked.stdout.contains(" stays: delete it yourself"), "{checked:?}");
}

#[tokio::test]
async fn without_a_connection_or_a_login_nothing_else_is_tried() {
    let closed = "[registry.\"127.0.0.1:1\"]\ninsecure = \"http\"\n";
    let checked = check(closed, &["127.0.0.1:1/app", "--output", "json"], None).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert_eq!(
        steps(&checked)[..3],
        ["connect fails", "login not_tried", "list_repositories not_tried"]
    );

    let registry = DockerRegistry::new().htpasswd("bot", "another").run().await;
    let settings = plain(&registry, LOGIN);
    let checked = check(&settings, &[registry.host(), "--output", "json"], None).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert_eq!(
        steps(&checked)[..3],
        ["connect works", "login fails", "list_repositories not_tried"]
    );
    let checked = check(&settings, &[registry.host()], None).await;
    assert!(checked.stdout.contains("hint: "), "{checked:?}");
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let ghcr = Ghcr::start();
    ghcr.people(|people| {
        people.credential(Credential::new("bot", "hunter2").scopes(&["repo"]));
        people.member("bot", "acme", Right::Read);
    });
    ghcr.load(&image(), "acme/app", "v1");
    let settings = format!(
        "[registry.\"ghcr.io\"]\ninsecure = \"http\"\n{LOGIN}\
         [registry.\"api.github.com\"]\ninsecure = \"http\"\n"
    );
    let checked = check(&settings, &["ghcr.io/acme/app"], Some(&ghcr.url(0))).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("product GitHub Container Registry"), "{checked:?}");
    assert!(checked.stdout.contains("its API is at api.github.com"), "{checked:?}");
    assert!(checked.stdout.contains("read:packages"), "{checked:?}");

    let gitlab = GitLab::start();
    gitlab.project("acme/images").people(|people| {
        let token = Credential::new("bot", "hunter2").scopes(&["read_registry"]);
        people.credential(token).member("bot", "acme", Right::Write);
    });
    gitlab.load(&image(), "acme/images/app", "v1");
    let host = gitlab.host(REGISTRY);
    let settings = format!(
        "[registry.\"{host}\"]\ninsecure = \"http\"\n{LOGIN}product = \"gitlab\"\n\
         auth_realms = [\"http://{}\"]\n",
        gitlab.host(GITLAB)
    );
    let wanted = format!("{host}/acme/images/app");
    let checked = check(&settings, &["--write", &wanted], None).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("product GitLab, by the configuration"), "{checked:?}");
    assert!(
        checked.stdout.contains("list tags          works      1 tag, with their"),
        "{checked:?}"
    );
    assert!(checked.stdout.contains("push               FAILS"), "{checked:?}");
    assert!(checked.stdout.contains("write_registry to push"), "{checked:?}");
    assert_eq!(gitlab.traffic(Area::Registry).count("PUT", Kind::Manifest), 0);
}

#[tokio::test]
async fn what_is_only_assumed_of_a_product_is_said() {
    let acr = Acr::start();
    acr.people(|people| {
        people.credential(Credential::new("bot", "hunter2")).member("bot", "app", Right::Admin);
    });
    acr.load(&image(), "app", "v1");
    let host = acr::REGISTRY;
    let settings = format!("[registry.\"{host}\"]\ninsecure = \"http\"\n{LOGIN}");
    let wanted = format!("{host}/app");
    let checked = check(&settings, &["--write", &wanted], Some(&acr.url(0))).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("assumed: its list of tags"), "{checked:?}");
    assert!(checked.stdout.contains("user `bot`"), "{checked:?}");
}

//! Repositories of products whose APIs list them.

use crate::support::process::{Finished, Running};
use crate::support::products::{Area, Credential, Emulator, Harbor, Hub, Product, Right};
use crate::support::wire::Response;
use crate::support::{Family, Image, Tranship};

const MANY: usize = 150;

fn image() -> Image {
    Image::single(Family::Oci, "app", &[300])
}

/// `acme/app000` and so on, and one repository of somebody else.
fn fill<P: Product>(product: &Emulator<P>) {
    for number in 0..MANY {
        product.load(&image(), &format!("acme/app{number:03}"), "v1");
    }
    product.load(&image(), "other/app", "v1");
}

/// `tranship list-repos`, with the secret `hunter2` if there is a user.
async fn list<P: Product>(
    product: &Emulator<P>,
    host: &str,
    settings: &str,
    wanted: &str,
) -> Finished {
    let tranship = Tranship::new();
    tranship.write("password", "hunter2");
    tranship
        .write("tranship.toml", format!("[registry.\"{host}\"]\ninsecure = \"http\"\n{settings}"));
    let mut command = tranship.command();
    command.args(["list-repos", wanted]);
    command.env("HTTP_PROXY", product.url(0)).env("NO_PROXY", "127.0.0.1");
    let finished = Running::new(&mut command).finish().await;
    assert!(!format!("{finished:?}").contains("hunter2"), "{finished:?}");
    finished
}

const LOGIN: &str = "username = \"bot\"\npassword = { file = \"password\" }\n";
const HUB_API: &str = "[registry.\"hub.docker.com\"]\ninsecure = \"http\"\n";

fn hub() -> Hub {
    let hub = Hub::start();
    hub.people(|people| {
        people.credential(Credential::new("bot", "hunter2").scopes(&["repo:read"]));
        people.member("bot", "acme", Right::Read).public("acme/app007").public("other");
    });
    fill(&hub);
    hub
}

#[tokio::test]
async fn the_repositories_of_a_namespace_of_docker_hub() {
    let hub = hub();
    let all = list(&hub, "docker.io", &format!("{LOGIN}{HUB_API}"), "docker.io/acme").await;
    assert_eq!(all.code, Some(0), "{all:?}");
    assert_eq!(all.stdout.lines().count(), MANY, "{all:?}");
    assert_eq!(all.stdout.lines().next(), Some("docker.io/acme/app000"));
    assert_eq!(hub.traffic(Area::Api).len(), 2);
    // Without a login, only what is public.
    let public = list(&hub, "docker.io", HUB_API, "docker.io/acme").await;
    assert_eq!(public.stdout, "docker.io/acme/app007\n", "{public:?}");
}

#[tokio::test]
async fn pages_of_docker_hub_that_repeat_entries_list_each_repository_once() {
    let hub = hub();
    hub.shift_pages(-3);
    let all = list(&hub, "docker.io", &format!("{LOGIN}{HUB_API}"), "docker.io/acme").await;
    assert_eq!((all.code, all.stdout.lines().count()), (Some(0), MANY), "{all:?}");
}

#[tokio::test]
async fn docker_hub_wants_an_owner_and_the_right_password() {
    let hub = hub();
    let login = format!("{LOGIN}{HUB_API}");
    let finished = list(&hub, "docker.io", &login, "docker.io").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("begin with the owner, as in `docker.io/acme/**`"),
        "{finished:?}"
    );
    assert_eq!(hub.traffic(Area::Api).len(), 0);
    let hub = Hub::start();
    let finished = list(&hub, "docker.io", &login, "docker.io/acme").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("Incorrect authentication credentials"), "{finished:?}");
}

fn harbor() -> Harbor {
    let harbor = Harbor::start();
    harbor.project("acme").project("other").people(|people| {
        people.credential(Credential::new("bot", "hunter2")).member("bot", "acme", Right::Read);
        people.credential(Credential::new("admin", "hunter2")).admin("admin");
    });
    fill(&harbor);
    harbor
}

#[tokio::test]
async fn the_repositories_of_harbor_that_a_user_may_see() {
    let harbor = harbor();
    let host = harbor.host(0).to_owned();
    let settings = format!("product = \"harbor\"\n{LOGIN}");
    for wanted in [host.clone(), format!("{host}/acme")] {
        let all = list(&harbor, &host, &settings, &wanted).await;
        assert_eq!(all.code, Some(0), "{all:?}");
        assert_eq!(all.stdout.lines().count(), MANY, "{all:?}");
    }
    assert_eq!(harbor.traffic(Area::Api).len(), 4);
    let hidden = list(&harbor, &host, &settings, &format!("{host}/other")).await;
    assert_eq!(hidden.code, Some(1), "{hidden:?}");
    assert!(hidden.stderr.contains("forbidden"), "{hidden:?}");
}

#[tokio::test]
async fn the_catalog_of_harbor_is_read_if_its_api_is_down() {
    let harbor = harbor();
    harbor.down(Area::Api, Response::new(404));
    let host = harbor.host(0).to_owned();
    let settings = format!("product = \"harbor\"\n{}", LOGIN.replace("bot", "admin"));
    let all = list(&harbor, &host, &settings, &host).await;
    assert_eq!((all.code, all.stdout.lines().count()), (Some(0), MANY + 1), "{all:?}");
    assert!(all.stderr.contains("Harbor's API does not list the repositories"), "{all:?}");
}

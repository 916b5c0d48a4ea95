//! An organisation moves from GHCR to GitLab by one rule: complete, resumed after kills, and cheap to
//! repeat.

use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Finished, Running};
use crate::support::products::gitlab::{GITLAB, REGISTRY};
use crate::support::products::{Area, Credential, Ghcr, GitLab, Right};
use crate::support::{Family, Image, Kind, Tranship, eventually};

const REPOSITORIES: usize = 12;
const TAGS: usize = 25;

struct Move {
    ghcr: Ghcr,
    gitlab: GitLab,
    tranship: Tranship,
}

/// Of each repository: images of one platform and of several, and signed ones.
fn image(repository: usize, number: usize) -> Image {
    let name = format!("{repository}-{number}");
    match number % 5 {
        0 => Image::platforms(Family::Oci, &name, &["amd64", "arm64"]),
        1 => Image::single(Family::Docker, &name, &[700]),
        2 => Image::single(Family::Oci, &name, &[500, 900]).cosign(),
        _ => Image::single(Family::Oci, &name, &[600]),
    }
}

/// Package names have levels of their own, and a tail that GitLab's levels can hold.
fn repository(number: usize) -> String {
    if number.is_multiple_of(4) { format!("tools/app{number}") } else { format!("app{number}") }
}

fn tag(number: usize) -> String {
    format!("1.{number}.0")
}

impl Move {
    fn start() -> Self {
        let (ghcr, gitlab) = (Ghcr::start(), GitLab::start());
        ghcr.people(|people| {
            let token = Credential::new("bot", "ghp_secret").scopes(&["read:packages"]);
            people.credential(token).member("bot", "acme", Right::Read);
        });
        gitlab.project("acme/images").people(|people| {
            let token = Credential::new("deploy", "gldt-secret");
            let token = token.scopes(&["read_registry", "write_registry"]);
            people.credential(token).member("deploy", "acme/images", Right::Write);
        });
        for number in 0..REPOSITORIES {
            for tagged in 0..TAGS {
                let name = format!("acme/{}", repository(number));
                ghcr.load(&image(number, tagged), &name, &tag(tagged));
            }
        }
        let moving = Self { ghcr, gitlab, tranship: Tranship::new() };
        let (registry, tokens) = (moving.gitlab.host(REGISTRY), moving.gitlab.host(GITLAB));
        moving.tranship.write(
            "tranship.toml",
            format!(
                "[daemon]\nstate = \"state\"\n\
                 [registry.\"ghcr.io\"]\nusername = \"bot\"\npassword = {{ env = \"GHCR\" }}\n\
                 insecure = \"http\"\n[registry.\"api.github.com\"]\ninsecure = \"http\"\n\
                 [registry.\"{registry}\"]\nusername = \"deploy\"\n\
                 password = {{ env = \"GITLAB\" }}\ninsecure = \"http\"\nproduct = \"gitlab\"\n\
                 auth_realms = [\"http://{tokens}\"]\n\
                 [[sync]]\nname = \"move\"\nsource = \"ghcr.io/acme/**\"\n\
                 target = \"{registry}/acme/images/{{tail}}\"\n"
            ),
        );
        moving
    }

    fn command(&self, arguments: &[&str]) -> Running {
        let mut command = self.tranship.command();
        command
            .args(arguments)
            .env("HTTP_PROXY", self.ghcr.url(0))
            .env("NO_PROXY", "127.0.0.1")
            .env("GHCR", "ghp_secret")
            .env("GITLAB", "gldt-secret");
        Running::new(&mut command)
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        let finished = self.command(arguments).finish().await;
        assert!(!format!("{finished:?}").contains("secret"), "{finished:?}");
        finished
    }

    async fn counts(&self, arguments: &[&str]) -> Value {
        let finished = self.run(&[&["sync", "--output", "json"], arguments].concat()).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        report["rules"][0]["counts"].clone()
    }

    /// Manifests that were put at GitLab so far.
    fn put(&self) -> usize {
        self.gitlab.traffic(Area::Registry).count("PUT", Kind::Manifest)
    }
}

#[tokio::test]
async fn an_organisation_moves_completely_and_resumes_after_kills() {
    let moving = Move::start();
    for part in 1..=3 {
        let running = moving.command(&["sync"]);
        let wanted = moving.put() + 40 * part;
        eventually("a part at GitLab", Duration::from_secs(60), || async {
            (moving.put() >= wanted).then_some(())
        })
        .await;
        running.signal("-KILL").await;
    }
    let all = REPOSITORIES * TAGS;
    let counts = moving.counts(&[]).await;
    assert_eq!(counts["failed"], 0, "{counts}");
    assert_eq!(
        counts["copied"].as_u64().unwrap() + counts["unchanged"].as_u64().unwrap(),
        all as u64
    );
    for number in 0..REPOSITORIES {
        for tagged in 0..TAGS {
            let target = format!("acme/images/{}", repository(number));
            let expected = Some(image(number, tagged).digest);
            assert_eq!(moving.gitlab.tag(&target, &tag(tagged)), expected, "{target}");
        }
    }
    let verified = moving.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");

    // The second pass: lists only, and nothing is sent.
    let seen = |area| (moving.ghcr.traffic(area).len(), moving.gitlab.traffic(area).len());
    let (registries, apis) = (seen(Area::Registry), seen(Area::Api));
    let counts = moving.counts(&[]).await;
    assert_eq!(counts["unchanged"], all, "{counts}");
    let at_ghcr = moving.ghcr.traffic(Area::Registry);
    let looked_up = at_ghcr.iter().skip(registries.0);
    let looked_up = looked_up.filter(|seen| seen.method == "HEAD").count();
    assert_eq!(looked_up, 0, "of {all} tags");
    let sent = moving.gitlab.traffic(Area::Registry);
    let writes = sent.iter().skip(registries.1).filter(|seen| seen.method != "GET").count();
    assert_eq!(writes, 0);
    // A list of packages, and one page of versions for each repository (of more versions than tags).
    let pages = moving.ghcr.traffic(Area::Api).len() - apis.0;
    assert_eq!(pages, 1 + REPOSITORIES, "{:?}", moving.ghcr.asked(Area::Api));
}

//! What a pass costs over unchanged tags of products whose APIs tell what tags point at.

use serde_json::Value;

use crate::support::process::{Finished, Running};
use crate::support::products::{
    Acr, Area, Credential, Emulator, Harbor, Hub, Product, Quay, Right, acr, hub,
};
use crate::support::wire::Response;
use crate::support::{Kind, Place, Scripted, Tranship};

const TAGS: usize = 250;

/// A mirror of one repository of a product.
struct Pull<P: Product> {
    source: Emulator<P>,
    repository: &'static str,
    target: Scripted,
    tranship: Tranship,
}

impl<P: Product> Pull<P> {
    /// `settings`: of the source, with the secret in `password`.
    fn start(source: Emulator<P>, host: &str, repository: &'static str, settings: &str) -> Self {
        source.load_many(repository, TAGS, 1);
        let (target, tranship) = (Scripted::start(), Tranship::new());
        tranship.write("password", "hunter2");
        tranship.write(
            "tranship.toml",
            format!(
                "[registry.\"{host}\"]\ninsecure = \"http\"\n{settings}\n\
                 [registry.\"{target}\"]\ninsecure = \"http\"\nproduct = \"standard\"\n\
                 [[sync]]\nname = \"r\"\nsource = \"{host}/{repository}\"\n\
                 target = \"{target}/app\"\nreferrers = false\n",
                target = target.host(),
            ),
        );
        Self { source, repository, target, tranship }
    }

    async fn pass(&self) -> Finished {
        let mut command = self.tranship.command();
        command.args(["sync", "--output", "json"]);
        command.env("HTTP_PROXY", self.source.url(0)).env("NO_PROXY", "127.0.0.1");
        let finished = Running::new(&mut command).finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(!format!("{finished:?}").contains("hunter2"), "{finished:?}");
        for number in 0..TAGS {
            let tag = format!("tag-{number:03}");
            let copied = self.target.tag("app", &tag);
            assert!(copied.is_some() && copied == self.source.tag(self.repository, &tag), "{tag}");
        }
        finished
    }

    /// Requests of a pass in which nothing is to be done: to the API, for the standard list, and to look
    /// up tags at the source. The first one that needs a token is sent twice.
    async fn cost(&self) -> [usize; 3] {
        let count = || {
            let registry = self.source.traffic(Area::Registry);
            let lists = registry.count("GET", Kind::Tags);
            [self.source.traffic(Area::Api).len(), lists, registry.count("HEAD", Kind::Manifest)]
        };
        let before = count();
        let finished = self.pass().await;
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        let counts = &report["rules"][0]["counts"];
        assert_eq!(counts["copied"], 0, "{finished:?}");
        let after = count();
        std::array::from_fn(|at| after[at] - before[at])
    }
}

const LOGIN: &str = "username = \"bot\"\npassword = { file = \"password\" }\n";

fn acr() -> Pull<acr::Rules> {
    let acr = Acr::start();
    acr.people(|people| {
        people.credential(Credential::new("bot", "hunter2")).member("bot", "app", Right::Read);
    });
    Pull::start(acr, acr::REGISTRY, "app", LOGIN)
}

#[tokio::test]
async fn azure_tells_a_hundred_tags_a_page() {
    let pull = acr();
    pull.pass().await;
    assert_eq!(pull.cost().await, [1 + 3, 0, 0]);
}

#[tokio::test]
async fn tags_of_azure_are_looked_up_where_its_api_fails_or_gives_no_right() {
    for broken in [true, false] {
        let pull = acr();
        if broken {
            pull.source.down(Area::Api, Response::new(404));
        } else {
            pull.source.knobs(|knobs| knobs.metadata_right = "metadata_write");
        }
        pull.pass().await;
        let [_, lists, looked_up] = pull.cost().await;
        assert_eq!((lists, looked_up), (1, TAGS), "broken: {broken}");
    }
}

#[tokio::test]
async fn quay_tells_tags_of_public_repositories_to_anybody_and_others_for_an_oauth_token() {
    for (settings, public, api) in [
        ("", true, 3),
        (LOGIN, true, 3),
        ("username = \"$oauthtoken\"\npassword = { file = \"oauth\" }\n", false, 3),
        // A robot may read the repository and not the API.
        (LOGIN, false, 1),
    ] {
        let quay = Quay::start();
        quay.organization("acme").people(|people| {
            people.credential(Credential::new("bot", "hunter2"));
            people.credential(Credential::new("alice", "oauth").scopes(&["repo:read"]).any_user());
            people.member("bot", "acme", Right::Read).member("alice", "acme", Right::Read);
            if public {
                people.public("acme/app");
            }
        });
        let host = quay.host(0).to_owned();
        let pull = Pull::start(quay, &host, "acme/app", &format!("product = \"quay\"\n{settings}"));
        pull.tranship.write("oauth", "oauth");
        pull.pass().await;
        let expected = if api == 3 { [3, 0, 0] } else { [1, 1 + 3, TAGS] };
        assert_eq!(pull.cost().await, expected, "{settings} {public}");
        let secrets: Vec<_> = pull
            .source
            .traffic(Area::Api)
            .iter()
            .map(|it| it.header("authorization").map(str::to_owned))
            .collect();
        let oauth = settings.contains("oauth").then(|| "Bearer oauth".to_owned());
        assert!(secrets.iter().all(|it| *it == oauth), "{settings}: {secrets:?}");
    }
}

#[tokio::test]
async fn harbor_tells_a_hundred_artifacts_a_page() {
    let harbor = Harbor::start();
    harbor.project("acme").people(|people| {
        people.credential(Credential::new("bot", "hunter2")).member("bot", "acme", Right::Read);
    });
    let host = harbor.host(0).to_owned();
    let settings = format!("product = \"harbor\"\n{LOGIN}");
    let pull = Pull::start(harbor, &host, "acme/tools/app", &settings);
    pull.pass().await;
    assert_eq!(pull.cost().await, [3, 1 + 1, 0]);
}

/// The API gives a token for the login, and knows public repositories without one.
#[tokio::test]
async fn docker_hub_tells_a_hundred_tags_a_page() {
    for (repository, settings, logins) in
        [("library/app", "", 0), ("library/app", LOGIN, 1), ("acme/app", LOGIN, 1)]
    {
        let pull = hub(repository, settings);
        pull.pass().await;
        let before = logins_of(&pull);
        assert_eq!(pull.cost().await, [3, 0, 0], "{repository} {settings}");
        assert_eq!(logins_of(&pull) - before, logins, "{repository} {settings}");
    }
}

#[tokio::test]
async fn tags_of_docker_hub_are_looked_up_where_its_api_fails_or_has_no_digests() {
    let pull = hub("acme/app", LOGIN);
    pull.source.knobs(|knobs| knobs.tag_digests = false);
    pull.pass().await;
    assert_eq!(pull.cost().await, [3, 0, 1 + TAGS]);

    let pull = hub("acme/app", LOGIN);
    pull.source.down(Area::Api, Response::new(401));
    pull.pass().await;
    let before = logins_of(&pull);
    let [_, lists, looked_up] = pull.cost().await;
    assert_eq!((lists > 0, looked_up), (true, TAGS));
    // Docker Hub locks out who logs in over and over.
    assert!(logins_of(&pull) - before <= 2);
}

fn hub(repository: &'static str, settings: &str) -> Pull<hub::Rules> {
    let hub = Hub::start();
    hub.people(|people| {
        people.credential(Credential::new("bot", "hunter2").scopes(&["repo:read"]));
        people.member("bot", "acme", Right::Read).public("library");
    });
    let settings = format!("{settings}[registry.\"hub.docker.com\"]\ninsecure = \"http\"\n");
    Pull::start(hub, "docker.io", repository, &settings)
}

fn logins_of(pull: &Pull<hub::Rules>) -> usize {
    pull.source.asked(Area::Token).iter().filter(|it| it.starts_with("POST")).count()
}

//! The repositories of an owner in GHCR, which GitHub's API lists. A proxy stands in for both hosts.

use crate::support::process::{Finished, Running};
use crate::support::{Family, Fault, Image, Kind, Place, Scripted, Traffic, Tranship};

const HOSTS: &str = "[registry.\"ghcr.io\"]
username = \"bot\"
password = { env = \"GHCR_TOKEN\" }
insecure = \"http\"

[registry.\"api.github.com\"]
insecure = \"http\"
";

struct GitHub {
    both: Scripted,
    tranship: Tranship,
}

impl GitHub {
    fn new() -> Self {
        Self { both: Scripted::start(), tranship: Tranship::new() }
    }

    /// What the API answers to requests whose path or query contains this, from now on.
    fn answers(&self, containing: &str, answer: Fault) {
        self.both.on("GET", Kind::Other).containing(containing).fail(answer);
    }

    async fn run(&self, config: &str, arguments: &[&str]) -> Finished {
        self.tranship.write("tranship.toml", format!("{HOSTS}{config}"));
        let mut command = self.tranship.command();
        command
            .args(arguments)
            .env("HTTP_PROXY", self.both.url())
            .env_remove("NO_PROXY")
            .env("GHCR_TOKEN", "ghp_secret");
        let finished = Running::new(&mut command).finish().await;
        assert!(!format!("{finished:?}").contains("ghp_secret"), "{finished:?}");
        finished
    }

    /// The paths that were asked for at the API, with their queries.
    fn asked(&self) -> Vec<String> {
        let traffic: Traffic = self.both.traffic();
        let of_api = traffic.of("GET", Kind::Other);
        of_api
            .map(|seen| {
                assert_eq!(seen.header("authorization"), Some("Bearer ghp_secret"));
                assert_eq!(seen.header("host"), Some("api.github.com"));
                format!("{}?{}", seen.path, seen.query)
            })
            .collect()
    }
}

fn packages(names: &[&str]) -> Fault {
    let names: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name })).collect();
    Fault::status(200).body(serde_json::to_string(&names).unwrap())
}

const FIRST: &str = "/orgs/acme/packages?package_type=container&per_page=100";

#[tokio::test]
async fn an_organisation_is_mirrored_by_one_rule() {
    let (github, target) = (GitHub::new(), Scripted::start());
    let image = Image::single(Family::Oci, "app", &[300]);
    for name in ["acme/app", "acme/tools/cli"] {
        image.push(&github.both, name, "v1").await;
    }
    let next = "<http://api.github.com/orgs/acme/packages?page=2>; rel=\"next\"";
    github.answers("page=2", packages(&["tools/cli"]));
    github.answers("/orgs/acme/packages", packages(&["app"]).header("link", next));
    let config = format!(
        "[registry.\"{0}\"]\ninsecure = \"http\"\n\n[[sync]]\nname = \"all\"\n\
         source = \"ghcr.io/acme/**\"\ntarget = \"{0}/mirror/{{tail}}\"\n",
        target.host()
    );
    let finished = github.run(&config, &["sync"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for name in ["mirror/app", "mirror/tools/cli"] {
        assert_eq!(target.tag(name, "v1"), Some(image.digest.clone()), "{name}");
    }
    assert_eq!(github.asked(), [FIRST, "/orgs/acme/packages?page=2"]);
    assert_eq!(github.both.traffic().count("GET", Kind::Catalog), 0);
}

#[tokio::test]
async fn the_packages_of_a_user_are_listed_where_there_is_no_such_organisation() {
    let github = GitHub::new();
    github.answers("/orgs/", Fault::status(404).body(r#"{"message":"Not Found"}"#));
    github.answers("/users/", packages(&["app", "Not a name"]));
    let finished = github.run("", &["list-repos", "ghcr.io/acme"]).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "ghcr.io/acme/app\n"), "{finished:?}");
    assert!(finished.stderr.contains("Not a name"), "{finished:?}");
    assert_eq!(github.asked(), [FIRST, &FIRST.replace("orgs", "users")]);
}

#[tokio::test]
async fn a_list_that_github_refuses_is_an_error_in_its_words() {
    let github = GitHub::new();
    let words = r#"{"message":"You need at least read:packages scope to list packages."}"#;
    github.answers("/orgs/", Fault::status(403).body(words));
    let finished = github.run("", &["list-repos", "ghcr.io/acme"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("read:packages"), "{finished:?}");

    // Each owner has a list of its own, so one has to be named.
    for wanted in ["ghcr.io", "ghcr.io/acme*/app"] {
        let finished = github.run("", &["list-repos", wanted]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("begin with the owner"), "{finished:?}");
    }
    assert_eq!(github.asked(), [FIRST]);
}

/// A mirror of a repository with 30 tags of one image.
fn thirty_tags(github: &GitHub, target: &Scripted) -> String {
    github.both.quirks(|quirks| quirks.referrers_api = false);
    for number in 0..30 {
        Image::single(Family::Oci, "app", &[300]).load(
            &github.both,
            "acme/app",
            &number.to_string(),
        );
    }
    format!(
        "[registry.\"{0}\"]\ninsecure = \"http\"\n\n[[sync]]\nname = \"app\"\n\
         source = \"ghcr.io/acme/app\"\ntarget = \"{0}/app\"\n",
        target.host()
    )
}

/// Every manifest is a version: of these, one has all tags.
fn versions(tags: &[String]) -> Fault {
    let digest = Image::single(Family::Oci, "app", &[300]).digest;
    let version = |name: &str, tags: &[String]| {
        serde_json::json!({
            "name": name,
            "metadata": { "package_type": "container", "container": { "tags": tags } },
        })
    };
    let untagged = format!("sha256:{}", "0".repeat(64));
    let all = [version(&untagged, &[]), version(&digest, tags), version("no digest", &[])];
    Fault::status(200).body(serde_json::to_string(&all).unwrap())
}

#[tokio::test]
async fn versions_tell_what_tags_point_at() {
    let (github, target) = (GitHub::new(), Scripted::start());
    let config = thirty_tags(&github, &target);
    let tags: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    github.answers("/orgs/", Fault::status(404).body(r#"{"message":"Not Found"}"#));
    // What is beyond the third page is not worth its request for thirty tags.
    let next = "<http://api.github.com/users/acme/more?page=2>; rel=\"next\"";
    github.answers("page=2", versions(&[]).header("link", &next.replace("page=2", "page=3")));
    github.answers("page=3", versions(&[]).header("link", &next.replace("page=2", "page=4")));
    github.answers(
        "/users/acme/packages/container/app/versions",
        versions(&tags).header("link", next),
    );
    assert_eq!(github.run(&config, &["sync"]).await.code, Some(0));
    let mark = github.both.mark();
    let again = github.run(&config, &["sync"]).await;
    assert!(again.stdout.contains(" 0 copied, 30 unchanged"), "{again:?}");
    let asked = github.both.requests_since(mark);
    assert_eq!(asked.count("HEAD", Kind::Manifest), 0, "{asked}");
    let api = asked.of("GET", Kind::Other).map(|seen| format!("{}?{}", seen.path, seen.query));
    let versions = "acme/packages/container/app/versions?state=active&per_page=100";
    assert_eq!(
        api.collect::<Vec<_>>(),
        [
            format!("/orgs/{versions}"),
            format!("/users/{versions}"),
            "/users/acme/more?page=2".to_owned(),
            "/users/acme/more?page=3".to_owned(),
        ]
    );
}

#[tokio::test]
async fn tags_are_looked_up_while_the_api_is_down() {
    let (github, target) = (GitHub::new(), Scripted::start());
    let config = thirty_tags(&github, &target);
    github.answers("/versions", Fault::status(503));
    assert_eq!(github.run(&config, &["sync"]).await.code, Some(0));
    let mark = github.both.mark();
    let again = github.run(&config, &["sync"]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let told = "tags cannot be listed with their digests, so each is looked up";
    assert_eq!(again.stderr.matches(told).count(), 1, "{again:?}");
    assert_eq!(github.both.requests_since(mark).count("HEAD", Kind::Manifest), 30);
}

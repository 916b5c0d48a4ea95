//! What people are told when a product refuses, and what to do about it.

use crate::support::process::{Finished, Running};
use crate::support::products::gitlab::{GITLAB, REGISTRY};
use crate::support::products::{Area, Credential, GitLab, Right};
use crate::support::{Family, Image, Place, Scripted, Tranship};

struct Push {
    source: Scripted,
    gitlab: GitLab,
}

impl Push {
    fn start() -> Self {
        let (source, gitlab) = (Scripted::start(), GitLab::start());
        Image::single(Family::Oci, "app", &[100]).load(&source, "app", "v1");
        gitlab.project("acme/images").people(|people| {
            let token = |secret: &str, scopes: &[&str]| {
                Credential::new("bot", secret).scopes(scopes).any_user()
            };
            people
                .credential(token("writes", &["read_registry", "write_registry"]))
                .credential(token("reads", &["read_registry"]))
                .member("bot", "acme", Right::Write);
        });
        Self { source, gitlab }
    }

    /// Copies an image to a repository of GitLab with this token.
    async fn to(&self, repository: &str, token: &str) -> Finished {
        let (from, to) = (self.source.host(), self.gitlab.host(REGISTRY));
        let tranship = Tranship::new();
        tranship.write(
            "tranship.toml",
            format!(
                "[registry.\"{from}\"]\ninsecure = \"http\"\n[registry.\"{to}\"]\n\
                 username = \"bot\"\npassword = {{ env = \"TOKEN\" }}\ninsecure = \"http\"\n\
                 product = \"gitlab\"\nauth_realms = [\"http://{}\"]\n\
                 [[sync]]\nname = \"r\"\nsource = \"{from}/app\"\ntarget = \"{to}/{repository}\"\n",
                self.gitlab.host(GITLAB)
            ),
        );
        let mut command = tranship.command();
        command.arg("sync").env("TOKEN", token);
        Running::new(&mut command).finish().await
    }
}

/// GitLab answers 401 for what the token may not do: the password is not wrong.
#[tokio::test]
async fn what_a_token_of_gitlab_may_not_do_is_told_from_a_wrong_password() {
    let push = Push::start();
    let deepest = push.to("acme/images/a/b", "writes").await;
    assert_eq!(deepest.code, Some(0), "{deepest:?}");
    for (repository, token) in
        [("acme/images/a/b/c", "writes"), ("acme/none/a", "writes"), ("acme/images/a", "reads")]
    {
        let refused = push.to(repository, token).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let told =
            ["does not allow this", "more than two levels below its project", "write_registry"];
        assert!(told.iter().all(|words| refused.stderr.contains(words)), "{refused:?}");
        assert!(!refused.stderr.contains("password is wrong"), "{refused:?}");
        assert!(refused.stderr.contains("hint: check the permissions"), "{refused:?}");
    }
    let asked = push.gitlab.asked(Area::Token).len();
    let wrong = push.to("acme/images/a", "wrong").await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stderr.contains("the user name or the password is wrong"), "{wrong:?}");
    // GitLab bans an address that fails 300 times within a minute.
    assert!(push.gitlab.asked(Area::Token).len() - asked <= 2, "{wrong:?}");
}

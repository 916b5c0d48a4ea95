//! What a request must be allowed to do, and how that is written as the scope of a token.
//!
//! Grammar: distribution's "Token Scope Documentation", `type:name:action,action`.

use crate::oci::RepositoryName;

/// The kind of access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// `GET /v2/`: log in, nothing else.
    Base,
    /// List the repositories of the registry.
    Catalog,
    Pull,
    /// Pull, and read what Azure's API tells of the repository.
    Metadata,
    /// Pull and push.
    Push,
    Delete,
}

/// What a request must be allowed to do, and where. One token is fetched for each scope: a token for
/// many scopes would outgrow the header limits of servers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scope {
    pub repository: Option<RepositoryName>,
    pub access: Access,
    /// The repository that a blob is mounted from, which must be pullable as well.
    pub mount_from: Option<RepositoryName>,
}

impl Scope {
    pub fn base() -> Self {
        Self { repository: None, access: Access::Base, mount_from: None }
    }

    pub fn catalog() -> Self {
        Self { repository: None, access: Access::Catalog, mount_from: None }
    }

    pub fn pull(repository: RepositoryName) -> Self {
        Self { repository: Some(repository), access: Access::Pull, mount_from: None }
    }

    pub fn metadata(repository: RepositoryName) -> Self {
        Self { repository: Some(repository), access: Access::Metadata, mount_from: None }
    }

    pub fn push(repository: RepositoryName) -> Self {
        Self { repository: Some(repository), access: Access::Push, mount_from: None }
    }

    pub fn delete(repository: RepositoryName) -> Self {
        Self { repository: Some(repository), access: Access::Delete, mount_from: None }
    }

    pub fn mounting_from(mut self, repository: RepositoryName) -> Self {
        self.mount_from = Some(repository);
        self
    }

    /// The scope whose token also serves this one.
    pub(super) fn served_by(&self) -> Option<Self> {
        (self.access == Access::Pull && self.mount_from.is_none())
            .then(|| Self { access: Access::Push, ..self.clone() })
    }

    /// The scopes to ask a token server for. The needed one stands first: some servers read no
    /// further.
    ///
    /// Deletion asks for `*`, because Quay refuses scopes that name `delete`. A registry that wants
    /// something else says so in its challenge.
    pub(super) fn texts(&self) -> Vec<String> {
        let repository = |name: &RepositoryName, actions| format!("repository:{name}:{actions}");
        let actions = match self.access {
            Access::Base => return Vec::new(),
            Access::Catalog => return vec!["registry:catalog:*".to_owned()],
            Access::Pull => "pull",
            Access::Metadata => "pull,metadata_read",
            Access::Push => "pull,push",
            Access::Delete => "*",
        };
        let needed = self.repository.iter().map(|name| repository(name, actions));
        needed.chain(self.mount_from.iter().map(|name| repository(name, "pull"))).collect()
    }
}

/// How the scope in a challenge differs from what would be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Demand {
    /// It does not.
    Usual,
    /// A scope that names no repository (Gitea `*`, public ECR `aws`): it goes for all requests.
    Everywhere(String),
    /// Other texts for this scope.
    Here(Vec<String>),
}

/// Compares the `scope` of a challenge with what would be asked for.
pub(super) fn demand(challenge: &str, asked: &[String]) -> Demand {
    if challenge.len() > MAX_SCOPE {
        return Demand::Usual;
    }
    let items: Vec<&str> = challenge.split_whitespace().collect();
    if items.is_empty() {
        return Demand::Usual;
    }
    if items.iter().all(|item| Item::parse(item).is_none()) {
        return Demand::Everywhere(items.join(" "));
    }
    // `GET /v2/` asks for nothing and needs nothing; GHCR names a placeholder repository there.
    let asked_items: Vec<Item<'_>> = asked.iter().filter_map(|text| Item::parse(text)).collect();
    if asked.is_empty() || items.iter().all(|item| covered(item, &asked_items)) {
        return Demand::Usual;
    }
    let named = |asked: &Item<'_>| {
        items.iter().filter_map(|item| Item::parse(item)).any(|item| item.name == asked.name)
    };
    let rest = asked.iter().skip(1).filter(|text| !Item::parse(text).is_some_and(|i| named(&i)));
    Demand::Here(items.iter().map(|item| (*item).to_owned()).chain(rest.cloned()).collect())
}

/// A longer scope in a challenge is not followed: it would not fit into an address.
const MAX_SCOPE: usize = 2048;

struct Item<'a> {
    kind: &'a str,
    name: &'a str,
    actions: Vec<&'a str>,
}

impl<'a> Item<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        Some(Self { kind, name, actions: actions.split(',').collect() })
    }
}

/// `*` does not cover other actions: GitLab grants it to owners only, and `delete` to more users.
fn covered(item: &str, asked: &[Item<'_>]) -> bool {
    Item::parse(item).is_some_and(|item| {
        asked.iter().any(|asked| {
            (asked.kind, asked.name) == (item.kind, item.name)
                && item.actions.iter().all(|action| asked.actions.contains(action))
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn the_needed_scope_stands_first() {
        let cases = [
            (Scope::base(), vec![]),
            (Scope::catalog(), vec!["registry:catalog:*"]),
            (Scope::pull(name("a/b")), vec!["repository:a/b:pull"]),
            (Scope::delete(name("a/b")), vec!["repository:a/b:*"]),
            (
                Scope::push(name("z")).mounting_from(name("a")),
                vec!["repository:z:pull,push", "repository:a:pull"],
            ),
        ];
        for (scope, expected) in cases {
            assert_eq!(scope.texts(), expected, "{scope:?}");
        }
    }

    #[test]
    fn a_challenge_is_followed_where_it_wants_something_else() {
        let here = |texts: &[&str]| Demand::Here(texts.iter().map(|t| (*t).to_owned()).collect());
        let everywhere = |text: &str| Demand::Everywhere(text.to_owned());
        let pull = Scope::pull(name("a"));
        let push = Scope::push(name("a")).mounting_from(name("b"));
        let delete = Scope::delete(name("a"));
        let cases = [
            (&pull, "repository:a:pull", Demand::Usual),
            (&pull, "", Demand::Usual),
            (&push, "repository:a:push,pull", Demand::Usual),
            (&push, "repository:a:pull,push repository:b:pull", Demand::Usual),
            (&delete, "repository:a:*", Demand::Usual),
            (&delete, "repository:a:delete", here(&["repository:a:delete"])),
            (&pull, "repository:inner/a:pull", here(&["repository:inner/a:pull"])),
            (
                &push,
                "repository:a:pull,push,x",
                here(&["repository:a:pull,push,x", "repository:b:pull"]),
            ),
            (&pull, "*", everywhere("*")),
            (&pull, "aws", everywhere("aws")),
            (&Scope::base(), "repository:user/image:pull", Demand::Usual),
            (&Scope::base(), "*", everywhere("*")),
        ];
        for (scope, challenge, expected) in cases {
            assert_eq!(demand(challenge, &scope.texts()), expected, "{challenge}");
        }
        assert_eq!(demand(&"x".repeat(5000), &[]), Demand::Usual);
    }

    proptest! {
        /// What is followed is asked for from then on: no challenge is news twice.
        #[test]
        fn following_a_challenge_satisfies_it(challenge in "((repository|registry|x):(a|b|a/b)?:?(pull|push|,|\\*){0,3} ?|aws|\\*|[ -~]){0,4}") {
            let scope = Scope::push(name("a")).mounting_from(name("b"));
            if let Demand::Here(texts) = demand(&challenge, &scope.texts()) {
                for item in challenge.split_whitespace() {
                    prop_assert!(texts.iter().any(|text| text == item));
                }
                // The right to pull what is mounted is not lost.
                prop_assert!(texts.iter().any(|text| text.starts_with("repository:b:")
                    || text.ends_with(":b:") || Item::parse(text).is_some_and(|i| i.name == "b")));
            }
        }
    }
}

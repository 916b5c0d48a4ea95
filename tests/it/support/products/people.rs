//! Who there is at a product, with which credentials, and who may do what.

/// What somebody may do with a repository. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    Read,
    Write,
    Admin,
}

/// A password or token.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Whose it is.
    pub holder: String,
    /// The user name that goes with it. `None`: any will do.
    pub user: Option<String>,
    pub secret: String,
    /// What the token is for, in the product's words. A password has no scopes.
    pub scopes: Option<Vec<String>>,
    pub expired: bool,
}

impl Credential {
    /// A password, or a token for everything that its holder may do.
    pub fn new(holder: &str, secret: &str) -> Self {
        Self {
            holder: holder.to_owned(),
            user: Some(holder.to_owned()),
            secret: secret.to_owned(),
            scopes: None,
            expired: false,
        }
    }

    /// A token for no more than this.
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
        self
    }

    /// A token that goes with any user name.
    pub fn any_user(mut self) -> Self {
        self.user = None;
        self
    }

    pub fn expired(mut self) -> Self {
        self.expired = true;
        self
    }

    /// Whether it is good for one of these.
    pub fn has(&self, scopes: &[&str]) -> bool {
        match &self.scopes {
            None => true,
            Some(own) => own.iter().any(|scope| scopes.contains(&scope.as_str())),
        }
    }
}

#[derive(Default)]
pub struct People {
    credentials: Vec<Credential>,
    /// Holder, prefix of repositories, right.
    members: Vec<(String, String, Right)>,
    /// Prefixes of repositories that everybody may read.
    public: Vec<String>,
    admins: Vec<String>,
}

impl People {
    pub fn credential(&mut self, credential: Credential) -> &mut Self {
        self.credentials.push(credential);
        self
    }

    /// Gives a right on a repository and on all below it.
    pub fn member(&mut self, holder: &str, prefix: &str, right: Right) -> &mut Self {
        self.members.push((holder.to_owned(), prefix.to_owned(), right));
        self
    }

    /// Lets everybody read a repository and all below it.
    pub fn public(&mut self, prefix: &str) -> &mut Self {
        self.public.push(prefix.to_owned());
        self
    }

    /// Makes somebody an administrator of the whole product.
    pub fn admin(&mut self, holder: &str) -> &mut Self {
        self.admins.push(holder.to_owned());
        self
    }

    pub fn is_admin(&self, holder: &str) -> bool {
        self.admins.iter().any(|admin| admin == holder)
    }

    /// The credential that this user name and password show.
    pub fn login(&self, user: &str, secret: &str) -> Option<Credential> {
        let fits = |credential: &&Credential| {
            let named = credential.user.as_ref().map_or(!user.is_empty(), |own| own == user);
            named && credential.secret == secret && !credential.expired
        };
        self.credentials.iter().find(fits).cloned()
    }

    /// The credential that a token alone shows.
    pub fn token(&self, secret: &str) -> Option<Credential> {
        let fits = |credential: &&Credential| credential.secret == secret && !credential.expired;
        self.credentials.iter().find(fits).cloned()
    }

    /// Whether somebody has a right of their own on a repository.
    pub fn is_member(&self, holder: Option<&str>, repository: &str) -> bool {
        let own = |(name, prefix, _): &(String, String, Right)| {
            Some(name.as_str()) == holder && lies_under(repository, prefix)
        };
        self.members.iter().any(own)
    }

    pub fn is_public(&self, repository: &str) -> bool {
        self.public.iter().any(|prefix| lies_under(repository, prefix))
    }

    /// What somebody may do with a repository; nobody in particular is `None`.
    pub fn right(&self, holder: Option<&str>, repository: &str) -> Option<Right> {
        let Some(holder) = holder else { return self.is_public(repository).then_some(Right::Read) };
        if self.is_admin(holder) {
            return Some(Right::Admin);
        }
        let own = self
            .members
            .iter()
            .filter(|(name, prefix, _)| name == holder && lies_under(repository, prefix));
        let public = self.is_public(repository).then_some(Right::Read);
        own.map(|(_, _, right)| *right).chain(public).max()
    }
}

/// Whether a repository is this one, or below it.
pub fn lies_under(repository: &str, prefix: &str) -> bool {
    let rest = repository.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

//! Whether a registry does what its users need: tried step by step, with what is missing and how to get
//! it. Nothing stays behind.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::fair::Flow;
use crate::oci::{Manifest, RepositoryName, Tag, media_type};
use crate::registry::{Product, Registry};
use crate::repository::{
    Cause, Error, ErrorKind, Failure, Placement, Reference, Repository, Result, UploadStart,
};
use crate::text::counted;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub product: Option<Product>,
    /// In the order in which they were tried.
    pub steps: Vec<Step>,
}

/// One thing that users need.
#[derive(Debug, Serialize)]
pub struct Step {
    pub name: Name,
    pub outcome: Outcome,
    /// What was seen, or why it was not tried.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// The host has an address, the connection is made, and the certificate is trusted.
    Connect,
    Login,
    ListRepositories,
    ListTags,
    Pull,
    /// Whether there is a referrers API.
    Referrers,
    Push,
    Delete,
}

impl Name {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Login => "log in",
            Self::ListRepositories => "list repositories",
            Self::ListTags => "list tags",
            Self::Pull => "pull",
            Self::Referrers => "referrers API",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Works,
    Fails,
    NotTried,
}

impl Report {
    pub fn has_failed(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == Outcome::Fails)
    }

    fn add(&mut self, name: Name, outcome: Outcome, detail: impl Into<String>) {
        self.steps.push(Step { name, outcome, detail: detail.into(), failure: None });
    }

    fn works(&mut self, name: Name, detail: impl Into<String>) {
        self.add(name, Outcome::Works, detail);
    }

    fn fails(&mut self, name: Name, detail: impl Into<String>, error: &Error) {
        let (detail, failure) = (detail.into(), Some(Failure::of(error)));
        self.steps.push(Step { name, outcome: Outcome::Fails, detail, failure });
    }

    fn not_tried(&mut self, names: &[Name], why: &str) {
        names.iter().for_each(|name| self.add(*name, Outcome::NotTried, why));
    }
}

const IN_REPOSITORY: [Name; 5] =
    [Name::ListTags, Name::Pull, Name::Referrers, Name::Push, Name::Delete];

/// Tries a registry, and a repository of it if one is named. `writes`: pushing and deleting, too.
pub async fn check(
    registry: &Arc<Registry>,
    repository: Option<RepositoryName>,
    writes: bool,
) -> Report {
    let mut report = Report { product: None, steps: Vec::new() };
    if !log_in(registry, &mut report).await {
        return report;
    }
    report.product = Some(registry.product(Flow::ALONE).await);
    list_repositories(registry, repository.as_ref(), &mut report).await;
    let Some(name) = repository else {
        report.not_tried(&IN_REPOSITORY, "name a repository, as in HOST/REPOSITORY");
        return report;
    };
    let repository = registry.repository(Flow::ALONE, name, writes);
    read(&*repository, &mut report).await;
    if writes {
        write(&*repository, &mut report).await;
    } else {
        report.not_tried(&[Name::Push, Name::Delete], "add --write");
    }
    report
}

/// Whether the registry can be asked anything else.
async fn log_in(registry: &Registry, report: &mut Report) -> bool {
    let credentials = registry.credentials().await;
    let error = match registry.log_in().await {
        Ok(checked) => {
            report.works(Name::Connect, "");
            let detail = match (credentials, checked) {
                (Some(credentials), true) => credentials,
                (Some(credentials), false) => {
                    format!("not checked, because the registry lets everybody in: {credentials}")
                }
                (None, _) => "without credentials: the registry lets everybody in".to_owned(),
            };
            report.works(Name::Login, detail);
            return true;
        }
        Err(error) => error,
    };
    let is_about_login = matches!(
        error.kind(),
        ErrorKind::Unauthenticated
            | ErrorKind::WrongCredentials
            | ErrorKind::Denied
            | ErrorKind::Credentials
    );
    if is_about_login {
        report.works(Name::Connect, "");
        report.fails(Name::Login, credentials.unwrap_or_default(), &error);
    } else {
        report.fails(Name::Connect, "", &error);
        report.not_tried(&[Name::Login], "there is no connection");
    }
    report.not_tried(&[Name::ListRepositories], "it needs a connection and a login");
    report.not_tried(&IN_REPOSITORY, "it needs a connection and a login");
    false
}

async fn list_repositories(
    registry: &Registry,
    named: Option<&RepositoryName>,
    report: &mut Report,
) {
    // Some products list those of one owner.
    let owner = named.and_then(|name| name.as_str().split_once('/')).map_or("", |(owner, _)| owner);
    match registry.repositories(&[owner], Flow::ALONE).await {
        Ok(found) => {
            let below = format!("{owner}/");
            let found =
                found.iter().filter(|it| owner.is_empty() || it.as_str().starts_with(&below));
            let found = counted(found.count(), "repository", "repositories");
            let place = if owner.is_empty() { String::new() } else { format!(" of {owner}") };
            report.works(Name::ListRepositories, format!("{found}{place}"));
        }
        Err(error) if owner.is_empty() && error.kind() == ErrorKind::Unsupported => {
            let why = error.cause().to_string();
            report.not_tried(&[Name::ListRepositories], &why);
        }
        Err(error) => report.fails(Name::ListRepositories, "", &error),
    }
}

async fn read(repository: &dyn Repository, report: &mut Report) {
    let none = "there is no such repository, or it has no tags";
    let tags = match repository.listed_tags().await {
        Ok(tags) => tags,
        Err(error) => {
            report.fails(Name::ListTags, "", &error);
            report.not_tried(&[Name::Pull, Name::Referrers], "no tag is known");
            return;
        }
    };
    let Some(listed) = tags.as_ref().and_then(|tags| tags.first()) else {
        report.works(Name::ListTags, none);
        report.not_tried(&[Name::Pull, Name::Referrers], none);
        return;
    };
    let tags = tags.as_deref().unwrap_or_default();
    let with_digests = tags.iter().filter(|it| it.digest.is_some()).count();
    let detail = match (tags.len(), with_digests) {
        (all, 0) => format!("{}, without their digests", counted(all, "tag", "tags")),
        (all, some) if all == some => {
            format!("{}, with their digests", counted(all, "tag", "tags"))
        }
        (all, some) => format!("{}, {some} with their digests", counted(all, "tag", "tags")),
    };
    report.works(Name::ListTags, detail);
    let image = format!("{}:{}", repository.name(), listed.tag);
    let digest = match repository.resolve(&Reference::Tag(listed.tag.clone())).await {
        Ok(Some(found)) => found.digest,
        Ok(None) => {
            report.fails(Name::Pull, "", &Error::new("look up", image, Cause::Missing));
            return report.not_tried(&[Name::Referrers], "no image is known");
        }
        Err(error) => {
            report.fails(Name::Pull, "", &error);
            return report.not_tried(&[Name::Referrers], "no image is known");
        }
    };
    report.works(Name::Pull, format!("{image} is {digest}"));
    match repository.referrers(&digest).await {
        Ok(Some(_)) => report.works(Name::Referrers, "there is one"),
        Ok(None) => report.works(Name::Referrers, "there is none: fallback tags are used"),
        Err(error) => report.fails(Name::Referrers, "", &error),
    }
}

/// Tries to push and to delete. What could not be deleted again is not pushed.
async fn write(repository: &dyn Repository, report: &mut Report) {
    let (probe, tag) = match placeholder(repository) {
        Ok(made) => made,
        Err(error) => return report.fails(Name::Push, "", &error),
    };
    // Nobody has a blob with this digest.
    let begun = match repository.start_upload(&probe.digest, None).await {
        Ok(UploadStart::Present) => Ok(()),
        Ok(UploadStart::Session(session)) => {
            repository.cancel_upload(&session).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = begun {
        report.fails(Name::Push, "", &error);
        return report.not_tried(&[Name::Delete], "nothing can be pushed");
    }
    // It is not there either, so nothing is deleted.
    if let Err(error) = repository.delete(&Reference::Digest(probe.digest.clone())).await {
        let detail = "an upload was begun and given up; no image was pushed, because it could not be \
                      deleted again";
        report.works(Name::Push, detail);
        return report.fails(Name::Delete, "", &error);
    }
    if let Err(error) = repository.put_manifest(&Placement::Tag(tag.clone()), &probe).await {
        report.fails(Name::Push, "", &error);
        // It may have been carried out.
        let _ = remove(repository, &probe, &tag).await;
        return report.not_tried(&[Name::Delete], "nothing was pushed");
    }
    let image = format!("{}:{tag}", repository.name());
    report.works(Name::Push, format!("{image} was pushed"));
    match remove(repository, &probe, &tag).await {
        Ok(()) => report.works(Name::Delete, format!("{image} was deleted")),
        Err(error) => {
            report.fails(Name::Delete, format!("{image} stays: delete it yourself"), &error);
        }
    }
}

/// Removes what was pushed, and looks whether it is gone.
async fn remove(repository: &dyn Repository, probe: &Manifest, tag: &Tag) -> Result<()> {
    let by_digest = Reference::Digest(probe.digest.clone());
    let by_tag = Reference::Tag(tag.clone());
    match repository.delete(&by_digest).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::Tagged => {
            repository.delete(&by_tag).await?;
            repository.delete(&by_digest).await?;
        }
        Err(error) => return Err(error),
    }
    if repository.resolve(&by_tag).await?.is_none() {
        return Ok(());
    }
    let image = format!("{}:{tag}", repository.name());
    let message = "the registry says that it is deleted, and still has it".to_owned();
    Err(Error::new("delete", image, Cause::Protocol(message)))
}

/// An image without any content that nobody else has, and a tag for it.
fn placeholder(repository: &dyn Repository) -> Result<(Manifest, Tag)> {
    let failed = |message: String| {
        Error::new("make an image for", repository.name(), Cause::Protocol(message))
    };
    let nonce = format!("{:016x}", fastrand::u64(..));
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [],
        "annotations": {
            "org.opencontainers.image.description": "pushed by tranship to try a registry",
            "tranship.check": nonce,
        },
    });
    let manifest = Manifest::parse(document.to_string().into(), None, None)
        .map_err(|error| failed(error.to_string()))?;
    let tag = format!("tranship-check-{nonce}").parse::<Tag>();
    Ok((manifest, tag.map_err(|error| failed(error.to_string()))?))
}

//! Addresses: where repositories are, one of them, and an image in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::reference::{ImageReference, ReferenceError, write_image};
use super::{Digest, RegistryHost, RepositoryName, Tag};

/// What holds repositories: a registry, or something on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    Registry(RegistryHost),
    /// A folder below which every layout is a repository, named by its path.
    Folder(PathBuf),
    /// `oci:DIR`: a layout is its only repository.
    Layout(PathBuf),
    /// `oci-archive:FILE`: an archive is its only repository.
    Archive(PathBuf),
}

impl Store {
    /// The address of a repository in it. Where there is only one, its name does not matter.
    pub fn address(&self, name: &RepositoryName) -> Address {
        match self {
            Self::Registry(host) => Address::Registry(host.clone(), name.clone()),
            Self::Folder(folder) => Address::LayoutIn(folder.clone(), name.clone()),
            Self::Layout(folder) => Address::Layout(folder.clone()),
            Self::Archive(file) => Address::Archive(file.clone()),
        }
    }

    pub fn registry(&self) -> Option<&RegistryHost> {
        match self {
            Self::Registry(host) => Some(host),
            Self::Folder(_) | Self::Layout(_) | Self::Archive(_) => None,
        }
    }

    /// The same, with relative paths made to start at `folder`.
    pub fn below(self, folder: &Path) -> Self {
        match self {
            Self::Registry(_) => self,
            // Without the slash at the end that patterns leave.
            Self::Folder(path) => Self::Folder(folder.join(path).components().collect()),
            Self::Layout(path) => Self::Layout(folder.join(path)),
            Self::Archive(path) => Self::Archive(folder.join(path)),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(host) => host.fmt(f),
            Self::Folder(path) | Self::Layout(path) => write!(f, "oci:{}", path.display()),
            Self::Archive(path) => write!(f, "oci-archive:{}", path.display()),
        }
    }
}

/// The name of the repository that is a layout or an archive by itself: the last part of its path
/// without `.tar`, or `layout` where that cannot be a repository's name.
pub fn repository_of(path: &Path) -> RepositoryName {
    let last = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = last.strip_suffix(".tar").unwrap_or(&last).parse();
    name.unwrap_or_else(|_| RepositoryName::from_valid("layout"))
}

/// Where a repository is: in a registry, or on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Registry(RegistryHost, RepositoryName),
    /// `oci:DIR`: an OCI image layout.
    Layout(PathBuf),
    /// One of the layouts below a folder, which share their blobs.
    LayoutIn(PathBuf, RepositoryName),
    /// `oci-archive:FILE`: an OCI image layout in a tar file.
    Archive(PathBuf),
}

/// A repository, and the image in it that was named, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageAddress {
    pub repository: Address,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

impl Address {
    /// The registry that holds it, unless it is on disk.
    pub fn host(&self) -> Option<&RegistryHost> {
        match self {
            Self::Registry(host, _) => Some(host),
            Self::Layout(_) | Self::LayoutIn(..) | Self::Archive(_) => None,
        }
    }

    /// The path of what is on disk.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Registry(..) => None,
            Self::Layout(path) | Self::Archive(path) => Some(path.clone()),
            Self::LayoutIn(folder, name) => Some(folder.join(name.as_str())),
        }
    }

    /// The store that holds the repository, and the repository's name in it.
    pub fn split(self) -> (Store, RepositoryName) {
        match self {
            Self::Registry(host, name) => (Store::Registry(host), name),
            Self::LayoutIn(folder, name) => (Store::Folder(folder), name),
            Self::Layout(folder) => {
                let name = repository_of(&folder);
                (Store::Layout(folder), name)
            }
            Self::Archive(file) => {
                let name = repository_of(&file);
                (Store::Archive(file), name)
            }
        }
    }
}

impl ImageAddress {
    /// What it means if the path ends at one of its colons: the layout or archive there, and the full
    /// name of an image in it, such as `docker.io/library/alpine:3.22`. The shortest path first.
    pub fn with_full_names(&self) -> Vec<(Address, String)> {
        let make: fn(PathBuf) -> Address = match &self.repository {
            Address::Layout(_) => Address::Layout,
            Address::Archive(_) => Address::Archive,
            Address::Registry(..) | Address::LayoutIn(..) => return Vec::new(),
        };
        let path = self.repository.path().unwrap_or_default();
        let (Some(path), Some(tag), None) = (path.to_str(), &self.tag, &self.digest) else {
            return Vec::new();
        };
        let splits = path.match_indices(':').filter(|(at, _)| *at > 0);
        splits
            .map(|(at, _)| (make(path[..at].into()), format!("{}:{tag}", &path[at + 1..])))
            .collect()
    }

    /// Whether a tag or a digest was named.
    pub fn names_image(&self) -> bool {
        self.tag.is_some() || self.digest.is_some()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(host, repository) => write!(f, "{host}/{repository}"),
            Self::Layout(folder) => write!(f, "oci:{}", folder.display()),
            Self::LayoutIn(folder, name) => Self::Layout(folder.join(name.as_str())).fmt(f),
            Self::Archive(file) => write!(f, "oci-archive:{}", file.display()),
        }
    }
}

impl fmt::Display for ImageAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        write_image(f, self.tag.as_ref(), self.digest.as_ref())
    }
}

/// Where skopeo finds images and tranship does not, and what to do instead.
const OTHERS: [(&str, &str); 7] = [
    ("dir:", CONVERT),
    ("docker-archive:", CONVERT),
    (
        "docker-daemon:",
        "`docker push` to a registry, or `docker save -o FILE` (Docker 25 or later) and oci-archive:FILE",
    ),
    ("containers-storage:", "`podman push IMAGE oci:DIR`, and oci:DIR"),
    ("ostree:", CONVERT),
    ("sif:", CONVERT),
    ("tarball:", CONVERT),
];

const CONVERT: &str = "oci:DIR or oci-archive:FILE, into which `skopeo copy` converts it";

impl FromStr for ImageAddress {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, tag, digest) = split_path(rest, "oci-archive")?;
            return Ok(Self { repository: Address::Archive(path), tag, digest });
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, tag, digest) = split_path(rest, "oci")?;
            return Ok(Self { repository: Address::Layout(path), tag, digest });
        }
        let other = OTHERS.iter().find(|(transport, _)| text.starts_with(transport));
        if let Some(&(transport, instead)) = other {
            return Err(ReferenceError::OtherTransport { transport, instead });
        }
        let ImageReference { registry, repository, tag, digest } = text.parse()?;
        Ok(Self { repository: Address::Registry(registry, repository), tag, digest })
    }
}

/// Splits `PATH[:TAG][@DIGEST]`. A colon before the last slash belongs to the path, or to a full name
/// behind it: only what is on disk can tell.
fn split_path(
    text: &str,
    transport: &'static str,
) -> Result<(PathBuf, Option<Tag>, Option<Digest>), ReferenceError> {
    let digest =
        text.rsplit_once('@').and_then(|(rest, digest)| Some((rest, digest.parse().ok()?)));
    let (text, digest) = digest.map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.parse()?)),
        _ => (text, None),
    };
    if path.is_empty() {
        return Err(ReferenceError::NoPath(transport));
    }
    Ok((PathBuf::from(path), tag, digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::assert_refused;
    use proptest::prelude::*;

    #[test]
    fn layouts_have_paths_and_tags() {
        let layout = |path: &str, tag: Option<&str>| ImageAddress {
            repository: Address::Layout(path.into()),
            tag: tag.map(|tag| tag.parse().unwrap()),
            digest: None,
        };
        assert_eq!("oci:a/b".parse(), Ok(layout("a/b", None)));
        assert_eq!("oci:/a/b:1.0".parse(), Ok(layout("/a/b", Some("1.0"))));
        assert_eq!("oci:/a:1/b".parse(), Ok(layout("/a:1/b", None)));
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, tag) in [("oci:a/b", None), ("oci:a/b:1.0", Some("1.0"))] {
            let expected =
                ImageAddress { digest: Some(digest.parse().unwrap()), ..layout("a/b", tag) };
            assert_eq!(format!("{text}@{digest}").parse(), Ok(expected));
        }
        assert_eq!("oci:a@b".parse(), Ok(layout("a@b", None)));
        assert_eq!(
            "oci-archive:x.tar:1".parse::<ImageAddress>().unwrap().to_string(),
            "oci-archive:x.tar:1"
        );
    }

    #[test]
    fn a_full_name_may_stand_behind_a_path() {
        let named = |text: &str| {
            let names = text.parse::<ImageAddress>().unwrap().with_full_names();
            names.into_iter().map(|(at, name)| format!("{at} {name}")).collect::<Vec<_>>()
        };
        assert_eq!(named("oci:d:ghcr.io/a/b:1"), ["oci:d ghcr.io/a/b:1"]);
        assert_eq!(named("oci:d:alpine:1"), ["oci:d alpine:1"]);
        let with_port =
            ["oci-archive:/d.tar localhost:5000/a:1", "oci-archive:/d.tar:localhost 5000/a:1"];
        assert_eq!(named("oci-archive:/d.tar:localhost:5000/a:1"), with_port);
        for none in ["oci:d", "oci:d:1", "ghcr.io/a/b:1", "oci:d:ghcr.io/a/b"] {
            assert_eq!(named(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        assert_refused::<ImageAddress>(&[
            ("dir:/tmp/x", "`dir:` is not supported: use oci:DIR or oci-archive:FILE"),
            ("docker-daemon:app:1", "`docker save -o FILE`"),
            ("containers-storage:app", "`podman push IMAGE oci:DIR`"),
            ("tarball:x.tar", "not supported"),
            ("oci:", "needs a path"),
            ("oci:/tmp/x:a b", "not a tag"),
            ("oci-archive:", "needs a path"),
            ("ghcr.io/Acme/app", "upper-case"),
        ]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in "\\PC{0,40}|(oci:)?[a-z0-9./:@_-]{0,60}") {
            if let Ok(address) = text.parse::<ImageAddress>() {
                prop_assert_eq!(address.to_string().parse::<ImageAddress>().unwrap(), address);
            }
        }
    }
}

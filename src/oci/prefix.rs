//! Where images are, up to the end of a part of their path: a registry, or some of its
//! repositories. What a mirror host stands for is said with two of these.

use std::fmt;
use std::str::FromStr;

use super::reference::{ImageReference, ReferenceError, RegistryHost, RepositoryName, split_host};

/// `host[:port][/path]`, as it stands in front of the names of images.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePrefix {
    pub registry: RegistryHost,
    /// `None`: the whole registry.
    pub path: Option<RepositoryName>,
}

/// Why a text is not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Docker takes it for the first part of a name at Docker Hub.
    #[error("`{0}` does not begin with a host: write `docker.io/{0}` for Docker Hub, or its port")]
    NoHost(String),
}

impl ImagePrefix {
    /// How much of a name it covers, to find the longest of several.
    pub fn length(&self) -> usize {
        self.registry.as_str().len() + self.path.as_ref().map_or(0, |path| path.as_str().len() + 1)
    }

    /// What follows it in the name of a repository, without a slash in front: empty if the prefix
    /// is the whole name. `None`: the name does not begin with it.
    pub fn strip<'a>(&self, image: &'a ImageReference) -> Option<&'a str> {
        if image.registry != self.registry {
            return None;
        }
        let name = image.repository.as_str();
        let Some(path) = &self.path else { return Some(name) };
        let rest = name.strip_prefix(path.as_str())?;
        // `hub` is no prefix of `hubble/app`.
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    /// The image with this in front of `rest` and the same tag and digest, named as docker does:
    /// `docker.io` and `nginx` make `docker.io/library/nginx`. `None`: no image can be called so.
    pub fn join(&self, rest: &str, image: &ImageReference) -> Option<ImageReference> {
        let parts =
            [self.registry.as_str(), self.path.as_ref().map_or("", |path| path.as_str()), rest];
        let name: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let joined: ImageReference = match name.as_slice() {
            // A host alone would be read as the name of an image.
            [_] => return None,
            parts => parts.join("/").parse().ok()?,
        };
        Some(ImageReference { tag: image.tag.clone(), digest: image.digest.clone(), ..joined })
    }
}

impl FromStr for ImagePrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (host, path) = match text.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (text, None),
        };
        let registry = host.parse()?;
        // What would be no host in the name of an image is none here either.
        if split_host(&format!("{host}/x")).0.is_none() {
            return Err(PrefixError::NoHost(text.to_owned()));
        }
        let path = path.map(str::parse).transpose()?;
        Ok(Self { registry, path })
    }
}

impl fmt::Display for ImagePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registry.fmt(f)?;
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::assert_refused;

    #[test]
    fn prefixes_begin_with_a_host() {
        for (text, expected) in [
            ("docker.io", "docker.io"),
            ("Registry-1.Docker.io/library", "docker.io/library"),
            ("mirror.local:5000/hub/a", "mirror.local:5000/hub/a"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(text.parse::<ImagePrefix>().unwrap().to_string(), expected);
        }
        assert_refused::<ImagePrefix>(&[
            ("", "not a registry host"),
            ("mirror/hub", "does not begin with a host: write `docker.io/mirror/hub`"),
            ("r.io/", "is empty"),
            ("r.io/hub/", "not a repository name"),
            ("r.io/Hub", "upper-case"),
            ("https://r.io", "not a registry host"),
            ("r.io/hub:v1", "not a repository name"),
        ]);
    }

    #[test]
    fn names_are_cut_and_joined_between_parts() {
        let cases = [
            ("r.io", "r.io/hub/app:1", Some("hub/app")),
            ("r.io/hub", "r.io/hub/app:1", Some("app")),
            ("r.io/hub/app", "r.io/hub/app:1", Some("")),
            ("r.io/hu", "r.io/hub/app:1", None),
            ("r.io/hub/app/x", "r.io/hub/app:1", None),
            ("r.io:443/hub", "r.io/hub/app:1", None),
        ];
        for (prefix, image, expected) in cases {
            let (prefix, image): (ImagePrefix, ImageReference) =
                (prefix.parse().unwrap(), image.parse().unwrap());
            assert_eq!(prefix.strip(&image), expected, "{prefix}");
            if let Some(rest) = expected {
                assert_eq!(prefix.join(rest, &image), Some(image));
            }
        }
        let image: ImageReference = "r.io/nginx:1".parse().unwrap();
        let hub: ImagePrefix = "docker.io".parse().unwrap();
        let joined = hub.join("nginx", &image).unwrap();
        assert_eq!(joined.to_string(), "docker.io/library/nginx:1");
        assert_eq!(hub.join("", &image), None);
        assert_eq!(hub.join(&"a".repeat(260), &image), None);
    }
}

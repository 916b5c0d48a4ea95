//! Which children of an index a rule wants: a pure decision.

use std::collections::HashSet;

use crate::oci::{Descriptor, Digest, Platform};

/// For each child, whether it is kept.
///
/// A child is kept if a wanted platform selects it. Attestations (BuildKit's, on the platform
/// `unknown/unknown`) follow the child that they attest. Children without a platform, such as
/// artifacts and nested indexes, are kept.
pub fn select(children: &[Descriptor], wanted: &[Platform]) -> Vec<bool> {
    if wanted.is_empty() {
        return vec![true; children.len()];
    }
    let selected = |child: &Descriptor| match &child.platform {
        None => true,
        Some(platform) => wanted.iter().any(|wanted| wanted.selects(platform)),
    };
    let kept: HashSet<&Digest> =
        children.iter().filter(|child| selected(child)).map(|child| &child.digest).collect();
    children
        .iter()
        .map(|child| match child.attested() {
            Some(attested) => kept.contains(&attested),
            None => selected(child),
        })
        .collect()
}

/// An index has no image for a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it has no image for {wanted}, only for {offered}")]
pub struct NoSuchPlatform {
    wanted: Platform,
    offered: String,
}

/// The image of an index that a machine of this platform runs: the first that fits.
pub fn choose<'a>(
    children: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, NoSuchPlatform> {
    let platform = |child: &'a Descriptor| child.platform.as_ref();
    let fits = |child: &&Descriptor| child.platform.as_ref().is_some_and(|it| wanted.selects(it));
    children.iter().find(fits).ok_or_else(|| {
        let attests = |child: &&Descriptor| child.attested().is_none();
        let offered = children.iter().filter(attests).filter_map(platform);
        let offered: Vec<_> = offered.map(ToString::to_string).collect();
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        NoSuchPlatform { wanted: wanted.clone(), offered }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::media_type;
    use proptest::prelude::*;

    fn child(name: &str, platform: Option<&str>, attests: Option<&str>) -> Descriptor {
        let annotations = attests.map(|name| {
            let digest = Digest::of(name.as_bytes()).to_string();
            let kind = "attestation-manifest".to_owned();
            [("vnd.docker.reference.type", kind), ("vnd.docker.reference.digest", digest)]
                .map(|(key, value)| (key.to_owned(), value))
                .into()
        });
        let platform = platform.map(|platform| platform.parse().unwrap());
        let digest = Digest::of(name.as_bytes());
        Descriptor { platform, annotations, ..Descriptor::new(media_type::OCI_MANIFEST, digest, 1) }
    }

    #[test]
    fn attestations_follow_their_child() {
        let children = [
            child("amd", Some("linux/amd64"), None),
            child("arm", Some("linux/arm64/v8"), None),
            child("win", Some("windows/amd64"), None),
            child("att-amd", Some("unknown/unknown"), Some("amd")),
            child("att-arm", Some("unknown/unknown"), Some("arm")),
            child("odd", Some("unknown/unknown"), None),
            child("nested", None, None),
        ];
        let wanted = ["linux/arm64".parse().unwrap()];
        assert_eq!(select(&children, &wanted), [false, true, false, false, true, false, true]);
        assert_eq!(select(&children, &[]), [true; 7]);
    }

    #[test]
    fn one_image_is_chosen_as_skopeo_chooses() {
        let children = [
            child("amd", Some("linux/amd64"), None),
            child("v6", Some("linux/arm/v6"), None),
            child("v7", Some("linux/arm/v7"), None),
            child("att-amd", Some("unknown/unknown"), Some("amd")),
        ];
        let chosen = |wanted: &str| choose(&children, &wanted.parse().unwrap());
        assert_eq!(chosen("linux/amd64").unwrap().digest, children[0].digest);
        assert_eq!(chosen("linux/arm/v7").unwrap().digest, children[2].digest);
        assert_eq!(chosen("linux/arm").unwrap().digest, children[1].digest);
        let error = chosen("linux/s390x").unwrap_err().to_string();
        let offered = "only for linux/amd64, linux/arm/v6, linux/arm/v7";
        assert_eq!(error, format!("it has no image for linux/s390x, {offered}"));
    }

    proptest! {
        #[test]
        fn wanting_more_never_drops_a_child(
            platforms in proptest::collection::vec(0usize..4, 0..12),
            wanted in proptest::collection::vec(0usize..4, 1..4),
            more in 0usize..4,
        ) {
            const NAMES: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "unknown/unknown"];
            let children: Vec<_> = platforms.iter().enumerate()
                .map(|(at, name)| child(&at.to_string(), Some(NAMES[*name]), None)).collect();
            let mut wanted: Vec<Platform> = wanted.iter().map(|name| NAMES[*name].parse().unwrap()).collect();
            let before = select(&children, &wanted);
            wanted.push(NAMES[more].parse().unwrap());
            for (before, after) in before.into_iter().zip(select(&children, &wanted)) {
                prop_assert!(!before || after);
            }
        }
    }
}

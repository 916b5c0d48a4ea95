//! What all sources of a rule come to, by repository.

use std::collections::{BTreeMap, BTreeSet};

use super::used::Used;
use crate::cleanup::plan::InUse;
use crate::oci::{Digest, ImagePrefix, ImageReference, RegistryHost, RepositoryName, Tag};

/// What runs somewhere, or did so lately, with the places where it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    repositories: BTreeMap<(RegistryHost, RepositoryName), Named>,
    /// All digests, whatever repository they were named with, if any.
    digests: BTreeMap<Digest, BTreeSet<String>>,
}

/// What runs by the name of one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Named {
    tags: BTreeMap<Tag, BTreeSet<String>>,
    digests: BTreeMap<Digest, BTreeSet<String>>,
}

impl Usage {
    /// What is in use of one repository.
    pub fn of(&self, host: &RegistryHost, repository: &RepositoryName) -> InUse {
        let named = self.repositories.get(&(host.clone(), repository.clone()));
        let tags = named.map(|named| listed(named.tags.iter())).unwrap_or_default();
        let digests = named.map(|named| listed(named.digests.iter())).unwrap_or_default();
        let elsewhere = self.digests.iter().filter(|(digest, _)| !digests.contains_key(*digest));
        let elsewhere = listed(elsewhere);
        InUse { tags, digests, elsewhere }
    }

    /// What is in use of a layout: nobody runs anything by its path, but by digest.
    pub fn of_layout(&self) -> InUse {
        InUse { elsewhere: listed(self.digests.iter()), ..InUse::default() }
    }

    /// Adds what was seen at a place. It is in use by the name it was seen with, and by the name
    /// that the aliases give it.
    pub(super) fn add(
        &mut self,
        used: &Used,
        aliases: &BTreeMap<ImagePrefix, ImagePrefix>,
        place: &str,
    ) {
        let image = match used {
            Used::Digest(digest) => {
                note(&mut self.digests, digest, place);
                return;
            }
            Used::Image(image) => image,
        };
        if let Some(digest) = &image.digest {
            note(&mut self.digests, digest, place);
        }
        self.name(image, place);
        if let Some(other) = other_name(image, aliases) {
            self.name(&other, place);
        }
    }

    fn name(&mut self, image: &ImageReference, place: &str) {
        let repository = (image.registry.clone(), image.repository.clone());
        let named = self.repositories.entry(repository).or_default();
        if let Some(tag) = &image.tag {
            note(&mut named.tags, tag, place);
        }
        if let Some(digest) = &image.digest {
            note(&mut named.digests, digest, place);
        }
    }
}

/// The other name of an image: the longest alias that fits is put in its place. `None`: none fits,
/// or what it makes cannot be the name of an image, so that there is none.
pub(super) fn other_name(
    image: &ImageReference,
    aliases: &BTreeMap<ImagePrefix, ImagePrefix>,
) -> Option<ImageReference> {
    let fitting = aliases.iter().filter_map(|(run, kept)| Some((run, kept, run.strip(image)?)));
    let (_, kept, rest) = fitting.max_by_key(|(run, ..)| run.length())?;
    kept.join(rest, image)
}

fn note<K: Clone + Ord>(places: &mut BTreeMap<K, BTreeSet<String>>, key: &K, place: &str) {
    places.entry(key.clone()).or_default().insert(place.to_owned());
}

fn listed<'a, K: Clone + Ord + 'a>(
    places: impl Iterator<Item = (&'a K, &'a BTreeSet<String>)>,
) -> BTreeMap<K, Vec<String>> {
    places.map(|(key, places)| (key.clone(), places.iter().cloned().collect())).collect()
}

//! What a layout's `index.json` lists, for who has to decide about all of it.

use std::fs;

use jiff::Timestamp;

use super::{Layout, failed, files};
use crate::oci::{Digest, Tag};
use crate::repository::{Reference, Result};

/// One entry of `index.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A manifest, whose file may be missing. `tag`: what names it here, if anything.
    Manifest { digest: Digest, tag: Option<Tag>, media_type: Option<String> },
    /// Something that is not understood, and why: who deletes beside it may delete what it needs,
    /// or what it means.
    NotUnderstood(String),
}

impl Layout {
    /// Every entry, in the order of the file. A manifest with several tags has several entries.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub async fn listed(&self) -> Result<Vec<Listed>> {
        let index = self.index("list images of").await?;
        let listed = index.entries().iter().map(|entry| {
            if let Some(why) = entry.problem() {
                return Listed::NotUnderstood(why.to_owned());
            }
            let Some(digest) = entry.digest.clone() else {
                return Listed::NotUnderstood("it has no digest".to_owned());
            };
            if let Some(tag) = entry.tag()
                && index.by_tag(tag).is_some_and(|first| first.digest.as_ref() != Some(&digest))
            {
                return Listed::NotUnderstood(format!("the tag `{tag}` names two manifests"));
            }
            Listed::Manifest {
                digest,
                tag: entry.tag().cloned(),
                media_type: entry.media_type.clone(),
            }
        });
        Ok(listed.collect())
    }

    /// When a manifest was written, or counted on last by who pushes something: the modification
    /// time of its file. Reading and pulling leave it as it is. `None`: it is not there.
    ///
    /// Tools that preserve times (`cp -p`, `rsync -a`, tar) bring files that look as old as their
    /// originals. That is meant here, where an image's age is asked for; the collection of garbage,
    /// which asks whether somebody is at work on a file, does not go by this.
    pub async fn written(&self, digest: &Digest) -> Result<Option<Timestamp>> {
        let path = files::blob(&self.0.folder, digest);
        let written = files::blocking(move || {
            let metadata = files::found(fs::metadata(&path)).map_err(files::at(&path))?;
            let Some(metadata) = metadata.filter(fs::Metadata::is_file) else { return Ok(None) };
            let modified = metadata.modified().map_err(files::at(&path))?;
            Timestamp::try_from(modified).map(Some).map_err(std::io::Error::other)
        });
        written.await.map_err(|error| {
            failed("look at the time of", self.at(&Reference::Digest(digest.clone())), error)
        })
    }
}

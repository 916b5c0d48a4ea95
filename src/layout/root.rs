//! A folder tree as a set of repositories: every folder in it that is a layout is one, named by
//! its path within the tree. A path that is a layout itself is a set of one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::folder::{Layout, attempt, check_folder};
use super::{files, listing, no_links};
use crate::oci::RepositoryName;
use crate::oci::address::repository_of;
use crate::repository::{Cause, Error, Result};

/// The layouts under one root.
#[derive(Debug)]
pub struct Layouts {
    /// Canonical.
    root: PathBuf,
    /// The name of the root itself, where that is a layout.
    single: Option<RepositoryName>,
    /// One handle a layout, so that all who use it share its cache and its uploads.
    open: Mutex<HashMap<RepositoryName, Layout>>,
}

impl Layouts {
    /// Opens a folder: a layout, or a tree of them.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let subject = path.as_ref().display().to_string();
        let path = path.as_ref().to_owned();
        let opened = attempt("open layouts", subject, move || {
            let root = path.canonicalize()?;
            if !root.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            let marker = files::size(&root.join(files::MARKER))?;
            let single = marker.map(|_| repository_of(&root));
            Ok((root, single))
        });
        let (root, single) = opened.await?;
        Ok(Self { root, single, open: Mutex::default() })
    }

    /// Opens a folder, after having made it where there is none.
    pub async fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        let folder = path.as_ref().to_owned();
        let subject = path.as_ref().display().to_string();
        attempt("create folder", subject, move || fs::create_dir_all(folder)).await?;
        Self::open(path.as_ref()).await
    }

    /// Gives the repository another name than its folder's, where the root is a layout itself.
    /// A tree's repositories have their paths.
    pub fn named(mut self, name: RepositoryName) -> Self {
        if self.single.is_some() {
            self.single = Some(name);
        }
        self
    }

    /// Every repository, sorted.
    pub async fn names(&self) -> Result<Vec<RepositoryName>> {
        if let Some(single) = &self.single {
            return Ok(vec![single.clone()]);
        }
        Self::below(&self.root).await
    }

    /// The layouts below a folder by their paths from there, sorted; also where the folder is a
    /// layout itself, which is not among them.
    pub async fn below(folder: &Path) -> Result<Vec<RepositoryName>> {
        let root = folder.to_owned();
        let names = attempt("list layouts in", folder.to_string_lossy(), move || {
            let mut names = Vec::new();
            walk(&root, "", &mut names)?;
            names.sort();
            Ok(names)
        });
        names.await
    }

    /// A repository; `None` if there is none with this name.
    pub async fn get(&self, name: &RepositoryName) -> Result<Option<Layout>> {
        let folder = match &self.single {
            Some(single) if single == name => self.root.clone(),
            Some(_) => return Ok(None),
            None if is_reserved(name) => return Ok(None),
            None => self.root.join(name.as_str()),
        };
        let (subject, wanted) = (format!("oci:{}", folder.display()), folder.clone());
        let there = attempt("open layout", &subject, move || {
            let marker = wanted.join(files::MARKER);
            match files::found(no_links::metadata(&marker)) {
                // A link could lead anywhere.
                Err(error) if no_links::is_link(&error) => Ok(false),
                found => Ok(found.map_err(files::at(&marker))?.is_some()),
            }
        });
        if !there.await? {
            self.open.lock().remove(name);
            return Ok(None);
        }
        if let Some(layout) = self.open.lock().get(name) {
            return Ok(Some(layout.clone()));
        }
        check_folder(&folder, &subject).await?;
        let tree = self.single.is_none().then(|| self.root.clone());
        let store = self.root.to_string_lossy().into_owned();
        let layout = Layout::new(folder, subject, store, name.to_string(), tree);
        Ok(Some(self.open.lock().entry(name.clone()).or_insert(layout).clone()))
    }

    /// A repository, made where there is none with this name.
    pub async fn get_or_create(&self, name: &RepositoryName) -> Result<Layout> {
        if let Some(layout) = self.get(name).await? {
            return Ok(layout);
        }
        let folder = self.root.join(name.as_str());
        let subject = format!("oci:{}", folder.display());
        let refuse = |why: String| Error::new("create layout", &subject, Cause::Unsupported(why));
        if let Some(single) = &self.single {
            return Err(refuse(format!("the only repository here is `{single}`")));
        }
        if is_reserved(name) {
            return Err(refuse(format!(
                "no part of a name may be `{}`, `{}` or `{}` here: layouts have files named so",
                files::BLOBS,
                files::INDEX,
                files::MARKER
            )));
        }
        attempt("create layout", &subject, move || listing::create(&folder)).await?;
        let layout = self.get(name).await?;
        layout.ok_or_else(|| refuse("it was removed at once".to_owned()))
    }
}

/// A layout's own files stand beside the layouts below it.
fn is_reserved(name: &RepositoryName) -> bool {
    name.as_str().split('/').any(|part| [files::BLOBS, files::INDEX, files::MARKER].contains(&part))
}

/// Collects the layouts in and under a folder. Names are at most 255 characters long, which
/// bounds the depth.
fn walk(folder: &Path, name: &str, names: &mut Vec<RepositoryName>) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(files::at(folder))? {
        let entry = entry.map_err(files::at(folder))?;
        let (path, part) = (entry.path(), entry.file_name());
        // Links are not followed: they can lead out of the tree, or round in it.
        if !entry.file_type().map_err(files::at(&path))?.is_dir() {
            continue;
        }
        let Some(part) = part.to_str() else { continue };
        let child = if name.is_empty() { part.to_owned() } else { format!("{name}/{part}") };
        let Ok(child) = child.parse::<RepositoryName>() else { continue };
        if is_reserved(&child) {
            continue;
        }
        walk(&path, child.as_str(), names)?;
        if files::size(&path.join(files::MARKER))?.is_some() {
            names.push(child);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn every_layout_in_a_tree_is_a_repository() {
        let root = tempfile::tempdir().unwrap();
        let layouts = Layouts::open_or_create(root.path().join("new")).await.unwrap();
        for text in ["b", "a/x/y", "a", "a/x-1"] {
            let layout = layouts.get_or_create(&name(text)).await.unwrap();
            assert_eq!(layout.path(), text);
            assert_eq!(Path::new(layout.store()), root.path().join("new"));
        }
        for folder in ["Upper", "empty/below", "a/blobs/c"] {
            fs::create_dir_all(root.path().join("new").join(folder)).unwrap();
        }
        listing::create(&root.path().join("new/a/blobs/c")).unwrap();
        listing::create(&root.path().join("outside")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.path().join("outside"), root.path().join("new/linked"))
            .unwrap();
        let found = layouts.names().await.unwrap();
        assert_eq!(found, ["a", "a/x-1", "a/x/y", "b"].map(name));
        for absent in ["empty/below", "linked", "a/blobs/c", "nothing"] {
            assert!(layouts.get(&name(absent)).await.unwrap().is_none(), "{absent}");
        }
        for refused in ["a/blobs/d", "index.json", "linked", "oci-layout/x"] {
            assert!(layouts.get_or_create(&name(refused)).await.is_err(), "{refused}");
        }
        fs::remove_dir_all(root.path().join("new/b")).unwrap();
        assert!(layouts.get(&name("b")).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_layout_is_a_set_of_one() {
        let root = tempfile::tempdir().unwrap();
        listing::create(&root.path().join("My-App")).unwrap();
        let layouts = Layouts::open(root.path().join("My-App")).await.unwrap();
        assert_eq!(layouts.names().await.unwrap(), [name("my-app")]);
        let layouts = layouts.named(name("acme/app"));
        assert_eq!(layouts.names().await.unwrap(), [name("acme/app")]);
        let layout = layouts.get(&name("acme/app")).await.unwrap().unwrap();
        assert_eq!(layout.path(), "acme/app");
        assert!(layouts.get(&name("my-app")).await.unwrap().is_none());
        let error = layouts.get_or_create(&name("other")).await.unwrap_err().to_string();
        assert!(error.contains("only repository here is `acme/app`"), "{error}");
        assert!(Layouts::open(root.path().join("absent")).await.is_err());
    }
}

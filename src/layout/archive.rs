//! `oci-archive:FILE`: an image layout in a tar file.
//!
//! Reading unpacks it into a temporary folder. Writing builds a layout in a temporary folder
//! beside the file and packs that when it is complete: a file of the same name is replaced as a
//! whole, as skopeo does; nothing is ever added to it.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use tar::{EntryType, Header};

use super::folder::{Layout, attempt, failed};
use super::workplace::{self, Stop, Workplace};
use super::{files, listing};
use crate::oci::Digest;
use crate::repository::{Cause, Error, Result};

/// What the names of temporary folders begin with: in the system's own, and beside an archive.
const TEMPORARY: &str = "tranship-archive-";
const BESIDE: &str = ".tranship-archive-";

/// The images of an archive, in a temporary folder that goes when this is dropped.
#[derive(Debug)]
pub struct Archive {
    layout: Layout,
    place: Workplace,
    /// Where `finish` writes the archive. `None`: it was opened to be read, and what is written to
    /// its layout is lost.
    file: Option<PathBuf>,
}

impl Archive {
    /// Unpacks an archive into the system's temporary folder (`TMPDIR`), to be read.
    pub async fn unpack(file: impl AsRef<Path>) -> Result<Self> {
        let (name, path) = (name_of(file.as_ref()), file.as_ref().to_owned());
        let place = attempt("unpack", &name, temporary).await?;
        let unpacked = place.work(move |folder, stop| {
            unpack(&path, folder, stop)?;
            files::metadata(&folder.canonicalize()?.join(files::MARKER))
        });
        let (place, marker) = unpacked.await.map_err(|error| failed("unpack", &name, error))?;
        if marker.is_none() {
            let cause = Cause::Unsupported(
                "it has no `oci-layout` file, so it is not an OCI image layout in an uncompressed tar file"
                    .to_owned(),
            );
            return Err(Error::new("unpack", name, cause));
        }
        Self::open(place, name, None).await
    }

    /// An archive without images that stands for one that does not exist, under its name.
    pub async fn empty(name: String) -> Result<Self> {
        let made = attempt("look at", &name, || {
            let place = temporary()?;
            listing::create(&place.path().canonicalize()?)?;
            Ok(place)
        });
        Self::open(made.await?, name, None).await
    }

    /// Begins an archive that will be `file`, without images. Dropped without `finish`, it leaves
    /// nothing.
    pub async fn begin(file: impl AsRef<Path>) -> Result<Self> {
        Self::write(file.as_ref(), false).await
    }

    /// The same, with the images that `file` has now, if it exists.
    pub async fn update(file: impl AsRef<Path>) -> Result<Self> {
        Self::write(file.as_ref(), true).await
    }

    async fn write(file: &Path, keep: bool) -> Result<Self> {
        let (name, path) = (name_of(file), file.to_owned());
        let beside = parent(file).to_owned();
        let place = attempt("begin", &name, move || Workplace::make(&beside, BESIDE)).await?;
        let made = place.work(move |folder, stop| {
            if keep && path.try_exists().map_err(files::at(&path))? {
                unpack(&path, folder, stop)?;
            }
            listing::create(&folder.canonicalize()?)
        });
        let (place, ()) = made.await.map_err(|error| failed("begin", &name, error))?;
        Self::open(place, name, Some(file.to_owned())).await
    }

    async fn open(place: Workplace, name: String, file: Option<PathBuf>) -> Result<Self> {
        let layout = Layout::open_as(place.path(), name).await?;
        Ok(Self { layout, place, file })
    }

    /// The archive's images.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Packs the layout, and gives the archive its name when all of it is on disk. Does nothing if
    /// it was opened to be read.
    pub async fn finish(self) -> Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        let (name, layout) = (name_of(&file), self.layout);
        let packed = self.place.work(move |folder, stop| {
            let new = folder.join("archive.new");
            pack(layout.folder(), &new, stop)?;
            fs::rename(&new, &file).map_err(files::at(&file))?;
            File::open(parent(&file))?.sync_all().map_err(files::at(&file))
        });
        packed.await.map(drop).map_err(|error| failed("write", name, error))
    }
}

/// Removes what killed processes left in the system's temporary folder.
pub async fn remove_abandoned() -> Result<()> {
    let folder = std::env::temp_dir();
    let subject = folder.display().to_string();
    attempt("tidy up", subject, move || workplace::remove_abandoned(&folder, TEMPORARY)).await
}

fn temporary() -> io::Result<Workplace> {
    Workplace::make(&std::env::temp_dir(), TEMPORARY)
}

fn name_of(file: &Path) -> String {
    format!("oci-archive:{}", file.display())
}

fn parent(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Takes the layout's files out of an archive, and nothing else: what has another name is
/// skipped, and so is everything that is not a plain file (links, devices, sparse files).
///
/// No more is written than the archive is long: plain files cannot be longer than their archive.
fn unpack(file: &Path, folder: &Path, stop: &Stop) -> io::Result<()> {
    let archive = File::open(file).map_err(files::at(file))?;
    let archive = BufReader::with_capacity(files::CHUNK, archive);
    let mut archive = tar::Archive::new(stop.of(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let Some(path) = layout_path(&entry.path()?) else { continue };
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(files::at(parent))?;
        }
        let mut file = File::create(&path).map_err(files::at(&path))?;
        let written = io::copy(&mut entry, &mut file).map_err(files::at(&path))?;
        if written != entry.size() {
            return Err(files::at(&path)(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

/// Where a file of an archive belongs in a layout; `None` if it has no place there.
fn layout_path(path: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    match parts[..] {
        [name @ (files::MARKER | files::INDEX)] => Some(name.into()),
        [files::BLOBS, algorithm, hex] => {
            let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
            Some(files::blob(Path::new(""), &digest))
        }
        _ => None,
    }
}

/// Packs a layout's own files. The same content gives the same bytes.
fn pack(layout: &Path, file: &Path, stop: &Stop) -> io::Result<()> {
    let archive = File::create(file).map_err(files::at(file))?;
    let archive = BufWriter::with_capacity(files::CHUNK, archive);
    let mut archive = tar::Builder::new(stop.of(archive));
    for name in [files::MARKER, files::INDEX] {
        add(&mut archive, layout, Path::new(name))?;
    }
    for algorithm in ["sha256", "sha512"] {
        let folder = Path::new(files::BLOBS).join(algorithm);
        let entries = files::entries(&layout.join(&folder))?.into_iter();
        let mut blobs: Vec<_> =
            entries.filter_map(|entry| layout_path(&folder.join(entry.name))).collect();
        blobs.sort();
        for blob in blobs {
            add(&mut archive, layout, &blob)?;
        }
    }
    let mut archive = archive.into_inner().map_err(files::at(file))?.into_inner();
    archive.flush().map_err(files::at(file))?;
    archive.get_ref().sync_all().map_err(files::at(file))
}

fn add(archive: &mut tar::Builder<impl Write>, layout: &Path, name: &Path) -> io::Result<()> {
    let path = layout.join(name);
    let file = File::open(&path).map_err(files::at(&path))?;
    let mut header = Header::new_gnu();
    header.set_size(file.metadata().map_err(files::at(&path))?.len());
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    archive.append_data(&mut header, name, file).map_err(files::at(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Manifest, Tag};
    use crate::repository::{Placement, Reference, Repository};

    fn tag() -> Tag {
        "1.0".parse().unwrap()
    }

    async fn fill(layout: &Layout) -> Manifest {
        let raw = r#"{"schemaVersion":2,"manifests":[]}"#;
        let manifest = Manifest::parse(raw.into(), None, None).unwrap();
        layout.put_manifest(&Placement::Tag(tag()), &manifest).await.unwrap();
        manifest
    }

    #[tokio::test]
    async fn an_archive_comes_back_and_is_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar");
        let mut packed = Vec::new();
        for _ in 0..2 {
            let archive = Archive::begin(&file).await.unwrap();
            let manifest = fill(archive.layout()).await;
            archive.finish().await.unwrap();
            let back = Archive::unpack(&file).await.unwrap();
            assert_eq!(back.layout().name(), format!("oci-archive:{}", file.display()));
            let reference = Reference::Tag(tag());
            assert_eq!(back.layout().manifest(&reference).await.unwrap(), Some(manifest));
            packed.push(fs::read(&file).unwrap());
        }
        assert_eq!(packed[0], packed[1]);
        // One that is given up leaves the file that was there, and nothing else.
        let abandoned = Archive::begin(&file).await.unwrap();
        fill(abandoned.layout()).await;
        drop(abandoned);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&file).unwrap(), packed[0]);
    }

    #[tokio::test]
    async fn nothing_leaves_the_folder_it_is_unpacked_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hostile.tar");
        let mut archive = tar::Builder::new(File::create(&file).unwrap());
        let mut add = |kind: EntryType, name: &str, content: &[u8]| {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            if kind != EntryType::Regular {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            archive.append(&header, content).unwrap();
        };
        add(EntryType::Symlink, "index.json", b"");
        add(EntryType::Link, "blobs/sha256/x", b"");
        add(EntryType::Regular, "../escaped", b"x");
        add(EntryType::Regular, "/escaped", b"x");
        add(EntryType::Regular, "blobs/sha256/../../../escaped", b"x");
        add(EntryType::Regular, "blobs/sha256/short", b"x");
        add(EntryType::Regular, "manifest.json", b"[]");
        add(EntryType::Regular, "./oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        add(EntryType::Regular, "index.json", br#"{"manifests":[]}"#);
        archive.into_inner().unwrap();
        let to = folder.path().join("a/b/c");
        fs::create_dir_all(&to).unwrap();
        unpack(&file, &to, &Stop::default()).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["index.json", "oci-layout"]);
        assert!(to.join("index.json").symlink_metadata().unwrap().is_file());
        assert!(!folder.path().join("escaped").exists() && !to.join("../escaped").exists());
        assert!(Archive::unpack(&file).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_no_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.tar");
        assert!(Archive::unpack(&file).await.is_err());
        tar::Builder::new(File::create(&file).unwrap()).finish().unwrap();
        let error = Archive::unpack(&file).await.unwrap_err().to_string();
        assert!(error.contains("no `oci-layout` file"), "{error}");
        // Cut in the middle.
        let archive = Archive::begin(&file).await.unwrap();
        archive.finish().await.unwrap();
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..520]).unwrap();
        assert!(Archive::unpack(&file).await.is_err());
    }
}

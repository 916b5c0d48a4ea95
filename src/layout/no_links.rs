//! File operations below a layout's folder that follow no link and wait for nobody.
//!
//! Who can write to a layout may not choose what else is read or written: a link could lead
//! anywhere, and opening a named pipe waits for its other end. So every folder on the way must be a
//! folder, and only regular files count as files. All paths are absolute, and canonical down to the
//! layout's own folder: that one may be reached through links.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How folders on the way are opened: on Linux, that needs no right to list them.
#[cfg(target_os = "linux")]
const ON_THE_WAY: OFlags = OFlags::PATH.union(FOLDER);
#[cfg(not(target_os = "linux"))]
const ON_THE_WAY: OFlags = FOLDER;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file, and never a wait: not even opening a pipe or a device blocks.
const FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// As for everything that programs create, the user's mask applies.
const FILE_MODE: u32 = 0o666;
const FOLDER_MODE: u32 = 0o777;

/// A folder on the way is a link.
#[derive(Debug, thiserror::Error)]
#[error("{} is a link, and links in a layout are not followed", .0.display())]
struct Linked(PathBuf);

/// Whether an operation failed because a folder on the way is a link.
pub(super) fn is_link(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Linked>())
}

/// Opens a regular file to be read. Whatever else has the name counts as no file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    open_file(path, OFlags::RDONLY)
}

/// Opens a regular file to be read and written.
pub(super) fn open_writable(path: &Path) -> io::Result<File> {
    open_file(path, OFlags::RDWR)
}

/// Opens a regular file to be written, after having made it where none is.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    open_file(path, OFlags::WRONLY | OFlags::CREATE)
}

/// Makes a file that is not there yet.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    open_file(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
}

fn open_file(path: &Path, flags: OFlags) -> io::Result<File> {
    let (folder, name) = parent(path)?;
    let opened = rustix::fs::openat(&folder, name, flags | FILE, Mode::from(FILE_MODE));
    let file = match opened {
        Ok(file) => File::from(file),
        // A link; a pipe without a reader, a socket or a device without a driver; a folder.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ISDIR) => return Err(no_file()),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

/// What is known of a regular file. Whatever else has the name counts as no file.
pub(super) fn metadata(path: &Path) -> io::Result<Metadata> {
    let (folder, name) = parent(path)?;
    // Opened as a mere path, a file needs no right to be read.
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::RDONLY;
    let metadata = match rustix::fs::openat(&folder, name, flags | FILE, Mode::empty()) {
        Ok(file) => File::from(file).metadata()?,
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(no_file()),
        Err(error) => return Err(error.into()),
    };
    if metadata.is_file() { Ok(metadata) } else { Err(no_file()) }
}

fn no_file() -> io::Error {
    let words = "it is a link, a folder, a pipe or a device, and not a regular file";
    io::Error::new(ErrorKind::NotFound, words)
}

/// Something in a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: OsString,
    pub path: PathBuf,
    pub kind: FileType,
}

/// What is in a folder, in no order.
pub(super) fn entries(path: &Path) -> io::Result<Vec<Entry>> {
    use std::os::unix::ffi::OsStringExt;
    let folder = folder(path)?;
    let mut entries = Vec::new();
    for entry in Dir::new(readable(&folder)?)? {
        let entry = entry?;
        let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
        if name == "." || name == ".." {
            continue;
        }
        // Some file systems do not say it in the list.
        let kind = match entry.file_type() {
            FileType::Unknown => {
                match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(status) => FileType::from_raw_mode(status.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            kind => kind,
        };
        entries.push(Entry { path: path.join(&name), name, kind });
    }
    Ok(entries)
}

/// Makes a folder, with all folders on the way, where there is none.
pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    walk(path, true).map(drop)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from_folder, from) = parent(from)?;
    let (to_folder, to) = parent(to)?;
    Ok(rustix::fs::renameat(&from_folder, from, &to_folder, to)?)
}

/// Gives a file another name. Of a link, the link itself gets it.
pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    let (from_folder, from) = parent(from)?;
    let (to_folder, to) = parent(to)?;
    Ok(rustix::fs::linkat(&from_folder, from, &to_folder, to, AtFlags::empty())?)
}

/// Removes a name, whatever has it, unless it is a folder's.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    let (folder, name) = parent(path)?;
    Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?)
}

/// Makes the names in a folder survive a power failure.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::fsync(readable(&folder(path)?)?)?)
}

/// Opens a folder once more, to be listed or written out.
fn readable(folder: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(folder, ".", FOLDER, Mode::empty())?)
}

fn folder(path: &Path) -> io::Result<OwnedFd> {
    walk(path, false)
}

/// The folder of a file, and the file's name.
fn parent(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let parts = path.parent().zip(path.file_name());
    let (above, name) = parts.ok_or(ErrorKind::InvalidInput)?;
    Ok((folder(above)?, name))
}

/// Opens a folder, one part of its path after the other.
fn walk(path: &Path, creates: bool) -> io::Result<OwnedFd> {
    let mut folder = rustix::fs::openat(CWD, "/", ON_THE_WAY, Mode::empty())?;
    let mut walked = PathBuf::from("/");
    for part in path.components() {
        let name = match part {
            Component::RootDir => continue,
            Component::Normal(name) => name,
            _ => return Err(ErrorKind::InvalidInput.into()),
        };
        walked.push(name);
        let open = || rustix::fs::openat(&folder, name, ON_THE_WAY, Mode::empty());
        let mut opened = open();
        if creates && opened.as_ref().err() == Some(&Errno::NOENT) {
            match rustix::fs::mkdirat(&folder, name, Mode::from(FOLDER_MODE)) {
                // Somebody else may have made it meanwhile.
                Ok(()) | Err(Errno::EXIST) => opened = open(),
                Err(error) => return Err(error.into()),
            }
        }
        folder = match opened {
            Ok(next) => next,
            Err(Errno::LOOP | Errno::NOTDIR) if is_link_at(&folder, name) => {
                return Err(io::Error::other(Linked(walked)));
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(folder)
}

fn is_link_at(folder: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with one of each kind, and what is outside of it.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        let inside = path.join("inside");
        fs::create_dir_all(inside.join("folder")).unwrap();
        fs::create_dir(path.join("outside")).unwrap();
        fs::write(path.join("outside/secret"), "secret").unwrap();
        fs::write(inside.join("file"), "content").unwrap();
        symlink(path.join("outside/secret"), inside.join("link")).unwrap();
        symlink(path.join("outside"), inside.join("linked")).unwrap();
        symlink(path.join("nowhere"), inside.join("dangling")).unwrap();
        let pipe = inside.join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        std::os::unix::net::UnixListener::bind(inside.join("socket")).unwrap();
        (root, inside)
    }

    #[test]
    fn only_regular_files_are_files() {
        let (_root, inside) = tree();
        let names = ["folder", "link", "linked", "dangling", "pipe", "socket", "absent"];
        for name in names {
            let path = inside.join(name);
            for error in [
                open(&path).unwrap_err(),
                open_writable(&path).unwrap_err(),
                metadata(&path).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
            }
            let created = open_or_create(&path);
            assert_eq!(created.is_ok(), name == "absent", "{name}: {created:?}");
        }
        assert_eq!(io::read_to_string(open(&inside.join("file")).unwrap()).unwrap(), "content");
        assert_eq!(metadata(&inside.join("file")).unwrap().len(), 7);
        assert!(!inside.join("../nowhere").exists());
        let created = create_new(&inside.join("dangling")).unwrap_err();
        assert_eq!(created.kind(), ErrorKind::AlreadyExists);
        let mut found: Vec<_> = entries(&inside).unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let files: Vec<_> =
            found.iter().filter(|entry| entry.kind == FileType::RegularFile).collect();
        assert_eq!(found.len(), 8);
        assert_eq!(files.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["absent", "file"]);
    }

    #[test]
    fn no_folder_on_the_way_is_a_link() {
        let (_root, inside) = tree();
        let (file, behind) = (inside.join("file"), inside.join("linked/new"));
        let secret = inside.join("linked/secret");
        let errors = [
            open(&secret).unwrap_err(),
            metadata(&secret).unwrap_err(),
            create_new(&behind).unwrap_err(),
            open_or_create(&behind).unwrap_err(),
            rename(&file, &behind).unwrap_err(),
            rename(&secret, &inside.join("mine")).unwrap_err(),
            hard_link(&file, &behind).unwrap_err(),
            hard_link(&secret, &inside.join("mine")).unwrap_err(),
            remove_file(&secret).unwrap_err(),
            create_folders(&behind).unwrap_err(),
            create_folders(&inside.join("linked")).unwrap_err(),
            entries(&inside.join("linked")).unwrap_err(),
            sync_folder(&inside.join("linked")).unwrap_err(),
        ];
        for error in errors {
            assert!(is_link(&error), "{error}");
            assert!(
                error
                    .to_string()
                    .ends_with("linked is a link, and links in a layout are not followed")
            );
        }
        let outside = inside.parent().unwrap().join("outside");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        // What is no folder at all is as if it were not there.
        let error = open(&inside.join("file/x")).unwrap_err();
        assert_eq!((error.kind(), is_link(&error)), (ErrorKind::NotADirectory, false));
    }

    #[test]
    fn files_and_folders_are_made_moved_and_removed() {
        let (_root, inside) = tree();
        let deep = inside.join("a/b/c");
        create_folders(&deep).unwrap();
        create_folders(&deep).unwrap();
        rename(&inside.join("file"), &deep.join("file")).unwrap();
        hard_link(&deep.join("file"), &inside.join("again")).unwrap();
        remove_file(&deep.join("file")).unwrap();
        assert_eq!(fs::read(inside.join("again")).unwrap(), b"content");
        // A link that has the name of a file is replaced, and not what it leads to.
        rename(&inside.join("again"), &inside.join("link")).unwrap();
        assert_eq!(fs::read(inside.join("link")).unwrap(), b"content");
        assert_eq!(fs::read(inside.join("../outside/secret")).unwrap(), b"secret");
        sync_folder(&deep).unwrap();
        assert!(open(Path::new("relative")).is_err());
    }
}

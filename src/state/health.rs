//! What an operator should know of the state: whether it works, and how much room it takes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::State;

/// Whether the state works. If it does not, everything goes on, but costs more requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why the database is not used any more until the next start.
    pub broken: Option<String>,
    /// Where the database is kept that was found to be damaged when this state was opened.
    pub set_aside: Option<PathBuf>,
}

impl State {
    /// How the database is. Costs nothing.
    pub fn health(&self) -> Health {
        Health {
            broken: self.store().broken().map(str::to_owned),
            set_aside: self.0.set_aside.clone(),
        }
    }

    /// The disk space that everything in the state directory takes, history included, in bytes;
    /// 0 in memory. Blocks for a look at each of some dozen files.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn size_bytes(&self) -> std::io::Result<u64> {
        self.0.dir.as_deref().map_or(Ok(0), size)
    }
}

/// Files may go while they are looked at.
fn size(dir: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        total += if metadata.is_dir() {
            match size(&entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => 0,
                other => other?,
            }
        } else {
            // Blocks of 512 bytes, whatever the file system's own are (stat(2)).
            metadata.blocks() * 512
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_all_files() {
        assert_eq!(State::in_memory().size_bytes().unwrap(), 0);
        let dir = tempfile::TempDir::new().unwrap();
        let state = State::open(dir.path()).unwrap();
        let before = state.size_bytes().unwrap();
        fs::create_dir(dir.path().join("history")).unwrap();
        fs::write(dir.path().join("history/1"), vec![7; 1 << 20]).unwrap();
        let grown = state.size_bytes().unwrap() - before;
        assert!((1 << 20..2 << 20).contains(&grown), "{grown}");
        assert_eq!(state.health(), Health { broken: None, set_aside: None });
    }
}

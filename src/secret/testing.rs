//! Environments and programs for tests.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::Environment;

pub fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables: HashMap<String, OsString> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    Environment::new(move |name| variables.get(name).cloned())
}

/// Programs in a directory of their own, which comes first in `PATH` and is `HOME`.
pub struct Scripts(TempDir);

impl Scripts {
    pub fn create() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Another process writes the file: were it open for writing here while another test starts a
    /// program, that program would inherit it, and starting the script would fail ("text file busy").
    pub fn add(&self, name: &str, body: &str) {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "umask 022; cat > \"$0\" && chmod 755 \"$0\""])
            .arg(self.path().join(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\n{body}\n");
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    pub fn environment(&self) -> Environment {
        let home = self.path().to_str().unwrap();
        environment(&[("HOME", home), ("PATH", &format!("{home}:/usr/bin:/bin"))])
    }

    /// How many lines a script has written to `name` beside it.
    pub fn lines(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default().lines().count()
    }
}

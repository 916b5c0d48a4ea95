//! Environment variables, handed in from outside so that tests have their own.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// How environment variables are looked up: the process's own, or a test's.
#[derive(Clone)]
pub struct Environment(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Environment {
    pub fn new(lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// The environment variables of this process.
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var_os(name))
    }

    pub fn variable(&self, name: &str) -> Option<OsString> {
        (self.0)(name)
    }

    /// A variable that is a path. One that is set but empty counts as not set.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

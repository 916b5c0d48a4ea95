//! What a process finds around it, handed in from outside so that tests have their own.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Environment variables and the machine's folders: the process's own, or a test's.
#[derive(Clone)]
pub struct Environment {
    lookup: Arc<Lookup>,
    machine: Option<Machine>,
}

/// The folders that belong to the machine and not to its user, and who the user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `/`, of which `etc` and `run` are.
    pub root: PathBuf,
    pub uid: u32,
}

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Environment {
    /// Only these variables, and nothing of the machine.
    pub fn new(lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), machine: None }
    }

    /// What this process has.
    pub fn of_process() -> Self {
        let machine = Machine { root: "/".into(), uid: rustix::process::getuid().as_raw() };
        Self::new(|name| std::env::var_os(name)).on(machine)
    }

    pub fn on(self, machine: Machine) -> Self {
        Self { machine: Some(machine), ..self }
    }

    pub fn machine(&self) -> Option<&Machine> {
        self.machine.as_ref()
    }

    /// The same with another value of one variable.
    pub fn with(self, name: &'static str, value: OsString) -> Self {
        let Self { lookup, machine } = self;
        let lookup = Arc::new(
            move |asked: &str| if asked == name { Some(value.clone()) } else { lookup(asked) },
        );
        Self { lookup, machine }
    }

    pub fn variable(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name)
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

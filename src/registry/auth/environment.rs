//! The environment variables that decide where credentials are, handed in from outside.

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

    /// The variables of this process.
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var_os(name))
    }

    pub fn variable(&self, name: &str) -> Option<OsString> {
        (self.0)(name)
    }

    /// A variable that is a path; set but empty is not set.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The auth files to look into, the first first.
    ///
    /// `$REGISTRY_AUTH_FILE` alone where it is set. Else podman's and skopeo's
    /// `$XDG_RUNTIME_DIR/containers/auth.json` and `~/.config/containers/auth.json`, then docker's
    /// `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub fn auth_files(&self) -> Vec<PathBuf> {
        if let Some(file) = self.path("REGISTRY_AUTH_FILE") {
            return vec![file];
        }
        let home = self.path("HOME");
        let below_home = |below: &str| home.as_ref().map(|home| home.join(below));
        let runtime = self.path("XDG_RUNTIME_DIR");
        let config = self.path("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
        let docker = self.path("DOCKER_CONFIG").or_else(|| below_home(".docker"));
        let containers = [runtime, config].into_iter().flatten();
        containers
            .map(|dir| dir.join("containers/auth.json"))
            .chain(docker.map(|dir| dir.join("config.json")))
            .collect()
    }

    /// The auth file that `login` writes: the first of [`Environment::auth_files`] that exists, so
    /// that no older entry stands before the new one; where none exists, the last of them, which is
    /// docker's and which skopeo and podman read, too.
    pub fn auth_file_to_write(&self) -> Option<PathBuf> {
        let files = self.auth_files();
        files.iter().find(|file| file.exists()).or(files.last()).cloned()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::environment;

    #[test]
    fn auth_files_are_searched_in_the_order_of_skopeo_and_docker() {
        let files = |variables: &[(&str, &str)]| {
            let found = environment(variables).auth_files();
            found.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/1")]),
            [
                "/run/1/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
        );
        assert_eq!(
            files(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "")]),
            ["/h/.config/containers/auth.json", "/d/config.json"]
        );
        assert_eq!(files(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/x")]), ["/x"]);
        assert!(files(&[]).is_empty());
    }

    #[test]
    fn the_file_to_write_is_the_one_that_is_read_first() {
        let home = tempfile::tempdir().unwrap();
        let text = home.path().to_str().unwrap();
        let here = environment(&[("HOME", text)]);
        let docker = home.path().join(".docker/config.json");
        assert_eq!(here.auth_file_to_write(), Some(docker));
        let podman = home.path().join(".config/containers/auth.json");
        std::fs::create_dir_all(podman.parent().unwrap()).unwrap();
        std::fs::write(&podman, "{}").unwrap();
        assert_eq!(here.auth_file_to_write(), Some(podman));
        assert_eq!(environment(&[]).auth_file_to_write(), None);
    }
}

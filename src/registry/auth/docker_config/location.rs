//! Where auth files are.

use std::path::PathBuf;

use crate::secret::Environment;

/// An auth file that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    pub form: Form,
}

/// How an auth file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Usual,
    /// Only what the usual form has in its `auths`. It is read and never made.
    Legacy,
}

/// The auth files to look into, in this order (containers-auth.json(5)).
///
/// `$REGISTRY_AUTH_FILE` alone where it is set. Else podman's and skopeo's
/// `$XDG_RUNTIME_DIR/containers/auth.json`, which is `/run/containers/UID/auth.json` where the
/// variable is not set, and `~/.config/containers/auth.json`; then docker's
/// `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`; then `~/.dockercfg`.
pub fn auth_files(environment: &Environment) -> Vec<Place> {
    let usual = |path| Place { path, form: Form::Usual };
    if let Some(file) = environment.path("REGISTRY_AUTH_FILE") {
        return vec![usual(file)];
    }
    let home = environment.path("HOME");
    let below_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let of_user = environment
        .machine()
        .map(|machine| machine.root.join("run/containers").join(machine.uid.to_string()));
    let runtime = environment.path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers"));
    let config = environment.path("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let docker = environment.path("DOCKER_CONFIG").or_else(|| below_home(".docker"));
    let containers = [runtime.or(of_user), config.map(|dir| dir.join("containers"))];
    containers
        .into_iter()
        .flatten()
        .map(|dir| usual(dir.join("auth.json")))
        .chain(docker.map(|dir| usual(dir.join("config.json"))))
        .chain(below_home(".dockercfg").map(|path| Place { path, form: Form::Legacy }))
        .collect()
}

/// The auth file that `login` writes: the first of [`auth_files`] that exists, so
/// that no older entry is found before the new one; where none exists docker's, which skopeo and
/// podman read as well.
pub fn auth_file_to_write(environment: &Environment) -> Option<PathBuf> {
    let places = auth_files(environment).into_iter();
    let files: Vec<_> =
        places.filter(|it| it.form == Form::Usual).map(|place| place.path).collect();
    files.iter().find(|file| file.exists()).or(files.last()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Machine;
    use crate::secret::testing::environment;

    #[test]
    fn auth_files_are_searched_in_the_order_of_skopeo_and_docker() {
        let files = |variables: &[(&str, &str)]| {
            let machine = Machine { root: "/".into(), uid: 7 };
            let found = auth_files(&environment(variables).on(machine));
            found.iter().map(|place| place.path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/1")]),
            [
                "/run/1/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json",
                "/h/.dockercfg"
            ]
        );
        // cron and system services have no such variable.
        assert_eq!(
            files(&[
                ("HOME", "/h"),
                ("DOCKER_CONFIG", "/d"),
                ("XDG_RUNTIME_DIR", ""),
                ("XDG_CONFIG_HOME", "/c")
            ]),
            [
                "/run/containers/7/auth.json",
                "/c/containers/auth.json",
                "/d/config.json",
                "/h/.dockercfg"
            ]
        );
        assert_eq!(files(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/x")]), ["/x"]);
        assert_eq!(files(&[]), ["/run/containers/7/auth.json"]);
        assert!(auth_files(&environment(&[])).is_empty());
    }

    #[test]
    fn the_file_to_write_is_the_one_that_is_read_first() {
        let home = tempfile::tempdir().unwrap();
        let text = home.path().to_str().unwrap();
        let here = environment(&[("HOME", text)]);
        std::fs::write(home.path().join(".dockercfg"), "{}").unwrap();
        let docker = home.path().join(".docker/config.json");
        assert_eq!(auth_file_to_write(&here), Some(docker));
        let podman = home.path().join(".config/containers/auth.json");
        std::fs::create_dir_all(podman.parent().unwrap()).unwrap();
        std::fs::write(&podman, "{}").unwrap();
        assert_eq!(auth_file_to_write(&here), Some(podman.clone()));
        // podman's login without XDG_RUNTIME_DIR.
        let here = here.on(Machine { root: home.path().into(), uid: 7 });
        assert_eq!(auth_file_to_write(&here), Some(podman));
        let podman = home.path().join("run/containers/7/auth.json");
        std::fs::create_dir_all(podman.parent().unwrap()).unwrap();
        std::fs::write(&podman, "{}").unwrap();
        assert_eq!(auth_file_to_write(&here), Some(podman));
        assert_eq!(auth_file_to_write(&environment(&[])), None);
    }
}

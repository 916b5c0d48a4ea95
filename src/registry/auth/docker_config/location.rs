//! Where auth files are.

use std::path::PathBuf;

use crate::secret::Environment;

/// The auth files to look into, in this order.
///
/// `$REGISTRY_AUTH_FILE` alone where it is set. Else podman's and skopeo's
/// `$XDG_RUNTIME_DIR/containers/auth.json` and `~/.config/containers/auth.json`, then docker's
/// `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
pub fn auth_files(environment: &Environment) -> Vec<PathBuf> {
    if let Some(file) = environment.path("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = environment.path("HOME");
    let below_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let runtime = environment.path("XDG_RUNTIME_DIR");
    let config = environment.path("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let docker = environment.path("DOCKER_CONFIG").or_else(|| below_home(".docker"));
    let containers = [runtime, config].into_iter().flatten();
    containers
        .map(|dir| dir.join("containers/auth.json"))
        .chain(docker.map(|dir| dir.join("config.json")))
        .collect()
}

/// The auth file that `login` writes: the first of [`auth_files`] that exists, so
/// that no older entry is found before the new one; where none exists the last of them, docker's,
/// which skopeo and podman read as well.
pub fn auth_file_to_write(environment: &Environment) -> Option<PathBuf> {
    let files = auth_files(environment);
    files.iter().find(|file| file.exists()).or(files.last()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::testing::environment;

    #[test]
    fn auth_files_are_searched_in_the_order_of_skopeo_and_docker() {
        let files = |variables: &[(&str, &str)]| {
            let found = auth_files(&environment(variables));
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
        assert_eq!(auth_file_to_write(&here), Some(docker));
        let podman = home.path().join(".config/containers/auth.json");
        std::fs::create_dir_all(podman.parent().unwrap()).unwrap();
        std::fs::write(&podman, "{}").unwrap();
        assert_eq!(auth_file_to_write(&here), Some(podman));
        assert_eq!(auth_file_to_write(&environment(&[])), None);
    }
}

//! The scene of the demo: a folder with two trees of layouts, a configuration, two registries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::registry::Registry;
use super::report::{Next, RegistryAddress};
use super::world::{DemoError, World};
use crate::config::{self, Config, RegistryConfig};
use crate::http::RetryPolicy;
use crate::layout::Layouts;
use crate::registry::Registries;
use crate::state::State;
use crate::transfer::Carrier;

/// The rules of the demo: `SOURCE` and `TARGET` become the addresses of the registries.
const CONFIG: &str = include_str!("tranship.toml");

/// The folder of the demo and everything that runs in it.
pub(super) struct Scene {
    pub source: Registry,
    pub target: Registry,
    folder: PathBuf,
    pub world: World,
}

impl Scene {
    /// Sets everything up in an empty folder.
    pub async fn set_up(folder: &Path, world: World) -> Result<Self, DemoError> {
        let folder = folder.canonicalize()?;
        let source = Registry::start(&folder.join("source"), false).await?;
        let target = Registry::start(&folder.join("target"), true).await?;
        let config = CONFIG
            .replace("SOURCE", &source.address.to_string())
            .replace("TARGET", &target.address.to_string());
        let scene = Self { source, target, folder, world };
        std::fs::write(scene.config_file(), config)?;
        Ok(scene)
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.join("tranship.toml")
    }

    /// The configuration, read from its file as every command does.
    pub fn config(&self) -> Result<Config, DemoError> {
        Ok(config::load(&self.config_file(), &|_| None)?)
    }

    /// Connections and state, opened anew as a new process would do.
    pub fn open(&self, config: &Config) -> Result<(Arc<Registries>, Arc<Carrier>), DemoError> {
        let state = State::open(&config.daemon.state)?;
        let World { environment, jitter, .. } = &self.world;
        let registries = Registries::new(
            config.registries.clone(),
            RegistryConfig::default(),
            environment.clone(),
            *jitter,
        );
        Ok((Arc::new(registries), Arc::new(Carrier::new(state, RetryPolicy::default(), *jitter))))
    }

    /// The source's layouts, to push to them although the source's registry is read-only.
    pub async fn source_layouts(&self) -> Result<Layouts, DemoError> {
        Ok(Layouts::open(self.folder.join("source")).await?)
    }

    pub fn addresses(&self) -> (RegistryAddress, RegistryAddress) {
        let address = |registry: &Registry, name: &str| RegistryAddress {
            address: registry.address.to_string(),
            folder: Some(self.folder.join(name)),
        };
        (address(&self.source, "source"), address(&self.target, "target"))
    }

    /// Commands to try with a folder that is kept. `program`: how tranship was called.
    pub fn next(&self, program: &str) -> Vec<Next> {
        let (source, target) = (self.source.address, self.target.address);
        let program = quoted(program);
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let config = path(&self.config_file());
        let [from, to] = ["source", "target"].map(|name| path(&self.folder.join(name)));
        let tags = format!("http://{target}/v2/mirror/acme/web/tags/list");
        let image = format!("docker://{target}/mirror/acme/web:latest");
        let commands = [
            ("read the rules", format!("cat {config}")),
            ("serve the source", format!("{program} serve-layout {from} --listen {source}")),
            (
                "serve the target (in another terminal)",
                format!("{program} serve-layout {to} --listen {target} --writable"),
            ),
            ("bring the target up to date", format!("{program} sync --config {config}")),
            (
                "compare both, down to every byte",
                format!("{program} verify --config {config} --read"),
            ),
            ("list what was mirrored", format!("curl {tags}")),
            (
                "look at an image with another tool",
                format!("skopeo inspect --tls-verify=false {image}"),
            ),
        ];
        commands.map(|(what, command)| Next { what, command }).into()
    }
}

/// A text quoted for a shell as one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_stay_words() {
        assert_eq!(quoted("/tmp/a-b.c"), "/tmp/a-b.c");
        assert_eq!(quoted("/tmp/my demo"), "'/tmp/my demo'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$HOME"), "'$HOME'");
        assert_eq!(quoted(""), "''");
    }
}

//! Which repositories a cleanup rule is about. Registries and folders are listed where the rule has
//! patterns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::config::cleanup::{Exclusion, Included, Repositories};
use crate::config::{CleanupRule, LayoutPattern, SourcePattern};
use crate::fair::Flow;
use crate::layout::Layouts;
use crate::oci::{Address, RegistryHost, RepositoryName};
use crate::repository::{Error, Repository};
use crate::stores::{Access, Stores};

/// The repositories of a rule, and the lists that could not be read.
#[derive(Debug, Default)]
pub struct Selected {
    /// Each once, sorted; `true`: the rule names it, so it should exist.
    pub repositories: BTreeMap<Address, bool>,
    pub failures: Vec<Error>,
}

impl Selected {
    /// This repository and no other.
    pub fn one(address: Address) -> Self {
        Self { repositories: BTreeMap::from([(address, true)]), failures: Vec::new() }
    }
}

/// Opens a repository that is cleaned up, or the quarantine of one. Neither is in an archive, so
/// nothing else has to be kept open.
pub(super) async fn open(
    stores: &Stores,
    address: &Address,
    flow: Flow,
    access: Access,
) -> Result<Arc<dyn Repository>, Error> {
    Ok(Arc::clone(stores.open(address, flow, access).await?.repository()))
}

/// Lists each registry and each folder at most once.
pub async fn repositories(rule: &CleanupRule, stores: &Stores, flow: Flow) -> Selected {
    let mut selected = Selected::default();
    let (mut listed, mut walked) = (BTreeSet::new(), BTreeSet::new());
    let rule = resolved(&rule.repositories).await;
    for included in &rule.included {
        let added = match included {
            Included::Registry(pattern) => {
                add_registry(pattern, &rule, (stores, flow), &mut listed, &mut selected).await
            }
            Included::Layouts(pattern) => {
                add_layouts(pattern, &rule, &mut walked, &mut selected).await
            }
        };
        if let Err(error) = added {
            selected.failures.push(error);
        }
    }
    selected
}

async fn add_registry<'a>(
    pattern: &'a SourcePattern,
    rule: &Repositories,
    (stores, flow): (&Stores, Flow),
    listed: &mut BTreeSet<&'a RegistryHost>,
    selected: &mut Selected,
) -> Result<(), Error> {
    let Some(host) = pattern.store.registry() else { return Ok(()) };
    let address = |name: RepositoryName| Address::Registry(host.clone(), name);
    if let Some(repository) = pattern.repository() {
        if rule.matches(host, repository) {
            selected.repositories.insert(address(repository.clone()), true);
        }
    } else if listed.insert(host) {
        let below = prefixes_in(rule, host);
        for name in stores.repositories(&pattern.store, &below, flow).await? {
            if rule.matches(host, &name) {
                selected.repositories.entry(address(name)).or_insert(false);
            }
        }
    }
    Ok(())
}

/// What the repositories that the rule's patterns select in this registry are at or below.
fn prefixes_in<'a>(rule: &'a Repositories, host: &RegistryHost) -> Vec<&'a str> {
    let patterns = rule.included.iter().filter_map(|included| match included {
        Included::Registry(pattern) => Some(pattern),
        Included::Layouts(_) => None,
    });
    let patterns = patterns.filter(|pattern| pattern.store.registry() == Some(host));
    patterns
        .filter(|pattern| pattern.repository().is_none())
        .map(SourcePattern::literal_prefix)
        .collect()
}

async fn add_layouts<'a>(
    pattern: &'a LayoutPattern,
    rule: &Repositories,
    walked: &mut BTreeSet<&'a Path>,
    selected: &mut Selected,
) -> Result<(), Error> {
    let root = pattern.root.as_path();
    if pattern.pattern.is_none() {
        if rule.matches_layout(root) {
            selected.repositories.insert(Address::Layout(root.to_owned()), true);
        }
    } else if walked.insert(root) {
        for name in Layouts::below(root).await? {
            let folder = root.join(name.as_str());
            if rule.matches_layout(&folder) {
                selected.repositories.entry(Address::Layout(folder)).or_insert(false);
            }
        }
    }
    Ok(())
}

/// The same place with the canonical path of a layout that exists, as rules and the audit name it.
pub(super) fn canonical(place: Address) -> Address {
    match place {
        Address::Layout(path) => Address::Layout(path.canonicalize().unwrap_or(path)),
        other => other,
    }
}

/// The same with the canonical paths of all folders that exist, so that an exclusion holds by
/// whatever path a layout is reached.
pub async fn resolved(repositories: &Repositories) -> Repositories {
    let mut resolved = repositories.clone();
    let included = resolved.included.iter_mut().filter_map(|included| match included {
        Included::Layouts(pattern) => Some(pattern),
        Included::Registry(_) => None,
    });
    let excluded = resolved.excluded.iter_mut().filter_map(|exclusion| match exclusion {
        Exclusion::Layouts(pattern) => Some(pattern),
        Exclusion::Registry(..) | Exclusion::Everywhere(_) => None,
    });
    for pattern in included.chain(excluded) {
        if let Ok(canonical) = tokio::fs::canonicalize(&pattern.root).await {
            pattern.root = canonical;
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::registry::Registries;

    async fn select(text: &str, folder: &Path) -> Selected {
        let text = format!(
            "[[cleanup]]\nname = \"a\"\nrepositories = {text}\ndelete = [{{ id = \"u\", untagged = true }}]\n"
        );
        let home = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        let config = crate::config::parse(&text, &folder.join("tranship.toml"), &home);
        let rule = config.unwrap().cleanup.remove(0);
        let registries = Registries::new(
            BTreeMap::new(),
            crate::config::RegistryConfig::default(),
            crate::secret::Environment::new(|_| None),
            || 0.0,
        );
        repositories(&rule, &Stores::new(Arc::new(registries)), Flow::ALONE).await
    }

    #[tokio::test]
    async fn layouts_are_found_below_a_folder_and_by_name() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap();
        for name in [
            "images",
            "images/app",
            "images/team/app",
            "images/team/base-x",
            "images/kept",
            "Single",
        ] {
            Layout::open_or_create(folder.join(name)).await.unwrap();
        }
        let found = |selected: Selected| -> Vec<(String, bool)> {
            assert!(selected.failures.is_empty(), "{:?}", selected.failures);
            let places = selected.repositories.into_iter().map(|(place, expected)| match place {
                Address::Layout(path) => {
                    (path.strip_prefix(&folder).unwrap().display().to_string(), expected)
                }
                _ => panic!("{place:?}"),
            });
            places.collect()
        };
        let all = r#"["oci:images/**", "oci:Single", "oci:images/team/app", "!**/base-*", "!oci:images/kept"]"#;
        let expected = [("Single", true), ("images/app", false), ("images/team/app", true)];
        let expected = expected.map(|(path, named)| (path.to_owned(), named));
        assert_eq!(found(select(all, &folder).await), expected);
        // Whatever path leads to a layout, what is left out is left out.
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.join("images"), folder.join("link")).unwrap();
            let linked = r#"["oci:link/*", "!oci:./images/../images/kept", "!oci:link/team/**"]"#;
            let expected = [("images/app".to_owned(), false)];
            assert_eq!(found(select(linked, &folder).await), expected);
        }
        let absent = select(r#"["oci:absent/**", "oci:nothing"]"#, &folder).await;
        assert_eq!(absent.failures.len(), 1);
        assert!(absent.failures[0].to_string().contains("absent"), "{:?}", absent.failures);
        let named = Address::Layout(folder.join("nothing"));
        assert_eq!(absent.repositories, BTreeMap::from([(named, true)]));
    }
}

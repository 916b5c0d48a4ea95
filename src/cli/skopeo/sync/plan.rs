//! What `skopeo sync` copies where: a pure decision.

use std::collections::HashMap;

use super::file::Wanted;
use crate::config::{SourcePattern, SourceRepositories, Target};
use crate::copy::Extent;
use crate::oci::{Address, ImageAddress};

/// One repository to be copied into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub source: ImageAddress,
    pub extent: Extent,
    pub target: ImageAddress,
}

/// Where repositories go: below the target by their last part, or by all of their names if that is
/// wanted (`scoped`).
///
/// # Errors
/// The target names no place, or two repositories would become one.
pub fn orders(
    wanted: Vec<Wanted>,
    target: &str,
    on_disk: bool,
    scoped: bool,
) -> Result<Vec<Order>, String> {
    let orders = wanted.into_iter().map(|Wanted { repository: source, extent }| {
        let (store, name) = source.repository.clone().split();
        let place = match (scoped, store.registry()) {
            (false, _) => "{name}",
            (true, Some(_)) => "{registry}/{repository}",
            (true, None) => "{repository}",
        };
        let scheme = if on_disk { "oci:" } else { "docker://" };
        let target = target.strip_prefix(scheme).unwrap_or(target);
        let template = format!("{scheme}{}/{place}", target.trim_end_matches('/'));
        let template: Target = template.parse()?;
        let pattern = SourcePattern { store, repositories: SourceRepositories::One(name.clone()) };
        let address = template.address(&pattern, &name).map_err(|error| error.to_string())?;
        let target = ImageAddress { repository: address, tag: None, digest: None };
        Ok(Order { source, extent, target })
    });
    let orders = orders.collect::<Result<Vec<_>, String>>()?;
    let mut users: HashMap<&Address, &Address> = HashMap::new();
    for Order { source, target, .. } in &orders {
        let first = users.entry(&target.repository).or_insert(&source.repository);
        if **first != source.repository {
            return Err(format!(
                "{first} and {} would both become {target}: use --scoped, or one command for each",
                source.repository
            ));
        }
    }
    Ok(orders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(sources: &[&str], target: &str, scoped: bool) -> Result<Vec<String>, String> {
        let wanted = sources.iter().map(|source| Wanted {
            repository: source.parse().unwrap(),
            extent: Extent::all_tags(),
        });
        let on_disk = target.starts_with('/');
        let orders = orders(wanted.collect(), target, on_disk, scoped)?;
        Ok(orders.into_iter().map(|order| order.target.to_string()).collect())
    }

    #[test]
    fn repositories_go_where_skopeo_puts_them() {
        let busybox = ["registry.example.com/repo/busybox"];
        assert_eq!(targets(&busybox, "r.lan", false).unwrap(), ["r.lan/busybox"]);
        assert_eq!(targets(&busybox, "r.lan/repo/", false).unwrap(), ["r.lan/repo/busybox"]);
        let scoped = targets(&busybox, "localhost:5000/m", true).unwrap();
        assert_eq!(scoped, ["localhost:5000/m/registry.example.com/repo/busybox"]);
        let hub = targets(&["alpine"], "r.lan", true).unwrap();
        assert_eq!(hub, ["r.lan/docker.io/library/alpine"]);
        assert_eq!(targets(&busybox, "/media/usb", false).unwrap(), ["oci:/media/usb/busybox"]);
        assert_eq!(targets(&["oci:/x/app"], "r.lan", false).unwrap(), ["r.lan/app"]);
    }

    #[test]
    fn two_repositories_do_not_become_one() {
        let sources = ["a.io/x/app", "b.io/y/app"];
        let error = targets(&sources, "r.lan", false).unwrap_err();
        assert!(error.contains("a.io/x/app and b.io/y/app would both become r.lan/app"), "{error}");
        assert_eq!(targets(&sources, "r.lan", true).unwrap().len(), 2);
        assert_eq!(targets(&["a.io/x", "a.io/x"], "r.lan", false).unwrap().len(), 2);
        let error = targets(&["a.io/x"], "lan", false).unwrap_err();
        assert!(error.contains("names no registry"), "{error}");
    }
}

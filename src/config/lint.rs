//! Warns of what is valid and probably not what was meant. What it needs is known without a network.

use std::collections::BTreeSet;

use super::Config;
use super::checker::Checker;
use super::cleanup::Included;
use super::document::Node;
use super::registry::RegistryConfig;
use super::source::{Source, SourcePattern, SourceRepositories};
use super::sync::SyncRule;
use super::wording::did_you_mean;
use crate::oci::RegistryHost;
use crate::oci::listing::Listing;
use crate::oci::selection::TagSelection;

/// Warns of sync rules. `nodes` are theirs.
pub fn check_sync(rules: &[SyncRule], nodes: &[Node<'_>], checker: &mut Checker<'_>) {
    for (rule, node) in rules.iter().zip(nodes) {
        check_platforms(rule, *node, checker);
        let tags = node.get("tags");
        let selection = rule.parts().map(|part| &part.tags).find(|tags| tags.literals().is_none());
        if tags.is_usable() && selection.is_some_and(TagSelection::is_nothing) {
            let message = "these tags select nothing, whatever tags the source has";
            let hint =
                "change `include`, `exclude` or `semver` so that some tag can fit all of them";
            checker.warn(tags.span(), message, hint);
        }
        for node in node.get("source").items() {
            if let Ok(source) = node.text().parse::<Source>() {
                check_listing(&source.pattern, node, checker);
            }
        }
    }
}

/// Warns of cleanup rules and of registries. `node` is the whole configuration.
pub fn check(config: &Config, node: Node<'_>, checker: &mut Checker<'_>) {
    for (rule, node) in config.cleanup.iter().zip(node.get("cleanup").items()) {
        let entries = node.get("repositories").items();
        let entries = entries.filter(|node| node.as_str().is_some_and(|it| !it.starts_with('!')));
        for (included, node) in rule.repositories.included.iter().zip(entries) {
            if let Included::Registry(pattern) = included {
                check_listing(pattern, node, checker);
            }
        }
    }
    let has_rules = !config.sync.is_empty() || !config.cleanup.is_empty();
    let are_known =
        |kind: &str, is_known: fn(Node<'_>) -> bool| node.get(kind).all_items().all(is_known);
    if checker.is_whole
        && has_rules
        && are_known("sync", |rule| {
            rule.get("source").is_usable() && rule.get("target").is_usable()
        })
        && are_known("cleanup", |rule| {
            rule.get("repositories").is_usable() && rule.get("quarantine").is_sound()
        })
    {
        check_use(config, node.get("registry"), checker);
    }
}

fn check_platforms(rule: &SyncRule, node: Node<'_>, checker: &mut Checker<'_>) {
    for (platform, node) in rule.platforms.iter().zip(node.get("platforms").items()) {
        if platform.is_known() {
            continue;
        }
        let message = format!("no images are known for the platform `{platform}`");
        let hint = match platform.likely() {
            Some(likely) => format!("did you mean \"{likely}\"?"),
            None => "`tranship inspect IMAGE` lists the platforms of an image".to_owned(),
        };
        checker.warn(node.span(), message, &hint);
    }
}

/// Warns of patterns that need a list which the registry does not have.
fn check_listing(source: &SourcePattern, node: Node<'_>, checker: &mut Checker<'_>) {
    let SourceRepositories::Matching(pattern) = &source.repositories else { return };
    let Some(host) = source.store.registry() else { return };
    let (message, hint) = match Listing::at(host) {
        Listing::Catalog => return,
        Listing::ByOwner if !pattern.literal_prefix().is_empty() => return,
        Listing::ByOwner => (
            format!("{host} lists the repositories of one owner at a time"),
            format!("begin with the owner: \"{host}/OWNER/**\""),
        ),
        Listing::Never => (
            format!(
                "{host} does not list its repositories, so no run can find what matches `{pattern}`"
            ),
            format!(
                "write the repositories without wildcards, like \"{host}/NAMESPACE/NAME\"; only push events find them otherwise"
            ),
        ),
        Listing::ForAdministrators => (
            format!("{host} lists its repositories only to its administrators"),
            format!("write the repositories without wildcards, like \"{host}/GROUP/PROJECT\""),
        ),
    };
    checker.warn(node.span(), message, &hint);
}

/// Hosts of the APIs that registries have elsewhere.
const APIS: [(&str, &str); 2] = [("api.github.com", "ghcr.io"), ("hub.docker.com", "docker.io")];

/// Warns of registries that no rule uses.
fn check_use(config: &Config, node: Node<'_>, checker: &mut Checker<'_>) {
    let used = config.hosts_of_rules();
    let realms: BTreeSet<&str> =
        config.registries.values().flat_map(|it| &it.auth_realms).map(String::as_str).collect();
    for (key, _) in node.entries() {
        let Ok(host) = key.get_ref().parse::<RegistryHost>() else { continue };
        let Some(settings) = config.registries.get(&host) else { continue };
        let is_realm = realms.iter().any(|realm| realm.ends_with(host.as_str()));
        let is_api = APIS.iter().any(|(api, registry)| {
            host.name() == *api && used.iter().any(|it| it.name() == *registry)
        });
        if used.contains(&host) || is_realm || is_api || may_be_token_server(&host, settings, &used)
        {
            continue;
        }
        let known: Vec<&str> = used.iter().map(RegistryHost::as_str).collect();
        let same_name = used.iter().find(|it| it.name() == host.name());
        let meant = match same_name {
            Some(other) => format!(" (did you mean `{other}`?)"),
            None => did_you_mean(host.as_str(), &known),
        };
        let message = format!("no rule uses the registry {host}{meant}");
        let hint = "write the host as in the rules, with its port; or remove the entry if no other command needs it";
        checker.warn(key.span(), message, hint);
    }
}

/// Whether the entry may be for the token server of a registry that is used: it has no login, and is
/// in the same domain.
fn may_be_token_server(
    host: &RegistryHost,
    settings: &RegistryConfig,
    used: &BTreeSet<RegistryHost>,
) -> bool {
    let parent =
        |host: &RegistryHost| host.name().split_once('.').map(|(_, parent)| parent.to_owned());
    settings.username.is_none()
        && used.iter().any(|it| parent(it) == parent(host) || it.name() == host.name())
}

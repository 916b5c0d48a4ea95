//! Which registries are known not to list their repositories, by their hosts.

use super::RegistryHost;

/// How the repositories of a registry can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// By the `_catalog` endpoint, as far as is known.
    Catalog,
    /// Those of one owner at a time: GitHub and Docker Hub.
    ByOwner,
    /// Not at all.
    Never,
    /// Only for administrators of the registry.
    ForAdministrators,
}

impl Listing {
    /// How the registry at this host lists its repositories.
    pub fn at(host: &RegistryHost) -> Self {
        match host.name() {
            "ghcr.io" | "docker.io" => Self::ByOwner,
            "public.ecr.aws" | "registry.k8s.io" => Self::Never,
            "registry.gitlab.com" => Self::ForAdministrators,
            _ => Self::Catalog,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_a_list_are_known() {
        for (host, expected) in [
            ("index.docker.io", Listing::ByOwner),
            ("registry.k8s.io", Listing::Never),
            ("public.ecr.aws", Listing::Never),
            ("ghcr.io", Listing::ByOwner),
            ("registry.gitlab.com", Listing::ForAdministrators),
            ("quay.io", Listing::Catalog),
            ("acme.azurecr.io", Listing::Catalog),
            ("123.dkr.ecr.eu-west-1.amazonaws.com", Listing::Catalog),
            ("registry.example.com:5000", Listing::Catalog),
        ] {
            assert_eq!(Listing::at(&host.parse().unwrap()), expected, "{host}");
        }
    }
}

//! What an operator must do after manifests were deleted, before their space is free. Advice for
//! people, by the registry's name; nothing is decided by it.

use crate::oci::RegistryHost;

/// The advice for a registry; `None`: it frees the space by itself.
pub(in crate::registry) fn advice(host: &RegistryHost) -> Option<String> {
    let name = host.name();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let hosted = ends(&[
        "docker.io",
        "ghcr.io",
        "quay.io",
        ".azurecr.io",
        ".amazonaws.com",
        "public.ecr.aws",
        "gcr.io",
        ".pkg.dev",
        "registry.gitlab.com",
    ]);
    if hosted {
        return None;
    }
    let what = if name.contains("harbor") {
        "Harbor frees it when garbage collection runs: Administration, Clean Up"
    } else if name.contains("gitlab") {
        "GitLab frees it by online garbage collection where the metadata database is in use, else when `gitlab-ctl registry-garbage-collect` runs"
    } else if name.contains("zot") {
        "zot frees it by its own garbage collection, if `gc` is set"
    } else {
        "it frees it when its garbage collection runs; docker-registry's is `registry garbage-collect CONFIG`, while nobody pushes"
    };
    Some(format!("{host} still holds the blobs of what was deleted: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_that_need_it_get_advice() {
        let of = |host: &str| advice(&host.parse().unwrap());
        for host in ["ghcr.io", "123.dkr.ecr.eu-west-1.amazonaws.com", "europe-docker.pkg.dev"] {
            assert_eq!(of(host), None, "{host}");
        }
        for (host, words) in [
            ("harbor.example.com", "Administration"),
            ("gitlab.example.com:5050", "registry-garbage-collect"),
            ("127.0.0.1:5000", "`registry garbage-collect CONFIG`"),
        ] {
            let advice = of(host).unwrap();
            assert!(advice.starts_with(host) && advice.contains(words), "{advice}");
        }
    }
}

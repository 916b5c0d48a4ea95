//! What a path of the registry API asks for. Pure.

use super::answer::Refusal;
use crate::layout::UploadId;
use crate::oci::{Digest, RepositoryName};
use crate::repository::Reference;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Base,
    Catalog,
    Repository(RepositoryName, Resource),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    Tags,
    Manifest(Reference),
    Blob(Digest),
    Uploads,
    Upload(UploadId),
    Referrers(Digest),
}

/// Reads a path. Names may hold any of the API's own words, so it is read from its end.
pub(super) fn parse(path: &str) -> Result<Route, Refusal> {
    // Some clients escape the colon of a digest, which is needless; nothing else in a valid
    // path can be escaped.
    let path = path.replace("%3A", ":").replace("%3a", ":");
    let Some(path) = path.strip_prefix("/v2") else { return Err(not_found()) };
    match path {
        "" | "/" => return Ok(Route::Base),
        "/_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    let path = path.strip_prefix('/').ok_or_else(not_found)?;
    if let Some(name) = path.strip_suffix("/tags/list") {
        return repository(name, Resource::Tags);
    }
    if let Some(name) =
        path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads"))
    {
        return repository(name, Resource::Uploads);
    }
    let (rest, last) = path.rsplit_once('/').ok_or_else(not_found)?;
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        let unknown = |_| Refusal::not_found("BLOB_UPLOAD_UNKNOWN", "there is no such upload");
        let id = last.parse().map_err(unknown)?;
        return repository(name, Resource::Upload(id));
    }
    let (name, kind) = rest.rsplit_once('/').ok_or_else(not_found)?;
    match kind {
        "manifests" if last.contains(':') => {
            repository(name, Resource::Manifest(Reference::Digest(digest(last)?)))
        }
        "manifests" => {
            let tag = last.parse().map_err(|error| {
                // No such tag can exist, and the specification has no code of its own for that.
                let message = format!("{error}");
                Refusal::not_found("MANIFEST_UNKNOWN", message)
            })?;
            repository(name, Resource::Manifest(Reference::Tag(tag)))
        }
        "blobs" => repository(name, Resource::Blob(digest(last)?)),
        "referrers" => repository(name, Resource::Referrers(digest(last)?)),
        _ => Err(not_found()),
    }
}

fn repository(name: &str, resource: Resource) -> Result<Route, Refusal> {
    match name.parse() {
        Ok(name) => Ok(Route::Repository(name, resource)),
        Err(error) => Err(Refusal::bad_request("NAME_INVALID", error.to_string())),
    }
}

pub(super) fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: crate::oci::digest::DigestError| {
        Refusal::bad_request("DIGEST_INVALID", error.to_string())
    })
}

fn not_found() -> Refusal {
    Refusal::not_found("UNSUPPORTED", "this path is no part of the registry API")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn refused(path: &str) -> (u16, &'static str) {
        let refusal = parse(path).unwrap_err();
        (refusal.status.as_u16(), refusal.code)
    }

    #[test]
    fn what_is_no_route_is_refused_with_its_code() {
        let cases = [
            ("/", 404, "UNSUPPORTED"),
            ("/v1/", 404, "UNSUPPORTED"),
            ("/v2x", 404, "UNSUPPORTED"),
            ("/v2/app", 404, "UNSUPPORTED"),
            ("/v2/app/layers/x", 404, "UNSUPPORTED"),
            ("/v2/tags/list", 404, "UNSUPPORTED"),
            ("/v2/App/tags/list", 400, "NAME_INVALID"),
            ("/v2/a/../../b/tags/list", 400, "NAME_INVALID"),
            ("/v2/a%2Fb/tags/list", 400, "NAME_INVALID"),
            ("/v2//tags/list", 400, "NAME_INVALID"),
            ("/v2/app/blobs/sha256:0", 400, "DIGEST_INVALID"),
            ("/v2/app/blobs/..", 400, "DIGEST_INVALID"),
            ("/v2/app/referrers/latest", 400, "DIGEST_INVALID"),
            ("/v2/app/manifests/md5:0", 400, "DIGEST_INVALID"),
            ("/v2/app/manifests/.x", 404, "MANIFEST_UNKNOWN"),
            ("/v2/app/blobs/uploads/../../x", 404, "UNSUPPORTED"),
            ("/v2/app/blobs/uploads/x", 404, "BLOB_UPLOAD_UNKNOWN"),
        ];
        for (path, status, code) in cases {
            assert_eq!(refused(path), (status, code), "{path}");
        }
        assert_eq!(parse("/v2").unwrap(), Route::Base);
    }

    fn name() -> impl Strategy<Value = RepositoryName> {
        let part = prop_oneof![
            "[a-z0-9]{1,4}([._-][a-z0-9]{1,3})?",
            prop::sample::select(vec!["v2", "tags", "list", "manifests", "blobs", "uploads"])
                .prop_map(str::to_owned),
        ];
        prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/").parse().unwrap())
    }

    fn resource() -> impl Strategy<Value = (Resource, String)> {
        let digest = any::<[u8; 32]>().prop_map(Digest::Sha256);
        prop_oneof![
            Just((Resource::Tags, "tags/list".to_owned())),
            Just((Resource::Uploads, "blobs/uploads/".to_owned())),
            Just((Resource::Upload(ID.parse().unwrap()), format!("blobs/uploads/{ID}"))),
            digest.clone().prop_map(|d| (Resource::Blob(d.clone()), format!("blobs/{d}"))),
            digest.clone().prop_map(|d| (Resource::Referrers(d.clone()), format!("referrers/{d}"))),
            digest.prop_map(|d| {
                let path = format!("manifests/{d}").replace(':', "%3A");
                (Resource::Manifest(Reference::Digest(d)), path)
            }),
            "[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}".prop_map(|tag| {
                let path = format!("manifests/{tag}");
                (Resource::Manifest(Reference::Tag(tag.parse().unwrap())), path)
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_route_is_found_under_every_name(name in name(), (resource, path) in resource()) {
            let read = parse(&format!("/v2/{name}/{path}")).unwrap();
            prop_assert_eq!(read, Route::Repository(name, resource));
        }

        #[test]
        fn parsing_never_panics(path in "\\PC{0,60}|/v2(/[a-z.:%]{0,9}){0,6}") {
            let _ = parse(&path);
        }
    }
}

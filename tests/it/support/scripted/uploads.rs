//! Blob uploads of a scripted registry: opening, mounting, chunks, closing, breaking.

use bytes::Bytes;
use tranship::oci::Digest;

use super::handler::{Route, error};
use super::quirks::{Mount, Quirks};
use super::{Shared, serial};
use crate::support::wire::{Body, Head, Response};

/// Answers a request to `/blobs/uploads/`; `id` is the session, `None` opens one.
pub fn answer(
    shared: &Shared,
    quirks: &Quirks,
    head: &Head,
    name: &str,
    id: Option<&str>,
    body: Bytes,
) -> Response {
    let Some(id) = id else {
        return match head.method.as_str() {
            "POST" => open(shared, quirks, head, name),
            _ => error(405, "UNSUPPORTED", "the operation is unsupported"),
        };
    };
    if quirks.max_body.is_some_and(|most| body.len() > most) {
        return Response::new(413).body("<html><title>413 Request Entity Too Large</title></html>");
    }
    let mut store = shared.store.lock().unwrap();
    let repository = store.repository(name);
    // The query of a Location must come back with it.
    let known = head.parameter("_state").is_some();
    let Some(upload) = repository.uploads.get_mut(id).filter(|_| known) else {
        return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    match head.method.as_str() {
        "GET" => progress(quirks, 204, name, id, upload.len()),
        "DELETE" => {
            repository.uploads.remove(id);
            Response::new(204)
        }
        "PATCH" | "PUT" => {
            if head.method == "PATCH" && quirks.max_patch.is_some_and(|most| body.len() > most) {
                return error(416, "SIZE_INVALID", "chunk too large");
            }
            if !continues(head, upload.len()) {
                return error(416, "RANGE_INVALID", "chunk does not begin where the last ended");
            }
            if head.method == "PATCH" || !quirks.loses_put_bodies {
                upload.extend_from_slice(&body);
            }
            if head.method == "PATCH" {
                return progress(quirks, 202, name, id, upload.len());
            }
            let bytes = repository.uploads.remove(id).unwrap_or_default();
            let wanted = head.parameter("digest").unwrap_or_default();
            if !wanted.parse::<Digest>().is_ok_and(|digest| digest.matches(&bytes)) {
                return error(400, "DIGEST_INVALID", "provided digest did not match content");
            }
            repository.insert_blob(&wanted, bytes.into());
            committed(name, &wanted)
        }
        _ => error(405, "UNSUPPORTED", "the operation is unsupported"),
    }
}

/// Whether `Content-Range`, where there is one, begins at the byte that is next.
fn continues(head: &Head, length: usize) -> bool {
    let Some(range) = head.header("content-range") else { return true };
    range.split_once('-').and_then(|(from, _)| from.parse().ok()) == Some(length)
}

fn open(shared: &Shared, quirks: &Quirks, head: &Head, name: &str) -> Response {
    let mut store = shared.store.lock().unwrap();
    if quirks.create_first && !store.existing(name).is_some_and(|repository| repository.created) {
        return error(404, "NAME_UNKNOWN", "repository name not known to registry");
    }
    if let Some(digest) = head.parameter("mount") {
        match quirks.mount {
            Mount::Refused(status) => return error(status, "UNSUPPORTED", "no mounts here"),
            Mount::Opens => {}
            Mount::Works => {
                let from = head.parameter("from").unwrap_or_default();
                let there = store.existing(&from).and_then(|from| from.blobs.get(&digest)).cloned();
                if let Some(bytes) = there {
                    store.repository(name).insert_blob(&digest, bytes);
                    return committed(name, &digest);
                }
            }
        }
    }
    let id = format!("upload-{}", serial());
    store.repository(name).uploads.insert(id.clone(), Vec::new());
    let response = progress(quirks, 202, name, &id, 0);
    match quirks.chunk_min_length {
        Some(length) => response.header("oci-chunk-min-length", length.to_string()),
        None => response,
    }
}

/// Where an upload stands. The Location changes with every answer.
fn progress(quirks: &Quirks, status: u16, name: &str, id: &str, length: usize) -> Response {
    let base = quirks.upload_base.as_deref().unwrap_or_default();
    let location = format!("{base}/v2/{name}/blobs/uploads/{id}?_state={}", serial());
    Response::new(status)
        .header("location", location)
        .header("docker-upload-uuid", id)
        // `0-0` for an empty upload too, as distribution has it.
        .header("range", format!("0-{}", length.saturating_sub(1)))
}

fn committed(name: &str, digest: &str) -> Response {
    Response::new(201)
        .header("location", format!("/v2/{name}/blobs/{digest}"))
        .header("docker-content-digest", digest)
}

/// A request broke in its body: keeps what arrived of an upload, or forgets the upload.
pub fn broken(shared: &Shared, quirks: &Quirks, head: &Head, body: &Body) {
    let Route::Upload(name, Some(id)) = Route::of(&head.path) else { return };
    let mut store = shared.store.lock().unwrap();
    let uploads = &mut store.repository(&name).uploads;
    if !quirks.keeps_partial {
        uploads.remove(&id);
    } else if let Some(upload) = uploads.get_mut(&id)
        && continues(head, upload.len())
    {
        upload.extend_from_slice(&body.bytes);
    }
}

/// Forgets an upload, and says so.
pub fn forget(shared: &Shared, head: &Head) -> Response {
    if let Route::Upload(name, Some(id)) = Route::of(&head.path) {
        shared.store.lock().unwrap().repository(&name).uploads.remove(&id);
    }
    error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

//! Layers: tar files, gzipped, as image-spec layer.md describes them.

use std::io;

use super::blob::Blob;
use super::gzip;
use crate::oci::Digest;

const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layer, and what the image's config says about it.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub blob: Blob,
    /// The digest of the uncompressed tar file (image-spec config.md, `diff_ids`).
    pub diff_id: Digest,
}

/// A layer with these files: paths without a leading slash, and their content.
pub(super) fn layer(files: &[(&str, &[u8])]) -> io::Result<Layer> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(if path.contains("bin/") { 0o755 } else { 0o644 });
        // No time, no user: the same files are the same layer.
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, path, *content)?;
    }
    let tar = archive.into_inner()?;
    Ok(Layer { diff_id: Digest::of(&tar), blob: Blob::new(MEDIA_TYPE, gzip::wrap(&tar)) })
}

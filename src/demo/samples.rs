//! The sample images: their repositories, tags and content. They are the same on every machine, so
//! that everybody sees the same digests.

use std::io;

use super::image::Image;
use super::layer::{Layer, layer};
use crate::oci::derived::cosign_tag;
use crate::oci::{Digest, Tag};
use crate::repository::Placement;

/// Bytes of the layer that most images share.
const BASE: usize = 256 << 10;

/// Something to be put into a repository.
#[derive(Debug)]
pub(super) struct Sample {
    pub repository: &'static str,
    pub placement: Placement,
    pub image: Image,
}

impl Sample {
    fn tagged(repository: &'static str, tag: &str, image: Image) -> io::Result<Self> {
        let tag: Tag = tag.parse().map_err(io::Error::other)?;
        Ok(Self { repository, placement: Placement::Tag(tag), image })
    }
}

/// What the source holds at first: three repositories, with releases, a moving `latest`, a
/// signed index, and a command-line tool for three platforms.
pub(super) fn at_first() -> io::Result<Vec<Sample>> {
    let base = base()?;
    let web = |version| program("web", version, &["amd64", "arm64"], &base);
    let signed = signed()?;
    let (digest, signature) = (signed.manifest.digest.clone(), signed.signature()?);
    let cosign = Sample {
        repository: "acme/web",
        placement: Placement::Tag(cosign_tag(&digest, ".sig")),
        image: signed.cosign("acme/web")?,
    };
    Ok(vec![
        Sample::tagged("acme/web", "1.0", web("1.0")?)?,
        Sample::tagged("acme/web", "1.1", signed.clone())?,
        Sample::tagged("acme/web", "latest", signed)?,
        Sample { repository: "acme/web", placement: Placement::Part, image: signature },
        cosign,
        Sample::tagged("acme/worker", "2.0", single("worker", "2.0", &base)?)?,
        Sample::tagged("acme/worker", "2.1", single("worker", "2.1", &base)?)?,
        Sample::tagged("tools/cli", "v1.9.0", tool("1.9.0", &base)?)?,
        Sample::tagged("tools/cli", "v1.10.0", tool("1.10.0", &base)?)?,
        Sample::tagged("tools/cli", "v1.11.0-rc1", tool("1.11.0-rc1", &base)?)?,
    ])
}

/// The image that is signed, and `latest` at first.
pub(super) fn signed() -> io::Result<Image> {
    program("web", "1.1", &["amd64", "arm64"], &base()?)
}

/// What `latest` becomes at the source: a new program on the same base.
pub(super) fn moved() -> io::Result<Sample> {
    let image = program("web", "1.2", &["amd64", "arm64"], &base()?)?;
    Sample::tagged("acme/web", "latest", image)
}

fn program(
    name: &str,
    version: &str,
    architectures: &[&'static str],
    base: &Layer,
) -> io::Result<Image> {
    let images = architectures.iter().map(|architecture| {
        let app = app(name, version, architecture)?;
        Ok((*architecture, Image::linux(architecture, version, &[base.clone(), app])?))
    });
    Image::index(images.collect::<io::Result<_>>()?)
}

fn tool(version: &str, base: &Layer) -> io::Result<Image> {
    program("cli", version, &["amd64", "arm64", "s390x"], base)
}

fn single(name: &str, version: &str, base: &Layer) -> io::Result<Image> {
    Image::linux("amd64", version, &[base.clone(), app(name, version, "amd64")?])
}

fn base() -> io::Result<Layer> {
    let release = b"NAME=\"tranship demo\"\nID=demo\n";
    layer(&[("etc/os-release", release), ("usr/lib/base", &noise(BASE))])
}

fn app(name: &str, version: &str, architecture: &str) -> io::Result<Layer> {
    let script = format!("#!/bin/sh\necho 'this is {name} {version} for {architecture}'\n");
    layer(&[("bin/app", script.as_bytes())])
}

/// Bytes like those of a program: hardly compressible, and the same each time.
fn noise(size: usize) -> Vec<u8> {
    let mut block = Digest::of(b"tranship demo");
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        bytes.extend_from_slice(block.as_bytes());
        block = Digest::of(block.as_bytes());
    }
    bytes.truncate(size);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_the_same_for_everybody() {
        let samples = at_first().unwrap();
        let text: String = samples
            .iter()
            .flat_map(|sample| sample.image.all())
            .map(|image| format!("{}\n", image.manifest.digest))
            .collect();
        let again = at_first().unwrap();
        assert_eq!(samples.len(), again.len());
        let expected = "sha256:ce8987d40c4fd2b30240fbadcf0dd5f10778c52eaf252e11073fb495a53fe6ec";
        assert_eq!(Digest::of(text.as_bytes()).to_string(), expected);
    }
}

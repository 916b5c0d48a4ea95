//! `tranship inspect`: what an image is made of, without its layers.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::args::{Global, Reach};
use super::exit::{CliError, Exit};
use super::lines::Lines;
use super::skopeo::{Inspecting, Reaching, Retries, ThisRegistry, chosen};
use super::{output, signals};
use crate::fair::Flow;
use crate::oci::ImageAddress;
use crate::oci::{Descriptor, Digest, Document, Manifest, Tag, media_type};
use crate::repository::{Cause, Error, Reference, Repository, missing, read_small_blob};
use crate::stores::Access;
use crate::transfer::{self, ManifestReader, TagIndex, manifest_memory};

/// Referrers that are read at once.
const PARALLEL: usize = 8;
/// What the types of an image's referrers may have together, in bytes.
const MAX_TYPES: usize = 16 << 20;

/// Show the platforms, configuration and layers of an image
///
/// For an index, shows its platforms. For an image, shows its configuration and layers. Layers are
/// not downloaded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship inspect alpine:3.22
  tranship inspect --referrers --output json ghcr.io/acme/app:1.0
  tranship inspect --raw oci:./layout:1.0 | sha256sum
  tranship inspect --format '{{.Digest}}' docker://ghcr.io/acme/app:1.0")]
pub struct Args {
    /// Image: HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:TAG] or oci-archive:FILE[:TAG]
    reference: ImageAddress,
    /// Print the manifest exactly as it is stored
    #[arg(long, conflicts_with = "referrers")]
    raw: bool,
    /// Also show referrers: signatures, SBOMs, attestations
    #[arg(long)]
    referrers: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    inspecting: Inspecting,
    #[command(flatten)]
    registry: ThisRegistry,
    #[command(flatten)]
    retries: Retries,
}

/// The document that `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    digest: Digest,
    media_type: String,
    /// Of the manifest, in bytes.
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
    annotations: BTreeMap<String, String>,
    /// Of an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    platforms: Option<Vec<Child>>,
    /// Of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Blob>>,
    /// `None`: not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers: Option<Vec<Referrer>>,
}

#[derive(Debug, Serialize)]
struct Child {
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(flatten)]
    manifest: Blob,
    /// The sibling that this attestation is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    attests: Option<Digest>,
}

/// A blob or a manifest, as the manifest above it describes it.
#[derive(Debug, Serialize)]
struct Blob {
    digest: Digest,
    media_type: String,
    /// In bytes.
    size: u64,
}

/// What of an image's configuration is shown (image-spec config.md). Not its environment, which
/// may hold secrets.
#[derive(Debug, Serialize)]
struct Config {
    #[serde(flatten)]
    blob: Blob,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Referrer {
    digest: Digest,
    /// What it refers to: the image, or another referrer.
    subject: Digest,
    /// The cosign tag that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    size: u64,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let wanted = args.inspecting.wanted(&global.skopeo, args.raw, global.output)?;
    let reaching = Reaching { global, reach: &args.reach, retries: &args.retries };
    signals::unless_stopped(async {
        let stores = reaching.image(args.registry, &args.reference).await?;
        let source = stores.open_image(&args.reference, Flow::ALONE, Access::Read).await?;
        let image = source.image().await?;
        let repository = &**source.repository();
        let mut manifest = manifest(repository, &image.reference).await?;
        if let Some(wanted) = wanted {
            wanted.print(repository, &args.reference, &manifest).await?;
            return Ok(Exit::Done);
        }
        if args.raw {
            output::print_foreign(&manifest.raw)?;
            return Ok(Exit::Done);
        }
        if let Some(platform) = global.skopeo.platform() {
            manifest = chosen(repository, &manifest, &platform).await?.unwrap_or(manifest);
        }
        let report = describe(repository, image.tag, &manifest, args.referrers).await?;
        output::print(global, &report, || output::print_lines(&as_text(&report)))?;
        Ok(Exit::Done)
    })
    .await
}

async fn manifest(repository: &dyn Repository, reference: &Reference) -> Result<Manifest, Error> {
    let found = repository.manifest(reference).await?;
    match found {
        Some(manifest) => Ok(manifest),
        None => Err(missing("inspect", repository, reference).await),
    }
}

async fn describe(
    repository: &dyn Repository,
    tag: Option<Tag>,
    manifest: &Manifest,
    referrers: bool,
) -> Result<Report, Error> {
    let (mut platforms, mut config, mut layers) = (None, None, None);
    match &manifest.document {
        Document::Index { children } => platforms = Some(children.iter().map(child).collect()),
        Document::Image { blobs } => {
            if let [first, rest @ ..] = &blobs[..] {
                config = Some(read_config(repository, first).await?);
                layers = Some(rest.iter().map(blob).collect());
            }
        }
    }
    let referrers = match referrers {
        true => Some(find_referrers(repository, &manifest.digest).await?),
        false => None,
    };
    Ok(Report {
        repository: repository.name().to_owned(),
        tag,
        digest: manifest.digest.clone(),
        media_type: manifest.media_type.clone(),
        size: manifest.raw.len() as u64,
        artifact_type: manifest.artifact_type.clone(),
        subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
        annotations: manifest.annotations.clone().unwrap_or_default(),
        platforms,
        config,
        layers,
        referrers,
    })
}

fn child(descriptor: &Descriptor) -> Child {
    Child {
        platform: descriptor.platform.as_ref().map(ToString::to_string),
        manifest: blob(descriptor),
        attests: descriptor.attested(),
    }
}

fn blob(descriptor: &Descriptor) -> Blob {
    Blob {
        digest: descriptor.digest.clone(),
        media_type: descriptor.media_type.clone(),
        size: descriptor.size,
    }
}

/// An image's configuration. Of an artifact's, only where it is.
async fn read_config(repository: &dyn Repository, config: &Descriptor) -> Result<Config, Error> {
    #[derive(Deserialize)]
    struct Document {
        created: Option<String>,
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
        config: Option<Settings>,
    }
    #[derive(Deserialize)]
    struct Settings {
        #[serde(rename = "Labels")]
        labels: Option<BTreeMap<String, String>>,
    }
    let blob = blob(config);
    if !media_type::is_image_config(&blob.media_type) {
        return Ok(Config { blob, created: None, platform: None, labels: BTreeMap::new() });
    }
    let bytes = read_small_blob(repository, &config.digest).await?;
    let document: Document = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("it is not an image's configuration: {error}");
        about(repository, config, Cause::Protocol(message))
    })?;
    let parts = [document.os, document.architecture, document.variant];
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    Ok(Config {
        blob,
        created: document.created,
        platform: (!parts.is_empty()).then(|| parts.join("/")),
        labels: document.config.and_then(|settings| settings.labels).unwrap_or_default(),
    })
}

fn about(repository: &dyn Repository, blob: &Descriptor, cause: Cause) -> Error {
    Error::new("read blob", format!("{}@{}", repository.name(), blob.digest), cause)
}

async fn find_referrers(
    repository: &dyn Repository,
    subject: &Digest,
) -> Result<Vec<Referrer>, Error> {
    let tags = repository.tags().await?.unwrap_or_default();
    let memory = manifest_memory().begin();
    let reader = &ManifestReader::quiet(repository, &memory);
    let subjects = std::slice::from_ref(subject);
    let found = transfer::survey(reader, subjects, &TagIndex::new(&tags)).await?;
    let mut reading = futures_util::stream::iter(found)
        .map(|transfer::Referrer { subject, digest, tag }| async move {
            let reference = Reference::Digest(digest.clone());
            let found = reader.read(&reference).await?;
            let Some(manifest) = found else {
                return Err(missing("inspect", repository, &reference).await);
            };
            let (artifact_type, size) = (manifest.artifact_type.clone(), manifest.raw.len() as u64);
            Ok(Referrer { digest, subject, tag, artifact_type, size })
        })
        .buffered(PARALLEL);
    let (mut referrers, mut types) = (Vec::new(), 0);
    while let Some(referrer) = reading.try_next().await? {
        types += referrer.artifact_type.as_ref().map_or(0, String::len);
        if types > MAX_TYPES {
            let message = format!("the types of its referrers have more than {MAX_TYPES} bytes");
            let name = format!("{}@{subject}", repository.name());
            return Err(Error::new("inspect", name, Cause::Protocol(message)));
        }
        referrers.push(referrer);
    }
    Ok(referrers)
}

fn as_text(report: &Report) -> Lines {
    let tag = report.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let mut text = Text::default();
    text.line("name", &format!("{}{tag}", report.repository));
    text.line("digest", report.digest.to_string().as_str());
    text.line("type", &report.media_type);
    text.line("size", &format!("{} (of the manifest)", output::bytes(report.size)));
    if let Some(artifact) =
        report.artifact_type.as_ref().filter(|kind| !media_type::is_image_config(kind))
    {
        text.line("artifact", artifact);
    }
    if let Some(subject) = &report.subject {
        text.line("refers to", subject.to_string().as_str());
    }
    if let Some(config) = &report.config {
        let Config { created, platform, .. } = config;
        platform.iter().for_each(|platform| text.line("platform", platform));
        created.iter().for_each(|created| text.line("created", created));
    }
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    text.list("annotations", pairs(&report.annotations));
    if let Some(config) = &report.config {
        text.list("labels", pairs(&config.labels));
    }
    if let Some(platforms) = &report.platforms {
        text.list("platforms", platforms.iter().map(child_line).collect());
    }
    if let Some(layers) = &report.layers {
        let total: u64 = layers.iter().map(|layer| layer.size).sum();
        let line = |layer: &Blob| format!("{} {}", layer.digest, output::bytes(layer.size));
        text.list("layers", layers.iter().map(line).collect());
        text.line("in all", &output::bytes(total));
    }
    if let Some(referrers) = &report.referrers {
        text.list("referrers", referrers.iter().map(referrer_line).collect());
    }
    text.0
}

fn child_line(child: &Child) -> String {
    let Blob { digest, media_type, .. } = &child.manifest;
    match (&child.attests, &child.platform) {
        (Some(attested), _) => format!("{digest} attestation of {attested}"),
        (None, Some(platform)) => format!("{digest} {platform}"),
        (None, None) => format!("{digest} {media_type}"),
    }
}

fn referrer_line(referrer: &Referrer) -> String {
    let kind = referrer.artifact_type.as_deref().unwrap_or("of unknown type");
    match &referrer.tag {
        Some(tag) => format!("{} {kind} ({tag})", referrer.digest),
        None => format!("{} {kind}", referrer.digest),
    }
}

#[derive(Default)]
struct Text(Lines);

impl Text {
    fn line(&mut self, name: &str, value: &str) {
        self.0.line(format!("{:<12}{value}", format!("{name}:")));
    }

    fn list(&mut self, name: &str, lines: Vec<String>) {
        if !lines.is_empty() {
            self.0.line(format!("{name}:"));
        }
        for line in lines {
            self.0.line(format!("  {line}"));
        }
    }
}

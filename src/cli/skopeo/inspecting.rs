//! skopeo's options of `inspect`, and an image with the names that skopeo's templates and JSON have.

use super::image_config::{self, Part};
use super::{Globals, HEADING};
use crate::cli::args::Output;
use crate::cli::exit::{CliError, Exit};
use crate::cli::go_template::{Entry, Template, TemplateError, Value};
use crate::cli::output;
use crate::oci::{Address, Descriptor, Digest, Document, ImageAddress, Manifest, Platform, Tag};
use crate::oci::{media_type, reference};
use crate::repository::{Cause, Error, ErrorKind, Reference, Repository, read_small_blob};
use crate::transfer::platforms;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct Inspecting {
    /// Print what this Go template makes of the image of this machine's platform
    ///
    /// Fields: .Name .Tag .Digest .RepoTags .Created .DockerVersion .Labels .Architecture .Os .Layers
    /// .LayersData .Env. `{{json .}}` prints all of them.
    #[arg(
        long,
        short,
        value_name = "TEMPLATE",
        hide_short_help = true,
        conflicts_with = "referrers"
    )]
    format: Option<String>,
    /// Leave .RepoTags empty: the tags of the repository are not listed
    #[arg(long, short, hide_short_help = true)]
    no_tags: bool,
    /// Print the configuration of the image of this machine's platform (skopeo's --config)
    #[arg(long, hide_short_help = true, conflicts_with = "referrers")]
    image_config: bool,
}

/// What of an image is printed in skopeo's way.
pub struct Wanted {
    format: Option<Format>,
    config: bool,
    raw: bool,
    no_tags: bool,
    platform: Platform,
}

enum Format {
    Json,
    Template(Template),
}

impl Inspecting {
    /// `None`: what is printed is tranship's own. `raw`: as it is stored.
    pub fn wanted(
        self,
        globals: &Globals,
        raw: bool,
        output: Output,
    ) -> Result<Option<Wanted>, CliError> {
        let Self { format, no_tags, image_config: config } = self;
        if format.is_some() && raw {
            return Err(CliError::usage(
                "--raw prints bytes as they are stored: it has no --format",
            ));
        }
        if format.is_none() && !config {
            return Ok(None);
        }
        if output == Output::Json {
            return Err(CliError::Hinted {
                exit: Exit::Usage,
                message: "--output json is tranship's own document".to_owned(),
                hint: "leave it out for --format and --image-config, which are skopeo's",
            });
        }
        let format = format.as_deref().map(read_format).transpose()?;
        let platform = globals.platform().unwrap_or_else(Platform::of_this_machine);
        Ok(Some(Wanted { format, config, raw, no_tags, platform }))
    }
}

fn read_format(text: &str) -> Result<Format, CliError> {
    let bare: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    if ["json", "{{json.}}", "{{json}}"].contains(&bare.as_str()) {
        return Ok(Format::Json);
    }
    if text.starts_with("table ") {
        return Err(not_filled(&"tables are not supported"));
    }
    // As skopeo reads them in shells that do not.
    let text = text.replace("\\t", "\t").replace("\\n", "\n");
    let line = if text.ends_with('\n') { text } else { format!("{text}\n") };
    line.parse().map(Format::Template).map_err(|error: TemplateError| not_filled(&error))
}

fn not_filled(why: &dyn std::fmt::Display) -> CliError {
    CliError::Hinted {
        exit: Exit::Usage,
        message: format!("--format: {why}"),
        hint: "for everything else, use --format '{{json .}}' or --output json, and jq",
    }
}

impl Wanted {
    /// Prints what is wanted of the image that this manifest was found for.
    pub async fn print(
        &self,
        repository: &dyn Repository,
        address: &ImageAddress,
        found: &Manifest,
    ) -> Result<(), CliError> {
        let image = chosen(repository, found, &self.platform).await?;
        let image = image.as_ref().unwrap_or(found);
        let (config, layers) = parts(repository, image)?;
        let bytes = read_small_blob(repository, &config.digest).await?;
        if self.config && self.raw {
            return output::print_foreign(&bytes);
        }
        let document = image_config::read(&bytes).map_err(|why| {
            let name = format!("{}@{}", repository.name(), config.digest);
            Error::new("read blob", name, Cause::Protocol(why))
        })?;
        let value = match self.config {
            true => image_config::value(&document),
            false => {
                let tags = match address.repository.host() {
                    Some(_) => self.repo_tags(repository).await?,
                    // Of layouts and archives, skopeo lists none.
                    None => Vec::new(),
                };
                about(address, &found.digest, tags, &document, layers)
            }
        };
        let text = match &self.format {
            Some(Format::Template(template)) => {
                template.fill(&value).map_err(|error| not_filled(&error))?
            }
            Some(Format::Json) | None => as_go_writes_it(&value)?,
        };
        output::print_foreign(text.as_bytes())
    }

    /// The tags of the repository, if they are wanted and the registry lists them.
    async fn repo_tags(&self, repository: &dyn Repository) -> Result<Vec<Tag>, Error> {
        let uses = match &self.format {
            Some(Format::Template(template)) => template.may_use("RepoTags"),
            Some(Format::Json) | None => true,
        };
        if self.no_tags || !uses {
            return Ok(Vec::new());
        }
        match repository.tags().await {
            Ok(tags) => Ok(tags.unwrap_or_default()),
            // Some registries let an image be read, but not the list.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::Unsupported
                ) =>
            {
                tracing::warn!("RepoTags is empty: {error}");
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

/// The image for this platform, if the manifest is an index.
pub async fn chosen(
    repository: &dyn Repository,
    found: &Manifest,
    platform: &Platform,
) -> Result<Option<Manifest>, Error> {
    let Document::Index { children } = &found.document else { return Ok(None) };
    let name = |digest: &Digest| format!("{}@{digest}", repository.name());
    let child = platforms::choose(children, platform).map_err(|error| {
        Error::new("inspect", name(&found.digest), Cause::Unsupported(error.to_string()))
    })?;
    let manifest = repository.manifest(&Reference::Digest(child.digest.clone())).await?;
    let missing = || Error::new("inspect", name(&child.digest), Cause::Missing);
    manifest.ok_or_else(missing).map(Some)
}

/// The configuration and the layers of an image.
fn parts<'a>(
    repository: &dyn Repository,
    image: &'a Manifest,
) -> Result<(&'a Descriptor, &'a [Descriptor]), Error> {
    if let Document::Image { blobs } = &image.document
        && let [config, layers @ ..] = &blobs[..]
        && media_type::is_image_config(&config.media_type)
    {
        return Ok((config, layers));
    }
    let name = format!("{}@{}", repository.name(), image.digest);
    let why = "it is no image of a container, so it has no such configuration".to_owned();
    Err(Error::new("inspect", name, Cause::Unsupported(why)))
}

/// What skopeo says about an image.
fn about(
    address: &ImageAddress,
    digest: &Digest,
    tags: Vec<Tag>,
    config: &Part,
    layers: &[Descriptor],
) -> Value {
    let entry = |name, value| Entry { name, key: name, optional: false, value };
    let optional = |name, value| Entry { optional: true, ..entry(name, value) };
    let name = match &address.repository {
        Address::Registry(host, repository) => format!("{host}/{repository}"),
        _ => String::new(),
    };
    let data = |layer: &Descriptor| {
        let annotations = layer.annotations.as_ref().map(|annotations| {
            let texts = annotations.iter();
            texts.map(|(key, value)| (key.clone(), Value::text(value))).collect()
        });
        Value::Record(vec![
            entry("MIMEType", Value::text(&layer.media_type)),
            entry("Digest", Value::text(layer.digest.to_string())),
            entry("Size", Value::Number(layer.size.try_into().unwrap_or(i64::MAX))),
            entry("Annotations", Value::Map(annotations)),
        ])
    };
    let digests = layers.iter().map(|layer| layer.digest.to_string());
    Value::Record(vec![
        optional("Name", Value::Text(name)),
        // skopeo knows it of images in an old format only.
        optional("Tag", Value::text("")),
        entry("Digest", Value::text(digest.to_string())),
        entry("RepoTags", Value::texts(tags.iter().map(reference::Tag::as_str))),
        entry("Created", config.time("created")),
        entry("DockerVersion", config.text("docker_version")),
        entry("Labels", config.part("config").texts_by_name("Labels")),
        entry("Architecture", config.text("architecture")),
        entry("Os", config.text("os")),
        entry("Layers", Value::texts(digests)),
        optional("LayersData", Value::List(Some(layers.iter().map(data).collect()))),
        entry("Env", config.part("config").texts("Env")),
    ])
}

/// JSON with four spaces, and without the characters that mean something in HTML.
fn as_go_writes_it(value: &Value) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer)
        .map_err(crate::cli::exit::failed("write JSON"))?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Ok(format!("{text}\n"))
}

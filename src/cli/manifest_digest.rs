//! `tranship manifest-digest`: the digest of a manifest in a file, or of one in a registry.

use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::args::{Global, Reach};
use super::exit::{CliError, Exit, failed};
use super::skopeo::{Reaching, Retries, ThisRegistry};
use super::{output, signals};
use crate::fair::Flow;
use crate::oci::Digest;
use crate::oci::ImageAddress;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::reference::split_host;
use crate::repository::missing;
use crate::stores::Access;

/// Print the digest of a manifest
///
/// For a file, hashes its content. For a reference, asks the registry for the digest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship manifest-digest manifest.json
  tranship inspect --raw ghcr.io/acme/app:1.0 | tranship manifest-digest -
  tranship manifest-digest ghcr.io/acme/app:1.0")]
pub struct Args {
    /// File, `-` for standard input, or a reference with a host, such as docker://alpine
    #[arg(value_name = "FILE|-|REFERENCE")]
    manifest: String,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    registry: ThisRegistry,
    #[command(flatten)]
    retries: Retries,
}

/// The document that `--output json` prints.
#[derive(Serialize)]
struct Report<'a> {
    manifest: &'a str,
    digest: Digest,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let name = args.manifest.as_str();
    let digest = if name == "-" {
        of_bytes(name, std::io::stdin().lock())?
    } else if Path::new(name).is_file() {
        let file = std::fs::File::open(name).map_err(failed(format!("read {name}")))?;
        of_bytes(name, file)?
    } else if let Some(location) = location(name)? {
        let reaching = Reaching { global, reach: &args.reach, retries: &args.retries };
        signals::unless_stopped(async {
            let stores = reaching.image(args.registry, &location).await?;
            let source = stores.open_image(&location, Flow::ALONE, Access::Read).await?;
            let image = source.image().await?;
            let found = source.repository().resolve(&image.reference).await?;
            match found {
                Some(found) => Ok(found.digest),
                None => {
                    Err(missing("look up", &**source.repository(), &image.reference).await.into())
                }
            }
        })
        .await?
    } else {
        return Err(CliError::Hinted {
            exit: Exit::Usage,
            message: format!("there is no file `{name}`"),
            hint: "a reference needs its host here, or docker:// in front",
        });
    };
    let report = Report { manifest: name, digest };
    output::print(global, &report, || output::print_line(report.digest.to_string()))?;
    Ok(Exit::Done)
}

fn of_bytes(name: &str, from: impl Read) -> Result<Digest, CliError> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_MANIFEST_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(failed(format!("read {name}")))?;
    if bytes.len() > MAX_MANIFEST_BYTES {
        let message = format!("{name} is no manifest: it has more than {MAX_MANIFEST_BYTES} bytes");
        return Err(CliError::Failed(message));
    }
    Ok(Digest::of(&bytes))
}

/// What must be a reference: a mistyped file name should not lead to Docker Hub.
fn location(name: &str) -> Result<Option<ImageAddress>, CliError> {
    let told = ["docker://", "oci:", "oci-archive:"].iter().any(|prefix| name.starts_with(prefix));
    let has_host = split_host(name).0.is_some_and(|host| !matches!(host, "." | ".."));
    if !told && !has_host {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|error| CliError::Usage(format!("{error}")))
}

//! skopeo's options for copies.

use std::path::PathBuf;

use super::{Globals, HEADING, MultiArch, Overrides, Retries, Said, Source, Target};
use crate::cli::exit::{CliError, failed};
use crate::copy::{CopyReport, OfIndex};
use crate::oci::{ImageAddress, Platform, RegistryHost, Tag};
use crate::sync::ImageReport;

/// Options of `copy` and `sync`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct Copying {
    /// Copy all images of an index; `copy` does so anyway
    #[arg(long, short, hide_short_help = true)]
    pub all: bool,
    /// Fail rather than change a digest
    #[arg(long, hide_short_help = true)]
    pub preserve_digests: bool,
    /// The same as --no-referrers
    #[arg(long, hide_short_help = true)]
    pub remove_signatures: bool,
    /// Write the digest of the image at the target to this file
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    digestfile: Option<PathBuf>,
    /// Accepted: tranship finds the number of transfers by itself
    #[arg(long, value_name = "N", hide = true)]
    image_parallel_copies: Option<u32>,
}

/// Options of `copy` and `sync` for both sides.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct BothSides {
    /// Auth file with the logins for both sides
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    authfile: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    pub retries: Retries,
}

/// Options of `copy` alone.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct CopyingOne {
    /// What to copy of an index [default: all]
    #[arg(long, value_enum, value_name = "WHAT", hide_short_help = true)]
    #[arg(conflicts_with_all = ["all", "platforms"])]
    multi_arch: Option<MultiArch>,
    /// Also give the image this tag at the target (repeatable)
    #[arg(long = "additional-tag", value_name = "TAG", hide_short_help = true)]
    #[arg(value_delimiter = ',', conflicts_with = "all_tags")]
    additional_tags: Vec<String>,
    /// Accepted: nothing is sent that the target has
    #[arg(long, hide = true)]
    dest_precompute_digests: bool,
    /// Accepted: layers are copied as they are
    #[arg(long, hide = true)]
    dest_oci_accept_uncompressed_layers: bool,
}

impl BothSides {
    /// What was said of the source and of the target, which are in these registries or on disk. Of each
    /// registry, something may have been said elsewhere; what was typed stands before it.
    pub async fn said(
        self,
        source: Vec<(RegistryHost, Overrides)>,
        target: Vec<(RegistryHost, Overrides)>,
    ) -> Result<(Said, Said, Retries), CliError> {
        let common = checked_authfile(self.authfile)?;
        let source = Said::of(self.source.into(), source, common.clone()).await?;
        let target = Said::of(self.target.into(), target, common).await?;
        Ok((source, target, self.retries))
    }
}

/// An auth file that must be there.
pub fn checked_authfile(file: Option<PathBuf>) -> Result<Option<PathBuf>, CliError> {
    match &file {
        Some(path) if !path.is_file() => {
            Err(CliError::Usage(format!("there is no auth file {}", path.display())))
        }
        _ => Ok(file),
    }
}

impl Copying {
    pub fn has_digestfile(&self) -> bool {
        self.digestfile.is_some()
    }

    /// Writes what `--digestfile` asks for, unless something failed: the digest of each image that is
    /// at the target now, and its name if there may be several.
    pub fn write_digests(
        &self,
        report: &CopyReport,
        name: Option<fn(&ImageReport) -> String>,
    ) -> Result<(), CliError> {
        let Some(file) = &self.digestfile else { return Ok(()) };
        let line = |image: &ImageReport| {
            let digest = image.target_digest.as_ref()?;
            Some(match name {
                Some(name) => format!("{digest} {}\n", name(image)),
                None => digest.clone(),
            })
        };
        let mut lines: Vec<String> = report.images.iter().filter_map(line).collect();
        lines.dedup();
        std::fs::write(file, lines.concat()).map_err(failed(format!("write {}", file.display())))
    }
}

impl CopyingOne {
    /// What of an index is copied.
    ///
    /// # Errors
    /// More than one of the options says so.
    pub fn of_index(
        &self,
        globals: &Globals,
        copying: &Copying,
        platforms: &[Platform],
    ) -> Result<OfIndex, CliError> {
        let asked = globals.platform();
        if asked.is_some() && !platforms.is_empty() {
            return Err(CliError::usage(
                "--platform makes a smaller index, --override-os and --override-arch choose one image: use one of them",
            ));
        }
        if copying.all && !platforms.is_empty() {
            return Err(CliError::usage("--all and --platform contradict each other"));
        }
        Ok(super::of_index(asked, copying.all, self.multi_arch))
    }

    /// The tags that the image gets at the target too.
    pub fn more_tags(&self, target: &ImageAddress) -> Result<Vec<Tag>, CliError> {
        self.additional_tags.iter().map(|text| tag_at(text, target)).collect()
    }
}

/// `TAG`, or the target's own repository with a tag.
fn tag_at(text: &str, target: &ImageAddress) -> Result<Tag, CliError> {
    let wrong = |why: String| CliError::Usage(format!("--additional-tag {text}: {why}"));
    if !text.contains([':', '/']) {
        return text.parse().map_err(|error| wrong(format!("{error}")));
    }
    let named: ImageAddress = text.parse().map_err(|error| wrong(format!("{error}")))?;
    match named.tag {
        Some(tag) if named.repository == target.repository => Ok(tag),
        _ => Err(wrong("expected a tag, or a tag in the target's own repository".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_tags_are_in_the_same_repository() {
        let target: ImageAddress = "r.io/app:1".parse().unwrap();
        let tag = |text| tag_at(text, &target).map(|tag| tag.to_string()).ok();
        assert_eq!(tag("2"), Some("2".to_owned()));
        assert_eq!(tag("r.io/app:2"), Some("2".to_owned()));
        assert_eq!(tag("docker://r.io/app:2"), Some("2".to_owned()));
        for wrong in ["r.io/other:2", "r.io/app", "-x", "a b"] {
            assert_eq!(tag(wrong), None, "{wrong}");
        }
    }
}

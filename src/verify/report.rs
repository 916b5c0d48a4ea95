//! What a verification found. These types are the JSON that `--output json` prints.

use serde::Serialize;

use crate::repository::{Cause, Error, Failure};

/// One verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// Every image is at its target, complete.
    pub success: bool,
    /// Every blob of the target was downloaded and hashed.
    pub read: bool,
    /// It was stopped before its end.
    pub interrupted: bool,
    pub counts: Counts,
    /// What was checked, each once, however many images share it.
    pub checked: Checked,
    pub seconds: f64,
    /// Every image, by name.
    pub images: Vec<ImageReport>,
    /// Failures that concern more than one image: a list that could not be read.
    pub failures: Vec<Failure>,
    pub notes: Vec<String>,
}

/// Images by what was found. A source tag counts once for each target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub equal: usize,
    /// Different at first, equal now.
    pub repaired: usize,
    pub different: usize,
    /// Could not be compared: the source or the target could not be read.
    pub failed: usize,
    /// Not at the target, because a cleanup rule deleted exactly this and would do it again. Not
    /// among the images.
    pub withheld: usize,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Manifests read and hashed at the target.
    pub manifests: u64,
    /// Blobs looked up at the target.
    pub blobs: u64,
    /// Of these blobs.
    pub bytes: u64,
    /// Downloaded from the target and hashed.
    pub bytes_read: u64,
}

/// One image at one target.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ImageReport {
    pub source: String,
    pub target: String,
    pub outcome: ImageOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// What the target should have: another digest where platforms are left out on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_digest: Option<String>,
    /// What the image consists of, referrers included.
    pub manifests: u64,
    pub blobs: u64,
    pub bytes: u64,
    pub referrers: u64,
    /// What is missing or different (now, after a repair).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The outcome for one image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageOutcome {
    #[default]
    Equal,
    Repaired,
    Different,
    Failed,
}

/// An attempt to repair an image.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Repair {
    /// What was wrong before and is right now.
    pub healed: Vec<Problem>,
    pub blobs_sent: u64,
    pub blobs_mounted: u64,
    /// Of blobs sent.
    pub bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Failure>,
}

/// Something that is missing or different at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// What it is about: `host/repository@digest`.
    pub subject: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
    /// The registry, if everything else in it cannot be read for the same reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The image's tag, or its digest where it has no tag, is not there.
    ImageMissing,
    /// The tag points at something else.
    ImageDiffers,
    ManifestMissing,
    ManifestDiffers,
    BlobMissing,
    /// A blob has another size than its manifest says.
    BlobSize,
    /// A blob has other bytes than its digest says. Found only by downloading it.
    BlobBytes,
    ReferrerMissing,
    /// One of cosign's tags points at something else.
    ReferrerDiffers,
    /// It could not be read.
    Unreadable,
}

/// Registries and layouts do not accept an upload of a blob that they seem to have.
const STUCK: &str = "an upload does not replace it, because the target takes it for right: delete the blob in the target's storage (or the repository and what it shares the blob with), then run verify --repair";

impl Problem {
    pub(super) fn new(kind: ProblemKind, subject: String, message: impl Into<String>) -> Self {
        let hint = matches!(kind, ProblemKind::BlobSize | ProblemKind::BlobBytes).then_some(STUCK);
        Self { kind, subject, message: message.into(), hint, registry: None }
    }

    /// What an error means for a manifest: wrong bytes are a difference; after any other error
    /// nothing is known.
    pub(super) fn of_manifest(error: &Error) -> Self {
        let kind = match error.cause() {
            Cause::Manifest(_) | Cause::Corrupt(_) => ProblemKind::ManifestDiffers,
            _ => return Self::unreadable(error),
        };
        Self::new(kind, error.subject().to_owned(), error.cause().to_string())
    }

    pub(super) fn unreadable(error: &Error) -> Self {
        Self {
            kind: ProblemKind::Unreadable,
            subject: error.subject().to_owned(),
            message: error.cause().to_string(),
            hint: error.hint(),
            registry: error.registry().map(str::to_owned),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

impl Counts {
    /// All images that should be at their targets.
    pub fn total(&self) -> usize {
        self.equal + self.repaired + self.different + self.failed
    }

    pub(super) fn add(&mut self, outcome: ImageOutcome) {
        match outcome {
            ImageOutcome::Equal => self.equal += 1,
            ImageOutcome::Repaired => self.repaired += 1,
            ImageOutcome::Different => self.different += 1,
            ImageOutcome::Failed => self.failed += 1,
        }
    }
}

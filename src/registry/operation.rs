//! What is asked of a registry. It names the step in messages, and decides what an answer means.

/// One operation of distribution-spec, or beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    LogIn,
    ListRepositories,
    ListTags,
    ListReferrers,
    LookUpManifest,
    GetManifest,
    PutManifest,
    /// Deletes a tag, and nothing else.
    DeleteTag,
    /// Deletes a manifest with all its tags.
    DeleteManifest,
    LookUpBlob,
    GetBlob,
    MountBlob,
    StartUpload,
    /// Sends a blob's bytes.
    UploadBlob,
    /// Ends an upload whose bytes were sent.
    CommitBlob,
    AskForUpload,
    CancelUpload,
}

impl Operation {
    /// Fits after "failed to", and before the name of what it is done to.
    pub fn step(self) -> &'static str {
        match self {
            Self::LogIn => "log in to",
            Self::ListRepositories => "list repositories of",
            Self::ListTags => "list tags of",
            Self::ListReferrers => "list referrers of",
            Self::LookUpManifest => "look up",
            Self::GetManifest => "get manifest",
            Self::PutManifest => "put manifest",
            Self::DeleteTag | Self::DeleteManifest => "delete",
            Self::LookUpBlob => "look up blob",
            Self::GetBlob => "get blob",
            Self::MountBlob => "mount",
            Self::StartUpload => "start upload of",
            Self::UploadBlob => "upload blob",
            Self::CommitBlob => "commit blob",
            Self::AskForUpload => "ask for an upload in",
            Self::CancelUpload => "cancel an upload in",
        }
    }

    /// Whether it could hit something else than what was meant, if it were carried out later or a
    /// second time.
    pub fn is_deletion(self) -> bool {
        matches!(self, Self::DeleteTag | Self::DeleteManifest)
    }
}

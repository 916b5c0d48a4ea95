//! Tags that no person makes, and that are never selected by a rule's own patterns.
//!
//! Two families are made from a digest and follow the image with that digest: the referrers fallback
//! tag of distribution-spec ("Referrers Tag Schema", `sha256-<hex>`) and cosign's (`sha256-<hex>.sig`,
//! `.att`, `.sbom`). The third one is of placeholders, on which it is tried what a registry can do. They
//! belong to nothing; some are left behind if a process is killed.

use super::digest::Digest;
use super::reference::Tag;

/// The endings of cosign's tags, in the order in which they are looked for.
pub const COSIGN_SUFFIXES: [&str; 3] = [".sig", ".att", ".sbom"];

/// The first part of the tags of placeholders.
pub const TRIAL: &str = "tranship-trial-";

/// A tag that belongs to another image, or is a placeholder's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedTag {
    /// The algorithm and encoded part as the tag has them, cut to 64 characters of the latter.
    /// A cut SHA-512 digest cannot be told from its full form, so this stays text.
    stem: String,
    /// `None` for the fallback tag, else what stands behind the digest, like `.sig`.
    pub suffix: Option<String>,
}

/// The first part of every derived tag of `subject`: `sha256-<hex>`, by the referrers tag schema:
/// algorithm cut to 32 characters, encoded part to 64.
fn stem(subject: &Digest) -> String {
    let mut hex = subject.hex();
    hex.truncate(64);
    format!("{}-{hex}", subject.algorithm())
}

/// The fallback tag that lists the referrers of `subject`.
pub fn fallback_tag(subject: &Digest) -> Tag {
    // An algorithm name, a dash and at most 64 hexadecimal characters are always a valid tag.
    Tag::from_valid(stem(subject))
}

/// cosign's tag of `subject` with this suffix, like `.sig`.
pub fn cosign_tag(subject: &Digest, suffix: &str) -> Tag {
    Tag::from_valid(format!("{}{suffix}", stem(subject)))
}

/// Reads a tag as a derived one; `None` for the tags people make.
pub fn parse(tag: &Tag) -> Option<DerivedTag> {
    let text = tag.as_str();
    if text.starts_with(TRIAL) {
        return Some(DerivedTag { stem: text.to_owned(), suffix: None });
    }
    let (stem, suffix) = match text.split_once('.') {
        Some((stem, suffix)) if COSIGN_SUFFIXES.iter().any(|known| known[1..] == *suffix) => {
            (stem, Some(format!(".{suffix}")))
        }
        Some(_) => return None,
        None => (text, None),
    };
    let (algorithm, hex) = stem.split_once('-')?;
    let is_hex = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (matches!(algorithm, "sha256" | "sha512") && is_hex)
        .then(|| DerivedTag { stem: stem.to_owned(), suffix })
}

impl DerivedTag {
    /// Whether it is the tag of a placeholder, which belongs to nothing.
    pub fn is_trial(&self) -> bool {
        self.stem.starts_with(TRIAL)
    }

    /// Whether the tag belongs to the image with this digest.
    pub fn belongs_to(&self, subject: &Digest) -> bool {
        self.stem == stem(subject)
    }

    /// The digest of the image that the tag belongs to; `None` where the tag holds only a part, or is a
    /// placeholder's.
    pub fn subject(&self) -> Option<Digest> {
        self.stem.replacen('-', ":", 1).parse().ok()
    }

    /// The fallback tag of the same image.
    pub fn fallback(&self) -> Tag {
        // What was read from a tag as its first part is a tag.
        Tag::from_valid(self.stem.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_tags_are_told_from_others() {
        let subject = Digest::of(b"x");
        let sha512: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        for subject in [&subject, &sha512] {
            let fallback = parse(&fallback_tag(subject)).unwrap();
            assert_eq!((&fallback.suffix, fallback.is_trial()), (&None, false));
            assert!(fallback.belongs_to(subject));
            for suffix in COSIGN_SUFFIXES {
                let derived = parse(&cosign_tag(subject, suffix)).unwrap();
                assert_eq!(derived.suffix.as_deref(), Some(suffix));
                assert!(derived.belongs_to(subject));
                assert_eq!(derived.fallback(), fallback_tag(subject));
                let whole = (subject.algorithm() == "sha256").then(|| subject.clone());
                assert_eq!(derived.subject(), whole);
                assert!(!derived.belongs_to(&Digest::of(b"y")));
            }
        }
        let trial = parse(&"tranship-trial-0123456789abcdef-a".parse().unwrap()).unwrap();
        assert!(trial.is_trial() && trial.subject().is_none() && !trial.belongs_to(&subject));
        for tag in [
            "latest",
            "sha256-abc",
            "1.0.0",
            "sha-0123abc",
            &format!("sha256-{}.zip", subject.hex()),
        ] {
            assert_eq!(parse(&tag.parse().unwrap()), None, "{tag}");
        }
    }
}

//! Platforms of an index's children (image-spec image-index.md) and their selection by rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::lenient;

/// `os/architecture[/variant]`, as `docker --platform` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub os: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a platform: expected `os/architecture` or `os/architecture/variant`, like `linux/arm64`"
)]
pub struct PlatformError(String);

impl Platform {
    /// What programs on this machine are built for.
    pub fn of_this_machine() -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            os => os,
        };
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether a child on platform `candidate` is what a rule that names `self` asks for.
    ///
    /// A variant left out asks for any variant, and `arm64` without one is `arm64/v8`, as
    /// BuildKit and containerd read it.
    pub fn selects(&self, candidate: &Self) -> bool {
        self.os == candidate.os
            && self.architecture == candidate.architecture
            && match (self.variant(), candidate.variant()) {
                (None, _) => true,
                (wanted, found) => wanted == found,
            }
    }

    fn variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", None | Some("")) => Some("v8"),
            (_, Some("")) => None,
            (_, variant) => variant,
        }
    }
}

/// The platforms for which Go builds, as image-spec has them (and `wasi`, which docker has), and the
/// variants of their architectures.
const SYSTEMS: [(&str, &str); 19] = [
    ("aix", "ppc64"),
    ("android", "386 amd64 arm arm64"),
    ("darwin", "amd64 arm64"),
    ("dragonfly", "amd64"),
    ("freebsd", "386 amd64 arm arm64 riscv64"),
    ("illumos", "amd64"),
    ("ios", "amd64 arm64"),
    ("js", "wasm"),
    (
        "linux",
        "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x",
    ),
    ("netbsd", "386 amd64 arm arm64"),
    ("openbsd", "386 amd64 arm arm64 mips64 ppc64 riscv64"),
    ("plan9", "386 amd64 arm"),
    ("solaris", "amd64"),
    // Attestations have it.
    ("unknown", "unknown"),
    ("wasi", "wasm wasm32"),
    ("wasip1", "wasm"),
    ("wasip2", "wasm"),
    ("windows", "386 amd64 arm arm64"),
    ("zos", "s390x"),
];
const VARIANTS: [(&str, &str); 8] = [
    ("386", "sse2 softfloat"),
    ("amd64", "v1 v2 v3 v4"),
    ("arm", "v5 v6 v7 v8"),
    ("arm64", "v8 v9"),
    ("mips64le", "hardfloat softfloat"),
    ("mipsle", "hardfloat softfloat"),
    ("ppc64le", "power8 power9 power10"),
    ("riscv64", "rva20u64 rva22u64 rva23u64"),
];
/// Other names of architectures.
const ARCHITECTURES: [(&str, &str); 12] = [
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("x64", "amd64"),
    ("aarch64", "arm64"),
    ("armv8", "arm64"),
    ("arm64v8", "arm64"),
    ("armhf", "arm/v7"),
    ("armv7", "arm/v7"),
    ("armv6", "arm/v6"),
    ("i386", "386"),
    ("i686", "386"),
    ("x86", "386"),
];

impl Platform {
    /// Whether images are known for such a platform.
    pub fn is_known(&self) -> bool {
        let has = |list: &[(&str, &str)], key: &str, word: &str| {
            list.iter().any(|(it, words)| *it == key && words.split(' ').any(|it| it == word))
        };
        has(&SYSTEMS, &self.os, &self.architecture)
            && self.variant().is_none_or(|variant| {
                // `arm64/v8.2` is a variant of `v8`.
                let family = variant.split('.').next().unwrap_or_default();
                has(&VARIANTS, &self.architecture, family)
            })
    }

    /// What somebody who wrote an unknown platform may have meant.
    pub fn likely(&self) -> Option<Self> {
        let renamed = |architecture: &str| {
            let found = ARCHITECTURES.iter().find(|(name, _)| *name == architecture);
            found.map(|(_, name)| (*name).to_owned())
        };
        let architecture = renamed(&self.architecture);
        let variant =
            self.variant.as_ref().map(|variant| format!("v{}", variant.trim_matches('v')));
        let candidates = [
            architecture.as_ref().map(|name| format!("{}/{name}", self.os)),
            // The two turned round, or the system left out.
            Some(format!("{}/{}", self.architecture, self.os)),
            renamed(&self.os).map(|name| format!("{}/{name}", self.architecture)),
            Some(format!("linux/{}/{}", self.os, self.architecture)),
            variant.map(|variant| format!("{}/{}/{variant}", self.os, self.architecture)),
            Some(format!("{}/{}", self.os, self.architecture)),
        ];
        let known = candidates.into_iter().flatten().filter_map(|text| text.parse::<Self>().ok());
        known.into_iter().find(Self::is_known)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let valid = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(PlatformError(text.to_owned())),
        };
        if !parts.into_iter().all(valid) {
            return Err(PlatformError(text.to_owned()));
        }
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn selection_knows_variants() {
        let cases = [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/arm/v7", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm/v7", "linux/arm", false),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/amd64", "windows/amd64", false),
            ("linux/amd64", "unknown/unknown", false),
        ];
        for (wanted, candidate, expected) in cases {
            let selects = platform(wanted).selects(&platform(candidate));
            assert_eq!(selects, expected, "{wanted} {candidate}");
        }
    }

    #[test]
    fn platforms_that_cannot_be_are_told() {
        for known in
            ["linux/amd64", "linux/arm/v7", "linux/arm64/v8", "windows/amd64", "unknown/unknown"]
        {
            assert!(platform(known).is_known(), "{known}");
        }
        for (unknown, likely) in [
            ("linux/x86_64", Some("linux/amd64")),
            ("linux/aarch64", Some("linux/arm64")),
            ("linux/armhf", Some("linux/arm/v7")),
            ("amd64/linux", Some("linux/amd64")),
            ("arm/v7", Some("linux/arm/v7")),
            ("linux/arm/7", Some("linux/arm/v7")),
            ("linux/amd64/v7", Some("linux/amd64")),
            ("linux/sparc", None),
        ] {
            assert!(!platform(unknown).is_known(), "{unknown}");
            let found = platform(unknown).likely().map(|it| it.to_string());
            assert_eq!(found.as_deref(), likely, "{unknown}");
        }
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for text in
            ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/arm/", "li nux/arm", "a//b"]
        {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(platform("linux/arm/v7").to_string(), "linux/arm/v7");
    }
}

//! Content digests (image-spec, descriptor.md "Digests") and the hashing that makes them.
//!
//! A `Digest` is parsed once at the edge, into bytes: what reaches a URL or a path afterwards
//! is always `algorithm:lowercase-hex` of the right length.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

/// The digest of some content, by one of the two registered algorithms.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    Sha256([u8; 32]),
    /// Boxed, because nearly every digest in the field is a SHA-256 one.
    Sha512(Box<[u8; 64]>),
}

/// Why a text is not a digest that can be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("`{0}` is not a digest: expected `sha256:` and 64 hexadecimal characters")]
    Malformed(String),
    #[error("digest algorithm `{0}` is not supported: only sha256 and sha512 can be verified")]
    Algorithm(String),
}

impl Digest {
    /// The SHA-256 digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self::Sha256(Sha256::digest(content).into())
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// The encoded part: lowercase hexadecimal.
    pub fn hex(&self) -> String {
        let bytes = self.as_bytes();
        let mut hex = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            hex.push(char::from(HEX[usize::from(byte >> 4)]));
            hex.push(char::from(HEX[usize::from(byte & 15)]));
        }
        hex
    }

    /// The raw hash, without its algorithm.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => &bytes[..],
        }
    }

    /// A hasher whose result can be compared with this digest.
    pub fn hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Sha512(_) => Hasher::Sha512(Box::new(Sha512::new())),
        }
    }

    /// The digest of `content` by the algorithm of this one.
    pub fn same_of(&self, content: &[u8]) -> Self {
        let mut hasher = self.hasher();
        hasher.update(content);
        hasher.finish()
    }

    /// Whether `content` has this digest.
    pub fn matches(&self, content: &[u8]) -> bool {
        self.same_of(content) == *self
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(text.chars().take(200).collect());
        let (algorithm, encoded) = text.split_once(':').ok_or_else(malformed)?;
        match algorithm {
            "sha256" => decode(encoded).map(Self::Sha256).ok_or_else(malformed),
            "sha512" => {
                decode(encoded).map(|bytes| Self::Sha512(Box::new(bytes))).ok_or_else(malformed)
            }
            other if is_algorithm(other) => Err(DigestError::Algorithm(other.to_owned())),
            _ => Err(malformed()),
        }
    }
}

/// `algorithm` of the grammar in image-spec descriptor.md.
fn is_algorithm(text: &str) -> bool {
    text.len() <= 64
        && text.split(['+', '.', '_', '-']).all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

/// Decodes exactly `N` bytes of lowercase hexadecimal; uppercase is not allowed by the grammar.
fn decode<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != N * 2 {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4 | nibble(pair[1])?) as u8;
    }
    Some(bytes)
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let binary = match self {
            Self::Sha256(bytes) => Binary::Sha256(*bytes),
            Self::Sha512(bytes) => {
                let mut halves = [[0; 32]; 2];
                halves.as_flattened_mut().copy_from_slice(&bytes[..]);
                Binary::Sha512(halves)
            }
        };
        binary.serialize(serializer)
    }
}

/// A digest in binary formats, as in the state: the number of its algorithm and the raw hash.
#[derive(Serialize, Deserialize)]
enum Binary {
    /// No digest. It keeps the number 0 free: stored digests begin with 1 or 2.
    Nothing,
    Sha256([u8; 32]),
    /// Serde has no arrays of 64 bytes.
    Sha512([[u8; 32]; 2]),
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return match Binary::deserialize(deserializer)? {
                Binary::Nothing => Err(serde::de::Error::custom("no digest")),
                Binary::Sha256(bytes) => Ok(Self::Sha256(bytes)),
                Binary::Sha512(halves) => {
                    let mut bytes = Box::new([0; 64]);
                    bytes.copy_from_slice(halves.as_flattened());
                    Ok(Self::Sha512(bytes))
                }
            };
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A digest in the making. Cloning it takes a snapshot, from which hashing can go on later.
#[derive(Debug, Clone)]
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Digest::Sha512(Box::new(hasher.finalize().into())),
        }
    }

    /// The state as bytes, for a journal. It is no secret and no digest.
    pub fn serialize(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.serialize().to_vec(),
            Self::Sha512(hasher) => hasher.serialize().to_vec(),
        }
    }

    /// The hasher that `serialize` wrote for content with `digest`; `None` if the bytes are not
    /// such a state, which costs the caller a new start and nothing else.
    pub fn deserialize(digest: &Digest, state: &[u8]) -> Option<Self> {
        match digest {
            Digest::Sha256(_) => {
                let state = state.try_into().ok()?;
                Some(Self::Sha256(Sha256::deserialize(&state).ok()?))
            }
            Digest::Sha512(_) => {
                let state = state.try_into().ok()?;
                Some(Self::Sha512(Box::new(Sha512::deserialize(&state).ok()?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_digests() {
        // The empty JSON object, whose digest the image specification prints.
        assert_eq!(
            Digest::of(b"{}").to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    #[test]
    fn malformed_digests_are_refused() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let long = format!("sha256:{}", "a".repeat(65));
        for text in ["", "sha256", "sha256:", "sha256:abc", ":abc", "../..:x", &upper, &long] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Malformed(_))), "{text}");
        }
        assert_eq!("md5:abc".parse::<Digest>(), Err(DigestError::Algorithm("md5".into())));
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 32]) {
            let digest = Digest::Sha256(bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<Digest>();
        }

        #[test]
        fn hashing_goes_on_from_a_journalled_state(head: Vec<u8>, tail: Vec<u8>) {
            for digest in [Digest::Sha256([0; 32]), Digest::Sha512(Box::new([0; 64]))] {
                let mut whole = digest.hasher();
                whole.update(&head);
                let mut resumed = Hasher::deserialize(&digest, &whole.serialize()).unwrap();
                whole.update(&tail);
                resumed.update(&tail);
                prop_assert_eq!(whole.finish(), resumed.finish());
            }
        }
    }
}

//! The bytes of keys and values: postcard.
//!
//! Numbers are LEB128 varints, texts and lists start with their length, arrays are only their
//! items, a digest is one byte for its algorithm and the raw hash. A key starts with one byte that
//! tells its kind. Numbers in keys that must sort are stored as eight bytes in big-endian order.
//!
//! Records have no version of their own. To change the encoding of a kind of record, give it a new
//! first byte and let `old` convert what is stored under the previous one. Programs ignore kinds
//! that they do not know, so `open::SCHEMA` stays as it is.

use serde::{Deserialize, Serialize};

/// A key of this kind.
pub(super) fn key(kind: u8, parts: &impl Serialize) -> Vec<u8> {
    encode(&(kind, parts))
}

/// The bytes of a value, or of the beginning of a key.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    // postcard refuses only lists of unknown length, which no record has. An empty value would be
    // read as an unknown one.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// Reads what `encode` wrote. `None`: these are not exactly such bytes.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

/// Any digest, for tests of records.
#[cfg(test)]
pub(super) fn digest() -> impl proptest::strategy::Strategy<Value = crate::oci::Digest> {
    use crate::oci::Digest;
    use proptest::prelude::*;
    prop_oneof![
        any::<[u8; 32]>().prop_map(Digest::Sha256),
        any::<u8>().prop_map(|byte| Digest::Sha512(Box::new([byte; 64]))),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{ManifestFacts, RuleMark, Withdrawn};
    use super::*;
    use crate::oci::Digest;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_round_trips(byte: u8, number: u64, text: String, short: [u8; 32], long: Vec<u8>) {
            let sha512: [u8; 64] = std::array::from_fn(|i| *long.get(i).unwrap_or(&7));
            let digests = vec![Digest::Sha256(short), Digest::Sha512(Box::new(sha512))];
            let parts = (byte, number, number.to_be_bytes(), text, digests);
            let mut bytes = key(b'k', &parts);
            prop_assert_eq!(decode(&bytes), Some((b'k', parts)));
            type Parts = (u8, u8, u64, [u8; 8], String, Vec<Digest>);
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode::<Parts>(&bytes[..cut]), None);
            }
            bytes.push(0);
            prop_assert_eq!(decode::<Parts>(&bytes), None);
        }

        /// Whatever a damaged database holds is a record or nothing.
        #[test]
        fn any_bytes_are_a_record_or_nothing(bytes: Vec<u8>) {
            let _ = decode::<ManifestFacts>(&bytes);
            let _ = decode::<RuleMark>(&bytes);
            let _ = decode::<Withdrawn>(&bytes);
            let _ = decode::<(u64, Vec<String>)>(&bytes);
            let _ = decode::<(u8, &str, &str)>(&bytes);
        }

        #[test]
        fn ordered_numbers_sort_as_bytes(a: u64, b: u64) {
            let bytes = |number: u64| encode(&number.to_be_bytes());
            prop_assert_eq!(bytes(a).cmp(&bytes(b)), a.cmp(&b));
        }
    }

    #[test]
    fn numbers_and_lists_that_cannot_be_are_refused() {
        assert_eq!(decode::<u64>(&[0xff; 11]), None);
        let too_big = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(decode::<u64>(&too_big), None);
        // A declared length allocates little and reads nothing beyond the end.
        let huge = encode(&u64::MAX);
        assert_eq!(decode::<String>(&huge), None);
        assert_eq!(decode::<Vec<u64>>(&huge), None);
        assert_eq!(decode::<Digest>(&[0; 33]), None, "no such algorithm");
        assert_eq!(decode::<Digest>(&[3; 33]), None, "no such algorithm");
    }
}

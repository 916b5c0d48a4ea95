//! The bytes of keys and values: short, and safe to read whatever they hold.
//!
//! Numbers are LEB128 varints, texts and lists carry their length, a digest is one byte for its
//! algorithm and the raw hash. There is no version in here: the database has one as a whole
//! (`open::SCHEMA`), so any change of an encoding must raise that. A new kind of key must not: older
//! programs never look at it, and newer ones find nothing.

use crate::oci::Digest;

const SHA256: u8 = 1;
const SHA512: u8 = 2;

/// Builds a key or a value.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A key of this kind. Keys of one kind share their first byte.
    pub(super) fn key(kind: u8) -> Self {
        Self(vec![kind])
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn number(mut self, mut number: u64) -> Self {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
        self
    }

    /// A number in eight bytes whose order is the order of the numbers.
    pub(super) fn ordered(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        let mut writer = self.number(text.len() as u64);
        writer.0.extend_from_slice(text.as_bytes());
        writer
    }

    pub(super) fn digest(mut self, digest: &Digest) -> Self {
        self.0.push(match digest {
            Digest::Sha256(_) => SHA256,
            Digest::Sha512(_) => SHA512,
        });
        self.0.extend_from_slice(digest.as_bytes());
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what `Writer` wrote. `None` from any method: these are not such bytes.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn ordered(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok().map(str::to_owned)
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        match self.byte()? {
            SHA256 => self.array().map(Digest::Sha256),
            SHA512 => self.array().map(|bytes| Digest::Sha512(Box::new(bytes))),
            _ => None,
        }
    }

    /// A list of what `item` reads, its length first. Memory is taken as items come.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.number()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    /// Whether everything was read. Bytes left over mean that these are not the right ones.
    pub(super) fn at_end(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_round_trips(
            byte: u8, small in 0..300_u64, number: u64, text: String, short: [u8; 32], long: Vec<u8>
        ) {
            let sha512: [u8; 64] = std::array::from_fn(|i| *long.get(i).unwrap_or(&7));
            let digests = [Digest::Sha256(short), Digest::Sha512(Box::new(sha512))];
            let bytes = Writer::key(b'k').byte(byte).number(small).number(number).ordered(number)
                .text(&text).digest(&digests[0]).digest(&digests[1]).finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.byte(), Some(b'k'));
            prop_assert_eq!(reader.byte(), Some(byte));
            prop_assert_eq!(reader.number(), Some(small));
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert_eq!(reader.ordered(), Some(number));
            prop_assert_eq!(reader.text(), Some(text));
            for digest in digests {
                prop_assert_eq!(reader.digest(), Some(digest));
            }
            prop_assert!(reader.at_end());
        }

        #[test]
        fn ordered_numbers_sort_as_bytes(a: u64, b: u64) {
            let bytes = |number| Writer::default().ordered(number).finish();
            prop_assert_eq!(bytes(a).cmp(&bytes(b)), a.cmp(&b));
        }
    }

    #[test]
    fn numbers_and_lists_that_cannot_be_are_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).number(), None);
        let too_big = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(Reader::new(&too_big).number(), None);
        // A declared length allocates nothing and reads nothing beyond the end.
        let huge = Writer::default().number(u64::MAX).finish();
        assert_eq!(Reader::new(&huge).text(), None);
        assert_eq!(Reader::new(&huge).list(Reader::byte), None);
    }
}

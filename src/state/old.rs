//! Converts records that versions before postcard wrote (until 2026-11), when a state is opened.
//! The other kinds of records have the same bytes as then.
//!
//! This may be deleted when nobody updates from those versions any more: what is not converted is
//! ignored. Then tags are compared again, events that were pending and the time since when
//! manifests have been known are lost.

use jiff::Timestamp;
use serde::Deserialize;

use super::local::Local;
use super::{
    Announced, Created, ListedReferrers, ManifestFacts, ManifestSummary, RuleMark, TagState,
};
use super::{codec, manifests, marks, tags};

/// How many records are converted at once.
const BATCH: usize = 1000;

/// The value that replaces an old one; `None` if the old one cannot be read.
type Convert = fn(&[u8]) -> Option<Vec<u8>>;

/// Replaces all old records. If the process is killed meanwhile, the next one goes on.
pub(super) fn convert(local: &Local) {
    let kinds: [(u8, u8, Convert); 3] = [
        (b't', tags::KIND, |old| Some(read(old, tag)?.encode())),
        (b'm', marks::KIND, |old| Some(codec::encode(&read(old, mark)?))),
        (b'c', manifests::KIND, |old| Some(codec::encode(&read(old, manifest)?))),
    ];
    for (old_kind, kind, convert) in kinds {
        loop {
            let batch = local.store.scan(&[old_kind], BATCH, |key, value| {
                let new_key = [&[kind], key.get(1..)?].concat();
                let converted = convert(value).map(|value| (new_key, Some(value)));
                Some([Some((key.to_vec(), None)), converted])
            });
            if batch.is_empty() {
                break;
            }
            local.apply(batch.into_iter().flatten().flatten().collect());
        }
    }
}

/// What is left of the bytes of an old record, which began with flags that told what follows.
struct Reader<'a>(&'a [u8]);

/// Reads a whole record.
fn read<T>(old: &[u8], record: fn(&mut Reader<'_>) -> Option<T>) -> Option<T> {
    let mut reader = Reader(old);
    record(&mut reader).filter(|_| reader.0.is_empty())
}

impl<'a> Reader<'a> {
    fn next<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    /// The flags with which a record begins, the lowest bit first.
    fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let flags: u8 = self.next()?;
        Some(std::array::from_fn(|bit| flags >> bit & 1 == 1))
    }

    /// The outer `None`: it should be there and is not.
    fn optional<T>(
        &mut self,
        is_there: bool,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if is_there { read(self).map(Some) } else { Some(None) }
    }

    fn second(&mut self) -> Option<Timestamp> {
        Timestamp::from_second(i64::try_from(self.next::<u64>()?).ok()?).ok()
    }

    fn ordered(&mut self) -> Option<u64> {
        self.next().map(u64::from_be_bytes)
    }
}

fn tag(old: &mut Reader<'_>) -> Option<TagState> {
    let [is_rewritten, has_referrers] = old.flags()?;
    let source_digest = old.next()?;
    let rewritten = old.optional(is_rewritten, Reader::next)?;
    Some(TagState {
        target_digest: rewritten.unwrap_or_else(|| Clone::clone(&source_digest)),
        source_digest,
        verified_at: old.next()?,
        options: old.ordered()?,
        subjects: old.next()?,
        referrers: old.optional(has_referrers, Reader::next)?,
        bare_children_at: None,
    })
}

fn mark(old: &mut Reader<'_>) -> Option<RuleMark> {
    let [fails, slot, start, success, unfinished, events_pending, held_back] = old.flags()?;
    Some(RuleMark {
        consecutive_failures: old.next()?,
        last_slot: old.optional(slot, Reader::second)?,
        last_start: old.optional(start, Reader::second)?,
        last_success: old.optional(success, Reader::second)?,
        unfinished,
        events_pending,
        announced: match (held_back, fails) {
            (true, _) => Announced::HeldBack,
            (false, true) => Announced::Fails,
            (false, false) => Announced::Works,
        },
    })
}

fn manifest(old: &mut Reader<'_>) -> Option<ManifestFacts> {
    let [is_index, has_subject, has_type, has_created, is_silent, has_referrers] = old.flags()?;
    Some(ManifestFacts {
        first_seen: old.second()?,
        summary: ManifestSummary {
            size: old.next()?,
            is_index,
            subject: old.optional(has_subject, Reader::next)?,
            artifact_type: old.optional(has_type, Reader::next)?,
            children: old.next()?,
            blobs: old.next()?,
        },
        created: if has_created {
            Some(Created::At(Timestamp::from_microsecond(old.ordered()? as i64).ok()?))
        } else {
            is_silent.then_some(Created::Silent)
        },
        referrers: old.optional(has_referrers, |old| {
            Some(ListedReferrers { at: old.second()?, digests: old.next()? })
        })?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::local::Local;
    use super::super::*;
    use super::*;
    use crate::oci::{Digest, Tag};

    /// Keys and values of a database that tranship wrote at revision d10a594, one record of each
    /// kind and more of those that are converted.
    const WRITTEN: &str = "
610003722f61 0180a4a7da06
6207717561792e696f01ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 020a61636d652f6f746865720861636d652f617070
6303722f61013e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d 1101010101ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb00
6303722f6101ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 2e80e2cfaa069004013e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d0d6170706c69636174696f6e2f78000201ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bbf0a204020707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070701fffffffffff85ee080a4a7da0601013e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d
690470726f64 01
690470726f6406722f613a7631 80a4a7da060105706f642f78
6d0469646c65 0000
6d076e696768746c79 6aac0280a4a7da0605
7007717561792e696f0861636d652f61707001ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb000000000000012c 010203
710461707073086f63693a2f712f61 
7410676863722e696f2f61636d652f61707010717561792e696f2f61636d652f617070027631 0001ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb80a4a7da0601020304050607080101ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb
7410676863722e696f2f61636d652f61707010717561792e696f2f61636d652f617070027632 0301ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb013e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d05ffffffffffffffff02013e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d02070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070207070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707
7507717561792e696f0861636d652f61707001ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb ac020a2f75706c6f6164732f31
7703722f61027631 01ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb010203040506070880a4a7da06
";

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Writes the old records into a state.
    fn write(state: &Local) {
        for line in WRITTEN.trim().lines() {
            let (key, value) = line.split_once(' ').unwrap();
            state.apply(vec![(bytes(key), Some(bytes(value)))]);
        }
    }

    fn assert_everything_is_there(state: &State) {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let long = Digest::Sha512(Box::new([7; 64]));
        let tags: [Tag; 2] = ["v1", "v2"].map(|tag| tag.parse().unwrap());
        let [plain, rewritten] = tags.each_ref().map(|tag| {
            let (source, target) = ("ghcr.io/acme/app", "quay.io/acme/app");
            state.tags.get(&TagKey { source, target, tag }).unwrap()
        });
        let options = 0x0102_0304_0506_0708;
        let expected = TagState {
            verified_at: 1_800_000_000,
            options,
            subjects: vec![a.clone()],
            ..TagState::sample(&a, &a)
        };
        assert_eq!(plain, expected);
        let expected = TagState {
            source_digest: a.clone(),
            target_digest: b.clone(),
            verified_at: 5,
            options: u64::MAX,
            subjects: vec![b.clone(), long.clone()],
            referrers: Some(long.clone()),
            bare_children_at: None,
        };
        assert_eq!(rewritten, expected);

        let expected = RuleMark {
            last_slot: Some(at(1_800_000_000)),
            last_start: None,
            last_success: Some(at(5)),
            consecutive_failures: 300,
            unfinished: false,
            events_pending: true,
            announced: Announced::HeldBack,
        };
        assert_eq!(state.marks.get("nightly"), Some(expected));
        assert_eq!(state.marks.get("idle"), Some(RuleMark::default()));

        let expected = ManifestFacts {
            first_seen: at(1_700_000_000),
            summary: ManifestSummary {
                size: 528,
                is_index: false,
                children: vec![],
                subject: Some(b.clone()),
                artifact_type: Some("application/x".to_owned()),
                blobs: vec![(a.clone(), 70_000), (long, 1)],
            },
            created: Some(Created::At("1969-12-31T23:59:59.5Z".parse().unwrap())),
            referrers: Some(ListedReferrers { at: at(1_800_000_000), digests: vec![b.clone()] }),
        };
        assert_eq!(state.manifests.get("r/a", &a), Some(expected));
        let expected = ManifestFacts {
            first_seen: at(1),
            summary: ManifestSummary {
                size: 1,
                is_index: true,
                children: vec![a.clone()],
                ..ManifestSummary::default()
            },
            created: Some(Created::Silent),
            referrers: None,
        };
        assert_eq!(state.manifests.get("r/a", &b), Some(expected));

        assert_eq!(state.blobs.get("quay.io", &a), ["acme/other", "acme/app"]);
        let key = UploadKey { store: "quay.io", repository: "acme/app", digest: &a };
        let session =
            crate::repository::UploadSession { location: "/uploads/1".into(), offset: 300 };
        let checkpoints = vec![Checkpoint { offset: 300, hash_state: vec![1, 2, 3] }];
        assert_eq!(state.uploads.get(&key), Some(Journal { session, checkpoints }));
        let withdrawn = Withdrawn { digest: a, policy: options, at: 1_800_000_000 };
        assert_eq!(state.withdrawn.get("r/a", &tags[0]), Some(withdrawn));
        let able = state.abilities.can_untag("r/a", at(1_800_000_001));
        assert_eq!(able, Some(true));
        assert_eq!(state.quarantines.of_rule("apps"), ["oci:/q/a".to_owned()].into());
        let (none, minute) = (BTreeMap::new(), Duration::from_secs(60));
        let note = |empty| state.in_use.note("prod", &none, minute, empty, at(1_800_000_001));
        assert_eq!(note(false), Err(UnexpectedlyEmpty { before: 1 }));
        let remembered = RememberedImage {
            image: "r/a:v1".to_owned(),
            locations: vec!["pod/x".to_owned()],
            last_seen: at(1_800_000_000),
        };
        assert_eq!(note(true), Ok(vec![remembered]));
    }

    #[test]
    fn a_state_of_the_version_before_loses_nothing() {
        let dir = tempfile::TempDir::new().unwrap();
        write(&Local::open(dir.path()).unwrap());
        drop(State::open(dir.path()).unwrap());
        let local = Local::open(dir.path()).unwrap();
        let left: Vec<u8> = local.store.scan(&[], usize::MAX, |key, _| key.first().copied());
        assert!(!left.iter().any(|kind| b"tmc".contains(kind)), "{left:?}");
        assert_everything_is_there(&State::local(local));
    }

    #[test]
    fn old_records_that_cannot_be_read_go_and_the_others_are_converted() {
        let local = Local::in_memory();
        write(&local);
        for kind in [b't', b'm', b'c'] {
            for number in 0..2 * BATCH as u64 {
                let key = [&[kind, 0xff][..], &number.to_be_bytes()].concat();
                local.apply(vec![(key, Some(vec![0xff; 3]))]);
            }
        }
        convert(&local);
        let count = |kind| local.store.scan(&[kind], usize::MAX, |_, _| Some(())).len();
        assert_eq!([b't', b'm', b'c'].map(count), [0, 0, 0]);
        assert_eq!([tags::KIND, marks::KIND, manifests::KIND].map(count), [2, 2, 2]);
        assert_everything_is_there(&State::local(local));
    }
}

//! The content of `index.json` as data: what its entries mean here, and edits that leave
//! everything else as it was, byte for byte within each entry. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::oci::{Descriptor, Digest, ImageReference, Tag, media_type};

/// The annotation that holds an entry's tag (image-spec annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd and docker write the full name beside the tag.
const FULL_NAME: &str = "io.containerd.image.name";

#[derive(Debug, Clone)]
pub(super) struct Index {
    /// All keys but `manifests`.
    parts: BTreeMap<String, Box<RawValue>>,
    entries: Vec<Entry>,
    /// Made when something is looked up first, and again after an edit.
    order: OnceLock<Order>,
}

/// The ranks of entries, sorted so that they are found quickly: names and digests are long, so they are
/// not held twice.
#[derive(Debug, Clone)]
struct Order {
    /// By tag; if several entries have one tag, the entry that it means is first.
    tags: Vec<usize>,
    /// By digest, then by rank.
    digests: Vec<usize>,
}

impl Order {
    fn of(entries: &[Entry]) -> Self {
        let places = |has: fn(&Entry) -> bool| -> Vec<usize> {
            (0..entries.len()).filter(|at| has(&entries[*at])).collect()
        };
        let mut tags = places(|entry| entry.tag.is_some());
        tags.sort_by_key(|at| {
            let entry = &entries[*at];
            (entry.tag.as_ref(), entry.tag.as_ref().is_some_and(|tag| !entry.is_named(tag)), *at)
        });
        let mut digests = places(|entry| entry.digest.is_some());
        digests.sort_by_key(|at| (entries[*at].digest.as_ref(), *at));
        Self { tags, digests }
    }
}

/// One entry of `manifests`: its own text, and what could be understood of it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    raw: Box<RawValue>,
    pub digest: Option<Digest>,
    pub media_type: Option<String>,
    ref_name: Option<String>,
    /// The name with its repository, such as `docker.io/library/alpine:3.22`, if it is known.
    pub full_name: Option<String>,
    /// The tag in its names, if there is one.
    pub tag: Option<Tag>,
    /// Why the entry is not understood in full, if it is not.
    pub problem: Option<String>,
}

impl Entry {
    fn read(raw: Box<RawValue>) -> Self {
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let ref_name = text(&value["annotations"][REF_NAME]);
        let of_containerd = text(&value["annotations"][FULL_NAME]);
        let digest = match value["digest"].as_str() {
            Some(digest) => digest.parse::<Digest>().map_err(|error| error.to_string()),
            None => Err("it has no digest".to_owned()),
        };
        let tag = ref_name.as_deref().or(of_containerd.as_deref()).and_then(tag_of);
        let full_name = of_containerd.or_else(|| ref_name.clone());
        let full_name = full_name.filter(|name| name.parse::<Tag>().is_err());
        let odd = |value: &Value| !value.is_null() && !value.is_string();
        let problem = match (&digest, &ref_name, &tag) {
            (Err(why), ..) => Some(why.clone()),
            _ if odd(&value["mediaType"]) => Some("its `mediaType` is not a string".to_owned()),
            _ if odd(&value["annotations"][REF_NAME]) => {
                Some(format!("its `{REF_NAME}` is not a string"))
            }
            (Ok(_), Some(name), None) => {
                Some(format!("its name `{}` has no tag", name.escape_debug()))
            }
            _ => None,
        };
        let media_type = text(&value["mediaType"]);
        Self { raw, digest: digest.ok(), media_type, ref_name, full_name, tag, problem }
    }

    fn new(descriptor: &Descriptor, tag: Option<&Tag>) -> serde_json::Result<Self> {
        let mut descriptor = descriptor.clone();
        descriptor.annotations =
            tag.map(|tag| BTreeMap::from([(REF_NAME.to_owned(), tag.to_string())]));
        to_raw_value(&descriptor).map(Self::read)
    }

    /// The full name, or else the digest: what tells it from others with the same tag.
    fn address(&self, names: &[&Self]) -> Option<String> {
        let alone = |name: &&String| {
            let same = names.iter().filter(|other| other.full_name.as_ref() == Some(name));
            same.count() == 1
        };
        let digest = || self.digest.as_ref().map(|digest| format!("@{digest}"));
        self.full_name.as_ref().filter(alone).map(|name| format!(":{name}")).or_else(digest)
    }

    fn is_named(&self, tag: &Tag) -> bool {
        self.ref_name.as_deref() == Some(tag.as_str())
    }
}

/// The tag in a `ref.name`: it is a bare tag, or some tools' full reference with a tag.
fn tag_of(ref_name: &str) -> Option<Tag> {
    ref_name.parse().ok().or_else(|| {
        let (name, _digest) = ref_name.split_once('@').unwrap_or((ref_name, ""));
        name.rsplit_once(':')?.1.parse().ok()
    })
}

impl Index {
    /// The index of a layout without images.
    pub fn empty() -> serde_json::Result<Self> {
        let parts = BTreeMap::from([
            ("schemaVersion".to_owned(), to_raw_value(&2)?),
            ("mediaType".to_owned(), to_raw_value(media_type::OCI_INDEX)?),
        ]);
        Ok(Self { parts, entries: Vec::new(), order: OnceLock::new() })
    }

    /// Reads `index.json`. Entries that are not understood are kept and ignored.
    pub fn parse(content: &[u8]) -> serde_json::Result<Self> {
        let mut parts: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(content)?;
        let entries: Option<Vec<Box<RawValue>>> = match parts.remove("manifests") {
            Some(list) => serde_json::from_str(list.get())?,
            None => None,
        };
        let entries = entries.unwrap_or_default().into_iter().map(Entry::read).collect();
        Ok(Self { parts, entries, order: OnceLock::new() })
    }

    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut parts: BTreeMap<&str, &RawValue> =
            self.parts.iter().map(|(key, value)| (key.as_str(), &**value)).collect();
        let entries: Vec<&RawValue> = self.entries.iter().map(|entry| &*entry.raw).collect();
        let entries = to_raw_value(&entries)?;
        parts.insert("manifests", &entries);
        serde_json::to_vec(&parts)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn tags(&self) -> BTreeSet<&Tag> {
        self.entries.iter().filter_map(|entry| entry.tag.as_ref()).collect()
    }

    /// The entry with a tag. Nothing makes names unique, so the first wins, and a bare tag
    /// wins over a full reference.
    pub fn by_tag(&self, tag: &Tag) -> Option<&Entry> {
        let tags = &self.order().tags;
        let first = tags.partition_point(|at| self.entries[*at].tag.as_ref() < Some(tag));
        let entry = &self.entries[*tags.get(first)?];
        (entry.tag.as_ref() == Some(tag)).then_some(entry)
    }

    /// How entries that a tag may mean are told apart, behind the name of the layout: by `:full/name:tag`
    /// or by `@digest`. Empty if it means one image.
    pub fn meanings(&self, tag: &Tag) -> Vec<String> {
        let Some(first) = self.by_tag(tag) else { return Vec::new() };
        let is_bare = first.is_named(tag);
        let like_it = |entry: &&Entry| {
            entry.tag.as_ref() == Some(tag)
                && entry.is_named(tag) == is_bare
                && entry.digest.is_some()
        };
        self.told_apart(self.entries.iter().filter(like_it))
    }

    /// The same of all entries with this full name.
    pub fn meanings_of(&self, full_name: &str) -> Vec<String> {
        self.told_apart(self.by_full_name(full_name))
    }

    /// How these entries are told apart, if they are several images.
    fn told_apart<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Vec<String> {
        let mut images: Vec<&Entry> = Vec::new();
        for entry in entries {
            if images.iter().all(|other| other.digest != entry.digest) {
                images.push(entry);
            }
        }
        match images[..] {
            [] | [_] => Vec::new(),
            _ => images.iter().filter_map(|entry| entry.address(&images)).collect(),
        }
    }

    /// The entries with this full name, which may be written without docker's defaults.
    pub fn by_full_name(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let meant = name.parse::<ImageReference>().ok();
        self.entries.iter().filter(move |entry| {
            entry.digest.is_some()
                && entry.full_name.as_ref().is_some_and(|full| {
                    full == name || meant.is_some() && full.parse().ok() == meant
                })
        })
    }

    /// The first entry of an image.
    pub fn by_digest(&self, digest: &Digest) -> Option<&Entry> {
        let digests = &self.order().digests;
        let first = digests.partition_point(|at| self.entries[*at].digest.as_ref() < Some(digest));
        let entry = &self.entries[*digests.get(first)?];
        (entry.digest.as_ref() == Some(digest)).then_some(entry)
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| Order::of(&self.entries))
    }

    /// The entries, to be edited.
    fn edited(&mut self) -> &mut Vec<Entry> {
        self.order.take();
        &mut self.entries
    }

    /// Gives `tag` to an image; the entry that had the name loses it. Gives whether anything changed.
    pub fn set_tag(&mut self, tag: &Tag, descriptor: &Descriptor) -> serde_json::Result<bool> {
        let named = |entry: &Entry| entry.is_named(tag);
        let first = self.entries.iter().position(named);
        if let Some(first) = first
            && self.entries[first].digest.as_ref() == Some(&descriptor.digest)
            && self.entries[first].media_type.as_deref() == Some(&descriptor.media_type)
        {
            return Ok(false);
        }
        let entry = Entry::new(descriptor, Some(tag))?;
        let entries = self.edited();
        entries.retain(|entry| !named(entry));
        // In the place of the first one, before which none was removed.
        entries.insert(first.unwrap_or(entries.len()), entry);
        Ok(true)
    }

    /// Lists an image without a tag, unless it is listed, with a tag or without.
    pub fn list(&mut self, descriptor: &Descriptor) -> serde_json::Result<bool> {
        self.list_unless(descriptor, |_| true)
    }

    /// Lists an image without a tag, unless it has such an entry, which stays when all tags of the image
    /// have moved.
    pub fn list_untagged(&mut self, descriptor: &Descriptor) -> serde_json::Result<bool> {
        self.list_unless(descriptor, |entry| entry.ref_name.is_none() && entry.tag.is_none())
    }

    /// Lists an image without a tag, unless one of its entries suffices.
    fn list_unless(
        &mut self,
        descriptor: &Descriptor,
        suffices: impl Fn(&Entry) -> bool,
    ) -> serde_json::Result<bool> {
        // Not by `by_digest`, which would be sorted again for each of many edits.
        let is_listed =
            |entry: &Entry| entry.digest.as_ref() == Some(&descriptor.digest) && suffices(entry);
        if self.entries.iter().any(is_listed) {
            return Ok(false);
        }
        let entry = Entry::new(descriptor, None)?;
        self.edited().push(entry);
        Ok(true)
    }

    /// Drops every entry with this tag; gives whether there was one.
    pub fn drop_tag(&mut self, tag: &Tag) -> bool {
        self.drop_all(|entry| entry.tag.as_ref() == Some(tag))
    }

    /// Drops every entry of an image; gives whether there was one.
    pub fn drop_digest(&mut self, digest: &Digest) -> bool {
        self.drop_all(|entry| entry.digest.as_ref() == Some(digest))
    }

    fn drop_all(&mut self, unwanted: impl FnMut(&mut Entry) -> bool) -> bool {
        self.edited().extract_if(.., unwanted).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FOREIGN: [&str; 5] = [
        r#"{"mediaType":"application/x-future",  "digest":"blake3:zz","size":-1,"x":{"b":1, "a":1.0}}"#,
        r#"{"digest":7}"#,
        r#"{"annotations":{"org.opencontainers.image.ref.name":"docker.io/library/x:1.0"},"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#,
        r#"null"#,
        r#"{"annotations":{"org.opencontainers.image.ref.name":"old", "k":"v"},"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#,
    ];

    fn foreign() -> Index {
        let json = format!(
            r#"{{ "schemaVersion": 2, "x-key": [1,  2], "manifests": [{}] }}"#,
            FOREIGN.join(" ,\n")
        );
        Index::parse(json.as_bytes()).unwrap()
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn image(content: &str) -> Descriptor {
        let digest = Digest::of(content.as_bytes());
        Descriptor::new(media_type::OCI_MANIFEST, digest, content.len() as u64)
    }

    fn text(index: &Index) -> String {
        String::from_utf8(index.to_bytes().unwrap()).unwrap()
    }

    #[test]
    fn entries_of_others_survive_every_edit_byte_for_byte() {
        let mut index = foreign();
        assert!(index.set_tag(&tag("new"), &image("a")).unwrap());
        assert!(index.set_tag(&tag("new"), &image("b")).unwrap());
        assert!(!index.set_tag(&tag("new"), &image("b")).unwrap());
        assert!(index.list(&image("c")).unwrap());
        assert!(index.drop_digest(&Digest::of(b"c")));
        assert!(index.drop_tag(&tag("new")));
        let text = text(&index);
        for entry in FOREIGN {
            assert!(text.contains(entry), "{entry} is not in {text}");
        }
        assert!(text.contains(r#""x-key":[1,  2]"#), "{text}");
        assert_eq!(Index::parse(text.as_bytes()).unwrap().entries.len(), FOREIGN.len());
    }

    #[test]
    fn tags_are_read_from_names_and_full_references() {
        let index = foreign();
        assert_eq!(index.tags(), BTreeSet::from([&tag("1.0"), &tag("old")]));
        let cases = [
            ("latest", Some("latest")),
            ("localhost:5000/app", None),
            ("localhost:5000/app:2", Some("2")),
            ("ghcr.io/a/b:3@sha256:00", Some("3")),
            ("ghcr.io/a/b@sha256:00", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(tag_of(name), expected.map(tag), "{name}");
        }
    }

    #[test]
    fn images_of_one_tag_are_told_apart() {
        let entry = |content: &str, names: &[(&str, &str)]| {
            let names: BTreeMap<_, _> = names.iter().copied().collect();
            serde_json::json!({ "digest": Digest::of(content.as_bytes()), "annotations": names })
        };
        let index = serde_json::json!({ "manifests": [
            entry("a", &[(REF_NAME, "docker.io/library/a:1")]),
            entry("b", &[(REF_NAME, "ghcr.io/b:1")]),
            entry("a", &[(REF_NAME, "ghcr.io/again:1")]),
            entry("a", &[(REF_NAME, "2"), (FULL_NAME, "docker.io/library/a:2")]),
            entry("b", &[(REF_NAME, "2"), (FULL_NAME, "docker.io/library/b:2")]),
            entry("a", &[(REF_NAME, "3")]),
            entry("b", &[(REF_NAME, "3")]),
            entry("b", &[(REF_NAME, "ghcr.io/b:4")]),
            entry("a", &[(REF_NAME, "4")]),
            entry("b", &[(FULL_NAME, "ghcr.io/b:5")]),
            entry("a", &[(REF_NAME, "ghcr.io/same:6")]),
            entry("b", &[(REF_NAME, "ghcr.io/same:6")]),
        ]});
        let index = Index::parse(index.to_string().as_bytes()).unwrap();
        let digests = || ["a", "b"].map(|it| format!("@{}", Digest::of(it.as_bytes())));
        let meanings = |name: &str| index.meanings(&tag(name));
        assert_eq!(meanings("1"), [":docker.io/library/a:1", ":ghcr.io/b:1"]);
        assert_eq!(meanings("2"), [":docker.io/library/a:2", ":docker.io/library/b:2"]);
        assert_eq!(meanings("3"), digests());
        assert_eq!(meanings("4"), [""; 0], "the bare tag is another name");
        assert_eq!(meanings("5"), [""; 0]);
        assert_eq!(index.by_tag(&tag("5")).unwrap().digest, Some(Digest::of(b"b")));
        assert_eq!(index.meanings_of("ghcr.io/same:6"), digests());
        for (name, found) in [("a:1", 1), ("docker.io/library/a:1", 1), ("b:1", 0), ("b:2", 1)] {
            assert_eq!(index.by_full_name(name).count(), found, "{name}");
        }
    }

    #[test]
    fn a_tag_replaces_the_entry_of_the_same_name_only() {
        let mut index = foreign();
        assert!(index.set_tag(&tag("1.0"), &image("a")).unwrap());
        // The full reference is another name; the bare tag is found first.
        assert_eq!(index.entries.len(), FOREIGN.len() + 1);
        assert_eq!(index.by_tag(&tag("1.0")).unwrap().digest, Some(Digest::of(b"a")));
        assert!(index.set_tag(&tag("old"), &image("a")).unwrap());
        assert_eq!(index.entries.len(), FOREIGN.len() + 1);
        assert!(index.drop_tag(&tag("1.0")));
        assert!(index.by_tag(&tag("1.0")).is_none());
    }

    #[test]
    fn an_untagged_entry_stays_when_the_tag_goes_elsewhere() {
        let mut index = Index::empty().unwrap();
        index.set_tag(&tag("t"), &image("a")).unwrap();
        assert!(!index.list(&image("a")).unwrap());
        assert!(index.list_untagged(&image("a")).unwrap());
        assert!(!index.list_untagged(&image("a")).unwrap());
        index.set_tag(&tag("t"), &image("b")).unwrap();
        assert!(index.by_digest(&Digest::of(b"a")).is_some());
    }

    #[test]
    fn an_empty_list_may_be_null_or_absent() {
        for json in [r#"{"manifests":null}"#, r#"{"schemaVersion":2}"#] {
            assert!(Index::parse(json.as_bytes()).unwrap().entries().is_empty());
        }
        assert!(Index::parse(b"[]").is_err());
        assert!(Index::parse(br#"{"manifests":{}}"#).is_err());
    }

    /// An edit by number: of one of a few tags, with one of a few images.
    fn edit(index: &mut Index, tags: &mut BTreeMap<String, Digest>, edit: (u8, u8, u8)) {
        let (kind, name, content) = edit;
        let (name, image) = (format!("t{name}"), image(&format!("{content}")));
        match kind {
            0 | 1 => {
                let changed = tags.insert(name.clone(), image.digest.clone());
                let same = changed.as_ref() == Some(&image.digest);
                assert_eq!(index.set_tag(&tag(&name), &image).unwrap(), !same);
            }
            2 => assert_eq!(index.drop_tag(&tag(&name)), tags.remove(&name).is_some()),
            3 => {
                let there = index.by_digest(&image.digest).is_some();
                tags.retain(|_, digest| *digest != image.digest);
                assert_eq!(index.drop_digest(&image.digest), there);
            }
            _ => {
                index.list_untagged(&image).unwrap();
                assert!(!index.list(&image).unwrap());
            }
        }
    }

    /// An index of entries by number: what names them, and which image they are.
    fn listing(entries: &[(u8, u8)]) -> Index {
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, content)| {
                let mut entry = serde_json::json!({ "digest": Digest::of(&[*content]) });
                let tag = format!("t{}", name % 4);
                let name = match name / 4 {
                    0 => Some(tag),
                    1 => Some(format!("docker.io/x:{tag}")),
                    _ => None,
                };
                if let Some(name) = name {
                    entry["annotations"] = serde_json::json!({ REF_NAME: name });
                }
                entry
            })
            .collect();
        let index = serde_json::json!({ "manifests": entries });
        Index::parse(index.to_string().as_bytes()).unwrap()
    }

    /// What `by_tag` and `by_digest` find is what looking through all entries finds.
    fn assert_found(index: &Index) {
        let place =
            |entry: &Entry| index.entries.iter().position(|other| std::ptr::eq(other, entry));
        for name in 0..5 {
            let tag = tag(&format!("t{name}"));
            let exact = index.entries.iter().find(|entry| entry.is_named(&tag));
            let of_tag = |entry: &&Entry| entry.tag.as_ref() == Some(&tag);
            let expected = exact.or_else(|| index.entries.iter().find(of_tag));
            assert_eq!(index.by_tag(&tag).and_then(place), expected.and_then(place), "{tag}");
        }
        for content in 0..5 {
            let digest = Digest::of(&[content]);
            let expected =
                index.entries.iter().position(|entry| entry.digest.as_ref() == Some(&digest));
            assert_eq!(index.by_digest(&digest).and_then(place), expected, "{digest}");
        }
    }

    proptest! {
        #[test]
        fn lookups_find_the_first_matching_entry(
            entries in prop::collection::vec((0..12_u8, 0..4_u8), 0..20)
        ) {
            let mut index = listing(&entries);
            assert_found(&index);
            index.set_tag(&tag("t1"), &image("new")).unwrap();
            assert_found(&index);
            index.drop_tag(&tag("t2"));
            assert_found(&index);
            index.drop_digest(&Digest::of(&[1]));
            assert_found(&index);
            index.list(&image("newer")).unwrap();
            assert_found(&index);
        }

        #[test]
        fn tags_are_a_map_whatever_is_edited(
            edits in prop::collection::vec((0..5_u8, 0..4_u8, 0..3_u8), 0..40)
        ) {
            let mut index = foreign();
            index.drop_tag(&tag("old"));
            let mut tags = BTreeMap::new();
            for one in edits {
                edit(&mut index, &mut tags, one);
                index = Index::parse(&index.to_bytes().unwrap()).unwrap();
                let found: BTreeMap<_, _> = index
                    .tags()
                    .into_iter()
                    .filter(|tag| tag.as_str() != "1.0")
                    .map(|tag| (tag.to_string(), index.by_tag(tag).unwrap().digest.clone().unwrap()))
                    .collect();
                prop_assert_eq!(&found, &tags);
                prop_assert!(index.by_tag(&tag("1.0")).is_some());
            }
        }

        #[test]
        fn parsing_never_panics(content: Vec<u8>, text in "\\{\"manifests\":\\[[\\[\\]{}:,\"a-z0-9]{0,30}\\]\\}") {
            let _ = Index::parse(&content);
            let _ = Index::parse(text.as_bytes());
        }
    }
}

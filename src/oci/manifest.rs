//! Manifests and indexes: raw bytes with a read-only view of what a copy must know of them.
//!
//! The bytes are never re-serialised: what was received is what is put at the target. Only a
//! platform filter makes new bytes, and does so by `Manifest::with_children`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::Digest;
use super::lenient;
use super::media_type;
use super::platform::Platform;

/// Registries agree on 4 MiB as the largest manifest (distribution-spec, "Pushing Manifests").
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// A pointer to content (image-spec descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// May be missing, which [`Descriptor::may_be_manifest`] allows for.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub media_type: String,
    pub digest: Digest,
    /// In bytes, as declared: never allocated from.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::annotations"
    )]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Descriptor {
    /// A descriptor with nothing but what all of them have.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: None,
        }
    }

    /// Whether an index means a manifest or an index by this. Without a type it does: only these are
    /// left without one.
    pub fn may_be_manifest(&self) -> bool {
        self.media_type.is_empty() || media_type::is_manifest(&self.media_type)
    }

    /// Whether it may point at an index.
    pub fn may_be_index(&self) -> bool {
        self.media_type.is_empty() || media_type::is_index(&self.media_type)
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The manifest that a BuildKit attestation manifest belongs to, named in an annotation.
    pub fn attested(&self) -> Option<Digest> {
        (self.annotation("vnd.docker.reference.type") == Some("attestation-manifest"))
            .then(|| self.annotation("vnd.docker.reference.digest")?.parse().ok())
            .flatten()
    }
}

/// What a document points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image or artifact manifest. `blobs` holds the config, if it has one, then the layers, in order;
    /// the same blob may stand there twice.
    Image { blobs: Vec<Descriptor> },
    /// An index or manifest list, possibly empty, possibly of indexes.
    Index { children: Vec<Descriptor> },
}

/// One manifest, verified against its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub raw: Bytes,
    pub media_type: String,
    pub digest: Digest,
    pub document: Document,
    /// The manifest that this one refers to, for a referrer (image-spec manifest.md, `subject`).
    pub subject: Option<Descriptor>,
    /// As a referrers list shows it: `artifactType`, else the config's media type.
    pub artifact_type: Option<String>,
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// Why a document is not copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error(
        "it is a Docker schema 1 manifest, a format whose digest does not cover its bytes: push the image again with a current docker, or convert it, then copy that"
    )]
    Schema1,
    #[error(
        "its media type `{0}` is not one that can be copied (OCI or Docker schema 2 manifest or index)"
    )]
    MediaType(String),
    #[error("the Content-Type says `{header}`, the document itself says `{body}`")]
    Contradiction { header: String, body: String },
    #[error("it has both `manifests` and `layers` or `config`, so it can be read in two ways")]
    Ambiguous,
    #[error("it lacks `{0}`")]
    Lacks(&'static str),
    #[error("it is not a valid manifest: {0}")]
    Json(String),
    #[error("it is larger than {} bytes", MAX_MANIFEST_BYTES)]
    TooLarge,
    #[error("its content has the digest {found}, but {wanted} was requested")]
    Digest { wanted: Digest, found: Digest },
}

/// Every key of either kind of document that matters here, so that a mixture is noticed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "list")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "list")]
    manifests: Option<Vec<Descriptor>>,
    /// Of artifact manifests.
    #[serde(default, deserialize_with = "list")]
    blobs: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "lenient::annotations")]
    annotations: Option<std::collections::BTreeMap<String, String>>,
    // Schema 1.
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// A list that is there; `null` is how Go programs write an empty one.
fn list<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Descriptor>>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

impl Manifest {
    /// Reads and checks a document.
    ///
    /// `content_type` is the answer's header, where there was one; `wanted` the digest that was
    /// asked for, where one was. The media type is the body's own, else the header's, else
    /// derived from the document (image-spec lets OCI documents leave it out).
    pub fn parse(
        raw: Bytes,
        content_type: Option<&str>,
        wanted: Option<&Digest>,
    ) -> Result<Self, ManifestError> {
        if raw.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge);
        }
        let header = content_type.map(media_type::essence).filter(|header| is_specific(header));
        if header.as_deref().is_some_and(|header| media_type::DOCKER_SCHEMA1.contains(&header)) {
            return Err(ManifestError::Schema1);
        }
        let digest = wanted.map_or_else(|| Digest::of(&raw), |wanted| wanted.same_of(&raw));
        if let Some(wanted) = wanted.filter(|wanted| **wanted != digest) {
            return Err(ManifestError::Digest { wanted: wanted.clone(), found: digest });
        }
        let view: View = serde_json::from_slice(&raw).map_err(json)?;
        if view.schema_version == Some(1) || view.fs_layers.is_some() {
            return Err(ManifestError::Schema1);
        }
        let own = view.media_type.as_ref().filter(|own| !own.is_empty());
        let media_type = match (header, own) {
            (Some(header), Some(body)) if header != *body => {
                return Err(ManifestError::Contradiction { header, body: body.clone() });
            }
            (_, Some(body)) => body.clone(),
            (Some(header), None) => header,
            (None, None) if view.manifests.is_some() => media_type::OCI_INDEX.to_owned(),
            (None, None) => media_type::OCI_MANIFEST.to_owned(),
        };
        if view.manifests.is_some() && (view.layers.is_some() || view.config.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        let mut artifact_type = view.artifact_type;
        let document = if media_type::is_index(&media_type) {
            Document::Index { children: view.manifests.ok_or(ManifestError::Lacks("manifests"))? }
        } else if media_type == media_type::ARTIFACT_MANIFEST {
            Document::Image { blobs: view.blobs.unwrap_or_default() }
        } else if media_type::is_manifest(&media_type) {
            let config = view.config.ok_or(ManifestError::Lacks("config"))?;
            artifact_type = artifact_type.or_else(|| Some(config.media_type.clone()));
            let mut blobs = vec![config];
            blobs.extend(view.layers.ok_or(ManifestError::Lacks("layers"))?);
            Document::Image { blobs }
        } else {
            return Err(ManifestError::MediaType(media_type));
        };
        Ok(Self {
            raw,
            media_type,
            digest,
            document,
            subject: view.subject,
            artifact_type,
            annotations: view.annotations,
        })
    }

    /// A descriptor that points at this document.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.raw.len() as u64)
    }

    /// The descriptor that a referrers list shows for this referrer (distribution-spec,
    /// "Listing Referrers"): with artifact type and all annotations.
    pub fn referrer_descriptor(&self) -> Descriptor {
        Descriptor {
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotations.clone(),
            ..self.descriptor()
        }
    }

    /// The children of an index; none for an image.
    pub fn children(&self) -> &[Descriptor] {
        match &self.document {
            Document::Index { children } => children,
            Document::Image { .. } => &[],
        }
    }

    /// Config and layers of an image; none for an index.
    pub fn blobs(&self) -> &[Descriptor] {
        match &self.document {
            Document::Image { blobs } => blobs,
            Document::Index { .. } => &[],
        }
    }

    /// Whether some of its layers are stored elsewhere.
    pub fn has_foreign_layers(&self) -> bool {
        self.blobs().iter().any(|blob| media_type::is_nondistributable(&blob.media_type))
    }

    /// The same index with only those children for which `keep` answers yes by position.
    ///
    /// Everything else stays as it was, byte for byte within each kept entry; only white space
    /// between the parts is dropped. The same input gives the same bytes on every machine.
    pub fn with_children(&self, keep: impl Fn(usize) -> bool) -> Result<Self, ManifestError> {
        self.edited(|entries| {
            let entries = entries.into_iter().enumerate();
            entries.filter_map(|(at, entry)| keep(at).then_some(entry)).collect()
        })
    }

    /// The same index with one more child at its end; what is there stays as it was.
    pub fn with_added(&self, child: &Descriptor) -> Result<Self, ManifestError> {
        let child = serde_json::value::to_raw_value(child).map_err(json)?;
        self.edited(|mut entries| {
            entries.push(child);
            entries
        })
    }

    /// A new index of these children.
    pub fn index_of(children: &[Descriptor]) -> Result<Self, ManifestError> {
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": children,
        });
        Self::parse(index.to_string().into(), None, None)
    }

    fn edited(
        &self,
        edit: impl FnOnce(Vec<Box<RawValue>>) -> Vec<Box<RawValue>>,
    ) -> Result<Self, ManifestError> {
        // Sorted by key, so that equal input gives equal bytes; the raw values are untouched.
        let mut parts: std::collections::BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(&self.raw).map_err(json)?;
        let list = parts.get("manifests").ok_or(ManifestError::Lacks("manifests"))?;
        let entries: Option<Vec<Box<RawValue>>> = serde_json::from_str(list.get()).map_err(json)?;
        let list =
            serde_json::value::to_raw_value(&edit(entries.unwrap_or_default())).map_err(json)?;
        parts.insert("manifests".to_owned(), list);
        let raw = serde_json::to_vec(&parts).map_err(json)?;
        Self::parse(raw.into(), Some(&self.media_type), None)
    }
}

fn json(error: serde_json::Error) -> ManifestError {
    ManifestError::Json(error.to_string())
}

/// Whether a Content-Type says anything: some servers send a generic one for everything.
fn is_specific(essence: &str) -> bool {
    !matches!(essence, "" | "application/json" | "application/octet-stream" | "text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    fn parse(json: &str, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::parse(json.to_owned().into(), content_type, None)
    }

    #[test]
    fn an_image_is_walked_config_first() {
        let media_type = media_type::OCI_MANIFEST;
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{CONFIG},"layers":[]}}"#
        );
        let content_type = format!("{media_type}; charset=utf-8");
        let manifest = parse(&json, Some(&content_type)).unwrap();
        assert_eq!(manifest.blobs().len(), 1);
        let expected = Some("application/vnd.oci.image.config.v1+json");
        assert_eq!(manifest.artifact_type.as_deref(), expected);
    }

    #[test]
    fn documents_that_mislead_are_refused() {
        use media_type::{DOCKER_LIST, DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST};
        let both = format!(r#"{{"manifests":[],"layers":[],"config":{CONFIG}}}"#);
        let index_with_config = format!(r#"{{"manifests":[],"config":{CONFIG}}}"#);
        let image = format!(r#"{{"mediaType":"{OCI_MANIFEST}","config":{CONFIG},"layers":[]}}"#);
        let without_layers = format!(r#"{{"config":{CONFIG}}}"#);
        let of_config = |digest: &str, size: i32| {
            let config = serde_json::json!({ "mediaType": "x", "digest": digest, "size": size });
            format!(r#"{{"config":{config},"layers":[]}}"#)
        };
        let cases = [
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1"),
            ("{}", Some(DOCKER_SCHEMA1[0]), "schema 1"),
            (&both, Some(OCI_INDEX), "two ways"),
            (&index_with_config, None, "two ways"),
            (&image, Some(OCI_INDEX), "Content-Type says"),
            (r#"{"layers":[]}"#, None, "lacks `config`"),
            (&without_layers, None, "lacks `layers`"),
            ("{}", Some(DOCKER_LIST), "lacks `manifests`"),
            (r#"{"mediaType":"text/html"}"#, None, "not one that can be copied"),
            ("[]", None, "not a valid manifest"),
            ("{", None, "not a valid manifest"),
            (&of_config("../../etc", 1), None, "not a digest"),
            (&of_config("sha256:00", -1), None, "not a valid manifest"),
        ];
        for (json, content_type, expected) in cases {
            let message = parse(json, content_type).unwrap_err().to_string();
            assert!(message.contains(expected), "{json}: {message}");
        }
    }

    #[test]
    fn other_bytes_than_asked_for_are_refused() {
        let wanted = Digest::of(b"something else");
        let error = Manifest::parse(Bytes::from_static(b"{}"), None, Some(&wanted)).unwrap_err();
        assert!(matches!(error, ManifestError::Digest { .. }));
        let large = Bytes::from(vec![b' '; MAX_MANIFEST_BYTES + 1]);
        assert_eq!(Manifest::parse(large, None, None), Err(ManifestError::TooLarge));
    }

    #[test]
    fn a_smaller_index_keeps_each_entry_as_it_was() {
        let entry = |n: u8| {
            format!(
                r#"{{"mediaType":"{}","digest":"{}","size":{n},"x-unknown":{{"b":1, "a":1.0}}}}"#,
                media_type::OCI_MANIFEST,
                Digest::of(&[n])
            )
        };
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}, {}],"annotations":{{"z":"1"}}}}"#,
            media_type::OCI_INDEX,
            entry(1),
            entry(2)
        );
        let index = parse(&json, None).unwrap();
        let smaller = index.with_children(|at| at == 1).unwrap();
        assert_eq!(smaller.children(), &index.children()[1..]);
        assert!(String::from_utf8_lossy(&smaller.raw).contains(&entry(2)));
        assert_eq!(smaller, index.with_children(|at| at == 1).unwrap());
        assert_ne!(smaller.digest, index.digest);
        let larger = smaller.with_added(&index.children()[0]).unwrap();
        assert_eq!(larger.children(), [index.children()[1].clone(), index.children()[0].clone()]);
        assert!(String::from_utf8_lossy(&larger.raw).contains(&entry(2)));
        assert_eq!(Manifest::index_of(index.children()).unwrap().children(), index.children());
    }

    #[test]
    fn documents_that_are_a_little_off_are_read() {
        let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let index = parse(
            &format!(
                r#"{{"schemaVersion":2,"mediaType":"","annotations":null,"manifests":[
                    {{"digest":"{digest}","size":null,"platform":{{"os":null,"architecture":"arm64"}},
                      "annotations":{{"a":null,"b":1,"c":"d"}}}},
                    {{"mediaType":null,"digest":"{digest}","platform":null,"annotations":null}}]}}"#
            ),
            Some("application/json"),
        )
        .unwrap();
        assert_eq!(index.media_type, media_type::OCI_INDEX);
        let [first, second] = index.children() else { panic!("{index:?}") };
        assert_eq!((first.annotation("c"), first.annotation("a")), (Some("d"), None));
        let platform = first.platform.as_ref().unwrap();
        assert_eq!((&*platform.os, &*platform.architecture), ("", "arm64"));
        assert!(first.may_be_manifest() && second.may_be_manifest() && second.platform.is_none());
        let artifact = format!(
            r#"{{"mediaType":"{}","artifactType":"x/y","blobs":[{CONFIG}],"subject":{CONFIG}}}"#,
            media_type::ARTIFACT_MANIFEST
        );
        let artifact = parse(&artifact, None).unwrap();
        assert_eq!((artifact.blobs().len(), artifact.artifact_type.as_deref()), (1, Some("x/y")));
        assert!(artifact.subject.is_some());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(raw: Vec<u8>, content_type in proptest::option::of("\\PC{0,30}")) {
            let _ = Manifest::parse(raw.into(), content_type.as_deref(), None);
        }
    }
}

//! The YAML file of `skopeo sync --src yaml`: what to copy, by registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::constraint;
use crate::cli::exit::CliError;
use crate::cli::skopeo::Overrides;
use crate::copy::Extent;
use crate::oci::selection::{TagPatterns, TagSelection};
use crate::oci::{ImageAddress, RegistryHost};
use crate::registry::auth::Given;
use crate::repository::Reference;

/// More than anybody writes by hand.
const MAX_BYTES: u64 = 4 << 20;

/// One repository of the file, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub repository: ImageAddress,
    pub extent: Extent,
}

/// What a file says.
#[derive(Debug, Default)]
pub struct File {
    pub wanted: Vec<Wanted>,
    pub hosts: Vec<(RegistryHost, Overrides)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Registry {
    /// Tags and digests by repository; none: all tags.
    #[serde(default)]
    images: BTreeMap<String, Option<Vec<String>>>,
    #[serde(default)]
    images_by_tag_regex: BTreeMap<String, String>,
    #[serde(default)]
    images_by_semver: BTreeMap<String, String>,
    credentials: Option<Login>,
    tls_verify: Option<bool>,
    cert_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: SecretText,
}

/// What serde reads as a text and nobody sees.
struct SecretText(SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.into()))
    }
}

/// Reads a file.
pub fn read(path: &Path) -> Result<File, CliError> {
    let shown = path.display();
    let wrong = |why: String| CliError::Usage(format!("{shown}: {why}"));
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length > MAX_BYTES {
        return Err(wrong("it has more than 4 MiB".to_owned()));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Usage(format!("cannot read {shown}: {error}")))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<File, String> {
    let registries: BTreeMap<String, Registry> =
        yaml_serde::from_str(text).map_err(|error| error.to_string())?;
    let mut file = File::default();
    for (host, registry) in registries {
        let key: RegistryHost = host.parse().map_err(|error| format!("{error}"))?;
        let before = file.wanted.len();
        for (name, entries) in &registry.images {
            let extent = match entries.as_deref().unwrap_or_default() {
                [] => Extent::all_tags(),
                entries => Extent::Named(
                    entries.iter().map(|entry| image(entry)).collect::<Result<_, _>>()?,
                ),
            };
            file.wanted.push(Wanted { repository: repository(&host, name)?, extent });
        }
        for (name, expression) in &registry.images_by_tag_regex {
            let extent = Extent::Tags(by_expression(expression)?.into());
            file.wanted.push(Wanted { repository: repository(&host, name)?, extent });
        }
        for (name, constraint) in &registry.images_by_semver {
            let ranges = constraint::ranges(constraint).map_err(|why| format!("{name}: {why}"))?;
            for range in ranges {
                let selection = TagSelection { semver: Some(range), ..TagSelection::default() };
                let repository = repository(&host, name)?;
                file.wanted.push(Wanted { repository, extent: Extent::Tags(selection.into()) });
            }
        }
        if file.wanted.len() == before {
            return Err(format!("{host} has no images"));
        }
        file.hosts.push((key, registry.overrides()));
    }
    if file.wanted.is_empty() {
        return Err("it names no registry".to_owned());
    }
    Ok(file)
}

impl Registry {
    fn overrides(self) -> Overrides {
        let login = |Login { username, password }| Given::login(username, password.0);
        Overrides {
            given: self.credentials.map(login),
            tls_verify: self.tls_verify,
            authfile: None,
            cert_dir: self.cert_dir,
        }
    }
}

fn repository(host: &str, name: &str) -> Result<ImageAddress, String> {
    let address: ImageAddress =
        format!("docker://{host}/{name}").parse().map_err(|error| format!("{error}"))?;
    match address.names_image() {
        true => Err(format!("`{name}` names an image: write its tag as a value")),
        false => Ok(address),
    }
}

fn image(entry: &str) -> Result<Reference, String> {
    if entry.contains(':') {
        return entry.parse().map(Reference::Digest).map_err(|error| format!("{error}"));
    }
    entry.parse().map(Reference::Tag).map_err(|error| format!("{error}"))
}

/// The tags in which the expression matches anywhere, as skopeo has it.
fn by_expression(expression: &str) -> Result<TagSelection, String> {
    // First as written: `a)|(b` is only well formed between other parentheses.
    regex::Regex::new(expression)
        .map_err(|_| format!("`{expression}` is not a regular expression"))?;
    let pattern = format!("/.*(?:{expression}).*/").parse().map_err(|error| format!("{error}"))?;
    let include = TagPatterns::new(vec![pattern]).map_err(|error| error.to_string())?;
    Ok(TagSelection { include: Some(include), ..TagSelection::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Tag;

    const FILE: &str = "
registry.example.com:
    images:
        busybox: []
        redis:
            - \"1.0\"
            - 2.10
            - \"sha256:0000000000000000000000000000000011111111111111111111111111111111\"
        memcached:
    images-by-tag-regex:
        nginx: ^1\\.13\\.[12]-alpine-perl$
    images-by-semver:
        alpine: \">= 3.12.0\"
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
    cert-dir: /home/john/certs
quay.io:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
docker.io:
    images-by-tag-regex: {alpine: edge}
";

    fn selected(file: &File, repository: &str, tags: &[&str]) -> Vec<String> {
        let wanted = file.wanted.iter().find(|it| it.repository.to_string() == repository);
        let Extent::Tags(selection) = &wanted.unwrap().extent else { panic!("{wanted:?}") };
        let tags = tags.iter().map(|tag| tag.parse::<Tag>().unwrap());
        selection.select(tags).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_file_of_skopeos_manual_is_read() {
        let file = parse(FILE).unwrap();
        let all = selected(&file, "registry.example.com/busybox", &["1", "x"]);
        assert_eq!(all, ["1", "x"]);
        assert_eq!(selected(&file, "registry.example.com/memcached", &["1"]), ["1"]);
        let tags = ["1.13.1-alpine-perl", "1.13.3-alpine-perl", "x1.13.1-alpine-perl"];
        assert_eq!(selected(&file, "registry.example.com/nginx", &tags), [tags[0]]);
        let tags = ["3.11.0", "3.12.1", "v4.0.0", "latest"];
        assert_eq!(selected(&file, "registry.example.com/alpine", &tags), tags[1..3]);
        let tags = ["edge", "edge-1", "the-edge", "3"];
        assert_eq!(selected(&file, "docker.io/library/alpine", &tags), tags[..3]);
        let named = |repository: &str| {
            let wanted = file.wanted.iter().find(|it| it.repository.to_string() == repository);
            let Extent::Named(references) = &wanted.unwrap().extent else { panic!("{wanted:?}") };
            references.iter().map(Reference::suffix).collect::<Vec<_>>()
        };
        let redis = named("registry.example.com/redis");
        assert_eq!(redis[..2], [":1.0", ":2.10"]);
        assert!(redis[2].starts_with("@sha256:0000"), "{redis:?}");
        assert_eq!(named("quay.io/coreos/etcd"), [":latest"]);
        let hosts: Vec<_> =
            file.hosts.iter().map(|(host, it)| (host.as_str(), it.tls_verify)).collect();
        assert_eq!(
            hosts,
            [("docker.io", None), ("quay.io", Some(false)), ("registry.example.com", Some(true))]
        );
        let john = &file.hosts[2].1;
        assert_eq!(john.given, Some(Given::login("john".to_owned(), "this is a secret".into())));
        assert!(!format!("{file:?}").contains("secret"));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "it names no registry"),
            ("r.io: {}", "r.io has no images"),
            ("r.io: {image: {a: []}}", "unknown field `image`"),
            ("r.io: {images: {'a:1': []}}", "names an image"),
            ("r.io: {images: {A: []}}", "upper-case"),
            ("r.io: {images: {a: ['-x']}}", "not a tag"),
            ("r.io: {images: {a: ['sha256:0']}}", "not a digest"),
            ("r.io: {images-by-tag-regex: {a: 'a)|(b'}}", "not a regular expression"),
            ("r.io: {images-by-semver: {a: newest}}", "not a range"),
            ("r.io/x: {images: {a: []}}", "not a registry host"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}

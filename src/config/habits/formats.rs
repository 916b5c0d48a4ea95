//! Texts that are not TOML.

/// What the parser says of a statement that is not TOML, and a hint.
pub fn not_toml(message: &str, statement: &str) -> (String, Option<String>) {
    let statement = statement.trim();
    let (key, value) = statement.split_once('=').map_or((statement, None), |(key, value)| {
        (key.trim(), Some(value.split('#').next().unwrap_or_default().trim()))
    });
    let is_header = statement.starts_with('[');
    let hint = match value {
        _ if is_header => return (message.to_owned(), header(statement)),
        Some("yes" | "on" | "True" | "TRUE") => Some(format!("write `{key} = true`")),
        Some("no" | "off" | "False" | "FALSE") => Some(format!("write `{key} = false`")),
        // The value may be a secret.
        Some(_) if message.starts_with("string values must be quoted") => {
            Some(format!("put the text in quotes: `{key} = \"…\"`"))
        }
        Some(_) if message.starts_with("missing escaped value") => {
            Some(format!("write each `\\` twice, or the text in single quotes: `{key} = '…'`"))
        }
        None if statement.contains(':') => {
            let (key, _) = statement.split_once(':').unwrap_or_default();
            Some(format!("a key has `=` behind it: `{} = …`", key.trim_matches('"')))
        }
        _ => None,
    };
    let message = match message {
        "key with no value, expected `=`" => "a key without a value".to_owned(),
        message => message.to_owned(),
    };
    (message, hint)
}

/// How a header that cannot be read is written.
fn header(statement: &str) -> Option<String> {
    let inside = statement.trim_start_matches('[').split(']').next()?;
    let kind = inside.split('.').next()?.trim();
    if ["sync", "cleanup", "notify"].contains(&inside.trim()) {
        return Some(format!("each of them begins with `[[{kind}]]`"));
    }
    let host = inside.strip_prefix("registry.")?.trim_matches('"');
    let is_host =
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
    is_host.then(|| format!("put the host in quotes: `[registry.\"{host}\"]`"))
}

/// A format that configurations of other tools have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherFormat {
    Yaml,
    Json,
}

impl OtherFormat {
    /// The format of a text that is no TOML.
    pub fn of(text: &str) -> Option<Self> {
        let mut lines =
            text.lines().map(str::trim_end).filter(|line| !line.trim_start().starts_with('#'));
        let first = lines.find(|line| !line.is_empty())?;
        let is_name = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        let yaml_key = first.split_once(':').is_some_and(|(key, value)| {
            is_name(key) && (value.is_empty() || value.starts_with(' ')) && !value.contains('=')
        });
        if first.starts_with('{') {
            return Some(Self::Json);
        }
        (first == "---" || first.starts_with("- ") || yaml_key).then_some(Self::Yaml)
    }

    /// What is said of such a file, and a hint.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Yaml => (
                "this is YAML, and the configuration of tranship is TOML",
                "docs/coming-from-regsync.md shows a regsync.yml in TOML, key by key; `tranship config init` writes a configuration to start from",
            ),
            Self::Json => (
                "this is JSON, and the configuration of tranship is TOML",
                "`tranship config init` writes a configuration to start from, and config.example.toml shows every key",
            ),
        }
    }
}

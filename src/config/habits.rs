//! What people write by habit, from other tools and other formats, and the line that is meant.
//!
//! A line is only suggested if it is valid where it stands. Values of tables that may hold secrets are
//! never repeated.

use super::document::Node;
use super::show::{list, quoted};
use super::text::Period;
use crate::oci::RegistryHost;
use crate::schedule::Schedule;

/// Other words for keys, and what to write instead.
type Words = &'static [(&'static [&'static str], Meant)];

/// What somebody means by a key.
#[derive(Clone, Copy)]
enum Meant {
    /// Another key, with the value that is there if that can be.
    Key(&'static str, &'static str),
    /// This line.
    Line(&'static str),
    /// Something in another place, or nothing.
    Other(&'static str),
}
use Meant::{Key, Line, Other};

const TOP: Words = &[
    (
        &["creds", "credentials", "auth", "auths", "registries", "login", "logins"],
        Line("[registry.\"registry.example.com\"]"),
    ),
    (
        &[
            "rule",
            "rules",
            "mirror",
            "mirrors",
            "replication",
            "replications",
            "jobs",
            "images",
            "repositories",
            "copy",
            "tasks",
            "artifacts",
            "source",
            "target",
            "tags",
            "name",
            "schedule",
            "every",
            "platforms",
        ],
        Line("[[sync]]"),
    ),
    (&["retention", "retentions", "gc", "prune", "purge", "clean"], Line("[[cleanup]]")),
    (
        &["webhook", "webhooks", "notification", "notifications", "alert", "alerts", "slack"],
        Line("[[notify]]"),
    ),
    (
        &["server", "serve", "http", "api", "metrics", "log", "logging", "settings", "global"],
        Line("[daemon]"),
    ),
    (&["version", "apiVersion", "kind"], Other("leave it out: the configuration has no version")),
];

const DAEMON: Words = &[
    (&["address", "addr", "bind", "port"], Line("listen = \"127.0.0.1:8642\"")),
    (
        &["data", "data_dir", "state_dir", "cache", "database", "db", "storage"],
        Key("state", "state = \"/var/lib/tranship\""),
    ),
    (&["password", "secret", "api_token", "auth"], Line("token = { env = \"TRANSHIP_TOKEN\" }")),
    (&["parallel", "workers", "concurrency", "threads"], Line("transfers = 32")),
];

const REGISTRY: Words = &[
    (&["user", "login", "account", "user_name"], Line("username = \"NAME\"")),
    (
        &["pass", "passwd", "pwd", "token", "secret", "access_token", "auth"],
        Line("password = { env = \"REGISTRY_PASSWORD\" }"),
    ),
    (
        &["password_file", "pass_file", "token_file", "passwordFile"],
        Line("password = { file = \"PATH\" }"),
    ),
    (
        &["password_env", "pass_env", "token_env"],
        Line("password = { env = \"REGISTRY_PASSWORD\" }"),
    ),
    (
        &[
            "tls_verify",
            "skip_tls_verify",
            "tlsVerify",
            "skipTLSVerify",
            "insecure_skip_verify",
            "insecureSkipVerify",
            "skip_verify",
            "verify",
            "verify_ssl",
            "ssl_verify",
        ],
        Line("insecure = \"no-verify\""),
    ),
    (&["http", "plain_http", "plainHTTP", "use_http", "scheme"], Line("insecure = \"http\"")),
    (
        &["ca", "cacert", "ca_cert", "ca_bundle", "regcert", "cafile", "caFile", "cert"],
        Line("ca_file = \"PATH\""),
    ),
    (&["clientCert", "client_certificate"], Line("client_cert = \"PATH\"")),
    (&["clientKey"], Line("client_key = \"PATH\"")),
    (
        &["rate_limit", "ratelimit", "rateLimit", "reqPerSec", "rps", "qps"],
        Line("requests_per_second = 5"),
    ),
    (&["concurrency", "reqConcurrent", "max_concurrent", "connections"], Line("parallel = 4")),
    (&["timeout"], Line("idle_timeout = \"60s\"")),
    (
        &["url", "host", "hostname", "endpoint", "registry", "server", "address"],
        Other("leave it out: the header has the host, as in `[registry.\"registry.example.com\"]`"),
    ),
];

/// Keys of a registry, which stand in its own table.
const OF_REGISTRIES: &[&str] = &[
    "username",
    "user",
    "password",
    "pass",
    "token",
    "auth",
    "creds",
    "credentials",
    "insecure",
    "tls",
    "tls_verify",
    "skip_tls_verify",
    "ca_file",
    "parallel",
    "requests_per_second",
    "rate_limit",
    "ratelimit",
];

const TIMING: Words = &[
    (
        &["cron", "crontab", "cron_str", "trigger", "when"],
        Key("schedule", "schedule = \"0 3 * * *\""),
    ),
    (
        &["interval", "period", "frequency", "poll_interval", "refresh"],
        Key("every", "every = \"15m\""),
    ),
    (&["tz", "time_zone"], Key("timezone", "timezone = \"Europe/Berlin\"")),
];

const SYNC: Words = &[
    (
        &[
            "destination",
            "destinations",
            "dest",
            "dst",
            "to",
            "targets",
            "target_repository",
            "target_repo",
            "output",
            "push_to",
        ],
        Key("target", "target = \"registry.example.com/mirror/{repository}\""),
    ),
    (
        &[
            "from",
            "src",
            "sources",
            "origin",
            "upstream",
            "source_repository",
            "source_repo",
            "repository",
            "repo",
            "image",
            "images",
            "repositories",
        ],
        Key("source", "source = \"docker.io/library/alpine\""),
    ),
    (&["src_registry", "source_registry"], Line("source = \"registry.example.com/acme/**\"")),
    (
        &[
            "dest_registry",
            "target_registry",
            "destination_registry",
            "dest_namespace",
            "destination_namespace",
            "namespace",
            "prefix",
        ],
        Line("target = \"registry.example.com/namespace/{name}\""),
    ),
    (
        &[
            "tag",
            "tag_filter",
            "tagFilter",
            "tag_pattern",
            "include",
            "allow",
            "only",
            "filter",
            "filters",
        ],
        Key("tags", "tags = [\"v*\"]"),
    ),
    (&["exclude", "deny", "ignore", "skip", "skip_tags"], Line("tags = { exclude = [\"*-rc*\"] }")),
    (&["semver", "semver_range", "version"], Line("tags = { semver = \">=1\" }")),
    (&["latest", "newest", "limit", "max_tags", "count"], Line("tags = { newest = 5 }")),
    (
        &["platform", "arch", "architecture", "architectures"],
        Key("platforms", "platforms = [\"linux/amd64\"]"),
    ),
    (&["override", "overwrite", "force"], Line("on_conflict = \"overwrite\"")),
    (
        &["delete", "prune", "deletion", "delete_remote", "replicate_deletion", "remove"],
        Line("remove_extra = true"),
    ),
    (
        &["digest_tags", "digestTags", "signatures", "sboms", "attestations"],
        Line("referrers = true"),
    ),
    (
        &["type", "kind"],
        Other(
            "leave it out: a source with wildcards is many repositories, as in `source = \"registry.example.com/acme/**\"`",
        ),
    ),
];

const CLEANUP: Words = &[
    (
        &["repository", "repo", "repos", "source", "registry", "images", "scope"],
        Line("repositories = [\"registry.example.com/acme/**\"]"),
    ),
    (&["dry_run", "dryrun"], Line("mode = \"plan\"")),
    (
        &["retain", "keep_last", "keep_n", "keep_latest", "retain_count", "newest", "latest"],
        Line("keep = [{ id = \"newest\", tags = [\"*\"], newest = 5 }]"),
    ),
    (
        &["older_than", "max_age", "age", "days", "expire", "ttl", "remove"],
        Line(
            "delete = [{ id = \"old\", tags = [\"*\"], older_than = \"30d\", beyond_newest = 5 }]",
        ),
    ),
    (&["untagged"], Line("delete = [{ id = \"untagged\", untagged = true }]")),
];

const LINE: Words = &[
    (&["name"], Key("id", "id = \"releases\"")),
    (&["tag", "pattern", "patterns", "include", "filter", "regex"], Key("tags", "tags = [\"v*\"]")),
    (&["max_age", "age", "older", "days"], Line("older_than = \"30d\"")),
    (&["latest", "last", "count", "keep_last"], Line("newest = 5")),
];

/// What is meant by an unknown key of the table with this path.
pub fn unknown_key(table: &[&str], key: &str, value: Node<'_>) -> Option<String> {
    let words: &[Words] = match table {
        ["defaults"] => {
            return Some("it stands below `[defaults.sync]` or `[defaults.cleanup]`".to_owned());
        }
        ["defaults", rest @ ..] => return unknown_key(rest, key, value),
        [] => &[TOP],
        ["daemon"] => &[DAEMON],
        ["registry", host, ..] => {
            if value.is_table() && !REGISTRY.iter().any(|(words, _)| words.contains(&key)) {
                return unquoted_host(host, key, value);
            }
            if key == "tls" {
                let mode = if value.as_str() == Some("disabled") { "http" } else { "no-verify" };
                return Some(format!("write `insecure = \"{mode}\"`"));
            }
            &[REGISTRY]
        }
        ["sync"] => &[SYNC, TIMING],
        ["sync", "tags"] => &[SYNC],
        ["cleanup"] => &[CLEANUP, TIMING],
        ["cleanup", "keep" | "delete"] => &[LINE],
        _ => return None,
    };
    if matches!(table, ["sync" | "cleanup", ..]) && OF_REGISTRIES.contains(&key) {
        let line = "[registry.\"registry.example.com\"]";
        return Some(format!("registries have tables of their own: `{line}`"));
    }
    let found = words.iter().copied().flatten().find(|(words, _)| words.contains(&key));
    match found?.1 {
        // The right word in the wrong table.
        Key(_, line) | Line(line) if matches!(table, ["sync", "tags"]) => {
            (!line.starts_with("tags")).then(|| format!("outside of `tags`, write `{line}`"))
        }
        Key(name, line) => {
            let renamed = renamed(name, value).unwrap_or_else(|| line.to_owned());
            Some(format!("write `{renamed}`"))
        }
        Line(line) if line.starts_with('[') => Some(format!("it stands below `{line}`")),
        Line(line) => Some(format!("write `{line}`")),
        Other(hint) => Some(hint.to_owned()),
    }
}

/// The value of an unknown key under its right name, if it is good there.
fn renamed(name: &str, value: Node<'_>) -> Option<String> {
    let texts: Option<Vec<&str>> = value.all_items().map(Node::as_str).collect();
    let texts = texts.filter(|texts| !texts.is_empty())?;
    let is_list = value.as_str().is_none();
    match (name, &texts[..]) {
        ("every", [text]) => text.parse::<Period>().is_ok(),
        ("schedule", [text]) => text.parse::<Schedule>().is_ok(),
        ("every" | "schedule", _) => false,
        _ => true,
    }
    .then(|| match is_list || matches!(name, "tags" | "platforms") {
        true => format!("{name} = {}", list(texts)),
        false => format!("{name} = {}", quoted(texts[0])),
    })
}

/// `[registry.ghcr.io]` without quotes: TOML reads a table in a table.
fn unquoted_host(first: &str, second: &str, value: Node<'_>) -> Option<String> {
    let mut host = format!("{first}.{second}");
    let mut at = value;
    while let Some((key, inside)) = at.entries().next() {
        if !inside.is_table() {
            break;
        }
        host = format!("{host}.{}", key.get_ref());
        at = inside;
    }
    host.parse::<RegistryHost>().ok()?;
    Some(format!("put the host in quotes: `[registry.\"{host}\"]`"))
}

/// What is meant by a text that is not the host of a registry.
pub fn host(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let host = rest.split('/').next().unwrap_or_default();
    if host == text || host.parse::<RegistryHost>().is_err() {
        return None;
    }
    Some(match scheme {
        "http" => format!("write `[registry.\"{host}\"]`, and below it `insecure = \"http\"`"),
        _ => format!("write the host alone: `[registry.\"{host}\"]`"),
    })
}

/// What is meant by a value that cannot be used. `path` leads to it; `message` says why not.
pub fn value(path: &[&str], value: Node<'_>, message: &str) -> Option<String> {
    let (key, table) = path.split_last()?;
    if let Some(text) = value.as_str() {
        return match (*key, table) {
            ("schedule", _) => schedule(text),
            ("source" | "target" | "repositories" | "to", _)
                if text.contains('$') || text.contains("{{") =>
            {
                Some("an environment variable is written `${env:NAME}`".to_owned())
            }
            ("source" | "target", _) | ("registry", ["events", ..]) => {
                let (scheme, rest) = text.split_once("://")?;
                let rest = if *key == "registry" { rest.split('/').next()? } else { rest };
                matches!(scheme, "http" | "https")
                    .then(|| format!("write `{key} = {}`", quoted(rest)))
            }
            ("password" | "secret" | "token" | "url", _) => {
                let name = variable(text)?;
                Some(format!("write `{key} = {{ env = {} }}`", quoted(name)))
            }
            ("referrers" | "remove_extra" | "run_at_start" | "allow_empty", _) => {
                let is_true = matches!(text.to_ascii_lowercase().as_str(), "yes" | "true" | "on");
                Some(format!("write `{key} = {is_true}`"))
            }
            (_, ["sync" | "cleanup", ..]) if message.starts_with("expected a list") => {
                Some(format!("write `{key} = {}`", list([text])))
            }
            _ => None,
        };
    }
    match (*key, table) {
        ("insecure", _) if value.as_bool() == Some(true) => Some(
            "write `insecure = \"http\"` for a registry without TLS, `insecure = \"no-verify\"` to accept any certificate"
                .to_owned(),
        ),
        ("insecure", _) => Some("leave it out: TLS with verification is the default".to_owned()),
        (
            "every" | "jitter" | "recheck" | "grace" | "older_than" | "stall_after" | "remember"
            | "timeout" | "idle_timeout" | "ttl",
            _,
        ) => value.as_number().map(|seconds| format!("write `{key} = \"{seconds}s\"`")),
        _ => None,
    }
}

/// The name of the variable in `${NAME}` or `{{env "NAME"}}`. A single `$` may begin a password.
fn variable(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let template = || {
        let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
        Some(inside.strip_prefix("env")?.trim().trim_matches('"'))
    };
    let name = inside.or_else(template)?;
    let name = name.strip_prefix("env:").unwrap_or(name);
    let is_name = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    (!name.is_empty() && name.bytes().all(is_name)).then_some(name)
}

/// The schedule that is meant by a macro, or by one with seconds or a year.
fn schedule(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(period) = text.strip_prefix("@every ").filter(|it| it.parse::<Period>().is_ok()) {
        return Some(format!("write `every = {}`", quoted(period)));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let meant = match (text, &fields[..]) {
        ("@yearly" | "@annually", _) => "0 0 1 1 *".to_owned(),
        ("@monthly", _) => "0 0 1 * *".to_owned(),
        ("@weekly", _) => "0 0 * * 0".to_owned(),
        ("@daily" | "@midnight", _) => "0 0 * * *".to_owned(),
        ("@hourly", _) => "0 * * * *".to_owned(),
        // With seconds, and with a year.
        (_, [_, fields @ ..]) if fields.len() == 5 => fields.join(" "),
        (_, [_, fields @ .., _]) if fields.len() == 5 => fields.join(" "),
        (_, fields) if fields.len() == 5 => fields.join(" "),
        _ if text.parse::<Period>().is_ok() => {
            return Some(format!("write `every = {}`", quoted(text)));
        }
        _ => return None,
    };
    let meant = meant.replace('?', "*");
    meant.parse::<Schedule>().ok()?;
    Some(format!("write `schedule = {}`", quoted(meant)))
}

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

/// Whether a text that is no TOML is one of the formats that other tools have.
pub fn is_yaml_or_json(text: &str) -> bool {
    let mut lines =
        text.lines().map(str::trim_end).filter(|line| !line.trim_start().starts_with('#'));
    let Some(first) = lines.find(|line| !line.is_empty()) else { return false };
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let yaml_key = first.split_once(':').is_some_and(|(key, value)| {
        is_name(key) && (value.is_empty() || value.starts_with(' ')) && !value.contains('=')
    });
    first == "---" || first.starts_with('{') || first.starts_with("- ") || yaml_key
}

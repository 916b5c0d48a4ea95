//! Words of other tools for the keys of each table, and what is meant by them.

use super::made::{
    cadence, deleted_names, deleted_of_age, excluded, included, kept_names, kept_newest,
};
use crate::config::document::Node;

/// Other words for keys, and what to write instead.
pub type Words = &'static [(&'static [&'static str], Meant)];

/// What somebody means by a key.
#[derive(Clone, Copy)]
pub enum Meant {
    /// Another key, with the value that is there if that can be.
    Key(&'static str, &'static str),
    /// A line that is made of the value, or else this one.
    From(fn(Node<'_>) -> Option<String>, &'static str),
    /// This line.
    Line(&'static str),
    /// Something in another place, or nothing.
    Other(&'static str),
}
use Meant::{From, Key, Line, Other};

pub const TOP: Words = &[
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

pub const DAEMON: Words = &[
    (&["address", "addr", "bind", "port"], Line("listen = \"127.0.0.1:8642\"")),
    (
        &["data", "data_dir", "state_dir", "cache", "database", "db", "storage"],
        Key("state", "state = \"/var/lib/tranship\""),
    ),
    (&["password", "secret", "api_token", "auth"], Line("token = { env = \"TRANSHIP_TOKEN\" }")),
    (&["parallel", "workers", "concurrency", "threads"], Line("transfers = 32")),
];

pub const REGISTRY: Words = &[
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
pub const OF_REGISTRIES: &[&str] = &[
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
    "requests_per_second",
    "rate_limit",
    "ratelimit",
];

pub const TIMING: Words = &[
    (
        &["cron", "crontab", "cron_str", "trigger", "when"],
        Key("schedule", "schedule = \"0 3 * * *\""),
    ),
    (
        &["interval", "period", "frequency", "poll_interval", "refresh"],
        Key("every", "every = \"15m\""),
    ),
    (&["cadence"], From(cadence, "every = \"7d\"")),
    (&["tz", "time_zone"], Key("timezone", "timezone = \"Europe/Berlin\"")),
    (
        &["enabled", "disabled", "active"],
        Other(
            "leave it out: what is in the file is in force; `#` in front of each line switches a rule off",
        ),
    ),
];

pub const SYNC: Words = &[
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
        &["parallel", "workers", "concurrency"],
        Other(
            "write `transfers = 32` below `[daemon]`, for all rules together; `parallel` below `[registry.\"registry.example.com\"]` limits one registry",
        ),
    ),
    (&["includeExternal", "include_external"], Line("foreign_layers = \"copy\"")),
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

/// Below `tags` of a rule.
pub const TAGS: Words = &[
    (&["allow", "only", "tag", "patterns"], From(included, "include = [\"v*\"]")),
    (&["deny", "ignore", "skip"], From(excluded, "exclude = [\"*-rc*\"]")),
    (&["semverRange", "semver_range", "version"], Line("semver = \">=1\"")),
    (&["limit", "count", "max_tags", "keep"], Line("newest = 5")),
];

pub const CLEANUP: Words = &[
    (
        &["repository", "repo", "repos", "source", "registry", "images", "scope"],
        Line("repositories = [\"registry.example.com/acme/**\"]"),
    ),
    (&["dry_run", "dryrun"], Line("mode = \"plan\"")),
    (
        &["retain", "keep_last", "keep_n", "keep_latest", "retain_count", "newest", "latest"],
        From(kept_newest, "keep = [{ id = \"newest\", tags = [\"*\"], newest = 5 }]"),
    ),
    (&["name_regex_keep"], From(kept_names, "keep = [{ id = \"kept\", tags = [\"v*\"] }]")),
    (
        &["name_regex", "name_regex_delete"],
        From(
            deleted_names,
            "delete = [{ id = \"old\", tags = [\"pr-*\"], older_than = \"30d\", beyond_newest = 5 }]",
        ),
    ),
    (
        &["older_than", "max_age", "age", "days", "expire", "ttl", "remove"],
        From(
            deleted_of_age,
            "delete = [{ id = \"old\", tags = [\"*\"], older_than = \"30d\", beyond_newest = 5 }]",
        ),
    ),
    (&["untagged"], Line("delete = [{ id = \"untagged\", untagged = true }]")),
];

pub const LINE: Words = &[
    (&["name"], Key("id", "id = \"releases\"")),
    (&["tag", "pattern", "patterns", "include", "filter", "regex"], Key("tags", "tags = [\"v*\"]")),
    (&["max_age", "age", "older", "days"], Line("older_than = \"30d\"")),
    (&["latest", "last", "count", "keep_last"], Line("newest = 5")),
];

//! docker-registry's access log (Apache's "combined" form) as traffic.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderMap;
use regex::Regex;

use super::traffic::{Kind, Seen, Traffic};

static LINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""([A-Z]+) (\S+) HTTP/[\d.]+" (\d+) (\d+|-)"#).unwrap());

/// The requests logged after byte `from`, without those whose query contains `own`.
pub fn read(log: &Path, from: u64, own: &str) -> Traffic {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(from as usize..).unwrap_or_default());
    Traffic(text.lines().filter_map(parse).filter(|seen| !seen.query.contains(own)).collect())
}

fn parse(line: &str) -> Option<Seen> {
    let parts = LINE.captures(line)?;
    let (path, query) = parts[2].split_once('?').unwrap_or((&parts[2], ""));
    Some(Seen {
        method: parts[1].to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        kind: Kind::of(path),
        status: parts[3].parse().ok(),
        headers: HeaderMap::new(),
        body_length: 0,
        answer_length: parts[4].parse().unwrap_or(0),
        at: Duration::ZERO,
    })
}

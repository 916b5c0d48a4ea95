//! Docker Hub.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::Vendor;
use crate::oci::RegistryHost;
use crate::registry::dialect::{Dialect, Quota};

#[derive(Debug)]
pub(super) struct DockerHub;

impl Dialect for DockerHub {
    fn address<'a>(&self, _: &'a RegistryHost) -> &'a str {
        "registry-1.docker.io"
    }

    /// `X-Retry-After` is the time when the limit ends, in seconds since 1970.
    fn wait(&self, headers: &HeaderMap, _: &str, now: SystemTime) -> Option<Duration> {
        let seconds = headers.get("x-retry-after")?.to_str().ok()?.trim().parse().ok()?;
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        Some(end.duration_since(now).unwrap_or_default())
    }

    /// `ratelimit-limit: 100;w=21600`, and `ratelimit-remaining` in the same form.
    fn quota(&self, headers: &HeaderMap) -> Option<Quota> {
        let number = |name: &str| -> Option<u64> {
            headers.get(name)?.to_str().ok()?.split(';').next()?.trim().parse().ok()
        };
        Some(Quota { limit: number("ratelimit-limit")?, remaining: number("ratelimit-remaining")? })
    }
}

impl Vendor for DockerHub {
    fn is_at(&self, host: &RegistryHost) -> bool {
        host.is_docker_hub()
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &DockerHub
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_quotas_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut headers = HeaderMap::new();
        assert_eq!(DockerHub.wait(&headers, "", now), None);
        headers.insert("x-retry-after", "1700000045".parse().unwrap());
        assert_eq!(DockerHub.wait(&headers, "", now), Some(Duration::from_secs(45)));
        // No registry means this; it must not bring the program down.
        for endless in [u64::MAX.to_string(), "99999999999999999999".to_owned()] {
            headers.insert("x-retry-after", endless.parse().unwrap());
            assert_eq!(DockerHub.wait(&headers, "", now), None);
        }
        headers.insert("ratelimit-limit", "100;w=21600".parse().unwrap());
        assert_eq!(DockerHub.quota(&headers), None);
        headers.insert("ratelimit-remaining", "76;w=21600".parse().unwrap());
        assert_eq!(DockerHub.quota(&headers), Some(Quota { limit: 100, remaining: 76 }));
    }
}

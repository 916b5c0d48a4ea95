//! Addresses that a registry sends: `Link`, `Location`, redirects. All of them hostile input.

use http::{HeaderMap, Method, StatusCode};
use url::Url;

/// Redirects followed for one request.
pub const MAX_REDIRECTS: u32 = 5;

/// Whether an answer sends the same request elsewhere (RFC 9110 §15.4). What writes is repeated only
/// where the answer says that its method and its body stay the same.
pub fn is_redirect(method: &Method, status: StatusCode) -> bool {
    match *method {
        Method::GET | Method::HEAD => status.is_redirection(),
        _ => {
            matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
        }
    }
}

/// Whether two URLs lead to the same scheme, host and port, so that credentials for one may go
/// to the other.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

/// The target of the first `rel="next"` link (RFC 8288), as it was sent.
///
/// distribution, GitLab, ACR and the rest send one link a header; others put several into one.
pub fn next(headers: &HeaderMap) -> Option<String> {
    headers.get_all(http::header::LINK).iter().find_map(|value| next_in(value.to_str().ok()?))
}

fn next_in(mut rest: &str) -> Option<String> {
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, parameters) = after.split_once('>')?;
        // Parameters reach up to the comma before the next `<`.
        let end = parameters.find('<').unwrap_or(parameters.len());
        let is_next = parameters[..end].split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split(' ')
                    .any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim().to_owned());
        }
        rest = &parameters[end..];
    }
}

/// Resolves an address sent by the server at `base`.
///
/// `None` for what is no http(s) URL, for a step down from https to http, and for anything with
/// credentials inside.
pub fn resolve(base: &Url, address: &str) -> Option<Url> {
    let mut url = base.join(address).ok()?;
    let downgrade = base.scheme() == "https" && url.scheme() != "https";
    if downgrade
        || !matches!(url.scheme(), "http" | "https")
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return None;
    }
    // Registries behind a proxy that hides their port from them leave it out of absolute
    // addresses (seen with distribution behind nginx on another port).
    if url.host_str() == base.host_str()
        && url.scheme() == base.scheme()
        && url.port().is_none()
        && base.port().is_some()
    {
        url.set_port(base.port()).ok()?;
    }
    url.set_fragment(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("link", value.parse().ok()?);
        next(&headers)
    }

    #[test]
    fn next_links_are_found() {
        let cases = [
            (r#"</v2/_catalog?last=b&n=2>; rel="next""#, Some("/v2/_catalog?last=b&n=2")),
            ("<https://x/y>;rel=next", Some("https://x/y")),
            (r#"</a>; rel="prev", </b>; title="x"; rel="next""#, Some("/b")),
            (r#"</a,b;c>; rel="next""#, Some("/a,b;c")),
            (r#"</a>; rel="previous""#, None),
            ("/a", None),
            ("<", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(link(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn addresses_are_resolved_with_suspicion() {
        let base: Url = "https://r.example:5000/v2/a/blobs/uploads/".parse().unwrap();
        let resolved = |address| resolve(&base, address).map(|url| url.to_string());
        let cases = [
            ("/v2/a/x?_state=1", Some("https://r.example:5000/v2/a/x?_state=1")),
            ("https://r.example/v2/x", Some("https://r.example:5000/v2/x")),
            ("https://cdn.example/x", Some("https://cdn.example/x")),
            ("http://r.example:5000/x", None),
            ("file:///etc/passwd", None),
            ("https://u:p@r.example/", None),
            ("ftp://r.example/", None),
        ];
        for (address, expected) in cases {
            assert_eq!(resolved(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn only_some_redirects_keep_what_is_written() {
        let followed = |method: Method| {
            let mut statuses = vec![200, 301, 302, 303, 307, 308, 401];
            statuses.retain(|it| is_redirect(&method, StatusCode::from_u16(*it).unwrap()));
            statuses
        };
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(followed(method), [301, 302, 303, 307, 308]);
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(followed(method), [307, 308]);
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://a/x", "https://a:443/y"));
        assert!(!same("https://a/x", "http://a/x"));
        assert!(!same("https://a/x", "https://a:8443/x"));
        assert!(!same("https://a/x", "https://b/x"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(value in "\\PC{0,60}|[<>;,=\"a-z ]{0,60}") {
            let _ = link(&value);
            let _ = resolve(&"http://h:1/".parse().unwrap(), &value);
        }
    }
}

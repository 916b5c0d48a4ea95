//! Reads `WWW-Authenticate` (RFC 9110 §11.6.1, distribution's token specification).
//!
//! What it reads is hostile input: nothing here decides whether a realm is trusted.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use http_auth::ChallengeRef;
use http_auth::parser::ChallengeParser;

/// One way in that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Get a token from `realm`. `service` may be missing (Google Artifact Registry).
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// Send user name and password. ECR and htpasswd registries.
    Basic,
}

/// The challenges of an answer, in their order.
///
/// Several may share one header or come in several. Other schemes, and a `Bearer` without a realm,
/// are left out: they cannot be followed. What is malformed ends its header.
pub fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| {
            let value = tidy(value);
            let challenges = ChallengeParser::new(&value).map_while(Result::ok);
            challenges.filter_map(|challenge| usable(&challenge)).collect::<Vec<_>>()
        })
        .collect()
}

/// The header as the grammar wants it: one space where there is white space, and a comma behind each
/// quoted value. Some registries send two spaces or a tab behind the scheme, or no commas.
fn tidy(value: &str) -> String {
    let mut tidy = String::with_capacity(value.len());
    let (mut is_quoted, mut is_escaped, mut was_quoted) = (false, false, false);
    for c in value.trim().chars() {
        if is_quoted {
            is_quoted = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            was_quoted = !is_quoted;
        } else if c.is_whitespace() {
            if tidy.ends_with(' ') {
                continue;
            }
            tidy.push(' ');
            continue;
        } else {
            if was_quoted && c != ',' {
                tidy.truncate(tidy.trim_end().len());
                tidy.push_str(", ");
            }
            (is_quoted, was_quoted) = (c == '"', false);
        }
        tidy.push(c);
    }
    tidy
}

fn usable(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |wanted: &str| {
        let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_unescaped()).filter(|value| !value.is_empty())
    };
    if challenge.scheme.eq_ignore_ascii_case("bearer") {
        let (service, scope) = (parameter("service"), parameter("scope"));
        return parameter("realm").map(|realm| Challenge::Bearer { realm, service, scope });
    }
    challenge.scheme.eq_ignore_ascii_case("basic").then_some(Challenge::Basic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        headers
    }

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Challenge::Bearer { realm: realm.into(), service: given(service), scope: given(scope) }
    }

    #[test]
    fn reads_what_registries_send() {
        let scope = "repository:library/alpine:pull,push";
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push",error="invalid_token""#;
        // No service.
        let google = r#"Bearer realm="https://europe-docker.pkg.dev/v2/token""#;
        // Scopes of their own.
        let gitea = r#"Bearer realm="https://git.example.com/v2/token",service="container_registry",scope="*""#;
        let public_ecr = r#"Bearer realm="https://public.ecr.aws/token/", service="public.ecr.aws", scope="aws""#;
        // The realm looks like a token server, but is not one.
        let ecr = r#"Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com""#;
        let cases: [(&[&str], Vec<Challenge>); 13] = [
            (&[hub], vec![bearer("https://auth.docker.io/token", "registry.docker.io", scope)]),
            (&[google], vec![bearer("https://europe-docker.pkg.dev/v2/token", "", "")]),
            (&[gitea], vec![bearer("https://git.example.com/v2/token", "container_registry", "*")]),
            (&[public_ecr], vec![bearer("https://public.ecr.aws/token/", "public.ecr.aws", "aws")]),
            (
                &[r#"Bearer realm="/service/token",service="""#],
                vec![bearer("/service/token", "", "")],
            ),
            (&[ecr], vec![Challenge::Basic]),
            (&[r#"Basic realm="harbor""#], vec![Challenge::Basic]),
            (
                &[r#"Basic realm="a, b", Bearer realm="https://x.io/t",service="x""#],
                vec![Challenge::Basic, bearer("https://x.io/t", "x", "")],
            ),
            (
                &[r#"bearer Realm="https://x.io/t""#, "BASIC realm=x"],
                vec![bearer("https://x.io/t", "", ""), Challenge::Basic],
            ),
            (&[r#"Negotiate, Digest realm="x", Basic realm="y""#], vec![Challenge::Basic]),
            // Not quite as the grammar wants it.
            (
                &[
                    "Bearer  realm=\"https://x.io/t\" \tservice=\"x\"scope=\"a, \\\" b\"",
                    "Bearer\trealm=\"/t\"",
                ],
                vec![bearer("https://x.io/t", "x", "a, \" b"), bearer("/t", "", "")],
            ),
            // Not to be followed: no realm, malformed.
            (&["Bearer", r#"Bearer service="x""#, "", ",,", "=\"", "Bearer realm=\"open"], vec![]),
            (&[], vec![]),
        ];
        for (values, expected) in cases {
            assert_eq!(parse(&headers(values)), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(values in prop::collection::vec("[ -~\u{80}-\u{ff}]{0,80}|(Bearer|basic|,|=|\"|\\\\|realm| ){0,20}", 0..4)) {
            let mut headers = HeaderMap::new();
            for value in &values {
                if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                    headers.append(WWW_AUTHENTICATE, value);
                }
            }
            parse(&headers);
        }

        #[test]
        fn quoted_values_are_read_unchanged(realm in "[ -~&&[^\"\\\\]]{1,40}", scope in "[a-z:*/,]{1,20}") {
            let value = format!(r#"Bearer realm="{realm}",scope="{scope}""#);
            prop_assert_eq!(parse(&headers(&[&value])), vec![bearer(&realm, "", &scope)]);
        }
    }
}

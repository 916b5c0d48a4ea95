//! Whether a message comes from a sender that knows the secret. Every comparison takes the same
//! time wherever the texts differ, and no error shows what was sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::config::EventFormat;
use crate::oci::Digest;

/// Why a message is not believed. For the operator's log: the sender only learns that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    #[error("the message is not signed: it has no `X-Hub-Signature-256`; set the webhook's secret")]
    Unsigned,
    #[error("the signature does not match: the webhook's secret differs from the configured one")]
    Signature,
    #[error("the message carries no secret: {0}")]
    NoSecret(&'static str),
    #[error("the message carries another secret than the configured one")]
    Secret,
}

/// Checks a message against the secret of its source, as its format has it:
///
/// - GitHub signs: `X-Hub-Signature-256` is the HMAC-SHA256 of the body as it came.
/// - All others send the secret: `Authorization: Bearer SECRET`, `Authorization: SECRET`, or as
///   the password of `Authorization: Basic`.
/// - Docker Hub and Quay cannot send custom headers: for these, `?token=SECRET` counts too.
///
/// `query` is what follows the question mark, still encoded.
///
/// # Errors
/// When the secret or signature is missing or wrong.
pub fn authenticate(
    format: EventFormat,
    secret: &SecretString,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &[u8],
) -> Result<(), Forged> {
    let secret = secret.expose_secret();
    if format == EventFormat::Ghcr {
        return verify_signature(secret, headers, body);
    }
    let token = query.filter(|_| format.has_token_in_address()).and_then(token);
    if let Some(token) = token {
        return if same(token.as_bytes(), secret) { Ok(()) } else { Err(Forged::Secret) };
    }
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        return Err(Forged::NoSecret(if format.has_token_in_address() {
            "add `?token=…` to the webhook's address"
        } else {
            "let the sender set the header `Authorization: Bearer …`"
        }));
    };
    if carries(authorization.as_bytes(), secret) { Ok(()) } else { Err(Forged::Secret) }
}

/// As [`authenticate`], as far as it can be told before the body has come: a signature has to be there.
///
/// # Errors
/// When the secret is missing or wrong, or the signature is missing or none.
pub fn authenticate_head(
    format: EventFormat,
    secret: &SecretString,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<(), Forged> {
    match format {
        EventFormat::Ghcr => signature(headers).map(|_| ()),
        _ => authenticate(format, secret, headers, query, b""),
    }
}

/// The signature that a message shows.
fn signature(headers: &HeaderMap) -> Result<Digest, Forged> {
    let signature = headers.get("x-hub-signature-256").ok_or(Forged::Unsigned)?;
    // `sha256=<hex>` is a digest but for one character, and is read as strictly.
    let signature = signature.to_str().unwrap_or_default().replacen('=', ":", 1);
    match signature.parse() {
        Ok(signature @ Digest::Sha256(_)) => Ok(signature),
        _ => Err(Forged::Signature),
    }
}

fn verify_signature(secret: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), Forged> {
    let signature = signature(headers)?;
    // HMAC has no wrong length of key (RFC 2104 §2), so the error cannot come.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| Forged::Signature)?;
    mac.update(body);
    mac.verify_slice(signature.as_bytes()).map_err(|_| Forged::Signature)
}

/// The first `token` of a query.
fn token(query: &str) -> Option<std::borrow::Cow<'_, str>> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "token")
        .map(|(_, value)| value)
}

/// Whether an `Authorization` holds the secret in one of the three ways.
fn carries(authorization: &[u8], secret: &str) -> bool {
    if same(authorization, secret) {
        return true;
    }
    let Some(space) = authorization.iter().position(|&byte| byte == b' ') else { return false };
    let (scheme, credentials) = (&authorization[..space], authorization[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return same(credentials, secret);
    }
    let decoded = scheme.eq_ignore_ascii_case(b"basic").then(|| STANDARD.decode(credentials).ok());
    decoded.flatten().is_some_and(|pair| {
        let colon = pair.iter().position(|&byte| byte == b':');
        colon.is_some_and(|colon| same(&pair[colon + 1..], secret))
    })
}

/// By their hashes, so that not even the length of the secret shows in the time it takes.
fn same(given: &[u8], secret: &str) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(secret.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use super::super::testing::headers;
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "It's a Secret to Everybody";

    fn check(
        format: EventFormat,
        header: Option<(&str, &str)>,
        query: Option<&str>,
    ) -> Result<(), Forged> {
        let headers = headers(header.as_slice());
        authenticate(format, &SECRET.into(), &headers, query, b"Hello, World!")
    }

    fn sign(value: &str) -> Result<(), Forged> {
        check(EventFormat::Ghcr, Some(("x-hub-signature-256", value)), None)
    }

    /// GitHub's own example for testing an implementation ("Validating webhook deliveries").
    const SIGNATURE: &str =
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn githubs_signature() {
        assert_eq!(sign(SIGNATURE), Ok(()));
        for wrong in [
            SIGNATURE.replace('7', "8").as_str(),
            &SIGNATURE[..SIGNATURE.len() - 2],
            &SIGNATURE.replace("sha256", "sha1"),
            &SIGNATURE.to_uppercase(),
            "sha256=",
            "",
        ] {
            assert_eq!(sign(wrong), Err(Forged::Signature), "{wrong}");
        }
        // Nothing else counts.
        let bearer = format!("Bearer {SECRET}");
        assert_eq!(
            check(EventFormat::Ghcr, Some(("authorization", &bearer)), Some("token=x")),
            Err(Forged::Unsigned)
        );
    }

    #[test]
    fn secrets_in_authorization() {
        let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
        for good in [
            SECRET.to_owned(),
            format!("Bearer {SECRET}"),
            format!("bearer  {SECRET}"),
            basic(format!("anyone:{SECRET}")),
            basic(format!(":{SECRET}")),
        ] {
            let result = check(EventFormat::Harbor, Some(("authorization", &good)), None);
            assert_eq!(result, Ok(()), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic ",
            "Basic !",
            &format!("Bearer {SECRET}x"),
            &format!("Token {SECRET}"),
            &basic(SECRET.to_owned()),
            &basic(format!("{SECRET}:x")),
        ] {
            let result = check(EventFormat::Distribution, Some(("authorization", bad)), None);
            assert_eq!(result, Err(Forged::Secret), "{bad}");
        }
    }

    #[test]
    fn tokens_in_the_address_are_for_formats_without_headers() {
        let token = "a=b&token=It%27s+a%20Secret+to+Everybody";
        for format in [EventFormat::DockerHub, EventFormat::Quay] {
            assert_eq!(check(format, None, Some(token)), Ok(()));
            assert_eq!(check(format, None, Some("token=x")), Err(Forged::Secret));
            assert!(matches!(check(format, None, Some("x=y")), Err(Forged::NoSecret(_))));
            assert!(matches!(check(format, None, None), Err(Forged::NoSecret(_))));
        }
        for format in [EventFormat::Acr, EventFormat::Harbor, EventFormat::Zot] {
            assert!(matches!(check(format, None, Some(token)), Err(Forged::NoSecret(_))));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_credentials_are_refused(value in "\\PC{0,80}|(Basic|Bearer) [A-Za-z0-9+/=]{0,40}", body: Vec<u8>) {
            let Ok(value) = http::HeaderValue::from_str(&value) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert("x-hub-signature-256", value.clone());
            headers.insert(AUTHORIZATION, value);
            for format in EventFormat::ALL {
                prop_assert!(authenticate(format, &SECRET.into(), &headers, Some("token"), &body).is_err());
            }
        }

        #[test]
        fn signed_messages_are_accepted(body: Vec<u8>, other: Vec<u8>, secret in "\\PC{1,100}") {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(&body);
            let digest = Digest::Sha256(mac.finalize().into_bytes().into());
            let signature = digest.to_string().replacen(':', "=", 1);
            let headers = headers(&[("x-hub-signature-256", &signature)]);
            let check = |body| authenticate(EventFormat::Ghcr, &secret.as_str().into(), &headers, None, body);
            prop_assert_eq!(check(&body), Ok(()));
            prop_assert_eq!(check(&other).is_ok(), body == other);
        }
    }
}

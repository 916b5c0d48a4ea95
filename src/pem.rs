//! PEM files of certificates and keys: what is in them, and what is wrong with one that cannot be used.
//!
//! Errors fit behind "FILE cannot be used: ". They have nothing of the file in them: it may be a key.

use rustls::crypto::ring;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

type Result<T> = std::result::Result<T, String>;

/// The certificates of authorities, at least one.
pub fn authorities(text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found = certificates(text)?;
    for certificate in &found {
        webpki::anchor_from_trusted_cert(certificate)
            .map_err(|error| format!("a certificate in it is damaged: {error}"))?;
    }
    Ok(found)
}

/// The certificates in a file, at least one.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(text).collect::<std::result::Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(lacks("certificate", "CERTIFICATE", text)),
        found => found.map_err(|error| damaged(&error)),
    }
}

/// The first private key in a file.
pub fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        Error::NoItemsFound => lacks("private key", "PRIVATE KEY", text),
        error => damaged(&error),
    })
}

/// Whether a key is the one of a certificate, the first of these, and can be used.
pub fn check_pair(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<()> {
    match CertifiedKey::from_der(certificates, key, &ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("its private key does not belong to the client certificate".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// What is said of a file without what belongs there.
fn lacks(what: &str, label: &str, text: &[u8]) -> String {
    let words = String::from_utf8_lossy(text);
    let has = |label: &str| words.contains(&format!("{label}-----"));
    let other = if words.trim().is_empty() {
        "the file is empty"
    } else if text.first() == Some(&DER) && !words.contains("-----BEGIN") {
        "it seems to be DER, which `openssl x509` or `openssl pkey` with `-inform der` turn into PEM"
    } else if has("ENCRYPTED PRIVATE KEY") {
        "there is a private key with a passphrase, which `openssl pkey` removes"
    } else if has("PRIVATE KEY") {
        "there is a private key"
    } else if has("CERTIFICATE REQUEST") {
        "there is a request for a certificate"
    } else if has("CERTIFICATE") {
        "there is a certificate"
    } else {
        "it is not a PEM file"
    };
    format!("there is no {what} in it, which begins with `-----BEGIN {label}-----`; {other}")
}

/// The first byte of a certificate or a key in binary form.
const DER: u8 = 0x30;

fn damaged(error: &Error) -> String {
    let why = match error {
        Error::MissingSectionEnd { .. } => "a part of it has no end",
        Error::IllegalSectionStart { .. } => "the first line of a part is not complete",
        Error::Base64Decode(_) => "a part of it is not base64",
        _ => "it is not PEM",
    };
    format!("it is damaged: {why}")
}

#[cfg(test)]
pub mod testing {
    use rcgen::{CertificateParams, KeyPair};

    /// A certificate that signs itself, and its key.
    pub fn identity() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["r.example".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::identity;
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_content() {
        let (certificate, own_key) = identity();
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let part = |label: &str, text: &str| {
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let encrypted = part("ENCRYPTED PRIVATE KEY", "aHVudGVyMg==");
        let request = part("CERTIFICATE REQUEST", "aHVudGVyMg==");
        let no_base64 = part("CERTIFICATE", "hunter2?");
        let no_certificate = part("CERTIFICATE", "aHVudGVyMg==");
        let of_certificates: [(&[u8], &str); 9] = [
            (
                b" \n",
                "there is no certificate in it, which begins with `-----BEGIN CERTIFICATE-----`; the file is empty",
            ),
            (b"hunter2", "it is not a PEM file"),
            (&der, "it seems to be DER, which `openssl x509`"),
            (own_key.as_bytes(), "; there is a private key"),
            (encrypted.as_bytes(), "; there is a private key with a passphrase"),
            (request.as_bytes(), "; there is a request for a certificate"),
            (&certificate.as_bytes()[..60], "it is damaged: a part of it has no end"),
            (no_base64.as_bytes(), "it is damaged: a part of it is not base64"),
            (no_certificate.as_bytes(), "a certificate in it is damaged: "),
        ];
        for (text, words) in of_certificates {
            let told = authorities(text).unwrap_err();
            assert!(told.contains(words), "{words}\n{told}");
            assert!(!told.contains("hunter2") && !told.contains("aHVud"), "{told}");
        }
        for (text, words) in [
            (
                certificate.as_str(),
                "there is no private key in it, which begins with `-----BEGIN PRIVATE KEY-----`; there is a certificate",
            ),
            (&encrypted, "a private key with a passphrase"),
            (&own_key[..60], "it is damaged: a part of it has no end"),
        ] {
            let told = key(text.as_bytes()).unwrap_err();
            assert!(told.contains(words), "{words}\n{told}");
        }
        assert_eq!(authorities(certificate.repeat(2).as_bytes()).map(|found| found.len()), Ok(2));
    }

    #[test]
    fn a_key_belongs_to_its_certificate() {
        let ((certificate, own), (_, other)) = (identity(), identity());
        let check = |text: &str| {
            check_pair(certificates(certificate.as_bytes()).unwrap(), key(text.as_bytes()).unwrap())
        };
        assert_eq!(check(&own), Ok(()));
        assert!(check(&other).unwrap_err().contains("does not belong to the client certificate"));
    }
}

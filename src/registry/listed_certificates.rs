//! TLS that trusts what `ca_file` or a folder of certificates lists, beside the system's authorities.
//!
//! `openssl req -x509` makes certificates that are authorities and that servers present as their own.
//! Path validation (RFC 5280) has no place for these, but curl, docker and skopeo accept them. A
//! certificate that is listed itself is trusted for the hosts that it names, as long as it is valid.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::certificates::{Pem, unusable};
use crate::pem;
use crate::repository::Cause;

/// Accepts what the platform accepts with the listed authorities, and the listed certificates.
#[derive(Debug)]
struct ListedVerifier {
    listed: Vec<CertificateDer<'static>>,
    platform: Verifier,
}

/// The TLS settings for clients that trust the certificates in `ca` and present `identity`.
/// `http2`: it is offered to servers.
pub(super) fn config(ca: &Pem, identity: Option<&Pem>, http2: bool) -> Result<ClientConfig, Cause> {
    let listed = pem::authorities(&ca.text).map_err(|why| unusable(&ca.origin, why))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(listed, &provider).map_err(|error| unusable(&ca.origin, error))?;
    let failed = |error: Error| Cause::connection(format!("TLS cannot be set up: {error}"));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(Pem { text, origin }) => {
            let of_pem = |why: String| unusable(origin, why);
            let chain = pem::certificates(text).map_err(of_pem)?;
            let key = pem::key(text).map_err(of_pem)?;
            config.with_client_auth_cert(chain, key).map_err(|error| unusable(origin, error))?
        }
    };
    let protocols: &[&str] = if http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

fn verifier(
    listed: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<ListedVerifier, Error> {
    let platform = Verifier::new_with_extra_roots(listed.clone(), provider.clone())?;
    Ok(ListedVerifier { listed, platform })
}

impl ServerCertVerifier for ListedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.platform.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // That it is valid now was checked before.
            Err(error) if is_authority(&error) && self.listed.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.platform.supported_verify_schemes()
    }
}

/// Whether nothing was found wrong but that the server's certificate is an authority.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// A certificate that signs itself, as `openssl req -x509` makes it by default.
    fn self_signed(host: &str, is_ca: bool) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    /// Whether a server that presents `own` is trusted as `host` in this year.
    fn is_trusted(
        listed: &[&CertificateDer<'static>],
        own: &CertificateDer<'_>,
        host: &str,
        year: u64,
    ) -> bool {
        let listed = listed.iter().map(|it| (*it).clone()).collect();
        let verifier = verifier(listed, &Arc::new(ring::default_provider())).unwrap();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        verifier.verify_server_cert(own, &[], &host, &[], now).is_ok()
    }

    #[test]
    fn a_listed_certificate_is_trusted_for_the_host_that_it_names() {
        for is_ca in [true, false] {
            let own = self_signed("r.example.com", is_ca);
            let other = self_signed("r.example.com", is_ca);
            assert!(is_trusted(&[&other, &own], &own, "r.example.com", 2026));
            assert!(!is_trusted(&[&own], &own, "s.example.com", 2026));
            assert!(!is_trusted(&[&other], &own, "r.example.com", 2026));
            for year in [2018, 2031] {
                assert!(!is_trusted(&[&own], &own, "r.example.com", year), "{year}");
            }
        }
    }
}

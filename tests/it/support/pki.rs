//! A certificate authority for one test, and what it signs.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate and its private key, both PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    /// A certificate for servers on this machine that is its own authority.
    pub fn self_signed() -> Self {
        let mut params = for_this_machine();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, key: key.serialize_pem() }
    }

    /// Both in one text, the form that `reqwest::Identity` takes.
    pub fn joined(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        Self::of_name("tranship test authority")
    }

    pub fn of_name(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for servers on this machine.
    pub fn server(&self) -> Identity {
        self.sign(&for_this_machine())
    }

    /// A certificate for a server of this name, valid from one day to the other: year, month, day.
    pub fn server_of(&self, name: &str, from: (i32, u8, u8), until: (i32, u8, u8)) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        self.sign(&params)
    }

    /// A certificate for a client.
    pub fn client(&self) -> Identity {
        let mut params = named("tranship test client");
        params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

fn for_this_machine() -> CertificateParams {
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, "tranship test server");
    params
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

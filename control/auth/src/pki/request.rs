//! Certificate signing requests: what one asks for, and the certificate that answers it.
//!
//! Nothing of a request is copied into a certificate but its key: the caller says with a [`Leaf`] what it grants.

use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::{Identity, LEAF_LIFE, Leaf, Pki, PkiError, leaf_params, purposes};

/// The least that a certificate is made for.
const LIFE_MIN: Duration = Duration::from_secs(600);

/// What somebody asks a certificate for; that they hold the key has been checked.
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    key: rcgen::PublicKey,
}

impl Request {
    /// Reads `spec.request` of a CertificateSigningRequest: PEM of a PKCS#10 request. Errors say what is wrong with it.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("not a certificate signing request: {error}");
        let checked = CertificateSigningRequestParams::from_pem(pem).map_err(|error| unreadable(&error))?;
        let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|error| unreadable(&error))?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| unreadable(&error))?;
        let subject = &request.certification_request_info.subject;
        let texts = |values: Vec<&x509_parser::x509::AttributeTypeAndValue<'_>>| -> Vec<String> {
            values.iter().filter_map(|value| value.as_str().ok().map(str::to_owned)).collect()
        };
        let common_names = texts(subject.iter_common_name().collect());
        let [common_name] = common_names.as_slice() else { return Err("the subject needs exactly one common name".into()) };
        Ok(Self {
            common_name: common_name.clone(),
            organizations: texts(subject.iter_organization().collect()),
            names: checked.params.subject_alt_names.iter().map(name).collect::<Result<_, _>>()?,
            key: checked.public_key,
        })
    }
}

fn name(name: &SanType) -> Result<String, String> {
    match name {
        SanType::DnsName(name) => Ok(name.as_str().to_owned()),
        SanType::IpAddress(ip) => Ok(ip.to_string()),
        other => Err(format!("alternative names are DNS names and IP addresses, not {other:?}")),
    }
}

/// A new key and the request (both PEM) for a certificate with it that says what `leaf` says.
pub fn request(leaf: &Leaf) -> Result<(String, String), PkiError> {
    let made = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = rcgen::CertificateParams::new(Vec::new())?;
        leaf_params(&mut params, leaf)?;
        Ok::<_, rcgen::Error>((params.serialize_request(&key)?.pem()?, key.serialize_pem()))
    };
    made().map_err(|error| PkiError::Make { name: leaf.common_name.clone(), why: error.to_string() })
}

impl Pki {
    /// The certificate (PEM) for the key of `request` that says what `leaf` says, for `life` within what every certificate has.
    pub fn sign(&self, request: &Request, leaf: &Leaf, life: Option<Duration>) -> Result<String, PkiError> {
        let life = life.unwrap_or(LEAF_LIFE).clamp(LIFE_MIN, LEAF_LIFE);
        let made = || {
            let issuer = Issuer::from_ca_cert_pem(&self.ca.certificate, KeyPair::from_pem(&self.ca.key)?)?;
            let mut params = super::params(&leaf.common_name, leaf.organization.as_deref(), life, &self.env)?;
            leaf_params(&mut params, leaf)?;
            purposes(&mut params, leaf);
            Ok::<_, rcgen::Error>(params.signed_by(&request.key, &issuer)?.pem())
        };
        made().map_err(|error| PkiError::Make { name: leaf.common_name.clone(), why: error.to_string() })
    }
}

impl Identity {
    /// Whether the certificate is for the key.
    pub fn fits(&self) -> bool {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let Ok(key) = provider.key_provider.load_private_key(self.private_key()) else { return false };
        let chain: Vec<CertificateDer<'static>> = self.chain();
        !chain.is_empty() && rustls::sign::CertifiedKey::new(chain, key).keys_match().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use env::Env;

    use super::*;

    #[test]
    fn a_request_is_answered_with_what_is_granted_and_nothing_else() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let pki = Pki::ensure(dir.path(), &env).unwrap();
        let wanted = Leaf::node_server("n1", &["n1".into(), "10.0.0.1".into(), "evil.example".into()]);
        let (csr, key) = request(&wanted).unwrap();
        let request = Request::parse(&csr).unwrap();
        assert_eq!(request.common_name, "system:node:n1");
        assert_eq!((request.organizations.join(","), request.names.join(",")), ("system:nodes".into(), "n1,10.0.0.1,evil.example".into()));
        let granted = Leaf::node_server("n1", &["n1".into(), "10.0.0.1".into()]);
        let identity = Identity { certificate: pki.sign(&request, &granted, Some(Duration::from_secs(3600))).unwrap(), key };
        assert!(identity.fits() && pki.is_good(&identity, &granted) && !pki.is_good(&identity, &wanted));
        assert!((2300..=2500).contains(&pki.renewal(&identity).as_secs()), "{:?}", pki.renewal(&identity));
    }

    #[test]
    fn nonsense_and_foreign_keys_are_refused() {
        assert!(Request::parse("hello").is_err_and(|error| error.contains("not a certificate signing request")));
        let (csr, _) = request(&Leaf::client("x", "x", None)).unwrap();
        let broken = csr.replacen(&csr[60..64], if &csr[60..64] == "AAAA" { "BBBB" } else { "AAAA" }, 1);
        assert!(Request::parse(&broken).is_err(), "what is signed was changed");
    }
}

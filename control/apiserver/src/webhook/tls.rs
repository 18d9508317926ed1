//! Whom an endpoint is believed: the configuration's own authorities, or those of the machine.
//!
//! A server may show one of these authorities itself: many webhooks have one self-signed certificate that is both. webpki refuses
//! such a one, Go's clients do not; here it counts for its names and its time, as any other.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// Where machines keep the authorities that they trust.
const BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// TLS to one endpoint.
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl Trust {
    /// `ca` is PEM; empty: the machine's authorities.
    pub(crate) fn new(ca: &str, server_name: String) -> Result<Self, String> {
        Self::with(verifier(ca)?, server_name)
    }

    /// Believes whoever answers.
    pub(crate) fn blind(server_name: String) -> Result<Self, String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self::with(Arc::new(Blind(rustls::crypto::aws_lc_rs::default_provider())), server_name)
    }

    /// As [`Trust::new`]; `identity` is the PEM of our certificate and of its key, for servers that ask who we are.
    pub(super) fn identified(ca: &str, server_name: String, identity: Option<(&str, &str)>) -> Result<Self, String> {
        let identity = identity.map(|(certificate, key)| shown(certificate, key)).transpose()?;
        Ok(Self::new(ca, server_name)?.showing(identity))
    }

    fn with(verifier: Arc<dyn ServerCertVerifier>, server_name: String) -> Result<Self, String> {
        let mut config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let server_name = ServerName::try_from(server_name).map_err(|error| error.to_string())?;
        Ok(Self { config: Arc::new(config), server_name })
    }

    /// Shows a certificate of its own.
    #[must_use]
    pub(crate) fn showing(mut self, identity: Option<Arc<dyn ResolvesClientCert>>) -> Self {
        if let Some(identity) = identity {
            let config = Arc::make_mut(&mut self.config);
            config.client_auth_cert_resolver = identity;
            // A resumed session would be the old certificate's.
            config.resumption = rustls::client::Resumption::disabled();
        }
        self
    }

    /// Speaks HTTP/1.1 alone, as upgrades want it.
    #[must_use]
    pub(crate) fn for_upgrades(mut self) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![b"http/1.1".to_vec()];
        self
    }

    pub(super) fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector: TlsConnector = Arc::clone(&self.config).into();
        connector.connect(self.server_name.clone(), tcp).await
    }
}

/// Always the same certificate.
fn shown(certificate: &str, key: &str) -> Result<Arc<dyn ResolvesClientCert>, String> {
    let chain = authorities(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("the client's key cannot be read: {error:?}"))?;
    let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider());
    let certified = certified.map_err(|error| format!("the client's certificate cannot be used: {error}"))?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn verifier(ca: &str) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authorities = authorities(ca)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let webpki = WebPkiServerVerifier::builder(Arc::new(roots)).build();
    let webpki = webpki.map_err(|error| format!("unable to load root certificates: {error}"))?;
    Ok(Arc::new(Verifier { webpki, authorities }))
}

fn authorities(ca: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = match ca {
        "" => BUNDLES.iter().find_map(|path| std::fs::read_to_string(path).ok()),
        own => Some(own.to_owned()),
    };
    let text = text.ok_or("unable to load root certificates: caBundle is empty and the machine has no bundle of its own")?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect();
    if found.is_empty() { Err("unable to load root certificates: unable to parse bytes as PEM block".into()) } else { Ok(found) }
}

/// webpki, and the authorities themselves.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.authorities.iter().any(|authority| authority.as_ref() == end_entity.as_ref()) {
            return self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        if is_in_force(end_entity, now) { Ok(ServerCertVerified::assertion()) } else { Err(CertificateError::Expired.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Whatever is shown is good (`insecureSkipTLSVerify`); it still has to be the shower's own.
#[derive(Debug)]
struct Blind(CryptoProvider);

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn is_in_force(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    let now = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    let parsed = X509Certificate::from_der(certificate).ok();
    matches!((parsed, now), (Some((_, certificate)), Some(now)) if certificate.validity().is_valid_at(now))
}

/// A failed handshake in Go's words.
pub(super) fn untrusted(error: &io::Error, name: &ServerName<'_>) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(why)) = inner else { return format!("tls: {error}") };
    let why = match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "x509: certificate signed by unknown authority".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("x509: certificate is not valid for {}", name.to_str())
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "x509: certificate has expired or is not yet valid".to_owned(),
        other => format!("x509: {other}"),
    };
    format!("tls: failed to verify certificate: {why}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_that_is_its_own_authority_counts_for_its_names_and_its_time() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["front.default.svc".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authorities = authorities(&certificate.pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        let verifier = Verifier { webpki: WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap(), authorities };
        let verify = |name: &str, seconds: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verifier.verify_server_cert(certificate.der(), &[], &ServerName::try_from(name.to_owned()).unwrap(), &[], now).is_ok()
        };
        let (june_2026, june_2027) = (1_780_000_000, 1_812_000_000);
        assert!(verify("front.default.svc", june_2026));
        assert!(!verify("other.default.svc", june_2026) && !verify("front.default.svc", june_2027));
    }
}

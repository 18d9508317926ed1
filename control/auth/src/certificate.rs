//! Users out of client certificates: the common name is the user, the organizations are the groups.
//!
//! The handshake only proves that the client holds the key of the certificate that it shows. Whether an authority of ours
//! issued it is asked afterwards, so that a foreign or expired certificate is answered with a 401 that a client can read
//! and not with a broken connection.

use std::sync::Arc;
use std::time::Duration;

use env::Env;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::UserInfo;

/// The verifier of certificates that say who a client is.
pub struct ClientCertificates {
    verifier: Arc<dyn ClientCertVerifier>,
    env: Env,
}

/// Who a connection's certificate says it is. Kept for the life of the connection.
#[derive(Clone, Debug)]
pub struct Peer {
    user: Arc<UserInfo>,
    /// Seconds since 1970: a connection may live longer than its certificate.
    not_after: i64,
}

impl Peer {
    /// The certificate's common name.
    pub(crate) fn name(&self) -> &str {
        &self.user.name
    }

    pub(crate) fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The user, while the certificate is valid.
    pub fn user(&self, env: &Env) -> Option<Arc<UserInfo>> {
        (env.now().as_second() <= self.not_after).then(|| Arc::clone(&self.user))
    }
}

impl ClientCertificates {
    /// Certificates by the authority `ca` (PEM).
    pub fn new(ca: &str, env: &Env) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca.as_bytes()).filter_map(Result::ok));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { verifier: verifier.map_err(|error| format!("client certificate authority: {error}"))?, env: env.clone() })
    }

    /// What the TLS server is configured with: asks for a certificate, takes any or none.
    pub fn handshake_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyCertificate {
            hints: self.verifier.root_hint_subjects().to_vec(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        })
    }

    /// The user of the chain that a client showed; None when it is not one of ours, or not valid now.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Option<Peer> {
        let (leaf, intermediates) = chain.split_first()?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.env.now().as_second().max(0).unsigned_abs()));
        if let Err(error) = self.verifier.verify_client_cert(leaf, intermediates, now) {
            tracing::debug!(%error, "client certificate refused");
            return None;
        }
        peer(leaf)
    }
}

fn peer(der: &CertificateDer<'_>) -> Option<Peer> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let name = cert.subject().iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let groups = cert.subject().iter_organization().filter_map(|value| value.as_str().ok());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let user = UserInfo {
        name: name.to_owned(),
        groups: groups.map(str::to_owned).chain([crate::AUTHENTICATED.to_owned()]).collect(),
        extra: [("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={hex}")])].into(),
        ..UserInfo::default()
    };
    Some(Peer { user: Arc::new(user), not_after: cert.validity().not_after.timestamp() })
}

/// Checks that the client holds the key, nothing else.
#[derive(Debug)]
struct AnyCertificate {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(&self, _: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Leaf, Pki};

    #[tokio::test(start_paused = true)]
    async fn names_and_groups_come_from_the_subject_and_end_with_the_certificate() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::sim(1));
        let pki = Pki::ensure(dir.path(), &env).unwrap();
        let clients = ClientCertificates::new(pki.ca(), &env).unwrap();
        let peer = clients.identify(&pki.leaf(&Leaf::node_client("n1")).unwrap().chain()).unwrap();
        let user = peer.user(&env).unwrap();
        assert_eq!((user.name.as_str(), user.groups.join(",").as_str()), ("system:node:n1", "system:nodes,system:authenticated"));
        assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
        tokio::time::advance(Duration::from_secs(366 * 24 * 3600)).await;
        assert!(peer.user(&env).is_none(), "an expired certificate is nobody");
    }

    #[test]
    fn a_foreign_or_servers_certificate_is_nobody() {
        let (ours, theirs, env) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Env::real());
        let (ours, theirs) = (Pki::ensure(ours.path(), &env).unwrap(), Pki::ensure(theirs.path(), &env).unwrap());
        let clients = ClientCertificates::new(ours.ca(), &env).unwrap();
        assert!(clients.identify(&theirs.leaf(&Leaf::admin()).unwrap().chain()).is_none());
        assert!(clients.identify(&ours.leaf(&Leaf::api_server(&[])).unwrap().chain()).is_none(), "a server's certificate is no client's");
        assert!(clients.identify(&[]).is_none());
    }
}

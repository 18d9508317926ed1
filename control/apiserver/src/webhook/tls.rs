//! Whom an endpoint is believed: the configuration's own authorities, or those of the machine.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where machines keep the authorities that they trust.
const BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// TLS to one endpoint.
pub(super) struct Trust {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl Trust {
    /// `ca` is PEM; empty: the machine's authorities.
    pub(super) fn new(ca: &str, server_name: String) -> Result<Self, String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots(ca)?)).build();
        let verifier = verifier.map_err(|error| format!("unable to load root certificates: {error}"))?;
        let mut config = ClientConfig::builder().with_webpki_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let server_name = ServerName::try_from(server_name).map_err(|error| error.to_string())?;
        Ok(Self { connector: Arc::new(config).into(), server_name })
    }

    pub(super) fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.server_name.clone(), tcp).await
    }
}

fn roots(ca: &str) -> Result<RootCertStore, String> {
    let text = match ca {
        "" => BUNDLES.iter().find_map(|path| std::fs::read_to_string(path).ok()),
        own => Some(own.to_owned()),
    };
    let text = text.ok_or("unable to load root certificates: caBundle is empty and the machine has no bundle of its own")?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok));
    if roots.is_empty() { Err("unable to load root certificates: unable to parse bytes as PEM block".into()) } else { Ok(roots) }
}

/// A failed handshake in Go's words.
pub(super) fn untrusted(error: &io::Error, name: &ServerName<'_>) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(why)) = inner else { return format!("tls: {error}") };
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

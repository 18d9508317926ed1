//! GET for probes and hooks: certificates are not checked, redirects stay on the host, bodies are bounded.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kinds::core::{Container, HttpGetAction};
use kinds::lens::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const BODY_MAX: usize = 10 * 1024;
const REDIRECTS_MAX: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub is_https: bool,
    pub host: String,
    pub port: u16,
    /// With the query.
    pub path: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub code: u16,
    /// It pointed to another host and was not followed.
    pub left_host: bool,
}

impl Url {
    pub(crate) fn of(get: &HttpGetAction, container: &Container, pod_ip: &str) -> Result<Self, String> {
        let host = if get.host.is_empty() { pod_ip } else { &get.host };
        let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
        Ok(Self { is_https: get.scheme.eq_ignore_ascii_case("https"), host: host.to_owned(), port: port(&get.port, container)?, path })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", if self.is_https { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// A port by number or by the name that the container gives it.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().find(|port| port.name == *name).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("container {:?} has no port {port}", container.name))
}

/// The action's headers over the defaults.
pub(crate) fn headers(get: &HttpGetAction, user_agent: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = get.http_headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
    for (name, value) in [("User-Agent", user_agent), ("Accept", "*/*")] {
        if !all.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            all.push((name.into(), value.into()));
        }
    }
    all.retain(|(_, value)| !value.is_empty());
    all
}

/// The caller bounds the time.
pub(crate) async fn get(url: &Url, headers: &[(String, String)]) -> Result<Answer, String> {
    let mut url = url.clone();
    for _ in 0..REDIRECTS_MAX {
        let (answer, location) = once(&url, headers).await?;
        let Some(location) = location else { return Ok(answer) };
        match follow(&url, &location) {
            Some(next) => url = next,
            None => return Ok(Answer { left_host: true, ..answer }),
        }
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
}

async fn once(url: &Url, headers: &[(String, String)]) -> Result<(Answer, Option<String>), String> {
    let failed = |cause: &dyn std::fmt::Display| format!("Get \"{url}\": {cause}");
    let stream = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(|cause| failed(&format!("dial tcp {}: {cause}", url.authority())))?;
    if !url.is_https {
        return exchange(stream, url, headers).await.map_err(|cause| failed(&cause));
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|cause| failed(&cause))?;
    let stream = tokio_rustls::TlsConnector::from(unverified()).connect(name, stream).await.map_err(|cause| failed(&cause))?;
    exchange(stream, url, headers).await.map_err(|cause| failed(&cause))
}

async fn exchange<S>(stream: S, url: &Url, headers: &[(String, String)]) -> Result<(Answer, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|cause| cause.to_string())?;
    let host =
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map_or_else(|| url.authority(), |(_, value)| value.clone());
    let mut request = Request::get(&url.path).header("Host", host).header("Connection", "close");
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|cause| cause.to_string())?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|cause| cause.to_string())?;
        let code = answer.status().as_u16();
        let location = answer
            .headers()
            .get("location")
            .filter(|_| answer.status().is_redirection())
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        read_start(answer.into_body()).await;
        Ok((Answer { code, left_host: false }, location))
    };
    // The connection is driven here, so that dropping this future closes it.
    tokio::pin!(connection);
    tokio::pin!(talk);
    tokio::select! {
        result = &mut talk => result,
        ended = &mut connection => match ended {
            Ok(()) => talk.await,
            Err(cause) => Err(cause.to_string()),
        },
    }
}

/// Servers that see their answer cut off before it began complain; more than this nobody needs.
async fn read_start(mut body: hyper::body::Incoming) {
    let mut length = 0;
    while length < BODY_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// The next hop, if it is on the same host.
fn follow(url: &Url, location: &str) -> Option<Url> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(Url { path: location.to_owned(), ..url.clone() });
    }
    let uri: Uri = location.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    if host != url.host {
        return None;
    }
    let is_https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    Some(Url { is_https, host: host.to_owned(), port, path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned() })
}

fn unverified() -> Arc<rustls::ClientConfig> {
    static CONFIG: std::sync::OnceLock<Arc<rustls::ClientConfig>> = std::sync::OnceLock::new();
    let make = || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider supports the default versions").dangerous();
        Arc::new(builder.with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth())
    };
    Arc::clone(CONFIG.get_or_init(make))
}

/// Probes ask whether something answers, not who: as upstream, any certificate will do.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use schema::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn ports_by_number_and_name() {
        let container: Container = serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 80}]})).unwrap();
        assert_eq!(port(&IntOrString::Int(8080), &container), Ok(8080));
        assert_eq!(port(&IntOrString::String("web".into()), &container), Ok(80));
        assert_eq!(port(&IntOrString::String("81".into()), &container), Ok(81));
        assert!(port(&IntOrString::String("x".into()), &container).unwrap_err().contains("no port x"));
        assert!(port(&IntOrString::Int(70_000), &container).is_err());
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let url = Url { is_https: false, host: "10.0.0.1".into(), port: 80, path: "/".into() };
        assert_eq!(follow(&url, "/x?y").unwrap().path, "/x?y");
        assert_eq!(follow(&url, "https://10.0.0.1/x").unwrap().port, 443);
        assert_eq!(follow(&url, "http://other/x"), None);
        assert_eq!(follow(&url, "//other/x"), None);
    }

    #[tokio::test]
    async fn an_answer_and_its_code() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nnope").await.unwrap();
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        };
        let url = Url { is_https: false, host: "127.0.0.1".into(), port, path: "/healthz".into() };
        let headers = [("User-Agent".to_owned(), "kube-probe/1.37".to_owned())];
        let (answer, seen) = tokio::join!(get(&url, &headers), serve);
        assert_eq!(answer.unwrap().code, 503);
        assert!(seen.starts_with("GET /healthz HTTP/1.1\r\n") && seen.contains("user-agent: kube-probe/1.37"), "{seen}");
    }
}

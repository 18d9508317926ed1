//! `clientConfig`: where a program outside is, and whom it is believed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use rustls::pki_types::ServerName;
use schema::{DocExt, Value};

/// A parsed `clientConfig`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientConfig {
    pub place: Place,
    /// PEM; empty: the machine's authorities.
    pub ca: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Url { host: String, port: u16, path: String },
    Service { namespace: String, name: String, port: u16, path: String },
}

impl ClientConfig {
    pub(super) fn parse(config: &Value) -> Result<Self, String> {
        let place = match (config.str_at("url"), config.at("service").filter(|service| service.is_object())) {
            ("", None) => return Err("webhook configuration must have either service or URL".into()),
            (_, Some(service)) => of_service(service)?,
            (url, None) => of_url(url)?,
        };
        let parsed = Self { place, ca: authorities(config.str_at("caBundle"))? };
        let url = parsed.url("/");
        url.parse::<Uri>().map_err(|error| format!("the address {url:?} is none: {error}"))?;
        ServerName::try_from(parsed.server_name()).map_err(|error| format!("{url:?} names no server: {error}"))?;
        Ok(parsed)
    }

    /// The path with its query: `/validate?timeout=10s`.
    pub(super) fn path(&self, timeout: Duration) -> String {
        let (Place::Url { path, .. } | Place::Service { path, .. }) = &self.place;
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        format!("{path}?timeout={seconds}s")
    }

    /// `https://front.default.svc:443/validate?timeout=10s`
    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority())
    }

    /// `front.default.svc:443`
    pub(super) fn authority(&self) -> String {
        match &self.place {
            Place::Url { host, port: 443, .. } => host.clone(),
            Place::Url { host, port, .. } => format!("{host}:{port}"),
            Place::Service { port, .. } => format!("{}:{port}", self.server_name()),
        }
    }

    /// The name in the certificate.
    pub(super) fn server_name(&self) -> String {
        match &self.place {
            Place::Url { host, .. } => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            Place::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }
}

fn of_service(service: &Value) -> Result<Place, String> {
    let port = service.i64_at("port").filter(|port| *port != 0).unwrap_or(443);
    let port = u16::try_from(port).map_err(|_| format!("service port {port} is no port"))?;
    let (namespace, name) = (service.str_at("namespace").to_owned(), service.str_at("name").to_owned());
    if namespace.is_empty() || name.is_empty() {
        return Err("cannot resolve an empty service name or namespace or port".into());
    }
    Ok(Place::Service { namespace, name, port, path: absolute(service.str_at("path")) })
}

fn of_url(url: &str) -> Result<Place, String> {
    let parsed: Uri = url.parse().map_err(|error| format!("Unparsable URL: {url:?}: {error}"))?;
    let host = parsed.host().filter(|host| !host.is_empty()).ok_or_else(|| format!("Unparsable URL: {url:?} has no host"))?;
    if parsed.scheme_str() != Some("https") {
        return Err(format!("Unparsable URL: {url:?} must begin with https://"));
    }
    Ok(Place::Url { host: host.to_owned(), port: parsed.port_u16().unwrap_or(443), path: absolute(parsed.path()) })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// `caBundle` is base64 of PEM.
fn authorities(bundle: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(bundle).map_err(|error| format!("caBundle is no base64: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "unable to load root certificates: unable to parse bytes as PEM block".into())
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_service_and_a_url_become_addresses_and_names() {
        let seconds = Duration::from_secs;
        for (config, url, name) in [
            (json!({"service": {"namespace": "a", "name": "b"}}), "https://b.a.svc:443/?timeout=10s", "b.a.svc"),
            (
                json!({"service": {"namespace": "a", "name": "b", "port": 8443, "path": "v"}}),
                "https://b.a.svc:8443/v?timeout=10s",
                "b.a.svc",
            ),
            (json!({"url": "https://example.com/x/y"}), "https://example.com/x/y?timeout=10s", "example.com"),
            (json!({"url": "https://127.0.0.1:9443"}), "https://127.0.0.1:9443/?timeout=10s", "127.0.0.1"),
            (json!({"url": "https://[::1]:9443/v"}), "https://[::1]:9443/v?timeout=10s", "::1"),
        ] {
            let parsed = ClientConfig::parse(&config).unwrap();
            assert_eq!((parsed.url(&parsed.path(seconds(10))).as_str(), parsed.server_name().as_str()), (url, name));
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (config, want) in [
            (json!({}), "webhook configuration must have either service or URL"),
            (json!({"url": "http://example.com"}), "Unparsable URL: \"http://example.com\" must begin with https://"),
            (json!({"service": {"namespace": "a"}}), "cannot resolve an empty service name or namespace or port"),
            (json!({"url": "https://a", "caBundle": "-----BEGIN"}), "caBundle is no base64: Invalid symbol 45, offset 0."),
        ] {
            assert_eq!(ClientConfig::parse(&config).unwrap_err(), want);
        }
    }
}

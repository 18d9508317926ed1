//! What an upgrade request asks for, and the answer: `101` with the one protocol that both sides speak best.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Header of SPDY upgrades that lists protocols, best first.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
pub const SPDY: &str = "SPDY/3.1";

/// The carrier and the protocol on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Negotiated {
    WebSocket { protocol: String, accept: String },
    Spdy { protocol: String },
}

/// An upgrade that cannot be. The status is 400 or 403, as upstream answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// What a SPDY client may ask for instead.
    pub supported: Vec<String>,
}

/// Which protocols a resource speaks, best first.
#[derive(Clone, Copy, Debug)]
pub struct Supported {
    pub websocket: &'static [&'static str],
    pub spdy: &'static [&'static str],
}

/// exec and attach.
pub const REMOTE: Supported = Supported {
    websocket: &["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"],
    spdy: &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"],
};

/// port-forward.
pub const FORWARD: Supported = Supported {
    websocket: &["SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"],
    spdy: &["portforward.k8s.io"],
};

/// Chooses among what the client offers. A WebSocket client that names no protocol gets `""`, the oldest one.
pub fn negotiate(headers: &HeaderMap, supported: Supported) -> Result<Negotiated, Refusal> {
    if !words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::bad("Upgrade request required"));
    }
    match headers.get(UPGRADE).and_then(|value| value.to_str().ok()) {
        Some(upgrade) if upgrade.eq_ignore_ascii_case("websocket") => websocket(headers, supported.websocket),
        Some(upgrade) if upgrade.eq_ignore_ascii_case(SPDY) => spdy(headers, supported.spdy),
        Some(upgrade) => Err(Refusal::bad(format!("unable to upgrade: {upgrade:?} is neither websocket nor SPDY/3.1"))),
        None => Err(Refusal::bad("Upgrade request required")),
    }
}

impl Negotiated {
    /// The `101`.
    pub fn response(&self) -> Response<()> {
        let (upgrade, name, protocol) = match self {
            Self::WebSocket { protocol, .. } => ("websocket", SEC_WEBSOCKET_PROTOCOL, protocol),
            Self::Spdy { protocol } => (SPDY, STREAM_PROTOCOL, protocol),
        };
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
        if let Self::WebSocket { accept, .. } = self {
            headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(accept).expect("base64 is a header value"));
        }
        if !protocol.is_empty() {
            headers.insert(name, HeaderValue::from_str(protocol).expect("it is one of ours"));
        }
        response
    }
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), supported: Vec::new() }
    }

    /// The header that tells a SPDY client what it may ask for.
    pub fn headers(&self) -> HeaderMap {
        let values = self.supported.iter().filter_map(|protocol| HeaderValue::from_str(protocol).ok());
        values.map(|value| (ACCEPTED_STREAM_PROTOCOLS, value)).collect()
    }
}

fn websocket(headers: &HeaderMap, supported: &[&str]) -> Result<Negotiated, Refusal> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(&SEC_WEBSOCKET_VERSION).is_some_and(|version| version != "13") {
        return Err(Refusal::bad("websocket: version 13 is required"));
    }
    let key =
        text(&SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty()).ok_or_else(|| Refusal::bad("websocket: Sec-WebSocket-Key is missing"))?;
    let offered: Vec<&str> = words(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    // Token carriers of browsers are no protocols.
    let named: Vec<&&str> = offered.iter().filter(|word| !word.starts_with("base64url.bearer.authorization.k8s.io")).collect();
    let chosen = named.iter().copied().find(|word| supported.contains(word)).copied();
    let protocol = match (chosen, named.is_empty()) {
        (Some(protocol), _) => protocol,
        (None, true) => "",
        (None, false) => {
            let message =
                format!("websocket: none of the protocols [{}] is spoken here: use one of [{}]", offered.join(" "), supported.join(" "));
            return Err(Refusal { supported: strings(supported), ..Refusal::bad(message) });
        }
    };
    Ok(Negotiated::WebSocket { protocol: protocol.to_owned(), accept: derive_accept_key(key.as_bytes()) })
}

fn spdy(headers: &HeaderMap, supported: &[&str]) -> Result<Negotiated, Refusal> {
    let offered: Vec<&str> = words(headers, &STREAM_PROTOCOL).collect();
    if offered.is_empty() {
        // Clients from before the header existed speak the oldest protocol.
        return Ok(Negotiated::Spdy { protocol: supported.last().copied().unwrap_or_default().to_owned() });
    }
    let chosen = offered.iter().find(|word| supported.contains(word));
    chosen.map(|protocol| Negotiated::Spdy { protocol: (*protocol).to_owned() }).ok_or_else(|| Refusal {
        status: StatusCode::FORBIDDEN,
        message: format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            supported.join(" ")
        ),
        supported: strings(supported),
    })
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

/// The comma-separated words of all headers of that name.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &[(&str, &str)], supported: Supported) -> String {
        let headers = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        match negotiate(&headers, supported) {
            Ok(Negotiated::WebSocket { protocol, .. }) => format!("ws {protocol}"),
            Ok(Negotiated::Spdy { protocol }) => format!("spdy {protocol}"),
            Err(refusal) => refusal.status.as_u16().to_string(),
        }
    }

    #[test]
    fn choices() {
        let ws = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let with = |name: &'static str, value: &'static str| [ws.as_slice(), &[(name, value)]].concat();
        assert_eq!(ask(&with("sec-websocket-protocol", "v5.channel.k8s.io"), REMOTE), "ws v5.channel.k8s.io");
        assert_eq!(ask(&with("sec-websocket-protocol", "x, v4.channel.k8s.io, channel.k8s.io"), REMOTE), "ws v4.channel.k8s.io");
        assert_eq!(ask(&with("sec-websocket-protocol", "x"), REMOTE), "400");
        assert_eq!(ask(&ws, REMOTE), "ws ");
        assert_eq!(ask(&with("sec-websocket-version", "8"), REMOTE), "400");
        assert_eq!(ask(&with("sec-websocket-protocol", "SPDY/3.1+portforward.k8s.io"), FORWARD), "ws SPDY/3.1+portforward.k8s.io");
        let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let with = |value: &'static str| [spdy.as_slice(), &[("x-stream-protocol-version", value)]].concat();
        assert_eq!(ask(&with("v5.channel.k8s.io"), REMOTE), "403");
        assert_eq!(ask(&[with("v5.channel.k8s.io"), with("v4.channel.k8s.io")].concat(), REMOTE), "spdy v4.channel.k8s.io");
        assert_eq!(ask(&spdy, REMOTE), "spdy channel.k8s.io");
        assert_eq!(ask(&with("portforward.k8s.io"), FORWARD), "spdy portforward.k8s.io");
        assert_eq!(ask(&[("upgrade", "websocket")], REMOTE), "400");
        assert_eq!(ask(&[("connection", "upgrade"), ("upgrade", "h2c")], REMOTE), "400");
    }

    #[test]
    fn the_answer_carries_the_rfc_key() {
        let headers = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let headers = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        let response = negotiate(&headers, REMOTE).unwrap().response();
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
    }
}

//! Credentials of a request to a user.
//!
//! In this order: the connection's client certificate, a bearer token (service account, then static), nobody
//! (`system:anonymous`). A credential that is there and bad is a 401, never anonymous. Who may then be somebody else is
//! told in `impersonation.rs`.

use std::sync::Arc;

use env::Env;
use schema::Status;

use crate::certificate::{ClientCertificates, Peer};
use crate::front_proxy::{FrontProxies, FrontProxy};
use crate::seam::{TokenReviewer, UserInfo};
use crate::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};

/// What a connection knows of its client.
#[derive(Clone, Debug, Default)]
pub enum Connection {
    /// No certificate was shown.
    #[default]
    Bare,
    Certificate(Peer),
    /// A proxy before us, whose headers say who asks; its certificate may name a user of ours as well.
    FrontProxy {
        proxy: FrontProxy,
        peer: Option<Peer>,
    },
    /// A certificate was shown and is not good.
    Refused,
}

/// Where requests without any credential are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// The authorizer decides.
    #[default]
    Everywhere,
    Nowhere,
    /// At these paths alone.
    At(Vec<String>),
}

/// Cheap to share; one per server.
pub struct Authenticator {
    certificates: ClientCertificates,
    tokens: Arc<dyn TokenReviewer>,
    /// SHA-256 of each static token, so that comparing does not tell by its time how much was right.
    statics: Vec<([u8; 32], Arc<UserInfo>)>,
    front_proxies: Option<FrontProxies>,
    anonymous: Arc<UserInfo>,
    lets_in: Anonymous,
    env: Env,
}

impl Authenticator {
    pub fn new(certificates: ClientCertificates, tokens: Arc<dyn TokenReviewer>, env: &Env) -> Self {
        let anonymous = Arc::new(UserInfo::new(ANONYMOUS, &[UNAUTHENTICATED]));
        Self { certificates, tokens, statics: Vec::new(), front_proxies: None, anonymous, lets_in: Anonymous::Everywhere, env: env.clone() }
    }

    /// Adds a token that is good until the process ends.
    #[must_use]
    pub fn with_static_token(mut self, token: &str, user: UserInfo) -> Self {
        self.statics.push((digest(token), Arc::new(with_authenticated(user))));
        self
    }

    /// Believes these proxies about who asks.
    #[must_use]
    pub fn with_front_proxies(mut self, proxies: FrontProxies) -> Self {
        self.front_proxies = Some(proxies);
        self
    }

    #[must_use]
    pub fn with_anonymous(mut self, lets_in: Anonymous) -> Self {
        self.lets_in = lets_in;
        self
    }

    pub fn certificates(&self) -> &ClientCertificates {
        &self.certificates
    }

    /// What the chain that a client showed in its handshake says.
    pub fn connection(&self, chain: Option<&[rustls::pki_types::CertificateDer<'_>]>) -> Connection {
        match chain {
            None | Some([]) => Connection::Bare,
            Some(chain) => {
                let peer = self.certificates.identify(chain);
                match self.front_proxies.as_ref().and_then(|proxies| proxies.identify(chain)) {
                    Some(proxy) => Connection::FrontProxy { proxy, peer },
                    None => peer.map_or(Connection::Refused, Connection::Certificate),
                }
            }
        }
    }

    /// The user that a proxy before us tells of. `headers`: names in lower case. None: nobody, or no proxy that we believe.
    pub fn proxied<'a>(&self, connection: &Connection, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Arc<UserInfo>> {
        match (connection, &self.front_proxies) {
            (Connection::FrontProxy { proxy, .. }, Some(proxies)) => proxies.user(proxy, headers),
            _ => None,
        }
    }

    /// 401 for nobody where nobody is let in.
    pub fn lets_in(&self, user: &Arc<UserInfo>, path: &str) -> Result<(), Status> {
        let known = !Arc::ptr_eq(user, &self.anonymous);
        let open = match &self.lets_in {
            Anonymous::Everywhere => true,
            Anonymous::Nowhere => false,
            Anonymous::At(paths) => paths.iter().any(|open| open == path),
        };
        if known || open { Ok(()) } else { Err(Status::unauthorized()) }
    }

    /// The user of a request. `authorization` is the header's value.
    pub async fn authenticate(&self, connection: &Connection, authorization: Option<&str>) -> Result<Arc<UserInfo>, Status> {
        if let Connection::Certificate(peer) | Connection::FrontProxy { peer: Some(peer), .. } = connection
            && let Some(user) = peer.user(&self.env)
        {
            return Ok(user);
        }
        if let Some(token) = authorization.and_then(bearer) {
            return self.token(token).await.ok_or_else(Status::unauthorized);
        }
        match connection {
            Connection::Bare => Ok(Arc::clone(&self.anonymous)),
            _ => Err(Status::unauthorized()),
        }
    }

    async fn token(&self, token: &str) -> Option<Arc<UserInfo>> {
        let given = digest(token);
        if let Some((_, user)) = self.statics.iter().find(|(held, _)| *held == given) {
            return Some(Arc::clone(user));
        }
        match self.tokens.review(token, &[]).await {
            Ok(found) => found.map(|(user, _)| user),
            Err(why) => {
                tracing::debug!(%why, "token refused");
                None
            }
        }
    }
}

/// The token of `Bearer …`; another scheme is no credential of ours.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

pub(crate) fn digest(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn with_authenticated(mut user: UserInfo) -> UserInfo {
    if !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// Percent-decoding of an extra's key; what is no escape stays.
pub(crate) fn unescape(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).to_lowercase()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::pki::{Leaf, Pki};

    struct NoTokens;

    #[async_trait]
    impl TokenReviewer for NoTokens {
        async fn review(&self, token: &str, _: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
            if token == "expired" { Err("expired".into()) } else { Ok(None) }
        }
    }

    fn authenticator() -> (Authenticator, Pki, tempfile::TempDir) {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let pki = Pki::ensure(dir.path(), &env).unwrap();
        let certificates = ClientCertificates::new(pki.ca(), &env).unwrap();
        let authenticator = Authenticator::new(certificates, Arc::new(NoTokens), &env)
            .with_static_token("s3cret", UserInfo::new("admin", &["system:masters"]));
        (authenticator, pki, dir)
    }

    #[tokio::test]
    async fn a_bad_credential_is_never_anonymous() {
        let (authenticator, pki, _dir) = authenticator();
        let admin = authenticator.connection(Some(&pki.leaf(&Leaf::admin()).unwrap().chain()));
        let server = authenticator.connection(Some(&pki.leaf(&Leaf::api_server(&[])).unwrap().chain()));
        for (connection, header, want) in [
            (&Connection::Bare, None, Some("system:anonymous")),
            (&Connection::Bare, Some("Bearer s3cret"), Some("admin")),
            (&Connection::Bare, Some("bearer  s3cret"), Some("admin")),
            (&Connection::Bare, Some("Bearer nope"), None),
            (&Connection::Bare, Some("Bearer expired"), None),
            (&Connection::Bare, Some("Basic eDp5"), Some("system:anonymous")),
            (&admin, None, Some("kubernetes-admin")),
            (&admin, Some("Bearer nope"), Some("kubernetes-admin")),
            (&server, None, None),
            (&server, Some("Bearer s3cret"), Some("admin")),
        ] {
            let user = authenticator.authenticate(connection, header).await;
            assert_eq!(user.as_ref().ok().map(|user| user.name.as_str()), want, "{header:?}");
            assert!(user.is_ok() || user.unwrap_err().code == 401);
        }
    }

    #[tokio::test]
    async fn nobody_is_let_in_where_it_is_said() {
        let (authenticator, _pki, _dir) = authenticator();
        let nobody = authenticator.authenticate(&Connection::Bare, None).await.unwrap();
        let admin = authenticator.authenticate(&Connection::Bare, Some("Bearer s3cret")).await.unwrap();
        let codes = |authenticator: &Authenticator| {
            [(&nobody, "/livez"), (&nobody, "/api"), (&admin, "/api")]
                .map(|(user, path)| authenticator.lets_in(user, path).err().map_or(200, |status| status.code))
        };
        assert_eq!(codes(&authenticator), [200, 200, 200]);
        let authenticator = authenticator.with_anonymous(Anonymous::At(vec!["/livez".into()]));
        assert_eq!(codes(&authenticator), [200, 401, 200]);
        assert_eq!(codes(&authenticator.with_anonymous(Anonymous::Nowhere)), [401, 401, 200]);
    }
}

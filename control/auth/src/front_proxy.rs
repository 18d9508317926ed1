//! A proxy before us says who asks (`--requestheader-*`): `X-Remote-User`, `-Group`, `-Uid`, `-Extra-*`. It is believed only when it shows
//! a certificate of its own authority, with one of the names that are allowed. Whoever else sends these headers is not heard.

use std::sync::Arc;

use env::Env;
use rustls::pki_types::CertificateDer;

use crate::AUTHENTICATED;
use crate::authn::unescape;
use crate::certificate::ClientCertificates;
use crate::seam::UserInfo;

/// Which proxies are believed.
pub struct FrontProxies {
    certificates: ClientCertificates,
    /// Common names; empty: any that the authority issued.
    names: Vec<String>,
    env: Env,
}

/// Of one connection: its certificate is a front proxy's, until then.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    not_after: i64,
}

impl FrontProxies {
    /// `ca` is the PEM of their authority, which signs nothing else.
    pub fn new(ca: &str, names: Vec<String>, env: &Env) -> Result<Self, String> {
        let certificates = ClientCertificates::new(ca, env).map_err(|why| format!("front proxies: {why}"))?;
        Ok(Self { certificates, names, env: env.clone() })
    }

    /// Whether the chain that a client showed is one of theirs.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Option<FrontProxy> {
        let peer = self.certificates.identify(chain)?;
        let known = self.names.is_empty() || self.names.iter().any(|name| *name == peer.name());
        known.then(|| FrontProxy { not_after: peer.not_after() })
    }

    /// The user that a proxy's headers (names in lower case) tell of. None: they name nobody.
    pub fn user<'a>(&self, proxy: &FrontProxy, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Arc<UserInfo>> {
        if self.env.now().as_second() > proxy.not_after {
            return None;
        }
        let mut user = UserInfo::default();
        for (name, value) in headers.filter(|(_, value)| !value.is_empty()) {
            match name {
                "x-remote-user" if user.name.is_empty() => user.name = value.to_owned(),
                "x-remote-uid" if user.uid.is_empty() => user.uid = value.to_owned(),
                "x-remote-group" => user.groups.push(value.to_owned()),
                _ => {
                    if let Some(key) = name.strip_prefix("x-remote-extra-") {
                        user.extra.entry(unescape(key)).or_default().push(value.to_owned());
                    }
                }
            }
        }
        if !user.is_in(AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        (!user.name.is_empty()).then(|| Arc::new(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Leaf, Pki};

    #[test]
    fn only_a_certificate_of_their_authority_makes_the_headers_heard() {
        let (own, other, env) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Env::real());
        let (own, other) = (Pki::ensure(own.path(), &env).unwrap(), Pki::ensure(other.path(), &env).unwrap());
        let chain = own.leaf(&Leaf::admin()).unwrap().chain();
        let of =
            |ca: &Pki, names: &[&str]| FrontProxies::new(ca.ca(), names.iter().map(|name| (*name).to_owned()).collect(), &env).unwrap();
        assert!(of(&other, &[]).identify(&chain).is_none());
        assert!(of(&own, &["aggregator"]).identify(&chain).is_none());
        let proxies = of(&own, &["kubernetes-admin"]);
        let proxy = proxies.identify(&chain).unwrap();
        let headers =
            [("x-remote-user", "ann"), ("x-remote-uid", "7"), ("x-remote-group", "dev"), ("x-remote-extra-a%2fb", "c"), ("accept", "x")];
        let user = proxies.user(&proxy, headers.into_iter()).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "7"));
        assert_eq!(user.groups, ["dev", "system:authenticated"]);
        assert_eq!(user.extra["a/b"], ["c"]);
        assert!(proxies.user(&proxy, [("x-remote-group", "system:masters")].into_iter()).is_none(), "a group alone is nobody");
    }
}

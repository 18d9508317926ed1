//! A certificate that is exchanged while connections are made with it: those that are open keep the old one, new ones show the new.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;

/// Shared by everything that makes or takes connections as one identity.
#[derive(Debug)]
pub struct Live(ArcSwap<CertifiedKey>);

impl Live {
    pub fn new(identity: &Identity) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self(ArcSwap::new(certified(identity)?))))
    }

    /// From now on. On failure the old one stays.
    pub fn exchange(&self, identity: &Identity) -> Result<(), String> {
        self.0.store(certified(identity)?);
        Ok(())
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(identity.private_key()).map_err(|error| format!("the key cannot be used: {error}"))?;
    let certified = CertifiedKey::new(identity.chain(), key);
    certified.keys_match().map_err(|error| format!("the key is not the certificate's: {error}"))?;
    Ok(Arc::new(certified))
}

impl ResolvesServerCert for Live {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for Live {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

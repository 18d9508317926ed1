//! Tokens of issuers outside: OpenID Connect, as `AuthenticationConfiguration` (apiserver.config.k8s.io) and the older flags describe it.
//!
//! ```text
//! file ──► config (strict) ──► validate (upstream's paths and texts, CEL compiled) ──► Jwt, one per issuer
//! token ──► issuer known? ──► provider (discovery, key set) ──► verify ──► claims ──► mapping ──► user ──► rules ──► user
//! ```
//! | module | what |
//! |---|---|
//! | [`config`] | the documents |
//! | [`validate`] | what is wrong with them |
//! | [`mapping`] | claims to users: names of claims, or CEL |
//! | [`provider`] | an issuer's discovery document and keys, fetched when needed and not more often |
//! | `distributed` | groups that a token leaves to another place |
//! | `verify` | the time, the audience, the signature |
//!
//! An issuer that is down when the server starts is asked again until it answers; its tokens are refused meanwhile, in words. The
//! issuers can be exchanged while the server runs ([`Issuers::exchange`]): requests see the old ones or the new ones, never a mixture.

pub mod config;
mod distributed;
pub mod mapping;
pub mod provider;
pub mod validate;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use env::Env;
use schema::FieldErrors;

use self::config::JwtAuthenticator;
use self::distributed::Distributed;
use self::mapping::Mapping;
use self::provider::Provider;
use crate::jwt::Jws;
use crate::outside::{Dialer, Trust};
use crate::reviewers::own_audience;
use crate::seam::{TokenReviewer, UserInfo};

/// How long new issuers may take to answer before they are given up for the old ones.
const EXCHANGE: Duration = Duration::from_secs(60);

/// Every issuer outside whose tokens are good here.
pub struct Issuers {
    jwts: ArcSwap<Vec<Arc<Jwt>>>,
    audiences: Arc<[String]>,
}

/// One of them.
pub struct Jwt {
    config: JwtAuthenticator,
    mapping: Mapping,
    provider: Arc<Provider>,
    distributed: Option<Distributed>,
    env: Env,
}

impl Issuers {
    /// `audiences` are those of this server: what a TokenReview must ask for.
    pub fn new(jwts: Vec<Arc<Jwt>>, audiences: Arc<[String]>) -> Arc<Self> {
        Arc::new(Self { jwts: ArcSwap::from_pointee(jwts), audiences })
    }

    /// These from now on, once each of them is ready. Err: one did not become so in time; the old ones stay.
    pub async fn exchange(&self, jwts: Vec<Arc<Jwt>>) -> Result<(), String> {
        let ready = async {
            for jwt in &jwts {
                jwt.provider.ready().await;
            }
        };
        if tokio::time::timeout(EXCHANGE, ready).await.is_err() {
            return Err(jwts.iter().filter_map(|jwt| jwt.health().err()).collect::<Vec<_>>().join(", "));
        }
        self.jwts.store(Arc::new(jwts));
        Ok(())
    }

    /// What keeps an issuer's tokens from being good; one text for each.
    pub fn unhealthy(&self) -> Vec<String> {
        self.jwts.load().iter().filter_map(|jwt| jwt.health().err()).collect()
    }
}

#[async_trait]
impl TokenReviewer for Issuers {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        let jwts = self.jwts.load_full();
        if jwts.is_empty() {
            return Ok(None);
        }
        let Ok(jws) = Jws::parse(token) else { return Ok(None) };
        let Some(jwt) = jwts.iter().find(|jwt| jwt.config.issuer.url == verify::issuer(&jws.claims)) else { return Ok(None) };
        let Some(audiences) = own_audience(&self.audiences, audiences) else { return Ok(None) };
        Ok(Some((Arc::new(jwt.user(jws).await?), audiences)))
    }
}

impl Jwt {
    /// Starts to look for the issuer. `disallowed` are issuers that are our own.
    pub fn start(config: JwtAuthenticator, disallowed: &[String], dialer: &dyn Dialer, env: &Env) -> Result<Arc<Self>, String> {
        let mut errors = FieldErrors::default();
        let mapping = validate::jwt(&config, None, disallowed, &mut errors);
        if !errors.is_empty() {
            return Err(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        }
        let ca = Some(config.issuer.certificate_authority.clone()).filter(|ca| !ca.is_empty());
        let outside = dialer.trusting(&Trust { ca, ..Trust::default() })?;
        let provider =
            Provider::signing_by(&config.issuer.url, config.issuer.discovery_url.as_deref(), &config.algorithms, Arc::clone(&outside), env);
        let groups = &config.claim_mappings.groups.claim;
        let distributed = (!groups.is_empty()).then(|| Distributed::new(groups, outside, env));
        Ok(Arc::new(Self { config, mapping, provider, distributed, env: env.clone() }))
    }

    fn health(&self) -> Result<(), String> {
        let url = &self.config.issuer.url;
        self.provider.health().map_err(|why| format!("oidc: authenticator for issuer {url:?} is not healthy: {why}"))
    }

    async fn user(&self, jws: Jws<'_>) -> Result<UserInfo, String> {
        if self.provider.health().is_err() {
            return Err("oidc: authenticator not initialized".into());
        }
        let expected = verify::Expected { issuer: &self.config.issuer.url, audiences: &self.config.issuer.audiences };
        let now = self.env.now().as_second();
        verify::token(&jws, &expected, now, &self.provider).await.map_err(|why| format!("oidc: verify token: {why}"))?;
        let mut claims = jws.claims;
        if let Some(distributed) = &self.distributed {
            let expanded = distributed.expand(&mut claims, &self.config.issuer.audiences).await;
            expanded.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        }
        self.mapping.user(&self.config, claims)
    }
}

#[cfg(test)]
pub(crate) mod tests;

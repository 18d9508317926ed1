//! Distributed claims (OpenID Connect Core 5.6.2): a token that leaves the groups to another place names that place, and a token of an
//! issuer comes from there.
//!
//! The place comes from a token that was verified. Its issuer is found like any other, so its first answer may have to wait for
//! discovery; only so many such issuers are remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::Env;
use schema::{DocExt, Value};

use super::provider::Provider;
use super::verify::{self, Expected};
use crate::jwt::{Claims, Jws, TOKEN_BYTES_MAX};
use crate::outside::{Outside, Question};

const TIMEOUT: Duration = Duration::from_secs(30);
const ISSUERS_MAX: usize = 16;

/// Resolves one claim.
pub(super) struct Distributed {
    claim: String,
    outside: Arc<dyn Outside>,
    env: Env,
    providers: Mutex<HashMap<String, Arc<Provider>>>,
}

impl Distributed {
    pub(super) fn new(claim: &str, outside: Arc<dyn Outside>, env: &Env) -> Self {
        Self { claim: claim.to_owned(), outside, env: env.clone(), providers: Mutex::default() }
    }

    /// Puts the claim into `claims`, where they have it not and say where it is.
    pub(super) async fn expand(&self, claims: &mut Claims, audiences: &[String]) -> Result<(), String> {
        let Some(source) = self.source(claims)? else { return Ok(()) };
        let value = self.resolve(&source, audiences).await?;
        claims.insert(self.claim.clone(), value);
        Ok(())
    }

    /// The place that the claims name, if they leave the claim to one.
    fn source(&self, claims: &Claims) -> Result<Option<Value>, String> {
        if claims.contains_key(&self.claim) {
            return Ok(None);
        }
        let Some(names) = claims.get("_claim_names") else { return Ok(None) };
        let names = names.as_object().ok_or("oidc: error parsing distributed claim names: no object")?;
        let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let sources = sources.as_object().ok_or("oidc: could not parse claim sources: no object")?;
        let Some(name) = names.get(&self.claim) else { return Ok(None) };
        let name = name.as_str().ok_or("oidc: error parsing distributed claim names: no text")?;
        let missing = || format!("id token _claim_names contained a source {name} missing in _claims_sources");
        let source = sources.get(name).ok_or_else(missing)?;
        Ok(Some(source.clone()).filter(|source| !source.str_at("endpoint").is_empty()))
    }

    async fn resolve(&self, source: &Value, audiences: &[String]) -> Result<Value, String> {
        let (endpoint, claim) = (source.str_at("endpoint"), &self.claim);
        let token = self.fetch(source).await.map_err(|why| format!("while getting distributed claim {claim:?}: {why}"))?;
        let about = |why: String| format!("getting untrusted issuer from endpoint {endpoint} failed for claim {claim:?}: {why}");
        let jws = Jws::parse(token.trim()).map_err(|error| about(error.to_string()))?;
        let issuer = verify::issuer(&jws.claims).to_owned();
        let provider = self.provider(&issuer).map_err(|why| format!("verifying untrusted issuer {issuer} failed: {why}"))?;
        let expected = Expected { issuer: &issuer, audiences };
        let verified = verify::token(&jws, &expected, self.env.now().as_second(), &provider).await;
        verified.map_err(|why| format!("verify distributed claim token: {why}"))?;
        let value = jws.claims.get(claim).cloned();
        value.ok_or_else(|| format!("jwt returned by distributed claim endpoint {endpoint:?} did not contain claim: {claim}"))
    }

    async fn fetch(&self, source: &Value) -> Result<String, String> {
        let bearer = Some(source.str_at("access_token")).filter(|token| !token.is_empty()).map(str::to_owned);
        let url = source.str_at("endpoint").to_owned();
        let question = Question { url, bearer, follows: true, bytes_max: TOKEN_BYTES_MAX, ..Question::default() };
        let reply = self.outside.ask(question, TIMEOUT).await.map_err(|fault| fault.message)?;
        if !(200..=226).contains(&reply.status) {
            return Err(format!("error while getting distributed claim JWT: {}", reply.status_line()));
        }
        String::from_utf8(reply.body).map_err(|_| "could not decode distributed claim response".into())
    }

    /// The provider of an issuer, once it has been found.
    fn provider(&self, issuer: &str) -> Result<Arc<Provider>, String> {
        let unready = || format!("verifier not initialized for issuer: {issuer:?}");
        if !issuer.starts_with("https://") {
            return Err(unready());
        }
        let mut providers = self.providers.lock().expect("no holder of the providers panics");
        if !providers.contains_key(issuer) && providers.len() >= ISSUERS_MAX {
            return Err(format!("{ISSUERS_MAX} issuers of distributed claims are known; no more are asked"));
        }
        let start = || Provider::start(issuer, None, Arc::clone(&self.outside), &self.env);
        let provider = providers.entry(issuer.to_owned()).or_insert_with(start);
        provider.health().map_err(|_| unready())?;
        Ok(Arc::clone(provider))
    }
}

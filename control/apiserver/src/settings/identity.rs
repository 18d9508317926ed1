//! The settings that say who somebody is and what he may do.
//!
//! ```yaml
//! authentication-config: authentication.yaml               # issuers of tokens outside, and where anonymous requests are let in
//! oidc-issuer-url: https://login.example.com                # or one issuer, in the older words: oidc-client-id, -username-claim (sub),
//!                                                           # -username-prefix, -groups-claim, -groups-prefix, -required-claim, -ca-file,
//!                                                           # -signing-algs (RS256)
//! authentication-token-webhook-config-file: tokens.kubeconfig   # -version (v1beta1), -cache-ttl (2m)
//! authorization-config: authorization.yaml                  # who decides, in which order
//! authorization-mode: [Node, RBAC]                          # or in the older words: AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook
//! authorization-webhook-config-file: access.kubeconfig      # -version (v1beta1), -cache-authorized-ttl (5m), -cache-unauthorized-ttl (30s)
//! service-account-issuer: [https://cluster.example.com]     # the first issues; tokens of all are good
//! service-account-key-file: [old.pub]                       # keys whose tokens are good beside the signing key's
//! service-account-signing-key-file: sa.key                  # in place of the cluster's own
//! service-account-jwks-uri: https://cluster.example.com/openid/v1/jwks
//! service-account-max-token-expiration: 48h
//! service-account-extend-token-expiration: true
//! api-audiences: [https://cluster.example.com]
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::authn::Anonymous;
use auth::front_proxy::FrontProxies;
use auth::jwt::keys;
use auth::oidc::config::{AuthenticationConfiguration, Flags, JwtAuthenticator};
use auth::oidc::{Issuers, Jwt, validate};
use auth::outside::Dialer;
use auth::static_token::StaticTokens;
use auth::token;
use auth::webhook::authentication::TokenWebhook;
use auth::webhook::config::{AuthorizationConfiguration, ConnectionInfo, Webhook};
use auth::webhook::kubeconfig;
use auth::{Authenticator, Authorizer};
use env::Env;
use schema::FieldErrors;

use super::Settings;
use crate::Config;
use crate::assemble::{Assembled, Authority};
use crate::follow;
use crate::webhook::outside::Dialled;

const HOUR_NANOS: i64 = 3_600_000_000_000;

impl Settings {
    /// What contradicts itself.
    pub(super) fn check_identity(&self) -> Result<(), String> {
        let oidc = self.oidc_issuer_url.is_some() || self.oidc_client_id.is_some();
        let modes = self.authorization_mode.is_some() || self.authorization_webhook_config_file.is_some();
        let wants_webhook = self.authorization_mode.iter().flatten().any(|mode| mode == "Webhook");
        if self.authentication_config.is_some() && oidc {
            return Err("authentication-config file and oidc-* flags are mutually exclusive".into());
        }
        if self.authorization_config.is_some() && modes {
            return Err(
                "authorization-config can not be specified when authorization-mode or authorization-webhook-* flags are defined".into()
            );
        }
        if wants_webhook != self.authorization_webhook_config_file.is_some() {
            return Err("authorization-mode Webhook and authorization-webhook-config-file must be set together".into());
        }
        Ok(())
    }

    /// `config` with what is said of tokens.
    pub fn configure(&self, config: Config) -> Result<Config, String> {
        let usual = token::Settings::default();
        let mut keys = Vec::new();
        for file in self.service_account_key_file.iter().flatten() {
            let (name, text) = self.read(file)?;
            keys.extend(keys::of_pem(&text).map_err(|why| format!("{name}: {why}"))?);
        }
        let signing_key = match &self.service_account_signing_key_file {
            Some(file) => Some(self.read(file)?.1),
            None => config.signing_key.clone(),
        };
        let issuers = self.service_account_issuer.clone().unwrap_or(usual.issuers);
        for issuer in issuers.iter().filter(|issuer| issuer.contains(':')) {
            issuer
                .parse::<http::Uri>()
                .map_err(|error| format!("service-account-issuer {issuer:?} contained a ':' but was not a valid URL: {error}"))?;
        }
        let tokens = token::Settings {
            issuers,
            audiences: self.api_audiences.clone().unwrap_or_default(),
            keys,
            expiration_seconds_max: self.expiration_max()?,
            extend: self.service_account_extend_token_expiration.unwrap_or(usual.extend),
            jwks_uri: self.service_account_jwks_uri.clone(),
        };
        Ok(Config { tokens, signing_key, ..config })
    }

    fn expiration_max(&self) -> Result<i64, String> {
        let Some(text) = &self.service_account_max_token_expiration else { return Ok(0) };
        match nanos("service-account-max-token-expiration", text)? {
            0 => Ok(0),
            nanos if (HOUR_NANOS..=(1 << 32) * 1_000_000_000).contains(&nanos) => Ok(nanos / 1_000_000_000),
            _ => Err("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds".into()),
        }
    }

    /// `authenticator` with the front proxies and the limits of anonymous requests; adds the tokens of files, issuers and webhooks to the
    /// reviewers, and follows the file of issuers.
    pub fn authenticator(&self, authenticator: Authenticator, assembled: &Assembled, env: &Env) -> Result<Authenticator, String> {
        let audiences = assembled.tokens.audiences();
        if let Some(path) = &self.token_auth_file {
            let (name, text) = self.read(path)?;
            assembled.reviewers.add(StaticTokens::parse(&text, Arc::clone(&audiences)).map_err(|why| format!("token file {name}: {why}"))?);
        }
        let dialer = Arc::new(Dialled::new(env));
        let anonymous = self.issuers(assembled, &dialer, env)?;
        if let Some(path) = &self.authentication_token_webhook_config_file {
            let remote = kubeconfig::load(&self.folder.join(path), &*dialer)?;
            let version = self.authentication_token_webhook_version.as_deref().unwrap_or("v1beta1");
            let ttl =
                time("authentication-token-webhook-cache-ttl", self.authentication_token_webhook_cache_ttl.as_deref().unwrap_or("2m"))?;
            assembled.reviewers.add(TokenWebhook::new(remote, version, ttl, audiences, env)?);
        }
        let authenticator = authenticator.with_anonymous(anonymous);
        let Some(path) = &self.requestheader_client_ca_file else { return Ok(authenticator) };
        let (_, ca) = self.read(path)?;
        Ok(authenticator.with_front_proxies(FrontProxies::new(&ca, self.requestheader_allowed_names.clone(), env)?))
    }

    /// Adds the issuers; where anonymous requests are let in.
    fn issuers(&self, assembled: &Assembled, dialer: &Arc<Dialled>, env: &Env) -> Result<Anonymous, String> {
        let own = assembled.core.config().tokens.issuers.clone();
        let add = |jwts: Vec<JwtAuthenticator>| -> Result<Arc<Issuers>, String> {
            let issuers = Issuers::new(started(jwts, &own, &**dialer, env)?, assembled.tokens.audiences());
            assembled.reviewers.add(Arc::clone(&issuers) as _);
            Ok(issuers)
        };
        let Some(file) = &self.authentication_config else {
            if let Some(flags) = self.flags()? {
                add(vec![flags.authenticator()?])?;
            }
            return Ok(self.anonymous());
        };
        let (name, text) = self.read(file)?;
        let config = authentication(&text, &own).map_err(|why| format!("{name}: {why}"))?;
        let anonymous = self.anonymous_of(&config)?;
        let issuers = add(config.jwt)?;
        let (dialer, task_env, own) = (Arc::clone(dialer), env.clone(), own.clone());
        let apply: follow::Apply = Arc::new(move |text| {
            let (issuers, dialer, env, own) = (Arc::clone(&issuers), Arc::clone(&dialer), task_env.clone(), own.clone());
            Box::pin(async move {
                let config = authentication(&text, &own)?;
                issuers.exchange(started(config.jwt, &own, &*dialer, &env)?).await
            })
        });
        follow::file(env, self.folder.join(file), text, apply);
        Ok(anonymous)
    }

    fn anonymous(&self) -> Anonymous {
        match (self.anonymous_auth.unwrap_or(true), &self.anonymous_paths) {
            (false, _) => Anonymous::Nowhere,
            (true, Some(paths)) => Anonymous::At(paths.clone()),
            (true, None) => Anonymous::Everywhere,
        }
    }

    /// As the file says; a change of it counts after a restart.
    fn anonymous_of(&self, config: &AuthenticationConfiguration) -> Result<Anonymous, String> {
        let Some(anonymous) = &config.anonymous else { return Ok(self.anonymous()) };
        if self.anonymous_auth.is_some() || self.anonymous_paths.is_some() {
            return Err(
                "anonymous-auth cannot be set when the anonymous field is configured in the authentication configuration file".into()
            );
        }
        let paths: Vec<String> = anonymous.conditions.iter().map(|condition| condition.path.clone()).collect();
        Ok(match (anonymous.enabled, paths.is_empty()) {
            (false, _) => Anonymous::Nowhere,
            (true, true) => Anonymous::Everywhere,
            (true, false) => Anonymous::At(paths),
        })
    }

    fn flags(&self) -> Result<Option<Flags>, String> {
        let text = |own: &Option<String>, usual: &str| own.clone().unwrap_or_else(|| usual.to_owned());
        if self.oidc_issuer_url.is_none() && self.oidc_client_id.is_none() {
            return Ok(None);
        }
        let ca = self.oidc_ca_file.as_deref().map(|file| self.read(file)).transpose()?.map(|(_, text)| text).unwrap_or_default();
        let mut required_claims = Vec::new();
        for claim in self.oidc_required_claim.iter().flatten() {
            let (name, value) = claim.split_once('=').ok_or_else(|| format!("oidc-required-claim {claim:?} is no key=value"))?;
            required_claims.push((name.to_owned(), value.to_owned()));
        }
        Ok(Some(Flags {
            issuer_url: text(&self.oidc_issuer_url, ""),
            client_id: text(&self.oidc_client_id, ""),
            username_claim: text(&self.oidc_username_claim, "sub"),
            username_prefix: text(&self.oidc_username_prefix, ""),
            groups_claim: text(&self.oidc_groups_claim, ""),
            groups_prefix: text(&self.oidc_groups_prefix, ""),
            required_claims,
            ca,
            signing_algs: self.oidc_signing_algs.clone().unwrap_or_else(|| vec!["RS256".into()]),
        }))
    }

    /// Sets who decides, where that is not [Node, RBAC], and follows the file that says so.
    pub fn authorize(&self, authority: &Authority, env: &Env) -> Result<(), String> {
        let dialer = Arc::new(Dialled::new(env));
        let Some(file) = &self.authorization_config else {
            let Some(modes) = &self.authorization_mode else { return Ok(()) };
            return decide(&AuthorizationConfiguration::of_modes(modes, self.access_webhook()?), authority, &*dialer, env);
        };
        let (name, text) = self.read(file)?;
        let config = AuthorizationConfiguration::parse(&text).map_err(|why| format!("{name}: {why}"))?;
        decide(&config, authority, &*dialer, env).map_err(|why| format!("{name}: {why}"))?;
        let (authority, task_env) = (authority.clone(), env.clone());
        let apply: follow::Apply = Arc::new(move |text| {
            let taken = AuthorizationConfiguration::parse(&text).and_then(|config| decide(&config, &authority, &*dialer, &task_env));
            Box::pin(std::future::ready(taken))
        });
        follow::file(env, self.folder.join(file), text, apply);
        Ok(())
    }

    /// The one webhook of the older words.
    fn access_webhook(&self) -> Result<Option<Webhook>, String> {
        let Some(file) = &self.authorization_webhook_config_file else { return Ok(None) };
        let time = |name: &str, own: &Option<String>, usual: &str| nanos(name, own.as_deref().unwrap_or(usual));
        let (allowed, refused) = (&self.authorization_webhook_cache_authorized_ttl, &self.authorization_webhook_cache_unauthorized_ttl);
        Ok(Some(Webhook {
            authorized_ttl: time("authorization-webhook-cache-authorized-ttl", allowed, "5m")?,
            unauthorized_ttl: time("authorization-webhook-cache-unauthorized-ttl", refused, "30s")?,
            timeout: 30_000_000_000,
            subject_access_review_version: self.authorization_webhook_version.clone().unwrap_or_else(|| "v1beta1".into()),
            failure_policy: "NoOpinion".into(),
            connection_info: ConnectionInfo { r#type: "KubeConfigFile".into(), kube_config_file: Some(absolute(&self.folder.join(file))) },
            ..Webhook::default()
        }))
    }
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn decide(config: &AuthorizationConfiguration, authority: &Authority, dialer: &dyn Dialer, env: &Env) -> Result<(), String> {
    let (node, rbac): (&Arc<dyn Authorizer>, &Arc<dyn Authorizer>) = (&authority.node, &authority.rbac);
    authority.chain.complete(config.build(node, rbac, dialer, env)?);
    Ok(())
}

/// A configuration that nothing is wrong with. `own` are the issuers of this server.
fn authentication(text: &str, own: &[String]) -> Result<AuthenticationConfiguration, String> {
    let config = AuthenticationConfiguration::parse(text)?;
    let FieldErrors(errors) = validate::configuration(&config, own);
    if errors.is_empty() { Ok(config) } else { Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")) }
}

fn started(jwts: Vec<JwtAuthenticator>, own: &[String], dialer: &dyn Dialer, env: &Env) -> Result<Vec<Arc<Jwt>>, String> {
    jwts.into_iter().map(|jwt| Jwt::start(jwt, own, dialer, env)).collect()
}

fn nanos(name: &str, text: &str) -> Result<i64, String> {
    schema::duration::parse_nanos(text).map_err(|why| format!("{name}: {why}"))
}

fn time(name: &str, text: &str) -> Result<Duration, String> {
    let nanos = nanos(name, text)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| format!("{name}: {text:?} is negative"))
}

//! Bootstrap tokens: `<id>.<secret>`, good for machines that join, kept as secrets `kube-system/bootstrap-token-<id>`.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use env::Env;
use schema::{DocExt, Value, time};

use crate::reviewers::own_audience;
use crate::seam::{TokenReviewer, UserInfo};
use crate::token::Lookup;
use crate::{AUTHENTICATED, BOOTSTRAPPERS};

const TYPE: &str = "bootstrap.kubernetes.io/token";
/// `system:bootstrap:<id>`
const USER_PREFIX: &str = "system:bootstrap:";

/// Reviews them.
pub struct BootstrapTokens {
    lookup: Arc<dyn Lookup>,
    audiences: Arc<[String]>,
    env: Env,
}

impl BootstrapTokens {
    /// `audiences` are those of this server.
    pub fn new(lookup: Arc<dyn Lookup>, audiences: Arc<[String]>, env: &Env) -> Arc<Self> {
        Arc::new(Self { lookup, audiences, env: env.clone() })
    }

    /// The user of a secret, if it is one whose token this is, and may be used to sign in. The reasons are for the log alone.
    fn user(&self, secret: &Value, id: &str, given: &str) -> Result<UserInfo, String> {
        let data = |key: &str| text(secret, key);
        if !secret.str_at("metadata.deletionTimestamp").is_empty() {
            return Err("the secret is being deleted".into());
        }
        if secret.str_at("type") != TYPE {
            return Err(format!("the secret is not of type {TYPE}"));
        }
        if data("token-id") != id || verify_slices_are_equal(data("token-secret").as_bytes(), given.as_bytes()).is_err() {
            return Err("id and secret do not fit".into());
        }
        if !data("expiration").is_empty() && time::parse(&data("expiration")).is_none_or(|end| end <= self.env.now()) {
            return Err(format!("it expired at {:?}", data("expiration")));
        }
        if data("usage-bootstrap-authentication") != "true" {
            return Err("it is not for authentication".into());
        }
        let groups = groups(&data("auth-extra-groups"))?;
        Ok(UserInfo { name: format!("{USER_PREFIX}{id}"), groups, ..UserInfo::default() })
    }
}

#[async_trait]
impl TokenReviewer for BootstrapTokens {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        let Some((id, secret)) = split(token) else { return Ok(None) };
        let Some(audiences) = own_audience(&self.audiences, audiences) else { return Ok(None) };
        let name = format!("bootstrap-token-{id}");
        let found = self.lookup.find("secrets", "kube-system", &name).await.map_err(|status| status.message)?;
        let Some(held) = found else { return Ok(None) };
        match self.user(&held.value(), id, secret) {
            Ok(user) => Ok(Some((Arc::new(user), audiences))),
            Err(why) => {
                tracing::info!(secret = %name, %why, "a bootstrap token is refused");
                Ok(None)
            }
        }
    }
}

/// `[a-z0-9]{6}.[a-z0-9]{16}`
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let good = |text: &str, length: usize| text.len() == length && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (good(id, 6) && good(secret, 16)).then_some((id, secret))
}

fn text(secret: &Value, key: &str) -> String {
    let encoded = secret.get("data").and_then(|data| data.get(key)).and_then(Value::as_str).unwrap_or_default();
    STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Bootstrappers, and below them whatever groups the secret names.
fn groups(extra: &str) -> Result<Vec<String>, String> {
    let mut groups = vec![BOOTSTRAPPERS.to_owned()];
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        let rest = group.strip_prefix("system:bootstrappers:").unwrap_or_default();
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ":-".contains(c);
        if rest.is_empty() || !rest.chars().all(good) || rest.ends_with([':', '-']) {
            return Err(format!("auth-extra-groups names {group:?}; groups must begin with system:bootstrappers:"));
        }
        groups.push(group.to_owned());
    }
    groups.push(AUTHENTICATED.to_owned());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use client::Object;
    use schema::{Status, json};

    use super::*;

    struct One(Value);

    #[async_trait]
    impl Lookup for One {
        async fn find(&self, _: &str, _: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
            if name == "bootstrap-token-abcdef" { Object::from_value(&self.0).map(Some) } else { Ok(None) }
        }
    }

    const TOKEN: &str = "abcdef.0123456789abcdef";

    async fn review(change: impl FnOnce(&mut Value), token: &str) -> Option<(Arc<UserInfo>, Vec<String>)> {
        let encoded = |text: &str| STANDARD.encode(text);
        let mut secret = json!({"metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}, "type": TYPE, "data": {
            "token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"), "usage-bootstrap-authentication": encoded("true"),
            "auth-extra-groups": encoded("system:bootstrappers:workers"), "expiration": encoded("2026-06-01T00:00:00Z")}});
        change(&mut secret);
        let tokens = BootstrapTokens::new(Arc::new(One(secret)), Arc::from([crate::token::ISSUER.to_owned()]), &Env::sim(1));
        tokens.review(token, &[]).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_joins_is_known_by_its_token() {
        let (user, audiences) = review(|_| {}, TOKEN).await.unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]);
        assert_eq!(audiences, [crate::token::ISSUER]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_whole_is_refused() {
        let set = |key: &'static str, value: &'static str| move |secret: &mut Value| secret["data"][key] = json!(STANDARD.encode(value));
        assert!(review(|_| {}, "abcdef.0123456789abcdeX").await.is_none());
        assert!(review(|_| {}, "abcdef.0123456789abcdee").await.is_none());
        assert!(review(|_| {}, "abcdeg.0123456789abcdef").await.is_none());
        assert!(review(set("expiration", "2025-01-01T00:00:00Z"), TOKEN).await.is_none());
        assert!(review(set("expiration", "soon"), TOKEN).await.is_none());
        assert!(review(set("usage-bootstrap-authentication", "false"), TOKEN).await.is_none());
        assert!(review(set("auth-extra-groups", "system:masters"), TOKEN).await.is_none());
        assert!(review(|secret| secret["type"] = json!("Opaque"), TOKEN).await.is_none());
        assert!(review(|secret| secret["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"), TOKEN).await.is_none());
    }
}

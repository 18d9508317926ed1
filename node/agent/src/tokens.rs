//! Bound service account tokens through the API, kept until most of their life is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use client::request::{Body, Request, Response};
use client::{Client, Options, Target, Verb};
use env::Env;
use jiff::Timestamp;
use kinds::core::Pod;
use schema::{DocExt, json};

use crate::content::{Token, Tokens};

/// However long a token lives, it is renewed daily.
const RENEW_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    pod_uid: String,
    audience: String,
    lifetime: Duration,
}

pub(crate) struct TokenManager {
    env: Env,
    client: Client,
    kept: Mutex<HashMap<Key, Token>>,
}

impl TokenManager {
    pub(crate) fn new(env: &Env, client: Client) -> Self {
        Self { env: env.clone(), client, kept: Mutex::default() }
    }

    /// Forgets the tokens of a pod that is gone.
    pub(crate) fn forget(&self, pod_uid: &str) {
        self.kept.lock().expect("no holder of the tokens panics").retain(|key, _| key.pod_uid != pod_uid);
    }

    fn kept(&self, key: &Key) -> Option<Token> {
        let kept = self.kept.lock().expect("no holder of the tokens panics");
        kept.get(key).filter(|token| token.renew_at > self.env.now()).cloned()
    }
}

#[async_trait]
impl Tokens for TokenManager {
    async fn token(&self, pod: &Pod, audience: &str, lifetime: Duration) -> Result<Token, String> {
        let key = Key { pod_uid: pod.metadata.uid.clone(), audience: audience.into(), lifetime };
        if let Some(token) = self.kept(&key) {
            return Ok(token);
        }
        let account = if pod.spec.service_account_name.is_empty() { "default" } else { &pod.spec.service_account_name };
        let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": audiences, "expirationSeconds": lifetime.as_secs(),
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid},
            },
        });
        let target = Target::of("v1", "serviceaccounts", &pod.metadata.namespace).named(account).sub("token");
        let request = Request { verb: Verb::Create, target, options: Options::default(), body: Body::Value(body) };
        let failed = |cause: &dyn std::fmt::Display| format!("failed to fetch token: {cause}");
        let doc = match self.client.call(request).await.map_err(|cause| failed(&cause))?.response {
            Response::Value { value, .. } => value,
            Response::Object { object, .. } => object.value(),
            _ => return Err(failed(&"the answer is no TokenRequest")),
        };
        let text = doc.str_at("status.token").to_owned();
        if text.is_empty() {
            return Err(failed(&"the answer holds no token"));
        }
        let token = Token { text, renew_at: renew_at(self.env.now(), doc.str_at("status.expirationTimestamp"), lifetime) };
        self.kept.lock().expect("no holder of the tokens panics").insert(key, token.clone());
        Ok(token)
    }
}

/// At 80 % of its life, or after a day.
fn renew_at(now: Timestamp, expires: &str, asked: Duration) -> Timestamp {
    let life = schema::time::parse(expires).and_then(|expires| Duration::try_from(expires.duration_since(now)).ok()).unwrap_or(asked);
    now + (life * 4 / 5).min(RENEW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_renew_at_four_fifths_and_daily() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let after = |expires: i64| {
            let text = schema::time::format(Timestamp::from_second(1_000_000 + expires).unwrap());
            renew_at(now, &text, Duration::from_secs(1)).as_second() - 1_000_000
        };
        assert_eq!(after(3600), 2880);
        assert_eq!(after(365 * 86400), 86400);
    }
}

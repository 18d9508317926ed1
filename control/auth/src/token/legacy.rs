//! Legacy tokens: JWTs without an end that live in a secret of type `kubernetes.io/service-account-token`, and die with it.
//!
//! ```text
//! secret with the account's name in an annotation ─► filled: token, ca.crt, namespace, the account's uid
//! account gone, or another of that name           ─► the secret is deleted
//! ```

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Client, Delete, Informer, Object, Options, Target};
use schema::{Status, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::*;
use crate::reviewers::own_audience;

const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
struct LegacyClaims {
    iss: String,
    sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
}

/// The day on which a token was last used, and since when one is no longer good.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// Reviews them, and makes them.
pub struct LegacyTokens {
    tokens: Arc<Tokens>,
    /// Writes the day of their last use; nobody before the secrets are kept filled.
    writer: OnceLock<Client>,
}

impl LegacyTokens {
    pub fn new(tokens: Arc<Tokens>) -> Arc<Self> {
        Arc::new(Self { tokens, writer: OnceLock::new() })
    }

    /// Starts the task that fills the secrets. `client` reads accounts and writes secrets; `ca` is the PEM of the cluster's authority.
    pub fn keep_filled(self: &Arc<Self>, env: &Env, client: Client, ca: &str) {
        let _ = self.writer.set(client.clone());
        let options = Options { field_selector: format!("type={TYPE}"), ..Options::default() };
        let secrets = Informer::start(env, client.clone(), Target::of("v1", "secrets", ""), options, &[]);
        let accounts = Informer::start(env, client.clone(), Target::of("v1", "serviceaccounts", ""), Options::default(), &[]);
        let filler = Filler { tokens: Arc::clone(self), env: env.clone(), client, secrets, accounts, ca: STANDARD.encode(ca) };
        let stop = env.shutdown().clone();
        env.spawn("legacy-tokens", async move {
            stop.run_until_cancelled(filler.run()).await;
        });
    }

    fn issue(&self, namespace: &str, account: &str, uid: &str, secret: &str) -> Result<String, Status> {
        let claims = LegacyClaims {
            iss: LEGACY_ISSUER.to_owned(),
            sub: service_account_user(namespace, account, "").name,
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            uid: uid.to_owned(),
        };
        self.tokens.sign(&claims)
    }

    /// None: no legacy token of ours.
    fn claims(&self, token: &str) -> Option<LegacyClaims> {
        self.tokens.verified(token, |issuer| issuer == LEGACY_ISSUER)
    }

    async fn check(&self, claims: &LegacyClaims, token: &str) -> Result<UserInfo, String> {
        let LegacyClaims { namespace, secret, account, uid, .. } = claims;
        let held = self.tokens.lookup.find("secrets", namespace, secret).await.map_err(|status| status.message)?;
        let held = held.filter(|held| !held.meta.is_deleting()).ok_or("service account token has been invalidated")?;
        let kept = data(&held.value(), "token");
        if verify_slices_are_equal(kept.as_bytes(), token.as_bytes()).is_err() {
            return Err("service account token does not match server's copy".into());
        }
        if held.meta.labels.get(INVALID_SINCE).is_some_and(|day| !day.is_empty()) {
            return Err(format!(
                "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            ));
        }
        let reference = Reference { name: account.clone(), uid: uid.clone() };
        let object = self.tokens.living("serviceaccounts", namespace, &reference, "service account").await?;
        let user = service_account_user(namespace, account, &object.meta.uid);
        if user.name != claims.sub {
            return Err("the subject is not the service account of the token".into());
        }
        self.note_use(&held).await;
        Ok(user)
    }

    /// Labels the secret with today, once a day. A write that fails is made up for by the next use.
    async fn note_use(&self, secret: &Object) {
        let Some(client) = self.writer.get() else { return };
        let today = self.tokens.env.now().strftime("%Y-%m-%d").to_string();
        if secret.meta.labels.get(LAST_USED) == Some(&today) {
            return;
        }
        let (meta, mut doc) = (&secret.meta, secret.value());
        doc.default_at("metadata.labels", json!({}));
        doc["metadata"]["labels"][LAST_USED] = json!(today);
        let target = Target::of("v1", "secrets", &meta.namespace).named(&meta.name);
        if let Err(error) = client.update(target, doc).await {
            tracing::debug!(secret = %meta.name, %error, "the last use of a token is not noted");
        }
    }
}

#[async_trait]
impl TokenReviewer for LegacyTokens {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        let (Some(claims), Some(audiences)) = (self.claims(token), own_audience(&self.tokens.audiences, audiences)) else {
            return Ok(None);
        };
        Ok(Some((Arc::new(self.check(&claims, token).await?), audiences)))
    }
}

struct Filler {
    tokens: Arc<LegacyTokens>,
    env: Env,
    client: Client,
    secrets: Arc<Informer>,
    accounts: Arc<Informer>,
    /// base64, as a secret holds it.
    ca: String,
}

impl Filler {
    async fn run(self) {
        let (mut secrets, mut accounts) = (self.secrets.changes(), self.accounts.changes());
        self.secrets.synced().await;
        self.accounts.synced().await;
        loop {
            if self.sweep().await {
                self.env.sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
            let changed = tokio::select! {
                changed = secrets.recv() => changed,
                changed = accounts.recv() => changed,
            };
            if matches!(changed, Err(RecvError::Closed)) {
                return;
            }
            while secrets.try_recv().is_ok() || accounts.try_recv().is_ok() {}
        }
    }

    /// Looks at every secret; returns whether a write failed.
    async fn sweep(&self) -> bool {
        let mut failed = false;
        for secret in self.secrets.store.all() {
            if let Err(error) = self.tend(&secret).await {
                tracing::warn!(secret = %format!("{}/{}", secret.meta.namespace, secret.meta.name), %error, "the secret of a service account stays as it is");
                failed = true;
            }
        }
        failed
    }

    async fn tend(&self, secret: &Object) -> Result<(), Status> {
        let meta = &secret.meta;
        let Some(name) = meta.annotations.get(ACCOUNT_NAME).filter(|_| !meta.is_deleting()) else { return Ok(()) };
        let wanted = meta.annotations.get(ACCOUNT_UID);
        let fits = |account: &Arc<Object>| wanted.is_none_or(|uid| *uid == account.meta.uid);
        let target = Target::of("v1", "secrets", &meta.namespace).named(&meta.name);
        let account = match self.accounts.store.get(&format!("{}/{name}", meta.namespace)).filter(fits) {
            Some(account) => Some(account),
            // What is not in our picture may be younger than it.
            None => self.tokens.tokens.lookup.find("serviceaccounts", &meta.namespace, name).await?.filter(fits),
        };
        let written = match account {
            Some(account) => match self.filled(secret, &account)? {
                Some(doc) => self.client.update(target, doc).await.map(|_| ()),
                None => return Ok(()),
            },
            None => {
                let delete = Delete { uid: Some(meta.uid.clone()), ..Delete::default() };
                self.client.delete(target, Options { delete, ..Options::default() }).await
            }
        };
        match written {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => Ok(()),
        }
    }

    /// The secret with all that it should hold; None where it does.
    fn filled(&self, secret: &Object, account: &Object) -> Result<Option<Value>, Status> {
        let (meta, mut doc) = (&secret.meta, secret.value());
        let held = doc.clone();
        if doc.get("data").is_none_or(Value::is_null) {
            doc["data"] = json!({});
        }
        let good =
            self.tokens.claims(&data(&doc, "token")).is_some_and(|claims| claims.uid == account.meta.uid && claims.secret == meta.name);
        if !good {
            let token = self.tokens.issue(&meta.namespace, &account.meta.name, &account.meta.uid, &meta.name)?;
            doc["data"]["token"] = json!(STANDARD.encode(token));
        }
        doc["data"]["ca.crt"] = json!(self.ca);
        doc["data"]["namespace"] = json!(STANDARD.encode(&meta.namespace));
        doc["metadata"]["annotations"][ACCOUNT_UID] = json!(account.meta.uid);
        Ok((doc != held).then_some(doc))
    }
}

fn data(secret: &Value, key: &str) -> String {
    let encoded = secret.get("data").map_or("", |data| data.get(key).and_then(Value::as_str).unwrap_or_default());
    STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Pki;

    #[derive(Default)]
    struct Shelf(Mutex<HashMap<String, Value>>);

    #[async_trait]
    impl Lookup for Shelf {
        async fn find(&self, resource: &str, _: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
            self.0.lock().unwrap().get(&format!("{resource}/{name}")).map(Object::from_value).transpose()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_legacy_token_dies_with_its_secret() {
        let (dir, env, shelf) = (tempfile::tempdir().unwrap(), Env::sim(1), Arc::new(Shelf::default()));
        let tokens = Tokens::new(Pki::ensure(dir.path(), &env).unwrap().signing_key(), Settings::default(), shelf.clone(), &env).unwrap();
        let legacy = LegacyTokens::new(Arc::clone(&tokens));
        let token = legacy.issue("d", "bot", "sa-uid", "bot-token").unwrap();
        let put = |key: &str, value: Value| shelf.0.lock().unwrap().insert(key.to_owned(), value);
        assert_eq!(tokens.review(&token, &[]).await, Ok(None), "it is no bound token");
        assert!(legacy.review(&token, &[]).await.unwrap_err().contains("invalidated"));
        put("secrets/bot-token", json!({"metadata": {"name": "bot-token"}, "data": {"token": STANDARD.encode(&token)}}));
        put("serviceaccounts/bot", json!({"metadata": {"name": "bot", "uid": "sa-uid"}}));
        let (user, audiences) = legacy.review(&token, &[]).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:d:bot", "sa-uid"));
        assert_eq!(audiences, [ISSUER]);
        put("secrets/bot-token", json!({"metadata": {"name": "bot-token"}, "data": {"token": STANDARD.encode("other")}}));
        assert!(legacy.review(&token, &[]).await.unwrap_err().contains("does not match"));
        assert_eq!(legacy.review("a.b.c", &[]).await, Ok(None));
        let bound = tokens.issue(request()).await.unwrap().token;
        assert_eq!(legacy.review(&bound, &[]).await, Ok(None), "a bound token is not one of these");
    }

    fn request() -> TokenRequest {
        TokenRequest {
            namespace: "d".into(),
            service_account: "bot".into(),
            service_account_uid: "sa-uid".into(),
            audiences: Vec::new(),
            expiration_seconds: 3600,
            bound: None,
        }
    }
}

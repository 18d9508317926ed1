//! Tokens that a program outside knows: TokenReview.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use env::Env;
use schema::{DocExt, Value, json};

use super::Remote;
use super::memory::Memory;
use crate::AUTHENTICATED;
use crate::authn::digest;
use crate::seam::{TokenReviewer, UserInfo};

/// With all its tries.
const TIMEOUT: Duration = Duration::from_secs(30);

type Known = Option<(Arc<UserInfo>, Vec<String>)>;

/// Asks one program.
pub struct TokenWebhook {
    remote: Remote,
    /// `v1` or `v1beta1`.
    version: String,
    /// How long an answer is remembered.
    ttl: Duration,
    /// Those of this server, for answers that name none.
    audiences: Arc<[String]>,
    answers: Memory<Known>,
    env: Env,
}

impl TokenWebhook {
    /// Err: a version that nobody speaks, in upstream's words.
    pub fn new(remote: Remote, version: &str, ttl: Duration, audiences: Arc<[String]>, env: &Env) -> Result<Arc<Self>, String> {
        if !matches!(version, "v1" | "v1beta1") {
            return Err(format!("unsupported authentication webhook version {version:?}, supported versions are \"v1\", \"v1beta1\""));
        }
        Ok(Arc::new(Self { remote, version: version.to_owned(), ttl, audiences, answers: Memory::new(env), env: env.clone() }))
    }

    async fn ask(&self, token: &str, wanted: &[String]) -> Result<Known, String> {
        let review = json!({
            "apiVersion": format!("authentication.k8s.io/{}", self.version), "kind": "TokenReview",
            "metadata": {}, "spec": {"token": token, "audiences": wanted}, "status": {"user": {}},
        });
        let answer =
            self.remote.review(&self.env, &review, TIMEOUT).await.inspect_err(|why| tracing::warn!(%why, "the token webhook failed"))?;
        let texts = |path: &str| answer.items_at(path).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        let got = Some(texts("status.audiences")).filter(|got| !got.is_empty()).unwrap_or_else(|| self.audiences.to_vec());
        let shared: Vec<String> = got.into_iter().filter(|one| wanted.contains(one)).collect();
        if shared.is_empty() {
            return Ok(None);
        }
        if !answer.bool_at("status.authenticated") {
            return match answer.str_at("status.error") {
                "" => Ok(None),
                why => Err(why.to_owned()),
            };
        }
        let extra = answer.map_at("status.user.extra").into_iter().flatten();
        let values = |values: &Value| values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut user = UserInfo {
            name: answer.str_at("status.user.username").to_owned(),
            uid: answer.str_at("status.user.uid").to_owned(),
            groups: texts("status.user.groups"),
            extra: extra.map(|(key, list)| (key.clone(), values(list))).collect(),
        };
        if !user.is_in(AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Ok(Some((Arc::new(user), shared)))
    }
}

#[async_trait]
impl TokenReviewer for TokenWebhook {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Known, String> {
        let wanted = if audiences.is_empty() { &self.audiences[..] } else { audiences };
        let key = digest(&json!([token, wanted]).to_string());
        if let Some(known) = self.answers.get(&key) {
            return Ok(known);
        }
        let known = self.ask(token, wanted).await?;
        self.answers.put(key, known.clone(), self.ttl);
        Ok(known)
    }
}

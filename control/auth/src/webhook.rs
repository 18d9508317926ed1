//! Programs outside that say who a token's owner is (TokenReview) and what he may do (SubjectAccessReview).
//!
//! | module | what |
//! |---|---|
//! | [`kubeconfig`] | where such a program is, and who we are to it |
//! | [`authentication`] | tokens |
//! | [`authorization`] | rights |
//! | [`config`] | `AuthorizationConfiguration`: who is asked, in which order |
//! | [`conditions`] | which requests a webhook is asked about at all (CEL) |
//!
//! A call that failed for a moment (429, 500, 504, `Retry-After`, a broken connection) is made again, five times at most with growing
//! pauses, within its time. Answers are remembered for as long as the settings say, and only so many.

pub mod authentication;
pub mod authorization;
pub mod conditions;
pub mod config;
pub mod kubeconfig;
mod memory;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use env::Env;
use schema::{DocExt, Value};

use crate::outside::{Fault, Outside, Question, Reply};

const ANSWER_BYTES_MAX: usize = 1 << 20;
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// One program, as a kubeconfig names it.
#[derive(Clone)]
pub struct Remote {
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) url: String,
    pub(crate) bearer: Option<String>,
}

impl Remote {
    /// POSTs `body`, once, and asks for nothing but that it is taken.
    pub async fn tell(&self, body: Value, timeout: Duration) -> Result<(), String> {
        let (url, bearer) = (self.url.clone(), self.bearer.clone());
        let question = Question { url, bearer, body: Some(body), follows: false, bytes_max: ANSWER_BYTES_MAX };
        let reply = self.outside.ask(question, timeout).await.map_err(|fault| fault.message)?;
        if (200..=206).contains(&reply.status) { Ok(()) } else { Err(refusal(&reply)) }
    }

    /// POSTs `review` and reads one of the same kind. Ends within `timeout`, tries and pauses together.
    async fn review(&self, env: &Env, review: &Value, timeout: Duration) -> Result<Value, String> {
        let deadline = env.instant() + timeout;
        let mut pause = PAUSE;
        for left in (0..TRIES_MAX).rev() {
            let remaining = deadline.saturating_duration_since(env.instant());
            let question = Question {
                url: self.url.clone(),
                bearer: self.bearer.clone(),
                body: Some(review.clone()),
                follows: false,
                bytes_max: ANSWER_BYTES_MAX,
            };
            let outcome = self.outside.ask(question, remaining).await;
            let again = left > 0 && is_passing(&outcome) && env.instant() + pause < deadline;
            if !again {
                return read(outcome, review.str_at("kind"));
            }
            env.sleep(pause + Duration::from_millis(env.random_below(100))).await;
            pause = pause * 3 / 2;
        }
        unreachable!("the last try returns")
    }
}

fn is_passing(outcome: &Result<Reply, Fault>) -> bool {
    match outcome {
        Ok(reply) => matches!(reply.status, 429 | 500 | 504) || (reply.status >= 400 && reply.retry_after),
        Err(fault) => fault.broken && !fault.timed_out,
    }
}

fn read(outcome: Result<Reply, Fault>, kind: &str) -> Result<Value, String> {
    let reply = outcome.map_err(|fault| fault.message)?;
    let document: Option<Value> = serde_json::from_slice(&reply.body).ok();
    if !(200..=206).contains(&reply.status) {
        return Err(document
            .filter(|status| status.str_at("kind") == "Status")
            .map_or_else(|| refusal(&reply), |status| status.str_at("message").to_owned()));
    }
    let document = document.ok_or_else(|| format!("the answer is no JSON: {}", shown(&reply.body)))?;
    match document.str_at("kind") {
        found if found == kind => Ok(document),
        found => Err(format!("the answer is a {found:?}, wanted is a {kind}")),
    }
}

/// What a client of Go's makes of an answer that says nothing else.
fn refusal(reply: &Reply) -> String {
    match reply.status {
        401 => "the server has asked for the client to provide credentials".into(),
        403 => "forbidden: unknown".into(),
        404 => "the server could not find the requested resource".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".into(),
        500.. => format!("an error on the server ({:?}) has prevented the request from succeeding", shown(&reply.body)),
        other => format!("the server responded with the status code {other} but did not return more information"),
    }
}

fn shown(body: &[u8]) -> String {
    const SHOWN: usize = 512;
    String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).trim().to_owned()
}

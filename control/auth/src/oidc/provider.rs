//! An issuer: its discovery document, and its keys.
//!
//! ```text
//! starting ──(asked every 10 s until it answers)──► ready ──► keys ──(a signature that none of them made, and they are not fresh)──► fetched
//! ```
//! Keys are kept as long as the issuer's `Cache-Control` says and used beyond that while it is down: they are only asked for again when a
//! token comes that none of them has signed. Whoever sends such tokens on purpose causes no more than one question at a time and, after a
//! few, one each ten seconds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use env::Env;
use schema::{DocExt, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::jwt::Jws;
use crate::jwt::keys::{self, Key};
use crate::outside::{Outside, Question, Reply};
use crate::rbac::rules::quoted;

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Between two questions to an issuer that has not answered yet.
const RETRY: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Fetches of keys in a row, and how long until one more is allowed.
const FETCHES_MAX: u32 = 5;
const FETCH_AGAIN: Duration = Duration::from_secs(10);
/// Keys count as stale a little before their time.
const STALE_BEFORE: Duration = Duration::from_secs(30);

/// One issuer, shared by all requests.
pub struct Provider {
    outside: Arc<dyn Outside>,
    env: Env,
    /// By which algorithms it may sign.
    algorithms: Vec<String>,
    state_rx: watch::Receiver<State>,
    keys: ArcSwap<Keys>,
    /// An async mutex: one fetches while the others wait for what comes.
    fetch: tokio::sync::Mutex<()>,
    allowance: Mutex<Allowance>,
}

#[derive(Clone, Debug)]
enum State {
    /// Why it is not ready.
    Starting(String),
    Ready {
        jwks_uri: String,
    },
}

#[derive(Default)]
struct Keys {
    keys: Vec<Key>,
    /// None: never fetched.
    fresh_until: Option<Instant>,
    /// Counts fetches, so that who waited for one sees it.
    generation: u64,
}

/// A bucket of fetches.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Provider {
    /// Starts to look for the issuer's document, at `discovery_url` where there is one; goes on until it is found or nobody holds the
    /// provider any more.
    pub fn start(issuer: &str, discovery_url: Option<&str>, outside: Arc<dyn Outside>, env: &Env) -> Arc<Self> {
        Self::signing_by(issuer, discovery_url, &[], outside, env)
    }

    /// As [`Provider::start`], where only some algorithms count; none named: all.
    pub fn signing_by(issuer: &str, discovery_url: Option<&str>, algorithms: &[String], outside: Arc<dyn Outside>, env: &Env) -> Arc<Self> {
        let (state_tx, state_rx) = watch::channel(State::Starting(format!("oidc: authenticator for issuer {issuer:?} is not initialized")));
        let algorithms = if algorithms.is_empty() { keys::ALGORITHMS.map(str::to_owned).to_vec() } else { algorithms.to_vec() };
        let url = discovery_url.map_or_else(|| format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/')), str::to_owned);
        let search = Search { issuer: issuer.to_owned(), url, outside: Arc::clone(&outside), env: env.clone(), state_tx };
        let stop = env.shutdown().clone();
        env.spawn("oidc-discovery", async move {
            stop.run_until_cancelled(search.run()).await;
        });
        let allowance = Mutex::new(Allowance { left: FETCHES_MAX, since: env.instant() });
        Arc::new(Self {
            outside,
            env: env.clone(),
            algorithms,
            state_rx,
            keys: ArcSwap::default(),
            fetch: tokio::sync::Mutex::default(),
            allowance,
        })
    }

    /// Resolves when the issuer has been found.
    pub async fn ready(&self) {
        let mut state = self.state_rx.clone();
        if state.wait_for(|state| matches!(state, State::Ready { .. })).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Err: why it has not been found yet.
    pub fn health(&self) -> Result<(), String> {
        match &*self.state_rx.borrow() {
            State::Starting(why) => Err(why.clone()),
            State::Ready { .. } => Ok(()),
        }
    }

    pub(super) fn check_algorithm(&self, algorithm: &str) -> Result<(), String> {
        if self.algorithms.iter().any(|own| own == algorithm) {
            return Ok(());
        }
        Err(format!("oidc: id token signed with unsupported algorithm, expected {} got {algorithm:?}", quoted(&self.algorithms)))
    }

    /// Whether one of the issuer's keys has signed the token.
    pub async fn verify(&self, jws: &Jws<'_>) -> Result<(), String> {
        let held = self.keys.load_full();
        if is_signed(jws, &held.keys) {
            return Ok(());
        }
        let unsigned = || "failed to verify id token signature".to_owned();
        let stale_at = held.fresh_until.and_then(|until| until.checked_sub(STALE_BEFORE));
        if stale_at.is_some_and(|stale| self.env.instant() < stale) {
            return Err(unsigned());
        }
        let keys = self.newer_than(held.generation).await?.ok_or_else(unsigned)?;
        if is_signed(jws, &keys.keys) { Ok(()) } else { Err(unsigned()) }
    }

    /// The keys of a fetch after the one of `generation`; None where no more fetches are allowed now.
    async fn newer_than(&self, generation: u64) -> Result<Option<Arc<Keys>>, String> {
        let _turn = self.fetch.lock().await;
        let held = self.keys.load_full();
        if held.generation > generation {
            return Ok(Some(held));
        }
        if !self.allowance.lock().expect("no holder of the allowance panics").take(self.env.instant()) {
            return Ok(None);
        }
        let fetched = self.fetch(generation + 1).await.map_err(|why| format!("fetching keys {why}"))?;
        let fetched = Arc::new(fetched);
        self.keys.store(Arc::clone(&fetched));
        Ok(Some(fetched))
    }

    async fn fetch(&self, generation: u64) -> Result<Keys, String> {
        let State::Ready { jwks_uri } = self.state_rx.borrow().clone() else { return Err("oidc: authenticator not initialized".into()) };
        let reply = get(&*self.outside, &jwks_uri).await.map_err(|why| format!("oidc: get keys failed {why}"))?;
        if reply.status != 200 {
            return Err(format!("oidc: get keys failed: {} {}", reply.status_line(), shown(&reply.body)));
        }
        let document: Value =
            serde_json::from_slice(&reply.body).map_err(|error| format!("oidc: failed to decode keys: {error} {}", shown(&reply.body)))?;
        let keys = keys::of_set(&document).map_err(|why| format!("oidc: failed to decode keys: {why}"))?;
        Ok(Keys { keys, fresh_until: Some(self.env.instant() + max_age(&reply.cache_control)), generation })
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let earned = u32::try_from(now.duration_since(self.since).as_secs() / FETCH_AGAIN.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            (self.left, self.since) = (self.left.saturating_add(earned).min(FETCHES_MAX), now);
        }
        let one = self.left.checked_sub(1);
        self.left = one.unwrap_or_default();
        one.is_some()
    }
}

fn is_signed(jws: &Jws<'_>, keys: &[Key]) -> bool {
    keys.iter().filter(|key| jws.key_id.is_empty() || key.id == jws.key_id).any(|key| jws.is_signed_by(key))
}

/// The task that looks for the issuer.
struct Search {
    issuer: String,
    url: String,
    outside: Arc<dyn Outside>,
    env: Env,
    state_tx: watch::Sender<State>,
}

impl Search {
    async fn run(self) {
        loop {
            match self.discover().await {
                Ok(jwks_uri) => {
                    self.state_tx.send_replace(State::Ready { jwks_uri });
                    return;
                }
                Err(why) => {
                    tracing::warn!(issuer = %self.issuer, %why, "the issuer of tokens is not found; it is asked again");
                    self.state_tx.send_replace(State::Starting(why));
                }
            }
            tokio::select! {
                () = self.env.sleep(RETRY) => {}
                () = self.state_tx.closed() => return, // nobody wants it any more
            }
        }
    }

    /// Where the keys are.
    async fn discover(&self) -> Result<String, String> {
        let reply = get(&*self.outside, &self.url).await?;
        if reply.status != 200 {
            return Err(format!("{}: {}", reply.status_line(), shown(&reply.body)));
        }
        let document: Value =
            serde_json::from_slice(&reply.body).map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
        let found = document.str_at("issuer");
        if found != self.issuer {
            return Err(format!("oidc: issuer did not match the issuer returned by provider, expected {:?} got {found:?}", self.issuer));
        }
        match document.str_at("jwks_uri") {
            "" => Err("provider did not return JWKS URL".into()),
            uri if !uri.starts_with("https://") => Err(format!("the key set is at {uri:?}, which is not https://")),
            uri => Ok(uri.to_owned()),
        }
    }
}

async fn get(outside: &dyn Outside, url: &str) -> Result<Reply, String> {
    let question = Question { url: url.to_owned(), follows: true, bytes_max: DOCUMENT_BYTES_MAX, ..Question::default() };
    outside.ask(question, TIMEOUT).await.map_err(|fault| fault.message)
}

/// The beginning of a body, for a message.
fn shown(body: &[u8]) -> String {
    const SHOWN: usize = 512;
    String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned()
}

/// How long an answer may be kept; nothing where it does not say so.
fn max_age(cache_control: &str) -> Duration {
    let mut words = cache_control.split(',').map(str::trim);
    if words.clone().any(|word| word.eq_ignore_ascii_case("no-store") || word.eq_ignore_ascii_case("no-cache")) {
        return Duration::ZERO;
    }
    const YEAR: u64 = 365 * 24 * 60 * 60;
    let seconds = words.find_map(|word| word.strip_prefix("max-age=")?.trim_matches('"').parse::<u64>().ok());
    Duration::from_secs(seconds.unwrap_or_default().min(YEAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_as_long_as_it_says() {
        for (text, seconds) in
            [("", 0), ("max-age=60", 60), ("public, max-age=3600, must-revalidate", 3_600), ("no-store, max-age=9", 0), ("max-age=x", 0)]
        {
            assert_eq!(max_age(text).as_secs(), seconds, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fetches_are_few_and_come_again_with_time() {
        let start = Env::sim(1).instant();
        let mut allowance = Allowance { left: FETCHES_MAX, since: start };
        assert_eq!((0..20).filter(|_| allowance.take(start)).count(), 5);
        let later = start + FETCH_AGAIN * 2;
        assert_eq!((0..20).filter(|_| allowance.take(later)).count(), 2);
        assert_eq!((0..20).filter(|_| allowance.take(later + FETCH_AGAIN * 1_000)).count(), 5);
    }
}

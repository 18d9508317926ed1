//! Two upgraded connections become one pipe; what flows through it is not looked at.

use env::Env;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::answer::{Answer, Body};

/// Copied at once, per direction.
const BUFFER: usize = 32 << 10;

/// Whether the client asks for one of the protocols that we pass through.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name: &http::HeaderName, wanted: &[&str]| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| wanted.iter().any(|one| token.trim().eq_ignore_ascii_case(one)))
    };
    has(&CONNECTION, &["upgrade"]) && has(&UPGRADE, &["websocket", "spdy/3.1"])
}

/// The client's 101, and a task that is the pipe until either side ends.
pub(super) fn join(env: &Env, client: OnUpgrade, mut agent: Response<Incoming>) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = agent.status();
    answer.headers_mut().extend(agent.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
    let agent = hyper::upgrade::on(&mut agent);
    let stop = env.shutdown().clone();
    env.spawn("agent-pipe", async move {
        let (client, agent) = match tokio::try_join!(client, agent) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "an upgrade did not happen"),
        };
        let (mut client, mut agent) = (TokioIo::new(client), TokioIo::new(agent));
        let copy = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut agent, BUFFER, BUFFER);
        if let Some(Err(error)) = stop.run_until_cancelled(copy).await {
            tracing::debug!(%error, "a pipe to an agent broke off");
        }
    });
    answer
}

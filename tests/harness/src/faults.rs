//! What stands between a component and the API: a witness of refusals and, where asked for, a bad line.
//!
//! On a bad line watches end after a few events (some with 410), writes meet conflicts that were none, and answers of writes
//! that were done are lost. There is no resync: whatever converges on it converges by its own care.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use client::request::Watch;
use client::{Answer, Request, Response, Transport, Verb};
use env::Env;
use futures::StreamExt;
use schema::Status;

/// 403s that were answered, as `user verb path: message`. A namespace on its way out refuses creates by nature; that is no lack of
/// rights.
pub type Refusals = Arc<Mutex<Vec<String>>>;

pub struct Line {
    pub inner: Arc<dyn Transport>,
    pub user: String,
    pub refusals: Refusals,
    /// Draws the faults; None: a good line.
    pub faults: Option<Env>,
}

#[async_trait]
impl Transport for Line {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        let what = format!("{} {} {}", self.user, request.verb.as_str(), request.target.path());
        let writes = !matches!(request.verb, Verb::Get | Verb::List | Verb::Watch);
        let fate = self.faults.as_ref().map_or(u64::MAX, |dice| dice.random_below(100));
        if writes && fate < 10 {
            return Err(Status::stale(&request.target.group, &request.target.resource, &request.target.name));
        }
        let answer = self.inner.call(request).await;
        if let Err(status) = &answer
            && status.code == 403
            && !reconcile::controller::is_terminating(status)
        {
            self.refusals.lock().expect("no holder panics").push(format!("{what}: {status}"));
        }
        let answer = answer?;
        match (answer.response, &self.faults) {
            (Response::Watch(watch), Some(dice)) => {
                Ok(Answer { response: Response::Watch(broken(watch, dice)), warnings: answer.warnings })
            }
            (_, Some(_)) if writes && fate < 15 => Err(Status::unavailable("the line broke before the answer came")),
            (response, _) => Ok(Answer { response, warnings: answer.warnings }),
        }
    }
}

/// The same watch with an early end.
fn broken(watch: Watch, dice: &Env) -> Watch {
    let events = watch.take(1 + dice.random_below(8) as usize);
    let end = match dice.random_below(4) {
        0 => Some(Err(Status::expired("the line says that history is gone"))),
        1 => Some(Err(Status::unavailable("the line broke"))),
        _ => None,
    };
    Box::pin(events.chain(futures::stream::iter(end)))
}

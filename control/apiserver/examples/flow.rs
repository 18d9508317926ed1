//! What sorting a request and taking a seat costs while nobody waits, on one thread and on several.
//!
//! ```text
//! cargo run --release -p apiserver --example flow
//! ```

use std::sync::Arc;
use std::time::Duration;

use apiserver::Config;
use apiserver::flow::Flow;
use auth::{Attributes, UserInfo};
use env::Env;

const ROUNDS: u32 = 200_000;

async fn rounds(flow: Arc<Flow>, user: UserInfo) {
    let asked = Attributes { namespace: "default", ..Attributes::resource(&user, "get", "", "v1", "pods") };
    for _ in 0..ROUNDS {
        drop(flow.enter(&asked, false).await);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() {
    let env = Env::real();
    let users =
        [("an administrator", UserInfo::new("admin", &["system:masters"])), ("anybody", UserInfo::new("ann", &["system:authenticated"]))];
    for (who, user) in users {
        for tasks in [1, 2, 4] {
            let flow = Flow::new(&Config::default(), &env);
            let started = env.instant();
            let running: Vec<_> = (0..tasks).map(|_| env.spawn("rounds", rounds(Arc::clone(&flow), user.clone()))).collect();
            for task in running {
                let _ = task.await;
            }
            say(who, tasks, started.elapsed());
        }
    }
}

#[expect(clippy::print_stdout, reason = "an example says what it measured")]
fn say(who: &str, tasks: u32, took: Duration) {
    println!("{who}, {tasks} at once: {:.0} ns each", took.as_nanos() as f64 / f64::from(ROUNDS * tasks));
}

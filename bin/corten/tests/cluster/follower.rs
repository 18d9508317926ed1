//! A client that watches, resumes where it broke off, and never lists again: what it saw must be all that was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::https::{Https, HttpsConfig};
use client::{Client, Options, Target, WatchKind};
use env::Env;
use futures::StreamExt;

use crate::client_loop::enter;
use crate::machine::Machine;

pub(crate) struct Follower {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Seen>,
}

/// What a follower saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Names of objects added, in order, each time that an event said so.
    pub added: Vec<String>,
    /// How often it had to begin anew.
    pub expired: usize,
}

impl Follower {
    /// Follows the ConfigMaps of `default` from now on.
    pub(crate) fn start(machine: &Machine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, namespace, pki) = (Arc::clone(&stop), machine.netns_path(), machine.pki());
        let port = machine.api_port();
        let (ready_tx, ready_rx) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            enter(&namespace);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let env = Env::real();
                follow(&client(&pki, port, &env), &env, &stopped, &ready_tx).await
            })
        });
        ready_rx.recv().expect("it has a place to follow from");
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the follower ends")
    }
}

fn client(pki: &std::path::Path, port: u16, env: &Env) -> Client {
    let pki = auth::Pki::ensure(pki, env).expect("the cluster's keys");
    let identity = pki.leaf(&auth::pki::Leaf::admin()).expect("the admin's certificate");
    let config = HttpsConfig {
        address: ([127, 0, 0, 1], port).into(),
        server_name: "localhost".try_into().expect("a name"),
        tls: Arc::new(pki.client_config(Some(&identity))),
        token: None,
        user_agent: "follower".into(),
    };
    Client::new(Https::new(config, env))
}

async fn follow(client: &Client, env: &Env, stopped: &AtomicBool, ready_tx: &std::sync::mpsc::Sender<()>) -> Seen {
    let target = Target::of("v1", "configmaps", "default");
    let mut seen = Seen::default();
    let mut revision = client.list(target.clone(), Options::default()).await.expect("a first list").resource_version;
    ready_tx.send(()).expect("the test waits for it");
    while !stopped.load(Ordering::Relaxed) {
        let options = Options { resource_version: Some(revision.clone()), allow_watch_bookmarks: true, ..Options::default() };
        match client.watch(target.clone(), options).await {
            Ok(mut events) => {
                // A quiet watch is looked at again so that a stop is seen.
                while let Ok(Some(Ok(event))) = tokio::time::timeout(Duration::from_secs(2), events.next()).await {
                    revision.clone_from(&event.object.meta.resource_version);
                    if event.kind == WatchKind::Added {
                        seen.added.push(event.object.meta.name.clone());
                    }
                }
            }
            Err(status) if status.is_expired() => seen.expired += 1,
            Err(_) => env.sleep(Duration::from_millis(20)).await,
        }
    }
    seen
}

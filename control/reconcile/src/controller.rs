//! What a controller is, how events become keys, and who works on them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::events::Recorder;
use client::informer::Change;
use client::{Client, Informer, Lister, Object};
use env::Env;
use futures::FutureExt;
use kinds::KindRef;
use schema::Status;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Counters, Metrics};
use crate::writes::{Expectations, Quarantine};
use crate::{Collections, Informers, Queue};

/// What a reconcile wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes. Right for almost everything.
    AwaitChange,
    /// The same key at a time that no event will tell (a deadline, a grace period).
    After(Duration),
}

/// Why a reconcile did not succeed.
#[derive(Debug)]
pub enum Retry {
    /// Again with the key's back-off.
    Soon(Status),
    After(Duration, Status),
    /// Trying again cannot help until the object changes.
    Never(Status),
}

impl From<Status> for Retry {
    fn from(status: Status) -> Self {
        match status.code {
            // Nothing can be made in a namespace that goes; what asked for it goes with it.
            403 if is_terminating(&status) => Self::Never(status),
            // What the object asks for is wrong; only its change helps.
            400 | 422 => Self::Never(status),
            _ => Self::Soon(status),
        }
    }
}

/// Whether the namespace is on its way out, which no second try changes.
pub fn is_terminating(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

/// Watch, plan, act, report. The key is the only input; everything else is read when it runs.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// As upstream's `--controllers` calls it; it acts as the service account `kube-system/<NAME>`.
    fn name(&self) -> &'static str;
    /// Which events become which keys.
    fn wire(&self, wiring: &mut Wiring<'_>);
    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry>;
    /// Keys that only lost changes could have told, beside those that the sources' objects make: changes came faster than they
    /// were read, deletes among them.
    fn after_lost_changes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a reconcile works with.
pub struct Cx {
    pub env: Env,
    /// Writes under the controller's own identity.
    pub client: Client,
    pub informers: Informers,
    pub events: Recorder,
    pub expectations: Expectations,
    /// For what must stay so for a while before it is acted on.
    pub quarantine: Quarantine,
    pub queue: Arc<Queue>,
    /// Every collection that there is, custom ones included.
    pub collections: Collections,
}

impl Cx {
    /// The cached object of a collection.
    pub fn get(&self, api_version: &str, resource: &str, key: &str) -> Option<Arc<Object>> {
        self.informers.of(api_version, resource).store.get(key)
    }

    pub fn lister(&self, api_version: &str, resource: &str) -> Lister {
        self.informers.of(api_version, resource).store.clone()
    }
}

/// Makes the mapper of one collection.
pub type MapperOf = Arc<dyn Fn(&KindRef, &Lister) -> Option<Mapper> + Send + Sync>;

/// Makes keys of a change.
pub type Mapper = Arc<dyn Fn(&Object) -> Vec<String> + Send + Sync>;

/// Says whether a change is worth a look.
pub type Filter = Arc<dyn Fn(&Change) -> bool + Send + Sync>;

/// One collection, and what its changes mean to a controller.
#[derive(Clone)]
struct Source {
    informer: Arc<Informer>,
    mapper: Mapper,
    /// None: every change counts.
    filter: Option<Filter>,
}

/// Collects what a controller watches.
pub struct Wiring<'a> {
    informers: &'a Informers,
    sources: Vec<Source>,
    every: Vec<MapperOf>,
    collections: &'a Collections,
}

impl Wiring<'_> {
    /// Changes of these objects are keys themselves.
    pub fn primary(&mut self, api_version: &str, resource: &str) {
        self.maps(api_version, resource, |object| vec![object.meta.key()]);
    }

    /// Changes of these objects are the key of the `kind` that manages them.
    pub fn owns(&mut self, api_version: &str, resource: &str, kind: &'static str) {
        self.maps(api_version, resource, move |object| {
            let owner = object.meta.controller().filter(|owner| owner.kind == kind);
            owner.map(|owner| format!("{}/{}", object.meta.namespace, owner.name)).into_iter().collect()
        });
    }

    /// Changes of these objects are the keys that `mapper` makes, of the old and the new state alike.
    pub fn maps(&mut self, api_version: &str, resource: &str, mapper: impl Fn(&Object) -> Vec<String> + Send + Sync + 'static) {
        self.sources.push(Source { informer: self.informers.of(api_version, resource), mapper: Arc::new(mapper), filter: None });
    }

    /// As [`Wiring::maps`], for those changes alone of which `counts` says so; it is asked where the change has keys at all.
    pub fn maps_when(
        &mut self,
        api_version: &str,
        resource: &str,
        counts: impl Fn(&Change) -> bool + Send + Sync + 'static,
        mapper: impl Fn(&Object) -> Vec<String> + Send + Sync + 'static,
    ) {
        let informer = self.informers.of(api_version, resource);
        self.sources.push(Source { informer, mapper: Arc::new(mapper), filter: Some(Arc::new(counts)) });
    }

    /// For filters that depend on the time.
    pub fn env(&self) -> &Env {
        self.informers.env()
    }

    /// As [`Wiring::maps`] for every collection that there is or will be; `mapper_of` passes over those that it does not want.
    pub fn maps_every(&mut self, mapper_of: impl Fn(&KindRef, &Lister) -> Option<Mapper> + Send + Sync + 'static) {
        for kind in crate::collections::built_in() {
            let informer = || self.informers.of(&kind.api_version(), &kind.resource);
            // Nobody starts an informer for a collection that is passed over.
            let Some(mapper) = mapper_of(&kind, &Lister::default()).and_then(|_| mapper_of(&kind, &informer().store)) else { continue };
            let informer = informer();
            self.sources.push(Source { informer, mapper, filter: None });
        }
        self.every.push(Arc::new(mapper_of));
    }

    /// Which collections there are, for mappers that look at owners.
    pub fn collections(&self) -> Collections {
        self.collections.clone()
    }

    /// For mappers that look at other objects.
    pub fn lister(&self, api_version: &str, resource: &str) -> Lister {
        self.informers.of(api_version, resource).store.clone()
    }
}

/// Makes a client for an identity.
pub type ClientOf = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// Starts controllers over one set of informers.
pub struct Manager {
    env: Env,
    informers: Informers,
    client_of: ClientOf,
    metrics: Metrics,
    collections: Collections,
}

impl Manager {
    /// `client_of` gives the client of a user name (`system:serviceaccount:kube-system:replicaset-controller`).
    pub fn new(env: &Env, informers: Informers, client_of: ClientOf) -> Self {
        Self { env: env.clone(), informers, client_of, metrics: Metrics::default(), collections: Collections::default() }
    }

    /// What the controllers count, for a registry.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Runs one controller with so many workers until shutdown.
    pub fn start(&self, controller: Arc<dyn Controller>, workers: usize) {
        let mut wiring = Wiring { informers: &self.informers, sources: Vec::new(), every: Vec::new(), collections: &self.collections };
        controller.wire(&mut wiring);
        let counters = self.metrics.of(controller.name());
        let queue = Arc::new(Queue::counted(counters.clone()));
        let Wiring { sources, every, .. } = wiring;
        let sources: Arc<[Source]> = sources.into();
        let feeder = Feeder { env: self.env.clone(), controller: Arc::clone(&controller), sources, queue: Arc::clone(&queue) };
        for at in 0..feeder.sources.len() {
            feeder.feed(at);
        }
        for mapper_of in every {
            let feeder = feeder.clone();
            let hook = move |kind: &KindRef, informer: Arc<Informer>, ended: CancellationToken| {
                if let Some(mapper) = mapper_of(kind, &informer.store) {
                    feeder.feed_custom(Source { informer, mapper, filter: None }, ended);
                }
            };
            self.collections.follow(&self.env, &self.informers, Arc::new(hook));
        }
        let client = (self.client_of)(&format!("system:serviceaccount:kube-system:{}", controller.name()));
        let cx = Arc::new(Cx {
            env: self.env.clone(),
            events: Recorder::start(&self.env, client.clone(), controller.name(), ""),
            client,
            informers: self.informers.clone(),
            expectations: Expectations::default(),
            quarantine: Quarantine::default(),
            queue,
            collections: self.collections.clone(),
        });
        for _ in 0..workers {
            self.work(Arc::clone(&controller), Arc::clone(&cx), counters.clone());
        }
    }

    fn work(&self, controller: Arc<dyn Controller>, cx: Arc<Cx>, counters: Counters) {
        let shutdown = self.env.shutdown().clone();
        let worker = async move {
            cx.informers.synced().await;
            loop {
                let key = cx.queue.take().await;
                let since = cx.env.instant();
                // A bug that one object brings out must not end the work for all others.
                let looked = AssertUnwindSafe(controller.reconcile(&cx, &key)).catch_unwind().await;
                let outcome = looked.unwrap_or_else(|_| Err(Retry::Soon(Status::internal("the controller panicked"))));
                counters.seconds.observe(since.elapsed().as_secs_f64());
                if matches!(outcome, Err(Retry::Soon(_) | Retry::After(..))) {
                    counters.retries.inc();
                }
                settle(&cx.queue, controller.name(), &key, outcome);
                cx.queue.done(&key);
                counters.depth.set(i64::try_from(cx.queue.depth()).unwrap_or(i64::MAX));
            }
        };
        self.env.spawn("controller", async move {
            shutdown.run_until_cancelled(worker).await;
        });
    }
}

/// Turns changes into the keys of one controller.
#[derive(Clone)]
struct Feeder {
    env: Env,
    controller: Arc<dyn Controller>,
    sources: Arc<[Source]>,
    queue: Arc<Queue>,
}

impl Feeder {
    /// Feeds from a built-in source until shutdown.
    fn feed(&self, at: usize) {
        let shutdown = self.env.shutdown().clone();
        self.spawn(self.sources[at].clone(), shutdown);
    }

    /// Feeds from a custom kind's collection until it is gone.
    fn feed_custom(&self, source: Source, ended: CancellationToken) {
        self.spawn(source, ended);
    }

    fn spawn(&self, source: Source, ended: CancellationToken) {
        let (this, shutdown) = (self.clone(), self.env.shutdown().clone());
        let changes = source.informer.changes();
        self.env.spawn("controller-feed", async move {
            let feeding = ended.run_until_cancelled(this.run(&source, changes));
            if shutdown.run_until_cancelled(feeding).await.is_some() {
                // What was there is gone; whoever waits for it must hear of that.
                enqueue_all(&this.queue, &source);
            }
        });
    }

    /// Where changes were lost, deletes may be among them, and only the objects of the other sources tell whom they concern:
    /// then everything of this controller is looked at again.
    async fn run(&self, source: &Source, mut changes: Receiver<Change>) {
        let queue = &self.queue;
        source.informer.synced().await;
        enqueue_all(queue, source);
        loop {
            match changes.recv().await {
                Ok(change) => enqueue_change(queue, source, &change),
                Err(RecvError::Lagged(lost)) => {
                    let controller = self.controller.name();
                    tracing::info!(controller, lost, "changes came faster than they were read, looking at everything");
                    enqueue_all(queue, source);
                    self.sources.iter().for_each(|source| enqueue_all(queue, source));
                    self.controller.after_lost_changes().iter().for_each(|key| queue.add(key));
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Without a look at the filter: what has changed is not known.
fn enqueue_all(queue: &Queue, source: &Source) {
    source.informer.store.all().iter().flat_map(|object| (source.mapper)(object)).for_each(|key| queue.add(&key));
}

fn enqueue_change(queue: &Queue, source: &Source, change: &Change) {
    let keys: Vec<String> = match change {
        Change::Upsert { old, new } => old.iter().chain([new]).flat_map(|object| (source.mapper)(object)).collect(),
        Change::Delete { old } => (source.mapper)(old),
    };
    if !keys.is_empty() && source.filter.as_ref().is_none_or(|counts| counts(change)) {
        keys.iter().for_each(|key| queue.add(key));
    }
}

fn settle(queue: &Queue, controller: &'static str, key: &str, outcome: Result<Action, Retry>) {
    match outcome {
        Ok(Action::AwaitChange) => queue.forget(key),
        Ok(Action::After(delay)) => {
            queue.forget(key);
            queue.add_after(key, delay);
        }
        Err(Retry::Soon(error)) => {
            let delay = queue.add_backed_off(key);
            let delay_ms = delay.as_millis();
            // A conflict is how optimistic writes work; it is worth a line only for who debugs.
            if error.is_conflict() {
                tracing::debug!(controller, key, %error, delay_ms, "stale, trying again");
            } else {
                tracing::warn!(controller, key, %error, delay_ms, "failed, trying again");
            }
        }
        Err(Retry::After(delay, error)) => {
            tracing::warn!(controller, key, %error, "failed, trying again later");
            queue.add_after(key, delay);
        }
        Err(Retry::Never(error)) => {
            tracing::warn!(controller, key, %error, "failed; nothing to do until it changes");
            queue.forget(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use client::request::List;
    use client::{Answer, Request, Response, Transport, Verb, WatchEvent, WatchKind};
    use schema::json;

    use super::*;

    /// Lists two objects; the watch deletes the first and then brings so many changes of the second that every reader lags.
    struct Flood;

    fn object(name: &str, revision: usize) -> Arc<Object> {
        Object::from_value(&json!({"metadata": {"name": name, "uid": name, "resourceVersion": revision.to_string()}})).unwrap()
    }

    #[async_trait]
    impl Transport for Flood {
        async fn call(&self, request: Request) -> Result<Answer, Status> {
            let response = match request.verb {
                Verb::List => {
                    let items = vec![object("a", 1), object("b", 2)];
                    Response::List(List { items, resource_version: "2".into(), continue_token: String::new(), remaining: None })
                }
                _ => {
                    let gone = std::iter::once(WatchEvent { kind: WatchKind::Deleted, object: object("a", 3) });
                    let changes = (4..5000).map(|revision| WatchEvent { kind: WatchKind::Modified, object: object("b", revision) });
                    let events: Vec<_> = gone.chain(changes).map(Ok).collect();
                    Response::Watch(Box::pin(futures::StreamExt::chain(futures::stream::iter(events), futures::stream::pending())))
                }
            };
            Ok(Answer { response, warnings: Vec::new() })
        }
    }

    /// Notes its keys; panics at the first look at `b`.
    #[derive(Default)]
    struct Noting(Mutex<Vec<String>>);

    #[async_trait]
    impl Controller for Noting {
        fn name(&self) -> &'static str {
            "noting"
        }

        fn wire(&self, wiring: &mut Wiring<'_>) {
            wiring.primary("v1", "widgets");
        }

        async fn reconcile(&self, _cx: &Cx, key: &str) -> Result<Action, Retry> {
            let first = {
                let mut seen = self.0.lock().unwrap();
                seen.push(key.to_owned());
                seen.iter().filter(|held| *held == key).count() == 1
            };
            assert!(!(key == "b" && first), "a bug that b brings out");
            Ok(Action::AwaitChange)
        }

        fn after_lost_changes(&self) -> Vec<String> {
            vec!["lost".into()]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lost_deletes_are_made_up_for_and_a_panic_ends_nothing() {
        let env = Env::sim(1);
        let client = Client::new(Arc::new(Flood));
        let manager = Manager::new(&env, Informers::new(&env, client.clone()), Arc::new(move |_| client.clone()));
        let controller = Arc::new(Noting::default());
        manager.start(Arc::clone(&controller) as Arc<dyn Controller>, 1);
        env.sleep(Duration::from_secs(1)).await;
        let seen = controller.0.lock().unwrap().clone();
        assert!(seen.contains(&"lost".to_owned()), "{seen:?}");
        assert!(seen.iter().filter(|key| *key == "b").count() >= 2, "looked at again after the panic: {seen:?}");
    }
}

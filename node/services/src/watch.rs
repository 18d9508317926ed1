//! Keeps the driver at what the API says: watches Services and EndpointSlices, plans, applies what changed.
//!
//! ```text
//! services informer ──┐
//!                     ├──► names of services touched ──► plan ──► differs? ──► driver.ensure / remove
//! slices informer ────┘                                            (failed: again, after a back-off)
//! ```
//!
//! At the start, and when changes were missed, everything is planned and replaced at once. There is no resync.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::{Change, Informer, Object};
use contract::{ErrorKind, ServiceSpec, Services};
use env::Env;
use kinds::core::Service;
use kinds::discovery::EndpointSlice;
use tokio::sync::broadcast::{Receiver, error::RecvError, error::TryRecvError};
use tokio::sync::watch;

use crate::plan::{SERVICE_NAME_LABEL, plan};

/// The index that the informer of EndpointSlices must have, with [`service_of_slice`].
pub const BY_SERVICE: &str = "service";
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// `namespace/name` of the service that a slice belongs to: the key of [`BY_SERVICE`].
pub fn service_of_slice(slice: &Object) -> Vec<String> {
    let name = slice.meta.labels.get(SERVICE_NAME_LABEL);
    name.map(|name| format!("{}/{name}", slice.meta.namespace)).into_iter().collect()
}

/// Starts the task. The receiver turns true when the first complete set is in the kernel.
pub fn start(
    env: &Env,
    node_name: &str,
    driver: Arc<dyn Services>,
    services: Arc<Informer>,
    slices: Arc<Informer>,
) -> watch::Receiver<bool> {
    let (ready, receiver) = watch::channel(false);
    let watcher = Watcher { env: env.clone(), node_name: node_name.to_owned(), driver, services, slices, applied: HashMap::new(), ready };
    let stop = env.shutdown().clone();
    env.spawn("services", async move {
        stop.run_until_cancelled(watcher.run()).await;
    });
    receiver
}

struct Watcher {
    env: Env,
    node_name: String,
    driver: Arc<dyn Services>,
    services: Arc<Informer>,
    slices: Arc<Informer>,
    /// What the driver was told last.
    applied: HashMap<String, ServiceSpec>,
    ready: watch::Sender<bool>,
}

/// Why the loop goes round.
enum Woken {
    Touched(BTreeSet<String>),
    /// Changes were missed.
    Everything,
    /// An informer is gone.
    Over,
}

impl Watcher {
    async fn run(mut self) {
        let (mut service_changes, mut slice_changes) = (self.services.changes(), self.slices.changes());
        self.services.synced().await;
        self.slices.synced().await;
        self.replace_all().await;
        let mut failed = BTreeSet::new();
        let mut backoff = RETRY_MIN;
        loop {
            let woken = tokio::select! {
                woken = next(&mut service_changes, name_of_service) => woken,
                woken = next(&mut slice_changes, service_of_slice) => woken,
                () = self.env.sleep(backoff), if !failed.is_empty() => {
                    backoff = (backoff * 2).min(RETRY_MAX);
                    Woken::Touched(std::mem::take(&mut failed))
                }
            };
            match woken {
                Woken::Touched(names) => {
                    for name in names {
                        if let Err(name) = self.apply(name).await {
                            failed.insert(name);
                        }
                    }
                }
                Woken::Everything => self.replace_all().await,
                Woken::Over => return,
            }
            if failed.is_empty() {
                backoff = RETRY_MIN;
            }
        }
    }

    /// Until it succeeds: without a first set nothing works.
    async fn replace_all(&mut self) {
        let mut backoff = RETRY_MIN;
        loop {
            let planned: HashMap<String, ServiceSpec> =
                self.services.store.all().iter().filter_map(|service| self.planned(service)).collect();
            match self.driver.replace(planned.values().cloned().collect()).await {
                Ok(()) => {
                    self.applied = planned;
                    self.ready.send_replace(true);
                    return;
                }
                Err(error) if is_final(error.kind) => {
                    tracing::warn!(%error, "a service cannot be served here");
                    self.applied = planned;
                    self.ready.send_replace(true);
                    return;
                }
                Err(error) => tracing::warn!(%error, "services could not be programmed: trying again"),
            }
            self.env.sleep(backoff).await;
            backoff = (backoff * 2).min(RETRY_MAX);
        }
    }

    /// Gives the name back where it must be tried again.
    async fn apply(&mut self, name: String) -> Result<(), String> {
        let planned = self.services.store.get(&name).and_then(|service| self.planned(&service)).map(|(_, spec)| spec);
        if planned.as_ref() == self.applied.get(&name) {
            return Ok(());
        }
        let done = match &planned {
            Some(spec) => self.driver.ensure(spec.clone()).await,
            None => {
                let (namespace, service) = name.split_once('/').unwrap_or(("", &name));
                self.driver.remove(namespace, service).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(service = %name, %error, "service could not be programmed");
            if !is_final(error.kind) {
                return Err(name);
            }
        }
        match planned {
            Some(spec) => self.applied.insert(name, spec),
            None => self.applied.remove(&name),
        };
        Ok(())
    }

    fn planned(&self, service: &Object) -> Option<(String, ServiceSpec)> {
        let name = service.meta.key();
        let service = service.lens::<Service>().inspect_err(|error| tracing::warn!(service = %name, %error, "unreadable service")).ok()?;
        let slices = self.slices.store.by(BY_SERVICE, &name);
        let slices: Vec<Arc<EndpointSlice>> = slices
            .iter()
            .filter_map(|slice| {
                slice.lens::<EndpointSlice>().inspect_err(|error| tracing::warn!(?slice, %error, "unreadable endpoint slice")).ok()
            })
            .collect();
        let spec = plan(&service, slices.iter().map(Arc::as_ref), &self.node_name)?;
        Some((name, spec))
    }
}

/// Trying again would not help.
fn is_final(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unsupported | ErrorKind::Invalid)
}

fn name_of_service(service: &Object) -> Vec<String> {
    vec![service.meta.key()]
}

/// Waits for one change and takes all that are there already: a burst about one service is one plan.
async fn next(changes: &mut Receiver<Change>, names_of: fn(&Object) -> Vec<String>) -> Woken {
    let mut names = BTreeSet::new();
    match changes.recv().await {
        Ok(change) => note(&change, names_of, &mut names),
        Err(RecvError::Lagged(_)) => return Woken::Everything,
        Err(RecvError::Closed) => return Woken::Over,
    }
    loop {
        match changes.try_recv() {
            Ok(change) => note(&change, names_of, &mut names),
            Err(TryRecvError::Lagged(_)) => return Woken::Everything,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Woken::Touched(names),
        }
    }
}

fn note(change: &Change, names_of: fn(&Object) -> Vec<String>, names: &mut BTreeSet<String>) {
    match change {
        Change::Upsert { old, new } => {
            names.extend(old.iter().flat_map(|old| names_of(old)));
            names.extend(names_of(new));
        }
        Change::Delete { old } => names.extend(names_of(old)),
    }
}

#[cfg(test)]
mod tests;

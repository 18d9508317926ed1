//! Keeps the zone at what the API says.
//!
//! ```text
//! services, slices ──change──► services touched ──► records::of_service ──differs──► zone.update
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use client::{Change, Informer, Object};
use kinds::core::Service;
use kinds::discovery::EndpointSlice;
use tokio::sync::broadcast::{Receiver, error::RecvError, error::TryRecvError};
use tokio::sync::watch;

use crate::records::{self, Names};
use crate::zone::Zone;

/// The index that the informer of EndpointSlices must have, with [`service_of_slice`].
pub const BY_SERVICE: &str = "service";
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// `namespace/name` of the service that a slice belongs to: the key of [`BY_SERVICE`].
pub fn service_of_slice(slice: &Object) -> Vec<String> {
    let name = slice.meta.labels.get(SERVICE_NAME_LABEL);
    name.map(|name| format!("{}/{name}", slice.meta.namespace)).into_iter().collect()
}

pub(crate) struct Watcher {
    pub(crate) zone: Arc<Zone>,
    pub(crate) services: Arc<Informer>,
    pub(crate) slices: Arc<Informer>,
    /// Turns true when the zone is complete for the first time.
    pub(crate) ready: watch::Sender<bool>,
}

/// What each service said last.
type Said = HashMap<Arc<str>, Names>;

impl Watcher {
    pub(crate) async fn run(self) {
        let (mut service_changes, mut slice_changes) = (self.services.changes(), self.slices.changes());
        self.services.synced().await;
        self.slices.synced().await;
        let mut said = Said::new();
        self.say_all(&mut said);
        self.ready.send_replace(true);
        loop {
            let touched = tokio::select! {
                touched = next(&mut service_changes, |service| vec![service.meta.key()]) => touched,
                touched = next(&mut slice_changes, service_of_slice) => touched,
            };
            match touched {
                Ok(names) => names.iter().for_each(|name| self.say(name, &mut said)),
                Err(RecvError::Lagged(_)) => self.say_all(&mut said),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn say_all(&self, said: &mut Said) {
        let mut names: BTreeSet<String> = said.keys().map(ToString::to_string).collect();
        names.extend(self.services.store.all().iter().map(|service| service.meta.key()));
        names.iter().for_each(|name| self.say(name, said));
    }

    fn say(&self, name: &str, said: &mut Said) {
        let owner: Arc<str> = name.into();
        let new = self.names_of(name);
        let old = said.get(&owner);
        self.zone.update(&owner, old.unwrap_or(&Names::new()), &new);
        if new.is_empty() {
            said.remove(&owner);
        } else {
            said.insert(owner, new);
        }
    }

    fn names_of(&self, name: &str) -> Names {
        let Some(service) = self.services.store.get(name) else { return Names::new() };
        let service = match service.lens::<Service>() {
            Ok(service) => service,
            Err(error) => {
                tracing::warn!(service = name, %error, "unreadable service: it has no name in the cluster");
                return Names::new();
            }
        };
        let slices = self.slices.store.by(BY_SERVICE, name);
        let readable = |slice: &Arc<Object>| {
            slice.lens::<EndpointSlice>().inspect_err(|error| tracing::warn!(?slice, %error, "unreadable endpoint slice")).ok()
        };
        let slices: Vec<Arc<EndpointSlice>> = slices.iter().filter_map(readable).collect();
        records::of_service(&service, slices.iter().map(Arc::as_ref), &self.zone.services)
    }
}

/// Waits for one change and takes all that are there already.
async fn next(changes: &mut Receiver<Change>, names_of: fn(&Object) -> Vec<String>) -> Result<BTreeSet<String>, RecvError> {
    let mut names = BTreeSet::new();
    let mut note = |change: Change| {
        if let Change::Upsert { old: Some(old), .. } = &change {
            names.extend(names_of(old));
        }
        names.extend(names_of(change.object()));
    };
    note(changes.recv().await?);
    loop {
        match changes.try_recv() {
            Ok(change) => note(change),
            Err(TryRecvError::Lagged(count)) => return Err(RecvError::Lagged(count)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(names),
        }
    }
}

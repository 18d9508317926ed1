//! What each pod's task last said of itself: read by the API on the node, which can also wait for the next word.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use kinds::core::{Pod, PodStatus};
use tokio::sync::watch;

#[derive(Clone, Debug, PartialEq)]
pub struct ContainerEntry {
    pub name: String,
    /// Of what runs now.
    pub running_id: Option<String>,
    pub restarts: u32,
    /// It runs or has run: there is a log.
    pub has_run: bool,
    pub has_previous: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PodEntry {
    pub pod: Arc<Pod>,
    pub status: PodStatus,
    pub containers: Vec<ContainerEntry>,
    /// None: the host's network, or no sandbox.
    pub netns: Option<PathBuf>,
    pub sandbox_ready: bool,
    /// Of a part of the system: its log, which is not in CRI format.
    pub plain_log: Option<PathBuf>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pods: RwLock<HashMap<String, watch::Sender<Arc<PodEntry>>>>,
    /// Uid of the pod by container id.
    owners: RwLock<HashMap<String, String>>,
}

impl Registry {
    pub fn put(&self, entry: PodEntry) {
        let mut pods = self.0.pods.write().expect("no holder panics");
        match pods.get(&entry.pod.metadata.uid) {
            Some(held) if **held.borrow() == entry => {}
            Some(held) => {
                held.send_replace(Arc::new(entry));
            }
            None => {
                pods.insert(entry.pod.metadata.uid.clone(), watch::channel(Arc::new(entry)).0);
            }
        }
    }

    pub fn remove(&self, uid: &str) {
        self.0.pods.write().expect("no holder panics").remove(uid);
        self.0.owners.write().expect("no holder panics").retain(|_, owner| owner != uid);
    }

    /// A container of this pod is about to start, or was found running.
    pub fn claim(&self, container_id: &str, uid: &str) {
        self.0.owners.write().expect("no holder panics").insert(container_id.into(), uid.into());
    }

    /// Its end has been seen.
    pub fn release(&self, container_id: &str) {
        self.0.owners.write().expect("no holder panics").remove(container_id);
    }

    /// Uid of the pod that claimed the container.
    pub fn owner(&self, container_id: &str) -> Option<String> {
        self.0.owners.read().expect("no holder panics").get(container_id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<PodEntry>> {
        self.0.pods.read().expect("no holder panics").values().map(|held| Arc::clone(&held.borrow())).collect()
    }

    /// By name; the youngest where an old one of the same name is still ending.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<PodEntry>> {
        let is = |entry: &Arc<PodEntry>| entry.pod.metadata.namespace == namespace && entry.pod.metadata.name == name;
        self.all().into_iter().filter(is).max_by_key(|entry| entry.pod.metadata.creation_timestamp.clone())
    }

    /// The pod's words from now on; it closes when the pod is gone.
    pub fn subscribe(&self, uid: &str) -> Option<watch::Receiver<Arc<PodEntry>>> {
        self.0.pods.read().expect("no holder panics").get(uid).map(watch::Sender::subscribe)
    }
}

impl PodEntry {
    pub fn container(&self, name: &str) -> Option<&ContainerEntry> {
        self.containers.iter().find(|container| container.name == name)
    }
}

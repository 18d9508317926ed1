//! What every pod's task shares.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::events::{Recorder, Reference};
use client::{Client, Informer};
use env::Env;
use kinds::core::{Pod, Service};

use crate::config::{AgentConfig, Drivers};
use crate::downward::Surroundings;
use crate::environment::service_variables;
use crate::files::Dns;
use crate::inotify::Inotify;
use crate::machine::Capacity;
use crate::objects::References;
use crate::registry::Registry;
use crate::status_writer::StatusWriter;
use crate::tokens::TokenManager;

pub(crate) struct Context {
    pub config: AgentConfig,
    pub drivers: Drivers,
    pub env: Env,
    pub client: Client,
    pub recorder: Recorder,
    pub references: References,
    pub tokens: TokenManager,
    pub services: Arc<Informer>,
    pub status: StatusWriter,
    pub registry: Registry,
    pub capacity: Capacity,
    pub host_dns: Dns,
    /// None where no file is written (fakes), or the kernel gave none.
    pub inotify: Option<Inotify>,
}

impl Context {
    pub(crate) fn surroundings(&self, pod_ips: &[String]) -> Surroundings {
        Surroundings {
            host_ip: self.config.node_ip.to_string(),
            pod_ips: pod_ips.to_vec(),
            cpu_millis: self.capacity.cpu_millis,
            memory_bytes: self.capacity.memory_bytes,
        }
    }

    /// Variables of the services that exist right now.
    pub(crate) async fn service_variables(&self, pod: &Pod) -> BTreeMap<String, String> {
        self.services.synced().await;
        let all: Vec<Arc<Service>> = self.services.store.all().iter().filter_map(|object| object.lens::<Service>().ok()).collect();
        service_variables(all.iter().map(AsRef::as_ref), &pod.metadata.namespace, pod.spec.enable_service_links != Some(false))
    }

    pub(crate) fn about(&self, pod: &Pod) -> Reference {
        Reference::to("v1", "Pod", &pod.metadata)
    }

    /// An event about one container.
    pub(crate) fn about_container(&self, pod: &Pod, name: &str) -> Reference {
        let is = |list: &[kinds::core::Container]| list.iter().any(|container| container.name == name);
        let field = match () {
            () if is(&pod.spec.containers) => "containers",
            () if is(&pod.spec.init_containers) => "initContainers",
            () => "ephemeralContainers",
        };
        self.about(pod).field(format!("spec.{field}{{{name}}}"))
    }
}

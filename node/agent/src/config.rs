//! What the agent must be told: names, addresses, folders and limits. Nothing here is read from the environment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use contract::{Images, PodNet, Runtime, Volumes};
use kinds::core::Taint;
use stdx::Instance;

/// The drivers that do what the agent decides.
#[derive(Clone)]
pub struct Drivers {
    pub runtime: Arc<dyn Runtime>,
    pub images: Arc<dyn Images>,
    pub volumes: Arc<dyn Volumes>,
    pub podnet: Arc<dyn PodNet>,
}

/// One node's settings. [`AgentConfig::new`] fills all but the first three with what upstream does.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub node_name: String,
    pub node_ip: IpAddr,
    pub instance: Instance,
    /// Of the API on the node, advertised in the node's status.
    pub port: u16,
    pub dns_ip: IpAddr,
    pub cluster_domain: String,
    /// What pods with `dnsPolicy: Default` and the cluster DNS forward to.
    pub host_resolv_conf: PathBuf,
    pub max_pods: u32,
    /// Processes of one pod; None: as many as the machine bears.
    pub pod_pids_limit: Option<i64>,
    /// None: what /proc says.
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// Beside the ones that every node has.
    pub labels: BTreeMap<String, String>,
    /// At registration only.
    pub taints: Vec<Taint>,
    /// The release that we answer as: `v1.37.0`.
    pub kubelet_version: String,
    /// `corten://0.1.0`
    pub runtime_version: String,
    pub log_bytes_max: u64,
    pub log_files_max: u32,
    /// Pods make a user-visible promise through these; off on fakes, where nothing needs a file.
    pub write_files: bool,
}

impl AgentConfig {
    pub fn new(node_name: &str, node_ip: IpAddr, instance: Instance) -> Self {
        Self {
            node_name: node_name.into(),
            node_ip,
            port: instance.agent_port(),
            dns_ip: instance.dns_ip().into(),
            cluster_domain: "cluster.local".into(),
            host_resolv_conf: "/etc/resolv.conf".into(),
            max_pods: 110,
            pod_pids_limit: Some(4096),
            cpu_millis: None,
            memory_bytes: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            kubelet_version: "v1.37.0".into(),
            runtime_version: concat!("corten://", env!("CARGO_PKG_VERSION")).into(),
            log_bytes_max: 10 << 20,
            log_files_max: 5,
            write_files: true,
            instance,
        }
    }

    /// Everything of one pod that is no volume: hosts, resolv.conf, termination messages.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.instance.node_dir().join("pods").join(uid)
    }

    /// Folder of a pod's logs, one folder a container in it.
    pub fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.instance.node_dir().join("pods-log").join(format!("{namespace}_{name}_{uid}"))
    }
}

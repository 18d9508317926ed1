//! Which pods a Service picks, at which ports, in which condition. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use kinds::core::{ObjectReference, Pod, Service, ServicePort};
use kinds::discovery::{Endpoint, EndpointConditions, EndpointPort};
use kinds::lens::IntOrString;

use crate::pods;

/// Pods that a Service's ports resolve to the same numbers for.
pub type Groups = BTreeMap<PortKey, Vec<Target>>;
/// (name, protocol, number, appProtocol) in the Service's order.
pub type PortKey = Vec<(String, String, i32, Option<String>)>;

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub pod: Arc<Pod>,
    pub ip: String,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    /// Where the pod's own DNS name points at this service.
    pub hostname: Option<String>,
}

/// A Service whose endpoints are made by us.
pub fn is_selecting(service: &Service) -> bool {
    !service.spec.selector.is_empty() && service.spec.r#type != "ExternalName"
}

pub fn is_headless(service: &Service) -> bool {
    service.spec.cluster_ip == "None"
}

pub fn selects(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    is_selecting(service) && service.spec.selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The selected pods by their resolved ports. `pods`: those that the selector matches.
pub fn groups(service: &Service, pods: &[Arc<Pod>]) -> Groups {
    let mut groups = Groups::new();
    for pod in pods {
        let Some(target) = target(service, pod) else { continue };
        groups.entry(ports(service, pod)).or_default().push(target);
    }
    for targets in groups.values_mut() {
        targets.sort_by_key(|target| target.ip.parse::<Ipv4Addr>().ok());
    }
    groups
}

fn target(service: &Service, pod: &Arc<Pod>) -> Option<Target> {
    if pods::is_finished(pod) {
        return None;
    }
    let first = pod.status.pod_ips.iter().map(|one| one.ip.as_str()).find(|ip| ip.parse::<Ipv4Addr>().is_ok())?;
    let terminating = pod.metadata.is_deleting();
    let serving = pods::is_ready(pod);
    let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    Some(Target {
        pod: Arc::clone(pod),
        ip: first.to_owned(),
        ready: service.spec.publish_not_ready_addresses || (serving && !terminating),
        serving,
        terminating,
        hostname: named.then(|| pod.spec.hostname.clone()),
    })
}

/// A named target port that the pod does not have is left out.
fn ports(service: &Service, pod: &Pod) -> PortKey {
    let resolved = service.spec.ports.iter().filter_map(|port| {
        let number = port_number(port, pod)?;
        Some((port.name.clone(), port.protocol.clone(), number, port.app_protocol.clone()))
    });
    resolved.collect()
}

fn port_number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        IntOrString::Int(0) => Some(port.port),
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let sidecars = pod.spec.init_containers.iter().filter(|one| one.restart_policy.as_deref() == Some("Always"));
            let all = pod.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
            all.into_iter().find(|one| one.name == *name && one.protocol == port.protocol).map(|one| one.container_port)
        }
    }
}

pub fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: "Pod".into(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

impl Target {
    pub fn to_endpoint(&self) -> Endpoint {
        Endpoint {
            addresses: vec![self.ip.clone()],
            conditions: EndpointConditions { ready: Some(self.ready), serving: Some(self.serving), terminating: Some(self.terminating) },
            hostname: self.hostname.clone(),
            target_ref: Some(reference(&self.pod)),
            node_name: Some(self.pod.spec.node_name.clone()).filter(|name| !name.is_empty()),
            ..Endpoint::default()
        }
    }
}

pub fn to_ports(key: &PortKey) -> Vec<EndpointPort> {
    let port = |(name, protocol, number, app): &(String, String, i32, Option<String>)| EndpointPort {
        name: Some(name.clone()),
        protocol: Some(protocol.clone()),
        port: Some(*number),
        app_protocol: app.clone(),
    };
    key.iter().map(port).collect()
}

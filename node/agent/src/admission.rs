//! What this node refuses to run, with upstream's reasons; what it cannot do is named by its field. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kinds::core::{ContainerPort, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration, Volume};

use crate::resources::requested;
use crate::slot::{Why, containers};

/// What admission knows of the node.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub max_pods: u64,
}

/// What the admitted pods take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pods: BTreeMap<String, Share>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Share {
    cpu_millis: u64,
    memory_bytes: u64,
    ports: BTreeSet<HostPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HostPort {
    protocol: String,
    port: i32,
    ip: String,
}

impl Taken {
    pub fn add(&mut self, pod: &Pod) {
        let share =
            Share { cpu_millis: requested(&pod.spec, "cpu"), memory_bytes: requested(&pod.spec, "memory"), ports: host_ports(&pod.spec) };
        self.pods.insert(pod.metadata.uid.clone(), share);
    }

    pub fn remove(&mut self, uid: &str) {
        self.pods.remove(uid);
    }
}

/// Why `pod` may not run here, given everyone else.
pub fn admit(pod: &Pod, node: &NodeFacts, taken: &Taken) -> Result<(), Why> {
    if let Some(field) = unsupported(&pod.spec) {
        return Err(Why::new("UnsupportedField", format!("Pod was rejected: this node does not support {field}")));
    }
    if let Some(os) = pod.spec.os.as_ref().filter(|os| os.name != "linux") {
        let message = format!("Failed to admit pod as the OS field doesn't match node OS: {} is not linux", os.name);
        return Err(Why::new("PodOSNotSupported", message));
    }
    fits(pod, node, taken)?;
    ports_free(pod, taken)?;
    if !selected(&pod.spec, node) {
        return Err(Why::new(
            "NodeAffinity",
            "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ));
    }
    tolerates(&pod.spec, node)
}

fn fits(pod: &Pod, node: &NodeFacts, taken: &Taken) -> Result<(), Why> {
    let others = || taken.pods.iter().filter(|(uid, _)| **uid != pod.metadata.uid).map(|(_, share)| share);
    let cpu = (requested(&pod.spec, "cpu"), others().map(|share| share.cpu_millis).sum(), node.cpu_millis);
    let memory = (requested(&pod.spec, "memory"), others().map(|share| share.memory_bytes).sum(), node.memory_bytes);
    for (name, (asked, used, capacity)) in [("pods", (1, others().count() as u64, node.max_pods)), ("cpu", cpu), ("memory", memory)] {
        if asked > 0 && used + asked > capacity {
            let message = format!(
                "Pod was rejected: Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
            );
            return Err(Why::new(&format!("OutOf{name}"), message));
        }
    }
    Ok(())
}

fn ports_free(pod: &Pod, taken: &Taken) -> Result<(), Why> {
    let wanted = host_ports(&pod.spec);
    let others = taken.pods.iter().filter(|(uid, _)| **uid != pod.metadata.uid).flat_map(|(_, share)| &share.ports);
    for held in others {
        if wanted.iter().any(|port| collide(port, held)) {
            return Err(Why::new(
                "NodePorts",
                "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            ));
        }
    }
    Ok(())
}

fn collide(a: &HostPort, b: &HostPort) -> bool {
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    a.protocol == b.protocol && a.port == b.port && (any(&a.ip) || any(&b.ip) || a.ip == b.ip)
}

fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let port = |port: &ContainerPort| HostPort {
        protocol: if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() },
        port: if spec.host_network && port.host_port == 0 { port.container_port } else { port.host_port },
        ip: port.host_ip.clone(),
    };
    containers(spec).flat_map(|(container, _)| &container.ports).map(port).filter(|port| port.port > 0).collect()
}

fn selected(spec: &PodSpec, node: &NodeFacts) -> bool {
    let plain = spec.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    plain && required.is_none_or(|NodeSelector { node_selector_terms }| node_selector_terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &NodeSelectorTerm, node: &NodeFacts) -> bool {
    let label = |requirement: &NodeSelectorRequirement| requirement_matches(requirement, node.labels.get(&requirement.key));
    let field = |requirement: &NodeSelectorRequirement| {
        requirement_matches(requirement, Some(&node.name).filter(|_| requirement.key == "metadata.name"))
    };
    let is_empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
    !is_empty && term.match_expressions.iter().all(label) && term.match_fields.iter().all(field)
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let is_in = value.is_some_and(|value| requirement.values.contains(value));
    let number = |text: &String| text.parse::<i64>().ok();
    let bound = requirement.values.first().and_then(number);
    match requirement.operator.as_str() {
        "In" => is_in,
        "NotIn" => !is_in,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Only NoExecute counts here: the scheduler has judged the rest.
fn tolerates(spec: &PodSpec, node: &NodeFacts) -> Result<(), Why> {
    let tolerated = |taint: &Taint| spec.tolerations.iter().any(|toleration| matches(toleration, taint));
    match node.taints.iter().find(|taint| taint.effect == "NoExecute" && !tolerated(taint)) {
        Some(taint) => {
            let message = format!(
                "Pod was rejected: Predicate TaintToleration failed: node(s) had untolerated taint {{{}: {}}}",
                taint.key, taint.value
            );
            Err(Why::new("TaintToleration", message))
        }
        None => Ok(()),
    }
}

fn matches(toleration: &Toleration, taint: &Taint) -> bool {
    (toleration.effect.is_empty() || toleration.effect == taint.effect)
        && (toleration.key.is_empty() && toleration.operator == "Exists" || toleration.key == taint.key)
        && (toleration.operator == "Exists" || toleration.value == taint.value)
}

/// The first field whose promise this node cannot keep.
pub fn unsupported(spec: &PodSpec) -> Option<String> {
    let security = spec.security_context.clone().unwrap_or_default();
    let fields = [
        ("spec.hostUsers: false (user namespaces)", spec.host_users == Some(false)),
        ("spec.runtimeClassName", spec.runtime_class_name.is_some()),
        ("spec.resourceClaims", !spec.resource_claims.is_empty()),
        ("spec.securityContext.seLinuxOptions", security.se_linux_options.is_some()),
        ("spec.securityContext.windowsOptions", security.windows_options.is_some()),
        ("spec.securityContext.appArmorProfile", confines(security.app_armor_profile.as_ref().map(|profile| profile.r#type.as_str()))),
        ("spec.securityContext.supplementalGroupsPolicy: Strict", security.supplemental_groups_policy.as_deref() == Some("Strict")),
    ];
    let own = fields.into_iter().find(|(_, asked)| *asked).map(|(field, _)| field.to_owned());
    own.or_else(|| sysctl(spec)).or_else(|| volume(spec)).or_else(|| container_field(spec))
}

fn confines(app_armor: Option<&str>) -> bool {
    app_armor.is_some_and(|profile| !matches!(profile, "Unconfined" | "RuntimeDefault"))
}

/// Sysctls that a pod's own namespaces isolate; upstream's allow-list.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctl(spec: &PodSpec) -> Option<String> {
    let sysctls = spec.security_context.as_ref().map(|security| security.sysctls.as_slice()).unwrap_or_default();
    let isolated = |name: &str| if name.starts_with("net.") { !spec.host_network } else { !spec.host_ipc };
    let refused: Vec<&str> = sysctls
        .iter()
        .map(|sysctl| sysctl.name.as_str())
        .filter(|name| !SAFE_SYSCTLS.contains(&name.replace('/', ".").as_str()) || !isolated(name))
        .collect();
    (!refused.is_empty()).then(|| format!("spec.securityContext.sysctls: forbidden sysctl: {} not allowlisted", refused.join(", ")))
}

fn volume(spec: &PodSpec) -> Option<String> {
    let refused = |(index, volume): (usize, &Volume)| unsupported_volume(volume).map(|source| format!("spec.volumes[{index}].{source}"));
    spec.volumes.iter().enumerate().find_map(refused)
}

/// The source of `volume` that nobody mounts here.
pub fn unsupported_volume(volume: &Volume) -> Option<&'static str> {
    let huge_pages = volume.empty_dir.as_ref().is_some_and(|dir| dir.medium.starts_with("HugePages"));
    let projected = volume.projected.iter().flat_map(|projected| &projected.sources);
    let mut projected = projected.map(|source| (source.cluster_trust_bundle.is_some(), source.pod_certificate.is_some()));
    let odd = projected.find(|(bundle, certificate)| *bundle || *certificate);
    let sources = [
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("csi", volume.csi.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("fc", volume.fc.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("emptyDir.medium: HugePages", huge_pages),
        ("projected.sources.clusterTrustBundle", odd.is_some_and(|(bundle, _)| bundle)),
        ("projected.sources.podCertificate", odd.is_some_and(|(_, certificate)| certificate)),
    ];
    sources.into_iter().find(|(_, asked)| *asked).map(|(source, _)| source)
}

fn container_field(spec: &PodSpec) -> Option<String> {
    for (container, _) in containers(spec) {
        let has_host_port = !spec.host_network && container.ports.iter().any(|port| port.host_port > 0);
        let security = container.security_context.clone().unwrap_or_default();
        let huge = |name: &String| name.starts_with("hugepages-");
        let fields = [
            ("ports.hostPort without spec.hostNetwork", has_host_port),
            ("volumeDevices", !container.volume_devices.is_empty()),
            ("resources.claims", !container.resources.claims.is_empty()),
            ("resources: hugepages", container.resources.limits.keys().any(huge)),
            ("securityContext.seLinuxOptions", security.se_linux_options.is_some()),
            ("securityContext.windowsOptions", security.windows_options.is_some()),
            ("securityContext.appArmorProfile", confines(security.app_armor_profile.as_ref().map(|profile| profile.r#type.as_str()))),
            (
                "env.valueFrom.fileKeyRef",
                container.env.iter().any(|env| env.value_from.as_ref().is_some_and(|from| from.file_key_ref.is_some())),
            ),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, asked)| *asked) {
            return Some(format!("container {:?}: {field}", container.name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn pod(uid: &str, spec: schema::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}, "spec": spec})).unwrap()
    }

    fn node() -> NodeFacts {
        let labels = BTreeMap::from([("zone".into(), "a".into()), ("size".into(), "5".into())]);
        let taint = Taint { key: "gone".into(), effect: "NoExecute".into(), ..Taint::default() };
        NodeFacts { name: "n1".into(), labels, taints: vec![taint], cpu_millis: 2000, memory_bytes: 1 << 30, max_pods: 2 }
    }

    #[test]
    fn reasons() {
        let mut taken = Taken::default();
        taken.add(&pod("held", json!({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"hostPort": 80, "containerPort": 80}], "resources": {"requests": {"cpu": "1500m"}}}]})));
        let affinity = |operator: &str, values: schema::Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}]}}}})
        };
        for (mut spec, want) in [
            (json!({}), ""),
            (json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}), "OutOfcpu"),
            (json!({"containers": [{"name": "a", "resources": {"requests": {"memory": "2Gi"}}}]}), "OutOfmemory"),
            (json!({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"hostPort": 80}]}]}), "NodePorts"),
            (json!({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"hostPort": 80, "hostIP": "127.0.0.1"}]}]}), "NodePorts"),
            (json!({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"hostPort": 80, "protocol": "UDP"}]}]}), ""),
            (json!({"containers": [{"name": "a", "ports": [{"hostPort": 81}]}]}), "UnsupportedField"),
            (json!({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}), "NodePorts"),
            (json!({"nodeSelector": {"zone": "b"}}), "NodeAffinity"),
            (affinity("Gt", json!(["4"])), ""),
            (affinity("Lt", json!(["4"])), "NodeAffinity"),
            (json!({"os": {"name": "windows"}}), "PodOSNotSupported"),
            (json!({"hostUsers": false}), "UnsupportedField"),
            (json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}), "UnsupportedField"),
            (json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}), "UnsupportedField"),
            (json!({"tolerations": []}), "TaintToleration"),
        ] {
            if spec.get("tolerations").is_none() {
                spec["tolerations"] = json!([{"operator": "Exists"}]);
            }
            let got = admit(&pod("new", spec.clone()), &node(), &taken).map_err(|why| why.reason).err().unwrap_or_default();
            assert_eq!(got, want, "{spec}");
        }
        taken.add(&pod("second", json!({})));
        assert_eq!(admit(&pod("third", json!({})), &node(), &taken).unwrap_err().reason, "OutOfpods");
        assert!(
            admit(&pod("second", json!({"tolerations": [{"key": "gone", "operator": "Exists"}]})), &node(), &taken).is_ok(),
            "a pod does not count itself"
        );
    }

    #[test]
    fn a_refusal_names_the_field() {
        let pod = pod("p", json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "nfs": {"server": "x"}}]}));
        let why = admit(&pod, &node(), &Taken::default()).unwrap_err();
        assert_eq!(why.message, "Pod was rejected: this node does not support spec.volumes[1].nfs");
    }
}

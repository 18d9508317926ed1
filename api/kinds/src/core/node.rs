//! Node: a machine that runs pods.

use schema::field::Reason;
use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json, names};
use serde::{Deserialize, Serialize};

use crate::cells::{AGE, NAME, condition, or_none};
use crate::core::pod::rules::{requirements, scheduling};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Selectable, Sub, same};
use crate::lens::{Resources, is_default, null_default, quantities};
use crate::rules::{cidr, qualified_name};

const NODE_INFO: &[&str] = &[
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
];

/// A machine that runs pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub spec: NodeSpec,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub status: NodeStatus,
}

impl Kind for Node {
    const META: Meta = Meta {
        empty_status: "",
        short: &["no"],
        subresources: &[Sub::proxy("NodeProxyOptions"), Sub::STATUS],
        ..Meta::cluster("", "Node", "nodes")
    };
    const NOTHING: &[Question] = &[Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Status", status),
        Col::of("Roles", roles),
        AGE,
        Col::path("Version", "status.nodeInfo.kubeletVersion"),
        Col::of("Internal-IP", |doc| or_none(address(doc, "InternalIP"))).wide(),
        Col::of("External-IP", |doc| or_none(address(doc, "ExternalIP"))).wide(),
        Col::of("OS-Image", |doc| or_unknown(doc.str_at("status.nodeInfo.osImage"))).wide(),
        Col::of("Kernel-Version", |doc| or_unknown(doc.str_at("status.nodeInfo.kernelVersion"))).wide(),
        Col::of("Container-Runtime", |doc| or_unknown(doc.str_at("status.nodeInfo.containerRuntimeVersion"))).wide(),
    ];
    const FIELDS: &[Selectable] = &[Selectable::new("spec.unschedulable", |doc| doc.bool_at("spec.unschedulable").to_string())];

    fn fill_defaults(doc: &mut Value) {
        doc.default_at("spec", json!({}));
        doc.default_at("status", json!({}));
        pod_cidrs(&mut doc["spec"]);
        if let Some(capacity) = doc.map_at("status.capacity").cloned() {
            doc.default_at("status.allocatable", capacity);
        }
        doc.default_at("status.daemonEndpoints.kubeletEndpoint.Port", 0);
        for member in NODE_INFO {
            doc.default_at(&format!("status.nodeInfo.{member}"), "");
        }
        for condition in doc.items_at_mut("status.conditions") {
            condition.default_at("lastHeartbeatTime", Value::Null);
            condition.default_at("lastTransitionTime", Value::Null);
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        taints(new.items_at("spec.taints"), &Path::new("metadata.taints"), errors);
        check_amounts(new, errors);
        check_cidrs(new.items_at("spec.podCIDRs"), &Path::new("spec.podCIDRs"), errors);
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        // Upstream checks a changed node as a node, and then its taints once more.
        taints(new.items_at("spec.taints"), &Path::new("metadata.taints"), errors);
        let path = Path::new("spec");
        let before = old.items_at("spec.podCIDRs");
        if !before.is_empty() && before != new.items_at("spec.podCIDRs") {
            errors.forbidden(&path.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
        }
        let before = old.str_at("spec.providerID");
        if !before.is_empty() && before != new.str_at("spec.providerID") {
            errors.forbidden(&path.child("providerID"), "node updates may not change providerID except from \"\" to valid");
        }
        if new.str_at("spec.externalID") != old.str_at("spec.externalID") {
            errors.forbidden(&path.child("externalID"), "may not be updated");
        }
        if !same(&guarded(new, old), &guarded(old, old)) {
            errors.forbidden(&Path::new("[]"), "node updates may only change labels, taints, or capacity");
        }
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource != "status" {
            return;
        }
        check_amounts(new, errors);
        let addresses = new.items_at("status.addresses");
        for (at, address) in addresses.iter().enumerate() {
            if addresses[..at].contains(address) {
                errors.duplicate(&Path::new("status.addresses").index(at), address.clone());
            }
        }
    }
}

/// The spec less what an update may change: always these, and what may be set once while `old` has none.
fn guarded(node: &Value, old: &Value) -> Value {
    let mut spec = node["spec"].clone();
    let Some(members) = spec.as_object_mut() else { return Value::Null };
    for free in ["taints", "unschedulable", "configSource"] {
        members.remove(free);
    }
    if old.items_at("spec.podCIDRs").is_empty() {
        members.remove("podCIDR");
        members.remove("podCIDRs");
    }
    if old.str_at("spec.providerID").is_empty() {
        members.remove("providerID");
    }
    spec
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDR", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub pod_cidr: String,
    #[serde(rename = "podCIDRs", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub pod_cidrs: Vec<String>,
    #[serde(rename = "providerID", deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub provider_id: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub unschedulable: bool,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(deserialize_with = "null_default")]
    pub effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    #[serde(with = "quantities", skip_serializing_if = "is_default")]
    pub capacity: Resources,
    #[serde(with = "quantities", skip_serializing_if = "is_default")]
    pub allocatable: Resources,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub phase: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub conditions: Vec<NodeCondition>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub addresses: Vec<NodeAddress>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub daemon_endpoints: NodeDaemonEndpoints,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub node_info: NodeSystemInfo,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub images: Vec<ContainerImage>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub volumes_in_use: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCondition {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reason: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAddress {
    /// `Hostname`, `InternalIP`, `ExternalIP` …
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeDaemonEndpoints {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub kubelet_endpoint: DaemonEndpoint,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonEndpoint {
    #[serde(rename = "Port", deserialize_with = "null_default")]
    pub port: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSystemInfo {
    #[serde(rename = "machineID", deserialize_with = "null_default")]
    pub machine_id: String,
    #[serde(rename = "systemUUID", deserialize_with = "null_default")]
    pub system_uuid: String,
    #[serde(rename = "bootID", deserialize_with = "null_default")]
    pub boot_id: String,
    #[serde(deserialize_with = "null_default")]
    pub kernel_version: String,
    #[serde(deserialize_with = "null_default")]
    pub os_image: String,
    #[serde(deserialize_with = "null_default")]
    pub container_runtime_version: String,
    #[serde(deserialize_with = "null_default")]
    pub kubelet_version: String,
    #[serde(deserialize_with = "null_default")]
    pub kube_proxy_version: String,
    #[serde(deserialize_with = "null_default")]
    pub operating_system: String,
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerImage {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub names: Vec<String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub size_bytes: i64,
}

/// `podCIDR` and the first of `podCIDRs` say the same; the list wins.
fn pod_cidrs(spec: &mut Value) {
    let (one, first) = (spec.str_at("podCIDR").to_owned(), spec.items_at("podCIDRs").first().cloned());
    match first {
        Some(first) => spec.set_at("podCIDR", first),
        None if !one.is_empty() => spec.set_at("podCIDRs", vec![one]),
        None => {}
    }
}

fn taints(taints: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (at, taint) in taints.iter().enumerate() {
        let (path, key, effect, value) = (path.index(at), taint.str_at("key"), taint.str_at("effect"), taint.str_at("value"));
        qualified_name(key, &path.child("key"), errors);
        let wrong = names::is_label_value(value);
        if !wrong.is_empty() {
            errors.invalid(&path.child("value"), value, &wrong.join(";"));
        }
        scheduling::taint_effect(effect, &path.child("effect"), errors);
        if seen.contains(&(key, effect)) {
            let text = format!("Duplicate value: {taint}: taints must be unique by key and effect pair");
            errors.add(&path, Reason::Duplicate, text);
        }
        seen.push((key, effect));
    }
}

fn check_amounts(doc: &Value, errors: &mut FieldErrors) {
    let status = doc.at("status").unwrap_or(&Value::Null);
    for member in ["capacity", "allocatable"] {
        requirements::amounts(status, member, &Path::new("status"), errors);
    }
}

fn check_cidrs(ranges: &[Value], path: &Path, errors: &mut FieldErrors) {
    let texts: Vec<&str> = ranges.iter().filter_map(Value::as_str).collect();
    for (at, text) in texts.iter().enumerate() {
        cidr(text, &path.index(at), errors);
        if texts[..at].contains(text) {
            errors.duplicate(&path.index(at), *text);
        }
    }
    let has = |mark: char| texts.iter().any(|text| text.contains(mark));
    if texts.len() > 2 || (texts.len() == 2 && !(has('.') && has(':'))) {
        errors.invalid(path, ranges.to_vec(), "may specify no more than one CIDR for each IP family");
    }
}

fn status(doc: &Value) -> Value {
    let ready = match condition(doc, "Ready") {
        "" => "Unknown",
        "True" => "Ready",
        _ => "NotReady",
    };
    json!(if doc.bool_at("spec.unschedulable") { format!("{ready},SchedulingDisabled") } else { ready.to_owned() })
}

/// From the labels `node-role.kubernetes.io/<role>` and `kubernetes.io/role=<role>`.
fn roles(doc: &Value) -> Value {
    let labels = doc.map_at("metadata.labels").into_iter().flatten();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let roles: std::collections::BTreeSet<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    or_none(&roles.into_iter().collect::<Vec<_>>().join(","))
}

fn address<'a>(doc: &'a Value, sort: &str) -> &'a str {
    let found = doc.items_at("status.addresses").iter().find(|address| address.str_at("type") == sort);
    found.map(|address| address.str_at("address")).unwrap_or_default()
}

fn or_unknown(text: &str) -> Value {
    json!(if text.is_empty() { "<unknown>" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(old: Value, new: Value) -> Vec<String> {
        let mut errors = FieldErrors::default();
        Node::validate_update(&json!({"spec": new}), &json!({"spec": old}), &mut errors);
        errors.0.iter().map(|error| error.path.to_string()).collect()
    }

    #[test]
    fn an_update_changes_taints_and_sets_once_what_is_missing() {
        let fresh = json!({"providerID": "a", "podCIDRs": ["10.0.0.0/24"], "taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": true});
        assert_eq!(update(json!({}), fresh.clone()), [""; 0]);
        let mut moved = fresh.clone();
        moved["providerID"] = json!("b");
        assert_eq!(update(fresh, moved), ["spec.providerID", "[]"]);
    }
}

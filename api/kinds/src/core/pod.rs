//! Pod: containers that share a network and a life on one node.

pub mod affinity;
pub mod container;
pub(crate) mod defaults;
pub mod resources;
pub(crate) mod rules;
pub mod spec;
pub mod status;
mod table;
pub mod volume;
pub(crate) mod warnings;

use schema::{DocExt, FieldErrors, ObjectMeta, Path, Value, json};
use serde::Deserialize;

use self::spec::PodSpec;
use self::status::PodStatus;
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Selectable, Sub, copy_member};
use crate::lens::null_default;

/// Containers that share a network and a life on one node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub spec: PodSpec,
    #[serde(deserialize_with = "null_default")]
    pub status: PodStatus,
}

impl Kind for Pod {
    const META: Meta = Meta {
        short: &["po"],
        categories: &["all"],
        subresources: &[
            Sub::stream("attach", "PodAttachOptions"),
            Sub::create("binding", "", "Binding"),
            Sub::of_parent("ephemeralcontainers"),
            Sub::create("eviction", "policy", "Eviction"),
            Sub::stream("exec", "PodExecOptions"),
            Sub { name: "log", kind: None, verbs: &["get"] },
            Sub::stream("portforward", "PodPortForwardOptions"),
            Sub::proxy("PodProxyOptions"),
            Sub::of_parent("resize"),
            Sub::STATUS,
        ],
        generation: true,
        ..Meta::namespaced("", "Pod", "pods")
    };
    const COLUMNS: &[Col] = table::COLUMNS;
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.nodeName", |doc| doc.str_at("spec.nodeName").to_owned()),
        Selectable::new("spec.restartPolicy", |doc| doc.str_at("spec.restartPolicy").to_owned()),
        Selectable::new("spec.schedulerName", |doc| doc.str_at("spec.schedulerName").to_owned()),
        Selectable::new("spec.serviceAccountName", |doc| doc.str_at("spec.serviceAccountName").to_owned()),
        Selectable::new("spec.hostNetwork", |doc| doc.bool_at("spec.hostNetwork").to_string()),
        Selectable::new("status.phase", |doc| doc.str_at("status.phase").to_owned()),
        Selectable::new("status.podIP", |doc| pod_ips(doc).first().map(|ip| (*ip).to_owned()).unwrap_or_default()),
        Selectable::new("status.podIPs", |doc| pod_ips(doc).join(",")),
        Selectable::new("status.nominatedNodeName", |doc| doc.str_at("status.nominatedNodeName").to_owned()),
    ];

    fn fill_defaults(doc: &mut Value) {
        defaults::pod(doc);
    }

    fn prepare_create(doc: &mut Value, _cx: &WriteContext<'_>) {
        let class = resources::qos_class(&doc["spec"]);
        doc.set_at("status", json!({"phase": "Pending", "qosClass": class}));
        if !doc.items_at("spec.schedulingGates").is_empty() {
            doc.set_at("status.conditions", json!([gated()]));
        }
    }

    fn prepare_update(new: &mut Value, old: &Value, cx: &WriteContext<'_>) {
        match cx.subresource {
            "ephemeralcontainers" => only(new, old, &["ephemeralContainers"]),
            "resize" => only(new, old, &["containers", "initContainers", "resources"]),
            "" => copy_member(new, old, "spec.ephemeralContainers"),
            "status" => complete_status(&mut new["status"], &old["status"]),
            _ => {}
        }
    }

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        rules::pod(new, errors);
        if old.is_none() {
            rules::pod_create(new, errors);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        rules::update::pod(new, old, errors);
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        match cx.subresource {
            "status" => rules::update::status(new, old, errors),
            "ephemeralcontainers" => {
                rules::pod(new, errors);
                rules::update::ephemeral_containers(new, old, errors);
            }
            "resize" => {
                rules::pod(new, errors);
                rules::update::resize(new, old, errors);
            }
            _ => {}
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::of(new, &Path::root())
    }
}

/// The pod's addresses, from the list or the older single field.
fn pod_ips(doc: &Value) -> Vec<&str> {
    let listed: Vec<&str> = doc.items_at("status.podIPs").iter().map(|ip| ip.str_at("ip")).collect();
    let single = doc.str_at("status.podIP");
    if listed.is_empty() && !single.is_empty() { vec![single] } else { listed }
}

/// Takes these members of the spec from the write and everything else from the stored pod.
fn only(new: &mut Value, old: &Value, members: &[&str]) {
    let written = std::mem::replace(&mut new["spec"], old["spec"].clone());
    for member in members {
        copy_member(&mut new["spec"], &written, member);
    }
    copy_member(new, old, "status");
}

/// Why the scheduler does not look at a gated pod yet.
fn gated() -> Value {
    let message = "Scheduling is blocked due to non-empty scheduling gates";
    json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message})
}

/// A status writer need not know the quality of service, and may name the address once.
fn complete_status(status: &mut Value, old: &Value) {
    if status.str_at("qosClass").is_empty() {
        copy_member(status, old, "qosClass");
    }
    let (one, listed) = (status.str_at("podIP").to_owned(), status.items_at("podIPs").first().map(|ip| ip.str_at("ip").to_owned()));
    match listed {
        Some(first) if one.is_empty() => status.set_at("podIP", first),
        Some(first) if first == one => {}
        _ if one.is_empty() => {}
        _ => status.set_at("podIPs", json!([{"ip": one}])),
    }
}

//! NodeRestriction: a node (user `system:node:<name>` in group `system:nodes`) writes its own Node, the pods bound to it, its
//! own lease and tokens for its own pods, and nothing of any other node.

use async_trait::async_trait;
use schema::{DocExt, Status, Value};

use super::{Admission, Operation, Plugin};

pub struct NodeRestriction;

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels under these suffixes are the cluster's to give, but for a few that a kubelet knows best.
const RESERVED: &[&str] = &["kubernetes.io", "k8s.io"];
const KUBELET_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

#[async_trait]
impl Plugin for NodeRestriction {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let Some(node) = node_of(request) else { return Ok(()) };
        if request.is("", "nodes") {
            return own_node(request, &node, new, old);
        }
        if request.is("", "pods") {
            return own_pod(request, &node, new, old);
        }
        if request.is("coordination.k8s.io", "leases") {
            return own_lease(request, &node);
        }
        if request.is("storage.k8s.io", "csinodes") && request.name != node {
            return Err(request.forbidden("can only access CSINode with the same name as the requesting node"));
        }
        if request.is("resource.k8s.io", "resourceslices") {
            return own_slice(request, &node, new, old);
        }
        if request.is("certificates.k8s.io", "podcertificaterequests") {
            return own_certificate_request(request, &node, new);
        }
        if request.is("", "serviceaccounts") && request.subresource == "token" {
            return own_token(request, &node, new);
        }
        Ok(())
    }
}

/// The name of the node that asks; None where no node asks.
fn node_of(request: &Admission<'_>) -> Option<String> {
    let name = request.user.name.strip_prefix(USER_PREFIX)?;
    request.user.is_in(GROUP).then(|| name.to_owned())
}

fn own_node(request: &Admission<'_>, node: &str, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    if request.name != node {
        let what = if request.operation == Operation::Create { "create" } else { "modify" };
        return Err(request.forbidden(&format!("node {node:?} is not allowed to {what} node {:?}", request.name)));
    }
    let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
    if request.subresource.is_empty() && new.at("spec.taints") != old.at("spec.taints") {
        return Err(request.forbidden(&format!("node {node:?} is not allowed to modify taints")));
    }
    let changed = changed_labels(new, old);
    if changed.is_empty() {
        return Ok(());
    }
    Err(request.forbidden(&format!("is not allowed to modify labels: {}", changed.join(", "))))
}

/// Reserved labels that differ and that a kubelet may not set.
fn changed_labels(new: &Value, old: &Value) -> Vec<String> {
    let labels = |doc: &Value| doc.map_at("metadata.labels").cloned().unwrap_or_default();
    let (new, old) = (labels(new), labels(old));
    let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
    keys.filter(|key| new.get(*key) != old.get(*key) && is_reserved(key)).cloned().collect()
}

fn is_reserved(label: &str) -> bool {
    let Some((prefix, _)) = label.split_once('/') else { return false };
    let under = |domain: &str| prefix == domain || prefix.strip_suffix(domain).is_some_and(|head| head.ends_with('.'));
    let kubelets_own = under("kubelet.kubernetes.io") || under("node.kubernetes.io");
    RESERVED.iter().any(|domain| under(domain)) && !KUBELET_LABELS.contains(&label) && !kubelets_own
}

fn own_pod(request: &Admission<'_>, node: &str, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    let bound_to = |doc: Option<&Value>| doc.map(|doc| doc.str_at("spec.nodeName").to_owned()).unwrap_or_default();
    match request.operation {
        Operation::Create if request.subresource.is_empty() => {
            let mirror = new.and_then(|pod| pod.at("metadata.annotations")).and_then(|annotations| annotations.get(MIRROR));
            if mirror.is_none() {
                return Err(
                    request.forbidden(&format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"))
                );
            }
            if bound_to(new) == node {
                Ok(())
            } else {
                Err(request.forbidden(&format!("node {node:?} can only create pods with spec.nodeName set to itself")))
            }
        }
        Operation::Create if request.subresource == "eviction" => {
            let key = format!("/pods/{}/{}", request.namespace, request.name);
            let pod = request.core.cache.kind("/pods/").and_then(|pods| pods.get(&key));
            let pod = pod.ok_or_else(|| Status::not_found("", "pods", request.name))?;
            if *pod.node == *node {
                Ok(())
            } else {
                Err(request.forbidden(&format!("node {node:?} can only evict pods with spec.nodeName set to itself")))
            }
        }
        Operation::Update | Operation::Delete if bound_to(old) != node => {
            let what = if request.operation == Operation::Delete { "delete" } else { "update status for" };
            Err(request.forbidden(&format!("node {node:?} can only {what} pods with spec.nodeName set to itself")))
        }
        Operation::Update if request.subresource.is_empty() => Err(request.forbidden(&format!("node {node:?} can only update pod status"))),
        _ => Ok(()),
    }
}

fn own_lease(request: &Admission<'_>, node: &str) -> Result<(), Status> {
    if request.namespace != "kube-node-lease" {
        return Err(request.forbidden("can only access leases in the \"kube-node-lease\" system namespace"));
    }
    if request.name == node {
        Ok(())
    } else {
        Err(request.forbidden("can only access node lease with the same name as the requesting node"))
    }
}

/// A node publishes and withdraws the devices that it has itself.
fn own_slice(request: &Admission<'_>, node: &str, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    let is_own = |doc: Option<&Value>| doc.is_none_or(|doc| doc.str_at("spec.nodeName") == node);
    match request.operation {
        Operation::Create if !is_own(new) => {
            Err(request.forbidden("can only create ResourceSlice with the same NodeName as the requesting node"))
        }
        Operation::Update if !is_own(new) => {
            Err(request.forbidden("can only update ResourceSlice with the same NodeName as the requesting node"))
        }
        Operation::Delete if !is_own(old) => {
            Err(request.forbidden("can only delete ResourceSlice with the same NodeName as the requesting node"))
        }
        _ => Ok(()),
    }
}

/// A node asks for certificates of pods that run on it, as the account that they run as.
fn own_certificate_request(request: &Admission<'_>, node: &str, new: Option<&Value>) -> Result<(), Status> {
    let (Operation::Create, Some(new)) = (request.operation, new) else { return Ok(()) };
    let refuse = |why: String| Err(request.forbidden(&why));
    if new.str_at("spec.nodeName") != node {
        return refuse(format!(
            "PodCertificateRequest.Spec.NodeName={:?}, which is not the requesting node {node:?}",
            new.str_at("spec.nodeName")
        ));
    }
    let name = new.str_at("spec.podName");
    let key = format!("/pods/{}/{name}", request.namespace);
    let pod = request.core.cache.kind("/pods/").and_then(|pods| pods.get(&key));
    let Some(pod) = pod else { return refuse(format!("while getting pod {}/{name}: not found", request.namespace)) };
    let pod = pod.object.value();
    for (field, path) in [("PodUID", "metadata.uid"), ("NodeName", "spec.nodeName"), ("ServiceAccountName", "spec.serviceAccountName")] {
        let named = new.str_at(&format!("spec.{}{}", field[..1].to_lowercase(), &field[1..]));
        if named != pod.str_at(path) {
            return refuse(format!("PodCertificateRequest.Spec.{field} ({named:?}) does not match the pod's ({:?})", pod.str_at(path)));
        }
    }
    Ok(())
}

/// A node gets tokens for accounts of pods that are bound to it, and bound to those pods.
fn own_token(request: &Admission<'_>, node: &str, new: Option<&Value>) -> Result<(), Status> {
    let Some(new) = new else { return Ok(()) };
    let (kind, name, uid) =
        (new.str_at("spec.boundObjectRef.kind"), new.str_at("spec.boundObjectRef.name"), new.str_at("spec.boundObjectRef.uid"));
    if kind != "Pod" || name.is_empty() {
        return Err(request.forbidden(&format!("node requested token not bound to a pod (node {node:?})")));
    }
    if uid.is_empty() {
        return Err(request.forbidden("node requested token with a pod binding without a uid"));
    }
    let key = format!("/pods/{}/{name}", request.namespace);
    let pod = request.core.cache.kind("/pods/").and_then(|pods| pods.get(&key));
    let pod = pod.ok_or_else(|| Status::not_found("", "pods", name))?.object.value();
    if pod.str_at("metadata.uid") != uid {
        return Err(request.forbidden(&format!("the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated")));
    }
    if pod.str_at("spec.nodeName") != node {
        return Err(request.forbidden(&format!("node requested token bound to a pod scheduled on a different node ({node:?} asked)")));
    }
    if pod.str_at("spec.serviceAccountName") != request.name {
        return Err(request.forbidden("node requested token for an account that the pod does not run as"));
    }
    Ok(())
}

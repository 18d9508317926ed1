//! What this build stores but nothing acts on yet: the one list behind the Warning headers, `Acts` and the README.
//!
//! Nothing is accepted silently. A row names a whole kind, or a field (with the value that asks for more than we do).
//! Whoever makes something act on a row deletes the row.

use schema::{DocExt, Value};

use crate::lens::is_default;

/// A kind or a field that is stored only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacted {
    pub group: &'static str,
    pub kind: &'static str,
    pub what: What,
    /// What is missing, as a noun phrase: `a load balancer`.
    pub missing: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Every object of the kind.
    Kind,
    /// Objects whose field at this path is set and not empty, zero or false.
    Field(&'static str),
    /// Objects whose field at this path holds this text.
    FieldValue(&'static str, &'static str),
}

const fn kind(group: &'static str, kind: &'static str, missing: &'static str) -> Unacted {
    Unacted { group, kind, what: What::Kind, missing }
}

const fn field(kind: &'static str, path: &'static str, missing: &'static str) -> Unacted {
    Unacted { group: "", kind, what: What::Field(path), missing }
}

/// The list, in the order in which the README prints it.
pub fn unacted() -> &'static [Unacted] {
    UNACTED
}

const UNACTED: &[Unacted] = &[
    kind("apps", "StatefulSet", "its controller"),
    kind("apps", "DaemonSet", "its controller"),
    kind("batch", "Job", "its controller"),
    kind("batch", "CronJob", "its controller"),
    kind("", "ReplicationController", "its controller"),
    kind("", "PersistentVolume", "volume binding and mounting"),
    kind("", "PersistentVolumeClaim", "volume binding and mounting"),
    kind("autoscaling", "HorizontalPodAutoscaler", "its controller"),
    kind("networking.k8s.io", "Ingress", "an ingress controller"),
    kind("networking.k8s.io", "IngressClass", "an ingress controller"),
    kind("networking.k8s.io", "NetworkPolicy", "packet filtering"),
    kind("networking.k8s.io", "IPAddress", "addresses kept as objects"),
    kind("networking.k8s.io", "ServiceCIDR", "more than one service range"),
    kind("node.k8s.io", "RuntimeClass", "a second runtime"),
    kind("storage.k8s.io", "StorageClass", "provisioning"),
    kind("storage.k8s.io", "CSIDriver", "CSI"),
    kind("storage.k8s.io", "CSINode", "CSI"),
    kind("storage.k8s.io", "CSIStorageCapacity", "CSI"),
    kind("storage.k8s.io", "VolumeAttachment", "CSI"),
    kind("storage.k8s.io", "VolumeAttributesClass", "CSI"),
    kind("certificates.k8s.io", "ClusterTrustBundle", "its projected volume"),
    kind("certificates.k8s.io", "PodCertificateRequest", "a signer"),
    kind("resource.k8s.io", "DeviceClass", "device allocation"),
    kind("resource.k8s.io", "DeviceTaintRule", "device allocation"),
    kind("resource.k8s.io", "ResourceClaim", "device allocation"),
    kind("resource.k8s.io", "ResourceClaimTemplate", "device allocation"),
    kind("resource.k8s.io", "ResourceSlice", "device allocation"),
    Unacted {
        group: "",
        kind: "Service",
        what: What::FieldValue("spec.type", "LoadBalancer"),
        missing: "a load balancer (its node ports do work)",
    },
    Unacted {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        what: What::FieldValue("preemptionPolicy", "PreemptLowerPriority"),
        missing: "preemption (the order of scheduling does follow priorities)",
    },
    field("Service", "spec.loadBalancerSourceRanges", "a load balancer"),
    field("Service", "spec.trafficDistribution", "topology-aware routing"),
    field("Pod", "spec.affinity.podAffinity", "scheduling by other pods"),
    field("Pod", "spec.affinity.podAntiAffinity", "scheduling by other pods"),
    field("Pod", "spec.topologySpreadConstraints", "spreading"),
];

/// Whether every object of the kind is stored only.
pub(crate) fn is_stored_only(group: &str, kind: &str) -> bool {
    UNACTED.iter().any(|row| row.is_about(group, kind) && row.what == What::Kind)
}

/// The Warning texts of one object.
pub(crate) fn warnings(group: &str, kind: &str, doc: &Value) -> Vec<String> {
    UNACTED.iter().filter(|row| row.is_about(group, kind) && row.what.asks(doc)).map(Unacted::text).collect()
}

/// The list as a Markdown table, for the README.
pub fn markdown() -> String {
    let mut table = String::from("| stored, but nothing acts on it yet | what is missing |\n|---|---|\n");
    for row in UNACTED {
        table.push_str(&format!("| {} | {} |\n", row.subject(), row.missing));
    }
    table
}

impl Unacted {
    fn is_about(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// `this build stores StatefulSet objects but nothing acts on them yet: its controller is missing`
    pub fn text(&self) -> String {
        let Self { kind, missing, .. } = self;
        match self.what {
            What::Kind => format!("this build stores {kind} objects but nothing acts on them yet; missing: {missing}"),
            What::Field(path) => format!("{path}: this build stores the field but nothing acts on it yet; missing: {missing}"),
            What::FieldValue(path, value) => format!("{path}: this build stores {value:?} but nothing acts on it yet; missing: {missing}"),
        }
    }

    /// `StatefulSet`, `Service spec.externalIPs`.
    fn subject(&self) -> String {
        match self.what {
            What::Kind => format!("`{}`", self.kind),
            What::Field(path) => format!("`{}` `{path}`", self.kind),
            What::FieldValue(path, value) => format!("`{}` `{path}: {value}`", self.kind),
        }
    }
}

impl What {
    fn asks(self, doc: &Value) -> bool {
        match self {
            Self::Kind => true,
            Self::Field(path) => doc.at(path).is_some_and(is_set),
            Self::FieldValue(path, value) => doc.str_at(path) == value,
        }
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !is_default(members),
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_stored_only_kind_and_a_field_that_asks_for_more_warn() {
        let text = "this build stores StatefulSet objects but nothing acts on them yet; missing: its controller";
        assert_eq!(warnings("apps", "StatefulSet", &json!({})), [text]);
        let service = json!({"spec": {"type": "LoadBalancer", "externalIPs": []}});
        let text =
            "spec.type: this build stores \"LoadBalancer\" but nothing acts on it yet; missing: a load balancer (its node ports do work)";
        assert_eq!(warnings("", "Service", &service), [text]);
        assert_eq!(warnings("", "Service", &json!({"spec": {"type": "NodePort"}})), [""; 0]);
    }

    #[test]
    fn the_readme_table_has_a_line_for_each_row() {
        assert_eq!(markdown().lines().count(), UNACTED.len() + 2);
    }
}

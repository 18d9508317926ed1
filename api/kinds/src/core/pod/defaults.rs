//! What upstream fills into a pod, and into the pod template of every workload.
//!
//! A pod gets two things more than a template: requests copied from limits, and what only materialises in pods
//! (`enableServiceLinks`, host ports of the host network).

use schema::quantity::Format;
use schema::{DocExt, Quantity, Value, json};

/// The defaults of volume sources: source, field, value.
const SOURCE_DEFAULTS: &[(&str, &str, Literal)] = &[
    ("hostPath", "type", Literal::Text("")),
    ("secret", "defaultMode", Literal::Number(0o644)),
    ("configMap", "defaultMode", Literal::Number(0o644)),
    ("downwardAPI", "defaultMode", Literal::Number(0o644)),
    ("projected", "defaultMode", Literal::Number(0o644)),
    ("iscsi", "iscsiInterface", Literal::Text("default")),
    ("rbd", "pool", Literal::Text("rbd")),
    ("rbd", "user", Literal::Text("admin")),
    ("rbd", "keyring", Literal::Text("/etc/ceph/keyring")),
    ("azureDisk", "cachingMode", Literal::Text("ReadWrite")),
    ("azureDisk", "fsType", Literal::Text("ext4")),
    ("azureDisk", "readOnly", Literal::Flag(false)),
    ("azureDisk", "kind", Literal::Text("Shared")),
    ("scaleIO", "storageMode", Literal::Text("ThinProvisioned")),
    ("scaleIO", "fsType", Literal::Text("xfs")),
];

/// A JSON scalar that can stand in a constant.
enum Literal {
    Text(&'static str),
    Number(i64),
    Flag(bool),
}

impl Literal {
    fn fill(&self, parent: &mut Value, name: &str) {
        match self {
            Self::Text(text) => parent.default_at(name, *text),
            Self::Number(number) => parent.default_at(name, *number),
            Self::Flag(flag) => parent.default_at(name, *flag),
        }
    }
}

/// A pod's own defaults, and those of its spec.
pub(crate) fn pod(doc: &mut Value) {
    doc.default_at("spec", json!({}));
    spec(&mut doc["spec"]);
    for list in ["containers", "initContainers"] {
        doc["spec"].items_at_mut(list).iter_mut().for_each(request_what_is_limited);
    }
    request_pod_resources(&mut doc["spec"]);
    doc.default_at("spec.enableServiceLinks", true);
    if doc.bool_at("spec.hostNetwork") {
        host_ports(&mut doc["spec"]);
    }
}

/// The defaults of a `PodTemplateSpec`.
pub(crate) fn template(template: &mut Value) {
    template.default_at("metadata", json!({}));
    template.default_at("spec", json!({}));
    spec(&mut template["spec"]);
}

fn spec(spec: &mut Value) {
    spec.default_at("containers", Value::Null);
    default_text(spec, "restartPolicy", "Always");
    spec.default_at("terminationGracePeriodSeconds", 30);
    default_text(spec, "dnsPolicy", "ClusterFirst");
    spec.default_at("securityContext", json!({}));
    default_text(spec, "schedulerName", "default-scheduler");
    service_account_alias(spec);
    spec.items_at_mut("volumes").iter_mut().for_each(volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        spec.items_at_mut(list).iter_mut().for_each(container);
    }
    if let Some(overhead) = spec.at_mut("overhead") {
        round_up(overhead);
    }
    if let Some(resources) = spec.at_mut("resources") {
        round_resources(resources);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are shown, the new one wins.
fn service_account_alias(spec: &mut Value) {
    let name = match (spec.str_at("serviceAccountName"), spec.str_at("serviceAccount")) {
        ("", "") => return,
        ("", old) => old.to_owned(),
        (new, _) => new.to_owned(),
    };
    spec.set_at("serviceAccountName", name.clone());
    spec.set_at("serviceAccount", name);
}

fn container(container: &mut Value) {
    container.default_at("resources", json!({}));
    round_resources(&mut container["resources"]);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(container.str_at("image"));
    default_text(container, "imagePullPolicy", policy);
    container.items_at_mut("ports").iter_mut().for_each(|port| default_text(port, "protocol", "TCP"));
    for env in container.items_at_mut("env") {
        env.at_mut("valueFrom").into_iter().for_each(selectors);
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        container.at_mut(name).into_iter().for_each(probe);
    }
    for hook in ["lifecycle.postStart.httpGet", "lifecycle.preStop.httpGet"] {
        container.at_mut(hook).into_iter().for_each(http_get);
    }
}

/// `Always` for `latest` and for no tag at all, which means the same; a digest names one image for ever.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, ""), |(name, digest)| (name, digest));
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map_or("", |(_, tag)| tag);
    match (tag, digest) {
        ("latest", _) => "Always",
        ("", "") if !name.is_empty() => "Always",
        _ => "IfNotPresent",
    }
}

/// Of an environment variable or a downward API item.
fn selectors(from: &mut Value) {
    if let Some(field) = from.at_mut("fieldRef").filter(|field| field.is_object()) {
        default_text(field, "apiVersion", "v1");
    }
    if let Some(resource) = from.at_mut("resourceFieldRef").filter(|resource| resource.is_object()) {
        resource.default_at("divisor", "0");
    }
}

fn probe(probe: &mut Value) {
    if !probe.is_object() {
        return;
    }
    for (name, seconds) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
        if probe.i64_at(name).unwrap_or_default() == 0 {
            probe.set_at(name, seconds);
        }
    }
    probe.at_mut("httpGet").into_iter().for_each(http_get);
    if probe.at("grpc").is_some_and(Value::is_object) {
        probe.default_at("grpc.service", "");
    }
}

fn http_get(action: &mut Value) {
    if action.is_object() {
        default_text(action, "path", "/");
        default_text(action, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    if !has_source(volume) {
        volume.set_at("emptyDir", json!({}));
    }
    for (source, name, default) in SOURCE_DEFAULTS {
        if let Some(source) = volume.at_mut(source).filter(|source| source.is_object()) {
            default.fill(source, name);
        }
    }
    volume.items_at_mut("downwardAPI.items").iter_mut().for_each(selectors);
    volume.items_at_mut("projected.sources").iter_mut().for_each(projection);
    if volume.at("image").is_some_and(Value::is_object) {
        let policy = pull_policy(volume.str_at("image.reference"));
        volume.at_mut("image").into_iter().for_each(|image| default_text(image, "pullPolicy", policy));
    }
    if let Some(claim) = volume.at_mut("ephemeral.volumeClaimTemplate").filter(|claim| claim.is_object()) {
        claim.default_at("metadata", json!({}));
        claim_spec(claim);
    }
}

/// The defaults of a `PersistentVolumeClaimSpec` at `spec`.
pub(crate) fn claim_spec(claim: &mut Value) {
    claim.default_at("spec.volumeMode", "Filesystem");
    claim.default_at("spec.resources", json!({}));
    round_resources(&mut claim["spec"]["resources"]);
}

fn has_source(volume: &Value) -> bool {
    volume.as_object().into_iter().flatten().any(|(name, value)| name != "name" && !value.is_null())
}

fn projection(source: &mut Value) {
    source.items_at_mut("downwardAPI.items").iter_mut().for_each(selectors);
    if source.at("serviceAccountToken").is_some_and(Value::is_object) {
        source.default_at("serviceAccountToken.expirationSeconds", 3600);
    }
}

fn request_what_is_limited(container: &mut Value) {
    let Some(limits) = container.map_at("resources.limits").cloned() else { return };
    container.default_at("resources.requests", json!({}));
    let requests = &mut container["resources"]["requests"];
    for (name, limit) in limits {
        if requests.get(&name).is_none() {
            requests[name] = limit;
        }
    }
}

/// Pod-level requests default to what the containers ask for together, else to the pod-level limits.
fn request_pod_resources(spec: &mut Value) {
    let Some(limits) = spec.map_at("resources.limits").filter(|limits| !limits.is_empty()).cloned() else { return };
    let asked = super::resources::effective_requests(spec);
    spec.default_at("resources.requests", json!({}));
    for (name, limit) in limits.into_iter().filter(|(name, _)| super::resources::is_pod_level(name)) {
        let amount = asked.get(&name).filter(|_| !name.starts_with("hugepages-")).map_or(limit, |sum| json!(sum.to_string()));
        let requests = &mut spec["resources"]["requests"];
        if requests.get(&name).is_none() {
            requests[name] = amount;
        }
    }
}

/// A container on the host's network listens on the host's ports.
fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for port in spec.items_at_mut(list).iter_mut().flat_map(|container| container.items_at_mut("ports")) {
            let number = port.i64_at("containerPort").unwrap_or_default();
            if port.i64_at("hostPort").unwrap_or_default() == 0 && number != 0 {
                port.set_at("hostPort", number);
            }
        }
    }
}

/// Upstream rounds amounts up to thousandths.
fn round_resources(resources: &mut Value) {
    for list in ["limits", "requests"] {
        resources.at_mut(list).into_iter().for_each(round_up);
    }
}

fn round_up(amounts: &mut Value) {
    for (_, amount) in amounts.as_object_mut().into_iter().flatten() {
        let Ok(quantity) = Quantity::from_json(amount) else { continue };
        if quantity.nano % 1_000_000 != 0 {
            *amount = json!(Quantity::from_milli(quantity.milli_value(), Format::DecimalSi).to_string());
        }
    }
}

/// Sets a text that is absent, null or empty.
pub(crate) fn default_text(value: &mut Value, path: &str, default: &str) {
    if value.str_at(path).is_empty() {
        value.set_at(path, default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pulled_always_when_its_tag_may_move() {
        for (image, policy) in [
            ("app", "Always"),
            ("registry.example.com:5000/app", "Always"),
            ("app:latest", "Always"),
            ("app:1", "IfNotPresent"),
            ("registry.example.com:5000/team/app:1.2", "IfNotPresent"),
            ("app@sha256:0123", "IfNotPresent"),
            ("app:latest@sha256:0123", "Always"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}

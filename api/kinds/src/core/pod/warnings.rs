//! What is accepted in a pod or template and yet probably not meant (upstream `pkg/api/pod/warnings.go`).

use std::collections::BTreeMap;

use schema::{DocExt, Map, Path, Quantity, Value};

use crate::rules::is_given;

const CONTAINER_LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];
const ANNOTATIONS: &[(&str, &str)] = &[
    ("scheduler.alpha.kubernetes.io/critical-pod", "non-functional in v1.16+; use the \"priorityClassName\" field instead"),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
/// Node labels that have new names.
const NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    ("failure-domain.beta.kubernetes.io/region", "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

/// What a node label that has a new name says: `deprecated since …; use … instead`.
pub(crate) fn old_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(old, _)| *old == key).map(|(_, instead)| *instead)
}

/// Warnings about a map of node labels at `path`.
pub(crate) fn node_selector(selector: Option<&Map<String, Value>>, path: &Path) -> Vec<String> {
    let keys = selector.into_iter().flatten().map(|(key, _)| key);
    keys.filter_map(|key| old_label(key).map(|instead| format!("{}: {instead}", path.key(key)))).collect()
}

/// Warnings about a pod (`at` is the root) or a template.
pub(crate) fn of(pod: &Value, at: &Path) -> Vec<String> {
    let (spec, path) = (pod.at("spec").unwrap_or(&Value::Null), at.child("spec"));
    let mut texts = Vec::new();
    node_labels(spec, &path, &mut texts);
    annotations(pod, at, &mut texts);
    volumes(spec, &path, &mut texts);
    duplicates(spec, "hostAliases", "ip", &path, &mut texts);
    duplicates(spec, "imagePullSecrets", "name", &path, &mut texts);
    for (at, secret) in spec.items_at("imagePullSecrets").iter().enumerate().filter(|(_, secret)| secret.str_at("name").is_empty()) {
        texts.push(format!("{}: invalid empty name {:?}", path.child("imagePullSecrets").index(at).child("name"), secret.str_at("name")));
    }
    fractions(spec, "overhead", &path, &mut texts);
    for (container, path) in containers(spec, &path) {
        for list in ["resources.limits", "resources.requests"] {
            fractions(container, list, &path, &mut texts);
        }
        hidden_variables(container, &path, &mut texts);
    }
    ports(spec, &path, &mut texts);
    if spec.i64_at("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        texts.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
    texts
}

fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let of_list = |list: &&'a str| {
        let path = path.child(list);
        spec.items_at(list).iter().enumerate().map(move |(at, container)| (container, path.index(at))).collect::<Vec<_>>()
    };
    CONTAINER_LISTS.iter().flat_map(of_list).collect()
}

fn node_labels(spec: &Value, path: &Path, texts: &mut Vec<String>) {
    for (label, text) in NODE_LABELS {
        if spec.map_at("nodeSelector").is_some_and(|selector| selector.contains_key(*label)) {
            texts.push(format!("{}: {text}", path.child("nodeSelector").key(label)));
        }
        for (at, constraint) in spec.items_at("topologySpreadConstraints").iter().enumerate() {
            if constraint.str_at("topologyKey") == *label {
                texts.push(format!("{}: {label} is {text}", path.child("topologySpreadConstraints").index(at).child("topologyKey")));
            }
        }
    }
    for (at, constraint) in spec.items_at("topologySpreadConstraints").iter().enumerate() {
        if !is_given(constraint, "labelSelector") {
            let path = path.child("topologySpreadConstraints").index(at).child("labelSelector");
            texts.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
}

fn annotations(pod: &Value, at: &Path, texts: &mut Vec<String>) {
    let Some(given) = pod.map_at("metadata.annotations") else { return };
    let path = at.child("metadata.annotations");
    for (name, text) in ANNOTATIONS.iter().filter(|(name, _)| given.contains_key(*name)) {
        texts.push(format!("{}: {text}", path.key(name)));
    }
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
    if given.contains_key(SECCOMP) && !is_given(pod, "spec.securityContext.seccompProfile") {
        texts.push(format!("{}: non-functional in v1.27+; use the \"seccompProfile\" field instead", path.key(SECCOMP)));
    }
}

fn volumes(spec: &Value, path: &Path, texts: &mut Vec<String>) {
    for (at, volume) in spec.items_at("volumes").iter().enumerate() {
        for (source, text) in VOLUMES.iter().filter(|(source, _)| is_given(volume, source)) {
            texts.push(format!("{}: {text}", path.child("volumes").index(at).child(source)));
        }
    }
}

fn duplicates(spec: &Value, list: &str, member: &str, path: &Path, texts: &mut Vec<String>) {
    let mut seen = Vec::new();
    for (at, item) in spec.items_at(list).iter().enumerate() {
        let name = item.str_at(member);
        if seen.contains(&name) {
            texts.push(format!("{}: duplicate {member} {name:?}", path.child(list).index(at).child(member)));
        }
        seen.push(name);
    }
}

/// Bytes come whole.
fn fractions(holder: &Value, list: &str, path: &Path, texts: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let amount = holder.map_at(list).and_then(|amounts| amounts.get(name)).and_then(|amount| Quantity::from_json(amount).ok());
        if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
            let path = path.child(list).key(name);
            texts.push(format!("{path}: fractional byte value {:?} is invalid, must be an integer", amount.to_string()));
        }
    }
}

/// A second definition of a variable may build on the first one, or hide it.
fn hidden_variables(container: &Value, path: &Path, texts: &mut Vec<String>) {
    let mut seen = Vec::new();
    for (at, variable) in container.items_at("env").iter().enumerate() {
        let (name, value) = (variable.str_at("name"), variable.str_at("value"));
        let reference = format!("$({name})");
        let builds_on_it = !is_given(variable, "valueFrom") && value != reference && value.contains(&reference);
        if seen.contains(&name) && !builds_on_it {
            let path = path.child("env").index(at);
            texts.push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
        seen.push(name);
    }
}

/// Two containers that say they listen on one port.
fn ports(spec: &Value, path: &Path, texts: &mut Vec<String>) {
    let mut seen: BTreeMap<(i64, &str), Vec<(Path, i64, &str)>> = BTreeMap::new();
    for (container, path) in containers(spec, path) {
        for (at, port) in container.items_at("ports").iter().enumerate() {
            let path = path.child("ports").index(at);
            let (host_port, host_ip) = (port.i64_at("hostPort").unwrap_or_default(), port.str_at("hostIP"));
            let others = seen.entry((port.i64_at("containerPort").unwrap_or_default(), port.str_at("protocol"))).or_default();
            for (other, other_port, other_ip) in others.iter() {
                if host_port == *other_port && host_ip == *other_ip {
                    texts.push(format!("{path}: duplicate port definition with {other}"));
                } else if host_port == 0 || *other_port == 0 || host_port == *other_port {
                    texts.push(format!("{path}: overlapping port definition with {other}"));
                }
            }
            others.push((path, host_port, host_ip));
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn what_is_probably_not_meant_is_said() {
        let pod = json!({
            "metadata": {"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}},
            "spec": {
                "nodeSelector": {"beta.kubernetes.io/os": "linux"},
                "volumes": [{"name": "v", "gitRepo": {}}],
                "containers": [
                    {"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
                    {"name": "b", "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]},
                ],
            },
        });
        let texts = of(&pod, &Path::new("spec.template"));
        assert_eq!(
            texts,
            [
                "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
                "spec.template.spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.template.spec.containers[1].ports[0]: duplicate port definition with spec.template.spec.containers[0].ports[0]",
            ]
        );
    }
}

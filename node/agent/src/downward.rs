//! The downward API: a pod's own fields and resources as text.

use std::collections::BTreeMap;

use kinds::core::{Pod, ResourceFieldSelector};
use schema::Quantity;

use crate::slot::containers;

/// What the node gives a pod beside its document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

/// The text of `fieldPath`. The error names the path.
pub(crate) fn field(pod: &Pod, path: &str, around: &Surroundings) -> Result<String, String> {
    if let Some((map, key)) = subscript(path) {
        return match map {
            "metadata.labels" => Ok(pod.metadata.labels.get(key).cloned().unwrap_or_default()),
            "metadata.annotations" => Ok(pod.metadata.annotations.get(key).cloned().unwrap_or_default()),
            _ => Err(format!("fieldPath {path:?} does not support subscript")),
        };
    }
    Ok(match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "metadata.labels" => lines(&pod.metadata.labels),
        "metadata.annotations" => lines(&pod.metadata.annotations),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" | "status.hostIPs" => around.host_ip.clone(),
        "status.podIP" => around.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => around.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['a']` as its map and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// `key="value"` per line, sorted, values quoted as Go's %q does.
fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={}", quote(value))).collect::<Vec<_>>().join("\n")
}

fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

/// The number that `resourceFieldRef` stands for: rounded up to whole divisors. `own` is the container that asks, where one does.
pub(crate) fn resource(pod: &Pod, selector: &ResourceFieldSelector, own: &str, around: &Surroundings) -> Result<String, String> {
    let name = if selector.container_name.is_empty() { own } else { &selector.container_name };
    let found = containers(&pod.spec).map(|(container, _)| container).find(|container| container.name == name);
    let container = found.ok_or_else(|| format!("container {name} not found"))?;
    let (family, resource) = selector.resource.split_once('.').unwrap_or_default();
    let resources = &container.resources;
    let limit = || resources.limits.get(resource).filter(|amount| amount.nano > 0).copied();
    let amount = match family {
        "limits" => limit().or_else(|| capacity(resource, around)),
        "requests" => resources.requests.get(resource).copied().or_else(limit),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let nano = amount.map_or(0, |amount| amount.nano);
    let divisor = selector.divisor.as_ref().map(Quantity::from_json).transpose().map_err(|cause| cause.to_string())?;
    let divisor = divisor.map(|divisor| divisor.nano).filter(|nano| *nano > 0).unwrap_or(1_000_000_000);
    Ok(((nano + divisor - 1) / divisor).to_string())
}

/// A container without a limit can use the node.
fn capacity(resource: &str, around: &Surroundings) -> Option<Quantity> {
    let nano = match resource {
        "cpu" => i128::from(around.cpu_millis) * 1_000_000,
        "memory" => i128::from(around.memory_bytes) * 1_000_000_000,
        _ => return None,
    };
    Some(Quantity { nano, ..Quantity::default() })
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "d", "uid": "u", "labels": {"b": "2\"x", "a": "1"}},
            "spec": {"nodeName": "n", "serviceAccountName": "sa", "containers": [{"name": "c",
                "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn fields() {
        let around = Surroundings { host_ip: "1.1.1.1".into(), pod_ips: vec!["2.2.2.2".into(), "::2".into()], ..Surroundings::default() };
        for (path, want) in [
            ("metadata.name", "web"),
            ("metadata.labels['a']", "1"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a=\"1\"\nb=\"2\\\"x\""),
            ("spec.nodeName", "n"),
            ("status.podIP", "2.2.2.2"),
            ("status.podIPs", "2.2.2.2,::2"),
            ("status.hostIP", "1.1.1.1"),
        ] {
            assert_eq!(field(&pod(), path, &around).unwrap(), want, "{path}");
        }
        assert!(field(&pod(), "spec.containers", &around).is_err());
    }

    #[test]
    fn resources_round_up_and_fall_back_to_the_node() {
        let around = Surroundings { cpu_millis: 4000, memory_bytes: 8 << 30, ..Surroundings::default() };
        let ask = |resource: &str, divisor: &str| {
            let selector =
                ResourceFieldSelector { resource: resource.into(), divisor: Some(json!(divisor)), ..ResourceFieldSelector::default() };
            resource_of(&selector, &around)
        };
        fn resource_of(selector: &ResourceFieldSelector, around: &Surroundings) -> String {
            resource(&pod(), selector, "c", around).unwrap()
        }
        assert_eq!(ask("limits.cpu", "1"), "2");
        assert_eq!(ask("limits.cpu", "1m"), "1500");
        assert_eq!(ask("requests.cpu", "1m"), "1500");
        assert_eq!(ask("requests.memory", "1Mi"), "100");
        assert_eq!(ask("limits.memory", "1Gi"), "8");
        assert_eq!(ask("limits.memory", "0"), (8u64 << 30).to_string());
    }
}

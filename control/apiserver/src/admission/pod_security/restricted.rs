//! What `restricted` asks for beside `baseline`: least privilege, said by the pod itself. In the order in which violations are told.

use schema::{DocExt, Value};

use super::baseline::{added_capabilities, unconfined};
use super::checks::{Check, Pod, Violation, containers, distinct, plural, quoted, set, setters, uses};

pub(super) const CHECKS: &[Check] = &[
    Check::new(8, escalation),
    Check::new(22, capabilities),
    Check::new(0, volumes),
    Check::new(0, non_root),
    Check::new(23, user),
    Check::new(19, seccomp),
];

/// From this version of the rules on, those that only Linux knows do not bind Windows.
const WINDOWS_SINCE: u32 = 25;
const VOLUMES: &[&str] = &["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
/// In the order in which a volume is asked for them.
const RESTRICTED_VOLUMES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn binds(pod: &Pod<'_>) -> bool {
    pod.minor < WINDOWS_SINCE || !pod.is_windows()
}

fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.named(|container| container.at("securityContext.allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    (!names.is_empty() && binds(pod)).then(|| Violation { reason: "allowPrivilegeEscalation != false", detail: detail() })
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let keeps = pod.named(|container| !container.items_at("securityContext.capabilities.drop").iter().any(|name| name == "ALL"));
    let dropped = (!keeps.is_empty()).then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeps)));
    let details: Vec<String> = dropped.into_iter().chain(added_capabilities(pod, &["NET_BIND_SERVICE"])).collect();
    (!details.is_empty() && binds(pod)).then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}

fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let is_one_of = |volume: &Value, types: &[&'static str]| types.iter().copied().find(|name| set(volume, name).is_some());
    let bad: Vec<&Value> = pod.spec.items_at("volumes").iter().filter(|volume| is_one_of(volume, VOLUMES).is_none()).collect();
    let names: Vec<&str> = bad.iter().map(|volume| volume.str_at("name")).collect();
    let types = distinct(bad.iter().map(|volume| is_one_of(volume, RESTRICTED_VOLUMES).unwrap_or("unknown")));
    let detail = || {
        let (volumes, types_are) = (plural("volume", names.len()), plural("restricted volume type", types.len()));
        format!("{volumes} {} {} {types_are} {}", quoted(&names), uses(names.len()), quoted(&types))
    };
    (!names.is_empty()).then(|| Violation { reason: "restricted volume types", detail: detail() })
}

fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    let reason = "runAsNonRoot != true";
    if pod.is_in_user_namespace() {
        return None;
    }
    let all = pod.contexts("runAsNonRoot");
    let mut refused = all.clone();
    refused.retain(|(_, flag)| **flag == Value::Bool(false));
    if !refused.is_empty() {
        return Some(Violation { reason, detail: format!("{} must not set securityContext.runAsNonRoot=false", setters(&refused)) });
    }
    let names = silent(pod, "securityContext.runAsNonRoot", all.iter().any(|(name, _)| name.is_none()));
    let detail = || format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&names));
    (!names.is_empty()).then(|| Violation { reason, detail: detail() })
}

/// Containers that say nothing at `path`, where the pod does not say it for all.
fn silent<'a>(pod: &Pod<'a>, path: &str, pod_says: bool) -> Vec<&'a str> {
    if pod_says { Vec::new() } else { pod.named(|container| set(container, path).is_none()) }
}

fn user(pod: &Pod<'_>) -> Option<Violation> {
    let mut found = pod.contexts("runAsUser");
    found.retain(|(_, user)| user.as_i64() == Some(0));
    let detail = || format!("{} must not set runAsUser=0", setters(&found));
    (!found.is_empty() && !pod.is_in_user_namespace()).then(|| Violation { reason: "runAsUser=0", detail: detail() })
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if !binds(pod) {
        return None;
    }
    unconfined(pod).or_else(|| {
        let pod_says = pod.contexts("seccompProfile").iter().any(|(name, _)| name.is_none());
        let names = silent(pod, "securityContext.seccompProfile", pod_says);
        let detail =
            || format!("pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"", containers(&names));
        (!names.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
    })
}

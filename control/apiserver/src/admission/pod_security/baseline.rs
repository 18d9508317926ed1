//! What `baseline` forbids: the known ways from a pod to its node. In the order in which violations are told.

use schema::{DocExt, Value};

use super::checks::{
    Check, Pod, SECCOMP_OF_CONTAINER, SECCOMP_OF_POD, Violation, containers, distinct, plural, quoted, set, setters, uses,
};

pub(super) const CHECKS: &[Check] = &[
    Check::new(0, app_armor),
    Check::new(0, capabilities).replaced(22),
    Check::new(0, host_namespaces),
    Check::new(0, host_paths).replaced(0),
    Check::new(0, host_ports),
    Check::new(34, probe_hosts),
    Check::new(0, privileged),
    Check::new(0, proc_mounts),
    Check::new(0, se_linux),
    Check::new(0, seccomp).replaced(19),
    Check::new(0, sysctls),
    Check::new(0, host_processes),
];

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Kernel parameters that are a pod's own, by the version that found out.
const SYSCTLS: &[(u32, &[&str])] = &[
    (
        0,
        &[
            "kernel.shm_rmid_forced",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.ping_group_range",
            "net.ipv4.ip_unprivileged_port_start",
        ],
    ),
    (27, &["net.ipv4.ip_local_reserved_ports"]),
    (29, &["net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"]),
    (32, &["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"]),
    (37, &["net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"]),
];

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let mut found = pod.contexts("appArmorProfile");
    found.retain(|(_, profile)| !matches!(profile.str_at("type"), "RuntimeDefault" | "Localhost"));
    let annotations = pod.annotations.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)));
    let allowed = |text: &str| matches!(text, "" | "runtime/default") || text.starts_with("localhost/");
    let annotated: Vec<String> = annotations
        .filter(|(key, text)| key.starts_with(APP_ARMOR) && !allowed(text))
        .map(|(key, text)| format!("{key}={text:?}"))
        .collect();
    if found.is_empty() && annotated.is_empty() {
        return None;
    }
    let who = [setters(&found), if annotated.is_empty() { String::new() } else { plural("annotation", annotated.len()) }];
    let who: Vec<String> = who.into_iter().filter(|text| !text.is_empty()).collect();
    let mut values: Vec<String> =
        distinct(found.iter().map(|(_, profile)| profile.str_at("type"))).into_iter().map(str::to_owned).collect();
    values.extend(annotated);
    let reason = if values.len() == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" };
    Some(Violation { reason, detail: format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)) })
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let detail = added_capabilities(pod, CAPABILITIES)?;
    Some(Violation { reason: "non-default capabilities", detail })
}

/// Which containers add others than these.
pub(super) fn added_capabilities(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let foreign = |container: &Value| -> Vec<String> {
        let added = container.items_at("securityContext.capabilities.add").iter().filter_map(Value::as_str);
        added.filter(|name| !allowed.contains(name)).map(str::to_owned).collect()
    };
    let names = pod.named(|container| !foreign(container).is_empty());
    let added: Vec<String> = pod.containers().flat_map(foreign).collect();
    let added = distinct(added.iter().map(String::as_str));
    let told = || format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(&added));
    (!names.is_empty()).then(told)
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> =
        ["hostNetwork", "hostPID", "hostIPC"].iter().filter(|name| pod.spec.bool_at(name)).map(|name| format!("{name}=true")).collect();
    (!shared.is_empty()).then(|| Violation { reason: "host namespaces", detail: shared.join(", ") })
}

fn host_paths(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = pod.spec.items_at("volumes").iter().filter(|volume| set(volume, "hostPath").is_some());
    let names: Vec<&str> = volumes.map(|volume| volume.str_at("name")).collect();
    let detail = || format!("{} {}", plural("volume", names.len()), quoted(&names));
    (!names.is_empty()).then(|| Violation { reason: "hostPath volumes", detail: detail() })
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<String> {
        let ports = container.items_at("ports").iter().filter_map(|port| port.i64_at("hostPort"));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let names = pod.named(|container| !ports(container).is_empty());
    let taken: Vec<String> = pod.containers().flat_map(ports).collect();
    let taken = distinct(taken.iter().map(String::as_str));
    let detail = || format!("{} {} {} {}", containers(&names), uses(names.len()), plural("hostPort", taken.len()), taken.join(", "));
    (!names.is_empty()).then(|| Violation { reason: "hostPort", detail: detail() })
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    const HANDLERS: [&str; 5] = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];
    fn hosts(container: &Value) -> impl Iterator<Item = &str> {
        let handlers = HANDLERS.into_iter().filter_map(|path| container.at(path));
        handlers.flat_map(|handler| ["httpGet.host", "tcpSocket.host"].map(|path| handler.str_at(path))).filter(|host| !host.is_empty())
    }
    let names = distinct(pod.containers().filter(|container| hosts(container).next().is_some()).map(|container| container.str_at("name")));
    let found = distinct(pod.containers().flat_map(hosts));
    let detail =
        || format!("{} {} {} {}", containers(&names), uses(names.len()), plural("probe or lifecycle host", found.len()), quoted(&found));
    (!names.is_empty()).then(|| Violation { reason: "probe or lifecycle host", detail: detail() })
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.named(|container| container.bool_at("securityContext.privileged"));
    let detail = || format!("{} must not set securityContext.privileged=true", containers(&names));
    (!names.is_empty()).then(|| Violation { reason: "privileged", detail: detail() })
}

fn proc_mounts(pod: &Pod<'_>) -> Option<Violation> {
    let mount = |container: &Value| container.str_at("securityContext.procMount").to_owned();
    let is_other = |mount: &str| !matches!(mount, "" | "Default");
    let names = pod.named(|container| is_other(&mount(container)));
    let mounts: Vec<String> = pod.containers().map(mount).filter(|mount| is_other(mount)).collect();
    let mounts = distinct(mounts.iter().map(String::as_str));
    let detail = || format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(&mounts));
    (!names.is_empty() && !pod.is_in_user_namespace()).then(|| Violation { reason: "procMount", detail: detail() })
}

fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    let is_allowed = |name: &str| {
        matches!(name, "" | "container_t" | "container_init_t" | "container_kvm_t") || name == "container_engine_t" && pod.minor >= 31
    };
    let gives = |options: &Value, member: &str| !options.str_at(member).is_empty();
    let mut found = pod.contexts("seLinuxOptions");
    found.retain(|(_, options)| !is_allowed(options.str_at("type")) || gives(options, "user") || gives(options, "role"));
    if found.is_empty() {
        return None;
    }
    let types = distinct(found.iter().map(|(_, options)| options.str_at("type")).filter(|name| !is_allowed(name)));
    let mut wrong = Vec::new();
    if !types.is_empty() {
        wrong.push(format!("{} {}", plural("type", types.len()), quoted(&types)));
    }
    for member in ["user", "role"] {
        if found.iter().any(|(_, options)| gives(options, member)) {
            wrong.push(format!("{member} may not be set"));
        }
    }
    let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", setters(&found), wrong.join("; "));
    Some(Violation { reason: "seLinuxOptions", detail })
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor < 19 { seccomp_annotations(pod) } else { unconfined(pod) }
}

/// Profiles other than the two that confine.
pub(super) fn unconfined(pod: &Pod<'_>) -> Option<Violation> {
    let mut found = pod.contexts("seccompProfile");
    found.retain(|(_, profile)| !matches!(profile.str_at("type"), "RuntimeDefault" | "Localhost"));
    let values = distinct(found.iter().map(|(_, profile)| profile.str_at("type")));
    let detail = || format!("{} must not set securityContext.seccompProfile.type to {}", setters(&found), quoted(&values));
    (!found.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let is_allowed = |text: &str| matches!(text, "runtime/default" | "docker/default") || text.starts_with("localhost/");
    let keys = pod.containers().map(|container| format!("{SECCOMP_OF_CONTAINER}{}", container.str_at("name")));
    let wrong = |key: String| {
        let text = pod.annotations?.get(&key)?.as_str().filter(|text| !is_allowed(text))?;
        Some(format!("{key}={text:?}"))
    };
    let found: Vec<String> = [SECCOMP_OF_POD.to_owned()].into_iter().chain(keys).filter_map(wrong).collect();
    let found = distinct(found.iter().map(String::as_str));
    let detail = || format!("forbidden {} {}", plural("annotation", found.len()), found.join(", "));
    (!found.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
}

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let is_allowed = |name: &&str| SYSCTLS.iter().any(|(since, names)| *since <= pod.minor && names.contains(name));
    let names = pod.spec.items_at("securityContext.sysctls").iter().map(|sysctl| sysctl.str_at("name"));
    let forbidden: Vec<&str> = names.filter(|name| !is_allowed(name)).collect();
    (!forbidden.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: forbidden.join(", ") })
}

fn host_processes(pod: &Pod<'_>) -> Option<Violation> {
    let mut found = pod.contexts("windowsOptions.hostProcess");
    found.retain(|(_, flag)| **flag == Value::Bool(true));
    let detail = || format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters(&found));
    (!found.is_empty()).then(|| Violation { reason: "hostProcess", detail: detail() })
}

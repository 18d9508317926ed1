//! What a pod's spec, alone or in a template, must hold (upstream `ValidatePodSpec`).

mod containers;
mod env;
mod mounts;
mod probes;
pub(crate) mod requirements;
pub(crate) mod scheduling;
mod security;
pub(crate) mod update;
pub(crate) mod volumes;

use schema::{DocExt, FieldErrors, Path, Value, names};

use crate::rules::{dns_label, dns_subdomain, each, in_range, ip, is_given, labels, not_supported, one_of, qualified_name};

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const DNS_SERVERS_MAX: usize = 3;
const DNS_SEARCHES_MAX: usize = 32;
const DNS_SEARCH_BYTES_MAX: usize = 2048;

/// Whether a spec stands in a pod or in a template, which may leave more open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// The pod's name, for the names of ephemeral claims.
    Pod(&'a str),
    Template,
}

impl Place<'_> {
    fn is_pod(self) -> bool {
        matches!(self, Self::Pod(_))
    }
}

/// A pod as a whole, its metadata aside.
pub(crate) fn pod(doc: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (doc.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
    update::annotations(doc, &Path::new("metadata.annotations"), errors);
    pod_spec(spec, Place::Pod(doc.str_at("metadata.name")), &path, errors);
    token_needs_account(spec, &path, errors);
    for list in ["containers", "initContainers"] {
        images_without_padding(spec.items_at(list), &path.child(list), errors);
    }
}

/// What only a create is asked.
pub(crate) fn pod_create(doc: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    if !doc.items_at("spec.ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !doc.str_at("spec.nodeName").is_empty() && !doc.items_at("spec.schedulingGates").is_empty() {
        errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

/// A `PodTemplateSpec`.
pub(crate) fn template(template: &Value, path: &Path, errors: &mut FieldErrors) {
    labels(template.map_at("metadata.labels"), &path.child("labels"), errors);
    crate::rules::annotations(template.map_at("metadata.annotations"), &path.child("annotations"), errors);
    let spec = template.at("spec").unwrap_or(&Value::Null);
    pod_spec(spec, Place::Template, &path.child("spec"), errors);
    if !spec.items_at("ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

fn pod_spec(spec: &Value, place: Place<'_>, path: &Path, errors: &mut FieldErrors) {
    if spec.i64_at("terminationGracePeriodSeconds").is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    volumes::volumes(spec.items_at("volumes"), place, &path.child("volumes"), errors);
    resource_claims(spec.items_at("resourceClaims"), &path.child("resourceClaims"), errors);
    containers::all(spec, path, errors);
    requirements::of_pod(spec, &path.child("resources"), errors);
    host_network_ports(spec, place, path, errors);
    one_of(spec, "restartPolicy", RESTART_POLICIES, path, errors);
    one_of(spec, "dnsPolicy", DNS_POLICIES, path, errors);
    labels(spec.map_at("nodeSelector"), &path.child("nodeSelector"), errors);
    security::of_pod(spec, path, errors);
    scheduling::affinity(spec.at("affinity"), &path.child("affinity"), errors);
    dns_config(spec, &path.child("dnsConfig"), errors);
    for (at, gate) in spec.items_at("readinessGates").iter().enumerate() {
        let path = path.child("readinessGates").index(at).child("conditionType");
        qualified_name(gate.str_at("conditionType"), &path, errors);
    }
    scheduling_gates(spec.items_at("schedulingGates"), &path.child("schedulingGates"), errors);
    scheduling::spread(spec.items_at("topologySpreadConstraints"), &path.child("topologySpreadConstraints"), errors);
    host_users(spec, path, errors);
    names_in(spec, path, errors);
    if let Some(seconds) = spec.i64_at("activeDeadlineSeconds") {
        in_range(seconds, 1, i64::from(i32::MAX), &path.child("activeDeadlineSeconds"), errors);
    }
    scheduling::tolerations(spec.items_at("tolerations"), &path.child("tolerations"), errors);
    host_aliases(spec.items_at("hostAliases"), &path.child("hostAliases"), errors);
    if is_given(spec, "preemptionPolicy") {
        one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path, errors);
    }
    requirements::amounts(spec, "overhead", path, errors);
    os(spec, path, errors);
}

/// Names of other objects, and labels of the pod's own name.
fn names_in(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    for member in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        if !spec.str_at(member).is_empty() || (member == "runtimeClassName" && is_given(spec, member)) {
            dns_subdomain(spec.str_at(member), &path.child(member), errors);
        }
    }
    for member in ["hostname", "subdomain"] {
        if !spec.str_at(member).is_empty() {
            dns_label(spec.str_at(member), &path.child(member), errors);
        }
    }
    hostname_override(spec, &path.child("hostnameOverride"), errors);
}

fn hostname_override(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(name) = spec.at("hostnameOverride").and_then(Value::as_str) else { return };
    dns_subdomain(name, path, errors);
    if name.len() > 64 {
        errors.invalid(path, name, "must be no more than 64 characters");
    }
    if spec.bool_at("setHostnameAsFQDN") {
        errors.invalid(path, name, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.bool_at("hostNetwork") {
        errors.invalid(path, name, "may not be specified when hostNetwork is true");
    }
}

/// On the host's network a port is the host's; templates may leave the host port open.
fn host_network_ports(spec: &Value, place: Place<'_>, path: &Path, errors: &mut FieldErrors) {
    if !spec.bool_at("hostNetwork") {
        return;
    }
    for (at, container) in spec.items_at("containers").iter().enumerate() {
        for (port_at, port) in container.items_at("ports").iter().enumerate() {
            let (host, own) = (port.i64_at("hostPort").unwrap_or_default(), port.i64_at("containerPort").unwrap_or_default());
            if (place.is_pod() || host != 0) && host != own {
                let path = path.child("containers").index(at).child("ports").index(port_at);
                errors.invalid(&path.child("containerPort"), own, "must match `hostPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let config = spec.at("dnsConfig").filter(|config| config.is_object());
    if spec.str_at("dnsPolicy") == "None" {
        match config {
            None => return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None"),
            Some(config) if config.items_at("nameservers").is_empty() => {
                let path = path.child("nameservers");
                return errors.required(&path, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            }
            Some(_) => {}
        }
    }
    let Some(config) = config else { return };
    dns_servers(config, &path.child("nameservers"), errors);
    dns_searches(config, &path.child("searches"), errors);
    for (at, option) in config.items_at("options").iter().enumerate() {
        if option.str_at("name").is_empty() {
            errors.required(&path.child("options").index(at), "must not be empty");
        }
    }
}

fn dns_servers(config: &Value, path: &Path, errors: &mut FieldErrors) {
    let servers = config.items_at("nameservers");
    if servers.len() > DNS_SERVERS_MAX {
        errors.invalid(path, servers.to_vec(), &format!("must not have more than {DNS_SERVERS_MAX} nameservers"));
    }
    for (at, server) in servers.iter().enumerate() {
        ip(server.as_str().unwrap_or_default(), &path.index(at), errors);
    }
}

fn dns_searches(config: &Value, path: &Path, errors: &mut FieldErrors) {
    let searches: Vec<&str> = config.items_at("searches").iter().filter_map(Value::as_str).collect();
    let listed = || Value::from(searches.clone());
    if searches.len() > DNS_SEARCHES_MAX {
        errors.invalid(path, listed(), &format!("must not have more than {DNS_SEARCHES_MAX} search paths"));
    }
    if searches.join(" ").len() > DNS_SEARCH_BYTES_MAX {
        let text = format!("must not have more than {DNS_SEARCH_BYTES_MAX} characters (including spaces) in the search list");
        errors.invalid(path, listed(), &text);
    }
    for (at, search) in searches.iter().enumerate().filter(|(_, search)| **search != ".") {
        let name = search.strip_suffix('.').unwrap_or(search);
        // Underscores are used by service records; the rest must be a subdomain.
        each(&path.index(at), name, names::is_dns1123_subdomain(&name.replace('_', "a")), errors);
    }
}

fn scheduling_gates(gates: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (at, gate) in gates.iter().enumerate() {
        let name = gate.str_at("name");
        qualified_name(name, &path.index(at), errors);
        if seen.contains(&name) {
            errors.duplicate(&path.index(at), name);
        }
        seen.push(name);
    }
}

/// A user namespace cannot be had together with the host's other namespaces.
fn host_users(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if spec.at("hostUsers") != Some(&Value::Bool(false)) {
        return;
    }
    for (member, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.bool_at(member) {
            errors.forbidden(&path.child(shown), "when `hostUsers` is false");
        }
    }
}

fn host_aliases(aliases: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, alias) in aliases.iter().enumerate() {
        ip(alias.str_at("ip"), &path.index(at).child("ip"), errors);
        for (name_at, name) in alias.items_at("hostnames").iter().enumerate() {
            dns_subdomain(name.as_str().unwrap_or_default(), &path.index(at).child("hostnames").index(name_at), errors);
        }
    }
}

fn os(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if !is_given(spec, "os") {
        return;
    }
    match spec.str_at("os.name") {
        "" => errors.required(&path.child("os.name"), "cannot be empty"),
        "linux" => security::no_windows_options(spec, path, errors),
        "windows" => {}
        other => not_supported(&path.child("os"), &other.into(), &["linux", "windows"], errors),
    }
}

fn resource_claims(claims: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        let (name, path) = (claim.str_at("name"), path.index(at));
        match name {
            "" => errors.required(&path.child("name"), ""),
            name if seen.contains(&name) => errors.duplicate(&path.child("name"), name),
            name => dns_label(name, &path.child("name"), errors),
        }
        seen.push(name);
        match (is_given(claim, "resourceClaimName"), is_given(claim, "resourceClaimTemplateName")) {
            (true, true) => {
                let text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&path, claim.clone(), text);
            }
            (false, false) => errors.invalid(&path, claim.clone(), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            _ => {}
        }
        for member in ["resourceClaimName", "resourceClaimTemplateName"].into_iter().filter(|member| is_given(claim, member)) {
            dns_subdomain(claim.str_at(member), &path.child(member), errors);
        }
    }
}

fn token_needs_account(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if !spec.str_at("serviceAccountName").is_empty() {
        return;
    }
    for (at, volume) in spec.items_at("volumes").iter().enumerate() {
        let path = path.child("volumes").index(at).child("projected.sources");
        for (source_at, source) in volume.items_at("projected.sources").iter().enumerate() {
            if is_given(source, "serviceAccountToken") {
                let path = path.index(source_at).child("serviceAccountToken");
                errors.forbidden(&path, "must not be specified when serviceAccountName is not set");
            }
        }
    }
}

fn images_without_padding(containers: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (at, container) in containers.iter().enumerate() {
        let image = container.str_at("image");
        if image.trim() != image {
            errors.invalid(&path.index(at).child("image"), image, "must not have leading or trailing whitespace");
        }
    }
}

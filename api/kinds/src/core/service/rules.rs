//! What a service must hold, and what an update may change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use schema::{DocExt, FieldErrors, Path, Value};

use crate::kind::{copy_member, same};
use crate::rules::{
    cidr, dns_label, dns_subdomain, ip, is_given, labels, non_special_ip, not_supported, one_of, one_of_if_set, port_number,
    port_number_or_name, qualified_name,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const POLICIES: &[&str] = &["Cluster", "Local"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const LOAD_BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

/// A service, new or changed.
pub(super) fn service(doc: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (doc.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
    let (sort, headless) = (spec.str_at("type"), is_headless(spec));
    if spec.items_at("ports").is_empty() && !headless && sort != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    of_type(spec, sort, headless, &path, errors);
    ports(spec.items_at("ports"), sort, &path.child("ports"), errors);
    labels(spec.map_at("selector"), &path.child("selector"), errors);
    affinity(spec, &path, errors);
    cluster_ips(spec, &path, errors);
    for (at, address) in spec.items_at("externalIPs").iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("externalIPs").index(at);
        if ip(address, &path, errors).is_some() {
            non_special_ip(address, &path, errors);
        }
    }
    one_of(spec, "type", TYPES, &path, errors);
    source_ranges(doc, spec, sort, &path, errors);
    load_balancer(spec, sort, &path, errors);
    traffic(spec, sort, &path, errors);
}

fn of_type(spec: &Value, sort: &str, headless: bool, path: &Path, errors: &mut FieldErrors) {
    match sort {
        "LoadBalancer" | "NodePort" if headless => {
            errors.invalid(&path.child("clusterIPs").index(0), "None", &format!("may not be set to 'None' for {sort} services"));
        }
        "ExternalName" => external_name(spec, path, errors),
        _ => {}
    }
}

fn external_name(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    for member in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let given = !spec.items_at(member).is_empty() || !spec.str_at(member).is_empty();
        if given {
            errors.forbidden(&path.child(member), "may not be set for ExternalName services");
        }
    }
    let name = spec.str_at("externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.required(&path.child("externalName"), ""),
        name => dns_subdomain(name, &path.child("externalName"), errors),
    }
}

fn ports(ports: &[Value], sort: &str, path: &Path, errors: &mut FieldErrors) {
    let (mut names, mut node_ports, mut pairs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, port) in ports.iter().enumerate() {
        let (path, protocol) = (path.index(at), port.str_at("protocol"));
        self::port(port, ports.len() > 1, &mut names, &path, errors);
        let (number, node_port) = (port.i64_at("port").unwrap_or_default(), port.i64_at("nodePort").unwrap_or_default());
        if node_port != 0 {
            if sort == "ClusterIP" {
                errors.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            if !node_ports.insert((protocol, node_port)) {
                errors.duplicate(&path.child("nodePort"), node_port);
            }
        }
        if !pairs.insert((protocol, number)) {
            errors.duplicate(&path, schema::json!({"protocol": protocol, "port": number}));
        }
    }
}

fn port<'a>(port: &'a Value, needs_name: bool, names: &mut BTreeSet<&'a str>, path: &Path, errors: &mut FieldErrors) {
    match port.str_at("name") {
        "" if needs_name => errors.required(&path.child("name"), ""),
        "" => {}
        name => {
            dns_label(name, &path.child("name"), errors);
            if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
    }
    port_number(port.i64_at("port").unwrap_or_default(), &path.child("port"), errors);
    one_of(port, "protocol", PROTOCOLS, path, errors);
    port_number_or_name(port.at("targetPort"), &path.child("targetPort"), errors);
    if let Some(protocol) = port.at("appProtocol").and_then(Value::as_str) {
        qualified_name(protocol, &path.child("appProtocol"), errors);
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], path, errors);
    let path = path.child("sessionAffinityConfig");
    match spec.str_at("sessionAffinity") {
        "ClientIP" => match spec.i64_at("sessionAffinityConfig.clientIP.timeoutSeconds") {
            None => errors.required(&path, "when session affinity type is ClientIP"),
            Some(1..=AFFINITY_SECONDS_MAX) => {}
            Some(seconds) => {
                let text = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                errors.invalid(&path.child("clientIP.timeoutSeconds"), seconds, &text);
            }
        },
        "None" if is_given(spec, "sessionAffinityConfig") => {
            errors.forbidden(&path, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn cluster_ips(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if spec.str_at("type") == "ExternalName" {
        return;
    }
    let ips: Vec<&str> = spec.items_at("clusterIPs").iter().filter_map(Value::as_str).collect();
    let ips_path = path.child("clusterIPs");
    let listed = || Value::from(ips.clone());
    match (spec.str_at("clusterIP"), ips.first()) {
        ("", Some(_)) => errors.invalid(&ips_path, listed(), "must be empty when `clusterIP` is not specified"),
        (one, None) if !one.is_empty() => errors.required(&ips_path, ""),
        (one, Some(first)) if one != *first => errors.invalid(&ips_path, listed(), "first value must match `clusterIP`"),
        _ => {}
    }
    families(spec, path, errors);
    let mut addresses = Vec::new();
    let mut wrong = false;
    for (at, address) in ips.iter().enumerate() {
        if at == 0 && *address == "None" {
            if ips.len() > 1 {
                wrong = true;
                errors.invalid(&ips_path, listed(), "'None' must be the first and only value");
            }
            continue;
        }
        let parsed = ip(address, &ips_path.index(at), errors);
        wrong |= parsed.is_none();
        addresses.extend(parsed);
    }
    if ips.len() > 2 {
        errors.invalid(&ips_path, listed(), "may only hold up to 2 values");
    }
    if wrong {
        return;
    }
    let is_dual = addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6);
    if addresses.len() > 1 && !is_dual {
        errors.invalid(&ips_path, listed(), "may specify no more than one IP for each IP family");
    }
    for (at, (address, family)) in addresses.iter().zip(spec.items_at("ipFamilies")).enumerate() {
        let own = if address.is_ipv6() { "IPv6" } else { "IPv4" };
        if let Some(family) = family.as_str().filter(|family| *family != own && FAMILIES.contains(family)) {
            let text = format!("expected an {family} value as indicated by `ipFamilies[{at}]`");
            errors.invalid(&ips_path.index(at), address.to_string(), &text);
        }
    }
}

fn families(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let families = spec.items_at("ipFamilies");
    for (at, family) in families.iter().enumerate() {
        let path = path.child("ipFamilies").index(at);
        if !family.as_str().is_some_and(|family| FAMILIES.contains(&family)) {
            not_supported(&path, family, FAMILIES, errors);
        }
        if families[..at].contains(family) {
            errors.duplicate(&path, family.clone());
        }
    }
    one_of_if_set(spec, "ipFamilyPolicy", FAMILY_POLICIES, path, errors);
}

fn source_ranges(doc: &Value, spec: &Value, sort: &str, path: &Path, errors: &mut FieldErrors) {
    let listed: Vec<&str> = spec.items_at("loadBalancerSourceRanges").iter().filter_map(Value::as_str).collect();
    let annotation = doc.map_at("metadata.annotations").and_then(|map| map.get(SOURCE_RANGES)).and_then(Value::as_str);
    if !listed.is_empty() {
        // Upstream writes this one path with a capital.
        let path = path.child("LoadBalancerSourceRanges");
        if sort != "LoadBalancer" {
            errors.forbidden(&path, LOAD_BALANCER_ONLY);
        }
        for (at, range) in listed.iter().enumerate() {
            cidr(range.trim(), &path.index(at), errors);
        }
    } else if let Some(annotation) = annotation {
        let path = Path::new("metadata.annotations").key(SOURCE_RANGES);
        if sort != "LoadBalancer" {
            errors.forbidden(&path, LOAD_BALANCER_ONLY);
        }
        for range in annotation.split(',').map(str::trim).filter(|_| !annotation.trim().is_empty()) {
            cidr(range, &path, errors);
        }
    }
}

fn load_balancer(spec: &Value, sort: &str, path: &Path, errors: &mut FieldErrors) {
    let is_balanced = sort == "LoadBalancer";
    match (is_given(spec, "allocateLoadBalancerNodePorts"), is_balanced) {
        (true, false) => errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), LOAD_BALANCER_ONLY),
        (false, true) => errors.required(&Path::new("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
    match (spec.at("loadBalancerClass").and_then(Value::as_str), is_balanced) {
        (Some(_), false) => errors.forbidden(&path.child("loadBalancerClass"), LOAD_BALANCER_ONLY),
        (Some(class), true) => qualified_name(class, &path.child("loadBalancerClass"), errors),
        _ => {}
    }
}

fn traffic(spec: &Value, sort: &str, path: &Path, errors: &mut FieldErrors) {
    let external = spec.str_at("externalTrafficPolicy");
    if is_externally_accessible(spec) {
        one_of(spec, "externalTrafficPolicy", POLICIES, path, errors);
    } else if !external.is_empty() {
        errors.invalid(&path.child("externalTrafficPolicy"), external, "may only be set for externally-accessible services");
    }
    let check_port = spec.i64_at("healthCheckNodePort").unwrap_or_default();
    if check_port != 0 {
        if needs_health_check(spec) {
            port_number(check_port, &path.child("healthCheckNodePort"), errors);
        } else {
            let text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&path.child("healthCheckNodePort"), check_port, text);
        }
    }
    if is_given(spec, "internalTrafficPolicy") {
        one_of(spec, "internalTrafficPolicy", POLICIES, path, errors);
    } else if matches!(sort, "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.required(&path.child("internalTrafficPolicy"), "");
    }
    one_of_if_set(spec, "trafficDistribution", DISTRIBUTIONS, path, errors);
}

/// What a change may not do.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    let external = |spec: &Value| spec.str_at("type") == "ExternalName";
    if !external(new) && !external(old) {
        addresses_stay(new, old, &path, errors);
        families_stay(new, old, &path, errors);
    }
    let is_balanced = |spec: &Value| spec.str_at("type") == "LoadBalancer";
    if is_balanced(new) && is_balanced(old) && new.str_at("loadBalancerClass") != old.str_at("loadBalancerClass") {
        let class = new.at("loadBalancerClass").cloned().unwrap_or_default();
        errors.invalid(&path.child("loadBalancerClass"), class, "may not change once set");
    }
    let check_port = |spec: &Value| spec.i64_at("healthCheckNodePort").unwrap_or_default();
    if needs_health_check(new) && needs_health_check(old) && check_port(new) != check_port(old) {
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
}

fn addresses_stay(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    if is_headless(new) && is_headless(old) {
        return;
    }
    list_stays(new, old, "clusterIPs", "clusterIP", path, errors);
}

fn families_stay(new: &Value, old: &Value, path: &Path, errors: &mut FieldErrors) {
    if is_headless(new) || is_headless(old) {
        return;
    }
    list_stays(new, old, "ipFamilies", "ipFamily", path, errors);
}

/// The first entry stays; a second one may come, and go with the policy `SingleStack`.
fn list_stays(new: &Value, old: &Value, list: &str, noun: &str, path: &Path, errors: &mut FieldErrors) {
    let (now, before) = (new.items_at(list), old.items_at(list));
    let whole = new.at(list).cloned().unwrap_or_default();
    let at = |index: usize| path.child(list).index(index);
    if now.len() == before.len() {
        for (index, _) in now.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before) {
            errors.invalid(&at(index), whole.clone(), "may not change once set");
        }
        return;
    }
    if now.is_empty() {
        return errors.invalid(&at(0), whole, &format!("primary {noun} can not be unset"));
    }
    if !before.is_empty() && now[0] != before[0] {
        errors.invalid(&at(0), whole, "may not change once set");
    }
    if now.len() < before.len() && new.str_at("ipFamilyPolicy") != "SingleStack" {
        let policy = new.at("ipFamilyPolicy").cloned().unwrap_or_default();
        errors.invalid(&path.child("ipFamilyPolicy"), policy, &format!("must be set to 'SingleStack' when releasing the secondary {noun}"));
    }
}

/// A write to the status.
pub(super) fn status(doc: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status.loadBalancer.ingress");
    let ingress = doc.items_at("status.loadBalancer.ingress");
    if doc.str_at("spec.type") != "LoadBalancer" && !ingress.is_empty() {
        return errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (at, entry) in ingress.iter().enumerate() {
        let (path, address, host) = (path.index(at), entry.str_at("ip"), entry.str_at("hostname"));
        if !address.is_empty() {
            ip(address, &path.child("ip"), errors);
        }
        match (is_given(entry, "ipMode"), address.is_empty()) {
            (false, false) => errors.required(&path.child("ipMode"), "must be specified when `ip` is set"),
            (true, true) => errors.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set"),
            _ => one_of_if_set(entry, "ipMode", &["Proxy", "VIP"], &path, errors),
        }
        if !host.is_empty() {
            dns_subdomain(host, &path.child("hostname"), errors);
            if host.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}

/// `clusterIP` and the first of `clusterIPs` say the same; who sets one means both.
pub(super) fn normalise(new: &mut Value, old: Option<&Value>) {
    let one = new.str_at("spec.clusterIP").to_owned();
    let before = old.map(|old| old.str_at("spec.clusterIP").to_owned()).unwrap_or_default();
    let list_untouched = old.is_some_and(|old| same(&new["spec"]["clusterIPs"], &old["spec"]["clusterIPs"]));
    if one.is_empty() {
        new.remove_at("spec.clusterIP");
    }
    if one.is_empty() && !before.is_empty() && list_untouched {
        new.remove_at("spec.clusterIPs");
    } else if !one.is_empty() && (new.items_at("spec.clusterIPs").is_empty() || (list_untouched && one != before)) {
        new.set_at("spec.clusterIPs", vec![one]);
    }
}

/// A change of type lets go of what only the old type had, where the writer left it as it was.
pub(super) fn drop_what_the_type_lost(new: &mut Value, old: &Value) {
    let lost = |needs: fn(&Value) -> bool, new: &Value| needs(&old["spec"]) && !needs(&new["spec"]);
    let mut members: Vec<&str> = Vec::new();
    if lost(needs_cluster_ip, new) {
        members.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if lost(needs_health_check, new) {
        members.push("healthCheckNodePort");
    }
    if lost(|spec| spec.str_at("type") == "LoadBalancer", new) {
        members.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if lost(is_externally_accessible, new) {
        members.push("externalTrafficPolicy");
    }
    for member in members {
        if same(new["spec"].at(member).unwrap_or(&Value::Null), old["spec"].at(member).unwrap_or(&Value::Null)) {
            copy_member(&mut new["spec"], &Value::Null, member);
        }
    }
    if lost(needs_node_port, new) && node_ports(new) == node_ports(old) {
        new.items_at_mut("spec.ports").iter_mut().for_each(|port| drop(port.remove_at("nodePort")));
    }
}

fn node_ports(doc: &Value) -> BTreeSet<i64> {
    doc.items_at("spec.ports").iter().filter_map(|port| port.i64_at("nodePort")).filter(|port| *port != 0).collect()
}

fn is_headless(spec: &Value) -> bool {
    matches!(spec.items_at("clusterIPs"), [only] if only == "None")
}

fn needs_cluster_ip(spec: &Value) -> bool {
    matches!(spec.str_at("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_port(spec: &Value) -> bool {
    match spec.str_at("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.at("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

fn needs_health_check(spec: &Value) -> bool {
    spec.str_at("type") == "LoadBalancer" && spec.str_at("externalTrafficPolicy") == "Local"
}

/// Reached from outside the cluster by more than routing.
pub(super) fn is_externally_accessible(spec: &Value) -> bool {
    match spec.str_at("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.items_at("externalIPs").is_empty(),
        _ => false,
    }
}

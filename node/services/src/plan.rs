//! From API objects to what the data plane needs: pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use contract::{Affinity, Endpoint, PortSpec, Protocol, ServiceSpec};
use kinds::core::{Service, ServicePort};
use kinds::discovery::{Endpoint as SliceEndpoint, EndpointSlice};

/// Upstream's default, three hours; the API server fills it in.
const AFFINITY_SECONDS: u32 = 10_800;
/// Somebody else's proxy serves it.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// The slice belongs to the service of this name.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What the node `node` does for a service; None where there is nothing to do (headless, ExternalName, no address yet).
///
/// Only IPv4 addresses are taken. Endpoints are the ready ones; where none is, those that still serve while they terminate.
pub fn plan<'a>(service: &Service, slices: impl IntoIterator<Item = &'a EndpointSlice>, node: &str) -> Option<ServiceSpec> {
    if !is_proxied(service) {
        return None;
    }
    let slices: Vec<&EndpointSlice> = slices.into_iter().filter(|slice| slice.address_type == "IPv4").collect();
    let spec = &service.spec;
    Some(ServiceSpec {
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        ips: addresses(service),
        ports: spec.ports.iter().filter_map(|port| plan_port(port, &slices, node)).collect(),
        affinity: affinity(service),
        external_local: spec.external_traffic_policy == "Local",
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
    })
}

fn is_proxied(service: &Service) -> bool {
    let labels = &service.metadata.labels;
    let has_address = !matches!(service.spec.cluster_ip.as_str(), "" | "None");
    has_address && service.spec.r#type != "ExternalName" && !labels.contains_key(PROXY_NAME_LABEL) && !labels.contains_key(HEADLESS_LABEL)
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let spec = &service.spec;
    let cluster = if spec.cluster_ips.is_empty() { std::slice::from_ref(&spec.cluster_ip) } else { &spec.cluster_ips[..] };
    // `ipMode: Proxy` wants its traffic to take the way through the balancer.
    let balanced = service.status.load_balancer.ingress.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let all = cluster.iter().chain(&spec.external_ips).chain(balanced.map(|ingress| &ingress.ip));
    let mut out: Vec<IpAddr> = all.filter_map(|ip| ip.parse::<Ipv4Addr>().ok()).map(IpAddr::V4).collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn affinity(service: &Service) -> Affinity {
    if service.spec.session_affinity != "ClientIP" {
        return Affinity::None;
    }
    let config = service.spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client_ip| client_ip.timeout_seconds).and_then(|seconds| u32::try_from(seconds).ok());
    Affinity::ClientIp { timeout_seconds: seconds.unwrap_or(AFFINITY_SECONDS) }
}

fn plan_port(port: &ServicePort, slices: &[&EndpointSlice], node: &str) -> Option<PortSpec> {
    let protocol = protocol(&port.protocol)?;
    let mut ready = BTreeMap::new();
    let mut last_resort = BTreeMap::new();
    for slice in slices {
        for number in ports_named(slice, &port.name, protocol) {
            for endpoint in &slice.endpoints {
                let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) else { continue };
                let local = endpoint.node_name.as_deref() == Some(node);
                let list = match usability(endpoint) {
                    Usability::Ready => &mut ready,
                    Usability::LastResort => &mut last_resort,
                    Usability::None => continue,
                };
                list.insert((ip, number), Endpoint { ip: IpAddr::V4(ip), port: number, local });
            }
        }
    }
    let usable = if ready.is_empty() { last_resort } else { ready };
    Some(PortSpec {
        name: port.name.clone(),
        protocol,
        port: u16::try_from(port.port).ok()?,
        node_port: u16::try_from(port.node_port).unwrap_or_default(),
        endpoints: usable.into_values().collect(),
    })
}

/// The slice's numbers are target ports; they meet a service's port by name and protocol.
fn ports_named(slice: &EndpointSlice, name: &str, wanted: Protocol) -> impl Iterator<Item = u16> {
    let same = move |port: &&kinds::discovery::EndpointPort| {
        port.name.as_deref().unwrap_or_default() == name && protocol(port.protocol.as_deref().unwrap_or("TCP")) == Some(wanted)
    };
    slice.ports.iter().filter(same).filter_map(|port| u16::try_from(port.port?).ok())
}

enum Usability {
    Ready,
    /// Terminating, but it still serves.
    LastResort,
    None,
}

fn usability(endpoint: &SliceEndpoint) -> Usability {
    let conditions = &endpoint.conditions;
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match (ready, serving && conditions.terminating.unwrap_or(false)) {
        (true, _) => Usability::Ready,
        (false, true) => Usability::LastResort,
        (false, false) => Usability::None,
    }
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "TCP" | "" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "web"}, "spec": spec})).unwrap()
    }

    fn slice(ports: serde_json::Value, endpoints: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({"metadata": {}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints})).unwrap()
    }

    /// `web:TCP 80/30080 -> 10.0.0.1:8080*` where the star says local.
    fn shown(spec: Option<ServiceSpec>) -> String {
        let Some(spec) = spec else { return "nothing".into() };
        let ports = spec.ports.iter().map(|port| {
            let endpoints: Vec<String> =
                port.endpoints.iter().map(|e| format!("{}:{}{}", e.ip, e.port, if e.local { "*" } else { "" })).collect();
            format!("{}:{:?} {}/{} -> {}", port.name, port.protocol, port.port, port.node_port, endpoints.join(" "))
        });
        ports.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn endpoints_are_ready_ones_or_else_those_that_still_serve() {
        let web = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80, "protocol": "TCP"}]}));
        let one = |ip: &str, conditions: serde_json::Value| json!({"addresses": [ip], "conditions": conditions});
        let rows: &[(serde_json::Value, &str)] = &[
            (json!([]), ":Tcp 80/0 -> "),
            (json!([one("10.0.0.2", json!({})), one("10.0.0.1", json!({"ready": true}))]), ":Tcp 80/0 -> 10.0.0.1:8080 10.0.0.2:8080"),
            (
                json!([
                    one("10.0.0.1", json!({"ready": false, "serving": true, "terminating": true})),
                    one("10.0.0.2", json!({"ready": true}))
                ]),
                ":Tcp 80/0 -> 10.0.0.2:8080",
            ),
            (
                json!([
                    one("10.0.0.1", json!({"ready": false, "serving": true, "terminating": true})),
                    one("10.0.0.2", json!({"ready": false}))
                ]),
                ":Tcp 80/0 -> 10.0.0.1:8080",
            ),
            (json!([one("10.0.0.1", json!({"ready": false, "serving": false, "terminating": true}))]), ":Tcp 80/0 -> "),
            (
                json!([{"addresses": ["10.0.0.1"], "nodeName": "n1"}, {"addresses": ["10.0.0.2"], "nodeName": "n2"}]),
                ":Tcp 80/0 -> 10.0.0.1:8080* 10.0.0.2:8080",
            ),
        ];
        for (endpoints, expected) in rows {
            let slice = slice(json!([{"name": "", "port": 8080, "protocol": "TCP"}]), endpoints.clone());
            assert_eq!(shown(plan(&web, [&slice], "n1")), *expected, "{endpoints}");
        }
    }

    #[test]
    fn ports_meet_by_name_and_protocol_over_all_slices() {
        let web = service(json!({"clusterIP": "10.96.0.5", "type": "NodePort", "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ]}));
        let slices = [
            slice(
                json!([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]),
                json!([{"addresses": ["10.0.0.1"]}]),
            ),
            // Another pod calls another number `web`.
            slice(
                json!([{"name": "http", "port": 9090, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "TCP"}]),
                json!([{"addresses": ["10.0.0.2"]}]),
            ),
        ];
        assert_eq!(shown(plan(&web, &slices, "n")), "http:Tcp 80/30080 -> 10.0.0.1:8080 10.0.0.2:9090; dns:Udp 53/0 -> 10.0.0.1:5353");
    }

    #[test]
    fn what_has_no_address_is_no_business_of_the_data_plane() {
        for spec in [
            json!({"clusterIP": "None", "ports": [{"port": 80}]}),
            json!({"type": "ExternalName", "externalName": "example.org"}),
            json!({"ports": [{"port": 80}]}),
        ] {
            assert_eq!(plan(&service(spec.clone()), [], "n"), None, "{spec}");
        }
        let mut foreign = service(json!({"clusterIP": "10.96.0.5"}));
        foreign.metadata.labels.insert(PROXY_NAME_LABEL.into(), "other".into());
        assert_eq!(plan(&foreign, [], "n"), None);
    }

    #[test]
    fn addresses_policies_and_affinity_are_taken_over() {
        let mut web = service(json!({
            "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00::5"], "externalIPs": ["192.0.2.7"], "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}, "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local",
        }));
        web.status =
            serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}]}}))
                .unwrap();
        let spec = plan(&web, [], "n").unwrap();
        let ips: Vec<String> = spec.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.96.0.5", "192.0.2.7", "192.0.2.8"]);
        assert_eq!(spec.affinity, Affinity::ClientIp { timeout_seconds: 60 });
        assert!(spec.external_local && spec.internal_local);
    }
}

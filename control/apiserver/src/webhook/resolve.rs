//! A service as addresses: those of its ready endpoints, at the port that the service's own port leads to.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::cache::Cache;

const SERVICES: &str = "/services/";
const SLICES: &str = "/discovery.k8s.io/endpointslices/";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where a service is.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    Endpoints(Vec<SocketAddr>),
    /// A name outside of the cluster.
    Name(String),
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    r#type: String,
    external_name: String,
    ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<String>,
    port: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Slice {
    ports: Option<Vec<Port>>,
    endpoints: Option<Vec<Backend>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Backend {
    addresses: Vec<String>,
    conditions: Conditions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

/// The addresses of `namespace/name` at its port `port`; what is missing in upstream's words.
pub(crate) fn service(cache: &Cache, namespace: &str, name: &str, port: u16) -> Result<Found, String> {
    let item = cache.kind(SERVICES).and_then(|services| services.get(&format!("{SERVICES}{namespace}/{name}")));
    let item = item.ok_or_else(|| format!("service {name:?} not found"))?;
    let service = item.object.lens::<Service>().map_err(|status| status.message)?;
    if service.spec.r#type == "ExternalName" {
        return Ok(Found::Name(service.spec.external_name.clone()));
    }
    let own = service.spec.ports.iter().find(|own| own.port == Some(port.into()));
    let own = own.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let ready = endpoints(cache, namespace, name, own.name.as_deref().unwrap_or_default());
    if ready.is_empty() { Err(format!("no endpoints available for service {name:?}")) } else { Ok(Found::Endpoints(ready)) }
}

fn endpoints(cache: &Cache, namespace: &str, service: &str, port: &str) -> Vec<SocketAddr> {
    let Some(slices) = cache.kind(SLICES) else { return Vec::new() };
    let (start, end) = crate::list::bounds(SLICES, namespace);
    let ring = slices.read();
    let own = ring.range(&start, &end).filter(|(_, item)| item.object.meta.labels.get(SERVICE_NAME).is_some_and(|name| name == service));
    let lenses = own.filter_map(|(_, item)| item.object.lens::<Slice>().ok());
    lenses.flat_map(|slice| addresses(&slice, port)).collect()
}

/// The ready endpoints of a slice that a webhook may be at: nobody points us at our own loopback or link.
fn addresses(slice: &Slice, port: &str) -> Vec<SocketAddr> {
    let named = slice.ports.iter().flatten().find(|one| one.name.as_deref().unwrap_or_default() == port);
    let Some(number) = named.and_then(|one| u16::try_from(one.port?).ok()) else { return Vec::new() };
    let ready = slice.endpoints.iter().flatten().filter(|one| one.conditions.ready != Some(false));
    let ips = ready.filter_map(|one| one.addresses.first()?.parse::<IpAddr>().ok()).filter(|ip| is_elsewhere(*ip));
    ips.map(|ip| SocketAddr::new(ip, number)).collect()
}

fn is_elsewhere(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn only_ready_endpoints_elsewhere_are_asked() {
        let slice = json!({"ports": [{"name": "https", "port": 8443}, {"name": "", "port": 9443}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"]}, {"addresses": ["127.0.0.1"]}, {"addresses": ["169.254.169.254"]}]});
        let slice: Slice = serde_json::from_value(slice).unwrap();
        let at = |port: &str| addresses(&slice, port).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(at("https"), ["10.0.0.1:8443", "10.0.0.3:8443"]);
        assert_eq!(at(""), ["10.0.0.1:9443", "10.0.0.3:9443"]);
        assert!(at("none").is_empty());
    }
}

//! From a Service and its EndpointSlices to the records of its names: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use kinds::core::Service;
use kinds::discovery::{Endpoint, EndpointSlice};

use crate::name::{Name, dashed};

/// What one name answers, before encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) a: BTreeSet<Ipv4Addr>,
    pub(crate) srv: BTreeSet<Srv>,
    pub(crate) ptr: BTreeSet<Name>,
    pub(crate) cname: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Srv {
    pub(crate) target: Name,
    pub(crate) port: u16,
    /// The target's own address, for the additional section.
    pub(crate) ip: Ipv4Addr,
}

impl Records {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first alias wins; anything beside an alias is not answered.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.a.extend(&other.a);
        self.srv.extend(other.srv.iter().cloned());
        self.ptr.extend(other.ptr.iter().cloned());
        self.cname = self.cname.take().or_else(|| other.cname.clone());
    }
}

pub(crate) type Names = BTreeMap<Name, Records>;

/// Every name that a service makes. `services` is `svc.<domain>`.
pub(crate) fn of_service<'a>(service: &Service, slices: impl IntoIterator<Item = &'a EndpointSlice>, services: &Name) -> Names {
    let mut out = Names::new();
    let meta = &service.metadata;
    let Some(base) = services.below(&meta.namespace).and_then(|namespace| namespace.below(&meta.name)) else { return out };
    match service.spec.cluster_ip.as_str() {
        _ if service.spec.r#type == "ExternalName" => {
            if let Some(target) = Name::parse(&service.spec.external_name) {
                out.entry(base).or_default().cname = Some(target);
            }
        }
        "None" => headless(service, slices, &base, &mut out),
        address => {
            if let Ok(ip) = address.parse() {
                cluster_ip(service, ip, &base, &mut out);
            }
        }
    }
    out
}

fn cluster_ip(service: &Service, ip: Ipv4Addr, base: &Name, out: &mut Names) {
    out.entry(base.clone()).or_default().a.insert(ip);
    out.entry(Name::reverse(ip)).or_default().ptr.insert(base.clone());
    for port in &service.spec.ports {
        let Ok(number) = u16::try_from(port.port) else { continue };
        let srv = Srv { target: base.clone(), port: number, ip };
        add_srv(base, &port.name, &port.protocol, srv, out);
    }
}

fn headless<'a>(service: &Service, slices: impl IntoIterator<Item = &'a EndpointSlice>, base: &Name, out: &mut Names) {
    for slice in slices.into_iter().filter(|slice| slice.address_type == "IPv4") {
        for endpoint in slice.endpoints.iter().filter(|endpoint| is_published(service, endpoint)) {
            for ip in endpoint.addresses.iter().filter_map(|ip| ip.parse::<Ipv4Addr>().ok()) {
                let label = endpoint.hostname.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| dashed(ip));
                let Some(own) = base.below(&label) else { continue };
                out.entry(base.clone()).or_default().a.insert(ip);
                out.entry(own.clone()).or_default().a.insert(ip);
                out.entry(Name::reverse(ip)).or_default().ptr.insert(own.clone());
                for port in &slice.ports {
                    let Some(number) = port.port.and_then(|number| u16::try_from(number).ok()) else { continue };
                    let srv = Srv { target: own.clone(), port: number, ip };
                    let protocol = port.protocol.as_deref().unwrap_or("TCP");
                    add_srv(base, port.name.as_deref().unwrap_or_default(), protocol, srv, out);
                }
            }
        }
    }
}

fn is_published(service: &Service, endpoint: &Endpoint) -> bool {
    service.spec.publish_not_ready_addresses || endpoint.conditions.ready.unwrap_or(true)
}

/// At `_port._protocol.base` where the port has a name, and at the base itself, as upstream's server has it.
fn add_srv(base: &Name, port: &str, protocol: &str, srv: Srv, out: &mut Names) {
    out.entry(base.clone()).or_default().srv.insert(srv.clone());
    let protocol = if protocol.is_empty() { "_tcp".into() } else { format!("_{}", protocol.to_lowercase()) };
    if port.is_empty() {
        return;
    }
    if let Some(name) = base.below(&protocol).and_then(|name| name.below(&format!("_{port}"))) {
        out.entry(name).or_default().srv.insert(srv);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value, slices: Value, expected: &Expect) {
        let service: Service = serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "web"}, "spec": spec})).unwrap();
        let slices: Vec<EndpointSlice> = serde_json::from_value(slices).unwrap();
        let names = of_service(&service, &slices, &Name::parse("svc.cluster.local").unwrap());
        expected.assert_eq(&names.iter().map(|(name, records)| line(name, records)).collect::<String>());
    }

    fn line(name: &Name, records: &Records) -> String {
        let mut out = text(name);
        records.a.iter().for_each(|ip| out += &format!(" A {ip}"));
        records.srv.iter().for_each(|srv| out += &format!(" SRV {}:{} ({})", text(&srv.target), srv.port, srv.ip));
        records.ptr.iter().for_each(|name| out += &format!(" PTR {}", text(name)));
        records.cname.iter().for_each(|name| out += &format!(" CNAME {}", text(name)));
        out + "\n"
    }

    fn text(name: &Name) -> String {
        let labels = crate::name::labels_before(name.as_bytes(), b"\0").unwrap();
        labels.into_iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(".")
    }

    #[test]
    fn a_cluster_ip_has_one_address_and_srv_for_named_ports() {
        check(
            json!({"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}),
            json!([]),
            &expect![[r#"
                5.0.96.10.in-addr.arpa PTR web.d.svc.cluster.local
                web.d.svc.cluster.local A 10.96.0.5 SRV web.d.svc.cluster.local:53 (10.96.0.5) SRV web.d.svc.cluster.local:80 (10.96.0.5)
                _http._tcp.web.d.svc.cluster.local SRV web.d.svc.cluster.local:80 (10.96.0.5)
            "#]],
        );
    }

    #[test]
    fn a_headless_service_names_each_ready_endpoint() {
        let slices = json!([{"addressType": "IPv4", "metadata": {}, "ports": [{"name": "db", "port": 5432}], "endpoints": [
            {"addresses": ["10.0.0.1"], "hostname": "web-0"}, {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
        ]}]);
        check(
            json!({"clusterIP": "None"}),
            slices.clone(),
            &expect![[r#"
            1.0.0.10.in-addr.arpa PTR web-0.web.d.svc.cluster.local
            2.0.0.10.in-addr.arpa PTR 10-0-0-2.web.d.svc.cluster.local
            _db._tcp.web.d.svc.cluster.local SRV web-0.web.d.svc.cluster.local:5432 (10.0.0.1) SRV 10-0-0-2.web.d.svc.cluster.local:5432 (10.0.0.2)
            web.d.svc.cluster.local A 10.0.0.1 A 10.0.0.2 SRV web-0.web.d.svc.cluster.local:5432 (10.0.0.1) SRV 10-0-0-2.web.d.svc.cluster.local:5432 (10.0.0.2)
            web-0.web.d.svc.cluster.local A 10.0.0.1
            10-0-0-2.web.d.svc.cluster.local A 10.0.0.2
        "#]],
        );
        check(
            json!({"clusterIP": "None", "publishNotReadyAddresses": true}),
            slices,
            &expect![[r#"
            1.0.0.10.in-addr.arpa PTR web-0.web.d.svc.cluster.local
            2.0.0.10.in-addr.arpa PTR 10-0-0-2.web.d.svc.cluster.local
            3.0.0.10.in-addr.arpa PTR 10-0-0-3.web.d.svc.cluster.local
            _db._tcp.web.d.svc.cluster.local SRV web-0.web.d.svc.cluster.local:5432 (10.0.0.1) SRV 10-0-0-2.web.d.svc.cluster.local:5432 (10.0.0.2) SRV 10-0-0-3.web.d.svc.cluster.local:5432 (10.0.0.3)
            web.d.svc.cluster.local A 10.0.0.1 A 10.0.0.2 A 10.0.0.3 SRV web-0.web.d.svc.cluster.local:5432 (10.0.0.1) SRV 10-0-0-2.web.d.svc.cluster.local:5432 (10.0.0.2) SRV 10-0-0-3.web.d.svc.cluster.local:5432 (10.0.0.3)
            web-0.web.d.svc.cluster.local A 10.0.0.1
            10-0-0-2.web.d.svc.cluster.local A 10.0.0.2
            10-0-0-3.web.d.svc.cluster.local A 10.0.0.3
        "#]],
        );
    }

    #[test]
    fn an_external_name_is_an_alias() {
        check(
            json!({"type": "ExternalName", "externalName": "Example.ORG."}),
            json!([]),
            &expect![[r#"
            web.d.svc.cluster.local CNAME example.org
        "#]],
        );
        check(json!({}), json!([]), &expect![[""]]);
        check(json!({"clusterIP": "None"}), json!([]), &expect![[""]]);
    }
}

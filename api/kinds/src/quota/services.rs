//! Services: how many there are, and what they take of the nodes.

use schema::quantity::Format;
use schema::{DocExt, Quantity, Value};

use super::one;
use crate::lens::Resources;

const NODE_PORTS: &str = "services.nodeports";
const LOAD_BALANCERS: &str = "services.loadbalancers";

pub(super) fn is_for(name: &str) -> bool {
    matches!(name, "services" | NODE_PORTS | LOAD_BALANCERS)
}

pub(super) fn usage(service: &Value) -> Resources {
    let is_balanced = service.str_at("spec.type") == "LoadBalancer";
    let amount = |count: usize| Quantity::from_value(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi);
    Resources::from([
        ("services".to_owned(), one()),
        (NODE_PORTS.to_owned(), amount(node_ports(service))),
        (LOAD_BALANCERS.to_owned(), amount(usize::from(is_balanced))),
    ])
}

fn node_ports(service: &Value) -> usize {
    let ports = service.items_at("spec.ports");
    match service.str_at("spec.type") {
        "NodePort" => ports.len(),
        "LoadBalancer" if service.at("spec.allocateLoadBalancerNodePorts") == Some(&Value::Bool(false)) => {
            ports.iter().filter(|port| port.i64_at("nodePort").is_some_and(|number| number != 0)).count()
        }
        "LoadBalancer" => ports.len(),
        _ => 0,
    }
}

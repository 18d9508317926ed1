//! Where each Service's traffic goes: EndpointSlices, and the Endpoints objects that older clients read.
//!
//! Both are made from the same pure answer: which pods a selector picks, at which ports, in which condition.

pub mod legacy;
pub mod slices;
pub mod targets;
pub mod triggers;

use std::sync::Arc;

use client::Object;
use kinds::core::{Pod, Service};
use reconcile::informers::{BY_SELECTOR, selector_key};
use reconcile::{Cx, Wiring};
use schema::Status;

/// A pod's change is the keys of the services that select it.
fn wire_pods(wiring: &mut Wiring<'_>) {
    let services = wiring.lister("v1", "services");
    wiring.maps("v1", "pods", move |pod| services_of(&services, pod));
}

fn services_of(services: &client::Lister, pod: &Object) -> Vec<String> {
    let candidates =
        pod.meta.labels.iter().flat_map(|(name, value)| services.by(BY_SELECTOR, &selector_key(&pod.meta.namespace, name, value)));
    let selecting =
        candidates.filter(|service| service.lens::<Service>().is_ok_and(|service| targets::selects(&service, &pod.meta.labels)));
    selecting.map(|service| service.meta.key()).collect()
}

fn selected_pods(cx: &Cx, service: &Service) -> Result<Vec<Arc<Pod>>, Status> {
    let selected = cx
        .lister("v1", "pods")
        .select(client::informer::BY_NAMESPACE, &service.metadata.namespace, |pod| targets::selects(service, &pod.meta.labels));
    selected.iter().map(|pod| pod.lens::<Pod>()).collect()
}

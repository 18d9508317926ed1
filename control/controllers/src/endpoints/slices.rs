//! Keeps the EndpointSlices of each Service that selects pods: at most a hundred endpoints a slice, as few writes as possible.
//!
//! Watches Services, pods and its own slices. A slice that someone else manages (another managed-by label) is never touched.

use std::sync::Arc;

use async_trait::async_trait;
use client::informer::BY_OWNER;
use client::{Object, Options, Target as Api};
use kinds::core::Service;
use kinds::discovery::{Endpoint, EndpointSlice};
use reconcile::writes::Expectation;
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{Map, Status, Value, json};

use super::targets::{self, PortKey};
use super::triggers::{self, Triggers};
use crate::pods::owner_reference;

pub const NAME: &str = "endpointslice-controller";
const DISCOVERY: &str = "discovery.k8s.io/v1";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const SLICE_MAX: usize = 100;

#[derive(Default)]
pub struct EndpointSlices {
    triggers: Triggers,
}

#[async_trait]
impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", "services");
        wiring.owns(DISCOVERY, "endpointslices", "Service");
        super::wire_pods(wiring);
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let slices = cx.lister(DISCOVERY, "endpointslices");
        let Some(object) = cx.get("v1", "services", key) else {
            cx.expectations.forget(key);
            self.triggers.forget(key);
            return Ok(Action::AwaitChange);
        };
        let service = object.lens::<Service>()?;
        if !targets::is_selecting(&service) || object.meta.is_deleting() || !cx.expectations.are_met(key, &slices) {
            return Ok(Action::AwaitChange);
        }
        let pods = super::selected_pods(cx, &service)?;
        let owned = slices.by(BY_OWNER, &object.meta.uid);
        let owned = owned
            .into_iter()
            .filter(|slice| slice.meta.labels.get(MANAGED_BY).is_some_and(|by| by == MANAGER) && !slice.meta.is_deleting());
        let held =
            owned.map(|slice| Ok(Held { lens: slice.lens::<EndpointSlice>()?, object: slice })).collect::<Result<Vec<_>, Status>>()?;
        let changed_at = self.triggers.earliest(key, &service, &pods);
        for write in plan(&service, &targets::groups(&service, &pods), &held) {
            perform(cx, key, &service, write, changed_at.as_deref()).await?;
        }
        Ok(Action::AwaitChange)
    }
}

/// A slice that is there.
pub struct Held {
    pub object: Arc<Object>,
    pub lens: Arc<EndpointSlice>,
}

#[derive(Debug)]
pub enum Write {
    Create { ports: PortKey, endpoints: Vec<Endpoint> },
    Update { slice: Arc<Object>, ports: PortKey, endpoints: Vec<Endpoint> },
    Delete { slice: Arc<Object> },
}

/// Keeps each endpoint in the slice where it is, fills the gaps with new ones, opens new slices for the rest. Pure.
fn plan(service: &Service, groups: &targets::Groups, held: &[Held]) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut kept = vec![false; held.len()];
    let placeholder = targets::Groups::from([(PortKey::new(), Vec::new())]);
    let groups = if groups.is_empty() { &placeholder } else { groups };
    for (ports, targets) in groups {
        let wanted: Vec<Endpoint> = targets.iter().map(targets::Target::to_endpoint).collect();
        let here: Vec<usize> = (0..held.len()).filter(|at| held[*at].lens.ports == targets::to_ports(ports)).collect();
        for (at, endpoints) in distribute(&wanted, &here.iter().map(|at| held[*at].lens.endpoints.as_slice()).collect::<Vec<_>>()) {
            match at.map(|at| here[at]) {
                None => writes.push(Write::Create { ports: ports.clone(), endpoints }),
                Some(at) => {
                    kept[at] = true;
                    let slice = &held[at];
                    if slice.lens.endpoints != endpoints || !has_labels(service, &slice.object) {
                        writes.push(Write::Update { slice: Arc::clone(&slice.object), ports: ports.clone(), endpoints });
                    }
                }
            }
        }
    }
    let mut surplus = held.iter().zip(kept).filter(|(_, kept)| !kept).map(|(slice, _)| Write::Delete { slice: Arc::clone(&slice.object) });
    // A slice that goes and one that comes are one write, and whoever watches sees no gap.
    for write in &mut writes {
        if let Write::Create { ports, endpoints } = write
            && let Some(Write::Delete { slice }) = surplus.next()
        {
            *write = Write::Update { slice, ports: std::mem::take(ports), endpoints: std::mem::take(endpoints) };
        }
    }
    writes.extend(surplus);
    writes
}

/// New content for each slice that stays (by its position) and for new ones (None). A slice left out goes.
fn distribute(wanted: &[Endpoint], slices: &[&[Endpoint]]) -> Vec<(Option<usize>, Vec<Endpoint>)> {
    let identity = |endpoint: &Endpoint| (endpoint.addresses.clone(), endpoint.target_ref.as_ref().map(|target| target.uid.clone()));
    let mut rest: std::collections::BTreeMap<_, &Endpoint> = wanted.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
    let mut contents: Vec<(Option<usize>, Vec<Endpoint>)> = Vec::new();
    for (at, slice) in slices.iter().enumerate() {
        let stays: Vec<Endpoint> = slice.iter().filter_map(|endpoint| rest.remove(&identity(endpoint)).cloned()).collect();
        contents.push((Some(at), stays));
    }
    let mut rest: Vec<Endpoint> = wanted.iter().filter(|endpoint| rest.contains_key(&identity(endpoint))).cloned().collect();
    for (_, content) in &mut contents {
        let room = SLICE_MAX.saturating_sub(content.len()).min(rest.len());
        content.extend(rest.drain(..room));
    }
    contents.retain(|(_, content)| !content.is_empty());
    contents.extend(rest.chunks(SLICE_MAX).map(|chunk| (None, chunk.to_vec())));
    if contents.is_empty() {
        contents.push((if slices.is_empty() { None } else { Some(0) }, Vec::new()));
    }
    contents
}

fn labels(service: &Service) -> Map<String, Value> {
    let mut labels: Map<String, Value> = service.metadata.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels.remove(HEADLESS);
    if targets::is_headless(service) {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels
}

fn has_labels(service: &Service, slice: &Object) -> bool {
    let wanted = labels(service);
    wanted.len() == slice.meta.labels.len()
        && wanted.iter().all(|(name, value)| slice.meta.labels.get(name).map(String::as_str) == value.as_str())
}

fn document(service: &Service, ports: &PortKey, endpoints: &[Endpoint]) -> Value {
    json!({
        "apiVersion": DISCOVERY, "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", service.metadata.name), "namespace": service.metadata.namespace, "labels": labels(service),
            "ownerReferences": [owner_reference("v1", "Service", &service.metadata)],
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": targets::to_ports(ports),
    })
}

/// The slice as it is, with our members new: what others have written on it stays.
fn renewed(service: &Service, slice: &Object, ports: &PortKey, endpoints: &[Endpoint]) -> Value {
    let mut doc = slice.value();
    let fresh = document(service, ports, endpoints);
    doc["metadata"]["labels"] = fresh["metadata"]["labels"].clone();
    for member in ["endpoints", "ports"] {
        doc[member] = fresh[member].clone();
    }
    doc
}

async fn perform(cx: &Cx, key: &str, service: &Service, write: Write, changed_at: Option<&str>) -> Result<(), Status> {
    let collection = Api::of(DISCOVERY, "endpointslices", &service.metadata.namespace);
    let written = match write {
        Write::Create { ports, endpoints } => {
            let mut doc = document(service, &ports, &endpoints);
            triggers::annotate(&mut doc, triggers::ANNOTATION, changed_at);
            cx.client.create(collection, doc).await?
        }
        Write::Update { slice, ports, endpoints } => {
            let mut doc = renewed(service, &slice, &ports, &endpoints);
            triggers::annotate(&mut doc, triggers::ANNOTATION, changed_at);
            cx.client.update(collection.named(&slice.meta.name), doc).await?
        }
        Write::Delete { slice } => {
            let mut options = Options::default();
            options.delete.uid = Some(slice.meta.uid.clone());
            return match cx.client.delete(collection.named(&slice.meta.name), options).await {
                Err(status) if !status.is_not_found() => Err(status),
                _ => {
                    cx.expectations.expect(key, [Expectation::Gone { key: slice.meta.key(), uid: slice.meta.uid.clone() }]);
                    Ok(())
                }
            };
        }
    };
    cx.expectations.expect(key, [Expectation::Seen { key: written.meta.key(), revision: written.revision() }]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(range: std::ops::Range<usize>) -> Vec<Endpoint> {
        range.map(|n| Endpoint { addresses: vec![format!("10.0.{}.{}", n / 250, n % 250)], ..Endpoint::default() }).collect()
    }

    #[test]
    fn endpoints_stay_in_their_slice_and_gaps_are_filled() {
        let (first, second) = (endpoints(0..100), endpoints(100..150));
        let wanted: Vec<_> = endpoints(1..151);
        let made = distribute(&wanted, &[&first, &second]);
        assert_eq!(made.iter().map(|(at, content)| (*at, content.len())).collect::<Vec<_>>(), [(Some(0), 100), (Some(1), 50)]);
        assert_eq!(made[1].1, second, "the second slice is not written");
    }

    fn held(labels: &Map<String, Value>, port: i32) -> Held {
        let doc = json!({
            "metadata": {"name": "s-1", "uid": "u", "resourceVersion": "7", "labels": labels, "finalizers": ["mine"], "annotations": {"mine": "x", triggers::ANNOTATION: "t0"}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "", "protocol": "TCP", "port": port}],
        });
        let object = Object::from_value(&doc).unwrap();
        Held { lens: object.lens::<EndpointSlice>().unwrap(), object }
    }

    #[test]
    fn a_slice_without_use_becomes_the_next_one() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}}})).unwrap();
        let slices = [held(&labels(&service), 8080)];
        let writes = plan(&service, &targets::Groups::new(), &slices);
        assert!(
            matches!(writes.as_slice(), [Write::Update { ports, endpoints, .. }] if ports.is_empty() && endpoints.is_empty()),
            "{writes:?}"
        );
    }

    #[test]
    fn what_others_wrote_on_a_slice_stays() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}}})).unwrap();
        let slice = held(&labels(&service), 8080);
        let mut doc = renewed(&service, &slice.object, &Vec::new(), &endpoints(0..1));
        triggers::annotate(&mut doc, triggers::ANNOTATION, Some("t1"));
        assert_eq!((&doc["metadata"]["finalizers"], &doc["metadata"]["resourceVersion"]), (&json!(["mine"]), &json!("7")));
        assert_eq!(doc["metadata"]["annotations"], json!({"mine": "x", triggers::ANNOTATION: "t1"}));
        triggers::annotate(&mut doc, triggers::ANNOTATION, None);
        assert_eq!(doc["metadata"]["annotations"], json!({"mine": "x"}));
    }

    #[test]
    fn the_last_empty_slice_stays_as_a_placeholder() {
        let first = endpoints(0..3);
        assert_eq!(distribute(&[], &[&first]), vec![(Some(0), Vec::new())]);
        assert_eq!(distribute(&[], &[]), vec![(None, Vec::new())]);
        assert_eq!(distribute(&endpoints(0..250), &[]).len(), 3);
    }
}

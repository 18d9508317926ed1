//! Keeps the Endpoints object of each Service that selects pods, for clients that do not read slices.
//!
//! Watches Services, pods and Endpoints. Endpoints of a Service without selector belong to whoever wrote them.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Options, Target as Api};
use kinds::core::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints as Lens, Service};
use reconcile::{Action, Controller, Cx, Retry, Wiring};
use schema::{Map, Status, Value, json};

use super::targets::{self, Target};
use super::triggers::{self, Triggers};

pub const NAME: &str = "endpoint-controller";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Upstream's limit; more are cut off and said so.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

#[derive(Default)]
pub struct Endpoints {
    triggers: Triggers,
}

#[async_trait]
impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.primary("v1", "services");
        // The Endpoints object has its service's name.
        wiring.primary("v1", "endpoints");
        super::wire_pods(wiring);
    }

    async fn reconcile(&self, cx: &Cx, key: &str) -> Result<Action, Retry> {
        let held = cx.get("v1", "endpoints", key);
        let Some(object) = cx.get("v1", "services", key) else {
            self.triggers.forget(key);
            // Only what we made goes with the service: other people's leader election may use Endpoints.
            let ours = held.filter(|held| held.meta.labels.get(MANAGED_BY).is_some_and(|by| by == "endpoint-controller"));
            if let Some(held) = ours {
                delete(cx, &held).await?;
            }
            return Ok(Action::AwaitChange);
        };
        let service = object.lens::<Service>()?;
        if !targets::is_selecting(&service) || object.meta.is_deleting() {
            return Ok(Action::AwaitChange);
        }
        let pods = super::selected_pods(cx, &service)?;
        let (subsets, cut) = subsets(&targets::groups(&service, &pods));
        let labels = labels(&service);
        let changed_at = self.triggers.earliest(key, &service, &pods);
        let collection = Api::of("v1", "endpoints", &service.metadata.namespace);
        match held {
            None => {
                let doc = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": service.metadata.name, "namespace": service.metadata.namespace}});
                cx.client.create(collection, filled(doc, &subsets, &labels, cut, changed_at)).await?
            }
            Some(held) if same(&*held.lens::<Lens>()?, &subsets, &labels) => return Ok(Action::AwaitChange),
            Some(held) => {
                cx.client.update(collection.named(&service.metadata.name), filled(held.value(), &subsets, &labels, cut, changed_at)).await?
            }
        };
        Ok(Action::AwaitChange)
    }
}

/// The document with our members new: what others have written on it stays.
fn filled(mut doc: Value, subsets: &[EndpointSubset], labels: &Map<String, Value>, cut: bool, changed_at: Option<String>) -> Value {
    doc["subsets"] = json!(subsets);
    doc["metadata"]["labels"] = json!(labels);
    triggers::annotate(&mut doc, OVER_CAPACITY, cut.then_some("truncated"));
    triggers::annotate(&mut doc, triggers::ANNOTATION, changed_at.as_deref());
    doc
}

async fn delete(cx: &Cx, held: &Arc<client::Object>) -> Result<(), Status> {
    let mut options = Options::default();
    options.delete.uid = Some(held.meta.uid.clone());
    match cx.client.delete(Api::of("v1", "endpoints", &held.meta.namespace).named(&held.meta.name), options).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

fn labels(service: &Service) -> Map<String, Value> {
    let mut labels: Map<String, Value> = service.metadata.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    labels.insert(MANAGED_BY.into(), "endpoint-controller".into());
    labels.remove(HEADLESS);
    if targets::is_headless(service) {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels
}

fn same(held: &Lens, subsets: &[EndpointSubset], labels: &Map<String, Value>) -> bool {
    let labels_same = held.metadata.labels.len() == labels.len()
        && labels.iter().all(|(name, value)| held.metadata.labels.get(name).map(String::as_str) == value.as_str());
    labels_same && held.subsets == subsets
}

/// One subset for each set of ports; terminating pods are in neither list. Whether the limit cut some off.
fn subsets(groups: &targets::Groups) -> (Vec<EndpointSubset>, bool) {
    let mut room = ADDRESSES_MAX;
    let mut cut = false;
    let mut subsets = Vec::new();
    for (ports, targets) in groups {
        let mut live: Vec<&Target> = targets.iter().filter(|target| target.ready || !target.terminating).collect();
        cut |= live.len() > room;
        live.truncate(room);
        room -= live.len();
        if live.is_empty() {
            continue;
        }
        let (ready, not_ready): (Vec<&Target>, Vec<&Target>) = live.into_iter().partition(|target| target.ready);
        subsets.push(EndpointSubset {
            addresses: ready.into_iter().map(address).collect(),
            not_ready_addresses: not_ready.into_iter().map(address).collect(),
            ports: ports.iter().map(port).collect(),
        });
    }
    (subsets, cut)
}

fn address(target: &Target) -> EndpointAddress {
    EndpointAddress {
        ip: target.ip.clone(),
        hostname: target.hostname.clone().unwrap_or_default(),
        node_name: Some(target.pod.spec.node_name.clone()).filter(|name| !name.is_empty()),
        target_ref: Some(targets::reference(&target.pod)),
    }
}

fn port((name, protocol, number, app): &(String, String, i32, Option<String>)) -> EndpointPort {
    EndpointPort { name: name.clone(), port: *number, protocol: protocol.clone(), app_protocol: app.clone() }
}

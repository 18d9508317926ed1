//! `/metrics` in the Prometheus text format. Label values come from the registry, never from what a client sends, so that
//! nobody can make up labels without end.

use std::sync::Mutex;
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::answer::{Answer, Body, answer};
use super::route::Route;
use crate::Core;

/// Counters of the HTTP face.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Label, Counter>,
    seconds: Family<Work, Histogram, fn() -> Histogram>,
    in_flight: Family<Kind, Gauge>,
    watches: Gauge,
    pub(crate) connections: Gauge,
    revision: Gauge,
}

/// What a request is counted as.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Label {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Work {
    verb: String,
    resource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    request_kind: &'static str,
}

/// Counts a request as running until it is dropped.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let seconds: Family<Work, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 4.0, 9)));
        let metrics = Self {
            requests: Family::default(),
            seconds,
            in_flight: Family::default(),
            watches: Gauge::default(),
            connections: Gauge::default(),
            revision: Gauge::default(),
            registry: Mutex::default(),
        };
        registry.register("apiserver_request", "Requests by verb, resource and code", metrics.requests.clone());
        registry.register("apiserver_request_duration_seconds", "Time to the answer's first byte", metrics.seconds.clone());
        registry.register("apiserver_current_inflight_requests", "Requests being answered", metrics.in_flight.clone());
        registry.register("apiserver_longrunning_requests", "Watches being opened", metrics.watches.clone());
        registry.register("apiserver_open_connections", "Client connections", metrics.connections.clone());
        registry.register("apiserver_storage_revision", "The newest revision that reads show", metrics.revision.clone());
        Self { registry: registry.into(), ..metrics }
    }

    /// Prints other parts' counters beside its own: `add` registers them.
    pub fn extend(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().expect("no holder of the registry panics"));
    }

    /// The label of a request; what is not in the registry counts as nothing in particular.
    pub fn label(&self, core: &Core, method: &Method, route: &Route) -> Label {
        let plain = |verb: String| Label {
            verb,
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            subresource: String::new(),
            code: 0,
        };
        let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD].contains(method);
        let Route::Resource(asked) = route else { return plain(if known { method.as_str().to_owned() } else { "other".into() }) };
        let target = &asked.target;
        let Some(kind) = core.registry().resource(&target.group, &target.version, &target.resource) else {
            return plain(asked.word.to_uppercase());
        };
        let subresource = kind.subresource(&target.subresource).map(|sub| sub.name.to_string()).unwrap_or_default();
        Label {
            verb: asked.word.to_uppercase(),
            group: kind.group.to_string(),
            version: kind.version.to_string(),
            resource: kind.resource.to_string(),
            subresource,
            code: 0,
        }
    }

    pub fn enter(&self, label: &Label) -> InFlight {
        let gauge = match label.verb.as_str() {
            "WATCH" => self.watches.clone(),
            "GET" | "LIST" | "HEAD" => self.in_flight.get_or_create_owned(&Kind { request_kind: "readOnly" }),
            _ => self.in_flight.get_or_create_owned(&Kind { request_kind: "mutating" }),
        };
        gauge.inc();
        InFlight(gauge)
    }

    pub fn done(&self, label: Label, took: Duration) {
        let work = Work { verb: label.verb.clone(), resource: label.resource.clone() };
        self.seconds.get_or_create(&work).observe(took.as_secs_f64());
        self.requests.get_or_create(&label).inc();
    }

    pub fn answer(&self, core: &Core) -> Answer {
        core.flow().measure();
        self.revision.set(i64::try_from(core.revision()).unwrap_or(i64::MAX));
        let mut text = String::new();
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry.lock().expect("no holder of the registry panics"));
        answer(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", Body::Bytes(text.into()))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

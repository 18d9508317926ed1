//! APIService: a group version, served here or by an extension server.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};

/// A group version, served here or by an extension server.
pub struct ApiService;

impl Kind for ApiService {
    const META: Meta = Meta {
        categories: &["api-extensions"],
        subresources: &[Sub::STATUS],
        ..Meta::cluster("apiregistration.k8s.io", "APIService", "apiservices")
    };
    const COLUMNS: &[Col] = &[NAME, Col::of("Service", service), Col::of("Available", available), AGE];

    fn fill_defaults(doc: &mut Value) {
        if doc.at("spec.service").is_some_and(Value::is_object) {
            doc.default_at("spec.service.port", 443);
        }
    }
}

fn service(doc: &Value) -> Value {
    match doc.at("spec.service").filter(|service| service.is_object()) {
        Some(service) => json!(format!("{}/{}", service.str_at("namespace"), service.str_at("name"))),
        None => json!("Local"),
    }
}

/// `True`, `False (MissingEndpoints)`, `Unknown`.
fn available(doc: &Value) -> Value {
    let found = doc.items_at("status.conditions").iter().find(|condition| condition.str_at("type") == "Available");
    match found.map(|condition| (condition.str_at("status"), condition.str_at("reason"))) {
        None => json!("Unknown"),
        Some(("True", _)) => json!("True"),
        Some((status, reason)) => json!(format!("{status} ({reason})")),
    }
}

//! Between the version that is stored and the versions that are served.

use std::sync::Arc;

use client::Object;
use kinds::{Descriptor, KindRef};
use schema::{Status, Value, json};

use crate::document;

/// `stored` as `kind` serves it: itself, unless it was stored as another version or before a custom kind's schema was what it
/// is.
pub fn served(kind: &KindRef, stored: Arc<Object>) -> Result<Arc<Object>, Status> {
    let is_outdated = kind.custom.as_ref().is_some_and(|custom| custom.is_outdated(stored.revision()));
    if !is_outdated && document::is_of(&stored.raw, &kind.group, &kind.version) {
        return Ok(stored);
    }
    let doc = from_stored(kind, stored.value());
    let version = stored.meta.resource_version.clone();
    Object::parse(document::fill(&document::encode(&doc), &version))
}

/// A stored document in the version of `kind`.
pub fn from_stored(kind: &Descriptor, doc: Value) -> Value {
    if kind.custom.is_none() && doc["apiVersion"] == kind.api_version() {
        return doc;
    }
    let mut doc = kind.strategy.from_stored(doc);
    doc["apiVersion"] = json!(kind.api_version());
    doc["kind"] = json!(kind.kind);
    doc
}

/// A document of the version of `kind` in the stored one.
pub fn to_stored(kind: &KindRef, stored: &KindRef, doc: Value) -> Value {
    if Arc::ptr_eq(kind, stored) {
        return doc;
    }
    let mut doc = kind.strategy.to_stored(doc);
    doc["apiVersion"] = json!(stored.api_version());
    doc["kind"] = json!(stored.kind);
    doc
}

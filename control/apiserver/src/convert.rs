//! Between the version that is stored and the versions that are served.
//!
//! Most of it is a new name for the version, or a built-in kind's own code, and done on the spot. Of a custom kind with a
//! conversion webhook a program outside makes it ([`crate::conversion`]): what is in the cache is converted once for all who
//! read it, a document on its way to or from the store each time.

use std::sync::Arc;

use bytes::Bytes;
use client::Object;
use kinds::{Descriptor, KindRef};
use schema::{DocExt, Status, Value, json};

use crate::cache::Cache;
use crate::cache::item::Item;
use crate::{conversion, document};

/// Whether documents of `kind` may have to be asked for.
pub fn may_ask(kind: &Descriptor) -> bool {
    kind.custom.as_ref().is_some_and(|custom| custom.webhook.is_some())
}

/// Whether only a webhook can make of `raw` what `kind` serves.
pub fn asks(kind: &Descriptor, raw: &[u8]) -> bool {
    may_ask(kind) && !document::is_of(raw, &kind.group, &kind.version)
}

/// `stored` as `kind` serves it: itself, unless it was stored as another version or before a custom kind's schema was what it
/// is. Not for what a webhook is asked for.
pub fn served(kind: &KindRef, stored: Arc<Object>) -> Result<Arc<Object>, Status> {
    debug_assert!(!asks(kind, &stored.raw), "a webhook makes this");
    let is_outdated = kind.custom.as_ref().is_some_and(|custom| custom.is_outdated(stored.revision()));
    if !is_outdated && document::is_of(&stored.raw, &kind.group, &kind.version) {
        return Ok(stored);
    }
    let doc = renamed(kind, stored.value());
    let version = stored.meta.resource_version.clone();
    Object::parse(document::fill(&document::encode(&doc), &version))
}

/// As [`served`], whoever makes it.
pub async fn object(cache: &Cache, kind: &KindRef, item: Arc<Item>) -> Result<Arc<Object>, Status> {
    if !may_ask(kind) {
        return served(kind, Arc::clone(&item.object));
    }
    let made = items(cache, kind, vec![item]).await?;
    Ok(Arc::clone(&made[0].object))
}

/// As [`object`], of many.
pub async fn objects(cache: &Cache, kind: &KindRef, items: Vec<Arc<Item>>) -> Result<Vec<Arc<Object>>, Status> {
    if !may_ask(kind) {
        return items.iter().map(|item| served(kind, Arc::clone(&item.object))).collect();
    }
    let made = self::items(cache, kind, items).await?;
    Ok(made.iter().map(|item| Arc::clone(&item.object)).collect())
}

/// Cached objects as `kind` serves them; each is converted once, and what came of it is kept beside it.
pub async fn items(cache: &Cache, kind: &KindRef, items: Vec<Arc<Item>>) -> Result<Vec<Arc<Item>>, Status> {
    // A watch may be older than the definition as it is now.
    let table = cache.registry().table();
    let kind = table.resource(&kind.group, &kind.version, &kind.resource).unwrap_or_else(|| Arc::clone(kind));
    conversion::items(cache, &kind, items).await
}

/// A stored document in the version of `kind`.
pub async fn from_stored(cache: &Cache, kind: &KindRef, doc: Value) -> Result<Value, Status> {
    if kind.custom.is_none() && doc["apiVersion"] == kind.api_version() {
        return Ok(doc);
    }
    if may_ask(kind) && doc["apiVersion"] != kind.api_version() {
        return asked(cache, kind, doc).await;
    }
    Ok(renamed(kind, doc))
}

/// A document of the version of `kind` in the stored one.
pub async fn to_stored(cache: &Cache, kind: &KindRef, stored: &KindRef, doc: Value) -> Result<Value, Status> {
    if Arc::ptr_eq(kind, stored) {
        return Ok(doc);
    }
    if may_ask(stored) { asked(cache, stored, doc).await } else { Ok(stored_form(kind, stored, doc)) }
}

/// A document of the version of `from` in that of `to`; `stored` is the version that built-in kinds go through.
pub async fn between(cache: &Cache, from: &KindRef, to: &KindRef, stored: &KindRef, doc: Value) -> Result<Value, Status> {
    if Arc::ptr_eq(from, to) {
        return Ok(doc);
    }
    if may_ask(to) { asked(cache, to, doc).await } else { Ok(at_once(from, to, stored, doc)) }
}

/// As [`between`], of kinds that ask nobody.
pub fn at_once(from: &KindRef, to: &KindRef, stored: &KindRef, doc: Value) -> Value {
    renamed(to, if Arc::ptr_eq(from, stored) { doc } else { stored_form(from, stored, doc) })
}

async fn asked(cache: &Cache, kind: &KindRef, doc: Value) -> Result<Value, Status> {
    let raw = Bytes::from(serde_json::to_vec(&doc).map_err(Status::internal)?);
    conversion::document(cache, kind, raw).await
}

/// What needs nobody else: the kind's own code, and the names.
fn renamed(kind: &Descriptor, doc: Value) -> Value {
    if kind.custom.is_none() && doc["apiVersion"] == kind.api_version() {
        return doc;
    }
    let is_foreign = doc.str_at("apiVersion") != kind.api_version();
    let mut doc = kind.strategy.from_stored(doc);
    doc["apiVersion"] = json!(kind.api_version());
    doc["kind"] = json!(kind.kind);
    if is_foreign { pruned(kind, doc) } else { doc }
}

fn stored_form(kind: &Descriptor, stored: &Descriptor, doc: Value) -> Value {
    let mut doc = kind.strategy.to_stored(doc);
    doc["apiVersion"] = json!(stored.api_version());
    doc["kind"] = json!(stored.kind);
    pruned(stored, doc)
}

/// Another version may have had fields that this one knows nothing of.
pub(crate) fn pruned(kind: &Descriptor, mut doc: Value) -> Value {
    if let Some(custom) = &kind.custom {
        custom.schema().prune(&mut doc);
    }
    doc
}

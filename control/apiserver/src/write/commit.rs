//! The transaction below every write.

use std::sync::Arc;

use client::Object;
use kinds::KindRef;
use schema::{Status, Value};
use store::{Entry, Guard, Key, Op, Revision, StoreError, Txn};

use crate::cache::item::Item;
use crate::core::{Call, Core};
use crate::{convert, custom, document, failure};

/// Events live this long.
const EVENT_TTL_SECONDS: u32 = 3_600;
/// Bytes of one stored document; upstream's store refuses more.
const DOCUMENT_BYTES_MAX: usize = 1_500 << 10;

/// An object as it is in the store.
pub(crate) struct Current {
    pub key: Key,
    pub revision: Revision,
    /// In the version of the call.
    pub doc: Value,
    /// It would be written otherwise now, though nothing in it changed: in another version, or fitted to a newer schema.
    pub is_outdated: bool,
}

/// What became of a transaction.
pub(crate) enum Outcome {
    Done(Arc<Object>),
    /// A guard did not hold: the key and its revision now.
    Lost {
        key: Key,
    },
}

/// Reads the call's object. 404 where there is none.
pub(crate) async fn current(call: &Call<'_>) -> Result<Current, Status> {
    let key = call.key();
    let entry = call.core.store.get(&key).await.map_err(|error| failure::of_store(&error))?;
    let entry = entry.ok_or_else(|| call.not_found())?;
    let (cache, stored) = (&call.core.cache, call.stored_kind());
    let doc = if convert::asks(&call.kind, &entry.value) {
        // What the cache has of it may be converted already.
        let cached = call.core.kind_cache(&call.kind)?.get(&key).filter(|item| item.object.revision() == entry.modified.0);
        let item = cached.map_or_else(|| Item::parse(entry.value.clone(), false), Ok)?;
        convert::object(cache, &call.kind, item).await?.value()
    } else {
        let Ok(doc) = serde_json::from_slice(&entry.value) else {
            return Err(failure::unreadable(&*call.core.store, &key).await);
        };
        convert::from_stored(cache, &call.kind, doc).await?
    };
    let is_outdated = is_outdated(&stored, &entry)?;
    Ok(Current { key: entry.key, revision: entry.modified, doc, is_outdated })
}

/// Whether the stored bytes are of another version than new ones, or do not fit the schema as it is now.
fn is_outdated(stored: &KindRef, entry: &Entry) -> Result<bool, Status> {
    if !document::is_of(&entry.value, &stored.group, &stored.version) {
        return Ok(true);
    }
    if !stored.custom.as_ref().is_some_and(|custom| custom.is_outdated(entry.modified.0)) {
        return Ok(false);
    }
    let raw: Value = serde_json::from_slice(&entry.value).map_err(Status::internal)?;
    Ok(stored.strategy.from_stored(raw.clone()) != raw)
}

/// Writes `doc` (in the version of the call) under `key`, together with `txn`. The answer is in the version of the call.
pub(crate) async fn commit(call: &Call<'_>, key: Key, doc: Value, mut txn: Txn) -> Result<Outcome, Status> {
    let encoded = document::encode(&convert::to_stored(&call.core.cache, &call.kind, &call.stored_kind(), doc).await?);
    if encoded.bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(failure::plain(format!(
            "etcdserver: request is too large: the object has {} bytes, at most {DOCUMENT_BYTES_MAX} fit",
            encoded.bytes.len()
        )));
    }
    match custom::guard(call)? {
        custom::Held::Firm(guard) => txn.guards.extend(guard),
        custom::Held::Moved(key) => return Ok(Outcome::Lost { key }),
    }
    let ttl_seconds = (call.kind.storage_prefix == "/events/").then_some(EVENT_TTL_SECONDS);
    txn.ops.insert(0, Op::Put { key: Arc::clone(&key), value: encoded.bytes, rv_at: Some(encoded.rv_at), ttl_seconds });
    let committed = match call.core.store.txn(txn).await {
        Ok(committed) => committed,
        Err(StoreError::Conflict { key, .. }) => return Ok(Outcome::Lost { key }),
        Err(error) => return Err(failure::of_store(&error)),
    };
    shown(call.core, committed.revision).await?;
    let cached = call.core.kind_cache(&call.kind)?.get(&key).filter(|item| item.object.revision() == committed.revision.0);
    let item = match cached {
        Some(item) => item,
        None => Item::of(Object::parse(committed.values.into_iter().next().expect("the put is the first operation"))?),
    };
    Ok(Outcome::Done(convert::object(&call.core.cache, &call.kind, item).await?))
}

/// Runs a transaction of deletes; None when a guard did not hold.
pub(crate) async fn transact(core: &Core, txn: Txn) -> Result<Result<Revision, Key>, Status> {
    match core.store.txn(txn).await {
        Ok(committed) => {
            shown(core, committed.revision).await?;
            Ok(Ok(committed.revision))
        }
        Err(StoreError::Conflict { key, .. }) => Ok(Err(key)),
        Err(error) => Err(failure::of_store(&error)),
    }
}

/// Everybody reads their own writes: waits until the cache shows `revision`.
async fn shown(core: &Core, revision: Revision) -> Result<(), Status> {
    core.cache.wait(revision.0).await.map_err(|error| failure::of_store(&error))
}

/// A guard on the state that was read.
pub(crate) fn unchanged(current: &Current) -> Guard {
    Guard::At(Arc::clone(&current.key), current.revision)
}

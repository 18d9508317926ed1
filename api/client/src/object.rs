//! One API object at one revision.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use schema::{ObjectMeta, Status, Value};
use serde::de::DeserializeOwned;

/// A typed view of the fields that a reader needs. Implemented by `#[derive(Deserialize)]` structs; never written back.
pub trait Lens: DeserializeOwned + Send + Sync + 'static {}
impl<T: DeserializeOwned + Send + Sync + 'static> Lens for T {}

/// Immutable; shared by the watch cache, watchers and informers. The bytes are the truth.
pub struct Object {
    /// Canonical JSON with `apiVersion`, `kind` and `metadata.resourceVersion`.
    pub raw: Bytes,
    pub meta: ObjectMeta,
    /// The one lens that was asked for first; another type is decoded afresh at each call.
    lens: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// See [`Object::encoded`].
    kept: OnceLock<Box<Kept>>,
}

/// How many bytes of other encodings objects may keep, all together.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

/// One encoding that an object keeps; its room is free again when the object goes.
struct Kept {
    bytes: Bytes,
    budget: Arc<Budget>,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes_max) })
    }

    /// Bytes that may still be kept.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.len());
    }
}

#[derive(serde::Deserialize)]
struct Header {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl Object {
    /// Parses the header of canonical JSON.
    pub fn parse(raw: Bytes) -> Result<Arc<Self>, Status> {
        let header: Header = serde_json::from_slice(&raw).map_err(Status::internal)?;
        Ok(Arc::new(Self { raw, meta: header.metadata, lens: OnceLock::new(), kept: OnceLock::new() }))
    }

    /// Encodes a document.
    pub fn from_value(value: &Value) -> Result<Arc<Self>, Status> {
        Self::parse(Bytes::from(serde_json::to_vec(value).map_err(Status::internal)?))
    }

    /// The whole document, decoded.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.raw).expect("an object's bytes were parsed when it was made")
    }

    /// The typed view; the first type asked for is kept.
    pub fn lens<T: Lens>(&self) -> Result<Arc<T>, Status> {
        if let Some(kept) = self.lens.get()
            && let Ok(typed) = Arc::clone(kept).downcast::<T>()
        {
            return Ok(typed);
        }
        let typed: Arc<T> = Arc::new(serde_json::from_slice(&self.raw).map_err(Status::internal)?);
        let _ = self.lens.set(Arc::clone(&typed) as Arc<dyn Any + Send + Sync>);
        Ok(typed)
    }

    /// The document in another encoding, made at the first call and kept while `budget` has room. An object keeps one
    /// encoding: every caller's `make` must be the same.
    pub fn encoded(&self, budget: &Arc<Budget>, make: impl FnOnce(&Value) -> Bytes) -> Bytes {
        if let Some(kept) = self.kept.get() {
            return kept.bytes.clone();
        }
        let bytes = make(&self.value());
        if budget.take(bytes.len()) {
            // Who loses a race drops its own, which frees the room again.
            let _ = self.kept.set(Box::new(Kept { bytes: bytes.clone(), budget: Arc::clone(budget) }));
        }
        bytes
    }

    /// `resourceVersion` as the number that our store makes of it; 0 where it is none.
    pub fn revision(&self) -> u64 {
        self.meta.resource_version.parse().unwrap_or_default()
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.meta.key(), self.meta.resource_version)
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn object() -> Arc<Object> {
        Object::from_value(&json!({"metadata": {"name": "a"}})).unwrap()
    }

    #[test]
    fn an_encoding_is_made_once_while_there_is_room_and_frees_it_with_the_object() {
        let budget = Budget::new(5);
        let (first, second) = (object(), object());
        assert_eq!(first.encoded(&budget, |_| Bytes::from_static(b"1234")), "1234");
        assert_eq!(first.encoded(&budget, |_| unreachable!("it is kept")), "1234");
        assert_eq!(second.encoded(&budget, |_| Bytes::from_static(b"12")), "12");
        assert_eq!(second.encoded(&budget, |_| Bytes::from_static(b"34")), "34", "there was no room to keep it");
        drop(first);
        assert_eq!(budget.left(), 5);
    }
}

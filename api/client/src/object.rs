//! One API object at one revision.

use std::any::Any;
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
        Ok(Arc::new(Self { raw, meta: header.metadata, lens: OnceLock::new() }))
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

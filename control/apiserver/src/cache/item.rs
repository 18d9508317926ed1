//! One object in the cache, with what selectors ask of it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use client::Object;
use kinds::Descriptor;
use schema::Status;

/// An object and the values of its selectable fields. Shared by the cache, its events and its indexes.
pub struct Item {
    pub object: Arc<Object>,
    /// `spec.nodeName` of a pod, which an index keeps; `""` for everything else.
    pub node: Box<str>,
    /// Values in the order of the stored descriptor's fields; made when a field selector first asks.
    fields: OnceLock<Box<[String]>>,
}

#[derive(serde::Deserialize)]
struct OnNode {
    #[serde(default)]
    spec: NodeName,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeName {
    node_name: Box<str>,
}

impl Item {
    /// Parses canonical JSON. `on_node` says whether the kind is indexed by node.
    pub fn parse(raw: Bytes, on_node: bool) -> Result<Arc<Self>, Status> {
        let object = Object::parse(raw)?;
        let node =
            if on_node { serde_json::from_slice::<OnNode>(&object.raw).map_err(Status::internal)?.spec.node_name } else { "".into() };
        Ok(Arc::new(Self { object, node, fields: OnceLock::new() }))
    }

    /// The value of field `index` of `stored`, the descriptor of the stored version.
    pub fn field(&self, stored: &Descriptor, index: usize) -> &str {
        let fields = self.fields.get_or_init(|| {
            let doc = self.object.value();
            stored.fields.iter().map(|(_, lookup)| lookup(&doc)).collect()
        });
        &fields[index]
    }
}

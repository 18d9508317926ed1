//! One object in the cache, with what selectors ask of it.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use client::Object;
use kinds::Descriptor;
use schema::Status;

use crate::conversion::Slots;

/// An object and the values of its selectable fields. Shared by the cache, its events and its indexes.
pub struct Item {
    pub object: Arc<Object>,
    /// `spec.nodeName` of a pod, which an index keeps; `""` for everything else.
    pub node: Box<str>,
    /// Values in the order of the stored descriptor's fields; made when a field selector first asks.
    fields: OnceLock<Fields>,
    /// What a conversion webhook made of it; most objects never meet one.
    slots: OnceLock<Box<Slots>>,
}

/// The values of the fields of one descriptor.
struct Fields {
    /// [`Descriptor::fields_id`]
    of: u64,
    values: Box<[String]>,
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
        Ok(Arc::new(Self { object, node, fields: OnceLock::new(), slots: OnceLock::new() }))
    }

    /// Of a kind that is not indexed by node.
    pub fn of(object: Arc<Object>) -> Arc<Self> {
        Arc::new(Self { object, node: "".into(), fields: OnceLock::new(), slots: OnceLock::new() })
    }

    pub(crate) fn slots(&self) -> &Slots {
        self.slots.get_or_init(Box::default)
    }

    /// The value of field `index` of `kind`, whose documents are as the stored ones. It is kept, unless a custom kind has other
    /// fields by now.
    pub fn field(&self, kind: &Descriptor, index: usize) -> Cow<'_, str> {
        let values = || {
            let doc = kind.strategy.from_stored(self.object.value());
            kind.fields.iter().map(|(_, lookup)| lookup(&doc)).collect::<Box<[String]>>()
        };
        let kept = self.fields.get_or_init(|| Fields { of: kind.fields_id, values: values() });
        if kept.of == kind.fields_id { Cow::Borrowed(&kept.values[index]) } else { Cow::Owned(values()[index].clone()) }
    }
}

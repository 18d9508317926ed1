//! ReplicationController: the older way to keep N copies of a pod.

use schema::DocExt;

use crate::kind::{Kind, Meta, Selectable, Sub};

/// The older way to keep N copies of a pod.
pub struct ReplicationController;

impl Kind for ReplicationController {
    const META: Meta = Meta {
        short: &["rc"],
        categories: &["all"],
        subresources: &[Sub::SCALE, Sub::STATUS],
        generation: true,
        ..Meta::namespaced("", "ReplicationController", "replicationcontrollers")
    };
    const FIELDS: &[Selectable] =
        &[Selectable::new("status.replicas", |doc| doc.i64_at("status.replicas").unwrap_or_default().to_string())];
}

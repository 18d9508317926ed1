//! ResourceSlice: the devices of a node or pool.

use schema::DocExt;

use crate::kind::{Kind, Meta, Selectable};

/// The devices of a node or pool.
pub struct ResourceSlice;

impl Kind for ResourceSlice {
    const META: Meta = Meta { generation: true, ..Meta::cluster("resource.k8s.io", "ResourceSlice", "resourceslices") };
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.nodeName", |doc| doc.str_at("spec.nodeName").to_owned()),
        Selectable::new("spec.driver", |doc| doc.str_at("spec.driver").to_owned()),
    ];
}

//! ResourceSlice: the devices of a node or pool.

use schema::DocExt;

use crate::cells::{AGE, NAME, or_unset};
use crate::kind::{Col, Kind, Meta, Selectable};

/// The devices of a node or pool.
pub struct ResourceSlice;

impl Kind for ResourceSlice {
    const META: Meta = Meta { generation: true, ..Meta::cluster("resource.k8s.io", "ResourceSlice", "resourceslices") };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Node", |doc| or_unset(doc.str_at("spec.nodeName"))),
        Col::path("Driver", "spec.driver"),
        Col::path("Pool", "spec.pool.name"),
        AGE,
    ];
    const FIELDS: &[Selectable] = &[
        Selectable::new("spec.nodeName", |doc| doc.str_at("spec.nodeName").to_owned()),
        Selectable::new("spec.driver", |doc| doc.str_at("spec.driver").to_owned()),
    ];
}

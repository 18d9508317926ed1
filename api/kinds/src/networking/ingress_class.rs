//! IngressClass: who serves ingresses.

use crate::kind::{Kind, Meta};

/// Who serves ingresses.
pub struct IngressClass;

impl Kind for IngressClass {
    const META: Meta = Meta { generation: true, ..Meta::cluster("networking.k8s.io", "IngressClass", "ingressclasses") };
}

//! RuntimeClass: how a pod's containers are run.

use crate::kind::{Kind, Meta};

/// How a pod's containers are run.
pub struct RuntimeClass;

impl Kind for RuntimeClass {
    const META: Meta = Meta::cluster("node.k8s.io", "RuntimeClass", "runtimeclasses");
}

//! RuntimeClass: how a pod's containers are run.

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta};

/// How a pod's containers are run.
pub struct RuntimeClass;

impl Kind for RuntimeClass {
    const META: Meta = Meta::cluster("node.k8s.io", "RuntimeClass", "runtimeclasses");
    const COLUMNS: &[Col] = &[NAME, Col::path("Handler", "handler"), AGE];
}

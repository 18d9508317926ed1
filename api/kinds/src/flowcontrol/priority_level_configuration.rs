//! PriorityLevelConfiguration: how many requests of a sort may run at once.

use crate::kind::{Kind, Meta, Sub};

/// How many requests of a sort may run at once.
pub struct PriorityLevelConfiguration;

impl Kind for PriorityLevelConfiguration {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "prioritylevelconfigurations")
    };
}

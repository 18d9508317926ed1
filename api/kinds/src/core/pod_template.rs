//! PodTemplate: a pod template kept on its own.

use crate::kind::{Kind, Meta};

/// A pod template kept on its own.
pub struct PodTemplate;

impl Kind for PodTemplate {
    const META: Meta = Meta { generation: true, ..Meta::namespaced("", "PodTemplate", "podtemplates") };
}
